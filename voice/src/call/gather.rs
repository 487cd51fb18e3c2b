//! `<Gather>`: digits, speech, and what is heard meanwhile.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Action, Call, Heard, JobId, Lane, LegId, Topic, script::Step};
use crate::{
    form::Params,
    notice::Code,
    twiml::{Gather, Prompt, is_key},
};

/// The most digits of one result, where their number is not given.
const MAX_DIGITS: usize = 512;
/// How much longer than the longest utterance its result is waited for.
const SPEECH_GRACE: Duration = Duration::from_secs(5);

/// A `<Gather>` under way.
#[derive(Debug)]
pub(super) struct Gathering {
    gather: Gather,
    prompts: VecDeque<Prompt>,
    /// The prompt that plays.
    pub(super) hearing: Option<JobId>,
    /// A pause between prompts ends then.
    pause: Option<Instant>,
    digits: String,
    /// Nothing new until then, and it is over. Runs when the prompts are over.
    idle: Option<Instant>,
    /// Who listens.
    listening: Option<JobId>,
    is_speaking: bool,
    /// Of the next partial result.
    sequence: u32,
}

/// What came of a `<Gather>`.
enum Gathered {
    Digits { finished_on: Option<char> },
    Speech { text: String, confidence: u16 },
    Nothing,
}

impl Gathering {
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.pause.or(self.idle)
    }

    fn is_full(&self) -> bool {
        self.digits.len() >= self.gather.num_digits.unwrap_or(MAX_DIGITS)
    }
}

impl Call {
    pub(super) fn begin_gather(&mut self, now: Instant, leg: LegId, mut gather: Gather) -> bool {
        self.answer_leg(now, leg);
        let partial = gather.partial.take();
        let partial = partial.and_then(|link| self.absolute(leg, &link));
        gather.partial = self.or_socket(partial);
        let listens_at_once = gather.speech && gather.barge_in;
        let gathering = Gathering {
            prompts: gather.prompts.iter().cloned().collect(),
            gather,
            hearing: None,
            pause: None,
            digits: String::new(),
            idle: None,
            listening: None,
            is_speaking: false,
            sequence: 0,
        };
        if let Some(script) = self.script_mut(leg) {
            script.step = Step::Gathering(Box::new(gathering));
        }
        if listens_at_once {
            self.listen(leg);
        }
        self.next_prompt(now, leg);
        false
    }

    /// The prompt, or the pause between two, is over.
    pub(super) fn next_prompt(&mut self, now: Instant, leg: LegId) {
        while let Some(gathering) = self.gathering(leg) {
            gathering.hearing = None;
            gathering.pause = None;
            match gathering.prompts.pop_front() {
                Some(Prompt::Pause(length)) if length.is_zero() => {}
                Some(Prompt::Pause(length)) => {
                    gathering.pause = Some(now + length);
                    return;
                }
                Some(prompt) => {
                    let Some(job) = self.play(leg, &prompt) else {
                        continue;
                    };
                    if let Some(gathering) = self.gathering(leg) {
                        gathering.hearing = Some(job);
                    }
                    return;
                }
                None => {
                    gathering.idle = Some(now + gathering.gather.timeout);
                    let is_silent = gathering.listening.is_none() && gathering.digits.is_empty();
                    if gathering.gather.speech && is_silent {
                        self.listen(leg);
                    }
                    return;
                }
            }
        }
    }

    /// Time is up: of a pause between prompts, or of the whole.
    pub(super) fn on_gather_timeout(&mut self, now: Instant, leg: LegId) {
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        if gathering.pause.is_some() {
            return self.next_prompt(now, leg);
        }
        let gathered = match gathering.digits.is_empty() {
            true => Gathered::Nothing,
            false => Gathered::Digits { finished_on: None },
        };
        self.gathered(now, leg, gathered);
    }

    /// A key of a leg that gathers.
    pub(super) fn on_gather_digit(&mut self, now: Instant, leg: LegId, digit: char) {
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        // Of both, what came first counts.
        if !gathering.gather.dtmf || gathering.is_speaking || !is_key(digit) {
            return;
        }
        if gathering.gather.finish_on_key.contains(digit) {
            let gathered = match gathering.digits.is_empty() {
                true => Gathered::Nothing,
                false => Gathered::Digits {
                    finished_on: Some(digit),
                },
            };
            return self.gathered(now, leg, gathered);
        }
        gathering.digits.push(digit);
        if gathering.is_full() {
            return self.gathered(now, leg, Gathered::Digits { finished_on: None });
        }
        let listening = gathering.listening.take();
        if let Some(job) = listening {
            self.act(Action::Stop { job });
        }
        self.barge_in(now, leg);
        if let Some(gathering) = self.gathering(leg)
            && gathering.idle.is_some()
        {
            gathering.idle = Some(now + gathering.gather.timeout);
        }
    }

