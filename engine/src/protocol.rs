//! What the mediator asks of cordon, and what cordon tells it: one JSON message a packet, over a pair of
//! sockets. The mediator asks; cordon answers each question once, in order.
//!
//! The mediator reads what hostile clients write and has no rights of its own: what needs some is done
//! by cordon, which checks each question against what this job may have.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

/// Largest message.
pub const MESSAGE_BYTES: usize = 64 << 10;

/// What the mediator is for; the first packet, from cordon.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setup {
    /// Id of the job.
    pub job: String,
    /// Its cgroup, as a path from the root of every hierarchy.
    pub cgroup_parent: String,
    /// Name of the runtime that the engine must have.
    pub runtime: String,
    /// Directories that containers may mount.
    pub workspace: Vec<String>,
    /// Port to listen on; 0 for any.
    pub port: u16,
    /// The job had a mediator before, which was killed: what the engine has of the job is the job's still.
    pub again: bool,
    /// What is left of the job is removed, and nothing served.
    pub only_clean: bool,
}

/// A question.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// A connection to the engine, which comes with the answer.
    Connect,
    /// The engine was looked at: requests can be judged from now on.
    Ready {
        /// Where the engine keeps volumes and its files of containers.
        engine_root: String,
        /// What it is, for the report.
        engine: String,
    },
    /// It cannot be used.
    Unfit {
        /// Why, and what to change.
        why: String,
    },
    /// Containers of the job may reach each other in this network from now on.
    AllowNetwork(Subnet),
    /// This network goes away.
    ForgetNetwork(Subnet),
    /// A listening socket on the job's loopback, which comes with the answer.
    Listen {
        /// Its port; 0 for any.
        port: u16,
    },
    /// A connection to a container, made inside its own network, which comes with the answer.
    Dial {
        /// The container's first process.
        process: u32,
        /// Address and port.
        to: SocketAddrV4,
    },
    /// Whether the job's rules allow this host.
    MayReach {
        /// Its name.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Something for the report.
    Note(Note),
}

/// Addresses of one of the job's networks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subnet {
    /// The first.
    pub address: Ipv4Addr,
    /// Bits that all of them share.
    pub bits: u8,
    /// The host's own end, which is not the job's.
    pub gateway: Ipv4Addr,
}

/// What became of a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Note {
    /// It was refused.
    Refused {
        /// Method and path.
        request: String,
        /// Why.
        why: String,
    },
    /// A container was started.
    Started {
        /// Its image.
        image: String,
    },
    /// An image was built.
    Built {
        /// Its id, shortened.
        image: String,
    },
    /// The engine fetched or sent an image.
    Registry {
        /// The registry's host.
        host: String,
    },
    /// Something of the job could not be removed.
    Left {
        /// What, and why.
        what: String,
    },
}

/// An answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// It is done. What was asked for comes along.
    Done,
    /// The port of a listening socket, which comes along.
    Port(u16),
    /// No.
    Refused(String),
}
