//! One question from bytes to bytes: the order in which it is judged, asked, leased and answered.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{fmt, io};

use cordon_ebpf::abi::ruleset::RuleIndex;
use cordon_ebpf::abi::verdict::Mode;
use cordon_ebpf::abi::{TCP, UDP};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, Record};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use tracing::{debug, info, warn};

use super::answer::{self, Given, Terms, Withheld};
use super::cache::Resolved;
use super::limiter::{Limiter, WildcardLimits};
use super::listener::Origin;
use super::message::{self, Reply, Reproach};
use super::question::{self, Act, Asked, Incoming, Refusal};
use super::reverse::{Held, Known};
use super::{
    ClientLookup, LeaseSink, Limits, NameLog, NamePolicy, OwnAddresses, Question, Upstream,
    embedded,
};
use crate::report::NameVerdict;

/// All that a listener needs to resolve names for one job.
pub struct Resolution {
    /// What the policy is called: refusals name it.
    pub profile: String,
    /// Which names are allowed.
    pub ruleset: Arc<dyn NamePolicy>,
    /// Whether a name that is not allowed is refused. Anything but audit enforces.
    pub mode: Mode,
    /// Where leases go.
    pub sink: Arc<dyn LeaseSink>,
    /// Who asked.
    pub clients: Arc<dyn ClientLookup>,
    /// Where questions are recorded.
    pub log: Arc<dyn NameLog>,
    /// Which addresses are the host's own.
    pub own: Arc<dyn OwnAddresses>,
    /// Where allowed names are asked.
    pub upstream: Upstream,
    /// What the job has asked so far.
    pub memory: Memory,
    /// Shortest lease, in seconds: programs connect some time after they have resolved.
    pub ttl_floor: u32,
    /// How much one job may ask at once.
    pub limits: Limits,
}

/// What must be known of earlier questions of the job to judge the next one. Bounded.
#[derive(Debug)]
pub struct Memory {
    since: Instant,
    limiter: Mutex<Limiter>,
    held: Mutex<Held>,
}

impl Memory {
    /// That of a job that has asked nothing yet.
    #[must_use]
    pub fn new(limits: WildcardLimits) -> Self {
        Self {
            since: Instant::now(),
            limiter: Mutex::new(Limiter::new(limits)),
            held: Mutex::default(),
        }
    }
}

impl fmt::Debug for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolution")
            .field("profile", &self.profile)
            .field("mode", &self.mode)
            .field("upstream", &self.upstream)
            .field("memory", &self.memory)
            .field("ttl_floor", &self.ttl_floor)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Where a message came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The network namespace.
    pub(super) origin: &'a Origin,
    /// The names this job asked its own namespaces' resolvers for.
    pub(super) embedded: &'a embedded::Names,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A question, answered.
    Answered {
        /// The answer.
        bytes: Vec<u8>,
        /// Whether it was beyond what a wildcard is for.
        limited: bool,
    },
    /// Not a question; perhaps with an answer that says so.
    Malformed(Option<Vec<u8>>),
}

/// One line of the log, written when the question is done with: answered, or given up because the
/// job ended first. Until there is an answer it is a failure.
struct Entry<'a> {
    log: &'a dyn NameLog,
    question: Question,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.log.record(self.question.clone());
    }
}

/// A reply and what the report says about it.
struct Judged {
    reply: Reply,
    verdict: NameVerdict,
    rule: Option<RuleIndex>,
    addresses: Vec<IpAddr>,
}

impl Judged {
    fn new(verdict: NameVerdict, rules: &[RuleIndex], reply: Reply) -> Self {
        Self {
            reply,
            verdict,
            rule: rules.first().copied(),
            addresses: Vec::new(),
        }
    }

    fn failed(verdict: NameVerdict, rules: &[RuleIndex], reproach: Reproach) -> Self {
        let reply = Reply::refusal(ResponseCode::ServFail, reproach);
        Self::new(verdict, rules, reply)
    }
}

impl Resolution {
    /// Answers one message.
    pub(super) async fn answer(
        &self,
        bytes: Vec<u8>,
        from: SocketAddr,
        protocol: Protocol,
        place: Place<'_>,
    ) -> Outcome {
        match question::read(bytes, from, protocol) {
            Incoming::Malformed(answer) => Outcome::Malformed(answer),
            Incoming::Question(request) => {
                let (bytes, verdict) = self.answer_question(&request, place).await;
                let limited = verdict == Some(NameVerdict::Limited);
                Outcome::Answered { bytes, limited }
            }
        }
    }

