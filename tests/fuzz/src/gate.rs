//! A release's bundle and a trust policy from elsewhere: an archive that is not exact is refused, and
//! whatever is in one, it is decided, and never for promotion.

#![no_main]

use std::sync::LazyLock;

use cordon::gate::decision::{Now, PolicyFacts, Verdict};
use cordon::gate::policy::TrustPolicy;
use cordon::gate::source::{Files, Source as _};
use cordon::gate::state::State;
use cordon::gate::{Question, decide, tar, text};
use cordon::report::image::Image;
use cordon::report::signer::SigningKey;
use libfuzzer_sys::fuzz_target;

/// Files of evidence, so that the fuzzer does not have to guess their names.
const NAMES: [&str; 8] = [
    "seal.sigstore.json",
    "egress.sigstore.json",
    "egress-report.json",
    "run.sigstore.json",
    "run.json",
    "secret-sweep.sigstore.json",
    "binding.sigstore.json",
    "evidence.intoto.jsonl",
];

const TARGET: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A policy that trusts a key that nobody has.
static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let key = SigningKey::generate().expect("randomness").public();
    let text = format!(
        "name = \"fuzz\"\n[[key]]\nrole = \"report\"\nfingerprint = \"{}\"\npem = \"\"\"\n{}\"\"\"\n\
         [evidence]\nmax_age = \"1d\"\n[[require]]\npath = \"run.json\"\nschema = \"x\"\n",
        key.id(),
        key.to_pem().expect("a key has a PEM form"),
    );
    TrustPolicy::parse("fuzz", text.as_bytes()).expect("the policy is good")
});

fn ask(files: &Files, target: &Image) {
    let facts = PolicyFacts {
        name: POLICY.name.clone(),
        source: "fuzz".into(),
        sha256: String::new(),
        signed_by: None,
    };
    let question = Question {
        target,
        policy: &POLICY,
        policy_facts: &facts,
        now: Now {
            time: "2026-11-22T08:36:41Z".parse().expect("a time"),
            given: true,
        },
        state: None,
        policy_key: None,
        revocations: None,
    };
    let decision = decide(question, files);
    assert_ne!(decision.verdict, Verdict::Promote);
    assert_ne!(decision.status, 0);
    assert_eq!(decision.checks.len(), 15);
    let shown = text::render(&decision);
    let plain = |character: char| character == '\n' || (' '..='~').contains(&character);
    assert!(shown.chars().all(|character| plain(character) || !character.is_control()));
}

fuzz_target!(|bytes: &[u8]| {
    let target: Image = TARGET.parse().expect("a digest");
    match tar::read(bytes) {
        Ok(files) => {
            for name in files.names() {
                let parts: Vec<_> = name.split('/').collect();
                assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{name}");
            }
            ask(&files, &target);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The first byte says how many pieces the rest is cut into.
    if let Some((count, rest)) = bytes.split_first() {
        let size = rest.len().div_ceil(usize::from(count % 8) + 1).max(1);
        let pieces = rest.chunks(size).map(<[u8]>::to_vec);
        let names = NAMES.map(str::to_owned);
        ask(&Files(names.into_iter().zip(pieces).collect()), &target);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(image) = text.parse::<Image>() {
            assert_eq!(image.to_string().parse::<Image>().as_ref(), Ok(&image));
        }
    }
    drop(TrustPolicy::parse("fuzz", bytes));
    drop(State::parse(bytes));
});
