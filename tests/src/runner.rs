//! The test runner: picks stories, runs them, and refuses to be green because they were skipped.

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

/// How many stories may be skipped on an ordinary machine: those of BPF LSM, or the one about mounts that
/// it refuses where it is. In the guest, whose kernel has it, also the one about memory, which its cgroups
/// do not limit, one that needs more programs than it has, and the eleven that need a container engine. The
/// six of real runners need programs that a guest has not, nor a machine that reaches no registry. Each
/// prints its reason; any other number fails the run, so that "all skipped" cannot look green.
const EXPECTED_SKIPS: &[usize] = &[1, 7, 12, 18];
const EXPECTED_SKIPS_IN_GUEST: &[usize] = &[18, 20];

/// What a story ended with, when it did not fail.
#[derive(Debug)]
pub enum Told {
    /// All of it.
    Whole,
    /// It is not possible on this machine.
    NotHere(String),
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
    for skip in &skips {
        println!("skipped {skip}");
    }
    let expected = if guest {
        EXPECTED_SKIPS_IN_GUEST
    } else {
        EXPECTED_SKIPS
    };
    if whole && !expected.contains(&skips.len()) {
        println!(
            "{} stories were skipped, {expected:?} may be: failed",
            skips.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(conclusion.exit_code())
}

fn trial(story: Story, environment: Environment, skips: Arc<Mutex<Vec<String>>>) -> Trial {
    let Story { name, tell } = story;
    Trial::ignorable_test(name.clone(), move || match tell(&environment) {
        Ok(Told::Whole) => Ok(Completion::Completed),
        Ok(Told::NotHere(reason)) => {
            let skip = format!("{name}: {reason}");
            skips
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(skip);
            Ok(Completion::ignored_with(reason))
        }
        Err(error) => Err(Failed::from(format!("{error:#}"))),
    })
}
