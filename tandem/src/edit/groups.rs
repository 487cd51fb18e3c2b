//! `tandem groups`: who is rung for one number.

use clap::Args;
use serde_json::{Value, json};

use super::{EditCommand, Kind, document::given, joined, run};
use crate::{
    exit::{Exit, Failure},
    node::Listing,
    output::{self, Table},
};

/// Lists, shows and edits ring groups: who is rung for one number.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them.

Examples:
  tandem groups add sales --member alice@example.test --member +15550177 --strategy in-turn
  tandem groups set sales --member alice@example.test --member bob@example.test
  tandem groups remove sales"
)]
pub(crate) struct GroupsArgs {
    #[command(subcommand)]
    command: Option<EditCommand<GroupMembers>>,
    #[command(flatten)]
    listing: Listing,
}

/// What can be written of a group.
#[derive(Args, Debug)]
struct GroupMembers {
    /// A user, a number or a sip: URI; once for each, in order
    #[arg(long = "member", value_name = "PLACE")]
    members: Vec<String>,
    /// Who is rung when: all, in-turn, least-recent [default: all]
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,
    /// How long a member rings before the next one does [default: 20]
    #[arg(long, value_name = "SECONDS")]
    ring_timeout: Option<u32>,
    /// Whose it is [default: the node's]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

impl Kind for GroupMembers {
    const PLURAL: &'static str = "groups";
    const ONE: &'static str = "group";
    const NAME: Option<&'static str> = Some("name");
    const ONE_OF: &'static [&'static str] = &[];

    fn members(&self) -> Result<Value, Failure> {
        Ok(given(json!({
            "members": self.members,
            "strategy": self.strategy,
            "ring_timeout": self.ring_timeout,
            "tenant": self.tenant,
        })))
    }

    fn table(items: &[Value]) -> Table {
        let mut table = Table::new(["GROUP", "STRATEGY", "SOURCE", "TENANT", "MEMBERS"]);
        for item in items {
            table.row([
                output::member(item, "id"),
                output::member(item, "strategy"),
                output::member(item, "source"),
                output::member(item, "tenant"),
                joined(item, "members", ""),
            ]);
        }
        table
    }
}

/// Runs the command.
pub(crate) async fn groups(args: GroupsArgs) -> Result<Exit, Failure> {
    run(args.command.unwrap_or(EditCommand::List(args.listing))).await
}
