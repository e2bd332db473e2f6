#![forbid(unsafe_code)]
//! What a sender makes of a state, and that a receiver has the same afterwards.

use super::*;

#[test]
fn a_state_comes_over_as_it_was_though_writes_go_on() {
    let (mut leader, mut sender, mut receiver) = (Leader::new(), Host::new(), Host::new());
    let at = leader.pipeline.applied();
    let (mut then, _) = empty_pipeline();
    for (zxid, payload) in &leader.log {
        then.replay(*zxid, payload, Millis(0)).unwrap();
    }
    let out = leader.out();
    assert_eq!(out.walker.at(), at);
    sender.images.send(LINK, out);
    let stream = sender.stream(LINK, || (0..100).for_each(|_| leader.change()));
    sender.await_none_alive();
    assert!(stream.len() > 3 * CHUNK_BYTES, "several chunks");

    // As it was sent, without a txn behind it; packets follow in the same bytes.
    let mut random = Random(1);
    receiver.images.receive(LINK, at);
    let followed = [&stream[..], b"packets"].concat();
    let report = receiver.feed(LINK, &followed, || 1 + random.below(90_000) as usize);
    assert!(b"packets".starts_with(&expect_received(report)[..]));
    let (zxid, mut state) = expect_installed(receiver.install(at, Vec::new()));
    assert_eq!(zxid, at);
    check_same(&mut state, &mut then);

    // And with those that were written meanwhile.
    let last = leader.pipeline.applied();
    assert!(last > at);
    receiver.images.receive(LINK, at);
    assert!(expect_received(receiver.feed(LINK, &stream, || 60_000)).is_empty());
    let (_, mut state) = expect_installed(receiver.install(last, leader.txns(at)));
    check_same(&mut state, &mut leader.pipeline);
    receiver.await_none_alive();
}

#[test]
fn what_is_counted_and_cleaned_goes_on_as_on_the_leader() {
    let (mut leader, mut sender, mut receiver) = (Leader::new(), Host::new(), Host::new());
    let at = leader.pipeline.applied();
    sender.images.send(LINK, leader.out());
    let stream = sender.stream(LINK, || ());
    receiver.images.receive(LINK, at);
    expect_received(receiver.feed(LINK, &stream, || 100_000));
    let (_, mut state) = expect_installed(receiver.install(at, Vec::new()));
    // Quotas are charged, containers and TTL nodes due, a session's ephemerals go with it: the same on both.
    leader.create(ONE, "/q/2", Some(b"123"), Lifetime::Persistent);
    leader.write(ONE, &Txn::CloseSession(None));
    for (zxid, payload) in leader.txns(at) {
        state.replay(zxid, &payload, Millis(0)).unwrap();
    }
    check_same(&mut state, &mut leader.pipeline);
    let stats = state.tree().get(b"/zookeeper/quota/q/zookeeper_stats").unwrap();
    assert_eq!(stats.data(), Some(&b"count=3,bytes=8"[..]));
    assert!(state.tree().get(b"/plain/eph").is_none() && state.tree().get(b"/eph2").is_some());
    let due = |pipeline: &mut Pipeline| {
        pipeline.reap(Millis(0), crate::base::WallMillis(5000));
        pipeline.reap(Millis(60_000), crate::base::WallMillis(65_000))
    };
    let expected = due(&mut leader.pipeline);
    assert_eq!(due(&mut state), expected);
    assert_eq!(expected.iter().map(|path| &path[..]).collect::<Vec<_>>(), [&b"/kept"[..], b"/ttl"]);
}

#[test]
fn chunks_leave_only_when_they_are_asked_for() {
    let (mut leader, mut sender) = (Leader::new(), Host::new());
    sender.images.send(LINK, leader.out());
    sender.images.room(LINK);
    assert!(matches!(sender.next(), ImageReport::Chunk { last: false, .. }));
    // Others are made by and by, and wait.
    for _ in 0..2000 {
        assert!(!sender.images.has_report());
        std::thread::yield_now();
    }
    sender.images.room(LINK);
    sender.images.room(LINK);
    for _ in 0..2 {
        assert!(matches!(sender.next(), ImageReport::Chunk { .. }));
    }
    sender.images.drop_image(LINK);
    sender.await_none_alive();
}

