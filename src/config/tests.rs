#![forbid(unsafe_code)]
//! Configurations as data: what is written, and what becomes of it. Only the `check_*` helpers know the API.

use super::*;

fn load(file: &str, flags: &str) -> Result<Checked, ConfigError> {
    let mut raw = Raw::from_file("zoo.cfg", file.as_bytes())?;
    raw.add_flags(flags.split_whitespace(), FlagSource::JvmFlags);
    check(&Inputs::from(raw))
}

/// The effective value of `key`, as the table shows it, and its origin.
fn check_value(file: &str, flags: &str, key: &str, expected: &str) {
    let full = format!("{file}\ndataDir=/d\n");
    let checked = load(&full, flags).unwrap_or_else(|error| panic!("{file:?} {flags:?}: {error}"));
    let row = checked.table.0.iter().find(|row| row.key == key);
    let row = row.unwrap_or_else(|| panic!("{key} is not in the table"));
    assert_eq!(format!("{} ({})", row.value, row.origin), expected, "{key} of {file:?} {flags:?}");
}

fn check_error(file: &str, expected: &str) {
    match load(file, "") {
        Ok(_) => panic!("{file:?} was accepted, expected {expected:?}"),
        Err(error) => assert_eq!(error.to_string(), expected, "for {file:?}"),
    }
}

/// Whether a notice of that level contains the text.
fn check_notice(file: &str, flags: &str, level: NoticeLevel, expected: &str) {
    let checked = load(&format!("{file}\ndataDir=/d\nclientPort=1\n"), flags).expect("a valid configuration");
    let found = checked.notices.iter().any(|notice| notice.level == level && notice.text.contains(expected));
    assert!(found, "{file:?} {flags:?}: no {level:?} with {expected:?} in {:#?}", checked.notices);
}

#[test]
fn defaults_are_stocks() {
    let config = load("dataDir=/d", "").expect("dataDir alone is complete").config;
    assert_eq!(config.tick_ms, 3000);
    assert_eq!(config.net.client, None);
    assert_eq!(config.net.connections_per_address_max, Some(60));
    assert_eq!(config.net.connections_max, None);
    assert_eq!(config.net.listen_backlog, -1);
    assert_eq!(config.net.sessionless_timeout_ms, 10_000);
    assert_eq!(config.sessions, Sessions { timeout_ms_min: 6000, timeout_ms_max: 60_000 });
    assert_eq!(config.folders.log, config.folders.data);
    assert_eq!((config.folders.snapshots_retained, config.folders.purge_interval_ms), (3, 0));
    assert_eq!(config.storage.snap_count, 100_000);
    assert_eq!(config.storage.snap_log_bytes, Some(4 << 30));
    assert_eq!(config.storage.segment_bytes, 64 << 20);
    assert!(config.storage.force_sync);
    assert!(config.tree.digest && config.tree.close_session_txn && !config.tree.extended_types);
    assert_eq!(config.tree.container_never_used_ms, None, "0 = never, in 3.9.5");
    assert_eq!(config.requests.frame_bytes_max, 0xf_ffff);
    assert_eq!(config.requests.record_extra_bytes, 0xf_ffff);
    assert_eq!(config.requests.outstanding_max, 1000);
    assert_eq!(config.requests.large_threshold_bytes, None);
    assert_eq!(config.connect_throttle.tokens, None);
    assert_eq!(config.connect_throttle.freeze_time_ms, None);
    assert_eq!(config.auth.enforced_schemes, None);
    assert_eq!(config.auth.digest_algorithm, DigestAlgorithm::Sha1);
    assert!(config.words.allows("srvr") && !config.words.allows("ruok"));
    assert_eq!((config.own.threads, config.own.pin), (None, Pin::Auto));
    assert_eq!(config.own.multi_ops_max, None);
}

