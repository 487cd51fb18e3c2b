//! Sockets: bytes in to the worker that owns their Call-ID, bytes out to where a flow leads.
//!
//! Nothing here knows a call. A message is handed to the worker that its Call-ID selects, so that
//! the messages of one dialog never overtake each other; what could not be sent is reported back to
//! the worker that sent it.

#[cfg(test)]
mod bed;
pub(crate) mod call_id;
mod connection;
mod connections;
mod dispatch;
mod flow;
mod lanes;
mod limits;
mod names;
mod open;
mod stun;
mod tls;
mod udp;
mod websocket;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use control::config::{self, Listen, Transport};
use sip::transaction::TransactionId;

use self::connections::Connections;
use crate::{metrics::Metrics, vitals::Vitals};

pub(crate) use connections::Certified;
pub(crate) use dispatch::{Arrival, Datagram, Dispatcher, Placement};
pub(crate) use flow::{ConnectionId, Flow};
pub(crate) use lanes::{Inbox, Lanes, Queued, lanes};
pub(crate) use names::{NameId, Names};
pub(crate) use open::Open;
pub(crate) use tls::Tls;
pub use tls::TlsError;
pub(crate) use udp::Work;

/// An address that this node receives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// Over what.
    pub(crate) transport: Transport,
    /// The address that is bound, its port never 0.
    pub(crate) address: SocketAddr,
    /// What Via and Record-Route show: `host:port`, IPv6 in brackets.
    pub(crate) sent_by: String,
}

/// Whose message could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The worker, by its index.
    pub(crate) worker: usize,
    /// Its transaction; `None` where nobody waits for an answer.
    pub(crate) transaction: Option<TransactionId>,
}

/// Sockets that are bound and not yet read.
#[derive(Debug)]
pub struct Bound {
    udp: Vec<udp::Group>,
    listeners: Vec<connections::Bound>,
    locals: Vec<Local>,
    limits: limits::Limits,
    origins: Vec<String>,
}

/// What the network shares with those who decide.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// What connections are secured with.
    pub(crate) tls: Tls,
    /// The names of hosts that are connected to.
    pub(crate) names: Names,
    /// Who peers are by their certificates.
    pub(crate) certified: Certified,
    /// Which connections are open.
    pub(crate) open: Open,
}

/// Binds every address that is to be listened on, for UDP with a socket for each of `readers`, and raises the limit on
/// descriptors to what connections take: both are root's to do, who may be about to become another user. Nobody can
/// connect before [`Bound::start`].
///
/// # Errors
/// The first address that cannot be bound, and why.
pub(crate) fn bind(config: &config::Sip, readers: usize) -> Result<Bound, (Listen, io::Error)> {
    let mut bound = Bound {
        udp: Vec::new(),
        listeners: Vec::new(),
        locals: Vec::new(),
        limits: limits::Limits::new(config),
        origins: config.websocket.origins.clone(),
    };
    for listen in &config.listen {
        let failed = |error| (*listen, error);
        let address = if listen.transport == Transport::Udp {
            let sockets = udp::bind(listen.address, readers).map_err(failed)?;
            let address = sockets.local;
            bound.udp.push(sockets);
            address
        } else {
            let listener = connections::bind(listen.transport, listen.address).map_err(failed)?;
            let address = listener.local;
            bound.listeners.push(listener);
            address
        };
        let host = match &config.advertise {
            Some(host) => bracketed(host),
            None => bracketed(&address.ip().to_string()),
        };
        bound.locals.push(Local {
            transport: listen.transport,
            address,
            sent_by: format!("{host}:{}", address.port()),
        });
    }
    if !bound.listeners.is_empty() {
        limits::raise_descriptors(bound.limits.total);
    }
    Ok(bound)
}

impl Bound {
    /// What was bound, in the order of the configuration.
    pub(crate) fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// Starts to receive by connections, until the node stops. To be called inside a runtime.
    ///
    /// # Errors
    /// The first address that the runtime cannot watch, and why.
    pub(crate) fn start(
        self,
        shared: Shared,
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
        vitals: &Vitals,
    ) -> Result<Network, (Listen, io::Error)> {
        // What they have to say was too early for the log when the sockets were bound.
        self.udp.iter().for_each(udp::Group::warn_of_small_buffer);
        if !self.listeners.is_empty() {
            limits::warn_of_few_descriptors(self.limits.total);
        }
        let connections = Connections::new(connections::Parts {
            limits: self.limits,
            origins: self.origins,
            shared: shared.clone(),
            dispatcher: dispatcher.clone(),
            metrics: metrics.clone(),
            tracker: vitals.tracker.clone(),
            stop: vitals.stop.clone(),
        });
        for bound in self.listeners {
            let listen = Listen {
                transport: bound.transport,
                address: bound.local,
            };
            let listening = bound.listen().map_err(|error| (listen, error))?;
            vitals.spawn(connections.clone().accept(listening));
        }
        Ok(Network {
            udp: self.udp.into(),
            connections,
            tls: shared.tls,
            metrics: metrics.clone(),
            dispatcher: dispatcher.clone(),
        })
    }
}

/// Sends. Clones share the sockets.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    udp: Arc<[udp::Group]>,
    connections: Connections,
    tls: Tls,
    metrics: Arc<Metrics>,
    dispatcher: Dispatcher,
}

impl Network {
    /// Sends `payload` where `flow` leads; never waits. A failure comes back to `sender`'s worker as
    /// [`Arrival::Failed`], later and from outside, also where it is known at once.
    pub(crate) fn send(&self, flow: &Flow, payload: Bytes, sender: Sender) {
        if flow.transport != Transport::Udp {
            return self.connections.send(flow, payload, sender);
        }
        let group = self.udp.iter().find(|group| group.local == flow.local);
        let sent = match group {
            Some(group) => group.send(&payload, flow, sender.worker, &self.dispatcher),
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // As good as lost on the way: the transaction sends it again.
                self.metrics.dropped(crate::metrics::Dropped::SendQueue);
            }
            Err(error) => {
                tracing::debug!(to = %flow, %error, "cannot send");
                self.dispatcher.failed(sender);
            }
        }
    }

    /// Starts the threads that read UDP and do its `work`, until the node stops. To be called inside a
    /// runtime.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub(crate) fn read<W: Work>(&self, work: Arc<W>, vitals: &Vitals) -> io::Result<()> {
        let shared = Arc::new(udp::Shared {
            work,
            dispatcher: self.dispatcher.clone(),
            metrics: self.metrics.clone(),
            stop: vitals.stop.clone(),
        });
        let mut groups = self.udp.iter();
        groups.try_for_each(|group| group.read(&shared, vitals))
    }

    /// What connections are secured with.
    pub(crate) const fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Closes the connections of every address that `covers` names.
    pub(crate) fn close(&self, covers: impl Fn(IpAddr) -> bool) {
        self.connections.close(covers);
    }

    /// Shows which datagrams the kernel dropped before they were read.
    pub(crate) fn show_kernel_drops(&self) {
        for drops in self.udp.iter().flat_map(udp::Group::drops) {
            let udp::Drops {
                local,
                socket,
                count,
            } = drops;
            self.metrics.kernel_drops(&local, socket, count);
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}
