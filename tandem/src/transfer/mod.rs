//! `tandem export` and `tandem import`: everything that an operator edits, out of a store and into one. The node
//! need not run.

mod document;
mod export;
mod plan;
mod users;

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use api::Local;
use clap::Args;
use control::signal::{Request, Response};
use serde_json::{Map, Value, json};

pub(crate) use export::{ExportArgs, export};
pub(crate) use users::{UsersImportArgs, import_users};

use self::{document::Document, plan::Plan};
use crate::{
    exit::{Exit, Failure},
    node::{Desk, Node, NodeArgs},
    output::{self, Table},
    progress::Progress,
};

/// Takes over what 'tandem export' wrote: tenants, domains, users, trunks, routes, numbers, groups, blocks, limits
/// and bans.
///
/// What is not there is made, what is there is made so, and what the file does not name stays. All of it is
/// checked together with what the store and the configuration have, by the code that a node checks it by,
/// before any of it is written, in one transaction.
#[derive(Args, Debug)]
#[command(
    after_help = "A running node takes it over by itself within seconds, users within 30 s; bans need a running node.

Examples:
  tandem import all.toml --dry-run
  tandem import all.toml
  ssh old tandem export --format json | tandem import -"
)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// In TOML or JSON; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Check it, and say what would change
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {"dry_run": ..., "users": {"new": N, "changed": N, "same": N}, ...}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn import(args: ImportArgs) -> Result<Exit, Failure> {
    let shown = args.file.display().to_string();
    let text = read(&args.file)?;
    let mut document = Document::parse(&text)
        .map_err(|reason| Failure::other(format!("{shown}: {reason}; nothing was changed")))?;
    let bans = std::mem::take(&mut document.bans);
    let desk = Desk::open(&args.node).await?;
    let progress = Progress::new("comparing with the store");
    let mut plan = Plan::new(&desk.store).await?;
    plan.add(document, &desk.store).await?;
    progress.now("checking it as a whole");
    plan.check(&desk.config, &desk.store).await?;
    if !args.dry_run {
        progress.now("writing");
        plan.write(&desk.store).await?;
    }
    drop(progress);
    let counts = told(&plan);
    if !args.dry_run {
        desk.api.record_import(Value::Object(counts.clone())).await;
        put_bans(&desk, &args.node, &bans).await?;
    }
    finish(desk, &plan, counts, args.dry_run, args.json, &args.node).await
}

/// Says what was done, or would be.
async fn finish(
    desk: Desk,
    plan: &Plan,
    mut counts: Map<String, Value>,
    dry_run: bool,
    as_json: bool,
    node: &NodeArgs,
) -> Result<Exit, Failure> {
    if !dry_run {
        tell_of_domains(node, plan).await;
    }
    desk.close().await;
    let mut table = Table::new(["", "NEW", "CHANGED", "SAME"]);
    for (kind, count) in &plan.counts {
        let numbers = [count.new, count.changed, count.same].map(|number| number.to_string());
        let [new, changed, same] = numbers;
        table.row([(*kind).to_owned(), new, changed, same]);
    }
    let ending = match dry_run {
        true => "\nnothing was changed: this was a dry run",
        false => "",
    };
    counts.insert("dry_run".to_owned(), dry_run.into());
    output::done(as_json, &counts, format!("{table}{ending}"))
}

fn told(plan: &Plan) -> Map<String, Value> {
    let counts = plan.counts.iter();
    counts
        .map(|(kind, count)| ((*kind).to_owned(), json!(count)))
        .collect()
}

/// Bans are the running node's, which keeps them in a file of its own.
async fn put_bans(desk: &Desk, node: &NodeArgs, bans: &[document::Ban]) -> Result<(), Failure> {
    if bans.is_empty() {
        return Ok(());
    }
    if Node::connect(node).await.is_err() {
        let bans = output::count(u64::try_from(bans.len()).unwrap_or(u64::MAX), "ban");
        eprintln!("tandem: {bans} were left out, for no node runs here; import again when it does");
        return Ok(());
    }
    for ban in bans {
        let body = json!({ "source": ban.source, "seconds": ban.seconds, "words": ban.words });
        desk.api.create(&Local::path(&["bans"]), &body).await?;
    }
    Ok(())
}

/// A node serves the domains of users that it knew of when it started.
async fn tell_of_domains(args: &NodeArgs, plan: &Plan) {
    if plan.user_domains().is_empty() {
        return;
    }
    let Ok(node) = Node::connect(args).await else {
        return;
    };
    if let Ok(Response::Status(_)) = node.ask(Request::Status).await {
        eprintln!("tandem: 'tandem reload' makes the node serve domains that are new");
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => io::stdin().lock().read_to_string(&mut text),
        false => fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::io(format!("cannot read {}", file.display()), &error))?;
    Ok(text)
}
