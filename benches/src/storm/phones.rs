//! Phones that have their power back at the same moment, each at an address or a port of its own: they
//! register by digest, send again by the timers of RFC 3261 section 17.1.2, and try anew after a refusal.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::event::epoll;
use sip::{
    digest::{Answer, Challenge, Secret, answer},
    header::HeaderName,
    message::Message,
};

use super::line::Shared;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Timer F.
const TIMEOUT: Duration = Duration::from_secs(32);
/// Until a phone tries again that had no answer at all, or one that names no time.
const AGAIN: Duration = Duration::from_secs(5);
/// Phones that are worked on before the next look at what came, and datagrams of the shared socket that are
/// looked at in one go.
const TURN: usize = 256;
/// What names the shared socket among the phones.
const SHARED: u64 = u64::MAX;
/// The first address of phones that have their own.
const FIRST: u32 = u32::from_be_bytes([198, 18, 1, 1]);
/// The address of those that share one.
const ONE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The domain of all users.
pub(super) const DOMAIN: &str = "storm.test";
/// One password for all: what is measured is not who has which.
pub(super) const PASSWORD: &str = "storm";

/// All phones of a bed.
pub(super) struct Phones {
    node: SocketAddrV4,
    phones: Vec<Phone>,
    /// Phones of these at one address: the first ones.
    behind_one: usize,
    shared: Shared,
    epoll: OwnedFd,
    /// When to look at which phone, and of which of its transactions that is.
    due: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    /// Of the storms that there were.
    storms: u32,
    now: Instant,
}

struct Phone {
    /// Where it has a port of its own.
    socket: Option<UdpSocket>,
    contact: SocketAddr,
    cseq: u32,
    authorization: Option<String>,
    /// When the transaction began, and the time until it sends again.
    began: Instant,
    interval: Duration,
    is_done: bool,
}

/// What a storm was like.
#[derive(Clone, Debug, Default)]
pub(super) struct Storm {
    /// Since its begin, of each phone that is registered.
    pub(super) took: Vec<Duration>,
    /// Datagrams that the phones sent, and those of them that were sent again.
    pub(super) sent: u64,
    pub(super) again: u64,
    /// 500 and 503.
    pub(super) put_off: u64,
    /// Other refusals than challenges: there should be none.
    pub(super) refused: u64,
}

impl Phones {
    /// Phones in the caller's namespace, `behind_one` of them at one address.
    pub(super) fn new(node: SocketAddr, count: usize, behind_one: usize) -> io::Result<Self> {
        let SocketAddr::V4(node) = node else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let now = Instant::now();
        let shared = Shared::bind()?;
        let data = epoll::EventData::new_u64(SHARED);
        epoll::add(&epoll, &shared, data, epoll::EventFlags::IN)?;
        let mut phones = Vec::with_capacity(count);
        for index in 0..count {
            let (socket, contact) = if index < behind_one {
                let socket = UdpSocket::bind((ONE, 0))?;
                socket.set_nonblocking(true)?;
                let data = epoll::EventData::new_u64(u64::try_from(index).unwrap_or(SHARED));
                epoll::add(&epoll, &socket, data, epoll::EventFlags::IN)?;
                let contact = socket.local_addr()?;
                (Some(socket), contact)
            } else {
                let own = u32::try_from(index - behind_one).unwrap_or(u32::MAX);
                (None, Shared::contact(FIRST.saturating_add(own).into()))
            };
            phones.push(Phone {
                socket,
                contact,
                cseq: 0,
                authorization: None,
                began: now,
                interval: T1,
                is_done: false,
            });
        }
        Ok(Self {
            node,
            phones,
            behind_one,
            shared,
            epoll,
            due: BinaryHeap::new(),
            storms: 0,
            now,
        })
    }

