//! What the side-by-side runs are made of; the criterion benches stand in `benches/`.

pub mod relay;
pub mod xdp_cost;
