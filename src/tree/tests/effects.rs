#![forbid(unsafe_code)]
//! What each change does to a znode and to its parent.

use super::*;
use crate::wire::Stat;

#[test]
fn an_empty_tree_holds_the_built_in_znodes_of_stock() {
    let (rounds, reader) = Rounds::new();
    let view = reader.pin();
    let stat = |path: &str| view.find(path.as_bytes()).unwrap().stat();
    let zero = Stat::default();
    assert_eq!(stat("/"), Stat { cversion: -1, num_children: 1, ..zero });
    assert_eq!(stat(""), stat("/"));
    assert_eq!(stat("/zookeeper"), Stat { cversion: -2, num_children: 2, ..zero });
    assert_eq!(stat("/zookeeper/quota"), zero);
    assert_eq!(stat("/zookeeper/config"), Stat { aversion: -1, ..zero });
    assert_eq!(view.find(b"/zookeeper/config").unwrap().data(), Some(&b""[..]));
    assert_eq!(view.find(b"/zookeeper/config").unwrap().acl(), [Acl { perms: 1, ..Acl::open() }]);
    assert!(view.find(b"/zookeeper").unwrap().has_open_acl());
    assert_eq!(names(&view, "/zookeeper"), ["config", "quota"]);
    assert_eq!(rounds.writer.digest(), 0x51c6_d660);
    assert_eq!(reader.stats(), TreeStats { znode_count: 5, approximate_data_size: 44, ephemerals_count: 0 });
}

#[test]
fn create_and_delete_move_the_parent_as_in_stock() {
    let (mut rounds, reader) = Rounds::new();
    let stat = rounds.create("/a").unwrap();
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime), (1, 1, 1, 1, 1));
    assert_eq!((stat.version, stat.cversion, stat.aversion, stat.data_length), (0, 0, 0, 4));
    rounds.create("/a/b").unwrap();
    rounds.create("/a/b/c").unwrap();
    let a = reader.pin().find(b"/a").unwrap().stat();
    assert_eq!((a.cversion, a.pzxid, a.num_children, a.mzxid, a.version), (1, 2, 1, 1, 0));
    let deleted = rounds.delete("/a/b/c").unwrap();
    assert_eq!(deleted, Deleted { stored_owner: 0, data_length: 4, below: vec![] });
    rounds.delete("/a/b").unwrap();
    let view = reader.pin();
    let a = view.find(b"/a").unwrap();
    assert_eq!((a.stat().cversion, a.stat().pzxid, a.stat().num_children), (2, 5, 0));
    assert_eq!(a.raw_cversion(), 1);
    assert!(view.find(b"/a/b").is_none());
    drop(view);
    check_sums(&rounds.writer, &reader);
}

#[test]
fn changes_of_data_and_acl_touch_their_own_fields_only() {
    let (mut rounds, reader) = Rounds::new();
    rounds.create("/a").unwrap();
    let changed = rounds.round(|writer, z| writer.set_data(z, b"/a", None, 1, 77)).unwrap();
    assert_eq!(changed.data_length_before, 4);
    let stat = changed.stat;
    assert_eq!((stat.version, stat.mzxid, stat.mtime, stat.data_length), (1, 2, 77, 0));
    assert_eq!(reader.pin().find(b"/a").unwrap().data(), None);
    let stat = rounds.round(|writer, z| writer.set_acl(z, b"/a", &acl("x"), 1)).unwrap();
    assert_eq!((stat.aversion, stat.version, stat.mzxid, stat.mtime), (1, 1, 2, 77));
    assert_eq!(reader.pin().find(b"/a").unwrap().acl(), acl("x"));
    rounds.round(|writer, z| writer.set_stats_data(z, b"/a", b"count=1,bytes=0")).unwrap();
    let view = reader.pin();
    let znode = view.find(b"/a").unwrap();
    assert_eq!(znode.stat(), Stat { data_length: 15, ..stat });
    assert_eq!(znode.acl(), acl("x"));
    drop(view);
    assert_eq!(rounds.writer.digest(), {
        let mut sum = 0i64;
        for path in [&b""[..], b"/zookeeper", b"/a"] {
            let znode = rounds.writer.get(path).unwrap();
            sum += digest::node_digest(path, znode.data(), &znode.stored_stat());
        }
        sum
    });
    check_sums(&rounds.writer, &reader);
}

#[test]
fn a_pinned_view_keeps_its_zxid() {
    let (mut rounds, reader) = Rounds::new();
    rounds.create("/a").unwrap();
    let mut view = reader.pin();
    rounds.round(|writer, z| writer.set_data(z, b"/a", Some(b"new"), 1, 9)).unwrap();
    rounds.create("/a/b").unwrap();
    rounds.delete("/a/b").unwrap();
    rounds.delete("/a").unwrap();
    rounds.create("/a").unwrap();
    assert_eq!(view.at(), Zxid(1));
    let znode = view.find(b"/a").unwrap();
    assert_eq!((znode.data(), znode.child_count(), znode.pzxid()), (Some(&b"data"[..]), 0, Zxid(1)));
    assert!(view.find(b"/a/b").is_none());
    view.refresh();
    assert_eq!(view.at(), Zxid(6));
    assert_eq!(view.find(b"/a").unwrap().czxid(), Zxid(6));
    assert_eq!((view.find(b"/a").unwrap().raw_cversion(), view.find(b"/a").unwrap().pzxid()), (0, Zxid(6)));
}

