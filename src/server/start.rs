#![forbid(unsafe_code)]
//! From a checked configuration to a running server, and back down.
//!
//! Order: probe what the host allows; open and lock the folders; recover; start the disk shard, the sequencer, the
//! shards; bind the port last, so that it is there only when it can be answered (issue 3, habit "a port that is bound
//! only when the server can answer").

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::limits::{Bounds, Rates};
use super::members::{self, MemberStart, Surroundings};
use super::rebuild::{Building, rebuild};
use super::registry::{AcceptLimits, Refusals, Registry};
use super::settings::Settings;
use super::shard::{Shard, ShardParts};
use super::throttle::{ConnectGate, ConnectThrottle};
use super::words::{BuildDateStyle, ConfMember, ConfView, EnvView, Version, Whitelist};
use crate::base::{ServerId, ShardId, Zxid, limits};
use crate::config::{Config, Ensemble, Pin, Storage};
use crate::pipeline::acl::{DigestPolicy, Policy};
use crate::pipeline::digest::DigestAlgorithm;
use crate::pipeline::{Pipeline, ReaperSettings, Strangers};
use crate::runtime::disk::{DiskStart, LogFile, SnapshotPolicy};
use crate::runtime::fatal::{Fatal, fatal};
use crate::runtime::files::{self, DataDirs, OpenError, RecoverSettings, SelfTest, WriteMethod};
use crate::runtime::keeper::DurableParts;
use crate::runtime::messages::Serving;
use crate::runtime::metrics::DiskMetrics;
use crate::runtime::placement::{self, Pinning, Placement};
use crate::runtime::pressure::{Marks, Pressure};
use crate::runtime::ring::{self, Parked};
use crate::runtime::sequencer::{Doorbell, Sequencer, ShardLink, Shared, Start};
use crate::runtime::shard::{AcceptStart, ShardStart};
use crate::runtime::snapshots::snapshots_in;
use crate::runtime::sys::{self, Bell, Durability, ProbeError};
use crate::runtime::watchdog::{self, Pulse};
use crate::runtime::{Clock, disk, host, shard};
use crate::sessions::SessionIds;
use crate::storage::recovery::{Empty, Mode, Progress, Recovered, Stage};
use crate::storage::snapshot::{SinceSnapshot, SnapshotFile, SnapshotLimits};
use crate::storage::wal::{WalLimits, WalWriter};
use crate::storage::{ClusterId, Identity};
use crate::tree::TreeReader;
use crate::watches::{InterestCounts, InterestTable, PathHasher, WatchTable};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The host does not let us have io_uring, or too little memory to lock.
    #[error(transparent)]
    Host(#[from] ProbeError),
    /// The folders cannot be used.
    #[error(transparent)]
    Folders(#[from] OpenError),
    /// What is in them cannot be used.
    #[error("{0}")]
    Recovery(String),
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread or its ring cannot be had.
    #[error("cannot start a thread of the server: {0}")]
    Thread(String),
    /// A system call that never fails did.
    #[error("{what}: {source}")]
    System {
        /// Doing what.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Told of steps that take long: label, done, total. Called again and again.
pub type OnProgress<'a> = dyn FnMut(&'static str, u64, u64) + 'a;

/// What a start says about itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where clients connect; `None` without a client port.
    pub address: Option<SocketAddr>,
    /// Snapshot folder, log folder.
    pub folders: (PathBuf, PathBuf),
    /// Zxid of the snapshot recovery began with.
    pub snapshot: Option<Zxid>,
    /// Txns replayed behind it.
    pub replayed: u64,
    /// The last zxid.
    pub last: Zxid,
    /// Znodes now.
    pub znodes: u64,
    /// What recovery took.
    pub took: Duration,
    /// What it had to mend or leave aside.
    pub repaired: Option<String>,
    /// Where threads run.
    pub placement: Placement,
    /// How the log is written, and what one flush takes.
    pub method: &'static str,
    /// On which file system.
    pub file_system: String,
    /// Measured.
    pub flush: Duration,
}

/// A server that runs.
pub struct Running {
    /// For the banner.
    pub facts: Facts,
    shared: Arc<Shared>,
    sequencer: std::thread::JoinHandle<()>,
}

impl Running {
    /// Takes no new requests, finishes what is under way, makes it durable. Gives whether all was finished within
    /// `limit`; what is left then was not acknowledged.
    pub fn stop(self, limit: Duration) -> bool {
        let began = Instant::now();
        // Release: pairs with the loads of shards and sequencer.
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.bell.ring();
        while !self.sequencer.is_finished() {
            if began.elapsed() >= limit {
                return false;
            }
            // The thread unparks us in its last act; the time-out is for the limit.
            std::thread::park_timeout(Duration::from_millis(10));
        }
        self.sequencer.join().is_ok()
    }
}

/// Starts a server that listens on the first of `addresses` it can have (on none, if there are none), and returns once
/// it can be reached.
///
/// # Errors
/// Nothing was changed on disk unless recovery had succeeded.
pub fn start(
    config: &Config,
    addresses: &[SocketAddr],
    version: Version,
    on_progress: &mut OnProgress<'_>,
) -> Result<Running, StartError> {
    let placement = Placement::decide(
        config.own.threads.map(usize::from),
        match config.own.pin {
            Pin::Auto => Pinning::Auto,
            Pin::Yes => Pinning::Always,
            Pin::No => Pinning::Never,
        },
    );
    sys::probe(placement.shards.len() as u64 + 1)?;
    host::raise_descriptor_limit();
    let (clients, wanted) = (host::clients_max(), u64::from(config.net.connections_max.unwrap_or(0)));
    if clients < wanted.max(limits::DESCRIPTORS_KEPT) {
        tracing::warn!("descriptors for {clients} clients only; raise the limit (LimitNOFILE= of the unit)");
    }
    let began = Instant::now();
    let dirs = Arc::new(DataDirs::open(&config.folders.data, &config.folders.log)?);
    let clock = Clock::start();
    let random = |what| host::random().map_err(|source| StartError::System { what, source });
    let self_test = files::self_test(dirs.log())
        .map_err(|source| StartError::System { what: "testing the log folder", source })?;
    let (state, took) = recover(config, &dirs, &clock, random("drawing random numbers")?, on_progress)?;
    if let Some(MemberStart { members, durable, .. }) = &state.member {
        let DurableParts { accepted, current, last_logged, committed, admitted, .. } = durable;
        let (me, servers) = (members.zab.me.0, members.servers.len());
        tracing::info!(
            me, servers, accepted = accepted.0, current = current.0, %last_logged, %committed, admitted,
            "member of an ensemble"
        );
    }

    let mut loaded = DiskMetrics::default();
    let us = |took: Duration| took.as_micros() as u64;
    loaded.loaded(us(state.built_in), us(took.saturating_sub(state.built_in)), state.since.txns);
    let shared = Arc::new(Shared {
        parked: Parked::new(),
        bell: Bell::new().map_err(|source| StartError::System { what: "making an eventfd", source })?,
        stopping: AtomicBool::new(false),
        shards_done: AtomicUsize::new(0),
        pulse: Arc::default(),
        pressure: Pressure::default(),
    });
    let mut facts = Facts {
        address: None,
        folders: (dirs.data().path().to_owned(), dirs.log().path().to_owned()),
        snapshot: state.snapshot,
        replayed: state.since.txns,
        last: state.pipeline.applied(),
        znodes: state.reader.stats().znode_count,
        took: began.elapsed(),
        repaired: state.repaired.clone(),
        placement: placement.clone(),
        method: method_name(self_test.method),
        file_system: host::file_system(dirs.log().path()),
        flush: self_test.latency,
    };
    let disk = disk::spawn(
        DiskStart {
            dirs: dirs.clone(),
            identity: state.identity,
            method: self_test.method,
            segment_bytes: state.wal.segment_bytes(),
            retain: config.folders.snapshots_retained as usize,
            marks: Marks {
                memory_bytes: config.own.memory_mb_max.map(|mb| u64::from(mb) << 20),
                disk_free_bytes: config.own.disk_free_mb_min.map(|mb| u64::from(mb) << 20),
            },
            purge_interval: purge_interval(config),
            seed: random("drawing random numbers")?[0],
            snapshots: snapshots_on_disk(&dirs, state.snapshot)?,
            progress: Box::new(|done, total| tracing::info!(done, total, "writing a snapshot")),
        },
        shared.clone(),
    );
    let mut disk = disk.map_err(|error| StartError::Thread(error.to_string()))?;
    // What recovery prepared is opened here; later segments come from the disk shard with their descriptor.
    if let Some(segment) = state.wal.prepared().map(|prepared| prepared.segment) {
        let fd = dirs.log().open_segment(segment, self_test.method);
        disk.put_file(segment, fd.map_err(|source| StartError::System { what: "opening the log", source })?);
    }
    let listener = bind(config, addresses)?;
    facts.address = listener.as_ref().map(|(_, address)| *address);
    let settings = Arc::new(settings(config, version, &facts, &placement));
    let sequencer = launch(
        config, state, loaded, settings, &shared, disk, &dirs, &self_test, &placement, clock, listener,
    )?;
    Ok(Running { facts, shared, sequencer })
}

fn purge_interval(config: &Config) -> Option<Duration> {
    Some(Duration::from_millis(config.folders.purge_interval_ms)).filter(|interval| !interval.is_zero())
}

/// What purge decides about: every snapshot file, of which recovery has read one whole.
fn snapshots_on_disk(dirs: &DataDirs, loaded: Option<Zxid>) -> Result<Vec<SnapshotFile>, StartError> {
    let zxids = snapshots_in(dirs.data())
        .map_err(|source| StartError::System { what: "listing snapshots", source })?;
    let files = zxids.into_iter().map(|zxid| SnapshotFile { zxid, verified: Some(zxid) == loaded });
    Ok(files.collect())
}

/// What the server goes on with.
struct State {
    pipeline: Pipeline,
    reader: TreeReader,
    wal: WalWriter,
    identity: Identity,
    snapshot: Option<Zxid>,
    since: SinceSnapshot,
    repaired: Option<String>,
    /// How long it took to build the tree from the snapshot.
    built_in: Duration,
    /// Of a member of an ensemble; the pipeline is at what it knows to be committed.
    member: Option<MemberStart>,
}

/// The id of a server without others.
const ALONE: ServerId = ServerId(1);

/// The state that is on disk, and how long it took to load.
fn recover(
    config: &Config,
    dirs: &DataDirs,
    clock: &Clock,
    random: [u64; 4],
    on_progress: &mut OnProgress<'_>,
) -> Result<(State, Duration), StartError> {
    let mut distrusted = Vec::new();
    loop {
        let settings = recover_settings(config, random, &distrusted);
        let began = Instant::now();
        let recovered = files::recover(dirs, &settings, &mut |progress| say_progress(on_progress, progress))
            .map_err(|error| StartError::Recovery(error.to_string()))?;
        if settings.mode != Mode::Alone {
            let initialized = files::initialized(&config.folders.log);
            initialized
                .map_err(|source| StartError::System { what: "removing the file initialize", source })?;
        }
        match build(config, dirs, clock, random[3], recovered, on_progress)? {
            Ok(state) => return Ok((state, began.elapsed())),
            Err(zxid) => {
                tracing::error!(%zxid, "the snapshot's znodes do not have its digest; trying an older one");
                distrusted.push(zxid);
            }
        }
    }
}

/// What recovery is told of a configuration.
pub(super) fn recover_settings<'a>(
    config: &Config,
    random: [u64; 4],
    distrusted: &'a [Zxid],
) -> RecoverSettings<'a> {
    let mut cluster = [0u8; 16];
    cluster[..8].copy_from_slice(&random[0].to_le_bytes());
    cluster[8..].copy_from_slice(&random[1].to_le_bytes());
    let (server, mode) = match &config.ensemble {
        None => (ALONE, Mode::Alone),
        Some(ensemble) => {
            let empty = match files::may_initialize(&config.folders.log) {
                true => Empty::New,
                false if config.folders.accept_empty => Empty::Unsaid,
                false => Empty::Lost,
            };
            (ensemble.me, Mode::Member { empty })
        }
    };
    RecoverSettings {
        server,
        mode,
        new_cluster: ClusterId(cluster),
        new_generation: random[2],
        limits: wal_limits(config),
        distrusted,
    }
}

