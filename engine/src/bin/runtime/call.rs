//! How the engine calls its runtime.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use cordon_engine::passport::{DIRECTORY, RUN_DIR};

/// Our own option: where cordon's `run_dir` is. The engine is told of it in `runtimeArgs`.
const RUN_DIR_OPTION: &str = "--cordon-run-dir=";

/// Options before the command that have a value.
const VALUED: [&str; 5] = ["--root", "--log", "--log-format", "--criu", "--rootless"];

/// An engine with systemd's cgroup driver says so in each call.
const BY_SYSTEMD: &str = "--systemd-cgroup";

/// One call.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// All words, but for our own.
    pub(crate) words: Vec<OsString>,
    /// `create`, `exec`, and so on; empty if there is none.
    pub(crate) command: String,
    /// The last word: the container.
    pub(crate) container: OsString,
    pub(crate) root: Option<PathBuf>,
    pub(crate) log: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) process: Option<PathBuf>,
    bundle: Option<PathBuf>,
    run_dir: Option<PathBuf>,
}

impl Call {
    pub(crate) fn read(words: impl Iterator<Item = OsString>) -> Self {
        let mut call = Self::default();
        let mut before: Option<String> = None;
        for word in words {
            let text = word.to_string_lossy();
            if let Some(run_dir) = text.strip_prefix(RUN_DIR_OPTION) {
                call.run_dir = Some(run_dir.into());
                continue;
            }
            match before.take() {
                Some(option) => call.set(&option, &word),
                None if text.starts_with('-') => {
                    if let Some((option, value)) = text.split_once('=') {
                        call.set(option, OsStr::new(value));
                    } else if !call.command.is_empty() || VALUED.contains(&text.as_ref()) {
                        before = Self::has_value(&text).then(|| text.clone().into_owned());
                    }
                }
                None if call.command.is_empty() => call.command = text.clone().into_owned(),
                None => {}
            }
            drop(text);
            call.container.clone_from(&word);
            call.words.push(word);
        }
        call
    }

    fn has_value(option: &str) -> bool {
        VALUED.contains(&option)
            || [
                "--bundle",
                "-b",
                "--pid-file",
                "--process",
                "-p",
                "--console-socket",
            ]
            .contains(&option)
    }

    fn set(&mut self, option: &str, value: &OsStr) {
        let place = match option {
            "--root" => &mut self.root,
            "--log" => &mut self.log,
            "--bundle" | "-b" => &mut self.bundle,
            "--pid-file" => &mut self.pid_file,
            "--process" | "-p" => &mut self.process,
            _ => return,
        };
        *place = Some(value.into());
    }

    /// All words, but for the one by which systemd would choose the cgroup: the specification has a path.
    pub(crate) fn words_for_a_path(&self) -> impl Iterator<Item = &OsString> {
        self.words.iter().filter(|word| {
            let text = word.to_string_lossy();
            text != BY_SYSTEMD && !text.starts_with(&format!("{BY_SYSTEMD}="))
        })
    }

    /// Where the container's specification is.
    pub(crate) fn bundle(&self) -> Result<PathBuf, String> {
        match &self.bundle {
            Some(bundle) => Ok(bundle.clone()),
            None => std::env::current_dir().map_err(|error| format!("it has no bundle: {error}")),
        }
    }

    /// What `runc` keeps of the container.
    pub(crate) fn state(&self) -> Result<PathBuf, String> {
        let root = self
            .root
            .as_deref()
            .unwrap_or_else(|| Path::new("/run/runc"));
        let name = self.container.to_string_lossy();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(good) {
            return Err(format!("`{name}` is no container"));
        }
        Ok(root.join(name.as_ref()).join("state.json"))
    }

    /// Where the jobs' passports are.
    pub(crate) fn passports(&self) -> PathBuf {
        let run_dir = self
            .run_dir
            .as_deref()
            .unwrap_or_else(|| Path::new(RUN_DIR));
        run_dir.join(DIRECTORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Call {
        Call::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_engines_calls_are_read() {
        let create = call(
            "--cordon-run-dir=/x --root /r --log /l --log-format json create --bundle /b --pid-file /p abc",
        );
        assert_eq!(create.command, "create");
        assert_eq!(create.bundle().unwrap(), Path::new("/b"));
        assert_eq!(create.pid_file.as_deref(), Some(Path::new("/p")));
        assert_eq!(create.container, "abc");
        assert_eq!(create.passports(), Path::new("/x/containers"));
        assert!(
            !create
                .words
                .iter()
                .any(|word| word.to_string_lossy().contains("cordon"))
        );

        let by_systemd = call("--root /r --systemd-cgroup create --bundle /b abc");
        assert_eq!(by_systemd.command, "create");
        let words: Vec<_> = by_systemd.words_for_a_path().collect();
        assert_eq!(words, ["--root", "/r", "create", "--bundle", "/b", "abc"]);
        assert_eq!(create.words_for_a_path().count(), create.words.len());

        let exec = call("--root=/r exec --process /f --detach --pid-file /p abc");
        assert_eq!(exec.command, "exec");
        assert_eq!(exec.process.as_deref(), Some(Path::new("/f")));
        assert_eq!(exec.state().unwrap(), Path::new("/r/abc/state.json"));
    }

    #[test]
    fn a_containers_name_is_no_path() {
        for name in ["", "..", "a/b", ".x"] {
            assert!(
                call(&format!("exec --process /f {name}"))
                    .state()
                    .err()
                    .is_some(),
                "{name}"
            );
        }
    }
}
