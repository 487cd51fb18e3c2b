//! Streams with real servers on the loopback; the shard's side is simulated.

mod audio;
mod bad;
pub(crate) mod server;
mod speech;
pub(crate) mod utterance;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use control::media::{NewStream, Side, VoiceEvent};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Bell, FRAME, Port, Settings, Track, Wake, open};

pub(crate) fn new_stream(url: &str) -> NewStream {
    NewStream {
        job: 7,
        side: Side::A,
        account_sid: format!("AC{}", "a".repeat(32)),
        call_sid: format!("CA{}", "b".repeat(32)),
        stream_sid: format!("MZ{}", "c".repeat(32)),
        url: url.to_owned(),
        public: false,
        inbound: true,
        outbound: false,
        bidirectional: true,
        parameters: Vec::new(),
        audio_format: None,
        sample_rate: None,
        signature: "c2lnbmVk".to_owned(),
    }
}

fn settings() -> Settings {
    Settings::new(true, Arc::new(|ip: IpAddr| !ip.is_loopback())).expect("settings")
}

/// A stream with the shard's side of it.
struct Shard {
    port: Port,
    bell: Bell,
    events: mpsc::UnboundedReceiver<VoiceEvent>,
}

impl Shard {
    fn open(stream: NewStream, settings: Settings) -> Self {
        let bell = Bell::start(0).expect("a thread");
        let (report, events) = mpsc::unbounded_channel();
        let report = Box::new(move |event| {
            let _ = report.send(event);
        });
        let port = open(stream, settings, &bell, Wake::new(|| {}), report);
        Self { port, bell, events }
    }

    /// A turn of 20 ms: hears a frame of this level, and returns what is played.
    fn turn(&mut self, level: i16) -> Option<[i16; FRAME]> {
        self.port.hear(Track::Inbound, &[level; FRAME]);
        let mut out = [0; FRAME];
        let played = self.port.play(&mut out);
        self.bell.ring();
        played.map(|_| out)
    }

    async fn event(&mut self) -> VoiceEvent {
        let event = timeout(Duration::from_secs(20), self.events.recv()).await;
        event.expect("an event in time").expect("an event")
    }

    /// Turns, without waiting for their time, until something is played.
    async fn until_played(&mut self) -> [i16; FRAME] {
        for _ in 0..2_000 {
            if let Some(frame) = self.turn(0) {
                return frame;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        unreachable!("nothing is played in 10 s")
    }
}
