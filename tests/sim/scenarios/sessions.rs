#![forbid(unsafe_code)]
//! Sessions: who has one, for how long, and what is done in its name.

use ringkeeper::base::SessionId;
use ringkeeper::pipeline::acl::Identities;
use ringkeeper::runtime::messages::Serving;
use ringkeeper::wire::jute::Writer;
use ringkeeper::wire::{Acl, ErrorCode, Id, OpCode, encode_acls};

use crate::cluster::Cluster;
use crate::guest::Heard;
use crate::workload::create_as;

const EPHEMERAL: i32 = 1;
const TICK_MS: u64 = 100;
/// Longer than any story.
pub(super) const LONG_MS: u32 = 120_000;

pub(super) fn node(path: &str, flags: i32) -> Vec<u8> {
    let mut body = Vec::new();
    create_as(path, b"", flags, &mut body);
    body
}

impl Cluster {
    /// Whether a server's tree has it.
    pub(super) fn has(&self, at: usize, path: &str) -> bool {
        let server = self.nodes[at].server.as_ref().expect("it runs");
        server.reader.pin().find(path.as_bytes()).is_some()
    }

    /// Lets time pass, with a word of each guest's client every so often.
    fn keep(&mut self, guests: &[usize], ms: u64, every_ms: u64) {
        for _ in 0..ms / every_ms {
            guests.iter().for_each(|guest| self.touch(*guest));
            self.for_ms(every_ms);
        }
    }

    /// Whether the session is one, asked at each server that serves.
    fn is_open_everywhere(&mut self, session: SessionId, timeout_ms: u32) -> bool {
        let mut answers = Vec::new();
        for at in 0..self.nodes.len() {
            let guest = self.greet(at, session, timeout_ms);
            self.until("an answer", |cluster| !cluster.guests[guest].heard.is_empty());
            answers.push(self.guests[guest].heard[0]);
        }
        assert!(answers.iter().all(|answer| answer == &answers[0]), "servers disagree: {answers:?}");
        answers[0] == Heard::Attached
    }

    /// A server of each role.
    fn roles(&self) -> [usize; 3] {
        let is = |serving| self.nodes.iter().position(|node| node.serving == serving).expect("one of each");
        [self.leader().expect("a leader"), is(Serving::Following), is(Serving::Observing)]
    }

    /// A client goes on trying until it has its session on this server, as clients do.
    fn renew(&mut self, at: usize, session: SessionId, timeout_ms: u32) -> usize {
        loop {
            let guest = self.greet(at, session, timeout_ms);
            self.until("an answer", |cluster| !cluster.guests[guest].heard.is_empty());
            if self.guests[guest].is_attached() {
                return guest;
            }
            assert!(!self.guests[guest].heard.contains(&Heard::Refused), "a session that is one is refused");
            self.for_ms(TICK_MS);
        }
    }

    fn wait_for_answers(&mut self, guest: usize) {
        self.until("every answer", |cluster| cluster.guests[guest].is_answered());
    }
}

/// Ephemerals are made while their session ends, by its own word or because its time is over, on a server of each role
/// (ZOOKEEPER-1208, -1496): none is left, and none is made after the end.
pub(super) fn s50_ephemeral_vs_close(is_told: bool) {
    for role in 0..3 {
        // By its own word, with requests before and behind it.
        for before in 0..6 {
            let mut cluster = Cluster::calm(50_000 + before, 3, 1, is_told);
            cluster.until_serving();
            let guest = {
                let at = cluster.roles()[role];
                cluster.guest(at, LONG_MS)
            };
            let session = cluster.guests[guest].session;
            let asked: Vec<u64> = (0..before)
                .map(|n| cluster.ask(guest, OpCode::Create, node(&format!("/b{n}"), EPHEMERAL)))
                .collect();
            let close = cluster.ask(guest, OpCode::CloseSession, Vec::new());
            for n in 0..3 {
                cluster.ask(guest, OpCode::Create, node(&format!("/a{n}"), EPHEMERAL));
            }
            cluster.wait_for_answers(guest);
            let said = &cluster.guests[guest];
            assert!(
                asked.iter().chain([&close]).all(|number| said.err(*number) == Some(0)),
                "{:?}",
                said.heard
            );
            let late = (close + 1..close + 4).map(|number| said.err(number));
            let expired = Some(ErrorCode::SessionExpired.code());
            assert!(late.into_iter().all(|err| err.is_none() || err == expired), "{:?}", said.heard);
            cluster.leaves_nothing(session);
        }
        // Because its time is over: nobody says that its client was heard of.
        for every_ms in [3, 10, 25] {
            let mut cluster = Cluster::calm(50_100 + every_ms, 3, 1, is_told);
            cluster.until_serving();
            let guest = {
                let at = cluster.roles()[role];
                cluster.guest(at, 400)
            };
            let session = cluster.guests[guest].session;
            let began = cluster.time.ms();
            for number in 0..2_000 / every_ms {
                if role == 0 && cluster.time.ms() - began >= 600 {
                    // Where it is attached to the leader its shard keeps the clock.
                    cluster.expire(guest);
                }
                if !cluster.guests[guest].is_attached() {
                    break;
                }
                cluster.ask(guest, OpCode::Create, node(&format!("/e{number}"), EPHEMERAL));
                cluster.for_ms(every_ms);
            }
            assert!(!cluster.guests[guest].is_attached(), "it outlives its time");
            cluster.leaves_nothing(session);
        }
    }
}

