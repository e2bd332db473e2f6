//! Statements 1 and 9 to 17: what the tree is.

use super::support::client::{Client, err, flags, op};
use super::support::jute::{ADMIN, ALL, CREATE, READ, acl, open, out, world};
use super::{plain, rooted};

#[test]
fn m01_state_is_small_and_a_value_over_the_limit_is_refused_and_the_server_lives_on() {
    let server = plain();
    let mut other = rooted(&server, "/m01");
    let mut client = Client::open(&server);
    // The whole frame counts against 0xfffff; this leaves room for the rest of it.
    client.create("/m01/large", &vec![7; 1_000_000]).unwrap();
    client.send(op::SET_DATA, &out().str("/m01/large").buffer(Some(&vec![8; 1 << 20])).int(-1).done());
    client.expect_close();
    let (data, stat) = other.get("/m01/large", false).unwrap();
    assert_eq!((data, stat.version), (Some(vec![7; 1_000_000]), 0));
    // Co-operation: one goes on when the other has acted; competition: only one of two gets the name.
    let mut rival = Client::open(&server);
    assert!(other.create("/m01/lock", b"").is_ok());
    assert_eq!(rival.create("/m01/lock", b""), Err(err::NODE_EXISTS));
    rival.exists("/m01/lock", true).unwrap();
    other.delete("/m01/lock", 0).unwrap();
    assert_eq!(rival.event().path, "/m01/lock");
    assert!(rival.create("/m01/lock", b"").is_ok());
}

#[test]
fn m09_paths_are_absolute_and_hold_no_empty_dotted_or_controlled_element() {
    let mut client = rooted(&plain(), "/m09");
    for path in [
        "m09",
        "",
        "/m09/..",
        "/m09/.",
        "/m09/\u{1}",
        "/m09/\u{7f}",
        "/m09/\u{9f}",
        "/m09/a\u{0}b",
        "/m09/\u{e000}",
        "/m09/\u{fff0}",
    ] {
        assert_eq!(client.create(path, b""), Err(err::BAD_ARGUMENTS), "{path:?}");
    }
    for path in ["/m09/x", "/m09/...", "/m09/.x", "/m09/x y", "/m09/é", "/m09/\u{a0}"] {
        assert_eq!(client.create(path, b"").as_deref(), Ok(path));
    }
    assert_eq!(client.create("/m09/x/", b""), Err(err::BAD_ARGUMENTS));
    // Under a missing parent that is what is told.
    assert_eq!(client.create("/m09/none/..", b""), Err(err::NO_NODE));
    assert_eq!(client.create("/m09//x", b""), Err(err::NO_NODE));
    assert_eq!(client.create("m09/x", b""), Err(err::NO_NODE));
}

#[test]
fn m10_data_is_read_and_written_whole() {
    let server = plain();
    let (mut client, mut reader) = (rooted(&server, "/m10"), Client::open(&server));
    client.create("/m10/a", b"aaaaaaaa").unwrap();
    assert!(client.exists("/m10/a", false).is_ok());
    assert_eq!(client.children("/m10", false).unwrap(), ["a"]);
    // A reader beside a writer sees one value or the next, never a mixture, and never an older one again.
    let mut seen = 0;
    for round in 1..=200u8 {
        let length = if round % 2 == 0 { 20_000 } else { 3 };
        client.send(op::SET_DATA, &out().str("/m10/a").buffer(Some(&vec![round; length])).int(-1).done());
        let (data, stat) = reader.get("/m10/a", false).unwrap();
        let data = data.unwrap();
        assert!(data.iter().all(|byte| *byte == data[0]), "a torn value in round {round}");
        assert_eq!(data.len(), usize::try_from(stat.data_length).unwrap());
        assert!(stat.version >= seen, "version {} after {seen}", stat.version);
        assert!(stat.version == 0 || data[0] == stat.version as u8, "the data of another version");
        seen = stat.version;
        assert_eq!(client.reply().err, 0);
    }
    client.delete("/m10/a", -1).unwrap();
    assert_eq!(client.get("/m10/a", false), Err(err::NO_NODE));
}

#[test]
fn m11_persistent_nodes_outlive_who_made_them() {
    let server = plain();
    let mut maker = rooted(&server, "/m11");
    maker.create("/m11/a", b"x").unwrap();
    maker.close();
    let mut other = Client::open(&server);
    assert_eq!(other.get("/m11/a", false).unwrap().0.as_deref(), Some(&b"x"[..]));
    other.delete("/m11/a", -1).unwrap();
    assert_eq!(other.exists("/m11/a", false), Err(err::NO_NODE));
}

