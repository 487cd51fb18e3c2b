//! A message that has come: a webhook is asked what becomes of it, and its document run.
//!
//! `<Message>` (also `<Sms>`) and `<Redirect>` are run, `text/plain` is a message by itself, and nothing at all is an
//! answer too. The next verb follows at once, but for a `<Message>` with an `action`, which is asked what follows.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use super::{
    Action, MAX_BODY, Status,
    line::{Line, Outcome},
    segments, sids,
};
use crate::{
    call::{
        API_VERSION, JobId, NewMessage, RequestError, RequestId, Response,
        fetch::{Failure, Fetch},
    },
    form::Params,
    notice::{Code, Level, Notice, shown},
    sid::{Kind, Sid},
    twiml::{Document, Link, Message, Verb},
    url::{Scheme, resolve, without_fragment},
};

/// How long a message is waited for, where an action wants to know.
const PATIENCE: Duration = Duration::from_secs(15);
/// Documents that one message leads to at most. A `<Redirect>` to itself ends here.
const MOST_DOCUMENTS: u32 = 50;
/// Messages that one message leads to at most.
pub const MOST_MESSAGES: u32 = 50;

/// What has to be known of a message that has come.
#[derive(Clone)]
pub struct Setup {
    /// Its SID.
    pub sid: Sid,
    /// The account's.
    pub account: Sid,
    /// The account's token, which signs every request.
    pub token: String,
    /// Who has sent it.
    pub from: String,
    /// The number that it came to.
    pub to: String,
    /// Its text.
    pub body: String,
    /// Who is asked.
    pub link: Link,
    /// Who is asked where that one fails.
    pub fallback: Option<Link>,
    /// Messages that it leads to at most.
    pub most: u32,
}

/// Without the token and the text.
impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("sid", &self.sid)
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// A message that has come, and what its documents do.
#[derive(Debug)]
pub struct Incoming {
    setup: Setup,
    line: Line<IsFallback>,
    /// Where its document is from.
    base: Option<Link>,
    verbs: VecDeque<Verb>,
    /// A message whose action waits, and until when.
    sending: Option<(JobId, Link, Instant)>,
    actions: VecDeque<Action>,
    documents: u32,
    messages: u32,
}

/// Whether a document is asked for at the fallback URL, after which there is none.
type IsFallback = bool;

