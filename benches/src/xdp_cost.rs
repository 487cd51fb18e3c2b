//! What the XDP program costs a packet, without a NIC: the kernel runs it on a frame again and again
//! and tells the mean time (BPF_PROG_TEST_RUN).
//!
//! One absolute time says little on a shared machine. So each round measures the media program and
//! the floor, a bare program that swaps addresses, right after each other, and what is reported is
//! the median and the spread of the rounds. A test run also has costs of its own (some nanoseconds a
//! run), in both figures alike.
//!
//! The kernel does not restore the frame between runs. So the forwarding slots rewrite a packet to
//! itself, and only its TTL goes down: it lasts for one batch. The sequence number stays too, so the
//! flow's statistics see a repeated packet; what one in order costs more is measured apart, on the
//! host, where the same function runs ([`in_order_ns`]).

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use mediad::xdp::{
    Floor, Flow, Hop, Identity, Numbers, Route, Rtp, Slot, SlotError, TestRun, Xdp, XdpError, tick,
};
use thiserror::Error;

/// `enum xdp_action`.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// Loopback's index, the interface that test runs come in by.
const INGRESS: u32 = 1;
/// A key of the device map, for sending out of another interface.
const OTHER: u32 = 2;

/// How many runs a frame lasts: its TTL goes from 255 to 5.
const BATCH: u32 = 250;

/// A cap that lets all through: a microsecond between packets.
const CAP: u16 = 1;

const CLOCK_RATE: u32 = 8_000;

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum CostError {
    /// The program could not be loaded or run.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// A slot could not be made.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// A frame did not take the path that is to be measured.
    #[error("{path}: verdict {verdict} instead of {expected}")]
    Verdict {
        /// The path.
        path: &'static str,
        /// What the program said.
        verdict: u32,
        /// What it should have said.
        expected: u32,
    },
}

/// The cost of one path through the program, over all rounds.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What happens to the packet.
    pub path: &'static str,
    /// Mean time a packet in each round, sorted; ns.
    pub rounds: Vec<f64>,
    /// The same divided by the floor's time of the same round, sorted.
    pub ratios: Vec<f64>,
}

impl Cost {
    /// The median time a packet in ns.
    #[must_use]
    pub fn ns(&self) -> f64 {
        median(&self.rounds)
    }

    /// The median of the ratios to the floor.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(&self.ratios)
    }

    /// Least and greatest time in ns.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        let ends = (self.rounds.first(), self.rounds.last());
        (
            ends.0.copied().unwrap_or(0.0),
            ends.1.copied().unwrap_or(0.0),
        )
    }
}

/// Measures each path in `rounds` rounds of `batches` times 250 packets. The first cost is the
/// floor's.
///
/// # Errors
/// When the programs cannot be loaded, which needs root.
pub fn measure(rounds: usize, batches: u32) -> Result<Vec<Cost>, CostError> {
    let bed = Bed::new()?;
    let mut costs: Vec<Cost> = Path::ALL
        .iter()
        .map(|path| Cost {
            path: path.name(),
            rounds: Vec::new(),
            ratios: Vec::new(),
        })
        .collect();
    for path in Path::ALL {
        bed.run(*path, batches)?;
    }
    for _ in 0..rounds {
        let mut floor = f64::NAN;
        for (path, cost) in Path::ALL.iter().zip(&mut costs) {
            let time = bed.run(*path, batches)?;
            if *path == Path::Floor {
                floor = time;
            }
            cost.rounds.push(time);
            cost.ratios.push(time / floor);
        }
    }
    for cost in &mut costs {
        cost.rounds.sort_by(f64::total_cmp);
        cost.ratios.sort_by(f64::total_cmp);
    }
    Ok(costs)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Floor,
    Tx,
    Bare,
    Numbers,
    BareNumbers,
    Redirect,
    Gate,
    NoSlot,
}

impl Path {
    /// The floor comes first: the others of a round are divided by it.
    const ALL: &[Self] = &[
        Self::Floor,
        Self::Tx,
        Self::Bare,
        Self::Numbers,
        Self::BareNumbers,
        Self::Redirect,
        Self::Gate,
        Self::NoSlot,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: swap addresses, send back",
            Self::Tx => "RTP forwarded, same interface",
            Self::Bare => "the same without quality counters",
            Self::Numbers => "RTP with SSRC, numbers and payload type of our own",
            Self::BareNumbers => "that without quality counters",
            Self::Redirect => "RTP forwarded, other interface",
            Self::Gate => "RTP of a stranger, dropped",
            Self::NoSlot => "UDP to another port, passed",
        }
    }

    const fn verdict(self) -> u32 {
        match self {
            Self::Floor | Self::Tx | Self::Bare | Self::Numbers | Self::BareNumbers => XDP_TX,
            Self::Redirect => XDP_REDIRECT,
            Self::Gate => XDP_DROP,
            Self::NoSlot => XDP_PASS,
        }
    }
}

struct Bed {
    xdp: Xdp,
    /// The program without statistics.
    bare: Xdp,
    floor: Floor,
}