    /// The power is back: all register, as fast as they can be made to, until all are or `limit` is over.
    pub(super) fn storm(&mut self, limit: Duration) -> io::Result<Storm> {
        let mut storm = Storm::default();
        let start = Instant::now();
        self.now = start;
        self.storms += 1;
        self.due.clear();
        for index in 0..self.phones.len() {
            self.phones[index].is_done = false;
            self.begin(index, None, Duration::ZERO);
        }
        let mut events = Vec::with_capacity(TURN);
        while storm.took.len() < self.phones.len() && start.elapsed() < limit {
            self.now = Instant::now();
            for _ in 0..TURN {
                match self.due.peek() {
                    Some(Reverse((at, ..))) if *at <= self.now => {}
                    _ => break,
                }
                if let Some(Reverse((_, index, cseq))) = self.due.pop() {
                    self.send(index, cseq, &mut storm)?;
                }
            }
            let is_late = self
                .due
                .peek()
                .is_some_and(|Reverse((at, ..))| *at <= self.now);
            let wait = Duration::from_millis(if is_late { 0 } else { 2 });
            let wait = rustix::event::Timespec::try_from(wait).ok();
            events.clear();
            epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                wait.as_ref(),
            )?;
            for event in &events {
                match event.data.u64() {
                    SHARED => self.receive_shared(start, &mut storm),
                    index => {
                        let index = usize::try_from(index).unwrap_or(usize::MAX);
                        self.receive_own(index, start, &mut storm);
                    }
                }
            }
        }
        storm.took.sort_unstable();
        Ok(storm)
    }

    /// A new transaction, with credentials or without.
    fn begin(&mut self, index: usize, authorization: Option<String>, wait: Duration) {
        let phone = &mut self.phones[index];
        phone.cseq += 1;
        phone.authorization = authorization;
        phone.began = self.now + wait;
        phone.interval = T1;
        self.due.push(Reverse((phone.began, index, phone.cseq)));
    }

    fn send(&mut self, index: usize, cseq: u32, storm: &mut Storm) -> io::Result<()> {
        let phone = &mut self.phones[index];
        // Its transaction is over.
        if phone.is_done || phone.cseq != cseq {
            return Ok(());
        }
        let age = self.now.saturating_duration_since(phone.began);
        if age >= TIMEOUT {
            self.begin(index, None, AGAIN);
            return Ok(());
        }
        let text = phone.register(index, self.storms);
        let sent = match (&phone.socket, phone.contact.ip()) {
            (Some(socket), _) => socket.send_to(text.as_bytes(), self.node).map(drop),
            (None, IpAddr::V4(from)) => self.shared.send(from, self.node, text.as_bytes()),
            (None, IpAddr::V6(_)) => Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        match sent {
            Ok(()) => {}
            // As good as lost on the way.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        storm.sent += 1;
        storm.again += u64::from(!age.is_zero() && phone.interval > T1);
        self.due
            .push(Reverse((self.now + phone.interval, index, cseq)));
        phone.interval = (phone.interval * 2).min(T2);
        Ok(())
    }

    fn receive_own(&mut self, index: usize, start: Instant, storm: &mut Storm) {
        let mut buffer = [0; 4096];
        let socket = self
            .phones
            .get(index)
            .and_then(|phone| phone.socket.as_ref());
        if let Some(Ok(length)) = socket.map(|socket| socket.recv(&mut buffer)) {
            self.hear(index, &buffer[..length], start, storm);
        }
    }

    fn receive_shared(&mut self, start: Instant, storm: &mut Storm) {
        let mut buffer = [0; 4096];
        for _ in 0..TURN {
            let Ok((length, to)) = self.shared.receive(&mut buffer) else {
                return;
            };
            let own = to.and_then(|to| u32::from(to).checked_sub(FIRST));
            let Some(own) = own.and_then(|own| usize::try_from(own).ok()) else {
                continue;
            };
            self.hear(self.behind_one + own, &buffer[..length], start, storm);
        }
    }

    fn hear(&mut self, index: usize, datagram: &[u8], start: Instant, storm: &mut Storm) {
        let Some(phone) = self.phones.get_mut(index) else {
            return;
        };
        let Ok(response) = Message::parse(datagram.to_vec().into()) else {
            return;
        };
        let is_current = response.cseq().is_ok_and(|cseq| cseq.number == phone.cseq);
        if phone.is_done || !is_current || response.is_request() {
            return;
        }
        match response.status() {
            Some(200) => {
                phone.is_done = true;
                storm.took.push(start.elapsed());
            }
            Some(401) if phone.authorization.is_none() => {
                let user = format!("phone{index}");
                let request = Answer {
                    username: &user,
                    secret: Secret::Password(PASSWORD),
                    realm: Some(DOMAIN),
                    method: "REGISTER",
                    uri: &format!("sip:{DOMAIN}"),
                    body: b"",
                    cnonce: "storm",
                    nc: 1,
                };
                match answer(&Challenge::of_response(&response), &request) {
                    Ok((value, _)) => self.begin(index, Some(value), Duration::ZERO),
                    Err(_) => storm.refused += 1,
                }
            }
            Some(status) => {
                match status {
                    500 | 503 => storm.put_off += 1,
                    _ => storm.refused += 1,
                }
                let seconds = response.header(HeaderName::RetryAfter);
                let seconds = seconds.and_then(|value| value.text().parse().ok());
                self.begin(index, None, seconds.map_or(AGAIN, Duration::from_secs));
            }
            None => {}
        }
    }
}

impl Phone {
    fn register(&self, index: usize, storm: u32) -> String {
        let Self { contact, cseq, .. } = self;
        let authorization = self.authorization.as_ref();
        let authorization =
            authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
        format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {contact};branch=z9hG4bK{storm}.{index}.{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:phone{index}@{DOMAIN}>;tag={index}\r\n\
             To: <sip:phone{index}@{DOMAIN}>\r\nCall-ID: {storm}.{index}@{contact}\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:phone{index}@{contact}>\r\nExpires: 3600\r\n\
             User-Agent: Storm\r\n{authorization}Content-Length: 0\r\n\r\n"
        )
    }
}
