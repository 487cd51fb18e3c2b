//! rtpengine's NG protocol, as pure functions: bytes in, requests out, and back.
//!
//! A message is a cookie, a space, and a dictionary in bencode or JSON; its answer repeats the cookie and is
//! written as the request was. No socket and no clock is known here.
//!
//! - [`frame`]: messages in datagrams and in streams of bytes.
//! - [`Encoding`], [`Value`]: the two ways to write a dictionary.
//! - [`Request`], [`Command`]: what is asked for.
//! - [`options`]: the flags and keys of offers and answers; what cannot be done is refused, by name.
//! - [`verbs`]: the same of the other commands.
//! - [`Cookies`]: answers that are kept for those who ask twice.
//! - [`description`]: what is done to an SDP beyond its addresses.
//! - [`made`]: SDP that is made here.

mod attributes;
mod bencode;
mod codecs;
mod cookies;
pub mod description;
mod flags;
pub mod frame;
mod json;
mod keys;
pub mod made;
pub mod options;
#[cfg(test)]
mod page;
mod request;
mod value;
pub mod verbs;
mod words;

pub use cookies::{Cookies, Seen};
pub use options::{Options, Refused};
pub use request::{Command, Request, RequestError};
pub use value::{DecodeError, Dictionary, Encoding, Value, dictionary};
