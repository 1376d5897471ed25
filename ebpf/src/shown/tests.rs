use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use proptest::prelude::*;

use super::name::{End, NameRule, key};
use super::*;

const BOTH: Verify = Verify(Verify::TLS.0 | Verify::HTTP.0);

/// What a stream shows, and how its reading ended.
fn read(verify: Verify, pieces: &[&[u8]]) -> (Vec<String>, Step) {
    let mut reading = Reading::new(verify);
    let mut names = Vec::new();
    for piece in pieces {
        let step = reading.read(piece, |name| {
            names.push(String::from_utf8(name.to_vec()).unwrap());
        });
        if step != Step::MORE {
            return (names, step);
        }
    }
    (names, Step::MORE)
}

fn shows(verify: Verify, stream: &[u8]) -> String {
    let (names, step) = read(verify, &[stream]);
    assert!(!step.refuses(), "{step:?}");
    assert_eq!(names.len(), 1);
    names[0].clone()
}

fn refused(verify: Verify, stream: &[u8]) -> Step {
    let (names, step) = read(verify, &[stream]);
    assert!(step.refuses(), "{names:?} {step:?}");
    assert!(names.is_empty(), "{names:?}");
    step
}

fn with_length(width: usize, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u64).to_be_bytes();
    let (_, length) = length.split_at(length.len().saturating_sub(width));
    [length, body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(2, body)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    let entry = [&[0][..], &with_length(2, name)].concat();
    extension(0, &with_length(2, &entry))
}

/// The handshake message.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
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

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &with_length(2, body)].concat()
}

fn tls(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(22, &hello(extensions))
}

#[test]
fn the_server_name_is_found_wherever_it_stands() {
    let name = server_name(b"Api.Example.com");
    let share = extension(51, &[5; 1216]);
    let empty = extension(23, &[]);
    for extensions in [
        vec![name.clone(), share.clone(), empty.clone()],
        vec![share.clone(), empty.clone(), name.clone()],
        vec![empty.clone(), name.clone(), empty, share],
        vec![name],
    ] {
        assert_eq!(shows(Verify::TLS, &tls(&extensions)), "api.example.com");
    }
}

#[test]
fn a_final_dot_is_the_same_name_and_other_oddities_are_none() {
    assert_eq!(
        shows(Verify::TLS, &tls(&[server_name(b"a.example.")])),
        "a.example"
    );
    let long = [b'a'; 254];
    for name in [
        &b"evil.test\0good.test"[..],
        b"good.test\0",
        b".good.test",
        b"good..test",
        b"good.test..",
        b"good.test\n",
        b"good.test:443",
        b"[2001:db8::1]",
        b"g\xc3\xb6od.test",
        b" good.test",
        &long,
    ] {
        assert_eq!(
            refused(Verify::TLS, &tls(&[server_name(name)])),
            Step::UNREADABLE
        );
    }
    // As long as a name can be.
    let longest = [b'a'; 253];
    assert_eq!(
        shows(Verify::TLS, &tls(&[server_name(&longest)])).len(),
        253
    );
}

