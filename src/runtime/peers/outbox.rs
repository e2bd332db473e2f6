#![forbid(unsafe_code)]
//! What waits to be sent on a link, in pieces: each leaves with one send and carries many packets. Pieces rather than one
//! long buffer, so that a long queue is never copied to grow, and shrinks as it leaves.

use std::collections::VecDeque;

use crate::base::limits::LINK_PIECE_BYTES;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Oldest first; none is empty.
    pieces: VecDeque<Vec<u8>>,
    /// Bytes in `pieces`.
    waiting: usize,
    /// Bytes of the piece that is being sent.
    leaving: Option<usize>,
    /// A buffer that came back.
    spare: Vec<u8>,
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

    /// Appends what `write` writes.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.pieces.back().is_none_or(|piece| piece.len() >= LINK_PIECE_BYTES) {
            self.pieces.push_back(std::mem::take(&mut self.spare));
        }
        let piece = self.pieces.back_mut().expect("pushed where there was none");
        let before = piece.len();
        write(piece);
        self.waiting += piece.len() - before;
    }

    /// Appends a piece as it is.
    pub(super) fn push(&mut self, piece: Vec<u8>) {
        if !piece.is_empty() {
            self.waiting += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Appends all that waits in `other`, of which nothing is being sent.
    pub(super) fn append(&mut self, mut other: Outbox) {
        assert!(other.leaving.is_none(), "a queue that is being sent cannot move");
        self.waiting += other.waiting;
        self.pieces.append(&mut other.pieces);
    }

    /// The piece to send next, unless one is being sent.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        if self.leaving.is_some() {
            return None;
        }
        let piece = self.pieces.pop_front()?;
        self.waiting -= piece.len();
        self.leaving = Some(piece.len());
        Some(piece)
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
            outbox.write(|out| out.extend_from_slice(&packet));
        }
        assert_eq!(outbox.bytes(), all.len());
        while let Some(mut piece) = outbox.next() {
            assert!(outbox.next().is_none(), "one at a time");
            sent.extend_from_slice(&piece);
            piece.clear();
            outbox.sent(piece);
            pieces += 1;
        }
        assert!(sent == all);
        assert_eq!(
            pieces,
            all.len().div_ceil(LINK_PIECE_BYTES + 888),
            "each ends with the packet that fills it"
        );
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_was_held_follows_what_waits() {
        let mut outbox = Outbox::default();
        outbox.write(|out| out.push(1));
        assert_eq!(outbox.next().as_deref(), Some(&[1][..]));
        outbox.push(vec![2, 3]);
        outbox.push(Vec::new());
        let mut held = Outbox::default();
        held.write(|out| out.extend_from_slice(&[4]));
        outbox.append(held);
        assert_eq!(outbox.bytes(), 4);
        outbox.sent(Vec::new());
        assert_eq!(outbox.next().as_deref(), Some(&[2, 3][..]));
        outbox.sent(Vec::new());
        assert_eq!(outbox.next().as_deref(), Some(&[4][..]));
        outbox.sent(Vec::new());
        assert!(outbox.next().is_none() && outbox.is_empty());
    }
}
