//! What the programs of this crate have in common.

#![no_std]
#![expect(
    unsafe_code,
    reason = "packets are raw memory; the verifier checks every access"
)]

pub mod packet;
