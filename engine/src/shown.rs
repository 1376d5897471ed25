//! What the engine answers, as far as a job sees it: whose something is, and where its ports are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::job::LABEL;
use crate::protocol::Subnet;
use crate::query::Query;
use crate::refusal::Refusal;

/// Ports of a container, and where they are on the job's loopback.
pub type Ports = Vec<(u16, u16)>;

/// Whether a container (`/Config/Labels`), network or volume (`/Labels`) is the job's.
#[must_use]
pub fn is_own(answer: &Value, job: &str) -> bool {
    let label = |labels: &str| answer.pointer(labels)?.get(LABEL)?.as_str();
    // A container's own labels are below `Config`; nothing else has that.
    let labels = if answer.get("Config").is_some() {
        "/Config/Labels"
    } else {
        "/Labels"
    };
    label(labels) == Some(job)
}

/// A field of text.
#[must_use]
pub fn text<'a>(answer: &'a Value, pointer: &str) -> &'a str {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The addresses of a network, as the engine has made it.
#[must_use]
pub fn subnet(network: &Value) -> Option<Subnet> {
    let configs = network.pointer("/IPAM/Config")?.as_array()?;
    let [config] = configs.as_slice() else {
        return None;
    };
    let (address, bits) = config.get("Subnet")?.as_str()?.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    Some(Subnet {
        address,
        bits: bits.parse().ok()?,
        gateway: config.get("Gateway")?.as_str()?.parse().ok()?,
    })
}

/// Narrows the `filters` of a list to what is the job's.
///
/// # Errors
/// They are not well-formed.
pub fn narrow(query: &mut Query, job: &str) -> Result<(), Refusal> {
    let wrong = || Refusal::unknown("`filters` that are not as the engine has them");
    let mut filters = match query.get("filters") {
        None => serde_json::Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(filters)) => filters,
            _ => return Err(wrong()),
        },
    };
    let mut labels: Vec<String> = match filters.remove("label") {
        None => Vec::new(),
        Some(Value::Array(list)) => list
            .into_iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?,
        // As older clients write it.
        Some(Value::Object(set)) => set
            .into_iter()
            .filter(|(_, value)| value.as_bool() == Some(true))
            .map(|(key, _)| key)
            .collect(),
        Some(_) => return Err(wrong()),
    };
    labels.push(format!("{LABEL}={job}"));
    // Written as older engines read it, which newer ones do as well: one form for all keys.
    let mut written = serde_json::Map::new();
    for (key, value) in filters {
        let set: serde_json::Map<String, Value> = match value {
            Value::Object(set) => set,
            Value::Array(list) => list
                .into_iter()
                .map(|item| Some((item.as_str()?.to_owned(), json!(true))))
                .collect::<Option<_>>()
                .ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        written.insert(key, Value::Object(set));
    }
    let labels = labels.into_iter().map(|label| (label, json!(true)));
    written.insert("label".to_owned(), Value::Object(labels.collect()));
    query.set("filters", Value::Object(written).to_string());
    Ok(())
}

/// Puts ports into an inspected container, as the engine would show them.
pub fn show_ports(container: &mut Value, ports: &Ports) {
    let mut shown = serde_json::Map::new();
    for (inside, outside) in ports {
        let places = shown
            .entry(format!("{inside}/tcp"))
            .or_insert_with(|| json!([]));
        if let Some(places) = places.as_array_mut() {
            places.push(json!({"HostIp": "127.0.0.1", "HostPort": outside.to_string()}));
        }
    }
    let running = container.pointer("/State/Running").and_then(Value::as_bool) == Some(true);
    if let Some(host) = container
        .get_mut("HostConfig")
        .and_then(Value::as_object_mut)
    {
        host.insert("PortBindings".to_owned(), Value::Object(shown.clone()));
    }
    let settings = container
        .get_mut("NetworkSettings")
        .and_then(Value::as_object_mut);
    if let Some(settings) = settings.filter(|_| running) {
        let known = settings.entry("Ports").or_insert_with(|| json!({}));
        if let Some(known) = known.as_object_mut() {
            known.extend(shown);
        } else {
            *known = Value::Object(shown);
        }
    }
}

