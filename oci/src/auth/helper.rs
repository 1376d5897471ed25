//! Programs that keep credentials: `docker-credential-NAME get`, which reads a server's name and
//! answers with JSON.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::Credentials;
use crate::error::OciError;

/// How long a program may take: it may ask somebody, or a server.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// 64 KiB: the longest answer.
const MAX_ANSWER: u64 = 64 << 10;

/// What programs give as the name where the secret is a token to be exchanged.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a program; none if it has nothing for the server.
pub(crate) fn ask(name: &str, server: &str, host: &str) -> Result<Option<Credentials>, OciError> {
    let unusable = |reason: &str| OciError::Credentials {
        host: host.to_owned(),
        reason: format!("`docker-credential-{name}` {reason}"),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(OciError::Credentials {
            host: host.to_owned(),
            reason: "the name of the helper for them is no name of a program".to_owned(),
        });
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| unusable(&format!("does not start: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says what it has to say by its status.
        drop(stdin.write_all(server.as_bytes()));
    }
    let Some(stdout) = child.stdout.take() else {
        return Err(unusable("has no output"));
    };
    // A child of its own may keep the output open when it is gone, so nobody waits for the thread.
    let (give, take) = channel();
    drop(std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = stdout.take(MAX_ANSWER).read_to_end(&mut bytes);
        // Nobody takes it any more after the time was over.
        drop(give.send(read.map(|_| bytes)));
    }));
    let begun = Instant::now();
    let status = loop {
        if let Ok(Some(status)) = child.try_wait() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            // Without its end there is nobody to wait for.
            drop(child.kill());
            drop(child.wait());
            return Err(unusable("did not answer within 30 s"));
        }
        std::thread::sleep(PAUSE);
    };
    if !status.success() {
        // "credentials not found" is said with a status of failure, too.
        return Ok(None);
    }
    let Ok(Ok(bytes)) = take.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) else {
        return Err(unusable("could not be read"));
    };
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_quotes_the_secret| unusable("answered with something else than credentials"))?;
    let Answer {
        username,
        mut secret,
    } = answer;
    if secret.is_empty() {
        return Ok(None);
    }
    let kept = Zeroizing::new(secret.clone());
    secret.zeroize();
    Ok(Some(if username == TOKEN_USER {
        Credentials::Refresh(kept)
    } else {
        Credentials::Password {
            user: username,
            password: kept,
        }
    }))
}
