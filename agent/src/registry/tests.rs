//! Key, list and value: what is written, what is refused, what is left alone.

use std::fs::Permissions;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use cordon_secrets::{Class, FingerprintKey, KnownSet, RegisterError};
use proptest::prelude::*;

use super::key::{Made, load, load_or_make};
use super::value::RegisterFailure;
use super::*;
use crate::sys::fs;

struct Shelf(tempfile::TempDir);

impl Shelf {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write_atomic(&path, bytes, mode).unwrap();
        // Whatever the umask.
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn content(path: &Path) -> Vec<u8> {
    fs::read(path, 1 << 20).unwrap()
}

/// A value that comes over a pipe.
fn value(bytes: &[u8], ending: Ending) -> Result<Value, ValueError> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(bytes));
        Value::read(&reader, ending)
    })
}

fn register(path: &Path, key: &FingerprintKey, label: &str, bytes: &[u8]) -> Result<(), Failed> {
    known::change(path, key.id(), |set| {
        value(bytes, Ending::Kept)
            .unwrap()
            .register(set, key, label, Class::Static, 1)?;
        Ok(())
    })
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Known(#[from] KnownError),
    #[error(transparent)]
    Register(#[from] RegisterFailure),
}

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let shelf = Shelf::new();
    let path = shelf.path("keys/fingerprint.key");
    assert!(load(&path).err().unwrap().is_missing());
    let (key, made) = load_or_make(&path).unwrap();
    assert_eq!((made, mode(&path)), (Made::Now, 0o600));
    let bytes = content(&path);
    assert_eq!(bytes.len(), 32);
    let again = load_or_make(&path).unwrap();
    assert_eq!((again.0.id(), again.1), (key.id(), Made::Before));
    assert_eq!(content(&path), bytes);
    let files = std::fs::read_dir(shelf.path("keys")).unwrap();
    assert_eq!(files.count(), 1);
    let (other, _) = load_or_make(&shelf.path("other.key")).unwrap();
    assert_ne!(other.id(), key.id());
    let mut same = [0; 32];
    same.copy_from_slice(&bytes);
    assert_eq!(FingerprintKey::new(same).id(), key.id());
}

#[test]
fn of_many_that_need_a_key_at_once_one_makes_it() {
    let shelf = Shelf::new();
    let path = shelf.path("keys/fingerprint.key");
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| load_or_make(&path).unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let (key, made) = thread.join().unwrap();
                (key.id(), made)
            })
            .collect()
    });
    let id = load(&path).unwrap().id();
    assert!(made.iter().all(|(each, _)| *each == id));
    let now = made.iter().filter(|(_, made)| *made == Made::Now);
    assert_eq!(now.count(), 1);
}

#[test]
fn a_key_that_cannot_be_trusted_is_refused_with_what_to_do_and_left_alone() {
    let shelf = Shelf::new();
    let good = shelf.write("good", &[7; 32], 0o600);
    load(&good).unwrap();
    for (name, bytes, mode, help) in [
        ("read", 32, 0o640, "chmod 0600"),
        ("written", 32, 0o602, "chmod 0600"),
        ("short", 31, 0o600, "exactly 32 bytes"),
        ("long", 33, 0o600, "exactly 32 bytes"),
        ("empty", 0, 0o600, "cordon secrets init"),
    ] {
        let path = shelf.write(name, &vec![7; bytes], mode);
        for error in [
            load(&path).err().unwrap(),
            load_or_make(&path).err().unwrap(),
        ] {
            let text = error.to_string();
            assert!(text.contains(help) && text.contains(name), "{text}");
        }
        assert_eq!(content(&path).len(), bytes);
    }
    symlink(&good, shelf.path("link")).unwrap();
    load_or_make(&shelf.path("link")).err().unwrap();
    nix::unistd::mkfifo(&shelf.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = load_or_make(&shelf.path("pipe")).err().unwrap();
    assert!(matches!(error, KeyError::NotAFile { .. }), "{error}");
    let error = load_or_make(Path::new("/")).err().unwrap();
    assert!(error.to_string().contains("does not name a file"));
    // Only root can give a file away.
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&good, Some(1), None).unwrap();
        let error = load_or_make(&good).err().unwrap();
        assert!(error.to_string().contains("belongs to user 1"), "{error}");
    }
}

