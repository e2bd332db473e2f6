#![forbid(unsafe_code)]
//! Every socket between servers. Lives on: the sequencer. Knows bytes and addresses, and nothing of what Zab makes of a
//! message: [`crate::zab`] says whom to connect to, what to send and what to close; this folder does it and reports what
//! happened.
//!
//! ```text
//!                 election port, always open              quorum port, open while we lead (or another, for observers,
//!                                                         while we follow)
//!                        ▲                                        ▲
//!   one link for each pair of servers, whichever         a learner connects to its leader; packets both
//!   of the two connects; notifications both ways         ways, in order; now and then a raw image among them
//! ```
//!
//! **Election links** ([`elections`]; ensemble-protocol §2.1, stock `QuorumCnxManager`). Who connects says first who it is.
//! Of two servers it is the one with the larger id that keeps what it opened: called by a smaller one, it hangs up and
//! calls back. A link is wanted from the first notification on, and then looked after: lost, it is tried again with
//! growing waits. While one notification leaves, the newest of those behind it is kept; without a link none is, because Zab
//! says again what it has to say when it hears of the link. A link that is replaced lives until the new one does.
//! Connections that have not said who they are: [`strangers`].
//!
//! **Quorum links** ([`quorum`]; §3.1, §3.5, stock `Learner`, `LearnerHandler`). Each has an outbox that is bounded, and is
//! lost when it does not fit; packets that go out in one turn leave with one send. Behind a SNAP the stream is raw until the
//! receiver of the image says where it ends; what is sent while an image goes out waits behind it.
//!
//! Names are resolved before every attempt, on threads of their own ([`names`]); when the resolver fails, the addresses
//! known last are used. A name with several addresses, and a server with several names, are tried one after the other.
//!
//! Whatever others send costs their own connection at most: lengths are checked before anything is kept, memory grows with
//! the bytes that arrived, connections that do not say who they are have a time and a number (reliability M55-M58).
//! Without security between servers whoever reaches the ports may claim to be anybody, as with stock.
//!
//! Invariants: nothing is reported of a link after its `LinkLost` or `LinkBroken`, nor after [`Peers::close`]; packets of a link leave in the
//! order in which they were given; a socket has one owner (`Shared::routes`).
//!
//! Not here: TLS and SASL, the side connection between our own servers, changes of the membership.

mod dial;
mod elections;
mod lists;
mod names;
mod outbox;
mod quorum;
mod sockets;
mod strangers;
#[cfg(test)]
mod tests;
mod translate;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use self::elections::Elections;
use self::names::{Names, SystemNames};
use self::quorum::Quorum;
pub use self::sockets::Sockets;
use crate::base::limits::{LINK_SPARE_CONNECTIONS, LOG_TEXT_BYTES_MAX};
use crate::base::{Millis, ServerId, Zxid};
use crate::runtime::metrics::LinkQueues;
use crate::runtime::sys::{Bell, SocketEvent, SocketId};
use crate::wire::DecodeError;
use crate::wire::peer::checked::Altered;
use crate::wire::peer::election::ElectionError;
use crate::wire::peer::{PacketError, PacketKind};
use crate::zab::event::Event;
use crate::zab::message::{LinkId, Message, Notification, Port as ZabPort};

/// How long opening a port is tried again after it failed, ms, and the wait before an accept is after one did.
const PORT_RETRY_MS: u64 = 1_000;
const ACCEPT_RETRY_MS: u64 = 100;
/// Lines a second about connections that are refused; the rest is counted.
const REFUSALS_LOGGED: u32 = 10;

/// A port of a server.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

/// For log lines: a name may come from the network.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host: String = self.host.escape_debug().take(LOG_TEXT_BYTES_MAX).collect();
        if host.contains(':') {
            write!(f, "[{host}]:{}", self.port)
        } else {
            write!(f, "{host}:{}", self.port)
        }
    }
}

/// A server of the configuration, ourselves included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Where it listens while it leads; several with `multiAddress.enabled`.
    pub quorum: Vec<Address>,
    /// Where votes go; as many.
    pub election: Vec<Address>,
}

