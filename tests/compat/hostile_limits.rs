#![forbid(unsafe_code)]
//! Reliability §6, M5, M13, M27, M29, M30, M33–M35, M41, M42, and §7: floods, and clients that do not read. What must pass beside
//! them is in DESIGN §8.

use super::hostile::{
    OPEN, Witness, connections, descriptors_allowed, grew_at_most, many_descriptors, ours, repeated,
    resident, silent, until,
};
use super::{Client, Scene};
use crate::support::client::{Part, body, err, flags, op, request};
use crate::support::jute::{In, acl, open};
use crate::support::raw::{Hello, Raw, Welcome};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Connections without a session that a server keeps (`SESSIONLESS_CONNECTIONS_MAX`).
const SESSIONLESS_MAX: usize = 16_384;

ours!(m05_2_000_silent_connections_beside_a_healthy_client, OPEN, |s| {
    let _turn = many_descriptors();
    let mut witness = Witness::of(s);
    let before = resident(s);
    let crowd = silent(s, 2_000);
    for _ in 0..5 {
        witness.is_well();
    }
    assert!(connections(s) >= 2_000);
    grew_at_most(s, before, 32);
    drop(crowd);
    until("their connections are counted out", || connections(s) <= 2);
});

ours!(m05_past_the_limit_the_oldest_silent_connection_makes_room, OPEN, |s| {
    const BEYOND: usize = 500;
    let _turn = many_descriptors();
    if descriptors_allowed() < SESSIONLESS_MAX + 2 * BEYOND {
        println!("not enough descriptors for {SESSIONLESS_MAX} connections");
        return;
    }
    let mut witness = Witness::of(s);
    let before = resident(s);
    let began = Instant::now();
    let mut crowd = silent(s, SESSIONLESS_MAX + BEYOND);
    println!("{} connections in {:?}", crowd.len(), began.elapsed());
    for oldest in &mut crowd[..BEYOND / 2] {
        oldest.expect_close();
    }
    // New clients come in as ever, and sessions go on.
    witness.is_well();
    let open = connections(s);
    assert!(open <= SESSIONLESS_MAX + 66, "{open} connections");
    let newest = crowd.last_mut().unwrap();
    newest.send_frame(&Hello::default().body());
    assert!(!Welcome::decode(&newest.frame().expect("an answer")).is_refusal());
    grew_at_most(s, before, 200);
    drop(crowd);
    witness.is_well();
});

ours!(m13_5_000_sessions_at_once_from_one_address, OPEN, |s| {
    const SESSIONS: usize = 5_000;
    let _turn = many_descriptors();
    let mut witness = Witness::of(s);
    let before = resident(s);
    let began = Instant::now();
    let mut crowd = silent(s, SESSIONS);
    let hello = Hello { timeout: 120_000, ..Hello::default() };
    for raw in &mut crowd {
        raw.send_frame(&hello.body());
    }
    let ids: BTreeSet<i64> =
        crowd.iter_mut().map(|raw| Welcome::decode(&raw.frame().expect("a session")).session.id).collect();
    println!("{SESSIONS} sessions in {:?}", began.elapsed());
    assert!(ids.len() == SESSIONS && !ids.contains(&0));
    for raw in &mut crowd {
        raw.send(&request(-2, op::PING, &[]));
    }
    assert!(crowd.iter_mut().all(|raw| raw.frame().is_some()));
    witness.is_well();
    grew_at_most(s, before, 96);
});

/// A client whose output lies unread, and what it asked for.
fn asks_and_never_reads(s: &Scene, timeout: i32, requests: &[u8]) -> (Client, Asking) {
    let client = Client::with_timeout(s, timeout);
    let (mut stream, requests) = (client.raw.stream(), requests.to_vec());
    // The server stops reading, and this write waits until the connection ends.
    let asking = std::thread::spawn(move || {
        let _closed_on_us = std::io::Write::write_all(&mut stream, &requests);
    });
    (client, asking)
}

type Asking = std::thread::JoinHandle<()>;

