//! Documents in JSON: the same verbs and attributes as in TwiML, under the same names.
//!
//! A verb is an object with one key, as `{"say": {"text": "Hello", "loop": 2}}`, or `"hangup"` where it has nothing.
//! It is made an element of TwiML and read as one, so that defaults, checks and warnings are the same.

use serde_json::{Map, Value};

use super::{
    ParseError, Warnings,
    element::{Child, Element, Place},
};

/// Each verb, what TwiML calls it, and what it has in it.
const VERBS: [(&str, &str, Content); 19] = [
    ("say", "Say", Content::Say),
    ("play", "Play", Content::Text("url")),
    ("pause", "Pause", Content::Short("length")),
    ("gather", "Gather", Content::Prompts),
    ("dial", "Dial", Content::Dialled),
    ("record", "Record", Content::None),
    ("redirect", "Redirect", Content::Text("url")),
    ("reject", "Reject", Content::Short("reason")),
    ("refer", "Refer", Content::Child("to", "Sip")),
    ("hangup", "Hangup", Content::None),
    ("start", "Start", Content::Stream),
    ("stop", "Stop", Content::Stream),
    ("connect", "Connect", Content::Stream),
    ("message", "Message", Content::Message),
    // These are reported as not run, as they are in TwiML.
    ("enqueue", "Enqueue", Content::None),
    ("leave", "Leave", Content::None),
    ("echo", "Echo", Content::None),
    ("pay", "Pay", Content::None),
    ("sms", "Sms", Content::Message),
];

/// Whom `<Dial>` calls: the key that names him, and TwiML's element.
const NOUNS: [(&str, &str); 8] = [
    ("number", "Number"),
    ("sip", "Sip"),
    ("client", "Client"),
    ("conference", "Conference"),
    ("queue", "Queue"),
    ("application", "Application"),
    ("sim", "Sim"),
    ("whatsApp", "WhatsApp"),
];

/// What stands in an element beside its attributes.
#[derive(Clone, Copy)]
enum Content {
    None,
    /// The text of this key, which a verb that is no object is.
    Text(&'static str),
    /// Nothing; a verb that is no object is this attribute.
    Short(&'static str),
    /// The text of this key, in this element.
    Child(&'static str, &'static str),
    /// `text`, or `ssml`.
    Say,
    /// `prompts`, which are verbs.
    Prompts,
    /// `to`: one or several.
    Dialled,
    /// `stream`, with `parameters` in it.
    Stream,
    /// `body` and `media`.
    Message,
}

/// The root of a document: `{"verbs": […]}`, or the list by itself.
pub(super) fn root(text: &str, warnings: &mut Warnings) -> Result<Element, ParseError> {
    let value = serde_json::from_str(text).map_err(|error| ParseError::Json(error.to_string()))?;
    let verbs = match value {
        Value::Array(verbs) => verbs,
        Value::Object(mut object) => match object.remove("verbs") {
            Some(Value::Array(verbs)) => verbs,
            _ => return Err(ParseError::Verbs),
        },
        _ => return Err(ParseError::Verbs),
    };
    let mut reader = Reader { warnings };
    Ok(Element {
        name: "Response".to_owned(),
        attributes: Vec::new(),
        children: reader.verbs("verbs", verbs),
        place: Place::Path("verbs".to_owned()),
    })
}

struct Reader<'w> {
    warnings: &'w mut Warnings,
}

impl Reader<'_> {
    fn verbs(&mut self, path: &str, verbs: Vec<Value>) -> Vec<Child> {
        let verbs = verbs.into_iter().enumerate();
        let read = verbs.filter_map(|(at, verb)| self.verb(&format!("{path}[{at}]"), verb));
        read.map(Child::Element).collect()
    }

