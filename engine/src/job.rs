//! The job a request is judged for, and what is asked elsewhere before it is passed on.

/// Label of everything that is made for a job; its value is the job's id.
pub const LABEL: &str = "dev.cordon.job";
/// What no label of a job's own may begin with.
pub const RESERVED: &str = "dev.cordon.";

/// What puts an engine's containers into cgroups: `docker info` calls it the cgroup driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Driver {
    /// The engine's runtime itself: a parent is a path.
    Cgroupfs,
    /// systemd, for it: a parent is the name of a slice.
    Systemd,
}

impl Driver {
    /// By the engine's word for it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "cgroupfs" => Some(Self::Cgroupfs),
            "systemd" => Some(Self::Systemd),
            _ => None,
        }
    }

    /// What the engine is told to put a job's containers into.
    #[must_use]
    pub fn parent(self, job: &str, cgroup: &str) -> String {
        match self {
            Self::Cgroupfs => cgroup.to_owned(),
            Self::Systemd => slice_of(job),
        }
    }
}

/// The slice that an engine with systemd's driver is told. None of this name exists: `cordon-runtime` puts the
/// container into the job's cgroup instead. If something else made one, systemd's rule for names would
/// have it below `cordon.slice`, where nothing is allowed.
#[must_use]
pub fn slice_of(job: &str) -> String {
    format!("cordon-{job}.slice")
}

/// A job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What its containers are put into, in the words of the engine's [`Driver`].
    pub cgroup_parent: String,
    /// The network its containers are in where they name none.
    pub network: String,
    /// Name of the runtime that binds containers to jobs.
    pub runtime: String,
    /// Directories of the host that its containers may mount.
    pub workspace: Vec<String>,
}

/// Something a request speaks of that must be the job's.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Need {
    /// A container, by name or id.
    Container(String),
    /// A network, by name or id.
    Network(String),
    /// A volume, by name. It may be missing: then it is made, with the job's label.
    Volume(String),
}

/// A request as it is passed on, if its needs are met.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Judged {
    /// The body.
    pub body: Vec<u8>,
    /// What must be the job's.
    pub needs: Vec<Need>,
    /// What was changed so that the client should know.
    pub warnings: Vec<String>,
    /// Ports to be had on the job's loopback: in the container, and there (0: any).
    pub ports: Vec<(u16, u16)>,
}
