//! `tandem recordings`: what of calls is in sound files. The node need not run.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use api::Local;
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::{
    exit::{Exit, Failure},
    node::{Desk, NodeArgs, Removal, found},
    output::{self, Table},
};

/// Recordings that are listed where nobody says how many.
const USUAL: usize = 50;

/// Lists, copies and deletes recordings of calls.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Files are in the folder of [media] recordings, on the node that made them. Without a subcommand, it lists the
newest 50.

Examples:
  tandem recordings --call 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11
  tandem recordings list --since 2026-01-05T00:00:00Z --json
  tandem recordings get 019a2f6e-8a11-7d02-b1c4-5e6f7a8b9c0d call.wav
  tandem recordings delete 019a2f6e-8a11-7d02-b1c4-5e6f7a8b9c0d"
)]
pub(crate) struct RecordingsArgs {
    #[command(subcommand)]
    command: Option<RecordingsCommand>,
    #[command(flatten)]
    list: Box<ListArgs>,
}

#[derive(Debug, Subcommand)]
enum RecordingsCommand {
    /// Lists the recordings, newest first
    List(Box<ListArgs>),
    /// Copies what was said to a WAV file
    Get(GetArgs),
    /// Deletes recordings, with their files
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Of this call: the id of its record
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Of this tenant's calls
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Begun not before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Begun before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = USUAL)]
    limit: usize,
    /// Print JSON: {"items": [...], "next": null}, items as GET /v1/recordings has them
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct GetArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its id, as it is listed
    #[arg(value_name = "ID")]
    id: String,
    /// Where to; it must not be there yet. - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON: {"file": ..., "bytes": ...}
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct DeleteArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Their ids, as they are listed
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Print JSON: {"deleted": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn recordings(args: RecordingsArgs) -> Result<Exit, Failure> {
    match args.command.unwrap_or(RecordingsCommand::List(args.list)) {
        RecordingsCommand::List(args) => list(*args).await,
        RecordingsCommand::Get(args) => get(args).await,
        RecordingsCommand::Delete(args) => delete(args).await,
    }
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let given = [
        ("call", &args.call),
        ("tenant", &args.tenant),
        ("since", &args.since),
        ("until", &args.until),
    ];
    let given = given.iter();
    let query: Vec<_> = given
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&["recordings"]);
    let recordings = desk.api.list(&path, &query, args.limit).await?;
    desk.close().await;
    let table = || table(&recordings);
    output::list(&recordings, args.json, table, "there is no such recording")?;
    Ok(Exit::Done)
}

async fn get(args: GetArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&["recordings", &args.id]);
    found(desk.api.get(&path).await, || missing(&args.id))?;
    let path = Local::path(&["recordings", &args.id, "audio.wav"]);
    let mut parts = desk.api.stream(&path, &[]).await?;
    let is_stdout = args.file.as_os_str() == "-";
    let name = args.file.display().to_string();
    let mut to: Box<dyn Write> = if is_stdout {
        Box::new(io::stdout().lock())
    } else {
        // What was said in a call is its owner's.
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let file = options.open(&args.file);
        Box::new(file.map_err(|error| Failure::io(format!("cannot write {name}"), &error))?)
    };
    let mut bytes = 0;
    while let Some(part) = parts.next().await {
        let part = part?;
        to.write_all(&part).map_err(Failure::Output)?;
        bytes += part.len();
    }
    to.flush().map_err(Failure::Output)?;
    drop((parts, to));
    desk.close().await;
    if is_stdout {
        return Ok(Exit::Done);
    }
    let done = json!({ "file": name, "bytes": bytes });
    output::done(args.json, &done, format!("wrote {name}"))
}

async fn delete(args: DeleteArgs) -> Result<Exit, Failure> {
    let deleting = Removal {
        kind: "recordings",
        member: "deleted",
        done: |id| format!("recording {id} was deleted"),
        missing,
    };
    let desk = Desk::open(&args.node).await?;
    deleting.run(desk, args.ids, args.json).await
}

fn missing(id: &str) -> String {
    format!("there is no recording {id}; 'tandem recordings' lists them")
}

fn table(recordings: &[Value]) -> Table {
    let mut table = Table::new(["STARTED", "ENDED", "TENANT", "BYTES", "CALL", "ID"]);
    for recording in recordings {
        let members = ["started", "ended", "tenant", "bytes", "call", "id"];
        table.row(members.map(|name| output::member(recording, name)));
    }
    table
}
