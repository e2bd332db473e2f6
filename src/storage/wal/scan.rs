#![forbid(unsafe_code)]
//! Reads one segment and says what verifies in it. Each segment is scanned by itself, so that many can be scanned at
//! once; `recover` joins the results.
//!
//! The rule that tells a torn tail from damage (reliability R4): where the next batch should be and none verifies,
//! look for any later batch or seal of the same generation. If there is one, the place was durable once: it is a
//! [`Fault`]. If there is none, this is where the log ends, and a batch that begins there was never acknowledged.

use std::ops::Range;

use super::format::{BATCH_HEADER_BYTES, Start};
use super::format::{
    BatchHeader, HeaderError, Place, Records, SegmentHeader, SegmentId, decode_by_own_word, looks_like_batch,
};
use super::recover::Cut;
use super::writer::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::base::Zxid;
use crate::storage::ClusterId;
use crate::storage::aligned::BLOCK_BYTES;

/// A batch or seal that verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchSpan {
    /// Where it begins.
    pub offset: u64,
    /// Its header.
    pub header: BatchHeader,
}

impl BatchSpan {
    /// Its records, from the bytes of its segment; a seal has none.
    pub fn records<'a>(&self, bytes: &'a [u8]) -> Records<'a> {
        let from = self.offset as usize + BATCH_HEADER_BYTES;
        let until = self.offset as usize + self.header.length as usize;
        Records::new(bytes.get(from..until).unwrap_or_default())
    }
}

/// A range that was durable once and does not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// First byte.
    pub offset: u64,
    /// Byte after the last.
    pub until: u64,
}

/// A batch that began where the log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TornBatch {
    /// Where it begins.
    pub offset: u64,
    /// Bytes it would take, as far as that can be read; at least a block.
    pub bytes: u64,
    /// First and last zxid, if its header verifies.
    pub zxids: Option<(Zxid, Zxid)>,
}

/// What an active segment holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentScan {
    /// Its header.
    pub header: SegmentHeader,
    /// Where it begins in the history.
    pub start: Start,
    /// What verifies, in order of offset.
    pub batches: Vec<BatchSpan>,
    /// What does not, with something that verifies behind it; or the end of a file that is too short, or that cannot be
    /// read.
    pub faults: Vec<Fault>,
    /// Where the next batch goes.
    pub end: u64,
    /// What was begun there.
    pub torn: Option<TornBatch>,
}

impl SegmentScan {
    /// The records after `after` that none of `cuts` took back, from the bytes that were scanned.
    pub fn records<'a>(
        &'a self,
        bytes: &'a [u8],
        after: Zxid,
        cuts: &'a [Cut],
    ) -> impl Iterator<Item = (Zxid, &'a [u8])> + 'a {
        let wanted = self.batches.iter().filter(move |span| span.header.last > after);
        wanted.flat_map(move |span| {
            let keeps = Cut::keeps(cuts, self.header.segment, span.offset);
            span.records(bytes).filter(move |(zxid, _)| *zxid > after && *zxid <= keeps)
        })
    }
}

/// What a file under a segment's name is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scanned {
    /// A segment with a place in the history; perhaps without a single batch that verifies.
    Active(SegmentScan),
    /// Prepared and never used, or its first write never became durable.
    Unused,
    /// No header, and nothing in it that verifies as a batch of this segment. `empty` when it is known to hold
    /// nothing: all zeros behind the first block.
    Unexplained {
        /// What is wrong with the first block.
        error: HeaderError,
        /// Whether nothing can have been in it.
        empty: bool,
    },
    /// The number in the header is not the one in the name.
    Misnamed(SegmentId),
    /// The header is damaged, yet batches of this segment verify: from the first zxid to the last.
    Headless {
        /// First zxid that verifies.
        first: Zxid,
        /// Last zxid that verifies.
        last: Zxid,
    },
    /// Another ensemble's.
    Foreign(ClusterId),
    /// Written by a later release.
    Newer(u32),
}

impl Scanned {
    /// Corrects what was found in bytes of which some were not there to read, and came as zeros: `unreadable`, ascending.
    ///
    /// Where the next batch would begin, or behind a batch that was begun there, such a block may hold what was
    /// acknowledged; it is a [`Fault`], and no torn tail. A place that was read and holds no batch is the end of the log
    /// all the same, whatever is behind it: batches are written one after the other (R2).
    #[must_use]
    pub fn without(mut self, unreadable: &[Range<u64>]) -> Scanned {
        if let Scanned::Active(scan) = &mut self
            && let Some(last) = unreadable.last().filter(|last| last.end > scan.end)
            && (scan.torn.is_some() || unreadable.iter().any(|range| range.contains(&scan.end)))
        {
            scan.faults.push(Fault { offset: scan.end, until: last.end });
            scan.torn = None;
        }
        self
    }
}

