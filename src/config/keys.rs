#![forbid(unsafe_code)]
//! The table of keys: every key stock documents, how it may be written, and what it does here (operations §2, §5-§11).
//!
//! A name that ends in `*` stands for every key with that beginning; the longest match decides.

/// The ways a key may be given. `K` stands for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// Parsed by `QuorumPeerConfig`: only `K` in the file counts, -D does nothing.
    File,
    /// The property `zookeeper.K`: `K` in the file or `-Dzookeeper.K`.
    Property,
    /// The property `K` itself: `-DK`. In stock's file it does nothing; here it is honoured with a warning (1.1.4).
    Bare,
    /// `K` in the file, else `-Dzookeeper.K` (`multiAddress.*`).
    FileOrProperty,
    /// `zookeeper.K` first, then `K` by -D (`fsync.warningthresholdms`).
    PropertyOrBare,
    /// Ours: `K` in the file or `-DK`.
    Own,
}

/// What values a key takes, as far as it is checked where the key itself has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Anything.
    Text,
    /// A decimal number within 32 bits (`Integer.parseInt`).
    Int,
    /// A number within 64 bits.
    Long,
    /// `true` or `false`, anything else stops the start.
    Bool,
}

/// What a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `check` reads it.
    Honoured,
    /// Accepted without a word: it concerns ensembles, and a single server (stock's too) does not look at it.
    Ensemble,
    /// Accepted without a word: what it asks for is what happens anyway.
    Fulfilled,
    /// One warning with this reason.
    NoEffect(&'static str),
    /// One warning: this part is not in this release.
    Later(&'static str),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// The spelling in zoo.cfg; a trailing `*` matches any ending.
    pub(super) name: &'static str,
    /// How it may be given.
    pub(super) via: Via,
    /// What it takes.
    pub(super) shape: Shape,
    /// What it does here.
    pub(super) role: Role,
}

const TLS: &str = "TLS";
const SASL: &str = "SASL";
const ADMIN: &str = "the admin HTTP server";
const METRICS: &str = "the metrics page";
const THREADS: &str = "there are no Java threads to size; see ringkeeper.threads";
const CACHE: &str = "replies are not cached in serialised form";
const CLEANER: &str = "watches are cleaned up with their session, there is no cleaner to tune";
const PAUSE: &str = "there is no Java machine whose pauses could be watched";
const STOCK_FILES: &str = "it concerns stock's own file formats";
const FLOW: &str = "connections are always read no faster than they are answered";

use Role::{Ensemble, Fulfilled, Honoured, Later, NoEffect};
use Shape::{Bool, Int, Long, Text};
use Via::{Bare, File, FileOrProperty, Own, Property, PropertyOrBare};

const fn key(name: &'static str, via: Via, shape: Shape, role: Role) -> Key {
    Key { name, via, shape, role }
}

/// Every key known here.
#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    // Basics (operations 2.1).
    key("tickTime", File, Int, Honoured),
    key("dataDir", File, Text, Honoured),
    key("dataLogDir", File, Text, Honoured),
    key("clientPort", File, Int, Honoured),
    key("clientPortAddress", File, Text, Honoured),
    key("secureClientPort", File, Int, Honoured),
    key("secureClientPortAddress", File, Text, Honoured),
    key("clientPortListenBacklog", File, Int, Honoured),
    key("maxClientCnxns", File, Int, Honoured),
    key("maxCnxns", Property, Int, Honoured),
    key("minSessionTimeout", File, Int, Honoured),
    key("maxSessionTimeout", File, Int, Honoured),
    key("initLimit", File, Int, Ensemble),
    key("syncLimit", File, Int, Ensemble),
    key("connectToLearnerMasterLimit", File, Int, Ensemble),
    key("electionAlg", File, Int, Honoured),
    key("peerType", File, Text, Honoured),
    key("syncEnabled", File, Bool, Ensemble),
    key("observer.syncEnabled", Property, Text, Ensemble),
    key("standaloneEnabled", File, Bool, Honoured),
    key("reconfigEnabled", File, Bool, Ensemble),
    key("dynamicConfigFile", File, Text, Honoured),
    key("server.*", File, Text, Honoured),
    key("group*", File, Text, Ensemble),
    key("weight*", File, Text, Ensemble),
    key("localSessionsEnabled", File, Bool, Ensemble),
    key("localSessionsUpgradingEnabled", File, Bool, Ensemble),
    key("quorumListenOnAllIPs", File, Bool, Ensemble),
    key("observerMasterPort", File, Int, Ensemble),
    key("multiAddress.enabled", FileOrProperty, Bool, Honoured),
    key("multiAddress.reachabilityCheckEnabled", FileOrProperty, Bool, Ensemble),
    key("multiAddress.reachabilityCheckTimeoutMs", FileOrProperty, Int, Ensemble),
    key("oraclePath", File, Text, Ensemble),
    key("quorum.cnxn.threads.size", File, Int, NoEffect(THREADS)),
    key("jvm.pause.monitor", File, Bool, NoEffect(PAUSE)),
    key("jvm.pause.info-threshold.ms", File, Long, NoEffect(PAUSE)),
    key("jvm.pause.warn-threshold.ms", File, Long, NoEffect(PAUSE)),
    key("jvm.pause.sleep.time.ms", File, Long, NoEffect(PAUSE)),
    key("autopurge.snapRetainCount", File, Int, Honoured),
    key("autopurge.purgeInterval", File, Text, Honoured),
    key("metricsProvider.className", File, Text, Honoured),
    key("metricsProvider.*", File, Text, Later(METRICS)),
    key("sslQuorum", File, Bool, Later(TLS)),
    key("portUnification", File, Bool, Later(TLS)),
    key("sslQuorumReloadCertFiles", File, Bool, Later(TLS)),
    key("quorum.auth.enableSasl", File, Bool, Honoured),
    key("quorum.auth.learnerRequireSasl", File, Bool, Honoured),
    key("quorum.auth.serverRequireSasl", File, Bool, Honoured),
    key("quorum.auth.*", File, Text, Later(SASL)),
    key("ssl.authProvider", Property, Text, Honoured),
    key("ssl.clientAuth", Property, Text, Honoured),
    key("ssl.*", Property, Text, Later(TLS)),
    key("authProvider.*", Property, Text, Honoured),

    // Storage (2.2).
    key("preAllocSize", Property, Long, Honoured),
    key("snapCount", Property, Int, Honoured),
    key("snapSizeLimitInKb", Property, Long, Honoured),
    key("txnLogSizeLimitInKb", Property, Long, Honoured),
    key("commitLogCount", Property, Int, Honoured),
    key("snapshotSizeFactor", Property, Text, Honoured),
    key("forceSync", Property, Text, Honoured),
    key("fsync.warningthresholdms", PropertyOrBare, Long, Honoured),
    key("flushDelay", Property, Long, Honoured),
    key("maxWriteQueuePollTime", Property, Long, NoEffect("it is a third of flushDelay")),
    key("maxBatchSize", Property, Int, Honoured),
    key("snapshot.compression.method", Property, Text, NoEffect(STOCK_FILES)),
    key("snapshot.trust.empty", Property, Text, NoEffect(STOCK_FILES)),
    key("datadir.autocreate", Property, Text, Honoured),
    key("db.autocreate", Property, Text, Honoured),
    key("forceSnapshotSync", Property, Text, Ensemble),
    key("serializeLastProcessedZxid.enabled", Property, Text, NoEffect(STOCK_FILES)),
    key("digest.enabled", Property, Text, Honoured),
    key("closeSessionTxn.enabled", Property, Text, Honoured),
    key("extendedTypesEnabled", Property, Text, Honoured),
    key("emulate353TTLNodes", Property, Text, NoEffect("no database of 3.5.3 can be read here, and nothing else holds such TTLs")),
    key("znode.container.checkIntervalMs", Bare, Int, Honoured),
    key("znode.container.maxPerMinute", Bare, Int, Honoured),
    key("znode.container.maxNeverUsedIntervalMs", Bare, Long, Honoured),
    key("testingonly.initialZxid", Property, Text, Ensemble),
    key("test.allowDiscontinuousProposals", Property, Text, Ensemble),

    // Protocol, sizes, caches (2.3).
    key("jute.maxbuffer", Bare, Int, Honoured),
    key("jute.maxbuffer.extrasize", Property, Int, Honoured),
    key("readonlymode.enabled", Bare, Text, Honoured),
    key("globalOutstandingLimit", Property, Int, Honoured),
    key("maxResponseCacheSize", Property, Int, NoEffect(CACHE)),
    key("maxGetChildrenResponseCacheSize", Property, Int, NoEffect(CACHE)),
    key("intBufferStartingSizeBytes", Property, Int, NoEffect("reply buffers grow by themselves")),
    key("enforceQuota", Property, Text, Honoured),
    key("enableEagerACLCheck", Property, Text, Ensemble),
    key("skipACL", Property, Text, Honoured),
    key("watchManagerName", Property, Text, NoEffect("there is one watch manager, built in")),
    key("watcherCleanThreshold", Property, Int, NoEffect(CLEANER)),
    key("watcherCleanIntervalInSeconds", Property, Int, NoEffect(CLEANER)),
    key("watcherCleanThreadsNum", Property, Int, NoEffect(CLEANER)),
    key("maxInProcessingDeadWatchers", Property, Int, NoEffect(CLEANER)),
    key("bitHashCacheSize", Property, Int, NoEffect(CLEANER)),
    key("serverCnxnFactory", Property, Text, Fulfilled),
    key("messageTracker.*", Property, Text, Ensemble),
    key("pathStats.*", Property, Text, Later("the statistics of hot paths")),
    key("4lw.commands.whitelist", Property, Text, Honoured),

    // Quorum and election (2.4).
    key("leaderServes", Property, Text, Ensemble),
    key("cnxTimeout", Property, Int, Ensemble),
    key("quorumCnxnTimeoutMs", Property, Int, Ensemble),
    key("fastleader.minNotificationInterval", Property, Int, Ensemble),
    key("fastleader.maxNotificationInterval", Property, Int, Ensemble),
    key("electionPortBindRetry", Property, Int, Ensemble),
    key("leader.maxTimeToWaitForEpoch", Property, Int, Ensemble),
    key("leader.maxConcurrentSnapSyncs", Property, Int, Ensemble),
    key("leader.maxConcurrentDiffSyncs", Property, Int, Ensemble),
    key("leader.ackLoggingFrequency", Property, Int, NoEffect("every acknowledgement is measured")),
    key("leaderConnectDelayDuringRetryMs", Property, Int, Ensemble),
    key("observer.reconnectDelayMs", Property, Long, Ensemble),
    key("observer.election.DelayMs", Property, Long, Ensemble),
    key("observerMaster.sizeLimit", Property, Int, Ensemble),
    key("follower.nodelay", Bare, Text, NoEffect("TCP_NODELAY is always set")),
    key("leader.nodelay", Bare, Text, NoEffect("TCP_NODELAY is always set")),
    key("tcpKeepAlive", Property, Text, Ensemble),
    key("clientTcpKeepAlive", Property, Text, Honoured),
    key("learner.asyncSending", PropertyOrBare, Text, NoEffect(THREADS)),
    key("learner.closeSocketAsync", PropertyOrBare, Text, NoEffect(THREADS)),
    key("leader.closeSocketAsync", PropertyOrBare, Text, NoEffect(THREADS)),
    key("follower.skipLearnerRequestToNextProcessor", Property, Text, NoEffect(THREADS)),
    key("forward_learner_requests_to_commit_processor_disabled", Property, Text, NoEffect(THREADS)),
    key("request_throttler.shutdownTimeout", Property, Int, NoEffect("what was taken in is finished before the stop")),

    // Threads and buffers of the Java engine (2.5).
    key("nio.sessionlessCnxnTimeout", Property, Int, Honoured),
    key("nio.numSelectorThreads", Property, Int, NoEffect(THREADS)),
    key("nio.numWorkerThreads", Property, Int, NoEffect(THREADS)),
    key("nio.directBufferBytes", Property, Int, NoEffect(THREADS)),
    key("nio.shutdownTimeout", Property, Int, NoEffect(THREADS)),
    key("commitProcessor.*", Property, Text, NoEffect(THREADS)),
    key("netty.advancedFlowControl.enabled", Property, Text, NoEffect(FLOW)),
    key("netty.server.outstandingHandshake.limit", Property, Int, Later(TLS)),
    key("netty.server.earlyDropSecureConnectionHandshakes", Property, Text, Later(TLS)),

    // Admin, audit, security (2.6, 5, 8, 9, 10).
    key("admin.*", Property, Text, Later(ADMIN)),
    key("audit.enable", Property, Text, Later("the audit log")),
    key("audit.*", Property, Text, Later("the audit log")),
    key("controllerPort", Property, Text, NoEffect("it belongs to a test harness of stock's")),
    key("ensembleAuthName", Property, Text, Later("the scheme ensemble")),
    key("client.portUnification", Property, Text, Later(TLS)),
    key("client.certReload", Property, Text, Later(TLS)),
    key("fips-mode", Property, Text, Later(TLS)),
    key("X509AuthenticationProvider.superUser", Property, Text, Later(TLS)),
    key("DigestAuthenticationProvider.superDigest", Property, Text, Honoured),
    key("DigestAuthenticationProvider.digestAlg", Property, Text, Honoured),
    key("DigestAuthenticationProvider.enabled", Property, Text, Honoured),
    key("IPAuthenticationProvider.usexforwardedfor", Property, Text, Later(ADMIN)),
    key("superUser", Property, Text, Later(SASL)),
    key("superUser.*", Property, Text, Later(SASL)),
    key("SASLAuthenticationProvider.superPassword", Property, Text, Later(SASL)),
    key("letAnySaslUserDoX", Property, Text, Later(SASL)),
    key("allowSaslFailedClients", Property, Text, Later(SASL)),
    key("sessionRequireClientSASLAuth", Property, Text, Honoured),
    key("enforce.auth.enabled", Property, Text, Honoured),
    key("enforce.auth.schemes", Property, Text, Honoured),
    key("sasl.serverconfig", Property, Text, Later(SASL)),
    key("server.realm", Property, Text, Later(SASL)),
    key("kerberos.*", Property, Text, Later(SASL)),
    key("security.auth_to_local", Property, Text, Later(SASL)),
    key("java.security.auth.login.config", Bare, Text, Later(SASL)),

    // Throttling (11).
    key("connection_throttle_tokens", Property, Int, Honoured),
    key("connection_throttle_fill_time", Property, Int, Honoured),
    key("connection_throttle_fill_count", Property, Int, Honoured),
    key("connection_throttle_freeze_time", Property, Int, Honoured),
    key("connection_throttle_drop_increase", Property, Text, Honoured),
    key("connection_throttle_drop_decrease", Property, Text, Honoured),
    key("connection_throttle_decrease_ratio", Property, Text, Honoured),
    key("connection_throttle_weight_enabled", Property, Text, Honoured),
    key("connection_throttle_global_session_weight", Property, Int, Honoured),
    key("connection_throttle_renew_session_weight", Property, Int, Honoured),
    key("connection_throttle_local_session_weight", Property, Int, Honoured),
    key("request_throttle_max_requests", Property, Int, Honoured),
    key("request_throttle_stall_time", Property, Int, Honoured),
    key("request_throttle_drop_stale", Property, Text, Honoured),
    key("request_stale_latency_check", Property, Text, Honoured),
    key("request_stale_connection_check", Property, Text, Honoured),
    key("throttled_op_wait_time", Property, Int, Honoured),
    key("largeRequestMaxBytes", Property, Int, Honoured),
    key("largeRequestThreshold", Property, Int, Honoured),

    // What zkServer.sh and the images hand to Java.
    key("log.*", Property, Text, NoEffect("lines go to standard error; see ringkeeper.logLevel and ringkeeper.logFormat")),
    key("root.logger", Property, Text, NoEffect("see ringkeeper.logLevel")),
    key("console.threshold", Property, Text, NoEffect("see ringkeeper.logLevel")),
    key("jmx.*", Property, Text, NoEffect("there are no JMX beans")),

    // Ours.
    key("ringkeeper.threads", Own, Int, Honoured),
    key("ringkeeper.pin", Own, Text, Honoured),
    key("ringkeeper.logLevel", Own, Text, Honoured),
    key("ringkeeper.logFormat", Own, Text, Honoured),
    key("ringkeeper.buildDateStyle", Own, Text, Honoured),
    key("ringkeeper.allowUnknownAuthProvider", Own, Bool, Honoured),
    key("ringkeeper.maxSessionCreationsPerSecond", Own, Int, Honoured),
    key("ringkeeper.maxSessionCreationsPerSecondPerAddress", Own, Int, Honoured),
    key("ringkeeper.maxSessionlessPerAddress", Own, Int, Honoured),
    key("ringkeeper.maxMultiOps", Own, Int, Honoured),
    key("ringkeeper.maxPathBytes", Own, Int, Honoured),
    key("ringkeeper.maxPathDepth", Own, Int, Honoured),
    key("ringkeeper.maxWordsPerSecond", Own, Int, Honoured),
    key("ringkeeper.maxSyncs", Own, Int, Honoured),
    key("ringkeeper.maxMemoryMb", Own, Int, Honoured),
    key("ringkeeper.minFreeDiskMb", Own, Int, Honoured),
];

