//! The registered files of a ring: which slot holds which port's socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::io::PortIndex;

/// File descriptors left for the rest of the process when the table is sized.
const SPARE: u64 = 256;

/// A registered file.
pub(super) struct Slot {
    pub(super) port: PortIndex,
    /// Distinguishes the slot's uses: completions of an earlier one are ignored. 24 bits count.
    pub(super) generation: u32,
    /// The peer, if this is the connected socket of its port.
    pub(super) peer: Option<SocketAddr>,
    /// The first completion of its present owner, counted over all of the ring: those before it are of another one.
    pub(super) owned_from: u64,
    /// Its receive is not armed and waits in the list for it.
    waits_for_arm: bool,
    socket: UdpSocket,
}

impl Slot {
    pub(super) const fn new(port: PortIndex, socket: UdpSocket, peer: Option<SocketAddr>) -> Self {
        Self {
            port,
            generation: 0,
            peer,
            owned_from: 0,
            waits_for_arm: true,
            socket,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct PortSlots {
    open: Option<u32>,
    connected: Option<(u32, SocketAddr)>,
}

/// Slots by index, and by port.
pub(super) struct Table {
    slots: Vec<Option<Slot>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    ports: Vec<PortSlots>,
    to_arm: Vec<u32>,
}

impl Table {
    pub(super) fn new(ports: u32, files: u32) -> Self {
        Self {
            slots: (0..files).map(|_| None).collect(),
            generations: vec![0; files as usize],
            free: (0..files).rev().collect(),
            ports: vec![PortSlots::default(); ports as usize],
            to_arm: Vec::with_capacity(64),
        }
    }

    /// Takes a slot in, and has it armed.
    pub(super) fn insert(&mut self, mut slot: Slot) -> io::Result<u32> {
        let Some(port) = self.ports.get_mut(slot.port.index()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "port outside the shard",
            ));
        };
        let Some(index) = self.free.pop() else {
            return Err(io::Error::from_raw_os_error(libc::ENFILE));
        };
        slot.generation = self.generations.get(index as usize).copied().unwrap_or(0);
        match slot.peer {
            Some(peer) => port.connected = Some((index, peer)),
            None => port.open = Some(index),
        }
        if let Some(place) = self.slots.get_mut(index as usize) {
            *place = Some(slot);
        }
        self.to_arm.push(index);
        Ok(index)
    }

    /// Forgets a slot and closes its socket.
    pub(super) fn remove(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        if let Some(port) = self.ports.get_mut(slot.port.index()) {
            if slot.peer.is_some() {
                port.connected = None;
            } else {
                port.open = None;
            }
        }
        if let Some(generation) = self.generations.get_mut(index as usize) {
            *generation = (*generation + 1) & 0xff_ffff;
        }
        self.free.push(index);
    }

    /// Which use of a slot it is.
    pub(super) fn generation(&self, index: u32) -> u32 {
        self.generations.get(index as usize).copied().unwrap_or(0)
    }

    /// The slot, if it is still the use that `generation` names.
    pub(super) fn current(&self, index: u32, generation: u32) -> Option<&Slot> {
        self.slots
            .get(index as usize)?
            .as_ref()
            .filter(|slot| slot.generation == generation)
    }

    pub(super) fn socket(&self, index: u32) -> Option<&UdpSocket> {
        self.slots
            .get(index as usize)?
            .as_ref()
            .map(|slot| &slot.socket)
    }

    /// Gives a slot to another owner, to whom the completions from number `from` on belong.
    pub(super) fn hand_on(&mut self, index: u32, from: u64) {
        if let Some(Some(slot)) = self.slots.get_mut(index as usize) {
            slot.owned_from = from;
        }
    }

    /// The open slot and the connected slot of a port.
    pub(super) fn of_port(&self, port: PortIndex) -> (Option<u32>, Option<u32>) {
        let slots = self.ports.get(port.index()).copied().unwrap_or_default();
        (slots.open, slots.connected.map(|(index, _)| index))
    }

    /// The slot to send to `to` from, and whether it is connected to it.
    pub(super) fn way_out(&self, via: PortIndex, to: SocketAddr) -> Option<(u32, bool)> {
        let slots = self.ports.get(via.index())?;
        match slots.connected {
            Some((index, peer)) if peer == to => Some((index, true)),
            _ => slots.open.map(|index| (index, false)),
        }
    }

    pub(super) fn arm_again(&mut self, index: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(index as usize)
            && !slot.waits_for_arm
        {
            slot.waits_for_arm = true;
            self.to_arm.push(index);
        }
    }

    /// The next slot whose receive has to be armed.
    pub(super) fn next_to_arm(&mut self) -> Option<(u32, &Slot)> {
        while let Some(index) = self.to_arm.pop() {
            // The slot may be gone, or be another by now that was armed already.
            if let Some(Some(slot)) = self.slots.get_mut(index as usize)
                && slot.waits_for_arm
            {
                slot.waits_for_arm = false;
                return self
                    .slots
                    .get(index as usize)?
                    .as_ref()
                    .map(|slot| (index, slot));
            }
        }
        None
    }
}

/// Files to register for `ports` ports: two sockets each, within what the process may open.
pub(super) fn file_limit(ports: u32) -> u32 {
    let wanted = ports.saturating_mul(2).max(2);
    let allowed = crate::limits::open_files().saturating_sub(SPARE);
    u32::try_from(allowed).map_or(wanted, |allowed| wanted.min(allowed.max(2)))
}
