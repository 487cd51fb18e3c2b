//! What a call has its host do.

use std::time::Duration;

use super::{JobId, LegId, RequestId};
use crate::{
    notice::Notice,
    sid::Sid,
    twiml::{Recognition, Say, Target, Tracks},
};

/// Something to do, at once and in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask a webhook. [`super::Event::Response`] follows.
    Request(Box<Request>),
    /// Nobody waits for this answer any more.
    CancelRequest(RequestId),
    /// Tell who calls that it rings (180).
    Ring,
    /// Answer who calls (200).
    Answer,
    /// Refuse who calls. The call is over.
    Refuse {
        /// The response.
        sip_status: u16,
    },
    /// End a leg: BYE, or CANCEL where it has not answered. Nothing more is wanted of it, and what is played to it
    /// or recorded of it ends with it. With [`LegId::PARTY`] the call is over.
    HangUp {
        /// Which.
        leg: LegId,
    },
    /// Have a leg hear something, which begins at once. [`super::Event::Played`] follows.
    Play {
        /// To be stopped by.
        job: JobId,
        /// Who hears it.
        leg: LegId,
        /// What.
        source: Source,
        /// How often; 0 is until it is stopped.
        loops: u32,
    },
    /// Have a leg hear the ringing tone until it is stopped.
    Ringback {
        /// To be stopped by.
        job: JobId,
        /// Who hears it.
        leg: LegId,
        /// Whose tone: a country in two letters, where it was asked for.
        country: Option<String>,
    },
    /// Understand what a leg says. [`super::Event::Heard`] follows, of which the last is final or failed.
    Listen {
        /// To be stopped by.
        job: JobId,
        /// Who speaks.
        leg: LegId,
        /// How.
        recognition: Box<Recognition>,
        /// Whether what has been understood so far is wanted.
        partials: bool,
    },
    /// End a [`Action::Play`], [`Action::Ringback`] or [`Action::Listen`], with what is queued of it. Nothing more is
    /// wanted of it.
    Stop {
        /// Which.
        job: JobId,
    },
    /// Record. [`super::Event::Recorded`] follows.
    Record(Box<Recording>),
    /// End a recording. [`super::Event::Recorded`] follows all the same.
    StopRecording {
        /// Which.
        job: JobId,
    },
    /// Leave what is said out of a recording, or no longer.
    PauseRecording {
        /// Which.
        job: JobId,
        /// How.
        how: Pause,
    },
    /// Call somebody. Events of its leg follow.
    Call(Box<NewLeg>),
    /// Let the party and this leg hear each other until one of them is over.
    Bridge {
        /// The other one.
        leg: LegId,
    },
    /// Open a stream. [`super::Event::StreamStarted`] and [`super::Event::StreamEnded`] follow.
    OpenStream(Box<NewStream>),
    /// Close a stream. Nothing more is wanted of it. All streams close with the party's leg.
    CloseStream {
        /// Which.
        job: JobId,
    },
    /// Send the party a REFER. [`super::Event::Referred`] follows.
    Refer {
        /// Which.
        job: JobId,
        /// A `sip:`, `sips:` or `tel:` URI, with headers behind `?` where there are any.
        to: String,
    },
    /// Send a message. [`super::Event::Sent`] follows.
    Send(Box<NewMessage>),
    /// Something is wrong: for the account's debugger and the log.
    Notice(Notice),
}

/// A request to a webhook, or a message to an application's socket. The host follows no redirections and repeats nothing: the call does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// For the response.
    pub id: RequestId,
    /// `GET` or `POST`; the former of a socket, whose handshake is one.
    pub method: &'static str,
    /// Absolute, with its query and without a fragment. A user and password in it are for basic authentication.
    pub url: String,
    /// Names and values: the signature, the token of idempotency, and the type of the body.
    pub headers: Vec<(&'static str, String)>,
    /// Of a POST, or the message.
    pub body: Option<String>,
    /// Where `url` is a WebSocket's, whose handshake has the headers.
    pub exchange: Option<Exchange>,
    /// For name, connection and TLS.
    pub connect_timeout: Duration,
    /// From the request to the response. The call cancels what takes longer than all attempts may.
    pub read_timeout: Duration,
}

/// What is said on a socket that all calls of an account have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What the answer names. A message that is said again has the same.
    pub id: String,
    /// Whose calls the application may change by the socket.
    pub account: Sid,
    /// There is an answer, whose text is the response's body with `application/json` as its type. Else the response
    /// is there once the message is on its way.
    pub is_answered: bool,
}

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A text.
    Say(Box<Say>),
    /// A file at an absolute URL.
    File(String),
    /// Tones: `0`-`9`, `A`-`D`, `*`, `#`, and `w` for half a second of silence.
    Digits(String),
}

/// A recording to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// To be stopped by.
    pub job: JobId,
    /// What it is called.
    pub sid: Sid,
    /// Who is recorded.
    pub leg: LegId,
    /// What of it: what it says, what it hears, or both. Of a dialled call, what it hears is the other party.
    pub tracks: Tracks,
    /// 2 where each party has a channel of its own.
    pub channels: u8,
    /// Silence that ends it; `None` never does.
    pub silence: Option<Duration>,
    /// A tone first.
    pub beep: bool,
    /// Cut silence from both ends.
    pub trim: bool,
}

/// How a recording is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Silence takes the time in it.
    Silence,
    /// The time is left out.
    Skip,
    /// Go on.
    Resume,
}

/// Somebody to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLeg {
    /// For its events.
    pub leg: LegId,
    /// What it is called.
    pub sid: Sid,
    /// Who.
    pub target: Target,
    /// Who calls.
    pub from: String,
    /// For a client, to be told with the call.
    pub parameters: Vec<(String, String)>,
}

/// A stream to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStream {
    /// To be closed by.
    pub job: JobId,
    /// What it is called.
    pub sid: Sid,
    /// What its author calls it.
    pub name: String,
    /// The WebSocket's.
    pub url: String,
    /// Which directions are sent.
    pub tracks: Tracks,
    /// The server plays to the party too, and the call waits for its end.
    pub bidirectional: bool,
    /// For the first message.
    pub parameters: Vec<(String, String)>,
    /// Such as `audio/x-mulaw`, where it was asked for.
    pub audio_format: Option<String>,
    /// In Hz, where it was asked for.
    pub sample_rate: Option<u32>,
    /// Of the handshake: `X-Twilio-Signature`.
    pub signature: String,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// For what becomes of it.
    pub job: JobId,
    /// What it is called.
    pub sid: Sid,
    /// To whom.
    pub to: String,
    /// From whom.
    pub from: String,
    /// The text.
    pub body: String,
    /// Absolute URLs of what is attached.
    pub media: Vec<String>,
    /// Who is to be told what becomes of it: an absolute URL.
    pub status_callback: Option<String>,
}
