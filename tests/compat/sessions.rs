#![forbid(unsafe_code)]
//! Client-protocol §11.9: how long a session lives and what goes with it.

use super::{DEFAULT, QUIET, RICH, line};
use crate::support::client::{DELETED, err, flags, op};
use crate::support::jute::open;
use crate::support::raw::Got;
use std::time::{Duration, Instant};

line!(c175_a_session_that_pings_lives, RICH, |s| {
    const TIMEOUT: Duration = Duration::from_millis(1_500);
    // An attempt in which this thread or the server was kept from running proves nothing and is made again.
    let overslept = || {
        let mut client = s.open_with(1_500);
        let began = Instant::now();
        let mut latest = began;
        while began.elapsed() < 3 * TIMEOUT {
            // Time has to pass here: that nothing happens in it is the claim.
            std::thread::sleep(TIMEOUT / 3);
            let sent = Instant::now();
            client.send_as(-2, op::PING, &[]);
            match client.try_reply() {
                Some(reply) => assert_eq!((reply.xid, reply.err), (-2, 0)),
                None => {
                    let silent = latest.elapsed();
                    assert!(silent >= TIMEOUT, "closed {silent:?} after a ping that was answered");
                    let _expired = client.abandon();
                    return true;
                }
            }
            latest = sent;
        }
        client.close().expect_header(0);
        false
    };
    assert!((0..40).any(|_| !overslept()), "this machine never let anybody run within {TIMEOUT:?}");
});

line!(c176_a_silent_session_ends, RICH, |s| {
    let mut witness = s.open();
    let mut client = s.open();
    let path = s.path("a");
    client.create_with(&path, b"", &open(), flags::EPHEMERAL).unwrap();
    witness.exists(&path, true).unwrap();
    let latest = Instant::now();
    let mut client = client.shortened(s, 1_500);
    client.expect_close();
    let closed = latest.elapsed();
    assert_eq!(witness.event().brief(), (DELETED, &*path));
    println!("a silent session of 1500 ms at a tick of 200 ms was closed after {closed:?}");
    assert!(closed >= Duration::from_millis(1_500));
    assert!(!s.grants(&client.session));
    assert_eq!(witness.exists(&path, false), Err(err::NO_NODE));
});

line!(c177_ephemerals_outlive_a_connection, DEFAULT, |s| {
    let mut witness = s.open();
    let mut client = s.open();
    let path = s.path("a");
    client.create_with(&path, b"", &open(), flags::EPHEMERAL).unwrap();
    witness.exists(&path, true).unwrap();
    let session = client.abandon();
    // Long enough for the server to have seen the end of the connection; far shorter than 30 s.
    assert_eq!(witness.frame_within(Duration::from_millis(300)), Got::Nothing);
    let mut client = s.resume(&session);
    assert_eq!(client.exists(&path, false).unwrap().ephemeral_owner, session.id);
    assert_eq!(client.ephemerals(None).as_deref(), Ok(&[path][..]));
});

line!(c178_ephemerals_go_with_their_session, QUIET, |s| {
    let (mut witness, mut client) = (s.open(), s.open());
    for name in ["p", "p/q"] {
        client.create(s.path(name), b"").unwrap();
        client.create_with(s.path(&format!("{name}/e")), b"", &open(), flags::EPHEMERAL).unwrap();
    }
    let zxid = client.close().zxid;
    for name in ["p", "p/q"] {
        assert_eq!(witness.exists(s.path(&format!("{name}/e")), false), Err(err::NO_NODE));
        assert_eq!(witness.exists(s.path(name), false).unwrap().pzxid, zxid);
    }
});

line!(c179_the_end_of_a_session_takes_a_zxid, QUIET, |s| {
    let (mut witness, mut client) = (s.open(), s.open());
    let before = witness.ping().zxid;
    assert_eq!(client.close().zxid, before + 1);
    assert_eq!(witness.ping().zxid, before + 1);
});

line!(c180_ids_of_sessions_follow_each_other, QUIET, |s| {
    let clients: Vec<_> = (0..5).map(|_| s.open()).collect();
    assert!(clients.windows(2).all(|pair| pair[1].session.id == pair[0].session.id + 1));
    assert_eq!(clients[0].session.id >> 56, 1, "one server alone has the number 1");
});
