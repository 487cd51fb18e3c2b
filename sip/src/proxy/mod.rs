//! What makes an element a proxy: RFC 3261 section 16, as functions over messages and one object
//! that collects responses.
//!
//! # The way of a request
//!
//! 1. [`stamp_via`] as it comes from the socket.
//! 2. [`admit`]: is it in order? If not, [`Refusal::response`].
//! 3. [`preprocess`]: follow its Route as far as this proxy goes.
//! 4. The daemon decides on targets. Within a dialog there is one: what Route or Request-URI say.
//! 5. [`ResponseContext::new`]; each of its [`Action::Try`]: [`next_hop`] is resolved to an address,
//!    [`forward`] writes the copy, [`Layer::send_request`](crate::transaction::Layer::send_request)
//!    sends it.
//! 6. Events of that client transaction go into the context, its actions come out, until
//!    [`ResponseContext::is_finished`].
//!
//! An ACK of a 2xx takes steps 1 to 3, then [`forward`] with [`Identity::stateless_branch`] and
//! [`Layer::send_stateless`](crate::transaction::Layer::send_stateless). A CANCEL comes as
//! [`Event::Cancelled`](crate::transaction::Event::Cancelled), for
//! [`ResponseContext::handle_cancel`].

mod admission;
mod best;
mod context;
mod identity;
mod route;
mod via;

pub use admission::{Admission, Refusal, admit};
pub use context::{Action, BranchId, Failover, Policy, ResponseContext};
pub use identity::Identity;
pub use route::{Forward, RecordRoute, RouteError, Routed, forward, next_hop, preprocess};
pub use via::{pop_via, stamp_via};

#[cfg(test)]
mod tests;
