//! The control socket, as somebody uses it who wants to harm the daemon.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{SETTINGS, world};
use crate::harness::environment::Environment;
use crate::harness::service::Service;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "daemon::the_socket_answers_whatever_is_sent_to_it",
            whatever,
        ),
        Story::new(
            "daemon::slow_and_half_open_requests_hold_nobody_up_for_long",
            slow,
        ),
        Story::new("daemon::who_is_not_root_may_look_and_not_touch", others),
    ]
}

/// Sends bytes, and returns what comes back.
fn send(service: &Service<'_>, bytes: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(service.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // The daemon may have had enough before all of it is sent.
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    ensure!(
        sent.is_err() || read.is_ok() || !answer.is_empty(),
        "{sent:?} {read:?}"
    );
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn whatever(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let post = |length: usize, body: &str| {
        format!("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let huge = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    let deep = "[".repeat(60_000);
    let large = "x".repeat(1 << 20);
    for (bytes, status) in [
        ("\0\0\0\0\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        (
            "BREW /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "405",
        ),
        (huge, "4"),
        (many, "4"),
        (post(2, "{}x"), "4"),
        (post(deep.len(), &deep), "400"),
        (post(large.len(), &large), "413"),
        (post(15, "{\"profile\": []} "), "400"),
        (
            "GET /v1/jobs/../../etc HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "404",
        ),
        (
            "GET /v1/jobs/%00%1b%5b2J HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "404",
        ),
        (
            "POST /v1/jobs/unit-x/end HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "404",
        ),
    ] {
        let answer = send(&service, bytes.as_bytes())?;
        let start = bytes.chars().take(60).collect::<String>();
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{start:?}: {answer:?}"
        );
        ensure!(!answer.contains('\u{1b}'), "{answer:?}");
    }
    let described = service.ask("/openapi.json")?;
    ensure!(described["openapi"] == "3.1.0", "{described}");
    Ok(())
}

fn slow(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    // As many as there is room for, each with half a request.
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = UnixStream::connect(service.socket())?;
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost:")?;
        held.push(stream);
    }
    let begun = Instant::now();
    let status = service.ask("/v1/status")?;
    ensure!(status["version"].is_string(), "{status}");
    let took = begun.elapsed();
    ensure!(took < environment.seconds(10), "{took:?}");
    let mut rest = String::new();
    let first = held.first_mut().context("none")?;
    first.set_read_timeout(Some(Duration::from_secs(10)))?;
    first.read_to_string(&mut rest)?;
    ensure!(!rest.contains("200"), "{rest}");
    Ok(())
}

fn others(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let ask = |words: &[&str]| -> Result<(u32, Value)> {
        let socket = service.socket().display().to_string();
        let mut command = vec![
            "curl",
            "-s",
            "--max-time",
            "20",
            "--unix-socket",
            &socket,
            "-w",
            "\n%{http_code}",
        ];
        command.extend(words);
        let finished = world
            .job()
            .user(1234)
            .command(command)
            .run()?
            .expect_status(0)?;
        let (body, status) = finished.stdout.rsplit_once('\n').context("no status")?;
        Ok((
            status.parse()?,
            serde_json::from_str(body).unwrap_or_default(),
        ))
    };
    let (status, own) = ask(&["http://x/v1/self"])?;
    ensure!(
        status == 200 && own["caller"] == "user 1234",
        "{status} {own}"
    );
    let (status, _) = ask(&["http://x/v1/jobs"])?;
    ensure!(status == 200, "{status}");
    for words in [
        &["-X", "POST", "-d", "{}", "http://x/v1/jobs"][..],
        &["-X", "POST", "http://x/v1/reload"],
        &["-X", "POST", "-d", "{}", "http://x/v1/commands"],
        &[
            "-X",
            "POST",
            "-d",
            "{}",
            "http://x/v1/jobs/0123456789ab/ended",
        ],
        &["-X", "POST", "http://x/v1/jobs/0123456789ab/end"],
        &["-X", "POST", "http://x/v1/jobs/0123456789ab/finish"],
        &["-X", "POST", "http://x/v1/jobs/0123456789ab/attach"],
    ] {
        let (status, answer) = ask(words)?;
        ensure!(status == 403, "{words:?}: {status} {answer}");
    }
    Ok(())
}