#[test]
fn two_learners_get_each_an_image_of_its_own_zxid() {
    let (mut leader, mut sender) = (Leader::new(), Host::new());
    let mut expected = Vec::new();
    for link in [LinkId(1), LinkId(2)] {
        sender.images.send(link, leader.out());
        expected.push((leader.pipeline.applied(), whole(&mut leader.pipeline)));
        (0..200).for_each(|_| leader.change());
    }
    let mut streams = [Vec::new(), Vec::new()];
    let mut open = 2;
    sender.images.room(LinkId(1));
    sender.images.room(LinkId(2));
    while open > 0 {
        leader.change();
        match sender.next() {
            ImageReport::Chunk { link, bytes, last } => {
                streams[link.0 as usize - 1].extend(bytes);
                open -= usize::from(last);
                sender.images.room(link);
            }
            report => panic!("{}", words(&report)),
        }
    }
    for (stream, (at, expected)) in streams.iter().zip(expected) {
        let mut receiver = Host::new();
        receiver.images.receive(LINK, at);
        expect_received(receiver.feed(LINK, stream, || 70_000));
        let (_, mut state) = expect_installed(receiver.install(at, Vec::new()));
        assert!(whole(&mut state) == expected);
    }
}

#[test]
fn an_image_dropped_in_any_phase_leaves_nothing_behind() {
    let (mut leader, mut host) = (Leader::new(), Host::new());
    sender_phases(&mut leader, &mut host);
    host.images.send(LINK, leader.out());
    let stream = host.stream(LINK, || ());
    // Nothing came; some came; all came.
    host.images.receive(LINK, Zxid(100));
    host.images.drop_image(LINK);
    host.await_none_alive();
    host.images.receive(LINK, Zxid(100));
    assert!(matches!(host.feed(LINK, &stream[..90_000], || 90_000), ImageReport::Taken { .. }));
    host.images.drop_image(LINK);
    host.await_none_alive();
    host.images.receive(LINK, leader.pipeline.applied());
    host.images.bytes(LINK, stream.clone());
    while !host.images.has_report() {
        std::thread::park_timeout(HANG);
    }
    host.images.drop_image(LINK);
    assert!(host.images.take().is_none());
    host.await_none_alive();
    // The link may carry another.
    host.images.receive(LINK, leader.pipeline.applied());
    expect_received(host.feed(LINK, &stream, || 500_000));
    host.images.drop_image(LINK);
    host.await_none_alive();
}

fn sender_phases(leader: &mut Leader, host: &mut Host) {
    for rooms in 0..4 {
        host.images.send(LINK, leader.out());
        for _ in 0..rooms {
            host.images.room(LINK);
            assert!(matches!(host.next(), ImageReport::Chunk { .. }));
        }
        host.images.drop_image(LINK);
        host.await_none_alive();
    }
    // Every lane is free again.
    let walkers: Vec<_> = (0..limits::IMAGES_SENT_MAX).map(|_| leader.out()).collect();
    assert!(ImageOut::of(&mut leader.pipeline).is_none());
    drop(walkers);
}

#[test]
fn a_state_that_is_replaced_while_it_is_sent_makes_the_image_bad() {
    let (mut leader, mut sender) = (Leader::new(), Host::new());
    sender.images.send(LINK, leader.out());
    let (fresh, _) = empty_pipeline();
    drop(leader.pipeline.adopt(fresh));
    let why = loop {
        sender.images.room(LINK);
        match sender.next() {
            ImageReport::Chunk { last: false, .. } => {}
            ImageReport::Bad { why, .. } => break why,
            report => panic!("{}", words(&report)),
        }
    };
    assert_eq!(why, "the state was replaced");
    sender.await_none_alive();
}
