//! A party is transferred by an operator.

use control::{
    Fault, FaultCode,
    signal::{CallInfo, Party as Who, TransferOrder},
};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::{Cause, EndedBy};

use super::{bed::*, challenge::challenge};

fn transfer(bed: &mut Bed, party: Who) -> Result<(), Fault> {
    let id = bed.core.list(None)[0].id.clone();
    let order = TransferOrder {
        id,
        party,
        to: "+15550199".into(),
    };
    let begun = bed.core.transfer(bed.now, &order).unwrap();
    bed.settle();
    begun.map(drop)
}

/// What the operator was told, once.
fn told(bed: &mut Bed) -> Result<CallInfo, Fault> {
    assert_eq!(bed.obeyed.len(), 1, "{:?}", bed.obeyed);
    bed.obeyed.remove(0)
}

/// Who was transferred and how that came out, as it is kept.
fn kept(bed: &Bed) -> Vec<(String, u64)> {
    let transfers = bed.history.iter().filter(|one| one.kind == "transfer");
    let texts = transfers.map(|one| {
        let party = data(one)["party"].as_str().unwrap().to_owned();
        (party, data(one)["status"].as_u64().unwrap())
    });
    texts.collect()
}

fn notify(party: &mut Party, line: &str, state: &str) -> Message {
    let notify = party.send(&Method::Notify, "");
    let text = String::from_utf8(notify.as_bytes().to_vec()).unwrap();
    let head = text.strip_suffix("Content-Length: 0\r\n\r\n").unwrap();
    let length = line.len();
    let text = format!(
        "{head}Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag\r\n\
         Content-Length: {length}\r\n\r\n{line}"
    );
    Message::parse(text.into()).unwrap()
}

#[test]
fn a_party_that_is_transferred_ends_the_call_when_its_new_one_is_answered() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    transfer(&mut bed, Who::Callee).unwrap();
    let refer = bed.request(CALLEE, &Method::Refer);
    let header = |name| refer.header(name).unwrap().text().into_owned();
    assert_eq!(header(HeaderName::ReferTo), "<sip:+15550199@node.test>");
    assert_eq!(header(HeaderName::ReferredBy), "\"A\" <sip:alice@pbx.test>");
    assert_eq!(refer.cseq().unwrap().number, 2, "after the INVITE");
    assert!(bed.obeyed.is_empty(), "nobody knows yet");
    let again = transfer(&mut bed, Who::Caller).unwrap_err();
    assert_eq!(again.code, FaultCode::Conflict);
    bed.receive_message(CALLEE, &refer.respond(202).build().unwrap());
    let info = told(&mut bed).unwrap().transfer.unwrap();
    assert_eq!((info.party, info.status), (Who::Callee, 100));

    let trying = notify(
        &mut up.callee,
        "SIP/2.0 100 Trying\r\n",
        "active;expires=60",
    );
    bed.receive_message(CALLEE, &trying);
    bed.response(CALLEE, 200);
    bed.assert_quiet();
    let done = notify(
        &mut up.callee,
        "SIP/2.0 200 OK\r\n",
        "terminated;reason=noresource",
    );
    bed.receive_message(CALLEE, &done);
    bed.response(CALLEE, 200);
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(bye.cseq().unwrap().number, 3);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.assert_quiet();
    assert_eq!(
        (bed.cdr().cause, bed.cdr().ended_by, bed.cdr().status),
        (Cause::Transfer, EndedBy::Node, 200)
    );
    assert_eq!(kept(&bed), [("callee".to_owned(), 200)]);
    assert_eq!(data(&bed.history[0])["to"], "sip:+15550199@node.test");
    bed.assert_empty();
}

#[test]
fn a_party_that_refuses_says_so_and_the_call_goes_on_with_numbers_that_fit() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    transfer(&mut bed, Who::Callee).unwrap();
    let refer = bed.request(CALLEE, &Method::Refer);
    bed.receive_message(CALLEE, &refer.respond(405).build().unwrap());
    let refused = told(&mut bed).unwrap_err();
    assert_eq!(refused.code, FaultCode::Party);
    assert!(refused.message.contains("405"), "{refused}");
    let info = bed.core.list(None)[0].transfer.clone().unwrap();
    assert_eq!(info.status, 405);

    // What the caller sends now comes after the REFER there, and its answer has the caller's number.
    let hold = sdp("192.0.2.10", &[4000], "sendonly");
    let invite = up.caller.send(&Method::Invite, &hold);
    bed.receive_message(CALLER, &invite);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    assert_eq!(forwarded.cseq().unwrap().number, 3);
    let held = sdp("192.0.2.20", &[5000], "recvonly");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &held));
    let ok = bed.response(CALLER, 200);
    assert_eq!(ok.cseq(), invite.cseq());
    bed.receive_message(CALLER, &up.caller.ack(""));
    let ack = bed.request(CALLEE, &Method::Ack);
    assert_eq!(ack.cseq().unwrap().number, 3);
    // The callee's own are as they were.
    bed.receive_message(CALLEE, &up.callee.send(&Method::Info, ""));
    let info = bed.request(CALLER, &Method::Info);
    assert_eq!(info.cseq().unwrap().number, 1);
    bed.receive_message(CALLER, &info.respond(200).build().unwrap());
    bed.response(CALLEE, 200);

    // The other one is asked too, and its new call comes to nothing.
    transfer(&mut bed, Who::Caller).unwrap();
    let refer = bed.request(CALLER, &Method::Refer);
    assert_eq!(refer.cseq().unwrap().number, 2);
    bed.receive_message(CALLER, &refer.respond(202).build().unwrap());
    assert!(told(&mut bed).is_ok());
    let busy = notify(&mut up.caller, "SIP/2.0 486 Busy Here\r\n", "terminated");
    bed.receive_message(CALLER, &busy);
    bed.response(CALLER, 200);
    bed.assert_quiet();
    let info = bed.core.list(None)[0].transfer.clone().unwrap();
    assert_eq!((info.party, info.status), (Who::Caller, 486));
    hang_up(&mut bed, &mut up);
    let both = [("callee".to_owned(), 405), ("caller".to_owned(), 486)];
    assert_eq!(kept(&bed), both);
    bed.assert_empty();
}

