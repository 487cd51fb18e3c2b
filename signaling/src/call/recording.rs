//! Calls that an operator has recorded: mediad writes what both parties say to a file.

use std::time::Instant;

use control::{
    Fault, FaultCode,
    channel::RequestError,
    media::{self, Record, SessionId},
    signal::RecordOrder,
};
use tracing::{info, warn};

use super::{
    Core, Output,
    asked::{Asked, Purpose},
    output::OrderToken,
    state::CallKey,
    stream::Media,
};

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
        let recorded = call.recording.as_ref().map(|(session, _)| *session);
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
        let call = self.calls.get_mut(&key);
        let lost = call.and_then(|call| call.recording.take_if(|(id, _)| *id == session));
        if lost.is_some() {
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
        let call = self.calls.get_mut(&asked.call);
        if let Some(call) = call.filter(|call| call.end.is_none()) {
            match &answer {
                Ok(media::Response::Recording(file)) => {
                    call.recording = file.clone().map(|file| (asked.session, file));
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
