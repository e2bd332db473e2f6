//! A toy single server over the simulated disk: its tree is a list of payloads by zxid, so that a recovered state can
//! be compared with what was written, record by record.

use std::collections::BTreeMap;

use ringkeeper::base::{ServerId, SessionId, WallMillis, Zxid};
use ringkeeper::storage::action::FileAction;
use ringkeeper::storage::epoch::EpochRecord;
use ringkeeper::storage::recovery::{self, Mode, RecoverError, Recovered, RecoveryReport, Settings};
use ringkeeper::storage::snapshot::{
    self, NodeView, Publication, SnapshotEncoder, SnapshotFile, SnapshotMeta,
};
use ringkeeper::storage::wal::{Flushed, PreparedSegment, WalLimits, WalWrite, WalWriter};
use ringkeeper::storage::{ClusterId, names};
use ringkeeper::wire::Acl;

use crate::disk::{Disk, DiskError};

pub(crate) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

/// Tiny, so that segments fill and recycle within a few writes.
pub(crate) const LIMITS: WalLimits =
    WalLimits { segment_bytes: 8 * 4096, batch_bytes_max: 2 * 4096, batch_txns_max: 3 };

pub(crate) fn settings<'a>(generation: u64) -> Settings<'a> {
    Settings {
        server: ServerId(1),
        mode: Mode::Alone,
        new_cluster: CLUSTER,
        new_generation: generation,
        limits: LIMITS,
        distrusted: &[],
        runner: &recovery::run_in_turn,
    }
}

pub(crate) struct Server {
    pub(crate) disk: Disk,
    pub(crate) wal: WalWriter,
    pub(crate) epoch: EpochRecord,
    pub(crate) report: RecoveryReport,
    /// The tree.
    pub(crate) state: BTreeMap<i64, Vec<u8>>,
    /// Everything handed to the log by this process, acknowledged or not.
    pub(crate) submitted: BTreeMap<i64, Vec<u8>>,
    /// Last zxid a client was answered for.
    pub(crate) acked: i64,
    snapshots: Vec<SnapshotFile>,
    /// Retired segments, to be recycled.
    retired: Vec<String>,
    generation: u64,
}

/// The state a recovery gives.
pub(crate) fn state_of(
    disk: &Disk,
    recovered: Recovered,
) -> (BTreeMap<i64, Vec<u8>>, WalWriter, EpochRecord, RecoveryReport) {
    let mut state = BTreeMap::new();
    let Recovered { epoch, snapshot, replay, wal, report, .. } = recovered;
    if let Some(snapshot) = snapshot {
        for node in snapshot.parts.iter().flat_map(|part| part.nodes()) {
            if node.path != b"/" {
                state.insert(node.czxid, node.data.expect("the toy writes data").to_vec());
            }
        }
        assert_eq!(snapshot.index.totals.nodes as usize, state.len() + 1);
        assert_eq!(snapshot.index.meta.digest, state.len() as u64);
    }
    let last = replay
        .run(
            &disk.view(),
            &mut |zxid, payload| {
                state.insert(zxid.0, payload.to_vec());
            },
            &mut |_| {},
        )
        .expect("what was verified once reads again");
    assert_eq!(last, wal.last());
    (state, wal, epoch, report)
}

impl Server {
    /// Starts on what is there. Recovery's own steps may meet a power loss too.
    pub(crate) fn start(disk: &Disk, generation: u64) -> Result<Result<Server, RecoverError>, DiskError> {
        let view = disk.view();
        let recovered = match recovery::recover(&view, &view, &settings(generation), &mut |_| {}) {
            Ok(recovered) => recovered,
            Err(error) => return Ok(Err(error)),
        };
        disk.perform(&recovered.steps.record)?;
        disk.perform(&recovered.steps.log)?;
        disk.perform(&recovered.steps.data)?;
        let (state, wal, epoch, report) = state_of(disk, recovered);
        let mut snapshots = Vec::new();
        for name in disk.files_like("snapshot-") {
            if let names::FileKind::Snapshot(zxid) = names::parse(&name) {
                let verified =
                    recovery::verify_snapshot(&view, CLUSTER, zxid, &recovery::run_in_turn).is_ok();
                snapshots.push(SnapshotFile { zxid, verified });
            }
        }
        let acked = wal.last().0;
        Ok(Ok(Server {
            disk: disk.clone(),
            wal,
            epoch,
            report,
            state,
            submitted: BTreeMap::new(),
            acked,
            snapshots,
            retired: Vec::new(),
            generation,
        }))
    }

    /// Starts where nothing may go wrong.
    pub(crate) fn must_start(disk: &Disk, generation: u64) -> Server {
        Server::start(disk, generation).expect("the power is on").expect("what is there can be used")
    }

    /// Collects one write, to be flushed with others.
    pub(crate) fn append(&mut self, payload: &[u8]) {
        let zxid = self.wal.last().next();
        self.submitted.insert(zxid.0, payload.to_vec());
        self.wal.append(zxid, payload);
    }

