//! The `[[allow]]` tables of a profile, read into rules.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Mistake, nearest};
use super::endpoint::{Endpoint, NetError, parse_net};
use super::name::NameError;
use super::pattern::{DomainPattern, PatternError};
use super::ports::{PortError, PortRange, PortSet};
use super::profile::read_line;
use super::reader::{Reader, Schema, Table, as_i64};
use super::verify::Verify;
use super::{Origin, Protocol, Rule};

/// Ports of a host rule that names none.
const HTTPS: u16 = 443;
/// Goes to the job's own listener, whatever a rule says.
const DNS: u16 = 53;

pub(crate) const ALLOW: Schema = Schema {
    what: "a rule",
    keys: &[
        "host", "cidr", "ports", "protocol", "verify", "private", "reason",
    ],
    later: &[],
};

/// Reads all rules of a profile.
pub(crate) fn read_rules(reader: &mut Reader, table: Table<'_>) -> Vec<Rule> {
    if let Some(DeValue::Table(_)) = table.value("allow").map(Spanned::get_ref) {
        let mistake = Mistake::new("`allow` must be a list of rules")
            .help("write `[[allow]]` with two pairs of brackets above each rule");
        reader.push(&table.span_of("allow"), mistake);
        return Vec::new();
    }
    let Some(list) = reader.array(table, "allow") else {
        return Vec::new();
    };
    let mut rules: Vec<Rule> = Vec::new();
    let mut places = Places::default();
    for item in *list.get_ref() {
        let Some(entry) = reader.as_table("allow", item, &ALLOW) else {
            continue;
        };
        if let Some(rule) = read_rule(reader, entry) {
            places.refuse_repetition(reader, &rule, &item.span());
            rules.push(rule);
        }
    }
    rules
}

/// The ports that rules about each endpoint allow, and where they stand: to find a rule that says
/// what another has said.
#[derive(Default)]
struct Places(BTreeMap<(Endpoint, Protocol), BTreeMap<u16, Place>>);

/// One range of ports, found by its first one.
struct Place {
    last: u16,
    span: Range<usize>,
}

impl Places {
    fn refuse_repetition(&mut self, reader: &mut Reader, rule: &Rule, span: &Range<usize>) {
        let key = (rule.endpoint.clone(), rule.protocol);
        let known = self.0.entry(key).or_default();
        let overlapping = |(first, last): (u16, u16)| {
            let (_, before) = known.range(..=last).next_back()?;
            (before.last >= first).then(|| before.span.clone())
        };
        if let Some(first) = rule.ports.ranges().find_map(overlapping) {
            let source = Arc::clone(reader.source());
            let mistake = Mistake::new(format!("{} is allowed twice", rule.endpoint))
                .at(&source, span.clone())
                .label("again here")
                .related(&source, first, "first here")
                .help("keep one of the two rules; together their ports must not overlap");
            reader.push(span, mistake);
            return;
        }
        known.extend(rule.ports.ranges().map(|(first, last)| {
            let span = span.clone();
            (first, Place { last, span })
        }));
    }
}

fn read_rule(reader: &mut Reader, table: Table<'_>) -> Option<Rule> {
    let endpoint = read_endpoint(reader, table);
    let protocol = read_protocol(reader, table);
    let ports = read_ports(reader, table);
    let private = read_private(reader, table);
    let reason = read_line(reader, table, "reason");
    let verify = read_verify(reader, table, protocol);
    Some(Rule {
        endpoint: endpoint?,
        ports: ports?,
        protocol: protocol?,
        private: private?,
        verify: verify?,
        reason,
        origin: Origin {
            source: reader.source().name().to_owned(),
            line: reader.source().line(table.span().start),
        },
    })
}

