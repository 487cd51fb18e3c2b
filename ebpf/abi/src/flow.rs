//! What was received on one port: RFC 3550 reception statistics.
//!
//! The same function updates a flow in the kernel and in userspace, so a call keeps its statistics
//! when its packets change from one path to the other. One packet of a flow is handled at a time (a
//! flow arrives on one queue), so nothing here is atomic; a reader on another CPU may see a packet
//! half counted.

/// A packet this far ahead is still the same sequence (RFC 3550 appendix A.1, MAX_DROPOUT).
pub(crate) const MAX_DROPOUT: u16 = 3000;
/// A packet this far behind is late; further behind, the sender has restarted (MAX_MISORDER).
pub(crate) const MAX_MISORDER: u16 = 100;
/// How many of the last sequence numbers are remembered to tell a late packet from a repeated one.
const WINDOW: u16 = 32;
/// A change in transit time beyond this is a sender's clock that jumped, not jitter. In ns.
const MAX_TRANSIT_CHANGE: u64 = 1_000_000_000;
/// Arrival times for jitter are kept in units of 2^10 ns, so that 32 bits last for 73 minutes.
const ARRIVAL_SHIFT: u32 = 10;
/// A packet that comes so much later than it would have at the best that a jitter buffer has given it up, in ns.
const PLAYOUT: u64 = 60_000_000;
/// Jitter (ns) and a change in transit time (ns) below which nothing is late, and nothing is looked at for it.
const CALM_JITTER: u32 = 1_000_000;
const CALM_CHANGE: u64 = 10_000_000;
/// A jitter buffer follows a longer way by 1/2^8 a packet: in 5 s of packets of 20 ms.
const FOLLOW_SHIFT: u32 = 8;
/// How far the bucket of a port may be ahead of its time, in units of 2^10 ns: a second.
const BURST: u32 = 1_000_000_000 >> ARRIVAL_SHIFT;
/// Gaps longer than this (ns) wrap the short arrival time; the jitter restarts after them.
const MAX_GAP: u64 = 1 << 41;

/// The reception state of one port, two cache lines: what each packet changes is in the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Flow {
    /// Packets received, repeated ones included.
    pub packets: u64,
    /// Octets of UDP payload in them.
    pub octets: u64,
    /// When the last one arrived: CLOCK_MONOTONIC, ns.
    pub last_arrival: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1) in ns.
    pub jitter: u32,
    /// The synchronisation source now.
    pub ssrc: u32,
    /// The highest sequence number received, extended to 32 bits.
    pub highest: u32,
    /// The first sequence number of this source, extended.
    pub base: u32,
    /// The RTP timestamp that transit time was last measured with.
    pub timestamp: u32,
    /// When it arrived, in units of 2^10 ns.
    pub timestamp_arrival: u32,
    /// Bit `n` says that `highest - n` was received.
    pub window: u32,
    /// What the cap lets through.
    pub bucket: Bucket,
    /// The longest time between two packets of the present source, in units of 2^10 ns.
    pub longest_gap: u32,
    /// Packets that came after a later one.
    pub reordered: u32,
    /// Packets that the cap refused, RTCP among them.
    pub limited: u64,
    /// Packets that earlier sources, or this one before it restarted, should have sent.
    pub expected_before: u32,
    /// Packets that came again.
    pub duplicates: u32,
    /// Runs of packets that did not come; [`lost`](Self::lost) over this is their mean length.
    pub gaps: u32,
    /// Packets that came, and too late for a jitter buffer of 60 ms to play them.
    pub late: u32,
    /// How much later than at the best packets come now, in ns: what a jitter buffer has to wait for.
    pub lateness: u64,
    /// What is copied of the port's RTCP.
    pub copies: Bucket,
    /// How often another source has taken the place of the one before.
    pub changes: u32,
    /// When the present source's first packet came: CLOCK_MONOTONIC, ns.
    pub began: u64,
    /// The longest time between two packets of any earlier source, in units of 2^10 ns.
    pub longest_gap_before: u32,
    /// How many changes of the source are told.
    pub tellings: Bucket,
    /// Zero, for a later use.
    pub reserved: [u32; 2],
}

const _: () = {
    assert!(size_of::<Flow>() == 128 && align_of::<Flow>() == 64);
    assert!(core::mem::offset_of!(Flow, limited) == 64);
    assert!(core::mem::offset_of!(Flow, began) == 104);
};

