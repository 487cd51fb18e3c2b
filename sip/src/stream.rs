//! Message framing over a stream transport (RFC 3261 sections 7.5 and 18.3, RFC 5626 section 3.5.1).

use bytes::{Buf as _, BytesMut};
use memchr::memmem;

use crate::message::{Limits, Message, ParseError, ParseErrorKind, body_length};

/// Cuts a byte stream into messages. Pure: bytes in by [`Framer::push`], frames out by
/// [`Framer::poll`] until it has none, before the next push.
///
/// It holds at most one unfinished message plus what the last push brought, so a caller that polls
/// after each read is bounded by [`Limits::message`].
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limits: Limits,
    state: State,
    /// Line ends in a row between messages.
    line_ends: u8,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Looking for the end of the header section; this many bytes were searched.
    Head { searched: usize },
    /// The message has this many bytes in all.
    Body { total: usize },
    /// An error was reported: the border of messages is lost for good.
    Failed,
}

/// What a stream held.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each message"
)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// A message whose borders are known but which does not parse: answer it as its
    /// [`ParseError::status`] says, or drop it. The stream goes on.
    Malformed(ParseError),
    /// A double CR LF between messages: answer it by one CR LF (RFC 5626 section 3.5.1).
    Ping,
}

/// The stream cannot be cut any further. Answer by [`StreamError::status`] where there is one, then
/// close the connection: where the next message begins is unknown.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// The header section has a defect that hides where the body ends.
    #[error("the stream lost its message borders: {0}")]
    Head(ParseError),
    /// The message has no Content-Length, which a stream requires (RFC 3261 section 18.3).
    #[error("a message on a stream has no Content-Length")]
    NoContentLength(ParseError),
    /// The header section or the message is larger than the limits.
    #[error("a message on the stream is too large")]
    TooLarge(ParseError),
}

impl StreamError {
    /// What was framed of the message, for the answer; see [`ParseError::partial`].
    pub fn partial(&self) -> Option<&Message> {
        self.inner().partial.as_deref()
    }

    /// The status that the request is owed before the connection is closed.
    pub fn status(&self) -> Option<u16> {
        self.inner().status()
    }

    fn inner(&self) -> &ParseError {
        match self {
            Self::Head(error) | Self::NoContentLength(error) | Self::TooLarge(error) => error,
        }
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Framer {
    /// A framer for a new connection.
    pub fn new(limits: Limits) -> Self {
        let state = State::Head { searched: 0 };
        Self {
            buffer: BytesMut::new(),
            limits,
            state,
            line_ends: 0,
        }
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that wait for the rest of their message. A connection that stays above zero for long is
    /// a slow sender that deserves a timeout.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame; `None` until more bytes come. After an error nothing more is read.
    pub fn poll(&mut self) -> Result<Option<Frame>, StreamError> {
        if let State::Head { searched: 0 } = self.state
            && self.skip_line_ends()
        {
            return Ok(Some(Frame::Ping));
        }
        if let State::Head { searched } = self.state {
            match self.find_head(searched) {
                Ok(Some(total)) => self.state = State::Body { total },
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.state = State::Failed;
                    self.buffer = BytesMut::new();
                    return Err(error);
                }
            }
        }
        let State::Body { total } = self.state else {
            return Ok(None);
        };
        if self.buffer.len() < total {
            return Ok(None);
        }
        self.state = State::Head { searched: 0 };
        // Where nothing follows, the message takes the whole buffer with it, so that a silent connection
        // holds none.
        let raw = match self.buffer.len() {
            length if length == total => std::mem::take(&mut self.buffer).freeze(),
            _ => self.buffer.split_to(total).freeze(),
        };
        Ok(Some(match Message::parse_with(raw, &self.limits) {
            Ok(message) => Frame::Message(message),
            Err(error) => Frame::Malformed(error),
        }))
    }

    /// Drops line ends in front of a message; true once two of them stood in a row.
    fn skip_line_ends(&mut self) -> bool {
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            self.line_ends += 1;
            if self.line_ends == 2 {
                self.line_ends = 0;
                return true;
            }
        }
        if !self.buffer.is_empty() && self.buffer[..] != b"\r"[..] {
            self.line_ends = 0;
        }
        false
    }

    /// Looks for the end of the header section; the size of the whole message once it is there.
    fn find_head(&mut self, searched: usize) -> Result<Option<usize>, StreamError> {
        let from = searched.saturating_sub(3);
        let Some(end) = memmem::find(&self.buffer[from..], b"\r\n\r\n") else {
            if self.buffer.len() > self.limits.message {
                return Err(self.too_large(self.buffer.len()));
            }
            // A lone CR may be the first half of a keepalive, which is skipped, not searched.
            if self.buffer.len() > 1 {
                self.state = State::Head {
                    searched: self.buffer.len(),
                };
                self.refuse_garbage()?;
            }
            return Ok(None);
        };
        let head = from + end + 4;
        let length = match body_length(&self.buffer[..head], &self.limits) {
            Ok(Some(length)) => length,
            Ok(None) => return Err(StreamError::NoContentLength(self.partial(head))),
            Err(_) => return Err(StreamError::Head(self.partial(head))),
        };
        match usize::try_from(length)
            .ok()
            .and_then(|length| head.checked_add(length))
        {
            Some(total) if total <= self.limits.message => Ok(Some(total)),
            _ => Err(self.too_large(head)),
        }
    }

    /// Ends the stream early where its first line cannot become a start line: not SIP at all.
    fn refuse_garbage(&self) -> Result<(), StreamError> {
        let line = memchr::memchr2(b'\r', b'\n', &self.buffer).map(|end| &self.buffer[..end]);
        let is_possible = match line {
            Some(line) => line.windows(4).any(|w| w.eq_ignore_ascii_case(b"SIP/")),
            None => self.buffer.len() <= self.limits.header,
        };
        if is_possible {
            Ok(())
        } else {
            Err(StreamError::Head(ParseErrorKind::NotSip.into()))
        }
    }

    /// The refusal of more than the limits allow, whatever else is wrong with the part that is there. What
    /// is no SIP at all stays that.
    fn too_large(&self, head: usize) -> StreamError {
        let mut error = self.partial(head);
        if error.partial.is_some() {
            error.kind = ParseErrorKind::TooLarge;
        }
        StreamError::TooLarge(error)
    }

    /// What a refusal can be answered from: the header section alone.
    fn partial(&self, head: usize) -> ParseError {
        let head = self.buffer[..head.min(self.limits.message)].to_vec();
        match Message::parse_with(head.into(), &self.limits) {
            Ok(message) => ParseError {
                kind: ParseErrorKind::ContentLength,
                partial: message.is_answerable().then(|| Box::new(message)),
            },
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests;
