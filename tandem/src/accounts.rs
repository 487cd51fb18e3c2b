//! `tandem accounts`: whose programmable calls are. It works without a node, and without a key.

use api::Local;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    node::{Desk, Listing, NodeArgs, Removal, found, list},
    output,
};

/// Lists, makes and removes accounts, and gives them other tokens.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "An account's SID and token open the API at /2010-04-01 to Twilio's libraries; the token signs webhooks too, and is
shown once. Without a subcommand, it lists them.

Examples:
  tandem accounts add 'front desk' --calls-per-second 5
  tandem accounts add bots --tenant acme
  tandem accounts token AC019aa46d000070008000000000000001
  tandem accounts remove AC019aa46d000070008000000000000001"
)]
pub(crate) struct AccountsArgs {
    #[command(subcommand)]
    command: Option<AccountsCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum AccountsCommand {
    /// Lists the accounts, without their tokens
    List(Listing),
    /// Makes one, and shows its token once
    Add(AddArgs),
    /// Gives one another token, and shows it once; the one before opens nothing any more
    Token(TokenArgs),
    /// Removes some, with their keys
    Remove(RemoveArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// What people call it
    #[arg(value_name = "NAME")]
    name: String,
    /// Whose it is [default: the node's]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Calls that it may begin a second, 1 to 10000; more of them wait [default: 10]
    #[arg(long, value_name = "NUMBER")]
    calls_per_second: Option<u32>,
    /// Print JSON, as POST /v1/accounts does
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct TokenArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its SID, as it is listed
    #[arg(value_name = "SID")]
    sid: String,
    /// Print JSON, as POST of it does
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Their SIDs, as they are listed
    #[arg(value_name = "SID", required = true)]
    sids: Vec<String>,
    /// Print JSON: {"removed": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn accounts(args: AccountsArgs) -> Result<Exit, Failure> {
    match args.command.unwrap_or(AccountsCommand::List(args.listing)) {
        AccountsCommand::List(listing) => {
            let columns = [
                ["SID", "sid"],
                ["TENANT", "tenant"],
                ["CALLS/S", "calls_per_second"],
                ["CREATED", "created"],
                ["NAME", "name"],
            ];
            list(listing, "accounts", columns, "there is no account").await
        }
        AccountsCommand::Add(args) => add(args).await,
        AccountsCommand::Token(args) => token(args).await,
        AccountsCommand::Remove(args) => remove(args).await,
    }
}

async fn add(args: AddArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let new = json!({
        "name": args.name,
        "tenant": args.tenant,
        "calls_per_second": args.calls_per_second,
    });
    let made = desk.api.create(&Local::path(&["accounts"]), &new).await;
    let made = made?.body;
    desk.close().await;
    let words = format!(
        "account {} was made\ntoken  {}   (not shown again)",
        output::member(&made, "sid"),
        output::member(&made, "token"),
    );
    output::done(args.json, &made, words)
}

async fn token(args: TokenArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&["accounts", &args.sid, "token"]);
    let given = desk.api.create(&path, &json!({})).await;
    let given = found(given, || missing(&args.sid))?.body;
    desk.close().await;
    let words = format!(
        "account {} has another token\ntoken  {}   (not shown again)",
        args.sid,
        output::member(&given, "token"),
    );
    output::done(args.json, &given, words)
}

async fn remove(args: RemoveArgs) -> Result<Exit, Failure> {
    let removing = Removal {
        kind: "accounts",
        member: "removed",
        done: |sid| format!("account {sid} was removed"),
        missing,
    };
    let desk = Desk::open(&args.node).await?;
    removing.run(desk, args.sids, args.json).await
}

fn missing(sid: &str) -> String {
    format!("there is no account {sid}; 'tandem accounts' lists them")
}