pub(super) fn say_progress(on_progress: &mut OnProgress<'_>, progress: Progress) {
    let label = match progress.stage {
        Stage::Snapshot => "loading the snapshot",
        Stage::Log => "reading the log",
        Stage::Replay => "replaying the log",
    };
    on_progress(label, progress.done, progress.total);
}

/// What the state is built by.
pub(super) fn building<'a>(
    config: &Config,
    dirs: &'a DataDirs,
    clock: &Clock,
    seed: u64,
    history_txns: Option<usize>,
) -> Building<'a> {
    Building {
        log: dirs.log(),
        pipeline: pipeline_settings(config),
        tick_ms: u64::from(config.tick_ms),
        history_txns,
        now: clock.now(),
        seed,
    }
}

/// Longest payload of a record that requests of the size allowed can ask for. A record takes more than the request it
/// came of: the slack that is set can only add to ours.
fn record_bytes_max(config: &Config) -> usize {
    let frame_bytes_max = config.requests.frame_bytes_max as usize;
    frame_bytes_max + frame_bytes_max.max(config.requests.record_extra_bytes as usize) + 4096
}

/// Segments as large as asked for, but not larger than the log's files may be; as large as the largest record in any
/// case.
fn wal_limits(config: &Config) -> WalLimits {
    let Storage { segment_bytes, segment_bytes_limit, batch_requests_max, .. } = config.storage;
    let segment_bytes = segment_bytes_limit.map_or(segment_bytes, |limit| limit.min(segment_bytes));
    WalLimits {
        batch_txns_max: limits::BATCH_TXNS_MAX.min(batch_requests_max as usize),
        ..WalLimits::for_segments_of(segment_bytes, record_bytes_max(config))
    }
}

