//! Snapshots: round trips, rot, fall-back, a full disk (F5, F11; S38, S43; M62).

use proptest::prelude::*;
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::storage::aligned::AlignedBuf;
use ringkeeper::storage::recovery::{self, RecoverError};
use ringkeeper::storage::snapshot::{self, NodeView, Part, SnapshotFault};
use ringkeeper::storage::wal::LogFault;
use ringkeeper::storage::{inspect, names};
use ringkeeper::wire::{Acl, Id};

use crate::disk::Disk;
use crate::server::{CLUSTER, Server, encoder_at, node, settings, state_of};

fn load(file: &[u8]) -> Result<(snapshot::SnapshotIndex, Vec<Part>), SnapshotFault> {
    let read = |offset: u64, bytes: usize| {
        file.get(offset as usize..)
            .and_then(|rest| rest.get(..bytes))
            .map(AlignedBuf::copy_of)
            .ok_or("short".to_owned())
    };
    let index = snapshot::index(CLUSTER, file.len() as u64, &mut { read })?;
    let part = |span| index.part(span, read(span.offset, span.bytes as usize).unwrap());
    let parts = index.chunks.iter().map(part).collect::<Result<_, _>>()?;
    Ok((index, parts))
}

fn epoch() -> ringkeeper::storage::epoch::EpochRecord {
    ringkeeper::storage::epoch::EpochRecord::first(ringkeeper::storage::Identity {
        cluster: CLUSTER,
        server: ringkeeper::base::ServerId(1),
    })
}

/// Path, data, the long fields, the short ones, ACL list.
type AnyNode = (Vec<u8>, Option<Vec<u8>>, [i64; 6], [i32; 3], u32);

fn any_node() -> impl Strategy<Value = AnyNode> {
    let bytes = |range| proptest::collection::vec(any::<u8>(), range);
    (bytes(1..40), proptest::option::of(bytes(0..300)), any::<[i64; 6]>(), any::<[i32; 3]>(), any::<u32>())
}

proptest! {
    #[test]
    fn a_snapshot_reads_back_as_it_was_taken(
        nodes in proptest::collection::vec(any_node(), 1..40),
        sessions in proptest::collection::vec(any::<(i64, i32)>(), 0..20),
        lists in proptest::collection::vec(proptest::collection::vec((any::<i32>(), "[a-z]{0,9}", "[ -~]{0,30}"), 0..4), 0..6),
    ) {
        let views: Vec<NodeView<'_>> = nodes.iter().map(|(path, data, longs, ints, acl)| NodeView {
            path,
            data: data.as_deref(),
            acl: *acl,
            czxid: longs[0], mzxid: longs[1], pzxid: longs[2], ctime: longs[3], mtime: longs[4], owner: longs[5],
            version: ints[0], cversion: ints[1], aversion: ints[2],
        }).collect();
        let lists: Vec<Vec<Acl>> = lists.iter().map(|list| {
            list.iter().map(|(perms, scheme, id)| Acl { perms: *perms, id: Id::new(scheme, id) }).collect()
        }).collect();
        let mut encoder = encoder_at(Zxid(77), 12345, epoch());
        lists.iter().enumerate().for_each(|(id, list)| encoder.acl(id as u32, list));
        sessions.iter().for_each(|(id, timeout)| encoder.session(SessionId(*id), *timeout));
        views.iter().for_each(|view| encoder.node(view));
        let file: Vec<u8> = encoder.finish().into_iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();

        let (index, parts) = load(&file).unwrap();
        prop_assert_eq!(index.meta.zxid, Zxid(77));
        prop_assert_eq!(index.meta.digest, 12345);
        prop_assert_eq!(parts.iter().flat_map(Part::nodes).collect::<Vec<_>>(), views);
        let read: Vec<_> = parts.iter().flat_map(Part::sessions).map(|(id, timeout)| (id.0, timeout)).collect();
        prop_assert_eq!(read, sessions);
        let read: Vec<_> = parts.iter().flat_map(Part::acls).collect();
        prop_assert_eq!(read, lists.into_iter().enumerate().map(|(id, list)| (id as u32, list)).collect::<Vec<_>>());
    }
}

