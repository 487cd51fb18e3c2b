//! Requests to webhooks: made, repeated, led elsewhere, late; and what becomes of their answers.

use std::time::Instant;

use super::{
    Action, Call, Exchange, Lane, LegId, Request, RequestError, RequestId, Response, Topic,
    script::Step, socket,
};
use crate::{
    form::Params,
    notice::{Code, Level, Notice, shown},
    sid::Sid,
    signature,
    twiml::{Document, Link, MAX_DOCUMENT, Method, ParseError},
    url::{Overrides, Scheme, is_socket, resolve, without_fragment},
};

/// The most redirections of HTTP that one request follows.
const MAX_REDIRECTS: u8 = 10;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Fetch<P> {
    /// Absolute, with its fragment.
    pub(crate) link: Link,
    params: Params,
    pub(crate) purpose: P,
    /// Of a call: what is asked, and in whose name, where that is said on a socket.
    exchange: Option<(Topic, Sid)>,
    /// The same for all attempts, by which a receiver knows that they are one.
    token: String,
    overrides: Overrides,
    /// When all attempts have to be over.
    pub(crate) deadline: Instant,
    retries: u8,
    redirects: u8,
}

/// What an answer is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The next document of a leg.
    Document {
        leg: LegId,
        /// The fallback URL's, after which there is none.
        is_fallback: bool,
    },
    /// Nothing: somebody is told.
    Callback(Lane),
}

/// Why there is no answer to work with.
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// What has come of one attempt.
pub(crate) enum Attempt {
    /// An answer to work with.
    Answered(Response),
    /// It is to be made again, or elsewhere.
    Again,
    /// All there is to try was tried.
    Failed(Failure),
}

impl Call {
    /// Has a leg go on with another document. `link` may be relative to the one that it runs.
    pub(super) fn fetch(
        &mut self,
        now: Instant,
        leg: LegId,
        link: &Link,
        extra: &Params,
        topic: Topic,
    ) {
        if !self.may_go_on(now, leg) {
            let message = "documents lead to documents without end: nothing is heard between them";
            self.notice(
                Code::TooManyRedirects,
                Level::Error,
                Some(&link.url),
                message.to_owned(),
            );
            self.give_up(now, leg);
            return;
        }
        let Some(script) = self.script(leg) else {
            return;
        };
        let base = script.base.as_ref().map(|base| base.url.clone());
        let resolved = match base {
            // The document itself, with what its fragment says of how it is asked.
            Some(base) if link.url.is_empty() => Ok(base),
            base => resolve(base.as_deref(), &link.url, Scheme::Webhook),
        };
        match resolved {
            Ok(url) => {
                let link = Link {
                    url,
                    method: link.method,
                };
                self.fetch_document(now, leg, link, extra, topic);
            }
            Err(error) => {
                let url = link.url.clone();
                self.document_failed(now, leg, Code::InvalidUrl, Some(&url), error.to_string());
            }
        }
    }

    fn fetch_document(
        &mut self,
        now: Instant,
        leg: LegId,
        link: Link,
        extra: &Params,
        topic: Topic,
    ) {
        let is_fallback = topic == Topic::Failed;
        let mut params = self.base_params(leg);
        params.extend(extra);
        let purpose = Purpose::Document { leg, is_fallback };
        let id = self.request(now, link, params, purpose, topic);
        if let Some(script) = self.script_mut(leg) {
            script.step = Step::Fetching(id);
        }
    }

    /// Asks a webhook. The link is absolute.
    pub(super) fn request(
        &mut self,
        now: Instant,
        link: Link,
        params: Params,
        purpose: Purpose,
        topic: Topic,
    ) -> RequestId {
        let token = self.sid.token("request", self.next);
        let mut fetch = Fetch::new(now, link, params, purpose, token);
        fetch.exchange = Some((topic, self.setup.account.clone()));
        self.attempt(fetch)
    }

