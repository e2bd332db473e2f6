#![forbid(unsafe_code)]
//! The writing half of the log: collects records into batches and says which bytes go where. One owner, the sequencer
//! (the disk shard prepares segments for it). It never writes: a [`WalWrite`] comes out, its completion goes in.
//!
//! ```text
//!            append            next_write             completed
//!  records ─────────► collected ─────────► in flight ───────────► flushed
//!                     (batches)            (one)       failed ──► poisoned, for ever
//! ```
//!
//! Invariants: `flushed ≤ last`, but for a cut or a restart that is not durable yet; at most one write in flight; records are
//! contiguous; a block that holds acknowledged bytes is never written again; every segment keeps room for one seal behind its last batch. The highest commit
//! known is not ordered against either: a follower may learn of a commit before its own flush returns.
//!
//! Not here: when to flush (at once), when 50 ms without a batch are over (the caller's clock), files.

use std::collections::VecDeque;

use super::format::{
    BATCH_HEADER_BYTES, BatchHeader, BatchKind, ChainHash, Place, RECORD_HEADER_BYTES, SegmentHeader,
    SegmentId, Start, encode_record,
};
use super::segment::PreparedSegment;
use crate::base::planted::{Bug, planted};
use crate::base::{Zxid, limits};
use crate::storage::aligned::{AlignedBuf, BLOCK_BYTES, padded};
use crate::storage::{ClusterId, Identity};

/// Room in front of each batch for the header of a segment, should the batch be the first of one: header and batch
/// then go out in one write.
const FRONT_BYTES: usize = BLOCK_BYTES;

/// Smallest segment: header, a batch of one block, a seal, and one block more.
pub const SEGMENT_BYTES_MIN: u64 = 4 * BLOCK_BYTES as u64;

/// Largest segment, so that no file name makes recovery read more at once.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Buffers kept for reuse: one collecting, one in flight, one to spare.
const SPARE_BUFFERS: usize = 3;

/// Bounds of a log; all given by the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalLimits {
    /// Size of new segments, a multiple of the block, at least [`SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// Bytes after which a batch takes no further record. A record larger than that is a batch of its own.
    pub batch_bytes_max: usize,
    /// Records of a batch.
    pub batch_txns_max: usize,
}

impl Default for WalLimits {
    fn default() -> WalLimits {
        WalLimits {
            segment_bytes: limits::WAL_SEGMENT_BYTES,
            batch_bytes_max: limits::BATCH_BYTES_MAX,
            batch_txns_max: limits::BATCH_TXNS_MAX,
        }
    }
}

impl WalLimits {
    /// The limits for segments of about `segment_bytes` (stock's `preAllocSize`, which is in KiB) that take every
    /// payload up to `payload_bytes_max`, as far as [`SEGMENT_BYTES_MAX`] allows.
    pub fn for_segments_of(segment_bytes: u64, payload_bytes_max: usize) -> WalLimits {
        let one_record =
            padded(BATCH_HEADER_BYTES + RECORD_HEADER_BYTES + payload_bytes_max) + 2 * BLOCK_BYTES;
        let wanted = segment_bytes.max(one_record as u64).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        WalLimits { segment_bytes: wanted.next_multiple_of(BLOCK_BYTES as u64), ..WalLimits::default() }
    }

    /// Largest payload that fits an empty segment.
    pub fn payload_bytes_max(&self) -> usize {
        self.batch_disk_bytes_max() - BATCH_HEADER_BYTES - RECORD_HEADER_BYTES
    }

    /// Most bytes a batch takes on disk: a segment without its header and its seal.
    fn batch_disk_bytes_max(&self) -> usize {
        usize::try_from(self.segment_bytes).expect("segments fit the address space") - 2 * BLOCK_BYTES
    }
}

/// Where a log goes on: made by recovery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WalPosition {
    /// The last zxid of the history: of the log, or of the snapshot where that is ahead.
    pub last: Zxid,
    /// Hash of the last batch.
    pub chain: ChainHash,
    /// The segment to go on in, and where; `None` to begin with a new one.
    pub active: Option<ActiveSegment>,
    /// The segments before it, oldest first.
    pub closed: Vec<ClosedSegment>,
    /// Number of the next segment to prepare.
    pub next_segment: SegmentId,
    /// Whether the log ends in a seal. An end without one gets its seal after the restart.
    pub sealed: bool,
    /// The segment in which the log began anew; those before it hold nothing of the history. 0 if it never did.
    pub from: SegmentId,
}