/// Several chunks of nodes.
fn large() -> Vec<u8> {
    let mut encoder = encoder_at(Zxid(9), 1, epoch());
    encoder.acl(1, &[Acl::open()]);
    encoder.session(SessionId(5), 30_000);
    encoder.node(&node(b"/", None, 0));
    let data = vec![b'd'; 100_000];
    (0..40).for_each(|n| encoder.node(&node(format!("/node-{n}").as_bytes(), Some(&data), n)));
    encoder.finish().into_iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()
}

#[test]
fn every_flipped_byte_that_counts_is_found_and_every_length_but_the_right_one_refused() {
    let file = large();
    let (index, _) = load(&file).unwrap();
    assert!(index.chunks.len() > 5);
    let padding_begins = |at: usize| {
        // Bytes behind a payload are not covered by anything, nor read.
        let chunk = index.chunks.iter().rev().find(|chunk| chunk.offset as usize <= at);
        chunk.map_or(128, |chunk| {
            let from = chunk.offset as usize;
            let length = u64::from_le_bytes(file[from + 16..from + 24].try_into().unwrap()) as usize;
            from + 64 + length
        })
    };
    let footer = file.len() - 4096;
    let sampled = (0..file.len()).step_by(4099).chain(0..128).chain(footer..footer + 120);
    for at in sampled {
        let padding = if at >= footer { footer + 120 } else { padding_begins(at) };
        if at >= padding {
            continue;
        }
        let mut bad = file.clone();
        bad[at] ^= 4;
        assert!(load(&bad).is_err(), "byte {at} flipped unseen");
    }
    for length in [0, 1, 64, 4095, 4096, 8192, file.len() - 4096, file.len() - 1] {
        assert!(load(&file[..length]).is_err(), "cut to {length}");
    }
    let mut longer = file.clone();
    longer.extend([0; 4096]);
    assert!(load(&longer).is_err());
}

#[test]
fn chunks_that_were_exchanged_or_left_out_are_found() {
    let file = large();
    let (index, _) = load(&file).unwrap();
    let [.., first, second] = &index.chunks[..] else { panic!("two chunks of nodes") };
    let (first, second) = (first.offset as usize, second.offset as usize);
    let without = [&file[..first], &file[second..]].concat();
    assert!(load(&without).is_err());
    let mut twice = file.clone();
    let chunk = file[first..second].to_vec();
    let room = (file.len() - 4096 - second).min(chunk.len());
    twice[second..second + room].copy_from_slice(&chunk[..room]);
    assert!(load(&twice).is_err());
}

/// A server with snapshots at zxids 2, 4, 6, and a log back to `log_from_start` or the second-newest.
fn with_snapshots() -> (Disk, Server) {
    let disk = Disk::new();
    let mut server = Server::must_start(&disk, 1);
    for round in 1..=7_u8 {
        server.append(&[round; 3000]);
        server.flush().unwrap();
        if round % 2 == 0 {
            assert!(server.snapshot().unwrap());
        }
    }
    (disk, server)
}

#[test]
fn bad_snapshots_fall_back_to_older_ones_and_never_to_an_empty_tree_s38() {
    let (disk, server) = with_snapshots();
    let names: Vec<String> = [6, 4, 2].map(|zxid| names::snapshot(Zxid(zxid))).into();
    for bad in 0..=3 {
        for truncate in [false, true] {
            let copy = disk.copy();
            for name in &names[..bad] {
                copy.tamper(name, |file| if truncate { file.truncate(5000) } else { file[4096 + 70] ^= 1 });
            }
            match Server::start(&copy, 2).unwrap() {
                Ok(mut after) => {
                    assert_eq!(after.state, server.state, "{bad} bad");
                    assert_eq!(after.report.skipped.len(), bad);
                    // A purge does not push the good ones out for the bad.
                    after.append(b"eight");
                    after.flush().unwrap();
                    after.snapshot().unwrap();
                    for name in &names[bad..] {
                        assert!(bad == 0 || copy.files().contains(name), "{name} was purged with {bad} bad");
                    }
                    assert_eq!(Server::must_start(&copy, 3).state, after.state);
                }
                Err(RecoverError::Log {
                    fault: LogFault::BeginsLate { begins_after, snapshot },
                    skipped,
                }) => {
                    assert!(begins_after > snapshot);
                    assert_eq!(skipped.len(), bad, "the message names what might have helped");
                    assert!(bad >= 2, "the newest two snapshots have their log");
                }
                Err(error) => panic!("{bad} bad: {error}"),
            }
        }
    }
}

