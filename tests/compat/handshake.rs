#![forbid(unsafe_code)]
//! Client-protocol §11.2: from the first byte to a session.

use super::{DEFAULT, Group, QUIET, RICH, Setup, line};
use crate::support::client::{Client, DELETED, Reply, body, flags, op, request};
use crate::support::raw::{Hello, Raw, Session, Welcome, frame, shake, word};
use std::time::Instant;

/// Bounds for sessions and connections other than the defaults.
const LIMITS: Group = Group::InTurn(Setup {
    keys: &[("minSessionTimeout", "1234"), ("maxSessionTimeout", "5678")],
    properties: &[],
});

/// The password of a session id (client-protocol §7.4): four draws of `java.util.Random`.
fn password(id: i64) -> Vec<u8> {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((id as u64 ^ 0xB341_5C00) ^ MULTIPLIER) & MASK;
    let mut bytes = Vec::new();
    for _ in 0..4 {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        bytes.extend(((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

#[test]
fn the_password_of_a_session_is_the_one_the_specification_gives() {
    let hex = |id| password(id).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(1), "054cc74a37327db215e702e20c73f005");
    assert_eq!(hex(0x0100_0123_4567_89ab), "237710bc62d77989a42e8da77022789d");
}

/// The welcome to `hello`; its session is closed again.
fn welcome(address: std::net::SocketAddr, hello: Hello) -> Welcome {
    let (raw, welcome) = shake(address, &hello);
    let welcome = welcome.expect("a welcome");
    if !welcome.is_refusal() {
        Client::on(raw, welcome.session.clone()).close();
    }
    welcome
}

line!(c021_the_response_to_45_bytes_has_37, DEFAULT, |s| {
    assert_eq!(Hello::default().body().len(), 45);
    let welcome = welcome(s.address(), Hello::default());
    assert_eq!((welcome.bytes, welcome.read_only), (37, Some(false)));
});

line!(c022_the_response_to_44_bytes_has_36, DEFAULT, |s| {
    let hello = Hello { read_only: None, ..Hello::default() };
    assert_eq!(hello.body().len(), 44);
    let (raw, welcome) = shake(s.address(), &hello);
    let welcome = welcome.unwrap();
    assert_eq!((welcome.bytes, welcome.read_only), (36, None));
    let mut old_client = Client::on(raw, welcome.session.clone());
    old_client.ping();
    // A refused renewal has the same short form.
    old_client.close();
    let again = Hello { read_only: None, ..Hello::renewal(&welcome.session) };
    let (mut raw, refusal) = shake(s.address(), &again);
    assert_eq!(refusal.as_ref().map(|refusal| (refusal.is_refusal(), refusal.bytes)), Some((true, 36)));
    raw.expect_close();
});

line!(c023_the_protocol_version_has_no_effect, DEFAULT, |s| {
    for protocol_version in [0, 1, -1, i32::MAX] {
        let welcome = welcome(s.address(), Hello { protocol_version, ..Hello::default() });
        assert_eq!(welcome.protocol_version, 0);
        assert!(!welcome.is_refusal());
    }
});

line!(c024_a_session_has_an_id_and_a_password, DEFAULT, |s| {
    let session = welcome(s.address(), Hello::default()).session;
    assert_ne!(session.id, 0);
    assert_eq!((session.password.len(), session.timeout), (16, 30_000));
});

line!(c025_the_password_follows_from_the_id, DEFAULT, |s| {
    let session = welcome(s.address(), Hello::default()).session;
    assert_eq!(session.password, password(session.id));
});

line!(c026_a_short_timeout_is_raised_to_two_ticks, DEFAULT, |s| {
    for timeout in [5_999, 1, 0, -1, i32::MIN] {
        assert_eq!(welcome(s.address(), Hello { timeout, ..Hello::default() }).session.timeout, 6_000);
    }
});

line!(c027_a_long_timeout_is_lowered_to_twenty_ticks, DEFAULT, |s| {
    for timeout in [60_001, i32::MAX] {
        assert_eq!(welcome(s.address(), Hello { timeout, ..Hello::default() }).session.timeout, 60_000);
    }
});

line!(c028_the_bounds_of_timeouts_can_be_set, LIMITS, |s| {
    for (timeout, granted) in [(1, 1_234), (1_234, 1_234), (3_000, 3_000), (60_000, 5_678)] {
        assert_eq!(welcome(s.address(), Hello { timeout, ..Hello::default() }).session.timeout, granted);
    }
});

line!(c029_a_new_session_needs_no_password, DEFAULT, |s| {
    for password in [None, Some(vec![]), Some(vec![1, 2, 3]), Some(vec![7; 40])] {
        assert!(!welcome(s.address(), Hello { password, ..Hello::default() }).is_refusal());
    }
});

line!(c030_a_password_without_an_id_is_ignored, DEFAULT, |s| {
    let given = vec![9; 16];
    let session = welcome(s.address(), Hello { password: Some(given.clone()), ..Hello::default() }).session;
    assert_ne!(session.id, 0);
    assert_ne!(session.password, given);
});

line!(c031_a_client_ahead_of_the_server_is_sent_away, QUIET, |s| {
    let mut client = s.open();
    let last_zxid_seen = client.ping().zxid;
    let mut level = Client::greet(s, &Hello { last_zxid_seen, ..Hello::default() }).expect("level is fine");
    let last_zxid_seen = level.ping().zxid;
    let (mut raw, welcome) =
        shake(s.address(), &Hello { last_zxid_seen: last_zxid_seen + 1, ..Hello::default() });
    assert_eq!(welcome, None);
    raw.expect_close();
    // Renewals are held to the same.
    let ahead = Hello { last_zxid_seen: last_zxid_seen + 1, ..Hello::renewal(&level.session) };
    assert_eq!(shake(s.address(), &ahead).1, None);
    level.ping();
});

line!(c032_a_session_can_be_renewed, DEFAULT, |s| {
    let session = s.open().abandon();
    let again = Hello { timeout: 7_000, ..Hello::renewal(&session) };
    let client = Client::greet(s, &again).expect("renewed");
    assert_eq!(client.session, Session { timeout: 7_000, ..session });
});

line!(c033_a_wrong_password_is_refused, DEFAULT, |s| {
    let session = s.open().abandon();
    let mut close = session.password.clone();
    close[15] ^= 1;
    for password in
        [Some(close), Some(vec![0; 16]), Some(vec![]), None, Some(session.password[..15].to_vec())]
    {
        let (mut raw, welcome) = shake(s.address(), &Hello { password, ..Hello::renewal(&session) });
        let welcome = welcome.unwrap();
        assert!(welcome.is_refusal(), "{welcome:?}");
        assert_eq!(welcome.bytes, 37);
        raw.expect_close();
    }
    assert!(s.grants(&session));
});

line!(c034_a_wrong_password_does_not_end_the_session, DEFAULT, |s| {
    let session = s.open().abandon();
    let wrong = Hello { password: Some(vec![1; 16]), ..Hello::renewal(&session) };
    assert!(welcome(s.address(), wrong).is_refusal());
    s.resume(&session).ping();
});

line!(c035_a_closed_session_is_refused, DEFAULT, |s| {
    let mut client = s.open();
    client.close();
    assert!(welcome(s.address(), Hello::renewal(&client.session)).is_refusal());
});

line!(c036_an_expired_session_is_refused, RICH, |s| {
    let mut witness = s.open();
    let mut client = s.open();
    let path = s.path("a");
    client.create_with(&path, b"", &crate::support::jute::open(), flags::EPHEMERAL).unwrap();
    witness.exists(&path, true).unwrap();
    let session = client.shortened(s, 1_500).abandon();
    assert_eq!(witness.event().brief(), (DELETED, &*path));
    // Stock tells the event first and then closes the session's connections, a renewal's included. An answer to the
    // witness means that the whole txn is behind us.
    witness.ping();
    assert!(welcome(s.address(), Hello::renewal(&session)).is_refusal());
});

line!(c037_an_id_never_issued_is_refused, DEFAULT, |s| {
    let id = 0x0100_0000_0000_4242;
    let hello = Hello { session_id: id, password: Some(password(id)), ..Hello::default() };
    assert!(welcome(s.address(), hello).is_refusal());
});

line!(c038_a_renewal_closes_the_old_connection, DEFAULT, |s| {
    let mut old = s.open();
    let mut new = s.resume(&old.session);
    old.expect_close();
    new.ping();
});

line!(c039_a_renewal_takes_no_zxid_and_a_session_takes_one, QUIET, |s| {
    let mut client = s.open();
    let before = client.ping().zxid;
    let mut client = s.resume(&client.abandon());
    assert_eq!(client.ping().zxid, before);
    let mut other = s.open();
    assert_eq!(other.ping().zxid, before + 1);
    assert_eq!(client.ping().zxid, before + 1);
});

line!(c040_a_normal_server_is_not_read_only, DEFAULT, |s| {
    let welcome = welcome(s.address(), Hello { read_only: Some(true), ..Hello::default() });
    assert_eq!((welcome.bytes, welcome.read_only), (37, Some(false)));
});

line!(c041_requests_behind_the_first_frame_wait_for_its_answer, DEFAULT, |s| {
    let mut all = frame(&Hello::default().body());
    for xid in 1..=20 {
        all.extend(request(xid, op::EXISTS, &body::read("/", false)));
    }
    all.extend(request(21, op::CLOSE_SESSION, &[]));
    let mut raw = Raw::connect(s.address());
    raw.send(&all);
    assert!(!Welcome::decode(&raw.frame().unwrap()).is_refusal());
    let replies: Vec<Reply> = (1..=21).map(|_| Reply::decode(&raw.frame().unwrap())).collect();
    assert!(replies.iter().zip(1..).all(|(reply, xid)| (reply.xid, reply.err) == (xid, 0)), "{replies:?}");
    raw.expect_close();
});

line!(c042_ruok_needs_the_whitelist, DEFAULT, |s| {
    assert_eq!(word(s.address(), "ruok"), "ruok is not executed because it is not in the whitelist.\n");
});

line!(c043_srvr_is_always_there_and_ruok_says_imok, RICH, |s| {
    assert!(word(s.address(), "srvr").starts_with("Zookeeper version: 3.9.5"));
    assert_eq!(word(s.address(), "ruok"), "imok");
});

line!(c044_a_word_behind_the_handshake_closes, DEFAULT, |s| {
    let mut client = s.open();
    client.raw.send(b"ruok");
    client.expect_close();
});

/// Three connections an address, and sessions of any length.
const THREE: Group = Group::Fresh(Setup { keys: &[("maxClientCnxns", "3")], properties: &[] });

line!(c045_one_connection_too_many_is_closed_at_accept, THREE, |s| {
    let mut open: Vec<Client> = (0..3).map(|_| s.open()).collect();
    Raw::connect(s.address()).expect_close();
    open.pop().unwrap().close();
    drop(s.open());
    open.iter_mut().for_each(|client| drop(client.ping()));
});

line!(c046_zero_lifts_the_limit_of_connections, RICH, |s| {
    let mut open: Vec<Client> = (0..100).map(|_| s.open()).collect();
    open.iter_mut().for_each(|client| drop(client.ping()));
});

// The upper end of "about 10 to 20 s" is not judged here: a loaded machine would. The time is printed.
line!(c047_a_silent_connection_is_closed, DEFAULT, |s| {
    let began = Instant::now();
    let mut raw = Raw::connect(s.address());
    raw.expect_close();
    println!("silent connection closed after {:?}", began.elapsed());
    assert!(began.elapsed().as_millis() >= 9_900);
});
