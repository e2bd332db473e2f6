//! One simulated server: production's recovery on the machine's disk, then production's sequencer on its world.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringkeeper::base::{ServerId, Zxid};
use ringkeeper::pipeline::{self, acl};
use ringkeeper::runtime::disk::SnapshotPolicy;
use ringkeeper::runtime::messages::{Outcome, Submission};
use ringkeeper::runtime::metrics::DiskMetrics;
use ringkeeper::runtime::peers::{self, Address};
use ringkeeper::runtime::pressure::Pressure;
use ringkeeper::runtime::ring::{self, Consumer, Parked, Producer};
use ringkeeper::runtime::sequencer::{Clocks, Doorbell, MemberStart, Sequencer, ShardLink, Shared, Start};
use ringkeeper::runtime::snapshots::snapshots_in;
use ringkeeper::runtime::sys::{Bell, Durability};
use ringkeeper::server::members::MembershipParts;
use ringkeeper::server::rebuild::{Building, Rebuilt, rebuild};
use ringkeeper::sessions::{SessionIds, SessionImage};
use ringkeeper::storage::epoch::EpochRecord;
use ringkeeper::storage::recovery::{self, Empty, Mode};
use ringkeeper::storage::snapshot::{SnapshotFile, SnapshotLimits};
use ringkeeper::storage::wal::WalLimits;
use ringkeeper::tree::TreeReader;
use ringkeeper::watches::{InterestTable, PathHasher};
use ringkeeper::zab::membership::Quorum;
use ringkeeper::zab::settings::Settings;

use crate::disk::Disk;
use crate::folder::{SimDisk, SimImages, cluster};
use crate::network::{Network, ip};
use crate::world::{Io, Keeper, SharedMachine, Simulated};

/// Where a leader is found.
pub(crate) const QUORUM_PORT: u16 = 2888;

/// What is the same on all servers of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) voters: Vec<ServerId>,
    pub(crate) observers: Vec<ServerId>,
    pub(crate) quorum: Quorum,
    pub(crate) tick_ms: u64,
    pub(crate) wal: WalLimits,
    /// Committed txns that a leader has in memory for learners; those further behind are read from its log.
    pub(crate) history_txns: usize,
    /// Zxids of an epoch: small where roll-over is tried.
    pub(crate) counter_max: u32,
    /// Txns between two snapshots.
    pub(crate) snap_count: u32,
}

impl Plan {
    pub(crate) fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.voters.iter().chain(&self.observers).copied()
    }

    pub(crate) fn membership(&self) -> MembershipParts {
        MembershipParts {
            voters: self.voters.clone(),
            observers: self.observers.clone(),
            quorum: self.quorum.clone(),
            document: Box::from(&b"version=0"[..]),
            version: 0,
        }
    }

    fn zab(&self, me: ServerId) -> Settings {
        Settings {
            me,
            tick_ms: self.tick_ms,
            init_limit: 10,
            sync_limit: 5,
            connect_limit: 0,
            notification_min_ms: 20,
            notification_max_ms: 500,
            finalize_wait_ms: 20,
            history_txns_max: self.history_txns,
            history_bytes_max: 1 << 20,
            outstanding_max: 64,
            observer_masters: false,
            observer_election_delay_ms: 0,
            observer_reconnect_delay_ms: 0,
            seed: 1,
            counter_max: self.counter_max,
            snaps_max: 10,
            diffs_max: 100,
        }
    }

    fn peers(&self, me: ServerId, seed: u64) -> peers::Settings {
        let address = |id: ServerId, port| vec![Address { host: ip(id.0).to_string().into(), port }];
        let servers = self.servers().map(|id| peers::Server {
            id,
            quorum: address(id, QUORUM_PORT),
            election: address(id, 3888),
        });
        peers::Settings {
            me,
            servers: servers.collect(),
            listen_on_all: false,
            connect_timeout_ms: 5 * self.tick_ms,
            tick_ms: self.tick_ms,
            packet_bytes_max: 1 << 20,
            bind_patience: std::time::Duration::ZERO,
            observers: None,
            seed,
        }
    }

    fn recovery(&self, me: ServerId, empty: Empty, seed: u64) -> recovery::Settings<'static> {
        recovery::Settings {
            server: me,
            mode: Mode::Member { empty },
            new_cluster: cluster(me),
            new_generation: seed,
            limits: self.wal,
            distrusted: &[],
            runner: &recovery::run_in_turn,
        }
    }

    /// Where the history ends that a server would find on this disk, and what it would say that it has lost.
    pub(crate) fn recovers(&self, me: ServerId, disk: &Disk) -> (Zxid, Option<String>) {
        let settings = self.recovery(me, Empty::Unsaid, 0);
        let recovered = recovery::recover(&disk.view(), &disk.view(), &settings, &mut |_| {});
        let report = recovered.unwrap_or_else(|error| panic!("{me:?} would not start: {error}")).report;
        (report.last, report.lost)
    }

    fn pipeline(&self) -> pipeline::Settings {
        pipeline::Settings {
            extended_types: true,
            reconfig_enabled: false,
            close_session_txn: true,
            enforce_quota: true,
            payload_bytes_max: self.wal.payload_bytes_max(),
            acl_lists_max: 1000,
            strangers: pipeline::Strangers::Expired,
            // Every txn carries the digest of the tree after it, and a server whose tree differs stops.
            digest: true,
            acl: acl::Policy::default(),
            reaper: pipeline::ReaperSettings {
                check_interval_ms: 60_000,
                max_per_minute: 10_000,
                max_never_used_ms: 0,
                extended_types: true,
            },
        }
    }
}

