#![forbid(unsafe_code)]
//! Client-protocol §11.7: multi and multiRead.

use super::create::see_a_container_go;
use super::{DEFAULT, QUIET, RICH, line};
use crate::support::client::{
    CHILDREN_CHANGED, CREATED, DATA_CHANGED, DELETED, Entry, Part, body, entries, err, flags, op,
};
use crate::support::jute::{ALL, READ, open, out, world};

line!(c125_an_empty_multi_succeeds, DEFAULT, |s| {
    let mut client = s.open();
    let reply = client.call(op::MULTI, &body::multi(&[]));
    assert_eq!((reply.err, reply.body), (0, out().int(-1).bool(true).int(-1).done()));
    // multiRead as well.
    let reply = client.call(op::MULTI_READ, &body::multi(&[]));
    assert_eq!((reply.err, reply.body), (0, out().int(-1).bool(true).int(-1).done()));
});

line!(c126_each_operation_has_its_result, DEFAULT, |s| {
    let mut client = s.open();
    let (a, b) = (s.path("a"), s.path("b"));
    let parts = [
        Part::create(&a, b"x", 0),
        Part::create2(&b, b"yy", 0),
        Part::delete(&a, 0),
        Part::set(&b, b"three", 0),
        Part::check(&b, 1),
    ];
    let entries = client.multi(&parts).unwrap();
    let [Entry::Create(path), Entry::Create2(path2, made), Entry::Delete, Entry::Set(set), Entry::Check] =
        &entries[..]
    else {
        panic!("{entries:?}");
    };
    assert_eq!((path, path2), (&a, &b));
    assert_eq!((made.version, made.data_length, made.czxid), (0, 2, client.zxid));
    assert_eq!((set.version, set.data_length, set.mzxid), (1, 5, client.zxid));
    assert_eq!(client.exists(&b, false), Ok(*set));
});

line!(c127_containers_and_ttl_nodes_answer_as_create2, RICH, |s| {
    let mut client = s.open();
    let container = Part(op::CREATE_CONTAINER, body::create(s.path("c"), None, &open(), flags::CONTAINER));
    let ttl = Part(op::CREATE_TTL, body::create_ttl(s.path("t"), b"", &open(), flags::TTL, 1 << 39));
    let entries = client.multi(&[container, ttl]).unwrap();
    let [Entry::Create2(c, first), Entry::Create2(t, second)] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((c, t), (&s.path("c"), &s.path("t")));
    assert_eq!((first.czxid, second.czxid, first.ephemeral_owner), (client.zxid, client.zxid, 0));
});

line!(c128_a_failure_has_a_place, DEFAULT, |s| {
    let mut client = s.open();
    let parts = [
        Part::create(s.path("a"), b"", 0),
        Part::delete(s.path("missing"), -1),
        Part::create(s.path("b"), b"", 0),
    ];
    let entries = client.multi(&parts);
    let expected = [0, err::NO_NODE, err::RUNTIME_INCONSISTENCY].map(Entry::Error);
    assert_eq!(entries.as_deref(), Ok(&expected[..]));
});

line!(c129_a_failure_changes_nothing_but_the_zxid, QUIET, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"old").unwrap();
    let (before, stat, parent) = (client.zxid, client.get(s.path("a"), false), client.exists(&s.root, false));
    let parts = [
        Part::set(s.path("a"), b"new", -1),
        Part::create(s.path("b"), b"", 0),
        Part::delete(s.path("a"), -1),
        Part::check(s.path("missing"), -1),
    ];
    client.multi(&parts).unwrap();
    assert_eq!(client.zxid, before + 1);
    assert_eq!(client.get(s.path("a"), false), stat);
    assert_eq!(client.exists(&s.root, false), parent);
    assert_eq!((client.exists(s.path("b"), false), client.zxid), (Err(err::NO_NODE), before + 1));
});

line!(c130_a_multi_has_one_zxid, QUIET, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    let parts = [
        Part::set(s.path("a"), b"", -1),
        Part::create(s.path("a/b"), b"", 0),
        Part::create(s.path("c"), b"", 0),
        Part::create(s.path("d"), b"", 0),
        Part::delete(s.path("d"), -1),
    ];
    client.multi(&parts).unwrap();
    let zxid = client.zxid;
    let a = client.exists(s.path("a"), false).unwrap();
    let c = client.exists(s.path("c"), false).unwrap();
    assert_eq!((a.mzxid, a.pzxid, c.czxid, c.ctime), (zxid, zxid, zxid, a.mtime));
    assert_eq!(client.exists(&s.root, false).unwrap().pzxid, zxid);
    assert_eq!(client.ping().zxid, zxid);
});

line!(c131_a_multi_sees_itself, DEFAULT, |s| {
    let mut client = s.open();
    let parts = [
        Part::create(s.path("a"), b"", 0),
        Part::create(s.path("a/b"), b"", 0),
        Part::set(s.path("a/b"), b"x", 0),
        Part::check(s.path("a/b"), 1),
    ];
    assert!(client.multi(&parts).unwrap().iter().all(|entry| !matches!(entry, Entry::Error(_))));
    assert_eq!(client.get(s.path("a/b"), false).unwrap().0, Some(b"x".to_vec()));
});

