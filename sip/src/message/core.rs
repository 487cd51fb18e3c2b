//! What each element asks of each message many times: where the parts are of the headers that name its
//! transaction and its dialog. They are found once, and taken over by what is made of the message.

use super::Message;
use crate::header::{
    CSeq, HeaderError, HeaderName, ListValues, NameAddr, NameAddrParts, Via, ViaParts,
};

/// The headers of a [`Core`].
const NAMES: [HeaderName; 5] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
];

/// Places are within the value of the first field of their name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Core {
    /// `None` where the first field of that name holds no value: which one does is looked for anew.
    pub(super) via: Option<Result<ViaParts, HeaderError>>,
    pub(super) from: Result<NameAddrParts, HeaderError>,
    pub(super) to: Result<NameAddrParts, HeaderError>,
    /// Whether it can be read.
    pub(super) call_id: Result<(), HeaderError>,
    pub(super) cseq: Result<CSeq, HeaderError>,
}

impl Core {
    pub(super) fn find(message: &Message) -> Self {
        Self {
            via: via(message),
            from: address(message, HeaderName::From),
            to: address(message, HeaderName::To),
            call_id: message.read_call_id().map(drop),
            cseq: message.single(HeaderName::CSeq).and_then(CSeq::parse),
        }
    }

    /// Of a message that was made of the one that this is of. `is_new`: whether the first field of a name
    /// may be another one than it was.
    pub(super) fn carried(&self, to: &Message, is_new: impl Fn(HeaderName) -> bool) -> Self {
        let mut core = self.clone();
        for name in NAMES.into_iter().filter(|name| is_new(*name)) {
            match name {
                HeaderName::Via => core.via = via(to),
                HeaderName::From => core.from = address(to, name),
                HeaderName::To => core.to = address(to, name),
                HeaderName::CallId => core.call_id = to.read_call_id().map(drop),
                _ => core.cseq = to.single(HeaderName::CSeq).and_then(CSeq::parse),
            }
        }
        debug_assert_eq!(core, Self::find(to));
        core
    }
}

fn via(message: &Message) -> Option<Result<ViaParts, HeaderError>> {
    let value = match message.single(HeaderName::Via) {
        Ok(value) => value,
        Err(error) => return Some(Err(error)),
    };
    let via = Via::parse(ListValues::new(value).next()?);
    Some(via.map(|via| via.parts(value)))
}

fn address(message: &Message, name: HeaderName) -> Result<NameAddrParts, HeaderError> {
    let value = message.single(name)?;
    Ok(NameAddr::parse(name, value)?.parts(value))
}
