#![forbid(unsafe_code)]
//! Bugs that a test may plant, to see whether it would find them: those that Zab's implementations really had
//! (ensemble-protocol §12), and some that every such system must not have. A build without debug assertions has none.

/// A bug; the place that asks for it shows what is wrong then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A follower acknowledges what it was told to log, flushed or not (ZOOKEEPER-4646).
    AckBeforeFlush,
    /// A follower acknowledges NEWLEADER before its history is on disk (ZOOKEEPER-3911).
    NewLeaderBeforeHistory,
    /// A follower writes the leader's epoch before its history is on disk (ZOOKEEPER-4643).
    EpochBeforeHistory,
    /// A leader counts itself before its own flush.
    OwnAckBeforeFlush,
    /// A leader commits what one server has.
    MinorityCommits,
    /// A learner keeps a tail that its leader does not have (ZOOKEEPER-1154).
    TailIsKept,
    /// A follower promises an epoch that its disk does not know (ZOOKEEPER-335).
    EpochIsNotSaved,
    /// Votes do not count how long a log is.
    VotesIgnoreZxids,
    /// What is proposed does not reach learners that were sent NEWLEADER and have not answered it (Zab paper, §5).
    JoiningAreLeftOut,
    /// Flushed is as good as committed.
    AppliesUncommitted,
    /// The log is written and never flushed.
    FlushIsForgotten,
    /// After a restart everything that was logged is applied (ZOOKEEPER-1367).
    TailIsReplayed,
    /// A cut of the log is reported, not made (ZOOKEEPER-3701).
    CutIsForgotten,
    /// A leader that comes to power with a history that others have further goes on (ZOOKEEPER-3023's premise).
    LaggardLeads,
    /// A server whose disk was emptied votes as before (reliability R11).
    EmptiedVotes,
    /// A cut of the log takes the last record that it keeps as well, on disk (ZOOKEEPER-1156).
    CutTakesOneMore,
    /// The log does not go on right behind a cut (ZOOKEEPER-1489).
    CutLeavesAGap,
    /// Who stands in a part of a log that was cut is taken to stand in the log (ZOOKEEPER-2846).
    BranchIsFound,
    /// What is read of a log for a learner has in it what was cut (ZOOKEEPER-2846).
    BranchIsSent,
    /// A request whose txn is longer than the log takes is not refused (ZOOKEEPER-3496).
    LongTxnsPass,
    /// An error in the log stops the server that starts from it (reliability S59).
    ErrorsStopReplay,
    /// What a leader had prepared stays when its time is over, and when a whole state comes (CH-54572).
    PreparedIsKept,
    /// While one takes nothing, nothing is sent to the others (reliability S62).
    SendsBlock,
    /// While a state goes out to a learner, its leader applies nothing (ZOOKEEPER-2201, -3531).
    StatesHoldTxns,
    /// A session's ephemerals stay when it ends.
    EphemeralsStay,
    /// What came over a link of ours is taken as it came (reliability F21).
    ChecksumsAreIgnored,
    /// A seal of the log is told of as if it made something durable, also behind a cut.
    SealsAreNews,
    /// States that a role was sending stay when it ends: a few, and nobody can be sent one any more.
    StatesOutliveRoles,
    /// A leader that hands over ends before the others have heard its last words.
    LeaderHangsUp,
    /// A leader answers a sync before a quorum has said that it still leads (ZOOKEEPER-1675).
    SyncsAskNobody,
    /// A change that is to be made of one version is made of any.
    VersionsAreIgnored,
    /// What a start reads of the log is taken to be on disk, though its writer was killed before the flush.
    ReadIsDurable,
    /// A write of the log that failed counts as one that did not.
    FailedWritesCount,
    /// A server whose log or snapshots are damaged votes as before (reliability R11).
    DamagedVotes,
    /// What a learner was brought up to date with is not in memory when it leads, and others are sent what is
    /// (ZOOKEEPER-4925).
    SyncedAreNotKept,
    /// A role begins while txns of the one before it are on their way to the disk (ZOOKEEPER-4712).
    RolesOverlap,
    /// A learner takes the zxid that a diff leads to for its own before it has the txns (ZOOKEEPER-2355).
    DiffIsBelieved,
    /// Observers count where an epoch is proposed, and where it is accepted (ZOOKEEPER-2959).
    ObserversCount,
    /// An epoch's zxids run over into the next epoch's (ZOOKEEPER-1277).
    CounterOverflows,
    /// Snapshots of a state that was replaced by an earlier one stay (ZOOKEEPER-4837).
    SupersededStays,
    /// Nobody is given up because nothing is heard of it (reliability S25).
    SilenceIsBorne,
    /// Voters in groups are counted as if there were none.
    GroupsAreIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 42] = [
        Bug::AckBeforeFlush,
        Bug::NewLeaderBeforeHistory,
        Bug::EpochBeforeHistory,
        Bug::OwnAckBeforeFlush,
        Bug::MinorityCommits,
        Bug::TailIsKept,
        Bug::EpochIsNotSaved,
        Bug::VotesIgnoreZxids,
        Bug::JoiningAreLeftOut,
        Bug::AppliesUncommitted,
        Bug::FlushIsForgotten,
        Bug::TailIsReplayed,
        Bug::CutIsForgotten,
        Bug::LaggardLeads,
        Bug::EmptiedVotes,
        Bug::CutTakesOneMore,
        Bug::CutLeavesAGap,
        Bug::BranchIsFound,
        Bug::BranchIsSent,
        Bug::LongTxnsPass,
        Bug::ErrorsStopReplay,
        Bug::PreparedIsKept,
        Bug::SendsBlock,
        Bug::StatesHoldTxns,
        Bug::EphemeralsStay,
        Bug::ChecksumsAreIgnored,
        Bug::SealsAreNews,
        Bug::StatesOutliveRoles,
        Bug::LeaderHangsUp,
        Bug::SyncsAskNobody,
        Bug::VersionsAreIgnored,
        Bug::ReadIsDurable,
        Bug::FailedWritesCount,
        Bug::DamagedVotes,
        Bug::SyncedAreNotKept,
        Bug::RolesOverlap,
        Bug::DiffIsBelieved,
        Bug::ObserversCount,
        Bug::CounterOverflows,
        Bug::SupersededStays,
        Bug::SilenceIsBorne,
        Bug::GroupsAreIgnored,
    ];
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in everything that this thread does from now on, or removes it.
#[cfg(debug_assertions)]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[inline(always)]
pub fn planted(bug: Bug) -> bool {
    #[cfg(debug_assertions)]
    return PLANTED.get() == Some(bug);
    #[cfg(not(debug_assertions))]
    return {
        let _ = bug;
        false
    };
}
