//! The provided buffer ring: where the kernel puts what multishot receives bring.

#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Buffers of a shard: twice what arrives in 10 ms at 100,000 packets a second. When they run out,
/// packets wait in their sockets.
pub(super) const COUNT: u16 = 2048;
/// Octets of a buffer: the `recvmsg` header and address, then the packet.
pub(super) const BUFFER_LEN: usize = 2048;

/// A ring of [`COUNT`] buffers, known to the kernel by its group number.
pub(super) struct Buffers {
    /// One mapping: first the ring's entries, then the buffers.
    base: NonNull<u8>,
    len: usize,
    tail: u16,
    group: u16,
}

const ENTRIES_LEN: usize = COUNT as usize * size_of::<BufRingEntry>();

impl Buffers {
    /// Maps the memory, registers the ring as `group` and gives the kernel every buffer.
    pub(super) fn register(submitter: &Submitter<'_>, group: u16) -> io::Result<Self> {
        let len = ENTRIES_LEN + usize::from(COUNT) * BUFFER_LEN;
        // SAFETY: an anonymous mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let mut buffers = Self {
            base,
            len,
            tail: 0,
            group,
        };
        // SAFETY: the mapping starts page-aligned with room for COUNT entries, and lives until
        // `Buffers` is dropped, which its owner does after the ring.
        unsafe {
            submitter.register_buf_ring_with_flags(base.as_ptr() as u64, COUNT, group, 0)?;
        }
        for id in 0..COUNT {
            buffers.give(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    pub(super) const fn group(&self) -> u16 {
        self.group
    }

    /// Puts a buffer back; the kernel sees it after [`publish`](Self::publish).
    pub(super) fn give(&mut self, id: u16) {
        debug_assert!(id < COUNT);
        let slot = usize::from(self.tail & (COUNT - 1));
        let address = self.data(id) as u64;
        // SAFETY: `slot` is below COUNT, so the entry lies in the mapping; the kernel does not read
        // it before the tail moves past it. The tail itself shares the first entry's last field,
        // which the setters below leave alone.
        let entry = unsafe { &mut *self.base.as_ptr().cast::<BufRingEntry>().add(slot) };
        entry.set_addr(address);
        #[expect(clippy::cast_possible_truncation, reason = "2048")]
        entry.set_len(BUFFER_LEN as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see the buffers given back.
    pub(super) fn publish(&self) {
        // SAFETY: the ring's base is valid; the tail is a 16-bit field that only this side writes.
        unsafe {
            let tail = BufRingEntry::tail(self.base.as_ptr().cast());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
    }

    /// The contents of a buffer that the kernel has handed over.
    ///
    /// # Safety
    /// `id` must come from a completion and not have been given back since, and no other reference
    /// to its contents may be alive.
    pub(super) unsafe fn contents(&mut self, id: u16, len: usize) -> &mut [u8] {
        let len = len.min(BUFFER_LEN);
        // SAFETY: the buffer lies in the mapping and is initialised (anonymous pages are zero); that
        // it is this side's alone is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data(id), len) }
    }

    fn data(&self, id: u16) -> *mut u8 {
        let offset = ENTRIES_LEN + usize::from(id & (COUNT - 1)) * BUFFER_LEN;
        // SAFETY: the masked id is below COUNT, so the offset lies in the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `register` with this length. The ring that used it is
        // gone (see the field order of its owner).
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.len);
        }
    }
}
