//! A jitter buffer that hands out frames of 8,000 Hz as soon as they are whole: for who takes audio when it comes and
//! needs no even steps, such as a server that listens.
//!
//! What comes in order waits for nothing. Behind a gap it waits: until what is missing has come, or a clock of 20 ms
//! has had as many turns as the patience allows; then the gap is concealed. Patience grows, from 60 to 120 ms, when
//! something comes too late, and shrinks, to 40 ms, after 10 s without; where nothing is lost it costs nothing. A gap in
//! the timestamps that is none in the sequence numbers is a sender's silence (RFC 3550 section 4), and is handed out as
//! such at once.
//!
//! Frames keep to the clock's count: of a sender who is ahead of it, quiet frames are left out.

use crate::conceal::Concealer;

/// Samples of a frame: 20 ms.
pub const FRAME: usize = FRAME32 as usize;
const FRAME32: u32 = 160;
/// Samples of a packet that are taken at most: 120 ms.
const MOST: usize = 960;
/// Samples in the ring, a power of two: 512 ms.
const RING: usize = RING32 as usize;
const RING32: u32 = 4_096;
/// Mean magnitude of a frame that nobody misses: -47 dBov.
const QUIET: u32 = 150;

/// Frames that a gap is waited for at the beginning, at least and at most.
const FIRST: i32 = 3;
const LEAST: i32 = 2;
const PATIENT: i32 = 6;
/// Turns after which less patience is tried: 10 s.
const CALM: u32 = 500;
/// Frames after which the sender's clock is looked at anew: 2 s.
const WINDOW: u32 = 100;
/// Frames that may be handed out before their turn: 500 ms.
const AHEAD: i32 = 25;

/// Where a sample may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Empty,
    Waiting(i16),
    /// Was handed out already.
    Read,
}

/// The audio of one sender.
#[derive(Debug, Clone)]
pub struct Jitter {
    ring: Box<[Cell]>,
    /// SSRC of the stream; `None` before its first packet.
    ssrc: Option<u32>,
    /// Of the newest packet: its sequence number, and its frames, rounded up.
    sequence: u16,
    packet: i32,
    /// Timestamp of the next sample to hand out, and after the newest one.
    next: u32,
    end: u32,
    concealer: Concealer,
    /// Frames that were handed out beyond the turns of the clock.
    ahead: i32,
    /// The same after a packet that came as early as they do, and the most of this window.
    prompt: i32,
    best: i32,
    frames: u32,
    patience: i32,
    /// Turns since something came too late.
    calm: u32,
}

impl Default for Jitter {
    fn default() -> Self {
        Self {
            ring: vec![Cell::Empty; RING].into(),
            ssrc: None,
            sequence: 0,
            packet: 1,
            next: 0,
            end: 0,
            concealer: Concealer::default(),
            ahead: 0,
            prompt: 0,
            best: i32::MIN,
            frames: 0,
            patience: FIRST,
            calm: 0,
        }
    }
}

impl Jitter {
    /// Takes a packet, whose payload is one octet a sample, which `decode` makes linear. [`ready`](Self::ready) has
    /// what it makes whole.
    pub fn put(&mut self, packet: &crate::Packet<'_>, decode: fn(u8) -> i16) {
        let payload = packet.payload();
        let payload = payload.get(..MOST).unwrap_or(payload);
        let len = u32::try_from(payload.len()).unwrap_or(0);
        if len == 0 || self.ahead > AHEAD {
            return;
        }
        let timestamp = packet.timestamp();
        let until = timestamp.wrapping_add(len);
        if self.ssrc != Some(packet.ssrc()) || self.has_jumped(timestamp, until) {
            self.begin(packet.ssrc(), timestamp);
        } else {
            let follows = packet.sequence() == self.sequence.wrapping_add(1);
            if is_before(timestamp, self.next) {
                // It was handed out already, or concealed.
                if self.ring[place(timestamp)] != Cell::Read {
                    self.patience = (self.patience + 1).min(PATIENT);
                    self.calm = 0;
                }
                if follows {
                    // Nothing was lost, all of it is late: none of it is to be lost here.
                    self.next = timestamp;
                } else if !is_before(self.next, until) {
                    return;
                }
            } else if follows && is_before(self.end, timestamp) {
                self.silence_until(timestamp);
            }
        }
        for (position, octet) in (0..).zip(payload) {
            let at = timestamp.wrapping_add(position);
            if !is_before(at, self.next) {
                self.ring[place(at)] = Cell::Waiting(decode(*octet));
            }
        }
        if is_before(self.end, until) {
            self.end = until;
            self.sequence = packet.sequence();
            self.packet = i32::try_from(len.div_ceil(FRAME32)).unwrap_or(1);
        }
    }

