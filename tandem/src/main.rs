//! The command people type: a whole Tandem node, and the tools to look at it and to call through it.

mod call;
mod check;
mod exit;
mod init;
mod node;
mod output;
mod password;
mod routes;
mod run;
mod starter;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Hangup(node::HangupArgs),
    Trace(node::TraceArgs),
    Log(node::LogArgs),
    Trunks(node::TrunksArgs),
    Users(node::UsersArgs),
    Bans(node::BansArgs),
    Registrations(node::RegistrationsArgs),
    Drain(node::DrainArgs),
    Reload(node::ReloadArgs),
    Route(node::RouteArgs),
    Routes(routes::RoutesArgs),
    Call(call::CallArgs),
    Answer(call::AnswerArgs),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(exit) => exit.into(),
        Err(failure) if failure.is_broken_pipe() => Exit::Done.into(),
        Err(failure) => {
            eprintln!("tandem: {failure}");
            Exit::Failed.into()
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
        Command::Hangup(args) => ask(node::hangup(args)),
        Command::Trace(args) => ask(node::trace(args)),
        Command::Log(args) => ask(node::log(args)),
        Command::Trunks(args) => ask(node::trunks(args)),
        Command::Users(args) => ask(node::users(args)),
        Command::Bans(args) => ask(node::bans(args)),
        Command::Registrations(args) => ask(node::registrations(args)),
        Command::Drain(args) => ask(node::drain(args)),
        Command::Reload(args) => ask(node::reload(args)),
        Command::Route(args) => ask(node::route(args)),
        Command::Routes(args) => ask(routes::routes(args)),
        Command::Call(args) => ask(call::call(args)),
        Command::Answer(args) => ask(call::answer(args)),
    }
}

/// Runs a command that waits, on this thread. Its own words are its output; the log says only what
/// is odd.
fn ask(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    control::logging::init("error");
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))?
        .block_on(command)
}
