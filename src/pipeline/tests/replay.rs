#![forbid(unsafe_code)]
//! A restart: an image of any txn and the log behind it give the state the log alone gives (reliability S48, S49).

use super::*;

/// A history with everything that once went wrong when it was replayed: sessions that close with ephemerals, ACLs that
/// change, names that come and go, multis that fail in the middle, containers, quotas.
fn storm(rig: &mut Rig) {
    let quota = |path: &'static str| {
        let record = Create { data: Some(b"count=-1,bytes=-1"), ..record(path, 0) };
        Request::Create(OpCode::Create, record)
    };
    let three = SessionId(0x300);
    for (session, request) in [
        (ONE, create("/a", 0)),
        (ONE, create("/a/s-", 3)),
        (TWO, create("/a/s-", 2)),
        (ONE, quota("/zookeeper/quota/a")),
        (ONE, quota("/zookeeper/quota/a/zookeeper_limits")),
        (ONE, quota("/zookeeper/quota/a/zookeeper_stats")),
        (ONE, container("/c")),
        (ONE, create("/c/x", 1)),
        (TWO, with_ttl("/t", 5_000)),
        (ONE, set_acl("/a", perms::READ | perms::WRITE, 0)),
        (TWO, set("/a", b"longer than before", 0)),
        (TWO, set("/a", b"refused", 0)),
        (
            ONE,
            Request::Multi(vec![
                m_create("/m", 0),
                m_create("/m/n", 1),
                m_set("/m", b"x", 0),
                m_check("/m", 1),
            ]),
        ),
        (ONE, Request::Multi(vec![m_delete("/m/n", 0), m_delete("/m", 0), m_create("/never", 0)])),
        (ONE, Request::CloseSession),
        (three, Request::CreateSession(4_000)),
        (three, create("/m/n", 1)),
        (TWO, Request::Multi(vec![m_delete("/m/n", -1), m_create("/m/n", 0)])),
        (TWO, delete("/a/s-0000000001", -1)),
        (SessionId::NONE, Request::DeleteContainer(Some(b"/c"))),
        (three, create("/a-ephemeral", 1)),
        (three, set_acl("/m", 0, -1)),
        (three, set("/m", b"", -1)),
        (three, create("/last", 3)),
    ] {
        rig.prepare(session, &request);
    }
}

#[test]
fn s49_every_image_and_the_log_behind_it_give_the_same_state() {
    let mut rig = Rig::new();
    let mut images = vec![rig.image()];
    storm(&mut rig);
    while let Some(payload) = rig.pending.pop_front() {
        rig.apply(&payload);
        images.push(rig.image());
    }
    let end = images.last().unwrap().clone();
    let before_images = 2;
    assert_eq!(images.len() + before_images - 1, rig.log.len());
    for image in &images {
        let mut again = Rig::from_image(image, settings());
        for payload in &rig.log {
            if txn::decode(payload).unwrap().header.zxid > image.at.0 {
                again.apply(payload);
            }
        }
        again.pipeline.replayed();
        let found = again.image();
        assert_eq!((found.at, found.digest), (end.at, end.digest), "from {}", image.at);
        assert_eq!(found.znodes, end.znodes, "from {}", image.at);
        let sessions = |image: &Image| {
            let ephemerals: Vec<_> = image.sessions.ephemerals().cloned().collect();
            (image.sessions.sessions().collect::<Vec<_>>(), ephemerals)
        };
        assert_eq!(sessions(&found), sessions(&end), "from {}", image.at);
        // And the server goes on from there: the digest of the next txn fits.
        assert_eq!(again.last, image.at);
        again.last = end.at;
        assert_eq!(again.run(TWO, &create("/next", 1)).err, 0);
    }
}

#[test]
fn s48_a_multi_is_whole_or_not_at_all_on_both_sides_of_an_image() {
    let mut rig = Rig::new();
    rig.run(ONE, &create("/m", 0));
    let before = rig.image();
    for (ops, is_done) in [
        (vec![m_create("/m/a", 0), m_create("/m/b", 1), m_set("/m", b"x", 0)], true),
        (vec![m_create("/m/c", 0), m_delete("/m/a", 0), m_check("/m", 7), m_create("/m/d", 0)], false),
    ] {
        rig.prepare(ONE, &Request::Multi(ops));
        let payload = rig.pending.pop_front().unwrap();
        let state = rig.image();
        rig.apply(&payload);
        let found = rig.image();
        assert_eq!(found.znodes != state.znodes, is_done);
        assert_eq!(found.digest != state.digest, is_done);
    }
    let end = rig.image();
    let mut again = Rig::from_image(&before, settings());
    rig.log.iter().skip(3).for_each(|payload| drop(again.apply(payload)));
    assert_eq!(again.image().znodes, end.znodes);
}

/// A server that finds its log and its state apart stops instead of guessing (reliability L5).
#[test]
fn a_txn_over_another_state_than_it_was_prepared_for_is_an_error() {
    let mut rig = Rig::new();
    rig.run(ONE, &create("/a", 0));
    let other = {
        let mut other = Rig::new();
        other.run(ONE, &create("/b", 0));
        other.prepare(ONE, &create("/c", 0));
        other.pending.pop_back().unwrap()
    };
    let decoded = Pipeline::decode(&other).unwrap();
    rig.pipeline.begin(Zxid(decoded.header.zxid));
    assert!(rig.pipeline.apply(&decoded, Millis(0)).is_err());
}
