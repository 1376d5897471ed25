//! Shares the stories out among guests: each has one processor, and the machine has more.

use std::ffi::OsString;
use std::thread;

use crate::build::Built;
use crate::exec::capture;

/// What one guest is to run.
#[derive(Debug)]
pub(super) struct Share {
    /// Arguments of the stories' program.
    pub(super) arguments: Vec<OsString>,
    /// How many stories that is, where it is known.
    pub(super) stories: Option<usize>,
}

impl Share {
    /// The whole escape suite, which is one batch.
    pub(super) fn escape(chosen: &[OsString]) -> Self {
        let suite = OsString::from("escape");
        Self {
            arguments: std::iter::once(suite)
                .chain(chosen.iter().cloned())
                .collect(),
            stories: None,
        }
    }
}

/// More guests than this make a machine with many processors no quicker: a story is as long as it
/// is.
const MOST: usize = 8;

/// One share for each guest. With a filter there is one guest, since a filter and the names of other
/// shares do not go together; so is there where the stories cannot be listed (they ask for root).
pub(super) fn shares(built: &Built, chosen: &[OsString], guests: Option<usize>) -> Vec<Share> {
    let guests = guests.unwrap_or_else(|| {
        thread::available_parallelism().map_or(1, |processors| processors.get().min(MOST))
    });
    let names = list(built, chosen);
    let has_filter = chosen
        .iter()
        .any(|word| !word.as_encoded_bytes().starts_with(b"--"));
    if names.is_empty() || guests < 2 || has_filter {
        let stories = (!names.is_empty()).then_some(names.len());
        return vec![Share {
            arguments: chosen.to_vec(),
            stories,
        }];
    }
    (0..guests.min(names.len()))
        .map(|guest| share(chosen, &names, guest, guests))
        .collect()
}

fn list(built: &Built, chosen: &[OsString]) -> Vec<String> {
    let list = built
        .stories()
        .and_then(|mut stories| capture(stories.arg("--list").args(chosen)));
    list.unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// Every `guests`-th story, since those of one subject take as long as each other. What is not in it
/// is skipped by name.
fn share(chosen: &[OsString], names: &[String], guest: usize, guests: usize) -> Share {
    let others = names
        .iter()
        .enumerate()
        .filter(|(index, _)| index.checked_rem(guests) != Some(guest));
    let mut arguments = chosen.to_vec();
    arguments.push(OsString::from("--exact"));
    for (_, name) in others.clone() {
        arguments.extend([OsString::from("--skip"), OsString::from(name)]);
    }
    let stories = names.len().saturating_sub(others.count());
    Share {
        arguments,
        stories: Some(stories),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_is_in_exactly_one_share() {
        let names: Vec<String> = (0..7).map(|index| format!("story_{index}")).collect();
        let shares: Vec<Share> = (0..3).map(|guest| share(&[], &names, guest, 3)).collect();
        for name in &names {
            let skipping = shares
                .iter()
                .filter(|share| share.arguments.contains(&OsString::from(name)))
                .count();
            assert_eq!(skipping, 2, "{name}");
        }
        assert_eq!(
            shares
                .iter()
                .filter_map(|share| share.stories)
                .sum::<usize>(),
            7
        );
    }
}
