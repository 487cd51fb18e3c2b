//! The sections, with each key's default.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    str::FromStr,
};

use serde::Deserialize;

use super::{
    checks,
    defence::Defence,
    interface::{self, DEFAULT_INTERFACE, MediaInterface},
    net::{Cidr, Listen, MediaAddress, ParseError, PortRange, Transport},
    ng::{self, NgListen, NgTransport},
    quality::Quality,
    transport::{Connections, Keepalive, Tls, WebSocket},
    trunk::Trunk,
    user::{self, Auth, Registrar},
};
use crate::{
    Endpoint,
    media::{Handling, OneStream, SourcePolicy},
};

/// `[node]`: this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// A name for logs, metrics and pinned maps; letters, digits, `-`, `_` and `.`. Default `tandem`.
    pub name: String,
    /// Where the database and the control sockets are, and `node.id`, by which a node knows what is its own in a database
    /// that it shares: not to be copied to another node. Default `/var/lib/tandem`.
    pub data_dir: PathBuf,
    /// The user that a daemon becomes which root has started, with the capabilities that its work needs: `docs/running.md`.
    /// Default: it stays root's, with no more capabilities than that.
    pub user: Option<String>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "tandem".to_owned(),
            data_dir: "/var/lib/tandem".into(),
            user: None,
        }
    }
}

impl Node {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(good) {
            errors.push(format!(
                "[node] name = \"{}\": use 1 to 63 letters, digits, '-', '_' and '.'",
                self.name
            ));
        }
        if self.data_dir.as_os_str().is_empty() {
            errors
                .push("[node] data_dir = \"\": name a folder, such as /var/lib/tandem".to_owned());
        }
    }
}

/// `[sip]`: signaling.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Where SIP is received. Default UDP and TCP on 127.0.0.1:5060.
    pub listen: Vec<Listen>,
    /// Names that mean this node in a Request-URI, beside its addresses; the domains of users are added
    /// to them. Default none.
    pub domains: Vec<String>,
    /// The host or address that Via and Record-Route show, where peers cannot reach the one that is
    /// bound. Default: the bound one.
    pub advertise: Option<String>,
    /// Threads that read and work on the datagrams of each address, 1,024 at most. Default 0: one for each
    /// core.
    pub workers: u16,
    /// T1 in milliseconds (RFC 3261 17.1.1.1), 10 to 5,000. Default 500.
    pub t1: u64,
    /// Timer C in seconds (RFC 3261 16.6): how long an INVITE may ring without a new provisional
    /// answer. Default 181.
    pub timer_c: u64,
    /// Numbers of emergency services, as they are called here: never blocked and never limited. Each
    /// needs a route. `urn:service:sos` counts as one, and is called as the first of them where it has
    /// no route of its own. Default 112 and 911.
    pub emergency: Vec<String>,
    /// Name servers that are asked for hosts, each as `IP:PORT`. Default: those of the system. What
    /// stands in `/etc/hosts` is not asked for.
    pub resolver: Vec<SocketAddr>,
    /// The session interval to ask for in seconds (RFC 4028), 90 to 86,400: a call whose parties agree
    /// on one is ended when no refresh comes for as long. 0: ask for none, and keep none. Default
    /// 1,800.
    pub session_expires: u32,
    /// The shortest session interval that is put up with, in seconds, 90 to 86,400; less is refused
    /// with 422. Default 90.
    pub min_se: u32,
    /// Requests that are longer go over TCP where the next hop's transport is not written, and over
    /// UDP after all where that one takes none (RFC 3261 18.1.1), in bytes; 0 for never. Default
    /// 1,300.
    pub udp_limit: usize,
    /// MiB of messages that are kept for `tandem trace`, of all workers together; 0 keeps none, 4,096
    /// at most. Default 16.
    pub trace: u32,
    /// When requests within a call go to where a party sends from, instead of to its Contact. Default
    /// `auto`.
    pub nat: Nat,
    /// The media interface of users, by its name in `[[media.interfaces]]`. Default: `[media] address`.
    pub interface: Option<String>,
    /// signaling's control socket. Default `unix:` and `signal.sock` in the data directory.
    pub control: Option<Endpoint>,
    /// `[sip.tls]`
    pub tls: Tls,
    /// `[sip.websocket]`
    pub websocket: WebSocket,
    /// `[sip.connections]`
    pub connections: Connections,
    /// `[sip.keepalive]`
    pub keepalive: Keepalive,
    /// `[sip.auth]`
    pub auth: Auth,
    /// `[sip.registrar]`
    pub registrar: Registrar,
    /// Bans, limits for strangers, overload.
    pub defence: Defence,
}

