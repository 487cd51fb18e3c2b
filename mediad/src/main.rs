//! The media engine on its own, for a node whose signaling runs in another process.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use control::config::{
    Config, DatapathMode, InterfaceArg, Media, MediaInterface, NgListen, PortRange,
};
use control::media::Drain;
use control::privileges::Privileges;
use control::{Endpoint, files, logging};
use mediad::limits;
use mediad::privileges::drop_privileges;
use mediad::xdp::{PIN_ROOT, take_down};
use mediad::{Around, Order};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Relays RTP and RTCP for a Tandem node.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Signals: SIGTERM or Ctrl-C ends it. Calls on XDP flow on without it, and the next mediad adopts them; without
such calls the XDP program is taken off. A second one ends it at once.
SIGHUP reads the configuration again, as 'tandem reload' does: calls go on, and the log names what needs a restart.
SIGUSR1 drains it: no new sessions are taken, and it ends with the last one ('tandem media drain' does the same,
with a limit of time and a way back)."
)]
struct Flags {
    /// Configuration file; the flags below replace its [media] keys.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address that RTP comes to; "IP/PUBLIC_IP" or "IP!PUBLIC_IP" where peers see another. May be repeated: one
    /// more of the other family, or "NAME/IP!PUBLIC_IP" for interfaces that legs ask for by name. Where all have
    /// names, the first is the default too.
    #[arg(long, value_name = "[NAME/]IP[!PUBLIC_IP]")]
    address: Vec<InterfaceArg>,
    /// UDP ports for media.
    #[arg(long, value_name = "FROM-TO")]
    ports: Option<PortRange>,
    /// Interfaces to attach the XDP program to, with commas between.
    #[arg(long, value_name = "DEV")]
    interface: Option<String>,
    /// Path that packets take.
    #[arg(long, value_name = "MODE", value_parser = datapath)]
    datapath: Option<DatapathMode>,
    /// Threads that move packets; 0 for one a core.
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// Where to serve rtpengine's NG protocol; may be given several times.
    #[arg(long, value_name = "udp:|tcp:|http:IP:PORT")]
    ng: Vec<NgListen>,
    /// Control socket.
    #[arg(long, value_name = "unix:PATH")]
    control: Option<Endpoint>,
    /// Where to serve the metrics page.
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// The user to become once started as root, with the capabilities that are needed.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Start nothing: take the XDP program off that a mediad of this node has left, and remove its pins.
    #[arg(long)]
    detach: bool,
    /// With --detach: even if calls flow by it.
    #[arg(long, requires = "detach")]
    force: bool,
}

fn main() -> ExitCode {
    limits::refuse_huge_pages();
    let flags = Flags::parse();
    let (is_detaching, is_forced) = (flags.detach, flags.force);
    // Before there is a second thread, the log's.
    let started = configuration(&flags).and_then(|config| {
        let drop = || drop_privileges(&config, Privileges::mediad(&config)?);
        let dropped = (!is_detaching).then(drop).transpose()?;
        Ok((config, dropped))
    });
    let _log = logging::init("info");
    let ended = started.and_then(|(config, dropped)| match dropped {
        Some(dropped) => {
            dropped.tell();
            files::warn_of_unreadable(flags.config.as_deref(), []);
            serve(&config, flags)
        }
        None => detach(&config, is_forced),
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            lines(&*error).iter().for_each(|line| error!("{line}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config, flags: Flags) -> Result<(), Box<dyn std::error::Error>> {
    // Packets are the shards' business; control, metrics and netlink need little. On one core a second thread is in the
    // first one's way.
    let cores = limits::allowed_cores().map_or(2, |cores| cores.len());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(1, 2))
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (orders, told) = mpsc::unbounded_channel();
        let signals = Signals::new()?;
        let reread = move || configuration(&flags).map_err(|error| lines(&*error));
        let around = Around {
            listener: None,
            reread: Box::new(reread),
            orders: told,
            shutdown: shutdown.clone(),
        };
        tokio::select! {
            ended = mediad::run(config, around) => Ok(ended?),
            () = signals.obey(&orders, &shutdown) => Err("ended at once, as a second signal asked for".into()),
        }
    });
    // After a second signal nothing is waited for.
    runtime.shutdown_background();
    ended
}

/// A configuration may be wrong in several places.
fn lines(error: &dyn std::error::Error) -> Vec<String> {
    error.to_string().lines().map(str::to_owned).collect()
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reload: Signal,
    drain: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            reload: signal(SignalKind::hangup())?,
            drain: signal(SignalKind::user_defined1())?,
        })
    }

    /// Hands on what signals ask for; completes with the second one that asks for the end.
    async fn obey(mut self, orders: &mpsc::UnboundedSender<Order>, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                // The engine may be about to end, and hear no more orders.
                _ = self.reload.recv() => {
                    let _ = orders.send(Order::Reload);
                    continue;
                }
                _ = self.drain.recv() => {
                    let (on, exit, limit_s) = (true, true, 0);
                    let _ = orders.send(Order::Drain(Drain { on, exit, limit_s }));
                    continue;
                }
            }
            if shutdown.is_cancelled() {
                return;
            }
            shutdown.cancel();
        }
    }
}

