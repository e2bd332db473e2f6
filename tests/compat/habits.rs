#![forbid(unsafe_code)]
//! What clients and operators do all day and no single line of the checklist says: crashes and outages between two
//! requests, very long listings, readers that stop reading.

use super::{DEFAULT, Group, Setup, line};
use crate::support::client::{Client, DATA_CHANGED, Part, Reply, body, err, flags, op, request};
use crate::support::jute::{In, open};
use crate::support::raw::{Hello, Welcome, shake};
use std::time::{Duration, Instant};

/// A server of the test's own whose sessions may be short.
const SHORT_TICKS: Group =
    Group::Fresh(Setup { keys: &[("tickTime", "200"), ("maxSessionTimeout", "60000")], properties: &[] });

line!(h01_an_old_client_lives_a_whole_life_in_the_short_form, DEFAULT, |s| {
    let old = Hello { read_only: None, ..Hello::default() };
    let (raw, welcome) = shake(s.address(), &old);
    let welcome: Welcome = welcome.unwrap();
    assert_eq!((old.body().len(), welcome.bytes), (44, 36));
    let mut client = Client::on(raw, welcome.session.clone());
    let path = "/h01";
    client.create_with(path, b"x", &open(), flags::EPHEMERAL).unwrap();
    let session = client.abandon();
    let (raw, again) = shake(s.address(), &Hello { read_only: None, ..Hello::renewal(&session) });
    assert_eq!(again, Some(welcome));
    let mut client = Client::on(raw, session);
    assert_eq!(client.get(path, false).unwrap().0, Some(b"x".to_vec()));
    client.close();
});

line!(h02_sessions_and_their_nodes_survive_a_crash, SHORT_TICKS, |s| {
    let mut client = Client::open(s);
    let mut other = Client::open(s);
    client.create("/a", b"one").unwrap();
    client.create_with("/a/e", b"", &open(), flags::EPHEMERAL).unwrap();
    other.create_with("/a/other", b"", &open(), flags::EPHEMERAL).unwrap();
    client.get("/a", true).unwrap();
    other.close();
    let seen = client.ping().zxid;
    let (_, before) = client.get("/a", false).unwrap();

    s.kill();
    client.expect_close();
    // The port is taken again at once, though connections of the dead process linger on it.
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));

    let renewal = Hello { last_zxid_seen: seen, ..Hello::renewal(&client.session) };
    let mut client = Client::greet(s, &renewal).expect("the session survived");
    assert_eq!(client.get("/a", false), Ok((Some(b"one".to_vec()), before)));
    assert_eq!(client.exists("/a/e", false).unwrap().ephemeral_owner, client.session.id);
    assert_eq!(client.exists("/a/other", false), Err(err::NO_NODE));
    assert!(client.ping().zxid >= seen);
    // Numbers of sequential nodes go on, and so do zxids.
    let made = client.create_with("/a/n-", b"", &open(), flags::SEQUENTIAL);
    assert_eq!((made.as_deref(), client.zxid > seen), (Ok("/a/n-0000000002"), true));
    client.close();
});

line!(h03_an_outage_longer_than_the_timeout_does_not_end_sessions, SHORT_TICKS, |s| {
    let survives_an_outage = |timeout: Duration| {
        let mut client = Client::with_timeout(s, timeout.as_millis() as i32);
        if client.create_with("/e", b"", &open(), flags::EPHEMERAL).is_err() {
            // That of an attempt before, which has not expired yet.
            client.delete("/e", -1).unwrap();
            client.create_with("/e", b"", &open(), flags::EPHEMERAL).unwrap();
        }
        let session = client.abandon();
        s.kill();
        // The outage itself: the claim is about time that passes while no server runs.
        std::thread::sleep(timeout + Duration::from_millis(500));
        // From its start on the server owes the session another timeout.
        let restarting = Instant::now();
        s.restart().unwrap_or_else(|reason| panic!("{reason}"));
        match Client::greet(s, &Hello::renewal(&session)) {
            Some(mut client) => {
                assert_eq!(client.exists("/e", false).unwrap().ephemeral_owner, session.id);
                client.close();
                true
            }
            None => {
                let elapsed = restarting.elapsed();
                assert!(elapsed >= timeout, "refused {elapsed:?} after the server was started again");
                false
            }
        }
    };
    // A start that took as long as the session lives proves nothing and is made again, with a longer session.
    let timeouts = [4, 8, 16, 32, 60].map(Duration::from_secs);
    assert!(timeouts.into_iter().any(survives_an_outage), "no start took less than a minute");
});