    /// Flushes all that was collected and answers it.
    pub(crate) fn flush(&mut self) -> Result<(), DiskError> {
        loop {
            self.prepare_ahead()?;
            let Some(write) = self.wal.next_write(Zxid(self.acked)) else { return Ok(()) };
            self.finish(write)?;
        }
    }

    /// The next write of what was collected, whatever it is, as a member of an ensemble makes it: told what is
    /// committed, and answering nobody.
    pub(crate) fn write_next(&mut self, committed: Zxid) -> Result<Option<Flushed>, DiskError> {
        self.prepare_ahead()?;
        let Some(write) = self.wal.next_write(committed) else { return Ok(None) };
        let written = self.disk.write_wal(&write)?;
        Ok(Some(self.wal.completed(write, written).expect("the disk writes all or fails")))
    }

    pub(crate) fn seal(&mut self) -> Result<(), DiskError> {
        match self.wal.seal(Zxid(self.acked)) {
            Some(write) => self.finish(write),
            None => Ok(()),
        }
    }

    fn finish(&mut self, write: WalWrite) -> Result<(), DiskError> {
        let written = self.disk.write_wal(&write)?;
        let flushed = self.wal.completed(write, written).expect("the disk writes all or fails");
        for zxid in self.acked + 1..=flushed.up_to.0 {
            self.state.insert(zxid, self.submitted[&zxid].clone());
        }
        self.acked = flushed.up_to.0;
        Ok(())
    }

    fn prepare_ahead(&mut self) -> Result<(), DiskError> {
        let Some(segment) = self.wal.wants_segment() else { return Ok(()) };
        self.generation += 1_000_003;
        let prepared =
            PreparedSegment { segment, generation: self.generation, bytes: self.wal.segment_bytes() };
        let identity = self.epoch.identity;
        let steps = match self.retired.pop() {
            Some(old) => prepared.recycle(identity, &old),
            None => prepared.create(identity),
        };
        self.disk.perform(&steps)?;
        self.wal.add_segment(prepared);
        Ok(())
    }

    /// Writes a snapshot of what was answered, verifies it, and purges. Abandons it when the disk is full.
    pub(crate) fn snapshot(&mut self) -> Result<bool, DiskError> {
        let zxid = Zxid(self.acked);
        let publication = Publication::new(zxid);
        match self.write_snapshot(&publication) {
            Err(DiskError::NoSpace) => {
                self.disk.perform(&publication.abandon())?;
                return Ok(false);
            }
            other => other?,
        }
        let view = self.disk.view();
        let verified = recovery::verify_snapshot(&view, CLUSTER, zxid, &recovery::run_in_turn).is_ok();
        self.snapshots.retain(|file| file.zxid != zxid);
        self.snapshots.push(SnapshotFile { zxid, verified });
        let purge = snapshot::purge(&self.snapshots, 3);
        for old in &purge.snapshots {
            self.disk
                .perform(&[FileAction::Unlink { name: names::snapshot(*old) }, FileAction::SyncDirectory])?;
        }
        self.snapshots.retain(|file| !purge.snapshots.contains(&file.zxid));
        let retired = self.wal.retire_before(purge.log_up_to.next());
        self.retired.extend(retired.into_iter().map(names::segment));
        if self.retired.len() > 1 {
            let name = self.retired.remove(0);
            self.disk.perform(&[FileAction::Unlink { name }, FileAction::SyncDirectory])?;
        }
        Ok(true)
    }

    fn write_snapshot(&self, publication: &Publication) -> Result<(), DiskError> {
        let digest = self.state.len() as u64;
        let mut encoder = encoder_at(Zxid(self.acked), digest, self.epoch);
        encoder.acl(1, &[Acl::open()]);
        encoder.session(SessionId(7), 4000);
        encoder.node(&node(b"/", None, 0));
        self.disk.perform(&[publication.create()])?;
        for (zxid, payload) in &self.state {
            encoder.node(&node(format!("/n{zxid}").as_bytes(), Some(payload), *zxid));
            while let Some(chunk) = encoder.take_chunk() {
                self.disk.perform(&[publication.write(chunk)])?;
            }
        }
        for chunk in encoder.finish() {
            self.disk.perform(&[publication.write(chunk)])?;
        }
        self.disk.perform(&publication.publish())
    }
}

pub(crate) fn encoder_at(zxid: Zxid, digest: u64, epoch: EpochRecord) -> SnapshotEncoder {
    SnapshotEncoder::new(SnapshotMeta {
        identity: epoch.identity,
        zxid,
        digest,
        digest_version: 2,
        taken: WallMillis(1_700_000_000_000),
        received: None,
    })
}

pub(crate) fn node<'a>(path: &'a [u8], data: Option<&'a [u8]>, zxid: i64) -> NodeView<'a> {
    NodeView {
        path,
        data,
        acl: 1,
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: 5,
        mtime: 6,
        version: 0,
        cversion: 0,
        aversion: 0,
        owner: 0,
    }
}
