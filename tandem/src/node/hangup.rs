//! `tandem hangup`: end a call.

use clap::Args;
use control::{
    FaultCode,
    channel::RequestError,
    signal::{Request, Response},
};

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// Ends calls: BYE to both sides, or CANCEL and 487 where nobody has answered yet.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tandem hangup 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11
  tandem calls --json | jq -r '.items[].id' | xargs tandem hangup")]
pub(crate) struct HangupArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The calls' ids, as 'tandem calls' shows them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Runs the command.
pub(crate) async fn hangup(args: HangupArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let mut exit = Exit::Done;
    for id in args.ids {
        match node.ask(Request::Hangup { id: id.clone() }).await {
            Ok(Response::Done) => output::line(format!("{id} is being ended"))?,
            Ok(other) => return Err(unexpected(&other)),
            Err(RequestError::Fault(fault)) if fault.code == FaultCode::NotFound => {
                eprintln!("tandem: no call {id} is up");
                exit = Exit::Failed;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit)
}
