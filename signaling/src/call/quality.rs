//! How a call has sounded: a sample every so often, from its answer to its end.
//!
//! mediad is asked for many calls at once, and not for all of them at the same time: each is due some seconds after its
//! answer and after each time, rounded to half seconds so that some come together. What it says is a sample, and an event
//! where anybody listens.

use std::time::{Duration, Instant};

use control::{
    config,
    media::{self, FlowSample, MAX_SURVEY, SessionId, SessionStats, Surveyed},
    signal::{self, CallQuality, FlowReport, Party, QualitySample},
};
use store::Timestamp;

use super::{
    Alarm, Core, MediaToken, Output,
    state::{Call, CallKey},
    stream::Media,
};

/// Between two samples of a call that is not long.
const EVERY: Duration = Duration::from_secs(10);
/// What is due within this time is asked for together.
const STEP_MS: u64 = 500;
/// Samples that are kept of a call at most: 4 KB. When there are more, every other one goes, and those to come are
/// twice as far apart.
const MAX_SAMPLES: usize = 60;

/// Samples of one call, oldest first.
#[derive(Debug)]
pub(super) struct Series {
    samples: Vec<QualitySample>,
    /// How many times [`EVERY`] they are apart.
    apart: u32,
    /// The worst opinions since the last sample.
    worst: [Option<f32>; 2],
    /// The sum of what sessions had carried that are gone: mediad counts from 0 in the next one.
    before: [Counted; 2],
    last: [Counted; 2],
    /// The session that the last sample is of.
    session: Option<SessionId>,
    /// How the caller and the callee are heard.
    heard: [Hearing; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    packets: u64,
    lost: u64,
}

/// Whether somebody is heard badly.
#[derive(Clone, Copy, Debug, Default)]
struct Hearing {
    /// Intervals, one after the other, with a low score.
    low: u8,
    /// It was told.
    is_told: bool,
}

/// What somebody is to be told of how a party is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Low,
    Recovered,
}

impl Hearing {
    /// Takes in the score of an interval; one without speech says nothing.
    fn judge(&mut self, mos: Option<f32>, lowest: f32, periods: u8) -> Option<Turn> {
        let is_low = mos? < lowest;
        self.low = match is_low {
            true => self.low.saturating_add(1),
            false => 0,
        };
        let turn = match (self.is_told, self.low) {
            (false, low) if low >= periods => Turn::Low,
            (true, 0) => Turn::Recovered,
            _ => return None,
        };
        self.is_told = turn == Turn::Low;
        Some(turn)
    }
}

impl Series {
    pub(super) fn new() -> Self {
        Self {
            samples: Vec::new(),
            apart: 1,
            worst: [None; 2],
            before: [Counted::default(); 2],
            last: [Counted::default(); 2],
            session: None,
            heard: [Hearing::default(); 2],
        }
    }

    /// Takes in how it sounds now; what has come since this was asked last is new. A sample is kept when it is time for
    /// one, or `is_last`.
    fn push(
        &mut self,
        at: Timestamp,
        session: SessionId,
        mut flows: [FlowSample; 2],
        is_last: bool,
    ) -> [FlowReport; 2] {
        let is_another = self.session.replace(session) != Some(session);
        let mut reports = [FlowReport::default(); 2];
        for (at, flow) in flows.iter_mut().enumerate() {
            let (before, last) = (&mut self.before[at], &mut self.last[at]);
            let then = Counted {
                packets: before.packets + last.packets,
                lost: before.lost + last.lost,
            };
            // The same one counts from 0 again when mediad was restarted.
            if is_another || flow.packets < last.packets {
                *before = then;
            }
            *last = Counted {
                packets: flow.packets,
                lost: flow.lost,
            };
            flow.packets += before.packets;
            flow.lost += before.lost;
            reports[at] = FlowReport {
                now: *flow,
                new_packets: flow.packets.saturating_sub(then.packets),
                new_lost: flow.lost.saturating_sub(then.lost),
            };
            self.worst[at] = worse(self.worst[at], flow.mos);
        }
        if is_last || self.is_due(at) {
            let [mut caller, mut callee] = flows;
            [caller.mos, callee.mos] = std::mem::take(&mut self.worst);
            self.samples.push(QualitySample {
                at_ms: at.millis(),
                caller,
                callee,
            });
            if self.samples.len() > MAX_SAMPLES {
                self.thin();
            }
        }
        reports
    }

    /// Whether it is time for the next sample.
    fn is_due(&self, at: Timestamp) -> bool {
        self.samples.last().is_none_or(|last| {
            let since = at.since(Timestamp::from_millis(last.at_ms));
            since + Duration::from_millis(STEP_MS) >= EVERY * self.apart
        })
    }

