#![forbid(unsafe_code)]
//! Makes a snapshot's bytes, chunk by chunk, and the steps that publish them. Lives where the snapshot is written, the
//! disk shard: it takes records in any pace and gives chunks when they are full.
//!
//! ```text
//! acl* ─► session* ─► node* ─► finish        take_chunk at any time in between
//! ```
//!
//! Publication: written under the name of a part, flushed, renamed, directory flushed. Abandoned at any error (no
//! space, F11): the part is removed, and nothing that was published before is touched.

use std::collections::VecDeque;

use super::format::{
    CHUNK_HEADER_BYTES, ChunkHeader, ChunkKind, Footer, SnapshotMeta, Totals, hash_of, seed,
};
use crate::base::planted::{Bug, planted};
use crate::base::{SessionId, Zxid, limits};
use crate::storage::action::FileAction;
use crate::storage::aligned::{AlignedBuf, padded};
use crate::storage::archive::{self, NodeView, NodesEncoder};
use crate::storage::names;
use crate::wire::{Acl, encode_acls};

/// Sessions of one chunk, at 12 bytes each.
const SESSIONS_A_CHUNK: usize = limits::SNAPSHOT_CHUNK_BYTES / 16;

/// Bytes at a block boundary of the file, whole blocks long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Where it goes. Chunks come in order and without gaps.
    pub offset: u64,
    /// What goes there.
    pub bytes: AlignedBuf,
}

/// See the module.
pub struct SnapshotEncoder {
    meta: SnapshotMeta,
    stage: ChunkKind,
    acls: Vec<(u32, Vec<u8>)>,
    acl_bytes: usize,
    sessions: Vec<(i64, i32)>,
    nodes: NodesEncoder,
    ready: VecDeque<Chunk>,
    offset: u64,
    chunks: u64,
    totals: Totals,
    headers: blake3::Hasher,
}

impl SnapshotEncoder {
    /// A snapshot of the state at `meta.zxid`.
    pub fn new(meta: SnapshotMeta) -> SnapshotEncoder {
        assert!(meta.zxid >= Zxid::ZERO);
        let mut encoder = SnapshotEncoder {
            meta,
            stage: ChunkKind::Acls,
            acls: Vec::new(),
            acl_bytes: 0,
            sessions: Vec::new(),
            nodes: NodesEncoder::default(),
            ready: VecDeque::new(),
            offset: 0,
            chunks: 0,
            totals: Totals::default(),
            headers: blake3::Hasher::new(),
        };
        encoder.chunk(ChunkKind::Header, 0, &meta.encode());
        encoder
    }

    /// Takes an ACL list under the number that nodes name it by. All lists come before the first session.
    pub fn acl(&mut self, id: u32, list: &[Acl]) {
        assert_eq!(self.stage, ChunkKind::Acls, "ACL lists come first");
        let mut bytes = Vec::new();
        encode_acls(list, &mut bytes);
        self.acl_bytes += bytes.len() + 16;
        self.acls.push((id, bytes));
        self.totals.acls += 1;
        if self.acl_bytes >= limits::SNAPSHOT_CHUNK_BYTES {
            self.flush_acls();
        }
    }

