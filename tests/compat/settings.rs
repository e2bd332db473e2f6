#![forbid(unsafe_code)]
//! Settings whose effect shows on the disk, on a running server of ours.

use super::hostile::{ours, until};
use super::{Group, Scene, Setup};
use crate::support::client::{Client, body, op};

/// Sizes of the files of the data folder whose name begins so.
fn files(s: &Scene, beginning: &str) -> Vec<u64> {
    let folder = s.folder().join("data").join("ringkeeper-1");
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning))
        // A file may go between the listing and the look.
        .filter_map(|entry| entry.metadata().ok().map(|data| data.len()))
        .collect()
}

/// The snapshots that are whole.
fn snapshots(s: &Scene) -> Vec<std::path::PathBuf> {
    let folder = s.folder().join("data").join("ringkeeper-1");
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "rks")).collect()
}

fn write(client: &mut Client, times: usize, bytes: usize) {
    for _ in 0..times {
        client.send(op::SET_DATA, &body::set("/t", Some(&vec![7; bytes]), -1));
    }
    (0..times).for_each(|_| assert_eq!(client.reply().err, 0));
}

ours!(
    s01_the_log_rolls_and_a_snapshot_comes_where_the_sizes_say,
    Group::Fresh(Setup {
        keys: &[("txnLogSizeLimitInKb", "100"), ("snapSizeLimitInKb", "2000"), ("jute.maxbuffer", "8192")],
        properties: &[],
    }),
    |s| {
        let mut client = Client::open(s);
        client.create("/t", b"").unwrap();
        write(&mut client, 200, 4_000);
        // 800 KB: below half of what calls for a snapshot, and eight files of the log.
        assert_eq!(files(s, "snapshot-"), [0; 0]);
        let segments = files(s, "wal-");
        assert!(segments.len() > 8, "{segments:?}");
        assert!(segments.iter().all(|bytes| *bytes <= 100 << 10), "{segments:?}");
        write(&mut client, 400, 4_000);
        until("2.4 MB have called for a snapshot", || !files(s, "snapshot-").is_empty());
        drop(client);
        s.restart().unwrap();
        assert_eq!(Client::open(s).exists("/t", false).unwrap().version, 600);
    }
);

ours!(
    s02_a_timed_purge_removes_snapshots_that_earlier_starts_have_left,
    Group::Fresh(Setup { keys: &[("snapCount", "100"), ("autopurge.purgeInterval", "1")], properties: &[] }),
    |s| {
        let mut client = Client::open(s);
        client.create("/t", b"").unwrap();
        until("a snapshot", || {
            write(&mut client, 50, 10);
            !snapshots(s).is_empty()
        });
        let oldest = snapshots(s).into_iter().min().unwrap();
        let kept = std::fs::read(&oldest).unwrap();
        until("newer snapshots push the first one out", || {
            write(&mut client, 50, 10);
            !oldest.exists()
        });
        drop(client);
        s.kill();
        std::fs::write(&oldest, &kept).unwrap();
        // A start that finds one too many removes it, with no write and no snapshot of its own.
        s.restart().unwrap();
        until("the purge at the start", || !oldest.exists());
        assert!(snapshots(s).len() >= 3);
    }
);
