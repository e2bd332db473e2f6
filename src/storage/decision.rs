#![forbid(unsafe_code)]
//! What an operator decides about the vote of a member that is stopped (reliability R11, F13): which steps follow those
//! of a recovery, in the data directory.
//!
//! A member that lost data gets its vote back from a leader whose majority does without it. Where there is no such
//! majority any more, somebody has to say which of the histories that are left is to be the ensemble's: that is
//! [`Decision::Admit`]. Whoever puts an old copy in the place of a member's data takes back what it promised since:
//! [`Decision::Strip`] says so.
//!
//! Not here: what is in the data (`recovery`), what to tell the operator (`cli`).

use super::action::FileAction;
use super::epoch::EpochRecord;
use super::names::{self, FileKind};
use super::recovery::RecoveryReport;

/// What is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It votes, and what it holds counts.
    Admit,
    /// It has no vote until a leader has brought it up to date.
    Strip,
}

/// The steps in the data directory that make it so; `None` if it is so already. They come behind the steps of the
/// recovery that found `record` and `report`. Cut off anywhere, they leave the vote as it was, or as it was decided.
pub fn steps(decision: Decision, record: &EpochRecord, report: &RecoveryReport) -> Option<Vec<FileAction>> {
    match decision {
        Decision::Admit if record.admitted && !record.provisional => None,
        Decision::Strip if !record.admitted => None,
        Decision::Admit => {
            let mut steps = set_aside(report);
            steps.extend(record.advance(record.accepted, record.current, true).rewrite());
            Some(steps)
        }
        Decision::Strip => Some(record.unadmitted().rewrite()),
    }
}

/// Snapshots that did not load and are of states beyond the end of the history prove at each start that its end is
/// missing, which is what was decided to be so. They are kept under another name.
fn set_aside(report: &RecoveryReport) -> Vec<FileAction> {
    let beyond = report
        .skipped
        .iter()
        .filter(|(name, _)| matches!(names::parse(name), FileKind::Snapshot(zxid) if zxid > report.last));
    let mut steps: Vec<FileAction> = beyond
        .map(|(name, _)| FileAction::Rename { from: name.clone(), to: names::set_aside(name) })
        .collect();
    if !steps.is_empty() {
        steps.push(FileAction::SyncDirectory);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, ServerId, Zxid};
    use crate::storage::snapshot::SnapshotFault;
    use crate::storage::{ClusterId, Identity};

    fn record(admitted: bool, provisional: bool) -> EpochRecord {
        let identity = Identity { cluster: ClusterId([3; 16]), server: ServerId(2) };
        EpochRecord {
            admitted,
            provisional,
            member: true,
            accepted: Epoch(5),
            current: Epoch(4),
            ..EpochRecord::first(identity)
        }
    }

    fn check(decision: Decision, before: EpochRecord, expected: Option<EpochRecord>) {
        let report = RecoveryReport::default();
        let expected = expected.map(|record| record.rewrite());
        assert_eq!(steps(decision, &before, &report), expected, "{decision:?} of {before:?}");
    }

    #[test]
    fn a_vote_is_given_or_taken_once_and_epochs_stay() {
        let (voter, nobody) = (record(true, false), record(false, false));
        check(Decision::Admit, voter, None);
        check(Decision::Strip, nobody, None);
        check(Decision::Admit, nobody, Some(nobody.advance(Epoch(5), Epoch(4), true)));
        check(Decision::Strip, voter, Some(voter.unadmitted()));
    }

    #[test]
    fn a_vote_that_would_be_given_up_at_the_first_word_of_a_leader_becomes_a_whole_one() {
        let provisional = record(true, true);
        let admitted = provisional.advance(Epoch(5), Epoch(4), true);
        assert!(!admitted.provisional);
        check(Decision::Admit, provisional, Some(admitted));
        check(Decision::Strip, provisional, Some(provisional.unadmitted()));
    }

    #[test]
    fn only_damaged_snapshots_beyond_the_end_are_set_aside_and_before_the_vote_is_given() {
        let report = RecoveryReport {
            last: Zxid(7),
            skipped: [9, 8, 7, 3].map(|zxid| (names::snapshot(Zxid(zxid)), SnapshotFault::Alien)).into(),
            ..RecoveryReport::default()
        };
        let moved = |zxid| {
            let from = names::snapshot(Zxid(zxid));
            FileAction::Rename { to: format!("damaged-{from}"), from }
        };
        let before = record(false, false);
        let mut expected = vec![moved(9), moved(8), FileAction::SyncDirectory];
        expected.extend(before.advance(Epoch(5), Epoch(4), true).rewrite());
        assert_eq!(steps(Decision::Admit, &before, &report), Some(expected));
        assert_eq!(steps(Decision::Strip, &record(true, false), &report).map(|steps| steps.len()), Some(6));
    }
}