    fn attempt(&mut self, fetch: Fetch<Purpose>) -> RequestId {
        let id = RequestId(self.number());
        let request = fetch.write(id, &self.setup.token);
        self.act(Action::Request(Box::new(request)));
        self.fetches.insert(id, fetch);
        id
    }

    pub(super) fn on_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: Result<Response, RequestError>,
    ) {
        let Some(mut fetch) = self.fetches.remove(&id) else {
            return;
        };
        match fetch.take(now, result) {
            Attempt::Answered(response) => self.answered(now, &fetch, &response),
            Attempt::Again => self.repeat(id, fetch),
            Attempt::Failed(failure) => self.failed(now, &fetch, failure),
        }
    }

    /// A request has taken as long as all of its attempts may.
    pub(super) fn on_late(&mut self, now: Instant, id: RequestId) {
        let Some(fetch) = self.fetches.remove(&id) else {
            return;
        };
        self.act(Action::CancelRequest(id));
        self.failed(now, &fetch, fetch.late());
    }

    /// What tells of a transfer is told though the party, who was transferred, has hung up: the answer is not run. `false`
    /// for a request that tells of none.
    pub(super) fn detach_outcome(&mut self, id: RequestId) -> bool {
        let fetch = self.fetches.get_mut(&id);
        let outcome = fetch.filter(|fetch| fetch.params.get("ReferCallStatus").is_some());
        outcome.is_some_and(|fetch| {
            fetch.purpose = Purpose::Callback(Lane::Action);
            true
        })
    }

    /// Forgets a request for a document.
    pub(super) fn cancel_fetch(&mut self, id: RequestId) {
        if self.fetches.remove(&id).is_some() {
            self.act(Action::CancelRequest(id));
        }
    }

    fn repeat(&mut self, old: RequestId, fetch: Fetch<Purpose>) {
        let purpose = fetch.purpose;
        let id = self.attempt(fetch);
        if let Purpose::Document { leg, .. } = purpose
            && let Some(script) = self.script_mut(leg)
            && matches!(script.step, Step::Fetching(step) if step == old)
        {
            script.step = Step::Fetching(id);
        }
    }

    fn answered(&mut self, now: Instant, fetch: &Fetch<Purpose>, response: &Response) {
        let leg = match fetch.purpose {
            Purpose::Callback(lane) => return self.next_in_lane(now, lane),
            Purpose::Document { leg, .. } => leg,
        };
        match fetch.document(response) {
            Ok(document) => {
                if is_socket(&fetch.link.url) {
                    self.home = Some(fetch.link.clone());
                }
                self.run(now, leg, Some(fetch.link.clone()), document);
            }
            Err(failure) => self.failed(now, fetch, failure),
        }
    }

    fn failed(&mut self, now: Instant, fetch: &Fetch<Purpose>, failure: Failure) {
        let url = Some(&*fetch.link.url);
        match fetch.purpose {
            Purpose::Callback(lane) if is_socket(&fetch.link.url) => {
                // It cannot be told of itself.
                self.act(Action::Notice(Notice {
                    code: failure.code,
                    level: Level::Warning,
                    url: url.map(shown),
                    message: failure.message,
                }));
                self.next_in_lane(now, lane);
            }
            Purpose::Callback(lane) => {
                self.warn(failure.code, url, failure.message);
                self.next_in_lane(now, lane);
            }
            Purpose::Document {
                leg,
                is_fallback: true,
            } => {
                self.notice(failure.code, Level::Error, url, failure.message);
                self.give_up(now, leg);
            }
            Purpose::Document {
                leg,
                is_fallback: false,
            } => {
                self.document_failed(now, leg, failure.code, url, failure.message);
            }
        }
    }

    /// There is no document to go on with: the fallback URL is asked for one, where there is one.
    pub(super) fn document_failed(
        &mut self,
        now: Instant,
        leg: LegId,
        code: Code,
        url: Option<&str>,
        message: String,
    ) {
        self.notice(code, Level::Error, url, message);
        let fallback = self.setup.fallback.clone().filter(|_| leg == LegId::PARTY);
        let Some(link) = fallback else {
            return self.give_up(now, leg);
        };
        match resolve(None, &link.url, Scheme::Webhook) {
            Ok(absolute) => {
                let mut extra = Params::new();
                extra.push("ErrorCode", code.to_string());
                extra.push_some("ErrorUrl", url.map(without_fragment));
                let link = Link {
                    url: absolute,
                    method: link.method,
                };
                self.fetch_document(now, leg, link, &extra, Topic::Failed);
            }
            Err(error) => {
                let message = format!("the fallback URL cannot be asked: {error}");
                self.notice(Code::InvalidUrl, Level::Error, Some(&link.url), message);
                self.give_up(now, leg);
            }
        }
    }
}

