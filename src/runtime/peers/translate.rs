#![forbid(unsafe_code)]
//! Zab's messages to stock's packets and back (ensemble-protocol §2.2, §3.1). `wire` knows bytes and `zab` knows what they
//! are for; only here do both meet.
//!
//! | message | zxid | data |
//! | --- | --- | --- |
//! | `FollowerInfo`, `ObserverInfo` | (accepted, 0) | who it is, 20 bytes |
//! | `LeaderInfo` | (epoch, 0) | version of the protocol |
//! | `AckEpoch` | last | current epoch, -1 when it is not to count |
//! | `Diff`, `Trunc`, `Snap`, `Commit`, `Ack` | as it is | null |
//! | `Proposal`, `Inform` | the txn's | the txn |
//! | `NewLeader` | (epoch, 0) | the configuration |
//! | `UpToDate` | -1 | null |
//! | `Ping` | as it is | null from the leader, sessions (never null) from a learner |
//! | `Request` | -1 | the request; identities beside it |
//! | `Sync` | 0 | null |
//! | `Revalidate` | -1 | as it is |

use std::rc::Rc;

use super::LinkError;
use crate::base::{SessionId, Zxid};
use crate::wire::DecodeError;
use crate::wire::peer::body::{self, ForwardedRequest, Revalidate, Revalidated};
use crate::wire::peer::election::{self, PeerState};
use crate::wire::peer::packet::{encode_identities, encode_with_identities};
use crate::wire::peer::{PacketKind, QuorumPacket};
use crate::wire::txn::{self, Txn};
use crate::zab::message::{Forwarded, LearnerInfo, Message, Notification, Payload, State, Vote};

/// What we are on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Others came to us.
    Leader,
    /// We went to a leader.
    Learner,
}

/// Appends the packet of a message.
pub(super) fn encode(message: &Message, side: Side, out: &mut Vec<u8>) {
    let bare = |kind, zxid| QuorumPacket::bare(kind, zxid);
    match message {
        Message::FollowerInfo(info) => encode_info(PacketKind::FOLLOWERINFO, info, out),
        Message::ObserverInfo(info) => encode_info(PacketKind::OBSERVERINFO, info, out),
        Message::LeaderInfo { epoch } => {
            let zxid = Zxid::from_parts(*epoch, 0);
            QuorumPacket::with(PacketKind::LEADERINFO, zxid, &body::LEADER_INFO).encode(out);
        }
        Message::AckEpoch { last, current } => {
            let data = body::encode_ack_epoch(*current);
            QuorumPacket::with(PacketKind::ACKEPOCH, *last, &data).encode(out);
        }
        Message::Diff { zxid } => bare(PacketKind::DIFF, *zxid).encode(out),
        Message::Trunc { zxid } => bare(PacketKind::TRUNC, *zxid).encode(out),
        Message::Snap { zxid } => bare(PacketKind::SNAP, *zxid).encode(out),
        Message::Proposal { zxid, payload } => {
            QuorumPacket::with(PacketKind::PROPOSAL, *zxid, payload).encode(out);
        }
        Message::Commit { zxid } => bare(PacketKind::COMMIT, *zxid).encode(out),
        Message::Inform { zxid, payload } => {
            QuorumPacket::with(PacketKind::INFORM, *zxid, payload).encode(out);
        }
        Message::NewLeader { zxid, config } => {
            // Stock sends null only to servers of before 3.4, and reads it as "unchanged".
            let data = (!config.is_empty()).then_some(&**config);
            QuorumPacket { data, ..bare(PacketKind::NEWLEADER, *zxid) }.encode(out);
        }
        Message::UpToDate => bare(PacketKind::UPTODATE, Zxid(-1)).encode(out),
        Message::Ack { zxid } => bare(PacketKind::ACK, *zxid).encode(out),
        Message::Ping { zxid, touched } => {
            let data = (side == Side::Learner).then_some(&**touched);
            QuorumPacket { data, ..bare(PacketKind::PING, *zxid) }.encode(out);
        }
        Message::Request(Forwarded { body, identities: None }) => {
            QuorumPacket::with(PacketKind::REQUEST, Zxid(-1), body).encode(out);
        }
        Message::Request(Forwarded { body, identities: Some(identities) }) => {
            encode_with_identities(PacketKind::REQUEST, Zxid(-1), body, identities, out);
        }
        Message::Sync => bare(PacketKind::SYNC, Zxid::ZERO).encode(out),
        Message::Revalidate { body } => {
            QuorumPacket::with(PacketKind::REVALIDATE, Zxid(-1), body).encode(out);
        }
    }
}

fn encode_info(kind: PacketKind, info: &LearnerInfo, out: &mut Vec<u8>) {
    let zxid = Zxid::from_parts(info.accepted, 0);
    let Some(server) = info.server else { return QuorumPacket::bare(kind, zxid).encode(out) };
    let mut data = Vec::with_capacity(20);
    body::LearnerInfo::new(server, info.config_version).encode(&mut data);
    QuorumPacket::with(kind, zxid, &data).encode(out);
}

