//! `tandem call`.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    agent::{Ending, Happened, Outgoing},
    args::CallArgs,
    net,
    phone::Phone,
    progress::Progress,
    report::{Log, Parties, Report},
    target::{self, Target},
};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// How long a tone is played where nothing else was asked for.
const DURATION: Duration = Duration::from_secs(10);
/// How long the other side may take to confirm the end. RFC 3261 would have a CANCEL wait for a first
/// response, and a BYE be repeated, for 32 s: a person has left by then.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the live line is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// Runs the command.
pub(crate) async fn call(args: CallArgs) -> Result<Exit, Failure> {
    let target = Target::parse(&args.uri)?;
    let hop = target.hop(args.proxy.as_ref()).await?;
    let source = args.audio.source()?;
    let file = source.length_ms().map(Duration::from_millis);
    let duration = args
        .duration
        .map(Duration::from_secs)
        .or(file)
        .unwrap_or(DURATION);
    let recorder = args.audio.recorder()?;

    let local = local(args.local, hop.remote).await?;
    let cannot = |error| Failure::io(format!("cannot use {local} for the call"), &error);
    let mut phone = Phone::new(local, args.audio.codecs())
        .await
        .map_err(cannot)?;
    phone.prepare(source, recorder).await.map_err(cannot)?;
    let outgoing = Outgoing {
        from: target::from_uri(args.from.as_deref(), phone.local())?,
        uri: target.uri,
        hop,
    };
    if !phone.call(&outgoing) {
        return Err(Failure::other(format!(
            "'{}' cannot be written into an INVITE",
            outgoing.uri
        )));
    }

    let mut run = Run {
        phone,
        log: Log::new(),
        progress: Progress::new(args.json),
        duration,
        interrupted: false,
        is_leaving: false,
    };
    run.progress.say(&format!(
        "calling {} by {}:{}",
        outgoing.uri, hop.transport, hop.remote
    ))?;
    let Some(ending) = run.until_over(Duration::from_secs(args.give_up)).await? else {
        return Ok(Exit::Interrupted);
    };
    run.progress.clear();
    let Run {
        mut phone,
        log,
        interrupted,
        ..
    } = run;
    let parties = Parties {
        from: outgoing.from,
        to: outgoing.uri,
        call_id: phone.call_id(),
    };
    let stats = phone.finish().await;
    let stats = stats.map_err(|error| Failure::io("the recording is not whole", &error))?;
    let report = Report::new(parties, &log, &ending, &stats, args.audio.record.as_deref());
    if args.json {
        output::json(&report)?;
    } else {
        output::line(&report)?;
    }
    if interrupted && ending == Ending::Cancelled {
        return Ok(Exit::Interrupted);
    }
    Ok(report.exit())
}

struct Run {
    phone: Phone,
    log: Log,
    progress: Progress,
    duration: Duration,
    interrupted: bool,
    is_leaving: bool,
}

impl Run {
    /// Follows the call to its end. `None` where the user would not wait for it.
    async fn until_over(&mut self, give_up: Duration) -> Result<Option<Ending>, Failure> {
        let no_signal = |error| Failure::io("cannot listen to signals", &error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
        let mut draw = interval(DRAW);
        draw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // First for the answer, then for the end, and then for its confirmation.
        let mut deadline = Instant::now() + give_up;
        loop {
            tokio::select! {
                happened = self.phone.next() => match happened {
                    Happened::Ended(ending) => return Ok(Some(ending)),
                    Happened::Answered => {
                        deadline = Instant::now() + self.duration;
                        self.on_happened(Happened::Answered)?;
                    }
                    other => self.on_happened(other)?,
                },
                () = sleep_until(deadline) => {
                    if self.is_leaving {
                        self.phone.flush().await;
                        return Ok(Some(self.unconfirmed()));
                    }
                    deadline = self.leave();
                }
                () = stopped(&mut interrupt, &mut terminate) => {
                    if std::mem::replace(&mut self.interrupted, true) {
                        return Ok(None);
                    }
                    self.progress.say("hanging up (Ctrl-C again: leave at once)")?;
                    deadline = self.leave();
                }
                _ = draw.tick() => {
                    if let Some(up) = self.log.up() {
                        self.progress.show(up, &self.phone.stats())?;
                    }
                }
            }
        }
    }

    fn on_happened(&mut self, happened: Happened) -> Result<(), Failure> {
        match happened {
            Happened::Progress {
                status,
                reason,
                media,
            } => {
                self.log.ringing();
                let early = if media.is_some() {
                    ", with early media"
                } else {
                    ""
                };
                self.progress.say(&format!("{status} {reason}{early}"))
            }
            Happened::Answered => {
                self.log.answered();
                let at = self.log.up().map(|_| self.duration.as_secs());
                self.progress.say(&format!(
                    "answered; hanging up in {} s (Ctrl-C: now)",
                    at.unwrap_or_default()
                ))
            }
            Happened::Media(plan) => {
                self.log.plan(plan);
                let held = match (plan.send, plan.receive) {
                    (true, true) => "",
                    (true, false) => ", which only listens",
                    (false, true) => ", which only sends: we are on hold",
                    (false, false) => ": we are on hold",
                };
                let codec = plan.codec.name();
                self.progress
                    .say(&format!("media {codec} with {}{held}", plan.remote))
            }
            // Who calls us meanwhile finds us busy.
            Happened::Incoming { .. } | Happened::Ended(_) => Ok(()),
        }
    }

    /// Hangs up; the time until which the other side may confirm it.
    fn leave(&mut self) -> Instant {
        self.is_leaving = true;
        self.phone.hang_up();
        Instant::now() + PATIENCE
    }

    /// How the call ended where the other side said nothing to its end.
    fn unconfirmed(&self) -> Ending {
        match (self.log.up(), self.log.is_ringing()) {
            (Some(_), _) => Ending::HungUp,
            (None, true) => Ending::Cancelled,
            (None, false) => Ending::silence(),
        }
    }
}

async fn stopped(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The address of this end: as asked for, or the one that leads to the other end.
async fn local(asked: Option<SocketAddr>, remote: SocketAddr) -> Result<SocketAddr, Failure> {
    let towards = net::local_ip_towards(remote);
    let ip = match asked {
        Some(local) if !local.ip().is_unspecified() => return Ok(local),
        _ => towards
            .await
            .map_err(|error| Failure::io(format!("no way to {remote}"), &error))?,
    };
    Ok(SocketAddr::new(ip, asked.map_or(0, |local| local.port())))
}
