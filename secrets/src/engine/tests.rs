use super::*;
use crate::block::Source;
use crate::credential::{Checksum, Class, Confidence, Fact, Life};
use crate::detection::Where;
use crate::formats::{About, Credential, Mark, Sighting};
use crate::memory::Bounds;

const TOKEN: &str = "tok_9fK2mQ7rXz5TnV1wLp8Y";
const OTHER: &str = "tok_A7c3Rt9Kq2Zm8Xv4Bn6P";

fn format(
    id: &'static str,
    marks: &'static [Mark],
    read: fn(&Sighting<'_>, &mut Scratch<'_>) -> Option<Credential>,
) -> Format {
    Format {
        rule: Rule {
            id,
            title: "for tests",
        },
        marks,
        about: About {
            check: "",
            life: "",
            classes: &[],
        },
        read,
    }
}

/// `tok_` and 20 letters and digits; `SG.` and ten; a secret by name; a token with facts.
fn formats() -> Vec<Format> {
    vec![
        format("fact", &[Mark::Anywhere(b"fct_")], |sighting, _| {
            let mut credential = body(sighting, 4, 20)?;
            let own =
                String::from_utf8(sighting.text[credential.span.clone()][4..10].to_vec()).unwrap();
            credential.facts = [
                ("issuer", "https://issuer.test/x"),
                ("user", TOKEN),
                ("app", &own),
                ("host", "\u{e9}"),
            ]
            .map(|(what, text)| Fact {
                what,
                text: text.to_owned(),
            })
            .to_vec();
            Some(credential)
        }),
        format("token", &[Mark::Anywhere(b"tok_")], |sighting, _| {
            body(sighting, 4, 20)
        }),
        format("run", &[Mark::AtRun(b"SG.")], |sighting, _| {
            body(sighting, 3, 10)
        }),
        format("named", &[Mark::Named(&["ACME_SECRET"])], |sighting, _| {
            (sighting.name == Some(b"ACME_SECRET") && sighting.at == 0 && sighting.text.len() >= 12)
                .then(|| credential(0..sighting.text.len()))
        }),
        // Of all that holds a token too, it says the least.
        format("line", &[Mark::Anywhere(b"line:")], |sighting, _| {
            Some(credential(sighting.at..sighting.text.len()))
        }),
    ]
}

fn body(sighting: &Sighting<'_>, prefix: usize, length: usize) -> Option<Credential> {
    let end = sighting.at + prefix + length;
    let body = sighting.text.get(sighting.at + prefix..end)?;
    let goes_on = sighting
        .text
        .get(end)
        .is_some_and(|byte| sieve::is_token(*byte));
    (body.iter().all(u8::is_ascii_alphanumeric) && !goes_on).then(|| credential(sighting.at..end))
}

fn credential(span: std::ops::Range<usize>) -> Credential {
    Credential {
        span,
        class: Class::Static,
        life: Life::Long,
        confidence: Confidence::High,
        checksum: Checksum::None,
        facts: Vec::new(),
    }
}

struct World {
    engine: Engine,
    memory: Memory,
    room: Vec<u8>,
}

fn world() -> World {
    let key = FingerprintKey::new([1; 32]);
    let known = KnownSet::new(key.id());
    world_with(&key, &known)
}

fn world_with(key: &FingerprintKey, known: &KnownSet) -> World {
    World {
        engine: Engine::with_formats(key, known, &Rules::all(), formats()),
        memory: Memory::new(&[2; 32], Bounds::default()),
        room: vec![0; 1 << 16],
    }
}

impl World {
    fn scan(&mut self, source: Source, bytes: &[u8]) -> (Vec<Detection>, Scanned) {
        let block = Block {
            source,
            bytes,
            truncated: false,
        };
        let mut found = Vec::new();
        let mut scratch = Scratch::new(&mut self.room);
        let scanned = self
            .engine
            .scan(&mut self.memory, &mut scratch, &block, &mut |it| {
                found.push(it);
            });
        assert!(
            self.room.iter().all(|byte| *byte == 0),
            "the scratch comes back zeroed"
        );
        (found, scanned)
    }

    /// What is found, in short: rule, entry, name, field, layers.
    fn found(&mut self, source: Source, text: &str) -> Vec<String> {
        let (found, _) = self.scan(source, text.replace('|', "\0").as_bytes());
        let short = |it: &Detection| {
            let Where {
                entry,
                variable,
                field,
                ..
            } = &it.place;
            format!("{} {entry} {variable} {field} {}", it.rule.id, it.layers)
                .trim_end()
                .to_owned()
        };
        found.iter().map(short).collect()
    }
}

