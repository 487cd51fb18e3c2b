//! Tandem's media engine.

pub mod xdp;