/// What links are told when they start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Our id; one of `servers`.
    pub me: ServerId,
    /// The ensemble.
    pub servers: Vec<Server>,
    /// `quorumListenOnAllIPs`: both ports on every address of this host instead of our own line's.
    pub listen_on_all: bool,
    /// `zookeeper.cnxTimeout` (5,000), ms: what an attempt to connect to one address, or who connected to us has to say
    /// who it is, may take.
    pub connect_timeout_ms: u64,
    /// `tickTime`, ms. An election link that leaves something unanswered for longer than this and `connect_timeout_ms`
    /// together is given up by the kernel, and opened again.
    pub tick_ms: u64,
    /// Longest string or buffer of a packet, bytes: `jute.maxbuffer` and its extra size.
    pub packet_bytes_max: usize,
    /// How long an election port that is taken is waited for at start (stock `zookeeper.electionPortBindRetry`, tries, 3).
    pub bind_patience: Duration,
    /// Where followers serve observers, if they do.
    pub observers: Option<ObserverPort>,
    /// Scatters attempts in time, so that servers do not keep calling each other at once.
    pub seed: u64,
}

/// Where a follower serves observers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObserverPort {
    /// `observerMasterPort`, of every server, at the hosts of its quorum port.
    pub port: u16,
    /// What may wait for an observer behind the state that it is sent, bytes (`observerMaster.sizeLimit`).
    pub held_bytes_max: usize,
}

/// What happened on links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerEvent {
    /// `Notified`, `PeerUp`, `PeerLost`, `Connected`, `Accepted`, `LinkLost`, `LinkBroken` or `Received`, for [`crate::zab::Peer::step`].
    Zab(Event),
    /// The next piece of the image that goes out on this link may be given ([`Peers::send_image`]). Said once, then again
    /// after each piece; the first time as soon as [`Peers::begin_image`] was called, whether or not there is a piece yet.
    ImageRoom {
        /// Where the image goes.
        link: LinkId,
    },
    /// Bytes of the image that comes on this link; the next only after [`Peers::image_taken`].
    ImageBytes {
        /// Where it comes from.
        link: LinkId,
        /// What follows what came before.
        bytes: Vec<u8>,
    },
}

impl PeerEvent {
    /// The quorum link it is of.
    pub fn link(&self) -> Option<LinkId> {
        match self {
            PeerEvent::ImageRoom { link } | PeerEvent::ImageBytes { link, .. } => Some(*link),
            PeerEvent::Zab(
                Event::Connected { link }
                | Event::Accepted { link }
                | Event::LinkLost { link }
                | Event::LinkBroken { link }
                | Event::Received { link, .. },
            ) => Some(*link),
            PeerEvent::Zab(_) => None,
        }
    }
}

/// Why a link is given up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The other end hung up.
    #[error("the other end closed it")]
    Closed,
    /// The kernel says so.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Socket(i32),
    /// Bytes that cannot be a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// Not what was sent.
    #[error(transparent)]
    Altered(#[from] Altered),
    /// A packet whose data are not what its kind has.
    #[error("malformed {kind:?}: {source}")]
    Body {
        /// The kind.
        kind: PacketKind,
        /// What is wrong.
        source: DecodeError,
    },
    /// A txn under another zxid than its own.
    #[error("a packet of zxid {packet} holds txn {txn}")]
    Txn {
        /// As the packet says.
        packet: Zxid,
        /// As the txn says.
        txn: Zxid,
    },
    /// A session without a number: nobody could open it.
    #[error("txn {txn} opens a session that has no number")]
    NoSession {
        /// Its zxid.
        txn: Zxid,
    },
    /// The membership changes at run time.
    #[error(
        "{kind:?}: the ensemble is being reconfigured, which this server cannot follow; give it the new server list and start it again"
    )]
    Reconfiguration {
        /// One of the two packets that say so.
        kind: PacketKind,
    },
    /// The other end takes less than is sent.
    #[error("{bytes} bytes wait for the other end to take them")]
    Slow {
        /// Waiting.
        bytes: usize,
    },
    /// Bytes that cannot be of an election.
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// Silent where it has to speak, or taking nothing.
    #[error("nothing came for {ms} ms")]
    Late {
        /// How long was waited.
        ms: u64,
    },
    /// Too many that have not said who they are.
    #[error("it made room for a newer connection")]
    Crowded,
    /// No address could be connected to.
    #[error("{0}")]
    Unreachable(String),
}

/// Whose socket it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    ElectionPort,
    /// Has not said who it is.
    Stranger,
    /// An attempt to connect to this server, until its opening has left.
    Attempt(ServerId),
    Election(ServerId),
    /// Was this server's link until a newer one took its place.
    Retired(ServerId),
    QuorumPort,
    Link(LinkId),
}