    /// Takes an open session and its timeout, ms. All sessions come before the first node.
    pub fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.enter(ChunkKind::Sessions);
        self.sessions.push((id.0, timeout_ms));
        self.totals.sessions += 1;
        if self.sessions.len() >= SESSIONS_A_CHUNK {
            self.flush_sessions();
        }
    }

    /// Takes a znode, in any order.
    pub fn node(&mut self, node: &NodeView<'_>) {
        self.enter(ChunkKind::Nodes);
        self.nodes.push(node);
        self.totals.nodes += 1;
        if self.nodes.bytes() >= limits::SNAPSHOT_CHUNK_BYTES {
            self.flush_nodes();
        }
    }

    /// A chunk that is complete, if there is one.
    pub fn take_chunk(&mut self) -> Option<Chunk> {
        self.ready.pop_front()
    }

    /// Completes the snapshot: the remaining chunks, footer last.
    pub fn finish(mut self) -> Vec<Chunk> {
        self.enter(ChunkKind::Footer);
        let Totals { nodes, .. } = self.totals;
        assert!(nodes > 0, "a tree has a root");
        let footer = Footer {
            totals: self.totals,
            chunks: self.chunks,
            hash: hash_of(&self.headers),
            zxid: self.meta.zxid,
        };
        self.chunk(ChunkKind::Footer, 0, &footer.encode());
        self.ready.into()
    }

    /// Bytes of all chunks so far.
    pub fn bytes(&self) -> u64 {
        self.offset
    }

    /// What was taken so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn enter(&mut self, stage: ChunkKind) {
        assert!(stage >= self.stage, "{stage:?} after {:?}", self.stage);
        if stage == self.stage {
            return;
        }
        self.stage = stage;
        self.flush_acls();
        self.flush_sessions();
        self.flush_nodes();
    }

    fn flush_acls(&mut self) {
        if !self.acls.is_empty() {
            let lists = std::mem::take(&mut self.acls);
            let archive = archive::encode_acls(lists.iter().map(|(id, list)| (*id, &list[..])));
            self.chunk(ChunkKind::Acls, lists.len() as u32, &archive);
            self.acl_bytes = 0;
        }
    }

    fn flush_sessions(&mut self) {
        if !self.sessions.is_empty() {
            let sessions = std::mem::take(&mut self.sessions);
            let archive = archive::encode_sessions(sessions.iter().copied());
            self.chunk(ChunkKind::Sessions, sessions.len() as u32, &archive);
        }
    }

    fn flush_nodes(&mut self) {
        let count = self.nodes.count();
        if count > 0 {
            let archive = self.nodes.finish();
            self.chunk(ChunkKind::Nodes, count, &archive);
        }
    }

    fn chunk(&mut self, kind: ChunkKind, records: u32, payload: &[u8]) {
        let header =
            ChunkHeader { check: 0, kind, records, length: payload.len() as u64, number: self.chunks };
        let mut bytes = AlignedBuf::with_capacity(padded(CHUNK_HEADER_BYTES + payload.len()));
        bytes.resize(CHUNK_HEADER_BYTES);
        bytes.extend(payload);
        header.seal_into(seed(self.meta.identity.cluster, self.meta.zxid, self.offset), &mut bytes);
        self.headers.update(&bytes[..CHUNK_HEADER_BYTES]);
        bytes.pad();
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        self.chunks += 1;
        self.ready.push_back(Chunk { offset, bytes });
    }
}

/// The steps in the data directory around a snapshot's chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    part: String,
    name: String,
}

impl Publication {
    /// Of the snapshot at `zxid`.
    pub fn new(zxid: Zxid) -> Publication {
        Publication { part: names::snapshot_part(zxid), name: names::snapshot(zxid) }
    }

    /// Before the first chunk.
    pub fn create(&self) -> FileAction {
        FileAction::Create { name: self.part.clone() }
    }

    /// For each chunk.
    pub fn write(&self, chunk: Chunk) -> FileAction {
        FileAction::Write { name: self.part.clone(), offset: chunk.offset, bytes: chunk.bytes }
    }

    /// After the last chunk. The snapshot exists once all are performed.
    pub fn publish(&self) -> Vec<FileAction> {
        vec![
            FileAction::Flush { name: self.part.clone() },
            FileAction::Rename { from: self.part.clone(), to: self.name.clone() },
            FileAction::SyncDirectory,
        ]
    }

    /// After the last chunk of a state that came from a leader, in place of [`Publication::publish`]. `snapshots` are
    /// those on disk: what is newer by its number belongs to a history that this one supersedes, and would be taken for
    /// the newest at the next start (scenario S17). The log's restart follows when all are performed, and not before.
    pub fn publish_received(&self, zxid: Zxid, snapshots: &[Zxid]) -> Vec<FileAction> {
        let mut steps = self.publish();
        let superseded = snapshots.iter().filter(|other| **other > zxid && !planted(Bug::SupersededStays));
        steps.extend(superseded.map(|other| FileAction::Unlink { name: names::snapshot(*other) }));
        if steps.len() > 3 {
            steps.push(FileAction::SyncDirectory);
        }
        steps
    }

    /// Instead of going on, at any error.
    pub fn abandon(&self) -> Vec<FileAction> {
        vec![FileAction::Unlink { name: self.part.clone() }, FileAction::SyncDirectory]
    }
}
