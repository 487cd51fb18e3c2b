//! `tandem users`: who may register, call and be called.

use clap::{Args, Subcommand};
use control::{
    config::Forward,
    signal::{
        Forwards, NewUser, Request, Response, Secret, UserChange, UserDone, UserInfo, UserOrder,
    },
};
use serde::Serialize;
use serde_json::{Value, json};
use store::Timestamp;

use super::{Desk, Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table, printable},
    password,
    transfer::{UsersImportArgs, import_users},
};

/// How many users are asked for at once.
const PAGE: u32 = 1_000;

/// Lists, adds, changes and removes users.
#[derive(Args, Debug)]
#[command(
    after_help = "USER is alice@example.test, or alice for one of the first domain of [sip] domains. What is changed
is in the store, and holds at once. Passwords are asked for, or the first line of standard input; only
hashes of them are kept. Calls that are up go on.

Examples:
  tandem users add alice@example.test
  tandem users add bob --generate
  tandem users set alice --disable
  tandem users set alice --forward-no-answer +15550199 --ring-timeout 15
  pass show bob | tandem users set bob --password
  tandem users list --json | jq -r '.items[] | select(.contacts == 0) | .user'"
)]
pub(crate) struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// Lists the users of the store, and how many phones each has registered
    List(ListArgs),
    /// Adds a user, and asks for a password
    Add(AddArgs),
    /// Changes a user; a new password, or being disabled, ends its registrations
    Set(SetArgs),
    /// Removes a user and its registrations
    Remove(RemoveArgs),
    /// Adds the users of a CSV file, or gives them its passwords
    Import(UsersImportArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Only this one
    #[arg(value_name = "USER")]
    user: Option<String>,
    /// Print JSON: {"items": [...], "next": null}
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who
    #[arg(value_name = "USER")]
    user: String,
    /// Make a password up, and show it once
    #[arg(long)]
    generate: bool,
    /// What callees may be shown
    #[arg(long, value_name = "NAME")]
    display: Option<String>,
    /// Phones at most [default: as [sip.registrar] says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_contacts: Option<u32>,
    /// It may not register, call or be called yet
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    forward: ForwardArgs,
    /// Print JSON: {"user": ..., "password": ..., "unregistered": 0, "warnings": []}
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[group(id = "change", required = true, multiple = true, args = ["password", "generate", "display", "max_contacts", "forward_none", "forward", "forward_busy", "forward_no_answer", "forward_unreachable", "ring_timeout", "enable", "disable"])]
struct SetArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who
    #[arg(value_name = "USER")]
    user: String,
    /// Ask for a new password
    #[arg(long, conflicts_with = "generate")]
    password: bool,
    /// Make a new password up, and show it once
    #[arg(long)]
    generate: bool,
    /// What callees may be shown; '' for nothing
    #[arg(long, value_name = "NAME")]
    display: Option<String>,
    /// Phones at most; 0 for what [sip.registrar] says
    #[arg(long, value_name = "N")]
    max_contacts: Option<u32>,
    /// Forward no call any more; other options say which go on to be
    #[arg(long)]
    forward_none: bool,
    #[command(flatten)]
    forward: ForwardArgs,
    /// It may register, call and be called
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// It may not
    #[arg(long)]
    disable: bool,
    /// Print JSON: {"user": ..., "password": ..., "unregistered": N, "warnings": []}
    #[arg(long)]
    json: bool,
}

/// A PLACE is a number, a user with its domain, or a sip: URI.
#[derive(Args, Debug)]
struct ForwardArgs {
    /// Every call goes on to a number, a user with its domain, or a sip: URI
    #[arg(long, value_name = "PLACE")]
    forward: Option<String>,
    /// Calls that find it busy do
    #[arg(long, value_name = "PLACE")]
    forward_busy: Option<String>,
    /// Those that it does not answer in --ring-timeout
    #[arg(long, value_name = "PLACE")]
    forward_no_answer: Option<String>,
    /// Those that find no phone of it
    #[arg(long, value_name = "PLACE")]
    forward_unreachable: Option<String>,
    /// How long its phones ring; 0 for what is usual [default: 60, or 20 where it is forwarded on no answer]
    #[arg(long, value_name = "SECONDS")]
    ring_timeout: Option<u32>,
}

impl ForwardArgs {
    /// What is given takes the place of what was there.
    fn over(&self, before: Forwards) -> Forwards {
        let given = |new: &Option<String>, old| new.clone().or(old);
        Forwards {
            always: given(&self.forward, before.always),
            busy: given(&self.forward_busy, before.busy),
            no_answer: given(&self.forward_no_answer, before.no_answer),
            unreachable: given(&self.forward_unreachable, before.unreachable),
        }
    }
}

