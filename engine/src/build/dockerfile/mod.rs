//! The Dockerfile of a build: read, judged, and written anew.
//!
//! What is written has one line for each instruction, no comments, and for each image its id. Names that the
//! job gave its stages do not go on either: an engine could take one for an image, and fetch that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::arguments::Arguments;
use super::lines::{self, Line, refused};
use crate::job::{Job, LABEL, RESERVED};
use crate::refusal::{Refusal, printable};

/// Most stages.
const STAGES: usize = 256;

/// A Dockerfile that may be built when its images are known.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// `ARG`s in front.
    arguments: Vec<String>,
    stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
struct Stage {
    base: Source,
    platform: Option<String>,
    name: Option<String>,
    steps: Vec<Step>,
}

/// What something is taken from.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Source {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image, by its name.
    Image(String),
}

#[derive(Clone, Debug)]
enum Step {
    /// A whole line.
    Line(String),
    /// The same, which gives labels.
    Label(String),
    /// `COPY --from`: options, and what follows them.
    CopyFrom {
        from: Source,
        options: String,
        rest: String,
    },
}

/// Instructions that are passed on as they are: they say what an image is, or what runs in a container of
/// the job.
const PLAIN: [&str; 12] = [
    "ARG",
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "MAINTAINER",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Dockerfile {
    /// Reads one, up to the stage that is wanted; empty for the last.
    ///
    /// # Errors
    /// What is not known, or could make the engine fetch something.
    pub fn read(
        bytes: &[u8],
        given: &BTreeMap<String, String>,
        target: &str,
    ) -> Result<Self, Refusal> {
        let mut arguments = Arguments::default();
        let mut whole = Self {
            arguments: Vec::new(),
            stages: Vec::new(),
        };
        for line in lines::read(bytes)? {
            let Line { word, rest } = &line;
            if word == "FROM" {
                let stage = whole.from(rest, &arguments)?;
                whole.stages.push(stage);
                continue;
            }
            if word != "ARG" && whole.stages.is_empty() {
                let what = format!("`{}` before the first `FROM`", printable(word));
                return Err(refused(what, "begin with `FROM`"));
            }
            if rest.is_empty() {
                let what = format!("`{}` without anything", printable(word));
                return Err(refused(what, "say what it is about"));
            }
            if whole.stages.is_empty() {
                for word in rest.split_ascii_whitespace() {
                    arguments.take(word, given)?;
                }
                whole.arguments.push(rest.clone());
                continue;
            }
            let step = whole.step(word, rest)?;
            if let Some(stage) = whole.stages.last_mut() {
                stage.steps.push(step);
            }
        }
        whole.until(target)?;
        Ok(whole)
    }

    /// Leaves out what follows the wanted stage.
    fn until(&mut self, target: &str) -> Result<(), Refusal> {
        let index = match target {
            "" => self.stages.len().checked_sub(1),
            name => self.stage(name),
        };
        let Some(index) = index else {
            return Err(match target {
                "" => refused("no `FROM`", "say which image it begins with"),
                name => refused(format!("no stage `{}`", printable(name)), "name one of it"),
            });
        };
        self.stages.truncate(index.saturating_add(1));
        Ok(())
    }

    /// A stage that is there, by name or number.
    fn stage(&self, name: &str) -> Option<usize> {
        let named = |stage: &Stage| {
            let known = stage.name.as_deref();
            known.is_some_and(|known| known.eq_ignore_ascii_case(name))
        };
        let number = || {
            let plain = name.bytes().all(|byte| byte.is_ascii_digit());
            name.parse().ok().filter(|_| plain)
        };
        let found = self.stages.iter().position(named).or_else(number)?;
        (found < self.stages.len()).then_some(found)
    }

    fn from(&self, rest: &str, arguments: &Arguments) -> Result<Stage, Refusal> {
        let strange = || {
            let what = format!("`FROM {}`", printable(rest));
            refused(
                what,
                "it is `FROM [--platform=OS/PROCESSOR] IMAGE [AS NAME]`",
            )
        };
        if self.stages.len() >= STAGES {
            return Err(refused("more than 256 stages", "split the build"));
        }
        let mut words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let mut platform = None;
        while let Some(option) = words.first().and_then(|word| word.strip_prefix("--")) {
            let value = option.strip_prefix("platform=").ok_or_else(strange)?;
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte);
            if platform.is_some() || value.is_empty() || !value.bytes().all(good) {
                return Err(strange());
            }
            platform = Some(value.to_owned());
            words.remove(0);
        }
        let (image, name) = match words.as_slice() {
            [image] => (image, None),
            [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(*name)),
            _ => return Err(strange()),
        };
        if let Some(name) = name {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            let is_name = name.len() <= 128
                && name.bytes().all(good)
                && name.starts_with(|first: char| first.is_ascii_alphabetic())
                && !name.eq_ignore_ascii_case("scratch");
            if !is_name || self.stage(name).is_some() {
                let what = format!("the stage `{}`", printable(name));
                return Err(refused(what, "it is no name, or there twice"));
            }
        }
        let image = arguments.expand(image)?;
        Ok(Stage {
            base: self.source(&image, false)?,
            platform,
            name: name.map(str::to_owned),
            steps: Vec::new(),
        })
    }

    /// What a name stands for. A stage's number is one only where something is copied.
    fn source(&self, name: &str, numbered: bool) -> Result<Source, Refusal> {
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(index) = self.stage(name).filter(|_| numbered || !is_number) {
            // A stage does not copy from itself.
            let current = self.stages.len().saturating_sub(1);
            if !numbered || index < current {
                return Ok(Source::Stage(index));
            }
            let what = format!("`COPY --from={}`", printable(name));
            return Err(refused(what, "it names no earlier stage"));
        }
        if name == "scratch" && !numbered {
            return Ok(Source::Scratch);
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte);
        let is_image = (1..=256).contains(&name.len())
            && name.bytes().all(good)
            && name.split('/').all(|part| {
                part.starts_with(|first: char| first.is_ascii_alphanumeric())
                    && !part.contains("..")
            });
        if !is_image || (numbered && is_number) {
            let what = format!("the image `{}`", printable(name));
            return Err(refused(what, "it is no name of an image"));
        }
        Ok(Source::Image(name.to_owned()))
    }

    /// One instruction.
    fn step(&self, word: &str, rest: &str) -> Result<Step, Refusal> {
        let line = || Step::Line(format!("{word} {rest}"));
        let options = rest.starts_with("--");
        match word {
            "RUN" if options => Err(refused(
                "an option of `RUN`",
                "options (`--mount`, `--network`, `--security`) are BuildKit's, which cordon does not mediate. \
                 Leave them out",
            )),
            "RUN" => {
                judge_here(rest)?;
                Ok(line())
            }
            "COPY" => {
                judge_here(rest)?;
                self.copy(rest)
            }
            "ADD" => {
                judge_here(rest)?;
                add(rest)
            }
            "LABEL" => {
                judge_label(rest)?;
                Ok(Step::Label(format!("{word} {rest}")))
            }
            "ONBUILD" => Err(refused(
                "`ONBUILD`",
                "it runs in later builds, which may be another job's. Leave it out",
            )),
            plain if PLAIN.contains(&plain) && (!options || plain == "HEALTHCHECK") => Ok(line()),
            other => Err(refused(
                format!("the instruction `{} {}`", printable(other), printable(rest)),
                "it is not known to cordon",
            )),
        }
    }

    fn copy(&self, rest: &str) -> Result<Step, Refusal> {
        let (options, rest) = options_of("COPY", rest, &["chown", "from"])?;
        let mut from = None;
        for (_, value) in options.iter().filter(|(key, _)| *key == "from") {
            from = Some(self.source(value, true)?);
        }
        let others = write_options(&options, |key| key != "from");
        Ok(match from {
            Some(from) => Step::CopyFrom {
                from,
                options: others,
                rest: rest.to_owned(),
            },
            None => Step::Line(format!("COPY {others}{rest}")),
        })
    }

    /// The images that it names.
    #[must_use]
    pub fn images(&self) -> BTreeSet<&str> {
        let sources = self.stages.iter().flat_map(|stage| {
            let copied = stage.steps.iter().filter_map(|step| match step {
                Step::CopyFrom { from, .. } => Some(from),
                Step::Line(_) | Step::Label(_) => None,
            });
            std::iter::once(&stage.base).chain(copied)
        });
        sources
            .filter_map(|source| match source {
                Source::Image(name) => Some(name.as_str()),
                Source::Scratch | Source::Stage(_) => None,
            })
            .collect()
    }

    /// Writes it for the engine; `ids` has an id of 64 digits for each image.
    ///
    /// # Errors
    /// An image has no id.
    pub fn write(&self, job: &Job, ids: &BTreeMap<String, String>) -> Result<String, Refusal> {
        let label = format!("LABEL {LABEL}={}\n", job.id);
        let mut text = String::new();
        for argument in &self.arguments {
            text.extend(["ARG ", argument, "\n"]);
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let platform = match &stage.platform {
                Some(platform) => format!("--platform={platform} "),
                None => String::new(),
            };
            let base = write_source(&stage.base, ids)?;
            text.extend(["FROM ", &platform, &base, " AS ", &name_of(index), "\n"]);
            // First: containers of its steps are found by it, and steps of other jobs are not taken for its own.
            text.push_str(&label);
            for step in &stage.steps {
                match step {
                    Step::Line(line) => text.push_str(line),
                    // Ours again, before anything runs: a key can come of a variable.
                    Step::Label(line) => {
                        text.push_str(line);
                        text.push('\n');
                        text.push_str(label.trim_end());
                    }
                    Step::CopyFrom {
                        from,
                        options,
                        rest,
                    } => {
                        let from = write_source(from, ids)?;
                        text.extend(["COPY --from=", &from, " ", options, rest]);
                    }
                }
                text.push('\n');
            }
        }
        Ok(text)
    }
}

