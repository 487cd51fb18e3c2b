//! A mediad that is played.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use control::{
    Fault, FaultCode,
    channel::RequestError,
    media::{
        self, Create, Family, FlowStats, Local as Leg, Path, SessionId, SessionInfo, SessionStats,
    },
};

use crate::call::MediaToken;

/// A mediad that is played.
#[derive(Default)]
pub(in super::super) struct Mediad {
    pub(in super::super) sessions: BTreeMap<[u8; 16], (Create, SessionInfo)>,
    pub(in super::super) asked: Vec<media::Request>,
    /// Answers wait here while `holds`.
    pub(in super::super) held: VecDeque<(MediaToken, Result<media::Response, RequestError>)>,
    pub(in super::super) holds: bool,
    pub(in super::super) fails: bool,
    /// Orders of programmable voice that get no answer, from now on.
    pub(in super::super) unheard: u32,
    pub(in super::super) silent_ms: u64,
    /// How often it was asked how calls sound.
    pub(in super::super) surveys: u64,
    /// The files of sessions that are recorded.
    pub(in super::super) recorded: BTreeMap<[u8; 16], String>,
    /// What was said of recordings.
    pub(in super::super) records: Vec<media::Record>,
    /// What was to be done in sessions of programmable voice.
    pub(in super::super) orders: Vec<media::VoiceOrder>,
    files: u32,
    next_port: u16,
}

impl Mediad {
    /// With ports from this one on.
    pub(super) fn new(next_port: u16) -> Self {
        Self {
            next_port,
            ..Self::default()
        }
    }

