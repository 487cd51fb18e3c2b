//! Reads and writes of packet bytes at places whose bounds have been checked.

use aya_ebpf::programs::XdpContext;

/// A frame of at least some length. All offsets are constants, so that every access compiles to one
/// instruction and the verifier sees its bounds.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// The frame that the program was called for.
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self {
            start: context.data(),
            end: context.data_end(),
        }
    }

    /// Whether the frame has `len` bytes. Only then may they be read or written.
    #[inline(always)]
    pub fn has(self, len: usize) -> bool {
        self.start + len <= self.end
    }

    /// The frame's length.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// The value at `offset`, in memory order.
    ///
    /// # Safety
    /// [`has`](Self::has) has said that the bytes are there.
    #[inline(always)]
    pub unsafe fn read<T: Copy>(self, offset: usize) -> T {
        let at = (self.start + offset) as *const T;
        // SAFETY: within the frame by the caller's word; any bytes are a valid integer. The
        // verifier refuses the program where this does not hold.
        unsafe { at.read_unaligned() }
    }

    /// As [`read`](Self::read), of a 16-bit word in network order.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    #[inline(always)]
    pub unsafe fn read_be16(self, offset: usize) -> u16 {
        // SAFETY: by the caller's word.
        u16::from_be(unsafe { self.read(offset) })
    }

    /// As [`read`](Self::read), of a 32-bit word in network order.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    #[inline(always)]
    pub unsafe fn read_be32(self, offset: usize) -> u32 {
        // SAFETY: by the caller's word.
        u32::from_be(unsafe { self.read(offset) })
    }

    /// Writes `value` at `offset`, in memory order.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    #[inline(always)]
    pub unsafe fn write<T: Copy>(self, offset: usize, value: T) {
        let at = (self.start + offset) as *mut T;
        // SAFETY: as for `read`; the program alone has the frame while it runs.
        unsafe { at.write_unaligned(value) }
    }
}
