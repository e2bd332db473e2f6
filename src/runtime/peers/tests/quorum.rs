#![forbid(unsafe_code)]
//! Quorum links: packets both ways, and what ends a link.

use std::rc::Rc;

use super::network::*;
use crate::base::limits::LINK_OUTBOX_BYTES_MAX;
use crate::base::{Epoch, ServerId, Zxid};
use crate::runtime::peers::translate::{Side, encode};
use crate::wire::peer::{PacketKind, QuorumPacket, body, checked};
use crate::zab::message::{LearnerInfo, LinkId, Message};

pub(super) const OURS: LinkId = LinkId(LinkId::OURS + 1);
pub(super) const THEIRS: LinkId = LinkId(1);

/// Server 1 follows server 2.
pub(super) fn linked() -> World {
    let mut world = World::of(3, &[1, 2]);
    world.listen(2, true);
    world.connect(1, OURS, 2);
    world.run();
    assert_eq!(world.words(1), ["connected 1'"]);
    assert_eq!(world.words(2), ["accepted 1"]);
    world
}

/// Leader 2, and a scripted learner.
fn leader() -> (World, End) {
    let mut world = World::of(3, &[2]);
    world.listen(2, true);
    let learner = world.dial(1, quorum(2)).unwrap();
    world.run();
    assert_eq!(world.words(2), ["accepted 1"]);
    (world, learner)
}

/// Learner 1, and a scripted leader.
pub(super) fn learner() -> (World, End) {
    let mut world = World::of(3, &[1]);
    world.script_listens(quorum(2));
    world.connect(1, OURS, 2);
    world.run();
    assert_eq!(world.words(1), ["connected 1'"]);
    let leader = world.script_accepts(quorum(2)).unwrap();
    (world, leader)
}

pub(super) fn packet(kind: PacketKind, data: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    QuorumPacket { data, ..QuorumPacket::bare(kind, Zxid(7)) }.encode(&mut bytes);
    bytes
}

pub(super) fn bytes_of(message: &Message, side: Side) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, side, &mut bytes);
    bytes
}

pub(super) fn follower_info(server: i64) -> Message {
    let server = Some(ServerId(server));
    Message::FollowerInfo(LearnerInfo { accepted: Epoch(0), server, config_version: 0 })
}

/// A packet of a server of ours that introduces itself.
pub(super) fn introduces(message: &Message, side: Side) -> Vec<u8> {
    let plain = bytes_of(message, side);
    let (packet, _) = QuorumPacket::decode(&plain, 1 << 20).unwrap().unwrap();
    let mut bytes = Vec::new();
    checked::encode_offering(&packet, &mut bytes);
    bytes
}

pub(super) fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
    checked::seal(0, &mut packet);
    packet
}

pub(super) const EPOCH_1: Message = Message::LeaderInfo { epoch: Epoch(1) };

#[test]
fn packets_travel_both_ways_in_order_whatever_the_pieces() {
    for (receive, window) in [(1 << 20, 64 << 10), (1, 7), (13, 3)] {
        let mut world = linked();
        world.receive_at_most(receive);
        world.window(window);
        world.node(1).peers.send(OURS, &follower_info(1));
        for counter in 1..=20 {
            world.node(2).peers.send(THEIRS, &commit(counter));
        }
        world.run();
        let info = "1 FollowerInfo(LearnerInfo { accepted: Epoch(0), server: Some(ServerId(1)), config_version: 0 })";
        assert_eq!(world.words(2), [info]);
        let expected: Vec<String> = (1..=20).map(|n| format!("1' {:?}", commit(n))).collect();
        assert_eq!(world.words(1), expected);
    }
}

#[test]
fn what_is_sent_in_one_turn_leaves_with_one_send() {
    let mut world = linked();
    let before = world.node(2).host.sends;
    for counter in 1..=1_000 {
        world.node(2).peers.send(THEIRS, &commit(counter));
    }
    world.run();
    assert_eq!(world.node(2).host.sends - before, 1);
    assert_eq!(world.seen(1).len(), 1_000);
}

