//! What three stock servers and an observer said to each other (`tests/golden/record/ensemble.py`): every byte is read by
//! our codec, and written again the same.

use crate::snap::{Image, decode as decode_snap};
use ringkeeper::wire::OpCode;
use ringkeeper::wire::peer::body::{
    ForwardedRequest, LearnerInfo, PROTOCOL_VERSION, Revalidate, Revalidated, TOUCHED_BYTES,
    decode_ack_epoch, decode_activation, decode_leader_info, decode_touched, encode_ack_epoch,
    encode_activation, encode_touched,
};
use ringkeeper::wire::peer::election::{Notification, Opening, PeerState, decode_frame};
use ringkeeper::wire::peer::snap::SnapLimits;
use ringkeeper::wire::peer::{PacketKind, QuorumPacket};
use ringkeeper::wire::request::Request;
use ringkeeper::wire::txn;
use std::collections::BTreeSet;

/// `jute.maxbuffer` and its extra size, as they are unless set.
const LIMIT: usize = 2 * 0xf_ffff;

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../golden/ensemble/", $name)).as_slice()
    };
}

/// Kinds of packets, and of the txns and requests in them.
#[derive(Default)]
struct Seen {
    kinds: BTreeSet<i32>,
    txns: BTreeSet<i32>,
    requests: BTreeSet<i32>,
    image: Option<Image>,
}

fn check_txn(payload: &[u8], zxid: i64) -> i32 {
    let decoded = txn::decode(payload).unwrap();
    assert_eq!(decoded.header.zxid, zxid);
    let mut again = Vec::new();
    txn::encode(&decoded.header, &decoded.txn, decoded.digest, &mut again);
    assert_eq!(again, payload, "{decoded:?}");
    decoded.header.op
}

/// Reads the data of a packet as its kind has it, and writes them again.
fn check_body(packet: &QuorumPacket<'_>, from_leader: bool, seen: &mut Seen) {
    let (data, zxid) = (packet.data, packet.zxid.0);
    let mut again = Vec::new();
    match packet.kind {
        PacketKind::PROPOSAL | PacketKind::INFORM => {
            seen.txns.insert(check_txn(data.unwrap(), zxid));
            return;
        }
        PacketKind::NEWLEADER => return assert!(data.unwrap().starts_with(b"server.1=")),
        PacketKind::FOLLOWERINFO | PacketKind::OBSERVERINFO => {
            let info = LearnerInfo::decode(data).unwrap();
            assert_eq!(info.protocol_version, Some(PROTOCOL_VERSION));
            info.encode(&mut again);
        }
        PacketKind::LEADERINFO => again.extend(decode_leader_info(data).unwrap().to_be_bytes()),
        PacketKind::ACKEPOCH => again.extend(encode_ack_epoch(decode_ack_epoch(data).unwrap())),
        PacketKind::REQUEST => {
            let request = ForwardedRequest::decode(data).unwrap();
            seen.requests.insert(request.op);
            Request::decode(OpCode::from_i32(request.op).unwrap(), request.record).unwrap();
            // Sessions begin and end without an identity when no client asked.
            let internal = request.op == OpCode::CreateSession as i32;
            assert_eq!(packet.authinfo.is_none(), internal, "{request:?}");
            request.encode(&mut again);
        }
        PacketKind::REVALIDATE if from_leader => Revalidated::decode(data).unwrap().encode(&mut again),
        PacketKind::REVALIDATE => Revalidate::decode(data).unwrap().encode(&mut again),
        PacketKind::PING if !from_leader => {
            decode_touched(data).unwrap().for_each(|(id, timeout)| encode_touched(id, timeout, &mut again));
        }
        PacketKind::COMMITANDACTIVATE | PacketKind::INFORMANDACTIVATE => {
            let (leader, proposal) = decode_activation(data).unwrap();
            assert_eq!(leader.0, 3);
            assert_eq!(proposal.is_empty(), packet.kind == PacketKind::COMMITANDACTIVATE);
            if !proposal.is_empty() {
                seen.txns.insert(check_txn(proposal, zxid));
            }
            encode_activation(leader, proposal, &mut again);
        }
        _ => return assert_eq!(data, None, "{packet:?}"),
    }
    assert_eq!(data, Some(&again[..]), "{packet:?}");
}