/// Each key of operations §2, §9 and §11 that a single server honours, once, with a value that is not the default.
#[test]
fn every_honoured_key_takes_effect_from_the_file() {
    #[rustfmt::skip]
    let written: &[(&str, &str, &str)] = &[
        ("tickTime", "2000", "2000"), ("dataLogDir", "/log", "/log"), ("clientPort", "2181", "2181"),
        ("clientPortListenBacklog", "50", "50"), ("maxClientCnxns", "0", "off"), ("maxCnxns", "9", "9"),
        ("minSessionTimeout", "1000", "1000"), ("maxSessionTimeout", "90000", "90000"),
        ("electionAlg", "3", "3"), ("peerType", "observer", "observer"), ("standaloneEnabled", "true", "true"),
        ("multiAddress.enabled", "TRUE", "true"), ("autopurge.snapRetainCount", "5", "5"),
        ("autopurge.purgeInterval", "1", "1"), ("quorum.auth.enableSasl", "false", "false"),
        ("preAllocSize", "1024", "1024"), ("snapCount", "10", "10"), ("snapSizeLimitInKb", "-1", "off"),
        ("txnLogSizeLimitInKb", "7", "7"), ("commitLogCount", "600", "600"), ("snapshotSizeFactor", "0.5", "0.5"), ("forceSync", "no", "no"),
        ("fsync.warningthresholdms", "20", "20"), ("flushDelay", "3", "3"), ("maxBatchSize", "5", "5"),
        ("datadir.autocreate", "false", "false"), ("db.autocreate", "false", "false"),
        ("digest.enabled", "false", "false"), ("closeSessionTxn.enabled", "false", "false"),
        ("extendedTypesEnabled", "true", "true"),
        ("znode.container.checkIntervalMs", "5", "5"), ("znode.container.maxPerMinute", "6", "6"),
        ("znode.container.maxNeverUsedIntervalMs", "7", "7"),
        ("jute.maxbuffer", "0x1000", "4096"), ("jute.maxbuffer.extrasize", "2048", "2048"),
        ("readonlymode.enabled", "true", "true"), ("globalOutstandingLimit", "10", "10"),
        ("enforceQuota", "true", "true"), ("skipACL", "yes", "yes"), ("4lw.commands.whitelist", "*", "*"),
        ("clientTcpKeepAlive", "true", "true"), ("nio.sessionlessCnxnTimeout", "99", "99"),
        ("DigestAuthenticationProvider.digestAlg", "SHA3-256", "SHA3-256"),
        ("DigestAuthenticationProvider.superDigest", "super:x", "********"),
        ("DigestAuthenticationProvider.enabled", "false", "false"),
        ("sessionRequireClientSASLAuth", "false", "false"), ("enforce.auth.enabled", "false", "false"),
        ("enforce.auth.schemes", "digest", "digest"),
        ("connection_throttle_tokens", "1", "1"), ("connection_throttle_fill_time", "2", "2"),
        ("connection_throttle_fill_count", "3", "3"), ("connection_throttle_freeze_time", "4", "4"),
        ("connection_throttle_drop_increase", "0.5", "0.5"), ("connection_throttle_drop_decrease", "0.25", "0.25"),
        ("connection_throttle_decrease_ratio", "1", "1"), ("connection_throttle_weight_enabled", "true", "true"),
        ("connection_throttle_global_session_weight", "5", "5"),
        ("connection_throttle_renew_session_weight", "6", "6"),
        ("connection_throttle_local_session_weight", "7", "7"),
        ("request_throttle_max_requests", "1", "1"), ("request_throttle_stall_time", "2", "2"),
        ("request_throttle_drop_stale", "false", "false"), ("request_stale_latency_check", "true", "true"),
        ("request_stale_connection_check", "false", "false"), ("throttled_op_wait_time", "3", "3"),
        ("largeRequestMaxBytes", "4", "4"), ("largeRequestThreshold", "5", "5"),
        ("ringkeeper.threads", "2", "2"), ("ringkeeper.pin", "no", "no"), ("ringkeeper.logLevel", "DEBUG", "debug"),
        ("ringkeeper.logFormat", "json", "json"), ("ringkeeper.buildDateStyle", "us", "us"),
        ("ringkeeper.allowUnknownAuthProvider", "true", "true"),
        ("ringkeeper.maxSessionCreationsPerSecond", "1", "1"),
        ("ringkeeper.maxSessionCreationsPerSecondPerAddress", "1", "1"),
        ("ringkeeper.maxSessionlessPerAddress", "1", "1"), ("ringkeeper.maxMultiOps", "1", "1"),
        ("ringkeeper.maxPathBytes", "1", "1"), ("ringkeeper.maxPathDepth", "1", "1"),
        ("ringkeeper.maxWordsPerSecond", "1", "1"), ("ringkeeper.maxSyncs", "1", "1"),
        ("ringkeeper.maxMemoryMb", "1", "1"), ("ringkeeper.minFreeDiskMb", "1", "1"),
    ];
    for (key, value, expected) in written {
        check_value(&format!("{key}={value}"), "", key, &format!("{expected} (zoo.cfg:1)"));
    }
    // A key marked honoured and missing above would be honoured untested.
    let apart = [
        "dataDir",
        "clientPortAddress",
        "secureClientPort",
        "secureClientPortAddress",
        "dynamicConfigFile",
        "server.*",
        "metricsProvider.className",
        "quorum.auth.learnerRequireSasl",
        "quorum.auth.serverRequireSasl",
        "ssl.authProvider",
        "ssl.clientAuth",
        "authProvider.*",
    ];
    for key in keys::KEYS.iter().filter(|key| key.role == keys::Role::Honoured) {
        let tested = apart.contains(&key.name) || written.iter().any(|(name, ..)| *name == key.name);
        assert!(tested, "{} is honoured and not in this test", key.name);
    }
}

