//! `tandem keys`: who may use the API. It works without a node, and without a key: the first one has to come
//! from somewhere.

use api::Local;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    node::{Desk, Listing, NodeArgs, Removal, list},
    output,
};

/// Lists, makes and revokes API keys.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them. A key's secret is shown once, when it is made; only a hash of it is kept.

Examples:
  tandem keys
  tandem keys add 'billing, read only' --role viewer
  tandem keys add acme --role operator --tenant acme --expires 2027-01-01T00:00:00Z
  tandem keys revoke 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11"
)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Lists the keys, oldest first, without their secrets
    List(Listing),
    /// Makes a key, and shows its secret once
    Add(AddArgs),
    /// Revokes keys: they open nothing any more, at nodes that run within 5 s
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// What it is for, in words
    #[arg(value_name = "NAME")]
    name: String,
    /// What it allows
    #[arg(long, value_enum)]
    role: RoleName,
    /// Whose things it opens [default: everybody's, and the node]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// From when on it opens nothing (RFC 3339) [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Print JSON, as POST /v1/keys does
    #[arg(long)]
    json: bool,
}

/// What a key allows; each may do all that those before it may.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleName {
    /// Look
    Viewer,
    /// Make calls and send messages
    Developer,
    /// Edit what calls are routed by, and act on calls, registrations and bans
    Operator,
    /// Say who may do what, and see who did what
    Admin,
}

impl From<RoleName> for store::Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Viewer => Self::Viewer,
            RoleName::Developer => Self::Developer,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

#[derive(Args, Debug)]
struct RevokeArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Their ids, as they are listed
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Print JSON: {"revoked": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn keys(args: KeysArgs) -> Result<Exit, Failure> {
    match args.command.unwrap_or(KeysCommand::List(args.listing)) {
        KeysCommand::List(listing) => {
            let columns = [
                ["ID", "id"],
                ["ROLE", "role"],
                ["TENANT", "tenant"],
                ["CREATED", "created"],
                ["EXPIRES", "expires"],
                ["NAME", "name"],
            ];
            list(listing, "keys", columns, "there is no key").await
        }
        KeysCommand::Add(args) => add(args).await,
        KeysCommand::Revoke(args) => revoke(args).await,
    }
}

async fn add(args: AddArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let new = json!({
        "name": args.name,
        "role": store::Role::from(args.role),
        "tenant": args.tenant,
        "expires": args.expires,
    });
    let made = desk.api.create(&Local::path(&["keys"]), &new).await?.body;
    desk.close().await;
    let words = format!(
        "key {} was made\nsecret  {}   (not shown again)",
        output::member(&made, "id"),
        output::member(&made, "key"),
    );
    output::done(args.json, &made, words)
}

async fn revoke(args: RevokeArgs) -> Result<Exit, Failure> {
    let revoking = Removal {
        kind: "keys",
        member: "revoked",
        done: |id| format!("key {id} is revoked"),
        missing: |id| format!("there is no key {id}; 'tandem keys' lists them"),
    };
    let desk = Desk::open(&args.node).await?;
    revoking.run(desk, args.ids, args.json).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_name_on_the_command_line() {
        for name in RoleName::value_variants() {
            let shown = name.to_possible_value().unwrap();
            assert_eq!(shown.get_name(), store::Role::from(*name).name());
        }
        assert_eq!(RoleName::value_variants().len(), store::Role::ALL.len());
    }
}
