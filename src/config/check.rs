#![forbid(unsafe_code)]
//! From [`Raw`] to [`Config`]: validation, defaults, and the decision that one server line is no ensemble
//! (operations §1.2, §1.3; `QuorumPeerConfig.parseProperties`, `parseDynamicConfig`, `setupClientPort`).

use std::path::PathBuf;

use super::checked::{
    Auth, Config, ConnectThrottle, DateStyle, DigestAlgorithm, Ensemble, Folders, ListenAddress, LogFormat,
    LogLevel, Net, Own, Pin, Requests, Secret, Sessions, Storage, Tree, Words,
};
use super::document::ConfigDocument;
use super::error::{Cause, ConfigError, shown};
use super::members::{Member, MemberRole, parse_host, parse_member};
use super::raw::{Origin, Raw};
use super::reader::{Reader, Table};
use super::settings::{Notice, NoticeLevel, Settings, decimal};
use crate::base::{ServerId, limits};

/// Everything that was read before checking begins.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file, the flags.
    pub raw: Raw,
    /// The file `dynamicConfigFile` names, if it does.
    pub dynamic: Option<Raw>,
    /// First line of `dataDir/myid`, if there is such a file.
    pub my_id: Option<String>,
}

impl From<Raw> for Inputs {
    fn from(raw: Raw) -> Inputs {
        Inputs { raw, dynamic: None, my_id: None }
    }
}

/// A configuration that may start, with what there is to say about it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What code reads.
    pub config: Config,
    /// Effective values with their origins.
    pub table: Table,
    /// One line each for the start-up log.
    pub notices: Vec<Notice>,
}

/// Checks everything and fills in the defaults.
///
/// # Errors
/// The first thing wrong, with its file and line; the server must not start (exit status 2) and nothing was touched.
pub fn check(inputs: &Inputs) -> Result<Checked, ConfigError> {
    let mut reader = Reader::new(Settings::resolve(&inputs.raw)?);
    let (members, document) = check_membership(&mut reader, inputs)?;
    check_quorum_sasl(&mut reader)?;

    let tick_ms = reader.unsigned("tickTime", 3000, 0..=i32::MAX as u32)?;
    if tick_ms == 0 {
        let origin = reader.text("tickTime").map_or(Origin::Default, |value| value.origin);
        return Err(ConfigError::new(origin, Cause::NotSet("tickTime")));
    }
    let folders = check_folders(&mut reader)?;
    let net = check_net(&mut reader, inputs, &members)?;
    let sessions = check_sessions(&mut reader, tick_ms)?;
    let storage = check_storage(&mut reader)?;
    let tree = check_tree(&mut reader)?;
    let requests = check_requests(&mut reader)?;
    let connect_throttle = check_connect_throttle(&mut reader)?;
    let own = check_own(&mut reader)?;
    let auth = check_auth(&mut reader)?;
    check_tls(&mut reader, &net)?;
    check_metrics(&mut reader);
    let words = check_words(&mut reader);
    let ensemble = match document {
        Some(document) => Some(check_ensemble(&mut reader, inputs, document, tree.extended_types)?),
        None => None,
    };

    let members = members.into_iter().map(|(member, _)| member).collect();
    let config = Config {
        tick_ms,
        net,
        sessions,
        folders,
        storage,
        tree,
        requests,
        connect_throttle,
        auth,
        words,
        own,
        members,
        ensemble,
    };
    let mut notices = reader.settings.notices;
    // Warnings first: they are what an operator should see above a long table.
    notices.sort_by_key(|notice| notice.level != NoticeLevel::Warn);
    Ok(Checked { config, table: reader.table, notices })
}

/// Server lines, and the document of the ensemble they make, if they make one.
type Membership = (Vec<(Member, Origin)>, Option<ConfigDocument>);

