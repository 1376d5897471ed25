//! `cordon-profile(5)`: what a profile can say.

use clap_mangen::roff::bold;

use crate::keys::{Default, Key, Table, list};
use crate::page::{Page, entry, example, format_page, heading, paragraph, see_also, tidy};

/// A profile that uses every table.
const EXAMPLE: &str = r#"name = "integration-tests"
description = "Tests against the staging API and its database."
extends = ["github-actions"]

[[allow]]
host = "api.example.com"
reason = "release metadata"

[[allow]]
cidr = "10.20.0.0/16"
ports = [5432]

[limits]
memory = "4GiB"
wall = "2h"

[secrets]
on_finding = "kill"

[[secrets.allow]]
variable = "GITHUB_TOKEN"
class = "job-token"
reason = "the checkout pushes tags"
"#;

/// All tables of a profile.
const TABLES: &[Table] = &[
    Table {
        name: "",
        header: "The profile itself",
        about: "",
        keys: &[
            Key {
                name: "name",
                value: "\"integration-tests\"",
                default: Default::Required,
                about: "Lower-case letters, digits, `-`, `_` and `.`, at most 64. In the directory of the host's profiles it is the name of the file.",
            },
            Key {
                name: "description",
                value: "\"What it is for, in one line.\"",
                default: Default::Otherwise,
                about: "Shown by `cordon profile list`.",
            },
            Key {
                name: "extends",
                value: "[\"github-actions\", \"./registry.toml\"]",
                default: Default::Otherwise,
                about: "Profiles whose rules hold as well: names, or paths relative to this file. Their mode does not.",
            },
            Key {
                name: "mode",
                value: "\"enforce\"",
                default: Default::Value,
                about: "`\"enforce\"` refuses, `\"audit\"` lets pass and records what would have been refused. Of several profiles named for a job, one that enforces is enough.",
            },
            Key {
                name: "allow",
                value: "",
                default: Default::Otherwise,
                about: "Rules, each in a table `[[allow]]`. Without any, nothing is allowed.",
            },
            Key {
                name: "dns",
                value: "",
                default: Default::Otherwise,
                about: "Who is asked for names.",
            },
            Key {
                name: "limits",
                value: "",
                default: Default::Otherwise,
                about: "How much of the host the job may use.",
            },
            Key {
                name: "sandbox",
                value: "",
                default: Default::Otherwise,
                about: "What is taken from the command besides.",
            },
            Key {
                name: "containers",
                value: "",
                default: Default::Otherwise,
                about: "Whether the job may use the host's container engine.",
            },
            Key {
                name: "secrets",
                value: "",
                default: Default::Otherwise,
                about: "What is done when a process of the job carries a secret.",
            },
        ],
    },
    Table {
        name: "allow",
        header: "[[allow]]",
        about: "One rule: `host` or `cidr`, and over which ports. The addresses of a name are allowed once the job has looked the name up, for as long as the answer is valid.",
        keys: &[
            Key {
                name: "host",
                value: "\"api.example.com\"",
                default: Default::Otherwise,
                about: "A name. `*.example.com` are the names with one label more, `**.example.com` those with one or more; neither includes `example.com`. Wildcards over public suffixes are refused.",
            },
            Key {
                name: "cidr",
                value: "\"10.20.0.0/16\"",
                default: Default::Otherwise,
                about: "Addresses, IPv4 or IPv6. A service on the host itself is reached by its address.",
            },
            Key {
                name: "ports",
                value: "[443, \"6000-6010\"]",
                default: Default::Otherwise,
                about: "Ports and ranges of them. With `host` 443 without it; with `cidr` it must be there.",
            },
            Key {
                name: "protocol",
                value: "\"tcp\"",
                default: Default::Value,
                about: "`\"tcp\"` or `\"udp\"`. Names inside QUIC are not read.",
            },
            Key {
                name: "verify",
                value: "\"tls\"",
                default: Default::Otherwise,
                about: "The name that the connection itself must show: `\"tls\"` in its hello, `\"http\"` as the `Host` of every request, `\"none\"` not at all. Without it, `\"tls\"` on port 443, `\"http\"` on port 80, `\"none\"` elsewhere and for `cidr` and UDP.",
            },
            Key {
                name: "private",
                value: "false",
                default: Default::Value,
                about: "Whether the name may have addresses in private, loopback and link-local ranges.",
            },
            Key {
                name: "reason",
                value: "\"release metadata\"",
                default: Default::Otherwise,
                about: "Why; shown in reports.",
            },
        ],
    },
    Table {
        name: "dns",
        header: "[dns]",
        about: "Questions to port 53 of any server go to the job's own listener; no rule is needed for them.",
        keys: &[
            Key {
                name: "upstream",
                value: "[\"system\"]",
                default: Default::Value,
                about: "Whom the listener asks, in order: `\"system\"`, an address, `tls://ADDRESS#NAME`, `https://ADDRESS/PATH#NAME`; see cordon.toml(5).",
            },
            Key {
                name: "ca",
                value: "\"/etc/cordon/resolver-ca.pem\"",
                default: Default::Otherwise,
                about: "Certificates that encrypted resolvers may be certified by, besides the host's own.",
            },
        ],
    },
    Table {
        name: "limits",
        header: "[limits]",
        about: "What is left out is not limited, and the report says so. Of several profiles the narrowest limit of each key holds. A limit that cannot be had stops the start.",
        keys: &[
            Key {
                name: "memory",
                value: "\"4GiB\"",
                default: Default::Otherwise,
                about: "Memory of all processes together, page cache included: 1MiB to 1024TiB.",
            },
            Key {
                name: "swap",
                value: "\"0\"",
                default: Default::Otherwise,
                about: "Swap beyond that memory. With controllers of cgroup v1 it needs `memory` beside it.",
            },
            Key {
                name: "pids",
                value: "1024",
                default: Default::Otherwise,
                about: "Processes and threads at a time: 1 to 4194304.",
            },
            Key {
                name: "cpu",
                value: "\"200%\"",
                default: Default::Otherwise,
                about: "Percent of one processor: two of them here; 1% to 100000%.",
            },
            Key {
                name: "io",
                value: "",
                default: Default::Otherwise,
                about: "How fast disks may be used: a table.",
            },
            Key {
                name: "open_files",
                value: "4096",
                default: Default::Otherwise,
                about: "Files that each process may have open: 64 to 1048576.",
            },
            Key {
                name: "wall",
                value: "\"2h\"",
                default: Default::Otherwise,
                about: "How long the job may take, at most 720h. Then the command gets SIGTERM, and five seconds later all get SIGKILL; the status is 118.",
            },
        ],
    },
    Table {
        name: "limits.io",
        header: "[limits.io]",
        about: "For each disk by itself.",
        keys: &[
            Key {
                name: "read",
                value: "\"64MiB\"",
                default: Default::Otherwise,
                about: "Bytes read in a second.",
            },
            Key {
                name: "write",
                value: "\"64MiB\"",
                default: Default::Otherwise,
                about: "Bytes written in a second.",
            },
            Key {
                name: "read_ops",
                value: "1000",
                default: Default::Otherwise,
                about: "Reads in a second.",
            },
            Key {
                name: "write_ops",
                value: "1000",
                default: Default::Otherwise,
                about: "Writes in a second.",
            },
        ],
    },
    Table {
        name: "sandbox",
        header: "[sandbox]",
        about: "What is taken from a command besides what `cordon run` takes from every command. All that several profiles say holds. A path begins with `/`, with `~/` (the home of the user who runs the command) or with `./` (where the command is started). For jobs of runners, which cordon does not start, such a profile is refused.",
        keys: &[
            Key {
                name: "private_tmp",
                value: "true",
                default: Default::Otherwise,
                about: "`/tmp`, `/var/tmp` and `/dev/shm` are the job's own: empty at its start, in memory, gone at its end.",
            },
            Key {
                name: "hide_credentials",
                value: "true",
                default: Default::Otherwise,
                about: "Files in which well-known programs keep credentials are hidden, in the user's home (`.ssh`, `.aws`, `.netrc`, `.docker/config.json` and others) and on the host (`/etc/shadow`, `/etc/ssh`, `/var/lib/cordon` and others).",
            },
            Key {
                name: "user_namespace",
                value: "true",
                default: Default::Otherwise,
                about: "Processes of the job are in a user namespace of their own, in which the one user and group are those they have outside: root in it has rights over root's files and nobody else's, and no capability over anything of the host. Nobody in the job can become another user.",
            },
            Key {
                name: "hide",
                value: "[\"~/.config/company\", \"/srv/keys\"]",
                default: Default::Otherwise,
                about: "What is hidden besides: a directory is empty, a file reads as nothing. What is not there at the start is not hidden.",
            },
            Key {
                name: "read_only",
                value: "[\"/usr\", \"/opt\"]",
                default: Default::Otherwise,
                about: "What nobody in the job can write to, root included.",
            },
            Key {
                name: "writable",
                value: "[\".\", \"~/.cache\"]",
                default: Default::Otherwise,
                about: "The only files and directories that can be written to, by Landlock; devices such as `/dev/null` and `/proc` are left, and what `private_tmp` makes. One that is not there stops the start. Of several profiles, a path must be on each list. No process of the job can mount anything then.",
            },
            Key {
                name: "capabilities",
                value: "[\"chown\", \"setuid\"]",
                default: Default::Otherwise,
                about: "The only capabilities that a process of the job can have, in small letters and without `CAP_`; an empty list leaves none. Of several profiles, one must be on each list.",
            },
        ],
    },
    Table {
        name: "secrets",
        header: "[secrets]",
        about: "Environments and arguments of all processes of the job are searched for credentials; no key turns that off, and audit mode does not soften it. Of several profiles the strictest holds. Times are a whole number and `s`, `m` or `h`.",
        keys: &[
            Key {
                name: "on_finding",
                value: "\"report\"",
                default: Default::Value,
                about: "What a finding does to the job: `\"report\"`, `\"freeze\"` or `\"kill\"`.",
            },
            Key {
                name: "policy",
                value: "\"oidc-only\"",
                default: Default::Value,
                about: "`\"oidc-only\"`: long-lived credentials are findings; `\"lenient\"`: they are noted.",
            },
            Key {
                name: "interval",
                value: "\"10s\"",
                default: Default::Value,
                about: "How often running processes are read again: 1s to 1h.",
            },
            Key {
                name: "freeze_for",
                value: "\"10m\"",
                default: Default::Value,
                about: "How long a frozen job waits for somebody to look before it is killed: 1s to 24h.",
            },
            Key {
                name: "max_lifetime",
                value: "\"1h\"",
                default: Default::Value,
                about: "Longest life of a federated credential that counts as short-lived: 1m to 24h.",
            },
            Key {
                name: "holders",
                value: "[\"/usr/bin/git\"]",
                default: Default::Otherwise,
                about: "Programs that may hold job tokens, by path (`*`, `**` and `?` are wildcards) or file name; any program without it.",
            },
            Key {
                name: "allow",
                value: "",
                default: Default::Otherwise,
                about: "What is expected all the same: tables `[[secrets.allow]]`.",
            },
        ],
    },
    Table {
        name: "secrets.allow",
        header: "[[secrets.allow]]",
        about: "An allowance has a `reason` and one or more of `variable`, `rule`, `fingerprint` and `process`. All that it says must hold for a secret.",
        keys: &[
            Key {
                name: "variable",
                value: "\"GITHUB_TOKEN\"",
                default: Default::Otherwise,
                about: "The secret is in a variable that is called so; `*` and `?` are wildcards.",
            },
            Key {
                name: "rule",
                value: "\"github-app-installation\"",
                default: Default::Otherwise,
                about: "It was found by this rule, as reports name it.",
            },
            Key {
                name: "fingerprint",
                value: "\"…\"",
                default: Default::Otherwise,
                about: "It is this very value, as `cordon secrets fingerprint` and reports print it; good on hosts with the same key.",
            },
            Key {
                name: "process",
                value: "\"/usr/bin/git\"",
                default: Default::Otherwise,
                about: "It is in a process of this program, named as in `holders`.",
            },
            Key {
                name: "class",
                value: "\"job-token\"",
                default: Default::Otherwise,
                about: "It is `job-token`, `short-lived`, `pointer`, `static`, `private-key`, `runner-identity` or `unknown`. Not enough alone.",
            },
            Key {
                name: "reason",
                value: "\"the checkout pushes tags\"",
                default: Default::Required,
                about: "Why; shown in reports.",
            },
            Key {
                name: "expires",
                value: "\"2027-01-31\"",
                default: Default::Otherwise,
                about: "The last day on which the allowance applies, in UTC.",
            },
        ],
    },
    Table {
        name: "containers",
        header: "[containers]",
        about: "Whether the job may use the host's container engine. Of several profiles, one that denies it wins.",
        keys: &[Key {
            name: "engine",
            value: "\"deny\"",
            default: Default::Value,
            about: "`\"deny\"` refuses its socket. `\"mediate\"` gives the job an engine of its own behind cordon: its containers are the job, and so are the steps of `docker build`. Only for `cordon run`; a profile of the daemon that says so is refused.",
        }],
    },
];