#[test]
fn every_other_key_is_accepted_with_the_words_its_row_promises() {
    for key in keys::KEYS {
        let name = key.name.replace('*', "x");
        let value = match key.shape {
            keys::Shape::Text => "text",
            keys::Shape::Int | keys::Shape::Long => "1",
            keys::Shape::Bool => "true",
        };
        let line = format!("{name}={value}");
        match key.role {
            keys::Role::Honoured => {}
            keys::Role::NoEffect(why) => {
                check_notice(&line, "", NoticeLevel::Warn, &format!("{name} has no effect here: {why}"))
            }
            keys::Role::Later(_) => {
                check_notice(&line, "", NoticeLevel::Warn, &format!("{name} has no effect in this release"))
            }
            keys::Role::Ensemble | keys::Role::Fulfilled => {
                let checked = load(&format!("{line}\ndataDir=/d\nclientPort=1"), "").expect("accepted");
                assert_eq!(checked.notices, [], "{name} concerns nobody here");
            }
        }
    }
}

#[test]
fn one_warning_a_key() {
    let file = "dataDir=/d\nclientPort=1\nssl.keyStore.location=/k\nssl.keyStore.password=p\nmaxResponseCacheSize=4\n";
    let checked = load(file, "").expect("valid");
    let warnings: Vec<_> = checked.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "maxResponseCacheSize has no effect here: replies are not cached in serialised form",
            "ssl.keyStore.location has no effect in this release, which has no TLS",
            "ssl.keyStore.password has no effect in this release, which has no TLS",
        ]
    );
}

#[test]
fn unknown_keys_are_kept_and_never_an_error() {
    check_notice(
        "bogusKey=1",
        "",
        NoticeLevel::Info,
        "unknown key bogusKey kept as property zookeeper.bogusKey",
    );
    check_notice("=x", "", NoticeLevel::Info, "unknown key");
    check_notice("", "-Dzookeeper.bogus=1", NoticeLevel::Info, "unknown property zookeeper.bogus kept");
    check_notice("", "-Dmy.app=1", NoticeLevel::Info, "unknown property my.app kept");
    check_notice("zookeeper.bogus=1", "", NoticeLevel::Info, "unknown key zookeeper.bogus kept");
    check_notice("TICKTIME=1", "", NoticeLevel::Info, "unknown key TICKTIME");
}

#[test]
fn spellings_stock_ignores_are_honoured_with_a_warning() {
    check_value("zookeeper.snapCount=5", "", "snapCount", "5 (zoo.cfg:1)");
    check_notice("zookeeper.snapCount=5", "", NoticeLevel::Warn, "honouring it as snapCount");
    check_value("zookeeper.tickTime=5", "", "tickTime", "5 (zoo.cfg:1)");
    check_value("jute.maxbuffer=5", "", "jute.maxbuffer", "5 (zoo.cfg:1)");
    check_notice(
        "jute.maxbuffer=5",
        "",
        NoticeLevel::Warn,
        "jute.maxbuffer has no effect in stock ZooKeeper's zoo.cfg; honouring it",
    );
    check_value("", "-Dzookeeper.jute.maxbuffer=5", "jute.maxbuffer", "5 (-D in JVMFLAGS)");
    check_notice("", "-Dzookeeper.jute.maxbuffer=5", NoticeLevel::Warn, "honouring it as jute.maxbuffer");
    for (label, real) in keys::LABELS {
        assert!(keys::lookup(real).is_some(), "{label} means {real}, which is no key");
        check_notice(&format!("{label}=1"), "", NoticeLevel::Warn, &format!("honouring it as {real}"));
    }
    check_value("connectionMaxTokens=7", "", "connection_throttle_tokens", "7 (zoo.cfg:1)");
}

