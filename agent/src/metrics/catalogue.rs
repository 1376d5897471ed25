//! Every family of metrics there is, in the order of the page. Pure.
//!
//! Names and labels are a promise to whoever wrote a dashboard or an alert; docs/metrics.md is compared with this list.
//! No label has a value that a job chooses: profiles, rules and the words below are known sets.

#![forbid(unsafe_code)]

use super::text::{Family, Kind};

macro_rules! families {
    ($($(#[$about:meta])* $name:ident: $kind:ident $text:literal [$($label:literal),*] $help:literal;)*) => {
        $($(#[$about])* pub const $name: Family = Family {
            name: $text,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All of them.
        pub const FAMILIES: &[&Family] = &[$(&$name),*];
    };
}

families! {
    /// What runs.
    BUILD_INFO: Gauge "cordon_build_info" ["version", "object"]
        "Always 1; the version of the daemon, and the first 16 digits of the SHA-256 of the BPF object that enforces.";
    /// Since when.
    START_TIME: Gauge "cordon_start_time_seconds" []
        "When the daemon started, in seconds since 1970.";
    /// When settings were read.
    SETTINGS_READ: Gauge "cordon_settings_read_time_seconds" []
        "When the settings that hold were read, in seconds since 1970.";
    /// Readings of settings.
    SETTINGS_RELOADS: Counter "cordon_settings_reloads_total" ["result"]
        "Times the daemon was told to read its settings again: `read`, or `refused`, where the old ones hold.";
    /// Whether anything is enforced.
    ENFORCEMENT_ACTIVE: Gauge "cordon_enforcement_active" []
        "1 if every program that enforces is attached where it should be, asked of the kernel at this scrape.";
    /// Whether the LSM programs are.
    LSM_ACTIVE: Gauge "cordon_lsm_active" []
        "1 if the kernel takes the BPF LSM programs.";
    /// Units.
    RUNNERS: Gauge "cordon_runners" ["state"]
        "Units of runners in the slice that are `enforced`, `starting`, or `denied` everything.";
    /// Jobs.
    JOBS_ACTIVE: Gauge "cordon_jobs_active" []
        "Jobs that are being set up or enforced.";
    /// Jobs that are over.
    JOBS: Counter "cordon_jobs_total" ["result"]
        "Jobs that were asked for and are over: `sealed` with evidence, `failed`, `refused` by the settings, or `left` to the next daemon.";
    /// How long they took.
    JOB_DURATION: Histogram "cordon_job_duration_seconds" []
        "Seconds from the release of a sealed job to the end of its last process.";
    /// Verdicts.
    EGRESS_DECISIONS: Counter "cordon_egress_decisions_total" ["verdict", "profile"]
        "Connects, sends, sockets and packets that were judged: `denied` and `would_deny` (audit mode) as they happen, `allowed` when a job or runner ends.";
    /// Names.
    NAMES_REFUSED: Counter "cordon_dns_refusals_total" ["profile"]
        "DNS questions that were refused, or would be in audit mode; counted when a job or runner ends.";
    /// Bytes.
    EGRESS_BYTES: Counter "cordon_egress_bytes_total" ["direction"]
        "Bytes of IP packets to (`out`) and from (`in`) allowed destinations; counted when a job or runner ends.";
    /// Losses.
    EVENTS_LOST: Counter "cordon_events_lost_total" ["source"]
        "What evidence does not have in its lists; verdicts and their totals stay exact.";
    /// Gaps.
    ENFORCEMENT_GAPS: Counter "cordon_enforcement_gaps_total" []
        "Jobs and runners whose evidence says that something did not enforce for a time.";
    /// Secrets.
    SECRET_FINDINGS: Counter "cordon_secret_findings_total" ["rule"]
        "Secrets where the policy does not want them, by the rule that knew them; counted as they are found.";
    /// Sweeps.
    SWEEP_DURATION: Histogram "cordon_sweep_duration_seconds" []
        "Seconds of sweeps over all processes of a job; counted when it ends.";
    /// Limits.
    LIMIT_HITS: Counter "cordon_cgroup_limit_hits_total" ["controller"]
        "Limits that jobs met: `memory` (processes killed), `pids` (forks refused), `cpu` (periods throttled), `time` (jobs ended); counted when a job ends.";
    /// Evidence.
    REPORTS_SIGNED: Counter "cordon_reports_signed_total" ["result"]
        "Evidence of jobs and runners that was to be signed and sealed: `sealed` or `failed`.";
    /// Telemetry.
    TELEMETRY_LINES: Counter "cordon_telemetry_lines_total" ["result"]
        "Lines of telemetry: `written`, or `failed`, for which there is evidence all the same.";
    /// Processor time.
    CPU_SECONDS: Counter "cordon_jobs_cpu_seconds_total" []
        "Processor time of jobs; counted when they end.";
    /// Energy.
    ENERGY: Counter "cordon_jobs_energy_joules_total" []
        "Energy of jobs, measured or by the model that their evidence names; counted when they end.";
}

/// Values of `verdict`.
pub const VERDICTS: [&str; 3] = [ALLOWED, DENIED, WOULD_DENY];
/// A rule allowed it.
pub const ALLOWED: &str = "allowed";
/// It was refused.
pub const DENIED: &str = "denied";
/// It was let pass, in audit mode, and would be refused.
pub const WOULD_DENY: &str = "would_deny";
/// Values of `source`.
pub const SOURCES: [&str; 11] = [
    "records",
    "flows",
    "undecodable",
    "details",
    "names",
    "questions_refused",
    "questions_malformed",
    "memory",
    "members",
    "sweep_execs",
    "sweep_details",
];
/// Values of `controller`.
pub const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "time"];
/// Values of `direction`.
pub const DIRECTIONS: [&str; 2] = ["out", "in"];
/// Values of `result` of jobs.
pub const JOB_RESULTS: [&str; 4] = ["sealed", "failed", "refused", "left"];
/// Values of `result` of evidence.
pub const REPORT_RESULTS: [&str; 2] = ["sealed", "failed"];
/// Values of `result` of telemetry.
pub const LINE_RESULTS: [&str; 2] = ["written", "failed"];
/// Values of `result` of readings of settings.
pub const RELOAD_RESULTS: [&str; 2] = ["read", "refused"];
/// Values of `state` of runners.
pub const RUNNER_STATES: [&str; 3] = ["enforced", "starting", "denied"];
/// The value of a label for everything that is not in its set, or beyond its bound.
pub const OTHER: &str = "other";
/// Different profiles that have series of their own.
pub const PROFILES: usize = 64;
/// Upper bounds of the times of sweeps, microseconds.
pub const SWEEP_BOUNDS: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
];
/// Upper bounds of the times of jobs, microseconds.
pub const JOB_BOUNDS: &[u64] = &[
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    1_200_000_000,
    3_600_000_000,
    14_400_000_000,
    21_600_000_000,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_what_prometheus_asks_for() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            let name = family.name;
            assert!(name.starts_with("cordon_"), "{name}");
            assert_eq!(
                family.kind == Kind::Counter,
                name.ends_with("_total"),
                "{name}"
            );
            assert!(
                family.help.ends_with('.') && !family.help.contains('|'),
                "{name}"
            );
        }
    }

    #[test]
    fn bounds_go_up() {
        for bounds in [SWEEP_BOUNDS, JOB_BOUNDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }

    /// The table of docs/metrics.md, made of the list; `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn the_table_in_the_documents_is_the_list() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = crate::sys::fs::read_to_string(&path, 1 << 20).unwrap();
        let mut table =
            String::from("| name | type | labels | meaning |\n| --- | --- | --- | --- |\n");
        for family in FAMILIES {
            let labels: Vec<_> = family
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let (name, kind, help) = (family.name, family.kind.word(), family.help);
            let labels = labels.join(", ");
            table += &[
                "| `", name, "` | ", kind, " | ", &labels, " | ", help, " |\n",
            ]
            .concat();
        }
        let (before, rest) = text.split_once("<!-- families -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- end of families -->").unwrap();
        let current = format!("{before}<!-- families -->\n{table}<!-- end of families -->{after}");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            crate::sys::fs::write_atomic(&path, current.as_bytes(), 0o644).unwrap();
        }
        let text = crate::sys::fs::read_to_string(&path, 1 << 20).unwrap();
        assert_eq!(
            text, current,
            "docs/metrics.md is not current: UPDATE_GOLDEN=1 writes it"
        );
    }

    /// The document names each value of each label.
    #[test]
    fn every_value_of_a_label_is_documented() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = crate::sys::fs::read_to_string(&path, 1 << 20).unwrap();
        let sets: [&[&str]; 8] = [
            &VERDICTS,
            &SOURCES,
            &CONTROLLERS,
            &DIRECTIONS,
            &JOB_RESULTS,
            &LINE_RESULTS,
            &RELOAD_RESULTS,
            &RUNNER_STATES,
        ];
        for value in sets.into_iter().flatten() {
            assert!(text.contains(&format!("`{value}`")), "{value}");
        }
    }
}
