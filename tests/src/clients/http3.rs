//! Clients of HTTP/3: a rule for TCP alone sends them over TCP, without a datagram on the wire; a
//! rule for UDP lets them have it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordon::report::Report;
use hickory_proto::rr::rdata::HTTPS;
use hickory_proto::rr::rdata::svcb::{Alpn, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{Name, RData};

use crate::clients::table::{Row, Verdict};
use crate::clients::trial::{self, Script, Under};
use crate::clients::{Client, Workshop, web};
use crate::harness::datagrams::Datagrams;
use crate::harness::network::{GOOD_V4, GOOD_V6, at};
use crate::harness::site::{Content, Site};
use crate::harness::verdicts::denial_of;
use crate::harness::world::World;

const ALLOWED: &str = "files.good.test";
const BODY: &str = "/body.txt";
const PAGE: &str = "/page.html";

const TCP: &str = "[[allow]]\nhost = \"files.good.test\"\nports = [443]\n";
const UDP: &str = "[[allow]]\nhost = \"files.good.test\"\nports = [443]\nprotocol = \"udp\"\n";

/// What a refused datagram may cost, more than HTTP/3 without cordon takes.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The same for a browser, whose own time differs by more than that on a busy machine.
const BROWSER_AT_ONCE: Duration = Duration::from_secs(5);

/// Asks five times with pauses, time enough to change to HTTP/3, then for the body.
const PAGE_TEXT: &str = "<!DOCTYPE html>\n<pre id=\"out\"></pre>\n<script>\n\
    const get = (path) => {\n\
      const request = new XMLHttpRequest();\n\
      request.open('GET', path, false);\n\
      request.send();\n\
      return request.responseText;\n\
    };\n\
    for (let number = 0; number < 5; number++) {\n\
      get('/step.txt?' + number);\n\
      const until = Date.now() + 200;\n\
      while (Date.now() < until);\n\
    }\n\
    document.getElementById('out').textContent = get('/body.txt');\n\
    </script>\n";

/// How a client comes to speak HTTP/3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Learns {
    /// By its arguments.
    Told,
    /// By its arguments, and it knows nothing else.
    ToldOnly,
    /// By `Alt-Svc` in an answer over TCP.
    Header,
    /// By the name's HTTPS record, before its first request.
    Record,
}

impl Learns {
    /// A page is opened, which asks for the body.
    fn browses(self) -> bool {
        matches!(self, Self::Header | Self::Record)
    }
}

/// A client of HTTP/3.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) client: Client,
    /// What a shell runs; `$URL` is fetched, `$CA` and `$CERTIFICATE` are the server's.
    script: &'static str,
    learns: Learns,
}

const fn speaker(
    name: &'static str,
    needs: &'static [&'static str],
    version: &'static str,
    script: &'static str,
    learns: Learns,
) -> Speaker {
    Speaker {
        client: Client {
            name,
            needs,
            version,
        },
        script,
        learns,
    }
}

const CURL: &str = "curl-http3 --version";
const CHROMIUM: &str = "chromium --version --no-sandbox";

/// Over QUIC it takes no certificate of an unknown CA, unless it is this very one.
const BROWSE: &str = "pin=$(openssl x509 -in $CERTIFICATE -noout -pubkey | \
    openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | openssl base64)\n\
    chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --user-data-dir=$HOME/profile --ignore-certificate-errors-spki-list=$pin \
    --origin-to-force-quic-on=files.good.test:1 --dump-dom $URL";

/// All of them.
pub(super) const SPEAKERS: [Speaker; 4] = [
    speaker(
        "web/curl --http3",
        &["curl-http3"],
        CURL,
        "curl-http3 -sS --fail --http3 --cacert $CA -o out $URL",
        Learns::Told,
    ),
    speaker(
        "web/curl --http3-only",
        &["curl-http3"],
        CURL,
        "curl-http3 -sS --fail --http3-only --cacert $CA -o out $URL",
        Learns::ToldOnly,
    ),
    speaker(
        "web/chromium, Alt-Svc",
        &["chromium", "openssl"],
        CHROMIUM,
        BROWSE,
        Learns::Header,
    ),
    speaker(
        "web/chromium, HTTPS RR",
        &["chromium", "openssl"],
        CHROMIUM,
        BROWSE,
        Learns::Record,
    ),
];

/// What was seen of one run.
#[derive(Debug)]
struct Run {
    /// From start to end.
    ms: u64,
    /// What it said about a failure.
    said: String,
    /// As a shell shows it; `None`: it was killed because it took too long.
    status: Option<i32>,
    /// The whole body arrived.
    whole: bool,
    /// Requests for the body, by the servers' logs.
    over_tcp: usize,
    /// The same.
    over_http3: usize,
    /// UDP 443 that arrived at the host.
    datagrams: usize,
    /// The report has a denial of UDP 443, if there is a report.
    denied: bool,
}

/// Rows of one client.
pub(super) fn tell(workshop: &Workshop, speaker: &Speaker) -> Result<Vec<Row>> {
    let free = run(workshop, speaker, None)?;
    ensure!(
        free.whole && free.over_http3 > 0 && free.over_tcp == 0 && free.datagrams > 0,
        "without cordon it does not speak HTTP/3 either: {} over TCP, {} over HTTP/3: {}",
        free.over_tcp,
        free.over_http3,
        free.said
    );
    let tcp = run(workshop, speaker, Some(TCP))?;
    let both = run(workshop, speaker, Some(&[TCP, UDP].concat()))?;
    let more = if speaker.learns.browses() {
        BROWSER_AT_ONCE
    } else {
        AT_ONCE
    };
    let limit = Duration::from_millis(free.ms) + more;
    Ok(vec![without_udp(speaker, &tcp, limit), asked_for(&both)])
}

