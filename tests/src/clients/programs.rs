//! Small client programs, built when their source or compiler is new, and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::harness::environment::Environment;

/// A source file and what is made of it.
#[derive(Debug)]
struct Program {
    /// Name of the source.
    source: &'static str,
    text: &'static str,
    /// Tools it needs, and the shell script that builds it, in the folder of the source.
    builds: &'static [(&'static str, &'static str)],
}

const PROGRAMS: [Program; 6] = [
    Program {
        source: "lookup.c",
        text: include_str!("programs/lookup.c"),
        builds: &[
            ("gcc", "gcc -O2 -Wall -o lookup-glibc lookup.c"),
            ("musl", "musl-gcc -static -O2 -Wall -o lookup-musl lookup.c"),
        ],
    },
    Program {
        source: "ares.c",
        text: include_str!("programs/ares.c"),
        builds: &[("c-ares", "gcc -O2 -Wall -o lookup-ares ares.c -lcares")],
    },
    Program {
        source: "client.go",
        text: include_str!("programs/client.go"),
        builds: &[(
            "go",
            "export GOCACHE=$PWD/go-cache GOPATH=$PWD/go-path GO111MODULE=off\n\
                 CGO_ENABLED=0 go build -o go-pure client.go && \
                 CGO_ENABLED=1 go build -o go-cgo client.go",
        )],
    },
    Program {
        source: "Client.java",
        text: include_str!("programs/Client.java"),
        builds: &[("java", "javac -d . Client.java")],
    },
    Program {
        source: "client.js",
        text: include_str!("programs/client.js"),
        builds: &[],
    },
    Program {
        source: "client.py",
        text: include_str!("programs/client.py"),
        builds: &[],
    },
];

/// Where they are, made if need be: `clients` in the target directory.
pub fn folder(environment: &Environment) -> Result<PathBuf> {
    // target/debug/cordon-tests -> target/clients
    let target = environment.own.ancestors().nth(2);
    let folder = target.context("no target directory")?.join("clients");
    fs::create_dir_all(&folder)?;
    for program in &PROGRAMS {
        let path = folder.join(program.source);
        let known = fs::read_to_string(&path).is_ok_and(|text| text == program.text);
        if !known {
            fs::write(&path, program.text)?;
        }
    }
    Ok(folder)
}

/// Builds what one tool builds.
pub fn build(folder: &Path, tool: &str) -> Result<()> {
    for program in &PROGRAMS {
        for (_, script) in program.builds.iter().filter(|(needs, _)| *needs == tool) {
            let built = folder.join(format!("{}-{tool}.built", program.source));
            let recipe = format!("{script}\n{}", program.text);
            if fs::read_to_string(&built).is_ok_and(|text| text == recipe) {
                continue;
            }
            eprintln!("building {} with {tool}", program.source);
            let output = Command::new("/bin/sh")
                .args(["-c", script])
                .current_dir(folder)
                .output()
                .context("start a shell")?;
            ensure!(
                output.status.success(),
                "cannot build {}: {}",
                program.source,
                String::from_utf8_lossy(&output.stderr)
            );
            fs::write(built, recipe)?;
        }
    }
    Ok(())
}
