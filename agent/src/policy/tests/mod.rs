//! Tests of the module as a whole: text in, policy or mistakes out.

mod limits;
mod loading;
mod mistakes;
mod secrets;
mod shipped;

use super::Policy;

/// The policy of one profile.
fn parse(text: &str) -> Policy {
    Policy::parse("job.toml", text.as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// What is wrong with one profile: `LINE: MESSAGE` each.
fn wrong(text: &str) -> Vec<String> {
    let mistakes = Policy::parse("job.toml", text.as_bytes()).unwrap_err();
    let listed = mistakes.iter().map(|mistake| {
        let location = mistake.location().unwrap_or_default();
        let line = location.rsplit(':').next().unwrap_or_default().to_owned();
        format!("{line}: {}", mistake.message())
    });
    listed.collect()
}
