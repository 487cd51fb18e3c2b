//! One binding, packed: there are hundreds of thousands of them.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use control::{config::Transport, signal::BindingInfo};
use sip::{
    header::{HeaderName, ListValues, NameAddr},
    registrar::{self, Change, Known, Register, Wish},
};
use store::Timestamp;

use super::{Came, Contact, Phone};
use crate::{
    directory::Aor,
    net::{Flow, Local},
};

/// Octets of a User-Agent that are kept.
const USER_AGENT: usize = 64;
/// The q of a Contact without one.
const NO_Q: u16 = u16::MAX;

/// A phone of a user.
#[derive(Debug)]
pub(super) struct Binding {
    /// The Contact value, the Call-ID, the Path values, the instance and the User-Agent in a row.
    text: Box<str>,
    /// Where each of them but the last ends.
    ends: [u16; 4],
    /// Where in the Contact value the URI is.
    uri: (u16, u16),
    q: u16,
    /// 0 for none: then the instance is empty too.
    reg_id: u32,
    cseq: u32,
    /// Seconds since 1970.
    renewed: u32,
    expires: u32,
    /// Until when it lives by what was given to be written; 0 where nothing of it was.
    written: u32,
    flow: Flow,
}

impl Binding {
    fn new(contact: &registrar::Contact, request: &Register, came: &Came<'_>, now: u32) -> Self {
        let flow = contact.flow.as_ref();
        Self::pack(
            [
                &contact.value,
                &request.call_id,
                &request.path.join(", "),
                flow.map_or("", |flow| &flow.instance),
                came.user_agent,
            ],
            Self {
                text: Box::default(),
                ends: [0; 4],
                uri: (short(contact.uri.start), short(contact.uri.end)),
                q: contact.q.unwrap_or(NO_Q),
                reg_id: flow.map_or(0, |flow| flow.reg_id),
                cseq: request.cseq,
                renewed: now,
                expires: now.saturating_add(contact.expires),
                written: 0,
                flow: came.flow,
            },
        )
    }

    /// Of a row in the store; `None` where it cannot be reached any more, or makes no sense.
    pub(super) fn restore(row: &store::Binding, locals: &[Local]) -> Option<Self> {
        let transport: Transport = row.transport.parse().ok()?;
        if matches!(transport, Transport::Ws | Transport::Wss) {
            return None;
        }
        let (local, remote) = (row.local.parse().ok()?, row.remote.parse().ok()?);
        let mut fitting = locals.iter().filter(|own| own.transport == transport);
        let same = fitting.clone().any(|own| own.address == local);
        let local = if same {
            local
        } else {
            let family = |own: &&Local| own.address.is_ipv4() == local.is_ipv4();
            fitting.find(family)?.address
        };
        let address = NameAddr::parse(HeaderName::Contact, row.contact.as_bytes());
        let start = row.contact.find(address.ok()?.uri_str())?;
        let end = row.contact.get(start..)?.find('>')? + start;
        let flow = row.flow.as_ref();
        let texts = [
            row.contact.as_str(),
            &row.call_id,
            &row.path,
            flow.map_or("", |(instance, _)| instance),
            &row.user_agent,
        ];
        if texts.iter().map(|text| text.len()).sum::<usize>() > usize::from(u16::MAX) {
            return None;
        }
        Some(Self::pack(
            texts,
            Self {
                text: Box::default(),
                ends: [0; 4],
                uri: (short(start), short(end)),
                q: row.q.unwrap_or(NO_Q),
                reg_id: flow.map_or(0, |(_, reg_id)| *reg_id),
                cseq: row.cseq,
                renewed: super::seconds(row.renewed),
                expires: super::seconds(row.expires),
                written: super::seconds(row.expires),
                flow: Flow::to(transport, local, remote),
            },
        ))
    }

    /// As a row for the store, which is to be written now.
    pub(super) fn write(&mut self) -> store::Binding {
        self.written = self.expires;
        let time = |seconds: u32| Timestamp::from_millis(i64::from(seconds) * 1_000);
        store::Binding {
            contact: self.part(0).to_owned(),
            call_id: self.part(1).to_owned(),
            cseq: self.cseq,
            q: (self.q != NO_Q).then_some(self.q),
            path: self.part(2).to_owned(),
            flow: self
                .flow_id()
                .map(|(instance, reg_id)| (instance.to_owned(), reg_id)),
            user_agent: self.part(4).to_owned(),
            transport: self.flow.transport.to_string(),
            local: self.flow.local.to_string(),
            remote: self.flow.remote.to_string(),
            renewed: time(self.renewed),
            expires: time(self.expires),
        }
    }

    /// Takes over from what it renews, where nothing but its times is new, what the store knows of it.
    fn renews(&mut self, old: &Self) {
        let same = (
            &self.text,
            self.ends,
            self.uri,
            self.q,
            self.reg_id,
            self.flow,
        ) == (&old.text, old.ends, old.uri, old.q, old.reg_id, old.flow);
        if same {
            self.written = old.written;
        }
    }

    /// Whether the store has to hear of it. Not where what is written outlives half of its time: who
    /// refreshes that early, most often to keep a NAT's mapping open, does so again before it is over.
    const fn is_news(&self, now: u32) -> bool {
        let left = self.written.saturating_sub(now);
        self.written > self.expires || left < self.expires.saturating_sub(now) / 2
    }

    pub(super) fn contact(&self) -> Contact {
        let path = ListValues::new(self.part(2).as_bytes());
        let path = path.filter_map(|value| {
            let address = NameAddr::parse(HeaderName::Path, value).ok()?;
            Some(address.uri_str().to_owned())
        });
        Contact {
            uri: self.uri().to_owned(),
            path: path.collect(),
            flow: self.has_flow().then_some(self.flow),
            source: self.source(),
            q: if self.q == NO_Q { 1_000 } else { self.q },
            phone: self.phone(),
        }
    }

