//! The wires of a world: `job` in the middle, `good`, `evil` and `dns` on a cable of their own each.
//!
//! The default routes of `job` lead to `evil`: whatever escapes to any address arrives where frames
//! are counted. Neighbours are fixed and IPv6's own chatter is off, so that a cable with no leak
//! carries no frame at all.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::harness::namespace::Namespace;

/// Addresses of the job's side of all cables.
pub const JOB_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// See [`JOB_V4`].
pub const JOB_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x100);
/// The host jobs are allowed to reach.
pub const GOOD_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// See [`GOOD_V4`].
pub const GOOD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x10);
/// A second address of the same machine.
pub const OTHER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// See [`OTHER_V4`].
pub const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
/// The attacker.
pub const EVIL_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
/// See [`EVIL_V4`].
pub const EVIL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0x66);
/// The resolver cordon asks.
pub const DNS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// See [`DNS_V4`].
pub const DNS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53);
/// Hardware address of `evil`'s end of its cable.
pub const EVIL_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// Ports every machine's receiver listens on.
pub const PORTS: [u16; 2] = [443, 8080];

/// `address:port`, shorter.
pub fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// The four machines.
#[derive(Debug)]
pub struct Network {
    /// Where cordon and jobs run.
    pub job: Namespace,
    /// The allowed host.
    pub good: Namespace,
    /// The attacker.
    pub evil: Namespace,
    /// The resolver.
    pub dns: Namespace,
}

/// One cable, seen from the job.
struct Cable<'a> {
    number: u8,
    name: &'static str,
    machine: &'a Namespace,
    addresses: &'a [IpAddr],
    default: bool,
}

impl Network {
    /// Makes the machines and their cables.
    pub fn new() -> Result<Self> {
        let network = Self {
            job: quiet_namespace()?,
            good: quiet_namespace()?,
            evil: quiet_namespace()?,
            dns: quiet_namespace()?,
        };
        let Self {
            job,
            good,
            evil,
            dns,
        } = &network;
        let cables = [
            Cable {
                number: 0,
                name: "good",
                machine: good,
                addresses: &[
                    GOOD_V4.into(),
                    OTHER_V4.into(),
                    GOOD_V6.into(),
                    OTHER_V6.into(),
                ],
                default: false,
            },
            Cable {
                number: 1,
                name: "evil",
                machine: evil,
                addresses: &[EVIL_V4.into(), EVIL_V6.into()],
                default: true,
            },
            Cable {
                number: 2,
                name: "dns",
                machine: dns,
                addresses: &[DNS_V4.into(), DNS_V6.into()],
                default: false,
            },
        ];
        let near = cables.iter().map(Cable::near_end).collect::<String>();
        job.run(|| ip(&format!("link set lo up\n{near}")))?;
        for cable in &cables {
            let far = cable.far_end();
            cable.machine.run(|| ip(&far))?;
        }
        Ok(network)
    }
}

impl Cable<'_> {
    fn mac(&self, end: u8) -> String {
        format!("02:00:00:00:{:02x}:{end:02x}", self.number)
    }

    /// `ip` commands for the job's end, which also make the cable.
    fn near_end(&self) -> String {
        let (name, near, far) = (self.name, self.mac(1), self.mac(2));
        let mut batch = format!(
            "link add {name} address {near} type veth peer name job address {far} netns {}\n\
             address add {JOB_V4}/32 dev {name}\n\
             address add {JOB_V6}/128 dev {name} nodad\n\
             link set {name} up\n",
            self.machine.path().display(),
        );
        for address in self.addresses {
            batch += &neighbour(*address, name, &far, Some(source(*address)));
        }
        if self.default {
            batch += &format!(
                "route add default via {EVIL_V4} dev {name} src {JOB_V4} onlink\n\
                 route add default via {EVIL_V6} dev {name} src {JOB_V6} onlink\n"
            );
        }
        batch
    }

    /// `ip` commands for the machine's end.
    fn far_end(&self) -> String {
        let mut batch = String::from("link set lo up\n");
        for address in self.addresses {
            batch += &format!("address add {address} dev job nodad\n");
        }
        batch += "link set job up\n";
        for (job, own) in [
            (IpAddr::from(JOB_V4), self.first(IpAddr::is_ipv4)),
            (IpAddr::from(JOB_V6), self.first(IpAddr::is_ipv6)),
        ] {
            batch += &neighbour(job, "job", &self.mac(1), own);
        }
        batch
    }

    fn first(&self, family: fn(&IpAddr) -> bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(family)
    }
}

fn source(destination: IpAddr) -> IpAddr {
    match destination {
        IpAddr::V4(_) => JOB_V4.into(),
        IpAddr::V6(_) => JOB_V6.into(),
    }
}

fn neighbour(address: IpAddr, device: &str, mac: &str, source: Option<IpAddr>) -> String {
    let source = source.map_or_else(String::new, |source| format!(" src {source}"));
    format!(
        "neighbour add {address} lladdr {mac} dev {device} nud permanent\n\
         route add {address} dev {device}{source}\n"
    )
}

/// A namespace whose future devices send nothing by themselves.
fn quiet_namespace() -> Result<Namespace> {
    let namespace = Namespace::network()?;
    namespace.run(|| {
        for (key, value) in [
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv6/conf/default/addr_gen_mode", "1"),
            ("ipv6/conf/default/router_solicitations", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/ping_group_range", "0 2147483647"),
        ] {
            // proc shows the calling thread's namespace here.
            let path = format!("/proc/sys/net/{key}");
            fs::write(&path, value).with_context(|| format!("write {path}"))?;
        }
        Ok(())
    })?;
    Ok(namespace)
}

/// Runs a batch of `ip` commands in the thread's namespace.
pub fn ip(batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start `ip` (package iproute2)")?;
    child
        .stdin
        .take()
        .context("stdin of ip")?
        .write_all(batch.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "ip: {}\nin the batch:\n{batch}",
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(())
}
