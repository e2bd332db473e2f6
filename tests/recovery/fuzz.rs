//! Arbitrary and mutated bytes through everything that reads a file of ours (M62, M63).

use proptest::prelude::*;
use ringkeeper::storage::{epoch, fuzz_epoch, fuzz_snapshot, fuzz_wal, names};

use crate::disk::Disk;
use crate::server::Server;

/// A valid segment, snapshot and epoch record, to be mutated.
fn valid() -> [Vec<u8>; 3] {
    let disk = Disk::new();
    let mut server = Server::must_start(&disk, 1);
    for round in 0..5_u8 {
        server.append(&[round; 1500]);
        server.flush().unwrap();
    }
    server.seal().unwrap();
    server.snapshot().unwrap();
    let segment = disk.contents(&disk.files_like("wal-")[0]);
    let snapshot = disk.contents(&disk.files_like("snapshot-")[0]);
    [segment, snapshot, disk.contents(names::EPOCH)]
}

fn feed(bytes: &[u8]) {
    fuzz_wal(bytes);
    fuzz_snapshot(bytes);
    fuzz_epoch(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        feed(&bytes);
    }

    #[test]
    fn mutated_files_never_panic(
        which in 0..3_usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 1..9_usize), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        block in proptest::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let mut file = valid()[which].clone();
        if let Some((from, to)) = block {
            let (from, to) = (from.index(file.len() / 4096) * 4096, to.index(file.len() / 4096) * 4096);
            file.copy_within(from..from + 4096, to);
        }
        for (at, value, width) in edits {
            let at = at.index(file.len());
            let width = width.min(8).min(file.len() - at);
            file[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        feed(&file);
    }
}

#[test]
fn valid_files_pass_every_entry_point() {
    let [segment, snapshot, record] = valid();
    feed(&segment);
    feed(&snapshot);
    feed(&record);
    assert_eq!(epoch::load(&record).map(|loaded| loaded.equal_copies), Ok(4));
}
