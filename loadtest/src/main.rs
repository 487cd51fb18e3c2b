//! `loadtest demo` and `loadtest run`: calls through a node of its own, and a report.

use std::{env, path::PathBuf, process::ExitCode, thread};

use clap::{Args, Parser, Subcommand};
use loadtest::{
    bed::{Family, Layout},
    load::{self, Options},
    process::Interrupt,
    sipp::Transport,
};

/// Calls with audio through a Tandem node, counted from outside.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// 100 calls at once with audio both ways for 20 s, and a report.
    Demo(Common),
    /// The same with other numbers, over IPv6, TCP or VLANs.
    Run(RunArguments),
}

#[derive(Args)]
struct Common {
    /// The folder with the program `tandem` [default: the one this program is in].
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where to write the report; logs go into the folder `work` beside it.
    #[arg(long, value_name = "FILE", default_value = "target/demo/report.json")]
    report: PathBuf,
    /// `[media] datapath`: auto, xdp, xdp-generic, io-uring or sockets.
    #[arg(long, default_value = "auto")]
    datapath: String,
    /// On loopback, without namespaces, also as root.
    #[arg(long)]
    loopback: bool,
    /// Calls at the same time.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2000))]
    calls: u32,
    /// Seconds of audio in each direction of a call.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

#[derive(Args)]
struct RunArguments {
    #[command(flatten)]
    common: Common,
    /// New calls a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// IPv6 instead of IPv4.
    #[arg(long)]
    ipv6: bool,
    /// SIP over TCP instead of UDP.
    #[arg(long)]
    tcp: bool,
    /// 802.1Q tag on the caller's wire.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    caller_vlan: Option<u16>,
    /// 802.1Q tag on the callee's wire.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    callee_vlan: Option<u16>,
}

/// As of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = match Cli::parse().command {
        Command::Demo(common) => common.options(),
        Command::Run(arguments) => arguments.options(),
    };
    let interrupt = Interrupt::default();
    raise_on_signal(interrupt.clone());
    match load::run(&options, &interrupt) {
        Ok(report) => {
            println!("{report}");
            println!("report: {}", options.report.display());
            if report.good() {
                ExitCode::SUCCESS
            } else {
                println!("logs: {}", options.report.with_file_name("work").display());
                ExitCode::FAILURE
            }
        }
        Err(error) if error.is_interrupt() => {
            eprintln!("interrupted; everything that was started is gone again");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Common {
    fn options(self) -> Options {
        Options {
            programs: self.programs.unwrap_or_else(own_folder),
            report: self.report,
            calls: self.calls,
            rate: 50,
            seconds: self.seconds,
            transport: Transport::Udp,
            family: Family::V4,
            layout: Layout::default(),
            datapath: self.datapath,
            loopback: self.loopback,
        }
    }
}

impl RunArguments {
    fn options(self) -> Options {
        Options {
            rate: self.rate,
            transport: if self.tcp {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            family: if self.ipv6 { Family::V6 } else { Family::V4 },
            layout: Layout {
                caller_vlan: self.caller_vlan,
                callee_vlan: self.callee_vlan,
                ..Layout::default()
            },
            ..self.common.options()
        }
    }
}

fn own_folder() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    own.with_file_name("")
}

/// Ctrl-C and SIGTERM end the run in order, so that the bed is removed.
fn raise_on_signal(interrupt: Interrupt) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        // Without a runtime a signal ends us the plain way; the next run removes what stays.
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let both = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            );
            let (Ok(mut int), Ok(mut term)) = both else {
                return;
            };
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            interrupt.raise();
        });
    });
}
