#![forbid(unsafe_code)]
//! `mntr`: everything counted, a line `zk_KEY<TAB>VALUE` each (operations §4.5, §6.3; stock `MonitorCommand`,
//! `DefaultMetricsProvider`).
//!
//! The classic keys come first: the Nagios plug-in reads one chunk of 2048 bytes. Every value matches `[\w.-]+`:
//! Telegraf refuses the whole reply over one line that does not. Stages that only stock's engine has print zero, so
//! that dashboards keep their panels.

use super::answer::{Answer, Piece};
use super::java::decimal;
use super::status::{Mode, ServerView, shown};
use crate::base::ServerId;
use crate::runtime::metrics::{Distribution, Metrics, Namespaces, SequencerMetrics, Summary, Timing};
use crate::wire::OpCode;
use std::fmt::{Display, Write};
use std::iter::once;

/// What a quota says about its subtree; -1 for no limit.
#[derive(Clone, Debug)]
pub struct QuotaView {
    /// First component of the path, bytes as stored.
    pub namespace: Box<[u8]>,
    /// Znodes allowed.
    pub count_limit: i64,
    /// Bytes allowed.
    pub bytes_limit: i64,
    /// Znodes there are.
    pub count_usage: i64,
    /// Bytes there are.
    pub bytes_usage: i64,
}

/// What `mntr` shows of a member of an ensemble.
#[derive(Clone, Copy, Debug)]
pub struct MemberView {
    /// Members with a vote.
    pub voters: usize,
    /// Whom an observer learns from.
    pub observed: Option<ServerId>,
    /// While it leads.
    pub leader: Option<LeaderView>,
    /// Observers that a follower serves, if followers do.
    pub served: Option<usize>,
}

/// What `mntr` shows of a leader.
#[derive(Clone, Copy, Debug)]
pub struct LeaderView {
    /// Followers that serve.
    pub followers: usize,
    /// Those of them that have no vote.
    pub non_voting: usize,
    /// Observers that serve.
    pub observers: usize,
    /// Learners that do not serve yet.
    pub syncing: usize,
    /// Syncs that wait for a quorum.
    pub pending_syncs: usize,
    /// ms since it began to serve.
    pub uptime_ms: u64,
}

/// Everything `mntr` shows.
#[derive(Clone, Debug)]
pub struct MonitorView {
    /// What `srvr` shows.
    pub server: ServerView,
    /// Not of a server alone.
    pub member: Option<MemberView>,
    /// Watches of all kinds.
    pub watch_count: u64,
    /// Ephemeral znodes.
    pub ephemerals_count: u64,
    /// Bytes of paths and data.
    pub approximate_data_size: u64,
    /// Sessions known to the ensemble.
    pub global_sessions: u64,
    /// Sessions known to this server only.
    pub local_sessions: u64,
    /// File descriptors in use.
    pub open_file_descriptors: u64,
    /// File descriptors allowed.
    pub max_file_descriptors: u64,
    /// How likely the next connect request is dropped by the throttle.
    pub connection_drop_probability: f64,
    /// ms since start.
    pub uptime_ms: u64,
    /// Quotas set.
    pub quotas: Vec<QuotaView>,
    /// What all cores counted.
    pub metrics: Metrics,
}