#[derive(Args, Debug)]
struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who
    #[arg(value_name = "USER")]
    user: String,
    /// Print JSON: {"user": ..., "unregistered": N, "warnings": []}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn users(args: UsersArgs) -> Result<Exit, Failure> {
    match args.command {
        UsersCommand::List(args) => list(args).await,
        UsersCommand::Add(args) => add(args).await,
        UsersCommand::Set(args) => set(args).await,
        UsersCommand::Remove(args) => remove(args).await,
        UsersCommand::Import(args) => import_users(args).await,
    }
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let users = match args.user {
        Some(user) => page(&node, Request::UserNamed { user }).await?,
        None => all(&node).await?,
    };
    let views: Vec<_> = users.iter().map(View::from).collect();
    output::list(&views, args.json, || table(&users), "there is no user")?;
    Ok(Exit::Done)
}

async fn all(node: &Node) -> Result<Vec<UserInfo>, Failure> {
    let mut users: Vec<UserInfo> = Vec::new();
    let mut after = String::new();
    loop {
        let page = page(node, Request::Users { after, limit: PAGE }).await?;
        let Some(last) = page.last() else {
            return Ok(users);
        };
        after = last.user.clone();
        users.extend(page);
    }
}

async fn page(node: &Node, request: Request) -> Result<Vec<UserInfo>, Failure> {
    match node.ask(request).await? {
        Response::Users(page) => Ok(page),
        other => Err(unexpected(&other)),
    }
}

async fn add(args: AddArgs) -> Result<Exit, Failure> {
    // Before anything is asked of a person.
    let node = Node::connect(&args.node).await?;
    let (secret, shown) = secret(args.generate, &args.user)?;
    let detail = json!({ "display": args.display, "enabled": !args.disabled });
    let order = UserOrder::Add(NewUser {
        user: args.user,
        password: secret,
        display: args.display,
        enabled: !args.disabled,
        max_contacts: args.max_contacts,
        forward: args.forward.over(Forwards::default()),
        ring_timeout: args.forward.ring_timeout.filter(|seconds| *seconds > 0),
    });
    let done = order_of(&node, order).await?;
    record(&args.node, "create", &done, detail).await?;
    tell(&done, "was added", shown.as_ref(), args.json)
}

async fn set(args: SetArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let (secret, shown) = match args.password || args.generate {
        true => {
            let (secret, shown) = secret(args.generate, &args.user)?;
            (Some(secret), shown)
        }
        false => (None, None),
    };
    let enabled = (args.enable || args.disable).then_some(args.enable);
    let forward = forwarded(&node, &args).await?;
    let detail = json!({
        "password": secret.as_ref().map(|_| "(changed)"),
        "display": args.display,
        "enabled": enabled,
        "max_contacts": args.max_contacts,
        "forward": forward,
        "ring_timeout": args.forward.ring_timeout,
    });
    let order = UserOrder::Change(UserChange {
        user: args.user,
        password: secret,
        display: args.display,
        enabled,
        max_contacts: args.max_contacts,
        forward,
        ring_timeout: args.forward.ring_timeout,
        unchanged_since: None,
    });
    let done = order_of(&node, order).await?;
    record(&args.node, "update", &done, detail).await?;
    tell(&done, "was changed", shown.as_ref(), args.json)
}

/// Where a user's calls go on to from now on; `None` where that is to stay.
async fn forwarded(node: &Node, args: &SetArgs) -> Result<Option<Forwards>, Failure> {
    let given = args.forward.over(Forwards::default());
    if args.forward_none {
        return Ok(Some(given));
    }
    if given == Forwards::default() {
        return Ok(None);
    }
    let user = args.user.clone();
    let before = page(node, Request::UserNamed { user }).await?;
    let before = before.into_iter().next().map(|user| user.forward);
    Ok(Some(args.forward.over(before.unwrap_or_default())))
}

async fn remove(args: RemoveArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let order = UserOrder::Remove {
        user: args.user,
        unchanged_since: None,
    };
    let done = order_of(&node, order).await?;
    record(&args.node, "delete", &done, json!({})).await?;
    tell(&done, "was removed", None, args.json)
}

/// A password, and the same to be shown where nobody knows it yet.
fn secret(generate: bool, user: &str) -> Result<(Secret, Option<Secret>), Failure> {
    if generate {
        let secret = Secret::generate();
        return Ok((secret.clone(), Some(secret)));
    }
    Ok((password::read(user)?, None))
}

async fn order_of(node: &Node, order: UserOrder) -> Result<UserDone, Failure> {
    match node.ask(Request::User(order)).await? {
        Response::User(done) => Ok(done),
        other => Err(unexpected(&other)),
    }
}

