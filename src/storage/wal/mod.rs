#![forbid(unsafe_code)]
//! The write-ahead log. `format` has the byte tables, `segment` prepares files, `writer` makes batches,
//! `scan` reads one segment, `recover` joins segments and decides what is whole, torn or damaged, `read` gives a range of a
//! log that goes on.

mod format;
mod read;
mod recover;
mod scan;
mod segment;
mod writer;

pub use format::{
    BatchHeader, BatchKind, ChainHash, FORMAT_VERSION, HeaderError, Place, Records, SegmentHeader, SegmentId,
    Start,
};
pub use read::LogReader;
pub use recover::{Cut, Hole, Log, LogFault, Tail, join};
pub use scan::{BatchSpan, Fault, Scanned, SegmentScan, TornBatch, first_batch, scan};
pub use segment::PreparedSegment;
pub use writer::{
    ActiveSegment, ClosedSegment, Flushed, LogSpan, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, WalError,
    WalLimits, WalPosition, WalWrite, WalWriter,
};
