//! `tandem call` and `tandem answer`: a small user agent, to try a node with.
//!
//! [`agent`] is its SIP as pure code, [`net`] its sockets, [`media`] its audio, [`phone`] the three
//! joined; [`place`] and [`take`] are the two commands.

mod agent;
mod args;
mod media;
mod net;
mod phone;
mod place;
mod progress;
mod report;
mod take;
mod target;

pub(crate) use args::{AnswerArgs, CallArgs};
pub(crate) use place::call;
pub(crate) use take::answer;
