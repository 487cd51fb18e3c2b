//! What happened, as clients see it.

use std::sync::Arc;

use control::signal::{Event as Told, Party, TrunkHostInfo, TrunkInfo, Unbound};
use serde::Serialize;
use store::Timestamp;
use utoipa::ToSchema;

use crate::{
    bans::Ban,
    calls::{Call, CallQuality},
    registrations::Registration,
};

/// What happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// Goes up by one. Of another start of the API it is another one: what is before the hyphen tells.
    #[schema(example = "01890a5dac96-17")]
    pub(super) id: String,
    #[schema(value_type = String, format = DateTime)]
    pub(super) time: Timestamp,
    /// Whose it is; `null`: the node's, and no tenant hears of it.
    pub(super) tenant: Option<String>,
    #[serde(flatten)]
    pub(super) what: What,
}

/// The kind of an event, and what it is about.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(crate) enum What {
    /// A call began, or is in another state.
    #[serde(rename = "call.updated")]
    CallUpdated {
        /// As it is now.
        call: Box<Call>,
    },
    /// A call is over. Its record follows in `/v1/cdrs`.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// As in `/v1/calls`.
        call_id: String,
        /// The last status, such as 200 or 486.
        status: u16,
        /// Why, in a few words.
        reason: String,
    },
    /// A phone has registered a Contact that it had not registered before.
    #[serde(rename = "registration.added")]
    RegistrationAdded {
        /// As it is now.
        registration: Box<Registration>,
    },
    /// A Contact is registered no more.
    #[serde(rename = "registration.removed")]
    RegistrationRemoved {
        /// As it was.
        registration: Box<Registration>,
        /// `expired`, `phone` (it took it back), `closed` (its connection is), `unreachable` or `operator`.
        why: &'static str,
    },
    /// A host of a trunk, or our registration with it, went down or came back.
    #[serde(rename = "trunk.changed")]
    TrunkChanged {
        /// As it is now.
        trunk: Box<TrunkState>,
    },
    /// A source is banned, or banned anew.
    #[serde(rename = "ban.added")]
    BanAdded {
        /// As it is now.
        ban: Box<Ban>,
    },
    /// A ban is over before its time.
    #[serde(rename = "ban.lifted")]
    BanLifted {
        /// As in `/v1/bans`.
        source: String,
    },
    /// How calls sound: those whose time has come, each every few seconds. Told to those only who name it.
    #[serde(rename = "quality.measured")]
    QualityMeasured {
        /// Of a tenant, to its keys.
        calls: Vec<CallQuality>,
    },
    /// What a party says is heard badly, and has been for some time.
    #[serde(rename = "quality.low")]
    QualityLow(Heard),
    /// It is heard well enough again.
    #[serde(rename = "quality.recovered")]
    QualityRecovered(Heard),
    /// Events were missed: what is known from events may be out of date.
    #[serde(rename = "missed")]
    Missed {
        /// How many; `null` where nobody knows.
        count: Option<u64>,
    },
}

/// How somebody is heard.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Heard {
    /// As in `/v1/calls`.
    call_id: String,
    /// Who is heard: `caller` or `callee`.
    #[schema(value_type = String, example = "caller")]
    party: Party,
    /// Estimated mean opinion score of the last interval, 1.0 to 4.5.
    mos: f32,
}

/// How a trunk is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TrunkState {
    #[schema(example = "carrier-a")]
    name: String,
    hosts: Vec<HostState>,
    /// Whether this node is registered with it; `null` where it wants no registration.
    registered: Option<bool>,
    /// Why the last attempt to register failed.
    registration_error: Option<String>,
    /// It gets no new calls, by an operator's order.
    drained: bool,
}

/// How a host of a trunk is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HostState {
    #[schema(example = "192.0.2.1:5060")]
    host: String,
    /// Whether it is thought to be up; one that is not is tried last.
    up: bool,
    /// What went wrong with it last.
    error: Option<String>,
}

