//! `tandem trunks`: the carriers and switches that calls come from and go to.

use api::Local;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{EditCommand, Kind, document::given, joined, run};
use crate::{
    exit::{Exit, Failure},
    node::{self, Desk, Listing, NodeArgs},
    output::{self, Table},
    password,
};

/// Tells how the trunks are; lists, shows and edits them.
///
/// Alone it tells of their hosts, our registrations, and how calls to them fare. A host is down where a call or
/// its probes found it silent; it is tried last then. ASR is the share of the calls tried through a trunk that
/// it answered, since the node started.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "What options do not have (probes, numbers, headers, ...) is written in a file: 'tandem trunks show NAME' prints
one that 'set NAME --file' takes back. Passwords are asked for, or the first line of standard input.

Examples:
  tandem trunks
  tandem trunks --json | jq -r '.items[] | select(.hosts[] | .up | not) | .name'
  tandem trunks list
  tandem trunks add carrier-a --host 198.51.100.1 --host 198.51.100.2:5080 --allow 198.51.100.0/24
  tandem trunks set carrier-a --auth-user tandem
  tandem trunks set carrier-a --application ivr
  tandem trunks add carrier-b --file carrier-b.toml
  tandem trunks remove carrier-a
  tandem trunks drain carrier-a
  tandem trunks probe carrier-a"
)]
pub(crate) struct TrunksArgs {
    #[command(subcommand)]
    command: Option<TrunkCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum TrunkCommand {
    #[command(flatten)]
    Edit(Box<EditCommand<TrunkMembers>>),
    /// Gives a trunk no new calls until the node's next start; emergency calls apart
    ///
    /// Calls that are up go on, and calls from it are taken.
    Drain(DrainArgs),
    /// Asks every host of a trunk whether it is there, now; one that is counts as up at once
    ///
    /// Exit code 0: all are there; 1: one is not.
    Probe(ProbeArgs),
}

#[derive(Args, Debug)]
struct DrainArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Which one
    #[arg(value_name = "NAME")]
    name: String,
    /// Give it calls again
    #[arg(long)]
    off: bool,
    /// Print JSON: the trunk as it is then
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ProbeArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Which one
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON: what each host said
    #[arg(long)]
    json: bool,
}

/// What can be written of a trunk.
#[derive(Args, Debug)]
struct TrunkMembers {
    /// Where calls to it go, with port and transport where they matter; once for each, in order
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Where calls from it come from; once for each
    #[arg(long, value_name = "IP[/N]")]
    allow: Vec<String>,
    /// Answer its challenges as this user; the password is asked for
    #[arg(long, value_name = "NAME")]
    auth_user: Option<String>,
    /// Believe what it asserts of callers, and assert ours to it (RFC 3325)
    #[arg(long, value_name = "true|false")]
    trusted: Option<bool>,
    /// Calls at once, in both directions
    #[arg(long, value_name = "N")]
    calls: Option<u32>,
    /// Calls that begin within a second
    #[arg(long, value_name = "N")]
    cps: Option<u32>,
    /// Calls from it lead to an application of this account, where they are to no number of ours or user
    #[arg(long, value_name = "SID")]
    account: Option<String>,
    /// To this application of the store
    #[arg(long, value_name = "NAME|ID")]
    application: Option<String>,
    /// Who is asked what becomes of a call from it, in place of --application
    #[arg(long, value_name = "URL")]
    voice_url: Option<String>,
    /// How it is asked [default: POST]
    #[arg(long, value_name = "GET|POST")]
    voice_method: Option<String>,
}

impl Kind for TrunkMembers {
    const PLURAL: &'static str = "trunks";
    const ONE: &'static str = "trunk";
    const NAME: Option<&'static str> = Some("name");
    const ONE_OF: &'static [&'static str] = &["account", "application", "voice_url"];

    fn members(&self) -> Result<Value, Failure> {
        let user = self.auth_user.as_ref();
        Ok(given(json!({
            "hosts": self.hosts,
            "allow": self.allow,
            // To be asked for, whatever the one of before was.
            "auth": user.map(|user| json!({ "user": user, "password": "" })),
            "trusted": self.trusted,
            "calls": self.calls,
            "cps": self.cps,
            "account": self.account,
            "application": self.application,
            "voice_url": self.voice_url,
            "voice_method": self.voice_method,
        })))
    }

    fn table(items: &[Value]) -> Table {
        let mut table = Table::new(["TRUNK", "SOURCE", "HOSTS", "ALLOW"]);
        for item in items {
            table.row([
                output::member(item, "id"),
                output::member(item, "source"),
                joined(item, "hosts", "host"),
                joined(item, "allow", "block"),
            ]);
        }
        table
    }

    fn complete(document: &mut Map<String, Value>) -> Result<(), Failure> {
        let auth = document.get_mut("auth").and_then(Value::as_object_mut);
        let Some(auth) = auth.filter(|auth| auth.get("password") == Some(&json!(""))) else {
            return Ok(());
        };
        let user = auth.get("user").and_then(Value::as_str);
        let password = password::read(user.unwrap_or_default())?;
        auth.insert("password".to_owned(), password.expose().into());
        Ok(())
    }
}

/// Runs the command.
pub(crate) async fn trunks(args: TrunksArgs) -> Result<Exit, Failure> {
    match args.command {
        None => node::trunks(args.listing).await,
        Some(TrunkCommand::Edit(command)) => run(*command).await,
        Some(TrunkCommand::Drain(args)) => drain(args).await,
        Some(TrunkCommand::Probe(args)) => probe(args).await,
    }
}

async fn drain(args: DrainArgs) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let path = Local::path(&["node", "trunks", &args.name, "drain"]);
    let wanted = json!({ "draining": !args.off });
    let trunk = desk.api.replace(&path, None, &wanted).await?.body;
    desk.close().await;
    let name = output::printable(&args.name);
    let words = match args.off {
        true => format!("trunk {name} gets calls again"),
        false => format!("trunk {name} gets no new calls; {} are up", trunk["calls"]),
    };
    output::done(args.json, &trunk, words)
}

async fn probe(args: ProbeArgs) -> Result<Exit, Failure> {
    let desk = Desk::of_node(&args.node).await?;
    let path = Local::path(&["node", "trunks", &args.name, "probe"]);
    let mut hosts = desk.api.create(&path, &Value::Null).await?.body;
    desk.close().await;
    let hosts: Vec<Value> = match hosts["items"].take() {
        Value::Array(hosts) => hosts,
        _ => Vec::new(),
    };
    let table = || {
        let mut table = Table::new(["HOST", "STATE", "ANSWER", "AFTER", "ERROR"]);
        for host in &hosts {
            table.row([
                output::member(host, "host"),
                if host["up"] == true { "up" } else { "down" }.to_owned(),
                output::member(host, "status"),
                format!("{} ms", host["took_ms"]),
                output::member(host, "error"),
            ]);
        }
        table
    };
    output::list(
        &hosts,
        args.json,
        table,
        "the trunk has no host: it only calls",
    )?;
    Ok(match hosts.iter().all(|host| host["up"] == true) {
        true => Exit::Done,
        false => Exit::Failed,
    })
}
