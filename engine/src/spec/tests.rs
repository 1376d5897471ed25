//! What the runtime lets through for a container of a job, and what it makes of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::passport::Workspace;

fn passport() -> Passport {
    Passport {
        job: "job-1".to_owned(),
        cgroup: "/cordon.slice/job-1".to_owned(),
        workspace: vec![Workspace {
            path: "/srv/ci/job".to_owned(),
            device: 1,
            inode: 2,
        }],
        engine_root: "/var/lib/docker".to_owned(),
        lsm: false,
    }
}

/// What an engine asks for an ordinary container.
fn spec() -> Value {
    let default = ["CAP_CHOWN", "CAP_MKNOD", "CAP_NET_RAW", "CAP_KILL"];
    json!({
        "process": {
            "args": ["true"],
            "capabilities": {"bounding": default, "effective": default, "permitted": default},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
            {"destination": "/etc/hosts", "type": "bind",
             "source": "/var/lib/docker/containers/abc/hosts", "options": ["rbind", "rprivate"]},
        ],
        "linux": {
            "cgroupsPath": "/cordon.slice/job-1/abc",
            "namespaces": [
                {"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"},
            ],
            "resources": {"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            ]},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [
                    {"names": ["read", "socket", "socketcall", "bpf", "io_uring_setup"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["socketpair"], "action": "SCMP_ACT_ALLOW"},
                ],
            },
            "sysctl": {"net.ipv4.ping_group_range": "0 2147483647"},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}

/// The specification with a value at a place.
fn with(pointer: &str, value: Value) -> Value {
    let mut spec = spec();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .unwrap()
        .insert(key.to_owned(), value);
    spec
}

fn with_mount(mount: Value) -> Value {
    let mut spec = spec();
    spec.get_mut("mounts")
        .and_then(Value::as_array_mut)
        .unwrap()
        .push(mount);
    spec
}

fn bind(source: &str) -> Value {
    json!({"destination": "/w", "type": "bind", "source": source, "options": ["rbind", "rprivate"]})
}

#[test]
fn an_ordinary_container_is_tightened() {
    let mut spec = spec();
    let shared = tighten(&passport(), &mut spec).unwrap();
    assert_eq!(shared.mounts.len(), 1);
    for set in ["bounding", "effective", "permitted"] {
        let names = spec
            .pointer(&format!("/process/capabilities/{set}"))
            .unwrap();
        assert_eq!(names, &json!(["CAP_CHOWN", "CAP_KILL"]), "{set}");
    }
    let rules = spec
        .pointer("/linux/seccomp/syscalls")
        .and_then(Value::as_array)
        .unwrap();
    let text = Value::Array(rules.clone()).to_string();
    for call in ["socketcall", "bpf", "io_uring_setup"] {
        assert!(!text.contains(&format!("\"{call}\"")), "{call}");
    }
    let of_sockets: Vec<_> = rules
        .iter()
        .filter(|rule| rule.to_string().contains("\"socket\""))
        .collect();
    let families: Vec<_> = of_sockets
        .iter()
        .filter_map(|rule| rule.pointer("/args/0/value")?.as_u64())
        .collect();
    assert_eq!(families, [1, 2, 10, 16]);
    assert_eq!(
        of_sockets.len(),
        families.len(),
        "no rule is without a family"
    );
}

#[test]
fn what_leaves_the_sandbox_is_refused() {
    for spec in [
        with("/linux/cgroupsPath", json!("/cordon.slice/job-2/abc")),
        with("/linux/cgroupsPath", json!("/cordon.slice/job-1")),
        with("/linux/cgroupsPath", json!("/cordon.slice/job-1/../x")),
        with("/linux/cgroupsPath", json!("/cordon.slice/job-10/abc")),
        with("/linux/cgroupsPath", json!("cordon-job-2.slice:docker:abc")),
        with("/linux/cgroupsPath", json!("cordon-job-1.slice:docker:")),
        with(
            "/linux/cgroupsPath",
            json!("cordon-job-1.slice:docker:../x"),
        ),
        with("/linux/cgroupsPath", json!("cordon-job-1.slice:docker:a:b")),
        with("/linux/cgroupsPath", json!("cordon-job-1.slice:docker")),
        with(
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}]),
        ),
        with("/linux/devices", json!([{"path": "/dev/sda", "type": "b"}])),
        with(
            "/linux/resources/devices",
            json!([{"allow": true, "access": "rwm"}]),
        ),
        with("/linux/resources/devices", json!([])),
        with(
            "/linux/resources/devices",
            json!([{"allow": false}, {"allow": true, "type": "b", "major": 8}]),
        ),
        with(
            "/linux/resources/devices",
            json!([{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 1}]),
        ),
        with(
            "/linux/resources/devices",
            json!([{"allow": false}, {"allow": true, "type": "a"}]),
        ),
        with("/linux/seccomp", Value::Null),
        with("/linux/seccomp/defaultAction", json!("SCMP_ACT_ALLOW")),
        with("/linux/maskedPaths", json!([])),
        with("/linux/readonlyPaths", Value::Null),
        with("/linux/sysctl", json!({"kernel.core_pattern": "x"})),
        with("/process/capabilities/ambient", json!(["CAP_SYS_ADMIN"])),
        with("/process/capabilities/bounding", json!("CAP_SYS_ADMIN")),
        with_mount(bind("/")),
        with_mount(bind("/etc")),
        with_mount(bind("/srv/ci/job/../..")),
        with_mount(bind("/var/lib/docker")),
        with_mount(bind("/var/lib/docker/overlay2/x/merged")),
        with_mount(bind("/var/lib/docker/volumes")),
        with_mount(
            json!({"type": "bind", "source": "/srv/ci/job", "options": ["rbind", "rshared"]}),
        ),
        with_mount(json!({"type": "ext4", "source": "/dev/sda", "options": []})),
        with_mount(json!({"type": "none", "source": "/etc", "options": ["rbind"]})),
        with_mount(json!({"type": "sysfs", "source": "sysfs", "options": ["rw"]})),
        with_mount(json!({"type": "cgroup", "source": "cgroup", "options": []})),
        with_mount(json!({"type": "overlay", "source": "overlay", "options": ["lowerdir=/etc"]})),
    ] {
        let mut tightened = spec.clone();
        assert!(
            tighten(&passport(), &mut tightened).err().is_some(),
            "{spec}"
        );
    }
}

