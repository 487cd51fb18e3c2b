//! The bytes: the handshake's fixed layout, and length-prefixed frames.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Fault;

/// The largest frame either side accepts, in bytes: a list of 100,000 sessions fits.
pub const MAX_FRAME: usize = 16 << 20;
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

/// Reads one frame; `Ok(None)` when the peer closed between two frames.
pub(super) async fn read_frame<T: DeserializeOwned>(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<Option<T>, WireError> {
    let length = match io.read_u32_le().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if length > MAX_FRAME {
        return Err(WireError::TooLong(length));
    }
    buffer.resize(length, 0);
    io.read_exact(buffer).await?;
    Ok(Some(postcard::from_bytes(buffer)?))
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
