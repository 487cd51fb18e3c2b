//! What the node's other parts want of a worker: mediad's channel, the end of the process.

use std::{collections::HashMap, sync::Arc, time::Instant};

use control::{
    channel::RequestError,
    media::{self, SessionId, VoiceEvent},
    signal::CallInfo,
};
use store::{Cause, EndedBy};
use tracing::{info, warn};

use crate::directory::Directory;

use super::{
    Alarm, Core,
    asked::{Asked, Purpose},
    policy::{LONGEST_CALL, Terms},
    state::{CallKey, Silence},
};

/// What is heard of mediad, unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MediaNews {
    /// It can be reached.
    Up {
        /// It was restarted: sessions have to be opened again.
        restarted: bool,
    },
    /// It cannot be reached.
    Down,
    /// A session of this worker has been silent for the media timeout.
    Silent(SessionId),
    /// The recording of a session has ended because it could not be written, and why.
    RecordingFailed(SessionId, String),
    /// The recording of a session goes on in another file.
    RecordingTurned(SessionId, String),
    /// Something happened in a session of programmable voice.
    Voice(SessionId, VoiceEvent),
    /// mediad has sessions in this worker's name.
    Listed(Vec<SessionId>),
}

impl Core {
    /// The calls that are up, in no order: all, or those of a tenant.
    pub(crate) fn list(&self, tenant: Option<&str>) -> Vec<CallInfo> {
        let calls = self.calls.values();
        let wanted = calls.filter(|call| tenant.is_none() || call.tenant.as_deref() == tenant);
        let pending = self.bridges.pending().filter(|_| tenant.is_none());
        wanted.map(|call| self.info(call)).chain(pending).collect()
    }

