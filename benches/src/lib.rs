//! What the side-by-side runs are made of; the criterion benches stand in `benches/`.

mod cpu;
pub mod flood;
pub mod relay;
pub mod sip;
mod spread;
pub mod storm;
pub mod xdp_cost;
