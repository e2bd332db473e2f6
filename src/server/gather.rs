#![forbid(unsafe_code)]
//! Four-letter words (operations §4). Some are answered on the spot; the others need a part from the sequencer and one
//! from every shard: the asking shard begins a collection, the sequencer adds its part and tells all shards, and when
//! the last one has added its own the asking shard renders the answer.
//!
//! Lives on: each shard. Nobody waits: parts travel through the ordinary queues, and a long answer goes out in slices.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::connection::Phase;
use super::serving::newest_of;
use super::shard::Shard;
use super::words::{
    self, Answer, ConnectionExpiry, ConnectionView, DigestLog, DumpView, EnvView, ExpiryQueueView,
    LeaderView, MemberView, Mode, MonitorView, Opening, ServerView, SessionView, WatchView, Word,
};
use crate::base::{ConnectionId, Millis, WallMillis, limits};
use crate::runtime::host;
use crate::runtime::messages::{Gather, SequencerPart, Serving, Submission};
use crate::runtime::metrics::{Metrics, ShardMetrics};

/// What one shard adds.
#[derive(Debug, Default)]
pub struct ShardPart {
    metrics: Option<ShardMetrics>,
    connections: Vec<ConnectionView>,
    open_connections: u64,
    outstanding: u64,
    watches: u64,
    watched: WatchView,
    dump: DumpView,
}

