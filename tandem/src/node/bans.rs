//! `tandem bans`: who is kept out, and until when.

use clap::Args;
use control::{
    FaultCode,
    channel::RequestError,
    signal::{BanInfo, Request, Response},
};
use serde::Serialize;

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table},
};

/// Lists the sources that are banned; bans one, or lifts a ban.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tandem bans
  tandem bans --add 198.51.100.0/24 --seconds 86400 --reason 'toll fraud'
  tandem bans --lift 198.51.100.7")]
pub(crate) struct BansArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Ban an address or a block
    #[arg(long, value_name = "IP[/N]", group = "change")]
    add: Option<String>,
    /// For how long
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "add",
        default_value_t = 3_600
    )]
    seconds: u32,
    /// Why, for the list
    #[arg(long, value_name = "TEXT", requires = "add", default_value = "")]
    reason: String,
    /// End the ban of an address or a block
    #[arg(long, value_name = "IP[/N]", group = "change")]
    lift: Option<String>,
    /// Print JSON: {"items": [...], "next": null}
    #[arg(long, conflicts_with = "change")]
    json: bool,
}

/// Runs the command.
pub(crate) async fn bans(args: BansArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    if let Some(source) = args.add {
        let done = format!(
            "{source} is banned for {}",
            output::age(args.seconds.into())
        );
        let request = Request::Ban {
            source,
            seconds: args.seconds,
            reason: args.reason,
        };
        return change(&node, request, done).await;
    }
    if let Some(source) = args.lift {
        let done = format!("{source} is no longer banned");
        return change(&node, Request::Lift { source }, done).await;
    }
    let mut bans = match node.ask(Request::Bans).await? {
        Response::Bans(bans) => bans,
        other => return Err(unexpected(&other)),
    };
    bans.sort_unstable_by(|a, b| a.age_s.cmp(&b.age_s).then_with(|| a.source.cmp(&b.source)));
    let views: Vec<_> = bans.iter().map(View::from).collect();
    output::list(&views, args.json, || table(&bans), "nobody is banned")?;
    Ok(Exit::Done)
}

async fn change(node: &Node, request: Request, done: String) -> Result<Exit, Failure> {
    match node.ask(request).await {
        Ok(Response::Done) => output::line(done)?,
        Ok(other) => return Err(unexpected(&other)),
        Err(RequestError::Fault(fault)) if fault.code == FaultCode::NotFound => {
            eprintln!("tandem: {fault}");
            return Ok(Exit::Failed);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Done)
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
