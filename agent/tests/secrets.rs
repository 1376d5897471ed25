//! `cordon secrets`, as a shell sees it: what is printed, what is written, and that neither holds a
//! value.

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};

    use cordon::sys::{descriptors, fs};

    /// What is planted. No piece of it is in anything else.
    const MARKER: &str = "Zq7-marker-Xw9Kf3";

    /// A host whose settings are in a directory that is gone after the test.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            let text = format!("[host]\nstate_dir = \"{}/state\"\n", host.path().display());
            fs::write_atomic(&host.path().join("config.toml"), text.as_bytes(), 0o600).unwrap();
            host
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn command(&self, arguments: &[&str]) -> Command {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
            command
                .arg("secrets")
                .args(arguments)
                .current_dir(self.path())
                .env("CORDON_CONFIG", self.path().join("config.toml"))
                .env("CORDON_LOG", "trace")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command
        }

        /// Runs it with this on standard input.
        fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
            let mut child = self
                .command(arguments)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            // Nobody reads where the arguments are refused.
            drop(stdin.write_all(input));
            drop(stdin);
            child.wait_with_output().unwrap()
        }

        /// All that lies below the host's directory, names and contents.
        fn everything(&self) -> Vec<u8> {
            let mut all = Vec::new();
            let mut open = vec![self.path().to_owned()];
            while let Some(directory) = open.pop() {
                for entry in std::fs::read_dir(directory).unwrap() {
                    let path = entry.unwrap().path();
                    all.extend(path.to_string_lossy().bytes());
                    if path.is_dir() {
                        open.push(path);
                    } else {
                        all.extend(fs::read(&path, 1 << 20).unwrap());
                    }
                }
            }
            all
        }

        /// Neither files nor output hold a piece of the marker, in whatever letters.
        fn assert_kept(&self, output: &Output) {
            for place in [&output.stdout, &output.stderr, &self.everything()] {
                assert_absent(place);
            }
        }
    }

    fn assert_absent(place: &[u8]) {
        let place = String::from_utf8_lossy(place).to_lowercase();
        for piece in MARKER.to_lowercase().as_bytes().windows(6) {
            let piece = String::from_utf8_lossy(piece);
            assert!(!place.contains(&*piece), "`{piece}` is in\n{place}");
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn code(output: &Output) -> i32 {
        output.status.code().unwrap()
    }

    #[test]
    fn a_value_leaves_no_trace_in_files_and_output() {
        let host = Host::new();
        let output = host.run(&["register", "deploy/password"], MARKER.as_bytes());
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        host.assert_kept(&output);
        let shown = text(&output.stdout);
        for line in ["registered   deploy/password\n", "class        static\n"] {
            assert!(shown.contains(line), "{shown}");
        }
        assert!(shown.contains("length       16-31 bytes\n"), "{shown}");
        let registered = shown
            .lines()
            .find_map(|line| line.strip_prefix("fingerprint  "));

        let output = host.run(&["fingerprint"], format!("{MARKER}\n").as_bytes());
        host.assert_kept(&output);
        let printed = text(&output.stdout);
        assert_eq!(registered, Some(printed.trim_end()));
        let raw = host.run(&["fingerprint", "--raw"], format!("{MARKER}\n").as_bytes());
        assert_ne!(raw.stdout, output.stdout);

        // Refused in each way a value can be.
        for arguments in [
            &["register", "deploy/password"][..],
            &["register", "not a name"],
            &["register", "x", MARKER],
            &["register", "x", "--value", MARKER],
            &["register", "x", "--class", MARKER],
            &["register", "x", "--fd", MARKER],
            &["register", "x", "--fd", "777"],
            &[MARKER],
            &["fingerprint", MARKER],
        ] {
            let output = host.run(arguments, MARKER.as_bytes());
            assert_ne!(code(&output), 0, "{arguments:?}");
            assert_eq!(text(&output.stdout), "");
            host.assert_kept(&output);
        }
        let long = MARKER.repeat(9000);
        let output = host.run(&["register", "long"], long.as_bytes());
        assert!(text(&output.stderr).contains("more than"));
        host.assert_kept(&output);
    }

    #[test]
    fn values_are_listed_and_forgotten() {
        let host = Host::new();
        let list = host.run(&["list"], b"");
        assert_eq!((code(&list), text(&list.stdout)), (0, String::new()));
        for (name, class) in [("one", "static"), ("two/b", "private-key")] {
            let value = format!("{MARKER}'{name}");
            let output = host.run(&["register", name, "--class", class], value.as_bytes());
            assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        }
        let list = host.run(&["list"], b"");
        assert_eq!(text(&list.stderr), "");
        host.assert_kept(&list);
        let shown = text(&list.stdout);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 2, "{shown}");
        assert!(
            lines[0].starts_with("one    static           20"),
            "{shown}"
        );
        assert!(
            lines[1].starts_with("two/b  private-key      20"),
            "{shown}"
        );
        // As it is, and as a URL, a shell in quotes, and one without write it.
        assert!(lines[0].ends_with("Z  4 forms"), "{shown}");
        assert_eq!(
            text(&host.run(&["forget", "one"], b"").stdout),
            "forgot  one\n"
        );
        let again = host.run(&["forget", "one"], b"");
        assert_eq!(code(&again), 1);
        assert_eq!(text(&host.run(&["list"], b"").stdout).lines().count(), 1);
    }

    #[test]
    fn a_key_is_made_once_and_values_of_another_are_told_of() {
        let host = Host::new();
        let first = host.run(&["init"], b"");
        assert!(text(&first.stdout).contains("(made)"), "{first:?}");
        let key = host.path().join("state/keys/fingerprint.key");
        let bytes = fs::read(&key, 64).unwrap();
        let second = host.run(&["init"], b"");
        assert!(text(&second.stdout).contains("(was there before)"));
        assert_eq!(fs::read(&key, 64).unwrap(), bytes);
        host.run(&["register", "one"], MARKER.as_bytes());
        std::fs::remove_file(&key).unwrap();
        let list = host.run(&["list"], b"");
        assert!(text(&list.stderr).contains("warning"), "{list:?}");
        assert_eq!(code(&host.run(&["init"], b"")), 0);
        let output = host.run(&["register", "two"], MARKER.as_bytes());
        assert_eq!(code(&output), 1);
        assert!(
            text(&output.stderr).contains("was made under the key"),
            "{output:?}"
        );
        host.assert_kept(&output);
        assert_eq!(code(&host.run(&["forget", "one"], b"")), 0);
    }

    #[test]
    fn a_plain_value_needs_a_word_and_a_short_one_has_no_chance() {
        let host = Host::new();
        let output = host.run(&["register", "plain"], b"changeme123");
        assert!(text(&output.stderr).contains("--anyway"), "{output:?}");
        assert_eq!(code(&output), 1);
        assert_eq!(text(&host.run(&["list"], b"").stdout), "");
        let output = host.run(&["register", "plain", "--anyway"], b"changeme123");
        assert_eq!(code(&output), 0);
        assert!(text(&output.stderr).contains("warning"), "{output:?}");
        for short in [&b""[..], b"1234567", b"Kq8rT2m\n"] {
            let output = host.run(&["register", "short", "--anyway"], short);
            assert!(
                text(&output.stderr).contains("at least 8 bytes"),
                "{output:?}"
            );
        }
    }

    #[test]
    fn a_value_can_come_from_a_descriptor() {
        let host = Host::new();
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(MARKER.as_bytes()).unwrap();
        drop(writer);
        let number = reader.as_raw_fd();
        descriptors::pass_on(number).unwrap();
        let output = host
            .command(&["register", "one", "--fd", &number.to_string()])
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        host.assert_kept(&output);
        let list = host.run(&["list"], b"");
        assert!(text(&list.stdout).starts_with("one  static"));
    }

    /// Types at a terminal when it is asked to; what it showed, and the output.
    fn type_at_terminal(host: &Host, arguments: &[&str], typed: &str) -> (Vec<u8>, Output) {
        let pair = nix::pty::openpty(None, None).unwrap();
        let mut keyboard = File::from(pair.master);
        let mut child = host
            .command(arguments)
            .stdin(Stdio::from(pair.slave))
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"(not shown): ") {
            let mut byte = [0];
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", text(&said));
            said.extend(byte);
        }
        keyboard.write_all(typed.as_bytes()).unwrap();
        stderr.read_to_end(&mut said).unwrap();
        let mut output = child.wait_with_output().unwrap();
        output.stderr = said;
        // Everybody else has closed the terminal, so it ends with an error.
        let mut shown = vec![0; 4096];
        let count = keyboard.read(&mut shown).unwrap_or(0);
        shown.truncate(count);
        (shown, output)
    }

    #[test]
    fn a_terminal_does_not_show_the_value() {
        let host = Host::new();
        let typed = format!("{MARKER}\n");
        let (shown, output) = type_at_terminal(&host, &["fingerprint"], &typed);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert_absent(&shown);
        host.assert_kept(&output);
        let piped = host.run(&["fingerprint"], MARKER.as_bytes());
        assert_eq!(piped.stdout, output.stdout);
        let lines = format!("{MARKER}\n{MARKER}\n");
        let (shown, output) = type_at_terminal(&host, &["register", "one"], &lines);
        assert_eq!(code(&output), 1);
        assert!(text(&output.stderr).contains("more than one line"));
        assert_absent(&shown);
        host.assert_kept(&output);
    }
}
