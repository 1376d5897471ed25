//! Clients of HTTPS and HTTP: an allowed name is fetched whole; the same address under a name that
//! is not allowed gives nothing.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount};

use crate::clients::table::{Row, Verdict};
use crate::clients::trial::{self, Made, Script, Trial, Under};
use crate::clients::{Client, Workshop};
use crate::harness::network::{GOOD_V4, GOOD_V6};
use crate::harness::site::{Content, Site};
use crate::harness::world::World;

const ALLOWED: &str = "files.good.test";
/// In no rule, in the certificate, and at the same address: `/etc/hosts` says so.
const OTHER: &str = "hidden.good.test";

/// 1 MiB: many packets, so that a connection that is cut somewhere shows.
const BODY: usize = 1 << 20;

/// A refusal takes no longer than the whole body, and this: clients of names that fail try again.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The rules, with the checks they have by default.
const RULES: &str = "[[allow]]\nhost = \"files.good.test\"\nports = [443]\n\
                     [[allow]]\nhost = \"files.good.test\"\nports = [80]\n";

/// Where the body arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Arrives {
    /// In the file `out`.
    File,
    /// In the file `body.txt` of a repository's clone.
    Clone,
    /// Among what is printed.
    Output,
}

/// A client of HTTPS, and perhaps of HTTP.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) client: Client,
    /// What a shell runs; `$SCHEME`, `$NAME` and `$URL` are what is fetched, `$CA` is trusted.
    script: &'static str,
    schemes: &'static [&'static str],
    arrives: Arrives,
    /// Needs Unix sockets that a job does not get where BPF LSM is not active.
    unix_sockets: bool,
}

const fn fetcher(
    name: &'static str,
    needs: &'static [&'static str],
    version: &'static str,
    script: &'static str,
) -> Fetcher {
    Fetcher {
        client: Client {
            name,
            needs,
            version,
        },
        script,
        schemes: &["https", "http"],
        arrives: Arrives::File,
        unix_sockets: false,
    }
}

impl Fetcher {
    const fn only_https(mut self) -> Self {
        self.schemes = &["https"];
        self
    }

    const fn arrives(mut self, arrives: Arrives) -> Self {
        self.arrives = arrives;
        self
    }
}

