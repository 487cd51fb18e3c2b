//! The task of a stream: connects, tells the server what is heard, and queues what it plays. Telling and listening go
//! on beside each other, so that a server that is slow to read is listened to all the same.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use control::media::{NewStream, StreamTrouble, VoiceEvent};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::debug;

use super::connect::{Socket, connect};
use super::format::{Decoder, Encoder, Format};
use super::message::{CONNECTED, Order, Writer, read, short};
use super::playout::{MOST_MARKS, Playout};
use super::port::{Heard, Line, Track};
use super::{Report, Settings};
use crate::io::monotonic_ns;

/// A server has so long to take `stop`, and to answer a close.
pub(super) const CLOSE: Duration = Duration::from_secs(1);
/// Samples that lie ready for the shard: 300 ms, in which this task may be busy or wait for a core.
const AHEAD: usize = 2_400;
/// Samples that are kept room for: a message of more is rare.
const KEPT: usize = 8_000;
/// Discarded audio is told of so often at most.
const TELL: Duration = Duration::from_secs(10);
/// Milliseconds of a frame.
const FRAME_MS: u64 = 20;

/// Twilio's codes of warnings.
const CONGESTION: u16 = 31_930;
const BINARY: u16 = 31_950;
const INVALID: u16 = 31_951;

/// Runs a stream until it ends.
pub(super) async fn run(stream: NewStream, settings: Settings, line: Line, report: Report) {
    let job = stream.job;
    let socket = tokio::select! {
        socket = connect(&stream, &settings) => socket,
        () = line.gone() => return,
    };
    let result = match socket {
        Ok(socket) => talk(&stream, socket, &line, &report).await,
        Err(trouble) => Some(Err(trouble)),
    };
    // The port hears nothing more before somebody else learns of the end.
    drop(line);
    if let Some(result) = result {
        report(VoiceEvent::StreamEnded { job, result });
    }
}

/// How it ended; `None` where the port was dropped.
async fn talk(
    stream: &NewStream,
    socket: Socket,
    line: &Line,
    report: &Report,
) -> Option<Result<(), StreamTrouble>> {
    let mode = Mode::of(stream, report);
    let (sink, source) = socket.split();
    let (echo, echoes) = mpsc::channel(MOST_MARKS);
    let mut teller = Teller::new(stream, mode, line, sink, echoes);
    let mut listener = Listener {
        stream,
        mode,
        line,
        source,
        report,
        decoder: Decoder::new(mode.format),
        samples: Vec::new(),
        playout: Playout::default(),
        echo,
        warned: Vec::new(),
        lost: 0,
        refused: 0,
        told: None,
    };
    let ended = tokio::select! {
        begun = teller.begin() => begun,
        () = line.gone() => return None,
    };
    if let Err(error) = ended {
        debug!(stream = %stream.stream_sid, %error, "a stream's server took no beginning");
        return Some(Err(StreamTrouble::Protocol));
    }
    report(VoiceEvent::StreamStarted { job: stream.job });
    listener.lost = line.shared.lost.load(Ordering::Relaxed);
    let result = {
        let mut listening = pin!(listener.run());
        let telling = pin!(teller.run());
        tokio::select! {
            result = &mut listening => result,
            result = telling => result,
            () = line.gone() => Ok(()),
        }
    };
    if line.shared.is_gone() {
        // Both were let go of where they waited: a message is begun as a whole or not at all.
        let _ = timeout(CLOSE, teller.stop()).await;
        let _ = timeout(CLOSE, listener.drain()).await;
        return None;
    }
    if result.is_ok() {
        let _ = timeout(CLOSE, listener.drain()).await;
    }
    Some(result.map_err(|error| {
        debug!(stream = %stream.stream_sid, %error, "a stream's connection broke");
        StreamTrouble::Protocol
    }))
}

/// How audio is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    format: Format,
    /// In binary messages, without JSON.
    raw: bool,
}

