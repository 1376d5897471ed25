//! Environments to measure and to test with: made up, from a seed, without any real secret.
//!
//! Only with the feature `sample`; the product has no use for it.

use crate::block::Source;

/// Numbers that look random and are the same again for the same seed.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        // The state of xorshift is never zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below a bound that is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        let rest = self.next().checked_rem(bound).unwrap_or(0);
        usize::try_from(rest).unwrap_or(0)
    }

    /// One of several.
    pub fn one<'o>(&mut self, of: &[&'o str]) -> &'o str {
        let at = self.below(of.len());
        of.get(at).copied().unwrap_or_default()
    }

    /// Some characters of an alphabet.
    pub fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length)
            .filter_map(|_| alphabet.get(self.below(alphabet.len())))
            .map(|byte| char::from(*byte))
            .collect()
    }
}

const WORDS: [&str; 40] = [
    "actions", "agent", "android", "app", "build", "cache", "cargo", "chrome", "config", "data",
    "debug", "deploy", "dist", "engine", "gradle", "home", "image", "java", "lib", "linux",
    "local", "main", "module", "node", "opt", "output", "package", "python", "release", "runner",
    "server", "share", "site", "source", "system", "target", "temp", "tool", "version", "work",
];
const HEX: &[u8] = b"0123456789abcdef";
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// Variables that each process of a job has, as platforms and tools set them.
const COMMON: [&str; 24] = [
    "PATH=/srv/ci/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin",
    "HOME=/srv/ci",
    "LANG=C.UTF-8",
    "SHELL=/bin/bash",
    "USER=runner",
    "TERM=xterm-256color",
    "PWD=/srv/ci/jobs/product/product",
    "SHLVL=2",
    "CI=true",
    "DEBIAN_FRONTEND=noninteractive",
    "GITHUB_ACTIONS=true",
    "GITHUB_ACTOR=somebody",
    "GITHUB_API_URL=https://api.forge.test",
    "GITHUB_EVENT_NAME=push",
    "GITHUB_REF=refs/heads/main",
    "GITHUB_REPOSITORY=acme/product",
    "GITHUB_SHA=5b1ed0f2a9c4438ab1f60d2cf7f8a3e1d4c6b798",
    "GITHUB_WORKSPACE=/srv/ci/jobs/product/product",
    "RUNNER_ARCH=X64",
    "RUNNER_OS=Linux",
    "RUNNER_TEMP=/srv/ci/scratch",
    "RUNNER_TOOL_CACHE=/opt/hostedtoolcache",
    "JAVA_HOME_17_X64=/usr/lib/jvm/temurin-17-jdk-amd64",
    "XDG_CONFIG_HOME=/srv/ci/.config",
];

/// The environment of one process: common variables, and others of which each value is new.
pub fn environment(numbers: &mut Numbers, variables: usize) -> Vec<u8> {
    let mut block = Vec::new();
    for variable in COMMON {
        block.extend_from_slice(variable.as_bytes());
        block.push(0);
    }
    for _variable in 0..variables {
        variable(numbers, &mut block);
    }
    block
}

/// A variable with a value of one of the kinds that environments are made of.
pub fn variable(numbers: &mut Numbers, to: &mut Vec<u8>) {
    let parts = numbers.below(3).saturating_add(1);
    for part in 0..parts {
        if part > 0 {
            to.push(b'_');
        }
        let word = numbers.one(&WORDS);
        to.extend(word.bytes().map(|byte| byte.to_ascii_uppercase()));
    }
    to.push(b'=');
    let value = match numbers.below(12) {
        0..=3 => path(numbers),
        4 => format!("{}:{}:{}", path(numbers), path(numbers), path(numbers)),
        5 => numbers.below(1_000_000).to_string(),
        6 => format!(
            "{}.{}.{}",
            numbers.below(30),
            numbers.below(30),
            numbers.next() & 0xffff
        ),
        7 => numbers.text(HEX, 40),
        8 => format!(
            "https://{}.{}.test/{}?id={}",
            numbers.one(&WORDS),
            numbers.text(LOWER, 6),
            numbers.one(&WORDS),
            numbers.below(100_000)
        ),
        9 => format!(
            "{} {} {} {}",
            numbers.one(&WORDS),
            numbers.one(&WORDS),
            numbers.text(LOWER, 7),
            numbers.one(&WORDS)
        ),
        10 => format!(
            "-O2 -g -I{} -L{} -D{}={}",
            path(numbers),
            path(numbers),
            numbers.one(&WORDS),
            numbers.below(10_000)
        ),
        _ => format!("{}-{}", numbers.one(&WORDS), numbers.text(HEX, 8)),
    };
    to.extend_from_slice(value.as_bytes());
    to.push(0);
}

