#![forbid(unsafe_code)]
//! Joins scanned segments into one history and decides what it is worth: whole, cut at a torn tail, or damaged.
//!
//! The join trusts nothing but the chain: each batch names the hash of the one before, each segment the hash of the
//! last batch before it. Where a link is missing there is a [`Hole`]. A hole that ends at or below the snapshot that
//! was loaded is dropped, since the snapshot holds what was in it (reliability R11); any other refuses the log. So
//! the records after the snapshot are contiguous, or there is an error.

use super::format::{BatchKind, ChainHash, SegmentId};
use super::scan::{Fault, Scanned, SegmentScan, TornBatch};
use super::writer::{ActiveSegment, ClosedSegment, WalPosition};
use crate::base::Zxid;
use crate::base::planted::{Bug, planted};
use crate::storage::aligned::BLOCK_BYTES;
use crate::storage::{ClusterId, names};

/// A part of the history that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hole {
    /// The segment it was found in.
    pub segment: SegmentId,
    /// Where in it.
    pub at: Fault,
    /// First zxid missing.
    pub first: Zxid,
    /// Last zxid missing; `None` if nothing tells.
    pub last: Option<Zxid>,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Hole { segment, at, first, last } = self;
        write!(
            f,
            "segment {segment} ({}), bytes {} to {}: zxids {first}",
            names::segment(*segment),
            at.offset,
            at.until
        )?;
        match last {
            Some(last) => write!(f, " to {last}"),
            None => write!(f, " and later"),
        }
    }
}

/// Why a log cannot be gone on with. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogFault {
    /// Records after the snapshot are damaged or missing. Nothing on this server repairs that; a copy may.
    #[error("the log is damaged in {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; in "))]
    Damaged(Vec<Hole>),
    /// The log begins after what the newest loadable snapshot holds.
    #[error(
        "the log begins after zxid {begins_after}, but the newest snapshot that loads ends at {snapshot}"
    )]
    BeginsLate {
        /// The zxid before the oldest record.
        begins_after: Zxid,
        /// What there is to go on from; 0 without any snapshot.
        snapshot: Zxid,
    },
    /// Another ensemble's segment.
    #[error("segment {segment} belongs to cluster {found}, not to this server's {expected}")]
    Foreign {
        /// Which file.
        segment: SegmentId,
        /// Whose it is.
        found: ClusterId,
        /// Who we are.
        expected: ClusterId,
    },
    /// A cut takes back what was known to be committed: whoever wrote it was wrong (P11).
    #[error("segment {segment} takes back zxids after {to}, though {committed} was known to be committed")]
    CutBelowCommitted {
        /// The segment that holds the cut.
        segment: SegmentId,
        /// The last zxid kept.
        to: Zxid,
        /// What was committed.
        committed: Zxid,
    },
    /// A later release's segment.
    #[error("segment {segment} has log format version {version}, which is newer than this server reads")]
    Newer {
        /// Which file.
        segment: SegmentId,
        /// Its version.
        version: u32,
    },
}

/// How the log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// Behind a whole batch.
    Clean,
    /// In a batch that was never acknowledged; it is cut: zeroed and flushed before anything is written.
    Torn {
        /// The segment.
        segment: SegmentId,
        /// What was begun.
        batch: TornBatch,
    },
}

/// Where the end of the history was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The segment that holds the cut.
    pub segment: SegmentId,
    /// Where in it.
    pub offset: u64,
    /// The last zxid that was kept.
    pub to: Zxid,
}

impl Cut {
    /// The last zxid, of those in the batch at this place, that no later cut took back.
    pub fn keeps(cuts: &[Cut], segment: SegmentId, offset: u64) -> Zxid {
        let later = cuts.iter().filter(|cut| (cut.segment, cut.offset) > (segment, offset));
        let more = i64::from(planted(Bug::CutTakesOneMore));
        later.map(|cut| Zxid(cut.to.0 - more)).min().unwrap_or(Zxid::MAX)
    }
}

