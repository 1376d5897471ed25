//! Resolvers: an allowed name is resolved and reached; another is refused promptly and never asked
//! for outside.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cordon::report::NameVerdict;

use crate::clients::attempt::Seen;
use crate::clients::table::{Row, Verdict};
use crate::clients::trial::{self, Made, Script, Trial, Under};
use crate::clients::{Client, Workshop};
use crate::harness::network::{GOOD_V4, GOOD_V6, OTHER_V4, at};
use crate::harness::rules::host;
use crate::harness::site::{Content, Site};
use crate::harness::world::World;

const ALLOWED: &str = "files.good.test";
const DENIED: &str = "secret.evil.test";

/// Where `ALLOWED` echoes.
const ECHO: u16 = 8080;

/// A refusal takes no longer than an answer, and this.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How an allowed name shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shows {
    /// Addresses are printed; they are connected to.
    Addresses,
    /// This is printed, and it comes from the host itself.
    Text(&'static str),
    /// Not at all: the kind of question is not served.
    Nothing,
}

/// A resolver.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) client: Client,
    /// What a shell runs; `$NAME` is the name.
    script: &'static str,
    shows: Shows,
    /// What an answer of no use costs it by its own design, besides [`AT_ONCE`], and why.
    patience: Option<(Duration, &'static str)>,
}

const fn resolver(
    name: &'static str,
    needs: &'static [&'static str],
    version: &'static str,
    script: &'static str,
) -> Resolver {
    Resolver {
        client: Client {
            name,
            needs,
            version,
        },
        script,
        shows: Shows::Addresses,
        patience: None,
    }
}

impl Resolver {
    const fn patience(mut self, more: Duration, why: &'static str) -> Self {
        self.patience = Some((more, why));
        self
    }

    const fn shows(mut self, shows: Shows) -> Self {
        self.shows = shows;
        self
    }
}

const LIBC: &str = "ldd --version";
const GO: &str = "go version";
const DIG: &str = "dig -v";
const JAVA: &str = "java --version";
const NODE: &str = "node --version";

/// All of them.
pub(super) const RESOLVERS: [Resolver; 21] = [
    resolver("dns/glibc", &["gcc"], LIBC, "$PROGRAMS/lookup-glibc $NAME"),
    resolver(
        "dns/glibc, TCP",
        &["gcc"],
        LIBC,
        "RES_OPTIONS=use-vc $PROGRAMS/lookup-glibc $NAME",
    ),
    resolver(
        "dns/musl, static",
        &["musl"],
        "dpkg-query --show musl",
        "$PROGRAMS/lookup-musl $NAME",
    )
    .patience(
        Duration::from_secs(2),
        "musl takes REFUSED for no answer and waits for its timeout, here 2 s",
    ),
    resolver(
        "dns/c-ares",
        &["gcc", "c-ares"],
        "$PROGRAMS/lookup-ares",
        "$PROGRAMS/lookup-ares $NAME",
    ),
    resolver(
        "dns/go, pure",
        &["go"],
        GO,
        "$PROGRAMS/go-pure lookup $NAME",
    ),
    resolver(
        "dns/go, cgo",
        &["go", "gcc"],
        GO,
        "GODEBUG=netdns=cgo $PROGRAMS/go-cgo lookup $NAME",
    ),
    resolver(
        "dns/hickory",
        &[],
        "$NATIVE clients-native version hickory-resolver",
        "$NATIVE clients-native lookup $NAME",
    ),
    resolver(
        "dns/python socket",
        &["python"],
        "python3 --version",
        "python3 $PROGRAMS/client.py lookup $NAME",
    ),
    resolver(
        "dns/node lookup",
        &["node"],
        NODE,
        "node $PROGRAMS/client.js lookup $NAME",
    ),
    resolver(
        "dns/node resolve4",
        &["node"],
        NODE,
        "node $PROGRAMS/client.js resolve4 $NAME",
    ),
    resolver(
        "dns/java",
        &["java"],
        JAVA,
        "java -cp $PROGRAMS Client lookup $NAME",
    ),
    resolver(
        "dns/dig",
        &["dig"],
        DIG,
        "dig +noall +comments +answer $NAME",
    ),
    resolver(
        "dns/dig, TCP",
        &["dig"],
        DIG,
        "dig +tcp +noall +comments +answer $NAME",
    ),
    resolver(
        "dns/dig, server by address",
        &["dig"],
        DIG,
        "dig +noall +comments +answer @203.0.113.11 $NAME",
    ),
    resolver(
        "dns/dig, EDNS and DNSSEC",
        &["dig"],
        DIG,
        "dig +edns=0 +bufsize=4096 +dnssec +noall +comments +answer $NAME",
    ),
    resolver(
        "dns/dig, AAAA",
        &["dig"],
        DIG,
        "dig +noall +comments +answer AAAA $NAME",
    ),
    resolver(
        "dns/dig, PTR",
        &["dig"],
        DIG,
        "dig +noall +comments +answer -x 203.0.113.10",
    )
    .shows(Shows::Nothing),
    resolver(
        "dns/curl",
        &["curl"],
        "curl --version",
        "curl -sS --insecure --output /dev/null --write-out '%{remote_ip}' https://$NAME/",
    ),
    resolver(
        "dns/curl --http3",
        &["curl-http3"],
        "curl-http3 --version",
        "curl-http3 -sS --http3 --insecure --output /dev/null --write-out '%{remote_ip}' \
         https://$NAME/",
    ),
    resolver(
        "dns/git ls-remote",
        &["git"],
        "git --version",
        "GIT_SSL_NO_VERIFY=1 git ls-remote https://$NAME/demo.git",
    )
    .shows(Shows::Text("refs/heads/main")),
    resolver(
        "dns/wget",
        &["wget"],
        "wget --version",
        "wget --no-verbose --no-check-certificate -O - https://$NAME/name.txt",
    )
    .shows(Shows::Text("this is files.good.test")),
];