fn path(numbers: &mut Numbers) -> String {
    let parts = numbers.below(4).saturating_add(2);
    let mut path: String = (0..parts)
        .flat_map(|_| ["/", numbers.one(&WORDS)])
        .collect();
    path.push('-');
    path.push_str(&numbers.text(HEX, 5));
    path
}

/// Environments of about so many bytes together, of which every variable is new.
pub fn unique(seed: u64, bytes: usize) -> Vec<Vec<u8>> {
    let mut numbers = Numbers::new(seed);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut size = 0_usize;
    while size < bytes {
        let mut block = Vec::new();
        for _variable in 0..120 {
            variable(&mut numbers, &mut block);
        }
        size = size.saturating_add(block.len());
        blocks.push(block);
    }
    blocks
}

/// Environments of about so many bytes together, as a job's processes have them: a few parents, and each process with
/// a variable or two of its own at most.
pub fn inherited(seed: u64, bytes: usize) -> Vec<Vec<u8>> {
    let mut numbers = Numbers::new(seed);
    let parents: Vec<Vec<u8>> = (0..8).map(|_| environment(&mut numbers, 100)).collect();
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut size = 0_usize;
    while size < bytes {
        let at = numbers.below(parents.len());
        let mut block = parents.get(at).cloned().unwrap_or_default();
        for _own in 0..numbers.below(3) {
            variable(&mut numbers, &mut block);
        }
        size = size.saturating_add(block.len());
        blocks.push(block);
    }
    blocks
}

/// What parents of a host's processes have in common beside [`COMMON`]: names that tell credentials and have none,
/// services as an orchestrator names them, settings of tools.
const USUAL: [&str; 24] = [
    "SSH_AUTH_SOCK=/run/user/1001/keyring/ssh",
    "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1001/bus",
    "KUBERNETES_PORT=tcp://10.43.0.1:443",
    "KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443",
    "KUBERNETES_SERVICE_HOST=10.43.0.1",
    "CACHE_PORT=tcp://10.43.17.2:6379",
    "CACHE_PORT_6379_TCP=tcp://10.43.17.2:6379",
    "REGISTRY_URL=https://registry.test/v2/",
    "LESSOPEN=| /usr/bin/lesspipe %s",
    "PS1=\\u@\\h:\\w\\$ ",
    "LS_COLORS=rs=0:di=01;34:ln=01;36:mh=00:pi=40;33:so=01;35:do=01;35:bd=40;33;01:cd=40;33;01:or=40;31;01:ex=01;32",
    "CACHE_KEY=linux-x64-cargo-7d793037a0760186574b0282f2f435e7",
    "TOKENIZERS_PARALLELISM=false",
    "GIT_TERMINAL_PROMPT=0",
    "PASSWORD_STORE_DIR=/srv/ci/.password-store",
    "AUTHOR=Somebody <somebody@mail.test>",
    "COMMIT_MESSAGE=build: keep the cache key, token and all",
    "npm_config_user_agent=npm/10.8.2 node/v20.18.1 linux x64 workspaces/false ci/actions",
    "npm_package_json=/srv/ci/jobs/product/product/package.json",
    "npm_config_cache=/srv/ci/.npm",
    "NODE_OPTIONS=--max-old-space-size=4096",
    "GRADLE_OPTS=-Dorg.gradle.daemon=false -Dorg.gradle.jvmargs=-Xmx2g",
    "CONFIG_JSON={\"level\":\"debug\",\"region\":\"eu-west-1\",\"retries\":3}",
    "WAYLAND_DISPLAY=wayland-0",
];