/// A token bucket, kept as the time at which it will be full again (in units of 2^10 ns).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bucket(u32);

impl Bucket {
    /// Whether a packet at `now` (CLOCK_MONOTONIC, ns) is within the cap of one packet each `spacing` (see
    /// [`spacing()`]), of which a second's worth may come at once.
    #[inline(always)]
    pub const fn admits(&mut self, now: u64, spacing: u16) -> bool {
        let now = short(now);
        let ahead = self.0.wrapping_sub(now);
        // A time in the past looks like one far ahead.
        let taken = if ahead > BURST { 0 } else { ahead } + spacing as u32;
        let admits = taken <= BURST;
        if admits {
            self.0 = now.wrapping_add(taken);
        }
        admits
    }
}

/// The fields of an RTP header that statistics need, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp {
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// The length of one RTP timestamp unit in 1/256 ns, which [`Flow::record_rtp`] takes; 0, which
/// turns jitter off, for a clock rate (Hz) of 0 or beyond any real one.
#[must_use]
pub const fn tick(clock_rate: u32) -> u32 {
    if clock_rate < 100 {
        return 0;
    }
    let rate = clock_rate as u64;
    #[expect(clippy::cast_possible_truncation, reason = "at most 256e9 / 100")]
    let tick = ((256_000_000_000 + rate / 2) / rate) as u32;
    tick
}

/// The least time between packets that a cap of `times` the rate of packets of `ptime` milliseconds
/// leaves, for [`Flow::admits`]: in units of 2^10 ns, 67 ms at most. 0, which is no cap, where either is 0.
#[must_use]
pub const fn spacing(ptime: u16, times: u32) -> u16 {
    if times == 0 {
        return 0;
    }
    let units = (ptime as u64 * 1_000_000 / times as u64) >> ARRIVAL_SHIFT;
    match (ptime, units) {
        (0, _) => 0,
        (_, 0) => 1,
        (_, 1..=0xffff) => {
            #[expect(clippy::cast_possible_truncation, reason = "16 bits by the match")]
            let units = units as u16;
            units
        }
        _ => u16::MAX,
    }
}

/// The least time between copies of one port's RTCP, as by [`spacing()`]: 200 in a second, more than any party has to say.
/// All ports share the ring, also those without a cap.
const COPY_SPACING: u16 = spacing(20, 4);

/// The least time between changes of the source of one port that are told, as by [`spacing()`]: 16 at once, and 16 in a
/// second. Who alternates faster is counted all the same.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a sixteenth of a second fits"
)]
const TELL_SPACING: u16 = (BURST / 16) as u16;

impl Flow {
    /// Whether a packet of `ssrc` ends what another source has sent.
    #[inline(always)]
    #[must_use]
    pub const fn is_ended_by(&self, ssrc: u32) -> bool {
        self.ssrc != ssrc && self.window != 0
    }

    /// Whether the end of a source at `now` (CLOCK_MONOTONIC, ns) may be told.
    #[inline(always)]
    pub const fn admits_telling(&mut self, now: u64) -> bool {
        self.tellings.admits(now, TELL_SPACING)
    }

    /// Whether RTCP that is sent on at `now` (CLOCK_MONOTONIC, ns) may be copied.
    #[inline(always)]
    pub const fn admits_copy(&mut self, now: u64) -> bool {
        self.copies.admits(now, COPY_SPACING)
    }

    /// As [`Bucket::admits`]; what is not is counted.
    #[inline(always)]
    pub const fn admits(&mut self, now: u64, spacing: u16) -> bool {
        let admits = self.bucket.admits(now, spacing);
        if !admits {
            self.limited = self.limited.wrapping_add(1);
        }
        admits
    }

    /// The longest time between two packets of whichever source, in milliseconds.
    #[must_use]
    pub const fn longest_gap_ms(&self) -> u32 {
        if self.longest_gap_before > self.longest_gap {
            gap_ms(self.longest_gap_before)
        } else {
            gap_ms(self.longest_gap)
        }
    }

    /// Counts a packet that is not RTP.
    #[inline(always)]
    pub const fn record_other(&mut self, octets: u32, now: u64) {
        self.octets = self.octets.wrapping_add(octets as u64);
        self.last_arrival = now;
        self.packets = self.packets.wrapping_add(1);
    }