impl Cluster {
    /// The session is over everywhere, and nothing of it is left.
    fn leaves_nothing(mut self, session: SessionId) {
        self.set_asking(false);
        self.for_ms(1_000);
        assert!(!self.is_open_everywhere(session, LONG_MS), "it is still open");
        for node in &self.nodes {
            let view = node.server.as_ref().expect("it runs").reader.pin();
            let root = view.find(b"/").expect("there is a root");
            let left = root.children().map(|name| format!("/{}", String::from_utf8_lossy(name)));
            let owned =
                left.filter(|path| view.find(path.as_bytes()).expect("listed").stored_owner() == session.0);
            let owned: Vec<String> = owned.collect();
            assert!(owned.is_empty(), "{:?} still has {owned:?}", node.id);
        }
        self.set_asking(true);
        self.finish();
    }
}

/// A client only reads, on a follower or an observer, for ten times its timeout, with a new leader in the middle: its
/// session lives. Then it is silent, and its session ends, not before its timeout and within two ticks of it.
pub(super) fn s51_read_only_client(is_told: bool) {
    const TIMEOUT_MS: u32 = 1_000;
    for role in 1..3 {
        for kills in [false, true] {
            let mut cluster = Cluster::calm(51_000 + role as u64, 3, 1, is_told);
            let leader = cluster.until_serving();
            let at = cluster.roles()[role];
            let mut guest = cluster.guest(at, TIMEOUT_MS);
            cluster.ask(guest, OpCode::Create, node("/alive", EPHEMERAL));
            cluster.wait_for_answers(guest);
            cluster.keep(&[guest], 5 * u64::from(TIMEOUT_MS), 300);
            if kills {
                cluster.crash(leader, false);
                cluster.starts_after(leader, 500);
                cluster.until("all serve", Cluster::is_whole);
                // Its client comes back.
                let session = cluster.guests[guest].session;
                guest = cluster.renew(at, session, TIMEOUT_MS);
            }
            cluster.keep(&[guest], 5 * u64::from(TIMEOUT_MS), 300);
            assert!((0..4).all(|at| cluster.has(at, "/alive")), "ended though its client was heard of");
            let leader = cluster.leader().expect("it leads");
            cluster.touch(guest);
            let last_heard = cluster.time.ms();
            cluster.until("the end of the session", |cluster| !cluster.has(leader, "/alive"));
            let silence = cluster.time.ms() - last_heard;
            let timeout = u64::from(TIMEOUT_MS);
            assert!(silence >= timeout, "ended after {silence} ms of {timeout}");
            assert!(silence <= timeout + 3 * TICK_MS, "ended only after {silence} ms of {timeout}");
            cluster.finish();
        }
    }
}

