//! What the mediator said of a job, for its report.

use std::collections::BTreeMap;

use cordon_engine::protocol::Note;

use crate::report::Layer;

/// How many different ones of a kind are listed.
const LISTED: usize = 16;

/// What passes between a job and the engine, and is not seen.
pub const BLIND_SPOTS: [&str; 2] = [
    "The job used a container engine, which cordon mediated. Images are fetched and sent by the engine over \
     connections of its own: the registry's name is judged by the job's rules, but where the registry sends \
     the engine for layers is not, and what an image holds is not looked at. Images are a store that all jobs \
     share.",
    "In containers, processes have the engine's system call filter (with fewer kinds of sockets), not \
     cordon's, and Unix sockets of files they mount. Root in a container writes into the workspace as root: \
     set-uid programs it leaves there work for users outside the job.",
];

/// Counted, and some of it listed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Noted {
    /// Requests that were refused, by what was asked and why.
    refused: BTreeMap<String, u64>,
    refusals: u64,
    /// Containers that were started, by image.
    started: BTreeMap<String, u64>,
    /// How many images were built.
    built: u64,
    /// Registries the engine asked.
    registries: BTreeMap<String, u64>,
    /// What could not be removed.
    pub left: Vec<String>,
}

impl Noted {
    /// Takes one.
    pub(super) fn take(&mut self, note: Note) {
        match note {
            Note::Refused { request, why } => {
                self.refusals = self.refusals.saturating_add(1);
                count(&mut self.refused, format!("{request}: {why}"));
            }
            Note::Started { image } => count(&mut self.started, image),
            Note::Built { image: _ } => self.built = self.built.saturating_add(1),
            Note::Registry { host } => count(&mut self.registries, host),
            Note::Left { what } if self.left.len() < LISTED => self.left.push(what),
            Note::Left { .. } => {}
        }
    }

    /// How many requests were refused.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.refusals
    }

    /// The layer of the report. `engine` says what it is.
    #[must_use]
    pub fn layer(&self, engine: &str) -> Layer {
        let list = |what: &str, of: &BTreeMap<String, u64>| {
            let all: Vec<String> = of
                .iter()
                .map(|(name, count)| format!("{name} ({count})"))
                .collect();
            if all.is_empty() {
                String::new()
            } else {
                format!("; {what}: {}", all.join(", "))
            }
        };
        let left = if self.left.is_empty() {
            String::new()
        } else {
            format!("; could not be removed: {}", self.left.join(", "))
        };
        let built = match self.built {
            0 => String::new(),
            count => format!("; images built: {count}"),
        };
        Layer {
            name: "container engine".to_owned(),
            active: true,
            detail: format!(
                "requests to `{engine}` are judged; its containers are in the job's cgroup, or do not run\
                 {}{built}{}; {} requests refused{}{left}",
                list("containers started, by image", &self.started),
                list("registries the engine asked", &self.registries),
                self.refusals,
                list("such as", &self.refused),
            ),
        }
    }
}

fn count(of: &mut BTreeMap<String, u64>, name: String) {
    let room = of.len() < LISTED;
    if let Some(count) = of.get_mut(&name) {
        *count = count.saturating_add(1);
    } else if room {
        of.insert(name, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_kept() {
        let mut noted = Noted::default();
        for number in 0..1000 {
            let (request, why) = (format!("GET /{number}"), "no".to_owned());
            noted.take(Note::Refused { request, why });
        }
        assert_eq!(noted.refusals(), 1000);
        assert_eq!(noted.refused.len(), LISTED);
        assert!(noted.layer("e").detail.contains("1000 requests refused"));
    }
}
