#![forbid(unsafe_code)]
//! The same over the kernel's sockets and the sequencer's ring.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::network::{address, commit, notification, word};
use crate::base::{Millis, ServerId, Zxid};
use crate::runtime::peers::names::{Names, SystemNames};
use crate::runtime::peers::translate::{Side, encode};
use crate::runtime::peers::{PeerEvent, Peers, Server, Settings};
use crate::runtime::sys::{Bell, Buffer, Ring};
use crate::zab::Event;
use crate::zab::message::{LinkId, Message, Port as ZabPort};

const OURS: LinkId = LinkId(LinkId::OURS + 1);
/// Only a hang is as long as this.
const HANG: Duration = Duration::from_secs(60);

/// Nothing is written to a log here.
struct NoBatch;
impl Buffer for NoBatch {
    fn bytes(&self) -> &[u8] {
        &[]
    }
}

/// An address of the loopback that no other test has: each process takes some of its own, and the ports are none that the
/// kernel gives to callers.
fn own_ip() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = std::process::id().wrapping_mul(16).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let [_, a, b, c] = (n % 0xff_fff0 + 2).to_be_bytes();
    Ipv4Addr::new(127, a, b, c).into()
}

const QUORUM: u16 = 22_888;
const ELECTION: u16 = 23_888;

struct Node {
    peers: Peers,
    ring: Ring<NoBatch>,
    seen: VecDeque<PeerEvent>,
}

struct Machines {
    began: Instant,
    servers: Vec<Server>,
    nodes: Vec<Node>,
}

impl Machines {
    fn new(n: i64) -> Machines {
        let server = |id| {
            let host = own_ip().to_string();
            Server {
                id: ServerId(id),
                quorum: vec![address(&host, QUORUM)],
                election: vec![address(&host, ELECTION)],
            }
        };
        Machines { began: Instant::now(), servers: (1..=n).map(server).collect(), nodes: Vec::new() }
    }

    fn start(&mut self) {
        let settings = Settings {
            me: ServerId(self.nodes.len() as i64 + 1),
            servers: self.servers.clone(),
            listen_on_all: false,
            connect_timeout_ms: 5_000,
            tick_ms: 2_000,
            packet_bytes_max: 2 << 20,
            bind_patience: Duration::from_secs(30),
            observers: None,
            seed: 1,
        };
        let bell = Bell::new().unwrap();
        let mut ring = Ring::new(bell.clone()).unwrap();
        let peers = Peers::new(settings, &mut ring, bell, self.now()).unwrap();
        self.nodes.push(Node { peers, ring, seen: VecDeque::new() });
    }

    fn now(&self) -> Millis {
        Millis(self.began.elapsed().as_millis() as u64)
    }

    /// Turns every server's ring until something is true of them.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut [Node]) -> bool) {
        let began = Instant::now();
        while !done(&mut self.nodes) {
            assert!(began.elapsed() < HANG, "waits for: {what}");
            let now = self.now();
            for Node { peers, ring, seen } in &mut self.nodes {
                for event in ring.turn(Some(Duration::from_micros(200))).unwrap().sockets {
                    peers.on_socket(ring, now, event);
                }
                peers.tick(ring, now);
                while let Some(event) = peers.take() {
                    seen.push_back(event);
                }
                peers.flush(ring);
            }
        }
    }
}