    async fn answer_question(
        &self,
        request: &Request,
        place: Place<'_>,
    ) -> (Vec<u8>, Option<NameVerdict>) {
        let [query] = request.queries.queries() else {
            let reply = Reply::code(ResponseCode::FormErr);
            return (message::encode(request, &reply), None);
        };
        if request.version() > 0 {
            let reply = Reply::code(ResponseCode::BADVERS);
            return (message::encode(request, &reply), None);
        }
        // Now, not after the answer has come: the process may be gone by then.
        let protocol = ip_protocol(request.protocol());
        let netns = place.origin.netns;
        let client = self.clients.client(netns, protocol, request.src().port());
        let (asked, act) = question::admit(query, &*self.ruleset, self.mode());
        let mut entry = Entry {
            log: &*self.log,
            question: Question {
                name: asked.name.clone(),
                kind: asked.kind_text.clone(),
                verdict: NameVerdict::Failed,
                rule: act.rules().first().copied(),
                addresses: Vec::new(),
                process: client.map(|client| client.process),
            },
        };
        let judged = match (&place.origin.own, client) {
            (Some(namespace), Some(client))
                if embedded::may_ask(&asked, &act, client.server)
                    && place.embedded.take(&asked.name) =>
            {
                ask_embedded(namespace, &asked, request.metadata.id).await
            }
            _ => self.judge(&asked, act).await,
        };
        debug!(dns.name = %asked.name, dns.kind = %asked.kind_text, verdict = ?judged.verdict, "name asked");
        let bytes = message::encode(request, &judged.reply);
        entry.question.verdict = judged.verdict;
        entry.question.rule = judged.rule;
        entry.question.addresses = judged.addresses;
        (bytes, Some(judged.verdict))
    }

    async fn judge(&self, asked: &Asked, act: Act) -> Judged {
        match act {
            Act::Refuse(refusal) => self.refuse(refusal, &[]),
            Act::Reverse(address) => self.reverse(asked, address),
            Act::Forward { rules } => match self.limit(asked, &rules) {
                Ok(()) => self.forward(asked, &rules).await,
                Err(refusal) if self.mode() == Mode::AUDIT => Judged {
                    verdict: refusal.verdict(),
                    ..self.forward(asked, &rules).await
                },
                Err(refusal) => self.refuse(refusal, &rules),
            },
        }
    }

    fn mode(&self) -> Mode {
        self.ruleset.mode(self.mode)
    }

    fn refuse(&self, refusal: Refusal, rules: &[RuleIndex]) -> Judged {
        let reply = Reply::refusal(ResponseCode::Refused, refusal.reproach(&self.profile));
        Judged::new(refusal.verdict(), rules, reply)
    }

    /// Whether the name is within what its wildcard is for. A name that a rule spells out is; of
    /// several wildcards the first one counts, which is also the one that reports name.
    fn limit(&self, asked: &Asked, rules: &[RuleIndex]) -> Result<(), Refusal> {
        let mut wildcards = Vec::new();
        for rule in rules {
            let Some(part) = self.ruleset.wildcard_part(*rule, &asked.name) else {
                return Ok(());
            };
            wildcards.push((self.ruleset.counted_as(*rule), part));
        }
        let Some((rule, part)) = wildcards.into_iter().next() else {
            return Ok(());
        };
        let now = self.memory.since.elapsed();
        let admitted = lock(&self.memory.limiter).admit(rule, part, now);
        admitted.map_err(Refusal::Limited)
    }

    /// The names an address is leased for.
    fn reverse(&self, asked: &Asked, address: IpAddr) -> Judged {
        let now = self.memory.since.elapsed();
        let known = lock(&self.memory.held).names_of(address, now);
        let record = |known: &Known| {
            let mut target = Name::from_ascii(&known.name).ok()?;
            target.set_fqdn(true);
            let data = RData::PTR(PTR(target));
            Some(Record::from_rdata(asked.wire.clone(), known.seconds, data))
        };
        let mut reply = Reply::code(ResponseCode::NoError);
        reply.answers = known.iter().filter_map(record).collect();
        if reply.answers.is_empty() {
            return self.refuse(Refusal::NotLeased, &[]);
        }
        let rule = known.iter().find_map(|known| known.rule);
        let verdict = match rule {
            Some(_) => NameVerdict::Allowed,
            // Leased in audit mode only.
            None => NameVerdict::WouldDeny,
        };
        Judged::new(verdict, rule.as_slice(), reply)
    }

    async fn forward(&self, asked: &Asked, rules: &[RuleIndex]) -> Judged {
        match Box::pin(self.upstream.resolve(&asked.name, asked.kind)).await {
            Ok(resolved) => self.give(asked, rules, resolved),
            Err(error) => {
                info!(dns.name = %asked.name, error = %chain(&error), "name not resolved");
                let reproach = Reproach::unreachable(error.why());
                Judged::failed(NameVerdict::Failed, rules, reproach)
            }
        }
    }

