//! Documents as people write and read them.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use serde_json::{Map, Value};

use super::Kind;
use crate::{exit::Failure, output::printable};

/// Members of an answer that are not of the document.
const BESIDE: [&str; 5] = ["id", "source", "updated", "secrets", "tenant"];

/// A document of a file, in TOML or JSON; `None` where none is named.
pub(super) fn read(file: Option<&Path>) -> Result<Option<Map<String, Value>>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let shown = file.display().to_string();
    let mut text = String::new();
    let read = match shown.as_str() {
        "-" => io::stdin().lock().read_to_string(&mut text),
        _ => fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::io(format!("cannot read {shown}"), &error))?;
    parse(&text)
        .map(Some)
        .map_err(|reason| Failure::other(format!("{shown}: {reason}")))
}

/// JSON begins with a brace, and no TOML does.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| format!("no JSON object: {error}"));
    }
    toml::from_str(text).map_err(|error| format!("no TOML: {error}"))
}

/// A document for people: what is the node's to say in comments, the rest as the configuration file has it. It
/// can be changed, and given back by `--file`.
pub(super) fn text(answer: &Value) -> Result<String, Failure> {
    let mut text = String::new();
    for name in BESIDE {
        match &answer[name] {
            Value::Null => {}
            Value::String(value) => text.push_str(&format!("# {name}: {}\n", printable(value))),
            other => text.push_str(&format!("# {name}: {other}\n")),
        }
    }
    let document = toml::to_string(&members_of(answer)).map_err(|error| {
        Failure::other(format!("cannot be shown as TOML, only by --json: {error}"))
    })?;
    text.push_str(document.trim_end());
    Ok(text)
}

/// The document of an answer alone.
pub(super) fn members_of(answer: &Value) -> Map<String, Value> {
    let mut members = answer.as_object().cloned().unwrap_or_default();
    members.retain(|name, value| !BESIDE.contains(&name.as_str()) && !value.is_null());
    members
}

/// Puts what is given in the place of what is there, member by member, and in tables likewise.
pub(super) fn merge<K: Kind>(document: &mut Map<String, Value>, given: Value) {
    let Value::Object(given) = given else { return };
    if K::ONE_OF.iter().any(|name| given.contains_key(*name)) {
        document.retain(|name, _| !K::ONE_OF.contains(&name.as_str()));
    }
    put(document, given);
}

fn put(document: &mut Map<String, Value>, given: Map<String, Value>) {
    for (name, value) in given {
        match (document.get_mut(&name), value) {
            (Some(Value::Object(before)), Value::Object(value)) => put(before, value),
            (_, value) => {
                document.insert(name, value);
            }
        }
    }
}

/// Takes a member away: `ring_timeout`, or `forward.busy` of a table.
pub(super) fn unset(document: &mut Map<String, Value>, member: &str) -> Result<(), Failure> {
    let (table, last) = match member.rsplit_once('.') {
        None => (Some(document), member),
        Some((path, last)) => {
            let table = path.split('.').try_fold(document, |table, name| {
                table.get_mut(name).and_then(Value::as_object_mut)
            });
            (table, last)
        }
    };
    match table.and_then(|table| table.remove(last)) {
        Some(_) => Ok(()),
        None => Err(Failure::other(format!(
            "it has no member '{member}' that could be taken away; nothing was changed"
        ))),
    }
}

/// Without what is not given: `null`, and empty lists and tables.
pub(super) fn given(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members
                .into_iter()
                .map(|(name, value)| (name, given(value)));
            Value::Object(members.filter(|(_, value)| !is_nothing(value)).collect())
        }
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::numbers::NumberMembers, *};

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_shown_can_be_given_back() {
        let answer = json!({
            "id": "r1", "source": "store", "updated": null, "tenant": "acme",
            "prefix": "+49", "trunks": [{ "trunk": "a", "cost": 0.5 }], "ring_timeout": 60,
        });
        let text = text(&answer).unwrap();
        assert!(
            text.starts_with("# id: r1\n# source: store\n# tenant: acme\n"),
            "{text}"
        );
        assert_eq!(parse(&text).unwrap(), members_of(&answer));
        assert_eq!(parse(" {\"a\": 1}").unwrap(), object(&json!({ "a": 1 })));
        for wrong in ["{", "a = ", "[]"] {
            parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn one_place_takes_the_place_of_another_and_the_rest_stays() {
        let mut number = object(&json!({
            "number": "100", "user": "alice", "ring_timeout": 20,
            "forward": { "busy": "200", "no_answer": "300" },
        }));
        let change = json!({ "group": "sales", "forward": { "busy": "201" } });
        merge::<NumberMembers>(&mut number, change);
        assert_eq!(
            Value::Object(number.clone()),
            json!({
                "number": "100", "group": "sales", "ring_timeout": 20,
                "forward": { "busy": "201", "no_answer": "300" },
            })
        );
        unset(&mut number, "forward.busy").unwrap();
        unset(&mut number, "ring_timeout").unwrap();
        assert_eq!(number["forward"], json!({ "no_answer": "300" }));
        for missing in ["ring_timeout", "forward.busy", "number.x", "x.y"] {
            unset(&mut number, missing).unwrap_err();
        }
    }
}
