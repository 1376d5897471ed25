//! Mistakes in files people write, shown with file, line, column and a caret.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

pub use self::source::SourceText;

mod source;

/// Mistakes that are printed in full; a file can hold hundreds of thousands.
const SHOWN: usize = 100;

/// Longest piece of a file that is shown with one mistake.
const EXCERPT_BYTES: usize = 4096;

/// Longest message or help, in characters: keys and names that are quoted can be as long as a file.
const MESSAGE_CHARACTERS: usize = 300;

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
            message: shortened(message.into()),
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

    /// The file it is in.
    pub(crate) fn file(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.source.name())
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
        self.help.push(shortened(help.into()));
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
        Some(format!("{}:{line}", place.source.name()))
    }

    fn render(&self, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let help = self
            .help
            .iter()
            .map(|help| Level::HELP.message(help.as_str()));
        let group = Group::with_title(title)
            .elements(self.excerpts())
            .elements(help);
        renderer.render(&[group])
    }

    /// One excerpt with both places if they are near one another, else one for each.
    fn excerpts(&self) -> Vec<Element<'_>> {
        let Some(place) = &self.place else {
            return Vec::new();
        };
        let primary = (place, AnnotationKind::Primary);
        let Some(other) = &self.related else {
            return vec![excerpt(&[primary])];
        };
        let context = (&**other, AnnotationKind::Context);
        let near = place.span.start.abs_diff(other.span.start) < EXCERPT_BYTES / 2;
        if Arc::ptr_eq(&place.source, &other.source) && near {
            return vec![excerpt(&[primary, context])];
        }
        vec![excerpt(&[primary]), excerpt(&[context])]
    }
}

/// The lines of some places in one file. Where they are too long to be shown, file, line and column
/// only.
fn excerpt<'m>(places: &[(&'m Place, AnnotationKind)]) -> Element<'m> {
    let Some((first, _)) = places.first() else {
        return Element::Padding(annotate_snippets::Padding);
    };
    let source = &*first.source;
    let starts = places.iter().map(|(place, _)| place.span.start);
    let ends = places.iter().map(|(place, _)| place.span.end);
    let start = source.line_start(starts.min().unwrap_or_default());
    let end = source.line_end(ends.max().unwrap_or_default());
    let lines = source.text().get(start..end).unwrap_or_default();
    if lines.len() > EXCERPT_BYTES {
        return first.origin().into();
    }
    let annotations = places.iter().map(|(place, kind)| {
        let span = &place.span;
        kind.span(span.start.saturating_sub(start)..span.end.saturating_sub(start))
            .label(place.label.as_deref())
    });
    Snippet::source(lines)
        .path(source.name())
        .line_start(source.line(start))
        .annotations(annotations)
        .into()
}

impl Place {
    /// File, line and column without the text.
    fn origin(&self) -> Origin<'_> {
        let start = self.source.line_start(self.span.start);
        let before = self.source.text().get(start..self.span.start);
        let column = before.unwrap_or_default().chars().count();
        Origin::path(self.source.name())
            .line(self.source.line(self.span.start))
            .char_column(column.saturating_add(1))
    }
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MESSAGE_CHARACTERS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Spans come from a parser that met broken text: they are brought inside the text and onto
/// character boundaries, so that printing them cannot fail.
fn place(source: &Arc<SourceText>, span: Range<usize>, label: Option<String>) -> Place {
    let start = source.text().floor_char_boundary(span.start);
    let end = source.text().ceil_char_boundary(span.end.max(start));
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
        Arc::new(SourceText::new("job.toml", text))
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

    #[test]
    fn a_place_on_an_endless_line_is_named_without_the_line() {
        let source = source(&format!("# first\n{}", "x".repeat(10_000)));
        let text = Mistakes::from(Mistake::new("m").at(&source, 5000..5001)).to_string();
        assert_eq!(text, "error: m\n--> job.toml:2:4993");
        let long = Mistakes::from(Mistake::new("ü".repeat(10_000))).to_string();
        assert!(long.len() < 1000, "{}", long.len());
    }

    proptest! {
        #[test]
        fn rendering_survives_any_span(
            text in "[^\\n]{0,60}(\\PC{0,90}\\r?\\n){0,4}.*", start in 0usize..300, end in 0usize..300, other in 0usize..300,
        ) {
            let source = source(&text);
            let mistake = Mistake::new("m")
                .at(&source, start..end)
                .related(&source, other..other.saturating_add(1), "r");
            prop_assert!(Mistakes::from(mistake).to_string().contains("job.toml"));
        }
    }
}
