//! `tandem numbers`: our numbers, and where they lead.

use api::Local;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{EditCommand, Kind, document::given, run, which};
use crate::{
    exit::{Exit, Failure},
    node::{Desk, Listing, NodeArgs},
    output::{self, Table},
};

/// Lists, shows and edits our numbers, and where they lead.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them. A number leads to one place: a user, a ring group, a trunk, or on to
where it is forwarded.

Examples:
  tandem numbers add +15550100 --user alice@example.test --forward-no-answer +15550199
  tandem numbers set +15550100 --group sales
  tandem numbers set +15550100 --unset forward.no_answer
  tandem numbers show +15550100
  tandem numbers remove +15550100
  tandem numbers lookup '020 7183 8750' --country GB"
)]
pub(crate) struct NumbersArgs {
    #[command(subcommand)]
    command: Option<NumberCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum NumberCommand {
    #[command(flatten)]
    Edit(Box<EditCommand<NumberMembers>>),
    /// Tells what any number says of itself: its parts, its region and its type
    Lookup(LookupArgs),
}

#[derive(Args, Debug)]
struct LookupArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// With + and its country's code, or as it is written in --country
    #[arg(value_name = "NUMBER")]
    number: String,
    /// Whose numbering plan counts for a number without a country's code
    #[arg(long, value_name = "GB")]
    country: Option<String>,
    /// Print JSON, as GET /v1/lookup does
    #[arg(long)]
    json: bool,
}

/// What can be written of a number.
#[derive(Args, Debug)]
pub(super) struct NumberMembers {
    /// It leads to this user
    #[arg(long, value_name = "USER@DOMAIN")]
    user: Option<String>,
    /// To this ring group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// To this trunk, as the number that it is
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    /// To an application of this account, with --voice-url or --application
    #[arg(long, value_name = "SID")]
    account: Option<String>,
    /// To an application of the store
    #[arg(long, value_name = "NAME|ID")]
    application: Option<String>,
    /// Who is asked what becomes of a call, in place of --application
    #[arg(long, value_name = "URL")]
    voice_url: Option<String>,
    /// How it is asked [default: POST]
    #[arg(long, value_name = "GET|POST")]
    voice_method: Option<String>,
    /// Who is asked where --voice-url fails
    #[arg(long, value_name = "URL")]
    voice_fallback_url: Option<String>,
    /// How it is asked [default: POST]
    #[arg(long, value_name = "GET|POST")]
    voice_fallback_method: Option<String>,
    /// Who is told when a call is over
    #[arg(long, value_name = "URL")]
    status_callback: Option<String>,
    /// How it is told [default: POST]
    #[arg(long, value_name = "GET|POST")]
    status_callback_method: Option<String>,
    /// Who is asked what becomes of a message
    #[arg(long, value_name = "URL")]
    message_url: Option<String>,
    /// How it is asked [default: POST]
    #[arg(long, value_name = "GET|POST")]
    message_method: Option<String>,
    /// Who is asked where --message-url fails
    #[arg(long, value_name = "URL")]
    message_fallback_url: Option<String>,
    /// How it is asked [default: POST]
    #[arg(long, value_name = "GET|POST")]
    message_fallback_method: Option<String>,
    /// Every call goes on to a number, a user with its domain, or a sip: URI
    #[arg(long, value_name = "PLACE")]
    forward: Option<String>,
    /// Calls that find a busy callee do
    #[arg(long, value_name = "PLACE")]
    forward_busy: Option<String>,
    /// Those that nobody answers in --ring-timeout
    #[arg(long, value_name = "PLACE")]
    forward_no_answer: Option<String>,
    /// Those whose callee is not registered or not reached
    #[arg(long, value_name = "PLACE")]
    forward_unreachable: Option<String>,
    /// How long it rings [default: 60, or 20 where it is forwarded on no answer]
    #[arg(long, value_name = "SECONDS")]
    ring_timeout: Option<u32>,
    /// Whose it is [default: the node's]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

impl Kind for NumberMembers {
    const PLURAL: &'static str = "numbers";
    const ONE: &'static str = "number";
    const NAME: Option<&'static str> = Some("number");
    const ONE_OF: &'static [&'static str] = &[
        "user",
        "group",
        "trunk",
        "account",
        "application",
        "voice_url",
    ];

    fn members(&self) -> Result<Value, Failure> {
        Ok(given(json!({
            "user": self.user,
            "group": self.group,
            "trunk": self.trunk,
            "account": self.account,
            "application": self.application,
            "voice_url": self.voice_url,
            "voice_method": self.voice_method,
            "voice_fallback_url": self.voice_fallback_url,
            "voice_fallback_method": self.voice_fallback_method,
            "status_callback": self.status_callback,
            "status_callback_method": self.status_callback_method,
            "message_url": self.message_url,
            "message_method": self.message_method,
            "message_fallback_url": self.message_fallback_url,
            "message_fallback_method": self.message_fallback_method,
            "forward": {
                "always": self.forward,
                "busy": self.forward_busy,
                "no_answer": self.forward_no_answer,
                "unreachable": self.forward_unreachable,
            },
            "ring_timeout": self.ring_timeout,
            "tenant": self.tenant,
        })))
    }

    fn table(items: &[Value]) -> Table {
        let mut table = Table::new(["NUMBER", "LEADS TO", "FORWARDED", "TENANT"]);
        for item in items {
            let places = [
                "user",
                "group",
                "trunk",
                "application",
                "voice_url",
                "message_url",
            ];
            table.row([
                output::member(item, "id"),
                which(item, &places),
                forwarded(&item["forward"]),
                output::member(item, "tenant"),
            ]);
        }
        table
    }
}

fn forwarded(forward: &Value) -> String {
    let cases = forward.as_object().into_iter().flatten();
    let cases = cases.filter_map(|(case, place)| Some(format!("{case} {}", place.as_str()?)));
    let cases: Vec<_> = cases.collect();
    match cases.is_empty() {
        true => "-".to_owned(),
        false => cases.join(", "),
    }
}

/// Runs the command.
pub(crate) async fn numbers(args: NumbersArgs) -> Result<Exit, Failure> {
    match args.command {
        None => run(EditCommand::<NumberMembers>::List(args.listing)).await,
        Some(NumberCommand::Edit(command)) => run(*command).await,
        Some(NumberCommand::Lookup(args)) => lookup(args).await,
    }
}

async fn lookup(args: LookupArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let country = args.country.iter();
    let query: Vec<_> = country
        .map(|country| ("country", country.as_str()))
        .collect();
    let path = Local::with_query(&Local::path(&["lookup", &args.number]), &query);
    let number = desk.api.get(&path).await?.body;
    desk.close().await;
    output::done(args.json, &number, output::details(&number))
}