line!(c132_create_and_delete_in_one, DEFAULT, |s| {
    let mut client = s.open();
    let entries = client.multi(&[Part::create(s.path("a"), b"", 0), Part::delete(s.path("a"), 0)]);
    assert_eq!(entries, Ok(vec![Entry::Create(s.path("a")), Entry::Delete]));
    assert_eq!(client.exists(s.path("a"), false), Err(err::NO_NODE));
    assert_eq!(client.exists(&s.root, false).unwrap().cversion, 2);
});

line!(c133_a_check_fails_the_multi, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    let made = Part::create(s.path("b"), b"", 0);
    let entries = client.multi(&[made.clone(), Part::check(s.path("a"), 3)]);
    assert_eq!(entries, Ok(vec![Entry::Error(0), Entry::Error(err::BAD_VERSION)]));
    let entries = client.multi(&[made.clone(), Part::check(s.path("missing"), -1)]);
    assert_eq!(entries, Ok(vec![Entry::Error(0), Entry::Error(err::NO_NODE)]));
    let entries = client.multi(&[Part::check(s.path("a"), 0), Part::check("bad", -1), made]);
    let expected = [0, err::BAD_ARGUMENTS, err::RUNTIME_INCONSISTENCY].map(Entry::Error);
    assert_eq!(entries.as_deref(), Ok(&expected[..]));
});

line!(c134_a_check_needs_read, DEFAULT, |s| {
    let mut client = s.open();
    client.create_with(s.path("a"), b"", &world(ALL & !READ), flags::PERSISTENT).unwrap();
    assert_eq!(client.multi(&[Part::check(s.path("a"), 9)]), Ok(vec![Entry::Error(err::NO_AUTH)]));
});

line!(c135_a_stat_is_that_of_its_operation, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    let parts = [
        Part::set(s.path("a"), b"1", 0),
        Part::set(s.path("a"), b"22", 1),
        Part::set(s.path("a"), b"333", 2),
    ];
    let entries = client.multi(&parts).unwrap();
    let versions: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Set(stat) => (stat.version, stat.data_length),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(versions, [(1, 1), (2, 2), (3, 3)]);
});

line!(c136_a_multi_has_no_reads, DEFAULT, |s| {
    let mut client = s.open();
    for parts in [
        vec![Part::get("/", false)],
        vec![Part::children("/", false)],
        vec![Part::create(s.path("a"), b"", 0), Part::get("/", false)],
        vec![Part::get("/", false), Part::create(s.path("a"), b"", 0)],
    ] {
        client.call(op::MULTI, &body::multi(&parts)).expect_header(err::MARSHALLING);
    }
    assert_eq!(client.exists(s.path("a"), false), Err(err::NO_NODE));
});

line!(c137_bad_flags_spoil_the_whole, RICH, |s| {
    let mut client = s.open();
    for flags in [7, 9, -1, flags::TTL, flags::SEQUENTIAL_TTL] {
        let parts = [Part::create(s.path("a"), b"", 0), Part::create(s.path("b"), b"", flags)];
        client.call(op::MULTI, &body::multi(&parts)).expect_header(err::MARSHALLING);
    }
    assert_eq!(client.exists(s.path("a"), false), Err(err::NO_NODE));
});

line!(c138_a_null_list_spoils_the_whole_and_an_empty_one_its_entry, DEFAULT, |s| {
    let mut client = s.open();
    let null = Part(op::CREATE, out().str(s.path("a")).null().null().int(0).done());
    client.call(op::MULTI, &body::multi(&[null])).expect_header(err::MARSHALLING);
    let empty = Part(op::CREATE, body::create(s.path("a"), None, &[], 0));
    assert_eq!(client.multi(&[empty]), Ok(vec![Entry::Error(err::INVALID_ACL)]));
});

// The null comes before the mixture: stock's decoder trips over it while it builds the operation, and takes no zxid.
line!(c138b_a_null_list_behind_a_read_takes_no_zxid, QUIET, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    let read = || Part(op::GET_DATA, body::read(s.path("a"), false));
    let null = Part(op::CREATE, out().str(s.path("b")).null().null().int(0).done());
    let before = client.zxid;
    client.call(op::MULTI, &body::multi(&[read(), null])).expect_header(err::MARSHALLING);
    client.set(s.path("a"), b"", -1).unwrap();
    assert_eq!(client.zxid, before + 1);
    // A mixture takes one.
    client
        .call(op::MULTI, &body::multi(&[read(), Part::create(s.path("b"), b"", 0)]))
        .expect_header(err::MARSHALLING);
    client.set(s.path("a"), b"", -1).unwrap();
    assert_eq!(client.zxid, before + 3);
});

