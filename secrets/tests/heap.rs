//! No byte of a secret is ever in memory that the engine took from the heap.
//!
//! An allocator looks into everything that is given back or moved while the engine works, and in all
//! that is left when it is dropped, for any eight bytes in a row of the secrets that were planted.

#![expect(unsafe_code, reason = "an allocator")]
#![expect(
    clippy::indexing_slicing,
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "all of it is tests"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cordon_secrets::cases::{Case, cases};
use cordon_secrets::{
    Block, Bounds, Class, Detection, Engine, FingerprintKey, KnownSet, Memory, Rules, Scratch,
    Source, sample,
};

/// Bytes in a row that tell a secret.
const WINDOW: usize = 8;

/// Windows of the planted secrets: by hash, for a first look, and sorted.
static PLANTED: OnceLock<(Vec<bool>, Vec<[u8; WINDOW]>)> = OnceLock::new();
static ARMED: AtomicBool = AtomicBool::new(false);
static LOOKED: AtomicUsize = AtomicUsize::new(0);
static SEEN: AtomicUsize = AtomicUsize::new(0);

struct Watching;

#[global_allocator]
static WATCHING: Watching = Watching;

// SAFETY: everything is passed on to the system's allocator; what is looked at is still allocated.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if ARMED.load(Ordering::Relaxed) {
            // SAFETY: it is allocated with this size, and was zeroed, so every byte is initialised.
            look(unsafe { std::slice::from_raw_parts(ptr, layout.size()) });
        }
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    // `realloc` is the default: new memory, a copy, and the old memory given back, which is seen.
}

fn look(bytes: &[u8]) {
    let Some((hashes, windows)) = PLANTED.get() else {
        return;
    };
    LOOKED.fetch_add(bytes.len(), Ordering::Relaxed);
    for window in bytes.windows(WINDOW) {
        let is_planted = |window| {
            windows
                .binary_search_by(|known| known.as_slice().cmp(window))
                .is_ok()
        };
        if hashes[hash(window)] && is_planted(window) {
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// 24 bits.
fn hash(window: &[u8]) -> usize {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let hash = window.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from((hash ^ hash >> 29) & ((1 << 24) - 1)).unwrap()
}

fn key() -> FingerprintKey {
    FingerprintKey::new([1; 32])
}

fn entry(case: &Case, text: &str) -> Vec<u8> {
    format!("{}={text}\0", case.variable.unwrap_or("SOMETHING")).into_bytes()
}

/// Scans all blocks and drops everything; what was found.
fn work(known: &KnownSet, blocks: &[(Source, Vec<u8>)], room: &mut [u8]) -> Vec<Detection> {
    let mut found = Vec::new();
    let engine = Engine::new(&key(), known, &Rules::all()).unwrap();
    let mut memory = Memory::new(&[4; 32], Bounds::default());
    for _again in 0..2 {
        for (source, bytes) in blocks {
            let block = Block {
                source: *source,
                bytes,
                truncated: false,
            };
            let mut scratch = Scratch::new(room);
            engine.scan(&mut memory, &mut scratch, &block, &mut |it| found.push(it));
            engine.is_clean(&mut scratch, bytes);
        }
    }
    found
}

#[test]
fn no_secret_is_left_on_the_heap() {
    // What points to a credential and holds none is shown as it is.
    let is_secret = |case: &Case| {
        case.expected
            .is_some_and(|rule| rule != "gcp-external-account")
    };
    let cases: Vec<Case> = cases().into_iter().filter(is_secret).collect();
    let mut room = vec![0; 1 << 18];
    let known_value = b"an operator's own secret value\nand its second line";
    let mut known = KnownSet::new(key().id());
    let mut blocks: Vec<(Source, Vec<u8>)> = Vec::new();
    for case in &cases {
        blocks.push((Source::Environ, entry(case, &case.text)));
        blocks.push((
            Source::Arguments,
            format!("--{}", String::from_utf8_lossy(&entry(case, &case.text))).into_bytes(),
        ));
        let once = sample::encode(case.text.as_bytes());
        blocks.push((
            Source::Environ,
            entry(case, &String::from_utf8(once.clone()).unwrap()),
        ));
        blocks.push((
            Source::Environ,
            entry(case, &String::from_utf8(sample::encode(&once)).unwrap()),
        ));
        let percent: Vec<String> = case
            .text
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        blocks.push((Source::Environ, entry(case, &percent.concat())));
    }
    blocks.push((Source::Environ, known_value.to_vec()));
    // All of them in one block, too.
    let together: Vec<u8> = blocks.iter().flat_map(|(_, block)| block.clone()).collect();
    blocks.push((Source::Environ, together));

    // What is shown on purpose is no secret: facts, names. Rules' own words may be in texts as well.
    let shown = format!("{:?}", work(&known, &blocks, &mut room));
    let shown: BTreeSet<&[u8]> = shown.as_bytes().windows(WINDOW).collect();
    let mut hashes = vec![false; 1 << 24];
    let mut windows: Vec<[u8; WINDOW]> = Vec::new();
    let texts = cases.iter().map(|case| case.text.as_bytes());
    for window in texts
        .chain([&known_value[..]])
        .flat_map(|text| text.windows(WINDOW))
    {
        if !shown.contains(window) {
            hashes[hash(window)] = true;
            windows.push(window.try_into().unwrap());
        }
    }
    windows.sort_unstable();
    assert!(windows.len() > 50_000, "{}", windows.len());
    PLANTED.set((hashes, windows)).ok().unwrap();

    let mut found = Vec::new();
    found.reserve_exact(1 << 16);
    ARMED.store(true, Ordering::Relaxed);
    let registered = known.register(
        &key(),
        &mut Scratch::new(&mut room),
        "own",
        Class::Static,
        known_value,
        0,
    );
    found.extend(work(&known, &blocks, &mut room));
    ARMED.store(false, Ordering::Relaxed);

    registered.unwrap();
    assert!(found.iter().any(|it| it.rule.id == "known-value"));
    assert!(found.len() > 4 * cases.len(), "{}", found.len());
    assert!(room.iter().all(|byte| *byte == 0));
    assert!(
        LOOKED.load(Ordering::Relaxed) > 10_000_000,
        "{}",
        LOOKED.load(Ordering::Relaxed)
    );
    assert_eq!(
        SEEN.load(Ordering::Relaxed),
        0,
        "bytes of secrets were given back"
    );

    // The same allocator sees a copy.
    ARMED.store(true, Ordering::Relaxed);
    drop(std::hint::black_box(cases[0].text.clone()));
    ARMED.store(false, Ordering::Relaxed);
    assert!(SEEN.load(Ordering::Relaxed) > 0);
}
