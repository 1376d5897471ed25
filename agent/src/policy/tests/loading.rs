//! Profiles from files, by name and by path, and what several make together.

use std::path::{Path, PathBuf};

use super::parse;
use crate::policy::{DnsPolicy, Library, Mistakes, Mode, Policy, Rule};
use crate::sys::fs;

/// A directory of profiles that is gone after the test.
pub(super) struct Shelf(tempfile::TempDir);

impl Shelf {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let shelf = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = shelf.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        }
        shelf
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn load(&self, profiles: &[&str]) -> Result<Policy, Mistakes> {
        let library = Library {
            directory: Some(self.path("profiles.d")),
        };
        let named = profiles.iter().map(|profile| {
            if profile.starts_with("./") {
                self.path(profile).display().to_string()
            } else {
                (*profile).to_owned()
            }
        });
        Policy::load(&named.collect::<Vec<_>>(), &library)
    }

    fn wrong(&self, profiles: &[&str]) -> String {
        self.load(profiles).unwrap_err().to_string()
    }
}

fn hosts(policy: &Policy) -> Vec<String> {
    policy.rules.iter().map(Rule::describe).collect()
}

const A: &str = "name = \"a\"\n[[allow]]\nhost = \"a.example.com\"\n";
const B: &str = "name = \"b\"\nextends = [\"a\"]\n[[allow]]\nhost = \"b.example.com\"\n";
const C: &str = "name = \"c\"\nextends = [\"a\"]\n[[allow]]\nhost = \"c.example.com\"\n";

#[test]
fn no_profile_denies_everything() {
    let policy = Policy::load(&[], &Library::default()).unwrap();
    assert_eq!(policy, Policy::deny_all());
    assert_eq!(policy.mode, Mode::Enforce);
    assert!(policy.rules.is_empty());
}

#[test]
fn bases_come_first_and_each_file_once() {
    let shelf = Shelf::new(&[
        ("profiles.d/a.toml", A),
        ("profiles.d/b.toml", B),
        ("profiles.d/c.toml", C),
        (
            "d.toml",
            "name = \"d\"\nextends = [\"b\", \"c\", \"./e/e.toml\"]\n",
        ),
        (
            "e/e.toml",
            "name = \"e\"\nextends = [\"../profiles.d/a.toml\"]\n",
        ),
    ]);
    let policy = shelf.load(&["./d.toml", "b", "./d.toml"]).unwrap();
    assert_eq!(policy.name, "d+b");
    assert_eq!(
        hosts(&policy),
        [
            "host a.example.com, tcp 443",
            "host b.example.com, tcp 443",
            "host c.example.com, tcp 443"
        ]
    );
    let sources: Vec<&str> = policy.profiles.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(sources, ["a", "b", "c", "e", "d"]);
    assert_eq!(
        policy.rules[1].origin.source,
        shelf.path("profiles.d/b.toml").display().to_string()
    );
}

#[test]
fn the_digest_of_a_file_is_that_of_its_bytes() {
    let policy = parse("name = \"x\"\n");
    // printf 'name = "x"\n' | sha256sum
    assert_eq!(
        policy.profiles[0].sha256,
        "3eb10e9d710d38dc9fe5566f14f7d2cb97ca68a5c6c6b00150b73c69064410cc"
    );
}

#[test]
fn the_mode_is_that_of_the_named_profiles_and_the_strictest_wins() {
    let shelf = Shelf::new(&[
        ("audit.toml", "name = \"audit\"\nmode = \"audit\"\n"),
        ("block.toml", "name = \"block\"\nmode = \"block\"\n"),
        (
            "silent.toml",
            "name = \"silent\"\nextends = [\"audit.toml\"]\n",
        ),
        (
            "outer.toml",
            "name = \"outer\"\nmode = \"audit\"\nextends = [\"block.toml\"]\n",
        ),
    ]);
    for (profiles, mode) in [
        (&["./audit.toml"][..], Mode::Audit),
        (&["./audit.toml", "./outer.toml"], Mode::Audit),
        (&["./outer.toml"], Mode::Audit),
        (&["./block.toml"], Mode::Enforce),
        (&["./silent.toml"], Mode::Enforce),
        (&["./audit.toml", "./silent.toml"], Mode::Enforce),
    ] {
        assert_eq!(shelf.load(profiles).unwrap().mode, mode, "{profiles:?}");
    }
}

#[test]
fn upstreams_are_inherited_and_must_agree() {
    let dns = |name: &str, address: &str| {
        format!("name = \"{name}\"\n[dns]\nupstream = [\"{address}\"]\n")
    };
    let shelf = Shelf::new(&[
        ("one.toml", &dns("one", "192.0.2.1")),
        ("two.toml", &dns("two", "192.0.2.2")),
        ("heir.toml", "name = \"heir\"\nextends = [\"one.toml\"]\n"),
        (
            "tls.toml",
            "name = \"tls\"\n[dns]\nupstream = [\"tls://192.0.2.1#dns.example\"]\nca = \"/ca.pem\"\n",
        ),
        (
            "tls-heir.toml",
            "name = \"tls-heir\"\nextends = [\"tls.toml\"]\n",
        ),
        (
            "both.toml",
            "name = \"both\"\nextends = [\"one.toml\", \"two.toml\"]\n",
        ),
        (
            "says.toml",
            "name = \"says\"\nextends = [\"one.toml\", \"two.toml\"]\n[dns]\nupstream = [\"system\"]\n",
        ),
    ]);
    let upstream = shelf.load(&["./heir.toml"]).unwrap().dns.upstream;
    assert_eq!(upstream[0].to_string(), "192.0.2.1:53");
    let dns = shelf.load(&["./tls-heir.toml"]).unwrap().dns;
    assert_eq!(
        dns.upstream[0].to_string(),
        "tls://192.0.2.1:853#dns.example"
    );
    assert_eq!(dns.ca, Some("/ca.pem".into()));
    assert_eq!(
        shelf.load(&["./says.toml"]).unwrap().dns,
        DnsPolicy::default()
    );
    for profiles in [&["./both.toml"][..], &["./one.toml", "./two.toml"]] {
        let text = shelf.wrong(profiles);
        assert!(text.contains("different DNS upstreams"), "{text}");
    }
}

