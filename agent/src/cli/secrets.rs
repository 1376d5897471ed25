//! `cordon secrets`: the values the sweep looks for besides what it knows by its format.
//!
//! **Invariant**: a value comes from a descriptor and goes into locked memory; it is never an argument,
//! a variable, or part of what is printed.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use cordon_secrets::{Class, FingerprintKey, KnownSet, KnownValue};
use jiff::Timestamp;

use super::output;
use crate::config::Config;
use crate::policy::Mistakes;
use crate::registry::key::{self, Made};
use crate::registry::value::RegisterFailure;
use crate::registry::{Ending, KeyError, KnownError, RegistryError, Value, ValueError, known};
use crate::sys::descriptors;

/// Arguments of `cordon secrets`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The commands. Each exits with 0, with 1 when it failed, or with 2 for a wrong argument.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make the host's key for fingerprints, if there is none
    ///
    /// 32 random bytes that only root can read, and that never leave the host: reports name secrets by
    /// their fingerprint under it, and registered values are kept as digests under it. It is never
    /// written over. Commands and jobs that need it make it as well.
    Init,
    /// Register a value, to be found in any process of any job
    ///
    /// The value is read from standard input, up to its end, or from the descriptor of --fd; at a
    /// terminal it is asked for and not shown. It is never an argument: those are visible to every
    /// process of the host. Of the value only digests are kept, for itself, for each of its lines, and for
    /// the ways in which it is quoted; nobody can read it back.
    ///
    /// A line break at its end is cut off. It has 8 bytes or more.
    Register {
        /// What to call it: letters, digits, `.`, `_`, `/` and `-`. Not the value
        name: String,
        /// What kind of credential it is: job-token, short-lived, pointer, static, private-key,
        /// runner-identity or unknown
        #[arg(long, default_value = "static", value_parser = class)]
        class: Class,
        #[command(flatten)]
        source: Source,
        /// Register it also if it looks like a placeholder or is very plain
        #[arg(long)]
        anyway: bool,
    },
    /// List the registered values: name, class, number of forms, time
    List,
    /// Forget a registered value
    Forget {
        /// What it is called
        name: String,
    },
    /// Print the fingerprint of a value, for `allow` in profiles
    ///
    /// The value is the secret itself, without what stands around it: the password of a URL, not the
    /// URL. It is read as by `register`. The fingerprint is good on hosts with the same key.
    Fingerprint {
        #[command(flatten)]
        source: Source,
    },
}

/// Where a value comes from.
#[derive(clap::Args, Clone, Copy, Debug)]
struct Source {
    /// Read the value from this descriptor instead of standard input
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    fd: Option<RawFd>,
    /// A line break at the end is part of the value
    #[arg(long)]
    raw: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] Mistakes),
    #[error("there is no inherited descriptor {number}")]
    Descriptor {
        number: RawFd,
        #[source]
        source: io::Error,
    },
    #[error("the value is empty")]
    Empty,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Known(#[from] KnownError),
    #[error("cannot keep other processes from reading cordon's memory")]
    Memory(#[source] io::Error),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Register(#[from] RegisterFailure),
    #[error("no value of this name is registered; `cordon secrets list` shows those that are")]
    Unknown,
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(
        "the value looks like a placeholder, or is so plain that it would be found where nobody put it; \
         if it is a secret all the same, register it with `--anyway`"
    )]
    Weak,
}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        match self.command.run(config) {
            Ok(text) => output::deliver(&text, ExitCode::SUCCESS),
            Err(failure) => {
                output::complaint(&failure);
                ExitCode::FAILURE
            }
        }
    }
}

impl Command {
    fn run(self, config: Option<&Path>) -> Result<String, Failure> {
        let config = Config::load(config)?;
        match self {
            Self::Init => init(&config),
            Self::Register {
                name,
                class,
                source,
                anyway,
            } => register(&config, &name, class, source, anyway),
            Self::List => list(&config),
            Self::Forget { name } => forget(&config, &name),
            Self::Fingerprint { source } => fingerprint(&config, source),
        }
    }
}

fn class(text: &str) -> Result<Class, String> {
    Class::parse(text).ok_or_else(|| Class::ALL.map(Class::name).join(", "))
}

fn init(config: &Config) -> Result<String, Failure> {
    let path = config.fingerprint_key();
    let (key, made) = key::load_or_make(&path)?;
    let how = match made {
        Made::Now => "made",
        Made::Before => "was there before",
    };
    let path = path.display();
    Ok(format!(
        "key   {} ({how})\nfile  `{path}` (mode 0600)\n",
        key.id()
    ))
}