#[test]
fn who_cannot_be_connected_to_is_a_lost_link() {
    let mut world = World::of(3, &[1]);
    world.connect(1, OURS, 2);
    world.run();
    assert_eq!(world.words(1), ["lost 1'"]);
    world.connect(1, LinkId(OURS.0 + 1), 9);
    assert_eq!(world.node(1).peers.take().as_ref().map(word).as_deref(), Some("lost 2'"), "no such server");
    world.silence(3, true);
    world.connect(1, LinkId(OURS.0 + 2), 3);
    world.pass(4_999);
    assert_eq!(world.words(1), [""; 0]);
    world.pass(1);
    assert_eq!(world.words(1), ["lost 3'"]);
    // One that is closed while it is dialled says nothing.
    world.connect(1, LinkId(OURS.0 + 3), 3);
    world.run();
    world.close(1, LinkId(OURS.0 + 3));
    world.pass(60_000);
    assert_eq!(world.words(1), [""; 0]);
    assert_eq!(world.node(1).host.open(), 1, "the election port alone");
}

#[test]
fn a_malformed_packet_costs_its_link_alone() {
    let length = |length: i32| [&[0, 0, 0, 4][..], &[0; 8], &length.to_be_bytes()].concat();
    let ids = |count: i32, rest: &[u8]| {
        let mut bytes = packet(PacketKind::REQUEST, Some(&[0; 16]));
        bytes.truncate(bytes.len() - 4);
        [&bytes[..], &count.to_be_bytes(), rest].concat()
    };
    let mut huge = Vec::new();
    for _ in 0..3 {
        huge.extend_from_slice(&(500_000i32).to_be_bytes());
        huge.resize(huge.len() + 500_000, b'x');
    }
    for bytes in [
        length(-2),
        length(i32::MIN),
        length((1 << 20) + 1),
        length(i32::MAX),
        ids(1, &(-1i32).to_be_bytes()),
        ids(1, &(-2i32).to_be_bytes()),
        ids(i32::MAX, &huge),
        packet(PacketKind::FOLLOWERINFO, Some(&[0; 7])),
        packet(PacketKind::ACKEPOCH, None),
        packet(PacketKind::PING, None),
        packet(PacketKind::PING, Some(&[0; 13])),
        packet(PacketKind::REQUEST, None),
        packet(PacketKind::REQUEST, Some(&[0; 15])),
        packet(PacketKind::REVALIDATE, None),
        packet(PacketKind::REVALIDATE, Some(&[0; 11])),
        packet(PacketKind::COMMITANDACTIVATE, Some(&[0; 8])),
    ] {
        let (mut world, bad) = leader();
        world.window(8 << 20);
        let good = world.dial(3, quorum(2)).unwrap();
        world.run();
        assert_eq!(world.words(2), ["accepted 2"]);
        // What came whole ahead of it counts.
        world.write(bad, &[bytes_of(&commit(1), Side::Learner), bytes].concat());
        world.run();
        assert_eq!(world.words(2), ["1 Commit(0x100000001)".to_owned(), "broken 1".to_owned()]);
        assert!(world.is_over(bad));
        world.write(good, &bytes_of(&Message::Ack { zxid: Zxid(5) }, Side::Learner));
        world.node(2).peers.send(LinkId(2), &commit(2));
        world.node(2).peers.send(THEIRS, &commit(2));
        world.run();
        assert_eq!(world.words(2), ["2 Ack(0x5)"]);
        assert_eq!(world.read(good), bytes_of(&commit(2), Side::Leader));
    }
}