/// Who waits for a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    Election(ServerId),
    Link(LinkId),
}

/// What both kinds of links need.
struct Shared {
    settings: Settings,
    routes: BTreeMap<SocketId, Route>,
    names: Box<dyn Names>,
    queries: BTreeMap<u64, Asker>,
    next_query: u64,
    /// What configured names stood for when they were resolved last.
    known: BTreeMap<Box<str>, Vec<IpAddr>>,
    events: VecDeque<PeerEvent>,
    refusals: Refusals,
    /// Servers that elections refused, since it was asked for.
    refused: u64,
    queues: LinkQueues,
    /// State of a xorshift generator, never 0.
    random: u64,
    /// The newest time anybody told us.
    now: Millis,
}

/// What a step works with.
struct Context<'a, S> {
    sockets: &'a mut S,
    shared: &'a mut Shared,
}

impl<S: Sockets> Context<'_, S> {
    fn now(&self) -> Millis {
        self.shared.now
    }

    fn event(&mut self, event: Event) {
        self.shared.events.push_back(PeerEvent::Zab(event));
    }

    fn close(&mut self, socket: SocketId) {
        self.shared.routes.remove(&socket);
        self.sockets.close(socket);
    }
}

impl Shared {
    /// `ms`, a quarter more or less.
    fn scattered(&mut self, ms: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ms - ms / 4 + self.random % (ms / 2 + 1)
    }

    /// Connections that others may have open to one port.
    fn connections_max(&self) -> usize {
        2 * self.settings.servers.len() + LINK_SPARE_CONNECTIONS
    }

    /// After so long without an answer an election link is dead.
    fn unanswered_ms(&self) -> u32 {
        let ms = self.settings.connect_timeout_ms.saturating_add(self.settings.tick_ms);
        u32::try_from(ms).unwrap_or(u32::MAX)
    }
}

/// Bounds the lines about refused connections.
#[derive(Default)]
struct Refusals {
    since: Millis,
    logged: u32,
    left_out: u64,
}

