#![forbid(unsafe_code)]
//! Client-protocol §11.8: which change tells whom.

use super::{DEFAULT, RICH, line};
use crate::support::client::{
    CHILDREN_CHANGED, CREATED, Client, DATA_CHANGED, DELETED, Event, err, flags, op,
};
use crate::support::jute::{ADMIN, ALL, READ, open, out, world};

/// Modes of addWatch.
const PERSISTENT: i32 = 0;
const RECURSIVE: i32 = 1;

/// Kinds of checkWatches and removeWatches.
const ANY_CHILDREN: i32 = 1;
const ANY_DATA: i32 = 2;
const ANY: i32 = 3;
const ANY_PERSISTENT: i32 = 4;
const ANY_RECURSIVE: i32 = 5;

/// The one event that came, whole.
fn only_event(client: &mut Client) -> Event {
    let mut events = client.events();
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn briefs(expected: &[(i32, &str)]) -> Vec<(i32, String)> {
    expected.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect()
}

line!(c146_a_data_watch_fires_on_set_data, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.get(&path, true).unwrap();
    client.set(&path, b"x", -1).unwrap();
    let zxid = client.zxid;
    assert_eq!(only_event(&mut client), Event { zxid, kind: DATA_CHANGED, state: 3, path });
});

line!(c147_a_watch_fires_once, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    // Twice the same watch is one watch.
    client.get(&path, true).unwrap();
    client.get(&path, true).unwrap();
    client.set(&path, b"x", -1).unwrap();
    client.set(&path, b"y", -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DATA_CHANGED, &path)]));
});

line!(c148_an_exists_watch_fires_on_create, DEFAULT, |s| {
    let (mut client, mut other) = (s.open(), s.open());
    let path = s.path("a");
    client.exists(&path, true).unwrap_err();
    other.create(&path, b"").unwrap();
    let zxid = other.zxid;
    assert_eq!(only_event(&mut client), Event { zxid, kind: CREATED, state: 3, path });
});

line!(c149_an_exists_watch_is_set_though_the_node_is_missing, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    assert_eq!(client.exists(&path, true), Err(err::NO_NODE));
    assert_eq!(client.check_watches(&path, ANY_DATA), Ok(()));
});

line!(c150_get_data_of_a_missing_node_sets_no_watch, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    assert_eq!(client.get(&path, true), Err(err::NO_NODE));
    assert_eq!(client.children(&path, true), Err(err::NO_NODE));
    assert_eq!(client.check_watches(&path, ANY), Err(err::NO_WATCHER));
    client.create(&path, b"").unwrap();
    assert_eq!(client.events(), []);
});

line!(c151_an_exists_watch_on_a_node_is_a_data_watch, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.exists(&path, true).unwrap();
    client.set(&path, b"", -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DATA_CHANGED, &path)]));
    client.exists(&path, true).unwrap();
    client.delete(&path, -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DELETED, &path)]));
});

line!(c152_a_child_watch_fires_on_create_and_delete_of_a_child, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.children(&s.root, true).unwrap();
    client.create(&path, b"").unwrap();
    assert_eq!(client.briefs(), briefs(&[(CHILDREN_CHANGED, &s.root)]));
    client.children2(&s.root, true).unwrap();
    client.set(&path, b"x", -1).unwrap();
    client.create(s.path("a/b"), b"").unwrap();
    client.delete(s.path("a/b"), -1).unwrap();
    assert_eq!(client.events(), []);
    client.delete(&path, -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(CHILDREN_CHANGED, &s.root)]));
});

line!(c153_a_child_watch_fires_on_the_end_of_its_node, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.children(&path, true).unwrap();
    client.set(&path, b"x", -1).unwrap();
    client.delete(&path, -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DELETED, &path)]));
});

line!(c154_two_watches_and_one_end_make_one_event, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.get(&path, true).unwrap();
    client.children(&path, true).unwrap();
    client.delete(&path, -1).unwrap();
    client.create(&path, b"").unwrap();
    client.set(&path, b"x", -1).unwrap();
    client.delete(&path, -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DELETED, &path)]));
});

line!(c155_an_access_list_tells_nobody, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.get(&path, true).unwrap();
    client.children(&path, true).unwrap();
    client.children(&s.root, true).unwrap();
    client.add_watch(&path, PERSISTENT).unwrap();
    client.add_watch(&s.root, RECURSIVE).unwrap();
    client.set_acl(&path, &world(ALL & !1 | 1), -1).unwrap();
    client.set(&path, b"", 7).unwrap_err();
    client.delete(&path, 7).unwrap_err();
    assert_eq!(client.events(), []);
});