/// cordon-profile(5).
pub(crate) fn page(date: &str) -> Page {
    let mut roff = format_page(
        "cordon-profile",
        "what a job under cordon may reach and use",
        date,
    );
    heading(&mut roff, "SYNOPSIS");
    roff.text([bold("/etc/cordon/profiles.d/NAME.toml")]);
    heading(&mut roff, "DESCRIPTION");
    paragraph(
        &mut roff,
        "A profile is a TOML file. It says what a job may reach; everything else is refused in the kernel, \
         and a job without a profile reaches nothing. A job may have several: their rules are united. \
         A file with a mistake never loads, not even partly; all mistakes are shown at once, with line and \
         column.",
    );
    paragraph(
        &mut roff,
        "Some profiles are part of the program: `cordon profile list`. Those of the host are named by their \
         file, and one that is called like a built-in profile stands in for it. A profile is also named by its \
         path, which contains a slash or ends in `.toml`.",
    );
    paragraph(
        &mut roff,
        "`cordon profile check` shows what a profile comes to, `cordon profile explain` whether it allows a \
         destination and by which line, `cordon profile suggest` writes one from a run with `--audit`.",
    );
    heading(&mut roff, "KEYS");
    list(&mut roff, TABLES);
    heading(&mut roff, "EXAMPLE");
    example(&mut roff, EXAMPLE);
    heading(&mut roff, "FILES");
    let own = "The host's own profiles.";
    entry(&mut roff, vec![bold("/etc/cordon/profiles.d/*.toml")], own);
    let built_in = "The built-in profiles, to read and to copy from.";
    let folder = "/usr/share/doc/cordon/examples/profiles/*.toml";
    entry(&mut roff, vec![bold(folder)], built_in);
    let pages = [("cordon-profile", 1), ("cordon-run", 1), ("cordon.toml", 5)];
    see_also(
        &mut roff,
        &pages.map(|(name, section)| (name.to_owned(), section)),
    );
    Page {
        name: "cordon-profile.5".to_owned(),
        text: tidy(&roff.render()),
    }
}

