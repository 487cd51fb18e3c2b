//! The bytes: the handshake's fixed layout, and length-prefixed frames.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Fault;

/// The largest frame either side accepts, in bytes: a list of 100,000 sessions fits.
pub const MAX_FRAME: usize = 16 << 20;
/// Room for what is read at once, in bytes.
const READ: usize = 16 << 10;
/// Bytes that wait to be written, from which on nothing is added to them.
pub(super) const BACKLOG: usize = 1 << 20;
/// The longest protocol name or refusal in a handshake, in bytes.
const MAX_TEXT: usize = 1024;
const MAGIC: [u8; 4] = *b"TNDM";

/// What can go wrong on the wire.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection ended or failed.
    #[error("the control connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other end does not speak this protocol at all.
    #[error("the peer is not a Tandem control socket (its first bytes are {0:02x?})")]
    Magic([u8; 4]),
    /// The other end announced a frame longer than [`MAX_FRAME`].
    #[error("the peer announced a frame of {0} bytes, more than the {MAX_FRAME} allowed")]
    TooLong(usize),
    /// A frame does not hold what it should.
    #[error("the peer sent a malformed frame: {0}")]
    Malformed(#[from] postcard::Error),
    /// A handshake text is too long or not UTF-8.
    #[error("the peer sent a malformed handshake")]
    Handshake,
    /// The server refused this client, in its own words.
    #[error("refused by the server: {0}")]
    Refused(String),
}

impl WireError {
    /// Whether the peer went away with something unread before it: a command that has its answer, and was
    /// told of a call meanwhile, does so.
    pub(super) fn is_farewell(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        matches!(self, Self::Io(error) if matches!(error.kind(), BrokenPipe | ConnectionReset))
    }
}

/// A client's first bytes: magic, version (little-endian), length of the name, name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) protocol: String,
}

/// A server's first bytes: magic, 1 and what [`ServerInfo`] holds, or 0 and a reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Accepted(ServerInfo),
    Refused(String),
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Chosen anew by each server process, so that a client sees a restart.
    pub(super) instance: u64,
}

/// Client to server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ClientFrame<R> {
    Request {
        id: u64,
        body: R,
    },
    /// Whether it wants to hear of events from now on. It does not before it says so.
    Events(bool),
}

/// Server to client.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ServerFrame<R, E> {
    Response { id: u64, body: Result<R, Fault> },
    Event(E),
}

impl Hello {
    pub(super) async fn write(&self, io: &mut (impl AsyncWrite + Unpin)) -> Result<(), WireError> {
        let mut out = MAGIC.to_vec();
        out.extend(self.version.to_le_bytes());
        push_text(&mut out, &self.protocol);
        Ok(io.write_all(&out).await?)
    }

    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Self, WireError> {
        read_magic(io).await?;
        let version = io.read_u16_le().await?;
        let protocol = read_text(io).await?;
        Ok(Self { version, protocol })
    }
}

impl Welcome {
    pub(super) async fn write(&self, io: &mut (impl AsyncWrite + Unpin)) -> Result<(), WireError> {
        let mut out = MAGIC.to_vec();
        match self {
            Self::Accepted(info) => {
                out.push(1);
                out.extend(info.instance.to_le_bytes());
            }
            Self::Refused(reason) => {
                out.push(0);
                push_text(&mut out, reason);
            }
        }
        Ok(io.write_all(&out).await?)
    }

    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Self, WireError> {
        read_magic(io).await?;
        match io.read_u8().await? {
            1 => Ok(Self::Accepted(ServerInfo {
                instance: io.read_u64_le().await?,
            })),
            0 => Ok(Self::Refused(read_text(io).await?)),
            _ => Err(WireError::Handshake),
        }
    }
}

/// Appends the frame of `body` to `out`; on an error `out` is as it was.
pub(super) fn encode<T: Serialize>(body: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    let bytes = postcard::to_stdvec(body)?;
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|_| bytes.len() <= MAX_FRAME)
        .ok_or(WireError::TooLong(bytes.len()))?;
    out.extend(length.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

/// Writes as much of `out` as goes, and takes that off it. Where it is cancelled, nothing is written.
pub(super) async fn write(
    io: &mut (impl AsyncWrite + Unpin),
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    match io.write(out).await? {
        0 => Err(io::Error::from(io::ErrorKind::WriteZero).into()),
        count => {
            out.drain(..count);
            Ok(())
        }
    }
}

/// Takes frames out of a byte stream: as many at once as have come.
pub(super) struct FrameReader<R> {
    io: R,
    buffer: Vec<u8>,
    /// Octets of `buffer` that were frames before.
    taken: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) const fn new(io: R) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// The next frame that has come; `Ok(None)` where more has to be [`read`](Self::fill) for it.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME {
            return Err(WireError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = postcard::from_bytes(body)?;
        self.taken += size_of::<u32>() + length;
        Ok(Some(frame))
    }

    /// Reads what there is, and waits where that is nothing; `Ok(false)` when the peer closed between two frames. Where it
    /// is cancelled, nothing is lost.
    pub(super) async fn fill(&mut self) -> Result<bool, WireError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(READ);
        let count = self.io.read_buf(&mut self.buffer).await?;
        match (count, self.buffer.is_empty()) {
            (0, true) => Ok(false),
            (0, false) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(true),
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(MAX_TEXT)];
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_TEXT")]
    out.extend((bytes.len() as u16).to_le_bytes());
    out.extend(bytes);
}

async fn read_magic(io: &mut (impl AsyncRead + Unpin)) -> Result<(), WireError> {
    let mut magic = [0; 4];
    io.read_exact(&mut magic).await?;
    if magic == MAGIC {
        Ok(())
    } else {
        Err(WireError::Magic(magic))
    }
}

async fn read_text(io: &mut (impl AsyncRead + Unpin)) -> Result<String, WireError> {
    let length = usize::from(io.read_u16_le().await?);
    if length > MAX_TEXT {
        return Err(WireError::Handshake);
    }
    let mut bytes = vec![0; length];
    io.read_exact(&mut bytes).await?;
    String::from_utf8(bytes).map_err(|_| WireError::Handshake)
}
