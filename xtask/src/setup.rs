//! `cargo xtask setup`: installs what the other tasks need and is not there.
//!
//! **Invariants**: a machine that has all is left alone within milliseconds; crates and unpacked
//! Debian programs go to `target/tools`, never to a global place; no compiler is downloaded except
//! Debian's, as a package; nothing that is installed starts a service.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::exec::{cargo, run_quietly, step};
use crate::toolchain::{DEBIAN_LLVM, DEBIAN_PACKAGES, LINKER_VERSION, Toolchain};
use crate::{privilege, workspace};

/// Install what is missing (as root, on Debian).
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also what `vm` needs: an emulator
    #[arg(long)]
    vm: bool,
}

/// A program, and the Debian package that has it.
struct Program {
    name: &'static str,
    package: &'static str,
}

impl Program {
    const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package }
    }
}

/// What the stories, the demo and the foreign verifiers call.
const STORIES: [Program; 7] = [
    Program::new("ip", "iproute2"),
    Program::new("curl", "curl"),
    Program::new("git", "git"),
    Program::new("python3", "python3"),
    Program::new("openssl", "openssl"),
    Program::new("ssh-keygen", "openssh-client"),
    Program::new("xz", "xz-utils"),
];

/// A TPM for the stories of keys, what asks it from outside, and how that reaches it.
const TPM: [Program; 2] = [
    Program::new("swtpm", "swtpm"),
    Program::new("tpm2_sign", "tpm2-tools"),
];

/// What looks at the HTML page of evidence; axe itself comes from npm, into `target/tools/pages`.
const PAGES: [Program; 4] = [
    Program::new("chromium", "chromium"),
    Program::new("node", "nodejs"),
    Program::new("npm", "npm"),
    Program::new("jq", "jq"),
];

/// Clients of the registries that have real runners, and what runs one of these.
const RUNNERS: [Program; 3] = [
    Program::new("pip3", "python3-pip"),
    Program::new("node", "nodejs"),
    Program::new("npm", "npm"),
];

const EMULATOR: [Program; 1] = [Program::new("qemu-system-x86_64", "qemu-system-x86")];

/// Programs that are unpacked instead of installed: as installed packages one would start a web
/// server on the machine, the other would replace a package that may be there.
const UNPACKED: [Program; 2] = [
    Program::new("nginx", "nginx"),
    Program::new("busybox", "busybox-static"),
];

/// What the job's resolver is measured against.
const RESOLVERS: [Program; 1] = [Program::new("dnsmasq", "dnsmasq-base")];

/// Installed, it would start a resolver on the machine; so it is unpacked, with its libraries.
const UNBOUND: [&str; 6] = [
    "unbound",
    "libevent-2.1-7",
    "libhiredis0.14",
    "libnghttp2-14",
    "libprotobuf-c1",
    "libpython3.11",
];

/// The container engine of the stories, with what it starts, its libraries, and the one program of its
/// image. Installed, it would start a service and change the machine's firewall; so it is unpacked.
const ENGINE: [&str; 13] = [
    "busybox-static",
    "containerd",
    "docker.io",
    "iptables",
    "libdevmapper1.02.1",
    "libip4tc2",
    "libip6tc2",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libxtables12",
    "runc",
    "tini",
];

/// Compose, with the modules of Python it needs, for the machine's own.
const COMPOSE: [&str; 19] = [
    "docker-compose",
    "python3-attr",
    "python3-certifi",
    "python3-chardet",
    "python3-distro",
    "python3-distutils",
    "python3-docker",
    "python3-dockerpty",
    "python3-docopt",
    "python3-dotenv",
    "python3-idna",
    "python3-jsonschema",
    "python3-pyrsistent",
    "python3-requests",
    "python3-six",
    "python3-texttable",
    "python3-urllib3",
    "python3-websocket",
    "python3-yaml",
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = bpf_toolchain()?;
    eprintln!(
        "BPF toolchain: `{}`, `{}`, LLVM {}",
        toolchain.rustc.display(),
        toolchain.linker.display(),
        toolchain.llvm
    );
    stories()?;
    if options.vm {
        emulator()?;
    }
    eprintln!("everything is there");
    Ok(())
}

/// Finds the BPF toolchain, installing it where it is missing.
pub(crate) fn bpf_toolchain() -> Result<Toolchain> {
    let tools = workspace::tools()?;
    let folders = [tools.clone()];
    let Err(missing) = Toolchain::find(&folders) else {
        return Ok(Toolchain::find(&folders)?);
    };
    if std::env::var_os("CORDON_BPF_TOOLCHAIN").is_some_and(|value| value == "none") {
        return Err(missing.into());
    }
    eprintln!("{missing}");
    install(&DEBIAN_PACKAGES)?;
    if let Ok(toolchain) = Toolchain::find(&folders) {
        return Ok(toolchain);
    }
    step(
        "build bpf-linker into target/tools (about a minute on two cores)",
        || {
            let mut install = cargo()?;
            install
                .args(["install", "--locked", "--force", "--no-default-features"])
                .arg(format!("bpf-linker@{LINKER_VERSION}"))
                .arg(format!("--features=llvm-{DEBIAN_LLVM}"))
                .arg("--root")
                .arg(&tools)
                .env("LLVM_PREFIX", format!("/usr/lib/llvm-{DEBIAN_LLVM}"));
            run_quietly(&mut install, "bpf-linker")
        },
    )?;
    Ok(Toolchain::find(&folders)?)
}

