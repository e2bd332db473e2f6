#![forbid(unsafe_code)]
//! The election links: one TCP connection for each pair of servers (ensemble-protocol §2.1; stock `QuorumCnxManager`).
//!
//! ```text
//!   we call                                                 we are called
//!   Dialing ─ connected ─► Introducing (opening sent)       Stranger ─ opening ─► who is it?
//!      │                      │ smaller id  │ larger id        │ larger, nameless │ smaller        │ anybody else
//!      │ no address           ▼             ▼                  ▼                  ▼                ▼
//!      └──► tried again      Link      hang up, Called       Link          hang up, Dialing     hang up
//!                                           └─ called back ──►
//! ```
//!
//! Where this is not stock's way: ids that are not configured are refused (reliability M55), and so are servers of another
//! ensemble ([`super::lists`]); a link is kept until the one that replaces it works; a lost link is tried again without
//! anything to send, so that an election finds links; of several notifications that came at once the newest is reported;
//! nothing old is sent again when a link is new, because Zab says what has to be said. An observer without an id keeps the connection it opened, as it does itself: called back, it would
//! hang up and call again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::dial::{Dial, Progress};
use super::lists::is_foreign;
use super::names::Answer;
use super::strangers::{Stranger, Strangers};
use super::translate::{decode_notification, encode_notification};
use super::{
    Address, Asker, Context, LinkError, Port, Route, Server, Settings, Sockets, open_first, shown, something,
};
use crate::base::limits::LINK_SPARE_CONNECTIONS;
use crate::base::{Millis, ServerId};
use crate::runtime::sys::{self, SocketId};
use crate::wire::peer::election::{ANONYMOUS_OBSERVER, ElectionAddress, Opening, decode_frame};
use crate::zab::event::Event;
use crate::zab::message::{Notification, Payload};

/// First wait before a lost or failed link is tried again, ms; it doubles, scattered, up to the second.
const RETRY_MS: u64 = 100;
const RETRY_MS_MAX: u64 = 10_000;
/// How long a server that was called has to call back, ms.
const CALL_BACK_MS: u64 = 1_000;
/// A link that is lost after more than this was a good one, even if nothing was said on it, ms.
const SETTLED_MS: u64 = 5_000;

/// All election links, and the port.
pub(super) struct Elections {
    me: ServerId,
    ports: Vec<Port>,
    strangers: Strangers,
    peers: BTreeMap<ServerId, Peer>,
    opening: Vec<u8>,
}

/// Another server.
#[derive(Default)]
struct Peer {
    /// Where it is; nowhere for one that has no id.
    targets: Vec<Address>,
    link: Option<Link>,
    /// The connection that the link replaced, until the other end closes it or this moment: it must not find itself
    /// without a link, however short the time.
    retired: Option<(SocketId, Millis)>,
    attempt: Attempt,
    /// The frame to be sent when that on its way has left.
    kept: Option<Vec<u8>>,
    /// Whether we have ever had something to say to it: then its link is looked after.
    wanted: bool,
    retry_at: Option<Millis>,
    /// Attempts, or links that came to nothing, in a row; and when the last one failed.
    failures: u32,
    failed_at: Option<Millis>,
    /// Links in a row that were lost before a word was said.
    fruitless: u32,
    /// The list that it sent last, and whether it is another ensemble's; and how often in a row that ended its link.
    list: Option<(Payload, bool)>,
    foreign: u32,
}

struct Link {
    socket: SocketId,
    address: Option<SocketAddr>,
    since: Millis,
    sending: bool,
    /// The beginning of a frame.
    received: Vec<u8>,
    /// Whether the other end has said anything.
    heard: bool,
}

#[derive(Default)]
enum Attempt {
    #[default]
    None,
    Dialing(Dial),
    Introducing {
        socket: SocketId,
        address: SocketAddr,
        until: Millis,
    },
    Called {
        address: SocketAddr,
        until: Millis,
    },
}

