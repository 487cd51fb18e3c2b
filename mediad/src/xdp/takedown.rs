//! Taking down what a process that is gone has left.

use std::{collections::HashSet, path::Path, time::Duration};

use aya::maps::MapData;
use ebpf_abi::map;

use super::{FlowTable, SlotTable, XdpError, pins::Pins};

/// A call of which a packet came in this time flows.
const FLOWS: Duration = Duration::from_secs(10);

/// What was there to take down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenDown {
    /// Interfaces that the program was on.
    pub interfaces: usize,
}

/// Takes the program of `node` off all interfaces and removes its pins, of whatever version of Tandem. `None` where
/// nothing was left. For when no mediad of this node runs.
///
/// # Errors
/// [`XdpError::Runs`] where a process of the node lives; [`XdpError::InUse`] where calls still flow, and
/// [`XdpError::OtherVersion`] where that cannot be told, unless it is to be forced; and when the kernel refuses.
pub fn take_down(root: &Path, node: &str, force: bool) -> Result<Option<TakenDown>, XdpError> {
    let Some(pins) = Pins::existing(root, node)? else {
        return Ok(None);
    };
    if pins.is_in_use() {
        return Err(XdpError::Runs);
    }
    if !force {
        if pins.has_others() {
            return Err(XdpError::OtherVersion);
        }
        match flowing(&pins)? {
            0 => {}
            sessions => return Err(XdpError::InUse { sessions }),
        }
    }
    let interfaces = pins.attachments();
    pins.remove()?;
    Ok(Some(TakenDown { interfaces }))
}

/// Sessions of which packets come, by the maps of this version.
fn flowing(pins: &Pins) -> Result<usize, XdpError> {
    if !pins.map(map::SLOTS).exists() || !pins.map(map::FLOWS).exists() {
        return Ok(0);
    }
    let slots = SlotTable::new(&MapData::from_pin(pins.map(map::SLOTS))?)?;
    let flows = FlowTable::new(&MapData::from_pin(pins.map(map::FLOWS))?)?;
    let now = Duration::from_nanos(crate::io::monotonic_ns());
    let is_fresh = |port| {
        let last = Duration::from_nanos(flows.read(port).last_arrival);
        now.saturating_sub(last) < FLOWS
    };
    let live = slots.live().into_iter();
    let fresh = live.filter(|(port, _)| is_fresh(*port));
    let sessions: HashSet<_> = fresh.map(|(_, slot)| slot.identity().session).collect();
    Ok(sessions.len())
}