    /// Counts an RTP packet of `octets` UDP payload that arrived at `now` (CLOCK_MONOTONIC, ns) on
    /// a stream whose timestamp unit is `tick` (see [`tick`]).
    #[inline(always)]
    pub const fn record_rtp(&mut self, rtp: Rtp, octets: u32, now: u64, tick: u32) {
        if self.packets == 0 || self.ssrc != rtp.ssrc {
            self.restart(rtp, now);
        } else {
            // The clock of another CPU, or path, may be a little behind.
            let gap = short(now.saturating_sub(self.last_arrival));
            if gap > self.longest_gap {
                self.longest_gap = gap;
            }
            let ahead = rtp.sequence.wrapping_sub(self.highest_sequence());
            let behind = ahead.wrapping_neg();
            if ahead == 0 {
                self.duplicates = self.duplicates.wrapping_add(1);
            } else if ahead < MAX_DROPOUT {
                self.advance(ahead);
                self.measure_jitter(rtp, now, tick);
            } else if behind <= MAX_MISORDER {
                self.insert_late(behind);
            } else {
                self.restart(rtp, now);
            }
        }
        self.record_other(octets, now);
    }

    /// Packets that should have been received.
    #[must_use]
    pub const fn expected(&self) -> u64 {
        if self.window == 0 {
            return 0;
        }
        self.expected_before as u64 + self.of_source() as u64
    }

