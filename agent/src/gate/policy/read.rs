//! The tables of a trust policy.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use toml::Spanned;

use super::{
    Allowed, Answer, ChainRule, EventRule, EvidenceRules, RevocationRule, RunRules, SweepRules,
    TrustPolicy, Version, field, job, keys, require,
};
use crate::policy::Mistake;
use crate::policy::limits::Resource;
use crate::policy::reader::{Reader, Schema, Table, as_i64};

pub(super) const ROOT: Schema = Schema {
    what: "a trust policy",
    keys: &[
        "name",
        "expires",
        "key",
        "revocations",
        "evidence",
        "run",
        "job",
        "allowed",
        "sweep",
        "require",
    ],
    later: &[],
};

const EVIDENCE: Schema = Schema {
    what: "`[evidence]`",
    keys: &["max_age", "skew", "chain", "key_protection", "events"],
    later: &[],
};

const RUN: Schema = Schema {
    what: "`[run]`",
    keys: &[
        "layers",
        "limits",
        "status",
        "commands",
        "profiles",
        "rulesets",
        "min_version",
        "agents",
        "objects",
        "max_denied",
        "denied_then_allowed",
    ],
    later: &[],
};

const REVOCATIONS: Schema = Schema {
    what: "`[revocations]`",
    keys: &["max_age"],
    later: &[],
};

const ALLOWED: Schema = Schema {
    what: "`[allowed]`",
    keys: &["losses", "interruptions", "sweep_gaps", "attendance"],
    later: &[],
};

const SWEEP: Schema = Schema {
    what: "`[sweep]`",
    keys: &["required", "findings"],
    later: &[],
};

/// Five minutes: what clocks without a time server differ by after some months.
const SKEW: SignedDuration = SignedDuration::from_secs(300);

pub(super) fn policy(reader: &mut Reader, root: Table<'_>) -> Option<TrustPolicy> {
    let name = reader.string(root, "name").map(|name| *name.get_ref());
    let name = reader.required(root, "name", "`name = \"release\"`", name);
    let keys = keys::read(reader, root);
    if keys.is_empty() {
        let mistake = Mistake::new("no `[[key]]`: nobody's evidence counts")
            .help("add the public key of each host whose evidence counts");
        reader.push(&root.span(), mistake);
    }
    let expires = field::time(reader, root, "expires");
    let revocations = revocations(reader, root);
    let evidence = evidence(reader, root);
    let run = run(reader, root);
    let job = job::read(reader, root);
    let allowed = allowed(reader, root);
    let sweep = sweep(reader, root);
    let require = require::read(reader, root);
    Some(TrustPolicy {
        name: name?.to_owned(),
        expires,
        keys,
        revocations,
        evidence: evidence?,
        run,
        job,
        allowed,
        sweep,
        require,
    })
}

fn revocations(reader: &mut Reader, root: Table<'_>) -> Option<RevocationRule> {
    let table = reader.child(root, "revocations", &REVOCATIONS)?;
    let max_age = field::length(reader, table, "max_age");
    let max_age = reader.required(table, "max_age", "`max_age = \"2d\"`", max_age)?;
    Some(RevocationRule { max_age })
}

fn evidence(reader: &mut Reader, root: Table<'_>) -> Option<EvidenceRules> {
    let table = reader.child(root, "evidence", &EVIDENCE);
    let example = "`[evidence]` with `max_age = \"7d\"`";
    let table = reader.required(root, "evidence", example, table)?;
    let max_age = field::length(reader, table, "max_age");
    let max_age = reader.required(table, "max_age", "`max_age = \"7d\"`", max_age);
    let chain = field::text(
        reader,
        table,
        "chain",
        "what can be asked of a chain",
        "write \"consistent\" or \"unbroken\"",
        |word| match word {
            "consistent" => Some(ChainRule::Consistent),
            "unbroken" => Some(ChainRule::Unbroken),
            _ => None,
        },
    );
    let events = field::text(
        reader,
        table,
        "events",
        "what can be asked of single events",
        "write \"optional\" or \"required\"",
        |word| match word {
            "optional" => Some(EventRule::Optional),
            "required" => Some(EventRule::Required),
            _ => None,
        },
    );
    Some(EvidenceRules {
        key_protection: field::protections(reader, table, "key_protection").unwrap_or_default(),
        events: events.unwrap_or_default(),
        skew: field::length(reader, table, "skew").unwrap_or(SKEW),
        chain: chain.unwrap_or(ChainRule::Consistent),
        max_age: max_age?,
    })
}

