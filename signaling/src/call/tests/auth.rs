//! Users prove who they are: challenges, proofs, and what is refused before anything is kept of it.

use std::time::Duration;

use control::config::Transport;
use sip::{
    digest::{Answer, Challenge, Secret, answer as answer_to},
    header::HeaderName,
    message::{Message, Method},
};

use super::bed::*;
use crate::{
    directory::Aor,
    net::{ConnectionId, Flow},
};

pub(super) const PHONE: &str = "198.51.100.7:40007";

/// A phone of a user, with its password and what it was challenged with.
pub(super) struct Phone {
    pub(super) address: &'static str,
    user: &'static str,
    domain: &'static str,
    password: &'static str,
    cseq: u32,
    uses: u32,
    challenge: Option<Message>,
}

impl Phone {
    pub(super) fn new(user: &'static str, domain: &'static str) -> Self {
        Self {
            address: PHONE,
            user,
            domain,
            password: PASSWORD,
            cseq: 0,
            uses: 0,
            challenge: None,
        }
    }

    /// A request, with credentials where it was challenged before.
    pub(super) fn request(&mut self, method: &Method, uri: &str, headers: &str) -> Message {
        self.cseq += 1;
        let Self {
            address,
            user,
            domain,
            cseq,
            ..
        } = *self;
        let to = match method {
            Method::Register => format!("<sip:{user}@{domain}>"),
            _ => format!("<{uri}>"),
        };
        let text = format!(
            "{} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{user}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag=f\r\nTo: {to}\r\n\
             Call-ID: {user}@phone\r\nCSeq: {cseq} {}\r\nContact: <sip:{user}@10.0.0.7:5060>\r\n\
             User-Agent: Phone\r\n{headers}\r\n",
            method.as_str(),
            method.as_str(),
        );
        self.prove(Message::parse(text.into()).unwrap(), uri)
    }

    /// A request with credentials for `uri`, where the phone was challenged before.
    pub(super) fn prove(&mut self, plain: Message, uri: &str) -> Message {
        let Some(challenge) = &self.challenge else {
            return plain;
        };
        self.uses += 1;
        let proof = Answer {
            username: self.user,
            secret: Secret::Password(self.password),
            realm: Some(self.domain),
            method: plain.method().unwrap().as_str(),
            uri,
            body: b"",
            cnonce: "cn",
            nc: self.uses,
        };
        let (value, _) = answer_to(&Challenge::of_response(challenge), &proof).unwrap();
        let name = match challenge.status() {
            Some(401) => HeaderName::Authorization,
            _ => HeaderName::ProxyAuthorization,
        };
        plain.edit().push(name, value).finish().unwrap()
    }

    /// Sends a request; its final answer by the node itself. A challenge is remembered.
    pub(super) fn send(
        &mut self,
        bed: &mut Bed,
        method: &Method,
        uri: &str,
        headers: &str,
    ) -> Message {
        let request = self.request(method, uri, headers);
        bed.receive_message(self.address, &request);
        let answer = bed.next(self.address).message;
        self.hear(&answer);
        answer
    }

    /// Remembers a challenge.
    pub(super) fn hear(&mut self, answer: &Message) {
        if matches!(answer.status(), Some(401 | 407)) {
            self.challenge = Some(answer.clone());
            self.uses = 0;
        }
    }

    pub(super) fn register(&mut self, bed: &mut Bed, headers: &str) -> Message {
        let uri = format!("sip:{}", self.domain);
        self.send(bed, &Method::Register, &uri, headers)
    }
}

fn status(message: &Message) -> u16 {
    message.status().unwrap()
}

fn is_stale(challenge: &Message) -> bool {
    Challenge::of_response(challenge)[0].stale
}

