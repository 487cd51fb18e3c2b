//! Applications that dial somebody.

use control::media::{Audio, Side, TypePair, VoiceEvent, VoiceOrder};
use sip::message::{Message, Method};

use super::{
    bed::*,
    voice::{begin, pick_up},
};

/// The caller's call has an application that dials, and rings at the first of these.
struct Dialled {
    caller: Party,
    /// What the callee got.
    invite: Message,
}

fn dial(bed: &mut Bed, dial: &str) -> Dialled {
    let request = begin(bed, "dial");
    bed.reply("http://app.test/voice", dial);
    let invite = bed.request(CALLEE, &Method::Invite);
    let (caller, _) = pick_up(bed, &request);
    Dialled { caller, invite }
}

/// The ringing tone that the caller hears.
fn ringback(bed: &mut Bed) -> u32 {
    let play = bed.plays();
    assert_eq!((play.hears, play.loops), (Side::A, 0));
    assert_eq!(play.audio, Audio::Ringback(String::new()));
    play.job
}

fn answered() -> String {
    "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
     m=audio 5000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        .to_owned()
}

#[test]
fn a_number_is_dialled_and_the_two_are_joined() {
    let mut bed = Bed::new();
    let Dialled { mut caller, invite } = dial(&mut bed, "<Dial action=\"/after\">+1555</Dial>");
    let tone = ringback(&mut bed);
    // What the caller speaks is what the callee is offered, at the session's other side.
    let offer = body(&invite);
    assert!(offer.contains("m=audio 20002 RTP/AVP 0 101\r\n"), "{offer}");
    assert_eq!(bed.core.list(None).len(), 2);
    bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
    bed.pass_ms(3_000);
    bed.sent.clear();
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    let orders = bed.orders();
    assert_eq!(
        orders,
        [
            VoiceOrder::Stop { job: tone },
            VoiceOrder::Join(true),
            VoiceOrder::Attend(false)
        ]
    );
    assert_eq!(
        bed.mediad.only().b.remote.as_ref().unwrap().rtp.port(),
        5000
    );
    // One session has the media of both.
    assert_eq!(bed.mediad.sessions.len(), 1);
    let calls = bed.core.list(None);
    let of = |source: bool| calls.iter().find(|call| (call.source == "node") == source);
    let (parent, child) = (of(false).unwrap(), of(true).unwrap());
    assert_eq!(child.peer.as_ref(), Some(&parent.id));
    // The callee hangs up: the document goes on.
    bed.pass_ms(5_000);
    let mut callee = Party::callee(&invite, CALLEE);
    bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
    bed.response(CALLEE, 200);
    let child = child.id.replace('-', "");
    let told = bed.reply("http://app.test/after", "<Hangup/>");
    for part in [
        "DialCallStatus=completed",
        "DialCallDuration=5",
        &*format!("DialCallSid=CA{child}"),
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let orders = bed.orders();
    assert!(orders.contains(&VoiceOrder::Vacate(Side::B)), "{orders:?}");
    let bye = bed.request(CALLER, &Method::Bye);
    assert!(caller.dialog.handle_request(&bye).is_ok());
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    assert_eq!(bed.cdrs.len(), 2);
    bed.assert_told("completed");
}

/// The caller has 101 for its keys, and was offered to the callee with it; the callee has 96.
#[test]
fn each_party_has_its_own_number_for_keys_and_hears_one_stream() {
    let mut bed = Bed::new();
    let Dialled { mut caller, invite } = dial(&mut bed, "<Dial>+1555</Dial><Hangup/>");
    let types = |bed: &Bed| {
        let create = bed.mediad.only();
        let remotes = [&create.a, &create.b].map(|leg| leg.remote.as_ref());
        remotes.map(|remote| remote.map(|remote| remote.types.clone()))
    };
    assert_eq!(types(&bed), [Some(Vec::new()), None]);
    let legs = [&bed.mediad.only().a, &bed.mediad.only().b];
    assert!(legs.iter().all(|leg| leg.handling.one_stream));
    let answered = answered().replace("101", "96");
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered));
    bed.request(CALLEE, &Method::Ack);
    let pair = |theirs, own| Some(vec![TypePair { theirs, own }]);
    assert_eq!(types(&bed), [pair(96, 101), pair(101, 96)]);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");
}

