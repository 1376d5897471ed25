//! The `[limits]` table of a profile.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::units::{parse_bytes, parse_percent};
use super::{Limit, LimitsPolicy, Resource};
use crate::policy::Origin;
use crate::policy::diagnostic::Mistake;
use crate::policy::reader::{Reader, Schema, Table};
use crate::policy::secrets::read_time;

pub(crate) const LIMITS: Schema = Schema {
    what: "`[limits]`",
    keys: &["memory", "swap", "pids", "cpu", "io", "open_files", "wall"],
    later: &[],
};

pub(crate) const IO: Schema = Schema {
    what: "`io`",
    keys: &["read", "write", "read_ops", "write_ops"],
    later: &[],
};

/// Less than a program needs to start is a mistake; the upper ends are the kernel's own.
const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 50;
const SWAP: RangeInclusive<u64> = 0..=1 << 50;
/// `PID_MAX_LIMIT`
const PIDS: RangeInclusive<u64> = 1..=4_194_304;
/// A period is 100 ms, and the kernel takes no quota below 1 ms.
const CPU: RangeInclusive<u64> = 1..=100_000;
/// Slower than a page in a second, nothing would start.
const RATE: RangeInclusive<u64> = 4096..=1 << 50;
const OPERATIONS: RangeInclusive<u64> = 1..=1_000_000_000;
/// Entering the job takes a few; the upper end is the default of `fs.nr_open`.
const OPEN_FILES: RangeInclusive<u64> = 64..=1_048_576;
const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_hours(24 * 30);

const SIZE: &str =
    "write a whole number and its unit: \"512MiB\" or \"4GiB\"; without a unit it is bytes";
const SHARE: &str = "write percent of one processor: \"50%\" is half of one, \"200%\" is two";

/// Reads the table, if there is one.
pub(crate) fn read_limits(reader: &mut Reader, root: Table<'_>) -> Option<LimitsPolicy> {
    use Resource as R;
    let table = reader.child(root, "limits", &LIMITS)?;
    let mut said = Vec::new();
    let sizes = [("memory", R::Memory, MEMORY), ("swap", R::Swap, SWAP)];
    for (key, resource, range) in sizes {
        let size = text(reader, table, key, parse_bytes, ("a size", SIZE));
        said.extend(within(reader, key, resource, size, &range));
    }
    let pids = number(reader, table, "pids");
    said.extend(within(reader, "pids", R::Pids, pids, &PIDS));
    let share = text(
        reader,
        table,
        "cpu",
        parse_percent,
        ("a share of processors", SHARE),
    );
    said.extend(within(reader, "cpu", R::Cpu, share, &CPU));
    if let Some(io) = reader.child(table, "io", &IO) {
        for (key, resource) in [("read", R::IoRead), ("write", R::IoWrite)] {
            let rate = text(reader, io, key, parse_bytes, ("a size", SIZE));
            said.extend(within(reader, key, resource, rate, &RATE));
        }
        for (key, resource) in [("read_ops", R::IoReadOps), ("write_ops", R::IoWriteOps)] {
            let rate = number(reader, io, key);
            said.extend(within(reader, key, resource, rate, &OPERATIONS));
        }
    }
    let files = number(reader, table, "open_files");
    said.extend(within(
        reader,
        "open_files",
        R::OpenFiles,
        files,
        &OPEN_FILES,
    ));
    if let Some(time) = read_time(reader, table, "wall", SECOND, MONTH) {
        let span = table.span_of("wall");
        let amount = Spanned::new(span, time.as_secs());
        said.push((R::Wall, limit(reader, &amount)));
    }
    Some(said.into_iter().collect())
}

/// Text with a unit.
fn text(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
    parse: fn(&str) -> Option<u64>,
    (what, help): (&str, &str),
) -> Option<Spanned<u64>> {
    let text = reader.string(table, key)?;
    let amount = parse(text.get_ref());
    if amount.is_none() {
        let mistake = Mistake::new(format!("`{key}` is not {what}")).help(help);
        reader.push(&text.span(), mistake);
    }
    Some(Spanned::new(text.span(), amount?))
}

/// A number of things. A negative one is out of every range.
fn number(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<Spanned<u64>> {
    let number = reader.integer(table, key)?;
    let amount = u64::try_from(*number.get_ref()).unwrap_or(u64::MAX);
    Some(Spanned::new(number.span(), amount))
}

fn within(
    reader: &mut Reader,
    key: &str,
    resource: Resource,
    amount: Option<Spanned<u64>>,
    range: &RangeInclusive<u64>,
) -> Option<(Resource, Limit)> {
    let amount = amount?;
    if !range.contains(amount.get_ref()) {
        let (least, most) = (resource.show(*range.start()), resource.show(*range.end()));
        let mistake = Mistake::new(format!("`{key}` must be {least} to {most}"));
        reader.push(&amount.span(), mistake);
        return None;
    }
    Some((resource, limit(reader, &amount)))
}

fn limit(reader: &Reader, amount: &Spanned<u64>) -> Limit {
    let source = reader.source();
    Limit {
        amount: *amount.get_ref(),
        origin: Origin {
            source: source.name().to_owned(),
            line: source.line(amount.span().start),
        },
    }
}
