#![forbid(unsafe_code)]
//! The write-ahead log. `format` has the byte tables, `segment` prepares files, `writer` makes batches,
//! `scan` reads one segment, `recover` joins segments and decides what is whole, torn or damaged.

mod format;
mod recover;
mod scan;
mod segment;
mod writer;

pub use format::{
    BatchHeader, BatchKind, ChainHash, FORMAT_VERSION, HeaderError, Place, Records, SegmentHeader, SegmentId,
    Start,
};
pub use recover::{Cut, Hole, Log, LogFault, Tail, join};
pub use scan::{BatchSpan, Fault, Scanned, SegmentScan, TornBatch, scan};
pub use segment::PreparedSegment;
pub use writer::{
    ActiveSegment, ClosedSegment, Flushed, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, WalError, WalLimits,
    WalPosition, WalWrite, WalWriter,
};
