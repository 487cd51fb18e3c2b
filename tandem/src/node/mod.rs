//! Commands that ask a running node: where it is found, and what is asked of it.

mod bans;
mod calls;
mod desk;
mod drain;
mod find;
mod log;
mod media;
mod registrations;
mod reload;
mod route;
mod status;
mod trace;
mod trunks;
mod users;

pub(crate) use bans::{BansArgs, bans};
pub(crate) use calls::{CallsArgs, calls};
pub(crate) use desk::{Desk, Removal, found, list};
pub(crate) use drain::{DrainArgs, drain};
pub(crate) use find::{NodeArgs, Source, check, load, read};
pub(crate) use log::{LogArgs, log};
pub(crate) use media::{MediaArgs, media};
pub(crate) use registrations::{RegistrationsArgs, registrations};
pub(crate) use reload::{ReloadArgs, reload};
pub(crate) use route::{RouteArgs, route};
pub(crate) use status::{StatusArgs, status};
pub(crate) use trace::{TraceArgs, trace};
pub(crate) use trunks::trunks;
pub(crate) use users::{UsersArgs, users};

use clap::Args;
use control::{
    Client,
    channel::RequestError,
    signal::{Request, Response, Signal},
};

use crate::exit::Failure;

/// What every list takes.
#[derive(Args, Debug)]
pub(crate) struct Listing {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print JSON: {"items": [...], "next": null}
    #[arg(long)]
    pub(crate) json: bool,
}

/// The connection to a node's signaling.
pub(crate) struct Node {
    client: Client<Signal>,
}

impl Node {
    /// Connects to the node that `args` mean, or fails at once.
    pub(crate) async fn connect(args: &NodeArgs) -> Result<Self, Failure> {
        let endpoint = args.endpoint()?;
        let named = endpoint.to_string();
        let client = Client::connect_now(endpoint)
            .await
            .map_err(|error| Failure::NoNode {
                endpoint: named,
                error,
            })?;
        Ok(Self { client })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, RequestError> {
        self.client.request(request).await
    }
}

/// An answer that does not belong to its question.
fn unexpected(response: &Response) -> Failure {
    Failure::other(format!(
        "the node gave an answer that does not fit the question ({response:?}): \
         run daemons and tools of one release"
    ))
}