fn proofs(bed: &Bed, result: &str) -> u64 {
    let page = bed.metrics.text();
    let name = format!("tandem_sip_auth_total{{result=\"{result}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_phone_registers_and_is_found() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    let challenge = phone.register(&mut bed, "Expires: 600\r\n");
    assert_eq!(status(&challenge), 401);
    let offered = Challenge::of_response(&challenge);
    let names: Vec<_> = offered
        .iter()
        .map(|c| c.algorithm.unwrap().to_string())
        .collect();
    assert_eq!(names[0], "MD5");
    assert!(!offered[0].stale);
    // Nothing is kept of it.
    assert!(bed.core.is_empty());

    let ok = phone.register(&mut bed, "Expires: 600\r\n");
    assert_eq!(status(&ok), 200);
    let contact = ok.header(HeaderName::Contact).unwrap().text().into_owned();
    assert_eq!(contact, "<sip:alice@10.0.0.7:5060>;expires=600");
    let date = ok.header(HeaderName::Date).unwrap().text().into_owned();
    assert_eq!(date, "Tue, 14 Nov 2023 22:13:20 GMT");
    assert!(bed.core.is_empty());
    let time = store::Timestamp::from_millis(1_700_000_000_000);
    let found = bed
        .access
        .location
        .contacts(time, &Aor::new("alice", "node.test"));
    assert_eq!(found[0].flow.unwrap().remote, at(PHONE));
    // The same nonce, counted upwards, and the other domain's user of that name is another.
    assert_eq!(status(&phone.register(&mut bed, "Expires: 600\r\n")), 200);
    assert!(
        bed.access
            .location
            .contacts(time, &Aor::new("alice", "two.test"))
            .is_empty()
    );
    assert_eq!(
        (proofs(&bed, "success"), proofs(&bed, "no-credentials")),
        (2, 1)
    );
}

#[test]
fn a_register_with_a_tag_in_its_to_is_the_registrars_all_the_same() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    let register = |phone: &mut Phone, bed: &mut Bed| {
        let plain = phone.request(&Method::Register, "sip:node.test", "Expires: 600\r\n");
        let tagged = plain
            .edit()
            .replace(HeaderName::To, "<sip:alice@node.test>;tag=old");
        bed.receive_message(PHONE, &tagged.finish().unwrap());
        let answer = bed.next(PHONE).message;
        phone.hear(&answer);
        (
            status(&answer),
            answer.to().unwrap().tag().map(str::to_owned),
        )
    };
    let tag = Some("old".to_owned());
    assert_eq!(register(&mut phone, &mut bed), (401, tag.clone()));
    assert_eq!(register(&mut phone, &mut bed), (200, tag));
    assert_eq!(bed.access.location.len(), 1);
    assert!(bed.core.is_empty());
}

#[test]
fn a_user_of_one_domain_is_nobody_in_the_other() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("bob", "node.test");
    phone.register(&mut bed, "");
    assert_eq!(status(&phone.register(&mut bed, "")), 200);
    // Its nonce is good for its realm only.
    let raw = phone.request(&Method::Register, "sip:two.test", "");
    let text = String::from_utf8(raw.as_bytes().to_vec()).unwrap();
    let text = text.replace("To: <sip:bob@node.test>", "To: <sip:bob@two.test>");
    let forged = text.replace("realm=\"node.test\"", "realm=\"two.test\"");
    bed.receive(PHONE, forged);
    bed.response(PHONE, 401);
    assert_eq!(proofs(&bed, "forged-nonce"), 1);
    let mut stranger = Phone::new("bob", "two.test");
    stranger.register(&mut bed, "");
    let again = stranger.register(&mut bed, "");
    assert_eq!(status(&again), 401);
    assert_eq!(proofs(&bed, "unknown-user"), 1);
}

#[test]
fn who_is_unknown_and_who_is_wrong_are_told_the_same() {
    let mut bed = Bed::new();
    let mut answers = Vec::new();
    for (user, password) in [("alice", "wrong"), ("nobody", PASSWORD)] {
        let mut phone = Phone::new(user, "node.test");
        phone.password = password;
        phone.register(&mut bed, "");
        let again = phone.register(&mut bed, "");
        assert!(!is_stale(&again));
        let headers = again.headers().map(|header| header.name().to_owned());
        answers.push((status(&again), headers.collect::<Vec<_>>()));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, 401);
    assert_eq!(
        (proofs(&bed, "wrong-password"), proofs(&bed, "unknown-user")),
        (1, 1)
    );
    assert!(bed.core.is_empty());
    assert_eq!(bed.access.location.len(), 0);
}

