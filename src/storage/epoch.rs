#![forbid(unsafe_code)]
//! Who this server is and what it promised: one small record in four copies (reliability R10). Written when an epoch
//! is accepted or adopted, when the server is admitted to an ensemble, and never on the path of a write.
//!
//! One file, four copies 64 KiB apart, each one block. Integers are little-endian.
//!
//! ```text
//!    0   8  magic "RKEPOCH\0"
//!    8   4  format version
//!   12   4  flags: bit 0 admitted, bit 1 member
//!   16  16  first 128 bits of BLAKE3 over the block with this field zero
//!   32   8  sequence number, one more than the version before
//!   40  16  bytes 16..32 of the version before; zero in the first
//!   56  16  cluster id
//!   72   8  server id
//!   80   4  accepted epoch
//!   84   4  current epoch
//!   88   8  settled zxid
//!   96      zero
//! ```
//!
//! A new version goes to copies 0 and 1, is flushed, goes to copies 2 and 3, is flushed. So at each instant at least two
//! equal copies exist, of the version before or of the new one, and any two damaged copies of a version that is
//! completely written are survived. What is read is the highest version with two equal copies. Whoever reads a record
//! with fewer than four equal copies writes it again.
//!
//! History: version 1, the first; version 2, members and settled zxids. What is in version 1 ran alone.

use super::action::FileAction;
use super::aligned::{AlignedBuf, BLOCK_BYTES};
use super::{ClusterId, Fields, Identity, names};
use crate::base::{Epoch, ServerId, Zxid};

/// The version written, and the newest read.
pub const FORMAT_VERSION: u32 = 2;

/// Copies in the file.
pub const COPIES: usize = 4;

/// Equal copies that prove a version.
pub const COPIES_NEEDED: usize = 2;

/// Bytes from one copy to the next: far enough apart that one bad erase block does not take two.
pub const COPY_STRIDE_BYTES: usize = 64 << 10;

/// Bytes of the file.
pub const FILE_BYTES: usize = COPIES * COPY_STRIDE_BYTES;

const MAGIC: u64 = u64::from_le_bytes(*b"RKEPOCH\0");

/// The record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochRecord {
    /// Which server of which ensemble.
    pub identity: Identity,
    /// Highest epoch whose NEWEPOCH was acknowledged. Never decreases.
    pub accepted: Epoch,
    /// Epoch whose NEWLEADER was acknowledged. Never decreases, never above `accepted`.
    pub current: Epoch,
    /// Whether the server may vote (reliability R11).
    pub admitted: bool,
    /// Whether it was a member of an ensemble when it ran last: then what its log holds is committed only as far as the
    /// log says so. A single server's flush commits.
    pub member: bool,
    /// What was logged up to here is committed, whatever the log says: it was flushed by a single server, which became a
    /// member then.
    pub settled: Zxid,
    /// Version of the record; 1 for the first.
    pub sequence: u64,
    /// Hash of the version before.
    pub previous: [u8; 16],
}

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// The record.
    pub record: EpochRecord,
    /// Copies that hold it, 2 to 4; below 4 the file wants [`EpochRecord::rewrite`].
    pub equal_copies: usize,
}

/// Why there is no record to go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EpochFault {
    /// No two equal copies: the server cannot prove what it promised.
    #[error("{intact} of {COPIES} copies are intact and no {COPIES_NEEDED} of them are equal")]
    Unproven {
        /// Copies whose checksum is right.
        intact: usize,
    },
    /// Written by a later release.
    #[error("epoch record version {0} is newer than this server's {FORMAT_VERSION}")]
    Newer(u32),
}

impl EpochRecord {
    /// The record of a single server that starts for the first time.
    pub fn first(identity: Identity) -> EpochRecord {
        EpochRecord {
            identity,
            accepted: Epoch(0),
            current: Epoch(0),
            admitted: true,
            member: false,
            settled: Zxid::ZERO,
            sequence: 1,
            previous: [0; 16],
        }
    }

