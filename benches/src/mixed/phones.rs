//! The users' phones: they register, ring, answer, and take MESSAGEs; and a gateway that sends those.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sip::{
    digest::{self, Answer, Challenge, Secret},
    message::{Message, Method},
};

use super::{BenchError, CALLER, DOMAIN, PHONES, SIP};

/// Numbers that lead to phones: to a group of one that answers and one that rings, and to a user who
/// has both.
pub(super) const GROUP: &str = "600";
pub(super) const TWO: &str = "601";
/// Users who only register and take MESSAGEs.
const CROWD: usize = 20;
const PASSWORD: &str = "secret";
/// How long answers may take when no more is asked.
const LAST: Duration = Duration::from_secs(40);

/// The sockets.
const ANSWERING: usize = 0;
const RINGING: usize = 1;
const REGISTERING: usize = 2;
const GATEWAY: usize = 3;

/// Users and the group, for the node's file.
pub(super) fn users() -> String {
    let names = (0..CROWD).map(|number| format!("u{number}"));
    let names = names.chain(["yes", "rings", "two", "away"].map(str::to_owned));
    let mut text = String::new();
    for name in names {
        // A string cannot fail to be written to.
        let _written = write!(
            text,
            "[[users]]\nname = \"{name}\"\ndomain = \"{DOMAIN}\"\npassword = \"{PASSWORD}\"\n"
        );
    }
    text + &format!(
        "[[groups]]\nname = \"pair\"\nmembers = [\"yes@{DOMAIN}\", \"rings@{DOMAIN}\"]\n"
    )
}

/// What came of the phones' requests, and what they were asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) registered: u64,
    pub(super) wrong_passwords: u64,
    pub(super) messages: u64,
    pub(super) messages_kept: u64,
    pub(super) messages_taken: u64,
    /// Those of them that the node sent again, since no answer came in time.
    pub(super) messages_again: u64,
    pub(super) answered: u64,
    pub(super) cancelled: u64,
    /// Answers that were not the one that was due, and what they were.
    pub(super) wrong: Vec<String>,
    /// Requests that nobody answered.
    pub(super) unanswered: u64,
}

impl Counts {
    /// MESSAGEs that were accepted and that no phone has taken; negative where some came twice.
    #[expect(clippy::cast_possible_wrap, reason = "counts of one run")]
    pub(super) const fn untaken(&self) -> i64 {
        (self.messages + self.messages_kept) as i64 - self.messages_taken as i64
    }
}

/// All phones, in one thread.
pub(super) struct Phones {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Counts>>,
}

