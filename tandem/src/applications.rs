//! `tandem applications`: what a call or a message that comes to a number is given to. It works without a node,
//! and without a key.

use api::Local;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::{
    exit::{Exit, Failure},
    node::{Desk, Listing, NodeArgs, Removal, found, list},
    output,
};

/// Lists, shows, adds, changes and removes applications: what a call or a message is given to.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "An application names the URLs that are asked what becomes of a call or a message that comes to a number, and that
are told how a call goes. They are kept here; answering calls by them is not built yet. Without a subcommand, it
lists them.

Examples:
  tandem applications add 'front desk' --voice-url https://example.com/voice --fallback-url https://example.com/sorry
  tandem applications add ivr --tenant acme --voice-url wss://example.com/stream
  tandem applications set 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11 --voice-method GET --unset fallback_url
  tandem applications remove 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11"
)]
pub(crate) struct ApplicationsArgs {
    #[command(subcommand)]
    command: Option<ApplicationsCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum ApplicationsCommand {
    /// Lists the applications, oldest first
    List(Listing),
    /// Shows one
    Show(ShowArgs),
    /// Adds one
    Add(AddArgs),
    /// Changes one: what is given
    Set(SetArgs),
    /// Removes some
    Remove(RemoveArgs),
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its id, as it is listed
    #[arg(value_name = "ID")]
    id: String,
    /// Print JSON, as GET of it does
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// What people call it; one of a tenant's has this name
    #[arg(value_name = "NAME")]
    name: String,
    /// Whose it is [default: default]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    #[command(flatten)]
    hooks: Hooks,
    /// Print JSON, as POST /v1/applications does
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct SetArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its id, as it is listed
    #[arg(value_name = "ID")]
    id: String,
    /// What people call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    hooks: Hooks,
    /// Take a URL away
    #[arg(long, value_name = "MEMBER", value_enum)]
    unset: Vec<UrlName>,
    /// Print JSON, as PATCH of it does
    #[arg(long)]
    json: bool,
}

/// Whom an application asks and tells.
#[derive(Args, Debug)]
struct Hooks {
    /// Who says what becomes of a call: http, https, ws or wss
    #[arg(long, value_name = "URL")]
    voice_url: Option<String>,
    /// How that is asked [default: POST]
    #[arg(long, value_name = "METHOD", value_enum)]
    voice_method: Option<Method>,
    /// Who does, where that one fails
    #[arg(long, value_name = "URL")]
    fallback_url: Option<String>,
    /// How that is asked [default: POST]
    #[arg(long, value_name = "METHOD", value_enum)]
    fallback_method: Option<Method>,
    /// Who is told how a call goes
    #[arg(long, value_name = "URL")]
    status_callback: Option<String>,
    /// How that is told [default: POST]
    #[arg(long, value_name = "METHOD", value_enum)]
    status_callback_method: Option<Method>,
    /// Who says what becomes of a message
    #[arg(long, value_name = "URL")]
    message_url: Option<String>,
    /// How that is asked [default: POST]
    #[arg(long, value_name = "METHOD", value_enum)]
    message_method: Option<Method>,
}

/// How a URL is asked.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Method {
    Get,
    Post,
}

/// A URL, as the member that has it.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum UrlName {
    VoiceUrl,
    FallbackUrl,
    StatusCallback,
    MessageUrl,
}

#[derive(Args, Debug)]
struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Their ids, as they are listed
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Print JSON: {"removed": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn applications(args: ApplicationsArgs) -> Result<Exit, Failure> {
    let command = args.command;
    match command.unwrap_or(ApplicationsCommand::List(args.listing)) {
        ApplicationsCommand::List(listing) => {
            let columns = [
                ["ID", "id"],
                ["TENANT", "tenant"],
                ["VOICE", "voice_url"],
                ["MESSAGES", "message_url"],
                ["NAME", "name"],
            ];
            list(listing, "applications", columns, "there is no application").await
        }
        ApplicationsCommand::Show(args) => show(args).await,
        ApplicationsCommand::Add(args) => add(args).await,
        ApplicationsCommand::Set(args) => set(args).await,
        ApplicationsCommand::Remove(args) => remove(args).await,
    }
}

async fn show(args: ShowArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&["applications", &args.id]);
    let shown = found(desk.api.get(&path).await, || missing(&args.id))?.body;
    desk.close().await;
    output::done(args.json, &shown, output::details(&shown))
}

async fn add(args: AddArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let mut new = args.hooks.members();
    new.insert("name".to_owned(), args.name.into());
    new.insert("tenant".to_owned(), args.tenant.into());
    let path = Local::path(&["applications"]);
    let made = desk.api.create(&path, &new.into()).await?.body;
    desk.close().await;
    let words = format!("application {} was added", output::member(&made, "id"));
    output::done(args.json, &made, words)
}

async fn set(args: SetArgs) -> Result<Exit, Failure> {
    let mut change = args.hooks.members();
    if let Some(name) = args.name {
        change.insert("name".to_owned(), name.into());
    }
    for url in args.unset {
        let member = typed(&url);
        if change.get(&member).is_some_and(Value::is_string) {
            let option = member.replace('_', "-");
            return Err(Failure::usage(format!(
                "'--{option} URL' and '--unset {member}': give one of the two"
            )));
        }
        change.insert(member, Value::Null);
    }
    if change.is_empty() {
        return Err(Failure::usage(
            "nothing to change: give an option; 'tandem applications set --help' has them",
        ));
    }
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&["applications", &args.id]);
    let changed = desk.api.change(&path, None, &change.into()).await;
    let changed = found(changed, || missing(&args.id))?.body;
    desk.close().await;
    let words = format!("application {} was changed", output::member(&changed, "id"));
    output::done(args.json, &changed, words)
}

async fn remove(args: RemoveArgs) -> Result<Exit, Failure> {
    let removing = Removal {
        kind: "applications",
        member: "removed",
        done: |id| format!("application {id} was removed"),
        missing,
    };
    let desk = Desk::open(&args.node).await?;
    removing.run(desk, args.ids, args.json).await
}

fn missing(id: &str) -> String {
    format!("there is no application {id}; 'tandem applications' lists them")
}

impl Hooks {
    /// Those that are given, as a document has them.
    fn members(&self) -> Map<String, Value> {
        let all = [
            ("voice_url", &self.voice_url, self.voice_method),
            ("fallback_url", &self.fallback_url, self.fallback_method),
            (
                "status_callback",
                &self.status_callback,
                self.status_callback_method,
            ),
            ("message_url", &self.message_url, self.message_method),
        ];
        let mut members = Map::new();
        for (name, url, method) in all {
            if let Some(url) = url {
                members.insert(name.to_owned(), json!(url));
            }
            if let Some(method) = method {
                let front = name.strip_suffix("_url").unwrap_or(name);
                members.insert(format!("{front}_method"), typed(&method).into());
            }
        }
        members
    }
}

/// As it is written on the command line, and in a document.
fn typed(value: &impl ValueEnum) -> String {
    let shown = value.to_possible_value();
    shown.map_or_else(String::new, |shown| shown.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_urls_are_called_as_the_api_calls_them() {
        let methods = Method::value_variants().iter().map(typed);
        let known = store::HttpMethod::ALL.iter().map(|one| one.name());
        assert!(methods.eq(known));
        let urls = UrlName::value_variants().iter().map(typed);
        let all = [
            "voice_url",
            "fallback_url",
            "status_callback",
            "message_url",
        ];
        assert!(urls.eq(all));
    }
}