fn run(reader: &mut Reader, root: Table<'_>) -> RunRules {
    let success = || BTreeSet::from([0]);
    let Some(table) = reader.child(root, "run", &RUN) else {
        return RunRules {
            status: success(),
            ..RunRules::default()
        };
    };
    let mut words = |key| field::words(reader, table, key).unwrap_or_default();
    let (layers, commands) = (words("layers"), words("commands"));
    let limits = limits(reader, table).unwrap_or_default();
    let mut digests = |key| field::digests(reader, table, key).unwrap_or_default();
    let (profiles, rulesets) = (digests("profiles"), digests("rulesets"));
    let (agents, objects) = (digests("agents"), digests("objects"));
    let help = "write it as \"1.2.3\"";
    RunRules {
        layers,
        limits,
        commands,
        profiles,
        rulesets,
        agents,
        objects,
        status: status(reader, table).unwrap_or_else(success),
        min_version: field::text(
            reader,
            table,
            "min_version",
            "a version",
            help,
            Version::parse,
        ),
        max_denied: field::count(reader, table, "max_denied"),
        denied_then_allowed: answer(reader, table, "denied_then_allowed"),
    }
}

/// Resources that must have been limited.
fn limits(reader: &mut Reader, table: Table<'_>) -> Option<BTreeSet<Resource>> {
    let list = reader.array(table, "limits")?;
    let mut found = BTreeSet::new();
    for item in *list.get_ref() {
        let named = item.get_ref().as_str().and_then(|word| {
            let mut all = Resource::ALL.into_iter();
            all.find(|resource| resource.name() == word)
        });
        if let Some(resource) = named {
            found.insert(resource);
        } else {
            let names: Vec<_> = Resource::ALL
                .iter()
                .map(|resource| resource.name())
                .collect();
            let mistake = Mistake::new("this is nothing that can be limited");
            let help = format!("these can: {}", names.join(", "));
            reader.push(&item.span(), mistake.help(help));
        }
    }
    Some(found)
}

fn status(reader: &mut Reader, table: Table<'_>) -> Option<BTreeSet<i32>> {
    let list = reader.array(table, "status")?;
    let mut found = BTreeSet::new();
    for item in *list.get_ref() {
        let number = as_i64(item.get_ref()).and_then(|number| i32::try_from(number).ok());
        if let Some(number) = number.filter(|number| (0..=255).contains(number)) {
            found.insert(number);
        } else {
            let mistake = Mistake::new("an exit status is a number, 0 to 255");
            reader.push(&item.span(), mistake);
        }
    }
    if list.get_ref().is_empty() {
        let mistake = Mistake::new("`status` is empty: no run would be accepted")
            .help("remove it to accept 0 alone");
        reader.push(&list.span(), mistake);
    }
    Some(found)
}

fn allowed(reader: &mut Reader, root: Table<'_>) -> Allowed {
    let Some(table) = reader.child(root, "allowed", &ALLOWED) else {
        return Allowed::default();
    };
    let mut count = |key| field::count(reader, table, key).unwrap_or_default();
    Allowed {
        losses: count("losses"),
        interruptions: count("interruptions"),
        sweep_gaps: count("sweep_gaps"),
        attendance: count("attendance"),
    }
}

fn sweep(reader: &mut Reader, root: Table<'_>) -> SweepRules {
    let strict = SweepRules {
        required: true,
        findings: Answer::Refuse,
    };
    let Some(table) = reader.child(root, "sweep", &SWEEP) else {
        return strict;
    };
    let required = reader.boolean(table, "required").map(Spanned::into_inner);
    SweepRules {
        required: required.unwrap_or(strict.required),
        findings: answer(reader, table, "findings"),
    }
}

/// `"allow"` or `"refuse"`, the latter where nothing is said.
pub(super) fn answer(reader: &mut Reader, table: Table<'_>, key: &str) -> Answer {
    let help = "write \"allow\" or \"refuse\"";
    let parse = |word: &str| match word {
        "allow" => Some(Answer::Allow),
        "refuse" => Some(Answer::Refuse),
        _ => None,
    };
    field::text(reader, table, key, "an answer", help, parse).unwrap_or_default()
}