line!(h04_set_watches_catches_up_after_a_crash, SHORT_TICKS, |s| {
    let mut client = Client::open(s);
    let mut writer = Client::open(s);
    for path in ["/kept", "/changed"] {
        client.create(path, b"").unwrap();
        client.get(path, true).unwrap();
    }
    let seen = client.ping().zxid;
    let session = client.abandon();
    writer.set("/changed", b"x", -1).unwrap();
    let writer = writer.abandon();
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));

    let renewal = Hello { last_zxid_seen: seen, ..Hello::renewal(&session) };
    let mut client = Client::greet(s, &renewal).expect("the session survived");
    client.set_watches(seen, &["/kept", "/changed"], &[], &[]).expect_header(0);
    assert_eq!(client.briefs(), [(DATA_CHANGED, "/changed".to_owned())]);
    Client::resume(s, &writer).set("/kept", b"x", -1).unwrap();
    assert_eq!(client.event().brief(), (DATA_CHANGED, "/kept"));
});

line!(h05_a_stop_on_request_loses_nothing, SHORT_TICKS, |s| {
    let mut client = Client::open(s);
    client.create("/a", b"one").unwrap();
    let stat = client.set("/a", b"two", 0).unwrap();
    let status = s.terminate();
    client.expect_close();
    println!("SIGTERM: {status}");
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(Client::open(s).get("/a", false), Ok((Some(b"two".to_vec()), stat)));
});

line!(h06_a_listing_of_twenty_megabytes, SHORT_TICKS, |s| {
    const CHILDREN: usize = 10_000;
    const NAME_BYTES: usize = 2_000;
    let mut client = Client::open(s);
    client.create("/wide", b"").unwrap();
    let name = |number: usize| format!("{number:0>NAME_BYTES$}");
    let began = Instant::now();
    // The answers are as long as the requests: whoever sends all of them before reading fills the kernel's buffers both
    // ways, and then neither side can go on (a connection with a megabyte of answers unsent is not read).
    for numbers in (0..CHILDREN).collect::<Vec<_>>().chunks(400) {
        let creates: Vec<Part> =
            numbers.iter().map(|number| Part::create(format!("/wide/{}", name(*number)), b"", 0)).collect();
        let entries = client.multi(&creates).unwrap();
        assert!(!entries.iter().any(|entry| matches!(entry, crate::support::client::Entry::Error(_))));
    }
    let created = began.elapsed();
    let (names, stat) = client.children2("/wide", false).unwrap();
    println!("created in {created:?}, listed in {:?}", began.elapsed() - created);
    assert_eq!((names.len(), stat.num_children), (CHILDREN, CHILDREN as i32));
    assert!(names.iter().enumerate().all(|(number, listed)| *listed == name(number)));
});

line!(h07_a_reader_that_stops_reading_disturbs_nobody, SHORT_TICKS, |s| {
    const DATA_BYTES: usize = 500_000;
    const READS: i32 = 100;
    let (mut stuck, mut lively) = (Client::open(s), Client::open(s));
    lively.create("/large", &vec![7; DATA_BYTES]).unwrap();
    // 50 MB of answers that nobody takes, and an event among them.
    stuck.get("/large", true).unwrap();
    let reads: Vec<u8> =
        (1..=READS).flat_map(|xid| request(xid, op::GET_DATA, &body::read("/large", false))).collect();
    stuck.raw.send(&reads);
    lively.create("/small", b"").unwrap();
    for version in 0..200 {
        lively.set("/small", b"x", version).unwrap();
        lively.get("/small", false).unwrap();
    }
    lively.set("/large", &vec![8; DATA_BYTES], 0).unwrap();
    // Whoever begins to read again finds every answer, each whole.
    let replies: Vec<Reply> = (0..READS).map(|_| stuck.reply()).collect();
    for (reply, xid) in replies.iter().zip(1..) {
        assert_eq!((reply.xid, reply.err), (xid, 0));
        let data = In(&reply.body).bytes();
        assert!(
            data.len() == DATA_BYTES
                && (data.iter().all(|byte| *byte == 7) || data.iter().all(|byte| *byte == 8))
        );
    }
    assert_eq!(stuck.briefs(), [(DATA_CHANGED, "/large".to_owned())]);
});
