//! Calls in simulated time, with a host that does what actions say and keeps a list of them.

mod anything;
mod dial;
mod documents;
mod gather;
mod hang_up;
mod host;
mod order;
mod record;
mod socket;
mod status;
mod stream;
mod transcripts;
mod update;
