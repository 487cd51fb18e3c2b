//! How connections are secured, kept and bounded: `[sip.tls]`, `[sip.websocket]`, `[sip.connections]`
//! and `[sip.keepalive]`.

use std::path::PathBuf;

use serde::Deserialize;

/// `[sip.tls]`: certificates. All files are PEM, and are read again on a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// What `tls:` and `wss:` listeners show. A client that names a host (SNI) gets the certificate
    /// that has the name, any other the first. Default none, and then neither can be listened on.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients of `tls:` and `wss:` listeners show a certificate. Default `off`.
    pub client_auth: ClientAuth,
    /// Who signs clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Who signs the certificates of hosts that this node connects to. Default: whom the system
    /// trusts.
    pub ca: Option<PathBuf>,
    /// What this node shows to hosts that it connects to and that ask. Default: nothing.
    pub client: Option<CertificateFiles>,
}

/// A certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its root after it.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What `client_auth` may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// Clients are not asked.
    #[default]
    Off,
    /// A certificate that is shown must be good; none need be shown.
    Optional,
    /// Without a good certificate there is no connection.
    Required,
}

/// `[sip.websocket]`: browsers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocket {
    /// Which pages may connect, as browsers write them: `https://phone.example.com`. Default: all.
    pub origins: Vec<String>,
    /// Seconds between pings; a client that answers none for two of them is gone. Default 30.
    pub ping: u64,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            ping: 30,
        }
    }
}

/// `[sip.connections]`: what TCP, TLS and WebSocket clients may take of this node. Times are seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    /// Connections that clients may have at once; as many again this node may open. Default 16,384.
    pub total: usize,
    /// Connections at once of one address; eight times as many of its network, which is a /24, or a /48 of
    /// IPv6. Default 256.
    pub per_source: usize,
    /// TLS and WebSocket handshakes under way. Default 1,024.
    pub handshakes: usize,
    /// The same of one address. Default 32.
    pub handshakes_per_source: usize,
    /// For TLS and WebSocket handshakes together. Default 10.
    pub handshake_timeout: u64,
    /// Until a client's first message is there. Default 30.
    pub first_message_timeout: u64,
    /// From a message's first byte to its last. Default 10.
    pub message_timeout: u64,
    /// Until a peer makes room for what is written to it. Default 10.
    pub write_timeout: u64,
    /// Silence in both directions until a connection is closed that no registration uses. Default
    /// 300.
    pub idle_timeout: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            total: 16_384,
            per_source: 256,
            handshakes: 1024,
            handshakes_per_source: 32,
            handshake_timeout: 10,
            first_message_timeout: 30,
            message_timeout: 10,
            write_timeout: 10,
            idle_timeout: 300,
        }
    }
}

/// `[sip.keepalive]`: what keeps the way to registered clients behind a NAT open.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// What is sent. Default `options`.
    pub method: KeepaliveMethod,
    /// Seconds between two to one client, 5 to 3,600. Default 30: home routers forget a UDP mapping
    /// after as little as a minute.
    pub interval: u64,
    /// Unanswered OPTIONS after which a binding is dropped; 0 for never. Default 0.
    pub drop_after: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            method: KeepaliveMethod::Options,
            interval: 30,
            drop_after: 0,
        }
    }
}

/// What `method` may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepaliveMethod {
    /// OPTIONS, which the client answers: that keeps the mapping also where only what goes out does.
    #[default]
    Options,
    /// Two line ends, which cost the client nothing.
    Crlf,
    /// Nothing.
    Off,
}

impl Tls {
    pub(super) fn check(&self, needed: bool, errors: &mut Vec<String>) {
        if needed && self.certificates.is_empty() {
            errors.push(
                "[sip] listen has a tls: or wss: address: name its certificate with [sip.tls] \
                 certificates = [{ certificate = \"FILE\", key = \"FILE\" }]"
                    .to_owned(),
            );
        }
        match (self.client_auth, &self.client_ca) {
            (ClientAuth::Optional | ClientAuth::Required, None) => errors.push(
                "[sip.tls] client_auth: name who signs clients' certificates with client_ca"
                    .to_owned(),
            ),
            (ClientAuth::Off, Some(_)) => errors.push(
                "[sip.tls] client_ca: set client_auth to \"optional\" or \"required\" too"
                    .to_owned(),
            ),
            _ => {}
        }
    }
}

impl WebSocket {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if !(5..=300).contains(&self.ping) {
            errors.push(format!(
                "[sip.websocket] ping = {}: must be 5 to 300 s",
                self.ping
            ));
        }
        for origin in &self.origins {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            if host.is_empty() || host.contains('/') {
                errors.push(format!(
                    "[sip.websocket] origins: '{origin}' is no origin; write it as browsers do, \
                     https://phone.example.com"
                ));
            }
        }
    }
}

impl Connections {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let counts = [
            ("total", self.total),
            ("per_source", self.per_source),
            ("handshakes", self.handshakes),
            ("handshakes_per_source", self.handshakes_per_source),
        ];
        for (key, value) in counts {
            if value == 0 || value > 1_000_000 {
                errors.push(format!(
                    "[sip.connections] {key} = {value}: must be 1 to 1,000,000"
                ));
            }
        }
        let times = [
            ("handshake_timeout", self.handshake_timeout),
            ("first_message_timeout", self.first_message_timeout),
            ("message_timeout", self.message_timeout),
            ("write_timeout", self.write_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        for (key, value) in times {
            if value == 0 || value > 86_400 {
                errors.push(format!(
                    "[sip.connections] {key} = {value}: must be 1 to 86,400 s"
                ));
            }
        }
    }
}

impl Keepalive {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if !(5..=3600).contains(&self.interval) {
            errors.push(format!(
                "[sip.keepalive] interval = {}: must be 5 to 3,600 s",
                self.interval
            ));
        }
        if self.drop_after > 0 && self.method != KeepaliveMethod::Options {
            errors.push(
                "[sip.keepalive] drop_after: only method = \"options\" is answered".to_owned(),
            );
        }
    }
}
