//! Finds a compiler and a linker for the BPF target, and knows how to call them.
//!
//! The build script of the agent and the tasks of `xtask` share this file, so there is one answer
//! to "which toolchain". `core` is built for the target, which asks for a compiler with its library
//! sources; and the compiler and `bpf-linker` exchange LLVM bitcode, so the major versions of their
//! LLVM must be the same: a mismatch gives silently broken type information.
//!
//! **Not here**: nothing is installed and nothing is built.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// The target, in Rust's words.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The binary target of the package `cordon-ebpf`, which is the object file.
pub(crate) const PROGRAMS: &str = "cordon-programs";
/// The version that is installed where there is none.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// The LLVM of Debian's `rustc-web`, for which the linker is built there.
pub(crate) const DEBIAN_LLVM: u32 = 22;
/// What Debian needs for both the compiler and the linker.
pub(crate) const DEBIAN_PACKAGES: [&str; 6] = [
    "rustc-web",
    "rust-web-src",
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
];
/// A compiler and a linker that fit together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Toolchain {
    /// The compiler; its library sources were seen.
    pub rustc: PathBuf,
    /// `bpf-linker`.
    pub linker: PathBuf,
    /// The LLVM major version of both.
    pub llvm: u32,
}

/// Why there is no toolchain: what was looked at, and what was wrong with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Missing {
    /// One clause for each thing that was looked at.
    pub reasons: Vec<String>,
}

impl Toolchain {
    /// Takes the first compiler for which there is a linker; `tools` are folders to look in before
    /// PATH.
    pub(crate) fn find(tools: &[PathBuf]) -> Result<Self, Missing> {
        let mut reasons = Vec::new();
        if env::var_os("CORDON_BPF_TOOLCHAIN").is_some_and(|value| value == "none") {
            reasons.push("CORDON_BPF_TOOLCHAIN=none says not to look for one".to_owned());
            return Err(Missing { reasons });
        }
        let compilers = usable(compilers(), compiler_llvm, &mut reasons);
        let linkers = usable(linkers(tools), linker_llvm, &mut reasons);
        for (rustc, llvm) in &compilers {
            for (linker, linker_llvm) in &linkers {
                if llvm == linker_llvm {
                    return Ok(Self {
                        rustc: rustc.clone(),
                        linker: linker.clone(),
                        llvm: *llvm,
                    });
                }
                reasons.push(format!(
                    "`{}` has LLVM {llvm}, `{}` has LLVM {linker_llvm}; they must be the same",
                    rustc.display(),
                    linker.display()
                ));
            }
        }
        if compilers.is_empty() {
            reasons.push("no Rust compiler with library sources was found".to_owned());
        }
        if linkers.is_empty() {
            reasons.push("no bpf-linker was found".to_owned());
        }
        Err(Missing { reasons })
    }

    /// A `cargo` with this toolchain and none of the caller's settings, for a `subcommand` on the
    /// BPF programs of `workspace`.
    pub(crate) fn cargo(&self, subcommand: &str, workspace: &Path, target_dir: &Path) -> Command {
        let mut cargo = Command::new(self.cargo_binary());
        for (name, _) in env::vars_os() {
            if is_of_the_outer_build(&name) {
                cargo.env_remove(name);
            }
        }
        cargo
            .current_dir(workspace)
            .args([subcommand, "--locked", "--release"])
            .args(["--package", "cordon-ebpf", "--bin", PROGRAMS])
            .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
            .arg(target_dir)
            .env("RUSTC", &self.rustc)
            // Opens `-Z` and the unstable features of the programs on a stable compiler too.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags(workspace));
        for (key, value) in PROFILE {
            cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
        }
        cargo
    }

    /// The `cargo` beside a rustup compiler, since it knows that library's layout; else the
    /// caller's, since a distribution's own may be years older than its `rustc-web`.
    fn cargo_binary(&self) -> PathBuf {
        let sibling = self.rustc.with_file_name("cargo");
        if sibling.is_file() && is_of_rustup(&self.rustc) {
            return sibling;
        }
        env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
    }