#[test]
fn a_leader_that_cannot_be_followed_is_left() {
    let txn =
        |zxid: i64| [&[0u8; 12][..], &zxid.to_be_bytes(), &[0; 8], &(-1i32).to_be_bytes(), &[0; 4]].concat();
    for bytes in [
        packet(PacketKind::LEADERINFO, None),
        packet(PacketKind::PROPOSAL, None),
        packet(PacketKind::PROPOSAL, Some(b"")),
        packet(PacketKind::PROPOSAL, Some(&txn(8))),
        packet(PacketKind::INFORM, Some(&txn(7)[..31])),
        packet(PacketKind::REVALIDATE, Some(&[0; 8])),
        packet(PacketKind::COMMITANDACTIVATE, Some(&[0; 8])),
        packet(PacketKind::INFORMANDACTIVATE, Some(&[0; 8])),
    ] {
        let (mut world, leader) = learner();
        world.write(leader, &packet(PacketKind::PROPOSAL, Some(&txn(7))));
        world.write(leader, &bytes);
        world.run();
        assert_eq!(world.words(1), ["1' Proposal(0x7, 36 B)", "broken 1'"], "{bytes:x?}");
        assert!(world.is_over(leader));
    }
}

/// What it says, on links to servers of ours: all but what came before the other one's word has a checksum behind it.
#[test]
fn servers_of_ours_check_what_comes_from_each_other() {
    let (mut world, learner) = leader();
    world.write(learner, &introduces(&follower_info(1), Side::Learner));
    world.run();
    world.node(2).peers.send(THEIRS, &EPOCH_1);
    world.node(2).peers.send(THEIRS, &commit(1));
    world.run();
    let expected = [introduces(&EPOCH_1, Side::Leader), sealed(bytes_of(&commit(1), Side::Leader))].concat();
    assert_eq!(world.read(learner), expected);
    let ack = sealed(bytes_of(&Message::Ack { zxid: Zxid(5) }, Side::Learner));
    for bytes in [&ack[..], &ack[..ack.len() - 1], &ack[ack.len() - 1..]] {
        world.write(learner, bytes);
        world.run();
    }
    assert_eq!(world.words(2)[1..], ["1 Ack(0x5)", "1 Ack(0x5)"]);
    for bit in [0, 77, ack.len() * 8 - 1] {
        let (mut world, learner) = leader();
        world.write(learner, &introduces(&follower_info(1), Side::Learner));
        let mut altered = ack.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        world.write(learner, &[&ack[..], &altered].concat());
        world.run();
        assert_eq!(world.words(2)[1..], ["1 Ack(0x5)", "broken 1"], "bit {bit}");
        assert!(world.is_over(learner));
    }

    let (mut world, leader) = self::learner();
    world.node(1).peers.send(OURS, &follower_info(1));
    world.run();
    assert_eq!(world.read(leader), introduces(&follower_info(1), Side::Learner));
    world.write(leader, &introduces(&EPOCH_1, Side::Leader));
    world.write(leader, &sealed(bytes_of(&commit(1), Side::Leader)));
    world.run();
    assert_eq!(world.words(1), ["1' LeaderInfo(Epoch(1))", "1' Commit(0x100000001)"]);
    world.node(1).peers.send(OURS, &Message::Ack { zxid: Zxid(5) });
    world.run();
    assert_eq!(world.read(leader), ack);
    world.write(leader, &bytes_of(&commit(2), Side::Leader));
    world.write(leader, &[0; 4]);
    world.run();
    assert_eq!(world.words(1), ["broken 1'"], "one that checks is not answered without");
}

/// Stock neither offers nor takes an offer.
#[test]
fn links_to_stock_have_nothing_that_stock_has_not() {
    let (mut world, learner) = leader();
    world.write(learner, &bytes_of(&follower_info(1), Side::Learner));
    world.run();
    world.node(2).peers.send(THEIRS, &EPOCH_1);
    world.node(2).peers.send(THEIRS, &commit(1));
    world.run();
    let expected = [bytes_of(&EPOCH_1, Side::Leader), bytes_of(&commit(1), Side::Leader)].concat();
    assert_eq!(world.read(learner), expected);

    let (mut world, leader) = self::learner();
    world.node(1).peers.send(OURS, &follower_info(1));
    world.run();
    let offered = world.read(leader);
    let (packet, _) = QuorumPacket::decode(&offered, 1 << 20).unwrap().unwrap();
    assert_eq!(body::LearnerInfo::decode(packet.data), Ok(body::LearnerInfo::new(ServerId(1), 0)));
    world.write(leader, &[bytes_of(&EPOCH_1, Side::Leader), bytes_of(&commit(1), Side::Leader)].concat());
    world.run();
    assert_eq!(world.words(1), ["1' LeaderInfo(Epoch(1))", "1' Commit(0x100000001)"]);
    let ack = Message::Ack { zxid: Zxid(5) };
    world.node(1).peers.send(OURS, &ack);
    world.run();
    assert_eq!(world.read(leader), bytes_of(&ack, Side::Learner));
}

