//! Verbs of a few lines: prompts, pauses, REFER, messages.

use std::time::{Duration, Instant};

use super::{Action, Call, JobId, LegId, MediaError, NewMessage, Source, Topic, script::Step};
use crate::{
    form::Params,
    notice::Code,
    sid::Kind,
    twiml::{Message, Prompt, Refer},
    url::{Scheme, resolve},
};

/// How long the outcome of a REFER is waited for: the other side rings meanwhile.
const REFER_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a message is waited for, where an action wants to know.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);

impl Call {
    pub(super) fn begin_pause(&mut self, now: Instant, leg: LegId, length: Duration) -> bool {
        if length.is_zero() {
            return true;
        }
        if leg == LegId::PARTY {
            self.ring();
        }
        if let Some(script) = self.script_mut(leg) {
            script.step = Step::Pausing(now + length);
        }
        false
    }

    pub(super) fn begin_prompt(&mut self, now: Instant, leg: LegId, prompt: &Prompt) -> bool {
        self.answer_leg(now, leg);
        let Some(job) = self.play(leg, prompt) else {
            return true;
        };
        if let Some(script) = self.script_mut(leg) {
            script.step = Step::Hearing(job);
        }
        false
    }

    /// Has a leg hear a prompt; `None` for what cannot be played, which is told, and for silence.
    pub(super) fn play(&mut self, leg: LegId, prompt: &Prompt) -> Option<JobId> {
        let (source, loops) = match prompt {
            Prompt::Say(say) => (Source::Say(Box::new(say.clone())), say.loops),
            Prompt::Digits { digits, loops } => (Source::Digits(digits.clone()), *loops),
            Prompt::Play { url, loops } => {
                let base = self.script(leg)?.base.as_ref().map(|base| base.url.clone());
                match resolve(base.as_deref(), url, Scheme::Http) {
                    Ok(url) => (Source::File(url), *loops),
                    Err(error) => {
                        self.warn(Code::InvalidUrl, Some(url), error.to_string());
                        return None;
                    }
                }
            }
            Prompt::Pause(_) => return None,
        };
        let job = self.job();
        self.act(Action::Play {
            job,
            leg,
            source,
            loops,
        });
        Some(job)
    }

    pub(super) fn on_played(&mut self, now: Instant, job: JobId, result: Result<(), MediaError>) {
        if self.on_digits_sent(now, job) {
            return;
        }
        let is_meant = |step: &Step| match step {
            Step::Hearing(hearing) => *hearing == job,
            Step::Gathering(gathering) => gathering.hearing == Some(job),
            _ => false,
        };
        let Some(leg) = self.leg_where(is_meant) else {
            return;
        };
        if let Err(error) = result {
            let code = match error {
                MediaError::Fetch(_) => Code::Retrieval,
                MediaError::Format(_) => Code::ContentType,
                MediaError::Speech(_) => Code::Say,
                MediaError::Engine(_) => Code::Internal,
            };
            self.warn(code, None, format!("a prompt was left out: {error}"));
        }
        match self.script(leg).map(|script| &script.step) {
            Some(Step::Gathering(_)) => self.next_prompt(now, leg),
            _ => self.proceed(now, leg),
        }
    }

    pub(super) fn begin_refer(&mut self, now: Instant, refer: Refer) -> bool {
        self.answer(now);
        let job = self.job();
        self.act(Action::Refer { job, to: refer.to });
        self.main.step = Step::Referring(job, refer.action, now + REFER_TIMEOUT);
        false
    }

    pub(super) fn on_referred(
        &mut self,
        now: Instant,
        job: JobId,
        response: Option<u16>,
        notified: Option<u16>,
        untold: bool,
    ) {
        let Step::Referring(referring, action, _) = &self.main.step else {
            return;
        };
        if *referring != job {
            return;
        }
        let action = action.clone();
        let status = match (response, notified) {
            (Some(200..=299), Some(200..=299)) => "in-progress",
            (Some(200..=299), None | Some(..200)) if untold => "in-progress",
            (Some(200..=299), Some(486 | 600)) => "busy",
            (Some(200..=299), Some(487)) => "canceled",
            _ => "failed",
        };
        if status == "failed" {
            let told = |status: Option<u16>| {
                status.map_or_else(|| "nothing".to_owned(), |s| s.to_string())
            };
            let (response, notified) = (told(response), told(notified));
            let message = format!("<Refer>: {response} to the REFER, {notified} by NOTIFY");
            self.warn(Code::Internal, None, message);
        }
        let Some(action) = action else {
            return self.proceed(now, LegId::PARTY);
        };
        let mut params = Params::new();
        params.push("ReferCallStatus", status);
        params.push_some("ReferSipResponseCode", response.map(|s| s.to_string()));
        params.push_some("NotifySipResponseCode", notified.map(|s| s.to_string()));
        self.fetch(now, LegId::PARTY, &action, &params, Topic::Referred);
    }

    pub(super) fn begin_message(&mut self, now: Instant, message: Message) -> bool {
        let job = self.job();
        let sid = self.sid.derive(Kind::Message, job.0);
        let base = self.main.base.as_ref().map(|base| base.url.clone());
        let mut absolute = |url: &String| match resolve(base.as_deref(), url, Scheme::Http) {
            Ok(url) => Some(url),
            Err(error) => {
                self.warn(Code::InvalidUrl, Some(url), error.to_string());
                None
            }
        };
        let media = message.media.iter().filter_map(&mut absolute).collect();
        let status_callback = message.status_callback.as_ref().and_then(&mut absolute);
        self.act(Action::Send(Box::new(NewMessage {
            job,
            sid,
            to: message.to.unwrap_or_else(|| self.setup.from.clone()),
            from: message.from.unwrap_or_else(|| self.setup.to.clone()),
            body: message.body,
            media,
            status_callback,
        })));
        let Some(action) = message.action else {
            return true;
        };
        self.main.step = Step::Sending(job, action, now + MESSAGE_TIMEOUT);
        false
    }

    pub(super) fn on_sent(&mut self, now: Instant, job: JobId, refused: Option<&str>) {
        if self.is_over {
            return;
        }
        if let Some(reason) = refused {
            self.warn(
                Code::Internal,
                None,
                format!("a message was not sent: {reason}"),
            );
        }
        let Step::Sending(sending, action, _) = &self.main.step else {
            return;
        };
        if *sending != job {
            return;
        }
        let action = action.clone();
        let sid = self.sid.derive(Kind::Message, job.0);
        let status = if refused.is_none() { "sent" } else { "failed" };
        let params: Params = [
            ("MessageSid", sid.as_str()),
            ("SmsSid", sid.as_str()),
            ("MessageStatus", status),
            ("SmsStatus", status),
        ]
        .into_iter()
        .collect();
        self.fetch(now, LegId::PARTY, &action, &params, Topic::Sent);
    }
}