    /// Which phone it is of.
    pub(super) fn phone(&self) -> Phone {
        let contact = NameAddr::parse(HeaderName::Contact, self.part(0).as_bytes()).ok();
        let instance = contact.and_then(|contact| contact.params().get("+sip.instance"));
        let mut hasher = DefaultHasher::new();
        match instance {
            Some(instance) => instance.to_ascii_lowercase().hash(&mut hasher),
            None => self.part(1).hash(&mut hasher),
        }
        Phone(hasher.finish())
    }

    /// Whether what comes by a flow is from it: over the same connection, or from the same port.
    pub(super) fn is_behind(&self, flow: &Flow) -> bool {
        let place = |flow: &Flow| (flow.transport, flow.remote, flow.connection);
        place(&self.flow) == place(flow)
    }

    /// Whether its flow is not known to be gone.
    fn has_flow(&self) -> bool {
        self.flow.connection.is_some() || self.flow.transport == Transport::Udp
    }

    /// Whether it is another binding of the same phone, or itself: one instance, or all that is sent goes
    /// the same way.
    pub(super) fn is_phone_of(&self, other: &Self) -> bool {
        match (self.flow_id(), other.flow_id()) {
            (Some((one, _)), Some((two, _))) if one.eq_ignore_ascii_case(two) => true,
            _ => (self.uri(), self.part(2), self.flow) == (other.uri(), other.part(2), other.flow),
        }
    }

    /// Which of a phone's bindings to call: the greater, the better.
    pub(super) fn rank(&self) -> (bool, u32) {
        (self.has_flow(), self.renewed)
    }

    pub(super) fn shown(&self, aor: &Aor, now: u32) -> BindingInfo {
        BindingInfo {
            user: aor.as_str().to_owned(),
            contact: self.uri().to_owned(),
            q: (self.q != NO_Q).then_some(self.q),
            source: self.flow.to_string(),
            user_agent: self.part(4).to_owned(),
            expires_s: self.expires.saturating_sub(now),
        }
    }

    /// The Contact value of an answer.
    pub(super) fn granted(&self, now: u32) -> String {
        let left = self.expires.saturating_sub(now);
        format!("{};expires={left}", self.part(0))
    }

    pub(super) const fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The address that it came from.
    pub(super) fn source(&self) -> IpAddr {
        self.flow.remote.ip().to_canonical()
    }

    pub(super) const fn expires(&self) -> u32 {
        self.expires
    }

    pub(super) const fn is_over(&self, now: u32) -> bool {
        self.expires <= now
    }

    fn flow_id(&self) -> Option<(&str, u32)> {
        (self.reg_id > 0).then(|| (self.part(3), self.reg_id))
    }

    /// Puts the texts into one. Each has its bound, and all together are below 64 KB: see
    /// [`sip::registrar`].
    fn pack(texts: [&str; 5], mut binding: Self) -> Self {
        let [contact, call_id, path, instance, user_agent] = texts;
        let user_agent = head(user_agent, USER_AGENT);
        let mut text = String::with_capacity(
            contact.len() + call_id.len() + path.len() + instance.len() + user_agent.len(),
        );
        for (at, part) in [contact, call_id, path, instance].into_iter().enumerate() {
            text.push_str(part);
            binding.ends[at] = short(text.len());
        }
        text.push_str(user_agent);
        binding.text = text.into();
        binding
    }

    fn part(&self, index: usize) -> &str {
        let end = |index: usize| self.ends.get(index).map(|end| usize::from(*end));
        let start = index.checked_sub(1).and_then(end).unwrap_or(0);
        let end = end(index).unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default()
    }
}

impl Known for Binding {
    fn uri(&self) -> &str {
        let (start, end) = self.uri;
        let range = usize::from(start)..usize::from(end);
        self.text.get(range).unwrap_or_default()
    }

    fn flow(&self) -> Option<(&str, u32)> {
        self.flow_id()
    }

    fn order(&self) -> (&str, u32) {
        (self.part(1), self.cseq)
    }

    fn renewed(&self) -> u64 {
        self.renewed.into()
    }
}

/// Does what was decided on a REGISTER; tells whether the store has to hear of it.
pub(super) fn apply(
    bindings: &mut Vec<Binding>,
    changes: &[Change],
    request: &Register,
    came: &Came<'_>,
    now: u32,
) -> bool {
    let Wish::Update(contacts) = &request.wish else {
        // What is left to do is to remove all.
        bindings.clear();
        return true;
    };
    let bound = |contact: usize| {
        let contact = contacts.get(contact)?;
        Some(Binding::new(contact, request, came, now))
    };
    let mut gone = vec![false; bindings.len()];
    let mut added = Vec::new();
    let mut is_news = false;
    for change in changes {
        match *change {
            Change::Remove(at) => gone[at] = true,
            Change::Renew { binding, contact } => {
                if let Some(mut renewed) = bound(contact) {
                    renewed.renews(&bindings[binding]);
                    is_news |= renewed.is_news(now);
                    bindings[binding] = renewed;
                }
            }
            Change::Add { contact } => added.extend(bound(contact)),
        }
    }
    is_news |= !added.is_empty() || gone.contains(&true);
    let mut gone = gone.into_iter();
    bindings.retain(|_| !gone.next().unwrap_or(false));
    extend(bindings, added);
    is_news
}

/// Adds without room to spare: most users have one binding, and would else have room for four.
pub(super) fn extend(bindings: &mut Vec<Binding>, added: Vec<Binding>) {
    bindings.reserve_exact(added.len());
    bindings.extend(added);
}

/// The first `most` octets of a text, or a few less where a character ends there.
fn head(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
