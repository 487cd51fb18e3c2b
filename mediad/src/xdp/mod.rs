//! The XDP datapath: loads the program, attaches it to the media interfaces, and writes its slots.
//!
//! The maps and the attachments are pinned to bpffs, so that established calls keep flowing while
//! mediad restarts; the next process adopts them ([`Xdp::adopted`]). The maps are also mapped into
//! this process's memory: writing a slot or reading a flow is not a system call, and needs no lock,
//! because each port has one owner.
//!
//! ```text
//! /sys/fs/bpf/tandem/NODE/vABI/{SLOTS,FLOWS,NUMBERS,SOURCES,COUNTERS,DEVICES}   the maps
//!                              link-IFINDEX-MODE                                the attachments
//! ```

mod attach;
mod bans;
mod counters;
mod error;
mod owner;
mod pins;
mod sink;
mod sources;
mod tables;
mod takedown;
mod tap;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{DevMapHash, Map, MapData, PerCpuArray},
    programs::{Xdp as Program, links::FdLink},
};
use ebpf_abi::{COUNTERS_LEN, global, map, program};
use tracing::{info, warn};

pub use attach::{ProgramGuard, attach_floor, attach_pass, is_interface, veth_warning};
pub use counters::Counters;
pub use ebpf_abi::{
    Counter, CounterKind, Flow, Hop, Identity, Numbers, Route, Rtp, Slot, SlotError, VlanTag,
    flags, spacing, tick,
};
pub use error::XdpError;
pub use sink::Sink;
pub use tables::{FlowTable, NumbersTable, SlotTable};
pub use takedown::{TakenDown, take_down};
pub use tap::TapRing;

pub(crate) use sources::SourceTable;
pub(crate) use tables::flow_of;

use bans::BanTable;
use pins::Pins;

/// The program, as `build.rs` has built it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tandem-xdp"));
/// The program that the media program is measured against.
static FLOOR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tandem-floor"));

/// The far end of a bench.
static SINK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tandem-sink"));

/// How much longer a frame may become, in octets.
const GROWTH: usize = 28;

/// Where pins are kept, unless told otherwise.
pub const PIN_ROOT: &str = "/sys/fs/bpf/tandem";

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// In the driver, before the kernel makes a packet of the frame.
    Native,
    /// After that, on any driver; slower, and still faster than sockets.
    Generic,
}

impl Mode {
    /// The name in the configuration and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "xdp",
            Self::Generic => "xdp-generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to attach, and where to keep it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interfaces that media comes in and goes out by. Physical ones: the program reads VLAN
    /// tags itself, so not a VLAN device on one of them.
    pub interfaces: Vec<String>,
    /// Where the program shall run.
    pub mode: Mode,
    /// The node's name: nodes on one machine keep their pins apart by it.
    pub node: String,
    /// The folder for pins on a bpffs, [`PIN_ROOT`] as a rule; `None` to pin nothing, so that the
    /// program goes when the process does.
    pub pin_root: Option<PathBuf>,
}

/// An interface with the program on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in this network namespace.
    pub index: u32,
}

/// What became of a frame in [`Xdp::test_run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's verdict, as in `enum xdp_action`.
    pub verdict: u32,
    /// The frame after it.
    pub frame: Vec<u8>,
    /// The mean time of one run.
    pub duration: Duration,
}

/// The loaded program, its maps, and its attachments.
///
/// Dropping it leaves what is pinned in place and running; [`detach`](Self::detach) takes it down.
pub struct Xdp {
    mode: Mode,
    interfaces: Vec<Interface>,
    slots: SlotTable,
    flows: FlowTable,
    numbers: NumbersTable,
    sources: SourceTable,
    counters: PerCpuArray<MapData, [u64; COUNTERS_LEN]>,
    devices: DevMapHash<MapData>,
    bans: BanTable,
    tap: Option<TapRing>,
    pins: Option<Pins>,
    links: Vec<FdLink>,
    object: Ebpf,
}

impl Xdp {
    /// Loads the program and attaches it, or adopts what an earlier process of this node has pinned:
    /// its maps as they are, its attachments with the program replaced in one step.
    ///
    /// # Errors
    /// When the kernel refuses, with what to do about it. What was attached before stays.
    pub fn attach(options: &Options) -> Result<Self, XdpError> {
        attach::raise_memlock();
        let interfaces = attach::find(&options.interfaces)?;
        let pins = match &options.pin_root {
            Some(root) => Pins::open(root, &options.node)?,
            None => None,
        };
        let mut xdp = Self::open(options.mode, pins, true)?;
        for interface in &interfaces {
            xdp.allow_device(interface.index, interface.index)?;
        }
        let links = attach::attach(
            &mut xdp.object,
            &interfaces,
            options.mode,
            xdp.pins.as_ref(),
        )?;
        xdp.links = links;
        if let Some(pins) = &xdp.pins {
            pins.remove_stale(&interfaces, options.mode);
        }
        for interface in &interfaces {
            info!(interface = %interface.name, mode = %options.mode, "XDP program attached");
        }
        xdp.interfaces = interfaces;
        Ok(xdp)
    }

