//! The query of a build: each key judged, and what goes on written anew.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::DOCKERFILE;
use crate::create::judge_ulimits;
use crate::fields::Object;
use crate::job::{Job, LABEL, RESERVED};
use crate::query::Query;
use crate::refusal::{Refusal, printable};

/// Which network containers of the build are in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Network {
    /// The job's own.
    Own,
    /// None at all.
    None,
    /// One of the job's, by name.
    Named(String),
    /// That of a container of the job, by name.
    Container(String),
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What goes on, but for the network.
    pub query: Query,
    /// Path of the Dockerfile in the context; may be empty.
    pub dockerfile: String,
    /// Names that the image gets when it is there.
    pub names: Vec<String>,
    /// Values of `ARG`.
    pub arguments: BTreeMap<String, String>,
    /// The last stage; may be empty.
    pub target: String,
    /// Where its containers are.
    pub network: Network,
    /// Images are fetched even if they are there.
    pub fetch: bool,
}

const BUILDKIT: &str = "BuildKit speaks a protocol of its own, in which cordon cannot judge a build. Build with \
                        `DOCKER_BUILDKIT=0`, which cordon sets for jobs";

/// What is refused if it says something, and why.
const REFUSED: [(&str, &str); 8] = [
    ("session", BUILDKIT),
    ("buildid", BUILDKIT),
    (
        "outputs",
        "only BuildKit writes elsewhere. Leave `--output` out, and use `docker save`",
    ),
    (
        "remote",
        "the engine would fetch it past the job's rules. Fetch it in the job, and build there",
    ),
    (
        "cgroupparent",
        "containers of a build are below their job's cgroup. Leave `--cgroup-parent` out",
    ),
    (
        "securityopt",
        "a job's containers have the engine's own system call filter, labels and hidden paths. Leave \
         `--security-opt` out",
    ),
    (
        "isolation",
        "there is one kind of containers. Leave `--isolation` out",
    ),
    (
        "squash",
        "it is an experiment of the engine's. Leave `--squash` out",
    ),
];

/// Numbers: limits, which divide what the job has.
const NUMBERS: [&str; 6] = [
    "memory",
    "memswap",
    "cpushares",
    "cpuperiod",
    "cpuquota",
    "shmsize",
];

/// Other texts that are passed on, if they are plain.
const TEXTS: [&str; 3] = ["cpusetcpus", "cpusetmems", "platform"];

impl Options {
    /// Judges a request.
    ///
    /// # Errors
    /// It asks for more than a job may have.
    pub fn judge(job: &Job, asked: &Query) -> Result<Self, Refusal> {
        for (key, why) in REFUSED {
            let said = asked.get(key).filter(|said| match key {
                "squash" => asked.flag(key),
                "isolation" => *said != "default",
                "outputs" => !matches!(said.trim(), "null" | "[]"),
                _ => true,
            });
            if let Some(said) = said {
                let what = format!("the build's `{key}` = `{}`", printable(said));
                return Err(Refusal::forbidden(what, why));
            }
        }
        if !matches!(asked.get("version"), None | Some("1")) {
            return Err(Refusal::forbidden("a build by BuildKit", BUILDKIT));
        }
        let mut query = Query::default();
        for key in ["nocache", "q"] {
            if asked.flag(key) {
                query.set(key, "1");
            }
        }
        for key in NUMBERS {
            if let Some(said) = asked.get(key) {
                let number: i64 = said.parse().map_err(|_no_number| strange(key, said))?;
                query.set(key, number.to_string());
            }
        }
        for key in TEXTS {
            if let Some(said) = asked.get(key) {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || b"/,._-".contains(&byte);
                if said.len() > 128 || !said.bytes().all(good) {
                    return Err(strange(key, said));
                }
                query.set(key, said);
            }
        }
        for host in asked.all("extrahosts") {
            query.add("extrahosts", host);
        }
        if let Some(limits) = parsed::<Vec<Value>>("ulimits", asked)? {
            let host = Object::from_iter([("Ulimits".to_owned(), json!(limits))]);
            judge_ulimits(&host)?;
            query.set("ulimits", json!(limits).to_string());
        }
        let arguments: Option<BTreeMap<String, Option<String>>> = parsed("buildargs", asked)?;
        let arguments = arguments.unwrap_or_default();
        query.set("buildargs", json!(arguments).to_string());
        query.set("labels", labels(job, asked)?);
        // Nothing is left of a step, whatever becomes of it; and no other builder.
        for key in ["rm", "forcerm", "version"] {
            query.set(key, "1");
        }
        query.set("cgroupparent", &job.cgroup_parent);
        query.set("dockerfile", DOCKERFILE);
        Ok(Self {
            query,
            dockerfile: asked.get("dockerfile").unwrap_or_default().to_owned(),
            names: asked.all("t").map(str::to_owned).collect(),
            arguments: arguments
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            target: asked.get("target").unwrap_or_default().to_owned(),
            network: network(asked.get("networkmode").unwrap_or_default())?,
            fetch: asked.flag("pull"),
        })
    }
}

