#![forbid(unsafe_code)]
//! A network that is made up: hosts with sockets that behave as the ring's do, and scripted ends that say what a test has
//! them say. Nothing happens by itself; [`World::run`] goes on until nothing happens any more.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use crate::base::{Epoch, Millis, ServerId, Zxid};
use crate::runtime::peers::names::{Answer, Names};
use crate::runtime::peers::{Address, PeerEvent, Peers, Server, Settings, Sockets};
use crate::runtime::sys::{SocketEvent, SocketId};
use crate::zab::Event;
use crate::zab::message::{LinkId, Message, Notification, Port as ZabPort, State, Vote};

pub(super) const REFUSED: i32 = 111;
pub(super) const RESET: i32 = 104;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct End(usize);

#[derive(Default)]
struct EndState {
    arrived: VecDeque<u8>,
    /// The other end sends nothing more.
    over: bool,
    reset: bool,
    /// We closed it.
    closed: bool,
    address: Option<SocketAddr>,
}

enum Thing {
    Listening(SocketAddr),
    Fresh,
    Connected(End),
}

/// What lies between hosts.
#[derive(Default)]
struct Net {
    ends: Vec<EndState>,
    /// Who listens, and connections that wait there.
    listeners: BTreeMap<SocketAddr, VecDeque<End>>,
    /// Addresses that do not answer at all.
    silent: BTreeSet<IpAddr>,
    things: BTreeMap<RawFd, Thing>,
    /// Bytes that may be on their way in one direction.
    window: usize,
    /// Bytes that ever left.
    moved: usize,
}

impl Net {
    fn pair(&mut self, from: SocketAddr, to: SocketAddr) -> (End, End) {
        let caller = End(self.ends.len());
        self.ends.push(EndState { address: Some(to), ..EndState::default() });
        self.ends.push(EndState { address: Some(from), ..EndState::default() });
        (caller, End(caller.0 + 1))
    }

    fn other(end: End) -> End {
        End(end.0 ^ 1)
    }

    fn connect(&mut self, from: SocketAddr, to: SocketAddr) -> Result<End, i32> {
        if !self.listeners.contains_key(&to) {
            return Err(REFUSED);
        }
        let (caller, called) = self.pair(from, to);
        self.listeners.get_mut(&to).expect("looked up above").push_back(called);
        Ok(caller)
    }

    /// Sends what fits.
    fn send(&mut self, end: End, bytes: &[u8]) -> Result<usize, i32> {
        if self.ends[end.0].reset || self.ends[Net::other(end).0].closed {
            return Err(RESET);
        }
        let arrived = &mut self.ends[Net::other(end).0].arrived;
        let sent = bytes.len().min(self.window.saturating_sub(arrived.len()));
        arrived.extend(&bytes[..sent]);
        self.moved += sent;
        Ok(sent)
    }

    fn close(&mut self, end: End) {
        let ours = &mut self.ends[end.0];
        // As the kernel does: a socket that is closed over unread bytes is reset.
        let unread = !ours.arrived.is_empty();
        ours.closed = true;
        ours.arrived.clear();
        let theirs = &mut self.ends[Net::other(end).0];
        theirs.over = true;
        theirs.reset |= unread;
    }

    fn fd(&mut self, thing: Thing) -> OwnedFd {
        let fd: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        self.things.insert(fd.as_raw_fd(), thing);
        fd
    }
}

struct Socket {
    _fd: OwnedFd,
    thing: Thing,
    accepting: bool,
    connecting: Option<SocketAddr>,
    receiving: bool,
    received: Vec<u8>,
    sending: Option<(Vec<u8>, usize)>,
}

/// The sockets of one host.
pub(super) struct Host {
    net: Rc<RefCell<Net>>,
    ip: IpAddr,
    sockets: BTreeMap<SocketId, Socket>,
    next: u64,
    /// Bytes of one receive at most.
    receive_max: usize,
    /// How many sends were asked for.
    pub(super) sends: usize,
}

impl Host {
    /// Sockets that are open.
    pub(super) fn open(&self) -> usize {
        self.sockets.len()
    }

