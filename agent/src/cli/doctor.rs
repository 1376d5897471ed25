//! `cordon doctor`: whether this host can enforce, and what it lacks.

use std::path::Path;
use std::process::ExitCode;

use aya::Btf;

use super::output::{complaint, data};
use crate::cgroup::hierarchy::Hierarchy;
use crate::config::Config;
use crate::enforce::kernel::{HOOKS, load_program, open_object};
use crate::enforce::{chain, object};
use crate::sys::privilege;

const ABOUT: &str = "\
Loads every program into the kernel's verifier without attaching it, and says how much the verifier \
had to look at.
Exit status: 0 if jobs can be enforced here, 1 if not, 121 if the configuration is wrong.";

/// Arguments of `cordon doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub struct Args;

/// One thing that was looked at.
struct Finding {
    good: bool,
    text: String,
}

impl Args {
    /// Examines the host.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let config = match Config::load(config) {
            Ok(config) => config,
            Err(mistakes) => {
                complaint(&mistakes);
                return ExitCode::from(super::run::USAGE);
            }
        };
        let findings = examine(&config);
        let lines: Vec<_> = findings
            .iter()
            .map(|Finding { good, text }| {
                format!("{} {text}\n", if *good { "ok  " } else { "FAIL" })
            })
            .collect();
        let told = data(&lines.concat());
        if told.is_ok() && findings.iter().all(|finding| finding.good) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn examine(config: &Config) -> Vec<Finding> {
    let finding = |name: &str, result: Result<String, String>| Finding {
        good: result.is_ok(),
        text: match result {
            Ok(detail) | Err(detail) => format!("{name}: {detail}"),
        },
    };
    let mut findings = vec![
        finding("kernel", kernel_release()),
        finding(
            "capabilities",
            privilege::require()
                .map(|()| "all there".to_owned())
                .map_err(|error| chain(&error)),
        ),
        finding(
            "cgroup v2",
            Hierarchy::find()
                .and_then(|hierarchy| hierarchy.root(config.host.cgroup_root.as_deref()))
                .map(|root| format!("attaches at `{}`", root.cgroup.path().display()))
                .map_err(|error| chain(&error)),
        ),
    ];
    findings.extend(programs());
    findings
}

fn kernel_release() -> Result<String, String> {
    nix::sys::utsname::uname()
        .map(|system| system.release().to_string_lossy().into_owned())
        .map_err(|errno| errno.to_string())
}

/// Loads each program; the slice they are told of does not exist.
fn programs() -> Vec<Finding> {
    let opened = open_object(u64::MAX, 1, None)
        .map_err(|error| chain(&error))
        .and_then(|ebpf| {
            Btf::from_sys_fs()
                .map(|btf| (ebpf, btf))
                .map_err(|error| chain(&error))
        });
    let (mut ebpf, btf) = match opened {
        Ok(opened) => opened,
        Err(text) => {
            return vec![Finding {
                good: false,
                text: format!("object: {text}"),
            }];
        }
    };
    let mut findings = vec![Finding {
        good: true,
        text: format!("object: {}", object::sha256()),
    }];
    findings.extend(HOOKS.map(|hook| match load_program(&mut ebpf, hook, &btf) {
        Ok(program) => {
            let count = program
                .info()
                .ok()
                .and_then(|info| info.verified_instruction_count());
            let count = count.map_or_else(
                || "the kernel does not say how many".to_owned(),
                |count| count.to_string(),
            );
            let text = format!("{}: {count} instructions verified", hook.name);
            Finding { good: true, text }
        }
        Err(error) => Finding {
            good: false,
            text: format!("{}: {}", hook.name, chain(&error)),
        },
    }));
    findings
}
