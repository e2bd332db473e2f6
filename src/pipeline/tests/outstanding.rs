#![forbid(unsafe_code)]
//! What requests see of those before them that are not applied yet.

use super::*;
use crate::watches::ChangeKind;

/// The path that a create was prepared to.
fn path_of(rig: &mut Rig, request: &Request<'_>) -> Result<String, i32> {
    match rig.prepare(ONE, request).txn {
        Txn::Create { path, .. } => Ok(String::from_utf8(path.into_owned()).unwrap()),
        Txn::Error(code) => Err(code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sequence_number_is_the_count_of_creations_pending_ones_included() {
    let mut rig = Rig::new();
    rig.run(ONE, &create("/q", 0));
    for (request, expected) in [
        (create("/q/n-", 2), "/q/n-0000000000"),
        (create("/q/plain", 0), "/q/plain"),
        (create("/q/n-", 3), "/q/n-0000000002"),
        (create("/q/", 2), "/q/0000000003"),
        (container("/q/c"), "/q/c"),
    ] {
        assert_eq!(path_of(&mut rig, &request).as_deref(), Ok(expected));
    }
    // Neither a failure nor a deletion gives a number back or takes one.
    assert_eq!(path_of(&mut rig, &create("/q/plain", 0)), Err(ErrorCode::NodeExists.code()));
    assert_eq!(rig.code(ONE, &delete("/q/n-0000000000", 0)), 0);
    assert_eq!(path_of(&mut rig, &create("/q/n-", 2)).as_deref(), Ok("/q/n-0000000005"));
    rig.apply_all();
    assert_eq!(path_of(&mut rig, &create("/q/n-", 2)).as_deref(), Ok("/q/n-0000000006"));
    rig.apply_all();
    assert_eq!(rig.stat("/q").cversion, 7);
}

#[test]
fn sequence_numbers_of_an_old_parent_are_written_as_java_writes_them() {
    for (count, first, second) in [
        (-5, "/q/n--000000005", "/q/n--000000004"),
        (-1, "/q/n--000000001", "/q/n-0000000000"),
        (i32::MIN, "/q/n--2147483648", "/q/n--2147483647"),
        (999_999_999, "/q/n-0999999999", "/q/n-1000000000"),
        (i32::MAX - 1, "/q/n-2147483646", "/q/n-2147483647"),
    ] {
        let mut rig = Rig::new();
        rig.run(ONE, &create("/q", 0));
        let mut rig = rig.aged(b"/q", |stat| stat.cversion = count);
        assert_eq!(path_of(&mut rig, &create("/q/n-", 2)).as_deref(), Ok(first));
        assert_eq!(path_of(&mut rig, &create("/q/n-", 2)).as_deref(), Ok(second));
        rig.apply_all();
    }
}

#[test]
fn a_count_of_creations_at_its_end_stays_there() {
    let mut rig = Rig::new();
    rig.run(ONE, &create("/q", 0));
    let mut rig = rig.aged(b"/q", |stat| stat.cversion = i32::MAX);
    let before = rig.stat("/q");
    assert_eq!(path_of(&mut rig, &create("/q/n-", 2)).as_deref(), Ok("/q/n-2147483647"));
    assert_eq!(path_of(&mut rig, &create("/q/n-", 2)), Err(ErrorCode::NodeExists.code()));
    rig.apply_all();
    assert_eq!(path_of(&mut rig, &create("/q/n-", 2)), Err(ErrorCode::NodeExists.code()));
    assert_eq!(path_of(&mut rig, &create("/q/m-", 2)).as_deref(), Ok("/q/m-2147483647"));
    rig.apply_all();
    assert_eq!(rig.stat("/q"), before, "the parent moves only upwards");
}

/// Checklist line 124, as 3.9.5 does it: after -2 comes -1, and only then 0.
#[test]
fn c124_versions_wrap() {
    for (version, after) in [(-2, -1), (-1, 0), (i32::MAX, i32::MIN), (i32::MIN, i32::MIN + 1), (41, 42)] {
        let mut rig = Rig::new();
        rig.run(ONE, &create("/a", 0));
        let mut rig = rig.aged(b"/a", |stat| (stat.version, stat.aversion) = (version, version));
        let txns = [rig.prepare(ONE, &set("/a", b"x", version)).txn.op(), OpCode::SetData];
        assert_eq!(txns[0], txns[1]);
        assert_eq!(rig.code(ONE, &set_acl("/a", perms::ALL, version)), 0);
        rig.apply_all();
        assert_eq!((rig.stat("/a").version, rig.stat("/a").aversion), (after, after));
    }
}

#[test]
fn pipelined_conditional_writes_see_each_other() {
    let mut rig = Rig::new();
    let codes: Vec<i32> = [
        create("/a", 0),
        set("/a", b"1", 0),
        set("/a", b"2", 0),
        set("/a", b"2", 1),
        delete("/a", 1),
        delete("/a", 2),
        set("/a", b"3", -1),
        create("/a", 0),
        set("/a", b"4", 0),
    ]
    .iter()
    .map(|request| rig.code(ONE, request))
    .collect();
    let (bad, none) = (ErrorCode::BadVersion.code(), ErrorCode::NoNode.code());
    assert_eq!(codes, [0, 0, bad, 0, bad, 0, none, 0, 0]);
    let kinds: Vec<_> = rig.apply_all().iter().flat_map(|a| a.events.iter().map(|e| e.kind)).collect();
    use ChangeKind::{Created, DataChanged, Deleted};
    assert_eq!(kinds, [Created, DataChanged, DataChanged, Deleted, Created, DataChanged]);
    assert_eq!(rig.stat("/a").version, 1);
}

/// What a multi was prepared to: 0 for an entry that stands.
fn codes(txn: &Txn<'_>) -> Vec<i32> {
    let Txn::Multi(parts) = txn else { panic!("{txn:?}") };
    let code = |part: &Txn<'_>| if let Txn::Error(code) = part { *code } else { 0 };
    parts.iter().map(code).collect()
}

#[test]
fn a_multi_sees_its_own_entries() {
    let mut rig = Rig::new();
    let multi = Request::Multi(vec![
        m_create("/a", 0),
        m_create("/a/s-", 2),
        m_set("/a", b"x", 0),
        m_check("/a", 1),
        m_delete("/a/s-0000000000", 0),
        m_create("/a/s-", 2),
    ]);
    let decoded = rig.prepare(ONE, &multi);
    assert_eq!(codes(&decoded.txn), [0; 6]);
    rig.apply_all();
    assert!(rig.exists("/a/s-0000000001") && !rig.exists("/a/s-0000000000"));
}

#[test]
fn a_failed_multi_leaves_no_trace_in_what_follows() {
    let mut rig = Rig::new();
    rig.run(ONE, &create("/a", 0));
    rig.prepare(ONE, &set("/a", b"pending", 0));
    let digest = rig.pipeline.outstanding.digest();
    let multi = Request::Multi(vec![
        m_set("/a", b"x", 1),
        m_create("/a/s-", 3),
        m_delete("/a/s-0000000000", 0),
        m_create("/b", 1),
        m_delete("/none", -1),
        m_create("/c", 0),
    ]);
    let decoded = rig.prepare(ONE, &multi);
    // As in stock's log: what came before the failure stands as it was prepared.
    let Txn::Multi(parts) = &decoded.txn else { panic!("{decoded:?}") };
    assert!(matches!(parts[0], Txn::SetData { path: b"/a", version: 2, .. }), "{parts:?}");
    assert!(matches!(&parts[1], Txn::Create { path, .. } if **path == *b"/a/s-0000000000"), "{parts:?}");
    let (failed, after) = (ErrorCode::NoNode.code(), ErrorCode::RuntimeInconsistency.code());
    assert_eq!(codes(&decoded.txn), [0, 0, 0, 0, failed, after]);
    assert_eq!(decoded.digest, digest, "a multi that does nothing changes no digest");
    assert_eq!(rig.pipeline.outstanding.digest(), digest);
    assert!(rig.pipeline.pending_ephemerals.get(&ONE).is_none_or(VecDeque::is_empty));
    // The version and the sequence number are as before it, and so are the names.
    assert_eq!(rig.code(ONE, &set("/a", b"y", 1)), 0);
    assert_eq!(path_of(&mut rig, &create("/a/s-", 2)).as_deref(), Ok("/a/s-0000000000"));
    assert_eq!(rig.code(ONE, &create("/b", 0)), 0);

    let applied = rig.apply_all();
    let multi = &applied[1];
    assert_eq!(
        (multi.err, multi.events.len()),
        (0, 0),
        "the header of a failed multi says 0, and nobody is told"
    );
    let mut r = crate::wire::jute::Reader::new(&multi.body);
    let mut entries = Vec::new();
    loop {
        let (kind, done, err) = (r.int().unwrap(), r.boolean().unwrap(), r.int().unwrap());
        assert_eq!(kind, -1, "results of a failed multi are errors");
        if done {
            break;
        }
        assert_eq!(r.int().unwrap(), err);
        entries.push(err);
    }
    assert_eq!(entries, [0, 0, 0, 0, failed, after]);
    assert!(!rig.exists("/c"));
}

#[test]
fn close_session_takes_what_it_owns_by_then() {
    let mut rig = Rig::new();
    for path in ["/kept", "/old", "/deleted", "/handed"] {
        rig.run(ONE, &create(path, i32::from(path != "/kept")));
    }
    // Not applied yet: one more, one gone, one gone and made again by somebody else, one that failed.
    for (session, request) in [
        (ONE, create("/new", 1)),
        (TWO, delete("/deleted", -1)),
        (TWO, delete("/handed", -1)),
        (TWO, create("/handed", 1)),
        (ONE, create("/brief", 1)),
        (ONE, delete("/brief", -1)),
    ] {
        assert_eq!(rig.code(session, &request), 0, "{request:?}");
    }
    assert_ne!(rig.code(ONE, &create("/none/x", 1)), 0);
    let decoded = rig.prepare(ONE, &Request::CloseSession);
    let Txn::CloseSession(Some(paths)) = &decoded.txn else { panic!("{decoded:?}") };
    let mut paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/new", "/old"]);
    // The parent's list is what it will be: `/` can be asked at once, and a second close finds nothing.
    let decoded = rig.prepare(ONE, &Request::CloseSession);
    assert_eq!(decoded.txn, Txn::CloseSession(Some(vec![])));
    rig.apply_all();
    for (path, expected) in [
        ("/kept", true),
        ("/handed", true),
        ("/old", false),
        ("/new", false),
        ("/deleted", false),
        ("/brief", false),
    ] {
        assert_eq!(rig.exists(path), expected, "{path}");
    }
    assert_eq!(rig.stat("/handed").owner, TWO.0);
}

#[test]
fn close_session_without_a_list_does_the_same() {
    let mut rig = Rig::with(Settings { close_session_txn: false, ..settings() });
    rig.run(ONE, &create("/old", 1));
    rig.prepare(ONE, &create("/new", 1));
    let decoded = rig.prepare(ONE, &Request::CloseSession);
    assert_eq!(decoded.txn, Txn::CloseSession(None));
    let applied = rig.apply_all().pop().unwrap();
    assert!(!rig.exists("/old") && !rig.exists("/new"));
    assert_eq!(applied.events.iter().filter(|event| event.kind == ChangeKind::Deleted).count(), 2);
}

/// Another server may have applied a session's beginning before this one, and its client asks already.
#[test]
fn a_session_is_known_from_prep_on_until_its_end_is_prepared() {
    let mut rig = Rig::new();
    let new = SessionId(0x300);
    assert!(!rig.pipeline.is_open(new));
    assert_eq!(rig.code(new, &create("/early", 0)), ErrorCode::UnknownSession.code());
    assert_eq!(rig.code(new, &Request::CreateSession(10_000)), 0);
    assert!(rig.pipeline.is_open(new));
    assert_eq!(rig.code(new, &create("/mine", 1)), 0);
    assert_eq!(rig.code(new, &Request::CloseSession), 0);
    assert!(!rig.pipeline.is_open(new));
    assert_eq!(rig.code(new, &create("/late", 0)), ErrorCode::SessionExpired.code());
    rig.apply_all();
    assert_eq!(rig.code(new, &create("/late", 0)), ErrorCode::UnknownSession.code());
    rig.apply_all();
    // Its end is prepared while its beginning is applied.
    assert_eq!(rig.code(TWO, &create("/between", 0)), 0);
    rig.apply_all();
}

/// A leader that is none any more, with requests prepared: none of them happens, and the next ones see the tree alone.
#[test]
fn what_was_prepared_in_a_role_that_ended_is_forgotten() {
    let mut rig = Rig::new();
    rig.run(ONE, &create("/kept", 0));
    assert_eq!(rig.code(ONE, &create("/lost", 1)), 0);
    assert_eq!(rig.code(SessionId(0x300), &Request::CreateSession(10_000)), 0);
    rig.forget_pending();
    assert!(!rig.pipeline.is_open(SessionId(0x300)));
    rig.pipeline.invariants_when_idle();
    assert_eq!(rig.code(ONE, &create("/lost/child", 0)), ErrorCode::NoNode.code());
    assert_eq!(rig.code(ONE, &create("/lost", 0)), 0);
    assert_eq!(rig.code(ONE, &Request::CloseSession), 0);
    rig.apply_all();
}
