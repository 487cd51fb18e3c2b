//! The server transactions: requests that we received.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::arena::Arena;
use super::derived;
use super::event::{Event, Flow, ServerId, TransactionId};
use super::invite_server::{self, InviteServer};
use super::key;
use super::layer::SendError;
use super::machine::{Actions, Class, Send, Tell};
use super::non_invite_server::{self, NonInviteServer};
use super::output::Output;
use super::timer::{Armed, Timer, Timers};
use crate::header::HeaderError;
use crate::message::{Message, Method};
use crate::token::TokenGenerator;

#[derive(Debug)]
pub(super) struct Servers<F> {
    table: Arena<Server<F>>,
    keys: HashMap<Arc<[u8]>, ServerId>,
    /// Where keys are written to be looked up.
    buffer: Vec<u8>,
    /// For the To tag of a 200 to CANCEL.
    tokens: TokenGenerator,
}

#[derive(Debug)]
struct Server<F> {
    machine: Machine,
    key: Arc<[u8]>,
    flow: F,
    /// What a 100 is made of. Gone once a final response was given.
    request: Option<Box<Message>>,
    /// The response to repeat. Gone once it is not: a 2xx to INVITE is repeated by who gave it.
    last: Option<Bytes>,
    /// The To tag of our latest response, which the 200 to a CANCEL takes over; or that of a 200 to
    /// a CANCEL which came before any, for the final response to take over (RFC 3261 section 9.2).
    tag: Option<Box<str>>,
    /// A CANCEL that the layer answered by itself, or a request whose sender is gone: its fate interests
    /// nobody.
    quiet: bool,
    scheduled: Option<Instant>,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

impl<F: Flow> Servers<F> {
    pub(super) fn new(tokens: TokenGenerator) -> Self {
        Self {
            table: Arena::new(),
            keys: HashMap::new(),
            buffer: Vec::new(),
            tokens,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.keys.is_empty()
    }

    pub(super) fn knows(&mut self, request: &Message) -> bool {
        let method = request.method();
        method.is_some_and(|method| matches!(self.find(request, method), Ok(Some(_))))
    }

    /// Where the INVITE of a CANCEL came from.
    pub(super) fn flow_of_invite(&mut self, cancel: &Message) -> Option<&F> {
        let id = self.find(cancel, &Method::Invite).ok()??;
        self.table.get(id.0).map(|server| &server.flow)
    }

    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        config: &Timers,
        flow: F,
        request: Message,
        out: &mut Output<F>,
    ) -> Result<(), HeaderError> {
        let Some(method) = request.method() else {
            return Ok(());
        };
        let known = self.find(&request, method)?;
        if *method == Method::Ack {
            self.handle_ack(now, config, known, flow, request, out);
            return Ok(());
        }
        if let Some(id) = known {
            self.repeat(id, out);
            return Ok(());
        }
        // The key of the request itself is still in the buffer.
        let key = Arc::<[u8]>::from(self.buffer.as_slice());
        let invite = match method {
            Method::Cancel => self.find(&request, &Method::Invite)?,
            _ => None,
        };
        let reliable = flow.is_reliable();
        let machine = match method {
            Method::Invite => Machine::Invite(InviteServer::new(now, config, reliable)),
            _ => Machine::NonInvite(NonInviteServer::new(now, config, reliable)),
        };
        let server = Server {
            machine,
            key: key.clone(),
            flow: flow.clone(),
            request: Some(Box::new(request.clone())),
            last: None,
            tag: None,
            quiet: invite.is_some(),
            scheduled: None,
        };
        let Some(handle) = self.table.insert(server) else {
            return Ok(());
        };
        let id = ServerId(handle);
        self.keys.insert(key, id);
        self.finish(id, Actions::NONE, out);
        match invite {
            Some(invite) => self.answer_cancel(now, config, id, invite, request, out),
            None => out.tell(Event::Request { id, flow, request }),
        }
        Ok(())
    }