/// The row of a rule for TCP alone.
fn without_udp(speaker: &Speaker, run: &Run, limit: Duration) -> Row {
    let falls_back = speaker.learns != Learns::ToldOnly;
    let Run {
        ms,
        said,
        status,
        whole,
        over_tcp,
        over_http3,
        datagrams,
        denied,
    } = run;
    let prompt = status.is_some() && Duration::from_millis(*ms) < limit;
    let arrived = format!("{datagrams} DATAGRAMS ARRIVED");
    let faults: Vec<&str> = [
        (*datagrams > 0, arrived.as_str()),
        (*over_http3 > 0, "ANSWERED OVER HTTP/3"),
        (!denied, "NO DENIAL IN THE REPORT"),
        (
            falls_back && (!whole || *over_tcp == 0),
            "NOT WHOLE OVER TCP",
        ),
        (!falls_back && (*whole || *status == Some(0)), "NO ERROR"),
        (!prompt, "NOT PROMPT"),
    ]
    .into_iter()
    .filter_map(|(is, fault)| is.then_some(fault))
    .collect();
    let end = if *whole && *over_tcp > 0 {
        "whole over TCP"
    } else {
        said
    };
    let seen = [faults.as_slice(), &[end]].concat().join("; ");
    let expected = if falls_back { "by TCP" } else { "fails" };
    Row::new(
        "rule for TCP 443 alone",
        &format!("{expected} within {} ms, UDP denied", limit.as_millis()),
        format!("{ms} ms: {seen}"),
        Verdict::of(faults.is_empty()),
    )
}

/// The row of rules for TCP and UDP.
fn asked_for(run: &Run) -> Row {
    let Run {
        ms,
        said,
        whole,
        over_tcp,
        over_http3,
        datagrams,
        ..
    } = run;
    let holds = *whole && *over_http3 > 0 && *over_tcp == 0 && *datagrams > 0;
    let seen = if holds {
        format!("whole over HTTP/3, {ms} ms")
    } else {
        format!("{over_tcp} over TCP, {over_http3} over HTTP/3: {said}")
    };
    Row::new(
        "rules for TCP and UDP 443",
        "whole over HTTP/3",
        seen,
        Verdict::of(holds),
    )
}

/// One run in a world of its own, under these rules or without cordon.
fn run(workshop: &Workshop, speaker: &Speaker, rules: Option<&str>) -> Result<Run> {
    let body = web::body();
    let content = Content {
        names: &[ALLOWED],
        files: &[
            ("body.txt", &body),
            ("page.html", PAGE_TEXT),
            ("step.txt", "a step\n"),
        ],
        repository: &[("README", "Nothing clones it.\n")],
    };
    let world = world(workshop, speaker)?;
    let site = match speaker.learns {
        Learns::Header => Site::start_offering_http3(&world, &content)?,
        Learns::Told | Learns::ToldOnly | Learns::Record => Site::start(&world, &content)?,
    };
    let http3 = site.serve_http3(&world)?;
    let datagrams = Datagrams::start(&world.network.good)?;
    let browses = speaker.learns.browses();
    let path = if browses { PAGE } else { BODY };
    let url = format!("https://{ALLOWED}{path}");
    let variables = [
        ("URL", url.as_str()),
        ("CA", &site.ca.display().to_string()),
        ("CERTIFICATE", &site.certificate().display().to_string()),
    ];
    let script = Script {
        text: speaker.script,
        variables: &variables,
        reach: None,
    };
    let profile = rules
        .map(|rules| world.profile("http3", rules))
        .transpose()?;
    let under = match &profile {
        None => Under::Nothing,
        Some(profile) if browses => Under::ProfileAndUnixSockets(profile),
        Some(profile) => Under::Profile(profile),
    };
    let trial = trial::run(workshop, &world, under, &[script])?;
    let made = trial.made.first().context("no attempt")?;
    let whole = if browses {
        String::from_utf8_lossy(&made.stdout()?).contains(&body)
    } else {
        made.file("out").is_some_and(|out| out == body.as_bytes())
    };
    // A record's promise and the first connection are in a race; an answer comes before its header.
    ensure!(
        speaker.learns != Learns::Header || http3.requests(PAGE) == 0,
        "it spoke HTTP/3 before it could know of it"
    );
    if profile.is_some() {
        world.nothing_leaked()?;
    }
    let run = Run {
        ms: made.seen.ms,
        said: made.said(),
        status: made.seen.status,
        whole,
        over_tcp: site.requests_of(BODY)?,
        over_http3: http3.requests(BODY),
        datagrams: datagrams.arrived_at(443)?,
        denied: trial.report.as_ref().is_some_and(denies_udp),
    };
    site.stop()?;
    Ok(run)
}

fn denies_udp(report: &Report) -> bool {
    [at(GOOD_V4, 443), at(GOOD_V6, 443)]
        .into_iter()
        .any(|to| denial_of(report, to, "udp").is_ok())
}

/// A world in which the name has addresses, and perhaps a record that promises HTTP/3.
fn world(workshop: &Workshop, speaker: &Speaker) -> Result<World> {
    let world = World::without_servers(&workshop.environment)?;
    world.zone.add(ALLOWED, GOOD_V4, 60);
    world.zone.add(ALLOWED, GOOD_V6, 60);
    if speaker.learns == Learns::Record {
        let protocols = Alpn(vec!["h3".to_owned(), "http/1.1".to_owned()]);
        let promise = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(protocols))];
        let record = SVCB::new(1, Name::root(), promise);
        world
            .zone
            .add_record(ALLOWED, 60, RData::HTTPS(HTTPS(record)));
    }
    Ok(world)
}
