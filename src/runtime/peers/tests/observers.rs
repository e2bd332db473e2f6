#![forbid(unsafe_code)]
//! The port on which a follower serves observers.

use super::network::{Node, World, commit, server, settings};
use super::quorum::{OURS, THEIRS};
use crate::base::{Millis, ServerId, Zxid};
use crate::runtime::peers::{ObserverPort, Settings};
use crate::zab::message::{LinkId, Message, Port};

const HELD_BYTES: usize = 1000;

fn with_port(me: i64) -> Settings {
    let observers = Some(ObserverPort { port: 2889, held_bytes_max: HELD_BYTES });
    Settings { observers, ..settings(me, vec![server(1), server(2)]) }
}

fn world() -> World {
    let mut world = World::new();
    world.start(with_port(1));
    world.start(with_port(2));
    world
}

fn listen(world: &mut World, port: Port, on: bool) {
    let Node { peers, host, .. } = world.node(2);
    peers.listen(host, port, on);
}

fn connect(world: &mut World, link: LinkId, port: Port) {
    let Node { peers, host, .. } = world.node(1);
    peers.connect(host, Millis(0), link, (ServerId(2), port));
    world.run();
}

#[test]
fn an_observer_finds_a_follower_at_the_port_for_observers_and_nowhere_else() {
    let mut world = world();
    listen(&mut world, Port::Observers, true);
    connect(&mut world, OURS, Port::Quorum);
    assert_eq!(world.words(1), ["lost 1'"]);
    let link = LinkId(OURS.0 + 1);
    connect(&mut world, link, Port::Observers);
    assert_eq!(world.words(1), ["connected 2'"]);
    assert_eq!(world.words(2), ["accepted 1"]);
    // Closed, it ends every link; then the quorum port is there, and not the other.
    listen(&mut world, Port::Observers, false);
    world.run();
    assert_eq!(world.words(1), ["lost 2'"]);
    listen(&mut world, Port::Quorum, true);
    connect(&mut world, LinkId(OURS.0 + 2), Port::Observers);
    connect(&mut world, LinkId(OURS.0 + 3), Port::Quorum);
    assert_eq!(world.words(1), ["lost 3'", "connected 4'"]);
}

#[test]
fn what_waits_for_an_observer_behind_an_image_has_the_bound_of_the_setting() {
    for (port, lost) in [(Port::Observers, true), (Port::Quorum, false)] {
        let mut world = world();
        listen(&mut world, port, true);
        connect(&mut world, OURS, port);
        world.words(1);
        world.words(2);
        let peers = &mut world.node(2).peers;
        peers.send(THEIRS, &Message::Snap { zxid: Zxid(9) });
        peers.begin_image(THEIRS);
        // 20 bytes each, one more than may wait.
        for counter in 0..=HELD_BYTES as u32 / 20 {
            peers.send(THEIRS, &commit(counter));
        }
        world.run();
        let expected: &[&str] = if lost { &["room 1", "lost 1"] } else { &["room 1"] };
        assert_eq!(world.words(2), expected, "{port:?}");
    }
}
