mod admission;
mod anything;
mod context;
mod route;

use super::Identity;
use crate::message::{Message, Method, RequestBuilder};

/// A proxy at p.example.test and 192.0.2.10, ports 5060 and 5061.
fn identity() -> Identity {
    Identity::new(0x5ec2e7)
        .with_hop("192.0.2.10", 5060)
        .with_hop("[2001:db8::10]", 5060)
        .with_hop("p.example.test", 5060)
        .with_hop("p.example.test", 5061)
}

fn invite() -> RequestBuilder {
    request("sip:bob@example.test")
}

fn request(uri: &str) -> RequestBuilder {
    RequestBuilder::new(&Method::Invite, uri)
        .header(
            "Via",
            "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKcaller;rport",
        )
        .header("From", "<sip:alice@example.test>;tag=a")
        .header("To", "<sip:bob@example.test>")
        .header("Call-ID", "call-1")
        .header("CSeq", "1 INVITE")
        .header("X-Unknown", "kept  as it is")
}

fn values(message: &Message, name: &str) -> Vec<String> {
    let text = |header: crate::message::Header<'_>| header.text().into_owned();
    message.headers_named(name).map(text).collect()
}