/// A log that can be gone on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Where the writer goes on.
    pub position: WalPosition,
    /// Highest commit zxid any batch recorded: a member of an ensemble applies up to it, the rest is pending until a
    /// leader decides (R1). A single server's own flush commits.
    pub committed: Zxid,
    /// How it ends.
    pub tail: Tail,
    /// Segments with records after the snapshot, oldest first.
    pub replay: Vec<SegmentId>,
    /// What was taken back, in the order of the log.
    pub cuts: Vec<Cut>,
    /// Files that hold nothing of the history and may be prepared anew.
    pub free: Vec<SegmentId>,
    /// Damage that the snapshot covers.
    pub dropped: Vec<Hole>,
    /// Files under a segment's name that are none (L15): never loaded, left alone.
    pub unexplained: Vec<SegmentId>,
}

/// Joins `segments`, in ascending order of their names' numbers, on top of the snapshot at `snapshot` (0: none).
/// `below` is the highest number of the segments that were not read because the snapshot holds all of them; 0 if none.
pub fn join(
    cluster: ClusterId,
    snapshot: Zxid,
    below: SegmentId,
    segments: &[(SegmentId, Scanned)],
) -> Result<Log, LogFault> {
    assert!(segments.first().is_none_or(|(segment, _)| *segment > below));
    assert!(segments.is_sorted_by_key(|(segment, _)| *segment));
    let mut join = Join { snapshot, highest: below, ..Join::default() };
    for (segment, scanned) in segments {
        let segment = *segment;
        match scanned {
            Scanned::Active(scan) => join.segment(scan),
            Scanned::Unused => join.free.push(segment),
            // A file of zeros too: a segment has its header before it has its name, so somebody or something wiped it.
            Scanned::Unexplained { .. } if segment == join.highest.next() => join.unreadable(segment),
            Scanned::Unexplained { .. } | Scanned::Misnamed(_) => join.unexplained.push(segment),
            Scanned::Headless { first, last } => join.headless(segment, *first, *last),
            Scanned::Foreign(found) => {
                return Err(LogFault::Foreign { segment, found: *found, expected: cluster });
            }
            Scanned::Newer(version) => return Err(LogFault::Newer { segment, version: *version }),
        }
    }
    // Numbers follow each other; only the names of files that are not ours are left out.
    let mut next = join.highest.next();
    while join.unexplained.contains(&next) {
        next = next.next();
    }
    join.finish(next)
}

const HEADER: Fault = Fault { offset: 0, until: BLOCK_BYTES as u64 };

#[derive(Default)]
struct Join {
    snapshot: Zxid,
    /// The zxid before the oldest record.
    begins_after: Option<Zxid>,
    /// Last zxid and hash so far.
    last: Zxid,
    chain: ChainHash,
    sealed: bool,
    committed: Zxid,
    /// The last segment with something in it.
    highest: SegmentId,
    /// Segments with batches, and their last zxid.
    closed: Vec<ClosedSegment>,
    /// The last of them could go on here.
    end: Option<(ActiveSegment, Option<TornBatch>)>,
    replay: Vec<SegmentId>,
    cuts: Vec<Cut>,
    contradiction: Option<LogFault>,
    free: Vec<SegmentId>,
    unexplained: Vec<SegmentId>,
    holes: Vec<Hole>,
}

