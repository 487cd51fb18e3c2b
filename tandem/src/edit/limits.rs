//! `tandem limits`: how much of something may be used.

use clap::Args;
use serde_json::{Value, json};

use super::{EditCommand, Kind, document::given, run, which};
use crate::{
    exit::{Exit, Failure},
    node::Listing,
    output::{self, Table},
};

/// Of which a limit has one.
const WHOSE: &[&str] = &["number", "user", "trunk", "prefix"];

/// Lists, shows and edits limits: how much of something may be used.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them. A limit is one number's, user's, trunk's or prefix's; '*' is each of them
for itself. Emergency calls are never limited.

Examples:
  tandem limits add --user '*' --calls 4 --longest 7200
  tandem limits add premium --prefix +900 --cps 1
  tandem limits set premium --calls 10
  tandem limits remove premium"
)]
pub(crate) struct LimitsArgs {
    #[command(subcommand)]
    command: Option<EditCommand<LimitMembers>>,
    #[command(flatten)]
    listing: Listing,
}

/// What can be written of a limit.
#[derive(Args, Debug)]
struct LimitMembers {
    /// Calls to this number
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// Calls from this user
    #[arg(long, value_name = "USER@DOMAIN")]
    user: Option<String>,
    /// Calls from and to this trunk
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    /// Calls to every number that begins so, together
    #[arg(long, value_name = "DIGITS")]
    prefix: Option<String>,
    /// How many at once
    #[arg(long, value_name = "N")]
    calls: Option<u32>,
    /// How many may begin within a second
    #[arg(long, value_name = "N")]
    cps: Option<u32>,
    /// How long each may last after its answer
    #[arg(long, value_name = "SECONDS")]
    longest: Option<u32>,
}

impl Kind for LimitMembers {
    const PLURAL: &'static str = "limits";
    const ONE: &'static str = "limit";
    const NAME: Option<&'static str> = None;
    const ONE_OF: &'static [&'static str] = WHOSE;

    fn members(&self) -> Result<Value, Failure> {
        Ok(given(json!({
            "number": self.number,
            "user": self.user,
            "trunk": self.trunk,
            "prefix": self.prefix,
            "calls": self.calls,
            "cps": self.cps,
            "longest": self.longest,
        })))
    }

    fn table(items: &[Value]) -> Table {
        let mut table = Table::new(["ID", "OF", "CALLS", "CPS", "LONGEST", "SOURCE"]);
        for item in items {
            let longest = item["longest"].as_u64();
            table.row([
                output::member(item, "id"),
                which(item, WHOSE),
                output::member(item, "calls"),
                output::member(item, "cps"),
                longest.map_or_else(|| "-".to_owned(), output::age),
                output::member(item, "source"),
            ]);
        }
        table
    }
}

/// Runs the command.
pub(crate) async fn limits(args: LimitsArgs) -> Result<Exit, Failure> {
    run(args.command.unwrap_or(EditCommand::List(args.listing))).await
}