/// A txn as a disk holds it.
pub(crate) type Txn = (Zxid, Box<[u8]>);

/// A process that runs.
pub(crate) struct Server {
    pub(crate) sequencer: Sequencer<Simulated>,
    pub(crate) submissions: Producer<Submission>,
    pub(crate) outcomes: Consumer<Outcome>,
    pub(crate) reader: TreeReader,
    shared: Arc<Shared>,
}

/// Why a server does not start.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum NoStart {
    /// The disk is full. Starting again is safe.
    NoRoom,
    /// What is on it cannot be used, and was left as it was: an operator has to see to it.
    Refused(String),
}

/// What a start found on the disk.
pub(crate) struct Found {
    /// Where the log begins to count: what is before is in a snapshot.
    pub(crate) base: Zxid,
    /// The history from there, of which what is up to `decided` is known to be decided.
    pub(crate) history: Vec<Txn>,
    pub(crate) decided: Zxid,
    /// Where the history ends.
    pub(crate) last: Zxid,
    /// Of all that it applied: see [`fingerprint`].
    pub(crate) state: u64,
    /// Why it has no vote, if it has none.
    pub(crate) lost: Option<String>,
    /// The epochs on disk.
    pub(crate) record: EpochRecord,
}

/// Everything that clients can see of a state, and its sessions; the digest that txns carry has neither sessions nor access
/// lists. Without `/zookeeper`, where each server has things of its own.
fn fingerprint(tree: &TreeReader, sessions: &SessionImage) -> u64 {
    let view = tree.pin();
    let mut hasher = DefaultHasher::new();
    let mut paths = vec![b"/".to_vec()];
    while let Some(path) = paths.pop() {
        let znode = view.find(&path).expect("the name is in its parent's list");
        (&path, znode.data()).hash(&mut hasher);
        format!("{:?} {:?}", znode.stored_stat(), znode.acl()).hash(&mut hasher);
        let mut below: Vec<Vec<u8>> = znode.children().map(<[u8]>::to_vec).collect();
        below.sort();
        let root: &[u8] = if path == b"/" { b"" } else { &path };
        paths.extend(
            below.into_iter().map(|name| [root, b"/", &name].concat()).filter(|path| path != b"/zookeeper"),
        );
    }
    let mut sessions: Vec<_> =
        sessions.sessions().map(|(session, timeout_ms)| (session.0, timeout_ms)).collect();
    sessions.sort_unstable();
    sessions.hash(&mut hasher);
    hasher.finish()
}

