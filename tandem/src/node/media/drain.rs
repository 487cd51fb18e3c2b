//! `tandem media drain`: a media engine takes no new sessions, and ends when it is empty.

use std::time::Duration;

use clap::Args;
use control::{
    Client, Notice,
    media::{Drain, Event, Media, MediaStatus, Request, Response},
};
use serde_json::json;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep, timeout},
};

use super::unexpected;
use crate::{
    exit::{Exit, Failure},
    node::NodeArgs,
    output,
};

/// How often the sessions are counted while waiting.
const POLL: Duration = Duration::from_millis(200);
/// How often the count is told while waiting.
const TELL: Duration = Duration::from_secs(10);
/// How much longer than it was given an engine may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// How long one that has said that it ends may take to be gone: its recordings are written to their end.
const GONE: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
#[command(
    after_help = "Sessions that are there go on. A proxy that asks for more over NG is told \"load limit\" where it supports that, and takes its next engine;
signaling answers 503. Exit code 0: no session is left, and with --exit the engine has ended; 1: the time is over and some
are (the engine goes on draining, or with --exit has ended), the engine cannot be reached, or it has ended otherwise
than by being drained: it was stopped, or has crashed. Only --off takes an ordered end back; who drains meanwhile
without --exit does not.

Examples:
  tandem media drain --control unix:/var/lib/tandem/media.sock --exit --wait 3600
  tandem media drain --wait 0      only take no new sessions
  tandem media drain --off         take them again"
)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Wait this long at most [default: as long as it takes]
    #[arg(long, value_name = "SECONDS", conflicts_with = "off")]
    wait: Option<u32>,
    /// The engine ends when no session is left, or when the time to wait is over; of a mediad that is a process of its own
    #[arg(long, conflicts_with = "off")]
    exit: bool,
    /// Take new sessions again
    #[arg(long)]
    off: bool,
    /// Print JSON at the end: {"draining": true, "sessions": N}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn drain(args: DrainArgs) -> Result<Exit, Failure> {
    if args.exit && args.wait == Some(0) {
        let why =
            "--exit with --wait 0 leaves no time to drain: stop mediad, or give it some seconds";
        return Err(Failure::usage(why));
    }
    let client = super::connect(&args.node).await?;
    // Before there is anything to hear.
    let notices = args.exit.then(|| client.notices());
    let order = Drain {
        on: !args.off,
        exit: args.exit,
        limit_s: args.wait.filter(|_| args.exit).unwrap_or(0),
    };
    let status = ask(&client, Request::Drain(order)).await?;
    if args.off {
        let words = "the media engine takes new sessions again";
        return output::done(args.json, &view(&status), words);
    }
    let say = |words: String| match args.json {
        true => Ok(()),
        false => output::line(words),
    };
    say(format!("no new sessions are taken; {}", left(&status)))?;
    let (status, exit) = match args.wait {
        Some(0) => (status, Exit::Done),
        limit => wait(&client, status, limit, notices, say).await?,
    };
    if args.json {
        output::json(&view(&status))?;
    }
    Ok(exit)
}

fn view(status: &MediaStatus) -> serde_json::Value {
    json!({ "draining": status.draining, "sessions": status.sessions })
}

/// Waits until no session is left, and where the engine is to end by that until it has told so by `notices` and is gone.
async fn wait(
    client: &Client<Media>,
    mut status: MediaStatus,
    limit: Option<u32>,
    mut notices: Option<Receiver<Notice<Event>>>,
    say: impl Fn(String) -> Result<(), Failure>,
) -> Result<(MediaStatus, Exit), Failure> {
    let start = Instant::now();
    let ends = notices.is_some();
    let limit = limit.map(|seconds| Duration::from_secs(seconds.into()));
    // The engine itself looks at the time then.
    let limit = limit.map(|limit| if ends { limit + GRACE } else { limit });
    let mut told = start;
    while status.sessions > 0 || ends {
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            let still = if ends {
                ", and the engine has not ended"
            } else {
                ""
            };
            say(format!("time is over, {}{still}", left(&status)))?;
            return Ok((status, Exit::Failed));
        }
        if told.elapsed() >= TELL {
            say(left(&status))?;
            told = Instant::now();
        }
        let look = async {
            sleep(POLL).await;
            ask(client, Request::Status).await
        };
        status = tokio::select! {
            biased;
            end = ended(&mut notices) => {
                let Some(sessions) = end else {
                    return Err(Failure::other(format!(
                        "the media engine has ended, and not by being drained: it was stopped, or has crashed, as its log \
                         tells; when it was last asked, {}. Calls on XDP flow on for a while: start it again",
                        left(&status)
                    )));
                };
                status.sessions = sessions;
                let (time, exit) = match sessions {
                    0 => ("", Exit::Done),
                    _ => ("time is over, ", Exit::Failed),
                };
                say(format!("{time}{}; the engine ends", left(&status)))?;
                // Who starts the next one now must not find this one.
                if timeout(GONE, gone(&mut notices)).await.is_err() {
                    return Err(Failure::other(format!(
                        "the media engine said that it ends, and is still there after {} s: see its log",
                        GONE.as_secs()
                    )));
                }
                return Ok((status, exit));
            }
            answer = look => match answer {
                // Why it does not answer is about to be heard.
                Err(_) if ends => continue,
                answer => answer?,
            },
        };
        if !status.draining {
            return Err(Failure::other(
                "someone made the engine take new sessions again; not waiting any longer",
            ));
        }
    }
    say("no session is left".to_owned())?;
    Ok((status, Exit::Done))
}

