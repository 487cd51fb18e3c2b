//! What operators do to calls that are up.

use std::time::Instant;

use control::{
    Fault, FaultCode,
    channel::RequestError,
    media,
    signal::{CallChange, CallInfo, CallOrder, Party},
};
use serde_json::json;
use store::Cause;
use tracing::info;

use super::{
    Core,
    asked::{Asked, Purpose},
    state::{Call, CallKey},
    stream::{Media, Muted},
};

impl Core {
    /// Ends the call of this id in an operator's name. `false` where there is none.
    pub(crate) fn hang_up_by_id(&mut self, now: Instant, id: &str) -> bool {
        let Some(key) = self.call_by_id(id) else {
            return false;
        };
        self.hang_up(now, key, Cause::Operator);
        self.drain(now);
        true
    }

    /// Does what an operator wants of a call, and tells how it is then. `None` where there is none.
    pub(crate) fn obey(
        &mut self,
        now: Instant,
        order: &CallOrder,
    ) -> Option<Result<CallInfo, Fault>> {
        let key = self.call_by_id(&order.id)?;
        let call = self.calls.get(&key).filter(|call| call.end.is_none())?;
        if let Err(why) = call.has_media_here() {
            return Some(Err(self.no_media(key, why)));
        }
        let call = self.calls.get_mut(&key)?;
        let before = (call.muted, call.held);
        match order.change {
            CallChange::Mute { party, on } => call.muted.set(party, on),
            CallChange::Hold { on } => call.held = on,
        }
        if before != (call.muted, call.held) {
            info!(call = %call.id, change = ?order.change, "an operator changes who is heard");
            match order.change {
                CallChange::Mute { party, on } => {
                    self.note(now, key, "muted", &json!({ "party": party, "on": on }));
                }
                CallChange::Hold { on } => self.note(now, key, "held", &json!({ "on": on })),
            }
            self.mute(key);
            self.tell_call(key);
            self.drain(now);
        }
        self.calls.get(&key).map(|call| Ok(self.info(call)))
    }

    /// Why nothing can be done to the media of a call.
    pub(super) fn no_media(&self, key: CallKey, why: &str) -> Fault {
        let call = self.calls.get(&key);
        let peer = call.and_then(|call| self.bridges.peer(&call.call_id));
        let why = match peer {
            Some(peer) => format!("the media of this call is that of call {peer}"),
            None => why.to_owned(),
        };
        Fault::new(FaultCode::Conflict, why)
    }

    /// Tells mediad of a call's sessions who is not heard. Those that are opened later learn of it when
    /// they are.
    fn mute(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let muted = call.unheard();
        let mut requests = Vec::new();
        for media in call.media.iter_mut().chain(&mut call.spare) {
            media.muted = muted;
            let sessions = media.sessions();
            requests.extend(sessions.map(|session| (session.id, media.mute(session))));
        }
        for (id, request) in requests {
            self.ask(key, id, Purpose::Mute, request);
        }
    }

    /// mediad was told who of a session is muted.
    pub(super) fn on_muted(
        &mut self,
        asked: Asked,
        answer: &Result<media::Response, RequestError>,
    ) {
        let Err(error) = answer else { return };
        let Some(call) = self.calls.get_mut(&asked.call) else {
            return;
        };
        let mut all = call.media.iter_mut().chain(&mut call.spare);
        let found = all.find(|media| {
            let mut sessions = media.sessions();
            sessions.any(|session| session.id == asked.session)
        });
        let Some(media) = found else { return };
        let is_unknown =
            matches!(error, RequestError::Fault(fault) if fault.code == FaultCode::NotFound);
        if is_unknown && let Some(request) = media.reopen_by_id(asked.session) {
            // It is being opened just now, or a new mediad has not been told of it yet. What opens it says
            // who is muted too, and what is open already stays as it is.
            return self.ask(asked.call, asked.session, Purpose::Reopen, request);
        }
        if let Some(session) = media.session_mut(asked.session) {
            // mediad is told when it comes back.
            session.stale = true;
        }
    }

    pub(super) fn call_by_id(&self, id: &str) -> Option<CallKey> {
        let mut calls = self.calls.iter();
        let found = calls.find(|(_, call)| call.id.to_string() == id);
        found.map(|(key, _)| *key)
    }
}

impl Call {
    /// Whom the other party does not hear.
    fn unheard(&self) -> Muted {
        Muted {
            caller: self.muted.caller || self.held,
            callee: self.muted.callee || self.held,
        }
    }

    pub(super) fn has_media_here(&self) -> Result<(), &'static str> {
        let has_session = self.all_media().flat_map(Media::sessions).next().is_some();
        if self.media.is_none() || self.is_answered() && !has_session {
            return Err(
                "the media of this call goes past this node: its route has media = \"bypass\", \
                 or it has none",
            );
        }
        Ok(())
    }
}

impl Muted {
    fn set(&mut self, party: Party, on: bool) {
        match party {
            Party::Caller => self.caller = on,
            Party::Callee => self.callee = on,
        }
    }

    /// Those who are.
    pub(super) fn parties(self) -> Vec<Party> {
        let all = [(self.caller, Party::Caller), (self.callee, Party::Callee)];
        let muted = all.into_iter().filter(|(muted, _)| *muted);
        muted.map(|(_, party)| party).collect()
    }
}
