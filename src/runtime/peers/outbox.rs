#![forbid(unsafe_code)]
//! What waits to be sent on a link, in pieces: each leaves with one send and carries many packets. Pieces rather than one
//! long buffer, so that a long queue is never copied to grow, and shrinks as it leaves.
//! Packets are counted, and one in [`MEASURED_EVERY`] says when it came (stock's marker packets, `LearnerHandler`).

use std::collections::VecDeque;

use crate::base::Millis;
use crate::base::limits::LINK_PIECE_BYTES;

/// The first packet's wait is measured, and that of each after so many (stock `markerPacketInterval`).
const MEASURED_EVERY: u64 = 1000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Oldest first; none is empty.
    pieces: VecDeque<Piece>,
    /// Bytes and packets in `pieces`.
    waiting: usize,
    packets: u64,
    /// Packets ever written.
    written: u64,
    /// Bytes of the piece that is being sent.
    leaving: Option<usize>,
    /// A buffer that came back.
    spare: Vec<u8>,
}

#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    packets: u64,
    /// When a packet came whose wait is measured.
    measured: Option<Millis>,
}

/// What leaves with one send.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Leaving {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Packets of it; none where it is of an image.
    pub(super) packets: u64,
    /// Packets that stay behind.
    pub(super) behind: u64,
    /// When one of its packets came, where that is measured.
    pub(super) measured: Option<Millis>,
}

impl Outbox {
    /// Bytes that have not left.
    pub(super) fn bytes(&self) -> usize {
        self.waiting + self.leaving.unwrap_or(0)
    }

    /// Whether everything has left.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Whether a piece is being sent.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Appends the packet that `write` writes.
    pub(super) fn write(&mut self, now: Millis, write: impl FnOnce(&mut Vec<u8>)) {
        if self.pieces.back().is_none_or(|piece| piece.bytes.len() >= LINK_PIECE_BYTES) {
            self.pieces.push_back(Piece { bytes: std::mem::take(&mut self.spare), ..Piece::default() });
        }
        let piece = self.pieces.back_mut().expect("pushed where there was none");
        let before = piece.bytes.len();
        write(&mut piece.bytes);
        self.waiting += piece.bytes.len() - before;
        piece.packets += 1;
        self.packets += 1;
        if self.written.is_multiple_of(MEASURED_EVERY) {
            piece.measured = Some(now);
        }
        self.written += 1;
    }

    /// Appends a piece as it is.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.waiting += bytes.len();
            self.pieces.push_back(Piece { bytes, ..Piece::default() });
        }
    }

    /// Appends all that waits in `other`, of which nothing is being sent.
    pub(super) fn append(&mut self, mut other: Outbox) {
        assert!(other.leaving.is_none(), "a queue that is being sent cannot move");
        self.waiting += other.waiting;
        self.packets += other.packets;
        self.written += other.written;
        self.pieces.append(&mut other.pieces);
    }

    /// The piece to send next, unless one is being sent.
    pub(super) fn next(&mut self) -> Option<Leaving> {
        if self.leaving.is_some() {
            return None;
        }
        let Piece { bytes, packets, measured } = self.pieces.pop_front()?;
        self.waiting -= bytes.len();
        self.packets -= packets;
        self.leaving = Some(bytes.len());
        Some(Leaving { bytes, packets, behind: self.packets, measured })
    }

    /// The piece has left; its buffer comes back empty.
    pub(super) fn sent(&mut self, buffer: Vec<u8>) {
        assert!(self.leaving.take().is_some(), "a piece left that was not being sent");
        // One long packet must not hold its memory for as long as the link lives.
        if buffer.capacity() <= 2 * LINK_PIECE_BYTES {
            self.spare = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_share_pieces_and_leave_in_order() {
        let mut outbox = Outbox::default();
        let (mut all, mut sent, mut pieces) = (Vec::new(), Vec::new(), 0);
        for nth in 0..1000u32 {
            let packet = vec![nth as u8; 1000];
            all.extend_from_slice(&packet);
            outbox.write(Millis(nth.into()), |out| out.extend_from_slice(&packet));
        }
        assert_eq!(outbox.bytes(), all.len());
        let mut packets = 0;
        while let Some(Leaving { mut bytes, packets: of_it, behind, measured }) = outbox.next() {
            assert!(outbox.next().is_none(), "one at a time");
            packets += of_it;
            assert_eq!(behind, 1000 - packets);
            assert_eq!(measured, (pieces == 0).then_some(Millis(0)), "the first of a thousand is measured");
            sent.extend_from_slice(&bytes);
            bytes.clear();
            outbox.sent(bytes);
            pieces += 1;
        }
        assert_eq!(packets, 1000);
        assert!(sent == all);
        assert_eq!(
            pieces,
            all.len().div_ceil(LINK_PIECE_BYTES + 888),
            "each ends with the packet that fills it"
        );
        assert!(outbox.is_empty());
        outbox.write(Millis(7), |out| out.push(1));
        assert_eq!(outbox.next().and_then(|leaving| leaving.measured), Some(Millis(7)), "and the next one");
    }

    #[test]
    fn what_was_held_follows_what_waits() {
        let mut outbox = Outbox::default();
        let leaves = |outbox: &mut Outbox| outbox.next().map(|leaving| (leaving.bytes, leaving.packets));
        outbox.write(Millis(0), |out| out.push(1));
        assert_eq!(leaves(&mut outbox), Some((vec![1], 1)));
        outbox.push(vec![2, 3]);
        outbox.push(Vec::new());
        let mut held = Outbox::default();
        held.write(Millis(0), |out| out.extend_from_slice(&[4]));
        outbox.append(held);
        assert_eq!(outbox.bytes(), 4);
        outbox.sent(Vec::new());
        assert_eq!(leaves(&mut outbox), Some((vec![2, 3], 0)));
        outbox.sent(Vec::new());
        assert_eq!(leaves(&mut outbox), Some((vec![4], 1)));
        outbox.sent(Vec::new());
        assert!(outbox.next().is_none() && outbox.is_empty());
    }
}
