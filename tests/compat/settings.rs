#![forbid(unsafe_code)]
//! Settings whose effect is ours alone, or shows on the disk, on a running server of ours.

use super::hostile::{ours, until};
use super::{Group, Scene, Setup};
use crate::support::client::{Client, Part, body, err, flags, op, request};
use crate::support::jute::{open, out};
use crate::support::raw::{Got, Hello, Raw};
use std::time::{Duration, Instant};

/// Sizes of the files of the data folder whose name begins so.
fn files(s: &Scene, beginning: &str) -> Vec<u64> {
    let folder = s.folder().join("data").join("ringkeeper-1");
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning))
        // A file may go between the listing and the look.
        .filter_map(|entry| entry.metadata().ok().map(|data| data.len()))
        .collect()
}

/// The snapshots that are whole.
fn snapshots(s: &Scene) -> Vec<std::path::PathBuf> {
    let folder = s.folder().join("data").join("ringkeeper-1");
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "rks")).collect()
}

fn write(client: &mut Client, times: usize, bytes: usize) {
    for _ in 0..times {
        client.send(op::SET_DATA, &body::set("/t", Some(&vec![7; bytes]), -1));
    }
    (0..times).for_each(|_| assert_eq!(client.reply().err, 0));
}

ours!(
    s01_the_log_rolls_and_a_snapshot_comes_where_the_sizes_say,
    Group::Fresh(Setup {
        keys: &[("txnLogSizeLimitInKb", "100"), ("snapSizeLimitInKb", "2000"), ("jute.maxbuffer", "8192")],
        properties: &[],
    }),
    |s| {
        let mut client = Client::open(s);
        client.create("/t", b"").unwrap();
        write(&mut client, 200, 4_000);
        // 800 KB: below half of what calls for a snapshot, and eight files of the log.
        assert_eq!(files(s, "snapshot-"), [0; 0]);
        let segments = files(s, "wal-");
        assert!(segments.len() > 8, "{segments:?}");
        assert!(segments.iter().all(|bytes| *bytes <= 100 << 10), "{segments:?}");
        write(&mut client, 400, 4_000);
        until("2.4 MB have called for a snapshot", || !files(s, "snapshot-").is_empty());
        drop(client);
        s.restart().unwrap();
        assert_eq!(Client::open(s).exists("/t", false).unwrap().version, 600);
    }
);

ours!(
    s02_a_timed_purge_removes_snapshots_that_earlier_starts_have_left,
    Group::Fresh(Setup { keys: &[("snapCount", "100"), ("autopurge.purgeInterval", "1")], properties: &[] }),
    |s| {
        let mut client = Client::open(s);
        client.create("/t", b"").unwrap();
        until("a snapshot", || {
            write(&mut client, 50, 10);
            !snapshots(s).is_empty()
        });
        let oldest = snapshots(s).into_iter().min().unwrap();
        let kept = std::fs::read(&oldest).unwrap();
        until("newer snapshots push the first one out", || {
            write(&mut client, 50, 10);
            !oldest.exists()
        });
        drop(client);
        s.kill();
        std::fs::write(&oldest, &kept).unwrap();
        // A start that finds one too many removes it, with no write and no snapshot of its own.
        s.restart().unwrap();
        until("the purge at the start", || !oldest.exists());
        assert!(snapshots(s).len() >= 3);
    }
);

// Found by 200 SIGKILLs in a row: each life wrote a snapshot or two, read back as many, and removed none: 139 of them.
ours!(
    s02b_a_server_that_is_killed_often_keeps_no_more_snapshots_than_it_should,
    Group::Fresh(Setup { keys: &[("snapCount", "100")], properties: &[] }),
    |s| {
        Client::open(s).create("/t", b"").unwrap();
        for life in 1..=6 {
            let mut client = Client::open(s);
            let newest = snapshots(s).into_iter().max();
            until("a snapshot of this life", || {
                write(&mut client, 50, 10);
                snapshots(s).into_iter().max() > newest
            });
            drop(client);
            s.kill();
            s.restart().unwrap_or_else(|error| panic!("life {life}: {error}"));
        }
        until("what is too many is gone", || snapshots(s).len() == 3);
    }
);

