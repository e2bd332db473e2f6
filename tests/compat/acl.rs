#![forbid(unsafe_code)]
//! Client-protocol §11.10: who a connection is, and what that allows.

use super::{DEFAULT, Group, RICH, SUPER, Setup, line};
use crate::support::client::{Client, Reply, body, err, flags, op, request};
use crate::support::jute::{ADMIN, ALL, Acl, READ, WRITE, acl, open, out, world};

/// `base64(sha1("u:p"))` and `base64(sha1("v:q"))`, as identities.
const U: &str = "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=";
const V: &str = "v:Mfy8apI9YguGKmh+AxUmAFSwkII=";

fn auth(perms: i32) -> Vec<Acl> {
    vec![acl(perms, "auth", "")]
}

fn identities(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(scheme, user)| ((*scheme).to_owned(), (*user).to_owned())).collect()
}

line!(c183_digest_makes_an_identity, DEFAULT, |s| {
    let mut client = s.open();
    client.log_in("u:p");
    assert_eq!(client.who_am_i(), identities(&[("digest", "u"), ("ip", "127.0.0.1")]));
    client.create_with(s.path("a"), b"", &auth(ALL), flags::PERSISTENT).unwrap();
    assert_eq!(client.acl(s.path("a")).unwrap().0, [acl(ALL, "digest", U)]);
});

line!(c183b_a_request_is_judged_by_who_the_client_was_when_it_came, DEFAULT, |s| {
    let mut owner = s.open();
    owner.log_in("u:p");
    owner.create_with(s.path("closed"), b"secret", &auth(ALL), flags::PERSISTENT).unwrap();
    owner.create(s.path("open"), b"").unwrap();
    let mut client = s.open();
    // All in one piece: the reads wait behind writes, and the auth behind them is answered first.
    let pipeline = [
        (1, op::SET_DATA, body::set(s.path("open"), Some(b"x"), -1)),
        (2, op::GET_DATA, body::read(s.path("closed"), false)),
        (3, op::SET_DATA, body::set(s.path("closed"), Some(b"x"), -1)),
        (4, op::GET_CHILDREN, body::read(s.path("closed"), false)),
        (-4, op::AUTH, out().int(0).str("digest").str("u:p").done()),
        (5, op::GET_DATA, body::read(s.path("closed"), false)),
    ];
    let frames: Vec<u8> =
        pipeline.iter().flat_map(|(xid, opcode, body)| request(*xid, *opcode, body)).collect();
    client.raw.send(&frames);
    let mut errors = Vec::new();
    while errors.len() < 5 {
        let reply = client.reply();
        if reply.xid != -4 {
            errors.push(reply.err);
        }
    }
    assert_eq!(errors, [0, err::NO_AUTH, err::NO_AUTH, err::NO_AUTH, 0]);
});

line!(c184_schemes_without_a_provider_fail, DEFAULT, |s| {
    for scheme in ["world", "super", "foo", "", "auth", "sasl"] {
        let mut client = s.open();
        let reply = client.add_auth(scheme, Some(b"x"));
        assert_eq!(reply, Reply { xid: -4, zxid: 0, err: err::AUTH_FAILED, body: vec![] });
        client.expect_close();
        // The session itself lives.
        assert!(s.grants(&client.session));
    }
});

line!(c185_ip_and_digest_without_a_password_succeed, DEFAULT, |s| {
    let mut client = s.open();
    client.add_auth("ip", Some(b"anything")).expect_header(0);
    client.add_auth("ip", None).expect_header(0);
    client.log_in("foo");
    assert_eq!(client.who_am_i(), identities(&[("digest", "foo"), ("ip", "127.0.0.1")]));
});

line!(c186_digest_needs_data, DEFAULT, |s| {
    let mut client = s.open();
    client.add_auth("digest", None).expect_header(err::AUTH_FAILED);
    client.expect_close();
});

line!(c187_auth_means_every_identity, DEFAULT, |s| {
    let mut client = s.open();
    client.log_in("u:p");
    client.log_in("v:q");
    client.create_with(s.path("a"), b"", &auth(READ | ADMIN), flags::PERSISTENT).unwrap();
    let mut list = client.acl(s.path("a")).unwrap().0;
    list.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(list, [acl(READ | ADMIN, "digest", U), acl(READ | ADMIN, "digest", V)]);
});

line!(c188_without_admin_digests_are_masked, DEFAULT, |s| {
    let (mut owner, mut reader) = (s.open(), s.open());
    owner.log_in("u:p");
    let list = [auth(ALL), world(READ), vec![acl(READ, "ip", "10.0.0.1")]].concat();
    owner.create_with(s.path("a"), b"", &list, flags::PERSISTENT).unwrap();
    let rest = [world(READ)[0].clone(), acl(READ, "ip", "10.0.0.1")];
    assert_eq!(reader.acl(s.path("a")).unwrap().0, [&[acl(ALL, "digest", "u:x")], &rest[..]].concat());
    assert_eq!(owner.acl(s.path("a")).unwrap().0, [&[acl(ALL, "digest", U)], &rest[..]].concat());
});

line!(c189_a_list_is_not_for_everyone, DEFAULT, |s| {
    let mut client = s.open();
    client.create_with(s.path("a"), b"", &world(ALL & !READ & !ADMIN), flags::PERSISTENT).unwrap();
    assert_eq!(client.acl(s.path("a")), Err(err::NO_AUTH));
});