/// Headings of stock's documentation that are no keys, and the key each means (operations 1.1.5).
#[rustfmt::skip]
pub(super) static LABELS: &[(&str, &str)] = &[
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    ("connectionDropIncrease", "connection_throttle_drop_increase"),
    ("connectionDropDecrease", "connection_throttle_drop_decrease"),
    ("connectionDecreaseRatio", "connection_throttle_decrease_ratio"),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    ("requestStaleConnectionCheck", "request_stale_connection_check"),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
    ("advancedFlowControlEnabled", "netty.advancedFlowControl.enabled"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
    ("outstandingHandshake.limit", "netty.server.outstandingHandshake.limit"),
];

/// Beginnings of Java properties that tune the Java machine or its logging (operations 1.1.6), with the reason they
/// do nothing.
#[rustfmt::skip]
pub(super) static MACHINE_PROPERTIES: &[(&str, &str)] = &[
    ("log4j", "see ringkeeper.logLevel and ringkeeper.logFormat"),
    ("logback", "see ringkeeper.logLevel and ringkeeper.logFormat"),
    ("com.sun.management", "there are no JMX beans"),
    ("java.", "there is no Java machine"),
    ("javax.", "there is no Java machine"),
    ("sun.", "there is no Java machine"),
    ("jdk.", "there is no Java machine"),
];

/// The row for a key as spelled in zoo.cfg: an exact name, else the longest beginning.
pub(super) fn lookup(name: &str) -> Option<&'static Key> {
    let matches = |key: &&Key| match key.name.strip_suffix('*') {
        Some(beginning) => name.len() > beginning.len() && name.starts_with(beginning),
        None => key.name == name,
    };
    KEYS.iter().filter(matches).max_by_key(|key| (!key.name.ends_with('*'), key.name.len()))
}

/// The key a documentation label means.
pub(super) fn label(name: &str) -> Option<&'static str> {
    LABELS.iter().find(|(label, _)| *label == name).map(|(_, key)| *key)
}

/// Whether a key's value is a secret, known key or not: what is hidden once too often does no harm.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let path = name.ends_with("path") || name.ends_with(".location");
    !path
        && ["passw", "secret", "superdigest", "credential", "token.", "apikey"]
            .iter()
            .any(|word| name.contains(word))
}
