//! `tandem trace`: the messages of a call, as a ladder.

use std::{fmt::Write as _, time::Duration};

use clap::Args;
use control::signal::{Request, Response, TracePage, TracedMessage};
use serde::Serialize;
use tokio::time::sleep;

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, printable},
};

/// How often new messages are looked for.
const POLL: Duration = Duration::from_millis(300);
/// How wide a peer's column is, with the arrow to the node.
const COLUMN: usize = 9;

/// Shows the messages of a call, while it is up and for as long as they are kept.
///
/// Each line is a message: when, which way, and its first line. Credentials, passwords and keys are
/// hidden. The node keeps the latest messages, [sip] trace MiB of them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tandem trace 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11
  tandem trace 'a84b4c76e66710@pc33.example.test' --full
  tandem trace $(tandem calls --json | jq -r '.items[0].id') --follow")]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The call's id, as 'tandem calls' shows it (for a minute after its end too), or a Call-ID
    #[arg(value_name = "ID")]
    id: String,
    /// Show each message whole
    #[arg(long)]
    full: bool,
    /// Go on with the messages that come, until the call is over
    #[arg(long, short)]
    follow: bool,
    /// Print JSON: {"call_id": ..., "up": ..., "items": [...]}; with --follow a line for each message
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn trace(args: TraceArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let mut ladder = Ladder::default();
    let mut page = ask(&node, &args, 0).await?;
    if args.json && !args.follow {
        let (call_id, up) = (page.call_id.clone(), page.up);
        let mut items = Vec::new();
        while !page.messages.is_empty() {
            items.extend(page.messages.iter().map(View::from));
            page = ask(&node, &args, page.next).await?;
        }
        output::json(&Whole { call_id, up, items })?;
        return Ok(Exit::Done);
    }
    if !args.json {
        let state = if page.up { "up" } else { "over" };
        output::line(format!("Call-ID {}, {state}", printable(&page.call_id)))?;
    }
    loop {
        for message in &page.messages {
            if args.json {
                output::json_line(&View::from(message))?;
            } else {
                output::line(ladder.rung(message))?;
            }
        }
        let is_last = page.messages.is_empty();
        if is_last && !(args.follow && page.up) {
            return Ok(Exit::Done);
        }
        if is_last {
            sleep(POLL).await;
        }
        page = ask(&node, &args, page.next).await?;
    }
}

async fn ask(node: &Node, args: &TraceArgs, after: u64) -> Result<TracePage, Failure> {
    let request = Request::Trace {
        id: args.id.clone(),
        after,
        full: args.full,
        tenant: None,
    };
    match node.ask(request).await? {
        Response::Trace(page) => Ok(page),
        other => Err(unexpected(&other)),
    }
}

/// Draws one message after the other. The first peer stands left of the node, the others right of it.
#[derive(Default)]
struct Ladder {
    peers: Vec<String>,
}

impl Ladder {
    fn rung(&mut self, message: &TracedMessage) -> String {
        let peer = format!("{}:{}", message.transport, message.peer);
        let mut text = String::new();
        let index = self.peers.iter().position(|known| *known == peer);
        let index = index.unwrap_or_else(|| {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{}  {} = {peer}",
                " ".repeat(15),
                self.peers.len() + 1
            );
            self.peers.push(peer);
            self.peers.len() - 1
        });
        let _ = write!(
            text,
            "{}  {}",
            clock(message.at_us),
            self.arrows(index, message.received)
        );
        let cseq = message
            .cseq
            .as_deref()
            .filter(|_| message.line.starts_with("SIP/"));
        let cseq = cseq.map_or_else(String::new, |cseq| format!("  [{}]", printable(cseq)));
        let _ = write!(text, "  {}{cseq}", printable(&message.line));
        for line in message.text.iter().flat_map(|text| text.lines()) {
            let _ = write!(text, "\n    {}", printable(line));
        }
        if message.text.is_some() {
            text.push('\n');
        }
        text
    }

    /// `1------>|        ` for a message of the first peer, `         |------->2` for one to the second.
    fn arrows(&self, index: usize, received: bool) -> String {
        let name = (index + 1).to_string();
        let blank = " ".repeat(COLUMN);
        let shaft = "-".repeat(COLUMN.saturating_sub(name.len() + 1));
        let (left, right) = match (index, received) {
            (0, true) => (format!("{name}{shaft}>"), blank),
            (0, false) => (format!("{name}<{shaft}"), blank),
            (_, true) => (blank, format!("<{shaft}{name}")),
            (_, false) => (blank, format!("{shaft}>{name}")),
        };
        format!("{left}|{right}")
    }
}

