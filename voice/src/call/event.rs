//! What the host tells a call.

use std::time::Duration;

use super::{JobId, LegId, RequestId};
use crate::twiml::Link;

/// Something that happened. What is about a leg, a job or a request that is over already is ignored, so a host
/// need not keep track of what crossed on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A webhook has answered, or will not.
    Response {
        /// Which request.
        id: RequestId,
        /// What came of it.
        result: Result<Response, RequestError>,
    },
    /// Who is being called rings.
    Ringing {
        /// The called.
        leg: LegId,
    },
    /// Who was called has answered. Of a call that came in nothing is reported: it is answered by
    /// [`super::Action::Answer`].
    Answered {
        /// The called.
        leg: LegId,
    },
    /// A leg is over without our having ended it.
    Ended {
        /// Which; with [`LegId::PARTY`] the whole call is over.
        leg: LegId,
        /// Why.
        cause: Cause,
        /// The final response of its INVITE, where it was not 2xx.
        sip_status: Option<u16>,
    },
    /// A key was pressed, and let go.
    Digit {
        /// By whom.
        leg: LegId,
        /// `0`-`9`, `*`, `#`; others are ignored.
        digit: char,
    },
    /// A [`super::Action::Play`] has been played as often as was asked, or could not be. Not told of one that was
    /// stopped.
    Played {
        /// Which.
        job: JobId,
        /// How it went.
        result: Result<(), MediaError>,
    },
    /// A [`super::Action::Listen`] has something.
    Heard {
        /// Which.
        job: JobId,
        /// What.
        heard: Heard,
    },
    /// A [`super::Action::Record`] has begun to record: after its beep, for one.
    RecordingStarted {
        /// Which.
        job: JobId,
    },
    /// A recording is over, by itself, by [`super::Action::StopRecording`] or with its leg, and can be fetched.
    Recorded {
        /// Which.
        job: JobId,
        /// Its length after trimming, which is 0 where there was nothing to record.
        result: Result<Duration, MediaError>,
    },
    /// A stream's server has accepted it.
    StreamStarted {
        /// Which.
        job: JobId,
    },
    /// A stream is over without our having closed it.
    StreamEnded {
        /// Which.
        job: JobId,
        /// The server closed it, or why it failed.
        result: Result<(), StreamError>,
    },
    /// How a [`super::Action::Refer`] went.
    Referred {
        /// Which.
        job: JobId,
        /// The response to the REFER; `None` where none came.
        response: Option<u16>,
        /// The last status that a NOTIFY told; `None` where none came in time.
        notified: Option<u16>,
        /// The party has taken the REFER and tells no more: it has said so (RFC 4488), or has hung up.
        untold: bool,
    },
    /// How a [`super::Action::Send`] went.
    Sent {
        /// Which.
        job: JobId,
        /// The reason why it was refused, in words.
        result: Result<(), String>,
    },
    /// The REST API changes what the call does.
    Update(Update),
}

/// What a webhook answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// HTTP's. Redirections are not followed by the host: the call does.
    pub status: u16,
    /// Content-Type, where there is one.
    pub content_type: Option<String>,
    /// Location, where there is one.
    pub location: Option<String>,
    /// The body, of which no more is needed than [`crate::twiml::MAX_DOCUMENT`] and one byte.
    pub body: Vec<u8>,
}

/// Why a webhook did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Its name leads nowhere.
    #[error("its host name leads to no address")]
    Host,
    /// No connection, or not in time.
    #[error("no connection could be made to it in time: is it reachable from this node?")]
    Connect,
    /// The handshake of TLS failed.
    #[error("TLS with it failed: is its certificate valid for the host?")]
    Tls,
    /// Connected, and no response in time.
    #[error("it did not answer in time")]
    Timeout,
    /// What came is no HTTP.
    #[error("what it answered is no HTTP")]
    Protocol,
    /// The host has not asked: too much is under way, or the address is not one that may be asked.
    #[error("this node did not ask it: the address is not allowed, or too much is under way")]
    Refused,
}

/// Why a leg is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It hung up.
    HungUp,
    /// It is busy.
    Busy,
    /// It did not answer in time.
    NoAnswer,
    /// It cannot be reached, or something broke.
    Failed,
    /// It was called off before it answered.
    Canceled,
}

/// What an endpoint that understands speech has.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The utterance is over. Empty text is nothing understood.
    Final {
        /// What was said.
        text: String,
        /// How sure the endpoint is, in thousandths.
        confidence: u16,
    },
    /// It cannot listen.
    Failed(String),
}

/// Why something could not be played, or recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The file could not be fetched.
    #[error("it could not be fetched: {0}")]
    Fetch(String),
    /// The file is none that can be played.
    #[error("it is no audio that can be played: {0}")]
    Format(String),
    /// The text could not be said.
    #[error("the text could not be said: {0}")]
    Speech(String),
    /// Something of the node's own.
    #[error("the media engine could not: {0}")]
    Engine(String),
}

/// Why a stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// No connection in time.
    #[error("its server did not answer in time")]
    Timeout,
    /// The handshake of TLS failed.
    #[error("TLS with its server failed")]
    Tls,
    /// Another status than 101.
    #[error("its server refused the handshake with {0}")]
    Handshake(u16),
    /// What came is no WebSocket.
    #[error("its server broke the protocol")]
    Protocol,
}

/// What the REST API may ask of a call in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Go on with the document of this absolute URL.
    Redirect(Link),
    /// Go on with this document.
    Document(String),
    /// Hang up.
    Complete,
    /// Go on by other terms.
    Terms(Terms),
}

/// What may be changed of a call that goes on as it does; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Who is asked where a document cannot be had.
    pub fallback: Option<Link>,
    /// Who is told how the call goes, of the same steps as before.
    pub status: Option<Link>,
    /// The longest that the call may last, from its answer on.
    pub time_limit: Option<Duration>,
}