    pub(super) fn respond(
        &mut self,
        now: Instant,
        config: &Timers,
        id: ServerId,
        response: &Message,
        out: &mut Output<F>,
    ) -> Result<(), SendError> {
        let status = response.status().ok_or(SendError::NotAResponse)?;
        let class = Class::of(status);
        let server = self.table.get_mut(id.0).ok_or(SendError::NoTransaction)?;
        let actions = match &mut server.machine {
            Machine::Invite(machine) => machine.on_user_response(now, config, class),
            Machine::NonInvite(_) if class == Class::Provisional => {
                return Err(SendError::Provisional);
            }
            Machine::NonInvite(machine) if status == 408 => {
                machine.on_abandon(now, config);
                Some(Actions::NONE)
            }
            Machine::NonInvite(machine) => machine.on_user_response(now, config, class),
        };
        let actions = actions.ok_or(SendError::Answered)?;
        if actions.send.is_some() {
            server.last = Some(response.as_bytes().clone());
            server.tag = response.to_tag().map(Into::into);
        }
        if class != Class::Provisional {
            server.request = None;
        }
        self.finish(id, actions, out);
        if let Some(server) = self.table.get_mut(id.0)
            && server.machine.repeats_nothing()
        {
            server.last = None;
        }
        Ok(())
    }

    pub(super) fn abandon(
        &mut self,
        now: Instant,
        config: &Timers,
        id: ServerId,
        out: &mut Output<F>,
    ) {
        let Some(server) = self.table.get_mut(id.0) else {
            return;
        };
        let Machine::NonInvite(machine) = &mut server.machine else {
            return;
        };
        machine.on_abandon(now, config);
        server.request = None;
        self.finish(id, Actions::NONE, out);
    }

    pub(super) fn tag(&self, id: ServerId) -> Option<&str> {
        self.table.get(id.0)?.tag.as_deref()
    }

    pub(super) fn resend(&mut self, id: ServerId, flow: F, out: &mut Output<F>) {
        if let Some(server) = self.table.get_mut(id.0) {
            server.flow = flow;
        }
        self.repeat(id, out);
    }

    pub(super) fn forsake(&mut self, id: ServerId) {
        if let Some(server) = self.table.get_mut(id.0) {
            server.quiet = true;
        }
    }

    pub(super) fn handle_timer(
        &mut self,
        now: Instant,
        config: &Timers,
        id: ServerId,
        out: &mut Output<F>,
    ) {
        while let Some(server) = self.table.get_mut(id.0) {
            let Some(timer) = server.machine.timers().expire(now) else {
                break;
            };
            let actions = server.machine.on_timer(now, config, timer);
            if actions.send == Some(Send::Trying) {
                server.last = server.request.as_deref().and_then(derived::trying);
            }
            self.finish(id, actions, out);
        }
    }

    pub(super) fn handle_transport_error(&mut self, id: ServerId, out: &mut Output<F>) {
        let Some(server) = self.table.get_mut(id.0) else {
            return;
        };
        let actions = match &mut server.machine {
            Machine::Invite(machine) => machine.on_transport_error(),
            Machine::NonInvite(machine) => machine.on_transport_error(),
        };
        self.finish(id, actions, out);
    }

    /// Writes the key of `request`, taken as one of this method, and looks it up.
    fn find(
        &mut self,
        request: &Message,
        method: &Method,
    ) -> Result<Option<ServerId>, HeaderError> {
        let via = request.via()?;
        match via.branch().filter(|_| via.has_rfc3261_branch()) {
            Some(branch) => key::server(&mut self.buffer, &via, branch, method),
            None => {
                let from = request.from()?;
                let parts = key::Legacy {
                    request_uri: request.request_uri_raw(),
                    from_tag: from.tag().unwrap_or_default(),
                    call_id: request.call_id()?.as_bytes(),
                    cseq: request.cseq()?.number,
                };
                key::legacy(&mut self.buffer, &via, &parts, method);
            }
        }
        Ok(self.keys.get(self.buffer.as_slice()).copied())
    }