line!(c156_the_parent_of_a_first_level_node_is_a_slash, DEFAULT, |s| {
    let mut client = s.open();
    client.children("/", true).unwrap();
    client.create("/c156-child", b"").unwrap();
    assert_eq!(client.event().brief(), (CHILDREN_CHANGED, "/"));
    client.children("/", true).unwrap();
    client.delete("/c156-child", -1).unwrap();
    assert_eq!(client.event().brief(), (CHILDREN_CHANGED, "/"));
});

line!(c157_a_persistent_watch_stays, DEFAULT, |s| {
    let mut client = s.open();
    let (path, child) = (s.path("a"), s.path("a/b"));
    client.add_watch(&path, PERSISTENT).unwrap();
    for _ in 0..2 {
        client.create(&path, b"").unwrap();
        client.set(&path, b"x", -1).unwrap();
        client.create(&child, b"").unwrap();
        client.set(&child, b"x", -1).unwrap();
        client.delete(&child, -1).unwrap();
        client.delete(&path, -1).unwrap();
        let expected = [CREATED, DATA_CHANGED, CHILDREN_CHANGED, CHILDREN_CHANGED, DELETED];
        assert_eq!(client.briefs(), briefs(&expected.map(|kind| (kind, &*path))));
    }
});

line!(c158_a_recursive_watch_sees_all_below_and_no_lists, DEFAULT, |s| {
    let mut client = s.open();
    let paths = [s.path("a"), s.path("a/b"), s.path("a/b/c")];
    client.add_watch(&paths[0], RECURSIVE).unwrap();
    for _ in 0..2 {
        paths.iter().for_each(|path| drop(client.create(path, b"").unwrap()));
        paths.iter().for_each(|path| assert!(client.set(path, b"x", -1).is_ok()));
        paths.iter().rev().for_each(|path| client.delete(path, -1).unwrap());
        // A neighbour whose name begins alike is not below.
        client.create(s.path("ab"), b"").unwrap();
        client.delete(s.path("ab"), -1).unwrap();
        let [a, b, c] = &paths;
        let created = [(CREATED, &**a), (CREATED, b), (CREATED, c)];
        let changed = [(DATA_CHANGED, &**a), (DATA_CHANGED, b), (DATA_CHANGED, c)];
        let deleted = [(DELETED, &**c), (DELETED, b), (DELETED, a)];
        assert_eq!(client.briefs(), briefs(&[created, changed, deleted].concat()));
    }
});

line!(c159_one_change_is_one_event, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.add_watch(&s.root, RECURSIVE).unwrap();
    client.add_watch(&path, RECURSIVE).unwrap();
    client.add_watch(&path, PERSISTENT).unwrap();
    client.get(&path, true).unwrap();
    client.children(&path, true).unwrap();
    client.set(&path, b"x", -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DATA_CHANGED, &path)]));
    client.delete(&path, -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DELETED, &path)]));
});

line!(c160_add_watch_takes_any_path_and_two_modes, DEFAULT, |s| {
    let mut client = s.open();
    let reply = client.call(op::ADD_WATCH, &out().str(s.path("missing")).int(PERSISTENT).done());
    assert_eq!((reply.err, reply.body), (0, vec![0; 4]));
    client.add_watch("no slash", RECURSIVE).unwrap();
    for mode in [2, -1, i32::MAX] {
        assert_eq!(client.add_watch(s.path("missing"), mode), Err(err::MARSHALLING), "{mode}");
    }
});

line!(c161_a_standard_watch_leaves_the_persistent_one, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.add_watch(&path, PERSISTENT).unwrap();
    client.get(&path, true).unwrap();
    client.set(&path, b"x", -1).unwrap();
    client.set(&path, b"y", -1).unwrap();
    assert_eq!(client.briefs(), briefs(&[(DATA_CHANGED, &path), (DATA_CHANGED, &path)]));
    assert_eq!(client.check_watches(&path, ANY_DATA), Err(err::NO_WATCHER));
    assert_eq!(client.check_watches(&path, ANY_PERSISTENT), Ok(()));
});

line!(c162_all_watches_of_a_path_can_be_removed, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.get(&path, true).unwrap();
    client.children(&path, true).unwrap();
    client.add_watch(&path, PERSISTENT).unwrap();
    client.add_watch(&path, RECURSIVE).unwrap();
    assert_eq!(client.remove_watches(&path, ANY), Ok(()));
    assert_eq!(client.remove_watches(&path, ANY), Err(err::NO_WATCHER));
    client.set(&path, b"x", -1).unwrap();
    client.delete(&path, -1).unwrap();
    assert_eq!(client.events(), []);
});

