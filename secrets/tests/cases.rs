//! The labelled cases, through the whole engine.

use cordon_secrets::cases::{Case, cases};
use cordon_secrets::{
    Block, Bounds, Detection, Engine, FingerprintKey, KnownSet, Memory, Rules, Scratch, Source,
};

fn engine() -> Engine {
    let key = FingerprintKey::new([1; 32]);
    Engine::new(&key, &KnownSet::new(key.id()), &Rules::all()).unwrap()
}

fn scan(engine: &Engine, source: Source, bytes: &[u8]) -> Vec<Detection> {
    let mut memory = Memory::new(&[2; 32], Bounds::default());
    let mut room = vec![0; 1 << 18];
    let mut found = Vec::new();
    let block = Block {
        source,
        bytes,
        truncated: false,
    };
    engine.scan(
        &mut memory,
        &mut Scratch::new(&mut room),
        &block,
        &mut |it| found.push(it),
    );
    assert!(room.iter().all(|byte| *byte == 0));
    found
}

/// Cases in which no format is to find anything, and in which a name and a random value are enough to say so.
const UNKNOWN: [&str; 4] = [
    "a commit",
    "base64 of one word",
    "no server: a name says more",
    "cut off",
];

/// Whether a detection is what the case is about.
fn is_expected(case: &Case, found: &Detection) -> bool {
    let id = found.rule.id;
    // The token inside a header is found by itself too: it is known from elsewhere by its fingerprint.
    let inside = case.expected == Some("basic-auth-header") && found.layers.depth() == 1;
    let unknown = case.expected.is_none() && UNKNOWN.contains(&case.why) && id == "generic-secret";
    Some(id) == case.expected || inside || unknown
}

#[test]
fn every_case_is_found_as_a_variable_and_nothing_else_is() {
    let engine = engine();
    let mut wrong = Vec::new();
    for case in cases() {
        let block = format!("{}={}\0", case.variable.unwrap_or("SOMETHING"), case.text);
        let found = scan(&engine, Source::Environ, block.as_bytes());
        let is_there = case
            .expected
            .is_none_or(|rule| found.iter().any(|it| it.rule.id == rule));
        if !is_there || !found.iter().all(|found| is_expected(&case, found)) {
            wrong.push(format!("{case:?}: {found:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
