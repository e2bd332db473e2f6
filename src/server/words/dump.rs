#![forbid(unsafe_code)]
//! `dump`: who is connected until when, and which ephemerals they own (stock `DumpCommand`, `ExpiryQueue.dump`,
//! `LearnerSessionTracker.dumpSessions`, `DataTree.dumpEphemerals`). Scripts parse the ephemerals block.

use super::answer::{Answer, Piece};
use super::java;
use crate::base::{SessionId, WallMillis};
use std::collections::BTreeMap;
use std::iter::once;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who expires when, in buckets a tick wide.
#[derive(Clone, Debug)]
pub struct ExpiryQueueView<T> {
    buckets: BTreeMap<WallMillis, Vec<T>>,
}

impl<T> Default for ExpiryQueueView<T> {
    fn default() -> Self {
        ExpiryQueueView { buckets: BTreeMap::new() }
    }
}

impl<T> ExpiryQueueView<T> {
    /// Adds a bucket, or its members to the bucket of that time; empty ones count and show, as in stock.
    pub fn add(&mut self, at: WallMillis, members: impl IntoIterator<Item = T>) {
        self.buckets.entry(at).or_default().extend(members);
    }

    /// Takes out those that are meant, with their buckets.
    pub fn take(&mut self, is_meant: impl Fn(&T) -> bool) -> Self
    where
        T: Copy,
    {
        let mut taken = ExpiryQueueView::default();
        self.buckets.retain(|at, members| {
            let (meant, others): (Vec<T>, Vec<T>) = members.iter().partition(|&member| is_meant(member));
            if !meant.is_empty() {
                taken.add(*at, meant);
            }
            let keeps = !others.is_empty() || members.is_empty();
            *members = others;
            keeps
        });
        taken
    }

    /// Adds another core's buckets.
    pub fn merge(&mut self, other: Self) {
        for (at, members) in other.buckets {
            self.add(at, members);
        }
    }
}

impl<T: Send + 'static> ExpiryQueueView<T> {
    /// `<name> Sets (buckets)/(members):`, then the buckets by time.
    fn pieces(self, name: &str, line: fn(T) -> Piece) -> impl Iterator<Item = Piece> + Send + use<T> {
        let members: usize = self.buckets.values().map(Vec::len).sum();
        let head = Piece::text(format!("{name} Sets ({})/({members}):\n", self.buckets.len()));
        once(head).chain(self.buckets.into_iter().flat_map(move |(at, members)| {
            once(Piece::Bucket { members: members.len(), at }).chain(members.into_iter().map(line))
        }))
    }
}

/// A connection in its expiry bucket; session 0 before the handshake.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionExpiry {
    /// The client's end.
    pub peer: SocketAddr,
    /// Its session.
    pub session: SessionId,
}

impl ConnectionExpiry {
    pub(super) fn render(&self, out: &mut Vec<u8>) {
        let peer = java::socket_address(self.peer);
        out.extend_from_slice(format!("\tip: {peer} sessionId: {}\n", self.session).as_bytes());
    }
}

/// One core's part of a dump, or the whole once merged.
#[derive(Clone, Debug, Default)]
pub struct DumpView {
    /// Sessions by the end of their timeout.
    pub sessions: ExpiryQueueView<SessionId>,
    /// Those of them that are this server's own, where there may be such.
    pub local: Option<ExpiryQueueView<SessionId>>,
    /// In place of them where another server keeps their clocks: sessions with their timeouts, ms, by id.
    pub learned: Option<Vec<(SessionId, i32)>>,
    /// Paths by owning session, bytes as stored.
    pub ephemerals: Vec<(SessionId, Vec<Arc<[u8]>>)>,
    /// Connections by the time they are closed unless something arrives.
    pub connections: ExpiryQueueView<ConnectionExpiry>,
}

impl DumpView {
    /// Adds another core's part. Ephemerals come from one core only (the sequencer's table), so lists are joined.
    pub fn merge(&mut self, other: DumpView) {
        self.sessions.merge(other.sessions);
        if let Some(local) = other.local {
            self.local.get_or_insert_default().merge(local);
        }
        self.learned = self.learned.take().or(other.learned);
        self.ephemerals.extend(other.ephemerals);
        self.connections.merge(other.connections);
    }
}

fn in_bucket(session: SessionId) -> Piece {
    Piece::Session { tab: true, colon: false, session }
}

/// `dump`.
pub fn dump(view: DumpView) -> Answer {
    let sessions: Box<dyn Iterator<Item = Piece> + Send> = match view.learned {
        Some(sessions) => {
            let head = Piece::text(format!("Global Sessions({}):\n", sessions.len()));
            Box::new(once(head).chain(
                sessions.into_iter().map(|(session, timeout_ms)| Piece::Timeout { session, timeout_ms }),
            ))
        }
        // `LeaderSessionTracker.dumpSessions`.
        None if view.local.is_some() => Box::new(view.sessions.pieces("Global Session", in_bucket)),
        None => Box::new(view.sessions.pieces("Session", in_bucket)),
    };
    let local = view.local.into_iter().flat_map(|local| local.pieces("Local Session", in_bucket));
    let owners = format!("ephemeral nodes dump:\nSessions with Ephemerals ({}):\n", view.ephemerals.len());
    let ephemerals = view.ephemerals.into_iter().flat_map(|(session, paths)| {
        once(Piece::Session { tab: false, colon: true, session })
            .chain(paths.into_iter().map(|path| Piece::Path { tab: true, path }))
    });
    Answer::new(
        once(Piece::text("SessionTracker dump:\n"))
            .chain(local)
            .chain(sessions)
            .chain(once(Piece::text(owners)))
            .chain(ephemerals)
            .chain(once(Piece::text("Connections dump:\n")))
            .chain(view.connections.pieces("Connections", Piece::Expiring)),
    )
}