// Bytes that are no UTF-8 are text with replacements to Java, and so is the watch.
line!(c162b_a_watch_on_bytes_that_are_no_text_goes_by_their_replacement, DEFAULT, |s| {
    let mut client = s.open();
    let raw = [s.path("").as_bytes(), b"\xff"].concat();
    let replaced = s.path("\u{fffd}");
    assert_eq!(client.exists(&raw, true), Err(err::NO_NODE));
    assert_eq!(client.check_watches(&replaced, ANY), Ok(()));
    assert_eq!(client.remove_watches(&replaced, ANY), Ok(()));
    assert_eq!(client.remove_watches(&raw, ANY), Err(err::NO_WATCHER));
});

line!(c163_kinds_of_watches_are_removed_one_by_one, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.get(&path, true).unwrap();
    client.children(&path, true).unwrap();
    client.add_watch(&path, PERSISTENT).unwrap();
    client.add_watch(&path, RECURSIVE).unwrap();
    let kinds = [ANY_DATA, ANY_CHILDREN, ANY_PERSISTENT, ANY_RECURSIVE];
    for (removed, kind) in kinds.into_iter().enumerate() {
        assert_eq!(client.remove_watches(&path, kind), Ok(()));
        assert_eq!(client.remove_watches(&path, kind), Err(err::NO_WATCHER));
        for (place, other) in kinds.into_iter().enumerate() {
            let expected = if place <= removed { Err(err::NO_WATCHER) } else { Ok(()) };
            assert_eq!(client.check_watches(&path, other), expected, "{other} after {kind} was removed");
        }
    }
});

line!(c164_check_watches_knows_what_is_set, DEFAULT, |s| {
    let (mut client, mut other) = (s.open(), s.open());
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    other.get(&path, true).unwrap();
    for kind in [ANY_CHILDREN, ANY_DATA, ANY, ANY_PERSISTENT, ANY_RECURSIVE] {
        assert_eq!(client.check_watches(&path, kind), Err(err::NO_WATCHER));
    }
    for kind in [9, 0, -1, 6] {
        assert_eq!(client.check_watches(&path, kind), Err(err::MARSHALLING));
        assert_eq!(client.remove_watches(&path, kind), Err(err::MARSHALLING));
    }
    assert_eq!(other.check_watches(&path, ANY_DATA), Ok(()));
});

line!(c165_a_removal_tells_nobody, DEFAULT, |s| {
    let mut client = s.open();
    client.children(&s.root, true).unwrap();
    client.get(&s.root, true).unwrap();
    client.remove_watches(&s.root, ANY_DATA).unwrap();
    client.remove_watches(&s.root, ANY).unwrap();
    assert_eq!(client.events(), []);
});

line!(c166_watches_belong_to_the_connection, DEFAULT, |s| {
    let (mut client, mut writer) = (s.open(), s.open());
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.get(&path, true).unwrap();
    client.add_watch(&path, PERSISTENT).unwrap();
    let seen = client.zxid;
    let mut client = s.resume(&client.abandon());
    writer.set(&path, b"x", -1).unwrap();
    assert_eq!(client.events(), []);
    client.set_watches(seen, &[&path], &[], &[]).expect_header(0);
    assert_eq!(client.briefs(), briefs(&[(DATA_CHANGED, &path)]));
});

line!(c167_set_watches_catches_up_on_data, DEFAULT, |s| {
    let mut client = s.open();
    let (kept, changed, missing) = (s.path("kept"), s.path("changed"), s.path("missing"));
    for path in [&kept, &changed, &missing] {
        client.create(path, b"").unwrap();
    }
    let seen = client.zxid;
    client.set(&changed, b"x", -1).unwrap();
    client.delete(&missing, -1).unwrap();
    client.set_watches(seen, &[&kept, &changed, &missing], &[], &[]).expect_header(0);
    assert_eq!(client.briefs(), briefs(&[(DATA_CHANGED, &changed), (DELETED, &missing)]));
    for path in [&kept, &changed] {
        client.set(path, b"y", -1).unwrap();
    }
    client.create(&missing, b"").unwrap();
    assert_eq!(client.briefs(), briefs(&[(DATA_CHANGED, &kept)]));
});

line!(c168_set_watches_catches_up_on_existence, DEFAULT, |s| {
    let mut client = s.open();
    let (there, missing) = (s.path("there"), s.path("missing"));
    let seen = client.zxid;
    client.create(&there, b"").unwrap();
    client.set_watches(seen, &[], &[&there, &missing], &[]).expect_header(0);
    assert_eq!(client.briefs(), briefs(&[(CREATED, &there)]));
    client.set(&there, b"", -1).unwrap();
    client.create(&missing, b"").unwrap();
    assert_eq!(client.briefs(), briefs(&[(CREATED, &missing)]));
});