/// A write is late on the way to the leader, and its session has moved to another server meanwhile and was closed there: it
/// comes to nothing everywhere.
pub(super) fn s53_late_request_after_close(is_told: bool) {
    for closes in [false, true] {
        let mut cluster = Cluster::calm(53_000, 3, 1, is_told);
        let leader = cluster.until_serving();
        let [first, second] = [cluster.roles()[1], cluster.roles()[2]];
        let guest = cluster.guest(first, LONG_MS);
        let session = cluster.guests[guest].session;
        cluster.cut(first, leader);
        cluster.ask(guest, OpCode::Create, node("/late", 0));
        cluster.ask(guest, OpCode::Create, node("/late-ephemeral", EPHEMERAL));
        cluster.for_ms(20);
        let moved = cluster.greet(second, session, LONG_MS);
        cluster.until("it has moved", |cluster| cluster.guests[moved].is_attached());
        if closes {
            cluster.ask(moved, OpCode::CloseSession, Vec::new());
            cluster.wait_for_answers(moved);
        }
        cluster.network.borrow_mut().mend();
        cluster.for_ms(1_000);
        assert!(cluster.is_whole(), "nobody lost anybody for this");
        for at in 0..4 {
            assert!(
                !cluster.has(at, "/late") && !cluster.has(at, "/late-ephemeral"),
                "written by who had moved"
            );
        }
        assert!(cluster.guests[guest].is_answered(), "a request that nobody answers");
        assert_eq!(cluster.is_open_everywhere(session, LONG_MS), !closes);
        cluster.finish();
    }
}

/// A session is on its way to exist, or to another server, when the leader dies at any point: whoever waits is told, and
/// has a session within two seconds of there being a leader again.
pub(super) fn s54_connect_at_leader_change(is_told: bool) {
    for role in 0..3 {
        for renews in [false, true] {
            for turns in 0..40 {
                let mut cluster = Cluster::calm(54_000 + turns, 3, 1, is_told);
                let leader = cluster.until_serving();
                let at = cluster.roles()[role];
                let mut session = SessionId::NONE;
                if renews {
                    let elsewhere = cluster.guest(cluster.roles()[(role + 1) % 3], LONG_MS);
                    session = cluster.guests[elsewhere].session;
                }
                let guest = cluster.greet(at, session, LONG_MS);
                for _ in 0..turns {
                    cluster.step(u64::MAX, false);
                }
                cluster.crash(leader, false);
                cluster.starts_after(leader, 0);
                cluster.until("all serve", Cluster::is_whole);
                let serves = cluster.time.ms();
                let said = &cluster.guests[guest];
                assert!(!said.heard.is_empty(), "whoever waited was told nothing");
                assert!(!said.heard.contains(&Heard::Refused), "a session is refused that is one");
                cluster.renew(at, session, LONG_MS);
                let took = cluster.time.ms() - serves;
                assert!(took <= 2_000, "{took} ms for a session");
                cluster.finish();
            }
        }
    }
}

/// The whole ensemble stands still for three times the timeout of its sessions, or for a moment that costs no election, or its
/// leader does (F15, F22), and wall clocks are set an hour on or back (ZOOKEEPER-1366): no session of a client that goes on
/// is over.
pub(super) fn s58_clock_step(is_told: bool) {
    for (all, still_ms, timeout_ms) in
        [(true, 6_000, 2_000), (true, 450, 200), (false, 450, 200), (false, 300, 200)]
    {
        for seed in 0..8 {
            let mut cluster = Cluster::calm(58_000 + seed, 3, 1, is_told);
            let leader = cluster.until_serving();
            let guests: Vec<usize> = (0..8).map(|n| cluster.guest(n % 4, timeout_ms)).collect();
            for guest in &guests {
                cluster.ask(*guest, OpCode::Create, node(&format!("/g{guest}"), EPHEMERAL));
            }
            cluster.keep(&guests, 300 + 13 * seed, 1);
            for (at, by_ms) in [(0, 3_600_000), (1, -3_600_000), (2, 315_360_000_000), (3, -1)] {
                cluster.nodes[at].machine.borrow().time.step_wall(by_ms);
            }
            cluster.keep(&guests, 2_000, u64::from(timeout_ms) / 4);
            // They stand still, and wake one soon after the other.
            let until = cluster.time.ms() + still_ms;
            for at in (0..4).filter(|at| all || *at == leader) {
                cluster.nodes[at].frozen_until = until + (seed * (at as u64 + 1)) % 7;
            }
            // What clients say meanwhile waits in their sockets.
            cluster.keep(&guests, still_ms, 25);
            for _ in 0..40 {
                guests.iter().for_each(|guest| cluster.touch(*guest));
                cluster.for_ms(25);
            }
            cluster.until("all serve", Cluster::is_whole);
            for guest in &guests {
                let session = cluster.guests[*guest].session;
                let story = format!("{still_ms} ms, of all: {all}, seed {seed}, guest {guest}");
                assert!((0..4).all(|at| cluster.has(at, &format!("/g{guest}"))), "its node is gone: {story}");
                cluster.renew(cluster.guests[*guest].at, session, timeout_ms);
            }
            cluster.finish();
        }
    }
}

