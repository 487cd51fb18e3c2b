//! Legs: the party and whoever `<Dial>` calls, what webhooks are told of them, and when.

use std::time::Instant;

use super::{Call, Lane, LegId, event::Cause, setup::Direction};
use crate::{
    date::rfc2822,
    form::Params,
    sid::Sid,
    twiml::{Link, StatusEvents},
};

/// The version of the API that webhooks name.
pub const API_VERSION: &str = "2010-04-01";

/// How a call is, in the words of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallStatus {
    /// It waits to be called.
    Queued,
    /// It is being called.
    Initiated,
    /// It rings.
    Ringing,
    /// It has been answered.
    InProgress,
    /// It was answered, and is over.
    Completed,
    /// It was busy.
    Busy,
    /// It could not be reached, or something broke.
    Failed,
    /// It was not answered in time.
    NoAnswer,
    /// It was called off before it was answered.
    Canceled,
}

/// One leg.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) sid: Sid,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) direction: Direction,
    pub(super) status: CallStatus,
    pub(super) answered: Option<Instant>,
    /// Who is told how it goes.
    pub(super) callback: Option<(Link, StatusEvents)>,
    /// Of the next status that is told.
    pub(super) sequence: u32,
}

impl CallStatus {
    /// As webhooks write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
        }
    }

    /// How a leg has ended that was never answered.
    pub(super) const fn unanswered(cause: Cause) -> Self {
        match cause {
            Cause::Busy => Self::Busy,
            Cause::NoAnswer => Self::NoAnswer,
            Cause::Failed => Self::Failed,
            Cause::HungUp | Cause::Canceled => Self::Canceled,
        }
    }

    /// The SIP response that such an end usually has.
    const fn sip_status(self) -> Option<u16> {
        match self {
            Self::Completed => Some(200),
            Self::Busy => Some(486),
            Self::NoAnswer | Self::Canceled => Some(487),
            _ => None,
        }
    }

    const fn is_told(self, events: &StatusEvents) -> bool {
        match self {
            Self::Queued => false,
            Self::Initiated => events.initiated,
            Self::Ringing => events.ringing,
            Self::InProgress => events.answered,
            _ => events.completed,
        }
    }
}

impl Leg {
    /// Whole seconds since it was answered.
    pub(super) fn seconds(&self, now: Instant) -> u64 {
        self.answered
            .map_or(0, |at| now.saturating_duration_since(at).as_secs())
    }
}

impl Call {
    /// What every request about a leg tells.
    pub(super) fn base_params(&self, id: LegId) -> Params {
        let mut params = Params::new();
        let Some(leg) = self.legs.get(&id) else {
            return params;
        };
        params.push("CallSid", leg.sid.as_str());
        params.push("AccountSid", self.setup.account.as_str());
        params.push("From", &*leg.from);
        params.push("To", &*leg.to);
        params.push("Caller", &*leg.from);
        params.push("Called", &*leg.to);
        params.push("CallStatus", leg.status.as_str());
        params.push("ApiVersion", API_VERSION);
        params.push("Direction", leg.direction.as_str());
        if id == LegId::PARTY {
            params.push_some("ForwardedFrom", self.setup.forwarded_from.as_deref());
            params.push_some("CallerName", self.setup.caller_name.as_deref());
            params.extend(&self.setup.extra);
        } else {
            params.push("ParentCallSid", self.sid.as_str());
        }
        params
    }

    /// A leg goes on to its next status, which whoever wants to know is told.
    pub(super) fn set_status(
        &mut self,
        now: Instant,
        id: LegId,
        status: CallStatus,
        sip: Option<u16>,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        leg.status = status;
        let callback = leg.callback.clone();
        self.leg_news(id);
        let Some((link, events)) = callback else {
            return;
        };
        if !status.is_told(&events) {
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let sequence = leg.sequence;
        leg.sequence += 1;
        let seconds = leg.seconds(now);
        let mut params = self.base_params(id);
        params.push("Timestamp", rfc2822(self.wall(now)));
        params.push("CallbackSource", "call-progress-events");
        params.push("SequenceNumber", sequence.to_string());
        if !matches!(
            status,
            CallStatus::Queued
                | CallStatus::Initiated
                | CallStatus::Ringing
                | CallStatus::InProgress
        ) {
            params.push("CallDuration", seconds.to_string());
            if status == CallStatus::Completed {
                params.push("Duration", seconds.div_ceil(60).to_string());
            }
            let sip = sip.or_else(|| status.sip_status());
            params.push_some("SipResponseCode", sip.map(|status| status.to_string()));
            if id == LegId::PARTY
                && let Some(recorded) = &self.recorded
            {
                params.extend(recorded);
            }
        }
        self.tell(now, Lane::Status(id), link, params);
    }
}