impl What {
    /// Its `type`.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::CallUpdated { .. } => "call.updated",
            Self::CallEnded { .. } => "call.ended",
            Self::RegistrationAdded { .. } => "registration.added",
            Self::RegistrationRemoved { .. } => "registration.removed",
            Self::TrunkChanged { .. } => "trunk.changed",
            Self::BanAdded { .. } => "ban.added",
            Self::BanLifted { .. } => "ban.lifted",
            Self::QualityMeasured { .. } => MEASURED,
            Self::QualityLow(_) => "quality.low",
            Self::QualityRecovered(_) => "quality.recovered",
            Self::Missed { .. } => MISSED,
        }
    }
}

/// The type of what is told to everybody.
const MISSED: &str = "missed";

/// The type of what comes all the time, and is told to those only who name it.
pub(crate) const MEASURED: &str = "quality.measured";

/// What somebody wants to hear of, and may.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    types: Vec<String>,
    /// Only what is this tenant's.
    tenant: Option<String>,
}

/// All that there are, but that events were missed.
const KINDS: [&str; 10] = [
    "call.updated",
    "call.ended",
    "registration.added",
    "registration.removed",
    "trunk.changed",
    "ban.added",
    "ban.lifted",
    "quality.low",
    "quality.recovered",
    MEASURED,
];

impl Wanted {
    /// From types, or what they begin with before the dot, all where none is named; and of a tenant where one
    /// is.
    ///
    /// # Errors
    /// With what names no event.
    pub(crate) fn new(
        types: impl IntoIterator<Item = String>,
        tenant: Option<String>,
    ) -> Result<Self, String> {
        let types: Vec<String> = types.into_iter().collect();
        let known = |name: &str| KINDS.iter().any(|kind| is_of(kind, name));
        match types.iter().find(|name| !known(name)) {
            Some(unknown) => Err(format!(
                "'{unknown}' is no type of event; they are {}, or what is before their dot",
                KINDS.join(", ")
            )),
            None => Ok(Self { types, tenant }),
        }
    }

    /// Everything, but what comes all the time.
    pub(crate) const fn all() -> Self {
        Self {
            types: Vec::new(),
            tenant: None,
        }
    }

    /// Whether what comes all the time is some of it.
    pub(super) fn names_measured(&self) -> bool {
        self.types.iter().any(|name| is_of(MEASURED, name))
    }

    /// An event, as far as it is some of it. Everybody hears that something was missed.
    pub(crate) fn pick(&self, event: &Arc<Event>) -> Option<Arc<Event>> {
        let kind = event.what.kind();
        let is_named = match &*self.types {
            [] => kind != MEASURED,
            types => types.iter().any(|name| is_of(kind, name)),
        };
        if kind != MISSED && !is_named {
            return None;
        }
        let Some(tenant) = &self.tenant else {
            return Some(event.clone());
        };
        let is_its_own = |of: &Option<String>| of.as_ref() == Some(tenant);
        match &event.what {
            What::QualityMeasured { calls } => {
                let own = calls.iter().filter(|call| is_its_own(&call.tenant));
                let calls: Vec<_> = own.cloned().collect();
                let what = What::QualityMeasured { calls };
                let is_some = matches!(&what, What::QualityMeasured { calls } if !calls.is_empty());
                is_some.then(|| {
                    Arc::new(Event {
                        id: event.id.clone(),
                        time: event.time,
                        tenant: Some(tenant.clone()),
                        what,
                    })
                })
            }
            _ => (kind == MISSED || is_its_own(&event.tenant)).then(|| event.clone()),
        }
    }
}

fn is_of(kind: &str, name: &str) -> bool {
    let group = kind.split_once('.').map(|(group, _)| group);
    kind == name || group == Some(name)
}

impl From<Told> for What {
    fn from(told: Told) -> Self {
        match told {
            Told::Call(call) => Self::CallUpdated {
                call: Box::new(call.into()),
            },
            Told::Ended {
                id, status, reason, ..
            } => Self::CallEnded {
                call_id: id,
                status,
                reason,
            },
            Told::Registered(binding) => Self::RegistrationAdded {
                registration: Box::new(binding.into()),
            },
            Told::Unregistered { binding, why } => Self::RegistrationRemoved {
                registration: Box::new(binding.into()),
                why: match why {
                    Unbound::Expired => "expired",
                    Unbound::Phone => "phone",
                    Unbound::Closed => "closed",
                    Unbound::Unreachable => "unreachable",
                    Unbound::Operator => "operator",
                },
            },
            Told::Trunk(trunk) => Self::TrunkChanged {
                trunk: Box::new(trunk.into()),
            },
            Told::Banned(ban) => Self::BanAdded {
                ban: Box::new(ban.into()),
            },
            Told::Lifted { source } => Self::BanLifted { source },
            Told::Quality(calls) => Self::QualityMeasured {
                calls: calls.into_iter().map(CallQuality::from).collect(),
            },
            Told::Heard {
                id,
                party,
                mos,
                is_low,
                ..
            } => {
                let heard = Heard {
                    call_id: id,
                    party,
                    mos,
                };
                match is_low {
                    true => Self::QualityLow(heard),
                    false => Self::QualityRecovered(heard),
                }
            }
        }
    }
}

