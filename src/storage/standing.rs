#![forbid(unsafe_code)]
//! How a server stands to what its directories hold: alone or a member, with a vote or without (reliability R11).
//!
//! What a member promised counts in the quorums of others, so one that cannot prove from its own disk what that was has
//! no vote. It starts with what is intact; its leader brings it up to date as one who observes, and then it is admitted.
//!
//! | found | alone | member |
//! |---|---|---|
//! | nothing | begins | begins, with a vote as [`Empty`] says |
//! | the log damaged, or the end of the history missing | refused, where the log tells | starts behind the newest snapshot that loads; no vote |
//! | an epoch record that proves nothing | refused | keeps what is there; no vote |
//! | data without a log, or without an epoch record | refused: perhaps a volume is not mounted | likewise |
//! | the data of a server that ran alone | goes on | all of it is committed; goes on under its own id |
//! | the data of a member | goes on, tail and all; refused without a vote | goes on, under the same id only |

use super::Identity;
use super::epoch::{self, EpochFault, EpochRecord};
use super::names::{self, FileKind};
use super::recovery::{Head, RecoverError, Settings, Steps};
use super::snapshot::{Received, SnapshotFault};
use super::wal::{ChainHash, Log, LogFault, SegmentId, Tail, WalPosition};
use crate::base::Zxid;
use crate::base::planted::{Bug, planted};

/// How the server will run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// By itself: what the log holds is the history.
    Alone,
    /// As a member of an ensemble.
    Member {
        /// What empty directories mean.
        empty: Empty,
    },
}

/// Whose the empty directories of a member are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Empty {
    /// Those of a new server, says the operator (the file `initialize`): it votes.
    New,
    /// Nobody says: it votes until it hears of an ensemble that has had a leader, in which it may have promised something
    /// and lost it (stock `db.autocreate` true, where it always votes).
    Unsaid,
    /// Those of a server that may have lost everything (stock `db.autocreate` false): it has no vote.
    Lost,
}

/// What there is of an epoch record.
pub(super) enum Found {
    /// No data at all.
    Nothing,
    /// A record.
    Record(epoch::Loaded),
    /// One that proves nothing; whose data they are, the log says.
    Unproven(Identity),
}

/// What a member lost.
pub(super) enum Lost {
    /// A part of the log.
    Log(String),
    /// The end of the history.
    End(String),
}

/// Judges the epoch record of directories that are not empty.
pub(super) fn found(
    loaded: Result<epoch::Loaded, RecoverError>,
    heads: &[Head],
    settings: &Settings<'_>,
) -> Result<Found, RecoverError> {
    let other = |recorded| RecoverError::OtherServer { recorded, configured: settings.server };
    let loaded = match (loaded, settings.mode) {
        (Ok(loaded), _) => loaded,
        (Err(fault @ RecoverError::Epoch(EpochFault::Unproven { .. })), Mode::Member { .. }) => {
            let Some(header) = heads.iter().rev().find_map(|head| head.header) else { return Err(fault) };
            return match header.identity {
                identity if identity.server == settings.server => Ok(Found::Unproven(identity)),
                Identity { server, .. } => Err(other(server)),
            };
        }
        (Err(fault), _) => return Err(fault),
    };
    let EpochRecord { identity, admitted, member, .. } = loaded.record;
    match settings.mode {
        Mode::Alone if member && !admitted => Err(RecoverError::NotAdmitted),
        // A single server's id is nobody's name; a member's is.
        _ if identity.server != settings.server && (settings.mode == Mode::Alone) != member => {
            Err(other(identity.server))
        }
        _ => Ok(Found::Record(loaded)),
    }
}

impl Found {
    pub(super) fn equal_copies(&self) -> usize {
        match self {
            Found::Nothing => epoch::COPIES,
            Found::Record(loaded) => loaded.equal_copies,
            Found::Unproven(_) => 0,
        }
    }

    pub(super) fn identity(&self, settings: &Settings<'_>) -> Identity {
        match self {
            Found::Nothing => Identity { cluster: settings.new_cluster, server: settings.server },
            Found::Record(loaded) => loaded.record.identity,
            Found::Unproven(identity) => *identity,
        }
    }