impl Elections {
    pub(super) fn new(settings: &Settings) -> Elections {
        let opening = |server: &Server| {
            let addresses = server.election.iter();
            let addresses =
                addresses.map(|a| ElectionAddress { host: a.host.clone(), port: a.port }).collect();
            let mut opening = Vec::new();
            Opening { server: server.id, addresses }.encode(&mut opening);
            opening
        };
        let own = settings.servers.iter().find(|server| server.id == settings.me);
        let others = settings.servers.iter().filter(|server| server.id != settings.me);
        let peers = others.map(|s| (s.id, Peer { targets: s.election.clone(), ..Peer::default() })).collect();
        let opening = own.map(opening).unwrap_or_default();
        Elections { me: settings.me, ports: Vec::new(), strangers: Strangers::default(), peers, opening }
    }

    /// Listens on the first of these addresses that can be had.
    pub(super) fn open<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        alternatives: &[SocketAddr],
        patience: Duration,
    ) -> std::io::Result<()> {
        let open = || open_first(cx, alternatives, Route::ElectionPort);
        let (port, address) = sys::once_free("election", patience, open).map_err(|(address, error)| {
            std::io::Error::new(error.kind(), format!("cannot open the election port {address}: {error}"))
        })?;
        tracing::info!(%address, server = self.me.0, "election port open");
        self.ports.push(port);
        Ok(())
    }

    pub(super) fn linked(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.link.is_some()).map(|(server, _)| *server)
    }

    pub(super) fn notify<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        to: ServerId,
        notification: &Notification,
    ) {
        assert!(to != self.me, "a server notifies itself");
        let Some(peer) = self.peers.get_mut(&to) else {
            tracing::debug!(server = to.0, "no notification to a server that is not in the configuration");
            return;
        };
        peer.wanted = true;
        if peer.link.is_some() {
            let mut frame = Vec::new();
            encode_notification(notification, &mut frame);
            peer.kept = Some(frame);
            return peer.send_kept(cx);
        }
        // Not faster than the first wait: it is notified again and again, and there is nobody.
        let earliest = peer.failed_at.map_or(cx.now(), |at| at.plus(RETRY_MS));
        if !matches!(peer.attempt, Attempt::None) {
        } else if earliest <= cx.now() {
            self.dial(cx, to, &[]);
        } else {
            peer.retry_at = Some(peer.retry_at.map_or(earliest, |at| at.min(earliest)));
        }
    }

    pub(super) fn on_accepted<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        port: SocketId,
        result: Result<OwnedFd, i32>,
    ) {
        if let Some(fd) = Port::accepted(&mut self.ports, cx, port, result) {
            self.strangers.take(cx, fd);
        }
    }

    pub(super) fn on_stranger<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        socket: SocketId,
        result: Result<usize, i32>,
    ) {
        if let Some((opening, stranger)) = self.strangers.on_received(cx, socket, result) {
            self.identified(cx, socket, opening, stranger);
        }
    }

    /// A stranger has said who it is.
    fn identified<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        socket: SocketId,
        opening: Opening,
        stranger: Stranger,
    ) {
        let Stranger { address, received, .. } = stranger;
        let is_nameless = opening.server == ANONYMOUS_OBSERVER;
        let server = if is_nameless { self.number_nameless() } else { Some(opening.server) };
        let Some(server) = server.filter(|server| self.peers.contains_key(server)) else {
            return refuse_server(cx, self.me, socket, opening.server, address);
        };
        // One without an id has the largest, on its own side.
        if server > self.me || is_nameless {
            return self.establish(cx, server, socket, address, received);
        }
        cx.close(socket);
        tracing::debug!(
            server = server.0,
            address = shown(address),
            "called by a server with a smaller id; calling back"
        );
        // As in stock its own word comes first, except where it says "here" (ZOOKEEPER-2164).
        let told = opening.addresses.into_iter().filter(|told| !told.is_wildcard());
        let told: Vec<Address> = told.map(|told| Address { host: told.host, port: told.port }).collect();
        let peer = self.peers.get_mut(&server).expect("looked up above");
        match &mut peer.attempt {
            Attempt::Dialing(dial) => told.into_iter().for_each(|told| dial.add(told)),
            Attempt::None => self.dial(cx, server, &told),
            // It is being told at this moment.
            Attempt::Introducing { .. } | Attempt::Called { .. } => {}
        }
    }

    /// A number for a server that has none, if there are not too many.
    fn number_nameless(&mut self) -> Option<ServerId> {
        let nameless = self.peers.values().filter(|peer| peer.targets.is_empty()).count();
        if nameless >= LINK_SPARE_CONNECTIONS {
            return None;
        }
        let free = (1..).map(|n| ServerId(-n)).find(|server| !self.peers.contains_key(server))?;
        self.peers.insert(free, Peer::default());
        Some(free)
    }

    /// Connects to a server: to where it says it is, then to where it is configured.
    fn dial<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId, told: &[Address]) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        peer.retry_at = None;
        if told.is_empty() && peer.targets.is_empty() {
            return;
        }
        let targets: Vec<Address> = told.iter().chain(&peer.targets).cloned().collect();
        let (dial, progress) = Dial::start(cx, Asker::Election(server), Route::Attempt(server), targets);
        peer.attempt = Attempt::Dialing(dial);
        self.progressed(cx, server, progress);
    }

    fn progressed<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId, progress: Progress) {
        match progress {
            Progress::Waiting => {}
            Progress::Failed(why) => self.failed(cx, server, &why),
            Progress::Connected(socket, address) => {
                let until = cx.now().plus(cx.shared.settings.connect_timeout_ms);
                cx.sockets.send(socket, self.opening.clone());
                if let Some(peer) = self.peers.get_mut(&server) {
                    peer.attempt = Attempt::Introducing { socket, address, until };
                }
            }
        }
    }

    pub(super) fn on_answer<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        server: ServerId,
        answer: Answer,
    ) {
        if let Some(Peer { attempt: Attempt::Dialing(dial), .. }) = self.peers.get_mut(&server) {
            let progress = dial.on_answer(cx, answer);
            self.progressed(cx, server, progress);
        }
    }

    pub(super) fn on_connected<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        server: ServerId,
        socket: SocketId,
        result: Result<(), i32>,
    ) {
        if let Some(Peer { attempt: Attempt::Dialing(dial), .. }) = self.peers.get_mut(&server) {
            let progress = dial.on_connected(cx, socket, result);
            self.progressed(cx, server, progress);
        }
    }

    /// Our opening has left.
    pub(super) fn on_introduced<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        server: ServerId,
        socket: SocketId,
        result: Result<(), i32>,
    ) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        let Attempt::Introducing { address, .. } = peer.attempt else { return };
        peer.attempt = Attempt::None;
        if let Err(error) = result {
            cx.close(socket);
            return self.failed(cx, server, &format!("{address}: {}", LinkError::Socket(error)));
        }
        if server < self.me {
            return self.establish(cx, server, socket, Some(address), Vec::new());
        }
        // It has the larger id: the connection is its to open.
        cx.close(socket);
        peer.attempt = Attempt::Called { address, until: cx.now().plus(CALL_BACK_MS) };
    }

    /// The link to this server works, from here on over this socket.
    fn establish<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        server: ServerId,
        socket: SocketId,
        address: Option<SocketAddr>,
        received: Vec<u8>,
    ) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        std::mem::take(&mut peer.attempt).abandon(cx);
        peer.retry_at = None;
        let link = Link { socket, address, since: cx.now(), sending: false, received, heard: false };
        cx.shared.routes.insert(socket, Route::Election(server));
        match peer.link.replace(link) {
            Some(old) => {
                // Who was called has the new one already, when it hears that the old one is over.
                if server < self.me {
                    let until = cx.now().plus(cx.shared.settings.connect_timeout_ms);
                    cx.shared.routes.insert(old.socket, Route::Retired(server));
                    if let Some((older, _)) = peer.retired.replace((old.socket, until)) {
                        cx.close(older);
                    }
                } else {
                    cx.close(old.socket);
                }
                tracing::debug!(
                    server = server.0,
                    address = shown(address),
                    "election link replaced by a newer one"
                );
            }
            None if peer.fruitless > 0 => {
                tracing::debug!(server = server.0, address = shown(address), "election link up")
            }
            None => tracing::info!(server = server.0, address = shown(address), "election link up"),
        }
        // What waited for the old one is said again.
        peer.kept = None;
        cx.event(Event::PeerUp(server));
        self.read(cx, server);
    }

    pub(super) fn on_received<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        server: ServerId,
        socket: SocketId,
        result: Result<usize, i32>,
    ) {
        if let Err(why) = something(result) {
            return self.lost(cx, server, &why);
        }
        if let Some(Peer { link: Some(link), .. }) = self.peers.get_mut(&server) {
            link.received.extend_from_slice(cx.sockets.received(socket));
            self.read(cx, server);
        }
    }

    /// Reads the frames that are whole, and asks for more. Of what came at once the newest counts: it overtook the rest.
    fn read<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId) {
        let Some(Peer { link: Some(link), failures, fruitless, .. }) = self.peers.get_mut(&server) else {
            return;
        };
        let (mut taken, mut newest, mut broken) = (0, None, None);
        loop {
            match decode_frame(&link.received[taken..]) {
                Ok(None) => break,
                Ok(Some((payload, bytes))) => {
                    match decode_notification(payload) {
                        Ok(notification) => newest = Some(notification),
                        Err(error) => {
                            tracing::debug!(server = server.0, %error, "passed over a notification")
                        }
                    }
                    (link.heard, *failures, *fruitless) = (true, 0, 0);
                    taken += bytes;
                }
                Err(error) => {
                    broken = Some(LinkError::from(error));
                    break;
                }
            }
        }
        link.received.drain(..taken);
        if link.received.is_empty() {
            // One long frame must not hold its memory.
            link.received = Vec::new();
        }
        let socket = link.socket;
        if newest.as_ref().is_some_and(|newest| self.is_of_another_ensemble(cx, server, &newest.config)) {
            return self.refuse_list(cx, server);
        }
        if let Some(notification) = newest {
            cx.event(Event::Notified { from: server, notification });
        }
        match broken {
            Some(why) => self.lost(cx, server, &why),
            None => cx.sockets.receive(socket),
        }
    }

    /// Whether this list, which a server sent, is one of other servers than ours.
    fn is_of_another_ensemble<S: Sockets>(
        &mut self,
        cx: &Context<'_, S>,
        server: ServerId,
        list: &Payload,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&server) else { return false };
        if peer.list.as_ref().is_none_or(|(known, _)| known != list) {
            let foreign = is_foreign(&cx.shared.settings.servers, self.me, server, list).unwrap_or(false);
            peer.list = Some((list.clone(), foreign));
        }
        let foreign = peer.list.as_ref().is_some_and(|(_, foreign)| *foreign);
        peer.foreign = if foreign { peer.foreign.saturating_add(1) } else { 0 };
        foreign
    }

    /// Hangs up on a server of another ensemble. The connection that it took the place of may be to the server that we
    /// mean: it goes too, so that both ends know that they have to open one.
    fn refuse_list<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        let Some(link) = peer.link.take() else { return };
        peer.kept = None;
        peer.failures = peer.foreign;
        peer.failed_at = Some(cx.now());
        let retired = peer.retired.take().map(|(socket, _)| socket);
        let is_new = peer.foreign == 1;
        cx.close(link.socket);
        retired.into_iter().for_each(|socket| cx.close(socket));
        cx.event(Event::PeerLost(server));
        cx.shared.refused += 1;
        if is_new && let Some(left_out) = cx.shared.refusals.may_log(cx.now()) {
            tracing::error!(
                address = shown(link.address),
                left_out,
                "refused server {}: by its list it is of another ensemble, which shares an entry with ours; take that entry out of one of the lists",
                server.0
            );
        }
        if matches!(self.peers.get(&server), Some(Peer { attempt: Attempt::None, .. })) {
            self.retry_later(cx, server);
        }
    }

    /// Something came, or nothing comes any more, on a connection that was replaced.
    pub(super) fn on_retired<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        server: ServerId,
        socket: SocketId,
        result: Result<usize, i32>,
    ) {
        if something(result).is_ok() {
            return cx.sockets.receive(socket);
        }
        cx.close(socket);
        if let Some(peer) = self.peers.get_mut(&server) {
            peer.retired = None;
        }
    }

    pub(super) fn on_sent<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        server: ServerId,
        result: Result<Vec<u8>, i32>,
    ) {
        match result {
            Err(error) => self.lost(cx, server, &LinkError::Socket(error)),
            Ok(_) => {
                let Some(peer) = self.peers.get_mut(&server) else { return };
                if let Some(link) = &mut peer.link {
                    link.sending = false;
                }
                peer.send_kept(cx);
            }
        }
    }

    /// The link to this server is gone.
    fn lost<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId, why: &LinkError) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        let Some(link) = peer.link.take() else { return };
        peer.kept = None;
        cx.close(link.socket);
        cx.event(Event::PeerLost(server));
        peer.failed_at = Some(cx.now());
        let Link { address, heard, since, .. } = link;
        if heard || cx.now().since(since) >= SETTLED_MS {
            (peer.failures, peer.fruitless) = (0, 0);
            tracing::warn!(server = server.0, address = shown(address), %why, "election link lost; it is opened again as soon as it can be");
        } else {
            peer.failures = peer.failures.saturating_add(1);
            peer.fruitless = peer.fruitless.saturating_add(1);
            let hint = "if it stays so, see that server's log: it may not have us in its configuration";
            match peer.fruitless {
                1 => {
                    tracing::warn!(server = server.0, address = shown(address), %why, "election link lost before a word came; {hint}")
                }
                _ => {
                    tracing::debug!(server = server.0, address = shown(address), %why, "election link lost again")
                }
            }
        }
        if peer.targets.is_empty() {
            self.peers.remove(&server);
        } else if matches!(peer.attempt, Attempt::None) {
            self.retry_later(cx, server);
        }
    }

    /// An attempt came to nothing.
    fn failed<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId, why: &str) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        peer.attempt = Attempt::None;
        if peer.link.is_some() {
            // Called back, it was not there; the link that it may have forgotten tells soon enough.
            tracing::debug!(server = server.0, why, "election link not replaced");
            return;
        }
        peer.failures = peer.failures.saturating_add(1);
        peer.failed_at = Some(cx.now());
        match peer.failures {
            1 => tracing::warn!(
                server = server.0,
                why,
                "no election link to this server; is it running, and is its election port reachable from here? It is tried again"
            ),
            _ => tracing::debug!(server = server.0, why, "still no election link to this server"),
        }
        cx.event(Event::PeerLost(server));
        self.retry_later(cx, server);
    }

    fn retry_later<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        if !peer.wanted {
            return;
        }
        let ms = (RETRY_MS << peer.failures.min(10)).min(RETRY_MS_MAX);
        // The larger id has the first word, so that two that lost each other do not call each other.
        let ms = if server > self.me { 2 * ms } else { ms };
        peer.retry_at = Some(cx.now().plus(cx.shared.scattered(ms)));
    }

    pub(super) fn tick<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        let now = cx.now();
        if self.next_tick().is_none_or(|at| at > now) {
            return;
        }
        self.ports.iter_mut().for_each(|port| port.tick(cx));
        self.strangers.tick(cx);
        let due = |peer: &Peer| peer.next_tick().is_some_and(|at| at <= now);
        let due: Vec<ServerId> = self.peers.iter().filter(|(_, peer)| due(peer)).map(|(id, _)| *id).collect();
        for server in due {
            self.peer_due(cx, server);
        }
    }

    fn peer_due<S: Sockets>(&mut self, cx: &mut Context<'_, S>, server: ServerId) {
        let now = cx.now();
        let Some(peer) = self.peers.get_mut(&server) else { return };
        if let Some((socket, _)) = peer.retired.take_if(|(_, until)| *until <= now) {
            cx.close(socket);
        }
        if peer.attempt_due().is_none_or(|at| at > now) {
            return;
        }
        match &mut peer.attempt {
            Attempt::None => {
                peer.retry_at = None;
                if peer.link.is_none() {
                    self.dial(cx, server, &[]);
                }
            }
            Attempt::Dialing(dial) => {
                let progress = dial.tick(cx);
                self.progressed(cx, server, progress);
            }
            Attempt::Introducing { socket, address, .. } => {
                let (socket, address) = (*socket, *address);
                cx.close(socket);
                self.failed(cx, server, &format!("{address}: it takes nothing"));
            }
            Attempt::Called { address, .. } => {
                let why = format!(
                    "{address}: it was called and does not call back; it must reach the election address of our server line"
                );
                self.failed(cx, server, &why);
            }
        }
    }

    pub(super) fn next_tick(&self) -> Option<Millis> {
        let ports = self.ports.iter().filter_map(|port| port.accept_at);
        ports.chain(self.strangers.next_tick()).chain(self.peers.values().filter_map(Peer::next_tick)).min()
    }
}

