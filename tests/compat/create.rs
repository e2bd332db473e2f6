#![forbid(unsafe_code)]
//! Client-protocol §11.4: the ways to create a znode, and the order in which they are refused.

use super::{DEFAULT, RICH, line};
use crate::support::client::{Client, DELETED, body, err, flags, op, request};
use crate::support::jute::{ALL, Acl, CREATE, In, READ, STAT_BYTES, WRITE, acl, open, out, world};

/// The longest time to live: 2^40 - 1 ms.
const TTL_MAX: i64 = (1 << 40) - 1;

/// A create with this access list.
fn create_with_acl(client: &mut Client, path: &str, list: &[Acl]) -> Result<String, i32> {
    client.create_with(path, b"", list, flags::PERSISTENT)
}

line!(c064_create_answers_the_path_and_create2_a_stat_too, DEFAULT, |s| {
    let mut client = s.open();
    let (a, b) = (s.path("a"), s.path("b"));
    let reply = client.call(op::CREATE, &body::create(&a, Some(b"x"), &open(), 0));
    assert_eq!(reply.body, out().str(&a).done());
    let reply = client.call(op::CREATE2, &body::create(&b, Some(b"xyz"), &open(), 0));
    assert_eq!(reply.body.len(), 4 + b.len() + STAT_BYTES);
    let mut input = In(&reply.body);
    assert_eq!(input.str(), b);
    let stat = input.stat();
    assert_eq!((stat.czxid, stat.data_length, Ok(stat)), (reply.zxid, 3, client.exists(&b, false)));
});

line!(c065_an_existing_node_is_not_created, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    assert_eq!(client.create(s.path("a"), b""), Err(err::NODE_EXISTS));
    assert_eq!(client.create_as(op::CREATE2, s.path("a"), b"", 1), Err(err::NODE_EXISTS));
});

line!(c066_the_parent_must_exist, DEFAULT, |s| {
    let mut client = s.open();
    assert_eq!(client.create(s.path("a/b"), b""), Err(err::NO_NODE));
    assert_eq!(client.create_with(s.path("a/b-"), b"", &open(), flags::SEQUENTIAL), Err(err::NO_NODE));
});

line!(c067_a_path_has_a_slash_and_no_nul, DEFAULT, |s| {
    let mut client = s.open();
    for path in ["a", "", &s.path("a\0b"), "/\0"] {
        assert_eq!(client.create(path, b""), Err(err::BAD_ARGUMENTS), "{path:?}");
    }
});

line!(c068_a_path_does_not_end_in_a_slash, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    assert_eq!(client.create(s.path("a/"), b""), Err(err::BAD_ARGUMENTS));
});

line!(c069_a_missing_parent_is_found_before_a_bad_path, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    for path in ["a//b", "a/./b", "a/../b"] {
        assert_eq!(client.create(s.path(path), b""), Err(err::NO_NODE), "{path:?}");
    }
});

line!(c070_one_or_two_dots_are_no_name, DEFAULT, |s| {
    let mut client = s.open();
    for path in ["/.", "/..", &s.path("."), &s.path("..")] {
        assert_eq!(client.create(path, b""), Err(err::BAD_ARGUMENTS), "{path:?}");
    }
    for path in ["/...", "/.a", "/a..", &s.path("..."), &s.path(".a"), &s.path("a b")] {
        assert_eq!(client.create(path, b"").as_deref(), Ok(path));
    }
});

line!(c071_some_characters_are_in_no_name, DEFAULT, |s| {
    let mut client = s.open();
    let bad = [
        '\u{1}', '\u{1f}', '\u{7f}', '\u{85}', '\u{9f}', '\u{e000}', '\u{f8ff}', '\u{fff0}', '\u{fffd}',
        '\u{ffff}',
    ];
    for letter in bad.into_iter().chain(['\u{10000}', '\u{1f600}']) {
        let path = s.path(&format!("a{letter}"));
        assert_eq!(client.create(&path, b""), Err(err::BAD_ARGUMENTS), "{path:?}");
    }
    for letter in ['\u{20}', '\u{7e}', '\u{a0}', '\u{e9}', '\u{d7ff}', '\u{f900}', '\u{ffef}'] {
        let path = s.path(&format!("a{letter}"));
        assert_eq!(client.create(&path, b""), Ok(path));
    }
});

