//! Networks of a job, and how its containers join them.

use serde_json::{Value, json};

use super::label;
use crate::fields::{self, Field, Object, Rule, wrong};
use crate::job::{Job, Judged, Need};
use crate::refusal::{Refusal, printable};

const ADDRESSES: &str = "the engine chooses addresses, so that none is another's. Leave subnets and addresses out, \
                         and use names";

const ENDPOINT: &[Field] = &[
    ("IPAMConfig", Rule::Refuse(ADDRESSES)),
    ("Links", Rule::Keep),
    ("Aliases", Rule::Keep),
    (
        "MacAddress",
        Rule::Refuse("the engine chooses it. Leave it out"),
    ),
    (
        "DriverOpts",
        Rule::Refuse("options of a driver can change the host's network. Leave them out"),
    ),
    ("GwPriority", Rule::Keep),
    ("NetworkID", Rule::Drop),
    ("EndpointID", Rule::Drop),
    ("Gateway", Rule::Drop),
    ("IPAddress", Rule::Drop),
    ("IPPrefixLen", Rule::Drop),
    ("IPv6Gateway", Rule::Drop),
    ("GlobalIPv6Address", Rule::Drop),
    ("GlobalIPv6PrefixLen", Rule::Drop),
    ("DNSNames", Rule::Drop),
];

/// `NetworkingConfig`: what networks a new container joins.
pub(super) fn judge_endpoints(
    job: &Job,
    host: &Object,
    networking: &mut Object,
    judged: &mut Judged,
) -> Result<(), Refusal> {
    fields::apply(
        "NetworkingConfig",
        networking,
        &[("EndpointsConfig", Rule::Judged)],
    )?;
    let mode = fields::text(host, "NetworkMode")?;
    let mut joined = Object::new();
    for (name, endpoint) in fields::child(networking, "EndpointsConfig")? {
        let name = if matches!(name.as_str(), "default" | "bridge") {
            job.network.clone()
        } else {
            name
        };
        let endpoint = judge_endpoint(endpoint)?;
        // What says nothing is what the client puts in for the network mode.
        if matches!(name.as_str(), "host" | "none") || name.starts_with("container:") {
            if name == mode && !endpoint.values().any(fields::says_something) {
                continue;
            }
            return Err(Refusal::unknown(format!(
                "the network `{}`",
                printable(&name)
            )));
        }
        if name != job.network {
            judged.needs.push(Need::Network(name.clone()));
        }
        joined.insert(name, Value::Object(endpoint));
    }
    networking.insert("EndpointsConfig".to_owned(), Value::Object(joined));
    Ok(())
}

fn judge_endpoint(endpoint: Value) -> Result<Object, Refusal> {
    let mut endpoint = match endpoint {
        Value::Null => Object::new(),
        Value::Object(endpoint) => endpoint,
        _ => return Err(wrong("EndpointsConfig", "objects")),
    };
    fields::apply("EndpointsConfig", &mut endpoint, ENDPOINT)?;
    Ok(endpoint)
}

const NETWORK: &[Field] = &[
    ("Name", Rule::Judged),
    ("CheckDuplicate", Rule::Keep),
    ("Driver", Rule::Judged),
    ("Scope", Rule::Judged),
    ("Internal", Rule::Keep),
    ("Attachable", Rule::Keep),
    (
        "Ingress",
        Rule::Refuse("networks of a swarm are not a job's"),
    ),
    (
        "ConfigOnly",
        Rule::Refuse("a network's settings are the engine's. Leave it out"),
    ),
    ("ConfigFrom", Rule::Judged),
    ("IPAM", Rule::Judged),
    ("EnableIPv4", Rule::Judged),
    (
        "EnableIPv6",
        Rule::Refuse(
            "networks of a job are IPv4. What is outside is reached over both: leave it out",
        ),
    ),
    (
        "Options",
        Rule::Refuse("options of a driver can change the host's network. Leave them out"),
    ),
    ("Labels", Rule::Judged),
];

/// Judges a new network.
///
/// # Errors
/// It is not one that a job may have.
pub fn judge_network(job: &Job, bytes: &[u8]) -> Result<Judged, Refusal> {
    let mut network = fields::object(bytes)?;
    fields::apply("", &mut network, NETWORK)?;
    let name = fields::text(&network, "Name")?;
    if name.is_empty() || matches!(name.as_str(), "default" | "bridge" | "host" | "none") {
        return Err(Refusal::unknown("a network of this name"));
    }
    let driver = fields::text(&network, "Driver")?;
    if !matches!(driver.as_str(), "" | "bridge") {
        let why = "macvlan, ipvlan and overlay networks put containers on wires of the host. Leave \
                   `--driver` out";
        let what = format!("the network driver `{}`", printable(&driver));
        return Err(Refusal::forbidden(what, why));
    }
    if !matches!(fields::text(&network, "Scope")?.as_str(), "" | "local") {
        return Err(Refusal::forbidden(
            "`Scope`",
            "networks of a swarm are not a job's",
        ));
    }
    if network
        .remove("EnableIPv4")
        .is_some_and(|value| value == Value::Bool(false))
    {
        return Err(Refusal::forbidden("a network without IPv4", ADDRESSES));
    }
    let from = fields::child(&mut network, "ConfigFrom")?;
    if from.values().any(fields::says_something) {
        return Err(Refusal::forbidden("`ConfigFrom`", ADDRESSES));
    }
    let mut ipam = fields::child(&mut network, "IPAM")?;
    let table = [
        ("Driver", Rule::Judged),
        ("Config", Rule::Refuse(ADDRESSES)),
        ("Options", Rule::Refuse(ADDRESSES)),
    ];
    fields::apply("IPAM", &mut ipam, &table)?;
    if !matches!(fields::text(&ipam, "Driver")?.as_str(), "" | "default") {
        return Err(Refusal::forbidden("`IPAM.Driver`", ADDRESSES));
    }
    label(job, &mut network)?;
    network.insert("Driver".to_owned(), json!("bridge"));
    network.insert("EnableIPv6".to_owned(), json!(false));
    Ok(Judged {
        body: Value::Object(network).to_string().into_bytes(),
        ..Judged::default()
    })
}

/// Judges a container that joins a network, which must be the job's as well.
///
/// # Errors
/// It asks for more than that.
pub fn judge_connect(bytes: &[u8]) -> Result<Judged, Refusal> {
    let mut connect = fields::object(bytes)?;
    fields::apply(
        "",
        &mut connect,
        &[
            ("Container", Rule::Judged),
            ("EndpointConfig", Rule::Judged),
        ],
    )?;
    let endpoint = connect.remove("EndpointConfig").unwrap_or_default();
    let endpoint = judge_endpoint(endpoint)?;
    connect.insert("EndpointConfig".to_owned(), Value::Object(endpoint));
    about_container(connect)
}

/// Judges a container that leaves a network.
///
/// # Errors
/// It asks for more than that.
pub fn judge_disconnect(bytes: &[u8]) -> Result<Judged, Refusal> {
    let mut disconnect = fields::object(bytes)?;
    fields::apply(
        "",
        &mut disconnect,
        &[("Container", Rule::Judged), ("Force", Rule::Keep)],
    )?;
    about_container(disconnect)
}

fn about_container(object: Object) -> Result<Judged, Refusal> {
    let name = fields::text(&object, "Container")?;
    Ok(Judged {
        body: Value::Object(object).to_string().into_bytes(),
        needs: vec![Need::Container(name)],
        ..Judged::default()
    })
}
