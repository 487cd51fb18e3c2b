//! Messages, their webhooks played.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    call::{JobId, RequestError, Response},
    notice::Level,
    sid::Kind,
    twiml::{Link, Method},
};

const HOOK: &str = "https://app.test/sms";

fn setup(fallback: Option<&str>) -> Setup {
    let link = |url: &str| Link {
        url: url.to_owned(),
        method: Method::Post,
    };
    Setup {
        sid: Sid::new(Kind::Message, [7; 16]),
        account: Sid::new(Kind::Account, [1; 16]),
        token: "secret".to_owned(),
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        body: "Hello".to_owned(),
        link: link(HOOK),
        fallback: fallback.map(link),
        most: MOST_MESSAGES,
    }
}

fn answered(kind: &str, body: &str) -> Result<Response, RequestError> {
    Ok(Response {
        status: 200,
        content_type: Some(kind.to_owned()),
        location: None,
        body: body.as_bytes().to_vec(),
    })
}

fn document(verbs: &str) -> Result<Response, RequestError> {
    answered("text/xml", &format!("<Response>{verbs}</Response>"))
}

/// An incoming message and its host.
struct Host {
    now: Instant,
    incoming: Incoming,
}

impl Host {
    fn new(fallback: Option<&str>) -> Self {
        let now = Instant::now();
        Self {
            now,
            incoming: Incoming::new(setup(fallback), now),
        }
    }

    /// The request that is to be made next, to this URL: its body.
    fn asked(&mut self, url: &str) -> (RequestId, String) {
        match self.incoming.poll_action() {
            Some(Action::Request(request)) => {
                assert_eq!(request.url, url);
                (request.id, request.body.unwrap_or_default())
            }
            other => panic!("{url} is not asked: {other:?}"),
        }
    }

    fn reply(&mut self, url: &str, answer: Result<Response, RequestError>) -> String {
        let (id, body) = self.asked(url);
        self.incoming.handle_response(self.now, id, answer);
        body
    }

    fn sends(&mut self) -> NewMessage {
        match self.incoming.poll_action() {
            Some(Action::Send(message)) => *message,
            other => panic!("nothing is sent: {other:?}"),
        }
    }

    fn noticed(&mut self, level: Level, number: u16) {
        match self.incoming.poll_action() {
            Some(Action::Notice(notice)) => {
                assert_eq!((notice.level, notice.code.number()), (level, number));
            }
            other => panic!("nothing is noticed: {other:?}"),
        }
    }
}

