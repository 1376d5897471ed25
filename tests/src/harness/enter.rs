//! The hidden `enter` command: takes its own place in a world, then becomes the command.
//!
//! A process of its own does this, before `exec`, so that no unsafe code has to run between `fork`
//! and `exec` of a threaded test process; the process id stays the one that was started.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::filter;

/// Where to go.
#[derive(clap::Args, Debug)]
pub struct Place {
    /// Network namespace to join
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
    /// Mount namespace to join
    #[arg(long, value_name = "FILE")]
    pub mount: Option<PathBuf>,
    /// cgroup directories to join, v1 and v2
    #[arg(long, value_name = "DIR")]
    pub cgroup: Vec<PathBuf>,
    /// Directory to start in
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Give up a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub without: Vec<Capability>,
    /// Have `clone3` answered as by a kernel that does not know it
    #[arg(long)]
    pub without_clone3: bool,
    /// Become another user
    #[arg(long, value_name = "UID")]
    pub user: Option<u32>,
    /// What to become
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<OsString>,
}

impl Place {
    /// Goes there and becomes the command. Returns only if that failed.
    pub fn become_command(self) -> Result<()> {
        let Self {
            network,
            mount,
            cgroup,
            directory,
            without,
            without_clone3,
            user,
            command,
        } = self;
        // All is opened before anything is joined: paths are seen from here, and in a job the files of
        // a process outside cannot be opened.
        let groups = cgroup
            .iter()
            .map(|directory| {
                let procs = directory.join("cgroup.procs");
                let file = File::options().write(true).open(&procs);
                file.with_context(|| format!("open {}", procs.display()))
            })
            .collect::<Result<Vec<_>>>()?;
        let network = network.map(File::open).transpose()?;
        let mount = mount.map(File::open).transpose()?;
        for mut group in groups {
            group.write_all(b"0").context("join a cgroup")?;
        }
        if let Some(file) = network {
            setns(file, CloneFlags::CLONE_NEWNET).context("join the network namespace")?;
        }
        if let Some(file) = mount {
            setns(file, CloneFlags::CLONE_NEWNS).context("join the mount namespace")?;
        }
        if let Some(directory) = directory {
            std::env::set_current_dir(&directory).context("enter the directory")?;
        }
        if without_clone3 {
            filter::hide_clone3()?;
        }
        for capability in without {
            caps::drop(None, CapSet::Bounding, capability).context("drop a capability")?;
        }
        if let Some(user) = user {
            setgroups(&[]).context("leave all groups")?;
            setgid(Gid::from_raw(user)).context("change the group")?;
            setuid(Uid::from_raw(user)).context("change the user")?;
        }
        let mut words = command.into_iter();
        let program = words.next().context("no command")?;
        let error = Command::new(&program).args(words).exec();
        Err(error).with_context(|| format!("execute {}", program.display()))
    }
}