/// The host's key. That it was made is said, since it must be kept.
fn host_key(config: &Config) -> Result<FingerprintKey, Failure> {
    let path = config.fingerprint_key();
    let (key, made) = key::load_or_make(&path)?;
    if made == Made::Now {
        let path = path.display();
        output::hint(&format!("made the host's key for fingerprints, `{path}`"));
    }
    Ok(key)
}

fn register(
    config: &Config,
    name: &str,
    class: Class,
    source: Source,
    anyway: bool,
) -> Result<String, Failure> {
    let mut value = read(source)?;
    let key = host_key(config)?;
    let now = Timestamp::now().as_second();
    let registered = known::change(&config.known_values(), key.id(), |set| {
        value.register(set, &key, name, class, now)?;
        if value.is_weak() && !anyway {
            return Err(Failure::Weak);
        }
        Ok::<_, Failure>(find(set, name))
    })?;
    if value.is_weak() {
        output::warning("the value is plain; it may be found where nobody put it");
    }
    let forms = registered.map_or(0, |value| value.forms);
    Ok(format!(
        "registered   {name}\n\
         class        {}\n\
         length       {} bytes\n\
         forms        {forms}\n\
         fingerprint  {}\n",
        class.name(),
        value.length_class().name(),
        value.fingerprint(&key),
    ))
}

fn find(set: &KnownSet, name: &str) -> Option<KnownValue> {
    set.values().into_iter().find(|value| value.label == name)
}

fn list(config: &Config) -> Result<String, Failure> {
    let path = config.known_values();
    let Some(set) = known::read(&path)?.filter(|set| !set.is_empty()) else {
        output::hint("no values are registered");
        return Ok(String::new());
    };
    // Under another key, or none, they are of no use: better said here than by the next job.
    let usable = key::load(&config.fingerprint_key())
        .map_err(RegistryError::from)
        .and_then(|key| Ok(known::load(&path, key.id())?));
    if let Err(error) = usable {
        output::warning(&error.to_string());
    }
    let values = set.values();
    let width = values.iter().map(|value| value.label.len()).max();
    let width = width.unwrap_or_default();
    let lines = values.iter().map(|value| {
        let KnownValue {
            label,
            class,
            forms,
            registered,
        } = value;
        let class = class.name();
        let when = Timestamp::from_second(*registered).map_or_else(
            |_error| "at an unknown time".to_owned(),
            |time| time.to_string(),
        );
        let forms = match forms {
            1 => "1 form".to_owned(),
            more => format!("{more} forms"),
        };
        format!("{label:width$}  {class:15}  {when}  {forms}\n")
    });
    Ok(lines.collect())
}

fn forget(config: &Config, name: &str) -> Result<String, Failure> {
    let path = config.known_values();
    // Also under another key: what is not found any more can still be forgotten.
    let Some(set) = known::read(&path)? else {
        return Err(Failure::Unknown);
    };
    known::change(&path, set.key(), |set| {
        if set.remove(name) {
            Ok(())
        } else {
            Err(Failure::Unknown)
        }
    })?;
    Ok(format!("forgot  {name}\n"))
}

fn fingerprint(config: &Config, source: Source) -> Result<String, Failure> {
    let value = read(source)?;
    if value.is_empty() {
        return Err(Failure::Empty);
    }
    let key = host_key(config)?;
    Ok(format!("{}\n", value.fingerprint(&key)))
}

/// Reads a value, in memory that no other process of the user can look into.
fn read(source: Source) -> Result<Value, Failure> {
    nix::sys::prctl::set_dumpable(false).map_err(|errno| Failure::Memory(errno.into()))?;
    let inherited = source.fd.map(inherited).transpose()?;
    let stdin = io::stdin();
    let from = match &inherited {
        Some(descriptor) => descriptor.as_fd(),
        // Not through `Stdin`, which has a buffer of its own.
        None => stdin.as_fd(),
    };
    let value = if from.is_terminal() {
        Value::ask(from, || output::ask("value (not shown): "))?
    } else {
        let ending = if source.raw {
            Ending::Kept
        } else {
            Ending::Cut
        };
        Value::read(from, ending)?
    };
    Ok(value)
}

fn inherited(number: RawFd) -> Result<OwnedFd, Failure> {
    descriptors::duplicate(number).map_err(|source| Failure::Descriptor { number, source })
}
