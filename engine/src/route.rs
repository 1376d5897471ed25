//! Which requests there are: a table. What is not in it is refused.

use crate::query::Query;
use crate::refusal::{Refusal, printable};

/// What is done about a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Passed on.
    Plain,
    /// A list, of which the job sees its own.
    OwnList,
    /// About one container, which must be the job's.
    Container,
    /// The same, and the answer tells of ports.
    ContainerInspect,
    /// A container's first process is about to run.
    ContainerStart,
    /// A container goes away.
    ContainerRemove,
    /// A list of containers, which tells of ports.
    ContainerList,
    /// A new container.
    ContainerCreate,
    /// Other limits of a container.
    ContainerUpdate,
    /// One more process in a container.
    ExecCreate,
    /// That process runs.
    ExecStart,
    /// About such a process.
    Exec,
    /// About one network.
    Network,
    /// A network goes away.
    NetworkRemove,
    /// A new network.
    NetworkCreate,
    /// A container joins a network.
    NetworkConnect,
    /// A container leaves a network.
    NetworkDisconnect,
    /// About one volume.
    Volume,
    /// A new volume.
    VolumeCreate,
    /// About one image.
    Image,
    /// An image is fetched, or made of a tar file.
    ImageCreate,
    /// An image is sent to a registry.
    ImagePush,
    /// An image gets a name.
    ImageTag,
    /// A name of an image, or the image, goes away.
    ImageRemove,
    /// A container becomes an image.
    Commit,
    /// The engine asks a registry.
    Distribution,
    /// The engine shows a registry credentials.
    Auth,
    /// An image is built.
    Build,
}

/// What a request carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carries {
    /// Nothing that is read.
    Nothing,
    /// One JSON value.
    Json,
    /// A stream of any size.
    Stream,
    /// A connection that is taken over.
    Connection,
}

struct Endpoint {
    method: &'static str,
    /// `{}` is one segment, `{*}` one or more.
    pattern: &'static str,
    query: &'static [&'static str],
    carries: Carries,
    kind: Kind,
}

const fn endpoint(
    method: &'static str,
    pattern: &'static str,
    query: &'static [&'static str],
    carries: Carries,
    kind: Kind,
) -> Endpoint {
    Endpoint {
        method,
        pattern,
        query,
        carries,
        kind,
    }
}

use Carries::{Connection, Json, Nothing, Stream};

const ATTACH: &[&str] = &["detachKeys", "logs", "stream", "stdin", "stdout", "stderr"];
const LOGS: &[&str] = &[
    "follow",
    "stdout",
    "stderr",
    "since",
    "until",
    "timestamps",
    "tail",
    "details",
];
const COMMIT: &[&str] = &[
    "container",
    "repo",
    "tag",
    "comment",
    "author",
    "pause",
    "changes",
];
const PULL: &[&str] = &[
    "fromImage",
    "fromSrc",
    "repo",
    "tag",
    "message",
    "changes",
    "platform",
];
const BUILD: &[&str] = &[
    "dockerfile",
    "t",
    "q",
    "nocache",
    "pull",
    "rm",
    "forcerm",
    "memory",
    "memswap",
    "cpushares",
    "cpusetcpus",
    "cpusetmems",
    "cpuperiod",
    "cpuquota",
    "buildargs",
    "shmsize",
    "labels",
    "networkmode",
    "target",
    "version",
    "cgroupparent",
    "ulimits",
    "cachefrom",
    "extrahosts",
    "buildid",
    "squash",
    "outputs",
    "platform",
    "remote",
    "session",
    "securityopt",
];
/// Of these, what clients send once for each.
const BUILD_LISTS: [&str; 3] = ["extrahosts", "securityopt", "t"];

