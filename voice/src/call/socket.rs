//! Calls whose application has a WebSocket: what a webhook would be asked is a message there, and what it answers is
//! one too, with verbs in JSON.
//!
//! Who has one connection for all calls wants to know how each goes without having to say so: callbacks that a document
//! does not name go there, and so do warnings. A verb that comes last in its document tells what came of it and is
//! answered with what is done next, where TwiML would hang up.

use serde_json::{Map, Value, json};

use super::{Call, Lane, LegId, leg::CallStatus};
use crate::{
    form::Params,
    notice::{Level, Notice},
    sid::Sid,
    twiml::{Link, RecordingCallback, StatusEvents, Verb},
    url::is_socket,
};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// Somebody calls: what is done?
    Incoming,
    /// Whom the application called has answered.
    Outgoing,
    /// The call was sent here.
    Redirected,
    /// `<Redirect>` names the socket.
    Redirect,
    Gathered,
    Recorded,
    Dialled,
    /// Who was dialled has answered, and hears a document of its own.
    Whisper,
    Streamed,
    Referred,
    Sent,
    /// Another document cannot be had.
    Failed,
    /// Nothing is asked: somebody is told.
    Told(Lane),
}

impl Topic {
    pub(super) const fn is_answered(self) -> bool {
        !matches!(self, Self::Told(_))
    }

    /// The message's type.
    fn name(self, params: &Params) -> String {
        let of = |name| params.get(name).unwrap_or_default();
        let fixed = match self {
            Self::Incoming => "call.incoming",
            Self::Outgoing => "call.outgoing",
            Self::Redirected => "call.redirected",
            Self::Redirect => "redirect",
            Self::Gathered => "gather.done",
            Self::Recorded => "record.done",
            Self::Dialled => "dial.done",
            Self::Whisper => "dial.answered",
            Self::Streamed => "connect.done",
            Self::Referred => "refer.done",
            Self::Sent => "message.done",
            Self::Failed => "document.failed",
            Self::Told(Lane::Status(_)) => match of("CallStatus") {
                "initiated" => "call.initiated",
                "ringing" => "call.ringing",
                "in-progress" => "call.answered",
                _ => "call.completed",
            },
            Self::Told(Lane::Partial(_)) => "gather.partial",
            Self::Told(Lane::Recording(_)) => {
                return format!("recording.{}", of("RecordingStatus"));
            }
            Self::Told(Lane::Stream(_)) => return of("StreamEvent").replacen('-', ".", 1),
            Self::Told(Lane::Action) if params.get("DialCallStatus").is_some() => "dial.done",
            Self::Told(Lane::Action) => "record.done",
            Self::Told(Lane::Notice) => "call.notice",
        };
        fixed.to_owned()
    }
}

/// What is said on the socket. Only what is answered has an id.
pub(super) fn message(topic: Topic, id: &str, account: &Sid, params: &Params) -> String {
    let mut call = Map::new();
    let mut rest = Map::new();
    for (name, value) in params.iter() {
        let key = match name {
            "CallSid" => "sid",
            "From" => "from",
            "To" => "to",
            "Direction" => "direction",
            "CallStatus" => "status",
            "ParentCallSid" => "parent",
            // What is said elsewhere, or of a form alone.
            "AccountSid" | "Caller" | "Called" | "ApiVersion" | "CallbackSource" => continue,
            _ => {
                add(&mut rest, name, value);
                continue;
            }
        };
        call.insert(key.to_owned(), Value::from(value));
    }
    let mut message = json!({
        "type": topic.name(params),
        "account": account.as_str(),
        "call": call,
        "params": rest,
    });
    if topic.is_answered() {
        message["id"] = Value::from(id);
    }
    message.to_string()
}

/// A name that comes several times has a list.
fn add(object: &mut Map<String, Value>, name: &str, value: &str) {
    match object.get_mut(name) {
        None => {
            object.insert(name.to_owned(), Value::from(value));
        }
        Some(Value::Array(list)) => list.push(Value::from(value)),
        Some(first) => {
            let list = vec![first.take(), Value::from(value)];
            *first = Value::Array(list);
        }
    }
}

impl Call {
    /// Whether a leg's document came by a socket.
    pub(super) fn is_by_socket(&self, leg: LegId) -> bool {
        let base = self.script(leg).and_then(|script| script.base.as_ref());
        base.is_some_and(|base| is_socket(&base.url))
    }

    /// Whether what a leg is doing is the last thing of a document that came by a socket.
    pub(super) fn is_last_by_socket(&self, leg: LegId) -> bool {
        let script = self.script(leg);
        self.is_by_socket(leg) && script.is_some_and(|script| script.verbs.is_empty())
    }

    /// The socket is where a verb that names nobody tells what came of it, where nothing follows it.
    pub(super) fn tell_outcome_by_socket(&self, leg: LegId, verb: &mut Verb) {
        if !self.is_last_by_socket(leg) {
            return;
        }
        let action = match verb {
            Verb::Dial(dial) => &mut dial.action,
            Verb::Connect(connect) => &mut connect.action,
            Verb::Refer(refer) => &mut refer.action,
            Verb::Message(message) => &mut message.action,
            Verb::Gather(gather) => {
                gather.action_on_empty = true;
                return;
            }
            _ => return,
        };
        action.get_or_insert_with(|| Link {
            url: String::new(),
            method: crate::twiml::Method::Post,
        });
    }

    /// The socket of a call that has one, for callbacks that nobody else was named for.
    pub(super) fn or_socket(&self, link: Option<Link>) -> Option<Link> {
        link.or_else(|| self.home.clone())
    }

    /// The same for how a leg goes.
    pub(super) fn status_or_socket(
        &self,
        status: Option<(Link, StatusEvents)>,
    ) -> Option<(Link, StatusEvents)> {
        let all = StatusEvents::of(StatusEvents::NAMES);
        status.or_else(|| Some((self.home.clone()?, all)))
    }

    /// The same for recordings.
    pub(super) fn recording_or_socket(
        &self,
        callback: Option<RecordingCallback>,
    ) -> Option<RecordingCallback> {
        let all = |link| RecordingCallback {
            link,
            in_progress: true,
            completed: true,
            absent: true,
        };
        callback.or_else(|| self.home.clone().map(all))
    }

    /// Tells the socket what is wrong.
    pub(super) fn tell_notice(&mut self, notice: &Notice) {
        let Some(home) = self.home.clone() else {
            return;
        };
        let level = match notice.level {
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let mut params = Params::new();
        params.push("CallSid", self.sid.as_str());
        params.push("CallStatus", self.status().as_str());
        params.push("ErrorCode", notice.code.to_string());
        params.push("Level", level);
        params.push("Message", &*notice.message);
        params.push_some("Url", notice.url.as_deref());
        let now = self.latest;
        self.tell(now, Lane::Notice, home, params);
    }

    /// What the first document of a call is asked by.
    pub(super) fn entry_topic(&self) -> Topic {
        match self.main.has_begun() {
            true => Topic::Redirected,
            false if self.status() == CallStatus::InProgress => Topic::Outgoing,
            false => Topic::Incoming,
        }
    }
}
