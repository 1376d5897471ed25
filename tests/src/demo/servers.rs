//! The allowed host's real servers: HTTPS by nginx, and a git repository behind it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::job::Running;
use crate::harness::network::{GOOD_V4, GOOD_V6, at};
use crate::harness::world::World;

const NAMES: [&str; 3] = ["files.good.test", "git.good.test", "api.good.test"];

/// Seconds a name of the demo is good for.
const TTL: u32 = 60;

/// How long nginx may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Programs the demo runs, and the Debian package of each.
const TOOLS: [(&str, &str); 4] = [
    ("nginx", "nginx-light"),
    ("git", "git"),
    ("curl", "curl"),
    ("python3", "python3"),
];

/// The servers; at the latest they end with the world's cgroup.
#[derive(Debug)]
pub struct Site<'w> {
    /// Certificate of the CA, PEM.
    pub ca: PathBuf,
    nginx: Running<'w>,
}

impl Site<'_> {
    /// Ends the server.
    pub fn stop(self) -> Result<()> {
        self.nginx.signal(Signal::SIGTERM)?;
        self.nginx.wait()?;
        Ok(())
    }
}

/// Fails with all that is missing.
pub fn check_tools() -> Result<()> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    ensure!(
        missing.is_empty(),
        "the demo needs {0}: `cargo xtask setup` installs them (or `apt-get install {0}`)",
        missing.join(" ")
    );
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    // A shell of an ordinary user lacks it in PATH.
    found || Path::new("/usr/sbin").join(program).is_file()
}

/// Makes the site and starts its server.
pub fn start(world: &World) -> Result<Site<'_>> {
    let directory = world.path("site");
    let www = directory.join("www");
    fs::create_dir_all(&www)?;
    for name in NAMES.iter().filter(|name| **name != "api.good.test") {
        world.zone.add(name, GOOD_V4, TTL);
        world.zone.add(name, GOOD_V6, TTL);
    }
    fs::write(www.join("release.txt"), "cordon demo release\n")?;
    fs::write(www.join("status.json"), "{\"status\": \"ok\"}\n")?;
    make_repository(&directory, &www.join("demo.git"))?;
    let ca = make_certificates(&directory)?;
    let settings = directory.join("nginx.conf");
    fs::write(&settings, nginx_settings(&directory))?;
    let command = ["nginx".as_ref(), "-c".as_ref(), settings.as_os_str()];
    let mut nginx = world
        .job()
        .on(&world.network.good)
        .command(command)
        .start()?;
    wait_until_listening(world, &mut nginx)?;
    Ok(Site { ca, nginx })
}

fn wait_until_listening(world: &World, nginx: &mut Running<'_>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let listens = || Ok(TcpStream::connect(at(GOOD_V6, 443)).is_ok());
    while !world.network.good.run(listens)? {
        if let Some(said) = nginx.ended()? {
            bail!("nginx did not start: {said}");
        }
        ensure!(Instant::now() < deadline, "nginx does not listen");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn nginx_settings(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\n\
         pid {directory}/nginx.pid;\nerror_log stderr;\n\
         events {{}}\n\
         http {{\n\
           access_log {directory}/access.log;\n\
           client_body_temp_path {directory}/body;\n\
           proxy_temp_path {directory}/proxy;\n\
           fastcgi_temp_path {directory}/fastcgi;\n\
           uwsgi_temp_path {directory}/uwsgi;\n\
           scgi_temp_path {directory}/scgi;\n\
           server {{\n\
             listen {GOOD_V4}:443 ssl;\n\
             listen [{GOOD_V6}]:443 ssl;\n\
             ssl_certificate {directory}/server.pem;\n\
             ssl_certificate_key {directory}/server.key;\n\
             root {directory}/www;\n\
           }}\n\
         }}\n"
    )
}

/// A CA that lives for one demo, and a certificate for the site's names; returns the CA's file.
fn make_certificates(directory: &Path) -> Result<PathBuf> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "cordon demo, throw-away CA");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
    server.use_authority_key_identifier_extension = true;
    let server = server.signed_by(&key, &authority)?;
    let ca = directory.join("ca.pem");
    fs::write(&ca, authority.pem())?;
    fs::write(directory.join("server.pem"), server.pem())?;
    fs::write(directory.join("server.key"), key.serialize_pem())?;
    Ok(ca)
}

/// A bare repository that can be cloned by plain HTTP.
fn make_repository(directory: &Path, bare: &Path) -> Result<()> {
    let source = directory.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("README"), "A repository to clone.\n")?;
    let bare = bare.as_os_str();
    for words in [
        vec![
            "init".as_ref(),
            "--quiet".as_ref(),
            "--initial-branch=main".as_ref(),
        ],
        vec!["add".as_ref(), "README".as_ref()],
        vec![
            "commit".as_ref(),
            "--quiet".as_ref(),
            "--message=first".as_ref(),
        ],
        vec![
            "clone".as_ref(),
            "--quiet".as_ref(),
            "--bare".as_ref(),
            ".".as_ref(),
            bare,
        ],
        vec!["--git-dir".as_ref(), bare, "update-server-info".as_ref()],
    ] {
        let output = Command::new("git")
            .args(&words)
            .current_dir(&source)
            .env("HOME", directory)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "demo")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "demo@good.test")))
            .output()
            .context("start git")?;
        ensure!(
            output.status.success(),
            "git {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
