//! What is asked of a directory, and what it answers: plain values that own what they name.

use std::{fmt, sync::Arc, time::Duration};

use control::config::Cost;
use store::Timestamp;

use super::{Application, Edits, Limit, Trunk};

/// An address of record: a user of one of our domains.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Aor(Arc<str>);

impl Aor {
    /// `user` as it is, for users are told apart by case (RFC 3261 section 19.1.4), `domain` in
    /// lower case.
    pub(crate) fn new(user: &str, domain: &str) -> Self {
        let mut text = String::with_capacity(user.len() + 1 + domain.len());
        text.push_str(user);
        text.push('@');
        text.push_str(domain);
        text[user.len()..].make_ascii_lowercase();
        Self(text.into())
    }

    /// `alice@example.test`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// `alice`.
    pub(crate) fn user(&self) -> &str {
        self.0.rsplit_once('@').map_or(&self.0, |(user, _)| user)
    }

    /// `example.test`.
    pub(crate) fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who calls, as admission found out.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A user, who proved it.
    User(Aor),
    /// A trunk, known by its source address.
    Trunk(Arc<Trunk>),
    /// This node itself, for an operator.
    Node,
}

/// One call to decide on.
#[derive(Clone, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) caller: &'a Caller,
    /// What the request says of its caller.
    pub(crate) from: Presented,
    /// The user part of the Request-URI, unescaped, with the parameters of a `tel:` URI; a `urn:` one
    /// whole.
    pub(crate) called: &'a str,
    /// Whom of ours the Request-URI names.
    pub(crate) named: Named,
    /// The Request-URI, where it is a document that calls: it may go beyond the node.
    pub(crate) by_document: Option<&'a str>,
    /// It is a call: where users have their calls forwarded to is not for their messages.
    pub(crate) is_call: bool,
    pub(crate) at: Timestamp,
    /// Random bits, by which shares are drawn; the same bits, the same answer.
    pub(crate) draw: u64,
}

/// Whom of ours a Request-URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// Nobody: a number is called, or this node has no domains and its trunks mean what they mean.
    Nobody,
    /// A user of ours.
    User(Aor),
    /// One who may not be called.
    Disabled(Aor),
    /// One of ours by the domain, but there is no such user.
    Unknown(Aor),
    /// The place is not of ours: this host.
    Elsewhere(String),
}

/// What a request says of its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presented {
    /// The user part of the URI in From, or in P-Asserted-Identity where its sender is trusted.
    pub(crate) user: String,
    /// The display name, without its quotes.
    pub(crate) display: Option<String>,
    /// The caller does not want to be known to the callee (RFC 3323).
    pub(crate) private: bool,
}

/// What is decided of a call.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    /// Whose the call is: of the tenant who pays for it; `None`: the node's.
    pub(crate) tenant: Option<Arc<str>>,
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    /// Nowhere, and the caller is told.
    Refuse(Refusal),
    /// Nowhere, and the caller is not answered at all.
    Silence,
    /// Along a plan.
    Plan(Plan),
}

/// A final response of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// For the log and the call's record.
    pub(crate) reason: String,
    pub(crate) cause: store::Cause,
}

/// What is tried, and in which order.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The first one is where the call begins; where it fails, [`Plan::after`] tells which follows.
    pub(crate) stages: Vec<Stage>,
    /// What to take before anything is tried, and to hold until the call is over. Those of a trunk
    /// that is tried are its carrier's.
    pub(crate) limits: Vec<Limit>,
    /// How long the call may last after its answer.
    pub(crate) longest: Option<Duration>,
    /// Never limited, never shed.
    pub(crate) emergency: bool,
    /// The called number as this node understands it: E.164 where it could tell.
    pub(crate) called: String,
    /// What the request is changed in before it goes to a user or a URI; a carrier has its own.
    pub(crate) edits: Edits,
    /// The prefix of the route that was taken first, for the call's record.
    pub(crate) route: Option<String>,
}

/// A place, or several that are one choice, and what brings a call there.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) when: When,
    pub(crate) destination: Destination,
    /// From the INVITE that is sent to the answer; then CANCEL.
    pub(crate) ring_timeout: Duration,
    /// Whether RTP goes through mediad.
    pub(crate) relay: bool,
    /// What to take, beside the plan's, before the stage is tried: those of a number that a call is
    /// forwarded to. Where one refuses, the stage fails.
    pub(crate) limits: Vec<Limit>,
    /// Whoever was called before has every call forwarded here.
    pub(crate) forwarded: bool,
}