    pub(super) fn answer(
        &mut self,
        request: media::Request,
    ) -> Result<media::Response, RequestError> {
        let missing = || Fault::new(FaultCode::NotFound, "there is no such session").into();
        match request {
            media::Request::Create(_) if self.fails => {
                Err(Fault::new(FaultCode::Exhausted, "no port is free").into())
            }
            media::Request::Create(create)
                if foreign(&create.a, create.a.remote.as_ref())
                    || foreign(&create.b, create.b.remote.as_ref()) =>
            {
                Err(Fault::new(FaultCode::Invalid, "not of that family").into())
            }
            media::Request::Create(create) | media::Request::Beside(_, create) => {
                let (a, b) = (self.leg(&create.a), self.leg(&create.b));
                let info = SessionInfo {
                    id: create.id,
                    a,
                    b,
                };
                let key = create.id.0;
                let muted = (create.a.muted, create.b.muted);
                let entry = self.sessions.entry(key).or_insert((create, info));
                (entry.0.a.muted, entry.0.b.muted) = muted;
                Ok(media::Response::Session(entry.1.clone()))
            }
            media::Request::Modify(modify) => match self.sessions.get_mut(&modify.id.0) {
                Some((create, _))
                    if foreign(&create.a, modify.a.as_ref())
                        || foreign(&create.b, modify.b.as_ref()) =>
                {
                    Err(Fault::new(FaultCode::Invalid, "not of that family").into())
                }
                Some((create, info)) => {
                    let [a, b] = modify.handling;
                    create.a.handling = a.unwrap_or_else(|| create.a.handling.clone());
                    create.b.handling = b.unwrap_or_else(|| create.b.handling.clone());
                    create.a.remote = modify.a.or_else(|| create.a.remote.take());
                    create.b.remote = modify.b.or_else(|| create.b.remote.take());
                    Ok(media::Response::Session(info.clone()))
                }
                None => Err(missing()),
            },
            media::Request::Mute(_) if self.fails => {
                Err(Fault::new(FaultCode::Unavailable, "stopping").into())
            }
            media::Request::Mute(mute) => match self.sessions.get_mut(&mute.id.0) {
                Some((create, info)) => {
                    (create.a.muted, create.b.muted) = (mute.a, mute.b);
                    Ok(media::Response::Session(info.clone()))
                }
                None => Err(missing()),
            },
            media::Request::Delete(id) => match self.sessions.remove(&id.0) {
                Some(_) => Ok(media::Response::Stats(Box::new(self.stats(id)))),
                None => Ok(media::Response::Gone),
            },
            media::Request::Query(id) => match self.sessions.contains_key(&id.0) {
                true => Ok(media::Response::Stats(Box::new(self.stats(id)))),
                false => Err(missing()),
            },
            media::Request::Record(record) => match self.sessions.contains_key(&record.id.0) {
                true => {
                    self.records.push(record.clone());
                    let file = record.name.map(|name| {
                        let number = &mut self.files;
                        let known = self.recorded.entry(record.id.0);
                        known
                            .or_insert_with(|| {
                                *number += 1;
                                format!("/recordings/{name}-{number}.wav")
                            })
                            .clone()
                    });
                    if file.is_none() {
                        self.recorded.remove(&record.id.0);
                    }
                    Ok(media::Response::Recording(file))
                }
                false => Err(missing()),
            },
            media::Request::Dtmf(dtmf) => match self.sessions.get(&dtmf.id.0) {
                Some((create, info)) => {
                    let (a, b) = (&create.a, &create.b);
                    let hearer = if dtmf.hears == media::Side::A { a } else { b };
                    let events = hearer.remote.as_ref().and_then(|remote| remote.events);
                    match events {
                        Some(_) => Ok(media::Response::Session(info.clone())),
                        None => Err(Fault::new(FaultCode::Conflict, "no telephone-event").into()),
                    }
                }
                None => Err(missing()),
            },
            media::Request::Voice(_) if self.unheard > 0 => {
                self.unheard -= 1;
                Err(RequestError::Timeout)
            }
            media::Request::Voice(voice) => match self.sessions.get(&voice.id.0) {
                Some((_, info)) => {
                    self.orders.extend(voice.orders);
                    Ok(media::Response::Session(info.clone()))
                }
                None => Err(missing()),
            },
            media::Request::Survey(ids) => {
                self.surveys += 1;
                let here = ids.iter().filter(|id| self.sessions.contains_key(&id.0));
                let flow = |packets| media::FlowSample {
                    packets,
                    lost: 1,
                    jitter_us: 1500,
                    mos: Some(4.0),
                    rtt_us: Some(20_000),
                };
                let surveyed = here.map(|id| media::Surveyed {
                    id: *id,
                    from_a: flow(500 * self.surveys),
                    from_b: flow(400 * self.surveys),
                    path: Path::Xdp,
                });
                Ok(media::Response::Survey(surveyed.collect()))
            }
            other => panic!("{other:?}"),
        }
    }

    fn leg(&mut self, leg: &media::Leg) -> Leg {
        let ip = match leg.family {
            Family::V4 => "198.51.100.1",
            Family::V6 => "2001:db8:ffff::1",
        };
        let port = leg.port.unwrap_or(self.next_port);
        self.next_port = self.next_port.wrapping_add(2);
        let address = |port| SocketAddr::new(ip.parse().unwrap(), port);
        Leg {
            rtp: address(port),
            rtcp: address(port + 1),
        }
    }

    fn stats(&self, id: SessionId) -> SessionStats {
        let flow = |packets| FlowStats {
            packets,
            bytes: packets * 172,
            forwarded: packets,
            lost: 3,
            jitter_us: 1500,
            mos: Some(4.4),
            ..FlowStats::default()
        };
        SessionStats {
            id,
            from_a: flow(1000),
            from_b: flow(900),
            path: Path::Xdp,
            silent_ms: self.silent_ms,
        }
    }

    /// The only session's description.
    pub(in super::super) fn only(&self) -> &Create {
        assert_eq!(self.sessions.len(), 1, "{:?}", self.sessions);
        &self.sessions.values().next().unwrap().0
    }
}

/// As mediad has it: a leg is of the family that it was made for.
fn foreign(leg: &media::Leg, remote: Option<&media::Remote>) -> bool {
    remote.is_some_and(|remote| Family::of(&remote.rtp) != leg.family)
}