#[test]
fn a_hello_without_a_name_or_with_two_is_refused() {
    assert_eq!(
        refused(Verify::TLS, &tls(&[extension(51, &[1; 9])])),
        Step::NO_NAME
    );
    assert_eq!(refused(Verify::TLS, &tls(&[])), Step::NO_NAME);
    let twice = [server_name(b"good.test"), server_name(b"evil.test")];
    assert_eq!(refused(Verify::TLS, &tls(&twice)), Step::UNREADABLE);
    let entry = |name: &[u8]| [&[0][..], &with_length(2, name)].concat();
    let both = [entry(b"good.test"), entry(b"evil.test")].concat();
    let two_in_one = extension(0, &with_length(2, &both));
    assert_eq!(refused(Verify::TLS, &tls(&[two_in_one])), Step::UNREADABLE);
    let trailing = extension(
        0,
        &[&with_length(2, &entry(b"good.test"))[..], b"x"].concat(),
    );
    assert_eq!(refused(Verify::TLS, &tls(&[trailing])), Step::UNREADABLE);
    let other_type = extension(0, &with_length(2, &[1, 0, 1, b'x']));
    assert_eq!(refused(Verify::TLS, &tls(&[other_type])), Step::UNREADABLE);
    let empty = extension(0, &with_length(2, &entry(b"")));
    assert_eq!(refused(Verify::TLS, &tls(&[empty])), Step::UNREADABLE);
    // A hello of old has no extensions at all.
    let old = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0, 10, 1, 0]].concat();
    let old = record(22, &[&[1][..], &with_length(3, &old)].concat());
    assert_eq!(refused(Verify::TLS, &old), Step::NO_NAME);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let mut longer = hello(&[server_name(b"good.test")]);
    longer[3] += 1;
    assert_eq!(refused(Verify::TLS, &record(22, &longer)), Step::UNREADABLE);
    let mut shorter = hello(&[server_name(b"good.test")]);
    shorter[3] -= 1;
    assert_eq!(
        refused(Verify::TLS, &record(22, &shorter)),
        Step::UNREADABLE
    );
    assert_eq!(refused(Verify::TLS, &[22, 3, 1, 0, 0]), Step::UNREADABLE);
    assert_eq!(
        refused(Verify::TLS, &[22, 3, 1, 0xff, 0xff]),
        Step::UNREADABLE
    );
}

#[test]
fn other_protocols_are_not_taken_for_these() {
    for stream in [
        &b"SSH-2.0-OpenSSH"[..],
        &[0x80, 46, 1, 3, 1],
        &[23, 3, 3, 0, 1],
        &[22, 2, 0, 0, 1],
        &[22, 3, 1, 0, 4, 2],
    ] {
        assert_eq!(refused(Verify::TLS, stream), Step::UNREADABLE);
    }
    for stream in [
        &b"PRI * HTTP/2.0\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET http://evil.test/ HTTP/1.1\r\n",
        b"CONNECT evil.test:443 HTTP/1.1\r\n",
        b"GET /\r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET / HTTP/1.1\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        &[22, 3, 1, 0, 4],
    ] {
        assert_eq!(
            refused(Verify::HTTP, stream),
            Step::UNREADABLE,
            "{stream:?}"
        );
    }
}

#[test]
fn a_head_that_does_not_end_is_too_long() {
    let endless = tls(&[extension(21, &[0; 16_300]), server_name(b"good.test")]);
    assert_eq!(refused(Verify::TLS, &endless), Step::TOO_LONG);
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 17_000]].concat();
    assert_eq!(refused(Verify::HTTP, &endless), Step::TOO_LONG);
}

#[test]
fn a_second_hello_is_read_like_the_first() {
    let first = tls(&[server_name(b"good.test")]);
    let second = tls(&[server_name(b"evil.test")]);
    let change = record(20, &[1]);
    let (names, step) = read(Verify::TLS, &[&first, &change, &second]);
    assert_eq!((names.len(), step), (2, Step::MORE));
    assert_eq!(names[1], "evil.test");
    // Encrypted data ends the reading, unless the first hello has said that it comes early.
    let data = record(23, &[0; 100]);
    assert_eq!(read(Verify::TLS, &[&first, &change, &data]).1, Step::DONE);
    assert_eq!(
        read(Verify::TLS, &[&first, &record(22, &[16, 0, 0, 0])]).1,
        Step::DONE
    );
    let early = tls(&[server_name(b"good.test"), extension(42, &[])]);
    let much = record(23, &[0; 16_384]);
    let (names, step) = read(Verify::TLS, &[&early, &much, &much, &change, &second]);
    assert_eq!((names.len(), step), (2, Step::MORE));
}

const REQUEST: &str = "GET /a?b=c HTTP/1.1\r\nhOST:  Good.test:80 \r\nAccept: */*\r\n\r\n";

#[test]
fn the_host_of_every_request_is_found() {
    assert_eq!(shows(Verify::HTTP, REQUEST.as_bytes()), "good.test");
    let post = "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 31\r\n\r\n\
                GET / HTTP/1.1\r\nHost: body.test";
    let next = "GET / HTTP/1.0\r\nHost: evil.test\r\n\r\n";
    let stream = [REQUEST, post, next].concat();
    let (names, step) = read(BOTH, &[stream.as_bytes()]);
    assert_eq!(names, ["good.test", "good.test", "evil.test"]);
    assert_eq!(step, Step::MORE);
}

