//! `tandem numbers`, `routes`, `trunks`, `groups`, `blocks` and `limits`: what calls are routed by, a document at
//! a time. In what the six differ, their modules say; what is done is the same for all.

mod blocks;
mod document;
mod groups;
mod limits;
mod numbers;
mod rates;
mod routes;
mod trunks;

use std::path::PathBuf;

use api::{Answer, Local, LocalError};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

pub(crate) use blocks::{BlocksArgs, blocks};
pub(crate) use groups::{GroupsArgs, groups};
pub(crate) use limits::{LimitsArgs, limits};
pub(crate) use numbers::{NumbersArgs, numbers};
pub(crate) use routes::{RoutesArgs, routes};
pub(crate) use trunks::{TrunksArgs, trunks};

use crate::{
    exit::{Exit, Failure},
    node::{Desk, Listing, NodeArgs, found},
    output::{self, Table, printable},
};

/// What can be written of a document on the command line, and what else a kind has of its own.
trait Kind: Args {
    /// In paths and commands.
    const PLURAL: &'static str;
    /// One of them, in words.
    const ONE: &'static str;
    /// The member that is the id; `None` where the id is any.
    const NAME: Option<&'static str>;
    /// Members of which a document has one: one that is given takes the place of the others.
    const ONE_OF: &'static [&'static str];

    /// The members that are given, as a document has them; what is `null` or empty is not.
    fn members(&self) -> Result<Value, Failure>;

    /// A list for people.
    fn table(items: &[Value]) -> Table;

    /// Asks for what a document needs and nobody writes on a command line.
    fn complete(_: &mut Map<String, Value>) -> Result<(), Failure> {
        Ok(())
    }
}

/// What is done with documents of a kind.
#[derive(Debug, Subcommand)]
enum EditCommand<K: Kind> {
    /// Lists them: the configuration file's in its order, then the store's by id
    List(Listing),
    /// Shows one, as the configuration file would have it
    Show(ShowArgs),
    /// Adds one: checked with all that calls are routed by, and in force at once
    Add(AddArgs<K>),
    /// Changes one: what is given, or all of it with --file
    Set(SetArgs<K>),
    /// Removes what nothing else needs; calls that are up go on
    Remove(RemoveArgs),
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Which one, as it is listed
    #[arg(value_name = "ID")]
    id: String,
    /// Print JSON, as GET of it does
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct AddArgs<K: Kind> {
    #[command(flatten)]
    node: NodeArgs,
    /// What it is called: a number or a name; any other is made up where it is not given
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    members: K,
    /// The document in TOML or JSON, as 'show' prints it; - for standard input. Options count beside it
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON: what is stored
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct SetArgs<K: Kind> {
    #[command(flatten)]
    node: NodeArgs,
    /// Which one, as it is listed
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    members: K,
    /// Take a member of the document away, such as ring_timeout or forward.busy
    #[arg(long, value_name = "MEMBER")]
    unset: Vec<String>,
    /// In place of all of it this document, in TOML or JSON; - for standard input. Options count beside it
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON: what is stored
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Which ones, as they are listed
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Print JSON: {"removed": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs a command on documents of a kind.
async fn run<K: Kind>(command: EditCommand<K>) -> Result<Exit, Failure> {
    match command {
        EditCommand::List(args) => list::<K>(args).await,
        EditCommand::Show(args) => show::<K>(args).await,
        EditCommand::Add(args) => add(args).await,
        EditCommand::Set(args) => set(args).await,
        EditCommand::Remove(args) => remove::<K>(args).await,
    }
}

async fn list<K: Kind>(args: Listing) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let path = Local::path(&[K::PLURAL]);
    let items = desk.api.list(&path, &[], usize::MAX).await?;
    desk.close().await;
    let none = format!("there is no {}", K::ONE);
    output::list(&items, args.json, || K::table(&items), &none)?;
    Ok(Exit::Done)
}

async fn show<K: Kind>(args: ShowArgs) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let answer = one::<K>(&desk, &args.id).await?;
    desk.close().await;
    if args.json {
        output::json(&answer.body)?;
    } else {
        output::line(document::text(&answer.body)?)?;
    }
    Ok(Exit::Done)
}

async fn add<K: Kind>(args: AddArgs<K>) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let mut wanted = document::read(args.file.as_deref())?.unwrap_or_default();
    document::merge::<K>(&mut wanted, args.members.members()?);
    if let Some(id) = args.id {
        wanted.insert(K::NAME.unwrap_or("id").to_owned(), id.into());
    }
    if let Some(name) = K::NAME.filter(|name| !wanted.contains_key(*name)) {
        return Err(Failure::other(format!(
            "say which {}: 'tandem {} add {}', or '{name}' in a file",
            K::ONE,
            K::PLURAL,
            name.to_uppercase()
        )));
    }
    K::complete(&mut wanted)?;
    let path = Local::path(&[K::PLURAL]);
    let made = desk.api.create(&path, &wanted.into()).await;
    let made = made.map_err(refused::<K>)?.body;
    desk.close().await;
    let words = format!("{} {} was added", K::ONE, id_of(&made));
    output::done(args.json, &made, words)
}

async fn set<K: Kind>(args: SetArgs<K>) -> Result<Exit, Failure> {
    let members = args.members.members()?;
    let file = document::read(args.file.as_deref())?;
    if file.is_none() && members.as_object().is_none_or(Map::is_empty) && args.unset.is_empty() {
        return Err(Failure::usage(format!(
            "nothing to change: give an option, --unset or --file; 'tandem {} set --help' has them",
            K::PLURAL
        )));
    }
    let desk = Desk::of_node(&args.node).await?;
    let before = stored::<K>(&desk, &args.id).await?;
    let mut wanted = match file {
        Some(file) => file,
        None => document::members_of(&before.body),
    };
    for member in &args.unset {
        document::unset(&mut wanted, member)?;
    }
    document::merge::<K>(&mut wanted, members);
    K::complete(&mut wanted)?;
    let path = Local::path(&[K::PLURAL, &args.id]);
    let tag = before.tag.as_deref();
    let changed = desk.api.replace(&path, tag, &wanted.into()).await;
    let changed = changed.map_err(refused::<K>)?.body;
    desk.close().await;
    let words = format!("{} {} was changed", K::ONE, id_of(&changed));
    output::done(args.json, &changed, words)
}

/// In turn: one that something needs keeps no other.
async fn remove<K: Kind>(args: RemoveArgs) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let (mut gone, mut exit) = (Vec::new(), Exit::Done);
    for id in args.ids {
        let removed = async {
            let before = stored::<K>(&desk, &id).await?;
            let path = Local::path(&[K::PLURAL, &id]);
            let removed = desk.api.remove(&path, before.tag.as_deref()).await;
            removed.map_err(refused::<K>)
        };
        match removed.await {
            Ok(()) if args.json => gone.push(id),
            Ok(()) => output::line(format!("{} {} was removed", K::ONE, printable(&id)))?,
            Err(failure) => {
                failure.tell();
                exit = Exit::Failed;
            }
        }
    }
    desk.close().await;
    if args.json {
        output::json(&json!({ "removed": gone }))?;
    }
    Ok(exit)
}

