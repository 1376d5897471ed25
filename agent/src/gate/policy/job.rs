//! `[job]`: jobs of CI systems, which the daemon attends.

use super::Answer;
use super::read::answer;
use crate::admission::Pattern;
use crate::policy::Mistake;
use crate::policy::reader::{Reader, Schema, Table};

const JOB: Schema = Schema {
    what: "`[job]`",
    keys: &[
        "finished",
        "forks",
        "runners",
        "providers",
        "repositories",
        "workflows",
        "refs",
        "commits",
        "events",
        "jobs",
    ],
    later: &[],
};

/// Keys of patterns, and the word of an identity that each is about.
const WORDS: [(&str, &str); 7] = [
    ("providers", "provider"),
    ("repositories", "repository"),
    ("workflows", "workflow"),
    ("refs", "ref"),
    ("commits", "commit"),
    ("events", "event"),
    ("jobs", "job"),
];

/// What is asked of a job of a CI system.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct JobRules {
    /// Whether the end of a worker will do, whose status the CI system alone knows.
    pub finished: Answer,
    /// Whether its commits may be those of a fork, or of nobody knows whom.
    pub forks: Answer,
    /// Units it may have been started by; empty: any.
    pub runners: Vec<Pattern>,
    /// Words of its identity by their names, each with the patterns of which one must fit.
    pub words: Vec<(&'static str, Vec<Pattern>)>,
}

/// Reads the table, if there is one.
pub(super) fn read(reader: &mut Reader, root: Table<'_>) -> Option<JobRules> {
    let table = reader.child(root, "job", &JOB)?;
    let mut words = Vec::new();
    for (key, word) in WORDS {
        words.extend(patterns(reader, table, key).map(|list| (word, list)));
    }
    Some(JobRules {
        finished: answer(reader, table, "finished"),
        forks: answer(reader, table, "forks"),
        runners: patterns(reader, table, "runners").unwrap_or_default(),
        words,
    })
}

fn patterns(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<Vec<Pattern>> {
    let list = reader.strings(table, key)?;
    if list.get_ref().is_empty() {
        let mistake = Mistake::new(format!("`{key}` is empty")).help(format!(
            "remove `{key}` to accept any, or name what is accepted"
        ));
        reader.push(&list.span(), mistake);
    }
    let mut found = Vec::new();
    for item in list.get_ref() {
        if let Some(pattern) = Pattern::parse(item.get_ref()) {
            found.push(pattern);
        } else {
            let mistake = Mistake::new(format!("this cannot be a pattern of `{key}`")).help(
                "write up to 256 bytes; `*` stands for any text without `/`, `**` for any text",
            );
            reader.push(&item.span(), mistake);
        }
    }
    Some(found)
}