/// The message in a packet, or `None` for a kind that nobody knows, which stock passes over.
pub(super) fn decode(packet: QuorumPacket<'_>, side: Side) -> Result<Option<Message>, LinkError> {
    let QuorumPacket { kind, zxid, data, authinfo } = packet;
    let malformed = |source: DecodeError| LinkError::Body { kind, source };
    let required = || data.ok_or(malformed(DecodeError::Null));
    Ok(Some(match kind {
        PacketKind::FOLLOWERINFO => Message::FollowerInfo(decode_info(zxid, data).map_err(malformed)?),
        PacketKind::OBSERVERINFO => Message::ObserverInfo(decode_info(zxid, data).map_err(malformed)?),
        PacketKind::LEADERINFO => {
            // Stock compares the version with nothing either.
            body::decode_leader_info(data).map_err(malformed)?;
            Message::LeaderInfo { epoch: zxid.epoch() }
        }
        PacketKind::ACKEPOCH => {
            Message::AckEpoch { last: zxid, current: body::decode_ack_epoch(data).map_err(malformed)? }
        }
        PacketKind::DIFF => Message::Diff { zxid },
        PacketKind::TRUNC => Message::Trunc { zxid },
        PacketKind::SNAP => Message::Snap { zxid },
        PacketKind::PROPOSAL => Message::Proposal { zxid, payload: decode_txn(kind, zxid, data)? },
        PacketKind::COMMIT => Message::Commit { zxid },
        PacketKind::INFORM => Message::Inform { zxid, payload: decode_txn(kind, zxid, data)? },
        PacketKind::NEWLEADER => Message::NewLeader { zxid, config: payload(data.unwrap_or_default()) },
        PacketKind::UPTODATE => Message::UpToDate,
        PacketKind::ACK => Message::Ack { zxid },
        PacketKind::PING if side == Side::Learner => Message::Ping { zxid, touched: payload(&[]) },
        PacketKind::PING => {
            let _sessions = body::decode_touched(data).map_err(malformed)?;
            Message::Ping { zxid, touched: payload(required()?) }
        }
        PacketKind::REQUEST => {
            ForwardedRequest::decode(data).map_err(malformed)?;
            let identities = authinfo.map(|identities| {
                let mut encoded = Vec::new();
                encode_identities(Some(&identities), &mut encoded);
                payload(&encoded)
            });
            Message::Request(Forwarded { body: payload(required()?), identities })
        }
        PacketKind::SYNC => Message::Sync,
        PacketKind::REVALIDATE => {
            match side {
                Side::Leader => Revalidate::decode(data).map(|_| ()),
                Side::Learner => Revalidated::decode(data).map(|_| ()),
            }
            .map_err(malformed)?;
            Message::Revalidate { body: payload(required()?) }
        }
        PacketKind::COMMITANDACTIVATE | PacketKind::INFORMANDACTIVATE => {
            return Err(LinkError::Reconfiguration { kind });
        }
        _ => return Ok(None),
    }))
}

fn payload(bytes: &[u8]) -> Payload {
    Rc::from(bytes)
}

fn decode_info(zxid: Zxid, data: Option<&[u8]>) -> Result<LearnerInfo, DecodeError> {
    let info = body::LearnerInfo::decode(data)?;
    let config_version = info.config_version.unwrap_or(0);
    Ok(LearnerInfo { accepted: zxid.epoch(), server: info.server, config_version })
}

/// A txn is looked through before it is logged: what does not decode, or belongs elsewhere, could only stop the server
/// later, when it is to be applied (reliability M60).
fn decode_txn(kind: PacketKind, zxid: Zxid, data: Option<&[u8]>) -> Result<Payload, LinkError> {
    let data = data.ok_or(LinkError::Body { kind, source: DecodeError::Null })?;
    let decoded = txn::decode(data).map_err(|source| LinkError::Body { kind, source })?;
    if decoded.header.zxid != zxid.0 {
        return Err(LinkError::Txn { packet: zxid, txn: Zxid(decoded.header.zxid) });
    }
    if matches!(decoded.txn, Txn::CreateSession(_)) && decoded.header.session == SessionId::NONE.0 {
        return Err(LinkError::NoSession { txn: zxid });
    }
    Ok(payload(data))
}

/// Appends the frame of an election message.
pub(super) fn encode_notification(notification: &Notification, out: &mut Vec<u8>) {
    let Notification { state, vote, round, version: _, config } = notification;
    let state = match state {
        State::Looking => PeerState::Looking,
        State::Following => PeerState::Following,
        State::Leading => PeerState::Leading,
        State::Observing => PeerState::Observing,
    };
    let Vote { leader, zxid, peer_epoch } = *vote;
    let (version, config) = (election::NOTIFICATION_VERSION, Some(&**config));
    election::Notification { state, leader, zxid, round: *round, peer_epoch, version, config }
        .encode_frame(out);
}

/// The election message in a frame.
pub(super) fn decode_notification(frame: &[u8]) -> Result<Notification, election::NotificationError> {
    let election::Notification { state, leader, zxid, round, peer_epoch, version, config } =
        election::Notification::decode(frame)?;
    let state = match state {
        PeerState::Looking => State::Looking,
        PeerState::Following => State::Following,
        PeerState::Leading => State::Leading,
        PeerState::Observing => State::Observing,
    };
    let vote = Vote { leader, zxid, peer_epoch };
    Ok(Notification { state, vote, round, version, config: payload(config.unwrap_or_default()) })
}