    /// The next version, with other epochs or another admission.
    #[must_use]
    pub fn advance(&self, accepted: Epoch, current: Epoch, admitted: bool) -> EpochRecord {
        assert!(accepted >= self.accepted, "accepted epoch {accepted:?} below {:?}", self.accepted);
        assert!(current >= self.current, "current epoch {current:?} below {:?}", self.current);
        assert!(accepted >= current, "current epoch {current:?} was never accepted");
        EpochRecord { accepted, current, admitted, ..self.successor() }
    }

    /// The next version: a single server, which commits what it flushes.
    #[must_use]
    pub fn alone(&self, server: ServerId) -> EpochRecord {
        let identity = Identity { server, ..self.identity };
        EpochRecord { identity, member: false, settled: Zxid::ZERO, ..self.successor() }
    }

    /// The next version: a member under this id. What the single server before it flushed ends at `settled`.
    #[must_use]
    pub fn member(&self, server: ServerId, settled: Zxid) -> EpochRecord {
        let identity = Identity { server, ..self.identity };
        EpochRecord { identity, member: true, settled, ..self.successor() }
    }

    /// The next version: a member that lost some of what it promised. Its log begins anew, so nothing is settled in it.
    #[must_use]
    pub fn unadmitted(&self) -> EpochRecord {
        EpochRecord { admitted: false, settled: Zxid::ZERO, ..self.successor() }
    }

    fn successor(&self) -> EpochRecord {
        EpochRecord { sequence: self.sequence + 1, previous: block_hash(&self.encode()), ..*self }
    }

    /// Steps in the data directory that make the file.
    pub fn create(&self) -> Vec<FileAction> {
        let name = names::EPOCH_PART.to_owned();
        let mut steps = vec![
            FileAction::Create { name: name.clone() },
            FileAction::Zero { name: name.clone(), offset: 0, bytes: FILE_BYTES as u64 },
        ];
        steps.extend((0..COPIES).map(|copy| self.write(copy, &name)));
        steps.extend([
            FileAction::Flush { name: name.clone() },
            FileAction::Rename { from: name, to: names::EPOCH.to_owned() },
            FileAction::SyncDirectory,
        ]);
        steps
    }

    /// Steps in the data directory that replace the version before, or heal the copies of this one. The record is
    /// durable once all are performed.
    pub fn rewrite(&self) -> Vec<FileAction> {
        let name = names::EPOCH;
        let flush = || FileAction::Flush { name: name.to_owned() };
        vec![
            self.write(0, name),
            self.write(1, name),
            flush(),
            self.write(2, name),
            self.write(3, name),
            flush(),
        ]
    }

    fn write(&self, copy: usize, name: &str) -> FileAction {
        let offset = (copy * COPY_STRIDE_BYTES) as u64;
        FileAction::Write { name: name.to_owned(), offset, bytes: self.encode() }
    }

    fn encode(&self) -> AlignedBuf {
        let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
        let mut fields = Fields::new(&mut block);
        fields.u64(0, MAGIC);
        fields.u32(8, FORMAT_VERSION);
        fields.u32(12, u32::from(self.admitted) | u32::from(self.member) << 1);
        fields.u64(32, self.sequence);
        fields.bytes(40, &self.previous);
        fields.bytes(56, &self.identity.cluster.0);
        fields.u64(72, self.identity.server.0.cast_unsigned());
        fields.u32(80, self.accepted.0);
        fields.u32(84, self.current.0);
        fields.u64(88, self.settled.0.cast_unsigned());
        let hash = block_hash(&block);
        Fields::new(&mut block).bytes(16, &hash);
        block
    }
}

/// Reads the file: the highest version of which two copies are equal.
pub fn load(file: &[u8]) -> Result<Loaded, EpochFault> {
    let copies: Vec<EpochRecord> = (0..COPIES)
        .filter_map(|copy| decode(file.get(copy * COPY_STRIDE_BYTES..)?).transpose())
        .collect::<Result<_, EpochFault>>()?;
    let proven = copies.iter().filter_map(|record| {
        let equal_copies = copies.iter().filter(|other| *other == record).count();
        (equal_copies >= COPIES_NEEDED).then_some(Loaded { record: *record, equal_copies })
    });
    proven.max_by_key(|loaded| loaded.record.sequence).ok_or(EpochFault::Unproven { intact: copies.len() })
}

