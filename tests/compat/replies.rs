#![forbid(unsafe_code)]
//! Client-protocol §11.3: headers, zxids, and what comes before what.

use super::{DEFAULT, QUIET, line};
use crate::support::client::{
    CHILDREN_CHANGED, Client, DATA_CHANGED, DELETED, body, err, flags, op, request,
};
use crate::support::jute::{open, out, world};

line!(c050_the_xid_comes_back_except_for_ping, DEFAULT, |s| {
    let mut client = s.open();
    for xid in [1, 77, i32::MAX] {
        client.send_as(xid, op::EXISTS, &body::read("/", false));
        assert_eq!(client.reply().xid, xid);
        client.send_as(xid, op::PING, &[]);
        assert_eq!(client.reply().xid, -2);
    }
});

line!(c051_a_failed_write_takes_a_zxid, QUIET, |s| {
    let mut client = s.open();
    let before = client.ping().zxid;
    let failed = client.call(op::CREATE, &body::create("/", Some(b""), &open(), 0));
    failed.expect_header(err::NODE_EXISTS);
    assert_eq!(failed.zxid, before + 1);
    client.call(op::DELETE, &body::versioned("/nowhere", -1)).expect_header(err::NO_NODE);
    assert_eq!(client.zxid, before + 2);
    client.call(op::SET_DATA, &body::set("bad", None, -1)).expect_header(err::BAD_ARGUMENTS);
    assert_eq!((client.zxid, client.ping().zxid), (before + 3, before + 3));
});

line!(c052_a_read_takes_none, QUIET, |s| {
    let mut client = s.open();
    let before = client.ping().zxid;
    client.get("/", false).unwrap();
    assert_eq!(client.zxid, before);
    client.exists("/nowhere", true).unwrap_err();
    assert_eq!(client.zxid, before);
    client.children("/", true).unwrap();
    client.sync("/").unwrap();
    client.who_am_i();
    client.add_watch("/", 0).unwrap();
    assert_eq!((client.zxid, client.ping().zxid), (before, before));
});

line!(c053_ping_answers_with_the_latest_zxid, QUIET, |s| {
    let mut client = s.open();
    client.create(s.path("a"), b"").unwrap();
    let written = client.zxid;
    let ping = client.ping();
    ping.expect_header(0);
    assert_eq!(ping.zxid, written);
});

line!(c054_auth_answers_with_zxid_0, DEFAULT, |s| {
    let mut client = s.open();
    let reply = client.add_auth("digest", Some(b"a:b"));
    reply.expect_header(0);
    assert_eq!(reply.zxid, 0);
});

line!(c055_replies_keep_the_order_of_requests, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    let mut all = Vec::new();
    for xid in 1..=1000 {
        all.extend(match xid % 4 {
            0 => request(xid, op::SET_DATA, &body::set(&path, Some(&xid.to_be_bytes()), -1)),
            1 => request(xid, op::GET_DATA, &body::read(&path, false)),
            2 => request(xid, op::CREATE, &body::create(format!("{path}/{xid}"), None, &open(), 0)),
            _ => request(xid, op::GET_CHILDREN, &body::read(&path, false)),
        });
    }
    client.raw.send(&all);
    let mut latest = 0;
    for xid in 1..=1000 {
        let reply = client.reply();
        assert_eq!((reply.xid, reply.err), (xid, 0));
        assert!(reply.zxid >= latest);
        latest = reply.zxid;
        if xid % 4 == 1 && xid > 4 {
            assert_eq!(
                reply.body[4..8],
                (xid - 1).to_be_bytes(),
                "a read sees the session's write before it"
            );
        }
    }
});

line!(c056_a_pipelined_condition_sees_the_write_before_it, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    let sets = (0..50).flat_map(|version| {
        request(version + 1, op::SET_DATA, &body::set(&path, Some(b"x"), version)) //
    });
    client.raw.send(&sets.collect::<Vec<u8>>());
    for _ in 0..50 {
        assert_eq!(client.reply().err, 0);
    }
});

line!(c057_an_event_comes_before_the_reply_to_its_write, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    for _ in 0..100 {
        client.get(&path, true).unwrap();
        client.set(&path, b"x", -1).unwrap();
        let events = client.events_so_far();
        assert_eq!(events.iter().map(|event| event.brief()).collect::<Vec<_>>(), [(DATA_CHANGED, &*path)]);
        assert_eq!(events[0].zxid, client.zxid);
    }
});

line!(c058_an_event_comes_before_a_read_of_the_change, DEFAULT, |s| {
    let (mut reader, mut writer) = (s.open(), s.open());
    let path = s.path("a");
    writer.create(&path, b"").unwrap();
    for round in 0..200_u8 {
        let (before, _) = reader.get(&path, true).unwrap();
        writer.send(op::SET_DATA, &body::set(&path, Some(&[round, 1]), -1));
        while reader.get(&path, false).unwrap().0 == before {}
        let events = reader.events_so_far();
        assert_eq!(events.iter().map(|event| event.brief()).collect::<Vec<_>>(), [(DATA_CHANGED, &*path)]);
        assert_eq!(writer.reply().err, 0);
    }
});

line!(c059_close_session_is_answered_and_then_closes, DEFAULT, |s| {
    let mut client = s.open();
    client.close().expect_header(0);
    assert!(!s.grants(&client.session));
});

line!(c060_events_for_own_ephemerals_precede_the_last_reply, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create_with(&path, b"", &open(), flags::EPHEMERAL).unwrap();
    client.exists(&path, true).unwrap();
    client.children(&s.root, true).unwrap();
    let last = client.close();
    let events = client.events_so_far();
    let briefs: Vec<_> = events.iter().map(|event| event.brief()).collect();
    assert_eq!(briefs, [(DELETED, &*path), (CHILDREN_CHANGED, &*s.root)]);
    assert!(events.iter().all(|event| event.zxid == last.zxid));
});

line!(c061_sync_echoes_any_path, DEFAULT, |s| {
    let mut client = s.open();
    let closed = s.path("closed");
    client.create_with(&closed, b"", &world(0), flags::PERSISTENT).unwrap();
    for path in ["/", "/nowhere/at/all", "", "no slash", &closed] {
        assert_eq!(client.sync(path).as_deref(), Ok(path));
    }
});

line!(c062_an_xid_may_come_twice, DEFAULT, |s| {
    let mut client = s.open();
    for _ in 0..2 {
        client.send_as(5, op::GET_DATA, &body::read("/", false));
    }
    for _ in 0..2 {
        let reply = client.reply();
        assert_eq!((reply.xid, reply.err), (5, 0));
    }
});

line!(c063_an_xid_may_be_zero_or_negative, DEFAULT, |s| {
    let mut client: Client = s.open();
    let path = s.path("a");
    client.send_as(0, op::CREATE, &body::create(&path, None, &open(), 0));
    assert_eq!((client.reply().xid, client.zxid > 0), (0, true));
    for xid in [0, -2, -3, -4, -8, -9, i32::MIN] {
        client.send_as(xid, op::EXISTS, &out().str(&path).bool(false).done());
        let reply = client.reply();
        assert_eq!((reply.xid, reply.err), (xid, 0));
    }
});
