#![forbid(unsafe_code)]
//! A received state becomes the state: fuzzy ones converge, its snapshot is on disk, readers move over.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::{ConnectionId, ShardId};
use crate::runtime::files::verify_snapshot;
use crate::sessions::Attachment;

/// A stream of the state as it is, and its zxid.
fn stream_of(leader: &mut Leader) -> (Vec<u8>, Zxid) {
    let mut sender = Host::new();
    sender.images.send(LINK, leader.out());
    (sender.stream(LINK, || ()), leader.pipeline.applied())
}

#[test]
fn a_fuzzy_image_converges_to_the_digest_of_the_last_txn() {
    let mut leader = Leader::new();
    let named = leader.pipeline.applied();
    (0..700).for_each(|_| leader.change());
    // All of it is newer than the zxid it goes by.
    let (stream, _) = stream_of(&mut leader);
    (0..100).for_each(|_| leader.change());
    let last = leader.pipeline.applied();
    let mut receiver = Host::new();
    receiver.images.receive(LINK, named);
    expect_received(receiver.feed(LINK, &stream, || 80_000));
    let (_, mut state) = expect_installed(receiver.install(last, leader.txns(named)));
    let (found, expected) = (whole(&mut state), whole(&mut leader.pipeline));
    assert_eq!((found.applied, found.digest), (expected.applied, expected.digest));
    assert_eq!(found.sessions, expected.sessions);
}

#[test]
fn txns_that_do_not_make_the_leaders_state_are_found_out() {
    let mut leader = Leader::new();
    let (stream, at) = stream_of(&mut leader);
    (0..20).for_each(|_| leader.change());
    let last = leader.pipeline.applied();
    let check = |txns: Txns, says: &str| {
        let mut receiver = Host::new();
        receiver.images.receive(LINK, at);
        expect_received(receiver.feed(LINK, &stream, || 1 << 20));
        match receiver.install(last, txns) {
            ImageReport::Bad { why, .. } => assert!(why.contains(says), "{why}"),
            report => panic!("{} instead of {says}", words(&report)),
        }
        receiver.await_none_alive();
        let published = std::fs::read_dir(receiver.settings.dirs.data().path()).unwrap();
        assert!(published.flatten().all(|file| !file.file_name().to_string_lossy().contains("snapshot")));
    };
    let good = leader.txns(at);
    let altered = |change: fn(&mut Txns)| {
        let mut txns = good.clone();
        change(&mut txns);
        txns
    };
    check(altered(|txns| *txns[19].1.last_mut().unwrap() ^= 1), "digest");
    check(altered(|txns| txns[5].1 = b"no txn"[..].into()), "txn");
    check(altered(|txns| drop(txns.pop())), "end at");
    check(altered(|txns| txns[19].0 = txns[19].0.next()), "is none");
    check(
        altered(|txns| {
            txns[19].1 = encode(txns[19].0, SessionId::NONE, &Txn::CreateSession(5), None);
        }),
        "is none",
    );
}

#[test]
fn a_received_state_is_on_disk_and_says_that_the_log_before_it_is_void() {
    let mut leader = Leader::new();
    let (stream, at) = stream_of(&mut leader);
    let mut receiver = Host::new();
    receiver.images.receive(LINK, at);
    expect_received(receiver.feed(LINK, &stream, || 1 << 20));
    // The link may go by now: what was begun is told.
    receiver.images.install(LINK, at, Vec::new(), RECEIVED);
    receiver.images.drop_image(LINK);
    let (_, state) = expect_installed(receiver.next());
    let index = verify_snapshot(receiver.settings.dirs.data(), IDENTITY.cluster, at).unwrap();
    assert_eq!(index.meta.received, Some(RECEIVED));
    assert_eq!(index.meta.digest as i64, leader.pipeline.tree().digest());
    assert_eq!(index.totals.nodes + 1, leader.reader.stats().znode_count);
    assert_eq!(index.totals.sessions, 2);
    drop(state);
    receiver.await_none_alive();
}

