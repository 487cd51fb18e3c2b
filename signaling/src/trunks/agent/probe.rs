//! Whether a host is there: OPTIONS (RFC 3261 section 11).

use std::{sync::Arc, time::Duration};

use control::config::{self, Host};
use sip::{
    header::HeaderName,
    message::{BuildError, Message, Method, RequestBuilder},
    token::TokenGenerator,
};

use super::{
    super::{Change, Health, health::Thresholds},
    register::via_of,
    spread,
};
use crate::{directory::Trunk, net::Local};

/// A host that is asked.
#[derive(Debug)]
pub(super) struct Probe {
    host: Host,
    config: config::Probe,
    health: Arc<Health>,
}

impl Probe {
    /// One for each host of a trunk that is to be probed.
    pub(super) fn all_of(trunk: &Trunk) -> Vec<Self> {
        match &trunk.config.probe {
            Some(config) => Self::by(trunk, config),
            None => Vec::new(),
        }
    }

    /// One for each host of any trunk.
    pub(super) fn once_of(trunk: &Trunk) -> Vec<Self> {
        let config = trunk.config.probe.clone().unwrap_or_default();
        Self::by(trunk, &config)
    }

    fn by(trunk: &Trunk, config: &config::Probe) -> Vec<Self> {
        let hosts = trunk.hosts.iter().enumerate().filter_map(|(index, host)| {
            Some(Self {
                host: host.clone(),
                config: config.clone(),
                health: trunk.standing.health(index)?.clone(),
            })
        });
        hosts.collect()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        // The health is another one where the trunk was away in between.
        self.host == other.host
            && self.config == other.config
            && Arc::ptr_eq(&self.health, &other.health)
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    /// How long until the next probe: the interval, give or take a tenth, so that many hosts are not
    /// asked at once.
    pub(super) fn pause(&self, tokens: &mut TokenGenerator) -> Duration {
        let interval = Duration::from_secs(self.config.interval.into());
        interval - interval / 10 + spread(tokens, interval / 5)
    }

    pub(super) fn request(
        &self,
        local: &Local,
        mark: &str,
        tokens: &mut TokenGenerator,
    ) -> Result<Message, BuildError> {
        let uri = host_uri(&self.host);
        RequestBuilder::new(&Method::Options, &uri)
            .header(HeaderName::Via, via_of(local, tokens))
            .header(HeaderName::MaxForwards, "70")
            .header(
                HeaderName::From,
                format!("<sip:tandem@{}>;tag={}", local.sent_by, tokens.tag()),
            )
            .header(HeaderName::To, format!("<{uri}>"))
            .header(HeaderName::CallId, format!("{mark}{}", tokens.token()))
            .header(HeaderName::CSeq, "1 OPTIONS")
            .header(HeaderName::Accept, "application/sdp")
            .build()
    }

    pub(super) fn on_response(&self, response: &Message) -> Option<Change> {
        self.health
            .on_probe(self.judge(response), self.thresholds())
    }

    /// Whether an answer is a sign of life, or else why it is none.
    pub(super) fn judge(&self, response: &Message) -> Result<(), String> {
        let status = response.status().unwrap_or(0);
        match self.config.bad.contains(status) {
            false => Ok(()),
            true => Err(format!(
                "it answers OPTIONS with {status} {}",
                response.reason()
            )),
        }
    }

    /// It answers an operator: it is up at once, however many answers it takes otherwise.
    pub(super) fn on_presence(&self) -> Option<Change> {
        self.health.on_probe(Ok(()), Thresholds { down: 1, up: 1 })
    }

    pub(super) fn on_silence(&self, error: String) -> Option<Change> {
        self.health.on_probe(Err(error), self.thresholds())
    }

    const fn thresholds(&self) -> Thresholds {
        Thresholds {
            down: self.config.failures,
            up: self.config.successes,
        }
    }
}

/// The URI of a host itself.
pub(super) fn host_uri(host: &Host) -> String {
    let name = match host.ip() {
        Some(ip) => sip::uri::Host::from(ip).to_string(),
        None => host.name.clone(),
    };
    let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
    let transport = match host.transport {
        config::Transport::Udp => String::new(),
        other => format!(";transport={}", other.parameter()),
    };
    format!("sip:{name}{port}{transport}")
}
