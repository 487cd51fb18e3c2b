//! What mediad is asked, and what becomes of its answers.

use std::time::Instant;

use control::{
    FaultCode,
    channel::RequestError,
    media::{self, SessionId},
};
use store::Cause;
use tracing::debug;

use super::{
    Core, MediaToken, Output,
    output::OrderToken,
    state::{CallKey, Failure},
    voice::VoicePurpose,
};

/// What mediad was asked, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) call: CallKey,
    pub(super) session: SessionId,
    pub(super) purpose: Purpose,
}

/// Why mediad was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The call's queue waits for a session to be opened.
    Open,
    /// The call's queue waits for a session to be told of a change.
    Change,
    /// The session is as it was before mediad was restarted, or should be.
    Reopen,
    /// The session is told who is muted.
    Mute,
    /// Telephone keys are pressed in it, by this order.
    Dtmf(OrderToken),
    /// The session is to be recorded, or no longer, by this order; or to go on being recorded.
    Record(Option<OrderToken>),
    /// It is over.
    Close,
    /// Has anything been heard?
    Silence,
    /// For a call that an application answers.
    Voice(VoicePurpose),
}

impl Core {
    /// mediad answered, or could not be asked.
    pub(crate) fn handle_media(
        &mut self,
        now: Instant,
        token: MediaToken,
        answer: Result<media::Response, RequestError>,
    ) {
        if let Some(asked) = self.asked.remove(&token) {
            let _heard = self.hear_call(asked.call);
            if let Err(error) = &answer {
                self.metrics.media_errors.inc();
                debug!(session = %asked.session, purpose = ?asked.purpose, %error, "mediad refused");
            }
            match asked.purpose {
                Purpose::Open => self.on_opened(now, asked, answer),
                Purpose::Change => self.on_changed(now, asked, answer),
                Purpose::Reopen => self.on_reopened(asked, answer),
                Purpose::Mute => self.on_muted(asked, &answer),
                Purpose::Dtmf(token) => self.on_dtmf(asked, token, answer),
                Purpose::Record(token) => self.on_recorded(now, asked, token, answer),
                Purpose::Close => self.on_closed(now, asked.call, answer),
                Purpose::Voice(purpose) => self.on_voice_media(now, asked, purpose, answer),
                Purpose::Silence => self.on_silence(now, asked.call, answer),
            }
        } else if self.surveys.remove(&token).is_some() {
            match answer {
                Ok(media::Response::Survey(all)) => self.on_survey(now, &all),
                Ok(other) => debug!(?other, "mediad answered a survey with something else"),
                Err(error) => debug!(%error, "mediad does not tell how calls sound"),
            }
        }
        self.drain(now);
    }

    /// Asks mediad.
    pub(super) fn ask(
        &mut self,
        call: CallKey,
        session: SessionId,
        purpose: Purpose,
        request: media::Request,
    ) {
        let token = MediaToken(self.number());
        self.asked.insert(
            token,
            Asked {
                call,
                session,
                purpose,
            },
        );
        self.outputs.push_back(Output::Media { token, request });
    }

    /// Closes sessions; what they carried goes into the call's record.
    pub(super) fn close(&mut self, key: CallKey, sessions: Vec<SessionId>) {
        let now = self.time_of_day();
        for session in sessions {
            self.by_session.remove(&session);
            if let Some(call) = self.calls.get_mut(&key) {
                call.closing += 1;
                call.end_recording(Some(session), now, &self.policy.node);
            }
            self.ask(
                key,
                session,
                Purpose::Close,
                media::Request::Delete(session),
            );
        }
    }

    fn on_opened(
        &mut self,
        now: Instant,
        asked: Asked,
        answer: Result<media::Response, RequestError>,
    ) {
        let result = match answer {
            Ok(media::Response::Session(info)) => Ok(info),
            Ok(_) => Err(Failure {
                cause: Cause::MediaUnavailable,
                why: "mediad answered something else".to_owned(),
            }),
            Err(error) => Err(error.into()),
        };
        let Some(call) = self.calls.get_mut(&asked.call) else {
            return;
        };
        let session = call
            .media
            .as_mut()
            .and_then(|media| media.session_mut(asked.session));
        match (result, session) {
            (Ok(info), Some(session)) => {
                session.info = Some(info);
                session.stale = false;
            }
            (Ok(_), None) => {}
            (Err(failure), _) => {
                if let Some(waiting) = &mut call.waiting {
                    waiting.failed = Some(failure);
                }
            }
        }
        self.record_again(asked.call, asked.session);
        self.on_step(now, asked.call);
    }

    fn on_changed(
        &mut self,
        now: Instant,
        asked: Asked,
        answer: Result<media::Response, RequestError>,
    ) {
        let Some(call) = self.calls.get_mut(&asked.call) else {
            return;
        };
        let Some(media) = &mut call.media else {
            return self.on_step(now, asked.call);
        };
        let gone = match &answer {
            Ok(media::Response::Gone) => true,
            Err(RequestError::Fault(fault)) => fault.code == FaultCode::NotFound,
            _ => false,
        };
        if gone && let Some(session) = media.session_mut(asked.session) {
            // mediad lost it: open it again as it is known here, with the ports that it had.
            session.stale = false;
            if let Some(request) = media.reopen_by_id(asked.session) {
                return self.ask(asked.call, asked.session, Purpose::Open, request);
            }
        }
        if let Some(session) = media.session_mut(asked.session) {
            // The parties can still be shown the ports that they have; mediad is told again when it
            // comes back.
            session.stale = answer.is_err();
        }
        // Parties that mediad can never bring together would hear nothing.
        let failure = answer.err().map(Failure::from);
        if let Some(failure) = failure.filter(|failure| failure.cause == Cause::MediaUnusable)
            && let Some(waiting) = &mut call.waiting
        {
            waiting.failed = Some(failure);
        }
        self.on_step(now, asked.call);
    }

    /// One of the answers that the call's queue waits for.
    fn on_step(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(waiting) = &mut call.waiting else {
            return;
        };
        waiting.outstanding = waiting.outstanding.saturating_sub(1);
        if waiting.outstanding > 0 {
            return;
        }
        if let Some(waiting) = call.waiting.take() {
            self.complete(now, key, waiting);
        }
        self.run_work(now, key);
    }
}
