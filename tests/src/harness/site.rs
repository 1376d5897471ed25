//! The allowed host's real web server: nginx with a certificate of a throw-away CA, files, and a git
//! repository behind it.

use std::fs;
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::http3::{Files, Http3};
use crate::harness::job::Running;
use crate::harness::network::{GOOD_V4, GOOD_V6, at};
use crate::harness::world::World;

/// How long nginx may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file of the repository's path on the server.
const REPOSITORY: &str = "demo.git";

/// What is served.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Names of the certificate.
    pub names: &'a [&'a str],
    /// Files at the top, and what is in them.
    pub files: &'a [(&'a str, &'a str)],
    /// Files of the repository `demo.git`.
    pub repository: &'a [(&'a str, &'a str)],
}

/// A server that runs; at the latest it ends with the world's cgroup.
#[derive(Debug)]
pub struct Site<'w> {
    /// Certificate of the CA, PEM.
    pub ca: PathBuf,
    directory: PathBuf,
    nginx: Running<'w>,
}

impl<'w> Site<'w> {
    /// Serves HTTPS on 443 and HTTP on 80, at the allowed host's addresses.
    pub fn start(world: &'w World, content: &Content<'_>) -> Result<Self> {
        Self::start_with(world, content, "")
    }

    /// The same, and each answer says that there is HTTP/3 on the same port.
    pub fn start_offering_http3(world: &'w World, content: &Content<'_>) -> Result<Self> {
        let offer = "add_header Alt-Svc 'h3=\":443\"; ma=3600';\n";
        Self::start_with(world, content, offer)
    }

    fn start_with(world: &'w World, content: &Content<'_>, more: &str) -> Result<Self> {
        let directory = world.path("site");
        let www = directory.join("www");
        fs::create_dir_all(&www)?;
        for (name, text) in content.files {
            fs::write(www.join(name), text)?;
        }
        make_repository(&directory, &www.join(REPOSITORY), content.repository)?;
        let ca = make_certificates(&directory, content.names)?;
        let settings = directory.join("nginx.conf");
        fs::write(&settings, nginx_settings(&directory, more))?;
        let command = ["nginx".as_ref(), "-c".as_ref(), settings.as_os_str()];
        let nginx = world
            .job()
            .on(&world.network.good)
            .command(command)
            .start()?;
        let mut site = Self {
            ca,
            directory,
            nginx,
        };
        site.wait_until_listening(world)?;
        Ok(site)
    }

    /// How many requests for a host were answered.
    pub fn requests(&self, host: &str) -> Result<usize> {
        self.answered(|line| line.split(' ').next() == Some(host))
    }

    /// How many requests for a path were answered, whatever their query.
    pub fn requests_of(&self, path: &str) -> Result<usize> {
        self.answered(|line| line.split([' ', '?']).nth(1) == Some(path))
    }

    fn answered(&self, is: impl Fn(&str) -> bool) -> Result<usize> {
        let log = fs::read_to_string(self.directory.join("access.log"))?;
        Ok(log.lines().filter(|line| is(line)).count())
    }

    /// Serves the same over HTTP/3.
    pub fn serve_http3(&self, world: &World) -> Result<Http3> {
        world.serve_http3(&Files {
            www: &self.directory.join("www"),
            certificate: &self.certificate(),
            key: &self.directory.join("server.key"),
        })
    }

    /// Certificate of the server, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("server.pem")
    }

    /// Ends the server.
    pub fn stop(self) -> Result<()> {
        self.nginx.signal(Signal::SIGTERM)?;
        self.nginx.wait()?;
        Ok(())
    }

    fn wait_until_listening(&mut self, world: &World) -> Result<()> {
        let deadline = Instant::now() + PATIENCE * world.environment.slowness;
        let listens = |address: IpAddr| TcpStream::connect(at(address, 443)).is_ok();
        let all = || Ok([GOOD_V4.into(), GOOD_V6.into()].into_iter().all(listens));
        while !world.network.good.run(all)? {
            if let Some(said) = self.nginx.ended()? {
                bail!("nginx did not start: {said}");
            }
            ensure!(Instant::now() < deadline, "nginx does not listen");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn nginx_settings(directory: &Path, more: &str) -> String {
    let directory = directory.display();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\n\
         pid {directory}/nginx.pid;\nerror_log stderr;\n\
         events {{}}\n\
         http {{\n\
           log_format host '$host $request_uri';\n\
           access_log {directory}/access.log host;\n\
           client_body_temp_path {directory}/body;\n\
           proxy_temp_path {directory}/proxy;\n\
           fastcgi_temp_path {directory}/fastcgi;\n\
           uwsgi_temp_path {directory}/uwsgi;\n\
           scgi_temp_path {directory}/scgi;\n\
           server {{\n\
             listen {GOOD_V4}:443 ssl;\n\
             listen [{GOOD_V6}]:443 ssl;\n\
             listen {GOOD_V4}:80;\n\
             listen [{GOOD_V6}]:80;\n\
             ssl_certificate {directory}/server.pem;\n\
             ssl_certificate_key {directory}/server.key;\n\
             root {directory}/www;\n\
             {more}\
           }}\n\
         }}\n"
    )
}

/// A CA that lives as long as the world, and a certificate for the site's names; returns the CA's file.
fn make_certificates(directory: &Path, names: &[&str]) -> Result<PathBuf> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "cordon, throw-away CA");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut server =
        CertificateParams::new(names.iter().copied().map(str::to_owned).collect::<Vec<_>>())?;
    server.use_authority_key_identifier_extension = true;
    let server = server.signed_by(&key, &authority)?;
    let ca = directory.join("ca.pem");
    fs::write(&ca, authority.pem())?;
    fs::write(directory.join("server.pem"), server.pem())?;
    fs::write(directory.join("server.key"), key.serialize_pem())?;
    Ok(ca)
}

/// A bare repository that can be cloned by plain HTTP.
fn make_repository(directory: &Path, bare: &Path, files: &[(&str, &str)]) -> Result<()> {
    let source = directory.join("source");
    fs::create_dir(&source)?;
    for (name, text) in files {
        fs::write(source.join(name), text)?;
    }
    let bare = bare.as_os_str();
    for words in [
        vec![
            "init".as_ref(),
            "--quiet".as_ref(),
            "--initial-branch=main".as_ref(),
        ],
        vec!["add".as_ref(), ".".as_ref()],
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
