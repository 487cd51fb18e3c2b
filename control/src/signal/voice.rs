//! Calls under the control of documents, as the REST API asks for them.

use serde::{Deserialize, Serialize};

use super::Secret;

/// What is asked of programmable voice. SIDs are Twilio's: two letters and 32 hex digits, of which those of a call are
/// its id ([`super::CallInfo::id`]) without dashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoiceOrder {
    /// Call somebody and run documents; answered with [`VoiceDone::Queued`].
    Call(Box<VoiceCall>),
    /// Send a message; answered with [`VoiceDone::Message`].
    Message(Box<VoiceMessage>),
    /// Change what a call does; answered with [`VoiceDone::Done`], or with
    /// [`FaultCode::Conflict`](crate::FaultCode) where it is not in progress.
    Update {
        /// The call's.
        call: String,
        /// How.
        update: VoiceUpdate,
    },
    /// Begin a stream of a call; answered with [`VoiceDone::Sid`], the stream's.
    Stream {
        /// The call's.
        call: String,
        /// Which.
        stream: Box<VoiceStream>,
    },
    /// End a stream of a call; answered with [`VoiceDone::Sid`], the stream's.
    StopStream {
        /// The call's.
        call: String,
        /// The stream's SID or name.
        stream: String,
    },
    /// Begin a recording of a call; answered with [`VoiceDone::Sid`], the recording's.
    Record {
        /// The call's.
        call: String,
        /// How.
        recording: Box<VoiceRecording>,
    },
    /// Pause, resume or stop a recording; answered with [`VoiceDone::Sid`], the recording's.
    ChangeRecording {
        /// The call's.
        call: String,
        /// The recording's SID, or `Twilio.CURRENT`.
        recording: String,
        /// What to do.
        change: RecordingChange,
    },
}

/// Somebody to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceCall {
    /// The account's SID.
    pub account: String,
    /// Whom: a number, `client:name` or `sip:user@host`, which may have headers behind `?`.
    pub to: String,
    /// Who calls, written likewise.
    pub from: String,
    /// What it does once it is answered.
    pub entry: VoiceEntry,
    /// Asked where a document cannot be had.
    pub fallback: Option<VoiceLink>,
    /// Told how the call goes.
    pub status: Option<VoiceLink>,
    /// Of what it is told: `initiated`, `ringing`, `answered`, `completed`; the last one where this is empty.
    pub status_events: Vec<String>,
    /// For how long it rings at most, 1 to 600 s.
    pub ring_timeout_s: u32,
    /// For how long it may last, in seconds; `None` for four hours.
    pub time_limit_s: Option<u32>,
    /// Keys to press once it is answered, before anything else.
    pub send_digits: Option<String>,
    /// It is recorded from the answer on.
    pub record: Option<Box<VoiceRecording>>,
    /// For a SIP party that asks who calls.
    pub auth: Option<(String, Secret)>,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceMessage {
    /// The account's SID.
    pub account: String,
    /// To whom: a number, `client:name` or `sip:user@host`.
    pub to: String,
    /// From whom, written likewise.
    pub from: String,
    /// The text, of 1,600 characters at most.
    pub body: String,
    /// An absolute URL that is told, by POST, what becomes of it.
    pub status_callback: Option<String>,
}

/// Where the first document comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoiceEntry {
    /// From a webhook.
    Url(VoiceLink),
    /// This one.
    Document(String),
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceLink {
    /// Absolute.
    pub url: String,
    /// By POST, else by GET.
    pub post: bool,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoiceUpdate {
    /// It goes on otherwise, in what is given.
    Change {
        /// With another document.
        entry: Option<VoiceEntry>,
        /// As in [`VoiceCall`].
        fallback: Option<VoiceLink>,
        /// As in [`VoiceCall`]; of the same steps as before.
        status: Option<VoiceLink>,
        /// For how long it may last, in seconds from its answer on.
        time_limit_s: Option<u32>,
    },
    /// It ends, whatever its state.
    Complete,
    /// It ends where it is queued or ringing.
    Cancel,
}

/// A stream to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceStream {
    /// `ws:` or `wss:`.
    pub url: String,
    /// What its author calls it; its SID where this is empty.
    pub name: String,
    /// What the party says is sent.
    pub inbound: bool,
    /// What it hears is sent.
    pub outbound: bool,
    /// Told how it goes.
    pub status: Option<VoiceLink>,
    /// For its first message.
    pub parameters: Vec<(String, String)>,
}

/// A recording to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceRecording {
    /// 1, or 2 where each party has a channel of its own.
    pub channels: u8,
    /// What the party says.
    pub inbound: bool,
    /// What it hears.
    pub outbound: bool,
    /// Cut silence from both ends.
    pub trim: bool,
    /// Told how it goes.
    pub status: Option<VoiceLink>,
    /// Of what it is told: `in-progress`, `completed`, `absent`; the second where this is empty.
    pub status_events: Vec<String>,
}

/// What becomes of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordingChange {
    /// Silence takes its place meanwhile, or with `skip` nothing does.
    Pause {
        /// Leave the time out.
        skip: bool,
    },
    /// Go on.
    Resume,
    /// End it.
    Stop,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoiceDone {
    /// The call will be made.
    Queued {
        /// The call's.
        sid: String,
        /// How long it waits for those before it, in milliseconds.
        queue_ms: u64,
    },
    /// The message is sent.
    Message {
        /// The message's.
        sid: String,
        /// Messages of a mobile network that it would be.
        segments: u32,
    },
    /// The SID of what was made or changed.
    Sid(String),
    /// It was done.
    Done,
}
