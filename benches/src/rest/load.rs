//! Clients that ask over connections which stay, one request after the other.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::KEY;
use crate::error::BenchError;

/// Rows that are read: the first of those that were written.
const ROWS: u64 = 200;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One row by its id.
    Read,
    /// A new row.
    Write,
}

/// A port that nobody has now.
pub(super) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Waits until somebody takes connections there.
pub(super) fn until_served(address: SocketAddr, patience: Duration) -> Result<(), BenchError> {
    let end = Instant::now() + patience;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            return Err(BenchError::Run(format!("nobody serves {address}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// How many requests were answered, and in what time.
pub(super) fn run(
    kind: Kind,
    address: SocketAddr,
    clients: u32,
    time: Duration,
) -> Result<(u64, Duration), BenchError> {
    let began = Instant::now();
    let end = began + time;
    let clients = (0..clients).map(|client| {
        thread::spawn(move || {
            let mut connection = Connection::open(address)?;
            let mut done = 0;
            while Instant::now() < end {
                connection.ask(&request(kind, u64::from(client), done), kind)?;
                done += 1;
            }
            Ok::<_, BenchError>(done)
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut total = 0;
    for client in clients {
        let done = client.join();
        total += done.map_err(|_| BenchError::Run("a client failed".to_owned()))??;
    }
    Ok((total, began.elapsed()))
}

fn request(kind: Kind, client: u64, number: u64) -> String {
    let heads = format!("Host: bench\r\nAuthorization: Bearer {KEY}\r\n");
    match kind {
        Kind::Read => {
            let id = name(0, number % ROWS);
            format!("GET /v1/tenants/{id} HTTP/1.1\r\n{heads}\r\n")
        }
        Kind::Write => {
            let id = name(client, number);
            let body = format!("{{\"id\":\"{id}\",\"name\":\"Tenant {number}\"}}");
            format!(
                "POST /v1/tenants HTTP/1.1\r\n{heads}Content-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
    }
}

fn name(client: u64, number: u64) -> String {
    format!("t-{client}-{number}")
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            buffer: vec![0; 16 << 10],
        })
    }

    /// Sends a request, and reads its answer to the end.
    fn ask(&mut self, request: &str, kind: Kind) -> Result<(), BenchError> {
        self.stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        loop {
            let free = self.buffer.get_mut(filled..).unwrap_or_default();
            let read = self.stream.read(free)?;
            if read == 0 {
                return Err(BenchError::Run("a connection was closed".to_owned()));
            }
            filled += read;
            let text = String::from_utf8_lossy(self.buffer.get(..filled).unwrap_or_default());
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            if body.len() < length(head) {
                continue;
            }
            let wanted = match kind {
                Kind::Read => "HTTP/1.1 200",
                Kind::Write => "HTTP/1.1 201",
            };
            return match head.starts_with(wanted) {
                true => Ok(()),
                false => Err(BenchError::Run(format!("{request}\nwas answered\n{text}"))),
            };
        }
    }
}

fn length(head: &str) -> usize {
    let mut lines = head.lines();
    lines
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("content-length");
            is_it.then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0)
}
