#![forbid(unsafe_code)]
//! Thousands of schedules: what is possible happens in random order, servers crash with any part of their writes done,
//! links break anywhere. The laws are checked at every step ([`super::cluster`]); then faults end, and all must serve
//! with one history.

use super::cluster::{Cluster, settings};
use crate::base::splitmix64;
use crate::zab::event::Role;

/// SplitMix64: a seed is a run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        splitmix64(&mut self.0) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len() as u64) as usize]) }
    }
}

/// How often the rare things happen, of 1000 steps.
#[derive(Clone, Copy)]
struct Faults {
    crash: u64,
    restart: u64,
    cut: u64,
    partition: u64,
    silence: u64,
    pause: u64,
    read: u64,
    lose: u64,
}

/// `masters`: followers serve two observers.
fn run(seed: u64, steps: u32, masters: bool) -> Cluster {
    let mut random = Random(seed);
    let voters: &[i64] = if random.below(2) == 0 { &[1, 2, 3, 4, 5] } else { &[1, 2, 3] };
    let observers: &[i64] = if random.below(3) == 0 { &[9] } else { &[] };
    let mut settings = settings();
    settings.observer_masters = masters;
    settings.observer_election_delay_ms = if masters { 150 } else { 0 };
    let observers = if masters { &[8, 9] } else { observers };
    settings.history_txns_max = 1 + random.below(5) as usize;
    settings.outstanding_max = 1 + random.below(6) as usize;
    settings.counter_max = if random.below(4) == 0 { 3 + random.below(6) as u32 } else { 1 << 20 };
    let mut cluster = Cluster::new(voters, observers, settings);
    // A server whose disk proves nothing.
    if random.below(6) == 0 {
        cluster.node(1).disk.admitted = false;
    }
    let faults = Faults {
        crash: random.below(12),
        restart: 20 + random.below(60),
        cut: random.below(15),
        partition: random.below(8),
        silence: if random.below(2) == 0 { 0 } else { random.below(12) },
        pause: if random.below(2) == 0 { 0 } else { random.below(12) },
        read: 1 + random.below(30),
        lose: random.below(4),
    };
    // Slow time lets elections, timeouts and messages overlap.
    let time = 20 + random.below(80);
    cluster.start_all();
    for _ in 0..steps {
        step(&mut cluster, &mut random, faults, time);
    }
    cluster
}