/// What the web server of both hosts has.
const CONTENT: Content<'_> = Content {
    names: &[ALLOWED, DENIED],
    files: &[("name.txt", "this is files.good.test\n")],
    repository: &[("README", "A repository to list.\n")],
};

/// The name that `dig -x` asks for.
const REVERSE: &str = "10.113.0.203.in-addr.arpa";

/// Rows of one resolver.
pub(super) fn tell(workshop: &Workshop, resolver: &Resolver) -> Result<Vec<Row>> {
    let [allowed, denied] = [ALLOWED, DENIED].map(|name| [("NAME", name)]);
    let scripts = [&allowed, &denied].map(|variables| Script {
        text: resolver.script,
        variables,
        reach: Some(ECHO),
    });
    control(workshop, resolver, &scripts)?;

    let world = world(workshop)?;
    let site = Site::start(&world, &CONTENT)?;
    let rules = host(ALLOWED, &format!("443, {ECHO}"));
    let profile = world.profile("resolvers", &rules)?;
    let Trial { made, report } = trial::run(workshop, &world, Under::Profile(&profile), &scripts)?;
    site.stop()?;
    let report = report.context("no report")?;
    let [first, second] = made.as_slice() else {
        bail!("{} attempts instead of two", made.len());
    };
    if resolver.shows == Shows::Nothing {
        return Ok(vec![not_served(&world, first)]);
    }
    let recorded = report
        .dns
        .iter()
        .any(|asked| asked.name == DENIED && asked.answer == NameVerdict::Denied);
    world.nothing_leaked()?;
    Ok(vec![
        reached(&world, resolver, first)?,
        refused(&world, resolver, [first, second], recorded)?,
    ])
}

/// A world where both names exist, at the same host.
fn world(workshop: &Workshop) -> Result<World> {
    let world = World::without_servers(&workshop.environment)?;
    world.listen_good(ECHO)?;
    // Not the resolver that cordon asks: what is asked here under cordon is asked of cordon.
    world.resolve_at(&world.network.good, at(OTHER_V4, 53))?;
    for name in [ALLOWED, DENIED] {
        world.zone.add(name, GOOD_V4, 60);
        world.zone.add(name, GOOD_V6, 60);
    }
    Ok(world)
}