impl From<TrunkInfo> for TrunkState {
    fn from(trunk: TrunkInfo) -> Self {
        let host = |host: TrunkHostInfo| HostState {
            host: host.host,
            up: host.up,
            error: host.error,
        };
        let registration = trunk.registration;
        Self {
            name: trunk.name,
            hosts: trunk.hosts.into_iter().map(host).collect(),
            registered: registration.as_ref().map(|own| own.expires_s.is_some()),
            drained: trunk.drained,
            registration_error: registration.and_then(|own| own.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(types: &[&str]) -> Result<Wanted, String> {
        Wanted::new(types.iter().map(|name| (*name).to_owned()), None)
    }

    #[test]
    fn types_are_wanted_by_name_or_by_group() {
        let event = |what| Event {
            id: String::new(),
            time: Timestamp::now(),
            tenant: None,
            what,
        };
        let has = |wanted: &Wanted, event: &Event| wanted.pick(&Arc::new(event.clone())).is_some();
        let missed = event(What::Missed { count: None });
        let lifted = event(What::BanLifted {
            source: "192.0.2.1".to_owned(),
        });
        for types in [&[][..], &["ban"], &["call.ended", "ban.lifted"]] {
            assert!(has(&wanted(types).unwrap(), &lifted), "{types:?}");
        }
        assert!(!has(&wanted(&["call", "ban.added"]).unwrap(), &lifted));
        assert!(has(&wanted(&["call"]).unwrap(), &missed));
        assert_eq!(
            KINDS.iter().find(|kind| **kind == lifted.what.kind()),
            Some(&"ban.lifted")
        );
        let of_acme = Event {
            tenant: Some("acme".to_owned()),
            ..lifted.clone()
        };
        let acme = |types: &[&str]| Wanted {
            tenant: Some("acme".to_owned()),
            ..wanted(types).unwrap()
        };
        assert!(has(&acme(&["ban"]), &of_acme) && has(&acme(&[]), &of_acme));
        assert!(!has(&acme(&[]), &lifted) && !has(&acme(&["call"]), &of_acme));
        assert!(has(&acme(&["call"]), &missed));
        // What comes all the time is for those who name it, and a tenant hears of its own calls.
        let flow = || control::signal::FlowReport::default();
        let call = |id: &str, tenant: Option<&str>| control::signal::CallQuality {
            id: id.to_owned(),
            tenant: tenant.map(str::to_owned),
            at_ms: 0,
            path: control::media::Path::Xdp,
            caller: flow(),
            callee: flow(),
        };
        let told = Told::Quality(vec![call("1", Some("acme")), call("2", None)]);
        let measured = Arc::new(event(told.into()));
        let calls = |wanted: Wanted| match &wanted.pick(&measured)?.what {
            What::QualityMeasured { calls } => Some(calls.len()),
            _ => None,
        };
        assert_eq!(calls(wanted(&[]).unwrap()), None);
        assert_eq!(calls(wanted(&["quality"]).unwrap()), Some(2));
        assert_eq!(calls(acme(&["quality.measured"])), Some(1));
        let other = Wanted {
            tenant: Some("other".to_owned()),
            ..wanted(&["quality"]).unwrap()
        };
        assert_eq!(calls(other), None);
        for unknown in ["", "ca", "call.", "call.began", "missed"] {
            let told = wanted(&["ban", unknown]).unwrap_err();
            assert!(
                told.starts_with(&format!("'{unknown}' is no type")),
                "{told}"
            );
        }
    }
}
