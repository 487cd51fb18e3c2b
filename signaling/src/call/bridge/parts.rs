//! What a bridge is made of, and what it wants done.

use std::{collections::VecDeque, time::Instant};

use sip::{message::Message, token::TokenGenerator, transaction::Timers};
use store::{Cause, Uuid};

use super::agent::{Agent, Invitation};
use crate::{call::state::CallKey, directory::Caller};

/// One of the two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::call) enum End {
    /// Who is called first.
    First,
    Second,
}

impl End {
    pub(in crate::call) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    pub(in crate::call) const fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// Whose call of a bridge it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::call) enum Who {
    Party(End),
    /// Somebody's who is to take the place of a party.
    Next,
}

/// In whose name a call of this node's is made.
#[derive(Clone, Debug)]
pub(in crate::call) enum By {
    /// The node's, which tells whose the next one is by the same URI.
    Node(String),
    /// That of the user whom a URI names, or the node's where there is none.
    UserAt(String),
    /// That of who has asked for it.
    Caller(Caller),
}

/// One of the calls of a bridge.
#[derive(Debug)]
pub(in crate::call) struct Half {
    pub(in crate::call) id: Uuid,
    pub(in crate::call) whom: Invitation,
    pub(in crate::call) by: By,
    /// Its plan would have had its media relayed.
    pub(in crate::call) relay: bool,
    /// Once it has begun.
    pub(in crate::call) agent: Option<Agent>,
}

/// What everything here is done with.
#[derive(Debug)]
pub(in crate::call) struct Means<'m> {
    pub(in crate::call) now: Instant,
    pub(in crate::call) timers: &'m Timers,
    pub(in crate::call) tokens: &'m mut TokenGenerator,
}

/// What a bridge wants done, in this order.
#[derive(Debug)]
pub(in crate::call) enum Parcel {
    /// To be sent to the proxy.
    Message(Box<Message>),
    /// A party asks by REFER to be replaced.
    Refer(End, Box<Message>),
    /// How far a transfer is, for the call that shows it.
    Moved {
        call: CallKey,
        number: u64,
        status: u16,
    },
    /// A call is over for the node's own reason.
    HangUp(Uuid, Cause),
    /// These two are each other's peers now.
    Peers([Uuid; 2]),
    /// What comes with this Call-ID is not the bridge's any more.
    Forget(String),
}

/// What waits for the proxy.
#[derive(Debug, Default)]
pub(in crate::call) struct Outbox(VecDeque<Parcel>);

impl Outbox {
    pub(in crate::call) fn send(&mut self, messages: impl IntoIterator<Item = Message>) {
        let messages = messages.into_iter().map(Box::new);
        self.0.extend(messages.map(Parcel::Message));
    }

    pub(in crate::call) fn put(&mut self, parcel: Parcel) {
        self.0.push_back(parcel);
    }

    pub(in crate::call) fn next(&mut self) -> Option<Parcel> {
        self.0.pop_front()
    }
}
