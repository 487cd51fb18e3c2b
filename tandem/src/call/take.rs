//! `tandem answer`.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    agent::{Ending, Happened},
    args::AnswerArgs,
    media::Source,
    phone::Phone,
    progress::Progress,
    report::{Log, Parties, Report},
};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// How often the live line is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// Runs the command.
pub(crate) async fn answer(args: AnswerArgs) -> Result<Exit, Failure> {
    if args.listen.ip().is_unspecified() {
        return Err(Failure::other(format!(
            "--listen {}: name an address that the caller can reach; nobody can answer to that one",
            args.listen
        )));
    }
    let cannot = |error| Failure::io(format!("cannot listen on {}", args.listen), &error);
    // Wrong files are told before anyone calls.
    drop(args.audio.source()?);
    let mut phone = Phone::new(args.listen, args.audio.codecs())
        .await
        .map_err(cannot)?;
    let no_signal = |error| Failure::io("cannot listen to signals", &error);
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt()).map_err(no_signal)?,
        terminate: signal(SignalKind::terminate()).map_err(no_signal)?,
    };
    let progress = Progress::new(args.json);
    progress.say(&format!(
        "waiting for calls on udp:{local} and tcp:{local} (Ctrl-C: leave)",
        local = phone.local()
    ))?;
    progress.clear();

    let (mut left, mut exit) = (args.calls, Exit::Done);
    while left != Some(0) {
        let source = if args.echo {
            Source::Echo
        } else {
            args.audio.source()?
        };
        phone
            .prepare(source, args.audio.recorder()?)
            .await
            .map_err(cannot)?;
        let mut call = Call::new(&args, &mut phone);
        let over = call.until_over(&mut signals).await?;
        let Some((ending, interrupted)) = over else {
            break;
        };
        call.progress.clear();
        let Call { log, parties, .. } = call;
        let stats = phone.finish().await;
        let stats = stats.map_err(|error| Failure::io("the recording is not whole", &error))?;
        let report = Report::new(parties, &log, &ending, &stats, args.audio.record.as_deref());
        if args.json {
            output::json_line(&report)?;
        } else {
            output::line(&report)?;
        }
        if report.exit() != Exit::Done {
            exit = Exit::Silent;
        }
        left = left.map(|left| left - 1);
        if interrupted {
            break;
        }
    }
    Ok(exit)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One call, from waiting for it to its end.
struct Call<'a> {
    phone: &'a mut Phone,
    ring: Duration,
    duration: Option<Duration>,
    log: Log,
    parties: Parties,
    progress: Progress,
}

impl<'a> Call<'a> {
    fn new(args: &AnswerArgs, phone: &'a mut Phone) -> Self {
        Self {
            phone,
            ring: Duration::from_secs(args.ring),
            duration: args.duration.map(Duration::from_secs),
            log: Log::new(),
            parties: Parties {
                from: String::new(),
                to: String::new(),
                call_id: String::new(),
            },
            progress: Progress::new(args.json),
        }
    }

    /// Waits for a call and follows it to its end; tells also whether the user wants no more.
    /// `None` where the user left before there was one, or would not wait for its end.
    async fn until_over(
        &mut self,
        signals: &mut Signals,
    ) -> Result<Option<(Ending, bool)>, Failure> {
        let mut draw = interval(DRAW);
        draw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pick_up, mut hang_up) = (None, None);
        let (mut is_called, mut interrupted) = (false, false);
        loop {
            tokio::select! {
                happened = self.phone.next() => match happened {
                    Happened::Ended(ending) => return Ok(Some((ending, interrupted))),
                    Happened::Incoming { from, to } => {
                        is_called = true;
                        self.log = Log::new();
                        self.on_incoming(from, to)?;
                        pick_up = Some(Instant::now() + self.ring);
                    }
                    Happened::Answered => {
                        self.log.answered();
                        hang_up = self.duration.map(|duration| Instant::now() + duration);
                    }
                    Happened::Media(plan) => self.log.plan(plan),
                    Happened::Progress { .. } => {}
                },
                () = at(pick_up) => {
                    pick_up = None;
                    self.phone.answer();
                }
                () = at(hang_up) => {
                    hang_up = None;
                    self.phone.hang_up();
                }
                () = signals.next() => {
                    if !is_called || interrupted {
                        return Ok(None);
                    }
                    interrupted = true;
                    self.phone.hang_up();
                }
                _ = draw.tick() => {
                    if let Some(up) = self.log.up() {
                        self.progress.show(up, &self.phone.stats())?;
                    }
                }
            }
        }
    }

    fn on_incoming(&mut self, from: String, to: String) -> Result<(), Failure> {
        self.progress.say(&format!("{from} calls {to}"))?;
        self.parties = Parties {
            from,
            to,
            call_id: self.phone.call_id(),
        };
        self.log.ringing();
        self.phone.ring();
        Ok(())
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