impl Default for Sip {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5060);
        Self {
            listen: [Transport::Udp, Transport::Tcp]
                .map(|transport| Listen { transport, address })
                .to_vec(),
            domains: Vec::new(),
            advertise: None,
            workers: 0,
            t1: 500,
            timer_c: 181,
            emergency: vec!["112".to_owned(), "911".to_owned()],
            resolver: Vec::new(),
            session_expires: 1_800,
            min_se: 90,
            udp_limit: 1300,
            trace: 16,
            nat: Nat::Auto,
            interface: None,
            control: None,
            tls: Tls::default(),
            websocket: WebSocket::default(),
            connections: Connections::default(),
            keepalive: Keepalive::default(),
            auth: Auth::default(),
            registrar: Registrar::default(),
            defence: Defence::default(),
        }
    }
}

impl Sip {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if self.listen.is_empty() {
            errors.push("[sip] listen: at least one address is needed".to_owned());
        }
        for (index, listen) in self.listen.iter().enumerate() {
            let mut before = self.listen.iter().take(index);
            if before.any(|other| other.collides(*listen)) {
                errors.push(format!(
                    "[sip] listen: {listen} is taken by an address before it: \
                     all but UDP share the ports of TCP"
                ));
            }
        }
        if self.listen.iter().any(|l| l.address.ip().is_unspecified()) && self.advertise.is_none() {
            errors.push(
                "[sip] listen: name the address itself, or set advertise: \
                 a peer cannot answer to 0.0.0.0 or [::]"
                    .to_owned(),
            );
        }
        if !(10..=5_000).contains(&self.t1) {
            errors.push(format!("[sip] t1 = {}: must be 10 to 5000 ms", self.t1));
        }
        for number in &self.emergency {
            if let Some(wrong) = checks::bad_number(number) {
                errors.push(format!("[sip] emergency: '{number}': {wrong}"));
            }
        }
        let interval = 90..=86_400;
        if self.session_expires != 0 && !interval.contains(&self.session_expires) {
            errors.push(format!(
                "[sip] session_expires = {}: must be 90 to 86400 s, or 0",
                self.session_expires
            ));
        }
        if !interval.contains(&self.min_se)
            || self.session_expires != 0 && self.min_se > self.session_expires
        {
            errors.push(format!(
                "[sip] min_se = {}: must be 90 s or more, and session_expires at most",
                self.min_se
            ));
        }
        if self.workers > 1_024 {
            errors.push(format!("[sip] workers = {}: 1024 at most", self.workers));
        }
        if self.trace > 4_096 {
            errors.push(format!("[sip] trace = {}: 4096 MiB at most", self.trace));
        }
        self.defence.check(errors);
        if self.timer_c < 5 {
            errors.push(format!(
                "[sip] timer_c = {}: must be 5 s or more",
                self.timer_c
            ));
        }
        let secure = self.listen.iter().any(|l| l.transport.is_secure());
        self.tls.check(secure, errors);
        self.websocket.check(errors);
        self.connections.check(errors);
        self.keepalive.check(errors);
        for domain in &self.domains {
            if !user::is_domain(domain) {
                errors.push(format!("[sip] domains: '{domain}' is no domain"));
            }
        }
        self.auth.check(errors);
        self.registrar.check(errors);
    }
}

/// What `nat` may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// Where the Contact cannot be the way: it is loopback, link-local or unspecified, or private
    /// while the party sends from a public address; its name ends in `.invalid` (RFC 7118); or the party
    /// is a user's phone, which is where it sends from: else a user could make the node send anywhere.
    #[default]
    Auto,
    /// Wherever the Contact's address is another than the party sends from.
    Always,
    /// Only where its name ends in `.invalid`.
    Off,
}