#[test]
fn what_is_registered_is_there_for_the_next_reader_and_can_be_forgotten() {
    let shelf = Shelf::new();
    let path = shelf.path("secrets/known");
    let key = FingerprintKey::new([1; 32]);
    assert!(known::read(&path).unwrap().is_none());
    assert!(known::load(&path, key.id()).unwrap().is_empty());
    register(&path, &key, "one", b"Kq8rT2mZ5w").unwrap();
    register(&path, &key, "two", b"p4$$w0rd!Q").unwrap();
    assert_eq!(mode(&path), 0o600);
    let set = known::load(&path, key.id()).unwrap();
    let labels: Vec<String> = set.values().into_iter().map(|value| value.label).collect();
    assert_eq!(labels, ["one", "two"]);
    known::change(&path, key.id(), |set| {
        Ok::<_, KnownError>(set.remove("one"))
    })
    .unwrap();
    let set = known::load(&path, key.id()).unwrap();
    assert_eq!(set.values().len(), 1);
    let files = std::fs::read_dir(shelf.path("secrets")).unwrap();
    assert_eq!(files.count(), 1);
}

#[test]
fn many_that_register_at_once_lose_nothing() {
    let shelf = Shelf::new();
    let path = shelf.path("known");
    let key = FingerprintKey::new([1; 32]);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (path, key) = (&path, &key);
            scope.spawn(move || {
                let bytes = format!("Kq8rT2mZ5w{number}");
                register(path, key, &format!("v{number}"), bytes.as_bytes()).unwrap();
            });
        }
    });
    let set = known::load(&path, key.id()).unwrap();
    assert_eq!(set.values().len(), 8);
}

#[test]
fn a_list_that_cannot_be_read_whole_is_never_written_over() {
    let shelf = Shelf::new();
    let key = FingerprintKey::new([1; 32]);
    let path = shelf.path("known");
    register(&path, &key, "one", b"Kq8rT2mZ5w").unwrap();
    let good = content(&path);
    let line = [good.as_slice(), b"1 one\n"].concat();
    let binary = [good.as_slice(), b"\n\xff\n"].concat();
    let lines = good.lines().count();
    for (bytes, place) in [
        (line, format!("line {} of the known values", lines + 1)),
        (binary, format!("line {} of", lines + 2)),
        (b"something else\n".to_vec(), "line 1 of".to_owned()),
        (Vec::new(), "line 1 of".to_owned()),
    ] {
        shelf.write("known", &bytes, 0o600);
        for error in [
            known::load(&path, key.id()).err().unwrap(),
            known::change(&path, key.id(), |_set| Ok::<_, KnownError>(()))
                .err()
                .unwrap(),
        ] {
            let cause = std::error::Error::source(&error);
            let text = cause.map_or_else(|| error.to_string(), ToString::to_string);
            assert!(text.contains(&place), "{place}: {text}");
        }
        assert_eq!(content(&path), bytes);
    }
    shelf.write("known", &good, 0o622);
    let error = known::load(&path, key.id()).err().unwrap();
    assert!(matches!(error, KnownError::Access(_)), "{error}");
}

#[test]
fn a_list_of_another_key_is_refused_and_a_change_that_fails_changes_nothing() {
    let shelf = Shelf::new();
    let path = shelf.path("known");
    let (key, other) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
    register(&path, &key, "one", b"Kq8rT2mZ5w").unwrap();
    let before = content(&path);
    let error = register(&path, &other, "two", b"Kq8rT2mZ5w").unwrap_err();
    assert!(
        matches!(error, Failed::Known(KnownError::OtherKey { .. })),
        "{error}"
    );
    for (label, bytes, refused) in [
        ("one", &b"p4$$w0rd!Q"[..], RegisterError::Taken),
        ("t o", b"p4$$w0rd!Q", RegisterError::Label),
        ("two", b"1234567", RegisterError::Short),
    ] {
        let error = register(&path, &key, label, bytes).unwrap_err();
        let Failed::Register(RegisterFailure::Refused(why)) = error else {
            panic!("{error}")
        };
        assert_eq!(why, refused);
    }
    assert_eq!(content(&path), before);
}

