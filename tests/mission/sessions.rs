//! Statements 19 to 24: sessions.

use super::support::client::{Client, DELETED, body, err, flags, op, request};
use super::support::jute::{In, open};
use super::support::raw::{Got, Hello, Raw, Welcome, frame, shake};
use super::support::server::Setup;
use super::{QUICK, QUICK_TICK_MS, plain, quick, rooted, start};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Beyond what a statement allows: a busy machine, not the server.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn m19_requests_of_a_session_run_in_their_order_pipelined_ones_too() {
    let mut client = rooted(&plain(), "/m19");
    let mut expected = Vec::new();
    for round in 0..300u32 {
        let data = round.to_be_bytes();
        expected.push((client.send(op::SET_DATA, &body::set("/m19", Some(&data), -1)), None));
        expected.push((client.send(op::GET_DATA, &body::read("/m19", false)), Some(data)));
        expected.push((client.send(op::EXISTS, &body::read("/m19/none", false)), None));
        if round % 10 == 0 {
            expected.push((client.send(op::SYNC, &body::versioned("/m19", 0)[..8]), None));
        }
    }
    let mut zxid = 0;
    for (xid, data) in expected {
        let reply = client.reply();
        assert_eq!(reply.xid, xid, "replies keep the order of requests");
        assert!(reply.zxid >= zxid, "the zxid a session sees never goes back");
        zxid = reply.zxid;
        if let Some(data) = data {
            assert_eq!(
                In(reply.result().unwrap()).bytes(),
                data,
                "a read sees the write before it, and not the next"
            );
        }
    }
}

#[test]
fn m20_ids_are_never_given_twice() {
    let server = start(QUICK);
    let mut ids = HashSet::new();
    for round in 0..3 {
        for _ in 0..40 {
            let client = Client::open(&server);
            assert!(client.session.id != 0);
            assert!(ids.insert(client.session.id), "given twice, round {round}");
            // Closed or left to time out: the id is spent.
            if ids.len() % 2 == 0 { drop(client) } else { drop(client.abandon()) }
        }
        server.restart().unwrap();
    }
    assert_eq!(ids.len(), 120);
}

#[test]
fn m21_any_message_keeps_a_session_and_silence_for_its_time_out_ends_it() {
    // A machine that stands still meanwhile proves nothing, and the attempt is made again.
    assert!((0..30).any(m21_attempt), "this machine never ran for a few seconds");
}

fn m21_attempt(attempt: u32) -> bool {
    let server = quick();
    let timeout = Duration::from_millis(1_000);
    let root = format!("/m21-{attempt}");
    let alive = format!("{root}/alive");
    let mut watcher = rooted(&server, &root);
    let mut client = Client::open(&server);
    client.create_with(&alive, b"", &open(), flags::EPHEMERAL).unwrap();
    watcher.exists(&alive, true).unwrap();
    let began = Instant::now();
    let mut last_sent = began;
    let mut client = client.shortened(&server, 1_000);
    // Reads, pings, even a request that fails: three time-outs long, each gap below one.
    while began.elapsed() < 3 * timeout {
        assert_eq!(client.frame_within(timeout / 3), Got::Nothing);
        let sent = Instant::now();
        match client.try_get() {
            Some(reply) => assert_eq!(reply.err, err::NO_NODE),
            None => {
                // Only a machine that stood still explains it.
                let gap = last_sent.elapsed();
                assert!(gap >= timeout, "the session ended {gap:?} after a message");
                println!("m21: this machine stood still for {gap:?}");
                drop(client.abandon());
                return false;
            }
        }
        last_sent = sent;
        watcher.ping();
    }
    // And silence. The event is the proof of the end.
    let session = client.session.clone();
    let _open_and_silent = client.raw.stream();
    let event = watcher.event();
    let silence = last_sent.elapsed();
    println!("m21: a session of {timeout:?} ended after {silence:?} of silence, tick {QUICK_TICK_MS} ms");
    assert_eq!(event.brief(), (DELETED, &*alive));
    assert!(silence >= timeout, "earlier than its time-out");
    client.expect_close();
    let (_, welcome) = shake(server.address(), &Hello::renewal(&session));
    assert!(welcome.is_some_and(|welcome| welcome.is_refusal()));
    silence <= timeout + Duration::from_millis(QUICK_TICK_MS) + SLACK
}

#[test]
fn m22_time_outs_are_held_between_two_and_twenty_ticks() {
    const SHORT: Setup = Setup { keys: &[("tickTime", "200")], properties: &[] };
    for (server, tick) in [(plain(), 3_000), (Arc::new(start(SHORT)), 200)] {
        for (asked, given) in [
            (0, 2 * tick),
            (-5, 2 * tick),
            (2 * tick - 1, 2 * tick),
            (2 * tick, 2 * tick),
            (5 * tick + 1, 5 * tick + 1),
            (20 * tick, 20 * tick),
            (20 * tick + 1, 20 * tick),
            (i32::MAX, 20 * tick),
        ] {
            assert_eq!(Client::with_timeout(&server, asked).session.timeout, given, "asked for {asked}");
        }
    }
}

#[test]
fn m24_an_expired_session_leaves_nothing_and_its_client_is_told() {
    let server = quick();
    let mut watcher = rooted(&server, "/m24");
    let mut client = Client::open(&server);
    client.create_with("/m24/a", b"", &open(), flags::EPHEMERAL).unwrap();
    client.create_with("/m24/b-", b"", &open(), flags::EPHEMERAL_SEQUENTIAL).unwrap();
    watcher.exists("/m24/a", true).unwrap();
    // The watch is the connection's. It is set in one go with the handshake of the short session: no pause is between.
    let session = client.abandon();
    let mut raw = Raw::connect(server.address());
    let mut all = frame(&Hello { timeout: 500, ..Hello::renewal(&session) }.body());
    all.extend(request(1, op::GET_DATA, &body::read("/m24", true)));
    raw.send(&all);
    let welcome = Welcome::decode(&raw.frame().unwrap());
    assert_eq!((welcome.session.id, welcome.session.timeout), (session.id, 500));
    assert_eq!(Client::on(raw, welcome.session).settled(), 0);
    assert_eq!(watcher.event().brief(), (DELETED, "/m24/a"));
    assert_eq!(watcher.children("/m24", false).unwrap(), [""; 0]);
    let watches = server.word("wchp");
    assert!(!watches.lines().any(|line| line == "/m24"), "{watches}");
    // Late: told in the answer itself, by a time-out of 0, and the connection ends.
    let (mut raw, welcome) = shake(server.address(), &Hello::renewal(&session));
    assert!(welcome.is_some_and(|welcome| welcome.is_refusal()));
    raw.expect_close();
    // A new session has nothing of the old one.
    let mut fresh = Client::open(&server);
    assert_ne!(fresh.session.id, session.id);
    assert_eq!(fresh.ephemerals(None).unwrap(), [""; 0]);
    watcher.set("/m24", b"x", -1).unwrap();
    assert_eq!(fresh.events(), []);
    fresh.create_with("/m24/a", b"", &open(), flags::EPHEMERAL).unwrap();
}

impl Client {
    /// The error of the next reply; then the connection is left alone.
    fn settled(mut self) -> i32 {
        let err = self.reply().err;
        drop(self.abandon());
        err
    }

    /// A read of what is not there; `None` once the server has closed.
    fn try_get(&mut self) -> Option<super::support::client::Reply> {
        self.send(op::GET_DATA, &body::read("/none", false));
        self.try_reply()
    }
}
