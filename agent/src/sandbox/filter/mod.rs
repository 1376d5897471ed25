//! The system call filter of a job: which calls are refused, as one classic BPF program for every
//! ABI of the machine.
//!
//! What it must not do is break builds: calls that capabilities and namespaces already confine
//! (`mount`, `unshare`, `ptrace`, `process_vm_readv`) pass. Refused is what reaches past them: a
//! socket nobody judges, a descriptor of a process outside, the kernel's own code.
//!
//! A filter sees numbers and not what pointers point at. Where a decision would need that, the call
//! is refused whole.

#![forbid(unsafe_code)]

mod abi;
#[cfg(test)]
mod interpreter;

use self::abi::{ABIS, Abi};

/// One instruction, as the kernel's `sock_filter`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

// Classic BPF, linux/bpf_common.h; all loads are of 32-bit words at absolute offsets.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

// struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

const ALLOW: Instruction = plain(RETURN, SECCOMP_RET_ALLOW);
const REFUSE: Instruction = plain(RETURN, SECCOMP_RET_ERRNO | EPERM);

/// As an older kernel would: programs then do it another way.
const ABSENT: Instruction = plain(RETURN, SECCOMP_RET_ERRNO | ENOSYS);

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const SOCK_STREAM: u32 = 1;
const SOCK_SEQPACKET: u32 = 5;
/// The part of a socket's type that is no flag.
const SOCK_TYPE: u32 = 0xf;

/// Makes a cgroup namespace; in the first argument of `clone` and `unshare`.
const CLONE_NEWCGROUP: u32 = 0x0200_0000;

/// Pushes characters into a terminal as if they had been typed there.
const TIOCSTI: u32 = 0x5412;
/// The same on a virtual console, by its selection buffer.
const TIOCLINUX: u32 = 0x541c;

/// What else judges a job's sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Judges {
    /// BPF LSM judges families, Unix sockets and what `io_uring` makes; then the filter leaves
    /// alone what it could only refuse whole.
    pub lsm: bool,
    /// Unix sockets of any process are allowed.
    pub any_unix: bool,
    /// The job is root's. With a cgroup namespace of its own, root could mount the hierarchies anew and
    /// write to what limits it, unless BPF LSM refuses the mount.
    pub root: bool,
}

/// What is wanted of a call that is not refused whole. Comparisons are of the low 32 bits: the
/// kernel takes each of these arguments as an `int`.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Condition {
    /// The argument, masked, is one of these.
    Is {
        argument: u32,
        mask: u32,
        of: Vec<u32>,
    },
    /// The argument is none of these.
    IsNot { argument: u32, of: Vec<u32> },
}

impl Condition {
    fn is(argument: u32, of: &[u32]) -> Self {
        Self::Is {
            argument,
            mask: u32::MAX,
            of: of.to_vec(),
        }
    }
}

/// One call and what becomes of it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Rule {
    call: u32,
    answer: Answer,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Answer {
    /// There is no such call.
    Absent,
    /// It is refused.
    Refused,
    /// It passes if all of these hold.
    When(Vec<Condition>),
}

impl Rule {
    fn refuse(call: u32) -> Self {
        Self {
            call,
            answer: Answer::Refused,
        }
    }

    fn when(call: u32, conditions: Vec<Condition>) -> Self {
        Self {
            call,
            answer: Answer::When(conditions),
        }
    }
}

/// The whole program. Calls of an architecture that is not in it are refused.
#[must_use]
pub fn program(judges: Judges) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    for abi in ABIS {
        let section = section(abi, &rules(abi, judges));
        // Forward jumps of comparisons are 8 bits wide; this one may be longer.
        let length = u32::try_from(section.len()).unwrap_or(u32::MAX);
        program.extend([
            compare(IF_EQUAL, abi.architecture, 1, 0),
            plain(JUMP, length),
        ]);
        program.extend(section);
    }
    program.push(REFUSE);
    program
}

