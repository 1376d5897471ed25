//! The listener as a job meets it: real sockets on loopback, an upstream that counts what it is
//! asked, a sink and a log that remember.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use cordon_ebpf::abi::ruleset::{Resolver, RuleIndex};
use cordon_ebpf::abi::verdict::Mode;
use tokio::sync::oneshot;

use super::*;

mod admission;
mod answers;
mod client;
mod sockets;
mod upstream;

use upstream::{Fake, Zone};

/// Exact names, wildcards written as `*.zone`, and the rule each has.
#[derive(Default)]
struct Policy {
    names: BTreeMap<&'static str, RuleIndex>,
    /// Rules that allow addresses that are not public.
    private: Vec<RuleIndex>,
}

impl NamePolicy for Policy {
    fn rules_for_name(&self, name: &str) -> Vec<RuleIndex> {
        let wildcard = name.split_once('.').map(|(_, zone)| format!("*.{zone}"));
        let rule = |name: &str| self.names.get(name).copied();
        rule(name)
            .into_iter()
            .chain(wildcard.as_deref().and_then(rule))
            .collect()
    }
    fn wildcard_part<'a>(&self, rule: RuleIndex, name: &'a str) -> Option<&'a str> {
        let (part, zone) = name.split_once('.')?;
        let wildcard = self.names.get(format!("*.{zone}").as_str());
        (wildcard == Some(&rule)).then_some(part)
    }
    fn allows_private(&self, rules: &[RuleIndex]) -> bool {
        rules.iter().all(|rule| self.private.contains(rule))
    }
}

/// Takes leases; on demand fails, or waits at a gate.
#[derive(Default)]
struct Sink {
    granted: Mutex<Vec<Lease>>,
    full: AtomicBool,
    /// Told when a grant begins, and waited for before it ends.
    gate: Option<(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>)>,
}

impl LeaseSink for Sink {
    fn grant(&self, leases: &[Lease]) -> Result<(), LeaseError> {
        if let Some((begun, go_on)) = &self.gate {
            begun.send(()).unwrap();
            // Bounded: a story that fails must end, and it waits for this thread.
            let patience = Duration::from_secs(10);
            go_on.lock().unwrap().recv_timeout(patience).unwrap();
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(LeaseError::Full {
                name: leases[0].name.clone(),
                address: leases[0].address,
                source: std::io::Error::from_raw_os_error(libc::E2BIG),
            });
        }
        self.granted.lock().unwrap().extend_from_slice(leases);
        Ok(())
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<Question>>);

impl NameLog for Log {
    fn record(&self, question: Question) {
        self.0.lock().unwrap().push(question);
    }
}

/// Knows each client by its port.
struct Clients;

impl ClientLookup for Clients {
    fn client(&self, _netns: u64, protocol: u8, port: u16) -> Option<Client> {
        Some(Client {
            process: u32::from(protocol) << 16 | u32::from(port),
            server: (Ipv4Addr::LOCALHOST, 53).into(),
        })
    }
}

/// A host with one address, in the public range.
struct OneAddress;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 200));

impl OwnAddresses for OneAddress {
    fn has(&self, address: IpAddr) -> std::io::Result<bool> {
        Ok(address == OWN)
    }
}

/// What a story wants to be different.
struct Setup {
    policy: Policy,
    mode: Mode,
    sink: Arc<Sink>,
    zone: Zone,
    /// Servers before the fake one in the list.
    dead: Vec<SocketAddr>,
    /// What the first server in the list answers, if there is one more.
    first: Option<Zone>,
    patience: Duration,
    ttl_floor: u32,
    limits: Limits,
    wildcard: WildcardLimits,
}

impl Default for Setup {
    fn default() -> Self {
        let names = [
            ("good.example", 0),
            ("*.wild.example", 1),
            ("intern.example", 2),
        ];
        Self {
            policy: Policy {
                names: names.into(),
                private: vec![2],
            },
            mode: Mode::ENFORCE,
            sink: Arc::default(),
            zone: Zone::default(),
            dead: Vec::new(),
            first: None,
            patience: Duration::from_secs(5),
            ttl_floor: 0,
            limits: Limits::default(),
            wildcard: WildcardLimits::default(),
        }
    }
}

/// A listener and its upstream, served on a thread of their own as the product serves them.
struct World {
    ports: Resolver,
    sink: Arc<Sink>,
    log: Arc<Log>,
    upstream: Fake,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Counts>>,
}

impl World {
    fn new(setup: Setup) -> Self {
        Self::serving(Bound::bind().unwrap(), setup)
    }

    fn serving(bound: Bound, setup: Setup) -> Self {
        let ports = bound.ports();
        let (sink, log) = (Arc::clone(&setup.sink), Arc::<Log>::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let log_of_listener: Arc<dyn NameLog> = Arc::<Log>::clone(&log);
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let (fake, _tasks) = upstream::serve(setup.zone).await;
                let mut servers = setup.dead;
                let mut first_tasks = None;
                if let Some(zone) = setup.first {
                    let (first, tasks) = upstream::serve(zone).await;
                    servers.push(first.address);
                    first_tasks = Some(tasks);
                }
                servers.push(fake.address);
                let places: Vec<_> = servers
                    .into_iter()
                    .map(crate::policy::Upstream::Server)
                    .collect();
                let resolution = Resolution {
                    profile: "test".into(),
                    ruleset: Arc::new(setup.policy),
                    mode: setup.mode,
                    sink: setup.sink,
                    clients: Arc::new(Clients),
                    log: log_of_listener,
                    own: Arc::new(OneAddress),
                    upstream: Upstream::new(&places, &[], setup.patience).unwrap(),
                    memory: Memory::new(setup.wildcard),
                    ttl_floor: setup.ttl_floor,
                    limits: setup.limits,
                };
                let listener = bound.serve(resolution).unwrap();
                ready.send(fake).unwrap();
                drop(stopped.await);
                drop(first_tasks);
                listener.shutdown().await
            })
        });
        Self {
            ports,
            sink,
            log,
            upstream: is_ready.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// With this zone, and nothing else said.
    fn with_zone(zone: Zone) -> Self {
        Self::new(Setup {
            zone,
            ..Setup::default()
        })
    }

    fn udp4(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.udp4).into()
    }

    fn tcp4(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.tcp4).into()
    }

    fn udp6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.ports.udp6).into()
    }

    fn tcp6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.ports.tcp6).into()
    }

    fn granted(&self) -> Vec<Lease> {
        self.sink.granted.lock().unwrap().clone()
    }

    fn logged(&self) -> Vec<Question> {
        self.log.0.lock().unwrap().clone()
    }

    /// The one question logged.
    #[track_caller]
    fn only_logged(&self) -> Question {
        let logged = self.logged();
        assert_eq!(logged.len(), 1, "{logged:?}");
        logged.into_iter().next().unwrap()
    }

    /// Ends the listener; what it did not answer.
    fn counts(mut self) -> Counts {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the listener panicked"
            );
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
