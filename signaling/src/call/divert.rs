//! What a call tells of its way here when it goes on elsewhere than it was sent: Diversion (RFC 5806),
//! which carriers bill by, and History-Info (RFC 7044).

use sip::{
    header::HeaderName,
    message::{EditError, Message},
};

use crate::directory::Outcome;

/// A call that was diverted so often goes nowhere else: it runs in a circle, most likely.
pub(super) const MAX_DIVERSIONS: usize = 5;

/// Who diverted a call, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diversion {
    /// The address that it was sent to.
    pub(super) from: String,
    pub(super) reason: Reason,
}

/// Why a call is diverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Every call is forwarded.
    Always,
    /// A stage of its plan ended so.
    After(Outcome),
    /// The callee redirected it.
    Redirected,
}

impl Reason {
    /// As Diversion has it, and the status that History-Info gives as its cause (RFC 4458).
    const fn names(self) -> (&'static str, u16) {
        match self {
            Self::Always => ("unconditional", 302),
            Self::After(Outcome::Busy) => ("user-busy", 486),
            Self::After(Outcome::NoAnswer) => ("no-answer", 408),
            Self::After(Outcome::Unreachable) => ("unavailable", 503),
            Self::After(Outcome::Failed) => ("unknown", 404),
            Self::Redirected => ("deflection", 480),
        }
    }
}

/// How often a call was diverted before it came here.
pub(super) fn count(request: &Message) -> usize {
    request.values(HeaderName::Diversion).count()
}

/// The request with who diverted it: Diversion in any case, History-Info where its sender keeps one or
/// says that it understands it.
pub(super) fn write(request: &Message, diversion: &Diversion) -> Result<Message, EditError> {
    let (reason, cause) = diversion.reason.names();
    let value = format!("<{}>;reason={reason};counter=1", diversion.from);
    let mut edit = request.edit().push_top(HeaderName::Diversion, value);
    let index = request.values(HeaderName::HistoryInfo).last().map(index_of);
    let wants = request.has_option(HeaderName::Supported, "histinfo");
    match index {
        Some(index) => {
            let entry = entry(diversion, cause, &format!("{index}.1"));
            edit = edit.push(HeaderName::HistoryInfo, entry);
        }
        None if wants => edit = edit.push(HeaderName::HistoryInfo, entry(diversion, cause, "1")),
        None => {}
    }
    edit.finish()
}

fn entry(diversion: &Diversion, cause: u16, index: &str) -> String {
    let separator = if diversion.from.contains('?') {
        '&'
    } else {
        '?'
    };
    format!(
        "<{}{separator}Reason=SIP%3Bcause%3D{cause}>;index={index}",
        diversion.from
    )
}

/// The index of a History-Info value; the first where it has none.
fn index_of(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let params = text.rsplit_once('>').map_or("", |(_, params)| params);
    let index = params.split(';').find_map(|param| {
        let (name, value) = param.split_once('=')?;
        let is_index = name.trim().eq_ignore_ascii_case("index");
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        Some(value.trim()).filter(|value| is_index && value.chars().all(plain))
    });
    index.unwrap_or("1").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:2@node.test SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
        From: <sip:1@a>;tag=1\r\nTo: <sip:2@a>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nX: y\r\n\r\n";

    fn written(line: &str, reason: Reason) -> Message {
        let request = Message::parse(INVITE.replace("X: y", line).into()).unwrap();
        let from = "sip:2@node.test".to_owned();
        write(&request, &Diversion { from, reason }).unwrap()
    }

    fn values(message: &Message, name: HeaderName) -> Vec<String> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        message.values(name).map(text).collect()
    }

    #[test]
    fn the_latest_diversion_stands_on_top() {
        let line = "Diversion: <sip:0@a>;reason=unconditional";
        let message = written(line, Reason::After(Outcome::Busy));
        assert_eq!(
            values(&message, HeaderName::Diversion),
            [
                "<sip:2@node.test>;reason=user-busy;counter=1",
                "<sip:0@a>;reason=unconditional"
            ]
        );
        assert_eq!(count(&message), 2);
        assert!(values(&message, HeaderName::HistoryInfo).is_empty());
    }

    #[test]
    fn a_history_is_continued_and_begun_for_who_understands_it() {
        let cause = "<sip:2@node.test?Reason=SIP%3Bcause%3D408>";
        let message = written("Supported: histinfo", Reason::After(Outcome::NoAnswer));
        let history = values(&message, HeaderName::HistoryInfo);
        assert_eq!(history, [format!("{cause};index=1")]);
        let line = "History-Info: <sip:0@a>;index=1, <sip:2@a;x=\"y\">;foo=1;Index=1.2";
        let message = written(line, Reason::After(Outcome::NoAnswer));
        let history = values(&message, HeaderName::HistoryInfo);
        assert_eq!(history.last().unwrap(), &format!("{cause};index=1.2.1"));
    }
}