fn step(cluster: &mut Cluster, random: &mut Random, faults: Faults, time: u64) {
    let ids = cluster.ids();
    let id = random.pick(&ids).expect("servers");
    let dice = random.below(1000);
    let mut bound = 0;
    let mut chance = |weight: u64| {
        bound += weight;
        dice < bound
    };
    if chance(faults.crash) {
        if cluster.is_up(id) {
            let written = random.below(4) as usize;
            cluster.crash(id, written);
        }
    } else if chance(faults.lose) {
        if cluster.can_do_without(id) {
            cluster.lose_disk(id);
        }
    } else if chance(faults.restart) {
        if !cluster.is_up(id) {
            cluster.start(id);
        }
    } else if chance(faults.cut) {
        let connections: Vec<usize> = (0..cluster.connections.len()).collect();
        if let Some(at) = random.pick(&connections) {
            cluster.break_connection(at);
        }
    } else if chance(faults.partition) {
        let other = random.pick(&ids).expect("servers");
        if random.below(2) == 0 {
            if id != other {
                cluster.partition(id, other);
            }
        } else {
            cluster.heal_all();
        }
    } else if chance(faults.silence) {
        // One way, both ways, or all to and from one.
        let other = random.pick(&ids).expect("servers");
        match random.below(4) {
            0 => cluster.silent.clear(),
            1 => {
                cluster.silent.insert((id, other));
            }
            2 => cluster.silent.extend([(id, other), (other, id)]),
            _ => cluster.silent.extend(ids.iter().flat_map(|other| [(id, *other), (*other, id)])),
        }
    } else if chance(faults.pause) {
        // Leaders above all.
        let id = cluster.leader().filter(|_| random.below(2) == 0).unwrap_or(id);
        if cluster.is_up(id) {
            cluster.node(id).paused = true;
        }
    } else if chance(2 * faults.pause) {
        if std::mem::replace(&mut cluster.node(id).paused, false) && cluster.role(id) != Role::Looking {
            cluster.ask_sync(id);
        }
    } else if chance(faults.pause) {
        cluster.hear(id);
    } else if chance(faults.read) {
        cluster.read(id);
    } else if chance(time) {
        let ms = 1 + random.below(120);
        cluster.pass(ms);
    } else if chance(150) {
        if let Some(leader) = cluster.leader() {
            cluster.submit(leader);
        }
    } else if chance(30) {
        match cluster.role(id) {
            Role::Looking => {}
            _ if cluster.nodes[&id].paused => {}
            _ if random.below(2) == 0 => {
                cluster.ask_sync(id);
            }
            Role::Leading(_) => {
                // A deposed leader may not know it.
                cluster.submit(id);
            }
            _ => cluster.forward(id),
        }
    } else if chance(5) {
        let newest = cluster.nodes[&id].disk.committed;
        cluster.node(id).purged = newest;
    } else if chance(200) {
        let writes = 1 + random.below(4) as usize;
        cluster.flush(id, writes);
    } else if chance(150) {
        let mail: Vec<(i64, i64)> = cluster.mail.keys().copied().collect();
        if let Some((from, to)) = random.pick(&mail) {
            cluster.deliver_mail(from, to);
        }
    } else {
        let connections: Vec<usize> = (0..cluster.connections.len()).collect();
        if let Some(at) = random.pick(&connections) {
            let to_opener = random.below(2) == 0;
            cluster.deliver(at, to_opener);
        }
    }
}

/// Reasons that say a server of ours broke the protocol.
const FAULTS_OF_OURS: &[&str] = &[
    "a commit is not that of the oldest proposal",
    "a proposal leaves a gap",
    "a proposal inside an image",
    "the leader sent something out of phase",
    "sent something out of phase",
    "answers a ping that was not sent",
    "acknowledges what was not proposed",
    "an observer acknowledges a proposal",
    "NEWLEADER of another epoch, or before its image",
    "NEWLEADER of another epoch, or a second one",
    "the leader answers a sync that nobody asked for",
    "the leader asks for a cut that is not in our log",
    "the leader asks for a cut where we have no txn: comes back from an earlier one",
];

fn check(seeds: std::ops::Range<u64>, steps: u32, masters: bool) {
    let (mut reigns, mut committed, mut answered) = (0, 0, 0);
    let mut modes = std::collections::BTreeMap::new();
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut cluster = run(seed, steps, masters);
            let decided = cluster.decided.len();
            cluster.converge();
            for reason in FAULTS_OF_OURS {
                assert!(!cluster.reasons.contains_key(reason), "{reason}");
            }
            (cluster.reigns, decided, cluster.answered, cluster.modes)
        });
        let Ok((r, c, a, m)) = outcome else { panic!("seed {seed} fails, after {steps} steps") };
        reigns += r;
        committed += c;
        answered += a;
        for (mode, n) in m {
            *modes.entry(mode).or_insert(0) += n;
        }
    }
    // That the runs were not idle.
    println!("{reigns} reigns, {committed} txns, {answered} syncs, {modes:?}");
    assert!(reigns > 100 && committed > 1000 && answered > 100, "{reigns} {committed} {answered}");
    for mode in ["diff", "trunc", "snap"] {
        assert!(modes.get(mode).is_some_and(|n| *n > 20), "{modes:?}");
    }
}

#[test]
fn laws_hold_in_short_schedules() {
    check(0..4000, 800, false);
}

#[test]
fn laws_hold_in_long_schedules() {
    check(10_000..10_250, 8000, false);
}

#[test]
fn laws_hold_where_followers_serve_observers() {
    check(20_000..21_500, 1500, true);
}
