//! Wakes a shard that waits for packets, from any thread.

#![expect(unsafe_code, reason = "eventfd has no safe wrapper in std")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An eventfd: one end in the shard's ring, clones of it with whoever sends commands.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    /// It was used and the shard has not seen that yet: once more says nothing new.
    is_pending: AtomicBool,
}

impl Waker {
    /// Makes one.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(Arc::new(Inner {
            fd,
            is_pending: AtomicBool::new(false),
        })))
    }

    /// Wakes the shard; if it is awake, its next turn returns at once. What was done before is seen by the shard when it
    /// has cleared the wake-up. Costs a system call only where nobody has woken it since.
    pub fn wake(&self) {
        if self.0.is_pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is 8 readable octets, which is what an eventfd takes. It can only fail when
        // the counter is full, and then the shard is being woken anyway.
        unsafe {
            libc::write(self.as_raw_fd(), one.as_ptr().cast(), one.len());
        }
    }

    /// Takes the pending wake-ups.
    pub(crate) fn clear(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: `count` is 8 writable octets, which is what an eventfd gives.
        unsafe {
            libc::read(self.as_raw_fd(), count.as_mut_ptr().cast(), count.len());
        }
        // After the read: who comes in between finds it pending, and what he has to say is read after this.
        self.0.is_pending.swap(false, Ordering::AcqRel);
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}
