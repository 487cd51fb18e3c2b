//! What happens to a call and has no column in its record: who was muted and held, and transfers.

use std::time::Instant;

use serde_json::{Value, json};
use store::CallEvent;

use super::{Core, state::CallKey};

/// Entries of a call at most: an operator may mute somebody again and again.
const MOST: usize = 200;

impl Core {
    /// Notes what happened to a call, to be kept with its record.
    pub(super) fn note(&mut self, now: Instant, key: CallKey, kind: &str, data: Value) {
        let at = self.time(now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let number = call.events.len();
        if number < MOST {
            call.events.push(CallEvent {
                call: call.id,
                number: u32::try_from(number).unwrap_or(u32::MAX),
                at,
                kind: kind.to_owned(),
                data,
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
            self.note(now, key, "transfer", data);
        }
    }
}
