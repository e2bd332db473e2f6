#![forbid(unsafe_code)]
//! Client-protocol §11.5: delete, setData and the reads.

use super::{DEFAULT, FRESH, QUIET, line};
use crate::support::client::{err, flags, op};
use crate::support::jute::{ADMIN, ALL, CREATE, DELETE, READ, WRITE, open, world};

line!(c095_delete_compares_the_version, DEFAULT, |s| {
    let mut client = s.open();
    for (version, expected) in
        [(-1, Ok(())), (0, Err(err::BAD_VERSION)), (1, Ok(())), (-2, Err(err::BAD_VERSION))]
    {
        let path = s.path(&format!("v{version}"));
        client.create(&path, b"").unwrap();
        client.set(&path, b"", -1).unwrap();
        assert_eq!(client.delete(&path, version), expected, "{version}");
    }
});

line!(c096_a_parent_is_not_deleted, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.create(s.path("a/b"), b"").unwrap();
    assert_eq!(client.delete(s.path("a"), -1), Err(err::NOT_EMPTY));
    assert_eq!(client.delete(s.path("a"), 7), Err(err::BAD_VERSION));
});

line!(c097_permission_is_looked_at_before_the_node, DEFAULT, |s| {
    let mut client = s.open();
    assert_eq!(client.delete(s.path("a"), -1), Err(err::NO_NODE));
    assert_eq!(client.delete(s.path("a/b"), -1), Err(err::NO_NODE));
    client.create_with(s.path("a"), b"", &world(ALL & !DELETE), flags::PERSISTENT).unwrap();
    client.create(s.path("a/b"), b"").unwrap();
    assert_eq!(client.delete(s.path("a/b"), -1), Err(err::NO_AUTH));
    assert_eq!(client.delete(s.path("a/missing"), -1), Err(err::NO_AUTH));
});

line!(c098_the_list_of_the_node_itself_does_not_matter, DEFAULT, |s| {
    let mut client = s.open();
    client.create_with(s.path("a"), b"", &world(0), flags::PERSISTENT).unwrap();
    assert_eq!(client.delete(s.path("a"), 0), Ok(()));
});

line!(c099_the_four_first_nodes_stay, DEFAULT, |s| {
    let mut client = s.open();
    for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert_eq!(client.delete(path, -1), Err(err::BAD_ARGUMENTS), "{path}");
    }
    for path in ["", "a"] {
        assert_eq!(client.delete(path, -1), Err(err::BAD_ARGUMENTS), "{path}");
    }
});

line!(c100_delete_takes_the_path_as_it_is, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    assert_eq!(client.delete(s.path("a/"), -1), Err(err::NO_NODE));
    assert_eq!(client.delete(s.path("a//b"), -1), Err(err::NO_NODE));
});

line!(c101_set_data_raises_the_version, DEFAULT, |s| {
    let mut client = s.open();
    let (_, before) = client.create_as(op::CREATE2, s.path("a"), b"", 0).unwrap();
    let first = client.set(s.path("a"), b"one", -1).unwrap();
    assert_eq!((first.version, first.mzxid, first.data_length), (1, client.zxid, 3));
    assert_eq!((first.czxid, first.ctime), (before.czxid, before.ctime));
    let second = client.set(s.path("a"), b"second", 1).unwrap();
    assert_eq!((second.version, second.mzxid, second.data_length), (2, client.zxid, 6));
    assert_eq!(client.get(s.path("a"), false), Ok((Some(b"second".to_vec()), second)));
});

line!(c102_the_same_bytes_are_a_change, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"same").unwrap();
    let stat = client.set(s.path("a"), b"same", 0).unwrap();
    assert_eq!((stat.version, stat.mzxid), (1, client.zxid));
});

line!(c103_set_data_is_refused_in_this_order, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.create_with(s.path("shut"), b"", &world(ALL & !WRITE), flags::PERSISTENT).unwrap();
    assert_eq!(client.set(s.path("a"), b"", 1), Err(err::BAD_VERSION));
    assert_eq!(client.set(s.path("missing"), b"", 1), Err(err::NO_NODE));
    assert_eq!(client.set(s.path("shut"), b"", 1), Err(err::NO_AUTH));
    for path in ["", "a", "/a/", "/a//b", "/a/.", "//"] {
        assert_eq!(client.set(path, b"", -1), Err(err::BAD_ARGUMENTS), "{path}");
    }
});

line!(c104_the_root_takes_data, QUIET, |s| {
    let mut client = s.open();
    let before = client.exists("/", false).unwrap();
    let after = client.set("/", b"root", before.version).unwrap();
    assert_eq!((after.version, after.mzxid), (before.version + 1, client.zxid));
    assert_eq!(client.get("/", false), Ok((Some(b"root".to_vec()), after)));
});

line!(c105_a_missing_node_is_not_read, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("missing");
    assert_eq!(client.exists(&path, false), Err(err::NO_NODE));
    assert_eq!(client.get(&path, false), Err(err::NO_NODE));
    assert_eq!(client.children(&path, false), Err(err::NO_NODE));
    assert_eq!(client.children2(&path, false), Err(err::NO_NODE));
    assert_eq!(client.acl(&path), Err(err::NO_NODE));
    assert_eq!(client.count_below(&path), Err(err::NO_NODE));
});