    /// Hands out the next frame, where it is whole. To be asked after each packet until there is none.
    pub fn ready(&mut self, out: &mut [i16; FRAME]) -> bool {
        while self.is_whole() {
            self.read(out);
            let loudness: u32 = out
                .iter()
                .map(|sample| u32::from(sample.unsigned_abs()))
                .sum();
            if self.ahead > 1 && loudness / FRAME32 <= QUIET {
                self.prompt -= 1;
                self.best = self.best.saturating_sub(1);
                continue;
            }
            self.ahead += 1;
            self.prompt = self.prompt.max(self.ahead);
            self.best = self.best.max(self.ahead);
            self.frames += 1;
            if self.frames == WINDOW {
                // A sender whose clock is slow is not taken for one whose packets are lost, nor who is never quiet for
                // ever as one who is ahead.
                if self.best > 1 {
                    self.ahead -= 1;
                    self.best -= 1;
                }
                self.prompt = self.best;
                (self.best, self.frames) = (i32::MIN, 0);
            }
            return true;
        }
        false
    }

    /// A turn of the clock, each 20 ms: hands out a frame, where what is missing of it is waited for no longer. Of a
    /// sender of whom nothing has come it is silence.
    pub fn turn(&mut self, out: &mut [i16; FRAME]) -> bool {
        self.calm += 1;
        if self.calm == CALM {
            self.calm = 0;
            self.patience = (self.patience - 1).max(LEAST);
        }
        if self.ssrc.is_none() {
            out.fill(0);
            return true;
        }
        self.ahead -= 1;
        if self.prompt - self.ahead <= self.patience + self.packet {
            return false;
        }
        self.ahead += 1;
        self.read(out);
        true
    }

    fn has_jumped(&self, timestamp: u32, until: u32) -> bool {
        if is_before(timestamp, self.next) {
            self.next.wrapping_sub(timestamp) > RING32
        } else {
            is_before(self.end, until) && until.wrapping_sub(self.next) > RING32
        }
    }

    fn begin(&mut self, ssrc: u32, timestamp: u32) {
        self.ring.fill(Cell::Empty);
        self.ssrc = Some(ssrc);
        (self.next, self.end) = (timestamp, timestamp);
        self.concealer.reset();
        self.prompt = self.ahead;
        (self.best, self.frames) = (i32::MIN, 0);
    }

    /// The sender was silent between its newest sample and this one.
    fn silence_until(&mut self, timestamp: u32) {
        let mut at = match is_before(self.end, self.next) {
            true => self.next,
            false => self.end,
        };
        while is_before(at, timestamp) {
            self.ring[place(at)] = Cell::Waiting(0);
            at = at.wrapping_add(1);
        }
    }

    fn is_whole(&self) -> bool {
        let mut places = (0..FRAME32).map(|at| place(self.next.wrapping_add(at)));
        places.all(|place| matches!(self.ring[place], Cell::Waiting(_)))
    }

    fn read(&mut self, out: &mut [i16; FRAME]) {
        for sample in out {
            let cell = &mut self.ring[place(self.next)];
            self.next = self.next.wrapping_add(1);
            *sample = if let Cell::Waiting(found) = *cell {
                *cell = Cell::Read;
                self.concealer.heard(found);
                found
            } else {
                *cell = Cell::Empty;
                self.concealer.missing()
            };
        }
    }
}

/// Whether a timestamp is before another one (RFC 3550: they wrap).
const fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) > u32::MAX / 2
}

