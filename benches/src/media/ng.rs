//! A client of rtpengine's NG protocol, as far as calls without media of their own need it.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use loadtest::bed::Bed;
use sip::sdp::Sdp;

use crate::error::BenchError;

/// Tries of a request before its server counts as dead.
const TRIES: u32 = 20;

/// A call: where its parties should send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Its number, below 2^24.
    pub(crate) call: u32,
    /// Where the caller sends.
    pub(crate) from_caller: SocketAddr,
    /// Where the callee sends.
    pub(crate) from_callee: SocketAddr,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Ng {
    socket: UdpSocket,
}

impl Ng {
    /// Waits until the server at this address of the node answers.
    pub(crate) fn connect(bed: &Bed, server: SocketAddr) -> Result<Self, BenchError> {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let socket = bed.node().enter(bind)??;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(250)))?;
        let client = Self { socket };
        client.request("p", "d7:command4:pinge")?;
        Ok(client)
    }

    /// Opens a call between the two parties.
    pub(crate) fn open(
        &self,
        call: u32,
        (caller, callee): (SocketAddr, SocketAddr),
    ) -> Result<Way, BenchError> {
        let head = head(call);
        let offer = format!(
            "d{head}3:ICE6:remove7:command5:offer7:replacel6:origine3:sdp{}e",
            text(&sdp(caller))
        );
        let from_callee = media(&self.request(&format!("o{call}"), &offer)?)?;
        let answer = format!(
            "d{head}6:to-tag1:b3:ICE6:remove7:command6:answer3:sdp{}e",
            text(&sdp(callee))
        );
        let from_caller = media(&self.request(&format!("a{call}"), &answer)?)?;
        Ok(Way {
            call,
            from_caller,
            from_callee,
        })
    }

    /// Ends a call at once.
    pub(crate) fn delete(&self, call: u32) -> Result<(), BenchError> {
        let body = format!("d{}7:command6:delete12:delete-delayi0ee", head(call));
        let answer = self.request(&format!("d{call}"), &body)?;
        match answer.contains("6:result2:ok") {
            true => Ok(()),
            false => Err(BenchError::Run(format!("a delete was answered: {answer}"))),
        }
    }

    fn request(&self, cookie: &str, body: &str) -> Result<String, BenchError> {
        let datagram = format!("{cookie} {body}");
        let mut buffer = [0; 8192];
        for _ in 0..TRIES {
            // A server that does not listen yet shows as a refused connection.
            drop(self.socket.send(datagram.as_bytes()));
            match self.socket.recv(&mut buffer) {
                Ok(length) if buffer[..length].starts_with(format!("{cookie} ").as_bytes()) => {
                    let answer = &buffer[cookie.len() + 1..length];
                    return Ok(String::from_utf8_lossy(answer).into_owned());
                }
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        Err(BenchError::Run("the NG server does not answer".to_owned()))
    }
}

/// Where the SDP in an answer wants RTP.
fn media(answer: &str) -> Result<SocketAddr, BenchError> {
    let bad = || BenchError::Run(format!("no SDP in the NG answer: {answer}"));
    let (_, rest) = answer.split_once("3:sdp").ok_or_else(bad)?;
    let (length, rest) = rest.split_once(':').ok_or_else(bad)?;
    let length: usize = length.parse().map_err(|_| bad())?;
    let sdp = Sdp::parse(rest.as_bytes().get(..length).ok_or_else(bad)?).map_err(|_| bad())?;
    let media = sdp.media();
    let first = media.first().ok_or_else(bad)?;
    first.rtp().map_err(|_| bad())
}

fn head(call: u32) -> String {
    format!("7:call-id{}8:from-tag1:a", text(&format!("bench-{call}")))
}

fn sdp(party: SocketAddr) -> String {
    let (ip, port) = (party.ip(), party.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
    )
}

fn text(text: &str) -> String {
    format!("{}:{text}", text.len())
}