impl WalPosition {
    /// An empty log.
    pub fn empty() -> WalPosition {
        WalPosition {
            last: Zxid::ZERO,
            chain: ChainHash::default(),
            active: None,
            closed: Vec::new(),
            next_segment: SegmentId(1),
            sealed: true,
            from: SegmentId(0),
        }
    }
}

/// The segment being written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActiveSegment {
    /// Its number.
    pub segment: SegmentId,
    /// The random number in its header.
    pub generation: u64,
    /// Its size.
    pub bytes: u64,
    /// Where the next batch goes; a multiple of the block.
    pub offset: u64,
}

/// A segment that takes no further batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClosedSegment {
    /// Its number.
    pub segment: SegmentId,
    /// The zxid of its last record.
    pub last: Zxid,
}

/// Bytes to make durable. Goes to the ring and comes back in [`WalWriter::completed`].
#[derive(Debug)]
pub struct WalWrite {
    /// Which segment.
    pub segment: SegmentId,
    /// Where in it; a multiple of the block.
    pub offset: u64,
    buffer: AlignedBuf,
    /// Where in the buffer the bytes begin: 0 with a segment header in front, else one block.
    from: usize,
}

impl WalWrite {
    /// The bytes, starting and ending at block boundaries of memory and segment. All of them must become durable
    /// with this write (`RWF_DSYNC`, or a flush after it).
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..]
    }
}

/// What a completed write made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    /// Every record up to this zxid is durable. Behind a cut the log ends here; behind a restart it goes on from the
    /// snapshot here.
    pub up_to: Zxid,
    /// What the write was. Behind a seal nothing is durable that was not before, and a cut may have been asked for since.
    pub kind: BatchKind,
}

/// Segments to read a range of the log from, as of one instant ([`super::LogReader`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSpan {
    /// Whose log.
    pub cluster: ClusterId,
    /// Those that may hold a part of the range, oldest first.
    pub segments: Vec<SegmentId>,
    /// The last of them is still being written: up to this byte it is durable.
    pub durable_end: Option<u64>,
}

/// Why the log takes nothing any more. What the disk holds is unknown: exit, and let recovery read it (R5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WalError {
    /// Fewer bytes than submitted.
    #[error("a log write of {expected} bytes at {offset} of segment {segment} wrote {written}")]
    ShortWrite {
        /// Which segment.
        segment: SegmentId,
        /// Where in it.
        offset: u64,
        /// Bytes submitted.
        expected: usize,
        /// Bytes the kernel reports.
        written: usize,
    },
}

/// See the module.
#[derive(Debug)]
pub struct WalWriter {
    identity: Identity,
    limits: WalLimits,
    /// Last zxid taken by [`WalWriter::append`].
    last: Zxid,
    /// Last zxid handed out for writing.
    submitted: Zxid,
    /// Last zxid known to be durable.
    flushed: Zxid,
    /// Hash of the last batch handed out.
    chain: ChainHash,
    active: Option<ActiveSegment>,
    prepared: VecDeque<PreparedSegment>,
    closed: VecDeque<ClosedSegment>,
    next_segment: SegmentId,
    /// As in [`WalPosition::from`].
    from: SegmentId,
    /// Where in the active segment the bytes known to be durable end.
    durable_end: u64,
    /// Segments asked for and not yet added.
    ordered: usize,
    /// Batches not handed out, oldest first; records go to the last.
    collected: VecDeque<Collected>,
    collected_bytes: usize,
    in_flight: Option<InFlight>,
    /// The last thing written was a seal, or there is nothing to seal.
    sealed: bool,
    poisoned: bool,
    spare: Vec<AlignedBuf>,
}

#[derive(Debug)]
struct Collected {
    /// Front, batch header, records.
    buffer: AlignedBuf,
    kind: BatchKind,
    previous: Zxid,
    first: Zxid,
    last: Zxid,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    segment: SegmentId,
    offset: u64,
    bytes: usize,
    last: Zxid,
    kind: BatchKind,
}

