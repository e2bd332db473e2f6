#![forbid(unsafe_code)]
//! No payload is longer than the log takes (reliability M27, M29). Each limit is tried at the byte: what fits exactly is
//! prepared as ever, and with one byte less it is refused, or does without what is too long.

use super::super::acl::add_auth;
use super::*;

fn limited(payload_bytes_max: usize) -> Settings {
    Settings { payload_bytes_max, ..settings() }
}

/// A rig of which one client has two digest identities, with something to write to.
fn rig(payload_bytes_max: usize) -> Rig {
    let mut rig = Rig::with(limited(payload_bytes_max));
    for auth in ["alice:secret", "bob:secret"] {
        add_auth(Some(b"digest"), Some(auth.as_bytes()), &mut rig.identities, &Policy::default()).unwrap();
    }
    for path in ["/a", "/z"] {
        assert_eq!(rig.run(ONE, &create(path, 0)).err, 0);
    }
    rig
}

const AUTH: RawAcl<'static> = RawAcl { perms: perms::ALL, scheme: Some(b"auth"), id: Some(b"") };

/// A create whose stored list is much longer than the one sent.
fn with_auth(path: &str, flags: i32) -> Create<'_> {
    Create { acl: Some(vec![AUTH]), ..record(path, flags) }
}

/// Bytes of the payload that the request becomes where there is room.
fn length_of(request: &Request<'_>) -> usize {
    let mut rig = rig(1 << 20);
    rig.prepare(ONE, request);
    rig.log.pop().unwrap().len()
}

fn m_auth(path: &str, flags: i32) -> MultiOp<'_> {
    MultiOp::Create(OpCode::Create, with_auth(path, flags))
}

#[test]
fn m27_what_is_too_long_by_a_byte_is_refused_and_leaves_no_trace() {
    let blob = [7; 200];
    for request in [
        Request::Create(OpCode::Create, with_auth("/a/b", 0)),
        Request::Create(OpCode::Create2, with_auth("/a/s-", 3)),
        Request::Create(OpCode::CreateContainer, with_auth("/a/c", 4)),
        Request::Create(OpCode::CreateTtl, Create { ttl: Some(9), ..with_auth("/a/t", 5) }),
        Request::SetAcl(SetAcl { path: Some(b"/a"), acl: Some(vec![AUTH]), version: -1 }),
        set("/a", &blob, -1),
        Request::Multi(vec![m_create("/m", 0), m_auth("/m/e", 1), m_auth("/a/s-", 3), m_check("/m", 0)]),
        Request::Multi(vec![m_delete("/z", 0), m_auth("/z", 1)]),
    ] {
        let length = length_of(&request);
        assert_eq!(rig(length).code(ONE, &request), 0, "{request:?}");

        let mut rig = rig(length - 1);
        // With something outstanding below it.
        assert_eq!(rig.code(ONE, &create("/a/n-", 3)), 0);
        let digest = rig.pipeline.outstanding.digest();
        assert_eq!(rig.code(ONE, &request), ErrorCode::MarshallingError.code(), "{request:?}");
        assert_eq!(rig.pipeline.outstanding.digest(), digest);
        let own = rig.pipeline.pending_ephemerals.get(&ONE).map(|paths| paths.len());
        assert_eq!(own, Some(1), "none of what was refused");
        // It took its zxid, and what comes behind it finds everything as it was.
        let Txn::Create { path, .. } = rig.prepare(ONE, &create("/a/n-", 3)).txn else { panic!() };
        assert_eq!(&*path, b"/a/n-0000000001");
        let applied = rig.apply_all();
        let codes: Vec<i32> = applied.iter().map(|applied| applied.err).collect();
        assert_eq!(codes, [0, ErrorCode::MarshallingError.code(), 0]);
        assert!(applied[1].events.is_empty() && applied[1].body.is_empty());
        assert_eq!(applied[2].zxid.0, applied[0].zxid.0 + 2);
        assert_eq!(rig.stat("/a").version, 0);
        assert_eq!(rig.stat("/a").aversion, 0);
        assert!(!rig.exists("/m"));
    }
}

#[test]
fn m27_a_multi_that_fails_in_the_middle_counts_the_errors_behind_it() {
    let request = || {
        let mut ops = vec![m_auth("/a/b", 0), m_create("/none/x", 0)];
        ops.extend((0..20).map(|_| m_check("/a", 0)));
        Request::Multi(ops)
    };
    let length = length_of(&request());
    let mut fits = rig(length);
    let Txn::Multi(parts) = fits.prepare(ONE, &request()).txn else { panic!("a multi") };
    assert_eq!(parts[1], Txn::Error(ErrorCode::NoNode.code()));
    fits.apply_all();

    let mut rig = rig(length - 1);
    assert_eq!(rig.code(ONE, &request()), ErrorCode::MarshallingError.code());
    rig.apply_all();
}

