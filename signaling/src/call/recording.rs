//! Calls that an operator has recorded: mediad writes what both parties say to a file.

use std::time::Instant;

use control::{
    Fault, FaultCode,
    channel::RequestError,
    media::{self, Record, SessionId},
    signal::RecordOrder,
};
use store::{Recording, Timestamp, Uuid};
use tracing::{info, warn};

use super::{
    Core, Output,
    asked::{Asked, Purpose},
    output::OrderToken,
    state::{Call, CallKey},
    stream::Media,
};

/// What is recorded of a call.
#[derive(Debug)]
pub(super) struct Recorded {
    session: SessionId,
    /// Where mediad writes it.
    pub(super) file: String,
    since: Timestamp,
}

impl Call {
    fn begin_recording(&mut self, session: SessionId, file: &str, now: Timestamp) {
        let is_known = self.recording.as_ref().is_some_and(|it| it.file == file);
        if !is_known {
            self.recording = Some(Recorded {
                session,
                file: file.to_owned(),
                since: now,
            });
        }
    }

    /// Whether a session was recorded: it is no longer.
    pub(super) fn end_recording(&mut self, session: SessionId, now: Timestamp) -> bool {
        let Some(ended) = self.recording.take_if(|it| it.session == session) else {
            return false;
        };
        let name = ended.file.rsplit('/').next().unwrap_or_default();
        self.recordings.push(Recording {
            id: Uuid::now_v7(),
            call: self.id,
            tenant: self.tenant.as_deref().map(str::to_owned),
            started: ended.since,
            ended: now,
            channels: 2,
            // Whoever writes the record looks.
            bytes: 0,
            file: name.to_owned(),
        });
        true
    }
}

impl Core {
    /// Records a call, or no longer. What mediad says to it comes as [`Output::Obeyed`]. `None` where there is no such
    /// call.
    pub(crate) fn record_call(
        &mut self,
        now: Instant,
        order: &RecordOrder,
    ) -> Option<Result<OrderToken, Fault>> {
        let key = self.call_by_id(&order.id)?;
        let call = self.calls.get(&key).filter(|call| call.end.is_none())?;
        if let Err(why) = call.has_media_here() {
            return Some(Err(self.no_media(key, why)));
        }
        // The first stream is the audio, as a rule; what is recorded stays it.
        let recorded = call.recording.as_ref().map(|it| it.session);
        let first = || call.media.iter().flat_map(Media::sessions).next();
        let Some(session) = recorded.or_else(|| first().map(|session| session.id)) else {
            let why = "nobody has answered this call yet";
            return Some(Err(Fault::new(FaultCode::Conflict, why)));
        };
        info!(call = %call.id, on = order.on, "an operator changes whether a call is recorded");
        let token = OrderToken(self.number());
        self.ask_to_record(key, session, order.on, Some(token));
        self.drain(now);
        Some(Ok(token))
    }

    /// A session that is recorded was opened anew, as mediad had lost it.
    pub(super) fn record_again(&mut self, key: CallKey, session: SessionId) {
        let now = self.time_of_day();
        let call = self.calls.get_mut(&key);
        if call.is_some_and(|call| call.end_recording(session, now)) {
            self.ask_to_record(key, session, true, None);
        }
    }

    fn ask_to_record(&mut self, key: CallKey, id: SessionId, on: bool, token: Option<OrderToken>) {
        let name = self.calls.get(&key).map(|call| call.id.to_string());
        let name = name.filter(|_| on);
        let request = media::Request::Record(Record { id, name });
        self.ask(key, id, Purpose::Record(token), request);
    }

    /// mediad records a session, or does so no longer, or says why not.
    pub(super) fn on_recorded(
        &mut self,
        asked: Asked,
        token: Option<OrderToken>,
        answer: Result<media::Response, RequestError>,
    ) {
        let now = self.time_of_day();
        let call = self.calls.get_mut(&asked.call);
        if let Some(call) = call.filter(|call| call.end.is_none()) {
            match &answer {
                Ok(media::Response::Recording(Some(file))) => {
                    call.begin_recording(asked.session, file, now);
                }
                Ok(media::Response::Recording(None)) => {
                    call.end_recording(asked.session, now);
                }
                Ok(_) => {}
                Err(error) => warn!(call = %call.id, %error, "a call is not recorded"),
            }
        }
        self.tell_call(asked.call);
        if let Some(token) = token {
            let outcome = self.done(asked.call, answer);
            self.outputs.push_back(Output::Obeyed { token, outcome });
        }
    }
}
