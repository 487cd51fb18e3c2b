//! The agent, its sockets and its audio, joined.

use std::{io, net::SocketAddr};

use sip::transaction::{Timers, Transmit};
use tokio::time::{Instant, sleep_until};

use super::{
    agent::{Agent, Codec, Happened, Hop, Identity, Outgoing, Plan},
    media::{Recorder, Sockets, Source, Stats, Stream},
    net::{self, Net},
};

/// A user agent with sockets.
#[derive(Debug)]
pub(super) struct Phone {
    agent: Agent,
    net: Net,
    stream: Option<Stream>,
    /// The message that is being sent: kept until it is out, since waiting may be broken off.
    sending: Option<Transmit<Hop>>,
}

impl Phone {
    /// Takes `local` for SIP; port 0 for any. Call [`Phone::prepare`] before a call.
    pub(super) async fn new(local: SocketAddr, codecs: Vec<Codec>) -> io::Result<Self> {
        let net = Net::bind(local).await?;
        let identity = Identity {
            user: "tandem".to_owned(),
            signaling: net.local(),
            media: net.local(),
            codecs,
        };
        Ok(Self {
            agent: Agent::new(identity, Timers::default(), rand::random()),
            net,
            stream: None,
            sending: None,
        })
    }

    /// Where SIP is received.
    pub(super) const fn local(&self) -> SocketAddr {
        self.net.local()
    }

    /// Takes new ports for the next call's audio; they receive from now on.
    pub(super) async fn prepare(
        &mut self,
        source: Source,
        recorder: Option<Recorder>,
    ) -> io::Result<()> {
        let (rtp, rtcp) = net::bind_media(self.local().ip()).await?;
        self.agent.set_media(rtp.local_addr()?);
        self.stream = Some(Stream::start(Sockets { rtp, rtcp }, source, recorder));
        Ok(())
    }

    /// Calls; `false` where the URIs cannot be written.
    pub(super) fn call(&mut self, outgoing: &Outgoing) -> bool {
        self.agent.call(now(), outgoing)
    }

    /// Tells the caller that it rings.
    pub(super) fn ring(&mut self) {
        self.agent.ring(now());
    }

    /// Answers the caller.
    pub(super) fn answer(&mut self) {
        self.agent.answer(now());
    }

    /// Ends the call; [`Happened::Ended`] follows.
    pub(super) fn hang_up(&mut self) {
        self.agent.hang_up(now());
    }

    /// The Call-ID of the present or last call.
    pub(super) fn call_id(&self) -> String {
        self.agent.call_id().unwrap_or_default().to_owned()
    }

    /// Runs until something happens. May be broken off and called again.
    pub(super) async fn next(&mut self) -> Happened {
        loop {
            self.flush().await;
            if let Some(happened) = self.agent.poll_event() {
                if let Happened::Media(plan)
                | Happened::Progress {
                    media: Some(plan), ..
                } = &happened
                {
                    self.set_plan(*plan);
                }
                return happened;
            }
            let timeout = self.agent.poll_timeout().map(Instant::from_std);
            let wake = async {
                match timeout {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.net.receive() => {
                    if let Some((hop, message)) = received {
                        self.agent.handle_message(now(), hop, message);
                    }
                }
                () = wake => self.agent.handle_timeout(now()),
            }
        }
    }

    /// Sends what is to be sent.
    pub(super) async fn flush(&mut self) {
        loop {
            if self.sending.is_none() {
                self.sending = self.agent.poll_transmit();
            }
            let Some(transmit) = &self.sending else {
                return;
            };
            let sent = self.net.send(transmit.flow, transmit.payload.clone()).await;
            let transaction = self
                .sending
                .take()
                .and_then(|transmit| transmit.transaction);
            if let (Err(_), Some(id)) = (sent, transaction) {
                self.agent.handle_transport_error(now(), id);
            }
        }
    }

    /// How the audio was up to a moment ago.
    pub(super) fn stats(&self) -> Stats {
        self.stream.as_ref().map(Stream::stats).unwrap_or_default()
    }

    /// Ends the audio and finishes the recording.
    ///
    /// # Errors
    /// The recording could not be written.
    pub(super) async fn finish(&mut self) -> io::Result<Stats> {
        self.flush().await;
        match self.stream.take() {
            Some(stream) => stream.finish().await,
            None => Ok(Stats::default()),
        }
    }

    fn set_plan(&self, plan: Plan) {
        if let Some(stream) = &self.stream {
            stream.set_plan(plan);
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