impl Join {
    fn segment(&mut self, scan: &SegmentScan) {
        let segment = scan.header.segment;
        let (previous, chain) = (scan.start.previous, scan.start.chain);
        let linked = previous == self.last && chain == self.chain;
        // The end of a segment that is too short: this one tells what was there.
        let open = self.holes.pop_if(|hole| hole.last.is_none());
        if self.begins_after.is_none() {
            self.begins_after = Some(previous);
        } else if let Some(open) = open.filter(|_| !linked) {
            self.hole(open.segment, open.at, open.first, Some(previous.max(self.last)));
        } else if !linked {
            // Lost batches, or a log that went on from a snapshot: either way only a snapshot fills it. A segment
            // that begins before the last one ended contradicts it in all they both hold.
            let first = if previous > self.last { self.last.next() } else { previous };
            self.hole(segment, HEADER, first, Some(previous.max(self.last)));
        }
        self.last = previous;
        self.chain = chain;

        let mut faults = scan.faults.iter().peekable();
        for span in &scan.batches {
            let batch = &span.header;
            let here = Fault { offset: span.offset, until: span.offset + batch.padded_bytes() };
            let follows = match batch.kind {
                BatchKind::Batch => batch.first.follows(self.last),
                BatchKind::Seal | BatchKind::Restart => batch.last == self.last,
                BatchKind::Cut => batch.last <= self.last,
            };
            if let Some(fault) = faults.next_if(|fault| fault.offset < span.offset) {
                // Where only a seal was lost, no record is missing; nor where all that was lost is taken back here.
                let last = match batch.kind {
                    BatchKind::Batch => Zxid(batch.first.0 - 1),
                    BatchKind::Seal | BatchKind::Restart => batch.last,
                    BatchKind::Cut => batch.last.max(self.last),
                };
                if last != self.last {
                    self.hole(segment, *fault, self.last.next().min(last), Some(last));
                }
            } else if !follows || batch.previous != self.chain {
                self.hole(segment, here, self.last.next().min(batch.first), Some(batch.last));
            }
            if batch.kind == BatchKind::Cut {
                let (to, committed) = (batch.last, self.committed.max(batch.committed));
                if to < committed {
                    self.contradiction.get_or_insert(LogFault::CutBelowCommitted { segment, to, committed });
                }
                self.cuts.push(Cut { segment, offset: span.offset, to });
            }
            self.last = batch.last;
            self.chain = batch.hash;
            self.sealed = batch.kind == BatchKind::Seal;
            self.committed = self.committed.max(batch.committed);
        }
        for fault in faults {
            self.hole(segment, *fault, self.last.next(), None);
        }

        if scan.batches.is_empty() && scan.faults.is_empty() {
            // Its first write never became durable whole. What it says of the batch before it holds all the same.
            self.free.push(segment);
            return;
        }
        if self.last > self.snapshot {
            self.replay.push(segment);
        }
        self.highest = segment;
        self.closed.push(ClosedSegment { segment, last: self.last });
        let active = ActiveSegment {
            segment,
            generation: scan.header.generation,
            bytes: scan.header.bytes,
            offset: scan.end,
        };
        self.end = Some((active, scan.torn));
    }

    fn headless(&mut self, segment: SegmentId, first: Zxid, last: Zxid) {
        self.hole(segment, HEADER, first, Some(last));
        self.begins_after.get_or_insert(Zxid(first.0 - 1));
        self.last = last;
        self.highest = segment;
        self.closed.push(ClosedSegment { segment, last });
        self.end = None;
    }

    /// A file in the place of the log's next segment, of which nothing can be read: it may have been the log's end.
    /// Only a segment that goes on from the one before shows that it was not.
    fn unreadable(&mut self, segment: SegmentId) {
        self.hole(segment, HEADER, self.last.next(), None);
        self.unexplained.push(segment);
    }

    fn hole(&mut self, segment: SegmentId, at: Fault, first: Zxid, last: Option<Zxid>) {
        self.holes.push(Hole { segment, at, first, last });
    }

    fn finish(self, next_segment: SegmentId) -> Result<Log, LogFault> {
        let snapshot = self.snapshot;
        let (dropped, damaged): (Vec<Hole>, Vec<Hole>) =
            self.holes.into_iter().partition(|hole| hole.last.is_some_and(|last| last <= snapshot));
        if !damaged.is_empty() {
            return Err(LogFault::Damaged(damaged));
        }
        if let Some(begins_after) = self.begins_after.filter(|begins_after| *begins_after > snapshot) {
            return Err(LogFault::BeginsLate { begins_after, snapshot });
        }

        if let Some(fault) = self.contradiction {
            return Err(fault);
        }

        let tail = match self.end {
            Some((ActiveSegment { segment, .. }, Some(batch))) => Tail::Torn { segment, batch },
            _ => Tail::Clean,
        };
        // Below the snapshot, or behind dropped damage, the log goes on in a new segment: its header says from where.
        let goes_on = self.last >= snapshot && dropped.is_empty();
        let mut closed = self.closed;
        let active = self.end.filter(|_| goes_on).map(|(active, _)| active);
        if let Some(active) = active {
            let last = closed.pop().expect("where the log ends there is a segment");
            assert_eq!(last.segment, active.segment);
        }
        Ok(Log {
            position: WalPosition {
                last: self.last.max(snapshot),
                chain: self.chain,
                sealed: self.sealed || active.is_none(),
                from: SegmentId(0),
                active,
                closed,
                next_segment,
            },
            committed: self.committed,
            tail,
            replay: self.replay,
            cuts: self.cuts,
            free: self.free,
            dropped,
            unexplained: self.unexplained,
        })
    }
}