#[test]
fn an_old_password_bans_nobody_beside_it_and_guesses_at_many_users_do() {
    let mut bed = Bed::new();
    let mut good = Phone::new("alice", "node.test");
    let register = |bed: &mut Bed, phone: &mut Phone| {
        phone.register(bed, "");
        bed.pass(Duration::from_secs(30));
    };
    for _ in 0..2 {
        register(&mut bed, &mut good);
    }
    let mut old = Phone::new("bob", "node.test");
    old.password = "old";
    for _ in 0..20 {
        register(&mut bed, &mut old);
        assert!(!bed.is_banned(PHONE));
    }
    assert_eq!(proofs(&bed, "wrong-password"), 19);
    for user in ["100", "101", "102", "103"] {
        assert!(!bed.is_banned(PHONE));
        // The first time its nonce is an old one.
        good.register(&mut bed, "");
        assert_eq!(status(&good.register(&mut bed, "")), 200);
        let mut guess = Phone::new(user, "node.test");
        for _ in 0..2 {
            guess.register(&mut bed, "");
        }
    }
    assert!(bed.is_banned(PHONE));
}

#[test]
fn an_old_nonce_is_stale_and_a_used_one_is_not_let_in_again() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    phone.register(&mut bed, "");
    let first = phone.request(&Method::Register, "sip:node.test", "");
    bed.receive_message(PHONE, &first);
    bed.response(PHONE, 200);
    // Sent again by the phone: the same answer. By somebody elsewhere: a challenge.
    bed.receive_message(PHONE, &first);
    let again = bed.response(PHONE, 200);
    assert!(again.header(HeaderName::Contact).is_some());
    bed.receive_message("198.51.100.8:5060", &first);
    let replayed = bed.response("198.51.100.8:5060", 401);
    assert!(is_stale(&replayed));
    assert_eq!(proofs(&bed, "replayed"), 0, "a nonce is its address's own");
    // Another request with the old credentials.
    let text = String::from_utf8(first.as_bytes().to_vec()).unwrap();
    let other = text
        .replace("CSeq: 2", "CSeq: 9")
        .replace("alice2", "alice9");
    bed.receive(PHONE, other);
    bed.response(PHONE, 401);
    assert_eq!(proofs(&bed, "replayed"), 1);

    bed.pass(Duration::from_secs(301));
    let stale = phone.register(&mut bed, "");
    assert!(status(&stale) == 401 && is_stale(&stale));
    assert_eq!(status(&phone.register(&mut bed, "")), 200);
}

#[test]
fn a_register_that_is_sent_again_is_answered_as_before_whatever_it_was() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    phone.register(&mut bed, "");
    assert_eq!(status(&phone.register(&mut bed, "")), 200);
    for (headers, wanted, bound) in [
        ("Expires: 10\r\n", 423, true),
        ("Require: gruu\r\n", 420, true),
        // One more contact, and then none at all.
        ("Contact: <sip:alice@10.0.0.8>\r\n", 200, true),
        (
            "Expires: 0\r\nContact: <sip:alice@10.0.0.8>\r\n",
            200,
            false,
        ),
    ] {
        let request = phone.request(&Method::Register, "sip:node.test", headers);
        let mut answers = Vec::new();
        for _ in 0..6 {
            bed.receive_message(PHONE, &request);
            let answer = bed.response(PHONE, wanted);
            assert_eq!(
                answer.header(HeaderName::Contact).is_some(),
                bound && wanted == 200
            );
            answers.push(answer.as_bytes().clone());
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
    }
    // What only asks has no Contact.
    let query = phone.request(&Method::Register, "sip:node.test", "");
    let query = query.edit().remove(HeaderName::Contact).finish().unwrap();
    for _ in 0..6 {
        bed.receive_message(PHONE, &query);
        bed.response(PHONE, 200);
    }
    // The first of them, sent again now, binds nothing: other requests have used the nonce since.
    let text = String::from_utf8(query.as_bytes().to_vec()).unwrap();
    bed.receive(PHONE, text.replace("z9hG4bKalice7", "z9hG4bKother"));
    bed.response(PHONE, 401);
    assert_eq!(proofs(&bed, "replayed"), 1);
    assert_eq!(bed.access.location.len(), 0);
    assert!(bed.core.is_empty());
}