line!(c072_the_root_exists, DEFAULT, |s| {
    assert_eq!(s.open().create("/", b""), Err(err::NODE_EXISTS));
});

line!(c073_an_empty_access_list_is_refused_first, DEFAULT, |s| {
    let mut client = s.open();
    assert_eq!(create_with_acl(&mut client, &s.path("a"), &[]), Err(err::INVALID_ACL));
    assert_eq!(create_with_acl(&mut client, &s.path("a/b/c"), &[]), Err(err::INVALID_ACL));
    let null = out().str(s.path("a")).null().null().int(0).done();
    client.call(op::CREATE, &null).expect_header(err::INVALID_ACL);
});

line!(c074_a_scheme_must_be_known, DEFAULT, |s| {
    let mut client = s.open();
    for entry in [acl(ALL, "foo", "x"), acl(ALL, "world", "anybody"), acl(ALL, "", ""), acl(ALL, "super", "")]
    {
        let list = [entry.clone()];
        assert_eq!(create_with_acl(&mut client, &s.path("a"), &list), Err(err::INVALID_ACL), "{entry:?}");
        let list = [world(ALL)[0].clone(), entry];
        assert_eq!(create_with_acl(&mut client, &s.path("a"), &list), Err(err::INVALID_ACL));
    }
});

line!(c075_a_digest_id_has_two_parts, DEFAULT, |s| {
    let mut client = s.open();
    for id in ["a", "a:", "a:b:c", "a::b", "", ":"] {
        let list = [acl(ALL, "digest", id)];
        assert_eq!(create_with_acl(&mut client, &s.path("x"), &list), Err(err::INVALID_ACL), "{id:?}");
    }
    for (name, id) in [("b", "a:b"), ("c", ":b"), ("d", "a:b:")] {
        create_with_acl(&mut client, &s.path(name), &[acl(ALL, "digest", id)]).unwrap();
    }
});

line!(c076_auth_needs_an_identity, DEFAULT, |s| {
    let mut client = s.open();
    let list = [acl(ALL, "auth", "")];
    assert_eq!(create_with_acl(&mut client, &s.path("a"), &list), Err(err::INVALID_ACL));
    client.log_in("u:p");
    create_with_acl(&mut client, &s.path("a"), &list).unwrap();
});

line!(c077_create_on_the_parent_is_needed, DEFAULT, |s| {
    let mut client = s.open();
    let parent = s.path("a");
    create_with_acl(&mut client, &parent, &world(READ | CREATE | 16)).unwrap();
    client.create(format!("{parent}/b"), b"").unwrap();
    client.set_acl(&parent, &world(READ | WRITE), -1).unwrap();
    for name in ["b", "c", "."] {
        assert_eq!(client.create(format!("{parent}/{name}"), b""), Err(err::NO_AUTH), "{name}");
    }
});

line!(c078_flags_are_0_to_6, DEFAULT, |s| {
    let mut client = s.open();
    for opcode in [op::CREATE, op::CREATE2, op::CREATE_CONTAINER] {
        for flags in [7, -1, 9, i32::MAX, i32::MIN] {
            assert_eq!(
                client.call(opcode, &body::create(s.path("a"), None, &open(), flags)).err,
                err::BAD_ARGUMENTS
            );
        }
    }
});

line!(c079_a_ttl_mode_needs_extended_types, DEFAULT, |s| {
    let mut client = s.open();
    for flags in [flags::TTL, flags::SEQUENTIAL_TTL] {
        client
            .call(op::CREATE, &body::create(s.path("a"), None, &open(), flags))
            .expect_header(err::UNIMPLEMENTED);
    }
    client.ping();
});

line!(c079_a_ttl_mode_needs_a_ttl_and_create_has_none, RICH, |s| {
    let mut client = s.open();
    for flags in [flags::TTL, flags::SEQUENTIAL_TTL] {
        client
            .call(op::CREATE, &body::create(s.path("a"), None, &open(), flags))
            .expect_header(err::BAD_ARGUMENTS);
    }
});

