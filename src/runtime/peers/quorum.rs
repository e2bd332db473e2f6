#![forbid(unsafe_code)]
//! The quorum links: packets between a leader and its learners (ensemble-protocol §3.1, §3.5; stock `Learner`,
//! `LearnerHandler`), and the port on which a leader, or a follower that serves observers, is found.
//!
//! ```text
//!   connect ──► dialing ──► Packets ── SNAP came (we learn) ──► Stopped ── receive_image ──► Raw ── end_image ─┐
//!   accepted ─────────────►    ▲                                                                              │
//!                              └──────────────────────────────────────────────────────────────────────────────┘
//!   close ──► what was sent leaves ──► nothing more will be sent ──► the other end closes, or time is over ──► gone
//! ```
//!
//! A link that is closed is read until the other end closes too: a socket closed over unread bytes is reset, and what had
//! been sent last could be lost on the way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::dial::{Dial, Progress};
use super::names::Answer;
use super::outbox::Outbox;
use super::translate::{Side, decode, encode};
use super::{
    Asker, Context, LinkError, PORT_RETRY_MS, PeerEvent, Port, Route, Settings, Shared, Sockets, moved,
    open_first, shown, something,
};
use crate::base::limits::{LINK_HELD_BYTES_MAX, LINK_IMAGE_AHEAD_BYTES, LINK_OUTBOX_BYTES_MAX};
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, ServerId};
use crate::runtime::sys::{self, SocketId};
use crate::wire::peer::checked::{self, BehindImage, ImageChecksum};
use crate::wire::peer::packet::PacketScan;
use crate::wire::peer::{PacketKind, QuorumPacket};
use crate::zab::event::Event;
use crate::zab::message::{LinkId, Message, Port as ZabPort};

/// Memory that an empty receive buffer of a link may keep, bytes.
const RECEIVED_KEPT_BYTES: usize = 64 << 10;

/// All quorum links, and the ports.
pub(super) struct Quorum {
    /// Where to listen: for each port the addresses that will do.
    addresses: Vec<Vec<SocketAddr>>,
    /// The same for observers.
    observer_addresses: Vec<Vec<SocketAddr>>,
    /// Where we should listen; and, where that did not succeed, when it is tried again.
    wanted: Option<ZabPort>,
    open_at: Option<Millis>,
    is_told: bool,
    ports: Vec<Port>,
    links: BTreeMap<LinkId, Link>,
    /// Numbers for links that others open.
    next: u64,
    /// Links that [`Quorum::flush`] has to look at.
    touched: Vec<LinkId>,
}

struct Link {
    side: Side,
    /// Whom we called, or who says it is at the other end.
    server: Option<ServerId>,
    /// The learner, where it is one of the configuration: what waits for it is counted.
    measured: Option<ServerId>,
    address: Option<SocketAddr>,
    /// None while it is being dialled.
    socket: Option<SocketId>,
    dial: Option<Dial>,
    mode: Mode,
    /// Whether a receive is under way.
    receiving: bool,
    /// The beginning of a packet, or what comes behind a SNAP.
    received: Vec<u8>,
    scan: PacketScan,
    checks: Checks,
    outbox: Outbox,
    /// While an image goes out.
    image: Option<ImageOut>,
    /// Whether the next flush looks at it.
    touched: bool,
    /// Why it is to be given up by the next flush.
    doomed: Option<LinkError>,
    /// Being closed: when that must be over, and whether nothing more will be sent.
    closing: Option<Closing>,
}

/// What is received next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Packets,
    /// Behind a SNAP: nobody has said yet that an image is to be received.
    Stopped,
    /// An image; nothing is received while a piece of it is with its receiver.
    Raw {
        given: bool,
    },
}

/// Which packets have checksums behind them ([`checked`]).
#[derive(Clone, Copy, Default)]
struct Checks {
    /// Those that come; a learner has offered it, or a leader has taken it.
    received: bool,
    /// Those that go.
    sent: bool,
    /// Of the image that comes, and, once that is over, what came with its end: its checksum is next.
    image: ImageChecksum,
    behind_image: Option<BehindImage>,
}