/// Everything a job may ask.
const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "_ping", &[], Nothing, Kind::Plain),
    endpoint("HEAD", "_ping", &[], Nothing, Kind::Plain),
    endpoint("GET", "version", &[], Nothing, Kind::Plain),
    endpoint("GET", "info", &[], Nothing, Kind::Plain),
    endpoint(
        "GET",
        "events",
        &["since", "until", "filters"],
        Nothing,
        Kind::OwnList,
    ),
    endpoint("POST", "auth", &[], Json, Kind::Auth),
    endpoint(
        "GET",
        "containers/json",
        // The last is what a library for Python says; no engine reads it.
        &["all", "limit", "size", "filters", "trunc_cmd"],
        Nothing,
        Kind::ContainerList,
    ),
    endpoint(
        "POST",
        "containers/create",
        &["name", "platform"],
        Json,
        Kind::ContainerCreate,
    ),
    endpoint(
        "POST",
        "containers/prune",
        &["filters"],
        Nothing,
        Kind::OwnList,
    ),
    endpoint(
        "GET",
        "containers/{}/json",
        &["size"],
        Nothing,
        Kind::ContainerInspect,
    ),
    endpoint(
        "GET",
        "containers/{}/top",
        &["ps_args"],
        Nothing,
        Kind::Container,
    ),
    endpoint("GET", "containers/{}/logs", LOGS, Nothing, Kind::Container),
    endpoint(
        "GET",
        "containers/{}/changes",
        &[],
        Nothing,
        Kind::Container,
    ),
    endpoint("GET", "containers/{}/export", &[], Nothing, Kind::Container),
    endpoint(
        "GET",
        "containers/{}/stats",
        &["stream", "one-shot"],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "POST",
        "containers/{}/resize",
        &["h", "w"],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "POST",
        "containers/{}/start",
        &["detachKeys"],
        Nothing,
        Kind::ContainerStart,
    ),
    endpoint(
        "POST",
        "containers/{}/stop",
        &["signal", "t"],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "POST",
        "containers/{}/restart",
        &["signal", "t"],
        Nothing,
        Kind::ContainerStart,
    ),
    endpoint(
        "POST",
        "containers/{}/kill",
        &["signal"],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "POST",
        "containers/{}/update",
        &[],
        Json,
        Kind::ContainerUpdate,
    ),
    endpoint(
        "POST",
        "containers/{}/rename",
        &["name"],
        Nothing,
        Kind::Container,
    ),
    endpoint("POST", "containers/{}/pause", &[], Nothing, Kind::Container),
    endpoint(
        "POST",
        "containers/{}/unpause",
        &[],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "POST",
        "containers/{}/attach",
        ATTACH,
        Connection,
        Kind::Container,
    ),
    endpoint(
        "POST",
        "containers/{}/wait",
        &["condition"],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "DELETE",
        "containers/{}",
        &["v", "force", "link"],
        Nothing,
        Kind::ContainerRemove,
    ),
    endpoint(
        "HEAD",
        "containers/{}/archive",
        &["path"],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "GET",
        "containers/{}/archive",
        &["path"],
        Nothing,
        Kind::Container,
    ),
    endpoint(
        "PUT",
        "containers/{}/archive",
        &["path", "noOverwriteDirNonDir", "copyUIDGID"],
        Stream,
        Kind::Container,
    ),
    endpoint("POST", "containers/{}/exec", &[], Json, Kind::ExecCreate),
    endpoint("POST", "exec/{}/start", &[], Connection, Kind::ExecStart),
    endpoint("POST", "exec/{}/resize", &["h", "w"], Nothing, Kind::Exec),
    endpoint("GET", "exec/{}/json", &[], Nothing, Kind::Exec),
    endpoint("GET", "networks", &["filters"], Nothing, Kind::OwnList),
    endpoint("POST", "networks/create", &[], Json, Kind::NetworkCreate),
    endpoint(
        "POST",
        "networks/prune",
        &["filters"],
        Nothing,
        Kind::OwnList,
    ),
    endpoint(
        "GET",
        "networks/{}",
        &["verbose", "scope"],
        Nothing,
        Kind::Network,
    ),
    endpoint("DELETE", "networks/{}", &[], Nothing, Kind::NetworkRemove),
    endpoint(
        "POST",
        "networks/{}/connect",
        &[],
        Json,
        Kind::NetworkConnect,
    ),
    endpoint(
        "POST",
        "networks/{}/disconnect",
        &[],
        Json,
        Kind::NetworkDisconnect,
    ),
    endpoint("GET", "volumes", &["filters"], Nothing, Kind::OwnList),
    endpoint("POST", "volumes/create", &[], Json, Kind::VolumeCreate),
    endpoint(
        "POST",
        "volumes/prune",
        &["filters"],
        Nothing,
        Kind::OwnList,
    ),
    endpoint("GET", "volumes/{}", &[], Nothing, Kind::Volume),
    endpoint("DELETE", "volumes/{}", &["force"], Nothing, Kind::Volume),
    endpoint(
        "GET",
        "images/json",
        &[
            "all",
            "filters",
            "shared-size",
            "digests",
            "manifests",
            "only_ids",
        ],
        Nothing,
        Kind::Plain,
    ),
    endpoint("POST", "images/create", PULL, Stream, Kind::ImageCreate),
    endpoint(
        "GET",
        "images/{*}/json",
        &["manifests"],
        Nothing,
        Kind::Image,
    ),
    endpoint(
        "GET",
        "images/{*}/history",
        &["platform"],
        Nothing,
        Kind::Image,
    ),
    endpoint("GET", "images/{*}/get", &["platform"], Nothing, Kind::Image),
    endpoint(
        "POST",
        "images/{*}/push",
        &["tag", "platform"],
        Nothing,
        Kind::ImagePush,
    ),
    endpoint(
        "POST",
        "images/{*}/tag",
        &["repo", "tag"],
        Nothing,
        Kind::ImageTag,
    ),
    endpoint(
        "DELETE",
        "images/{*}",
        &["force", "noprune"],
        Nothing,
        Kind::ImageRemove,
    ),
    endpoint(
        "GET",
        "distribution/{*}/json",
        &[],
        Nothing,
        Kind::Distribution,
    ),
    endpoint("POST", "commit", COMMIT, Json, Kind::Commit),
    endpoint("POST", "build", BUILD, Stream, Kind::Build),
];

