//! What changed, for a person at a terminal. Pure.

use super::{Changed, Changes, Diff, Entry, Side, Volume};
use crate::report::ReportMode;
use crate::report::escape::escape;
use crate::report::text::layout::{Column, Page, Row, Table, Tone};
use crate::report::text::quantity::{bytes, time};

/// The changes as text of at most `width` columns (but not below 40).
#[must_use]
pub fn render(diff: &Diff, width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    page.fact("Before", Tone::Plain, &side(&diff.before));
    page.fact("After", Tone::Strong, &side(&diff.after));
    if diff.is_empty() {
        page.gap();
        page.line(Tone::Good, "Nothing changed.");
        return page.into_text();
    }
    if !diff.facts.is_empty() {
        page.gap();
        page.line(Tone::Strong, "Made differently");
    }
    for fact in &diff.facts {
        let (before, after) = (escape(&fact.before), escape(&fact.after));
        page.fact(fact.what, Tone::Warn, &format!("{after} (was {before})"));
    }
    list(&mut page, "Denied", &diff.denied, Tone::Bad);
    list(&mut page, "Names refused", &diff.names_refused, Tone::Bad);
    list(&mut page, "Allowed", &diff.allowed, Tone::Warn);
    if let Some(secrets) = &diff.secrets {
        list(&mut page, "Secrets found", secrets, Tone::Bad);
    }
    list(&mut page, "Rules", &diff.rules, Tone::Warn);
    page.into_text()
}

fn side(side: &Side) -> String {
    let mode = match side.mode {
        ReportMode::Audit => "AUDIT",
        ReportMode::Enforce => "enforce",
    };
    format!("{}, {}, {mode}", escape(&side.job), time(side.started))
}

fn list(page: &mut Page, title: &str, changes: &Changes, new: Tone) {
    if changes.is_empty() {
        return;
    }
    let Changes {
        new: added,
        gone,
        changed,
        same,
    } = changes;
    page.gap();
    page.line(
        Tone::Strong,
        &format!(
            "{title}: {} new, {} gone, {} changed, {same} as before",
            added.len(),
            gone.len(),
            changed.len()
        ),
    );
    let mut rows = Vec::new();
    rows.extend(added.iter().map(|entry| row("new", new, entry)));
    rows.extend(changed.iter().map(changed_row));
    rows.extend(gone.iter().map(|entry| row("gone", Tone::Faint, entry)));
    page.table(&Table {
        columns: [
            Column::Text(""),
            Column::Text("WHAT"),
            Column::Number("TIMES"),
            Column::Number("OUT"),
            Column::Number("IN"),
        ],
        rows,
    });
}

fn row(word: &str, tone: Tone, entry: &Entry) -> Row<5> {
    let Volume {
        count,
        bytes_out,
        bytes_in,
    } = entry.volume;
    let shown = |number: u64, text: String| if number == 0 { String::new() } else { text };
    Row {
        cells: [
            word.to_owned(),
            escape(&entry.what).into_owned(),
            shown(count, count.to_string()),
            shown(bytes_out, bytes(bytes_out)),
            shown(bytes_in, bytes(bytes_in)),
        ],
        tone,
        notes: vec![],
    }
}

fn changed_row(changed: &Changed) -> Row<5> {
    let Changed {
        what,
        before,
        after,
    } = changed;
    let was = |old: u64, new: u64, shown: &dyn Fn(u64) -> String| {
        if old == new {
            shown(new)
        } else {
            format!("{} (was {})", shown(new), shown(old))
        }
    };
    Row {
        cells: [
            "changed".to_owned(),
            escape(what).into_owned(),
            was(before.count, after.count, &|number| number.to_string()),
            was(before.bytes_out, after.bytes_out, &bytes),
            was(before.bytes_in, after.bytes_in, &bytes),
        ],
        tone: Tone::Warn,
        notes: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::escape::tests::HOSTILE;
    use crate::report::fixture;
    use crate::report::text::tests::{harmful, uncoloured};

    fn changed() -> Diff {
        let before = fixture::report();
        let mut after = fixture::report();
        after.flows[0].bytes_in = 900;
        after.flows.remove(1);
        after.denials.remove(2);
        after.denials[0].destination.names = vec!["new.example.org".into()];
        after.policy.rules.remove(2);
        Diff::new((&before, None), (&after, None))
    }

    #[test]
    fn the_text_is_the_golden_one() {
        fixture::assert_golden("diff-100.txt", &render(&changed(), 100, false));
        assert_eq!(
            uncoloured(&render(&changed(), 100, true)),
            render(&changed(), 100, false)
        );
    }

    #[test]
    fn hostile_words_are_harmless() {
        for words in HOSTILE {
            let (before, after) = (fixture::report(), fixture::report_saying(words));
            let diff = Diff::new((&before, None), (&after, None));
            assert!(!harmful(&render(&diff, 80, false)), "{words:?}");
        }
    }
}
