//! The client transactions: requests that we sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::arena::Arena;
use super::derived;
use super::event::{ClientId, Event, Flow, TransactionId};
use super::invite_client::{self, InviteClient};
use super::key;
use super::layer::SendError;
use super::machine::{Actions, Class, Send, Tell};
use super::non_invite_client::{self, NonInviteClient};
use super::output::Output;
use super::timer::{Armed, Timer, Timers};
use crate::header::HeaderError;
use crate::message::{Message, Method};

#[derive(Debug)]
pub(super) struct Clients<F> {
    table: Arena<Client<F>>,
    keys: HashMap<Arc<[u8]>, ClientId>,
    /// Where keys are written to be looked up.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Client<F> {
    machine: Machine,
    key: Arc<[u8]>,
    flow: F,
    /// What is retransmitted, and what an ACK or a CANCEL is made of. Gone once neither can be
    /// needed.
    request: Option<Box<Message>>,
    /// The ACK of a 3xx to 6xx, once one came.
    ack: Option<Bytes>,
    cancel: Cancel,
    /// A CANCEL of our own, whose fate interests nobody.
    quiet: bool,
    scheduled: Option<Instant>,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteClient),
    NonInvite(NonInviteClient),
}

/// How far the wish to cancel an INVITE has come.
#[derive(Debug)]
enum Cancel {
    No,
    /// To be sent with the first provisional response (RFC 3261 section 9.1).
    Wanted(Option<Box<str>>),
    Sent,
}

impl<F: Flow> Clients<F> {
    pub(super) fn new() -> Self {
        Self {
            table: Arena::new(),
            keys: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.keys.is_empty()
    }

    pub(super) fn send(
        &mut self,
        now: Instant,
        config: &Timers,
        flow: F,
        request: Message,
        out: &mut Output<F>,
    ) -> Result<ClientId, SendError> {
        self.start(now, config, flow, request, false, out)
    }

    fn start(
        &mut self,
        now: Instant,
        config: &Timers,
        flow: F,
        request: Message,
        quiet: bool,
        out: &mut Output<F>,
    ) -> Result<ClientId, SendError> {
        let method = request.method().ok_or(SendError::NotARequest)?;
        if *method == Method::Ack {
            return Err(SendError::Ack);
        }
        let via = request.via()?;
        let branch = via
            .branch()
            .filter(|_| via.has_rfc3261_branch())
            .ok_or(SendError::Branch)?;
        key::client(&mut self.buffer, branch, method);
        if self.keys.contains_key(self.buffer.as_slice()) {
            return Err(SendError::DuplicateBranch);
        }
        let reliable = flow.is_reliable();
        let machine = match method {
            Method::Invite => Machine::Invite(InviteClient::new(now, config, reliable)),
            _ => Machine::NonInvite(NonInviteClient::new(now, config, reliable)),
        };
        let key = Arc::<[u8]>::from(self.buffer.as_slice());
        let payload = request.as_bytes().clone();
        let client = Client {
            machine,
            key: key.clone(),
            flow: flow.clone(),
            request: Some(Box::new(request)),
            ack: None,
            cancel: Cancel::No,
            quiet,
            scheduled: None,
        };
        let id = ClientId(self.table.insert(client).ok_or(SendError::Full)?);
        self.keys.insert(key, id);
        out.transmit(flow, payload, Some(TransactionId::Client(id)));
        self.finish(id, Actions::NONE, None, out);
        Ok(id)
    }

    /// Asks for an INVITE to be cancelled. `false`: it is too late, or no INVITE.
    pub(super) fn cancel(
        &mut self,
        now: Instant,
        config: &Timers,
        id: ClientId,
        reason: Option<&str>,
        out: &mut Output<F>,
    ) -> bool {
        let Some(client) = self.table.get_mut(id.0) else {
            return false;
        };
        let Machine::Invite(machine) = &client.machine else {
            return false;
        };
        let (invite_client::State::Calling | invite_client::State::Proceeding) = machine.state()
        else {
            return false;
        };
        if matches!(client.cancel, Cancel::No) {
            client.cancel = Cancel::Wanted(reason.map(Into::into));
            self.send_wanted_cancel(now, config, id, out);
        }
        true
    }

    /// Where a request was sent.
    pub(super) fn flow(&self, id: ClientId) -> Option<&F> {
        self.table.get(id.0).map(|client| &client.flow)
    }

    pub(super) fn reroute(&mut self, id: ClientId, flow: F) {
        if let Some(client) = self.table.get_mut(id.0) {
            client.flow = flow;
        }
    }

    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        config: &Timers,
        id: Option<ClientId>,
        flow: F,
        response: Message,
        out: &mut Output<F>,
    ) {
        let Some((id, client)) = id.and_then(|id| Some((id, self.table.get_mut(id.0)?))) else {
            out.tell(Event::StrayResponse { flow, response });
            return;
        };
        let class = Class::of(response.status().unwrap_or_default());
        let actions = match &mut client.machine {
            Machine::Invite(machine) => machine.on_response(now, config, class),
            Machine::NonInvite(machine) => machine.on_response(now, config, class),
        };
        if actions.send == Some(Send::Ack) && client.ack.is_none() {
            client.ack = client
                .request
                .as_ref()
                .and_then(|request| derived::ack(request, &response));
        }
        if client.machine.needs_no_request() {
            client.request = None;
        }
        self.finish(id, actions, Some((flow, response)), out);
        self.send_wanted_cancel(now, config, id, out);
    }

