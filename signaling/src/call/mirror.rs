//! A response as who asked is to see it.
//!
//! What goes to a carrier may have another From than the caller wrote, and another CSeq number. RFC 3261
//! knows dialogs by their tags, but there are phones that compare all of From and To, so each party sees
//! of both what it has seen from the beginning: responses here, requests within the dialog by
//! [`sip::dialog::ProxyDialog::direct`].

use sip::{
    header::HeaderName,
    message::{EditError, Message},
};

use super::challenge::numbered;

/// A response to `sent` as one to `asked`, the request that was received and passed on as `sent`: From
/// and To where they were rewritten, and the CSeq number. `None` where it is that already.
pub(super) fn as_asked(
    response: &Message,
    asked: &Message,
    sent: &Message,
) -> Result<Option<Message>, EditError> {
    let mut mirrored = None;
    if let (Ok(own), Ok(cseq)) = (asked.cseq(), response.cseq())
        && own.number != cseq.number
    {
        mirrored = Some(numbered(response, own.number)?);
    }
    for name in [HeaderName::From, HeaderName::To] {
        let [own, shown] = [asked, sent].map(|message| Some(message.header(name)?.value()));
        if own == shown {
            continue;
        }
        let Some(mut own) = own.map(<[u8]>::to_vec) else {
            continue;
        };
        let tag = response.to_tag();
        let is_untagged = name == HeaderName::To && asked.to_tag().is_none();
        if let Some(tag) = tag.filter(|_| is_untagged) {
            own.extend_from_slice(b";tag=");
            own.extend_from_slice(tag.as_bytes());
        }
        let edit = mirrored.as_ref().unwrap_or(response).edit();
        mirrored = Some(edit.replace(name, own).finish()?);
    }
    Ok(mirrored)
}
