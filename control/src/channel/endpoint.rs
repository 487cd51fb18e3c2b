//! Where a channel's server listens: a Unix socket, or a pipe in memory.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

/// How much a pipe in memory holds before its writer waits, in bytes.
const PIPE: usize = 256 << 10;

/// A byte stream of either kind.
pub(super) type Stream = Pin<Box<dyn Io>>;

/// Both directions of a connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// Where a client finds its server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Endpoint {
    /// A Unix socket at this path; written `unix:PATH`.
    Unix(PathBuf),
    /// A server in the same process.
    Memory(MemoryConnector),
}

impl Endpoint {
    /// Binds a listener here: replaces a dead socket file, refuses to take a living one's place, and
    /// lets only the owner and the group connect.
    pub fn listen(path: &Path) -> io::Result<Listener> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{} is served by another process", path.display()),
            ));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        Ok(Listener(Kind::Unix(listener, path.to_owned())))
    }

    /// A listener and the endpoint that reaches it, both in this process.
    pub fn memory() -> (Listener, Self) {
        let (sender, receiver) = mpsc::channel(16);
        (
            Listener(Kind::Memory(receiver)),
            Self::Memory(MemoryConnector(sender)),
        )
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
            Self::Memory(MemoryConnector(sender)) => {
                let (ours, theirs) = tokio::io::duplex(PIPE);
                sender
                    .send(theirs)
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
                Ok(Box::pin(ours))
            }
        }
    }
}

/// The client's side of a listener in memory.
#[derive(Clone, Debug)]
pub struct MemoryConnector(mpsc::Sender<DuplexStream>);

impl PartialEq for MemoryConnector {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for MemoryConnector {}

/// Accepts a channel's clients. A Unix socket's file goes with it.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Unix(UnixListener, PathBuf),
    Memory(mpsc::Receiver<DuplexStream>),
    Both(Box<(Listener, Listener)>),
}

impl Listener {
    /// Accepts the clients of both: those in this process and those at a socket.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(Kind::Both(Box::new((self, other))))
    }

    pub(super) async fn accept(&mut self) -> io::Result<Stream> {
        match &mut self.0 {
            Kind::Unix(listener, _) => Ok(Box::pin(listener.accept().await?.0)),
            Kind::Memory(receiver) => match receiver.recv().await {
                Some(stream) => Ok(Box::pin(stream)),
                // Every connector is gone: no client will come any more.
                None => std::future::pending().await,
            },
            Kind::Both(both) => {
                let (one, other) = &mut **both;
                // Boxed, for a listener in a listener.
                tokio::select! {
                    accepted = Box::pin(one.accept()) => accepted,
                    accepted = Box::pin(other.accept()) => accepted,
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix(_, path) = &self.0 {
            // Nothing can be done about a file that will not go; the next start replaces it.
            drop(fs::remove_file(path));
        }
    }
}

/// An endpoint that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no control endpoint; write unix:/path/of.sock")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(EndpointError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Memory(_) => f.write_str("in memory"),
        }
    }
}
