//! As much of SIP as a capture needs: whose call a message belongs to, and where its party wants RTP.

use std::net::{IpAddr, SocketAddr};

/// A SIP message as seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Call-ID.
    pub call_id: &'a str,
    /// The method in CSeq.
    pub method: &'a str,
    /// The status of a response, `None` for a request.
    pub status: Option<u16>,
    /// The number in CSeq.
    pub sequence: u32,
    /// Where the SDP in it, if any, wants RTP of its first `m=` line.
    pub media: Option<SocketAddr>,
    /// Value of the first `direction` attribute in the SDP (`sendrecv` where there is none).
    pub direction: &'a str,
}

/// Reads a message; `None` for what is not one.
pub fn parse(payload: &[u8]) -> Option<Message<'_>> {
    let text = std::str::from_utf8(payload).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let start = lines.next()?;
    let status = match start.strip_prefix("SIP/2.0 ") {
        Some(rest) => Some(rest.split(' ').next()?.parse().ok()?),
        None if start.ends_with(" SIP/2.0") => None,
        None => return None,
    };
    let mut call_id = None;
    let mut cseq = None;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        match name.trim() {
            name if name.eq_ignore_ascii_case("call-id") || name == "i" => {
                call_id = Some(value.trim());
            }
            name if name.eq_ignore_ascii_case("cseq") => cseq = Some(value.trim()),
            _ => {}
        }
    }
    let (sequence, method) = cseq?.split_once(' ')?;
    Some(Message {
        call_id: call_id?,
        method: method.trim(),
        status,
        sequence: sequence.parse().ok()?,
        media: media(body),
        direction: direction(body),
    })
}

fn media(sdp: &str) -> Option<SocketAddr> {
    let port = value(sdp, "m=audio ")?.split(' ').next()?.parse().ok()?;
    let address: IpAddr = value(sdp, "c=IN IP4 ")
        .or_else(|| value(sdp, "c=IN IP6 "))?
        .parse()
        .ok()?;
    Some(SocketAddr::new(address, port))
}

fn direction(sdp: &str) -> &str {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a="))
        .map(str::trim)
        .find(|name| matches!(*name, "sendrecv" | "sendonly" | "recvonly" | "inactive"))
        .unwrap_or("sendrecv")
}

fn value<'a>(sdp: &'a str, prefix: &str) -> Option<&'a str> {
    sdp.lines()
        .find_map(|line| line.strip_prefix(prefix))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_with_sdp() {
        let text = b"SIP/2.0 200 OK\r\nVia: x\r\nCall-ID: 1@h\r\nCSeq: 3 INVITE\r\n\r\n\
            v=0\r\nc=IN IP6 fd00::1\r\nm=audio 4000 RTP/AVP 8\r\na=sendonly\r\n";
        let message = parse(text).unwrap();
        assert_eq!(message.call_id, "1@h");
        assert_eq!((message.method, message.sequence), ("INVITE", 3));
        assert_eq!(message.status, Some(200));
        assert_eq!(message.media, Some("[fd00::1]:4000".parse().unwrap()));
        assert_eq!(message.direction, "sendonly");
    }

    #[test]
    fn a_request_without_sdp() {
        let text = b"BYE sip:a@b SIP/2.0\r\ni: 1@h\r\nCSeq: 2 BYE\r\n\r\n";
        let message = parse(text).unwrap();
        assert_eq!((message.method, message.status), ("BYE", None));
        assert_eq!(message.media, None);
    }

    #[test]
    fn rtp_is_not_sip() {
        assert_eq!(parse(&[0x80, 8, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(parse(b"hello\r\n\r\n"), None);
    }
}