/// Server lines of the one file that may hold them, and whether they make an ensemble.
fn check_membership(reader: &mut Reader, inputs: &Inputs) -> Result<Membership, ConfigError> {
    if let Some(value) = reader.text("electionAlg")
        && reader.number("electionAlg", 3, i64::MIN..=i64::MAX)? != 3
    {
        return Err(ConfigError::new(value.origin, Cause::ElectionAlgorithm));
    }
    if let Some(value) = reader.text("peerType") {
        if !["participant", "observer"].contains(&value.text.to_lowercase().as_str()) {
            return Err(ConfigError::new(value.origin, Cause::PeerType(shown(&value.text))));
        }
        reader.note("peerType", value.text, value.origin);
    }
    let standalone_enabled = reader.strict_bool("standaloneEnabled", true)?;
    let multi_address = reader.strict_bool("multiAddress.enabled", false)?;
    if let Some(value) = reader.text("dynamicConfigFile") {
        reader.note("dynamicConfigFile", value.text, value.origin);
    }
    let source = match &inputs.dynamic {
        None => &inputs.raw,
        Some(dynamic) => {
            for item in &inputs.raw.file {
                if item.key.starts_with("server.")
                    || item.key.starts_with("group")
                    || item.key.starts_with("weight")
                {
                    let cause = Cause::BelongsInDynamicFile(shown(&item.key));
                    return Err(ConfigError::new(item.origin.clone(), cause));
                }
            }
            for item in &dynamic.file {
                let known =
                    ["server.", "group", "weight"].iter().any(|beginning| item.key.starts_with(beginning));
                if item.key == "version" {
                    return Err(ConfigError::new(item.origin.clone(), Cause::VersionInside));
                }
                if !known {
                    let cause = Cause::UnrecognisedParameter(shown(&item.key));
                    return Err(ConfigError::new(item.origin.clone(), cause));
                }
            }
            dynamic
        }
    };
    let mut members: Vec<(Member, Origin)> = Vec::new();
    for item in &source.file {
        // `server.realm` is a SASL key that happens to begin so.
        let Some(id) = item.key.strip_prefix("server.").filter(|_| item.key != "server.realm") else {
            continue;
        };
        let member = parse_member(id, &item.value, multi_address).map_err(|why| {
            ConfigError::new(item.origin.clone(), Cause::ServerLine { key: shown(&item.key), why })
        })?;
        reader.note(&item.key, &member, item.origin.clone());
        members.retain(|(other, _)| other.id != member.id);
        members.push((member, item.origin.clone()));
    }
    members.sort_by_key(|(member, _)| member.id);
    if let Some(text) = inputs.my_id.as_ref().filter(|text| decimal(text).is_none()) {
        return Err(ConfigError::nowhere(Cause::MyIdNotNumber(shown(text))));
    }

    let voters = members.iter().filter(|(member, _)| member.role == MemberRole::Participant).count();
    let observers = members.len() - voters;
    let last_origin = members.last().map_or(Origin::Default, |(_, origin)| origin.clone());
    let refuse = |cause| Err(ConfigError::new(last_origin.clone(), cause));
    match (voters, observers) {
        (0, _) if !standalone_enabled => refuse(Cause::NoParticipants),
        (0, 1..) => refuse(Cause::OnlyObservers),
        (1, 1..) if standalone_enabled => refuse(Cause::ObserversWithoutQuorum),
        (0, 0) => Ok((members, None)),
        (1, 0) if standalone_enabled => {
            reader
                .settings
                .warn("only one server line: running as a single server, as stock does".to_owned());
            Ok((members, None))
        }
        _ => {
            let belongs = |key: &str| {
                let server = key.starts_with("server.") && key != "server.realm";
                server || key.starts_with("group") || key.starts_with("weight")
            };
            let items = source.file.iter().filter(|item| belongs(&item.key));
            let pairs = items.map(|item| (item.key.clone(), item.value.clone()));
            match ConfigDocument::from_pairs(pairs, multi_address) {
                Ok(document) => Ok((members, Some(document))),
                Err(error) => refuse(Cause::Groups(error.to_string())),
            }
        }
    }
}

