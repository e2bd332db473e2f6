#![forbid(unsafe_code)]
//! What code reads: every field typed, within its bounds, its default filled in. A value of this type cannot hold
//! nonsense; `check` is the only way to make one from text.
//!
//! Each field says its default, unit and bound, and what it trades. The spelling in zoo.cfg stands first. Lives on
//! every core: cloned once a thread at start, then never changed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::document::ConfigDocument;
use super::members::Member;
use crate::base::ServerId;

/// Host part of an address to listen on. Names are resolved by `cli`, once, at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// No address given: all of them, IPv6 and IPv4.
    Any,
    /// A literal address (`::1`, `127.0.0.1`, with or without brackets).
    Ip(IpAddr),
    /// A name.
    Name(Box<str>),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Any => f.write_str("0.0.0.0"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Ip(ip) => write!(f, "{ip}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// An address to listen on. Port 0 asks the kernel for a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Which of the machine's addresses.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

impl ListenAddress {
    /// Whether it means all of the machine's addresses.
    pub fn is_any(&self) -> bool {
        self.host == Host::Any
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Text that is never shown. `Debug` and `Display` print stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

/// What stands wherever a secret would have been shown.
pub const MASK: &str = "********";

impl Secret {
    /// Wraps a secret.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for whoever compares it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The whole configuration of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `tickTime`: 3000 ms; at least 1. The base unit of session limits; smaller finds the dead sooner and costs pings.
    pub tick_ms: u32,
    /// Listening and connection admission.
    pub net: Net,
    /// Limits of the session time-out.
    pub sessions: Sessions,
    /// Folders and what may be made in them.
    pub folders: Folders,
    /// Log, snapshots and flushing.
    pub storage: Storage,
    /// What the tree and its txns carry.
    pub tree: Tree,
    /// Request sizes and admission.
    pub requests: Requests,
    /// Tokens for connect requests (stock's BlueThrottle).
    pub connect_throttle: ConnectThrottle,
    /// Who may do what.
    pub auth: Auth,
    /// Four-letter words.
    pub words: Words,
    /// Keys of our own, all under `ringkeeper.`.
    pub own: Own,
    /// `server.N`: none, the one line a single server may have, or those of an ensemble.
    pub members: Vec<Member>,
    /// What a member of an ensemble needs; `None`: a single server.
    pub ensemble: Option<Ensemble>,
}

/// A server among others.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// `dataDir/myid`: no default. Which of the members this is.
    pub me: ServerId,
    /// `server.N`, `group.N`, `weight.N`: what the members tell each other.
    pub document: ConfigDocument,
    /// `initLimit`: no default, ticks, at least 1. Finding a leader's epoch and taking over its state may take this.
    pub init_limit: u32,
    /// `syncLimit`: no default, ticks, at least 1. Silence between leader and learner may last this.
    pub sync_limit: u32,
    /// `connectToLearnerMasterLimit`: none (0), ticks. Replaces `initLimit` for the connect alone.
    pub connect_limit: Option<u32>,
    /// `quorumListenOnAllIPs`: false. True: quorum and election ports on all of the machine's addresses, not on those of
    /// the own line.
    pub listen_on_all: bool,
    /// `localSessionsEnabled`: false. True: a new session lives on its server alone, without a txn, and is lost when its
    /// client moves or the server's role ends.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`: false. True: the first ephemeral makes a local session one of all servers; else it
    /// is refused.
    pub local_sessions_upgrade: bool,
    /// `cnxTimeout`: 5000 ms, at least 1. One connect to an election port.
    pub connect_timeout_ms: u32,
    /// `fastleader.minNotificationInterval`: 200 ms, at least 1. First wait for notifications of a round; it doubles.
    pub notification_ms_min: u32,
    /// `fastleader.maxNotificationInterval`: 60,000 ms, at least the minimum.
    pub notification_ms_max: u32,
    /// `leader.maxConcurrentSnapSyncs`: 10, at least 1. Learners given a whole state at once before observers are refused.
    pub snaps_max: u32,
    /// `leader.maxConcurrentDiffSyncs`: 100, at least 1. The same with txns.
    pub diffs_max: u32,
    /// `observerMasterPort`: none (0). Followers serve observers there, so that these do not burden the leader.
    pub observer_master_port: Option<u16>,
    /// `observerMaster.sizeLimit`: 32 MiB. What may wait for an observer behind the state that a follower sends it; past it
    /// the link is given up.
    pub observer_held_bytes_max: u32,
    /// `observer.election.DelayMs`: 200 ms with `observerMasterPort`, else none. An observer that loses its master waits for
    /// less than this, at random, before it looks for a leader.
    pub observer_election_delay_ms: u32,
    /// `observer.reconnectDelayMs`: none. The same before it connects to the leader, or once all masters were tried in vain.
    pub observer_reconnect_delay_ms: u32,
}

/// Listening and connection admission.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// `clientPort`, `clientPortAddress`, or the client part of a lone `server.N` line: none. Without one nobody is served.
    pub client: Option<ListenAddress>,
    /// `secureClientPort`, `secureClientPortAddress`: none. Parsed and never opened in this release.
    pub secure_client: Option<ListenAddress>,
    /// `clientPortListenBacklog`: -1 is the system's own choice; connections the kernel may hold before accept.
    pub listen_backlog: i32,
    /// `maxClientCnxns`: 60 connections from one address; 0 and less lift the limit (`None`).
    pub connections_per_address_max: Option<u32>,
    /// `maxCnxns`: no limit (0); connections in all. Past it the newest is closed at accept.
    pub connections_max: Option<u32>,
    /// `clientTcpKeepAlive`: false. Finds peers that vanished without a word, where firewalls drop silent connections.
    pub tcp_keep_alive: bool,
    /// `nio.sessionlessCnxnTimeout`: 10,000 ms; at least 1. How long a connection may stay without a session.
    pub sessionless_timeout_ms: u32,
}

/// Limits of the session time-out a client may have; what it asks is clamped to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// `minSessionTimeout`: 2 ticks; ms. Lower lets clients be lost sooner, and more often by mistake.
    pub timeout_ms_min: u32,
    /// `maxSessionTimeout`: 20 ticks; ms, not below the minimum. Higher keeps dead clients' ephemerals longer.
    pub timeout_ms_max: u32,
}

/// Folders and what may be made in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// `dataDir`: no default. Snapshots, `myid`, epochs.
    pub data: PathBuf,
    /// `dataLogDir`: dataDir. The log; a device of its own keeps flushes short.
    pub log: PathBuf,
    /// `datadir.autocreate`: true. False: a missing folder stops the start (exit 3) instead of being made.
    pub create_missing: bool,
    /// `db.autocreate`: true. False: empty folders are accepted only beside a file `initialize`, so that a lost disk is noticed.
    pub accept_empty: bool,
    /// `autopurge.snapRetainCount`: 3 snapshots, at least 3. More keeps more history and more disk.
    pub snapshots_retained: u32,
    /// `autopurge.purgeInterval`: 0 = no timed purge, ms (bare digits in the file are hours). Here old files go after
    /// each snapshot anyway; the interval adds runs between them, and one at the start, which read snapshots of earlier
    /// starts back first.
    pub purge_interval_ms: u64,
}

