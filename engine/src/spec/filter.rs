//! The engine's system call filter, with fewer kinds of sockets.
//!
//! Packets of the families inet and inet6 are judged by the kernel's hooks; other families have none, and
//! some lead off the machine. Where the kernel has BPF LSM they are refused there as well.

use serde_json::{Value, json};

use crate::fields::Object;

/// unix, inet, inet6, netlink.
const FAMILIES: [u64; 4] = [1, 2, 10, 16];
/// Their second argument's kinds are not looked at: raw sockets need a capability that no container of a
/// job has.
const BY_FAMILY: [&str; 2] = ["socket", "socketpair"];
/// Calls whose arguments a filter cannot see, and calls that act past one.
const REFUSED: [&str; 11] = [
    "bpf",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "open_by_handle_at",
    "perf_event_open",
    "pidfd_getfd",
    "socketcall",
    "userfaultfd",
];

/// Takes the calls out, and gives back sockets of a few families.
pub(super) fn tighten(filter: &mut Object) -> Result<(), String> {
    let default = filter
        .get("defaultAction")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !matches!(
        default,
        "SCMP_ACT_ERRNO" | "SCMP_ACT_KILL" | "SCMP_ACT_KILL_PROCESS"
    ) {
        return Err("its system call filter allows what it does not name".to_owned());
    }
    let calls = filter.get_mut("syscalls").and_then(Value::as_array_mut);
    let calls = calls.ok_or("its system call filter allows nothing")?;
    for rule in calls.iter_mut() {
        let names = rule.get_mut("names").and_then(Value::as_array_mut);
        let names = names.ok_or("its system call filter has a rule without calls")?;
        names.retain(|name| {
            name.as_str()
                .is_some_and(|name| !BY_FAMILY.contains(&name) && !REFUSED.contains(&name))
        });
    }
    calls.retain(|rule| {
        rule.get("names")
            .and_then(Value::as_array)
            .is_some_and(|names| !names.is_empty())
    });
    for family in FAMILIES {
        calls.push(json!({
            "names": BY_FAMILY,
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}],
        }));
    }
    Ok(())
}
