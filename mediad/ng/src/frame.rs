//! Messages in datagrams, and in streams of bytes, where they follow each other without anything between.

/// The longest message of a stream, in bytes, its cookie included.
pub const MAX_MESSAGE: usize = 256 << 10;
/// The longest cookie, in bytes.
pub const MAX_COOKIE: usize = 256;

/// The cookie and the dictionary's bytes of a datagram, or of an HTTP body.
pub fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = message.iter().position(|byte| *byte == b' ')?;
    let (cookie, body) = (&message[..space], &message[space + 1..]);
    (1..=MAX_COOKIE)
        .contains(&cookie.len())
        .then_some((cookie, body))
}

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What its answer has to begin with.
    pub cookie: Vec<u8>,
    /// The dictionary's bytes.
    pub body: Vec<u8>,
}

/// A stream that cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No space within [`MAX_COOKIE`] bytes, or nothing before it.
    #[error("a message has no cookie")]
    Cookie,
    /// What follows the cookie is neither a dictionary in bencode nor one in JSON.
    #[error("a message is neither bencode nor JSON")]
    Body,
    /// Longer than [`MAX_MESSAGE`].
    #[error("a message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
}

/// Finds messages in a stream. Line ends between them are let pass.
///
/// ```
/// let mut stream = ng::frame::Framer::default();
/// stream.push(b"1 d7:command4:pi");
/// assert_eq!(stream.next_frame(), Ok(None));
/// stream.push(b"nge2 {\"command\":\"ping\"}");
/// assert_eq!(stream.next_frame().unwrap().unwrap().body, b"d7:command4:pinge");
/// assert!(!stream.is_empty());
/// assert_eq!(stream.next_frame().unwrap().unwrap().cookie, b"2");
/// assert!(stream.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Where the message after those that were taken begins.
    start: usize,
    /// Of the message at `start`, once its cookie is there.
    scan: Option<Scan>,
}

/// How far a message has been looked at: nothing is looked at twice.
#[derive(Debug)]
struct Scan {
    /// Where the body begins.
    body: usize,
    at: usize,
    depth: usize,
    within: Within,
}

#[derive(Debug, PartialEq, Eq)]
enum Within {
    Bencode,
    Json,
    JsonText,
    JsonEscape,
}

impl Framer {
    /// Takes what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether there is nothing of a message that is not whole.
    pub fn is_empty(&self) -> bool {
        let rest = &self.bytes[self.start..];
        rest.iter().all(|byte| b"\r\n".contains(byte))
    }

    /// The cookie of the message that is not whole, or cannot be read, and what there is of its body: no cookie where
    /// there is none.
    pub fn rest(&self) -> (&[u8], &[u8]) {
        let rest = &self.bytes[self.start..];
        split(rest).unwrap_or((b"", rest))
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// The stream makes no sense from here on, and has to be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.scan.is_none() {
            self.scan = self.begin()?;
        }
        let Some(scan) = &mut self.scan else {
            return Ok(None);
        };
        let end = match scan.within {
            Within::Bencode => scan.bencode(&self.bytes)?,
            _ => scan.json(&self.bytes),
        };
        let Some(end) = end else {
            return match self.bytes.len() - self.start > MAX_MESSAGE {
                true => Err(FrameError::TooLong),
                false => Ok(None),
            };
        };
        let frame = Frame {
            cookie: self.bytes[self.start..scan.body - 1].to_vec(),
            body: self.bytes[scan.body..end].to_vec(),
        };
        self.start = end;
        self.scan = None;
        if self.start == self.bytes.len() || self.start > MAX_MESSAGE {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        Ok(Some(frame))
    }

    /// Passes over line ends and the cookie.
    fn begin(&mut self) -> Result<Option<Scan>, FrameError> {
        let rest = &self.bytes[self.start..];
        let blank = rest
            .iter()
            .take_while(|byte| b"\r\n".contains(byte))
            .count();
        self.start += blank;
        let rest = &rest[blank..];
        let Some(space) = rest
            .iter()
            .take(MAX_COOKIE + 1)
            .position(|byte| *byte == b' ')
        else {
            return match rest.len() > MAX_COOKIE {
                true => Err(FrameError::Cookie),
                false => Ok(None),
            };
        };
        if space == 0 {
            return Err(FrameError::Cookie);
        }
        let within = match rest.get(space + 1) {
            Some(b'd') => Within::Bencode,
            Some(b'{') => Within::Json,
            Some(_) => return Err(FrameError::Body),
            None => return Ok(None),
        };
        let body = self.start + space + 1;
        Ok(Some(Scan {
            body,
            at: body,
            depth: 0,
            within,
        }))
    }
}

