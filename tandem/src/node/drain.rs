//! `tandem drain`: take no new calls, and wait for those that are up.

use std::time::Duration;

use clap::Args;
use control::signal::{Request, Response, SignalStatus};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Node, NodeArgs, status, unexpected};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// How often the calls are counted while waiting.
const POLL: Duration = Duration::from_millis(500);
/// How often the count is told while waiting.
const TELL: Duration = Duration::from_secs(10);

/// Makes a node refuse new calls with 503, and waits until no call is up.
#[derive(Args, Debug)]
#[command(
    after_help = "Calls that are up go on; nothing is hung up. Exit code 0: no call is left; 1: the time is over \
and calls are still up (the node goes on draining), or the node cannot be reached.

Examples:
  tandem drain --wait 300      before a restart: wait 5 minutes at most
  tandem drain --wait 0        only refuse new calls
  tandem drain --off           take calls again"
)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Wait this long at most [default: as long as it takes]
    #[arg(long, value_name = "SECONDS", conflicts_with = "off")]
    wait: Option<u64>,
    /// Take new calls again
    #[arg(long)]
    off: bool,
    /// Print JSON at the end: {"node": ..., "draining": true, "calls": N}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn drain(args: DrainArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let status = switch(&node, !args.off).await?;
    if args.off {
        let words = format!("{} takes calls again", status.node);
        return output::done(args.json, &view(&status), words);
    }
    let say = |words: String| match args.json {
        true => Ok(()),
        false => output::line(words),
    };
    say(format!(
        "{} takes no new calls; {}",
        status.node,
        calls_up(status.calls)
    ))?;
    let (status, exit) = match args.wait {
        Some(0) => (status, Exit::Done),
        limit => wait(&node, status, limit.map(Duration::from_secs), say).await?,
    };
    if args.json {
        output::json(&view(&status))?;
    }
    Ok(exit)
}

fn view(status: &SignalStatus) -> Value {
    json!({ "node": status.node, "draining": status.draining, "calls": status.calls })
}

async fn wait(
    node: &Node,
    mut status: SignalStatus,
    limit: Option<Duration>,
    say: impl Fn(String) -> Result<(), Failure>,
) -> Result<(SignalStatus, Exit), Failure> {
    let start = Instant::now();
    let mut told = start;
    while status.calls > 0 {
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            say(format!("time is over, {}", calls_up(status.calls)))?;
            return Ok((status, Exit::Failed));
        }
        if told.elapsed() >= TELL {
            say(calls_up(status.calls))?;
            told = Instant::now();
        }
        sleep(POLL).await;
        status = status::ask(node).await?;
        if !status.draining {
            return Err(Failure::other(
                "someone made the node take calls again; not waiting any longer",
            ));
        }
    }
    say("no call is up".to_owned())?;
    Ok((status, Exit::Done))
}

async fn switch(node: &Node, on: bool) -> Result<SignalStatus, Failure> {
    match node.ask(Request::Drain { on }).await? {
        Response::Status(status) => Ok(status),
        other => Err(unexpected(&other)),
    }
}

fn calls_up(count: u64) -> String {
    match count {
        0 => "no call is up".to_owned(),
        1 => "1 call is up".to_owned(),
        many => format!("{many} calls are up"),
    }
}