#[test]
fn three_servers_link_up_and_find_each_other_again() {
    let mut machines = Machines::new(3);
    for _ in 0..3 {
        machines.start();
    }
    // As Zab does while it looks: whoever is linked is told.
    let tell = |nodes: &mut [Node], now: Millis| {
        for (at, Node { peers, ring, seen }) in nodes.iter_mut().enumerate() {
            for to in (1..=3).filter(|to| *to != at as i64 + 1).map(ServerId) {
                if seen.contains(&PeerEvent::Zab(Event::PeerUp(to))) {
                    seen.retain(|event| *event != PeerEvent::Zab(Event::PeerUp(to)));
                    peers.notify(ring, now, to, &notification(at as i64 + 1, 1));
                }
            }
        }
    };
    let call = |machines: &mut Machines| {
        let now = machines.now();
        for (at, Node { peers, ring, .. }) in machines.nodes.iter_mut().enumerate() {
            for to in (1..=3).filter(|to| *to != at as i64 + 1) {
                peers.notify(ring, now, ServerId(to), &notification(at as i64 + 1, 1));
            }
        }
    };
    let said = |node: &Node, from: i64| node.seen.iter().any(|event| word(event) == format!("{from} says 1"));
    let began = machines.began;
    let now = move || Millis(began.elapsed().as_millis() as u64);
    call(&mut machines);
    machines.until("everybody to hear everybody", |nodes| {
        tell(nodes, now());
        let mut all = nodes.iter().enumerate();
        all.all(|(at, node)| (1..=3).filter(|id| *id != at as i64 + 1).all(|id| said(node, id)))
    });
    // The last one dies; both others notice, and it finds them when it is back.
    machines.nodes.pop();
    let lost =
        |node: &Node| node.seen.iter().any(|event| *event == PeerEvent::Zab(Event::PeerLost(ServerId(3))));
    machines.until("its links to be lost", |nodes| nodes.iter().all(lost));
    machines.nodes.iter_mut().for_each(|node| node.seen.clear());
    machines.start();
    call(&mut machines);
    machines.until("everybody to hear the last one again", |nodes| {
        tell(nodes, now());
        nodes.iter().all(|node| node.peers.linked().count() == 2)
            && nodes[..2].iter().all(|node| said(node, 3))
    });
}

#[test]
fn a_learner_gets_many_packets_an_image_and_all_that_was_sent_before_the_end() {
    let mut machines = Machines::new(2);
    machines.start();
    machines.start();
    let now = machines.now();
    let [learner, leader] = &mut machines.nodes[..] else { unreachable!() };
    leader.peers.listen(&mut leader.ring, ZabPort::Quorum, true);
    learner.peers.connect(&mut learner.ring, now, OURS, (ServerId(2), ZabPort::Quorum));
    machines.until("the connection", |nodes| nodes.iter().all(|node| !node.seen.is_empty()));
    assert_eq!(machines.nodes[0].seen.pop_front().as_ref().map(word).as_deref(), Some("connected 1'"));
    assert_eq!(machines.nodes[1].seen.pop_front().as_ref().map(word).as_deref(), Some("accepted 1"));

    // More than sockets hold.
    let link = LinkId(1);
    let config: Rc<[u8]> = vec![b'x'; 1 << 20].into();
    let long = Message::NewLeader { zxid: Zxid(1), config };
    for _ in 0..16 {
        machines.nodes[1].peers.send(link, &long);
        for counter in 1..=100 {
            machines.nodes[1].peers.send(link, &commit(counter));
        }
    }
    machines.until("all packets", |nodes| nodes[0].seen.len() == 16 * 101);
    for event in machines.nodes[0].seen.drain(..) {
        assert!(matches!(event, PeerEvent::Zab(Event::Received { link: OURS, .. })));
    }

    // An image, and packets that were sent meanwhile.
    let image: Vec<u8> = (0..20u32 << 20).map(|n| (n % 251) as u8).collect();
    let mut pieces: VecDeque<Vec<u8>> = image.chunks(128 << 10).map(<[u8]>::to_vec).collect();
    let peers = &mut machines.nodes[1].peers;
    peers.send(link, &Message::Snap { zxid: Zxid(9) });
    peers.begin_image(link);
    peers.send(link, &commit(5));
    let mut got = Vec::new();
    machines.until("the image and what is behind it", |nodes| {
        let [learner, leader] = nodes else { unreachable!() };
        while let Some(event) = leader.seen.pop_front() {
            assert_eq!(word(&event), "room 1");
            if let Some(piece) = pieces.pop_front() {
                leader.peers.send_image(link, piece);
                if pieces.is_empty() {
                    leader.peers.finish_image(link);
                }
            }
        }
        while let Some(event) = learner.seen.pop_front() {
            match event {
                PeerEvent::ImageBytes { bytes, .. } => {
                    got.extend_from_slice(&bytes);
                    if got.len() >= image.len() {
                        let rest = got.split_off(image.len());
                        learner.peers.end_image(&mut learner.ring, OURS, rest);
                    } else {
                        learner.peers.image_taken(&mut learner.ring, OURS);
                    }
                }
                event if word(&event) == "1' Snap(0x9)" => learner.peers.receive_image(OURS),
                event => {
                    assert_eq!(word(&event), format!("1' {:?}", commit(5)));
                    return true;
                }
            }
        }
        false
    });
    assert!(got == image);

    // The leader lets go, while the learner talks; everything sent before arrives.
    let [learner, leader] = &mut machines.nodes[..] else { unreachable!() };
    for counter in 1..=1_000 {
        learner.peers.send(OURS, &Message::Ack { zxid: Zxid(counter) });
    }
    for _ in 0..4 {
        leader.peers.send(link, &long);
    }
    leader.peers.send(link, &commit(6));
    leader.peers.listen(&mut leader.ring, ZabPort::Quorum, false);
    machines.until("the end", |nodes| {
        nodes[0].seen.back().is_some_and(|event| *event == PeerEvent::Zab(Event::LinkLost { link: OURS }))
    });
    let seen: Vec<String> = machines.nodes[0].seen.iter().map(word).collect();
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(seen[4], format!("1' {:?}", commit(6)));
    assert!(machines.nodes[1].seen.is_empty());
}