#[test]
fn packets_of_kinds_that_nobody_knows_are_passed_over() {
    let (mut world, leader) = learner();
    for kind in [0, -3, 20, i32::MAX] {
        world.write(leader, &packet(PacketKind(kind), Some(b"what")));
    }
    world.write(leader, &bytes_of(&Message::UpToDate, Side::Leader));
    world.run();
    assert_eq!(world.words(1), ["1' UpToDate"]);
}

#[test]
fn a_link_that_ends_is_lost_once_and_says_nothing_after() {
    for reset in [false, true] {
        let (mut world, learner) = leader();
        world.node(2).peers.send(THEIRS, &commit(1));
        if reset {
            world.reset(learner)
        } else {
            world.hang_up(learner)
        }
        world.run();
        world.node(2).peers.send(THEIRS, &commit(2));
        world.close(2, THEIRS);
        world.pass(60_000);
        assert_eq!(world.words(2), ["lost 1"]);
        assert_eq!(world.node(2).host.open(), 2, "the two ports");
    }
}

#[test]
fn a_learner_that_takes_nothing_is_bounded_and_let_go() {
    let (mut world, learner) = leader();
    world.window(0);
    let payload: Rc<[u8]> = vec![0; 1 << 20].into();
    let proposal = Message::Proposal { zxid: Zxid(1), payload };
    let each = bytes_of(&proposal, Side::Leader).len();
    for _ in 0..LINK_OUTBOX_BYTES_MAX / each {
        world.node(2).peers.send(THEIRS, &proposal);
        world.turn();
    }
    assert_eq!(world.words(2), [""; 0]);
    for _ in 0..3 {
        world.node(2).peers.send(THEIRS, &proposal);
    }
    assert_eq!(world.node(2).peers.take().as_ref().map(word).as_deref(), Some("lost 1"));
    world.run();
    assert_eq!(world.words(2), [""; 0]);
    assert!(world.is_over(learner));
    // Zab may close what was just given up.
    let (mut world, learner) = leader();
    for _ in 0..=LINK_OUTBOX_BYTES_MAX / each {
        world.node(2).peers.send(THEIRS, &proposal);
    }
    world.close(2, THEIRS);
    world.run();
    assert_eq!(world.words(2), [""; 0]);
    assert!(world.is_over(learner));
}

#[test]
fn a_closed_link_sends_what_it_has_and_reads_until_the_other_end_closes() {
    let (mut world, learner) = leader();
    world.window(10);
    world.node(2).peers.send(THEIRS, &commit(1));
    world.write(learner, b"half a pac");
    world.close(2, THEIRS);
    let mut got = Vec::new();
    while got.len() < 20 {
        assert!(!world.is_over(learner));
        world.run();
        got.extend(world.read(learner));
        world.write(learner, b"and");
    }
    world.run();
    assert_eq!(got, bytes_of(&commit(1), Side::Leader));
    assert!(world.is_over(learner) && !world.is_reset(learner));
    assert_eq!(world.node(2).host.open(), 3);
    world.hang_up(learner);
    world.run();
    assert_eq!(world.node(2).host.open(), 2);
    assert_eq!(world.words(2), [""; 0]);
}

