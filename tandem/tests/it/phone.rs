//! A phone with a voice of its own: it says and hears audio as it goes, and presses keys (RFC 4733).

use std::{
    collections::VecDeque,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rtp::{
    Packet, Packetizer,
    dtmf::{TelephoneEvent, event},
    g711,
};

use crate::{
    keys::{lines, media_of},
    node::Node,
};

/// A frame: 20 ms.
const FRAME: Duration = Duration::from_millis(20);
/// Its samples.
pub(crate) const SAMPLES: usize = 160;
const PCMU: u8 = 0;
const EVENTS: u8 = 101;
/// Frames that a key is pressed for.
const PRESSED: u16 = 5;
/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A phone in a call. It is silent, in packets, where it has nothing to say.
pub(crate) struct Phone {
    state: Arc<State>,
    dialog: Dialog,
}

struct State {
    sip: UdpSocket,
    rtp: UdpSocket,
    said: Mutex<Said>,
    heard: Mutex<Vec<u8>>,
    /// The other side has hung up.
    left: AtomicBool,
    /// The phone is put away.
    over: AtomicBool,
}

/// What is to be said.
#[derive(Default)]
struct Said {
    samples: VecDeque<i16>,
    keys: VecDeque<char>,
}

/// What requests of this phone in its call begin with.
struct Dialog {
    /// Where requests go first.
    next: SocketAddr,
    target: String,
    route: String,
    ours: String,
    theirs: String,
    id: String,
}

impl Phone {
    /// Calls a number by the node, and is answered.
    pub(crate) fn call(node: &Node, number: &str) -> Self {
        let state = State::new(0);
        let here = state.sip.local_addr().unwrap();
        let next = SocketAddr::from(([127, 0, 0, 1], node.sip));
        let id = format!("phone-{}", here.port());
        let (target, body) = (format!("sip:{number}@{next}"), state.sdp());
        let ours = format!("<sip:+15550199@{here}>;tag=a");
        let invite = format!(
            "INVITE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
             From: {ours}\r\nTo: <{target}>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\nContact: <sip:me@{here}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        state.sip.send_to(invite.as_bytes(), next).unwrap();
        let answer = loop {
            let (answer, _) = state.next("SIP/2.0 ");
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert!(status < "300", "{answer}");
            if status.starts_with('2') {
                break answer;
            }
        };
        let dialog = Dialog {
            next,
            target: between(&lines(&answer, &["Contact"]), '<', '>'),
            route: lines(&answer, &["Record-Route"]).replace("Record-Route", "Route"),
            ours: format!("From: {ours}\r\n"),
            theirs: lines(&answer, &["To"]),
            id,
        };
        let ack = dialog.request(&state, "ACK", 1);
        state.sip.send_to(ack.as_bytes(), next).unwrap();
        state.talk(media_of(&answer));
        Self { state, dialog }
    }

    /// Waits for a call at this port, and answers it.
    pub(crate) fn answer(port: u16) -> Incoming {
        Incoming {
            state: State::new(port),
        }
    }

    /// Says this after what it is about to say.
    pub(crate) fn say(&self, samples: &[i16]) {
        lock(&self.state.said).samples.extend(samples);
    }

    /// Presses a key after those before, over what it says.
    pub(crate) fn press(&self, key: char) {
        lock(&self.state.said).keys.push_back(key);
    }

    /// The octets of all that was heard, as PCMU has them.
    pub(crate) fn octets(&self) -> Vec<u8> {
        lock(&self.state.heard).clone()
    }

    /// All that was heard.
    pub(crate) fn heard(&self) -> Vec<i16> {
        self.octets().into_iter().map(g711::decode_ulaw).collect()
    }

    /// Waits until this is so of what was heard.
    pub(crate) fn hears(&self, what: &str, so: impl Fn(&[i16]) -> bool) {
        let start = Instant::now();
        while !so(&self.heard()) {
            assert!(start.elapsed() < PATIENCE, "it does not hear {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until nothing was heard but silence for a third of a second.
    pub(crate) fn hears_silence(&self) {
        self.hears("silence", |heard| heard.ends_with(&[0; 2_400]));
    }

    /// Hangs up.
    pub(crate) fn hang_up(&self) {
        let bye = self.dialog.request(&self.state, "BYE", 2);
        let sent = self.state.sip.send_to(bye.as_bytes(), self.dialog.next);
        sent.unwrap();
        self.state.over.store(true, Ordering::Relaxed);
    }

    /// Waits until the other side hangs up.
    pub(crate) fn is_hung_up_on(&self) {
        let start = Instant::now();
        while !self.state.left.load(Ordering::Relaxed) {
            assert!(start.elapsed() < PATIENCE, "nobody hangs up");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

/// A phone that has no call yet.
pub(crate) struct Incoming {
    state: Arc<State>,
}

impl Incoming {
    /// Answers the next call, which may be waited for.
    pub(crate) fn pick_up(self) -> Phone {
        let state = self.state;
        let (invite, next) = state.next("INVITE ");
        let (here, body) = (state.sip.local_addr().unwrap(), state.sdp());
        let names = ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"];
        let to = lines(&invite, &["To"]);
        let ours = format!("{};tag=b\r\n", to.trim_end());
        let answer = format!(
            "SIP/2.0 200 OK\r\n{}Contact: <sip:me@{here}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            lines(&invite, &names).replace(&to, &ours),
            body.len()
        );
        state.sip.send_to(answer.as_bytes(), next).unwrap();
        state.next("ACK ");
        let id = lines(&invite, &["Call-ID"]);
        let dialog = Dialog {
            next,
            target: between(&lines(&invite, &["Contact"]), '<', '>'),
            route: lines(&invite, &["Record-Route"]).replace("Record-Route", "Route"),
            ours: ours.replacen("To:", "From:", 1),
            theirs: lines(&invite, &["From"]).replacen("From:", "To:", 1),
            id: id.trim_start_matches("Call-ID:").trim().to_owned(),
        };
        state.talk(media_of(&invite));
        Phone { state, dialog }
    }
}

impl Dialog {
    fn request(&self, state: &State, method: &str, number: u32) -> String {
        let here = state.sip.local_addr().unwrap();
        let Self {
            target,
            route,
            ours,
            theirs,
            id,
            ..
        } = self;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{id}{method}\r\nMax-Forwards: 70\r\n\
             {route}{ours}{theirs}Call-ID: {id}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }
}

impl State {
    fn new(port: u16) -> Arc<Self> {
        let bind = |port| UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let state = Arc::new(Self {
            sip: bind(port),
            rtp: bind(0),
            said: Mutex::default(),
            heard: Mutex::default(),
            left: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        state.sip.set_read_timeout(Some(PATIENCE)).unwrap();
        state
    }

    fn sdp(&self) -> String {
        let port = self.rtp.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {PCMU} {EVENTS}\r\na=rtpmap:{EVENTS} telephone-event/8000\r\n\
             a=fmtp:{EVENTS} 0-15\r\na=ptime:20\r\n"
        )
    }

    /// The next message that begins so; others, such as OPTIONS of the node, are left alone.
    fn next(&self, start: &str) -> (String, SocketAddr) {
        let mut buffer = [0; 4096];
        loop {
            let received = self.sip.recv_from(&mut buffer);
            let (len, source) = received.unwrap_or_else(|_| panic!("no {start} comes"));
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.starts_with(start) {
                return (text, source);
            }
        }
    }

    /// The call is up: talks, listens, and is hung up on, each for itself.
    fn talk(self: &Arc<Self>, to: SocketAddr) {
        let [says, hears, ends] = [0; 3].map(|_| Arc::clone(self));
        thread::spawn(move || says.say(to));
        thread::spawn(move || hears.hear());
        thread::spawn(move || ends.end());
    }

    fn say(&self, to: SocketAddr) {
        let mut stream = Packetizer::new(PCMU, 77, 1, 4_000);
        let mut key: Option<(u8, u32, u16)> = None;
        let mut due = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            let (samples, pressed) = {
                let mut said = lock(&self.said);
                let rest = said.samples.len().min(SAMPLES);
                let pressed = if key.is_none() {
                    said.keys.pop_front()
                } else {
                    None
                };
                (said.samples.drain(..rest).collect::<Vec<_>>(), pressed)
            };
            let mut packet = Vec::new();
            let mut payload = [g711::ULAW_SILENCE; SAMPLES];
            payload
                .iter_mut()
                .zip(&samples)
                .for_each(|(octet, sample)| *octet = g711::encode_ulaw(*sample));
            let timestamp = stream.timestamp();
            stream.packet(&payload, 160, &mut packet);
            let _ = self.rtp.send_to(&packet, to);
            if let Some(pressed) = pressed {
                key = Some((event(pressed).unwrap(), timestamp, 0));
            }
            key = key.and_then(|(event, timestamp, frames)| {
                let frames = frames + 1;
                let end = frames == PRESSED;
                let told = TelephoneEvent {
                    event,
                    end,
                    volume: 10,
                    duration: frames * 160,
                };
                for _ in 0..if end { 3 } else { 1 } {
                    let header = [0x80, EVENTS | u8::from(frames == 1) << 7];
                    let mut packet = header.to_vec();
                    packet.extend(stream.sequence().to_be_bytes());
                    packet.extend(timestamp.to_be_bytes());
                    packet.extend(stream.ssrc().to_be_bytes());
                    packet.extend(told.encode());
                    stream.skip();
                    let _ = self.rtp.send_to(&packet, to);
                }
                (!end).then_some((event, timestamp, frames))
            });
            due += FRAME;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    fn hear(&self) {
        let soon = Some(Duration::from_millis(200));
        self.rtp.set_read_timeout(soon).unwrap();
        let mut buffer = [0; 2048];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((len, _)) = self.rtp.recv_from(&mut buffer) else {
                continue;
            };
            let packet = Packet::parse(&buffer[..len]).unwrap();
            if packet.payload_type() == PCMU {
                lock(&self.heard).extend(packet.payload());
            }
        }
    }

    fn end(&self) {
        let soon = Some(Duration::from_millis(200));
        self.sip.set_read_timeout(soon).unwrap();
        let mut buffer = [0; 4096];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((len, source)) = self.sip.recv_from(&mut buffer) else {
                continue;
            };
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.starts_with("BYE ") {
                let kept = lines(&text, &["Via", "From", "To", "Call-ID", "CSeq"]);
                let done = format!("SIP/2.0 200 OK\r\n{kept}Content-Length: 0\r\n\r\n");
                self.sip.send_to(done.as_bytes(), source).unwrap();
                self.left.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap()
}

/// What is between the first `from` and the next `to`.
fn between(text: &str, from: char, to: char) -> String {
    let rest = text.split_once(from).unwrap().1;
    rest.split(to).next().unwrap_or_default().to_owned()
}

/// The likeness of what was heard, on a machine that is busy too. What is of something else has next to none.
pub(crate) const ALIKE: f64 = 0.7;

/// How much of `part` is in `heard`, from 0 to 1: pieces of an eighth of a second that are there one after the other.
///
/// A busy machine sends late, and what is played then is concealed and later by some frames: that is no other audio.
pub(crate) fn likeness(part: &[i16], heard: &[i16]) -> f64 {
    let signs = signs(heard);
    // Pauses are alike everywhere.
    let is_loud = |piece: &[i16]| piece[..PROBE].iter().any(|s| s.unsigned_abs() > LOUD);
    let pieces = part.chunks_exact(PIECE).enumerate();
    let pieces: Vec<_> = pieces.filter(|(_, piece)| is_loud(piece)).collect();
    let is_there = |piece: &[i16], at: usize| {
        let there = &heard[at..];
        alike(piece, &there[..piece.len().min(there.len())]) > SAME
    };
    let place = pieces.iter().find_map(|(number, piece)| {
        let at = nearest(&piece[..PROBE], &signs)?;
        let begin = at.checked_sub(number * PIECE);
        begin.filter(|_| is_there(piece, at))
    });
    let Some(place) = place else { return 0.0 };
    let same = pieces.iter().filter(|(number, piece)| {
        let from = (place + number * PIECE).saturating_sub(SHIFT);
        let near = signs.get(from..).unwrap_or_default();
        let near = &near[..near.len().min(PROBE + 2 * SHIFT)];
        nearest(&piece[..PROBE], near).is_some_and(|at| is_there(piece, from + at))
    });
    let (same, all) = (same.count(), pieces.len());
    f64::from(u32::try_from(same).unwrap()) / f64::from(u32::try_from(all).unwrap())
}

/// Samples of a piece, of what is searched for to find it, and of how far it may lie from where it should.
const PIECE: usize = 1_000;
const PROBE: usize = 256;
const SHIFT: usize = 1_600;
/// The least sample of a piece that is no pause.
const LOUD: u16 = 500;
/// The correlation of a piece that is the same.
const SAME: f64 = 0.9;

/// The signs of each sample and of the 63 after it, as bits: so a place is compared at the cost of a few words.
fn signs(samples: &[i16]) -> Vec<u64> {
    let mut word = 0;
    let mut words: Vec<_> = samples
        .iter()
        .rev()
        .map(|sample| {
            word = word << 1 | u64::from(*sample < 0);
            word
        })
        .collect();
    words.reverse();
    words
}

/// Where the signs differ least from those of `probe`.
fn nearest(probe: &[i16], heard: &[u64]) -> Option<usize> {
    let probe = signs(probe);
    let last = heard.len().checked_sub(PROBE)?;
    (0..last).min_by_key(|at| {
        let words = (0..PROBE).step_by(64);
        words
            .map(|word| (probe[word] ^ heard[at + word]).count_ones())
            .sum::<u32>()
    })
}

/// The correlation of two, as long as both are there.
fn alike(a: &[i16], b: &[i16]) -> f64 {
    let (mut product, mut left, mut right) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        product += a * b;
        left += a * a;
        right += b * b;
    }
    if left * right > 0.0 {
        product / (left * right).sqrt()
    } else {
        0.0
    }
}
