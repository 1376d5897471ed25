//! Counters go up, and come to what the reports say.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::text::tests::read;
use super::*;
use crate::report::fixture;
use crate::report::sweep::fixture as sweeps;

fn kernel(denied: u64) -> KernelCounts {
    KernelCounts {
        denied,
        records: denied / 2,
        ..KernelCounts::default()
    }
}

fn report(denied: u64, allowed: u64) -> Report {
    let mut report = fixture::report();
    report.summary.denied = denied;
    report.summary.allowed = allowed;
    report.losses.records = denied / 2;
    report
}

/// What a page says of a series.
fn number(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    let series = (name.to_owned(), labels.collect());
    read(&metrics.render(&Now::default())).get(&series).copied()
}

fn decisions(metrics: &Metrics, verdict: &str, profile: &str) -> Option<f64> {
    let labels = [("verdict", verdict), ("profile", profile)];
    number(metrics, "cordon_egress_decisions_total", &labels)
}

fn read_now(metrics: &mut Metrics, denied: u64) {
    for which in metrics.to_read() {
        metrics.counted(&which, &kernel(denied));
    }
}

#[test]
fn what_is_counted_live_is_counted_once() {
    let mut metrics = Metrics::default();
    metrics.begun("a", "app", Mode::Enforce);
    // The proof's own denials are not the job's.
    read_now(&mut metrics, 9);
    assert_eq!(decisions(&metrics, "denied", "app"), Some(0.0));
    metrics.enforced("a");
    read_now(&mut metrics, 3);
    assert_eq!(decisions(&metrics, "denied", "app"), Some(3.0));
    let of_a = metrics.to_read();
    let ended = report(5, 7);
    let sealed = Ended::Sealed {
        report: &ended,
        sweep: None,
    };
    metrics.over("a", true, sealed);
    assert_eq!(decisions(&metrics, "denied", "app"), Some(5.0));
    assert_eq!(decisions(&metrics, "allowed", "app"), Some(7.0));
    assert_eq!(
        number(&metrics, "cordon_jobs_total", &[("result", "sealed")]),
        Some(1.0)
    );
    // What was read of it before it ended comes late, and meets another of its name.
    metrics.begun("a", "app", Mode::Enforce);
    metrics.enforced("a");
    metrics.counted(&of_a[0], &kernel(4));
    assert_eq!(decisions(&metrics, "denied", "app"), Some(5.0));
}

#[test]
fn a_job_that_was_taken_over_is_counted_from_there() {
    let mut metrics = Metrics::default();
    metrics.begun("a", "app", Mode::Enforce);
    metrics.taken_over("a", &kernel(10));
    read_now(&mut metrics, 10);
    assert_eq!(decisions(&metrics, "denied", "app"), Some(0.0));
    let ended = report(12, 4);
    let sealed = Ended::Sealed {
        report: &ended,
        sweep: None,
    };
    metrics.over("a", true, sealed);
    assert_eq!(decisions(&metrics, "denied", "app"), Some(2.0));
    assert_eq!(decisions(&metrics, "allowed", "app"), Some(4.0));
}

#[test]
fn a_job_that_came_to_be_enforced_is_counted_once() {
    let mut metrics = Metrics::default();
    metrics.begun("a", "app", Mode::Audit);
    metrics.enforced("a");
    read_now(&mut metrics, 3);
    let ended = report(5, 0);
    let sealed = Ended::Sealed {
        report: &ended,
        sweep: None,
    };
    metrics.over("a", true, sealed);
    assert_eq!(decisions(&metrics, "would_deny", "app"), Some(3.0));
    assert_eq!(decisions(&metrics, "denied", "app"), Some(2.0));
}

#[test]
fn secrets_count_when_they_are_found_and_no_rule_is_made_up() {
    let mut metrics = Metrics::default();
    let rule = |metrics: &Metrics, rule: &str| {
        number(metrics, "cordon_secret_findings_total", &[("rule", rule)])
    };
    assert_eq!(rule(&metrics, "github-pat"), Some(0.0));
    metrics.begun("a", "app", Mode::Enforce);
    metrics.found("a", "github-pat");
    metrics.found("a", "x\"} 7\ncordon_forged 1");
    assert_eq!(rule(&metrics, "github-pat"), Some(1.0));
    assert_eq!(rule(&metrics, "other"), Some(1.0));
    let (report, sweep) = (fixture::report(), sweeps::report());
    let sealed = Ended::Sealed {
        report: &report,
        sweep: Some(&sweep),
    };
    metrics.over("a", true, sealed);
    let of_rule = |wanted: &str| {
        sweep
            .findings
            .iter()
            .filter(|finding| finding.rule == wanted)
            .count()
    };
    let most = of_rule("github-pat").max(1);
    assert_eq!(rule(&metrics, "github-pat"), Some(float(most as u64)));
    let count = number(&metrics, "cordon_sweep_duration_seconds_count", &[]);
    assert_eq!(count, Some(float(sweep.coverage.sweeps.len() as u64)));
}

