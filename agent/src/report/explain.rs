//! The kernel's reasons in the words of somebody who wrote a job, not a firewall.

use cordon_ebpf::abi::verdict::Reason;

/// What a reason means for the job, and where it helps, what to do about it: one or two sentences.
#[must_use]
pub fn explanation(reason: Reason) -> &'static str {
    match reason {
        Reason::LEASE => "The job had resolved this address from a name that a rule allows.",
        Reason::NET => "A rule allows this address range.",
        Reason::OWN_SOCKET => "The other end was a loopback socket of the same job.",
        Reason::RESOLVER => "This was the job's own DNS listener.",
        Reason::OWN_NETWORK => "The other end was in a network of the job's own containers.",
        other => denial(other),
    }
}

fn denial(reason: Reason) -> &'static str {
    match reason {
        Reason::NO_RULE => {
            "No rule allows this address, and the job did not resolve it from an allowed name. \
             Allow the host by name; an address used directly needs a `cidr` rule."
        }
        Reason::WRONG_PORT => {
            "A rule allows this host, but not this port. Add the port to the rule if it is needed."
        }
        Reason::WRONG_PROTOCOL => {
            "A rule allows this host, but with the other protocol: TCP and UDP are allowed apart."
        }
        Reason::LEASE_EXPIRED => {
            "The host is allowed, but the address was used after its DNS answer had run out. The \
             program should look the name up again before it connects."
        }
        Reason::NO_JOB => {
            "The process runs in cordon's slice, but no job is enforced there. Everything is \
             refused until one is."
        }
        Reason::FOREIGN_LOOPBACK => {
            "The job may reach only those services on this machine that it started itself. This \
             one belongs to somebody else, or nobody listens there; another service needs a rule."
        }
        Reason::SOCKET_KIND => {
            "Jobs get TCP, UDP and Unix sockets. Raw, ping and other kinds are refused, because no \
             rule could say where they lead."
        }
        Reason::IP_PROTOCOL => "The packet was neither TCP nor UDP. Jobs send no other protocol.",
        Reason::EXTENSION_HEADER => {
            "The packet had an IPv6 extension header, or was a fragment the job had made itself: \
             both can hide where a packet goes."
        }
        Reason::IP_OPTIONS => "The packet had IPv4 options, which can send it along another route.",
        Reason::INBOUND => {
            "Somebody outside sent this to the job unasked. Jobs take no connections from outside."
        }
        Reason::NO_RESOLVER => {
            "The job asked for a name in a network namespace where cordon had no DNS listener for it: \
             just before one was made there, or because the job has too many."
        }
        Reason::NO_MEMORY => {
            "The kernel had no memory to note the verdict, so it was refused. It may work when \
             tried again; the machine is short of memory."
        }
        Reason::MALFORMED => {
            "The packet's headers were cut short, so nobody can say where it goes."
        }
        Reason::SOCKET_OPTION => {
            "The option sends packets along another way than their address says, or makes the \
             kernel itself send some, as joining a multicast group does."
        }
        Reason::FOREIGN_SOCKET => {
            "The connection was made outside the job. A job uses only connections it made itself."
        }
        Reason::FOREIGN_UNIX => {
            "The Unix socket belongs to somebody outside the job, who could act for it: a \
             container engine, a bus, a resolver. A job reaches only its own."
        }
        Reason::FOREIGN_PROCESS => "The process is not the job's.",
        Reason::CONTROL => {
            "The call would reach what enforcement itself stands on: BPF, or the file systems of \
             cgroups and BPF."
        }
        Reason::ADDRESS_FAMILY => {
            "Jobs get sockets of the families inet, inet6, unix and netlink. No rule can say where \
             others lead."
        }
        Reason::NAME_NOT_ALLOWED => {
            "The address is allowed for other names than the one the connection showed: many sites \
             share an address. Allow this name, and let the program look it up."
        }
        Reason::NO_NAME => {
            "The connection showed no name, so nobody can say which of the sites at this address it \
             is for. Where that is meant, the rule needs `verify = \"none\"`."
        }
        Reason::NOT_READABLE => {
            "What the connection sent is not what its port is checked for (TLS on 443, HTTP on 80), or \
             could be read in two ways. Where it is another protocol, the rule needs \
             `verify = \"none\"`."
        }
        Reason::NAME_TOO_LATE => {
            "The connection did not show its name within the first 16 KiB. Where that is meant, the \
             rule needs `verify = \"none\"`."
        }
        Reason::SHARED_MEMORY => {
            "The connection sent its first bytes from memory that can still change (sendfile, splice, \
             zero copy), so the name that was read need not be the one that arrives."
        }
        Reason::NOT_SWEPT => {
            "The process had just started a program, and what it was started with had not been swept \
             for secrets yet. It was woken by somebody before its time."
        }
        Reason::CLOSED => {
            "A process of the job carried a secret, and the profile says that nothing leaves the job \
             after that."
        }
        Reason::WITHDRAWN => "The job had given up the rule that had allowed this; see `narrowed`.",
        _ => "Refused for a reason this version of cordon has no words for. Unknown means denied.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_of_its_own() {
        let mut words: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| explanation(*reason))
            .collect();
        words.push(explanation(Reason(200)));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len() + 1);
    }

    #[test]
    fn words_are_sentences() {
        for reason in Reason::ALL {
            let words = explanation(*reason);
            assert!(
                words.ends_with('.') && words.starts_with(char::is_uppercase),
                "{words}"
            );
            assert!(!words.contains("  "), "{words}");
        }
    }
}
