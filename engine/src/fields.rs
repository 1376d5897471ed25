//! JSON objects of requests, field by field: what is in no table and says something is refused.
//!
//! The engine takes a key in any case of its letters; a key in another case is in no table, and so is
//! never passed on. What is passed on is written anew from what was read.

use serde_json::{Map, Value};

use crate::refusal::{Refusal, printable};

/// A JSON object.
pub type Object = Map<String, Value>;

/// What is done about one field.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Passed on.
    Keep,
    /// Judged by code of its own, and passed on as that leaves it.
    Judged,
    /// Left out: it tells of the client alone.
    Drop,
    /// Refused if it says something, with these words.
    Refuse(&'static str),
}

/// A field and its rule.
pub type Field = (&'static str, Rule);

/// Reads the one object of a request.
///
/// # Errors
/// It is none.
pub fn object(bytes: &[u8]) -> Result<Object, Refusal> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Refusal::unknown("a request whose body is no JSON object")),
    }
}

/// Applies a table. `what` names the object in refusals, as `HostConfig`.
///
/// # Errors
/// A field is refused, or is in no table.
pub fn apply(what: &str, object: &mut Object, table: &[Field]) -> Result<(), Refusal> {
    let name = |key: &str| {
        let dot = if what.is_empty() { "" } else { "." };
        format!("`{what}{dot}{}`", printable(key))
    };
    let mut kept = Object::new();
    for (key, value) in std::mem::take(object) {
        let rule = table.iter().find(|(known, _)| *known == key);
        match rule.map(|(_, rule)| *rule) {
            Some(Rule::Keep | Rule::Judged) => {
                kept.insert(key, value);
            }
            Some(Rule::Refuse(why)) if says_something(&value) => {
                return Err(Refusal::forbidden(name(&key), why));
            }
            None if says_something(&value) => {
                return Err(Refusal::unknown(format!("the field {}", name(&key))));
            }
            Some(Rule::Drop | Rule::Refuse(_)) | None => {}
        }
    }
    *object = kept;
    Ok(())
}

/// Whether a value differs from what leaving it out means.
#[must_use]
pub fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(says_something),
        Value::Object(object) => !object.is_empty(),
    }
}

/// A text; empty if it is not there.
///
/// # Errors
/// It is no text.
pub fn text(object: &Object, key: &str) -> Result<String, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(wrong(key, "a text")),
    }
}

/// A list of texts; empty if it is not there.
///
/// # Errors
/// It is no such list.
pub fn texts(object: &Object, key: &str) -> Result<Vec<String>, Refusal> {
    let list = match object.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong(key, "a list of texts")),
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts: Option<Vec<String>> = list.iter().map(text).collect();
    texts.ok_or_else(|| wrong(key, "a list of texts"))
}

/// An object inside; empty if it is not there. It is taken out.
///
/// # Errors
/// It is no object.
pub fn child(object: &mut Object, key: &str) -> Result<Object, Refusal> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(child)) => Ok(child),
        Some(_) => Err(wrong(key, "an object")),
    }
}

/// A list inside; empty if it is not there. It is taken out.
///
/// # Errors
/// It is no list.
pub fn list(object: &mut Object, key: &str) -> Result<Vec<Value>, Refusal> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(wrong(key, "a list")),
    }
}

/// A field of another type than its own.
#[must_use]
pub fn wrong(key: &str, expected: &str) -> Refusal {
    Refusal::unknown(format!("`{}` that is not {expected}", printable(key)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &[Field] = &[
        ("Keep", Rule::Keep),
        ("Drop", Rule::Drop),
        ("No", Rule::Refuse("for a reason")),
    ];

    fn applied(value: &Value) -> Result<Value, Refusal> {
        let mut object = object(value.to_string().as_bytes())?;
        apply("Top", &mut object, TABLE)?;
        Ok(Value::Object(object))
    }

    #[test]
    fn a_table_is_all_there_is() {
        let whole = json!({"Keep": 1, "Drop": 2, "No": 0, "Other": [[], "", null]});
        assert_eq!(applied(&whole).unwrap(), json!({"Keep": 1}));
        let refusal = applied(&json!({"No": true})).unwrap_err();
        assert_eq!(refusal.message, "cordon: `Top.No` is refused: for a reason");
        assert_eq!(applied(&json!({"Other": 1})).unwrap_err().status, 400);
    }

    #[test]
    fn letters_of_another_case_are_another_field() {
        applied(&json!({"no": true})).unwrap_err();
        applied(&json!({"keep": 1})).unwrap_err();
    }
}
