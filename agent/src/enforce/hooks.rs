//! Every program, its hook, and what of the kernel's structures it needs. Plain data.

#![forbid(unsafe_code)]

/// How a program gets to its hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attach {
    /// To the root cgroup, as this `BPF_CGROUP_*` type.
    Cgroup(u32),
    /// To a kernel tracepoint.
    Tracepoint,
    /// To the security hook of this name. All of these or none.
    Lsm(&'static str),
}

/// One program: its name in the object, its hook, what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program and of its hook.
    pub name: &'static str,
    /// How it is attached.
    pub attach: Attach,
    /// What it does, for reports.
    pub detail: &'static str,
}

const fn cgroup(name: &'static str, attach_type: u32, detail: &'static str) -> Hook {
    Hook {
        name,
        attach: Attach::Cgroup(attach_type),
        detail,
    }
}

const fn tracepoint(name: &'static str, detail: &'static str) -> Hook {
    Hook {
        name,
        attach: Attach::Tracepoint,
        detail,
    }
}

const fn lsm(name: &'static str, hook: &'static str, detail: &'static str) -> Hook {
    Hook {
        name,
        attach: Attach::Lsm(hook),
        detail,
    }
}

/// Only for kernels whose `splice(2)` goes around the hooks of sockets; where the kernel has a `sendpage` of its own.
pub const FOR_SPLICE: &str = "lsm_file_permission";