const fn place(timestamp: u32) -> usize {
    timestamp as usize & (RING - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Packet;

    struct Sender {
        jitter: Jitter,
        base: u32,
    }

    impl Sender {
        fn new(base: u32) -> Self {
            let jitter = Jitter::default();
            Self { jitter, base }
        }

        /// A packet of 20 ms whose samples are all of its number, in its place in time.
        fn put(&mut self, number: u16) {
            self.put_as(number, number, 160);
        }

        fn put_as(&mut self, sequence: u16, number: u16, samples: usize) {
            let timestamp = self.base.wrapping_add(u32::from(number) * 160);
            let octet = u8::try_from(number).unwrap();
            self.put_raw(1, sequence, timestamp, &vec![octet; samples]);
        }

        fn put_raw(&mut self, ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) {
            let mut octets = vec![0x80, 0];
            octets.extend(sequence.to_be_bytes());
            octets.extend(timestamp.to_be_bytes());
            octets.extend(ssrc.to_be_bytes());
            octets.extend(payload);
            // Loud enough never to be left out.
            let loud = |octet| i16::from(octet) * 200;
            self.jitter.put(&Packet::parse(&octets).unwrap(), loud);
        }

        /// Frames that are whole, as their packets' numbers; of mixed ones -1.
        fn ready(&mut self) -> Vec<i16> {
            let mut frame = [0; FRAME];
            let mut numbers = Vec::new();
            while self.jitter.ready(&mut frame) {
                numbers.push(number(&frame));
            }
            numbers
        }

        fn turn(&mut self) -> Option<i16> {
            let mut frame = [0; FRAME];
            self.jitter.turn(&mut frame).then(|| number(&frame))
        }
    }

    fn number(frame: &[i16; FRAME]) -> i16 {
        match frame.iter().all(|sample| *sample == frame[0]) {
            true => frame[0] / 200,
            false => -1,
        }
    }

    #[test]
    fn what_comes_in_order_waits_for_nothing() {
        // Timestamps wrap in the middle.
        let mut sender = Sender::new(0u32.wrapping_sub(480));
        assert_eq!(sender.turn(), Some(0), "silence before the first packet");
        for number in 1..100 {
            sender.put(number);
            assert_eq!(sender.ready(), [i16::try_from(number).unwrap()]);
            assert_eq!(sender.turn(), None);
        }
    }

    #[test]
    fn packets_of_any_time_become_frames() {
        let mut sender = Sender::new(0);
        for (sequence, number) in [1, 4, 7].into_iter().enumerate() {
            sender.put_as(u16::try_from(sequence).unwrap(), number, 480);
            assert_eq!(sender.ready().len(), 3);
            for _ in 0..3 {
                assert_eq!(sender.turn(), None);
            }
        }
        sender.put_raw(1, 3, 10 * 160, &[10; 80]);
        assert!(sender.ready().is_empty());
        sender.put_raw(1, 4, 10 * 160 + 80, &[10; 80]);
        assert_eq!(sender.ready(), [10]);
    }

    #[test]
    fn who_comes_out_of_order_is_waited_for() {
        let mut sender = Sender::new(0);
        sender.put(1);
        assert_eq!(sender.ready(), [1]);
        sender.put(3);
        sender.put(3);
        assert!(sender.ready().is_empty());
        assert_eq!(sender.turn(), None);
        sender.put(2);
        assert_eq!(sender.ready(), [2, 3]);
    }

    #[test]
    fn a_loss_is_concealed_when_patience_ends_and_what_follows_waits_no_longer() {
        let mut sender = Sender::new(0);
        sender.put(1);
        assert_eq!(sender.ready(), [1]);
        assert_eq!(sender.turn(), None);
        let mut turns = 0;
        let concealed = (3..20).find_map(|number| {
            sender.put(number);
            assert!(sender.ready().is_empty());
            turns += 1;
            sender.turn()
        });
        // It fades.
        assert_eq!((concealed, turns), (Some(-1), FIRST + 1));
        assert_eq!(sender.ready(), [3, 4, 5, 6]);
        // Too late: the next gap is waited for longer.
        let patience = sender.jitter.patience;
        sender.put(2);
        assert_eq!(sender.jitter.patience, patience + 1);
        // Again: it was handed out, and is not late but there twice.
        sender.put(5);
        assert_eq!(sender.jitter.patience, patience + 1);
        for _ in 0..10 * CALM {
            sender.turn();
        }
        assert_eq!(sender.jitter.patience, LEAST);
    }

    #[test]
    fn a_senders_silence_is_no_loss() {
        let mut sender = Sender::new(0);
        sender.put_as(1, 1, 160);
        assert_eq!(sender.ready(), [1]);
        let silent = (2..50).filter_map(|_| sender.turn()).count();
        assert!((43..48).contains(&silent), "{silent}");
        // It speaks again, in the next packet and at its time.
        sender.put_as(2, 50, 160);
        let heard = sender.ready();
        assert_eq!(heard.last(), Some(&50));
        assert_eq!(silent + heard.len(), 49, "{heard:?}");
        sender.turn();
        sender.put_as(3, 51, 160);
        assert_eq!(sender.ready(), [51]);
    }

    #[test]
    fn what_is_late_as_a_whole_is_not_lost() {
        let mut sender = Sender::new(0);
        sender.put(1);
        assert_eq!(sender.ready(), [1]);
        // The network stands still for 200 ms.
        for _ in 0..10 {
            sender.turn();
        }
        let heard: Vec<i16> = (2..14)
            .flat_map(|number| {
                sender.put(number);
                sender.ready()
            })
            .collect();
        assert_eq!(heard, (2..14).collect::<Vec<_>>());
        assert!(sender.jitter.ahead > 1);
        // What is ahead of the clock now is made up for in silence.
        let mut numbers = 14..;
        while sender.jitter.ahead > 1 {
            let number = numbers.next().unwrap();
            sender.put_raw(1, number, u32::from(number) * 160, &[0; 160]);
            sender.ready();
            sender.turn();
            assert!(number < 40);
        }
    }

    #[test]
    fn a_flood_is_no_more_than_half_a_second_ahead() {
        let mut sender = Sender::new(0);
        let heard: usize = (1..150)
            .map(|number| {
                sender.put(number);
                sender.ready().len()
            })
            .sum();
        assert!(heard <= 27, "{heard}");
        for _ in 0..30 {
            sender.turn();
        }
        sender.put(160);
        assert_eq!(sender.ready(), [160]);
    }

    #[test]
    fn a_slow_clock_is_no_loss() {
        // One packet in 500 too few: 20 times what crystals do.
        let mut sender = Sender::new(0);
        let (mut number, mut heard, mut concealed) = (0, 0, 0);
        for turn in 0..20_000 {
            if turn % 500 != 499 {
                number += 1;
                sender.put_raw(1, number, u32::from(number) * 160, &[9; 160]);
                heard += sender.ready().len();
            }
            concealed += usize::from(sender.turn().is_some());
        }
        assert_eq!((heard, concealed), (usize::from(number), 0));
    }

    #[test]
    fn a_new_stream_and_a_clock_that_jumps_begin_anew() {
        let mut sender = Sender::new(0);
        sender.put(1);
        sender.ready();
        for (ssrc, timestamp) in [(2, 77), (2, 1_000_000), (2, 3_000_000_000), (2, 5)] {
            sender.put_raw(ssrc, 9, timestamp, &[9; 160]);
            assert_eq!(sender.ready(), [9], "{timestamp}");
        }
    }

    proptest! {
        /// Whatever comes, as many frames go out as time passes, but for what may wait or be ahead.
        #[test]
        fn frames_keep_to_the_clock(
            steps in prop::collection::vec((0u32..2, any::<u16>(), any::<u32>(), 0usize..2_000, 0u8..4), 0..200)
        ) {
            let mut sender = Sender::new(0);
            let (mut out, mut turns) = (0_i64, 0_i64);
            for (ssrc, sequence, timestamp, len, turned) in steps {
                sender.put_raw(ssrc, sequence, timestamp, &vec![3; len]);
                out += i64::try_from(sender.ready().len()).unwrap();
                for _ in 0..turned {
                    turns += 1;
                    out += i64::from(sender.turn().is_some());
                }
                prop_assert!(out - turns <= i64::from(AHEAD) + 8 + out / 100, "{} ahead", out - turns);
            }
        }

        /// With no more than 40 ms of jitter and no loss, everything is handed out, once and in order.
        #[test]
        fn what_is_not_lost_is_heard_in_order(late in prop::collection::vec(0u16..3, 120)) {
            let mut sender = Sender::new(0);
            let mut heard = Vec::new();
            for now in 0..124 {
                for (number, late) in (1..).zip(&late) {
                    if number + late == now {
                        sender.put(number);
                        heard.extend(sender.ready());
                    }
                }
                heard.extend(sender.turn());
            }
            heard.retain(|number| *number != 0);
            // The first packet to come may be the second.
            let first = heard[0];
            prop_assert!(first <= 3);
            prop_assert_eq!(heard, (first..=120).collect::<Vec<_>>());
        }
    }
}
