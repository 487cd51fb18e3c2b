//! In whose name the node makes its own calls: by whose rights, numbers and limits they go.

use std::time::Instant;

use sip::{message::Message, uri::Uri};

use super::parts::By;
use crate::{
    accounts::{Answer, Cached},
    call::Core,
    directory::{Aor, Caller},
    net::Flow,
};

impl Core {
    /// A request of an agent's that begins a call. `told` is what the store said, where this request waited
    /// for it. Where the store cannot tell whether there is a user whose call it is, it is let in to be
    /// refused, so that there is a record: with the node's own rights it might go where that user may not call.
    pub(in crate::call) fn identify_own(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        told: Option<(&Aor, &Answer)>,
    ) {
        let id = request.call_id().unwrap_or_default();
        let dialled = self.voices.by(&flow, id).map(By::Caller);
        let written = || self.texts.by(&flow, id).map(By::Caller);
        let by = dialled.or_else(written);
        let by = by.or_else(|| self.bridges.by(id));
        let (uri, is_users) = match by {
            None => return self.respond_stateless(flow, &request, 481),
            Some(By::Caller(caller)) => return self.admit(now, flow, request, caller, told),
            // The call after this one is the user's: nobody is to be called where that is unclear.
            Some(By::Node(uri)) => (uri, false),
            Some(By::UserAt(uri)) => (uri, true),
        };
        let user = Uri::parse(&uri).ok().and_then(|uri| self.own_user(&uri));
        let Some(user) = user else {
            return self.admit(now, flow, request, Caller::Node, told);
        };
        let known = told.filter(|(about, _)| **about == user);
        let answer = match known {
            Some((_, answer)) => answer.clone(),
            None => match self.access.accounts.find(now, &user) {
                Cached::Fresh(answer) => answer,
                Cached::Ask => return self.park(now, user, flow, request, None),
            },
        };
        let caller = match answer {
            Answer::Known(_) if is_users => Caller::User(user),
            Answer::Known(_) | Answer::Unknown => Caller::Node,
            Answer::Unavailable => {
                self.unclear = Some(user);
                self.hand_over(now, flow, request, Some(Caller::Node));
                self.unclear = None;
                return;
            }
        };
        self.admit(now, flow, request, caller, told);
    }
}
