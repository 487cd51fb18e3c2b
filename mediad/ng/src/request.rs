//! What is asked for.

use crate::{
    flags::READ,
    frame::FrameError,
    keys,
    value::{DecodeError, Dictionary, Encoding, Value},
    words::Words,
};

/// A request, with the names of its keys as rtpengine's documents write them, in small letters with dashes.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is to be done.
    pub command: Command,
    fields: Dictionary,
}

/// Why a message is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It cannot be read.
    #[error("Invalid NG data format: {0}")]
    Format(#[from] DecodeError),
    /// There is no message that could be read.
    #[error("Invalid NG data format: {0}")]
    Frame(#[from] FrameError),
    /// It is no dictionary.
    #[error("Invalid NG data format: not a dictionary")]
    NotDictionary,
    /// It does not say what is to be done.
    #[error("Dictionary contains no key \"command\"")]
    NoCommand,
    /// A key that the command needs is missing.
    #[error("No {0} in message")]
    Missing(&'static str),
    /// A name is too long.
    #[error("'{0}' is longer than {MAX_NAME} bytes")]
    TooLong(&'static str),
    /// A key has a value that makes no sense.
    #[error("Invalid value of '{key}': {value}: write a number from 0 to {most}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// The largest that it may say.
        most: u32,
    },
}

/// The longest Call-ID, tag, branch or label, in bytes. Each is kept for as long as its call.
const MAX_NAME: usize = 512;

/// The keys that have one.
const NAMES: [&str; 9] = [
    "call-id",
    "from-tag",
    "to-tag",
    "via-branch",
    "label",
    "set-label",
    "from-label",
    "to-label",
    "address",
];

macro_rules! commands {
    ($($(#[doc = $doc:literal])* $command:ident $name:literal,)*) => {
        /// A command of rtpengine's protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Command {
            $($(#[doc = $doc])* $command,)*
            /// One that rtpengine has not either.
            Unknown,
        }

        impl Command {
            /// Every one that has a name.
            pub const ALL: &[Self] = &[$(Self::$command),*];

            /// Whether it takes the options of an offer: [`options::read`](crate::options::read) reads them.
            pub const fn has_options(self) -> bool {
                matches!(
                    self,
                    Self::Offer
                        | Self::Answer
                        | Self::Publish
                        | Self::SubscribeRequest
                        | Self::SubscribeAnswer
                )
            }

            /// As it is written in a request.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$command => $name,)*
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

commands! {
    /// Whether the server is there.
    Ping "ping",
    /// An SDP that asks for media.
    Offer "offer",
    /// The SDP that answers it.
    Answer "answer",
    /// The call or a part of it is over.
    Delete "delete",
    /// What is known of a call.
    Query "query",
    /// The calls.
    List "list",
    /// What has been done so far.
    Statistics "statistics",
    /// Record a call.
    StartRecording "start recording",
    /// Record it no longer.
    StopRecording "stop recording",
    /// Leave a part of it out.
    PauseRecording "pause recording",
    /// Hand on no media.
    BlockMedia "block media",
    /// Hand it on again.
    UnblockMedia "unblock media",
    /// Hand on silence.
    SilenceMedia "silence media",
    /// Hand on media again.
    UnsilenceMedia "unsilence media",
    /// Hand on no telephone keys.
    BlockDtmf "block DTMF",
    /// Hand them on again.
    UnblockDtmf "unblock DTMF",
    /// Press a telephone key.
    PlayDtmf "play DTMF",
    /// Play a file.
    PlayMedia "play media",
    /// Play no longer.
    StopMedia "stop media",
    /// Send audio to a recorder over TCP.
    StartForwarding "start forwarding",
    /// Send it no longer.
    StopForwarding "stop forwarding",
    /// Who wants to hear a call asks for its description.
    SubscribeRequest "subscribe request",
    /// Who wants to hear a call says where.
    SubscribeAnswer "subscribe answer",
    /// Who heard a call leaves.
    Unsubscribe "unsubscribe",
    /// A source without a destination.
    Publish "publish",
    /// Bridge parties of two calls.
    Connect "connect",
    /// A party whose offer the server makes.
    Create "create",
    /// That party's answer.
    CreateAnswer "create answer",
    /// A conference of all with all.
    Mesh "mesh",
    /// Another source in a party's ear.
    InjectStart "inject start",
    /// That source no longer.
    InjectStop "inject stop",
    /// Transcoding for another server.
    Transform "transform",
}

impl Request {
    /// Reads a dictionary.
    ///
    /// # Errors
    /// [`RequestError`], which the client is told.
    pub fn parse(encoding: Encoding, body: &[u8]) -> Result<Self, RequestError> {
        let Value::Dictionary(written) = encoding.decode(body)? else {
            return Err(RequestError::NotDictionary);
        };
        let mut fields = Dictionary::new();
        for (key, value) in written {
            fields.insert(keys::plain(&key).into_bytes(), value);
        }
        let command = fields.get(b"command".as_slice()).and_then(Value::text);
        let command = keys::plain(command.ok_or(RequestError::NoCommand)?);
        let known = Command::ALL.iter();
        let mut known = known.filter(|known| keys::is_plain_of(&command, known.name()));
        let mut request = Self {
            command: known.next().copied().unwrap_or(Command::Unknown),
            fields,
        };
        request.spread();
        match request.long_name() {
            Some(name) => Err(RequestError::TooLong(name)),
            None => Ok(request),
        }
    }

    /// Takes the one text of flags apart that newer clients send, and keys out of the flags: `from-tag=a`.
    fn spread(&mut self) {
        let command = self.command;
        // The others of an offer are its options.
        let is_key = |key: &str| !command.has_options() || READ.contains(&key);
        if let Some(one) = self.fields.remove(b"rtpp-flags".as_slice()) {
            let mut flags: Vec<_> = self.flags().map(Value::from_text).collect();
            for text in one.texts() {
                let words = Words::of(text, is_key);
                flags.extend(words.flags);
                let keys = words.keys.into_iter();
                self.fields
                    .extend(keys.map(|(key, value)| (key.into_bytes(), value)));
            }
            self.fields.insert(b"flags".to_vec(), Value::List(flags));
        }
        let keys = self.flags().filter_map(|flag| {
            let at = flag.iter().position(|byte| *byte == b'=')?;
            let key = keys::plain(&flag[..at]);
            is_key(&key).then(|| (key.into_bytes(), Value::from_text(&flag[at + 1..])))
        });
        for (key, value) in keys.collect::<Vec<_>>() {
            self.fields.entry(key).or_insert(value);
        }
    }

    fn long_name(&self) -> Option<&'static str> {
        let is_long = |name: &&str| {
            let text = self.get(name).and_then(Value::text);
            text.is_some_and(|text| text.len() > MAX_NAME)
        };
        NAMES.into_iter().find(is_long)
    }

    /// The flags as they were written.
    pub fn flags(&self) -> impl Iterator<Item = &[u8]> {
        self.get("flags").into_iter().flat_map(Value::texts)
    }

    /// All keys but `command`, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        let fields = self.fields.iter();
        fields.filter_map(|(key, value)| {
            let key = std::str::from_utf8(key).ok()?;
            (key != "command").then_some((key, value))
        })
    }

    /// The same without some keys.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let mut other = self.clone();
        for key in keys {
            other.fields.remove(key.as_bytes());
        }
        other
    }

    /// The value of `key`, which is written in small letters with dashes.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key.as_bytes())
    }

    /// The text of `key`; none where it is empty.
    pub fn text(&self, key: &str) -> Option<&[u8]> {
        let text = self.get(key).and_then(Value::text);
        text.filter(|text| !text.is_empty())
    }

    /// The text of `key`.
    ///
    /// # Errors
    /// It is missing or empty.
    pub fn need(&self, key: &'static str) -> Result<&[u8], RequestError> {
        self.text(key).ok_or(RequestError::Missing(key))
    }

    /// The number of `key`, where there is such a key.
    ///
    /// # Errors
    /// It is none, or not within `0..=most`.
    pub fn number(&self, key: &'static str, most: u32) -> Result<Option<u32>, RequestError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value
            .integer()
            .and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| *number <= most) {
            Some(number) => Ok(Some(number)),
            None => Err(RequestError::Value {
                key,
                value: value.shown(),
                most,
            }),
        }
    }

    /// Whether `flag` stands in `flags`, or is a key there or beside them with any value but `no`, `none`, `off` and the
    /// like.
    pub fn has_flag(&self, flag: &str) -> bool {
        let mut flags = self.flags();
        let is_set = |written: &[u8]| match written.iter().position(|byte| *byte == b'=') {
            None => keys::plain(written) == flag,
            Some(at) => {
                let value = || Value::from_text(&written[at + 1..]);
                keys::plain(&written[..at]) == flag && !keys::is_off(&value())
            }
        };
        flags.any(is_set) || self.get(flag).is_some_and(|value| !keys::is_off(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_commands_are_found_however_they_are_written() {
        let body = b"{\"command\":\"start_recording\",\"call id\":\"x\",\"Delete_Delay\":\"7\",\"flags\":[\"Trust Address\"]}";
        let request = Request::parse(Encoding::Json, body).unwrap();
        assert_eq!(request.command, Command::StartRecording);
        assert_eq!(request.need("call-id"), Ok(b"x".as_slice()));
        assert_eq!(request.number("delete-delay", 100), Ok(Some(7)));
        let over = request.number("delete-delay", 6).unwrap_err();
        let why = "Invalid value of 'delete-delay': 7: write a number from 0 to 6";
        assert_eq!(over.to_string(), why);
        assert!(request.has_flag("trust-address"));
        // With its value among the flags as well.
        let lenient = br#"{"command":"subscribe answer","flags":["allow-transcoding=yes","siprec=no","recording-method=pcap"]}"#;
        let lenient = Request::parse(Encoding::Json, lenient).unwrap();
        assert!(lenient.has_flag("allow-transcoding") && !lenient.has_flag("siprec"));
        assert_eq!(lenient.text("recording-method"), Some(b"pcap".as_slice()));
        let none = b"{\"command\":\"query\",\"all\":\"None\"}";
        let none = Request::parse(Encoding::Json, none).unwrap();
        assert!(!none.has_flag("all"));
        assert_eq!(
            request.need("from-tag"),
            Err(RequestError::Missing("from-tag"))
        );
    }

    #[test]
    fn what_is_no_request_says_why() {
        let error = |body: &[u8]| {
            Request::parse(Encoding::of(body), body)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(b"l4:pinge"),
            "Invalid NG data format: not a dictionary"
        );
        assert_eq!(
            error(b"d3:foo3:bare"),
            "Dictionary contains no key \"command\""
        );
        assert_eq!(
            error(b"{\"command\":"),
            "Invalid NG data format: there is no JSON at line 1, column 11"
        );
        let long = |length: usize| {
            format!(
                "{{\"command\":\"ping\",\"label\":\"{}\"}}",
                "x".repeat(length)
            )
        };
        assert!(Request::parse(Encoding::Json, long(MAX_NAME).as_bytes()).is_ok());
        assert_eq!(
            error(long(MAX_NAME + 1).as_bytes()),
            "'label' is longer than 512 bytes"
        );
        let unknown = Request::parse(Encoding::Bencode, b"d7:command3:fooe").unwrap();
        assert_eq!(unknown.command, Command::Unknown);
    }
}