line!(c190_set_acl_is_refused_in_this_order, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.create_with(s.path("shut"), b"", &world(ALL & !ADMIN), flags::PERSISTENT).unwrap();
    assert_eq!(client.set_acl(s.path("shut"), &open(), 7), Err(err::NO_AUTH));
    assert_eq!(client.set_acl(s.path("a"), &open(), 7), Err(err::BAD_VERSION));
    assert_eq!(client.set_acl(s.path("missing"), &open(), -1), Err(err::NO_NODE));
    assert_eq!(client.set_acl(s.path("missing"), &[], -1), Err(err::INVALID_ACL));
    assert_eq!(client.set_acl(s.path("missing"), &[acl(1, "foo", "x")], -1), Err(err::INVALID_ACL));
    assert_eq!(client.set_acl("bad/", &[], -1), Err(err::BAD_ARGUMENTS));
});

line!(c191_addresses_are_matched_by_prefix, DEFAULT, |s| {
    let mut client = s.open();
    let cases = [
        ("127.0.0.0/8", true),
        ("127.0.0.1", true),
        ("127.0.0.1/32", true),
        ("0.0.0.0/0", true),
        ("10.0.0.0/8", false),
        ("127.0.0.2", false),
        ("0:0:0:0:0:0:0:1", false),
    ];
    for (number, (id, admitted)) in cases.into_iter().enumerate() {
        let path = s.path(&number.to_string());
        client.create_with(&path, b"", &[acl(READ, "ip", id)], flags::PERSISTENT).unwrap();
        assert_eq!(client.get(&path, false).is_ok(), admitted, "{id}");
    }
    for id in ["", "300.0.0.1", "127.0.0.1/33", "127.0.0.1/-1", "127.0.0", "127.0.0.1/", "host"] {
        let made = client.create_with(s.path("x"), b"", &[acl(READ, "ip", id)], flags::PERSISTENT);
        assert_eq!(made, Err(err::INVALID_ACL), "{id:?}");
    }
});

line!(c192_super_is_let_in_everywhere, RICH, |s| {
    let (mut client, mut boss) = (s.open(), s.open());
    client.log_in("u:p");
    client.create_with(s.path("a"), b"", &auth(ALL), flags::PERSISTENT).unwrap();
    assert_eq!(boss.get(s.path("a"), false), Err(err::NO_AUTH));
    boss.log_in(SUPER);
    boss.get(s.path("a"), false).unwrap();
    boss.set(s.path("a"), b"x", -1).unwrap();
    boss.create(s.path("a/b"), b"").unwrap();
    assert_eq!(boss.acl(s.path("a")).unwrap().0, [acl(ALL, "digest", U)]);
    boss.delete(s.path("a/b"), -1).unwrap();
    let expected = [("digest", "super"), ("ip", "127.0.0.1"), ("super", "")];
    assert_eq!(boss.who_am_i(), identities(&expected));
});

line!(c193_no_permission_is_none, RICH, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create_with(&path, b"", &world(0), flags::PERSISTENT).unwrap();
    assert_eq!(client.get(&path, false), Err(err::NO_AUTH));
    assert_eq!(client.set(&path, b"", -1), Err(err::NO_AUTH));
    assert_eq!(client.acl(&path), Err(err::NO_AUTH));
    assert_eq!(client.set_acl(&path, &open(), -1), Err(err::NO_AUTH));
    client.log_in(SUPER);
    client.set_acl(&path, &open(), -1).unwrap();
    client.get(&path, false).unwrap();
});

line!(c194_permissions_are_not_inherited, DEFAULT, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    client.create(s.path("a/b"), b"").unwrap();
    client.set_acl(s.path("a"), &world(0), -1).unwrap();
    assert_eq!(client.acl(s.path("a/b")).unwrap().0, open());
    client.set(s.path("a/b"), b"", -1).unwrap();
});

line!(c195_sasl_that_is_not_set_up_answers_null, DEFAULT, |s| {
    let mut client = s.open();
    let reply = client.call(op::SASL, &out().str("token").done());
    assert_eq!((reply.err, reply.body), (0, out().null().done()));
    client.ping();
});

/// Requests only from connections that have proved who they are.
const ENFORCED: Group = Group::Fresh(Setup {
    keys: &[("enforce.auth.enabled", "true"), ("enforce.auth.schemes", "digest")],
    properties: &[],
});

line!(c196_authentication_can_be_enforced, ENFORCED, |s| {
    for opcode in [op::EXISTS, op::PING, op::CLOSE_SESSION, op::SET_DATA] {
        let mut client = Client::open(s);
        client.send_as(5, opcode, &out().str("/").bool(false).done());
        let reply = client.reply();
        assert_eq!((reply.zxid, reply.err, reply.body.len()), (0, err::SASL_REQUIRED, 0), "opcode {opcode}");
        client.expect_close();
    }
    let mut client = Client::open(s);
    client.log_in("u:p");
    client.exists("/", false).unwrap();
    client.create("/a", b"").unwrap();
    client.set_acl("/a", &world(READ | WRITE | ADMIN), 0).unwrap();
});
