//! What an application says, and what it is answered.

use serde::Deserialize;
use serde_json::{Value, json};
use voice::twiml::Document;

use super::order::{Order, do_next};

/// What an application has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What is done next, where this id has been asked. Its verbs have been looked at.
    Answer {
        id: String,
    },
    Order {
        id: Option<String>,
        order: Order,
    },
}

/// What is wrong with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) id: Option<String>,
    pub(super) why: String,
}

/// Reads a message.
pub(super) fn read(text: &str) -> Result<Said, Wrong> {
    let value: Value = serde_json::from_str(text).map_err(|error| Wrong {
        id: None,
        why: format!("this is not JSON: {error}"),
    })?;
    let Some(object) = value.as_object() else {
        return Err(Wrong {
            id: None,
            why: "a message is an object".to_owned(),
        });
    };
    // A number will do: it comes back as it is written.
    let id = match object.get("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(id) => Some(id.to_string()),
    };
    let wrong = |why: String| Wrong {
        id: id.clone(),
        why,
    };
    let kind = match object.get("type") {
        None => None,
        Some(Value::String(kind)) => Some(kind.as_str()),
        Some(_) => return Err(wrong("type is a text".to_owned())),
    };
    let order = match kind {
        None | Some("answer") => {
            Document::parse_json(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
            let id = id.ok_or_else(|| Wrong {
                id: None,
                why: "an answer has the id of the message that it answers; what is said without \
                      being asked has a type, such as call.update"
                    .to_owned(),
            })?;
            return Ok(Said::Answer { id });
        }
        Some("call.update") => typed::<Update>(&value).and_then(|update| {
            Ok(Order::Update {
                call: update.call,
                next: do_next(update.verbs, update.url)?
                    .ok_or_else(|| "call.update has verbs, or a url".to_owned())?,
            })
        }),
        Some("call.hangup") => {
            typed::<HangUp>(&value).map(|order| Order::HangUp { call: order.call })
        }
        Some("call.create") => typed(&value).and_then(Order::create),
        Some(kind) => {
            let kind: String = kind.chars().take(40).collect();
            Err(format!(
                "{kind:?} is no type of message: write call.update, call.hangup or call.create"
            ))
        }
    };
    let order = order.map_err(wrong)?;
    Ok(Said::Order { id, order })
}

#[derive(Deserialize)]
struct Update {
    call: String,
    verbs: Option<Value>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct HangUp {
    call: String,
}

fn typed<T: for<'a> Deserialize<'a>>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

/// What was asked for is done.
pub(super) fn done(id: Option<&str>, call: &str) -> String {
    json!({"type": "ok", "id": id, "call": call}).to_string()
}

/// Why a message is not followed.
pub(super) fn error(id: Option<&str>, why: &str) -> String {
    json!({"type": "error", "id": id, "message": why}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_an_id_and_verbs() {
        let id = "7".to_owned();
        for text in [
            r#"{"id": "7", "verbs": []}"#,
            r#"{"id": 7, "type": "answer", "verbs": ["hangup"]}"#,
        ] {
            assert_eq!(read(text), Ok(Said::Answer { id: id.clone() }));
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        for (text, id, expected) in [
            ("", None, "not JSON"),
            ("{", None, "not JSON"),
            ("[]", None, "an object"),
            ("7", None, "an object"),
            (r#"{"verbs": []}"#, None, "has the id"),
            (r#"{"id": "1"}"#, Some("1"), "no list of verbs"),
            (r#"{"id": "1", "verbs": {}}"#, Some("1"), "no list of verbs"),
            (r#"{"id": "1", "type": 7}"#, Some("1"), "type is a text"),
            (
                r#"{"id": "1", "type": "call.dance"}"#,
                Some("1"),
                "\"call.dance\" is no type",
            ),
            (
                r#"{"type": "call.update", "verbs": []}"#,
                None,
                "missing field `call`",
            ),
            (
                r#"{"type": "call.update", "call": "CA1"}"#,
                None,
                "has verbs, or a url",
            ),
            (
                r#"{"type": "call.update", "call": "CA1", "verbs": 7}"#,
                None,
                "no list of verbs",
            ),
            (
                r#"{"type": "call.hangup", "call": 7}"#,
                None,
                "expected a string",
            ),
            (
                r#"{"type": "call.create", "from": "+15550100"}"#,
                None,
                "missing field `to`",
            ),
            (
                r#"{"type": "call.create", "from": "x y", "to": "100"}"#,
                None,
                "from:",
            ),
            (
                r#"{"type": "call.create", "from": "100", "to": "200", "timeout": 0}"#,
                None,
                "timeout: 1 to 600",
            ),
            (
                r#"{"type": "call.create", "from": "100", "to": "200", "url": "/next"}"#,
                None,
                "url: write a whole",
            ),
            (
                r#"{"type": "call.create", "from": "100", "to": "200", "url": "ftp://a.test/"}"#,
                None,
                "url: write a whole",
            ),
        ] {
            let wrong = read(text).unwrap_err();
            assert_eq!(wrong.id.as_deref(), id, "{text}");
            assert!(wrong.why.contains(expected), "{text}: {}", wrong.why);
        }
    }
}