impl Refusals {
    /// Whether one more may be logged, and how many were not before it.
    fn may_log(&mut self, now: Millis) -> Option<u64> {
        if now.since(self.since) >= 1_000 {
            (self.since, self.logged) = (now, 0);
        }
        if self.logged == REFUSALS_LOGGED {
            self.left_out += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// A port that we listen on.
struct Port {
    socket: SocketId,
    /// When the next connection is taken, after taking one failed.
    accept_at: Option<Millis>,
}

impl Port {
    fn open<S: Sockets>(cx: &mut Context<'_, S>, address: SocketAddr, route: Route) -> io::Result<Port> {
        let fd = cx.sockets.listening(address)?;
        let socket = cx.sockets.add_socket(fd);
        cx.shared.routes.insert(socket, route);
        cx.sockets.accept(socket);
        Ok(Port { socket, accept_at: None })
    }

    /// The connection that came to one of `ports`, if taking it succeeded; the next may come.
    fn accepted<S: Sockets>(
        ports: &mut [Port],
        cx: &mut Context<'_, S>,
        socket: SocketId,
        result: Result<OwnedFd, i32>,
    ) -> Option<OwnedFd> {
        match result {
            Ok(fd) => {
                cx.sockets.accept(socket);
                Some(fd)
            }
            Err(error) => {
                let error = io::Error::from_raw_os_error(error);
                tracing::warn!(%error, "cannot take a connection of another server; trying again");
                let port = ports.iter_mut().find(|port| port.socket == socket);
                port.expect("a port that took a connection").accept_at = Some(cx.now().plus(ACCEPT_RETRY_MS));
                None
            }
        }
    }

    /// Takes connections again, if that is due.
    fn tick<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        if self.accept_at.is_some_and(|at| at <= cx.now()) {
            self.accept_at = None;
            cx.sockets.accept(self.socket);
        }
    }
}

/// All links of this server.
///
/// Every method that is told the time may queue events; [`Peers::take`] gives them. One turn of the sequencer:
///
/// ```text
/// for each event of the ring's sockets: on_socket ─► tick ─► take until there is none, and step ─► flush ─► sleep in the
/// ring, until next_tick at the latest
/// ```
pub struct Peers {
    shared: Shared,
    elections: Elections,
    quorum: Quorum,
}

impl Peers {
    /// Opens the election port, on each of our addresses. Resolves our own names, and waits for a port that is taken: it
    /// blocks, and belongs before the server serves.
    ///
    /// # Errors
    /// We are not among the servers; an own name has no address; a port cannot be had (stock exits with 14 then).
    pub fn new(settings: Settings, sockets: &mut impl Sockets, bell: Bell, now: Millis) -> io::Result<Peers> {
        Peers::with_names(settings, sockets, Box::new(SystemNames::new(bell)), now)
    }

    fn with_names(
        settings: Settings,
        sockets: &mut impl Sockets,
        names: Box<dyn Names>,
        now: Millis,
    ) -> io::Result<Peers> {
        let missing = || io::Error::other(format!("server {} is not in the configuration", settings.me.0));
        let own = settings.servers.iter().find(|server| server.id == settings.me).ok_or_else(missing)?;
        let election_ports = addresses_to_bind(&own.election, settings.listen_on_all)?;
        let quorum_ports = addresses_to_bind(&own.quorum, settings.listen_on_all)?;
        let observer_ports = match settings.observers {
            Some(observers) => {
                addresses_to_bind(&moved(&own.quorum, observers.port), settings.listen_on_all)?
            }
            None => Vec::new(),
        };
        let elections = Elections::new(&settings);
        let patience = settings.bind_patience;
        let random = settings.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let shared = Shared {
            settings,
            routes: BTreeMap::new(),
            names,
            queries: BTreeMap::new(),
            next_query: 0,
            known: BTreeMap::new(),
            events: VecDeque::new(),
            refusals: Refusals::default(),
            refused: 0,
            queues: LinkQueues::default(),
            random,
            now,
        };
        let mut peers = Peers { shared, elections, quorum: Quorum::new(quorum_ports, observer_ports) };
        let Peers { shared, elections, .. } = &mut peers;
        for alternatives in election_ports {
            let mut cx = Context { sockets: &mut *sockets, shared: &mut *shared };
            elections.open(&mut cx, &alternatives, patience)?;
        }
        Ok(peers)
    }

    fn split<'a, S>(&'a mut self, sockets: &'a mut S) -> (Context<'a, S>, &'a mut Elections, &'a mut Quorum) {
        let Peers { shared, elections, quorum } = self;
        (Context { sockets, shared }, elections, quorum)
    }

    /// Something happened on a socket of the ring. Those that are not ours are passed over.
    pub fn on_socket<S: Sockets>(&mut self, sockets: &mut S, now: Millis, event: SocketEvent) {
        self.shared.now = now;
        let (mut cx, elections, quorum) = self.split(sockets);
        let (SocketEvent::Accepted(socket, _)
        | SocketEvent::Connected(socket, _)
        | SocketEvent::Received(socket, _)
        | SocketEvent::Sent(socket, _)) = &event;
        // What was closed in this very turn may still be reported.
        let Some(route) = cx.shared.routes.get(socket).copied() else { return };
        match (route, event) {
            (Route::ElectionPort, SocketEvent::Accepted(port, result)) => {
                elections.on_accepted(&mut cx, port, result);
            }
            (Route::QuorumPort, SocketEvent::Accepted(port, result)) => {
                quorum.on_accepted(&mut cx, port, result);
            }
            (Route::Stranger, SocketEvent::Received(socket, result)) => {
                elections.on_stranger(&mut cx, socket, result);
            }
            (Route::Attempt(server), SocketEvent::Connected(socket, result)) => {
                elections.on_connected(&mut cx, server, socket, result);
            }
            (Route::Attempt(server), SocketEvent::Sent(socket, result)) => {
                elections.on_introduced(&mut cx, server, socket, result.map(|_| ()));
            }
            (Route::Election(server), SocketEvent::Received(socket, result)) => {
                elections.on_received(&mut cx, server, socket, result);
            }
            (Route::Election(server), SocketEvent::Sent(_, result)) => {
                elections.on_sent(&mut cx, server, result);
            }
            (Route::Retired(server), SocketEvent::Received(socket, result)) => {
                elections.on_retired(&mut cx, server, socket, result);
            }
            (Route::Retired(_), SocketEvent::Sent(..)) => {}
            (Route::Link(link), SocketEvent::Connected(socket, result)) => {
                quorum.on_connected(&mut cx, link, socket, result);
            }
            (Route::Link(link), SocketEvent::Received(_, result)) => {
                quorum.on_received(&mut cx, link, result);
            }
            (Route::Link(link), SocketEvent::Sent(_, result)) => quorum.on_sent(&mut cx, link, result),
            (route, event) => unreachable!("{event:?} on a socket of {route:?}"),
        }
    }

    /// Time has passed, or the bell was rung. Cheap enough for every turn.
    pub fn tick<S: Sockets>(&mut self, sockets: &mut S, now: Millis) {
        self.shared.now = now;
        let (mut cx, elections, quorum) = self.split(sockets);
        while let Some(answer) = cx.shared.names.take() {
            match cx.shared.queries.remove(&answer.query) {
                Some(Asker::Election(server)) => elections.on_answer(&mut cx, server, answer),
                Some(Asker::Link(link)) => quorum.on_answer(&mut cx, link, answer),
                // Nobody waits any more.
                None => {}
            }
        }
        elections.tick(&mut cx);
        quorum.tick(&mut cx);
    }

    /// When [`Peers::tick`] is due at the latest, if nothing else happens.
    pub fn next_tick(&self) -> Option<Millis> {
        [self.elections.next_tick(), self.quorum.next_tick()].into_iter().flatten().min()
    }

    /// What happened, oldest first.
    pub fn take(&mut self) -> Option<PeerEvent> {
        self.shared.events.pop_front()
    }

    /// Sends an election message, in place of any that has not left. Without a link it is dropped, and the link tried for, at
    /// once unless that failed a moment ago: an old vote must not arrive when it has long become another, and who hears
    /// `PeerUp` says what is true then. For an unknown server it is dropped.
    pub fn notify<S: Sockets>(
        &mut self,
        sockets: &mut S,
        now: Millis,
        to: ServerId,
        notification: &Notification,
    ) {
        self.shared.now = now;
        let (mut cx, elections, _) = self.split(sockets);
        elections.notify(&mut cx, to, notification);
    }

    /// Opens a quorum link to a leader, or to a follower that serves observers: `Connected`, or `LinkLost` when none of its
    /// addresses can be connected to.
    ///
    /// # Panics
    /// When `link` is not of our numbers, or was used before.
    pub fn connect<S: Sockets>(
        &mut self,
        sockets: &mut S,
        now: Millis,
        link: LinkId,
        to: (ServerId, ZabPort),
    ) {
        self.shared.now = now;
        let (mut cx, _, quorum) = self.split(sockets);
        quorum.connect(&mut cx, link, to);
    }

    /// Opens or closes a port, one at a time. Closing also closes the links that others opened, as [`Peers::close`] does, and
    /// gives them. A port that cannot be had now is tried again every second for as long as it is wanted.
    pub fn listen<S: Sockets>(&mut self, sockets: &mut S, port: ZabPort, on: bool) -> Vec<LinkId> {
        let (mut cx, _, quorum) = self.split(sockets);
        quorum.listen(&mut cx, on.then_some(port))
    }

    /// Sends a packet, with the next [`Peers::flush`]. Nothing happens on a link that is gone. A link whose bytes wait in
    /// too great a number ([`crate::base::limits::LINK_OUTBOX_BYTES_MAX`]) is lost.
    pub fn send(&mut self, link: LinkId, message: &Message) {
        self.quorum.send(&mut self.shared, link, message);
    }

    /// Gives what was sent to the sockets that are idle; once a turn.
    pub fn flush<S: Sockets>(&mut self, sockets: &mut S) {
        let (mut cx, _, quorum) = self.split(sockets);
        quorum.flush(&mut cx);
    }

    /// Closes a link once what was sent on it is out, or `connect_timeout_ms` after this. Nothing more is reported of it.
    pub fn close<S: Sockets>(&mut self, sockets: &mut S, link: LinkId) {
        let (mut cx, _, quorum) = self.split(sockets);
        quorum.close(&mut cx, link);
    }

    /// Whether a link is being closed, and the other end has not done so too.
    pub fn is_closing(&self) -> bool {
        self.quorum.is_closing()
    }

    /// A raw image follows what was sent so far; packets sent from now on wait behind it, up to
    /// [`crate::base::limits::LINK_HELD_BYTES_MAX`]. `ImageRoom` asks for its pieces one by one. Whoever calls this tells
    /// Zab of `SnapMoved` with each of them.
    pub fn begin_image(&mut self, link: LinkId) {
        self.quorum.begin_image(&mut self.shared, link);
    }

    /// A piece of the image, in answer to `ImageRoom`; what is given without being asked for waits in memory.
    pub fn send_image(&mut self, link: LinkId, bytes: Vec<u8>) {
        self.quorum.send_image(&mut self.shared, link, bytes);
    }

    /// The image was given whole: what waits behind it follows. Zab's `SnapSent` is the caller's too.
    pub fn finish_image(&mut self, link: LinkId) {
        self.quorum.finish_image(&mut self.shared, link);
    }

    /// What follows the SNAP that was reported last is an image, and reported as `ImageBytes`. (A link that brought a
    /// SNAP waits for this: nothing behind it has been looked at.)
    pub fn receive_image(&mut self, link: LinkId) {
        self.quorum.receive_image(&mut self.shared, link);
    }

    /// The bytes reported last were taken: the next may come.
    pub fn image_taken<S: Sockets>(&mut self, sockets: &mut S, link: LinkId) {
        let (mut cx, _, quorum) = self.split(sockets);
        quorum.image_taken(&mut cx, link);
    }

    /// The image is over: `rest` of the bytes reported last, and what comes now, are packets again.
    pub fn end_image<S: Sockets>(&mut self, sockets: &mut S, link: LinkId, rest: Vec<u8>) {
        let (mut cx, _, quorum) = self.split(sockets);
        quorum.end_image(&mut cx, link, rest);
    }

    /// The servers whose election link works, by id.
    pub fn linked(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.elections.linked()
    }

    /// Our own id.
    pub fn me(&self) -> ServerId {
        self.shared.settings.me
    }

    /// Who is at the other end of a quorum link that a learner opened, if it is a server of the configuration.
    pub fn learner(&self, link: LinkId) -> Option<ServerId> {
        self.quorum.learner(link)
    }

    /// What waited for learners, since it was reset.
    pub fn queues(&self) -> &LinkQueues {
        &self.shared.queues
    }

    /// `srst`.
    pub fn reset_queues(&mut self) {
        self.shared.queues = LinkQueues::default();
    }

    /// How many servers elections have refused since this was asked last.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.shared.refused)
    }

