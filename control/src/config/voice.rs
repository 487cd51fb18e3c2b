//! `[voice]` and `[[accounts]]`: programmable voice.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cidr, SipDomain, checks::Checks as _};

/// `[voice]`: what calls under the control of documents may do, and what speaks and understands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Voice {
    /// Where the REST API can be reached by those who are told URLs of recordings, such as
    /// `https://voice.example.com`. Default: `[api] listen`.
    pub public_url: Option<String>,
    /// Addresses that are not public and that documents, audio and streams of a tenant may be at all the same.
    /// What is of the node itself, in the configuration file or of an account without tenant, may be anywhere.
    pub allow: Vec<Cidr>,
    /// Domains beyond the node that documents may dial and send messages to, as `sip:user@domain`: `sip.example.com`,
    /// `*.example.com` for all names below it, or an address. They are resolved as RFC 3263 says. Default none.
    pub sip_domains: Vec<SipDomain>,
    /// Whether streams may go to `ws:` as well as to `wss:`. Default true.
    pub plain_streams: bool,
    /// What says texts: `espeak-ng` or the path of a program that is called like it, an `http:` or `https:` URL that a
    /// text is sent to, or `off`. Default `espeak-ng`.
    pub speech: String,
    /// What understands speech: a `ws:` or `wss:` URL that hears who speaks and says what was said, or an `http:` or
    /// `https:` one that gets each utterance as a WAV file. Default none.
    pub hearing: Option<String>,
    /// Samples that it hears a second over a WebSocket: 8,000 or 16,000. Default 16,000.
    pub hearing_rate: u32,
    /// MiB of audio that was fetched or said and is kept to be played again. Default 64.
    pub cache: u32,
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            public_url: None,
            allow: Vec::new(),
            sip_domains: Vec::new(),
            plain_streams: true,
            speech: "espeak-ng".to_owned(),
            hearing: None,
            hearing_rate: 16_000,
            cache: 64,
        }
    }
}

impl Voice {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if let Some(url) = self.public_url.as_deref().filter(|url| !is_http(url)) {
            errors.push(format!(
                "[voice] public_url = \"{url}\": write an http: or https: URL"
            ));
        }
        if let Some(url) = self.hearing.as_deref().filter(|url| !is_webhook(url)) {
            errors.push(format!(
                "[voice] hearing = \"{url}\": write a ws:, wss:, http: or https: URL"
            ));
        }
        if ![8_000, 16_000].contains(&self.hearing_rate) {
            errors.push(format!(
                "[voice] hearing_rate = {}: write 8000 or 16000",
                self.hearing_rate
            ));
        }
        if self.speech.is_empty() || self.speech.contains(char::is_whitespace) {
            errors.push(
                "[voice] speech: write espeak-ng, the path of a program, an http: or https: URL, or off".to_owned(),
            );
        }
        errors.bound("[voice] cache", self.cache, 1..=65_536);
    }
}

/// `[[accounts]]`: whose programmable calls are, with the credentials that Twilio's SDKs and webhooks have.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// `AC` and 32 hex digits in lower case.
    pub sid: String,
    /// What signs webhooks and authenticates for the REST API at `/2010-04-01`: 16 characters or more.
    pub token: String,
    /// For people. Default: the SID.
    #[serde(default)]
    pub name: Option<String>,
    /// The tenant whose it is. Default: the node's own.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Calls that it may begin a second by the REST API; more of them wait. Default 10.
    #[serde(default = "default_rate")]
    pub calls_per_second: u32,
}

/// How a URL is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VoiceMethod {
    /// With what there is to tell in the query.
    #[serde(rename = "GET")]
    Get,
    /// With what there is to tell in the body.
    #[default]
    #[serde(rename = "POST")]
    Post,
}

const fn default_rate() -> u32 {
    10
}

impl Account {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let sid = &self.sid;
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        let digits = sid.strip_prefix("AC");
        if !digits.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(is_hex)) {
            return errors.push(format!(
                "[[accounts]]: sid = \"{sid}\": write AC and 32 hex digits in lower case"
            ));
        }
        let of = format!("account '{sid}'");
        if self.token.len() < 16 || !self.token.bytes().all(|b| b.is_ascii_graphic()) {
            errors.push(format!(
                "{of}: token: write 16 letters and digits or more, such as of `openssl rand -hex 16`"
            ));
        }
        errors.bound(
            &format!("{of}: calls_per_second"),
            self.calls_per_second,
            1..=10_000,
        );
    }
}

/// Without the token.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("sid", &self.sid)
            .field("name", &self.name)
            .field("tenant", &self.tenant)
            .field("calls_per_second", &self.calls_per_second)
            .finish_non_exhaustive()
    }
}

/// Whether a webhook can be there: by HTTP, or as a socket.
pub(super) fn is_webhook(url: &str) -> bool {
    is_http(url) || is_socket(url)
}

fn is_socket(url: &str) -> bool {
    let rest = url.strip_prefix("ws");
    rest.is_some_and(|rest| is_http(&format!("http{rest}")))
}

pub(super) fn is_http(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
    })
}
