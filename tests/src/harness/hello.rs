//! TLS hellos and HTTP requests, made by hand.

fn with_length(width: usize, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u64).to_be_bytes();
    let from = length.len().saturating_sub(width);
    [length.get(from..).unwrap_or_default(), body].concat()
}

/// An extension.
pub fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(2, body)].concat()
}

/// The extension that names a server.
pub fn server_name(name: &[u8]) -> Vec<u8> {
    let entry = [&[0][..], &with_length(2, name)].concat();
    extension(0, &with_length(2, &entry))
}

/// A `ClientHello` with these extensions, as a handshake message.
pub fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &with_length(1, &[9; 32]),
        &with_length(2, &[0x13, 1, 0x13, 2]),
        &with_length(1, &[0]),
        &with_length(2, &extensions.concat()),
    ]
    .concat();
    [&[1][..], &with_length(3, &body)].concat()
}

/// A TLS record.
pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &with_length(2, body)].concat()
}

/// A whole hello in one record.
pub fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(22, &message(extensions))
}

/// A hello of today's size that names a server, its name behind a post-quantum key share.
pub fn hello_for(name: &str) -> Vec<u8> {
    hello(&[extension(51, &[5; 1216]), server_name(name.as_bytes())])
}

/// A request without a body.
pub fn request(target: &str, fields: &[&str]) -> Vec<u8> {
    let line = format!("GET {target} HTTP/1.1");
    let lines = [&[line.as_str()], fields, &["", ""]].concat();
    lines.join("\r\n").into_bytes()
}
