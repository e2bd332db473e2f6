#![forbid(unsafe_code)]
//! What a stock leader sent (`tests/golden/record/ensemble.py`) comes in, and goes out as stock would send it.

use super::*;
use crate::wire::peer::snap::{SnapDecoder, SnapElement, SnapLimits, StatPersisted};
use crate::wire::peer::{PacketKind, QuorumPacket};

const LIMIT: usize = 2 * 0xf_ffff;

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/golden/ensemble/", $name)).as_slice()
    };
}

/// The zxid of a link's SNAP, what follows it, and where the image in it ends.
fn image_on(mut link: &[u8]) -> (Zxid, &[u8], usize) {
    loop {
        let (packet, taken) = QuorumPacket::decode(link, LIMIT).unwrap().expect("a SNAP comes");
        link = &link[taken..];
        if packet.kind == PacketKind::SNAP {
            let mut decoder = SnapDecoder::new(SnapLimits::uniform(LIMIT));
            let mut rest = link;
            while decoder.next(&mut rest).unwrap().is_some() {}
            return (packet.zxid, link, link.len() - rest.len());
        }
    }
}

/// The txns among these packets.
fn txns_in(mut packets: &[u8]) -> Txns {
    let mut txns = Vec::new();
    while !packets.is_empty() {
        let (packet, taken) = QuorumPacket::decode(packets, LIMIT).unwrap().expect("whole packets");
        if [PacketKind::PROPOSAL, PacketKind::INFORM].contains(&packet.kind) {
            txns.push((packet.zxid, packet.data.unwrap().into()));
        }
        packets = &packets[taken..];
    }
    txns
}

/// Data, ACL by value, and the rest.
type Node = (Option<Vec<u8>>, Vec<Acl>, StatPersisted);

/// An image without the order of siblings and the numbers of ACL lists, which are each server's own.
#[derive(PartialEq, Debug, Default)]
struct Content {
    sessions: BTreeMap<SessionId, i32>,
    nodes: BTreeMap<Vec<u8>, Node>,
}

fn content(stream: &[u8]) -> Content {
    let (mut content, mut acls) = (Content::default(), BTreeMap::from([(-1, vec![Acl::open()])]));
    let mut decoder = SnapDecoder::new(SnapLimits::uniform(LIMIT));
    let mut rest = stream;
    while let Some(element) = decoder.next(&mut rest).unwrap() {
        match element {
            SnapElement::Session(session, timeout_ms) => drop(content.sessions.insert(session, timeout_ms)),
            SnapElement::Acl(id, acl) => drop(acls.insert(id, acl)),
            SnapElement::Node(node) => {
                if node.path != b"/" {
                    let parent = crate::base::path::parent(node.path).unwrap();
                    assert!(content.nodes.contains_key(parent), "a node before its parent");
                }
                let value = (node.data.map(<[u8]>::to_vec), acls[&node.acl].clone(), node.stat);
                assert!(content.nodes.insert(node.path.to_vec(), value).is_none());
            }
            _ => {}
        }
    }
    assert!(decoder.is_done() && rest.is_empty());
    content
}

#[test]
fn a_stock_leaders_image_comes_in_and_goes_out_the_same() {
    let (at, link, end) = image_on(recorded!("snap.leader"));
    for size in [1, 13, 5000] {
        let mut receiver = Host::new();
        receiver.images.receive(LINK, at);
        // Packets follow in the same bytes: they come back.
        let rest = expect_received(receiver.feed(LINK, link, || size));
        assert!(link[end..].starts_with(&rest));
        let (_, mut state) = expect_installed(receiver.install(at, Vec::new()));
        assert_eq!(state.orphans(), 0);
        receiver.images.send(LINK, ImageOut::of(&mut state).unwrap());
        let again = receiver.stream(LINK, || ());
        assert_eq!(content(&again), content(&link[..end]));
        // The same bytes in another order, but for a list that gives everyone everything: stock keeps one under a number
        // too when somebody asked for it in words.
        let open = 12 + 4 + 9 + 10;
        assert_eq!(again.len(), end - open);
    }
}

#[test]
fn an_image_and_the_txns_behind_it_are_the_state_of_a_later_image() {
    // An observer's image is nearly empty; then come txns of every kind, each with stock's digest of the tree.
    let (at, link, end) = image_on(recorded!("observer.leader"));
    let mut txns = txns_in(&link[end..]);
    let informed = txns.last().unwrap().0;
    txns.extend(txns_in(recorded!("diff.leader")).into_iter().filter(|(zxid, _)| *zxid > informed));
    for upto in [1, txns.len() / 2, txns.len()] {
        let txns = txns[..upto].to_vec();
        let (last, payload) = txns.last().unwrap().clone();
        let digest = txn::decode(&payload).unwrap().digest;
        let mut receiver = Host::new();
        receiver.images.receive(LINK, at);
        expect_received(receiver.feed(LINK, &link[..end], || 1000));
        let (zxid, mut state) = expect_installed(receiver.install(last, txns));
        assert_eq!((zxid, state.applied()), (last, last));
        assert_eq!(Some(state.tree().digest()), digest);
    }
}