/// Log, snapshots and flushing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage {
    /// `snapCount`: 100,000 txns, at least 2. Snapshots start at random between half of it and all; fewer txns mean
    /// shorter restarts and more snapshots.
    pub snap_count: u32,
    /// `snapSizeLimitInKb`: 4,194,304 KiB; 0 and less switch it off (`None`). Bytes of log that start a snapshot.
    pub snap_log_bytes: Option<u64>,
    /// `preAllocSize`: 65,536 KiB, at least 64. Size of a log segment, bytes here.
    pub segment_bytes: u64,
    /// `txnLogSizeLimitInKb`: none (-1). Segments are no larger than this, bytes here, unless a record is.
    pub segment_bytes_limit: Option<u64>,
    /// `commitLogCount`: 500 txns, at least 500. Committed txns kept in memory for learners that fell behind.
    pub commit_log_count: u32,
    /// `snapshotSizeFactor`: 0.33. A learner that fell behind further than that is sent a range of the log while it is
    /// shorter than this share of a snapshot, else the whole state; below 0 never a range.
    pub log_range_share: f64,
    /// `forceSync`: yes. `no` acknowledges before the disk has it: a power cut then loses acknowledged writes.
    pub force_sync: bool,
    /// `fsync.warningthresholdms`: 1000 ms. A flush that takes longer is logged and counted.
    pub flush_warning_ms: u32,
    /// `flushDelay`: 0 ms. How long a flush may wait for company; fewer flushes, more latency a write.
    pub flush_delay_ms: u32,
    /// `maxBatchSize`: 1000 requests a flush, at least 1. At most 4096 here, and a batch has a bound in bytes.
    pub batch_requests_max: u32,
}