/// Takes down what a mediad has left.
fn detach(config: &Config, force: bool) -> Result<(), Box<dyn std::error::Error>> {
    let node = &config.node.name;
    let endpoint = config.media_endpoint();
    if let Endpoint::Unix(path) = &endpoint
        && std::os::unix::net::UnixStream::connect(path).is_ok()
    {
        return Err(format!(
            "a mediad of node {node} runs (it answers at {endpoint}): stop it first"
        )
        .into());
    }
    match take_down(PIN_ROOT.as_ref(), node, force)? {
        None => info!(
            "node {node} has left nothing to take down (see --config for another node's name)"
        ),
        Some(done) => info!(
            interfaces = done.interfaces,
            "the XDP program of node {node} is off, its pins are removed"
        ),
    }
    Ok(())
}

fn configuration(flags: &Flags) -> Result<Config, Box<dyn std::error::Error>> {
    let loaded = match &flags.config {
        Some(path) => Config::load(path)?,
        None => Config::parse("", std::env::vars())?,
    };
    // Warnings about trunks and listeners are for signaling and api to give.
    let mut config = loaded.config;
    let media = &mut config.media;
    take_addresses(media, flags.address.clone())?;
    replace(&mut media.ports, flags.ports);
    replace(&mut media.interface, flags.interface.clone());
    replace(&mut media.datapath, flags.datapath);
    replace(&mut media.shards, flags.shards);
    if !flags.ng.is_empty() {
        media.ng = flags.ng.clone();
    }
    media.metrics = flags.metrics.or(media.metrics);
    if flags.user.is_some() {
        config.node.user.clone_from(&flags.user);
    }
    if flags.control.is_some() {
        config.media.control.clone_from(&flags.control);
    }
    Ok(config)
}

/// The addresses of the command line take the place of the file's.
fn take_addresses(media: &mut Media, given: Vec<InterfaceArg>) -> Result<(), String> {
    let Some(first) = given.first() else {
        return Ok(());
    };
    let default = given.iter().find(|arg| arg.name.is_none());
    media.address = default.unwrap_or(first).address.clone();
    let mut has_default = false;
    let devices = std::mem::take(&mut media.interfaces);
    for InterfaceArg { name, address } in given {
        let twice = |address| format!("--address: {address}: that family has an address already");
        let Some(name) = name else {
            match has_default {
                true => media.address.join(address).map_err(twice)?,
                false => has_default = true,
            }
            continue;
        };
        let known = media.interfaces.iter_mut().find(|known| known.name == name);
        match known {
            Some(known) => known.address.join(address).map_err(twice)?,
            None => {
                let device = devices.iter().find(|device| device.name == name);
                media.interfaces.push(MediaInterface {
                    device: device.map(|known| known.device.clone()).unwrap_or_default(),
                    name,
                    address,
                });
            }
        }
    }
    if !has_default && let Some(first) = media.interfaces.first() {
        media.address = first.address.clone();
    }
    Ok(())
}

fn datapath(text: &str) -> Result<DatapathMode, String> {
    let modes = [
        DatapathMode::Auto,
        DatapathMode::Xdp,
        DatapathMode::XdpGeneric,
        DatapathMode::IoUring,
        DatapathMode::Sockets,
    ];
    let known = modes.into_iter().find(|mode| mode.name() == text);
    known.ok_or_else(|| format!("one of {}", modes.map(DatapathMode::name).join(", ")))
}

fn replace<T>(key: &mut T, flag: Option<T>) {
    if let Some(flag) = flag {
        *key = flag;
    }
}

#[cfg(test)]
mod tests {
    use control::config::MediaAddress;

    use super::*;

    fn taken(flags: &[&str]) -> Result<String, String> {
        let mut media = Media {
            interfaces: vec![MediaInterface {
                name: "out".to_owned(),
                address: MediaAddress::default(),
                device: "eth1".to_owned(),
            }],
            ..Media::default()
        };
        let flags = flags.iter().map(|flag| flag.parse().unwrap()).collect();
        take_addresses(&mut media, flags)?;
        let all = media.interfaces.iter();
        let all = all.map(|interface| format!("{interface} {}", interface.device));
        let all: Vec<_> = std::iter::once(media.address.to_string())
            .chain(all)
            .collect();
        Ok(all.join("; "))
    }

    #[test]
    fn addresses_of_the_command_line_are_taken_in_order() {
        let is = |flags: &[&str], text: &str| assert_eq!(taken(flags).as_deref(), Ok(text));
        is(&[], "127.0.0.1; out 127.0.0.1 eth1");
        is(&["10.0.0.1"], "10.0.0.1");
        is(&["10.0.0.1", "fd00::1"], "10.0.0.1,fd00::1");
        is(
            &["10.0.0.1", "out/10.0.1.1!192.0.2.1", "out/fd00::2"],
            "10.0.0.1; out 10.0.1.1/192.0.2.1,fd00::2 eth1",
        );
        is(
            &["in/10.0.0.1", "out/10.0.1.1", "in/fd00::1"],
            "10.0.0.1,fd00::1; in 10.0.0.1,fd00::1 ; out 10.0.1.1 eth1",
        );
        assert!(taken(&["10.0.0.1", "10.0.0.2"]).is_err());
        assert!(taken(&["a/10.0.0.1", "a/10.0.0.2"]).is_err());
    }
}
