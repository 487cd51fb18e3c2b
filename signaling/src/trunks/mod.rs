//! What is learned of trunks while the node runs: which hosts answer, what calls come to, whether we
//! are registered.
//!
//! A [`Standing`] belongs to a trunk's name, not to one directory: when a directory is replaced, the
//! next trunk of that name takes over what the one before knew.

mod health;
mod standing;

pub(crate) use health::{Change, Health};
pub(crate) use standing::Standing;