line!(c139_unknown_types_spoil_the_whole, DEFAULT, |s| {
    let mut client = s.open();
    for kind in [op::DELETE_CONTAINER, op::SET_ACL, op::EXISTS, op::MULTI, 0, 99] {
        let part = Part(kind, body::versioned(s.path("a"), -1));
        client.call(op::MULTI, &body::multi(&[part])).expect_header(err::MARSHALLING);
    }
    client.ping();
});

line!(c140_the_flag_of_containers_makes_one_in_a_multi, RICH, |s| {
    let mut client = s.open();
    let path = s.path("a");
    let entries = client.multi(&[Part::create(&path, b"", flags::CONTAINER)]).unwrap();
    assert!(matches!(&entries[..], [Entry::Create2(made, _)] if *made == path), "{entries:?}");
    client.create(s.path("a/child"), b"").unwrap();
    client.exists(&path, true).unwrap();
    client.delete(s.path("a/child"), -1).unwrap();
    assert_eq!(client.event().brief(), (DELETED, &*path));
    see_a_container_go(&mut client, &s.path("other"));
});

line!(c141_numbers_in_a_multi, DEFAULT, |s| {
    let mut client = s.open();
    let pair = |last: Part| [Part::create(s.path("n-"), b"", 2), Part::create(s.path("n-"), b"", 2), last];
    let failed = client.multi(&pair(Part::check(s.path("missing"), -1))).unwrap();
    assert_eq!(failed[2], Entry::Error(err::NO_NODE));
    let entries = client.multi(&pair(Part::check(&s.root, -1))).unwrap();
    let made = |number: &str| Entry::Create(s.path(&format!("n-{number}")));
    assert_eq!(entries, [made("0000000000"), made("0000000001"), Entry::Check]);
});

line!(c142_reads_fail_one_by_one, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"data").unwrap();
    client.create_with(s.path("shut"), b"", &world(ALL & !READ), flags::PERSISTENT).unwrap();
    let parts = [
        Part::get(s.path("a"), false),
        Part::get(s.path("missing"), false),
        Part::children(&s.root, false),
        Part::get(s.path("shut"), false),
    ];
    let entries = client.multi_read(&parts).unwrap();
    let stat = client.exists(s.path("a"), false).unwrap();
    let expected = [
        Entry::Get(Some(b"data".to_vec()), stat),
        Entry::Error(err::NO_NODE),
        Entry::Children(vec!["a".to_owned(), "shut".to_owned()]),
        Entry::Error(err::NO_AUTH),
    ];
    assert_eq!(entries, expected);
});

line!(c143_multi_read_sets_no_watch, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.multi_read(&[Part::get(s.path("a"), true), Part::children(s.path("a"), true)]).unwrap();
    assert_eq!(client.check_watches(s.path("a"), 3), Err(err::NO_WATCHER));
    client.set(s.path("a"), b"x", -1).unwrap();
    client.create(s.path("a/b"), b"").unwrap();
    assert_eq!(client.events(), []);
});

line!(c144_multi_read_has_no_writes, DEFAULT, |s| {
    let mut client = s.open();
    let mixed = [Part::get("/", false), Part::check("/", -1)];
    client.call(op::MULTI_READ, &body::multi(&mixed)).expect_header(err::MARSHALLING);
    // Stock 3.9.5 fails these two only while it evaluates them, and sends the results it had by then behind the
    // error (FinalRequestProcessor.processRequest): the one reply with an error and a body besides sasl.
    let create = [Part::create(s.path("a"), b"", 0)];
    let reply = client.call(op::MULTI_READ, &body::multi(&create));
    assert_eq!((reply.err, entries(&reply.body)), (err::MARSHALLING, vec![]));
    let null = Part(op::GET_CHILDREN, out().null().bool(false).done());
    let reply = client.call(op::MULTI_READ, &body::multi(&[Part::get(s.path("missing"), false), null]));
    println!("{reply:?}");
    assert_eq!((reply.err, entries(&reply.body)), (err::MARSHALLING, vec![Entry::Error(err::NO_NODE)]));
    assert_eq!(client.exists(s.path("a"), false), Err(err::NO_NODE));
});

line!(c145_events_of_a_multi_share_its_zxid_and_precede_it, DEFAULT, |s| {
    let mut client = s.open();
    let (a, b) = (s.path("a"), s.path("b"));
    client.create(&a, b"").unwrap();
    client.get(&a, true).unwrap();
    client.children(&s.root, true).unwrap();
    client.exists(&b, true).unwrap_err();
    client.multi(&[Part::set(&a, b"x", -1), Part::create(&b, b"", 0), Part::delete(&a, -1)]).unwrap();
    let events = client.events_so_far();
    let briefs: Vec<_> = events.iter().map(|event| event.brief()).collect();
    assert_eq!(briefs, [(DATA_CHANGED, &*a), (CREATED, &*b), (CHILDREN_CHANGED, &*s.root)]);
    assert!(events.iter().all(|event| event.zxid == client.zxid));
});