#[test]
fn a_closed_link_whose_other_end_takes_nothing_does_not_live_for_ever() {
    for window in [0, 1 << 20] {
        let (mut world, learner) = leader();
        world.window(window);
        world.node(2).peers.send(THEIRS, &commit(1));
        world.run();
        world.close(2, THEIRS);
        world.pass(4_999);
        assert_eq!(world.node(2).host.open(), 3);
        world.pass(1);
        assert_eq!(world.node(2).host.open(), 2);
        assert!(world.is_over(learner));
        assert_eq!(world.words(2), [""; 0]);
    }
}

#[test]
fn what_was_reported_of_a_closed_link_and_not_taken_is_taken_back() {
    let (mut world, learner) = leader();
    world.write(learner, &bytes_of(&follower_info(1), Side::Learner));
    let now = world.now;
    let node = world.node(2);
    let events = node.host.turn();
    assert_eq!(events.len(), 1);
    for event in events {
        node.peers.on_socket(&mut node.host, now, event);
    }
    world.close(2, THEIRS);
    world.run();
    assert_eq!(world.words(2), [""; 0]);
}

#[test]
fn the_port_is_open_while_we_lead_and_numbers_are_never_used_again() {
    let mut world = linked();
    world.node(2).peers.send(THEIRS, &commit(1));
    assert_eq!(world.listen(2, false), [THEIRS]);
    world.run();
    assert_eq!(world.words(2), [""; 0]);
    assert_eq!(world.words(1), ["1' Commit(0x100000001)", "lost 1'"]);
    assert_eq!(world.node(2).host.open(), 1, "the election port");
    assert_eq!(world.dial(3, quorum(2)), Err(REFUSED));
    world.listen(2, false);
    world.listen(2, true);
    world.listen(2, true);
    world.connect(1, LinkId(OURS.0 + 1), 2);
    world.run();
    assert_eq!(world.words(2), ["accepted 2"]);
    assert_eq!(world.words(1), ["connected 2'"]);
    // A learner's own link is not the port's.
    world.listen(1, true);
    assert_eq!(world.listen(1, false), []);
    world.run();
    assert_eq!(world.words(1), [""; 0]);
}

#[test]
fn a_quorum_port_that_is_taken_is_tried_until_it_is_free() {
    let mut world = World::of(2, &[2]);
    world.script_listens(quorum(2));
    world.listen(2, true);
    world.pass(5_000);
    world.script_leaves(quorum(2));
    world.pass(1_000);
    world.dial(1, quorum(2)).unwrap();
    world.run();
    assert_eq!(world.words(2), ["accepted 1"]);
    // No longer wanted, it is not tried.
    world.listen(2, false);
    world.script_listens(quorum(2));
    world.listen(2, true);
    world.listen(2, false);
    world.script_leaves(quorum(2));
    world.pass(5_000);
    assert_eq!(world.dial(1, quorum(2)), Err(REFUSED));
}

#[test]
fn a_flood_of_connections_costs_no_learner_its_place() {
    let (mut world, learner) = leader();
    world.write(learner, &bytes_of(&follower_info(1), Side::Learner));
    world.run();
    world.seen(2);
    let flood: Vec<End> = (0..300).map(|_| world.dial(9, quorum(2)).unwrap()).collect();
    world.run();
    let lost = world.words(2).iter().filter(|word| word.starts_with("lost")).count();
    let open = flood.iter().filter(|end| !world.is_over(**end)).count();
    assert_eq!((open, lost), (2 * 3 + 16 - 1, 300 - (2 * 3 + 16 - 1)));
    world.write(learner, &bytes_of(&Message::Ack { zxid: Zxid(5) }, Side::Learner));
    let late = world.dial(3, quorum(2)).unwrap();
    world.write(late, &bytes_of(&follower_info(3), Side::Learner));
    world.run();
    let seen = world.words(2);
    assert!(seen.contains(&"1 Ack(0x5)".to_owned()), "{seen:?}");
    assert!(seen.iter().any(|word| word.starts_with("302 FollowerInfo")), "{seen:?}");
}
