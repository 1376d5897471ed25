//! How fast the engine is: `cargo run --release -p cordon-secrets --features sample --example throughput`.
//!
//! One thread; megabytes for each second of its own processor time, the best of several runs, since other
//! programs share the processor and its caches. A word as argument chooses the lines that hold it.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it measures and prints figures"
)]

use cordon_secrets::sample::{self, Hostile};
use cordon_secrets::{
    Block, Bounds, Engine, FingerprintKey, KnownSet, Memory, Rules, Scratch, Source,
};
use nix::time::{ClockId, clock_gettime};

const RUNS: usize = 7;
const DATA: usize = 16 * 1024 * 1024;
/// Environments that are read before they are scanned.
const BATCH: usize = 16;
const SCRATCH: usize = 1024 * 1024;

fn main() {
    let key = FingerprintKey::new([1; 32]);
    let started = now();
    let known = KnownSet::new(key.id());
    let engine = engine(&key, &known);
    println!("engine made in {:.1} ms", (now() - started) * 1e3);
    let unique = sample::unique(1, DATA);
    let inherited = sample::inherited(2, DATA);
    let same = vec![inherited.first().cloned().unwrap_or_default(); DATA / 8192];
    show("unique environments", &engine, &unique);
    show("inherited environments", &engine, &inherited);
    show("the same environment again", &engine, &same);
    show_host(&engine);
    let mut known = KnownSet::new(key.id());
    let mut room = vec![0; 4096];
    for number in 0..100_u32 {
        let value = format!("known value number {number} of a hundred");
        let mut scratch = Scratch::new(&mut room);
        let registered = known.register(
            &key,
            &mut scratch,
            &format!("value/{number}"),
            cordon_secrets::Class::Static,
            value.as_bytes(),
            0,
        );
        registered.unwrap();
    }
    show(
        "unique, 100 known values",
        &self::engine(&key, &known),
        &unique,
    );
    for hostile in Hostile::ALL {
        for size in [16 * 1024, 128 * 1024] {
            let block = hostile.entry(size);
            let blocks = vec![block; 2 * 1024 * 1024 / size];
            show(
                &format!("{hostile:?}, {} KiB", size / 1024),
                &engine,
                &blocks,
            );
        }
    }
}

fn engine(key: &FingerprintKey, known: &KnownSet) -> Engine {
    Engine::new(key, known, &Rules::all()).unwrap()
}

/// Scans the processes of a host with an empty memory, several times.
fn show_host(engine: &Engine) {
    let what = "a host of 1,000 processes";
    if !what.contains(&std::env::args().nth(1).unwrap_or_default()) {
        return;
    }
    let blocks = sample::host(3, 1000);
    let bytes: usize = blocks.iter().map(|(_, block)| block.len()).sum();
    let mut room = vec![0; SCRATCH];
    let (mut best, mut found) = (f64::MAX, 0);
    for _run in 0..RUNS {
        let started = now();
        let mut memory = Memory::new(&[3; 32], Bounds::default());
        found = 0;
        for (source, bytes) in &blocks {
            let block = Block {
                source: *source,
                bytes,
                truncated: false,
            };
            let mut scratch = Scratch::new(&mut room);
            engine.scan(&mut memory, &mut scratch, &block, &mut |_| found += 1);
        }
        best = best.min(now() - started);
    }
    println!(
        "{what:32} {:8.1} ms   {found:8} found, {:.1} MB",
        best * 1e3,
        bytes as f64 / 1e6
    );
}

/// Scans all blocks with an empty memory, several times. A hostile entry is forgotten each time, or only the first
/// would cost anything.
fn show(what: &str, engine: &Engine, blocks: &[Vec<u8>]) {
    let filter = std::env::args().nth(1).unwrap_or_default();
    if !what.contains(&filter) {
        return;
    }
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    let mut room = vec![0; SCRATCH];
    let (mut best, mut found, mut visited) = (f64::MAX, 0, 0);
    let forgets = blocks.first() == blocks.get(1) && blocks.len() < 500;
    // A sweep reads a few environments and scans them, so they are in the cache.
    let mut arena: Vec<Vec<u8>> = vec![Vec::new(); BATCH];
    for _run in 0..RUNS {
        let mut memory = Memory::new(&[3; 32], Bounds::default());
        let mut spent = 0.0;
        (found, visited) = (0, 0);
        for batch in blocks.chunks(BATCH) {
            for (to, from) in arena.iter_mut().zip(batch) {
                to.clear();
                to.extend_from_slice(from);
            }
            let started = now();
            for block in arena.iter().take(batch.len()) {
                if forgets {
                    memory.forget();
                }
                let block = Block {
                    source: Source::Environ,
                    bytes: block,
                    truncated: false,
                };
                let mut scratch = Scratch::new(&mut room);
                let scanned = engine.scan(&mut memory, &mut scratch, &block, &mut |_| found += 1);
                visited += scanned.visited;
            }
            spent += now() - started;
        }
        best = best.min(spent);
    }
    let megabytes = bytes as f64 / 1e6;
    let looked = visited as f64 / bytes as f64;
    println!(
        "{what:32} {:8.0} MB/s {found:8} found, {looked:.2} of it looked at",
        megabytes / best
    );
}

/// Processor time of this thread, in seconds.
fn now() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    let time = time.unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}
