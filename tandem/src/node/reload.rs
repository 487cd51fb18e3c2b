//! `tandem reload`: route by the configuration and the store as they are now.

use clap::Args;
use control::{
    channel::RequestError,
    signal::{Request, Response},
};

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// Makes a node read its configuration and the store again, and route by them where they are good.
#[derive(Args, Debug)]
#[command(
    after_help = "Trunks, routes, numbers, groups, blocks and limits take effect at once and together; calls that are \
up keep what they began with. What else has changed in the file takes effect at the next start. SIGHUP \
does the same. What is in the store is also taken over by itself, within seconds.
Exit code 0: it was taken over; 1: it was not, and the node goes on with what it had, or it takes longer than
4 s, and the log tells.

Examples:
  tandem check-config /etc/tandem/tandem.toml && tandem reload"
)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// Runs the command.
pub(crate) async fn reload(args: ReloadArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    match node.ask(Request::Reload).await {
        Ok(Response::Reloaded(routing)) => {
            output::line(format!("routing by {routing}"))?;
            Ok(Exit::Done)
        }
        Ok(Response::Reloading) => {
            eprintln!("tandem: the node is still reading; its log tells what comes of it");
            Ok(Exit::Failed)
        }
        Ok(other) => Err(unexpected(&other)),
        Err(RequestError::Fault(fault)) => {
            for reason in fault.message.lines() {
                eprintln!("tandem: {}", output::printable(reason));
            }
            eprintln!("tandem: not reloaded; the node goes on with what it had");
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}
