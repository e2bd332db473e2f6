#![forbid(unsafe_code)]
//! Reads a snapshot: first its index (where the chunks are, and whether they belong together), then the chunks, each
//! by itself and in any order. Nothing is allocated by a declared size alone: every length is checked against the
//! file's.

use super::format::{
    CHUNK_HEADER_BYTES, ChunkHeader, ChunkKind, Footer, SnapshotFault, SnapshotMeta, Totals, hash_of, seed,
};
use crate::base::SessionId;
use crate::storage::ClusterId;
use crate::storage::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::storage::archive::{self, Malformed, NodeView};
use crate::wire::{Acl, decode_acls, jute};

/// Where a chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkSpan {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its bytes, padding included.
    pub bytes: u64,
    /// What it holds.
    pub kind: ChunkKind,
    header: ChunkHeader,
}

/// A snapshot whose header, footer and sequence of chunks are in order. The chunks are not read yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotIndex {
    /// What it says of itself.
    pub meta: SnapshotMeta,
    /// How much it holds.
    pub totals: Totals,
    /// ACL lists, sessions, znodes; in this order.
    pub chunks: Vec<ChunkSpan>,
}

/// Reads the index of a snapshot that is `file_bytes` long. `read` gives the bytes at an offset, exactly as many as
/// asked for, or says why not.
pub fn index(
    cluster: ClusterId,
    file_bytes: u64,
    read: &mut dyn FnMut(u64, usize) -> Result<AlignedBuf, String>,
) -> Result<SnapshotIndex, SnapshotFault> {
    let mut read_block = |offset: u64, bytes: usize| {
        let fits = offset.checked_add(bytes as u64).is_some_and(|end| end <= file_bytes);
        if !fits {
            return Err(SnapshotFault::Length { bytes: file_bytes });
        }
        read(offset, bytes).map_err(|reason| SnapshotFault::Unreadable { offset, reason })
    };
    let first = read_block(0, BLOCK_BYTES)?;
    let meta = SnapshotMeta::decode(&first)?;
    if meta.identity.cluster != cluster {
        return Err(SnapshotFault::Foreign(meta.identity.cluster));
    }

    let mut headers = blake3::Hasher::new();
    headers.update(&first[..CHUNK_HEADER_BYTES]);
    let mut chunks: Vec<ChunkSpan> = Vec::new();
    let mut counted = Totals::default();
    let mut offset = BLOCK_BYTES as u64;
    let mut number = 1;
    loop {
        let damaged = SnapshotFault::Damaged { offset };
        let bytes = read_block(offset, CHUNK_HEADER_BYTES)?;
        let Some(header) = ChunkHeader::decode(&bytes) else { return Err(damaged) };
        let before = chunks.last().map_or(ChunkKind::Acls, |chunk| chunk.kind);
        if header.number != number || header.kind < before {
            return Err(damaged);
        }
        let Some(padded) = header.padded_bytes() else { return Err(damaged) };
        if header.kind == ChunkKind::Footer {
            let block = read_block(offset, BLOCK_BYTES)?;
            if !header.verify(seed(cluster, meta.zxid, offset), &block) {
                return Err(damaged);
            }
            if offset + padded != file_bytes {
                return Err(SnapshotFault::Length { bytes: file_bytes });
            }
            let footer = Footer::decode(&block[CHUNK_HEADER_BYTES..]).ok_or(damaged)?;
            let expected =
                Footer { totals: counted, chunks: number, hash: hash_of(&headers), zxid: meta.zxid };
            // A tree has a root: a snapshot of nothing is none.
            if footer != expected || footer.totals.nodes == 0 {
                return Err(SnapshotFault::Footer);
            }
            return Ok(SnapshotIndex { meta, totals: counted, chunks });
        }
        headers.update(&bytes[..CHUNK_HEADER_BYTES]);
        let records = u64::from(header.records);
        match header.kind {
            ChunkKind::Acls => counted.acls += records,
            ChunkKind::Sessions => counted.sessions += records,
            ChunkKind::Nodes => counted.nodes += records,
            ChunkKind::Header | ChunkKind::Footer => return Err(damaged),
        }
        let end = offset.checked_add(padded).filter(|end| *end < file_bytes);
        let Some(end) = end else { return Err(SnapshotFault::Length { bytes: file_bytes }) };
        chunks.push(ChunkSpan { offset, bytes: padded, kind: header.kind, header });
        offset = end;
        number += 1;
    }
}

