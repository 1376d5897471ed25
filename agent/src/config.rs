//! Host settings: `/etc/cordon/config.toml`.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use crate::admission::{self, Grants, read_grants, read_runners};
use crate::dns::WildcardLimits;
use crate::engine::settings::{self, EngineSettings};
use crate::limits::estimate::{MILLION, Rates, parse_decimal};
use crate::metrics::{self, Listen};
use crate::policy::diagnostic::SourceText;
use crate::policy::reader::{Reader, Schema, Table};
use crate::policy::{
    DnsPolicy, Mistake, Mistakes, Upstream, library, read_ca, read_line, read_upstream,
};
use crate::report::key_place::{CREDENTIAL, KeyPlace, TPM, is_name};
use crate::report::signer::{KeyError, SigningKey};
use crate::tpm;

/// Where the settings are when no other file is named.
pub const DEFAULT_PATH: &str = "/etc/cordon/config.toml";

/// MiB: some 150,000 events.
const EVENTS_MIB: u16 = 128;
/// MiB: what verifiers read of one file ([`crate::gate::source::MAX_FILE`]).
const MAX_EVENTS_MIB: u16 = 256;

const ROOT: Schema = Schema {
    what: "the host settings",
    keys: &[
        "host",
        "dns",
        "secrets",
        "containers",
        "estimate",
        "metrics",
        "telemetry",
        "runner",
        "grant",
    ],
    later: &[],
};

const HOST: Schema = Schema {
    what: "`[host]`",
    keys: &[
        "cgroup_root",
        "bpffs",
        "run_dir",
        "state_dir",
        "profiles_dir",
        "signing_key",
        "signing_credential",
        "tpm",
        "unix_sockets",
        "events_mib",
    ],
    later: &[],
};

const DNS: Schema = Schema {
    what: "`[dns]`",
    keys: &[
        "upstream",
        "ca",
        "ttl_floor",
        "timeout_ms",
        "wildcard_label",
        "wildcard_length",
        "wildcard_names",
        "wildcard_names_per_minute",
    ],
    later: &[],
};

const SECRETS: Schema = Schema {
    what: "`[secrets]`",
    keys: &["key", "known"],
    later: &[],
};

const ESTIMATE: Schema = Schema {
    what: "`[estimate]`",
    keys: &[
        "idle_watts",
        "busy_watts",
        "pue",
        "grid_grams_per_kwh",
        "grid_source",
        "host_hour_price",
        "currency",
    ],
    later: &[],
};

const TELEMETRY: Schema = Schema {
    what: "`[telemetry]`",
    keys: &["file"],
    later: &[],
};

/// Each table of the settings with its keys, under the name it has in the file; the root has none.
/// What documents the settings is compared with it.
pub const TABLES: [(&str, &[&str]); 10] = [
    ("", ROOT.keys),
    ("host", HOST.keys),
    ("dns", DNS.keys),
    ("secrets", SECRETS.keys),
    ("containers", settings::CONTAINERS.keys),
    ("estimate", ESTIMATE.keys),
    ("metrics", metrics::settings::METRICS.keys),
    ("telemetry", TELEMETRY.keys),
    ("runner", admission::RUNNER.keys),
    ("grant", admission::GRANT.keys),
];

/// The settings of a host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// Where things are.
    pub host: HostConfig,
    /// How names are looked up.
    pub dns: DnsConfig,
    /// Where is kept what the sweep for secrets needs.
    pub secrets: SecretsConfig,
    /// Which container engine jobs may use.
    pub containers: EngineSettings,
    /// What energy and cost of a job are estimated with.
    pub estimate: Rates,
    /// Where the daemon serves metrics; nowhere, if it is not said.
    pub metrics: Option<Listen>,
    /// The file that gets a line for each job that is over; none, if it is not said.
    pub telemetry: Option<PathBuf>,
    /// Runner services, and which jobs of theirs may have which profiles.
    pub grants: Grants,
}