/// Every program. The packet hooks come first: from the first moment on, nothing passes the wire
/// that has no verdict.
pub const HOOKS: [Hook; 45] = [
    // Before the next one, which lets nothing pass that should have been read and was not.
    cgroup("names", 1, "reads the names that connections show"),
    cgroup("egress", 1, "every IP packet a job sends"),
    cgroup("ingress", 0, "every IP packet a job is sent"),
    cgroup(
        "sock_create",
        2,
        "refuses raw, ping and other sockets than TCP and UDP",
    ),
    cgroup(
        "setsockopt",
        22,
        "refuses options that change where packets go, and multicast memberships",
    ),
    cgroup("post_bind4", 12, "marks IPv4 sockets a job binds"),
    cgroup("post_bind6", 13, "marks IPv6 sockets a job binds"),
    cgroup(
        "connect4",
        10,
        "connect(2) to IPv4; sends DNS to the job's listener",
    ),
    cgroup(
        "connect6",
        11,
        "connect(2) to IPv6 and IPv4-mapped; sends DNS to the job's listener",
    ),
    cgroup(
        "sendmsg4",
        14,
        "sendto(2) and kin to IPv4; sends DNS to the job's listener",
    ),
    cgroup(
        "sendmsg6",
        15,
        "sendto(2) and kin to IPv6; sends DNS to the job's listener",
    ),
    cgroup(
        "recvmsg4",
        19,
        "shows DNS answers as from the server that was asked",
    ),
    cgroup(
        "recvmsg6",
        20,
        "shows DNS answers as from the server that was asked",
    ),
    cgroup("getpeername4", 29, "shows the DNS server that was asked"),
    cgroup("getpeername6", 30, "shows the DNS server that was asked"),
    tracepoint(
        "sched_process_fork",
        "children of a job's processes stay the job's, whatever their cgroup; process chains",
    ),
    tracepoint(
        "sched_process_exec",
        "a job's processes stay the job's, whatever their cgroup; process chains; copies their \
         arguments and environment for the sweep",
    ),
    tracepoint(
        "sched_process_exit",
        "forgets processes of jobs, so that their numbers can be used again",
    ),
    tracepoint(
        "cgroup_attach_task",
        "notices processes that leave the job's cgroup",
    ),
    lsm(
        "lsm_socket_post_create",
        "socket_post_create",
        "marks Unix sockets of jobs",
    ),
    lsm(
        "lsm_sock_graft",
        "sock_graft",
        "marks connections a job accepts",
    ),
    lsm(
        "lsm_socket_create",
        "socket_create",
        "refuses families other than unix, inet, inet6 and netlink",
    ),
    lsm(
        "lsm_unix_stream_connect",
        "unix_stream_connect",
        "refuses connections to Unix sockets of others",
    ),
    lsm(
        "lsm_unix_may_send",
        "unix_may_send",
        "refuses datagrams to Unix sockets of others",
    ),
    lsm(
        "lsm_socket_sendmsg",
        "socket_sendmsg",
        "refuses sending on connections made outside the job",
    ),
    lsm(
        "lsm_socket_recvmsg",
        "socket_recvmsg",
        "refuses receiving on connections made outside the job",
    ),
    lsm(
        FOR_SPLICE,
        "file_permission",
        "refuses splicing into connections made outside the job",
    ),
    lsm(
        "lsm_socket_accept",
        "socket_accept",
        "refuses accepting on listeners made outside the job",
    ),
    lsm(
        "lsm_file_receive",
        "file_receive",
        "refuses sockets and control files that are passed into the job",
    ),
    lsm(
        "lsm_task_kill",
        "task_kill",
        "refuses signals to processes outside the job",
    ),
    lsm(
        "lsm_ptrace_access_check",
        "ptrace_access_check",
        "refuses tracing processes outside the job, their memory and their descriptors",
    ),
    lsm(
        "lsm_ptrace_traceme",
        "ptrace_traceme",
        "refuses being traced by a process outside the job",
    ),
    lsm(
        "lsm_task_setrlimit",
        "task_setrlimit",
        "refuses limits for processes outside the job",
    ),
    lsm(
        "lsm_task_setscheduler",
        "task_setscheduler",
        "refuses scheduling processes outside the job",
    ),
    lsm(
        "lsm_task_setnice",
        "task_setnice",
        "refuses priorities for processes outside the job",
    ),
    lsm(
        "lsm_task_setioprio",
        "task_setioprio",
        "refuses priorities for processes outside the job",
    ),
    lsm("lsm_bpf", "bpf", "refuses bpf(2)"),
    lsm(
        "lsm_file_open",
        "file_open",
        "refuses opening BPF files, and writing to cgroup files",
    ),
    lsm(
        "lsm_sb_mount",
        "sb_mount",
        "refuses mounting cgroup and BPF file systems",
    ),
    lsm(
        "lsm_sb_set_mnt_opts",
        "sb_set_mnt_opts",
        "refuses mounting cgroup and BPF file systems, also with fsopen(2)",
    ),
    lsm(
        "lsm_move_mount",
        "move_mount",
        "refuses moving mounts of cgroup and BPF file systems",
    ),
    lsm(
        "lsm_sb_umount",
        "sb_umount",
        "refuses unmounting cgroup and BPF file systems",
    ),
    lsm(
        "lsm_inode_unlink",
        "inode_unlink",
        "refuses removing BPF files",
    ),
    lsm(
        "lsm_inode_rename",
        "inode_rename",
        "refuses renaming BPF files",
    ),
    lsm(
        "lsm_inode_mkdir",
        "inode_mkdir",
        "refuses directories in BPF file systems",
    ),
];

/// What to do where the LSM programs are refused, or are attached and never run.
pub const LSM_REMEDY: &str = "boot the kernel with `bpf` added to `lsm=` (the list in force is in \
                              /sys/kernel/security/lsm; it needs CONFIG_BPF_LSM)";

/// Constants of the object, with the kernel structure member each is the offset of.
pub const OFFSETS: [(&str, &str, &str); 12] = [
    ("OFFSET_TASK_PID", "task_struct", "pid"),
    ("OFFSET_TASK_TGID", "task_struct", "tgid"),
    ("OFFSET_TASK_SIGNAL", "task_struct", "signal"),
    ("OFFSET_SIGNAL_LIVE", "signal_struct", "live"),
    ("OFFSET_BINPRM_FILENAME", "linux_binprm", "filename"),
    ("OFFSET_TASK_MM", "task_struct", "mm"),
    ("OFFSET_MM_ARG_START", "mm_struct", "arg_start"),
    ("OFFSET_MM_ENV_START", "mm_struct", "env_start"),
    ("OFFSET_MM_ENV_END", "mm_struct", "env_end"),
    ("OFFSET_SKB_HEAD", "sk_buff", "head"),
    ("OFFSET_SKB_END", "sk_buff", "end"),
    ("OFFSET_SHARED_INFO_FLAGS", "skb_shared_info", "flags"),
];