/// Builds the tree and replays the log into it. The inner error is a snapshot whose digest is not its content's.
fn build(
    config: &Config,
    dirs: &DataDirs,
    clock: &Clock,
    seed: u64,
    recovered: Recovered,
    on_progress: &mut OnProgress<'_>,
) -> Result<Result<State, Zxid>, StartError> {
    let members = members::members(config);
    let history_txns = members.as_ref().map(|_| config.storage.commit_log_count as usize);
    let building = building(config, dirs, clock, seed, history_txns);
    let record = recovered.epoch;
    let report = &recovered.report;
    if let Some(why) = &report.lost {
        tracing::warn!(%why, "this server has no vote until its ensemble has brought it up to date");
    }
    let mut repaired = Vec::new();
    if let Some(torn) = &report.torn {
        repaired.push(format!("{torn:?}"));
    }
    repaired.extend(report.skipped.iter().map(|(name, fault)| format!("{name} was not loaded: {fault}")));
    repaired.extend(report.unexplained.iter().map(|name| format!("{name} is not ours and was left alone")));
    let rebuilt = match rebuild(recovered, building, on_progress).map_err(StartError::Recovery)? {
        Ok(rebuilt) => rebuilt,
        Err(zxid) => return Ok(Err(zxid)),
    };
    Ok(Ok(State {
        member: members.map(|members| MemberStart { members, durable: rebuilt.durable, record }),
        pipeline: rebuilt.pipeline,
        reader: rebuilt.reader,
        wal: rebuilt.wal,
        identity: record.identity,
        snapshot: rebuilt.snapshot,
        since: rebuilt.since,
        built_in: rebuilt.built_in,
        repaired: (!repaired.is_empty()).then(|| repaired.join("; ")),
    }))
}