/// What brings a call to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It begins there.
    First,
    /// The stage of this index ended so.
    After(usize, Outcome),
}

/// How a stage ended that nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// 486 or 600. A callee who declines (603) has spoken for every place, and nothing follows.
    Busy,
    /// It rang, and the time is over.
    NoAnswer,
    /// Nobody is registered, or nothing that could be reached gave an answer.
    Unreachable,
    /// Any other final response.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "busy",
            Self::NoAnswer => "not answered",
            Self::Unreachable => "not reached",
            Self::Failed => "failed",
        })
    }
}

/// Where a stage leads.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// To a user's bindings.
    User(Aor),
    /// To a user who may not be called: nobody is reached.
    Disabled(Aor),
    /// To a group's members.
    Group(Ring),
    /// To a number beyond a trunk: one carrier after the other.
    Carriers(Vec<Carrier>),
    /// To a URI outside.
    Uri(String),
    /// To one that is a document's, which may go beyond the node but neither to a trunk nor back.
    Beyond(String),
    /// To an application, that answers it.
    Application(Arc<Application>),
}

/// For people: `user alice@example.test`, `trunks one, two`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(aor) => write!(f, "user {aor}"),
            Self::Disabled(aor) => write!(f, "user {aor}, who is disabled"),
            Self::Group(ring) => write!(f, "group {}", ring.name),
            Self::Carriers(carriers) => {
                let names = carriers.iter().map(|carrier| carrier.trunk.name.as_str());
                write!(f, "trunks {}", names.collect::<Vec<_>>().join(", "))
            }
            Self::Uri(uri) | Self::Beyond(uri) => f.write_str(uri),
            // A URL may have a password in it.
            Self::Application(application) => {
                write!(f, "an application of account {}", application.account.sid)
            }
        }
    }
}

/// The members of a group, as they are rung now.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) name: Arc<str>,
    /// One step after the other; those of a step at once.
    pub(crate) steps: Vec<Vec<Member>>,
    /// How long a step rings.
    pub(crate) step_timeout: Duration,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Where it is: no other group.
    pub(crate) destination: Destination,
    /// What to take before it is rung. Where one refuses, it is left out.
    pub(crate) limits: Vec<Limit>,
}

/// A trunk that a call may go out by, and how.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    pub(crate) trunk: Arc<Trunk>,
    /// The user part of the Request-URI as this trunk wants it, escaped.
    pub(crate) number: String,
    /// What the request is changed in before it goes there: who calls, and headers.
    pub(crate) edits: Edits,
    /// Final responses after which the next carrier is tried; a silent host always counts.
    pub(crate) failover: Arc<[u16]>,
    /// A 3xx of it is followed, not passed back.
    pub(crate) follows: bool,
    /// What to take before it is tried, and to give back when it fails.
    pub(crate) limits: Vec<Limit>,
    /// As in [`Stage::ring_timeout`], for this one.
    pub(crate) ring_timeout: Duration,
    pub(crate) cost: Cost,
    pub(crate) share: Option<u16>,
}

impl Stage {
    /// Lets it ring no longer than this.
    pub(crate) fn ring_at_most(&mut self, most: Duration) {
        self.ring_timeout = self.ring_timeout.min(most);
        self.destination.ring_at_most(most);
    }
}

impl Destination {
    fn ring_at_most(&mut self, most: Duration) {
        match self {
            Self::Group(ring) => {
                let members = ring.steps.iter_mut().flatten();
                members.for_each(|member| member.destination.ring_at_most(most));
            }
            Self::Carriers(carriers) => {
                for carrier in carriers {
                    carrier.ring_timeout = carrier.ring_timeout.min(most);
                }
            }
            Self::User(_)
            | Self::Disabled(_)
            | Self::Uri(_)
            | Self::Beyond(_)
            | Self::Application(_) => {}
        }
    }
}

impl Plan {
    /// The stage that follows the one of index `from`, which ended so.
    pub(crate) fn after(&self, from: usize, outcome: Outcome) -> Option<usize> {
        let follows = |stage: &Stage| stage.when == When::After(from, outcome);
        self.stages.iter().position(follows)
    }

    /// Whether any stage needs mediad.
    pub(crate) fn relays(&self) -> bool {
        self.stages.iter().any(|stage| stage.relay)
    }
}