    /// Packets of RTP that were expected and did not come. Late ones are not lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        let received = self.packets.saturating_sub(self.duplicates as u64);
        self.expected().saturating_sub(received)
    }

    /// How much longer the runs of lost packets are than random loss would make them (G.107's BurstR): 1 and more.
    #[must_use]
    pub fn burst_ratio(&self) -> f64 {
        burst_ratio(self.expected(), self.lost(), u64::from(self.gaps))
    }

    /// Jitter in units of the RTP clock (Hz), as RTCP reports it.
    #[must_use]
    pub const fn jitter_units(&self, clock_rate: u32) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "jitter is at most a second"
        )]
        let units = (self.jitter as u64 * clock_rate as u64 / 1_000_000_000) as u32;
        units
    }

    #[inline(always)]
    const fn highest_sequence(&self) -> u16 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is the sequence number"
        )]
        let sequence = self.highest as u16;
        sequence
    }

    /// Packets that the present source should have sent.
    #[inline(always)]
    const fn of_source(&self) -> u32 {
        self.highest.wrapping_sub(self.base).wrapping_add(1)
    }

    /// A first packet, another source, or a sequence that jumped: what was expected is kept.
    #[inline(always)]
    const fn restart(&mut self, rtp: Rtp, now: u64) {
        if self.window != 0 {
            self.expected_before = self.expected_before.wrapping_add(self.of_source());
        }
        if self.window == 0 || self.ssrc != rtp.ssrc {
            self.begin(now);
        }
        self.ssrc = rtp.ssrc;
        self.highest = rtp.sequence as u32;
        self.base = rtp.sequence as u32;
        self.window = 1;
        self.timestamp = rtp.timestamp;
        self.timestamp_arrival = short(now);
    }

    /// Another source than before, or the first one.
    #[inline(always)]
    const fn begin(&mut self, now: u64) {
        if self.window != 0 {
            self.changes = self.changes.wrapping_add(1);
        }
        if self.longest_gap > self.longest_gap_before {
            self.longest_gap_before = self.longest_gap;
        }
        self.longest_gap = 0;
        self.began = now;
    }

    #[inline(always)]
    const fn advance(&mut self, ahead: u16) {
        self.highest = self.highest.wrapping_add(ahead as u32);
        if ahead > 1 {
            self.gaps = self.gaps.wrapping_add(1);
        }
        self.window = if ahead < WINDOW {
            self.window << (ahead as u32 & 31) | 1
        } else {
            1
        };
    }

    #[inline(always)]
    const fn insert_late(&mut self, behind: u16) {
        if behind < WINDOW {
            let bit = 1 << (behind as u32 & 31);
            if self.window & bit != 0 {
                self.duplicates = self.duplicates.wrapping_add(1);
                return;
            }
            self.window |= bit;
            self.fill_gap(behind);
        }
        self.reordered = self.reordered.wrapping_add(1);
        // A packet from before the first one seen was expected all the same.
        let before_base = behind as u32;
        if before_base >= self.of_source() {
            self.base = self.highest.wrapping_sub(before_base);
        }
    }

    /// A packet has come after all that was `behind` the latest: it ends a run of missing ones, or parts it.
    #[inline(always)]
    const fn fill_gap(&mut self, behind: u16) {
        let after = self.window & 1 << ((behind as u32).wrapping_sub(1) & 31) != 0;
        let before = behind + 1 >= WINDOW || self.window & 1 << ((behind as u32 + 1) & 31) != 0;
        if after && before {
            self.gaps = self.gaps.saturating_sub(1);
        } else if !after && !before {
            self.gaps = self.gaps.wrapping_add(1);
        }
    }

    /// RFC 3550 section 6.4.1: `J += (|D| - J) / 16`, where D is the change in transit time.
    ///
    /// Packets of the same timestamp (a video frame, a DTMF event) say nothing about jitter: their
    /// sender sent them at different times. Late packets are left out too: their delay is the
    /// network's reordering, and RTCP would report it as jitter of a stream that has none.
    #[inline(always)]
    const fn measure_jitter(&mut self, rtp: Rtp, now: u64, tick: u32) {
        let units = rtp.timestamp.wrapping_sub(self.timestamp).cast_signed();
        if units == 0 || tick == 0 {
            return;
        }
        let arrival = short(now);
        let elapsed = (arrival.wrapping_sub(self.timestamp_arrival) as i64) << ARRIVAL_SHIFT;
        self.timestamp = rtp.timestamp;
        self.timestamp_arrival = arrival;
        if now.wrapping_sub(self.last_arrival) > MAX_GAP {
            return;
        }
        let sent = (units as i64 * tick as i64) >> 8;
        let signed = elapsed.wrapping_sub(sent);
        let change = if signed < 0 {
            signed.wrapping_neg()
        } else {
            signed
        };
        if change.cast_unsigned() > MAX_TRANSIT_CHANGE {
            return;
        }
        if self.jitter > CALM_JITTER || change.cast_unsigned() > CALM_CHANGE {
            self.judge_lateness(signed);
        }
        let jitter = self.jitter as i64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both terms are at most a second"
        )]
        let smoothed = (jitter + ((change - jitter) >> 4)) as u32;
        self.jitter = smoothed;
    }

    /// Whether a jitter buffer would have waited for a packet whose transit time is `change` (ns) more than that of the
    /// one before.
    #[inline(always)]
    const fn judge_lateness(&mut self, change: i64) {
        let followed = self.lateness - (self.lateness >> FOLLOW_SHIFT);
        // Nothing is early: who comes sooner than all before is the new best.
        let lateness = (followed.cast_signed()).wrapping_add(change);
        self.lateness = if lateness < 0 {
            0
        } else {
            lateness.cast_unsigned()
        };
        if self.lateness > PLAYOUT {
            self.late = self.late.wrapping_add(1);
        }
    }
}

/// A gap in units of 2^10 ns, in milliseconds.
pub(crate) const fn gap_ms(gap: u32) -> u32 {
    let ns = (gap as u64) << ARRIVAL_SHIFT;
    #[expect(clippy::cast_possible_truncation, reason = "at most 73 minutes")]
    let ms = (ns / 1_000_000) as u32;
    ms
}

/// G.107's BurstR: the mean length of the `gaps` runs of `lost` packets, of `expected` ones, over what it would be if each
/// packet were lost by chance. 1 and more.
#[must_use]
pub fn burst_ratio(expected: u64, lost: u64, gaps: u64) -> f64 {
    if lost == 0 || gaps == 0 || expected <= lost {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "ratios of counters")]
    let (length, received) = (
        lost as f64 / gaps as f64,
        (expected - lost) as f64 / expected as f64,
    );
    // By chance a run of loss has 1 / (1 - p) packets.
    (length * received).max(1.0)
}

#[inline(always)]
const fn short(now: u64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "differences are taken modulo 2^32"
    )]
    let short = (now >> ARRIVAL_SHIFT) as u32;
    short
}

#[cfg(test)]
mod tests;
