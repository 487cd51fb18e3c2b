//! What makes an element a proxy: RFC 3261 section 16, as functions over messages and one object
//! that collects responses.
//!
//! # The way of a request
//!
//! 1. [`stamp_via`] as it comes from the socket, then into the
//!    [`Layer`](crate::transaction::Layer). What follows is for what comes out of it as a new
//!    request.
//! 2. [`admit`]: is it in order? If not, [`Refusal::response`].
//! 3. [`preprocess`]: follow its Route as far as this proxy goes.
//! 4. The daemon decides on targets. Within a dialog there is one: what Route or Request-URI say.
//! 5. [`ResponseContext::new`]; for each of its [`Action::Try`], [`next_hop`] is resolved to an
//!    address, [`forward`] writes the copy, and
//!    [`Layer::send_request`](crate::transaction::Layer::send_request) sends it.
//! 6. Events of that client transaction go into the context, its actions come out, until
//!    [`ResponseContext::is_finished`].
//!
//! An ACK of a 2xx takes step 3, then [`forward`] with [`Identity::stateless_branch`] and
//! [`Layer::send_stateless`](crate::transaction::Layer::send_stateless). A CANCEL comes as
//! [`Event::Cancelled`](crate::transaction::Event::Cancelled), for
//! [`ResponseContext::handle_cancel`].
//!
//! ```
//! use std::time::Instant;
//!
//! use sip::header::Transport;
//! use sip::message::{Message, Method};
//! use sip::proxy::{
//!     Action, Admission, Forward, Identity, Policy, RecordRoute, ResponseContext, admit, forward,
//!     next_hop, preprocess, stamp_via,
//! };
//! use sip::token::TokenGenerator;
//!
//! let now = Instant::now();
//! let identity = Identity::new(0x5ec2e7).with_hop("192.0.2.10", 5060);
//! let mut tokens = TokenGenerator::new(0x5eed);
//!
//! let text = "INVITE sip:bob@example.test SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK74bf9;rport\r\n\
//!     From: <sip:alice@example.test>;tag=9fxced76sl\r\n\
//!     To: <sip:bob@example.test>\r\n\
//!     Call-ID: 3848276298220188511\r\n\
//!     CSeq: 1 INVITE\r\n\
//!     Contact: <sip:alice@192.0.2.1>\r\n\
//!     Content-Length: 0\r\n\r\n";
//! let received = stamp_via(Message::parse(text.into())?, "198.51.100.7:40123".parse()?);
//! assert_eq!(admit(&received, &identity, &[])?, Admission::Route);
//! let routed = preprocess(&received, &identity)?;
//!
//! // Two hosts that stand for one another: the second is tried where the first is out of reach.
//! let hosts = [vec!["192.0.2.4:5060"], vec!["192.0.2.5:5060"]];
//! let mut context = ResponseContext::new(now, &Method::Invite, Policy::default(), hosts);
//! while let Some(action) = context.poll_action() {
//!     let Action::Try { branch, target, .. } = action else { continue };
//!     let own = "sip:192.0.2.10:5060;lr";
//!     let target = format!("sip:bob@{target}");
//!     let plan = Forward {
//!         target: Some(&target),
//!         route: &[],
//!         directions: None,
//!         record_route: Some(RecordRoute { ingress: own, egress: own }),
//!         transport: Transport::Udp,
//!         sent_by: "192.0.2.10:5060",
//!         branch: &identity.branch(&mut tokens, &received),
//!     };
//!     assert_eq!(next_hop(&routed, &plan)?, "sip:bob@192.0.2.4:5060");
//!     let copy = forward(&routed, &plan)?;
//!     assert_eq!(copy.vias().count(), 2);
//!     // Now `layer.send_request(now, flow, copy)`; its ClientId is this `branch`. Where that
//!     // fails: `context.handle_transport_error` and `context.handle_terminated`.
//!     context.handle_transport_error(now, branch);
//!     break;
//! }
//! assert!(matches!(context.poll_action(), Some(Action::Try { target: "192.0.2.5:5060", .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod best;
mod context;
mod group;
mod identity;
mod route;
mod via;

pub use admission::{Admission, Refusal, admit};
pub use context::{Action, BranchId, Failure, Policy, ResponseContext};
pub use group::{Failover, Group, StatusSet};
pub use identity::Identity;
pub use route::{Forward, RecordRoute, RouteError, Routed, follow, forward, next_hop, preprocess};
pub use via::{pop_via, stamp_via};

#[cfg(test)]
mod tests;