#[test]
fn what_servers_read_differently_is_refused() {
    for fields in [
        "Host: good.test\r\nHost: evil.test\r\n\r\n",
        "Host: good.test\r\nhost: good.test\r\n\r\n",
        "Host: good.test\r\n evil.test\r\n\r\n",
        "Host : good.test\r\n\r\n",
        "Host: good.test evil.test\r\n\r\n",
        "Host: good.test, evil.test\r\n\r\n",
        "Host: evil.test@good.test\r\n\r\n",
        "Host: good.test:80:80\r\n\r\n",
        "Host: good.test/x\r\n\r\n",
        "Host: good.test\n\r\n",
        "Host: good.test\r\r\n\r\n",
        "X: a\nHost: good.test\r\n\r\n",
        "X: \0\r\nHost: good.test\r\n\r\n",
        ": x\r\nHost: good.test\r\n\r\n",
        "X\r\nHost: good.test\r\n\r\n",
        "Host: good.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Host: good.test\r\ntransfer-encoding : chunked\r\n\r\n",
        "Host: good.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "Host: good.test\r\nContent-Length: 5, 5\r\n\r\n",
        "Host: good.test\r\nContent-Length: +5\r\n\r\n",
        "Host: good.test\r\nContent-Length: \r\n\r\n",
        "Host: good.test\r\nContent-Length: 0x5\r\n\r\n",
        "Host: good.test\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ] {
        let stream = format!("GET / HTTP/1.1\r\n{fields}");
        assert_eq!(
            refused(Verify::HTTP, stream.as_bytes()),
            Step::UNREADABLE,
            "{fields:?}"
        );
    }
    for fields in [
        "\r\n",
        "X-Host: good.test\r\n\r\n",
        "Host:\r\n\r\n",
        "Host: :80\r\n\r\n",
    ] {
        let stream = format!("GET / HTTP/1.1\r\n{fields}");
        assert_eq!(
            refused(Verify::HTTP, stream.as_bytes()),
            Step::NO_NAME,
            "{fields:?}"
        );
    }
}

#[test]
fn fields_that_are_named_alike_are_others() {
    let stream = "GET / HTTP/1.1\r\nHosts: a.test\r\nContent-Lengths: x\r\nxContent-Length: 9\r\n\
                  X-Content-Length-Of-Something: 9\r\nHost: good.test\r\n\r\n";
    assert_eq!(shows(Verify::HTTP, stream.as_bytes()), "good.test");
}

/// Cuts a stream at some of its places.
fn cut<'a>(stream: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = at
        .iter()
        .map(|index| index.index(stream.len().saturating_add(1)))
        .collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &stream[pair[0]..pair[1]])
        .collect()
}

/// The same hello in records of other sizes.
fn in_records(message: &[u8], at: &[prop::sample::Index]) -> Vec<u8> {
    let pieces = cut(message, at)
        .into_iter()
        .filter(|piece| !piece.is_empty());
    pieces.flat_map(|piece| record(22, piece)).collect()
}

