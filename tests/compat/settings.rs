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
