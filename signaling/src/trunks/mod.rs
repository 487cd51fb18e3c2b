//! What is learned of trunks while the node runs: which hosts answer, what calls come to, whether we
//! are registered; and what answers their challenges.
//!
//! A [`Standing`] belongs to a trunk's name, not to one directory: when a directory is replaced, the
//! next trunk of that name takes over what the one before knew.

mod agent;
mod credentials;
mod health;
mod roster;
mod standing;
mod told;

pub(crate) use agent::Parts;
pub(crate) use credentials::{Answered, Credentials};
pub(crate) use health::{Change, Health};
pub(crate) use roster::{Trunks, mark, start};
pub(crate) use standing::{Registered, Standing};
pub(crate) use told::tell;
