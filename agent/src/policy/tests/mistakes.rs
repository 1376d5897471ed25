//! Every mistake is shown, where it is, with what to do.

use proptest::prelude::*;

use super::{parse, wrong};
use crate::policy::Policy;

#[test]
fn all_mistakes_of_a_file_are_shown_at_once() {
    let text = r#"nmae = "x"
mode = "enfroce"
extends = ["bsae", 7]
[limits]
memory = "4GiB"
[[allow]]
host = "*.co.uk"
prots = [443]
[[allow]]
host = "api.example.com"
cidr = "10.0.0.1/8"
ports = [0, "9-3", "x"]
[[allow]]
cidr = "10.0.0.1/8"
[[allow]]
reason = "a\tb"
verify = "tsl"
protocol = "icmp"
[dns]
upstream = ["tls://192.0.2.1", "https://192.0.2.1/a?b#dns.example", "dns.example"]
ca = "ca.pem"
"#;
    assert_eq!(
        wrong(text),
        [
            "1: unknown key `nmae` in a profile",
            "1: a profile needs `name`",
            "2: unknown mode `enfroce`",
            "3: there is no profile `bsae`",
            "3: `extends` must be text in quotes",
            "7: `co.uk` is a public suffix: names below it belong to many different owners",
            "8: unknown key `prots` in a rule",
            "11: a rule has either `host` or `cidr`, not both",
            "12: ports are 1 to 65535",
            "12: the range 9-3 runs backwards",
            "12: this is not a port or a range of ports",
            "13: a rule with `cidr` needs `ports`",
            "14: the address has bits set beyond its prefix",
            "15: a rule needs `host` or `cidr`",
            "16: `reason` cannot hold control characters",
            "17: unknown value `tsl` of `verify`",
            "18: unknown protocol `icmp`",
            "20: this does not say which name the server's certificate must have",
            "20: this is not the path of a DNS server's URL",
            "20: this is not a DNS upstream",
            "21: `ca` must be an absolute path",
        ]
    );
}

#[test]
fn a_mistake_is_drawn_with_caret_and_help() {
    let text = "name = \"x\"\n\n[[allow]]\nhost = \"*.github.io\"\n";
    let mistakes = Policy::parse("ci/job.toml", text.as_bytes()).unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "\
error: `github.io` is a public suffix: names below it belong to many different owners
 --> ci/job.toml:4:8
  |
4 | host = \"*.github.io\"
  |        ^^^^^^^^^^^^^
  |
  = help: name the owner's zone, as in `*.owner.github.io`, or list the names one by one"
    );
}

#[test]
fn text_that_is_not_toml_is_shown_with_the_mistakes_around_it() {
    let text = "name = \"x\"\nmode = \n[[allow]]\nhots = \"a.example.com\"\n";
    let found = wrong(text);
    assert!(
        found.iter().any(|line| line.starts_with("2: ")),
        "{found:?}"
    );
    assert!(
        found.contains(&"4: unknown key `hots` in a rule".to_owned()),
        "{found:?}"
    );
    assert_eq!(wrong("name = \"a\"\nname = \"b\"\n"), ["2: duplicate key"]);
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let mistakes = Policy::parse("job.toml", b"name = \"\xff\"").unwrap_err();
    assert!(mistakes.to_string().contains("not UTF-8"), "{mistakes}");
    let large = vec![b'#'; (1 << 20) + 1];
    let mistakes = Policy::parse("job.toml", &large).unwrap_err();
    assert!(mistakes.to_string().contains("larger"), "{mistakes}");
}

