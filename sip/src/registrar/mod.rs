//! The registrar's rules: RFC 3261 section 10.3, RFC 3327 (Path), RFC 5626 (outbound).
//!
//! A REGISTER that its sender may send is parsed and checked ([`Register::parse`]), then compared with
//! the bindings that its address of record has ([`Register::decide`]); whoever keeps the bindings does
//! what was decided, all of it or nothing. Bindings themselves are no business of this module: it asks
//! them what it has to know ([`Known`]).

mod decide;
mod request;

pub use decide::{Capacity, Change, Known, WhenFull};
pub use request::{Contact, FlowId, Register, Wish};

/// The lifetimes that a registrar grants, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest; less is refused with 423. At most 3,600: RFC 3261 section 10.3 lets nobody refuse
    /// an hour.
    pub min: u32,
    /// Where the request asks for none.
    pub default: u32,
    /// The longest; more is cut to it.
    pub max: u32,
}

/// Why a REGISTER is refused. Nothing of it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A Contact, Path or other header is malformed or beyond any measure. Owed 400.
    #[error("the {0} header is malformed or too long")]
    Malformed(crate::header::HeaderName),
    /// `*` stands beside another Contact or without Expires: 0. Owed 400.
    #[error("Contact: * stands alone and with Expires: 0")]
    Wildcard,
    /// More than one Contact is a flow of outbound that is to be bound. Owed 400.
    #[error("it has more than one Contact with reg-id, and a REGISTER is of one flow")]
    SeveralFlows,
    /// The lifetime is below this many seconds. Owed 423 with Min-Expires.
    #[error("the lifetime asked for is below {0} s")]
    TooBrief(u32),
    /// A later request of the same Call-ID took effect already. Owed 500.
    #[error("a later REGISTER of this Call-ID took effect already")]
    OutOfOrder,
    /// The address of record has all the bindings that it may have. Owed 403.
    #[error("the address of record has {0} contacts, which is all it may have")]
    Full(usize),
}

impl Refusal {
    /// The status that the request is owed.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Wildcard | Self::SeveralFlows => 400,
            Self::TooBrief(_) => 423,
            Self::OutOfOrder => 500,
            Self::Full(_) => 403,
        }
    }
}

#[cfg(test)]
mod tests;