    fn flags(&self, workspace: &Path) -> OsString {
        let mut linker = OsString::from("-Clinker=");
        linker.push(&self.linker);
        let architecture =
            env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
        let mut flags = vec![
            linker,
            OsString::from("-Clink-arg=--btf"),
            // The linker's default turns clearing even a few bytes into a call, and a call costs a
            // stack frame of which Linux 6.1 counts every byte.
            OsString::from("-Clink-arg=--disable-expand-memcpy-in-order"),
            OsString::from(format!("--cfg=bpf_target_arch=\"{architecture}\"")),
            remap(workspace, "."),
        ];
        if let Some(cargo_home) = cargo_home() {
            flags.push(remap(&cargo_home, "/cargo"));
        }
        flags.join(OsStr::new("\x1f"))
    }
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "no toolchain for the BPF programs:")?;
        for reason in &self.reasons {
            writeln!(f, "  - {reason}")?;
        }
        write!(
            f,
            "On Debian, `cargo xtask setup` (as root) installs it. Elsewhere: a rustup nightly with \
             `rustup component add rust-src`, and a bpf-linker for the same LLVM on PATH \
             (`cargo install bpf-linker@{LINKER_VERSION} --no-default-features --features \
             llvm-{DEBIAN_LLVM}` for Debian's packages {})",
            DEBIAN_PACKAGES.join(" ")
        )
    }
}

impl std::error::Error for Missing {}

/// The profile of the programs, whatever the agent's is: arithmetic wraps as the verifier sees it,
/// and the debug information becomes the BTF.
const PROFILE: [(&str, &str); 8] = [
    ("CODEGEN_UNITS", "1"),
    ("DEBUG", "2"),
    ("DEBUG_ASSERTIONS", "false"),
    ("LTO", "true"),
    ("OPT_LEVEL", "3"),
    ("OVERFLOW_CHECKS", "false"),
    ("PANIC", "abort"),
    ("STRIP", "none"),
];

/// Tells what cargo, clippy and rustup set for the build that is running from what a person set for
/// all builds (registries, proxies, the cache).
fn is_of_the_outer_build(name: &OsStr) -> bool {
    const FOR_ALL: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    const OUTER: [&str; 15] = [
        "CARGO",
        "CLIPPY_",
        "DEBUG",
        "DEP_",
        "HOST",
        "LD_LIBRARY_PATH",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "TARGET",
    ];
    let name = name.to_string_lossy();
    let starts = |prefix: &&str| name.starts_with(prefix);
    OUTER.iter().any(starts) && !FOR_ALL.iter().any(starts) && name != "HOSTNAME"
}

/// Compilers that may do, best first: the chosen one alone, else nightlies, stable ones with
/// sources, Debian's.
fn compilers() -> Vec<PathBuf> {
    if let Some(chosen) = env::var_os("CORDON_BPF_RUSTC") {
        return vec![PathBuf::from(chosen)];
    }
    rustup_toolchains()
        .into_iter()
        .filter(|toolchain| has_sources(toolchain))
        .map(|toolchain| toolchain.join("bin/rustc"))
        .chain([PathBuf::from("/usr/bin/rustc")])
        .filter(|rustc| rustc.is_file())
        .collect()
}

/// The folders of rustup's toolchains: nightlies first, newest first.
pub(crate) fn rustup_toolchains() -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME").map_or_else(
        || env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")),
        |home| Some(PathBuf::from(home)),
    );
    let Some(entries) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    let mut toolchains: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let is_nightly = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("nightly"))
    };
    toolchains.sort_by(|a, b| (is_nightly(b), b).cmp(&(is_nightly(a), a)));
    toolchains
}

/// The object's digest is part of the evidence: it must not depend on where it was built.
fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

