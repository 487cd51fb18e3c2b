//! Input that is no SIP, or hardly, from an address that is nobody's.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{BenchError, SIP, STRANGER};

/// Datagrams, as they come and cut anywhere.
const INPUT: [&[u8]; 8] = [
    b"\r\n\r\n",
    b"\x00\x01\x02\x03\xff\xfe",
    b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    b"INVITE sip:1@node SIP/2.0\r\n\r\n",
    b"INVITE sip:1@node SIP/9.9\r\nVia: SIP/2.0/UDP 127.92.0.5;branch=z9hG4bKx\r\n\r\n",
    b"REGISTER sip:mixed.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.92.0.5;branch=z9hG4bKy;rport\r\n\
      Max-Forwards: 70\r\nFrom: <sip:u0@mixed.test>;tag=1\r\nTo: <sip:u0@mixed.test>\r\n\
      Call-ID: bad\r\nCSeq: 99999999999999999999 REGISTER\r\nContent-Length: 0\r\n\r\n",
    b"OPTIONS sip:node SIP/2.0\r\nVia: SIP/2.0/UDP 127.92.0.5;branch=z9hG4bKz;rport\r\n\
      Max-Forwards: 0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: opt\r\n\
      CSeq: 1 OPTIONS\r\nContent-Length: 40\r\n\r\nshort",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.92.0.1;branch=z9hG4bKnobody\r\n\
      From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 INVITE\r\n\
      Content-Length: 0\r\n\r\n",
];

/// A sender of bad input.
pub(super) struct Hostile {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
}

impl Hostile {
    /// Sends so many datagrams a second.
    pub(super) fn start(rate: u32) -> Result<Self, BenchError> {
        let socket = UdpSocket::bind((STRANGER, 0))?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let pause = Duration::from_secs(1) / rate.max(1);
        let sender = thread::spawn(move || {
            let mut sent = 0;
            for number in 0_usize.. {
                if seen.load(Ordering::Relaxed) {
                    break;
                }
                let whole = INPUT[number % INPUT.len()];
                // Whole the first time, then cut at each place in turn.
                let end = whole.len() - (number / INPUT.len()) % whole.len();
                sent += u64::from(socket.send_to(&whole[..end], SIP).is_ok());
                thread::sleep(pause);
            }
            sent
        });
        Ok(Self { stop, sender })
    }

    /// Ends it; datagrams sent.
    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has sent nothing: the report shows it.
        self.sender.join().unwrap_or_default()
    }
}