#[test]
fn a_callee_who_is_busy_lets_the_document_go_on() {
    let mut bed = Bed::new();
    let Dialled { mut caller, invite } = dial(&mut bed, "<Dial>+1555</Dial><Say>Sorry</Say>");
    bed.orders();
    bed.receive_message(CALLEE, &answer(&invite, 486, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    assert!(matches!(bed.plays().audio, Audio::Speech { .. }));
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn a_caller_who_hangs_up_takes_the_dialled_along() {
    for is_answered in [false, true] {
        let mut bed = Bed::new();
        let Dialled { mut caller, invite } = dial(&mut bed, "<Dial>+1555</Dial>");
        bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
        if is_answered {
            bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
            bed.request(CALLEE, &Method::Ack);
        }
        bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
        bed.response(CALLER, 200);
        if is_answered {
            let bye = bed.request(CALLEE, &Method::Bye);
            bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
        } else {
            let cancel = bed.request(CALLEE, &Method::Cancel);
            bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
            bed.receive_message(CALLEE, &answer(&invite, 487, CALLEE, ""));
            bed.request(CALLEE, &Method::Ack);
        }
        assert_eq!(bed.cdrs.len(), 2);
        bed.assert_told("completed");
    }
}

#[test]
fn the_first_of_several_who_answers_is_joined() {
    let mut bed = Bed::new();
    let both = "<Dial hangupOnStar=\"true\"><Number>+1555</Number><Number>+7555</Number></Dial>";
    let request = begin(&mut bed, "both");
    bed.reply("http://app.test/voice", both);
    let invites = [(); 2].map(|()| bed.request(CALLEE, &Method::Invite));
    let (mut caller, _) = pick_up(&mut bed, &request);
    bed.orders();
    for invite in &invites {
        bed.receive_message(CALLEE, &answer(invite, 180, CALLEE, ""));
    }
    bed.receive_message(CALLEE, &answer(&invites[0], 200, CALLEE, &answered()));
    let sent = [(); 2].map(|()| bed.next(CALLEE).message);
    let methods = sent.each_ref().map(|message| message.method().unwrap());
    assert!(
        methods.contains(&&Method::Ack) && methods.contains(&&Method::Cancel),
        "{methods:?}"
    );
    let cancel = sent
        .iter()
        .find(|message| message.method() == Some(&Method::Cancel));
    bed.receive_message(CALLEE, &cancel.unwrap().respond(200).build().unwrap());
    bed.receive_message(CALLEE, &answer(&invites[1], 487, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    // A key can hang up, so keys are still told.
    assert!(!bed.orders().contains(&VoiceOrder::Attend(false)));
    let (side, digit) = (Side::A, '*');
    bed.happens(VoiceEvent::Digit { side, digit });
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    assert!(caller.dialog.handle_request(&bye).is_ok());
    bed.assert_told("completed");
}

#[test]
fn whoever_picks_up_hears_a_document_first() {
    let mut bed = Bed::new();
    let whispering = "<Dial><Number url=\"/whisper\">+1555</Number></Dial>";
    let Dialled { mut caller, invite } = dial(&mut bed, whispering);
    bed.orders();
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    bed.reply("http://app.test/whisper", "<Say>A call for you</Say>");
    let play = bed.plays();
    assert_eq!(play.hears, Side::B);
    bed.played(play.job);
    assert!(bed.orders().contains(&VoiceOrder::Join(true)));
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");
}

#[test]
fn whoever_cannot_be_called_is_passed_over() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "nobody");
    bed.reply(
        "http://app.test/voice",
        "<Dial><Client>nobody</Client></Dial><Say>Sorry</Say>",
    );
    let (mut caller, _) = pick_up(&mut bed, &request);
    let orders = bed.orders();
    let says = |order: &VoiceOrder| matches!(order, VoiceOrder::Play(play) if matches!(play.audio, Audio::Speech { .. }));
    assert!(orders.iter().any(says), "{orders:?}");
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn documents_that_dial_each_other_in_a_circle_are_stopped() {
    let mut bed = Bed::new();
    begin(&mut bed, "circle");
    let mut asked = 0;
    while bed
        .webhooks
        .iter()
        .any(|(_, it)| it.url == "http://app.test/voice")
    {
        bed.reply("http://app.test/voice", "<Dial>+55</Dial>");
        asked += 1;
        assert!(asked < 20);
    }
    assert_eq!(asked, 6);
}
