//! The engine of the secret sweep alone: how fast it reads, what it holds, and another scanner beside it.
//!
//! One thread on one processor, and its own processor time, since other programs share the machine. The environments
//! are made up, the same on every run. The other scanner gets the same bytes as files, with line breaks where the
//! entries end, which it reads as text; it is a process of its own, so what an empty run of it takes is taken off.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use cordon_secrets::cases::{Case, cases};
use cordon_secrets::sample::{self, Hostile};
use cordon_secrets::{
    Block, Bounds, Class, Detection, Engine, FingerprintKey, KnownSet, Memory, Rules, Scratch,
    Source,
};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};

use crate::bench::figures::{median, sorted};
use crate::bench::processor::{Processors, pin};

/// Bytes of environments.
const DATA: usize = 16 << 20;
/// Bytes of one hostile block: the longest variable there can be.
const LONGEST: usize = 128 << 10;
/// Environments that are read before they are scanned.
const BATCH: usize = 16;
/// Bytes of scratch.
const ROOM: usize = 1 << 20;
/// Processes of the host.
const PROCESSES: usize = 1000;
/// The other scanner.
const OTHER: &str = "gitleaks";

type Blocks = Vec<(Source, Vec<u8>)>;

/// Measures and prints tables.
pub(super) fn run(rounds: u16) -> Result<()> {
    pin(Processors::find()?.server)?;
    let environments = |list: Vec<Vec<u8>>| -> Blocks {
        let blocks = list.into_iter().map(|block| (Source::Environ, block));
        blocks.collect()
    };
    let unique = environments(sample::unique(1, DATA));
    let inherited = environments(sample::inherited(2, DATA));
    let host = sample::host(3, PROCESSES);
    let key = FingerprintKey::new([1; 32]);
    let mut room = vec![0; ROOM];
    room.fill(1);
    room.fill(0);

    let before = resident()?;
    let mut reader = Reader::new(&key, &KnownSet::new(key.id()))?;
    let on_host: Vec<f64> = (0..rounds)
        .map(|_| reader.read(&host, &mut room))
        .collect::<Result<_>>()?;
    let held = resident()?.saturating_sub(before);

    println!("the engine, one processor; medians of {rounds} rounds");
    let each = |reader: &mut Reader, room: &mut [u8], blocks: &Blocks| -> Result<f64> {
        let times: Vec<f64> = (0..rounds)
            .map(|_| reader.read(blocks, room))
            .collect::<Result<_>>()?;
        Ok(megabytes(blocks) / median(&sorted(times)))
    };
    let rate = each(&mut reader, &mut room, &unique)?;
    println!(
        "  {:<40} {rate:>8.0} MB/s",
        "environments that share nothing"
    );
    let figure = each(&mut reader, &mut room, &inherited)?;
    println!("  {:<40} {figure:>8.0} MB/s", "inherited environments");
    println!(
        "  {:<40} {:>8.1} ms   {:.1} MB with arguments",
        "a host of 1,000 processes",
        median(&sorted(on_host)) * 1e3,
        megabytes(&host)
    );
    let mut knowing = Reader::new(&key, &hundred(&key, &mut room)?)?;
    let figure = each(&mut knowing, &mut room, &unique)?;
    println!(
        "  {:<40} {figure:>8.0} MB/s",
        "that share nothing, 100 known values"
    );
    let mut worst = (f64::MAX, Hostile::Words);
    for hostile in Hostile::ALL {
        let blocks = vec![(Source::Environ, hostile.entry(LONGEST)); 16];
        reader.forgetful = true;
        worst = [worst, (each(&mut reader, &mut room, &blocks)?, hostile)]
            .into_iter()
            .min_by(|(one, _), (other, _)| one.total_cmp(other))
            .unwrap_or(worst);
    }
    println!(
        "  {:<40} {:>8.0} MB/s   {:?}: {:.1} ms for one of 128 KiB",
        "the worst of made-up hostile ones",
        worst.0,
        worst.1,
        0.131_072 / worst.0 * 1e3
    );
    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
    let mebibytes = held as f64 / f64::from(1 << 20);
    println!(
        "  {:<40} {mebibytes:>8.1} MiB",
        "resident, engine and memory of the host"
    );
    compare(&unique, rate, rounds, &mut room)
}

/// An engine, and a new memory for each round.
struct Reader {
    engine: Engine,
    /// Whether each block is read as if it were the first.
    forgetful: bool,
}

