#![forbid(unsafe_code)]
//! What several cores look up rarely: connections by address, and the collections behind the words. The only home of
//! dashmap; it locks a shard of its table, so nothing here is on the path of a request.
//!
//! Lives on: all shards.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::base::{ConnectionId, Millis, SessionId, ShardId};
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
    /// Connections refused at accept.
    refused: AtomicU64,
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
    /// In all, so that the rest of the process has descriptors too.
    pub descriptors: Option<u64>,
}

/// Why a connection is refused at accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// One more would take a descriptor that the log, or a link to another server, may need.
    Descriptors,
    /// `maxCnxns` are there.
    InAll,
    /// Its address has `maxClientCnxns`.
    Address,
    /// Its address has `ringkeeper.maxSessionlessPerAddress` that have no session yet.
    Sessionless,
}

impl Full {
    /// For whoever reads the log.
    pub fn why(self) -> &'static str {
        match self {
            Full::Descriptors => {
                "few descriptors are left, and the log and the other servers need them; raise the limit (LimitNOFILE= of the unit, or prlimit --nofile for a server that runs)"
            }
            Full::InAll => "maxCnxns are connected",
            Full::Address => "its address has as many as maxClientCnxns allows",
            Full::Sessionless => {
                "its address has as many without a session as ringkeeper.maxSessionlessPerAddress allows"
            }
        }
    }
}

/// How often the log tells that connections are refused, for each reason.
const REFUSALS_TOLD_EVERY_MS: u64 = 10_000;

/// What the log says of refused connections: they come in crowds, and a line for each would hide all others.
#[derive(Default, Debug)]
pub struct Refusals([(Option<Millis>, u64); 4]);

impl Refusals {
    /// One more is refused; gives how many were since the last line, if a line is due.
    pub fn one_more(&mut self, full: Full, now: Millis) -> Option<u64> {
        let (told, count) = &mut self.0[full as usize];
        *count += 1;
        if told.is_some_and(|told| now.since(told) < REFUSALS_TOLD_EVERY_MS) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(count))
    }
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
    ///
    /// # Errors
    /// The limit that it is over.
    pub fn admit(&self, peer: SocketAddr, limits: AcceptLimits) -> Result<(), Full> {
        let admitted = self.try_admit(peer, limits);
        if admitted.is_err() {
            // Relaxed: a count.
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn try_admit(&self, peer: SocketAddr, limits: AcceptLimits) -> Result<(), Full> {
        let all = self.connections.load(Ordering::Relaxed);
        if limits.descriptors.is_some_and(|limit| all as u64 >= limit) {
            return Err(Full::Descriptors);
        }
        if limits.in_all.is_some_and(|limit| all >= limit as usize) {
            return Err(Full::InAll);
        }
        let mut count = self.addresses.entry(canonical(peer)).or_default();
        let full = if limits.per_address.is_some_and(|limit| count.connections >= limit) {
            Some(Full::Address)
        } else if limits.sessionless_per_address.is_some_and(|limit| count.sessionless >= limit) {
            Some(Full::Sessionless)
        } else {
            None
        };
        if let Some(full) = full {
            let empty = count.connections == 0;
            drop(count);
            if empty {
                self.addresses.remove_if(&canonical(peer), |_, count| count.connections == 0);
            }
            return Err(full);
        }
        count.connections += 1;
        count.sessionless += 1;
        // Relaxed: a count; only the accepting shard raises it.
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Connections refused at accept since the start, or since [`Registry::forget_refused`].
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// `srst`.
    pub fn forget_refused(&self) {
        self.refused.store(0, Ordering::Relaxed);
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

    const NO_LIMITS: AcceptLimits =
        AcceptLimits { per_address: None, in_all: None, sessionless_per_address: None, descriptors: None };

    #[test]
    fn a_limit_for_each_address_counts_connections_in_and_out() {
        let registry = Registry::new(None, Rates::default());
        let limits = AcceptLimits { per_address: Some(2), in_all: Some(3), ..NO_LIMITS };
        let [a, b]: [SocketAddr; 2] = ["127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().expect("an address"));
        assert!(registry.admit(a, limits).is_ok() && registry.admit(a, limits).is_ok());
        assert!(registry.admit(a, limits).is_err(), "two of one address");
        assert!(registry.admit(b, limits).is_ok());
        assert!(registry.admit(b, limits).is_err(), "three in all");
        registry.left(a, true);
        assert!(registry.admit("[::ffff:127.0.0.1]:9".parse().expect("an address"), limits).is_ok());
        assert_eq!(registry.connections(), 3);
    }

    #[test]
    fn a_connection_is_told_which_limit_it_is_over() {
        let registry = Registry::new(None, Rates::default());
        let peer: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        registry.admit(peer, NO_LIMITS).expect("no limit");
        let table = [
            (AcceptLimits { descriptors: Some(1), in_all: Some(1), ..NO_LIMITS }, Full::Descriptors),
            (AcceptLimits { descriptors: Some(2), in_all: Some(1), ..NO_LIMITS }, Full::InAll),
            (AcceptLimits { per_address: Some(1), ..NO_LIMITS }, Full::Address),
            (AcceptLimits { sessionless_per_address: Some(1), ..NO_LIMITS }, Full::Sessionless),
        ];
        for (limits, full) in table {
            assert_eq!(registry.admit(peer, limits), Err(full), "{limits:?}");
        }
        assert_eq!((registry.connections(), registry.refused()), (1, 4));
        registry.forget_refused();
        assert_eq!(registry.refused(), 0);
    }

    #[test]
    fn the_log_tells_of_refusals_once_in_a_while_for_each_reason() {
        let mut refusals = Refusals::default();
        let told = [
            (Full::Address, 0, Some(1)),
            (Full::Address, 1, None),
            (Full::Descriptors, 2, Some(1)),
            (Full::Address, 9_999, None),
            (Full::Address, 10_000, Some(3)),
            (Full::Address, 10_001, None),
        ];
        for (full, at, expected) in told {
            assert_eq!(refusals.one_more(full, Millis(at)), expected, "{full:?} at {at}");
        }
    }

    #[test]
    fn a_limit_for_those_without_a_session_counts_until_they_have_one() {
        let registry = Registry::new(None, Rates::default());
        let limits = AcceptLimits { sessionless_per_address: Some(2), ..NO_LIMITS };
        let [a, b]: [SocketAddr; 2] = ["127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().expect("an address"));
        assert!(registry.admit(a, limits).is_ok() && registry.admit(a, limits).is_ok());
        assert!(registry.admit(a, limits).is_err() && registry.admit(b, limits).is_ok());
        registry.seated(a);
        assert!(registry.admit(a, limits).is_ok() && registry.admit(a, limits).is_err());
        // One that has a session leaves no room behind, one that never had one does.
        registry.left(a, false);
        assert!(registry.admit(a, limits).is_err());
        registry.left(a, true);
        assert!(registry.admit(a, limits).is_ok() && registry.admit(a, limits).is_err());
        registry.left(a, true);
        registry.left(a, true);
        registry.left(b, true);
        assert!(registry.addresses.is_empty());
    }
}
