//! Calls that an operator has recorded: mediad writes what both parties say to a file.

use std::{collections::HashSet, time::Instant};

use control::{
    Fault, FaultCode,
    channel::RequestError,
    media::{self, Pause, Record, RecordFormat, SessionId},
    signal::RecordOrder,
};
use store::{Recording, Timestamp, Uuid};
use tracing::{info, warn};

use super::{
    Core, Output,
    asked::{Asked, Purpose},
    output::OrderToken,
    state::{Call, CallKey},
    stream::Media,
};

/// Files of one call's name at most, as mediad has it.
const MAX_PARTS: u32 = 10_000;

/// What is recorded of a call.
#[derive(Debug)]
pub(super) struct Recorded {
    session: SessionId,
    /// Where mediad writes it.
    pub(super) file: String,
    since: Timestamp,
}

/// How a call is recorded, where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordedAs {
    format: RecordFormat,
    paused: bool,
}

impl Call {
    /// mediad records a session to this file: it goes on, or another one has taken its place.
    fn begin_recording(&mut self, session: SessionId, file: &str, now: Timestamp, node: &str) {
        let goes_on = |it: &Recorded| it.session == session && it.file == file;
        if self.recording.as_ref().is_some_and(goes_on) {
            return;
        }
        let before = self.recording.as_ref().filter(|it| it.session == session);
        let before = before.and_then(|it| part(&it.file, &self.id.to_string()));
        self.end_recording(None, now, node);
        self.list_skipped(before, file, now, node);
        self.recording = Some(Recorded {
            session,
            file: file.to_owned(),
            since: now,
        });
    }

    /// What is recorded is recorded no longer, where it is of this session or of whichever.
    pub(super) fn end_recording(&mut self, session: Option<SessionId>, now: Timestamp, node: &str) {
        let is_meant = |it: &mut Recorded| session.is_none_or(|session| it.session == session);
        let Some(ended) = self.recording.take_if(is_meant) else {
            return;
        };
        self.list_recording(name_of(&ended.file), [ended.since, now], node);
    }

    /// The files between two of one recording, of which mediad was not heard: it turned while its events were lost.
    fn list_skipped(&mut self, before: Option<u32>, file: &str, now: Timestamp, node: &str) {
        let id = self.id.to_string();
        let Some((before, next)) = before.zip(part(file, &id)) else {
            return;
        };
        let (_, ending) = file.rsplit_once('.').unwrap_or_default();
        for number in before.saturating_add(1)..next.min(MAX_PARTS) {
            let name = format!("{id}-{number}.{ending}");
            if self.recordings.iter().all(|it| it.file != name) {
                self.list_recording(&name, [now, now], node);
            }
        }
    }

    fn list_recording(&mut self, name: &str, [started, ended]: [Timestamp; 2], node: &str) {
        self.recordings.push(Recording {
            id: Uuid::now_v7(),
            call: self.id,
            tenant: self.tenant.as_deref().map(str::to_owned),
            started,
            ended,
            channels: 2,
            // Whoever writes the record looks.
            bytes: 0,
            node: node.to_owned(),
            file: name.to_owned(),
        });
    }
}

fn name_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or_default()
}

/// The number of a file among those of a call's name.
fn part(file: &str, call: &str) -> Option<u32> {
    let (name, _) = name_of(file).rsplit_once('.')?;
    match name.strip_prefix(call)? {
        "" => Some(1),
        number => number.strip_prefix('-')?.parse().ok(),
    }
}

impl Core {
    /// Records a call, or no longer. What mediad says to it comes as [`Output::Obeyed`]. `None` where there is no such
    /// call.
    pub(crate) fn record_call(
        &mut self,
        now: Instant,
        order: &RecordOrder,
    ) -> Option<Result<OrderToken, Fault>> {
        let key = self.call_by_id(&order.id)?;
        let call = self.calls.get(&key).filter(|call| call.end.is_none())?;
        if !call.is_answered() {
            let why = "nobody has answered this call yet";
            return Some(Err(Fault::new(FaultCode::Conflict, why)));
        }
        if let Err(why) = call.has_media_here() {
            return Some(Err(self.no_media(key, why)));
        }
        // The first stream is the audio, as a rule; what is recorded stays it.
        let recorded = call.recording.as_ref().map(|it| it.session);
        let first = || call.media.iter().flat_map(Media::sessions).next();
        let Some(session) = recorded.or_else(|| first().map(|session| session.id)) else {
            let why = "nobody has answered this call yet";
            return Some(Err(Fault::new(FaultCode::Conflict, why)));
        };
        info!(call = %call.id, on = order.on, paused = order.paused, "an operator changes whether a call is recorded");
        let token = OrderToken(self.number());
        if let Some(call) = self.calls.get_mut(&key) {
            // What is recorded stays what it is.
            let format = match recorded {
                Some(_) => call.recorded_as.format,
                None => order.format,
            };
            let paused = order.paused;
            call.recorded_as = RecordedAs { format, paused };
        }
        self.ask_to_record(key, session, order.on, Some(token));
        self.drain(now);
        Some(Ok(token))
    }

