//! `cordon-engine`: what a job talks to instead of the container engine's socket.
//!
//! Cordon starts one for each job with `engine = "mediate"`, outside the job's cgroup, as a user without
//! rights. It reads what hostile clients write; what needs rights it asks of cordon, over the socket that
//! is its standard input. It never opens a path.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stderr,
    reason = "cordon's own output is where this program's belongs"
)]

mod answer;
mod build;
mod clean;
mod control;
mod images;
mod mediator;
mod needs;
mod ports;
mod requests;
mod serve;
mod upstream;

use std::process::ExitCode;
use std::sync::Arc;

use cordon_engine::job::{Driver, Job};
use cordon_engine::protocol::{Answer, Ask, Setup};
use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use self::control::Control;
use self::mediator::Mediator;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cordon-engine: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failed = Box<dyn std::error::Error>;

fn run() -> Result<(), Failed> {
    // Cordon blocks the signals that it passes on to its job; who it starts inherits that.
    SigSet::all().thread_unblock()?;
    // Whoever has killed cordon has ended what this one may do as well.
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    // Other processes of this user, if there are any, do not look into it.
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    let control = Control::inherited()?;
    let setup = control.setup()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(mediate(setup, control))
}

async fn mediate(setup: Setup, control: Control) -> Result<(), Failed> {
    let mut end = signal(SignalKind::terminate())?;
    let Setup {
        only_clean,
        again,
        port,
        ..
    } = setup;
    let mut mediator = Mediator::new(job(setup), control);
    if only_clean {
        mediator.clean().await;
        return Ok(());
    }
    let info = match mediator.engine.get("/info").await {
        Ok((200, info)) => fit(&info, &mediator.job.runtime),
        Ok((status, _)) => Err(format!("the engine answers with {status}")),
        Err(error) => Err(format!("the engine does not answer: {error}")),
    };
    let fit = match info {
        Ok(fit) => fit,
        Err(why) => {
            mediator
                .control
                .ask(Ask::Unfit { why: why.clone() })
                .await?;
            return Err(why.into());
        }
    };
    let job = &mut mediator.job;
    job.cgroup_parent = fit.driver.parent(&job.id, &job.cgroup_parent);
    let mediator = Arc::new(mediator);
    let listener = match mediator.control.ask_for(Ask::Listen { port }).await? {
        (Answer::Port(_), Some(listener)) => ports::listener(listener)?,
        (Answer::Refused(why), _) => {
            let why = format!(
                "port {port} of 127.0.0.1, where the job is to find it, cannot be had: {why}; has another job or \
                 service it? Each runner has an `engine_port` of its own"
            );
            mediator
                .control
                .ask(Ask::Unfit { why: why.clone() })
                .await?;
            return Err(why.into());
        }
        _ => return Err("cordon gave no socket to listen on".into()),
    };
    if again {
        mediator.find_networks().await;
    }
    mediator
        .control
        .ask(Ask::Ready {
            engine_root: fit.root,
            engine: fit.name,
        })
        .await?;
    tokio::select! {
        served = serve::serve(Arc::clone(&mediator), listener) => served?,
        _ = end.recv() => {}
    }
    mediator.clean().await;
    Ok(())
}

fn job(setup: Setup) -> Job {
    let Setup {
        job,
        cgroup_parent,
        runtime,
        workspace,
        port: _,
        again: _,
        only_clean: _,
    } = setup;
    Job {
        network: format!("cordon-{job}"),
        id: job,
        cgroup_parent,
        runtime,
        workspace,
    }
}

/// An engine behind which requests can be judged.
#[derive(Debug)]
struct Fit {
    /// Where it keeps its own.
    root: String,
    /// What it is.
    name: String,
    driver: Driver,
}

/// Looks at what an engine says of itself.
fn fit(info: &Value, runtime: &str) -> Result<Fit, String> {
    let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default();
    let setting = format!(
        "`{{\"runtimes\": {{\"{runtime}\": {{\"path\": \"/usr/lib/cordon/cordon-runtime\"}}}}, \
         \"default-runtime\": \"{runtime}\"}}` in the engine's daemon.json"
    );
    if text("DefaultRuntime") != runtime {
        return Err(format!(
            "the engine's default runtime is `{}`, and only `{runtime}` binds containers to jobs: set {setting}, \
             and restart the engine",
            text("DefaultRuntime")
        ));
    }
    let path = info
        .pointer(&format!("/Runtimes/{runtime}/path"))
        .and_then(Value::as_str);
    if !path.is_some_and(|path| path.ends_with("/cordon-runtime")) {
        return Err(format!(
            "the engine's runtime `{runtime}` is not cordon's: set {setting}"
        ));
    }
    let driver = Driver::named(text("CgroupDriver")).ok_or_else(|| {
        format!(
            "the engine puts containers into cgroups by `{}`: set `\"exec-opts\": \
             [\"native.cgroupdriver=systemd\"]` in its daemon.json, and restart it",
            text("CgroupDriver")
        )
    })?;
    let options = info.get("SecurityOptions").and_then(Value::as_array);
    let mut options = options.into_iter().flatten().filter_map(Value::as_str);
    if !options.any(|option| option.starts_with("name=seccomp") && !option.contains("unconfined")) {
        return Err("the engine filters no system calls: it needs seccomp".to_owned());
    }
    let root = text("DockerRootDir");
    if !root.starts_with('/') {
        return Err("the engine does not say where it keeps volumes".to_owned());
    }
    let name = format!("{} {}", text("Name"), text("ServerVersion"));
    Ok(Fit {
        root: root.to_owned(),
        name: name.trim().to_owned(),
        driver,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_engine_without_cordons_runtime_is_not_fit_and_says_what_to_set() {
        let good = json!({
            "DefaultRuntime": "cordon", "Runtimes": {"cordon": {"path": "/usr/lib/cordon/cordon-runtime"}},
            "CgroupDriver": "cgroupfs", "SecurityOptions": ["name=seccomp,profile=default"],
            "DockerRootDir": "/var/lib/docker", "Name": "host", "ServerVersion": "20.10",
        });
        let found = fit(&good, "cordon").unwrap();
        assert_eq!(found.root, "/var/lib/docker");
        assert_eq!(found.driver.parent("job-1", "/a/job-1"), "/a/job-1");
        let mut by_systemd = good.clone();
        by_systemd["CgroupDriver"] = json!("systemd");
        let found = fit(&by_systemd, "cordon").unwrap();
        assert_eq!(
            found.driver.parent("job-1", "/a/job-1"),
            "cordon-job-1.slice"
        );
        for (key, value) in [
            ("DefaultRuntime", json!("runc")),
            ("Runtimes", json!({"cordon": {"path": "runc"}})),
            ("CgroupDriver", json!("none")),
            (
                "SecurityOptions",
                json!(["name=seccomp,profile=unconfined"]),
            ),
            ("DockerRootDir", json!("")),
        ] {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().insert(key.to_owned(), value);
            assert!(fit(&bad, "cordon").err().is_some(), "{key}");
        }
    }
}
