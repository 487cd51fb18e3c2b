//! A look at a message that is not parsed: enough to sort it, at a fraction of a parse.

use memchr::{memchr, memchr_iter};

use super::Standing;

/// What a message is, as far as sorting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Response,
    Ack,
    Bye,
    Cancel,
    Register,
    Invite,
    /// Any other request.
    Other,
}

/// What was seen. Whatever a parser would refuse gives some answer, and the same one for the same
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peek<'a> {
    pub(crate) kind: Kind,
    /// Its To has a tag.
    has_tag: bool,
    /// OPTIONS outside of a dialog: what probes send.
    pub(crate) is_probe: bool,
    /// The Request-URI; empty for a response.
    pub(crate) uri: &'a [u8],
    /// The first Call-ID.
    pub(crate) call_id: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
    /// The first Authorization of a REGISTER, the first Proxy-Authorization of any other request.
    pub(crate) credentials: Option<&'a [u8]>,
}

impl<'a> Peek<'a> {
    /// Looks at the header section of `message`.
    pub(crate) fn at(message: &'a [u8]) -> Self {
        let start = message
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'));
        let message = &message[start.unwrap_or(message.len())..];
        let mut ends = memchr_iter(b'\n', message);
        let first = ends.next().unwrap_or(message.len());
        let mut words = message[..first]
            .trim_ascii_end()
            .split(|byte| *byte == b' ');
        let method = words.next().unwrap_or_default();
        let is_response = method
            .get(..4)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/"));
        let uri = words.next().filter(|_| !is_response).unwrap_or_default();
        let mut seen = Self {
            kind: kind_of(method, is_response),
            has_tag: false,
            is_probe: method == b"OPTIONS",
            uri,
            call_id: None,
            user_agent: None,
            credentials: None,
        };
        let is_register = seen.kind == Kind::Register;
        let mut from = first + 1;
        let mut had_to = false;
        for end in ends.chain([message.len()]) {
            // A folded field goes on (RFC 3261 section 7.3.1), and its parser takes it as a whole.
            if matches!(message.get(end + 1), Some(b' ' | b'\t')) {
                continue;
            }
            let line = message.get(from..end).unwrap_or_default();
            from = end + 1;
            // What names none of the fields that are looked for is most of a message.
            let initial = line.first().map_or(b' ', |byte| byte | 0x20);
            if !matches!(initial, b'a' | b'c' | b'i' | b'p' | b't' | b'u') {
                match line.trim_ascii_start().is_empty() {
                    true => break,
                    false => continue,
                }
            }
            let Some(colon) = memchr(b':', line) else {
                continue;
            };
            let (name, value) = (line[..colon].trim_ascii_end(), &line[colon + 1..]);
            match name.len() {
                1 if name.eq_ignore_ascii_case(b"i") => seen.see_call_id(value),
                7 if name.eq_ignore_ascii_case(b"call-id") => seen.see_call_id(value),
                1 if name.eq_ignore_ascii_case(b"t") => seen.see_to(value, &mut had_to),
                2 if name.eq_ignore_ascii_case(b"to") => seen.see_to(value, &mut had_to),
                10 if name.eq_ignore_ascii_case(b"user-agent") => {
                    seen.user_agent = seen.user_agent.or_else(|| Some(value.trim_ascii()));
                }
                13 if is_register && name.eq_ignore_ascii_case(b"authorization") => {
                    seen.see_credentials(value);
                }
                19 if !is_register && name.eq_ignore_ascii_case(b"proxy-authorization") => {
                    seen.see_credentials(value);
                }
                _ => {}
            }
        }
        seen
    }

