#![forbid(unsafe_code)]
//! Entry points for fuzzing: arbitrary bytes through everything that reads a file of ours. None may panic, and none may
//! allocate by a declared size (reliability M62, M63, §9).

use super::ClusterId;
use super::aligned::AlignedBuf;
use super::wal::{self, SegmentHeader, SegmentId};
use super::{archive, epoch, inspect};
use crate::base::Zxid;

/// As a log segment: scanned, joined, replayed, described.
pub fn fuzz_wal(bytes: &[u8]) {
    let header = SegmentHeader::decode(bytes).ok();
    let (cluster, segment) = header
        .map_or((ClusterId::default(), SegmentId(1)), |header| (header.identity.cluster, header.segment));
    let scanned = wal::scan(cluster, segment, bytes);
    if let wal::Scanned::Active(scan) = &scanned {
        let payloads: usize = scan.records(bytes, Zxid::ZERO, &[]).map(|(_, payload)| payload.len()).sum();
        assert!(payloads <= bytes.len());
    }
    // Either verdict will do, as long as there is one.
    let _ = wal::join(cluster, Zxid::ZERO, SegmentId(0), &[(segment, scanned)]);
    let mut text = String::new();
    inspect::wal(bytes, &mut text).expect("a string takes any text");
}

/// As a snapshot: indexed, verified, described; and each archive without the checksums before it.
pub fn fuzz_snapshot(bytes: &[u8]) {
    let mut text = String::new();
    inspect::snapshot(bytes, true, &mut text).expect("a string takes any text");
    let archived = AlignedBuf::copy_of(bytes);
    let _ = archive::nodes(&archived).map(Iterator::count);
    let _ = archive::acls(&archived).map(Iterator::count);
    let _ = archive::sessions(&archived).map(Iterator::count);
}

/// As an epoch record.
pub fn fuzz_epoch(bytes: &[u8]) {
    if let Ok(loaded) = epoch::load(bytes) {
        assert!(loaded.equal_copies >= epoch::COPIES_NEEDED);
    }
}
