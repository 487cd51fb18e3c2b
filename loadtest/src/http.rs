//! As much of HTTP/1.1 as it takes to ask a node how it is.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::bed::{BedError, Namespace};

/// A node's page is far smaller.
const LARGEST: u64 = 64 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The node's namespace could not be entered.
    #[error(transparent)]
    Bed(#[from] BedError),
    /// The connection failed.
    #[error("GET {path}: {error}")]
    Io {
        /// What was asked for.
        path: String,
        /// The system's reason.
        error: io::Error,
    },
    /// The node answered with something else than 200.
    #[error("GET {path}: status {status}: {body}")]
    Status {
        /// What was asked for.
        path: String,
        /// The status.
        status: u16,
        /// What the node said to it.
        body: String,
    },
}

/// Where a node's API is.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The namespace from which it can be reached; `None` for our own.
    pub space: Option<&'a Namespace>,
    /// Its address.
    pub address: SocketAddr,
    /// What `Authorization: Bearer` says.
    pub key: &'a str,
}

impl Client<'_> {
    /// The body of a page.
    pub fn get(&self, path: &str) -> Result<String, HttpError> {
        let connect = || TcpStream::connect_timeout(&self.address, TIMEOUT);
        let stream = match self.space {
            Some(space) => space.enter(connect)?,
            None => connect(),
        };
        let answer = stream.and_then(|stream| exchange(stream, path, self.address, self.key));
        let (status, body) = answer.map_err(|error| HttpError::Io {
            path: path.to_owned(),
            error,
        })?;
        if status == 200 {
            return Ok(body);
        }
        Err(HttpError::Status {
            path: path.to_owned(),
            status,
            body,
        })
    }
}

fn exchange(
    mut stream: TcpStream,
    path: &str,
    host: SocketAddr,
    key: &str,
) -> io::Result<(u16, String)> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    read_answer(BufReader::new(stream.take(LARGEST)))
}

fn read_answer(mut reader: impl BufRead) -> io::Result<(u16, String)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| wrong("not an HTTP/1.1 answer"))?;
    let mut length = None;
    let mut chunked = false;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(wrong("the answer ends in its header"));
        }
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(':') {
            None if header.is_empty() => break,
            Some(("content-length", value)) => length = value.trim().parse::<u64>().ok(),
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(&mut reader, &mut body)?;
    } else {
        let length = length.unwrap_or(LARGEST);
        reader.take(length).read_to_end(&mut body)?;
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a chunk without a size"))?;
        if size == 0 {
            return Ok(());
        }
        reader.take(size).read_to_end(body)?;
        line.clear();
        reader.read_line(&mut line)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_by_length_and_in_chunks() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhixx";
        assert_eq!(read_answer(&plain[..]).unwrap(), (200, "hi".to_owned()));
        let chunks = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\n yo\r\n0\r\n\r\n";
        assert_eq!(read_answer(&chunks[..]).unwrap(), (503, "hi yo".to_owned()));
        assert!(read_answer(&b"SSH-2.0\r\n"[..]).is_err());
    }
}