line!(c106_read_is_needed, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create_with(&path, b"", &world(ALL & !READ), flags::PERSISTENT).unwrap();
    assert_eq!(client.exists(&path, true), Err(err::NO_AUTH));
    assert_eq!(client.get(&path, true), Err(err::NO_AUTH));
    assert_eq!(client.children(&path, true), Err(err::NO_AUTH));
    assert_eq!(client.children2(&path, true), Err(err::NO_AUTH));
    assert_eq!(client.count_below(&path), Err(err::NO_AUTH));
    assert_eq!(client.check_watches(&path, 3), Err(err::NO_WATCHER));
});

line!(c107_a_read_takes_the_path_as_it_is, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    assert_eq!(client.get(s.path("a/"), false), Err(err::NO_NODE));
    assert_eq!(client.exists(s.path("a/"), false), Err(err::NO_NODE));
    assert_eq!(client.children(format!("/{}", s.path("a")), false), Err(err::NO_NODE));
    assert_eq!(client.exists("a\0", false), Err(err::BAD_ARGUMENTS));
    assert_eq!(client.get("a\0", false), Err(err::NO_NODE));
});

line!(c108_the_empty_path_reads_the_root, QUIET, |s| {
    let mut client = s.open();
    assert_eq!(client.get("", false).unwrap(), client.get("/", false).unwrap());
    assert_eq!(client.exists("", false).unwrap(), client.exists("/", false).unwrap());
    assert_eq!(client.children2("", false).unwrap(), client.children2("/", false).unwrap());
    assert_eq!(client.acl("").unwrap(), client.acl("/").unwrap());
});

line!(c109_children_are_names, DEFAULT, |s| {
    let mut client = s.open();
    for name in ["a", "b", "b/c"] {
        client.create(s.path(name), b"").unwrap();
    }
    assert_eq!(client.children(&s.root, false).unwrap(), ["a", "b"]);
    assert_eq!(client.children(s.path("a"), false).unwrap(), [""; 0]);
    assert!(client.children("/", false).unwrap().contains(&"zookeeper".to_owned()));
    assert_eq!(client.children("/zookeeper", false).unwrap(), ["config", "quota"]);
});

line!(c110_unreadable_children_are_listed, DEFAULT, |s| {
    let mut client = s.open();
    client.create_with(s.path("a"), b"", &world(0), flags::PERSISTENT).unwrap();
    assert_eq!(client.children(&s.root, false).unwrap(), ["a"]);
});

line!(c111_the_stat_counts_the_list, DEFAULT, |s| {
    let mut client = s.open();
    for number in 0..25 {
        client.create(s.path(&format!("n{number}")), b"").unwrap();
    }
    let (names, stat) = client.children2(&s.root, false).unwrap();
    assert_eq!((names.len(), stat.num_children), (25, 25));
    assert_eq!(client.exists(&s.root, false), Ok(stat));
});

line!(c112_descendants_are_counted_at_all_depths, FRESH, |s| {
    let mut client = crate::support::client::Client::open(s);
    assert_eq!(client.count_below("/"), Ok(3));
    for path in ["/a", "/a/b", "/a/b/c", "/a/d", "/ab"] {
        client.create(path, b"").unwrap();
    }
    assert_eq!(client.count_below("/a"), Ok(3));
    assert_eq!(client.count_below("/a/d"), Ok(0));
    assert_eq!(client.count_below("/"), Ok(8));
});

line!(c113_ephemerals_are_found_by_prefix_and_session, DEFAULT, |s| {
    let (mut client, mut other) = (s.open(), s.open());
    for name in ["a", "ab", "x"] {
        client.create(s.path(name), b"").unwrap();
        client.create_with(s.path(&format!("{name}/e")), b"", &open(), flags::EPHEMERAL).unwrap();
    }
    other.create_with(s.path("a/other"), b"", &open(), flags::EPHEMERAL).unwrap();
    let all = [s.path("a/e"), s.path("ab/e"), s.path("x/e")];
    for prefix in [None, Some(""), Some(" "), Some("/")] {
        assert_eq!(client.ephemerals(prefix).as_deref(), Ok(&all[..]), "{prefix:?}");
    }
    assert_eq!(client.ephemerals(Some(&s.path("a"))).as_deref(), Ok(&all[..2]));
    assert_eq!(client.ephemerals(Some(&s.path("missing"))).as_deref(), Ok(&all[..0]));
    assert_eq!(other.ephemerals(None).as_deref(), Ok(&[s.path("a/other")][..]));
});

line!(c114_every_connection_is_its_address, DEFAULT, |s| {
    assert_eq!(s.open().who_am_i(), [("ip".to_owned(), "127.0.0.1".to_owned())]);
});

/// Rights for which no line above has a use, so that a list without them can be told from one with all.
const _: () = assert!(ALL == READ | WRITE | CREATE | DELETE | ADMIN);