/// All of them.
pub(super) const FETCHERS: [Fetcher; 13] = [
    fetcher(
        "web/curl, OpenSSL",
        &["curl"],
        "curl --version",
        // Nothing of the machine's own settings; another name goes where the first one is.
        "curl -sS --fail --cacert $CA --resolve hidden.good.test:$PORT:203.0.113.10 -o out $URL",
    ),
    fetcher(
        "web/python urllib",
        &["python"],
        "python3 --version",
        "python3 $PROGRAMS/client.py fetch $URL out $CA",
    ),
    fetcher(
        "web/git clone",
        &["git"],
        "git --version",
        "GIT_SSL_CAINFO=$CA GIT_CONFIG_NOSYSTEM=1 git clone --quiet $SCHEME://$NAME/demo.git clone",
    )
    .arrives(Arrives::Clone),
    fetcher(
        "web/openssl s_client",
        &["openssl"],
        "openssl version",
        "printf 'GET /body.txt HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' $NAME | openssl s_client \
         -quiet -ign_eof -verify_return_error -CAfile $CA -servername $NAME -connect $NAME:443",
    )
    .only_https()
    .arrives(Arrives::Output),
    fetcher(
        "web/wget, GnuTLS",
        &["wget"],
        "wget --version",
        "wget --no-verbose --tries=1 --ca-certificate=$CA -O out $URL",
    ),
    fetcher(
        "web/gnutls-cli",
        &["gnutls"],
        "gnutls-cli --version",
        // Standard input stays open, or it would hang up before the answer.
        "mkfifo in; exec 3<>in; printf 'GET /body.txt HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' $NAME >&3\n\
         gnutls-cli --x509cafile=$CA --port=443 $NAME <in",
    )
    .only_https()
    .arrives(Arrives::Output),
    fetcher(
        "web/apt transport",
        &["apt"],
        "apt-get --version",
        "/usr/lib/apt/apt-helper -o Acquire::https::CAInfo=$CA -o APT::Sandbox::User=root \
         -o Acquire::http::Proxy=DIRECT -o Acquire::https::Proxy=DIRECT -o Acquire::Retries=0 \
         download-file $URL out",
    ),
    fetcher(
        "web/rustls",
        &[],
        "$NATIVE clients-native version rustls",
        "$NATIVE clients-native fetch $NAME /body.txt out $CA",
    )
    .only_https(),
    fetcher(
        "web/go net/http",
        &["go"],
        "go version",
        "SSL_CERT_FILE=$CA $PROGRAMS/go-pure fetch $URL out",
    ),
    fetcher(
        "web/java HttpClient",
        &["java"],
        "java --version",
        "java -cp $PROGRAMS Client fetch $URL out $CA",
    ),
    fetcher(
        "web/node",
        &["node"],
        "node --version",
        "NODE_EXTRA_CA_CERTS=$CA node $PROGRAMS/client.js fetch $URL out",
    ),
    fetcher(
        "web/node fetch",
        &["node"],
        "node --version",
        "NODE_EXTRA_CA_CERTS=$CA node -e 'fetch(process.argv[1]).then(async (answer) => \
         fs.writeFileSync(\"out\", Buffer.from(await answer.arrayBuffer()))) \
         .catch((error) => { console.error(String(error), String(error.cause)); process.exit(1) })' \
         $URL",
    ),
    Fetcher {
        // Its processes speak over Unix sockets of packets.
        unix_sockets: true,
        ..fetcher(
            "web/chromium",
            &["chromium"],
            "chromium --version --no-sandbox",
            "chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --user-data-dir=$HOME/profile --ignore-certificate-errors \
             --host-resolver-rules='MAP hidden.good.test 203.0.113.10' --dump-dom $URL",
        )
        .arrives(Arrives::Output)
    },
];

/// Rows of one client.
pub(super) fn tell(workshop: &Workshop, fetcher: &Fetcher) -> Result<Vec<Row>> {
    let body = body();
    let mut rows = Vec::new();
    for scheme in fetcher.schemes {
        rows.extend(of_scheme(workshop, fetcher, scheme, &body)?);
    }
    Ok(rows)
}

fn of_scheme(workshop: &Workshop, fetcher: &Fetcher, scheme: &str, body: &str) -> Result<Vec<Row>> {
    let content = Content {
        names: &[ALLOWED, OTHER],
        files: &[("body.txt", body)],
        repository: &[("body.txt", body)],
    };
    let free = world(workshop)?;
    let site = Site::start(&free, &content)?;
    let [first, second] = both(workshop, &free, fetcher, &site, scheme, Under::Nothing)?;
    for made in [&first, &second] {
        let whole = is_whole(fetcher, made, body)?;
        ensure!(
            whole,
            "without cordon it does not work either: {}",
            made.said()
        );
    }
    ensure!(
        site.requests(OTHER)? > 0,
        "the other name is not in the server's log"
    );
    site.stop()?;
    drop(free);

    let world = world(workshop)?;
    let site = Site::start(&world, &content)?;
    let profile = world.profile("files", RULES)?;
    let under = if fetcher.unix_sockets {
        Under::ProfileAndUnixSockets(&profile)
    } else {
        Under::Profile(&profile)
    };
    let [first, second] = both(workshop, &world, fetcher, &site, scheme, under)?;
    let answered = site.requests(OTHER)?;
    site.stop()?;
    let whole = is_whole(fetcher, &first, body)?;
    let seen = if whole {
        format!("whole, {} ms", first.seen.ms)
    } else {
        format!("{} ms: {}", first.seen.ms, first.said())
    };
    let tried = format!("{scheme}://{ALLOWED}");
    let note = if fetcher.unix_sockets {
        "1 MiB, whole (unix_sockets = \"any\")"
    } else {
        "1 MiB, whole"
    };
    Ok(vec![
        Row::new(&tried, note, seen, Verdict::of(whole)),
        under_other_name(fetcher, scheme, body, [&first, &second], answered)?,
    ])
}

