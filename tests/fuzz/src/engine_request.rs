//! A job's requests to a container engine: each is refused, or what is passed on stays in the job.
//!
//! The first line is method and target, the rest the body.

#![no_main]

use cordon_engine::create::{
    judge_commit, judge_connect, judge_create, judge_exec, judge_network, judge_update, judge_volume,
};
use cordon_engine::create::mounts::is_below;
use cordon_engine::job::Job;
use cordon_engine::route::{Kind, Route};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn job() -> Job {
    Job {
        id: "job-1".to_owned(),
        cgroup_parent: "/cordon.slice/job-1".to_owned(),
        network: "cordon-job-1".to_owned(),
        runtime: "cordon".to_owned(),
        workspace: vec!["/w".to_owned()],
    }
}

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (head, body) = bytes.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let (method, target) = head.split_once(' ').unwrap_or(("GET", &head));
    let Ok(route) = Route::find(method, target) else { return };
    assert!(!route.target().contains("/../") && route.target().starts_with('/'));
    let job = job();
    match route.kind {
        Kind::ContainerCreate => created(&job, body),
        Kind::ContainerUpdate => drop(judge_update(body)),
        Kind::ExecCreate => drop(judge_exec(body)),
        Kind::NetworkCreate => drop(judge_network(&job, body)),
        Kind::NetworkConnect => drop(judge_connect(body)),
        Kind::VolumeCreate => drop(judge_volume(&job, body)),
        Kind::Commit => drop(judge_commit(&job, body)),
        _ => {}
    }
});

fn created(job: &Job, body: &[u8]) {
    let Ok(judged) = judge_create(job, body) else { return };
    let made: Value = serde_json::from_slice(&judged.body).expect("what is passed on is JSON");
    let host = |key: &str| made.pointer(&format!("/HostConfig/{key}")).cloned().unwrap_or_default();
    assert_eq!(host("CgroupParent"), "/cordon.slice/job-1");
    assert_eq!(host("Privileged"), false);
    for mode in ["NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"] {
        assert_ne!(host(mode), "host");
    }
    for bind in host("Binds").as_array().into_iter().flatten() {
        let source = bind.as_str().unwrap_or_default().split(':').next().unwrap_or_default();
        assert!(!source.starts_with('/') || is_below(source, "/w"));
    }
}
