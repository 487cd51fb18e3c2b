//! `tandem log`: what a running node logs.

use std::{net::IpAddr, time::Duration};

use clap::Args;
use control::signal::{LogOrder, LogState, Request, Response, Subject};
use serde_json::{Value, json};

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, printable},
};

/// Shows or changes what a running node logs, for a while.
///
/// With a call, a source or a user the node logs at level debug what it does about that one alone, and
/// about the calls that it is part of. Credentials are never logged.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tandem log                                    what is logged now
  tandem log --level debug --user alice@example.test --for 5m
  tandem log --level debug --source 192.0.2.10
  tandem log --level info,signaling=debug       everybody's, for 10 minutes
  tandem log --reset")]
pub(crate) struct LogArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// off, error, warn, info, debug, trace, or levels of parts: info,signaling=debug
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// Only this call's lines, by its Call-ID
    #[arg(long, value_name = "CALL-ID", requires = "level", group = "subject")]
    call_id: Option<String>,
    /// Only lines about messages from this address
    #[arg(long, value_name = "IP", requires = "level", group = "subject")]
    source: Option<IpAddr>,
    /// Only lines about calls from or to this user, 'alice' or 'alice@example.test'
    #[arg(long, value_name = "USER", requires = "level", group = "subject")]
    user: Option<String>,
    /// For how long: 90s, 10m, 2h, at most 24h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = time)]
    time: Duration,
    /// Back to what the node was started with
    #[arg(long, conflicts_with = "level")]
    reset: bool,
    /// Print JSON: {"filter": ..., "left_s": N or null, "watches": [...]}, as GET /v1/node/log does
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn log(args: LogArgs) -> Result<Exit, Failure> {
    let order = order(&args)?;
    let node = Node::connect(&args.node).await?;
    match node.ask(Request::Log(order)).await? {
        Response::Log(state) => output::done(args.json, &view(&state), text(&state)),
        other => Err(unexpected(&other)),
    }
}

fn view(state: &LogState) -> Value {
    let watches = state.watches.iter();
    let watches =
        watches.map(|(subject, left_s)| json!({ "subject": words(subject), "left_s": left_s }));
    let watches: Vec<_> = watches.collect();
    json!({ "filter": state.filter, "left_s": state.left_s, "watches": watches })
}

fn words(subject: &Subject) -> String {
    match subject {
        Subject::CallId(id) => format!("call {id}"),
        Subject::Source(ip) => format!("source {ip}"),
        Subject::User(user) => format!("user {user}"),
    }
}

fn order(args: &LogArgs) -> Result<LogOrder, Failure> {
    if args.reset {
        return Ok(LogOrder::Reset);
    }
    let Some(level) = &args.level else {
        return Ok(LogOrder::Show);
    };
    let seconds = u32::try_from(args.time.as_secs()).unwrap_or(u32::MAX);
    let call_id = args.call_id.clone().map(Subject::CallId);
    let source = args.source.map(Subject::Source);
    let user = args.user.clone().map(Subject::User);
    match call_id.or(source).or(user) {
        Some(subject) if level == "debug" => Ok(LogOrder::Watch { subject, seconds }),
        Some(_) => Err(Failure::other(
            "one call, source or user can be logged at level debug only: --level debug",
        )),
        None => Ok(LogOrder::Raise {
            filter: level.clone(),
            seconds,
        }),
    }
}

fn text(state: &LogState) -> String {
    let left = state.left_s.map_or_else(String::new, |left| {
        format!(", for {} yet", output::age(left))
    });
    let mut text = format!("filter  {}{left}", printable(&state.filter));
    for (subject, left) in &state.watches {
        let subject = printable(&words(subject));
        text.push_str(&format!(
            "\ndebug   {subject}, for {} yet",
            output::age(*left)
        ));
    }
    text
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: say 90s, 10m or 2h, at most 24h");
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = number
        .checked_mul(unit)
        .filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        let seconds = |text| time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("24h"), Ok(86_400));
        for wrong in [
            "",
            "10",
            "25h",
            "0s",
            "s",
            "1mm",
            "-1s",
            "18446744073709551615h",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_state_is_told_in_lines() {
        let state = LogState {
            filter: "debug".to_owned(),
            left_s: Some(600),
            watches: vec![(Subject::User("alice".to_owned()), 30)],
        };
        assert_eq!(
            text(&state),
            "filter  debug, for 10 min 0 s yet\ndebug   user alice, for 30 s yet"
        );
    }
}
