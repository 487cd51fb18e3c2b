//! `tandem status`: how the node is.

use clap::Args;
use control::{
    media::MediaStatus,
    signal::{Request, Response, SignalStatus},
};
use serde::Serialize;

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// Shows how a node is: calls, sockets, media path, ports.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tandem status
  tandem status --config target/run/tandem.toml
  tandem status --control unix:/var/lib/tandem/signal.sock --json | jq .calls")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn status(args: StatusArgs) -> Result<Exit, Failure> {
    let status = ask(&Node::connect(&args.node).await?).await?;
    if args.json {
        output::json(&View::from(&status))?;
    } else {
        output::line(text(&status))?;
    }
    Ok(Exit::Done)
}

/// Asks a node how it is.
pub(super) async fn ask(node: &Node) -> Result<SignalStatus, Failure> {
    match node.ask(Request::Status).await? {
        Response::Status(status) => Ok(status),
        other => Err(unexpected(&other)),
    }
}

/// The status as people read it.
fn text(status: &SignalStatus) -> String {
    let state = if status.draining {
        "draining: new calls get 503 ('tandem drain --off' takes them again)"
    } else {
        "taking calls"
    };
    let rows = [
        (
            "node",
            format!(
                "{}, tandem {}, up {}",
                status.node,
                status.version,
                output::age(status.uptime_s)
            ),
        ),
        ("state", state.to_owned()),
        ("calls", status.calls.to_string()),
        ("sip", status.listen.join(", ")),
        (
            "media",
            status.media.as_ref().map_or_else(
                || "mediad cannot be reached: no call that needs media goes through".to_owned(),
                media,
            ),
        ),
        (
            "cdrs",
            format!("{} waiting to be written", status.cdrs_queued),
        ),
        (
            "store",
            status.unwritten_s.map_or_else(
                || "takes what is written".to_owned(),
                |seconds| {
                    format!(
                        "takes no writes for {}: CDRs and registrations wait in memory; the log says why",
                        output::age(seconds)
                    )
                },
            ),
        ),
    ];
    let lines = rows.map(|(name, value)| format!("{name:<6} {}", output::printable(&value)));
    lines.join("\n")
}

fn media(media: &MediaStatus) -> String {
    let mut text = media.path.name().to_owned();
    if !media.interfaces.is_empty() {
        text += &format!(" on {}", media.interfaces.join(", "));
    }
    if !media.stepped_down.is_empty() {
        text += &format!(" ({})", media.stepped_down);
    }
    text += &format!(
        "; {}, {}, {} of {} ports in use",
        output::count(media.shards.into(), "shard"),
        output::count(media.sessions, "session"),
        media.ports_used,
        media.ports
    );
    if media.adopted > 0 {
        text += &format!(", {} adopted", output::count(media.adopted, "session"));
    }
    text
}

/// The status as scripts read it; names stay.
#[derive(Serialize)]
struct View<'a> {
    node: &'a str,
    version: &'a str,
    uptime_s: u64,
    calls: u64,
    draining: bool,
    listen: &'a [String],
    media: Option<MediaView<'a>>,
    cdrs_queued: u64,
    unwritten_s: Option<u64>,
}

#[derive(Serialize)]
struct MediaView<'a> {
    datapath: &'static str,
    stepped_down: &'a str,
    interfaces: &'a [String],
    shards: u16,
    sessions: u64,
    ports_used: u32,
    ports: u32,
    adopted: u64,
}

impl<'a> From<&'a SignalStatus> for View<'a> {
    fn from(status: &'a SignalStatus) -> Self {
        Self {
            node: &status.node,
            version: &status.version,
            uptime_s: status.uptime_s,
            calls: status.calls,
            draining: status.draining,
            listen: &status.listen,
            media: status.media.as_ref().map(|media| MediaView {
                datapath: media.path.name(),
                stepped_down: &media.stepped_down,
                interfaces: &media.interfaces,
                shards: media.shards,
                sessions: media.sessions,
                ports_used: media.ports_used,
                ports: media.ports,
                adopted: media.adopted,
            }),
            cdrs_queued: status.cdrs_queued,
            unwritten_s: status.unwritten_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use control::media::Path;

    use super::*;

    fn status() -> SignalStatus {
        SignalStatus {
            node: "n1".into(),
            version: "0.1.0".into(),
            uptime_s: 3_700,
            calls: 2,
            draining: false,
            listen: vec!["udp:127.0.0.1:5060".into(), "tcp:127.0.0.1:5060".into()],
            media: Some(MediaStatus {
                path: Path::IoUring,
                stepped_down: "no interface is configured".into(),
                interfaces: Vec::new(),
                shards: 2,
                sessions: 2,
                ports_used: 8,
                ports: 40_000,
                adopted: 0,
                draining: false,
            }),
            registrations: 2,
            cdrs_queued: 0,
            unwritten_s: None,
        }
    }

    #[test]
    fn people_read_lines() {
        assert_eq!(
            text(&status()),
            "node   n1, tandem 0.1.0, up 1 h 1 min\n\
             state  taking calls\n\
             calls  2\n\
             sip    udp:127.0.0.1:5060, tcp:127.0.0.1:5060\n\
             media  io-uring (no interface is configured); 2 shards, 2 sessions, 8 of 40000 ports in use\n\
             cdrs   0 waiting to be written\n\
             store  takes what is written"
        );
    }

    #[test]
    fn a_node_without_its_media_engine_says_so() {
        let mut status = status();
        (status.media, status.draining) = (None, true);
        let text = text(&status);
        assert!(text.contains("media  mediad cannot be reached"), "{text}");
        assert!(text.contains("tandem drain --off"), "{text}");
    }

    #[test]
    fn a_store_that_takes_no_writes_is_told() {
        let mut status = status();
        status.unwritten_s = Some(75);
        let text = text(&status);
        assert!(
            text.contains("store  takes no writes for 1 min 15 s"),
            "{text}"
        );
        let json = serde_json::to_value(View::from(&status)).unwrap();
        assert_eq!(json["unwritten_s"], 75);
    }

    #[test]
    fn scripts_read_the_names_of_the_configuration() {
        let json = serde_json::to_value(View::from(&status())).unwrap();
        assert_eq!(json["media"]["datapath"], "io-uring");
        assert_eq!(json["calls"], 2);
        assert_eq!(json["draining"], false);
    }
}
