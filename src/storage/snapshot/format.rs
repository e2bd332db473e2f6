#![forbid(unsafe_code)]
//! The bytes of a snapshot. Integers outside the archives are little-endian; offsets are bytes.
//!
//! A file is a sequence of chunks, each at a block boundary and padded to it: one header chunk, then ACL lists, then
//! sessions, then znodes, then one footer, which ends the file. Chunks decode by themselves, so that threads can load
//! parts of one snapshot.
//!
//! ```text
//! chunk: header, 64 bytes, then the payload, then zeros to the block boundary
//!    0   4  magic "RKSC"
//!    4   4  CRC-32C over (cluster id, zxid, offset of the chunk), then bytes 8..64+length
//!    8   4  kind: 1 header, 2 ACL lists, 3 sessions, 4 znodes, 5 footer
//!   12   4  records in it
//!   16   8  length of the payload
//!   24   8  number of the chunk, from 0
//!   32  32  zero
//!
//! payload of the header chunk, 88 bytes; 64 in version 1
//!    0   8  magic "RKSNAPSH"
//!    8   4  format version
//!   12   4  version of the digest
//!   16  16  cluster id
//!   32   8  server id
//!   40   8  zxid: the state is exact at it
//!   48   8  digest of the tree at that zxid
//!   56   8  when it was taken, ms since 1970
//!   64   4  flags: bit 0 received whole from a leader, instead of taken of the own state
//!   68   4  zero
//!   72   8  received: number of the segment in which the log goes on from it; those before are void
//!   80   8  received: what was known to be committed when it took the state's place
//!
//! payload of the footer, 56 bytes
//!    0   8  znodes in all
//!    8   8  ACL lists in all
//!   16   8  sessions in all
//!   24   8  chunks before the footer
//!   32  16  first 128 bits of BLAKE3 over the headers of all chunks before the footer, in order
//!   48   8  zxid
//!
//! other payloads: rkyv archives (storage/archive.rs)
//! ```
//!
//! A snapshot is whole or worthless: there is no torn tail, since it gets its name only after it was flushed. The
//! footer's hash binds the chunks to each other; their checksums bind each to its bytes and its place.
//!
//! History: version 1, the first; version 2, received ones.

use crate::base::{ServerId, WallMillis, Zxid};
use crate::storage::wal::SegmentId;
use crate::storage::{ClusterId, Fields, Identity};

/// The version written, and the newest read.
pub const FORMAT_VERSION: u32 = 2;

/// Bytes before each payload. A multiple of 16, so that an archive behind it is aligned.
pub(super) const CHUNK_HEADER_BYTES: usize = 64;

pub(super) const META_BYTES: usize = 88;
/// The same in version 1.
const META_BYTES_1: usize = 64;
pub(super) const FOOTER_BYTES: usize = 56;

const CHUNK_MAGIC: [u8; 4] = *b"RKSC";
const FILE_MAGIC: [u8; 8] = *b"RKSNAPSH";

const _: () = assert!(CHUNK_HEADER_BYTES.is_multiple_of(16));

/// What a snapshot says of itself in its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotMeta {
    /// Whose state.
    pub identity: Identity,
    /// The state is exact at this zxid.
    pub zxid: Zxid,
    /// Digest of the tree at that zxid; whoever loads the tree computes it anew and compares (R7).
    pub digest: u64,
    /// Version of the digest's algorithm.
    pub digest_version: u32,
    /// When it was taken.
    pub taken: WallMillis,
    /// It came from a leader and took the place of the state and of the log; `None`: it was taken of the own state.
    pub received: Option<Received>,
}

/// What a snapshot that came from a leader supersedes. From its publication on the log before it is gone, whether or
/// not the log's own restart was written yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// The log goes on in this segment ([`crate::storage::wal::WalWriter::restart_segment`]); what is in those with
    /// lower numbers is void.
    pub log_from: SegmentId,
    /// What an established leader was known to have called committed: the state itself is above it, and not confirmed,
    /// until the log records a later commit.
    pub confirmed: Zxid,
}

/// How much a snapshot holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Znodes.
    pub nodes: u64,
    /// ACL lists.
    pub acls: u64,
    /// Sessions.
    pub sessions: u64,
}