/// Without cordon both names are resolved and reached.
fn control(workshop: &Workshop, resolver: &Resolver, scripts: &[Script<'_>; 2]) -> Result<()> {
    let world = world(workshop)?;
    let site = Site::start(&world, &CONTENT)?;
    let made = trial::run(workshop, &world, Under::Nothing, scripts)?.made;
    site.stop()?;
    for (made, name) in made.iter().zip([ALLOWED, DENIED]) {
        let (shown, name) = match resolver.shows {
            Shows::Nothing => (true, REVERSE),
            _ => (is_shown(resolver, made)?, name),
        };
        ensure!(
            shown && world.zone.questions(name) > 0,
            "without cordon it does not work either: {}",
            made.said()
        );
    }
    Ok(())
}

/// Whether the host was resolved and reached.
fn is_shown(resolver: &Resolver, made: &Made) -> Result<bool> {
    let addresses = &made.seen.addresses;
    let known = [IpAddr::from(GOOD_V4), GOOD_V6.into()];
    Ok(match resolver.shows {
        Shows::Addresses => {
            !addresses.is_empty()
                && addresses.iter().all(|address| known.contains(address))
                && made.seen.reached.as_ref().is_some_and(|outcome| outcome.ok)
        }
        Shows::Text(text) => String::from_utf8_lossy(&made.stdout()?).contains(text),
        Shows::Nothing => false,
    })
}

fn reached(world: &World, resolver: &Resolver, made: &Made) -> Result<Row> {
    let is = is_shown(resolver, made)? && world.zone.questions(ALLOWED) > 0;
    let how = match (is, &made.seen.reached) {
        (true, Some(_)) => format!("{} addresses, reached", made.seen.addresses.len()),
        (true, None) => "reached".to_owned(),
        (false, Some(outcome)) => format!("{}; {outcome:?}", made.said()),
        (false, None) => made.said(),
    };
    Ok(Row::new(
        ALLOWED,
        "resolved and reached",
        format!("{how}, {} ms", made.seen.ms),
        Verdict::of(is),
    ))
}

fn refused(
    world: &World,
    resolver: &Resolver,
    [first, second]: [&Made; 2],
    recorded: bool,
) -> Result<Row> {
    let Seen { ms, status, .. } = second.seen;
    let (own, why) = resolver.patience.unwrap_or_default();
    let limit = Duration::from_millis(first.seen.ms) + AT_ONCE + own;
    let prompt = status.is_some() && Duration::from_millis(ms) < limit;
    let left = world.zone.questions(DENIED);
    let answered = !second.seen.addresses.is_empty() || is_shown(resolver, second)?;
    let faults: Vec<&str> = [
        (answered, "ANSWERED"),
        (left > 0, "ASKED OUTSIDE"),
        (!recorded, "NOT IN THE REPORT"),
        (!prompt, "NOT PROMPT"),
    ]
    .into_iter()
    .filter_map(|(is, fault)| is.then_some(fault))
    .collect();
    let expected = format!("refused within {} ms, reported", limit.as_millis());
    let mut seen = format!("{ms} ms: {}", second.said());
    for word in faults
        .iter()
        .chain(Some(&why).filter(|why| !why.is_empty()))
    {
        seen = format!("{word}; {seen}");
    }
    Ok(Row::new(
        DENIED,
        &expected,
        seen,
        Verdict::of(faults.is_empty()),
    ))
}

/// A kind of question that is not served: refused promptly, and never asked outside.
fn not_served(world: &World, made: &Made) -> Row {
    let Seen { ms, status, .. } = made.seen;
    let left = world.zone.questions(REVERSE);
    let is = status.is_some() && ms < 1000 && left == 0 && made.seen.addresses.is_empty();
    Row::new(
        REVERSE,
        "refused within 1000 ms",
        format!("{ms} ms, asked outside {left} times: {}", made.said()),
        Verdict::of(is),
    )
}
