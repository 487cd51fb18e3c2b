//! What the side-by-side runs are made of; the criterion benches stand in `benches/`.

pub mod capacity;
pub mod cdrs;
pub mod churn;
mod cpu;
pub mod dashboard;
pub mod error;
pub mod flood;
pub mod footprint;
pub mod machine;
pub mod media;
mod memory;
pub mod mixed;
pub mod outcome;
pub mod proxy;
pub mod register;
pub mod relay;
pub mod rest;
pub mod server;
pub mod setup;
mod spread;
pub mod storm;
pub mod voice;
pub mod xdp_cost;
