//! The job a request is judged for, and what is asked elsewhere before it is passed on.

/// Label of everything that is made for a job; its value is the job's id.
pub const LABEL: &str = "dev.cordon.job";
/// What no label of a job's own may begin with.
pub const RESERVED: &str = "dev.cordon.";

/// A job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its cgroup, as a path from the root of every hierarchy.
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
