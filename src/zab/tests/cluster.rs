#![forbid(unsafe_code)]
//! Toy servers around peers: a disk that keeps what it was told apart from what is durable, links that keep their order
//! or break, a clock that a test moves. Everything is deterministic. After each step the laws of reliability §3 are
//! checked against what the disks really hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crate::base::{Epoch, Millis, ServerId, Zxid};
use crate::zab::Peer;
use crate::zab::event::{Action, Event, Observation, Role};
use crate::zab::membership::Membership;
use crate::zab::message::{Forwarded, LinkId, Message, Notification, Payload, Port};
use crate::zab::settings::{Durable, Settings};

pub(super) type Txn = (Zxid, Payload);

/// What a server's disk really holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) accepted: Epoch,
    pub(super) current: Epoch,
    /// The state's history from the beginning, then the log: a toy keeps all.
    pub(super) log: Vec<Txn>,
    /// End of the state, which was applied.
    pub(super) committed: Zxid,
    pub(super) confirmed: Zxid,
    pub(super) admitted: bool,
    pub(super) provisional: bool,
}

/// What the disk was told.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// With the newest commit known at that time, as a batch records it.
    Append(Txn, Zxid),
    Truncate(Zxid),
    SaveEpoch(Epoch, Epoch),
    Install(LinkId, Vec<Txn>),
    Admit,
    Disown,
}

pub(super) struct Node {
    pub(super) peer: Option<Peer>,
    pub(super) disk: Disk,
    /// On its way to the disk, oldest first.
    pub(super) writes: VecDeque<Write>,
    /// The log as the running server knows it: the disk's, and what is on its way.
    pub(super) log: Vec<Txn>,
    /// Newest `Commit`.
    pub(super) committed: Zxid,
    pub(super) listening: Option<Port>,
    /// Actions of the newest step, for tests that look at them.
    pub(super) actions: Vec<Action>,
    images: BTreeMap<LinkId, Vec<Txn>>,
    pub(super) synced: Vec<u64>,
    /// Of a leader: syncs that learners wait for, and the last txn proposed before each.
    learners_syncs: BTreeMap<LinkId, VecDeque<Zxid>>,
    /// Log entries at and below this are on no segment any more.
    pub(super) purged: Zxid,
    inbox: VecDeque<Event>,
    /// Stopped as a whole, the process being there; what happens to it then, it hears later.
    pub(super) paused: bool,
    pub(super) late: VecDeque<Event>,
    /// Log reads that are not answered.
    pub(super) reads: VecDeque<(LinkId, Zxid, Zxid)>,
    /// Where the log ended when NEWLEADER came.
    at_new_leader: Option<Zxid>,
}

/// What travels on a link.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    Message(Message),
    Image(Vec<Txn>),
}

/// A connection: who opened it, to whom, and what is under way.
pub(super) struct Connection {
    pub(super) from: i64,
    pub(super) to: i64,
    opened: LinkId,
    accepted: LinkId,
    pub(super) to_opener: VecDeque<Packet>,
    pub(super) to_acceptor: VecDeque<Packet>,
}

/// A sync that a client waits for, and what was decided when it asked.
struct Asked {
    node: i64,
    decided: Zxid,
}

pub(super) struct Cluster {
    pub(super) now: Millis,
    pub(super) settings: Settings,
    pub(super) membership: Membership,
    pub(super) nodes: BTreeMap<i64, Node>,
    pub(super) connections: Vec<Connection>,
    /// Newest election message from one to the other.
    pub(super) mail: BTreeMap<(i64, i64), Notification>,
    /// Pairs that cannot reach each other, and know it.
    pub(super) cut: BTreeSet<(i64, i64)>,
    /// Who cannot be heard by whom, without either knowing: nothing arrives, links stay.
    pub(super) silent: BTreeSet<(i64, i64)>,
    links: u64,
    tags: u64,
    payloads: u64,
    asked: BTreeMap<u64, Asked>,
    /// Everything decided, in order.
    pub(super) decided: Vec<Txn>,
    broadcast: BTreeMap<Zxid, Payload>,
    leaders: BTreeMap<Epoch, i64>,
    /// How often an established leader began, and how learners were synchronized: that runs are not idle.
    pub(super) reigns: u64,
    pub(super) modes: BTreeMap<&'static str, u64>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    pub(super) answered: u64,
}

