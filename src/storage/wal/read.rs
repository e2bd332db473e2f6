#![forbid(unsafe_code)]
//! Reads a range of txns back from a log that is being written, for a learner that is further behind than what is kept in
//! memory. Only what was durable when the range was asked for is looked at; everything is verified on the way, so that
//! a segment recycled meanwhile, rot, or a part that was taken back ends in "not available" and never in other txns.

use super::format::{
    BatchHeader, BatchKind, ChainHash, Place, Records, SegmentHeader, SegmentId, looks_like_batch,
};
use super::scan::BatchSpan;
use super::writer::{LogSpan, SEGMENT_BYTES_MAX};
use crate::base::Zxid;
use crate::base::planted::{Bug, planted};
use crate::storage::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::storage::names;
use crate::storage::recovery::Source;

/// Bytes read at once; a batch that is longer is read whole.
const WINDOW_BYTES: u64 = 8 << 20;

/// What a txn takes in memory beside its payload, bytes: txns may be many and small.
const TXN_BYTES: usize = 64;

/// A range being read. Holds at most the bytes allowed, and a window.
#[derive(Debug)]
pub struct LogReader {
    after: Zxid,
    up_to: Zxid,
    bytes_left: usize,
    /// The position reached, and the hash of the batch that led there.
    at: Option<(Zxid, ChainHash)>,
    /// Whether `after` was seen to be a position of the log; what follows is collected.
    found: bool,
    txns: Vec<(Zxid, Box<[u8]>)>,
}

impl LogReader {
    /// All txns after `after` up to `up_to`, without a gap, oldest first. `None` if the log has not all of them, or does
    /// not have `after` itself, or if they take more than `bytes_max` in memory.
    pub fn read(
        log: &dyn Source,
        span: &LogSpan,
        after: Zxid,
        up_to: Zxid,
        bytes_max: usize,
    ) -> Option<Vec<(Zxid, Box<[u8]>)>> {
        if after >= up_to {
            return None;
        }
        let mut reader =
            LogReader { after, up_to, bytes_left: bytes_max, at: None, found: false, txns: Vec::new() };
        let last = span.segments.last();
        for segment in &span.segments {
            let durable_end = span.durable_end.filter(|_| Some(segment) == last);
            if reader.segment(log, span, *segment, durable_end)? {
                return Some(reader.txns);
            }
        }
        None
    }

    /// Whether the end of the range was reached.
    fn segment(
        &mut self,
        log: &dyn Source,
        span: &LogSpan,
        segment: SegmentId,
        durable_end: Option<u64>,
    ) -> Option<bool> {
        let name = names::segment(segment);
        let header = SegmentHeader::decode(&log.read(&name, 0, BLOCK_BYTES).ok()?).ok()?;
        let start = header.start?;
        let ours = header.identity.cluster == span.cluster && header.segment == segment;
        let goes_on = self.at.is_none_or(|at| at == (start.previous, start.chain));
        if !ours || !goes_on || header.bytes > SEGMENT_BYTES_MAX {
            return None;
        }
        if self.at.is_none() && start.previous > self.after {
            return None;
        }
        self.reached(start.previous, start.chain);
        let end = durable_end.unwrap_or(header.bytes).min(header.bytes);
        let mut offset = BLOCK_BYTES as u64;
        let mut window = Window { offset, bytes: AlignedBuf::default() };
        while offset < end {
            let place = Place { cluster: span.cluster, generation: header.generation, offset };
            let mut batch = BatchHeader::decode(place, window.rest(offset));
            for bytes in [WINDOW_BYTES, SEGMENT_BYTES_MAX] {
                let may_be_longer = bytes == WINDOW_BYTES
                    || (end - offset > WINDOW_BYTES
                        && looks_like_batch(header.generation, window.rest(offset)));
                if batch.is_none() && may_be_longer {
                    let bytes = usize::try_from(bytes.min(end - offset)).ok()?;
                    window = Window { offset, bytes: log.read(&name, offset, bytes).ok()? };
                    batch = BatchHeader::decode(place, window.rest(offset));
                }
            }
            let Some(batch) = batch else {
                // A closed segment ends where nothing follows; one that goes on has no other end than the durable one.
                return if durable_end.is_none() { Some(false) } else { None };
            };
            let bytes = window.rest(offset);
            if batch.segment != segment || !batch.verify(place, bytes) {
                return None;
            }
            if self.batch(&batch, bytes)? {
                return Some(true);
            }
            offset += batch.padded_bytes();
        }
        Some(false)
    }

    /// Whether the end of the range was reached.
    fn batch(&mut self, batch: &BatchHeader, bytes: &[u8]) -> Option<bool> {
        let (at, chain) = self.at?;
        if batch.previous != chain {
            return None;
        }
        match batch.kind {
            BatchKind::Batch => {
                if !batch.first.follows(at) {
                    return None;
                }
                let records = BatchSpan { offset: 0, header: *batch }.records(bytes);
                if self.records(records)? {
                    return Some(true);
                }
            }
            BatchKind::Seal | BatchKind::Restart if batch.last == at => {}
            BatchKind::Cut if batch.last <= at => self.cut(batch.last),
            BatchKind::Seal | BatchKind::Restart | BatchKind::Cut => return None,
        }
        self.reached(batch.last, batch.hash);
        Some(false)
    }

    fn records(&mut self, records: Records<'_>) -> Option<bool> {
        for (zxid, payload) in records {
            // What is beyond either end, and yet before it, may have been taken back later.
            if self.found && zxid > self.after && zxid <= self.up_to {
                self.bytes_left = self.bytes_left.checked_sub(payload.len() + TXN_BYTES)?;
                self.txns.push((zxid, payload.into()));
            }
            self.found |= zxid == self.after;
            if self.found && zxid == self.up_to {
                return Some(true);
            }
        }
        Some(false)
    }

    fn cut(&mut self, to: Zxid) {
        // What is given back counts again.
        let keep = self.txns.partition_point(|(zxid, _)| *zxid <= to || planted(Bug::BranchIsSent));
        let bytes = self.txns.drain(keep..).map(|(_, payload)| payload.len() + TXN_BYTES);
        self.bytes_left += bytes.sum::<usize>();
        self.found &= to >= self.after || planted(Bug::BranchIsFound);
    }

    /// A position of the log was reached.
    fn reached(&mut self, at: Zxid, chain: ChainHash) {
        self.at = Some((at, chain));
        self.found |= at == self.after;
    }
}

/// Bytes of a segment.
struct Window {
    offset: u64,
    bytes: AlignedBuf,
}

impl Window {
    /// Those from `offset` on, if there are any.
    fn rest(&self, offset: u64) -> &[u8] {
        let from = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
        self.bytes.get(from..).unwrap_or_default()
    }
}
