#![forbid(unsafe_code)]
//! Raw images among packets.

use std::rc::Rc;

use super::network::*;
use super::quorum::{EPOCH_1, OURS, THEIRS, bytes_of, follower_info, introduces, learner, linked, sealed};
use crate::base::Zxid;
use crate::base::limits::LINK_HELD_BYTES_MAX;
use crate::runtime::peers::translate::Side;
use crate::runtime::peers::{PeerEvent, Peers};
use crate::wire::peer::checked::ImageChecksum;
use crate::zab::message::{LinkId, Message};

const SNAP: Message = Message::Snap { zxid: Zxid(9) };

fn send(world: &mut World, message: &Message) {
    world.node(2).peers.send(THEIRS, message);
}

fn on_leader(world: &mut World, then: impl FnOnce(&mut Peers)) {
    then(&mut world.node(2).peers);
}

/// Takes image bytes at server 1 until there are so many, and gives back what was too much.
fn receive_image(world: &mut World, bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut image = Vec::new();
    loop {
        world.run();
        let mut pieces = world.seen(1);
        assert_eq!(pieces.len(), 1, "one piece at a time");
        let Some(PeerEvent::ImageBytes { link: OURS, bytes: piece }) = pieces.pop() else {
            panic!("{image:?}")
        };
        image.extend_from_slice(&piece);
        if image.len() >= bytes {
            let rest = image.split_off(bytes);
            return (image, rest);
        }
        let Node { peers, host, .. } = world.node(1);
        peers.image_taken(host, OURS);
    }
}

fn end_image(world: &mut World, rest: Vec<u8>) {
    let Node { peers, host, .. } = world.node(1);
    peers.end_image(host, OURS, rest);
}

#[test]
fn an_image_goes_between_packets_and_comes_out_between_them() {
    let cases = [(1 << 20, false), (1, false), (1000, false), (1 << 20, true), (1, true), (1000, true)];
    for (receive, is_checked) in cases {
        let mut world = linked();
        if is_checked {
            introduce(&mut world);
        }
        world.receive_at_most(receive);
        send(&mut world, &commit(1));
        send(&mut world, &SNAP);
        on_leader(&mut world, |peers| peers.begin_image(THEIRS));
        // Packets that come while it goes out.
        send(&mut world, &commit(2));
        let image: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
        for piece in image.chunks(1000) {
            world.turn();
            assert_eq!(world.words(2), ["room 1"]);
            on_leader(&mut world, |peers| peers.send_image(THEIRS, piece.to_vec()));
        }
        send(&mut world, &commit(3));
        on_leader(&mut world, |peers| peers.finish_image(THEIRS));
        send(&mut world, &commit(4));
        world.run();
        assert_eq!(
            world.words(1),
            ["1' Commit(0x100000001)", "1' Snap(0x9)"],
            "nothing behind it is looked at"
        );
        world.node(1).peers.receive_image(OURS);
        let (received, rest) = receive_image(&mut world, image.len());
        assert!(received == image);
        end_image(&mut world, rest);
        world.run();
        let packets: Vec<String> = (2..=4).map(|n| format!("1' {:?}", commit(n))).collect();
        assert_eq!(world.words(1), packets);
        assert_eq!(world.words(2), [""; 0], "no room for an image that is over");
    }
}

/// Both say who they are, and check from here on what comes.
fn introduce(world: &mut World) {
    world.node(1).peers.send(OURS, &follower_info(1));
    world.run();
    send(world, &EPOCH_1);
    world.run();
    assert_eq!([world.words(1).len(), world.words(2).len()], [1, 1]);
}

#[test]
fn an_image_that_is_not_what_was_sent_ends_the_link() {
    for (came, word) in [(b"image", "1' Commit(0x100000001)"), (b"imago", "broken 1'")] {
        let (mut world, leader) = learner();
        let mut checksum = ImageChecksum::default();
        checksum.add(b"image");
        let stream = [
            introduces(&EPOCH_1, Side::Leader),
            sealed(bytes_of(&SNAP, Side::Leader)),
            came.to_vec(),
            checksum.seal().to_vec(),
            sealed(bytes_of(&commit(1), Side::Leader)),
        ];
        world.write(leader, &stream.concat());
        world.run();
        assert_eq!(world.words(1), ["1' LeaderInfo(Epoch(1))", "1' Snap(0x9)"]);
        world.node(1).peers.receive_image(OURS);
        let (image, rest) = receive_image(&mut world, came.len());
        assert_eq!(image, came);
        end_image(&mut world, rest);
        world.run();
        assert_eq!(world.words(1), [word]);
    }
}