/// What only a member reads (`QuorumPeerConfig.parseDynamicConfig`, `setupMyId`, `setupPeerType`; `QuorumPeer.start`).
fn check_ensemble(
    reader: &mut Reader,
    inputs: &Inputs,
    document: ConfigDocument,
    extended_types: bool,
) -> Result<Ensemble, ConfigError> {
    let mut ticks = |key: &'static str| match reader.unsigned(key, 0, 0..=i32::MAX as u32)? {
        0 => {
            let origin = reader.text(key).map_or(Origin::Default, |value| value.origin);
            Err(ConfigError::new(origin, Cause::NotSet(key)))
        }
        ticks => Ok(ticks),
    };
    let (init_limit, sync_limit) = (ticks("initLimit")?, ticks("syncLimit")?);
    reader.settings.warn(
        "ensembles are new in this release and have not been through its long campaigns of faults: not for data that cannot be lost"
            .to_owned(),
    );
    for key in ["syncEnabled", "observer.syncEnabled", "oraclePath", "reconfigEnabled"] {
        if reader.text(key).is_some() {
            reader.settings.warn(format!("{key} has no effect on a member yet"));
        }
    }
    let connect_limit = reader.small_limit("connectToLearnerMasterLimit", None, 0)?;
    let Some(id) = inputs.my_id.as_deref().and_then(decimal) else {
        return Err(ConfigError::nowhere(Cause::MyIdMissing));
    };
    let Some(own) = document.members.get(&ServerId(id)) else {
        return Err(ConfigError::nowhere(Cause::NotAMember(id)));
    };
    if extended_types && !(0..=254).contains(&id) {
        return Err(ConfigError::nowhere(Cause::MyIdTooLarge(id)));
    }
    if let Some(written) = reader.text("peerType") {
        let observes = written.text.eq_ignore_ascii_case("observer");
        if observes != (own.role == MemberRole::Observer) {
            reader.settings.warn(format!(
                "peerType says {}, the server lines do not: they decide",
                shown(&written.text)
            ));
        }
    }
    let notification_ms_min =
        reader.unsigned("fastleader.minNotificationInterval", 200, 1..=i32::MAX as u32)?;
    let longest = 60_000.max(notification_ms_min);
    let observer_master_port = match reader.unsigned("observerMasterPort", 0, 0..=65_535)? {
        0 => None,
        port => Some(port as u16),
    };
    // Without masters a fleet of observers is small, and its clients had rather not wait.
    let election_delay_ms = if observer_master_port.is_some() { 200 } else { 0 };
    Ok(Ensemble {
        me: ServerId(id),
        document,
        init_limit,
        sync_limit,
        connect_limit,
        listen_on_all: reader.strict_bool("quorumListenOnAllIPs", false)?,
        local_sessions: reader.strict_bool("localSessionsEnabled", false)?,
        local_sessions_upgrade: reader.strict_bool("localSessionsUpgradingEnabled", false)?,
        connect_timeout_ms: reader.unsigned("cnxTimeout", 5000, 1..=i32::MAX as u32)?,
        notification_ms_min,
        notification_ms_max: reader.unsigned(
            "fastleader.maxNotificationInterval",
            longest,
            notification_ms_min..=i32::MAX as u32,
        )?,
        snaps_max: reader.unsigned("leader.maxConcurrentSnapSyncs", 10, 1..=i32::MAX as u32)?,
        diffs_max: reader.unsigned("leader.maxConcurrentDiffSyncs", 100, 1..=i32::MAX as u32)?,
        observer_master_port,
        observer_held_bytes_max: reader.unsigned(
            "observerMaster.sizeLimit",
            32 << 20,
            0..=i32::MAX as u32,
        )?,
        observer_election_delay_ms: reader.unsigned(
            "observer.election.DelayMs",
            election_delay_ms,
            0..=i32::MAX as u32,
        )?,
        observer_reconnect_delay_ms: reader.unsigned("observer.reconnectDelayMs", 0, 0..=i32::MAX as u32)?,
    })
}

fn check_quorum_sasl(reader: &mut Reader) -> Result<(), ConfigError> {
    const ENABLE: &str = "quorum.auth.enableSasl";
    const SERVER: &str = "quorum.auth.serverRequireSasl";
    const LEARNER: &str = "quorum.auth.learnerRequireSasl";
    let enabled = reader.strict_bool(ENABLE, false)?;
    let server_requires = reader.strict_bool(SERVER, false)?;
    let learner_requires = reader.strict_bool(LEARNER, false)?;
    let rules = [
        (!enabled && server_requires, ENABLE, SERVER),
        (!enabled && learner_requires, ENABLE, LEARNER),
        (!learner_requires && server_requires, LEARNER, SERVER),
    ];
    for (broken, needed, asked) in rules {
        if broken {
            let origin = reader.text(asked).map_or(Origin::Default, |value| value.origin);
            return Err(ConfigError::new(origin, Cause::QuorumSasl { needed, asked }));
        }
    }
    if enabled {
        reader.settings.warn(format!("{ENABLE} has no effect: a single server has no quorum"));
    }
    Ok(())
}