fn rules(abi: &Abi, judges: Judges) -> Vec<Rule> {
    let Judges {
        lsm,
        any_unix,
        root,
    } = judges;
    let foreign_unix = lsm || any_unix;
    let mut rules: Vec<Rule> = abi
        .refused
        .iter()
        .map(|(_, call)| Rule::refuse(*call))
        .collect();
    rules.push(Rule {
        call: abi.clone3,
        answer: Answer::Absent,
    });
    let mut families = vec![AF_INET, AF_INET6, AF_NETLINK];
    if foreign_unix {
        families.push(AF_UNIX);
    }
    rules.push(Rule::when(abi.socket, vec![Condition::is(0, &families)]));
    let mut pair = vec![Condition::is(0, &[AF_UNIX])];
    if !foreign_unix {
        // A datagram socket of a pair can still send to any other by name.
        pair.push(Condition::Is {
            argument: 1,
            mask: SOCK_TYPE,
            of: vec![SOCK_STREAM, SOCK_SEQPACKET],
        });
    }
    rules.push(Rule::when(abi.socketpair, pair));
    let typing = Condition::IsNot {
        argument: 1,
        of: vec![TIOCSTI, TIOCLINUX],
    };
    rules.push(Rule::when(abi.ioctl, vec![typing]));
    if root && !lsm {
        let same_cgroups = || Condition::Is {
            argument: 0,
            mask: CLONE_NEWCGROUP,
            of: vec![0],
        };
        rules.extend(
            abi.flagged
                .map(|call| Rule::when(call, vec![same_cgroups()])),
        );
    }
    if !lsm {
        // A ring makes sockets without a call the filter would see.
        rules.extend(abi.rings.iter().map(|call| Rule::refuse(*call)));
        // The family is behind a pointer.
        rules.extend(abi.socketcall.map(|call| {
            let making = Condition::IsNot {
                argument: 0,
                of: vec![abi::SYS_SOCKET, abi::SYS_SOCKETPAIR],
            };
            Rule::when(call, vec![making])
        }));
    }
    rules
}

fn section(abi: &Abi, rules: &[Rule]) -> Vec<Instruction> {
    let mut section = vec![plain(LOAD, NUMBER)];
    if let Some(first) = abi.other_abi_from {
        section.extend([compare(IF_AT_LEAST, first, 0, 1), REFUSE]);
    }
    for Rule { call, answer } in rules {
        let body = match answer {
            Answer::Absent => vec![ABSENT],
            Answer::Refused => vec![REFUSE],
            Answer::When(conditions) => {
                let mut body: Vec<_> = conditions.iter().flat_map(check).collect();
                body.push(ALLOW);
                body
            }
        };
        // No body comes near 255 instructions; one that did would refuse every call, not allow it.
        let Ok(length) = u8::try_from(body.len()) else {
            return vec![REFUSE];
        };
        section.push(compare(IF_EQUAL, *call, 0, length));
        section.extend(body);
    }
    section.push(ALLOW);
    section
}

/// Refuses unless the condition holds; goes on behind itself if it does.
fn check(condition: &Condition) -> Vec<Instruction> {
    match condition {
        Condition::Is { argument, mask, of } => {
            let mut code = vec![load_argument(*argument), plain(AND, *mask)];
            // Each hit skips the comparisons after it and the refusal.
            let hits = of.iter().zip((1..=of.len()).rev());
            code.extend(hits.map(|(value, skipped)| {
                compare(IF_EQUAL, *value, u8::try_from(skipped).unwrap_or(0), 0)
            }));
            code.push(REFUSE);
            code
        }
        Condition::IsNot { argument, of } => {
            let refusals = of
                .iter()
                .flat_map(|value| [compare(IF_EQUAL, *value, 0, 1), REFUSE]);
            std::iter::once(load_argument(*argument))
                .chain(refusals)
                .collect()
        }
    }
}

/// The low half of an argument; the tables are of little-endian machines.
const fn load_argument(number: u32) -> Instruction {
    plain(LOAD, ARGUMENTS.saturating_add(number.saturating_mul(8)))
}

const fn plain(code: u16, operand: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        operand,
    }
}