impl Mode {
    /// As the stream's attributes and the parameter `x-raw` ask for.
    pub(super) fn of(stream: &NewStream, report: &Report) -> Self {
        let raw = stream
            .parameters
            .iter()
            .any(|(name, value)| name == "x-raw" && value.eq_ignore_ascii_case("l16"));
        let name = if raw {
            Some("audio/l16")
        } else {
            stream.audio_format.as_deref()
        };
        let format = Format::of(name, stream.sample_rate).unwrap_or_else(|| {
            report(VoiceEvent::StreamWarning {
                job: stream.job,
                code: INVALID,
                text: format!(
                    "audioFormat {} with sampleRate {} is not to be had, audio/x-mulaw is used: write audio/x-mulaw or \
                     audio/x-alaw with 8000, or audio/l16 with 8000, 16000 or 24000",
                    short(name.unwrap_or("audio/x-mulaw")),
                    stream.sample_rate.unwrap_or(8_000),
                ),
            });
            Format::Ulaw
        });
        Self {
            format,
            raw: raw && matches!(format, Format::L16(_)),
        }
    }
}

/// Tells the server.
pub(super) struct Teller<'a> {
    stream: &'a NewStream,
    mode: Mode,
    line: &'a Line,
    sink: SplitSink<Socket, Message>,
    writer: Writer,
    encoders: [Encoder; 2],
    octets: Vec<u8>,
    /// The number of each track's first frame.
    since: [u64; 2],
    echoes: mpsc::Receiver<String>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(
        stream: &'a NewStream,
        mode: Mode,
        line: &'a Line,
        sink: SplitSink<Socket, Message>,
        echoes: mpsc::Receiver<String>,
    ) -> Self {
        Self {
            stream,
            mode,
            line,
            sink,
            writer: Writer::new(&stream.stream_sid),
            encoders: [Encoder::new(mode.format), Encoder::new(mode.format)],
            octets: Vec::new(),
            since: [0; 2],
            echoes,
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        self.sink.feed(Message::text(CONNECTED)).await?;
        let start = self.writer.start(self.stream, self.mode.format);
        self.sink.feed(Message::text(start)).await?;
        // What was heard before is of no stream yet.
        while let Some(heard) = self.line.shared.heard.pop() {
            self.since[heard.track as usize] = heard.number + 1;
        }
        self.sink.flush().await
    }

    pub(super) async fn run(&mut self) -> Result<(), Error> {
        loop {
            tokio::select! {
                () = self.line.heard() => {}
                Some(name) = self.echoes.recv() => self.echo(&name).await?,
            }
            while let Ok(name) = self.echoes.try_recv() {
                self.echo(&name).await?;
            }
            while let Some(digit) = self.line.shared.digits.pop() {
                if self.stream.bidirectional {
                    let text = self.writer.dtmf(digit);
                    self.sink.feed(Message::text(text)).await?;
                }
            }
            while let Some(heard) = self.line.shared.heard.pop() {
                self.media(&heard).await?;
            }
            self.sink.flush().await?;
        }
    }

    async fn echo(&mut self, name: &str) -> Result<(), Error> {
        let text = self.writer.mark(name);
        self.sink.feed(Message::text(text)).await
    }

    async fn media(&mut self, heard: &Heard) -> Result<(), Error> {
        let wanted = match heard.track {
            Track::Inbound => self.stream.inbound,
            Track::Outbound => self.stream.outbound,
        };
        if !wanted {
            return Ok(());
        }
        let track = heard.track as usize;
        self.encoders[track].encode(&heard.samples, &mut self.octets);
        // Octets alone do not tell which track they are of.
        let one_track = !(self.stream.inbound && self.stream.outbound);
        let message = if self.mode.raw && one_track {
            Message::binary(self.octets.clone())
        } else {
            let timestamp = heard.number.saturating_sub(self.since[track]) * FRAME_MS;
            Message::text(self.writer.media(heard.track, timestamp, &self.octets))
        };
        self.sink.feed(message).await
    }

    pub(super) async fn stop(&mut self) -> Result<(), Error> {
        let stop = self.writer.stop(self.stream);
        self.sink.feed(Message::text(stop)).await?;
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.sink.send(Message::Close(Some(close))).await
    }
}