/// Where things are on the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostConfig {
    /// The cgroup v2 directory below which `cordon.slice` is made and at which the programs are
    /// attached; `None` is the root of the hierarchy that `/proc/self/mountinfo` names.
    pub cgroup_root: Option<PathBuf>,
    /// The mounted BPF file system.
    pub bpffs: PathBuf,
    /// What does not outlive a boot.
    pub run_dir: PathBuf,
    /// What does: keys, evidence.
    pub state_dir: PathBuf,
    /// The host's own profiles.
    pub profiles_dir: PathBuf,
    /// The key reports are signed with; `None` is `keys/report.pem` below `state_dir`.
    pub signing_key: Option<KeyPlace>,
    /// The TPM that has it, if one has: a device, or the socket of an emulator.
    pub tpm: PathBuf,
    /// Which Unix sockets jobs may use where nothing in the kernel can tell them apart.
    pub unix_sockets: UnixSockets,
    /// How many MiB of single events are kept of a job; 0 for none.
    pub events_mib: u16,
}

/// Which Unix sockets jobs may use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnixSockets {
    /// Those of any process that the user may connect to.
    Any,
    /// Those of the job. Where the kernel cannot tell them apart, none but connected pairs.
    #[default]
    Own,
}

impl HostConfig {
    /// The key reports are signed with: the one that is set, else `keys/report.pem` below
    /// `state_dir`.
    #[must_use]
    pub fn signing_key(&self) -> KeyPlace {
        match &self.signing_key {
            Some(place) => place.clone(),
            None => KeyPlace::File(self.state_dir.join("keys/report.pem")),
        }
    }

    /// That key, which signs.
    ///
    /// # Errors
    /// It cannot be read, or its TPM not used.
    pub fn load_key(&self) -> Result<SigningKey, KeyError> {
        self.signing_key().load(&self.tpm)
    }

    /// Most bytes of a job's single events.
    #[must_use]
    pub const fn events_bytes(&self) -> u64 {
        (self.events_mib as u64) << 20
    }

    /// Where the records of running jobs are: one directory for each root, because jobs of another
    /// root are another cordon's.
    #[must_use]
    pub fn job_records(&self, root: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let mut name = blake3::hash(root.as_os_str().as_bytes())
            .to_hex()
            .to_string();
        name.truncate(16);
        self.state_dir.join("jobs").join(name)
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            cgroup_root: None,
            bpffs: "/sys/fs/bpf".into(),
            run_dir: "/run/cordon".into(),
            state_dir: "/var/lib/cordon".into(),
            profiles_dir: "/etc/cordon/profiles.d".into(),
            signing_key: None,
            tpm: tpm::DEVICE.into(),
            unix_sockets: UnixSockets::default(),
            events_mib: EVENTS_MIB,
        }
    }
}

/// How names are looked up on the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsConfig {
    /// Who stands for `system` in a policy; `None` is the resolver of the host.
    pub upstream: Option<Vec<Upstream>>,
    /// Certificates that encrypted resolvers may be certified by, besides the host's own: a file.
    pub ca: Option<PathBuf>,
    /// Seconds a lease lasts at least, however short the TTL of the answer.
    pub ttl_floor: u32,
    /// Milliseconds an upstream may take to answer.
    pub timeout_ms: u32,
    /// How much may be asked under a wildcard.
    pub wildcard: WildcardLimits,
}

impl DnsConfig {
    /// The upstreams of a policy with the host's own ones in place of `system`, each once.
    #[must_use]
    pub fn resolve(&self, policy: &[Upstream]) -> Vec<Upstream> {
        let mut resolved = Vec::new();
        for upstream in policy {
            let own = match (&self.upstream, upstream) {
                (Some(own), Upstream::System) => own.as_slice(),
                _ => std::slice::from_ref(upstream),
            };
            for upstream in own {
                if !resolved.contains(upstream) {
                    resolved.push(upstream.clone());
                }
            }
        }
        resolved
    }