fn check_folders(reader: &mut Reader) -> Result<Folders, ConfigError> {
    let Some(data) = folder(reader, "dataDir")? else {
        return Err(ConfigError::nowhere(Cause::NotSet("dataDir")));
    };
    let log = match folder(reader, "dataLogDir")? {
        Some(log) => log,
        None => {
            reader.note("dataLogDir", data.display(), Origin::Default);
            data.clone()
        }
    };
    let snapshots_retained = reader.floored("autopurge.snapRetainCount", 3, 3)?;
    let purge_interval_ms = match reader.text("autopurge.purgeInterval") {
        None => {
            reader.note("autopurge.purgeInterval", 0, Origin::Default);
            0
        }
        Some(value) => {
            let Some(interval_ms) = parse_interval_ms(&value.text) else {
                let cause =
                    Cause::NotNumber { key: "autopurge.purgeInterval".to_owned(), value: shown(&value.text) };
                return Err(ConfigError::new(value.origin, cause));
            };
            reader.note("autopurge.purgeInterval", &value.text, value.origin);
            interval_ms
        }
    };
    Ok(Folders {
        data,
        log,
        create_missing: reader.lax_bool("datadir.autocreate", true),
        accept_empty: reader.lax_bool("db.autocreate", true),
        snapshots_retained,
        purge_interval_ms,
    })
}

fn folder(reader: &mut Reader, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    let Some(value) = reader.text(key) else { return Ok(None) };
    if value.text.is_empty() {
        return Err(ConfigError::new(value.origin, Cause::Empty { key: key.to_owned() }));
    }
    let path = PathBuf::from(&value.text);
    if path.is_relative() && !value.text.starts_with('.') && matches!(value.origin, Origin::File { .. }) {
        let text = shown(&value.text);
        reader.settings.warn(format!("{key}: {text} is relative. Prepend ./ to indicate that you're sure!"));
    }
    reader.note(key, &value.text, value.origin);
    Ok(Some(path))
}