    /// The record to go on with, and the steps that make it durable. The history ends at `last`.
    pub(super) fn record(
        &self,
        settings: &Settings<'_>,
        last: Zxid,
        is_lost: bool,
        steps: &mut Steps,
    ) -> EpochRecord {
        let member = settings.mode != Mode::Alone;
        let first = EpochRecord { member, ..EpochRecord::first(self.identity(settings)) };
        match self {
            Found::Nothing => {
                let empty = match settings.mode {
                    Mode::Alone => Empty::New,
                    Mode::Member { empty } => empty,
                };
                let admitted = empty != Empty::Lost && !is_lost;
                let provisional = admitted && empty == Empty::Unsaid;
                let record = EpochRecord { admitted, provisional, ..first };
                steps.data.extend(record.create());
                record
            }
            Found::Unproven(_) => {
                // What it accepted beyond is forgotten, and with it the vote that it gave.
                let record =
                    EpochRecord { admitted: false, accepted: last.epoch(), current: last.epoch(), ..first };
                steps.record.extend(record.create());
                record
            }
            Found::Record(loaded) => {
                let mut record = loaded.record;
                match settings.mode {
                    Mode::Alone if record.member => record = record.alone(settings.server),
                    Mode::Member { .. } if !record.member => record = record.member(settings.server, last),
                    _ => {}
                }
                let may_lose = record.admitted || record.settled > Zxid::ZERO;
                if is_lost && may_lose && !planted(Bug::DamagedVotes) {
                    record = record.unadmitted();
                }
                if record != loaded.record || loaded.equal_copies < epoch::COPIES {
                    steps.record.extend(record.rewrite());
                }
                record
            }
        }
    }
}

/// Whether the log has lost something, rather than being another's or contradicting itself.
pub(super) fn is_loss(fault: &LogFault) -> bool {
    matches!(fault, LogFault::Damaged(_) | LogFault::BeginsLate { .. })
}

/// A snapshot that does not load was a state once: a history that ends before it is not whole.
pub(super) fn is_cut_short(skipped: &[(String, SnapshotFault)], last: Zxid) -> Option<String> {
    let beyond = skipped
        .iter()
        .find(|(name, _)| matches!(names::parse(name), FileKind::Snapshot(zxid) if zxid > last));
    beyond
        .map(|(name, fault)| format!("{name} was not loaded: {fault}; and the log ends before it, at {last}"))
}

/// The log of a member that goes on from its snapshot alone.
pub(super) fn without_log(base: Zxid, next_segment: SegmentId) -> Log {
    Log {
        position: WalPosition {
            last: base,
            chain: ChainHash::default(),
            active: None,
            closed: Vec::new(),
            next_segment,
            sealed: true,
            from: SegmentId(0),
        },
        committed: Zxid::ZERO,
        tail: Tail::Clean,
        replay: Vec::new(),
        cuts: Vec::new(),
        free: Vec::new(),
        dropped: Vec::new(),
        unexplained: Vec::new(),
    }
}

/// What a member knows to be committed, and confirmed. A commit may be recorded before what it commits is durable.
pub(super) fn known(
    epoch: &EpochRecord,
    recorded: Zxid,
    base: Zxid,
    received: Option<Received>,
    last: Zxid,
) -> (Zxid, Zxid) {
    let recorded = recorded.max(epoch.settled);
    let confirmed = match received {
        Some(received) => recorded.max(received.confirmed),
        None => recorded.max(base),
    };
    (confirmed.max(base).min(last), confirmed.min(last))
}

/// For the log and for operators.
pub(super) fn why_without_vote(found: &Found, epoch: &EpochRecord, lost: Option<Lost>) -> Option<String> {
    if epoch.admitted {
        return None;
    }
    Some(match (lost, found) {
        (Some(Lost::Log(why) | Lost::End(why)), _) => why,
        (None, Found::Unproven(_)) => format!("no two copies of {} are equal", names::EPOCH),
        (None, Found::Nothing) => {
            "its folders are empty, db.autocreate is false, and there is no file named initialize".to_owned()
        }
        (None, Found::Record(_)) => "it lost a part of its data before, or began with none".to_owned(),
    })
}
