//! Containers, networks and volumes of others.

use anyhow::{Context as _, Result, ensure};

use super::Stage;
use crate::harness::engine::IMAGE;

/// What is tried with a container that is not the job's.
const TRIES: [&str; 21] = [
    "inspect other",
    "logs other",
    "exec other true",
    "attach --no-stdin other",
    "cp other:/etc/passwd .",
    "kill other",
    "stop -t 1 other",
    "restart -t 1 other",
    "rm -f other",
    "export -o x other",
    "commit other mine:1",
    "rename other else",
    "update --memory 64m other",
    "pause other",
    "top other",
    "run --rm --network container:other IMAGE true",
    "run --rm --volumes-from other IMAGE true",
    "run --rm --network others IMAGE true",
    "run --rm -v othersvolume:/x IMAGE true",
    "build --network others .",
    "build --network container:other .",
];

pub(super) fn others(stage: &Stage<'_>) -> Result<()> {
    let engine = &stage.engine;
    engine.done(&["network", "create", "others"])?;
    engine.done(&["volume", "create", "othersvolume"])?;
    engine.done(&[
        "run", "-d", "--name", "other", "-v", "/data", IMAGE, "sleep", "600",
    ])?;
    let id = engine.done(&["inspect", "-f", "{{.Id}}", "other"])?;
    let mut script = format!("printf 'FROM {IMAGE}\\nRUN true\\n' > Dockerfile\n");
    for line in TRIES {
        let line = line.replace("IMAGE", IMAGE);
        script += &format!(
            "timeout 10 docker {line} >out 2>err; echo \"$? {line}: $(tr '\\n' ' ' <err)\"\n"
        );
    }
    script += &format!(
        "docker ps -aq; docker network ls -q --filter name=others; docker volume ls -q\n\
         docker network connect others other 2>&1 | grep -c 'of this job'\n\
         docker run --rm --label dev.cordon.job=job-other {IMAGE} true 2>&1 | grep -c dev.cordon\n\
         docker inspect {short} >/dev/null 2>&1 || echo hidden-by-id\n\
         docker run -d --name own {IMAGE} sleep 60 >/dev/null; docker ps --format '{{{{.Names}}}}'\n",
        short = id.get(..12).unwrap_or_default(),
    );
    let finished = stage.job(&script)?.expect_status(0)?;
    let mut lines = finished.stdout.lines();
    for line in TRIES {
        let said = lines.next().context("a line is missing")?;
        // To this one, the client says that it is done when there is nothing to remove.
        let done = said.starts_with("0 ") && !line.starts_with("rm -f");
        ensure!(!done, "{line} worked");
        ensure!(
            said.contains("of this job") || said.contains("o such"),
            "{line}: {said}"
        );
    }
    let rest: Vec<&str> = lines.collect();
    ensure!(rest == ["1", "1", "hidden-by-id", "own"], "{rest:?}");
    let state = engine.done(&[
        "inspect",
        "-f",
        "{{.State.Running}} {{.State.Paused}} {{.Name}}",
        "other",
    ])?;
    ensure!(state == "true false /other", "{state}");
    Ok(())
}
