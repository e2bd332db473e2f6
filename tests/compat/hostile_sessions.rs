#![forbid(unsafe_code)]
//! Reliability §6, M9–M12, M31, M32, M37, M40, M47–M49, M54, M66: sessions, identities, and secrets.

use super::hostile::{OPEN, Witness, ours};
use super::{DEFAULT, Group, RICH, RICH_SETUP, Setup, line};
use crate::support::PATIENCE;
use crate::support::client::{Client, body, err, op, request};
use crate::support::jute::{ALL, acl, out, world};
use crate::support::raw::{Hello, Raw, shake, word};
use std::time::{Duration, Instant};

/// Every word of the table.
const WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchc", "wchp", "wchs",
];

ours!(m09_unknown_ids_and_wrong_passwords_look_alike, DEFAULT, |s| {
    let mut witness = Witness::of(s);
    let known = witness.client().session.clone();
    let answer = |id: i64, password: Option<Vec<u8>>| {
        let (mut raw, welcome) = shake(s.address(), &Hello { session_id: id, password, ..Hello::default() });
        raw.expect_close();
        welcome.expect("an answer before the close")
    };
    let unknown = answer(known.id ^ 0x55, Some(known.password.clone()));
    assert!(unknown.is_refusal());
    let mut almost = known.password.clone();
    almost[15] ^= 1;
    for password in [None, Some(vec![]), Some(vec![0; 16]), Some(almost), Some(vec![7; 1000])] {
        assert_eq!(answer(known.id, password.clone()), unknown, "{password:02x?}");
    }
    witness.is_well();
});

line!(m11_timeouts_are_clamped_and_strange_ids_refused, DEFAULT, |s| {
    let mut witness = Witness::of(s);
    // Ticks of 3 s: two at least, twenty at most.
    for (asked, granted) in [(-1, 6_000), (0, 6_000), (i32::MIN, 6_000), (i32::MAX, 60_000)] {
        assert_eq!(Client::with_timeout(s, asked).session.timeout, granted, "{asked}");
    }
    for session_id in [i64::MIN, -1, i64::MAX, 0xff00_0000_0000_0001_u64 as i64] {
        let (mut raw, welcome) = shake(s.address(), &Hello { session_id, ..Hello::default() });
        assert!(welcome.expect("an answer").is_refusal());
        raw.expect_close();
    }
    let (mut raw, welcome) = shake(s.address(), &Hello { last_zxid_seen: i64::MAX, ..Hello::default() });
    assert_eq!(welcome, None);
    raw.expect_close();
    witness.is_well();
});

ours!(m12_two_clients_that_fight_over_a_session_are_both_shut_out_for_a_while, OPEN, |s| {
    let mut witness = Witness::of(s);
    let mut owner = s.open_with(60_000);
    owner.create_with(s.path("fought"), b"", &world(ALL), 1).unwrap();
    let session = owner.abandon();
    let began = Instant::now();
    let mut holders = vec![];
    let mut moves = 0;
    let refused = loop {
        let (raw, welcome) = shake(s.address(), &Hello::renewal(&session));
        match welcome {
            Some(welcome) => {
                // The newest wins.
                assert_eq!(welcome.session.id, session.id);
                holders.push(raw);
                moves += 1;
            }
            None => break raw,
        }
        assert!(moves < 10_000, "nobody is ever shut out");
    };
    println!("shut out after {moves} moves in {:?}", began.elapsed());
    drop(refused);
    assert!(moves >= 10, "a client that moves now and then is let in");
    // Whoever held it last is closed as well.
    holders.iter_mut().for_each(Raw::expect_close);
    witness.is_well();
    // The session itself lives, and its nodes; after the quiet second somebody gets it back.
    let quiet = Instant::now();
    let mut back = loop {
        match Client::greet(s, &Hello::renewal(&session)) {
            Some(client) => break client,
            None => assert!(quiet.elapsed() < PATIENCE, "the session does not come back"),
        }
    };
    assert_eq!(back.exists(s.path("fought"), false).unwrap().ephemeral_owner, session.id);
    back.close();
});

line!(m31_an_event_needs_the_right_to_read, DEFAULT, |s| {
    let (mut watcher, mut writer) = (s.open(), s.open());
    writer.log_in("m31:secret");
    let hidden = [acl(ALL, "auth", "")];
    watcher.add_watch(s.root.as_str(), 1).unwrap();
    writer.create_with(s.path("hidden"), b"", &hidden, 0).unwrap();
    writer.set(s.path("hidden"), b"x", -1).unwrap();
    writer.create(s.path("shown"), b"").unwrap();
    let seen: Vec<String> = watcher.briefs().into_iter().map(|(_, path)| path).collect();
    assert!(seen.contains(&s.path("shown")), "{seen:?}");
    assert!(!seen.contains(&s.path("hidden")), "{seen:?}");
});

