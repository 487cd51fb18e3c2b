//! Sockets: bytes in to the worker that owns their Call-ID, bytes out to where a flow leads.
//!
//! Nothing here knows a call. A message is handed to the worker that its Call-ID selects, so that
//! the messages of one dialog never overtake each other; what could not be sent is reported back to
//! the worker that sent it.

mod call_id;
mod connection;
mod dispatch;
mod errors;
mod flow;
mod tcp;
mod udp;

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use control::config::{Listen, Transport};
use sip::transaction::TransactionId;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::metrics::Metrics;

pub(crate) use dispatch::{Arrival, Dispatcher};
pub(crate) use flow::{ConnectionId, Flow};

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
pub(crate) struct Bound {
    udp: Vec<udp::Bound>,
    tcp: Vec<tcp::Bound>,
    locals: Vec<Local>,
}

/// Binds every address in `listen`. `advertise` stands in Via and Record-Route in place of the bound
/// host.
///
/// # Errors
/// The first address that cannot be bound, and why.
pub(crate) fn bind(
    listen: &[Listen],
    advertise: Option<&str>,
) -> Result<Bound, (Listen, io::Error)> {
    let mut bound = Bound {
        udp: Vec::new(),
        tcp: Vec::new(),
        locals: Vec::new(),
    };
    for listen in listen {
        let failed = |error| (*listen, error);
        let address = match listen.transport {
            Transport::Udp => {
                let socket = udp::bind(listen.address).map_err(failed)?;
                let address = socket.local;
                bound.udp.push(socket);
                address
            }
            Transport::Tcp => {
                let listener = tcp::bind(listen.address).map_err(failed)?;
                let address = listener.local;
                bound.tcp.push(listener);
                address
            }
            Transport::Tls | Transport::Ws | Transport::Wss => {
                return Err(failed(io::ErrorKind::Unsupported.into()));
            }
        };
        let host = match advertise {
            Some(host) => bracketed(host),
            None => bracketed(&address.ip().to_string()),
        };
        bound.locals.push(Local {
            transport: listen.transport,
            address,
            sent_by: format!("{host}:{}", address.port()),
        });
    }
    Ok(bound)
}

impl Bound {
    /// What was bound, in the order of the configuration.
    pub(crate) fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// Starts to receive, until `stop`. The tasks are `tracker`'s.
    pub(crate) fn start(
        self,
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Network {
        let tcp = tcp::Tcp::new(
            dispatcher.clone(),
            metrics.clone(),
            tracker.clone(),
            stop.clone(),
        );
        for listener in self.tcp {
            tracker.spawn(tcp.clone().accept(listener));
        }
        let mut udp = Vec::new();
        for socket in self.udp {
            let socket = Arc::new(socket);
            let run = udp::receive(socket.clone(), dispatcher.clone(), metrics.clone());
            tracker.spawn(stop.clone().run_until_cancelled_owned(run));
            udp.push(socket);
        }
        Network {
            udp: udp.into(),
            tcp,
            metrics: metrics.clone(),
            dispatcher: dispatcher.clone(),
        }
    }
}

/// Sends. Clones share the sockets.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    udp: Arc<[Arc<udp::Bound>]>,
    tcp: tcp::Tcp,
    metrics: Arc<Metrics>,
    dispatcher: Dispatcher,
}

impl Network {
    /// Sends `payload` where `flow` leads; never waits. A failure comes back to `sender`'s worker as
    /// [`Arrival::Failed`], later and from outside, also where it is known at once.
    pub(crate) fn send(&self, flow: &Flow, payload: Bytes, sender: Sender) {
        match flow.transport {
            Transport::Tcp => self.tcp.send(flow, payload, sender),
            Transport::Tls | Transport::Ws | Transport::Wss => self.dispatcher.failed(sender),
            Transport::Udp => {
                let socket = self.udp.iter().find(|socket| socket.local == flow.local);
                let sent = match socket {
                    Some(socket) => socket.send(&payload, flow.reply_to),
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
        }
    }

    /// Datagrams that the kernel dropped before they were read, over all sockets.
    pub(crate) fn kernel_drops(&self) -> u64 {
        udp::kernel_drops(self.udp.iter().map(|socket| socket.local))
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}
