//! Any datagram: parse, validate, look at every header, answer what may be answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::{header::NameAddr, message::Message};

fuzz_target!(|data: &[u8]| {
    let message = match Message::parse(data.to_vec().into()) {
        Ok(message) => message,
        Err(error) => match error.partial {
            Some(partial) => *partial,
            None => return,
        },
    };
    let valid = message.validate().is_ok();
    for header in message.headers() {
        let _ = header.text();
        let Some(name) = header.known() else { continue };
        for value in message.values(name) {
            if let Ok(address) = NameAddr::parse(name, value) {
                let _ = (
                    address.display(),
                    address.uri(),
                    address.q(),
                    address.expires(),
                );
            }
        }
    }
    let _ = (
        message.content_type(),
        message.expires(),
        message.max_forwards(),
    );
    if valid && message.is_request() {
        let answer = message
            .respond(200)
            .to_tag("t")
            .build()
            .expect("valid, so answerable");
        answer
            .validate()
            .expect("an answer to a valid request is valid");
    }
});
