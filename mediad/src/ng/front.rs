//! From a request's dictionary to the calls, and to the answer's dictionary.

use std::{collections::HashMap, sync::Arc};

use control::{
    Client, Notice,
    media::{Event, Family, Local, Media, SessionId, SessionInfo, SessionStats, Side},
};
use prometheus::IntCounterVec;
use sip::sdp::Sdp;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{
    bencode::{Dictionary, Value},
    call::{Call, CallError},
    description,
};

/// Calls by Call-ID. One request at a time works on a call; different calls do not wait for each other.
pub(super) struct Front {
    media: Client<Media>,
    calls: Mutex<HashMap<Vec<u8>, Arc<Mutex<Call>>>>,
    requests: IntCounterVec,
}

/// Why a request is refused, as its client is told.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the request is not a bencoded dictionary: {0}")]
    Malformed(String),
    #[error("the request has no '{0}'")]
    Missing(&'static str),
    #[error("unknown command '{0}'; this version knows ping, offer, answer and delete")]
    Command(String),
    #[error("'{0}' is not supported by this version")]
    Unsupported(String),
    #[error("unknown call-id")]
    UnknownCall,
    #[error("the SDP cannot be relayed: {0}")]
    Sdp(#[from] sip::sdp::SdpError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Front {
    pub(super) fn new(media: Client<Media>, requests: IntCounterVec) -> Self {
        Self {
            media,
            calls: Mutex::default(),
            requests,
        }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, body: &[u8]) -> Value {
        let (command, result) = self.dispatch(body).await;
        let mut answer = match result {
            Ok(answer) => {
                self.count(command, "ok");
                answer
            }
            Err(refusal) => {
                warn!(command, reason = %refusal, "refused an NG request");
                self.count(command, "error");
                let reason = ("error-reason", Value::from_text(refusal.to_string()));
                dictionary([reason])
            }
        };
        let is_error = answer.contains_key(b"error-reason".as_slice());
        let result = match (is_error, command) {
            (true, _) => "error",
            (false, "ping") => "pong",
            (false, _) => "ok",
        };
        answer.insert(b"result".to_vec(), Value::from_text(result));
        Value::Dictionary(answer)
    }

    /// Counts a request.
    pub(super) fn count(&self, command: &str, result: &str) {
        self.requests.with_label_values(&[command, result]).inc();
    }

    /// Deletes calls that have gone silent, as rtpengine does by itself.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut notices = self.media.notices();
        let mut silent = std::collections::HashSet::new();
        loop {
            match notices.recv().await {
                Ok(Notice::Event(Event::Timeout { id, .. })) => {
                    silent.insert(id);
                    self.end_silent(id, &mut silent).await;
                }
                Ok(_) => {}
                Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                    warn!(missed, "media events were missed; silent NG calls may stay");
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    async fn end_silent(&self, id: SessionId, silent: &mut std::collections::HashSet<SessionId>) {
        let calls: Vec<_> = {
            let calls = self.calls.lock().await;
            calls
                .iter()
                .map(|(id, call)| (id.clone(), call.clone()))
                .collect()
        };
        for (call_id, call) in calls {
            let call = call.lock().await;
            let mut sessions = call.sessions();
            if !sessions.any(|session| session == id) {
                continue;
            }
            // A call with a stream that still flows is not silent.
            if call.sessions().all(|session| silent.contains(&session)) {
                for session in call.sessions() {
                    silent.remove(&session);
                }
                info!(call = %String::from_utf8_lossy(&call_id), "a silent NG call was deleted");
                self.calls.lock().await.remove(&call_id);
                if let Err(error) = call.delete(&self.media).await {
                    warn!(%error, "cannot free a silent NG call's media");
                }
            }
            return;
        }
        // The session of another client, or of a call that is gone.
        silent.remove(&id);
    }

    async fn dispatch(&self, body: &[u8]) -> (&'static str, Result<Dictionary, Refusal>) {
        let request = match Value::decode(body) {
            Ok(Value::Dictionary(request)) => request,
            Ok(_) => return ("none", Err(Refusal::Malformed("another type".to_owned()))),
            Err(error) => return ("none", Err(Refusal::Malformed(error.to_string()))),
        };
        match text(&request, "command") {
            Ok(b"ping") => ("ping", Ok(Dictionary::new())),
            Ok(b"offer") => ("offer", self.offer(&request).await),
            Ok(b"answer") => ("answer", self.take_answer(&request).await),
            Ok(b"delete") => ("delete", self.delete(&request).await),
            Ok(other) => {
                let name = String::from_utf8_lossy(other).into_owned();
                ("other", Err(Refusal::Command(name)))
            }
            Err(refusal) => ("none", Err(refusal)),
        }
    }

    async fn offer(&self, request: &Dictionary) -> Result<Dictionary, Refusal> {
        let (id, from) = (text(request, "call-id")?, text(request, "from-tag")?);
        refuse_what_is_not_there(request)?;
        let sdp = Sdp::parse(text(request, "sdp")?)?;
        let remotes = description::remotes(&sdp)?;
        let family = other_family(request)?;

        let call = {
            let mut calls = self.calls.lock().await;
            let call = calls
                .entry(id.to_vec())
                .or_insert_with(|| Arc::new(Mutex::new(Call::new(from))));
            Arc::clone(call)
        };
        let mut call = call.lock().await;
        let offered = call.offer(&self.media, from, remotes, family).await;
        if offered.is_err() && call.is_empty() {
            self.calls.lock().await.remove(id);
        }
        let (side, sessions) = offered?;
        with_sdp(&sdp, side, &sessions)
    }

    async fn take_answer(&self, request: &Dictionary) -> Result<Dictionary, Refusal> {
        let (id, from) = (text(request, "call-id")?, text(request, "from-tag")?);
        let to = text(request, "to-tag")?;
        refuse_what_is_not_there(request)?;
        let sdp = Sdp::parse(text(request, "sdp")?)?;
        let remotes = description::remotes(&sdp)?;

        let call = self.calls.lock().await.get(id).cloned();
        let call = call.ok_or(Refusal::UnknownCall)?;
        let mut call = call.lock().await;
        let (side, sessions) = call.answer(&self.media, from, to, remotes).await?;
        with_sdp(&sdp, side, &sessions)
    }

    async fn delete(&self, request: &Dictionary) -> Result<Dictionary, Refusal> {
        let id = text(request, "call-id")?;
        let tag = text(request, "from-tag").ok();
        let warning = [("warning", "Call-ID not found or tags didn't match")];
        let unknown = || dictionary(warning.map(|(key, text)| (key, Value::from_text(text))));

        let Some(call) = self.calls.lock().await.get(id).cloned() else {
            return Ok(unknown());
        };
        let call = call.lock().await;
        if tag.is_some_and(|tag| !call.has(tag)) {
            return Ok(unknown());
        }
        let stats = call.delete(&self.media).await?;
        self.calls.lock().await.remove(id);
        Ok(dictionary([("totals", totals(&stats))]))
    }
}

/// What the call carried, in rtpengine's words.
fn totals(stats: &[SessionStats]) -> Value {
    let flows = || {
        stats
            .iter()
            .flat_map(|session| [&session.from_a, &session.from_b])
    };
    let sum = |count: fn(&control::media::FlowStats) -> u64| {
        Value::Integer(i64::try_from(flows().map(count).sum::<u64>()).unwrap_or(i64::MAX))
    };
    let rtp = dictionary([
        ("packets", sum(|flow| flow.packets)),
        ("bytes", sum(|flow| flow.bytes)),
        ("errors", sum(|flow| flow.refused)),
    ]);
    Value::Dictionary(dictionary([("RTP", Value::Dictionary(rtp))]))
}

fn with_sdp(
    sdp: &Sdp<'_>,
    side: Side,
    sessions: &[Option<SessionInfo>],
) -> Result<Dictionary, Refusal> {
    let locals: Vec<Option<Local>> = sessions
        .iter()
        .map(|session| {
            session.as_ref().map(|session| match side {
                Side::A => session.a,
                Side::B => session.b,
            })
        })
        .collect();
    let body = description::rewritten(sdp, &locals)?;
    Ok(dictionary([("sdp", Value::Text(body))]))
}

/// The family that the other party is to see, where the request names one.
fn other_family(request: &Dictionary) -> Result<Option<Family>, Refusal> {
    match request
        .get(b"address-family".as_slice())
        .and_then(Value::text)
    {
        None => Ok(None),
        Some(b"IP4") => Ok(Some(Family::V4)),
        Some(b"IP6") => Ok(Some(Family::V6)),
        Some(other) => Err(Refusal::Unsupported(format!(
            "address-family={}",
            String::from_utf8_lossy(other)
        ))),
    }
}

/// Refuses what would change the media in a way that this version cannot.
fn refuse_what_is_not_there(request: &Dictionary) -> Result<(), Refusal> {
    let is = |key: &str, fine: &[&[u8]]| {
        let value = request.get(key.as_bytes())?;
        let text = value.text().unwrap_or(b"a list");
        (!fine.contains(&text)).then(|| format!("{key}={}", String::from_utf8_lossy(text)))
    };
    let refused = is("ICE", &[b"remove", b"default"])
        .or_else(|| is("DTLS", &[b"off", b"no", b"disable"]))
        .or_else(|| is("transport-protocol", &[b"RTP/AVP"]))
        .or_else(|| is("record call", &[b"no", b"off"]))
        .or_else(|| is("record-call", &[b"no", b"off"]))
        .or_else(|| {
            ["codec", "ptime", "T.38", "audio-player", "media-echo"]
                .into_iter()
                .find(|key| request.contains_key(key.as_bytes()))
                .map(str::to_owned)
        });
    refused.map_or(Ok(()), |what| Err(Refusal::Unsupported(what)))
}

fn text<'a>(request: &'a Dictionary, key: &'static str) -> Result<&'a [u8], Refusal> {
    request
        .get(key.as_bytes())
        .and_then(Value::text)
        .ok_or(Refusal::Missing(key))
}

fn dictionary<const N: usize>(entries: [(&str, Value); N]) -> Dictionary {
    entries
        .into_iter()
        .map(|(key, value)| (key.as_bytes().to_vec(), value))
        .collect()
}
