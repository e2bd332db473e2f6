#![forbid(unsafe_code)]
//! What storage asks of the file system, as plain values. The shell performs them in order and stops at the first
//! that fails; a test performs them on a simulated disk and cuts the power between any two.
//!
//! Names are names in one directory: actions never leave it.

use super::aligned::AlignedBuf;

/// One step. Each list of steps names the directory it is for where it is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileAction {
    /// Make an empty file; one of that name is emptied.
    Create {
        /// Name in the directory.
        name: String,
    },
    /// Write zeros. Truly written: an area that is only allocated makes each later flush change the file's metadata.
    Zero {
        /// Name in the directory.
        name: String,
        /// First byte.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Write all of `bytes`.
    Write {
        /// Name in the directory.
        name: String,
        /// First byte; a multiple of the block.
        offset: u64,
        /// A multiple of the block long.
        bytes: AlignedBuf,
    },
    /// Make the file's bytes and size durable (fdatasync). A failure is never retried (reliability R5).
    Flush {
        /// Name in the directory.
        name: String,
    },
    /// Give the file another name; one of that name is replaced.
    Rename {
        /// Name before.
        from: String,
        /// Name after.
        to: String,
    },
    /// Make the directory's entries durable.
    SyncDirectory,
    /// Remove the file.
    Unlink {
        /// Name in the directory.
        name: String,
    },
}