/// A list that would be too long with the part at hand is refused there: what comes behind it is not looked at, so that no
/// more than the limit and one part is ever held.
#[test]
fn m27_a_multi_is_given_up_at_the_part_that_is_too_much() {
    let two = Request::Multi(vec![m_auth("/a/0", 0), m_auth("/a/1", 0)]);
    let mut rig = rig(length_of(&two));
    for last in [m_create("/none/x", 0), MultiOp::Create(OpCode::Create, record("/a", 7))] {
        let request = Request::Multi(vec![m_auth("/a/0", 0), m_auth("/a/1", 0), last]);
        assert_eq!(rig.code(ONE, &request), ErrorCode::MarshallingError.code(), "before {request:?}");
    }
    // Even if only errors are behind it, and they alone are too many.
    let errors = Request::Multi((0..100).map(|_| m_check("/none", 0)).collect());
    assert_eq!(rig.code(ONE, &errors), ErrorCode::MarshallingError.code());
    rig.apply_all();
}

/// Three of these take more than any create.
fn long(name: &str) -> String {
    format!("/a/{name}-{}", "x".repeat(100))
}

/// What a session leaves: committed, pending, handed on, deleted; and one of another session.
fn owner(payload_bytes_max: usize) -> Rig {
    let mut rig = rig(payload_bytes_max);
    for (session, request) in [
        (ONE, create(&long("old"), 1)),
        (ONE, create("/a/deleted", 1)),
        (ONE, create("/a/handed", 1)),
        (TWO, create("/a/kept", 1)),
    ] {
        assert_eq!(rig.run(session, &request).err, 0);
    }
    for (session, request) in [
        (ONE, create(&long("new"), 1)),
        (ONE, create(&long("a-first"), 1)),
        (ONE, delete("/a/deleted", -1)),
        (TWO, delete("/a/handed", -1)),
        (TWO, create("/a/handed", 1)),
    ] {
        assert_eq!(rig.code(session, &request), 0);
    }
    rig
}

#[test]
fn m29_a_close_whose_list_is_too_long_does_without_and_deletes_the_same() {
    let length = {
        let mut rig = owner(1 << 20);
        rig.prepare(ONE, &Request::CloseSession);
        rig.log.pop().unwrap().len()
    };
    let listed = ["a-first", "new", "old"].map(long);
    let mut found = Vec::new();
    for (payload_bytes_max, expected) in [(length, Some(3)), (length - 1, None)] {
        let mut rig = owner(payload_bytes_max);
        let decoded = rig.prepare(ONE, &Request::CloseSession);
        let Txn::CloseSession(paths) = &decoded.txn else { panic!("{decoded:?}") };
        assert_eq!(paths.as_ref().map(Vec::len), expected);
        // Whoever asks before it is applied sees the nodes gone and the session closing.
        assert_eq!(rig.code(ONE, &create("/a/late", 1)), ErrorCode::SessionExpired.code());
        assert_eq!(rig.code(TWO, &set(&listed[2], b"", -1)), ErrorCode::NoNode.code());
        assert_eq!(rig.code(TWO, &create(&listed[1], 0)), 0);
        let applied = rig.apply_all();
        let close = applied.iter().find(|applied| applied.session_change.is_some()).unwrap();
        let deleted: Vec<&[u8]> = close.events.iter().map(|event| &*event.path).collect();
        assert_eq!(deleted, listed.each_ref().map(String::as_bytes), "in the same order");
        assert_eq!(rig.stat("/a/handed").owner, TWO.0);
        assert_eq!(rig.stat(&listed[1]).owner, 0);
        assert_eq!(rig.pipeline.sessions_ref().image().ephemerals_of(ONE).count(), 0);

        // The log says the same to whoever starts with nothing else.
        let mut again = Rig::unopened(limited(payload_bytes_max));
        rig.log.iter().for_each(|payload| drop(again.apply(payload)));
        again.pipeline.replayed();
        let (image, replayed) = (rig.image(), again.image());
        assert_eq!(image.znodes, replayed.znodes);
        found.push((image.znodes, image.digest));
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn the_least_room_there_may_be_is_enough_for_sessions_and_errors() {
    let mut rig = Rig::with(limited(super::super::PAYLOAD_BYTES_MIN));
    assert_eq!(rig.code(ONE, &create("/a", 0)), ErrorCode::MarshallingError.code());
    assert_eq!(rig.code(ONE, &create("/none/x", 0)), ErrorCode::NoNode.code());
    assert_eq!(rig.prepare(ONE, &Request::CloseSession).txn, Txn::CloseSession(Some(vec![])));
    rig.apply_all();
}
