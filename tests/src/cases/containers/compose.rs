//! Several services of one file, as compose starts and removes them.

use std::fs;

use anyhow::{Result, ensure};

use super::{Stage, says};
use crate::harness::engine::IMAGE;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::verdicts::denial_of;

const FILE: &str = r#"
version: "3.8"
services:
  db:
    image: story:1
    command: sh -c 'while true; do nc -l -p 80 -e echo from-db; done'
    restart: always
    ports: ["8082:80"]
    volumes: ["data:/data", "./here:/here:ro"]
    networks: {back: {aliases: [database]}}
    healthcheck: {test: "true", interval: 10s}
    ulimits: {nofile: 1024}
    logging: {driver: json-file, options: {max-size: 1m}}
  web:
    build:
      context: ./web
      args: {WORD: built}
    depends_on: [db]
    environment: {TRIED: "yes"}
    networks: [back, default]
    command: >
      sh -c 'cat /word; cat /here/file;
             for name in db database; do for try in 1 2 3 4 5 6 7 8 9; do
             sleep 1; nc -w 3 $$name 80 </dev/null && break; done; done;
             nc -w 3 198.51.100.66 8080 </dev/null && echo reached-evil; echo x | nc -w 3 good.test 8080 && echo reached-good;
             echo tried $$TRIED'
    volumes: ["./here:/here"]
volumes: {data: {}}
networks: {back: {}}
"#;

pub(super) fn services(stage: &Stage<'_>) -> Result<()> {
    let Stage { world, engine, .. } = stage;
    let project = stage.workspace.join("project");
    fs::create_dir_all(project.join("web"))?;
    fs::create_dir(project.join("here"))?;
    fs::write(project.join("docker-compose.yml"), FILE)?;
    fs::write(project.join("here/file"), "of-the-workspace\n")?;
    fs::write(
        project.join("web/Dockerfile"),
        format!("FROM {IMAGE}\nARG WORD\nRUN echo word-$WORD > /word\n"),
    )?;
    let before = world.evil.at(at(EVIL_V4, 8080));
    let good_before = world.good.at(at(GOOD_V4, 8080)).connections;
    let _seen = world.leaked()?;
    let script = format!(
        "set -e\n\
         cd project; {compose}\n\
         compose up -d\n\
         docker wait project_web_1\n\
         compose ps\n\
         compose logs --no-color web\n\
         for try in 1 2 3 4 5 6 7 8 9; do sleep 1; python3 -c 'import socket; s=socket.create_connection((\"127.0.0.1\",8082),3); print(s.recv(64).decode())' && break; done\n\
         compose exec -T db echo through-exec\n\
         compose run --rm web sh -c 'echo through-run'\n\
         compose up -d --force-recreate db\n\
         compose down -v --rmi local\n\
         echo left $(docker ps -aq | wc -l) $(docker volume ls -q | wc -l) $(docker images -q project_web | wc -l)\n",
        compose = engine.compose(),
    );
    let finished = stage.job(&script)?;
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for words in [
        "word-built",
        "of-the-workspace",
        "from-db",
        "reached-good",
        "tried yes",
        "through-exec",
        "through-run",
        "left 0 0 0",
    ] {
        says(&said, words)?;
    }
    let finished = finished.expect_status(0)?;
    let by_name = finished.stdout.matches("from-db").count();
    ensure!(by_name >= 3, "{by_name} of 3:\n{said}");
    ensure!(!said.contains("reached-evil"), "{said}");
    world.nothing_leaked()?;
    ensure!(
        world.evil.at(at(EVIL_V4, 8080)) == before,
        "the attacker was reached"
    );
    ensure!(
        world.good.at(at(GOOD_V4, 8080)).connections > good_before,
        "good.test was not reached"
    );
    denial_of(&finished.report()?, at(EVIL_V4, 8080), "tcp").map(drop)
}
