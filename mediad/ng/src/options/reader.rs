//! From the keys and flags of a request to its options.

use std::net::IpAddr;

use super::{Echo, Family, Learning, MAX_DELAY, Options};
use crate::{
    Command, Request, Value,
    flags::{self, BUNDLE, Effect},
    keys, verbs,
};

/// Whether offers have such a key or flag.
pub(crate) fn knows(name: &str) -> bool {
    KEYS.iter().any(|(names, _)| names.contains(&name))
        || flags::effect(name).is_some()
        || PREFIXES.iter().any(|start| name.starts_with(start))
}

/// All of them whose value matters.
#[cfg(test)]
pub(crate) fn key_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|(names, _)| names.iter().copied())
}

/// What flags of several words begin with.
pub(crate) const PREFIXES: [&str; 12] = [
    "replace-",
    "rtcp-mux-",
    "endpoint-learning-",
    "from-tags-",
    "codec-",
    "transcode-",
    "sdp-attr-",
    "sdes-",
    "osrtp-",
    "t38-",
    "t.38-",
    "bundle-",
];

type Read = fn(&mut Reader, &str, &Value);

/// The keys whose value matters.
const KEYS: &[(&[&str], Read)] = &[
    (&["flags"], |reader, _, value| {
        value.texts().for_each(|flag| reader.flag(flag));
    }),
    (&["replace"], |reader, _, value| {
        reader.each(value, Reader::replace);
    }),
    (&["rtcp-mux"], |reader, _, value| {
        reader.each(value, Reader::mux);
    }),
    (&["direction"], |reader, _, value| {
        let mut names = value.texts().map(|name| Some(text(name)));
        reader.options.interfaces = [names.next().flatten(), names.next().flatten()];
    }),
    (&["interface"], |reader, _, value| {
        let name = value.text().map(text);
        reader.options.interfaces = [name.clone(), name];
    }),
    (&["from-interface", "to-interface"], |reader, key, value| {
        reader.options.interfaces[usize::from(key == "to-interface")] = value.text().map(text);
    }),
    (&["received-from"], |reader, _, value| {
        reader.received_from(value);
    }),
    (&["address-family"], |reader, key, value| {
        match word(value).as_deref() {
            Some("ip4" | "ipv4" | "inet") => reader.options.family = Some(Family::V4),
            Some("ip6" | "ipv6" | "inet6") => reader.options.family = Some(Family::V6),
            _ => reader.refuse(key, value, "write IP4 or IP6"),
        }
    }),
    (&["media-address"], |reader, key, value| {
        match address(value) {
            Some(address) => reader.options.media_address = Some(address),
            None => reader.refuse(key, value, "write an IP address"),
        }
    }),
    (&["tos"], |reader, key, value| match value.integer() {
        // As it was.
        Some(..0) => {}
        Some(tos) if u8::try_from(tos).is_ok() => reader.options.tos = u8::try_from(tos).ok(),
        _ => reader.refuse(key, value, "write 0 to 255, or -1 for as it was"),
    }),
    (&["delete-delay"], |reader, key, value| {
        match value.integer().and_then(|delay| u32::try_from(delay).ok()) {
            Some(delay) if delay <= MAX_DELAY => reader.options.delete_delay = Some(delay),
            _ => reader.refuse(key, value, "write seconds, a day at most"),
        }
    }),
    (&["transport-protocol"], |reader, _, value| {
        let wanted = value.text().map(|name| text(name).to_ascii_uppercase());
        // The profile is the one that was answered anyway.
        reader.options.profile = wanted.filter(|wanted| wanted != "ACCEPT");
    }),
    (&["sdp-attr"], |reader, key, value| {
        if let Err(why) = reader.options.attributes.take(value) {
            reader.refuse(key, value, why);
        }
    }),
    // Read before the SDP is.
    (&["sdp-media-remove"], |_, _, _| {}),
    (&["generate-rtcp"], |reader, _, value| {
        reader.options.generate_rtcp = Some(!keys::is_off(value));
    }),
    (&["drop-traffic"], |reader, key, value| {
        match word(value).as_deref() {
            Some("stop") => reader.options.drop_traffic = Some(false),
            // Who says both wants it to stop.
            Some("start") if reader.options.drop_traffic.is_none() => {
                reader.options.drop_traffic = Some(true);
            }
            Some("start") => {}
            _ => reader.refuse(key, value, "write start or stop"),
        }
    }),
    (&["media-echo"], Reader::echo),
    (&["codec"], |reader, _, value| reader.codecs(value)),
    (&["ptime"], |reader, key, value| {
        match value.integer().and_then(|ptime| u16::try_from(ptime).ok()) {
            Some(0) => {}
            Some(ptime) => reader.options.ptime = Some(ptime),
            None => reader.refuse(key, value, "write milliseconds"),
        }
    }),
    (&["endpoint-learning"], |reader, _, value| {
        reader.learning(value);
    }),
    (&["ice"], |reader, key, value| {
        match word(value).as_deref() {
            Some("remove" | "default") => {}
            _ => reader.refuse(key, value, "mediad is no ICE agent; use ICE=remove"),
        }
    }),
    (&["dtls"], |reader, key, value| match keys::is_off(value) {
        true => {}
        false => reader.refuse(key, value, "SRTP is passed through, never made here"),
    }),
    (&["sdes"], |reader, _, value| {
        reader.each(value, |reader, word| {
            reader.flag(format!("sdes-{word}").as_bytes());
        });
    }),
    (&["osrtp"], |reader, _, value| {
        reader.each(value, |reader, word| {
            reader.flag(format!("osrtp-{word}").as_bytes());
        });
    }),
    (&["t.38", "t38"], |reader, key, value| {
        reader.refuse(key, value, "T.38 is passed through, never made here");
    }),
    (&["record-call"], |reader, _, value| {
        reader.options.record = !keys::is_off(value);
    }),
];