impl Reader {
    fn new(key: &FingerprintKey, known: &KnownSet) -> Result<Self> {
        Ok(Self {
            engine: Engine::new(key, known, &Rules::all())?,
            forgetful: false,
        })
    }

    /// Scans all blocks; seconds of this thread's processor time. They are copied first, a few at a time, as a sweep
    /// reads them: what is scanned is in the processor's cache.
    fn read(&self, blocks: &Blocks, room: &mut [u8]) -> Result<f64> {
        let mut arena = vec![Vec::new(); BATCH];
        let mut memory = Memory::new(&[3; 32], Bounds::default());
        let mut spent = 0.0;
        for batch in blocks.chunks(BATCH) {
            for (to, (_, from)) in arena.iter_mut().zip(batch) {
                to.clear();
                to.extend_from_slice(from);
            }
            let started = now()?;
            for (bytes, (source, _)) in arena.iter().zip(batch) {
                if self.forgetful {
                    memory.forget();
                }
                let block = Block {
                    source: *source,
                    bytes,
                    truncated: false,
                };
                let mut scratch = Scratch::new(room);
                self.engine
                    .scan(&mut memory, &mut scratch, &block, &mut |found| {
                        std::hint::black_box(found);
                    });
            }
            spent += now()? - started;
        }
        Ok(spent)
    }
}

/// A set of a hundred values, none of which is in any block.
fn hundred(key: &FingerprintKey, room: &mut [u8]) -> Result<KnownSet> {
    let mut numbers = sample::Numbers::new(9);
    let mut known = KnownSet::new(key.id());
    for number in 0..100 {
        let value = numbers.text(b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789!/ ", 24);
        known.register(
            key,
            &mut Scratch::new(room),
            &format!("value/{number}"),
            Class::Static,
            value.as_bytes(),
            0,
        )?;
    }
    Ok(known)
}

/// Processor time of this thread, in seconds.
fn now() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("clock_gettime")?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 ns")]
    let seconds = time.num_nanoseconds() as f64 / 1e9;
    Ok(seconds)
}

/// Bytes of this process in memory.
fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("no VmRSS")?.parse()?;
    Ok(kibibytes * 1024)
}

fn megabytes(blocks: &Blocks) -> f64 {
    let bytes: usize = blocks.iter().map(|(_, block)| block.len()).sum();
    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
    let megabytes = bytes as f64 / 1e6;
    megabytes
}

/// The other scanner: how fast, and what it finds of the labelled cases.
fn compare(unique: &Blocks, rate: f64, rounds: u16, room: &mut [u8]) -> Result<()> {
    let Ok(other) = Other::find() else {
        println!("{OTHER}: NOT MEASURED, it is not there");
        return Ok(());
    };
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let part = |name: &str| -> Result<PathBuf> {
        let path = folder.path().join(name);
        fs::create_dir(&path).with_context(|| format!("make `{}`", path.display()))?;
        Ok(path)
    };
    let (empty, data, labelled) = (part("empty")?, part("data")?, part("labelled")?);
    for (number, (_, block)) in unique.iter().enumerate() {
        write(&data, number, block)?;
    }
    let mut times = Vec::new();
    for _ in 0..rounds.min(5) {
        let (nothing, _) = other.scan(&empty, None)?;
        let (all, _) = other.scan(&data, None)?;
        times.push(all - nothing);
    }
    let theirs = megabytes(unique) / median(&sorted(times));
    println!(
        "{OTHER} {}, of the same bytes, one processor",
        other.version
    );
    println!(
        "  {:<40} {theirs:>8.1} MB/s   x{:.0} as fast is this engine",
        "environments that share nothing",
        rate / theirs
    );
    let cases = cases();
    for (number, case) in cases.iter().enumerate() {
        write(&labelled, number, &entry(case))?;
    }
    for (what, depth) in [("as it comes", None), ("decoding three layers", Some(3))] {
        let (_, found) = other.scan(&labelled, depth)?;
        tell(what, &cases, &found);
    }
    let ours = own(&cases, room)?;
    tell("this engine", &cases, &ours);
    Ok(())
}

fn entry(case: &Case) -> Vec<u8> {
    format!("{}={}\0", case.variable.unwrap_or("SOMETHING"), case.text).into_bytes()
}

/// A block as a text file.
fn write(folder: &Path, number: usize, block: &[u8]) -> Result<()> {
    let lines: Vec<u8> = block
        .iter()
        .map(|byte| if *byte == 0 { b'\n' } else { *byte })
        .collect();
    let path = folder.join(format!("{number}.txt"));
    fs::write(&path, lines).with_context(|| format!("write `{}`", path.display()))
}

