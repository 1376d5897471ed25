//! `cordon verify`: the promotion gate.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;

use super::publish::carrier::{self, CarrierError, RegistryArgs, Remote};
use super::{key, output};
use crate::gate::decision::{Decision, Now, PolicyFacts};
use crate::gate::parcel::{Opened, Store};
use crate::gate::policy::{MAX_POLICY, Role, TrustPolicy};
use crate::gate::revocations::{self, MAX_LIST, RevocationsPredicate};
use crate::gate::source::ReadError;
use crate::gate::state::StateError;
use crate::gate::{Question, decide, text};
use crate::policy::Mistakes;
use crate::report::envelope::{Bundle, EnvelopeError, MAX_BUNDLE};
use crate::report::image::{Image, ImageError};
use crate::report::json;
use crate::report::signer::{KeyError, SigningKey, VerifyingKey};
use crate::report::statement::{Statement, sha256_hex};
use crate::report::verify::VerifyError;
use crate::sys::fs::{self, FileError};

mod memory;
pub(in crate::cli) mod place;

use memory::Memory;
use place::Place;

const ABOUT: &str = "\
The release is promoted only if all fifteen checks show that the evidence is genuine, is about this very \
image, and is what the policy asks for. Nothing is asked of the network, unless EVIDENCE is an image in \
a registry: then all evidence that refers to it is fetched, by `cordon-oci`, and one set of it must be \
good. Promote the digest that is printed, never a tag.
Exit status:
  0  promote
  1  denied by policy: the evidence is genuine, and what it says is not accepted
  2  wrong usage, or a policy with mistakes
  3  evidence missing or incomplete
  4  untrusted: a signature that does not count, or a file that is not the sealed one
  5  the evidence is about another image, or about none
  6  too old, not valid yet, or used before
  7  malformed, or over the limits
  8  could not decide: a file could not be read or written, or a registry not be asked
Where several apply, all are told, and the status is the first of 4, 5, 7, 6, 3, 1, 8.";

/// Arguments of `cordon verify`.
#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub struct Args {
    /// The release's bundle: an evidence directory, a tar archive of one, a file of lines
    /// (`cordon publish`), or an image in a registry, `oci://HOST/NAME@sha256:HEX`
    #[arg(value_name = "EVIDENCE")]
    evidence: PathBuf,
    /// The image to be promoted: `sha256:HEX`, `HEX` or `NAME@sha256:HEX`; the one in EVIDENCE if that
    /// is in a registry
    #[arg(long, value_name = "DIGEST")]
    subject: Option<Image>,
    /// What evidence must show (TOML)
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Public key (PEM) that signed the policy; its signature is FILE.sigstore.json
    #[arg(long, value_name = "PUB", required_unless_present = "unsigned_policy")]
    policy_key: Option<PathBuf>,
    /// Use the policy although nobody signed it; the decision says so
    #[arg(long, conflicts_with = "policy_key")]
    unsigned_policy: bool,
    /// Take this for the present, RFC 3339; the decision says so
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Remember seals and promotions in this file, and refuse what does not fit to them
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Signed list of revoked keys (`cordon key revoke`): nothing that they signed counts
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,
    /// Print the decision as JSON
    #[arg(long)]
    json: bool,
    /// Private key (PEM) that signs the decision
    #[arg(long, value_name = "KEY", requires = "vsa")]
    vsa_key: Option<PathBuf>,
    /// Write the signed decision, a SLSA verification summary, to this new file
    #[arg(long, value_name = "OUT", requires = "vsa_key")]
    vsa: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What is to be promoted, and where its evidence is, if in a registry.
