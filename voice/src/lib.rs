//! Programmable voice as a pure interpreter: documents and events in, actions out. No socket, no clock, no
//! runtime and no unsafe.

#![forbid(unsafe_code)]

pub mod form;
pub mod sid;
pub mod signature;
pub mod twiml;