#[test]
fn a_snapshot_whose_tree_has_another_digest_is_passed_over_when_told_so() {
    let (disk, server) = with_snapshots();
    let view = disk.view();
    let distrusted = [Zxid(6)];
    let told = recovery::Settings { distrusted: &distrusted, ..settings(2) };
    let recovered = recovery::recover(&view, &view, &told, &mut |_| {}).unwrap();
    assert_eq!(recovered.report.snapshot.map(|(zxid, _)| zxid), Some(Zxid(4)));
    assert_eq!(recovered.report.skipped, [(names::snapshot(Zxid(6)), SnapshotFault::Digest)]);
    disk.perform(&recovered.steps.log).unwrap();
    assert_eq!(state_of(&disk, recovered).0, server.state);
}

#[test]
fn a_full_disk_abandons_the_snapshot_and_the_log_goes_on_s43() {
    let (disk, mut server) = with_snapshots();
    server.append(b"eight");
    server.flush().unwrap();
    let before = disk.files();
    let used = disk.used();
    for room in [0, 4096, 3 * 4096, 6 * 4096] {
        disk.limit(Some(used + room));
        assert!(!server.snapshot().unwrap(), "with {room} bytes");
        assert_eq!(disk.files(), before, "the part is gone, and nothing else");
        server.append(b"goes on");
        server.flush().unwrap();
    }
    disk.limit(None);
    assert_eq!(Server::must_start(&disk, 2).state, server.state);
    assert!(server.snapshot().unwrap());
}

#[test]
fn progress_rises_to_the_whole() {
    let (disk, _) = with_snapshots();
    let view = disk.view();
    let mut seen = Vec::new();
    recovery::recover(&view, &view, &settings(2), &mut |progress| seen.push(progress)).unwrap();
    for stage in [recovery::Stage::Snapshot, recovery::Stage::Log] {
        let done: Vec<u64> = seen.iter().filter(|p| p.stage == stage).map(|p| p.done).collect();
        assert!(!done.is_empty() && done.is_sorted(), "{stage:?}: {done:?}");
    }
    assert_eq!(seen.last().map(recovery::Progress::percent), Some(100));
}

#[test]
fn inspectors_say_what_is_in_a_file_and_what_is_damaged() {
    let (disk, _) = with_snapshots();
    let name = disk.files_like("wal-").remove(0);
    let mut text = String::new();
    inspect::wal(&disk.contents(&name), &mut text).unwrap();
    assert!(text.contains("batch  zxids") && text.ends_with("end\n"), "{text}");
    disk.tamper(&name, |file| file[4096 + 150] ^= 1);
    text.clear();
    inspect::wal(&disk.contents(&name), &mut text).unwrap();
    assert!(text.contains("DAMAGED up to 8192"), "{text}");

    text.clear();
    inspect::snapshot(&disk.contents(&names::snapshot(Zxid(6))), true, &mut text).unwrap();
    for part in
        ["snapshot at zxid 0x6", "znodes 7  sessions 1  ACL lists 1", "/n6  data 3000 bytes", "session 0x7"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn the_last_batch_before_a_restart_gets_its_seal_after_it() {
    let (disk, _) = with_snapshots();
    let mut after = Server::must_start(&disk, 2);
    assert!(after.wal.seal_due());
    after.seal().unwrap();
    assert!(!Server::must_start(&disk, 3).wal.seal_due());
}
