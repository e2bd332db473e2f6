#![forbid(unsafe_code)]
//! Client-protocol §11.11: quotas, the config node, containers and nodes with a time to live.

use super::create::see_a_container_go;
use super::{DEFAULT, RICH, SUPER, Scene, line};
use crate::support::client::{Client, DELETED, Part, body, err, flags, op};
use crate::support::jute::{open, out};
use std::time::{Duration, Instant};

/// Where the quota of `path` is kept.
fn quota(path: &str) -> String {
    format!("/zookeeper/quota{path}")
}

/// Puts `path` under these limits, as the command line client does: the nodes above without data, limits, then stats.
fn limit(client: &mut Client, path: &str, limits: &str) {
    let mut above = String::from("/zookeeper/quota");
    for name in path.split('/').skip(1) {
        above = format!("{above}/{name}");
        // Tests of one group share the upper nodes.
        let _is_there_already = client.create(&above, b"");
    }
    client.create(format!("{above}/zookeeper_limits"), limits.as_bytes()).unwrap();
    client.create(format!("{above}/zookeeper_stats"), b"count=0,bytes=0").unwrap();
}

fn usage(client: &mut Client, path: &str) -> String {
    let (data, stat) = client.get(format!("{}/zookeeper_stats", quota(path)), false).unwrap();
    let data = data.unwrap();
    assert_eq!(
        (stat.data_length as usize, stat.version),
        (data.len(), 0),
        "accounting is no change of the node"
    );
    String::from_utf8(data).unwrap()
}

/// A node under this test's root with `limits` on it.
fn limited(s: &Scene, client: &mut Client, limits: &str) -> String {
    let path = s.path("q");
    client.create(&path, b"").unwrap();
    limit(client, &path, limits);
    path
}

line!(c197_stats_count_what_is_there, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("q");
    for (name, data) in [("q", "four"), ("q/a", "xx"), ("q/a/b", ""), ("q/c", "z")] {
        client.create(s.path(name), data.as_bytes()).unwrap();
    }
    limit(&mut client, &path, "count=100,bytes=100");
    assert_eq!(usage(&mut client, &path), "count=4,bytes=7");
});

line!(c197b_mntr_sums_quotas_by_namespace, RICH, |s| {
    let mut client = s.open();
    // A namespace of its own: the first component of the path.
    let namespace = format!("quotas{}", client.zxid);
    let made = format!("/{namespace}");
    client.create(&made, b"1234").unwrap();
    for (name, limits) in
        [("one", "count=3,bytes=-1=;byteHardLimit=700;countHardLimit=-1"), ("two", "count=4,bytes=50")]
    {
        client.create(format!("{made}/{name}"), b"xyz").unwrap();
        limit(&mut client, &format!("{made}/{name}"), limits);
    }
    let said = s.word("mntr");
    for line in [
        "quota_count_limit_per_namespace\t7",
        "quota_bytes_limit_per_namespace\t750",
        "quota_count_usage_per_namespace\t2",
        "quota_bytes_usage_per_namespace\t6",
    ] {
        assert!(
            said.lines().any(|said| said == format!("zk_{namespace}_{line}")),
            "{line} of {namespace}: {said}"
        );
    }
});

line!(c198_usage_follows_each_change, DEFAULT, |s| {
    let mut client = s.open();
    let path = limited(s, &mut client, "count=100,bytes=100");
    client.create(s.path("q/a"), b"12345").unwrap();
    assert_eq!(usage(&mut client, &path), "count=2,bytes=5");
    client.set(s.path("q/a"), b"123", -1).unwrap();
    assert_eq!(usage(&mut client, &path), "count=2,bytes=3");
    client.set(&path, b"1234567", -1).unwrap();
    assert_eq!(usage(&mut client, &path), "count=2,bytes=10");
    client.delete(s.path("q/a"), -1).unwrap();
    assert_eq!(usage(&mut client, &path), "count=1,bytes=7");
    // The accounting tells no watch.
    client.get(format!("{}/zookeeper_stats", quota(&path)), true).unwrap();
    client.create(s.path("q/b"), b"1").unwrap();
    assert_eq!(client.events(), []);
});

line!(c199_limits_are_not_enforced_unless_asked_for, DEFAULT, |s| {
    let mut client = s.open();
    let path = limited(s, &mut client, "count=1,bytes=1=;byteHardLimit=1;countHardLimit=1");
    client.create(s.path("q/a"), b"many bytes").unwrap();
    client.set(s.path("q/a"), b"many more bytes", -1).unwrap();
    assert_eq!(usage(&mut client, &path), "count=2,bytes=15");
});