ours!(
    s03_requests_beyond_a_bound_are_refused_in_their_turn_and_syncs_wait,
    Group::Fresh(Setup {
        keys: &[
            ("4lw.commands.whitelist", "*"),
            ("ringkeeper.maxMultiOps", "2"),
            ("ringkeeper.maxPathBytes", "20"),
            ("ringkeeper.maxPathDepth", "3"),
            ("ringkeeper.maxSyncs", "1"),
        ],
        properties: &[],
    }),
    |s| {
        let mut client = Client::open(s);
        client.create("/t", b"").unwrap();
        let set = || Part(op::SET_DATA, body::set("/t", Some(b""), -1));
        assert_eq!(client.multi(&[set(), set()]).unwrap().len(), 2);
        assert_eq!(client.multi(&[set(), set(), set()]), Err(err::BAD_ARGUMENTS));
        let path = format!("/t/{}", "x".repeat(17));
        assert_eq!(client.create(&path, b""), Ok(path));
        assert_eq!(client.create(format!("/t/{}", "x".repeat(18)), b""), Err(err::BAD_ARGUMENTS));
        assert_eq!(client.exists("/t/a/b", false), Err(err::NO_NODE));
        assert_eq!(client.exists("/t/a/b/c", false), Err(err::BAD_ARGUMENTS));
        // Refused behind what is on its way, and ahead of what comes after; the multi of three changed nothing.
        let sent = [
            client.send(op::SET_DATA, &body::set("/t", Some(b"1"), 2)),
            client.send(op::SET_DATA, &body::set("/t/a/b/c", Some(b""), -1)),
            client.send(op::SET_DATA, &body::set("/t", Some(b"2"), 3)),
        ];
        let replies = sent.map(|_| client.reply());
        assert_eq!(replies.each_ref().map(|reply| reply.xid), sent);
        assert_eq!(replies.each_ref().map(|reply| reply.err), [0, err::BAD_ARGUMENTS, 0]);
        // One sync at a time: all are answered, and some waited.
        let mut other = Client::open(s);
        let sync = out().str("/t").done();
        // In one go, so that the second is there before the first can be answered.
        other.raw.send(&crate::hostile::repeated(op::SYNC, &sync, 200));
        for _ in 0..200 {
            client.send(op::SET_DATA, &body::set("/t", Some(b""), -1));
            client.send(op::SYNC, &sync);
        }
        (0..400).for_each(|_| assert_eq!(client.reply().err, 0));
        (0..200).for_each(|_| assert_eq!(other.reply().err, 0));
        assert!(!s.word("mntr").contains("zk_request_throttle_wait_count\t0\n"), "none has waited");
    }
);

/// What a limit of `max` a second lets through at most in the time since `began`, however its seconds fall.
fn at_most(max: u64, began: Instant) -> u64 {
    max * (began.elapsed().as_secs() + 2)
}

ours!(
    s04_sessions_and_words_that_come_too_fast_are_closed,
    Group::Fresh(Setup {
        keys: &[("ringkeeper.maxSessionCreationsPerSecond", "3"), ("ringkeeper.maxWordsPerSecond", "4")],
        properties: &[],
    }),
    |s| {
        let began = Instant::now();
        let clients: Vec<Client> = (0..100).filter_map(|_| Client::greet(s, &Hello::default())).collect();
        let admitted = clients.len() as u64;
        assert!((3..=at_most(3, began)).contains(&admitted), "{admitted} in {:?}", began.elapsed());
        // Renewals are not creations.
        for client in clients {
            let session = client.abandon();
            Client::resume(s, &session).ping();
        }
        let began = Instant::now();
        let answered = (0..100).filter(|_| s.word("srvr").contains("Mode: standalone")).count() as u64;
        assert!((1..=at_most(4, began)).contains(&answered), "{answered} in {:?}", began.elapsed());
    }
);

ours!(
    s05_one_address_has_so_many_sessions_a_second_and_connections_without_one,
    Group::Fresh(Setup {
        keys: &[
            ("ringkeeper.maxSessionCreationsPerSecondPerAddress", "3"),
            ("ringkeeper.maxSessionlessPerAddress", "2"),
            // Those two stay while the machine is busy.
            ("nio.sessionlessCnxnTimeout", "300000"),
        ],
        properties: &[],
    }),
    |s| {
        let began = Instant::now();
        let clients: Vec<Client> = (0..50).filter_map(|_| Client::greet(s, &Hello::default())).collect();
        let admitted = clients.len() as u64;
        assert!((3..=at_most(3, began)).contains(&admitted), "{admitted} in {:?}", began.elapsed());
        let session = clients.into_iter().next().unwrap().abandon();
        // Those that are refused show it; the others say nothing.
        let mut crowd: Vec<Raw> = Vec::new();
        until("all but two of ten are closed", || {
            crowd.clear();
            crowd.extend((0..10).map(|_| Raw::connect(s.address())));
            crowd.retain_mut(|raw| matches!(raw.frame_within(Duration::from_secs(1)), Got::Nothing));
            crowd.len() == 2
        });
        assert!(Client::greet(s, &Hello::renewal(&session)).is_none(), "there is no room");
        drop(crowd);
        until("there is room again", || Client::greet(s, &Hello::renewal(&session)).is_some());
    }
);