    /// Files of certificates besides the host's own store: the policy's and the host's.
    #[must_use]
    pub fn authorities(&self, policy: &DnsPolicy) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = policy.ca.iter().chain(&self.ca).cloned().collect();
        files.dedup();
        files
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            upstream: None,
            ca: None,
            // A job resolves a name and connects some time later, often after a fork or two; CDN
            // answers live for seconds.
            ttl_floor: 30,
            // glibc gives up on a server after 5 s: the job must hear of a failure before that.
            timeout_ms: 4000,
            wildcard: WildcardLimits::default(),
        }
    }
}

/// Where is kept what the sweep for secrets needs. Nothing here turns it off.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SecretsConfig {
    /// The key of fingerprints; `None` is `keys/fingerprint.key` below `state_dir`.
    pub key: Option<PathBuf>,
    /// The list of known values; `None` is `secrets/known` below `state_dir`.
    pub known: Option<PathBuf>,
}

impl Config {
    /// The key of fingerprints: the one that is set, else `keys/fingerprint.key` below `state_dir`.
    #[must_use]
    pub fn fingerprint_key(&self) -> PathBuf {
        match &self.secrets.key {
            Some(path) => path.clone(),
            None => self.host.state_dir.join("keys/fingerprint.key"),
        }
    }

    /// The list of known values: the one that is set, else `secrets/known` below `state_dir`.
    #[must_use]
    pub fn known_values(&self) -> PathBuf {
        match &self.secrets.known {
            Some(path) => path.clone(),
            None => self.host.state_dir.join("secrets/known"),
        }
    }

