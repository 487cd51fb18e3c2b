//! `tandem registrations`: which phones are registered, and where they are.

use clap::{Args, Subcommand};
use control::signal::{BindingInfo, Request, Response};
use serde::Serialize;
use serde_json::json;

use super::{Desk, Listing, Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table, printable},
};

/// How many users are asked for at once.
const PAGE: u32 = 1_000;

/// Lists what is registered, by user; or takes it away.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand, it lists them. USER is alice@example.test, or alice for one of the first domain of
[sip] domains.

Examples:
  tandem registrations
  tandem registrations list alice@example.test
  tandem registrations --json | jq -r '.items[].contact'
  tandem registrations remove alice"
)]
pub(crate) struct RegistrationsArgs {
    #[command(subcommand)]
    command: Option<RegistrationsCommand>,
    #[command(flatten)]
    list: Listing,
}

#[derive(Debug, Subcommand)]
enum RegistrationsCommand {
    /// Lists what is registered
    List(ListArgs),
    /// Takes a user's registration away; the phone may register anew
    Remove(RemoveArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    listing: Listing,
    /// Only this user's
    #[arg(value_name = "USER")]
    user: Option<String>,
}

#[derive(Args, Debug)]
struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Whose
    #[arg(value_name = "USER")]
    user: String,
    /// Only this Contact, as it is listed
    #[arg(long, value_name = "URI")]
    contact: Option<String>,
    /// Print JSON: {"removed": ...}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn registrations(args: RegistrationsArgs) -> Result<Exit, Failure> {
    let all = ListArgs {
        listing: args.list,
        user: None,
    };
    match args.command.unwrap_or(RegistrationsCommand::List(all)) {
        RegistrationsCommand::List(args) => list(args).await,
        RegistrationsCommand::Remove(args) => remove(args).await,
    }
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.listing.node).await?;
    let registrations = match args.user {
        Some(user) => page(&node, Request::RegistrationsOf { user }).await?,
        None => all(&node).await?,
    };
    let views: Vec<_> = registrations.iter().map(View::from).collect();
    output::list(
        &views,
        args.listing.json,
        || table(&registrations),
        "nobody is registered",
    )?;
    Ok(Exit::Done)
}

async fn all(node: &Node) -> Result<Vec<BindingInfo>, Failure> {
    let mut all: Vec<BindingInfo> = Vec::new();
    let mut after = String::new();
    loop {
        let page = page(node, Request::Registrations { after, limit: PAGE }).await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        after = last.user.clone();
        all.extend(page);
    }
}

async fn page(node: &Node, request: Request) -> Result<Vec<BindingInfo>, Failure> {
    match node.ask(request).await? {
        Response::Registrations(page) => Ok(page),
        other => Err(unexpected(&other)),
    }
}

/// By way of signaling, which takes users without a domain.
async fn remove(args: RemoveArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let known = page(
        &node,
        Request::RegistrationsOf {
            user: args.user.clone(),
        },
    )
    .await?;
    let user = known.into_iter().next().map(|binding| binding.user);
    let user = user.unwrap_or(args.user);
    let detail = json!({ "contact": args.contact });
    let request = Request::Unregister {
        user: user.clone(),
        contact: args.contact,
    };
    match node.ask(request).await? {
        Response::Done => {}
        other => return Err(unexpected(&other)),
    }
    let desk = Desk::open(&args.node).await?;
    desk.api
        .record_of_user("registrations", "delete", &user, detail)
        .await;
    desk.close().await;
    let words = format!("{} is no longer registered there", printable(&user));
    output::done(args.json, &json!({ "removed": user }), words)
}

fn table(registrations: &[BindingInfo]) -> Table {
    let mut table = Table::new(["USER", "CONTACT", "FROM", "ENDS IN", "PHONE"]);
    for registration in registrations {
        table.row([
            registration.user.clone(),
            registration.contact.clone(),
            registration.source.clone(),
            output::age(registration.expires_s.into()),
            registration.user_agent.clone(),
        ]);
    }
    table
}

/// A registration as scripts read it.
#[derive(Serialize)]
struct View<'a> {
    user: &'a str,
    contact: &'a str,
    q: Option<f64>,
    source: &'a str,
    user_agent: &'a str,
    expires_s: u32,
}

impl<'a> From<&'a BindingInfo> for View<'a> {
    fn from(registration: &'a BindingInfo) -> Self {
        Self {
            user: &registration.user,
            contact: &registration.contact,
            q: registration.q.map(|q| f64::from(q) / 1000.0),
            source: &registration.source,
            user_agent: &registration.user_agent,
            expires_s: registration.expires_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_a_row() {
        let registration = BindingInfo {
            user: "alice@example.test".into(),
            contact: "sip:alice@10.0.0.5:5060".into(),
            q: Some(500),
            source: "udp:192.0.2.10:40000".into(),
            user_agent: "phone\x1b[2J 1".into(),
            expires_s: 90,
        };
        assert_eq!(
            table(std::slice::from_ref(&registration)).to_string(),
            "USER                CONTACT                  FROM                  ENDS IN     PHONE\n\
             alice@example.test  sip:alice@10.0.0.5:5060  udp:192.0.2.10:40000  1 min 30 s  phone?[2J 1"
        );
        let json = serde_json::to_value(View::from(&registration)).unwrap();
        assert_eq!(json["q"], 0.5);
    }
}