/// Bare digits are hours; `ms`, `s`, `m`, `h` and `d` as in 3.10 (`Time.parseTimeInterval`). Negative is off.
fn parse_interval_ms(text: &str) -> Option<u64> {
    let digits_end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let unit_ms: i64 = match text[digits_end..].trim() {
        "" | "h" => 3_600_000,
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let interval_ms = decimal(&text[..digits_end])?.checked_mul(unit_ms)?;
    Some(u64::try_from(interval_ms).unwrap_or(0))
}

fn check_net(reader: &mut Reader, inputs: &Inputs, members: &[(Member, Origin)]) -> Result<Net, ConfigError> {
    let fixed = listen_address(reader, "clientPort", "clientPortAddress")?;
    let secure_client = listen_address(reader, "secureClientPort", "secureClientPortAddress")?;
    let my_id = inputs.my_id.as_deref().and_then(decimal);
    let own = match members {
        [only] => Some(only),
        members => members.iter().find(|(member, _)| Some(member.id.0) == my_id),
    };
    let client = match (fixed, own) {
        (None, Some((member, origin))) => {
            if let Some(client) = &member.client {
                reader.note("clientPort", client.port, origin.clone());
                reader.note("clientPortAddress", &client.host, origin.clone());
            }
            member.client.clone()
        }
        // The line replaces the static keys only in the server it is about, which `myid` decides.
        (Some(fixed), Some((member, origin))) if my_id == Some(member.id.0) => match &member.client {
            Some(dynamic) if !same_listener(&fixed, dynamic) => {
                let cause = Cause::ClientAddressConflict {
                    id: member.id.0,
                    fixed: fixed.to_string(),
                    dynamic: dynamic.to_string(),
                };
                return Err(ConfigError::new(origin.clone(), cause));
            }
            Some(dynamic) => Some(dynamic.clone()),
            None => Some(fixed),
        },
        (fixed, _) => fixed,
    };
    if let (Some(plain), Some(secure)) = (&client, &secure_client) {
        let overlap = plain.host == secure.host || plain.is_any() || secure.is_any();
        if plain.port == secure.port && plain.port != 0 && overlap {
            let origin = reader.text("secureClientPort").map_or(Origin::Default, |value| value.origin);
            return Err(ConfigError::new(origin, Cause::DuplicatePort(plain.port)));
        }
    }
    if client.is_none() && secure_client.is_none() {
        reader.settings.warn("clientPort is not set: nobody can connect".to_owned());
    }
    let any = i64::from(i32::MIN)..=i64::from(i32::MAX);
    let listen_backlog = reader.number("clientPortListenBacklog", -1, any)?;
    Ok(Net {
        client,
        secure_client,
        listen_backlog: i32::try_from(listen_backlog).expect("within bounds of 32 bits"),
        connections_per_address_max: reader.small_limit("maxClientCnxns", Some(60), 0)?,
        connections_max: reader.small_limit("maxCnxns", None, 0)?,
        tcp_keep_alive: reader.lax_bool("clientTcpKeepAlive", false),
        sessionless_timeout_ms: reader.unsigned("nio.sessionlessCnxnTimeout", 10_000, 1..=i32::MAX as u32)?,
    })
}

/// `QuorumPeerConfig.setupClientPort`: a wildcard in the static file goes with any address of the same port.
fn same_listener(fixed: &ListenAddress, dynamic: &ListenAddress) -> bool {
    fixed.port == dynamic.port && (fixed.is_any() || fixed.host == dynamic.host)
}

fn listen_address(
    reader: &mut Reader,
    port_key: &'static str,
    address_key: &'static str,
) -> Result<Option<ListenAddress>, ConfigError> {
    let address = reader.text(address_key);
    if reader.text(port_key).is_none() {
        return match address {
            None => Ok(None),
            Some(value) => {
                let cause = Cause::AddressWithoutPort { address: address_key, port: port_key };
                Err(ConfigError::new(value.origin, cause))
            }
        };
    }
    let port = reader.number(port_key, 0, 0..=i64::from(u16::MAX))?;
    let port = u16::try_from(port).expect("within bounds of 16 bits");
    let (host, origin) = match address {
        None => (super::Host::Any, Origin::Default),
        // Java resolves the empty name to the loopback address, which nobody means.
        Some(value) if value.text.is_empty() => {
            return Err(ConfigError::new(value.origin, Cause::Empty { key: address_key.to_owned() }));
        }
        Some(value) => (parse_host(&value.text), value.origin),
    };
    reader.note(address_key, &host, origin);
    Ok(Some(ListenAddress { host, port }))
}

fn check_sessions(reader: &mut Reader, tick_ms: u32) -> Result<Sessions, ConfigError> {
    let mut read = |key: &'static str, ticks: u32| -> Result<u32, ConfigError> {
        let default_ms = tick_ms.saturating_mul(ticks).min(i32::MAX as u32);
        // -1 is stock's way to write "the default".
        match reader.text(key).map(|value| value.text).as_deref() {
            None | Some("-1") => {
                reader.note(key, default_ms, Origin::Default);
                Ok(default_ms)
            }
            Some(_) => reader.unsigned(key, default_ms, 0..=i32::MAX as u32),
        }
    };
    let timeout_ms_min = read("minSessionTimeout", 2)?;
    let timeout_ms_max = read("maxSessionTimeout", 20)?;
    if timeout_ms_min > timeout_ms_max {
        let written = reader.text("minSessionTimeout").or_else(|| reader.text("maxSessionTimeout"));
        let origin = written.map_or(Origin::Default, |value| value.origin);
        return Err(ConfigError::new(origin, Cause::SessionTimeoutsCross));
    }
    Ok(Sessions { timeout_ms_min, timeout_ms_max })
}

fn check_storage(reader: &mut Reader) -> Result<Storage, ConfigError> {
    let snap_count = reader.floored("snapCount", 100_000, 2)?;
    let snap_log_bytes = reader.limit("snapSizeLimitInKb", Some(4_194_304), 0, 1024)?;
    let segment_kib = reader.unsigned("preAllocSize", 65_536, 64..=16_777_216)?;
    let segment_bytes_limit = reader.limit("txnLogSizeLimitInKb", None, 0, 1024)?;
    let commit_log_count = reader.floored("commitLogCount", 500, 500)?;
    let log_range_share = reader.number_or_default("snapshotSizeFactor", 0.33);
    let force_sync = reader.yes_no("forceSync", true);
    if !force_sync {
        reader.settings.warn(
            "forceSync=no: writes are acknowledged before the disk has them; a power cut loses acknowledged writes"
                .to_owned(),
        );
    }
    Ok(Storage {
        snap_count,
        snap_log_bytes,
        segment_bytes: u64::from(segment_kib) * 1024,
        segment_bytes_limit,
        commit_log_count,
        log_range_share,
        force_sync,
        flush_warning_ms: reader.unsigned("fsync.warningthresholdms", 1000, 0..=i32::MAX as u32)?,
        flush_delay_ms: reader.unsigned("flushDelay", 0, 0..=60_000)?,
        batch_requests_max: reader.positive_or_default("maxBatchSize", 1000, 1)?,
    })
}