#[test]
fn the_file_wins_over_flags_and_the_last_flag_over_the_first() {
    check_value("", "-Dzookeeper.snapCount=5", "snapCount", "5 (-D in JVMFLAGS)");
    check_value("snapCount=6", "-Dzookeeper.snapCount=5", "snapCount", "6 (zoo.cfg:1)");
    check_value("", "-Dzookeeper.snapCount=5 -Dzookeeper.snapCount=7", "snapCount", "7 (-D in JVMFLAGS)");
    check_value("snapCount=6\nzookeeper.snapCount=5", "", "snapCount", "6 (zoo.cfg:1)");
    check_value("snapCount=6\nsnapCount=8", "", "snapCount", "8 (zoo.cfg:2)");
    check_value("", "-Djute.maxbuffer=5", "jute.maxbuffer", "5 (-D in JVMFLAGS)");
    check_value("jute.maxbuffer=6", "-Djute.maxbuffer=5", "jute.maxbuffer", "6 (zoo.cfg:1)");
    let threshold = "-Dzookeeper.fsync.warningthresholdms=5 -Dfsync.warningthresholdms=6";
    check_value("", threshold, "fsync.warningthresholdms", "5 (-D in JVMFLAGS)");
    check_value("", "-Dfsync.warningthresholdms=6", "fsync.warningthresholdms", "6 (-D in JVMFLAGS)");
    check_value("", "-Dringkeeper.threads=3", "ringkeeper.threads", "3 (-D in JVMFLAGS)");
    check_value("", "-Dzookeeper.multiAddress.enabled=true", "multiAddress.enabled", "true (-D in JVMFLAGS)");
    check_value(
        "",
        "-Dzookeeper.4lw.commands.whitelist='ruok,conf'",
        "4lw.commands.whitelist",
        "ruok,conf (-D in JVMFLAGS)",
    );

    let mut raw = Raw::from_file("zoo.cfg", b"dataDir=/d").expect("well-formed");
    raw.add_flags(["-Dzookeeper.snapCount=1000"], FlagSource::CommandLine);
    raw.add_flags(["-Dzookeeper.snapCount=2000"], FlagSource::JvmFlags);
    raw.add_flags(["-Dzookeeper.snapCount=3000"], FlagSource::ServerJvmFlags);
    assert_eq!(check(&Inputs::from(raw)).expect("valid").config.storage.snap_count, 1000);
}

#[test]
fn flags_without_effect_say_so() {
    check_value("", "-Dzookeeper.tickTime=5", "tickTime", "3000 (default)");
    check_notice("", "-Dzookeeper.tickTime=5", NoticeLevel::Warn, "tickTime counts in the file only");
    check_notice("", "-DtickTime=5", NoticeLevel::Warn, "it counts in the file only");
    check_value("", "-DsnapCount=5", "snapCount", "100000 (default)");
    check_notice("", "-DsnapCount=5", NoticeLevel::Warn, "the property is zookeeper.snapCount");
    check_notice(
        "",
        "-Xmx1000m",
        NoticeLevel::Warn,
        "-Xmx1000m (JVMFLAGS) has no effect: there is no Java machine",
    );
    check_notice("", "-XX:+UseG1GC", NoticeLevel::Warn, "-XX:+UseG1GC (JVMFLAGS) has no effect");
    check_notice("", "-javaagent:/a.jar=p:secret", NoticeLevel::Warn, "-javaagent (JVMFLAGS) has no effect");
    check_notice("", "-Dlog4j.configuration=x", NoticeLevel::Warn, "-Dlog4j.configuration has no effect");
    check_notice(
        "",
        "-Dlogback.configurationFile=x",
        NoticeLevel::Warn,
        "-Dlogback.configurationFile has no effect",
    );
    check_notice("", "-Dcom.sun.management.jmxremote", NoticeLevel::Warn, "there are no JMX beans");
    check_notice("", "-Djava.security.auth.login.config=/j", NoticeLevel::Warn, "which has no SASL");
}