#[cfg(test)]
mod tests {
    use cordon::policy::{self, Policy};

    use super::*;
    use crate::keys::differences;

    #[test]
    fn every_key_of_a_profile_has_words_and_no_words_are_about_nothing() {
        assert_eq!(differences(TABLES, &policy::TABLES), Vec::<String>::new());
    }

    #[test]
    fn the_example_is_a_profile() {
        let policy = Policy::parse("example", EXAMPLE.as_bytes()).unwrap();
        assert!(policy.rules.len() > 2, "{policy:?}");
    }

    #[test]
    fn every_example_is_one_that_can_be_used() {
        let mut text = String::from("name = \"a\"\n");
        for (name, header, left_out) in [
            ("allow", "[[allow]]", &["cidr"][..]),
            ("limits", "[limits]", &[]),
            ("limits.io", "[limits.io]", &[]),
            ("sandbox", "[sandbox]", &[]),
            ("secrets", "[secrets]", &[]),
            // A fingerprint is good for one host.
            ("secrets.allow", "[[secrets.allow]]", &["fingerprint"]),
        ] {
            text.extend([header, "\n"]);
            let words = TABLES.iter().find(|words| words.name == name).unwrap();
            for key in words.keys {
                if !key.value.is_empty() && !left_out.contains(&key.name) {
                    text.extend([key.name, " = ", key.value, "\n"]);
                }
            }
        }
        // A rule about several ports says `verify` for all of them.
        let policy = Policy::parse("a", text.as_bytes());
        assert!(policy.is_ok(), "{text}\n{policy:?}");
    }

