//! What went over a wire, recorded by tcpdump and judged here.
//!
//! Loss is measured at the ends, outside of Tandem: a packet counts as received where the very same
//! bytes were recorded at the other party.

pub mod delivery;
pub mod frame;
pub mod pcap;
pub mod sip;
pub mod traffic;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    bed::Namespace,
    process::{Interrupt, Process, ProcessError, Signal, Tool},
};

pub use delivery::Delivery;
pub use traffic::Traffic;

/// The kernel's buffer for a capture, in KiB: some ten seconds of a hundred calls.
const BUFFER: &str = "32768";

/// What can go wrong with a capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// tcpdump failed; without root it has no right to capture.
    #[error(transparent)]
    Program(#[from] ProcessError),
    /// tcpdump did not begin.
    #[error("tcpdump on {interface} did not begin: {output}")]
    NotListening {
        /// The link.
        interface: String,
        /// What tcpdump said.
        output: String,
    },
    /// The kernel dropped frames before tcpdump took them: what the capture says cannot be trusted.
    #[error(
        "the capture on {interface} missed {frames} frames: this machine is too busy to measure"
    )]
    Incomplete {
        /// The link.
        interface: String,
        /// How many are missing.
        frames: u64,
    },
    /// The file cannot be read.
    #[error("cannot read the capture: {0}")]
    Read(#[from] std::io::Error),
    /// The file is not whole.
    #[error(transparent)]
    File(#[from] pcap::PcapError),
}

/// A running capture of all UDP and TCP on one link.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    interface: String,
    file: PathBuf,
}

impl Capture {
    /// Starts one and returns once frames are recorded: on `interface` of `space`, or of this
    /// process's own namespace, where `net` says whose packets are of interest. The file is made in
    /// `folder`, with `name`.
    pub fn start(
        space: Option<&Namespace>,
        interface: &str,
        net: Option<&str>,
        folder: &Path,
        name: &str,
    ) -> Result<Self, CaptureError> {
        Tool::require(&[Tool::TCPDUMP])?;
        let file = folder.join(name).with_extension("pcap");
        let mut command = match space {
            Some(space) => space.command("tcpdump"),
            None => Tool::TCPDUMP.command(),
        };
        arguments(&mut command, interface, net, &file);
        let process = Process::start(&mut command, &folder.join(name).with_extension("log"))?;
        let mut capture = Self {
            process,
            interface: interface.to_owned(),
            file,
        };
        capture.await_listening()?;
        Ok(capture)
    }

    /// Ends it and returns the file, complete.
    pub fn finish(mut self) -> Result<PathBuf, CaptureError> {
        // Frames of the last moment are still on their way to tcpdump.
        std::thread::sleep(Duration::from_millis(300));
        self.process.stop(Signal::INT, Duration::from_secs(10))?;
        match dropped(&self.process.output()) {
            Some(0) => Ok(self.file),
            Some(frames) => Err(CaptureError::Incomplete {
                interface: self.interface,
                frames,
            }),
            None => Err(self.not_listening()),
        }
    }

    fn await_listening(&mut self) -> Result<(), CaptureError> {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && self.process.ended().is_none() {
            if self.process.output().contains("listening on") {
                return Ok(());
            }
            Interrupt::default().sleep(Duration::from_millis(20))?;
        }
        Err(self.not_listening())
    }

    fn not_listening(&self) -> CaptureError {
        CaptureError::NotListening {
            interface: self.interface.clone(),
            output: self.process.output().trim().to_owned(),
        }
    }
}

fn arguments(command: &mut Command, interface: &str, net: Option<&str>, file: &Path) {
    command.args(["-n", "-p", "-s", "0", "-B", BUFFER, "-i", interface]);
    if rustix::process::geteuid().is_root() {
        // Otherwise it becomes another user first, who may not write into our folder.
        command.args(["-Z", "root"]);
    }
    command.arg("-w").arg(file);
    match net {
        Some(net) => command.arg(format!("net {net} and (udp or tcp)")),
        // Tagged frames do not match plain "udp".
        None => command.arg("udp or tcp or (vlan and (udp or tcp))"),
    };
}

/// The count in tcpdump's last words, "… packets dropped by kernel".
fn dropped(output: &str) -> Option<u64> {
    let line = output
        .lines()
        .find(|line| line.contains("dropped by kernel"))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_missed_frames() {
        let output = "tcpdump: listening on eth0\n12 packets captured\n\
            14 packets received by filter\n3 packets dropped by kernel\n";
        assert_eq!(dropped(output), Some(3));
        assert_eq!(dropped("tcpdump: eth9: No such device exists\n"), None);
    }
}
