//! What a refused call was about, in words.

use cordon_ebpf::abi::record::Call;

use crate::events::ledger::Incident;

/// What an incident was about: the call's arguments in the words of its manual page.
#[must_use]
pub fn about(incident: &Incident) -> String {
    match incident {
        Incident::Left { path } => {
            format!("moved to cgroup {path}; judged as the job's all the same")
        }
        Incident::Unserved { why } => format!("no DNS in this network namespace: {why}"),
        Incident::Call {
            call,
            arguments: [first, second],
            ..
        } => match *call {
            Call::SET_OPTION => option(*first, *second),
            Call::SEND | Call::RECEIVE => {
                format!("connected socket made outside the job (family {first}, type {second})")
            }
            Call::ACCEPT => {
                format!("listener made outside the job (family {first}, type {second})")
            }
            Call::UNIX_CONNECT if *first == 0 => "abstract Unix socket of somebody else".to_owned(),
            Call::UNIX_CONNECT => {
                format!("Unix socket of somebody else (inode {first}, device {second})")
            }
            Call::RECEIVE_FILE => {
                format!("descriptor from outside the job (inode {first}, device {second})")
            }
            Call::SIGNAL => format!("signal {second} to process {first}"),
            Call::TRACE | Call::ADJUST => format!("process {first}"),
            Call::BPF => format!("bpf(2) command {first}"),
            Call::OPEN | Call::UNLINK => format!("{} file, inode {second}", file_system(*first)),
            Call::MOUNT => file_system(*first),
            _ => format!("{first} {second}"),
        },
    }
}

fn option(level: u64, option: u64) -> String {
    let name = match (level, option) {
        (0, 3) => "IP_HDRINCL",
        (0, 4) => "IP_OPTIONS",
        (0, 19) => "IP_TRANSPARENT",
        (0, 35) => "IP_ADD_MEMBERSHIP",
        (0, 39) => "IP_ADD_SOURCE_MEMBERSHIP",
        (0 | 41, 42) => "MCAST_JOIN_GROUP",
        (0 | 41, 46) => "MCAST_JOIN_SOURCE_GROUP",
        (41, 5) => "IPV6_2292RTHDR",
        (41, 6) => "IPV6_2292PKTOPTIONS",
        (41, 20) => "IPV6_ADD_MEMBERSHIP",
        (41, 27) => "IPV6_JOIN_ANYCAST",
        (41, 32) => "IPV6_FLOWLABEL_MGR",
        (41, 36) => "IPV6_HDRINCL",
        (41, 54) => "IPV6_HOPOPTS",
        (41, 55) => "IPV6_RTHDRDSTOPTS",
        (41, 57) => "IPV6_RTHDR",
        (41, 59) => "IPV6_DSTOPTS",
        (41, 75) => "IPV6_TRANSPARENT",
        _ => "",
    };
    let level = match level {
        0 => "IPPROTO_IP".to_owned(),
        41 => "IPPROTO_IPV6".to_owned(),
        other => format!("level {other}"),
    };
    if name.is_empty() {
        format!("{level} option {option}")
    } else {
        format!("{level} {name}")
    }
}

/// A file system by its magic number (`linux/magic.h`).
fn file_system(magic: u64) -> String {
    match magic {
        0x6367_7270 => "cgroup2".to_owned(),
        0x0027_e0eb => "cgroup".to_owned(),
        0xcafe_4a11 => "bpf".to_owned(),
        0 => "file system".to_owned(),
        other => format!("file system {other:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use cordon_ebpf::abi::verdict::{Reason, Verdict};

    use super::*;

    fn call(call: Call, arguments: [u64; 2]) -> String {
        about(&Incident::Call {
            call,
            arguments,
            reason: Reason::SOCKET_OPTION,
            verdict: Verdict::DENY,
        })
    }

    #[test]
    fn options_have_their_names() {
        assert_eq!(call(Call::SET_OPTION, [41, 57]), "IPPROTO_IPV6 IPV6_RTHDR");
        assert_eq!(call(Call::SET_OPTION, [0, 48]), "IPPROTO_IP option 48");
    }

    #[test]
    fn an_unknown_call_shows_its_numbers() {
        assert_eq!(call(Call(200), [1, 2]), "1 2");
    }

    #[test]
    fn every_call_says_something() {
        for known in Call::ALL {
            assert!(!call(*known, [7, 9]).is_empty());
        }
    }
}
