//! `cordon.toml(5)` and `/etc/cordon/config.toml`, from the same words.

use clap_mangen::roff::bold;

use crate::keys::{Default, Key, Table, list};
use crate::page::{Page, entry, format_page, heading, paragraph, see_also, tidy};

/// Columns of the comments in the file.
const WIDTH: usize = 96;

/// The settings of a host, in the order of the file.
pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "",
        header: "Tables",
        about: "Every key is in one of these:",
        keys: &[
            Key {
                name: "host",
                value: "",
                default: Default::Otherwise,
                about: "Where things are.",
            },
            Key {
                name: "dns",
                value: "",
                default: Default::Otherwise,
                about: "Who is asked for names, and how much.",
            },
            Key {
                name: "secrets",
                value: "",
                default: Default::Otherwise,
                about: "Where is kept what the sweep for secrets needs.",
            },
            Key {
                name: "containers",
                value: "",
                default: Default::Otherwise,
                about: "Which container engine jobs may use, if their profile gives them one.",
            },
            Key {
                name: "estimate",
                value: "",
                default: Default::Otherwise,
                about: "What energy, carbon and cost of a job are estimated with.",
            },
            Key {
                name: "metrics",
                value: "",
                default: Default::Otherwise,
                about: "Where the daemon serves metrics.",
            },
            Key {
                name: "telemetry",
                value: "",
                default: Default::Otherwise,
                about: "Where a line about each job goes.",
            },
            Key {
                name: "runner",
                value: "",
                default: Default::Otherwise,
                about: "Services of runners, for the daemon: tables `[[runner]]`.",
            },
            Key {
                name: "grant",
                value: "",
                default: Default::Otherwise,
                about: "Which of their jobs may have which profiles: tables `[[grant]]`.",
            },
        ],
    },
    Table {
        name: "host",
        header: "[host]",
        about: "Where things are. All paths are absolute.",
        keys: &[
            Key {
                name: "cgroup_root",
                value: "\"/sys/fs/cgroup\"",
                default: Default::Otherwise,
                about: "The cgroup v2 directory below which `cordon.slice` is, and where the programs are attached. Without it, the root of the hierarchy that is mounted, wherever that is.",
            },
            Key {
                name: "bpffs",
                value: "\"/sys/fs/bpf\"",
                default: Default::Value,
                about: "The BPF file system; it is mounted if it is not. Programs and maps outlive cordon there.",
            },
            Key {
                name: "run_dir",
                value: "\"/run/cordon\"",
                default: Default::Value,
                about: "What does not outlive a boot: locks.",
            },
            Key {
                name: "state_dir",
                value: "\"/var/lib/cordon\"",
                default: Default::Value,
                about: "What does: keys, evidence, registered secrets, records of running jobs.",
            },
            Key {
                name: "profiles_dir",
                value: "\"/etc/cordon/profiles.d\"",
                default: Default::Value,
                about: "The host's own profiles, `NAME.toml` each: cordon-profile(5).",
            },
            Key {
                name: "signing_key",
                value: "\"credential:report-key\"",
                default: Default::Otherwise,
                about: "The private key that signs evidence: a file (PEM), `\"tpm:FILE\"`, a key in the TPM of the host, or `\"credential:NAME\"`, what the service manager decrypts and hands over with `LoadCredentialEncrypted=NAME:FILE`. Without it, `keys/report.pem` below `state_dir`, which the first job makes if it is not there.",
            },
            Key {
                name: "signing_credential",
                value: "\"/etc/cordon/report-key.cred\"",
                default: Default::Otherwise,
                about: "For a key that is a credential: the encrypted file that it comes from. Its header says what it is encrypted with, and evidence states that (`keyProtection`). Without it, evidence says `systemd-creds` and no more.",
            },
            Key {
                name: "tpm",
                value: "\"/dev/tpmrm0\"",
                default: Default::Value,
                about: "The TPM 2.0 that has the signing key, if one has it: a device, or the Unix socket of an emulator. A program that was built without TPMs says so when it would need it.",
            },
            Key {
                name: "unix_sockets",
                value: "\"own\"",
                default: Default::Value,
                about: "Which Unix sockets jobs may use where the kernel has no BPF LSM to tell them apart: `\"own\"`, none but connected pairs, or `\"any\"`, all that the user may connect to.",
            },
            Key {
                name: "events_mib",
                value: "128",
                default: Default::Value,
                about: "How many MiB of single events are kept of a job, for its evidence: 0 (none) to 256. What is beyond is only counted.",
            },
        ],
    },
    Table {
        name: "dns",
        header: "[dns]",
        about: "Who is asked for names, and how much.",
        keys: &[
            Key {
                name: "upstream",
                value: "[\"tls://192.0.2.53#resolver.example\", \"192.0.2.54\"]",
                default: Default::Otherwise,
                about: "Resolvers in order, for `\"system\"` in profiles: an address with or without a port, `tls://ADDRESS#NAME` or `https://ADDRESS/PATH#NAME`, with the name that the certificate must have. Without it, those of /etc/resolv.conf.",
            },
            Key {
                name: "ca",
                value: "\"/etc/cordon/resolver-ca.pem\"",
                default: Default::Otherwise,
                about: "Certificates that encrypted resolvers may be certified by, besides the host's own.",
            },
            Key {
                name: "ttl_floor",
                value: "30",
                default: Default::Value,
                about: "Seconds for which an address is allowed at least once its name was looked up, however short the answer lives: 0 to 86400.",
            },
            Key {
                name: "timeout_ms",
                value: "4000",
                default: Default::Value,
                about: "Milliseconds for one question, all resolvers together: 100 to 60000.",
            },
            Key {
                name: "wildcard_label",
                value: "40",
                default: Default::Value,
                about: "Bytes of each label that a wildcard of a rule may stand for: 1 to 63. This and the next three bound what can be carried out in names; what is beyond is refused, counted and told.",
            },
            Key {
                name: "wildcard_length",
                value: "80",
                default: Default::Value,
                about: "Bytes of all labels that a wildcard may stand for: 1 to 253.",
            },
            Key {
                name: "wildcard_names",
                value: "500",
                default: Default::Value,
                about: "Different names below one wildcard in a job's life: 1 to 100000.",
            },
            Key {
                name: "wildcard_names_per_minute",
                value: "120",
                default: Default::Value,
                about: "New names below one wildcard in any minute: 1 to 100000.",
            },
        ],
    },
    Table {
        name: "secrets",
        header: "[secrets]",
        about: "Where is kept what the sweep for secrets needs. Nothing here turns it off.",
        keys: &[
            Key {
                name: "key",
                value: "\"/var/lib/cordon/keys/fingerprint.key\"",
                default: Default::Otherwise,
                about: "The key of fingerprints. Without it, `keys/fingerprint.key` below `state_dir`, which is made if it is not there.",
            },
            Key {
                name: "known",
                value: "\"/var/lib/cordon/secrets/known\"",
                default: Default::Otherwise,
                about: "Digests of registered values: `cordon secrets register`. Without it, `secrets/known` below `state_dir`.",
            },
        ],
    },
    Table {
        name: "containers",
        header: "[containers]",
        about: "Which container engine jobs may use whose profile says `engine = \"mediate\"`. Its default runtime must be cordon's: docs/containers.md.",
        keys: &[
            Key {
                name: "socket",
                value: "\"/run/docker.sock\"",
                default: Default::Value,
                about: "The engine's socket.",
            },
            Key {
                name: "runtime",
                value: "\"cordon\"",
                default: Default::Value,
                about: "The name that the engine's settings give `cordon-runtime`.",
            },
            Key {
                name: "mediator",
                value: "\"/usr/lib/cordon/cordon-engine\"",
                default: Default::Value,
                about: "The program that judges requests to the engine.",
            },
        ],
    },
    Table {
        name: "estimate",
        header: "[estimate]",
        about: "What energy, carbon and cost of a job are estimated with. Numbers are in quotes, with at most six decimal places.",
        keys: &[
            Key {
                name: "idle_watts",
                value: "\"0.743333\"",
                default: Default::Value,
                about: "Watts of one idle processor: the mean of what Cloud Carbon Footprint publishes for three clouds.",
            },
            Key {
                name: "busy_watts",
                value: "\"3.84\"",
                default: Default::Value,
                about: "Watts of one busy processor, from the same source.",
            },
            Key {
                name: "pue",
                value: "\"1.2\"",
                default: Default::Otherwise,
                about: "Watts of the building for each of the host: 1 or more, and 1 without it.",
            },
            Key {
                name: "grid_grams_per_kwh",
                value: "380",
                default: Default::Otherwise,
                about: "Grams of carbon dioxide for each kilowatt-hour. Without it reports estimate no carbon.",
            },
            Key {
                name: "grid_source",
                value: "\"the operator, 2026\"",
                default: Default::Otherwise,
                about: "Whose figure that is; reports say so. Needed with it.",
            },
            Key {
                name: "host_hour_price",
                value: "\"0.12\"",
                default: Default::Otherwise,
                about: "What an hour of the whole host costs. Without it reports estimate no cost.",
            },
            Key {
                name: "currency",
                value: "\"EUR\"",
                default: Default::Otherwise,
                about: "In which currency. Needed with it.",
            },
        ],
    },
    Table {
        name: "metrics",
        header: "[metrics]",
        about: "Where the daemon serves metrics: docs/metrics.md.",
        keys: &[Key {
            name: "listen",
            value: "\"127.0.0.1:9477\"",
            default: Default::Otherwise,
            about: "A loopback address with a port, or `unix:` and an absolute path. Prometheus finds the page at `/metrics`; there is no password, and others than this host are not served. Without it, nobody is. A change needs a restart of the daemon.",
        }],
    },
    Table {
        name: "telemetry",
        header: "[telemetry]",
        about: "Where a line of JSON about each job goes that is over: docs/metrics.md.",
        keys: &[Key {
            name: "file",
            value: "\"/var/log/cordon/telemetry.ndjson\"",
            default: Default::Otherwise,
            about: "The file; it is made if it is not there, and may be rotated by renaming. A line that cannot be written takes nothing from the evidence. Without it, no line is written.",
        }],
    },
    Table {
        name: "runner",
        header: "[[runner]]",
        about: "A service of a runner in `cordon.slice`. A unit there that no table is for reaches nothing. Patterns: `*` is anything but a slash, `**` is anything.",
        keys: &[
            Key {
                name: "unit",
                value: "\"actions.runner.*.service\"",
                default: Default::Required,
                about: "Names of units, as a pattern.",
            },
            Key {
                name: "control_plane",
                value: "[\"github-actions\"]",
                default: Default::Otherwise,
                about: "Profiles of the runner itself, by name; its jobs have them too. Without it, nothing.",
            },
            Key {
                name: "worker",
                value: "\"Runner.Worker\"",
                default: Default::Otherwise,
                about: "The program whose process tree is a job. Without it, the parent of the hook.",
            },
            Key {
                name: "engine_port",
                value: "2375",
                default: Default::Otherwise,
                about: "The port of 127.0.0.1 at which its jobs find the container engine that their profile gives them; one for each runner. Without it, any: `cordon job start --env-file` tells it.",
            },
            Key {
                name: "workspace",
                value: "[\"/srv/runner/_work\"]",
                default: Default::Otherwise,
                about: "Directories that containers of its jobs may mount; each belongs to the runner's user. Without it, none.",
            },
        ],
    },
    Table {
        name: "grant",
        header: "[[grant]]",
        about: "What a job may have. The first that is for a job decides; what none is for is refused. What is left out stands for all.",
        keys: &[
            Key {
                name: "runner",
                value: "\"actions.runner.acme-*\"",
                default: Default::Otherwise,
                about: "Which runners, as a pattern: the part that nobody in a job can change.",
            },
            Key {
                name: "repository",
                value: "\"acme/*\"",
                default: Default::Required,
                about: "Which repositories, as a pattern.",
            },
            Key {
                name: "workflow",
                value: "\"release.yml\"",
                default: Default::Otherwise,
                about: "File or name of the workflow, as a pattern.",
            },
            Key {
                name: "ref",
                value: "\"refs/heads/main\"",
                default: Default::Otherwise,
                about: "Which branches and tags, as a pattern.",
            },
            Key {
                name: "events",
                value: "[\"push\", \"workflow_dispatch\"]",
                default: Default::Otherwise,
                about: "What started the workflow.",
            },
            Key {
                name: "profiles",
                value: "[\"release\"]",
                default: Default::Required,
                about: "Profiles that a job may ask for, by name; the first is for those that ask for none.",
            },
            Key {
                name: "always",
                value: "[\"ci-limits\"]",
                default: Default::Otherwise,
                about: "Profiles that are joined to each of these jobs, for their limits and rules about secrets.",
            },
            Key {
                name: "fork_profile",
                value: "\"offline\"",
                default: Default::Otherwise,
                about: "The profile for commits of a fork. Without it such jobs are refused.",
            },
            Key {
                name: "pull_request_target_profile",
                value: "\"offline\"",
                default: Default::Otherwise,
                about: "The profile for jobs of `pull_request_target`. Without it such jobs are refused.",
            },
        ],
    },
];