#[allow(clippy::too_many_arguments)] // Each is made once, here and nowhere else; a struct would only rename them.
fn launch(
    config: &Config,
    state: State,
    loaded: DiskMetrics,
    settings: Arc<Settings>,
    shared: &Arc<Shared>,
    disk: disk::DiskLink,
    dirs: &Arc<DataDirs>,
    self_test: &SelfTest,
    placement: &Placement,
    clock: Clock,
    listener: Option<(std::os::fd::OwnedFd, SocketAddr)>,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    let count = placement.shards.len();
    let loads: Arc<Vec<AtomicUsize>> = Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect());
    let random =
        host::random().map_err(|source| StartError::System { what: "drawing random numbers", source })?;
    let local_sessions = config.ensemble.as_ref().is_some_and(|ensemble| ensemble.local_sessions);
    let throttle = ConnectThrottle::new(&config.connect_throttle, local_sessions, clock.now());
    let connects = throttle.map(|throttle| ConnectGate::new(throttle, random[1]));
    let registry = Arc::new(Registry::new(connects, Rates::new(&config.own)));
    let interest = Arc::new(InterestTable::new(limits::INTEREST_SLOTS, PathHasher::new(random[0])));
    let mut links = Vec::new();
    let mut handover_ends = Vec::new();
    let mut shard_starts = Vec::new();
    let pulses: Vec<Arc<Pulse>> = (0..count).map(|_| Arc::default()).collect();
    for (index, pulse) in pulses.iter().enumerate() {
        let (submissions_in, submissions) = ring::queue();
        let (outcomes_in, outcomes) = ring::queue();
        let (handovers_in, handovers) = ring::queue();
        let parked = Arc::new(Parked::new());
        let doorbell = Doorbell::default();
        links.push(ShardLink {
            submissions,
            outcomes: outcomes_in,
            parked: parked.clone(),
            doorbell: doorbell.clone(),
        });
        handover_ends.push((handovers_in, parked.clone(), doorbell.clone()));
        let id = ShardId(index as u8);
        let parts = ShardParts {
            id,
            settings: settings.clone(),
            tree: state.reader.clone(),
            watches: WatchTable::new(InterestCounts::new(interest.clone(), id)),
            outcomes,
            submissions: submissions_in,
            shared: shared.clone(),
            registry: registry.clone(),
            loads: loads.clone(),
            clock: clock.clone(),
            serving: if config.ensemble.is_some() { Serving::No } else { Serving::Alone },
        };
        let start = ShardStart {
            index,
            core: placement.shards[index],
            handovers,
            parked,
            doorbell,
            shared: shared.clone(),
            clock: clock.clone(),
            pulse: pulse.clone(),
        };
        shard_starts.push((start, parts));
    }
    let sequencer = spawn_sequencer(
        config, state, loaded, links, interest, disk, dirs, self_test, placement, &clock, shared,
    )?;
    let mut accept = listener.map(|(listener, _)| {
        let limits = AcceptLimits {
            per_address: config.net.connections_per_address_max,
            in_all: config.net.connections_max,
            sessionless_per_address: config.own.sessionless_per_address_max,
            descriptors: None,
        };
        let registry = registry.clone();
        let (mut refusals, now) = (Refusals::default(), clock.clone());
        let admit = move |peer| {
            // Asked anew each time: it can be raised while we run.
            let limits = AcceptLimits { descriptors: Some(host::clients_max()), ..limits };
            match registry.admit(peer, limits) {
                Ok(()) => true,
                Err(full) => {
                    if let Some(refused) = refusals.one_more(full, now.now()) {
                        tracing::warn!(%peer, refused, "connection refused: {}", full.why());
                    }
                    false
                }
            }
        };
        AcceptStart {
            listener,
            shards: handover_ends,
            loads: loads.clone(),
            admit: Box::new(admit),
            keep_alive: config.net.tcp_keep_alive,
        }
    });
    for (start, parts) in shard_starts.into_iter().rev() {
        // The first shard accepts, and starts last: when it takes a connection all others are there.
        let accept = if start.index == 0 { accept.take() } else { None };
        shard::spawn(start, accept, move || Shard::new(parts)).map_err(StartError::Thread)?;
    }
    let mut watched = vec![("the sequencer".to_owned(), shared.pulse.clone())];
    watched.extend(pulses.into_iter().enumerate().map(|(index, pulse)| (format!("shard {index}"), pulse)));
    let dog = watchdog::spawn(watched, shared.clone(), |core| {
        fatal(
            Fatal::Stalled,
            &format!(
                "{core} made no progress for 5 s while the process ran; everything acknowledged is on disk. Start it again, and report it with the log"
            ),
        );
    });
    dog.map_err(|error| StartError::Thread(error.to_string()))?;
    Ok(sequencer)
}

