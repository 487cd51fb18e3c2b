//! `tandem registrations`: which phones are registered, and where they are.

use clap::Args;
use control::{
    FaultCode,
    channel::RequestError,
    signal::{BindingInfo, Request, Response},
};
use serde::Serialize;

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table},
};

/// How many users are asked for at once.
const PAGE: u32 = 1_000;

/// Lists what is registered, by user; or takes it away.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tandem registrations
  tandem registrations alice@example.test
  tandem registrations --json | jq -r '.items[].contact'
  tandem registrations alice
  tandem registrations alice@example.test --remove

USER is alice@example.test, or alice for one of the first domain of [sip] domains.")]
pub(crate) struct RegistrationsArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Only this user's
    #[arg(value_name = "USER")]
    user: Option<String>,
    /// Take the user's registration away: all Contacts, or the one of --contact
    #[arg(long, requires = "user", conflicts_with = "json")]
    remove: bool,
    /// The Contact to take away, as it is listed
    #[arg(long, value_name = "URI", requires = "remove")]
    contact: Option<String>,
    /// Print JSON: {"items": [...], "next": null}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn registrations(args: RegistrationsArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    if args.remove {
        return remove(&node, args.user.unwrap_or_default(), args.contact).await;
    }
    let registrations = match args.user {
        Some(user) => page(&node, Request::RegistrationsOf { user }).await?,
        None => list(&node).await?,
    };
    let views: Vec<_> = registrations.iter().map(View::from).collect();
    output::list(
        &views,
        args.json,
        || table(&registrations),
        "nobody is registered",
    )?;
    Ok(Exit::Done)
}

async fn list(node: &Node) -> Result<Vec<BindingInfo>, Failure> {
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

async fn remove(node: &Node, user: String, contact: Option<String>) -> Result<Exit, Failure> {
    let request = Request::Unregister {
        user: user.clone(),
        contact,
    };
    match node.ask(request).await {
        Ok(Response::Done) => output::line(format!("{user} is no longer registered there"))?,
        Ok(other) => return Err(unexpected(&other)),
        Err(RequestError::Fault(fault)) if fault.code == FaultCode::NotFound => {
            eprintln!("tandem: {fault}");
            return Ok(Exit::Failed);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Done)
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