    /// The address at the other end of a quorum link, for log lines and `mntr`.
    pub fn address(&self, link: LinkId) -> Option<SocketAddr> {
        self.quorum.address(link)
    }
}

/// The same hosts, at this port.
fn moved(addresses: &[Address], port: u16) -> Vec<Address> {
    addresses.iter().map(|address| Address { host: address.host.clone(), port }).collect()
}

/// For each of our addresses the socket addresses to listen on, the best first: the first that can be had is used.
fn addresses_to_bind(own: &[Address], all: bool) -> io::Result<Vec<Vec<SocketAddr>>> {
    let mut ports = Vec::new();
    for Address { host, port } in own {
        let mut alternatives = Vec::new();
        if all {
            // A host without IPv6 still has the wildcard of IPv4.
            alternatives.push(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, *port)));
            alternatives.push(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, *port)));
        } else {
            let found = names::look_up(host).map_err(|error| {
                let server = Address { host: host.clone(), port: *port };
                io::Error::new(error.kind(), format!("our own address {server} does not resolve: {error}"))
            })?;
            alternatives.extend(found.into_iter().map(|ip| SocketAddr::from((ip, *port))));
        }
        // Several names of this host may be one address.
        if !ports.contains(&alternatives) {
            ports.push(alternatives);
        }
    }
    Ok(ports)
}

/// The first of `alternatives` that can be listened on.
fn open_first<S: Sockets>(
    cx: &mut Context<'_, S>,
    alternatives: &[SocketAddr],
    route: Route,
) -> Result<(Port, SocketAddr), (SocketAddr, io::Error)> {
    let mut first = None;
    for address in alternatives {
        match Port::open(cx, *address, route) {
            Ok(port) => return Ok((port, *address)),
            // A port that is taken is taken on both wildcards; the first error says it.
            Err(error) => first = first.or(Some((*address, error))),
        }
    }
    Err(first.expect("an address has alternatives"))
}

/// Whether anything was received.
fn something(result: Result<usize, i32>) -> Result<(), LinkError> {
    match result {
        Ok(0) => Err(LinkError::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(LinkError::Socket(error)),
    }
}

/// An address for a log line; a socket that is gone has none.
fn shown(address: Option<SocketAddr>) -> Option<tracing::field::DisplayValue<SocketAddr>> {
    address.map(tracing::field::display)
}
