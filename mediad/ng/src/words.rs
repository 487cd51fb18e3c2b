//! The one text of flags (`rtpp-flags`) in which Kamailio hands on what its script has written.
//!
//! It has words that stand in no list of flags: profiles and interfaces by themselves, and lists in brackets.

use crate::{
    keys,
    value::{Dictionary, MAX_DEPTH, Value},
};

/// What a text says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// Words as they stand in a list of flags.
    pub(crate) flags: Vec<Value>,
    /// Keys, which have their way over those beside the text.
    pub(crate) keys: Vec<(String, Value)>,
}

/// Words that are the name of an interface.
const INTERFACES: [&[u8]; 2] = [b"internal", b"external"];
/// Keys whose values are codecs, one or a list.
const CODECS: [&str; 10] = [
    "transcode",
    "codec-transcode",
    "codec-strip",
    "codec-offer",
    "codec-mask",
    "codec-set",
    "codec-accept",
    "codec-except",
    "codec-consume",
    "codec-ignore",
];

impl Words {
    /// Of a text, whose words that are keys by `is_key`, or have a list as their value, are taken as such.
    pub(crate) fn of(text: &[u8], is_key: impl Fn(&str) -> bool) -> Self {
        let mut words = Self::default();
        let mut profile = None;
        for word in split(text) {
            let Some((name, said)) = halves(word) else {
                if !Profile::take(&mut profile, word) {
                    let start: &[u8] = match INTERFACES.contains(&word) {
                        true => b"direction=",
                        false => b"",
                    };
                    words.flags.push(Value::Text([start, word].concat()));
                }
                continue;
            };
            if CODECS.contains(&name.as_str()) {
                let codecs = value(said, 0);
                let flags = codecs
                    .texts()
                    .map(|codec| [name.as_bytes(), b"-", codec].concat());
                words.flags.extend(flags.map(Value::Text));
            } else if name == "flags" {
                let flags = value(said, 0);
                words.flags.extend(flags.texts().map(Value::from_text));
            } else if !name.starts_with("sdp-attr-") && (said.starts_with(b"[") || is_key(&name)) {
                words.keys.push((name, value(said, 0)));
            } else {
                words.flags.push(Value::from_text(word));
            }
        }
        let profile = profile.map(|profile: Profile| profile.name());
        let profile = profile.map(|name| Value::Text(format!("transport-protocol={name}").into()));
        words.flags.extend(profile);
        words
    }
}

/// A profile as words say it one after the other: by its name, or by its parts.
#[derive(Clone, Copy, Debug, Default)]
struct Profile {
    secure: bool,
    dtls: bool,
    feedback: bool,
}

impl Profile {
    /// Whether the word tells of a profile, which it is then.
    fn take(before: &mut Option<Self>, word: &[u8]) -> bool {
        let known = before.unwrap_or_default();
        let said = match word {
            b"RTP" => Self {
                secure: false,
                ..known
            },
            b"SRTP" => Self {
                secure: true,
                ..known
            },
            b"DTLS" => Self {
                dtls: true,
                ..known
            },
            b"AVP" | b"AVPF" => Self {
                feedback: word == b"AVPF",
                ..known
            },
            name => {
                let bits = 0_u8..8;
                let mut all = bits.map(|bits| Self {
                    secure: bits & 1 != 0,
                    dtls: bits & 2 != 0,
                    feedback: bits & 4 != 0,
                });
                match all.find(|one| one.name().as_bytes() == name) {
                    Some(whole) => whole,
                    None => return false,
                }
            }
        };
        *before = Some(said);
        true
    }

    fn name(self) -> String {
        let name = match (self.dtls, self.secure) {
            (true, _) => "UDP/TLS/RTP/SAVP",
            (false, true) => "RTP/SAVP",
            (false, false) => "RTP/AVP",
        };
        format!("{name}{}", if self.feedback { "F" } else { "" })
    }
}

/// The words of a text: what is between spaces, but a list whole.
fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'[' if depth > 0 || at == start || text[at - 1] == b'=' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            byte if byte.is_ascii_whitespace() && depth == 0 => {
                words.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    words.push(&text[start..]);
    words.retain(|word| !word.is_empty());
    words
}

/// A key and what it is said to be.
fn halves(word: &[u8]) -> Option<(String, &[u8])> {
    let at = word.iter().position(|byte| *byte == b'=')?;
    let key = keys::plain(&word[..at]);
    (!key.is_empty()).then_some((key, &word[at + 1..]))
}

/// A text, a list in brackets, or one of keys, which is a dictionary.
fn value(said: &[u8], depth: u8) -> Value {
    let Some(inner) = said.strip_prefix(b"[").filter(|_| depth < MAX_DEPTH) else {
        return Value::from_text(said);
    };
    let items = split(inner.strip_suffix(b"]").unwrap_or(inner));
    let entries: Option<Dictionary> = items
        .iter()
        .map(|item| {
            let (key, said) = halves(item)?;
            Some((key.into_bytes(), value(said, depth + 1)))
        })
        .collect();
    match entries.filter(|entries| !entries.is_empty()) {
        Some(entries) => Value::Dictionary(entries),
        None => Value::List(items.iter().map(|item| value(item, depth + 1)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flags(text: &str) -> Vec<String> {
        let words = Words::of(text.as_bytes(), |_| false);
        let flags = words.flags.iter().filter_map(Value::text);
        let flags = flags.map(|flag| String::from_utf8_lossy(flag).into_owned());
        flags.collect()
    }

    #[test]
    fn profiles_interfaces_and_codecs_are_words() {
        assert_eq!(
            flags("internal  external RTP/SAVPF symmetric"),
            [
                "direction=internal",
                "direction=external",
                "symmetric",
                "transport-protocol=RTP/SAVPF"
            ]
        );
        for (text, profile) in [
            ("RTP/AVP", "RTP/AVP"),
            ("SRTP AVPF", "RTP/SAVPF"),
            ("SRTP RTP AVP", "RTP/AVP"),
            ("DTLS AVPF", "UDP/TLS/RTP/SAVPF"),
            ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVP"),
        ] {
            assert_eq!(flags(text), [format!("transport-protocol={profile}")]);
        }
        assert_eq!(
            flags("codec-strip=G729 transcode=PCMU codec-offer=[PCMA opus/48000/2]"),
            [
                "codec-strip-G729",
                "transcode-PCMU",
                "codec-offer-PCMA",
                "codec-offer-opus/48000/2"
            ]
        );
    }

    #[test]
    fn lists_and_dictionaries_stand_in_brackets() {
        let words = Words::of(
            b"sdp-media-remove=[video image] from-tag=x codec=[strip=[G729 G722] offer=[PCMA]] ICE=remove flags=[debug]",
            |key| key == "from-tag",
        );
        let text = |said: &str| Value::from_text(said);
        let list = |items: &[&str]| Value::List(items.iter().map(|item| text(item)).collect());
        let codec = crate::dictionary([
            ("strip", list(&["G729", "G722"])),
            ("offer", list(&["PCMA"])),
        ]);
        assert_eq!(
            words.keys,
            [
                ("sdp-media-remove".to_owned(), list(&["video", "image"])),
                ("from-tag".to_owned(), text("x")),
                ("codec".to_owned(), Value::Dictionary(codec)),
            ]
        );
        assert_eq!(words.flags, [text("ICE=remove"), text("debug")]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]= a-z]{0,60}") {
            Words::of(text.as_bytes(), |_| true);
        }
    }
}