/// The environments and arguments of a host's processes: half a dozen parents with 2 to 8 KiB each, and of each process
/// some variables of its own, in front of what it inherits, and a command line.
pub fn host(seed: u64, processes: usize) -> Vec<(Source, Vec<u8>)> {
    let mut numbers = Numbers::new(seed);
    let parents: Vec<Vec<u8>> = (0..6_usize)
        .map(|parent| {
            let mut block = environment(&mut numbers, parent.saturating_mul(18));
            for variable in USUAL {
                block.extend_from_slice(variable.as_bytes());
                block.push(0);
            }
            block
        })
        .collect();
    let mut blocks = Vec::new();
    for _process in 0..processes {
        let at = numbers.below(parents.len());
        let own = [
            format!("PWD={}", path(&mut numbers)),
            format!("OLDPWD={}", path(&mut numbers)),
            format!("_={}", path(&mut numbers)),
            format!("MAKEFLAGS=-j{} --jobserver-auth=3,4", numbers.below(16)),
        ];
        let mut block = Vec::new();
        for variable in own.iter().take(numbers.below(5)) {
            block.extend_from_slice(variable.as_bytes());
            block.push(0);
        }
        block.extend_from_slice(parents.get(at).map_or(&[], Vec::as_slice));
        blocks.push((Source::Environ, block));
        let mut arguments = path(&mut numbers).into_bytes();
        for _argument in 0..numbers.below(16) {
            arguments.push(0);
            let argument = match numbers.below(4) {
                0 => format!("-I{}", path(&mut numbers)),
                1 => format!("--{}={}", numbers.one(&WORDS), numbers.one(&WORDS)),
                2 => "-o".to_owned(),
                _ => path(&mut numbers),
            };
            arguments.extend_from_slice(argument.as_bytes());
        }
        arguments.push(0);
        blocks.push((Source::Arguments, arguments));
    }
    blocks
}

/// A way to make the engine work for nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hostile {
    /// Beginnings of tokens without the rest.
    Beginnings,
    /// Base64 of base64 of base64 of text.
    Nested,
    /// Long runs of random digits of base64.
    Digits,
    /// Escapes of all kinds.
    Escapes,
    /// First lines of keys without last lines.
    Keys,
    /// Beginnings of documents without an end.
    Documents,
    /// Words of credentials that are given nothing.
    Words,
}

impl Hostile {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Beginnings,
        Self::Nested,
        Self::Digits,
        Self::Escapes,
        Self::Keys,
        Self::Documents,
        Self::Words,
    ];

    /// One entry of about so many bytes.
    pub fn entry(self, bytes: usize) -> Vec<u8> {
        let again =
            |text: &str| text.repeat(bytes.checked_div(text.len()).unwrap_or(0).saturating_add(1));
        let value = match self {
            Self::Beginnings => {
                again("ghp_ghs_1_eyJ.eyJ.glpat-AKIAnpm_://a:xoxb-1-sk-ant-eyJhbGciOi.SG.hvs.AIza")
            }
            Self::Nested => {
                let mut text =
                    again("All of this is text, and none of it is a secret. ").into_bytes();
                text.truncate(bytes.saturating_mul(27) / 64);
                let thrice = (0..3).fold(text, |text, _| encode(&text));
                String::from_utf8(thrice).unwrap_or_default()
            }
            Self::Digits => Numbers::new(7).text(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                bytes,
            ),
            Self::Escapes => again("%41\\n%2525\\u0041\\\\%%\\x41"),
            Self::Keys => again("-----BEGIN RSA PRIVATE KEY-----\\nMIIE"),
            Self::Documents => again("{\"auths\":{\"a\":[{\"password\":\"x\\n\",\"private_key\":"),
            Self::Words => again("token=x&password: \"key\"auth secret=pass="),
        };
        let mut entry = b"VARIABLE=".to_vec();
        entry.extend_from_slice(value.as_bytes());
        entry.truncate(bytes.max(16));
        entry.push(0);
        entry
    }
}

/// Base64, for samples.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| chunk.get(at).map_or(0, |byte| u32::from(*byte));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (place, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from(bits >> shift & 63).unwrap_or(0);
            let digit = DIGITS.get(digit).copied().unwrap_or(b'A');
            text.push(if place > chunk.len() { b'=' } else { digit });
        }
    }
    text
}