impl Shard {
    /// A word stands at the front of `bytes`. Gives how many bytes it took; `None` when more are needed.
    pub(super) fn word(
        &mut self,
        id: ConnectionId,
        opening: Opening,
        bytes: &[u8],
        now: Millis,
    ) -> Option<usize> {
        let word = match opening {
            Opening::TelnetBreak => {
                self.abort(id);
                return Some(bytes.len());
            }
            Opening::Word(word) => word,
        };
        // stmk is followed by its mask.
        let used = if word == Word::Stmk { 12 } else { 4 };
        if bytes.len() < used {
            return None;
        }
        let peer = self.connections.get(&id).map(|connection| connection.peer.ip());
        if let (Some(gate), Some(peer)) = (&self.registry.rates.words, peer)
            && !gate.admit(peer, now)
        {
            self.metrics.connection_dropped();
            self.abort(id);
            return Some(bytes.len());
        }
        self.metrics.packet_received(used);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = Phase::Word;
            connection.stats.packet_received();
        }
        self.fresh.remove(id);
        self.words.touch(id, now, limits::WORD_MS_MAX);
        if !self.settings.whitelist.allows(word) {
            self.answer_with(id, word.refusal());
            return Some(used);
        }
        if !self.serving.is_serving()
            && let Some(answer) = word.answer_while_not_serving()
        {
            self.answer_with(id, answer);
            return Some(used);
        }
        let conf = &self.settings.conf;
        match word {
            Word::Ruok => self.answer_with(id, words::ruok()),
            Word::Isro => self.answer_with(id, words::isro(self.serving == Serving::ReadOnly)),
            Word::Conf => {
                let (data, log) = self.folder_bytes();
                let mut view = words::ConfView { data_dir_bytes: data, data_log_bytes: log, ..conf.clone() };
                if let Some(member) = view.member.as_mut().filter(|_| self.serving == Serving::ReadOnly) {
                    // `ReadOnlyZooKeeperServer.dumpConf`.
                    member.membership = None;
                }
                self.answer_with(id, words::conf(&view));
            }
            Word::Dirs => {
                let (data, log) = self.folder_bytes();
                self.answer_with(id, words::dirs(data, log));
            }
            Word::Envi => {
                let env = self.environment();
                self.answer_with(id, words::envi(&env));
            }
            Word::Gtmk => {
                let mask = self.registry.trace_mask.load(Ordering::Relaxed);
                self.answer_with(id, words::trace_mask(mask));
            }
            Word::Stmk => {
                let mask = bytes[4..12].try_into().map(i64::from_be_bytes).unwrap_or_default();
                // Relaxed: kept and echoed, switches nothing.
                self.registry.trace_mask.store(mask, Ordering::Relaxed);
                self.answer_with(id, words::trace_mask(mask));
            }
            _ => {
                self.words_waiting.push_back((id, word));
                self.collect_next();
            }
        }
        Some(used)
    }

    /// Begins to collect for those who asked first, few at once; whoever has gone meanwhile is passed over.
    fn collect_next(&mut self) {
        let at_once = limits::WORDS_AT_ONCE_MAX.div_ceil(self.settings.shards);
        while self.words_running < at_once
            && let Some((id, word)) = self.words_waiting.pop_front()
        {
            if !self.connections.contains_key(&id) {
                continue;
            }
            let what = match word {
                Word::Srvr | Word::Stat | Word::Mntr => Gather::Metrics,
                Word::Dump => Gather::Sessions,
                Word::Hash => Gather::Digests,
                Word::Srst => Gather::Reset,
                _ => Gather::Shards,
            };
            self.words_running += 1;
            let collection = self.registry.collect(word, self.id, id);
            self.submit(Submission::Gather { id: collection, what });
        }
    }

    fn answer_with(&mut self, id: ConnectionId, mut answer: Answer) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let more = answer.next_slice(connection.output.buffer());
        connection.answer = more.then_some(answer);
        connection.close = true;
        self.mark(id);
    }

    /// Adds this shard's part.
    pub(super) fn contribute(&mut self, collection: u64, sequencer: Arc<SequencerPart>, now: Millis) {
        let Some((word, _, asker)) = self.registry.collecting(collection) else { return };
        let mut part = ShardPart {
            open_connections: self.connections.len() as u64,
            outstanding: self.connections.values().map(|c| c.queued() as u64).sum(),
            ..ShardPart::default()
        };
        match word {
            Word::Srvr | Word::Mntr => {
                part.metrics = Some(self.metrics.clone());
                part.watches = self.watches.len() as u64;
            }
            Word::Stat => {
                part.metrics = Some(self.metrics.clone());
                part.connections = self.connection_views(asker);
            }
            Word::Cons => part.connections = self.connection_views(asker),
            Word::Dump => part.dump = self.dump_view(now),
            Word::Wchs | Word::Wchc | Word::Wchp => part.watched = self.watch_view(),
            Word::Crst => self.connections.values_mut().for_each(|connection| connection.stats.reset()),
            Word::Srst => {
                self.metrics.reset();
                self.registry.forget_refused();
            }
            _ => {}
        }
        let asked = self.registry.contribute(collection, part, sequencer, self.settings.shards);
        if let Some((shard, connection)) = asked {
            self.submit(Submission::Gathered { id: collection, shard: shard.0, connection });
        }
    }

    /// Every part is there: renders the answer.
    pub(super) fn answer_word(&mut self, collection: u64, id: ConnectionId, now: Millis) {
        let Some(collection) = self.registry.take(collection) else { return };
        self.words_running -= 1;
        self.collect_next();
        let sequencer = collection.sequencer.unwrap_or_default();
        let Some(mode) = mode_of(sequencer.serving) else {
            // The leader was lost while the parts came together.
            let answer = collection.word.answer_while_not_serving();
            return self.answer_with(id, answer.unwrap_or_else(|| Answer::text("")));
        };
        let mut total = ShardPart::default();
        let mut shards = ShardMetrics::default();
        for part in collection.parts {
            if let Some(metrics) = &part.metrics {
                shards.merge(metrics);
            }
            total.connections.extend(part.connections);
            total.open_connections += part.open_connections;
            total.outstanding += part.outstanding;
            total.watches += part.watches;
            total.watched.merge(part.watched);
            total.dump.merge(part.dump);
        }
        let tree = self.tree_stats();
        let server = ServerView {
            version: self.settings.version.clone(),
            latency: shards.latency,
            received: shards.packets_received,
            sent: shards.packets_sent,
            connections: total.open_connections,
            outstanding: total.outstanding,
            zxid: newest_of(sequencer.serving, self.applied()),
            mode,
            node_count: tree.znode_count,
            proposal_sizes: sequencer.metrics.member.proposal_sizes,
        };
        let answer = match collection.word {
            Word::Srvr => words::srvr(&server),
            Word::Stat => words::stat(&server, total.connections),
            Word::Mntr => {
                shards.connections_rejected += self.registry.refused();
                let (disk, sequencer_metrics) = (sequencer.disk.clone(), sequencer.metrics.clone());
                let metrics = Metrics { shards, sequencer: sequencer_metrics, disk };
                let (open, most) = host::descriptors();
                words::mntr(MonitorView {
                    server,
                    member: self.member_view(mode, &sequencer, now),
                    watch_count: total.watches,
                    ephemerals_count: tree.ephemerals_count,
                    approximate_data_size: tree.approximate_data_size,
                    global_sessions: sequencer.sessions,
                    local_sessions: sequencer.local_sessions,
                    open_file_descriptors: open,
                    max_file_descriptors: most,
                    connection_drop_probability: self
                        .registry
                        .connects()
                        .map_or(0.0, |gate| gate.drop_probability()),
                    uptime_ms: self.clock.now().0,
                    quotas: super::quotas::gauges(&self.tree.pin()),
                    metrics,
                })
            }
            Word::Cons => words::cons(total.connections),
            Word::Dump => {
                let mut view = total.dump;
                for (deadline, sessions) in &sequencer.buckets {
                    view.sessions.add(self.wall_of(*deadline), sessions.iter().copied());
                }
                view.ephemerals = sequencer.ephemerals.clone();
                let learned = sequencer.serving.learns() || mode == Mode::ReadOnly;
                view.learned = learned.then(|| sequencer.timeouts.clone());
                view.local = sequencer
                    .locals
                    .as_ref()
                    .map(|locals| view.sessions.take(|session| locals.binary_search(session).is_ok()));
                words::dump(view)
            }
            Word::Wchs => words::wchs(total.watched),
            Word::Wchc => words::wchc(total.watched),
            Word::Wchp => words::wchp(total.watched),
            Word::Crst => words::crst(),
            Word::Srst => words::srst(),
            Word::Hash => {
                let mut log = DigestLog::default();
                for (zxid, digest) in &sequencer.digests {
                    log.applied(*zxid, *digest);
                }
                words::hash(&log)
            }
            // The others were answered on the spot.
            _ => Answer::text(""),
        };
        self.answer_with(id, answer);
    }

    fn member_view(&self, mode: Mode, sequencer: &SequencerPart, now: Millis) -> Option<MemberView> {
        let figures = &sequencer.figures;
        let leader = LeaderView {
            followers: figures.followers,
            non_voting: figures.non_voting,
            observers: figures.observers,
            syncing: figures.syncing,
            pending_syncs: figures.pending_syncs,
            uptime_ms: now.since(self.serving_since),
        };
        Some(MemberView {
            voters: self.settings.voters.filter(|_| mode != Mode::ReadOnly)?,
            observed: sequencer.master.filter(|_| mode == Mode::Observer),
            leader: (mode == Mode::Leader).then_some(leader),
            served: figures.serves_observers.then_some(figures.observers),
        })
    }

    fn connection_views(&self, asker: ConnectionId) -> Vec<ConnectionView> {
        let views = self.connections.values().map(|connection| {
            let stats = &connection.stats;
            let asks = connection.id == asker && matches!(connection.phase, Phase::Word);
            ConnectionView {
                peer: connection.peer,
                interest: if asks { 0 } else { 1 | (u8::from(!connection.output.unsent().is_empty()) << 2) },
                queued: connection.queued() as u64,
                received: stats.received(),
                sent: stats.sent(),
                session: connection.attachment().map(|attachment| SessionView {
                    id: attachment.session,
                    last_operation: stats.last_operation(),
                    established: connection.established,
                    timeout_ms: attachment.timeout_ms,
                    last_cxid: stats.last_cxid(),
                    last_zxid: stats.last_zxid(),
                    last_response_ms: stats.last_response().0,
                    last_latency_ms: stats.last_latency_ms(),
                    min_latency_ms: stats.latency().min_ms(),
                    avg_latency_ms: stats.avg_latency_ms(),
                    max_latency_ms: stats.latency().max_ms(),
                }),
            }
        });
        views.collect()
    }

    fn dump_view(&self, now: Millis) -> DumpView {
        let mut sessions = ExpiryQueueView::default();
        let mut connections = ExpiryQueueView::default();
        for (deadline, id) in self.expiry.by_deadline() {
            let Some(connection) = self.connections.get(&id) else { continue };
            let Some(attachment) = connection.attachment() else { continue };
            sessions.add(self.wall_of(deadline), [attachment.session]);
            let expiry = ConnectionExpiry { peer: connection.peer, session: attachment.session };
            connections.add(self.wall_of(deadline), [expiry]);
        }
        let _ = now;
        DumpView { sessions, connections, ..DumpView::default() }
    }

    fn watch_view(&self) -> WatchView {
        let watchers = self.watches.connections_from(0).filter_map(|(_, id)| {
            let attachment = self.connections.get(&id)?.attachment()?;
            Some((attachment.session, self.watches.paths_of(id)))
        });
        WatchView { sessions: watchers.collect() }
    }

    /// A moment of the monotonic clock as the wall clock will show it.
    fn wall_of(&self, moment: Millis) -> WallMillis {
        let ahead = moment.0 as i64 - self.clock.now().0 as i64;
        WallMillis(self.clock.wall().0 + ahead)
    }

    fn folder_bytes(&self) -> (u64, u64) {
        let (data, log) = &self.settings.folders;
        let data_bytes = host::folder_bytes(data);
        (data_bytes, if log == data { data_bytes } else { host::folder_bytes(log) })
    }

    fn environment(&self) -> EnvView {
        let (used, limit) = host::memory_mb();
        EnvView {
            memory_free_mb: limit.saturating_sub(used),
            memory_max_mb: limit,
            memory_total_mb: used,
            ..self.settings.env.clone()
        }
    }
}

/// What words call a role; `None` while nobody is served.
fn mode_of(serving: Serving) -> Option<Mode> {
    match serving {
        Serving::No => None,
        Serving::Alone => Some(Mode::Standalone),
        Serving::Leading(_) => Some(Mode::Leader),
        Serving::Following => Some(Mode::Follower),
        Serving::Observing => Some(Mode::Observer),
        Serving::ReadOnly => Some(Mode::ReadOnly),
    }
}
