//! From a request to the calls, and to the answer's dictionary.

mod delete;
mod filter;
mod follow;
mod offer;
mod play;
mod publish;
mod query;
mod refused;
mod shown;
mod ssrc;
mod statistics;
mod subscribe;
mod treat;
mod watch;

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use control::{
    Client, config,
    media::{Handling, Media},
};
use ng::{
    Command, Dictionary, Encoding, Refused, Request, RequestError, Value, dictionary,
    frame::FrameError, verbs,
};
use prometheus::IntCounterVec;
use tokio::sync::watch::Receiver;
use tracing::info;

use self::{filter::Change, refused::Refusals, statistics::Counts};
use super::{
    call::{Totals, UnknownTags},
    calls::Calls,
    engine::{self, EngineError},
};

/// Calls beyond one for each port: of those, many have no media.
const SPARE_CALLS: usize = 10_000;

/// Answers requests.
#[derive(Debug)]
pub(super) struct Front {
    media: Client<Media>,
    calls: Calls,
    requests: IntCounterVec,
    counts: Counts,
    refused: Refusals,
    started: Instant,
    /// As it is now.
    config: Receiver<config::Media>,
    /// By which descriptions that were here before are known.
    mark: String,
    /// Names orders to the engine.
    orders: AtomicU64,
}

