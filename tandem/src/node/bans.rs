//! `tandem bans`: who is kept out, and until when.

use api::Local;
use clap::{Args, Subcommand};
use control::signal::{BanInfo, Request, Response};
use serde::Serialize;
use serde_json::json;

use super::{Desk, Listing, Node, NodeArgs, Removal, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table},
};

/// Lists the sources that are banned; bans one, or lifts a ban.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them.

Examples:
  tandem bans
  tandem bans add 198.51.100.0/24 --seconds 86400 --reason 'toll fraud'
  tandem bans lift 198.51.100.7"
)]
pub(crate) struct BansArgs {
    #[command(subcommand)]
    command: Option<BansCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum BansCommand {
    /// Lists the sources that are banned
    List(Listing),
    /// Bans an address or a block whatever it did, over restarts too
    Add(AddArgs),
    /// Ends bans
    Lift(LiftArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// An address, or a block
    #[arg(value_name = "IP[/N]")]
    source: String,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    seconds: u32,
    /// Why, for the list
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Print JSON: {"source": ..., "seconds": N}
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct LiftArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// As they are listed, or an address of one
    #[arg(value_name = "IP[/N]", required = true)]
    sources: Vec<String>,
    /// Print JSON: {"lifted": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn bans(args: BansArgs) -> Result<Exit, Failure> {
    match args.command.unwrap_or(BansCommand::List(args.listing)) {
        BansCommand::List(listing) => list(listing).await,
        BansCommand::Add(args) => add(args).await,
        BansCommand::Lift(args) => lift(args).await,
    }
}

async fn list(args: Listing) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let mut bans = match node.ask(Request::Bans).await? {
        Response::Bans(bans) => bans,
        other => return Err(unexpected(&other)),
    };
    bans.sort_unstable_by(|a, b| a.age_s.cmp(&b.age_s).then_with(|| a.source.cmp(&b.source)));
    let views: Vec<_> = bans.iter().map(View::from).collect();
    output::list(&views, args.json, || table(&bans), "nobody is banned")?;
    Ok(Exit::Done)
}

async fn add(args: AddArgs) -> Result<Exit, Failure> {
    let AddArgs {
        source, seconds, ..
    } = &args;
    let desk = Desk::of_node(&args.node).await?;
    let ban = json!({ "source": source, "seconds": seconds, "words": args.reason });
    desk.api.create(&Local::path(&["bans"]), &ban).await?;
    desk.close().await;
    output::done(
        args.json,
        &json!({ "source": source, "seconds": seconds }),
        format!(
            "{} is banned for {}",
            output::printable(source),
            output::age((*seconds).into())
        ),
    )
}

async fn lift(args: LiftArgs) -> Result<Exit, Failure> {
    let lifting = Removal {
        kind: "bans",
        member: "lifted",
        done: |source| format!("{source} is no longer banned"),
        missing: |source| format!("{source} is not banned; 'tandem bans' lists who is"),
    };
    let desk = Desk::of_node(&args.node).await?;
    lifting.run(desk, args.sources, args.json).await
}

fn table(bans: &[BanInfo]) -> Table {
    let mut table = Table::new(["SOURCE", "WHY", "SINCE", "ENDS IN", "REFUSED"]);
    for ban in bans {
        let why = match ban.words.as_str() {
            "" => ban.reason.clone(),
            words => format!("{}: {words}", ban.reason),
        };
        table.row([
            ban.source.clone(),
            why,
            output::age(ban.age_s),
            output::age(ban.left_s),
            ban.hits.to_string(),
        ]);
    }
    table
}

/// A ban as scripts read it.
#[derive(Serialize)]
struct View<'a> {
    source: &'a str,
    reason: &'a str,
    words: &'a str,
    age_s: u64,
    left_s: u64,
    hits: u64,
}

impl<'a> From<&'a BanInfo> for View<'a> {
    fn from(ban: &'a BanInfo) -> Self {
        Self {
            source: &ban.source,
            reason: &ban.reason,
            words: &ban.words,
            age_s: ban.age_s,
            left_s: ban.left_s,
            hits: ban.hits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_says_who_why_and_how_long() {
        let ban = BanInfo {
            source: "198.51.100.7".into(),
            reason: "operator".into(),
            words: "toll fraud".into(),
            age_s: 60,
            left_s: 3_540,
            hits: 12,
        };
        assert_eq!(
            table(&[ban]).to_string(),
            "SOURCE        WHY                   SINCE      ENDS IN     REFUSED\n\
             198.51.100.7  operator: toll fraud  1 min 0 s  59 min 0 s  12"
        );
    }
}
