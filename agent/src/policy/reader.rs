//! Reads keys from TOML tables by hand, so that every mistake is found in one run and has a place.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::{Mistake, SourceText, nearest};

/// A file being read, and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Arc<SourceText>,
    mistakes: Vec<Mistake>,
    /// Lines that are not TOML: what was guessed there is not worth a second complaint.
    broken: BTreeSet<usize>,
}

/// A table, with the words for it in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'t> {
    what: &'static str,
    entries: &'t DeTable<'t>,
    start: usize,
    end: usize,
}

/// The keys of one kind of table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// What such a table is, with its article.
    pub(crate) what: &'static str,
    /// The keys it may have.
    pub(crate) keys: &'static [&'static str],
    /// Keys of later versions, with what they will be for.
    pub(crate) later: &'static [(&'static str, &'static str)],
}

impl Reader {
    /// Parses a file and hands its root table to `read`; returns what that made of it, and all
    /// mistakes in the order of the text.
    pub(crate) fn run<T>(
        source: &Arc<SourceText>,
        schema: &Schema,
        read: impl FnOnce(&mut Self, Table<'_>) -> T,
    ) -> (T, Vec<Mistake>) {
        let (root, errors) = DeTable::parse_recoverable(source.text());
        let mut reader = Self {
            source: Arc::clone(source),
            mistakes: Vec::new(),
            broken: BTreeSet::new(),
        };
        for error in &errors {
            reader.syntax(error);
        }
        let table = reader.table(schema, root.get_ref(), 0..0);
        let value = read(&mut reader, table);
        reader.mistakes.sort_by_key(Mistake::offset);
        (value, reader.mistakes)
    }

    /// The file.
    pub(crate) fn source(&self) -> &Arc<SourceText> {
        &self.source
    }

    /// Notes a mistake at a place; further words can be added to what is returned.
    pub(crate) fn push(&mut self, span: &Range<usize>, mistake: Mistake) {
        if !self.broken.contains(&self.source.line(span.start)) {
            self.mistakes
                .push(mistake.at_if_none(&self.source, span.clone()));
        }
    }

    /// The entries of a table, after complaining about those it must not have.
    pub(crate) fn table<'t>(
        &mut self,
        schema: &Schema,
        entries: &'t DeTable<'t>,
        span: Range<usize>,
    ) -> Table<'t> {
        for key in entries.keys() {
            let name: &str = key.get_ref();
            if !schema.keys.contains(&name) {
                self.push(&key.span(), unknown_key(schema, name));
            }
        }
        Table {
            what: schema.what,
            entries,
            start: span.start,
            end: span.end,
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T>(
        &mut self,
        table: Table<'_>,
        key: &str,
        example: &str,
        value: Option<T>,
    ) -> Option<T> {
        // Where the text is broken, the key may well be there.
        if !table.entries.contains_key(key) && self.broken.is_empty() {
            let what = table.what;
            let mistake =
                Mistake::new(format!("{what} needs `{key}`")).help(format!("add {example}"));
            self.push(&(table.start..table.end), mistake);
        }
        value
    }

    /// Text.
    pub(crate) fn string<'t>(&mut self, table: Table<'t>, key: &str) -> Option<Spanned<&'t str>> {
        let value = table.entries.get(key)?;
        self.as_string(key, value)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, table: Table<'_>, key: &str) -> Option<Spanned<bool>> {
        let value = table.entries.get(key)?;
        let found = value.get_ref().as_bool();
        self.typed(key, value, "true or false", found)
    }

    /// A whole number.
    pub(crate) fn integer(&mut self, table: Table<'_>, key: &str) -> Option<Spanned<i64>> {
        let value = table.entries.get(key)?;
        let found = as_i64(value.get_ref());
        self.typed(key, value, "a whole number", found)
    }

    /// A list, with its place.
    pub(crate) fn array<'t>(
        &mut self,
        table: Table<'t>,
        key: &str,
    ) -> Option<Spanned<&'t DeArray<'t>>> {
        let value = table.entries.get(key)?;
        let found = value.get_ref().as_array();
        self.typed(key, value, "a list", found)
    }

    /// A list of texts.
    pub(crate) fn strings<'t>(
        &mut self,
        table: Table<'t>,
        key: &str,
    ) -> Option<Spanned<Vec<Spanned<&'t str>>>> {
        let array = self.array(table, key)?;
        let items = array.get_ref().iter();
        let texts = items
            .filter_map(|item| self.as_string(key, item))
            .collect::<Vec<_>>();
        Some(Spanned::new(array.span(), texts))
    }

    /// A table below another.
    pub(crate) fn child<'t>(
        &mut self,
        table: Table<'t>,
        key: &str,
        schema: &Schema,
    ) -> Option<Table<'t>> {
        let value = table.entries.get(key)?;
        self.as_table(key, value, schema)
    }

    /// A value that must be a table.
    pub(crate) fn as_table<'t>(
        &mut self,
        key: &str,
        value: &'t Spanned<DeValue<'t>>,
        schema: &Schema,
    ) -> Option<Table<'t>> {
        let found = value.get_ref().as_table();
        let found = self.typed(key, value, "a table", found)?;
        Some(self.table(schema, found.get_ref(), value.span()))
    }

    fn as_string<'t>(
        &mut self,
        key: &str,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Option<Spanned<&'t str>> {
        let found = value.get_ref().as_str();
        self.typed(key, value, "text in quotes", found)
    }

    fn typed<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
        found: Option<T>,
    ) -> Option<Spanned<T>> {
        if found.is_none() {
            let kind = kind(value.get_ref());
            let mistake = Mistake::new(format!("`{key}` must be {wanted}"));
            self.push_labelled(&value.span(), mistake, format!("this is {kind}"));
        }
        found.map(|found| Spanned::new(value.span(), found))
    }

    /// Notes a mistake with a few words beside the caret.
    pub(crate) fn push_labelled(
        &mut self,
        span: &Range<usize>,
        mistake: Mistake,
        label: impl Into<String>,
    ) {
        let mistake = mistake.at(&self.source, span.clone()).label(label);
        self.push(span, mistake);
    }

    fn syntax(&mut self, error: &toml::de::Error) {
        // Errors without a place are about the end of the file.
        let end = self.source.text().len();
        let span = error.span().unwrap_or(end..end);
        let mistake = Mistake::new(error.message())
            .at(&self.source, span.clone())
            .label("this is not TOML");
        self.mistakes.push(mistake);
        self.broken.insert(self.source.line(span.start));
    }
}

impl<'t> Table<'t> {
    /// Whether it has the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where a key's value is, or the table itself if it has no such key.
    pub(crate) fn span_of(&self, key: &str) -> Range<usize> {
        match self.entries.get(key) {
            Some(value) => value.span(),
            None => self.span(),
        }
    }

    /// Where it is: its header, or its braces.
    pub(crate) fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The value of a key, as TOML has it.
    pub(crate) fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries.get(key)
    }
}

/// A whole number, if it is one and fits.
pub(crate) fn as_i64(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn unknown_key(schema: &Schema, name: &str) -> Mistake {
    if let Some((_, purpose)) = schema.later.iter().find(|(key, _)| *key == name) {
        return Mistake::new(format!("not yet: `{name}` ({purpose})"))
            .help("this version cannot enforce it; remove it until one that can is installed");
    }
    let keys = schema.keys.join("`, `");
    Mistake::new(format!("unknown key `{name}` in {}", schema.what)).help(
        match nearest(name, schema.keys.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys of {} are `{keys}`", schema.what),
        },
    )
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
