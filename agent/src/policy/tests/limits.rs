//! The `[limits]` table: what it may say, what is wrong with it, what several say together.

use super::loading::Shelf;
use super::{parse, wrong};
use crate::policy::limits::Resource;
use crate::policy::{LimitsPolicy, Policy};

/// A profile with these lines in its `[limits]`.
fn profile(limits: &str) -> String {
    format!("name = \"job\"\n[limits]\n{limits}\n")
}

fn amounts(limits: &LimitsPolicy) -> Vec<(&'static str, String)> {
    let all = limits.iter();
    all.map(|(resource, limit)| (resource.name(), resource.show(limit.amount)))
        .collect()
}

#[test]
fn what_nobody_says_is_not_limited() {
    for text in ["name = \"job\"\n", "name = \"job\"\n[limits]\n"] {
        assert!(parse(text).limits.is_empty());
    }
}

#[test]
fn all_that_can_be_said_is_read_with_its_place() {
    let text = profile(
        r#"memory = "64MiB"
swap = "0"
pids = 1024
cpu = "150%"
io = { read = "10MiB", write = "512KiB", read_ops = 100, write_ops = 50 }
open_files = 4096
wall = "2h""#,
    );
    let limits = parse(&text).limits;
    assert_eq!(
        amounts(&limits),
        [
            ("memory", "64MiB"),
            ("swap", "0"),
            ("pids", "1024"),
            ("cpu", "150%"),
            ("io-read", "10MiB/s"),
            ("io-write", "512KiB/s"),
            ("io-read-ops", "100/s"),
            ("io-write-ops", "50/s"),
            ("open-files", "4096"),
            ("wall", "2h"),
        ]
        .map(|(name, amount)| (name, amount.to_owned()))
    );
    assert_eq!(limits.amount(Resource::Memory), Some(64 << 20));
    assert_eq!(limits.amount(Resource::Wall), Some(7200));
    let cpu = limits.get(Resource::Cpu).unwrap();
    assert_eq!(cpu.origin.to_string(), "job.toml:6");
}

#[test]
fn every_mistake_has_its_place() {
    let text = profile(
        r#"memory = "4GB"
swap = 0
pids = 0
cpu = "2"
cpus = 1
io = { read = "1KiB", writes = 1, read_ops = -1 }
open-files = 100
open_files = 3
wall = "1d""#,
    );
    assert_eq!(
        wrong(&text),
        [
            "3: `memory` is not a size",
            "4: `swap` must be text in quotes",
            "5: `pids` must be 1 to 4194304",
            "6: `cpu` is not a share of processors",
            "7: unknown key `cpus` in `[limits]`",
            "8: `read` must be 4KiB/s to 1024TiB/s",
            "8: unknown key `writes` in `io`",
            "8: `read_ops` must be 1/s to 1000000000/s",
            "9: unknown key `open-files` in `[limits]`",
            "10: `open_files` must be 64 to 1048576",
            "11: `wall` is not a length of time",
        ]
    );
    for (line, message) in [
        (
            "memory = \"1023KiB\"",
            "3: `memory` must be 1MiB to 1024TiB",
        ),
        ("cpu = \"0%\"", "3: `cpu` must be 1% to 100000%"),
        ("wall = \"0s\"", "3: `wall` must be 1s to 720h"),
        ("pids = \"9\"", "3: `pids` must be a whole number"),
        ("io = \"10MiB\"", "3: `io` must be a table"),
    ] {
        assert_eq!(wrong(&profile(line)), [message]);
    }
}

#[test]
fn a_wrong_amount_is_drawn_with_caret_and_help() {
    let text = profile("memory = \"4GB\"");
    let mistakes = Policy::parse("ci/job.toml", text.as_bytes()).unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "\
error: `memory` is not a size
 --> ci/job.toml:3:10
  |
3 | memory = \"4GB\"
  |          ^^^^^
  |
  = help: write a whole number and its unit: \"512MiB\" or \"4GiB\"; without a unit it is bytes"
    );
}

#[test]
fn the_narrowest_of_all_profiles_holds_also_of_extended_ones() {
    let shelf = Shelf::new(&[
        (
            "profiles.d/site.toml",
            "name = \"site\"\n[limits]\nmemory = \"2GiB\"\npids = 100\nwall = \"1h\"\n",
        ),
        (
            "profiles.d/job.toml",
            "name = \"job\"\nextends = [\"site\"]\n[limits]\nmemory = \"4GiB\"\npids = 50\n",
        ),
        (
            "profiles.d/other.toml",
            "name = \"other\"\n[limits]\ncpu = \"50%\"\n",
        ),
    ]);
    let limits = shelf.load(&["job", "other"]).unwrap().limits;
    assert_eq!(
        amounts(&limits),
        [
            ("memory", "2GiB"),
            ("pids", "50"),
            ("cpu", "50%"),
            ("wall", "1h")
        ]
        .map(|(name, amount)| (name, amount.to_owned()))
    );
    let origin = |resource| limits.get(resource).unwrap().origin.to_string();
    assert!(origin(Resource::Memory).ends_with("site.toml:3"));
    assert!(origin(Resource::Pids).ends_with("job.toml:5"));
}