    /// Keeps every other sample, the last one among them, each with the worse opinion of the two.
    fn thin(&mut self) {
        let skip = self.samples.len() % 2;
        let (first, rest) = self.samples.split_at(skip);
        let (pairs, _) = rest.as_chunks::<2>();
        let kept = pairs.iter().map(|[gone, kept]| {
            let mut kept = *kept;
            kept.caller.mos = worse(gone.caller.mos, kept.caller.mos);
            kept.callee.mos = worse(gone.callee.mos, kept.callee.mos);
            kept
        });
        self.samples = first.iter().copied().chain(kept).collect();
        self.apart = self.apart.saturating_mul(2);
    }
}

fn worse(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Call {
    /// How it has sounded so far.
    pub(super) fn series(&self) -> &[QualitySample] {
        &self.quality.samples
    }

    /// Leaves so many samples at most.
    pub(super) fn thin_series(&mut self, most: usize) {
        while self.quality.samples.len() > most.max(1) {
            self.quality.thin();
        }
    }

    /// What its streams have carried in all is the last sample; `at`: when it ended.
    pub(super) fn end_series(&mut self, at: Timestamp) {
        // The samples are of the stream that was the first; of a short call, of one that was heard.
        let sampled = self.quality.session;
        let same = self.stats.iter().find(|stats| Some(stats.id) == sampled);
        let heard = || self.stats.iter().find(|stats| is_heard(stats));
        let Some(stats) = same.or_else(|| heard().filter(|_| sampled.is_none())) else {
            return;
        };
        // A short call has no other.
        let is_only = self.quality.samples.is_empty();
        let sample = |flow: &media::FlowStats| FlowSample {
            packets: flow.packets,
            lost: flow.lost,
            jitter_us: flow.jitter_us,
            mos: flow.mos.filter(|_| is_only),
            rtt_us: flow.rtt_us,
        };
        let flows = [sample(&stats.from_a), sample(&stats.from_b)];
        self.quality.push(at, stats.id, flows, true);
    }
}

const fn is_heard(stats: &SessionStats) -> bool {
    stats.from_a.packets + stats.from_b.packets > 0
}

impl Core {
    /// How a call has sounded. `None` where there is none.
    pub(crate) fn quality(&self, id: &str) -> Option<Vec<QualitySample>> {
        let key = self.call_by_id(id)?;
        self.calls.get(&key).map(|call| call.series().to_vec())
    }

    /// Looks at a call again when its next sample, or the next event that says how it sounds, is due.
    pub(super) fn set_quality_alarm(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let samples = EVERY * call.quality.apart;
        let wait = self.reports().map_or(samples, |every| every.min(samples));
        let at = self.rounded(now + wait);
        self.alarms.set(Alarm::Quality(key), Some(at));
    }

    /// Somebody listens who did not: calls that are looked at seldom are due sooner, and not all at the same time.
    pub(super) fn report_from_now_on(&mut self, now: Instant) {
        let Some(every) = self.reports() else {
            return;
        };
        let span = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
        let up = self.calls.iter().filter(|(_, call)| call.is_answered());
        let due: Vec<_> = up
            .map(|(key, call)| (*key, call.id.as_u64_pair().1 % span))
            .collect();
        for (key, after) in due {
            let at = self.rounded(now + Duration::from_millis(after));
            self.alarms.set(Alarm::Quality(key), Some(at));
        }
    }

    /// How often a call's quality is told, where anybody listens.
    fn reports(&self) -> Option<Duration> {
        let seconds = self.policy.media.load().quality.interval;
        (self.listened && seconds != 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// The next moment at which others are looked at, too.
    fn rounded(&self, due: Instant) -> Instant {
        let since = due.saturating_duration_since(self.began).as_millis();
        let step = u128::from(STEP_MS);
        let late = u64::try_from((step - since % step) % step).unwrap_or(0);
        due + Duration::from_millis(late)
    }

    /// A sample of a call is due: it is asked for with those of others.
    pub(super) fn on_quality_alarm(&mut self, now: Instant, key: CallKey) {
        if let Some(call) = self.calls.get(&key) {
            let mut sessions = call.media.iter().flat_map(Media::sessions);
            self.due.extend(sessions.next().map(|session| session.id));
        }
        self.set_quality_alarm(now, key);
    }

    /// Asks mediad for the samples that are due. One that is away is not asked: the samples are missing then.
    pub(super) fn survey(&mut self) {
        let due = std::mem::take(&mut self.due);
        if !self.media_up {
            return;
        }
        for ids in due.chunks(MAX_SURVEY) {
            let token = MediaToken(self.number());
            self.surveys.insert(token, ());
            let request = media::Request::Survey(ids.to_vec());
            self.outputs.push_back(Output::Media { token, request });
        }
    }

    /// mediad tells how calls sound.
    pub(super) fn on_survey(&mut self, now: Instant, all: &[Surveyed]) {
        let at = self.time(now);
        let reports = self.reports().is_some();
        let config::Quality { low, periods, .. } = self.policy.media.load().quality;
        let mut calls = Vec::new();
        for surveyed in all {
            let key = self.by_session.get(&surveyed.id);
            let Some(call) = key.and_then(|key| self.calls.get_mut(key)) else {
                continue;
            };
            let flows = [surveyed.from_a, surveyed.from_b];
            let [caller, callee] = call.quality.push(at, surveyed.id, flows, false);
            if !reports {
                continue;
            }
            let tenant = call.tenant.as_deref().map(str::to_owned);
            if let Some(lowest) = low.score() {
                let sides = [(Party::Caller, caller), (Party::Callee, callee)];
                for ((party, flow), hearing) in sides.into_iter().zip(&mut call.quality.heard) {
                    let turn = hearing.judge(flow.now.mos, lowest, periods);
                    let heard = turn
                        .zip(flow.now.mos)
                        .map(|(turn, mos)| signal::Event::Heard {
                            id: call.id.to_string(),
                            tenant: tenant.clone(),
                            party,
                            mos,
                            is_low: turn == Turn::Low,
                        });
                    self.outputs.extend(heard.map(Output::Event));
                }
            }
            calls.push(CallQuality {
                id: call.id.to_string(),
                tenant,
                at_ms: at.millis(),
                path: surveyed.path,
                caller,
                callee,
            });
        }
        if !calls.is_empty() {
            let event = signal::Event::Quality(calls);
            self.outputs.push_back(Output::Event(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(packets: u64, mos: f32) -> FlowSample {
        FlowSample {
            packets,
            lost: packets / 100,
            jitter_us: 1000,
            mos: Some(mos),
            rtt_us: None,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_long_call_is_sampled_less_often_from_its_start_to_its_end() {
        let mut series = Series::new();
        let (mut second, mut samples) = (0, 0);
        // Ten hours, with one bad moment.
        while second < 36_000 {
            second += 10 * i64::from(series.apart);
            samples += 1;
            let mos = if samples == 7 { 1.5 } else { 4.4 };
            let packets = u64::try_from(second).unwrap() * 50;
            series.push(
                at(second),
                SessionId([1; 16]),
                [flow(packets, mos), flow(packets, 4.4)],
                false,
            );
            assert!(series.samples.len() <= MAX_SAMPLES);
        }
        assert!(series.samples.len() >= MAX_SAMPLES / 2);
        let (first, last) = (series.samples[0], *series.samples.last().unwrap());
        assert!(first.at_ms <= 640_000, "{first:?}");
        assert_eq!(
            (last.at_ms, last.caller.packets),
            (second * 1000, last.callee.packets)
        );
        assert!(series.samples.is_sorted_by_key(|sample| sample.at_ms));
        let worst = series.samples.iter().filter_map(|sample| sample.caller.mos);
        assert!(
            worst.reduce(f32::min).unwrap() < 1.6,
            "what was bad is not forgotten"
        );
    }

    #[test]
    fn counters_go_on_in_the_next_session() {
        let mut series = Series::new();
        // The first one is opened anew by a restart of mediad; the next one has carried more when it is looked at.
        let mut new = Vec::new();
        for (session, packets) in [(1, 500), (1, 1000), (1, 200), (1, 700), (2, 900), (2, 950)] {
            let flows = [flow(packets, 4.4), flow(0, 4.4)];
            let [caller, _] = series.push(at(0), SessionId([session; 16]), flows, true);
            new.push(caller.new_packets);
        }
        assert_eq!(new, [500, 500, 200, 500, 900, 50]);
        let packets: Vec<_> = series.samples.iter().map(|s| s.caller.packets).collect();
        assert_eq!(packets, [500, 1000, 1200, 1700, 2600, 2650]);
        assert_eq!(series.samples[5].caller.lost, 10 + 7 + 9);
    }

    #[test]
    fn what_is_told_between_two_samples_is_not_forgotten() {
        let mut series = Series::new();
        for second in 1..=21_u8 {
            let mos = if second == 13 { 2.0 } else { 4.4 };
            let packets = u64::from(second) * 50;
            let flows = [flow(packets, mos), flow(packets, 4.4)];
            let session = SessionId([1; 16]);
            let [caller, _] = series.push(at(i64::from(second)), session, flows, false);
            assert_eq!((caller.new_packets, caller.now.mos), (50, Some(mos)));
        }
        let kept: Vec<_> = series.samples.iter().map(|s| s.at_ms / 1000).collect();
        assert_eq!(kept, [1, 11, 21]);
        assert_eq!(series.samples[1].caller.mos, Some(4.4));
        assert_eq!(series.samples[2].caller.mos, Some(2.0));
    }

    #[test]
    fn who_is_heard_badly_for_long_is_told_once_and_again_when_it_is_over() {
        let mut hearing = Hearing::default();
        let scores = [2.0, 2.0, 4.0, 2.0, 2.5, 2.9, 1.0, 3.0, 4.0, 2.0].map(Some);
        let mut turns = Vec::new();
        for (at, mos) in scores.into_iter().enumerate() {
            turns.extend(hearing.judge(mos, 3.0, 3).map(|turn| (at, turn)));
            // Silence is neither good nor bad.
            assert_eq!(hearing.judge(None, 3.0, 3), None);
        }
        assert_eq!(turns, [(5, Turn::Low), (7, Turn::Recovered)]);
    }
}
