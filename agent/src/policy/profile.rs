//! The text of one profile, read into rules. No I/O: bases are only named here.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use toml::Spanned;

use super::allow::read_rules;
use super::containers::{Engine, read_containers};
use super::diagnostic::{Mistake, SourceText};
use super::hex::Hex;
use super::library::has_toml_suffix;
use super::limits::{LimitsPolicy, read_limits};
use super::reader::{Reader, Schema, Table};
use super::sandbox::{SandboxPolicy, read_sandbox};
use super::secrets::{Said, read_secrets};
use super::upstream::{Upstream, UpstreamError};
use super::{DnsPolicy, Mode, ProfileSource, Rule};

/// Largest file that is read.
pub(crate) const FILE_BYTES: u64 = 1 << 20;

pub(crate) const PROFILE: Schema = Schema {
    what: "a profile",
    keys: &[
        "name",
        "description",
        "extends",
        "mode",
        "allow",
        "dns",
        "secrets",
        "limits",
        "containers",
        "sandbox",
    ],
    later: &[],
};

pub(crate) const DNS_TABLE: Schema = Schema {
    what: "`[dns]`",
    keys: &["upstream", "ca"],
    later: &[],
};

/// One profile file, as far as it could be read.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) name: Spanned<String>,
    pub(crate) description: Option<String>,
    pub(crate) extends: Vec<Spanned<String>>,
    pub(crate) mode: Option<Mode>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) dns: Option<DnsPolicy>,
    pub(crate) secrets: Option<Said>,
    pub(crate) limits: Option<LimitsPolicy>,
    pub(crate) engine: Option<Engine>,
    pub(crate) sandbox: Option<SandboxPolicy>,
    pub(crate) source: Arc<SourceText>,
}

impl Profile {
    /// Reads a profile. With mistakes, what is returned is good only for finding more of them.
    pub(crate) fn parse(name: &str, bytes: Vec<u8>) -> (Self, Vec<Mistake>) {
        let (text, mistake) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => (String::new(), Some(not_text(name, &error))),
        };
        let source = Arc::new(SourceText::new(name, text));
        if let Some(mistake) = mistake {
            return (Self::empty(source), vec![mistake]);
        }
        Reader::run(&source, &PROFILE, read_profile)
    }

    /// What goes into reports about it.
    pub(crate) fn facts(&self) -> ProfileSource {
        let digest = Sha256::digest(self.source.text().as_bytes());
        ProfileSource {
            name: self.name.get_ref().clone(),
            source: self.source.name().to_owned(),
            sha256: Hex(&digest).to_string(),
        }
    }

    fn empty(source: Arc<SourceText>) -> Self {
        Self {
            name: Spanned::new(0..0, String::new()),
            description: None,
            extends: Vec::new(),
            mode: None,
            rules: Vec::new(),
            dns: None,
            secrets: None,
            limits: None,
            engine: None,
            sandbox: None,
            source,
        }
    }
}