const fn compare(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::interpreter::{Call, run};
    use super::*;

    const ALONE: Judges = Judges {
        lsm: false,
        any_unix: false,
        root: false,
    };
    const LSM: Judges = Judges {
        lsm: true,
        any_unix: false,
        root: false,
    };
    const ANY_UNIX: Judges = Judges {
        lsm: false,
        any_unix: true,
        root: false,
    };

    const ROOT: Judges = Judges {
        lsm: false,
        any_unix: false,
        root: true,
    };

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    fn passes(judges: Judges, architecture: u32, number: u32, arguments: &[u64]) -> bool {
        let mut all = [0; 6];
        for (to, from) in all.iter_mut().zip(arguments) {
            *to = *from;
        }
        let verdict = run(
            &program(judges),
            &Call {
                number,
                architecture,
                arguments: all,
            },
        );
        match verdict {
            SECCOMP_RET_ALLOW => true,
            verdict => {
                let errno = if number == 435 { ENOSYS } else { EPERM };
                assert_eq!(verdict, SECCOMP_RET_ERRNO | errno);
                false
            }
        }
    }

    #[test]
    fn a_socket_is_of_a_family_somebody_judges() {
        for (architecture, socket) in [(X86_64, 41), (I386, 359)] {
            let may = |judges, family| passes(judges, architecture, socket, &[family, 1, 0]);
            for family in 0..64 {
                let judged = matches!(family, 2 | 10 | 16);
                assert_eq!(may(ALONE, family), judged, "family {family}");
                assert_eq!(may(LSM, family), judged || family == 1, "family {family}");
                assert_eq!(may(ANY_UNIX, family), judged || family == 1);
            }
        }
    }

    #[test]
    fn the_upper_half_of_an_argument_changes_nothing() {
        // The kernel takes an int: what is above it is not looked at, and hides nothing.
        assert!(!passes(ALONE, X86_64, 41, &[0xffff_ffff_0000_0028, 1, 0]));
        assert!(passes(ALONE, X86_64, 41, &[0xffff_ffff_0000_0002, 1, 0]));
        assert!(!passes(ALONE, X86_64, 16, &[0, 0x1_0000_5412]));
    }

    #[test]
    fn a_pair_cannot_send_elsewhere() {
        for (architecture, pair) in [(X86_64, 53), (I386, 360)] {
            let may = |judges, family, kind| passes(judges, architecture, pair, &[family, kind]);
            // SOCK_CLOEXEC and SOCK_NONBLOCK are flags of the type.
            for flags in [0, 0o2_000_000, 0o4000, 0o2_004_000] {
                assert!(may(ALONE, 1, 1 | flags));
                assert!(may(ALONE, 1, 5 | flags));
                assert!(
                    !may(ALONE, 1, 2 | flags),
                    "a datagram socket sends to any other"
                );
                assert!(
                    !may(ALONE, 1, 3 | flags),
                    "SOCK_RAW is a datagram socket here"
                );
                assert!(may(LSM, 1, 2 | flags));
            }
            assert!(!may(LSM, 30, 1), "TIPC");
        }
    }

    #[test]
    fn rings_and_socketcall_are_refused_where_nothing_else_judges_sockets() {
        for architecture in [X86_64, I386] {
            for ring in 425..=427 {
                assert!(!passes(ALONE, architecture, ring, &[]));
                assert!(!passes(ANY_UNIX, architecture, ring, &[]));
                assert!(passes(LSM, architecture, ring, &[]));
            }
        }
        for (call, refused) in [(1, true), (8, true), (2, false), (3, false)] {
            assert_eq!(!passes(ALONE, I386, 102, &[call]), refused);
            assert!(passes(LSM, I386, 102, &[call]));
        }
        // The same number is getuid on x86-64.
        assert!(passes(ALONE, X86_64, 102, &[1]));
    }

    #[test]
    fn x32_and_unknown_architectures_are_refused_whole() {
        assert!(!passes(LSM, X86_64, 0x4000_0000, &[]));
        assert!(!passes(LSM, X86_64, 0x4000_0029, &[2, 1]));
        assert!(!passes(LSM, X86_64, u32::MAX, &[]));
        assert!(
            !passes(LSM, 0xc000_00b7, 0, &[]),
            "AArch64 is not in the table"
        );
    }

    #[test]
    fn builds_keep_what_they_need() {
        // read, mount, unshare, ptrace, process_vm_readv, userfaultfd, clone
        for number in [0, 165, 272, 101, 310, 323, 56] {
            assert!(passes(ALONE, X86_64, number, &[]), "{number}");
        }
        // TCGETS, TIOCGWINSZ
        assert!(passes(ALONE, X86_64, 16, &[0, 0x5401]));
        assert!(passes(ALONE, X86_64, 16, &[0, 0x5413]));
        assert!(!passes(ALONE, X86_64, 16, &[0, 0x541c]));
    }

    #[test]
    fn root_makes_no_cgroup_namespace_where_mounts_are_not_judged() {
        for (architecture, clone, unshare) in [(X86_64, 56, 272), (I386, 120, 310)] {
            for call in [clone, unshare] {
                let may = |judges, flags| passes(judges, architecture, call, &[flags]);
                for flags in [0x0200_0000, 0x1202_0000, 0xffff_ffff_0200_0011] {
                    assert!(!may(ROOT, flags), "{flags:x}");
                    assert!(may(ALONE, flags) && may(Judges { root: true, ..LSM }, flags));
                }
                // CLONE_NEWUSER, CLONE_NEWNS, what a thread is made with; the upper half is not looked at.
                for flags in [0x1000_0000, 0x0002_0000, 0x003d_0f00, 0x0200_0000_0000_0000] {
                    assert!(may(ROOT, flags), "{flags:x}");
                }
            }
        }
    }

    #[test]
    fn clone3_is_not_there() {
        for architecture in [X86_64, I386] {
            for judges in [ALONE, LSM, ANY_UNIX, ROOT] {
                assert!(!passes(judges, architecture, 435, &[]));
            }
        }
    }

    #[test]
    fn it_fits_the_kernel() {
        for judges in [ALONE, LSM, ANY_UNIX, ROOT] {
            // BPF_MAXINSNS
            assert!(program(judges).len() < 4096);
        }
    }

    /// What the program should say, written as plainly as possible.
    fn model(judges: Judges, call: &Call) -> bool {
        let Some(abi) = ABIS
            .iter()
            .find(|abi| abi.architecture == call.architecture)
        else {
            return false;
        };
        let number = call.number;
        let argument = |index: usize| call.arguments[index] & 0xffff_ffff;
        let foreign_unix = judges.lsm || judges.any_unix;
        if abi.other_abi_from.is_some_and(|first| number >= first)
            || number == abi.clone3
            || abi.refused.iter().any(|(_, refused)| *refused == number)
        {
            return false;
        }
        if number == abi.socket {
            return [2, 10, 16].contains(&argument(0)) || (argument(0) == 1 && foreign_unix);
        }
        if number == abi.socketpair {
            return argument(0) == 1 && (foreign_unix || [1, 5].contains(&(argument(1) & 0xf)));
        }
        if number == abi.ioctl {
            return ![0x5412, 0x541c].contains(&argument(1));
        }
        if judges.lsm {
            return true;
        }
        if judges.root && abi.flagged.contains(&number) && argument(0) & 0x0200_0000 != 0 {
            return false;
        }
        let makes_socket = abi.socketcall == Some(number) && [1, 8].contains(&argument(0));
        !(makes_socket || abi.rings.contains(&number))
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_model_says(
            number in prop_oneof![0u32..600, any::<u32>()],
            architecture in prop_oneof![Just(X86_64), Just(I386), any::<u32>()],
            arguments in any::<[u64; 6]>(),
            small in any::<[u8; 2]>(),
            lsm in any::<bool>(),
            any_unix in any::<bool>(),
            root in any::<bool>(),
            near in any::<bool>(),
        ) {
            let mut arguments = arguments;
            if near {
                arguments[0] = u64::from(small[0] & 63);
                arguments[1] = u64::from(small[1]);
            }
            let judges = Judges { lsm, any_unix, root };
            let call = Call { number, architecture, arguments };
            let known = [X86_64, I386].contains(&architecture);
            let errno = if number == 435 && known { ENOSYS } else { EPERM };
            let expected = if model(judges, &call) { SECCOMP_RET_ALLOW } else { SECCOMP_RET_ERRNO | errno };
            prop_assert_eq!(run(&program(judges), &call), expected);
        }
    }
}