line!(c080_a_ttl_is_1_to_2_to_the_40_less_1, RICH, |s| {
    let mut client = s.open();
    for ttl in [0, -1, TTL_MAX + 1, i64::MAX, i64::MIN] {
        assert_eq!(client.create_ttl(s.path("a"), flags::TTL, ttl), Err(err::BAD_ARGUMENTS), "{ttl}");
    }
    // In the order that leaves the parent childless last: one of them goes after a millisecond.
    client.create_ttl(s.path("b"), flags::TTL, TTL_MAX).unwrap();
    client.create_ttl(s.path("a"), flags::TTL, 1).unwrap();
    let (path, _) = client.create_ttl(s.path("c"), flags::SEQUENTIAL_TTL, TTL_MAX).unwrap();
    assert_eq!(path, s.path("c0000000002"));
    // A mode without a ttl takes no ttl.
    assert_eq!(client.create_ttl(s.path("d"), flags::PERSISTENT, 1), Err(err::BAD_ARGUMENTS));
});

line!(c081_create_ttl_needs_extended_types, DEFAULT, |s| {
    let mut client = s.open();
    assert_eq!(client.create_ttl(s.path("a"), flags::TTL, 1000), Err(err::UNIMPLEMENTED));
    assert_eq!(client.create_ttl(s.path("a"), flags::TTL, -1), Err(err::UNIMPLEMENTED));
    client.ping();
});

line!(c082_an_ephemeral_names_its_session, DEFAULT, |s| {
    let mut client = s.open();
    let (_, stat) = client.create_as(op::CREATE2, s.path("a"), b"", flags::EPHEMERAL).unwrap();
    assert_eq!(stat.ephemeral_owner, client.session.id);
    assert_eq!(client.exists(s.path("a"), false), Ok(stat));
});

line!(c083_containers_and_ttl_nodes_name_no_owner, RICH, |s| {
    let mut client = s.open();
    let (_, container) = client.create_as(op::CREATE_CONTAINER, s.path("a"), b"", flags::CONTAINER).unwrap();
    let (_, ttl) = client.create_ttl(s.path("b"), flags::TTL, TTL_MAX).unwrap();
    assert_eq!((container.ephemeral_owner, ttl.ephemeral_owner), (0, 0));
    assert_eq!(client.exists(s.path("b"), false), Ok(ttl));
});

line!(c084_an_ephemeral_has_no_children, RICH, |s| {
    let mut client = s.open();
    client.create_with(s.path("e"), b"", &open(), flags::EPHEMERAL).unwrap();
    client.create_as(op::CREATE_CONTAINER, s.path("c"), b"", flags::CONTAINER).unwrap();
    client.create_ttl(s.path("t"), flags::TTL, TTL_MAX).unwrap();
    assert_eq!(client.create(s.path("e/x"), b""), Err(err::NO_CHILDREN_FOR_EPHEMERALS));
    client.create(s.path("c/x"), b"").unwrap();
    client.create(s.path("t/x"), b"").unwrap();
});

// The operation decides, not the flag: the flag's owner is what stock forgets once the txn is applied.
line!(c084b_a_container_with_the_flag_of_an_ephemeral_is_a_container, RICH, |s| {
    let mut client = s.open();
    let (_, stat) = client.create_as(op::CREATE_CONTAINER, s.path("c"), b"", flags::EPHEMERAL).unwrap();
    assert_eq!(stat.ephemeral_owner, 0);
    client.create(s.path("c/x"), b"").unwrap();
    client.close();
    assert!(s.open().exists(s.path("c/x"), false).is_ok());
});

/// A sequential create below `parent` and the number it was given.
fn next_number(client: &mut Client, parent: &str) -> String {
    let path = client.create_with(format!("{parent}/n-"), b"", &open(), flags::SEQUENTIAL).unwrap();
    path.rsplit('-').next().unwrap().to_owned()
}

line!(c085_numbers_begin_at_0, DEFAULT, |s| {
    let mut client = s.open();
    assert_eq!(next_number(&mut client, &s.root), "0000000000");
    assert_eq!(next_number(&mut client, &s.root), "0000000001");
});

