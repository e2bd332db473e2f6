#![forbid(unsafe_code)]
//! A byte buffer that starts at a block boundary, as O_DIRECT wants its memory and rkyv its archives.
//!
//! It needs no unsafe: a vector one block longer than asked for always holds an aligned start, and the heap block of
//! a vector does not move unless the vector grows, which this one never does in place.
//!
//! From [`MAPPED_BYTES_MIN`] on the memory is a mapping of its own instead. Recovery holds whole segments for a moment;
//! the allocator would keep their pages for what is allocated next, in a server that then allocates nothing as large.

use std::fmt;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// The physical block, bytes. Batches are padded to it: a smaller unit could tear bytes that were acknowledged before
/// (DESIGN §5).
pub const BLOCK_BYTES: usize = 4096;

const _: () = assert!(BLOCK_BYTES.is_power_of_two());

/// Buffers of this size, bytes, and larger ones give their pages back to the system the moment they end.
pub const MAPPED_BYTES_MIN: usize = 4 << 20;

/// `length` rounded up to whole blocks.
pub const fn padded(length: usize) -> usize {
    length.next_multiple_of(BLOCK_BYTES)
}

/// Bytes whose address is a multiple of [`BLOCK_BYTES`]. Dereferences to its filled part.
pub struct AlignedBuf {
    memory: Memory,
    len: usize,
}

enum Memory {
    /// One block more than the capacity, and where in it the aligned part begins.
    Heap { bytes: Vec<u8>, start: usize },
    /// As long as the capacity; pages are at least as large as blocks.
    Mapped(MmapMut),
}

impl Memory {
    fn new(capacity: usize) -> Memory {
        let bytes = padded(capacity);
        if bytes >= MAPPED_BYTES_MIN
            && let Ok(mapping) = MmapMut::map_anon(bytes)
        {
            return Memory::Mapped(mapping);
        }
        let bytes = vec![0; bytes + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "an aligned start lies within the first block");
        Memory::Heap { bytes, start }
    }
}

impl AlignedBuf {
    /// An empty buffer that takes `capacity` bytes, rounded up to whole blocks, before it grows.
    pub fn with_capacity(capacity: usize) -> AlignedBuf {
        AlignedBuf { memory: Memory::new(capacity), len: 0 }
    }

    /// A buffer of `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let mut buffer = AlignedBuf::with_capacity(len);
        buffer.len = len;
        buffer
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> AlignedBuf {
        let mut buffer = AlignedBuf::with_capacity(bytes.len());
        buffer.extend(bytes);
        buffer
    }

    /// Bytes it takes before it grows.
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Heap { bytes, .. } => bytes.len() - BLOCK_BYTES,
            Memory::Mapped(mapping) => mapping.len(),
        }
    }

    /// Appends `more`; grows by doubling.
    pub fn extend(&mut self, more: &[u8]) {
        let at = self.len;
        self.reserve(more.len());
        self.len += more.len();
        self[at..].copy_from_slice(more);
    }

    /// Fills with zeros up to the next block boundary.
    pub fn pad(&mut self) {
        let len = padded(self.len);
        self.resize(len);
    }

    /// Shortens to `len`, or lengthens with zeros.
    pub fn resize(&mut self, len: usize) {
        let at = self.len;
        self.reserve(len.saturating_sub(at));
        self.len = len;
        if len > at {
            // A reused buffer holds old bytes there.
            self[at..].fill(0);
        }
    }

    /// Forgets the contents, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    fn reserve(&mut self, more: usize) {
        if self.len + more <= self.capacity() {
            return;
        }
        let mut larger = AlignedBuf::with_capacity((self.len + more).max(2 * self.capacity()));
        larger.len = self.len;
        larger.copy_from_slice(self);
        *self = larger;
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap { bytes, start } => &bytes[*start..*start + self.len],
            Memory::Mapped(mapping) => &mapping[..self.len],
        }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Heap { bytes, start } => &mut bytes[*start..*start + self.len],
            Memory::Mapped(mapping) => &mut mapping[..self.len],
        }
    }
}

impl Default for AlignedBuf {
    fn default() -> AlignedBuf {
        AlignedBuf::with_capacity(0)
    }
}

impl Clone for AlignedBuf {
    /// Copies into memory with an aligned start of its own.
    fn clone(&self) -> AlignedBuf {
        AlignedBuf::copy_of(self)
    }
}

impl PartialEq for AlignedBuf {
    fn eq(&self, other: &AlignedBuf) -> bool {
        **self == **other
    }
}

impl Eq for AlignedBuf {}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_while_it_grows_moves_and_is_cloned() {
        let mut buffer = AlignedBuf::default();
        let mut expected = Vec::new();
        for i in 0..10_000_u32 {
            buffer.extend(&i.to_le_bytes());
            expected.extend(i.to_le_bytes());
            assert_eq!(buffer.as_ptr().align_offset(BLOCK_BYTES), 0);
        }
        let moved = Box::new(buffer);
        assert_eq!(moved.as_ptr().align_offset(BLOCK_BYTES), 0);
        assert_eq!(moved.clone().as_ptr().align_offset(BLOCK_BYTES), 0);
        assert_eq!(**moved.clone(), *expected);
    }

    #[test]
    fn a_large_buffer_is_a_mapping_of_its_own_and_keeps_what_it_held_before_it_grew() {
        let mut buffer = AlignedBuf::copy_of(&[7; MAPPED_BYTES_MIN - BLOCK_BYTES]);
        assert!(matches!(buffer.memory, Memory::Heap { .. }));
        buffer.resize(MAPPED_BYTES_MIN);
        assert!(matches!(buffer.memory, Memory::Mapped(_)));
        assert_eq!(buffer.as_ptr().align_offset(BLOCK_BYTES), 0);
        assert!(buffer.capacity() >= MAPPED_BYTES_MIN);
        let (before, after) = buffer.split_at(MAPPED_BYTES_MIN - BLOCK_BYTES);
        assert!(before.iter().all(|&b| b == 7) && after.iter().all(|&b| b == 0));
        buffer.extend(b"abc");
        assert_eq!(buffer[MAPPED_BYTES_MIN..], *b"abc");
        assert_eq!(buffer.clone(), buffer);
    }

    #[test]
    fn padding_of_a_reused_buffer_is_zero() {
        let mut buffer = AlignedBuf::copy_of(&[0xff; 3 * BLOCK_BYTES]);
        buffer.clear();
        buffer.extend(b"abc");
        buffer.pad();
        assert_eq!(buffer.len(), BLOCK_BYTES);
        assert!(buffer[3..].iter().all(|&b| b == 0));
    }
}