line!(c169_set_watches_catches_up_on_children, DEFAULT, |s| {
    let mut client = s.open();
    let (kept, changed, missing) = (s.path("kept"), s.path("changed"), s.path("missing"));
    for path in [&kept, &changed, &missing] {
        client.create(path, b"").unwrap();
    }
    let seen = client.zxid;
    client.create(format!("{changed}/x"), b"").unwrap();
    client.delete(&missing, -1).unwrap();
    // A change of data is none of a child list.
    client.set(&kept, b"x", -1).unwrap();
    client.set_watches(seen, &[], &[], &[&kept, &changed, &missing]).expect_header(0);
    assert_eq!(client.briefs(), briefs(&[(CHILDREN_CHANGED, &changed), (DELETED, &missing)]));
    client.create(format!("{kept}/x"), b"").unwrap();
    client.create(format!("{changed}/y"), b"").unwrap();
    assert_eq!(client.briefs(), briefs(&[(CHILDREN_CHANGED, &kept)]));
});

line!(c170_events_of_set_watches_have_no_zxid_and_precede_its_reply, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.set_watches(0, &[&path], &[&path], &[&s.root]).expect_header(0);
    let events = client.events_so_far();
    let found: Vec<_> = events.iter().map(|event| (event.zxid, event.state, event.brief())).collect();
    let expected = [(DATA_CHANGED, &*path), (CREATED, &path), (CHILDREN_CHANGED, &s.root)];
    assert_eq!(found, expected.map(|brief| (-1, 3, brief)));
});

line!(c171_what_was_seen_is_not_told_again, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    client.set(&path, b"x", -1).unwrap();
    let seen = client.zxid;
    client.set_watches(seen, &[&path], &[], &[]).expect_header(0);
    assert_eq!(client.events(), []);
    assert_eq!(client.check_watches(&path, ANY_DATA), Ok(()));
    client.create(s.path("b"), b"").unwrap();
    let seen = client.zxid;
    client.set_watches(seen, &[], &[], &[&s.root]).expect_header(0);
    assert_eq!(client.events(), []);
    assert_eq!(client.check_watches(&s.root, ANY_CHILDREN), Ok(()));
});

line!(c172_persistent_watches_are_set_again_in_silence, DEFAULT, |s| {
    let mut client = s.open();
    let (path, missing) = (s.path("a"), s.path("missing"));
    client.create(&path, b"").unwrap();
    client.set_persistent_watches(0, &[&path, &missing], &[&path]).expect_header(0);
    assert_eq!(client.events(), []);
    client.set(&path, b"x", -1).unwrap();
    client.create(&missing, b"").unwrap();
    client.create(s.path("a/b"), b"").unwrap();
    let expected =
        [(DATA_CHANGED, &*path), (CREATED, &missing), (CREATED, &s.path("a/b")), (CHILDREN_CHANGED, &path)];
    assert_eq!(client.briefs(), briefs(&expected));
});

line!(c173_an_event_needs_read, DEFAULT, |s| {
    let (mut client, mut writer) = (s.open(), s.open());
    writer.log_in("u:p");
    let path = s.path("a");
    writer.create_with(&path, b"", &world(ALL), flags::PERSISTENT).unwrap();
    client.get(&path, true).unwrap();
    writer.set_acl(&path, &[crate::support::jute::acl(ALL, "auth", "")], -1).unwrap();
    writer.set(&path, b"x", -1).unwrap();
    writer.set_acl(&path, &world(READ | ADMIN | 2), -1).unwrap();
    writer.set(&path, b"y", -1).unwrap();
    assert_eq!(client.events(), []);
    assert_eq!(client.check_watches(&path, ANY), Err(err::NO_WATCHER));
});

line!(c174_the_end_of_a_session_is_told, RICH, |s| {
    let mut client = s.open();
    let mut mortal = s.open();
    for path in [s.path("p"), s.path("q")] {
        client.create(&path, b"").unwrap();
        mortal.create_with(format!("{path}/e"), b"", &open(), flags::EPHEMERAL).unwrap();
        client.exists(format!("{path}/e"), true).unwrap();
        client.children(&path, true).unwrap();
    }
    drop(mortal.shortened(s, 1_500).abandon());
    let events: Vec<Event> = (0..4).map(|_| client.event()).collect();
    assert!(events.iter().all(|event| event.zxid == events[0].zxid), "{events:?}");
    // Path by path, each before its parent; which path comes first is nobody's promise.
    let mut pairs: Vec<_> = events.chunks(2).map(|pair| (pair[0].brief(), pair[1].brief())).collect();
    pairs.sort_unstable();
    let (p, q) = (s.path("p"), s.path("q"));
    let pair = |e: &'static str, parent| ((DELETED, e), (CHILDREN_CHANGED, parent));
    assert_eq!(pairs, [pair("/c174/p/e", &*p), pair("/c174/q/e", &*q)]);
});