#[test]
fn circles_are_shown() {
    let shelf = Shelf::new(&[
        ("x.toml", "name = \"x\"\nextends = [\"y.toml\"]\n"),
        ("y.toml", "name = \"y\"\nextends = [\"sub/../x.toml\"]\n"),
        ("sub/z.toml", "name = \"z\"\nextends = [\"z.toml\"]\n"),
    ]);
    for profile in ["./x.toml", "./sub/z.toml"] {
        let text = shelf.wrong(&[profile]);
        assert!(text.contains("in a circle"), "{text}");
        assert!(text.contains("toml extends /"), "{text}");
    }
}

#[test]
fn a_long_chain_of_profiles_ends_in_a_mistake() {
    let files: Vec<(String, String)> = (0..100)
        .map(|number| {
            let next = number + 1;
            (
                format!("p{number}.toml"),
                format!("name = \"p{number}\"\nextends = [\"p{next}.toml\"]\n"),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let text = Shelf::new(&files).wrong(&["./p0.toml"]);
    assert!(text.contains("more than 64 profiles"), "{text}");
}

#[test]
fn mistakes_of_all_files_are_shown_and_nothing_is_loaded() {
    let shelf = Shelf::new(&[
        ("good.toml", "name = \"good\"\n"),
        (
            "one.toml",
            "name = \"one\"\nextends = [\"two.toml\", \"nobody\"]\ncolour = 1\n",
        ),
        ("two.toml", "name = \"two\"\nmode = \"off\"\n"),
    ]);
    let text = shelf.wrong(&["./good.toml", "./one.toml", "./gone.toml", "rusty"]);
    for part in ["`colour`", "`off`", "`nobody`", "gone.toml", "`rusty`"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn own_profiles_come_before_built_in_ones_even_if_they_are_broken() {
    let own = "name = \"sigstore\"\n[[allow]]\nhost = \"tuf.example.com\"\n";
    let shelf = Shelf::new(&[("profiles.d/sigstore.toml", own)]);
    let policy = shelf.load(&["sigstore"]).unwrap();
    assert_eq!(hosts(&policy), ["host tuf.example.com, tcp 443"]);

    let shelf = Shelf::new(&[]);
    fs::create_dir_all(&shelf.path("profiles.d")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", shelf.path("profiles.d/base.toml")).unwrap();
    let text = shelf.wrong(&["base"]);
    assert!(text.contains("cannot read"), "{text}");
}

#[test]
fn an_own_profile_has_the_name_of_its_file() {
    let shelf = Shelf::new(&[("profiles.d/rust.toml", "name = \"node\"\n")]);
    let text = shelf.wrong(&["rust"]);
    assert!(text.contains("calls itself `node`"), "{text}");
    shelf.load(&["./profiles.d/rust.toml"]).unwrap();
}

#[test]
fn what_is_not_a_profile_file_is_refused() {
    let shelf = Shelf::new(&[
        (
            "abs.toml",
            "name = \"abs\"\nextends = [\"/etc/passwd\", \"../x/shadow\"]\n",
        ),
        ("dir.toml/x", ""),
    ]);
    let text = shelf.wrong(&["./abs.toml"]);
    assert_eq!(text.matches("cannot be extended").count(), 2, "{text}");
    assert!(shelf.wrong(&["./dir.toml"]).contains("is not a file"));
    assert!(shelf.wrong(&["Bad Name"]).contains("is not the name"));
    let pipe = shelf.path("pipe.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(shelf.wrong(&["./pipe.toml"]).contains("is not a file"));
}

#[test]
fn the_list_shows_names_sources_and_broken_ones() {
    let shelf = Shelf::new(&[
        (
            "profiles.d/mine.toml",
            "name = \"mine\"\ndescription = \"d\"\n",
        ),
        ("profiles.d/broken.toml", "nope"),
        ("profiles.d/README.md", "not a profile"),
    ]);
    let library = Library {
        directory: Some(shelf.path("profiles.d")),
    };
    let (listed, mistakes) = library.list();
    let names: Vec<&str> = listed.iter().map(|profile| profile.name.as_str()).collect();
    assert!(
        names.contains(&"mine") && names.contains(&"base"),
        "{names:?}"
    );
    assert!(names.is_sorted() && !names.contains(&"broken"));
    assert!(!mistakes.is_empty());
    let none = Library {
        directory: Some(Path::new("/nonexistent/profiles.d").to_owned()),
    };
    assert!(none.list().1.is_empty());
}
