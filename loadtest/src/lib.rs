//! Calls from outside: what the demo, the load test and the end-to-end tests are made of.
//!
//! - [`bed`]: three network namespaces (caller, node, callee) joined by veth pairs.
//! - [`sipp`]: SIPp as caller and callee, with this crate's scenarios.
//! - [`audio`]: the recognisable G.711 that both play.
//! - [`capture`]: what went over the wires, and whether it arrived as it was sent.
//! - [`node`]: a Tandem node under test; [`http`] and [`metrics`] ask it how it is.
//! - [`load`]: all of it together: `loadtest demo` and `loadtest run`.
//!
//! Nothing here uses Tandem's own code: a mistake there must not hide itself in what checks it.

pub mod audio;
pub mod bed;
pub mod capture;
pub mod http;
pub mod load;
pub mod metrics;
pub mod node;
pub mod process;
pub mod sink;
pub mod sipp;
