//! The reading of `rsip`.

use bytes::Bytes;
use rsip::{
    Error, Header, SipMessage,
    headers::{ToTypedHeader as _, UntypedHeader as _},
    message::{HasHeaders as _, HeadersExt as _},
};

use crate::{Part, Reading, UNREADABLE, address, field, via};

/// What `rsip` reads in a message.
pub fn read(raw: &Bytes) -> Reading {
    let mut reading = Reading::new();
    let message = match SipMessage::try_from(&raw[..]) {
        Ok(message) => message,
        Err(_) => {
            reading.insert(Part::Framed, "no".to_owned());
            return reading;
        }
    };
    reading.insert(Part::Framed, "yes".to_owned());
    let start = match &message {
        SipMessage::Request(request) => format!("{} {}", request.method, request.uri),
        SipMessage::Response(response) => response.status_code.to_string(),
    };
    reading.insert(Part::Start, start);
    let headers = message.headers().iter().map(|header| {
        let text = header.to_string();
        let (name, value) = text.split_once(':').unwrap_or((&text, ""));
        field(name, value)
    });
    reading.insert(Part::Headers, headers.collect::<Vec<_>>().join("\n"));
    let body = String::from_utf8_lossy(message.body()).into_owned();
    reading.insert(Part::Body, body);

    let mut all = true;
    let mut put = |part, text: Result<String, Error>| {
        all &= text.is_ok();
        let text = text.unwrap_or_else(|_| UNREADABLE.to_owned());
        reading.insert(part, text);
    };
    put(Part::Via, top_via(&message));
    let from = message.from_header().and_then(|from| from.typed());
    put(
        Part::From,
        from.map(|from| of(from.display_name.as_deref(), &from.uri, from.tag())),
    );
    let to = message.to_header().and_then(|to| to.typed());
    put(
        Part::To,
        to.map(|to| of(to.display_name.as_deref(), &to.uri, to.tag())),
    );
    let call_id = message.call_id_header();
    put(Part::CallId, call_id.map(|id| id.value().to_owned()));
    let cseq = message.cseq_header().and_then(|cseq| cseq.typed());
    put(
        Part::CSeq,
        cseq.map(|cseq| format!("{} {}", cseq.seq, cseq.method)),
    );
    put(Part::Contact, contacts(&message));
    let hops = message.max_forwards_header().ok();
    let hops = hops.map(|hops| {
        hops.num().and_then(|hops| {
            u8::try_from(hops).map_err(|_| Error::Unexpected("too many hops".to_owned()))
        })
    });
    put(
        Part::MaxForwards,
        hops.transpose().map(|hops| format!("{hops:?}")),
    );
    let valid = if all { "yes" } else { "no" };
    reading.insert(Part::Valid, valid.to_owned());
    reading
}

fn top_via(message: &SipMessage) -> Result<String, Error> {
    let typed = message.via_header()?.typed()?;
    let host = typed.uri.host().to_string();
    let port = typed.uri.port().map(|port| *port.value());
    let branch = typed.branch().map(|branch| branch.value());
    let transport = typed.transport.to_string();
    Ok(via(&transport, &host, port, branch))
}

fn contacts(message: &SipMessage) -> Result<String, Error> {
    let contacts = message.headers().iter().filter_map(|header| match header {
        Header::Contact(contact) => Some(contact.typed()),
        _ => None,
    });
    let texts = contacts.map(|contact| {
        let contact = contact?;
        let tag = contact.params.iter().find_map(|param| match param {
            rsip::Param::Tag(tag) => Some(tag),
            _ => None,
        });
        Ok(of(contact.display_name.as_deref(), &contact.uri, tag))
    });
    Ok(texts.collect::<Result<Vec<_>, Error>>()?.join("\n"))
}

fn of(display: Option<&str>, uri: &rsip::Uri, tag: Option<&rsip::param::Tag>) -> String {
    address(
        display.unwrap_or_default(),
        &uri.to_string(),
        tag.map(|tag| tag.value()),
    )
}
