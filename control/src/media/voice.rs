//! What a session's parties hear of this node, and what it hears of them: programmable voice.
//!
//! A session for it is made like any other, with the party as [`Side::A`] and nobody as [`Side::B`] until somebody is
//! dialled. Its parties are apart ([`VoiceOrder::Join`]) until they are joined; then, where nothing is played,
//! recorded, streamed or attended to any more, their packets take the fast path as those of any call do.
//!
//! What is begun is a job, whose number the client chose and uses once in the session. A job that was begun already
//! is not begun again, and one that is over is stopped without an error, so that orders can be repeated.

use serde::{Deserialize, Serialize};

use super::{SessionId, Side};

/// Orders to a session, which are done in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// The session.
    pub id: SessionId,
    /// What is to be done. An order that cannot be done has an event that says so; the others are done all the same.
    pub orders: Vec<VoiceOrder>,
}

/// Something to be done in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoiceOrder {
    /// The session is one of programmable voice: its parties are apart, and a single one of them is enough to expect
    /// media.
    Attach,
    /// Let the parties hear each other, or no longer.
    Join(bool),
    /// The party of a side is gone: its description and its source are forgotten, and its port waits for another one.
    Vacate(Side),
    /// Tell of the telephone keys that the parties press ([`VoiceEvent::Digit`]), or do so no longer.
    Attend(bool),
    /// Play to a party, in the place of what it hears else. What is played to it already is stopped.
    Play(Play),
    /// Record; [`VoiceEvent::RecordingStarted`] and [`VoiceEvent::Recorded`] follow.
    Record(VoiceRecord),
    /// Record silence in the place of what is said, or leave it out, or go on.
    Pause {
        /// The recording.
        job: u32,
        /// How.
        how: Pause,
    },
    /// Stream to a WebSocket server; [`VoiceEvent::StreamStarted`] and [`VoiceEvent::StreamEnded`] follow.
    Stream(Box<NewStream>),
    /// Have what a party says understood; [`VoiceEvent::Heard`] follows, of which the last is final or failed.
    Listen(Box<Listen>),
    /// End a job. A recording has its [`VoiceEvent::Recorded`] all the same; of others no event follows.
    Stop {
        /// Which.
        job: u32,
    },
}

/// Something to play.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {
    /// To be stopped by. [`VoiceEvent::Played`] follows.
    pub job: u32,
    /// Who hears it.
    pub hears: Side,
    /// What.
    pub audio: Audio,
    /// How often; 0 is until it is stopped.
    pub loops: u32,
    /// Where the first round begins, in samples of the file at its own rate; behind its end nothing of it is heard.
    pub start: u32,
    /// It ends after so many milliseconds, however many rounds are left; 0 for no limit.
    pub limit_ms: u32,
}

/// What is played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audio {
    /// A file on mediad's machine: WAV or MP3.
    File(String),
    /// A file at an `http:` or `https:` URL, which is kept for as long as its server allows.
    Url {
        /// Absolute.
        url: String,
        /// Only at a public address.
        public: bool,
    },
    /// A text, said by the speech endpoint of `[voice] speech`.
    Speech {
        /// What: plain text, or SSML where `ssml` is set.
        text: String,
        /// The text is the content of SSML's `<speak>`.
        ssml: bool,
        /// Such as `en-US`.
        language: String,
        /// As the author named it; empty for the endpoint's own.
        voice: String,
    },
    /// Telephone keys: `0`-`9`, `A`-`D`, `*`, `#`, and `w` for half a second of silence. As RTP events where the party
    /// takes them, else as tones.
    Keys(String),
    /// The ringing tone of a country, in two letters; empty for North America's.
    Ringback(String),
}

/// Something to record, to a WAV file in the folder of `[media] recordings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceRecord {
    /// To be stopped by.
    pub job: u32,
    /// The file's name without its ending: letters, digits, `-` and `_`.
    pub name: String,
    /// Whose side is recorded.
    pub side: Side,
    /// What the party says.
    pub says: bool,
    /// What it hears.
    pub hears: bool,
    /// 1, or 2 where what it says is left and what it hears is right.
    pub channels: u8,
    /// Silence of the party that ends it, in milliseconds; `None` never does.
    pub silence_ms: Option<u32>,
    /// A tone for the party first.
    pub beep: bool,
    /// Cut silence from both ends.
    pub trim: bool,
}

/// How a recording is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pause {
    /// Silence takes its time in the file.
    Silence,
    /// The time is left out.
    Skip,
    /// Go on.
    Resume,
}

