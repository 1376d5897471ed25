//! What a container, a network, a volume and a process of a job may be.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::create::mounts::is_below;

fn job() -> Job {
    Job {
        id: "job-1".to_owned(),
        cgroup_parent: "/cordon.slice/job-1".to_owned(),
        network: "cordon-job-1".to_owned(),
        runtime: "cordon".to_owned(),
        workspace: vec!["/srv/ci/job".to_owned()],
    }
}

/// What a client sends for `docker run busybox true`, without what is empty.
fn container(host: &Value) -> Value {
    json!({
        "Hostname": "", "AttachStdout": true, "AttachStderr": true, "Env": null, "Cmd": ["true"],
        "Image": "busybox", "Volumes": {}, "Entrypoint": null, "OnBuild": null, "Labels": {"mine": "1"},
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {"default": {"IPAMConfig": null, "GwPriority": 0}}},
    })
}

fn create(host: &Value) -> Result<(Value, Judged), Refusal> {
    let judged = judge_create(&job(), container(host).to_string().as_bytes())?;
    let body = serde_json::from_slice(&judged.body).unwrap();
    Ok((body, judged))
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

#[test]
fn an_ordinary_container_is_bound_to_its_job() {
    let (body, judged) =
        create(&json!({"NetworkMode": "default", "AutoRemove": true, "Memory": 1_048_576}))
            .unwrap();
    assert_eq!(at(&body, "/HostConfig/CgroupParent"), "/cordon.slice/job-1");
    assert_eq!(at(&body, "/HostConfig/NetworkMode"), "cordon-job-1");
    assert_eq!(at(&body, "/HostConfig/Runtime"), "cordon");
    assert_eq!(at(&body, "/HostConfig/RestartPolicy/Name"), "no");
    assert_eq!(
        at(&body, "/HostConfig/CapDrop"),
        &json!(["NET_RAW", "MKNOD"])
    );
    assert_eq!(at(&body, "/HostConfig/Memory"), 1_048_576);
    assert_eq!(at(&body, "/Labels"), &json!({"mine": "1", LABEL: "job-1"}));
    assert!(at(&body, "/NetworkingConfig/EndpointsConfig/cordon-job-1").is_object());
    assert!(judged.needs.is_empty() && judged.warnings.is_empty());
}

#[test]
fn what_leaves_the_sandbox_is_refused() {
    for host in [
        json!({"Privileged": true}),
        json!({"Init": true}),
        json!({"PidMode": "host"}),
        json!({"PidMode": "container:"}),
        json!({"IpcMode": "host"}),
        json!({"UTSMode": "host"}),
        json!({"UsernsMode": "host"}),
        json!({"CgroupnsMode": "host"}),
        json!({"NetworkMode": "host"}),
        json!({"Binds": ["/:/host"]}),
        json!({"Binds": ["/srv/ci/job/../../..:/host"]}),
        json!({"Binds": ["/srv/ci/job2:/host"]}),
        json!({"Binds": ["/srv/ci/job:/w:rshared"]}),
        json!({"Binds": ["/a:/b:/c:/d"]}),
        json!({"Binds": ["name/../x:/w"]}),
        json!({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}),
        json!({"Mounts": [{"Type": "npipe", "Source": "x", "Target": "/x"}]}),
        json!({"Mounts": [{"Type": "bind", "Source": "/srv/ci/job", "Target": "/x",
            "BindOptions": {"Propagation": "shared"}}]}),
        json!({"Mounts": [{"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions":
            {"DriverConfig": {"Name": "local", "Options": {"o": "bind", "device": "/"}}}}]}),
        json!({"Mounts": [{"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions":
            {"Subpath": "../.."}}]}),
        json!({"VolumeDriver": "nfs"}),
        json!({"CapAdd": ["SYS_ADMIN"]}),
        json!({"CapAdd": ["cap_net_raw"]}),
        json!({"CapAdd": ["ALL"]}),
        json!({"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]}),
        json!({"DeviceCgroupRules": ["a *:* rwm"]}),
        json!({"DeviceRequests": [{"Driver": "nvidia", "Count": -1}]}),
        json!({"CgroupParent": "/"}),
        json!({"Cgroup": "host"}),
        json!({"SecurityOpt": ["seccomp=unconfined"]}),
        json!({"SecurityOpt": ["apparmor=unconfined"]}),
        json!({"SecurityOpt": ["label=disable"]}),
        json!({"SecurityOpt": ["systempaths=unconfined"]}),
        json!({"SecurityOpt": ["no-new-privileges:false"]}),
        json!({"MaskedPaths": []}),
        json!({"ReadonlyPaths": []}),
        json!({"Sysctls": {"kernel.core_pattern": "|/x"}}),
        json!({"Runtime": "runc"}),
        json!({"LogConfig": {"Type": "syslog", "Config": {"syslog-address": "udp://198.51.100.66:514"}}}),
        json!({"OomScoreAdj": -1000}),
        json!({"OomKillDisable": true}),
        json!({"Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}]}),
        json!({"PublishAllPorts": true}),
        json!({"PortBindings": {"53/udp": [{"HostPort": "53"}]}}),
        json!({"PortBindings": {"80/tcp": [{"HostIp": "192.0.2.1", "HostPort": "80"}]}}),
        json!({"StorageOpt": {"size": "1T"}}),
        json!({"Annotations": {"x": "y"}}),
        json!({"CpuRealtimeRuntime": 1000}),
        json!({"Tmpfs": {"/x": "rw,bind"}}),
        json!({"privileged": true}),
        json!({"SomethingNew": {"a": 1}}),
    ] {
        let refusal = create(&host)
            .err()
            .unwrap_or_else(|| panic!("{host}: was not refused"));
        assert!(refusal.message.starts_with("cordon: "), "{host}: {refusal}");
        assert!(
            matches!(refusal.status, 400 | 403),
            "{host}: {}",
            refusal.status
        );
    }
}

#[test]
fn what_stays_in_the_job_is_passed_on() {
    for host in [
        json!({"NetworkMode": "none"}),
        json!({"Binds": ["/srv/ci/job/a:/w:ro", "cache:/c"]}),
        json!({"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1}}]}),
        json!({"Mounts": [{"Type": "bind", "Source": "/srv/ci/job", "Target": "/w", "ReadOnly": true}]}),
        json!({"CapAdd": ["CHOWN", "CAP_KILL"], "CapDrop": ["ALL"]}),
        json!({"SecurityOpt": ["no-new-privileges"]}),
        json!({"Sysctls": {"net.core.somaxconn": "1024"}}),
        json!({"Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 1024}]}),
        json!({"IpcMode": "private", "ReadonlyRootfs": true, "ShmSize": 65536}),
        json!({"Tmpfs": {"/x": "rw,size=64k,mode=1777"}}),
        json!({"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}}),
    ] {
        create(&host).unwrap_or_else(|refusal| panic!("{host}: {refusal}"));
    }
}

#[test]
fn what_a_container_shares_must_be_the_jobs() {
    let host = json!({
        "PidMode": "container:a", "IpcMode": "container:b", "NetworkMode": "container:c",
        "VolumesFrom": ["d:ro"], "Links": ["/e:alias"], "Binds": ["vol:/v"],
    });
    let (_, judged) = create(&host).unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        assert!(
            judged.needs.contains(&Need::Container(name.to_owned())),
            "{name}"
        );
    }
    assert!(judged.needs.contains(&Need::Volume("vol".to_owned())));
    let (_, judged) = create(&json!({"NetworkMode": "mine"})).unwrap();
    assert_eq!(judged.needs, [Need::Network("mine".to_owned())]);
}

#[test]
fn the_engines_socket_is_left_out_and_restarts_too_with_a_word() {
    let host = json!({
        "Binds": ["/var/run/docker.sock:/var/run/docker.sock"], "RestartPolicy": {"Name": "always"},
    });
    let (body, judged) = create(&host).unwrap();
    assert_eq!(at(&body, "/HostConfig/Binds"), &json!([]));
    assert_eq!(judged.warnings.len(), 2);
}

#[test]
fn published_ports_are_taken_out_and_known() {
    let host = json!({"PortBindings": {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostPort": ""}], "5432": null,
    }});
    let (body, mut judged) = create(&host).unwrap();
    judged.ports.sort_unstable();
    assert_eq!(judged.ports, [(80, 0), (80, 8080), (5432, 0)]);
    assert_eq!(at(&body, "/HostConfig/PortBindings"), &Value::Null);
}

#[test]
fn cordons_own_labels_are_not_a_jobs_to_give() {
    let mut container = container(&json!({}));
    container
        .as_object_mut()
        .unwrap()
        .insert("Labels".to_owned(), json!({LABEL: "job-2"}));
    judge_create(&job(), container.to_string().as_bytes()).unwrap_err();
    for judge in [judge_volume, judge_network] {
        let body = json!({"Name": "x", "Labels": {"dev.cordon.other": ""}});
        judge(&job(), body.to_string().as_bytes()).unwrap_err();
    }
}

#[test]
fn a_process_is_not_privileged() {
    judge_exec(br#"{"Cmd":["id"],"User":"0","AttachStdout":true,"Privileged":false}"#).unwrap();
    judge_exec(br#"{"Cmd":["id"],"Privileged":true}"#).unwrap_err();
    judge_exec(br#"{"Cmd":["id"],"privileged":true}"#).unwrap_err();
    judge_exec_start(br#"{"Detach":false,"Tty":true}"#).unwrap();
}

#[test]
fn a_volume_is_a_directory_of_the_engines() {
    let judged = judge_volume(
        &job(),
        br#"{"Name":"cache","Driver":"local","DriverOpts":{}}"#,
    )
    .unwrap();
    assert_eq!(judged.needs, [Need::Volume("cache".to_owned())]);
    for body in [
        r#"{"Name":"x","DriverOpts":{"type":"none","o":"bind","device":"/"}}"#,
        r#"{"Name":"x","Driver":"sshfs"}"#,
        r#"{"Name":"x","ClusterVolumeSpec":{"Group":"x"}}"#,
    ] {
        assert!(
            judge_volume(&job(), body.as_bytes()).err().is_some(),
            "{body}"
        );
    }
}

#[test]
fn a_network_is_a_bridge_with_addresses_of_the_engines_choice() {
    let body = br#"{"Name":"n","CheckDuplicate":true,"Driver":"bridge","IPAM":{"Driver":"default","Options":{},"Config":[]},"Internal":true,"Options":{}}"#;
    let judged = judge_network(&job(), body).unwrap();
    let network: Value = serde_json::from_slice(&judged.body).unwrap();
    assert_eq!(at(&network, "/EnableIPv6"), false);
    assert_eq!(
        network.get("Labels").and_then(|labels| labels.get(LABEL)),
        Some(&json!("job-1"))
    );
    for body in [
        r#"{"Name":"host"}"#,
        r#"{"Name":"n","Driver":"macvlan"}"#,
        r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"10.0.0.0/8"}]}}"#,
        r#"{"Name":"n","Options":{"com.docker.network.bridge.name":"eth0"}}"#,
        r#"{"Name":"n","EnableIPv6":true}"#,
        r#"{"Name":"n","EnableIPv4":false}"#,
        r#"{"Name":"n","ConfigOnly":true}"#,
        r#"{"Name":"n","Ingress":true}"#,
    ] {
        assert!(
            judge_network(&job(), body.as_bytes()).err().is_some(),
            "{body}"
        );
    }
    judge_connect(
        br#"{"Container":"c","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.0.0.1"}}}"#,
    )
    .unwrap_err();
    let connect =
        judge_connect(br#"{"Container":"c","EndpointConfig":{"Aliases":["db"]}}"#).unwrap();
    assert_eq!(connect.needs, [Need::Container("c".to_owned())]);
}

#[test]
fn limits_of_a_container_can_change_and_nothing_else() {
    judge_update(
        br#"{"Memory":1048576,"RestartPolicy":{"Name":"","MaximumRetryCount":0},"Devices":null}"#,
    )
    .unwrap();
    for body in [
        r#"{"CgroupParent":"/"}"#,
        r#"{"Devices":[{"PathOnHost":"/dev/sda"}]}"#,
        r#"{"RestartPolicy":{"Name":"always"}}"#,
        r#"{"Privileged":true}"#,
        r#"{"Binds":["/:/x"]}"#,
    ] {
        assert!(judge_update(body.as_bytes()).err().is_some(), "{body}");
    }
}

#[test]
fn below_is_what_the_text_says() {
    assert!(is_below("/w/a", "/w") && is_below("/w", "/w") && is_below("/w/", "/w"));
    for path in ["/w/../etc", "/wa", "/", "w", "/w//a", "/w/./a", "", "/w/.."] {
        assert!(!is_below(path, "/w"), "{path}");
    }
    assert!(!is_below("/etc", "/"), "the root is no workspace");
}

/// Values that mean something wherever they stand.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z:/=.]{0,12}".prop_map(Value::from),
        Just(json!("host")),
        Just(json!("container:x")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[A-Za-z/.0-9]{1,10}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Keys of `HostConfig`, and some that are none.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "Binds",
            "Mounts",
            "NetworkMode",
            "PidMode",
            "IpcMode",
            "Privileged",
            "privileged",
            "CapAdd",
            "CapDrop",
            "SecurityOpt",
            "Devices",
            "CgroupParent",
            "Runtime",
            "PortBindings",
            "MaskedPaths",
            "Tmpfs",
            "Sysctls",
            "VolumesFrom",
            "LogConfig",
            "UsernsMode",
            "RestartPolicy",
            "Ulimits",
        ])
        .prop_map(str::to_owned),
        "[A-Za-z]{1,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn whatever_is_asked_for_what_is_passed_on_stays_in_the_job(
        fields in proptest::collection::btree_map(key(), anything(), 0..6),
    ) {
        let host = Value::Object(fields.into_iter().collect());
        let Ok((body, judged)) = create(&host) else { return Ok(()) };
        let of = |key: &str| body.pointer(&format!("/HostConfig/{key}")).cloned().unwrap_or_default();
        prop_assert_eq!(of("CgroupParent"), "/cordon.slice/job-1");
        prop_assert_eq!(of("Privileged"), false);
        prop_assert_eq!(of("Runtime"), "cordon");
        prop_assert!(!fields::says_something(&of("Devices")));
        prop_assert!(of("MaskedPaths").is_null() && of("ReadonlyPaths").is_null());
        for mode in ["NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"] {
            prop_assert_ne!(of(mode), "host");
        }
        for bind in of("Binds").as_array().into_iter().flatten() {
            let source = bind.as_str().unwrap().split(':').next().unwrap();
            prop_assert!(!source.starts_with('/') || is_below(source, "/srv/ci/job"));
        }
        if let Some(of) = of("PidMode").as_str().and_then(|mode| mode.strip_prefix("container:")) {
            prop_assert!(judged.needs.contains(&Need::Container(of.to_owned())));
        }
        // What is passed on is judged the same once more, but for what cordon itself has put in.
        let keys: Vec<_> = body.get("HostConfig").and_then(Value::as_object).unwrap().keys().collect();
        prop_assert!(!keys.iter().any(|key| *key == "privileged"));
    }
}