/// What is refused whole, by how its path begins, and why.
const CLOSED: &[(&str, &str)] = &[
    (
        "grpc",
        "BuildKit speaks a protocol of its own, in which cordon cannot judge a build. Build with \
         `DOCKER_BUILDKIT=0`, which cordon sets for jobs",
    ),
    (
        "session",
        "BuildKit speaks a protocol of its own, in which cordon cannot judge a build. Build with \
         `DOCKER_BUILDKIT=0`, which cordon sets for jobs",
    ),
    (
        "swarm",
        "a swarm runs containers on other machines, outside the job",
    ),
    (
        "nodes",
        "a swarm runs containers on other machines, outside the job",
    ),
    (
        "services",
        "a swarm runs containers on other machines, outside the job; use `docker run`",
    ),
    (
        "tasks",
        "a swarm runs containers on other machines, outside the job",
    ),
    (
        "secrets",
        "secrets of a swarm are not a job's; hand them over in the environment",
    ),
    (
        "configs",
        "configurations of a swarm are not a job's; mount a file of the workspace",
    ),
    (
        "plugins",
        "a plugin runs with the engine's rights, outside the job; the host's owner installs it",
    ),
    (
        "images/load",
        "an archive names images in a store that all jobs of the host share. Use `docker import`, or \
         pull from a registry that a rule allows",
    ),
    (
        "images/get",
        "several images at once are not judged. Save one image at a time",
    ),
    (
        "images/search",
        "the engine would ask a public registry. Search elsewhere",
    ),
    (
        "images/prune",
        "images are shared by all jobs of the host; its owner removes them",
    ),
    (
        "build/prune",
        "build caches are shared by all jobs of the host; its owner removes them",
    ),
    (
        "build/cancel",
        "only BuildKit has builds that are cancelled so; close the connection",
    ),
    ("system/df", "it tells of other jobs"),
];

