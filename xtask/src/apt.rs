//! Packages of Debian, fetched and unpacked without being installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exec::{capture, run_quietly, step};
use crate::setup::remove;
use crate::{privilege, workspace};

/// Where packages come from.
#[derive(Clone, Debug)]
pub(crate) struct Apt {
    /// Settings of a private apt; `None`: the machine's own.
    config: Option<PathBuf>,
}

impl Apt {
    /// What the machine itself installs from.
    pub(crate) const fn of_machine() -> Self {
        Self { config: None }
    }

    /// Other releases of Debian, from where the machine has its own, with package lists in `target`:
    /// nothing of the machine changes.
    pub(crate) fn of_releases(suites: &[&str]) -> Result<Self> {
        let folder = workspace::target()?
            .join("xtask/apt")
            .join(suites.join("-"));
        let config = folder.join("apt.conf");
        let apt = Self {
            config: Some(config),
        };
        if folder.join("complete").exists() {
            return Ok(apt);
        }
        let (address, key) = debian_source()?;
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot make `{}`", path.display()))?;
        }
        let sources: Vec<_> = suites
            .iter()
            .map(|suite| format!("deb {key}{address} {suite} main\n"))
            .collect();
        let sources = sources.concat();
        let settings = format!(
            "Dir::State \"{0}/state\";\nDir::State::status \"{0}/status\";\nDir::Cache \"{0}/cache\";\n\
             Dir::Etc::sourcelist \"{0}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n",
            folder.display()
        );
        for (name, text) in [
            ("status", ""),
            ("sources.list", sources.as_str()),
            ("apt.conf", settings.as_str()),
        ] {
            fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        step(&format!("package lists of {}", suites.join(", ")), || {
            run_quietly(apt.get().arg("update"), "apt-update")
        })?;
        fs::write(folder.join("complete"), "").context("cannot write")?;
        Ok(apt)
    }

    /// `apt-get`, quiet.
    pub(crate) fn get(&self) -> Command {
        let mut apt_get = self.command("apt-get");
        apt_get.arg("-qq");
        apt_get
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        if let Some(config) = &self.config {
            command.env("APT_CONFIG", config);
        }
        command
    }

    /// Names of packages that match a pattern.
    pub(crate) fn search(&self, pattern: &str) -> Result<Vec<String>> {
        let mut search = self.command("apt-cache");
        let list = capture(search.args(["search", "--names-only", pattern]))?;
        Ok(list
            .lines()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect())
    }

    /// Downloads packages and unpacks them into `into`; needs no root and installs nothing.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        if workspace::program("apt-get").is_none() {
            bail!(
                "this is not Debian (no apt-get), and `{}` cannot be had",
                packages.join(" ")
            );
        }
        let downloads = workspace::target()?.join("xtask/downloads");
        remove(&downloads)?;
        fs::create_dir_all(&downloads)
            .with_context(|| format!("cannot make `{}`", downloads.display()))?;
        let mut download = self.get();
        download
            // As root apt would become another user, who may not read this folder.
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(packages)
            .current_dir(&downloads);
        run_quietly(&mut download, "apt-download").or_else(|first| {
            // Lists that are missing or old do not know the file; only root can fetch new ones.
            if !privilege::is_root() {
                return Err(first).context("`apt-get update` as root may help");
            }
            run_quietly(self.get().arg("update"), "apt-update")?;
            run_quietly(&mut download, "apt-download")
        })?;
        for entry in fs::read_dir(&downloads).context("cannot list the downloads")? {
            let archive = entry.context("cannot list the downloads")?.path();
            let mut extract = Command::new("dpkg-deb");
            extract.arg("--extract").arg(archive).arg(into);
            run_quietly(&mut extract, "dpkg-deb")?;
        }
        remove(&downloads)
    }
}

/// Address of the machine's Debian archive, and its key as an option of a source line.
pub(crate) fn debian_source() -> Result<(String, String)> {
    let folder = Path::new("/etc/apt/sources.list.d");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.push(PathBuf::from("/etc/apt/sources.list"));
    files.sort();
    files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|text| source_in(&text))
        .context("none of this machine's apt sources is a Debian release")
}

/// The first source of a Debian release in a file of either format.
fn source_in(text: &str) -> Option<(String, String)> {
    let is_release =
        |suite: &str| ["bookworm", "trixie", "forky", "sid", "stable", "testing"].contains(&suite);
    let stanza = text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let release = field("Suites")?.split(' ').any(is_release);
        let address = field("URIs")?.split(' ').next()?;
        let key = field("Signed-By").map_or_else(String::new, |key| format!("[signed-by={key}] "));
        release.then(|| (address.to_owned(), key))
    });
    stanza.or_else(|| {
        text.lines().find_map(|line| {
            let line = line.strip_prefix("deb ")?.trim();
            let (key, rest) = match line.strip_prefix('[') {
                Some(options) => {
                    let (options, rest) = options.split_once(']')?;
                    (format!("[{options}] "), rest.trim())
                }
                None => (String::new(), line),
            };
            let mut words = rest.split(' ');
            let address = words.next()?;
            is_release(words.next()?).then(|| (address.to_owned(), key))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_sources_are_read() {
        let stanza = "Types: deb\nURIs: http://debian.test/debian\nSuites: bookworm bookworm-updates\n\
                      Components: main\nSigned-By: /k.gpg\n";
        let (address, key) = source_in(stanza).unwrap();
        assert_eq!(address, "http://debian.test/debian");
        assert_eq!(key, "[signed-by=/k.gpg] ");
        let line = "# c\ndeb [signed-by=/k.gpg] http://debian.test/debian trixie main\n";
        assert_eq!(source_in(line).unwrap().1, "[signed-by=/k.gpg] ");
        assert!(source_in("deb http://other.test/x noble main\n").is_none());
        let security = "Types: deb\nURIs: http://debian.test/s\nSuites: bookworm-security\n";
        assert!(source_in(security).is_none());
    }
}