#[test]
fn a_registration_keeps_the_rules() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    phone.register(&mut bed, "");
    let brief = phone.register(&mut bed, "Expires: 10\r\n");
    assert_eq!(status(&brief), 423);
    assert_eq!(brief.header(HeaderName::MinExpires).unwrap().value(), b"60");
    let unknown = phone.register(&mut bed, "Require: gruu, path\r\n");
    assert_eq!(status(&unknown), 420);
    assert_eq!(
        unknown.header(HeaderName::Unsupported).unwrap().value(),
        b"gruu"
    );
    // An hour later it is over, without a word.
    bed.access
        .location
        .expire(store::Timestamp::from_millis(1_700_003_600_000));
    assert_eq!(bed.access.location.len(), 0);
}

#[test]
fn a_path_is_believed_from_a_trunk_alone() {
    let time = store::Timestamp::from_millis(1_700_000_000_000);
    let path = "Supported: path\r\nPath: <sip:edge.test;lr>\r\n";
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    phone.register(&mut bed, "");
    let ok = phone.register(&mut bed, path);
    assert_eq!(status(&ok), 200);
    assert!(ok.header(HeaderName::Path).is_none());
    let alice = Aor::new("alice", "node.test");
    let bound = bed.access.location.contacts(time, &alice);
    assert!(bound[0].path.is_empty());
    assert_eq!(bound[0].flow.unwrap().remote, at(PHONE));
    let refused = phone.register(&mut bed, &format!("{path}Require: path\r\n"));
    assert_eq!(status(&refused), 420);
    assert_eq!(
        refused.header(HeaderName::Unsupported).unwrap().value(),
        b"path"
    );

    let mut edge = Phone::new("bob", "node.test");
    edge.address = CALLER;
    edge.register(&mut bed, "");
    let ok = edge.register(&mut bed, path);
    assert_eq!(
        ok.header(HeaderName::Path).unwrap().value(),
        b"<sip:edge.test;lr>"
    );
    let bob = Aor::new("bob", "node.test");
    let bound = bed.access.location.contacts(time, &bob);
    assert_eq!(bound[0].path, ["sip:edge.test;lr"]);
}

#[test]
fn credentials_are_for_the_target_that_they_name() {
    for (given, status) in [
        ("sip:+1555@node.test", None),
        ("sip:+1555@NODE.test:5060;user=phone", None),
        ("sip:+1555;npdi@node.test", None),
        ("sip:%2B1555@192.0.2.1:5060", None),
        // As SIPp writes it.
        ("sip:192.0.2.1:5060", None),
        ("sip:+1900@node.test", Some(400)),
        ("sip:+1555@far.test", Some(400)),
        ("sip:far.test", Some(400)),
        ("+1555", Some(400)),
    ] {
        let mut bed = Bed::new();
        let mut phone = Phone::new("alice", "node.test");
        phone.send(&mut bed, &Method::Message, "sip:+1555@node.test", "");
        let plain = phone.challenge.take();
        let raw = phone.request(&Method::Message, "sip:+1555@node.test", "");
        phone.challenge = plain;
        bed.receive_message(PHONE, &phone.prove(raw, given));
        match status {
            None => drop(bed.request(CALLEE, &Method::Message)),
            Some(status) => {
                bed.response(PHONE, status);
                assert_eq!(proofs(&bed, "other-target"), 1);
                bed.assert_quiet();
            }
        }
    }
}

#[test]
fn who_prefers_an_identity_vouches_for_no_other_from() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    let preferred = "P-Preferred-Identity: <sip:alice@node.test>\r\n";
    phone.send(&mut bed, &Method::Message, "sip:+1555@node.test", preferred);
    let mut sent_as = |bed: &mut Bed, from: &str| {
        let raw = phone.request(&Method::Message, "sip:+1555@node.test", preferred);
        let text = String::from_utf8(raw.as_bytes().to_vec()).unwrap();
        bed.receive(PHONE, text.replace("From: <sip:alice@node.test>", from));
    };
    for foreign in ["From: <sip:ceo@bank.test>", "From: <sip:+1911@far.test>"] {
        sent_as(&mut bed, foreign);
        bed.response(PHONE, 403);
    }
    // Another user of ours neither.
    sent_as(&mut bed, "From: <sip:bob@node.test>");
    bed.response(PHONE, 403);
    bed.assert_quiet();
    sent_as(&mut bed, "From: <sip:anonymous@anonymous.invalid>");
    let passed = bed.request(CALLEE, &Method::Message);
    assert!(passed.header(HeaderName::PPreferredIdentity).is_none());
}

