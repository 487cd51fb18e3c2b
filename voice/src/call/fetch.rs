//! Requests to webhooks: made, repeated, led elsewhere, late; and what becomes of their answers.

use std::time::Instant;

use super::{Action, Call, Lane, LegId, Request, RequestError, RequestId, Response, script::Step};
use crate::{
    form::Params,
    notice::{Code, Level},
    signature,
    twiml::{Document, Link, MAX_DOCUMENT, Method, ParseError},
    url::{Overrides, Scheme, resolve, without_fragment},
};

/// The most redirections of HTTP that one request follows.
const MAX_REDIRECTS: u8 = 10;

/// A request under way.
#[derive(Debug)]
pub(super) struct Fetch {
    /// Absolute, with its fragment.
    link: Link,
    params: Params,
    purpose: Purpose,
    /// The same for all attempts, by which a receiver knows that they are one.
    token: String,
    overrides: Overrides,
    /// When all attempts have to be over.
    pub(super) deadline: Instant,
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
struct Failure {
    code: Code,
    message: String,
}

impl Call {
    /// Has a leg go on with another document. `link` may be relative to the one that it runs.
    pub(super) fn fetch(&mut self, now: Instant, leg: LegId, link: &Link, extra: &Params) {
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
            base => resolve(base.as_deref(), &link.url, Scheme::Http),
        };
        match resolved {
            Ok(url) => {
                let link = Link {
                    url,
                    method: link.method,
                };
                self.fetch_document(now, leg, link, extra, false);
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
        is_fallback: bool,
    ) {
        let mut params = self.base_params(leg);
        params.extend(extra);
        let id = self.request(now, link, params, Purpose::Document { leg, is_fallback });
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
    ) -> RequestId {
        let overrides = Overrides::of(&link.url);
        let number = self.next;
        let fetch = Fetch {
            token: self.sid.token("request", number),
            deadline: now + overrides.total_timeout,
            retries: overrides.retries,
            redirects: 0,
            link,
            params,
            purpose,
            overrides,
        };
        self.attempt(fetch)
    }

    fn attempt(&mut self, fetch: Fetch) -> RequestId {
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
        let failure = match result {
            Ok(response) => match (response.status, &response.location) {
                (200..=299, _) => return self.answered(now, &fetch, &response),
                (301..=303 | 307 | 308, Some(location)) => {
                    match fetch.redirect(response.status, location) {
                        Ok(()) => return self.repeat(id, fetch),
                        Err(failure) => failure,
                    }
                }
                (status, _) => {
                    if fetch.may_repeat(now, |policy| match status {
                        400..=499 => policy.client_errors,
                        500..=599 => policy.server_errors,
                        _ => false,
                    }) {
                        return self.repeat(id, fetch);
                    }
                    Failure {
                        code: Code::Retrieval,
                        message: format!("the webhook answered {status}"),
                    }
                }
            },
            Err(error) => {
                if fetch.may_repeat(now, |policy| match error {
                    RequestError::Host | RequestError::Connect | RequestError::Tls => {
                        policy.connect
                    }
                    RequestError::Timeout | RequestError::Protocol => policy.read,
                    RequestError::Refused => false,
                }) {
                    return self.repeat(id, fetch);
                }
                Failure {
                    code: code_of_request(error),
                    message: format!("the webhook cannot be had: {error}"),
                }
            }
        };
        self.failed(now, &fetch, failure);
    }

    /// A request has taken as long as all of its attempts may.
    pub(super) fn on_late(&mut self, now: Instant, id: RequestId) {
        let Some(fetch) = self.fetches.remove(&id) else {
            return;
        };
        self.act(Action::CancelRequest(id));
        let seconds = fetch.overrides.total_timeout.as_secs_f64();
        let failure = Failure {
            code: Code::Connection,
            message: format!("the webhook did not answer within {seconds} s"),
        };
        self.failed(now, &fetch, failure);
    }

    /// Forgets a request for a document.
    pub(super) fn cancel_fetch(&mut self, id: RequestId) {
        if self.fetches.remove(&id).is_some() {
            self.act(Action::CancelRequest(id));
        }
    }

    fn repeat(&mut self, old: RequestId, fetch: Fetch) {
        let purpose = fetch.purpose;
        let id = self.attempt(fetch);
        if let Purpose::Document { leg, .. } = purpose
            && let Some(script) = self.script_mut(leg)
            && matches!(script.step, Step::Fetching(step) if step == old)
        {
            script.step = Step::Fetching(id);
        }
    }

    fn answered(&mut self, now: Instant, fetch: &Fetch, response: &Response) {
        let leg = match fetch.purpose {
            Purpose::Callback(lane) => return self.next_in_lane(now, lane),
            Purpose::Document { leg, .. } => leg,
        };
        match fetch.document(response) {
            Ok(document) => self.run(now, leg, Some(fetch.link.clone()), document),
            Err(failure) => self.failed(now, fetch, failure),
        }
    }

    fn failed(&mut self, now: Instant, fetch: &Fetch, failure: Failure) {
        let url = Some(&*fetch.link.url);
        match fetch.purpose {
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
        match resolve(None, &link.url, Scheme::Http) {
            Ok(absolute) => {
                let mut extra = Params::new();
                extra.push("ErrorCode", code.to_string());
                extra.push_some("ErrorUrl", url.map(without_fragment));
                let link = Link {
                    url: absolute,
                    method: link.method,
                };
                self.fetch_document(now, leg, link, &extra, true);
            }
            Err(error) => {
                let message = format!("the fallback URL cannot be asked: {error}");
                self.notice(Code::InvalidUrl, Level::Error, Some(&link.url), message);
                self.give_up(now, leg);
            }
        }
    }
}

impl Fetch {
    fn write(&self, id: RequestId, token: &str) -> Request {
        let url = without_fragment(&self.link.url);
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

    fn document(&self, response: &Response) -> Result<Document, Failure> {
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
                    "the webhook answered with {content_type}, which is no document: use text/xml"
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