fn extensions() -> impl Strategy<Value = (Vec<Vec<u8>>, Option<String>)> {
    let other = (1u16..100, proptest::collection::vec(any::<u8>(), 0..60))
        .prop_map(|(kind, body)| extension(kind, &body));
    let name = proptest::option::of("[a-z]([a-z0-9_-]{0,9}[a-z0-9])?(\\.[a-z0-9]{1,8}){0,4}");
    (
        proptest::collection::vec(other, 0..6),
        name,
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut list, name, at)| {
            if let Some(name) = &name {
                let at = at.index(list.len().saturating_add(1));
                list.insert(at, server_name(name.as_bytes()));
            }
            (list, name)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes_are_read_without_a_panic_and_the_same_however_they_are_cut(
        stream in proptest::collection::vec(any::<u8>(), 0..300),
        prefix in prop_oneof![
            Just(Vec::new()),
            Just(tls(&[server_name(b"good.test"), extension(42, &[])])),
            Just(REQUEST.as_bytes().to_vec()),
            Just(b"GET / HTTP/1.1\r\nHost: ".to_vec()),
        ],
        at in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        verify in prop_oneof![Just(Verify::TLS), Just(Verify::HTTP), Just(BOTH), Just(Verify(0))],
    ) {
        let stream = [prefix, stream].concat();
        prop_assert_eq!(read(verify, &[&stream]), read(verify, &cut(&stream, &at)));
    }

    #[test]
    fn a_hello_shows_its_name_in_any_pieces_and_records(
        (list, name) in extensions(),
        records in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        at in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let stream = in_records(&hello(&list), &records);
        let (names, step) = read(Verify::TLS, &cut(&stream, &at));
        let ends = if name.is_some() { Step::MORE } else { Step::NO_NAME };
        prop_assert_eq!(names, Vec::from_iter(name));
        prop_assert_eq!(step, ends);
    }

    #[test]
    fn one_changed_byte_shows_the_same_name_a_name_of_its_own_or_none(
        (list, _) in extensions(), place in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut stream = tls(&list);
        let at = place.index(stream.len());
        stream[at] = byte;
        let (names, _) = read(Verify::TLS, &[&stream]);
        // Whatever is shown stands in the bytes that were sent.
        for shown in names {
            let lower = stream.to_ascii_lowercase();
            prop_assert!(lower.windows(shown.len()).any(|window| window == shown.as_bytes()));
        }
    }

    #[test]
    fn requests_show_their_hosts_and_bodies_show_nothing(
        hosts in proptest::collection::vec(("[a-z]{1,8}\\.test", 0usize..40, any::<bool>()), 1..6),
        at in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut stream = String::new();
        for (host, body, first) in &hosts {
            let length = if *body > 0 { format!("content-length: {body}\r\n") } else { String::new() };
            let host = format!("Host: {host}\r\n");
            let fields = if *first { [host, length] } else { [length, host] }.concat();
            stream.push_str("POST /x HTTP/1.1\r\n");
            stream.push_str(&fields);
            stream.push_str("\r\n");
            stream.extend("GET / HTTP/1.1\r\nHost: no.test\r\n\r\n".chars().cycle().take(*body));
        }
        let (names, step) = read(Verify::HTTP, &cut(stream.as_bytes(), &at));
        let expected: Vec<_> = hosts.iter().map(|(host, ..)| host.clone()).collect();
        prop_assert_eq!(names, expected);
        prop_assert_eq!(step, Step::MORE);
    }

    #[test]
    fn the_nearest_pattern_of_a_name_is_the_longest_prefix_of_its_key(
        name in "[ab]{1,2}(\\.[ab]{1,2}){0,4}",
        bases in proptest::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,3}", 1..8),
    ) {
        let (own, bits) = key(&name, End::Exact).unwrap();
        let matches = |base: &str, end| {
            let (data, length) = key(base, end).unwrap();
            length <= bits && data[..length as usize / 8] == own[..length as usize / 8]
        };
        for base in &bases {
            prop_assert_eq!(matches(base, End::Exact), *base == name);
            let below = name.ends_with(&format!(".{base}"));
            prop_assert_eq!(matches(base, End::Below), below);
        }
    }

    #[test]
    fn labels_are_counted(name in "[a-z]{1,3}(\\.[a-z0-9]{1,3}){0,5}\\.?") {
        let mut read = Name::EMPTY;
        for byte in name.bytes() {
            prop_assert_eq!(read.push(byte), Push::Taken);
        }
        let whole = name.trim_end_matches('.');
        prop_assert_eq!(read.as_bytes(), whole.as_bytes());
        prop_assert_eq!(usize::from(read.labels), whole.split('.').count());
        let rule = NameRule { rule: 0, labels: read.labels, reserved: [0; 3] };
        prop_assert!(rule.allows(read.labels) && !rule.allows(read.labels.saturating_add(1)));
        let any = NameRule { labels: 0, ..rule };
        prop_assert!(any.allows(read.labels));
    }
}

#[test]
fn a_name_is_read_the_same_after_another_one() {
    let mut name = Name::EMPTY;
    for text in ["a.b.", "c", "d.e.f"] {
        name.clear();
        for byte in text.bytes() {
            assert_eq!(name.push(byte), Push::Taken);
        }
        assert_eq!(name.as_bytes(), text.trim_end_matches('.').as_bytes());
    }
}