#[test]
fn a_transfer_that_nobody_answers_or_that_the_end_overtakes_is_told() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    transfer(&mut bed, Who::Callee).unwrap();
    bed.pass_ms(33_000);
    assert_eq!(told(&mut bed).unwrap_err().code, FaultCode::Party);
    bed.sent.clear();
    transfer(&mut bed, Who::Callee).unwrap();
    bed.sent.clear();
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    assert_eq!(told(&mut bed).unwrap_err().code, FaultCode::Conflict);
    bed.sent.clear();
    let both = [408, 100].map(|status| ("callee".to_owned(), status));
    assert_eq!(kept(&bed), both);
    bed.assert_empty();
}

#[test]
fn nobody_is_transferred_before_an_answer_and_other_notices_pass() {
    let mut bed = Bed::new();
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    bed.receive_message(CALLER, &invite("+2555", "c1", &offer));
    bed.request(CALLEE, &Method::Invite);
    let early = transfer(&mut bed, Who::Caller).unwrap_err();
    assert_eq!(early.code, FaultCode::Conflict);
    let id = bed.core.list(None)[0].id.clone();
    assert!(bed.core.hang_up_by_id(bed.now, &id));
    bed.settle();
    bed.drain();
    bed.cdrs.clear();

    // A transfer that the phones do by themselves is none of ours.
    let mut up = call(&mut bed, "+2555", "c2");
    let theirs = notify(&mut up.callee, "SIP/2.0 100 Trying\r\n", "active");
    bed.receive_message(CALLEE, &theirs);
    let passed = bed.request(CALLER, &Method::Notify);
    bed.receive_message(CALLER, &passed.respond(200).build().unwrap());
    bed.response(CALLEE, 200);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

fn number(message: &Message) -> u32 {
    message.cseq().unwrap().number
}

fn status(bed: &Bed) -> u16 {
    bed.core.list(None)[0].transfer.clone().unwrap().status
}

#[test]
fn a_party_that_never_tells_what_became_of_its_transfer_may_be_sent_elsewhere() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    transfer(&mut bed, Who::Callee).unwrap();
    let first = bed.request(CALLEE, &Method::Refer);
    bed.receive_message(CALLEE, &first.respond(202).build().unwrap());
    assert!(told(&mut bed).is_ok());
    // What it tells gives it as long again.
    bed.pass_ms(59_000);
    let trying = notify(&mut up.callee, "SIP/2.0 100 Trying\r\n", "active");
    bed.receive_message(CALLEE, &trying);
    bed.response(CALLEE, 200);
    bed.pass_ms(59_000);
    assert_eq!(status(&bed), 100);
    bed.events.clear();
    bed.pass_ms(2_000);
    assert_eq!(status(&bed), 408);
    assert_eq!(bed.events.len(), 1, "{:?}", bed.events);
    bed.assert_quiet();

    transfer(&mut bed, Who::Callee).unwrap();
    let second = bed.request(CALLEE, &Method::Refer);
    bed.receive_message(CALLEE, &second.respond(202).build().unwrap());
    assert!(told(&mut bed).is_ok());
    // It names the first one, which is not waited for any more.
    let about = |notify: &Message, refer: &Message| {
        let event = format!("refer;id={}", number(refer));
        notify
            .edit()
            .replace(HeaderName::Event, event)
            .finish()
            .unwrap()
    };
    let done = notify(&mut up.callee, "SIP/2.0 200 OK\r\n", "terminated");
    bed.receive_message(CALLEE, &about(&done, &first));
    bed.response(CALLEE, 200);
    bed.assert_quiet();
    assert_eq!(status(&bed), 100);
    // One that names none is the first one's too.
    let done = notify(&mut up.callee, "SIP/2.0 200 OK\r\n", "terminated");
    bed.receive_message(CALLEE, &done);
    bed.response(CALLEE, 200);
    bed.assert_quiet();
    assert_eq!(status(&bed), 100);
    let done = notify(&mut up.callee, "SIP/2.0 200 OK\r\n", "terminated");
    bed.receive_message(CALLEE, &about(&done, &second));
    bed.response(CALLEE, 200);
    for party in [CALLER, CALLEE] {
        let bye = bed.request(party, &Method::Bye);
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    bed.assert_quiet();
    assert_eq!(bed.cdr().cause, Cause::Transfer);
    bed.assert_empty();
}

#[test]
fn what_a_party_tells_after_its_time_counts_while_it_is_not_sent_elsewhere() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    transfer(&mut bed, Who::Callee).unwrap();
    let refer = bed.request(CALLEE, &Method::Refer);
    bed.receive_message(CALLEE, &refer.respond(202).build().unwrap());
    bed.pass_ms(61_000);
    assert_eq!(status(&bed), 408);
    let done = notify(&mut up.callee, "SIP/2.0 200 OK\r\n", "terminated");
    bed.receive_message(CALLEE, &done);
    bed.response(CALLEE, 200);
    for party in [CALLER, CALLEE] {
        let bye = bed.request(party, &Method::Bye);
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    assert_eq!(bed.cdr().cause, Cause::Transfer);
    bed.assert_empty();
}

#[test]
fn a_late_answer_to_a_refer_is_not_that_of_the_next_one() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    transfer(&mut bed, Who::Callee).unwrap();
    let first = bed.request(CALLEE, &Method::Refer);
    let busy = notify(&mut up.callee, "SIP/2.0 486 Busy Here\r\n", "terminated");
    bed.receive_message(CALLEE, &busy);
    bed.response(CALLEE, 200);
    assert!(told(&mut bed).is_ok(), "it has taken it");
    assert_eq!(status(&bed), 486);
    transfer(&mut bed, Who::Callee).unwrap();
    let second = bed.request(CALLEE, &Method::Refer);
    bed.receive_message(CALLEE, &first.respond(603).build().unwrap());
    assert!(bed.obeyed.is_empty(), "{:?}", bed.obeyed);
    assert_eq!(status(&bed), 100);
    bed.receive_message(CALLEE, &second.respond(202).build().unwrap());
    assert!(told(&mut bed).is_ok());
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn no_number_comes_twice_where_a_refer_is_challenged_and_the_other_party_speaks_meanwhile() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+9555", "c1");
    transfer(&mut bed, Who::Callee).unwrap();
    let refer = bed.request(CALLEE, &Method::Refer);
    bed.receive_message(CALLER, &up.caller.send(&Method::Info, ""));
    let info = bed.request(CALLEE, &Method::Info);
    bed.receive_message(CALLEE, &challenge(&refer, 407, "carrier.test", "n1", false));
    let again = bed.request(CALLEE, &Method::Refer);
    assert!(again.header(HeaderName::ProxyAuthorization).is_some());
    let numbers = [&refer, &info, &again].map(number);
    assert_eq!(numbers, [2, 3, 4]);
    bed.receive_message(CALLEE, &info.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.receive_message(CALLEE, &again.respond(202).build().unwrap());
    assert!(told(&mut bed).is_ok());
    // The party names it by the number that it has taken.
    let done = notify(&mut up.callee, "SIP/2.0 486 Busy Here\r\n", "terminated");
    let named = done.edit().replace(HeaderName::Event, "refer;id=4");
    bed.receive_message(CALLEE, &named.finish().unwrap());
    bed.response(CALLEE, 200);
    assert_eq!(status(&bed), 486);
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(number(&bye), 5);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_empty();
}

#[test]
fn no_number_comes_twice_where_a_refer_overtakes_what_waits_for_an_address() {
    let mut bed = Bed::new();
    bed.names.insert("phone.test".into(), vec![at(CALLEE)]);
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, "phone.test", ""));
    let mut caller = Party::caller(&request, &bed.response(CALLER, 200));
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.resolver_holds = true;
    bed.receive_message(CALLER, &caller.send(&Method::Info, "one"));
    bed.assert_quiet();
    // A REFER goes by the way that is known.
    transfer(&mut bed, Who::Callee).unwrap();
    let refer = bed.request(CALLEE, &Method::Refer);
    bed.receive_message(CALLER, &caller.send(&Method::Info, "two"));
    bed.resolve_all();
    let infos = [(); 2].map(|()| bed.request(CALLEE, &Method::Info));
    let mut numbers = [number(&refer), number(&infos[0]), number(&infos[1])];
    assert!(
        numbers[1] > numbers[0],
        "what comes later has a higher number: {numbers:?}"
    );
    numbers.sort_unstable();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "{numbers:?}"
    );
    for info in &infos {
        bed.receive_message(CALLEE, &info.respond(200).build().unwrap());
        let ok = bed.response(CALLER, 200);
        assert!(matches!(number(&ok), 2 | 3), "its own number: {ok:?}");
    }
    bed.receive_message(CALLEE, &refer.respond(603).build().unwrap());
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    assert!(number(&bye) > numbers[2]);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_empty();
}