    fn verb(&mut self, path: &str, verb: Value) -> Option<Element> {
        let (name, value) = match verb {
            Value::String(name) => (name, Value::Null),
            Value::Object(object) if object.len() == 1 => object.into_iter().next()?,
            _ => {
                self.warn(
                    path,
                    r#"a verb is an object with one key, such as {"say": {"text": "Hello"}}"#,
                );
                return None;
            }
        };
        let Some((_, element, content)) = VERBS.iter().find(|(key, ..)| *key == name) else {
            let name: String = name.chars().take(40).collect();
            self.warn(path, &format!("{name:?} is no verb and was left out"));
            return None;
        };
        let path = format!("{path}.{name}");
        Some(self.element(&path, element, value, *content))
    }

    fn element(&mut self, path: &str, name: &str, value: Value, content: Content) -> Element {
        let mut object = match (value, content) {
            (Value::Object(object), _) => object,
            (Value::Null, _) => Map::new(),
            (value, Content::Text(key) | Content::Short(key) | Content::Child(key, _)) => {
                one(key, value)
            }
            (value, Content::Say) => one("text", value),
            (value, Content::Message) => one("body", value),
            (value, Content::Dialled) => one("to", value),
            _ => {
                self.warn(path, "what a verb has is an object");
                Map::new()
            }
        };
        let children = match content {
            Content::None | Content::Short(_) => Vec::new(),
            Content::Text(key) => self.take_text(path, &mut object, key),
            Content::Child(key, name) => {
                let text = self.take_text(path, &mut object, key);
                match text.is_empty() {
                    true => text,
                    false => vec![element(path, name, text)],
                }
            }
            Content::Say => self.say(path, &mut object),
            Content::Prompts => match object.remove("prompts") {
                Some(Value::Array(prompts)) => self.verbs(&format!("{path}.prompts"), prompts),
                Some(prompt) if !prompt.is_null() => {
                    let prompt = self.verb(&format!("{path}.prompts"), prompt);
                    prompt.map(Child::Element).into_iter().collect()
                }
                _ => Vec::new(),
            },
            Content::Dialled => {
                let dialled = several(object.remove("to")).enumerate();
                let nouns =
                    dialled.filter_map(|(at, noun)| self.noun(&format!("{path}.to[{at}]"), noun));
                nouns.collect()
            }
            Content::Stream => self.stream(path, &mut object),
            Content::Message => {
                let body = self.take_text(path, &mut object, "body");
                let mut children = match body.is_empty() {
                    true => body,
                    false => vec![element(path, "Body", body)],
                };
                for media in several(object.remove("media")) {
                    if let Some(url) = self.scalar(path, "media", &media) {
                        children.push(element(path, "Media", vec![text(path, url)]));
                    }
                }
                children
            }
        };
        Element {
            name: name.to_owned(),
            attributes: self.attributes(path, object),
            children,
            place: Place::Path(path.to_owned()),
        }
    }

    fn say(&mut self, path: &str, object: &mut Map<String, Value>) -> Vec<Child> {
        let Some(ssml) = object.remove("ssml").filter(|ssml| !ssml.is_null()) else {
            return self.take_text(path, object, "text");
        };
        object.remove("text");
        let Some(ssml) = self.scalar(path, "ssml", &ssml) else {
            return Vec::new();
        };
        match roxmltree::Document::parse(&format!("<Say>{ssml}</Say>")) {
            Ok(tree) => Element::of_xml(tree.root_element()).children,
            Err(error) => {
                let error: String = error.to_string().chars().take(200).collect();
                self.warn(path, &format!("ssml is not well-formed: {error}"));
                Vec::new()
            }
        }
    }

