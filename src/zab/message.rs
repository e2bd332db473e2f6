#![forbid(unsafe_code)]
//! Every message between two servers, as values. Bytes are `wire::peer`'s; the shell translates. The set, the names and
//! the order of fields are stock's (`Leader`'s packet types, `FastLeaderElection.Notification`).
//!
//! L leader, F follower, O observer, X any server. To an observer that a follower serves, that follower is L.
//!
//! | message | from → to | phase | promises |
//! | --- | --- | --- | --- |
//! | [`Notification`] | X → X | election | the sender's vote, its round and its role at that moment; may be lost or overtaken by a newer one |
//! | `FollowerInfo`, `ObserverInfo` | F, O → L | discovery | the sender has accepted no epoch above this one |
//! | `LeaderInfo` | L → F, O | discovery | a quorum including L has accepted no epoch ≥ this one from another leader; L's acceptance is durable |
//! | `AckEpoch` | F, O → L | discovery | the epoch is accepted durably; the history ends at `last`, all of it durable |
//! | `Diff`, `Trunc`, `Snap` | L → F, O | synchronization | what follows makes the receiver's history L's |
//! | `Proposal` | L → F (O in synchronization) | synchronization, broadcast | L has given this zxid to these bytes and to no others |
//! | `Commit` | L → F (O in synchronization) | synchronization, broadcast | a quorum has the txn durably, or will have before L serves |
//! | `NewLeader` | L → F, O | synchronization | everything of L's initial history was sent before |
//! | `Ack` of (e, 0) | F, O → L | synchronization | the history is durable and the current epoch is e, durably |
//! | `Ack` of a proposal | F → L | broadcast | that proposal is durable; says nothing of others |
//! | `UpToDate` | L → F, O | activation | a quorum has acknowledged `NewLeader`: L's history is committed, serve |
//! | `Inform` | L → O | broadcast | `Proposal` and `Commit` in one |
//! | `Ping` | L ↔ F, O | broadcast | the sender is alive; the answer carries sessions heard of since the last one |
//! | `Request` | F, O → L | broadcast | a client of the sender asks for this; the answer is the txn with its session and cxid |
//! | `Sync` | L → F, O | broadcast | answers the oldest open sync; all that was committed when L got it was sent before |
//! | `Revalidate` | F, O ↔ L | broadcast | a client came with this session; and whether it still is one |

use std::fmt;
use std::rc::Rc;

use crate::base::{Epoch, ServerId, Zxid};

/// Opaque bytes that several queues hold at once.
pub type Payload = Rc<[u8]>;

/// One connection between a learner and its leader. Never reused: bytes of an older connection cannot be taken for
/// those of a newer one. The shell numbers those that others open to us; [`super::Action::Connect`] numbers ours. The
/// two ranges are apart (`LinkId::OURS`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

impl LinkId {
    /// Set in the numbers of links that we opened.
    pub const OURS: u64 = 1 << 63;
}

/// Where servers are connected to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Port {
    /// Of a leader, by all its learners.
    Quorum,
    /// Of a follower, by observers (`observerMasterPort`).
    Observers,
}

/// What a server is to others (stock `QuorumPeer.ServerState`, its ordinals).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// In an election.
    Looking = 0,
    /// Has a leader, votes.
    Following = 1,
    /// Leads, or tries to.
    Leading = 2,
    /// Has a leader, has no vote.
    Observing = 3,
}

/// Whom a server wants as leader, and why (stock `Vote`): compared by epoch, zxid, id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vote {
    /// The candidate; `i64::MIN` when the voter has no vote.
    pub leader: ServerId,
    /// Where the candidate's history ends; -1 for a history that may be lost.
    pub zxid: Zxid,
    /// The candidate's current epoch; `i64::MIN` on the wire when the voter has no vote, so wider than [`Epoch`].
    pub peer_epoch: i64,
}

