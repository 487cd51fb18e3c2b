//! Users that register in turn, evenly, from one thread.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sip::{
    digest::{self, Answer, Challenge, Secret},
    message::Message,
};
use socket2::SockRef;

use crate::error::BenchError;

/// Addresses that the users share.
const SOCKETS: usize = 32;
/// How long answers may take when no more is asked.
const LAST: Duration = Duration::from_secs(1);
const REALM: &str = "bench.test";
const PASSWORD: &str = "secret";
/// What an echo has sent is answered as if it were this.
const ANY_CHALLENGE: &str = "Digest realm=\"bench.test\", qop=\"auth\", algorithm=MD5, \
                             nonce=\"00000000000000000000000000000000000000000000\"";

/// The sizes of the datagrams of a registration, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Without credentials.
    pub(super) asked: usize,
    /// The answer to that.
    pub(super) challenged: usize,
    /// With credentials.
    pub(super) proven: usize,
    /// The answer to that.
    pub(super) accepted: usize,
}

impl Default for Sizes {
    /// What they are about, where no registrar has had a turn before the echo.
    fn default() -> Self {
        Self {
            asked: 350,
            challenged: 400,
            proven: 630,
            accepted: 400,
        }
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// From each REGISTER to the 200, sorted.
    pub(super) times: Vec<Duration>,
    /// Answers that were not the one that was due.
    pub(super) refused: u64,
    /// Requests that had no answer when their user's turn came again, or at the end.
    pub(super) unanswered: u64,
    /// Of the last registration.
    pub(super) sizes: Sizes,
}

/// A thread that registers users.
pub(super) struct Generator {
    stop: Arc<AtomicBool>,
    completed: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<Traffic>>,
}

impl Generator {
    /// Registers `users` at `server`, one after the other, `rate` a second. Answers are read as a
    /// registrar's, or taken for granted.
    pub(super) fn start(
        server: SocketAddr,
        rate: u32,
        users: u32,
        registrar: bool,
    ) -> Result<Self, BenchError> {
        let stop = Arc::new(AtomicBool::new(false));
        let completed = Arc::new(AtomicU64::new(0));
        let sockets = (0..SOCKETS).map(|_| socket(server));
        let mut crowd = Crowd {
            sockets: sockets.collect::<io::Result<_>>()?,
            users: (0..users).map(User::new).collect(),
            registrar,
            completed: Arc::clone(&completed),
            traffic: Traffic::default(),
        };
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            crowd.run(Duration::from_secs(1) / rate.max(1), &seen)?;
            Ok(crowd.traffic)
        });
        Ok(Self {
            stop,
            completed,
            thread,
        })
    }

    /// Registrations so far.
    pub(super) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(super) fn stop(self) -> Result<Traffic, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        let broken = |_| BenchError::Run("the generator broke".to_owned());
        Ok(ended.map_err(broken)??)
    }
}

/// One user registers with a wrong password, which must be refused, and with the right one.
pub(super) fn check(server: SocketAddr) -> Result<(), BenchError> {
    let socket = socket(server)?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let local = socket.local_addr()?;
    let mut buffer = [0; 4096];
    let mut ask = |user: &User, credentials: &str| -> Result<Message, BenchError> {
        socket.send(user.request(local, credentials).as_bytes())?;
        let length = socket.recv(&mut buffer)?;
        let answer = Message::parse(buffer[..length].to_vec().into());
        answer.map_err(|error| BenchError::Run(format!("the registrar's answer: {error}")))
    };
    let mut user = User::new(0);
    for (password, wanted) in [("wrong", 401), (PASSWORD, 200)] {
        user.cseq += 1;
        let challenge = ask(&user, "")?;
        let credentials = user.credentials(&challenge, password);
        let credentials = credentials
            .ok_or_else(|| BenchError::Run(format!("no usable challenge: {challenge:?}")))?;
        user.cseq += 1;
        let answer = ask(&user, &credentials)?;
        if answer.status() != Some(wanted) {
            let what = format!("the password \"{password}\" is owed {wanted}: {answer:?}");
            return Err(BenchError::Run(what));
        }
    }
    Ok(())
}

fn socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // As much as the system gives; less is no fault as long as nothing is lost.
    let _less = SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Crowd {
    sockets: Vec<UdpSocket>,
    users: Vec<User>,
    registrar: bool,
    completed: Arc<AtomicU64>,
    traffic: Traffic,
}