    /// Leases what may be given, then gives it.
    fn give(&self, asked: &Asked, rules: &[RuleIndex], resolved: Resolved) -> Judged {
        let own = match self.own(&resolved.answers) {
            Ok(own) => own,
            Err(error) => {
                warn!(dns.name = %asked.name, %error, "cannot tell which addresses are the host's");
                let reproach = Reproach::other("the host's own addresses are not known");
                return Judged::failed(NameVerdict::Failed, rules, reproach);
            }
        };
        let terms = Terms {
            rules,
            policy: &*self.ruleset,
            mode: self.mode(),
            ttl_floor: self.ttl_floor,
            own: &own,
        };
        let given = match answer::filter(asked, &resolved.answers, &terms) {
            Ok(given) => given,
            Err(withheld) => return self.withhold(asked, rules, &withheld),
        };
        if !given.leases.is_empty()
            && let Err(error) = self.sink.grant(&given.leases)
        {
            warn!(dns.name = %asked.name, error = %chain(&error), "answer not leased");
            let reproach = Reproach::other("the kernel took no lease for the answer");
            return Judged::failed(NameVerdict::NotLeased, rules, reproach);
        }
        let now = self.memory.since.elapsed();
        lock(&self.memory.held).hold(&given.leases, now);
        deliver(asked, rules, given, resolved)
    }

    /// Those of an answer's addresses that the host has itself.
    fn own(&self, answers: &[Record]) -> io::Result<BTreeSet<IpAddr>> {
        let mut own = BTreeSet::new();
        for address in answers.iter().filter_map(answer::address_of) {
            if self.own.has(address)? {
                own.insert(address);
            }
        }
        Ok(own)
    }

    /// The answer where nothing may be given.
    fn withhold(&self, asked: &Asked, rules: &[RuleIndex], withheld: &Withheld) -> Judged {
        match withheld {
            Withheld::Rebinding(addresses) => {
                info!(dns.name = %asked.name, addresses = ?addresses, "answer withheld: not public");
                let reproach = Reproach::blocked(format!(
                    "denied by profile {}: all addresses of the name are private or the host's own",
                    self.profile
                ));
                let reply = Reply::refusal(ResponseCode::Refused, reproach);
                Judged {
                    addresses: addresses.clone(),
                    ..Judged::new(NameVerdict::Rebinding, rules, reply)
                }
            }
            Withheld::TooMany(count) => {
                warn!(dns.name = %asked.name, addresses = count, "answer withheld: too many addresses");
                let reproach = Reproach::other("more addresses than can be leased");
                Judged::failed(NameVerdict::NotLeased, rules, reproach)
            }
            Withheld::Astray(error) => {
                info!(dns.name = %asked.name, %error, "answer withheld");
                let reproach = Reproach::other("the upstream resolver's answer has no end");
                Judged::failed(NameVerdict::Failed, rules, reproach)
            }
        }
    }
}

/// The answer of the resolver in the job's own namespace, without leases.
async fn ask_embedded(namespace: &File, asked: &Asked, id: u16) -> Judged {
    match embedded::ask(namespace, asked, id).await {
        Ok(said) => {
            let mut reply = Reply::code(said.code);
            let addresses = said
                .answers
                .iter()
                .filter_map(|record| record.data.ip_addr());
            let addresses = addresses.collect();
            reply.answers = said.answers;
            Judged {
                addresses,
                ..Judged::new(NameVerdict::Local, &[], reply)
            }
        }
        Err(error) => {
            info!(dns.name = %asked.name, %error, "the namespace's own resolver gave no answer");
            let reproach = Reproach::unreachable("the resolver at 127.0.0.11 gave no answer");
            Judged::failed(NameVerdict::Failed, &[], reproach)
        }
    }
}

/// The answer whose leases are in the kernel.
fn deliver(asked: &Asked, rules: &[RuleIndex], given: Given, resolved: Resolved) -> Judged {
    let Given {
        records,
        leases,
        offending,
    } = given;
    let granted = leases.iter().any(|lease| !lease.rules.is_empty());
    // In audit mode: no rule for the name, or none for any of its addresses.
    let verdict = if rules.is_empty() || (!granted && !offending.is_empty()) {
        NameVerdict::WouldDeny
    } else {
        NameVerdict::Allowed
    };
    let mut reply = Reply::code(resolved.code);
    if !offending.is_empty() {
        info!(dns.name = %asked.name, addresses = ?offending, "addresses that are not public");
        let why = "addresses that are private or the host's own were left out";
        reply.reproach = Some(Reproach::blocked(why));
    }
    reply.answers = records;
    reply.authorities = resolved.authorities;
    Judged {
        addresses: leases.into_iter().map(|lease| lease.address).collect(),
        ..Judged::new(verdict, rules, reply)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn ip_protocol(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => UDP,
        _ => TCP,
    }
}

/// An error with its sources, for one line of the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
