//! The page as its template reads it.

use std::borrow::Borrow;

use askama::Template;
use jiff::Timestamp;

use super::chart::{Timeline, Volumes};
use super::commands::{Check, checks};
use super::egress::{Allowed, Denied, Listed, ROWS, allowed};
use super::embed::{Embedded, embedded};
use super::head::{
    Banner, Fact, Signature, Tile, banner, grouped, job, platform, signature, tiles, trust,
};
use super::limits::Resources;
use super::names::Names;
use super::sweep::Secrets;
use super::tree::{Step, Tree};
use super::{Documents, assets};
use crate::report::diff::{Changes, Diff};
use crate::report::statement::Subject;
use crate::report::text::quantity::{bytes, time};
use crate::report::{ProfileFacts, Report, RuleFacts};

/// Rows of a list that are open from the start.
const OPEN: usize = 25;
/// Entries of each list of the comparison that are written out.
const CHANGES: usize = 200;

#[derive(Debug, Template)]
#[template(path = "report/page.html")]
pub(super) struct Page<'d> {
    style: &'static str,
    script: &'static str,
    policy: String,
    title: String,
    banner: Banner,
    signature: Signature,
    files: Vec<(&'static str, String)>,
    images: &'d [Subject],
    job: Vec<(&'static str, String)>,
    trust: Vec<Fact>,
    platform: Vec<Fact>,
    tiles: Vec<Tile>,
    egress: Option<Egress<'d>>,
    sweep: Option<Secrets>,
    limits: Option<Resources>,
    diff: Option<Compared>,
    checks: Vec<Check>,
    documents: Vec<Embedded>,
}

/// What there is of an egress report.
#[derive(Debug)]
struct Egress<'d> {
    denied: Denied,
    allowed: Listed<Allowed>,
    timeline: Option<Timeline>,
    volumes: Option<Volumes>,
    tree: Tree,
    names: Names,
    profiles: &'d [ProfileFacts],
    policy: &'d str,
    rules: Listed<&'d RuleFacts>,
    unused: Listed<&'d RuleFacts>,
}

/// A comparison, and its lists with their titles.
#[derive(Debug)]
struct Compared {
    diff: Diff,
}

impl<'d> Page<'d> {
    pub(super) fn new(documents: &Documents<'d>) -> Self {
        let report = documents.egress.map(|document| document.report);
        let facts = report.map(|report| &report.job);
        let facts = facts.or_else(|| documents.run.map(|document| &document.report.job));
        let swept = documents.sweep.map(|document| document.report);
        let facts = facts.or_else(|| swept.and_then(|report| report.job.as_ref()));
        let limits = report.and_then(|report| report.limits.as_ref());
        let limits = limits.map(Resources::new);
        Self {
            style: assets::STYLE,
            script: assets::SCRIPT,
            policy: assets::policy(),
            title: facts.map_or_else(
                || "Secret sweep of processes that are no job".to_owned(),
                |job| format!("Job {}", job.id),
            ),
            banner: banner(documents),
            signature: signature(&documents.trust),
            files: documents.files(),
            images: documents.images,
            job: facts.map(job).unwrap_or_default(),
            trust: trust(documents),
            platform: platform(documents),
            tiles: tiles(documents, limits.as_ref()),
            egress: report.map(Egress::new),
            sweep: swept.map(Secrets::new),
            limits,
            diff: documents.diff().map(|diff| Compared { diff }),
            checks: checks(documents),
            documents: embedded(&documents.contents()),
        }
    }

    /// Whether a row is the first of those that are folded away.
    fn folds(index: impl Borrow<usize>) -> bool {
        *index.borrow() == OPEN
    }

    fn grouped(number: impl Borrow<usize>) -> String {
        grouped(*number.borrow() as u64)
    }

    fn bytes(number: impl Borrow<u64>) -> String {
        bytes(*number.borrow())
    }

    fn size(number: impl Borrow<usize>) -> String {
        bytes(*number.borrow() as u64)
    }

    fn time(at: impl Borrow<Timestamp>) -> String {
        time(*at.borrow())
    }
}

impl<'d> Egress<'d> {
    fn new(report: &'d Report) -> Self {
        let rules = &report.policy.rules;
        let unused = rules.iter().filter(|rule| !rule.used);
        Self {
            denied: Denied::new(report),
            allowed: allowed(report),
            timeline: Timeline::new(report),
            volumes: Volumes::new(report),
            tree: Tree::new(report),
            names: Names::new(report),
            profiles: &report.policy.profiles,
            policy: &report.policy.name,
            rules: Listed::new(ROWS, rules.len(), rules.iter(), |rule| rule),
            unused: Listed::new(ROWS, unused.clone().count(), unused, |rule| rule),
        }
    }
}

impl Compared {
    fn lists(&self) -> Vec<(&'static str, &Changes)> {
        let Diff {
            denied,
            allowed,
            names_refused,
            rules,
            secrets,
            ..
        } = &self.diff;
        let mut lists = vec![
            ("Denied", denied),
            ("Names refused", names_refused),
            ("Allowed", allowed),
            ("Rules", rules),
        ];
        lists.extend(secrets.as_ref().map(|secrets| ("Secrets found", secrets)));
        lists.retain(|(_, changes)| !changes.is_empty());
        lists
    }
}
