//! Evidence on disk.

use std::os::unix::fs::symlink;

use super::*;
use crate::events::journal::Journal;
use crate::report::envelope::Bundle;
use crate::report::ocsf::{Context, Happening};
use crate::report::seal::SealPredicate;
use crate::report::signer::tests::published_key;
use crate::report::sweep::{Verdict, sarif};
use crate::report::verify::verify;
use crate::report::{fixture, json, sweep};

fn write_to(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let evidence = EvidenceDir::prepare(path).unwrap();
    let written = evidence
        .write(&Reports::from(&fixture::report()), &published_key())
        .unwrap();
    read(&written.reports[0])
}

fn chain(state: &Path) -> Chain {
    Chain::new(state, published_key().public())
}

fn events(path: &Path) -> Kept {
    let context = Context {
        job: "1".into(),
        host: "h".into(),
        policy: "p".into(),
    };
    let journal = Journal::begin(path.into(), context, 1 << 20).unwrap();
    journal.at(fixture::report().job.finished, &Happening::TakenOver);
    journal.close().unwrap().unwrap()
}

fn seal_with(
    evidence: &EvidenceDir,
    chain: &Chain,
    sweep: Option<&SweepReport>,
) -> Result<Written, SinkError> {
    let base = tempfile::tempdir().unwrap();
    let events = events(&base.path().join("events"));
    let sealing = Sealing {
        key: &published_key(),
        chain,
        host: "runner-3.test",
        artefacts: &[Subject::new("registry.test/app", &sha256_hex(b"image"))],
        events: Some(&events),
    };
    evidence.seal(&fixture::report(), sweep, sealing)
}

fn read(written: &WrittenReport) -> (Vec<u8>, Vec<u8>) {
    let read = |path| fs::read(path, 1 << 20).unwrap();
    (read(&written.report), read(&written.bundle))
}

#[test]
fn the_same_report_and_key_give_the_same_bytes_and_they_verify() {
    let base = tempfile::tempdir().unwrap();
    let one = write_to(&base.path().join("one"));
    let two = write_to(&base.path().join("two"));
    assert_eq!(one, two);
    verify::<Report>(&one.0, &one.1, published_key().public()).unwrap();
    assert!(one.0.ends_with(b"}\n") && one.0.is_ascii());
}

#[test]
fn evidence_of_another_job_is_not_written_over() {
    let base = tempfile::tempdir().unwrap();
    write_to(base.path());
    let error = EvidenceDir::prepare(base.path()).unwrap_err();
    assert!(matches!(error, SinkError::Occupied { .. }), "{error}");
}

#[test]
fn other_files_in_the_directory_are_none_of_its_business() {
    let base = tempfile::tempdir().unwrap();
    fs::write_atomic(&base.path().join("build.log"), b"", 0o644).unwrap();
    write_to(base.path());
}

#[test]
fn a_link_in_place_of_the_directory_or_a_file_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let link = base.path().join("link");
    symlink(base.path(), &link).unwrap();
    assert!(matches!(
        EvidenceDir::prepare(&link),
        Err(SinkError::File(_))
    ));
    symlink("/nowhere", base.path().join(BUNDLE_NAME)).unwrap();
    let error = EvidenceDir::prepare(base.path()).unwrap_err();
    assert!(matches!(error, SinkError::Occupied { .. }));
}

#[test]
fn two_jobs_do_not_share_a_directory() {
    let base = tempfile::tempdir().unwrap();
    let first = EvidenceDir::prepare(base.path()).unwrap();
    let error = EvidenceDir::prepare(base.path()).unwrap_err();
    assert!(matches!(error, SinkError::Busy { .. }));
    drop(first);
    EvidenceDir::prepare(base.path()).unwrap();
}

#[test]
fn a_file_planted_by_the_job_is_not_followed_and_the_write_fails() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("evidence");
    let victim = base.path().join("victim");
    let evidence = EvidenceDir::prepare(&dir).unwrap();
    symlink(&victim, dir.join(Report::REPORT_NAME)).unwrap();
    let error = evidence.write(&Reports::from(&fixture::report()), &published_key());
    assert!(matches!(
        error,
        Err(SinkError::Occupied {
            name: <Report as Attested>::REPORT_NAME,
            ..
        })
    ));
    assert!(!victim.exists() && !dir.join(BUNDLE_NAME).exists());
}

#[test]
fn evidence_stays_in_its_directory_when_the_path_is_redirected() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("evidence");
    let evidence = EvidenceDir::prepare(&dir).unwrap();
    std::fs::rename(&dir, base.path().join("moved")).unwrap();
    symlink("/tmp", &dir).unwrap();
    let error = evidence.write(&Reports::from(&fixture::report()), &published_key());
    assert!(matches!(error, Err(SinkError::Moved { .. })));
    assert!(base.path().join("moved").join(BUNDLE_NAME).exists());
}

