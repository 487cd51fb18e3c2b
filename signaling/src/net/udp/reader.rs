//! The thread that reads a socket.

use std::{io, net::Shutdown, sync::Arc, thread, time::Duration};

use control::config::Transport;
use socket2::SockRef;
use tokio_util::sync::CancellationToken;

use super::{
    Group, Udp,
    batch::{Batch, Received},
};
use crate::{
    metrics::{Dropped, Metrics},
    net::{Dispatcher, Flow, Queued, dispatch::Datagram, lanes::Queues, stun},
    vitals::Vitals,
};

/// Batches that are read before what they brought is worked on.
const BATCHES: usize = 2;
/// Errors without a datagram between them after which a reader takes a rest: they are no ICMP errors.
const FAILURES: u32 = 64;
const REST: Duration = Duration::from_millis(10);
/// Batches of what has waited that are thrown away at most: more than a socket's buffer holds.
const STALE: usize = 1024;

/// Works on datagrams, in the thread that received them.
pub(crate) trait Work: Send + Sync + 'static {
    /// Works on one, to its end.
    fn datagram(&self, datagram: Queued<Datagram>);
}

/// What all readers share.
pub(in crate::net) struct Shared<W> {
    pub(in crate::net) work: Arc<W>,
    pub(in crate::net) dispatcher: Dispatcher,
    pub(in crate::net) metrics: Arc<Metrics>,
    pub(in crate::net) stop: CancellationToken,
}

impl Group {
    /// Starts a thread for each socket, which reads until the node stops. What came before is thrown away: the node was
    /// not there yet, and who has sent an INVITE may have given up, so that a phone would ring for nobody. To be called
    /// inside a runtime, which the threads' work may spawn into.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub(in crate::net) fn read<W: Work>(
        &self,
        shared: &Arc<Shared<W>>,
        vitals: &Vitals,
    ) -> io::Result<()> {
        let stale: usize = self.sockets.iter().map(|socket| socket.discard()).sum();
        if stale > 0 {
            tracing::info!(
                local = %self.local,
                datagrams = stale,
                "what came while the node started was thrown away; who still wants an answer sends it again"
            );
        }
        for (index, socket) in self.sockets.iter().enumerate() {
            let reader = Reader {
                socket: socket.clone(),
                shared: shared.clone(),
                queues: Queues::new(),
                failures: 0,
            };
            vitals.thread(format!("sip-{index}"), move || reader.run())?;
        }
        let (sockets, stop) = (self.sockets.clone(), vitals.stop.clone());
        vitals.tracker.spawn(async move {
            stop.cancelled().await;
            for one in sockets {
                // It wakes the reader, though it is an error where nobody is connected.
                drop(SockRef::from(&one.socket).shutdown(Shutdown::Both));
            }
        });
        Ok(())
    }
}

struct Reader<W> {
    socket: Arc<Udp>,
    shared: Arc<Shared<W>>,
    queues: Queues<Datagram>,
    /// Errors since the last datagram.
    failures: u32,
}

impl<W: Work> Reader<W> {
    fn run(mut self) {
        let mut batch = Batch::new(self.socket.local);
        while !self.shared.stop.is_cancelled() {
            self.fill(&mut batch);
            let work = &self.shared.work;
            self.queues.turn(|datagram| work.datagram(datagram));
        }
    }

    /// Reads what waits; waits for something where there is nothing else to do.
    fn fill(&mut self, batch: &mut Batch) {
        for turn in 0..BATCHES {
            let (socket, shared, queues) = (&self.socket, &self.shared, &mut self.queues);
            let may_block = turn == 0 && queues.is_empty();
            let read = batch.receive(&socket.socket, may_block, |one| {
                socket.accept(&one, &shared.dispatcher, &shared.metrics, queues);
            });
            match read {
                Ok(is_all) => {
                    self.failures = 0;
                    if is_all {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Anybody may send ICMP errors of any kind: none ends the reader.
                Err(error) => {
                    socket.drain_errors(&shared.dispatcher);
                    self.failures += 1;
                    if self.failures == FAILURES {
                        self.failures = 0;
                        tracing::warn!(local = %socket.local, %error, "cannot read a UDP socket");
                        thread::sleep(REST);
                    }
                }
            }
        }
    }
}

impl Udp {
    /// Throws away what waits, and tells how many datagrams that were.
    fn discard(&self) -> usize {
        let mut batch = Batch::new(self.local);
        let mut count = 0;
        for _ in 0..STALE {
            // An error ends it too: ICMP's are the reader's, and before anything was sent there are none.
            match batch.receive(&self.socket, false, |_| count += 1) {
                Ok(false) => {}
                Ok(true) | Err(_) => break,
            }
        }
        count
    }

    fn accept(
        &self,
        received: &Received<'_>,
        dispatcher: &Dispatcher,
        metrics: &Metrics,
        queues: &mut Queues<Datagram>,
    ) {
        let (datagram, remote) = (received.bytes, received.remote);
        let mut flow = Flow::to(Transport::Udp, self.local, remote);
        if !dispatcher.admits(&flow) {
            return;
        }
        // Line ends alone keep a NAT's mapping open (RFC 5626 section 3.5.1 over UDP; widely done).
        if datagram
            .iter()
            .all(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            return;
        }
        // A response from port 0 or to it can go nowhere.
        if remote.port() == 0 {
            metrics.dropped(Dropped::Malformed);
            return;
        }
        flow.source = received.local.filter(|_| self.local.ip().is_unspecified());
        if let Some(answer) = stun::answer(datagram, remote) {
            if dispatcher.admits_other(&flow) {
                metrics.stun.inc();
                // As good as lost where it cannot be sent: the client asks again.
                drop(self.send(&answer, &flow));
            }
            return;
        }
        dispatcher.datagram(flow, datagram, queues);
    }
}
