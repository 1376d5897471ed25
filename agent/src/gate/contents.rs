//! What a policy asks of the contents of another piece: values at places, and the same entries as in another
//! document. Pure.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Number, Value};

use super::policy::{Claim, Parity, Says};

/// Entries that are told where two documents differ.
const TOLD: usize = 3;

/// Why a document does not say what is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Unmet {
    /// It says something else.
    Otherwise(String),
    /// It has nothing there, or nothing of the kind.
    Unreadable(String),
}

/// Whether a document says it.
pub(super) fn says(claim: &Claim, document: &Value) -> Result<(), Unmet> {
    let at = &claim.at;
    let Some(value) = document.pointer(at) else {
        return Err(Unmet::Unreadable(format!("it has nothing at `{at}`")));
    };
    let met = match &claim.says {
        Says::Is(wanted) => value == wanted,
        Says::AtMost(most) => number(value, at)?.is_some_and(|order| order(most).is_le()),
        Says::AtLeast(least) => number(value, at)?.is_some_and(|order| order(least).is_ge()),
    };
    if met {
        return Ok(());
    }
    Err(Unmet::Otherwise(format!(
        "at `{at}` it says {}, and the policy asks for {}",
        short(value),
        claim.says
    )))
}

/// How a number compares to others. `None`: it compares to none.
fn number(value: &Value, at: &str) -> Result<Option<impl Fn(&Number) -> Ordering>, Unmet> {
    let Value::Number(found) = value else {
        let text = format!("at `{at}` it has {}, which is no number", short(value));
        return Err(Unmet::Unreadable(text));
    };
    let (whole, real) = (found.as_i64(), found.as_f64());
    Ok(real.map(|real| {
        move |limit: &Number| match (whole, limit.as_i64()) {
            (Some(whole), Some(limit)) => whole.cmp(&limit),
            _ => limit
                .as_f64()
                .map_or(Ordering::Greater, |limit| real.total_cmp(&limit)),
        }
    }))
}

/// Whether two documents have the same entries.
pub(super) fn same(parity: &Parity, one: &Value, other: &Value) -> Result<(), Unmet> {
    let (here, there) = (entries(parity, one)?, entries(parity, other)?);
    let differences: Vec<_> = here
        .difference(&there)
        .map(|entry| format!("only here: {entry}"))
        .chain(
            there
                .difference(&here)
                .map(|entry| format!("only there: {entry}")),
        )
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = differences.iter().take(TOLD).map(String::as_str).collect();
    let rest = differences.len().saturating_sub(told.len());
    let rest = if rest == 0 {
        String::new()
    } else {
        format!("; and {rest} more")
    };
    Err(Unmet::Otherwise(format!(
        "it has not the entries of `{}`: {}{rest}",
        parity.with,
        told.join("; ")
    )))
}

/// Entries of the list, each as the values that identify it.
fn entries(parity: &Parity, document: &Value) -> Result<BTreeSet<String>, Unmet> {
    let at = &parity.at;
    let Some(Value::Array(list)) = document.pointer(at) else {
        return Err(Unmet::Unreadable(format!("there is no list at `{at}`")));
    };
    let entry = |item: &Value| {
        let values: Vec<_> = (parity.by.iter())
            .map(|pointer| item.pointer(pointer).unwrap_or(&Value::Null))
            .collect();
        if values.iter().all(|value| value.is_null()) {
            let text = format!("an entry of `{at}` has none of what entries are known by");
            return Err(Unmet::Unreadable(text));
        }
        Ok(values.into_iter().map(short).collect::<Vec<_>>().join(" "))
    };
    list.iter().map(entry).collect()
}

/// A value, as JSON.
fn short(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn claim(at: &str, says: Says) -> Claim {
        Claim {
            at: at.to_owned(),
            says,
        }
    }

    #[test]
    fn a_value_is_compared_as_what_it_is() {
        let document = json!({"a": {"ok": true, "n": 3, "r": 0.5, "t": "x"}});
        let met = |at: &str, wanted: Says| says(&claim(at, wanted), &document);
        met("/a/ok", Says::Is(json!(true))).unwrap();
        met("/a/t", Says::Is(json!("x"))).unwrap();
        met("/a/n", Says::AtMost(3.into())).unwrap();
        met("/a/n", Says::AtLeast(3.into())).unwrap();
        met("/a/r", Says::AtMost(1.into())).unwrap();
        for (at, wanted) in [
            ("/a/ok", Says::Is(json!("true"))),
            ("/a/n", Says::Is(json!("3"))),
            ("/a/n", Says::AtMost(2.into())),
            ("/a/n", Says::AtLeast(4.into())),
            ("/a/r", Says::AtLeast(1.into())),
        ] {
            assert!(matches!(met(at, wanted), Err(Unmet::Otherwise(_))), "{at}");
        }
        for (at, wanted) in [
            ("/a/none", Says::Is(json!(true))),
            ("/a/t", Says::AtMost(3.into())),
            ("/a/ok", Says::AtLeast(0.into())),
        ] {
            assert!(matches!(met(at, wanted), Err(Unmet::Unreadable(_))), "{at}");
        }
    }

    fn parity() -> Parity {
        Parity {
            with: "b.json".to_owned(),
            at: "/components".to_owned(),
            by: vec!["/name".to_owned(), "/version".to_owned()],
        }
    }

    #[test]
    fn lists_are_the_same_whatever_their_order() {
        let one = json!({"components": [{"name": "a", "version": "1"}, {"name": "b"}]});
        let other =
            json!({"components": [{"name": "b", "arch": "arm64"}, {"name": "a", "version": "1"}]});
        same(&parity(), &one, &other).unwrap();
        let newer = json!({"components": [{"name": "a", "version": "2"}, {"name": "b"}]});
        let Err(Unmet::Otherwise(text)) = same(&parity(), &one, &newer) else {
            panic!("they are the same");
        };
        assert!(
            text.contains("only here: \"a\" \"1\"; only there: \"a\" \"2\""),
            "{text}"
        );
        for broken in [
            json!({}),
            json!({"components": {}}),
            json!({"components": [{"x": 1}]}),
        ] {
            assert!(matches!(
                same(&parity(), &one, &broken),
                Err(Unmet::Unreadable(_))
            ));
            assert!(matches!(
                same(&parity(), &broken, &one),
                Err(Unmet::Unreadable(_))
            ));
        }
    }

    proptest! {
        #[test]
        fn one_more_entry_is_always_noticed(
            names in proptest::collection::btree_set("[a-d \"]{1,3}", 1..6),
            extra in "[e-h]{1,3}",
        ) {
            let list = |names: &[String]| {
                let items: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
                json!({"components": items})
            };
            let names: Vec<_> = names.into_iter().collect();
            let mut more = names.clone();
            more.push(extra);
            let (few, more) = (list(&names), list(&more));
            prop_assert!(same(&parity(), &few, &few).is_ok());
            prop_assert!(same(&parity(), &few, &more).is_err());
            prop_assert!(same(&parity(), &more, &few).is_err());
        }

        #[test]
        fn a_number_is_at_most_or_more(found: i64, limit: i64) {
            let document = json!({"n": found});
            let most = says(&claim("/n", Says::AtMost(limit.into())), &document);
            prop_assert_eq!(most.is_ok(), found <= limit);
        }
    }
}
