#![forbid(unsafe_code)]
//! The order of checks of each operation (client-protocol §4). Every request of a table has the fault its row names and
//! all faults of the rows behind it: the first that is looked at decides, and mending it uncovers the next.

use super::super::{Strangers, quota};
use super::*;
use ErrorCode::*;

/// What is there before each table.
fn furnished() -> Rig {
    let mut rig = Rig::new();
    for request in [
        create("/open", 0),
        create("/open/kept", 0),
        create("/parent", 0),
        create("/parent/child", 0),
        create("/closed", 0),
        create("/closed/inside", 0),
        set_acl("/closed", perms::READ, -1),
        create("/dark", 0),
        create("/dark/inside", 0),
        set_acl("/dark", 0, -1),
        create("/brief", 1),
        create("/full", 0),
        create("/full/inside", 0),
    ] {
        assert_eq!(rig.run(ONE, &request).err, 0, "{request:?}");
    }
    // A hard limit of what is there already.
    for path in ["/zookeeper/quota/full", "/zookeeper/quota/full/zookeeper_limits"] {
        let record =
            Create { data: Some(b"count=-1,bytes=-1=;byteHardLimit=8;countHardLimit=2"), ..record(path, 0) };
        assert_eq!(rig.run(ONE, &Request::Create(OpCode::Create, record)).err, 0);
    }
    assert_eq!(rig.run(ONE, &create("/zookeeper/quota/full/zookeeper_stats", 0)).err, 0);
    rig
}

