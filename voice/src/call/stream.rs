//! Media streams: forked by `<Start>`, or given the call by `<Connect>`.

use std::time::Instant;

use super::{Action, Call, JobId, Lane, LegId, NewStream, StreamError, script::Step};
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
    sid: Sid,
    name: String,
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

    pub(super) fn open_stream(&mut self, stream: Stream, bidirectional: bool) -> Option<JobId> {
        let scheme = Scheme::WebSocket {
            plain: self.setup.plain_streams,
        };
        let url = match resolve(None, &stream.url, scheme) {
            Ok(url) => without_fragment(&url).to_owned(),
            Err(error) => {
                let message = format!("<Stream> was left out: {error}");
                self.warn(Code::StreamUrl, Some(&stream.url), message);
                return None;
            }
        };
        let job = self.job();
        let sid = self.sid.derive(Kind::Stream, job.0);
        let name = stream.name.unwrap_or_else(|| sid.as_str().to_owned());
        if self
            .streams
            .values()
            .any(|streaming| streaming.name == name)
        {
            let message =
                format!("<Stream> was left out: the call has one of the name {name:?} already");
            self.warn(Code::Schema, Some(&url), message);
            return None;
        }
        let forks: usize = self.streams.values().map(|streaming| streaming.forks).sum();
        if forks + stream.tracks.count() > MAX_FORKS {
            let message =
                format!("<Stream> was left out: a call has {MAX_FORKS} tracks streamed at most");
            self.warn(Code::Internal, Some(&url), message);
            return None;
        }
        let callback = stream.callback;
        let callback = callback.and_then(|link| self.absolute(LegId::PARTY, &link));
        let streaming = Streaming {
            sid: sid.clone(),
            name: name.clone(),
            url: url.clone(),
            forks: stream.tracks.count(),
            callback,
        };
        self.streams.insert(job, streaming);
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
        Some(job)
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
        self.streams.remove(&job);
        if !self.is_over
            && let Step::Streaming(connected, action) = &mut self.main.step
            && *connected == job
        {
            match action.take() {
                Some(action) => self.fetch(now, LegId::PARTY, &action, &Params::new()),
                None => self.proceed(now, LegId::PARTY),
            }
        }
    }

    /// The party's leg is over, and all streams with it.
    pub(super) fn end_streams(&mut self, now: Instant) {
        let jobs: Vec<_> = self.streams.keys().copied().collect();
        for job in jobs {
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
