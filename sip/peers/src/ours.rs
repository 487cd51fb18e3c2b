//! This project's reading.

use bytes::Bytes;
use sip::{
    header::{HeaderError, NameAddr},
    message::{Message, StartLine},
};

use crate::{Part, Reading, UNREADABLE, address, field, via};

/// What this project's parser reads in a message.
pub fn read(raw: &Bytes) -> Reading {
    let mut reading = Reading::new();
    let message = match Message::parse(raw.clone()) {
        Ok(message) => message,
        Err(error) => {
            let owed = error
                .status()
                .map_or("nothing".to_owned(), |s| s.to_string());
            reading.insert(Part::Framed, format!("no, owed {owed}: {error}"));
            return reading;
        }
    };
    reading.insert(Part::Framed, "yes".to_owned());
    let valid = match message.validate() {
        Ok(()) => "yes".to_owned(),
        Err(invalid) => format!("no, owed {}: {invalid}", invalid.status()),
    };
    reading.insert(Part::Valid, valid);
    let start = match message.start_line() {
        StartLine::Request { method, uri } => {
            format!("{method} {}", String::from_utf8_lossy(uri))
        }
        StartLine::Response { status, .. } => format!("{status} {}", message.reason()),
    };
    reading.insert(Part::Start, start);
    let headers = message.headers().map(|header| {
        let name = header.known().map_or(header.name(), |name| name.as_str());
        field(name, &header.text())
    });
    reading.insert(Part::Headers, headers.collect::<Vec<_>>().join("\n"));
    let body = String::from_utf8_lossy(message.body()).into_owned();
    reading.insert(Part::Body, body);

    let mut put = |part, text: Result<String, HeaderError>| {
        let text = text.unwrap_or_else(|_| UNREADABLE.to_owned());
        reading.insert(part, text);
    };
    put(
        Part::Via,
        message.via().map(|top| {
            let transport = top.transport().to_string();
            via(
                &transport,
                &top.host().to_string(),
                top.port(),
                top.branch(),
            )
        }),
    );
    put(Part::From, message.from().map(|from| of(&from)));
    put(Part::To, message.to().map(|to| of(&to)));
    put(Part::CallId, message.call_id().map(str::to_owned));
    put(
        Part::CSeq,
        message
            .cseq()
            .map(|cseq| format!("{} {}", cseq.number, cseq.method)),
    );
    let contacts: Result<Vec<_>, _> = message
        .contacts()
        .map(|contact| contact.map(|c| of(&c)))
        .collect();
    put(Part::Contact, contacts.map(|contacts| contacts.join("\n")));
    put(
        Part::MaxForwards,
        message.max_forwards().map(|hops| format!("{hops:?}")),
    );
    reading
}

fn of(value: &NameAddr<'_>) -> String {
    let display = String::from_utf8_lossy(value.display_raw());
    address(&display, value.uri_str(), value.tag())
}
