#![forbid(unsafe_code)]
//! Messages and packets: what stock's servers said to each other, through our messages and back, byte for byte.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::base::{Epoch, ServerId, Zxid};
use crate::runtime::peers::translate::{Side, decode, encode};
use crate::wire::peer::packet::{PacketKind, encode_identities};
use crate::wire::peer::snap::{SnapDecoder, SnapLimits};
use crate::wire::peer::{QuorumPacket, body};
use crate::wire::txn::{self, Txn, TxnHeader};
use crate::wire::{Id, OpCode};
use crate::zab::message::{Forwarded, LearnerInfo, Message};

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/golden/ensemble/", $name)).as_slice()
    };
}

const LIMIT: usize = 2 << 20;

fn encoded(message: &Message, side: Side) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, side, &mut bytes);
    bytes
}

/// Every packet of a recording is a message, and the message that packet. `from` is who said it.
fn check_recorded(mut bytes: &[u8], from: Side, kinds: &mut BTreeSet<i32>) {
    let receiver = if from == Side::Leader { Side::Learner } else { Side::Leader };
    while let Some((packet, taken)) = QuorumPacket::decode(bytes, LIMIT).unwrap() {
        kinds.insert(packet.kind.0);
        let message = decode(packet.clone(), receiver).unwrap().expect("a kind that is known");
        assert_eq!(encoded(&message, from), bytes[..taken], "{packet:?}");
        bytes = &bytes[taken..];
        if packet.kind == PacketKind::SNAP {
            let mut image = SnapDecoder::new(SnapLimits::uniform(LIMIT));
            while image.next(&mut bytes).unwrap().is_some() {}
            assert!(image.is_done());
        }
    }
}

#[test]
fn what_stock_said_comes_out_as_it_was_said() {
    let mut kinds = BTreeSet::new();
    for bytes in [recorded!("follower.leader"), recorded!("observer.leader"), recorded!("diff.leader")] {
        check_recorded(bytes, Side::Leader, &mut kinds);
    }
    for bytes in [recorded!("snap.leader"), recorded!("trunc.leader")] {
        check_recorded(bytes, Side::Leader, &mut kinds);
    }
    for bytes in [recorded!("follower.learner"), recorded!("observer.learner")] {
        check_recorded(bytes, Side::Learner, &mut kinds);
    }
    for bytes in [recorded!("diff.learner"), recorded!("snap.learner")] {
        check_recorded(bytes, Side::Learner, &mut kinds);
    }
    // All kinds there are but the two of reconfigurations.
    let expected: BTreeSet<i32> = (1..=18).filter(|kind| *kind != 9).collect();
    assert_eq!(kinds, expected);
}

#[test]
fn every_message_is_told_from_every_other() {
    let mut identities = Vec::new();
    encode_identities(Some(&[Id::new("ip", "10.0.0.1"), Id::new("digest", "a:b")]), &mut identities);
    let mut txn = vec![0; 12];
    txn.extend_from_slice(&7i64.to_be_bytes());
    txn.extend_from_slice(&[0; 8]);
    txn.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let txn: Rc<[u8]> = txn.into();
    let zxid = Zxid(7);
    let info = LearnerInfo { accepted: Epoch(4), server: Some(ServerId(3)), config_version: 5 };
    let nobody = LearnerInfo { accepted: Epoch(4), server: None, config_version: 0 };
    let body: Rc<[u8]> = (0..20).collect::<Vec<u8>>().into();
    let none: Rc<[u8]> = Rc::from(&[][..]);
    let to_leader = [
        Message::FollowerInfo(info),
        Message::FollowerInfo(nobody),
        Message::ObserverInfo(info),
        Message::AckEpoch { last: zxid, current: Some(Epoch(3)) },
        Message::AckEpoch { last: zxid, current: None },
        Message::Ack { zxid },
        Message::Ping { zxid, touched: none.clone() },
        Message::Ping { zxid, touched: Rc::from(vec![1; 24]) },
        Message::Request(Forwarded { body: body.clone(), identities: None }),
        Message::Request(Forwarded { body: body.clone(), identities: Some(identities.into()) }),
        Message::Request(Forwarded { body: body.clone(), identities: Some(Rc::from(&[0; 4][..])) }),
        Message::Revalidate { body: Rc::from(&body[..12]) },
    ];
    let from_leader = [
        Message::LeaderInfo { epoch: Epoch(9) },
        Message::Diff { zxid },
        Message::Trunc { zxid },
        Message::Snap { zxid },
        Message::Proposal { zxid, payload: txn.clone() },
        Message::Commit { zxid },
        Message::Inform { zxid, payload: txn },
        Message::NewLeader { zxid, config: body.clone() },
        Message::NewLeader { zxid, config: none.clone() },
        Message::UpToDate,
        Message::Ping { zxid, touched: none },
        Message::Sync,
        Message::Revalidate { body: Rc::from(&body[..9]) },
    ];
    for (messages, from, to) in
        [(&to_leader[..], Side::Learner, Side::Leader), (&from_leader[..], Side::Leader, Side::Learner)]
    {
        let all: BTreeSet<Vec<u8>> = messages.iter().map(|message| encoded(message, from)).collect();
        assert_eq!(all.len(), messages.len(), "two messages with the same bytes");
        for message in messages {
            let bytes = encoded(message, from);
            let (packet, taken) = QuorumPacket::decode(&bytes, LIMIT).unwrap().unwrap();
            assert_eq!(taken, bytes.len());
            assert_eq!(decode(packet, to).unwrap().as_ref(), Some(message));
        }
    }
}

// It would be in the log for good, and nobody could apply it.
#[test]
fn a_session_without_a_number_is_not_logged_m60() {
    for (session, accepted) in [(0, false), (1, true)] {
        let header = TxnHeader { session, cxid: 0, zxid: 7, time: 0, op: OpCode::CreateSession as i32 };
        let mut data = Vec::new();
        txn::encode(&header, &Txn::CreateSession(30_000), None, &mut data);
        for kind in [PacketKind::PROPOSAL, PacketKind::INFORM] {
            let packet = QuorumPacket::with(kind, Zxid(7), &data);
            assert_eq!(decode(packet, Side::Learner).is_ok(), accepted, "{kind:?} {session}");
        }
    }
}

#[test]
fn older_learners_say_less() {
    let mut kinds = Vec::new();
    for length in [8, 12, 20] {
        let mut data = Vec::new();
        body::LearnerInfo::new(ServerId(3), 5).encode(&mut data);
        let packet = QuorumPacket::with(PacketKind::FOLLOWERINFO, Zxid(4 << 32), &data[..length]);
        kinds.push(decode(packet, Side::Leader).unwrap().unwrap());
    }
    let info = |config_version| LearnerInfo { accepted: Epoch(4), server: Some(ServerId(3)), config_version };
    let expected = [0, 0, 5].map(|config_version| Message::FollowerInfo(info(config_version)));
    assert_eq!(kinds, expected);
}