#[test]
fn both_reports_are_written_and_each_bundle_is_about_its_own() {
    let base = tempfile::tempdir().unwrap();
    let evidence = EvidenceDir::prepare(base.path()).unwrap();
    let (egress, swept) = (fixture::report(), sweep::fixture::report());
    let written = seal_with(&evidence, &chain(base.path()), Some(&swept)).unwrap();
    let [(one, its), (other, others)] = [0, 1].map(|index| read(&written.reports[index]));
    let key = published_key().public();
    assert_eq!(verify::<Report>(&one, &its, key).unwrap().report, egress);
    let verified = verify::<SweepReport>(&other, &others, key).unwrap();
    assert_eq!(verified.report, swept);
    let (run, its_own) = read(&written.reports[2]);
    let run = verify::<RunReport>(&run, &its_own, key).unwrap().report;
    assert_eq!((run.job, run.chain.sequence), (egress.job, 1));
    verify::<Report>(&other, &others, key).unwrap_err();
    verify::<SweepReport>(&one, &its, key).unwrap_err();
    let sarif = fs::read_to_string(&base.path().join(SARIF_NAME), 1 << 20).unwrap();
    assert_eq!(sarif, sarif::render(&swept).unwrap());
}

#[test]
fn renderings_are_made_from_the_reports_and_sealed_with_them() {
    let base = tempfile::tempdir().unwrap();
    let evidence = EvidenceDir::prepare(base.path()).unwrap();
    let swept = sweep::fixture::report();
    let written = seal_with(&evidence, &chain(base.path()), Some(&swept)).unwrap();
    let seal = fs::read(&base.path().join(seal::BUNDLE_NAME), 1 << 20).unwrap();
    for name in [html::NAME, summary::NAME] {
        let text = fs::read_to_string(&base.path().join(name), 1 << 20).unwrap();
        assert_eq!(written.reports.len(), 3);
        for report in &written.reports {
            assert!(text.contains(&report.sha256), "{name}");
        }
        assert!(text.contains(&written.key_id), "{name}");
        let key = published_key().public();
        assert!(seal::covers(&seal, key, name, text.as_bytes()), "{name}");
        assert!(!seal::covers(&seal, key, name, b"another"), "{name}");
    }
}

#[test]
fn a_name_of_either_report_that_is_taken_stops_both() {
    let state = tempfile::tempdir().unwrap();
    for name in NAMES {
        let base = tempfile::tempdir().unwrap();
        let evidence = EvidenceDir::prepare(base.path()).unwrap();
        symlink("/nowhere", base.path().join(name)).unwrap();
        let chain = chain(state.path());
        let error = seal_with(&evidence, &chain, Some(&sweep::fixture::report())).unwrap_err();
        assert!(
            matches!(error, SinkError::Occupied { .. }),
            "{name}: {error}"
        );
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1, "{name}");
        // Nor was a number used up.
        assert_eq!(chain.next().unwrap().link.sequence, 1);
    }
}

#[test]
fn files_are_written_in_the_order_of_the_list() {
    let state = tempfile::tempdir().unwrap();
    let swept = sweep::fixture::report();
    // Times of files come in ticks of milliseconds: the order shows in a write that crosses one.
    let crossed_a_tick = (0..200).any(|_| {
        let base = tempfile::tempdir().unwrap();
        let evidence = EvidenceDir::prepare(base.path()).unwrap();
        seal_with(&evidence, &chain(state.path()), Some(&swept)).unwrap();
        let made = NAMES.map(|name| {
            let file = std::fs::metadata(base.path().join(name)).unwrap();
            file.modified().unwrap()
        });
        assert!(made.is_sorted(), "{made:?}");
        made.first() < made.last()
    });
    assert!(crossed_a_tick);
    assert_eq!(NAMES.last(), Some(&seal::BUNDLE_NAME));
}

#[test]
fn a_verdict_that_does_not_follow_is_not_signed() {
    let base = tempfile::tempdir().unwrap();
    let evidence = EvidenceDir::prepare(base.path()).unwrap();
    let mut swept = sweep::fixture::report();
    swept.verdict = Verdict::Clean;
    let mut reports = Reports::default();
    assert!(reports.add_sweep(&swept) && !reports.add_sweep(&swept));
    let written = evidence.write(&reports, &published_key()).unwrap();
    let (report, bundle) = read(&written.reports[0]);
    let verified = verify::<SweepReport>(&report, &bundle, published_key().public()).unwrap();
    assert_eq!(verified.report.verdict, Verdict::Findings);
}