/// An election message (ensemble-protocol §2.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// The sender's role.
    pub state: State,
    /// Its vote.
    pub vote: Vote,
    /// Its round when looking; that of its election otherwise.
    pub round: i64,
    /// The form of the message: 2 in all of today's releases; 0 of the oldest changes how votes are compared.
    pub version: i32,
    /// The sender's committed configuration, as text; opaque here.
    pub config: Payload,
}

/// A request of a learner's client: the body of stock's REQUEST and the identities beside it, both as on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    /// Session, cxid, operation, record.
    pub body: Payload,
    /// The identities, encoded; `None` when the packet has none.
    pub identities: Option<Payload>,
}

/// A packet on a quorum link (ensemble-protocol §3.1), apart from the raw stream behind `Snap`.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// 11.
    FollowerInfo(LearnerInfo),
    /// 16.
    ObserverInfo(LearnerInfo),
    /// 17.
    LeaderInfo { epoch: Epoch },
    /// 18. `current` is absent (-1 on the wire) when the epoch offered had been accepted before: not to be counted.
    AckEpoch { last: Zxid, current: Option<Epoch> },
    /// 13.
    Diff { zxid: Zxid },
    /// 14. The receiver keeps everything up to `zxid`.
    Trunc { zxid: Zxid },
    /// 15. The raw image at `zxid` follows.
    Snap { zxid: Zxid },
    /// 2.
    Proposal { zxid: Zxid, payload: Payload },
    /// 4.
    Commit { zxid: Zxid },
    /// 8.
    Inform { zxid: Zxid, payload: Payload },
    /// 10. `zxid` is (e, 0).
    NewLeader { zxid: Zxid, config: Payload },
    /// 12.
    UpToDate,
    /// 3.
    Ack { zxid: Zxid },
    /// 5. From the leader: its newest proposal, no `touched`. The answer echoes the zxid.
    Ping { zxid: Zxid, touched: Payload },
    /// 1.
    Request(Forwarded),
    /// 7.
    Sync,
    /// 6. The question and the answer are told apart by direction; opaque here.
    Revalidate { body: Payload },
}

/// Who connects to a leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// Highest epoch accepted.
    pub accepted: Epoch,
    /// Its id; absent in the oldest form of the message.
    pub server: Option<ServerId>,
    /// Version of its configuration; 0 without reconfiguration.
    pub config_version: i64,
}

/// Payloads by length: what they hold is nobody's business in a trace or a log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::FollowerInfo(info) => write!(f, "FollowerInfo({info:?})"),
            Message::ObserverInfo(info) => write!(f, "ObserverInfo({info:?})"),
            Message::LeaderInfo { epoch } => write!(f, "LeaderInfo({epoch:?})"),
            Message::AckEpoch { last, current } => write!(f, "AckEpoch({last}, {current:?})"),
            Message::Diff { zxid } => write!(f, "Diff({zxid})"),
            Message::Trunc { zxid } => write!(f, "Trunc({zxid})"),
            Message::Snap { zxid } => write!(f, "Snap({zxid})"),
            Message::Proposal { zxid, payload } => write!(f, "Proposal({zxid}, {} B)", payload.len()),
            Message::Commit { zxid } => write!(f, "Commit({zxid})"),
            Message::Inform { zxid, payload } => write!(f, "Inform({zxid}, {} B)", payload.len()),
            Message::NewLeader { zxid, .. } => write!(f, "NewLeader({zxid})"),
            Message::UpToDate => write!(f, "UpToDate"),
            Message::Ack { zxid } => write!(f, "Ack({zxid})"),
            Message::Ping { zxid, touched } => write!(f, "Ping({zxid}, {} B)", touched.len()),
            Message::Request(forwarded) => write!(f, "Request({} B)", forwarded.body.len()),
            Message::Sync => write!(f, "Sync"),
            Message::Revalidate { body } => write!(f, "Revalidate({} B)", body.len()),
        }
    }
}