/// Reads a whole link in one direction; nothing is left over.
fn check_link(mut stream: &[u8], from_leader: bool) -> Seen {
    let mut seen = Seen::default();
    while !stream.is_empty() {
        let (packet, taken) = QuorumPacket::decode(stream, LIMIT).unwrap().expect("whole packets");
        let mut again = Vec::new();
        packet.encode(&mut again);
        assert_eq!(again, &stream[..taken], "{packet:?}");
        assert!(packet.kind.name().is_some(), "{packet:?}");
        seen.kinds.insert(packet.kind.0);
        check_body(&packet, from_leader, &mut seen);
        stream = &stream[taken..];
        if packet.kind == PacketKind::SNAP {
            let (image, taken) = decode_snap(stream, &[stream.len()], SnapLimits::uniform(LIMIT)).unwrap();
            assert!(image.ended);
            assert_eq!(image.encode(), &stream[..taken]);
            for size in [1, 7, 64] {
                assert_eq!(
                    decode_snap(stream, &[size], SnapLimits::uniform(LIMIT)),
                    Ok((image.clone(), taken))
                );
            }
            stream = &stream[taken..];
            seen.image = Some(image);
        }
    }
    seen
}

fn check_kinds(seen: &Seen, kinds: &[PacketKind]) {
    let missing: Vec<_> = kinds.iter().filter(|kind| !seen.kinds.contains(&kind.0)).collect();
    assert!(missing.is_empty(), "{missing:?} not among {:?}", seen.kinds);
}

#[test]
fn a_followers_link_is_read_and_written_byte_for_byte() {
    use PacketKind as K;
    let learner = check_link(recorded!("follower.learner"), false);
    check_kinds(&learner, &[K::FOLLOWERINFO, K::ACKEPOCH, K::ACK, K::REQUEST, K::PING, K::REVALIDATE]);
    let asked = [1, 2, 5, 7, 9, 14, 15, 19, 21, -10, -11];
    assert_eq!(learner.requests, BTreeSet::from(asked));
    let leader = check_link(recorded!("follower.leader"), true);
    check_kinds(&leader, &[K::LEADERINFO, K::DIFF, K::NEWLEADER, K::UPTODATE, K::PROPOSAL, K::COMMIT]);
    check_kinds(&leader, &[K::PING, K::SYNC, K::REVALIDATE]);
    // Every kind of txn but a reconfiguration, which comes below; failed requests are -1.
    assert_eq!(leader.txns, BTreeSet::from([1, 2, 5, 7, 14, 15, 19, 20, 21, -1, -10, -11]));
}

#[test]
fn an_observers_link_is_read_and_written_byte_for_byte() {
    use PacketKind as K;
    check_kinds(
        &check_link(recorded!("observer.learner"), false),
        &[K::OBSERVERINFO, K::ACKEPOCH, K::ACK, K::PING],
    );
    let leader = check_link(recorded!("observer.leader"), true);
    check_kinds(&leader, &[K::LEADERINFO, K::NEWLEADER, K::UPTODATE, K::INFORM, K::PING, K::SYNC]);
    assert_eq!(leader.txns, BTreeSet::from([1, 2, 5, 7, 14, 15, 19, 20, 21, -1, -10, -11]));
}

#[test]
fn what_a_follower_missed_comes_as_proposals_and_commits() {
    use PacketKind as K;
    check_link(recorded!("diff.learner"), false);
    let leader = check_link(recorded!("diff.leader"), true);
    check_kinds(&leader, &[K::DIFF, K::PROPOSAL, K::COMMIT, K::NEWLEADER, K::UPTODATE]);
    assert!(leader.txns.contains(&(OpCode::SetData as i32)));
}

#[test]
fn a_tail_that_was_never_proposed_is_cut() {
    check_kinds(&check_link(recorded!("trunc.leader"), true), &[PacketKind::TRUNC, PacketKind::UPTODATE]);
}