fn read_endpoint(reader: &mut Reader, table: Table<'_>) -> Option<Endpoint> {
    let host = reader.string(table, "host");
    let cidr = reader.string(table, "cidr");
    match (table.has("host"), table.has("cidr")) {
        (true, true) => {
            let mistake = Mistake::new("a rule has either `host` or `cidr`, not both")
                .help("make two rules of it");
            reader.push(&table.span_of("cidr"), mistake);
            None
        }
        (false, false) => {
            let mistake = Mistake::new("a rule needs `host` or `cidr`")
                .help("add `host = \"api.example.com\"` or `cidr = \"192.0.2.0/24\"`");
            reader.push(&table.span(), mistake);
            None
        }
        (true, false) => read_host(reader, &host?),
        (false, true) => read_cidr(reader, &cidr?),
    }
}

fn read_host(reader: &mut Reader, host: &Spanned<&str>) -> Option<Endpoint> {
    match DomainPattern::parse(host.get_ref()) {
        Ok(pattern) => Some(Endpoint::Host(pattern)),
        Err(error) => {
            let help = host_help(&error, host.get_ref());
            let mistake = Mistake::new(error.to_string()).maybe_help(help);
            reader.push(&host.span(), mistake);
            None
        }
    }
}

fn host_help(error: &PatternError, text: &str) -> Option<String> {
    match error {
        PatternError::Localhost => Some(
            "write `cidr = \"127.0.0.1/32\"` (and a rule for `::1/128`) to reach a service of the host"
                .to_owned(),
        ),
        PatternError::PublicSuffix(suffix) => Some(format!(
            "name the owner's zone, as in `*.owner.{suffix}`, or list the names one by one"
        )),
        PatternError::Star => Some(
            "`*.example.com` is one label below, `**.example.com` any number of labels".to_owned(),
        ),
        PatternError::Name(NameError::Address) => {
            let cidr = match parse_net(text) {
                Err(NetError::NoLength(net)) => net.to_string(),
                _ => "192.0.2.1/32".to_owned(),
            };
            Some(format!("write `cidr = \"{cidr}\"` with its ports"))
        }
        PatternError::Name(NameError::Character(':' | '/')) => {
            Some("write the host name alone; ports belong to `ports`".to_owned())
        }
        PatternError::Name(_) => None,
    }
}

fn read_cidr(reader: &mut Reader, cidr: &Spanned<&str>) -> Option<Endpoint> {
    match parse_net(cidr.get_ref()) {
        Ok(net) => Some(Endpoint::Net(net)),
        Err(error) => {
            let mistake = Mistake::new(error.to_string()).help(cidr_help(&error));
            reader.push(&cidr.span(), mistake);
            None
        }
    }
}

fn cidr_help(error: &NetError) -> String {
    match error {
        NetError::Everything => {
            "list the ranges the job needs; to learn them, run it with `mode = \"audit\"`"
                .to_owned()
        }
        NetError::HostBits(net) | NetError::NoLength(net) => format!("write \"{net}\""),
        NetError::Length(_) | NetError::Syntax => {
            "write an address and a prefix length, as in \"192.0.2.0/24\" or \"2001:db8::/32\""
                .to_owned()
        }
        NetError::Mapped => {
            "write \"192.0.2.0/24\" instead of \"::ffff:192.0.2.0/120\"; it covers both spellings"
                .to_owned()
        }
    }
}

fn read_protocol(reader: &mut Reader, table: Table<'_>) -> Option<Protocol> {
    if !table.has("protocol") {
        return Some(Protocol::Tcp);
    }
    let protocol = reader.string(table, "protocol")?;
    let known = Protocol::parse(protocol.get_ref());
    if known.is_none() {
        let mistake = Mistake::new(format!("unknown protocol `{}`", protocol.get_ref()))
            .help("the protocols are \"tcp\" and \"udp\"; jobs get no other");
        reader.push(&protocol.span(), mistake);
    }
    known
}