/// The number behind `key` in a word's answer.
fn number(s: &Scene, word: &str, key: &str) -> u64 {
    let said = s.word(word);
    let line = said.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key} in {said}")).trim().parse().unwrap()
}

ours!(
    s06_answers_that_a_client_does_not_take_fill_no_place_of_others,
    Group::Fresh(Setup {
        keys: &[("4lw.commands.whitelist", "*"), ("request_throttle_max_requests", "5")],
        properties: &[],
    }),
    |s| {
        let (mut silent, mut other) = (Client::open(s), Client::open(s));
        silent.create("/t", &[7; 900_000]).unwrap();
        other.create("/u", b"").unwrap();
        // Reads behind a write wait in the queue; once the write is done, they wait for their client to read.
        let set = body::set("/u", Some(b""), -1);
        let mut burst = Vec::new();
        for xid in (1000..1300).step_by(10) {
            burst.extend(request(xid, op::SET_DATA, &set));
            (1..10)
                .for_each(|read| burst.extend(request(xid + read, op::GET_DATA, &body::read("/t", false))));
        }
        silent.raw.send(&burst);
        // A disk that pauses lets them stand still for a while too, and then they are what waited.
        let leaves_four_of_five_places = || {
            let mut seen = Vec::new();
            until("its requests stand still", || {
                seen.push(number(s, "mntr", "zk_outstanding_requests"));
                seen.last_chunk::<10>().is_some_and(|last| last[0] >= 2 && last.iter().all(|n| *n == last[0]))
            });
            let waited = number(s, "mntr", "zk_request_throttle_wait_count");
            let burst: Vec<u8> = (2000..2004).flat_map(|xid| request(xid, op::SET_DATA, &set)).collect();
            for _ in 0..10 {
                other.raw.send(&burst);
                (0..4).for_each(|_| assert_eq!(other.reply().err, 0));
            }
            number(s, "mntr", "zk_request_throttle_wait_count") == waited
        };
        assert!(std::iter::repeat_with(leaves_four_of_five_places).take(20).any(|is_so| is_so));
        for xid in 1000..1300 {
            let reply = silent.reply();
            assert_eq!((reply.xid, reply.err), (xid, 0));
        }
    }
);

/// What grows the state gets `code`; everything else goes on.
fn only_growth_is_refused(s: &Scene, code: i32) {
    let mut client = Client::open(s);
    assert_eq!(client.create("/more", b"x"), Err(code));
    assert_eq!(client.create_with("/more", b"", &open(), flags::EPHEMERAL), Err(code));
    assert_eq!(client.set("/", b"more", -1).unwrap_err(), code);
    assert_eq!(client.set_acl("/", &open(), -1).unwrap_err(), code);
    let grows = [Part::check("/", -1), Part::create("/more", b"", flags::PERSISTENT)];
    assert_eq!(client.multi(&grows).unwrap_err(), code);
    // Deletes pass, alone and in a multi: there is nothing to delete here.
    assert_eq!(client.delete("/none", -1), Err(err::NO_NODE));
    assert!(client.multi(&[Part::check("/", -1), Part::delete("/none", -1)]).is_ok());
    assert!(client.exists("/", true).is_ok());
    assert_eq!(client.sync("/").as_deref(), Ok("/"));
    let zxid = client.zxid;
    assert_eq!(client.create("/more", b"x"), Err(code));
    assert_eq!(client.zxid, zxid + 1, "it takes its place in the order");
    client.close();
}

ours!(
    s07_f11_a_disk_with_too_little_room_puts_off_what_grows_the_state,
    Group::Fresh(Setup { keys: &[("ringkeeper.minFreeDiskMb", "2147483647")], properties: &[] }),
    |s| {
        only_growth_is_refused(s, -127);
        until("the reason is said", || s.said().contains("of disk are left, fewer than 2147483647"));
    }
);

ours!(
    s08_f25_a_memory_budget_that_is_spent_refuses_what_grows_the_state,
    Group::Fresh(Setup { keys: &[("ringkeeper.maxMemoryMb", "1")], properties: &[] }),
    |s| {
        only_growth_is_refused(s, err::QUOTA_EXCEEDED);
        until("the reason is said", || s.said().contains("raise ringkeeper.maxMemoryMb"));
    }
);
