#![forbid(unsafe_code)]
//! A state in: read as it comes, judged, built beside the one that is served; then made durable and handed over.
//!
//! What a leader sends is not trusted further than it must be (reliability M59): whatever is malformed, too large or out
//! of order makes the image bad, and nothing of it is kept. What stock's own images may have (fuzzy ones, §3.5) is taken:
//! znodes newer than the zxid, and ACL ids that nobody listed. These deny everything until a txn says better.
//!
//! Lives on: a thread of low priority. Dropped at any point it ends with its next look at the orders, and all it built
//! goes with it.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};

use super::{ImageReport, Intake, Settings, Teller, Txns};
use crate::base::{Millis, SessionId, WallMillis, Zxid, path};
use crate::pipeline::{Pipeline, ReplayError, StateLoader};
use crate::runtime::files::verify_snapshot;
use crate::runtime::snapshots::{self, Folder, SnapshotJob};
use crate::sessions::SessionTable;
use crate::storage::Identity;
use crate::storage::snapshot::Received;
use crate::tree::{NodeImage, StoredStat, acl_open};
use crate::wire::Acl;
use crate::wire::peer::snap::{OPEN_ACL, SnapDecoder, SnapElement, SnapLimits, SnapNode};

/// What is to be done with an image.
pub(super) enum Order {
    /// Its next bytes.
    Bytes(Vec<u8>),
    /// It was whole; see [`super::Images::install`].
    Install { zxid: Zxid, txns: Txns, received: Received },
}

/// Memory of a session beside its bytes in the stream: two maps and a clock.
const SESSION_BYTES: u64 = 192;
/// The same of a znode: its places in the index and in its parent's list.
const NODE_BYTES: u64 = 128;
/// Memory of an ACL list for each byte in the stream: an entry of empty strings has twelve.
const ACL_FACTOR: u64 = 4;

/// An image that is being read.
struct Reading<'a> {
    intake: &'a Intake,
    loader: StateLoader<'a>,
    acls: HashMap<i64, Vec<Acl>>,
    /// Of elements already counted, beyond their bytes.
    weight: u64,
    /// Znodes whose ACL nobody listed.
    unlisted: u64,
}

/// From the first byte to the last report.
pub(super) fn run(
    settings: &Arc<Settings>,
    zxid: Zxid,
    seed: u64,
    orders: &mpsc::Receiver<Order>,
    teller: &Teller,
) {
    let mut is_first = true;
    let mut more = || {
        if !std::mem::take(&mut is_first) {
            teller.tell(ImageReport::Taken { link: teller.link });
        }
        match orders.recv() {
            Ok(Order::Bytes(bytes)) => Some(bytes),
            Ok(Order::Install { .. }) | Err(mpsc::RecvError) => None,
        }
    };
    let (state, rest) = match build(&settings.intake, zxid, seed, settings.clock.now(), &mut more) {
        Ok(Some(built)) => built,
        Ok(None) => return,
        Err(why) => return teller.bad(why),
    };
    teller.tell(ImageReport::Received { link: teller.link, rest });
    let Ok(Order::Install { zxid, txns, received }) = orders.recv() else { return };
    let link = teller.link;
    let state = match apply(state, zxid, &txns, settings.clock.now()) {
        Ok(state) => state,
        Err(why) => return teller.bad(why),
    };
    drop(txns);
    match store(settings, state, received) {
        Ok((state, snapshot_bytes)) => {
            teller.tell(ImageReport::Installed { link, zxid, state: Box::new(state), snapshot_bytes });
        }
        Err(why) => teller.tell(ImageReport::InstallFailed { link, why }),
    }
}

/// Reads the image, `more` by more; gives the state and the bytes behind it, or nothing when there is no more of it. The
/// clocks of its sessions start at `now`.
///
/// # Errors
/// Why the image is bad.
pub fn build(
    intake: &Intake,
    zxid: Zxid,
    seed: u64,
    now: Millis,
    more: &mut dyn FnMut() -> Option<Vec<u8>>,
) -> Result<Option<(Pipeline, Vec<u8>)>, String> {
    if zxid < Zxid::ZERO {
        return Err(format!("{zxid} is no zxid of a state"));
    }
    let (mut tree, _) = crate::tree::new(seed);
    tree.set_extended_types(intake.pipeline.extended_types);
    let loader = StateLoader::new(&mut tree, zxid);
    let mut reading = Reading { intake, loader, acls: HashMap::new(), weight: 0, unlisted: 0 };
    let mut decoder = SnapDecoder::new(SnapLimits::uniform(intake.element_bytes_max));
    let rest = loop {
        let Some(bytes) = more() else { return Ok(None) };
        let mut chunk = &bytes[..];
        while let Some(element) = decoder.next(&mut chunk).map_err(|error| error.to_string())? {
            reading.take(element)?;
            reading.check_memory(decoder.taken())?;
        }
        if decoder.is_done() {
            break chunk.to_vec();
        }
    };
    let Reading { loader, unlisted, .. } = reading;
    if unlisted > 0 {
        tracing::warn!(
            znodes = unlisted,
            "the image names ACL lists that it does not have, as a stock leader's may: these znodes deny everything until their ACL is set"
        );
    }
    let (sessions, loaded) = loader.finish().map_err(|error| error.to_string())?;
    let table = SessionTable::from_image(sessions, intake.tick_ms, now);
    Ok(Some((Pipeline::new(tree, table, loaded, zxid, intake.pipeline.clone()), rest)))
}