#[test]
fn a_rule_that_says_again_what_another_says_is_a_mistake() {
    let rule = "[[allow]]\nhost = \"a.example.com\"\n";
    for ports in [
        "[443]",
        "[\"400-500\"]",
        "[1, \"443-444\"]",
        "[\"442-443\"]",
    ] {
        assert_eq!(
            wrong(&format!("name = \"x\"\n{rule}{rule}ports = {ports}\n")),
            ["4: host a.example.com is allowed twice"],
            "{ports}"
        );
    }
    let other = "ports = [80]\n";
    assert_eq!(
        parse(&format!("name = \"x\"\n{rule}{rule}{other}"))
            .rules
            .len(),
        2
    );
    let udp = "protocol = \"udp\"\n";
    assert_eq!(
        parse(&format!("name = \"x\"\n{rule}{rule}{udp}"))
            .rules
            .len(),
        2
    );
}

#[test]
fn rules_that_could_not_work_are_refused_with_what_would() {
    for (rule, help) in [
        ("host = \"localhost\"", "cidr = \"127.0.0.1/32\""),
        ("host = \"192.0.2.1\"", "cidr = \"192.0.2.1/32\""),
        ("host = \"2001:db8::1\"", "cidr = \"2001:db8::1/128\""),
        ("host = \"a.example.com:80\"", "`ports`"),
        ("host = \"https://a.example.com\"", "host name alone"),
        ("host = \"a.*.example.com\"", "**.example.com"),
        ("cidr = \"10.0.0.1\"\nports = [1]", "\"10.0.0.1/32\""),
        ("cidr = \"0.0.0.0/0\"\nports = [1]", "audit"),
        ("cidr = \"::/0\"\nports = [1]", "audit"),
        ("cidr = \"::ffff:0:0/96\"\nports = [1]", "instead of"),
        ("cidr = \"10.0.0.0/8\"\nports = []", "remove the rule"),
        ("cidr = \"10.0.0.0/8\"\nports = [53]", "[dns] upstream"),
        (
            "cidr = \"10.0.0.0/8\"\nports = [1]\nprivate = true",
            "remove `private`",
        ),
        ("host = \"a.example.com\"\nverify = \"non\"", "\"none\"?"),
    ] {
        let text = format!("name = \"x\"\n[[allow]]\n{rule}\n");
        let mistakes = Policy::parse("job.toml", text.as_bytes()).unwrap_err();
        assert_eq!(mistakes.iter().count(), 1, "{mistakes}");
        assert!(mistakes.to_string().contains(help), "{help}\n{mistakes}");
    }
}

#[test]
fn one_bad_port_does_not_leave_a_rule_with_the_good_ones() {
    let text = "name = \"x\"\n[[allow]]\nhost = \"a.example.com\"\nports = [443, 70000]\n";
    assert_eq!(wrong(text), ["4: ports are 1 to 65535"]);
}

#[test]
fn a_single_table_in_place_of_a_list_is_explained() {
    let text = "name = \"x\"\n[allow]\nhost = \"a.example.com\"\n";
    let mistakes = Policy::parse("job.toml", text.as_bytes()).unwrap_err();
    assert!(mistakes.to_string().contains("[[allow]]"), "{mistakes}");
}

#[test]
fn what_a_rule_may_say_is_read() {
    let policy = parse(
        r#"name = "x"
[[allow]]
host = "API.Example.com."
verify = "none"
private = true
reason = "why"
[[allow]]
cidr = "2001:db8::/32"
ports = ["6000-6010", 443]
protocol = "udp"
"#,
    );
    let described: Vec<String> = policy
        .rules
        .iter()
        .map(crate::policy::Rule::describe)
        .collect();
    assert_eq!(
        described,
        [
            "host api.example.com, tcp 443, private addresses, verify none",
            "cidr 2001:db8::/32, udp 443, 6000-6010"
        ]
    );
    assert_eq!(policy.rules[0].reason.as_deref(), Some("why"));
    assert_eq!(policy.rules[1].origin.to_string(), "job.toml:7");
}

