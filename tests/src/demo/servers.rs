//! The allowed host's real servers: HTTPS by nginx, and a git repository behind it.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::harness::network::{GOOD_V4, GOOD_V6};
use crate::harness::site::{Content, Site};
use crate::harness::world::World;

const NAMES: [&str; 3] = ["files.good.test", "git.good.test", "api.good.test"];

/// Seconds a name of the demo is good for.
const TTL: u32 = 60;

/// Programs the demo runs, and the Debian package of each.
const TOOLS: [(&str, &str); 4] = [
    ("nginx", "nginx-light"),
    ("git", "git"),
    ("curl", "curl"),
    ("python3", "python3"),
];

/// Fails with all that is missing.
pub fn check_tools() -> Result<()> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    ensure!(
        missing.is_empty(),
        "the demo needs {0}: `cargo xtask setup` installs them (or `apt-get install {0}`)",
        missing.join(" ")
    );
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    // A shell of an ordinary user lacks it in PATH.
    found || Path::new("/usr/sbin").join(program).is_file()
}

/// Makes the site and starts its server.
pub fn start(world: &World) -> Result<Site<'_>> {
    for name in NAMES.iter().filter(|name| **name != "api.good.test") {
        world.zone.add(name, GOOD_V4, TTL);
        world.zone.add(name, GOOD_V6, TTL);
    }
    Site::start(
        world,
        &Content {
            names: &NAMES,
            files: &[
                ("release.txt", "cordon demo release\n"),
                ("status.json", "{\"status\": \"ok\"}\n"),
            ],
            repository: &[("README", "A repository to clone.\n")],
        },
    )
}
