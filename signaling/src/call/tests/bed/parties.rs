//! Parties and what they say.

use sip::{
    dialog::Dialog,
    header::HeaderName,
    message::{Message, Method},
};
use store::CallEvent;

use super::{Bed, CALLEE, CALLER};

/// SDP with one audio stream, or more for more ports.
pub(in super::super) fn sdp(address: &str, ports: &[u16], direction: &str) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    let mut text = format!(
        "v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
    );
    for port in ports {
        text.push_str(&format!("m=audio {port} RTP/AVP 8\r\na={direction}\r\n"));
    }
    text
}

/// A caller, or a callee, and what it needs to speak within the dialog.
pub(in super::super) struct Party {
    pub(in super::super) dialog: Dialog,
    address: &'static str,
    count: u32,
}

/// An INVITE from the caller to a number.
pub(in super::super) fn invite(number: &str, id: &str, body: &str) -> Message {
    let content = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let text = format!(
        "INVITE sip:{number}@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"A\" <sip:alice@pbx.test>;tag=a{id}\r\n\
         To: <sip:{number}@node.test>\r\nCall-ID: {id}@pbx.test\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@{CALLER}>\r\nX-Custom: kept\r\n{content}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Message::parse(text.into()).unwrap()
}

/// A response of the callee to a request that it got.
pub(in super::super) fn answer(
    request: &Message,
    status: u16,
    contact: &str,
    body: &str,
) -> Message {
    let mut response = request.respond(status).to_tag("callee");
    response = response.header(HeaderName::Contact, format!("<sip:bob@{contact}>"));
    if !body.is_empty() {
        response = response.body("application/sdp", body.to_owned());
    }
    response.build().unwrap()
}

impl Party {
    pub(in super::super) fn caller(invite: &Message, response: &Message) -> Self {
        Self {
            dialog: Dialog::uac(invite, response).unwrap(),
            address: CALLER,
            count: 0,
        }
    }

    pub(in super::super) fn callee(invite: &Message, address: &'static str) -> Self {
        Self {
            dialog: Dialog::uas(invite, "callee").unwrap(),
            address,
            count: 0,
        }
    }

    fn via(&mut self) -> String {
        self.count += 1;
        let (tag, peer) = (self.dialog.local_tag(), self.dialog.remote_tag());
        format!(
            "SIP/2.0/UDP {};branch=z9hG4bK{tag}{peer}{};rport",
            self.address, self.count
        )
    }

    pub(in super::super) fn ack(&mut self, body: &str) -> Message {
        let via = self.via();
        let ack = self.dialog.ack(&via);
        let ack = if body.is_empty() {
            ack
        } else {
            ack.body("application/sdp", body.to_owned())
        };
        ack.build().unwrap()
    }

    pub(in super::super) fn send(&mut self, method: &Method, body: &str) -> Message {
        let via = self.via();
        let mut request = self.dialog.request(method, &via);
        if matches!(method, Method::Invite | Method::Update) {
            request = request.header(HeaderName::Contact, format!("<sip:me@{}>", self.address));
        }
        if !body.is_empty() {
            request = request.body("application/sdp", body.to_owned());
        }
        request.build().unwrap()
    }
}

/// A call that is up, and its parties.
pub(in super::super) struct Up {
    pub(in super::super) caller: Party,
    pub(in super::super) callee: Party,
}

/// Sets a call up to `number` (of a route to the carrier): INVITE, 180, 200, ACK.
pub(in super::super) fn call(bed: &mut Bed, number: &str, id: &str) -> Up {
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    let answered = sdp("192.0.2.20", &[5000], "sendrecv");
    call_with(bed, number, id, &offer, &answered)
}

/// The same, with what both say of their media.
pub(in super::super) fn call_with(
    bed: &mut Bed,
    number: &str,
    id: &str,
    offer: &str,
    answered: &str,
) -> Up {
    let request = invite(number, id, offer);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    let ok = answer(&forwarded, 200, CALLEE, answered);
    bed.receive_message(CALLEE, &ok);
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    let callee = Party::callee(&forwarded, CALLEE);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.assert_quiet();
    Up { caller, callee }
}

/// The caller hangs up, and the callee agrees.
pub(in super::super) fn hang_up(bed: &mut Bed, up: &mut Up) {
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_quiet();
}

/// The body as text.
pub(in super::super) fn body(message: &Message) -> String {
    String::from_utf8(message.body().to_vec()).unwrap()
}

/// The CANCEL of an INVITE.
pub(in super::super) fn cancel_of(invite: &Message) -> String {
    let text = String::from_utf8(invite.as_bytes().to_vec()).unwrap();
    let head = text.split("\r\n\r\n").next().unwrap();
    let lines = head
        .split("\r\n")
        .filter(|line| !line.starts_with("Content-"));
    let text: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("{text}Content-Length: 0\r\n\r\n").replace("INVITE", "CANCEL")
}

/// What is kept of something that happened to a call.
pub(in super::super) fn data(event: &CallEvent) -> serde_json::Value {
    serde_json::from_str(&event.data).unwrap()
}
