//! What a case is: a technique, a small hostile program, and how its success would show.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use nix::errno::Errno;

/// First port that belongs to a case; the case's number is added.
const PORTS: u16 = 20_000;

/// One way around enforcement.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Unique, stable, usable as a file name.
    pub id: &'static str,
    /// Entries of the catalogue of techniques it belongs to.
    pub catalogue: &'static [&'static str],
    /// The technique in one sentence.
    pub technique: &'static str,
    /// How its success shows.
    pub proof: Proof,
    /// What stops it where the kernel's programs write no record.
    pub unrecorded: &'static [Unrecorded],
    /// Whether the kernel may send something of it seconds later.
    pub lingers: bool,
    /// The hostile program.
    pub attack: Attack,
}

/// A hostile program: real system calls, one after the other; the first that fails ends it.
pub type Attack = fn(&Targets) -> Result<(), Refused>;

/// How the success of a case shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// A frame reaches a machine that it must not reach.
    Frame,
    /// The program ends without an error: it has got what it must not have.
    Done,
}

/// A layer of the report's coverage that stops a technique without a record. It must be active there,
/// and the program must have seen just this because of it.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded {
    /// Its name in the coverage.
    pub layer: &'static str,
    /// What the program sees.
    pub seen: Seen,
}

/// What a program sees of a layer.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// A system call that fails with this error.
    Error(&'static str, Errno),
    /// No error: what it did went elsewhere, for this reason.
    Nothing(&'static str),
}

/// A layer by which a system call fails.
pub const fn by(layer: &'static str, call: &'static str, errno: Errno) -> Unrecorded {
    Unrecorded {
        layer,
        seen: Seen::Error(call, errno),
    }
}

/// A layer by which what the program does goes elsewhere.
pub const fn elsewhere(layer: &'static str, why: &'static str) -> Unrecorded {
    Unrecorded {
        layer,
        seen: Seen::Nothing(why),
    }
}

impl Case {
    /// A case whose success shows on the wire.
    pub const fn new(
        id: &'static str,
        catalogue: &'static [&'static str],
        technique: &'static str,
        attack: Attack,
    ) -> Self {
        Self {
            id,
            catalogue,
            technique,
            proof: Proof::Frame,
            unrecorded: &[],
            lingers: false,
            attack,
        }
    }

    /// Success is what the program gets, not what it sends.
    pub const fn done(mut self) -> Self {
        self.proof = Proof::Done;
        self
    }

    /// The kernel repeats it by itself for a while.
    pub const fn lingering(mut self) -> Self {
        self.lingers = true;
        self
    }

    /// What stops it without a record, most specific first.
    pub const fn stopped_by(mut self, unrecorded: &'static [Unrecorded]) -> Self {
        self.unrecorded = unrecorded;
        self
    }
}

/// What a hostile program is told.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Number of the case in the catalogue.
    pub number: u16,
    /// Directory that jobs and accomplices can reach.
    pub directory: PathBuf,
}

impl Targets {
    /// The port that only this case uses.
    pub fn port(&self) -> u16 {
        port(self.number)
    }

    /// This case's port of an address.
    pub fn at(&self, address: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(address.into(), self.port())
    }

    /// Bytes by which a packet of this case is known.
    pub fn tag(&self) -> String {
        tag(self.number)
    }
}

/// The port of a case.
pub fn port(number: u16) -> u16 {
    PORTS + number
}

/// The case a port belongs to.
pub fn number_of(port: u16, cases: usize) -> Option<u16> {
    let number = port.checked_sub(PORTS)?;
    (usize::from(number) < cases).then_some(number)
}

/// The payload of a case. Also a DNS label.
pub fn tag(number: u16) -> String {
    format!("escape{number:04}tag")
}

/// The case a frame's bytes are marked with.
pub fn tagged(bytes: &[u8]) -> Option<u16> {
    const FRONT: &[u8] = b"escape";
    bytes.windows(13).find_map(|window| {
        let digits = window.strip_prefix(FRONT)?.strip_suffix(b"tag")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

/// A system call that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Its name.
    pub call: &'static str,
    /// What it said.
    pub errno: Errno,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.call, self.errno)
    }
}

/// For `map_err` of what nix calls.
pub fn at(call: &'static str) -> impl FnOnce(Errno) -> Refused {
    move |errno| Refused { call, errno }
}

/// For `map_err` of what std calls.
pub fn io_at(call: &'static str) -> impl FnOnce(std::io::Error) -> Refused {
    move |error| Refused {
        call,
        // An error of std's own has no number; it is none of the kernel's refusals.
        errno: error
            .raw_os_error()
            .map_or(Errno::UnknownErrno, Errno::from_raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_wherever_it_stands() {
        let frame = format!("..........{}...", tag(42));
        assert_eq!(tagged(frame.as_bytes()), Some(42));
        assert_eq!(tagged(b"escape42tag and more of it"), None);
        assert_eq!(tagged(b""), None);
    }

    #[test]
    fn a_port_names_its_case() {
        assert_eq!(number_of(port(7), 8), Some(7));
        assert_eq!(number_of(port(8), 8), None);
        assert_eq!(number_of(443, 8), None);
    }
}
