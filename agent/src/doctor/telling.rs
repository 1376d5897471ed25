//! What a daemon would tell of its jobs: its metrics, and the file of telemetry. Only where the settings name them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::probes::Tried;
use super::{Answer, Feature, Finding};
use crate::config::Config;
use crate::enforce::chain;
use crate::metrics::Listen;
use crate::telemetry::file;

const METRICS: Feature = Feature {
    name: "metrics",
    needed: false,
    without: "nobody who watches this host sees denials, losses or jobs that fail; the reports have them",
    remedy: "`systemctl status cordon`: `listen` of `[metrics]` is read when the daemon starts",
};
const TELEMETRY: Feature = Feature {
    name: "telemetry",
    needed: false,
    without: "a job that is over leaves no line in the file of `[telemetry]`; its report says so",
    remedy: "make the directory, and let the service write there: the shipped one may below `/var/log/cordon`",
};

/// How long the daemon has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of the answer that are read: enough for its first line.
const ANSWER: usize = 64;

/// Tries what the settings name.
pub(super) fn examine(config: &Config, privileged: bool) -> Vec<Finding> {
    let metrics = config.metrics.as_ref();
    let telemetry = config.telemetry.as_ref();
    metrics
        .map(|listen| Finding::new(METRICS, scrape(listen, privileged)))
        .into_iter()
        .chain(telemetry.map(|path| {
            let tried = file::examine(path);
            Finding::new(
                TELEMETRY,
                tried
                    .map(|()| format!("`{}` can be written", path.display()))
                    .map_err(|error| (Answer::DoesNotWork, chain(&error))),
            )
        }))
        .collect()
}

/// Asks for the page, as Prometheus would.
fn scrape(listen: &Listen, privileged: bool) -> Tried {
    let asked = match listen {
        Listen::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)
        }),
        Listen::Unix(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)
        }),
    };
    match asked {
        Ok(line) if line == "HTTP/1.1 200 OK" => Ok(format!("served at {listen}")),
        Ok(line) => Err((
            Answer::DoesNotWork,
            format!(
                "what answers at {listen} is not cordon: `{}`",
                line.escape_default()
            ),
        )),
        Err(error) => Err((
            Answer::of_error(&error, privileged),
            format!("nothing answers at {listen}: {error}; is the daemon running?"),
        )),
    }
}

/// The first line of what is answered.
fn ask(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER as u64).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