    /// Whether it belongs to a dialog, or is a response, as far as its sender's word goes.
    ///
    /// A To tag is easily written, so a stranger's word goes for what ends or completes something alone, and
    /// what he asks else is weighed and waits as if it began something. That hits an honest party too which
    /// comes from a new address within a call: its ACK and BYE pass as ever; its re-INVITE or UPDATE has the
    /// bucket of a stranger's address, and may be told 503 when there is too much to do, which ends no call
    /// (RFC 5057). It is challenged then (it is in doubt), its answer lifts it out of the
    /// strangers, and the proof makes it known. A callee that has answered our INVITE is known by that.
    pub(crate) const fn is_within(&self, standing: Standing) -> bool {
        match self.kind {
            Kind::Response | Kind::Ack => true,
            Kind::Bye => self.has_tag,
            // A REGISTER belongs to no dialog (RFC 3261 section 10.2).
            Kind::Cancel | Kind::Register => false,
            Kind::Invite | Kind::Other => self.has_tag && !matches!(standing, Standing::Stranger),
        }
    }

    /// Whether it may be refused when there is too much to do: it begins something, and its sender can
    /// try again.
    pub(crate) const fn is_sheddable(&self, standing: Standing) -> bool {
        !matches!(self.kind, Kind::Cancel) && !self.is_within(standing)
    }

    /// Whether it may go before what waits: nothing that waits belongs before it. A CANCEL may not
    /// overtake its INVITE, and a probe of one who is no trunk waits like all that he sends.
    pub(crate) const fn may_overtake(&self, standing: Standing) -> bool {
        self.is_within(standing) || self.is_probe && matches!(standing, Standing::Trusted)
    }

    fn see_call_id(&mut self, value: &'a [u8]) {
        self.call_id = self.call_id.or_else(|| Some(value.trim_ascii()));
    }

    fn see_credentials(&mut self, value: &'a [u8]) {
        self.credentials = self.credentials.or_else(|| Some(value.trim_ascii()));
    }

    fn see_to(&mut self, value: &[u8], had_to: &mut bool) {
        if std::mem::replace(had_to, true) || !has_tag(value) {
            return;
        }
        self.has_tag = true;
        self.is_probe = false;
    }
}

fn kind_of(method: &[u8], is_response: bool) -> Kind {
    match method {
        _ if is_response => Kind::Response,
        b"ACK" => Kind::Ack,
        b"BYE" => Kind::Bye,
        b"CANCEL" => Kind::Cancel,
        b"REGISTER" => Kind::Register,
        b"INVITE" => Kind::Invite,
        _ => Kind::Other,
    }
}

