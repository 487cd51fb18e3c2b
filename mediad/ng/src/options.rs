//! What an offer or an answer says beside its tags and its SDP.
//!
//! Whatever a script may write is one of four: done, nothing to do here, done otherwise (with a warning in the answer),
//! or refused. Names that neither rtpengine nor this crate knows are let pass with a warning, as rtpengine does, so
//! that a script with a spelling mistake still has its calls.

use std::net::IpAddr;

use crate::{
    Command, Request, Value,
    attributes::Attributes,
    codecs::Codecs,
    flags::{self, Effect},
    keys,
};

/// The longest delay of a deletion, in seconds.
pub const MAX_DELAY: u32 = 86_400;

/// What is wanted of an offer or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What of the SDP's `o=` and `s=` lines is replaced.
    pub replace: Replace,
    /// The names of the interfaces towards who sent this and towards who receives it.
    pub interfaces: [Option<String>; 2],
    /// Where the SIP message came from, and whether media is to go there instead of to the SDP's address.
    pub received_from: Option<IpAddr>,
    /// `SIP-source-address`.
    pub use_received_from: bool,
    /// The family of the address that the receiver is shown.
    pub family: Option<Family>,
    /// The address that the receiver is shown in the place of the server's.
    pub media_address: Option<IpAddr>,
    /// RTCP on RTP's port.
    pub mux: Mux,
    /// How the SDP tells of RTCP's port.
    pub rtcp_attribute: RtcpAttribute,
    /// What is done to the SDP's codecs.
    pub codecs: Codecs,
    /// The profile that the receiver's `m=` lines must have.
    pub profile: Option<String>,
    /// The TOS byte of what both parties are sent.
    pub tos: Option<u8>,
    /// Whose packets are taken.
    pub sources: Sources,
    /// Seconds that a deletion is put off.
    pub delete_delay: Option<u32>,
    /// The call is recorded.
    pub record: bool,
    /// An SDP that was here before is let pass as it is.
    pub loop_protect: bool,
    /// `a=extmap` lines are taken out.
    pub strip_extmap: bool,
    /// The packet time that is asked for, in milliseconds.
    pub ptime: Option<u16>,
    /// What is done to the SDP's `a=` lines at last.
    pub attributes: Attributes,
    /// Whether the parties hear RTCP of the server instead of each other's.
    pub generate_rtcp: Option<bool>,
    /// Whether no media of the call is handed on.
    pub drop_traffic: Option<bool>,
    /// What was not understood, or is done otherwise.
    pub warnings: Vec<String>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What of an SDP is replaced beside where media goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replace {
    /// The address of `o=`.
    pub origin: bool,
    /// The whole `o=` but its version, by the first that the party was shown.
    pub origin_full: bool,
    /// The user of `o=`, likewise.
    pub username: bool,
    /// `s=`, likewise.
    pub session_name: bool,
    /// The version of `o=`: raised when the rest changes, and only then.
    pub version: bool,
    /// The same, and raised each time.
    pub forced_version: bool,
    /// An address of zeros, by which a party is put on hold, becomes a real one.
    pub zero_address: bool,
}

/// What is done about RTCP on RTP's port (RFC 5761).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mux {
    /// It is offered to the receiver, whatever the sender said.
    pub offer: bool,
    /// Only that is offered. A receiver that cannot do it has its own port all the same.
    pub require: bool,
    /// The sender has it if it wants it, the receiver is not offered any.
    pub demux: bool,
    /// The sender has it if it wants it, whatever the receiver says.
    pub accept: bool,
    /// The sender is refused it.
    pub reject: bool,
}

/// How an SDP tells of RTCP's port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtcpAttribute {
    /// `a=rtcp:port`.
    #[default]
    Port,
    /// `a=rtcp:port IN IP4 address`.
    Full,
    /// Not at all: it is the port above RTP's.
    None,
}

/// Whose packets are taken of who sent this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// How its address is learned.
    pub learning: Option<Learning>,
    /// Packets of others are dropped once it is known.
    pub strict: bool,
    /// It may move to another address in mid-call.
    pub handover: bool,
    /// It is sent nothing before it has sent something.
    pub waits: bool,
    /// It is sent empty datagrams until it has.
    pub pierces: bool,
}

