//! What a message is matched by: RFC 3261 sections 17.1.3 and 17.2.3.
//!
//! A key is written into a buffer that the layer keeps, so that looking one up allocates nothing.
//! Its parts are parted by a zero byte, which no part can hold.

use crate::header::Via;
use crate::message::Method;

/// The key of a client transaction: the branch that we chose, and the method of the CSeq, because
/// a CANCEL shares the branch of what it cancels.
pub(super) fn client(buffer: &mut Vec<u8>, branch: &str, method: &Method) {
    buffer.clear();
    buffer.extend_from_slice(branch.as_bytes());
    push(buffer, method.as_str().as_bytes());
}

/// The key of a server transaction: branch, sent-by (the branch is unique only for its sender) and
/// method. An ACK is looked up as the INVITE that it acknowledges, a CANCEL's target likewise.
pub(super) fn server(buffer: &mut Vec<u8>, via: &Via<'_>, branch: &str, method: &Method) {
    buffer.clear();
    buffer.extend_from_slice(branch.as_bytes());
    push_sent_by(buffer, via);
    push(buffer, matched_method(method).as_str().as_bytes());
}

/// What identifies a request of an RFC 2543 client, whose branch is missing or no proof of
/// uniqueness.
pub(super) struct Legacy<'a> {
    pub(super) request_uri: &'a [u8],
    pub(super) from_tag: &'a str,
    pub(super) call_id: &'a [u8],
    pub(super) cseq: u32,
}

/// The key of a server transaction whose client follows RFC 2543. The To tag is left out: the ACK
/// has one that the INVITE had not, and the rest tells apart what such clients send.
pub(super) fn legacy(buffer: &mut Vec<u8>, via: &Via<'_>, parts: &Legacy<'_>, method: &Method) {
    buffer.clear();
    // No branch of RFC 3261 is empty, so the two kinds of key never meet.
    push(buffer, parts.request_uri);
    push(buffer, parts.from_tag.as_bytes());
    push(buffer, parts.call_id);
    push(buffer, &parts.cseq.to_be_bytes());
    push(buffer, via.branch().unwrap_or_default().as_bytes());
    push_sent_by(buffer, via);
    push(buffer, matched_method(method).as_str().as_bytes());
}

fn matched_method(method: &Method) -> &Method {
    match method {
        Method::Ack => &Method::Invite,
        other => other,
    }
}

/// As it was written but for its case: a client writes it the same way into what belongs together.
fn push_sent_by(buffer: &mut Vec<u8>, via: &Via<'_>) {
    buffer.push(0);
    buffer.extend(via.sent_by().bytes().map(|byte| byte.to_ascii_lowercase()));
}

fn push(buffer: &mut Vec<u8>, part: &[u8]) {
    buffer.push(0);
    buffer.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes()).unwrap()
    }

    fn server_key(text: &str, method: &Method) -> Vec<u8> {
        let mut key = Vec::new();
        let via = via(text);
        server(&mut key, &via, via.branch().unwrap(), method);
        key
    }

    #[test]
    fn an_ack_is_looked_up_as_its_invite_but_a_cancel_is_not() {
        let text = "SIP/2.0/UDP a.test;branch=z9hG4bK1";
        let invite = server_key(text, &Method::Invite);
        assert_eq!(server_key(text, &Method::Ack), invite);
        assert_ne!(server_key(text, &Method::Cancel), invite);
    }

    #[test]
    fn sent_by_ignores_case_but_not_another_host_or_port() {
        let key = |text| server_key(text, &Method::Invite);
        let plain = key("SIP/2.0/UDP a.test;branch=z9hG4bK1");
        assert_eq!(key("SIP/2.0/UDP A.Test;branch=z9hG4bK1;rport"), plain);
        assert_ne!(key("SIP/2.0/UDP b.test;branch=z9hG4bK1"), plain);
        assert_ne!(key("SIP/2.0/UDP a.test:5070;branch=z9hG4bK1"), plain);
        assert_ne!(key("SIP/2.0/UDP a.test;branch=z9hG4bK2"), plain);
    }
}