/// Whether a To value has a tag: a parameter after the angle bracket, or of a bare URI.
fn has_tag(value: &[u8]) -> bool {
    let after = value
        .iter()
        .rposition(|byte| *byte == b'>')
        .map_or(0, |at| at + 1);
    let mut params = value[after..].split(|byte| *byte == b';').skip(1);
    params.any(|param| {
        let name = param.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"tag")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sip::message::Message;

    use super::*;

    fn message(start: &str, to: &str) -> Vec<u8> {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: {to}\r\n\
             Call-ID : x@y \r\nUser-Agent: Friendly-Scanner\r\nAuthorization: Digest a=\"r\"\r\n\
             Proxy-Authorization: Digest a=\"p\"\r\nContent-Length: 9\r\n\r\ni: wrong\n"
        );
        text.into_bytes()
    }

    #[test]
    fn messages_are_sorted_by_method_and_tag() {
        // Within a dialog: of a stranger, of one who is known.
        let (out, ours, all) = ([false, false], [false, true], [true, true]);
        for (start, to, kind, within) in [
            (
                "INVITE sip:1@h SIP/2.0",
                "<sip:1@h;tag=no>",
                Kind::Invite,
                out,
            ),
            (
                "INVITE sip:1@h SIP/2.0",
                "<sip:1@h>;tag=x",
                Kind::Invite,
                ours,
            ),
            (
                "INVITE sip:1@h SIP/2.0",
                "sip:1@h ; TAG = x",
                Kind::Invite,
                ours,
            ),
            (
                "UPDATE sip:1@h SIP/2.0",
                "<sip:1@h>;tag=x",
                Kind::Other,
                ours,
            ),
            ("BYE sip:1@h SIP/2.0", "sip:1@h;tag=x", Kind::Bye, all),
            ("BYE sip:1@h SIP/2.0", "sip:1@h", Kind::Bye, out),
            ("ACK sip:1@h SIP/2.0", "sip:1@h", Kind::Ack, all),
            (
                "CANCEL sip:1@h SIP/2.0",
                "sip:1@h;tag=odd",
                Kind::Cancel,
                out,
            ),
            ("REGISTER sip:h SIP/2.0", "sip:1@h", Kind::Register, out),
            (
                "REGISTER sip:h SIP/2.0",
                "sip:1@h;tag=x",
                Kind::Register,
                out,
            ),
            ("OPTIONS sip:h SIP/2.0", "sip:h", Kind::Other, out),
            ("SIP/2.0 200 OK", "sip:1@h;tag=x", Kind::Response, all),
            ("SIP/2.0 100 Trying", "sip:1@h", Kind::Response, all),
            (
                "\r\n\r\nINVITE sip:1@h SIP/2.0",
                "sip:1@h",
                Kind::Invite,
                out,
            ),
        ] {
            let message = message(start, to);
            let peek = Peek::at(&message);
            assert_eq!(peek.kind, kind, "{start}, {to}");
            let [stranger, known] = within;
            assert_eq!(
                peek.is_within(Standing::Stranger),
                stranger,
                "{start}, {to}"
            );
            assert_eq!(peek.is_within(Standing::Known), known, "{start}, {to}");
            assert_eq!(peek.is_within(Standing::Trusted), known, "{start}, {to}");
            assert_eq!(peek.call_id, Some(&b"x@y"[..]), "{start}");
            assert_eq!(peek.user_agent, Some(&b"Friendly-Scanner"[..]));
            let credentials = match kind {
                Kind::Register => &b"Digest a=\"r\""[..],
                _ => b"Digest a=\"p\"",
            };
            assert_eq!(peek.credentials, Some(credentials));
            assert_eq!(peek.is_probe, start.starts_with("OPTIONS"));
        }
    }

    #[test]
    fn a_cancel_overtakes_nothing_and_is_not_shed() {
        let message = message("CANCEL sip:1@h SIP/2.0", "sip:1@h");
        let peek = Peek::at(&message);
        for standing in [Standing::Stranger, Standing::Known, Standing::Trusted] {
            assert!(!peek.may_overtake(standing) && !peek.is_sheddable(standing));
        }
    }

    #[test]
    fn what_is_no_message_has_no_call_id() {
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            b"i: a start line is none",
            b"GET / HTTP/1.1\r\n\r\nCall-ID: body",
            &[0xff; 64],
        ] {
            assert_eq!(Peek::at(bytes).call_id, None, "{bytes:?}");
        }
    }

    proptest! {
        /// Or what one party sends would go to another worker than what its peer answers.
        #[test]
        fn what_is_seen_is_what_the_parser_reads(
            gaps in prop::collection::vec("[ \t]{0,2}(\r\n[ \t]{1,2}){0,2}", 8),
            before in "[ \t]{0,2}",
        ) {
            let [a, b, c, d, e, f, g, h] = &gaps[..] else { unreachable!() };
            let text = format!(
                "BYE sip:1@h SIP/2.0\r\nSubject:{a}x{b}\r\nTo{before}:{c}<sip:1@h>{d};{e}tag=1\r\n\
                 Call-ID{before}:{f}x@y{g}\r\nUser-Agent:{h}i: z\r\n\r\ni: wrong"
            );
            let (peek, parsed) = (Peek::at(text.as_bytes()), Message::parse(text.clone().into()).unwrap());
            prop_assert_eq!(peek.call_id, parsed.call_id().ok().map(str::as_bytes));
            prop_assert_eq!(peek.has_tag, parsed.to_tag().is_some());
            prop_assert_eq!(peek.user_agent, Some(&b"i: z"[..]));
        }
    }
}