    pub(super) fn handle_timer(
        &mut self,
        now: Instant,
        config: &Timers,
        id: ClientId,
        out: &mut Output<F>,
    ) {
        while let Some(client) = self.table.get_mut(id.0) {
            let Some(timer) = client.machine.timers().expire(now) else {
                break;
            };
            let actions = client.machine.on_timer(now, config, timer);
            self.finish(id, actions, None, out);
        }
    }

    pub(super) fn handle_transport_error(&mut self, id: ClientId, out: &mut Output<F>) {
        let Some(client) = self.table.get_mut(id.0) else {
            return;
        };
        let actions = match &mut client.machine {
            Machine::Invite(machine) => machine.on_transport_error(),
            Machine::NonInvite(machine) => machine.on_transport_error(),
        };
        self.finish(id, actions, None, out);
    }

    /// Writes the key of the request that a response is to, and looks it up.
    pub(super) fn find(&mut self, response: &Message) -> Result<Option<ClientId>, HeaderError> {
        let via = response.via()?;
        let method = response.cseq()?.method;
        key::client(&mut self.buffer, via.branch().unwrap_or_default(), &method);
        Ok(self.keys.get(self.buffer.as_slice()).copied())
    }

    /// Does what a machine asked for, and removes the transaction if that was all.
    fn finish(
        &mut self,
        id: ClientId,
        actions: Actions,
        message: Option<(F, Message)>,
        out: &mut Output<F>,
    ) {
        let Some(client) = self.table.get_mut(id.0) else {
            return;
        };
        let transaction = TransactionId::Client(id);
        let payload = match actions.send {
            Some(Send::Request) => client
                .request
                .as_ref()
                .map(|request| request.as_bytes().clone()),
            Some(Send::Ack) => client.ack.clone(),
            Some(Send::Response | Send::Trying) | None => None,
        };
        if let Some(payload) = payload {
            out.transmit(client.flow.clone(), payload, Some(transaction));
        }
        if !client.quiet {
            match (actions.tell, message) {
                (Some(Tell::Message), Some((flow, response))) => {
                    out.tell(Event::Response { id, flow, response });
                }
                (Some(Tell::Timeout), _) => out.tell(Event::ClientTimeout { id }),
                (Some(Tell::TransportError), _) => out.tell(Event::ClientTransportError { id }),
                (Some(Tell::Message) | None, _) => {}
            }
        }
        let next = client.machine.timers().next();
        out.reschedule(transaction, &mut client.scheduled, next);
        if !client.machine.is_terminated() {
            return;
        }
        let Some(client) = self.table.remove(id.0) else {
            return;
        };
        self.keys.remove(&client.key);
        if !client.quiet {
            out.tell(Event::Terminated { id: transaction });
        }
    }

    /// Sends the CANCEL that was asked for, if the callee was heard and is not done.
    fn send_wanted_cancel(
        &mut self,
        now: Instant,
        config: &Timers,
        id: ClientId,
        out: &mut Output<F>,
    ) {
        let Some(client) = self.table.get_mut(id.0) else {
            return;
        };
        let Machine::Invite(machine) = &mut client.machine else {
            return;
        };
        if machine.state() != invite_client::State::Proceeding {
            return;
        }
        let Cancel::Wanted(reason) = &client.cancel else {
            return;
        };
        let request = client.request.as_ref();
        let cancel = request.and_then(|request| derived::cancel(request, reason.as_deref()));
        client.cancel = Cancel::Sent;
        machine.on_cancel(now, config);
        let next = machine.timers.next();
        out.reschedule(TransactionId::Client(id), &mut client.scheduled, next);
        let flow = client.flow.clone();
        if let Some(cancel) = cancel {
            // Cannot collide: an INVITE is cancelled once, and only it has this branch.
            let _ = self.start(now, config, flow, cancel, true, out);
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
            Self::Invite(machine) => machine.on_timer(now, timer),
            Self::NonInvite(machine) => machine.on_timer(now, config, timer),
        }
    }

    /// Whether neither a retransmission nor an ACK will be made of the request any more.
    fn needs_no_request(&self) -> bool {
        match self {
            Self::Invite(machine) => !matches!(
                machine.state(),
                invite_client::State::Calling | invite_client::State::Proceeding
            ),
            Self::NonInvite(machine) => machine.state() == non_invite_client::State::Completed,
        }
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.state() == invite_client::State::Terminated,
            Self::NonInvite(machine) => machine.state() == non_invite_client::State::Terminated,
        }
    }
}