/// Why a snapshot cannot be loaded. The file stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// The first bytes are none of ours.
    #[error("not a snapshot")]
    Alien,
    /// A chunk does not verify, or is not what its place demands.
    #[error("the chunk at byte {offset} is damaged")]
    Damaged {
        /// Where it begins.
        offset: u64,
    },
    /// The file ends before its footer, or goes on after it.
    #[error("the file is {bytes} bytes long and does not end with its footer")]
    Length {
        /// Its length.
        bytes: u64,
    },
    /// Chunks are missing or exchanged: the footer's hash or totals disagree.
    #[error("the footer does not fit the chunks before it")]
    Footer,
    /// The bytes cannot be read.
    #[error("bytes at {offset} cannot be read: {reason}")]
    Unreadable {
        /// First byte.
        offset: u64,
        /// What the system says.
        reason: String,
    },
    /// The zxid in the file is not the one in its name.
    #[error("the file is named after zxid {named} and holds zxid {found}")]
    Misnamed {
        /// By its name.
        named: Zxid,
        /// By its header.
        found: Zxid,
    },
    /// Another ensemble's.
    #[error("belongs to cluster {0}")]
    Foreign(ClusterId),
    /// Written by a later release.
    #[error("snapshot format version {0} is newer than this server's {FORMAT_VERSION}")]
    Newer(u32),
    /// The caller rebuilt the tree and found another digest than the header's.
    #[error("the tree's digest is not the one in the header")]
    Digest,
}

/// What a chunk holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ChunkKind {
    /// What the snapshot says of itself.
    Header,
    /// ACL lists.
    Acls,
    /// Sessions.
    Sessions,
    /// Znodes.
    Nodes,
    /// Totals.
    Footer,
}

impl ChunkKind {
    fn code(self) -> u32 {
        match self {
            ChunkKind::Header => 1,
            ChunkKind::Acls => 2,
            ChunkKind::Sessions => 3,
            ChunkKind::Nodes => 4,
            ChunkKind::Footer => 5,
        }
    }

    fn from_code(code: u32) -> Option<ChunkKind> {
        use ChunkKind::{Acls, Footer, Header, Nodes, Sessions};
        [Header, Acls, Sessions, Nodes, Footer].into_iter().find(|kind| kind.code() == code)
    }
}

/// The first 64 bytes of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChunkHeader {
    pub(super) check: u32,
    pub(super) kind: ChunkKind,
    pub(super) records: u32,
    pub(super) length: u64,
    pub(super) number: u64,
}

/// What the checksum of a chunk is seeded with.
pub(super) fn seed(cluster: ClusterId, zxid: Zxid, offset: u64) -> u32 {
    let mut seed = [0; 32];
    let mut fields = Fields::new(&mut seed);
    fields.bytes(0, &cluster.0);
    fields.u64(16, zxid.0.cast_unsigned());
    fields.u64(24, offset);
    crc32c::crc32c(&seed)
}

impl ChunkHeader {
    /// Completes `chunk`, which has room for the header and then the payload, without padding.
    pub(super) fn seal_into(&self, seed: u32, chunk: &mut [u8]) {
        assert_eq!(chunk.len() as u64, CHUNK_HEADER_BYTES as u64 + self.length);
        chunk[..CHUNK_HEADER_BYTES].fill(0);
        let mut fields = Fields::new(chunk);
        fields.bytes(0, &CHUNK_MAGIC);
        fields.u32(8, self.kind.code());
        fields.u32(12, self.records);
        fields.u64(16, self.length);
        fields.u64(24, self.number);
        let check = crc32c::crc32c_append(seed, &chunk[8..]);
        Fields::new(chunk).u32(4, check);
    }

    /// Reads the fields. The checksum is for [`ChunkHeader::verify`].
    pub(super) fn decode(bytes: &[u8]) -> Option<ChunkHeader> {
        let header = bytes.first_chunk::<CHUNK_HEADER_BYTES>()?;
        if !header.starts_with(&CHUNK_MAGIC) {
            return None;
        }
        Some(ChunkHeader {
            check: u32_at(header, 4),
            kind: ChunkKind::from_code(u32_at(header, 8))?,
            records: u32_at(header, 12),
            length: u64_at(header, 16),
            number: u64_at(header, 24),
        })
    }

    /// Bytes on disk, padding included; `None` for a length that no file has.
    pub(super) fn padded_bytes(&self) -> Option<u64> {
        let block = crate::storage::aligned::BLOCK_BYTES as u64;
        self.length.checked_add(CHUNK_HEADER_BYTES as u64)?.checked_next_multiple_of(block)
    }

