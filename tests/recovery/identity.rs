//! Whose data these are, and data that went missing (F6, F13; S35; P16).

use ringkeeper::base::ServerId;
use ringkeeper::storage::recovery::{RecoverError, recover};
use ringkeeper::storage::snapshot::SnapshotFault;
use ringkeeper::storage::wal::{FORMAT_VERSION, LogFault, SegmentId};
use ringkeeper::storage::{ClusterId, epoch, names};

use crate::disk::Disk;
use crate::server::{Server, settings};

fn used() -> (Disk, Server) {
    let disk = Disk::new();
    let mut server = Server::must_start(&disk, 1);
    server.append(b"one");
    server.flush().unwrap();
    server.snapshot().unwrap();
    server.append(b"two");
    server.flush().unwrap();
    (disk, server)
}

fn refusal(disk: &Disk) -> RecoverError {
    match Server::start(disk, 2).expect("the power is on") {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[test]
fn up_to_two_bad_copies_of_the_epoch_record_are_healed_and_three_refuse_s35() {
    let (disk, server) = used();
    for bad in 1..=4 {
        let copy = disk.copy();
        copy.tamper(names::EPOCH, |file| {
            (0..bad).for_each(|bad| file[bad * epoch::COPY_STRIDE_BYTES + 60] ^= 1);
        });
        if bad <= 2 {
            let after = Server::must_start(&copy, 2);
            assert_eq!(after.report.epoch_copies, 4 - bad);
            assert_eq!(after.state, server.state);
            assert_eq!(Server::must_start(&copy, 3).report.epoch_copies, 4, "healed");
        } else {
            assert!(matches!(refusal(&copy), RecoverError::Epoch(_)));
        }
    }
}

#[test]
fn data_without_their_epoch_record_are_not_adopted() {
    let (disk, _) = used();
    disk.remove(names::EPOCH);
    let error = refusal(&disk);
    assert_eq!(error, RecoverError::IdentityLost { evidence: "snapshot-0000000000000001.rks".to_owned() });
    disk.remove("snapshot-0000000000000001.rks");
    let error = refusal(&disk);
    assert_eq!(error, RecoverError::IdentityLost { evidence: "wal-0000000000000001.seg".to_owned() });
}

#[test]
fn a_log_directory_that_came_up_empty_is_not_an_empty_tree() {
    let (disk, _) = used();
    disk.files_like("wal-").iter().for_each(|name| disk.remove(name));
    assert_eq!(refusal(&disk), RecoverError::LogMissing);
}

#[test]
fn another_servers_and_another_clusters_data_are_refused() {
    let (disk, _) = used();
    let view = disk.view();
    let other = ringkeeper::storage::recovery::Settings { server: ServerId(2), ..settings(2) };
    let error = recover(&view, &view, &other, &mut |_| {}).err();
    assert_eq!(error, Some(RecoverError::OtherServer { recorded: ServerId(1), configured: ServerId(2) }));

    // A segment and a snapshot of a server that drew another cluster id.
    let elsewhere = Disk::new();
    let foreign = ClusterId([0xdd; 16]);
    let drawn = ringkeeper::storage::recovery::Settings { new_cluster: foreign, ..settings(3) };
    let far = elsewhere.view();
    let recovered = recover(&far, &far, &drawn, &mut |_| {}).unwrap();
    elsewhere.perform(&recovered.steps.log).unwrap();
    elsewhere.perform(&recovered.steps.data).unwrap();
    let mut there = Server::must_start(&elsewhere, 4);
    there.append(b"theirs");
    there.flush().unwrap();
    there.snapshot().unwrap();

    let copy = disk.copy();
    let name = names::segment(SegmentId(1));
    copy.plant(&name, &elsewhere.contents(&name));
    assert!(
        matches!(refusal(&copy), RecoverError::Log { fault: LogFault::Foreign { found, .. }, .. } if found == foreign)
    );
    let copy = disk.copy();
    copy.plant("snapshot-0000000000000009.rks", &elsewhere.contents("snapshot-0000000000000001.rks"));
    assert!(matches!(
        refusal(&copy),
        RecoverError::Snapshot { fault: SnapshotFault::Foreign(found), .. } if found == foreign
    ));
}

#[test]
fn a_newer_format_is_refused_and_left_untouched_p16() {
    const NEXT: u32 = FORMAT_VERSION + 1;
    let (disk, _) = used();
    // A whole header of the next version: the checksum's place is the same in every version.
    let name = names::segment(SegmentId(1));
    disk.tamper(&name, |file| {
        file[8] = NEXT as u8;
        file[12..16].fill(0);
        let check = crc32c::crc32c(&file[..4096]);
        file[12..16].copy_from_slice(&check.to_le_bytes());
    });
    let before = disk.contents(&name);
    assert!(matches!(refusal(&disk), RecoverError::Log { fault: LogFault::Newer { version: NEXT, .. }, .. }));
    assert_eq!(disk.contents(&name), before);
}

#[test]
fn a_log_of_format_version_1_is_read_and_gone_on_with() {
    let (disk, _) = used();
    let before = Server::must_start(&disk.copy(), 2).state;
    // Version 2 only added cuts: without one, a segment of version 1 differs in its header alone.
    let name = names::segment(SegmentId(1));
    disk.tamper(&name, |file| {
        assert_eq!(file[8], FORMAT_VERSION as u8);
        file[8] = 1;
        file[12..16].fill(0);
        let check = crc32c::crc32c(&file[..4096]);
        file[12..16].copy_from_slice(&check.to_le_bytes());
    });
    let mut server = Server::must_start(&disk, 2);
    assert_eq!(server.state, before);
    server.append(b"behind it");
    server.flush().expect("the power is on");
    assert_eq!(Server::must_start(&disk, 3).state, server.state);
}
