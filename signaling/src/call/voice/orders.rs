//! The words of the interpreter in those of mediad, and back.

use ::control::media::{
    self as media, Audio, AudioTrouble, Listen, NewStream, Pause, Play, Side, StreamTrouble,
    VoiceEvent, VoiceOrder,
};
use voice::{
    call::{self, Event, Heard, LegId, MediaError, Source, StreamError},
    sid::Sid,
    twiml::{Recognition, Tracks},
};

/// Where things are asked for, and in whose name.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) account: Sid,
    /// Only public addresses are asked.
    pub(super) public: bool,
}

impl Terms {
    /// Something to play to a side.
    pub(super) fn play(&self, job: u32, hears: Side, source: Source, loops: u32) -> VoiceOrder {
        let audio = match source {
            Source::Say(say) => Audio::Speech {
                ssml: say.ssml.is_some(),
                text: say.ssml.unwrap_or(say.text),
                language: say.language,
                voice: say.voice.unwrap_or_default(),
            },
            Source::File(url) => Audio::Url {
                url,
                public: self.public,
            },
            Source::Digits(digits) => Audio::Keys(digits),
        };
        VoiceOrder::Play(Play {
            job,
            hears,
            audio,
            loops,
            start: 0,
            limit_ms: 0,
        })
    }

    /// What somebody says is to be understood.
    pub(super) fn listen(
        &self,
        of: &Sid,
        (job, side): (u32, Side),
        recognition: Recognition,
        partials: bool,
    ) -> VoiceOrder {
        let millis =
            |time: std::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        VoiceOrder::Listen(Box::new(Listen {
            job,
            side,
            account_sid: self.account.as_str().to_owned(),
            call_sid: of.as_str().to_owned(),
            language: recognition.language,
            hints: recognition.hints,
            model: recognition.model,
            profanity_filter: recognition.profanity_filter,
            speech_timeout_ms: recognition.speech_timeout.map(millis),
            max_speech_ms: millis(recognition.max_speech_time),
            partials,
        }))
    }

    /// A stream of the party's audio.
    pub(super) fn stream(&self, of: &Sid, stream: call::NewStream) -> VoiceOrder {
        VoiceOrder::Stream(Box::new(NewStream {
            job: stream.job.number(),
            side: Side::A,
            account_sid: self.account.as_str().to_owned(),
            call_sid: of.as_str().to_owned(),
            stream_sid: stream.sid.as_str().to_owned(),
            url: stream.url,
            public: self.public,
            inbound: stream.tracks != Tracks::Outbound,
            outbound: stream.tracks != Tracks::Inbound,
            bidirectional: stream.bidirectional,
            parameters: stream.parameters,
            audio_format: stream.audio_format,
            sample_rate: stream.sample_rate,
            signature: stream.signature,
        }))
    }
}

/// The ringing tone.
pub(super) fn ringback(job: u32, hears: Side, country: Option<String>) -> VoiceOrder {
    VoiceOrder::Play(Play {
        job,
        hears,
        audio: Audio::Ringback(country.unwrap_or_default()),
        loops: 0,
        start: 0,
        limit_ms: 0,
    })
}

pub(super) const fn pause(how: call::Pause) -> Pause {
    match how {
        call::Pause::Silence => Pause::Silence,
        call::Pause::Skip => Pause::Skip,
        call::Pause::Resume => Pause::Resume,
    }
}

/// What happened in a session, for the call, of which `leg_of` knows who is at a side.
pub(super) fn event_of(event: VoiceEvent, leg_of: impl Fn(Side) -> Option<LegId>) -> Option<Event> {
    Some(match event {
        VoiceEvent::Digit { side, digit } => Event::Digit {
            leg: leg_of(side)?,
            digit,
        },
        VoiceEvent::Played { job, result } => Event::Played {
            job: job.into(),
            result: result.map_err(trouble),
        },
        VoiceEvent::Heard { job, heard } => Event::Heard {
            job: job.into(),
            heard: understood(heard),
        },
        VoiceEvent::StreamStarted { job } => Event::StreamStarted { job: job.into() },
        VoiceEvent::StreamEnded { job, result } => Event::StreamEnded {
            job: job.into(),
            result: result.map_err(stream_trouble),
        },
        VoiceEvent::RecordingStarted { .. }
        | VoiceEvent::Recorded { .. }
        | VoiceEvent::StreamWarning { .. } => return None,
    })
}

fn understood(heard: media::Heard) -> Heard {
    match heard {
        media::Heard::Speaking => Heard::Speaking,
        media::Heard::Partial { stable, unstable } => Heard::Partial { stable, unstable },
        media::Heard::Final { text, confidence } => Heard::Final { text, confidence },
        media::Heard::Failed(why) => Heard::Failed(why),
    }
}

pub(super) fn trouble(trouble: AudioTrouble) -> MediaError {
    match trouble {
        AudioTrouble::Fetch(why) => MediaError::Fetch(why),
        AudioTrouble::Format(why) => MediaError::Format(why),
        AudioTrouble::Speech(why) => MediaError::Speech(why),
        AudioTrouble::Engine(why) => MediaError::Engine(why),
    }
}

const fn stream_trouble(trouble: StreamTrouble) -> StreamError {
    match trouble {
        StreamTrouble::Timeout => StreamError::Timeout,
        StreamTrouble::Tls => StreamError::Tls,
        StreamTrouble::Handshake(status) => StreamError::Handshake(status),
        // Twilio has no word for an address that is not asked: to its author the server cannot be reached.
        StreamTrouble::Refused => StreamError::Timeout,
        // Nor for a call whose audio cannot be streamed.
        StreamTrouble::Protocol | StreamTrouble::Media => StreamError::Protocol,
    }
}
