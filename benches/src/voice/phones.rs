//! The callers: SIP by hand, one socket for the media of all of them.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    CALLER, NODE, NUMBER,
    app::Shared,
    probe::{self, FRAME, Histogram, LOUD},
};
use crate::error::BenchError;

const SIP: SocketAddr = SocketAddr::new(CALLER, 5070);
const RTP: SocketAddr = SocketAddr::new(CALLER, 5072);
pub(super) const TURN: Duration = Duration::from_millis(20);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A call that was answered.
#[derive(Debug)]
struct Dialog {
    run: u32,
    to: String,
    target: String,
    /// The `Route` headers of its requests.
    routes: String,
    media: SocketAddr,
}

/// What the phones have heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// From the server to the phone.
    pub(super) back: Histogram,
    pub(super) returned: AtomicU64,
    pub(super) sent: AtomicU64,
    /// From `clear` to the last of what was cleared, for each call that has heard something of it; 0 where that was
    /// before.
    pub(super) silent: Mutex<HashMap<usize, u64>>,
    /// Of each call the first and the last packet: timestamp, and when it came.
    clocks: Mutex<HashMap<usize, [(u32, Instant); 2]>>,
}

impl Heard {
    /// By how much the clock of what is played differs from this machine's over the run, in milliseconds: the most of
    /// all calls.
    pub(super) fn drift_ms(&self) -> f64 {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let drifts = clocks.values().map(|[first, last]| {
            let played = f64::from(last.0.wrapping_sub(first.0)) / 8.0;
            (played - (last.1 - first.1).as_secs_f64() * 1e3).abs()
        });
        drifts.fold(0.0, f64::max)
    }
}

/// Calls that are up.
#[derive(Debug)]
pub(super) struct Phones {
    sip: UdpSocket,
    dialogs: Vec<Dialog>,
    pub(super) heard: Arc<Heard>,
    run: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// From INVITE to 200 of each call.
    pub(super) setup: Histogram,
}

impl Phones {
    /// Makes calls at a rate a second, and waits until each is answered. `run` tells them from those of other runs.
    pub(super) fn call(count: usize, rate: u32, run: u32) -> Result<Self, BenchError> {
        let sip = UdpSocket::bind(SIP)?;
        sip.set_read_timeout(Some(Duration::from_millis(1)))?;
        let setup = Histogram::default();
        let mut dialogs: Vec<Option<Dialog>> = (0..count).map(|_| None).collect();
        let mut invited = Vec::new();
        let begin = Instant::now();
        let limit = Duration::from_secs(1) * u32::try_from(count).unwrap_or(0) / rate + PATIENCE;
        while dialogs.iter().any(Option::is_none) {
            if begin.elapsed() > limit {
                return Err(BenchError::Run("calls are not answered".to_owned()));
            }
            let due =
                begin + Duration::from_secs(1) * u32::try_from(invited.len()).unwrap_or(0) / rate;
            if invited.len() < count && due <= Instant::now() {
                invited.push(Instant::now());
                sip.send_to(invite(invited.len() - 1, run).as_bytes(), (NODE, 5060))?;
            }
            let Some(answer) = receive(&sip)? else {
                continue;
            };
            let now = Instant::now();
            let call = header(&answer, "Call-ID")
                .filter(|id| id.contains(&format!("-{run}@")))
                .and_then(|id| id.split('-').next()?.parse().ok());
            let Some(call) =
                call.filter(|call: &usize| dialogs.get(*call).is_some_and(Option::is_none))
            else {
                continue;
            };
            match answer.get(8..11) {
                Some("200") => {
                    let ns = (now - invited[call]).as_nanos();
                    setup.add(u64::try_from(ns).unwrap_or(u64::MAX));
                    let dialog = Dialog::of(&answer, run).ok_or_else(|| {
                        BenchError::Run(format!("no answer that can be read:\n{answer}"))
                    })?;
                    sip.send_to(dialog.request("ACK", call, 1).as_bytes(), (NODE, 5060))?;
                    dialogs[call] = Some(dialog);
                }
                Some(status) if status.starts_with('1') => {}
                _ => return Err(BenchError::Run(format!("a call was refused:\n{answer}"))),
            }
        }
        Ok(Self {
            sip,
            dialogs: dialogs.into_iter().flatten().collect(),
            heard: Arc::default(),
            run: Arc::new(AtomicBool::new(true)),
            threads: Vec::new(),
            setup,
        })
    }

    /// Begins to speak, and to listen.
    pub(super) fn talk(&mut self, shared: &Arc<Shared>) -> io::Result<()> {
        let socket = UdpSocket::bind(RTP)?;
        let listening = socket.try_clone()?;
        listening.set_read_timeout(Some(Duration::from_millis(50)))?;
        let medias: Vec<_> = self.dialogs.iter().map(|dialog| dialog.media).collect();
        let calls = (0..).zip(&medias).map(|(call, media)| (media.port(), call));
        let calls: HashMap<u16, usize> = calls.collect();
        let (run, heard, noted) = (self.run.clone(), self.heard.clone(), shared.clone());
        self.threads.push(thread::spawn(move || {
            speak(&socket, &medias, &run, &heard, &noted);
        }));
        let (run, heard, noted) = (self.run.clone(), self.heard.clone(), shared.clone());
        self.threads.push(thread::spawn(move || {
            listen(&listening, &calls, &run, &heard, &noted);
        }));
        Ok(())
    }