#[derive(Default)]
struct ImageOut {
    checksum: ImageChecksum,
    /// Packets that wait behind it.
    held: Outbox,
    /// Whether a piece was asked for and has not come.
    asked: bool,
}

struct Closing {
    until: Millis,
    finished: bool,
}

impl Checks {
    /// Appends a packet, with a checksum or an offer of them where they belong.
    fn write(&mut self, message: &Message, side: Side, out: &mut Vec<u8>) {
        let begin = out.len();
        encode(message, side, out);
        let introduces = match message {
            Message::FollowerInfo(info) | Message::ObserverInfo(info) => info.server.is_some(),
            Message::LeaderInfo { .. } => self.received,
            _ => false,
        };
        if introduces && !self.sent {
            let plain = out.split_off(begin);
            let packet = QuorumPacket::decode(&plain, plain.len());
            let (packet, _) = packet.ok().flatten().expect("a packet of our own is whole");
            checked::encode_offering(&packet, out);
            // What a learner sends next waits for the leader's word.
            self.sent = side == Side::Leader;
        } else if self.sent {
            checked::seal(begin, out);
        }
    }

    /// A packet came that introduces its sender, and perhaps offers.
    fn offered(&mut self, packet: &QuorumPacket<'_>, side: Side) -> Result<(), LinkError> {
        let is_theirs = (packet.kind == PacketKind::LEADERINFO) == (side == Side::Learner);
        if is_theirs && !self.received && checked::decode_offer(packet)? {
            self.received = true;
            self.sent |= side == Side::Learner;
        }
        Ok(())
    }
}

impl Link {
    fn new(side: Side) -> Link {
        Link {
            side,
            server: None,
            measured: None,
            address: None,
            socket: None,
            dial: None,
            mode: Mode::Packets,
            receiving: false,
            received: Vec::new(),
            scan: PacketScan::default(),
            checks: Checks::default(),
            outbox: Outbox::default(),
            image: None,
            touched: false,
            doomed: None,
            closing: None,
        }
    }

    /// Has the next flush look at it.
    fn touch(&mut self, id: LinkId, touched: &mut Vec<LinkId>) {
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(id);
        }
    }

    /// Whether anything may still happen on it, as Zab sees it.
    fn is_open(&self) -> bool {
        self.doomed.is_none() && self.closing.is_none()
    }

    fn receive<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        if let Some(socket) = self.socket
            && !std::mem::replace(&mut self.receiving, true)
        {
            cx.sockets.receive(socket);
        }
    }

    /// Sends the next piece, if none is under way.
    fn send_next<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        if let Some(socket) = self.socket
            && let Some(leaving) = self.outbox.next()
        {
            if let Some(learner) = self.measured {
                let waited = leaving.measured.map(|since| cx.now().since(since));
                cx.shared.queues.left(learner, leaving.packets, leaving.behind, waited);
            }
            cx.sockets.send(socket, leaving.bytes);
        }
    }

    /// Gives a piece of the image that comes to its receiver.
    fn give(&mut self, shared: &mut Shared, link: LinkId, bytes: Vec<u8>) {
        self.mode = Mode::Raw { given: true };
        if self.checks.received {
            self.checks.image.add(&bytes);
        }
        shared.events.push_back(PeerEvent::ImageBytes { link, bytes });
    }

    /// Asks for the next piece of the image, if it is time.
    fn ask_for_image(&mut self, shared: &mut Shared, link: LinkId) {
        if let Some(image) = &mut self.image
            && !image.asked
            && self.outbox.bytes() <= LINK_IMAGE_AHEAD_BYTES
        {
            image.asked = true;
            shared.events.push_back(PeerEvent::ImageRoom { link });
        }
    }
}

