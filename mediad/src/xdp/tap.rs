//! The ring in which the program leaves copies of frames.
#![expect(unsafe_code, reason = "poll has no safe face in std")]

use std::{
    fmt,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use aya::maps::{Map, MapData, RingBuf};
use ebpf_abi::{TapHead, map};

use super::XdpError;

/// The reader's end. There is one; a ring that nobody reads fills up, and then costs its copies.
pub struct TapRing(RingBuf<MapData>);

impl TapRing {
    pub(super) fn new(ring: Map) -> Result<Self, XdpError> {
        let Map::RingBuf(_) = &ring else {
            return Err(XdpError::NoMap { name: map::TAP });
        };
        Ok(Self(ring.try_into()?))
    }

    /// Hands the next copy to `take`: its head and the frame, as far as it was copied. `false` where there is none now.
    pub fn next(&mut self, take: impl FnOnce(&TapHead, &[u8])) -> bool {
        let Some(entry) = self.0.next() else {
            return false;
        };
        if let Some((head, frame)) = TapHead::split(&entry) {
            take(&head, frame);
        }
        true
    }

    /// Waits until there is a copy, or `other` can be read, or the time is over.
    pub fn wait(&self, other: BorrowedFd<'_>, timeout: Duration) {
        let mut fds = [self.0.as_raw_fd(), other.as_raw_fd()].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `fds` is two valid entries with open descriptors. What poll answers does not matter: whoever waits
        // looks for itself.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout) };
    }
}

impl fmt::Debug for TapRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapRing").finish_non_exhaustive()
    }
}