ours!(m34_a_pipeline_of_large_reads_that_nobody_takes_stays_small, OPEN, |s| {
    let mut witness = Witness::of(s);
    let large = s.path("large");
    witness.client().create(&large, &vec![7; 900_000]).unwrap();
    let before = resident(s);
    // 9 GB of answers, asked for in 400 KB.
    let (stuck, asking) =
        asks_and_never_reads(s, 3_000, &repeated(op::GET_DATA, &body::read(&large, false), 10_000));
    for _ in 0..5 {
        witness.is_well();
    }
    grew_at_most(s, before, 48);
    // It does not read, so it is not read either, and its session times out.
    until("the connection is closed", || connections(s) <= 2);
    asking.join().unwrap();
    grew_at_most(s, before, 48);
    drop(stuck.abandon());
    witness.is_well();
});

ours!(m34_reads_that_waited_for_a_write_are_answered_no_faster_than_they_are_taken, OPEN, |s| {
    let mut witness = Witness::of(s);
    let large = s.path("large");
    witness.client().create(&large, &vec![7; 900_000]).unwrap();
    let before = resident(s);
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.extend(request(1, op::SET_DATA, &body::set(s.root.as_str(), Some(b"x"), -1)));
        requests.extend(repeated(op::GET_DATA, &body::read(&large, false), 900));
    }
    let (mut slow, asking) = asks_and_never_reads(s, 60_000, &requests);
    for _ in 0..5 {
        witness.is_well();
    }
    grew_at_most(s, before, 48);
    // Whoever begins to read finds every answer, in order.
    for xid in std::iter::once(1).chain(1..=900) {
        let reply = slow.reply();
        assert_eq!((reply.xid, reply.err), (xid, 0));
    }
    grew_at_most(s, before, 48);
    drop(slow.raw.stream().shutdown(std::net::Shutdown::Both));
    drop(slow.abandon());
    asking.join().unwrap();
    witness.is_well();
});