line!(c200_hard_limits_are_enforced_when_asked_for, RICH, |s| {
    let mut client = s.open();
    let path = limited(s, &mut client, "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3");
    client.create(s.path("q/a"), b"12345").unwrap();
    // Bytes: 5 + 6 > 10.
    assert_eq!(client.create(s.path("q/b"), b"123456"), Err(err::QUOTA_EXCEEDED));
    assert_eq!(client.set(s.path("q/a"), b"12345678901", -1), Err(err::QUOTA_EXCEEDED));
    // The quota comes before the version.
    assert_eq!(client.set(s.path("q/a"), b"12345678901", 7), Err(err::QUOTA_EXCEEDED));
    client.create(s.path("q/b"), b"").unwrap();
    // Nodes: the fourth.
    assert_eq!(client.create(s.path("q/c"), b""), Err(err::QUOTA_EXCEEDED));
    client.set(s.path("q/a"), b"1234567890", -1).unwrap();
    assert_eq!(usage(&mut client, &path), "count=3,bytes=10");
    // Super is held to quotas too.
    client.log_in(SUPER);
    assert_eq!(client.create(s.path("q/c"), b""), Err(err::QUOTA_EXCEEDED));
});

line!(c201_soft_limits_are_advice, RICH, |s| {
    let mut client = s.open();
    let path = limited(s, &mut client, "count=1,bytes=1");
    client.create(s.path("q/a"), b"12345").unwrap();
    client.set(s.path("q/a"), b"123456", -1).unwrap();
    assert_eq!(usage(&mut client, &path), "count=2,bytes=6");
});

line!(c202_the_config_node_is_for_super, DEFAULT, |s| {
    assert_eq!(s.open().set("/zookeeper/config", b"x", -1), Err(err::NO_AUTH));
});

line!(c203_reconfig_is_off, DEFAULT, |s| {
    let body = out().null().null().str("server.1=localhost:1:2;3").long(-1).done();
    s.open().call(op::RECONFIG, &body).expect_header(err::RECONFIG_DISABLED);
});

// Stock 3.9.5 keeps a container that never had a child for good (client-protocol §B: "opt-in" before 3.10).
line!(c204_a_container_goes_with_its_last_child, RICH, |s| {
    let mut client = s.open();
    client.create_as(op::CREATE_CONTAINER, s.path("unused"), b"", flags::CONTAINER).unwrap();
    see_a_container_go(&mut client, &s.path("used"));
    // A container that has a child again stays.
    client.create_as(op::CREATE_CONTAINER, s.path("busy"), b"", flags::CONTAINER).unwrap();
    client.create(s.path("busy/child"), b"").unwrap();
    see_a_container_go(&mut client, &s.path("later"));
    assert_eq!(client.children(&s.root, false).unwrap(), ["busy", "unused"]);
});

line!(c205_a_ttl_counts_from_the_last_set_data, RICH, |s| {
    const TTL: Duration = Duration::from_millis(1_000);
    let mut client = s.open();
    // A parent stays, however old. In one txn: no sweep sees it without its child.
    let parent = body::create_ttl(s.path("parent"), b"", &open(), flags::TTL, 1);
    let child = Part::create(s.path("parent/child"), b"", flags::PERSISTENT);
    assert_eq!(client.multi(&[Part(op::CREATE_TTL, parent), child]).unwrap().len(), 2);
    // An attempt in which the node's time was over before it was touched proves nothing and is made again.
    let mut lives_since_it_was_touched = |path: String| {
        let made = Instant::now();
        client.create_ttl(&path, flags::TTL, TTL.as_millis() as i64).unwrap();
        // Half the time has to pass, so that a server which counts from the creation is caught.
        std::thread::sleep(TTL / 2);
        let touched = Instant::now();
        let is_touched = client.set(&path, b"x", -1).and_then(|_| client.exists(&path, true));
        if let Err(gone) = is_touched {
            assert!(gone == err::NO_NODE && made.elapsed() >= TTL, "{gone} after {:?}", made.elapsed());
            return false;
        }
        assert_eq!(client.event().brief(), (DELETED, &*path));
        println!("a ttl of {TTL:?} ended after {:?}", touched.elapsed());
        // The server's clock has whole milliseconds.
        assert!(touched.elapsed() + Duration::from_millis(1) >= TTL);
        true
    };
    assert!((0..20).any(|attempt| lives_since_it_was_touched(s.path(&format!("a{attempt}")))));
    client.exists(s.path("parent"), false).unwrap();
});

line!(c206_delete_container_spares_ephemerals_and_parents, DEFAULT, |s| {
    let mut client = s.open();
    client.create_with(s.path("e"), b"", &open(), flags::EPHEMERAL).unwrap();
    client.create_as(op::CREATE_CONTAINER, s.path("c"), b"", flags::CONTAINER).unwrap();
    client.create(s.path("c/child"), b"").unwrap();
    let mut remove = |path: &str| client.call(op::DELETE_CONTAINER, &out().str(path).done()).err;
    assert_eq!(remove(&s.path("e")), err::BAD_VERSION);
    assert_eq!(remove(&s.path("c")), err::NOT_EMPTY);
    assert_eq!(remove(&s.path("missing")), err::NO_NODE);
    assert_eq!(remove("/zookeeper"), err::BAD_ARGUMENTS);
});
