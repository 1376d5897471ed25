//! Specifications of containers, as an engine hands them to its runtime: each is refused, or tightened.

#![no_main]

use cordon_engine::passport::{Passport, Workspace};
use cordon_engine::spec;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let passport = Passport {
        job: "job-1".to_owned(),
        cgroup: "/cordon.slice/job-1".to_owned(),
        workspace: vec![Workspace { path: "/w".to_owned(), device: 1, inode: 2 }],
        engine_root: "/var/lib/docker".to_owned(),
        lsm: false,
    };
    let Ok(mut wanted) = serde_json::from_slice::<Value>(bytes) else { return };
    let _job = spec::job_of(spec::cgroups_path(&wanted));
    if spec::tighten(&passport, &mut wanted).is_ok() {
        let text = wanted.pointer("/process").cloned().unwrap_or_default().to_string();
        assert!(!text.contains("\"CAP_NET_RAW\"") || !text.contains("capabilities"));
        assert!(spec::cgroups_path(&wanted).starts_with("/cordon.slice/job-1/"));
    }
});
