#![forbid(unsafe_code)]
//! The names of our files. A name is a hint for finding a file, never a proof of what is in it: whoever reads the
//! file compares the number in its header with the one in its name (reliability L15).
//!
//! ```text
//! dataLogDir/ringkeeper-1/  wal-<number, 16 hex>.seg     a segment
//!                           wal-<number, 16 hex>.prep    a segment being prepared; never loaded
//! dataDir/ringkeeper-1/     snapshot-<zxid, 16 hex>.rks  a published snapshot
//!                           snapshot-<zxid, 16 hex>.part a snapshot being written; never loaded
//!                           epoch.rec                    identity and epochs, four copies
//!                           epoch.part                   the same before its first publication; never loaded
//!                           damaged-<snapshot's name>    a damaged snapshot that an operator gave up; never loaded
//!                           lock                         held while a server runs
//! ```

use super::wal::SegmentId;
use crate::base::Zxid;

/// Our directory below `dataDir` and `dataLogDir`. The number is the layout's; each file has a version of its own.
pub const DIRECTORY: &str = "ringkeeper-1";

/// Where stock keeps its files.
pub const STOCK_DIRECTORY: &str = "version-2";

/// The file locked by a running server.
pub const LOCK: &str = "lock";

/// The epoch record.
pub const EPOCH: &str = "epoch.rec";

/// The epoch record before it was published.
pub const EPOCH_PART: &str = "epoch.part";

/// What a name says the file is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileKind {
    /// A log segment.
    Segment(SegmentId),
    /// A log segment that was never finished.
    SegmentPart,
    /// A snapshot.
    Snapshot(Zxid),
    /// A snapshot that was never published.
    SnapshotPart,
    /// The epoch record.
    Epoch,
    /// An epoch record that was never published.
    EpochPart,
    /// The lock file.
    Lock,
    /// None of ours.
    Unexplained,
}

/// Name of a segment.
pub fn segment(segment: SegmentId) -> String {
    format!("wal-{:016x}.seg", segment.0)
}

/// Name of a segment while it is prepared.
pub fn segment_part(segment: SegmentId) -> String {
    format!("wal-{:016x}.prep", segment.0)
}

/// Name of a snapshot.
pub fn snapshot(zxid: Zxid) -> String {
    format!("snapshot-{:016x}.rks", zxid.0)
}

/// Name of a snapshot while it is written.
pub fn snapshot_part(zxid: Zxid) -> String {
    format!("snapshot-{:016x}.part", zxid.0)
}

/// Name under which a file that an operator gave up is kept: none of ours, so that nothing reads it and nothing removes it.
pub fn set_aside(name: &str) -> String {
    format!("damaged-{name}")
}

/// Reads a name.
pub fn parse(name: &str) -> FileKind {
    match name {
        EPOCH => return FileKind::Epoch,
        EPOCH_PART => return FileKind::EpochPart,
        LOCK => return FileKind::Lock,
        _ => {}
    }
    let numbered = |prefix: &str, suffix: &str| {
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let ours = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if ours { u64::from_str_radix(digits, 16).ok() } else { None }
    };
    if let Some(number) = numbered("wal-", ".seg") {
        FileKind::Segment(SegmentId(number))
    } else if numbered("wal-", ".prep").is_some() {
        FileKind::SegmentPart
    } else if let Some(zxid) = numbered("snapshot-", ".rks") {
        FileKind::Snapshot(Zxid(zxid.cast_signed()))
    } else if numbered("snapshot-", ".part").is_some() {
        FileKind::SnapshotPart
    } else {
        FileKind::Unexplained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_what_it_was_made_from() {
        for n in [0, 1, 0xabc, u64::MAX] {
            assert_eq!(parse(&segment(SegmentId(n))), FileKind::Segment(SegmentId(n)));
            assert_eq!(parse(&segment_part(SegmentId(n))), FileKind::SegmentPart);
        }
        for z in [0, 1, i64::MAX, 7 << 32] {
            assert_eq!(parse(&snapshot(Zxid(z))), FileKind::Snapshot(Zxid(z)));
            assert_eq!(parse(&snapshot_part(Zxid(z))), FileKind::SnapshotPart);
            assert_eq!(parse(&set_aside(&snapshot(Zxid(z)))), FileKind::Unexplained);
        }
    }

    #[test]
    fn a_name_that_is_not_exactly_ours_is_unexplained() {
        for name in [
            "",
            "wal-1.seg",
            "wal-00000000000000AB.seg",
            "wal-+000000000000001.seg",
            "log.1",
            "snapshot.0",
            "lock~",
        ] {
            assert_eq!(parse(name), FileKind::Unexplained, "{name}");
        }
    }
}