    fn handle_ack(
        &mut self,
        now: Instant,
        config: &Timers,
        invite: Option<ServerId>,
        flow: F,
        request: Message,
        out: &mut Output<F>,
    ) {
        let known = invite.and_then(|id| Some((id, self.table.get_mut(id.0)?)));
        let Some((id, server)) = known else {
            out.tell(Event::Ack {
                invite: None,
                flow,
                request,
            });
            return;
        };
        let Machine::Invite(machine) = &mut server.machine else {
            return;
        };
        let actions = machine.on_ack(now, config);
        if actions.tell == Some(Tell::Message) {
            out.tell(Event::Ack {
                invite,
                flow,
                request,
            });
        }
        self.finish(id, actions, out);
    }

    /// Sends the latest response again, as for a request that came again.
    fn repeat(&mut self, id: ServerId, out: &mut Output<F>) {
        let Some(server) = self.table.get_mut(id.0) else {
            return;
        };
        let actions = match &mut server.machine {
            Machine::Invite(machine) => machine.on_retransmission(),
            Machine::NonInvite(machine) => machine.on_retransmission(),
        };
        self.finish(id, actions, out);
    }

    /// 200 to a CANCEL that found its INVITE (RFC 3261 section 9.2): whether it still changes
    /// anything or not.
    fn answer_cancel(
        &mut self,
        now: Instant,
        config: &Timers,
        id: ServerId,
        invite: ServerId,
        request: Message,
        out: &mut Output<F>,
    ) {
        let Some(server) = self.table.get_mut(invite.0) else {
            return;
        };
        let tag = server.tag.get_or_insert_with(|| self.tokens.tag().into());
        let tag = tag.to_string();
        let pending = server.machine.is_pending();
        if let Some(response) = derived::ok(&request, &tag) {
            // A transaction that has just begun takes any response.
            let _ = self.respond(now, config, id, &response, out);
        }
        if pending {
            out.tell(Event::Cancelled { invite, request });
        }
    }

    /// Does what a machine asked for, and removes the transaction if that was all.
    fn finish(&mut self, id: ServerId, actions: Actions, out: &mut Output<F>) {
        let Some(server) = self.table.get_mut(id.0) else {
            return;
        };
        let transaction = TransactionId::Server(id);
        if let (Some(_), Some(payload)) = (actions.send, &server.last) {
            out.transmit(server.flow.clone(), payload.clone(), Some(transaction));
        }
        match actions.tell.filter(|_| !server.quiet) {
            Some(Tell::Timeout) => match server.machine {
                Machine::Invite(_) => out.tell(Event::Unacknowledged {
                    id,
                    flow: server.flow.clone(),
                }),
                Machine::NonInvite(_) => out.tell(Event::ServerTimeout { id }),
            },
            Some(Tell::TransportError) => out.tell(Event::ServerTransportError {
                id,
                flow: server.flow.clone(),
            }),
            Some(Tell::Message) | None => {}
        }
        let next = server.machine.timers().next();
        out.reschedule(transaction, &mut server.scheduled, next);
        if !server.machine.is_terminated() {
            return;
        }
        if let Some(server) = self.table.remove(id.0) {
            self.keys.remove(&server.key);
            if !server.quiet {
                out.tell(Event::Terminated { id: transaction });
            }
        }
    }
}

impl Machine {
    fn timers(&mut self) -> &mut Armed {
        match self {
            Self::Invite(machine) => &mut machine.timers,
            Self::NonInvite(machine) => &mut machine.timers,
        }
    }

    fn on_timer(&mut self, now: Instant, config: &Timers, timer: Timer) -> Actions {
        match self {
            Self::Invite(machine) => machine.on_timer(now, config, timer),
            Self::NonInvite(machine) => machine.on_timer(timer),
        }
    }

    /// Whether the response that was sent is never sent again (RFC 6026 section 7.1).
    fn repeats_nothing(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.state() == invite_server::State::Accepted,
            Self::NonInvite(_) => false,
        }
    }

    /// Whether an INVITE waits for its final response.
    fn is_pending(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.state() == invite_server::State::Proceeding,
            Self::NonInvite(_) => false,
        }
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.state() == invite_server::State::Terminated,
            Self::NonInvite(machine) => machine.state() == non_invite_server::State::Terminated,
        }
    }
}