#[test]
fn a_user_who_never_acknowledges_is_held_off_in_the_end() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    twelve_calls_without_an_ack(&mut bed, &mut phone);
    assert!(bed.is_banned(PHONE));
}

/// Its router may be what eats the ACKs.
#[test]
fn a_phone_that_has_registered_is_not_held_off_for_acks_that_do_not_arrive() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    let registered = [(), ()].map(|()| status(&phone.register(&mut bed, "")));
    assert_eq!(registered, [401, 200]);
    twelve_calls_without_an_ack(&mut bed, &mut phone);
    assert!(!bed.is_banned(PHONE));
}

fn twelve_calls_without_an_ack(bed: &mut Bed, phone: &mut Phone) {
    (phone.challenge, phone.uses) = (None, 0);
    phone.send(bed, &Method::Invite, "sip:+1555@node.test", "");
    for _ in 0..12 {
        let invite = phone.request(&Method::Invite, "sip:+1555@node.test", "");
        let text = String::from_utf8(invite.as_bytes().to_vec()).unwrap();
        bed.receive(
            PHONE,
            text.replace("alice@phone", &format!("{}@phone", phone.cseq)),
        );
        let sent = bed.request(CALLEE, &Method::Invite);
        bed.receive_message(CALLEE, &sent.respond(486).to_tag("x").build().unwrap());
        bed.request(CALLEE, &Method::Ack);
        bed.response(PHONE, 486);
    }
    bed.pass(Duration::from_secs(31));
    assert!(!bed.is_banned(PHONE));
    bed.pass(Duration::from_secs(2));
}

#[test]
fn a_register_for_others_is_refused() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "elsewhere.test");
    assert_eq!(status(&phone.register(&mut bed, "")), 403);
    let raw = phone.request(&Method::Register, "sip:node.test", "");
    bed.receive_message(PHONE, &raw);
    bed.response(PHONE, 404);
    // Right credentials, and another's address of record.
    let mut phone = Phone::new("alice", "node.test");
    phone.register(&mut bed, "");
    let raw = phone.request(&Method::Register, "sip:node.test", "");
    let text = String::from_utf8(raw.as_bytes().to_vec()).unwrap();
    bed.receive(PHONE, text.replace("To: <sip:alice@", "To: <sip:bob@"));
    bed.response(PHONE, 403);
    assert_eq!(bed.access.location.len(), 0);
    // One that is disabled is told no more than that.
    let alice = Aor::new("alice", "node.test");
    bed.users.get_mut(&alice).unwrap().enabled = false;
    bed.pass(Duration::from_secs(60));
    assert_eq!(status(&phone.register(&mut bed, "")), 403);
}

#[test]
fn a_call_of_a_user_is_challenged_once_and_goes_out_without_the_credentials() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    let challenge = phone.send(&mut bed, &Method::Invite, "sip:+1555@node.test", "");
    assert_eq!(status(&challenge), 407);
    assert!(bed.core.is_empty());
    let other = "Proxy-Authorization: Digest username=a,realm=far,nonce=n,uri=u,response=0\r\n";
    let invite = phone.request(&Method::Invite, "sip:+1555@node.test", other);
    bed.receive_message(PHONE, &invite);
    let sent = bed.request(CALLEE, &Method::Invite);
    let left: Vec<_> = sent.values(HeaderName::ProxyAuthorization).collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].starts_with(b"Digest username=a,realm=far"));
    // Its retransmission is no replay.
    bed.receive_message(PHONE, &invite);
    bed.pass_ms(250);
    bed.response(PHONE, 100);
    assert_eq!(proofs(&bed, "replayed"), 0);
    bed.receive_message(CALLEE, &sent.respond(486).to_tag("x").build().unwrap());
    bed.request(CALLEE, &Method::Ack);
    while bed.next(PHONE).message.status() != Some(486) {}
    bed.drain();
    bed.assert_empty();
}