/// Listens to the server.
struct Listener<'a> {
    stream: &'a NewStream,
    mode: Mode,
    line: &'a Line,
    source: SplitStream<Socket>,
    report: &'a Report,
    decoder: Decoder,
    samples: Vec<i16>,
    playout: Playout,
    echo: mpsc::Sender<String>,
    /// The codes that were warned of.
    warned: Vec<u16>,
    /// Frames that gave way and samples that were not taken, as they were last told of.
    lost: u64,
    refused: u64,
    told: Option<Instant>,
}

impl Listener<'_> {
    /// Until the server closes.
    async fn run(&mut self) -> Result<(), Error> {
        loop {
            tokio::select! {
                message = self.source.next() => match message {
                    // It is answered by who reads on, once nothing more is told: that would be an error now.
                    Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(message) => self.take(message?),
                    None => return Ok(()),
                },
                () = self.line.played() => {}
            }
            self.pump();
            self.tell_of_losses();
        }
    }

    /// Reads on until the connection is closed, so that closes are answered.
    async fn drain(&mut self) {
        while let Some(Ok(_)) = self.source.next().await {}
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Text(text) => match read(&text, &self.stream.stream_sid) {
                Ok(_) if !self.stream.bidirectional => {
                    self.warn(INVALID, "a stream of <Start> takes no messages", &text);
                }
                Ok(order) => self.follow(order),
                Err(error) => self.warn(INVALID, &error, &text),
            },
            Message::Binary(octets) if self.mode.raw && self.stream.bidirectional => {
                self.append(&octets);
            }
            Message::Binary(octets) => {
                let text = format!("{} octets", octets.len());
                self.warn(BINARY, "a binary message: messages are JSON in text", &text);
            }
            _ => {}
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Media(octets) => self.append(&octets),
            Order::Mark(name) => {
                if !self.playout.mark(name) {
                    let text = format!("more than {MOST_MARKS} marks wait: one was left out");
                    self.warn(INVALID, &text, "mark");
                }
            }
            Order::Clear => {
                self.line.clear();
                self.decoder.reset();
                for name in self.playout.clear() {
                    echo(&self.echo, name);
                }
            }
        }
    }

    fn append(&mut self, octets: &[u8]) {
        self.decoder.decode(octets, &mut self.samples);
        self.refused += self.playout.append(&self.samples) as u64;
        self.samples.clear();
        self.samples.shrink_to(KEPT);
    }

    /// Writes ahead for the shard, and returns the marks that are reached.
    fn pump(&mut self) {
        self.line.follow();
        let most = self.line.room(AHEAD);
        if most > 0 && !self.playout.is_empty() {
            self.line.say(self.playout.take(most), monotonic_ns());
            self.playout.trim();
        }
        while let Some(name) = self.playout.reached(self.line.shared.ring.passed()) {
            echo(&self.echo, name);
        }
        if !self.playout.waits() {
            self.line.unfollow();
        }
    }

    fn tell_of_losses(&mut self) {
        let lost = self.line.shared.lost.load(Ordering::Relaxed);
        let frames = lost - self.lost;
        if frames + self.refused == 0 || self.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        let text = format!(
            "audio was discarded: {} ms of what is heard, since the server is slow to read, and {} ms of what it plays, \
             since more than 300 s wait",
            frames * FRAME_MS,
            self.refused / 8,
        );
        self.lost = lost;
        self.refused = 0;
        self.told = Some(Instant::now());
        (self.report)(VoiceEvent::StreamWarning {
            job: self.stream.job,
            code: CONGESTION,
            text,
        });
    }

    /// Warns once of each code; the log has every message.
    fn warn(&mut self, code: u16, what: &str, message: &str) {
        debug!(
            stream = %self.stream.stream_sid, code, what, message = %short(message),
            "a stream's server sends what is no message"
        );
        if self.warned.contains(&code) {
            return;
        }
        self.warned.push(code);
        (self.report)(VoiceEvent::StreamWarning {
            job: self.stream.job,
            code,
            text: what.to_owned(),
        });
    }
}

/// A server that sends marks by the thousand and reads nothing loses some.
fn echo(echo: &mpsc::Sender<String>, name: String) {
    if echo.try_send(name).is_err() {
        debug!("a stream's server reads no marks: one was left out");
    }
}
