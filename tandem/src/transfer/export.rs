//! `tandem export`.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use control::signal::{Request, Response};
use serde_json::Value;
use store::Store;

use super::{
    document::{self, Document, Format, KINDS},
    plan::PAGE,
};
use crate::{
    exit::{Exit, Failure},
    node::{Desk, Node, NodeArgs},
    output,
    progress::Progress,
};

/// Writes everything that an operator edits as one document: tenants, domains, users, trunks, routes, numbers,
/// groups, blocks, limits and bans.
///
/// What the configuration file brings of trunks, routes, groups, blocks and limits is not in it, and keys, records
/// of calls and registrations are not: 'tandem backup' has all of the store.
#[derive(Args, Debug)]
#[command(
    after_help = "It holds what proves who users are, and the passwords of trunks: keep it as you keep those. A file is made for
its owner only. Bans are in it where the node runs.

Examples:
  tandem export all.toml
  tandem export --format json | jq '.users | length'
  tandem export | ssh new tandem import - --dry-run"
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Where to [default: standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// How it is written [default: as the file's name ends, or toml]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Replace a file that is there
    #[arg(long, requires = "file")]
    force: bool,
}

/// Runs the command.
pub(crate) async fn export(args: ExportArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let progress = Progress::new("reading the store");
    let mut document = of(&desk.store).await?;
    document.bans = bans(&args.node).await?;
    drop(progress);
    desk.close().await;
    let is_json = |file: &PathBuf| file.extension().is_some_and(|end| end == "json");
    let usual = match args.file.as_ref().is_some_and(is_json) {
        true => Format::Json,
        false => Format::Toml,
    };
    let text = document.text(args.format.unwrap_or(usual))?;
    match &args.file {
        None => output::bytes(text.as_bytes())?,
        Some(file) => write(file, &text, args.force)?,
    }
    Ok(Exit::Done)
}

/// Everything of a store.
async fn of(store: &Store) -> Result<Document, Failure> {
    let mut document = Document::new();
    let mut after = String::new();
    loop {
        let page = store.tenants(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        let tenants = page.into_iter().map(|tenant| document::Tenant {
            id: tenant.id,
            name: tenant.name,
        });
        document.tenants.extend(tenants);
    }
    let mut after = String::new();
    loop {
        let page = store.domains(None, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.name);
        let domains = page.into_iter().map(|domain| document::Domain {
            name: domain.name,
            tenant: domain.tenant,
        });
        document.domains.extend(domains);
    }
    let mut after = (String::new(), String::new());
    loop {
        let page = store.list_users((&after.0, &after.1), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.domain.clone(), last.name.clone());
        document.users.extend(page.into_iter().map(user));
    }
    for (kind, plural, name) in KINDS {
        let mut after = String::new();
        loop {
            let page = store.routing(kind, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for one in page {
                let mut table: document::Table =
                    serde_json::from_str(&one.document).map_err(|error| {
                        Failure::other(format!("the store's {plural} '{}': {error}", one.id))
                    })?;
                // TOML has no word for nothing, and it means the same.
                table.retain(|_, value| !value.is_null());
                if name.is_none() {
                    table.insert("id".to_owned(), one.id.into());
                }
                if let Some(tenant) = one.tenant {
                    table.insert("tenant".to_owned(), tenant.into());
                }
                document.tables(kind).push(table);
            }
        }
    }
    Ok(document)
}

fn user(user: store::User) -> document::User {
    let profile = serde_json::from_str(&user.profile).unwrap_or(Value::Null);
    document::User {
        user: format!("{}@{}", user.name, user.domain),
        display: user.display,
        enabled: user.enabled,
        ha1_md5: user.ha1_md5,
        ha1_sha256: user.ha1_sha256,
        ha1_sha512: user.ha1_sha512,
        profile: match profile {
            Value::Object(profile) => profile,
            _ => document::Table::new(),
        },
    }
}

/// Those that an operator made, where a node runs: it keeps them.
async fn bans(args: &NodeArgs) -> Result<Vec<document::Ban>, Failure> {
    let Ok(node) = Node::connect(args).await else {
        return Ok(Vec::new());
    };
    let Response::Bans(bans) = node.ask(Request::Bans).await? else {
        return Ok(Vec::new());
    };
    let bans = bans.into_iter().filter(|ban| ban.reason == "operator");
    let bans = bans.map(|ban| document::Ban {
        source: ban.source,
        seconds: ban.left_s.max(1),
        words: ban.words,
    });
    let mut bans: Vec<_> = bans.collect();
    bans.sort_unstable_by(|a, b| a.source.cmp(&b.source));
    Ok(bans)
}

/// For its owner only.
fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let shown = file.display();
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let written = options.open(file).and_then(|mut file| {
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
    });
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::other(format!(
            "{shown} is there already; --force replaces it"
        ))),
        Err(error) => Err(Failure::io(format!("cannot write {shown}"), &error)),
        Ok(()) => output::line(format!("wrote {shown}")),
    }
}