/// How many sessions an engine that ends has left; `None` where it is gone without having told.
async fn ended(notices: &mut Option<Receiver<Notice<Event>>>) -> Option<u64> {
    let Some(notices) = notices else {
        return std::future::pending().await;
    };
    loop {
        match notices.recv().await {
            Ok(Notice::Event(Event::Ending { sessions })) => return Some(sessions),
            Ok(Notice::Disconnected) | Err(RecvError::Closed) => return None,
            // Others are of no interest, and may be lost.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

/// Completes once the engine's channel is gone, which it serves to its end.
async fn gone(notices: &mut Option<Receiver<Notice<Event>>>) {
    let Some(notices) = notices else { return };
    loop {
        match notices.recv().await {
            Ok(Notice::Disconnected) | Err(RecvError::Closed) => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

async fn ask(client: &Client<Media>, request: Request) -> Result<MediaStatus, Failure> {
    match client.request(request).await? {
        Response::Status(status) => Ok(status),
        other => Err(unexpected(&other)),
    }
}

fn left(status: &MediaStatus) -> String {
    match status.sessions {
        0 => "no session is left".to_owned(),
        1 => "1 session is left".to_owned(),
        many => format!("{many} sessions are left"),
    }
}

#[cfg(test)]
mod tests {
    use control::{
        Endpoint, Fault,
        channel::{Events, Handler, serve},
        media::Path,
    };

    use super::*;

    /// An engine with so many sessions.
    struct Engine(u64);

    impl Handler<Media> for Engine {
        fn handle(
            &self,
            _: Request,
        ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
            let answer = Ok(Response::Status(status(self.0)));
            async move { answer }
        }
    }

    fn status(sessions: u64) -> MediaStatus {
        MediaStatus {
            path: Path::Sockets,
            stepped_down: String::new(),
            interfaces: Vec::new(),
            shards: 1,
            sessions,
            ports_used: 0,
            ports: 40,
            adopted: 0,
            draining: true,
        }
    }

    /// How long an engine takes from its word to its end.
    const LEAVES: Duration = Duration::from_millis(300);

    /// What is said of an engine that says so of its end, and then is gone. Nothing is before it is.
    async fn end(says: Option<u64>) -> Result<(u64, Exit), Failure> {
        let (listener, endpoint) = Endpoint::memory();
        let events = Events::new();
        let (pushed, served) = (events.clone(), events.clone());
        let engine = tokio::spawn(serve(listener, std::sync::Arc::new(Engine(3)), served));
        let client = Client::<Media>::connect(endpoint);
        let notices = client.notices();
        let is_gone = std::cell::Cell::new(false);
        let ends = async {
            while !pushed.has_listeners() {
                sleep(Duration::from_millis(1)).await;
            }
            if let Some(sessions) = says {
                pushed.push(Event::Ending { sessions });
                sleep(LEAVES).await;
            }
            is_gone.set(true);
            engine.abort();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = wait(&client, status(3), Some(30), Some(notices), |_| Ok(())) => {
                assert!(is_gone.get());
                done.map(|(status, exit)| (status.sessions, exit))
            }
            () = ends => unreachable!(),
        }
    }

    #[tokio::test]
    async fn an_engine_that_ends_drained_is_told_from_one_that_crashed() {
        assert_eq!(end(Some(0)).await.unwrap(), (0, Exit::Done));
        assert_eq!(end(Some(2)).await.unwrap(), (2, Exit::Failed));
        let crashed = end(None).await.unwrap_err();
        let words = crashed.to_string();
        assert!(
            words.contains("crashed") && words.contains("3 sessions"),
            "{words}"
        );
        assert_eq!(crashed.exit(), Exit::Failed);
    }
}