    /// Whether `chunk` begins with the header and payload that were written at this place.
    pub(super) fn verify(&self, seed: u32, chunk: &[u8]) -> bool {
        let Ok(length) = usize::try_from(self.length) else { return false };
        let covered = length.checked_add(CHUNK_HEADER_BYTES).and_then(|end| chunk.get(8..end));
        covered.is_some_and(|covered| crc32c::crc32c_append(seed, covered) == self.check)
    }
}

impl SnapshotMeta {
    pub(super) fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        let mut fields = Fields::new(&mut bytes);
        fields.bytes(0, &FILE_MAGIC);
        fields.u32(8, FORMAT_VERSION);
        fields.u32(12, self.digest_version);
        fields.bytes(16, &self.identity.cluster.0);
        fields.u64(32, self.identity.server.0.cast_unsigned());
        fields.u64(40, self.zxid.0.cast_unsigned());
        fields.u64(48, self.digest);
        fields.u64(56, self.taken.0.cast_unsigned());
        if let Some(received) = self.received {
            fields.u32(64, 1);
            fields.u64(72, received.log_from.0);
            fields.u64(80, received.confirmed.0.cast_unsigned());
        }
        bytes
    }

    /// Reads and verifies the header chunk, the first block of a snapshot.
    pub fn decode(block: &[u8]) -> Result<SnapshotMeta, SnapshotFault> {
        let header = ChunkHeader::decode(block).ok_or(SnapshotFault::Alien)?;
        let payload = &block[CHUNK_HEADER_BYTES..];
        // What lies behind a header of version 1 is padding.
        let payload = payload.first_chunk::<META_BYTES>().ok_or(SnapshotFault::Alien)?;
        let version = u32_at(payload, 8);
        if header.kind != ChunkKind::Header || !payload.starts_with(&FILE_MAGIC) {
            return Err(SnapshotFault::Alien);
        }
        let meta = SnapshotMeta {
            identity: Identity {
                cluster: ClusterId(array_at(payload, 16)),
                server: ServerId(u64_at(payload, 32).cast_signed()),
            },
            zxid: Zxid(u64_at(payload, 40).cast_signed()),
            digest: u64_at(payload, 48),
            digest_version: u32_at(payload, 12),
            taken: WallMillis(u64_at(payload, 56).cast_signed()),
            received: ((2..=FORMAT_VERSION).contains(&version) && u32_at(payload, 64) & 1 == 1).then(|| {
                Received {
                    log_from: SegmentId(u64_at(payload, 72)),
                    confirmed: Zxid(u64_at(payload, 80).cast_signed()),
                }
            }),
        };
        let intact = header.verify(seed(meta.identity.cluster, meta.zxid, 0), block);
        let sane = meta.received.is_none_or(|received| {
            received.log_from <= SegmentId::MAX && (Zxid::ZERO..=meta.zxid).contains(&received.confirmed)
        });
        if !intact || header.number != 0 || meta.zxid < Zxid::ZERO || !sane {
            return Err(SnapshotFault::Damaged { offset: 0 });
        }
        let length = if version < 2 { META_BYTES_1 } else { META_BYTES };
        match version {
            version if version > FORMAT_VERSION => Err(SnapshotFault::Newer(version)),
            _ if header.length != length as u64 => Err(SnapshotFault::Damaged { offset: 0 }),
            _ => Ok(meta),
        }
    }
}

/// The footer's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Footer {
    pub(super) totals: Totals,
    pub(super) chunks: u64,
    pub(super) hash: [u8; 16],
    pub(super) zxid: Zxid,
}

impl Footer {
    pub(super) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let mut fields = Fields::new(&mut bytes);
        fields.u64(0, self.totals.nodes);
        fields.u64(8, self.totals.acls);
        fields.u64(16, self.totals.sessions);
        fields.u64(24, self.chunks);
        fields.bytes(32, &self.hash);
        fields.u64(48, self.zxid.0.cast_unsigned());
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Footer> {
        let payload = payload.first_chunk::<FOOTER_BYTES>()?;
        Some(Footer {
            totals: Totals {
                nodes: u64_at(payload, 0),
                acls: u64_at(payload, 8),
                sessions: u64_at(payload, 16),
            },
            chunks: u64_at(payload, 24),
            hash: array_at(payload, 32),
            zxid: Zxid(u64_at(payload, 48).cast_signed()),
        })
    }
}

/// The first 128 bits of what `hasher` took.
pub(super) fn hash_of(hasher: &blake3::Hasher) -> [u8; 16] {
    array_at(hasher.finalize().as_bytes(), 0)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
