//! Builds the BPF programs from `../ebpf` and hands the object to the agent: `CORDON_OBJECT` is the
//! path of the file that `enforce` embeds.
//!
//! Where there is no BPF toolchain the object is empty, a warning names the command that installs
//! one, and the rest of the agent builds, is checked and is tested; an agent with an empty object
//! refuses to run a job. `CORDON_REQUIRE_OBJECT=1` makes that an error. A toolchain that is there
//! and fails is always an error.

#![expect(
    clippy::print_stdout,
    reason = "a build script talks to cargo on its standard output"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "`sys::fs` is part of the package that is being built; errors name their path here"
)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use toolchain::{Missing, PROGRAMS, TARGET, Toolchain, rustup_toolchains};

mod toolchain;

/// Variables that choose a toolchain: `none` (there is none), a compiler, a linker.
const CHOICES: [&str; 3] = [
    "CORDON_BPF_TOOLCHAIN",
    "CORDON_BPF_RUSTC",
    "CORDON_BPF_LINKER",
];
/// With this variable set to 1, no object is an error.
const REQUIRE: &str = "CORDON_REQUIRE_OBJECT";
/// Lines of the compiler's output in the error: enough for its first mistake and its summary.
const TAIL: usize = 60;

fn main() {
    if let Err(error) = run() {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn run() -> Result<(), String> {
    let out_dir = folder("OUT_DIR")?;
    let package = folder("CARGO_MANIFEST_DIR")?;
    let workspace = package.parent().ok_or("the package has no workspace")?;
    let target = target_folder(&out_dir)?;
    watch_sources(workspace);

    let object = out_dir.join("cordon-programs.o");
    println!("cargo::rustc-env=CORDON_OBJECT={}", object.display());
    let tools = tool_folders(workspace, &target);
    match Toolchain::find(&tools) {
        Ok(toolchain) => {
            watch(&toolchain.rustc);
            watch(&toolchain.linker);
            build(&toolchain, workspace, &target.join("bpf"), &object)
        }
        Err(missing) => {
            watch_for_a_toolchain(&tools);
            go_without(&missing, &object)
        }
    }
}

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{variable} is not set: this is a build script, run by cargo"))
}

/// The folder that holds `debug` or `release`: that of the nested build lies in it, beside them, so
/// that the two cargos never wait for one lock.
fn target_folder(out_dir: &Path) -> Result<PathBuf, String> {
    out_dir
        .ancestors()
        .find(|folder| folder.ends_with("build"))
        .and_then(|build| build.parent()?.parent())
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("`{}` is not in a target folder", out_dir.display()))
}

/// Where `cargo xtask setup` puts tools; made here so that cargo can watch it for a change.
fn tool_folders(workspace: &Path, target: &Path) -> Vec<PathBuf> {
    let mut folders = vec![workspace.join("target/tools"), target.join("tools")];
    folders.dedup();
    // A source tree that cannot be written has no tools, and that is all.
    folders.retain(|folder| fs::create_dir_all(folder).is_ok());
    folders
}

fn watch_sources(workspace: &Path) {
    for source in ["ebpf/src", "ebpf/Cargo.toml", "Cargo.toml", "Cargo.lock"] {
        watch(workspace.join(source));
    }
    watch("build");
    CHOICES.iter().for_each(watch_variable);
}

/// Watches all whose change can make a missing toolchain appear. Where there is one, none of it is
/// watched: a PATH differs between terminals, editors and tasks, and each time all was built anew.
fn watch_for_a_toolchain(tools: &[PathBuf]) {
    [REQUIRE, "PATH", "RUSTUP_HOME"]
        .iter()
        .for_each(watch_variable);
    let components = rustup_toolchains()
        .into_iter()
        .map(|toolchain| toolchain.join("lib/rustlib/components"));
    tools
        .iter()
        .cloned()
        .chain(components)
        .chain([PathBuf::from("/var/lib/dpkg/status")])
        // What does not exist would count as changed every time.
        .filter(|path| path.exists())
        .for_each(watch);
}

fn watch_variable(name: &&str) {
    println!("cargo::rerun-if-env-changed={name}");
}

fn watch(path: impl AsRef<Path>) {
    println!("cargo::rerun-if-changed={}", path.as_ref().display());
}

fn go_without(missing: &Missing, object: &Path) -> Result<(), String> {
    if env::var_os(REQUIRE).is_some_and(|value| value == "1") {
        return Err(format!("{missing}\n({REQUIRE}=1 asks for the programs)"));
    }
    println!("cargo::warning=the agent is built WITHOUT its BPF programs and refuses to run jobs");
    for line in missing.to_string().lines() {
        println!("cargo::warning={line}");
    }
    write(object, &[])
}

fn build(
    toolchain: &Toolchain,
    workspace: &Path,
    target: &Path,
    object: &Path,
) -> Result<(), String> {
    let output = toolchain
        .cargo("build", workspace, target)
        .output()
        .map_err(|error| format!("cannot start cargo for the BPF programs: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let from = words.lines().count().saturating_sub(TAIL);
        let tail: Vec<&str> = words.lines().skip(from).collect();
        return Err(format!(
            "the BPF programs do not build ({}) with {toolchain:?}:\n{}",
            output.status,
            tail.join("\n")
        ));
    }
    let built = target.join(TARGET).join("release").join(PROGRAMS);
    let bytes =
        fs::read(&built).map_err(|error| format!("cannot read `{}`: {error}", built.display()))?;
    // Without type information the kernel refuses the maps; better known here than on the host.
    if !has_section(&bytes, b".BTF") {
        return Err(format!(
            "`{}` holds no BTF: {toolchain:?} lost the debug information",
            built.display()
        ));
    }
    write(object, &bytes)
}

/// Whether a string table of the object ends a name with these bytes. Linkers let `.BTF` be the
/// tail of `.rel.BTF`, which is only there for the other one's sake.
fn has_section(object: &[u8], name: &[u8]) -> bool {
    object
        .split(|byte| *byte == 0)
        .any(|text| text.ends_with(name))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}
