//! `tandem route`: where a call would go, and why.

use std::fmt::Write as _;

use clap::Args;
use control::{
    channel::RequestError,
    signal::{
        Request, Response, RouteCarrier, RouteDecision, RouteLimit, RouteQuestion, RouteReport,
        RouteTo,
    },
};

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, printable},
};

/// Shows where a call would go, and why: each rule that has a say, and what each carrier would get.
///
/// Nobody is called, and nothing is counted. With --offline every user is taken to exist.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code 0: the call would go somewhere; 1: it would be refused.

Examples:
  tandem route alice +4930123456
  tandem route +15550100 +15550199 --trunk carrier-a --at 2026-01-05T08:30:00+01:00
  tandem route alice@example.test 100 --offline --config new.toml
  tandem route alice +4930123456 --json | jq -r '.stages[0].to.carriers[].trunk'"
)]
pub(crate) struct RouteArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who calls: a number, a user, or a sip: URI
    #[arg(value_name = "FROM")]
    from: String,
    /// Whom: a number, a user, or a sip: URI
    #[arg(value_name = "TO")]
    to: String,
    /// The trunk that the call comes from
    #[arg(long, value_name = "NAME", conflicts_with = "user")]
    trunk: Option<String>,
    /// The user who calls, where FROM is a number
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// When, such as 2026-01-05T08:30:00+01:00 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The caller wants to stay unknown
    #[arg(long)]
    private: bool,
    /// What shares are drawn by: another number, another draw
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    draw: u64,
    /// Ask the configuration file alone, not a running node and its store
    #[arg(long, conflicts_with = "control")]
    offline: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn route(args: RouteArgs) -> Result<Exit, Failure> {
    let question = RouteQuestion {
        from: args.from.clone(),
        to: args.to.clone(),
        trunk: args.trunk.clone(),
        user: args.user.clone(),
        at: args.at.clone(),
        private: args.private,
        draw: args.draw,
    };
    let report = if args.offline {
        let config = args.node.config()?;
        signaling::explain(&config, &question).map_err(Failure::other)?
    } else {
        ask(&Node::connect(&args.node).await?, question).await?
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::line(text(&report))?;
    }
    Ok(match report.decision {
        RouteDecision::Plan => Exit::Done,
        RouteDecision::Refuse { .. } | RouteDecision::Silence => Exit::Failed,
    })
}

async fn ask(node: &Node, question: RouteQuestion) -> Result<RouteReport, Failure> {
    match node.ask(Request::Route(question)).await {
        Ok(Response::Route(report)) => Ok(*report),
        Ok(other) => Err(unexpected(&other)),
        Err(RequestError::Fault(fault)) => Err(Failure::other(fault.message)),
        Err(error) => Err(error.into()),
    }
}

fn text(report: &RouteReport) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", printable(&words));
    };
    match &report.decision {
        RouteDecision::Plan => line(format!("a call to {}", report.called)),
        RouteDecision::Refuse { status, reason } => {
            line(format!(
                "a call to {} is refused with {status}: {reason}",
                report.called
            ));
        }
        RouteDecision::Silence => line(format!(
            "a call to {} is not answered at all",
            report.called
        )),
    }
    if report.emergency {
        line("  is an emergency call".to_owned());
    }
    if let Some(longest) = report.longest_s {
        line(format!("  may last {longest} s"));
    }
    for limit in &report.limits {
        line(format!("  holds {}", limited(limit)));
    }
    for (index, stage) in report.stages.iter().enumerate() {
        let media = if stage.relay {
            "media relayed"
        } else {
            "media bypassed"
        };
        let to = match &stage.to {
            RouteTo::User(user) => format!("user {user}"),
            RouteTo::Group { name, .. } => format!("group {name}"),
            RouteTo::Carriers(_) => "carriers".to_owned(),
            RouteTo::Uri(uri) => uri.clone(),
            RouteTo::Application { account, voice_url } => {
                format!("application {voice_url} of account {account}")
            }
        };
        line(format!(
            "{}. {}: {to}, rings {} s, {media}",
            index + 1,
            stage.when,
            stage.ring_timeout_s
        ));
        for limit in &stage.limits {
            line(format!("     holds {}", limited(limit)));
        }
        match &stage.to {
            RouteTo::Group { steps, step_s, .. } => {
                for step in steps {
                    line(format!("     {} for {step_s} s", step.join(", ")));
                }
            }
            RouteTo::Carriers(carriers) => {
                for carrier in carriers {
                    for words in carried(carrier) {
                        line(words);
                    }
                }
            }
            RouteTo::User(_) | RouteTo::Uri(_) | RouteTo::Application { .. } => {}
        }
    }
    line("why:".to_owned());
    for reason in &report.why {
        line(format!("  {reason}"));
    }
    text.truncate(text.trim_end().len());
    text
}

fn carried(carrier: &RouteCarrier) -> Vec<String> {
    let share = carrier.share.map(|share| format!(", share {share}"));
    let mut lines = vec![format!(
        "     {} as {}, rings {} s, cost {}{}",
        carrier.trunk,
        carrier.number,
        carrier.ring_timeout_s,
        carrier.cost,
        share.unwrap_or_default()
    )];
    for host in &carrier.hosts {
        let state = if host.up {
            ""
        } else {
            " (gives no answer: tried last)"
        };
        lines.push(format!("       {}{state}", host.host));
    }
    let codes: Vec<_> = carrier.failover.iter().map(u16::to_string).collect();
    if !codes.is_empty() {
        lines.push(format!("       the next one after {}", codes.join(", ")));
    }
    let limits = carrier.limits.iter();
    lines.extend(limits.map(|limit| format!("       holds {}", limited(limit))));
    lines
}

fn limited(limit: &RouteLimit) -> String {
    let calls = limit
        .calls
        .map(|calls| format!(", {} of {calls} calls", limit.in_use));
    let cps = limit.cps.map(|cps| format!(", {cps} calls a second"));
    format!(
        "{}{}{}",
        limit.name,
        calls.unwrap_or_default(),
        cps.unwrap_or_default()
    )
}