/// Makes sure that the linter of the toolchain's compiler is there, where Debian has it.
pub(crate) fn bpf_clippy(toolchain: &Toolchain) -> Result<()> {
    if !toolchain.rustc.starts_with("/usr/bin") {
        bail!(
            "`{}` comes without clippy-driver",
            toolchain.rustc.display()
        );
    }
    install(&["rust-web-clippy"])
}

/// Builds a program of a crate into `target/tools`.
pub(crate) fn crate_program(name: &str) -> Result<()> {
    let title = format!("build {name} into target/tools (minutes)");
    step(&title, || {
        let mut install = cargo()?;
        install.args(["install", "--locked", name, "--root"]);
        run_quietly(install.arg(workspace::tools()?), name)
    })
}

/// Makes sure that the programs of the stories and of the demo are there.
pub(crate) fn stories() -> Result<()> {
    install_programs(&STORIES)?;
    install_programs(&TPM)?;
    unpack(&UNPACKED[..1])
}

/// Makes sure that the container engine of the stories is there.
pub(crate) fn engine() -> Result<()> {
    let folder = workspace::tools()?.join("engine");
    if !folder.join("usr/sbin/dockerd").is_file() {
        step("unpack docker.io into target/tools", || {
            Apt::of_machine().unpack(&ENGINE.map(str::to_owned), &folder)
        })?;
    }
    if !folder.join("usr/bin/docker-compose").is_file() {
        step("unpack docker-compose into target/tools", || {
            Apt::of_machine().unpack(&COMPOSE.map(str::to_owned), &folder)
        })?;
    }
    Ok(())
}

/// Makes sure that Prometheus and `promtool` are there. Installed, it would start a service on the machine.
pub(crate) fn prometheus() -> Result<()> {
    if workspace::program("promtool").is_some() && workspace::program("prometheus").is_some() {
        return Ok(());
    }
    step("unpack prometheus into target/tools", || {
        Apt::of_machine().unpack(
            &["prometheus".to_owned()],
            &workspace::tools()?.join("debian"),
        )
    })
}

/// Makes sure that the clients that fetch real runners are there.
pub(crate) fn runners_clients() -> Result<()> {
    install_programs(&RUNNERS)
}

/// Makes sure that a browser and node are there.
pub(crate) fn pages() -> Result<()> {
    install_programs(&PAGES)
}

/// Makes sure that the resolvers of `bench dns` are there.
pub(crate) fn resolvers() -> Result<()> {
    install_programs(&RESOLVERS)?;
    if workspace::program("unbound").is_some() {
        return Ok(());
    }
    step("unpack unbound into target/tools", || {
        let packages = UNBOUND.map(str::to_owned);
        Apt::of_machine().unpack(&packages, &workspace::tools()?.join("debian"))
    })
}

/// Makes sure that the programs of the virtual machine are there.
pub(crate) fn emulator() -> Result<()> {
    install_programs(&EMULATOR)?;
    unpack(&UNPACKED[1..])
}

fn install_programs(programs: &[Program]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|program| workspace::program(program.name).is_none())
        .map(|program| program.package)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        install(&missing)
    }
}

/// Installs those of the packages that are not there.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if workspace::program("apt-get").is_none() {
        bail!(
            "this is not Debian (no apt-get): install what Debian calls `{names}` with your \
             distribution's tools, then run this again"
        );
    }
    if !privilege::is_root() {
        bail!("missing: run `apt-get install {names}` as root, then run this again");
    }
    step(&format!("install {names}"), || {
        run_quietly(Apt::of_machine().get().arg("update"), "apt-update")?;
        run_quietly(
            Apt::of_machine()
                .get()
                .args(["install", "--yes", "--no-install-recommends"])
                .args(&missing),
            "apt-install",
        )
    })
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

/// Unpacks the programs that are not on the machine into `target/tools/debian`.
fn unpack(programs: &[Program]) -> Result<()> {
    for Program { name, package } in programs {
        if workspace::program(name).is_some_and(|program| is_wanted(name, &program)) {
            continue;
        }
        step(&format!("unpack {package} into target/tools"), || {
            Apt::of_machine().unpack(
                &[(*package).to_owned()],
                &workspace::tools()?.join("debian"),
            )
        })?;
    }
    Ok(())
}

/// A busybox on the machine may be linked dynamically, which does not run in an empty guest.
fn is_wanted(name: &str, program: &Path) -> bool {
    name != "busybox" || program.starts_with(workspace::tools().unwrap_or_default())
}

/// Removes a folder that may not be there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))
}