    /// Loads the program without attaching or pinning anything, for [`test_run`](Self::test_run).
    ///
    /// # Errors
    /// When the kernel refuses the program or its maps.
    pub fn load() -> Result<Self, XdpError> {
        attach::raise_memlock();
        Self::open(Mode::Native, None, true)
    }

    /// As [`load`](Self::load), for the bench: the flows have no statistics of RFC 3550, and no times of arrival, to show
    /// what these cost.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_without_statistics() -> Result<Self, XdpError> {
        attach::raise_memlock();
        Self::open(Mode::Native, None, false)
    }

    /// With copies of frames, which kernels before 5.18 cannot make, or else without.
    fn open(mode: Mode, pins: Option<Pins>, measure: bool) -> Result<Self, XdpError> {
        let pins_of = pins.as_ref();
        let opened = match Self::open_with(mode, pins_of, measure, true) {
            Err(XdpError::Program(error)) => {
                let opened = Self::open_with(mode, pins_of, measure, false);
                if opened.is_ok() {
                    warn!(%error, "this kernel (5.18 and later can) copies no frames for the XDP program: calls that \
                        are recorded go by io_uring, and the round-trip time of calls on XDP is not known");
                }
                opened
            }
            opened => opened,
        };
        opened.map(|xdp| Self { pins, ..xdp })
    }

    fn open_with(
        mode: Mode,
        pins: Option<&Pins>,
        measure: bool,
        tapping: bool,
    ) -> Result<Self, XdpError> {
        let mut loader = EbpfLoader::new();
        let (measured, copied) = (u8::from(measure), u8::from(tapping));
        loader.override_global(global::MEASURE, &measured, true);
        loader.override_global(global::TAPPING, &copied, true);
        if let Some(pins) = pins {
            for name in [
                map::SLOTS,
                map::FLOWS,
                map::NUMBERS,
                map::SOURCES,
                map::COUNTERS,
                map::DEVICES,
            ] {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut object = loader.load(OBJECT).map_err(XdpError::load)?;
        let mut take = |name: &'static str| object.take_map(name).ok_or(XdpError::NoMap { name });

        let slots = array(map::SLOTS, take(map::SLOTS)?)?;
        let flows = array(map::FLOWS, take(map::FLOWS)?)?;
        let numbers = array(map::NUMBERS, take(map::NUMBERS)?)?;
        let counters = take(map::COUNTERS)?.try_into()?;
        let devices = take(map::DEVICES)?.try_into()?;
        let slots = SlotTable::new(&slots)?;
        let sources = SourceTable::new(take(map::SOURCES)?, &slots)?;

        let ring = take(map::TAP)?;
        let bans = BanTable::new(&mut object)?;
        // From here on the program keeps its maps, the ring too where nobody reads it.
        media_program(&mut object)?.load()?;
        let tap = tapping.then(|| TapRing::new(ring)).transpose()?;
        Ok(Self {
            mode,
            interfaces: Vec::new(),
            slots,
            sources,
            flows: FlowTable::new(&flows)?,
            numbers: NumbersTable::new(&numbers)?,
            counters,
            devices,
            bans,
            tap,
            pins: None,
            links: Vec::new(),
            object,
        })
    }

    /// Where the program runs.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The interfaces that it is attached to.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The slots. A clone for each shard, which writes those of its own ports only.
    #[must_use]
    pub fn slots(&self) -> SlotTable {
        self.slots.clone()
    }

    /// The flows. A clone for whoever reads them.
    #[must_use]
    pub fn flows(&self) -> FlowTable {
        self.flows.clone()
    }

    /// What RTP leaves with, where a slot asks for it. A clone for each shard, as of the slots.
    #[must_use]
    pub fn numbers(&self) -> NumbersTable {
        self.numbers.clone()
    }

    /// What earlier sources have sent. A clone for each shard.
    pub(crate) fn sources(&self) -> SourceTable {
        self.sources.clone()
    }

    /// The slots that were valid when this process came: calls that kept flowing without it.
    #[must_use]
    pub fn adopted(&self) -> Vec<(u16, Slot)> {
        self.slots.live()
    }

    /// The ring of copies of frames, for the one who reads it; `None` where the kernel cannot fill it, and when it was
    /// taken.
    #[must_use]
    pub const fn take_tap(&mut self) -> Option<TapRing> {
        self.tap.take()
    }

    /// What the program has counted since its maps were made, over all CPUs.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn counters(&self) -> Result<Counters, XdpError> {
        let per_cpu = self.counters.get(&0, 0)?;
        Ok(Counters::sum(per_cpu.iter()))
    }

    /// Lets slots whose [`Hop::ifindex`] is `key` send from the interface `index`. For those that
    /// the program is attached to, [`attach`](Self::attach) has done it.
    ///
    /// # Errors
    /// When there is no such interface, or the map is full.
    pub fn allow_device(&mut self, key: u32, index: u32) -> Result<(), XdpError> {
        self.devices
            .insert(key, index, None, 0)
            .map_err(|error| XdpError::Device { index, error })
    }

    /// Bans sources from the SIP ports. `now` is CLOCK_MONOTONIC. How many could not be banned because
    /// the tables are full.
    ///
    /// # Errors
    /// When the kernel refuses to write a map.
    pub fn ban(&mut self, now: Duration, bans: &control::media::Bans) -> Result<u32, XdpError> {
        self.bans.apply(now, bans)
    }

    /// Frees the places of bans that are over; how many are left.
    ///
    /// # Errors
    /// When the kernel refuses to write a map.
    pub fn sweep_bans(&mut self, now: Duration) -> Result<u32, XdpError> {
        self.bans.sweep(now)
    }

    /// Runs the program on `frame` as if it had come in by the loopback interface, `repeat` times,
    /// and gives the outcome of the last run. Nothing is sent.
    ///
    /// # Errors
    /// When the kernel refuses the frame: it wants at least an Ethernet header.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<TestRun, XdpError> {
        run(&self.object, program::MEDIA, frame, repeat)
    }

    /// Whether it goes on when this process is gone.
    #[must_use]
    pub const fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Takes the program off its interfaces and removes the pins: the end of a node, not a restart.
    ///
    /// # Errors
    /// When a pin could not be removed; the rest is removed even so.
    pub fn detach(mut self) -> Result<(), XdpError> {
        // An attachment lasts as long as its pin or its last descriptor.
        self.links.clear();
        match self.pins.take() {
            Some(pins) => pins.remove(),
            None => Ok(()),
        }
    }
}

