//! The far end of a bench: its packets are counted where they arrive, and go no further.

use aya::{
    maps::{Array, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use ebpf_abi::{program, sink};

use super::{
    SINK, XdpError,
    attach::{self, ProgramGuard},
};

/// A program that counts packets by how long they took, and drops them, for as long as this lives. It counts those that
/// are as [`ebpf_abi::sink`] says.
#[derive(Debug)]
pub struct Sink(ProgramGuard);

impl Sink {
    /// Nanoseconds of a step of [`latencies`](Self::latencies).
    pub const STEP: u64 = sink::NANOSECONDS;

    /// Puts it on `interface`.
    ///
    /// # Errors
    /// As [`Xdp::attach`](super::Xdp::attach).
    pub fn attach(interface: &str) -> Result<Self, XdpError> {
        attach::attach_alone(SINK, program::SINK, interface).map(Self)
    }

    /// Counts from 0 on, and only packets of this run.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn begin(&mut self, run: u8) -> Result<(), XdpError> {
        // First: a run of no number yet, 0, is that of packets that do not count.
        let name = sink::RUN_MAP;
        let map = (self.0.object.map_mut(name)).ok_or(XdpError::NoMap { name })?;
        let mut number = Array::<_, u32>::try_from(map)?;
        number.set(0, u32::from(run), 0)?;
        let cores = nr_cpus().map_err(|(_, error)| MapError::from(error))?;
        let name = sink::LATENCIES_MAP;
        let map = (self.0.object.map_mut(name)).ok_or(XdpError::NoMap { name })?;
        let mut latencies = PerCpuArray::<_, u64>::try_from(map)?;
        for at in 0..sink::LATENCIES {
            let none = PerCpuValues::try_from(vec![0_u64; cores]).map_err(MapError::from)?;
            latencies.set(at, none, 0)?;
        }
        Ok(())
    }

    /// How many packets took how many steps of [`STEP`](Self::STEP); the last are those that took longer.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn latencies(&self) -> Result<Vec<u64>, XdpError> {
        let name = sink::LATENCIES_MAP;
        let map = (self.0.object.map(name)).ok_or(XdpError::NoMap { name })?;
        let latencies = PerCpuArray::<_, u64>::try_from(map)?;
        let sum = |at| {
            let of_cores = latencies.get(&at, 0)?;
            Ok(of_cores.iter().sum())
        };
        (0..sink::LATENCIES).map(sum).collect()
    }
}
