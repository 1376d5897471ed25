//! Which programs of the job asked for something, by who started them.

use std::collections::BTreeMap;

use crate::report::text::quantity::count;
use crate::report::{ProcessChain, Report};

/// Nodes that are written out.
const NODES: usize = 400;
/// Levels that are written out; what is deeper stands on the last one.
const DEPTH: usize = 12;

/// One step of a walk over the tree, in the order in which HTML is written.
#[derive(Debug)]
pub(super) enum Step {
    /// A program with others below it.
    Open(Node),
    /// The end of the innermost one that is open.
    Close,
    /// A program without others.
    Leaf(Node),
}

/// A program.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) path: String,
    pub(super) denied: String,
    pub(super) allowed: String,
}

/// The tree, and how many programs it leaves out.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) steps: Vec<Step>,
    pub(super) omitted: usize,
}

#[derive(Debug, Default)]
struct Program<'r> {
    denied: u64,
    allowed: u64,
    below: BTreeMap<&'r str, Self>,
}

impl Tree {
    pub(super) fn new(report: &Report) -> Self {
        let mut root = Program::default();
        let denials = report.denials.iter().flat_map(|denial| &denial.processes);
        let sockets = report.sockets.iter().flat_map(|socket| &socket.processes);
        let incidents = report.incidents.iter();
        let incidents = incidents.flat_map(|incident| &incident.processes);
        for chain in denials.chain(sockets).chain(incidents) {
            let denied = &mut root.at(chain).denied;
            *denied = denied.saturating_add(chain.events);
        }
        for chain in report.flows.iter().flat_map(|flow| &flow.processes) {
            let allowed = &mut root.at(chain).allowed;
            *allowed = allowed.saturating_add(chain.events);
        }
        // Those that only asked for names are in the tree without numbers.
        for chain in report.dns.iter().flat_map(|name| &name.processes) {
            root.at(chain);
        }
        let mut tree = Self::default();
        let mut room = NODES;
        tree.walk(&root, &mut room);
        tree
    }

    /// Recursion is bounded by [`DEPTH`].
    fn walk(&mut self, program: &Program<'_>, room: &mut usize) {
        for (path, below) in &program.below {
            if *room == 0 {
                self.omitted = self.omitted.saturating_add(below.size());
                continue;
            }
            *room = room.saturating_sub(1);
            let number = |number: u64, what: &str| match number {
                0 => String::new(),
                number => format!("{number} {what}"),
            };
            let node = Node {
                path: (*path).to_owned(),
                denied: number(below.denied, "refused"),
                allowed: number(below.allowed, "allowed"),
            };
            if below.below.is_empty() {
                self.steps.push(Step::Leaf(node));
                continue;
            }
            self.steps.push(Step::Open(node));
            self.walk(below, room);
            self.steps.push(Step::Close);
        }
    }

    /// What it leaves out, in words.
    pub(super) fn more(&self) -> String {
        count(self.omitted as u64, "further program")
    }
}

impl<'r> Program<'r> {
    /// The program of a chain, whose first process is the job's first.
    fn at(&mut self, chain: &'r ProcessChain) -> &mut Self {
        let mut program = self;
        for path in chain.executables.iter().rev().take(DEPTH) {
            program = program.below.entry(path).or_default();
        }
        program
    }

    fn size(&self) -> usize {
        let below = self.below.values().map(Self::size);
        below.fold(1, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn every_step_that_opens_is_closed() {
        let mut report = fixture::report();
        let long = (0..100).map(|number| format!("/bin/{number}"));
        report.flows[0].processes[0].executables = long.collect();
        let tree = Tree::new(&report);
        let mut depth = 0_i32;
        for step in &tree.steps {
            match step {
                Step::Open(_) => depth += 1,
                Step::Close => depth -= 1,
                Step::Leaf(_) => {}
            }
            assert!((0..=i32::try_from(DEPTH).unwrap()).contains(&depth));
        }
        assert_eq!((depth, tree.omitted), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut report = fixture::report();
        let template = report.flows[0].clone();
        report.flows = (0..NODES + 50)
            .map(|number| {
                let mut flow = template.clone();
                flow.processes[0].executables = vec![format!("/bin/{number}")];
                flow
            })
            .collect();
        let tree = Tree::new(&report);
        let written = tree
            .steps
            .iter()
            .filter(|step| !matches!(step, Step::Close))
            .count();
        assert_eq!(written, NODES);
        assert!(tree.omitted >= 50);
    }
}