/// What only root may do, for a process that is about to become another user's: lifts the limit on locked memory, and
/// gives that user (and group) the folder of the node's pins.
///
/// # Errors
/// When there is no bpffs, or its folders cannot be given away.
pub fn prepare(node: &str, owner: (u32, u32)) -> io::Result<()> {
    attach::raise_memlock();
    owner::give(Path::new(PIN_ROOT), node, owner)
}

impl fmt::Debug for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xdp")
            .field("mode", &self.mode)
            .field("interfaces", &self.interfaces)
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}

/// The cheapest program that could relay, for comparison (see [`ebpf_abi::program::FLOOR`]).
#[derive(Debug)]
pub struct Floor {
    object: Ebpf,
}

impl Floor {
    /// Loads it.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load() -> Result<Self, XdpError> {
        attach::raise_memlock();
        let mut object = EbpfLoader::new().load(FLOOR).map_err(XdpError::load)?;
        program_of(&mut object, program::FLOOR)?.load()?;
        Ok(Self { object })
    }

    /// As [`Xdp::test_run`].
    ///
    /// # Errors
    /// As [`Xdp::test_run`].
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<TestRun, XdpError> {
        run(&self.object, program::FLOOR, frame, repeat)
    }
}

fn array(name: &'static str, map: Map) -> Result<MapData, XdpError> {
    match map {
        Map::Array(map) => Ok(map),
        _ => Err(XdpError::NoMap { name }),
    }
}

fn media_program(object: &mut Ebpf) -> Result<&mut Program, XdpError> {
    program_of(object, program::MEDIA)
}

fn program_of<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, XdpError> {
    let program = object
        .program_mut(name)
        .ok_or(XdpError::NoProgram { name })?;
    Ok(program.try_into()?)
}

fn run(object: &Ebpf, name: &'static str, frame: &[u8], repeat: u32) -> Result<TestRun, XdpError> {
    let program = object.program(name).ok_or(XdpError::NoProgram { name })?;
    let program: &Program = program.try_into()?;
    // A frame may leave longer: IPv6's header in place of IPv4's, two VLAN tags more.
    let mut out = vec![0; frame.len() + GROWTH];
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        repeat,
        ..TestRunOptions::new()
    })?;
    out.truncate(result.data_size_out as usize);
    Ok(TestRun {
        verdict: result.return_value,
        frame: out,
        duration: result.duration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_loads_where_the_kernel_cannot_copy() {
        attach::raise_memlock();
        match Xdp::open_with(Mode::Native, None, true, false) {
            // Not as root.
            Err(XdpError::Permission(_)) => {}
            opened => assert!(opened.unwrap().take_tap().is_none()),
        }
    }
}