impl Server {
    /// As SIGTERM does, once the shards have nothing left to ask.
    pub(crate) fn stop(&self) {
        self.shared.shards_done.store(1, Ordering::Release);
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Starts on what the disk holds, or says why not.
    pub(crate) fn start(
        plan: &Plan,
        me: ServerId,
        machine: &SharedMachine,
        network: &Rc<RefCell<Network>>,
        empty: Empty,
        seed: u64,
    ) -> Result<(Server, Found), NoStart> {
        let (disk, time) = (machine.borrow().disk.clone(), machine.borrow().time.clone());
        let settings = plan.recovery(me, empty, seed);
        let recover = || {
            let recovered = recovery::recover(&disk.view(), &disk.view(), &settings, &mut |_| {});
            recovered.map_err(|error| NoStart::Refused(error.to_string()))
        };
        // What the oracle sees is read on its own.
        let seen = recover()?;
        let base = seen.snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.index.meta.zxid);
        let mut history = Vec::new();
        let mut see = |zxid: Zxid, payload: &[u8]| history.push((zxid, Box::from(payload)));
        seen.replay.run(&disk.view(), &mut see, &mut |_| {}).expect("what was verified reads again");
        let recovered = recover()?;
        for steps in [&recovered.steps.record, &recovered.steps.log, &recovered.steps.data] {
            disk.perform(steps).map_err(|_| NoStart::NoRoom)?;
        }
        let (lost, last) = (recovered.report.lost.clone(), recovered.report.last);
        let now = time.now();
        let record = recovered.epoch;
        let view = disk.view();
        let building = Building {
            log: &view,
            pipeline: plan.pipeline(),
            tick_ms: plan.tick_ms,
            history_txns: Some(plan.history_txns),
            now,
            seed,
        };
        let rebuilt = rebuild(recovered, building, &mut |_, _, _| {});
        let rebuilt = rebuilt.unwrap_or_else(|error| panic!("{me:?} does not start: {error}"));
        let Rebuilt { pipeline, reader, wal, durable, snapshot, since, built_in: _ } =
            rebuilt.unwrap_or_else(|zxid| panic!("{me:?}: the snapshot {zxid} has not its digest"));
        let decided = durable.confirmed;
        let state = fingerprint(&reader, pipeline.sessions_ref().image());
        let snapshots = snapshots_in(&disk.view()).expect("the disk reads");
        let snapshots =
            snapshots.into_iter().map(|zxid| SnapshotFile { zxid, verified: Some(zxid) == snapshot });
        let (zab, membership) = (plan.zab(me), plan.membership());
        let images = SimImages::new(machine.clone(), record.identity, plan.pipeline(), plan.tick_ms, seed);
        let member = MemberStart {
            peers: plan.peers(me, seed),
            keeper: Keeper { machine: machine.clone(), record },
            images,
            local_sessions: None,
            read_only: false,
            zab: Box::new(move || (zab, membership.into_membership(), durable.into_durable())),
        };
        let (submissions, submitted) = ring::queue();
        let (outcomes_in, outcomes) = ring::queue();
        let shard = ShardLink {
            submissions: submitted,
            outcomes: outcomes_in,
            parked: Arc::new(Parked::new()),
            doorbell: Doorbell::default(),
        };
        let log_file = wal.active().map(|active| active.segment);
        let limits = SnapshotLimits { txns: plan.snap_count, log_bytes: None };
        let shared = Arc::new(Shared {
            parked: Parked::new(),
            bell: Bell::new().expect("an eventfd"),
            stopping: AtomicBool::new(false),
            shards_done: AtomicUsize::new(0),
            pulse: Arc::default(),
            pressure: Pressure::default(),
        });
        let start = Start::<Simulated> {
            pipeline,
            wal,
            log_file,
            shards: vec![shard],
            interest: Arc::new(InterestTable::new(64, PathHasher::new(7))),
            disk: SimDisk {
                machine: machine.clone(),
                identity: record.identity,
                segment_bytes: plan.wal.segment_bytes,
                generation: seed << 20,
                snapshots: snapshots.collect(),
                retain: 3,
                free: Vec::new(),
            },
            shared: shared.clone(),
            session_ids: SessionIds::new(me, time.wall()).starting_at(seed as u16),
            durability: Durability::Dsync,
            flush_apart: false,
            clock: time.clone(),
            snapshots: SnapshotPolicy::new(limits, seed, since),
            flush_warning_ms: u64::MAX,
            flush_delay_ms: 0,
            loaded: DiskMetrics::default(),
            member: Some(member),
        };
        let io = Io::new(me.0, machine.clone(), network.clone());
        let sequencer = Sequencer::with_io(start, io).expect("a simulated port is free");
        machine.borrow_mut().wake_at = now.0;
        let server = Server { sequencer, submissions, outcomes, reader, shared };
        Ok((server, Found { lost, base, history, decided, last, state, record }))
    }
}