pub(super) struct Reader {
    command: Command,
    pub(super) options: Options,
    pub(super) refused: Vec<String>,
}

impl Reader {
    pub(super) fn new(command: Command) -> Self {
        Self {
            command,
            options: Options::default(),
            refused: Vec::new(),
        }
    }

    pub(super) fn key(&mut self, key: &str, value: &Value) {
        let own = flags::find(verbs::table(self.command), key);
        let known = KEYS.iter().find(|(names, _)| names.contains(&key));
        match known.filter(|_| own.is_none()) {
            Some((_, read)) => read(self, key, value),
            None => self.named(key, Some(value)),
        }
    }

    fn echo(&mut self, key: &str, value: &Value) {
        let echo = match word(value).as_deref() {
            Some("blackhole" | "sinkhole") => {
                self.options.drop_traffic = Some(true);
                return;
            }
            Some("forward" | "fwd" | "fw") => Echo::Forward,
            Some("backward" | "backwards" | "reverse" | "back" | "bkw" | "bk") => Echo::Backward,
            Some("both") => Echo::Both,
            _ => return self.refuse(key, value, "write blackhole, forward, backwards or both"),
        };
        match self.command {
            Command::Publish => self.refuse(key, value, "who only sends hears nothing"),
            _ => self.options.echo = Some(echo),
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
        } else if let Some(codec) = part("transcode-") {
            self.codec("transcode", &codec);
        } else if part("bundle-").is_some() {
            self.options.warn(format!("{name}: {BUNDLE}"));
        } else {
            self.named(&name, None);
        }
    }

    /// What has no value that matters.
    fn named(&mut self, name: &str, value: Option<&Value>) {
        if value.is_some_and(keys::is_off) {
            return;
        }
        let own = flags::find(verbs::table(self.command), name);
        match own.or_else(|| flags::effect(name)) {
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
    pub(super) fn legacy(&mut self, request: &Request) {
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
            "accept" if self.command == Command::Publish => codecs.accept.push(name),
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

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn word(value: &Value) -> Option<String> {
    value.text().map(keys::plain)
}

fn address(value: &Value) -> Option<IpAddr> {
    std::str::from_utf8(value.text()?).ok()?.trim().parse().ok()
}
