//! A client of rtpengine's NG protocol, as far as opening calls needs it.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use sip::sdp::Sdp;

use super::BenchError;

/// Tries of a request before its server counts as dead.
const TRIES: u32 = 20;

/// A socket that speaks to the server.
pub(super) fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(250)))?;
    Ok(socket)
}

/// Opens `calls` calls between the two parties and returns for each where the caller and where the
/// callee should send.
pub(super) fn open_calls(
    socket: &UdpSocket,
    calls: u16,
    caller: SocketAddr,
    callee: SocketAddr,
) -> Result<Vec<(SocketAddr, SocketAddr)>, BenchError> {
    request(socket, "p", "d7:command4:pinge")?;
    (0..calls)
        .map(|call| {
            let head = format!("7:call-id{}8:from-tag1:a", text(&format!("bench-{call}")));
            let offer = format!(
                "d{head}3:ICE6:remove7:command5:offer7:replacel6:origine3:sdp{}e",
                text(&sdp(caller))
            );
            let from_callee = media(&request(socket, &format!("o{call}"), &offer)?)?;
            let answer = format!(
                "d{head}6:to-tag1:b3:ICE6:remove7:command6:answer3:sdp{}e",
                text(&sdp(callee))
            );
            let from_caller = media(&request(socket, &format!("a{call}"), &answer)?)?;
            Ok((from_caller, from_callee))
        })
        .collect()
}

fn request(socket: &UdpSocket, cookie: &str, body: &str) -> Result<String, BenchError> {
    let datagram = format!("{cookie} {body}");
    let mut buffer = [0; 8192];
    for _ in 0..TRIES {
        // A server that does not listen yet shows as a refused connection.
        drop(socket.send(datagram.as_bytes()));
        match socket.recv(&mut buffer) {
            Ok(length) if buffer[..length].starts_with(format!("{cookie} ").as_bytes()) => {
                return Ok(String::from_utf8_lossy(&buffer[cookie.len() + 1..length]).into_owned());
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    Err(BenchError::Relay(
        "the NG server does not answer".to_owned(),
    ))
}

/// Where the SDP in an answer wants RTP.
fn media(answer: &str) -> Result<SocketAddr, BenchError> {
    let bad = || BenchError::Relay(format!("no SDP in the NG answer: {answer}"));
    let (_, rest) = answer.split_once("3:sdp").ok_or_else(bad)?;
    let (length, rest) = rest.split_once(':').ok_or_else(bad)?;
    let length: usize = length.parse().map_err(|_| bad())?;
    let sdp = Sdp::parse(rest.as_bytes().get(..length).ok_or_else(bad)?).map_err(|_| bad())?;
    let media = sdp.media();
    let first = media.first().ok_or_else(bad)?;
    first.rtp().map_err(|_| bad())
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