#[test]
fn a_piece_is_asked_for_when_little_waits() {
    let mut world = linked();
    send(&mut world, &SNAP);
    world.run();
    world.window(0);
    on_leader(&mut world, |peers| peers.begin_image(THEIRS));
    for _ in 0..2 {
        world.run();
        assert_eq!(world.words(2), ["room 1"]);
        on_leader(&mut world, |peers| peers.send_image(THEIRS, vec![7; 128 << 10]));
    }
    world.run();
    assert_eq!(world.words(2), [""; 0], "two pieces wait");
    world.window(1 << 20);
    world.run();
    assert_eq!(world.words(2), ["room 1"]);
    // What is given without being asked for waits, and is not asked for.
    world.window(0);
    for _ in 0..3 {
        on_leader(&mut world, |peers| peers.send_image(THEIRS, vec![7; 128 << 10]));
        world.run();
    }
    assert_eq!(world.words(2), ["room 1"], "after the first of them");
}

#[test]
fn what_waits_behind_an_image_is_bounded() {
    let mut world = linked();
    send(&mut world, &SNAP);
    on_leader(&mut world, |peers| peers.begin_image(THEIRS));
    let proposal = Message::Proposal { zxid: Zxid(1), payload: Rc::from(vec![0; 1 << 20]) };
    for _ in 0..LINK_HELD_BYTES_MAX / bytes_of(&proposal, Side::Leader).len() {
        send(&mut world, &proposal);
    }
    world.run();
    assert_eq!(world.words(2), ["room 1"]);
    send(&mut world, &proposal);
    // Whoever made the next piece does not know yet.
    on_leader(&mut world, |peers| peers.send_image(THEIRS, vec![7]));
    on_leader(&mut world, |peers| peers.finish_image(THEIRS));
    world.run();
    assert_eq!(world.words(2), ["lost 1"]);
    assert_eq!(world.words(1), ["1' Snap(0x9)"]);
}

#[test]
fn a_link_that_ends_or_is_closed_within_an_image_is_over() {
    // The sender is gone.
    let mut world = linked();
    send(&mut world, &SNAP);
    on_leader(&mut world, |peers| peers.begin_image(THEIRS));
    world.run();
    on_leader(&mut world, |peers| peers.send_image(THEIRS, vec![7; 10]));
    world.node(1).peers.receive_image(OURS);
    world.run();
    assert_eq!(world.words(1), ["1' Snap(0x9)", "image 1' 10 B"]);
    world.close(2, THEIRS);
    assert_eq!(world.node(2).host.open(), 2, "half an image is not worth the wait");
    world.run();
    let Node { peers, host, .. } = world.node(1);
    peers.image_taken(host, OURS);
    world.run();
    assert_eq!(world.words(1), ["lost 1'"]);

    // The receiver gives up, before or within.
    for begun in [false, true] {
        let mut world = linked();
        send(&mut world, &SNAP);
        on_leader(&mut world, |peers| peers.begin_image(THEIRS));
        world.run();
        on_leader(&mut world, |peers| peers.send_image(THEIRS, vec![7; 10]));
        if begun {
            world.node(1).peers.receive_image(OURS);
        }
        world.run();
        world.close(1, OURS);
        world.run();
        assert_eq!(world.words(2).last().unwrap(), "lost 1");
        world.seen(1);
        on_leader(&mut world, |peers| peers.send_image(THEIRS, vec![7; 10]));
        on_leader(&mut world, |peers| peers.finish_image(THEIRS));
        world.node(1).peers.receive_image(OURS);
        end_image(&mut world, Vec::new());
        world.run();
        assert_eq!(world.words(1), [""; 0]);
        assert_eq!(world.node(1).host.open(), 1);
    }
}

#[test]
fn packets_behind_an_image_may_be_malformed_too() {
    let mut world = World::of(2, &[1]);
    world.script_listens(quorum(2));
    world.connect(1, OURS, 2);
    world.run();
    let leader = world.script_accepts(quorum(2)).unwrap();
    world.write(leader, &bytes_of(&SNAP, Side::Leader));
    world.write(leader, b"image");
    world.run();
    world.node(1).peers.receive_image(OURS);
    world.run();
    assert_eq!(world.words(1), ["connected 1'", "1' Snap(0x9)", "image 1' 5 B"]);
    end_image(&mut world, vec![0x80; 20]);
    assert_eq!(world.node(1).peers.take().as_ref().map(word).as_deref(), Some("broken 1'"));
    assert!(world.is_over(leader));
    // Nobody may send an image to a leader: whatever it is, Zab judges it.
    let mut world = World::of(2, &[2]);
    world.listen(2, true);
    let learner = world.dial(1, quorum(2)).unwrap();
    world.write(learner, &[bytes_of(&SNAP, Side::Learner), bytes_of(&commit(1), Side::Learner)].concat());
    world.run();
    assert_eq!(world.words(2), ["accepted 1", "1 Snap(0x9)", "1 Commit(0x100000001)"]);
    world.node(2).peers.receive_image(LinkId(77));
}