/// What a stage is called for the engine.
fn name_of(index: usize) -> String {
    format!("cordon-stage-{index}")
}

/// An engine takes 64 digits for an id and nothing else: there is no image of such a name, here or at a registry.
fn write_source(source: &Source, ids: &BTreeMap<String, String>) -> Result<String, Refusal> {
    match source {
        Source::Scratch => Ok("scratch".to_owned()),
        Source::Stage(index) => Ok(name_of(*index)),
        Source::Image(name) => {
            let id = ids.get(name).filter(|id| is_id(id));
            let id = id.ok_or_else(|| Refusal::failed(format!("the image `{name}` has no id")))?;
            Ok(id.clone())
        }
    }
}

/// Whether this is the id of an image, without its prefix.
#[must_use]
pub fn is_id(id: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    id.len() == 64 && id.bytes().all(digit)
}

/// Options with their values.
type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// Those of them that are wanted, each with a space behind.
fn write_options(options: &[(&str, &str)], wanted: impl Fn(&str) -> bool) -> String {
    let wanted = options.iter().filter(|(key, _)| wanted(key));
    wanted
        .flat_map(|(key, value)| ["--", key, "=", value, " "])
        .collect()
}

/// Options in front, each once and with a plain value; and what follows.
fn options_of<'a>(
    word: &str,
    mut rest: &'a str,
    known: &[&str],
) -> Result<(Pairs<'a>, &'a str), Refusal> {
    let mut options: Vec<(&str, &str)> = Vec::new();
    while let Some(option) = rest.strip_prefix("--") {
        let (option, left) = option.split_once([' ', '\t']).unwrap_or((option, ""));
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let extra: &[u8] = if key == "chown" { b"${}" } else { b"" };
        let good = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte) || extra.contains(&byte)
        };
        let is_plain = !value.is_empty() && value.bytes().all(good);
        if !known.contains(&key) || !is_plain || options.iter().any(|(had, _)| *had == key) {
            let what = format!("the option `--{}` of `{word}`", printable(option));
            let why = format!(
                "there are {}, each once and with a plain value; others are BuildKit's, which cordon does not \
                 mediate",
                known
                    .iter()
                    .map(|key| format!("`--{key}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            return Err(refused(what, &why));
        }
        options.push((key, value));
        rest = left.trim_start();
    }
    if rest.is_empty() {
        return Err(refused(
            format!("`{word}` without files"),
            "say what is copied, and where to",
        ));
    }
    Ok((options, rest))
}

/// `ADD` fetches what looks like an address, after its quotes and variables are gone: so it has none.
fn add(rest: &str) -> Result<Step, Refusal> {
    let (options, files) = options_of("ADD", rest, &["chown"])?;
    let listed: Vec<String> = if files.starts_with('[') {
        let list: Result<Vec<Value>, _> = serde_json::from_str(files);
        let list = list.ok().into_iter().flatten();
        list.map(|file| file.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .unwrap_or_default()
    } else {
        files.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._/*?+,=~%-".contains(&byte);
    let is_plain = |file: &String| {
        !file.is_empty() && file.bytes().all(good) && !file.starts_with("github.com")
    };
    if listed.len() < 2 || !listed.iter().all(is_plain) {
        return Err(refused(
            format!("`ADD {}`", printable(rest)),
            "the engine would fetch an address past the job's rules; so `ADD` has plain paths of the context, \
             without variables and quotes. Use `COPY`, and fetch with `RUN`",
        ));
    }
    let chown = write_options(&options, |_| true);
    Ok(Step::Line(format!(
        "ADD {chown}{}",
        serde_json::to_string(&listed).unwrap_or_default()
    )))
}

/// A document in the Dockerfile: lines that some engines read, and others take for instructions.
fn judge_here(rest: &str) -> Result<(), Refusal> {
    if rest.contains("<<") {
        return Err(refused(
            "`<<`",
            "documents in a Dockerfile are BuildKit's, which cordon does not mediate. Put it into a file, and \
             `COPY` that",
        ));
    }
    Ok(())
}

/// Labels by which cordon finds what is a job's are cordon's own.
fn judge_label(rest: &str) -> Result<(), Refusal> {
    let plain: String = rest
        .chars()
        .filter(|char| !matches!(char, '"' | '\'' | '\\'))
        .collect();
    if plain.contains(RESERVED) {
        let why = format!("labels that begin with `{RESERVED}` are cordon's own");
        return Err(refused(format!("`LABEL {}`", printable(rest)), &why));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