impl WalWriter {
    /// A log that goes on at `position`.
    pub fn new(identity: Identity, limits: WalLimits, position: WalPosition) -> WalWriter {
        assert!(limits.segment_bytes >= SEGMENT_BYTES_MIN, "segments of {} bytes", limits.segment_bytes);
        assert!(limits.segment_bytes <= SEGMENT_BYTES_MAX, "segments of {} bytes", limits.segment_bytes);
        assert_eq!(limits.segment_bytes % BLOCK_BYTES as u64, 0, "segments are whole blocks");
        assert!(limits.batch_txns_max > 0);
        WalWriter {
            identity,
            limits,
            last: position.last,
            submitted: position.last,
            flushed: position.last,
            chain: position.chain,
            active: position.active,
            prepared: VecDeque::new(),
            closed: position.closed.into(),
            next_segment: position.next_segment,
            from: position.from,
            durable_end: position.active.map_or(0, |active| active.offset),
            ordered: 0,
            collected: VecDeque::new(),
            collected_bytes: 0,
            in_flight: None,
            sealed: position.sealed,
            poisoned: false,
            spare: Vec::new(),
        }
    }

    /// Takes a record into the next batch. The caller keeps [`WalWriter::collected_bytes`] below
    /// [`limits::WAL_QUEUE_BYTES_MAX`], and payloads below [`WalLimits::payload_bytes_max`].
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        assert!(zxid.follows(self.last), "append {zxid} after {}: history has no gaps", self.last);
        assert!(payload.len() <= self.limits.payload_bytes_max(), "a txn of {} bytes", payload.len());
        let record_bytes = RECORD_HEADER_BYTES + payload.len();
        let fits = self.collected.back().is_some_and(|batch| {
            let bytes = batch.buffer.len() - FRONT_BYTES + record_bytes;
            let most = self.limits.batch_bytes_max.min(self.limits.batch_disk_bytes_max());
            let takes_records = batch.kind == BatchKind::Batch;
            takes_records && bytes <= most && (batch.count as usize) < self.limits.batch_txns_max
        });
        if !fits {
            let batch = self.empty_batch(BatchKind::Batch, zxid);
            self.collected.push_back(batch);
        }
        let batch = self.collected.back_mut().expect("one was just pushed if there was none");
        encode_record(zxid, payload, &mut batch.buffer);
        batch.last = zxid;
        batch.count += 1;
        self.last = zxid;
        self.collected_bytes += record_bytes;
    }

    /// Takes back every record later than `to`, which were never committed (R6, TRUNC). The cut leaves behind what was
    /// collected, in the order of the calls, and the next record follows `to`.
    pub fn cut(&mut self, to: Zxid) {
        assert!(to <= self.last, "cut to {to} beyond the last, {}", self.last);
        let batch = self.empty_batch(BatchKind::Cut, to);
        self.collected.push_back(batch);
        self.last = to;
    }

    /// Lets the log go on from the snapshot at `to`, which is durable, in a new segment (R8): what it held, further on or
    /// not, is void. Leaves behind what was collected, in the order of the calls; until it is durable the old log counts.
    pub fn restart(&mut self, to: Zxid) {
        let mut batch = self.empty_batch(BatchKind::Restart, to);
        batch.previous = to;
        self.collected.push_back(batch);
        self.last = to;
    }

    /// The segment that [`WalWriter::restart`] will begin, if nothing is written before it that fills the active one.
    pub fn restart_segment(&self) -> SegmentId {
        // One is prepared at a time, and numbers follow each other.
        let ahead = self.prepared.len() + self.ordered;
        SegmentId(self.next_segment.0 - ahead as u64)
    }

    fn empty_batch(&mut self, kind: BatchKind, zxid: Zxid) -> Collected {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(FRONT_BYTES + BATCH_HEADER_BYTES);
        Collected { buffer, kind, previous: self.last, first: zxid, last: zxid, count: 0 }
    }

    /// The next batch, once the one before is durable. `committed` is the highest commit zxid known. `None` while a
    /// write is in flight, when nothing was collected, until a segment was added when the active one is full, and
    /// for ever after an error.
    pub fn next_write(&mut self, committed: Zxid) -> Option<WalWrite> {
        if self.in_flight.is_some() || self.poisoned {
            return None;
        }
        let batch = self.collected.front()?;
        let length = batch.buffer.len() - FRONT_BYTES;
        let fresh = batch.kind == BatchKind::Restart || !self.active_has_room_for(length);
        if fresh && !self.activate_next(length) {
            return None;
        }
        let mut batch = self.collected.pop_front().expect("its front was just looked at");
        self.collected_bytes -= length - BATCH_HEADER_BYTES;
        if fresh {
            self.write_segment_header(&mut batch);
        }
        self.sealed = false;
        Some(self.submit(batch, committed, fresh))
    }

    /// Whether a seal is due once 50 ms passed without a batch (R4): the last thing written is a batch, nothing is in
    /// flight and nothing waits.
    pub fn seal_due(&self) -> bool {
        let idle = self.in_flight.is_none() && self.collected.is_empty();
        idle && !self.sealed && !self.poisoned && self.active.is_some()
    }

    /// The seal: a block that proves the batch before it was complete. `None` when none is due.
    pub fn seal(&mut self, committed: Zxid) -> Option<WalWrite> {
        if !self.seal_due() {
            return None;
        }
        let seal = self.empty_batch(BatchKind::Seal, self.last);
        self.sealed = true;
        Some(self.submit(seal, committed, false))
    }

    /// Takes a finished write back. `written` is what the kernel reports; anything but all of it poisons the log.
    pub fn completed(&mut self, write: WalWrite, written: usize) -> Result<Flushed, WalError> {
        let in_flight = self.in_flight.take().expect("a completion belongs to a write in flight");
        assert_eq!(in_flight.segment, write.segment);
        assert_eq!(in_flight.offset, write.offset);
        assert!(!self.poisoned);
        if written != in_flight.bytes {
            self.poisoned = true;
            let WalWrite { segment, offset, .. } = write;
            return Err(WalError::ShortWrite { segment, offset, expected: in_flight.bytes, written });
        }
        let goes_back = matches!(in_flight.kind, BatchKind::Cut | BatchKind::Restart);
        assert!(goes_back || in_flight.last >= self.flushed);
        self.flushed = in_flight.last;
        self.durable_end = in_flight.offset + in_flight.bytes as u64;
        // A buffer that one huge txn blew up is not kept.
        if self.spare.len() < SPARE_BUFFERS && write.buffer.capacity() <= 2 * limits::BATCH_BYTES_MAX {
            self.spare.push(write.buffer);
        }
        Ok(Flushed { up_to: self.flushed, kind: in_flight.kind })
    }

    /// A write or its flush failed: nothing is handed out any more (R5).
    pub fn failed(&mut self, write: WalWrite) {
        assert!(self.in_flight.take().is_some(), "a failure belongs to a write in flight");
        drop(write);
        self.poisoned = true;
    }

    /// A segment the disk shard should prepare, if one is missing: one is kept ahead of the active one. Each is
    /// asked for once.
    pub fn wants_segment(&mut self) -> Option<SegmentId> {
        if self.poisoned || !self.prepared.is_empty() || self.ordered > 0 {
            return None;
        }
        self.ordered += 1;
        let segment = self.next_segment;
        self.next_segment = segment.next();
        Some(segment)
    }

    /// Size of the segment that [`WalWriter::wants_segment`] asks for, bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.limits.segment_bytes
    }

    /// Takes a segment that was asked for and is durable under its name.
    pub fn add_segment(&mut self, prepared: PreparedSegment) {
        assert!(self.ordered > 0, "segment {} was not asked for", prepared.segment);
        assert_eq!(prepared.segment.next(), self.next_segment, "one segment is prepared at a time");
        assert_eq!(prepared.bytes, self.limits.segment_bytes);
        self.ordered -= 1;
        self.prepared.push_back(prepared);
    }

    /// Gives up the segments that hold nothing but records before `zxid`: they may be recycled or removed. The
    /// caller keeps what the second-newest verified snapshot still needs (R7).
    pub fn retire_before(&mut self, zxid: Zxid) -> Vec<SegmentId> {
        let keep = self.closed.iter().position(|closed| closed.last >= zxid).unwrap_or(self.closed.len());
        self.closed.drain(..keep).map(|closed| closed.segment).collect()
    }

    /// Where the txns after `after` are, as far as they are durable.
    pub fn span(&self, after: Zxid) -> LogSpan {
        let closed = self.closed.iter().filter(|closed| closed.segment >= self.from);
        let mut segments: Vec<SegmentId> =
            closed.skip_while(|closed| closed.last < after).map(|closed| closed.segment).collect();
        let written = self.active.filter(|active| active.segment >= self.from && self.durable_end > 0);
        segments.extend(written.map(|active| active.segment));
        LogSpan { cluster: self.identity.cluster, segments, durable_end: written.map(|_| self.durable_end) }
    }

    /// Last zxid appended.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Last zxid known to be durable.
    pub fn flushed(&self) -> Zxid {
        self.flushed
    }

    /// Bytes of records that were not handed out yet.
    pub fn collected_bytes(&self) -> usize {
        self.collected_bytes
    }

    /// Whether the next batch takes no further record.
    pub fn is_batch_full(&self) -> bool {
        let full = |batch: &Collected| {
            batch.kind != BatchKind::Batch || batch.count as usize >= self.limits.batch_txns_max
        };
        self.collected.len() > 1 || self.collected.front().is_some_and(full)
    }

    /// Whether a write is in flight.
    pub fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether an error ended this log.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// The segment being written, if any.
    pub fn active(&self) -> Option<&ActiveSegment> {
        self.active.as_ref()
    }

    /// The segment prepared for when the active one is full, if it is there.
    pub fn prepared(&self) -> Option<&PreparedSegment> {
        self.prepared.front()
    }

    /// Bytes of all segments that hold records: closed ones count as full.
    pub fn log_bytes(&self) -> u64 {
        self.closed.len() as u64 * self.limits.segment_bytes + self.active.map_or(0, |active| active.offset)
    }

    /// Room for the batch, and for a seal behind it.
    fn active_has_room_for(&self, length: usize) -> bool {
        let bytes = (padded(length) + BLOCK_BYTES) as u64;
        self.active.is_some_and(|active| active.offset + bytes <= active.bytes)
    }

    /// Closes the active segment and opens the next prepared one, if there is one.
    fn activate_next(&mut self, length: usize) -> bool {
        let Some(prepared) = self.prepared.pop_front() else { return false };
        self.close_active();
        let PreparedSegment { segment, generation, bytes } = prepared;
        self.active = Some(ActiveSegment { segment, generation, bytes, offset: BLOCK_BYTES as u64 });
        self.durable_end = 0;
        assert!(self.active_has_room_for(length), "a batch of {length} bytes is larger than a segment");
        true
    }

    fn close_active(&mut self) {
        if let Some(active) = self.active.take() {
            self.closed.push_back(ClosedSegment { segment: active.segment, last: self.submitted });
        }
    }

    fn write_segment_header(&mut self, batch: &mut Collected) {
        let active = self.active.expect("it was just activated");
        assert_eq!(active.offset, FRONT_BYTES as u64);
        // The header says where the segment begins, not where a cut leads.
        let first = if batch.kind == BatchKind::Batch { batch.first } else { batch.previous.next() };
        let header = SegmentHeader {
            identity: self.identity,
            segment: active.segment,
            generation: active.generation,
            bytes: active.bytes,
            start: Some(Start { previous: batch.previous, first, chain: self.chain }),
        };
        header.encode(&mut batch.buffer[..FRONT_BYTES]);
    }

    fn submit(&mut self, batch: Collected, committed: Zxid, with_header: bool) -> WalWrite {
        let active = self.active.as_mut().expect("a batch needs a segment, and a seal follows a batch");
        let Collected { mut buffer, kind, first, last, count, .. } = batch;
        assert!(
            kind != BatchKind::Cut || last >= committed,
            "cut to {last} below what is committed, {committed}"
        );
        let length = buffer.len() - FRONT_BYTES;
        let header = BatchHeader {
            hash: ChainHash::default(),
            generation: active.generation,
            segment: active.segment,
            length: length as u64,
            count,
            kind,
            first,
            last,
            committed,
            epoch: last.epoch(),
            previous: self.chain,
        };
        let cluster = self.identity.cluster;
        let place = Place { cluster, generation: active.generation, offset: active.offset };
        self.chain = header.seal_into(place, &mut buffer[FRONT_BYTES..]);
        buffer.pad();

        let (from, offset) = if with_header { (0, 0) } else { (FRONT_BYTES, active.offset) };
        let write = WalWrite { segment: active.segment, offset, buffer, from };
        active.offset += header.padded_bytes();
        assert!(active.offset <= active.bytes, "a batch ends within its segment");
        if kind == BatchKind::Cut && planted(Bug::CutLeavesAGap) {
            active.offset = (active.offset + BLOCK_BYTES as u64).min(active.bytes);
        }
        self.submitted = last;
        if kind == BatchKind::Restart {
            // What the others held is void: they stay only until snapshots are enough without them.
            self.from = write.segment;
            self.closed.iter_mut().for_each(|closed| closed.last = last);
        }
        self.in_flight =
            Some(InFlight { segment: write.segment, offset, bytes: write.bytes().len(), last, kind });
        write
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ServerId;
    use crate::storage::ClusterId;

    fn writer(segment_blocks: u64) -> WalWriter {
        let identity = Identity { cluster: ClusterId([1; 16]), server: ServerId(1) };
        let limits = WalLimits {
            segment_bytes: segment_blocks * BLOCK_BYTES as u64,
            batch_bytes_max: 2 * BLOCK_BYTES,
            batch_txns_max: 3,
        };
        WalWriter::new(identity, limits, WalPosition::empty())
    }

    fn prepare(wal: &mut WalWriter) {
        let segment = wal.wants_segment().expect("none is prepared");
        wal.add_segment(PreparedSegment { segment, generation: segment.0 * 100, bytes: wal.segment_bytes() });
    }

    fn complete(wal: &mut WalWriter, write: WalWrite) -> Flushed {
        let bytes = write.bytes().len();
        wal.completed(write, bytes).expect("all was written")
    }

    #[test]
    fn one_write_is_in_flight_and_the_next_batch_collects_meanwhile() {
        let mut wal = writer(16);
        wal.append(Zxid(1), b"one");
        assert!(wal.next_write(Zxid(0)).is_none(), "no segment yet");
        prepare(&mut wal);
        let first = wal.next_write(Zxid(0)).expect("a segment and a batch");
        assert_eq!((first.segment, first.offset, first.bytes().len()), (SegmentId(1), 0, 2 * BLOCK_BYTES));
        wal.append(Zxid(2), b"two");
        wal.append(Zxid(3), b"three");
        assert!(wal.next_write(Zxid(0)).is_none(), "one is in flight");
        assert_eq!(complete(&mut wal, first), Flushed { up_to: Zxid(1), kind: BatchKind::Batch });
        let second = wal.next_write(Zxid(1)).expect("two records wait");
        assert_eq!((second.offset, second.bytes().len()), (2 * BLOCK_BYTES as u64, BLOCK_BYTES));
        assert_eq!(complete(&mut wal, second), Flushed { up_to: Zxid(3), kind: BatchKind::Batch });
        assert_eq!(wal.collected_bytes(), 0);
        assert!(wal.next_write(Zxid(3)).is_none(), "nothing waits");
    }

    #[test]
    fn a_seal_is_due_once_after_each_pause() {
        let mut wal = writer(16);
        prepare(&mut wal);
        assert!(!wal.seal_due(), "nothing to seal in an empty log");
        wal.append(Zxid(1), b"x");
        assert!(!wal.seal_due(), "a batch waits");
        let write = wal.next_write(Zxid(0)).expect("a batch");
        assert!(!wal.seal_due(), "a write is in flight");
        complete(&mut wal, write);
        assert!(wal.seal_due());
        let seal = wal.seal(Zxid(1)).expect("due");
        assert_eq!(complete(&mut wal, seal), Flushed { up_to: Zxid(1), kind: BatchKind::Seal });
        assert!(!wal.seal_due());
        assert!(wal.seal(Zxid(1)).is_none());
    }

    #[test]
    fn batches_end_at_the_limit_of_records_and_of_bytes() {
        let mut wal = writer(16);
        prepare(&mut wal);
        for z in 1..=4 {
            wal.append(Zxid(z), b"small");
        }
        wal.append(Zxid(5), &[0; 3 * BLOCK_BYTES]);
        let ends: Vec<Zxid> = std::iter::from_fn(|| {
            let write = wal.next_write(Zxid(0))?;
            Some(complete(&mut wal, write).up_to)
        })
        .collect();
        assert_eq!(ends, [Zxid(3), Zxid(4), Zxid(5)]);
    }

    #[test]
    fn a_full_segment_waits_for_the_next_and_then_may_be_retired() {
        let mut wal = writer(4);
        prepare(&mut wal);
        for z in 1..=2 {
            wal.append(Zxid(z), &[7; 3000]);
            let write = wal.next_write(Zxid(0)).expect("room for two");
            complete(&mut wal, write);
        }
        wal.append(Zxid(3), b"x");
        assert!(wal.next_write(Zxid(0)).is_none(), "the last block is the seal's");
        prepare(&mut wal);
        let write = wal.next_write(Zxid(0)).expect("the new segment");
        assert_eq!((write.segment, write.offset), (SegmentId(2), 0));
        complete(&mut wal, write);
        assert_eq!(wal.retire_before(Zxid(2)), []);
        assert_eq!(wal.retire_before(Zxid(3)), [SegmentId(1)]);
        assert_eq!(wal.retire_before(Zxid(100)), [], "the active segment stays");
    }

    #[test]
    fn after_an_error_nothing_is_handed_out() {
        for short in [true, false] {
            let mut wal = writer(16);
            prepare(&mut wal);
            wal.append(Zxid(1), b"x");
            let write = wal.next_write(Zxid(0)).expect("a batch");
            wal.append(Zxid(2), b"y");
            if short {
                let error = wal.completed(write, BLOCK_BYTES).expect_err("half of it");
                assert_eq!(
                    error,
                    WalError::ShortWrite {
                        segment: SegmentId(1),
                        offset: 0,
                        expected: 2 * BLOCK_BYTES,
                        written: BLOCK_BYTES
                    }
                );
            } else {
                wal.failed(write);
            }
            assert!(wal.is_poisoned());
            assert!(wal.next_write(Zxid(0)).is_none());
            assert!(wal.seal(Zxid(0)).is_none());
            assert_eq!(wal.wants_segment(), None);
            assert_eq!(wal.flushed(), Zxid(0));
        }
    }

    #[test]
    fn a_cut_keeps_its_place_among_what_was_collected_and_the_history_goes_on_from_it() {
        let mut wal = writer(16);
        prepare(&mut wal);
        for z in 1..=2 {
            wal.append(Zxid(z), b"x");
        }
        wal.cut(Zxid(1));
        assert_eq!((wal.last(), wal.is_batch_full()), (Zxid(1), true));
        wal.append(Zxid(0x1_0000_0001), b"y");
        let ends: Vec<Flushed> = std::iter::from_fn(|| {
            let write = wal.next_write(Zxid(1))?;
            Some(complete(&mut wal, write))
        })
        .collect();
        let flushed = |zxid, kind| Flushed { up_to: Zxid(zxid), kind };
        let expected = [
            flushed(2, BatchKind::Batch),
            flushed(1, BatchKind::Cut),
            flushed(0x1_0000_0001, BatchKind::Batch),
        ];
        assert_eq!(ends, expected);
    }

    #[test]
    fn a_restart_begins_the_next_segment_and_what_was_before_it_goes_with_the_snapshot() {
        let mut wal = writer(16);
        prepare(&mut wal);
        wal.append(Zxid(0x5_0000_0001), b"x");
        assert_eq!(wal.restart_segment(), SegmentId(1), "nothing was written yet");
        let write = wal.next_write(Zxid(0)).expect("a batch");
        complete(&mut wal, write);
        assert_eq!(wal.restart_segment(), SegmentId(2), "none is prepared");
        prepare(&mut wal);
        assert_eq!(wal.restart_segment(), SegmentId(2));
        let to = Zxid(0x4_0000_0064);
        wal.restart(to);
        let write = wal.next_write(Zxid(0)).expect("a segment");
        assert_eq!((write.segment, write.offset), (SegmentId(2), 0));
        assert_eq!(complete(&mut wal, write), Flushed { up_to: to, kind: BatchKind::Restart });
        assert_eq!((wal.last(), wal.flushed()), (to, to));
        wal.append(Zxid(0x6_0000_0001), b"y");
        assert_eq!(wal.span(to).segments, [SegmentId(2)]);
        assert_eq!(wal.span(to).durable_end, Some(2 * BLOCK_BYTES as u64));
        assert_eq!(wal.retire_before(to), []);
        assert_eq!(wal.retire_before(to.next()), [SegmentId(1)]);
    }

    #[test]
    #[should_panic(expected = "below what is committed")]
    fn what_is_committed_is_not_cut() {
        let mut wal = writer(16);
        prepare(&mut wal);
        for z in 1..=2 {
            wal.append(Zxid(z), b"x");
        }
        wal.cut(Zxid(1));
        while let Some(write) = wal.next_write(Zxid(2)) {
            complete(&mut wal, write);
        }
    }

    #[test]
    #[should_panic(expected = "history has no gaps")]
    fn a_gap_is_refused_at_append() {
        let mut wal = writer(16);
        wal.append(Zxid(1), b"x");
        wal.append(Zxid(3), b"z");
    }
}