ours!(m34_output_that_nobody_takes_is_given_up_and_the_session_stays, OPEN, |s| {
    let mut witness = Witness::of(s);
    let large = s.path("large");
    witness.client().create(&large, &vec![7; 900_000]).unwrap();
    let began = Instant::now();
    let (stuck, asking) =
        asks_and_never_reads(s, 120_000, &repeated(op::GET_DATA, &body::read(&large, false), 1_000));
    until("the connection is closed", || {
        witness.client().ping();
        connections(s) <= 2
    });
    asking.join().unwrap();
    println!("given up after {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(25));
    Client::resume(s, &stuck.abandon()).close();
    witness.is_well();
});

ours!(m36_megabytes_of_pipelined_writes_are_taken_as_fast_as_the_disk_does, OPEN, |s| {
    const CLIENTS: usize = 8;
    const WRITES: i32 = 60;
    let mut witness = Witness::of(s);
    let before = resident(s);
    let askers: Vec<(Client, Asking)> = (0..CLIENTS)
        .map(|number| {
            let path = s.path(&format!("large{number}"));
            witness.client().create(&path, b"").unwrap();
            let set = body::set(&path, Some(&vec![7; 1_000_000]), -1);
            asks_and_never_reads(s, 120_000, &repeated(op::SET_DATA, &set, WRITES))
        })
        .collect();
    witness.is_well();
    grew_at_most(s, before, 300);
    for (mut client, asking) in askers {
        for xid in 1..=WRITES {
            let reply = client.reply();
            assert_eq!((reply.xid, reply.err), (xid, 0));
            witness.client().ping();
        }
        asking.join().unwrap();
    }
    witness.is_well();
    grew_at_most(s, before, 300);
});

ours!(m30_a_watcher_that_never_reads_is_closed_at_16_mib_of_events, OPEN, |s| {
    const CHANGES: i32 = 1_000;
    let (mut writer, mut witness) = (s.open(), Witness::of(s));
    let long = s.path(&"n".repeat(60_000));
    writer.create(&long, b"").unwrap();
    let mut watcher = s.open_with(120_000);
    watcher.add_watch(s.root.as_str(), 1).unwrap();
    let before = resident(s);
    for _ in 0..CHANGES / 50 {
        writer.raw.send(&repeated(op::SET_DATA, &body::set(&long, Some(b""), -1), 50));
        for _ in 0..50 {
            assert_eq!(writer.reply().err, 0);
        }
        witness.is_well();
    }
    // 60 MB of events: some in the kernel, 16 MiB here, and then no more.
    grew_at_most(s, before, 64);
    let read = watcher.raw.rest().len();
    println!("{read} bytes of events came before the close");
    assert!(read < 50_000_000);
    drop(watcher.abandon());
    witness.is_well();
});

ours!(m30_a_watcher_that_reads_is_not_closed_however_much_it_is_told, OPEN, |s| {
    const CHANGES: usize = 600;
    let mut writer = s.open();
    let long = s.path(&"n".repeat(60_000));
    writer.create(&long, b"").unwrap();
    let mut watcher = s.open_with(120_000);
    watcher.add_watch(s.root.as_str(), 1).unwrap();
    for _ in 0..CHANGES {
        writer.set(&long, b"", -1).unwrap();
        watcher.event();
    }
    watcher.ping();
});

ours!(m30_many_watches_are_set_and_given_back, OPEN, |s| {
    let mut witness = Witness::of(s);
    let before = resident(s);
    let none: [&str; 0] = [];
    for _ in 0..3 {
        let mut watcher = s.open();
        for batch in 0..10 {
            let paths: Vec<String> = (0..20_000).map(|n| s.path(&format!("w{batch}-{n}"))).collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            watcher.set_watches(watcher.zxid, &none, &paths, &none).expect_header(0);
        }
        witness.is_well();
        watcher.close();
    }
    until("every watch is given back", || s.word("wchs").contains("Total watches:0"));
    grew_at_most(s, before, 128);
});

ours!(m35_floods_of_pings_and_syncs_are_answered_one_by_one, OPEN, |s| {
    const COUNT: i32 = 100_000;
    let mut witness = Witness::of(s);
    let before = resident(s);
    let ping = request(-2, op::PING, &[]).repeat(COUNT as usize);
    let sync = repeated(op::SYNC, &crate::support::jute::out().str("/").done(), COUNT);
    let mut flooders = [asks_and_never_reads(s, 60_000, &ping), asks_and_never_reads(s, 60_000, &sync)];
    witness.is_well();
    for (client, _) in &mut flooders {
        for _ in 0..COUNT {
            assert_eq!(client.reply().err, 0);
        }
    }
    flooders.into_iter().for_each(|(_, asking)| asking.join().unwrap());
    grew_at_most(s, before, 48);
    witness.is_well();
});

/// A client that `auth` in an ACL makes 975 KB of.
fn of_fifteen_large_identities(s: &Scene) -> Client {
    let mut client = s.open();
    for n in 0..15 {
        client.log_in(&format!("{n}{}:password", "u".repeat(65_000)));
    }
    client
}

ours!(m27_a_multi_that_the_log_could_not_take_is_refused, super::FRESH, |s| {
    let mut witness = Witness::of(s);
    let mut client = of_fifteen_large_identities(s);
    let before = resident(s);
    let auth = [acl(31, "auth", "")];
    // 78 MB of ACLs, asked for in 4 KB; and as much again in the middle of what would have been done or refused anyhow.
    let create = |n| Part(op::CREATE, body::create(s.path(&format!("x{n}")), Some(b""), &auth, 0));
    let creates: Vec<Part> = (0..80).map(create).collect();
    let mut mixed = vec![Part::create(s.path("first"), b"", flags::EPHEMERAL_SEQUENTIAL)];
    mixed.extend((0..80).map(create));
    mixed.push(Part::delete(s.path("none"), -1));
    for parts in [&creates, &mixed] {
        let zxid = witness.client().sync("/").map(|_| witness.client().zxid);
        assert_eq!(client.multi(parts).map(|_| ()), Err(err::MARSHALLING));
        assert_eq!(Ok(client.zxid), zxid.map(|zxid| zxid + 1), "it took its place all the same");
        witness.is_well();
    }
    assert_eq!(witness.client().children(s.root.as_str(), false), Ok(vec![]));
    grew_at_most(s, before, 24);
    // One of them is a request like any other, by itself and in a multi.
    client.create_with(s.path("one"), b"", &auth, 0).unwrap();
    client.set_acl(s.path("one"), &auth, 0).unwrap();
    client.multi(&creates[..1]).unwrap();
    let stored = client.acl(s.path("x0")).unwrap().0;
    assert_eq!(stored.len(), 15);
    s.kill();
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));
    let mut client = of_fifteen_large_identities(s);
    assert_eq!(client.count_below(s.root.as_str()), Ok(2));
    assert_eq!(client.acl(s.path("x0")).unwrap().0, stored);
    assert_eq!(client.multi(&creates[1..]).map(|_| ()), Err(err::MARSHALLING));
});