pub(super) fn settings() -> Settings {
    Settings {
        me: ServerId(0),
        tick_ms: 100,
        init_limit: 10,
        sync_limit: 5,
        connect_limit: 0,
        notification_min_ms: 200,
        notification_max_ms: 60_000,
        finalize_wait_ms: 200,
        history_txns_max: 4,
        history_bytes_max: 1 << 20,
        outstanding_max: 8,
        snaps_max: 10,
        diffs_max: 100,
        observer_masters: false,
        observer_election_delay_ms: 0,
        observer_reconnect_delay_ms: 0,
        seed: 1,
        counter_max: 1 << 20,
    }
}

impl Cluster {
    pub(super) fn new(voters: &[i64], observers: &[i64], settings: Settings) -> Cluster {
        let disk = Disk { admitted: true, ..Disk::default() };
        let disks = voters.iter().chain(observers).map(|id| (*id, disk.clone())).collect();
        Cluster::with_disks(voters, observers, settings, disks)
    }

    pub(super) fn with_disks(
        voters: &[i64],
        observers: &[i64],
        settings: Settings,
        disks: BTreeMap<i64, Disk>,
    ) -> Cluster {
        let node = |disk: Disk| Node {
            peer: None,
            log: disk.log.clone(),
            committed: disk.committed,
            disk,
            writes: VecDeque::new(),
            listening: None,
            actions: Vec::new(),
            images: BTreeMap::new(),
            synced: Vec::new(),
            learners_syncs: BTreeMap::new(),
            purged: Zxid::ZERO,
            inbox: VecDeque::new(),
            paused: false,
            late: VecDeque::new(),
            reads: VecDeque::new(),
            at_new_leader: None,
        };
        Cluster {
            now: Millis(1000),
            settings,
            membership: Membership::majority(voters, observers, b"config"),
            nodes: disks.into_iter().map(|(id, disk)| (id, node(disk))).collect(),
            connections: Vec::new(),
            mail: BTreeMap::new(),
            cut: BTreeSet::new(),
            silent: BTreeSet::new(),
            links: 0,
            tags: 0,
            payloads: 0,
            asked: BTreeMap::new(),
            decided: Vec::new(),
            broadcast: BTreeMap::new(),
            leaders: BTreeMap::new(),
            reigns: 0,
            modes: BTreeMap::new(),
            reasons: BTreeMap::new(),
            answered: 0,
        }
    }

    /// A txn that disks hold from the beginning.
    pub(super) fn was_broadcast(&mut self, zxid: Zxid, payload: Payload) {
        self.broadcast.insert(zxid, payload);
    }

    pub(super) fn ids(&self) -> Vec<i64> {
        self.nodes.keys().copied().collect()
    }

    pub(super) fn node(&mut self, id: i64) -> &mut Node {
        self.nodes.get_mut(&id).expect("a known server")
    }

    pub(super) fn is_up(&self, id: i64) -> bool {
        self.nodes[&id].peer.is_some()
    }

    pub(super) fn role(&self, id: i64) -> Role {
        self.nodes[&id].peer.as_ref().map_or(Role::Looking, Peer::role)
    }

    /// The established leader of the latest epoch, if there is one.
    pub(super) fn leader(&self) -> Option<i64> {
        let leads = |id: &i64| match self.role(*id) {
            Role::Leading(epoch) => Some((epoch, *id)),
            _ => None,
        };
        self.ids().iter().filter_map(leads).max().map(|(_, id)| id)
    }

    pub(super) fn reach(&self, a: i64, b: i64) -> bool {
        !self.cut.contains(&(a.min(b), a.max(b)))
    }

    // What happens to servers.

    pub(super) fn start(&mut self, id: i64) {
        let mut settings = self.settings.clone();
        settings.me = ServerId(id);
        let kept = settings.history_txns_max;
        let node = self.node(id);
        assert!(node.peer.is_none(), "server {id} is up");
        let disk = &node.disk;
        let last_logged = disk.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        let pending = disk.log.iter().filter(|(zxid, _)| *zxid > disk.committed).count();
        let from = disk.log.len() - (pending + kept).min(disk.log.len());
        let durable = Durable {
            accepted: disk.accepted,
            current: disk.current,
            last_logged,
            committed: disk.committed,
            confirmed: disk.confirmed,
            history: disk.log[from..].to_vec(),
            admitted: disk.admitted,
            provisional: disk.provisional,
        };
        node.log = disk.log.clone();
        node.committed = disk.committed;
        let membership = self.membership.clone();
        self.node(id).peer = Some(Peer::start(settings, membership, durable));
        for other in self.ids() {
            if other != id && self.is_up(other) && self.reach(id, other) {
                self.feed(id, Event::PeerUp(ServerId(other)));
                self.feed(other, Event::PeerUp(ServerId(id)));
            }
        }
        self.feed(id, Event::Tick);
    }