/// Of these, kinds of things that `docker inspect` tries for a name.
const INSPECTED: [&str; 7] = [
    "configs", "nodes", "plugins", "secrets", "services", "swarm", "tasks",
];

/// A request that is in the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// What is done about it.
    pub kind: Kind,
    /// `GET` and the like.
    pub method: &'static str,
    /// What it carries.
    pub carries: Carries,
    /// `/v1.41`, or nothing.
    pub version: String,
    /// Its path without version and without the leading slash.
    pub path: String,
    /// What stands for the pattern's `{}`.
    pub name: String,
    /// Its query.
    pub query: Query,
}

impl Route {
    /// Finds a request in the table.
    ///
    /// # Errors
    /// It is not in it.
    pub fn find(method: &str, target: &str) -> Result<Self, Refusal> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let whole = path;
        let unknown = || Refusal::unknown(format!("{method} {}", printable(whole)));
        let path = path.strip_prefix('/').ok_or_else(unknown)?;
        let (version, path) = split_version(path);
        if !path.split('/').all(is_segment) {
            return Err(unknown());
        }
        let begins = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // Clients ask for a name as everything it could be.
        let asked = path
            .split_once('/')
            .filter(|(prefix, _)| INSPECTED.contains(prefix));
        if let Some((what, name)) = asked.filter(|_| method == "GET") {
            return Err(Refusal::missing(what.trim_end_matches('s'), name));
        }
        if let Some((prefix, why)) = CLOSED.iter().find(|(prefix, _)| begins(prefix)) {
            return Err(Refusal::forbidden(format!("`/{prefix}`"), why));
        }
        let found = ENDPOINTS.iter().filter(|known| known.method == method);
        let mut found = found.filter_map(|known| Some((known, name_in(known.pattern, path)?)));
        let (endpoint, name) = found.next().ok_or_else(|| {
            // A name of an image is tried for one of a container first.
            let name = path
                .strip_prefix("containers/")
                .and_then(|rest| rest.strip_suffix("/json"));
            let name = name.filter(|name| method == "GET" && name.contains('/'));
            name.map_or_else(unknown, |name| Refusal::missing("container", name))
        })?;
        let query = match endpoint.kind {
            Kind::Build => Query::parse_with(query, &BUILD_LISTS)?,
            _ => Query::parse(query)?,
        };
        query.allow(endpoint.query)?;
        Ok(Self {
            kind: endpoint.kind,
            method: endpoint.method,
            carries: endpoint.carries,
            version,
            path: path.to_owned(),
            name: name.to_owned(),
            query,
        })
    }

    /// Path and query, as they are sent to the engine.
    #[must_use]
    pub fn target(&self) -> String {
        let Self {
            version,
            path,
            query,
            ..
        } = self;
        format!("{version}/{path}{}", query.encode())
    }

    /// The same about what has another name: ids do not change hands as names do.
    pub fn rename(&mut self, name: &str) {
        let path: Vec<_> = self
            .path
            .split('/')
            .enumerate()
            .map(|(index, part)| if index == 1 { name } else { part })
            .collect();
        self.path = path.join("/");
        name.clone_into(&mut self.name);
    }
}