#[test]
fn replayed_creates_and_deletes_do_what_stock_does() {
    let (mut rounds, reader) = Rounds::new();
    rounds.create("/a").unwrap();
    rounds.create("/a/b").unwrap();
    // Exists: the ACL is replaced, the parent raised for type create alone, and only upwards.
    let restricted = acl("x");
    for (raise, parent_cversion, expected) in [(false, 5, (1, 2)), (true, 1, (1, 2)), (true, 5, (5, 5))] {
        let new =
            NewZnode { acl: &restricted, parent_cversion, raise_parent_if_exists: raise, ..plain("/a/b", 0) };
        assert_eq!(rounds.round(|writer, z| writer.create(z, &new)), Err(TreeError::NodeExists));
        let view = reader.pin();
        assert_eq!(view.find(b"/a/b").unwrap().acl(), restricted);
        assert_eq!(view.find(b"/a/b").unwrap().stat().aversion, 0);
        let a = view.find(b"/a").unwrap();
        assert_eq!((a.raw_cversion(), a.pzxid().0), expected);
    }
    // A lower parent_cversion than stored moves neither cversion nor pzxid.
    let new = NewZnode { parent_cversion: 3, ..plain("/a/c", 0) };
    rounds.round(|writer, z| writer.create(z, &new)).unwrap();
    assert_eq!(reader.pin().find(b"/a").unwrap().raw_cversion(), 5);
    assert_eq!(reader.pin().find(b"/a").unwrap().pzxid(), Zxid(5));
    // A missing child raises pzxid all the same.
    assert_eq!(rounds.delete("/a/none"), Err(TreeError::NoNode));
    assert_eq!(reader.pin().find(b"/a").unwrap().pzxid(), Zxid(rounds.zxid));
    assert_eq!(rounds.delete("/none/none"), Err(TreeError::NoNode));
    assert_eq!(rounds.create("/none/none"), Err(TreeError::NoNode));
    for path in ["/", "", "a", "/a/"] {
        assert_eq!(rounds.delete(path), Err(TreeError::BadPath), "{path}");
        assert_eq!(rounds.create(path), Err(TreeError::BadPath), "{path}");
    }
    check_sums(&rounds.writer, &reader);
    // A deletion that the log has before the children takes them along.
    let deleted = rounds.delete("/a").unwrap();
    let mut below: Vec<_> = deleted.below.into_iter().map(|(path, _)| path).collect();
    below.sort();
    assert_eq!(below, [b"/a/b".to_vec(), b"/a/c".to_vec()]);
    check_sums(&rounds.writer, &reader);
    rounds.settle();
    assert_eq!(rounds.writer.acl_totals(), (1, 1)); // The config node's.
}

#[test]
fn a_multi_may_touch_a_znode_many_times() {
    let (mut rounds, reader) = Rounds::new();
    rounds.create("/a").unwrap();
    let view = reader.pin();
    rounds.round(|writer, z| {
        writer.set_data(z, b"/a", Some(b"1"), 1, 5).unwrap();
        writer.create(z, &plain("/a/b", 5)).unwrap();
        writer.set_data(z, b"/a", Some(b"2"), 2, 5).unwrap();
        writer.create(z, &plain("/a/c", 5)).unwrap();
        writer.delete(z, b"/a/b").unwrap();
        writer.delete(z, b"/a/c").unwrap();
        writer.delete(z, b"/a").unwrap();
        writer.create(z, &plain("/a", 5)).unwrap();
        writer.delete(z, b"/a").unwrap();
        writer.create(z, &plain("/a", 5)).unwrap();
        writer.create(z, &plain("/a/d", 5)).unwrap();
    });
    assert_eq!(view.find(b"/a").unwrap().data(), Some(&b"data"[..]));
    assert_eq!(view.find(b"/a").unwrap().child_count(), 0);
    drop(view);
    check_sums(&rounds.writer, &reader);
    let view = reader.pin();
    assert_eq!(names(&view, "/a"), ["d"]);
    let a = view.find(b"/a").unwrap();
    assert_eq!((a.raw_cversion(), a.pzxid(), a.czxid()), (1, Zxid(2), Zxid(2)));
    drop(view);
    rounds.settle();
    assert_eq!(names(&reader.pin(), "/a"), ["d"]);
    check_sums(&rounds.writer, &reader);
}

#[test]
fn owners_read_as_clients_see_them() {
    let (mut rounds, reader) = Rounds::new();
    rounds.writer.set_extended_types(true);
    let kinds = [
        ("/p", OwnerKind::None, 0),
        ("/e", OwnerKind::Session(0x1234), 0x1234),
        ("/c", OwnerKind::Container, 0),
        ("/t", OwnerKind::Ttl(500), 0),
    ];
    for (path, kind, seen) in kinds {
        let new = NewZnode { stored_owner: kind.stored(), ..plain(path, 0) };
        assert_eq!(rounds.round(|writer, z| writer.create(z, &new)).unwrap().ephemeral_owner, seen);
        let view = reader.pin();
        assert_eq!(view.find(path.as_bytes()).unwrap().owner_kind(), kind);
        assert_eq!(view.find(path.as_bytes()).unwrap().stored_owner(), kind.stored());
    }
    assert_eq!(
        OwnerKind::of(OwnerKind::Ttl(500).stored(), false),
        OwnerKind::Session(OwnerKind::Ttl(500).stored())
    );
    assert_eq!(reader.stats().ephemerals_count, 1);
    rounds.delete("/e").unwrap();
    assert_eq!(reader.stats().ephemerals_count, 0);
}