    /// Loads the settings from a file that must exist, or from the usual place, or else takes the
    /// defaults.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong: all mistakes.
    pub fn load(path: Option<&Path>) -> Result<Self, Mistakes> {
        match path {
            Some(path) => Self::read(path),
            None if Path::new(DEFAULT_PATH).symlink_metadata().is_ok() => {
                Self::read(Path::new(DEFAULT_PATH))
            }
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, Mistakes> {
        let bytes = library::read_file(path)?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads settings from bytes; touches no file.
    ///
    /// # Errors
    /// Something in them is wrong: all mistakes.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, Mistakes> {
        let text = str::from_utf8(bytes)
            .map_err(|error| Mistake::new(format!("`{name}` is not UTF-8 text: {error}")))?;
        let source = Arc::new(SourceText::new(name, text));
        let (config, mistakes) = Reader::run(&source, &ROOT, |reader, table| Self {
            host: read_host(reader, table),
            dns: read_dns(reader, table),
            secrets: read_secrets(reader, table),
            containers: settings::read(reader, table, read_path),
            estimate: read_estimate(reader, table),
            metrics: metrics::settings::read(reader, table),
            telemetry: read_telemetry(reader, table),
            grants: Grants {
                runners: read_runners(reader, table),
                grants: read_grants(reader, table),
            },
        });
        Mistakes::check(mistakes)?;
        Ok(config)
    }
}

fn read_host(reader: &mut Reader, root: Table<'_>) -> HostConfig {
    let default = HostConfig::default();
    let Some(table) = reader.child(root, "host", &HOST) else {
        return default;
    };
    let signing_key = read_signing_key(reader, table);
    let mut path = |key| read_path(reader, table, key);
    HostConfig {
        cgroup_root: path("cgroup_root"),
        bpffs: path("bpffs").unwrap_or(default.bpffs),
        run_dir: path("run_dir").unwrap_or(default.run_dir),
        state_dir: path("state_dir").unwrap_or(default.state_dir),
        profiles_dir: path("profiles_dir").unwrap_or(default.profiles_dir),
        signing_key,
        tpm: path("tpm").unwrap_or(default.tpm),
        unix_sockets: read_unix_sockets(reader, table).unwrap_or_default(),
        events_mib: read_events(reader, table).unwrap_or(default.events_mib),
    }
}

fn read_events(reader: &mut Reader, table: Table<'_>) -> Option<u16> {
    let limit = u32::from(MAX_EVENTS_MIB);
    let mib = read_number(reader, table, "events_mib", 0, limit)?;
    u16::try_from(mib).ok()
}

/// A path, alone or after `tpm:`, or `credential:NAME` with the file that it is encrypted in.
fn read_signing_key(reader: &mut Reader, table: Table<'_>) -> Option<KeyPlace> {
    let sealed = reader.string(table, "signing_credential");
    let sealed_path = read_path(reader, table, "signing_credential");
    let text = reader.string(table, "signing_key");
    let name = text
        .as_ref()
        .and_then(|text| text.get_ref().strip_prefix(CREDENTIAL));
    let (Some(text), Some(name)) = (&text, name) else {
        if let Some(sealed) = sealed {
            let mistake = Mistake::new("`signing_credential` is for a key that is a credential")
                .help(format!(
                    "write `signing_key = \"{CREDENTIAL}NAME\"`, or remove it"
                ));
            reader.push(&sealed.span(), mistake);
        }
        let text = text?;
        let (path, place): (_, fn(PathBuf) -> KeyPlace) = match text.get_ref().strip_prefix(TPM) {
            Some(path) => (path, KeyPlace::Tpm),
            None => (*text.get_ref(), KeyPlace::File),
        };
        return Some(place(absolute(reader, &text, "signing_key", path)));
    };
    if !is_name(name) {
        let mistake = Mistake::new("this cannot be the name of a credential").help(format!(
            "write `{CREDENTIAL}` and letters, digits, `-`, `_` or `.`, as in \
             `LoadCredentialEncrypted=NAME:FILE`"
        ));
        reader.push(&text.span(), mistake);
    }
    Some(KeyPlace::Credential {
        name: name.to_owned(),
        sealed: sealed_path,
    })
}

fn read_unix_sockets(reader: &mut Reader, table: Table<'_>) -> Option<UnixSockets> {
    let text = reader.string(table, "unix_sockets")?;
    match *text.get_ref() {
        "any" => Some(UnixSockets::Any),
        "own" => Some(UnixSockets::Own),
        _ => {
            let mistake = Mistake::new("`unix_sockets` must be \"own\" or \"any\"")
                .help("write `unix_sockets = \"own\"`");
            reader.push(&text.span(), mistake);
            None
        }
    }
}

/// Paths are absolute: what a relative one means would depend on who starts cordon.
fn read_path(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<PathBuf> {
    let text = reader.string(table, key)?;
    Some(absolute(reader, &text, key, text.get_ref()))
}

/// The path in the value of a key.
fn absolute(reader: &mut Reader, value: &Spanned<&str>, key: &str, path: &str) -> PathBuf {
    let path = PathBuf::from(path);
    if !path.is_absolute() || value.get_ref().contains('\0') {
        let mistake = Mistake::new(format!("`{key}` must be an absolute path"))
            .help(format!("write `{key} = \"/…\"`"));
        reader.push(&value.span(), mistake);
    }
    path
}

fn read_dns(reader: &mut Reader, root: Table<'_>) -> DnsConfig {
    let default = DnsConfig::default();
    let Some(table) = reader.child(root, "dns", &DNS) else {
        return default;
    };
    let upstream = read_upstream(reader, table);
    DnsConfig {
        ca: read_ca(reader, table, upstream.as_deref().unwrap_or_default()),
        upstream,
        ttl_floor: read_number(reader, table, "ttl_floor", 0, 86_400).unwrap_or(default.ttl_floor),
        timeout_ms: read_number(reader, table, "timeout_ms", 100, 60_000)
            .unwrap_or(default.timeout_ms),
        wildcard: read_wildcard(reader, table),
    }
}

fn read_wildcard(reader: &mut Reader, table: Table<'_>) -> WildcardLimits {
    let default = WildcardLimits::default();
    let mut number = |key, most| read_number(reader, table, key, 1, most);
    WildcardLimits {
        label: number("wildcard_label", 63).unwrap_or(default.label),
        length: number("wildcard_length", 253).unwrap_or(default.length),
        names: number("wildcard_names", 100_000).unwrap_or(default.names),
        names_per_minute: number("wildcard_names_per_minute", 100_000)
            .unwrap_or(default.names_per_minute),
    }
}

fn read_telemetry(reader: &mut Reader, root: Table<'_>) -> Option<PathBuf> {
    let table = reader.child(root, "telemetry", &TELEMETRY)?;
    read_path(reader, table, "file")
}

fn read_secrets(reader: &mut Reader, root: Table<'_>) -> SecretsConfig {
    let Some(table) = reader.child(root, "secrets", &SECRETS) else {
        return SecretsConfig::default();
    };
    SecretsConfig {
        key: read_path(reader, table, "key"),
        known: read_path(reader, table, "known"),
    }
}

/// What is not said is not estimated, but for the watts of a processor, which have published defaults.
fn read_estimate(reader: &mut Reader, root: Table<'_>) -> Rates {
    let default = Rates::default();
    let Some(table) = reader.child(root, "estimate", &ESTIMATE) else {
        return default;
    };
    let mut decimal = |key| read_decimal(reader, table, key);
    let (idle, busy) = (decimal("idle_watts"), decimal("busy_watts"));
    let (pue, price) = (decimal("pue"), decimal("host_hour_price"));
    let grid = read_number(reader, table, "grid_grams_per_kwh", 0, 10_000);
    let mut words = |key| read_line(reader, table, key);
    let (source, currency) = (words("grid_source"), words("currency"));
    let rates = Rates {
        idle: idle.unwrap_or(default.idle),
        busy: busy.unwrap_or(default.busy),
        pue: pue.unwrap_or(default.pue),
        grid: together(
            reader,
            table,
            ("grid_grams_per_kwh", grid),
            ("grid_source", source),
        ),
        host_hour: together(
            reader,
            table,
            ("host_hour_price", price),
            ("currency", currency),
        ),
    };
    if rates.busy < rates.idle {
        let mistake = Mistake::new("a busy processor takes no less than an idle one")
            .help("set both `idle_watts` and `busy_watts`");
        reader.push(&table.span_of("busy_watts"), mistake);
    }
    if rates.pue < MILLION {
        let mistake = Mistake::new("`pue` must be 1 or more")
            .help("it is what the building takes for each watt of the host, as in \"1.2\"");
        reader.push(&table.span_of("pue"), mistake);
    }
    rates
}

/// A number that means nothing without the words for it, nor they without it.
fn together<T>(
    reader: &mut Reader,
    table: Table<'_>,
    (key, number): (&str, Option<T>),
    (name, words): (&str, Option<String>),
) -> Option<(T, String)> {
    if table.has(key) != table.has(name) {
        let (there, missing) = if table.has(key) {
            (key, name)
        } else {
            (name, key)
        };
        let mistake = Mistake::new(format!("`{there}` needs `{missing}`"));
        reader.push(&table.span_of(there), mistake);
    }
    number.zip(words)
}

/// A number with at most six decimal places, in millionths.
fn read_decimal(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<u64> {
    let text = reader.string(table, key)?;
    let number = parse_decimal(text.get_ref());
    if number.is_none() {
        let mistake = Mistake::new(format!(
            "`{key}` is not a number with at most six decimal places"
        ))
        .help(format!("write it in quotes, as in `{key} = \"1.25\"`"));
        reader.push(&text.span(), mistake);
    }
    number
}

fn read_number(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
    least: u32,
    most: u32,
) -> Option<u32> {
    let number = reader.integer(table, key)?;
    let found = u32::try_from(*number.get_ref()).ok();
    let found = found.filter(|found| (least..=most).contains(found));
    if found.is_none() {
        let mistake = Mistake::new(format!("`{key}` must be {least} to {most}"));
        reader.push(&number.span(), mistake);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_setting_is_read_and_every_other_has_its_default() {
        let text = r#"
[host]
cgroup_root = "/sys/fs/cgroup/test"
state_dir = "/srv/cordon"
unix_sockets = "any"
[dns]
upstream = ["tls://192.0.2.53#dns.example", "system"]
ca = "/etc/ca.pem"
ttl_floor = 0
timeout_ms = 500
wildcard_label = 63
wildcard_names_per_minute = 7
[secrets]
known = "/etc/cordon/known"
[estimate]
idle_watts = "0.5"
grid_grams_per_kwh = 380
grid_source = "operator, 2026"
host_hour_price = "0.12"
currency = "EUR"
[metrics]
listen = "[::1]:9477"
[telemetry]
file = "/var/log/cordon/telemetry.ndjson"
"#;
        let config = Config::parse("config.toml", text.as_bytes()).unwrap();
        assert_eq!(config.host.cgroup_root, Some("/sys/fs/cgroup/test".into()));
        assert_eq!(
            config.host.signing_key(),
            KeyPlace::File("/srv/cordon/keys/report.pem".into())
        );
        assert_eq!(
            config.fingerprint_key(),
            Path::new("/srv/cordon/keys/fingerprint.key")
        );
        assert_eq!(config.known_values(), Path::new("/etc/cordon/known"));
        assert_eq!(config.host.unix_sockets, UnixSockets::Any);
        assert_eq!(config.host.run_dir, Path::new("/run/cordon"));
        assert_eq!((config.dns.ttl_floor, config.dns.timeout_ms), (0, 500));
        assert_eq!(config.dns.upstream.unwrap().len(), 2);
        assert_eq!(config.dns.ca, Some("/etc/ca.pem".into()));
        let wildcard = WildcardLimits {
            label: 63,
            names_per_minute: 7,
            ..WildcardLimits::default()
        };
        assert_eq!(config.dns.wildcard, wildcard);
        let rates = Rates {
            idle: 500_000,
            grid: Some((380, "operator, 2026".to_owned())),
            host_hour: Some((120_000, "EUR".to_owned())),
            ..Rates::default()
        };
        assert_eq!(config.estimate, rates);
        assert_eq!(config.metrics, Listen::parse("[::1]:9477").ok());
        assert_eq!(
            config.telemetry.as_deref(),
            Some(Path::new("/var/log/cordon/telemetry.ndjson"))
        );
        assert_eq!(
            Config::parse("config.toml", b"").unwrap(),
            Config::default()
        );
    }

    #[test]
    fn a_key_is_a_file_or_in_a_tpm_or_a_credential_with_the_file_it_is_encrypted_in() {
        let read = |text: &str| {
            let text = format!("[host]\n{text}");
            Config::parse("config.toml", text.as_bytes()).map(|config| config.host.signing_key())
        };
        let file = KeyPlace::File("/keys/a.pem".into());
        assert_eq!(read("signing_key = \"/keys/a.pem\"").unwrap(), file);
        let in_tpm = KeyPlace::Tpm("/keys/a.tpm".into());
        assert_eq!(read("signing_key = \"tpm:/keys/a.tpm\"").unwrap(), in_tpm);
        let credential = |sealed: Option<&str>| KeyPlace::Credential {
            name: "report-key".to_owned(),
            sealed: sealed.map(PathBuf::from),
        };
        let name = "signing_key = \"credential:report-key\"\n";
        assert_eq!(read(name).unwrap(), credential(None));
        let sealed = format!("{name}signing_credential = \"/etc/cordon/r.cred\"");
        let found = read(&sealed).unwrap();
        assert_eq!(found, credential(Some("/etc/cordon/r.cred")));
        for wrong in [
            "signing_key = \"credential:\"",
            "signing_key = \"credential:../x\"",
            "signing_key = \"keys/a.pem\"",
            "signing_key = \"tpm:\"",
            "signing_key = \"tpm:a.tpm\"",
            "signing_key = \"tpm:/a.tpm\"\nsigning_credential = \"/a.cred\"",
            "tpm = \"tpmrm0\"",
            "signing_key = \"credential:a\"\nsigning_credential = \"a.cred\"",
            "signing_key = \"/keys/a.pem\"\nsigning_credential = \"/a.cred\"",
            "signing_credential = \"/a.cred\"",
        ] {
            read(wrong).unwrap_err();
        }
    }

    #[test]
    fn all_mistakes_are_shown_at_once() {
        let text = r#"
colour = 1
[host]
bpffs = "sys/fs/bpf"
run_dri = "/run"
unix_sockets = "foreign"
[dns]
ttl_floor = 86401
timeout_ms = "4s"
upstream = []
ca = "/etc/ca.pem"
wildcard_label = 0
wildcard_names = 100001
[secrets]
key = "fingerprint.key"
sweep = false
[estimate]
idle_watts = 1
pue = "0.9"
busy_watts = "0.1"
grid_source = "nobody"
host_hour_price = "0,12"
[metrics]
listen = "0.0.0.0:9477"
[telemetry]
file = "telemetry.ndjson"
[[grant]]
"#;
        let mistakes = Config::parse("config.toml", text.as_bytes()).unwrap_err();
        let messages: Vec<&str> = mistakes.iter().map(Mistake::message).collect();
        assert_eq!(
            messages,
            [
                "unknown key `colour` in the host settings",
                "`bpffs` must be an absolute path",
                "unknown key `run_dri` in `[host]`",
                "`unix_sockets` must be \"own\" or \"any\"",
                "`ttl_floor` must be 0 to 86400",
                "`timeout_ms` must be a whole number",
                "`upstream` names no server",
                "`ca` is for encrypted servers, and `upstream` names none",
                "`wildcard_label` must be 1 to 63",
                "`wildcard_names` must be 1 to 100000",
                "`key` must be an absolute path",
                "unknown key `sweep` in `[secrets]`",
                "`idle_watts` must be text in quotes",
                "`pue` must be 1 or more",
                "a busy processor takes no less than an idle one",
                "`grid_source` needs `grid_grams_per_kwh`",
                "`host_hour_price` is not a number with at most six decimal places",
                "`host_hour_price` needs `currency`",
                "`listen` must be a loopback address, and 0.0.0.0:9477 is none",
                "`file` must be an absolute path",
                "a `[[grant]]` needs `repository`",
                "a `[[grant]]` needs `profiles`",
            ]
        );
    }

    #[test]
    fn a_named_file_must_exist_and_the_usual_one_need_not() {
        let wrong = Config::load(Some(Path::new("/nonexistent/config.toml"))).unwrap_err();
        assert!(wrong.to_string().contains("/nonexistent/config.toml"));
        if !Path::new(DEFAULT_PATH).exists() {
            assert_eq!(Config::load(None).unwrap(), Config::default());
        }
    }

    #[test]
    fn the_hosts_upstreams_stand_for_system_and_for_nothing_else() {
        let server = |text: &str| Upstream::parse(text).unwrap();
        let (one, two) = (server("192.0.2.1"), server("192.0.2.2"));
        let dns = DnsConfig {
            upstream: Some(vec![one.clone(), two.clone()]),
            ..DnsConfig::default()
        };
        assert_eq!(dns.resolve(&[Upstream::System]), [one.clone(), two.clone()]);
        assert_eq!(dns.resolve(&[two.clone(), Upstream::System]), [two, one]);
        assert_eq!(dns.resolve(&[server("192.0.2.3")]), [server("192.0.2.3")]);
        let default = DnsConfig::default();
        assert_eq!(default.resolve(&[Upstream::System]), [Upstream::System]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>()) {
            drop(Config::parse("config.toml", &bytes));
        }
    }
}