/// Why a request is refused, as its client is told. Where rtpengine has words for it, these are they.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(
        "Unrecognized command: mediad knows ping, offer, answer, delete, query, list, statistics, publish, \
             subscribe request, subscribe answer, unsubscribe, block, unblock, silence and unsilence media, \
             block and unblock DTMF, play and stop media, play DTMF, start, pause and stop recording"
    )]
    Unrecognized,
    #[error("'{command}' is not supported by mediad: {why}")]
    Unsupported {
        command: &'static str,
        why: &'static str,
    },
    #[error(transparent)]
    Options(#[from] Refused),
    #[error("there are too many calls: see [media] ports")]
    TooManyCalls,
    /// The client knows this answer, and asks another server.
    #[error("{0}")]
    LoadLimit(String),
    #[error("the call has too many branches")]
    TooManyBranches,
    #[error("Unknown call-id")]
    UnknownCall,
    #[error("From-tag given, but no such tag exists")]
    UnknownTag,
    /// By which key, and what it says.
    #[error("No party of the call has the {0} '{1}'")]
    UnknownParty(&'static str, String),
    #[error("To-tag given, but no such tag exists")]
    UnknownToTag,
    #[error(transparent)]
    Tags(#[from] UnknownTags),
    #[error("Failed to parse SDP: {0}")]
    Sdp(#[from] sip::sdp::SdpError),
    #[error("the answer has more m= lines than the offer")]
    MoreStreams,
    #[error("Call-ID not found or tags didn't match")]
    Fatal,
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Other(String),
}

type Answer = Result<Dictionary, Refusal>;

impl Refusal {
    /// Where there is no room for a call, a client that can go elsewhere is told so in the way that it knows.
    fn of_load(self, request: &Request) -> Self {
        let supports = request.get("supports").into_iter().flat_map(Value::texts);
        let mut supports = supports.map(<[u8]>::to_ascii_lowercase);
        let can_go =
            supports.any(|word| [b"load limit".as_slice(), b"load-limit"].contains(&&*word));
        let is_full = match &self {
            Self::TooManyCalls => true,
            Self::Engine(error) => error.is_full(),
            _ => false,
        };
        match can_go && is_full {
            true => Self::LoadLimit(self.to_string()),
            false => self,
        }
    }
}

impl Front {
    pub(super) fn new(
        media: Client<Media>,
        config: Receiver<config::Media>,
        requests: IntCounterVec,
    ) -> Self {
        let ports = config.borrow().ports.ports().len();
        Self {
            media,
            calls: Calls::new(ports + SPARE_CALLS),
            requests,
            counts: Counts::default(),
            refused: Refusals::default(),
            started: Instant::now(),
            config,
            mark: format!("{:012x}", rand::random::<u64>() >> 16),
            orders: AtomicU64::new(rand::random::<u64>() >> 1),
        }
    }

    /// How long a call may be silent; `None` for ever.
    fn timeout(&self) -> Option<Duration> {
        let seconds = self.config.borrow().timeout;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// How legs are treated unless a request says otherwise.
    fn handling(&self) -> Handling {
        self.config.borrow().handling(None, false)
    }

    /// Whether requests of `client`, which is not this machine, are answered.
    pub(super) fn allows(&self, client: IpAddr) -> bool {
        let allow = &self.config.borrow().ng_allow;
        allow.is_empty() || allow.iter().any(|block| block.contains(client))
    }

    /// Answers the request that `body` holds, in the encoding that it came in.
    pub(super) async fn answer(&self, body: &[u8]) -> Vec<u8> {
        let encoding = Encoding::of(body);
        let begun = Instant::now();
        let (name, result) = match Request::parse(encoding, body) {
            Ok(request) => {
                let result = self.dispatch(&request).await;
                self.counts
                    .note(request.command, begun.elapsed(), result.is_err());
                (Some(request.command.name()), result)
            }
            Err(error) => {
                self.counts.note(Command::Unknown, begun.elapsed(), true);
                (None, Err(error.into()))
            }
        };
        self.count(
            name.unwrap_or("none"),
            if result.is_ok() { "ok" } else { "error" },
        );
        let answer = result.unwrap_or_else(|refusal| {
            self.refused.say(name, &refusal);
            // A proxy that hears of a limit asks its next engine.
            let [result, reason] = match &refusal {
                Refusal::LoadLimit(_) => ["load limit", "message"],
                _ => ["error", "error-reason"],
            };
            dictionary([
                ("result", Value::from_text(result)),
                (reason, Value::from_text(refusal.to_string())),
            ])
        });
        encoded(encoding, answer)
    }

    /// The answer to what is no message, in the encoding that `body` looks like.
    pub(super) fn unread(&self, body: &[u8], error: FrameError) -> Vec<u8> {
        let refusal = Refusal::from(RequestError::from(error));
        self.refused.say(None, &refusal);
        let answer = dictionary([
            ("result", Value::from_text("error")),
            ("error-reason", Value::from_text(refusal.to_string())),
        ]);
        encoded(Encoding::of(body), answer)
    }

    /// Counts a request.
    pub(super) fn count(&self, command: &str, result: &str) {
        self.requests.with_label_values(&[command, result]).inc();
    }

    /// The metrics page of the engine.
    pub(super) async fn metrics(&self) -> Result<String, EngineError> {
        engine::metrics(&self.media).await
    }

    async fn dispatch(&self, request: &Request) -> Answer {
        let no = |why| {
            let command = request.command.name();
            Err(Refusal::Unsupported { command, why })
        };
        let is_known = request.command != Command::Unknown;
        let warnings = match request.command.has_options() || !is_known {
            true => Vec::new(),
            false => verbs::check(request)?,
        };
        let mut answer = match request.command {
            Command::Ping => Ok(dictionary([("result", Value::from_text("pong"))])),
            Command::Offer => {
                let offered = self.offer(request).await;
                offered.map_err(|refusal| refusal.of_load(request))
            }
            Command::Answer => self.take_answer(request).await,
            Command::Delete => self.delete(request).await,
            Command::Query => self.query(request).await,
            Command::List => self.list(request),
            Command::Statistics => self.statistics().await,
            Command::BlockMedia => self.filter(request, Change::Block(true)).await,
            Command::UnblockMedia => self.filter(request, Change::Block(false)).await,
            Command::SilenceMedia => self.filter(request, Change::Silence(true)).await,
            Command::UnsilenceMedia => self.filter(request, Change::Silence(false)).await,
            Command::BlockDtmf => self.filter(request, Change::Keys(true)).await,
            Command::UnblockDtmf => self.filter(request, Change::Keys(false)).await,
            Command::PlayMedia => self.play_media(request).await,
            Command::StopMedia => self.stop_media(request).await,
            Command::SubscribeRequest => self.subscribe(request).await,
            Command::SubscribeAnswer => self.subscribed(request).await,
            Command::Unsubscribe => self.unsubscribe(request).await,
            Command::Publish => self.publish(request).await,
            Command::PlayDtmf => self.play_dtmf(request).await,
            Command::StartRecording => self.start_recording(request).await,
            Command::PauseRecording => self.pause_recording(request, false).await,
            Command::StopRecording => {
                let ends = !request.has_flag("pause");
                self.pause_recording(request, ends).await
            }
            Command::StartForwarding | Command::StopForwarding => {
                no("record the call, or stream it by a <Stream> of a voice application")
            }
            Command::Connect | Command::Create | Command::CreateAnswer => {
                no("a session has two parties, which an offer and an answer name")
            }
            Command::Mesh | Command::InjectStart | Command::InjectStop => no("it does not mix"),
            Command::Transform => no("it does not transcode"),
            Command::Unknown => Err(Refusal::Unrecognized),
        }?;
        shown::warn(&warnings, &mut answer);
        let ok = || Value::from_text("ok");
        answer.entry(b"result".to_vec()).or_insert_with(ok);
        Ok(answer)
    }

    /// Notes that a call is over.
    fn ended(&self, call_id: &[u8], lasted: Duration, totals: Totals, why: &'static str) {
        self.counts.ended(lasted, totals, why);
        info!(
            call = %String::from_utf8_lossy(call_id),
            packets = totals.packets,
            reason = why,
            "an NG call has ended"
        );
    }

    /// Names something to play.
    fn job(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any number does that is new to its session"
        )]
        let job = self.order() as u32;
        job
    }

    fn order(&self) -> u64 {
        self.orders.fetch_add(1, Relaxed)
    }
}

fn encoded(encoding: Encoding, answer: Dictionary) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    encoding.encode(&Value::Dictionary(answer), &mut out);
    out
}

/// What flows carried, in rtpengine's words.
fn stats(totals: Totals) -> Value {
    Value::Dictionary(dictionary([
        ("packets", Value::from_number(totals.packets)),
        ("bytes", Value::from_number(totals.bytes)),
        ("errors", Value::from_number(totals.errors)),
    ]))
}
