//! Rot, misdirected and lost writes, and files that nobody explains (F4, F7, F8; S33, S37; M63, L15).

use ringkeeper::base::Zxid;
use ringkeeper::storage::aligned::AlignedBuf;
use ringkeeper::storage::names;
use ringkeeper::storage::recovery::{FileEntry, RecoverError, Source, recover};
use ringkeeper::storage::wal::{LogFault, SegmentId};

use crate::disk::{Disk, View};
use crate::server::{Server, settings, state_of};

/// A sealed log of three segments and more, each batch of one record.
fn sealed_log() -> (Disk, Server) {
    let disk = Disk::new();
    let mut server = Server::must_start(&disk, 1);
    for round in 0..14_u8 {
        server.append(&[round; 3000]);
        server.flush().unwrap();
    }
    server.seal().unwrap();
    assert!(server.wal.active().expect("it was written").segment >= SegmentId(3));
    (disk, server)
}

/// Either the whole state, or a refusal that names the damage; never less.
fn check_damaged(disk: &Disk, server: &Server, what: &str) -> bool {
    let before: Vec<Vec<u8>> = disk.files().iter().map(|name| disk.contents(name)).collect();
    match Server::start(disk, 2).expect("the power is on") {
        Ok(after) => {
            assert_eq!(after.state, server.state, "{what}");
            false
        }
        Err(RecoverError::Log { fault: LogFault::Damaged(holes), .. }) => {
            assert!(!holes.is_empty(), "{what}");
            for hole in holes {
                assert!(hole.first > Zxid::ZERO && hole.first.0 <= 15, "{what}: {hole}");
            }
            let after: Vec<Vec<u8>> = disk.files().iter().map(|name| disk.contents(name)).collect();
            assert_eq!(before, after, "{what}: a refused start changes nothing");
            true
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn a_flipped_bit_in_a_sealed_batch_refuses_the_start_and_is_never_cut_s33() {
    let (disk, server) = sealed_log();
    let mut refused = 0;
    let mut sampled = 0;
    for name in disk.files_like("wal-") {
        let length = disk.contents(&name).len();
        for at in (0..length).step_by(97) {
            let copy = disk.copy();
            copy.tamper(&name, |file| file[at] ^= 0x10);
            sampled += 1;
            refused += u32::from(check_damaged(&copy, &server, &format!("{name}, byte {at}")));
        }
    }
    assert!(sampled > 1000);
    assert!(refused > 300, "only {refused} of {sampled} flips hit something that counts");
}

#[test]
fn the_refusal_names_segment_offset_and_zxids() {
    let (disk, _) = sealed_log();
    // Segment 1: the header, then batches of one block with zxids 1, 2, 3, ...
    disk.tamper(&names::segment(SegmentId(1)), |file| file[2 * 4096 + 200] ^= 1);
    let Err(error) = Server::start(&disk, 2).unwrap() else { panic!("damage was not seen") };
    assert_eq!(
        error.to_string(),
        "the log is damaged in segment 1 (wal-0000000000000001.seg), bytes 8192 to 12288: zxids 0x2 to 0x2"
    );
}

#[test]
fn damage_below_a_snapshot_is_dropped() {
    let (disk, mut server) = sealed_log();
    server.snapshot().unwrap();
    server.append(b"after the snapshot");
    server.flush().unwrap();
    for name in disk.files_like("wal-") {
        // The last segment holds the record behind the snapshot.
        if name != names::segment(server.wal.active().unwrap().segment) {
            let copy = disk.copy();
            copy.tamper(&name, |file| file[4096..8192].fill(0xee));
            assert_eq!(Server::must_start(&copy, 2).state, server.state, "{name}");
        }
    }
    let active = names::segment(server.wal.active().unwrap().segment);
    disk.tamper(&active, |file| file[4096..4196].fill(0xee));
    let mut after = Server::must_start(&disk, 2);
    assert_eq!(after.state, server.state);
    assert_eq!(after.report.dropped.len(), 1);
    // It goes on in a new segment, and starts again.
    after.append(b"more");
    after.flush().unwrap();
    assert_eq!(Server::must_start(&disk, 3).state, after.state);
}

#[test]
fn a_batch_that_lands_in_anothers_place_is_found_at_both_s37() {
    let (disk, server) = sealed_log();
    let (first, second) = (names::segment(SegmentId(1)), names::segment(SegmentId(2)));
    let block = |name: &str, at: usize| disk.contents(name)[at * 4096..(at + 1) * 4096].to_vec();
    for (from, to) in [((&first, 2), (&first, 3)), ((&first, 2), (&second, 2)), ((&second, 1), (&first, 1))] {
        let copy = disk.copy();
        let moved = block(from.0, from.1);
        copy.tamper(to.0, |file| file[to.1 * 4096..(to.1 + 1) * 4096].copy_from_slice(&moved));
        assert!(check_damaged(&copy, &server, &format!("{from:?} written over {to:?}")));
        // The write that went astray left its own place as it was before.
        let copy = disk.copy();
        copy.tamper(from.0, |file| file[from.1 * 4096..(from.1 + 1) * 4096].fill(0));
        assert!(check_damaged(&copy, &server, &format!("{from:?} never written")));
    }
}

#[test]
fn a_segment_that_is_missing_empty_or_short_refuses_the_start() {
    let (disk, server) = sealed_log();
    let name = names::segment(SegmentId(2));
    let copy = disk.copy();
    copy.remove(&name);
    assert!(check_damaged(&copy, &server, "missing"));
    for length in [0, 100, 4096, 4097, 3 * 4096] {
        let copy = disk.copy();
        copy.tamper(&name, |file| file.truncate(length));
        assert!(check_damaged(&copy, &server, &format!("cut to {length}")));
        let copy = disk.copy();
        let active = names::segment(server.wal.active().unwrap().segment);
        copy.tamper(&active, |file| file.truncate(length));
        assert!(check_damaged(&copy, &server, &format!("last one cut to {length}")));
    }
}

#[test]
fn a_log_whose_beginning_is_gone_is_not_taken_for_a_short_one() {
    let (disk, _) = sealed_log();
    disk.remove(&names::segment(SegmentId(1)));
    let Err(error) = Server::start(&disk, 2).unwrap() else { panic!("the gap was not seen") };
    assert!(matches!(error, RecoverError::Log { fault: LogFault::BeginsLate { .. }, .. }), "{error}");
}

#[test]
fn files_that_nothing_explains_are_reported_and_left_alone_l15() {
    let (disk, server) = sealed_log();
    let segment = disk.contents(&names::segment(SegmentId(1)));
    disk.plant("wal-00000000000000ff.seg", &segment);
    disk.plant("wal-ffffffffffffffff.seg", &[]);
    disk.plant("wal-1.seg", b"no");
    disk.plant("snapshot-0000000000000063.rks", b"no snapshot");
    disk.plant("notes.txt", b"hello");
    let mut after = Server::must_start(&disk, 2);
    assert_eq!(after.state, server.state);
    for name in ["wal-00000000000000ff.seg", "wal-ffffffffffffffff.seg", "wal-1.seg", "notes.txt"] {
        assert!(after.report.unexplained.iter().any(|file| file == name), "{name}");
        assert!(disk.files().iter().any(|file| file == name), "{name}");
    }
    assert_eq!(after.report.skipped.len(), 1);
    for round in 0..20 {
        after.append(&[round; 3000]);
        after.flush().unwrap();
    }
    assert_eq!(Server::must_start(&disk, 3).state, after.state);
    assert_eq!(disk.contents("wal-00000000000000ff.seg"), segment);
}

/// A disk on which one block of one file cannot be read.
struct BadBlock<'a> {
    view: View<'a>,
    file: String,
    block: u64,
}

impl Source for BadBlock<'_> {
    fn list(&self) -> Result<Vec<FileEntry>, String> {
        self.view.list()
    }

    fn read(&self, name: &str, offset: u64, bytes: usize) -> Result<AlignedBuf, String> {
        let bad = self.block * 4096..(self.block + 1) * 4096;
        if name == self.file && offset < bad.end && bad.start < offset + bytes as u64 {
            return Err("Input/output error".to_owned());
        }
        self.view.read(name, offset, bytes)
    }
}

#[test]
fn a_block_that_cannot_be_read_costs_what_is_on_it_and_nothing_else_f8() {
    let (disk, server) = sealed_log();
    let mut refused = 0;
    for file in disk.files_like("wal-") {
        for block in 0..8 {
            let source = BadBlock { view: disk.view(), file: file.clone(), block };
            match recover(&source, &source, &settings(2), &mut |_| {}) {
                Ok(recovered) => {
                    assert_eq!(state_of(&disk, recovered).0, server.state, "{file}, block {block}")
                }
                Err(RecoverError::Log { fault: LogFault::Damaged(_), .. }) => refused += 1,
                Err(error) => panic!("{file}, block {block}: {error}"),
            }
        }
    }
    // Fourteen batches of a block each, three headers; the seal, and the place behind it.
    assert!(refused >= 16, "{refused}");
}

#[test]
fn an_end_of_the_log_that_cannot_be_read_is_not_taken_for_its_end_f8() {
    let disk = Disk::new();
    let mut server = Server::must_start(&disk, 1);
    for round in 1..=2_u8 {
        // Two blocks each: an error may meet either of them.
        server.append(&[round; 5000]);
        server.flush().unwrap();
    }
    let file = names::segment(server.wal.active().expect("it was written").segment);
    let blocks = disk.contents(&file).len() as u64 / 4096;
    for block in 0..blocks {
        let source = BadBlock { view: disk.view(), file: file.clone(), block };
        let alone = recover(&source, &source, &settings(2), &mut |_| {});
        // The header, four blocks, and the one where the next batch would begin, which nobody knows to be empty.
        if block < 6 {
            let Err(RecoverError::Log { fault: LogFault::Damaged(holes), .. }) = alone else {
                panic!("block {block}: not refused for damage")
            };
            assert_eq!(holes.len(), 1, "block {block}");
        } else {
            let recovered = alone.unwrap_or_else(|error| panic!("block {block}: {error}"));
            assert_eq!(state_of(&disk.copy(), recovered).0, server.state, "block {block}");
        }
    }
}
