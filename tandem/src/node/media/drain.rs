//! `tandem media drain`: a media engine takes no new sessions, and ends when it is empty.

use std::time::Duration;

use clap::Args;
use control::{
    Client,
    media::{Drain, Media, MediaStatus, Request, Response},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

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

#[derive(Args, Debug)]
#[command(
    after_help = "Sessions that are there go on. A proxy that asks for more over NG is told \"load limit\" where it supports that, and takes its next engine;
signaling answers 503. Exit code 0: no session is left; 1: the time is over and some are (the engine goes on
draining, or with --exit has ended), or the engine cannot be reached.

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
        limit => wait(&client, status, limit, args.exit, say).await?,
    };
    if args.json {
        output::json(&view(&status))?;
    }
    Ok(exit)
}

fn view(status: &MediaStatus) -> serde_json::Value {
    json!({ "draining": status.draining, "sessions": status.sessions })
}

async fn wait(
    client: &Client<Media>,
    mut status: MediaStatus,
    limit: Option<u32>,
    ends: bool,
    say: impl Fn(String) -> Result<(), Failure>,
) -> Result<(MediaStatus, Exit), Failure> {
    let start = Instant::now();
    let limit = limit.map(|seconds| Duration::from_secs(seconds.into()));
    let mut told = start;
    while status.sessions > 0 {
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            say(format!("time is over, {}", left(&status)))?;
            return Ok((status, Exit::Failed));
        }
        if told.elapsed() >= TELL {
            say(left(&status))?;
            told = Instant::now();
        }
        sleep(POLL).await;
        status = match ask(client, Request::Status).await {
            // It has ended, with the last of them as far as is known.
            Err(_) if ends && limit.is_none_or(|limit| start.elapsed() < limit) => MediaStatus {
                sessions: 0,
                ..status
            },
            Err(_) if ends => {
                say("time is over, and the engine has ended".to_owned())?;
                return Ok((status, Exit::Failed));
            }
            answer => answer?,
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