    /// How many calls to each trunk are up.
    pub(crate) fn calls_by_trunk(&self) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        for trunk in self.calls.values().filter_map(|call| call.trunk.as_ref()) {
            match counts.get_mut(&trunk.name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(trunk.name.clone(), 1)),
            }
        }
        counts
    }

    /// Decides on new calls by these from now on; those that are up keep what they have.
    pub(crate) fn set_rules(&mut self, directory: Arc<Directory>, terms: Terms) {
        self.directory = directory;
        self.terms = terms;
    }

    /// Refuses new calls from now on, or takes them again.
    pub(crate) fn set_draining(&mut self, on: bool) {
        self.draining = on;
    }

    /// Refuses new calls and ends all that are up.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.draining = true;
        for key in self.calls.keys().copied().collect::<Vec<_>>() {
            self.hang_up(now, key, Cause::Shutdown);
        }
        self.empty_queue(now);
        self.drain(now);
    }

    /// Waits for nobody any more: writes the records of all calls that are left.
    pub(crate) fn give_up(&mut self, now: Instant) {
        self.stop(now);
        for key in self.calls.keys().copied().collect::<Vec<_>>() {
            if let Some(call) = self.calls.get_mut(&key) {
                call.byes = 0;
            }
            self.finish(now, key, EndedBy::Node, Cause::Shutdown, 503, "node stops");
            if let Some(call) = self.calls.get_mut(&key) {
                call.closing = 0;
            }
            self.try_forget(now, key);
        }
        self.give_up_voices(now);
        self.drain(now);
    }

    /// News of mediad.
    pub(crate) fn handle_media_news(&mut self, now: Instant, news: MediaNews) {
        match news {
            MediaNews::Up { restarted } => {
                self.media_up = true;
                self.restore_sessions(restarted);
                match restarted {
                    true => self.restore_voices(now),
                    // What is opened anew is recorded again when it is.
                    false => self.look_at_recordings(),
                }
            }
            MediaNews::Down => self.media_up = false,
            MediaNews::Voice(id, event) => self.on_voice_event(now, id, event),
            MediaNews::RecordingFailed(id, reason) => self.on_recording_failed(now, id, &reason),
            MediaNews::RecordingTurned(id, file) => self.on_recording_turned(id, &file),
            MediaNews::Silent(id) => self.on_silent_session(now, id),
            MediaNews::Listed(ids) => {
                for id in ids {
                    if self.by_session.contains_key(&id) {
                        continue;
                    }
                    // Of a call that ended while mediad could not be reached.
                    self.ask(CallKey(0), id, Purpose::Close, media::Request::Delete(id));
                }
            }
        }
        self.drain(now);
    }

    /// A call was answered that had a silent session before.
    pub(super) fn after_answer(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.silence == Some(Silence::BeforeAnswer)
            && let Some(timeout) = self.policy.media_timeout()
        {
            self.alarms.set(Alarm::Call(key), Some(now + timeout));
        }
    }

    pub(super) fn on_call_alarm(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.silence == Some(Silence::BeforeAnswer) {
            call.silence = None;
            let rest = call.began + LONGEST_CALL;
            self.alarms.set(Alarm::Call(key), Some(rest));
            return self.ask_silence(key);
        }
        let watched = self.policy.media_timeout().is_some()
            && call
                .media
                .as_ref()
                .is_some_and(super::stream::Media::is_active);
        if watched && call.is_answered() {
            // mediad would say if nobody were there.
            return self.alarms.set(Alarm::Call(key), Some(now + LONGEST_CALL));
        }
        warn!(call = %call.id, "a call has lasted as long as any may");
        self.hang_up(now, key, Cause::PartyLost);
    }

    /// mediad said how long a session has been silent.
    pub(super) fn on_silence(
        &mut self,
        now: Instant,
        key: CallKey,
        answer: Result<media::Response, RequestError>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(Silence::Asking(left)) = call.silence else {
            return;
        };
        let timeout = self.policy.media_timeout().unwrap_or(LONGEST_CALL);
        let silent = match answer {
            // A second's grace for the way that the question took.
            Ok(media::Response::Stats(stats)) => {
                u128::from(stats.silent_ms) + 1000 >= timeout.as_millis()
            }
            _ => false,
        };
        call.silence = match (silent, left) {
            (false, _) => None,
            (true, 1) => {
                call.silence = None;
                return self.hang_up(now, key, Cause::MediaTimeout);
            }
            (true, left) => Some(Silence::Asking(left - 1)),
        };
    }

    pub(super) fn on_reopened(
        &mut self,
        asked: Asked,
        answer: Result<media::Response, RequestError>,
    ) {
        let Some(call) = self.calls.get_mut(&asked.call) else {
            return;
        };
        let id = call.id;
        let mut all = call.media.iter_mut().chain(&mut call.spare);
        let Some(session) = all.find_map(|media| media.session_mut(asked.session)) else {
            return;
        };
        let reopened = matches!(answer, Ok(media::Response::Session(_)));
        match answer {
            Ok(media::Response::Session(info)) => {
                session.stale = false;
                let moved = session.info.as_ref().is_some_and(|before| *before != info);
                session.info = Some(info);
                if moved {
                    warn!(
                        call = %id,
                        session = %asked.session,
                        "mediad has other ports for a session than before: \
                         the call is silent until a party sends a new offer"
                    );
                }
            }
            Ok(_) => session.stale = true,
            Err(error) => {
                session.stale = true;
                warn!(call = %id, session = %asked.session, %error, "a session is lost");
            }
        }
        if reopened {
            self.record_again(asked.call, asked.session);
        }
    }

    fn on_silent_session(&mut self, now: Instant, id: SessionId) {
        let Some(key) = self.by_session.get(&id).copied() else {
            return;
        };
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.end.is_none()) else {
            return;
        };
        if !call.is_answered() {
            // A callee may let it ring as long as the route allows.
            call.silence = Some(Silence::BeforeAnswer);
            return;
        }
        let sessions = call.media.iter().flat_map(super::stream::Media::sessions);
        let others = sessions
            .filter(|session| session.is_active() && session.id != id)
            .count();
        if others == 0 {
            return self.hang_up(now, key, Cause::MediaTimeout);
        }
        self.ask_silence(key);
    }

    /// Asks mediad of all sessions in which somebody should send whether anything is heard.
    fn ask_silence(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let sessions = call.media.iter().flat_map(super::stream::Media::sessions);
        let ids: Vec<_> = sessions
            .filter(|session| session.is_active())
            .map(|session| session.id)
            .collect();
        if ids.is_empty() {
            return;
        }
        call.silence = Some(Silence::Asking(ids.len()));
        for id in ids {
            self.ask(key, id, Purpose::Silence, media::Request::Query(id));
        }
    }

    /// Opens the calls' sessions again after mediad was restarted, with the ports that the parties
    /// know; tells it what it missed where it was only out of reach.
    fn restore_sessions(&mut self, restarted: bool) {
        let mut requests = Vec::new();
        for (key, call) in &self.calls {
            for media in call.all_media() {
                // What the queue waits for is repeated by the channel itself.
                let sessions = media.sessions().filter(|session| session.info.is_some());
                for session in sessions.filter(|session| restarted || session.stale) {
                    requests.push((*key, session.id, media.reopen(session)));
                }
            }
        }
        if !requests.is_empty() {
            info!(
                sessions = requests.len(),
                "telling mediad of the sessions that are up"
            );
        }
        for (key, id, request) in requests {
            self.ask(key, id, Purpose::Reopen, request);
        }
    }
}
