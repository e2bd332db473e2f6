#![forbid(unsafe_code)]
//! Which snapshots may go, how far back the log must stay, and when the next snapshot is due.

use std::collections::BTreeSet;

use crate::base::{Zxid, limits};

/// A snapshot file in the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotFile {
    /// By its name.
    pub zxid: Zxid,
    /// Whether it was read back whole since this server started. A file that was only written does not count.
    pub verified: bool,
}

/// What may be removed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Purge {
    /// Snapshots, oldest first.
    pub snapshots: Vec<Zxid>,
    /// Records up to this zxid are not needed any more; 0 while all are.
    pub log_up_to: Zxid,
}

/// Decides by what verifies, never by how many files there are (reliability R7, S38): the `retain` newest verified
/// snapshots stay (stock's `autopurge.snapRetainCount`; at least [`limits::SNAPSHOTS_KEPT_MIN`]), and whatever is
/// newer than the oldest of them; the log stays back to the second-newest verified one. With fewer verified snapshots
/// than that, everything stays.
pub fn purge(snapshots: &[SnapshotFile], retain: usize) -> Purge {
    let retain = retain.max(limits::SNAPSHOTS_KEPT_MIN);
    let mut verified: Vec<Zxid> =
        snapshots.iter().filter(|file| file.verified).map(|file| file.zxid).collect();
    verified.sort_unstable();
    verified.dedup();
    let log_up_to = verified.len().checked_sub(2).map_or(Zxid::ZERO, |second| verified[second]);
    let mut old = match verified.len().checked_sub(retain) {
        Some(oldest_kept) => {
            let kept = verified[oldest_kept];
            snapshots.iter().map(|file| file.zxid).filter(|zxid| *zxid < kept).collect()
        }
        None => Vec::new(),
    };
    old.sort_unstable();
    assert!(old.iter().all(|zxid| *zxid <= log_up_to), "a snapshot goes only after the log it needs");
    Purge { snapshots: old, log_up_to }
}

/// The snapshot to read back next, where a purge is to find `retain` verified ones among those of earlier starts: the
/// newest of which nothing is known. `None` once there are enough, or nothing is unknown; `faulty` did not read back.
pub fn next_to_verify(snapshots: &[SnapshotFile], faulty: &BTreeSet<Zxid>, retain: usize) -> Option<Zxid> {
    let retain = retain.max(limits::SNAPSHOTS_KEPT_MIN);
    if snapshots.iter().filter(|file| file.verified).count() >= retain {
        return None;
    }
    let unknown = snapshots.iter().filter(|file| !file.verified && !faulty.contains(&file.zxid));
    unknown.map(|file| file.zxid).max()
}

/// What happened since the last snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SinceSnapshot {
    /// Txns logged.
    pub txns: u64,
    /// Bytes logged.
    pub log_bytes: u64,
    /// Size of that snapshot.
    pub snapshot_bytes: u64,
}

/// Log bytes behind a snapshot that are always allowed: replaying them takes about a second.
const LOG_BYTES_ALLOWED: u64 = 256 << 20;

/// What of the log calls for a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotLimits {
    /// Txns (stock's `snapCount`).
    pub txns: u32,
    /// Bytes (stock's `snapSizeLimitInKb`); `None`: they do not count.
    pub log_bytes: Option<u64>,
}

