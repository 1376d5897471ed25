//! `cordon key rotate`, `prune` and `table`.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::{Failure, default_path};
use crate::cli::output;
use crate::config::Config;
use crate::gate::policy::{Role, TrustedKey, parse_length};
use crate::report::escape::escape;
use crate::report::rotation::steps::{self, Rotated, Where};
use crate::report::rotation::{MAX_ROTATION, RotationPredicate, open};
use crate::report::signer::VerifyingKey;
use crate::sys::fs;

/// `30d` and the like.
pub(super) fn overlap(text: &str) -> Result<SignedDuration, String> {
    parse_length(text).ok_or_else(|| {
        "write a whole number and its unit: \"30s\", \"10m\", \"12h\" or \"7d\"".to_owned()
    })
}

/// The role of a key in a policy.
pub(super) fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "write report, gate, policy or other".to_owned())
}

pub(super) fn rotate(
    key: Option<PathBuf>,
    into_tpm: bool,
    overlap: SignedDuration,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let path = key.map_or_else(|| default_path(config), Ok)?;
    let host = Config::load(config)?.host;
    let places = Where {
        state_dir: &host.state_dir,
        tpm: &host.tpm,
        into_tpm,
    };
    let rotated = steps::rotate(&path, places, Timestamp::now(), overlap)?;
    Ok(output::data(&done(&path, &rotated)?)?)
}

fn done(path: &Path, rotated: &Rotated) -> Result<String, Failure> {
    let Rotated {
        predicate,
        statement,
        retired,
        resumed,
    } = rotated;
    let shown = |path: &Path| escape(&path.to_string_lossy()).into_owned();
    let resumed = if *resumed {
        "finished a rotation that was interrupted\n"
    } else {
        ""
    };
    Ok(format!(
        "{resumed}key        {}\n           `{}`\nreplaces   {}\n           kept as `{}` until {}\n\
         statement  `{}`, signed by both\n\n\
         A daemon signs with it after `systemctl reload cordon`, for jobs that start from then on; jobs \
         under way keep the old key.\nFor the trust policy, in place of the table of the old key (with \
         its `hosts`), before the first release\nof the new one:\n\n{}",
        predicate.new.fingerprint,
        shown(path),
        predicate.old.fingerprint,
        shown(retired),
        predicate.overlap_until,
        shown(statement),
        tables(predicate)?,
    ))
}

pub(super) fn prune(key: Option<PathBuf>, config: Option<&Path>) -> Result<(), Failure> {
    let path = key.map_or_else(|| default_path(config), Ok)?;
    let removed = steps::prune(&path, Timestamp::now())?;
    let lines = removed.iter().map(|path| {
        let path = path.to_string_lossy();
        format!("removed `{}`\n", escape(&path))
    });
    let mut text: String = lines.collect();
    if text.is_empty() {
        text.push_str("no key is kept beyond its overlap\n");
    }
    Ok(output::data(&text)?)
}

pub(super) fn table(file: &Path, known: Option<&Path>, role: Role) -> Result<(), Failure> {
    let text = match known {
        None => of(VerifyingKey::load(file)?, role).table()?,
        Some(known) => {
            let known = VerifyingKey::load(known)?;
            tables(&open(&fs::read(file, MAX_ROTATION)?, known)?)?
        }
    };
    Ok(output::data(&text)?)
}

/// Both keys of a rotation, with windows that overlap.
fn tables(rotation: &RotationPredicate) -> Result<String, Failure> {
    let RotationPredicate {
        old,
        new,
        rotated_on,
        overlap_until,
        ..
    } = rotation;
    let (Some(was), Some(is)) = (old.key(), new.key()) else {
        return Err(Failure::NoTable);
    };
    let was = TrustedKey {
        not_after: Some(*overlap_until),
        ..of(was, Role::Report)
    };
    let is = TrustedKey {
        not_before: Some(*rotated_on),
        replaces: vec![old.fingerprint.clone()],
        ..of(is, Role::Report)
    };
    Ok(format!("{}\n{}", was.table()?, is.table()?))
}

fn of(key: VerifyingKey, role: Role) -> TrustedKey {
    TrustedKey {
        role,
        key,
        not_before: None,
        not_after: None,
        revoked_from: None,
        replaces: Vec::new(),
        hosts: Vec::new(),
        predicate_types: std::collections::BTreeSet::new(),
    }
}