    pub(super) fn start_all(&mut self) {
        for id in self.ids() {
            if !self.is_up(id) {
                self.start(id);
            }
        }
    }

    /// The process dies after `written` of the writes that were on their way.
    /// Whether a quorum keeps everything if this voter loses its disk.
    pub(super) fn can_do_without(&self, id: i64) -> bool {
        let proves = |disk: &Disk| disk.admitted && disk.current > Epoch(0);
        self.membership.voters.iter().all(|voter| voter.0 == id || proves(&self.nodes[&voter.0].disk))
    }

    /// The server crashes, and its folders are empty when it comes back.
    pub(super) fn lose_disk(&mut self, id: i64) {
        self.crash(id, 0);
        self.node(id).disk = Disk { admitted: true, provisional: true, ..Disk::default() };
    }

    pub(super) fn crash(&mut self, id: i64, written: usize) {
        for _ in 0..written {
            if self.node(id).writes.is_empty() {
                break;
            }
            self.write_one(id);
        }
        let node = self.node(id);
        node.peer = None;
        node.writes.clear();
        node.inbox.clear();
        node.reads.clear();
        node.late.clear();
        node.paused = false;
        node.images.clear();
        node.listening = None;
        self.asked.retain(|_, asked| asked.node != id);
        self.mail.retain(|(from, to), _| *from != id && *to != id);
        while let Some(at) = self.connections.iter().position(|c| c.from == id || c.to == id) {
            self.break_connection(at);
        }
        for other in self.ids() {
            if self.is_up(other) {
                self.feed(other, Event::PeerLost(ServerId(id)));
            }
        }
    }

    pub(super) fn partition(&mut self, a: i64, b: i64) {
        if !self.cut.insert((a.min(b), a.max(b))) {
            return;
        }
        while let Some(at) =
            self.connections.iter().position(|c| (c.from, c.to) == (a, b) || (c.from, c.to) == (b, a))
        {
            self.break_connection(at);
        }
        self.mail.retain(|pair, _| *pair != (a, b) && *pair != (b, a));
        for (one, other) in [(a, b), (b, a)] {
            if self.is_up(one) {
                self.feed(one, Event::PeerLost(ServerId(other)));
            }
        }
    }

    pub(super) fn heal(&mut self, a: i64, b: i64) {
        if !self.cut.remove(&(a.min(b), a.max(b))) {
            return;
        }
        for (one, other) in [(a, b), (b, a)] {
            if self.is_up(one) && self.is_up(other) {
                self.feed(one, Event::PeerUp(ServerId(other)));
            }
        }
    }

    pub(super) fn isolate(&mut self, id: i64) {
        for other in self.ids() {
            if other != id {
                self.partition(id, other);
            }
        }
    }

    pub(super) fn heal_all(&mut self) {
        self.silent.clear();
        for node in self.nodes.values_mut() {
            node.paused = false;
        }
        for (a, b) in std::mem::take(&mut self.cut) {
            self.cut.insert((a, b));
            self.heal(a, b);
        }
    }

    /// The link breaks; what is under way is lost.
    pub(super) fn break_connection(&mut self, at: usize) {
        let Connection { from, to, opened, accepted, .. } = self.connections.remove(at);
        self.feed(from, Event::LinkLost { link: opened });
        self.feed(to, Event::LinkLost { link: accepted });
    }

    // What servers do.