#[test]
fn a_message_is_told_of_and_answered() {
    let mut host = Host::new(None);
    let told = host.reply(
        HOOK,
        document("<Message statusCallback=\"/told\">Hi</Message><Sms to=\"+1\" from=\"+2\"><Body>Ho</Body></Sms>"),
    );
    for part in [
        "MessageSid=SM07070707070707070707070707070707",
        "SmsSid=SM07",
        "SmsMessageSid=SM07",
        "AccountSid=AC0101",
        "From=%2B15550100",
        "To=%2B15550199",
        "Body=Hello",
        "NumMedia=0",
        "NumSegments=1",
        "SmsStatus=received",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let first = host.sends();
    assert_eq!((&*first.to, &*first.from), ("+15550100", "+15550199"));
    assert_eq!(
        first.status_callback.as_deref(),
        Some("https://app.test/told")
    );
    let second = host.sends();
    assert_eq!(
        (&*second.to, &*second.from, &*second.body),
        ("+1", "+2", "Ho")
    );
    assert_ne!(first.sid, second.sid);
    assert!(host.incoming.is_finished());
}

#[test]
fn an_action_is_told_how_it_went_and_says_what_follows() {
    let mut host = Host::new(None);
    let verbs = "<Message action=\"sent\">Hi</Message><Message>never</Message>";
    host.reply(HOOK, document(verbs));
    let job = host.sends().job;
    assert!(host.incoming.poll_action().is_none() && !host.incoming.is_finished());
    host.incoming.handle_sent(host.now, job, None);
    let (_, told) = host.asked("https://app.test/sent");
    assert!(told.contains("MessageStatus=sent"), "{told}");
    // Of one of which nothing is heard.
    let mut host = Host::new(None);
    host.reply(HOOK, document(verbs));
    host.sends();
    host.now += Duration::from_secs(15);
    assert_eq!(host.incoming.poll_timeout(), Some(host.now));
    host.incoming.handle_timeout(host.now);
    host.noticed(Level::Warning, 12400);
    let (id, told) = host.asked("https://app.test/sent");
    assert!(told.contains("MessageStatus=failed"), "{told}");
    host.incoming
        .handle_response(host.now, id, document("<Redirect>sms</Redirect>"));
    let told = host.reply(HOOK, document("<Message>again</Message>"));
    assert!(told.contains("MessageSid=SM0707"), "{told}");
    assert_eq!(host.sends().body, "again");
    assert!(host.incoming.is_finished());
}

#[test]
fn what_answers_otherwise_is_taken_as_it_is_meant() {
    for (kind, body) in [("text/xml", "<Response/>"), ("", ""), ("text/html", " \n")] {
        let mut host = Host::new(None);
        host.reply(HOOK, answered(kind, body));
        assert!(host.incoming.is_finished(), "{kind}");
    }
    let mut host = Host::new(None);
    host.reply(HOOK, answered("text/plain; charset=utf-8", " Thank you \n"));
    assert_eq!(host.sends().body, "Thank you");
    // A verb of calls is none of messages.
    let mut host = Host::new(None);
    host.reply(HOOK, document("<Say>Hi</Say><Message>Ho</Message>"));
    host.noticed(Level::Warning, 12200);
    assert_eq!(host.sends().body, "Ho");
    assert!(host.incoming.is_finished());
}

#[test]
fn the_fallback_is_asked_once() {
    let mut host = Host::new(Some("https://spare.test/sms"));
    host.reply(HOOK, answered("text/xml", "<html/>"));
    host.noticed(Level::Error, 12100);
    let told = host.reply("https://spare.test/sms", Err(RequestError::Refused));
    assert!(
        told.contains("ErrorCode=12100") && told.contains("ErrorUrl=https%3A%2F%2Fapp.test%2Fsms"),
        "{told}"
    );
    // Nothing is told twice.
    assert_eq!(told.matches("AccountSid=").count(), 1, "{told}");
    host.noticed(Level::Error, 12400);
    assert!(host.incoming.is_finished());
    // It is late.
    let mut host = Host::new(None);
    let (_, _) = host.asked(HOOK);
    host.now += Duration::from_secs(15);
    host.incoming.handle_timeout(host.now);
    assert!(matches!(
        host.incoming.poll_action(),
        Some(Action::CancelRequest(_))
    ));
    host.noticed(Level::Error, 11205);
    assert!(host.incoming.is_finished());
}

#[test]
fn documents_without_end_end() {
    let mut host = Host::new(None);
    for _ in 0..50 {
        host.reply(HOOK, document("<Redirect/>"));
    }
    host.noticed(Level::Error, 11215);
    assert!(host.incoming.is_finished());
    let mut host = Host::new(None);
    host.reply(HOOK, document(&"<Message>x</Message>".repeat(60)));
    for _ in 0..50 {
        host.sends();
    }
    host.noticed(Level::Warning, 12400);
}

#[test]
fn a_sender_is_told_in_order() {
    let mut now = Instant::now();
    let account = Sid::new(Kind::Account, [1; 16]);
    let sid = Sid::new(Kind::Message, [7; 16]);
    let parties = ("+1".to_owned(), "+2".to_owned());
    let callback = Some("https://app.test/told".to_owned());
    let mut outgoing = Outgoing::new(
        sid.clone(),
        account.clone(),
        "secret".to_owned(),
        parties.clone(),
        callback,
    );
    outgoing.tell(now, Status::Sent, None);
    outgoing.tell(now, Status::Undelivered, Some(Trouble::of_response(404)));
    for part in [
        "MessageStatus=sent",
        "MessageStatus=undelivered&SmsStatus=undelivered",
    ] {
        let Some(Action::Request(request)) = outgoing.poll_action() else {
            panic!("nobody is told");
        };
        assert_eq!(request.method, "POST");
        let signed = request
            .headers
            .iter()
            .any(|(name, _)| *name == "X-Twilio-Signature");
        let told = request.body.unwrap_or_default();
        assert!(signed && told.contains(part), "{told}");
        assert_eq!(told.contains("ErrorCode=30005"), part.contains("un"));
        assert!(outgoing.poll_action().is_none() && !outgoing.is_idle());
        outgoing.handle_response(now, request.id, answered("text/plain", "ok"));
    }
    assert!(outgoing.is_idle());
    // One that does not hear of the first hears of the second.
    outgoing.tell(now, Status::Sent, None);
    outgoing.tell(now, Status::Delivered, None);
    assert!(matches!(outgoing.poll_action(), Some(Action::Request(_))));
    now += Duration::from_secs(15);
    assert_eq!(outgoing.poll_timeout(), Some(now));
    outgoing.handle_timeout(now);
    let did: Vec<_> = std::iter::from_fn(|| outgoing.poll_action()).collect();
    assert!(
        matches!(
            did.as_slice(),
            [
                Action::CancelRequest(_),
                Action::Notice(_),
                Action::Request(_)
            ]
        ),
        "{did:?}"
    );
    // Nobody wants to know.
    let mut silent = Outgoing::new(sid, account, "secret".to_owned(), parties, None);
    silent.tell(now, Status::Sent, None);
    assert!(silent.is_idle());
}

#[test]
fn segments_are_those_of_mobile_networks() {
    for (text, count) in [
        ("", 1),
        (&*"a".repeat(160), 1),
        (&*"a".repeat(161), 2),
        (&*"€".repeat(80), 1),
        (&*"€".repeat(81), 2),
        (&*"ж".repeat(70), 1),
        (&*"ж".repeat(71), 2),
        (&*"😀".repeat(35), 1),
        (&*"a".repeat(1600), 11),
    ] {
        assert_eq!(segments(text), count, "{text}");
    }
}

#[test]
fn jobs_of_others_are_nobodys() {
    let mut host = Host::new(None);
    host.incoming.handle_sent(host.now, JobId::from(99), None);
    host.asked(HOOK);
    assert!(host.incoming.poll_action().is_none());
}

#[test]
fn whatever_a_document_of_calls_has_a_message_ends() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/document");
    for seed in std::fs::read_dir(seeds).unwrap() {
        let path = seed.unwrap().path();
        let body = std::fs::read(&path).unwrap();
        let mut host = Host::new(Some("https://spare.test/sms"));
        let mut steps = 0;
        while !host.incoming.is_finished() {
            steps += 1;
            assert!(steps < 1_000, "{path:?}");
            match host.incoming.poll_action() {
                Some(Action::Request(request)) => {
                    let answer = Ok(Response {
                        status: 200,
                        content_type: Some("text/xml".to_owned()),
                        location: None,
                        body: body.clone(),
                    });
                    host.incoming.handle_response(host.now, request.id, answer);
                }
                Some(Action::Send(message)) => {
                    host.incoming.handle_sent(host.now, message.job, None);
                }
                Some(Action::CancelRequest(_) | Action::Notice(_)) => {}
                None => {
                    let at = host.incoming.poll_timeout();
                    host.now = at.unwrap_or_else(|| panic!("{path:?} waits for nothing"));
                    host.incoming.handle_timeout(host.now);
                }
            }
        }
    }
}
