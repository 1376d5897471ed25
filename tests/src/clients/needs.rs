//! What the clients are made of: each program or library, and the Debian package that has it.
//!
//! Also part of `xtask`, which installs what is missing.

use std::path::Path;

/// Something a client needs.
#[derive(Debug)]
pub(crate) struct Tool {
    /// How clients name it.
    pub(crate) name: &'static str,
    /// A program on `PATH`, or a file.
    pub(crate) file: &'static str,
    /// Debian's package.
    pub(crate) package: &'static str,
    /// The release of Debian it is taken from, unpacked and not installed; `None`: the machine's own.
    pub(crate) release: Option<&'static str>,
    /// Hundreds of megabytes: can be left out by this word.
    pub(crate) big: Option<&'static str>,
}

impl Tool {
    const fn new(name: &'static str, file: &'static str, package: &'static str) -> Self {
        Self {
            name,
            file,
            package,
            release: None,
            big: None,
        }
    }

    const fn of(mut self, release: &'static str) -> Self {
        self.release = Some(release);
        self
    }

    const fn big(mut self, word: &'static str) -> Self {
        self.big = Some(word);
        self
    }

    /// Its package, and the release if that matters.
    pub(crate) fn package(&self) -> String {
        match self.release {
            Some(release) => format!("{} of {release}", self.package),
            None => self.package.to_owned(),
        }
    }

    /// Whether it is on this machine.
    pub(crate) fn is_there(&self) -> bool {
        if self.file.starts_with('/') {
            return Path::new(self.file).exists();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(self.file).is_file())
    }
}

/// All of it.
pub(crate) const TOOLS: [Tool; 16] = [
    Tool::new("apt", "/usr/lib/apt/apt-helper", "apt"),
    Tool::new("c-ares", "/usr/include/ares.h", "libc-ares-dev"),
    Tool::new("chromium", "chromium", "chromium").big("chromium"),
    Tool::new("curl", "curl", "curl"),
    // bookworm's speaks no HTTP/3.
    Tool::new("curl-http3", "curl-http3", "curl").of("trixie"),
    Tool::new("dig", "dig", "bind9-dnsutils"),
    Tool::new("gcc", "gcc", "gcc"),
    Tool::new("git", "git", "git"),
    Tool::new("gnutls", "gnutls-cli", "gnutls-bin"),
    Tool::new("go", "go", "golang-go").big("golang"),
    Tool::new("java", "javac", "default-jdk-headless").big("java"),
    Tool::new("musl", "musl-gcc", "musl-tools"),
    Tool::new("node", "node", "nodejs"),
    Tool::new("openssl", "openssl", "openssl"),
    Tool::new("python", "python3", "python3"),
    Tool::new("wget", "wget", "wget"),
];
