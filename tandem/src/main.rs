//! The command people type: a whole Tandem node, and the tools to look at it and to call through it.
//!
//! The tools are for who is at the machine: who may read the node's configuration may open its database and its
//! control socket, and needs no key. There are two ways to a node, and each thing is done in one of them:
//!
//! - **What the API serves from the store, and every change of it** goes to the API's own handlers
//!   ([`api::Local`], by [`node::Desk`]): the same checks, the same words for what is refused, the same entry in
//!   the record of changes, with `cli:NAME` as who did it. What the store alone knows (keys, applications, records of calls)
//!   is there without a running node.
//! - **What only the process knows** (calls that are up, registrations, bans in force, how trunks are, where a
//!   call would go) and orders to the process (drain, reload, log) go over its control socket, so that
//!   `--control` is enough for them.
//!
//! `tandem users` is both: signaling takes users without a domain and tells what became of their
//! registrations, and the record of changes is told afterwards.
//!
//! A list without a subcommand is `list`. `--json` prints one document: lists are `{"items": [...], "next":
//! null}`, with items as the API has them.

mod accounts;
mod applications;
mod backup;
mod call;
mod cdrs;
mod check;
mod completion;
mod edit;
mod erase;
mod exit;
mod init;
mod keys;
mod node;
mod operators;
mod output;
mod password;
mod progress;
mod recordings;
mod run;
mod starter;
mod transfer;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use exit::{Exit, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the user agent calls itself.
const USER_AGENT: &str = concat!("tandem/", env!("CARGO_PKG_VERSION"));

/// Tandem, a voice switch: run a node, look at it, call through it
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "First steps:
  tandem init                     write a configuration to start with
  tandem run                      run the node
  tandem answer --echo            in another terminal: take its calls
  tandem call sip:100@127.0.0.1   in a third one: call through it

Exit codes: 0 done, 1 failed, 2 wrong command line; 3 not answered, 4 no audio ('tandem call').
Logs go to standard error; RUST_LOG=debug shows more, TANDEM_LOG_FORMAT=json writes JSON."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    CheckConfig(check::CheckArgs),
    Init(init::InitArgs),
    Status(node::StatusArgs),
    Calls(node::CallsArgs),
    Media(node::MediaArgs),
    Cdrs(cdrs::CdrsArgs),
    Recordings(recordings::RecordingsArgs),
    Erase(erase::EraseArgs),
    Trace(node::TraceArgs),
    Log(node::LogArgs),
    Users(node::UsersArgs),
    Numbers(edit::NumbersArgs),
    Trunks(edit::TrunksArgs),
    Routes(edit::RoutesArgs),
    Groups(edit::GroupsArgs),
    Blocks(edit::BlocksArgs),
    Limits(edit::LimitsArgs),
    Applications(applications::ApplicationsArgs),
    Accounts(accounts::AccountsArgs),
    Keys(keys::KeysArgs),
    Operators(operators::OperatorsArgs),
    Bans(node::BansArgs),
    Registrations(node::RegistrationsArgs),
    Drain(node::DrainArgs),
    Reload(node::ReloadArgs),
    Route(node::RouteArgs),
    Call(call::CallArgs),
    Answer(call::AnswerArgs),
    Export(transfer::ExportArgs),
    Import(transfer::ImportArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Completion(completion::CompletionArgs),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(exit) => exit.into(),
        Err(failure) if failure.is_broken_pipe() => Exit::Done.into(),
        Err(failure) => {
            failure.tell();
            failure.exit().into()
        }
    }
}

fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::CheckConfig(args) => check::check(&args),
        Command::Init(args) => init::init(&args),
        Command::Status(args) => ask(node::status(args)),
        Command::Calls(args) => ask(node::calls(args)),
        Command::Media(args) => ask(node::media(args)),
        Command::Cdrs(args) => ask(cdrs::cdrs(args)),
        Command::Recordings(args) => ask(recordings::recordings(args)),
        Command::Erase(args) => ask(erase::erase(args)),
        Command::Trace(args) => ask(node::trace(args)),
        Command::Log(args) => ask(node::log(args)),
        Command::Users(args) => ask(node::users(args)),
        Command::Numbers(args) => ask(edit::numbers(args)),
        Command::Trunks(args) => ask(edit::trunks(args)),
        Command::Routes(args) => ask(edit::routes(args)),
        Command::Groups(args) => ask(edit::groups(args)),
        Command::Blocks(args) => ask(edit::blocks(args)),
        Command::Limits(args) => ask(edit::limits(args)),
        Command::Applications(args) => ask(applications::applications(args)),
        Command::Accounts(args) => ask(accounts::accounts(args)),
        Command::Keys(args) => ask(keys::keys(args)),
        Command::Operators(args) => ask(operators::operators(args)),
        Command::Bans(args) => ask(node::bans(args)),
        Command::Registrations(args) => ask(node::registrations(args)),
        Command::Drain(args) => ask(node::drain(args)),
        Command::Reload(args) => ask(node::reload(args)),
        Command::Route(args) => ask(node::route(args)),
        Command::Call(args) => ask(call::call(args)),
        Command::Answer(args) => ask(call::answer(args)),
        Command::Export(args) => ask(transfer::export(args)),
        Command::Import(args) => ask(transfer::import(args)),
        Command::Backup(args) => ask(backup::backup(args)),
        Command::Restore(args) => ask(backup::restore(args)),
        Command::Completion(args) => completion::completion(&args, Cli::command()),
    }
}

/// Runs a command that waits, on this thread. Its own words are its output; the log says only what
/// is odd.
fn ask(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let _log = control::logging::init("error");
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))?
        .block_on(command)
}