    /// What completes now.
    pub(super) fn turn(&mut self) -> Vec<SocketEvent> {
        let mut events = Vec::new();
        let ids: Vec<SocketId> = self.sockets.keys().copied().collect();
        let net = &mut *self.net.borrow_mut();
        for id in ids {
            let socket = self.sockets.get_mut(&id).unwrap();
            if let Some(to) = socket.connecting.filter(|to| !net.silent.contains(&to.ip())) {
                socket.connecting = None;
                match net.connect(SocketAddr::new(self.ip, 0), to) {
                    Ok(end) => {
                        socket.thing = Thing::Connected(end);
                        events.push(SocketEvent::Connected(id, Ok(())));
                    }
                    Err(error) => {
                        self.sockets.remove(&id);
                        events.push(SocketEvent::Connected(id, Err(error)));
                        continue;
                    }
                }
            }
            match socket.thing {
                Thing::Listening(address) => {
                    if socket.accepting
                        && let Some(end) = net.listeners.get_mut(&address).and_then(VecDeque::pop_front)
                    {
                        socket.accepting = false;
                        events.push(SocketEvent::Accepted(id, Ok(net.fd(Thing::Connected(end)))));
                    }
                }
                Thing::Connected(end) => {
                    if let Some((bytes, sent)) = &mut socket.sending {
                        let result = net.send(end, &bytes[*sent..]);
                        *sent += result.unwrap_or(0);
                        if result.is_err() || *sent == bytes.len() {
                            let (mut buffer, _) = socket.sending.take().unwrap();
                            buffer.clear();
                            events.push(SocketEvent::Sent(id, result.map(|_| buffer)));
                        }
                    }
                    let state = &mut net.ends[end.0];
                    let over = state.reset || state.over && state.arrived.is_empty();
                    if socket.receiving && (over || !state.arrived.is_empty()) {
                        socket.receiving = false;
                        let bytes = state.arrived.len().min(self.receive_max);
                        socket.received = state.arrived.drain(..bytes).collect();
                        let result = if state.reset { Err(RESET) } else { Ok(bytes) };
                        events.push(SocketEvent::Received(id, result));
                    }
                }
                Thing::Fresh => {}
            }
        }
        events
    }
}

impl Sockets for Host {
    fn listening(&mut self, address: SocketAddr) -> io::Result<OwnedFd> {
        let mut net = self.net.borrow_mut();
        if net.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        net.listeners.insert(address, VecDeque::new());
        Ok(net.fd(Thing::Listening(address)))
    }
    fn fresh(&mut self, _: SocketAddr) -> io::Result<OwnedFd> {
        Ok(self.net.borrow_mut().fd(Thing::Fresh))
    }
    fn add_socket(&mut self, fd: OwnedFd) -> SocketId {
        let thing = self.net.borrow_mut().things.remove(&fd.as_raw_fd()).expect("a descriptor of ours");
        let id = SocketId::made_up(self.next);
        self.next += 1;
        let socket = Socket {
            _fd: fd,
            thing,
            accepting: false,
            connecting: None,
            receiving: false,
            received: Vec::new(),
            sending: None,
        };
        self.sockets.insert(id, socket);
        id
    }
    fn accept(&mut self, id: SocketId) {
        self.sockets.get_mut(&id).unwrap().accepting = true;
    }
    fn connect(&mut self, id: SocketId, address: SocketAddr) {
        self.sockets.get_mut(&id).unwrap().connecting = Some(address);
    }
    fn receive(&mut self, id: SocketId) {
        self.sockets.get_mut(&id).unwrap().receiving = true;
    }
    fn received(&self, id: SocketId) -> &[u8] {
        &self.sockets[&id].received
    }
    fn send(&mut self, id: SocketId, bytes: Vec<u8>) {
        let socket = self.sockets.get_mut(&id).unwrap();
        assert!(socket.sending.replace((bytes, 0)).is_none(), "one send at a time");
        self.sends += 1;
    }
    fn finish(&mut self, id: SocketId) {
        if let Thing::Connected(end) = self.sockets[&id].thing {
            self.net.borrow_mut().ends[Net::other(end).0].over = true;
        }
    }
    fn close(&mut self, id: SocketId) {
        match self.sockets.remove(&id).map(|socket| socket.thing) {
            Some(Thing::Connected(end)) => self.net.borrow_mut().close(end),
            Some(Thing::Listening(address)) => drop(self.net.borrow_mut().listeners.remove(&address)),
            Some(Thing::Fresh) | None => {}
        }
    }
    fn peer_address(&self, id: SocketId) -> Option<SocketAddr> {
        match self.sockets.get(&id)?.thing {
            Thing::Connected(end) => self.net.borrow().ends[end.0].address,
            _ => None,
        }
    }
}

/// What names stand for; those without an entry are not answered.
pub(super) type Zone = Rc<RefCell<BTreeMap<String, Result<Vec<IpAddr>, String>>>>;

struct MadeUpNames {
    zone: Zone,
    asked: VecDeque<(u64, String)>,
}

impl Names for MadeUpNames {
    fn ask(&mut self, query: u64, host: &str) {
        self.asked.push_back((query, host.to_owned()));
    }
    fn take(&mut self) -> Option<Answer> {
        let at = self.asked.iter().position(|(_, host)| self.zone.borrow().contains_key(host))?;
        let (query, host) = self.asked.remove(at)?;
        Some(Answer { query, addresses: self.zone.borrow()[&host].clone() })
    }
}

