//! `sdp-attr`: changes of an SDP's `a=` lines, as text.

use crate::{Dictionary, Value, keys};

/// What is to be changed, of the session's lines and of streams by their kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    edits: Vec<Edit>,
    /// Streams without `a=mid` (RFC 5888) have one.
    pub generate_mid: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    /// `None` for the session's.
    kind: Option<&'static str>,
    what: What,
}

/// Each without the `a=`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Add(String),
    Remove(String),
    Substitute([String; 2]),
}

/// Of one request at most.
const MOST: usize = 64;

impl Attributes {
    /// Takes the dictionary of a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&mut self, value: &Value) -> Result<(), &'static str> {
        let Value::Dictionary(kinds) = value else {
            return Err("write a dictionary of media types");
        };
        for (name, commands) in kinds {
            let Value::Dictionary(commands) = commands else {
                return Err("write a dictionary of commands for each media type");
            };
            self.commands(kind(&keys::plain(name))?, commands)?;
        }
        Ok(())
    }

    fn commands(
        &mut self,
        kind: Option<&'static str>,
        commands: &Dictionary,
    ) -> Result<(), &'static str> {
        for (command, values) in commands {
            let texts = |value: &Value| -> Vec<String> {
                let texts = value.texts();
                texts
                    .map(|text| String::from_utf8_lossy(text).into_owned())
                    .collect()
            };
            match keys::plain(command).as_str() {
                "add" => {
                    for text in texts(values) {
                        self.push(kind, What::Add(text))?;
                    }
                }
                "remove" => {
                    for text in texts(values) {
                        self.push(kind, What::Remove(text))?;
                    }
                }
                // A pair, or a list of pairs.
                "substitute" => {
                    let pairs = match values {
                        Value::List(items) if items.iter().all(|item| item.text().is_none()) => {
                            items.iter().map(texts).collect()
                        }
                        one => vec![texts(one)],
                    };
                    for pair in pairs {
                        let mut pair = pair.into_iter();
                        let (Some(from), Some(to)) = (pair.next(), pair.next()) else {
                            return Err("write what is substituted, and by what");
                        };
                        self.push(kind, What::Substitute([from, to]))?;
                    }
                }
                _ => return Err("write add, remove or substitute"),
            }
        }
        Ok(())
    }

    /// Takes what follows `sdp-attr-` in a flag: `remove-audio-ssrc:`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn flag(&mut self, text: &str) -> Result<(), &'static str> {
        const FORM: &str = "write sdp-attr-add-audio-…, -remove- or -substitute-";
        let mut parts = text.splitn(3, '-');
        let (Some(command), Some(name), Some(value)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(FORM);
        };
        let value = value.replace("--", "=").replace("..", " ");
        let what = match command.to_ascii_lowercase().as_str() {
            "add" => What::Add(value),
            "remove" => What::Remove(value),
            // rtpengine's own documents have both spellings.
            "substitute" | "substitude" => {
                let (from, to) = value.split_once('>').ok_or(FORM)?;
                What::Substitute([from.to_owned(), to.to_owned()])
            }
            _ => return Err(FORM),
        };
        self.push(kind(&keys::plain(name.as_bytes()))?, what)
    }

    fn push(&mut self, kind: Option<&'static str>, what: What) -> Result<(), &'static str> {
        let texts = match &what {
            What::Add(text) | What::Remove(text) => vec![text],
            What::Substitute([from, to]) => vec![from, to],
        };
        let is_line = |text: &String| !text.is_empty() && !text.contains(['\r', '\n', '\0']);
        if !texts.into_iter().all(is_line) {
            return Err("an attribute is one line that is not empty");
        }
        if self.edits.len() == MOST {
            return Err("there are too many changes of attributes");
        }
        self.edits.push(Edit { kind, what });
        Ok(())
    }

    /// Carries the changes out in the lines of the session (`media` is `None`), or of a stream of this kind and index.
    pub(crate) fn apply(&self, media: Option<(&str, usize)>, lines: &mut Vec<Vec<u8>>) {
        let own = media.map(|(kind, _)| kind);
        for edit in self.edits.iter().filter(|edit| edit.kind == own) {
            match &edit.what {
                What::Add(text) => {
                    if !lines
                        .iter()
                        .any(|line| value(line) == Some(text.as_bytes()))
                    {
                        lines.push(line(text));
                    }
                }
                What::Remove(text) => lines.retain(|line| !is(line, text)),
                What::Substitute([from, to]) => {
                    let hit = lines.iter_mut().filter(|line| is(line, from));
                    hit.for_each(|place| *place = line(to));
                }
            }
        }
        if let Some((_, index)) = media.filter(|_| self.generate_mid)
            && !lines.iter().any(|line| line.starts_with(b"a=mid:"))
        {
            lines.push(line(&format!("mid:{index}")));
        }
    }

    /// Whether there is nothing to do.
    pub(crate) const fn is_empty(&self) -> bool {
        self.edits.is_empty() && !self.generate_mid
    }
}

