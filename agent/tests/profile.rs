//! `cordon profile`, as a shell sees it: exit status, standard output, standard error.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    use cordon::report::Report;
    use cordon::sys::fs;

    const PROFILE: &str = r#"name = "job"
[[allow]]
host = "api.example.com"
reason = "release metadata"
"#;

    const REPORT: &str = r#"{
        "schema": "cordon/egress-report/v1", "mode": "audit",
        "coverage": { "layers": [], "blindSpots": [], "proof": [] },
        "losses": { "records": 0, "flows": 0, "undecodable": 0, "details": 0, "names": 0,
            "questionsRefused": 0, "questionsMalformed": 0, "memory": 0 },
        "summary": { "allowed": 0, "denied": 1, "destinations": 0, "bytesOut": 0, "bytesIn": 0,
            "namesAsked": 0, "namesDenied": 0 },
        "job": { "id": "j", "command": "make", "arguments": 0, "started": "2026-01-02T03:04:05Z",
            "finished": "2026-01-02T03:04:06Z", "outcome": { "kind": "exited", "code": 0 },
            "survivors": 0 },
        "policy": { "name": "base", "rulesetDigest": "", "profiles": [], "rules": [] },
        "denials": [{
            "destination": { "address": "192.0.2.1", "port": 8443, "protocol": "tcp",
                "names": ["registry.test"] },
            "reason": "no-rule", "explanation": "", "attempts": 1, "packets": 0,
            "firstSeen": "2026-01-02T03:04:05Z", "lastSeen": "2026-01-02T03:04:05Z",
            "processes": [{ "pid": 1, "executables": ["/usr/bin/curl"], "events": 1 }]
        }],
        "flows": [], "dns": [], "sockets": [],
        "platform": { "kernel": "", "architecture": "", "agentVersion": "", "agentSha256": "",
            "objectSha256": "", "keyProtection": "file" }
    }"#;

    /// Runs `cordon profile` in a directory, with settings that name no other.
    fn cordon(directory: &Path, arguments: &[&str]) -> Output {
        let config = directory.join("config.toml");
        let text = format!("[host]\nprofiles_dir = \"{}\"\n", directory.display());
        fs::write_atomic(&config, text.as_bytes(), 0o600).unwrap();
        Command::new(env!("CARGO_BIN_EXE_cordon"))
            .arg("profile")
            .args(arguments)
            .current_dir(directory)
            .env("CORDON_CONFIG", config)
            .output()
            .unwrap()
    }

    fn code(output: &Output) -> i32 {
        output.status.code().unwrap()
    }

    fn stdout(output: &Output) -> String {
        String::from_utf8(output.stdout.clone()).unwrap()
    }

    fn stderr(output: &Output) -> String {
        String::from_utf8(output.stderr.clone()).unwrap()
    }

    fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write_atomic(&directory.path().join(name), text.as_bytes(), 0o600).unwrap();
        }
        directory
    }

    #[test]
    fn check_prints_rules_and_ends_with_0() {
        let directory = place(&[("job.toml", PROFILE)]);
        for reference in ["job.toml", "job"] {
            let output = cordon(directory.path(), &["check", reference]);
            assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
            let text = stdout(&output);
            assert!(text.contains("mode    enforce"), "{text}");
            assert!(text.contains("host api.example.com, tcp 443"), "{text}");
            assert!(text.contains("job.toml:2)  # release metadata"), "{text}");
        }
    }

    #[test]
    fn check_shows_what_is_done_about_secrets_and_warns_of_what_has_expired() {
        let secrets = r#"
[secrets]
on_finding = "freeze"
freeze_for = "90s"
holders = ["git", "/usr/bin/node"]
[[secrets.allow]]
variable = "GITHUB_TOKEN"
class = "job-token"
reason = "the checkout"
[[secrets.allow]]
process = "deploy"
reason = "until the move"
expires = "2001-02-03"
"#;
        let directory = place(&[("job.toml", &format!("{PROFILE}{secrets}"))]);
        let output = cordon(directory.path(), &["check", "job.toml"]);
        assert_eq!(code(&output), 0);
        let text = stdout(&output);
        for line in [
            "secrets oidc-only: a finding freezes the job, which is killed after 90s; swept every \
             10s, short-lived is at most 1h\n",
            "holders /usr/bin/node, git\n",
            "expect 0  variable GITHUB_TOKEN, class job-token (job.toml:10)  # the checkout\n",
            "expect 1  process deploy, expired 2001-02-03 (job.toml:14)  # until the move\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let warnings = stderr(&output);
        assert_eq!(warnings.lines().count(), 1, "{warnings}");
        assert!(
            warnings.starts_with("cordon: warning: job.toml:14: ") && warnings.contains("expired"),
            "{warnings}"
        );
    }

    #[test]
    fn check_shows_mistakes_of_all_files_and_ends_with_64() {
        let directory = place(&[
            ("a.toml", "colour = 1\n"),
            ("b.toml", "mode = \"off\"\n"),
            ("job.toml", PROFILE),
        ]);
        let output = cordon(directory.path(), &["check", "a.toml", "job.toml", "b.toml"]);
        assert_eq!(code(&output), 64);
        let text = stderr(&output);
        assert!(
            text.contains("--> a.toml:1:1") && text.contains("--> b.toml:1:8"),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(stdout(&output).contains("api.example.com"));
    }

    #[test]
    fn explain_ends_with_0_1_or_64() {
        let directory = place(&[("job.toml", PROFILE)]);
        let explain = |to: &str| cordon(directory.path(), &["explain", "job.toml", to]);
        let allowed = explain("api.example.com:443");
        assert_eq!(code(&allowed), 0);
        assert!(
            stdout(&allowed).contains("in job.toml:2"),
            "{}",
            stdout(&allowed)
        );
        let denied = explain("www.example.com:443");
        assert_eq!(code(&denied), 1);
        assert!(stdout(&denied).contains("[[allow]]\nhost = \"www.example.com\""));
        let wrong = explain("www.example.com");
        assert_eq!((code(&wrong), stdout(&wrong).as_str()), (64, ""));
        let missing = cordon(directory.path(), &["explain", "nobody", "a.example:1"]);
        assert_eq!(code(&missing), 64);
    }

    #[test]
    fn check_and_explain_show_limits_and_where_they_are_from() {
        let base = "name = \"site\"\n[limits]\nmemory = \"2GiB\"\n";
        let own =
            "name = \"job\"\nextends = [\"site\"]\n[limits]\nmemory = \"4GiB\"\nwall = \"90s\"\n";
        let directory = place(&[("site.toml", base), ("job.toml", own)]);
        for (arguments, status) in [
            (&["check", "job.toml"][..], 0),
            (&["explain", "job.toml", "a.example:1"], 1),
        ] {
            let output = cordon(directory.path(), arguments);
            assert_eq!(code(&output), status, "{}", stderr(&output));
            let text = stdout(&output);
            assert!(
                text.contains("limit   memory 2GiB (") && text.contains("site.toml:3)"),
                "{text}"
            );
            assert!(text.contains("limit   wall 90s (job.toml:5)"), "{text}");
            assert!(!text.contains("4GiB"), "{text}");
        }
        let open = place(&[("job.toml", PROFILE)]);
        let text = stdout(&cordon(open.path(), &["check", "job.toml"]));
        assert!(text.contains("limits  none"), "{text}");
    }

    #[test]
    fn suggest_reads_a_report_and_writes_a_profile() {
        serde_json::from_str::<Report>(REPORT).unwrap();
        let directory = place(&[("egress-report.json", REPORT)]);
        for evidence in [".", "egress-report.json"] {
            let output = cordon(directory.path(), &["suggest", evidence, "--name", "mine"]);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            let profile = directory.path().join("mine.toml");
            fs::write_atomic(&profile, &output.stdout, 0o600).unwrap();
            let explained = cordon(directory.path(), &["explain", "mine", "registry.test:8443"]);
            assert_eq!(code(&explained), 0, "{}", stderr(&explained));
        }
    }

    #[test]
    fn suggest_refuses_what_is_no_report_and_a_name_no_profile_can_have() {
        let later = REPORT.replace("report/v1", "report/v2");
        let directory = place(&[("a.json", "{}"), ("b.json", &later), ("c.json", REPORT)]);
        for arguments in [
            &["suggest", "a.json"][..],
            &["suggest", "b.json"],
            &["suggest", "gone"],
        ] {
            let output = cordon(directory.path(), arguments);
            assert_eq!((code(&output), stdout(&output).as_str()), (64, ""));
        }
        let output = cordon(directory.path(), &["suggest", "c.json", "--name", "a\"b"]);
        assert_ne!(code(&output), 0);
    }

    #[test]
    fn list_shows_own_and_built_in_profiles() {
        let directory = place(&[("job.toml", PROFILE)]);
        std::fs::rename(
            directory.path().join("job.toml"),
            directory.path().join("own.toml"),
        )
        .unwrap();
        let output = cordon(directory.path(), &["list"]);
        // `own.toml` calls itself `job`, and `config.toml` is no profile.
        assert_eq!(code(&output), 64);
        assert!(stderr(&output).contains("calls itself `job`"));
        assert!(stdout(&output).contains("github-actions "));
    }

    #[test]
    fn broken_settings_are_mistakes_too() {
        let directory = place(&[("job.toml", PROFILE), ("host.toml", "[hots]\n")]);
        let output = cordon(
            directory.path(),
            &["check", "job.toml", "--config", "host.toml"],
        );
        assert_eq!(code(&output), 64);
        assert!(
            stderr(&output).contains("did you mean `host`?"),
            "{}",
            stderr(&output)
        );
    }
}
