//! Mistakes in files people write, shown with file, line, column and a caret.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Mistakes that are printed in full; a file can hold hundreds of thousands.
const SHOWN: usize = 100;

/// A file as it was read, and the name it goes by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceText {
    /// Its path, or `built-in:NAME`.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl SourceText {
    /// The line of a byte, counted from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        let before = self.text.bytes().take(offset);
        before
            .filter(|byte| *byte == b'\n')
            .count()
            .saturating_add(1)
    }
}

/// Bytes of a file that a mistake is about.
#[derive(Clone, Debug)]
struct Place {
    source: Arc<SourceText>,
    span: Range<usize>,
    label: Option<String>,
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Mistake {
    message: String,
    place: Option<Place>,
    related: Option<Box<Place>>,
    help: Vec<String>,
}

impl Mistake {
    /// A mistake that no line of a file is to blame for.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
            related: None,
            help: Vec::new(),
        }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, source: &Arc<SourceText>, span: Range<usize>) -> Self {
        self.place = Some(place(source, span, None));
        self
    }

    /// Says where it is, unless that is said already.
    #[must_use]
    pub(crate) fn at_if_none(self, source: &Arc<SourceText>, span: Range<usize>) -> Self {
        if self.place.is_some() {
            return self;
        }
        self.at(source, span)
    }

    /// Where it begins in its file; mistakes without a place come first.
    pub(crate) fn offset(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.span.start)
    }

    /// Writes a few words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        if let Some(place) = &mut self.place {
            place.label = Some(label.into());
        }
        self
    }

    /// Shows a second place that has to do with it.
    #[must_use]
    pub fn related(
        mut self,
        source: &Arc<SourceText>,
        span: Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        self.related = Some(Box::new(place(source, span, Some(label.into()))));
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Says what to do, if there is something to say.
    #[must_use]
    pub fn maybe_help(self, help: Option<impl Into<String>>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it is, as `FILE:LINE`, if it is in a file.
    #[must_use]
    pub fn location(&self) -> Option<String> {
        let place = self.place.as_ref()?;
        let line = place.source.line(place.span.start);
        Some(format!("{}:{line}", place.source.name))
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(self.message.as_str()));
        for snippet in self.snippets() {
            group = group.element(snippet);
        }
        for help in &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// One excerpt, or two if the related place is in another file.
    fn snippets(&self) -> Vec<Snippet<'_, annotate_snippets::Annotation<'_>>> {
        let annotated = |place: &Place, kind: AnnotationKind| {
            let span = place.span.clone();
            kind.span(span).label(place.label.clone())
        };
        let Some(place) = &self.place else {
            return Vec::new();
        };
        let mut first = excerpt(place).annotation(annotated(place, AnnotationKind::Primary));
        match &self.related {
            None => vec![first],
            Some(other) if Arc::ptr_eq(&other.source, &place.source) => {
                first = first.annotation(annotated(other, AnnotationKind::Context));
                vec![first]
            }
            Some(other) => vec![
                first,
                excerpt(other).annotation(annotated(other, AnnotationKind::Context)),
            ],
        }
    }
}

fn excerpt(place: &Place) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    Snippet::source(place.source.text.as_str()).path(place.source.name.as_str())
}

/// Spans come from a parser that met broken text: they are brought inside the text and onto
/// character boundaries, so that printing them cannot fail.
fn place(source: &Arc<SourceText>, span: Range<usize>, label: Option<String>) -> Place {
    let start = source.text.floor_char_boundary(span.start);
    let end = source.text.ceil_char_boundary(span.end.max(start));
    Place {
        source: Arc::clone(source),
        span: start..end,
        label,
    }
}

/// Everything that is wrong with a set of files: never empty.
#[derive(Clone, Debug)]
pub struct Mistakes(Vec<Mistake>);

/// How mistakes are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Palette {
    /// With ANSI colours.
    Ansi,
    /// Text only.
    Plain,
}

impl Mistakes {
    /// `Ok` if there are no mistakes, else all of them.
    ///
    /// # Errors
    /// The list is not empty.
    pub fn check(list: Vec<Mistake>) -> Result<(), Self> {
        if list.is_empty() {
            return Ok(());
        }
        Err(Self(list))
    }

    /// The mistakes, in the order of files and lines.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// The mistakes as text, each with its excerpt; no final line break.
    #[must_use]
    pub fn render(&self, palette: Palette) -> String {
        let renderer = match palette {
            Palette::Ansi => Renderer::styled(),
            Palette::Plain => Renderer::plain(),
        };
        let shown = self.0.iter().take(SHOWN);
        let mut parts: Vec<String> = shown.map(|mistake| mistake.render(&renderer)).collect();
        let more = self.0.len().saturating_sub(SHOWN);
        if more > 0 {
            parts.push(format!("and {more} more mistakes"));
        }
        parts.join("\n\n")
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

impl IntoIterator for Mistakes {
    type Item = Mistake;
    type IntoIter = std::vec::IntoIter<Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Palette::Plain))
    }
}

impl Error for Mistakes {}

/// The known word that is most like a misspelt one, if any is alike enough.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The comparison takes memory for each pair of characters; long words are not typing errors.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(text: &str) -> Arc<SourceText> {
        Arc::new(SourceText {
            name: "job.toml".into(),
            text: text.into(),
        })
    }

    #[test]
    fn a_mistake_shows_file_line_column_caret_and_help() {
        let source = source("name = \"x\"\nprots = [1]\n");
        let mistake = Mistake::new("unknown key `prots`")
            .at(&source, 11..16)
            .label("not a key of a rule")
            .help("did you mean `ports`?");
        assert_eq!(mistake.location().unwrap(), "job.toml:2");
        let text = Mistakes::from(mistake).to_string();
        for part in [
            "error: unknown key `prots`",
            "job.toml:2:1",
            "prots = [1]",
            "^^^^^ not a key of a rule",
            "help: did you mean `ports`?",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn text_of_a_file_cannot_steer_the_terminal() {
        let source = source("a = \"\x1b[2J\x07\"\n");
        let mistake = Mistake::new("bad \x1b[31m").at(&source, 4..9);
        let text = Mistakes::from(mistake).to_string();
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
    }

    #[test]
    fn words_that_are_alike_are_suggested() {
        let known = ["ports", "protocol", "private", "host"];
        assert_eq!(nearest("prots", known), Some("ports"));
        assert_eq!(nearest("protocl", known), Some("protocol"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }

    proptest! {
        #[test]
        fn rendering_survives_any_span(
            text in any::<String>(), start in 0usize..300, end in 0usize..300, other in 0usize..300,
        ) {
            let source = source(&text);
            let mistake = Mistake::new("m")
                .at(&source, start..end)
                .related(&source, other..other.saturating_add(1), "r");
            prop_assert!(Mistakes::from(mistake).to_string().contains("job.toml"));
        }
    }
}
