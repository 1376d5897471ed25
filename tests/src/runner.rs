//! The test runner: picks stories, runs them, and refuses to be green because they were skipped.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::cases;
use crate::harness::environment::Environment;

/// Says that the machine is an emulated guest: slow, with a whole cgroup v2.
pub const GUEST: &str = "--vm";

/// Tells only [`SMOKE`].
const FEW: &str = "--smoke";

/// One story for each hook and for each promise: what an emulated guest can tell in minutes.
const SMOKE: [&str; 26] = [
    "doctor::every_program_passes_the_verifier",
    "connect::tcp_v4_reaches_what_is_allowed_and_nothing_else",
    "connect::tcp_v6_reaches_what_is_allowed_and_nothing_else",
    "connect::tcp_v4_mapped_reaches_what_is_allowed_and_nothing_else",
    "connect::udp_connect_v4_reaches_what_is_allowed_and_nothing_else",
    "connect::udp_sendto_v4_reaches_what_is_allowed_and_nothing_else",
    "connect::udp_sendmsg_v6_reaches_what_is_allowed_and_nothing_else",
    "dns::udp_v4_to_any_server_ends_at_the_jobs_listener",
    "dns::tcp_v6_to_any_server_ends_at_the_jobs_listener",
    "dns::a_denied_name_never_leaves_the_host",
    "lease::asking_again_renews_it",
    "sockets::raw_ping_and_other_kinds_are_refused",
    "sockets::a_routing_header_does_not_lead_to_the_attacker",
    "loopback::a_relay_outside_the_job_is_not_reached",
    "loopback::an_inbound_v4_connection_gets_nothing_out",
    "two_jobs::each_has_its_own_ruleset_and_outlives_the_other",
    "audit::what_would_be_denied_passes_and_is_marked",
    "life::a_process_that_outlives_its_parent_is_gone_when_run_returns",
    "sandbox::processes_outside_do_not_exist_for_root",
    "sandbox::init_is_out_of_a_root_jobs_reach",
    "sandbox::refused_calls_are_refused_by_every_way_in_for_root",
    "sandbox::an_engines_socket_is_hidden_also_behind_a_link",
    "membership::a_process_moved_out_of_its_cgroup_stays_the_jobs",
    "lsm::every_hook_is_a_layer_and_closes_its_blind_spot",
    "lsm::unix_sockets_of_others_are_refused_and_own_ones_work",
    "lsm::processes_outside_cannot_be_touched_by_root",
];

/// What a machine may lack for a story. Each skip prints its reason besides.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Lack {
    /// A kernel that takes LSM programs.
    BpfLsm,
    /// One that does not, and so lets jobs mount.
    FreeMounts,
    /// The controllers that limits are pinned with.
    Controllers,
    /// A memory controller on which the harness may set a limit itself.
    MemoryLimit,
    /// A container engine in `target/tools`.
    Engine,
    /// Runners of CI systems there, which come from registries.
    Runners,
    /// Prometheus and its tool there.
    Prometheus,
    /// Python.
    Python,
}

impl Lack {
    /// How many stories cannot be told then: all of them, or none. Any other number fails the run, so that
    /// "all skipped" cannot look green. A guest has one file system in its memory, with few programs; its kernel always
    /// takes LSM programs.
    const fn stories(self, guest: bool) -> usize {
        match (self, guest) {
            (Self::BpfLsm, false) => 15,
            (Self::Engine, _) => 28,
            (Self::Runners, _) => 7,
            (Self::Prometheus, _) => 2,
            (Self::FreeMounts, _) | (Self::MemoryLimit | Self::Python, true) => 1,
            (Self::BpfLsm, true)
            | (Self::Controllers, _)
            | (Self::MemoryLimit | Self::Python, false) => 0,
        }
    }
}

/// What a story ended with, when it did not fail.
#[derive(Debug)]
pub enum Told {
    /// All of it.
    Whole,
    /// It is not possible on this machine: what it lacks, and how that shows.
    NotHere(Lack, String),
}

type Tell = Box<dyn FnOnce(&Environment) -> Result<Told> + Send>;

/// A story: a sentence for a name, and what it does.
pub struct Story {
    /// `subject::sentence`
    pub name: String,
    /// Tells it.
    pub tell: Tell,
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Story").field(&self.name).finish()
    }
}

impl Story {
    /// A story that can be told anywhere.
    pub fn new(
        name: impl Into<String>,
        tell: impl FnOnce(&Environment) -> Result<()> + Send + 'static,
    ) -> Self {
        Self::conditional(name, |environment| tell(environment).map(|()| Told::Whole))
    }

    /// A story that says itself where it cannot be told.
    pub fn conditional(
        name: impl Into<String>,
        tell: impl FnOnce(&Environment) -> Result<Told> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            tell: Box::new(tell),
        }
    }
}

/// Runs the stories the command line names.
pub fn run() -> Result<ExitCode> {
    let mut words: Vec<_> = std::env::args_os().collect();
    let all = words.len();
    words.retain(|word| word != GUEST);
    let guest = words.len() < all;
    let few = words.iter().any(|word| word == FEW);
    words.retain(|word| word != FEW);
    let mut arguments = Arguments::from_iter(words);
    // Two processors, and the kernel's own work is serial: more threads only blur times.
    arguments.test_threads.get_or_insert(1);

    let environment = Environment::detect(guest)?;
    let skips = Arc::new(Mutex::new(Vec::new()));
    let mut stories = cases::all();
    if few {
        stories.retain(|story| SMOKE.contains(&story.name.as_str()));
        ensure!(
            stories.len() == SMOKE.len(),
            "a story of the short list has another name now"
        );
    }
    let trials = stories
        .into_iter()
        .map(|story| trial(story, environment.clone(), Arc::clone(&skips)))
        .collect();
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);

    let skips = std::mem::take(&mut *skips.lock().unwrap_or_else(PoisonError::into_inner));
    let mut lacks = BTreeMap::<Lack, usize>::new();
    for (lack, skip) in &skips {
        println!("skipped {skip}");
        *lacks.entry(*lack).or_default() += 1;
    }
    for (lack, skipped) in lacks {
        let expected = lack.stories(guest);
        if whole && skipped != expected {
            println!("{skipped} stories were skipped for {lack:?}, {expected} may be: failed");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(conclusion.exit_code())
}

fn trial(story: Story, environment: Environment, skips: Arc<Mutex<Vec<(Lack, String)>>>) -> Trial {
    let Story { name, tell } = story;
    Trial::ignorable_test(name.clone(), move || match tell(&environment) {
        Ok(Told::Whole) => Ok(Completion::Completed),
        Ok(Told::NotHere(lack, reason)) => {
            let skip = format!("{name}: {reason}");
            skips
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((lack, skip));
            Ok(Completion::ignored_with(reason))
        }
        Err(error) => Err(Failed::from(format!("{error:#}"))),
    })
}
