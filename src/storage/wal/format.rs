#![forbid(unsafe_code)]
//! The bytes of the log. All integers are little-endian; offsets are bytes.
//!
//! A segment is one header block, then batches, each at a block boundary, each written with one write and made durable
//! before the next is submitted (reliability R2). What lies behind the last batch is zeros, or what a recycled file
//! held before.
//!
//! ```text
//! segment header, 4096 bytes
//!    0   8  magic "RKWALSEG"
//!    8   4  format version
//!   12   4  CRC-32C of the whole block with this field zero
//!   16  16  cluster id
//!   32   8  server id
//!   40   8  segment number, one more than its predecessor's
//!   48   8  generation: random, drawn anew each time the file is prepared
//!   56   8  size of the segment
//!   64   4  state: 0 prepared, nothing in it; 1 active
//!   68   4  zero
//!   72   8  zxid before the first: the last record of the segment before, or the snapshot the log goes on from
//!   80   8  zxid of the first record
//!   88  16  chain hash so far: the hash of the last batch before this segment; zero in a new log
//!  104      zero
//!
//! batch or seal: header, 128 bytes, then `count` records, then zeros to the block boundary
//!    0   4  magic "RKWB"
//!    4   4  CRC-32C over (cluster id, generation, offset), then bytes 8..128
//!    8  16  hash: the first 128 bits of BLAKE3 over (cluster id, generation, offset), then bytes 24..length
//!   24   8  generation
//!   32   8  segment number
//!   40   8  length of header and records
//!   48   4  number of records; 0 in a seal, in a cut and in a restart
//!   52   4  kind: 1 batch, 2 seal, 3 cut, 4 restart
//!   56   8  first zxid; in a seal the last one logged, in a cut the last one that is kept, in a restart the snapshot's
//!   64   8  last zxid; the same one in all that hold no records
//!   72   8  highest commit zxid known when it was written
//!   80   4  epoch of the last zxid
//!   84   4  zero
//!   88  16  hash of the batch or seal before
//!  104  24  zero
//!
//! record
//!    0   8  zxid, following the one before
//!    8   4  length of the payload
//!   12      payload: the txn's stock bytes, which this folder does not read
//! ```
//!
//! Both checksums are seeded with where the batch belongs, so that a batch in another place, or one left over from the
//! file's earlier life, does not verify (F7). The generation also stands in the batch in plain, so that batches can be
//! found in a segment whose header is damaged. The header has a checksum of its own: for a batch damaged in its body
//! the range of zxids can then still be named.
//!
//! A cut takes back the end of the history (TRUNC, reliability R6): of the records before it in the log, those with a
//! later zxid than its own are void. It is written like any batch, so that no block that holds records is ever written
//! again, and it is there whole or not at all. What it takes back was never committed. A segment that begins with a cut
//! names the void zxid before it and that one's successor in its header.
//!
//! A restart says that the log goes on from the snapshot at its zxid: all that stands before it, in segments with lower
//! numbers, is void. It is the first batch of its segment.
//!
//! History: version 1, the first; version 2, cuts; version 3, restarts.

use crate::base::{Epoch, ServerId, Zxid};
use crate::storage::aligned::{AlignedBuf, BLOCK_BYTES, padded};
use crate::storage::{ClusterId, Fields, Identity};

/// The version written, and the newest read.
pub const FORMAT_VERSION: u32 = 3;

/// Bytes of a batch's header.
pub(super) const BATCH_HEADER_BYTES: usize = 128;

/// Bytes before each record's payload.
pub(super) const RECORD_HEADER_BYTES: usize = 12;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"RKWALSEG");
const BATCH_MAGIC: [u8; 4] = *b"RKWB";

/// Number of a segment: 1 for the first of a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// Larger than any log reaches, and with room to count on.
    pub const MAX: SegmentId = SegmentId(1 << 62);

    /// The one after.
    #[must_use]
    pub fn next(self) -> SegmentId {
        SegmentId(self.0 + 1)
    }
}

impl std::fmt::Display for SegmentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// 128 bits that stand for one server's log up to and including a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash(pub [u8; 16]);

impl std::fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Where in the history an active segment begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The zxid the segment goes on from.
    pub previous: Zxid,
    /// Zxid of its first record.
    pub first: Zxid,
    /// Hash of the last batch before it.
    pub chain: ChainHash,
}

/// The first block of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Whose log.
    pub identity: Identity,
    /// Which segment.
    pub segment: SegmentId,
    /// Random, new with each preparation.
    pub generation: u64,
    /// Size of the segment, bytes.
    pub bytes: u64,
    /// `None` while it is only prepared.
    pub start: Option<Start>,
}