/// A server under test.
pub(super) struct Node {
    pub(super) peers: Peers,
    pub(super) host: Host,
    pub(super) seen: Vec<PeerEvent>,
}

/// Everything.
pub(super) struct World {
    net: Rc<RefCell<Net>>,
    pub(super) zone: Zone,
    pub(super) now: Millis,
    pub(super) nodes: BTreeMap<i64, Node>,
}

pub(super) fn ip(id: i64) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, id as u8).into()
}

pub(super) fn election(id: i64) -> SocketAddr {
    SocketAddr::new(ip(id), 3888)
}

pub(super) fn quorum(id: i64) -> SocketAddr {
    SocketAddr::new(ip(id), 2888)
}

pub(super) fn address(host: &str, port: u16) -> Address {
    Address { host: host.into(), port }
}

/// A server at 10.0.0.`id`.
pub(super) fn server(id: i64) -> Server {
    let host = ip(id).to_string();
    Server { id: ServerId(id), quorum: vec![address(&host, 2888)], election: vec![address(&host, 3888)] }
}

pub(super) fn settings(me: i64, servers: Vec<Server>) -> Settings {
    Settings {
        me: ServerId(me),
        servers,
        listen_on_all: false,
        connect_timeout_ms: 5_000,
        tick_ms: 2_000,
        packet_bytes_max: 1 << 20,
        bind_patience: std::time::Duration::ZERO,
        observers: None,
        seed: me as u64,
    }
}

pub(super) fn notification(leader: i64, round: i64) -> Notification {
    let vote = Vote { leader: ServerId(leader), zxid: Zxid(5), peer_epoch: 0 };
    Notification { state: State::Looking, vote, round, version: 2, config: Rc::from(&b"version=0"[..]) }
}

pub(super) fn commit(counter: u32) -> Message {
    Message::Commit { zxid: Zxid::from_parts(Epoch(1), counter) }
}

impl World {
    pub(super) fn new() -> World {
        let net = Net { window: 64 << 10, ..Net::default() };
        World {
            net: Rc::new(RefCell::new(net)),
            zone: Zone::default(),
            now: Millis(0),
            nodes: BTreeMap::new(),
        }
    }

    /// Servers 1 to `n`, none started yet but those in `start`.
    pub(super) fn of(n: i64, start: &[i64]) -> World {
        let mut world = World::new();
        for me in start {
            world.start(settings(*me, (1..=n).map(server).collect()));
        }
        world
    }

    pub(super) fn start(&mut self, settings: Settings) {
        self.try_start(settings).unwrap();
    }

    pub(super) fn try_start(&mut self, settings: Settings) -> io::Result<()> {
        let me = settings.me.0;
        let mut host = Host {
            net: self.net.clone(),
            ip: ip(me),
            sockets: BTreeMap::new(),
            next: 0,
            receive_max: 1 << 20,
            sends: 0,
        };
        let names = Box::new(MadeUpNames { zone: self.zone.clone(), asked: VecDeque::new() });
        let peers = Peers::with_names(settings, &mut host, names, self.now)?;
        self.nodes.insert(me, Node { peers, host, seen: Vec::new() });
        Ok(())
    }

    /// The process of a server is gone, and its host's kernel says so.
    pub(super) fn kill(&mut self, id: i64) {
        let mut node = self.nodes.remove(&id).unwrap();
        for socket in node.host.sockets.keys().copied().collect::<Vec<_>>() {
            node.host.close(socket);
        }
    }

    /// The host does not answer, nor take anything.
    pub(super) fn silence(&mut self, id: i64, silent: bool) {
        let silenced = &mut self.net.borrow_mut().silent;
        if silent {
            silenced.insert(ip(id));
        } else {
            silenced.remove(&ip(id));
        }
    }

    /// Bytes of one receive, everywhere.
    pub(super) fn receive_at_most(&mut self, bytes: usize) {
        self.nodes.values_mut().for_each(|node| node.host.receive_max = bytes);
    }

    /// Bytes on their way in one direction.
    pub(super) fn window(&mut self, bytes: usize) {
        self.net.borrow_mut().window = bytes;
    }

