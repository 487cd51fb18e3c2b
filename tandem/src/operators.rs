//! `tandem operators`: people who sign in to the API and the dashboard with a name and a password. It works
//! without a node, and without a key.

use api::Local;
use clap::{Args, Subcommand};
use control::signal::Secret;
use serde_json::{Value, json};

use crate::{
    exit::{Exit, Failure},
    keys::RoleName,
    node::{Desk, Listing, NodeArgs, Removal, found, list},
    output, password,
};

/// Lists, adds, changes and removes operators.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Operators sign in at the dashboard, or by POST /v1/login, with a name and a password. Without a subcommand,
it lists them. Passwords are asked for, or the first line of standard input, and have 12 characters at least;
only hashes of them are kept. Each change ends what the operator is signed in for.

Examples:
  tandem operators add ann@example.test --role operator
  tandem operators add acme-desk --role viewer --tenant acme --generate
  tandem operators set ann@example.test --password
  tandem operators set ann@example.test --disable
  tandem operators remove ann@example.test"
)]
pub(crate) struct OperatorsArgs {
    #[command(subcommand)]
    command: Option<OperatorsCommand>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Subcommand)]
enum OperatorsCommand {
    /// Lists the operators
    List(Listing),
    /// Adds an operator, and asks for a password
    Add(AddArgs),
    /// Changes an operator: whoever is signed in by the name is not any more
    Set(SetArgs),
    /// Removes operators: whoever is signed in by these names is not any more
    Remove(RemoveArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// What the operator signs in with: letters, digits, '.', '_', '-', '+' and '@'
    #[arg(value_name = "NAME")]
    name: String,
    /// What the operator may do
    #[arg(long, value_enum)]
    role: RoleName,
    /// Whose things there are for the operator [default: everybody's, and the node]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Make a password up, and show it once
    #[arg(long)]
    generate: bool,
    /// Signing in is refused yet
    #[arg(long)]
    disabled: bool,
    /// Print JSON, as POST /v1/operators does; with the password where it was made up
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[group(id = "change", required = true, multiple = true, args = ["password", "generate", "role", "enable", "disable"])]
struct SetArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who
    #[arg(value_name = "NAME")]
    name: String,
    /// Ask for a new password
    #[arg(long, conflicts_with = "generate")]
    password: bool,
    /// Make a new password up, and show it once
    #[arg(long)]
    generate: bool,
    /// What the operator may do
    #[arg(long, value_enum)]
    role: Option<RoleName>,
    /// The operator may sign in
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// The operator may not
    #[arg(long)]
    disable: bool,
    /// Print JSON, as PATCH /v1/operators/NAME does; with the password where it was made up
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Print JSON: {"removed": [...]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn operators(args: OperatorsArgs) -> Result<Exit, Failure> {
    match args.command.unwrap_or(OperatorsCommand::List(args.listing)) {
        OperatorsCommand::List(listing) => {
            let columns = [
                ["NAME", "name"],
                ["ROLE", "role"],
                ["TENANT", "tenant"],
                ["DISABLED", "disabled"],
                ["CREATED", "created"],
            ];
            list(listing, "operators", columns, "there is no operator").await
        }
        OperatorsCommand::Add(args) => add(args).await,
        OperatorsCommand::Set(args) => set(args).await,
        OperatorsCommand::Remove(args) => remove(args).await,
    }
}

async fn add(args: AddArgs) -> Result<Exit, Failure> {
    // Before anything is asked of a person.
    let desk = Desk::open(&args.node).await?;
    let secret = password::read_or_generate(args.generate, &args.name)?;
    let new = json!({
        "name": args.name,
        "password": secret.expose(),
        "role": store::Role::from(args.role),
        "tenant": args.tenant,
        "disabled": args.disabled,
    });
    let made = desk.api.create(&Local::path(&["operators"]), &new).await?;
    desk.close().await;
    tell(
        made.body,
        "was added",
        args.generate.then_some(&secret),
        args.json,
    )
}

async fn set(args: SetArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(&args.node).await?;
    let path = Local::path(&["operators", &args.name]);
    let missing = || {
        format!(
            "there is no operator {}; 'tandem operators' lists them",
            args.name
        )
    };
    let before = found(desk.api.get(&path).await, missing)?;
    let secret = match args.password || args.generate {
        true => Some(password::read_or_generate(args.generate, &args.name)?),
        false => None,
    };
    let mut change = json!({});
    if let Some(secret) = &secret {
        change["password"] = secret.expose().into();
    }
    if let Some(role) = args.role {
        change["role"] = store::Role::from(role).name().into();
    }
    if args.enable || args.disable {
        change["disabled"] = args.disable.into();
    }
    let changed = desk
        .api
        .change(&path, before.tag.as_deref(), &change)
        .await?;
    desk.close().await;
    let shown = secret.as_ref().filter(|_| args.generate);
    tell(changed.body, "was changed", shown, args.json)
}

async fn remove(args: RemoveArgs) -> Result<Exit, Failure> {
    let removing = Removal {
        kind: "operators",
        member: "removed",
        done: |name| format!("operator {name} was removed"),
        missing: |name| format!("there is no operator {name}; 'tandem operators' lists them"),
    };
    let desk = Desk::open(&args.node).await?;
    removing.run(desk, args.names, args.json).await
}

fn tell(
    mut operator: Value,
    done: &str,
    secret: Option<&Secret>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let mut words = format!("operator {} {done}", output::member(&operator, "name"));
    if let Some(secret) = secret {
        words.push_str(&format!(
            "\npassword  {}   (not shown again)",
            secret.expose()
        ));
        operator["password"] = secret.expose().into();
    }
    output::done(as_json, &operator, words)
}