impl<P> Fetch<P> {
    /// The first attempt is to be made. The link is absolute; `token` names all attempts.
    pub(crate) fn new(now: Instant, link: Link, params: Params, purpose: P, token: String) -> Self {
        let overrides = Overrides::of(&link.url);
        Self {
            token,
            deadline: now + overrides.total_timeout,
            retries: overrides.retries,
            redirects: 0,
            link,
            params,
            purpose,
            exchange: None,
            overrides,
        }
    }

    /// Takes what came of an attempt in.
    pub(crate) fn take(&mut self, now: Instant, result: Result<Response, RequestError>) -> Attempt {
        let failure = match result {
            Ok(response) => match (response.status, &response.location) {
                (200..=299, _) => return Attempt::Answered(response),
                (status @ (301..=303 | 307 | 308), Some(location)) => {
                    match self.redirect(status, location) {
                        Ok(()) => return Attempt::Again,
                        Err(failure) => failure,
                    }
                }
                (status, _) => {
                    if self.may_repeat(now, |policy| match status {
                        400..=499 => policy.client_errors,
                        500..=599 => policy.server_errors,
                        _ => false,
                    }) {
                        return Attempt::Again;
                    }
                    Failure {
                        code: Code::Retrieval,
                        message: format!("the webhook answered {status}"),
                    }
                }
            },
            Err(error) => {
                if self.may_repeat(now, |policy| match error {
                    RequestError::Host | RequestError::Connect | RequestError::Tls => {
                        policy.connect
                    }
                    RequestError::Timeout | RequestError::Protocol => policy.read,
                    RequestError::Refused => false,
                }) {
                    return Attempt::Again;
                }
                Failure {
                    code: code_of_request(error),
                    message: format!("the webhook cannot be had: {error}"),
                }
            }
        };
        Attempt::Failed(failure)
    }

    /// All attempts have had their time.
    pub(crate) fn late(&self) -> Failure {
        let seconds = self.overrides.total_timeout.as_secs_f64();
        Failure {
            code: Code::Connection,
            message: format!("the webhook did not answer within {seconds} s"),
        }
    }

    /// The attempt as it is made; `token` is the account's, which signs it.
    pub(crate) fn write(&self, id: RequestId, token: &str) -> Request {
        let url = without_fragment(&self.link.url);
        if let Some((topic, account)) = self.exchange.as_ref().filter(|_| is_socket(url)) {
            return self.say(id, url, *topic, account, token);
        }
        let mut headers = vec![
            ("Accept", "*/*".to_owned()),
            ("I-Twilio-Idempotency-Token", self.token.clone()),
        ];
        let (method, url, body, signed) = match self.link.method {
            Method::Get => ("GET", with_query(url, &self.params), None, Params::new()),
            Method::Post => {
                let form = "application/x-www-form-urlencoded; charset=utf-8";
                headers.push(("Content-Type", form.to_owned()));
                let body = Some(self.params.encode());
                ("POST", url.to_owned(), body, self.params.clone())
            }
        };
        headers.push((signature::HEADER, signature::sign(token, &url, &signed)));
        Request {
            id,
            method,
            url,
            headers,
            body,
            exchange: None,
            connect_timeout: self.overrides.connect_timeout,
            read_timeout: self.overrides.read_timeout,
        }
    }