fn check_tree(reader: &mut Reader) -> Result<Tree, ConfigError> {
    Ok(Tree {
        digest: reader.lax_bool("digest.enabled", true),
        close_session_txn: reader.lax_bool("closeSessionTxn.enabled", true),
        extended_types: reader.lax_bool("extendedTypesEnabled", false),
        container_check_interval_ms: reader.unsigned(
            "znode.container.checkIntervalMs",
            60_000,
            1..=i32::MAX as u32,
        )?,
        container_removals_per_minute: reader.unsigned(
            "znode.container.maxPerMinute",
            10_000,
            1..=i32::MAX as u32,
        )?,
        container_never_used_ms: reader.limit("znode.container.maxNeverUsedIntervalMs", None, 0, 1)?,
        enforce_quota: reader.lax_bool("enforceQuota", false),
    })
}

fn check_requests(reader: &mut Reader) -> Result<Requests, ConfigError> {
    let frame_bytes_max =
        reader.unsigned("jute.maxbuffer", limits::FRAME_BYTES_MAX as u32, 1..=i32::MAX as u32)?;
    // BinaryInputArchive: what is below 1024 counts as 1024.
    let extra = reader.limit("jute.maxbuffer.extrasize", Some(u64::from(frame_bytes_max)), -1, 1)?;
    let record_extra_bytes = extra.unwrap_or(0).clamp(1024, i32::MAX as u64) as u32;
    Ok(Requests {
        frame_bytes_max,
        record_extra_bytes,
        outstanding_max: reader.unsigned("globalOutstandingLimit", 1000, 1..=i32::MAX as u32)?,
        throttle_requests_max: reader.small_limit("request_throttle_max_requests", None, 0)?,
        throttle_stall_ms: reader.unsigned("request_throttle_stall_time", 100, 1..=i32::MAX as u32)?,
        throttle_drop_stale: reader.lax_bool("request_throttle_drop_stale", true),
        stale_latency_check: reader.lax_bool("request_stale_latency_check", false),
        stale_connection_check: reader.lax_bool("request_stale_connection_check", true),
        throttled_op_wait_ms: reader.small_limit("throttled_op_wait_time", None, 0)?,
        large_bytes_max: reader.positive_or_default("largeRequestMaxBytes", 104_857_600, 1)?,
        large_threshold_bytes: reader.small_limit("largeRequestThreshold", None, 0)?,
    })
}

fn check_connect_throttle(reader: &mut Reader) -> Result<ConnectThrottle, ConfigError> {
    Ok(ConnectThrottle {
        tokens: reader.small_limit("connection_throttle_tokens", None, 0)?,
        fill_time_ms: reader.unsigned("connection_throttle_fill_time", 1, 1..=i32::MAX as u32)?,
        fill_count: reader.unsigned("connection_throttle_fill_count", 1, 0..=i32::MAX as u32)?,
        freeze_time_ms: reader.small_limit("connection_throttle_freeze_time", None, -1)?,
        drop_increase: reader.share("connection_throttle_drop_increase", 0.02)?,
        drop_decrease: reader.share("connection_throttle_drop_decrease", 0.002)?,
        decrease_ratio: reader.share("connection_throttle_decrease_ratio", 0.0)?,
        weighted: reader.lax_bool("connection_throttle_weight_enabled", false),
        global_session_weight: reader.positive_or_default(
            "connection_throttle_global_session_weight",
            3,
            1,
        )?,
        renew_session_weight: reader.positive_or_default("connection_throttle_renew_session_weight", 2, 1)?,
        local_session_weight: reader.positive_or_default("connection_throttle_local_session_weight", 1, 1)?,
    })
}

fn check_auth(reader: &mut Reader) -> Result<Auth, ConfigError> {
    const SUPER: &str = "DigestAuthenticationProvider.superDigest";
    const ALGORITHM: &str = "DigestAuthenticationProvider.digestAlg";
    let skip_acl = reader.yes_no("skipACL", false);
    if skip_acl {
        reader.settings.warn("skipACL=yes: everybody may do everything".to_owned());
    }
    let super_digest = reader.text(SUPER);
    match &super_digest {
        None => reader.note(SUPER, "none", Origin::Default),
        Some(value) => reader.note(SUPER, super::MASK, value.origin.clone()),
    }
    let digest_algorithm = match reader.text(ALGORITHM) {
        None => {
            reader.note(ALGORITHM, "SHA1", Origin::Default);
            DigestAlgorithm::Sha1
        }
        Some(value) => {
            let Some(algorithm) = DigestAlgorithm::from_java_name(&value.text) else {
                return Err(ConfigError::new(value.origin, Cause::DigestAlgorithm(shown(&value.text))));
            };
            reader.note(ALGORITHM, &value.text, value.origin);
            algorithm
        }
    };
    check_auth_providers(reader)?;
    let enforced_schemes = check_enforced_schemes(reader)?;
    Ok(Auth {
        skip_acl,
        super_digest: super_digest.map(|value| Secret::new(&value.text)),
        digest_algorithm,
        digest_enabled: reader.lax_bool("DigestAuthenticationProvider.enabled", true),
        enforced_schemes,
    })
}