/// Text that looks like a profile often enough to get past the first line.
fn almost_a_profile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("name = \"x\"\n".to_owned()),
        Just("[[allow]]\n".to_owned()),
        Just("[dns]\nupstream = [\"system\"]\n".to_owned()),
        Just("[secrets]\n[[secrets.allow]]\n".to_owned()),
        "(policy|interval|holders|variable|class|process|rule|fingerprint|expires) = \\PC{0,20}\n",
        "(interval|process|variable|expires) = \"[0-9a-z*/?-]{0,10}\"\n",
        "(host|cidr|ports|mode|extends|reason) = \\PC{0,20}\n",
        "host = \"\\PC{0,20}\"\n",
        "cidr = \"[0-9a-f:./]{0,20}\"\n",
        "ports = \\[[0-9\", x-]{0,12}\\]\n",
        "\\PC{0,20}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>()) {
        if let Err(mistakes) = Policy::parse("job.toml", &bytes) {
            prop_assert!(mistakes.to_string().starts_with("error: "));
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in almost_a_profile()) {
        match Policy::parse("job.toml", text.as_bytes()) {
            Ok(policy) => drop(crate::policy::compile(&policy)),
            Err(mistakes) => prop_assert!(mistakes.to_string().starts_with("error: ")),
        }
    }
}

#[test]
fn hostile_files_do_not_take_long() {
    let repeat = |line: &str| line.repeat((1 << 18) / line.len());
    let many = |line: &dyn Fn(usize) -> String| {
        let head = "name = \"x\"\nallow = [\n".to_owned();
        (0..8_000).fold(head, |text, number| text + &line(number) + ",\n") + "]\n"
    };
    for text in [
        repeat("a=\n"),
        (0..20_000).fold(String::new(), |text, number| {
            text + &format!("k{number}=1\n")
        }),
        repeat("["),
        repeat("[[allow]]\n"),
        format!("name = \"{}\"", repeat("x")),
        format!("extends = [{}]", repeat("'x',")),
        format!("[[allow]]\nhost = \"a.b\"\nports = [{}]", repeat("1,")),
        format!("[[allow]]\nhost = \"{}\"", repeat("ü.")),
        many(&|_| "{cidr='10.0.0.0/8',ports=[1]}".to_owned()),
        many(&|n| format!("{{cidr='10.0.0.0/8',ports=[{}]}}", n * 2 + 1)),
        many(&|n| format!("{{host='**.a{n}.example.com'}}")),
        many(&|n| format!("{{variable='A{n}',reason='x'}}")).replace("allow", "secrets.allow"),
        many(&|n| format!("{{rule='github-{n}'}}")).replace("allow", "secrets.allow"),
    ] {
        let start = std::time::Instant::now();
        match Policy::parse("job.toml", text.as_bytes()) {
            Ok(policy) => drop(crate::policy::compile(&policy)),
            Err(mistakes) => drop(mistakes.to_string()),
        }
        // Unoptimised, on a busy machine.
        let took = start.elapsed().as_secs();
        assert!(
            took < 20,
            "{took} s for {}",
            text.chars().take(40).collect::<String>()
        );
        eprintln!(
            "{:?} {}",
            start.elapsed(),
            text.chars().take(30).collect::<String>()
        );
    }
}

#[test]
fn what_cannot_show_a_name_is_not_asked_for_one() {
    for (rule, problem) in [
        (
            "cidr = \"192.0.2.0/24\"\nports = [443]\nverify = \"tls\"",
            "no name",
        ),
        (
            "host = \"a.example.com\"\nprotocol = \"udp\"\nverify = \"tls\"",
            "UDP",
        ),
    ] {
        let text = format!("name = \"x\"\n[[allow]]\n{rule}\n");
        let mistakes = Policy::parse("job.toml", text.as_bytes()).unwrap_err();
        assert!(mistakes.to_string().contains(problem), "{mistakes}");
    }
    parse("name = \"x\"\n[[allow]]\ncidr = \"192.0.2.0/24\"\nports = [443]\nverify = \"none\"\n");
}
