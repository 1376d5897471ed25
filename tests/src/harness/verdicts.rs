//! What stories demand of outcomes, worlds and reports, with failures that tell the story.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon::report::{Denial, NameAsked, Report};

use crate::client::step::Outcome;
use crate::harness::world::World;

/// A refusal is immediate: far below any timeout, and generous to a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How long a packet may be on its way between two namespaces.
const SETTLE: Duration = Duration::from_millis(20);

/// The step worked.
pub fn allowed(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.ok, "should be allowed, was not: {outcome:?}");
    Ok(())
}

impl World {
    /// The step was refused with `EPERM`, at once.
    pub fn refused(&self, outcome: &Outcome) -> Result<()> {
        ensure!(
            outcome.is_refused(),
            "should be refused with EPERM: {outcome:?}"
        );
        let limit = AT_ONCE * self.environment.slowness;
        ensure!(
            u128::from(outcome.ms) < limit.as_millis(),
            "was refused, but not at once: {outcome:?}"
        );
        Ok(())
    }

    /// Nothing reached the attacker.
    pub fn nothing_leaked(&self) -> Result<()> {
        sleep(SETTLE * self.environment.slowness);
        let frames = self.leaked()?;
        let list: Vec<String> = frames.iter().map(ToString::to_string).collect();
        ensure!(frames.is_empty(), "frames reached the attacker: {list:#?}");
        Ok(())
    }

    /// Something did reach the attacker: the control of a story can see a leak.
    ///
    /// This ends the world: the last packets of its connections, which come when the attacker's
    /// machine gets to close them, must not count against what is tried under cordon.
    pub fn something_leaked(self) -> Result<()> {
        sleep(SETTLE * self.environment.slowness);
        ensure!(
            !self.leaked()?.is_empty(),
            "without cordon it should have reached the attacker: this story proves nothing"
        );
        Ok(())
    }

    /// No process, cgroup or pin is left of any job.
    pub fn nothing_left(&self) -> Result<()> {
        // A cgroup goes when the kernel has reaped its last process.
        let deadline = Instant::now() + self.environment.seconds(2);
        loop {
            let processes = self.cgroup().processes();
            let slices = self.cgroup().slices();
            let pins = self.pins()?;
            if processes.is_empty() && slices.is_empty() && pins.is_empty() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "left behind: processes {processes:?}, cgroups {slices:?}, pins {pins:?}"
            );
            sleep(Duration::from_millis(10));
        }
    }
}

/// The report's denial of a destination.
pub fn denial_of<'r>(report: &'r Report, to: SocketAddr, protocol: &str) -> Result<&'r Denial> {
    let found = report.denials.iter().find(|denial| {
        denial.destination.address == to.ip()
            && denial.destination.port == to.port()
            && denial.destination.protocol == protocol
    });
    found.with_context(|| {
        format!(
            "the report has no denial of {protocol} {to}: {:#?}",
            report.denials
        )
    })
}

/// The report's line about a name.
pub fn name_asked<'r>(report: &'r Report, name: &str) -> Result<&'r NameAsked> {
    let found = report.dns.iter().find(|asked| asked.name == name);
    found.with_context(|| format!("the report does not have {name}: {:#?}", report.dns))
}