    pub(super) const fn count(&self) -> usize {
        self.dialogs.len()
    }

    /// Ends all calls.
    pub(super) fn end(self) -> Result<(), BenchError> {
        self.run.store(false, Ordering::Release);
        for thread in self.threads {
            let gone = |_| BenchError::Run("a phone's thread has panicked".to_owned());
            thread.join().map_err(gone)?;
        }
        for (call, dialog) in self.dialogs.iter().enumerate() {
            self.sip
                .send_to(dialog.request("BYE", call, 2).as_bytes(), (NODE, 5060))?;
            thread::sleep(Duration::from_millis(2));
        }
        // So that the next calls have nothing of these.
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            receive(&self.sip)?;
        }
        Ok(())
    }
}

fn speak(
    socket: &UdpSocket,
    medias: &[SocketAddr],
    run: &AtomicBool,
    heard: &Heard,
    shared: &Shared,
) {
    let begin = Instant::now();
    let count = u32::try_from(medias.len()).unwrap_or(1);
    let mut packet = Vec::with_capacity(12 + FRAME);
    for turn in 0_u32.. {
        for (call, media) in medias.iter().enumerate() {
            // The calls' packets are spread over the turn.
            let phase = TURN * u32::try_from(call).unwrap_or(0) / count;
            let due = begin + TURN * turn + phase;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if !run.load(Ordering::Acquire) {
                return;
            }
            let number = usize::try_from(turn).unwrap_or(0);
            packet.clear();
            packet.extend([0x80, 0]);
            packet.extend(u16::try_from(turn & 0xffff).unwrap_or(0).to_be_bytes());
            packet.extend((turn.wrapping_mul(160)).to_be_bytes());
            packet.extend(u32::try_from(call + 1).unwrap_or(1).to_be_bytes());
            packet.extend(probe::frame(call, number));
            shared.sent.note(call, number);
            if socket.send_to(&packet, media).is_ok() {
                heard.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn listen(
    socket: &UdpSocket,
    calls: &HashMap<u16, usize>,
    run: &AtomicBool,
    heard: &Heard,
    shared: &Shared,
) {
    let mut buffer = [0; 2_048];
    let mut probes: HashMap<usize, probe::Heard> = HashMap::new();
    while run.load(Ordering::Acquire) {
        let Ok((len, source)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let now = Instant::now();
        let Some((packet, call)) = rtp::Packet::parse(&buffer[..len])
            .ok()
            .zip(calls.get(&source.port()).copied())
        else {
            continue;
        };
        let mut clocks = heard.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (packet.timestamp(), now);
        clocks.entry(call).or_insert([at, at])[1] = at;
        drop(clocks);
        let probe = probes.entry(call).or_default().read(packet.payload());
        if let Some((of, number)) = probe {
            heard.returned.fetch_add(1, Ordering::Relaxed);
            if let Some(ns) = shared.echoed.since(of, number) {
                heard.back.add(ns);
            }
        } else if packet.payload().contains(&LOUD) {
            let mut silent = heard.silent.lock().unwrap_or_else(PoisonError::into_inner);
            silent.insert(call, shared.cleared.since(call, 0).unwrap_or(0));
        }
    }
}

fn receive(sip: &UdpSocket) -> io::Result<Option<String>> {
    let mut buffer = [0; 8_192];
    match sip.recv(&mut buffer) {
        Ok(len) => Ok(Some(String::from_utf8_lossy(&buffer[..len]).into_owned())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn invite(call: usize, run: u32) -> String {
    let ip = CALLER;
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n",
        port = RTP.port()
    );
    format!(
        "INVITE sip:{NUMBER}@{NODE} SIP/2.0\r\nVia: SIP/2.0/UDP {SIP};branch=z9hG4bKi{call}-{run};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{call}@{ip}>;tag={call}-{run}\r\nTo: <sip:{NUMBER}@{NODE}>\r\n\
         Call-ID: {call}-{run}@{ip}\r\nCSeq: 1 INVITE\r\nContact: <sip:bench@{SIP}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

impl Dialog {
    fn of(answer: &str, run: u32) -> Option<Self> {
        let contact = header(answer, "Contact")?;
        let target = contact.split(['<', '>']).nth(1).unwrap_or(contact);
        let mut routes = String::new();
        let recorded = headers(answer, "Record-Route").flat_map(|value| value.split(','));
        for route in recorded.collect::<Vec<_>>().into_iter().rev() {
            // A string cannot fail to be written to.
            let _written = write!(routes, "Route: {}\r\n", route.trim());
        }
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("m=audio "));
        let port = line?.split(' ').next()?.parse().ok()?;
        Some(Self {
            run,
            to: header(answer, "To")?.to_owned(),
            target: target.to_owned(),
            routes,
            media: SocketAddr::new(NODE, port),
        })
    }

    fn request(&self, method: &str, call: usize, sequence: u32) -> String {
        let Self {
            to,
            target,
            routes,
            run,
            ..
        } = self;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {SIP};branch=z9hG4bK{method}{call}-{run};rport\r\n\
             Max-Forwards: 70\r\n{routes}From: <sip:{call}@{CALLER}>;tag={call}-{run}\r\nTo: {to}\r\n\
             Call-ID: {call}-{run}@{CALLER}\r\nCSeq: {sequence} {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }
}

fn headers<'a>(message: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    message.lines().filter_map(move |line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn header<'a>(message: &'a str, name: &'a str) -> Option<&'a str> {
    headers(message, name).next()
}