/// What the tree and its txns carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// `digest.enabled`: true. Txns and snapshots carry the tree's digest, so that a difference is found when it arises.
    pub digest: bool,
    /// `closeSessionTxn.enabled`: true. A close-session txn names the ephemerals it removes.
    pub close_session_txn: bool,
    /// `extendedTypesEnabled`: false. TTL nodes may be created.
    pub extended_types: bool,
    /// `znode.container.checkIntervalMs`: 60,000 ms, at least 1. Between two looks for containers and TTL nodes to remove.
    pub container_check_interval_ms: u32,
    /// `znode.container.maxPerMinute`: 10,000, at least 1. Removals a minute at most, so that a crowd of them leaves room.
    pub container_removals_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`: none (0), the default of 3.9.5. Age at which a container that never had a child goes.
    pub container_never_used_ms: Option<u64>,
    /// `enforceQuota`: false. Hard quotas refuse writes instead of being logged.
    pub enforce_quota: bool,
}

/// Request sizes and admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// `jute.maxbuffer`: 1,048,575 bytes, 1 to 2^31-1. Largest request; larger ones let one client hold more memory.
    pub frame_bytes_max: u32,
    /// `jute.maxbuffer.extrasize`: as `jute.maxbuffer`, at least 1024 bytes. Slack on top of it for log records; here
    /// a smaller one than the default changes nothing.
    pub record_extra_bytes: u32,
    /// `globalOutstandingLimit`: 1000, at least 1. Requests in the pipeline before connections that already have one
    /// there are not read.
    pub outstanding_max: u32,
    /// `request_throttle_max_requests`: none (0). Requests in process before the intake stalls.
    pub throttle_requests_max: Option<u32>,
    /// `request_throttle_stall_time`: 100 ms, at least 1. Length of one stall.
    pub throttle_stall_ms: u32,
    /// `request_throttle_drop_stale`: true. Connections of stale requests are closed during a stall.
    pub throttle_drop_stale: bool,
    /// `request_stale_latency_check`: false. A request older than its session's time-out is stale.
    pub stale_latency_check: bool,
    /// `request_stale_connection_check`: true. A request whose connection is gone is stale.
    pub stale_connection_check: bool,
    /// `throttled_op_wait_time`: none (0), ms. A request that waited longer in the intake gets ThrottledOp (-127).
    pub throttled_op_wait_ms: Option<u32>,
    /// `largeRequestMaxBytes`: 104,857,600 bytes, at least 1. All large requests together.
    pub large_bytes_max: u32,
    /// `largeRequestThreshold`: none (-1), bytes. Requests above it share `large_bytes_max`.
    pub large_threshold_bytes: Option<u32>,
}

/// Tokens for connect requests: stock's BlueThrottle, the same arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnectThrottle {
    /// `connection_throttle_tokens`: none (0). Size of the bucket; a connect request that finds too few is closed.
    pub tokens: Option<u32>,
    /// `connection_throttle_fill_time`: 1 ms, at least 1. Between two refills.
    pub fill_time_ms: u32,
    /// `connection_throttle_fill_count`: 1. Tokens of one refill.
    pub fill_count: u32,
    /// `connection_throttle_freeze_time`: none (-1), ms. Between two changes of the drop probability; none: no dropping.
    pub freeze_time_ms: Option<u32>,
    /// `connection_throttle_drop_increase`: 0.02, between 0 and 1.
    pub drop_increase: f64,
    /// `connection_throttle_drop_decrease`: 0.002, between 0 and 1.
    pub drop_decrease: f64,
    /// `connection_throttle_decrease_ratio`: 0, between 0 and 1. Below this share of a full bucket the probability falls.
    pub decrease_ratio: f64,
    /// `connection_throttle_weight_enabled`: false. Connect requests take tokens by the kind of their session.
    pub weighted: bool,
    /// `connection_throttle_global_session_weight`: 3, at least 1.
    pub global_session_weight: u32,
    /// `connection_throttle_renew_session_weight`: 2, at least 1.
    pub renew_session_weight: u32,
    /// `connection_throttle_local_session_weight`: 1, at least 1.
    pub local_session_weight: u32,
}

/// Hash of the digest scheme, by Java's name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl DigestAlgorithm {
    /// Every one.
    pub const ALL: [DigestAlgorithm; 12] = [
        DigestAlgorithm::Md5,
        DigestAlgorithm::Sha1,
        DigestAlgorithm::Sha224,
        DigestAlgorithm::Sha256,
        DigestAlgorithm::Sha384,
        DigestAlgorithm::Sha512,
        DigestAlgorithm::Sha512_224,
        DigestAlgorithm::Sha512_256,
        DigestAlgorithm::Sha3_224,
        DigestAlgorithm::Sha3_256,
        DigestAlgorithm::Sha3_384,
        DigestAlgorithm::Sha3_512,
    ];

    /// The JVM's name of it.
    pub fn java_name(self) -> &'static str {
        match self {
            DigestAlgorithm::Md5 => "MD5",
            DigestAlgorithm::Sha1 => "SHA1",
            DigestAlgorithm::Sha224 => "SHA-224",
            DigestAlgorithm::Sha256 => "SHA-256",
            DigestAlgorithm::Sha384 => "SHA-384",
            DigestAlgorithm::Sha512 => "SHA-512",
            DigestAlgorithm::Sha512_224 => "SHA-512/224",
            DigestAlgorithm::Sha512_256 => "SHA-512/256",
            DigestAlgorithm::Sha3_224 => "SHA3-224",
            DigestAlgorithm::Sha3_256 => "SHA3-256",
            DigestAlgorithm::Sha3_384 => "SHA3-384",
            DigestAlgorithm::Sha3_512 => "SHA3-512",
        }
    }

    /// By the names `java.security.MessageDigest` takes, in any letter case.
    pub fn from_java_name(name: &str) -> Option<DigestAlgorithm> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MD5" => DigestAlgorithm::Md5,
            "SHA1" | "SHA-1" | "SHA" => DigestAlgorithm::Sha1,
            "SHA-224" | "SHA224" => DigestAlgorithm::Sha224,
            "SHA-256" | "SHA256" => DigestAlgorithm::Sha256,
            "SHA-384" | "SHA384" => DigestAlgorithm::Sha384,
            "SHA-512" | "SHA512" => DigestAlgorithm::Sha512,
            "SHA-512/224" | "SHA512/224" => DigestAlgorithm::Sha512_224,
            "SHA-512/256" | "SHA512/256" => DigestAlgorithm::Sha512_256,
            "SHA3-224" => DigestAlgorithm::Sha3_224,
            "SHA3-256" => DigestAlgorithm::Sha3_256,
            "SHA3-384" => DigestAlgorithm::Sha3_384,
            "SHA3-512" => DigestAlgorithm::Sha3_512,
            _ => return None,
        })
    }
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// `skipACL`: no. `yes` allows everything to everybody.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.superDigest`: none. `super:` and the base64 of the password's hash.
    pub super_digest: Option<Secret>,
    /// `DigestAuthenticationProvider.digestAlg`: SHA1. Hash of the digest scheme; changing it strands existing ACLs.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.enabled`: true. False: the scheme digest is unknown.
    pub digest_enabled: bool,
    /// `enforce.auth.enabled`: none (false), else the schemes of `enforce.auth.schemes`, one of which a session needs
    /// before its first request.
    pub enforced_schemes: Option<Vec<Box<str>>>,
}