/// Why a block is not a segment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than a block, or another magic.
    #[error("not a log segment")]
    Foreign,
    /// The checksum or a field is wrong.
    #[error("the segment header is damaged")]
    Damaged,
    /// Intact, and of a version we do not know.
    #[error("log format version {0} is newer than this server's {FORMAT_VERSION}")]
    Newer(u32),
}

impl SegmentHeader {
    /// Writes the header into `block`, which is one block long.
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK_BYTES, "a segment header is one block");
        block.fill(0);
        let mut fields = Fields::new(block);
        fields.u64(0, SEGMENT_MAGIC);
        fields.u32(8, FORMAT_VERSION);
        fields.bytes(16, &self.identity.cluster.0);
        fields.u64(32, self.identity.server.0.cast_unsigned());
        fields.u64(40, self.segment.0);
        fields.u64(48, self.generation);
        fields.u64(56, self.bytes);
        if let Some(start) = self.start {
            assert!(start.first > start.previous);
            fields.u32(64, 1);
            fields.u64(72, start.previous.0.cast_unsigned());
            fields.u64(80, start.first.0.cast_unsigned());
            fields.bytes(88, &start.chain.0);
        }
        let check = crc32c::crc32c(block);
        Fields::new(block).u32(12, check);
    }

    /// Reads the header off the front of a segment.
    pub fn decode(segment: &[u8]) -> Result<SegmentHeader, HeaderError> {
        let block = segment.first_chunk::<BLOCK_BYTES>().ok_or(HeaderError::Foreign)?;
        if read_u64(block, 0) != SEGMENT_MAGIC {
            return Err(HeaderError::Foreign);
        }
        let check = crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &[0; 4]);
        if crc32c::crc32c_append(check, &block[16..]) != read_u32(block, 12) {
            return Err(HeaderError::Damaged);
        }
        let version = read_u32(block, 8);
        if version > FORMAT_VERSION {
            return Err(HeaderError::Newer(version));
        }
        let start = Start {
            previous: read_zxid(block, 72),
            first: read_zxid(block, 80),
            chain: ChainHash(read_array(block, 88)),
        };
        let segment = SegmentId(read_u64(block, 40));
        if segment > SegmentId::MAX || start.previous < Zxid::ZERO || start.first == Zxid::MAX {
            return Err(HeaderError::Damaged);
        }
        let start = match read_u32(block, 64) {
            0 => None,
            1 if start.previous < start.first => Some(start),
            _ => return Err(HeaderError::Damaged),
        };
        Ok(SegmentHeader {
            identity: Identity {
                cluster: ClusterId(read_array(block, 16)),
                server: ServerId(read_u64(block, 32).cast_signed()),
            },
            segment,
            generation: read_u64(block, 48),
            bytes: read_u64(block, 56),
            start,
        })
    }
}

/// Where a batch belongs: what its checksums are seeded with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whose log.
    pub cluster: ClusterId,
    /// Life of the segment file.
    pub generation: u64,
    /// Offset in the segment, bytes.
    pub offset: u64,
}

impl Place {
    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        let mut fields = Fields::new(&mut seed);
        fields.bytes(0, &self.cluster.0);
        fields.u64(16, self.generation);
        fields.u64(24, self.offset);
        seed
    }

    fn check(&self, header: &[u8; BATCH_HEADER_BYTES]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.seed()), &header[8..])
    }

    fn hash(&self, batch: &[u8]) -> ChainHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed());
        hasher.update(&batch[24..]);
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ChainHash(hash)
    }
}

/// What a batch is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchKind {
    /// Holds records.
    Batch,
    /// Holds none; says that the batch before it was complete (R4).
    Seal,
    /// Holds none; voids the records before it that are later than its zxid (R6).
    Cut,
    /// Holds none; voids everything before it. The snapshot at its zxid takes its place.
    Restart,
}

impl BatchKind {
    fn number(self) -> u32 {
        match self {
            BatchKind::Batch => 1,
            BatchKind::Seal => 2,
            BatchKind::Cut => 3,
            BatchKind::Restart => 4,
        }
    }

    fn from_number(number: u32) -> Option<BatchKind> {
        use BatchKind::{Batch, Cut, Restart, Seal};
        [Batch, Seal, Cut, Restart].into_iter().find(|kind| kind.number() == number)
    }
}

/// The first 128 bytes of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// This batch's hash. Computed by [`BatchHeader::seal_into`].
    pub hash: ChainHash,
    /// Life of the segment file.
    pub generation: u64,
    /// The segment it belongs to.
    pub segment: SegmentId,
    /// Bytes of header and records.
    pub length: u64,
    /// Records.
    pub count: u32,
    /// What it is there for.
    pub kind: BatchKind,
    /// Zxid of the first record.
    pub first: Zxid,
    /// Zxid of the last record.
    pub last: Zxid,
    /// Highest commit zxid known when it was written.
    pub committed: Zxid,
    /// Epoch of `last`.
    pub epoch: Epoch,
    /// Hash of the batch before.
    pub previous: ChainHash,
}