    /// mediad cannot write the recording of a session any more. The call goes on without.
    pub(super) fn on_recording_failed(&mut self, now: Instant, id: SessionId, reason: &str) {
        let Some(key) = self.by_session.get(&id).copied() else {
            return;
        };
        let (time, node) = (self.time_of_day(), &self.policy.node);
        if let Some(call) = self.calls.get_mut(&key) {
            warn!(call = %call.id, reason, "the recording of a call has ended, as it cannot be written");
            call.end_recording(Some(id), time, node);
        }
        self.tell_call(key);
        self.try_forget(now, key);
    }

    /// A recording goes on in another file: each is one of the call's, from where it begins to where the next one does.
    pub(super) fn on_recording_turned(&mut self, id: SessionId, file: &str) {
        let Some(key) = self.by_session.get(&id).copied() else {
            return;
        };
        let (time, node) = (self.time_of_day(), &self.policy.node);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let recording = call.recording.as_ref();
        if recording.is_some_and(|it| it.session == id) {
            call.begin_recording(id, file, time, node);
            self.tell_call(key);
        }
    }

    /// Recordings may have gone on in other files while mediad was not heard: it is asked where they are.
    pub(super) fn look_at_recordings(&mut self) {
        let says = |asked: &&Asked| {
            let purpose = asked.purpose;
            matches!(
                purpose,
                Purpose::Open | Purpose::Reopen | Purpose::Record(_)
            )
        };
        // Those of which it will say so anyway.
        let told = self.asked.values().filter(says);
        let told: HashSet<SessionId> = told.map(|asked| asked.session).collect();
        let all = self.calls.iter();
        let recorded = all.filter_map(|(key, call)| Some((*key, call.recording.as_ref()?.session)));
        let recorded = recorded.filter(|(_, session)| !told.contains(session));
        for (key, session) in recorded.collect::<Vec<_>>() {
            self.record_again(key, session);
        }
    }

    /// A session that is recorded was opened anew, as mediad had lost it.
    pub(super) fn record_again(&mut self, key: CallKey, session: SessionId) {
        let call = self.calls.get(&key);
        let recorded = call.and_then(|call| call.recording.as_ref());
        if recorded.is_some_and(|recorded| recorded.session == session) {
            self.ask_to_record(key, session, true, None);
        }
    }

    fn ask_to_record(&mut self, key: CallKey, id: SessionId, on: bool, token: Option<OrderToken>) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        // Its record waits for the answer: what is in a file is in the list.
        call.closing += 1;
        let name = on.then(|| call.id.to_string());
        let request = media::Request::Record(Record {
            id,
            name,
            format: call.recorded_as.format,
            pause: match call.recorded_as.paused {
                true => Pause::Silence,
                false => Pause::Resume,
            },
        });
        self.ask(key, id, Purpose::Record(token), request);
    }

    /// mediad records a session, or does so no longer, or says why not.
    pub(super) fn on_recorded(
        &mut self,
        now: Instant,
        asked: Asked,
        token: Option<OrderToken>,
        answer: Result<media::Response, RequestError>,
    ) {
        let (time, node) = (self.time_of_day(), &self.policy.node);
        if let Some(call) = self.calls.get_mut(&asked.call) {
            call.closing = call.closing.saturating_sub(1);
            match &answer {
                Ok(media::Response::Recording(Some(file))) => {
                    call.begin_recording(asked.session, file, time, node);
                }
                Ok(media::Response::Recording(None)) => {
                    call.end_recording(Some(asked.session), time, node);
                }
                Ok(_) => {}
                Err(error) => warn!(call = %call.id, %error, "a call is not recorded"),
            }
        }
        self.tell_call(asked.call);
        if let Some(token) = token {
            let outcome = self.done(asked.call, answer);
            self.outputs.push_back(Output::Obeyed { token, outcome });
        }
        self.try_forget(now, asked.call);
    }
}