    pub(super) fn node(&mut self, id: i64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Until nothing happens.
    pub(super) fn run(&mut self) {
        // What one turn flushes moves in the next.
        let mut idle = 0;
        for _ in 0..1_000_000 {
            idle = if self.turn() { 0 } else { idle + 1 };
            if idle == 2 {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// One turn of every server; whether anything happened.
    pub(super) fn turn(&mut self) -> bool {
        let mut busy = false;
        let before = self.net.borrow().moved;
        for node in self.nodes.values_mut() {
            for event in node.host.turn() {
                busy = true;
                node.peers.on_socket(&mut node.host, self.now, event);
            }
            node.peers.tick(&mut node.host, self.now);
            while let Some(event) = node.peers.take() {
                busy = true;
                node.seen.push(event);
            }
            node.peers.flush(&mut node.host);
        }
        busy || self.net.borrow().moved > before
    }

    /// Lets time pass, doing what is due on the way.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.plus(ms);
        loop {
            self.run();
            let next = self.nodes.values().filter_map(|node| node.peers.next_tick()).min();
            let next = next.filter(|next| *next <= end);
            self.now = next.unwrap_or(end).max(self.now);
            if next.is_none() {
                return self.run();
            }
        }
    }

    pub(super) fn notify(&mut self, from: i64, to: i64, notification: &Notification) {
        let now = self.now;
        let Node { peers, host, .. } = self.node(from);
        peers.notify(host, now, ServerId(to), notification);
    }

    pub(super) fn connect(&mut self, from: i64, link: LinkId, to: i64) {
        let now = self.now;
        let Node { peers, host, .. } = self.node(from);
        peers.connect(host, now, link, (ServerId(to), ZabPort::Quorum));
    }

    /// Gives the links that closing the port closes.
    pub(super) fn listen(&mut self, id: i64, on: bool) -> Vec<LinkId> {
        let Node { peers, host, .. } = self.node(id);
        peers.listen(host, ZabPort::Quorum, on)
    }

    pub(super) fn close(&mut self, id: i64, link: LinkId) {
        let Node { peers, host, .. } = self.node(id);
        peers.close(host, link);
    }

    /// What a server has seen since the last time it was asked.
    pub(super) fn seen(&mut self, id: i64) -> Vec<PeerEvent> {
        std::mem::take(&mut self.node(id).seen)
    }

    /// The same, as short words.
    pub(super) fn words(&mut self, id: i64) -> Vec<String> {
        self.seen(id).iter().map(word).collect()
    }

    // A scripted end.

    pub(super) fn dial(&self, from: i64, to: SocketAddr) -> Result<End, i32> {
        self.net.borrow_mut().connect(SocketAddr::new(ip(from), 40_000), to)
    }

    pub(super) fn script_listens(&self, at: SocketAddr) {
        self.net.borrow_mut().listeners.insert(at, VecDeque::new());
    }

    pub(super) fn script_leaves(&self, at: SocketAddr) {
        self.net.borrow_mut().listeners.remove(&at);
    }

    pub(super) fn script_accepts(&self, at: SocketAddr) -> Option<End> {
        self.net.borrow_mut().listeners.get_mut(&at)?.pop_front()
    }

    pub(super) fn write(&self, end: End, bytes: &[u8]) {
        assert_eq!(self.net.borrow_mut().send(end, bytes), Ok(bytes.len()));
    }

    pub(super) fn read(&self, end: End) -> Vec<u8> {
        self.net.borrow_mut().ends[end.0].arrived.drain(..).collect()
    }

    /// Whether the other end has closed or finished.
    pub(super) fn is_over(&self, end: End) -> bool {
        self.net.borrow().ends[end.0].over
    }

    pub(super) fn is_reset(&self, end: End) -> bool {
        self.net.borrow().ends[end.0].reset
    }

    pub(super) fn hang_up(&self, end: End) {
        self.net.borrow_mut().close(end);
    }

    /// The other end learns that the connection was reset.
    pub(super) fn reset(&self, end: End) {
        let mut net = self.net.borrow_mut();
        net.close(end);
        net.ends[Net::other(end).0].reset = true;
    }
}

/// An event in a word or two.
pub(super) fn word(event: &PeerEvent) -> String {
    match event {
        PeerEvent::ImageRoom { link } => format!("room {}", number(*link)),
        PeerEvent::ImageBytes { link, bytes } => format!("image {} {} B", number(*link), bytes.len()),
        PeerEvent::Zab(event) => match event {
            Event::Notified { from, notification } => format!("{} says {}", from.0, notification.round),
            Event::PeerUp(server) => format!("{} up", server.0),
            Event::PeerLost(server) => format!("{} lost", server.0),
            Event::Connected { link } => format!("connected {}", number(*link)),
            Event::Accepted { link } => format!("accepted {}", number(*link)),
            Event::LinkLost { link } => format!("lost {}", number(*link)),
            Event::LinkBroken { link } => format!("broken {}", number(*link)),
            Event::Received { link, message } => format!("{} {message:?}", number(*link)),
            event => panic!("{event:?} is not of a link"),
        },
    }
}

/// Links of ours with a prime.
fn number(link: LinkId) -> String {
    match link.0.checked_sub(LinkId::OURS) {
        Some(ours) => format!("{ours}'"),
        None => link.0.to_string(),
    }
}