struct Asked {
    image: Image,
    remote: Option<Remote>,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("another gate holds `{}` and does not let go", path.display())]
    Busy { path: PathBuf },
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    #[error("the decision cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    #[error("`{}` does not name a file", path.display())]
    NoFileName { path: PathBuf },
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    #[error(
        "the policy is not signed: there is no `{}`; `cordon key sign-policy` signs one",
        path.display()
    )]
    PolicyUnsigned { path: PathBuf },
    #[error(
        "`{option}` is for an image in a registry: give EVIDENCE as `oci://HOST/NAME@sha256:HEX`"
    )]
    NoRegistry { option: &'static str },
    #[error("say which image is to be promoted, with `--subject sha256:HEX`")]
    NoSubject,
    #[error("EVIDENCE is no image in a registry")]
    Remote(#[source] ImageError),
    #[error(
        "key {id} signed the policy, in which it has the role `{role}`: a policy is signed with a key \
         that is kept apart from those it is about"
    )]
    PolicyKeyRole { id: String, role: Role },
    #[error("the policy's signature does not count")]
    PolicySignature(#[source] VerifyError),
    #[error("key {id}, which is to sign the decision, is on the list of revoked keys")]
    RevokedGateKey { id: String },
    #[error(transparent)]
    State(#[from] StateError),
    #[error("key {id} is no key of the policy with the role `gate`, so nobody would believe it")]
    WrongGateKey { id: String },
}

impl Failure {
    /// The status that `after_help` documents.
    fn status(&self) -> u8 {
        match self {
            Self::Carrier(error) => error.status(),
            Self::Mistakes(_)
            | Self::NoFileName { .. }
            | Self::NoRegistry { .. }
            | Self::NoSubject
            | Self::Remote(_)
            | Self::WrongGateKey { .. } => 2,
            Self::PolicyUnsigned { .. } => 3,
            Self::PolicyKeyRole { .. }
            | Self::RevokedGateKey { .. }
            | Self::PolicySignature(
                VerifyError::Envelope(EnvelopeError::Untrusted { .. })
                | VerifyError::OtherReport { .. },
            ) => 4,
            Self::PolicySignature(_) => 7,
            Self::Busy { .. }
            | Self::Encode(_)
            | Self::File(_)
            | Self::Key(_)
            | Self::Output(_)
            | Self::State(_) => 8,
        }
    }
}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.verify() {
            Ok(status) => ExitCode::from(status),
            Err(Failure::Mistakes(mistakes)) => {
                output::mistakes(&mistakes);
                ExitCode::from(Failure::Mistakes(mistakes).status())
            }
            Err(failure) => {
                output::complaint(&failure);
                ExitCode::from(failure.status())
            }
        }
    }

    fn verify(&self) -> Result<u8, Failure> {
        let asked = self.asked()?;
        let policy_key = self.policy_key.as_deref();
        let policy_key = policy_key.map(VerifyingKey::load).transpose()?;
        let (policy, policy_facts) = self.policy(policy_key)?;
        let now = Now {
            time: self.now.unwrap_or_else(Timestamp::now),
            given: self.now.is_some(),
        };
        let list = self.revocations.as_deref();
        let list = list.map(|path| fs::read(path, MAX_LIST)).transpose()?;
        let signer = self.signer(&policy)?;
        if let (Some(signer), Some(list)) = (&signer, &list) {
            let by = revocations::signers(&policy, policy_key, now.time);
            let id = signer.public().id();
            // A list that does not count is a finding of the gate's, and promotes nothing.
            if let Ok((list, _)) = RevocationsPredicate::open(list, &by)
                && list.entry(&id).is_some()
            {
                return Err(Failure::RevokedGateKey { id });
            }
        }
        let memory = self.state.as_deref().map(Memory::open).transpose()?;
        let question = Question {
            target: &asked.image,
            policy: &policy,
            policy_facts: &policy_facts,
            now,
            state: memory.as_ref().map(|memory| &memory.state),
            policy_key,
            revocations: list.as_deref(),
        };
        let decision = match &asked.remote {
            Some(remote) => self.decide_remote(question, remote)?,
            None => decide(question, &Place::open(&self.evidence)),
        };
        let json = json::pretty(&decision)?;
        // What is remembered and signed comes before anybody is told to promote.
        if let Some(memory) = memory {
            memory.keep(&decision)?;
        }
        if let (Some(signer), Some(path)) = (signer, &self.vsa) {
            summarise(&decision, &json, &asked.image, &signer, path)?;
        }
        output::data(&if self.json {
            json
        } else {
            text::render(&decision)
        })?;
        Ok(decision.status)
    }

    /// What is to be promoted, and where its evidence is.
    fn asked(&self) -> Result<Asked, Failure> {
        let text = self
            .evidence
            .to_str()
            .filter(|text| text.starts_with("oci://"));
        let remote = text.map(str::parse::<Remote>).transpose();
        let remote = remote.map_err(Failure::Remote)?;
        if remote.is_none() && self.registry.are_given() {
            let option = "--plain-http, --ca, --auth-file or --timeout";
            return Err(Failure::NoRegistry { option });
        }
        let image = self.subject.clone();
        let image = image.or_else(|| remote.as_ref().map(|remote| remote.image.clone()));
        Ok(Asked {
            image: image.ok_or(Failure::NoSubject)?,
            remote,
        })
    }

    /// Decides on the evidence in a registry. That it cannot be had is a decision, too.
    fn decide_remote(&self, question: Question<'_>, remote: &Remote) -> Result<Decision, Failure> {
        let fetched = match carrier::fetch(remote, &self.registry) {
            Ok(fetched) => fetched,
            Err(CarrierError::Refused { status, said }) if status != 2 => {
                let error = match status {
                    3 => ReadError::Missing,
                    7 => ReadError::Refused(said),
                    _ => ReadError::Failed(said),
                };
                return Ok(decide(question, &Place::Nothing(error)));
            }
            Err(error) => return Err(error.into()),
        };
        let decisions = fetched.sets.iter().map(|set| {
            let store: &dyn Store = &fetched;
            decide(question, &Opened { set, store })
        });
        let nothing = || decide(question, &Place::Nothing(ReadError::Missing));
        let mut decision = Decision::closest(decisions.collect()).unwrap_or_else(nothing);
        for remark in &fetched.remarks {
            decision.remark(remark.clone());
        }
        Ok(decision)
    }

    fn policy(&self, key: Option<VerifyingKey>) -> Result<(TrustPolicy, PolicyFacts), Failure> {
        let bytes = fs::read(&self.policy, MAX_POLICY)?;
        let signed_by = match key {
            Some(key) => Some(check_policy(&self.policy, &bytes, key)?),
            None => None,
        };
        let source = self.policy.display().to_string();
        let policy = TrustPolicy::parse(&source, &bytes)?;
        // A host that could sign the policy would say itself that it is to be believed.
        let mut others = policy
            .keys
            .iter()
            .filter(|trusted| trusted.role != Role::Policy);
        if let Some(other) = others.find(|trusted| Some(trusted.key) == key) {
            let (id, role) = (other.key.id(), other.role);
            return Err(Failure::PolicyKeyRole { id, role });
        }
        let facts = PolicyFacts {
            name: policy.name.clone(),
            source,
            sha256: sha256_hex(&bytes),
            signed_by,
        };
        Ok((policy, facts))
    }

    /// What signs the decision, if it is one that the policy lets do so.
    fn signer(&self, policy: &TrustPolicy) -> Result<Option<SigningKey>, Failure> {
        let Some(path) = &self.vsa_key else {
            return Ok(None);
        };
        let signer = SigningKey::load(path)?;
        let mut gates = policy.keys.iter().filter(|key| key.role == Role::Gate);
        if !gates.any(|gate| gate.key == signer.public()) {
            let id = signer.public().id();
            return Err(Failure::WrongGateKey { id });
        }
        Ok(Some(signer))
    }
}

/// Where the signature of a policy is.
pub(super) fn signature_of(policy: &Path) -> PathBuf {
    let mut path = policy.as_os_str().to_owned();
    path.push(".sigstore.json");
    path.into()
}

/// Checks a policy's signature; returns the id of the key that made it.
fn check_policy(policy: &Path, bytes: &[u8], key: VerifyingKey) -> Result<String, Failure> {
    let path = signature_of(policy);
    let bundle = match fs::read(&path, MAX_BUNDLE as u64) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::PolicyUnsigned { path });
        }
        other => other?,
    };
    TrustPolicy::check_signature(bytes, &bundle, key).map_err(Failure::PolicySignature)?;
    Ok(key.id())
}

fn summarise(
    decision: &Decision,
    json: &str,
    image: &Image,
    signer: &SigningKey,
    path: &Path,
) -> Result<(), Failure> {
    let Some(statement) = Statement::summary(decision, json.as_bytes(), image) else {
        output::warning("it could not be decided, so no decision was signed");
        return Ok(());
    };
    let mut text = serde_json::to_string(&Bundle::sign(&statement.to_bytes()?, signer)?)?;
    text.push('\n');
    Ok(key::publish(path, text.as_bytes())?)
}