    /// One packet arrives, at the opener or at the acceptor.
    pub(super) fn deliver(&mut self, at: usize, to_opener: bool) -> bool {
        let connection = &mut self.connections[at];
        let way = if to_opener { (connection.to, connection.from) } else { (connection.from, connection.to) };
        if self.silent.contains(&way) || self.nodes[&way.1].paused {
            return false;
        }
        let (queue, id, link) = match to_opener {
            true => (&mut connection.to_opener, connection.from, connection.opened),
            false => (&mut connection.to_acceptor, connection.to, connection.accepted),
        };
        let Some(packet) = queue.pop_front() else { return false };
        match packet {
            Packet::Message(message) => {
                if let Message::NewLeader { .. } = message {
                    let node = self.node(id);
                    let last = node.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                    node.at_new_leader = (!node.images.contains_key(&link)).then_some(last);
                }
                self.feed(id, Event::Received { link, message });
            }
            Packet::Image(txns) => {
                let (sender, other) = match self.connections[at].to {
                    to if to_opener => (to, self.connections[at].accepted),
                    _ => (self.connections[at].from, self.connections[at].opened),
                };
                self.node(id).images.insert(link, txns);
                self.feed(sender, Event::SnapSent { link: other });
                self.feed(id, Event::SnapReceived { link });
            }
        }
        true
    }

    pub(super) fn deliver_mail(&mut self, from: i64, to: i64) {
        if self.silent.contains(&(from, to)) || self.nodes[&to].paused {
            return;
        }
        if let Some(notification) = self.mail.remove(&(from, to))
            && self.is_up(to)
        {
            self.feed(to, Event::Notified { from: ServerId(from), notification });
        }
    }

    /// The disk does one thing, and does not say so.
    fn write_one(&mut self, id: i64) -> Option<Event> {
        let decided = self.decided.clone();
        let node = self.node(id);
        let disk = &mut node.disk;
        Some(match node.writes.pop_front()? {
            Write::Append((zxid, payload), committed) => {
                disk.log.push((zxid, payload));
                disk.committed = disk.committed.max(committed);
                disk.confirmed = disk.confirmed.max(committed);
                Event::Flushed(zxid)
            }
            Write::Truncate(to) => {
                // Z9.
                let gone = disk.log.iter().filter(|(zxid, _)| *zxid > to);
                for txn in gone {
                    assert!(!decided.contains(txn), "server {id} cuts the committed txn {}", txn.0);
                }
                disk.log.retain(|(zxid, _)| *zxid <= to);
                Event::Truncated(to)
            }
            Write::SaveEpoch(accepted, current) => {
                // Z12.
                assert!(accepted >= disk.accepted && current >= disk.current, "epochs of {id} go back");
                assert!(accepted >= current, "server {id} takes over {current:?}, accepted {accepted:?}");
                (disk.accepted, disk.current) = (accepted, current);
                disk.provisional = false;
                Event::EpochSaved { accepted, current }
            }
            Write::Install(link, txns) => {
                for txn in &disk.log {
                    assert!(
                        !decided.contains(txn) || txns.contains(txn),
                        "server {id} loses the committed {}",
                        txn.0
                    );
                }
                let zxid = txns.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                disk.log = txns;
                disk.committed = zxid;
                Event::SnapInstalled { link, zxid }
            }
            Write::Admit => {
                disk.admitted = true;
                Event::Admitted
            }
            Write::Disown => {
                (disk.admitted, disk.provisional) = (false, false);
                Event::Disowned
            }
        })
    }

    /// The disk does this many things; appends in a row are one flush.
    pub(super) fn flush(&mut self, id: i64, writes: usize) -> bool {
        if self.nodes[&id].paused {
            return false;
        }
        let mut flushed = None;
        let mut any = false;
        for _ in 0..writes {
            let Some(event) = self.write_one(id) else { break };
            any = true;
            if let Event::Flushed(_) = event {
                flushed = Some(event);
                continue;
            }
            if let Some(flushed) = flushed.take() {
                self.feed(id, flushed);
            }
            self.feed(id, event);
        }
        if let Some(flushed) = flushed {
            self.feed(id, flushed);
        }
        any
    }

    /// A log read is answered.
    pub(super) fn read(&mut self, id: i64) -> bool {
        let node = self.node(id);
        if node.paused {
            return false;
        }
        let Some((link, after, up_to)) = node.reads.pop_front() else { return false };
        let log = &node.disk.log;
        let known = after >= node.purged && log.iter().any(|(zxid, _)| *zxid == after);
        let txns = log.iter().filter(|(zxid, _)| *zxid > after && *zxid <= up_to).cloned().collect();
        self.feed(id, Event::LogRead { link, txns: known.then_some(txns) });
        true
    }