impl Incoming {
    /// A message that has just come.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let mut incoming = Self {
            line: Line::new(setup.sid.clone(), setup.token.clone()),
            base: None,
            verbs: VecDeque::new(),
            sending: None,
            actions: VecDeque::new(),
            documents: 0,
            messages: 0,
            setup,
        };
        let link = incoming.setup.link.clone();
        let told = sids(&incoming.setup.sid, Status::Received);
        incoming.fetch(now, &link, &told, false);
        incoming
    }

    /// A webhook has answered, or will not.
    pub fn handle_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: Result<Response, RequestError>,
    ) {
        match self.line.handle_response(now, id, result) {
            Some(Outcome::Again(request)) => self.actions.push_back(Action::Request(request)),
            Some(Outcome::Failed(fetch, failure)) => self.failed(now, &fetch, failure),
            Some(Outcome::Answered(fetch, response)) => match verbs_of(&fetch, &response) {
                Ok(document) => self.run(now, fetch.link, document),
                Err(failure) => self.failed(now, &fetch, failure),
            },
            None => {}
        }
    }

    /// How a [`Action::Send`] went; where it was refused, in words why.
    pub fn handle_sent(&mut self, now: Instant, job: JobId, refused: Option<&str>) {
        let status = match refused {
            None => Status::Sent,
            Some(why) => {
                let why = format!("a message was not sent: {why}");
                self.notice(Code::Internal, Level::Warning, None, why);
                Status::Failed
            }
        };
        let waiting = self.sending.take_if(|(own, ..)| *own == job);
        let Some((_, action, _)) = waiting else {
            return;
        };
        let sid = self.setup.sid.derive(Kind::Message, job.number());
        let told = sids(&sid, status);
        self.fetch(now, &action, &told, false);
    }

    /// When [`Incoming::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sending = self.sending.as_ref().map(|(.., until)| *until);
        sending.into_iter().chain(self.line.poll_timeout()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((id, fetch, failure)) = self.line.handle_timeout(now) {
            self.actions.push_back(Action::CancelRequest(id));
            self.failed(now, &fetch, failure);
        }
        if let Some((job, _, until)) = &self.sending
            && *until <= now
        {
            let job = *job;
            self.handle_sent(now, job, Some("nothing was heard of it within 15 s"));
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether nothing will come of it any more.
    pub fn is_finished(&self) -> bool {
        !self.line.is_busy() && self.sending.is_none() && self.actions.is_empty()
    }

    /// Asks for the next document. `link` may be relative to the one that is run.
    fn fetch(&mut self, now: Instant, link: &Link, told: &Params, is_fallback: IsFallback) {
        self.verbs.clear();
        self.documents += 1;
        if self.documents > MOST_DOCUMENTS {
            let why = "documents lead to documents without end".to_owned();
            return self.notice(Code::TooManyRedirects, Level::Error, Some(&link.url), why);
        }
        let base = self.base.as_ref().map(|base| base.url.as_str());
        let url = match base {
            // The document itself.
            Some(base) if link.url.is_empty() => Ok(base.to_owned()),
            base => resolve(base, &link.url, Scheme::Http),
        };
        let url = match url {
            Ok(url) => url,
            Err(error) => {
                self.notice(
                    Code::InvalidUrl,
                    Level::Error,
                    Some(&link.url),
                    error.to_string(),
                );
                return self.fall_back(now, Code::InvalidUrl, &link.url, is_fallback);
            }
        };
        let setup = &self.setup;
        let mut params: Params = [
            ("AccountSid", setup.account.as_str()),
            ("From", &*setup.from),
            ("To", &*setup.to),
            ("ApiVersion", API_VERSION),
        ]
        .into_iter()
        .collect();
        params.push("Body", setup.body.as_str());
        params.push("NumMedia", "0");
        params.push("NumSegments", segments(&setup.body).to_string());
        params.extend(told);
        let link = Link {
            url,
            method: link.method,
        };
        let request = self.line.ask(now, link, params, is_fallback);
        self.actions.push_back(Action::Request(request));
    }

    fn run(&mut self, now: Instant, base: Link, document: Document) {
        let url = base.url.clone();
        for warning in document.warnings {
            self.notice(Code::Schema, Level::Warning, Some(&url), warning);
        }
        self.base = Some(base);
        self.verbs = document.verbs.into();
        while let Some(verb) = self.verbs.pop_front() {
            match verb {
                Verb::Message(message) => {
                    if self.send(now, message) {
                        return;
                    }
                }
                Verb::Redirect(link) => {
                    let told = sids(&self.setup.sid, Status::Received);
                    return self.fetch(now, &link, &told, false);
                }
                _ => {
                    let why =
                        "a message is answered by <Message> and <Redirect> alone: another verb \
                               was left out"
                            .to_owned();
                    self.notice(Code::Schema, Level::Warning, Some(&url), why);
                }
            }
        }
    }

    /// Whether its action has to be waited for.
    fn send(&mut self, now: Instant, message: Message) -> bool {
        self.messages += 1;
        let most = self.setup.most;
        if self.messages > most {
            let why = format!("this message leads to {most} at most: another one was left out");
            self.notice(Code::Internal, Level::Warning, None, why);
            return false;
        }
        let base = self.base.as_ref().map(|base| base.url.clone());
        let mut absolute = |url: &String| match resolve(base.as_deref(), url, Scheme::Http) {
            Ok(url) => Some(url),
            Err(error) => {
                self.notice(
                    Code::InvalidUrl,
                    Level::Warning,
                    Some(url),
                    error.to_string(),
                );
                None
            }
        };
        let media = message.media.iter().filter_map(&mut absolute).collect();
        let status_callback = message.status_callback.as_ref().and_then(&mut absolute);
        let job = JobId::from(self.line.number());
        self.actions.push_back(Action::Send(Box::new(NewMessage {
            job,
            sid: self.setup.sid.derive(Kind::Message, job.number()),
            to: message.to.unwrap_or_else(|| self.setup.from.clone()),
            from: message.from.unwrap_or_else(|| self.setup.to.clone()),
            body: message.body,
            media,
            status_callback,
        })));
        self.sending = message.action.map(|action| (job, action, now + PATIENCE));
        self.sending.is_some()
    }

    fn failed(&mut self, now: Instant, fetch: &Fetch<IsFallback>, failure: Failure) {
        let url = fetch.link.url.clone();
        self.notice(failure.code, Level::Error, Some(&url), failure.message);
        self.fall_back(now, failure.code, &url, fetch.purpose);
    }

    fn fall_back(&mut self, now: Instant, code: Code, url: &str, was_fallback: IsFallback) {
        let fallback = self.setup.fallback.clone().filter(|_| !was_fallback);
        let Some(link) = fallback else {
            return;
        };
        let mut told = sids(&self.setup.sid, Status::Received);
        told.push("ErrorCode", code.to_string());
        told.push("ErrorUrl", without_fragment(url));
        self.base = None;
        self.fetch(now, &link, &told, true);
    }

    fn notice(&mut self, code: Code, level: Level, url: Option<&str>, message: String) {
        self.actions.push_back(Action::Notice(Notice {
            code,
            level,
            url: url.map(shown),
            message,
        }));
    }
}

/// The document of an answer; none is one that does nothing.
fn verbs_of(fetch: &Fetch<IsFallback>, response: &Response) -> Result<Document, Failure> {
    if response.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Document::default());
    }
    let kind = response.content_type.as_deref().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("text/plain") {
        return fetch.document(response);
    }
    let text = str::from_utf8(&response.body).map_err(|_| Failure {
        code: Code::Parse,
        message: "the answer is not UTF-8".to_owned(),
    })?;
    let message = Message {
        to: None,
        from: None,
        body: text.trim().chars().take(MAX_BODY).collect(),
        media: Vec::new(),
        action: None,
        status_callback: None,
    };
    Ok(Document {
        verbs: vec![Verb::Message(message)],
        warnings: Vec::new(),
    })
}