impl Quorum {
    pub(super) fn new(addresses: Vec<Vec<SocketAddr>>, observer_addresses: Vec<Vec<SocketAddr>>) -> Quorum {
        Quorum {
            addresses,
            observer_addresses,
            wanted: None,
            open_at: None,
            is_told: false,
            ports: Vec::new(),
            links: BTreeMap::new(),
            next: 0,
            touched: Vec::new(),
        }
    }

    pub(super) fn address(&self, link: LinkId) -> Option<SocketAddr> {
        self.links.get(&link)?.address
    }

    /// Who is at the other end of a link that a learner opened, if it is a server of the configuration.
    pub(super) fn learner(&self, link: LinkId) -> Option<ServerId> {
        self.links.get(&link)?.measured
    }

    pub(super) fn listen<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        wanted: Option<ZabPort>,
    ) -> Vec<LinkId> {
        if wanted == self.wanted {
            return Vec::new();
        }
        assert!(wanted.is_none() || self.wanted.is_none(), "one port is opened while another is");
        self.wanted = wanted;
        self.is_told = false;
        if wanted.is_some() {
            self.open(cx);
            return Vec::new();
        }
        self.open_at = None;
        for port in self.ports.drain(..) {
            cx.close(port.socket);
        }
        let accepted = self.links.iter().filter(|(_, link)| link.side == Side::Leader);
        let accepted: Vec<LinkId> = accepted.map(|(link, _)| *link).collect();
        for link in &accepted {
            self.close(cx, *link);
        }
        accepted
    }

    fn open<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        assert!(self.ports.is_empty(), "a port is opened twice");
        let (addresses, name) = match self.wanted {
            Some(ZabPort::Quorum) => (&self.addresses, "quorum port"),
            Some(ZabPort::Observers) => (&self.observer_addresses, "port for observers"),
            None => return,
        };
        for alternatives in addresses {
            match open_first(cx, alternatives, Route::QuorumPort) {
                Ok((port, address)) => {
                    tracing::info!(%address, "{name} open");
                    self.ports.push(port);
                }
                Err((address, error)) => {
                    if !std::mem::replace(&mut self.is_told, true) {
                        tracing::error!(
                            %address,
                            %error,
                            "cannot open the {name}, and nobody can learn from us; free it, or correct our server line. It is tried again"
                        );
                    }
                    for port in self.ports.drain(..) {
                        cx.close(port.socket);
                    }
                    self.open_at = Some(cx.now().plus(PORT_RETRY_MS));
                    return;
                }
            }
        }
    }

    pub(super) fn on_accepted<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        port: SocketId,
        result: Result<OwnedFd, i32>,
    ) {
        let Some(fd) = Port::accepted(&mut self.ports, cx, port, result) else { return };
        sys::configure_accepted(fd.as_fd(), false);
        self.make_room(cx);
        self.next += 1;
        let id = LinkId(self.next);
        assert!(id.0 < LinkId::OURS, "links of others have the lower numbers");
        let socket = cx.sockets.add_socket(fd);
        let mut link = Link::new(Side::Leader);
        (link.socket, link.address) = (Some(socket), cx.sockets.peer_address(socket));
        cx.shared.routes.insert(socket, Route::Link(id));
        cx.event(Event::Accepted { link: id });
        link.receive(cx);
        self.links.insert(id, link);
    }

    /// Of too many connections the one that is about to go anyway, or the oldest that has not said who it is, goes. Servers
    /// that have said so all stay: Zab keeps one link of each.
    fn make_room<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        let accepted = || self.links.iter().filter(|(_, link)| link.side == Side::Leader);
        if accepted().count() < cx.shared.connections_max() {
            return;
        }
        let closing = accepted().find(|(_, link)| link.closing.is_some());
        let Some((id, link)) = closing.or_else(|| accepted().find(|(_, link)| link.server.is_none())) else {
            return;
        };
        let (id, is_closing) = (*id, link.closing.is_some());
        if is_closing { self.remove(cx, id) } else { self.lost(cx, id, &LinkError::Crowded) }
    }

    pub(super) fn connect<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        id: LinkId,
        to: (ServerId, ZabPort),
    ) {
        let (to, port) = to;
        assert!(id.0 >= LinkId::OURS, "{id:?} is the number of a link that others opened");
        assert!(!self.links.contains_key(&id), "{id:?} is connected twice");
        let server = cx.shared.settings.servers.iter().find(|server| server.id == to);
        let targets = match (server, port, cx.shared.settings.observers) {
            (Some(server), ZabPort::Quorum, _) => server.quorum.clone(),
            (Some(server), ZabPort::Observers, Some(observers)) => moved(&server.quorum, observers.port),
            (None, ..) | (_, ZabPort::Observers, None) => Vec::new(),
        };
        let mut link = Link::new(Side::Learner);
        link.server = Some(to);
        self.links.insert(id, link);
        let (dial, progress) = Dial::start(cx, Asker::Link(id), Route::Link(id), targets);
        if let Some(link) = self.links.get_mut(&id) {
            link.dial = Some(dial);
        }
        self.progressed(cx, id, progress);
    }

    fn progressed<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId, progress: Progress) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match progress {
            Progress::Waiting => {}
            Progress::Failed(why) => self.lost(cx, id, &LinkError::Unreachable(why)),
            Progress::Connected(socket, address) => {
                link.dial = None;
                (link.socket, link.address) = (Some(socket), Some(address));
                let leader = link.server.map(|server| server.0);
                tracing::info!(leader, %address, "connected to the leader, or to a follower in its place");
                cx.event(Event::Connected { link: id });
                link.receive(cx);
            }
        }
    }

    pub(super) fn on_answer<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId, answer: Answer) {
        if let Some(Link { dial: Some(dial), .. }) = self.links.get_mut(&id) {
            let progress = dial.on_answer(cx, answer);
            self.progressed(cx, id, progress);
        }
    }

    pub(super) fn on_connected<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        id: LinkId,
        socket: SocketId,
        result: Result<(), i32>,
    ) {
        if let Some(Link { dial: Some(dial), .. }) = self.links.get_mut(&id) {
            let progress = dial.on_connected(cx, socket, result);
            self.progressed(cx, id, progress);
        }
    }

    pub(super) fn on_received<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        id: LinkId,
        result: Result<usize, i32>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(socket) = link.socket else { return };
        link.receiving = false;
        if let Err(why) = something(result) {
            return self.lost(cx, id, &why);
        }
        if !link.is_open() {
            // Only its end is of interest.
            return link.receive(cx);
        }
        match link.mode {
            Mode::Packets => {
                link.received.extend_from_slice(cx.sockets.received(socket));
                self.read(cx, id);
            }
            Mode::Raw { .. } => {
                let bytes = cx.sockets.received(socket).to_vec();
                link.give(cx.shared, id, bytes);
            }
            Mode::Stopped => unreachable!("nothing is received behind a SNAP before it is asked for"),
        }
    }

    /// Reports the packets that are whole, and asks for more unless a SNAP was one of them.
    fn read<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (mut taken, mut broken) = (0, None);
        while link.mode == Mode::Packets {
            match next_packet(&link.received[taken..], &mut link.scan, &mut link.checks, link.side, cx.shared)
            {
                Ok(None) => break,
                Ok(Some((message, bytes))) => {
                    taken += bytes;
                    let Some(message) = message else { continue };
                    match &message {
                        Message::Snap { .. } if link.side == Side::Learner => link.mode = Mode::Stopped,
                        Message::FollowerInfo(info) | Message::ObserverInfo(info)
                            if link.server.is_none() && link.side == Side::Leader =>
                        {
                            // One without an id is known as well from here on.
                            link.server = Some(info.server.unwrap_or(ServerId(-1)));
                            let servers = &cx.shared.settings.servers;
                            let known = |id: &ServerId| servers.iter().any(|server| server.id == *id);
                            link.measured = info.server.filter(known);
                            let (learner, address) = (info.server.map(|server| server.0), link.address);
                            tracing::info!(learner, address = shown(address), "a learner has come");
                        }
                        _ => {}
                    }
                    cx.event(Event::Received { link: id, message });
                }
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        link.received.drain(..taken);
        if link.received.is_empty() && link.received.capacity() > RECEIVED_KEPT_BYTES {
            link.received = Vec::new();
        }
        match broken {
            Some(why) => self.lost(cx, id, &why),
            None if link.mode == Mode::Packets => link.receive(cx),
            None => {}
        }
    }

    pub(super) fn send(&mut self, shared: &mut Shared, id: LinkId, message: &Message) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else { return };
        let side = link.side;
        let (outbox, limit) = match &mut link.image {
            Some(image) => (&mut image.held, held_bytes_max(self.wanted, &shared.settings)),
            None => (&mut link.outbox, LINK_OUTBOX_BYTES_MAX),
        };
        outbox.write(shared.now, |out| link.checks.write(message, side, out));
        let bytes = outbox.bytes();
        link.touch(id, &mut self.touched);
        if bytes > limit {
            // Zab learns of it at once; the socket goes with the next flush.
            link.doomed = Some(LinkError::Slow { bytes });
            shared.events.push_back(PeerEvent::Zab(Event::LinkLost { link: id }));
        }
    }

    pub(super) fn flush<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        if planted(Bug::SendsBlock) && self.links.values().any(|link| link.outbox.is_leaving()) {
            return;
        }
        for id in std::mem::take(&mut self.touched) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.touched = false;
            if let Some(why) = &link.doomed {
                log_lost(cx.shared, id, link, why);
                self.remove(cx, id);
                continue;
            }
            link.send_next(cx);
            if link.mode == (Mode::Raw { given: false }) {
                link.receive(cx);
            }
        }
    }

    pub(super) fn on_sent<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        id: LinkId,
        result: Result<Vec<u8>, i32>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match result {
            Err(error) => self.lost(cx, id, &LinkError::Socket(error)),
            Ok(buffer) => {
                link.outbox.sent(buffer);
                link.ask_for_image(cx.shared, id);
                link.send_next(cx);
                self.finish(cx, id);
            }
        }
    }

    pub(super) fn close<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId) {
        let until = cx.now().plus(cx.shared.settings.connect_timeout_ms);
        let Some(link) = self.links.get_mut(&id).filter(|link| link.closing.is_none()) else { return };
        cx.shared.events.retain(|event| event.link() != Some(id));
        if let Some(why) = &link.doomed {
            log_lost(cx.shared, id, link, why);
        }
        tracing::debug!(
            link = id.0,
            server = link.server.map(|s| s.0),
            address = shown(link.address),
            "closing a quorum link"
        );
        let in_image = link.image.is_some() || link.mode != Mode::Packets;
        if link.socket.is_none() || link.doomed.is_some() || in_image {
            // Not there yet, or gone, or half of an image, which is nothing, and may have no end.
            return self.remove(cx, id);
        }
        link.closing = Some(Closing { until, finished: false });
        link.received = Vec::new();
        link.send_next(cx);
        link.receive(cx);
        self.finish(cx, id);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.links.values().any(|link| link.closing.is_some())
    }

    /// Says that nothing more comes, once a link that is being closed has sent everything.
    fn finish<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let (Some(closing), Some(socket)) = (&mut link.closing, link.socket)
            && link.outbox.is_empty()
            && !std::mem::replace(&mut closing.finished, true)
        {
            cx.sockets.finish(socket);
        }
    }

    pub(super) fn begin_image(&mut self, shared: &mut Shared, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else { return };
        assert!(link.image.is_none(), "an image begins inside another on {id:?}");
        link.image = Some(ImageOut::default());
        link.ask_for_image(shared, id);
    }

    pub(super) fn send_image(&mut self, shared: &mut Shared, id: LinkId, bytes: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else { return };
        let image = link.image.as_mut().expect("a piece belongs to an image that was begun");
        image.asked = false;
        if link.checks.sent {
            image.checksum.add(&bytes);
        }
        link.outbox.push(bytes);
        link.ask_for_image(shared, id);
        link.touch(id, &mut self.touched);
    }

    pub(super) fn finish_image(&mut self, shared: &mut Shared, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else { return };
        let image = link.image.take().expect("an image ends that was begun");
        if link.checks.sent {
            link.outbox.push(image.checksum.seal().to_vec());
        }
        link.outbox.append(image.held);
        shared.events.retain(|event| *event != PeerEvent::ImageRoom { link: id });
        link.touch(id, &mut self.touched);
    }

    pub(super) fn receive_image(&mut self, shared: &mut Shared, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else { return };
        assert!(link.mode == Mode::Stopped, "an image is expected on {id:?}, which brought no SNAP");
        let bytes = std::mem::take(&mut link.received);
        if bytes.is_empty() {
            link.mode = Mode::Raw { given: false };
            link.touch(id, &mut self.touched);
        } else {
            link.give(shared, id, bytes);
        }
    }

    pub(super) fn image_taken<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else { return };
        assert!(matches!(link.mode, Mode::Raw { .. }), "bytes were taken of no image on {id:?}");
        link.mode = Mode::Raw { given: false };
        link.receive(cx);
    }

    pub(super) fn end_image<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId, rest: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_open()) else { return };
        assert!(
            link.mode == (Mode::Raw { given: true }),
            "an image ends on {id:?} in bytes that were not reported"
        );
        link.mode = Mode::Packets;
        link.checks.behind_image = link.checks.received.then(|| BehindImage::of(&rest));
        link.received = rest;
        self.read(cx, id);
    }

    /// The link is gone; Zab is told unless it knows.
    fn lost<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId, why: &LinkError) {
        let Some(link) = self.links.get(&id) else { return };
        if link.closing.is_none() {
            log_lost(cx.shared, id, link, why);
            if link.doomed.is_none() {
                cx.event(if is_malformed(why) {
                    Event::LinkBroken { link: id }
                } else {
                    Event::LinkLost { link: id }
                });
            }
        }
        self.remove(cx, id);
    }

    fn remove<S: Sockets>(&mut self, cx: &mut Context<'_, S>, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        if let Some(socket) = link.socket {
            cx.close(socket);
        }
        if let Some(dial) = link.dial {
            dial.abandon(cx);
        }
    }

    pub(super) fn tick<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        let now = cx.now();
        if self.next_tick().is_none_or(|at| at > now) {
            return;
        }
        self.ports.iter_mut().for_each(|port| port.tick(cx));
        if self.open_at.is_some_and(|at| at <= now) {
            self.open_at = None;
            self.open(cx);
        }
        let due = |link: &Link| link.next_tick().is_some_and(|at| at <= now);
        let due: Vec<LinkId> = self.links.iter().filter(|(_, link)| due(link)).map(|(id, _)| *id).collect();
        for id in due {
            match self.links.get_mut(&id) {
                Some(Link { dial: Some(dial), .. }) => {
                    let progress = dial.tick(cx);
                    self.progressed(cx, id, progress);
                }
                // The other end does not take the rest, or does not close.
                _ => self.remove(cx, id),
            }
        }
    }

    pub(super) fn next_tick(&self) -> Option<Millis> {
        let ports = self.ports.iter().filter_map(|port| port.accept_at);
        ports.chain(self.open_at).chain(self.links.values().filter_map(Link::next_tick)).min()
    }
}

