//! What the REST API tells of a call: its row in the store and those of the legs that it dialled, of its streams and
//! recordings, anew whenever one is in another state.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use store::{
    Timestamp, Uuid, VoiceCallRow, VoiceDirection, VoiceRecordingRow, VoiceStatus, VoiceStreamRow,
};
use voice::{
    call::{
        CallStatus, Direction, LegId, LegNews, News, RecordingNews, RecordingStatus, StreamNews,
    },
    sid::Sid,
};

use super::Hosted;
use crate::rows::Row;

/// What has been told of a call.
#[derive(Debug, Default)]
pub(super) struct Told {
    legs: BTreeMap<LegId, ToldLeg>,
    /// Of streams and recordings that are not over: since when they are, and how often they were told of.
    others: BTreeMap<Sid, (Timestamp, u64)>,
}

#[derive(Debug)]
struct ToldLeg {
    status: CallStatus,
    created: Timestamp,
    /// Until when it has waited for the rate of its account.
    begun: Option<Timestamp>,
    answered: Option<Timestamp>,
    sequence: u64,
}

impl Hosted {
    /// How what has changed of the call is now.
    pub(super) fn news(&mut self, now: Timestamp) -> Vec<Row> {
        let mut rows = Vec::new();
        while let Some(news) = self.call.as_mut().and_then(voice::call::Call::poll_news) {
            rows.extend(match news {
                News::Leg(leg) => self.leg_row(now, leg).map(Row::Call),
                News::Stream(stream) => self.stream_row(now, stream).map(Row::Stream),
                News::Recording(recording) => {
                    let file = self.recordings.file_of(&recording.sid).map(Box::new);
                    let row = self.recording_row(now, &recording);
                    row.map(|row| Row::Recording { row, file })
                }
            });
        }
        let late = self.recordings.late_files();
        rows.extend(late.map(|file| Row::File(Box::new(file))));
        rows
    }

    fn leg_row(&mut self, now: Timestamp, leg: LegNews) -> Option<VoiceCallRow> {
        let is_party = leg.leg == LegId::PARTY;
        let known = self.told.legs.get(&leg.leg);
        if known.is_some_and(|told| told.status == leg.status) {
            return None;
        }
        let told = self.told.legs.entry(leg.leg).or_insert(ToldLeg {
            status: leg.status,
            created: now,
            begun: None,
            answered: None,
            sequence: 0,
        });
        let was_queued = told.status == CallStatus::Queued;
        told.status = leg.status;
        told.sequence += 1;
        if leg.status != CallStatus::Queued {
            told.begun.get_or_insert(now);
        }
        if leg.status == CallStatus::InProgress {
            told.answered = Some(now);
        }
        let status = status_of(leg.status);
        let is_over = !matches!(
            status,
            VoiceStatus::Queued | VoiceStatus::Ringing | VoiceStatus::InProgress
        );
        let since = |from: Timestamp| u64::try_from(now.millis() - from.millis()).ok();
        let waited = told
            .begun
            .map(|begun| begun.millis() - told.created.millis());
        let queue_ms = match waited {
            Some(waited) => u64::try_from(waited).unwrap_or_default(),
            // As it will be.
            None => self.queued_ms,
        };
        let seconds = told.answered.and_then(since).map_or(0, |ms| ms / 1_000);
        let setup = self.call.as_ref()?.setup();
        let account = &self.application.account;
        let id = leg.sid.as_str().get(2..).unwrap_or_default();
        let row = VoiceCallRow {
            sid: leg.sid.as_str().to_owned(),
            account: account.sid.clone(),
            tenant: account.tenant.as_deref().map(str::to_owned),
            parent: leg.parent.map(|sid| sid.as_str().to_owned()),
            from: leg.from,
            to: leg.to,
            direction: match leg.direction {
                Direction::Inbound => VoiceDirection::Inbound,
                Direction::OutboundApi => VoiceDirection::Api,
                Direction::OutboundDial => VoiceDirection::Dial,
            },
            status,
            created: told.created,
            updated: now,
            // Who was called off in the queue was never called.
            started: (told.begun.filter(|_| !(was_queued && is_over)))
                .map(|begun| told.answered.unwrap_or(begun)),
            ended: is_over.then_some(now),
            duration_s: is_over.then_some(seconds),
            queue_ms,
            answered_by: None,
            number_sid: None,
            caller_name: setup.caller_name.clone().filter(|_| is_party),
            forwarded_from: setup.forwarded_from.clone().filter(|_| is_party),
            cdr: (self.promised.filter(|_| is_party)).or_else(|| Uuid::try_parse(id).ok()),
            sequence: told.sequence,
        };
        if is_over && !is_party {
            self.told.legs.remove(&leg.leg);
        }
        Some(row)
    }

    fn stream_row(&mut self, now: Timestamp, stream: StreamNews) -> Option<VoiceStreamRow> {
        let call = self.sid()?.to_owned();
        let (created, sequence) = self.told.next(&stream.sid, now, !stream.is_up);
        Some(VoiceStreamRow {
            sid: stream.sid.as_str().to_owned(),
            account: self.application.account.sid.clone(),
            call,
            name: stream.name,
            is_up: stream.is_up,
            created,
            updated: now,
            sequence,
        })
    }

    fn recording_row(&mut self, now: Timestamp, news: &RecordingNews) -> Option<VoiceRecordingRow> {
        let call = self.sid()?.to_owned();
        let is_over = matches!(
            news.status,
            RecordingStatus::Completed | RecordingStatus::Absent
        );
        let (created, sequence) = self.told.next(&news.sid, now, is_over);
        let started = news.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = news.length.map(|length| length.as_millis());
        Some(VoiceRecordingRow {
            sid: news.sid.as_str().to_owned(),
            account: self.application.account.sid.clone(),
            call,
            channels: news.channels,
            source: news.source.to_owned(),
            track: news.tracks.recorded().to_owned(),
            status: news.status.as_str().to_owned(),
            started: Timestamp::from_millis(i64::try_from(started.as_millis()).unwrap_or_default()),
            duration_ms: length.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            error: None,
            created,
            updated: now,
            sequence,
        })
    }
}

impl Told {
    /// Since when something is, and its next number.
    fn next(&mut self, sid: &Sid, now: Timestamp, is_last: bool) -> (Timestamp, u64) {
        let (created, sequence) = self.others.remove(sid).unwrap_or((now, 0));
        let next = (created, sequence + 1);
        if !is_last {
            self.others.insert(sid.clone(), next);
        }
        next
    }
}

const fn status_of(status: CallStatus) -> VoiceStatus {
    match status {
        CallStatus::Queued => VoiceStatus::Queued,
        // It is on its way.
        CallStatus::Initiated | CallStatus::Ringing => VoiceStatus::Ringing,
        CallStatus::InProgress => VoiceStatus::InProgress,
        CallStatus::Completed => VoiceStatus::Completed,
        CallStatus::Busy => VoiceStatus::Busy,
        CallStatus::Failed => VoiceStatus::Failed,
        CallStatus::NoAnswer => VoiceStatus::NoAnswer,
        CallStatus::Canceled => VoiceStatus::Canceled,
    }
}
