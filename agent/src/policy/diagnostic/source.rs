//! A file as text, and where its lines are.

/// A file as it was read, and the name it goes by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceText {
    name: String,
    text: String,
    /// Where each line but the first begins: files can have as many mistakes as lines.
    breaks: Vec<usize>,
}

impl SourceText {
    /// A file of this name with this text.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let breaks = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        Self {
            name: name.into(),
            breaks: breaks.collect(),
            text,
        }
    }

    /// Its path, or `built-in:NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line of a byte, counted from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.breaks_before(offset).saturating_add(1)
    }

    /// Where the line of a byte begins.
    pub(super) fn line_start(&self, offset: usize) -> usize {
        let index = self.breaks_before(offset).checked_sub(1);
        let start = index.and_then(|index| self.breaks.get(index));
        start.copied().unwrap_or(0)
    }

    /// Where the line of a byte ends, its line break not included.
    pub(super) fn line_end(&self, offset: usize) -> usize {
        match self.breaks.get(self.breaks_before(offset)) {
            Some(next) => next.saturating_sub(1).max(offset),
            None => self.text.len(),
        }
    }

    /// A line, counted from 1, without what is blank before it and its line break.
    pub(crate) fn span_of_line(&self, line: usize) -> std::ops::Range<usize> {
        let before = line.checked_sub(2).map(|index| self.breaks.get(index));
        let start = before.map_or(Some(0), Option::<&usize>::copied);
        let Some(start) = start.filter(|_| line > 0) else {
            return 0..0;
        };
        let end = self.line_end(start);
        let text = self.text.get(start..end).unwrap_or_default();
        let blank = text.len().saturating_sub(text.trim_start().len());
        start.saturating_add(blank)..end
    }

    fn breaks_before(&self, offset: usize) -> usize {
        self.breaks.partition_point(|start| *start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_where_the_line_breaks_say(text in "[ab\n]{0,30}", at in 0usize..30) {
            let at = at.min(text.len());
            let source = SourceText::new("x", text.clone());
            let (before, after) = text.split_at(at);
            let start = before.rfind('\n').map_or(0, |found| found.saturating_add(1));
            let end = at.saturating_add(after.find('\n').unwrap_or(after.len()));
            prop_assert_eq!(source.line(at), before.matches('\n').count().saturating_add(1));
            prop_assert_eq!(source.line_start(at), start);
            prop_assert_eq!(source.line_end(at), end);
        }
    }
}
