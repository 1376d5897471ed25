//! The escape suite: every known way around enforcement is tried, and fails.
//!
//! All cases run one after the other in one job: freely as a user and as root (the control), then
//! under cordon as a user and as root. Packet sockets on every other machine of the world count each
//! frame. A case is *stopped* if nothing arrived, the control shows that it could have, and what
//! stopped it is known from the report. A new case is one entry of a list in [`cases`].
//!
//! **Not here**: what the techniques are ([`cases`]), how their frames are told apart ([`wire`]),
//! what follows from it ([`judge`]), and how it is shown ([`table`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Job};
use crate::harness::namespace::Namespace;
use crate::harness::network::{EVIL_MAC, GOOD_V4, GOOD_V6, OTHER_V4, ip};
use crate::harness::rules::{cidr, host};
use crate::harness::world::World;
use crate::supervisor;

pub mod accomplice;
pub mod case;
pub mod cases;
pub mod hostile;
mod judge;
mod packet;
mod sys;
mod table;
mod uring;
mod wire;

use accomplice::Role;
use case::Case;
use hostile::Attempt;
use judge::{Evidence, Observed, Privilege, Row};
use wire::{Machine, Tap, Window, attribute};

/// Arguments of `escape`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only cases whose id holds this
    filter: Option<String>,
    /// Only name the cases
    #[arg(long)]
    list: bool,
    /// Run nothing: read results from these files, and write the page of the documentation
    #[arg(long, value_name = "FILE", num_args = 1..)]
    render: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE", requires = "render")]
    page: Option<PathBuf>,
}

/// Seconds all cases may take in one run, on a machine of today.
const PATIENCE: u32 = 150;

/// How long the kernel repeats a report about a multicast group.
const LINGER: Duration = Duration::from_millis(2500);

/// The port of the allowed host that the profile of the suite names.
pub const ALLOWED_PORT: u16 = 8080;

/// The name of the suite's profile whose lease runs out while a case waits, and its TTL in seconds.
pub const SHORT_NAME: &str = "short.test";
const SHORT_TTL: u32 = 1;

/// A case with its number in the catalogue.
type Numbered<'c> = (u16, &'c Case);

/// Runs the suite, or one of its lesser tasks. An emulated guest is slow.
pub fn run(args: &Args, emulated: bool) -> Result<ExitCode> {
    let cases = cases::all();
    if args.list {
        for case in &cases {
            println!("{}: {}", case.id, case.technique);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.render.is_empty() {
        return table::render(&cases, &args.render, args.page.as_deref());
    }
    supervisor::supervised(|| suite(args, emulated, &cases))
}

/// Ids of all cases.
#[cfg(test)]
pub fn case_ids() -> Vec<&'static str> {
    cases::all().iter().map(|case| case.id).collect()
}

fn suite(args: &Args, emulated: bool, cases: &[Case]) -> Result<ExitCode> {
    let filter = args.filter.as_deref().unwrap_or_default();
    let chosen: Vec<Numbered<'_>> = (0_u16..)
        .zip(cases)
        .filter(|(_, case)| case.id.contains(filter))
        .collect();
    ensure!(!chosen.is_empty(), "no case has `{filter}` in its id");
    let environment = Environment::detect(emulated)?;
    let kernel = nix::sys::utsname::uname()?;
    let kernel = kernel.release().to_string_lossy().into_owned();
    let suite = Suite::new(&environment, cases, chosen)?;

    let mut rows = Vec::new();
    for privilege in Privilege::ALL {
        eprintln!(
            "{} cases as {}, freely",
            suite.chosen.len(),
            privilege.name()
        );
        let control = suite.control(privilege)?;
        eprintln!(
            "{} cases as {}, under cordon",
            suite.chosen.len(),
            privilege.name()
        );
        let (enforced, evidence) = suite.enforced(privilege)?;
        for &(number, case) in &suite.chosen {
            let of = |run: &BTreeMap<u16, Observed>| run.get(&number).cloned().unwrap_or_default();
            rows.push(Row::new(
                &kernel,
                privilege,
                (number, case),
                &of(&control),
                &of(&enforced),
                &evidence,
            ));
        }
    }
    table::print(&rows)
}

/// The world of the suite.
struct Suite<'c> {
    world: World,
    taps: [Tap; 3],
    profile: PathBuf,
    cases: &'c [Case],
    chosen: Vec<Numbered<'c>>,
}

impl<'c> Suite<'c> {
    fn new(
        environment: &Environment,
        cases: &'c [Case],
        chosen: Vec<Numbered<'c>>,
    ) -> Result<Self> {
        let world = World::new(environment)?;
        world.zone.add(SHORT_NAME, OTHER_V4, SHORT_TTL);
        for &(number, _) in &chosen {
            world.listen_everywhere_evil(case::port(number))?;
        }
        let links = world.directory().join("cases");
        std::fs::create_dir(&links)?;
        for (_, case) in &chosen {
            symlink(&environment.own, hostile::link(world.directory(), case.id))?;
        }
        let profile = world.profile("escape", &rules())?;
        std::fs::write(
            world.directory().join("other-cgroup"),
            world.cgroup().host().as_os_str().as_encoded_bytes(),
        )?;
        more_addresses(&world)?;
        for (role, machine) in [
            (Role::Neighbour, &world.network.job),
            (Role::Prey, &world.network.job),
            (Role::Attacker, &world.network.evil),
        ] {
            start_accomplice(&world, role, machine)?;
        }
        let taps = [
            Tap::new(Machine::Evil, &world.network.evil)?,
            Tap::new(Machine::Good, &world.network.good)?,
            Tap::new(Machine::Dns, &world.network.dns)?,
        ];
        Ok(Self {
            world,
            taps,
            profile,
            cases,
            chosen,
        })
    }

