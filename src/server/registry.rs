#![forbid(unsafe_code)]
//! What several cores look up rarely: connections by address, and the collections behind the words. The only home of
//! dashmap; it locks a shard of its table, so nothing here is on the path of a request.
//!
//! Lives on: all shards.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::base::{ConnectionId, SessionId, ShardId};
use crate::runtime::messages::SequencerPart;
use crate::server::admission::ServerLoad;
use crate::server::gather::ShardPart;
use crate::server::limits::Rates;
use crate::server::throttle::ConnectGate;
use crate::server::words::Word;

/// Shared by all shards of this server.
#[derive(Debug, Default)]
pub struct Registry {
    addresses: DashMap<IpAddr, Counted>,
    connections: AtomicUsize,
    sessions: DashMap<SessionId, (ShardId, ConnectionId)>,
    collections: DashMap<u64, Collection>,
    next_collection: AtomicU64,
    /// Admits handshakes, where it is configured to.
    connects: Option<ConnectGate>,
    /// Limits of rates.
    pub rates: Rates,
    /// Requests in process.
    pub load: ServerLoad,
    /// `gtmk`, `stmk`: kept and echoed.
    pub trace_mask: AtomicI64,
}

/// Connections of one address.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    connections: u32,
    /// Of those, how many have had no session.
    sessionless: u32,
}

/// A word in the making: the parts that came so far.
#[derive(Debug)]
pub struct Collection {
    /// What was asked.
    pub word: Word,
    /// Who asked.
    pub shard: ShardId,
    /// On which connection.
    pub connection: ConnectionId,
    /// The sequencer's part.
    pub sequencer: Option<Arc<SequencerPart>>,
    /// The shards' parts.
    pub parts: Vec<ShardPart>,
}

/// Limits at accept; `None` is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcceptLimits {
    /// `maxClientCnxns`.
    pub per_address: Option<u32>,
    /// `maxCnxns`.
    pub in_all: Option<u32>,
    /// `ringkeeper.maxSessionlessPerAddress`.
    pub sessionless_per_address: Option<u32>,
}

impl Registry {
    /// A server without connections; stock's default trace mask. Handshakes pass `connects`, and what is limited by
    /// the second its gate.
    pub fn new(connects: Option<ConnectGate>, rates: Rates) -> Registry {
        let registry = Registry { connects, rates, ..Registry::default() };
        registry.trace_mask.store(306, Ordering::Relaxed);
        registry
    }

    /// Counts a connection in, or says no (client-protocol §2.1: current >= limit is refused).
    pub fn admit(&self, peer: SocketAddr, limits: AcceptLimits) -> bool {
        let all = self.connections.load(Ordering::Relaxed);
        if limits.in_all.is_some_and(|limit| all >= limit as usize) {
            return false;
        }
        let mut count = self.addresses.entry(canonical(peer)).or_default();
        let is_full = limits.per_address.is_some_and(|limit| count.connections >= limit)
            || limits.sessionless_per_address.is_some_and(|limit| count.sessionless >= limit);
        if is_full {
            let empty = count.connections == 0;
            drop(count);
            if empty {
                self.addresses.remove_if(&canonical(peer), |_, count| count.connections == 0);
            }
            return false;
        }
        count.connections += 1;
        count.sessionless += 1;
        // Relaxed: a count; only the accepting shard raises it.
        self.connections.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// The connection has a session now.
    pub fn seated(&self, peer: SocketAddr) {
        if let Some(mut count) = self.addresses.get_mut(&canonical(peer)) {
            count.sessionless = count.sessionless.saturating_sub(1);
        }
    }

    /// Counts a connection out; `sessionless` unless it was [`Registry::seated`].
    pub fn left(&self, peer: SocketAddr, sessionless: bool) {
        let address = canonical(peer);
        if let Some(mut count) = self.addresses.get_mut(&address) {
            count.connections = count.connections.saturating_sub(1);
            count.sessionless = count.sessionless.saturating_sub(u32::from(sessionless));
        }
        self.addresses.remove_if(&address, |_, count| count.connections == 0);
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Admits handshakes; `None` when all are.
    pub fn connects(&self) -> Option<&ConnectGate> {
        self.connects.as_ref()
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A session is served by this connection from now on.
    pub fn attached(&self, session: SessionId, shard: ShardId, connection: ConnectionId) {
        self.sessions.insert(session, (shard, connection));
    }

    /// This connection no longer serves the session; another one may by now.
    pub fn detached(&self, session: SessionId, shard: ShardId, connection: ConnectionId) {
        self.sessions.remove_if(&session, |_, at| *at == (shard, connection));
    }

    /// Sessions that have a connection here.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Begins a collection and names it.
    pub fn collect(&self, word: Word, shard: ShardId, connection: ConnectionId) -> u64 {
        let id = self.next_collection.fetch_add(1, Ordering::Relaxed);
        let collection = Collection { word, shard, connection, sequencer: None, parts: Vec::new() };
        self.collections.insert(id, collection);
        id
    }

    /// What is being collected, and for whom.
    pub fn collecting(&self, id: u64) -> Option<(Word, ShardId, ConnectionId)> {
        self.collections.get(&id).map(|c| (c.word, c.shard, c.connection))
    }

    /// Adds a shard's part. Gives who asked once the last of `shards` parts is in.
    pub fn contribute(
        &self,
        id: u64,
        part: ShardPart,
        sequencer: Arc<SequencerPart>,
        shards: usize,
    ) -> Option<(ShardId, ConnectionId)> {
        let mut collection = self.collections.get_mut(&id)?;
        collection.parts.push(part);
        collection.sequencer = Some(sequencer);
        (collection.parts.len() == shards).then_some((collection.shard, collection.connection))
    }

    /// Takes a complete collection out.
    pub fn take(&self, id: u64) -> Option<Collection> {
        self.collections.remove(&id).map(|(_, collection)| collection)
    }
}

/// IPv4 peers of an IPv6 socket count as IPv4.
fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_for_each_address_counts_connections_in_and_out() {
        let registry = Registry::new(None, Rates::default());
        let limits = AcceptLimits { per_address: Some(2), in_all: Some(3), sessionless_per_address: None };
        let [a, b]: [SocketAddr; 2] = ["127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().expect("an address"));
        assert!(registry.admit(a, limits) && registry.admit(a, limits));
        assert!(!registry.admit(a, limits), "two of one address");
        assert!(registry.admit(b, limits));
        assert!(!registry.admit(b, limits), "three in all");
        registry.left(a, true);
        assert!(registry.admit("[::ffff:127.0.0.1]:9".parse().expect("an address"), limits));
        assert_eq!(registry.connections(), 3);
    }

    #[test]
    fn a_limit_for_those_without_a_session_counts_until_they_have_one() {
        let registry = Registry::new(None, Rates::default());
        let limits = AcceptLimits { per_address: None, in_all: None, sessionless_per_address: Some(2) };
        let [a, b]: [SocketAddr; 2] = ["127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().expect("an address"));
        assert!(registry.admit(a, limits) && registry.admit(a, limits));
        assert!(!registry.admit(a, limits) && registry.admit(b, limits));
        registry.seated(a);
        assert!(registry.admit(a, limits) && !registry.admit(a, limits));
        // One that has a session leaves no room behind, one that never had one does.
        registry.left(a, false);
        assert!(!registry.admit(a, limits));
        registry.left(a, true);
        assert!(registry.admit(a, limits) && !registry.admit(a, limits));
        registry.left(a, true);
        registry.left(a, true);
        registry.left(b, true);
        assert!(registry.addresses.is_empty());
    }
}