    /// Who is dialled: as a text, or as an object whose key says what he is.
    fn noun(&mut self, path: &str, noun: Value) -> Option<Child> {
        let mut object = match noun {
            Value::Object(object) => object,
            Value::String(address) => {
                let key = match address.split_once(':') {
                    Some(("sip" | "sips", _)) => "sip",
                    Some(("client", _)) => "client",
                    _ => "number",
                };
                let plain = address.strip_prefix("client:").unwrap_or(&address);
                one(key, Value::String(plain.to_owned()))
            }
            _ => Map::new(),
        };
        let Some((key, name)) = NOUNS.iter().find(|(key, _)| object.contains_key(*key)) else {
            self.warn(path, r#"it has no "number", "sip" or "client""#);
            return None;
        };
        let mut children = self.take_text(path, &mut object, key);
        children.extend(self.parameters(path, &mut object));
        Some(Child::Element(Element {
            name: (*name).to_owned(),
            attributes: self.attributes(path, object),
            children,
            place: Place::Path(path.to_owned()),
        }))
    }

    fn stream(&mut self, path: &str, object: &mut Map<String, Value>) -> Vec<Child> {
        let path = &format!("{path}.stream");
        let mut stream = match object.remove("stream") {
            Some(Value::Object(stream)) => stream,
            // `<Stop>` needs no more than a name.
            Some(Value::String(name)) => one("name", Value::String(name)),
            _ => return Vec::new(),
        };
        let children = self.parameters(path, &mut stream);
        vec![Child::Element(Element {
            name: "Stream".to_owned(),
            attributes: self.attributes(path, stream),
            children,
            place: Place::Path(path.clone()),
        })]
    }

    /// `parameters`: an object of names and values, or a list of `{"name": …, "value": …}`, which keeps its order.
    fn parameters(&mut self, path: &str, object: &mut Map<String, Value>) -> Vec<Child> {
        let path = &format!("{path}.parameters");
        let listed = match object.remove("parameters") {
            Some(Value::Object(pairs)) => pairs
                .into_iter()
                .map(|(name, value)| {
                    let mut pair = one("name", Value::String(name));
                    pair.insert("value".to_owned(), value);
                    Value::Object(pair)
                })
                .collect(),
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let listed = listed.into_iter();
        let elements = listed.map(|pair| self.element(path, "Parameter", pair, Content::None));
        elements.map(Child::Element).collect()
    }

    fn attributes(&mut self, path: &str, object: Map<String, Value>) -> Vec<(String, String)> {
        let mut attributes = Vec::new();
        for (name, value) in object {
            let text = match &value {
                Value::Null => None,
                Value::Array(list) => {
                    let words = list
                        .iter()
                        .filter_map(|word| self.scalar(path, &name, word));
                    let words: Vec<_> = words.collect();
                    Some(words.join(if name == "hints" { "," } else { " " }))
                }
                value => self.scalar(path, &name, value),
            };
            attributes.extend(text.map(|text| (name, text)));
        }
        attributes
    }

    fn take_text(&mut self, path: &str, object: &mut Map<String, Value>, key: &str) -> Vec<Child> {
        let value = object.remove(key).filter(|value| !value.is_null());
        let found = value.and_then(|value| self.scalar(path, key, &value));
        found.map(|found| text(path, found)).into_iter().collect()
    }

    /// A value as TwiML writes it. XML has no control characters but white space, so they are left out here too.
    fn scalar(&mut self, path: &str, key: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => {
                let is_text = |c: &char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
                Some(text.chars().filter(is_text).collect())
            }
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => {
                let key: String = key.chars().take(40).collect();
                let message = format!("{key:?} is a text, a number, true or false");
                self.warn(path, &message);
                None
            }
        }
    }

    fn warn(&mut self, path: &str, message: &str) {
        let place = Place::Path(path.to_owned());
        self.warnings.push(&place, || message.to_owned());
    }
}

fn one(key: &str, value: Value) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert(key.to_owned(), value);
    object
}

/// One or a list.
fn several(value: Option<Value>) -> std::vec::IntoIter<Value> {
    let list = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(value) => vec![value],
    };
    list.into_iter()
}

fn text(path: &str, text: String) -> Child {
    Child::Text(text, Place::Path(path.to_owned()))
}

fn element(path: &str, name: &str, children: Vec<Child>) -> Child {
    Child::Element(Element {
        name: name.to_owned(),
        attributes: Vec::new(),
        children,
        place: Place::Path(path.to_owned()),
    })
}