impl Link {
    fn next_tick(&self) -> Option<Millis> {
        match (&self.dial, &self.closing) {
            (Some(dial), _) => dial.until(),
            (None, Some(closing)) => Some(closing.until),
            (None, None) => None,
        }
    }
}

/// What may wait behind an image that goes out, bytes.
fn held_bytes_max(open: Option<ZabPort>, settings: &Settings) -> usize {
    match (open, settings.observers) {
        (Some(ZabPort::Observers), Some(observers)) => observers.held_bytes_max,
        _ => LINK_HELD_BYTES_MAX,
    }
}

/// What stands at the front of a buffer, and its length.
type Read = (Option<Message>, usize);

/// The packet at the front of `received`, if it is all there; without a message if it is of a kind that nobody knows, or no
/// packet but the checksum of the image before it.
fn next_packet(
    received: &[u8],
    scan: &mut PacketScan,
    checks: &mut Checks,
    side: Side,
    shared: &Shared,
) -> Result<Option<Read>, LinkError> {
    if let Some(behind) = checks.behind_image {
        let Some(checksum) = received.first_chunk() else { return Ok(None) };
        checks.behind_image = None;
        std::mem::take(&mut checks.image).check(behind, *checksum)?;
        return Ok(Some((None, checked::CHECKSUM_BYTES)));
    }
    let limit = shared.settings.packet_bytes_max;
    let Some(length) = scan.look(received, limit)? else { return Ok(None) };
    let mut bytes = length;
    if checks.received {
        let Some(checksum) = received[length..].first_chunk() else { return Ok(None) };
        checked::check(&received[..length], *checksum)?;
        bytes += checked::CHECKSUM_BYTES;
    }
    let Some((packet, _)) = QuorumPacket::decode(received, limit)? else {
        unreachable!("a packet that was looked through is whole")
    };
    checks.offered(&packet, side)?;
    let kind = packet.kind;
    let message = decode(packet, side)?;
    if message.is_none() {
        tracing::debug!(?kind, "passed over a packet of a kind that nobody knows");
    }
    Ok(Some((message, bytes)))
}