fn sealed(written: &Written) -> Statement<SealPredicate> {
    let seal = written.seal.as_ref().unwrap();
    let bytes = fs::read(&seal.bundle, 1 << 20).unwrap();
    assert_eq!(sha256_hex(&bytes), seal.sha256);
    let payload = Bundle::parse(&bytes)
        .unwrap()
        .verify(published_key().public());
    Statement::parse(&payload.unwrap()).unwrap()
}

#[test]
fn the_seal_names_every_other_file_but_the_one_that_holds_its_own_envelope() {
    let state = tempfile::tempdir().unwrap();
    for swept in [None, Some(sweep::fixture::report())] {
        let base = tempfile::tempdir().unwrap();
        let evidence = EvidenceDir::prepare(base.path()).unwrap();
        let written = seal_with(&evidence, &chain(state.path()), swept.as_ref()).unwrap();
        let statement = sealed(&written);
        let mut named = Vec::new();
        for reference in &statement.predicate.references {
            let bytes = fs::read(&base.path().join(&reference.name), 1 << 20).unwrap();
            assert_eq!(sha256_hex(&bytes), reference.digest.sha256, "{reference:?}");
            named.push(reference.name.clone());
        }
        named.extend([seal::BUNDLE_NAME, seal::ENVELOPES_NAME].map(str::to_owned));
        named.sort();
        let there = std::fs::read_dir(base.path()).unwrap();
        let mut there: Vec<_> = there
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        assert_eq!(named, there);
    }
}

#[test]
fn every_envelope_is_a_line_and_every_statement_names_the_image() {
    let base = tempfile::tempdir().unwrap();
    let evidence = EvidenceDir::prepare(base.path()).unwrap();
    let swept = sweep::fixture::report();
    let written = seal_with(&evidence, &chain(base.path()), Some(&swept)).unwrap();
    let bundles = written.reports.iter().map(|report| &report.bundle);
    let seal = &written.seal.as_ref().unwrap().bundle;
    let text = fs::read_to_string(&base.path().join(seal::ENVELOPES_NAME), 1 << 20).unwrap();
    let mut lines = text.lines();
    for bundle in bundles.chain([seal]) {
        let bytes = fs::read(bundle, 1 << 20).unwrap();
        let mut whole: serde_json::Value = json::parse(&bytes).unwrap();
        let line: serde_json::Value = json::parse(lines.next().unwrap().as_bytes()).unwrap();
        assert_eq!(whole["dsseEnvelope"].take(), line);
        let payload = Bundle::parse(&bytes)
            .unwrap()
            .verify(published_key().public());
        let statement: serde_json::Value = json::parse(&payload.unwrap()).unwrap();
        assert_eq!(
            statement["subject"][1]["digest"]["sha256"],
            sha256_hex(b"image")
        );
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn seals_are_numbered_and_name_the_one_before() {
    let (state, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut before = None;
    for number in 1..=3 {
        let evidence = EvidenceDir::prepare(&base.path().join(number.to_string())).unwrap();
        let written = seal_with(&evidence, &chain(state.path()), None).unwrap();
        let predicate = sealed(&written).predicate;
        assert_eq!(predicate.cordon_sequence, number);
        assert_eq!(predicate.cordon_previous, before);
        let (run, bundle) = read(&written.reports[1]);
        let run = verify::<RunReport>(&run, &bundle, published_key().public()).unwrap();
        assert_eq!(run.report.chain.sequence, number);
        assert_eq!(run.statement.predicate.cordon_previous, before);
        before = Some(written.seal.unwrap().sha256);
    }
}

#[test]
fn without_a_number_the_reports_are_written_and_there_is_no_seal() {
    let (state, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let chain = chain(state.path());
    fs::write_atomic(&state.path().join("chain"), b"", 0o600).unwrap();
    let evidence = EvidenceDir::prepare(base.path()).unwrap();
    let error = seal_with(&evidence, &chain, None).unwrap_err();
    assert!(matches!(error, SinkError::Chain(_)), "{error}");
    assert!(base.path().join(BUNDLE_NAME).exists());
    for name in [seal::BUNDLE_NAME, seal::ENVELOPES_NAME, "run.json"] {
        assert!(!base.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_seal_that_cannot_be_written_uses_its_number_up() {
    let (state, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let chain = chain(state.path());
    let evidence = EvidenceDir::prepare(&base.path().join("one")).unwrap();
    std::fs::rename(base.path().join("one"), base.path().join("moved")).unwrap();
    let error = seal_with(&evidence, &chain, None).unwrap_err();
    assert!(matches!(error, SinkError::Moved { .. }), "{error}");
    let evidence = EvidenceDir::prepare(&base.path().join("two")).unwrap();
    let written = seal_with(&evidence, &chain, None).unwrap();
    assert_eq!(written.seal.unwrap().sequence, 2);
}
