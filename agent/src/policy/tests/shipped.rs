//! The profiles that ship with the project.

use std::collections::BTreeSet;
use std::path::Path;

use crate::policy::{Library, Policy, compile};
use crate::sys::fs;

fn shipped() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles");
    std::fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
        .collect()
}

#[test]
fn every_profile_of_the_folder_is_built_in_and_every_built_in_one_loads() {
    let (listed, mistakes) = Library::default().list();
    assert!(mistakes.is_empty());
    let listed: BTreeSet<String> = listed.into_iter().map(|profile| profile.name).collect();
    assert_eq!(listed, shipped());
}

#[test]
fn every_shipped_profile_compiles_enforces_and_describes_itself() {
    let (listed, _) = Library::default().list();
    for profile in listed {
        assert!(profile.description.is_some(), "{}", profile.name);
        let policy =
            Policy::load(std::slice::from_ref(&profile.name), &Library::default()).unwrap();
        assert_eq!(policy.name, profile.name);
        assert_eq!(policy.mode, crate::policy::Mode::Enforce);
        compile(&policy).unwrap();
        for rule in &policy.rules {
            assert!(!rule.describe().is_empty());
            assert!(rule.origin.source.starts_with("built-in:"));
        }
    }
}

#[test]
fn all_shipped_profiles_can_be_used_together() {
    let names: Vec<String> = shipped().into_iter().collect();
    compile(&Policy::load(&names, &Library::default()).unwrap()).unwrap();
}

#[test]
fn base_and_offline_allow_nothing() {
    for name in ["base", "offline"] {
        let policy = Policy::load(&[name.to_owned()], &Library::default()).unwrap();
        assert!(policy.rules.is_empty());
    }
}

#[test]
fn shipped_files_are_read_by_path_as_well() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles");
    for name in shipped() {
        let path = directory.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path, 1 << 20).unwrap();
        Policy::parse(&name, text.as_bytes()).unwrap();
    }
}
