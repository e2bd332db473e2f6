#![forbid(unsafe_code)]
//! Writes a state to a snapshot's file, step by step, and publishes it.
//!
//! Lives on: the disk shard, for the server's own state; the thread that received a leader's, for that.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::files::Performer;
use crate::base::{WallMillis, Zxid};
use crate::sessions::SessionImage;
use crate::storage::Identity;
use crate::storage::action::FileAction;
use crate::storage::names::{self, FileKind};
use crate::storage::recovery::Source;
use crate::storage::snapshot::{NodeView, Publication, Received, SnapshotEncoder, SnapshotMeta};
use crate::tree::{Progress, SnapshotWalker};
use crate::wire::{Acl, txn};

/// Znodes taken from the walker before what they filled is written.
const SLICE_NODES: usize = 512;

/// A folder that a snapshot goes into.
pub trait Folder {
    /// Does what an action says; what came before is done.
    ///
    /// # Errors
    /// The disk's.
    fn perform(&mut self, action: &FileAction) -> io::Result<()>;

    /// Every snapshot that has its name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn snapshots(&self) -> io::Result<Vec<Zxid>>;
}

impl Folder for Performer<'_> {
    fn perform(&mut self, action: &FileAction) -> io::Result<()> {
        Performer::perform(self, action)
    }

    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        snapshots_in(self.directory())
    }
}

/// The snapshots among a folder's files.
///
/// # Errors
/// When the folder cannot be read.
pub fn snapshots_in(folder: &dyn Source) -> io::Result<Vec<Zxid>> {
    let files = folder.list().map_err(io::Error::other)?;
    let snapshots = files.iter().filter_map(|file| match names::parse(&file.name) {
        FileKind::Snapshot(zxid) => Some(zxid),
        _ => None,
    });
    Ok(snapshots.collect())
}

/// A state at one zxid, while writes go on.
pub struct SnapshotJob {
    /// The znodes, and the zxid.
    pub walker: SnapshotWalker,
    /// Every ACL list they name.
    pub acls: Vec<Arc<[Acl]>>,
    /// Sessions as of that zxid.
    pub sessions: SessionImage,
    /// When, by the wall clock.
    pub taken: WallMillis,
}

/// Writes `job` and publishes it; `received` as in the file's header. Gives the bytes written, `None` when the state was
/// replaced meanwhile. Calls `between` again and again with the znodes written and those in all.
///
/// # Errors
/// Of the first step that failed. What was written of it is for [`abandon`]; nothing published before was touched.
pub fn write(
    folder: &mut dyn Folder,
    identity: Identity,
    job: SnapshotJob,
    received: Option<Received>,
    between: &mut dyn FnMut(u64, u64),
) -> io::Result<Option<u64>> {
    let SnapshotJob { mut walker, acls, sessions, taken } = job;
    let (zxid, digest, total) = (walker.at(), walker.digest(), walker.znodes());
    let publication = Publication::new(zxid);
    folder.perform(&publication.create())?;
    let mut encoder = SnapshotEncoder::new(SnapshotMeta {
        identity,
        zxid,
        digest: digest as u64,
        digest_version: txn::DIGEST_VERSION as u32,
        taken,
        received,
    });
    let mut numbers: HashMap<Arc<[Acl]>, u32> = HashMap::new();
    for list in std::iter::once(Arc::from(crate::tree::acl_open())).chain(acls) {
        let number = u32::try_from(numbers.len()).expect("fewer ACL lists than memory holds");
        encoder.acl(number, &list);
        numbers.insert(list, number);
    }
    for (session, timeout_ms) in sessions.sessions() {
        encoder.session(session, timeout_ms);
    }
    let mut written = 0u64;
    loop {
        let progress = walker.next_slice(SLICE_NODES, &mut |node| {
            written += 1;
            let acl = *numbers.get(node.acl).expect("every list was written before the znodes");
            encoder.node(&NodeView {
                path: node.path,
                data: node.data,
                acl,
                czxid: node.stat.czxid,
                mzxid: node.stat.mzxid,
                pzxid: node.stat.pzxid,
                ctime: node.stat.ctime,
                mtime: node.stat.mtime,
                version: node.stat.version,
                cversion: node.stat.cversion,
                aversion: node.stat.aversion,
                owner: node.stat.owner,
            });
        });
        while let Some(chunk) = encoder.take_chunk() {
            folder.perform(&publication.write(chunk))?;
        }
        between(written, total);
        match progress {
            Progress::More => std::thread::yield_now(),
            Progress::Done => break,
            Progress::Aborted => {
                folder.perform(&publication.abandon()[0])?;
                return Ok(None);
            }
        }
    }
    let mut bytes = encoder.bytes();
    for chunk in encoder.finish() {
        bytes = bytes.max(chunk.offset + chunk.bytes.len() as u64);
        folder.perform(&publication.write(chunk))?;
    }
    for step in publishing(folder, &publication, zxid, received)? {
        folder.perform(&step)?;
    }
    Ok(Some(bytes))
}

fn publishing(
    folder: &dyn Folder,
    publication: &Publication,
    zxid: Zxid,
    received: Option<Received>,
) -> io::Result<Vec<FileAction>> {
    if received.is_none() {
        return Ok(publication.publish());
    }
    Ok(publication.publish_received(zxid, &folder.snapshots()?))
}

/// Removes what [`write`] left of the snapshot at `zxid` when it failed.
pub fn abandon(folder: &mut dyn Folder, zxid: Zxid) {
    let steps = Publication::new(zxid).abandon();
    if let Err(error) = steps.iter().try_for_each(|step| folder.perform(step)) {
        tracing::warn!(%error, "cannot remove the part of the abandoned snapshot");
    }
}

/// Removes a received snapshot that was published and does not read back: the log it should have superseded counts still.
pub fn withdraw(folder: &mut dyn Folder, zxid: Zxid) {
    let steps = [FileAction::Unlink { name: names::snapshot(zxid) }, FileAction::SyncDirectory];
    if let Err(error) = steps.iter().try_for_each(|step| folder.perform(step)) {
        tracing::warn!(%zxid, %error, "cannot remove a received snapshot that does not read back");
    }
}