    /// All cases without cordon.
    fn control(&self, privilege: Privilege) -> Result<BTreeMap<u16, Observed>> {
        let user = (privilege == Privilege::User).then_some("nobody");
        let finished = self.job(self.world.job(), user)?;
        self.observe(&finished)
            .with_context(|| format!("the control as {}", privilege.name()))
    }

    /// All cases under cordon.
    fn enforced(&self, privilege: Privilege) -> Result<(BTreeMap<u16, Observed>, Evidence)> {
        let job = self
            .world
            .job()
            .profile(&self.profile)
            .under_cordon(&["--quiet"]);
        let job = match privilege {
            Privilege::User => job.under_cordon(&["--user", "nobody"]),
            Privilege::Root => job,
        };
        let finished = self.job(job, None)?;
        let observed = self
            .observe(&finished)
            .with_context(|| format!("under cordon as {}", privilege.name()))?;
        Ok((observed, Evidence::of(&finished.report()?, self.cases)))
    }

    fn job(&self, job: Job<'_>, user: Option<&str>) -> Result<Finished> {
        let environment = &self.world.environment;
        let mut words: Vec<OsString> = vec![
            environment.own.clone().into(),
            "escape-job".into(),
            "--slowness".into(),
            environment.slowness.to_string().into(),
            "--directory".into(),
            self.world.directory().into(),
        ];
        if let Some(user) = user {
            words.extend(["--user".into(), user.into()]);
        }
        words.extend(self.chosen.iter().map(|(_, case)| case.id.into()));
        job.patience(PATIENCE)
            .command(words)
            .run()?
            .expect_status(0)
    }

    /// Brings together what programs told and what the wire saw.
    fn observe(&self, finished: &Finished) -> Result<BTreeMap<u16, Observed>> {
        let settle = hostile::settle(self.world.environment.slowness);
        sleep(settle * 4);
        if self.chosen.iter().any(|(_, case)| case.lingers) {
            sleep(LINGER);
        }
        let mut observed: BTreeMap<u16, Observed> = BTreeMap::new();
        let mut windows = Vec::new();
        for line in finished.stdout.lines() {
            let attempt: Attempt =
                serde_json::from_str(line).with_context(|| format!("attempt `{line}`"))?;
            let found = self.chosen.iter().find(|(_, case)| case.id == attempt.id);
            let &(number, _) = found.context("an attempt of no case")?;
            windows.push(Window {
                number,
                start: attempt.start,
                end: attempt.end + u64::try_from(settle.as_nanos())?,
            });
            observed.entry(number).or_default().attempt = Some(attempt);
        }
        let mut frames = Vec::new();
        for tap in &self.taps {
            frames.extend(tap.take()?);
        }
        let good: [IpAddr; 3] = [GOOD_V4.into(), GOOD_V6.into(), OTHER_V4.into()];
        let attributed = attribute(frames, &windows, self.cases.len(), (&good, ALLOWED_PORT));
        ensure!(
            attributed.unknown.is_empty(),
            "unattributed frames: {:#?}",
            attributed
                .unknown
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        );
        for (number, frames) in attributed.of {
            observed.entry(number).or_default().frames = frames.len();
        }
        Ok(observed)
    }
}

/// Starts one; it ends with the world's cgroups.
fn start_accomplice(world: &World, role: Role, machine: &Namespace) -> Result<()> {
    let name = role.to_possible_value().context("a role without a name")?;
    let words: Vec<OsString> = vec![
        world.environment.own.clone().into(),
        "escape-accomplice".into(),
        name.get_name().into(),
        "--directory".into(),
        world.directory().into(),
        "--cgroup".into(),
        world.cgroup().host().into(),
    ];
    let mut running = world.job().on(machine).command(words).start()?;
    running.until(&accomplice::ready(world.directory(), role))
}

/// The attacker's link-local address, known to both ends.
fn more_addresses(world: &World) -> Result<()> {
    let address = cases::place::EVIL_LINK_LOCAL;
    let mac = EVIL_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let far = format!("address add {address}/64 dev job nodad\n");
    let near = format!(
        "address add fe80::1/64 dev evil nodad\n\
         neighbour add {address} lladdr {mac} dev evil nud permanent\n"
    );
    let back = "neighbour add fe80::1 lladdr 02:00:00:00:01:01 dev job nud permanent\n";
    world.network.evil.run(|| ip(&format!("{far}{back}")))?;
    world.network.job.run(|| ip(&near))
}

/// What the job is allowed: the good host, and a name with a short lease.
fn rules() -> String {
    let port = ALLOWED_PORT.to_string();
    let mut rules = host(SHORT_NAME, &port);
    for range in [format!("{GOOD_V4}/32"), format!("{GOOD_V6}/128")] {
        for protocol in ["tcp", "udp"] {
            rules += &cidr(&range, &port, protocol);
        }
    }
    rules
}
