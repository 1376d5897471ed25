//! Settings with mistakes, as a shell sees them: every command shows each with its place, in lines.

#[cfg(test)]
mod tests {
    use std::process::Command;

    use cordon::sys::fs;

    #[test]
    fn every_command_shows_mistakes_in_settings_with_their_places() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        let text =
            "[[runner]]\nunit = \"a.service\"\nengine_port = 70000\nworkspace = [\"/srv\"]\n";
        fs::write_atomic(&config, text.as_bytes(), 0o600).unwrap();
        for command in [
            &["daemon"][..],
            &["doctor"],
            &["host", "status"],
            &["job", "list"],
            &["reload"],
            &["resume", "--list"],
            &["run", "--", "true"],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_cordon"))
                .args(command)
                .env("CORDON_CONFIG", &config)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(121), "{command:?}: {said}");
            for line in [
                "  = help: write `workspace = [\"/srv/runner/_work\"]`",
                "3 | engine_port = 70000",
            ] {
                assert!(said.lines().any(|said| said == line), "{command:?}: {said}");
            }
            assert!(said.contains("config.toml:4:14"), "{command:?}: {said}");
        }
    }
}
