//! What the REST API tells of a call: its row in the store, anew whenever its state is another one.

use store::{Timestamp, Uuid, VoiceCallRow, VoiceDirection, VoiceStatus};
use voice::call::{CallStatus, Direction};

use super::Hosted;

/// What has been told of a call.
#[derive(Debug, Default)]
pub(super) struct Told {
    status: Option<VoiceStatus>,
    created: Option<Timestamp>,
    answered: Option<Timestamp>,
    sequence: u64,
}

impl Hosted {
    /// How the call is, where that has changed.
    pub(super) fn news(&mut self, now: Timestamp) -> Option<VoiceCallRow> {
        let call = self.call.as_ref()?;
        let status = status_of(call.status());
        let told = &mut self.told;
        if told.status == Some(status) {
            return None;
        }
        told.status = Some(status);
        told.sequence += 1;
        let created = *told.created.get_or_insert(now);
        if status == VoiceStatus::InProgress {
            told.answered = Some(now);
        }
        let is_over = !matches!(
            status,
            VoiceStatus::Queued | VoiceStatus::Ringing | VoiceStatus::InProgress
        );
        let since = |from: Timestamp| u64::try_from((now.millis() - from.millis()) / 1_000).ok();
        let setup = call.setup();
        let account = &self.application.account;
        Some(VoiceCallRow {
            sid: call.sid().as_str().to_owned(),
            account: account.sid.clone(),
            tenant: account.tenant.as_deref().map(str::to_owned),
            parent: None,
            from: setup.from.clone(),
            to: setup.to.clone(),
            direction: match setup.direction {
                Direction::Inbound => VoiceDirection::Inbound,
                Direction::OutboundApi => VoiceDirection::Api,
                Direction::OutboundDial => VoiceDirection::Dial,
            },
            status,
            created,
            updated: now,
            started: Some(told.answered.unwrap_or(created)),
            ended: is_over.then_some(now),
            duration_s: is_over.then(|| told.answered.and_then(since).unwrap_or(0)),
            queue_ms: 0,
            answered_by: None,
            number_sid: None,
            caller_name: setup.caller_name.clone(),
            forwarded_from: setup.forwarded_from.clone(),
            cdr: Some(Uuid::from_bytes(setup.uuid)),
            sequence: told.sequence,
        })
    }
}

const fn status_of(status: CallStatus) -> VoiceStatus {
    match status {
        CallStatus::Initiated => VoiceStatus::Queued,
        CallStatus::Ringing => VoiceStatus::Ringing,
        CallStatus::InProgress => VoiceStatus::InProgress,
        CallStatus::Completed => VoiceStatus::Completed,
        CallStatus::Busy => VoiceStatus::Busy,
        CallStatus::Failed => VoiceStatus::Failed,
        CallStatus::NoAnswer => VoiceStatus::NoAnswer,
        CallStatus::Canceled => VoiceStatus::Canceled,
    }
}