impl BatchHeader {
    /// Bytes on disk, padding included.
    pub fn padded_bytes(&self) -> u64 {
        padded(self.length as usize) as u64
    }

    /// Completes `batch` (room for the header, then the records; `length` bytes) and returns its hash.
    pub fn seal_into(&self, place: Place, batch: &mut [u8]) -> ChainHash {
        assert_eq!(batch.len() as u64, self.length);
        assert_eq!(place.generation, self.generation);
        assert_eq!(self.epoch, self.last.epoch());
        assert_eq!(self.kind == BatchKind::Batch, self.count > 0);
        batch[..BATCH_HEADER_BYTES].fill(0);
        let mut fields = Fields::new(batch);
        fields.bytes(0, &BATCH_MAGIC);
        fields.u64(24, self.generation);
        fields.u64(32, self.segment.0);
        fields.u64(40, self.length);
        fields.u32(48, self.count);
        fields.u32(52, self.kind.number());
        fields.u64(56, self.first.0.cast_unsigned());
        fields.u64(64, self.last.0.cast_unsigned());
        fields.u64(72, self.committed.0.cast_unsigned());
        fields.u32(80, self.epoch.0);
        fields.bytes(88, &self.previous.0);
        let hash = place.hash(batch);
        Fields::new(batch).bytes(8, &hash.0);
        let header = batch.first_chunk().expect("the length was asserted to hold a header");
        let check = place.check(header);
        Fields::new(batch).u32(4, check);
        hash
    }

    /// Reads the header of a batch that says it belongs to `generation`, without trusting its body. `bytes` is what
    /// the segment holds from `place` on.
    pub fn decode(place: Place, bytes: &[u8]) -> Option<BatchHeader> {
        let header = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
        if !header.starts_with(&BATCH_MAGIC)
            || read_u64(header, 24) != place.generation
            || read_u32(header, 4) != place.check(header)
        {
            return None;
        }
        let kind = BatchKind::from_number(read_u32(header, 52))?;
        let batch = BatchHeader {
            hash: ChainHash(read_array(header, 8)),
            generation: place.generation,
            segment: SegmentId(read_u64(header, 32)),
            length: read_u64(header, 40),
            count: read_u32(header, 48),
            kind,
            first: read_zxid(header, 56),
            last: read_zxid(header, 64),
            committed: read_zxid(header, 72),
            epoch: Epoch(read_u32(header, 80)),
            previous: ChainHash(read_array(header, 88)),
        };
        let fits = batch.length >= BATCH_HEADER_BYTES as u64 && batch.length <= bytes.len() as u64;
        let counted = (kind == BatchKind::Batch) == (batch.count > 0);
        // Everything may be taken back, and a log may begin anew with nothing.
        let least = if kind == BatchKind::Batch { Zxid(1) } else { Zxid::ZERO };
        let ordered = least <= batch.first && batch.first <= batch.last && batch.last < Zxid::MAX;
        (fits && counted && ordered && batch.epoch == batch.last.epoch()).then_some(batch)
    }

    /// Whether the body is the one that was written, and its records are what the header says: contiguous from
    /// `first` to `last`, `count` of them, filling `length` exactly. `bytes` is what [`BatchHeader::decode`] read.
    pub fn verify(&self, place: Place, bytes: &[u8]) -> bool {
        let Some(batch) = bytes.get(..self.length as usize) else { return false };
        if place.hash(batch) != self.hash {
            return false;
        }
        let mut records = Records::new(&batch[BATCH_HEADER_BYTES..]);
        let mut last: Option<Zxid> = None;
        let mut count = 0_u32;
        for (zxid, _) in records.by_ref() {
            let in_order = last.map_or(zxid == self.first, |last| zxid.follows(last));
            if !in_order || zxid > self.last {
                return false;
            }
            last = Some(zxid);
            count += 1;
        }
        records.rest.is_empty() && count == self.count && last.is_none_or(|last| last == self.last)
    }
}

/// Reads the header of a batch in whatever generation it names itself: for segments whose own header is lost.
pub(super) fn decode_by_own_word(
    cluster: ClusterId,
    offset: u64,
    bytes: &[u8],
) -> Option<(Place, BatchHeader)> {
    let header = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
    if !header.starts_with(&BATCH_MAGIC) {
        return None;
    }
    let place = Place { cluster, generation: read_u64(header, 24), offset };
    BatchHeader::decode(place, bytes).map(|batch| (place, batch))
}