/// `[media]`: mediad.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// The address that RTP comes to; `IP/PUBLIC_IP` where peers see another. An IPv4 and an IPv6 one
    /// may stand side by side after a comma. Default 127.0.0.1.
    pub address: MediaAddress,
    /// `[[media.interfaces]]`: further addresses, by name. Default: none.
    pub interfaces: Vec<MediaInterface>,
    /// UDP ports, of all addresses together. Default `20000-59999`: 10,000 sessions.
    pub ports: PortRange,
    /// Where the XDP program is attached, several with commas between, beside the devices of `interfaces`. Default:
    /// none, and then no XDP.
    pub interface: String,
    /// The path that packets take. Default `auto`.
    pub datapath: DatapathMode,
    /// Threads that move packets. Default 0: one for each core.
    pub shards: u16,
    /// Where parties may send from, as `docs/sources.md` has it; a trunk may have its own. Default `heuristic`.
    pub sources: SourcePolicy,
    /// A party that fell silent may go on from another host with the very stream that it sent: a phone that changed
    /// networks. A trunk may have its own. Default true.
    pub handover: bool,
    /// Which calls' parties hear one RTP stream each, whoever speaks to them: `never`, `own` (calls of applications, and
    /// those that this node makes), `always`. A trunk may have its own. Default `own`.
    pub one_stream: OneStream,
    /// Seconds without a packet from either side until the call is ended; 0 for never. Default 60.
    pub timeout: u32,
    /// How many times the packets that its codec and packet time need a party may send; 0 for any number. Default 4.
    /// A second's worth may come at once; what is beyond is dropped and counted. Video has no cap.
    pub rate_cap: u32,
    /// The TOS byte (IPv4) or traffic class (IPv6) of what is sent, where a call's own says nothing: 184 is expedited
    /// forwarding (RFC 3246). Default: none, and then XDP keeps what packets came with, and the rest is sent with 0.
    pub tos: Option<u8>,
    /// Where rtpengine's NG protocol is served: `udp:IP:PORT`, `tcp:IP:PORT`, `http:IP:PORT`, or a list of such.
    /// Default: nowhere. The protocol has no authentication: who reaches it commands the calls.
    #[serde(deserialize_with = "ng::one_or_more")]
    pub ng: Vec<NgListen>,
    /// Whose NG requests are answered, beside those from this machine; all, where it is empty. Default empty.
    pub ng_allow: Vec<Cidr>,
    /// mediad's control socket. Default `unix:` and `media.sock` in the data directory.
    pub control: Option<Endpoint>,
    /// The folder that recordings of calls are written to. Default: none, and then no call can be recorded.
    pub recordings: Option<PathBuf>,
    /// Seconds after which a recording of a call goes on in another file, 10 and more; 0, the default, for never.
    pub rotate_seconds: u32,
    /// MiB after which it does; 0, the default, for never. A WAV file is never longer than 4,080.
    pub rotate_mib: u32,
    /// Where mediad serves its own metrics page. Default: nowhere; the API's page has them too.
    pub metrics: Option<SocketAddr>,
    /// `[media.quality]`
    pub quality: Quality,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: MediaAddress::default(),
            interfaces: Vec::new(),
            ports: PortRange::default(),
            interface: String::new(),
            datapath: DatapathMode::Auto,
            shards: 0,
            sources: SourcePolicy::default(),
            handover: true,
            one_stream: OneStream::default(),
            timeout: 60,
            rate_cap: 4,
            tos: None,
            ng: Vec::new(),
            ng_allow: Vec::new(),
            control: None,
            recordings: None,
            rotate_seconds: 0,
            rotate_mib: 0,
            metrics: None,
            quality: Quality::default(),
        }
    }
}

impl Media {
    /// The devices that the XDP program is attached to.
    pub fn devices(&self) -> Vec<String> {
        let named = self.interfaces.iter().map(|interface| &interface.device);
        let lists = std::iter::once(&self.interface).chain(named);
        let mut devices: Vec<String> = Vec::new();
        for device in lists.flat_map(|list| list.split(',')).map(str::trim) {
            if !device.is_empty() && devices.iter().all(|known| known != device) {
                devices.push(device.to_owned());
            }
        }
        devices
    }

