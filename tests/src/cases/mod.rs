//! The stories, one subject a file.
//!
//! Each is told in a world of its own. One that proves a denial first shows, without cordon, that
//! the same thing does arrive.

use crate::runner::Story;

mod audit;
mod connect;
mod control;
mod dns;
mod doctor;
mod downgrade;
mod harness;
mod lease;
mod life;
mod loopback;
mod losses;
mod lsm;
mod membership;
mod outlive;
mod ranges;
mod refusals;
mod report;
mod sandbox;
mod sockets;
mod two_jobs;

/// All stories, in the order of telling: first the ground they stand on.
pub fn all() -> Vec<Story> {
    [
        harness::stories(),
        doctor::stories(),
        connect::stories(),
        dns::stories(),
        ranges::stories(),
        lease::stories(),
        sockets::stories(),
        membership::stories(),
        loopback::stories(),
        two_jobs::stories(),
        audit::stories(),
        losses::stories(),
        life::stories(),
        outlive::stories(),
        control::stories(),
        sandbox::stories(),
        lsm::stories(),
        refusals::stories(),
        downgrade::stories(),
        report::stories(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