/// cordon.toml(5).
pub(crate) fn page(date: &str) -> Page {
    let mut roff = format_page(
        "cordon.toml",
        "settings of a host that runs jobs under cordon",
        date,
    );
    heading(&mut roff, "SYNOPSIS");
    roff.text([bold("/etc/cordon/config.toml")]);
    heading(&mut roff, "DESCRIPTION");
    paragraph(
        &mut roff,
        "A TOML file that every command of cordon reads: this one if it exists, or the one of `--config` \
         or `CORDON_CONFIG`, which must. Every key may be left out. A key that is not known, or a value \
         that cannot be, is an error that names file, line and column; then nothing starts, and running \
         jobs stay enforced as they are. `cordon doctor` reads the file and tries what it says.",
    );
    paragraph(
        &mut roff,
        "A job is judged by the settings it was started with; changing them changes nothing for it.",
    );
    heading(&mut roff, "KEYS");
    list(&mut roff, TABLES);
    heading(&mut roff, "FILES");
    let kept = "The package brings it with every key in comments. It is yours: an upgrade asks before it \
                changes one that you have changed.";
    entry(&mut roff, vec![bold("/etc/cordon/config.toml")], kept);
    let pages = [("cordon", 1), ("cordon-profile", 5), ("cordon", 8)];
    see_also(
        &mut roff,
        &pages.map(|(name, section)| (name.to_owned(), section)),
    );
    Page {
        name: "cordon.toml.5".to_owned(),
        text: tidy(&roff.render()),
    }
}

