//! Where the node's things are looked up and changed: the API's own handlers, over the store that the
//! configuration names and the node's control socket.

use std::env;

use api::{Local, LocalError};
use control::{Client, Config};
use serde_json::json;
use store::Store;

use super::{
    Listing, NodeArgs, Source,
    find::{endpoint_of, load},
};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table, printable},
};

/// The API, for who types a command.
pub(crate) struct Desk {
    pub(crate) api: Local,
    pub(crate) store: Store,
    pub(crate) config: Config,
}

impl Desk {
    /// For what the store alone knows. The node need not run.
    pub(crate) async fn open(args: &NodeArgs) -> Result<Self, Failure> {
        let (source, loaded) = load(args.config.as_deref())?;
        let config = loaded.config;
        let data_dir = &config.node.data_dir;
        // A store would be made here for nobody.
        if source == Source::Starter && !data_dir.exists() {
            return Err(Failure::other(
                "there is no configuration here, and no node has run here: name the node's file with --config \
                 FILE, or start one with 'tandem run'",
            ));
        }
        let store = Store::open(&config.store.url, data_dir).await?;
        let signal = Client::connect(endpoint_of(args, &config));
        let media = Client::connect(config.media_endpoint());
        Ok(Self {
            api: Local::new(
                config.node.name.clone(),
                store.clone(),
                signal,
                media,
                config.media.recordings.clone(),
                actor(),
            ),
            store,
            config,
        })
    }

    /// For what only a running node does.
    pub(crate) async fn of_node(args: &NodeArgs) -> Result<Self, Failure> {
        // It says that there is no node before anything else is touched.
        super::Node::connect(args).await?;
        Self::open(args).await
    }

    /// Lets the database go. What is not closed loses nothing, but leaves its log beside it.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}

/// Lists what the store has of a kind, such as `keys`: `columns` are heads and the members under them.
pub(crate) async fn list<const N: usize>(
    args: Listing,
    kind: &str,
    columns: [[&str; 2]; N],
    none: &str,
) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&[kind]);
    let items = desk.api.list(&path, &[], usize::MAX).await?;
    desk.close().await;
    let table = || {
        let mut table = Table::new(columns.map(|[head, _]| head));
        for item in &items {
            table.row(columns.map(|[_, name]| output::member(item, name)));
        }
        table
    };
    output::list(&items, args.json, table, none)?;
    Ok(Exit::Done)
}

/// How things of a kind are taken away.
pub(crate) struct Removal {
    /// As in the path: `keys`.
    pub(crate) kind: &'static str,
    /// The member of the JSON that has those that are gone.
    pub(crate) member: &'static str,
    /// What is said of one that is gone.
    pub(crate) done: fn(&str) -> String,
    /// What is said of one that was not there.
    pub(crate) missing: fn(&str) -> String,
}

impl Removal {
    /// Takes them away in turn. One that is not there keeps no other, and is told by the exit code.
    pub(crate) async fn run(
        &self,
        desk: Desk,
        ids: Vec<String>,
        as_json: bool,
    ) -> Result<Exit, Failure> {
        let (mut gone, mut exit) = (Vec::new(), Exit::Done);
        for id in ids {
            match desk.api.remove(&Local::path(&[self.kind, &id]), None).await {
                Ok(()) => {
                    if !as_json {
                        output::line(printable(&(self.done)(&id)))?;
                    }
                    gone.push(id);
                }
                Err(LocalError::Refused { status: 404, .. }) => {
                    eprintln!("tandem: {}", printable(&(self.missing)(&id)));
                    exit = Exit::Failed;
                }
                Err(error) => return Err(error.into()),
            }
        }
        desk.close().await;
        if as_json {
            output::json(&json!({ self.member: gone }))?;
        }
        Ok(exit)
    }
}

/// What was asked for, or the words for its not being there.
pub(crate) fn found<T>(
    result: Result<T, LocalError>,
    words: impl FnOnce() -> String,
) -> Result<T, Failure> {
    result.map_err(|error| match error {
        LocalError::Refused { status: 404, .. } => Failure::other(words()),
        other => other.into(),
    })
}

/// Who types, for the record of changes. Who may open the store could write anything there: this is for people
/// who want to know each other's doings, not a proof.
fn actor() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"];
    let mut names = named.into_iter().filter_map(|name| env::var(name).ok());
    let name = names.find(|name| !name.is_empty());
    format!("cli:{}", name.as_deref().unwrap_or("unknown"))
}
