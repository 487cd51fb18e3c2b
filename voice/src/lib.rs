//! Programmable voice as a pure interpreter: documents and events in, actions out. No socket, no clock, no
//! runtime and no unsafe.
//!
//! A call that comes in to a number with a webhook, or is made by the REST API, is run by a document in TwiML:
//! the webhook's answer says what the party hears, whom to call, what to record, and where to go on.
//! [`call::Call`] runs it. Whoever hosts it moves the call's signaling, its audio and its HTTP; what it promises
//! to whom is in [`call::Event`] and [`call::Action`]. What a message leads to is run likewise, by [`message::Incoming`].
//!
//! # What is as Twilio has it, and what is not
//!
//! Verbs, defaults, fall-through, parameters, codes of errors and the fragment's overrides are Twilio's. What it
//! does not say is decided here:
//!
//! - A call whose first document cannot be had, nor its fallback, is refused with 500: there it is answered and
//!   told that an application error has occurred.
//! - Documents that lead to each other, 50 in a row of which none took a second, end the call with 11215.
//! - A redirection of HTTP by 301, 302 or 303 is followed by a GET which has the parameters in its query.
//! - `<Reject>` is 603, or 486 for `busy`; a call that was rejected ends as `no-answer`, or `busy`.
//! - Of several who are dialled at once, the first to pick up is it, and hears its document; the others are called
//!   off then. If it declines by hanging up, the `<Dial>` is over, with `DialBridged` false.
//! - A namespace has to be declared: `<amazon:effect>` is no well-formed XML without, and other SSML than Twilio's
//!   list is read as its text.
//!
//! A webhook may answer in JSON too, and an application may have a WebSocket in its place (`ws:` and `wss:` URLs): all
//! its calls say on it what they would ask a webhook, and hear verbs. Their document is [`twiml::Document`] in either
//! language.
//!
//! Not run, and reported as such: `<Conference>`, `<Queue>`, `<Application>`, `<Sim>` and `<WhatsApp>` in `<Dial>`,
//! `<Enqueue>`, `<Leave>`, `<Echo>`, `<Pay>`, `<Siprec>`, transcription, `referUrl`, answering machine detection.
//! Cookies of webhooks are not kept.
//!
//! ```
//! use std::time::{Duration, Instant, SystemTime};
//!
//! use voice::{
//!     call::{Action, Call, Direction, Entry, Event, LegId, Response, Setup, Source},
//!     form::Params,
//!     sid::{Kind, Sid},
//!     twiml::{Link, Method},
//! };
//!
//! let setup = Setup {
//!     uuid: [7; 16],
//!     account: Sid::new(Kind::Account, [1; 16]),
//!     token: "secret".into(),
//!     direction: Direction::Inbound,
//!     from: "+15550100".into(),
//!     to: "+15550199".into(),
//!     caller_name: None,
//!     forwarded_from: None,
//!     extra: Params::new(),
//!     entry: Entry::Url(Link { url: "https://app.test/voice".into(), method: Method::Post }),
//!     fallback: None,
//!     status: None,
//!     record: None,
//!     api: "https://voice.example.test".into(),
//!     started: SystemTime::UNIX_EPOCH,
//!     time_limit: Duration::from_secs(4 * 3600),
//!     plain_streams: false,
//! };
//! let mut now = Instant::now();
//! let mut call = Call::new(setup, now);
//!
//! // The number's webhook is asked, signed.
//! let Some(Action::Request(request)) = call.poll_action() else { unreachable!() };
//! assert_eq!((request.method, &*request.url), ("POST", "https://app.test/voice"));
//! let response = Response {
//!     status: 200,
//!     content_type: Some("text/xml".into()),
//!     location: None,
//!     body: b"<Response><Say>Good morning</Say></Response>".to_vec(),
//! };
//! call.handle(Event::Response { id: request.id, result: Ok(response) }, now);
//!
//! // The caller is answered and hears it.
//! assert_eq!(call.poll_action(), Some(Action::Answer));
//! let Some(Action::Play { job, source: Source::Say(say), .. }) = call.poll_action() else { unreachable!() };
//! assert_eq!(say.text, "Good morning");
//!
//! // Nothing is left to do then.
//! now += Duration::from_secs(2);
//! call.handle(Event::Played { job, result: Ok(()) }, now);
//! assert_eq!(call.poll_action(), Some(Action::HangUp { leg: LegId::PARTY }));
//! assert!(call.is_finished());
//! ```

#![forbid(unsafe_code)]

pub mod call;
pub mod form;
pub mod message;
pub mod notice;
pub mod sid;
pub mod signature;
pub mod twiml;
pub mod url;

mod date;