#[test]
fn a_caller_is_whom_it_proves_to_be() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    phone.send(&mut bed, &Method::Message, "sip:+1555@node.test", "");
    let raw = phone.request(&Method::Message, "sip:+1555@node.test", "");
    let text = String::from_utf8(raw.as_bytes().to_vec()).unwrap();
    bed.receive(PHONE, text.replace("From: <sip:alice@", "From: <sip:bob@"));
    bed.response(PHONE, 403);
    assert_eq!(proofs(&bed, "forbidden"), 1);
    // Who does not want to be known proves it all the same.
    let hidden = |text: String| {
        text.replace(
            "From: <sip:alice@node.test>",
            "From: <sip:anonymous@anonymous.invalid>",
        )
    };
    let raw = phone.request(&Method::Message, "sip:+1555@node.test", "");
    bed.receive(
        PHONE,
        hidden(String::from_utf8(raw.as_bytes().to_vec()).unwrap()),
    );
    bed.request(CALLEE, &Method::Message);
    let mut none = Phone::new("alice", "node.test");
    let raw = none.request(&Method::Message, "sip:+1555@node.test", "");
    let raw = hidden(String::from_utf8(raw.as_bytes().to_vec()).unwrap());
    bed.receive(PHONE, raw.replace("alice1", "another"));
    bed.response(PHONE, 407);
    // A From of nobody's is refused without a question.
    let mut stranger = Phone::new("alice", "far.test");
    let answer = stranger.send(&mut bed, &Method::Invite, "sip:+1555@node.test", "");
    assert_eq!(status(&answer), 403);
    assert_eq!(bed.core.list(None).len(), 0);
}

#[test]
fn where_the_store_is_away_who_was_seen_goes_on() {
    let mut bed = Bed::new();
    let mut alice = Phone::new("alice", "node.test");
    alice.register(&mut bed, "");
    assert_eq!(status(&alice.register(&mut bed, "")), 200);
    bed.store_up = false;
    bed.pass(Duration::from_secs(120));
    assert_eq!(status(&alice.register(&mut bed, "")), 200);
    let mut bob = Phone::new("bob", "node.test");
    assert_eq!(status(&bob.register(&mut bed, "")), 401);
    let refused = bob.register(&mut bed, "");
    assert_eq!(status(&refused), 500);
    assert!(refused.header(HeaderName::RetryAfter).is_some());
    assert!(bed.core.is_empty());
    bed.store_up = true;
    assert_eq!(status(&bob.register(&mut bed, "")), 200);
}

#[test]
fn no_challenge_is_much_longer_than_what_asked_for_it() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    let allow = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, INFO, MESSAGE, UPDATE\r\n\
        Allow-Events: talk, hold, conference, refer, check-sync\r\nSupported: path, outbound\r\n\
        X-Serial: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
    let request = phone.request(&Method::Register, "sip:node.test", allow);
    bed.receive_message(PHONE, &request);
    let long = bed.next(PHONE).message;
    let (asked, told) = (request.as_bytes().len(), long.as_bytes().len());
    let challenges = Challenge::of_response(&long).len();
    assert_eq!(challenges, 2);
    assert!(told * 2 <= asked * 3, "{told} octets for {asked}");
    // A short one gets one challenge.
    let short = "REGISTER sip:node.test SIP/2.0\r\nv: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1\r\n\
        f: <sip:a@node.test>;tag=1\r\nt: <sip:a@node.test>\r\ni: 1\r\nCSeq: 1 REGISTER\r\n\r\n";
    bed.receive("198.51.100.7:5060", short);
    let answer = bed.next("198.51.100.7:5060").message;
    assert_eq!(Challenge::of_response(&answer).len(), 1);
}

#[test]
fn a_call_that_waits_for_its_callee_is_no_replay_when_it_is_sent_again() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    phone.register(&mut bed, "");
    assert_eq!(status(&phone.register(&mut bed, "")), 200);
    phone.challenge = None;
    phone.send(&mut bed, &Method::Invite, "sip:bob@node.test", "");
    bed.store_holds = true;
    let invite = phone.request(&Method::Invite, "sip:bob@node.test", "");
    for _ in 0..4 {
        bed.receive_message(PHONE, &invite);
    }
    bed.assert_quiet();
    assert_eq!(bed.questions.len(), 1);
    assert_eq!(proofs(&bed, "replayed"), 0);
    bed.store_holds = false;
    bed.answer_questions();
    bed.response(PHONE, 480);
    bed.drain();
    bed.assert_empty();
}

