//! The stories, one subject a file.
//!
//! Each is told in a world of its own. One that proves a denial first shows, without cordon, that
//! the same thing does arrive.

use crate::runner::Story;

mod audit;
mod connect;
mod containers;
mod control;
mod daemon;
mod destroy;
mod dns;
mod dns_names;
mod dns_upstream;
mod doctor;
mod downgrade;
mod events;
mod gate;
mod harness;
mod keys;
mod lease;
mod life;
mod limits;
mod loopback;
mod losses;
mod lsm;
mod membership;
mod names;
mod netns;
mod outlive;
mod ranges;
mod refusals;
mod report;
mod sandbox;
mod sandbox_table;
mod sockets;
mod sweep;
mod two_jobs;

/// All stories, in the order of telling: first the ground they stand on.
pub fn all() -> Vec<Story> {
    [
        harness::stories(),
        doctor::stories(),
        destroy::stories(),
        connect::stories(),
        dns::stories(),
        dns_names::stories(),
        dns_upstream::stories(),
        ranges::stories(),
        lease::stories(),
        names::stories(),
        sockets::stories(),
        membership::stories(),
        netns::stories(),
        loopback::stories(),
        two_jobs::stories(),
        audit::stories(),
        losses::stories(),
        life::stories(),
        limits::stories(),
        daemon::stories(),
        events::stories(),
        outlive::stories(),
        control::stories(),
        containers::stories(),
        sandbox::stories(),
        sandbox_table::stories(),
        lsm::stories(),
        sweep::stories(),
        gate::stories(),
        keys::stories(),
        refusals::stories(),
        downgrade::stories(),
        report::stories(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::all;

    fn page(name: &str) -> String {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        fs::read_to_string(docs.join(name)).unwrap()
    }

    /// What stands between backquotes.
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    /// Whether a story has this name, in which each ellipsis stands for any words.
    fn is_story(name: &str, stories: &[String]) -> bool {
        stories.iter().any(|story| {
            let mut parts = name.split('…');
            let mut rest = story.strip_prefix(parts.next().unwrap_or_default());
            for part in parts {
                rest = rest.and_then(|rest| rest.find(part).and_then(|at| rest.get(at..)));
            }
            rest.is_some_and(|rest| name.ends_with('…') || rest.is_empty())
        })
    }

    #[test]
    fn pages_about_attacks_name_stories_and_cases_that_exist() {
        let stories: Vec<String> = all().into_iter().map(|story| story.name).collect();
        let cases = crate::escape::case_ids();
        for name in ["threat-model.md", "attacks.md"] {
            let text = page(name);
            // Names of several words with a subject are stories; others are of the agent's own code.
            let is_name = |word: &&str| word.contains("::") && word.contains(['_', '…']);
            for story in quoted(&text).filter(is_name) {
                let subject = story.split("::").next().unwrap_or_default();
                let known = stories
                    .iter()
                    .any(|known| known.split("::").next() == Some(subject));
                assert!(
                    !known || is_story(story, &stories),
                    "{name}: no story `{story}`"
                );
            }
        }
        // The last column of the threat model's tables is made of names alone.
        for row in page("threat-model.md").lines() {
            let cells: Vec<_> = row.split('|').collect();
            let [_, _, _, shown, _] = cells.as_slice() else {
                continue;
            };
            for word in quoted(shown) {
                assert!(
                    cases.contains(&word) || is_story(word, &stories),
                    "threat-model.md: no case or story `{word}`"
                );
            }
        }
    }
}