fn check(rig: &mut Rig, rows: &[(&str, SessionId, Request<'_>, Result<(), ErrorCode>)]) {
    for (fault, session, request, expected) in rows {
        assert_eq!(rig.code(*session, request), number(*expected), "{fault}: {request:?}");
    }
    rig.apply_all();
}

#[test]
fn create_looks_at_flags_ttl_session_path_acl_parent_right_name_quota() {
    let mut rig = furnished();
    let no_acl = |path, flags| Request::Create(OpCode::Create, Create { acl: None, ..record(path, flags) });
    let nothing = |flags| Request::Create(OpCode::Create, Create { path: None, ..record("", flags) });
    check(
        &mut rig,
        &[
            ("flags 7", NEVER, nothing(7), Err(BadArguments)),
            ("flags -1", NEVER, nothing(-1), Err(BadArguments)),
            ("a ttl mode without ttl", NEVER, nothing(5), Err(BadArguments)),
            ("ttl 0", NEVER, with_ttl("", 0), Err(BadArguments)),
            ("ttl 2^40", NEVER, with_ttl("", 1 << 40), Err(BadArguments)),
            ("no session", NEVER, nothing(0), Err(UnknownSession)),
            ("no session for an ephemeral", NEVER, nothing(1), Err(SessionExpired)),
            ("null path", ONE, nothing(0), Err(MarshallingError)),
            ("no slash", ONE, no_acl("open", 0), Err(BadArguments)),
            ("NUL", ONE, no_acl("/none/\0", 0), Err(BadArguments)),
            ("null ACL", ONE, no_acl("/none/x/", 0), Err(InvalidAcl)),
            ("no parent", ONE, create("/none/x/", 0), Err(NoNode)),
            ("no right", ONE, create("/closed/.", 0), Err(NoAuth)),
            ("no right, though it exists", ONE, create("/closed/inside", 0), Err(NoAuth)),
            ("rule B", ONE, create("/open/.", 0), Err(BadArguments)),
            ("exists", ONE, create("/open/kept", 0), Err(NodeExists)),
            ("the root", ONE, create("/", 0), Err(NodeExists)),
            ("under an ephemeral", ONE, create("/brief/x", 0), Err(NoChildrenForEphemerals)),
            ("hard quota", ONE, create("/full/x", 0), Err(QuotaExceeded)),
            ("nothing", ONE, create("/open/x", 0), Ok(())),
            ("nothing", ONE, with_ttl("/open/t", (1 << 40) - 1), Ok(())),
            ("under a ttl node", ONE, create("/open/t/x", 0), Ok(())),
        ],
    );
}

#[test]
fn what_would_stop_stock_is_refused() {
    let mut rig = furnished();
    let ttl_of =
        |flags, ttl| Request::Create(OpCode::CreateTtl, Create { ttl: Some(ttl), ..record("/x", flags) });
    let limits = String::from_utf8(quota::limits_path(b"")).unwrap();
    assert_eq!(limits, "/zookeeper/quota/zookeeper_limits");
    check(
        &mut rig,
        &[
            ("createTTL with a mode that has none", ONE, ttl_of(0, -1), Err(BadArguments)),
            ("and a ttl", ONE, ttl_of(0, 5), Err(BadArguments)),
            ("ephemeral", ONE, ttl_of(1, -1), Err(BadArguments)),
            ("limits of nobody", ONE, create(&limits, 0), Err(BadArguments)),
            (
                "a path that is not UTF-8",
                ONE,
                Request::Create(OpCode::Create, Create { path: Some(b"/\xff"), ..record("", 0) }),
                Err(BadArguments),
            ),
        ],
    );
}

/// Reliability M25: lists that are there already, and the open one, may always be named.
#[test]
fn distinct_acl_lists_are_so_many_at_most() {
    // The config node has one.
    let mut rig = Rig::with(Settings { acl_lists_max: 3, ..settings() });
    let with_id = |path, id: &'static str| {
        let entry = RawAcl { perms: 31, scheme: Some(b"ip"), id: Some(id.as_bytes()) };
        Request::Create(OpCode::Create, Create { acl: Some(vec![entry]), ..record(path, 0) })
    };
    assert_eq!(rig.run(ONE, &with_id("/a", "192.0.2.1")).err, 0);
    assert_eq!(rig.run(ONE, &with_id("/b", "192.0.2.2")).err, 0);
    assert_eq!(rig.run(ONE, &with_id("/c", "192.0.2.3")).err, QuotaExceeded.code());
    assert_eq!(rig.run(ONE, &with_id("/c", "192.0.2.1")).err, 0);
    assert_eq!(rig.run(ONE, &create("/d", 0)).err, 0);
}

#[test]
fn ttl_nodes_are_unknown_unless_asked_for() {
    let mut rig = Rig::with(Settings { extended_types: false, ..settings() });
    for ttl in [0, 5] {
        assert_eq!(rig.code(ONE, &with_ttl("/t", ttl)), Unimplemented.code());
    }
    assert_eq!(rig.code(ONE, &container("/c")), 0);
    rig.apply_all();
}

// Servers that differ in `extendedTypesEnabled` do not say so on the wire: what they make of a znode tells.
#[test]
fn a_ttl_node_of_another_server_is_noticed_where_they_are_unknown() {
    let without = || Settings { extended_types: false, ..settings() };
    let mut rig = Rig::new();
    assert_eq!(rig.run(ONE, &create("/e", 1)).err, 0);
    assert_eq!(rig.run(ONE, &with_ttl("/t", 5)).err, 0);
    assert_eq!(rig.pipeline.take_misread(), None);
    let mut other = Rig::unopened(without());
    for payload in rig.log.clone() {
        assert_eq!(other.pipeline.take_misread(), None);
        other.apply(&payload);
    }
    assert_eq!(other.pipeline.take_misread().as_deref(), Some(&b"/t"[..]));
    let mut loaded = Rig::from_image(&rig.image(), without());
    assert_eq!(loaded.pipeline.take_misread().as_deref(), Some(&b"/t"[..]));
    // Server 255 gives sessions such numbers.
    let of_255 = SessionId(0xff00_0000_0000_0123_u64 as i64);
    let mut rig = Rig::with(without());
    assert_eq!(rig.run(of_255, &Request::CreateSession(10_000)).err, 0);
    assert_eq!(rig.run(of_255, &create("/e", 1)).err, 0);
    assert_eq!(rig.pipeline.take_misread(), None);
    assert_eq!(Rig::from_image(&rig.image(), without()).pipeline.take_misread(), None);
}

#[test]
fn delete_looks_at_session_path_parent_right_node_version_children() {
    let mut rig = furnished();
    check(
        &mut rig,
        &[
            (
                "no session",
                NEVER,
                Request::Delete(PathVersion { path: None, version: 9 }),
                Err(UnknownSession),
            ),
            (
                "null path",
                ONE,
                Request::Delete(PathVersion { path: None, version: 9 }),
                Err(MarshallingError),
            ),
            ("no slash", ONE, delete("open", 9), Err(BadArguments)),
            ("the root", ONE, delete("/", 9), Err(BadArguments)),
            ("reserved", ONE, delete("/zookeeper/quota", 9), Err(BadArguments)),
            ("no parent", ONE, delete("/none/x", 9), Err(NoNode)),
            ("no right", ONE, delete("/closed/none", 9), Err(NoAuth)),
            ("no node", ONE, delete("/open/none", 9), Err(NoNode)),
            ("version", ONE, delete("/parent", 9), Err(BadVersion)),
            ("children", ONE, delete("/parent", 0), Err(NotEmpty)),
            ("nothing", ONE, delete("/parent/child", 0), Ok(())),
            ("its last child is going", ONE, delete("/parent", -1), Ok(())),
            ("it is going itself", ONE, delete("/parent", -1), Err(NoNode)),
        ],
    );
}

#[test]
fn set_data_looks_at_session_path_node_right_quota_version() {
    let mut rig = furnished();
    let nowhere = || Request::SetData(SetData { path: None, data: None, version: 9 });
    check(
        &mut rig,
        &[
            ("no session", NEVER, nowhere(), Err(UnknownSession)),
            ("null path", ONE, nowhere(), Err(BadArguments)),
            ("rule B", ONE, set("/closed/", b"", 9), Err(BadArguments)),
            ("no node", ONE, set("/none", b"", 9), Err(NoNode)),
            ("no right", ONE, set("/closed", b"", 9), Err(NoAuth)),
            ("quota before version", ONE, set("/full", b"far too much", 9), Err(QuotaExceeded)),
            ("version", ONE, set("/open", b"", 9), Err(BadVersion)),
            ("nothing", ONE, set("/open", b"", 0), Ok(())),
            ("the version to come", ONE, set("/open", b"", 0), Err(BadVersion)),
            ("the version to come", ONE, set("/open", b"", 1), Ok(())),
        ],
    );
}

#[test]
fn set_acl_looks_at_session_path_acl_node_right_version() {
    let mut rig = furnished();
    let bare = |path: Option<&'static [u8]>| Request::SetAcl(SetAcl { path, acl: None, version: 9 });
    check(
        &mut rig,
        &[
            ("no session", NEVER, bare(None), Err(UnknownSession)),
            ("null path", ONE, bare(None), Err(BadArguments)),
            ("rule B", ONE, bare(Some(b"/none/")), Err(BadArguments)),
            ("null ACL", ONE, bare(Some(b"/none")), Err(InvalidAcl)),
            ("no node", ONE, set_acl("/none", 1, 9), Err(NoNode)),
            ("no right", ONE, set_acl("/closed", 1, 9), Err(NoAuth)),
            ("version", ONE, set_acl("/open", 1, 9), Err(BadVersion)),
            ("nothing", ONE, set_acl("/open", perms::READ, 0), Ok(())),
            ("the list to come", ONE, create("/open/x", 0), Err(NoAuth)),
        ],
    );
}

#[test]
fn check_looks_at_session_path_node_right_version() {
    let mut rig = furnished();
    let one = |op| Request::Multi(vec![op]);
    let nowhere = || one(MultiOp::Check(PathVersion { path: None, version: 9 }));
    for (fault, session, request, expected) in [
        ("no session", NEVER, nowhere(), Err(UnknownSession)),
        ("null path", ONE, nowhere(), Err(BadArguments)),
        ("rule B", ONE, one(m_check("/dark/", 9)), Err(BadArguments)),
        ("no node", ONE, one(m_check("/none", 9)), Err(NoNode)),
        ("no right", ONE, one(m_check("/dark", 9)), Err(NoAuth)),
        ("version", ONE, one(m_check("/open", 9)), Err(BadVersion)),
        ("nothing", ONE, one(m_check("/open", 0)), Ok(())),
    ] {
        let Txn::Multi(parts) = rig.prepare(session, &request).txn else { panic!("a multi stays one") };
        let found = match parts[..] {
            [Txn::Error(code)] => code,
            [Txn::Check { .. }] => 0,
            _ => panic!("{parts:?}"),
        };
        assert_eq!(found, number(expected), "{fault}");
    }
    rig.apply_all();
}

#[test]
fn delete_container_is_the_cleaners_and_looks_again() {
    let mut rig = furnished();
    for request in [container("/c"), container("/used"), create("/used/x", 0)] {
        assert_eq!(rig.run(ONE, &request).err, 0);
    }
    let remove = |path: &'static str| Request::DeleteContainer(Some(path.as_bytes()));
    let nobody = SessionId::NONE;
    check(
        &mut rig,
        &[
            ("null path", ONE, Request::DeleteContainer(None), Err(MarshallingError)),
            ("no slash", ONE, remove("c"), Err(BadArguments)),
            ("no node", ONE, remove("/none"), Err(NoNode)),
            ("an ephemeral", ONE, remove("/brief"), Err(BadVersion)),
            ("children", ONE, remove("/used"), Err(NotEmpty)),
            ("a client, at the point where stock would delete", ONE, remove("/c"), Err(NoAuth)),
            ("used again meanwhile", nobody, remove("/used"), Err(NotEmpty)),
            ("nothing", nobody, remove("/c"), Ok(())),
            ("it is going", nobody, remove("/c"), Err(NoNode)),
        ],
    );
}

#[test]
fn a_session_that_is_closing_may_nothing() {
    let mut rig = furnished();
    rig.prepare(TWO, &Request::CloseSession);
    for request in [create("/open/x", 0), create("/open/x", 1), delete("/open", -1), set("/open", b"", -1)] {
        assert_eq!(rig.code(TWO, &request), SessionExpired.code(), "{request:?}");
    }
    rig.apply_all();
    assert_eq!(rig.code(TWO, &create("/open/x", 0)), UnknownSession.code(), "it is gone");
    assert_eq!(rig.code(TWO, &create("/open/x", 1)), SessionExpired.code());
    rig.apply_all();
}

#[test]
fn reconfig_is_disabled_on_a_single_server() {
    let mut rig = furnished();
    let request = || {
        Request::Reconfig(crate::wire::request::Reconfig {
            joining: None,
            leaving: None,
            members: None,
            config_id: -1,
        })
    };
    assert_eq!(rig.code(NEVER, &request()), ReconfigDisabled.code());
    let mut rig = Rig::with(Settings { reconfig_enabled: true, ..settings() });
    assert_eq!(rig.code(NEVER, &request()), UnknownSession.code());
    assert_eq!(rig.code(ONE, &request()), Unimplemented.code());
    rig.apply_all();
}

#[test]
fn who_is_not_known_is_unknown_alone_expired_to_a_leader_and_perhaps_local_elsewhere() {
    use crate::base::ServerId;
    use crate::sessions::SessionIds;
    let made_by = |server| SessionIds::new(ServerId(server), WallMillis(9)).next(|_| false);
    for (strangers, own, others) in [
        (Strangers::Unknown, Err(UnknownSession), Err(UnknownSession)),
        (Strangers::Expired, Err(SessionExpired), Err(SessionExpired)),
        (Strangers::LocalElsewhere(ServerId(1)), Err(SessionExpired), Ok(())),
    ] {
        let mut rig = Rig::with(Settings { strangers, ..settings() });
        check(
            &mut rig,
            &[
                ("its own", made_by(1), create("/own", 0), own),
                ("another's", made_by(2), create("/other", 0), others),
                ("another's ephemeral", made_by(2), create("/ephemeral", 1), Err(SessionExpired)),
            ],
        );
        // What was open here and is not any more is no stranger.
        assert_eq!(rig.run(ONE, &Request::CloseSession).err, 0);
        let expected = match strangers {
            Strangers::LocalElsewhere(_) => 0,
            _ => number(own),
        };
        assert_eq!(rig.code(ONE, &create("/late", 0)), expected, "{strangers:?}");
    }
}

#[test]
fn a_local_session_writes_and_owns_nothing_until_its_create_session_is_prepared() {
    const LOCAL: SessionId = SessionId(0x300);
    let mut rig = Rig::new();
    rig.pipeline.sessions().open_local(LOCAL, 10_000, Millis(0));
    let rows = |expected| [("an ephemeral", LOCAL, create("/e", 1), expected)];
    check(&mut rig, &[("a node", LOCAL, create("/n", 0), Ok(()))]);
    check(&mut rig, &rows(Err(EphemeralOnLocalSession)));
    assert_eq!(rig.pipeline.sessions().begin_upgrade(LOCAL), Some(10_000));
    rig.prepare(LOCAL, &Request::CreateSession(10_000));
    assert!(rig.pipeline.is_open_for_all(LOCAL));
    check(&mut rig, &rows(Ok(())));
    assert_eq!(rig.pipeline.sessions_ref().image().ephemerals_of(LOCAL).count(), 1);
}
