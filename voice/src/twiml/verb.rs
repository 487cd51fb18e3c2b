//! What a document may ask for, with the defaults of Twilio's documentation.

use std::time::Duration;

use super::dial::Dial;

/// One step of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Something for the party to hear: `<Say>`, `<Play>` or `<Pause>`.
    Prompt(Prompt),
    /// Wait for digits or speech.
    Gather(Box<Gather>),
    /// Call somebody and connect the two.
    Dial(Box<Dial>),
    /// Record the party.
    Record(Box<Record>),
    /// Go on with another document.
    Redirect(Link),
    /// Refuse the call, where it is not answered yet.
    Reject(RejectReason),
    /// Have the party call somebody else.
    Refer(Refer),
    /// End the call.
    Hangup,
    /// `<Start><Stream>`: copy the call's audio to a WebSocket, and go on at once.
    StartStream(Stream),
    /// `<Stop><Stream>`: end the stream of this name.
    StopStream(String),
    /// `<Connect><Stream>`: give the call to a WebSocket until that is closed.
    Connect(Connect),
    /// Send a message.
    Message(Message),
}

/// How a URL is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Method {
    /// Parameters in the query.
    Get,
    /// Parameters in the body.
    #[default]
    Post,
}

/// A reference to a webhook, as it stands in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// May be relative to the document; empty is the document itself.
    pub url: String,
    /// How it is asked.
    pub method: Method,
}

/// Something to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A text.
    Say(Say),
    /// A file.
    Play {
        /// May be relative to the document.
        url: String,
        /// How often; 0 is for ever.
        loops: u32,
    },
    /// Tones: `0`-`9`, `A`-`D`, `*`, `#`, and `w` for half a second of silence.
    Digits {
        /// The tones.
        digits: String,
        /// How often; 0 is for ever.
        loops: u32,
    },
    /// Silence.
    Pause(Duration),
}

/// A text to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Say {
    /// The text without markup.
    pub text: String,
    /// The same with its SSML elements, to be put into `<speak>`; where there is any.
    pub ssml: Option<String>,
    /// The voice's name, where one is asked for.
    pub voice: Option<String>,
    /// A language tag.
    pub language: String,
    /// How often; 0 is for ever.
    pub loops: u32,
}

/// Wait for digits or speech.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    /// Digits count.
    pub dtmf: bool,
    /// Speech counts.
    pub speech: bool,
    /// Who is told; the document itself unless told.
    pub action: Link,
    /// Without anything new for as long, it is over.
    pub timeout: Duration,
    /// It is over with so many digits.
    pub num_digits: Option<usize>,
    /// It is over with any of these digits, which is not among the result.
    pub finish_on_key: String,
    /// The action is asked where there was nothing, too.
    pub action_on_empty: bool,
    /// What the party presses or says ends the prompts.
    pub barge_in: bool,
    /// What to hear meanwhile.
    pub prompts: Vec<Prompt>,
    /// How to listen.
    pub recognition: Recognition,
    /// Who is told what has been understood so far.
    pub partial: Option<Link>,
}

/// How speech is to be understood; for the endpoint that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognition {
    /// A language tag.
    pub language: String,
    /// Words and phrases that are likely: at most 500, of at most 100 characters.
    pub hints: Vec<String>,
    /// Silence that ends an utterance; `None` leaves it to the endpoint.
    pub speech_timeout: Option<Duration>,
    /// The longest utterance.
    pub max_speech_time: Duration,
    /// Mask words that are profane.
    pub profanity_filter: bool,
    /// The endpoint's model, where one is asked for.
    pub model: Option<String>,
}

/// Record the party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who is told; the document itself unless told.
    pub action: Link,
    /// Silence that ends it.
    pub timeout: Duration,
    /// Any of these digits ends it.
    pub finish_on_key: String,
    /// The longest recording.
    pub max_length: Duration,
    /// A tone when it begins.
    pub beep: bool,
    /// Cut silence from both ends.
    pub trim: bool,
    /// Who is told of the recording.
    pub callback: Option<RecordingCallback>,
}

/// Who is told of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingCallback {
    /// Where.
    pub link: Link,
    /// When it begins.
    pub in_progress: bool,
    /// When it can be fetched.
    pub completed: bool,
    /// When there was nothing to record.
    pub absent: bool,
}

/// What a refused caller is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RejectReason {
    /// 603.
    #[default]
    Rejected,
    /// 486.
    Busy,
}

/// Have the party call somebody else (REFER).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refer {
    /// A `sip:`, `sips:` or `tel:` URI.
    pub to: String,
    /// Who is told how it went.
    pub action: Option<Link>,
}

/// A media stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Unique within the call; the stream's SID unless told.
    pub name: Option<String>,
    /// The WebSocket's.
    pub url: String,
    /// Which directions are sent.
    pub tracks: Tracks,
    /// Told to the server with the first message.
    pub parameters: Vec<(String, String)>,
    /// Who is told when it starts, stops or fails.
    pub callback: Option<Link>,
    /// Such as `audio/x-mulaw`; G.711 µ-law unless told.
    pub audio_format: Option<String>,
    /// In Hz; 8000 unless told.
    pub sample_rate: Option<u32>,
}

/// Which directions of a call are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tracks {
    /// What the party says.
    #[default]
    Inbound,
    /// What the party hears.
    Outbound,
    /// Each on its own.
    Both,
}

impl Tracks {
    /// The words for what is recorded.
    pub(crate) const RECORDED: [(&str, Self); 3] = [
        ("both", Self::Both),
        ("inbound", Self::Inbound),
        ("outbound", Self::Outbound),
    ];

    /// As callbacks and the REST API write it of recordings.
    pub const fn recorded(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Both => "both",
        }
    }

    /// How many copies of audio they are.
    pub const fn count(self) -> usize {
        match self {
            Self::Inbound | Self::Outbound => 1,
            Self::Both => 2,
        }
    }
}

/// Give the call to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The stream, of both directions.
    pub stream: Stream,
    /// Who is asked when it has ended; the next verb follows where there is none.
    pub action: Option<Link>,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// To whom; the calling party unless told.
    pub to: Option<String>,
    /// From whom; the called number unless told.
    pub from: Option<String>,
    /// The text.
    pub body: String,
    /// URLs of what is attached.
    pub media: Vec<String>,
    /// Who is asked when it has been sent or refused; the next verb follows where there is none.
    pub action: Option<Link>,
    /// Who is told what becomes of it.
    pub status_callback: Option<String>,
}
