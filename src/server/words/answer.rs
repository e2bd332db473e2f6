#![forbid(unsafe_code)]
//! An answer that may be long (`dump`, `wchp` of a busy server), produced in slices so that no core is held up
//! (DESIGN §2, rule 9).

use super::dump::ConnectionExpiry;
use super::status::ConnectionView;
use crate::base::{SessionId, WallMillis};
use std::sync::Arc;

/// Bytes after which a slice ends, at the next piece's end. A line costs some 100 ns, so 16 KiB of short lines stay
/// far below the 500 µs that a slice may take, and fill a socket buffer.
pub const SLICE_BYTES: usize = 16 * 1024;

/// One line or block of an answer, rendered only when its slice comes.
pub(super) enum Piece {
    Text(Vec<u8>),
    /// A connection as `stat` shows it.
    Brief(ConnectionView),
    /// A connection as `cons` shows it.
    Full(ConnectionView),
    /// `/path`, or behind a tab.
    Path {
        tab: bool,
        path: Arc<[u8]>,
    },
    /// `0x1`, behind a tab, or before a colon.
    Session {
        tab: bool,
        colon: bool,
        session: SessionId,
    },
    /// A session with its timeout in `dump`.
    Timeout {
        session: SessionId,
        timeout_ms: i32,
    },
    /// Head of an expiry bucket in `dump`.
    Bucket {
        members: usize,
        at: WallMillis,
    },
    /// A connection in `dump`.
    Expiring(ConnectionExpiry),
}

impl Piece {
    pub(super) fn text(text: impl Into<Vec<u8>>) -> Piece {
        Piece::Text(text.into())
    }

    fn render(&self, out: &mut Vec<u8>) {
        match self {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Brief(connection) => connection.render(true, out),
            Piece::Full(connection) => connection.render(false, out),
            Piece::Path { tab, path } => {
                if *tab {
                    out.push(b'\t');
                }
                out.extend_from_slice(path);
                out.push(b'\n');
            }
            Piece::Session { tab, colon, session } => {
                let (before, after) = (if *tab { "\t" } else { "" }, if *colon { ":" } else { "" });
                out.extend_from_slice(format!("{before}{session}{after}\n").as_bytes());
            }
            Piece::Timeout { session, timeout_ms } => {
                out.extend_from_slice(format!("{session}\t{timeout_ms}ms\n").as_bytes());
            }
            Piece::Bucket { members, at } => {
                let date = super::java::date(*at);
                out.extend_from_slice(format!("{members} expire at {date}:\n").as_bytes());
            }
            Piece::Expiring(connection) => connection.render(out),
        }
    }
}

/// What a word answers, to be drained by [`Answer::next_slice`].
pub struct Answer {
    pieces: Box<dyn Iterator<Item = Piece> + Send>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

impl Answer {
    pub(super) fn new(pieces: impl Iterator<Item = Piece> + Send + 'static) -> Answer {
        Answer { pieces: Box::new(pieces) }
    }

    /// A short answer, one slice.
    pub fn text(text: impl Into<Vec<u8>>) -> Answer {
        Answer::new(std::iter::once(Piece::text(text)))
    }

    /// Appends up to [`SLICE_BYTES`] and the rest of the line that crosses it. `false` once all has been appended;
    /// calling again then appends nothing.
    pub fn next_slice(&mut self, out: &mut Vec<u8>) -> bool {
        let end = out.len() + SLICE_BYTES;
        while out.len() < end {
            match self.pieces.next() {
                Some(piece) => piece.render(out),
                None => {
                    self.pieces = Box::new(std::iter::empty());
                    return false;
                }
            }
        }
        true
    }

    /// All slices at once: for short answers, and for tests.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.next_slice(&mut out) {}
        out
    }
}