ours!(m27_a_session_ends_whose_paths_the_log_could_not_take, OPEN, |s| {
    const LARGE: usize = 70;
    let mut witness = Witness::of(s);
    // One that is closed, and one whose end comes with the restart.
    let mut owner = s.open();
    for n in 0..LARGE {
        let path = s.path(&format!("{n}{}", "x".repeat(1_000_000)));
        owner.create_with(path, b"", &open(), flags::EPHEMERAL).unwrap();
    }
    let mut expires = s.open();
    for n in 0..3 {
        let path = s.path(&format!("expires{n}{}", "x".repeat(1_000_000)));
        expires.create_with(path, b"", &open(), flags::EPHEMERAL).unwrap();
    }
    assert_eq!(owner.close().err, 0);
    assert!(witness.client().count_below(s.root.as_str()).unwrap() <= 3);
    witness.is_well();
    s.kill();
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));
    drop(expires.shortened(s, 2_000).abandon());
    let mut client = Client::open(s);
    until("the other session has ended", || client.count_below(s.root.as_str()) == Ok(0));
    client.create(s.path("after"), b"").unwrap();
    s.kill();
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(Client::open(s).count_below(s.root.as_str()), Ok(1));
});

ours!(m29_50_000_ephemerals_end_with_their_session, OPEN, |s| {
    let mut witness = Witness::of(s);
    let mut owner = s.open_with(60_000);
    for batch in 0..25 {
        let creates: Vec<Part> = (0..2_000)
            .map(|n| Part::create(s.path(&format!("e{batch}-{n}")), b"", flags::EPHEMERAL))
            .collect();
        owner.multi(&creates).unwrap();
    }
    assert_eq!(witness.client().count_below(s.root.as_str()), Ok(50_000));
    owner.close();
    assert_eq!(witness.client().count_below(s.root.as_str()), Ok(0));
    witness.is_well();
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(Client::open(s).count_below(s.root.as_str()), Ok(0));
});

ours!(m34_answers_that_grow_behind_a_write_of_their_own_stay_bounded, OPEN, |s| {
    let mut witness = Witness::of(s);
    let path = s.path("grows");
    witness.client().create(&path, b"").unwrap();
    let before = resident(s);
    // 900 MB of answers, were the reads taken for as short as their znode is when they come.
    let mut silent = Client::open(s);
    let (large, small) = (body::set(&path, Some(&vec![7; 1_000_000]), -1), body::set(&path, Some(b""), -1));
    let mut all = request(1, op::SET_DATA, &large);
    all.extend((2..902).flat_map(|xid| request(xid, op::GET_DATA, &body::read(&path, false))));
    all.extend(request(902, op::SET_DATA, &small));
    silent.raw.send(&all);
    // The write is there once somebody sees it.
    while witness.client().get(&path, false).unwrap().1.version == 0 {}
    (0..20).for_each(|_| witness.is_well());
    grew_at_most(s, before, 48);
    // Each answer comes, and each is of its place.
    for xid in 1..=902 {
        let reply = silent.reply();
        assert_eq!((reply.xid, reply.err), (xid, 0));
        if (2..902).contains(&xid) {
            assert_eq!(In(&reply.body).bytes().len(), 1_000_000);
        }
    }
});

ours!(m41_a_flood_of_words_disturbs_nobody, OPEN, |s| {
    const ASKERS: usize = 300;
    let _turn = many_descriptors();
    let mut witness = Witness::of(s);
    let mut watcher = s.open();
    let paths: Vec<String> = (0..10_000).map(|n| s.path(&format!("watched-{n}"))).collect();
    let (none, paths): ([&str; 0], Vec<&str>) = ([], paths.iter().map(String::as_str).collect());
    watcher.set_watches(watcher.zxid, &none, &paths, &none).expect_header(0);
    let before = resident(s);
    for word in ["wchp", "wchc", "dump", "cons", "mntr", "envi", "conf", "crst", "srst", "wchs"] {
        let mut askers: Vec<Raw> = silent(s, ASKERS);
        askers.iter_mut().for_each(|asker| asker.send(word.as_bytes()));
        witness.is_well();
        let answers: Vec<Vec<u8>> = askers.iter_mut().map(Raw::rest).collect();
        assert!(answers.iter().all(|answer| !answer.is_empty()), "{word}");
        witness.is_well();
    }
    grew_at_most(s, before, 160);
});