#[test]
fn profiles_beyond_the_bound_are_others() {
    let mut metrics = Metrics::default();
    let series = |metrics: &Metrics| read(&metrics.render(&Now::default())).len();
    for number in 0..names::PROFILES {
        metrics.know(&format!("p{number}"));
    }
    let before = series(&metrics);
    for number in 0..1000 {
        let id = number.to_string();
        metrics.begun(&id, &format!("\"}}\n{number}"), Mode::Enforce);
        metrics.enforced(&id);
    }
    read_now(&mut metrics, 1);
    assert_eq!(series(&metrics), before);
    assert_eq!(decisions(&metrics, "denied", "other"), Some(1000.0));
}

#[test]
fn every_family_is_on_the_page_from_the_start() {
    let page = Metrics::default().render(&Now {
        object: "ab".repeat(32),
        ..Now::default()
    });
    for family in names::FAMILIES {
        let name = family.name;
        assert_eq!(
            page.matches(&format!("# TYPE {name} ")).count(),
            1,
            "{name}"
        );
        assert!(page.contains(&format!("\n{name}")), "{name} has no series");
    }
    assert!(page.contains("object=\"abababababababab\"} 1\n"), "{page}");
    assert!(page.ends_with('\n'));
}

#[test]
fn numbers_are_in_base_units() {
    let mut metrics = Metrics::default();
    metrics.begun("a", "app", Mode::Enforce);
    let mut ended = report(0, 0);
    let limits = ended.limits.as_mut().unwrap();
    limits.usage.cpu_microseconds = Some(1_250_000);
    limits.estimate.energy_millijoules = Some(2_005);
    let sealed = Ended::Sealed {
        report: &ended,
        sweep: None,
    };
    metrics.over("a", true, sealed);
    assert_eq!(
        number(&metrics, "cordon_jobs_cpu_seconds_total", &[]),
        Some(1.25)
    );
    assert_eq!(
        number(&metrics, "cordon_jobs_energy_joules_total", &[]),
        Some(2.005)
    );
    // From 08:15:00.25 to 08:16:41.75.
    assert_eq!(
        number(&metrics, "cordon_job_duration_seconds_sum", &[]),
        Some(101.5)
    );
    let bucket = |bound| {
        number(
            &metrics,
            "cordon_job_duration_seconds_bucket",
            &[("le", bound)],
        )
    };
    assert_eq!(
        (bucket("60"), bucket("120"), bucket("+Inf")),
        (Some(0.0), Some(1.0), Some(1.0))
    );
}

/// What can happen to jobs.
#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Enforce(usize),
    Deny(usize, u64),
    Read,
    Find(usize),
    End(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let job = 0..4_usize;
    prop_oneof![
        job.clone().prop_map(Step::Begin),
        job.clone().prop_map(Step::Enforce),
        (job.clone(), 0..5_u64).prop_map(|(job, more)| Step::Deny(job, more)),
        Just(Step::Read),
        job.clone().prop_map(Step::Find),
        (job, any::<bool>()).prop_map(|(job, sealed)| Step::End(job, sealed)),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
fn float(count: u64) -> f64 {
    count as f64
}

proptest! {
    /// The promise: no counter goes down, and when all is over denials are those of the reports.
    #[test]
    fn a_counter_never_goes_down(steps in proptest::collection::vec(step(), 0..60)) {
        let mut metrics = Metrics::default();
        // What the kernel says of each job that runs: whether it is enforced, and its denials.
        let mut truth: BTreeMap<usize, (bool, u64)> = BTreeMap::new();
        let mut total = 0_u64;
        let mut before = BTreeMap::new();
        let all_ends: Vec<_> = (0..4).map(|job| Step::End(job, true)).collect();
        for step in steps.into_iter().chain(all_ends) {
            match step {
                Step::Begin(job) if !truth.contains_key(&job) => {
                    metrics.begun(&job.to_string(), "app", Mode::Enforce);
                    truth.insert(job, (false, 0));
                }
                Step::Enforce(job) => {
                    metrics.enforced(&job.to_string());
                    truth.entry(job).and_modify(|(enforced, _)| *enforced = true);
                }
                Step::Deny(job, more) => {
                    truth.entry(job).and_modify(|(enforced, denied)| {
                        if *enforced {
                            *denied = denied.saturating_add(more);
                        }
                    });
                }
                Step::Read => {
                    for which in metrics.to_read() {
                        let job: usize = which.0.parse().unwrap();
                        metrics.counted(&which, &kernel(truth[&job].1));
                    }
                }
                Step::Find(job) => metrics.found(&job.to_string(), "github-pat"),
                Step::End(job, sealed) => {
                    // One that fails has no report: what was read of it stands.
                    for which in metrics.to_read() {
                        if which.0 == job.to_string() {
                            metrics.counted(&which, &kernel(truth[&job].1));
                        }
                    }
                    let ended = truth.remove(&job).map_or(0, |(_, denied)| denied);
                    total = total.saturating_add(ended);
                    let report = report(ended, 1);
                    let how = if sealed {
                        Ended::Sealed { report: &report, sweep: None }
                    } else {
                        Ended::Failed
                    };
                    metrics.over(&job.to_string(), true, how);
                }
                Step::Begin(_) => {}
            }
            let now = read(&metrics.render(&Now::default()));
            for (series, number) in &before {
                let is = now.get(series).copied();
                prop_assert!(is >= Some(*number), "{:?}: {} to {:?}", series, number, is);
            }
            before = now;
        }
        let counted = decisions(&metrics, "denied", "app").unwrap_or_default();
        prop_assert!((counted - float(total)).abs() < 0.5, "{} of {}", counted, total);
    }
}