line!(m32_reads_without_the_right_to_read, DEFAULT, |s| {
    let (mut stranger, mut owner) = (s.open(), s.open());
    owner.log_in("m32:secret");
    let path = s.path("mine");
    owner.create_with(&path, b"private", &[acl(ALL, "auth", "")], 0).unwrap();
    assert_eq!(stranger.get(&path, false).unwrap_err(), err::NO_AUTH);
    assert_eq!(stranger.children(&path, false).unwrap_err(), err::NO_AUTH);
    assert_eq!(stranger.acl(&path).unwrap_err(), err::NO_AUTH);
    owner.create_with(s.path("ephemeral"), b"", &world(ALL), 1).unwrap();
    assert_eq!(stranger.ephemerals(None), Ok(vec![]));
});

ours!(m37_nothing_counts_behind_a_close, DEFAULT, |s| {
    let mut witness = Witness::of(s);
    let mut client = s.open();
    let mut all = crate::support::client::request(1, op::CLOSE_SESSION, &[]);
    all.extend(crate::support::client::request(
        2,
        op::CREATE,
        &body::create(s.path("late"), None, &world(ALL), 0),
    ));
    all.extend(crate::support::client::request(3, op::CLOSE_SESSION, &[]));
    client.raw.send(&all);
    assert_eq!((client.reply().xid, client.raw.rest().len()), (1, 0));
    drop(client.abandon());
    assert_eq!(witness.client().exists(s.path("late"), false), Err(err::NO_NODE));
    witness.is_well();
});

line!(m40_words_that_are_not_enabled_are_refused_in_one_line, DEFAULT, |s| {
    for name in WORDS.into_iter().filter(|name| !["srvr", "stmk"].contains(name)) {
        assert_eq!(s.word(name), format!("{name} is not executed because it is not in the whitelist.\n"));
    }
});

ours!(m47_text_of_clients_is_one_escaped_line_in_the_log, OPEN, |s| {
    let mut witness = Witness::of(s);
    let scheme = "evil\n2026-01-01T00:00:00.000Z ERROR forged\x1b[31m";
    for scheme in [scheme.to_owned(), "x".repeat(60_000)] {
        let mut client = Client::open(s);
        client.add_auth(&scheme, Some(b"token")).expect_header(err::AUTH_FAILED);
        client.expect_close();
    }
    witness.is_well();
    let log = log_of(s);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("authentication failed")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        !log.contains("\nforged")
            && !log.contains('\x1b')
            && !log.lines().any(|l| l.starts_with("2026-01-01"))
    );
    assert!(lines.iter().all(|line| line.len() < 600), "{lines:?}");
});

line!(m48_auth_that_cannot_be_is_answered_and_closed, DEFAULT, |s| {
    let mut witness = Witness::of(s);
    for scheme in ["unknown", "", "super", "world"] {
        let mut client = Client::open(s);
        client.add_auth(scheme, Some(b"a:b")).expect_header(err::AUTH_FAILED);
        client.expect_close();
    }
    witness.is_well();
});

ours!(m48_at_most_16_identities_and_64_kib_of_token, DEFAULT, |s| {
    let mut witness = Witness::of(s);
    let mut client = Client::open(s);
    // The address is the first.
    for number in 1..16 {
        client.log_in(&format!("user{number}:password"));
    }
    client.log_in("user1:password");
    client.add_auth("digest", Some(b"user16:password")).expect_header(err::AUTH_FAILED);
    client.expect_close();
    let mut client = Client::open(s);
    client.add_auth("digest", Some(&[b'x'; (64 << 10) + 1])).expect_header(err::AUTH_FAILED);
    client.expect_close();
    witness.is_well();
});

