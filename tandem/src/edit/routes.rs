//! `tandem routes`: which trunks take a number.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use control::config::Choice;
use serde_json::{Value, json};

use super::{EditCommand, Kind, document::given, joined, rates, run};
use crate::{
    exit::{Exit, Failure},
    node::Listing,
    output::{self, Table},
};

/// Lists, shows and edits routes: which trunks take a number; puts many into the store at once.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them. The longest prefix wins, the cheapest of its trunks comes first.

A line of CSV is PREFIX,TRUNK[,COST[,SHARE]]; one that begins with '#' and an empty one do not count. Routes \
with times or other conditions are added one by one, or stand in the configuration. A running node takes what is \
imported over by itself, within seconds, and refuses it as a whole where a trunk does not exist.

Examples:
  tandem routes add --prefix +49 --trunk carrier-a,0.01 --trunk carrier-b,0.02
  tandem routes add nights --prefix +49 --trunk carrier-b --time '22:00-06:00' --zone Europe/Berlin
  tandem routes set nights --trunk carrier-a
  tandem routes remove nights
  tandem routes import rates.csv
  tandem routes export > rates.csv"
)]
pub(crate) struct RoutesArgs {
    #[command(subcommand)]
    command: Option<RoutesCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum RoutesCommand {
    #[command(flatten)]
    Edit(EditCommand<RouteMembers>),
    /// Puts the routes of a CSV file in the place of all that the store has
    Import {
        /// The file; - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The node's configuration
        #[arg(long, short, value_name = "FILE", env = "TANDEM_CONFIG")]
        config: Option<PathBuf>,
        /// Print JSON: {"routes": N}
        #[arg(long)]
        json: bool,
    },
    /// Writes the store's routes to standard output as CSV
    Export {
        /// The node's configuration
        #[arg(long, short, value_name = "FILE", env = "TANDEM_CONFIG")]
        config: Option<PathBuf>,
    },
}

/// What can be written of a route.
#[derive(Args, Debug)]
struct RouteMembers {
    /// What the called number begins with; '' for every number
    #[arg(long, value_name = "DIGITS")]
    prefix: Option<String>,
    /// A trunk that takes it, with what a minute costs and its share of the calls; once for each
    #[arg(long = "trunk", value_name = "NAME[,COST[,SHARE]]", value_parser = rates::choice)]
    trunks: Vec<Choice>,
    /// Only at this time of the week, such as 'mon-fri 08:00-18:00'; once for each
    #[arg(long = "time", value_name = "TIME")]
    times: Vec<String>,
    /// The time zone of the times, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Only calls from this trunk; once for each
    #[arg(long = "from-trunk", value_name = "NAME")]
    from_trunks: Vec<String>,
    /// Only calls from this user, @example.test for all of a domain, or '*'; once for each
    #[arg(long = "from-user", value_name = "USER")]
    from_users: Vec<String>,
    /// Only callers whose number begins so; once for each
    #[arg(long = "from-prefix", value_name = "DIGITS")]
    from_prefixes: Vec<String>,
    /// How long it may ring [default: 60]
    #[arg(long, value_name = "SECONDS")]
    ring_timeout: Option<u32>,
}

impl Kind for RouteMembers {
    const PLURAL: &'static str = "routes";
    const ONE: &'static str = "route";
    const NAME: Option<&'static str> = None;
    const ONE_OF: &'static [&'static str] = &[];

    fn members(&self) -> Result<Value, Failure> {
        Ok(given(json!({
            "prefix": self.prefix,
            "trunks": self.trunks,
            "times": self.times,
            "zone": self.zone,
            "from": {
                "trunks": self.from_trunks,
                "users": self.from_users,
                "prefixes": self.from_prefixes,
            },
            "ring_timeout": self.ring_timeout,
        })))
    }

    fn table(items: &[Value]) -> Table {
        let mut table = Table::new(["ID", "PREFIX", "TRUNKS", "TIMES", "FROM", "SOURCE"]);
        for item in items {
            let from = ["trunks", "users", "prefixes"];
            let from = from.map(|who| joined(&item["from"], who, ""));
            let from: Vec<_> = from.into_iter().filter(|who| who != "-").collect();
            table.row([
                output::member(item, "id"),
                output::member(item, "prefix"),
                joined(item, "trunks", "trunk"),
                joined(item, "times", ""),
                if from.is_empty() {
                    "-".to_owned()
                } else {
                    from.join(", ")
                },
                output::member(item, "source"),
            ]);
        }
        table
    }
}

/// Runs the command.
pub(crate) async fn routes(args: RoutesArgs) -> Result<Exit, Failure> {
    let listing = RoutesCommand::Edit(EditCommand::List(args.listing));
    match args.command.unwrap_or(listing) {
        RoutesCommand::Edit(command) => run(command).await,
        RoutesCommand::Import { file, config, json } => {
            rates::import(&file, config.as_deref(), json).await
        }
        RoutesCommand::Export { config } => rates::export(config.as_deref()).await,
    }
}