fn environ(text: &str) -> Vec<String> {
    world().found(Source::Environ, text)
}

fn arguments(text: &str) -> Vec<String> {
    world().found(Source::Arguments, text)
}

fn base64(bytes: &[u8]) -> String {
    crate::decode::base64::tests::encode(bytes, false, true)
}

#[test]
fn tokens_are_found_with_their_entry_and_variable() {
    assert_eq!(
        environ(&format!(
            "A=1|B={TOKEN}||C=x {OTHER} y|{TOKEN}|=SG.0123456789|D=SG.9876543210"
        )),
        ["token 1 B", "token 3 C", "token 4", "run 5", "run 6 D"]
    );
    assert_eq!(
        environ(&format!("A=1|B={TOKEN}0|X=x{TOKEN}|E=SG.012345678")),
        ["token 2 X"]
    );
}

#[test]
fn a_secret_in_a_name_hides_the_name() {
    assert_eq!(
        environ(&format!("{TOKEN}=x|A{TOKEN}=tok_")),
        [
            "token 0 [withheld: holds a secret itself]",
            "token 1 [withheld: holds a secret itself]"
        ]
    );
    // The value is the name again.
    assert_eq!(
        environ("MYVALUE=SG.MYVALUE123"),
        ["run 0 [withheld: holds a secret itself]"]
    );
    // It is encoded in the name.
    let encoded = base64(TOKEN.as_bytes()).replace('=', "");
    assert_eq!(
        environ(&format!("X_{encoded}=1")),
        ["token 0 [withheld: holds a secret itself]  base64"]
    );
    // Another value has it, and the name as well.
    assert_eq!(
        environ(&format!("{TOKEN}={OTHER}")),
        ["token 0 [withheld: holds a secret itself]"; 2]
    );
    assert_eq!(
        environ(&format!("A\u{e9}={TOKEN}|{}={TOKEN}", "N".repeat(129))),
        ["token 0 [not printable]", "token 1 [not printable]"]
    );
}

#[test]
fn arguments_are_read_as_options() {
    assert_eq!(
        arguments(&format!(
            "cmd|--token={TOKEN}|--key|{TOKEN}|{TOKEN}|--acme-secret=0123456789abc|-e|ACME_SECRET=0123456789abc"
        )),
        [
            "token 1 token",
            "token 3 key",
            "token 4",
            "named 5 acme-secret",
            "named 7 ACME_SECRET"
        ]
    );
    assert_eq!(
        arguments(&format!("curl|-H|Authorization: Bearer {TOKEN}")),
        ["token 2 H"]
    );
}

#[test]
fn names_ask_for_whole_values_only() {
    assert_eq!(
        environ(
            "ACME_SECRET=0123456789ab|XACME_SECRET=0123456789ab|ACME_SECRET=short|ACME_SECRETS=0123456789ab"
        ),
        ["named 0 ACME_SECRET"]
    );
    assert_eq!(environ("acmeSecret=0123456789ab"), ["named 0 acmeSecret"]);
}