    pub(super) fn on_heard(&mut self, now: Instant, job: JobId, heard: Heard) {
        let is_meant = |step: &Step| matches!(step, Step::Gathering(gathering) if gathering.listening == Some(job));
        let Some(leg) = self.leg_where(is_meant) else {
            return;
        };
        match heard {
            Heard::Speaking => self.on_speaking(now, leg),
            Heard::Partial { stable, unstable } => {
                self.on_speaking(now, leg);
                self.tell_partial(now, leg, stable, unstable);
            }
            Heard::Final { text, confidence } => {
                if let Some(gathering) = self.gathering(leg) {
                    gathering.listening = None;
                }
                let gathered = match text.trim().is_empty() {
                    true => Gathered::Nothing,
                    false => Gathered::Speech { text, confidence },
                };
                self.gathered(now, leg, gathered);
            }
            Heard::Failed(reason) => {
                self.warn(
                    Code::Internal,
                    None,
                    format!("speech cannot be understood: {reason}"),
                );
                let Some(gathering) = self.gathering(leg) else {
                    return;
                };
                gathering.listening = None;
                // Digits may still come, for as long as they would have been waited for.
                gathering.is_speaking = false;
                if gathering.hearing.is_none() && gathering.pause.is_none() {
                    gathering.idle = Some(now + gathering.gather.timeout);
                }
                if !gathering.gather.dtmf {
                    self.gathered(now, leg, Gathered::Nothing);
                }
            }
        }
    }

    fn on_speaking(&mut self, now: Instant, leg: LegId) {
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        if gathering.is_speaking {
            return;
        }
        gathering.is_speaking = true;
        let longest = gathering.gather.recognition.max_speech_time;
        self.barge_in(now, leg);
        // Without its prompts or over them: an endpoint that says no more is not waited for without end.
        if let Some(gathering) = self.gathering(leg) {
            gathering.idle = Some(now + longest + SPEECH_GRACE);
        }
    }

    /// Ends the prompts, where the document lets it.
    fn barge_in(&mut self, now: Instant, leg: LegId) {
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        if !gathering.gather.barge_in || (gathering.hearing.is_none() && gathering.pause.is_none())
        {
            return;
        }
        gathering.prompts.clear();
        let hearing = gathering.hearing.take();
        if let Some(job) = hearing {
            self.act(Action::Stop { job });
        }
        self.next_prompt(now, leg);
    }

    fn listen(&mut self, leg: LegId) {
        let job = self.job();
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        gathering.listening = Some(job);
        let recognition = Box::new(gathering.gather.recognition.clone());
        let partials = gathering.gather.partial.is_some();
        self.act(Action::Listen {
            job,
            leg,
            recognition,
            partials,
        });
    }

    fn tell_partial(&mut self, now: Instant, leg: LegId, stable: String, unstable: String) {
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        let (Some(link), Some(job)) = (gathering.gather.partial.clone(), gathering.listening)
        else {
            return;
        };
        let sequence = gathering.sequence;
        gathering.sequence += 1;
        let mut params = self.base_params(leg);
        params.push("UnstableSpeechResult", unstable);
        params.push("StableSpeechResult", stable);
        params.push("SequenceNumber", sequence.to_string());
        self.tell(now, Lane::Partial(job), link, params);
    }

    fn gathered(&mut self, now: Instant, leg: LegId, gathered: Gathered) {
        self.stop_gathering(leg);
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        let digits = std::mem::take(&mut gathering.digits);
        let (action, on_empty) = (
            gathering.gather.action.clone(),
            gathering.gather.action_on_empty,
        );
        let is_speech_only = !gathering.gather.dtmf;
        let mut params = Params::new();
        match gathered {
            Gathered::Digits { finished_on } => {
                params.push("Digits", digits);
                params.push_some("FinishedOnKey", finished_on);
            }
            Gathered::Speech { text, confidence } => {
                params.push("SpeechResult", text);
                let confidence = confidence.min(1000);
                params.push(
                    "Confidence",
                    format!("{}.{:03}", confidence / 1000, confidence % 1000),
                );
            }
            Gathered::Nothing if !on_empty => return self.proceed(now, leg),
            Gathered::Nothing if is_speech_only => params.push("SpeechResult", ""),
            Gathered::Nothing => params.push("Digits", ""),
        }
        self.fetch(now, leg, &action, &params, Topic::Gathered);
    }

    /// Ends what plays and listens for a `<Gather>`.
    pub(super) fn stop_gathering(&mut self, leg: LegId) {
        let Some(gathering) = self.gathering(leg) else {
            return;
        };
        let jobs = [gathering.hearing.take(), gathering.listening.take()];
        for job in jobs.into_iter().flatten() {
            self.act(Action::Stop { job });
        }
    }

    fn gathering(&mut self, leg: LegId) -> Option<&mut Gathering> {
        match &mut self.script_mut(leg)?.step {
            Step::Gathering(gathering) => Some(gathering),
            _ => None,
        }
    }
}
