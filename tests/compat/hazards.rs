#![forbid(unsafe_code)]
//! Client-protocol §A: what stock gets wrong, and what ringkeeper does instead. The only tests here that expect
//! different things of the two; each says both, so that a release of stock that mends one is noticed.

use super::{Group, Scene, Setup, line};
use crate::support::client::{Client, Reply, body, err, flags, op, request};
use crate::support::jute::{ADMIN, ALL, READ, open, out, world};
use crate::support::server::Kind;

/// A server of the test's own: stock stops in some of these.
const ALONE: Group = Group::Fresh(Setup { keys: &[("extendedTypesEnabled", "true")], properties: &[] });

/// A request that stock writes to its log and then fails to apply: the server stops, and stops again on replay.
/// Ringkeeper refuses it and goes on, after a restart as well.
fn stops_stock_alone(s: &Scene, mut client: Client, opcode: i32, body: &[u8]) {
    client.send(opcode, body);
    match s.kind {
        Kind::Stock => {
            let reply = client.try_reply();
            assert_eq!(reply, None, "stock 3.9.5 gives no answer to this");
            drop(client.abandon());
        }
        Kind::Ringkeeper => {
            client.reply().expect_header(err::BAD_ARGUMENTS);
            client.create("/alive", b"").unwrap();
            let session = client.abandon();
            s.restart().unwrap_or_else(|reason| panic!("{reason}"));
            s.resume(&session).exists("/alive", false).unwrap();
        }
    }
}

line!(a01_a_ttl_node_without_a_ttl, ALONE, |s| {
    let client = Client::open(s);
    let record = body::create_ttl("/a", b"", &open(), flags::PERSISTENT, -1);
    stops_stock_alone(s, client, op::CREATE_TTL, &record);
});

line!(a02_limits_on_the_quota_root, ALONE, |s| {
    let client = Client::open(s);
    let record = body::create("/zookeeper/quota/zookeeper_limits", Some(b"count=1,bytes=1"), &open(), 0);
    stops_stock_alone(s, client, op::CREATE, &record);
});

line!(a03_usage_that_is_no_number, ALONE, |s| {
    let mut client = Client::open(s);
    for path in ["/q", "/zookeeper/quota/q"] {
        client.create(path, b"").unwrap();
    }
    client.create("/zookeeper/quota/q/zookeeper_limits", b"count=9,bytes=9").unwrap();
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    client.create(stats, b"count=0,bytes=0").unwrap();
    let spoilt = client.set(stats, b"count=", -1);
    client.send(op::CREATE, &body::create("/q/a", None, &open(), 0));
    match s.kind {
        Kind::Stock => {
            assert!(spoilt.is_ok());
            assert_eq!(client.try_reply(), None, "stock 3.9.5 gives no answer to this");
            drop(client.abandon());
        }
        // Whether the text is refused or taken for no limit: the server goes on.
        Kind::Ringkeeper => assert_eq!(client.reply().err, 0),
    }
});

line!(a04_delete_container_is_not_for_clients, ALONE, |s| {
    let mut client = Client::open(s);
    client.create_with("/shut", b"", &world(ALL), flags::PERSISTENT).unwrap();
    client.create("/shut/plain", b"").unwrap();
    client.set_acl("/shut", &world(READ | ADMIN), -1).unwrap();
    assert_eq!(client.delete("/shut/plain", -1), Err(err::NO_AUTH));
    let reply = client.call(op::DELETE_CONTAINER, &out().str("/shut/plain").done());
    let after = client.exists("/shut/plain", false);
    match s.kind {
        Kind::Stock => assert_eq!((reply.err, after), (0, Err(err::NO_NODE))),
        Kind::Ringkeeper => assert!(reply.err != 0 && after.is_ok(), "{reply:?} {after:?}"),
    }
});

/// A setACL that takes CREATE away from `parent`, and creates below it in the same segment.
fn creates_behind_a_set_acl(client: &mut Client, parent: &str) -> Vec<Reply> {
    let below = if parent == "/" { "" } else { parent };
    let mut all = request(1, op::SET_ACL, &out().str(parent).acl(&world(READ | ADMIN)).int(-1).done());
    for xid in 2..=50 {
        all.extend(request(xid, op::CREATE, &body::create(format!("{below}/n{xid}"), None, &open(), 0)));
    }
    client.raw.send(&all);
    (1..=50).map(|_| client.reply()).collect()
}

line!(a05_an_access_list_holds_for_what_is_pipelined_behind_it, ALONE, |s| {
    let mut client = Client::open(s);
    client.create("/a", b"").unwrap();
    for parent in ["/a", "/"] {
        let replies = creates_behind_a_set_acl(&mut client, parent);
        assert_eq!(replies[0].err, 0);
        match s.kind {
            // Stock's pending record keeps the list from before (PrepRequestProcessor.pRequest2Txn, setACL), and the
            // root has two of them: how many creates slip through is a matter of time.
            Kind::Stock => assert!(replies[1..].iter().all(|reply| [0, err::NO_AUTH].contains(&reply.err))),
            Kind::Ringkeeper => {
                assert!(replies[1..].iter().all(|reply| reply.err == err::NO_AUTH), "{replies:?}")
            }
        }
    }
});