#[test]
fn a_snapshot_of_a_stock_leader_is_read_and_written_byte_for_byte() {
    check_link(recorded!("snap.learner"), false);
    let image = check_link(recorded!("snap.leader"), true).image.expect("a SNAP");
    assert!(!image.sessions.is_empty());
    let find = |path: &str| {
        let node = image.nodes.iter().find(|node| node.path == path.as_bytes());
        node.unwrap_or_else(|| panic!("{path} in {image:?}"))
    };
    for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        find(path);
    }
    // A container, a TTL of ten minutes, an ephemeral with null data, data that are empty.
    assert_eq!(find("/kept").stat.ephemeral_owner, i64::MIN);
    assert_eq!(find("/t").stat.ephemeral_owner, (0xff << 56) + 600_000);
    let ephemeral = find("/a/e2");
    assert_eq!(ephemeral.data, None);
    assert!(image.sessions.iter().any(|(session, _)| session.0 == ephemeral.stat.ephemeral_owner));
    assert_eq!(find("/zookeeper").data, Some(Vec::new()));
    // An ACL with a character that Java writes as two surrogates.
    let (_, acl) = image.acls.iter().find(|(id, _)| *id == find("/a").acl).unwrap();
    assert_eq!(&*acl[1].id.id, b"\xed\xa0\xbd\xed\xb8\x80:hash");
    // Parents come before their children.
    for (nth, node) in image.nodes.iter().enumerate().skip(1) {
        let parent = ringkeeper::base::path::parent(&node.path).unwrap();
        assert!(image.nodes[..nth].iter().any(|other| other.path == parent), "{node:?}");
    }
}

#[test]
fn a_reconfiguration_is_committed_and_activated_in_one() {
    let reconfig = OpCode::Reconfig as i32;
    let follower = check_link(recorded!("reconfig_follower.leader"), true);
    check_kinds(&follower, &[PacketKind::PROPOSAL, PacketKind::COMMITANDACTIVATE]);
    assert!(follower.txns.contains(&reconfig));
    let observer = check_link(recorded!("reconfig_observer.leader"), true);
    check_kinds(&observer, &[PacketKind::INFORMANDACTIVATE]);
    assert!(observer.txns.contains(&reconfig));
}

#[test]
fn a_pings_answer_names_the_sessions_heard_of() {
    let mut rest = recorded!("follower.learner");
    let mut touched = 0;
    while let Some((packet, taken)) = QuorumPacket::decode(rest, LIMIT).unwrap() {
        if packet.kind == PacketKind::PING {
            touched += packet.data.unwrap().len() / TOUCHED_BYTES;
        }
        rest = &rest[taken..];
    }
    assert!(touched > 0);
}

#[test]
fn stock_opens_election_links_as_we_do() {
    let check = |recorded: &[u8], addresses: usize| {
        let (opening, taken) = Opening::decode(recorded).unwrap().unwrap();
        assert_eq!((opening.server.0, opening.addresses.len(), taken), (1, addresses, recorded.len()));
        let mut again = Vec::new();
        opening.encode(&mut again);
        assert_eq!(again, recorded);
    };
    check(recorded!("opening"), 1);
    check(recorded!("opening_addresses"), 2);
}

#[test]
fn notifications_in_every_state_are_read_and_written_byte_for_byte() {
    let check = |recorded: &[u8], state: PeerState, leader: i64| {
        let (payload, taken) = decode_frame(recorded).unwrap().unwrap();
        assert_eq!(taken, recorded.len());
        let notification = Notification::decode(payload).unwrap();
        assert_eq!((notification.state, notification.leader.0), (state, leader));
        assert!(notification.config.unwrap().ends_with(b"version=0"));
        let mut again = Vec::new();
        notification.encode_frame(&mut again);
        assert_eq!(again, recorded);
    };
    check(recorded!("notification_looking"), PeerState::Looking, 1);
    check(recorded!("notification_following"), PeerState::Following, 3);
    check(recorded!("notification_leading"), PeerState::Leading, 3);
    check(recorded!("notification_observing"), PeerState::Observing, 3);
}