/// The time of day in UTC, to the microsecond.
fn clock(at_us: i64) -> String {
    let us = at_us.rem_euclid(86_400_000_000);
    let seconds = us / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{:06}",
        seconds % 60,
        us % 1_000_000
    )
}

#[derive(Serialize)]
struct Whole {
    call_id: String,
    up: bool,
    items: Vec<View>,
}

/// A message as scripts read it.
#[derive(Serialize)]
struct View {
    time: store::Timestamp,
    time_us: i64,
    direction: &'static str,
    transport: String,
    local: String,
    peer: String,
    line: String,
    cseq: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<&TracedMessage> for View {
    fn from(message: &TracedMessage) -> Self {
        Self {
            time: store::Timestamp::from_millis(message.at_us / 1000),
            time_us: message.at_us,
            direction: if message.received { "in" } else { "out" },
            transport: message.transport.clone(),
            local: message.local.to_string(),
            peer: message.peer.to_string(),
            line: message.line.clone(),
            cseq: message.cseq.clone(),
            message: message.text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(peer: &str, received: bool, line: &str, cseq: &str) -> TracedMessage {
        TracedMessage {
            at_us: 1_700_000_000_123_456,
            received,
            transport: "udp".to_owned(),
            local: "192.0.2.1:5060".parse().unwrap(),
            peer: peer.parse().unwrap(),
            line: line.to_owned(),
            cseq: Some(cseq.to_owned()),
            text: None,
        }
    }

    #[test]
    fn a_ladder_has_a_rung_for_each_message() {
        let mut ladder = Ladder::default();
        let (caller, callee) = ("192.0.2.10:5060", "192.0.2.20:5060");
        let rungs = [
            message(caller, true, "INVITE sip:1@node SIP/2.0", "1 INVITE"),
            message(callee, false, "INVITE sip:1@gw SIP/2.0", "1 INVITE"),
            message(callee, true, "SIP/2.0 180 Ring\x1b[2J", "1 INVITE"),
            message(caller, false, "SIP/2.0 180 Ringing", "1 INVITE"),
        ];
        let drawn: Vec<_> = rungs.iter().map(|rung| ladder.rung(rung)).collect();
        assert_eq!(
            drawn.join("\n"),
            "                 1 = udp:192.0.2.10:5060\n\
             22:13:20.123456  1------->|           INVITE sip:1@node SIP/2.0\n                 \
             2 = udp:192.0.2.20:5060\n\
             22:13:20.123456           |------->2  INVITE sip:1@gw SIP/2.0\n\
             22:13:20.123456           |<-------2  SIP/2.0 180 Ring?[2J  [1 INVITE]\n\
             22:13:20.123456  1<-------|           SIP/2.0 180 Ringing  [1 INVITE]"
        );
    }

    #[test]
    fn a_whole_message_stands_below_its_rung() {
        let mut full = message("192.0.2.10:5060", true, "BYE sip:a SIP/2.0", "2 BYE");
        full.text = Some("BYE sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n".to_owned());
        let drawn = Ladder::default().rung(&full);
        assert!(
            drawn.ends_with("\n    BYE sip:a SIP/2.0\n    Call-ID: x\n    \n"),
            "{drawn}"
        );
    }
}
