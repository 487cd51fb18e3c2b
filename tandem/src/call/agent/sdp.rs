//! Our side of offer and answer (RFC 3264): one audio stream in G.711.

use std::{fmt::Write as _, net::SocketAddr, str::FromStr};

use sip::{
    message::Message,
    sdp::{Direction, Media, Sdp, SdpError, locate},
};

use super::Identity;

/// What we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::call) enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Codec {
    /// Both, in the order in which they are offered.
    pub(in crate::call) const ALL: [Self; 2] = [Self::Pcmu, Self::Pcma];

    /// The encoding name of `a=rtpmap`.
    pub(in crate::call) const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The static payload type (RFC 3551).
    pub(in crate::call) const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }
}

impl FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("'{text}' is no codec of this version; use pcmu or pcma"))
    }
}

/// Where audio goes, and whether it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::call) struct Plan {
    /// Where RTP goes.
    pub(in crate::call) remote: SocketAddr,
    /// Where RTCP goes.
    pub(in crate::call) rtcp: SocketAddr,
    /// What is sent.
    pub(in crate::call) codec: Codec,
    /// Under which payload type.
    pub(in crate::call) payload_type: u8,
    /// Whether the other side wants to receive.
    pub(in crate::call) send: bool,
    /// Whether the other side is going to send.
    pub(in crate::call) receive: bool,
}

/// Why a description leads to no audio.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MediaError {
    /// It cannot be read.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// There is none where one is due.
    #[error("the message has no SDP where an offer or an answer is due")]
    None,
    /// No stream in it is audio over plain RTP in G.711.
    #[error("no audio stream over plain RTP (RTP/AVP) in PCMU or PCMA is in the SDP")]
    NoAudio,
}

/// Our stream's description, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct LocalMedia {
    address: SocketAddr,
    codecs: Vec<Codec>,
    /// The session's number in `o=`: as good as any that two calls are unlikely to share.
    session: u32,
    version: u32,
    plan: Option<Plan>,
}

impl LocalMedia {
    pub(super) fn new(identity: &Identity) -> Self {
        Self {
            address: identity.media,
            codecs: identity.codecs.clone(),
            session: rand::random::<u32>() >> 1,
            version: 0,
            plan: None,
        }
    }

    /// Where audio goes, once both sides have spoken.
    pub(super) const fn plan(&self) -> Option<Plan> {
        self.plan
    }

    /// An offer: everything we speak, both ways.
    pub(super) fn offer(&mut self) -> String {
        let mut text = self.head();
        let types: Vec<_> = self.codecs.iter().map(|c| (*c, c.payload_type())).collect();
        self.stream(&mut text, "RTP/AVP", &types, Direction::SendRecv);
        text
    }

    /// Takes the answer to our offer in.
    pub(super) fn answered(&mut self, message: &Message) -> Result<Plan, MediaError> {
        let range = locate(message)?.ok_or(MediaError::None)?;
        let sdp = Sdp::parse(&message.body()[range])?;
        let media = sdp.media();
        let (_, plan) = self.choose(&media)?;
        self.plan = Some(plan);
        Ok(plan)
    }

    /// Our answer to an offer: the first stream that fits, all others refused.
    pub(super) fn answer(&mut self, message: &Message) -> Result<String, MediaError> {
        let range = locate(message)?.ok_or(MediaError::None)?;
        let sdp = Sdp::parse(&message.body()[range])?;
        let media = sdp.media();
        let (chosen, plan) = self.choose(&media)?;
        self.plan = Some(plan);
        let mut text = self.head();
        for (index, offered) in media.iter().enumerate() {
            if index == chosen {
                let direction = match (plan.send, plan.receive) {
                    (true, true) => Direction::SendRecv,
                    (true, false) => Direction::SendOnly,
                    (false, true) => Direction::RecvOnly,
                    (false, false) => Direction::Inactive,
                };
                let types = [(plan.codec, plan.payload_type)];
                self.stream(&mut text, offered.proto(), &types, direction);
            } else {
                let format = offered.formats().next().unwrap_or("0");
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "m={} 0 {} {format}\r\n",
                    offered.kind(),
                    offered.proto()
                );
            }
        }
        Ok(text)
    }

    /// The first usable audio stream and what follows from it.
    fn choose(&self, media: &[Media<'_, '_>]) -> Result<(usize, Plan), MediaError> {
        let mut error = MediaError::NoAudio;
        for (index, stream) in media.iter().enumerate() {
            let plain = ["RTP/AVP", "RTP/AVPF"].contains(&stream.proto());
            if stream.kind() != "audio" || stream.is_refused() || !plain {
                continue;
            }
            match self.plan_for(stream) {
                Ok(plan) => return Ok((index, plan)),
                Err(reason) => error = reason,
            }
        }
        Err(error)
    }

    fn plan_for(&self, stream: &Media<'_, '_>) -> Result<Plan, MediaError> {
        let found = stream.codecs().find_map(|offered| {
            let fits = offered.clock_rate == 8_000 && offered.channels == 1;
            let ours = self
                .codecs
                .iter()
                .find(|c| c.name().eq_ignore_ascii_case(offered.name));
            Some((*ours.filter(|_| fits)?, offered.payload_type))
        });
        let (codec, payload_type) = found.ok_or(MediaError::NoAudio)?;
        let (send, receive) = match stream.direction() {
            Direction::SendRecv => (true, true),
            Direction::SendOnly => (false, true),
            Direction::RecvOnly => (true, false),
            Direction::Inactive => (false, false),
        };
        // 0.0.0.0 is hold in the way of RFC 2543.
        let reachable = !stream.address()?.is_unspecified();
        Ok(Plan {
            remote: stream.rtp()?,
            rtcp: stream.rtcp()?,
            codec,
            payload_type,
            send: send && reachable,
            receive,
        })
    }

    fn head(&mut self) -> String {
        self.version += 1;
        let ip = self.address.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let (session, version) = (self.session, self.version);
        format!(
            "v=0\r\no=tandem {session} {version} IN {family} {ip}\r\ns=-\r\n\
             c=IN {family} {ip}\r\nt=0 0\r\n"
        )
    }

    fn stream(&self, text: &mut String, proto: &str, types: &[(Codec, u8)], direction: Direction) {
        // Writing to a String cannot fail.
        let _ = write!(text, "m=audio {} {proto}", self.address.port());
        for (_, payload_type) in types {
            let _ = write!(text, " {payload_type}");
        }
        text.push_str("\r\n");
        for (codec, payload_type) in types {
            let _ = write!(text, "a=rtpmap:{payload_type} {}/8000\r\n", codec.name());
        }
        let _ = write!(text, "a=ptime:20\r\na={}\r\n", direction.as_str());
    }
}

/// Whether a message holds a description at all; a broken one counts.
pub(super) fn has_sdp(message: &Message) -> bool {
    !matches!(locate(message), Ok(None))
}