/// Whether a snapshot should start. `roll` is random, drawn anew after each snapshot: the servers of an ensemble should
/// not all write theirs at once (stock `SyncRequestProcessor.shouldSnapshot`: half of either limit, and up to another
/// half). Bytes bound the replay in any case, without letting small writes cost large snapshots.
pub fn snapshot_due(since: &SinceSnapshot, limits: &SnapshotLimits, roll: u32) -> bool {
    let half = u64::from(limits.txns / 2);
    let txns = half + u64::from(roll) % half.max(1);
    let bytes = limits.log_bytes.map_or(u64::MAX, |bytes| {
        let half = bytes / 2;
        half + ((u128::from(half) * u128::from(roll)) >> 32) as u64
    });
    since.txns > txns
        || since.log_bytes > bytes
        || since.log_bytes > LOG_BYTES_ALLOWED.max(since.snapshot_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(i64, bool)], retain: usize, gone: &[i64], log_up_to: i64) {
        let files: Vec<_> =
            files.iter().map(|&(zxid, verified)| SnapshotFile { zxid: Zxid(zxid), verified }).collect();
        let expected =
            Purge { snapshots: gone.iter().copied().map(Zxid).collect(), log_up_to: Zxid(log_up_to) };
        assert_eq!(purge(&files, retain), expected);
    }

    #[test]
    fn the_newest_verified_snapshots_stay_and_the_log_of_the_last_two() {
        check(&[], 3, &[], 0);
        check(&[(5, true)], 3, &[], 0);
        check(&[(5, true), (9, true)], 3, &[], 5);
        check(&[(1, true), (5, true), (9, true), (12, true)], 3, &[1], 9);
        check(&[(1, true), (5, true), (9, true), (12, true)], 1, &[1], 9);
        check(&[(1, true), (5, true), (9, true), (12, true)], 4, &[], 9);
    }

    #[test]
    fn snapshots_that_do_not_verify_push_nothing_out() {
        check(&[(1, false), (5, false), (9, false), (12, false)], 3, &[], 0);
        check(&[(1, true), (5, false), (9, false), (12, false)], 3, &[], 0);
        check(&[(1, true), (3, false), (5, true), (9, false), (12, true)], 3, &[], 5);
        check(
            &[(0, false), (1, true), (2, true), (3, false), (5, true), (9, false), (12, true)],
            3,
            &[0, 1],
            5,
        );
    }

    #[test]
    fn snapshots_are_read_back_newest_first_until_enough_are_verified() {
        let check = |files: &[(i64, bool)], faulty: &[i64], expected: Option<i64>| {
            let files: Vec<_> =
                files.iter().map(|&(zxid, verified)| SnapshotFile { zxid: Zxid(zxid), verified }).collect();
            let faulty = faulty.iter().copied().map(Zxid).collect();
            assert_eq!(next_to_verify(&files, &faulty, 3), expected.map(Zxid), "{files:?}");
        };
        check(&[], &[], None);
        check(&[(1, true)], &[], None);
        check(&[(1, false), (5, false), (3, false), (9, true)], &[], Some(5));
        check(&[(1, false), (5, false), (3, false), (9, true)], &[5], Some(3));
        check(&[(1, false), (5, false), (9, true)], &[5, 1], None);
        check(&[(1, false), (3, true), (5, true), (9, true)], &[], None);
    }

    #[test]
    fn a_snapshot_is_due_by_txns_with_a_roll_or_by_bytes() {
        let since = |txns, log_bytes, snapshot_bytes| SinceSnapshot { txns, log_bytes, snapshot_bytes };
        let limits = SnapshotLimits { txns: 100_000, log_bytes: None };
        assert!(!snapshot_due(&since(50_000, 0, 0), &limits, 0));
        assert!(snapshot_due(&since(50_001, 0, 0), &limits, 0));
        assert!(!snapshot_due(&since(50_001, 0, 0), &limits, 7));
        assert!(snapshot_due(&since(100_000, 0, 0), &limits, u32::MAX));
        assert!(snapshot_due(&since(1, 300 << 20, 0), &limits, 0));
        assert!(!snapshot_due(&since(1, 300 << 20, 1 << 30), &limits, 0));
    }

    #[test]
    fn a_snapshot_is_due_between_half_and_all_of_the_bytes_that_are_set() {
        let since = |log_bytes| SinceSnapshot { txns: 1, log_bytes, snapshot_bytes: 1 << 40 };
        let limits = SnapshotLimits { txns: 100_000, log_bytes: Some(1000) };
        assert!(!snapshot_due(&since(500), &limits, 0));
        assert!(snapshot_due(&since(501), &limits, 0));
        assert!(!snapshot_due(&since(750), &limits, 1 << 31));
        assert!(snapshot_due(&since(751), &limits, 1 << 31));
        assert!(!snapshot_due(&since(999), &limits, u32::MAX));
        assert!(snapshot_due(&since(1000), &limits, u32::MAX));
        let most = SnapshotLimits { log_bytes: Some(u64::MAX), ..limits };
        assert!(!snapshot_due(&since(1 << 40), &most, u32::MAX));
    }
}
