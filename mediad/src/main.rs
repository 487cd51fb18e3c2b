//! The media engine on its own, for a node whose signaling runs in another process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use control::config::{
    Config, DatapathMode, InterfaceArg, Media, MediaInterface, NgListen, PortRange,
};
use control::{Endpoint, logging};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Relays RTP and RTCP for a Tandem node.
#[derive(Debug, Parser)]
#[command(version)]
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
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let _log = logging::init("info");
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A configuration may be wrong in several places.
            for line in error.to_string().lines() {
                error!("{line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(flags: Flags) -> Result<(), Box<dyn std::error::Error>> {
    let config = configuration(flags)?;
    // Packets are the shards' business; control, metrics and netlink need little.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
        });
        Ok(mediad::run(&config, None, shutdown).await?)
    })
}

fn configuration(flags: Flags) -> Result<Config, Box<dyn std::error::Error>> {
    let loaded = match &flags.config {
        Some(path) => Config::load(path)?,
        None => Config::parse("", std::env::vars())?,
    };
    // Warnings about trunks and listeners are for signaling and api to give.
    let mut config = loaded.config;
    let media = &mut config.media;
    take_addresses(media, flags.address)?;
    replace(&mut media.ports, flags.ports);
    replace(&mut media.interface, flags.interface);
    replace(&mut media.datapath, flags.datapath);
    replace(&mut media.shards, flags.shards);
    if !flags.ng.is_empty() {
        media.ng = flags.ng;
    }
    media.metrics = flags.metrics.or(media.metrics);
    if flags.control.is_some() {
        media.control = flags.control;
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
