//! Our own files, as a disk may give them back. Beside the common property: nothing is read that was never written.
//! What a log record or a znode holds follows from its zxid, so that any input can be held to it; a checksum that let
//! a changed byte pass would show. Caught so: a batch whose hash is not compared (`BatchHeader::verify`).

use crate::counting::bounded;
use crate::target;
use ringkeeper::base::{Epoch, ServerId, SessionId, WallMillis, Zxid};
use ringkeeper::storage::aligned::{AlignedBuf, BLOCK_BYTES};
use ringkeeper::storage::epoch::{self, COPY_STRIDE_BYTES, EpochRecord};
use ringkeeper::storage::snapshot::{self, NodeView, SnapshotEncoder, SnapshotMeta};
use ringkeeper::storage::wal::{
    self, PreparedSegment, Scanned, SegmentHeader, SegmentId, WalLimits, WalPosition, WalWriter,
};
use ringkeeper::storage::{ClusterId, Identity};
use ringkeeper::wire::Acl;

const IDENTITY: Identity = Identity { cluster: ClusterId(*b"fuzzed ensemble!"), server: ServerId(1) };
const SEGMENT: SegmentId = SegmentId(1);
const SEGMENT_BYTES: usize = 8 * BLOCK_BYTES;

/// The payload under a zxid.
fn payload(zxid: Zxid) -> Vec<u8> {
    vec![zxid.0 as u8; 40 + 700 * (zxid.0 as usize % 4)]
}

/// Segments as they stand prepared, after one batch, after three, and sealed.
fn segments() -> Vec<Vec<u8>> {
    let limits = WalLimits { segment_bytes: SEGMENT_BYTES as u64, ..WalLimits::default() };
    let mut writer = WalWriter::new(IDENTITY, limits, WalPosition::empty());
    assert_eq!(writer.wants_segment(), Some(SEGMENT));
    let (generation, bytes) = (0x1234_5678_9abc_def0, SEGMENT_BYTES as u64);
    let mut image = vec![0; SEGMENT_BYTES];
    SegmentHeader { identity: IDENTITY, segment: SEGMENT, generation, bytes, start: None }
        .encode(&mut image[..BLOCK_BYTES]);
    let mut images = vec![image.clone()];
    writer.add_segment(PreparedSegment { segment: SEGMENT, generation, bytes });
    let mut zxid = Zxid::ZERO;
    for records in [1, 2, 3, 0] {
        for _ in 0..records {
            zxid = zxid.next();
            writer.append(zxid, &payload(zxid));
        }
        let write = if records == 0 { writer.seal(zxid) } else { writer.next_write(zxid) }.unwrap();
        let at = write.offset as usize;
        image[at..at + write.bytes().len()].copy_from_slice(write.bytes());
        images.push(image.clone());
        let written = write.bytes().len();
        writer.completed(write, written).unwrap();
    }
    images
}

#[test]
fn a_whole_segment_gives_back_its_records() {
    let last = segments().pop().unwrap();
    let scanned = wal::scan(IDENTITY.cluster, SEGMENT, &last);
    let Scanned::Active(scan) = &scanned else { panic!("{scanned:?}") };
    let records: Vec<_> =
        scan.records(&last, Zxid::ZERO, &[]).map(|(zxid, bytes)| (zxid, bytes.to_vec())).collect();
    assert_eq!(records, (1..=6).map(|z| (Zxid(z), payload(Zxid(z)))).collect::<Vec<_>>());
    let log = wal::join(IDENTITY.cluster, Zxid::ZERO, wal::SegmentId(0), &[(SEGMENT, scanned)]).unwrap();
    assert_eq!((log.position.last, log.position.sealed), (Zxid(6), true));
}

target!(
    /// A segment of the log: one file's scan, and recovery from it alone.
    wal_segment from segments(),
    |input| {
        let scanned = bounded(input.len(), 1, || wal::scan(IDENTITY.cluster, SEGMENT, input));
        if let Scanned::Active(scan) = &scanned {
            let mut before = Zxid::ZERO;
            for (zxid, bytes) in scan.records(input, Zxid::ZERO, &[]) {
                assert!(zxid > before, "records are in order, and none comes twice");
                assert_eq!(bytes, payload(zxid), "a record that was never written");
                before = zxid;
            }
            assert!(scan.batches.is_sorted_by_key(|batch| batch.offset));
            assert!(scan.end <= input.len().max(BLOCK_BYTES) as u64);
        }
        if let Ok(log) = wal::join(IDENTITY.cluster, Zxid::ZERO, wal::SegmentId(0), &[(SEGMENT, scanned)]) {
            assert!(log.committed <= log.position.last);
            assert!(log.position.active.is_none_or(|active| active.offset.is_multiple_of(BLOCK_BYTES as u64)));
        }
    }
);

