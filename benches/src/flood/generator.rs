//! Sends requests and garbage from addresses that are no trunk's, from one thread on one core.
//!
//! On a veth the kernel does what a datagram costs until it is in the receiver's socket, or dropped by
//! XDP, in the context of who sends it: on the generator's core.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use loadtest::bed::Bed;

use super::BenchError;
use crate::cpu;

/// The host that is banned.
pub(super) const BANNED: Ipv4Addr = Ipv4Addr::new(10, 91, 1, 66);
/// Each stranger is in a network of its own: 198.18.0.1, 198.18.1.1 and so on (RFC 2544).
const STRANGERS: u8 = 255;
/// Datagrams between two looks at the clock.
const BATCH: u32 = 64;
/// What each datagram has a number of its own in place of.
const MARK: &[u8] = b"################";

/// Who floods, with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Nobody.
    None,
    /// One banned address, with INVITEs.
    Banned,
    /// An address in each of 255 networks, with REGISTER, INVITE, OPTIONS, a scanner's OPTIONS and
    /// garbage.
    Strangers,
}

impl Flood {
    /// In the order of their turns.
    pub const ALL: [Self; 3] = [Self::None, Self::Banned, Self::Strangers];

    /// For tables and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Banned => "banned",
            Self::Strangers => "strangers",
        }
    }

    fn sources(self) -> Vec<Ipv4Addr> {
        match self {
            Self::None => Vec::new(),
            Self::Banned => vec![BANNED],
            Self::Strangers => (0..STRANGERS)
                .map(|net| Ipv4Addr::new(198, 18, net, 1))
                .collect(),
        }
    }

    fn datagrams(self, node: SocketAddr) -> Vec<Datagram> {
        let invite = request("INVITE", "15550100", node, "");
        match self {
            Self::None => Vec::new(),
            Self::Banned => vec![invite],
            Self::Strangers => vec![
                request("REGISTER", "100", node, ""),
                invite,
                request("OPTIONS", "100", node, ""),
                request("OPTIONS", "100", node, "User-Agent: friendly-scanner\r\n"),
                Datagram::new(vec![b'A'; 400]),
            ],
        }
    }
}

/// A flood that is on; it goes on until it is stopped.
pub(super) struct Generator {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    start: Instant,
}

/// Makes the addresses of all floods the caller's own, with a way back from the node.
pub(super) fn prepare(bed: &Bed) -> Result<(), BenchError> {
    let link = bed.party_interface();
    let [node_link, _] = bed.node_interfaces();
    for (space, arguments) in [
        (bed.caller(), format!("address add {BANNED}/24 dev {link}")),
        (bed.caller(), "route add local 198.18.0.0/16 dev lo".into()),
        (
            bed.node(),
            format!("route add 198.18.0.0/16 via 10.91.1.2 dev {node_link}"),
        ),
    ] {
        let mut command = space.command("ip");
        loadtest::process::run(command.args(arguments.split(' ')))?;
    }
    Ok(())
}

impl Generator {
    /// Starts `flood` against `node`, with so many datagrams a second at most, or as many as one
    /// core can send.
    pub(super) fn start(
        flood: Flood,
        bed: &Bed,
        node: SocketAddr,
        rate: Option<u32>,
        core: usize,
    ) -> Result<Self, BenchError> {
        let bind = || {
            let sources = flood.sources().into_iter();
            sources
                .map(|ip| UdpSocket::bind((ip, 0)))
                .collect::<io::Result<Vec<_>>>()
        };
        let sockets = bed.caller().enter(bind)??;
        let datagrams = flood.datagrams(node);
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            cpu::pin(core);
            send(&sockets, datagrams, node, rate, &seen)
        });
        Ok(Self {
            stop,
            sender,
            start: Instant::now(),
        })
    }

    /// Ends it; datagrams a second.
    pub(super) fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has sent nothing: the rate shows it.
        let sent = self.sender.join().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let sent = sent as f64;
        sent / self.start.elapsed().as_secs_f64()
    }
}

fn send(
    sockets: &[UdpSocket],
    mut datagrams: Vec<Datagram>,
    node: SocketAddr,
    rate: Option<u32>,
    stop: &AtomicBool,
) -> u64 {
    let (mut sent, mut number) = (0_u64, 0_u64);
    let pause = rate.map(|rate| Duration::from_secs(1) * BATCH / rate.max(1));
    let mut due = Instant::now();
    if sockets.is_empty() || datagrams.is_empty() {
        return 0;
    }
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            let at = usize::try_from(number).unwrap_or(0);
            let count = datagrams.len();
            // One further in each round of the sockets, so that each of them sends everything.
            let datagram = &mut datagrams[(at + at / sockets.len()) % count];
            datagram.number(number);
            let socket = &sockets[at % sockets.len()];
            sent += u64::from(socket.send_to(&datagram.bytes, node).is_ok());
            number += 1;
        }
        if let Some(pause) = pause {
            due += pause;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    sent
}

/// What is sent over and over, each time with another number in it.
struct Datagram {
    bytes: Vec<u8>,
    /// Where the number is.
    places: Vec<usize>,
}

impl Datagram {
    fn new(bytes: Vec<u8>) -> Self {
        let windows = bytes.windows(MARK.len()).enumerate();
        let places = windows.filter(|(_, window)| *window == MARK);
        Self {
            places: places.map(|(at, _)| at).collect(),
            bytes,
        }
    }

    fn number(&mut self, number: u64) {
        for at in &self.places {
            // There is room for 16 digits.
            let mut place = &mut self.bytes[*at..*at + MARK.len()];
            let _written = write!(place, "{number:016x}");
        }
    }
}

fn request(method: &str, user: &str, node: SocketAddr, more: &str) -> Datagram {
    let mark = String::from_utf8_lossy(MARK);
    Datagram::new(
        format!(
            "{method} sip:{user}@{node} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{mark};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{node}>;tag={mark}\r\nTo: <sip:{user}@{node}>\r\n\
             Call-ID: {mark}\r\nCSeq: 1 {method}\r\nContact: <sip:{user}@192.0.2.1>\r\n\
             {more}Content-Length: 0\r\n\r\n"
        )
        .into_bytes(),
    )
}
