//! `tandem cdrs`: the records of calls that are over, as the store has them. The node need not run.

mod events;

use std::io::{self, Write as _};

use api::Local;
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    node::{Desk, NodeArgs, found},
    output::{self, Table},
};

/// Records that are listed where nobody says how many.
const USUAL: usize = 50;

/// Lists the records of calls that are over, newest first, or shows one.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "What is given narrows the list. A table and --json have the newest 50 unless --limit says otherwise; --csv and
--ndjson have all, as they are read. A record is written when its call is over: 'tandem calls' has those
that are up.

Examples:
  tandem cdrs
  tandem cdrs --from +15550100 --since 2026-01-05T00:00:00Z
  tandem cdrs --trunk carrier-a --status 503 --json | jq -r '.items[].reason'
  tandem cdrs --since 2026-01-01T00:00:00Z --until 2026-02-01T00:00:00Z --csv > january.csv
  tandem cdrs show 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11
  tandem cdrs events 019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11"
)]
pub(crate) struct CdrsArgs {
    #[command(subcommand)]
    command: Option<CdrsCommand>,
    #[command(flatten)]
    list: Box<ListArgs>,
}

#[derive(Debug, Subcommand)]
enum CdrsCommand {
    /// Lists the records, newest first
    List(Box<ListArgs>),
    /// Shows a record
    Show(ShowArgs),
    /// Lists what happened to a call that is over: who was muted and held, transfers, how it sounded
    Events(ShowArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    filter: Filter,
    /// At most so many, the newest [default: 50]
    #[arg(long, value_name = "N", conflicts_with_all = ["csv", "ndjson"])]
    limit: Option<usize>,
    /// Print JSON: {"items": [...], "next": null}, items as GET /v1/cdrs has them
    #[arg(long, group = "format")]
    json: bool,
    /// Print all, a JSON document a line
    #[arg(long, group = "format")]
    ndjson: bool,
    /// Print all as CSV (RFC 4180) with a header line
    #[arg(long, group = "format")]
    csv: bool,
}

/// Which records: as the parameters of `GET /v1/cdrs`.
#[derive(Args, Debug)]
struct Filter {
    /// The Call-ID header field
    #[arg(long, value_name = "TEXT")]
    call_id: Option<String>,
    /// The caller: a number or user, or a URI
    #[arg(long, value_name = "PARTY")]
    from: Option<String>,
    /// Who was called, likewise
    #[arg(long, value_name = "PARTY")]
    to: Option<String>,
    /// The trunk's name or the user's address that called
    #[arg(long, value_name = "TRUNK|USER@DOMAIN")]
    origin: Option<String>,
    /// The user who was called
    #[arg(long, value_name = "USER@DOMAIN")]
    callee_user: Option<String>,
    /// Whose call it was
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// The trunk that it went out by
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    /// The last status, such as 200 or 486
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
    /// Begun not before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Begun before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Filter {
    /// As the API's parameters.
    fn query(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("call_id", self.call_id.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("origin", self.origin.clone()),
            ("callee_user", self.callee_user.clone()),
            ("tenant", self.tenant.clone()),
            ("trunk", self.trunk.clone()),
            ("status", self.status.map(|status| status.to_string())),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its id, which was the call's
    #[arg(value_name = "ID")]
    id: String,
    /// Print JSON, as GET /v1/cdrs/ID does
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn cdrs(args: CdrsArgs) -> Result<Exit, Failure> {
    match args.command.unwrap_or(CdrsCommand::List(args.list)) {
        CdrsCommand::List(args) => list(*args).await,
        CdrsCommand::Show(args) => show(args).await,
        CdrsCommand::Events(args) => events(args).await,
    }
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let query = args.filter.query();
    let mut query: Vec<(&str, &str)> = query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let path = Local::path(&["cdrs"]);
    if args.csv || args.ndjson {
        let format = if args.csv { "csv" } else { "ndjson" };
        query.push(("format", format));
        return stream(desk, &path, &query).await;
    }
    let most = args.limit.unwrap_or(USUAL);
    let cdrs = desk.api.list(&path, &query, most).await?;
    desk.close().await;
    output::list(&cdrs, args.json, || table(&cdrs), "there is no such record")?;
    Ok(Exit::Done)
}

/// However many there are, a page of them is in memory.
async fn stream(desk: Desk, path: &str, query: &[(&str, &str)]) -> Result<Exit, Failure> {
    let mut parts = desk.api.stream(path, query).await?;
    let mut out = io::stdout().lock();
    while let Some(part) = parts.next().await {
        out.write_all(&part?).map_err(Failure::Output)?;
    }
    out.flush().map_err(Failure::Output)?;
    drop(parts);
    desk.close().await;
    Ok(Exit::Done)
}

async fn show(args: ShowArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let cdr = desk.api.get(&Local::path(&["cdrs", &args.id])).await;
    let cdr = found(cdr, || missing(&args.id))?;
    desk.close().await;
    output::done(args.json, &cdr.body, output::details(&cdr.body))
}

async fn events(args: ShowArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&["cdrs", &args.id, "events"]);
    let events = desk.api.list(&path, &[], usize::MAX).await;
    let events = found(events, || missing(&args.id))?;
    desk.close().await;
    let none = "nothing happened that the record does not say";
    output::list(&events, args.json, || events::table(&events), none)?;
    Ok(Exit::Done)
}

fn missing(id: &str) -> String {
    format!(
        "there is no record {id}; one is written when its call is over, and 'tandem calls' has those that are up"
    )
}

fn table(cdrs: &[Value]) -> Table {
    let heads = [
        "STARTED", "FROM", "TO", "TRUNK", "STATUS", "TALK", "CAUSE", "MOS", "ID",
    ];
    let mut table = Table::new(heads);
    for cdr in cdrs {
        let talk = cdr["talk_ms"].as_u64().unwrap_or(0) / 1_000;
        table.row([
            output::member(cdr, "started"),
            output::member(cdr, "from"),
            output::member(cdr, "to"),
            output::member(cdr, "trunk"),
            output::member(cdr, "status"),
            output::age(talk),
            output::member(cdr, "cause"),
            mos(&cdr["media"]),
            output::member(cdr, "id"),
        ]);
    }
    table
}

/// Of what the caller heard and said: the lower one.
fn mos(media: &Value) -> String {
    let sides = [&media["caller"]["mos"], &media["callee"]["mos"]];
    let heard = sides.into_iter().filter_map(Value::as_f64);
    let worst = heard.min_by(f64::total_cmp);
    worst.map_or_else(|| "-".to_owned(), |mos| format!("{mos:.2}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_a_row_with_the_worse_of_both_directions() {
        let cdr = json!({
            "id": "0199", "from": "sip:a@x", "to": "sip:b@x", "trunk": null, "status": 200,
            "started": "2026-01-05T08:30:00.000Z", "talk_ms": 65_000, "cause": "normal",
            "media": { "caller": { "mos": 4.41 }, "callee": { "mos": 3.2 } },
        });
        assert_eq!(
            table(&[cdr]).to_string(),
            "STARTED                   FROM     TO       TRUNK  STATUS  TALK       CAUSE   MOS   ID\n\
             2026-01-05T08:30:00.000Z  sip:a@x  sip:b@x  -      200     1 min 5 s  normal  3.20  0199"
        );
        assert_eq!(mos(&json!({ "caller": null, "callee": null })), "-");
    }
}