fn read_ports(reader: &mut Reader, table: Table<'_>) -> Option<PortSet> {
    if !table.has("ports") {
        if table.has("host") {
            return PortSet::single(HTTPS);
        }
        // A rule with neither host nor range is complained about elsewhere.
        if table.has("cidr") {
            let mistake = Mistake::new("a rule with `cidr` needs `ports`")
                .help("add `ports = [443]`, or ranges such as `[\"6000-6010\"]`");
            reader.push(&table.span(), mistake);
        }
        return None;
    }
    let list = reader.array(table, "ports")?;
    let mut ranges = Vec::new();
    for item in *list.get_ref() {
        ranges.push(read_port(reader, item));
    }
    // One bad item spoils the rule: a part of it must not stand.
    let ranges = ranges.into_iter().collect::<Option<Vec<_>>>()?;
    let Some(ports) = PortSet::new(ranges) else {
        let mistake = Mistake::new("`ports` is empty, so the rule allows nothing")
            .help("list the ports, or remove the rule");
        reader.push(&list.span(), mistake);
        return None;
    };
    if ports.ranges().eq([(DNS, DNS)]) {
        let mistake = Mistake::new("port 53 always goes to the job's own DNS listener")
            .help("allow the names the job looks up; `[dns] upstream` says who answers");
        reader.push(&list.span(), mistake);
        return None;
    }
    Some(ports)
}

fn read_port(reader: &mut Reader, item: &Spanned<DeValue<'_>>) -> Option<PortRange> {
    let range = match item.get_ref() {
        DeValue::String(text) => PortRange::parse(text),
        value => match as_i64(value) {
            Some(port) => PortRange::new(port, port),
            None if value.is_integer() => Err(PortError::OutOfRange(i64::MAX)),
            None => Err(PortError::Syntax),
        },
    };
    match range {
        Ok(range) => Some(range),
        Err(error) => {
            let help = match error {
                PortError::Backwards { first, last } => format!("write \"{last}-{first}\""),
                PortError::OutOfRange(_) | PortError::Syntax => {
                    "write ports as `443` and ranges as `\"6000-6010\"`".to_owned()
                }
            };
            reader.push(&item.span(), Mistake::new(error.to_string()).help(help));
            None
        }
    }
}

fn read_private(reader: &mut Reader, table: Table<'_>) -> Option<bool> {
    if !table.has("private") {
        return Some(false);
    }
    let private = reader.boolean(table, "private")?;
    if *private.get_ref() && !table.has("host") {
        let mistake = Mistake::new("`private` is about the answers for a name")
            .help("a rule with `cidr` says its addresses itself; remove `private`");
        reader.push(&private.span(), mistake);
        return None;
    }
    Some(private.into_inner())
}

/// `None`: a mistake. `Some(None)`: the rule does not say.
#[expect(
    clippy::option_option,
    reason = "a value that may be left out, and may be wrong"
)]
fn read_verify(
    reader: &mut Reader,
    table: Table<'_>,
    protocol: Option<Protocol>,
) -> Option<Option<Verify>> {
    if !table.has("verify") {
        return Some(None);
    }
    let text = reader.string(table, "verify")?;
    let Some(verify) = Verify::parse(text.get_ref()) else {
        let help = match nearest(text.get_ref(), Verify::WORDS) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "the values are \"tls\", \"http\" and \"none\"".to_owned(),
        };
        let mistake = Mistake::new(format!("unknown value `{}` of `verify`", text.get_ref()));
        reader.push(&text.span(), mistake.help(help));
        return None;
    };
    let problem = if verify == Verify::None {
        None
    } else if table.has("cidr") {
        Some("a rule with `cidr` allows no name that a connection could show")
    } else if protocol == Some(Protocol::Udp) {
        Some("names are not read in UDP")
    } else {
        None
    };
    if let Some(problem) = problem {
        let mistake = Mistake::new(problem).help("remove `verify`");
        reader.push(&text.span(), mistake);
        return None;
    }
    Some(Some(verify))
}