#[test]
fn what_stops_the_start_says_where_and_why() {
    let cases: &[(&str, &str)] = &[
        ("tickTime=2000", "dataDir is not set"),
        ("dataDir=", "zoo.cfg:1: dataDir is empty"),
        ("dataDir=/d\n\n# zero\ntickTime=0", "zoo.cfg:4: tickTime is not set"),
        ("dataDir=/d\ntickTime=-1", "zoo.cfg:2: tickTime: -1 is out of range, 0 to 2147483647"),
        ("dataDir=/d\ntickTime=2s", "zoo.cfg:2: tickTime: \"2s\" is not a number"),
        (
            "dataDir=/d\ntickTime=99999999999",
            "zoo.cfg:2: tickTime: 99999999999 is out of range, 0 to 2147483647",
        ),
        (
            "dataDir=/d\ntickTime=99999999999999999999",
            "zoo.cfg:2: tickTime: \"99999999999999999999\" is not a number",
        ),
        ("dataDir=/d\nsnapCount=many", "zoo.cfg:2: snapCount: \"many\" is not a number"),
        ("dataDir=/d\nclientPort=70000", "zoo.cfg:2: clientPort: 70000 is out of range, 0 to 65535"),
        ("dataDir=/d\nclientPort=", "zoo.cfg:2: clientPort: \"\" is not a number"),
        (
            "dataDir=/d\nclientPortAddress=::1",
            "zoo.cfg:2: clientPortAddress is set but clientPort is not set",
        ),
        (
            "dataDir=/d\nsecureClientPortAddress=::1",
            "zoo.cfg:2: secureClientPortAddress is set but secureClientPort is not set",
        ),
        (
            "dataDir=/d\nclientPort=1\nsecureClientPort=1",
            "zoo.cfg:3: clientPort and secureClientPort are both 1",
        ),
        (
            "dataDir=/d\nminSessionTimeout=9\nmaxSessionTimeout=8",
            "zoo.cfg:2: minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        (
            "dataDir=/d\nmaxSessionTimeout=8",
            "zoo.cfg:2: minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        ("dataDir=/d\nelectionAlg=0", "zoo.cfg:2: Invalid electionAlg value. Only 3 is supported."),
        ("dataDir=/d\npeerType=leader", "zoo.cfg:2: Unrecognised peertype: leader"),
        (
            "dataDir=/d\nreconfigEnabled=yes",
            "zoo.cfg:2: Invalid option yes for reconfigEnabled. Choose 'true' or 'false.'",
        ),
        (
            "dataDir=/d\nstandaloneEnabled=1",
            "zoo.cfg:2: Invalid option 1 for standaloneEnabled. Choose 'true' or 'false.'",
        ),
        ("dataDir=/d\ninitLimit=ten", "zoo.cfg:2: initLimit: \"ten\" is not a number"),
        (
            "dataDir=/d\nquorum.auth.serverRequireSasl=true",
            "zoo.cfg:2: quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            "dataDir=/d\nquorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true",
            "zoo.cfg:3: quorum.auth.learnerRequireSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            "dataDir=/d\nconnection_throttle_drop_increase=2",
            "zoo.cfg:2: connection_throttle_drop_increase: 2 is out of range, between 0 and 1",
        ),
        (
            "dataDir=/d\nringkeeper.pin=maybe",
            "zoo.cfg:2: ringkeeper.pin: \"maybe\" is not one of auto, yes, no",
        ),
        ("dataDir=/d\nringkeeper.threads=64", "zoo.cfg:2: ringkeeper.threads: 64 is out of range, 1 to 63"),
        (
            "dataDir=/d\nDigestAuthenticationProvider.digestAlg=ROT13",
            "zoo.cfg:2: don't support this ACL digest algorithm: ROT13",
        ),
        (
            "dataDir=/d\nautopurge.purgeInterval=soon",
            "zoo.cfg:2: autopurge.purgeInterval: \"soon\" is not a number",
        ),
        ("dataDir=/d\nx=\\u12", "zoo.cfg:2: Malformed \\uxxxx encoding."),
    ];
    for (file, expected) in cases {
        check_error(file, expected);
    }
}

#[test]
fn what_is_demanded_and_missing_stops_the_start() {
    let sasl =
        "demands SASL, which this release does not have; starting without it would be less safe than asked";
    let tls = sasl.replace("SASL", "TLS");
    let either = sasl.replace("SASL", "SASL or TLS");
    check_error(
        "dataDir=/d\nsessionRequireClientSASLAuth=true",
        &format!("zoo.cfg:2: sessionRequireClientSASLAuth {sasl}"),
    );
    for schemes in ["sasl", "x509", "sasl, x509"] {
        let file = format!("dataDir=/d\nenforce.auth.enabled=true\nenforce.auth.schemes={schemes}");
        check_error(&file, &format!("zoo.cfg:3: enforce.auth.schemes {either}"));
    }
    check_error("dataDir=/d\nsecureClientPort=2281", &format!("zoo.cfg:2: secureClientPort {tls}"));
    check_error(
        "dataDir=/d\nssl.clientAuth=need\nsecureClientPort=2281",
        &format!("zoo.cfg:3: secureClientPort {tls}"),
    );
    check_error(
        "dataDir=/d\nenforce.auth.enabled=true",
        "zoo.cfg:2: zookeeper.enforce.auth.enabled is true zookeeper.enforce.auth.schemes must be  configured.",
    );
    check_error(
        "dataDir=/d\nenforce.auth.enabled=true\nenforce.auth.schemes=digest,magic",
        "zoo.cfg:3: Authentication scheme magic is not available.",
    );
    check_error(
        "dataDir=/d\nclientPort=1\nsecureClientPort=2\nssl.authProvider=mine",
        "zoo.cfg:4: No auth provider configured for the SSL authentication scheme 'mine'.",
    );
    check_error(
        "dataDir=/d\nauthProvider.1=com.example.Mine",
        "zoo.cfg:2: authProvider.1: authentication provider com.example.Mine is not known here; remove it, or set \
         ringkeeper.allowUnknownAuthProvider=true to start without it",
    );
    check_notice("secureClientPort=2281", "", NoticeLevel::Warn, "0.0.0.0:2281 stays closed");
    check_notice(
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl",
        "",
        NoticeLevel::Warn,
        "this release has no sasl",
    );
    let allowed = "authProvider.1=com.example.Mine\nringkeeper.allowUnknownAuthProvider=true";
    check_notice(allowed, "", NoticeLevel::Warn, "authProvider.1 has no effect");
    let sasl_class = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
    check_notice(sasl_class, "", NoticeLevel::Warn, "authProvider.1 has no effect in this release");
}

#[test]
fn values_below_a_floor_are_raised_with_a_warning() {
    check_value("autopurge.snapRetainCount=1", "", "autopurge.snapRetainCount", "3 (zoo.cfg:1)");
    check_notice(
        "autopurge.snapRetainCount=1",
        "",
        NoticeLevel::Warn,
        "Invalid autopurge.snapRetainCount: 1. Defaulting to 3",
    );
    check_value("snapCount=1", "", "snapCount", "2 (zoo.cfg:1)");
    check_value("commitLogCount=1", "", "commitLogCount", "500 (zoo.cfg:1)");
    check_value("largeRequestMaxBytes=0", "", "largeRequestMaxBytes", "104857600 (default)");
    check_notice("largeRequestMaxBytes=0", "", NoticeLevel::Warn, "keeping 104857600");
}

#[test]
fn lax_booleans_are_false_unless_true() {
    check_value("enforceQuota=TRUE", "", "enforceQuota", "true (zoo.cfg:1)");
    check_value("digest.enabled=yes", "", "digest.enabled", "false (zoo.cfg:1)");
    check_notice("digest.enabled=yes", "", NoticeLevel::Warn, "neither true nor false; taken as false");
    check_value("forceSync=NO", "", "forceSync", "yes (zoo.cfg:1)");
    check_notice("forceSync=NO", "", NoticeLevel::Warn, "neither yes nor no; taken as yes");
    check_value("skipACL=true", "", "skipACL", "no (zoo.cfg:1)");
}

#[test]
fn numbers_of_properties_may_be_hexadecimal_and_those_of_keys_may_not() {
    check_value("jute.maxbuffer=0x400000", "", "jute.maxbuffer", "4194304 (zoo.cfg:1)");
    check_value("snapCount=#10", "", "snapCount", "16 (zoo.cfg:1)");
    check_value("snapCount=010", "", "snapCount", "8 (zoo.cfg:1)");
    check_value("tickTime=010", "", "tickTime", "10 (zoo.cfg:1)");
    check_value("tickTime=+10", "", "tickTime", "10 (zoo.cfg:1)");
    check_error("dataDir=/d\ntickTime=0x10", "zoo.cfg:2: tickTime: \"0x10\" is not a number");
    check_error("dataDir=/d\nsnapCount=0x", "zoo.cfg:2: snapCount: \"0x\" is not a number");
    check_error("dataDir=/d\nsnapCount=0x-5", "zoo.cfg:2: snapCount: \"0x-5\" is not a number");
}

#[test]
fn purge_intervals_have_units() {
    for (written, ms) in [
        ("1", 3_600_000),
        ("0", 0),
        ("-1", 0),
        ("90s", 90_000),
        ("5m", 300_000),
        ("250ms", 250),
        ("1d", 86_400_000),
    ] {
        let config =
            load(&format!("dataDir=/d\nautopurge.purgeInterval={written}"), "").expect("valid").config;
        assert_eq!(config.folders.purge_interval_ms, ms, "for {written}");
    }
    assert!(load("dataDir=/d\nautopurge.purgeInterval=9223372036854775807", "").is_err());
}

#[test]
fn line_ends_marks_and_blanks_make_no_difference() {
    let plain = "tickTime=2000\ndataDir=/d\nclientPort=2181\n";
    let expected = load(plain, "").expect("valid").config;
    for variant in [
        plain.replace('\n', "\r\n"),
        format!("\u{feff}{plain}"),
        plain.replace('\n', "  \t \n"),
        plain.replace('=', " : "),
        plain.replace('=', "\t"),
    ] {
        assert_eq!(load(&variant, "").expect("valid").config, expected, "for {variant:?}");
    }
}

#[test]
fn listen_addresses() {
    let cases = [
        ("clientPort=2181", "0.0.0.0:2181"),
        ("clientPort=0\nclientPortAddress=::1", "[::1]:0"),
        ("clientPort=1\nclientPortAddress=[::1]", "[::1]:1"),
        ("clientPort=1\nclientPortAddress=::", "0.0.0.0:1"),
        ("clientPort=1\nclientPortAddress=localhost", "localhost:1"),
        ("clientPort=1\nclientPortAddress=127.0.0.1", "127.0.0.1:1"),
        ("server.1=h:2888:3888;2181", "0.0.0.0:2181"),
        ("server.7=h:2888:3888;127.0.0.1:2181", "127.0.0.1:2181"),
        ("clientPort=1\nserver.7=h:2888:3888;2181", "0.0.0.0:1"),
    ];
    for (file, expected) in cases {
        let config = load(&format!("{file}\ndataDir=/d"), "").expect("valid").config;
        assert_eq!(config.net.client.expect("an address").to_string(), expected, "for {file:?}");
    }
}

#[test]
fn one_server_line_is_no_ensemble_and_two_are() {
    // As an ensemble they need what only one needs.
    check_error("dataDir=/d\nserver.1=a:1:2\nserver.2=b:1:2", "initLimit is not set");
    check_error("dataDir=/d\nserver.1=a:1:2\nstandaloneEnabled=false", "initLimit is not set");
    check_error(
        "dataDir=/d\nstandaloneEnabled=false",
        "standaloneEnabled = false then number of participants should be >0",
    );
    check_error(
        "dataDir=/d\nserver.1=a:1:2:observer",
        "zoo.cfg:2: Observers w/o participants is an invalid configuration",
    );
    check_error(
        "dataDir=/d\nserver.1=a:1:2\nserver.2=a:1:2:observer",
        "zoo.cfg:3: Observers w/o quorum is an invalid configuration",
    );
    check_error(
        "dataDir=/d\nserver.1=a:1",
        "zoo.cfg:2: server.1: a:1 does not have the form server_config or \
         server_config;client_config where server_config is the pipe separated list of host:port:port or \
         host:port:port:type and client_config is port or host:port",
    );
    check_error("dataDir=/d\nserver.x=a:1:2", "zoo.cfg:2: server.x: For input string: \"x\"");
    check_notice("server.1=a:1:2", "", NoticeLevel::Warn, "only one server line");
    let config = load("dataDir=/d\nserver.1=a:1:2;5", "").expect("valid").config;
    assert_eq!(config.members.len(), 1);
}

#[test]
fn my_id_decides_whether_the_server_line_is_about_this_server() {
    let inputs = |file: &str, my_id: &str| Inputs {
        raw: Raw::from_file("zoo.cfg", file.as_bytes()).expect("well-formed"),
        dynamic: None,
        my_id: Some(my_id.to_owned()),
    };
    let file = "dataDir=/d\nclientPort=1\nserver.7=h:2888:3888;2181";
    let error = check(&inputs(file, "7")).expect_err("two client addresses");
    assert_eq!(
        error.to_string(),
        "zoo.cfg:3: client address for this server (id = 7) in static config file is 0.0.0.0:1 \
         is different from client address found in dynamic file: 0.0.0.0:2181"
    );
    assert!(check(&inputs(file, "8")).is_ok());
    let file = "dataDir=/d\nclientPort=2181\nserver.7=h:2888:3888;127.0.0.1:2181";
    let client = check(&inputs(file, "7")).expect("a wildcard goes with any address").config.net.client;
    assert_eq!(client.expect("an address").to_string(), "127.0.0.1:2181");
    let error = check(&inputs("dataDir=/d", "one")).expect_err("not a number");
    assert_eq!(error.to_string(), "serverid one is not a number");
}

#[test]
fn a_dynamic_file_holds_membership_and_nothing_else() {
    let check_dynamic = |fixed: &str, dynamic: &str, expected: &str| {
        let inputs = Inputs {
            raw: Raw::from_file("zoo.cfg", fixed.as_bytes()).expect("well-formed"),
            dynamic: Some(Raw::from_file("zoo.cfg.dynamic", dynamic.as_bytes()).expect("well-formed")),
            my_id: None,
        };
        let found = match check(&inputs) {
            Ok(checked) => {
                checked.config.net.client.map_or("no port".to_owned(), |client| client.to_string())
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "for {fixed:?} with {dynamic:?}");
    };
    let fixed = "dataDir=/d\ndynamicConfigFile=zoo.cfg.dynamic";
    check_dynamic(fixed, "server.1=h:1:2:participant;0.0.0.0:2181", "0.0.0.0:2181");
    check_dynamic(fixed, "tickTime=1", "zoo.cfg.dynamic:1: Unrecognised parameter: tickTime");
    check_dynamic(fixed, "version=1", "zoo.cfg.dynamic:1: dynamic file shouldn't have version inside");
    check_dynamic(
        &format!("{fixed}\nserver.1=h:1:2"),
        "",
        "zoo.cfg:3: parameter: server.1 must be in a separate dynamic config file",
    );
}

#[test]
fn words_as_stock_lists_them() {
    let words = |line: &str| load(&format!("dataDir=/d\n{line}"), "").expect("valid").config.words;
    assert!(words("4lw.commands.whitelist=*").allows("wchp"));
    let some = words("4lw.commands.whitelist= ruok , conf,,");
    assert!(some.allows("ruok") && some.allows("conf") && some.allows("srvr") && !some.allows("dump"));
    assert!(words("readonlymode.enabled=true").allows("isro"));
    assert!(!words("4lw.commands.whitelist=").allows("ruok"));
}

/// Reliability M66: whatever the key, a value that is a secret enters nothing that can be printed.
#[test]
fn secrets_are_never_shown() {
    const CANARY: &str = "canary-7f3a";
    let keys = [
        "DigestAuthenticationProvider.superDigest",
        "ssl.keyStore.password",
        "ssl.trustStore.password",
        "ssl.quorum.keyStore.password",
        "SASLAuthenticationProvider.superPassword",
        "my.password",
        "superDigest",
        "metricsProvider.ssl.keyStore.password",
        "zookeeper.DigestAuthenticationProvider.superDigest",
        "zookeeper.zookeeper.DigestAuthenticationProvider.superDigest",
        "bogus",
        "clientPassword",
    ];
    for key in keys {
        let file = format!("dataDir=/d\n{key}={CANARY}");
        let flags =
            format!("-D{key}={CANARY} -Dzookeeper.{key}={CANARY} -javaagent:x={CANARY} -XX:OnError={CANARY}");
        let mut raw = Raw::from_file("zoo.cfg", file.as_bytes()).expect("well-formed");
        raw.add_flags(flags.split(' '), FlagSource::JvmFlags);
        let inputs = Inputs::from(raw);
        let checked = check(&inputs).expect("valid");
        let mut printed = format!("{inputs:?}{checked:?}{}", checked.table);
        for notice in &checked.notices {
            printed.push_str(&notice.text);
        }
        assert!(!printed.contains(CANARY), "{key}: {printed}");
    }
    // The superuser's digest does reach the one who compares it.
    let file = format!("dataDir=/d\nDigestAuthenticationProvider.superDigest={CANARY}");
    let secret = load(&file, "").expect("valid").config.auth.super_digest.expect("set");
    assert_eq!(secret.reveal(), CANARY);
}

#[test]
fn long_and_odd_values_are_cut_and_escaped_in_errors() {
    let long = "9".repeat(100_000);
    let error = load(&format!("dataDir=/d\ntickTime={long}x"), "").expect_err("not a number").to_string();
    assert!(error.len() < 400, "{} bytes", error.len());
    let error = load("dataDir=/d\ntickTime=1\\n2\\u001b[31m", "").expect_err("not a number").to_string();
    assert_eq!(error, "zoo.cfg:2: tickTime: \"1\\n2\\u{1b}[31m\" is not a number");
}

#[test]
fn legacy_arguments_are_a_configuration() {
    let arguments: Vec<String> = ["2181", "./d", "2000", "10"].iter().map(|&word| word.to_owned()).collect();
    let config = check(&Inputs::from(Raw::from_arguments(&arguments))).expect("valid").config;
    assert_eq!(config.net.client.map(|client| client.port), Some(2181));
    assert_eq!((config.tick_ms, config.net.connections_per_address_max), (2000, Some(10)));
    let error =
        check(&Inputs::from(Raw::from_arguments(&["x".to_owned(), "d".to_owned()]))).expect_err("no port");
    assert_eq!(error.to_string(), "argument: clientPort: \"x\" is not a number");
}

#[test]
fn the_table_has_one_row_a_key_and_columns() {
    let checked = load("dataDir=/d\nclientPort=2181", "-Dzookeeper.snapCount=9").expect("valid");
    let text = checked.table.to_string();
    for line in ["tickTime ", "clientPort ", "snapCount "] {
        assert_eq!(text.lines().filter(|row| row.starts_with(line)).count(), 1, "{line} in\n{text}");
    }
    let row = text.lines().find(|row| row.starts_with("snapCount ")).expect("a row");
    assert!(row.split_whitespace().eq(["snapCount", "9", "-D", "in", "JVMFLAGS"]), "{row}");
}

proptest::proptest! {
    /// Whatever the file says, the answer is a configuration or an error, and a configuration is within its bounds.
    #[test]
    fn any_value_of_any_key_is_accepted_or_refused(nth in 0..keys::KEYS.len(), value in "[-+x0-9a-z:;|.,]{0,12}") {
        let name = keys::KEYS[nth].name.replace('*', "1");
        if let Ok(checked) = load(&format!("dataDir=/d\n{name}={value}"), "") {
            let config = checked.config;
            proptest::prop_assert!(config.tick_ms >= 1);
            proptest::prop_assert!(config.sessions.timeout_ms_min <= config.sessions.timeout_ms_max);
            proptest::prop_assert!(config.storage.snap_count >= 2);
            proptest::prop_assert!(config.requests.frame_bytes_max >= 1);
        }
    }
}
