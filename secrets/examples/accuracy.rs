//! What the engine finds and misses of labelled samples: precision and recall, by class and together.
//!
//! `cargo xtask accuracy` runs it on the cases of this crate, `cargo xtask accuracy FOLDER` on another corpus. Each file
//! of the folder has one sample in a line: a label, a tab, and the entry as it would stand in an environment,
//! `NAME=VALUE`. The label is the id of the rule that is right, `any` if any rule is, or `none`. In the entry `\n`,
//! `\t` and `\\` stand for a line break, a tab and a backslash. Empty lines and lines that begin with `#` are passed
//! over. What is printed of a wrong one is where it is and its label, and never its text.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it reads samples and prints figures"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use cordon_secrets::cases::{self, cases};
use cordon_secrets::{
    Block, Bounds, Class, Detection, Engine, FingerprintKey, KnownSet, Memory, Rules, Scratch,
    Source,
};

/// Bytes of scratch.
const ROOM: usize = 1 << 20;

/// An entry, and what is in it.
struct Sample {
    /// Where it comes from: what it is about, or file and line.
    place: String,
    label: Label,
    entry: Vec<u8>,
}

/// What is right.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Label {
    Nothing,
    Rule(String),
    Any,
}

/// How often the engine was right and wrong.
#[derive(Clone, Copy, Default)]
struct Count {
    found: u32,
    missed: u32,
    wrong: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let samples = match std::env::args_os().nth(1) {
        Some(folder) => read(Path::new(&folder))?,
        None => own(),
    };
    let key = FingerprintKey::new([1; 32]);
    let engine = Engine::new(&key, &KnownSet::new(key.id()), &Rules::all())?;
    let mut room = vec![0; ROOM];
    let mut counts: BTreeMap<Class, Count> = BTreeMap::new();
    let mut wrong = Vec::new();
    for sample in &samples {
        let found = scan(&engine, &mut room, &sample.entry);
        judge(sample, &found, &mut counts, &mut wrong);
    }
    let harmless = samples.iter().filter(|it| it.label == Label::Nothing);
    let harmless = harmless.count();
    println!(
        "{} samples: {} with a credential, {harmless} without",
        samples.len(),
        samples.len() - harmless
    );
    println!("class                found  missed   wrong   precision  recall");
    let mut all = Count::default();
    for (class, count) in &counts {
        println!("{:<18} {count}", word(*class));
        all.found += count.found;
        all.missed += count.missed;
        all.wrong += count.wrong;
    }
    println!("{:<18} {all}", "all");
    println!("{} wrong ones", wrong.len());
    for line in wrong {
        println!("  {line}");
    }
    Ok(())
}

/// The cases of this crate.
fn own() -> Vec<Sample> {
    let samples = cases().into_iter().map(|case| Sample {
        place: case.why.to_owned(),
        label: case
            .expected
            .map_or(Label::Nothing, |rule| Label::Rule(rule.to_owned())),
        entry: format!("{}={}", case.variable.unwrap_or("SOMETHING"), case.text).into_bytes(),
    });
    samples.collect()
}

/// The samples of all files in a folder.
fn read(folder: &Path) -> Result<Vec<Sample>, Box<dyn Error>> {
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let mut samples = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("read `{}`: {error}", file.display()))?;
        for (number, line) in (1..).zip(text.lines()) {
            let place = format!("{}:{number}", file.display());
            samples.extend(parse(line, place)?);
        }
    }
    Ok(samples)
}

/// The sample in a line, if there is one.
fn parse(line: &str, place: String) -> Result<Option<Sample>, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (label, entry) = line
        .split_once('\t')
        .ok_or_else(|| format!("{place}: no tab; a line is LABEL, tab, NAME=VALUE"))?;
    let label = match label {
        "none" => Label::Nothing,
        "any" => Label::Any,
        id if cases::classes(id).is_some() => Label::Rule(id.to_owned()),
        other => {
            return Err(format!(
                "{place}: no rule `{other}`; labels are ids of `cordon sweep rules`, `any` and `none`"
            ));
        }
    };
    let mut characters = entry.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        let plain = match (character, character == '\\') {
            (_, false) => character,
            (_, true) => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('\\') => '\\',
                _ => {
                    return Err(format!(
                        "{place}: after a backslash comes n, t or another one"
                    ));
                }
            },
        };
        text.push(plain);
    }
    Ok(Some(Sample {
        place,
        label,
        entry: text.into_bytes(),
    }))
}

fn scan(engine: &Engine, room: &mut [u8], entry: &[u8]) -> Vec<Detection> {
    let mut found = Vec::new();
    let block = Block {
        source: Source::Environ,
        bytes: entry,
        truncated: false,
    };
    let bounds = Bounds {
        entries: 1,
        blocks: 1,
        detections: 1,
    };
    let mut memory = Memory::new(&[2; 32], bounds);
    let mut scratch = Scratch::new(room);
    engine.scan(&mut memory, &mut scratch, &block, &mut |it| found.push(it));
    found
}

/// Counts a sample. One with a credential is found if the right rule found it, and counts for the class that it was
/// given; one that was missed counts for the first class of its rule. Each detection of another rule is a wrong one, but
/// for what is inside of the right one: a header that was found by its format has a token in it.
fn judge(
    sample: &Sample,
    found: &[Detection],
    counts: &mut BTreeMap<Class, Count>,
    wrong: &mut Vec<String>,
) {
    let is_right = |it: &Detection| match &sample.label {
        Label::Nothing => false,
        Label::Any => true,
        Label::Rule(rule) => it.rule.id == rule,
    };
    let right = found.iter().find(|it| is_right(it));
    if let Some(right) = right {
        counts.entry(right.class).or_default().found += 1;
    } else if sample.label != Label::Nothing {
        let rule = match &sample.label {
            Label::Rule(rule) => rule,
            _ => "any",
        };
        let classes = cases::classes(rule).unwrap_or_default();
        let class = classes.first().copied().unwrap_or(Class::Unknown);
        counts.entry(class).or_default().missed += 1;
        wrong.push(format!("missed `{rule}`: {}", sample.place));
    }
    let is_inside = |it: &Detection| right.is_some() && it.layers.depth() > 0;
    for it in found.iter().filter(|it| !is_right(it) && !is_inside(it)) {
        counts.entry(it.class).or_default().wrong += 1;
        wrong.push(format!("found `{}`: {}", it.rule.id, sample.place));
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            found,
            missed,
            wrong,
        } = *self;
        let share = |of: u32| match of {
            0 => "      -".to_owned(),
            of => format!("{:6.2}%", f64::from(found) * 100.0 / f64::from(of)),
        };
        write!(
            f,
            "{found:>7} {missed:>7} {wrong:>7}     {} {}",
            share(found + wrong),
            share(found + missed)
        )
    }
}

const fn word(class: Class) -> &'static str {
    match class {
        Class::JobToken => "job token",
        Class::ShortLived => "short-lived",
        Class::Pointer => "pointer",
        Class::Static => "static",
        Class::PrivateKey => "private key",
        Class::RunnerIdentity => "runner identity",
        Class::Unknown => "unknown",
    }
}