/// Whether these bytes look like the beginning of a batch of this generation, verified or not.
pub(super) fn looks_like_batch(generation: u64, bytes: &[u8]) -> bool {
    bytes
        .first_chunk::<BATCH_HEADER_BYTES>()
        .is_some_and(|header| header.starts_with(&BATCH_MAGIC) && read_u64(header, 24) == generation)
}

/// Appends one record to the batch being collected.
pub(super) fn encode_record(zxid: Zxid, payload: &[u8], out: &mut AlignedBuf) {
    let length = u32::try_from(payload.len()).expect("a txn is bounded by the segment, which is below 4 GiB");
    out.extend(&zxid.0.to_le_bytes());
    out.extend(&length.to_le_bytes());
    out.extend(payload);
}

/// The records of a batch's body. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Reads from the first record on.
    pub fn new(body: &'a [u8]) -> Records<'a> {
        Records { rest: body }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Zxid, &'a [u8]);

    fn next(&mut self) -> Option<(Zxid, &'a [u8])> {
        let (header, rest) = self.rest.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let (payload, rest) = rest.split_at_checked(read_u32(header, 8) as usize)?;
        self.rest = rest;
        Some((read_zxid(header, 0), payload))
    }
}

fn read_array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(read_array(bytes, at))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(read_array(bytes, at))
}

fn read_zxid(bytes: &[u8], at: usize) -> Zxid {
    Zxid(read_u64(bytes, at).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> Place {
        Place { cluster: ClusterId([7; 16]), generation: 0x1234, offset: 4096 }
    }

    fn batch(payloads: &[Vec<u8>]) -> (BatchHeader, AlignedBuf) {
        let mut bytes = AlignedBuf::zeroed(BATCH_HEADER_BYTES);
        for (i, payload) in payloads.iter().enumerate() {
            encode_record(Zxid(10 + i as i64), payload, &mut bytes);
        }
        let mut header = BatchHeader {
            hash: ChainHash::default(),
            generation: place().generation,
            segment: SegmentId(3),
            length: bytes.len() as u64,
            count: payloads.len() as u32,
            kind: BatchKind::Batch,
            first: Zxid(10),
            last: Zxid(9 + payloads.len() as i64),
            committed: Zxid(5),
            epoch: Epoch(0),
            previous: ChainHash([9; 16]),
        };
        header.hash = header.seal_into(place(), &mut bytes);
        (header, bytes)
    }

    proptest! {
        #[test]
        fn a_batch_reads_back_and_any_flipped_bit_is_found(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..12),
            bit in any::<prop::sample::Index>(),
        ) {
            let (header, mut bytes) = batch(&payloads);
            let read = BatchHeader::decode(place(), &bytes).expect("intact");
            prop_assert_eq!(read, header);
            prop_assert!(read.verify(place(), &bytes));
            let records: Vec<_> = Records::new(&bytes[BATCH_HEADER_BYTES..]).map(|(_, p)| p.to_vec()).collect();
            prop_assert_eq!(records, payloads);

            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = BatchHeader::decode(place(), &bytes).is_none_or(|h| !h.verify(place(), &bytes));
            prop_assert!(found, "bit {} flipped unseen", bit);
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            prop_assert_eq!(BatchHeader::decode(place(), &bytes), None);
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
            Records::new(&bytes).for_each(drop);
        }
    }

    #[test]
    fn a_batch_verifies_only_in_its_own_place() {
        let (_, bytes) = batch(&[b"x".to_vec()]);
        let home = place();
        assert!(BatchHeader::decode(home, &bytes).is_some());
        for elsewhere in [
            Place { offset: 8192, ..home },
            Place { generation: 0x1235, ..home },
            Place { cluster: ClusterId([8; 16]), ..home },
        ] {
            assert_eq!(BatchHeader::decode(elsewhere, &bytes), None);
        }
    }

    #[test]
    fn a_segment_header_reads_back_and_any_flipped_bit_is_found() {
        let header = SegmentHeader {
            identity: Identity { cluster: ClusterId([1; 16]), server: ServerId(5) },
            segment: SegmentId(9),
            generation: u64::MAX,
            bytes: 1 << 20,
            start: Some(Start { previous: Zxid(99), first: Zxid(100), chain: ChainHash([4; 16]) }),
        };
        let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
        header.encode(&mut block);
        assert_eq!(SegmentHeader::decode(&block), Ok(header));
        for bit in (0..128 * 8).chain([BLOCK_BYTES * 8 - 1]) {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        let prepared = SegmentHeader { start: None, ..header };
        prepared.encode(&mut block);
        assert_eq!(SegmentHeader::decode(&block), Ok(prepared));
    }
}
