#![forbid(unsafe_code)]
//! Whole ensembles of elections on a toy network: messages are lost, late, repeated and reordered, links flap, cuts are
//! partial or one-way, servers crash. What follows an election is as small as can be: a leader whom a quorum reaches
//! within [`GIVE_UP_MS`] becomes active, with a new epoch; whoever loses his leader, or a leader his quorum, looks again.
//!
//! Watched at every step: nobody votes for a shorter history than his own, or without a vote; who ends an election has
//! seen a quorum say so. After the faults: one active leader, everybody with it, and nobody looks any more.
//!
//! Caught when planted: no `checkLeader` (`f18`), no resend, no catching up of rounds, a lower round's votes counted, one
//! without a vote that says what it proposes or is elected (all `after_any_faults`), nobody doubted, a doubt that ends a
//! round which is being won (both `f18`), a worse vote that is not answered, a lost link that is waited for (both
//! `a_killed_leader`), always waiting or never (`without_faults`).

use std::collections::{BTreeMap, BTreeSet};

use super::script::{render, render_vote, settings};
use crate::base::{Millis, ServerId, Zxid, splitmix64};
use crate::zab::election::{CurrentVote, Elected, Election, NO_VOTE};
use crate::zab::event::Action;
use crate::zab::membership::Membership;
use crate::zab::message::{Notification, State, Vote};

/// How long a leader waits for its quorum, and a learner for its leader.
const GIVE_UP_MS: u64 = 1000;
/// How often those that have a leader look after it.
const POLL_MS: u64 = 20;
/// Longest wait between resends, so that a lost message costs little simulated time.
const NOTIFICATION_MAX_MS: u64 = 2000;

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        splitmix64(&mut self.0) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Node {
    /// Durable: where the history ends, and its epoch.
    epoch: i64,
    zxid: i64,
    admitted: bool,
    /// The election and the role; `None` while the server is down.
    process: Option<Process>,
    /// Elections begun.
    begun: u64,
}

struct Process {
    election: Election,
    role: Option<Settled>,
}

/// What a server is between two elections.
struct Settled {
    current: CurrentVote,
    /// When it was last in reach of its leader, or of its quorum; at first when it was elected.
    well_at: Millis,
    /// A learner that its leader took.
    joined: bool,
    /// A leader that a quorum joined.
    active: bool,
    poll_at: Millis,
}

struct Net {
    rng: Rng,
    now: Millis,
    membership: Membership,
    nodes: BTreeMap<ServerId, Node>,
    /// Pairs, smaller first, between which no link can be.
    cut: BTreeSet<(ServerId, ServerId)>,
    /// Pairs, from and to, between which everything is lost while the link seems to work.
    mute: BTreeSet<(ServerId, ServerId)>,
    /// Links that work.
    up: BTreeSet<(ServerId, ServerId)>,
    messages: BTreeMap<(Millis, u64), (ServerId, ServerId, Notification)>,
    sent: u64,
    /// Percent of messages lost, and repeated; longest delay.
    lost: u64,
    repeated: u64,
    delay_ms: u64,
    /// Whether messages of one link overtake each other, as they do when a link is made anew.
    reordered: bool,
    /// When the newest message between two arrives.
    newest: BTreeMap<(ServerId, ServerId), Millis>,
    /// Everything that voters ever said.
    said: BTreeSet<(ServerId, i64, ServerId, i64, i64)>,
    settled_said: BTreeSet<(ServerId, ServerId)>,
    ended: Vec<(ServerId, Elected)>,
    trace: String,
}

fn pair(a: ServerId, b: ServerId) -> (ServerId, ServerId) {
    (a.min(b), a.max(b))
}