/// `mntr`.
pub fn mntr(view: MonitorView) -> Answer {
    let mut lines = Lines::default();
    gauges(&view, &mut lines);
    counters(&view.metrics, &mut lines);
    simple_summaries(&view.metrics, &mut lines);
    detailed_summaries(&view.metrics, &mut lines);
    by_server(&view.metrics.sequencer, &mut lines);
    let sequencer = view.metrics.sequencer;
    Answer::new(
        once(Piece::text(lines.text))
            .chain(keyed_counter("quota_exceeded_error_per_namespace", sequencer.quota_exceeded))
            .chain(keyed_summary("read_per_namespace", view.metrics.shards.reads))
            .chain(keyed_summary("write_per_namespace", sequencer.writes)),
    )
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn line(&mut self, key: &str, value: impl Display) {
        writeln!(self.text, "zk_{key}\t{value}").expect("writing to a String does not fail");
    }

    fn zeros(&mut self, keys: &[&str]) {
        for key in keys {
            self.line(key, 0);
        }
    }

    fn summary(&mut self, key: &str, summary: &Summary) {
        self.five(key, average(summary, 1), summary.min(), summary.max(), summary.count(), summary.sum());
    }

    fn timing(&mut self, key: &str, timing: &Timing) {
        let us = timing.us();
        self.five(
            key,
            average_ms(timing),
            timing.min_ms(),
            timing.max_ms(),
            us.count(),
            (us.sum() + 500) / 1000,
        );
    }

    fn distribution(&mut self, key: &str, distribution: &Distribution) {
        self.timing(key, distribution.timing());
        for (name, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            self.line(&format!("{name}_{key}"), distribution.quantile_ms(quantile));
        }
    }

    fn five(&mut self, key: &str, avg: String, min: u64, max: u64, cnt: u64, sum: u64) {
        self.line(&format!("avg_{key}"), avg);
        for (name, value) in [("min", min), ("max", max), ("cnt", cnt), ("sum", sum)] {
            self.line(&format!("{name}_{key}"), value);
        }
    }
}

fn average(summary: &Summary, divisor: u64) -> String {
    decimal(u128::from(summary.sum()), u128::from(summary.count()) * u128::from(divisor))
}

/// The mean of durations in ms, as Java prints a double.
pub(super) fn average_ms(timing: &Timing) -> String {
    average(timing.us(), 1000)
}

/// Names of namespaces are clients' bytes: whatever is not `[A-Za-z0-9_.-]` becomes `_`.
fn key_of(namespace: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    namespace.iter().map(|b| if plain(b) { char::from(*b) } else { '_' }).collect()
}

fn keyed_summary(name: &'static str, namespaces: Namespaces) -> impl Iterator<Item = Piece> + Send {
    namespaces.into_summaries().map(move |(namespace, summary)| {
        let mut lines = Lines::default();
        lines.summary(&format!("{}_{name}", key_of(&namespace)), &summary);
        Piece::text(lines.text)
    })
}

fn keyed_counter(name: &'static str, namespaces: Namespaces) -> impl Iterator<Item = Piece> + Send {
    namespaces.into_summaries().map(move |(namespace, summary)| {
        let mut lines = Lines::default();
        lines.line(&format!("{}_{name}", key_of(&namespace)), summary.sum());
        Piece::text(lines.text)
    })
}

fn gauges(view: &MonitorView, lines: &mut Lines) {
    let (server, shards) = (&view.server, &view.metrics.shards);
    // The classic keys, in the order of release 3.4.
    lines.line("version", server.version.text());
    lines.line("server_state", server.mode.text());
    if let Some(member) = &view.member {
        peer(server.mode, member, lines);
    }
    lines.line("avg_latency", average_ms(&server.latency));
    lines.line("max_latency", server.latency.max_ms());
    lines.line("min_latency", server.latency.min_ms());
    lines.line("packets_received", server.received);
    lines.line("packets_sent", server.sent);
    lines.line("num_alive_connections", server.connections);
    lines.line("outstanding_requests", server.outstanding);
    lines.line("znode_count", server.node_count);
    lines.line("watch_count", view.watch_count);
    lines.line("ephemerals_count", view.ephemerals_count);
    lines.line("approximate_data_size", view.approximate_data_size);
    lines.line("open_file_descriptor_count", view.open_file_descriptors);
    lines.line("max_file_descriptor_count", view.max_file_descriptors);
    if let Some(leader) = view.member.and_then(|member| member.leader) {
        leader_gauges(&leader, server, lines);
    }
    if let Some(served) = view.member.and_then(|member| member.served) {
        lines.line("synced_observers", served);
    }
    lines.line("fsync_threshold_exceed_count", view.metrics.sequencer.slow_flushes);
    // The rest.
    lines.line("uptime", view.uptime_ms);
    lines.line("global_sessions", view.global_sessions);
    lines.line("local_sessions", view.local_sessions);
    lines.line("connection_drop_probability", format!("{:?}", view.connection_drop_probability));
    let [last, min, max] = shown(shards.response_sizes);
    lines.line("last_client_response_size", last);
    lines.line("max_client_response_size", max);
    lines.line("min_client_response_size", min);
    if let Some(member) = &view.member {
        lines.line("quorum_size", member.voters);
    }
    lines.line("auth_failed_count", shards.auth_failed);
    lines.zeros(&["outstanding_tls_handshake", "non_mtls_remote_conn_count", "non_mtls_local_conn_count"]);
    for quota in &view.quotas {
        let namespace = key_of(&quota.namespace);
        for (name, value) in [
            ("quota_count_limit_per_namespace", quota.count_limit),
            ("quota_bytes_limit_per_namespace", quota.bytes_limit),
            ("quota_count_usage_per_namespace", quota.count_usage),
            ("quota_bytes_usage_per_namespace", quota.bytes_usage),
        ] {
            lines.line(&format!("{namespace}_{name}"), value);
        }
    }
}