#[test]
fn what_waits_for_the_store_is_bounded_and_can_be_cancelled() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    phone.send(&mut bed, &Method::Invite, "sip:+1555@node.test", "");
    bed.store_holds = true;
    let invite = phone.request(&Method::Invite, "sip:+1555@node.test", "");
    bed.receive_message(PHONE, &invite);
    bed.receive_message(PHONE, &invite);
    bed.assert_quiet();
    assert_eq!(bed.questions.len(), 1);
    let text = String::from_utf8(invite.as_bytes().to_vec()).unwrap();
    let cancel = text.replace("INVITE", "CANCEL");
    bed.receive(PHONE, cancel);
    bed.response(PHONE, 200);
    bed.response(PHONE, 487);
    bed.core.parked.most = 16;
    for _ in 0..20 {
        let next = phone.request(&Method::Message, "sip:+1555@node.test", "");
        bed.receive_message(PHONE, &next);
    }
    // Each is told to come back, or waits.
    let refused = bed
        .sent
        .iter()
        .filter(|sent| sent.message.status() == Some(500))
        .count();
    assert_eq!(refused, 20 - 16);
    bed.sent.clear();
    assert_eq!(proofs(&bed, "replayed"), 0);
    bed.store_holds = false;
    bed.answer_questions();
    let passed = bed
        .sent
        .iter()
        .filter(|sent| sent.message.is_request())
        .count();
    assert_eq!(passed, 16);
    bed.sent.clear();
    bed.drain();
    bed.assert_empty();
}

/// A phone of alice's that has connected, and what it was challenged with.
fn connected(bed: &mut Bed) -> (Phone, Flow) {
    let mut phone = Phone::new("alice", "node.test");
    let mut flow = Flow::to(Transport::Tcp, at(NODE), at(PHONE));
    flow.connection = Some(ConnectionId(3));
    let request = phone.request(&Method::Register, "sip:node.test", "");
    bed.core.handle_framed(bed.now, flow, Ok(request));
    bed.settle();
    phone.hear(&bed.sent.pop_front().unwrap().message);
    (phone, flow)
}

#[test]
fn a_register_whose_connection_closes_while_it_waits_for_the_store_binds_nothing() {
    for closes in [true, false] {
        let mut bed = Bed::new();
        let (mut phone, flow) = connected(&mut bed);
        let request = phone.request(&Method::Register, "sip:node.test", "");
        bed.store_holds = true;
        bed.core.handle_framed(bed.now, flow, Ok(request));
        bed.settle();
        bed.assert_quiet();
        assert_eq!(bed.questions.len(), 1);
        if closes {
            bed.close(&flow);
        }
        bed.answer_questions();
        assert_eq!(bed.access.location.len(), usize::from(!closes));
        assert_eq!(bed.sent.len(), usize::from(!closes));
        assert!(bed.core.is_empty());
    }
}

#[test]
fn a_register_that_the_news_of_its_closed_connection_has_overtaken_binds_nothing_and_may_remove() {
    let mut bed = Bed::new();
    let (mut phone, flow) = connected(&mut bed);
    let request = phone.request(&Method::Register, "sip:node.test", "");
    bed.core.handle_framed(bed.now, flow, Ok(request));
    bed.settle();
    assert_eq!(bed.access.location.len(), 1);
    let mut other = flow;
    other.connection = Some(ConnectionId(4));
    bed.close(&other);
    let contact = "Contact: <sip:alice@10.0.0.8>\r\n";
    for (headers, left) in [(contact, 1), ("Expires: 0\r\n", 0)] {
        let request = phone.request(&Method::Register, "sip:node.test", headers);
        bed.core.handle_framed(bed.now, other, Ok(request));
        bed.settle();
        assert_eq!(bed.access.location.len(), left, "{headers}");
    }
    // Where it came through a proxy, the connection is that one's, and no way to the phone.
    let mut edge = other;
    edge.remote = at("192.0.2.10:40000");
    let path = "Path: <sip:192.0.2.10;lr>\r\n";
    for _ in 0..2 {
        let request = phone.request(&Method::Register, "sip:node.test", path);
        bed.core.handle_framed(bed.now, edge, Ok(request));
        bed.settle();
        phone.hear(&bed.sent.pop_back().unwrap().message);
    }
    assert_eq!(bed.access.location.len(), 1);
}