/// A client has proved who it is and makes a node for `auth`, and the leader dies at any point between (CH-48595): all
/// servers have the same access list, and it names that client.
pub(super) fn s60_auth_in_log(is_told: bool) {
    for turns in (0..60).step_by(2) {
        let mut cluster = Cluster::calm(60_000 + turns, 3, 1, is_told);
        let leader = cluster.until_serving();
        let at = cluster.roles()[1 + turns as usize % 2];
        let bob = Id::new("digest", "bob:whose password nobody knows");
        let mut body = Vec::new();
        body.string(b"/bobs");
        body.buffer(Some(b""));
        encode_acls(&[Acl { perms: 31, id: Id::new("auth", "") }], &mut body);
        body.int(0);
        let guest = cluster.guest(at, LONG_MS);
        let asked =
            cluster.ask_as(guest, OpCode::Create, body.clone(), Identities::of_list(vec![bob.clone()]));
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        cluster.crash(leader, true);
        cluster.starts_after(leader, 0);
        cluster.until("all serve", Cluster::is_whole);
        if cluster.guests[guest].err(asked) != Some(0) {
            let session = cluster.guests[guest].session;
            let again = cluster.renew(at, session, LONG_MS);
            cluster.ask_as(again, OpCode::Create, body, Identities::of_list(vec![bob.clone()]));
            cluster.wait_for_answers(again);
        }
        cluster.until("the node", |cluster| (0..4).all(|at| cluster.has(at, "/bobs")));
        for node in &cluster.nodes {
            let view = node.server.as_ref().expect("it runs").reader.pin();
            let acl = view.find(b"/bobs").expect("it was there").acl();
            assert_eq!(acl, [Acl { perms: 31, id: bob.clone() }], "on {:?}", node.id);
        }
        cluster.finish();
    }
}

/// Pipelines of writes and syncs on servers of all roles, and the leader dies within them (ZOOKEEPER-1863): replies come in
/// the order of requests, which [`crate::guest`] judges, and on a server that lives every request is answered.
pub(super) fn s66_reply_order(is_told: bool) {
    for turns in (0..80).step_by(4) {
        let mut cluster = Cluster::calm(66_000 + turns, 3, 1, is_told);
        let leader = cluster.until_serving();
        let guests: Vec<usize> = cluster.roles().map(|at| cluster.guest(at, LONG_MS)).into();
        for number in 0..30 {
            for guest in &guests {
                match (number + guest) % 3 {
                    0 => cluster.ask_sync(*guest),
                    _ => cluster.ask(*guest, OpCode::Create, node(&format!("/p{guest}-{number}"), 0)),
                };
            }
            if number % 10 == 9 {
                cluster.step(u64::MAX, false);
            }
        }
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        if turns > 0 {
            cluster.crash(leader, false);
            cluster.starts_after(leader, 0);
            cluster.until("all serve", Cluster::is_whole);
        } else {
            guests.iter().for_each(|guest| cluster.wait_for_answers(*guest));
        }
        for guest in &guests {
            let said = &cluster.guests[*guest];
            assert!(
                said.at == leader || said.is_answered(),
                "requests that nobody answers: {:?}",
                said.heard
            );
            // What was acknowledged is there.
            for number in 1..=30 {
                let path = format!("/p{guest}-{}", number - 1);
                let is_write = !(number as usize - 1 + guest).is_multiple_of(3);
                if is_write && said.err(number) == Some(0) {
                    assert!((0..4).any(|at| cluster.has(at, &path)), "{path} was acknowledged");
                }
            }
        }
        cluster.finish();
    }
}