/// A leader's figures of each server: its acks, and what waits for it.
fn by_server(sequencer: &SequencerMetrics, lines: &mut Lines) {
    for (ServerId(id), lengths) in sequencer.links.lengths() {
        lines.summary(&format!("{id}_learner_handler_qp_size"), lengths);
    }
    for (ServerId(id), waits) in sequencer.links.waits() {
        lines.distribution(&format!("{id}_learner_handler_qp_time_ms"), waits);
    }
    for (ServerId(id), acks) in sequencer.broadcast.acks() {
        lines.distribution(&format!("{id}_ack_latency"), acks);
    }
}

/// The phase is always the last one: before it nobody is answered.
fn peer(mode: Mode, member: &MemberView, lines: &mut Lines) {
    let doing = match mode {
        Mode::Leader => "leading",
        Mode::Observer => "observing",
        Mode::Follower | Mode::Standalone | Mode::ReadOnly => "following",
    };
    lines.line("peer_state", format_args!("{doing} - broadcast"));
    if let Some(ServerId(id)) = member.observed {
        lines.line("observer_master_id", id);
    }
}

/// `followers` is the name before release 3.6, which dashboards still ask for.
fn leader_gauges(leader: &LeaderView, server: &ServerView, lines: &mut Lines) {
    let learners = leader.followers + leader.observers + leader.syncing;
    lines.line("learners", learners);
    lines.line("followers", learners);
    lines.line("synced_followers", leader.followers);
    lines.line("synced_non_voting_followers", leader.non_voting);
    lines.line("synced_observers", leader.observers);
    lines.line("pending_syncs", leader.pending_syncs);
    lines.line("leader_uptime", leader.uptime_ms);
    let [last, min, max] = shown(server.proposal_sizes);
    lines.line("last_proposal_size", last);
    lines.line("max_proposal_size", max);
    lines.line("min_proposal_size", min);
}

/// Counters of stages, roles and features that this server does not have.
const ABSENT_COUNTERS: &[&str] = &[
    "response_packet_cache_hits",
    "response_packet_cache_misses",
    "response_packet_get_children_cache_hits",
    "response_packet_get_children_cache_misses",
    "request_commit_queued",
    "skip_learner_request_to_next_processor_count",
    "requests_not_forwarded_to_commit_processor",
    "add_dead_watcher_stall_time",
    "dead_watchers_queued",
    "dead_watchers_cleared",
    "ensemble_auth_success",
    "ensemble_auth_fail",
    "ensemble_auth_skip",
    "unsuccessful_handshake",
    "tls_handshake_exceeded",
    "insecure_admin_count",
    "snapshot_rate_limited_count",
    "restore_error_count",
    "restore_rate_limited_count",
];