/// One copy; `None` if it is damaged.
fn decode(bytes: &[u8]) -> Result<Option<EpochRecord>, EpochFault> {
    let Some(block) = bytes.first_chunk::<BLOCK_BYTES>() else { return Ok(None) };
    let u32_at = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"));
    let hash_at = |at: usize| -> [u8; 16] { block[at..at + 16].try_into().expect("sixteen bytes") };
    if u64_at(0) != MAGIC || hash_at(16) != block_hash(block) {
        return Ok(None);
    }
    if u32_at(8) > FORMAT_VERSION {
        return Err(EpochFault::Newer(u32_at(8)));
    }
    Ok(Some(EpochRecord {
        identity: Identity { cluster: ClusterId(hash_at(56)), server: ServerId(u64_at(72).cast_signed()) },
        accepted: Epoch(u32_at(80)),
        current: Epoch(u32_at(84)),
        admitted: u32_at(12) & 1 == 1,
        member: u32_at(12) & 2 == 2,
        settled: Zxid(u64_at(88).cast_signed()),
        sequence: u64_at(32),
        previous: hash_at(40),
    }))
}

/// Of a whole block, with the hash's own place taken as zero.
fn block_hash(block: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&block[..16]);
    hasher.update(&[0; 16]);
    hasher.update(&block[32..]);
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(copies: [Option<&EpochRecord>; COPIES]) -> Vec<u8> {
        let mut file = vec![0; FILE_BYTES];
        for (copy, record) in copies.into_iter().enumerate() {
            if let Some(record) = record {
                let at = copy * COPY_STRIDE_BYTES;
                file[at..at + BLOCK_BYTES].copy_from_slice(&record.encode());
            }
        }
        file
    }

    fn record() -> EpochRecord {
        EpochRecord::first(Identity { cluster: ClusterId([3; 16]), server: ServerId(2) })
    }

    #[test]
    fn two_equal_copies_are_enough_and_one_is_not() {
        let record = record();
        for damaged in 0_u32..16 {
            let mut file = file_of([Some(&record); 4]);
            for copy in (0..COPIES).filter(|copy| damaged & (1 << copy) != 0) {
                file[copy * COPY_STRIDE_BYTES + 80] ^= 1;
            }
            let intact = COPIES - damaged.count_ones() as usize;
            let expected = if intact >= COPIES_NEEDED {
                Ok(Loaded { record, equal_copies: intact })
            } else {
                Err(EpochFault::Unproven { intact })
            };
            assert_eq!(load(&file), expected, "damaged copies {damaged:04b}");
        }
    }

    #[test]
    fn a_version_counts_once_two_copies_of_it_are_there() {
        let old = record();
        let new = old.advance(Epoch(3), Epoch(2), true);
        let (o, n) = (Some(&old), Some(&new));
        for (copies, expected) in [
            ([n, o, o, o], old),
            ([None, n, o, o], old),
            ([n, n, o, o], new),
            ([n, n, None, o], new),
            ([n, n, n, o], new),
        ] {
            assert_eq!(load(&file_of(copies)).unwrap().record, expected);
        }
    }

    #[test]
    fn the_next_version_names_the_hash_of_the_one_before() {
        let old = record();
        let new = old.advance(Epoch(1), Epoch(1), false);
        assert_eq!(new.previous, block_hash(&old.encode()));
        assert_eq!(new.sequence, 2);
        assert!(!new.admitted);
    }

    #[test]
    #[should_panic(expected = "below")]
    fn an_epoch_never_goes_back() {
        let _ = record().advance(Epoch(5), Epoch(0), true).advance(Epoch(4), Epoch(0), true);
    }

    #[test]
    fn short_and_empty_files_prove_nothing() {
        for length in [0, 100, BLOCK_BYTES, FILE_BYTES - 1] {
            assert_eq!(load(&vec![0; length]), Err(EpochFault::Unproven { intact: 0 }));
        }
    }
}
