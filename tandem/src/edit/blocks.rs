//! `tandem blocks`: calls that are not taken.

use clap::Args;
use serde_json::{Value, json};

use super::{EditCommand, Kind, document::given, run, which};
use crate::{
    exit::{Exit, Failure},
    node::Listing,
    output::{self, Table},
};

/// Of which a block has one.
const WHO: &[&str] = &["number", "prefix", "pattern", "anonymous"];

/// Lists, shows and edits blocks: calls that are not taken.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them. A block is about one number, a prefix, a pattern, or callers who do not
show their number.

Examples:
  tandem blocks add --prefix +882 --of called --direction out
  tandem blocks add nuisance --number +15550123 --action silence
  tandem blocks add --anonymous --to +15550100
  tandem blocks remove nuisance"
)]
pub(crate) struct BlocksArgs {
    #[command(subcommand)]
    command: Option<EditCommand<BlockMembers>>,
    #[command(flatten)]
    listing: Listing,
}

/// What can be written of a block.
#[derive(Args, Debug)]
struct BlockMembers {
    /// This number
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// Every number that begins so
    #[arg(long, value_name = "DIGITS")]
    prefix: Option<String>,
    /// Every number that this regular expression finds
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    /// Callers that do not show their number
    #[arg(long)]
    anonymous: bool,
    /// Whose number is meant: caller, called, both [default: caller]
    #[arg(long, value_name = "PARTY")]
    of: Option<String>,
    /// Calls from trunks (in), from users (out), or both [default: both]
    #[arg(long, value_name = "WAY")]
    direction: Option<String>,
    /// Only calls to this number [default: to any]
    #[arg(long, value_name = "NUMBER")]
    to: Option<String>,
    /// What the caller hears: reject, busy, silence [default: reject]
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
}

impl Kind for BlockMembers {
    const PLURAL: &'static str = "blocks";
    const ONE: &'static str = "block";
    const NAME: Option<&'static str> = None;
    const ONE_OF: &'static [&'static str] = WHO;

    fn members(&self) -> Result<Value, Failure> {
        Ok(given(json!({
            "number": self.number,
            "prefix": self.prefix,
            "pattern": self.pattern,
            "anonymous": self.anonymous.then_some(true),
            "of": self.of,
            "direction": self.direction,
            "to": self.to,
            "action": self.action,
        })))
    }

    fn table(items: &[Value]) -> Table {
        let heads = ["ID", "BLOCKS", "OF", "DIRECTION", "TO", "ACTION", "SOURCE"];
        let mut table = Table::new(heads);
        for item in items {
            table.row([
                output::member(item, "id"),
                which(item, WHO),
                output::member(item, "of"),
                output::member(item, "direction"),
                output::member(item, "to"),
                output::member(item, "action"),
                output::member(item, "source"),
            ]);
        }
        table
    }
}

/// Runs the command.
pub(crate) async fn blocks(args: BlocksArgs) -> Result<Exit, Failure> {
    run(args.command.unwrap_or(EditCommand::List(args.listing))).await
}