impl Reading<'_> {
    fn take(&mut self, element: SnapElement<'_>) -> Result<(), String> {
        match element {
            // Announced, not there: nothing is reserved.
            SnapElement::Sessions(_) | SnapElement::Acls(_) | SnapElement::End => {}
            SnapElement::Session(SessionId::NONE, _) => return Err("session 0 is none".into()),
            SnapElement::Session(session, timeout_ms) => {
                self.weight += SESSION_BYTES;
                self.loader.session(session, timeout_ms);
            }
            SnapElement::Acl(id, list) => {
                let bytes: usize = list.iter().map(|acl| 12 + acl.id.scheme.len() + acl.id.id.len()).sum();
                self.weight += ACL_FACTOR * (bytes as u64 + 12);
                self.acls.insert(id, list);
            }
            SnapElement::Node(node) => self.take_node(&node)?,
        }
        Ok(())
    }

    fn take_node(&mut self, node: &SnapNode<'_>) -> Result<(), String> {
        if !path::is_valid(node.path) {
            return Err(format!("not a path: {}", node.path[..node.path.len().min(256)].escape_ascii()));
        }
        self.weight += NODE_BYTES;
        let nobody = [Acl { perms: 0, ..Acl::open() }];
        let acl = match self.acls.get(&node.acl) {
            Some(list) => list,
            None if node.acl == OPEN_ACL => acl_open(),
            None => {
                self.unlisted += 1;
                &nobody[..]
            }
        };
        let stat = StoredStat {
            czxid: node.stat.czxid,
            mzxid: node.stat.mzxid,
            pzxid: node.stat.pzxid,
            ctime: node.stat.ctime,
            mtime: node.stat.mtime,
            version: node.stat.version,
            cversion: node.stat.cversion,
            aversion: node.stat.aversion,
            owner: node.stat.ephemeral_owner,
        };
        let image = NodeImage { path: node.path, data: node.data, acl, stat };
        self.loader.next_node(&image).map_err(|error| {
            let mut text = error.to_string();
            text.truncate(300); // Escaped, so that any byte is a boundary.
            text
        })
    }

    /// A stream has no end that could be trusted.
    fn check_memory(&self, taken: u64) -> Result<(), String> {
        if taken + self.weight > self.intake.image_bytes_max {
            return Err(format!(
                "it takes more than {} MiB of memory, which is what a received state may take",
                self.intake.image_bytes_max >> 20
            ));
        }
        Ok(())
    }
}

/// The txns behind the image, of which it may hold some already; at `zxid` then.
///
/// # Errors
/// Why the image and its txns are not one state.
pub fn apply(
    mut state: Pipeline,
    zxid: Zxid,
    txns: &[(Zxid, Box<[u8]>)],
    now: Millis,
) -> Result<Pipeline, String> {
    // Between the first and the last a fuzzy image is at no zxid.
    let mut mismatch = None;
    for (zxid, payload) in txns {
        if *zxid <= state.applied() {
            continue;
        }
        mismatch = match state.replay(*zxid, payload, now) {
            Ok(()) => None,
            Err(ReplayError::Apply(error)) => Some(error),
            Err(error) => return Err(error.to_string()),
        };
    }
    if let Some(error) = mismatch {
        return Err(format!("with all txns behind it, it is not the leader's state: {error}"));
    }
    if state.applied() != zxid {
        return Err(format!("the txns behind it end at {}, not at {zxid}", state.applied()));
    }
    state.replayed();
    let orphans = state.orphans();
    if orphans > 0 {
        tracing::warn!(znodes = orphans, %zxid, "ephemerals of sessions that do not exist came with the leader's state");
    }
    Ok(state)
}

/// The state's snapshot, read back (reliability R8).
fn store(settings: &Settings, mut state: Pipeline, received: Received) -> Result<(Pipeline, u64), String> {
    let (zxid, began) = (state.applied(), settings.clock.now());
    let (data, identity) = (settings.dirs.data(), settings.identity);
    let folder = data.path().display();
    let written = write(&mut data.performer(), identity, &mut state, received, settings.clock.wall());
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(error) => {
            snapshots::abandon(&mut data.performer(), zxid);
            return Err(format!("the received state cannot be written to {folder}: {error}"));
        }
    };
    if let Err(fault) = verify_snapshot(data, identity.cluster, zxid) {
        snapshots::withdraw(&mut data.performer(), zxid);
        return Err(format!("the received state, written to {folder}, does not read back: {fault}"));
    }
    let took_ms = settings.clock.now().since(began);
    tracing::info!(%zxid, bytes, took_ms, "the leader's state is on disk");
    Ok((state, bytes))
}

/// Writes the snapshot of a state that nobody else knows yet; gives its size, bytes.
///
/// # Errors
/// As [`snapshots::write`].
pub fn write(
    folder: &mut dyn Folder,
    identity: Identity,
    state: &mut Pipeline,
    received: Received,
    taken: WallMillis,
) -> std::io::Result<u64> {
    let (acls, sessions) = (state.tree().acl_lists(), state.sessions_ref().image().clone());
    let walker = state.tree().begin_snapshot();
    let job = SnapshotJob { walker, acls, sessions, taken };
    let written = snapshots::write(folder, identity, job, Some(received), &mut |_, _| {})?;
    Ok(written.expect("nobody else knows the state yet"))
}