impl Phones {
    /// Does so many things a second.
    pub(super) fn start(rate: u32) -> Result<Self, BenchError> {
        let bind = |address: (Ipv4Addr, u16)| -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = [
            bind((PHONES, 5061)),
            bind((PHONES, 5062)),
            bind((PHONES, 5063)),
            bind((CALLER, 5060)),
        ];
        let [answering, ringing, registering, gateway] = sockets;
        let mut phones = Switchboard {
            sockets: [answering?, ringing?, registering?, gateway?],
            asked: HashMap::new(),
            rung: HashMap::new(),
            taken: HashSet::new(),
            counts: Counts::default(),
            number: 0,
        };
        for (user, at) in [
            ("yes", ANSWERING),
            ("rings", RINGING),
            ("two", ANSWERING),
            ("two", RINGING),
        ] {
            phones.register(user, at, 600, PASSWORD)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let pause = Duration::from_secs(1) / rate.max(1);
        let thread = thread::spawn(move || {
            phones.run(pause, &seen)?;
            Ok(phones.counts)
        });
        // They are registered before they are called.
        thread::sleep(Duration::from_secs(1));
        Ok(Self { stop, thread })
    }

    /// Ends it, when what is under way is over.
    pub(super) fn stop(self) -> Result<Counts, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        let broken = |_| BenchError::Run("the phones broke".to_owned());
        Ok(self.thread.join().map_err(broken)??)
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Register,
    WrongPassword,
    Message,
    MessageKept,
}

/// A request that waits for its final answer.
struct Asked {
    purpose: Purpose,
    socket: usize,
    user: String,
    expires: u32,
    challenged: bool,
}

struct Switchboard {
    sockets: [UdpSocket; 4],
    asked: HashMap<String, Asked>,
    /// INVITEs that are not answered, by their Call-ID.
    rung: HashMap<String, Message>,
    /// The branches of the MESSAGEs that came: one that is sent again has the same.
    taken: HashSet<String>,
    counts: Counts,
    number: u64,
}

impl Switchboard {
    fn run(&mut self, pause: Duration, stop: &AtomicBool) -> io::Result<()> {
        let mut due = Instant::now();
        for turn in 0_usize.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.act(turn)?;
            due += pause;
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                self.wait(left)?;
            }
        }
        // Who was away comes back for what is kept.
        self.register("away", REGISTERING, 600, PASSWORD)?;
        let end = Instant::now() + LAST;
        let due = |this: &Self| !this.asked.is_empty() || this.counts.untaken() > 0;
        while due(self) && Instant::now() < end {
            self.wait(Duration::from_millis(50))?;
        }
        self.counts.unanswered = self.asked.len() as u64;
        Ok(())
    }

    fn act(&mut self, turn: usize) -> io::Result<()> {
        let round = turn / 7;
        let user = format!("u{}", round % CROWD);
        match turn % 7 {
            0 => self.register(&user, REGISTERING, 600, PASSWORD),
            1 => self.message(&user, Purpose::Message),
            2 => self.register(&user, REGISTERING, 600, "wrong"),
            3 => self.message("away", Purpose::MessageKept),
            4 if round.is_multiple_of(2) => self.register("rings", RINGING, 600, PASSWORD),
            4 if round % 4 == 1 => self.register("two", RINGING, 600, PASSWORD),
            4 => self.register("two", ANSWERING, 600, PASSWORD),
            5 => self.register("yes", ANSWERING, 600, PASSWORD),
            // There for five rounds, away for five.
            _ => match round % 10 {
                0 => self.register("away", REGISTERING, 0, PASSWORD),
                5 => self.register("away", REGISTERING, 600, PASSWORD),
                _ => Ok(()),
            },
        }
    }

    fn register(
        &mut self,
        user: &str,
        socket: usize,
        expires: u32,
        password: &str,
    ) -> io::Result<()> {
        let purpose = if password == PASSWORD {
            Purpose::Register
        } else {
            Purpose::WrongPassword
        };
        let id = self.name();
        let asked = Asked {
            purpose,
            socket,
            user: user.to_owned(),
            expires,
            challenged: false,
        };
        self.send_register(&id, &asked, "")?;
        self.asked.insert(id, asked);
        Ok(())
    }

    fn send_register(&self, id: &str, asked: &Asked, credentials: &str) -> io::Result<()> {
        let local = self.sockets[asked.socket].local_addr()?;
        let (user, expires) = (&asked.user, asked.expires);
        let cseq = 1 + u8::from(asked.challenged);
        let text = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{id}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag={id}\r\nTo: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: {id}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{local}>\r\n\
             Expires: {expires}\r\n{credentials}Content-Length: 0\r\n\r\n"
        );
        self.send(asked.socket, text.as_bytes(), SIP)
    }

    fn message(&mut self, user: &str, purpose: Purpose) -> io::Result<()> {
        let id = self.name();
        let local = self.sockets[GATEWAY].local_addr()?;
        let text = format!(
            "MESSAGE sip:{user}@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{id};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:gateway@{local}>;tag={id}\r\nTo: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: {id}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
        );
        self.send(GATEWAY, text.as_bytes(), SIP)?;
        let asked = Asked {
            purpose,
            socket: GATEWAY,
            user: user.to_owned(),
            expires: 0,
            challenged: false,
        };
        self.asked.insert(id, asked);
        Ok(())
    }

    fn name(&mut self) -> String {
        self.number += 1;
        format!("mixed{}", self.number)
    }

    /// Takes what comes within `limit`.
    fn wait(&mut self, limit: Duration) -> io::Result<()> {
        let mut polled = self
            .sockets
            .each_ref()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN));
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        poll(&mut polled, Some(&limit))?;
        let mut buffer = [0; 8192];
        for at in 0..self.sockets.len() {
            while let Ok((length, from)) = self.sockets[at].recv_from(&mut buffer) {
                let Ok(message) = Message::parse(buffer[..length].to_vec().into()) else {
                    // A keepalive.
                    continue;
                };
                match message.status() {
                    Some(status) => self.hear(status, &message)?,
                    None => self.answer(at, message, from)?,
                }
            }
        }
        Ok(())
    }

    /// An answer to a request of ours.
    fn hear(&mut self, status: u16, response: &Message) -> io::Result<()> {
        let id = response.call_id().unwrap_or_default().to_owned();
        if status < 200 {
            return Ok(());
        }
        let Some(mut asked) = self.asked.remove(&id) else {
            self.counts.wrong.push(format!("{status} to nothing"));
            return Ok(());
        };
        if status == 401 && !asked.challenged {
            asked.challenged = true;
            let password = match asked.purpose {
                Purpose::WrongPassword => "wrong",
                _ => PASSWORD,
            };
            let credentials = credentials(response, &asked.user, password);
            self.send_register(&id, &asked, &credentials)?;
            self.asked.insert(id, asked);
            return Ok(());
        }
        let counts = &mut self.counts;
        match (asked.purpose, status) {
            (Purpose::Register, 200) => counts.registered += 1,
            (Purpose::WrongPassword, 401) => counts.wrong_passwords += 1,
            (Purpose::Message, 200) => counts.messages += 1,
            // Or the user is there.
            (Purpose::MessageKept, 200 | 202) => counts.messages_kept += 1,
            (purpose, status) => counts
                .wrong
                .push(format!("{status} to {purpose:?} of {}", asked.user)),
        }
        Ok(())
    }

    /// A request of the node's.
    fn answer(&mut self, at: usize, request: Message, from: SocketAddr) -> io::Result<()> {
        let local = self.sockets[at].local_addr()?;
        let id = request.call_id().unwrap_or_default().to_owned();
        let contact = format!("<sip:phone@{local}>");
        let respond = |request: &Message, status: u16, sdp: Option<String>| {
            let response = request.respond(status).to_tag(format!("p{at}"));
            let response = response.header("Contact", &contact);
            match sdp {
                Some(sdp) => response.body("application/sdp", sdp.into_bytes()).build(),
                None => response.build(),
            }
        };
        let mut out = Vec::new();
        match request.method() {
            Some(Method::Ack) => {}
            Some(Method::Invite) if at == ANSWERING => {
                self.counts.answered += 1;
                let sdp = format!(
                    "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
                     m=audio 7000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",
                    ip = local.ip()
                );
                out.push(respond(&request, 180, None));
                out.push(respond(&request, 200, Some(sdp)));
            }
            Some(Method::Invite) => {
                out.push(respond(&request, 180, None));
                self.rung.insert(id, request);
            }
            Some(Method::Cancel) => {
                out.push(respond(&request, 200, None));
                if let Some(invite) = self.rung.remove(&id) {
                    self.counts.cancelled += 1;
                    out.push(respond(&invite, 487, None));
                }
            }
            Some(method) => {
                if *method == Method::Message {
                    let branch = request.via().ok().and_then(|via| via.branch());
                    let is_new = self.taken.insert(branch.unwrap_or_default().to_owned());
                    self.counts.messages_taken += u64::from(is_new);
                    self.counts.messages_again += u64::from(!is_new);
                }
                out.push(respond(&request, 200, None));
            }
            None => {}
        }
        for response in out {
            let response = response.map_err(io::Error::other)?;
            self.send(at, response.as_bytes(), from)?;
        }
        Ok(())
    }

    fn send(&self, at: usize, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.sockets[at].send_to(bytes, to).map(drop)
    }
}

/// The header field for a challenge; nothing where it is none of the domain's.
fn credentials(challenge: &Message, user: &str, password: &str) -> String {
    let answer = Answer {
        username: user,
        secret: Secret::Password(password),
        realm: Some(DOMAIN),
        method: "REGISTER",
        uri: &format!("sip:{DOMAIN}"),
        body: b"",
        cnonce: "0a4f113b",
        nc: 1,
    };
    match digest::answer(&Challenge::of_response(challenge), &answer) {
        Ok((value, _)) => format!("Authorization: {value}\r\n"),
        Err(_) => String::new(),
    }
}
