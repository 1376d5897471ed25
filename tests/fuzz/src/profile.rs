//! Profiles come from repositories: any text is a policy or mistakes that can be shown, and what is
//! a policy compiles to the same ruleset each time or is refused.

#![no_main]

use cordon::policy::{Policy, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Policy::parse("fuzz.toml", bytes) {
        Ok(policy) => {
            if let (Ok(first), Ok(second)) = (compile::compile(&policy), compile::compile(&policy))
            {
                assert_eq!(first.digest.to_string(), second.digest.to_string());
            }
        }
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
});