/// The row of the name that is not allowed.
fn under_other_name(
    fetcher: &Fetcher,
    scheme: &str,
    body: &str,
    [first, second]: [&Made; 2],
    answered: usize,
) -> Result<Row> {
    let limit = Duration::from_millis(first.seen.ms) + AT_ONCE;
    let ms = second.seen.ms;
    let prompt = second.seen.status.is_some() && Duration::from_millis(ms) < limit;
    let failed = second.failed();
    let whole = is_whole(fetcher, second, body)?;
    let faults: Vec<&str> = [
        (whole, "FETCHED"),
        (answered > 0, "ANSWERED BY THE SERVER"),
        (!failed && !whole, "NO ERROR"),
        (!prompt, "NOT PROMPT"),
    ]
    .into_iter()
    .filter_map(|(is, fault)| is.then_some(fault))
    .collect();
    let mut seen = format!("{ms} ms: {}", second.said());
    for fault in &faults {
        seen = format!("{fault}; {seen}");
    }
    Ok(Row::new(
        &format!("{scheme}://{OTHER}, same address"),
        &format!("fails within {} ms", limit.as_millis()),
        seen,
        Verdict::of(faults.is_empty()),
    ))
}

/// Fetches under both names, in one job: the allowed name comes first, and opens the address.
fn both(
    workshop: &Workshop,
    world: &World,
    fetcher: &Fetcher,
    site: &Site<'_>,
    scheme: &str,
    under: Under<'_>,
) -> Result<[Made; 2]> {
    let ca = site.ca.display().to_string();
    let port = if scheme == "https" { "443" } else { "80" };
    let urls = [ALLOWED, OTHER].map(|name| format!("{scheme}://{name}/body.txt"));
    let [allowed, other] = [(ALLOWED, &urls[0]), (OTHER, &urls[1])].map(|(name, url)| {
        [
            ("SCHEME", scheme),
            ("NAME", name),
            ("URL", url),
            ("PORT", port),
            ("CA", &ca),
        ]
    });
    let scripts = [&allowed, &other].map(|variables| Script {
        text: fetcher.script,
        variables,
        reach: None,
    });
    let Trial { made, .. } = trial::run(workshop, world, under, &scripts)?;
    match <[Made; 2]>::try_from(made) {
        Ok(made) => Ok(made),
        Err(made) => bail!("{} attempts instead of two", made.len()),
    }
}

fn is_whole(fetcher: &Fetcher, made: &Made, body: &str) -> Result<bool> {
    let is = |file| {
        made.file(file)
            .is_some_and(|bytes| bytes == body.as_bytes())
    };
    Ok(match fetcher.arrives {
        Arrives::File => is("out"),
        Arrives::Clone => is("clone/body.txt"),
        Arrives::Output => String::from_utf8_lossy(&made.stdout()?).contains(body),
    })
}

/// Text that does not repeat itself, so that no part of it can stand for another.
pub(super) fn body() -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = String::with_capacity(BODY);
    while text.len() < BODY {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!(
            "{state:016x}{:016x}{:031x}\n",
            state.rotate_left(17),
            state >> 3
        );
    }
    text
}

/// A world in which only `ALLOWED` is in DNS, and `/etc/hosts` has the other name.
fn world(workshop: &Workshop) -> Result<World> {
    let world = World::without_servers(&workshop.environment)?;
    world.zone.add(ALLOWED, GOOD_V4, 60);
    world.zone.add(ALLOWED, GOOD_V6, 60);
    let hosts = world.path("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost\n{GOOD_V4} {OTHER}\n"))?;
    world.mounts().run(|| {
        const NONE: Option<&str> = None;
        mount(Some(&hosts), "/etc/hosts", NONE, MsFlags::MS_BIND, NONE).context("bind /etc/hosts")
    })?;
    Ok(world)
}
