//! Prints what the XDP program costs a packet (see [`benches::xdp_cost`]). Needs root.

use std::process::ExitCode;

use benches::{
    outcome,
    xdp_cost::{in_order_ns, measure},
};
use clap::Parser;

/// Measures the XDP program by test runs, against a bare program that swaps addresses.
#[derive(Parser)]
struct Arguments {
    /// How often each path is measured.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How many times 250 packets a round has. Each takes the kernel some 30 ms to set up.
    #[arg(long, default_value_t = 8)]
    batches: u32,
}

fn main() -> ExitCode {
    outcome::exit("xdp_cost", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let costs = measure(arguments.rounds, arguments.batches)?;
    println!(
        "{:36} {:>8} {:>17} {:>9}",
        "a packet", "median", "least..greatest", "to floor"
    );
    for cost in &costs {
        let (least, greatest) = cost.spread();
        let spread = format!("{least:.1}..{greatest:.1}");
        println!(
            "{:36} {:>5.1} ns {spread:>14} ns {:>8.2}x",
            cost.path,
            cost.ns(),
            cost.ratio()
        );
    }
    println!(
        "statistics of a packet in order, beyond these: {:.1} ns (on the host)",
        in_order_ns()
    );
    Ok(true)
}
