//! Prints what the XDP program costs a packet (see [`benches::xdp_cost`]). Needs root.

use std::{path::PathBuf, process::ExitCode};

use benches::{
    machine::Machine,
    outcome,
    xdp_cost::{Cost, in_order_ns, measure},
};
use clap::Parser;
use serde_json::json;

/// How many times the floor's time a packet may take, and one without quality counters.
const MOST: [(&str, f64); 2] = [
    ("RTP forwarded, same interface", 4.0),
    ("the same without quality counters", 2.0),
];

/// Measures the XDP program by test runs, against a bare program that swaps addresses.
#[derive(Parser)]
struct Arguments {
    /// How often each path is measured.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How many times 250 packets a round has. Each takes the kernel some 30 ms to set up.
    #[arg(long, default_value_t = 8)]
    batches: u32,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/xdp_cost.json")]
    report: PathBuf,
}

fn main() -> ExitCode {
    outcome::exit("xdp_cost", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let machine = Machine::now();
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
    let in_order = in_order_ns();
    println!("statistics of a packet in order, beyond these: {in_order:.1} ns (on the host)");
    let mut is_met = true;
    for (path, most) in MOST {
        let cost = costs.iter().find(|cost| cost.path == path);
        let ratio = cost.ok_or("a path was not measured")?.ratio();
        is_met &= ratio <= most;
        let met = if ratio <= most { "met" } else { "not met" };
        println!("{path}: expected at most {most} times the floor's: {met}");
    }
    println!("\n{machine}");
    let json = json!({
        "machine": machine.json(),
        "rounds": arguments.rounds,
        "paths": costs.iter().map(path).collect::<Vec<_>>(),
        "in_order_ns": in_order,
        "met": is_met,
    });
    outcome::write(&json, &arguments.report)?;
    Ok(is_met)
}

fn path(cost: &Cost) -> serde_json::Value {
    let (lowest, highest) = cost.spread();
    json!({
        "name": cost.path,
        "ns": {"median": cost.ns(), "lowest": lowest, "highest": highest},
        "to_floor": {
            "median": cost.ratio(),
            "lowest": cost.ratios.first(),
            "highest": cost.ratios.last(),
        },
    })
}