/// Operations as release 3.10 counts them; several numbers may share a name.
const OPERATIONS: &[(&str, &[OpCode])] = &[
    ("add_watch", &[OpCode::AddWatch]),
    ("check", &[OpCode::Check]),
    ("check_watches", &[OpCode::CheckWatches]),
    ("close_session", &[OpCode::CloseSession]),
    ("create", &[OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl]),
    ("create_session", &[OpCode::CreateSession]),
    ("delete", &[OpCode::Delete, OpCode::DeleteContainer]),
    ("exists", &[OpCode::Exists]),
    ("get_acl", &[OpCode::GetAcl]),
    ("get_all_children_number", &[OpCode::GetAllChildrenNumber]),
    ("get_children", &[OpCode::GetChildren, OpCode::GetChildren2]),
    ("get_data", &[OpCode::GetData]),
    ("get_ephemerals", &[OpCode::GetEphemerals]),
    ("multi", &[OpCode::Multi]),
    ("multi_read", &[OpCode::MultiRead]),
    ("ping", &[OpCode::Ping]),
    ("reconfig", &[OpCode::Reconfig]),
    ("remove_watches", &[OpCode::RemoveWatches]),
    ("set_acl", &[OpCode::SetAcl]),
    ("set_data", &[OpCode::SetData]),
    ("set_watches", &[OpCode::SetWatches, OpCode::SetWatches2]),
    ("sync", &[OpCode::Sync]),
    ("who_am_i", &[OpCode::WhoAmI]),
];

fn counters(metrics: &Metrics, lines: &mut Lines) {
    let Metrics { shards, sequencer, disk } = metrics;
    let member = &sequencer.member;
    for (key, count) in [
        ("connection_request_count", shards.connect_requests),
        ("connection_rejected", shards.connections_rejected),
        ("connection_drop_count", shards.connections_dropped),
        ("connection_revalidate_count", shards.revalidations),
        ("bytes_received_count", shards.bytes_received),
        ("response_bytes", shards.response_bytes),
        ("watch_bytes", shards.watch_bytes),
        ("stale_requests", shards.stale_requests),
        ("stale_requests_dropped", shards.stale_requests_dropped),
        ("stale_replies", shards.stale_replies),
        ("request_throttle_wait_count", shards.throttle_waits),
        ("throttled_ops", shards.throttled),
        ("large_requests_rejected", shards.large_requests_rejected),
        ("stale_sessions_expired", sequencer.sessions_expired),
        ("sessionless_connections_expired", shards.sessionless_expired),
        ("cnxn_closed_without_zk_server_running", shards.closed_while_not_serving),
        ("revalidate_count", member.revalidations),
        ("looking_count", member.elections_begun),
        ("quit_leading_due_to_disloyal_voter", member.disloyal),
        ("proposal_count", member.proposals),
        ("commit_count", member.commits),
        ("snap_count", member.snaps),
        ("diff_count", member.diffs),
        ("learner_proposal_received_count", member.proposals_received),
        ("learner_commit_received_count", member.commits_received),
        // A server that meets either ends at once, and says why.
        ("digest_mismatches_count", 0),
        ("unrecoverable_error_count", 0),
        ("prep_processor_request_queued", sequencer.requests_queued),
        ("sync_processor_request_queued", sequencer.txns_logged),
        ("outstanding_changes_queued", sequencer.changes_queued),
        ("outstanding_changes_removed", sequencer.changes_removed),
        ("snapshot_error_count", disk.snapshot_errors),
        ("ttl_node_created_count", sequencer.ttl_created),
        ("ttl_node_deleted_count", sequencer.ttl_deleted),
        ("servers_refused", member.refused),
        ("namespaces_dropped", shards.reads.dropped() + sequencer.writes.dropped()),
    ] {
        lines.line(key, count);
    }
    lines.zeros(ABSENT_COUNTERS);
    let mut total = 0;
    for (name, ops) in OPERATIONS {
        let count: u64 = ops.iter().map(|&op| shards.operations(op)).sum();
        lines.line(&format!("op_count_{name}"), count);
        total += count;
    }
    lines.line("op_count_total", total);
}

/// Simple summaries of stages, roles and features that this server does not have.
const ABSENT_SUMMARIES: &[&str] = &[
    "restore_time",
    "proposal_process_time",
    "commit_process_time",
    "netty_queued_buffer_capacity",
    "learner_request_processor_queue_size",
    "requests_in_session_queue",
    "pending_session_queue_size",
    "reads_after_write_in_session_queue",
    "reads_issued_from_session_queue",
    "session_queues_drained",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "write_batch_time_in_commit_processor",
    "concurrent_request_processing_in_commit_processor",
    "read_commit_proc_req_queued",
    "write_commit_proc_req_queued",
    "commit_commit_proc_req_queued",
    "read_commit_proc_issued",
    "write_commit_proc_issued",
];

