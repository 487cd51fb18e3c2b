//! `tandem backup` and `tandem restore`: all of a SQLite store, in one file.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    node::{Desk, Node, NodeArgs},
    output,
    progress::Progress,
};

/// Copies all of the store to a file, while the node runs.
#[derive(Args, Debug)]
#[command(
    after_help = "The copy is the database as it is at one moment: users, routing, keys, records of calls, registrations. Bans
and the admin key are files of their own in the data directory. For PostgreSQL use pg_dump.

Examples:
  tandem backup /var/backups/tandem-$(date +%F).db"
)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Where to; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON: {"file": ...}
    #[arg(long)]
    json: bool,
}

/// Puts what 'tandem backup' wrote in the place of the store, where no node runs on it.
#[derive(Args, Debug)]
#[command(
    after_help = "First the file is checked: that it is whole, and of a schema that this release knows. An older one is brought up
to date when the node starts.

Examples:
  tandem restore /var/backups/tandem-2026-01-05.db
  tandem restore /var/backups/tandem-2026-01-05.db --force"
)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The copy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Even where the store is not empty: what is in it is lost
    #[arg(long)]
    force: bool,
    /// Print JSON: {"database": ...}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn backup(args: BackupArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let progress = Progress::new("copying the store");
    desk.store.back_up(&args.file).await?;
    drop(progress);
    desk.close().await;
    let file = args.file.display().to_string();
    output::done(args.json, &json!({ "file": file }), format!("wrote {file}"))
}

/// Runs the command.
pub(crate) async fn restore(args: RestoreArgs) -> Result<Exit, Failure> {
    if Node::connect(&args.node).await.is_ok() {
        return Err(Failure::other(
            "a node runs on this store: stop it first ('tandem drain' lets its calls end); nothing was changed",
        ));
    }
    let config = args.node.config()?;
    let progress = Progress::new("checking and copying the file");
    let (url, data_dir) = (&config.store.url, &config.node.data_dir);
    let database = store::restore(url, data_dir, &args.file, args.force).await?;
    drop(progress);
    let database = database.display().to_string();
    let words = format!("{database} is what the backup has; start the node");
    output::done(args.json, &json!({ "database": database }), words)
}