    /// The addresses by the names of their interfaces, the default one's first.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &MediaAddress)> {
        let named = self.interfaces.iter();
        let named = named.map(|interface| (interface.name.as_str(), &interface.address));
        std::iter::once((DEFAULT_INTERFACE, &self.address)).chain(named)
    }

    /// The addresses of the interface of this name, `None` for the default one's.
    pub fn address_of(&self, name: Option<&str>) -> Option<&MediaAddress> {
        let name = name.unwrap_or(DEFAULT_INTERFACE);
        let mut all = self.addresses();
        all.find_map(|(known, address)| (known == name).then_some(address))
    }

    /// How a party is treated: as its trunk says, where it has one that does. `is_own` is of a call that this node is a
    /// party of itself.
    pub fn handling(&self, trunk: Option<&Trunk>, is_own: bool) -> Handling {
        let said = trunk.map(|trunk| (trunk.sources, trunk.handover, trunk.one_stream));
        let (sources, handover, one_stream) = said.unwrap_or_default();
        Handling {
            sources: sources.unwrap_or(self.sources),
            handover: handover.unwrap_or(self.handover),
            one_stream: one_stream.unwrap_or(self.one_stream).holds(is_own),
            interface: trunk.and_then(|trunk| trunk.interface.clone()),
            ..Handling::default()
        }
    }

    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let wants_xdp = matches!(self.datapath, DatapathMode::Xdp | DatapathMode::XdpGeneric);
        interface::check(&self.interfaces, errors);
        self.quality.check(errors);
        if (1..10).contains(&self.rotate_seconds) {
            errors.push(format!(
                "[media] rotate_seconds = {}: write 10 or more, or 0 for one file of each recording",
                self.rotate_seconds
            ));
        }
        if wants_xdp && self.devices().is_empty() {
            errors.push(format!(
                "[media] datapath = \"{}\" needs interface = \"DEVICE\"",
                self.datapath.name()
            ));
        }
        if self.rate_cap > 1_000 {
            errors.push(format!(
                "[media] rate_cap = {}: write 0 to 1000, the times of what a codec needs; 0 is no cap",
                self.rate_cap
            ));
        }
        if let Some(folder) = self
            .recordings
            .as_deref()
            .filter(|folder| folder.is_relative())
        {
            errors.push(format!(
                "[media] recordings = {folder:?}: write the whole path, from / on: commands look there from other folders"
            ));
        }
        for (index, ng) in self.ng.iter().enumerate() {
            let is_udp = |ng: &NgListen| ng.transport == NgTransport::Udp;
            let mut before = self.ng.iter().take(index);
            let taken = before.any(|other| {
                let same = other.address == ng.address && ng.address.port() != 0;
                same && is_udp(other) == is_udp(ng)
            });
            if taken {
                errors.push(format!("[media] ng: {ng} is taken by an address before it"));
            }
        }
    }
}

/// What `datapath` may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatapathMode {
    /// The best that works; what it is, and why not a better one, is logged and shown as a metric.
    #[default]
    Auto,
    /// Native XDP or no start.
    Xdp,
    /// Generic XDP or no start.
    XdpGeneric,
    /// io_uring or no start.
    IoUring,
    /// Plain sockets.
    Sockets,
}

impl DatapathMode {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::IoUring => "io-uring",
            Self::Sockets => "sockets",
        }
    }
}

impl FromStr for DatapathMode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [
            Self::Auto,
            Self::Xdp,
            Self::XdpGeneric,
            Self::IoUring,
            Self::Sockets,
        ]
        .into_iter()
        .find(|mode| mode.name() == text)
        .ok_or_else(|| ParseError::new(text, "one of auto, xdp, xdp-generic, io-uring, sockets"))
    }
}

/// `[store]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:FILE`, relative to the data directory, or `postgres://USER@HOST/DATABASE`.
    /// Default `sqlite:tandem.db`.
    pub url: String,
    /// How much of a SQLite database what writes to it keeps in memory, in MiB. Default 32. PostgreSQL keeps
    /// its own.
    pub cache: Option<NonZeroU16>,
    /// Days that records of calls are kept, by when the calls began; 0, the default, for ever.
    pub keep_cdrs: u16,
    /// Whether how a call sounded over time is kept with its record: up to 30 samples, 3 KB. Default true.
    pub keep_quality: bool,
    /// Days that the record of changes is kept; 0, the default, for ever.
    pub keep_audit: u16,
    /// Days that recordings of calls are kept, by when they begin; 0, the default, for ever.
    pub keep_recordings: u16,
    /// MiB that the folder of recordings may have in it: where there is more, those that ended first are deleted; 0, the
    /// default, for no limit.
    pub keep_recordings_mib: u32,
    /// MiB that its file system keeps free: where there is less, those that ended first are deleted; 0, the default, for
    /// no limit.
    pub keep_free_mib: u32,
    /// Days that messages for users who are away are kept, 1 or more. Default 7.
    pub keep_messages: NonZeroU16,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite:tandem.db".to_owned(),
            cache: None,
            keep_cdrs: 0,
            keep_quality: true,
            keep_audit: 0,
            keep_recordings: 0,
            keep_recordings_mib: 0,
            keep_free_mib: 0,
            keep_messages: NonZeroU16::new(7).unwrap_or(NonZeroU16::MIN),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A PostgreSQL URL may hold a password.
        let scheme = self.url.split(':').next().unwrap_or_default();
        f.debug_struct("Store")
            .field("scheme", &scheme)
            .field("cache", &self.cache)
            .field("keep_cdrs", &self.keep_cdrs)
            .field("keep_quality", &self.keep_quality)
            .field("keep_audit", &self.keep_audit)
            .field("keep_recordings", &self.keep_recordings)
            .field("keep_recordings_mib", &self.keep_recordings_mib)
            .field("keep_free_mib", &self.keep_free_mib)
            .field("keep_messages", &self.keep_messages)
            .finish()
    }
}
