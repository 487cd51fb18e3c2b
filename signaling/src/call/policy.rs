//! The configuration as the call logic uses it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use control::{
    config::{self, Config, Nat, Sip, Transport, Trunk},
    media::Handling,
};
use sip::{proxy::Identity, session_timer, transaction::Timers, uri::Host};

use super::{Families, Hop, voice::Pace};
use crate::{
    defence::Defence,
    directory::Caller,
    keepalive::Answers,
    net::{Certified, Flow, Local, Names, Open},
    watch::Watches,
};

/// How long a host may take to say anything at all before the next one is tried. Timer B would be
/// 32 s, more than a caller waits; a host that is up sends 100 within 200 ms.
pub(crate) const HOST_PATIENCE: Duration = Duration::from_secs(4);
/// Branches at once for a request that brings no limit of its own (RFC 5393 section 5.3.3).
pub(crate) const MAX_BREADTH: u32 = 60;
/// The header of that limit.
pub(crate) const MAX_BREADTH_NAME: &str = "Max-Breadth";
/// The longest that a call may last whose end this node could miss: one that bypasses mediad, or any
/// where the media timeout is off.
pub(crate) const LONGEST_CALL: Duration = Duration::from_secs(12 * 3600);
/// What a caller is told to wait when this node takes no calls, in seconds.
pub(crate) const RETRY_AFTER: &str = "10";

/// What a reload may replace of how calls are handled; those that are up keep what they began with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) timer_c: Duration,
    /// Session timers; `None` where they are off.
    pub(crate) session: Option<session_timer::Rules>,
    /// Longer requests go over TCP where that is left to us; 0 for never.
    pub(crate) udp_limit: usize,
    /// Whether a party's Contact is believed.
    pub(crate) nat: Nat,
}

impl Terms {
    /// From a configuration that was checked.
    pub(crate) fn new(config: &Sip) -> Self {
        Self {
            timer_c: Duration::from_secs(config.timer_c),
            session: (config.session_expires > 0).then_some(session_timer::Rules {
                interval: config.session_expires,
                min: config.min_se,
            }),
            udp_limit: config.udp_limit,
            nat: config.nat,
        }
    }
}

/// What applications are told of the node.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    /// Where the REST API is, for those who are told URLs.
    pub(crate) api: String,
    /// Streams may go to `ws:` as well.
    pub(crate) plain_streams: bool,
}

impl Voice {
    fn new(config: &Config) -> Self {
        let api = &config.api;
        let scheme = if api.tls.is_some() { "https" } else { "http" };
        let own = || format!("{scheme}://{}", api.listen);
        let api = config.voice.public_url.clone().unwrap_or_else(own);
        Self {
            api: api.trim_end_matches('/').to_owned(),
            plain_streams: config.voice.plain_streams,
        }
    }
}

/// What of the node does not change while it runs. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) locals: Vec<Local>,
    /// Names of hosts that are connected to over TLS.
    pub(crate) names: Names,
    /// Who peers are by their certificates.
    pub(crate) certified: Certified,
    /// Which connections are open.
    pub(crate) open: Open,
    pub(crate) identity: Identity,
    pub(crate) timers: Timers,
    /// What a worker begins with.
    pub(crate) terms: Terms,
    /// Whose debug lines are wanted.
    pub(crate) watches: Arc<Watches>,
    /// How parties' media is treated where no trunk says otherwise; a reload replaces it.
    pub(crate) media: ArcSwap<config::Media>,
    /// The media interface of users.
    pub(crate) interface: Option<String>,
    /// Bytes of messages that each worker keeps for a trace.
    pub(crate) trace_limit: usize,
    /// The node's name.
    pub(crate) node: String,
    /// Whether how calls sounded is kept with their records.
    pub(crate) keep_quality: bool,
    /// Who answers keepalives.
    pub(crate) answers: Answers,
    /// What applications are told.
    pub(crate) voice: Voice,
    /// When calls that the REST API asks for may begin.
    pub(crate) pace: Pace,
    /// What sources did is reported to it.
    pub(crate) defence: Arc<Defence>,
}

impl Policy {
    /// How long the ACK of a 2xx may take: the callee gives up after 64 × T1 (RFC 3261 section
    /// 13.3.1.4) and ends the call, this node some time later if nobody has.
    pub(crate) fn ack_patience(&self) -> Duration {
        self.timers.limit() + self.timers.t4
    }

