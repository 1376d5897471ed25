//! Who is at the other end of the control socket, and what they may do. Pure.
//!
//! The kernel says which process connected and in which cgroup it is; nothing a caller sends changes who it is.
//! From inside a job there is its own status, the announcement of its end, and giving up a part of what it is
//! allowed, and nothing else.

#![forbid(unsafe_code)]

use std::fmt;

/// What the kernel says of a caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// User id.
    pub uid: u32,
    /// Its cgroup v2 path.
    pub cgroup: String,
    /// The job it belongs to by descent, by name, if that is one.
    pub member: Option<String>,
}

/// Who a caller is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Caller {
    /// Root, outside of every job and runner.
    Owner,
    /// Another user, outside of every job and runner.
    Observer {
        /// Who.
        uid: u32,
    },
    /// Something in the unit of a runner that is in no job.
    Runner {
        /// The unit.
        unit: String,
    },
    /// Something in a job.
    Job {
        /// The job.
        id: String,
    },
    /// Something in the slice that is nobody's.
    Nobody,
}

/// What a caller wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action<'a> {
    /// To know what the socket offers.
    Describe,
    /// To know how the daemon is, and which jobs there are.
    List,
    /// To know who it is itself.
    Own,
    /// To know how a job is, and what happens in it.
    Watch(Target<'a>),
    /// To start a job.
    Start,
    /// To start a command as a job, under a policy of its own.
    Command,
    /// To say how the command of a job ended.
    Ended,
    /// To say that a job is over.
    Finish(Target<'a>),
    /// To say that its own job is about to be over.
    Announce(Target<'a>),
    /// To be moved into a job.
    Attach(Target<'a>),
    /// To take from what a job is allowed.
    Narrow(Target<'a>),
    /// To end a job with all its processes.
    End,
    /// To have the settings read again.
    Reload,
}

/// A job somebody wants something of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target<'a> {
    /// Its name.
    pub id: &'a str,
    /// The unit whose job it is, if it is a runner's.
    pub unit: Option<&'a str>,
}

/// A caller may not do that.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{caller} may not {action}")]
pub struct Denied {
    caller: Caller,
    action: &'static str,
}

/// What a job's cgroup is called.
const JOB: &str = "job-";

impl Caller {
    /// Who somebody is. `slice` is the path of the slice as in [`Facts::cgroup`].
    #[must_use]
    pub fn of(facts: &Facts, slice: &str) -> Self {
        // Descent first: a process that got out of its cgroup, or into another one, is its job's still.
        if let Some(id) = &facts.member {
            return Self::inside(id);
        }
        let below = facts.cgroup.strip_prefix(slice);
        match below.map(|rest| rest.strip_prefix('/').ok_or(rest)) {
            Some(Ok(path)) => {
                let first = path.split('/').next().unwrap_or_default();
                Self::inside(first)
            }
            // The slice itself, which no job and no runner is in.
            Some(Err("")) => Self::Nobody,
            // Another cgroup whose name begins alike, or one elsewhere.
            Some(Err(_)) | None if facts.uid == 0 => Self::Owner,
            Some(Err(_)) | None => Self::Observer { uid: facts.uid },
        }
    }

    fn inside(name: &str) -> Self {
        match name.strip_prefix(JOB) {
            Some(id) if !id.is_empty() => Self::Job { id: id.to_owned() },
            _ if name.is_empty() => Self::Nobody,
            _ => Self::Runner {
                unit: name.to_owned(),
            },
        }
    }

    /// Whether they may do it.
    ///
    /// # Errors
    /// They may not.
    pub fn may(&self, action: &Action<'_>) -> Result<(), Denied> {
        let runs = |unit: &str, target: &Target<'_>| target.unit == Some(unit);
        let allowed = match (self, action) {
            // Who is outside has nothing to announce: they say that it is over.
            (Self::Owner, action) => !matches!(action, Action::Announce(_)),
            (_, Action::Describe | Action::Own)
            | (Self::Observer { .. }, Action::List | Action::Watch(_))
            | (Self::Runner { .. }, Action::Start) => true,
            (
                Self::Runner { unit },
                Action::Watch(target) | Action::Finish(target) | Action::Attach(target),
            ) => runs(unit, target),
            (
                Self::Job { id },
                Action::Watch(target) | Action::Announce(target) | Action::Narrow(target),
            ) => target.id == id,
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        Err(Denied {
            caller: self.clone(),
            action: action.words(),
        })
    }
}

impl Action<'_> {
    const fn words(&self) -> &'static str {
        match self {
            Self::Describe => "ask what there is",
            Self::List => "list jobs",
            Self::Own => "ask who it is",
            Self::Watch(_) => "look at this job",
            Self::Start => "start jobs",
            Self::Command => "start commands as jobs",
            Self::Ended => "say how this job ended",
            Self::Finish(_) => "end this job",
            Self::Announce(_) => "announce the end of this job",
            Self::Attach(_) => "put processes into this job",
            Self::Narrow(_) => "narrow the policy of this job",
            Self::End => "kill jobs",
            Self::Reload => "have the settings read again",
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("root of the host"),
            Self::Observer { uid } => write!(f, "user {uid}"),
            Self::Runner { unit } => write!(f, "runner `{unit}`"),
            Self::Job { id } => write!(f, "job {id}"),
            Self::Nobody => f.write_str("a process directly in the slice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLICE: &str = "/cordon.slice";

    fn caller(uid: u32, cgroup: &str, member: Option<&str>) -> Caller {
        let facts = Facts {
            uid,
            cgroup: cgroup.to_owned(),
            member: member.map(str::to_owned),
        };
        Caller::of(&facts, SLICE)
    }

    fn job(id: &str) -> Caller {
        Caller::Job { id: id.to_owned() }
    }

    #[test]
    fn who_somebody_is_depends_on_where_they_are_and_not_on_who_they_run_as() {
        let runner = Caller::Runner {
            unit: "r.service".to_owned(),
        };
        for (uid, cgroup, expected) in [
            (0, "/", Caller::Owner),
            (0, "/system.slice/x.service", Caller::Owner),
            (7, "/user.slice", Caller::Observer { uid: 7 }),
            (0, "/cordon.slice", Caller::Nobody),
            (0, "/cordon.slice/", Caller::Nobody),
            (0, "/cordon.slice/r.service", runner.clone()),
            (7, "/cordon.slice/r.service/inner", runner),
            (0, "/cordon.slice/job-1a", job("1a")),
            (0, "/cordon.slice/job-1a/deep/er", job("1a")),
            (7, "/cordon.slice.evil/job-1a", Caller::Observer { uid: 7 }),
            (
                0,
                "/cordon.slice/../job-1a",
                Caller::Runner {
                    unit: "..".to_owned(),
                },
            ),
        ] {
            assert_eq!(caller(uid, cgroup, None), expected, "{cgroup}");
        }
    }

    #[test]
    fn who_got_out_of_a_job_is_in_it_still() {
        for cgroup in ["/", "/cordon.slice/r.service", "/cordon.slice/job-other"] {
            assert_eq!(caller(0, cgroup, Some("job-1a")), job("1a"));
        }
    }

    fn any_action(own: bool) -> impl Strategy<Value = (u8, bool)> {
        (0u8..13, Just(own))
    }

    fn action(number: u8, target: Target<'_>) -> Action<'_> {
        match number {
            0 => Action::Describe,
            1 => Action::List,
            2 => Action::Own,
            3 => Action::Watch(target),
            4 => Action::Start,
            5 => Action::Finish(target),
            6 => Action::Announce(target),
            7 => Action::Attach(target),
            8 => Action::End,
            9 => Action::Narrow(target),
            10 => Action::Command,
            11 => Action::Ended,
            _ => Action::Reload,
        }
    }

    proptest! {
        /// From inside a job: its own status, that it is about to end, and to have less.
        #[test]
        fn a_job_may_do_five_things((number, _) in any_action(true), id in "[0-9a-f]{4}", other in "[0-9a-f]{4}") {
            let inside = job(&id);
            let target = Target { id: &other, unit: None };
            let allowed = inside.may(&action(number, target)).is_ok();
            let harmless = matches!(number, 0 | 2);
            let about_itself = matches!(number, 3 | 6 | 9) && id == other;
            prop_assert_eq!(allowed, harmless || about_itself);
        }

        /// A runner starts jobs, and has its say in those it started.
        #[test]
        fn a_runner_has_no_say_in_jobs_of_others((number, _) in any_action(true), unit in "[ab]", of in "[ab]") {
            let runner = Caller::Runner { unit: unit.clone() };
            let target = Target { id: "1a", unit: Some(&of) };
            let allowed = runner.may(&action(number, target)).is_ok();
            let harmless = matches!(number, 0 | 2 | 4);
            let its_own = matches!(number, 3 | 5 | 7) && unit == of;
            prop_assert_eq!(allowed, harmless || its_own);
            let nobodys = Target { id: "1a", unit: None };
            prop_assert_eq!(runner.may(&action(number, nobodys)).is_ok(), harmless);
        }

        #[test]
        fn nobody_may_do_nothing((number, _) in any_action(true)) {
            let target = Target { id: "1a", unit: Some("r.service") };
            prop_assert_eq!(Caller::Nobody.may(&action(number, target)).is_ok(), matches!(number, 0 | 2));
        }
    }
}
