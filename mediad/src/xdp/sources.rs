//! What earlier sources of the ports have sent, kept where the next process finds it.

use std::sync::{Arc, Mutex, PoisonError};

use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use ebpf_abi::Sources;
use tracing::warn;

use super::{SlotTable, XdpError, bans::absent};

/// As the kernel has it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Entry(Sources);

#[expect(unsafe_code, reason = "what aya writes to a map must be plain bytes")]
// SAFETY: integers without padding between them (their sizes add up), of which any bytes are a value.
unsafe impl Pod for Entry {}

/// The table. Shards share it; none asks for it on a packet's way, and most calls have no entry.
#[derive(Clone)]
pub(crate) struct SourceTable(Arc<Mutex<HashMap<MapData, u32, Entry>>>);

impl SourceTable {
    /// Forgets what is of ports that `slots` does not forward: nobody will ask for it.
    pub(super) fn new(map: Map, slots: &SlotTable) -> Result<Self, XdpError> {
        let mut table: HashMap<_, u32, Entry> = map.try_into()?;
        let is_live = |port: u32| {
            let slot = u16::try_from(port).ok().and_then(|port| slots.read(port));
            slot.is_some_and(|slot| slot.is_forwarding())
        };
        let left: Vec<u32> = table
            .keys()
            .filter_map(Result::ok)
            .filter(|port| !is_live(*port))
            .collect();
        for port in left {
            absent(table.remove(&port))?;
        }
        Ok(Self(Arc::new(Mutex::new(table))))
    }

    /// What is known of a port, if there is anything.
    pub(crate) fn read(&self, port: u16) -> Option<Box<Sources>> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry(sources) = table.get(&u32::from(port), 0).ok()?;
        Some(Box::new(sources))
    }

    /// Keeps what is known of a port.
    pub(crate) fn write(&self, port: u16, sources: &Sources) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = table.insert(u32::from(port), Entry(*sources), 0) {
            warn!(port, %error, "what earlier sources have sent would not outlive this process");
        }
    }

    /// Forgets it.
    pub(crate) fn remove(&self, port: u16) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = absent(table.remove(&u32::from(port))) {
            warn!(port, %error, "what a session's sources have sent cannot be forgotten");
        }
    }
}

impl std::fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceTable").finish_non_exhaustive()
    }
}