/// The default settings: every key in a comment, with its words.
pub(crate) fn file() -> String {
    let mut text = String::from(
        "# Settings of this host for cordon. Every key may be left out: what is commented out here is the\n\
         # default, or an example where its words say so. Unknown keys are errors, all paths are absolute.\n\
         # cordon.toml(5) is the same as a page; `cordon doctor` reads this file and tries what it says.\n",
    );
    for table in TABLES.iter().filter(|table| !table.name.is_empty()) {
        text.push('\n');
        comment(&mut text, &table.about.replace('`', ""));
        // A list has no entry until somebody makes one.
        if table.header.starts_with("[[") {
            text.push('#');
        }
        text.extend([table.header, "\n"]);
        for key in table.keys {
            text.push('\n');
            let mut about = key.about.replace('`', "");
            if key.default == Default::Otherwise {
                about.push_str(" For example:");
            }
            comment(&mut text, &about);
            text.extend(["#", key.name, " = ", key.value, "\n"]);
        }
    }
    text
}

/// Words as comments, broken between words.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        let length = line.chars().count().saturating_add(word.chars().count());
        if length >= WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use cordon::config::{self, Config};

    use super::*;
    use crate::keys::differences;

    #[test]
    fn every_setting_has_words_and_no_words_are_about_nothing() {
        assert_eq!(differences(TABLES, &config::TABLES), Vec::<String>::new());
    }

    #[test]
    fn the_file_as_it_is_shipped_changes_nothing() {
        let config = Config::parse("config.toml", file().as_bytes()).unwrap();
        assert_eq!(config, Config::default());
    }

    /// Takes the `#` from keys of one kind.
    fn opened(kind: impl Fn(&Key) -> bool) -> String {
        let mut text = file();
        for key in TABLES
            .iter()
            .flat_map(|table| table.keys)
            .filter(|key| kind(key))
        {
            let line = format!("{} = {}\n", key.name, key.value);
            text = text.replace(&format!("\n#{line}"), &format!("\n{line}"));
        }
        text
    }

    #[test]
    fn what_the_file_calls_a_default_is_one() {
        let text = opened(|key| key.default == Default::Value);
        let config = Config::parse("config.toml", text.as_bytes()).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn every_example_of_the_file_is_one_that_can_be_used() {
        let text = opened(|_| true).replace("\n#[[", "\n[[");
        let config = Config::parse("config.toml", text.as_bytes()).unwrap();
        assert_ne!(config, Config::default());
        assert!(!text.contains("\n#cgroup_root"), "{text}");
    }

    #[test]
    fn no_line_of_the_file_is_too_long() {
        for line in file().lines().filter(|line| line.starts_with("# ")) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
