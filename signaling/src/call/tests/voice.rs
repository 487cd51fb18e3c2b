//! Calls that an application answers.

use control::media::{Audio, AudioTrouble, Play, Side, VoiceEvent, VoiceOrder};
use sip::message::{Message, Method};
use store::{Cause, EndedBy};
use voice::call::{RequestError, Response};

use super::bed::*;
use crate::call::MediaNews;

/// A document that goes on for ever.
pub(super) const WAIT: &str = "<Play loop=\"0\">/music.wav</Play>";

/// What the caller can do: G.711 and telephone events.
pub(super) fn offer() -> String {
    let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
                 m=audio 4000 RTP/AVP 9 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    offer.to_owned()
}

impl Bed {
    /// The next question to a webhook is for this URL, and is answered with what is in `<Response>`.
    pub(super) fn reply(&mut self, url: &str, verbs: &str) -> String {
        self.reply_with(url, Ok(format!("<Response>{verbs}</Response>")))
    }

    /// The same with any outcome. Returns what was told.
    pub(super) fn reply_with(&mut self, url: &str, answer: Result<String, RequestError>) -> String {
        let Some((token, request)) = self.webhooks.pop_front() else {
            panic!("no webhook is asked");
        };
        assert_eq!(request.url, url);
        let result = answer.map(|body| Response {
            status: 200,
            content_type: Some("text/xml".to_owned()),
            location: None,
            body: body.into_bytes(),
        });
        self.core.handle_webhook(self.now, token, result);
        self.settle();
        request.body.unwrap_or_default()
    }

    /// What mediad was told to do since the last time.
    pub(super) fn orders(&mut self) -> Vec<VoiceOrder> {
        std::mem::take(&mut self.mediad.orders)
    }

    /// The only thing that is to be played.
    pub(super) fn plays(&mut self) -> Play {
        let orders = self.orders();
        let mut plays = orders.iter().filter_map(|order| match order {
            VoiceOrder::Play(play) => Some(play.clone()),
            _ => None,
        });
        let first = plays.next();
        assert!(plays.next().is_none(), "{orders:?}");
        first.unwrap_or_else(|| panic!("nothing is played: {orders:?}"))
    }

    /// Something happens in the only session.
    pub(super) fn happens(&mut self, event: VoiceEvent) {
        let id = self.mediad.only().id;
        let news = MediaNews::Voice(id, event);
        self.core.handle_media_news(self.now, news);
        self.settle();
    }

    pub(super) fn played(&mut self, job: u32) {
        let result = Ok(());
        self.happens(VoiceEvent::Played { job, result });
    }

    /// The application is told of the end, and nothing is left.
    pub(super) fn assert_told(&mut self, status: &str) {
        let told = self.reply_with("http://app.test/status", Ok(String::new()));
        assert!(told.contains(&format!("CallStatus={status}")), "{told}");
        assert!(self.webhooks.is_empty());
        self.assert_empty();
    }
}

/// A call to the application, whose first webhook is being asked.
pub(super) fn begin(bed: &mut Bed, id: &str) -> Message {
    let request = invite("+55", id, &offer());
    bed.receive_message(CALLER, &request);
    request
}

/// The caller has acknowledged the answer that is waiting for it.
pub(super) fn pick_up(bed: &mut Bed, request: &Message) -> (Party, Message) {
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.assert_quiet();
    (caller, ok)
}

#[test]
fn an_application_says_something_and_hangs_up() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "say");
    assert_eq!(bed.asked(), ["create", "voice"]);
    assert_eq!(bed.orders(), [VoiceOrder::Attach, VoiceOrder::Attend(true)]);
    let remote = bed.mediad.only().a.remote.clone().unwrap();
    assert_eq!(
        (
            &*remote.format.encoding,
            remote.events.unwrap().payload_type
        ),
        ("PCMU", 101)
    );
    bed.assert_quiet();
    let call = bed.core.list(None).remove(0);
    let told = bed.reply("http://app.test/voice", "<Say>Good morning</Say>");
    let sid = format!("CallSid=CA{}", call.id.replace('-', ""));
    for part in [
        &*sid,
        "To=%2B55",
        "CallStatus=ringing",
        "SipHeader_X-Custom=kept",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let (mut caller, ok) = pick_up(&mut bed, &request);
    assert_eq!(led(&ok), "198.51.100.1:20000");
    assert!(
        body(&ok).contains("m=audio 20000 RTP/AVP 0 101\r\n"),
        "{}",
        body(&ok)
    );
    let play = bed.plays();
    assert_eq!((play.hears, play.loops), (Side::A, 1));
    assert!(matches!(play.audio, Audio::Speech { text, .. } if text == "Good morning"));
    bed.pass_ms(2_000);
    bed.played(play.job);
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    let cdr = bed.cdr();
    assert_eq!(
        (cdr.status, cdr.cause, cdr.ended_by),
        (200, Cause::Bye, EndedBy::Callee)
    );
    assert_eq!(cdr.from_caller.as_ref().unwrap().packets, 1000);
    assert!(caller.dialog.handle_request(&bye).is_ok());
    bed.assert_told("completed");
}

/// Where a description leads.
fn led(message: &Message) -> String {
    let text = body(message);
    let description = sip::sdp::Sdp::parse(text.as_bytes()).unwrap();
    description.media()[0].rtp().unwrap().to_string()
}

