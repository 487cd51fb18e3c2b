//! What the four machines share: the answer to an input, and the class of a status.

/// What a machine asks of the layer after an input. Both may be set: a 486 is reported and
/// acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Actions {
    pub(super) send: Option<Send>,
    pub(super) tell: Option<Tell>,
}

impl Actions {
    pub(super) const NONE: Self = Self {
        send: None,
        tell: None,
    };

    pub(super) const fn send(send: Send) -> Self {
        Self {
            send: Some(send),
            tell: None,
        }
    }

    pub(super) const fn tell(tell: Tell) -> Self {
        Self {
            send: None,
            tell: Some(tell),
        }
    }

    pub(super) const fn and_tell(self, tell: Tell) -> Self {
        Self {
            send: self.send,
            tell: Some(tell),
        }
    }
}

/// What goes to the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Send {
    /// The request, again.
    Request,
    /// The ACK of a non-2xx final response.
    Ack,
    /// The response at hand: the one that the user gave now, or the last one again.
    Response,
    /// A 100 (Trying) that the user did not send.
    Trying,
}

/// What the user of the transaction hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// The message that was put in.
    Message,
    /// Nobody answered (B, F) or acknowledged (H) in time, or our own user did not (J).
    Timeout,
    /// The transport could not deliver.
    TransportError,
}

/// A status, as far as the machines can tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 3xx to 6xx.
    Failure,
}

impl Class {
    pub(super) fn of(code: u16) -> Self {
        match code {
            0..=199 => Self::Provisional,
            200..=299 => Self::Success,
            _ => Self::Failure,
        }
    }
}
