#![forbid(unsafe_code)]
//! What goes into [`super::Peer::step`] and what comes out. Plain values, so that a test asserts the exact list.
//!
//! **The shell's contract.** Actions are performed in the order in which they come out. Those that concern the disk
//! (`Append`, `Truncate`, `SaveEpoch`, `InstallSnap`, `Admit`, `Disown`) take effect in that order, each reports when it is durable, and
//! reports come back in that order. Those that concern one link leave it in that order; what follows a `SendSnap`
//! waits behind the image. Nothing else is ordered. Whatever is not possible any more (a link that is gone) is skipped
//! in silence: its `LinkLost` is on its way.

use super::message::{Forwarded, LinkId, Message, Notification, Payload, Port};
use crate::base::{Epoch, ServerId, Zxid};

/// Names a question of a local client that the leader answers.
pub type SyncTag = u64;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Time has passed. Sent at least as often as [`super::Peer::next_tick`] asks for.
    Tick,

    /// An election message arrived.
    Notified { from: ServerId, notification: Notification },
    /// The election link to this server works.
    PeerUp(ServerId),
    /// The election link to this server is gone, or it refuses one.
    PeerLost(ServerId),

    /// The connection that [`Action::Connect`] asked for is there.
    Connected { link: LinkId },
    /// Somebody connected to the port that is open.
    Accepted { link: LinkId },
    /// The connection is gone, or was never made. Nothing of it comes after this.
    LinkLost { link: LinkId },
    /// The same, because what came on it cannot be a packet, or was altered on its way.
    LinkBroken { link: LinkId },
    /// A packet arrived.
    Received { link: LinkId, message: Message },

    /// Prep made this txn at [`super::Peer::next_zxid`]. Only while that gives one.
    Submitted { zxid: Zxid, payload: Payload },
    /// The log is durable up to here.
    Flushed(Zxid),
    /// The epoch record is durable with these.
    EpochSaved { accepted: Epoch, current: Epoch },
    /// The record says, durably, that this server may vote.
    Admitted,
    /// The record says, durably, that it may not.
    Disowned,
    /// The log ends at this zxid now, durably.
    Truncated(Zxid),
    /// The image behind [`Message::Snap`] arrived whole and was verified as far as can be; it stands beside the state.
    SnapReceived { link: LinkId },
    /// The received image with the txns behind it is the state, and durable at this zxid; the log goes on from it.
    SnapInstalled { link: LinkId, zxid: Zxid },
    /// The image left whole; what was queued behind it goes out.
    SnapSent { link: LinkId },
    /// Bytes of an image moved on this link, in whichever direction, since the last such event. Once a tick is enough:
    /// a link that carries an image is given up when neither a packet nor this comes for `init_limit` ticks.
    SnapMoved { link: LinkId },
    /// What [`Action::ReadLog`] asked for: all txns after `after` up to `up_to` without a gap; or `None` if the log has
    /// not all of them, or does not have `after` itself, or if they are more than is sensible to send instead of an image.
    LogRead { link: LinkId, txns: Option<Vec<(Zxid, Payload)>> },

    /// A local client's write, or that of an observer we serve, for the leader. Only while following or observing and active.
    Forward(Forwarded),
    /// A local client's sync. Answered by [`Action::Synced`] in the order asked, or by the loss of the role. `request` is
    /// what a learner has its leader asked with.
    SyncAsked { tag: SyncTag, request: Forwarded },
    /// A learner's REQUEST turned out to be a sync; `request` is it, for our own leader.
    LearnerSync { link: LinkId, request: Forwarded },
    /// A `Revalidate` or an answered `Ping` of the shell's making.
    Send { link: LinkId, message: Message },

    /// The server is asked to stop: a leader sees to it that its followers have everything, then lets go.
    Resign,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send an election message; a newer one to the same server replaces one that has not left.
    Notify { to: ServerId, notification: Notification },
    /// Open a quorum link to this port of this server. Reported by `Connected` or `LinkLost`.
    Connect { link: LinkId, to: ServerId, port: Port },
    /// Open or close a port; at most one is open. Closed also closes every link that others opened, once what was sent on it is out;
    /// no `LinkLost` follows.
    Listen(Port, bool),
    /// Close this link, once what was sent on it is out. No `LinkLost` follows, nor anything else of it.
    Close { link: LinkId },
    /// Send a packet.
    Send { link: LinkId, message: Message },
    /// The leader pings: the shell answers with the sessions touched since the last time, as `Event::Send`.
    AnswerPing { link: LinkId, zxid: Zxid },

    /// Send the state's image, exact at `zxid`, raw on the link, as soon as that is applied: it is the newest `Commit`.
    /// `Snap` went ahead. What waits behind an image has the shell's bound; past it the link is given up.
    SendSnap { link: LinkId, zxid: Zxid },
    /// The link's next bytes are an image: read it beside the state. Packets behind it are reported after `SnapReceived`.
    ReceiveSnap { link: LinkId, zxid: Zxid },
    /// Apply these txns to the received image, make it durable, let it take the state's place, and let the log go on from
    /// `zxid`; what the log held is gone. Until a `Commit` follows, the state is not confirmed
    /// ([`super::settings::Durable::confirmed`]). Reported even if the link is gone by then.
    InstallSnap { link: LinkId, zxid: Zxid, txns: Vec<(Zxid, Payload)> },
    /// Forget the image that was being received.
    DropSnap { link: LinkId },
    /// Read txns from the log. They are held in memory until they have been sent.
    ReadLog { link: LinkId, after: Zxid, up_to: Zxid },

    /// Append to the log.
    Append { zxid: Zxid, payload: Payload },
    /// Cut the log behind this zxid. Nothing above it was ever committed.
    Truncate(Zxid),
    /// Make these the epochs of the record.
    SaveEpoch { accepted: Epoch, current: Epoch },
    /// Note in the record that this server may vote: it has the history of a quorum that does not include it
    /// (reliability R11).
    Admit,
    /// Note in the record that this server may not vote: its disk was found empty, and the ensemble is not new
    /// (reliability R11).
    Disown,

    /// The quorum has decided everything up to here: apply what is also durable here. It names the zxid of a state that
    /// was installed when that is confirmed.
    Commit(Zxid),

    /// The role changed. With `Looking` every client connection is closed, what clients asked and was not answered is
    /// forgotten, and prep's outstanding changes are dropped; the others say that clients may be served. A server begins
    /// looking, without this.
    Became(Role),
    /// A learner's request: for prep while leading, else for [`Event::Forward`]; or for [`Event::LearnerSync`].
    Requested { link: LinkId, learner: ServerId, forwarded: Forwarded },
    /// Sessions that a learner heard of.
    Touched { link: LinkId, learner: ServerId, sessions: Payload },
    /// A `Revalidate`: on the link to our leader its answer, on any other a learner's question.
    Revalidate { link: LinkId, body: Payload },
    /// The sync of this tag may be answered: everything before it was committed and given out.
    Synced(SyncTag),
    /// A learner has left; what was asked through it is nobody's.
    LearnerLost { link: LinkId, learner: ServerId },

    /// For logs, metrics and traces.
    Observed(Observation),
    /// A contradiction, or a leader that can no longer be sure: stop the process, or step down where that suffices.
    Fail(Failure),
}

