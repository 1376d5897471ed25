//! Programs of another release of Debian, unpacked with their libraries beside the machine's own.
//!
//! Each is started by the loader of its release, through a script in `target/tools/bin`. Nothing of
//! the machine is replaced, and what it has changes nothing for them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::apt::Apt;
use crate::exec::step;
use crate::workspace;

/// A program, and all packages it needs.
struct Foreign {
    /// Of the script that starts it.
    name: &'static str,
    release: &'static str,
    /// Its path inside of its package.
    program: &'static str,
    packages: &'static [&'static str],
}

const PROGRAMS: [Foreign; 2] = [CURL, GITLEAKS];

const CURL: Foreign = Foreign {
    name: "curl-http3",
    release: "trixie",
    program: "usr/bin/curl",
    packages: &[
        "curl",
        "libbrotli1",
        "libc6",
        "libcom-err2",
        "libcurl4t64",
        "libffi8",
        "libgmp10",
        "libgnutls30t64",
        "libgssapi-krb5-2",
        "libhogweed6t64",
        "libidn2-0",
        "libk5crypto3",
        "libkeyutils1",
        "libkrb5-3",
        "libkrb5support0",
        "libldap2",
        "libnettle8t64",
        "libnghttp2-14",
        "libnghttp3-9",
        "libp11-kit0",
        "libpsl5t64",
        "librtmp1",
        "libsasl2-2",
        "libssh2-1t64",
        "libssl3t64",
        "libtasn1-6",
        "libunistring5",
        "libzstd1",
        "zlib1g",
    ],
};

/// Another scanner of secrets, to be measured beside this one.
const GITLEAKS: Foreign = Foreign {
    name: "gitleaks",
    release: "sid",
    program: "usr/bin/gitleaks",
    packages: &["gitleaks", "libc6"],
};

/// Makes sure that the program with this name is there.
pub(crate) fn install(name: &str) -> Result<()> {
    let known = PROGRAMS.iter().find(|program| program.name == name);
    let Foreign {
        name,
        release,
        program,
        packages,
    } = known.with_context(|| format!("`{name}` is in no list of foreign programs"))?;
    let tools = workspace::tools()?;
    step(&format!("unpack {name} into target/tools"), || {
        let packages: Vec<String> = packages.iter().copied().map(str::to_owned).collect();
        Apt::of_releases(&[release])?.unpack(&packages, &tools.join(release))?;
        // Written last: it says that all of it is there.
        write_script(&tools.join("bin"), name, &start(release, program))
    })
}

/// A script that starts a program, wherever the tree is.
fn start(release: &str, program: &str) -> String {
    format!(
        "#!/bin/sh\nroot=${{0%/*}}/../{release}\nexec \"$root/usr/lib64/ld-linux-x86-64.so.2\" \
         --library-path \"$root/usr/lib/x86_64-linux-gnu\" \"$root/{program}\" \"$@\"\n"
    )
}

fn write_script(folder: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let path = folder.join(name);
    let context = || format!("cannot write `{}`", path.display());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o755);
    let mut file = options.open(&path).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_script_starts_the_program_of_its_release_wherever_it_is_called_from() {
        let folder = std::env::temp_dir().join(format!("cordon-foreign-{}", std::process::id()));
        let loader = folder.join("old/usr/lib64");
        fs::create_dir_all(&loader).unwrap();
        let echo = "#!/bin/sh\necho \"$0\" \"$@\"\n";
        write_script(&loader, "ld-linux-x86-64.so.2", echo).unwrap();
        write_script(&folder.join("bin"), "tool", &start("old", "usr/bin/tool")).unwrap();
        let output = Command::new("tool")
            .args(["a b", "c"])
            .env("PATH", folder.join("bin"))
            .output();
        fs::remove_dir_all(&folder).unwrap();
        let root = format!("{}/bin/../old", folder.display());
        assert_eq!(
            String::from_utf8(output.unwrap().stdout).unwrap(),
            format!(
                "{root}/usr/lib64/ld-linux-x86-64.so.2 --library-path \
                 {root}/usr/lib/x86_64-linux-gnu {root}/usr/bin/tool a b c\n"
            )
        );
    }
}