impl Scan {
    /// Where the dictionary ends, if that is there.
    fn bencode(&mut self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'd' | b'l' => {
                    self.at += 1;
                    self.depth += 1;
                }
                b'e' => {
                    self.at += 1;
                    self.depth -= 1;
                }
                b'i' => match number(&bytes[self.at + 1..], b'e')? {
                    Some((length, _)) => self.at += 1 + length,
                    None => return Ok(None),
                },
                b'0'..=b'9' => match number(&bytes[self.at..], b':')? {
                    Some((length, text)) => {
                        let text = usize::try_from(text).map_err(|_| FrameError::Body)?;
                        let end = self.at + length + text.min(2 * MAX_MESSAGE);
                        if end > bytes.len() {
                            return match end - self.body > MAX_MESSAGE {
                                true => Err(FrameError::TooLong),
                                false => Ok(None),
                            };
                        }
                        self.at = end;
                    }
                    None => return Ok(None),
                },
                _ => return Err(FrameError::Body),
            }
            if self.depth == 0 {
                return Ok(Some(self.at));
            }
        }
        Ok(None)
    }

    /// Where the object ends, if that is there. Whether it is JSON at all is for the decoder to say.
    fn json(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at) {
            self.at += 1;
            match (&self.within, byte) {
                (Within::JsonEscape, _) => self.within = Within::JsonText,
                (Within::JsonText, b'\\') => self.within = Within::JsonEscape,
                (Within::JsonText, b'"') => self.within = Within::Json,
                (Within::JsonText, _) => {}
                (_, b'"') => self.within = Within::JsonText,
                (_, b'{' | b'[') => self.depth += 1,
                (_, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 {
                return Some(self.at);
            }
        }
        None
    }
}

/// The length of a number with its `stop`, and the number.
fn number(bytes: &[u8], stop: u8) -> Result<Option<(usize, i64)>, FrameError> {
    /// Of a number of 64 bits.
    const DIGITS: usize = 20;
    let Some(length) = bytes.iter().take(DIGITS + 1).position(|byte| *byte == stop) else {
        return match bytes.len() > DIGITS {
            true => Err(FrameError::Body),
            false => Ok(None),
        };
    };
    let digits = std::str::from_utf8(&bytes[..length]).map_err(|_| FrameError::Body)?;
    let number = digits.parse().map_err(|_| FrameError::Body)?;
    Ok(Some((length + 1, number)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGES: &[u8] =
        b"1 d7:command4:ping4:listli-3ei4ee1:ddee\r\n22 {\"a\":\"}\\\"{\",\"b\":[{}]}3 d1:a1:ee";

    fn all(stream: &mut Framer) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        std::iter::from_fn(|| stream.next_frame().unwrap())
            .map(|frame| (text(frame.cookie), text(frame.body)))
            .collect()
    }

    #[test]
    fn messages_follow_each_other() {
        let mut whole = Framer::default();
        whole.push(MESSAGES);
        let found = all(&mut whole);
        let bodies: Vec<_> = found.iter().map(|(_, body)| body.as_str()).collect();
        assert_eq!(bodies[0], "d7:command4:ping4:listli-3ei4ee1:ddee");
        assert_eq!(bodies[1], "{\"a\":\"}\\\"{\",\"b\":[{}]}");
        assert_eq!(bodies[2], "d1:a1:ee");
        assert_eq!(found[1].0, "22");

        let mut in_bytes = Framer::default();
        let mut one_by_one = Vec::new();
        for byte in MESSAGES {
            in_bytes.push(&[*byte]);
            one_by_one.extend(all(&mut in_bytes));
        }
        assert_eq!(one_by_one, found);
        assert!(in_bytes.bytes.is_empty());
    }

    fn all_but_the_last(stream: &mut Framer) -> usize {
        std::iter::from_fn(|| stream.next_frame().ok().flatten()).count()
    }

    #[test]
    fn what_makes_no_sense_ends_the_stream() {
        let error = |bytes: &[u8]| {
            let mut stream = Framer::default();
            stream.push(bytes);
            stream.next_frame()
        };
        assert_eq!(error(b" d"), Err(FrameError::Cookie));
        assert_eq!(error(&[b'x'; 300]), Err(FrameError::Cookie));
        assert_eq!(error(b"1 ping"), Err(FrameError::Body));
        let mut broken = Framer::default();
        broken.push(b"1 d1:a1:ee\n22 {\"a\":{}}3 ping");
        assert_eq!(all_but_the_last(&mut broken), 2);
        assert_eq!(broken.rest(), (b"3".as_slice(), b"ping".as_slice()));
        assert_eq!(error(b"1 d-1:"), Err(FrameError::Body));
        assert_eq!(error(b"1 d999999999999999:"), Err(FrameError::TooLong));
        assert_eq!(error(b"1 d99999999999999999999999:"), Err(FrameError::Body));
        let mut endless = b"1 {\"a\":\"".to_vec();
        endless.resize(MAX_MESSAGE + 10, b'a');
        assert_eq!(error(&endless), Err(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(chunks: Vec<Vec<u8>>) {
            let mut stream = Framer::default();
            stream.push(b"1 d");
            for chunk in chunks {
                stream.push(&chunk);
                while let Ok(Some(frame)) = stream.next_frame() {
                    prop_assert!(!frame.cookie.is_empty());
                }
            }
        }
    }
}