/// A server's role as its clients see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// No leader: clients are not served (or only read).
    Looking,
    /// Leads and serves: proposals are taken at [`super::Peer::next_zxid`].
    Leading(Epoch),
    /// Follows and serves.
    Following(ServerId),
    /// Observes and serves.
    Observing(ServerId),
}

/// Something that happened inside, told to whoever watches. The core does not log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// A round of election began.
    ElectionStarted { round: i64 },
    /// It ended.
    Elected { leader: ServerId, round: i64, took_ms: u64 },
    /// As a leader: the epoch is fixed.
    EpochProposed(Epoch),
    /// As a leader: a learner's way of synchronization.
    LearnerSyncing { learner: ServerId, mode: SyncMode, from: Zxid, to: Zxid },
    /// As a leader: it acknowledged NEWLEADER.
    LearnerSynced { learner: ServerId, mode: SyncMode },
    /// As a leader: it was let go.
    LearnerDropped { learner: ServerId, reason: &'static str },
    /// As a leader, or as a follower that serves observers: it is not taken in.
    LearnerRefused { learner: Option<ServerId>, link: LinkId, reason: &'static str },
    /// As a learner: how we are synchronized.
    Syncing { leader: ServerId, mode: SyncMode, from: Zxid },
    /// As a leader or learner: the role ended.
    SteppedDown { reason: &'static str },
    /// As a learner: leaders contradicted themselves, or us, so often within a minute, this one last: it is left alone for a
    /// while, and somebody has to look at both (reliability M58).
    LeaderContradicts { leader: ServerId, times: usize, reason: &'static str },
    /// A message was dropped.
    Ignored { from: Option<ServerId>, what: &'static str, why: &'static str },
}

/// Why a leader steps down that was elected by voters who look for another one by now (stock `Leader.quitLeading`).
pub const DISLOYAL: &str = "too many voters look for another leader";

/// The three ways to bring a learner up to date.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SyncMode {
    /// Txns it lacks.
    Diff,
    /// It has too many.
    Trunc,
    /// The whole state.
    Snap,
}

/// Why the process must stop (reliability P11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A leader asks us to cut what is known to be committed.
    TruncateBelowCommitted { to: Zxid, committed: Zxid },
}