impl Net {
    /// All down, all links possible, nothing lost.
    fn new(seed: u64, voters: i64, observers: i64) -> Net {
        let voter_ids: Vec<i64> = (1..=voters).collect();
        let observer_ids: Vec<i64> = (voters + 1..=voters + observers).collect();
        let node = |id: &i64| {
            let id = ServerId(*id);
            (id, Node { epoch: 0, zxid: 0, admitted: true, process: None, begun: 0 })
        };
        Net {
            rng: Rng(seed),
            now: Millis(0),
            membership: Membership::majority(&voter_ids, &observer_ids, b"config"),
            nodes: voter_ids.iter().chain(&observer_ids).map(node).collect(),
            cut: BTreeSet::new(),
            mute: BTreeSet::new(),
            up: BTreeSet::new(),
            messages: BTreeMap::new(),
            sent: 0,
            lost: 0,
            repeated: 0,
            delay_ms: 5,
            reordered: false,
            newest: BTreeMap::new(),
            said: BTreeSet::new(),
            settled_said: BTreeSet::new(),
            ended: Vec::new(),
            trace: String::new(),
        }
    }

    fn ids(&self) -> Vec<ServerId> {
        self.nodes.keys().copied().collect()
    }

    fn any(&mut self) -> ServerId {
        let ids = self.ids();
        ids[self.rng.below(ids.len() as u64) as usize]
    }

    fn has_vote(&self, id: ServerId) -> bool {
        self.nodes[&id].admitted && self.membership.voters.contains(&id)
    }

    fn start(&mut self, id: ServerId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.process.is_some() {
            return;
        }
        let mut settings = settings(id.0);
        settings.notification_max_ms = NOTIFICATION_MAX_MS;
        node.process = Some(Process { election: Election::new(&settings), role: None });
        self.begin(id);
        self.link();
    }

    fn crash(&mut self, id: ServerId) {
        self.nodes.get_mut(&id).unwrap().process = None;
        self.link();
    }

    fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id);
        }
    }

    /// Brings links up that can be, and down that cannot.
    fn link(&mut self) {
        let ids = self.ids();
        for (at, a) in ids.iter().enumerate() {
            for b in &ids[at + 1..] {
                let alive = self.nodes[a].process.is_some() && self.nodes[b].process.is_some();
                self.set_link(*a, *b, alive && !self.cut.contains(&(*a, *b)));
            }
        }
    }

    fn set_link(&mut self, a: ServerId, b: ServerId, up: bool) {
        let changed = if up { self.up.insert(pair(a, b)) } else { self.up.remove(&pair(a, b)) };
        if !changed {
            return;
        }
        for (id, peer) in [(a, b), (b, a)] {
            self.elect(id, |election, now, membership, actions| {
                if up {
                    election.peer_up(now, peer, membership, actions)
                } else {
                    election.peer_lost(now, peer, membership, actions)
                }
            });
        }
    }

    /// Whether two servers hear each other.
    fn reach(&self, a: ServerId, b: ServerId) -> bool {
        let mute = self.mute.contains(&(a, b)) || self.mute.contains(&(b, a));
        a == b || self.up.contains(&pair(a, b)) && !mute
    }

    fn begin(&mut self, id: ServerId) {
        let has_vote = self.has_vote(id);
        let node = self.nodes.get_mut(&id).unwrap();
        node.begun += 1;
        let own = if has_vote {
            Vote { leader: id, zxid: Zxid(node.zxid), peer_epoch: node.epoch }
        } else {
            NO_VOTE
        };
        if let Some(process) = &mut node.process {
            process.role = None;
        }
        self.elect(id, |election, now, membership, actions| {
            election.begin(now, own, membership, actions);
            None
        });
    }

    /// One step of one election, and what comes of it.
    fn elect(
        &mut self,
        id: ServerId,
        step: impl FnOnce(&mut Election, Millis, &Membership, &mut Vec<Action>) -> Option<Elected>,
    ) {
        let Some(process) = &mut self.nodes.get_mut(&id).unwrap().process else { return };
        let mut actions = Vec::new();
        let elected = step(&mut process.election, self.now, &self.membership, &mut actions);
        self.perform(id, actions);
        if let Some(elected) = elected {
            self.elected(id, elected);
        }
    }

    fn perform(&mut self, from: ServerId, actions: Vec<Action>) {
        for line in render(&actions, &self.membership) {
            self.trace.push_str(&format!("{:>4} {}  {line}\n", self.now.0, from.0));
        }
        for action in actions {
            if let Action::Notify { to, notification } = action {
                self.send(from, to, notification);
            }
        }
    }

    fn send(&mut self, from: ServerId, to: ServerId, notification: Notification) {
        self.check_said(from, &notification);
        if !self.up.contains(&pair(from, to)) || self.mute.contains(&(from, to)) {
            return;
        }
        let copies =
            if self.rng.chance(self.lost) { 0 } else { 1 + u64::from(self.rng.chance(self.repeated)) };
        for _ in 0..copies {
            self.sent += 1;
            let mut at = self.now.plus(1 + self.rng.below(self.delay_ms));
            if !self.reordered {
                let newest = self.newest.entry((from, to)).or_default();
                at = at.max(*newest);
                *newest = at;
            }
            self.messages.insert((at, self.sent), (from, to, notification.clone()));
        }
    }

    fn check_said(&mut self, from: ServerId, notification: &Notification) {
        let node = &self.nodes[&from];
        let Notification { state, vote, round, .. } = notification;
        match state {
            State::Looking if !self.has_vote(from) => {
                assert!(*vote == NO_VOTE, "{from:?} has no vote and says {}", render_vote(vote));
            }
            State::Looking => {
                let own = (node.epoch, node.zxid, from);
                let said = (vote.peer_epoch, vote.zxid.0, vote.leader);
                assert!(said >= own, "{from:?} at {own:?} votes {}", render_vote(vote));
                self.said.insert((from, *round, vote.leader, vote.peer_epoch, vote.zxid.0));
            }
            State::Following | State::Leading => {
                self.settled_said.insert((from, vote.leader));
            }
            State::Observing => {}
        }
    }

    fn elected(&mut self, id: ServerId, elected: Elected) {
        let Elected { leader, round, vote } = elected;
        assert!(self.membership.voters.contains(&leader));
        assert!(leader != id || self.has_vote(id), "{id:?} elects itself and has no vote");
        let voters = self.membership.voters.iter().copied();
        let said = |voter: &ServerId| {
            let looking = (*voter, round, leader, vote.peer_epoch, vote.zxid.0);
            let alone = self.membership.voters.len() == 1;
            self.said.contains(&looking) || alone || self.settled_said.contains(&(*voter, leader))
        };
        let quorum: BTreeSet<ServerId> = voters.filter(said).collect();
        assert!(
            self.membership.is_quorum(&quorum),
            "{id:?} ended without a quorum: {} round {round}, {quorum:?}\n{}",
            render_vote(&vote),
            self.trace
        );
        let state = match leader == id {
            true => State::Leading,
            false if self.has_vote(id) => State::Following,
            false => State::Observing,
        };
        let current = CurrentVote { state, vote, round };
        let (well_at, poll_at) = (self.now, self.now);
        let process = self.nodes.get_mut(&id).unwrap().process.as_mut().unwrap();
        process.role = Some(Settled { current, well_at, joined: false, active: false, poll_at });
        self.ended.push((id, elected));
    }

    fn role(&self, id: ServerId) -> Option<&Settled> {
        self.nodes[&id].process.as_ref()?.role.as_ref()
    }

    /// Whom this leader leads, itself included.
    fn followers(&self, leader: ServerId) -> BTreeSet<ServerId> {
        let follows = |id: &ServerId| {
            let joined = |role: &Settled| role.joined && role.current.vote.leader == leader;
            *id == leader || self.reach(*id, leader) && self.role(*id).is_some_and(joined)
        };
        self.ids().into_iter().filter(follows).collect()
    }

    /// A server that has a leader looks after it.
    fn poll(&mut self, id: ServerId) {
        let now = self.now;
        let Some(role) = self.role(id) else { return };
        let leader = role.current.vote.leader;
        let (mut well, mut joined, mut active) = (false, role.joined, role.active);
        let (mut epoch, mut zxid) = (self.nodes[&id].epoch, self.nodes[&id].zxid);
        if leader == id {
            let mut followers = self.followers(id);
            followers.retain(|id| self.has_vote(*id));
            well = self.membership.is_quorum(&followers);
            if well && !active {
                active = true;
                epoch = followers.iter().map(|id| self.nodes[id].epoch).max().unwrap_or(0) + 1;
                zxid = epoch << 32;
                // What discovery does before anybody is served: a quorum has the epoch.
                for follower in &followers {
                    self.nodes.get_mut(follower).unwrap().epoch = epoch;
                }
            } else if active {
                zxid += 1;
            }
        } else if let Some(theirs) = self.role(leader)
            && theirs.current.vote.leader == leader
            && self.reach(id, leader)
        {
            let their = &self.nodes[&leader];
            // Before it is active, a leader takes no learner that is ahead of it.
            if theirs.active || !self.has_vote(id) || (their.epoch, their.zxid) >= (epoch, zxid) {
                (well, joined) = (true, true);
            }
            if theirs.active {
                (epoch, zxid) = (their.epoch, their.zxid);
                active = true;
            }
        }
        let node = self.nodes.get_mut(&id).unwrap();
        (node.epoch, node.zxid) = (epoch, zxid);
        if leader != id && active && !node.admitted {
            // Its disk has the leader's history: it may vote, from its next election on, which is now.
            node.admitted = true;
            return self.begin(id);
        }
        let role = node.process.as_mut().unwrap().role.as_mut().unwrap();
        role.joined = joined;
        role.active = active;
        role.poll_at = now.plus(POLL_MS);
        if active {
            role.current.vote.peer_epoch = epoch;
        }
        if well {
            role.well_at = now;
        } else if now.since(role.well_at) >= GIVE_UP_MS || leader != id && joined {
            self.begin(id);
        }
    }

    fn deliver(&mut self, from: ServerId, to: ServerId, notification: &Notification) {
        let Some(process) = &mut self.nodes.get_mut(&to).unwrap().process else { return };
        let mut actions = Vec::new();
        match &process.role {
            Some(role) => {
                process.election.answer(from, notification, &role.current, &self.membership, &mut actions);
                self.perform(to, actions);
            }
            None => self.elect(to, |election, now, membership, actions| {
                election.notified(now, from, notification, membership, actions)
            }),
        }
    }

    /// Runs everything that is due up to `until`, the next thing first.
    fn run(&mut self, until: Millis) {
        loop {
            let message = self.messages.first_key_value().map(|((at, _), _)| *at);
            let server = self.ids().into_iter().filter_map(|id| {
                let process = self.nodes[&id].process.as_ref()?;
                let at = match &process.role {
                    Some(role) => role.poll_at,
                    None => process.election.next_tick().expect("a looking server wants a tick"),
                };
                Some((at, id))
            });
            let server = server.min();
            match (message, server) {
                (Some(at), server) if at <= until && server.is_none_or(|(tick, _)| at <= tick) => {
                    self.now = self.now.max(at);
                    let (_, (from, to, notification)) = self.messages.pop_first().unwrap();
                    self.deliver(from, to, &notification);
                }
                (_, Some((at, id))) if at <= until => {
                    self.now = self.now.max(at);
                    if self.role(id).is_some() {
                        self.poll(id);
                    } else {
                        self.elect(id, |election, now, membership, actions| {
                            election.tick(now, membership, actions)
                        });
                    }
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }

    fn run_for(&mut self, ms: u64) {
        self.run(self.now.plus(ms));
    }

    /// The active leader with a quorum, if there is one.
    fn leader(&self) -> Option<ServerId> {
        let leads = |id: &ServerId| {
            let active = |role: &Settled| role.active && role.current.vote.leader == *id;
            let mut followers = self.followers(*id);
            followers.retain(|id| self.has_vote(*id));
            self.role(*id).is_some_and(active) && self.membership.is_quorum(&followers)
        };
        let leaders: Vec<ServerId> = self.ids().into_iter().filter(leads).collect();
        assert!(leaders.len() <= 1, "two leaders with a quorum: {leaders:?}\n{}", self.trace);
        leaders.first().copied()
    }

    fn begun(&self, ids: &BTreeSet<ServerId>) -> u64 {
        ids.iter().map(|id| self.nodes[id].begun).sum()
    }

    /// A leader comes within `ms`, with these (or all) behind it in the end, and then nobody of them looks again.
    #[track_caller]
    fn must_settle(&mut self, ms: u64, expected: Option<&[i64]>) -> ServerId {
        let everybody: BTreeSet<ServerId> = self.ids().into_iter().collect();
        let expected = expected.map_or(everybody, |ids| ids.iter().copied().map(ServerId).collect());
        let limit = self.now.plus(ms);
        let admitted = |net: &Net| expected.iter().all(|id| net.nodes[id].admitted);
        let settled = |net: &Net| {
            net.leader().filter(|leader| admitted(net) && expected.is_subset(&net.followers(*leader)))
        };
        while settled(self).is_none() {
            assert!(self.now < limit, "no leader with {expected:?} after {ms} ms\n{}", self.trace);
            self.run_for(POLL_MS);
        }
        let leader = self.leader();
        let begun = self.begun(&expected);
        self.run_for(10_000);
        assert_eq!(self.leader(), leader, "the leader changes without a fault\n{}", self.trace);
        assert_eq!(self.begun(&expected), begun, "elections go on beside a leader\n{}", self.trace);
        leader.unwrap()
    }
}

fn cut(net: &mut Net, edges: &[(i64, i64)]) {
    net.cut = edges.iter().map(|(a, b)| pair(ServerId(*a), ServerId(*b))).collect();
    net.link();
}

/// Cuts everything between the voters but these edges.
fn only(net: &mut Net, edges: &[(i64, i64)]) {
    let ids = net.ids();
    let all = ids.iter().flat_map(|a| ids.iter().map(|b| (a.0, b.0))).filter(|(a, b)| a < b);
    let rest: Vec<(i64, i64)> = all.filter(|edge| !edges.contains(edge)).collect();
    cut(net, &rest);
}

#[test]
fn without_faults_all_elect_the_best_in_one_round_and_do_not_wait() {
    for (voters, observers) in [(2, 0), (3, 0), (3, 1), (5, 2), (7, 0)] {
        for seed in 0..50 {
            let mut net = Net::new(seed, voters, observers);
            net.delay_ms = 20;
            for id in net.ids() {
                let (epoch, counter) = (net.rng.below(2) as i64, net.rng.below(2) as i64);
                let node = net.nodes.get_mut(&id).unwrap();
                (node.epoch, node.zxid) = (epoch, counter);
            }
            let voters = net.membership.voters.iter();
            let best = voters.max_by_key(|id| (net.nodes[*id].epoch, net.nodes[*id].zxid, **id)).copied();
            // All are linked before any message arrives.
            net.start_all();
            net.run(Millis(99));
            for (id, elected) in &net.ended {
                assert_eq!(
                    (Some(elected.leader), elected.round),
                    (best, 1),
                    "{id:?}, seed {seed}\n{}",
                    net.trace
                );
            }
            let ended: BTreeSet<ServerId> = net.ended.iter().map(|(id, _)| *id).collect();
            assert!(net.membership.voters.is_subset(&ended), "seed {seed}: {ended:?}\n{}", net.trace);
            assert_eq!(Some(net.must_settle(10_000, None)), best);
        }
    }
}

#[test]
fn an_ensemble_of_one_with_observers_settles() {
    let mut net = Net::new(0, 1, 2);
    net.start_all();
    assert_eq!(net.must_settle(10_000, None), ServerId(1));
}

/// One fault, or its end.
fn fault(net: &mut Net) {
    match net.rng.below(10) {
        0 | 1 => {
            let id = net.any();
            net.crash(id);
        }
        2..=4 => {
            let id = net.any();
            net.start(id);
        }
        5 => {
            let (a, b) = (net.any(), net.any());
            if a != b {
                net.set_link(a, b, false);
            }
        }
        6 => {
            let (a, b) = (net.any(), net.any());
            if a != b {
                net.cut.insert(pair(a, b));
            }
            net.link();
        }
        7 => {
            let (a, b) = (net.any(), net.any());
            net.mute.insert((a, b));
        }
        8 => {
            net.cut.clear();
            net.mute.clear();
            net.link();
        }
        _ => {
            // A disk is lost; the server may not vote until it was with an active leader. Never so many that no quorum
            // with a vote is left: nobody could lead.
            let id = net.any();
            let voters: BTreeSet<ServerId> = net.membership.voters.iter().copied().collect();
            let voting = voters.into_iter().filter(|voter| *voter != id && net.has_vote(*voter)).collect();
            if net.membership.is_quorum(&voting) {
                net.crash(id);
                let node = net.nodes.get_mut(&id).unwrap();
                (node.epoch, node.zxid, node.admitted) = (0, 0, false);
            }
        }
    }
}

fn faulty_run(seed: u64, voters: i64, observers: i64) -> Net {
    let mut net = Net::new(seed, voters, observers);
    net.lost = net.rng.below(40);
    net.repeated = net.rng.below(30);
    net.delay_ms = 1 + net.rng.below(400);
    net.reordered = net.rng.chance(50);
    net.start_all();
    for _ in 0..60 {
        fault(&mut net);
        let wait = net.rng.below(400);
        net.run_for(wait);
        net.leader();
    }
    net.cut.clear();
    net.mute.clear();
    net.lost = 0;
    net.start_all();
    net.link();
    net.must_settle(30_000, None);
    net
}

#[test]
fn after_any_faults_everybody_ends_with_one_leader() {
    for (voters, observers) in [(1, 1), (2, 0), (3, 0), (3, 2), (5, 1), (7, 0)] {
        for seed in 0..60 {
            faulty_run(seed, voters, observers);
        }
    }
}

#[test]
fn one_seed_is_one_run() {
    assert_eq!(faulty_run(7, 5, 1).trace, faulty_run(7, 5, 1).trace);
}

#[test]
fn a_dead_leader_is_not_elected_by_what_others_remember() {
    for seed in 0..20 {
        let mut net = Net::new(seed, 5, 0);
        net.start_all();
        let first = net.must_settle(10_000, None);
        // A server comes back while the others still believe in the leader that has just died.
        let back = ServerId(if first.0 == 1 { 2 } else { 1 });
        net.crash(back);
        net.crash(first);
        net.start(back);
        let rest: Vec<i64> = net.ids().iter().map(|id| id.0).filter(|id| *id != first.0).collect();
        assert_ne!(net.must_settle(10_000, Some(&rest)), first);
        net.start(first);
        net.must_settle(10_000, None);
    }
}

#[test]
fn a_killed_leader_costs_one_round_and_no_wait() {
    for seed in 0..50 {
        let mut net = Net::new(seed, 3, 0);
        net.start_all();
        let first = net.must_settle(10_000, None);
        net.crash(first);
        let (at, ended) = (net.now, net.ended.len());
        net.run_for(99);
        let next =
            net.leader().unwrap_or_else(|| panic!("seed {seed}: nobody leads since {at:?}\n{}", net.trace));
        assert_ne!(next, first);
        assert_eq!(net.ended.len(), ended + 2, "seed {seed}: more than one round\n{}", net.trace);
    }
}

#[test]
fn s24_a_ring_with_one_cut_edge_has_a_stable_leader() {
    for seed in 0..20 {
        for edges in [[(1, 2), (2, 3)], [(1, 2), (1, 3)], [(1, 3), (2, 3)]] {
            let mut net = Net::new(seed, 3, 0);
            only(&mut net, &edges);
            net.start_all();
            net.must_settle(20_000, Some(&[]));
        }
    }
}

#[test]
fn s24_a_bridge_between_two_pairs_has_a_stable_leader() {
    for seed in 0..20 {
        for bridge in 1..=5 {
            let rest: Vec<i64> = (1..=5).filter(|id| *id != bridge).collect();
            let mut edges = vec![(rest[0], rest[1]), (rest[2], rest[3])];
            edges.extend(rest.iter().map(|id| (bridge.min(*id), bridge.max(*id))));
            let mut net = Net::new(seed, 5, 0);
            only(&mut net, &edges);
            net.start_all();
            net.must_settle(20_000, Some(&[bridge]));
        }
    }
}

#[test]
fn f18_the_best_candidate_out_of_reach_of_a_quorum_does_not_stop_the_others() {
    // The best is linked with one server alone, and all know of it through that one.
    for seed in 0..20 {
        for voters in [4, 5, 7] {
            for through in 1..voters {
                let mut net = Net::new(seed, voters, 0);
                let edges: Vec<(i64, i64)> =
                    (1..voters).filter(|id| *id != through).map(|id| (id, voters)).collect();
                cut(&mut net, &edges);
                net.start_all();
                let leader = net.must_settle(30_000, Some(&[]));
                assert_ne!(leader, ServerId(voters));
            }
        }
    }
}

#[test]
fn s25_a_deaf_or_mute_leader_is_replaced() {
    for seed in 0..20 {
        for deaf in [true, false] {
            let mut net = Net::new(seed, 3, 1);
            net.start_all();
            let first = net.must_settle(10_000, None);
            for id in net.ids() {
                net.mute.insert(if deaf { (id, first) } else { (first, id) });
            }
            let rest: Vec<i64> = net.ids().iter().map(|id| id.0).filter(|id| *id != first.0).collect();
            assert_ne!(net.must_settle(20_000, Some(&rest)), first);
            net.mute.clear();
            net.must_settle(20_000, None);
        }
    }
}

#[test]
fn s22_a_voter_that_changes_its_mind_costs_two_rounds_at_most_3109() {
    // 1 and 2 are about to end with 2 when 3 arrives, at any moment of the wait that a silent 3 causes.
    for late in 0..260 {
        let mut net = Net::new(late, 3, 0);
        net.delay_ms = 1;
        net.start(ServerId(1));
        net.start(ServerId(2));
        net.start(ServerId(3));
        for id in [1, 2] {
            net.mute.insert((ServerId(3), ServerId(id)));
        }
        net.messages.clear();
        net.run(Millis(late));
        net.mute.clear();
        net.must_settle(10_000, None);
        let rounds = net.ended.iter().map(|(_, elected)| elected.round).max();
        assert!(rounds <= Some(2), "{late}: {rounds:?}\n{}", net.trace);
    }
}

#[test]
fn elections_say_little() {
    // Votes are said when they change and when nothing is heard, not at every message.
    let mut net = Net::new(1, 7, 0);
    net.start_all();
    net.run(Millis(99));
    assert!(net.sent <= 7 * 6 * 7, "{} messages", net.sent);
    // Without a quorum, the two that are left say it ever more rarely.
    let mut net = Net::new(1, 5, 0);
    net.start(ServerId(1));
    net.start(ServerId(2));
    net.run(Millis(1000));
    let sent = net.sent;
    net.run_for(20_000);
    assert!(net.sent - sent <= 2 * 12, "{} messages in 20 s", net.sent - sent);
}

#[test]
fn three_servers_golden_trace() {
    let mut net = Net::new(0, 3, 0);
    net.delay_ms = 1;
    net.nodes.get_mut(&ServerId(2)).unwrap().zxid = 5;
    net.start_all();
    net.run(Millis(1000));
    net.crash(ServerId(2));
    net.run(Millis(2000));
    net.start(ServerId(2));
    net.run(Millis(3000));
    let expected = include_str!("three_servers.txt");
    assert!(net.trace == expected, "this came out:\n\n{}", net.trace);
}

#[test]
fn elections_are_observed() {
    let mut net = Net::new(0, 3, 0);
    net.start_all();
    net.run(Millis(99));
    let counts = |what: &str| net.trace.lines().filter(|line| line.contains(what)).count();
    assert_eq!((counts("started round 1"), counts("elected 3 round 1")), (3, 3));
}