fn kind(name: &str) -> Result<Option<&'static str>, &'static str> {
    match name {
        "none" | "global" => Ok(None),
        "audio" => Ok(Some("audio")),
        "video" => Ok(Some("video")),
        _ => Err("write none, audio or video"),
    }
}

/// What stands after `a=`.
fn value(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"a=").map(<[u8]>::trim_ascii_end)
}

/// Whether a line has this value, or where that ends with a colon, this name.
fn is(line: &[u8], wanted: &str) -> bool {
    value(line).is_some_and(|value| match wanted.ends_with(':') {
        true => value.starts_with(wanted.as_bytes()),
        false => value == wanted.as_bytes(),
    })
}

fn line(text: &str) -> Vec<u8> {
    format!("a={text}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;

    fn read(text: &str) -> Result<Attributes, &'static str> {
        let mut attributes = Attributes::default();
        let value = Encoding::Json.decode(text.as_bytes()).unwrap();
        attributes.take(&value)?;
        Ok(attributes)
    }

    fn lines(text: &str) -> Vec<Vec<u8>> {
        let lines = text.split_inclusive('\n');
        lines.map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn lines_are_added_removed_and_substituted_by_kind() {
        let attributes = read(
            r#"{"none":{"add":["group:LS 1 2"],"substitute":[["sendrecv","sendonly"],["x","y"]]},
                "audio":{"remove":["ssrc:","ptime:20"],"substitute":["fmtp:101 0-15","fmtp:101 0-16"]}}"#,
        )
        .unwrap();
        let mut session = lines("v=0\r\na=sendrecv\r\n");
        attributes.apply(None, &mut session);
        assert_eq!(session, lines("v=0\r\na=sendonly\r\na=group:LS 1 2\r\n"));
        attributes.apply(None, &mut session);
        assert_eq!(session.len(), 3, "what is there is not added again");
        let mut audio = lines(
            "m=audio 4 RTP/AVP 0\r\na=ssrc:1 cname:x\r\na=ssrc:2 cname:y\r\na=ptime:20\r\na=ptime:200\r\na=fmtp:101 0-15\r\n",
        );
        attributes.apply(Some(("audio", 0)), &mut audio);
        assert_eq!(
            audio,
            lines("m=audio 4 RTP/AVP 0\r\na=ptime:200\r\na=fmtp:101 0-16\r\n")
        );
        let mut video = lines("m=video 4 RTP/AVP 96\r\na=ssrc:1 cname:x\r\n");
        attributes.apply(Some(("video", 1)), &mut video);
        assert_eq!(video.len(), 2);
    }

    #[test]
    fn flags_say_the_same_and_nobody_adds_a_line_of_another_kind() {
        let mut flags = Attributes::default();
        flags.flag("remove-audio-ssrc:").unwrap();
        flags.flag("substitute-none-sendrecv>sendonly").unwrap();
        flags.flag("add-video-fmtp:96..x--y").unwrap();
        let same = r#"{"audio":{"remove":"ssrc:"},"global":{"substitute":["sendrecv","sendonly"]},"video":{"add":"fmtp:96 x=y"}}"#;
        assert_eq!(Ok(flags), read(same));
        for wrong in [
            r#"{"audio":{"add":["x\r\nm=audio 1 RTP/AVP 0"]}}"#,
            r#"{"audio":{"add":[""]}}"#,
            r#"{"text":{"add":["x"]}}"#,
            r#"{"audio":{"swap":["x"]}}"#,
            r#"{"audio":{"substitute":["x"]}}"#,
            r#"{"audio":["x"]}"#,
            r#"["audio"]"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Attributes::default().flag("remove-audio").is_err());
    }

    #[test]
    fn streams_are_named_where_they_have_no_name() {
        let attributes = Attributes {
            generate_mid: true,
            ..Attributes::default()
        };
        let mut named = lines("m=audio 4 RTP/AVP 0\r\na=mid:a\r\n");
        let mut bare = lines("m=audio 4 RTP/AVP 0\r\n");
        attributes.apply(Some(("audio", 0)), &mut named);
        attributes.apply(Some(("audio", 1)), &mut bare);
        assert_eq!(named.len(), 2);
        assert_eq!(bare, lines("m=audio 4 RTP/AVP 0\r\na=mid:1\r\n"));
    }
}
