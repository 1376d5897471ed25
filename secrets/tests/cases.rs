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

#[test]
fn every_case_is_found_as_a_variable() {
    let engine = engine();
    let mut wrong = Vec::new();
    for case in cases() {
        let block = format!("{}={}\0", case.variable.unwrap_or("SOMETHING"), case.text);
        let found = scan(&engine, Source::Environ, block.as_bytes());
        let rules: Vec<(&str, String)> = found
            .iter()
            .map(|it| (it.rule.id, it.layers.to_string()))
            .collect();
        let expected = case
            .expected
            .is_none_or(|rule| rules.iter().any(|(id, _)| *id == rule));
        let more = rules.iter().any(|(id, _)| Some(*id) != case.expected);
        if !expected || more {
            wrong.push(format!("{rules:?} {expected} {case:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
