//! `tandem calls`: the calls that are up.

use std::time::{SystemTime, UNIX_EPOCH};

use api::Local;
use clap::{Args, Subcommand, ValueEnum};
use control::signal::{CallInfo, CallState, Party, Request, Response, TransferInfo};
use serde::Serialize;
use serde_json::{Value, json};
use store::Timestamp;

use super::{Desk, Listing, Node, NodeArgs, Removal, found, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table},
};

/// How many calls are asked for at once.
const PAGE: u32 = 1_000;

/// Lists the calls that are up, shows one, or does something to it.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them. 'tandem trace ID' shows a call's messages, 'tandem cdrs' the calls that are
over.

Examples:
  tandem calls
  tandem calls --tenant acme
  tandem calls show 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11
  tandem calls hangup 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11
  tandem calls originate alice@example.test +15550100
  tandem calls mute 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11 caller
  tandem calls dtmf 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11 callee '12#'
  tandem calls transfer 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11 callee bob@example.test
  tandem calls --json | jq -r '.items[] | select(.state == \"ringing\") | .id' | xargs tandem calls hangup"
)]
pub(crate) struct CallsArgs {
    #[command(subcommand)]
    command: Option<CallsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum CallsCommand {
    /// Lists the calls that are up, oldest first
    List(ListArgs),
    /// Shows a call
    Show(ShowArgs),
    /// Ends calls: BYE to both sides, or CANCEL and 487 where nobody has answered yet
    Hangup(HangupArgs),
    /// Calls a party, and once it has answered another one, and connects both
    Originate(OriginateArgs),
    /// Keeps the other party from hearing one of the two
    Mute(MuteArgs),
    /// Lets a party that was muted be heard again
    Unmute(MuteArgs),
    /// Has a party call somebody else instead, by REFER
    Transfer(TransferArgs),
    /// Keeps both parties from hearing each other
    Hold(ShowArgs),
    /// Lets parties that were put on hold hear each other again
    Resume(ShowArgs),
    /// Records what both parties say, and says where
    Record(ShowArgs),
    /// Records a call no longer
    StopRecording(ShowArgs),
    /// Presses telephone keys that one party hears, as if the other had
    Dtmf(DtmfArgs),
}

#[derive(Args, Debug)]
struct OriginateArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who is called first: a user, a number or a SIP URI
    from: String,
    /// Who is called then
    to: String,
    /// Show both this number or user as the caller; else each is shown the other
    #[arg(long, value_name = "NUMBER")]
    caller_id: Option<String>,
    /// Ring either for so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    ring_timeout: u32,
    /// Print JSON, as POST /v1/calls does
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct MuteArgs {
    #[command(flatten)]
    call: ShowArgs,
    /// Who of the two
    #[arg(value_enum)]
    party: PartyArg,
}

#[derive(Args, Debug)]
struct TransferArgs {
    #[command(flatten)]
    whom: MuteArgs,
    /// Whom it is to call: a user, a number or a SIP URI
    to: String,
}

#[derive(Args, Debug)]
struct DtmfArgs {
    #[command(flatten)]
    call: ShowArgs,
    /// Who hears them
    #[arg(value_enum)]
    party: PartyArg,
    /// 0-9, A-D, * and #; w is a pause of half a second, W one of a second
    digits: String,
    /// For how many milliseconds each is pressed, 40 to 6000
    #[arg(long, value_name = "MS", default_value_t = 100)]
    duration: u16,
    /// For how many milliseconds none is after it, 40 to 6000
    #[arg(long, value_name = "MS", default_value_t = 100)]
    gap: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PartyArg {
    /// Who called
    Caller,
    /// Who was called
    Callee,
}

impl PartyArg {
    const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    listing: Listing,
    /// Only this tenant's
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its id, as it is listed
    #[arg(value_name = "ID")]
    id: String,
    /// Print JSON, as GET /v1/calls/ID does
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct HangupArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Their ids, as they are listed
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Print JSON: {"ended": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn calls(args: CallsArgs) -> Result<Exit, Failure> {
    match args.command.unwrap_or(CallsCommand::List(args.list)) {
        CallsCommand::List(args) => list(args).await,
        CallsCommand::Show(args) => show(args).await,
        CallsCommand::Hangup(args) => hang_up(args).await,
        CallsCommand::Originate(args) => originate(args).await,
        CallsCommand::Mute(args) => mute(args, true).await,
        CallsCommand::Unmute(args) => mute(args, false).await,
        CallsCommand::Transfer(args) => {
            let wanted = json!({ "party": args.whom.party.name(), "to": args.to });
            change(args.whom.call, "transfer", wanted).await
        }
        CallsCommand::Hold(args) => change(args, "hold", json!({ "on": true })).await,
        CallsCommand::Dtmf(args) => dtmf(args).await,
        CallsCommand::Record(args) => change(args, "recording", json!({ "on": true })).await,
        CallsCommand::StopRecording(args) => {
            change(args, "recording", json!({ "on": false })).await
        }
        CallsCommand::Resume(args) => change(args, "hold", json!({ "on": false })).await,
    }
}

async fn show(args: ShowArgs) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let call = desk.api.get(&Local::path(&["calls", &args.id])).await;
    let call = found(call, || not_up(&args.id))?.body;
    desk.close().await;
    output::done(args.json, &call, output::details(&call))
}

async fn hang_up(args: HangupArgs) -> Result<Exit, Failure> {
    let ending = Removal {
        kind: "calls",
        member: "ended",
        done: |id| format!("{id} is being ended"),
        missing: not_up,
    };
    let desk = Desk::of_node(&args.node).await?;
    ending.run(desk, args.ids, args.json).await
}

async fn originate(args: OriginateArgs) -> Result<Exit, Failure> {
    let wanted = json!({
        "from": args.from,
        "to": args.to,
        "caller_id": args.caller_id,
        "ring_timeout": args.ring_timeout,
    });
    let desk = Desk::of_node(&args.node).await?;
    let call = desk
        .api
        .create(&Local::path(&["calls"]), &wanted)
        .await?
        .body;
    desk.close().await;
    let id = output::member(&call, "id");
    let said = format!("calling {}: call {id}", output::printable(&args.from));
    output::done(args.json, &call, said)
}

async fn mute(args: MuteArgs, on: bool) -> Result<Exit, Failure> {
    let wanted = json!({ "party": args.party.name(), "on": on });
    change(args.call, "mute", wanted).await
}

async fn dtmf(args: DtmfArgs) -> Result<Exit, Failure> {
    let wanted = json!({
        "party": args.party.name(),
        "digits": args.digits,
        "duration_ms": args.duration,
        "gap_ms": args.gap,
    });
    change(args.call, "dtmf", wanted).await
}

/// Has something done to a call, and shows how it is then.
async fn change(args: ShowArgs, action: &str, wanted: Value) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let path = Local::path(&["calls", &args.id, action]);
    let call = found(desk.api.create(&path, &wanted).await, || not_up(&args.id))?.body;
    desk.close().await;
    output::done(args.json, &call, output::details(&call))
}

fn not_up(id: &str) -> String {
    format!(
        "no call {id} is up; 'tandem calls' lists those that are, 'tandem cdrs' those that are over"
    )
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.listing.node).await?;
    let calls = all(&node, args.tenant).await?;
    let views: Vec<_> = calls.iter().map(View::from).collect();
    output::list(
        &views,
        args.listing.json,
        || table(&calls, now_ms()),
        "no call is up",
    )?;
    Ok(Exit::Done)
}

async fn all(node: &Node, tenant: Option<String>) -> Result<Vec<CallInfo>, Failure> {
    let mut calls: Vec<CallInfo> = Vec::new();
    loop {
        let after = calls.last().map(|call| call.id.clone()).unwrap_or_default();
        let request = Request::Calls {
            after,
            limit: PAGE,
            tenant: tenant.clone(),
        };
        let page = match node.ask(request).await? {
            Response::Calls(page) => page,
            other => return Err(unexpected(&other)),
        };
        if page.is_empty() {
            return Ok(calls);
        }
        calls.extend(page);
    }
}

fn table(calls: &[CallInfo], now_ms: i64) -> Table {
    let mut table = Table::new(["ID", "STATE", "FOR", "FROM", "TO", "TRUNK", "SOURCE"]);
    for call in calls {
        let since = call.answered_ms.unwrap_or(call.started_ms);
        let seconds = u64::try_from((now_ms - since) / 1_000).unwrap_or(0);
        table.row([
            call.id.clone(),
            state(call.state).to_owned(),
            output::age(seconds),
            call.from.clone(),
            call.to.clone(),
            call.trunk.clone().unwrap_or_else(|| "-".to_owned()),
            call.source.clone(),
        ]);
    }
    table
}

const fn state(state: CallState) -> &'static str {
    match state {
        CallState::Trying => "trying",
        CallState::Ringing => "ringing",
        CallState::Answered => "answered",
        CallState::Ending => "ending",
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// A call as scripts read it: as `GET /v1/calls` has it.
#[derive(Serialize)]
struct View<'a> {
    id: &'a str,
    call_id: &'a str,
    from: &'a str,
    to: &'a str,
    source: &'a str,
    tenant: Option<&'a str>,
    trunk: Option<&'a str>,
    state: &'static str,
    started: Timestamp,
    answered: Option<Timestamp>,
    media: Vec<String>,
    muted: &'a [Party],
    held: bool,
    peer: Option<&'a str>,
    transfer: Option<&'a TransferInfo>,
    recording: Option<&'a str>,
}

impl<'a> From<&'a CallInfo> for View<'a> {
    fn from(call: &'a CallInfo) -> Self {
        Self {
            id: &call.id,
            call_id: &call.call_id,
            from: &call.from,
            to: &call.to,
            source: &call.source,
            tenant: call.tenant.as_deref(),
            trunk: call.trunk.as_deref(),
            state: state(call.state),
            started: Timestamp::from_millis(call.started_ms),
            answered: call.answered_ms.map(Timestamp::from_millis),
            media: call.media.iter().map(ToString::to_string).collect(),
            muted: &call.muted,
            held: call.held,
            peer: call.peer.as_deref(),
            transfer: call.transfer.as_ref(),
            recording: call.recording.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use control::media::SessionId;

    use super::*;

    fn call() -> CallInfo {
        CallInfo {
            id: "0199".into(),
            call_id: "a@b".into(),
            from: "sip:alice@example.test".into(),
            to: "sip:100@example.test".into(),
            source: "udp:127.0.0.1:5080".into(),
            tenant: Some("acme".into()),
            trunk: None,
            state: CallState::Answered,
            started_ms: 1_000,
            answered_ms: Some(3_000),
            media: vec![SessionId([0xab; 16])],
            muted: vec![Party::Caller],
            held: false,
            peer: None,
            transfer: None,
            recording: None,
        }
    }

    #[test]
    fn an_answered_call_counts_from_its_answer() {
        assert_eq!(
            table(&[call()], 8_500).to_string(),
            "ID    STATE     FOR  FROM                    TO                    TRUNK  SOURCE\n\
             0199  answered  5 s  sip:alice@example.test  sip:100@example.test  -      udp:127.0.0.1:5080"
        );
    }

    #[test]
    fn media_sessions_are_named_as_in_the_logs() {
        let json = serde_json::to_value(View::from(&call())).unwrap();
        assert_eq!(json["media"][0], "ab".repeat(16));
        assert_eq!(json["state"], "answered");
        assert_eq!(json["muted"], serde_json::json!(["caller"]));
        assert_eq!(json["started"], "1970-01-01T00:00:01.000Z");
        assert_eq!(json["tenant"], "acme");
        assert!(json["trunk"].is_null());
    }
}
