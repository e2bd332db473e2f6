#![forbid(unsafe_code)]
//! What is on disk, and in which order it must get there: the write-ahead log, snapshots, and the record of who this
//! server is and what it promised. It says what to write where and never writes; recovery is fed bytes. So the power
//! can fail between any two steps in a test, on purpose (`tests/recovery`).
//!
//! ```text
//! dataLogDir/ringkeeper-1/   segments            wal       (names.rs lists every file)
//! dataDir/ringkeeper-1/      snapshots           snapshot
//!                            epoch record, lock  epoch
//! ```
//!
//! Payloads of the log are opaque here: a txn's stock bytes and its zxid. Only `archive.rs` knows rkyv.
//!
//! Not here: files (`runtime::files`), what a txn or a snapshot's znode means (pipeline, tree), clocks and random
//! numbers (arguments).

pub mod action;
pub mod aligned;
mod archive;
pub mod decision;
pub mod epoch;
mod fuzz;
pub mod inspect;
pub mod names;
pub mod recovery;
pub mod snapshot;
mod standing;
pub mod wal;

pub use fuzz::{fuzz_epoch, fuzz_snapshot, fuzz_wal};

use crate::base::ServerId;

/// Drawn at random when a data directory is first used; the same on all servers of an ensemble. What carries another
/// one is not ours and stays untouched (reliability P16).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClusterId(pub [u8; 16]);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Whose data these are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// Which ensemble.
    pub cluster: ClusterId,
    /// Which of its servers.
    pub server: ServerId,
}

/// Writes little-endian numbers at fixed places of a header.
struct Fields<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a mut [u8]) -> Fields<'a> {
        Fields { bytes }
    }

    fn bytes(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.bytes(at, &value.to_le_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.bytes(at, &value.to_le_bytes());
    }
}
