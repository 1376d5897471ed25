//! The files of a rotation, in an order in which a crash leaves the old key in force, or the new one.
//!
//! Beside the key `FILE`: `FILE.next` is a key that is not in force yet, `FILE.rotation-ID.intoto.jsonl`
//! the statement about the key of that id, `FILE.retired-ID` a key that was in force once.
//!
//! **Invariants**: `FILE` is whole at every moment; it changes by one rename, before which everything
//! is on disk that the new key needs, and after which nothing is lost if nobody goes on. Whoever rotates
//! again after a crash finishes what was begun, and makes no second key.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::{MAX_ROTATION, RotationError, RotationPredicate, open, sign};
use crate::report::chain::{Chain, ChainError};
use crate::report::signer::{KeyError, SigningKey, VerifyingKey};
use crate::sys::dir::Directory;
use crate::sys::fs::FileError;

/// A rotation that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Somebody else rotates.
    #[error("another cordon works in `{}`; wait until it has ended", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The chain of seals could not be handed on.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no such time.
    #[error("the overlap ends beyond the end of the calendar; give a shorter one")]
    Overlap(#[from] jiff::Error),
    /// An earlier rotation began with a key that is in no TPM.
    #[error(
        "`{}` is the next key by a rotation that was interrupted, and in no TPM: finish that rotation \
         first (`cordon key rotate` without `--tpm`), or move it away if the statement of that rotation is in no \
         policy",
        path.display()
    )]
    NotInTpm {
        /// The key.
        path: PathBuf,
    },
    /// What is left of an earlier rotation does not fit.
    #[error(
        "`{}` is left of an earlier rotation and does not belong to this key; move it away",
        path.display()
    )]
    Remains {
        /// What is left.
        path: PathBuf,
    },
    /// The statement could not be made, or an earlier one does not count.
    #[error(transparent)]
    Statement(#[from] RotationError),
}

/// What a rotation consists of, in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// The new key is on disk.
    Staged,
    /// Both keys have said so.
    Stated,
    /// The old key is on disk under a name that it keeps.
    Kept,
    /// The chain of seals is handed on.
    Joined,
    /// The new key is in force.
    Switched,
    /// The new public key is beside it.
    Published,
}

/// A rotation that is done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotated {
    /// What both keys said.
    pub predicate: RotationPredicate,
    /// The statement.
    pub statement: PathBuf,
    /// The old key.
    pub retired: PathBuf,
    /// Whether it was begun by somebody who did not finish it.
    pub resumed: bool,
}

/// Where keys of a rotation are.
#[derive(Clone, Copy, Debug)]
pub struct Where<'p> {
    /// Has the chain of seals.
    pub state_dir: &'p Path,
    /// The TPM, for keys that are in one.
    pub tpm: &'p Path,
    /// Whether the next key is to be there. It is in any case if the old one was.
    pub into_tpm: bool,
}

/// A key file, its directory open and locked.
struct Keys {
    dir: Directory,
    name: String,
}

/// Makes a new key, has the old one vouch for it, and puts it in the old one's place.
///
/// # Errors
/// See [`StepError`]. The key file is the old one or the new one then; rotating again goes on.
pub fn rotate(
    path: &Path,
    places: Where<'_>,
    now: Timestamp,
    overlap: SignedDuration,
) -> Result<Rotated, StepError> {
    let done = rotate_until(path, places, (now, overlap), Step::Published)?;
    // Only what stops before its end comes to nothing.
    done.ok_or_else(|| StepError::Remains { path: path.into() })
}

/// The same up to a step; nothing if that is not the last one.
fn rotate_until(
    path: &Path,
    places: Where<'_>,
    (now, overlap): (Timestamp, SignedDuration),
    last: Step,
) -> Result<Option<Rotated>, StepError> {
    let keys = Keys::open(path)?;
    keys.clear()?;
    let current = SigningKey::load_on(path, places.tpm)?;
    if let Some(done) = keys.finish(path, &current)? {
        return Ok(Some(done));
    }
    // Before there is a next key that it could not vouch for.
    current.prove()?;
    let into_tpm = (places.into_tpm || current.is_in_tpm()).then_some(places.tpm);
    let (new, resumed) = keys.stage(places.tpm, into_tpm)?;
    if new.public() == current.public() {
        let path = keys.path(".next");
        return Err(StepError::Remains { path });
    }
    if last == Step::Staged {
        return Ok(None);
    }
    let name = keys.statement_of(new.public());
    let predicate = if keys.dir.contains(&name)? {
        open(&keys.dir.read(&name, MAX_ROTATION)?, current.public())?
    } else {
        let text = sign(&current, &new, now, now.checked_add(overlap)?)?;
        keys.dir.publish(&name, text.as_bytes(), 0o644)?;
        open(text.as_bytes(), current.public())?
    };
    if last == Step::Stated {
        return Ok(None);
    }
    let retired = keys.keep(path, &current)?;
    if last == Step::Kept {
        return Ok(None);
    }
    let chain = |key: &SigningKey| Chain::new(places.state_dir, key.public());
    chain(&new).join(&chain(&current))?;
    if last == Step::Joined {
        return Ok(None);
    }
    keys.dir.rename(&keys.file(".next"), &keys.name)?;
    if last == Step::Switched {
        return Ok(None);
    }
    keys.publish(new.public())?;
    Ok(Some(Rotated {
        predicate,
        statement: keys.dir.path().join(name),
        retired,
        resumed,
    }))
}