#[test]
fn a_state_that_cannot_be_written_is_told_apart_from_a_bad_one() {
    let mut leader = Leader::new();
    let (stream, at) = stream_of(&mut leader);
    let mut receiver = Host::new();
    receiver.images.receive(LINK, at);
    expect_received(receiver.feed(LINK, &stream, || 1 << 20));
    std::fs::remove_dir_all(receiver.settings.dirs.data().path()).unwrap();
    assert!(receiver.folder.path().exists());
    match receiver.install(at, Vec::new()) {
        ImageReport::InstallFailed { why, .. } => assert!(why.contains("cannot be written"), "{why}"),
        report => panic!("{}", words(&report)),
    }
    receiver.await_none_alive();
}

#[test]
fn readers_move_over_whole_and_nobody_waits() {
    let mut learner = Leader::empty();
    for n in 0..200 {
        learner.create(SessionId::NONE, &format!("/old{n}"), Some(b"o"), Lifetime::Persistent);
    }
    let mut leader = Leader::new();
    let (stream, at) = stream_of(&mut leader);
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let read = |reader: TreeReader| {
            let mut seen = [0u64; 2];
            // Once more after the end, so that the new state is seen whatever the scheduler does.
            let mut last = false;
            while !last {
                last = over.load(Ordering::Acquire);
                let view = reader.pin();
                let fresh = view.find(b"/plain").is_some();
                assert_eq!(view.find(b"/old7").is_none(), fresh);
                let children = view.find(b"/").unwrap().child_count();
                assert_eq!(children, if fresh { 8 } else { 201 });
                assert_eq!(
                    view.find(b"/many").map_or(0, |many| many.child_count()),
                    if fresh { 1500 } else { 0 }
                );
                assert!(!fresh || view.at() == at);
                seen[usize::from(fresh)] += 1;
            }
            seen
        };
        let readers: Vec<_> = (0..3).map(|_| learner.reader.clone()).collect();
        let threads: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || read(reader))).collect();
        let mut receiver = Host::new();
        receiver.images.receive(LINK, at);
        expect_received(receiver.feed(LINK, &stream, || 90_000));
        let (_, state) = expect_installed(receiver.install(at, Vec::new()));
        let leftover = learner.pipeline.adopt(state);
        receiver.images.discard(leftover);
        check_same(&mut learner.pipeline, &mut leader.pipeline);
        over.store(true, Ordering::Release);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(seen.iter().all(|seen| seen[1] > 0), "{seen:?}");
    // The state goes on where it stands, and the old one is taken apart.
    leader.change();
    let (zxid, payload) = leader.log.last().unwrap();
    learner.pipeline.replay(*zxid, payload, Millis(0)).unwrap();
    check_same(&mut learner.pipeline, &mut leader.pipeline);
    let began = Instant::now();
    while learner.pipeline.has_backlog() {
        assert!(began.elapsed() < HANG);
        learner.pipeline.reclaim();
    }
    learner.pipeline.replayed();
    learner.pipeline.invariants_when_idle();
}

#[test]
fn what_was_attached_before_is_nobodys_afterwards() {
    let mut learner = Leader::new();
    let to = Attachment { shard: ShardId(0), connection: ConnectionId(9) };
    let before = learner.pipeline.sessions().attach(ONE, to, 10_000, Millis(0)).unwrap();
    let mut leader = Leader::new();
    let (stream, at) = stream_of(&mut leader);
    let mut receiver = Host::new();
    receiver.images.receive(LINK, at);
    expect_received(receiver.feed(LINK, &stream, || 1 << 20));
    let (_, state) = expect_installed(receiver.install(at, Vec::new()));
    drop(learner.pipeline.adopt(state));
    let sessions = learner.pipeline.sessions();
    assert!(sessions.is_open(ONE) && !sessions.is_current(ONE, before.generation));
    assert!(!sessions.detach(ONE, before.generation, Millis(1)));
    let after = sessions.attach(ONE, to, 10_000, Millis(2)).unwrap();
    assert!(after.generation > before.generation);
    assert_eq!(after.previous, None);
}