/// Whether the text can name a profile: lower-case letters, digits, `-`, `_` and `.`, at most 64.
/// What ends in `.toml` is a path wherever a profile is named.
pub(crate) fn is_profile_name(text: &str) -> bool {
    let good = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    (1..=64).contains(&text.len())
        && text.bytes().all(good)
        && !text.starts_with(['.', '-'])
        && !has_toml_suffix(text)
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Mistake {
    let at = error.utf8_error().valid_up_to();
    Mistake::new(format!("`{name}` is not UTF-8 text (byte {at})"))
        .help("profiles are TOML files, which are UTF-8")
}

fn read_profile(reader: &mut Reader, table: Table<'_>) -> Profile {
    Profile {
        name: read_name(reader, table),
        description: read_line(reader, table, "description"),
        extends: read_extends(reader, table),
        mode: read_mode(reader, table),
        rules: read_rules(reader, table),
        dns: read_dns(reader, table),
        secrets: read_secrets(reader, table),
        limits: read_limits(reader, table),
        engine: read_containers(reader, table),
        sandbox: read_sandbox(reader, table),
        source: Arc::clone(reader.source()),
    }
}

fn read_name(reader: &mut Reader, table: Table<'_>) -> Spanned<String> {
    let name = reader.string(table, "name");
    let Some(name) = reader.required(table, "name", "`name = \"my-job\"`", name) else {
        return Spanned::new(0..0, String::new());
    };
    if !is_profile_name(name.get_ref()) {
        let mistake = Mistake::new("this cannot be the name of a profile")
            .help("use lower-case letters, digits, `-`, `_` and `.`; at most 64 of them");
        reader.push(&name.span(), mistake);
    }
    Spanned::new(name.span(), (*name.get_ref()).to_owned())
}

/// Text for people, on one line: it is printed in reports and on terminals.
pub(crate) fn read_line(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<String> {
    let text = reader.string(table, key)?;
    if text.get_ref().chars().any(char::is_control) {
        let mistake = Mistake::new(format!("`{key}` cannot hold control characters"))
            .help("write it on one line");
        reader.push(&text.span(), mistake);
    }
    Some((*text.get_ref()).to_owned())
}

fn read_extends(reader: &mut Reader, table: Table<'_>) -> Vec<Spanned<String>> {
    let Some(list) = reader.strings(table, "extends") else {
        return Vec::new();
    };
    let mut bases: Vec<Spanned<String>> = Vec::new();
    for base in list.into_inner() {
        let name = *base.get_ref();
        if bases.iter().any(|known| known.get_ref() == name) {
            let mistake = Mistake::new(format!("`{name}` is named twice"));
            reader.push(&base.span(), mistake);
            continue;
        }
        bases.push(Spanned::new(base.span(), name.to_owned()));
    }
    bases
}

fn read_mode(reader: &mut Reader, table: Table<'_>) -> Option<Mode> {
    let mode = reader.string(table, "mode")?;
    let known = Mode::parse(mode.get_ref());
    if known.is_none() {
        let mistake = Mistake::new(format!("unknown mode `{}`", mode.get_ref()))
            .help("the modes are \"enforce\" and \"audit\"");
        reader.push(&mode.span(), mistake);
    }
    known
}

fn read_dns(reader: &mut Reader, table: Table<'_>) -> Option<DnsPolicy> {
    let dns = reader.child(table, "dns", &DNS_TABLE)?;
    let upstream = read_upstream(reader, dns);
    let ca = read_ca(reader, dns, upstream.as_deref().unwrap_or_default());
    Some(DnsPolicy {
        upstream: upstream?,
        ca,
    })
}

/// Reads the `ca` key of a `[dns]` table, which serves the encrypted ones of its `upstream`.
pub(crate) fn read_ca(
    reader: &mut Reader,
    dns: Table<'_>,
    upstream: &[Upstream],
) -> Option<PathBuf> {
    let text = reader.string(dns, "ca")?;
    let path = PathBuf::from(text.get_ref());
    if !path.is_absolute() || text.get_ref().contains('\0') {
        let mistake = Mistake::new("`ca` must be an absolute path")
            .help("write `ca = \"/…\"`, a file of certificates in PEM");
        reader.push(&text.span(), mistake);
    } else if !upstream.iter().any(Upstream::is_encrypted) {
        let mistake = Mistake::new("`ca` is for encrypted servers, and `upstream` names none")
            .help("name a `tls://` or `https://` server in `upstream`, or leave `ca` out");
        reader.push(&text.span(), mistake);
    }
    Some(path)
}

/// Reads the `upstream` key of a `[dns]` table.
pub(crate) fn read_upstream(reader: &mut Reader, dns: Table<'_>) -> Option<Vec<Upstream>> {
    let list = reader.strings(dns, "upstream")?;
    if list.get_ref().is_empty() {
        let mistake = Mistake::new("`upstream` names no server")
            .help("write `upstream = [\"system\"]`, or leave the key out");
        reader.push(&list.span(), mistake);
    }
    let mut upstreams = Vec::new();
    for item in list.get_ref() {
        match Upstream::parse(item.get_ref()) {
            Ok(upstream) if upstreams.contains(&upstream) => {
                reader.push(&item.span(), Mistake::new("this upstream is named twice"));
            }
            Ok(upstream) => upstreams.push(upstream),
            Err(error) => reader.push(&item.span(), upstream_mistake(error)),
        }
    }
    Some(upstreams)
}

fn upstream_mistake(error: UpstreamError) -> Mistake {
    Mistake::new(error.to_string()).help(error.help())
}