/// Which four-letter words are answered (`4lw.commands.whitelist`: `srvr`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// `*` stood in the list.
    pub all: bool,
    /// The words listed, `srvr` always, `isro` with `readonlymode.enabled`.
    pub listed: BTreeSet<Box<str>>,
    /// `readonlymode.enabled`: false. A member that has looked for a leader for a while serves reads to clients that ask
    /// for no more. A single server is never read-only: there it only adds a word to the list.
    pub read_only_mode: bool,
}

impl Words {
    /// Whether `word` is answered.
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.listed.contains(word)
    }
}

/// Whether shards are bound to cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Unless that would hurt: on a laptop, under a CPU quota, with fewer cores than threads.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Journald's if standard error is the journal, text otherwise.
    Auto,
    /// A line of text an event.
    Text,
    /// A JSON object an event.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How the version string writes its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateStyle {
    /// `2026-01-31 10:20 UTC`, as stock since 3.8.
    Iso,
    /// `01/31/2026 10:20 GMT`, for parsers of the older form.
    Us,
}

/// Keys of our own. Limits that would refuse what a stock server with the same zoo.cfg accepts are off (`None`)
/// unless set (DESIGN §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// `ringkeeper.threads`: none (auto): by the cores of the affinity mask. Shards, 1 to 63.
    pub threads: Option<u8>,
    /// `ringkeeper.pin`: auto.
    pub pin: Pin,
    /// `ringkeeper.logLevel`: info. The environment's RINGKEEPER_LOG wins.
    pub log_level: LogLevel,
    /// `ringkeeper.logFormat`: auto.
    pub log_format: LogFormat,
    /// `ringkeeper.buildDateStyle`: iso.
    pub build_date_style: DateStyle,
    /// `ringkeeper.maxSessionCreationsPerSecond`: none (0). Connect requests past it are closed.
    pub session_creations_per_second: Option<u32>,
    /// `ringkeeper.maxSessionCreationsPerSecondPerAddress`: none (0).
    pub session_creations_per_second_per_address: Option<u32>,
    /// `ringkeeper.maxSessionlessPerAddress`: none (0). Connections of one address that have no session yet; words are
    /// among them.
    pub sessionless_per_address_max: Option<u32>,
    /// `ringkeeper.maxMultiOps`: none (0). Operations in one multi, past which it gets BadArguments (-8).
    pub multi_ops_max: Option<u32>,
    /// `ringkeeper.maxPathBytes`: none (0). A request that names a longer one gets BadArguments (-8).
    pub path_bytes_max: Option<u32>,
    /// `ringkeeper.maxPathDepth`: none (0). Elements of one path; likewise.
    pub path_depth_max: Option<u32>,
    /// `ringkeeper.maxWordsPerSecond`: none (0). Four-letter words a second in all; past it they are closed.
    pub words_per_second: Option<u32>,
    /// `ringkeeper.maxSyncs`: none (0). Client `sync` requests that are taken and not answered; others wait in their
    /// connection.
    pub syncs_max: Option<u32>,
    /// `ringkeeper.maxMemoryMb`: none (0): 60 % of what the process may take. Memory, MiB: at 85 % of it writes that add
    /// to the tree get ThrottledOp (-127), at 95 % QuotaExceeded (-125).
    pub memory_mb_max: Option<u32>,
    /// `ringkeeper.minFreeDiskMb`: none (0): 256, or a twentieth of a disk below 5 GiB. Free disk, MiB, below which
    /// such writes get ThrottledOp (-127).
    pub disk_free_mb_min: Option<u32>,
}

impl Config {
    /// All defaults, listening on a free port of 127.0.0.1: what tests start from.
    pub fn for_tests(data: &Path) -> Config {
        let mut raw = super::Raw::default();
        raw.set("dataDir", &data.to_string_lossy(), super::Origin::Argument);
        let mut config = super::check(&super::Inputs::from(raw))
            .expect("defaults and a folder are a complete configuration")
            .config;
        config.folders.data = data.to_owned();
        config.folders.log = data.to_owned();
        config.net.client = Some(ListenAddress { host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: 0 });
        config
    }
}
