#![forbid(unsafe_code)]
//! From what recovery found to the state that it describes: the snapshot into a tree, then the log behind it.
//!
//! Lives on: the thread that starts the server. Reads through [`Source`], so that a simulated disk will do.

use std::time::{Duration, Instant};

use super::members::RecentTxns;
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, Zxid};
use crate::pipeline::{self, Loaded, Pipeline, StateLoader};
use crate::runtime::keeper::DurableParts;
use crate::sessions::{SessionImage, SessionTable};
use crate::storage::recovery::{LoadedSnapshot, Progress, Recovered, Source};
use crate::storage::snapshot::SinceSnapshot;
use crate::storage::wal::WalWriter;
use crate::tree::{NodeImage, StoredStat, TreeReader, TreeWriter};
use crate::wire::Acl;

/// What a state is built by.
pub struct Building<'a> {
    /// Where the log is.
    pub log: &'a dyn Source,
    /// What the pipeline goes by.
    pub pipeline: pipeline::Settings,
    /// `tickTime`, ms.
    pub tick_ms: u64,
    /// Txns to have in memory for learners; `None`: a server without others.
    pub history_txns: Option<usize>,
    /// When the clocks of its sessions start.
    pub now: Millis,
    /// Random: the tree's hashes.
    pub seed: u64,
}

/// A state, ready to go on.
pub struct Rebuilt {
    /// At the last txn that is known to be committed.
    pub pipeline: Pipeline,
    /// Reads its tree.
    pub reader: TreeReader,
    /// The log, positioned.
    pub wal: WalWriter,
    /// What zab starts with.
    pub durable: DurableParts,
    /// Zxid of the snapshot it began with.
    pub snapshot: Option<Zxid>,
    /// What was replayed behind that, and its size.
    pub since: SinceSnapshot,
    /// How long it took to build the tree from the snapshot.
    pub built_in: Duration,
}

/// Told of steps that take long: label, done, total.
type OnProgress<'a> = dyn FnMut(&'static str, u64, u64) + 'a;

/// Builds the tree and replays the log into it, as far as it is known to be committed. The inner error is a snapshot
/// whose digest is not its content's: recovery has to distrust it, and begin anew.
///
/// # Errors
/// When snapshot and log are not what one server wrote.
pub fn rebuild(
    recovered: Recovered,
    building: Building<'_>,
    on_progress: &mut OnProgress<'_>,
) -> Result<Result<Rebuilt, Zxid>, String> {
    let Recovered { epoch, snapshot, replay, committed, confirmed, wal, report, .. } = recovered;
    let (mut tree, reader) = crate::tree::new(building.seed);
    tree.set_extended_types(building.pipeline.extended_types);
    let (mut sessions, mut loaded) = (SessionImage::default(), Loaded::default());
    let mut base = Zxid::ZERO;
    let began = Instant::now();
    if let Some(snapshot) = snapshot {
        base = snapshot.index.meta.zxid;
        let digest = snapshot.index.meta.digest;
        (sessions, loaded) = load(&mut tree, snapshot, on_progress)?;
        if tree.digest() != digest as i64 {
            return Ok(Err(base));
        }
    }
    let built_in = began.elapsed();
    let table = SessionTable::from_image(sessions, building.tick_ms, building.now);
    let mut pipeline = Pipeline::new(tree, table, loaded, base, building.pipeline);
    let mut history = building.history_txns.map(RecentTxns::new);
    let snapshot_bytes = report.snapshot.map_or(0, |(_, bytes)| bytes);
    let mut since = SinceSnapshot { txns: 0, log_bytes: 0, snapshot_bytes };
    let mut broken = None;
    let mut apply = |zxid: Zxid, payload: &[u8]| {
        if let Some(history) = &mut history {
            history.push(zxid, payload, committed);
        }
        // Of a single server everything is committed; what a member does not know to be is its next leader's to decide.
        if broken.is_some() || zxid > committed && !planted(Bug::TailIsReplayed) {
            return;
        }
        since.txns += 1;
        since.log_bytes += payload.len() as u64;
        broken = pipeline.replay(zxid, payload, building.now).err();
    };
    let mut progress = |progress: Progress| on_progress("replaying the log", progress.done, progress.total);
    replay.run(building.log, &mut apply, &mut progress).map_err(|error| error.to_string())?;
    if let Some(error) = broken {
        return Err(format!("the log does not fit the state it is replayed into: {error}"));
    }
    pipeline.replayed();
    pipeline.sessions().reload(building.now);
    let committed = pipeline.applied();
    let durable = DurableParts {
        accepted: epoch.accepted,
        current: epoch.current,
        last_logged: report.last,
        committed,
        confirmed: confirmed.min(committed),
        history: history.map(RecentTxns::into_txns).unwrap_or_default(),
        admitted: epoch.admitted,
        provisional: epoch.provisional,
    };
    let snapshot = (base > Zxid::ZERO).then_some(base);
    Ok(Ok(Rebuilt { pipeline, reader, wal, durable, snapshot, since, built_in }))
}

/// A snapshot into an empty tree.
fn load(
    tree: &mut TreeWriter,
    snapshot: LoadedSnapshot,
    on_progress: &mut OnProgress<'_>,
) -> Result<(SessionImage, Loaded), String> {
    let (base, total) = (snapshot.index.meta.zxid, snapshot.index.totals.nodes);
    let mut acls: Vec<(u32, Vec<Acl>)> = Vec::new();
    let mut done = 0;
    let mut loader = StateLoader::new(tree, base);
    for part in snapshot.parts {
        acls.extend(part.acls());
        acls.sort_unstable_by_key(|(number, _)| *number);
        for (session, timeout_ms) in part.sessions() {
            loader.session(session, timeout_ms);
        }
        for node in part.nodes() {
            let acl = acls
                .binary_search_by_key(&node.acl, |(number, _)| *number)
                .map_err(|_| format!("snapshot {base} names ACL list {} and lacks it", node.acl))?;
            let image = NodeImage {
                path: node.path,
                data: node.data,
                acl: &acls[acl].1,
                stat: StoredStat {
                    czxid: node.czxid,
                    mzxid: node.mzxid,
                    pzxid: node.pzxid,
                    ctime: node.ctime,
                    mtime: node.mtime,
                    version: node.version,
                    cversion: node.cversion,
                    aversion: node.aversion,
                    owner: node.owner,
                },
            };
            loader.node(&image).map_err(|error| format!("snapshot {base}: {error}"))?;
            done += 1;
            if done % 65_536 == 0 {
                on_progress("building the tree", done, total);
            }
        }
    }
    loader.finish().map_err(|error| format!("snapshot {base}: {error}"))
}
