//! `tandem media`: what the media engine carries, as it goes.

mod drain;

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::{Args, Subcommand};
use control::{
    Client,
    media::{Carried, FlowStats, Media, MediaStatus, Request, Response, SessionId, Top},
};
use serde::Serialize;
use tokio::time::Instant;

use self::drain::{DrainArgs, drain};
use super::NodeArgs;
use crate::{
    exit::{Exit, Failure},
    output::{self, Table},
};

/// Shows what a media engine carries: calls, packets, loss, opinion scores, paths; those that sound worst first.
///
/// On a terminal it goes on until Ctrl-C, as `top` does.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Each session has a line for what either party sends (a: the one that called). LOST and LATE are packets that did not
come, and that came too late for a jitter buffer of 60 ms; GAP is the longest time between two. MOS is estimated
from all of these (G.107), without a report of the phones.

Examples:
  tandem media
  tandem media --limit 50 --interval 5
  tandem media --control unix:/var/lib/tandem/media.sock --once
  tandem media --json | jq '.items[] | select(.mos < 3.6) | .id'
  tandem media drain --exit"
)]
pub(crate) struct MediaArgs {
    #[command(subcommand)]
    command: Option<MediaCommand>,
    #[command(flatten)]
    node: NodeArgs,
    /// So many sessions at most, 1 to 1000
    #[arg(long, short = 'n', value_name = "SESSIONS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Seconds between two looks, 1 to 60
    #[arg(long, short, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// Look once, over one second, and end; so it is without a terminal too
    #[arg(long)]
    once: bool,
    /// Print JSON, once
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum MediaCommand {
    /// Makes the engine take no new sessions, and waits until none is left
    Drain(DrainArgs),
}

/// Connects to the media engine of the node that `args` mean, or fails at once.
async fn connect(args: &NodeArgs) -> Result<Client<Media>, Failure> {
    let endpoint = args.media_endpoint()?;
    let named = endpoint.to_string();
    let client = Client::connect_now(endpoint).await;
    client.map_err(|error| Failure::NoNode {
        endpoint: named,
        error,
    })
}

/// Runs the command.
pub(crate) async fn media(args: MediaArgs) -> Result<Exit, Failure> {
    if let Some(MediaCommand::Drain(args)) = args.command {
        return drain(args).await;
    }
    let client = connect(&args.node).await?;
    let is_live = !args.once && !args.json && io::stdout().is_terminal();
    let mut before = Look::take(&client, args.limit).await?;
    let pause = Duration::from_secs(if is_live { args.interval } else { 1 });
    // What there is is shown at once, before anything is known of its speed.
    let mut first = is_live.then(|| View::of(&before, None));
    loop {
        if let Some(view) = first.take() {
            redraw(&view)?;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
        let look = Look::take(&client, args.limit).await?;
        let view = View::of(&look, Some(&before));
        match (args.json, is_live) {
            (true, _) => output::json(&view)?,
            (false, true) => redraw(&view)?,
            (false, false) => output::line(view.text())?,
        }
        if !is_live {
            return Ok(Exit::Done);
        }
        before = look;
    }
}

/// From the upper left corner of an empty screen.
fn redraw(view: &View) -> Result<(), Failure> {
    output::line(format_args!("\x1b[H\x1b[2J{}", view.text()))
}

/// What the engine says at one moment.
struct Look {
    at: Instant,
    status: MediaStatus,
    top: Top,
}

impl Look {
    async fn take(client: &Client<Media>, limit: u16) -> Result<Self, Failure> {
        let status = match client.request(Request::Status).await? {
            Response::Status(status) => status,
            other => return Err(unexpected(&other)),
        };
        match client.request(Request::Top(limit)).await? {
            Response::Top(top) => Ok(Self {
                at: Instant::now(),
                status,
                top,
            }),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(response: &Response) -> Failure {
    Failure::other(format!(
        "the media engine gave an answer that does not fit the question ({response:?}): \
         run daemons and tools of one release"
    ))
}

/// What is shown of two looks.
#[derive(Debug, Serialize)]
struct View {
    datapath: &'static str,
    sessions: u64,
    ports_used: u32,
    ports: u32,
    /// `null` before there was time to count.
    packets_per_s: Option<f64>,
    /// Of all packets of these sessions.
    xdp_pct: f64,
    loss_pct: f64,
    refused: u64,
    items: Vec<Row>,
}

/// A session.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    owner: String,
    datapath: &'static str,
    mos: Option<f32>,
    a: Direction,
    b: Direction,
}

/// What one party of a session sends.
#[derive(Debug, Serialize)]
struct Direction {
    source: Option<String>,
    packets: u64,
    packets_per_s: Option<f64>,
    lost: u64,
    late: u64,
    duplicates: u64,
    reordered: u64,
    burst_ratio: f32,
    jitter_ms: f64,
    rtt_ms: Option<f64>,
    longest_gap_ms: u32,
    silent_ms: Option<u64>,
    mos: Option<f32>,
}

impl View {
    fn of(look: &Look, before: Option<&Look>) -> Self {
        let seconds = before.map(|before| (look.at - before.at).as_secs_f64());
        let top = &look.top;
        // Of sessions that have ended since, their packets are no longer among the sums.
        let rate = |now: u64, then: u64| seconds.map(|s| precise(now.saturating_sub(then)) / s);
        let earlier: HashMap<SessionId, &Carried> = before
            .into_iter()
            .flat_map(|before| &before.top.worst)
            .map(|carried| (carried.stats.id, carried))
            .collect();
        let items = top.worst.iter().map(|carried| {
            let stats = &carried.stats;
            let then = earlier.get(&stats.id).map(|carried| &carried.stats);
            let direction = |flow: &FlowStats, then: Option<&FlowStats>| Direction {
                source: flow.source.map(|source| source.to_string()),
                packets: flow.packets,
                packets_per_s: then.and_then(|then| rate(flow.packets, then.packets)),
                lost: flow.lost,
                late: flow.late,
                duplicates: flow.duplicates,
                reordered: flow.reordered,
                burst_ratio: flow.burst_ratio,
                rtt_ms: flow.rtt_us.map(|us| f64::from(us) / 1e3),
                jitter_ms: f64::from(flow.jitter_us) / 1e3,
                longest_gap_ms: flow.longest_gap_ms,
                silent_ms: flow.silent_ms,
                mos: flow.mos,
            };
            Row {
                id: stats.id.to_string(),
                owner: carried.owner.clone(),
                datapath: stats.path.name(),
                mos: stats.mos(),
                a: direction(&stats.from_a, then.map(|then| &then.from_a)),
                b: direction(&stats.from_b, then.map(|then| &then.from_b)),
            }
        });
        Self {
            datapath: look.status.path.name(),
            sessions: top.sessions,
            ports_used: look.status.ports_used,
            ports: look.status.ports,
            packets_per_s: before.and_then(|before| rate(top.packets, before.top.packets)),
            xdp_pct: percent(top.packets_xdp, top.packets),
            loss_pct: percent(top.lost, top.lost + top.packets),
            refused: top.refused,
            items: items.collect(),
        }
    }

    fn text(&self) -> String {
        let head = format!(
            "{} on {}; {} packets/s, {:.1} % by XDP; {:.3} % lost, {} refused; {} of {} ports in use",
            output::count(self.sessions, "session"),
            self.datapath,
            shown(self.packets_per_s),
            self.xdp_pct,
            self.loss_pct,
            self.refused,
            self.ports_used,
            self.ports,
        );
        if self.items.is_empty() {
            return head;
        }
        let mut table = Table::new([
            "SESSION", "OWNER", "PATH", "FROM", "SOURCE", "PKT/S", "PACKETS", "LOST", "LATE",
            "JITTER", "GAP", "MOS",
        ]);
        for row in &self.items {
            for (side, flow) in [("a", &row.a), ("b", &row.b)] {
                table.row([
                    row.id.chars().take(12).collect(),
                    row.owner.clone(),
                    row.datapath.to_owned(),
                    side.to_owned(),
                    flow.source.clone().unwrap_or_else(|| "-".to_owned()),
                    shown(flow.packets_per_s),
                    flow.packets.to_string(),
                    flow.lost.to_string(),
                    flow.late.to_string(),
                    format!("{:.1} ms", flow.jitter_ms),
                    format!("{} ms", flow.longest_gap_ms),
                    flow.mos
                        .map_or_else(|| "-".to_owned(), |mos| format!("{mos:.2}")),
                ]);
            }
        }
        format!("{head}\n\n{table}")
    }
}

fn shown(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))
}

fn percent(part: u64, whole: u64) -> f64 {
    precise(part) * 100.0 / precise(whole.max(1))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counters far below 2^52, for people to read"
)]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use control::media::{Path, SessionStats};