fn network(mode: &str) -> Result<Network, Refusal> {
    Ok(match mode {
        // The engine's own bridge is everybody's.
        "" | "default" | "bridge" => Network::Own,
        "none" => Network::None,
        "host" => {
            return Err(Refusal::forbidden(
                "a build in the host's network (`--network host`)",
                "its containers get a network of their job. Leave `--network` out",
            ));
        }
        other => match other.strip_prefix("container:") {
            Some(name) => Network::Container(name.to_owned()),
            None => Network::Named(other.to_owned()),
        },
    })
}

fn labels(job: &Job, asked: &Query) -> Result<String, Refusal> {
    let labels: Option<BTreeMap<String, String>> = parsed("labels", asked)?;
    let mut labels = labels.unwrap_or_default();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    let other = |key: &&String| key.starts_with(RESERVED) || !key.bytes().all(good);
    if let Some(key) = labels.keys().find(other) {
        let what = format!("the label `{}`", printable(key));
        let why = format!(
            "labels that begin with `{RESERVED}` are cordon's own, and others have letters, digits and `._/-`"
        );
        return Err(Refusal::forbidden(what, why));
    }
    labels.insert(LABEL.to_owned(), job.id.clone());
    Ok(json!(labels).to_string())
}

fn parsed<T: serde::de::DeserializeOwned>(key: &str, asked: &Query) -> Result<Option<T>, Refusal> {
    let Some(said) = asked.get(key) else {
        return Ok(None);
    };
    serde_json::from_str(said).map_err(|_other| strange(key, said))
}

fn strange(key: &str, said: &str) -> Refusal {
    Refusal::unknown(format!("the build's `{key}` = `{}`", printable(said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            id: "job-1".to_owned(),
            cgroup_parent: "/cordon.slice/job-1".to_owned(),
            network: "cordon-job-1".to_owned(),
            runtime: "cordon".to_owned(),
            workspace: Vec::new(),
        }
    }

    fn judged(query: &str) -> Result<Options, Refusal> {
        let query = Query::parse_with(query, &["t", "extrahosts", "securityopt"])?;
        Options::judge(&job(), &query)
    }

    #[test]
    fn a_usual_request_is_passed_on_for_the_job() {
        let asked = "buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&cachefrom=%5B%5D&cgroupparent=&\
                     cpuperiod=0&dockerfile=sub%2FDockerfile&labels=%7B%7D&memory=0&networkmode=default&\
                     rm=0&shmsize=0&t=a%3A1&t=b&target=&ulimits=null&version=1&pull=1&outputs=null";
        let options = judged(asked).unwrap();
        let get = |key: &str| options.query.get(key).unwrap_or_default();
        assert_eq!(get("cgroupparent"), "/cordon.slice/job-1");
        assert_eq!(get("labels"), r#"{"dev.cordon.job":"job-1"}"#);
        assert_eq!(
            (get("rm"), get("forcerm"), get("pull"), get("t")),
            ("1", "1", "", "")
        );
        assert_eq!(get("dockerfile"), DOCKERFILE);
        assert_eq!(get("buildargs"), r#"{"A":"1","B":null}"#);
        assert_eq!(options.names, ["a:1", "b"]);
        assert_eq!(options.arguments.len(), 1);
        assert_eq!((options.network, options.fetch), (Network::Own, true));
        assert_eq!(options.dockerfile, "sub/Dockerfile");
    }

    #[test]
    fn what_leads_out_is_refused() {
        for asked in [
            "remote=https%3A%2F%2Fevil.test%2Fx.git",
            "remote=client-session",
            "session=x",
            "buildid=x",
            "version=2",
            "networkmode=host",
            "cgroupparent=%2Felse",
            "securityopt=seccomp%3Dunconfined",
            "squash=1",
            "isolation=process",
            "outputs=%5B%7B%7D%5D",
            "labels=%7B%22dev.cordon.job%22%3A%22b%22%7D",
            "labels=%7B%22%24A%22%3A%22b%22%7D",
            "labels=x",
            "buildargs=%5B%5D",
            "memory=x",
            "ulimits=%5B%7B%22Name%22%3A%22memlock%22%7D%5D",
            "platform=a%20b",
        ] {
            assert!(judged(asked).err().is_some(), "{asked}");
        }
    }
}
