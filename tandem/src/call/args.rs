//! The command lines of `tandem call` and `tandem answer`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{
    agent::Codec,
    media::{Recorder, Source},
    target::Proxy,
};
use crate::{exit::Failure, starter};

/// The tone that is sent where nothing else is asked for, in Hz.
const TONE: u16 = 440;

/// Calls a SIP URI, plays a tone or a file, and shows what comes back.
#[derive(Args, Debug)]
#[command(
    after_help = "Ctrl-C hangs up (CANCEL while it rings, BYE after), a second one leaves at once.

Exit code 0: answered, and audio came; 3: not answered (refused, busy, no response, given up);
4: answered, and no audio came; 1: the call could not be tried; 130: Ctrl-C before the answer.

Examples:
  tandem call sip:100@127.0.0.1
  tandem call sip:+15550100@gw.example.com --proxy 192.0.2.1:5060;transport=tcp
  tandem call sip:100@127.0.0.1 --play speech.wav --record heard.wav --json"
)]
pub(crate) struct CallArgs {
    /// Whom to call: sip:USER@HOST[:PORT][;transport=tcp]
    #[arg(value_name = "URI")]
    pub(super) uri: String,
    /// Who calls: a SIP URI, or only its user part [default: sip:tandem@LOCAL_IP]
    #[arg(long, value_name = "URI|USER")]
    pub(super) from: Option<String>,
    /// Where the INVITE goes, instead of the URI's host
    #[arg(long, value_name = "HOST:PORT[;transport=tcp]")]
    pub(super) proxy: Option<Proxy>,
    /// The address of this end; port 0 for any [default: the one that leads there, any port]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) local: Option<SocketAddr>,
    /// Hang up so long after the answer [default: the file's length with --play, else 10]
    #[arg(long, value_name = "SECONDS")]
    pub(super) duration: Option<u64>,
    /// Give up where nobody answers in time
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) give_up: u64,
    #[command(flatten)]
    pub(super) audio: AudioArgs,
    /// Print the result as JSON, and nothing else
    #[arg(long)]
    pub(super) json: bool,
}

/// Waits for calls and answers them: a callee for first steps and for tests.
#[derive(Args, Debug)]
#[command(
    after_help = "One call at a time; a second caller hears that it is busy (486). Ctrl-C hangs up and leaves.

Exit code 0: audio came in every call; 4: not in every call; 1: it could not listen.

Examples:
  tandem answer --echo
  tandem answer --listen 192.0.2.1:5060 --play prompt.wav --record heard.wav --calls 1"
)]
pub(crate) struct AnswerArgs {
    /// Where calls come in, over UDP and TCP
    #[arg(long, value_name = "IP:PORT", default_value = starter::TRUNK)]
    pub(super) listen: SocketAddr,
    /// Ring for so long before answering
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(super) ring: u64,
    /// Hang up so long after the answer [default: the caller hangs up]
    #[arg(long, value_name = "SECONDS")]
    pub(super) duration: Option<u64>,
    /// Leave after so many calls [default: after Ctrl-C]
    #[arg(long, value_name = "COUNT")]
    pub(super) calls: Option<u64>,
    /// Send back what is heard
    #[arg(long, conflicts_with_all = ["play", "tone"])]
    pub(super) echo: bool,
    #[command(flatten)]
    pub(super) audio: AudioArgs,
    /// Print each call's result as one line of JSON, and nothing else
    #[arg(long)]
    pub(super) json: bool,
}

/// What is played and recorded.
#[derive(Args, Debug)]
pub(super) struct AudioArgs {
    /// Play a WAV file of 8,000 samples a second, then silence
    #[arg(long, value_name = "FILE.wav", conflicts_with = "tone")]
    play: Option<PathBuf>,
    /// Play a tone [default: 440]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u16).range(1..4000))]
    tone: Option<u16>,
    /// Record what is heard to a WAV file; lost packets become silence
    #[arg(long, value_name = "FILE.wav")]
    pub(super) record: Option<PathBuf>,
    /// Speak only pcmu or pcma [default: both, pcmu preferred]
    #[arg(long, value_name = "pcmu|pcma")]
    codec: Option<Codec>,
}

impl AudioArgs {
    /// What to send.
    pub(super) fn source(&self) -> Result<Source, Failure> {
        match &self.play {
            Some(path) => Source::wav(path),
            None => Ok(Source::tone(self.tone.unwrap_or(TONE))),
        }
    }

    /// Where to record to.
    pub(super) fn recorder(&self) -> Result<Option<Recorder>, Failure> {
        self.record.as_deref().map(Recorder::create).transpose()
    }

    /// What to speak, the best first.
    pub(super) fn codecs(&self) -> Vec<Codec> {
        self.codec
            .map_or_else(|| Codec::ALL.to_vec(), |codec| vec![codec])
    }
}
