//! What happens to a call and has no column in its record: who was muted and held, transfers, and how it sounded.

use std::time::Instant;

use control::{media::FlowSample, signal::QualitySample};
use serde_json::{Value, json};
use store::{CallEvent, Timestamp};

use super::{
    Core,
    state::{Call, CallKey},
};

/// Entries of a call at most: an operator may mute somebody again and again. Transfers are few, and what matters.
const MOST: usize = 200;
/// Samples that are kept with a record at most.
pub(super) const SAMPLES: usize = 30;

impl Core {
    /// Notes what happened to a call, to be kept with its record.
    pub(super) fn note(&mut self, now: Instant, key: CallKey, kind: &str, data: &Value) {
        let at = self.time(now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let number = call.events.len();
        if number < MOST || kind == "transfer" {
            call.events.push(CallEvent {
                call: call.id,
                number: u32::try_from(number).unwrap_or(u32::MAX),
                at,
                kind: kind.to_owned(),
                data: data.to_string(),
            });
        }
    }

    /// Notes how a party's transfer has come out.
    pub(super) fn note_transfer(&mut self, now: Instant, key: CallKey) {
        let transfer = self.calls.get(&key).and_then(|call| call.transferred());
        if let Some(transfer) = transfer {
            let data = json!({
                "party": transfer.party,
                "to": transfer.to,
                "status": transfer.status,
            });
            self.note(now, key, "transfer", &data);
        }
    }
}

impl Call {
    /// All that is kept with its record, when it is over. How it sounded is one entry of `most` samples at most; a
    /// call of one sample has what that says in its record.
    pub(super) fn take_events(&mut self, at: Timestamp, most: usize) -> Vec<CallEvent> {
        let mut events = std::mem::take(&mut self.events);
        self.thin_series(most);
        let samples = self.series();
        if most > 0 && samples.len() > 1 {
            let samples: Vec<_> = samples.iter().map(shown).collect();
            events.push(CallEvent {
                call: self.id,
                number: u32::try_from(events.len()).unwrap_or(u32::MAX),
                at,
                kind: "quality".to_owned(),
                data: json!({ "samples": samples }).to_string(),
            });
        }
        events
    }
}

/// As the API has samples of a call that is up.
fn shown(sample: &QualitySample) -> Value {
    let flow = |flow: &FlowSample| {
        json!({
            "packets": flow.packets,
            "lost": flow.lost,
            "jitter_ms": f64::from(flow.jitter_us) / 1000.0,
            "mos": flow.mos.map(|mos| f64::from((mos * 100.0).round()) / 100.0),
        })
    };
    json!({
        "time": Timestamp::from_millis(sample.at_ms),
        "caller": flow(&sample.caller),
        "callee": flow(&sample.callee),
    })
}