/// How long the set says that the only value is.
fn stored_length(set: &KnownSet) -> usize {
    let text = set.to_string();
    let line = text.lines().find(|line| line.contains(" whole ")).unwrap();
    line.split(' ').nth(4).unwrap().parse().unwrap()
}

#[test]
fn a_line_break_is_cut_off_unless_it_belongs_to_the_value() {
    let key = FingerprintKey::new([1; 32]);
    for (bytes, ending, length) in [
        (&b"Kq8rT2mZ"[..], Ending::Cut, 8),
        (b"Kq8rT2mZ\n", Ending::Cut, 8),
        (b"Kq8rT2mZ\r\n", Ending::Cut, 8),
        (b"Kq8rT2mZ\n\n", Ending::Cut, 9),
        (b"Kq8rT2mZ\r", Ending::Cut, 9),
        (b"Kq8rT2mZ\n", Ending::Kept, 9),
        (b"Kq8rT2mZ\r", Ending::Kept, 9),
        (b"Kq8rT2mZ\r\n", Ending::Kept, 10),
        (b"Kq8rT2mZ\n\r\n", Ending::Kept, 11),
    ] {
        let mut set = KnownSet::new(key.id());
        let mut value = value(bytes, ending).unwrap();
        value
            .register(&mut set, &key, "v", Class::Static, 1)
            .unwrap();
        assert_eq!(stored_length(&set), length, "{bytes:?} {ending:?}");
        assert_eq!(value.fingerprint(&key), key.fingerprint(&bytes[..length]));
    }
}

#[test]
fn a_value_has_at_most_128_kib() {
    let key = FingerprintKey::new([1; 32]);
    let mut longest: Vec<u8> = (0..128 * 1024).map(|at| b"Kq8rT2mZ5w"[at % 10]).collect();
    let mut set = KnownSet::new(key.id());
    value(&longest, Ending::Kept)
        .unwrap()
        .register(&mut set, &key, "v", Class::Static, 1)
        .unwrap();
    longest.extend(b"\r\n");
    value(&longest, Ending::Cut).unwrap();
    let error = value(&longest, Ending::Kept).err().unwrap();
    assert!(matches!(error, ValueError::Long), "{error}");
    longest.extend([b'x'; 4096]);
    let error = value(&longest, Ending::Cut).err().unwrap();
    assert!(matches!(error, ValueError::Long), "{error}");
}

#[test]
fn plain_values_are_known_as_such() {
    for plain in [
        "",
        "abababababab",
        "changeme123",
        "xxxxxxxxxxxx",
        "${TOKEN}",
    ] {
        assert!(
            value(plain.as_bytes(), Ending::Cut).unwrap().is_weak(),
            "{plain}"
        );
    }
    for good in ["Kq8rT2mZ", "p4$$w0rd!Q"] {
        assert!(
            !value(good.as_bytes(), Ending::Cut).unwrap().is_weak(),
            "{good}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_is_read_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        let key = FingerprintKey::new([1; 32]);
        let value = value(&bytes, Ending::Kept).unwrap();
        prop_assert_eq!(value.fingerprint(&key), key.fingerprint(&bytes));
    }

    #[test]
    fn any_list_is_read_or_left_alone(bytes in any::<Vec<u8>>()) {
        let shelf = Shelf::new();
        let path = shelf.write("known", &bytes, 0o600);
        let key = FingerprintKey::new([1; 32]);
        let changed = known::change(&path, key.id(), |_set| Ok::<_, KnownError>(()));
        if changed.is_err() {
            prop_assert_eq!(content(&path), bytes);
        }
    }
}