#[test]
fn m12_ephemerals_go_with_their_session_or_when_anybody_deletes_them() {
    let server = plain();
    let (mut owner, mut other) = (rooted(&server, "/m12"), Client::open(&server));
    for name in ["closed", "deleted"] {
        owner.create_with(format!("/m12/{name}"), b"", &open(), flags::EPHEMERAL).unwrap();
    }
    assert_eq!(other.exists("/m12/closed", false).unwrap().ephemeral_owner, owner.session.id);
    assert_eq!(owner.create("/m12/closed/x", b""), Err(err::NO_CHILDREN_FOR_EPHEMERALS));
    other.delete("/m12/deleted", -1).unwrap();
    // The kind is the node's for ever: what is made in its place is another node.
    other.set("/m12/closed", b"x", -1).unwrap();
    assert_eq!(other.exists("/m12/closed", false).unwrap().ephemeral_owner, owner.session.id);
    other.create("/m12/deleted", b"").unwrap();
    owner.close();
    assert_eq!(other.exists("/m12/closed", false), Err(err::NO_NODE));
    assert_eq!(other.exists("/m12/deleted", false).unwrap().ephemeral_owner, 0);
}

#[test]
fn m13_sequential_numbers_only_grow_and_are_unique_under_their_parent() {
    let server = plain();
    let mut clients = [rooted(&server, "/m13"), Client::open(&server), Client::open(&server)];
    let mut names = Vec::new();
    for round in 0..30 {
        let client = &mut clients[round % 3];
        let flags = if round % 2 == 0 { flags::SEQUENTIAL } else { flags::EPHEMERAL_SEQUENTIAL };
        let name = client.create_with("/m13/n-", b"", &open(), flags).unwrap();
        if round % 5 == 0 {
            client.delete(&name, -1).unwrap();
        }
        names.push(name);
    }
    let expected: Vec<String> = (0..30).map(|number| format!("/m13/n-{number:010}")).collect();
    assert_eq!(names, expected);
    // Elsewhere the numbers are elsewhere's.
    clients[0].create("/m13/other", b"").unwrap();
    let name = clients[0].create_with("/m13/other/n-", b"", &open(), flags::SEQUENTIAL).unwrap();
    assert_eq!(name, "/m13/other/n-0000000000");
}

#[test]
fn m14_every_operation_leaves_the_right_versions_times_and_zxids() {
    let mut client = rooted(&plain(), "/m14");
    client.create("/m14/a", b"four").unwrap();
    let created = client.zxid;
    let a = client.exists("/m14/a", false).unwrap();
    assert_eq!((a.czxid, a.mzxid, a.pzxid), (created, created, created));
    assert_eq!((a.version, a.cversion, a.aversion, a.data_length, a.num_children), (0, 0, 0, 4, 0));
    assert_eq!(a.ctime, a.mtime);
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
        - a.ctime;
    assert!((-1_000..60_000).contains(&age), "created {age} ms ago");

    let set = client.set("/m14/a", b"", -1).unwrap();
    assert_eq!((set.version, set.mzxid, set.czxid, set.pzxid), (1, client.zxid, created, created));
    assert!(set.mtime >= a.mtime && set.ctime == a.ctime);
    let access = client.set_acl("/m14/a", &open(), -1).unwrap();
    assert_eq!((access.aversion, access.version, access.mzxid), (1, 1, set.mzxid));
    client.create("/m14/a/b", b"").unwrap();
    let born = client.zxid;
    let parent = client.exists("/m14/a", false).unwrap();
    assert_eq!((parent.cversion, parent.num_children, parent.pzxid, parent.mzxid), (1, 1, born, set.mzxid));
    client.set("/m14/a/b", b"x", -1).unwrap();
    assert_eq!(client.exists("/m14/a", false).unwrap(), parent, "a child's data are the child's");
    client.delete("/m14/a/b", -1).unwrap();
    // A read's answer carries the server's latest zxid, which may be another client's.
    let died = client.zxid;
    let parent = client.exists("/m14/a", false).unwrap();
    assert_eq!((parent.cversion, parent.num_children, parent.pzxid), (2, 0, died));
}