impl Bed {
    const PEER: SocketAddr = end([198, 51, 100, 9], 4000);
    const STRANGER: SocketAddr = end([198, 51, 100, 8], 4000);
    const TX: SocketAddr = end([198, 51, 100, 1], 20_000);
    const REDIRECT: SocketAddr = end([198, 51, 100, 1], 20_002);
    const NUMBERS: SocketAddr = end([198, 51, 100, 1], 20_006);
    const NO_SLOT: SocketAddr = end([198, 51, 100, 1], 20_004);

    fn new() -> Result<Self, CostError> {
        let mut xdp = Xdp::load()?;
        let bare = Xdp::load_without_statistics()?;
        xdp.allow_device(OTHER, INGRESS)?;
        for (local, ifindex) in [
            (Self::TX, INGRESS),
            (Self::REDIRECT, OTHER),
            (Self::NUMBERS, INGRESS),
        ] {
            let (peer, source, destination) = (Self::PEER, Self::PEER, local);
            let route = Route {
                local,
                peer,
                source,
                destination,
            };
            let hop = Hop {
                ifindex,
                source: [2; 6],
                destination: [4; 6],
                tags: [None, None],
            };
            let slot = Slot::forwarding(Identity::default(), &route, &hop, CLOCK_RATE)?.cap(CAP);
            let slot = if local == Self::NUMBERS {
                slot.renumbered()
            } else {
                slot
            };
            xdp.slots().write(local.port(), &slot);
            bare.slots().write(local.port(), &slot);
        }
        // The packet's own numbers, so that each run finds the same; and all payload types but its own.
        let mut numbers = Numbers::default();
        numbers.begin_stream(7, 1, 160);
        numbers.set_types((100..106).map(|own| [own, own + 10]));
        for xdp in [&xdp, &bare] {
            xdp.numbers().write(Self::NUMBERS.port(), &numbers);
        }
        Ok(Self {
            xdp,
            bare,
            floor: Floor::load()?,
        })
    }

    /// The mean time a packet in ns.
    fn run(&self, path: Path, batches: u32) -> Result<f64, CostError> {
        let frame = match path {
            Path::Floor | Path::Tx | Path::Bare => frame(Self::PEER, Self::TX),
            Path::Numbers | Path::BareNumbers => frame(Self::PEER, Self::NUMBERS),
            Path::Redirect => frame(Self::PEER, Self::REDIRECT),
            Path::Gate => frame(Self::STRANGER, Self::TX),
            Path::NoSlot => frame(Self::PEER, Self::NO_SLOT),
        };
        let mut sum = 0.0;
        for _ in 0..batches {
            let run = self.batch(path, &frame)?;
            if run.verdict != path.verdict() {
                return Err(CostError::Verdict {
                    path: path.name(),
                    verdict: run.verdict,
                    expected: path.verdict(),
                });
            }
            sum += run.duration.as_secs_f64() * 1e9;
        }
        Ok(sum / f64::from(batches))
    }

    fn batch(&self, path: Path, frame: &[u8]) -> Result<TestRun, XdpError> {
        match path {
            Path::Floor => self.floor.test_run(frame, BATCH),
            Path::Bare | Path::BareNumbers => self.bare.test_run(frame, BATCH),
            _ => self.xdp.test_run(frame, BATCH),
        }
    }
}

/// What the statistics of a packet in order cost beyond those of a repeated one, in ns, on the host.
#[must_use]
pub fn in_order_ns() -> f64 {
    const PACKETS: u32 = 4_000_000;
    let time = |step: u32| {
        let (mut flow, tick) = (Flow::default(), tick(CLOCK_RATE));
        let start = Instant::now();
        for nth in 0..PACKETS {
            let [low, high, ..] = (nth * step).to_le_bytes();
            let rtp = Rtp {
                sequence: u16::from_le_bytes([low, high]),
                timestamp: (nth * step).wrapping_mul(160),
                ssrc: 7,
            };
            black_box(&mut flow).record_rtp(rtp, 172, u64::from(nth) * 20_000_000, tick);
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(PACKETS)
    };
    let mut differences: Vec<f64> = (0..5).map(|_| time(1) - time(0)).collect();
    differences.sort_by(f64::total_cmp);
    median(&differences)
}

const fn end(ip: [u8; 4], port: u16) -> SocketAddr {
    let [a, b, c, d] = ip;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

/// A G.711 packet of 20 ms. Its checksums are not looked at, only updated.
fn frame(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut frame = vec![4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 0x08, 0x00];
    frame.extend([0x45, 0xb8, 0, 200, 0, 0, 0x40, 0, 255, 17, 0x12, 0x34]);
    for end in [from, to] {
        if let IpAddr::V4(ip) = end.ip() {
            frame.extend(ip.octets());
        }
    }
    for end in [from, to] {
        frame.extend(end.port().to_be_bytes());
    }
    frame.extend([0, 180, 0x56, 0x78]);
    frame.extend([0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7]);
    frame.extend([0xd5; 160]);
    frame
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
