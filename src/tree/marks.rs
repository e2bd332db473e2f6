#![forbid(unsafe_code)]
//! Which walks have a node: a word in each node, a lane for snapshots and one for each image that may be on its way.
//!
//! ```text
//! bits 0-15            snapshots: the number of the last one that has the node, in an order that wraps
//! bits 16-19 .. 28-31  images, by lane: 2k-1 while the k-th of this lane has a copy of the node that was not given out
//!                      yet, 2k once it was; it wraps
//! ```
//!
//! A snapshot that was given up leaves numbers behind, and a node that 32,767 of them in a row did not reach would look
//! as if it had been reached; each of them takes thousands of txns. The lane of an image is used again only when every
//! node has its last number (`image.rs`), so that four bits are plenty.
//!
//! Lives on: the words on the sequencer and wherever a walker is.

use super::node::Node;
use super::reclaim::At;

/// Images that may be on their way at once.
pub(super) const IMAGE_LANES: usize = crate::base::limits::IMAGES_SENT_MAX;

const _: () = assert!(16 + 4 * IMAGE_LANES <= 32, "the word has no room for more");

/// A number in a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    shift: u32,
    bits: u32,
    number: u32,
}

impl Mark {
    /// The newest snapshot's in `word`.
    pub(super) fn snapshot(word: u32) -> Mark {
        Mark { shift: 0, bits: 16, number: word & 0xffff }
    }

    /// The newest of the lane of images in `word`.
    pub(super) fn image(lane: usize, word: u32) -> Mark {
        assert!(lane < IMAGE_LANES);
        let shift = 16 + 4 * lane as u32;
        Mark { shift, bits: 4, number: word >> shift & 0xf }
    }

    fn mask(self) -> u32 {
        (1 << self.bits) - 1
    }

    /// The number after this one.
    pub(super) fn next(self) -> Mark {
        Mark { number: self.number.wrapping_add(1) & self.mask(), ..self }
    }

    /// `word` with this number in its lane.
    pub(super) fn put(self, word: u32) -> u32 {
        word & !(self.mask() << self.shift) | self.number << self.shift
    }

    /// Whether the number in `word` is before this one.
    pub(super) fn is_ahead_of(self, word: u32) -> bool {
        let ahead = self.number.wrapping_sub(word >> self.shift) & self.mask();
        ahead != 0 && ahead <= self.mask() / 2
    }

    /// Raises the node to this number; whether it was before it. Whoever of several threads raises it first learns so.
    pub(super) fn raise(self, node: At<'_, Node>) -> bool {
        self.raise_from(self, node)
    }

    /// Raises the node to this number if it is before `from`; whether it was.
    pub(super) fn raise_from(self, from: Mark, node: At<'_, Node>) -> bool {
        node.update_meta(|word| from.is_ahead_of(word).then(|| self.put(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_wrap_each_by_itself() {
        let mut word = 0;
        for _ in 0..100 {
            for lane in 0..IMAGE_LANES {
                let given = Mark::image(lane, word);
                let others: Vec<_> = (0..IMAGE_LANES).map(|other| Mark::image(other, word)).collect();
                let snapshot = Mark::snapshot(word);
                let handed = given.next();
                assert!(handed.is_ahead_of(word) && handed.next().is_ahead_of(word));
                assert!(!given.is_ahead_of(word));
                let after = handed.next().put(word);
                assert!(!handed.is_ahead_of(after) && !handed.next().is_ahead_of(after));
                assert!(handed.next().is_ahead_of(handed.put(word)) && !handed.is_ahead_of(handed.put(word)));
                for (other, mark) in others.into_iter().enumerate().filter(|(other, _)| *other != lane) {
                    assert_eq!(Mark::image(other, after), mark);
                }
                assert_eq!(Mark::snapshot(after), snapshot);
                word = after;
            }
            word = Mark::snapshot(word).next().put(word);
        }
        let last = Mark::snapshot(0xffff);
        assert!(last.next().is_ahead_of(last.put(word)));
        assert!(!last.is_ahead_of(last.next().put(word)));
    }
}