    /// Time goes on, to when somebody wants it or by this much.
    pub(super) fn pass(&mut self, ms_max: u64) {
        let running = self.nodes.values().filter(|node| !node.paused);
        let wanted = running.filter_map(|node| node.peer.as_ref()?.next_tick()).min();
        let to = wanted.unwrap_or(Millis(u64::MAX)).min(self.now.plus(ms_max)).max(self.now);
        self.now = to;
        for id in self.ids() {
            let due = self.nodes[&id].peer.as_ref().and_then(Peer::next_tick).is_some_and(|at| at <= to);
            if due && !self.nodes[&id].paused {
                self.feed(id, Event::Tick);
            }
        }
    }

    /// A write at the leader; `None` while it takes none.
    pub(super) fn submit(&mut self, id: i64) -> Option<Zxid> {
        if self.nodes[&id].paused {
            return None;
        }
        let zxid = self.nodes[&id].peer.as_ref()?.next_zxid()?;
        self.payloads += 1;
        let payload: Payload = Rc::from(self.payloads.to_be_bytes());
        // Z2: one leader an epoch, so no two txns share a zxid.
        let known = self.broadcast.insert(zxid, payload.clone());
        assert!(known.is_none(), "{zxid} is broadcast twice");
        // Z7.
        let older: Vec<Txn> =
            self.decided.iter().filter(|(other, _)| other.epoch() < zxid.epoch()).cloned().collect();
        let node = &self.nodes[&id];
        assert!(node.log.starts_with(&older), "leader {id} broadcasts {zxid} without all that is committed");
        assert!(node.committed >= older.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid));
        self.feed(id, Event::Submitted { zxid, payload });
        Some(zxid)
    }

    /// A client's write at a learner.
    pub(super) fn forward(&mut self, id: i64) {
        self.feed(id, Event::Forward(Forwarded { body: Rc::from(*b"write"), identities: None }));
    }

    /// A client's sync.
    pub(super) fn ask_sync(&mut self, id: i64) -> u64 {
        assert!(!self.nodes[&id].paused);
        self.tags += 1;
        let decided = self.decided.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        self.asked.insert(self.tags, Asked { node: id, decided });
        let request = Forwarded { body: Rc::from(*b"sync"), identities: None };
        self.feed(id, Event::SyncAsked { tag: self.tags, request });
        self.tags
    }

    /// A server that was paused hears one of the things that happened meanwhile.
    pub(super) fn hear(&mut self, id: i64) -> bool {
        if self.nodes[&id].paused {
            return false;
        }
        let Some(event) = self.node(id).late.pop_front() else { return false };
        self.feed(id, event);
        true
    }

    pub(super) fn feed(&mut self, id: i64, event: Event) {
        if self.nodes[&id].paused {
            return self.node(id).late.push_back(event);
        }
        self.node(id).inbox.push_back(event);
        while let Some(event) = self.node(id).inbox.pop_front() {
            let now = self.now;
            let node = self.node(id);
            if let (Event::LearnerSync { link, .. }, Some(Port::Quorum)) = (&event, node.listening) {
                let proposed = node.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                node.learners_syncs.entry(*link).or_default().push_back(proposed);
            }
            let Some(peer) = node.peer.as_mut() else { return };
            let mut actions = Vec::new();
            peer.step(now, event, &mut actions);
            node.actions = actions.clone();
            // TRACE
            for action in actions {
                self.perform(id, action);
            }
            self.check(id);
        }
    }

    fn far_end(&self, id: i64, link: LinkId) -> Option<(usize, bool)> {
        self.connections.iter().enumerate().find_map(|(at, c)| {
            if c.from == id && c.opened == link {
                Some((at, false))
            } else if c.to == id && c.accepted == link {
                Some((at, true))
            } else {
                None
            }
        })
    }

    fn send(&mut self, id: i64, link: LinkId, packet: Packet) {
        let Some((at, to_opener)) = self.far_end(id, link) else { return };
        let connection = &mut self.connections[at];
        let queue = if to_opener { &mut connection.to_opener } else { &mut connection.to_acceptor };
        queue.push_back(packet);
    }

    fn close(&mut self, id: i64, link: LinkId) {
        let Some((at, to_opener)) = self.far_end(id, link) else { return };
        // What was sent arrives first.
        while self.connections.get(at).is_some_and(|_| self.far_end(id, link).is_some()) {
            let Some((at, _)) = self.far_end(id, link) else { break };
            if !self.deliver(at, to_opener) {
                break;
            }
        }
        if let Some((at, _)) = self.far_end(id, link) {
            let Connection { from, to, opened, accepted, .. } = self.connections.remove(at);
            let (other, link) = if from == id { (to, accepted) } else { (from, opened) };
            self.feed(other, Event::LinkLost { link });
        }
    }

    fn perform(&mut self, id: i64, action: Action) {
        match action {
            Action::Notify { to, notification } => {
                let vote = &notification.vote;
                assert!(
                    vote.leader.0 != id || vote.peer_epoch >= i64::from(vote.zxid.epoch().0),
                    "Z12: {vote:?}"
                );
                if self.nodes.contains_key(&to.0) && self.is_up(to.0) && self.reach(id, to.0) {
                    self.mail.insert((id, to.0), notification);
                }
            }
            Action::Connect { link, to, port } => {
                let to = to.0;
                let there = self
                    .nodes
                    .get(&to)
                    .is_some_and(|node| node.peer.is_some() && node.listening == Some(port));
                if self.silent.contains(&(id, to)) || self.silent.contains(&(to, id)) {
                    return;
                }
                if !there || !self.reach(id, to) {
                    return self.node(id).inbox.push_back(Event::LinkLost { link });
                }
                self.links += 1;
                let accepted = LinkId(self.links);
                let (to_opener, to_acceptor) = (VecDeque::new(), VecDeque::new());
                self.connections.push(Connection {
                    from: id,
                    to,
                    opened: link,
                    accepted,
                    to_opener,
                    to_acceptor,
                });
                self.feed(to, Event::Accepted { link: accepted });
                self.node(id).inbox.push_back(Event::Connected { link });
            }
            Action::Listen(port, listening) => {
                let before = std::mem::replace(&mut self.node(id).listening, listening.then_some(port));
                assert!(
                    before == (!listening).then_some(port),
                    "{id} opens or closes {port:?} over {before:?}"
                );
                let links: Vec<LinkId> =
                    self.connections.iter().filter(|c| c.to == id).map(|c| c.accepted).collect();
                for link in links {
                    self.close(id, link);
                }
            }
            Action::Close { link } => self.close(id, link),
            Action::Send { link, message } => {
                self.check_send(id, link, &message);
                self.check_sync_order(id, link, &message);
                self.send(id, link, Packet::Message(message));
            }
            Action::AnswerPing { link, zxid } => {
                let message = Message::Ping { zxid, touched: Rc::from(*b"touched") };
                self.node(id).inbox.push_back(Event::Send { link, message });
            }
            Action::SendSnap { link, zxid } => {
                let node = self.node(id);
                assert!(zxid == node.committed, "an image at {zxid}, committed is {}", node.committed);
                let txns = node.log.iter().filter(|(other, _)| *other <= zxid).cloned().collect();
                self.send(id, link, Packet::Image(txns));
            }
            Action::ReceiveSnap { .. } => {}
            Action::DropSnap { link } => {
                self.node(id).images.remove(&link);
            }
            Action::InstallSnap { link, zxid, txns } => {
                let node = self.node(id);
                let mut image = node.images.remove(&link).expect("an image that was received whole");
                image.extend(txns);
                assert_eq!(image.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid), zxid);
                node.log = image.clone();
                node.committed = zxid;
                node.writes.push_back(Write::Install(link, image));
            }
            Action::ReadLog { link, after, up_to } => self.node(id).reads.push_back((link, after, up_to)),
            Action::Append { zxid, payload } => {
                let node = self.node(id);
                let committed = node.committed;
                node.log.push((zxid, payload.clone()));
                node.writes.push_back(Write::Append((zxid, payload), committed));
            }
            Action::Truncate(to) => {
                let node = self.node(id);
                node.log.retain(|(zxid, _)| *zxid <= to);
                node.writes.push_back(Write::Truncate(to));
            }
            Action::SaveEpoch { accepted, current } => {
                self.node(id).writes.push_back(Write::SaveEpoch(accepted, current));
            }
            Action::Admit => self.node(id).writes.push_back(Write::Admit),
            Action::Disown => self.node(id).writes.push_back(Write::Disown),
            Action::Commit(zxid) => self.commit(id, zxid),
            Action::Became(role) => self.became(id, role),
            Action::Requested { link, forwarded, .. } => match &*forwarded.body {
                b"sync" => {
                    let asked = Event::LearnerSync { link, request: forwarded };
                    self.node(id).inbox.push_back(asked);
                }
                _ if self.nodes[&id].listening == Some(Port::Quorum) => {
                    self.submit(id);
                }
                _ => self.node(id).inbox.push_back(Event::Forward(forwarded)),
            },
            Action::Touched { .. } | Action::Revalidate { .. } | Action::LearnerLost { .. } => {}
            Action::Synced(tag) => {
                let asked = self.asked.remove(&tag).expect("a sync that was asked for");
                assert_eq!(asked.node, id);
                // P5: everything decided when it was asked for is here.
                let committed = self.nodes[&id].committed;
                assert!(committed >= asked.decided, "sync at {committed}, decided was {}", asked.decided);
                self.answered += 1;
                self.node(id).synced.push(tag);
            }
            Action::Observed(observation) => self.observed(observation),
            Action::Fail(failure) => panic!("server {id}: {failure:?}"),
        }
    }

    fn observed(&mut self, observation: Observation) {
        match observation {
            Observation::SteppedDown { reason } => *self.reasons.entry(reason).or_default() += 1,
            Observation::LearnerDropped { reason, .. } => *self.reasons.entry(reason).or_default() += 1,
            Observation::LearnerSyncing { mode, .. } => {
                *self
                    .modes
                    .entry(match mode {
                        crate::zab::event::SyncMode::Diff => "diff",
                        crate::zab::event::SyncMode::Trunc => "trunc",
                        crate::zab::event::SyncMode::Snap => "snap",
                    })
                    .or_default() += 1;
            }
            _ => {}
        }
    }

    // The laws.

    /// Whether a quorum of voters has all of these durably, on the disks themselves.
    fn on_quorum(&self, txn: &Txn) -> bool {
        let holders = self.nodes.iter().filter(|(_, node)| node.disk.log.contains(txn));
        self.membership.is_quorum(&holders.map(|(id, _)| ServerId(*id)).collect())
    }

    fn commit(&mut self, id: i64, zxid: Zxid) {
        let log: Vec<Txn> = self.nodes[&id].log.iter().filter(|(other, _)| *other <= zxid).cloned().collect();
        assert!(
            log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid) == zxid,
            "server {id} commits {zxid}, not logged"
        );
        for (at, txn) in log.iter().enumerate() {
            match self.decided.get(at) {
                // Z3, Z4, Z6.
                Some(decided) => {
                    assert!(decided == txn, "server {id} delivers {}, others {}", txn.0, decided.0)
                }
                None => {
                    // Z2, Z5, L2.
                    let sent = self.broadcast.get(&txn.0);
                    assert!(sent == Some(&txn.1), "{} was not broadcast with these bytes", txn.0);
                    let last = self.decided.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                    assert!(txn.0.follows(last), "{} is committed after {last}", txn.0);
                    assert!(self.on_quorum(txn), "{} is committed and not on a quorum's disks", txn.0);
                    self.decided.push(txn.clone());
                }
            }
        }
        self.node(id).committed = zxid;
    }

    fn became(&mut self, id: i64, role: Role) {
        match role {
            Role::Looking => self.asked.retain(|_, asked| asked.node != id),
            Role::Leading(epoch) => {
                self.reigns += 1;
                // Z8: on its own disk too.
                let node = &self.nodes[&id];
                assert!(
                    node.disk.log.starts_with(&self.decided),
                    "leader {id} of {epoch:?} lacks committed txns"
                );
                assert!(node.committed == node.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid));
            }
            // Z10.
            Role::Following(leader) | Role::Observing(leader) => {
                if matches!(self.role(leader.0), Role::Leading(epoch) if epoch == self.nodes[&id].disk.current)
                {
                    let (log, leaders) = (&self.nodes[&id].log, &self.nodes[&leader.0].log);
                    assert!(leaders.starts_with(log), "server {id} has what its leader has not");
                }
            }
        }
    }

    /// A stock learner takes the answers to what it has forwarded in the order in which it did: what was proposed after its
    /// sync is not committed to it before the sync is answered.
    fn check_sync_order(&mut self, id: i64, link: LinkId, message: &Message) {
        let Some(syncs) = self.node(id).learners_syncs.get_mut(&link) else { return };
        match message {
            Message::Sync => drop(syncs.pop_front()),
            Message::Commit { zxid } | Message::Inform { zxid, .. } => {
                let overtaken = syncs.front().filter(|proposed| zxid > proposed);
                assert!(
                    overtaken.is_none(),
                    "the commit of {zxid} overtakes a sync asked for at {overtaken:?}"
                );
            }
            _ => {}
        }
    }

    fn check_send(&mut self, id: i64, link: LinkId, message: &Message) {
        let node = &self.nodes[&id];
        let newest = node.disk.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        match message {
            Message::NewLeader { zxid, .. } => {
                // Z1.
                let relays = node.listening == Some(Port::Observers);
                let leader = *self.leaders.entry(zxid.epoch()).or_insert(id);
                assert!(leader == id || relays, "{leader} and {id} both lead {:?}", zxid.epoch());
                assert!(node.disk.current == zxid.epoch());
            }
            Message::LeaderInfo { epoch } => {
                assert!(node.disk.accepted == *epoch, "epoch offered, not durable")
            }
            Message::AckEpoch { last, current } => {
                assert!(node.disk.accepted >= current.unwrap_or_default(), "epoch acknowledged, not durable");
                assert!(*last == newest || *last == Zxid::ZERO, "{last} reported, the disk ends at {newest}");
                assert!(node.disk.current >= newest.epoch(), "Z12: {:?} below the log's", node.disk.current);
            }
            Message::Ack { zxid } if zxid.counter() == 0 => {
                assert!(
                    node.disk.current == zxid.epoch(),
                    "NEWLEADER acknowledged before the epoch is durable"
                );
            }
            Message::Ack { zxid } => {
                assert!(
                    node.disk.log.iter().any(|(other, _)| other == zxid),
                    "{zxid} acknowledged, not durable"
                );
                assert!(self.membership.voters.contains(&ServerId(id)) && node.disk.admitted, "Z13");
            }
            Message::Commit { zxid } | Message::Inform { zxid, .. } => {
                // Never without its proposal, nor out of order (checklist 46): the receiver leaves otherwise.
                assert!(self.far_end(id, link).is_none() || node.log.iter().any(|(other, _)| other == zxid));
            }
            _ => {}
        }
    }

    fn check(&mut self, id: i64) {
        let node = &self.nodes[&id];
        let Some(peer) = &node.peer else { return };
        let last = node.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        // While an image is being installed the peer still has the old log.
        if !node.writes.iter().any(|write| matches!(write, Write::Install(..))) {
            assert_eq!(peer.last_logged(), last);
            assert!(peer.committed() <= last);
        }
    }

    // Without faults.

    /// Delivers and flushes everything, in a fixed order, without time passing.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut any = false;
            let mut mail: Vec<_> = self.mail.keys().copied().collect();
            mail.retain(|way| !self.silent.contains(way) && !self.nodes[&way.1].paused);
            for (from, to) in mail {
                any = true;
                self.deliver_mail(from, to);
            }
            for id in self.ids() {
                any |= self.flush(id, usize::MAX) | self.read(id) | self.hear(id);
            }
            for at in 0..self.connections.len() {
                for to_opener in [true, false] {
                    while at < self.connections.len() && self.deliver(at, to_opener) {
                        any = true;
                    }
                }
            }
            if !any {
                return;
            }
        }
        panic!("messages without end, {:?}", self.reasons);
    }

    /// Time passes, faultless, until this holds.
    pub(super) fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut Cluster) -> bool) {
        self.settle();
        for _ in 0..3_000 {
            if done(self) {
                return;
            }
            self.pass(u64::MAX);
            self.settle();
        }
        let roles: Vec<String> = self.ids().iter().map(|id| format!("{id}: {:?}", self.role(*id))).collect();
        panic!("never: {what}; {roles:?}; {:?}", self.reasons);
    }

    /// Faults are over: all serve, with the same history.
    pub(super) fn converge(&mut self) {
        self.heal_all();
        self.start_all();
        self.run_until("all serve", |cluster| {
            cluster.ids().iter().all(|id| cluster.role(*id) != Role::Looking)
                && cluster.ids().iter().all(|id| {
                    cluster.membership.observers.contains(&ServerId(*id))
                        || !matches!(cluster.role(*id), Role::Observing(_))
                })
        });
        let leader = self.leader().expect("a leader");
        if let Some(zxid) = self.submit(leader) {
            self.run_until("all have it", |cluster| {
                cluster.nodes.values().all(|node| node.committed >= zxid)
            });
        }
        self.settle();
        for (id, node) in &self.nodes {
            assert!(node.log == self.decided, "server {id} differs: {:?}", node.log.len());
        }
    }
}
