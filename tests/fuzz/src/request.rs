//! Bodies of requests over the control socket, and what a CI system's variables and event say of a job: whatever
//! is in them, it is a request or an error, and a file that narrows a job never gives it more.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use cordon::admission::identity::{self, Variables};
use cordon::daemon::api::types::{CommandRequest, EndedRequest, NarrowRequest, StartRequest};
use cordon::policy::narrow::narrow;
use cordon::policy::{DomainName, Palette, Policy, Ruleset, compile};
use libfuzzer_sys::fuzz_target;

const JOB: &[u8] = b"name = \"job\"\n[[allow]]\nhost = \"ci.example.com\"\n[[allow]]\nhost = \"**.example.org\"\n\
    ports = [80, 443]\n[[allow]]\ncidr = \"10.0.0.0/8\"\nports = [\"5000-6000\"]\n";

/// Names that rules of the job, and of files for it, are likely to be about.
const NAMES: [&str; 6] = [
    "ci.example.com",
    "x.ci.example.com",
    "example.org",
    "a.example.org",
    "b.a.example.org",
    "example.net",
];

static POLICY: LazyLock<(Policy, Ruleset)> = LazyLock::new(|| {
    let policy = Policy::parse("job.toml", JOB).expect("the policy is good");
    let policy = Policy {
        standing: 1,
        ..policy
    };
    let ruleset = compile(&policy).expect("it is small");
    (policy, ruleset)
});

/// Variables, as `NAME=value` lines.
struct Lines(BTreeMap<String, String>);

impl Variables for Lines {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned().filter(|value| !value.is_empty())
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = StartRequest::parse(bytes) {
        let _checked = request.identity.check();
        if let Some(request) = &request.narrow {
            narrowed(request);
        }
    }
    if let Ok(request) = NarrowRequest::parse(bytes) {
        narrowed(&request);
    }
    let _ended = EndedRequest::parse(bytes);
    if let Ok(request) = CommandRequest::parse(bytes)
        && let Some(policy) = request.policy.load()
    {
        let _ruleset = compile(&policy);
    }
    let text = String::from_utf8_lossy(bytes);
    let (lines, payload) = text.split_once("\n\n").unwrap_or((&text, ""));
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let variables = Lines(
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    );
    let payload = serde_json::from_str(payload).ok();
    let _checked = identity::of(&variables, payload.as_ref()).check();
    narrows(&text);
});

fn narrowed(request: &NarrowRequest) {
    if let Ok(name) = request.check() {
        assert!(name.starts_with("job:"));
        narrows(&request.text);
    }
}

/// Whatever a file says, what is left is not more than there was.
fn narrows(text: &str) {
    let (policy, before) = &*POLICY;
    let left = match narrow(policy, "job:fuzz.toml", text.as_bytes()) {
        Ok(left) => left,
        Err(mistakes) => {
            assert!(!mistakes.render(Palette::Plain).is_empty());
            return;
        }
    };
    let Ok(after) = compile(&left) else { return };
    for name in NAMES {
        let name = DomainName::parse(name).expect("it is one");
        let rules = |ruleset: &Ruleset| ruleset.rules_for_name(&name);
        assert!(rules(&after).is_empty() || !rules(before).is_empty());
    }
    for net in after.nets.keys() {
        assert!(before.nets.keys().any(|outer| outer.holds(net)));
    }
    assert_eq!(rules_of_control_plane(&after), [0]);
}

fn rules_of_control_plane(ruleset: &Ruleset) -> Vec<u32> {
    let name = DomainName::parse("ci.example.com").expect("it is one");
    let rules = ruleset.rules_for_name(&name).into_iter();
    rules.filter(|rule| *rule < 1).collect()
}
