//! Media streams: forked by `<Start>`, or given the call by `<Connect>`.

use std::time::Instant;

use super::{
    Action, Call, JobId, Lane, LegId, NewStream, Refused, StreamError, Topic, script::Step,
};
use crate::{
    date::iso8601,
    form::Params,
    notice::{Code, shown},
    sid::{Kind, Sid},
    signature,
    twiml::{Connect, Link, Stream},
    url::{Scheme, resolve, without_fragment},
};

/// The most copies of a call's audio at once; a stream of both tracks is two.
const MAX_FORKS: usize = 4;

/// A stream under way.
#[derive(Debug)]
pub(super) struct Streaming {
    pub(super) sid: Sid,
    pub(super) name: String,
    url: String,
    forks: usize,
    callback: Option<Link>,
}

impl Call {
    pub(super) fn begin_connect(&mut self, now: Instant, connect: Connect) -> bool {
        self.answer(now);
        let Some(job) = self.open_stream(connect.stream, true) else {
            return true;
        };
        self.main.step = Step::Streaming(job, connect.action);
        false
    }

    /// A stream of a document; `None` for one that is left out, which is told.
    pub(super) fn open_stream(&mut self, stream: Stream, bidirectional: bool) -> Option<JobId> {
        let url = stream.url.clone();
        let refused = match self.try_stream(stream, bidirectional) {
            Ok(job) => return Some(job),
            Err(refused) => refused,
        };
        let code = match refused {
            Refused::Url(_) => Code::StreamUrl,
            Refused::Taken(_) => Code::Schema,
            _ => Code::Internal,
        };
        let url = without_fragment(&url);
        self.warn(code, Some(url), format!("<Stream> was left out: {refused}"));
        None
    }

    pub(super) fn try_stream(
        &mut self,
        stream: Stream,
        bidirectional: bool,
    ) -> Result<JobId, Refused> {
        let scheme = Scheme::WebSocket {
            plain: self.setup.plain_streams,
        };
        let url = resolve(None, &stream.url, scheme).map_err(Refused::Url)?;
        let url = without_fragment(&url).to_owned();
        let taken = |name: &String| self.streams.values().any(|stream| stream.name == *name);
        if let Some(name) = stream.name.as_ref().filter(|name| taken(name)) {
            return Err(Refused::Taken(name.clone()));
        }
        let forks: usize = self.streams.values().map(|streaming| streaming.forks).sum();
        if forks + stream.tracks.count() > MAX_FORKS {
            return Err(Refused::Streams(MAX_FORKS));
        }
        let job = self.job();
        let sid = self.sid.derive(Kind::Stream, job.0);
        let name = stream.name.unwrap_or_else(|| sid.as_str().to_owned());
        let callback = stream.callback;
        let callback = callback.and_then(|link| self.absolute(LegId::PARTY, &link));
        let callback = self.or_socket(callback);
        let streaming = Streaming {
            sid: sid.clone(),
            name: name.clone(),
            url: url.clone(),
            forks: stream.tracks.count(),
            callback,
        };
        self.streams.insert(job, streaming);
        self.stream_news(job, true);
        let signature = signature::sign(&self.setup.token, &url, &Params::new());
        self.act(Action::OpenStream(Box::new(NewStream {
            job,
            sid,
            name,
            url,
            tracks: stream.tracks,
            bidirectional,
            parameters: stream.parameters,
            audio_format: stream.audio_format,
            sample_rate: stream.sample_rate,
            signature,
        })));
        Ok(job)
    }

    pub(super) fn stop_stream(&mut self, now: Instant, name: &str) {
        let mut named = self
            .streams
            .iter()
            .filter(|(_, streaming)| streaming.name == name);
        match named.next().map(|(job, _)| *job) {
            Some(job) => self.close_stream(now, job),
            None => {
                let message = format!("<Stop>: the call has no stream of the name {name:?}");
                self.warn(Code::Schema, None, message);
            }
        }
    }

    pub(super) fn close_stream(&mut self, now: Instant, job: JobId) {
        if self.streams.contains_key(&job) {
            self.act(Action::CloseStream { job });
            self.tell_stream(now, job, "stream-stopped", None);
            self.stream_news(job, false);
            self.streams.remove(&job);
        }
    }

    pub(super) fn on_stream_started(&mut self, now: Instant, job: JobId) {
        self.tell_stream(now, job, "stream-started", None);
    }

    pub(super) fn on_stream_ended(
        &mut self,
        now: Instant,
        job: JobId,
        result: Result<(), StreamError>,
    ) {
        let Some(streaming) = self.streams.get(&job) else {
            return;
        };
        match result {
            Ok(()) => self.tell_stream(now, job, "stream-stopped", None),
            Err(error) => {
                let code = match error {
                    StreamError::Timeout => Code::StreamTimeout,
                    StreamError::Tls => Code::StreamTls,
                    StreamError::Handshake(_) => Code::StreamHandshake,
                    StreamError::Protocol => Code::StreamProtocol,
                };
                let message = format!("a stream failed: {error}");
                let url = shown(&streaming.url);
                self.warn(code, Some(&url), message.clone());
                self.tell_stream(now, job, "stream-error", Some(format!("{code}: {message}")));
            }
        }
        self.stream_news(job, false);
        self.streams.remove(&job);
        if !self.is_over
            && let Step::Streaming(connected, action) = &mut self.main.step
            && *connected == job
        {
            match action.take() {
                Some(action) => {
                    self.fetch(now, LegId::PARTY, &action, &Params::new(), Topic::Streamed);
                }
                None => self.proceed(now, LegId::PARTY),
            }
        }
    }

    /// The party's leg is over, and all streams with it.
    pub(super) fn end_streams(&mut self, now: Instant) {
        let jobs: Vec<_> = self.streams.keys().copied().collect();
        for job in jobs {
            self.stream_news(job, false);
            self.tell_stream(now, job, "stream-stopped", None);
        }
        self.streams.clear();
    }

    fn tell_stream(&mut self, now: Instant, job: JobId, event: &str, error: Option<String>) {
        let Some(streaming) = self.streams.get(&job) else {
            return;
        };
        let Some(link) = streaming.callback.clone() else {
            return;
        };
        let mut params = Params::new();
        params.push("AccountSid", self.setup.account.as_str());
        params.push("CallSid", self.sid.as_str());
        params.push("StreamSid", streaming.sid.as_str());
        params.push("StreamName", &*streaming.name);
        params.push("StreamEvent", event);
        params.push_some("StreamError", error);
        params.push("Timestamp", iso8601(self.wall(now)));
        self.tell(now, Lane::Stream(job), link, params);
    }
}