/// Java classes of stock's own are mapped to what is built in; a stranger's class cannot be run, and starting
/// without it could leave doors open.
fn check_auth_providers(reader: &mut Reader) -> Result<(), ConfigError> {
    let allow_unknown = reader.strict_bool("ringkeeper.allowUnknownAuthProvider", false)?;
    for (key, value) in reader.settings.beginning_with("authProvider.") {
        let key = shown(&key);
        match value.text.strip_prefix("org.apache.zookeeper.server.auth.") {
            Some("DigestAuthenticationProvider" | "IPAuthenticationProvider") => {}
            Some(
                "SASLAuthenticationProvider"
                | "X509AuthenticationProvider"
                | "EnsembleAuthenticationProvider"
                | "KeyAuthenticationProvider",
            ) => {
                reader.settings.warn(format!("{key} has no effect in this release, which has no such scheme"))
            }
            _ if allow_unknown => {
                reader.settings.warn(format!("{key} has no effect: Java classes cannot be loaded here"));
            }
            _ => {
                let cause = Cause::UnknownAuthProvider { key, class: shown(&value.text) };
                return Err(ConfigError::new(value.origin, cause));
            }
        }
    }
    Ok(())
}

/// `AuthenticationHelper.initConfigurations`.
fn check_enforced_schemes(reader: &mut Reader) -> Result<Option<Vec<Box<str>>>, ConfigError> {
    const SASL_REQUIRED: &str = "sessionRequireClientSASLAuth";
    const ENABLED: &str = "enforce.auth.enabled";
    const SCHEMES: &str = "enforce.auth.schemes";
    if reader.lax_bool(SASL_REQUIRED, false) {
        let origin = reader.text(SASL_REQUIRED).map_or(Origin::Default, |value| value.origin);
        let cause = Cause::DemandsMissing { key: SASL_REQUIRED.to_owned(), what: "SASL" };
        return Err(ConfigError::new(origin, cause));
    }
    let enabled = reader.lax_bool(ENABLED, false);
    let (list, origin) = match reader.text(SCHEMES) {
        None => (String::new(), reader.text(ENABLED).map_or(Origin::Default, |value| value.origin)),
        Some(value) => (value.text, value.origin),
    };
    reader.note(SCHEMES, if list.is_empty() { "none" } else { &list }, origin.clone());
    if !enabled {
        return Ok(None);
    }
    let mut schemes: Vec<Box<str>> = Vec::new();
    for scheme in list.split(',').map(str::trim).filter(|scheme| !scheme.is_empty()) {
        match scheme {
            "digest" | "ip" | "world" | "auth" => schemes.push(scheme.into()),
            "sasl" | "x509" => reader.settings.warn(format!(
                "{SCHEMES}: this release has no {scheme}; sessions need one of the other schemes"
            )),
            other => return Err(ConfigError::new(origin, Cause::UnknownScheme(shown(other)))),
        }
    }
    match (schemes.is_empty(), list.trim().is_empty()) {
        (_, true) => Err(ConfigError::new(origin, Cause::NoSchemes)),
        (true, false) => {
            let cause = Cause::DemandsMissing { key: SCHEMES.to_owned(), what: "SASL or TLS" };
            Err(ConfigError::new(origin, cause))
        }
        (false, false) => Ok(Some(schemes)),
    }
}