/// `v1.41` in front, with its slash put before it; and what follows.
fn split_version(path: &str) -> (String, &str) {
    let is_number = |text: &str| {
        (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match path.split_once('/') {
        Some((version, rest)) => match version.strip_prefix('v').and_then(|v| v.split_once('.')) {
            Some((major, minor)) if is_number(major) && is_number(minor) => {
                (format!("/{version}"), rest)
            }
            _ => (String::new(), path),
        },
        None => (String::new(), path),
    }
}

/// Names of containers, networks, volumes and images, and words of the interface. No escapes, and
/// nothing that leads elsewhere.
fn is_segment(segment: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:@-+".contains(&byte);
    (1..=256).contains(&segment.len())
        && segment.bytes().all(good)
        && !segment.bytes().all(|byte| byte == b'.')
}

/// What stands for the pattern's `{}` in a path that fits; empty if it has none.
fn name_in<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    if let Some((front, back)) = pattern.split_once("{*}") {
        let name = path.strip_prefix(front)?.strip_suffix(back)?;
        return Some(name).filter(|name| !name.is_empty());
    }
    match pattern.split_once("{}") {
        Some((front, back)) => {
            let name = path.strip_prefix(front)?.strip_suffix(back)?;
            Some(name).filter(|name| !name.is_empty() && !name.contains('/'))
        }
        None => (pattern == path).then_some(""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_found_with_and_without_version() {
        for target in [
            "/v1.41/containers/abc/json?size=1",
            "/containers/abc/json?size=1",
        ] {
            let route = Route::find("GET", target).unwrap();
            assert_eq!(route.kind, Kind::ContainerInspect);
            assert_eq!(route.name, "abc");
            assert_eq!(route.target(), target);
        }
        let route = Route::find("POST", "/v1.41/images/a.test/b/c:1/push?tag=x").unwrap();
        assert_eq!(
            (route.kind, route.name.as_str()),
            (Kind::ImagePush, "a.test/b/c:1")
        );
    }

    #[test]
    fn what_is_in_no_table_is_refused() {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "//_ping"),
            ("GET", "/_ping/"),
            ("GET", "/v1.41/containers/../info"),
            ("GET", "/v1.41/containers/%2e%2e/json"),
            ("GET", "/containers/a/attach/ws"),
            ("POST", "/containers/a/checkpoints"),
            ("PATCH", "/containers/a/json"),
            ("POST", "/containers/a/start?checkpoint=x"),
            ("GET", "/debug/pprof/heap"),
            ("GET", "http://other.test/_ping"),
            ("PUT", "/volumes/a"),
        ] {
            assert!(
                Route::find(method, target).err().is_some(),
                "{method} {target}"
            );
        }
    }

    #[test]
    fn what_is_closed_says_why() {
        for (prefix, why) in CLOSED {
            let refusal = Route::find("POST", &format!("/v1.41/{prefix}")).unwrap_err();
            assert_eq!(refusal.status, 403);
            assert!(refusal.message.contains(why), "{refusal}");
        }
        let refusal = Route::find("POST", "/swarm/init").unwrap_err();
        assert_eq!(refusal.status, 403);
    }

    #[test]
    fn an_images_name_is_no_containers() {
        let refusal = Route::find("GET", "/v1.41/containers/a.test/b:1/json").unwrap_err();
        assert_eq!(refusal.status, 404);
        let refusal = Route::find("GET", "/v1.41/containers/a/b/logs").unwrap_err();
        assert_eq!(refusal.status, 400);
    }

    #[test]
    fn a_new_name_takes_the_place_of_the_old_one() {
        let mut route = Route::find("POST", "/v1.41/containers/web/start").unwrap();
        route.rename("0123");
        assert_eq!(route.target(), "/v1.41/containers/0123/start");
    }

    proptest! {
        #[test]
        fn any_request_is_found_or_refused(method in "GET|POST|PUT|DELETE", target in ".*") {
            let _either = Route::find(&method, &target);
        }

        #[test]
        fn what_is_passed_on_has_no_way_out_of_its_path(target in "/(v1.41/)?(containers|images|exec)/[a-z./%]{1,9}/json") {
            if let Ok(route) = Route::find("GET", &target) {
                prop_assert!(!route.path.split('/').any(|part| part.is_empty() || part == ".."));
                prop_assert!(!route.path.contains('%'));
            }
        }
    }
}
