#![forbid(unsafe_code)]
//! Client-protocol §11.6: what each operation leaves in a Stat.

use super::{FRESH, QUIET, line};
use crate::support::client::{Client, err, op};
use crate::support::jute::{READ, Stat, acl, open, world};

line!(c115_a_new_node, QUIET, |s| {
    let mut client = s.open();
    let (_, stat) = client.create_as(op::CREATE2, s.path("a"), b"four", 0).unwrap();
    let zxid = client.zxid;
    let expected = Stat {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: stat.ctime,
        mtime: stat.ctime,
        data_length: 4,
        ..Stat::default()
    };
    assert_eq!(stat, expected);
    assert!(stat.ctime > 1_500_000_000_000, "a wall clock in ms");
});

line!(c116_a_child_is_created, QUIET, |s| {
    let mut client = s.open();
    let before = client.exists(&s.root, false).unwrap();
    client.create(s.path("a"), b"").unwrap();
    let after = client.exists(&s.root, false).unwrap();
    let cversion = before.cversion + 1;
    let num_children = before.num_children + 1;
    assert_eq!(after, Stat { cversion, num_children, pzxid: client.zxid, ..before });
    assert_eq!(client.exists(s.path("a"), false).unwrap().czxid, after.pzxid);
});

line!(c117_a_child_is_deleted, QUIET, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    let before = client.exists(&s.root, false).unwrap();
    client.delete(s.path("a"), -1).unwrap();
    let zxid = client.zxid;
    let after = client.exists(&s.root, false).unwrap();
    let cversion = before.cversion + 1;
    assert_eq!(after, Stat { cversion, num_children: before.num_children - 1, pzxid: zxid, ..before });
});

line!(c118_creation_and_deletion_count_alike, QUIET, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.delete(s.path("a"), -1).unwrap();
    let stat = client.exists(&s.root, false).unwrap();
    assert_eq!((stat.cversion, stat.num_children), (2, 0));
});

line!(c119_data_is_the_node_s_own_affair, QUIET, |s| {
    let mut client = s.open();
    let (_, node) = client.create_as(op::CREATE2, s.path("a"), b"", 0).unwrap();
    let parent = client.exists(&s.root, false).unwrap();
    let after = client.set(s.path("a"), b"x", -1).unwrap();
    let (mzxid, mtime) = (client.zxid, after.mtime);
    assert_eq!(after, Stat { version: 1, mzxid, mtime, data_length: 1, ..node });
    assert_eq!(client.exists(&s.root, false), Ok(parent));
});

line!(c120_an_access_list_changes_aversion_alone, QUIET, |s| {
    let mut client = s.open();
    let (_, node) = client.create_as(op::CREATE2, s.path("a"), b"", 0).unwrap();
    let parent = client.exists(&s.root, false).unwrap();
    let after = client.set_acl(s.path("a"), &[open(), vec![acl(1, "ip", "10.0.0.1")]].concat(), 0).unwrap();
    assert_eq!(after, Stat { aversion: 1, ..node });
    assert_eq!(client.exists(s.path("a"), false), Ok(after));
    assert_eq!(client.exists(&s.root, false), Ok(parent));
});

line!(c121_a_grandchild_is_not_a_child, QUIET, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    let before = client.exists(&s.root, false).unwrap();
    client.create(s.path("a/b"), b"").unwrap();
    client.delete(s.path("a/b"), -1).unwrap();
    assert_eq!(client.exists(&s.root, false), Ok(before));
});

line!(c122_the_first_nodes_of_an_empty_server, FRESH, |s| {
    let mut client = Client::open(s);
    let bare = Stat::default();
    assert_eq!(client.exists("/", false), Ok(Stat { cversion: -1, num_children: 1, ..bare }));
    assert_eq!(client.exists("/zookeeper", false), Ok(Stat { cversion: -2, num_children: 2, ..bare }));
    assert_eq!(client.get("/zookeeper/quota", false).unwrap().1, bare);
    assert_eq!(client.get("/zookeeper/config", false), Ok((Some(vec![]), Stat { aversion: -1, ..bare })));
    for path in ["/", "/zookeeper", "/zookeeper/quota"] {
        assert_eq!(client.acl(path).unwrap().0, open());
    }
});

line!(c123_the_config_node_is_readable_only, QUIET, |s| {
    let mut client = s.open();
    let (list, stat) = client.acl("/zookeeper/config").unwrap();
    assert_eq!((list, stat.aversion), (world(READ), -1));
    assert_eq!(client.set_acl("/zookeeper/config", &open(), -1), Err(err::NO_AUTH));
});