#[test]
fn m15_a_conditional_change_with_the_wrong_version_changes_nothing() {
    let mut client = rooted(&plain(), "/m15");
    client.create("/m15/a", b"x").unwrap();
    for round in 0..5 {
        let before = client.get("/m15/a", false).unwrap();
        for wrong in [round - 1, round + 1, i32::MAX, i32::MIN].into_iter().filter(|version| *version != -1) {
            assert_eq!(client.set("/m15/a", b"y", wrong), Err(err::BAD_VERSION));
            assert_eq!(client.delete("/m15/a", wrong), Err(err::BAD_VERSION));
            assert_eq!(client.set_acl("/m15/a", &world(READ), wrong), Err(err::BAD_VERSION));
        }
        assert_eq!(client.get("/m15/a", false).unwrap(), before);
        assert_eq!(client.set("/m15/a", b"x", round).unwrap().version, round + 1);
        assert_eq!(client.set_acl("/m15/a", &open(), round).unwrap().aversion, round + 1);
    }
}

#[test]
fn m16_each_change_has_its_own_zxid_and_all_see_the_same_order() {
    let server = plain();
    let mut writers = [rooted(&server, "/m16"), Client::open(&server), Client::open(&server)];
    let mut watchers = [Client::open(&server), Client::open(&server)];
    for watcher in &mut watchers {
        watcher.add_watch("/m16", 1).unwrap();
    }
    let mut zxids = Vec::new();
    for round in 0..20 {
        // On the way at the same time, from three connections.
        for (number, writer) in writers.iter_mut().enumerate() {
            let body =
                super::support::client::body::create(format!("/m16/{number}-{round}"), None, &open(), 0);
            writer.send(op::CREATE, &body);
        }
        for writer in &mut writers {
            let reply = writer.reply();
            assert_eq!(reply.err, 0);
            zxids.push(reply.zxid);
        }
    }
    let mut unique = zxids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), zxids.len(), "no two changes share a zxid");
    let [first, second] = watchers.each_mut().map(Client::events);
    assert_eq!(first.len(), zxids.len());
    assert!(first.is_sorted_by_key(|event| event.zxid), "events come in the order of zxids");
    assert_eq!(first, second, "and in the same order for everybody");
    // A reader that is told a zxid sees everything up to it.
    for event in &first {
        assert_eq!(watchers[0].exists(&event.path, false).unwrap().czxid, event.zxid);
    }
}

#[test]
fn m17_access_lists_are_each_nodes_own() {
    let server = plain();
    let (mut owner, mut other) = (rooted(&server, "/m17"), Client::open(&server));
    owner.log_in("owner:secret");
    let closed = [acl(ALL, "auth", "")];
    owner.create("/m17/p", b"parent").unwrap();
    owner.create("/m17/p/open", b"open").unwrap();
    owner.create_with("/m17/p/closed", b"closed", &closed, flags::PERSISTENT).unwrap();
    owner.set_acl("/m17/p", &closed, -1).unwrap();
    // Open under closed, and closed under closed.
    assert_eq!(other.get("/m17/p", false), Err(err::NO_AUTH));
    assert_eq!(other.children("/m17/p", false), Err(err::NO_AUTH));
    assert_eq!(other.get("/m17/p/open", false).unwrap().0.as_deref(), Some(&b"open"[..]));
    assert!(other.set("/m17/p/open", b"x", -1).is_ok());
    assert_eq!(other.get("/m17/p/closed", false), Err(err::NO_AUTH));
    assert_eq!(other.create("/m17/p/x", b""), Err(err::NO_AUTH), "CREATE is the parent's");
    assert_eq!(other.delete("/m17/p/open", -1), Err(err::NO_AUTH), "so is DELETE");
    // Closed under open.
    owner.set_acl("/m17/p", &world(READ | CREATE | ADMIN), -1).unwrap();
    assert_eq!(other.children("/m17/p", false).unwrap(), ["closed", "open"]);
    assert_eq!(other.get("/m17/p/closed", false), Err(err::NO_AUTH));
    // What is made under it takes the list it was given, not the parent's.
    other.create("/m17/p/new", b"").unwrap();
    assert_eq!(other.acl("/m17/p/new").unwrap().0, open());
    other.log_in("owner:secret");
    assert!(other.get("/m17/p/closed", false).is_ok());
}