    /// A profile of one table that says what the page says is the default must be the one that does not.
    #[test]
    fn what_the_page_calls_a_default_is_one() {
        let rule = "name = \"a\"\n[[allow]]\nhost = \"example.com\"\n";
        for (table, before, header) in [
            ("", "name = \"a\"\n", ""),
            ("allow", rule, ""),
            ("dns", "name = \"a\"\n", "[dns]\n"),
            ("secrets", "name = \"a\"\n", "[secrets]\n"),
            ("containers", "name = \"a\"\n", "[containers]\n"),
        ] {
            let mut text = format!("{before}{header}");
            let words = TABLES.iter().find(|words| words.name == table).unwrap();
            for key in words
                .keys
                .iter()
                .filter(|key| key.default == Default::Value)
            {
                text.extend([key.name, " = ", key.value, "\n"]);
            }
            let said = Policy::parse("a", text.as_bytes()).unwrap();
            let left_out = Policy::parse("a", before.as_bytes()).unwrap();
            assert_eq!(said.mode, left_out.mode, "{text}");
            assert_eq!(said.dns, left_out.dns, "{text}");
            assert_eq!(said.secrets, left_out.secrets, "{text}");
            assert_eq!(said.engine, left_out.engine, "{text}");
            let places = |policy: &Policy| {
                format!(
                    "{:?}",
                    policy
                        .rules
                        .iter()
                        .map(|rule| (&rule.endpoint, rule.protocol, rule.private))
                        .collect::<Vec<_>>()
                )
            };
            assert_eq!(places(&said), places(&left_out), "{text}");
        }
    }
}
