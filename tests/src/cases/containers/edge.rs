//! The edge of a container is that of its job.

use anyhow::{Context as _, Result, ensure};

use super::{Stage, says};
use crate::harness::engine::{Driver, IMAGE};
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::verdicts::{denial_of, name_asked};

/// By address over TCP and UDP, and by name.
const TRIES: &str = "nc -w 3 198.51.100.66 8080 </dev/null && echo evil-tcp; \
                     timeout 2 tftp -g -r x 198.51.100.66 8080; \
                     nc -w 3 evil.test 8080 </dev/null && echo evil-name; \
                     echo x | nc -w 3 good.test 8080 && echo good";

pub(super) fn egress(stage: &Stage<'_>) -> Result<()> {
    let Stage { world, engine, .. } = stage;
    let (evil, good) = (at(EVIL_V4, 8080), at(GOOD_V4, 8080));
    // Freely, both are reached. Without a systemd, its driver starts no container that is no job's; the same
    // tries are told with the other one.
    if engine.driver() == Driver::Cgroupfs {
        engine.done(&[
            "run",
            "--rm",
            "--dns",
            "192.0.2.53",
            IMAGE,
            "sh",
            "-c",
            TRIES,
        ])?;
        let freely = world.evil.at(evil);
        ensure!(
            freely.connections > 0 && freely.datagrams > 0,
            "it proves nothing: {freely:?}"
        );
    }
    let freely = world.evil.at(evil);
    let good_before = world.good.at(good).connections;
    let _seen = world.leaked()?;

    let finished = stage.job(&format!("docker run --rm {IMAGE} sh -c '{TRIES}'"))?;
    says(&finished.stdout, "good")?;
    ensure!(!finished.stdout.contains("evil"), "{}", finished.stdout);
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
    for protocol in ["tcp", "udp"] {
        let denial = denial_of(&report, evil, protocol)?;
        let chain = denial.processes.first().context("nobody is named")?;
        let text = format!("{chain:?}");
        ensure!(text.contains("/bin/sh"), "{protocol}: {text}");
    }
    name_asked(&report, "evil.test")?;
    let flow = report
        .flows
        .iter()
        .find(|flow| flow.destination.address == good.ip());
    ensure!(
        flow.is_some_and(|flow| flow.bytes_out > 0),
        "the report has no flow to good.test"
    );
    let layer = report
        .coverage
        .layers
        .iter()
        .find(|layer| layer.name == "container engine");
    let detail = &layer
        .context("the report says nothing of the engine")?
        .detail;
    says(detail, &format!("{IMAGE} (1)"))
}

/// A server: busybox's takes one connection.
const SERVE: &str = "while true; do nc -l -p";

pub(super) fn services(stage: &Stage<'_>) -> Result<()> {
    let Stage { world, .. } = stage;
    let ready = world.path("ready");
    let go = world.path("go");
    let script = format!(
        "set -e\n\
         docker network create backend >/dev/null\n\
         docker run -d --name db --network backend -p 5432 -p 127.0.0.1:8081:80 {IMAGE} \
            sh -c '{SERVE} 80 -e echo from-80; done & {SERVE} 5432 -e echo from-db; done' >/dev/null\n\
         docker run -d --name default {IMAGE} sh -c '{SERVE} 80 -e echo from-default; done' >/dev/null\n\
         sleep 1\n\
         docker run --rm --network backend {IMAGE} sh -c 'nc -w 3 db 5432 </dev/null'\n\
         docker run --rm {IMAGE} sh -c 'nc -w 3 default 80 </dev/null'\n\
         docker run --rm --network backend {IMAGE} sh -c 'nc -w 1 default 80 </dev/null || echo apart'\n\
         P=$(docker port db 5432 | head -1); echo \"port $P\"\n\
         nc() {{ python3 -c 'import socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2])),3); \
            print(s.recv(64).decode().strip())' \"$@\"; }}\n\
         nc 127.0.0.1 ${{P##*:}}\n\
         nc 127.0.0.1 8081\n\
         G=$(docker network inspect -f '{{{{(index .IPAM.Config 0).Gateway}}}}' backend)\n\
         nc $G 4000 || echo gateway-refused\n\
         docker run --rm --network backend {IMAGE} sh -c \"nc -w 1 $G 4000 </dev/null || echo gateway-refused\"\n\
         echo $DOCKER_HOST > {ready}\n\
         while [ ! -e {go} ]; do sleep 0.1; done\n",
        ready = ready.display(),
        go = go.display(),
    );
    // Somebody of the host listens on every address of it.
    let beside = world.listen_beside_job(&[at(std::net::Ipv4Addr::UNSPECIFIED, 4000)])?;
    let mut running = stage.start(&script)?;
    let came = running.until(&ready);
    let outside = came.and_then(|()| {
        // Other processes of the host, root's included, do not reach the job's engine nor its ports.
        let endpoint = std::fs::read_to_string(&ready)?;
        let engine: u16 = endpoint
            .trim()
            .rsplit(':')
            .next()
            .context("a port")?
            .parse()?;
        for port in [engine, 8081] {
            let reached = world.network.job.run(|| {
                let to = at(std::net::Ipv4Addr::LOCALHOST, port);
                Ok(
                    std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_secs(1))
                        .is_ok(),
                )
            })?;
            ensure!(!reached, "the host reaches port {port} of the job");
        }
        Ok(())
    });
    std::fs::write(&go, "")?;
    let finished = running.wait()?;
    outside?;
    let finished = finished.expect_status(0)?;
    for words in [
        "from-db",
        "from-80",
        "from-default",
        "apart",
        "port 127.0.0.1:",
    ] {
        says(&finished.stdout, words)?;
    }
    let refused = finished.stdout.matches("gateway-refused").count();
    ensure!(
        refused == 2,
        "the host's end of a network was reached:\n{}",
        finished.stdout
    );
    ensure!(
        beside
            .at(at(std::net::Ipv4Addr::UNSPECIFIED, 4000))
            .connections
            == 0,
        "the host was reached"
    );
    Ok(())
}