    use super::*;

    fn look(at: Instant, packets: u64) -> Look {
        let flow = |packets, mos| FlowStats {
            source: "192.0.2.7:4000".parse().ok(),
            packets,
            packets_xdp: packets / 2,
            lost: 10,
            jitter_us: 1_500,
            mos,
            ..FlowStats::default()
        };
        let stats = SessionStats {
            id: SessionId([0xab; 16]),
            from_a: flow(packets, Some(4.41)),
            from_b: flow(packets, Some(3.1)),
            path: Path::Xdp,
            silent_ms: 4,
        };
        Look {
            at,
            status: MediaStatus {
                path: Path::Xdp,
                stepped_down: String::new(),
                interfaces: vec!["eth0".into()],
                shards: 2,
                sessions: 1,
                ports_used: 4,
                ports: 40_000,
                adopted: 0,
                draining: false,
            },
            top: Top {
                sessions: 1,
                packets: 2 * packets,
                packets_xdp: packets,
                lost: 20,
                refused: 3,
                worst: vec![Carried {
                    owner: "ng".into(),
                    stats,
                }],
            },
        }
    }

    #[test]
    fn two_looks_tell_how_quick_it_goes() {
        let start = Instant::now();
        let before = look(start, 1_000);
        let now = look(start + Duration::from_secs(2), 1_100);
        let view = View::of(&now, Some(&before));
        assert_eq!(view.packets_per_s, Some(100.0));
        assert_eq!(view.items[0].a.packets_per_s, Some(50.0));
        assert_eq!(view.items[0].mos, Some(3.1));
        let text = view.text();
        let head = "1 session on xdp; 100 packets/s, 50.0 % by XDP; 0.901 % lost, 3 refused; 4 of 40000 ports in use";
        assert!(text.starts_with(head), "{text}");
        let rows: Vec<_> = text
            .lines()
            .skip(3)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0][..6],
            ["abababababab", "ng", "xdp", "a", "192.0.2.7:4000", "50"]
        );
        assert_eq!(rows[1].last(), Some(&"3.10"));
    }

    #[test]
    fn a_session_that_is_new_has_no_speed_yet() {
        let view = View::of(&look(Instant::now(), 5), None);
        let json = serde_json::to_value(&view).unwrap();
        assert!(
            json["packets_per_s"].is_null() && json["items"][0]["a"]["packets_per_s"].is_null()
        );
        assert!(view.text().contains("; - packets/s"), "{}", view.text());
    }
}