#[test]
fn keys_are_gathered_and_lead_on() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "gather");
    let menu = "<Gather numDigits=\"2\" action=\"/menu\"><Play>/menu.wav</Play></Gather>";
    bed.reply("http://app.test/voice", menu);
    let (mut caller, _) = pick_up(&mut bed, &request);
    let play = bed.plays();
    let url = "http://app.test/menu.wav".to_owned();
    assert_eq!(play.audio, Audio::Url { url, public: false });
    let (side, digit) = (Side::A, '4');
    bed.happens(VoiceEvent::Digit { side, digit });
    // It does not hear the rest.
    assert_eq!(bed.orders(), [VoiceOrder::Stop { job: play.job }]);
    // The second key comes by SIP, as some phones have it.
    let mut info = caller.send(&Method::Info, "Signal=2\r\nDuration=160\r\n");
    info = info
        .edit()
        .replace("Content-Type", "application/dtmf-relay")
        .finish()
        .unwrap();
    bed.receive_message(CALLER, &info);
    bed.response(CALLER, 200);
    let told = bed.reply(
        "http://app.test/menu",
        "<Play digits=\"1w2\"/><Redirect>/next</Redirect>",
    );
    assert!(told.contains("Digits=42"), "{told}");
    let play = bed.plays();
    assert_eq!(play.audio, Audio::Keys("1w2".to_owned()));
    bed.played(play.job);
    bed.reply("http://app.test/next", "<Pause length=\"3\"/><Hangup/>");
    bed.pass_ms(2_900);
    bed.assert_quiet();
    bed.pass_ms(200);
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");
}

#[test]
fn an_application_may_refuse_a_call() {
    for (verb, status, cause, told) in [
        ("<Reject/>", 603, Cause::Rejected, "no-answer"),
        ("<Reject reason=\"busy\"/>", 486, Cause::Rejected, "busy"),
    ] {
        let mut bed = Bed::new();
        begin(&mut bed, "reject");
        bed.reply("http://app.test/voice", verb);
        let refusal = bed.response(CALLER, status);
        bed.receive_message(CALLER, &ack_of(&refusal));
        assert_eq!((bed.cdr().status, bed.cdr().cause), (status, cause));
        bed.assert_told(told);
    }
}

/// The ACK of a refusal.
pub(super) fn ack_of(refusal: &Message) -> Message {
    let id = refusal.call_id().unwrap();
    let via = refusal.header("Via").unwrap().text().into_owned();
    let (from, to) = (
        refusal.header("From").unwrap(),
        refusal.header("To").unwrap(),
    );
    let text = format!(
        "ACK sip:+55@192.0.2.1:5060 SIP/2.0\r\nVia: {via}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {id}\r\n\
         CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        from.text(),
        to.text()
    );
    Message::parse(text.into()).unwrap()
}

#[test]
fn a_hangup_waits_until_the_answer_is_acknowledged() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "hangup");
    bed.reply("http://app.test/voice", "<Hangup/>");
    let ok = bed.response(CALLER, 200);
    bed.assert_quiet();
    // The answer goes again until then.
    bed.pass_ms(600);
    bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");
}

#[test]
fn a_caller_hangs_up() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "bye");
    bed.reply("http://app.test/voice", WAIT);
    let (mut caller, _) = pick_up(&mut bed, &request);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    assert_eq!(
        (bed.cdr().cause, bed.cdr().ended_by),
        (Cause::Bye, EndedBy::Caller)
    );
    bed.assert_told("completed");
}

#[test]
fn a_caller_gives_up_before_the_application_has_answered() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "cancel");
    bed.receive(CALLER, cancel_of(&request));
    bed.response(CALLER, 200);
    let refusal = bed.response(CALLER, 487);
    bed.receive_message(CALLER, &ack_of(&refusal));
    assert_eq!(bed.cancelled.len(), 1);
    assert_eq!(bed.cdr().cause, Cause::Cancel);
    bed.assert_told("canceled");
}

#[test]
fn a_call_without_an_offer_is_made_one() {
    let mut bed = Bed::new();
    let request = invite("+55", "late", "");
    bed.receive_message(CALLER, &request);
    bed.reply("http://app.test/voice", WAIT);
    let ok = bed.response(CALLER, 200);
    assert!(
        body(&ok).contains("m=audio 20000 RTP/AVP 0 8 101\r\n"),
        "{}",
        body(&ok)
    );
    assert!(bed.mediad.only().a.remote.is_none());
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(&sdp("192.0.2.10", &[4000], "sendrecv")));
    let remote = bed.mediad.only().a.remote.clone().unwrap();
    assert_eq!(
        (&*remote.format.encoding, remote.rtp.port()),
        ("PCMA", 4000)
    );
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn a_caller_on_hold_is_told_so_and_comes_back() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "hold");
    bed.reply("http://app.test/voice", WAIT);
    let (mut caller, _) = pick_up(&mut bed, &request);
    for (says, told, sends) in [
        ("sendonly", "recvonly", true),
        ("inactive", "inactive", false),
    ] {
        let again = caller.send(&Method::Invite, &sdp("192.0.2.10", &[4002], says));
        bed.receive_message(CALLER, &again);
        let ok = bed.response(CALLER, 200);
        assert!(
            body(&ok).contains(&format!("a={told}\r\n")),
            "{}",
            body(&ok)
        );
        bed.receive_message(CALLER, &caller.ack(""));
        let remote = bed.mediad.only().a.remote.clone().unwrap();
        assert_eq!((remote.rtp.port(), remote.sends), (4002, sends));
    }
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn what_cannot_be_played_is_passed_over() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "missing");
    bed.reply(
        "http://app.test/voice",
        "<Play>/gone.wav</Play><Say>Sorry</Say>",
    );
    let (mut caller, _) = pick_up(&mut bed, &request);
    let job = bed.plays().job;
    let result = Err(AudioTrouble::Fetch("404".to_owned()));
    bed.happens(VoiceEvent::Played { job, result });
    assert!(matches!(bed.plays().audio, Audio::Speech { .. }));
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}
