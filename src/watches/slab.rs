#![forbid(unsafe_code)]
//! Values at small stable numbers: links between records are 4 bytes, and a listing can stop at a number and go on from
//! there after the table changed.

/// A vector with holes, filled again before it grows.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
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
        Slab { slots: Vec::new(), first_free: NIL, len: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let at = self.first_free;
        if at == NIL {
            self.slots.push(Slot::Full(value));
            return u32::try_from(self.slots.len() - 1).expect("records are capped far below four billion");
        }
        match std::mem::replace(&mut self.slots[at as usize], Slot::Full(value)) {
            Slot::Free(next) => self.first_free = next,
            Slot::Full(_) => unreachable!("slot {at} is on the free list"),
        }
        at
    }

    pub(super) fn remove(&mut self, at: u32) -> T {
        match std::mem::replace(&mut self.slots[at as usize], Slot::Free(self.first_free)) {
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
        let from = (from as usize).min(self.slots.len());
        self.slots[from..].iter().zip(from as u32..).filter_map(|(slot, at)| match slot {
            Slot::Full(value) => Some((at, value)),
            Slot::Free(_) => None,
        })
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        match &self.slots[at as usize] {
            Slot::Full(value) => value,
            Slot::Free(_) => unreachable!("slot {at} is free"),
        }
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        match &mut self.slots[at as usize] {
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
}