    fn say(&self, id: RequestId, url: &str, topic: Topic, account: &Sid, token: &str) -> Request {
        let signature = signature::sign(token, url, &Params::new());
        Request {
            id,
            method: "GET",
            url: url.to_owned(),
            headers: vec![(signature::HEADER, signature)],
            body: Some(socket::message(topic, &self.token, account, &self.params)),
            exchange: Some(Exchange {
                id: self.token.clone(),
                account: account.clone(),
                is_answered: topic.is_answered(),
            }),
            connect_timeout: self.overrides.connect_timeout,
            read_timeout: self.overrides.read_timeout,
        }
    }

    fn may_repeat(
        &mut self,
        now: Instant,
        is_meant: impl Fn(&crate::url::RetryPolicy) -> bool,
    ) -> bool {
        if self.retries == 0 || now >= self.deadline || !is_meant(&self.overrides.policy) {
            return false;
        }
        self.retries -= 1;
        true
    }

    /// As browsers do: 307 and 308 repeat the request, the others are a GET, here with its parameters.
    fn redirect(&mut self, status: u16, location: &str) -> Result<(), Failure> {
        self.redirects += 1;
        if self.redirects > MAX_REDIRECTS {
            return Err(Failure {
                code: Code::TooManyRedirects,
                message: format!("the webhook redirected more than {MAX_REDIRECTS} times"),
            });
        }
        let url =
            resolve(Some(&self.link.url), location, Scheme::Http).map_err(|error| Failure {
                code: Code::InvalidUrl,
                message: format!("the webhook redirected to what cannot be asked: {error}"),
            })?;
        self.link.url = url;
        if status < 307 {
            self.link.method = Method::Get;
        }
        Ok(())
    }

    /// The document that an answer is.
    pub(crate) fn document(&self, response: &Response) -> Result<Document, Failure> {
        let content_type = response.content_type.as_deref().unwrap_or("text/xml");
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let content_type = content_type.to_ascii_lowercase();
        if content_type.starts_with("audio/") {
            // With its query, since whoever plays it asks again.
            let url = match self.link.method {
                Method::Get => with_query(without_fragment(&self.link.url), &self.params),
                Method::Post => self.link.url.clone(),
            };
            return Ok(Document::play(&url));
        }
        let failure = |error: ParseError| Failure {
            code: code_of(&error),
            message: error.to_string(),
        };
        match &*content_type {
            "text/xml" | "application/xml" | "text/html" => {
                Document::parse(&response.body).map_err(failure)
            }
            "application/json" => Document::parse_json(&response.body).map_err(failure),
            "text/plain" if response.body.len() > MAX_DOCUMENT => {
                Err(failure(ParseError::TooLarge))
            }
            "text/plain" => {
                let text =
                    str::from_utf8(&response.body).map_err(|_| failure(ParseError::Encoding))?;
                Document::say(text).map_err(failure)
            }
            _ => Err(Failure {
                code: Code::ContentType,
                message: format!(
                    "the webhook answered with {content_type}, which is no document: use text/xml or \
                     application/json"
                ),
            }),
        }
    }
}

pub(super) const fn code_of(error: &ParseError) -> Code {
    match error {
        ParseError::TooLarge => Code::TooLarge,
        _ => Code::Parse,
    }
}

const fn code_of_request(error: RequestError) -> Code {
    match error {
        RequestError::Host => Code::BadHost,
        RequestError::Connect | RequestError::Timeout => Code::Connection,
        RequestError::Tls => Code::Tls,
        RequestError::Protocol => Code::Protocol,
        RequestError::Refused => Code::Internal,
    }
}

fn with_query(url: &str, params: &Params) -> String {
    if params.is_empty() {
        return url.to_owned();
    }
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{}", params.encode())
}