#[test]
fn files_of_the_host_are_looked_at_when_they_are_opened() {
    let mut spec = with_mount(bind("/srv/ci/job/a/b"));
    let shared = tighten(&passport(), &mut spec).unwrap();
    let mount = shared.mounts.last().unwrap();
    assert_eq!(
        (mount.beneath.as_str(), mount.rest.as_str(), mount.whole),
        ("/srv/ci/job", "a/b", false)
    );
    let options = spec.pointer("/mounts/4/options").unwrap().to_string();
    assert!(options.contains("nodev") && options.contains("nosuid"));

    let mut spec = with_mount(bind("/var/lib/docker/volumes/v/_data"));
    let shared = tighten(&passport(), &mut spec).unwrap();
    assert!(
        shared.mounts.last().unwrap().whole,
        "an option of a volume could have mounted anything there"
    );
}

#[test]
fn namespaces_that_exist_are_asked_about() {
    let namespaces = json!([
        {"type": "mount"}, {"type": "network", "path": "/proc/7/ns/net"}, {"type": "uts"}, {"type": "pid"},
        {"type": "ipc"},
    ]);
    let shared = tighten(&passport(), &mut with("/linux/namespaces", namespaces)).unwrap();
    assert_eq!(shared.namespaces, ["/proc/7/ns/net"]);
}

#[test]
fn where_lsm_judges_no_cgroups_are_mounted() {
    let mut spec = spec();
    let passport = Passport {
        lsm: true,
        ..passport()
    };
    tighten(&passport, &mut spec).unwrap();
    assert!(!spec.get("mounts").unwrap().to_string().contains("cgroup"));
}

#[test]
fn the_job_is_the_directory_below_the_slice() {
    assert_eq!(job_of("/cordon.slice/job-1/abc"), Some("job-1"));
    assert_eq!(job_of("/a/b/cordon.slice/job-1/abc"), Some("job-1"));
    assert_eq!(job_of("/cordon.slice"), Some(""));
    assert_eq!(job_of("/docker/abc"), None);
    assert_eq!(job_of("system.slice:docker:abc"), None);
    // By the names of systemd.
    assert_eq!(job_of("cordon-job-1.slice:docker:abc"), Some("job-1"));
    assert_eq!(job_of("cordon.slice:docker:abc"), Some(""));
    assert_eq!(
        job_of("cordon.slice/job-1:docker:abc"),
        Some("job-1:docker:abc")
    );
    assert_eq!(job_of("/cordon.slice/job-1/a:b"), Some("job-1"));
}

proptest! {
    #[test]
    fn any_specification_is_judged(text in ".{0,200}", path in "/[a-z./]{0,20}") {
        if let Ok(mut spec) = serde_json::from_str::<Value>(&text) {
            let _either = tighten(&passport(), &mut spec);
        }
        let inside = is_below(&path, "/srv/ci/job") || is_engines(&passport(), &path);
        prop_assert_eq!(tighten(&passport(), &mut with_mount(bind(&path))).is_ok(), inside);
    }
}

#[test]
fn a_container_that_systemd_would_place_is_put_into_its_jobs_cgroup() {
    for place in ["cordon-job-1.slice:docker:abc", "/cordon.slice/job-1/abc"] {
        let mut spec = with("/linux/cgroupsPath", json!(place));
        tighten(&passport(), &mut spec).unwrap();
        assert_eq!(cgroups_path(&spec), "/cordon.slice/job-1/abc");
    }
}
