//! The kernel's answer and the reason for it.

use super::open_enum;

open_enum! {
    /// What the kernel did with one attempt.
    pub struct Verdict(pub u8) {
        /// The ruleset allows it.
        ALLOW = 1, "allow";
        /// Refused: `EPERM` to the caller, nothing on the wire.
        DENY = 2, "deny";
        /// Audit mode: let pass; enforce mode would have refused it.
        WOULD_DENY = 3, "would-deny";
    }
}

open_enum! {
    /// Why. Allow reasons are below 16.
    pub struct Reason(pub u8) {
        /// A live lease: the address was resolved from an allowed name.
        LEASE = 1, "lease";
        /// An allowed address range.
        NET = 2, "cidr";
        /// A loopback socket that belongs to the same job.
        OWN_SOCKET = 3, "own-socket";
        /// The job's own DNS listener.
        RESOLVER = 4, "resolver";
        /// A network of the job's own containers.
        OWN_NETWORK = 5, "own-network";

        /// No rule and no lease speaks of this address.
        NO_RULE = 16, "no-rule";
        /// The address is allowed, this port is not.
        WRONG_PORT = 17, "port-not-allowed";
        /// The address is allowed, with another protocol.
        WRONG_PROTOCOL = 18, "protocol-not-allowed";
        /// The name's lease of this address has run out.
        LEASE_EXPIRED = 19, "lease-expired";
        /// The process is in the slice, and no job is enforced there.
        NO_JOB = 20, "no-job";
        /// A loopback socket of somebody else.
        FOREIGN_LOOPBACK = 21, "loopback-not-own";
        /// A kind of socket jobs do not get: raw, ping, UDP-Lite, SCTP and the like.
        SOCKET_KIND = 22, "socket-kind";
        /// An IP protocol other than TCP and UDP on the wire.
        IP_PROTOCOL = 23, "ip-protocol";
        /// An IPv6 extension header, or a fragment made by the job.
        EXTENSION_HEADER = 24, "extension-header";
        /// IPv4 options, which can route by source.
        IP_OPTIONS = 25, "ip-options";
        /// A packet that came in unasked for.
        INBOUND = 26, "inbound";
        /// DNS in a network namespace where the job has no listener.
        NO_RESOLVER = 27, "no-resolver-here";
        /// The kernel had no memory to keep the verdict.
        NO_MEMORY = 28, "no-memory";
        /// Headers too short to be judged.
        MALFORMED = 29, "malformed-packet";
        /// A socket option that changes where packets go, or makes the kernel send some.
        SOCKET_OPTION = 30, "socket-option";
        /// An open connection that was made outside the job.
        FOREIGN_SOCKET = 31, "socket-not-own";
        /// A Unix socket of somebody else.
        FOREIGN_UNIX = 32, "unix-socket-not-own";
        /// A process outside the job.
        FOREIGN_PROCESS = 33, "process-not-own";
        /// What enforcement itself stands on: BPF, cgroup and BPF file systems, mounts of them.
        CONTROL = 34, "control";
        /// An address family jobs do not get.
        ADDRESS_FAMILY = 35, "address-family";
        /// The name the connection shows has no rule that leased its address.
        NAME_NOT_ALLOWED = 36, "name-not-allowed";
        /// The connection shows no name.
        NO_NAME = 37, "no-name";
        /// What is sent is not of a protocol that shows a name, or could be read in two ways.
        NOT_READABLE = 38, "not-readable";
        /// The name did not come early enough.
        NAME_TOO_LATE = 39, "name-too-late";
        /// Data in memory that its sender could still change.
        SHARED_MEMORY = 40, "shared-memory";
        /// The process has not been swept for secrets yet.
        NOT_SWEPT = 41, "not-swept";
        /// The sweep found a secret, and closed the job's egress.
        CLOSED = 42, "closed";
        /// The job narrowed its policy, and gave up the rule that had allowed this.
        WITHDRAWN = 43, "rule-withdrawn";
    }
}

impl Reason {
    /// Whether this is a reason to allow.
    #[must_use]
    #[inline(always)]
    pub const fn allows(self) -> bool {
        self.0 != 0 && self.0 < Self::NO_RULE.0
    }

    /// Whether it protects enforcement and its evidence. Audit rests on both, so it is no reason to
    /// let pass there either.
    #[must_use]
    #[inline(always)]
    pub const fn protects(self) -> bool {
        matches!(
            self,
            Self::CONTROL | Self::FOREIGN_PROCESS | Self::NOT_SWEPT | Self::CLOSED
        )
    }
}

open_enum! {
    /// What a job's verdicts do.
    pub struct Mode(pub u8) {
        /// What is not allowed is refused.
        ENFORCE = 1, "enforce";
        /// What is not allowed is let pass and recorded.
        AUDIT = 2, "audit";
    }
}

impl Mode {
    /// The verdict for a reason. Anything but the exact audit value enforces.
    #[must_use]
    #[inline(always)]
    pub const fn verdict(self, reason: Reason) -> Verdict {
        if reason.allows() {
            Verdict::ALLOW
        } else if self.0 == Self::AUDIT.0 && !reason.protects() {
            Verdict::WOULD_DENY
        } else {
            Verdict::DENY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_audit_value_lets_pass() {
        for mode in 0..=u8::MAX {
            let verdict = Mode(mode).verdict(Reason::NO_RULE);
            assert_eq!(verdict == Verdict::WOULD_DENY, mode == Mode::AUDIT.0);
            assert_ne!(verdict, Verdict::ALLOW);
        }
    }

    #[test]
    fn what_protects_enforcement_is_refused_in_every_mode() {
        for mode in 0..=u8::MAX {
            for reason in [Reason::CONTROL, Reason::FOREIGN_PROCESS] {
                assert_eq!(Mode(mode).verdict(reason), Verdict::DENY);
            }
        }
    }

    #[test]
    fn an_unknown_reason_does_not_allow() {
        assert!(!Reason(0).allows());
        assert!(!Reason(200).allows());
    }
}