line!(m49_guessing_makes_nobody_super, RICH, |s| {
    let mut witness = Witness::of(s);
    let path = s.path("locked");
    witness.client().log_in("m49:owner");
    witness.client().create_with(&path, b"", &[acl(ALL, "auth", "")], 0).unwrap();
    for guess in
        ["super:", "super:Admin", "super:admin ", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=", "Super:admin", ":"]
    {
        let mut client = Client::open(s);
        client.log_in(guess);
        assert_eq!(client.get(&path, false).unwrap_err(), err::NO_AUTH, "{guess}");
        client.close();
    }
    let mut client = Client::open(s);
    client.log_in(crate::SUPER);
    client.get(&path, false).unwrap();
    witness.is_well();
});

ours!(m49_an_address_that_guesses_is_shut_out_for_a_while, GUESSED, |s| {
    let mut inside = Client::open(s);
    inside.log_in(crate::SUPER);
    let guess = |number: u32| {
        let guess = format!("super:guess {number}");
        request(-4, op::AUTH, &out().int(0).str("digest").str(&guess).done())
    };
    let shuts_out = || {
        let mut guesser = Client::open(s);
        // In one go: what the server reads at once is of one second.
        let began = Instant::now();
        guesser.raw.send(&(0..10).flat_map(guess).collect::<Vec<u8>>());
        (0..10).for_each(|_| assert_eq!(guesser.reply().err, 0));
        // The right one too, and what is inside stays inside.
        let mut client = Client::open(s);
        client.send_as(-4, op::AUTH, &out().int(0).str("digest").str(crate::SUPER).done());
        match client.try_reply() {
            None => {
                drop(client.abandon());
                true
            }
            Some(_) => {
                // Ten seconds later it is over; a machine that took so long proves nothing.
                assert!(began.elapsed() >= Duration::from_secs(10), "the address is let in");
                false
            }
        }
    };
    assert!((0..20).any(|_| shuts_out()));
    Client::open(s).ping();
    inside.get("/", false).unwrap();
});

line!(m54_nothing_is_served_before_the_required_scheme, ENFORCED, |s| {
    for opcode in
        [op::CREATE, op::GET_DATA, op::PING, op::CLOSE_SESSION, op::MULTI, op::SET_WATCHES, op::WHO_AM_I]
    {
        let mut client = Client::open(s);
        client.call(opcode, &body::read("/", false)).expect_header(err::SASL_REQUIRED);
        client.expect_close();
    }
    let mut client = Client::open(s);
    client.log_in("somebody:password");
    client.get("/", false).unwrap();
});

/// A digest identity is asked of everyone.
/// With a super, and shut out without regard to other tests.
const GUESSED: Group = Group::Fresh(RICH_SETUP);

const ENFORCED: Group = Group::Fresh(Setup {
    keys: &[("enforce.auth.enabled", "true"), ("enforce.auth.schemes", "digest")],
    properties: &[],
});

ours!(m66_secrets_are_nowhere_in_what_the_server_says, TALKATIVE, |s| {
    let mut witness = Witness::of(s);
    let mut client = s.open();
    client.log_in(crate::SUPER);
    client.log_in("canary-user:canary-password");
    client.create_with(s.path("locked"), b"", &[acl(ALL, "auth", "")], 0).unwrap();
    client.get(s.path("locked"), true).unwrap();
    for (scheme, token) in [("canary-scheme", &b"canary-token"[..]), ("digest", &[0xff; 70_000])] {
        let mut failing = Client::open(s);
        failing.add_auth(scheme, Some(token)).expect_header(err::AUTH_FAILED);
        failing.expect_close();
    }
    // A broken auth packet around a credential.
    let mut broken = Client::open(s);
    broken.send_as(-4, op::AUTH, &out().int(0).str("digest").int(99).bytes(b"canary-token").done());
    broken.expect_close();
    let mut said: String =
        WORDS.into_iter().filter(|name| *name != "stmk").map(|name| word(s.address(), name)).collect();
    witness.is_well();
    client.close();
    drop(witness);
    s.terminate();
    said.push_str(&log_of(s));
    assert!(
        said.contains("canary-scheme") && said.contains("TRACE"),
        "what is said of a failed auth:\n{said}"
    );
    // The digests too: stored ones let their reader search for passwords at leisure.
    let secrets = ["xQJmxLMiHGwaqBvst5y6rkB6HQs", "super:admin", "canary-password", "canary-token"];
    for secret in secrets {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
});

/// All words, all lines of the log, and a super user.
const TALKATIVE: Group = Group::Fresh(Setup {
    keys: &[
        ("4lw.commands.whitelist", "*"),
        ("ringkeeper.logLevel", "trace"),
        ("DigestAuthenticationProvider.superDigest", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="),
    ],
    properties: &[],
});

/// All it wrote to its standard output and error.
fn log_of(server: &crate::support::server::Server) -> String {
    String::from_utf8_lossy(&std::fs::read(server.folder().join("log")).expect("its log")).into_owned()
}
