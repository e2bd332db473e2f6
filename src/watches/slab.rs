#![forbid(unsafe_code)]
//! Values at small stable numbers: links between records are 4 bytes, and a listing can stop at a number and go on from
//! there after the table changed.

/// Slots of one chunk. Chunks never move: growing copies nothing but their pointers.
const CHUNK: usize = 1024;

/// A vector with holes, filled again before it grows.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Slot<T>>>,
    first_free: u32,
    len: usize,
}

#[derive(Clone, Debug)]
enum Slot<T> {
    Full(T),
    /// The next free slot.
    Free(u32),
}

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { chunks: Vec::new(), first_free: NIL, len: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let at = self.first_free;
        if at == NIL {
            return self.push(value);
        }
        match std::mem::replace(self.slot_mut(at), Slot::Full(value)) {
            Slot::Free(next) => self.first_free = next,
            Slot::Full(_) => unreachable!("slot {at} is on the free list"),
        }
        at
    }

    pub(super) fn remove(&mut self, at: u32) -> T {
        let free = Slot::Free(self.first_free);
        match std::mem::replace(self.slot_mut(at), free) {
            Slot::Full(value) => {
                self.first_free = at;
                self.len -= 1;
                value
            }
            Slot::Free(_) => unreachable!("slot {at} was freed before"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Full slots from number `from` on.
    pub(super) fn iter_from(&self, from: u32) -> impl Iterator<Item = (u32, &T)> {
        let (first, skipped) = (from as usize / CHUNK, from as usize % CHUNK);
        let chunks = self.chunks.iter().enumerate().skip(first);
        chunks.flat_map(move |(n, chunk)| {
            let start = if n == first { skipped.min(chunk.len()) } else { 0 };
            chunk[start..].iter().zip((n * CHUNK + start) as u32..).filter_map(|(slot, at)| match slot {
                Slot::Full(value) => Some((at, value)),
                Slot::Free(_) => None,
            })
        })
    }

    fn push(&mut self, value: T) -> u32 {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            // The first chunk starts small: most tables of a quiet server stay so.
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let number = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last_mut().expect("one was just pushed");
        last.push(Slot::Full(value));
        let at = number + last.len() - 1;
        u32::try_from(at).ok().filter(|&at| at != NIL).expect("records are capped far below four billion")
    }

    fn slot(&self, at: u32) -> &Slot<T> {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot<T> {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        match self.slot(at) {
            Slot::Full(value) => value,
            Slot::Free(_) => unreachable!("slot {at} is free"),
        }
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        match self.slot_mut(at) {
            Slot::Full(value) => value,
            Slot::Free(_) => unreachable!("slot {at} is free"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_slots_are_used_again_and_listings_skip_them() {
        let mut slab = Slab::default();
        let at: Vec<u32> = (0..4).map(|n| slab.insert(n * 10)).collect();
        assert_eq!((slab.remove(at[1]), slab.remove(at[2]), slab.len()), (10, 20, 2));
        assert_eq!(slab.iter_from(0).collect::<Vec<_>>(), vec![(0, &0), (3, &30)]);
        assert_eq!(slab.iter_from(1).next(), Some((3, &30)));
        assert_eq!(slab.iter_from(99).next(), None);
        assert_eq!((slab.insert(1), slab.insert(2), slab.insert(3)), (2, 1, 4));
        slab[1] += 5;
        assert_eq!((slab[1], slab.len()), (7, 5));
    }

    #[test]
    fn numbers_and_listings_go_on_across_chunks() {
        let mut slab = Slab::default();
        let many = 3 * CHUNK as u32 + 7;
        for n in 0..many {
            assert_eq!(slab.insert(n), n);
        }
        for from in [0, 1, CHUNK as u32 - 1, CHUNK as u32, CHUNK as u32 + 1, many - 1, many, many + 5000] {
            assert!(slab.iter_from(from).map(|(at, _)| at).eq(from..many.max(from)), "from {from}");
        }
        assert!((0..many).all(|n| slab[n] == n));
    }
}