#[allow(clippy::too_many_arguments)] // As above.
fn spawn_sequencer(
    config: &Config,
    state: State,
    loaded: DiskMetrics,
    links: Vec<ShardLink>,
    interest: Arc<InterestTable>,
    disk: disk::DiskLink,
    dirs: &Arc<DataDirs>,
    self_test: &SelfTest,
    placement: &Placement,
    clock: &Clock,
    shared: &Arc<Shared>,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    let random =
        host::random().map_err(|source| StartError::System { what: "drawing random numbers", source })?;
    let log_file = match state.wal.active() {
        Some(active) => {
            let fd = dirs.log().open_segment(active.segment, self_test.method);
            let fd = fd.map_err(|source| StartError::System { what: "opening the log", source })?;
            Some(LogFile { segment: active.segment, fd })
        }
        None => None,
    };
    let snapshot_limits =
        SnapshotLimits { txns: config.storage.snap_count, log_bytes: config.storage.snap_log_bytes };
    let me = state.member.as_ref().map_or(ALONE, |member| member.members.zab.me);
    let member = match state.member {
        None => None,
        Some(member) => {
            let pipeline = pipeline_settings(config);
            let seeds = [random[2], random[3], random[0]];
            let launched = member.launch(config, Surroundings { dirs, shared, clock, pipeline, seeds });
            Some(launched.map_err(|error| StartError::Thread(error.to_string()))?)
        }
    };
    let start = Start {
        pipeline: state.pipeline,
        wal: state.wal,
        log_file,
        shards: links,
        interest,
        disk,
        shared: shared.clone(),
        session_ids: SessionIds::new(me, clock.wall()).starting_at(random[2] as u16),
        durability: if config.storage.force_sync && self_test.method != WriteMethod::BufferedFdatasync {
            Durability::Dsync
        } else {
            Durability::None
        },
        flush_apart: config.storage.force_sync && self_test.method == WriteMethod::BufferedFdatasync,
        clock: clock.clone(),
        snapshots: SnapshotPolicy::new(snapshot_limits, random[1], state.since),
        flush_warning_ms: u64::from(config.storage.flush_warning_ms),
        flush_delay_ms: u64::from(config.storage.flush_delay_ms),
        loaded,
        member,
    };
    let core = placement.sequencer;
    let waiter = std::thread::current();
    let (started, wait) = std::sync::mpsc::channel();
    let handle = std::thread::Builder::new().name("sequencer".into()).spawn(move || {
        placement::pin(core);
        // Part of the state is not `Send` once it runs (payloads are counted without atomics): it is put together here.
        match Sequencer::new(start) {
            Ok(sequencer) => {
                let _ = started.send(Ok(()));
                sequencer.run();
                waiter.unpark();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
    let handle = handle.map_err(|error| StartError::Thread(error.to_string()))?;
    match wait.recv() {
        Ok(Ok(())) => Ok(handle),
        Ok(Err(error)) => Err(StartError::Thread(format!("the sequencer: {error}"))),
        Err(_) => Err(StartError::Thread("the sequencer ended before it started".into())),
    }
}

/// Listens on the first address that can be had.
fn bind(
    config: &Config,
    addresses: &[SocketAddr],
) -> Result<Option<(std::os::fd::OwnedFd, SocketAddr)>, StartError> {
    let backlog = match config.net.listen_backlog {
        backlog if backlog > 0 => backlog,
        _ => 4096,
    };
    let mut refused = None;
    for &address in addresses {
        let listening = sys::once_free("client", sys::PORT_PATIENCE, || {
            sys::listen(address, backlog).map_err(|source| (address, source))
        });
        match listening {
            Ok(fd) => {
                let bound = sys::local_address(std::os::fd::AsFd::as_fd(&fd));
                let bound = bound.map_err(|source| StartError::Bind { address, source })?;
                return Ok(Some((fd, bound)));
            }
            // A host without IPv6 still has the wildcard of IPv4; a port that is taken is taken on both.
            Err((address, source)) => refused = refused.or(Some(StartError::Bind { address, source })),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn policy(config: &Config) -> Policy {
    Policy {
        skip_acl: config.auth.skip_acl,
        digest: config.auth.digest_enabled.then(|| DigestPolicy {
            algorithm: DigestAlgorithm::by_name(config.auth.digest_algorithm.java_name())
                .expect("both sides know the same names, as a test says"),
            super_digest: config.auth.super_digest.as_ref().map(|secret| secret.reveal().as_bytes().into()),
        }),
        enforced: config
            .auth
            .enforced_schemes
            .as_ref()
            .map(|schemes| schemes.iter().map(|scheme| scheme.as_bytes().into()).collect()),
    }
}

fn pipeline_settings(config: &Config) -> crate::pipeline::Settings {
    crate::pipeline::Settings {
        extended_types: config.tree.extended_types,
        reconfig_enabled: false,
        close_session_txn: config.tree.close_session_txn,
        enforce_quota: config.tree.enforce_quota,
        // Segments have a largest size, whatever is set for requests.
        payload_bytes_max: record_bytes_max(config).min(wal_limits(config).payload_bytes_max()),
        acl_lists_max: limits::ACL_LISTS_MAX,
        strangers: match &config.ensemble {
            None => Strangers::Unknown,
            Some(Ensemble { me, local_sessions: true, .. }) => Strangers::LocalElsewhere(*me),
            Some(_) => Strangers::Expired,
        },
        digest: config.tree.digest,
        acl: policy(config),
        reaper: ReaperSettings {
            check_interval_ms: u64::from(config.tree.container_check_interval_ms),
            max_per_minute: u64::from(config.tree.container_removals_per_minute),
            max_never_used_ms: config.tree.container_never_used_ms.map_or(0, |ms| ms as i64),
            extended_types: config.tree.extended_types,
        },
    }
}

fn settings(config: &Config, version: Version, facts: &Facts, placement: &Placement) -> Settings {
    let words: Vec<&str> = config.words.listed.iter().map(|word| &**word).collect();
    let listed = if config.words.all { "*".to_owned() } else { words.join(",") };
    let (user_name, user_home) = host::user();
    let (os_name, os_version, os_arch) = host::host();
    Settings {
        tick_ms: config.tick_ms,
        timeout_ms_min: config.sessions.timeout_ms_min,
        timeout_ms_max: config.sessions.timeout_ms_max,
        frame_bytes_max: config.requests.frame_bytes_max as usize,
        requests: config.requests,
        own: config.own,
        bounds: Bounds::new(&config.own),
        sessionless_timeout_ms: config.net.sessionless_timeout_ms,
        policy: policy(config),
        whitelist: Whitelist::parse(Some(&listed), config.words.read_only_mode),
        conf: ConfView {
            client_port: facts.address.map_or(-1, |address| i32::from(address.port())),
            secure_client_port: -1,
            data_dir: path_bytes(&facts.folders.0),
            data_dir_bytes: 0,
            data_log_dir: path_bytes(&facts.folders.1),
            data_log_bytes: 0,
            tick_time_ms: config.tick_ms,
            max_client_cnxns: config.net.connections_per_address_max.unwrap_or(0),
            min_session_timeout_ms: config.sessions.timeout_ms_min,
            max_session_timeout_ms: config.sessions.timeout_ms_max,
            client_port_listen_backlog: config.net.listen_backlog,
            server_id: config.ensemble.as_ref().map_or(0, |ensemble| ensemble.me.0),
            member: config.ensemble.as_ref().and_then(|ensemble| {
                let Ensemble { document, me, init_limit, sync_limit, .. } = ensemble;
                ConfMember::new(document, *me, *init_limit, *sync_limit)
            }),
        },
        env: EnvView {
            version: version.clone(),
            ringkeeper: env!("CARGO_PKG_VERSION"),
            host_name: host::host_name(),
            tmpdir: std::env::temp_dir().display().to_string(),
            os_name,
            os_arch,
            os_version,
            user_name,
            user_home,
            user_dir: std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default(),
            memory_free_mb: 0,
            memory_max_mb: 0,
            memory_total_mb: 0,
        },
        version,
        folders: facts.folders.clone(),
        shards: placement.shards.len(),
        voters: config.ensemble.as_ref().map(|ensemble| ensemble.document.voters().count()),
    }
}

fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).as_os_str().as_bytes().to_vec()
}

fn method_name(method: WriteMethod) -> &'static str {
    match method {
        WriteMethod::DirectDsync => "O_DIRECT and RWF_DSYNC",
        WriteMethod::BufferedDsync => "RWF_DSYNC through the page cache",
        WriteMethod::BufferedFdatasync => "fdatasync after each batch",
    }
}

/// The style of build dates that the configuration asks for.
pub fn date_style(config: &Config) -> BuildDateStyle {
    match config.own.build_date_style {
        crate::config::DateStyle::Us => BuildDateStyle::Us,
        _ => BuildDateStyle::Iso,
    }
}

const _: () = assert!(limits::SHARDS_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_with(keys: &[(&str, &str)]) -> WalLimits {
        wal_limits(&config_with(keys))
    }

    fn config_with(keys: &[(&str, &str)]) -> Config {
        let mut raw = crate::config::Raw::default();
        raw.set("dataDir", "/d", crate::config::Origin::Argument);
        for (key, value) in keys {
            raw.set(key, value, crate::config::Origin::Argument);
        }
        crate::config::check(&crate::config::Inputs::from(raw)).expect("accepted").config
    }

    #[test]
    fn the_log_rolls_at_the_smaller_of_both_sizes_and_never_below_its_largest_record() {
        let check =
            |keys: &[(&str, &str)], bytes| assert_eq!(limits_with(keys).segment_bytes, bytes, "{keys:?}");
        check(&[], 64 << 20);
        check(&[("preAllocSize", "4096")], 4 << 20);
        check(&[("txnLogSizeLimitInKb", "8192")], 8 << 20);
        check(&[("txnLogSizeLimitInKb", "8192"), ("preAllocSize", "4096")], 4 << 20);
        check(&[("txnLogSizeLimitInKb", "100"), ("jute.maxbuffer", "8192")], 100 << 10);
        // A record of twice the largest request, rounded up to blocks, with its headers and a seal.
        let smallest = limits_with(&[("txnLogSizeLimitInKb", "1")]);
        assert_eq!(smallest.segment_bytes, (2 << 20) + 4 * 4096);
        assert!(smallest.payload_bytes_max() >= 2 * 0xf_ffff + 4096);
    }

    #[test]
    fn the_slack_that_is_set_adds_to_what_a_record_may_take() {
        let least = |extra: &str| {
            let keys = [
                ("txnLogSizeLimitInKb", "1"),
                ("jute.maxbuffer", "8192"),
                ("jute.maxbuffer.extrasize", extra),
            ];
            limits_with(&keys).payload_bytes_max()
        };
        assert_eq!(least("1024"), least("8192"));
        assert!(least("100000") >= 8192 + 100_000);
        assert!(least("8192") < 8192 + 100_000);
    }

    #[test]
    fn m27_prep_makes_nothing_that_the_log_does_not_take() {
        for (keys, bytes) in [
            (&[][..], 2 * 0xf_ffff + 4096),
            (&[("preAllocSize", "64")], 2 * 0xf_ffff + 4096),
            (&[("jute.maxbuffer", "1")], 1 + 1024 + 4096),
            (&[("jute.maxbuffer", "8192"), ("jute.maxbuffer.extrasize", "100000")], 8192 + 100_000 + 4096),
        ] {
            assert_eq!(pipeline_settings(&config_with(keys)).payload_bytes_max, bytes, "{keys:?}");
            assert!(bytes <= limits_with(keys).payload_bytes_max(), "{keys:?}");
        }
        // More than a segment can be large.
        let keys = [("jute.maxbuffer", "2147483647")];
        let most = pipeline_settings(&config_with(&keys)).payload_bytes_max;
        assert_eq!(most, limits_with(&keys).payload_bytes_max());
        assert!(most < 1 << 30);
    }

    /// Neither side may import the other: each has its own list of names.
    #[test]
    fn the_configuration_takes_the_digest_algorithms_that_the_scheme_has() {
        use crate::config::DigestAlgorithm as Written;
        for algorithm in DigestAlgorithm::ALL {
            let written = Written::from_java_name(algorithm.name()).map(Written::java_name);
            assert_eq!(written, Some(algorithm.name()));
        }
        for written in Written::ALL {
            assert_eq!(
                DigestAlgorithm::by_name(written.java_name()).map(DigestAlgorithm::name),
                Some(written.java_name())
            );
        }
    }

    #[test]
    fn a_flush_takes_no_more_requests_than_asked_for() {
        assert_eq!(limits_with(&[]).batch_txns_max, 1000);
        assert_eq!(limits_with(&[("maxBatchSize", "1")]).batch_txns_max, 1);
        assert_eq!(limits_with(&[("maxBatchSize", "1000000")]).batch_txns_max, limits::BATCH_TXNS_MAX);
    }
}