/// Tells the record of changes. signaling did it, for it takes users without a domain, and tells what became
/// of registrations.
async fn record(
    args: &NodeArgs,
    action: &str,
    done: &UserDone,
    detail: Value,
) -> Result<(), Failure> {
    let desk = Desk::open(args).await?;
    desk.api
        .record_of_user("users", action, &done.user, detail)
        .await;
    desk.close().await;
    Ok(())
}

fn tell(
    done: &UserDone,
    what: &str,
    password: Option<&Secret>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let password = password.map(Secret::expose);
    if as_json {
        output::json(&Done {
            user: &done.user,
            password,
            unregistered: done.unregistered,
            warnings: &done.warnings,
        })?;
        return Ok(Exit::Done);
    }
    output::line(text(done, what, password))?;
    for warning in &done.warnings {
        eprintln!("tandem: {}", printable(warning));
    }
    Ok(Exit::Done)
}

fn text(done: &UserDone, what: &str, password: Option<&str>) -> String {
    let mut text = format!("{} {what}", printable(&done.user));
    if done.unregistered > 0 {
        let phones = output::count(done.unregistered.into(), "registration");
        text.push_str(&format!(", and {phones} taken away"));
    }
    if let Some(password) = password {
        text.push_str(&format!("\npassword  {password}   (not shown again)"));
    }
    text
}

fn table(users: &[UserInfo]) -> Table {
    let mut table = Table::new([
        "USER",
        "STATE",
        "PHONES",
        "AT MOST",
        "FORWARDED",
        "CHANGED",
        "NAME",
    ]);
    for user in users {
        table.row([
            user.user.clone(),
            state(user).to_owned(),
            user.contacts.to_string(),
            user.max_contacts
                .map_or_else(|| "-".to_owned(), |most| most.to_string()),
            cases(&user.forward),
            Timestamp::from_millis(user.updated_ms).to_string(),
            user.display.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

/// Where calls go on to, on one line.
fn cases(forward: &Forwards) -> String {
    let cases = [
        ("always", &forward.always),
        ("busy", &forward.busy),
        ("no_answer", &forward.no_answer),
        ("unreachable", &forward.unreachable),
    ];
    let cases = cases.into_iter();
    let cases = cases.filter_map(|(name, place)| Some(format!("{name} {}", place.as_ref()?)));
    match cases.collect::<Vec<_>>() {
        none if none.is_empty() => "-".to_owned(),
        cases => cases.join(", "),
    }
}

const fn state(user: &UserInfo) -> &'static str {
    match user.enabled {
        true => "enabled",
        false => "disabled",
    }
}

/// What was done, as scripts read it.
#[derive(Serialize)]
struct Done<'a> {
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    unregistered: u32,
    warnings: &'a [String],
}

/// A user as scripts read it.
#[derive(Serialize)]
struct View<'a> {
    user: &'a str,
    display: Option<&'a str>,
    enabled: bool,
    max_contacts: Option<u32>,
    forward: Forward,
    ring_timeout: Option<u32>,
    contacts: u32,
    created: Timestamp,
    updated: Timestamp,
}

impl<'a> From<&'a UserInfo> for View<'a> {
    fn from(user: &'a UserInfo) -> Self {
        Self {
            user: &user.user,
            display: user.display.as_deref(),
            enabled: user.enabled,
            max_contacts: user.max_contacts,
            forward: user.forward.clone().into(),
            ring_timeout: user.ring_timeout,
            contacts: user.contacts,
            created: Timestamp::from_millis(user.created_ms),
            updated: Timestamp::from_millis(user.updated_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_row() {
        let user = UserInfo {
            user: "alice@example.test".into(),
            display: Some("Al\x1b[2J".into()),
            enabled: false,
            max_contacts: Some(2),
            forward: Forwards {
                busy: Some("+4930".into()),
                ..Forwards::default()
            },
            ring_timeout: None,
            contacts: 1,
            created_ms: 0,
            updated_ms: 1_700_000_000_000,
        };
        let drawn = table(std::slice::from_ref(&user)).to_string();
        assert!(
            drawn
                .contains("alice@example.test  disabled  1       2        busy +4930  2023-11-14T"),
            "{drawn}"
        );
        assert!(drawn.ends_with("Al?[2J"), "{drawn}");
        let json = serde_json::to_value(View::from(&user)).unwrap();
        assert_eq!(json["enabled"], false);
    }

    #[test]
    fn what_was_done_is_told_with_a_password_that_nobody_knows_yet() {
        let done = UserDone {
            user: "bob@example.test".into(),
            unregistered: 2,
            warnings: Vec::new(),
        };
        assert_eq!(
            text(&done, "was changed", Some("s3cret")),
            "bob@example.test was changed, and 2 registrations taken away\n\
             password  s3cret   (not shown again)"
        );
    }
}
