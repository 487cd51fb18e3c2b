//! Whole calls in simulated time: the core, a caller, callees and a mediad that are played here.

mod auth;
mod bed;
mod bridge;
mod challenge;
mod closed;
mod ending;
mod flows;
mod forking;
mod media;
mod messages;
mod moved;
mod odd;
mod operator;
mod party;
mod plans;
mod reach;
mod robust;
mod setup;
mod shed;
mod shown;
mod sips;
mod storm;
mod timer;
mod trace;
mod transport;
mod within;