#[test]
fn fields_of_documents_are_named_values() {
    assert_eq!(
        environ(r#"CONFIG={"a":[{"acmeSecret":"0123456789ab"}],"b":"x"}"#),
        ["named 0 CONFIG acmeSecret"]
    );
    assert_eq!(
        environ(&format!(r#"CONFIG={{"b":"one\n{TOKEN}\n"}}"#)),
        ["token 0 CONFIG b"]
    );
    assert_eq!(
        environ(&format!(
            r#"CONFIG={{"a":"x","b":"\u0074{}"}}"#,
            &TOKEN[1..]
        )),
        ["token 0 CONFIG b json"]
    );
    assert_eq!(
        environ(r#"CONFIG={"outer":"{\"ACME_SECRET\":\"0123\\n456789ab\"}"}"#),
        ["named 0 CONFIG ACME_SECRET json > json"]
    );
}

#[test]
fn every_layer_is_taken_off_and_named() {
    let each =
        |text: &str, write: fn(u8) -> String| text.bytes().map(write).collect::<Vec<_>>().concat();
    let hex = |text: &str| each(text, |byte| format!("{byte:02x}"));
    let percent = |text: &str| each(text, |byte| format!("%{byte:02X}"));
    let one = base64(TOKEN.as_bytes());
    assert_eq!(environ(&format!("A={one}")), ["token 0 A  base64"]);
    assert_eq!(
        environ(&format!("A=Basic {one}, more")),
        ["token 0 A  base64"]
    );
    assert_eq!(environ(&format!("A=prefix/{one}")), ["token 0 A  base64"]);
    assert_eq!(
        environ(&format!("A={}", base64(one.as_bytes()))),
        ["token 0 A  base64 > base64"]
    );
    assert_eq!(environ(&format!("A={}", hex(TOKEN))), ["token 0 A  hex"]);
    assert_eq!(
        environ(&format!("A=x%20{}", percent(TOKEN))),
        ["token 0 A  percent"]
    );
    assert_eq!(environ(&format!("A=x\\n{one}")), ["token 0 A  base64"]);
    let wrapped = base64(format!("{}{TOKEN}", "text ".repeat(11)).as_bytes());
    assert_eq!(
        environ(&format!("A={}\n{}", &wrapped[..76], &wrapped[76..])),
        ["token 0 A  base64"]
    );
    assert_eq!(
        environ(&format!("A={}\\n{}", &wrapped[..76], &wrapped[76..])),
        ["token 0 A  json > base64"]
    );
    let wide: Vec<u8> = TOKEN.bytes().flat_map(|byte| [byte, 0]).collect();
    assert_eq!(
        environ(&format!("A={}", base64(&wide))),
        ["token 0 A  base64"]
    );
    let deep = base64(base64(base64(base64(TOKEN.as_bytes()).as_bytes()).as_bytes()).as_bytes());
    let (found, scanned) = world().scan(Source::Environ, format!("A={deep}").as_bytes());
    assert_eq!((found.len(), scanned.undecoded.deep), (0, 1));
}

#[test]
fn what_is_not_decoded_is_counted() {
    let mut small = world();
    small.room.truncate(16);
    let text = format!("A={}", base64(TOKEN.as_bytes()));
    let (found, scanned) = small.scan(Source::Environ, text.as_bytes());
    assert_eq!((found.len(), scanned.undecoded.scratch), (0, 1));
    // Known entries and blocks tell it again.
    let (_, again) = small.scan(Source::Environ, text.as_bytes());
    assert_eq!(again.undecoded.scratch, 1);
    let (_, again) = small.scan(Source::Environ, format!("X=1\0{text}").as_bytes());
    assert_eq!((again.undecoded.scratch, again.seen), (1, 1));
    let gzip = format!("A=H4sI{}", "AAAAAAAA".repeat(10));
    assert_eq!(
        world()
            .scan(Source::Environ, gzip.as_bytes())
            .1
            .undecoded
            .compressed,
        1
    );
}

#[test]
fn the_most_specific_format_has_the_word() {
    assert_eq!(environ(&format!("A=line: {TOKEN}")), ["token 0 A"]);
    assert_eq!(environ("A=line: x"), ["line 0 A"]);
}

#[test]
fn a_value_that_is_there_twice_is_one_credential_of_its_entry() {
    assert_eq!(
        environ(&format!("A={TOKEN} {TOKEN}|B={TOKEN}")),
        ["token 0 A", "token 1 B"]
    );
    let (found, _) = world().scan(
        Source::Environ,
        format!("A={TOKEN}\0B={TOKEN}\0C={OTHER}").as_bytes(),
    );
    assert_eq!(found[0].fingerprint, found[1].fingerprint);
    assert_ne!(found[0].fingerprint, found[2].fingerprint);
}

#[test]
fn facts_that_could_tell_the_secret_are_dropped() {
    let (found, _) = world().scan(Source::Environ, b"A=fct_Zx4Wv9Qm2Kr7Tn5Lp8Yb\0");
    let facts: Vec<&str> = found[0]
        .facts
        .iter()
        .map(|fact| fact.text.as_str())
        .collect();
    assert_eq!(facts, ["https://issuer.test/x"]);
}

#[test]
fn unknown_formats_are_found_by_name_and_value() {
    let random = "f3Kq9ZrT7bWm2XcV8nLp";
    assert_eq!(
        environ(&format!(
            "ACME_TOKEN={random}|PATH={random}|OPTIONS=--x=1 --password={random}x --y|U=https://h.test/?api_key={random}y&z=1|JSON={{\"clientSecret\": \"{random}z\"}}"
        )),
        [
            "generic-secret 0 ACME_TOKEN",
            "generic-secret 2 OPTIONS password",
            "generic-secret 3 U api_key",
            "generic-secret 4 JSON clientSecret",
        ]
    );
    assert_eq!(
        arguments(&format!(
            "mysql|-p{random}|-u|me:{random}x|-pthread|--password|{random}z"
        )),
        [
            "generic-password 1 p",
            "generic-password 3 u",
            "generic-secret 6 password",
        ]
    );
    // What a format knows is no unknown secret.
    assert_eq!(
        environ(&format!("ACME_TOKEN={TOKEN}")),
        ["token 0 ACME_TOKEN"]
    );
    assert_eq!(
        environ(&format!("ACME_TOKEN={}", base64(TOKEN.as_bytes()))),
        ["token 0 ACME_TOKEN  base64"]
    );
}

#[test]
fn known_values_are_found_whole_inside_and_encoded() {
    let key = FingerprintKey::new([1; 32]);
    let mut known = KnownSet::new(key.id());
    let mut room = [0; 256];
    known
        .register(
            &key,
            &mut Scratch::new(&mut room),
            "deploy",
            Class::Static,
            b"correct horse battery",
            0,
        )
        .unwrap();
    let mut world = world_with(&key, &known);
    let encoded = base64(b"it is correct horse battery, really");
    let text = format!(
        "A=correct horse battery|B=the correct horse battery staple|C={encoded}|D=correct%20horse%20battery|E=correct horse"
    );
    assert_eq!(
        world.found(Source::Environ, &text),
        [
            "known-value 0 A",
            "known-value 1 B",
            "known-value 2 C  base64",
            "known-value 3 D",
            "known-value 3 D  percent",
        ]
    );
    let (found, _) = world.scan(Source::Environ, b"A=correct horse battery");
    assert_eq!(found[0].facts[0].text, "deploy");
    let other = KnownSet::new(FingerprintKey::new([9; 32]).id());
    assert!(
        Engine::new(&key, &other, &Rules::all()).is_ok(),
        "no value, no digest that could be wrong"
    );
    let wrong = Engine::new(&FingerprintKey::new([9; 32]), &known, &Rules::all());
    assert!(matches!(wrong.err(), Some(BuildError::OtherKey { .. })));
}

#[test]
fn what_is_known_is_not_scanned_again_and_says_the_same() {
    let mut world = world();
    let block = format!("A=1\0B={TOKEN}\0C=SG.0123456789\0");
    let (first, cold) = world.scan(Source::Environ, block.as_bytes());
    assert_eq!((cold.entries, cold.seen), (3, 0));
    let (second, warm) = world.scan(Source::Environ, block.as_bytes());
    assert_eq!((warm.entries, warm.seen, warm.visited), (3, 3, 0));
    assert_eq!(first, second);
    let (third, child) = world.scan(Source::Environ, format!("NEW=1\0{block}").as_bytes());
    // Where nothing was seen, nothing is remembered.
    assert_eq!((child.entries, child.seen), (4, 2));
    assert_eq!(third.len(), 2);
    for (parent, child) in first.into_iter().zip(third) {
        assert_eq!(parent.place.entry + 1, child.place.entry);
        assert_eq!(parent.fingerprint, child.fingerprint);
    }
    // The same bytes as arguments are something else.
    assert_eq!(world.scan(Source::Arguments, block.as_bytes()).1.seen, 0);
}

#[test]
fn what_cannot_be_shown_is_withheld() {
    let world = world();
    let mut room = vec![0; 1024];
    let mut scratch = Scratch::new(&mut room);
    assert_eq!(
        world.engine.disclose(&mut scratch, b"/usr/bin/node"),
        Ok(&b"/usr/bin/node"[..])
    );
    let path = format!("/opt/{TOKEN}/x");
    let withheld = world
        .engine
        .disclose(&mut scratch, path.as_bytes())
        .unwrap_err();
    assert_eq!(withheld.to_string(), "[withheld: token]");
    assert!(
        !world
            .engine
            .is_clean(&mut scratch, b"run --password=f3Kq9ZrT7bWm2XcV8nLp now")
    );
    assert!(
        !world
            .engine
            .is_clean(&mut scratch, base64(TOKEN.as_bytes()).as_bytes())
    );
}

#[test]
fn rules_that_are_off_find_nothing() {
    let key = FingerprintKey::new([1; 32]);
    let rules = Rules::without(&["generic-secret", "generic-password"]).unwrap();
    let engine = Engine::new(&key, &KnownSet::new(key.id()), &rules).unwrap();
    let mut room = [0; 64];
    assert!(engine.is_clean(
        &mut Scratch::new(&mut room),
        b"run --password=f3Kq9ZrT7bWm2XcV8nLp now"
    ));
    assert_eq!(Rules::without(&["generic"]).unwrap_err().0, "generic");
    assert!(rules.iter().all(|rule| !rule.id.starts_with("generic")));
}

#[test]
fn an_entry_with_too_many_is_counted() {
    let many: Vec<String> = (0..600)
        .map(|number| format!("tok_{number:020} "))
        .collect();
    let many = many.concat();
    let (found, scanned) = world().scan(Source::Environ, format!("A={many}").as_bytes());
    assert_eq!((found.len(), scanned.excess), (512, 88));
}