    /// From a configuration that was checked. `secret` is 128 random bits.
    pub(crate) fn new(config: &Config, locals: Vec<Local>, secret: u128) -> Self {
        let mut identity = Identity::new(secret);
        for local in &locals {
            let ip = Host::from(local.address.ip()).to_string();
            identity = identity.with_hop(&ip, local.address.port());
            if let Some((host, _)) = local.sent_by.rsplit_once(':') {
                identity = identity.with_hop(host, local.address.port());
            }
        }
        let t1 = Duration::from_millis(config.sip.t1);
        let defence = Defence::new(&config.sip.defence, t1, Instant::now());
        let trunks = config.trunks.iter();
        let allow = trunks.flat_map(Trunk::addresses);
        let allow = allow.chain(config.sip.defence.allow.iter().copied());
        defence.set_policy(Instant::now(), allow, config.sip.emergency.clone());
        Self {
            identity,
            defence: Arc::new(defence),
            timers: Timers {
                t1,
                ..Timers::default()
            },
            terms: Terms::new(&config.sip),
            watches: Arc::default(),
            media: ArcSwap::from_pointee(config.media.clone()),
            interface: config.sip.interface.clone(),
            trace_limit: ((config.sip.trace as usize) << 20) / crate::workers(config),
            node: config.node.name.clone(),
            keep_quality: config.store.keep_quality,
            answers: Answers::new(rand::random()),
            voice: Voice::new(config),
            pace: Pace::default(),
            locals,
            names: Names::default(),
            certified: Certified::default(),
            open: Open::default(),
        }
    }

    /// The media timeout; `None` for never.
    pub(crate) fn media_timeout(&self) -> Option<Duration> {
        let seconds = self.media.load().timeout;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// How the media of somebody is treated, in a call of this node's own or in another.
    pub(crate) fn handling(&self, of: &Caller, is_own: bool) -> Handling {
        let media = self.media.load();
        match of {
            Caller::Trunk(trunk) => media.handling(Some(&trunk.config), is_own),
            Caller::User(_) => Handling {
                interface: self.interface.clone(),
                ..media.handling(None, is_own)
            },
            Caller::Node => media.handling(None, is_own),
        }
    }

    /// The families of the media interface that somebody has; of one that is not there those of the default one, as mediad
    /// will say so.
    pub(crate) fn families(&self, handling: &Handling) -> Families {
        let media = self.media.load();
        let address = media.address_of(handling.interface.as_deref());
        Families::of(address.unwrap_or(&media.address))
    }

    /// The same of a caller, who is heard at an address, and of a callee that is not known yet.
    pub(crate) fn handlings(
        &self,
        caller: Option<(&Caller, IpAddr)>,
        is_own: bool,
    ) -> [Handling; 2] {
        let nobody = self.media.load().handling(None, is_own);
        let caller = caller.map(|(caller, at)| Handling {
            seen_at: Some(at),
            ..self.handling(caller, is_own)
        });
        [caller.unwrap_or_else(|| nobody.clone()), nobody]
    }

    /// Our addresses that can send over `transport` to `remote`'s family.
    pub(crate) fn locals_for(
        &self,
        transport: Transport,
        remote: IpAddr,
    ) -> impl Iterator<Item = &Local> {
        self.locals.iter().filter(move |local| {
            local.transport == transport && local.address.is_ipv4() == remote.is_ipv4()
        })
    }

    /// The way to an address that the resolver gave: by `prefer` where that can reach it, else by the
    /// address of ours that the kernel would send from.
    pub(crate) fn way(&self, hop: Hop, prefer: Option<(Transport, SocketAddr)>) -> Option<Flow> {
        let candidates: Vec<_> = self.locals_for(hop.transport, hop.remote.ip()).collect();
        let preferred = candidates
            .iter()
            .find(|local| prefer == Some((local.transport, local.address)));
        let routed = candidates
            .iter()
            .find(|local| Some(local.address.ip()) == hop.source);
        let local = preferred.or(routed).or_else(|| candidates.first())?;
        Some(Flow::to(hop.transport, local.address, hop.remote))
    }

    /// The listener at an address.
    pub(crate) fn local(&self, flow: &Flow) -> Option<&Local> {
        if flow.is_node() {
            return self.locals.first();
        }
        self.locals
            .iter()
            .find(|local| local.transport == flow.transport && local.address == flow.local)
    }
}