/// The same for one container of a list.
pub fn list_ports(container: &mut Value, ports: &Ports) {
    let running = text(container, "/State") == "running";
    let Some(container) = container.as_object_mut().filter(|_| running) else {
        return;
    };
    let listed = container.entry("Ports").or_insert_with(|| json!([]));
    if let Some(listed) = listed.as_array_mut() {
        let own = |port: &Value| port.get("PrivatePort").and_then(Value::as_u64);
        listed.retain(|port| {
            !ports
                .iter()
                .any(|(inside, _)| own(port) == Some(u64::from(*inside)))
        });
        for (inside, outside) in ports {
            listed.push(json!({
                "IP": "127.0.0.1", "PrivatePort": inside, "PublicPort": outside, "Type": "tcp",
            }));
        }
    }
}

/// Ids of listed images, each before the one it was made of: in the order in which they can be removed.
#[must_use]
pub fn children_first(images: &[Value]) -> Vec<&str> {
    let parents: BTreeMap<&str, &str> = images
        .iter()
        .map(|image| (text(image, "/Id"), text(image, "/ParentId")))
        .collect();
    let depth = |image: &str| {
        let mut at = image;
        // As often as there are images: in a circle, there is no order anyway.
        let up = images.iter().map_while(|_| {
            at = parents.get(at).copied()?;
            Some(())
        });
        up.count()
    };
    let mut ids: Vec<(usize, &str)> = parents.keys().map(|id| (depth(id), *id)).collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids.into_iter().map(|(_, id)| id).collect()
}

/// The address of a container in one of its networks, and its first process.
#[must_use]
pub fn whereabouts(container: &Value) -> Option<(u32, Ipv4Addr)> {
    let process = container.pointer("/State/Pid")?.as_u64()?;
    let process = u32::try_from(process)
        .ok()
        .filter(|process| *process != 0)?;
    let networks = container
        .pointer("/NetworkSettings/Networks")?
        .as_object()?;
    let address = |network: &Value| network.get("IPAddress")?.as_str()?.parse().ok();
    networks
        .values()
        .find_map(address)
        .map(|address| (process, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_jobs_own_label_counts() {
        let container = json!({"Config": {"Labels": {LABEL: "a"}}});
        assert!(is_own(&container, "a") && !is_own(&container, "b"));
        assert!(!is_own(
            &json!({"Config": {"Labels": null}, "Labels": {LABEL: "a"}}),
            "a"
        ));
        assert!(is_own(&json!({"Labels": {LABEL: "a"}}), "a"));
        assert!(!is_own(&json!({"Labels": {LABEL: ["a"]}}), "a"));
    }

    #[test]
    fn a_list_is_narrowed_whatever_was_asked_for() {
        for filters in [
            "",
            "{}",
            r#"{"label":["x"]}"#,
            r#"{"label":{"x":true},"name":["a"]}"#,
        ] {
            let mut query = Query::default();
            query.set("filters", filters);
            narrow(&mut query, "job-1").unwrap();
            let written: Value = serde_json::from_str(query.get("filters").unwrap()).unwrap();
            let labels = written.get("label").and_then(Value::as_object).unwrap();
            assert!(labels.contains_key("dev.cordon.job=job-1"), "{written}");
            assert_eq!(labels.contains_key("x"), filters.contains('x'));
        }
        for filters in ["[]", "x", r#"{"label":"x"}"#, r#"{"name":1}"#] {
            let mut query = Query::default();
            query.set("filters", filters);
            assert!(narrow(&mut query, "job-1").err().is_some(), "{filters}");
        }
    }

    #[test]
    fn images_are_removed_before_what_they_are_made_of() {
        let image = |id: &str, parent: &str| json!({"Id": id, "ParentId": parent});
        let chain = [
            image("b", "a"),
            image("d", "c"),
            image("a", ""),
            image("c", "b"),
        ];
        assert_eq!(children_first(&chain), ["d", "c", "b", "a"]);
        let circle = [image("a", "b"), image("b", "a")];
        assert_eq!(children_first(&circle).len(), 2);
    }

    #[test]
    fn ports_are_shown_as_the_engine_shows_its_own() {
        let mut container = json!({
            "State": {"Running": true, "Pid": 7}, "HostConfig": {"PortBindings": {}},
            "NetworkSettings": {
                "Ports": {"80/tcp": null}, "Networks": {"n": {"IPAddress": "172.18.0.2"}},
            },
        });
        show_ports(&mut container, &vec![(80, 8080), (80, 9090)]);
        let places = container.pointer("/NetworkSettings/Ports/80~1tcp").unwrap();
        assert_eq!(places.as_array().map(Vec::len), Some(2));
        assert_eq!(text(places, "/0/HostPort"), "8080");
        assert_eq!(
            whereabouts(&container),
            Some((7, Ipv4Addr::new(172, 18, 0, 2)))
        );
    }
}