impl Peer {
    fn next_tick(&self) -> Option<Millis> {
        self.retired.map(|(_, until)| until).into_iter().chain(self.attempt_due()).min()
    }

    fn attempt_due(&self) -> Option<Millis> {
        match &self.attempt {
            Attempt::None => self.retry_at,
            Attempt::Dialing(dial) => dial.until(),
            Attempt::Introducing { until, .. } | Attempt::Called { until, .. } => Some(*until),
        }
    }

    /// Sends what is kept, if the link is idle.
    fn send_kept<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        if let Some(link) = &mut self.link
            && !link.sending
            && let Some(frame) = self.kept.take()
        {
            link.sending = true;
            cx.sockets.send(link.socket, frame);
        }
    }
}

impl Attempt {
    fn abandon<S: Sockets>(self, cx: &mut Context<'_, S>) {
        match self {
            Attempt::Dialing(dial) => dial.abandon(cx),
            Attempt::Introducing { socket, .. } => cx.close(socket),
            Attempt::None | Attempt::Called { .. } => {}
        }
    }
}

/// Hangs up on a server that is not one of ours.
fn refuse_server<S: Sockets>(
    cx: &mut Context<'_, S>,
    me: ServerId,
    socket: SocketId,
    server: ServerId,
    address: Option<SocketAddr>,
) {
    cx.close(socket);
    cx.shared.refused += 1;
    let Some(left_out) = cx.shared.refusals.may_log(cx.now()) else { return };
    let (id, me) = (server.0, me.0);
    if id == me {
        tracing::error!(
            address = shown(address),
            left_out,
            "another server calls itself {me}, as we do: give it another myid"
        );
    } else if server == ANONYMOUS_OBSERVER {
        tracing::warn!(
            address = shown(address),
            left_out,
            "refused an observer without an id: there are many already"
        );
    } else {
        tracing::warn!(
            address = shown(address),
            left_out,
            "refused server {id}: it is not in our configuration; add server.{id} here, or correct its server list"
        );
    }
}