impl Keys {
    fn open(path: &Path) -> Result<Self, StepError> {
        let nameless = || KeyError::NoFileName { path: path.into() };
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(nameless)?.to_owned();
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let dir = Directory::open(parent)?;
        if !dir.try_lock()? {
            let path = dir.path().to_owned();
            return Err(StepError::Busy { path });
        }
        Ok(Self { dir, name })
    }

    /// Removes what somebody left who was killed while it wrote a file: it may be a name of a key, which
    /// would stay when all others are gone.
    fn clear(&self) -> Result<(), StepError> {
        let prefix = format!(".{}.", self.name);
        for name in self.names()? {
            let rest = name.strip_prefix(&prefix);
            if rest.is_some_and(|rest| rest.contains(".new-")) {
                self.dir.remove(&name)?;
            }
        }
        Ok(())
    }

    /// All names in the directory that are text.
    fn names(&self) -> Result<Vec<String>, FileError> {
        let failed = |error| FileError::on("list", self.dir.path())(error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.dir.path()).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn file(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(self.file(suffix))
    }

    fn statement_of(&self, key: VerifyingKey) -> String {
        self.file(&format!(".rotation-{}.intoto.jsonl", key.short()))
    }

    /// The key that is to be the next one, and whether it was there already.
    fn stage(&self, tpm: &Path, into: Option<&Path>) -> Result<(SigningKey, bool), StepError> {
        let (secret, public) = (self.file(".next"), self.file(".next.pub"));
        if self.dir.contains(&secret)? {
            let path = self.path(".next");
            let key = SigningKey::load_on(&path, tpm)?;
            if into.is_some() && !key.is_in_tpm() {
                return Err(StepError::NotInTpm { path });
            }
            if !self.dir.contains(&public)? {
                let pem = key.public().to_pem()?;
                self.dir.publish(&public, pem.as_bytes(), 0o644)?;
            }
            return Ok((key, true));
        }
        let key = match into {
            Some(tpm) => SigningKey::generate_in(tpm)?,
            None => SigningKey::generate()?,
        };
        key.save(&self.path(".next"))?;
        Ok((key, false))
    }

    /// Gives the key a second name, under which it stays.
    fn keep(&self, path: &Path, key: &SigningKey) -> Result<PathBuf, StepError> {
        let name = self.file(&format!(".retired-{}", key.public().short()));
        let kept = self.dir.path().join(&name);
        if self.dir.contains(&name)? {
            if SigningKey::load(&kept)?.public() != key.public() {
                return Err(StepError::Remains { path: kept });
            }
        } else {
            self.dir.link_to(&self.name, &name)?;
        }
        let public = format!("{name}.pub");
        if !self.dir.contains(&public)? {
            let pem = key.public().to_pem()?;
            self.dir.publish(&public, pem.as_bytes(), 0o644)?;
        }
        // The link is to the file that was read: nobody else may rotate meanwhile.
        debug_assert_eq!(path.file_name(), Some(self.name.as_ref()));
        Ok(kept)
    }

    /// Puts the public key that belongs to the key in force beside it.
    fn publish(&self, key: VerifyingKey) -> Result<(), StepError> {
        let pem = key.to_pem()?;
        self.dir
            .replace(&self.file(".pub"), pem.as_bytes(), 0o644)?;
        self.dir.remove(&self.file(".next.pub"))?;
        Ok(())
    }

    /// Finishes a rotation whose new key is in force already, if there is one.
    fn finish(&self, path: &Path, current: &SigningKey) -> Result<Option<Rotated>, StepError> {
        let staged = self.file(".next.pub");
        if self.dir.contains(&self.file(".next"))? || !self.dir.contains(&staged)? {
            return Ok(None);
        }
        let remains = || StepError::Remains {
            path: self.path(".next.pub"),
        };
        if VerifyingKey::load(&self.path(".next.pub"))? != current.public() {
            return Err(remains());
        }
        let name = self.statement_of(current.public());
        let bytes = self.dir.read(&name, MAX_ROTATION)?;
        let found = retired(path)?.into_iter().find_map(|(file, key)| {
            let predicate = open(&bytes, key).ok()?;
            Some((file, predicate))
        });
        let (public, predicate) = found.ok_or_else(remains)?;
        self.publish(current.public())?;
        Ok(Some(Rotated {
            predicate,
            statement: self.dir.path().join(name),
            retired: public.with_extension(""),
            resumed: true,
        }))
    }
}

/// The public halves of the keys that were in force before that in `path`, with their files.
///
/// # Errors
/// The directory cannot be read. A file that is no key is none.
pub fn retired(path: &Path) -> Result<Vec<(PathBuf, VerifyingKey)>, FileError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.retired-");
    let failed = |error| FileError::on("list", parent)(error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_public = path.extension().is_some_and(|end| end == "pub");
        if name.is_some_and(|name| name.starts_with(&prefix) && is_public)
            && let Ok(key) = VerifyingKey::load(&path)
        {
            found.push((path, key));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// Removes the private halves of keys whose overlap is over; returns their files. The public ones stay.
///
/// # Errors
/// One cannot be read or removed.
pub fn prune(path: &Path, now: Timestamp) -> Result<Vec<PathBuf>, StepError> {
    let keys = Keys::open(path)?;
    keys.clear()?;
    let mut removed = Vec::new();
    let (mut statements, prefix) = (Vec::new(), keys.file(".rotation-"));
    for name in keys.names()? {
        if name.starts_with(&prefix) {
            statements.push(keys.dir.read(&name, MAX_ROTATION)?);
        }
    }
    for (public, key) in retired(path)? {
        let mut said = statements.iter().filter_map(|text| open(text, key).ok());
        let secret = public.with_extension("");
        let name = secret.file_name().and_then(|name| name.to_str());
        let over = said.any(|predicate| predicate.overlap_until < now);
        // While a rotation is under way its old key is still in force.
        if let Some(name) = name.filter(|_| over)
            && SigningKey::load(path)?.public() != key
            && keys.dir.contains(name)?
        {
            keys.dir.remove(name)?;
            removed.push(secret);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 6] = [
        Step::Staged,
        Step::Stated,
        Step::Kept,
        Step::Joined,
        Step::Switched,
        Step::Published,
    ];

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn when() -> (Timestamp, SignedDuration) {
        (time("2026-11-22T08:00:00Z"), SignedDuration::from_hours(24))
    }

    fn places(state_dir: &Path) -> Where<'_> {
        Where {
            state_dir,
            tpm: Path::new("/nonexistent/tpm"),
            into_tpm: false,
        }
    }

    struct Place {
        base: tempfile::TempDir,
        first: VerifyingKey,
    }

    impl Place {
        fn new() -> Self {
            let base = tempfile::tempdir().unwrap();
            let key = SigningKey::generate().unwrap();
            key.save(&base.path().join("keys/report.pem")).unwrap();
            let first = key.public();
            let place = Self { base, first };
            place.seal(first, "aa");
            place
        }

        fn key(&self) -> PathBuf {
            self.base.path().join("keys/report.pem")
        }

        fn state(&self) -> PathBuf {
            self.base.path().join("state")
        }

        /// Takes the next number of a key.
        fn seal(&self, key: VerifyingKey, seal: &str) -> (u64, Option<String>) {
            let next = Chain::new(&self.state(), key).next().unwrap();
            let link = next.link.clone();
            next.keep(seal).unwrap();
            (link.sequence, link.previous)
        }

        fn until(&self, last: Step) -> Option<Rotated> {
            rotate_until(&self.key(), places(&self.state()), when(), last).unwrap()
        }

        fn rotate(&self) -> Rotated {
            let (now, overlap) = when();
            rotate(&self.key(), places(&self.state()), now, overlap).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = std::fs::read_dir(self.base.path().join("keys"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn killed_after_any_step_there_is_the_old_key_or_the_new_one_and_the_next_run_finishes() {
        for step in STEPS {
            let place = Place::new();
            place.until(step);
            let between = SigningKey::load(&place.key()).unwrap().public();
            assert_eq!(between == place.first, step < Step::Switched, "{step:?}");
            // Whichever it is, its evidence goes on the same chain.
            assert_eq!(
                place.seal(between, "bb"),
                (2, Some("aa".into())),
                "{step:?}"
            );
            if step == Step::Published {
                continue;
            }
            let rotated = place.rotate();
            assert!(rotated.resumed, "{step:?}");
            let key = SigningKey::load(&place.key()).unwrap().public();
            assert_eq!(rotated.predicate.new.key(), Some(key), "{step:?}");
            assert_eq!(rotated.predicate.old.key(), Some(place.first));
            let mut public = place.key().into_os_string();
            public.push(".pub");
            assert_eq!(VerifyingKey::load(Path::new(&public)).unwrap(), key);
            let kept = SigningKey::load(&rotated.retired).unwrap();
            assert_eq!(kept.public(), place.first, "{step:?}");
            assert_eq!(place.seal(key, "cc"), (3, Some("bb".into())), "{step:?}");
            // One new key was made, however often it was tried; nothing half-made is left.
            let names = place.names();
            assert_eq!(names.len(), 5, "{step:?}: {names:?}");
        }
    }

    #[test]
    fn a_name_of_a_key_that_a_crash_left_is_removed() {
        let place = Place::new();
        place.until(Step::Staged);
        let keys = place.base.path().join("keys");
        // As `Directory::publish` leaves it, killed between its last two calls.
        let left = keys.join(".report.pem.next.new-7");
        std::fs::hard_link(keys.join("report.pem.next"), &left).unwrap();
        // Somebody else's, who makes a key of that name now.
        let other = keys.join(".report.pem.new-8");
        std::fs::hard_link(keys.join("report.pem"), &other).unwrap();
        place.rotate();
        assert!(!left.exists() && other.exists());
    }

    #[test]
    fn a_staged_key_without_its_public_half_is_gone_on_with() {
        let place = Place::new();
        place.until(Step::Staged);
        let staged = place.base.path().join("keys/report.pem.next");
        let key = SigningKey::load(&staged).unwrap().public();
        std::fs::remove_file(place.base.path().join("keys/report.pem.next.pub")).unwrap();
        place.rotate();
        assert_eq!(SigningKey::load(&place.key()).unwrap().public(), key);
    }

    #[test]
    fn the_numbers_go_on_and_jobs_of_the_old_key_take_theirs_among_them() {
        let place = Place::new();
        place.rotate();
        let second = SigningKey::load(&place.key()).unwrap().public();
        assert_eq!(place.seal(second, "bb"), (2, Some("aa".into())));
        // A job that was under way.
        assert_eq!(place.seal(place.first, "cc"), (3, Some("bb".into())));
        place.rotate();
        let third = SigningKey::load(&place.key()).unwrap().public();
        assert_ne!(third, second);
        assert_eq!(place.seal(third, "dd"), (4, Some("cc".into())));
        assert_eq!(place.seal(second, "ee"), (5, Some("dd".into())));
        assert_eq!(retired(&place.key()).unwrap().len(), 2);
    }

    #[test]
    fn a_key_that_was_kept_is_removed_when_its_overlap_is_over() {
        let place = Place::new();
        let rotated = place.rotate();
        let early = time("2026-11-23T08:00:00Z");
        assert_eq!(prune(&place.key(), early).unwrap(), Vec::<PathBuf>::new());
        let late = time("2026-11-23T08:00:01Z");
        assert_eq!(
            prune(&place.key(), late).unwrap(),
            std::slice::from_ref(&rotated.retired)
        );
        assert!(!rotated.retired.exists());
        // What verifies its evidence stays, and so does the key in force.
        assert_eq!(retired(&place.key()).unwrap()[0].1, place.first);
        SigningKey::load(&place.key()).unwrap();
        assert_eq!(prune(&place.key(), late).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_key_in_force_is_never_removed_not_even_in_the_middle_of_a_rotation() {
        let place = Place::new();
        place.until(Step::Joined);
        let late = time("2027-01-01T00:00:00Z");
        assert_eq!(prune(&place.key(), late).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_others_could_read_or_left_there_is_not_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = Place::new();
        place.until(Step::Staged);
        let staged = place.base.path().join("keys/report.pem.next");
        std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o444)).unwrap();
        let (now, overlap) = when();
        let again = || rotate(&place.key(), places(&place.state()), now, overlap);
        let error = again().unwrap_err();
        assert!(
            matches!(error, StepError::Key(KeyError::Readable { .. })),
            "{error}"
        );
        std::fs::remove_file(&staged).unwrap();
        // A public key of another rotation.
        let error = again().unwrap_err();
        assert!(matches!(error, StepError::Remains { .. }), "{error}");
        assert_eq!(
            SigningKey::load(&place.key()).unwrap().public(),
            place.first
        );
        let held = Directory::open(&place.base.path().join("keys")).unwrap();
        assert!(held.try_lock().unwrap());
        assert!(matches!(again().unwrap_err(), StepError::Busy { .. }));
    }
}