/// Whether what came is to blame, and not that nothing came or goes.
fn is_malformed(why: &LinkError) -> bool {
    !matches!(
        why,
        LinkError::Closed
            | LinkError::Socket(_)
            | LinkError::Crowded
            | LinkError::Slow { .. }
            | LinkError::Unreachable(_)
    )
}

fn log_lost(shared: &mut Shared, id: LinkId, link: &Link, why: &LinkError) {
    let (server, address, link_id) = (link.server.map(|server| server.0), link.address, id.0);
    match (link.side, why) {
        (Side::Learner, LinkError::Unreachable(_)) => tracing::info!(
            leader = server,
            %why,
            "cannot connect to the leader; it may not lead yet. If it stays so: is its quorum port reachable from here?"
        ),
        (Side::Learner, _) if is_malformed(why) => tracing::error!(
            leader = server,
            address = shown(address),
            link = link_id,
            %why,
            "gave up the link to the leader: what it sent cannot be followed"
        ),
        (Side::Learner, _) => {
            tracing::warn!(leader = server, address = shown(address), link = link_id, %why, "lost the link to the leader; if it is so again and again, see that server's log");
        }
        (Side::Leader, LinkError::Slow { .. }) => tracing::warn!(
            learner = server,
            address = shown(address),
            link = link_id,
            %why,
            "gave up a learner that takes less than is sent; it is synchronized anew when it comes back"
        ),
        // A probe, or somebody who changed his mind.
        (Side::Leader, LinkError::Closed) if server.is_none() => {
            tracing::debug!(
                address = shown(address),
                link = link_id,
                "a connection to the quorum port closed without a word"
            );
        }
        (Side::Leader, _) if server.is_none() => {
            if let Some(left_out) = shared.refusals.may_log(shared.now) {
                let hint = "it had not said who it is; does something else connect here?";
                tracing::warn!(address = shown(address), %why, left_out, "closed a connection to the quorum port: {hint}");
            }
        }
        (Side::Leader, _) => {
            tracing::warn!(learner = server, address = shown(address), link = link_id, %why, "lost a learner's link");
        }
    }
}