#[test]
fn bytes_of_a_foreign_program_reach_a_leader_and_the_end_of_it_is_noticed() {
    let mut machines = Machines::new(1);
    machines.start();
    let leader = &mut machines.nodes[0];
    leader.peers.listen(&mut leader.ring, ZabPort::Quorum, true);
    let to = (&*machines.servers[0].quorum[0].host, QUORUM);
    let mut learner = TcpStream::connect(to).unwrap();
    let mut bytes = Vec::new();
    encode(&Message::Ack { zxid: Zxid(3) }, Side::Learner, &mut bytes);
    for byte in &bytes {
        learner.write_all(&[*byte]).unwrap();
    }
    machines.until("the packet", |nodes| nodes[0].seen.len() == 2);
    assert_eq!(machines.nodes[0].peers.address(LinkId(1)), Some(learner.local_addr().unwrap()));
    machines.nodes[0].peers.send(LinkId(1), &commit(1));
    machines.until("it to leave", |nodes| {
        learner.set_nonblocking(true).unwrap();
        nodes.len() == 1 && learner.peek(&mut [0; 64]).is_ok_and(|there| there == 20)
    });
    learner.set_nonblocking(false).unwrap();
    let mut answer = [0; 20];
    learner.read_exact(&mut answer).unwrap();
    let mut expected = Vec::new();
    encode(&commit(1), Side::Leader, &mut expected);
    assert_eq!(answer.as_slice(), expected);
    drop(learner);
    machines.until("the end", |nodes| nodes[0].seen.len() == 3);
    let seen: Vec<String> = machines.nodes[0].seen.iter().map(word).collect();
    assert_eq!(seen, ["accepted 1", "1 Ack(0x3)", "lost 1"]);
}

#[test]
fn the_systems_resolver_answers_with_the_bell() {
    let bell = Bell::new().unwrap();
    let mut ring: Ring<NoBatch> = Ring::new(bell.clone()).unwrap();
    let mut names = SystemNames::new(bell);
    names.ask(1, "127.0.0.7");
    names.ask(2, "");
    let mut answers = Vec::new();
    while answers.len() < 2 {
        assert!(ring.turn(Some(HANG)).unwrap().bell, "the bell rings");
        answers.extend(std::iter::from_fn(|| names.take()));
    }
    answers.sort_by_key(|answer| answer.query);
    assert_eq!(answers[0].addresses, Ok(vec![IpAddr::from([127, 0, 0, 7])]));
    assert!(answers[1].addresses.is_err());
}
