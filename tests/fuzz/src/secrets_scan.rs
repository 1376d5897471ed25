//! Environments and arguments are the job's own words: any block is scanned, at a bounded cost, with
//! nothing left in the scratch, and says the same when it comes again.

#![no_main]

use std::sync::LazyLock;

use cordon_secrets::{
    Block, Bounds, Detection, Engine, FingerprintKey, KnownSet, Memory, Rules, Scratch, Source,
};
use libfuzzer_sys::fuzz_target;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let key = FingerprintKey::new([1; 32]);
    let known = KnownSet::new(key.id());
    Engine::new(&key, &known, &Rules::all()).expect("an engine")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let block = Block {
        source: if first & 1 == 0 {
            Source::Environ
        } else {
            Source::Arguments
        },
        bytes,
        truncated: first & 2 != 0,
    };
    // Small ones are too small for some layers.
    let mut room = vec![0; if first & 4 == 0 { 1 << 16 } else { 64 }];
    let mut memory = Memory::new(
        &[2; 32],
        Bounds {
            entries: 16,
            blocks: 16,
            detections: 16,
        },
    );
    let mut scan = || {
        let mut found: Vec<Detection> = Vec::new();
        let mut scratch = Scratch::new(&mut room);
        let scanned = ENGINE.scan(&mut memory, &mut scratch, &block, &mut |it| found.push(it));
        assert!(room.iter().all(|byte| *byte == 0));
        assert!(scanned.visited <= 16 * scanned.bytes + 4096);
        assert!(scanned.seen <= scanned.entries);
        (found, scanned.undecoded, scanned.excess)
    };
    assert_eq!(scan(), scan());
});
