//! The guest's whole file system: busybox, the two programs, their libraries, modules, `init.sh`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::archive::Archive;
use super::kernel::{Kernel, module_bytes};
use crate::build::Built;
use crate::exec::{capture, run as execute};
use crate::workspace;

/// What `init.sh` mounts on or writes to.
const FOLDERS: [&str; 9] = [
    "dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "modules",
];

/// What libc asks for before it asks the resolver.
const FILES: [(&str, &str); 5] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    ("etc/resolv.conf", ""),
];

/// Writes the archive.
pub(super) fn pack(
    path: &Path,
    kernel: &Kernel,
    built: &Built,
    arguments: &[OsString],
) -> Result<()> {
    let folder = path.parent().context("an archive without a folder")?;
    let file = File::create(path).with_context(|| format!("cannot make `{}`", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for name in FOLDERS {
        archive.folder(name)?;
    }
    for (name, text) in FILES {
        archive.file(name, text.as_bytes())?;
    }
    archive.file("init", include_bytes!("init.sh"))?;
    archive.file("run.sh", script(arguments).as_bytes())?;
    for (index, module) in kernel.modules.iter().enumerate() {
        // The shell lists them in this order, which is the order in which they load.
        archive.file(&format!("modules/{index:02}.ko"), &module_bytes(module)?)?;
    }
    archive.file("bin/busybox", &read(&tool("busybox")?)?)?;
    for (place, program) in [
        (
            "bin/cordon",
            without_debug_information(&built.agent, folder)?,
        ),
        (
            "bin/cordon-tests",
            without_debug_information(&built.stories, folder)?,
        ),
        ("sbin/ip", tool("ip")?),
    ] {
        archive.file(place, &read(&program)?)?;
        for library in libraries(&program)? {
            let place = library.to_string_lossy();
            archive.file(place.trim_start_matches('/'), &read(&library)?)?;
        }
    }
    archive
        .finish()
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(())
}

fn script(arguments: &[OsString]) -> String {
    let mut line = String::from("/bin/cordon-tests --vm");
    for argument in arguments {
        line.push_str(" '");
        line.push_str(&argument.to_string_lossy().replace('\'', r"'\''"));
        line.push('\'');
    }
    line.push_str(" </dev/null 2>&1\n");
    line
}

fn tool(name: &str) -> Result<PathBuf> {
    let unpacked = workspace::tools()?.join("debian/bin").join(name);
    if unpacked.is_file() {
        return Ok(unpacked);
    }
    workspace::program(name).with_context(|| format!("`{name}` is not there: `cargo xtask setup`"))
}

/// Debug information is most of an unoptimised program, and the guest has all files in memory.
fn without_debug_information(program: &Path, folder: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program without a name")?;
    let stripped = folder.join(name);
    let mut strip = Command::new("strip");
    strip
        .arg("--strip-debug")
        .arg("-o")
        .arg(&stripped)
        .arg(program);
    execute(&mut strip)?;
    Ok(stripped)
}

/// The shared libraries of a program and its interpreter, by the paths under which it asks for them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let list = capture(Command::new("ldd").arg(program))?;
    Ok(list
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| PathBuf::from(word.trim_end_matches(':')))
        .filter(|library| library != program)
        .collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_guest_as_they_were_given() {
        let arguments = ["it's", "a b"].map(OsString::from);
        assert!(
            script(&arguments).contains(r"'it'\''s' 'a b'"),
            "{}",
            script(&arguments)
        );
    }
}