/// What tells the network namespace of a program that starts; all of them or none. Without, a namespace
/// is noticed by the first socket made there.
pub const NAMESPACE_OFFSETS: [(&str, &str, &str); 3] = [
    ("OFFSET_TASK_NSPROXY", "task_struct", "nsproxy"),
    ("OFFSET_NSPROXY_NET", "nsproxy", "net_ns"),
    ("OFFSET_NET_COOKIE", "net", "net_cookie"),
];

/// The same for the LSM programs; without one of them none is loaded.
pub const LSM_OFFSETS: [(&str, &str, &str); 23] = [
    ("OFFSET_INODE_SB", "inode", "i_sb"),
    ("OFFSET_INODE_INO", "inode", "i_ino"),
    ("OFFSET_INODE_MODE", "inode", "i_mode"),
    ("OFFSET_SB_MAGIC", "super_block", "s_magic"),
    ("OFFSET_SB_DEV", "super_block", "s_dev"),
    ("OFFSET_FILE_INODE", "file", "f_inode"),
    ("OFFSET_FILE_MODE", "file", "f_mode"),
    ("OFFSET_SOCKET_SK", "socket", "sk"),
    ("OFFSET_SOCK_FAMILY", "sock", "__sk_common.skc_family"),
    ("OFFSET_SOCK_STATE", "sock", "__sk_common.skc_state"),
    ("OFFSET_SOCK_TYPE", "sock", "sk_type"),
    ("OFFSET_SOCK_PROTOCOL", "sock", "sk_protocol"),
    ("OFFSET_UNIX_DENTRY", "unix_sock", "path.dentry"),
    ("OFFSET_DENTRY_INODE", "dentry", "d_inode"),
    ("OFFSET_PATH_MNT", "path", "mnt"),
    ("OFFSET_MNT_SB", "vfsmount", "mnt_sb"),
    ("OFFSET_TASK_CGROUPS", "task_struct", "cgroups"),
    ("OFFSET_CSS_SET_CGROUP", "css_set", "dfl_cgrp"),
    ("OFFSET_CGROUP_LEVEL", "cgroup", "level"),
    ("OFFSET_CGROUP_ANCESTORS", "cgroup", "ancestors"),
    ("OFFSET_CGROUP_KN", "cgroup", "kn"),
    ("OFFSET_CGROUP_PROCS", "cgroup", "procs_file.kn"),
    ("OFFSET_KERNFS_ID", "kernfs_node", "id"),
];

/// Whether a job can be enforced without this hook: it only tells of moves between cgroups. The other
/// tracepoints say which processes are a job's, wherever they are.
#[must_use]
pub fn is_optional(hook: &Hook) -> bool {
    hook.name == "cgroup_attach_task"
}

/// Whether it is one of the LSM programs.
#[must_use]
pub fn is_lsm(hook: &Hook) -> bool {
    matches!(hook.attach, Attach::Lsm(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_judged_before_anything_else_is_attached() {
        assert_eq!(
            [HOOKS[0], HOOKS[1]].map(|hook| hook.name),
            ["names", "egress"]
        );
    }

    #[test]
    fn no_program_is_listed_twice() {
        let mut names: Vec<_> = HOOKS.map(|hook| hook.name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HOOKS.len());
    }
    #[test]
    fn a_program_of_a_security_hook_is_named_for_it() {
        for hook in HOOKS {
            if let Attach::Lsm(of) = hook.attach {
                assert_eq!(hook.name, format!("lsm_{of}"));
            }
        }
    }

    #[test]
    fn no_constant_is_the_offset_of_two_members() {
        let all = OFFSETS.iter().chain(&NAMESPACE_OFFSETS).chain(&LSM_OFFSETS);
        let mut names: Vec<_> = all.map(|of| of.0).collect();
        names.sort_unstable();
        names.dedup();
        let total = OFFSETS.len() + NAMESPACE_OFFSETS.len() + LSM_OFFSETS.len();
        assert_eq!(names.len(), total);
    }
}