/// The data of the znode created by a zxid.
fn data(czxid: i64) -> Option<Vec<u8>> {
    (czxid % 3 != 0).then(|| vec![czxid as u8; 30 * czxid as usize])
}

/// Snapshots of one znode and of forty, with ACL lists and sessions.
fn snapshots() -> Vec<Vec<u8>> {
    [1, 40]
        .into_iter()
        .map(|nodes| {
            let (digest, digest_version, taken) = (77, 2, WallMillis(1_700_000_000_000));
            let received = None;
            let meta = SnapshotMeta {
                identity: IDENTITY,
                zxid: Zxid(nodes),
                digest,
                digest_version,
                taken,
                received,
            };
            let mut encoder = SnapshotEncoder::new(meta);
            encoder.acl(1, &[Acl::open()]);
            encoder.session(SessionId(0x100), 30_000);
            for czxid in 0..nodes {
                let (path, data) = (format!("/node{czxid}"), data(czxid));
                encoder.node(&NodeView {
                    path: path.as_bytes(),
                    data: data.as_deref(),
                    acl: 1,
                    czxid,
                    mzxid: czxid,
                    pzxid: czxid,
                    ctime: 5,
                    mtime: 6,
                    version: 0,
                    cversion: 0,
                    aversion: 0,
                    owner: 0,
                });
            }
            encoder.finish().into_iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()
        })
        .collect()
}

/// Reads a snapshot as loading does: index, then every chunk. Gives the number of znodes.
fn load(file: &[u8]) -> Result<u64, snapshot::SnapshotFault> {
    let mut read = |offset: u64, bytes: usize| {
        let from = offset as usize;
        Ok(AlignedBuf::copy_of(&file[from..from + bytes]))
    };
    let index = snapshot::index(IDENTITY.cluster, file.len() as u64, &mut read)?;
    let mut nodes = 0;
    for span in &index.chunks {
        let from = span.offset as usize;
        let bytes = AlignedBuf::copy_of(&file[from..from + span.bytes as usize]);
        let part = index.part(span, bytes)?;
        for node in part.nodes() {
            assert_eq!(node.data, data(node.czxid).as_deref(), "a znode that was never written");
            nodes += 1;
        }
        assert!(part.acls().all(|(id, list)| id == 1 && list == [Acl::open()]));
        assert!(part.sessions().all(|session| session == (SessionId(0x100), 30_000)));
    }
    Ok(nodes)
}

#[test]
fn a_whole_snapshot_gives_back_its_znodes() {
    let nodes: Vec<_> = snapshots().iter().map(|file| load(file)).collect();
    assert_eq!(nodes, [Ok(1), Ok(40)]);
}

target!(
    /// A snapshot: index, chunks, records.
    snapshot_file from snapshots(),
    |input| {
        // One chunk is held at a time, in a buffer a block longer.
        let loaded = bounded(input.len(), 2, || load(input));
        if let Ok(nodes) = loaded {
            assert!([1, 40].contains(&nodes), "all of a snapshot or nothing");
        }
    }
);

fn epoch_record() -> EpochRecord {
    EpochRecord::first(IDENTITY).advance(Epoch(3), Epoch(2), true)
}

/// The epoch record's file, in its first three copies, and with one older copy.
fn epoch_files() -> Vec<Vec<u8>> {
    let file = |record: &EpochRecord| {
        let mut file = vec![0; 2 * COPY_STRIDE_BYTES + BLOCK_BYTES];
        for step in record.create() {
            if let ringkeeper::storage::action::FileAction::Write { offset, bytes, .. } = step {
                let at = offset as usize;
                if at + bytes.len() <= file.len() {
                    file[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
        file
    };
    let (new, old) = (file(&epoch_record()), file(&EpochRecord::first(IDENTITY)));
    let mut mixed = new.clone();
    mixed[..BLOCK_BYTES].copy_from_slice(&old[..BLOCK_BYTES]);
    vec![new, mixed]
}

target!(
    /// The epoch record in its copies.
    epoch_file from epoch_files(),
    |input| {
        if let Ok(loaded) = bounded(input.len(), 0, || epoch::load(input)) {
            assert!(loaded.equal_copies >= epoch::COPIES_NEEDED);
            let known = [epoch_record(), EpochRecord::first(IDENTITY)];
            assert!(known.contains(&loaded.record), "a promise that was never made");
        }
    }
);

#[test]
fn two_equal_copies_out_of_three_prove_a_promise() {
    for file in epoch_files() {
        assert_eq!(epoch::load(&file).unwrap().record, epoch_record());
    }
}
