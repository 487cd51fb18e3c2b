//! How a call has sounded: a sample every so often, from its answer to its end.
//!
//! mediad is asked for many calls at once, and not for all of them at the same time: each is due ten seconds after its
//! answer and after each sample, rounded to half seconds so that some come together.

use std::time::{Duration, Instant};

use control::{
    media::{self, FlowSample, MAX_SURVEY, SessionId, SessionStats, Surveyed},
    signal::QualitySample,
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
const STEP_MS: u128 = 500;
/// Samples that are kept of a call at most: 4 KB. When there are more, every other one goes, and those to come are
/// twice as far apart.
const MAX_SAMPLES: usize = 60;

/// Samples of one call, oldest first.
#[derive(Debug)]
pub(super) struct Series {
    samples: Vec<QualitySample>,
    /// How many times [`EVERY`] they are apart.
    apart: u32,
    /// The sum of what sessions had carried that are gone: mediad counts from 0 in the next one.
    before: [Counted; 2],
    last: [Counted; 2],
    /// The session that the last sample is of.
    session: Option<SessionId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    packets: u64,
    lost: u64,
}

impl Series {
    pub(super) const fn new() -> Self {
        Self {
            samples: Vec::new(),
            apart: 1,
            before: [Counted {
                packets: 0,
                lost: 0,
            }; 2],
            last: [Counted {
                packets: 0,
                lost: 0,
            }; 2],
            session: None,
        }
    }

    fn push(&mut self, at: Timestamp, session: SessionId, mut flows: [FlowSample; 2]) {
        let is_another = self.session.replace(session) != Some(session);
        for (at, flow) in flows.iter_mut().enumerate() {
            let (before, last) = (&mut self.before[at], &mut self.last[at]);
            // The same one counts from 0 again when mediad was restarted.
            if is_another || flow.packets < last.packets {
                before.packets += last.packets;
                before.lost += last.lost;
            }
            *last = Counted {
                packets: flow.packets,
                lost: flow.lost,
            };
            flow.packets += before.packets;
            flow.lost += before.lost;
        }
        let [caller, callee] = flows;
        self.samples.push(QualitySample {
            at_ms: at.millis(),
            caller,
            callee,
        });
        if self.samples.len() > MAX_SAMPLES {
            self.thin();
        }
    }

    /// Keeps every other sample, the last one among them, each with the worse opinion of the two.
    fn thin(&mut self) {
        let skip = self.samples.len() % 2;
        let (first, rest) = self.samples.split_at(skip);
        let (pairs, _) = rest.as_chunks::<2>();
        let worse = |a: Option<f32>, b: Option<f32>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
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
        };
        let flows = [sample(&stats.from_a), sample(&stats.from_b)];
        self.quality.push(at, stats.id, flows);
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

    /// Looks at a call again when its next sample is due.
    pub(super) fn set_quality_alarm(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let due = now + EVERY * call.quality.apart;
        let since = due.saturating_duration_since(self.began).as_millis();
        let late = u64::try_from((STEP_MS - since % STEP_MS) % STEP_MS).unwrap_or(0);
        let at = due + Duration::from_millis(late);
        self.alarms.set(Alarm::Quality(key), Some(at));
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
        for surveyed in all {
            let key = self.by_session.get(&surveyed.id);
            if let Some(call) = key.and_then(|key| self.calls.get_mut(key)) {
                let flows = [surveyed.from_a, surveyed.from_b];
                call.quality.push(at, surveyed.id, flows);
            }
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
        for (session, packets) in [(1, 500), (1, 1000), (1, 200), (1, 700), (2, 900), (2, 950)] {
            let flows = [flow(packets, 4.4), flow(0, 4.4)];
            series.push(at(0), SessionId([session; 16]), flows);
        }
        let packets: Vec<_> = series.samples.iter().map(|s| s.caller.packets).collect();
        assert_eq!(packets, [500, 1000, 1200, 1700, 2600, 2650]);
        assert_eq!(series.samples[5].caller.lost, 10 + 7 + 9);
    }
}