/// A chunk that was verified: checksum, archive, and every record in it.
#[derive(Clone, Debug)]
pub struct Part {
    kind: ChunkKind,
    bytes: AlignedBuf,
    payload: usize,
}

impl SnapshotIndex {
    /// Verifies the bytes of one chunk. What it gives can be read without a further error.
    pub fn part(&self, span: &ChunkSpan, bytes: AlignedBuf) -> Result<Part, SnapshotFault> {
        let damaged = SnapshotFault::Damaged { offset: span.offset };
        let SnapshotMeta { identity, zxid, .. } = self.meta;
        let same = ChunkHeader::decode(&bytes) == Some(span.header);
        if !same || !span.header.verify(seed(identity.cluster, zxid, span.offset), &bytes) {
            return Err(damaged);
        }
        // The checksum covered the payload, so it is there.
        let payload = span.header.length as usize;
        let part = Part { kind: span.kind, bytes, payload };
        part.check(span.header.records as usize).map_err(|Malformed| damaged)?;
        Ok(part)
    }
}

impl Part {
    /// What it holds.
    pub fn kind(&self) -> ChunkKind {
        self.kind
    }

    /// Its ACL lists, under the numbers that nodes name them by; none unless it is a chunk of them.
    pub fn acls(&self) -> impl Iterator<Item = (u32, Vec<Acl>)> + '_ {
        let lists = (self.kind == ChunkKind::Acls).then(|| archive::acls(self.archive()).ok()).flatten();
        lists.into_iter().flatten().filter_map(|entry| {
            let (id, list) = entry.ok()?;
            decode_acls(&mut jute::Reader::new(list)).ok().map(|list| (id, list))
        })
    }

    /// Its sessions and their timeouts, ms; none unless it is a chunk of them.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        let sessions =
            (self.kind == ChunkKind::Sessions).then(|| archive::sessions(self.archive()).ok()).flatten();
        sessions.into_iter().flatten().map(|(id, timeout_ms)| (SessionId(id), timeout_ms))
    }

    /// Its znodes, in the order they were handed in; none unless it is a chunk of them.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        let nodes = (self.kind == ChunkKind::Nodes).then(|| archive::nodes(self.archive()).ok()).flatten();
        nodes.into_iter().flatten().filter_map(Result::ok)
    }

    fn archive(&self) -> &[u8] {
        &self.bytes[CHUNK_HEADER_BYTES..CHUNK_HEADER_BYTES + self.payload]
    }

    /// That the iterators above skip nothing.
    fn check(&self, records: usize) -> Result<(), Malformed> {
        let counted = match self.kind {
            ChunkKind::Acls => archive::acls(self.archive())?.try_fold(0, |n, entry| {
                let mut list = jute::Reader::new(entry?.1);
                decode_acls(&mut list).map_err(|_| Malformed)?;
                if list.is_empty() { Ok(n + 1) } else { Err(Malformed) }
            })?,
            ChunkKind::Sessions => archive::sessions(self.archive())?.len(),
            ChunkKind::Nodes => archive::nodes(self.archive())?.try_fold(0, |n, node| node.map(|_| n + 1))?,
            ChunkKind::Header | ChunkKind::Footer => return Err(Malformed),
        };
        if counted == records { Ok(()) } else { Err(Malformed) }
    }
}
