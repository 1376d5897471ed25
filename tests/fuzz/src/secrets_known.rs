//! The file of known values, and values themselves: any text is a set that is written as it was read,
//! or a mistake with its line; any value that is registered is found again, alone and in a text.

#![no_main]

use cordon_secrets::{
    Block, Bounds, Class, Engine, FingerprintKey, KnownSet, Memory, Rules, Scratch, Source,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match KnownSet::parse(text) {
            Ok(set) => assert_eq!(KnownSet::parse(&set.to_string()), Ok(set)),
            Err(error) => assert!(error.line >= 1 && !error.to_string().is_empty()),
        }
    }
    let key = FingerprintKey::new([1; 32]);
    let mut set = KnownSet::new(key.id());
    let mut room = vec![0; 1 << 16];
    let mut scratch = Scratch::new(&mut room);
    let registered = set.register(&key, &mut scratch, "value", Class::Static, bytes, 0);
    // A variable ends at its first NUL.
    if registered.is_err() || bytes.contains(&0) {
        return;
    }
    assert_eq!(KnownSet::parse(&set.to_string()).as_ref(), Ok(&set));
    let engine = Engine::new(&key, &set, &Rules::all()).expect("an engine");
    let mut memory = Memory::new(&[2; 32], Bounds::default());
    let text = [b"NAME=text ", bytes, b" text"].concat();
    let block = Block {
        source: Source::Environ,
        bytes: &text,
        truncated: false,
    };
    let mut found = false;
    engine.scan(&mut memory, &mut scratch, &block, &mut |it| {
        found |= it.rule.id == "known-value";
    });
    assert!(found);
    assert!(room.iter().all(|byte| *byte == 0));
});