/// Reads the file named as segment `named` of `cluster`. Allocates about 1/28 of the input at most.
pub fn scan(cluster: ClusterId, named: SegmentId, bytes: &[u8]) -> Scanned {
    let header = match SegmentHeader::decode(bytes) {
        Ok(header) => header,
        Err(HeaderError::Newer(version)) => return Scanned::Newer(version),
        Err(error) => return scan_headless(cluster, named, bytes, error),
    };
    if header.identity.cluster != cluster {
        return Scanned::Foreign(header.identity.cluster);
    }
    if header.segment != named {
        // A header that went astray does not hide what is behind it.
        return match scan_headless(cluster, named, bytes, HeaderError::Damaged) {
            headless @ Scanned::Headless { .. } => headless,
            _ => Scanned::Misnamed(header.segment),
        };
    }
    if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&header.bytes)
        || !header.bytes.is_multiple_of(BLOCK_BYTES as u64)
    {
        return scan_headless(cluster, named, bytes, HeaderError::Damaged);
    }
    let body = &bytes[..bytes.len().min(usize::try_from(header.bytes).unwrap_or(usize::MAX))];
    match header.start {
        Some(start) => Scanned::Active(scan_active(header, start, body)),
        None => scan_prepared(header, body),
    }
}

fn scan_active(header: SegmentHeader, start: Start, bytes: &[u8]) -> SegmentScan {
    let mut offset = BLOCK_BYTES as u64;
    let mut scan =
        SegmentScan { header, start, batches: Vec::new(), faults: Vec::new(), end: offset, torn: None };
    loop {
        if let Some(batch) = verified_at(&header, offset, bytes) {
            scan.batches.push(BatchSpan { offset, header: batch });
            offset += batch.padded_bytes();
            continue;
        }
        // Nothing verifies here. Whether it once did shows in what comes after.
        let Some(found) = next_verified(&header, offset, bytes) else { break };
        scan.faults.push(Fault { offset, until: found });
        offset = found;
    }
    scan.end = offset;
    if (bytes.len() as u64) < header.bytes {
        // Its size was durable before its first batch: bytes are gone that may have been a part of the log.
        scan.faults.push(Fault { offset: offset.min(bytes.len() as u64), until: header.bytes });
    } else {
        scan.torn = torn_at(&header, offset, bytes);
    }
    scan
}

/// A prepared segment whose first block never changed holds nothing, even if a part of its first write came through.
/// With a second batch in it the first was acknowledged, and with it the header that is gone.
fn scan_prepared(header: SegmentHeader, bytes: &[u8]) -> Scanned {
    let first = BLOCK_BYTES as u64;
    let after_first = verified_at(&header, first, bytes).map_or(first, |batch| first + batch.padded_bytes());
    let Some(found) = next_verified(&header, after_first - first, bytes) else { return Scanned::Unused };
    let later = verified_at(&header, found, bytes).expect("it was just found there");
    let lost = verified_at(&header, first, bytes).unwrap_or(later);
    Scanned::Headless { first: lost.first, last: later.last }
}

fn scan_headless(cluster: ClusterId, named: SegmentId, bytes: &[u8], error: HeaderError) -> Scanned {
    let mut range: Option<(Zxid, Zxid)> = None;
    for offset in (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES) {
        let rest = &bytes[offset..];
        let Some((place, batch)) = decode_by_own_word(cluster, offset as u64, rest) else { continue };
        if batch.segment == named && batch.verify(place, rest) {
            let (first, last) = range.unwrap_or((batch.first, batch.last));
            range = Some((first.min(batch.first), last.max(batch.last)));
        }
    }
    match range {
        Some((first, last)) => Scanned::Headless { first, last },
        None => {
            let empty = bytes.get(BLOCK_BYTES..).is_some_and(|body| body.iter().all(|byte| *byte == 0));
            Scanned::Unexplained { error, empty: empty && bytes.len() > BLOCK_BYTES }
        }
    }
}

fn verified_at(header: &SegmentHeader, offset: u64, bytes: &[u8]) -> Option<BatchHeader> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let place = Place { cluster: header.identity.cluster, generation: header.generation, offset };
    let batch = BatchHeader::decode(place, rest)?;
    let ours = batch.segment == header.segment && batch.padded_bytes() <= rest.len() as u64;
    (ours && batch.verify(place, rest)).then_some(batch)
}

/// The first batch of a segment, if it verifies. `block` is what follows the header, a block or more.
pub fn first_batch(header: &SegmentHeader, block: &[u8]) -> Option<BatchHeader> {
    let offset = BLOCK_BYTES as u64;
    let place = Place { cluster: header.identity.cluster, generation: header.generation, offset };
    let batch = BatchHeader::decode(place, block)?;
    (batch.segment == header.segment && batch.verify(place, block)).then_some(batch)
}

/// The first block after `offset` where a batch of this generation verifies.
fn next_verified(header: &SegmentHeader, offset: u64, bytes: &[u8]) -> Option<u64> {
    let block = BLOCK_BYTES as u64;
    (offset + block..bytes.len() as u64)
        .step_by(BLOCK_BYTES)
        .find(|&candidate| verified_at(header, candidate, bytes).is_some())
}

fn torn_at(header: &SegmentHeader, offset: u64, bytes: &[u8]) -> Option<TornBatch> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    if !looks_like_batch(header.generation, rest) {
        return None;
    }
    let place = Place { cluster: header.identity.cluster, generation: header.generation, offset };
    let named = BatchHeader::decode(place, rest);
    let within = |bytes: u64| bytes.min(rest.len() as u64);
    Some(TornBatch {
        offset,
        bytes: named.map_or(BLOCK_BYTES as u64, |batch| within(batch.padded_bytes())),
        zxids: named.map(|batch| (batch.first, batch.last)),
    })
}
