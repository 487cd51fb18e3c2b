//! `tandem erase`: takes a number or a user out of what is kept of calls and messages.

use std::io::{self, IsTerminal as _, Write as _};

use api::Local;
use clap::Args;
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    node::{Desk, NodeArgs},
    output::{self, printable},
    progress::Progress,
};

/// Erases a number or a user from the records of calls and from messages. The node need not run.
#[derive(Args, Debug)]
#[command(
    after_help = "Records of calls stay, with 'erased' in the place of the party; messages that wait for delivery and events that
wait for webhooks go. Users, numbers and blocks that are set up stay: remove them first, or new records follow. A
number is erased as it is written, with and without its plus.

Examples:
  tandem erase +15550100
  tandem erase alice@example.test --yes
  tandem erase +15550100 --tenant acme --yes --json"
)]
pub(crate) struct EraseArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The number or the user
    #[arg(value_name = "NUMBER|USER@DOMAIN")]
    subject: String,
    /// Only in what is this tenant's
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON, as POST /v1/erasures does
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn erase(args: EraseArgs) -> Result<Exit, Failure> {
    if !args.yes {
        confirm(&args.subject)?;
    }
    let member = if args.subject.contains('@') {
        "user"
    } else {
        "number"
    };
    let body = json!({ member: args.subject, "tenant": args.tenant });
    let desk = Desk::open(&args.node).await?;
    let progress = Progress::new("erasing");
    let done = desk.api.create(&Local::path(&["erasures"]), &body).await;
    drop(progress);
    let done = done?.body;
    desk.close().await;
    let number = |name: &str| done[name].as_u64().unwrap_or(0);
    let words = format!(
        "erased from {} and {}; {}, {}, {} and {} are gone",
        output::count(number("as_caller"), "record") + " as caller",
        output::count(number("as_callee"), "record") + " as callee",
        output::count(number("messages"), "message"),
        output::count(number("events"), "event"),
        output::count(number("recordings"), "recording"),
        output::count(number("call_events"), "call event"),
    );
    output::done(args.json, &done, words)
}

/// Asks at the terminal.
fn confirm(subject: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::other(
            "what is erased is gone: say --yes where nobody can be asked; nothing was changed",
        ));
    }
    eprint!(
        "Erase {} from all records and messages? It cannot be undone. [y/N] ",
        printable(subject)
    );
    io::stderr().flush().map_err(Failure::Output)?;
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::io("cannot read the answer", &error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::other("nothing was changed"))
}