fn simple_summaries(metrics: &Metrics, lines: &mut Lines) {
    let Metrics { shards, sequencer, disk } = metrics;
    for (key, timing) in [
        ("fsynctime", sequencer.flush.timing()),
        ("snapshottime", &disk.snapshot),
        ("dbinittime", &disk.load),
        ("startup_snap_load_time", &disk.snapshot_load),
        ("startup_txns_load_time", &disk.log_load),
        ("prep_process_time", &sequencer.prep),
        // A batch is one write: what stock calls processing is that write.
        ("sync_process_time", sequencer.flush.timing()),
        ("socket_closing_time", &shards.socket_closing),
        ("election_time", &sequencer.member.election),
        ("unavailable_time", &sequencer.member.unavailable),
        ("leader_unavailable_time", &sequencer.member.leader_unavailable),
        ("follower_sync_time", &sequencer.member.follower_sync),
        ("observer_sync_time", &sequencer.member.observer_sync),
    ] {
        lines.timing(key, timing);
    }
    for (key, summary) in [
        ("startup_txns_loaded", &disk.txns_loaded),
        ("inflight_snap_count", &sequencer.member.inflight_snaps),
        ("inflight_diff_count", &sequencer.member.inflight_diffs),
        ("node_created_watch_count", &shards.created_watches),
        ("node_deleted_watch_count", &shards.deleted_watches),
        ("node_changed_watch_count", &shards.changed_watches),
        ("node_children_watch_count", &shards.children_watches),
        ("connection_token_deficit", &shards.token_deficits),
        ("prep_processor_queue_size", &sequencer.prep_queue),
        ("sync_processor_queue_size", &sequencer.log_queue),
        ("sync_processor_batch_size", &sequencer.batch),
    ] {
        lines.summary(key, summary);
    }
    for key in ABSENT_SUMMARIES {
        lines.summary(key, &Summary::default());
    }
}

/// Detailed summaries of stages, roles and features that this server does not have.
const ABSENT_DISTRIBUTIONS: &[&str] = &[
    "read_commitproc_time_ms",
    "write_commitproc_time_ms",
    "local_write_committed_time_ms",
    "server_write_committed_time_ms",
    "read_final_proc_time_ms",
    "write_final_proc_time_ms",
    "request_throttle_queue_time_ms",
    "dead_watchers_cleaner_latency",
];

fn detailed_summaries(metrics: &Metrics, lines: &mut Lines) {
    let Metrics { shards, sequencer, .. } = metrics;
    for (key, distribution) in [
        ("readlatency", &shards.read_latency),
        ("updatelatency", &shards.update_latency),
        ("propagation_latency", &sequencer.propagation),
        ("proposal_latency", &sequencer.broadcast.proposal),
        ("proposal_ack_creation_latency", &sequencer.broadcast.ack_creation),
        ("quorum_ack_latency", &sequencer.broadcast.quorum_ack),
        ("commit_propagation_latency", &sequencer.broadcast.commit),
        ("om_proposal_process_time_ms", &sequencer.broadcast.relayed_proposal),
        ("om_commit_process_time_ms", &sequencer.broadcast.relayed_commit),
        ("sync_processor_queue_time_ms", &sequencer.log_wait),
        ("sync_processor_queue_and_flush_time_ms", &sequencer.log_wait_and_flush),
        ("sync_processor_queue_flush_time_ms", &sequencer.flush),
        ("prep_processor_queue_time_ms", &sequencer.prep_wait),
        ("close_session_prep_time", &sequencer.close_session_prep),
        ("jvm_pause_time_ms", &shards.stalls),
    ] {
        lines.distribution(key, distribution);
    }
    for key in ABSENT_DISTRIBUTIONS {
        lines.timing(key, &Timing::default());
        for quantile in ["p50", "p95", "p99", "p999"] {
            lines.line(&format!("{quantile}_{key}"), 0);
        }
    }
}