/// A stream of Twilio's Media Streams protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStream {
    /// To be stopped by.
    pub job: u32,
    /// Whose side it is of.
    pub side: Side,
    /// `AC…`, `CA…` and `MZ…`, as the messages tell them.
    pub account_sid: String,
    /// Of the leg.
    pub call_sid: String,
    /// Of the stream.
    pub stream_sid: String,
    /// `ws:` or `wss:`, absolute.
    pub url: String,
    /// Only at a public address.
    pub public: bool,
    /// What the party says is sent.
    pub inbound: bool,
    /// What it hears is sent.
    pub outbound: bool,
    /// The server plays to the party.
    pub bidirectional: bool,
    /// For `customParameters`.
    pub parameters: Vec<(String, String)>,
    /// Such as `audio/x-mulaw`; `None` for that.
    pub audio_format: Option<String>,
    /// In Hz; `None` for 8,000.
    pub sample_rate: Option<u32>,
    /// Of the handshake: `X-Twilio-Signature`.
    pub signature: String,
}

/// Something to understand, by the endpoint of `[voice] hearing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// To be stopped by.
    pub job: u32,
    /// Who speaks.
    pub side: Side,
    /// `AC…`, as the endpoint is told.
    pub account_sid: String,
    /// `CA…`, as the endpoint is told.
    pub call_sid: String,
    /// Such as `en-US`.
    pub language: String,
    /// Words that are likely.
    pub hints: Vec<String>,
    /// The endpoint's model, where one is asked for.
    pub model: Option<String>,
    /// Mask words that are profane.
    pub profanity_filter: bool,
    /// Silence that ends an utterance, in milliseconds; `None` leaves it to the endpoint.
    pub speech_timeout_ms: Option<u32>,
    /// The longest utterance, in milliseconds.
    pub max_speech_ms: u32,
    /// What has been understood so far is wanted.
    pub partials: bool,
}

/// What an endpoint has understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// Somebody has begun to speak.
    Speaking,
    /// What has been understood so far.
    Partial {
        /// What will not change any more.
        stable: String,
        /// What may.
        unstable: String,
    },
    /// The utterance is over; an empty text is nothing understood.
    Final {
        /// What was said.
        text: String,
        /// How sure the endpoint is, in thousandths.
        confidence: u16,
    },
    /// It cannot be understood: why.
    Failed(String),
}

/// What happened in a session of programmable voice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoiceEvent {
    /// A key was pressed, and let go.
    Digit {
        /// By whom.
        side: Side,
        /// `0`-`9`, `A`-`D`, `*`, `#`.
        digit: char,
    },
    /// A [`VoiceOrder::Play`] has been played as often as was asked, or could not be.
    Played {
        /// Which.
        job: u32,
        /// How it went.
        result: Result<(), AudioTrouble>,
    },
    /// A [`VoiceOrder::Listen`] has something.
    Heard {
        /// Which.
        job: u32,
        /// What.
        heard: Heard,
    },
    /// A recording has begun: after its beep, for one.
    RecordingStarted {
        /// Which.
        job: u32,
    },
    /// A recording is over, and its file is complete.
    Recorded {
        /// Which.
        job: u32,
        /// Milliseconds of audio and octets of file; no file where there are none.
        result: Result<Recorded, AudioTrouble>,
    },
    /// A stream's server has accepted it.
    StreamStarted {
        /// Which.
        job: u32,
    },
    /// A stream is over without having been stopped.
    StreamEnded {
        /// Which.
        job: u32,
        /// The server closed it, or why it failed.
        result: Result<(), StreamTrouble>,
    },
    /// A stream goes on, but its server does, or suffers, what it should not.
    StreamWarning {
        /// Which.
        job: u32,
        /// Twilio's code: 31930 where audio is discarded since the server is slow, 31950 and 31951 for what it sends.
        code: u16,
        /// What it was.
        text: String,
    },
}

/// What became of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Length, in milliseconds.
    pub ms: u64,
    /// Size of the file, in octets.
    pub octets: u64,
    /// The silence or a key of the party ended it, not an order.
    pub by_itself: bool,
}

/// Why something was not played, or recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AudioTrouble {
    /// It could not be fetched.
    Fetch(String),
    /// It is no audio that can be played.
    Format(String),
    /// It could not be said.
    Speech(String),
    /// The session's formats, its folder or this engine are in the way.
    Engine(String),
}

/// Why a stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamTrouble {
    /// No connection in time.
    Timeout,
    /// The handshake of TLS failed.
    Tls,
    /// Another status than 101.
    Handshake(u16),
    /// What came is no WebSocket, or the connection broke.
    Protocol,
    /// The address is not one that may be asked.
    Refused,
    /// The party's media is encrypted or no G.711, or the party has too many streams.
    Media,
}
