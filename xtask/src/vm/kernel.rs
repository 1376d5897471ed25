//! Kernels of Debian, unpacked; and which of their modules the stories need, in loading order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::setup;

/// A kernel to boot.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) version: String,
    /// The image.
    pub(super) image: PathBuf,
    /// Where all its modules are.
    pub(super) folder: PathBuf,
    /// Modules, each after those it needs.
    pub(super) modules: Vec<PathBuf>,
}

/// What the stories' worlds are made of, where the kernel has it as a module.
const MODULES: [&str; 5] = ["veth", "dummy", "tcp_diag", "udp_diag", "raw_diag"];

/// What hostile programs could use, where the kernel has it as a module: a real host loads such a
/// module when a program asks for it, and the guest has nothing that would.
const ESCAPE_MODULES: [&str; 14] = [
    "sctp",
    "dccp_ipv4",
    "dccp_ipv6",
    "tun",
    "vsock",
    "vsock_loopback",
    "tipc",
    "rds",
    "rds_tcp",
    "kcm",
    "smc",
    "af_key",
    "algif_hash",
    "l2tp_ip",
];

/// The series that stands for the newest kernel Debian has, in any of its releases.
pub(super) const NEWEST: &str = "newest";

/// Releases to look in for a kernel that the machine's own release does not have.
const RELEASES: [&str; 3] = ["sid", "trixie-backports", "bookworm-backports"];

/// Takes the unpacked kernel, or the newest one of the series that Debian has.
pub(super) fn obtain(series: &str, folder: &Path, escape: bool) -> Result<Kernel> {
    if series != NEWEST && !is_series(series) {
        bail!("`{series}` is no kernel series: say 6.1, 6.12, `{NEWEST}` or `all`");
    }
    let unpacked = folder.join("kernel");
    if find_image(&unpacked).is_none() {
        let (apt, packages) = packages(series)?;
        eprintln!("    {}", packages.join(" "));
        // Moved into place at the end, so that a broken download is not taken for a kernel.
        let partial = folder.join("kernel.partial");
        setup::remove(&partial)?;
        setup::remove(&unpacked)?;
        fs::create_dir_all(&partial)
            .with_context(|| format!("cannot make `{}`", partial.display()))?;
        apt.unpack(&packages, &partial)?;
        fs::rename(&partial, &unpacked)
            .with_context(|| format!("cannot make `{}`", unpacked.display()))?;
    }
    let (version, image) = find_image(&unpacked)
        .with_context(|| format!("no kernel image in `{}`", unpacked.display()))?;
    let folder = ["lib/modules", "usr/lib/modules"]
        .map(|folder| unpacked.join(folder).join(&version))
        .into_iter()
        .find(|folder| folder.join("kernel").is_dir())
        .with_context(|| format!("no modules in `{}`", unpacked.display()))?;
    let modules = needed_modules(&folder, escape)?;
    Ok(Kernel {
        version,
        image,
        folder,
        modules,
    })
}

fn is_series(text: &str) -> bool {
    text.split('.').count() == 2
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The packages of the newest cloud kernel of the series: small, and with BTF.
fn packages(series: &str) -> Result<(Apt, Vec<String>)> {
    let numbers_of_series = match series {
        NEWEST => r"[0-9]+\.[0-9]+".to_owned(),
        series => series.replace('.', r"\."),
    };
    let pattern = format!(r"^linux-image-{numbers_of_series}\.[0-9].*-cloud-amd64$");
    let newest = |apt: &Apt| -> Result<Option<String>> {
        let names = apt.search(&pattern)?;
        Ok(names.into_iter().max_by_key(|name| numbers(name)))
    };
    let machine = Apt::of_machine();
    if series != NEWEST
        && let Some(image) = newest(&machine)?
    {
        return Ok((machine, vec![image]));
    }
    let releases = Apt::of_releases(&RELEASES)?;
    let image = newest(&releases)?.with_context(|| format!("Debian has no kernel {series}"))?;
    // Newer packages are in parts.
    let version = image.trim_start_matches("linux-image-");
    let parts = releases.search(&format!(
        "^linux-(binary|modules)-{}$",
        version.replace('.', r"\.").replace('+', r"\+")
    ))?;
    let packages = std::iter::once(image.clone()).chain(parts).collect();
    Ok((releases, packages))
}

/// The numbers in a name, for an order in which 100 comes after 56.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn find_image(unpacked: &Path) -> Option<(String, PathBuf)> {
    let names = |folder: &str| {
        let entries = fs::read_dir(unpacked.join(folder)).into_iter().flatten();
        entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name, entry.path()))
        })
    };
    let in_boot = names("boot").find_map(|(name, path)| {
        let version = name.strip_prefix("vmlinuz-")?;
        Some((version.to_owned(), path))
    });
    in_boot.or_else(|| {
        names("usr/lib/modules")
            .map(|(version, path)| (version, path.join("vmlinuz")))
            .find(|(_, image)| image.is_file())
    })
}

/// The wanted modules and what they depend on; those that are built in are in no file.
fn needed_modules(folder: &Path, escape: bool) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    list_modules(&folder.join("kernel"), &mut files)?;
    let mut ordered = Vec::new();
    let more = if escape { &ESCAPE_MODULES[..] } else { &[] };
    for name in MODULES.iter().chain(more) {
        add_module(name, &files, &mut ordered)?;
    }
    Ok(ordered)
}

fn list_modules(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let cannot_list = || format!("cannot list `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot_list)? {
        let path = entry.with_context(cannot_list)?.path();
        if path.is_dir() {
            list_modules(&path, files)?;
        } else if let Some((name, _)) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split_once(".ko"))
        {
            files.insert(name.replace('-', "_"), path.clone());
        }
    }
    Ok(())
}

fn add_module(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    ordered: &mut Vec<PathBuf>,
) -> Result<()> {
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    if ordered.contains(path) {
        return Ok(());
    }
    for needed in dependencies(&module_bytes(path)?) {
        add_module(&needed, files, ordered)?;
    }
    ordered.push(path.clone());
    Ok(())
}

/// A module's bytes, unpacked where it is compressed.
pub(super) fn module_bytes(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(path).with_context(|| format!("cannot read `{}`", path.display())),
        Some("xz") => {
            let output = Command::new("xz")
                .arg("--decompress")
                .arg("--stdout")
                .arg(path)
                .output()
                .context("cannot start `xz`")?;
            if !output.status.success() {
                bail!("`xz` cannot unpack `{}`", path.display());
            }
            Ok(output.stdout)
        }
        _ => bail!("`{}` is compressed in an unknown way", path.display()),
    }
}

/// The names after `depends=` in the module's information.
fn dependencies(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .map(|names| String::from_utf8_lossy(names).replace('-', "_"))
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_one_with_the_larger_number() {
        assert!(numbers("linux-image-6.12.100+deb12-cloud") > numbers("linux-image-6.12.56-cloud"));
    }

    #[test]
    fn a_module_tells_what_it_depends_on() {
        let module = b"\x7fELF\0license=GPL\0depends=inet_diag,nf-tables\0intree=Y\0";
        assert_eq!(dependencies(module), ["inet_diag", "nf_tables"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert!(is_series("6.12"));
        for wrong in ["6", "6.", "6.1.5", "../6.1", "6.x"] {
            assert!(!is_series(wrong), "{wrong}");
        }
    }
}