/// The numbers of the cases in which this engine finds something.
fn own(cases: &[Case], room: &mut [u8]) -> Result<BTreeSet<usize>> {
    let key = FingerprintKey::new([1; 32]);
    let reader = Reader::new(&key, &KnownSet::new(key.id()))?;
    let mut found = BTreeSet::new();
    for (number, case) in cases.iter().enumerate() {
        let mut memory = Memory::new(&[3; 32], Bounds::default());
        let block = Block {
            source: Source::Environ,
            bytes: &entry(case),
            truncated: false,
        };
        let mut sink = |_: Detection| {
            found.insert(number);
        };
        let mut scratch = Scratch::new(room);
        reader
            .engine
            .scan(&mut memory, &mut scratch, &block, &mut sink);
    }
    Ok(found)
}

/// Prints what was found of the cases: of all with a credential; of those whose format it knows, which means that it
/// found one of them; and of those without any.
fn tell(what: &str, cases: &[Case], found: &BTreeSet<usize>) {
    let with = |rules: Option<&BTreeSet<&str>>| -> Vec<usize> {
        let numbered = cases.iter().enumerate();
        let is_one = |case: &Case| {
            case.expected
                .is_some_and(|rule| rules.is_none_or(|rules| rules.contains(rule)))
        };
        numbered
            .filter(|(_, case)| is_one(case))
            .map(|(number, _)| number)
            .collect()
    };
    let of = |numbers: &[usize]| numbers.iter().filter(|it| found.contains(it)).count();
    let all = with(None);
    let known: BTreeSet<&str> = all
        .iter()
        .filter(|it| found.contains(it))
        .filter_map(|it| cases.get(*it)?.expected)
        .collect();
    let both = with(Some(&known));
    let harmless: Vec<usize> = (0..cases.len())
        .filter(|it| cases.get(*it).is_some_and(|case| case.expected.is_none()))
        .collect();
    println!(
        "  labelled cases, {what:<24} {:>4} of {} found; of the {} formats of which it finds one, \
         {} of {}; {} of {} harmless ones flagged",
        of(&all),
        all.len(),
        known.len(),
        of(&both),
        both.len(),
        of(&harmless),
        harmless.len()
    );
}

/// Another scanner that is installed.
struct Other {
    program: PathBuf,
    version: String,
}

impl Other {
    fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
        let program = std::iter::once(tools)
            .chain(std::env::split_paths(&path))
            .map(|folder| folder.join(OTHER))
            .find(|program| program.is_file())
            .context("not installed")?;
        Ok(Self {
            version: version(&program),
            program,
        })
    }

    /// Seconds of processor time that a scan takes, and the numbers of the files in which something was found.
    fn scan(&self, folder: &Path, depth: Option<u8>) -> Result<(f64, BTreeSet<usize>)> {
        let report = folder.with_extension("report");
        let mut command = Command::new(&self.program);
        command
            .args(["dir", "--no-banner", "--log-level", "error"])
            .args(["--exit-code", "0", "--report-format", "json"])
            .arg("--report-path")
            .arg(&report);
        if let Some(depth) = depth {
            command.args(["--max-decode-depth", &depth.to_string()]);
        }
        let before = children()?;
        let status = command
            .arg(folder)
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("start {OTHER}"))?;
        let spent = children()? - before;
        ensure!(status.success(), "{OTHER}: {status}");
        let text = fs::read(&report).context("read the report")?;
        let findings: Vec<serde_json::Value> = serde_json::from_slice(&text)?;
        let mut files = BTreeSet::new();
        for finding in findings {
            let file = finding.get("File").and_then(serde_json::Value::as_str);
            let stem = file.and_then(|file| Path::new(file).file_stem());
            let Some(number) = stem.and_then(OsStr::to_str) else {
                bail!("{OTHER}: a finding without a file");
            };
            files.insert(number.parse()?);
        }
        Ok((spent, files))
    }
}

/// The release of the package, which the program itself does not tell where distributions build it.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match text {
        Ok(version) if version.starts_with(|first: char| first.is_ascii_digit()) => version,
        _ => "of Debian".to_owned(),
    }
}

/// Processor time of all children that have ended, in seconds.
fn children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let time = usage.user_time() + usage.system_time();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 us")]
    let seconds = time.num_microseconds() as f64 / 1e6;
    Ok(seconds)
}