ours!(m42_a_word_whose_answer_nobody_reads_is_closed_after_five_seconds, OPEN, |s| {
    const WATCHES: usize = 30_000;
    let mut witness = Witness::of(s);
    let mut watcher = s.open_with(120_000);
    let none: [&str; 0] = [];
    // 24 MB of paths: more than the kernel takes.
    for batch in 0..30 {
        let paths: Vec<String> =
            (0..WATCHES / 30).map(|n| s.path(&format!("{batch}-{n}{}", "n".repeat(800)))).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        watcher.set_watches(watcher.zxid, &none, &paths, &none).expect_header(0);
    }
    let mut deaf: Vec<Raw> = silent(s, 4);
    let began = Instant::now();
    deaf.iter_mut().for_each(|raw| raw.send(b"wchp"));
    witness.is_well();
    until("they are closed", || connections(s) <= 3);
    println!("closed after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_millis(4_500));
    watcher.ping();
    witness.is_well();
});

ours!(m05_half_a_word_and_half_a_mask_wait_no_longer_than_silence, SHORT, |s| {
    let mut witness = Witness::of(s);
    for half in [&b"s"[..], b"srv", b"stmk", b"stmk\0\0\0\0"] {
        let began = Instant::now();
        let mut raw = Raw::connect(s.address());
        raw.send(half);
        raw.expect_close();
        assert!(began.elapsed() >= Duration::from_millis(500), "{half:?} is closed at once");
    }
    witness.is_well();
});

/// As [`OPEN`], and silence is short.
const SHORT: super::Group = super::Group::Fresh(super::Setup {
    keys: &[("nio.sessionlessCnxnTimeout", "500"), ("4lw.commands.whitelist", "*")],
    properties: &[],
});

ours!(m33_a_listing_that_nobody_takes_is_one_listing, OPEN, |s| {
    let mut witness = Witness::of(s);
    for batch in 0..20 {
        let creates: Vec<Part> = (0..1_000)
            .map(|n| {
                Part::create(s.path(&format!("{batch}-{n}-{}", "n".repeat(400))), b"", flags::PERSISTENT)
            })
            .collect();
        witness.client().multi(&creates).unwrap();
    }
    let before = resident(s);
    // 8 MB each, a hundred times.
    let (stuck, asking) =
        asks_and_never_reads(s, 3_000, &repeated(op::GET_CHILDREN, &body::read(s.root.as_str(), false), 100));
    witness.is_well();
    grew_at_most(s, before, 64);
    asking.join().unwrap();
    until("it is closed", || connections(s) <= 2);
    drop(stuck.abandon());
    witness.client().create_with(s.path("last"), b"", &open(), 0).unwrap();
    witness.is_well();
});

/// As [`OPEN`], and snapshots come soon.
const SNAPSHOTS: super::Group = super::Group::Fresh(super::Setup {
    keys: &[("maxClientCnxns", "0"), ("snapCount", "100"), ("4lw.commands.whitelist", "*")],
    properties: &[],
});

ours!(f26_clients_leave_descriptors_for_the_log_and_its_snapshots, SNAPSHOTS, |s| {
    const DESCRIPTORS: usize = 300;
    let allow = |count: usize| {
        let pid = s.pid().expect("a server that runs").to_string();
        let limit = format!("--nofile={count}:");
        let status = std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(status.expect("prlimit").success());
    };
    let mut witness = Witness::of(s);
    allow(DESCRIPTORS);
    let mut crowd = silent(s, DESCRIPTORS);
    // Half of so few are the clients'.
    for refused in &mut crowd[DESCRIPTORS / 2..] {
        refused.expect_close();
    }
    // Room for a word.
    crowd.truncate(DESCRIPTORS / 2 - 2);
    let path = s.path("counter");
    witness.client().create(&path, b"").unwrap();
    until("a snapshot is written, and none fails", || {
        for _ in 0..50 {
            witness.client().set(&path, &[7; 1_000], -1).unwrap();
        }
        let said = s.word("mntr");
        assert!(said.contains("zk_snapshot_error_count\t0\n"), "{said}");
        !said.contains("zk_cnt_snapshottime\t0\n")
    });
    assert!(s.said().contains("connection refused: few descriptors are left"), "{}", s.said());
    // It can be mended while the server runs.
    let full: Vec<Raw> = silent(s, DESCRIPTORS);
    allow(4 * DESCRIPTORS);
    witness.is_well();
    drop((crowd, full));
    witness.is_well();
});