line!(c086_a_plain_child_counts, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("plain"), b"").unwrap();
    assert_eq!(next_number(&mut client, &s.root), "0000000001");
});

line!(c087_a_deleted_child_still_counts, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.create(s.path("b"), b"").unwrap();
    client.delete(s.path("a"), -1).unwrap();
    client.delete(s.path("b"), -1).unwrap();
    assert_eq!(next_number(&mut client, &s.root), "0000000002");
});

line!(c088_a_failed_create_does_not_count, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.create(s.path("a"), b"").unwrap_err();
    client.create_with(s.path("."), b"", &[], flags::SEQUENTIAL).unwrap_err();
    assert_eq!(next_number(&mut client, &s.root), "0000000001");
});

line!(c089_a_number_may_be_the_whole_name, DEFAULT, |s| {
    let mut client = s.open();
    let made = client.create_with(s.path(""), b"", &open(), flags::SEQUENTIAL);
    assert_eq!(made, Ok(s.path("0000000000")));
});

line!(c090_ephemerals_share_the_counter, DEFAULT, |s| {
    let mut client = s.open();
    assert_eq!(next_number(&mut client, &s.root), "0000000000");
    let made = client.create_with(s.path("e-"), b"", &open(), flags::EPHEMERAL_SEQUENTIAL);
    assert_eq!(made, Ok(s.path("e-0000000001")));
    assert_eq!(next_number(&mut client, &s.root), "0000000002");
});

line!(c091_pipelined_numbers_follow_each_other, DEFAULT, |s| {
    let mut client = s.open();
    let one = body::create(s.path("n-"), None, &open(), flags::SEQUENTIAL);
    let all: Vec<u8> = (1..=200).flat_map(|xid| request(xid, op::CREATE, &one)).collect();
    client.raw.send(&all);
    for number in 0..200 {
        let reply = client.reply();
        assert_eq!(In(reply.result().unwrap()).str(), s.path(&format!("n-{number:010}")));
    }
});

/// Makes a container, gives it a child and takes that away, then waits until the sweep has removed the container.
pub(super) fn see_a_container_go(client: &mut Client, path: &str) {
    client.create_as(op::CREATE_CONTAINER, path, b"", flags::CONTAINER).unwrap();
    client.exists(path, true).unwrap();
    client.create(format!("{path}/child"), b"").unwrap();
    client.delete(format!("{path}/child"), -1).unwrap();
    assert_eq!(client.event().brief(), (DELETED, path));
}

line!(c092_opcode_1_with_the_flag_of_containers_makes_none, RICH, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create_with(&path, b"", &open(), flags::CONTAINER).unwrap();
    client.create(s.path("a/child"), b"").unwrap();
    client.delete(s.path("a/child"), -1).unwrap();
    // The second container was made after the first had gone: a whole sweep has looked at our node.
    see_a_container_go(&mut client, &s.path("first"));
    see_a_container_go(&mut client, &s.path("second"));
    client.exists(&path, false).unwrap();
});

line!(c093_a_new_container_has_a_fresh_stat, DEFAULT, |s| {
    let mut client = s.open();
    let (path, stat) = client.create_as(op::CREATE_CONTAINER, s.path("a"), b"xy", flags::CONTAINER).unwrap();
    assert_eq!((path, stat.cversion, stat.num_children, stat.version), (s.path("a"), 0, 0, 0));
    assert_eq!((stat.data_length, stat.czxid, stat.pzxid), (2, client.zxid, client.zxid));
});

line!(c094_an_entry_is_stored_once, DEFAULT, |s| {
    let mut client = s.open();
    let (a, b, c) = (acl(1, "world", "anyone"), acl(31, "digest", "a:b"), acl(3, "world", "anyone"));
    let list = [b.clone(), a.clone(), b.clone(), c.clone(), a.clone()];
    create_with_acl(&mut client, &s.path("x"), &list).unwrap();
    // Without ADMIN a digest is masked; super is not asked here, so the masked form shows the order.
    let masked = acl(31, "digest", "a:x");
    assert_eq!(client.acl(s.path("x")).unwrap().0, [masked, a, c]);
});