/// TLS is not in this release: the secure port stays closed, and where it would be the only door the server does not
/// start, whatever `ssl.clientAuth` says.
fn check_tls(reader: &mut Reader, net: &Net) -> Result<(), ConfigError> {
    for key in ["ssl.authProvider", "ssl.clientAuth"] {
        if reader.text(key).is_some() {
            reader.settings.warn(format!("{key} has no effect in this release, which has no TLS"));
        }
    }
    let Some(secure) = &net.secure_client else { return Ok(()) };
    let (key, origin) = match reader.text("secureClientPort") {
        Some(value) => ("secureClientPort", value.origin),
        None => return Ok(()),
    };
    if let Some(value) = reader.text("ssl.authProvider").filter(|value| value.text != "x509")
        && reader.text(&format!("authProvider.{}", value.text)).is_none()
    {
        return Err(ConfigError::new(value.origin, Cause::NoSslAuthProvider(shown(&value.text))));
    }
    if net.client.is_none() {
        return Err(ConfigError::new(origin, Cause::DemandsMissing { key: key.to_owned(), what: "TLS" }));
    }
    reader.settings.warn(format!("{key}: this release has no TLS, {secure} stays closed"));
    Ok(())
}

fn check_metrics(reader: &mut Reader) {
    const KEY: &str = "metricsProvider.className";
    const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    let Some(value) = reader.text(KEY) else { return };
    match value.text.as_str() {
        "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"
        | "org.apache.zookeeper.metrics.impl.NullMetricsProvider" => {}
        PROMETHEUS => {
            reader.settings.warn(format!(
                "{KEY} has no effect in this release, which has no metrics page; see the word mntr"
            ));
        }
        other => {
            let class = shown(other);
            reader
                .settings
                .warn(format!("{KEY} has no effect: Java classes such as {class} cannot be loaded here"));
        }
    }
    reader.note(KEY, value.text, value.origin);
}

/// `FourLetterCommands.isEnabled`.
fn check_words(reader: &mut Reader) -> Words {
    const KEY: &str = "4lw.commands.whitelist";
    let read_only_mode = reader.lax_bool("readonlymode.enabled", false);
    let value = reader.text(KEY);
    let (list, origin) =
        value.map_or(("srvr".to_owned(), Origin::Default), |value| (value.text, value.origin));
    reader.note(KEY, &list, origin);
    let mut words = Words { all: false, listed: Default::default(), read_only_mode };
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        words.all |= word == "*";
        words.listed.insert(word.into());
    }
    // zkServer.sh asks srvr for its status.
    words.listed.insert("srvr".into());
    if read_only_mode {
        words.listed.insert("isro".into());
    }
    words
}

fn check_own(reader: &mut Reader) -> Result<Own, ConfigError> {
    let threads = match reader.text("ringkeeper.threads") {
        Some(value) if !value.text.eq_ignore_ascii_case("auto") => {
            Some(reader.unsigned("ringkeeper.threads", 1, 1..=limits::SHARDS_MAX as u32)? as u8)
        }
        written => {
            reader.note("ringkeeper.threads", "auto", written.map_or(Origin::Default, |value| value.origin));
            None
        }
    };
    let levels = [
        ("info", LogLevel::Info),
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    Ok(Own {
        threads,
        pin: reader.choice(
            "ringkeeper.pin",
            &[("auto", Pin::Auto), ("yes", Pin::Yes), ("no", Pin::No)],
            "auto, yes, no",
        )?,
        log_level: reader.choice("ringkeeper.logLevel", &levels, "error, warn, info, debug, trace")?,
        log_format: reader.choice(
            "ringkeeper.logFormat",
            &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)],
            "auto, text, json",
        )?,
        build_date_style: reader.choice(
            "ringkeeper.buildDateStyle",
            &[("iso", DateStyle::Iso), ("us", DateStyle::Us)],
            "iso, us",
        )?,
        session_creations_per_second: reader.small_limit(
            "ringkeeper.maxSessionCreationsPerSecond",
            None,
            0,
        )?,
        session_creations_per_second_per_address: reader.small_limit(
            "ringkeeper.maxSessionCreationsPerSecondPerAddress",
            None,
            0,
        )?,
        sessionless_per_address_max: reader.small_limit("ringkeeper.maxSessionlessPerAddress", None, 0)?,
        multi_ops_max: reader.small_limit("ringkeeper.maxMultiOps", None, 0)?,
        path_bytes_max: reader.small_limit("ringkeeper.maxPathBytes", None, 0)?,
        path_depth_max: reader.small_limit("ringkeeper.maxPathDepth", None, 0)?,
        words_per_second: reader.small_limit("ringkeeper.maxWordsPerSecond", None, 0)?,
        syncs_max: reader.small_limit("ringkeeper.maxSyncs", None, 0)?,
        memory_mb_max: reader.small_limit("ringkeeper.maxMemoryMb", None, 0)?,
        disk_free_mb_min: reader.small_limit("ringkeeper.minFreeDiskMb", None, 0)?,
    })
}
