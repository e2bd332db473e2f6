//! The network between servers: streams whose bytes take their time, stall while their direction is cut, and end with a
//! reset that loses what was on its way. The links above it are production's (`runtime::peers`), so every message is
//! really encoded, framed and decoded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ringkeeper::runtime::sys::{SocketEvent, SocketId};

use crate::disk::Rng;
use crate::world::within;

/// Bytes on their way to a socket, or waiting in it, past which a send waits too.
pub(crate) const SOCKET_BYTES: usize = 256 << 10;

const REFUSED: i32 = 111;
const RESET: i32 = 104;

/// The address of a server's machine.
pub(crate) fn ip(host: i64) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(host).unwrap()).into()
}

fn host_of(ip: IpAddr) -> i64 {
    match ip {
        IpAddr::V4(ip) => i64::from(ip.octets()[3]),
        IpAddr::V6(_) => unreachable!("simulated machines have IPv4 addresses"),
    }
}

/// One end of a connection; the other one has the neighbouring number.
type End = usize;

struct EndState {
    host: i64,
    address: SocketAddr,
    /// What is on its way here or waits here, and when it arrives.
    arriving: VecDeque<(u64, Vec<u8>)>,
    /// When the end of the stream arrives.
    over: Option<u64>,
    /// When a reset arrives.
    reset: Option<u64>,
    closed: bool,
}

impl EndState {
    fn new(host: i64, address: SocketAddr) -> EndState {
        EndState { host, address, arriving: VecDeque::new(), over: None, reset: None, closed: false }
    }

    fn arriving_bytes(&self) -> usize {
        self.arriving.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn last_due(&self) -> u64 {
        self.arriving.back().map_or(0, |(due, _)| *due)
    }
}

enum Thing {
    Listening(SocketAddr),
    Fresh,
    Connected(End),
}

struct Socket {
    _fd: OwnedFd,
    thing: Thing,
    accepting: bool,
    connecting: Option<(u64, SocketAddr)>,
    receiving: bool,
    received: Vec<u8>,
    sending: Option<Vec<u8>>,
}

/// All machines' sockets, and what lies between them.
pub(crate) struct Network {
    ends: Vec<EndState>,
    listeners: BTreeMap<SocketAddr, VecDeque<End>>,
    /// Descriptors that no machine has taken into its care yet.
    things: BTreeMap<RawFd, Thing>,
    sockets: BTreeMap<(i64, u64), Socket>,
    next_socket: u64,
    /// Directions in which nothing gets through.
    cut: BTreeSet<(i64, i64)>,
    /// How long bytes may be on their way.
    delay_ms: RangeInclusive<u64>,
    altering: Option<Altering>,
    rng: Rng,
}

/// Bits turn over on their way, past TCP's checksum.
struct Altering {
    /// In streams to and from this port.
    port: u16,
    /// In one of so many sends.
    one_in: u64,
    /// So many more times.
    left: u32,
}

impl Network {
    pub(crate) fn new(seed: u64, delay_ms: RangeInclusive<u64>) -> Network {
        Network {
            ends: Vec::new(),
            listeners: BTreeMap::new(),
            things: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next_socket: 1,
            cut: BTreeSet::new(),
            delay_ms,
            altering: None,
            rng: Rng::new(seed),
        }
    }

    /// From now on.
    pub(crate) fn set_delay(&mut self, delay_ms: RangeInclusive<u64>) {
        self.delay_ms = delay_ms;
    }

    /// From now on a bit turns over in one of so many sends on streams of this port, so many times in all.
    pub(crate) fn alter(&mut self, port: u16, one_in: u64, times: u32) {
        self.altering = Some(Altering { port, one_in, left: times });
    }

    /// How many bits are still to turn over.
    pub(crate) fn alters(&self) -> u32 {
        self.altering.as_ref().map_or(0, |altering| altering.left)
    }