fn is_of_rustup(rustc: &Path) -> bool {
    rustc
        .ancestors()
        .any(|dir| dir.ends_with("toolchains") && dir != rustc)
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

/// Linkers that may do, best first: the chosen one alone, else those of `tools`, then of PATH.
fn linkers(tools: &[PathBuf]) -> Vec<PathBuf> {
    if let Some(chosen) = env::var_os("CORDON_BPF_LINKER") {
        return vec![PathBuf::from(chosen)];
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = tools
        .iter()
        .map(|tools| tools.join("bin"))
        .chain(env::split_paths(&path))
        .map(|folder| folder.join("bpf-linker"))
        .filter(|linker| linker.is_file())
        .collect();
    found.dedup();
    found
}

/// Keeps the candidates that answer with an LLVM version; the others leave a reason.
fn usable(
    candidates: Vec<PathBuf>,
    llvm: impl Fn(&Path) -> Result<u32, String>,
    reasons: &mut Vec<String>,
) -> Vec<(PathBuf, u32)> {
    let mut kept = Vec::new();
    for path in candidates {
        match llvm(&path) {
            Ok(major) => kept.push((path, major)),
            Err(reason) => reasons.push(format!("`{}` {reason}", path.display())),
        }
    }
    kept
}

fn compiler_llvm(rustc: &Path) -> Result<u32, String> {
    let sysroot = answer(rustc, &["--print", "sysroot"])?;
    if !has_sources(Path::new(sysroot.trim())) {
        return Err("has no library sources (rust-src, on Debian rust-web-src)".to_owned());
    }
    answer(rustc, &["-vV"])?
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(major)
        .ok_or_else(|| "does not tell its LLVM version".to_owned())
}

/// `bpf-linker --version` names no LLVM, so the file is asked: it is linked either with
/// `libLLVM.so.22.1` or statically, and then holds the identification of its bitcode writer.
fn linker_llvm(linker: &Path) -> Result<u32, String> {
    answer(linker, &["--version"])?;
    let bytes = fs::read(linker).map_err(|error| format!("cannot be read: {error}"))?;
    llvm_of(&bytes).ok_or_else(|| "does not tell its LLVM version".to_owned())
}

fn llvm_of(binary: &[u8]) -> Option<u32> {
    binary
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .find_map(|text| {
            let version = text
                .strip_prefix("libLLVM.so.")
                .or_else(|| text.strip_prefix("libLLVM-"))
                .or_else(|| text.strip_prefix("LLVM").filter(|v| v.contains('.')))?;
            major(version)
        })
}

fn major(version: &str) -> Option<u32> {
    version.split(['.', '-']).next()?.trim().parse().ok()
}

fn answer(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .map_err(|error| format!("does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "fails ({}): {}",
        output.status,
        words.lines().next().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_linker_is_read_however_it_is_linked() {
        assert_eq!(llvm_of(b"\x7fELF\0libLLVM.so.22.1\0libc.so.6\0"), Some(22));
        assert_eq!(llvm_of(b"\x7fELF\0libLLVM-19.so.1\0"), Some(19));
        assert_eq!(llvm_of(b"\x7fELF\0LLVM21.1.8-rust-1.93.0\0"), Some(21));
        assert_eq!(llvm_of(b"\x7fELF\0LLVMContextCreate\0LLVM.\0"), None);
    }

    #[test]
    fn settings_for_all_builds_reach_the_nested_build_and_those_of_the_outer_do_not() {
        for kept in [
            "PATH",
            "HOME",
            "HOSTNAME",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
        ] {
            assert!(!is_of_the_outer_build(OsStr::new(kept)), "{kept}");
        }
        for cleared in [
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_PKG_NAME",
            "CLIPPY_ARGS",
            "RUSTFLAGS",
        ] {
            assert!(is_of_the_outer_build(OsStr::new(cleared)), "{cleared}");
        }
    }
}