/// How a party's address is learned from its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// Not at all: it is the one of its SDP.
    Off,
    /// From the first packet.
    Immediate,
    /// From those after three seconds.
    Delayed,
    /// The best of those that came, by what the SDP says.
    Heuristic,
}

/// What is not there, with a reason each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not supported by mediad: {}", .0.join("; "))]
pub struct Refused(pub Vec<String>);

/// Reads the options of an offer or an answer.
///
/// # Errors
/// All that cannot be done, at once.
pub fn read(request: &Request) -> Result<Options, Refused> {
    let mut reader = Reader {
        is_publish: request.command == Command::Publish,
        ..Reader::default()
    };
    for (key, value) in request.fields() {
        reader.key(key, value);
    }
    reader.legacy(request);
    match reader.refused.is_empty() {
        true => Ok(reader.options),
        false => Err(Refused(reader.refused)),
    }
}

impl Options {
    /// Adds a warning; a request has sixteen at most.
    pub fn warn(&mut self, warning: String) {
        if self.warnings.len() < 16 && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

#[derive(Default)]
struct Reader {
    options: Options,
    is_publish: bool,
    refused: Vec<String>,
}

impl Reader {
    fn key(&mut self, key: &str, value: &Value) {
        match key {
            "flags" => value.texts().for_each(|flag| self.flag(flag)),
            // One text with all flags, as Kamailio sends them unparsed.
            "rtpp-flags" => value
                .texts()
                .flat_map(|text| text.split(u8::is_ascii_whitespace))
                .filter(|flag| !flag.is_empty())
                .for_each(|flag| self.flag(flag)),
            "replace" => self.each(value, Self::replace),
            "rtcp-mux" => self.each(value, Self::mux),
            "direction" => {
                let names = value
                    .texts()
                    .map(|name| String::from_utf8_lossy(name).into_owned());
                let mut names = names.map(Some);
                self.options.interfaces = [names.next().flatten(), names.next().flatten()];
            }
            "interface" => {
                let name = value
                    .text()
                    .map(|name| String::from_utf8_lossy(name).into_owned());
                self.options.interfaces = [name.clone(), name];
            }
            "from-interface" | "to-interface" => {
                let name = value
                    .text()
                    .map(|name| String::from_utf8_lossy(name).into_owned());
                self.options.interfaces[usize::from(key == "to-interface")] = name;
            }
            "received-from" => self.received_from(value),
            "address-family" => match value.text().map(keys::plain).as_deref() {
                Some("ip4" | "ipv4" | "inet") => self.options.family = Some(Family::V4),
                Some("ip6" | "ipv6" | "inet6") => self.options.family = Some(Family::V6),
                _ => self.refuse(key, value, "write IP4 or IP6"),
            },
            "media-address" => match address(value) {
                Some(address) => self.options.media_address = Some(address),
                None => self.refuse(key, value, "write an IP address"),
            },
            "tos" => match value.integer() {
                // As it was.
                Some(..0) => {}
                Some(tos) if u8::try_from(tos).is_ok() => self.options.tos = u8::try_from(tos).ok(),
                _ => self.refuse(key, value, "write 0 to 255, or -1 for as it was"),
            },
            "delete-delay" => match value.integer().and_then(|delay| u32::try_from(delay).ok()) {
                Some(delay) if delay <= MAX_DELAY => self.options.delete_delay = Some(delay),
                _ => self.refuse(key, value, "write seconds, a day at most"),
            },
            "transport-protocol" => {
                let wanted = value
                    .text()
                    .map(|text| String::from_utf8_lossy(text).to_ascii_uppercase());
                // The profile is the one that was answered anyway.
                self.options.profile = wanted.filter(|wanted| wanted != "ACCEPT");
            }
            "sdp-attr" => {
                if let Err(why) = self.options.attributes.take(value) {
                    self.refuse(key, value, why);
                }
            }
            "generate-rtcp" => self.options.generate_rtcp = Some(!keys::is_off(value)),
            "drop-traffic" => match value.text().map(keys::plain).as_deref() {
                Some("stop") => self.options.drop_traffic = Some(false),
                // Who says both wants it to stop.
                Some("start") if self.options.drop_traffic.is_none() => {
                    self.options.drop_traffic = Some(true);
                }
                Some("start") => {}
                _ => self.refuse(key, value, "write start or stop"),
            },
            "media-echo" => match value.text().map(keys::plain).as_deref() {
                Some("blackhole" | "sinkhole") => self.options.drop_traffic = Some(true),
                _ => self.refuse(key, value, "mediad sends nobody's media back"),
            },
            "codec" => self.codecs(value),
            "ptime" => match value.integer().and_then(|ptime| u16::try_from(ptime).ok()) {
                Some(0) => {}
                Some(ptime) => self.options.ptime = Some(ptime),
                None => self.refuse(key, value, "write milliseconds"),
            },
            "endpoint-learning" => self.learning(value),
            "ice" => match value.text().map(keys::plain).as_deref() {
                Some("remove" | "default") => {}
                _ => self.refuse(key, value, "mediad is no ICE agent; use ICE=remove"),
            },
            "dtls" if !keys::is_off(value) => {
                self.refuse(key, value, "SRTP is passed through, never made here");
            }
            "sdes" => self.each(value, |reader, word| {
                reader.flag(format!("sdes-{word}").as_bytes());
            }),
            "osrtp" => self.each(value, |reader, word| {
                reader.flag(format!("osrtp-{word}").as_bytes());
            }),
            "t.38" | "t38" => self.refuse(key, value, "T.38 is passed through, never made here"),
            "record-call" => self.options.record = !keys::is_off(value),
            _ => self.named(key, Some(value)),
        }
    }

    /// A flag: a word, `word=value`, or a word with its value after a dash.
    fn flag(&mut self, flag: &[u8]) {
        const ATTRIBUTES: &str = "sdp-attr-";
        let (start, rest) = flag.split_at(flag.len().min(ATTRIBUTES.len()));
        if keys::plain(start) == ATTRIBUTES {
            // Their case and signs matter.
            let rest = String::from_utf8_lossy(rest);
            if let Err(why) = self.options.attributes.flag(&rest) {
                self.refuse("sdp-attr", &Value::from_text(flag), why);
            }
            return;
        }
        if let Some(at) = flag.iter().position(|byte| *byte == b'=') {
            let (key, value) = (keys::plain(&flag[..at]), &flag[at + 1..]);
            if key == "direction" {
                let name = String::from_utf8_lossy(value).into_owned();
                let free = self
                    .options
                    .interfaces
                    .iter_mut()
                    .find(|name| name.is_none());
                return free.map_or((), |free| *free = Some(name));
            }
            return self.key(&key, &Value::from_text(value));
        }
        let name = keys::plain(flag);
        let part = |start: &str| name.strip_prefix(start).map(str::to_owned);
        if let Some(word) = part("replace-") {
            self.replace(&word);
        } else if let Some(word) = part("rtcp-mux-") {
            self.mux(&word);
        } else if let Some(word) = part("endpoint-learning-") {
            self.learning(&Value::from_text(word));
        } else if part("from-tags-").is_some() {
            // Read by the command itself.
        } else if let Some(rest) = part("codec-") {
            // The codec's name as it was written: it is compared without regard to case.
            match rest.split_once('-') {
                Some((word, codec)) => self.codec(word, codec),
                None => self.named(&name, None),
            }
        } else if part("t38-").or_else(|| part("t.38-")).is_some() {
            self.refused
                .push(format!("{name} (T.38 is passed through, never made here)"));
        } else {
            self.named(&name, None);
        }
    }

    /// What has no value that matters.
    fn named(&mut self, name: &str, value: Option<&Value>) {
        if value.is_some_and(keys::is_off) {
            return;
        }
        match flags::effect(name) {
            Some(Effect::Set(set)) => set(&mut self.options),
            Some(Effect::Nothing) => {}
            Some(Effect::Otherwise(why)) => self.options.warn(format!("{name}: {why}")),
            Some(Effect::Refuse(why)) => self.refused.push(format!("{name} ({why})")),
            None => {
                let name: String = name.chars().take(60).collect();
                self.options.warn(format!("unknown option ignored: {name}"));
            }
        }
    }

    /// The keys of old clients, which say by their presence what others say by a flag.
    fn legacy(&mut self, request: &Request) {
        if request.has_flag("trust-address") {
            self.options.use_received_from = false;
        }
    }

    fn each(&mut self, value: &Value, take: impl Fn(&mut Self, &str)) {
        for word in value.texts() {
            take(self, &keys::plain(word));
        }
    }

    fn replace(&mut self, word: &str) {
        let replace = &mut self.options.replace;
        match word {
            "origin" => replace.origin = true,
            // Media would not come here otherwise.
            "session-connection" => {}
            "origin-full" => replace.origin_full = true,
            "username" => replace.username = true,
            "session-name" => replace.session_name = true,
            "sdp-version" => replace.version = true,
            "force-increment-sdp-ver" => replace.forced_version = true,
            "zero-address" => replace.zero_address = true,
            other => self
                .options
                .warn(format!("unknown option ignored: replace {other}")),
        }
    }

    fn mux(&mut self, word: &str) {
        let mux = &mut self.options.mux;
        match word {
            "offer" => mux.offer = true,
            "require" => mux.require = true,
            "demux" => mux.demux = true,
            "accept" => mux.accept = true,
            "reject" => mux.reject = true,
            other => self
                .options
                .warn(format!("unknown option ignored: rtcp-mux {other}")),
        }
    }

    fn received_from(&mut self, value: &Value) {
        // `IP4 address`, as a list or in one text.
        let words = value
            .texts()
            .flat_map(|text| text.split(|byte| *byte == b' '));
        let address = words
            .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
            .next();
        match address {
            Some(address) => self.options.received_from = Some(address),
            None => self.refuse("received-from", value, "write IP4 or IP6, and an address"),
        }
    }

    fn learning(&mut self, value: &Value) {
        self.options.sources.learning = match value.text().map(keys::plain).as_deref() {
            Some("off" | "no") => Some(Learning::Off),
            Some("immediate" | "on") => Some(Learning::Immediate),
            Some("delayed") => Some(Learning::Delayed),
            Some("heuristic") => Some(Learning::Heuristic),
            _ => {
                return self.refuse(
                    "endpoint-learning",
                    value,
                    "write off, immediate, delayed or heuristic",
                );
            }
        };
    }

    fn codecs(&mut self, value: &Value) {
        let Value::Dictionary(entries) = value else {
            return self.refuse("codec", value, "write a dictionary of lists");
        };
        for (word, names) in entries {
            let word = keys::plain(word);
            for name in names.texts() {
                self.codec(&word, &String::from_utf8_lossy(name));
            }
        }
    }

    fn codec(&mut self, word: &str, name: &str) {
        let codecs = &mut self.options.codecs;
        // `opus/48000/2/…`: a codec and its clock are what SDP tells apart.
        let name = name.to_owned();
        match word {
            "strip" => codecs.strip.push(name),
            "mask" => {
                codecs.strip.push(name);
                let why = "codec mask: the codec is stripped, since nothing is transcoded";
                self.options.warn(why.to_owned());
            }
            "except" => codecs.except.push(name),
            "offer" => codecs.offer.push(name),
            // Which of a publisher's codecs is taken.
            "accept" if self.is_publish => codecs.accept.push(name),
            "accept" | "ignore" => {
                let why = format!("codec {word}: of no effect, since nothing is transcoded");
                self.options.warn(why);
            }
            "transcode" | "consume" | "set" => {
                self.refused
                    .push(format!("codec {word} {name} (mediad does not transcode)"));
            }
            other => self
                .options
                .warn(format!("unknown option ignored: codec {other}")),
        }
    }

    fn refuse(&mut self, key: &str, value: &Value, why: &str) {
        self.refused
            .push(format!("{key}={} ({why})", value.shown()));
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    std::str::from_utf8(value.text()?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
