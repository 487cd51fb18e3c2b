//! Telephone keys that an operator has pressed towards a party: mediad puts them into the stream that it hears.

use std::time::Instant;

use control::{
    Fault, FaultCode,
    channel::RequestError,
    media::{self, Dtmf, Remote},
    signal::{CallInfo, DtmfOrder, Party},
};
use tracing::info;

use super::{
    Core, Output,
    asked::{Asked, Purpose},
    output::OrderToken,
    state::{Call, CallKey},
    stream::{Media, Session},
};

impl Core {
    /// Presses keys towards a party of a call. What mediad says to it comes as [`Output::Obeyed`]. `None` where there is
    /// no such call.
    pub(crate) fn dtmf(
        &mut self,
        now: Instant,
        order: &DtmfOrder,
    ) -> Option<Result<OrderToken, Fault>> {
        let key = self.call_by_id(&order.id)?;
        let call = self.calls.get(&key).filter(|call| call.end.is_none())?;
        if let Err(why) = call.has_media_here() {
            return Some(Err(self.no_media(key, why)));
        }
        let Some(session) = call.session_with_keys(order.party) else {
            let why = "nobody has answered this call yet";
            return Some(Err(Fault::new(FaultCode::Conflict, why)));
        };
        info!(call = %call.id, party = ?order.party, "an operator presses telephone keys");
        let id = session.id;
        let token = OrderToken(self.number());
        let request = media::Request::Dtmf(Dtmf {
            id,
            hears: match order.party {
                Party::Caller => media::Side::A,
                Party::Callee => media::Side::B,
            },
            order: token.0,
            digits: order.digits.clone(),
            duration_ms: order.duration_ms,
            gap_ms: order.gap_ms,
        });
        self.ask(key, id, Purpose::Dtmf(token), request);
        self.drain(now);
        Some(Ok(token))
    }

    /// mediad presses them, or says why not.
    pub(super) fn on_dtmf(
        &mut self,
        asked: Asked,
        token: OrderToken,
        answer: Result<media::Response, RequestError>,
    ) {
        let outcome = self.done(asked.call, answer);
        self.outputs.push_back(Output::Obeyed { token, outcome });
    }

    /// What an operator is told of what mediad was asked for a call.
    pub(super) fn done(
        &self,
        key: CallKey,
        answer: Result<media::Response, RequestError>,
    ) -> Result<CallInfo, Fault> {
        let conflict = |why| Fault::new(FaultCode::Conflict, why);
        let Some(call) = self.calls.get(&key).filter(|call| call.end.is_none()) else {
            return Err(conflict("the call has ended"));
        };
        match answer {
            Ok(_) => Ok(self.info(call)),
            // It is being opened just now, or mediad was restarted.
            Err(RequestError::Fault(fault)) if fault.code == FaultCode::NotFound => {
                Err(conflict("the media of this call is not ready: try again"))
            }
            Err(RequestError::Fault(fault)) => Err(fault),
            Err(error) => Err(Fault::new(FaultCode::Unavailable, error.to_string())),
        }
    }
}

impl Call {
    /// The stream in which a party takes keys, or else the first one.
    fn session_with_keys(&self, party: Party) -> Option<&Session> {
        let sessions = || self.media.iter().flat_map(Media::sessions);
        let takes = |remote: &Remote| remote.events.is_some();
        let with_keys = sessions().find(|session| match party {
            Party::Caller => session.caller.as_ref().is_some_and(takes),
            Party::Callee => session.callee.as_ref().is_some_and(takes),
        });
        with_keys.or_else(|| sessions().next())
    }
}
