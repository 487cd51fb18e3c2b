//! A host of one call: webhooks that answer what a test has them answer, legs and audio that do as they are told.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use super::super::*;
use crate::{
    form::Params,
    sid::{Kind, Sid},
    twiml::{Link, Method, StatusEvents},
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const VOICE: &str = "https://app.test/voice";
pub(super) const TOKEN: &str = "12345";

/// What a webhook does.
#[derive(Clone, Debug)]
pub(super) enum Page {
    /// Answers with a document.
    Document(String),
    /// Answers with this type and body.
    Body(&'static str, Vec<u8>),
    /// Answers with a status.
    Status(u16),
    /// Leads elsewhere.
    Moved(u16, &'static str),
    /// Cannot be had.
    Fails(RequestError),
    /// Does not answer.
    Silent,
}

pub(super) struct Host {
    pub(super) call: Call,
    pub(super) now: Instant,
    pages: BTreeMap<String, Vec<Page>>,
    /// Each action in few words, each request as well.
    pub(super) log: Vec<String>,
    pub(super) requests: Vec<Request>,
    pub(super) notices: Vec<u16>,
    /// Prompts are over after as long; `None` never.
    pub(super) prompts: Option<Duration>,
    due: Vec<(Instant, Event)>,
    pub(super) last: Last,
}

/// The latest of each.
#[derive(Default)]
pub(super) struct Last {
    pub(super) play: Option<JobId>,
    pub(super) listen: Option<JobId>,
    pub(super) record: Option<JobId>,
    pub(super) stream: Option<JobId>,
    pub(super) refer: Option<JobId>,
    pub(super) message: Option<JobId>,
    pub(super) legs: Vec<LegId>,
}

pub(super) fn link(url: &str) -> Link {
    Link {
        url: url.to_owned(),
        method: Method::Post,
    }
}

pub(super) fn setup() -> Setup {
    Setup {
        uuid: [0xAB; 16],
        account: Sid::new(Kind::Account, [1; 16]),
        token: TOKEN.to_owned(),
        direction: Direction::Inbound,
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        caller_name: None,
        forwarded_from: None,
        extra: Params::new(),
        entry: Entry::Url(link(VOICE)),
        fallback: None,
        status: None,
        record: None,
        api: "https://api.test/".to_owned(),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_003_413),
        time_limit: Duration::from_secs(4 * 3600),
        plain_streams: false,
    }
}

/// A setup whose status callback wants to know everything.
pub(super) fn told_of_all() -> Setup {
    Setup {
        status: Some((
            link("https://app.test/status"),
            StatusEvents::of(StatusEvents::NAMES),
        )),
        ..setup()
    }
}

impl Host {
    /// A call whose first document is this.
    pub(super) fn with(document: &str) -> Self {
        Self::of(setup(), &[(VOICE, document)])
    }

    pub(super) fn of(setup: Setup, pages: &[(&str, &str)]) -> Self {
        let pages = pages
            .iter()
            .map(|(url, text)| (*url, Page::Document((*text).to_owned())));
        Self::serving(setup, pages.collect())
    }

    pub(super) fn serving(setup: Setup, pages: Vec<(&str, Page)>) -> Self {
        let now = Instant::now();
        let mut host = Self {
            call: Call::new(setup, now),
            now,
            pages: BTreeMap::new(),
            log: Vec::new(),
            requests: Vec::new(),
            notices: Vec::new(),
            prompts: Some(2 * SECOND),
            due: Vec::new(),
            last: Last::default(),
        };
        for (url, page) in pages {
            host.page(url, page);
        }
        host.drain();
        host
    }

    /// What a webhook answers next; the last one from then on.
    pub(super) fn page(&mut self, url: &str, page: Page) {
        self.pages.entry(url.to_owned()).or_default().push(page);
    }

    pub(super) fn document(&mut self, url: &str, text: &str) {
        self.page(url, Page::Document(text.to_owned()));
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.call.handle(event, self.now);
        self.drain();
    }

    pub(super) fn press(&mut self, digits: &str) {
        for digit in digits.chars() {
            self.tell(Event::Digit {
                leg: LegId::PARTY,
                digit,
            });
        }
    }

    pub(super) fn party_hangs_up(&mut self) {
        self.ends(LegId::PARTY, Cause::HungUp);
    }

    pub(super) fn ends(&mut self, leg: LegId, cause: Cause) {
        self.tell(Event::Ended {
            leg,
            cause,
            sip_status: None,
        });
    }

    /// The leg that was called as the `number`th.
    pub(super) fn leg(&self, number: usize) -> LegId {
        self.last.legs[number]
    }

    /// Time passes.
    pub(super) fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.due.iter().map(|(at, _)| *at).min();
            let at = [due, self.call.poll_timeout()].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            self.drain();
            while let Some(index) = self.due.iter().position(|(at, _)| *at <= self.now) {
                let (_, event) = self.due.remove(index);
                self.tell(event);
            }
        }
        self.now = end;
    }

    /// What has been done since this was last asked.
    pub(super) fn did(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn assert_did(&mut self, expected: &[&str]) {
        assert_eq!(self.did(), expected);
    }

    /// The last request to this URL.
    pub(super) fn asked(&self, url: &str) -> Params {
        let of_url = |request: &&Request| request.url.split('?').next() == Some(url);
        let request = self.requests.iter().rev().find(of_url);
        let request = request.unwrap_or_else(|| panic!("{url} was not asked"));
        params_of(request)
    }

    pub(super) fn drain(&mut self) {
        while let Some(action) = self.call.poll_action() {
            self.act(&action);
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Request(request) => {
                self.log.push(asked(request));
                self.requests.push(Request::clone(request));
                return self.answer(request);
            }
            Action::Play { job, loops, .. } => {
                self.last.play = Some(*job);
                if let Some(time) = self.prompts.filter(|_| *loops > 0) {
                    let result = Ok(());
                    self.due
                        .push((self.now + time, Event::Played { job: *job, result }));
                }
            }
            Action::Stop { job } | Action::CloseStream { job } => {
                self.due.retain(
                    |(_, event)| !matches!(event, Event::Played { job: j, .. } if j == job),
                );
            }
            Action::Listen { job, .. } => self.last.listen = Some(*job),
            Action::Record(recording) => self.last.record = Some(recording.job),
            Action::OpenStream(stream) => self.last.stream = Some(stream.job),
            Action::Refer { job, .. } => self.last.refer = Some(*job),
            Action::Send(message) => self.last.message = Some(message.job),
            Action::Call(leg) => self.last.legs.push(leg.leg),
            Action::Notice(notice) => self.notices.push(notice.code.number()),
            _ => {}
        }
        self.log.push(words(action));
    }

    fn answer(&mut self, request: &Request) {
        let url = request.url.split('?').next().unwrap_or_default();
        // Who is only told says nothing.
        let exchange = request.exchange.as_ref();
        let is_told = exchange.is_some_and(|exchange| !exchange.is_answered);
        let page = match self.pages.get_mut(url) {
            Some(pages) if pages.len() > 1 && !is_told => pages.remove(0),
            Some(pages) => pages[0].clone(),
            None => Page::Silent,
        };
        let page = match page {
            Page::Body(..) if is_told => Page::Status(204),
            page => page,
        };
        let response = |status, content_type: &str, body: Vec<u8>| {
            Ok(Response {
                status,
                content_type: Some(content_type.to_owned()),
                location: None,
                body,
            })
        };
        let result = match page {
            Page::Document(text) => response(200, "text/xml; charset=utf-8", text.into_bytes()),
            Page::Body(content_type, body) => response(200, content_type, body),
            Page::Status(status) => response(status, "text/html", b"<html/>".to_vec()),
            Page::Moved(status, location) => Ok(Response {
                status,
                location: Some(location.to_owned()),
                ..Response::default()
            }),
            Page::Fails(error) => Err(error),
            Page::Silent => return,
        };
        self.call.handle(
            Event::Response {
                id: request.id,
                result,
            },
            self.now,
        );
    }
}

/// A request in few words: of a message, its type.
fn asked(request: &Request) -> String {
    let Some(exchange) = &request.exchange else {
        return format!("{} {}", request.method, request.url);
    };
    let text = request.body.as_deref().unwrap_or_default();
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    let kind = message["type"].as_str().unwrap();
    match exchange.is_answered {
        true => format!("ask {kind}"),
        false => format!("tell {kind}"),
    }
}

fn words(action: &Action) -> String {
    match action {
        Action::Request(_) => unreachable!("written where it is answered"),
        Action::CancelRequest(_) => "cancel the request".to_owned(),
        Action::Ring => "ring".to_owned(),
        Action::Answer => "answer".to_owned(),
        Action::Refuse { sip_status } => format!("refuse with {sip_status}"),
        Action::HangUp { leg } => format!("hang up {}", name(*leg)),
        Action::Play {
            leg, source, loops, ..
        } => {
            let what = match source {
                Source::Say(say) => format!("say {:?}", say.ssml.as_ref().unwrap_or(&say.text)),
                Source::File(url) => format!("play {url}"),
                Source::Digits(digits) => format!("send {digits}"),
            };
            let loops = if *loops == 1 {
                String::new()
            } else {
                format!(" x{loops}")
            };
            format!("{what}{loops} to {}", name(*leg))
        }
        Action::Ringback { .. } => "ringing tone".to_owned(),
        Action::Listen { leg, .. } => format!("listen to {}", name(*leg)),
        Action::Stop { .. } => "stop".to_owned(),
        Action::Record(recording) => {
            format!("record {:?} x{}", recording.tracks, recording.channels)
        }
        Action::StopRecording { .. } => "stop recording".to_owned(),
        Action::PauseRecording { how, .. } => format!("pause recording: {how:?}"),
        Action::Call(leg) => format!("call {} from {}", leg.target.address(), leg.from),
        Action::Bridge { leg } => format!("bridge {}", name(*leg)),
        Action::OpenStream(stream) => {
            let kind = if stream.bidirectional {
                "connect"
            } else {
                "fork"
            };
            format!("{kind} {:?} to {}", stream.tracks, stream.url)
        }
        Action::CloseStream { .. } => "close stream".to_owned(),
        Action::Refer { to, .. } => format!("refer to {to}"),
        Action::Send(message) => format!(
            "send {:?} to {} from {}",
            message.body, message.to, message.from
        ),
        Action::Notice(notice) => format!("{:?} {notice}", notice.level),
    }
}

fn name(leg: LegId) -> String {
    match leg {
        LegId::PARTY => "the party".to_owned(),
        LegId(number) => format!("leg {number}"),
    }
}

/// The parameters of a request, from its body or its query.
pub(super) fn params_of(request: &Request) -> Params {
    let query = request.url.split_once('?').map(|(_, query)| query);
    let form = request.body.as_deref().or(query).unwrap_or_default();
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(out).unwrap()
}
