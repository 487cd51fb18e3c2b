//! Calls by NG: an offer, an answer and a delete each, several calls side by side.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use super::{BenchError, Plan};

/// A request that is not answered for so long is sent again.
const AGAIN: Duration = Duration::from_millis(250);
/// A server that answers nothing for so long counts as dead.
const DEAD: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_millis(500);

/// A call under way.
struct Call {
    number: u64,
    /// 0 offers, 1 answers, 2 deletes.
    step: u8,
    sent: Instant,
}

/// Calls a second.
pub(super) fn measure(plan: &Plan, server: SocketAddr) -> Result<f64, BenchError> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    ping(&socket)?;
    let begun = Instant::now();
    let mut next = u64::from(plan.window);
    let mut calls: Vec<_> = (0..u64::from(plan.window))
        .map(|number| Call {
            number,
            step: 0,
            sent: begun,
        })
        .collect();
    for (slot, call) in calls.iter().enumerate() {
        send(&socket, slot, call)?;
    }
    let (mut done, mut counted, mut heard) = (0_u64, None, begun);
    let mut buffer = [0; 8192];
    loop {
        let now = Instant::now();
        if counted.is_none() && now - begun > WARM_UP {
            counted = Some((done, now));
        }
        if let Some((before, since)) = counted
            && now - since > plan.time
        {
            #[expect(clippy::cast_precision_loss, reason = "a count of some seconds")]
            return Ok((done - before) as f64 / (now - since).as_secs_f64());
        }
        match socket.recv(&mut buffer) {
            Ok(length) => {
                heard = now;
                let Some(slot) = answered(&buffer[..length], &calls)? else {
                    continue;
                };
                let call = &mut calls[slot];
                call.step += 1;
                if call.step == 3 {
                    done += 1;
                    (call.number, call.step) = (next, 0);
                    next += 1;
                }
                call.sent = now;
                send(&socket, slot, &calls[slot])?;
            }
            Err(_) if now - heard > DEAD => {
                return Err(BenchError::Run("the NG server does not answer".to_owned()));
            }
            Err(_) => {
                for (slot, call) in calls.iter_mut().enumerate() {
                    if now - call.sent > AGAIN {
                        call.sent = now;
                        send(&socket, slot, call)?;
                    }
                }
            }
        }
    }
}

/// Waits until the server is there.
fn ping(socket: &UdpSocket) -> Result<(), BenchError> {
    let end = Instant::now() + DEAD;
    let mut buffer = [0; 256];
    while Instant::now() < end {
        // A server that does not listen yet shows as a refused connection.
        drop(socket.send(b"p d7:command4:pinge"));
        match socket.recv(&mut buffer) {
            Ok(_) => return Ok(()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Err(BenchError::Run(
        "the NG server does not answer a ping".to_owned(),
    ))
}

/// Whose request is answered here; none where that was answered before.
fn answered(answer: &[u8], calls: &[Call]) -> Result<Option<usize>, BenchError> {
    let text = String::from_utf8_lossy(answer);
    let (cookie, body) = text.split_once(' ').unwrap_or((&text, ""));
    let mut parts = cookie
        .split('_')
        .filter_map(|part| part.parse::<u64>().ok());
    let (Some(slot), Some(number), Some(step)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    if !body.contains("6:result2:ok") {
        return Err(BenchError::Run(format!("refused: {body}")));
    }
    let slot = usize::try_from(slot).unwrap_or(usize::MAX);
    let call = calls.get(slot);
    let is_now = call.is_some_and(|call| call.number == number && u64::from(call.step) == step);
    Ok(is_now.then_some(slot))
}

fn send(socket: &UdpSocket, slot: usize, call: &Call) -> io::Result<()> {
    let Call { number, step, .. } = call;
    let head = format!(
        "{slot}_{number}_{step} d7:call-id{}8:from-tag1:a",
        text(&format!("bench-{number}"))
    );
    let more = match step {
        0 => format!(
            "7:command5:offer3:ICE6:remove7:replacel6:origine3:sdp{}e",
            text(&sdp(65_000))
        ),
        1 => format!(
            "6:to-tag1:b7:command6:answer3:ICE6:remove3:sdp{}e",
            text(&sdp(65_100))
        ),
        _ => "12:delete-delayi0e7:command6:deletee".to_owned(),
    };
    socket.send(format!("{head}{more}").as_bytes()).map(drop)
}

fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
    )
}

fn text(text: &str) -> String {
    format!("{}:{text}", text.len())
}