impl Crowd {
    fn run(&mut self, pause: Duration, stop: &AtomicBool) -> io::Result<()> {
        let mut due = Instant::now();
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= due {
                self.ask(next)?;
                next = (next + 1) % self.users.len();
                due += pause;
                continue;
            }
            self.wait(due - now)?;
        }
        let end = Instant::now() + LAST;
        while self.users.iter().any(|user| user.step != Step::Idle) && Instant::now() < end {
            self.wait(Duration::from_millis(20))?;
        }
        let waiting = self.users.iter().filter(|user| user.step != Step::Idle);
        self.traffic.unanswered += waiting.count() as u64;
        self.traffic.times.sort_unstable();
        Ok(())
    }

    /// The first request of a registration.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let user = &mut self.users[index];
        if user.step != Step::Idle {
            self.traffic.unanswered += 1;
        }
        user.cseq += 1;
        user.step = Step::Asked;
        user.since = Instant::now();
        let socket = &self.sockets[index % SOCKETS];
        let request = user.request(socket.local_addr()?, "");
        self.traffic.sizes.asked = request.len();
        socket.send(request.as_bytes()).map(drop)
    }

    /// Takes what comes within `limit`, until nothing is left.
    fn wait(&mut self, limit: Duration) -> io::Result<()> {
        let mut polled: Vec<_> = self
            .sockets
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        if poll(&mut polled, Some(&limit))? == 0 {
            return Ok(());
        }
        let ready = polled.iter().enumerate();
        let ready = ready.filter(|(_, polled)| !polled.revents().is_empty());
        let ready: Vec<usize> = ready.map(|(at, _)| at).collect();
        let mut buffer = [0; 4096];
        for at in ready {
            while let Ok(length) = self.sockets[at].recv(&mut buffer) {
                self.take(at, &buffer[..length])?;
            }
        }
        Ok(())
    }

    fn take(&mut self, at: usize, answer: &[u8]) -> io::Result<()> {
        let Some(user) = user_of(answer).and_then(|user| self.users.get_mut(user)) else {
            self.traffic.refused += 1;
            return Ok(());
        };
        let socket = &self.sockets[at];
        match user.step {
            Step::Idle => self.traffic.refused += 1,
            Step::Asked => {
                let credentials = if self.registrar {
                    Message::parse(answer.to_vec().into())
                        .ok()
                        .filter(|answer| answer.status() == Some(401))
                        .and_then(|answer| user.credentials(&answer, PASSWORD))
                } else {
                    user.answer(&Challenge::parse_all(ANY_CHALLENGE.as_bytes()), PASSWORD)
                };
                let Some(credentials) = credentials else {
                    self.traffic.refused += 1;
                    user.step = Step::Idle;
                    return Ok(());
                };
                user.cseq += 1;
                user.step = Step::Proving;
                let request = user.request(socket.local_addr()?, &credentials);
                self.traffic.sizes.challenged = answer.len();
                self.traffic.sizes.proven = request.len();
                socket.send(request.as_bytes())?;
            }
            Step::Proving => {
                user.step = Step::Idle;
                if self.registrar && !answer.starts_with(b"SIP/2.0 200 ") {
                    self.traffic.refused += 1;
                    return Ok(());
                }
                self.traffic.sizes.accepted = answer.len();
                self.traffic.times.push(user.since.elapsed());
                self.completed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Where in its registration a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Asked,
    Proving,
}

struct User {
    number: u32,
    cseq: u32,
    step: Step,
    since: Instant,
}

impl User {
    fn new(number: u32) -> Self {
        Self {
            number,
            cseq: 0,
            step: Step::Idle,
            since: Instant::now(),
        }
    }

    /// `credentials` are a header field, or nothing.
    fn request(&self, local: SocketAddr, credentials: &str) -> String {
        let Self { number, cseq, .. } = self;
        format!(
            "REGISTER sip:{REALM} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK-{number}-{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:u{number}@{REALM}>;tag=t{number}\r\nTo: <sip:u{number}@{REALM}>\r\n\
             Call-ID: {number}@bench\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:u{number}@{local}>\r\nExpires: 3600\r\n{credentials}\
             User-Agent: bench\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn credentials(&self, response: &Message, password: &str) -> Option<String> {
        self.answer(&Challenge::of_response(response), password)
    }

    /// The header field that answers one of `challenges`.
    fn answer(&self, challenges: &[Challenge<'_>], password: &str) -> Option<String> {
        let answer = Answer {
            username: &format!("u{}", self.number),
            secret: Secret::Password(password),
            realm: Some(REALM),
            method: "REGISTER",
            uri: &format!("sip:{REALM}"),
            body: b"",
            cnonce: "0a4f113b0a4f113b",
            nc: 1,
        };
        let (value, _) = digest::answer(challenges, &answer).ok()?;
        Some(format!("Authorization: {value}\r\n"))
    }
}

/// Whose Call-ID it is.
fn user_of(message: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\nCall-ID: ";
    let at = message
        .windows(NAME.len())
        .position(|bytes| bytes == NAME)?;
    let digits = message[at + NAME.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    str::from_utf8(&digits).ok()?.parse().ok()
}