    fn altered(&mut self, end: End, bytes: &mut [u8]) {
        let Some(Altering { port, one_in, left }) = &mut self.altering else { return };
        let is_of = [end, end ^ 1].iter().any(|end| self.ends[*end].address.port() == *port);
        if is_of && *left > 0 && self.rng.below(*one_in) == 0 {
            *left -= 1;
            let bit = self.rng.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn delay(&mut self) -> u64 {
        within(&mut self.rng, &self.delay_ms)
    }

    fn thing(&mut self, thing: Thing) -> io::Result<OwnedFd> {
        let fd: OwnedFd = std::fs::File::open("/dev/null")?.into();
        self.things.insert(fd.as_raw_fd(), thing);
        Ok(fd)
    }

    pub(crate) fn listening(&mut self, address: SocketAddr) -> io::Result<OwnedFd> {
        if self.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.insert(address, VecDeque::new());
        self.thing(Thing::Listening(address))
    }

    pub(crate) fn fresh(&mut self) -> io::Result<OwnedFd> {
        self.thing(Thing::Fresh)
    }

    pub(crate) fn add_socket(&mut self, host: i64, fd: OwnedFd) -> u64 {
        let thing = self.things.remove(&fd.as_raw_fd()).expect("a descriptor of this network");
        let id = self.next_socket;
        self.next_socket += 1;
        let socket = Socket {
            _fd: fd,
            thing,
            accepting: false,
            connecting: None,
            receiving: false,
            received: Vec::new(),
            sending: None,
        };
        self.sockets.insert((host, id), socket);
        id
    }

    pub(crate) fn accept(&mut self, host: i64, id: u64) {
        if let Some(socket) = self.sockets.get_mut(&(host, id)) {
            socket.accepting = true;
        }
    }

    pub(crate) fn connect(&mut self, host: i64, id: u64, now: u64, to: SocketAddr) {
        let due = now + self.delay();
        if let Some(socket) = self.sockets.get_mut(&(host, id)) {
            socket.connecting = Some((due, to));
        }
    }

    pub(crate) fn receive(&mut self, host: i64, id: u64) {
        if let Some(socket) = self.sockets.get_mut(&(host, id)) {
            socket.receiving = true;
        }
    }

    /// Lends what the last receive brought; the sockets' trait gives out a reference.
    pub(crate) fn take_received(&mut self, host: i64, id: u64) -> Vec<u8> {
        self.sockets
            .get_mut(&(host, id))
            .map(|socket| std::mem::take(&mut socket.received))
            .unwrap_or_default()
    }

    pub(crate) fn send(&mut self, host: i64, id: u64, bytes: Vec<u8>) {
        if let Some(socket) = self.sockets.get_mut(&(host, id)) {
            assert!(socket.sending.replace(bytes).is_none(), "one send at a time");
        }
    }

    pub(crate) fn finish(&mut self, host: i64, id: u64, now: u64) {
        if let Some(Socket { thing: Thing::Connected(end), .. }) = self.sockets.get(&(host, id)) {
            self.end_stream(*end ^ 1, now);
        }
    }

    pub(crate) fn close(&mut self, host: i64, id: u64, now: u64) {
        match self.sockets.remove(&(host, id)).map(|socket| socket.thing) {
            Some(Thing::Connected(end)) => {
                self.ends[end].closed = true;
                self.end_stream(end ^ 1, now);
            }
            Some(Thing::Listening(address)) => drop(self.listeners.remove(&address)),
            Some(Thing::Fresh) | None => {}
        }
    }

    pub(crate) fn peer_address(&self, host: i64, id: u64) -> Option<SocketAddr> {
        match self.sockets.get(&(host, id))?.thing {
            Thing::Connected(end) => Some(self.ends[end].address),
            Thing::Listening(_) | Thing::Fresh => None,
        }
    }

    fn end_stream(&mut self, end: End, now: u64) {
        let due = (now + self.delay()).max(self.ends[end].last_due());
        self.ends[end].over.get_or_insert(due);
    }

    fn passes(&self, from: i64, to: i64) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Whether anything of this connection gets here.
    fn reaches(&self, end: End) -> bool {
        self.passes(self.ends[end ^ 1].host, self.ends[end].host)
    }

    /// When something completes on the sockets of this machine, if nothing else happens.
    pub(crate) fn next_due(&self, host: i64) -> Option<u64> {
        let sockets = self.sockets.range((host, 0)..(host + 1, 0));
        sockets.filter_map(|(_, socket)| self.socket_due(host, socket)).min()
    }

    fn socket_due(&self, host: i64, socket: &Socket) -> Option<u64> {
        if let Some((due, to)) = socket.connecting {
            let to = host_of(to.ip());
            return Some(due).filter(|_| self.passes(host, to) && self.passes(to, host));
        }
        match socket.thing {
            Thing::Fresh => None,
            Thing::Listening(address) => {
                let waits = self.listeners.get(&address).is_some_and(|queue| !queue.is_empty());
                (socket.accepting && waits).then_some(0)
            }
            Thing::Connected(end) if socket.sending.is_some() && self.takes_more(end ^ 1) => Some(0),
            Thing::Connected(end) => self.arrival(end).filter(|_| socket.receiving),
        }
    }

    /// Whether the other side may send, or learn that it cannot.
    fn takes_more(&self, end: End) -> bool {
        let state = &self.ends[end];
        let is_over = state.closed || self.ends[end ^ 1].reset.is_some();
        is_over || state.arriving_bytes() < SOCKET_BYTES
    }

    /// Bytes on their way to this machine, or waiting there, on the connection that has most of them.
    pub(crate) fn waits_for(&self, host: i64) -> usize {
        let open = (0..self.ends.len()).filter(|end| self.is_open_at(*end, host));
        open.map(|end| self.ends[end].arriving_bytes()).max().unwrap_or(0)
    }

    fn arrival(&self, end: End) -> Option<u64> {
        let state = &self.ends[end];
        let bytes = state.arriving.front().map(|(due, _)| *due).or(state.over);
        let passing = bytes.filter(|_| self.reaches(end));
        // A reset is made by this machine's kernel as well: it gets here in any case.
        passing.into_iter().chain(state.reset).min()
    }

    /// What completes on the sockets of this machine by `now`.
    pub(crate) fn complete(&mut self, host: i64, now: u64) -> Vec<SocketEvent> {
        let mut events = Vec::new();
        let ids: Vec<u64> = self.sockets.range((host, 0)..(host + 1, 0)).map(|((_, id), _)| *id).collect();
        for id in ids {
            let due = self.sockets.get(&(host, id)).and_then(|socket| self.socket_due(host, socket));
            if due.is_some_and(|due| due <= now) {
                events.extend(self.complete_one(host, id, now));
            }
        }
        events
    }

    fn complete_one(&mut self, host: i64, id: u64, now: u64) -> Option<SocketEvent> {
        let name = SocketId::made_up(id);
        let takes_more = match self.sockets.get(&(host, id))?.thing {
            Thing::Connected(end) => self.takes_more(end ^ 1),
            Thing::Listening(_) | Thing::Fresh => false,
        };
        let socket = self.sockets.get_mut(&(host, id))?;
        if let Some((_, to)) = socket.connecting.take() {
            let Some(queue) = self.listeners.get_mut(&to) else {
                self.sockets.remove(&(host, id));
                return Some(SocketEvent::Connected(name, Err(REFUSED)));
            };
            let end = self.ends.len();
            socket.thing = Thing::Connected(end);
            queue.push_back(end + 1);
            self.ends.push(EndState::new(host, to));
            self.ends.push(EndState::new(host_of(to.ip()), SocketAddr::new(ip(host), 0)));
            return Some(SocketEvent::Connected(name, Ok(())));
        }
        match socket.thing {
            Thing::Fresh => None,
            Thing::Listening(address) => {
                socket.accepting = false;
                let end = self.listeners.get_mut(&address)?.pop_front()?;
                let fd = self.thing(Thing::Connected(end)).unwrap();
                Some(SocketEvent::Accepted(name, Ok(fd)))
            }
            Thing::Connected(end) => {
                if takes_more && let Some(mut bytes) = socket.sending.take() {
                    let theirs = &self.ends[end ^ 1];
                    if theirs.closed || self.ends[end].reset.is_some() {
                        return Some(SocketEvent::Sent(name, Err(RESET)));
                    }
                    let due = (now + self.delay()).max(self.ends[end ^ 1].last_due());
                    let mut arriving = bytes.clone();
                    self.altered(end, &mut arriving);
                    self.ends[end ^ 1].arriving.push_back((due, arriving));
                    bytes.clear();
                    return Some(SocketEvent::Sent(name, Ok(bytes)));
                }
                let reaches = self.reaches(end);
                let state = &mut self.ends[end];
                let socket = self.sockets.get_mut(&(host, id))?;
                socket.receiving = false;
                if state.reset.is_some_and(|due| due <= now) {
                    return Some(SocketEvent::Received(name, Err(RESET)));
                }
                socket.received.clear();
                while reaches && state.arriving.front().is_some_and(|(due, _)| *due <= now) {
                    let (_, bytes) = state.arriving.pop_front()?;
                    socket.received.extend(bytes);
                }
                Some(SocketEvent::Received(name, Ok(socket.received.len())))
            }
        }
    }

    /// The machine's process is gone. Its peers hear of it when their next bytes meet a kernel that knows nothing of the
    /// connection: soon, or, if the machine lost its power, late.
    pub(crate) fn crash(&mut self, host: i64, now: u64, late: bool) {
        let ids: Vec<u64> = self.sockets.range((host, 0)..(host + 1, 0)).map(|((_, id), _)| *id).collect();
        for id in ids {
            match self.sockets.remove(&(host, id)).map(|socket| socket.thing) {
                Some(Thing::Connected(end)) => {
                    self.ends[end].closed = true;
                    let due = now + if late { self.rng.below(3_000) } else { self.delay() };
                    self.ends[end ^ 1].reset.get_or_insert(due);
                }
                Some(Thing::Listening(address)) => {
                    for end in self.listeners.remove(&address).unwrap_or_default() {
                        self.ends[end].closed = true;
                        self.ends[end ^ 1].reset.get_or_insert(now);
                    }
                }
                Some(Thing::Fresh) | None => {}
            }
        }
        // What it was given in its last moment, and has not taken.
        let left: Vec<End> = (0..self.ends.len()).filter(|end| self.is_open_at(*end, host)).collect();
        for end in left {
            self.ends[end].closed = true;
            self.ends[end ^ 1].reset.get_or_insert(now);
        }
    }

    fn is_open_at(&self, end: End, host: i64) -> bool {
        self.ends[end].host == host && !self.ends[end].closed
    }

    /// Nothing gets from one machine to the other until [`Network::mend`].
    pub(crate) fn cut(&mut self, from: i64, to: i64) {
        self.cut.insert((from, to));
    }

    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }

    /// Some connection between two machines ends, and what was on its way is lost.
    pub(crate) fn reset_one(&mut self, now: u64) {
        let open = |end: &End| !self.ends[*end].closed && !self.ends[end ^ 1].closed;
        let live: Vec<End> = (0..self.ends.len()).filter(open).collect();
        if live.is_empty() {
            return;
        }
        let end = live[self.rng.below(live.len() as u64) as usize];
        for end in [end, end ^ 1] {
            let state = &mut self.ends[end];
            state.arriving.clear();
            state.reset.get_or_insert(now);
        }
    }
}
