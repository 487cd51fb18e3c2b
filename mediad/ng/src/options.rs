//! What an offer or an answer says beside its tags and its SDP.
//!
//! Whatever a script may write is one of four: done, nothing to do here, done otherwise (with a warning in the answer),
//! or refused. Names that neither rtpengine nor this crate knows are let pass with a warning, as rtpengine does, so
//! that a script with a spelling mistake still has its calls.

mod reader;

use std::net::IpAddr;

use crate::{Request, Value, attributes::Attributes, codecs::Codecs, keys};

use self::reader::Reader;
pub(crate) use self::reader::knows;
#[cfg(test)]
pub(crate) use self::reader::{PREFIXES, key_names};

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
    /// Who sent this is in no recording.
    pub exclude_recording: bool,
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
    /// Who hears its own media, and nobody else's.
    pub echo: Option<Echo>,
    /// What was not understood, or is done otherwise.
    pub warnings: Vec<String>,
}

/// Whose media goes back to it, of the two of an offer or an answer. What the other one sends goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Who receives it.
    Forward,
    /// Who sent it.
    Backward,
    /// Each.
    Both,
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
    let mut reader = Reader::new(request.command);
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
    /// Adds a warning; a request has a few at most.
    pub fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Warnings of a request at most.
pub(crate) const MAX_WARNINGS: usize = 16;

/// The `m=` lines, by their kind, that are not to be offered on.
///
/// # Errors
/// `sdp-media-remove` is no list of names.
pub fn removed_media(request: &Request) -> Result<Vec<String>, Refused> {
    let listed = request.get("sdp-media-remove").into_iter();
    if listed
        .clone()
        .any(|value| matches!(value, Value::Dictionary(_) | Value::Integer(_)))
    {
        let why = "sdp-media-remove (write a list of media types: audio, video, image, …)";
        return Err(Refused(vec![why.to_owned()]));
    }
    let flags = request.flags().filter_map(|flag| {
        let at = flag.iter().position(|byte| *byte == b'=')?;
        (keys::plain(&flag[..at]) == "sdp-media-remove").then_some(&flag[at + 1..])
    });
    let all = listed.flat_map(Value::texts).chain(flags);
    Ok(all.map(keys::plain).collect())
}

#[cfg(test)]
mod tests;