/// The document of this id.
async fn one<K: Kind>(desk: &Desk, id: &str) -> Result<Answer, Failure> {
    let answer = desk.api.get(&Local::path(&[K::PLURAL, id])).await;
    found(answer, || {
        let (one, plural) = (K::ONE, K::PLURAL);
        format!("there is no {one} {id}; 'tandem {plural} list' has them all")
    })
}

/// The same, where it may be changed here.
async fn stored<K: Kind>(desk: &Desk, id: &str) -> Result<Answer, Failure> {
    let answer = one::<K>(desk, id).await?;
    if answer.body["source"] == "file" {
        let (one, plural) = (K::ONE, K::PLURAL);
        return Err(Failure::other(format!(
            "the {one} {id} is in the configuration file, as one of [[{plural}]]: change it there, and then \
             'tandem reload'"
        )));
    }
    Ok(answer)
}

/// Why a document could not be added, changed or removed, in the words of this command line.
fn refused<K: Kind>(error: LocalError) -> Failure {
    match error {
        LocalError::Refused {
            status: 409,
            reasons,
        } if reasons.contains("already") => Failure::other(format!(
            "there is a {} of this name already; 'tandem {} set' changes it",
            K::ONE,
            K::PLURAL
        )),
        LocalError::Refused {
            status: 409,
            reasons,
        } if reasons.contains("configuration file") => Failure::other(format!(
            "the configuration file has a {} of this name, as one of [[{}]]: change it there, and then \
                 'tandem reload'",
            K::ONE,
            K::PLURAL
        )),
        LocalError::Refused { status: 412, .. } => Failure::other(
            "somebody else has changed it meanwhile; nothing was changed: look at it, and try again",
        ),
        other => other.into(),
    }
}

fn id_of(document: &Value) -> String {
    printable(&output::member(document, "id"))
}

/// A member that is a list of texts, or of tables that have one by this name, in one cell.
fn joined(document: &Value, member: &str, name: &str) -> String {
    let items = document[member].as_array().into_iter().flatten();
    let texts = items.filter_map(|item| item.as_str().or_else(|| item[name].as_str()));
    let texts: Vec<_> = texts.collect();
    match texts.is_empty() {
        true => "-".to_owned(),
        false => texts.join(", "),
    }
}

/// The one of these members that a document has, with what it says.
fn which(document: &Value, members: &[&str]) -> String {
    let mut given = members.iter().filter_map(|name| match &document[*name] {
        Value::String(text) => Some(format!("{name} {text}")),
        Value::Bool(true) => Some((*name).to_owned()),
        _ => None,
    });
    given.next().unwrap_or_else(|| "-".to_owned())
}
