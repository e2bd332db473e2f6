#![forbid(unsafe_code)]
//! One shard's watches: two registries, data and child, keyed by path and connection (client-protocol §6.1; stock
//! `WatchManager`). Lives on: each shard.
//!
//! A record is 40 bytes and stands in two lists, its path's and its connection's, so that firing, removing one and removing
//! a connection each cost what they touch. A path keeps three lists: data watches, child watches, and recursive ones apart,
//! since a change below looks at those alone. Whether a connection already has a watch on a path is found by walking the
//! path's lists; a path with many watches gets its records into an index.
//!
//! Invariants:
//! - a path is in the table while it has a watch, and holds a slot of the shard's interest for each scope it has one in;
//! - a connection is in the table while it has a watch, or while `wchs` would still name it (stock goes on listing a
//!   connection whose one-shot watches have all fired);
//! - a watch armed at zxid a ignores changes up to a: it was set together with a read that held them.
//!
//! Order within a firing is fixed where §6.2 fixes it. Among connections it is the latest watch first.

use std::sync::Arc;

use super::slab::{NIL, Slab};
use super::{ChangeEvent, ChangeKind, InterestCounts, Scope};
use crate::base::limits::SESSION_WATCHES_MAX;
use crate::base::{ConnectionId, StripedMap, Zxid, path};
use crate::wire::jute::java_text;
use crate::wire::reply::EventType;

/// Watches of a path from which on they are indexed: below it, walking is faster and needs no memory.
const WALK_MAX: u32 = 8;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Watch {
    /// exists or getData: one-shot, on the data registry.
    Data,
    /// getChildren: one-shot, on the child registry.
    Child,
    /// addWatch mode 0: both registries, stays.
    Persistent,
    /// addWatch mode 1: a path and all below, data registry only, stays.
    PersistentRecursive,
}

impl Watch {
    /// The mode of an addWatch; `None` for an unknown one (MarshallingError).
    pub fn of_mode(mode: i32) -> Option<Watch> {
        match mode {
            0 => Some(Watch::Persistent),
            1 => Some(Watch::PersistentRecursive),
            _ => None,
        }
    }

    /// The interest it needs.
    pub fn scope(self) -> Scope {
        if self == Watch::PersistentRecursive { Scope::Recursive } else { Scope::Exact }
    }

    fn kinds(self) -> &'static [Kind] {
        match self {
            Watch::Data => &[Kind::DataStandard],
            Watch::Child => &[Kind::ChildStandard],
            Watch::Persistent => &[Kind::DataPersistent, Kind::ChildPersistent],
            Watch::PersistentRecursive => &[Kind::Recursive],
        }
    }
}

/// What checkWatches and removeWatches name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WatchType {
    /// 1: one-shot child watches.
    Children,
    /// 2: one-shot data watches.
    Data,
    /// 3: everything.
    Any,
    /// 4: persistent ones.
    Persistent,
    /// 5: persistent recursive ones.
    PersistentRecursive,
}

impl WatchType {
    /// The type with this number; `None` for an unknown one (MarshallingError).
    pub fn from_i32(number: i32) -> Option<WatchType> {
        Some(match number {
            1 => WatchType::Children,
            2 => WatchType::Data,
            3 => WatchType::Any,
            4 => WatchType::Persistent,
            5 => WatchType::PersistentRecursive,
            _ => return None,
        })
    }

    fn kinds(self) -> &'static [Kind] {
        match self {
            WatchType::Children => &[Kind::ChildStandard],
            WatchType::Data => &[Kind::DataStandard],
            WatchType::Any => &Kind::ALL,
            WatchType::Persistent => &[Kind::DataPersistent, Kind::ChildPersistent],
            WatchType::PersistentRecursive => &[Kind::Recursive],
        }
    }
}

/// A connection has all the watches it may have (reliability M30): close it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {SESSION_WATCHES_MAX} watches")]
pub struct TooManyWatches;

/// The shard's interest in a path while a read is under way that will set a watch there. Give it back with
/// [`WatchTable::disarm`], whatever came of the read.
#[must_use]
#[derive(Debug)]
pub struct Hold {
    hash: u64,
    scope: Scope,
    /// The read may be answered, and the watch armed, at zxids from here on.
    pub ready_at: Zxid,
}

/// What `wchs` prints: the data registry alone, as in stock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatchCounts {
    /// Connections.
    pub connections: usize,
    /// Paths.
    pub paths: usize,
    /// Pairs of the two.
    pub watches: usize,
}

/// A registry and a mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    DataStandard,
    DataPersistent,
    Recursive,
    ChildStandard,
    ChildPersistent,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::DataStandard,
        Kind::DataPersistent,
        Kind::Recursive,
        Kind::ChildStandard,
        Kind::ChildPersistent,
    ];
    const DATA: [Kind; 3] = [Kind::DataStandard, Kind::DataPersistent, Kind::Recursive];

    fn list(self) -> List {
        match self {
            Kind::DataStandard | Kind::DataPersistent => List::Data,
            Kind::Recursive => List::Recursive,
            Kind::ChildStandard | Kind::ChildPersistent => List::Child,
        }
    }

    fn is_one_shot(self) -> bool {
        matches!(self, Kind::DataStandard | Kind::ChildStandard)
    }
}

/// Lists of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    Data,
    Child,
    Recursive,
}

/// One watch. Links are slots of the same slab.
#[derive(Clone, Debug)]
struct Record {
    armed: Zxid,
    path: u32,
    connection: u32,
    path_prev: u32,
    path_next: u32,
    connection_prev: u32,
    connection_next: u32,
    kind: Kind,
}

#[derive(Clone, Debug)]
struct PathEntry {
    path: Arc<[u8]>,
    hash: u64,
    /// Another path of the same hash.
    same_hash: u32,
    heads: [u32; 3],
    len: u32,
    /// How many are of the data registry.
    data_len: u32,
    indexed: bool,
}

impl PathEntry {
    fn has(&self, scope: Scope) -> bool {
        match scope {
            Scope::Exact => self.heads[List::Data as usize] != NIL || self.heads[List::Child as usize] != NIL,
            Scope::Recursive => self.heads[List::Recursive as usize] != NIL,
        }
    }
}

#[derive(Clone, Debug)]
struct ConnectionEntry {
    id: ConnectionId,
    head: u32,
    len: u32,
    /// Paths it watches in the data registry.
    data_paths: u32,
    /// Whether `wchs` counts it.
    listed: bool,
    /// The last firing that reached it.
    reached: u64,
}

/// Why a record goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    Fired,
    Asked,
    ConnectionGone,
}

/// Watches of one shard.
#[derive(Debug)]
pub struct WatchTable {
    interest: InterestCounts,
    records: Slab<Record>,
    paths: Slab<PathEntry>,
    connections: Slab<ConnectionEntry>,
    by_hash: StripedMap<u64, u32>,
    by_connection: StripedMap<ConnectionId, u32>,
    /// Records of paths with many, by path, connection and kind.
    index: StripedMap<(u32, u32, Kind), u32>,
    recursive: usize,
    counts: WatchCounts,
    firing: u64,
    connection_watches_max: u32,
}

impl WatchTable {
    /// An empty table; `interest` becomes its own.
    pub fn new(interest: InterestCounts) -> WatchTable {
        Self::with_cap(interest, SESSION_WATCHES_MAX)
    }

    fn with_cap(interest: InterestCounts, connection_watches_max: usize) -> WatchTable {
        WatchTable {
            interest,
            records: Slab::default(),
            paths: Slab::default(),
            connections: Slab::default(),
            // Fixed seeds: keys are hashes that are seeded already, or numbers of our own making.
            by_hash: StripedMap::new(3),
            by_connection: StripedMap::new(4),
            index: StripedMap::new(5),
            recursive: 0,
            counts: WatchCounts::default(),
            firing: 0,
            connection_watches_max: u32::try_from(connection_watches_max).expect("the cap is a constant"),
        }
    }

    /// Makes the sequencer send changes of `path` to this shard, before a read that will set `watch` there. `begun` loads
    /// the sequencer's counter. While `applied` < [`Hold::ready_at`], set the connection aside; then read, [`add`](Self::add)
    /// at the zxid of the read, and [`disarm`](Self::disarm) (DESIGN §2, rule 4).
    pub fn arm(&mut self, path: &[u8], watch: Watch, begun: impl FnOnce() -> Zxid) -> Hold {
        let hash = self.interest.table().hasher().hash(&java_text(path));
        let scope = watch.scope();
        Hold { hash, scope, ready_at: self.interest.arm(hash, scope, begun) }
    }

    /// Ends an [`arm`](Self::arm). Watches added meanwhile keep the interest up.
    pub fn disarm(&mut self, hold: Hold) {
        self.interest.release(hold.hash, hold.scope);
    }

    /// Sets a watch that sees changes later than `armed`, under a [`Hold`] for the same path and scope. Setting what is set
    /// is nothing. The bytes may be anything; what is no path never fires, but is found again by any bytes that are the same
    /// text to Java.
    pub fn add(
        &mut self,
        path: &[u8],
        connection: ConnectionId,
        watch: Watch,
        armed: Zxid,
    ) -> Result<(), TooManyWatches> {
        let kinds = watch.kinds();
        let len = self.by_connection.get(&connection).map_or(0, |&at| self.connections[at].len);
        if len + kinds.len() as u32 > self.connection_watches_max {
            return Err(TooManyWatches);
        }
        let at_connection = self.connection_slot(connection);
        let at_path = self.path_slot(&java_text(path));
        for &kind in kinds {
            if self.find(at_path, at_connection, kind).is_none() {
                self.link(at_path, at_connection, kind, armed);
            }
        }
        Ok(())
    }

    /// removeWatches: takes away what `which` names; whether there was any (else NoWatcher). No event.
    pub fn remove(&mut self, path: &[u8], connection: ConnectionId, which: WatchType) -> bool {
        let Some((at_path, at_connection)) = self.slots(&java_text(path), connection) else { return false };
        let found: Vec<u32> =
            which.kinds().iter().filter_map(|&kind| self.find(at_path, at_connection, kind)).collect();
        for &record in &found {
            self.unlink(record, Removal::Asked);
        }
        !found.is_empty()
    }

    /// checkWatches: whether the connection has such a watch. For persistent ones the data registry decides.
    pub fn check(&self, path: &[u8], connection: ConnectionId, which: WatchType) -> bool {
        let Some((at_path, at_connection)) = self.slots(&java_text(path), connection) else { return false };
        let kinds = if which == WatchType::Persistent { &[Kind::DataPersistent] } else { which.kinds() };
        kinds.iter().any(|&kind| self.find(at_path, at_connection, kind).is_some())
    }

    /// The connection is gone, and its watches with it. Gives how many there were.
    pub fn remove_connection(&mut self, connection: ConnectionId) -> usize {
        let Some(&at) = self.by_connection.get(&connection) else { return 0 };
        let count = self.connections[at].len as usize;
        for _ in 0..count {
            self.unlink(self.connections[at].head, Removal::ConnectionGone);
        }
        // Gone with its last record, unless it was only listed.
        if self.by_connection.get(&connection) == Some(&at) {
            self.drop_connection(at);
        }
        count
    }

    /// Fires what `change` fires, in stock's order, one event for each connection and firing (§6.2). One-shot watches that
    /// were reached are gone, also where the READ filter will drop the event.
    pub fn fire(&mut self, change: &ChangeEvent, out: &mut impl FnMut(ConnectionId, EventType)) {
        let hasher = self.interest.table().hasher();
        let (parent_hash, own_hash) = hasher.parent_and_self(&change.path);
        let (own, parent) = (&*change.path, path::parent(&change.path).unwrap_or(b"/"));
        match change.kind {
            ChangeKind::DataChanged => {
                self.fire_data(own, own_hash, change.zxid, EventType::NodeDataChanged, out);
            }
            ChangeKind::Created => {
                self.fire_data(own, own_hash, change.zxid, EventType::NodeCreated, out);
            }
            ChangeKind::Deleted => {
                self.fire_data(own, own_hash, change.zxid, EventType::NodeDeleted, out);
                // Still the same firing: whoever heard of it by a data watch does not hear of it twice.
                self.fire_list(own, own_hash, List::Child, change.zxid, EventType::NodeDeleted, out);
            }
        }
        if change.kind.concerns_parent() {
            self.firing += 1;
            self.fire_list(
                parent,
                parent_hash,
                List::Child,
                change.zxid,
                EventType::NodeChildrenChanged,
                out,
            );
        }
    }

    /// The data registry at a path: every mode there, and recursive watches at each ancestor.
    fn fire_data(
        &mut self,
        path: &[u8],
        hash: u64,
        zxid: Zxid,
        event: EventType,
        out: &mut impl FnMut(ConnectionId, EventType),
    ) {
        self.firing += 1;
        self.fire_list(path, hash, List::Data, zxid, event, out);
        if self.recursive == 0 {
            return;
        }
        // Recursive watches stay, so that the slots found here are good until they are fired.
        let found: Vec<u32> = self
            .interest
            .table()
            .hasher()
            .prefixes(path)
            .filter_map(|prefix| self.lookup(prefix.path, prefix.hash))
            .collect();
        for at in found {
            self.fire_at(at, List::Recursive, zxid, event, out);
        }
    }

    fn fire_list(
        &mut self,
        path: &[u8],
        hash: u64,
        list: List,
        zxid: Zxid,
        event: EventType,
        out: &mut impl FnMut(ConnectionId, EventType),
    ) {
        if let Some(at) = self.lookup(path, hash) {
            self.fire_at(at, list, zxid, event, out);
        }
    }

    fn fire_at(
        &mut self,
        path: u32,
        list: List,
        zxid: Zxid,
        event: EventType,
        out: &mut impl FnMut(ConnectionId, EventType),
    ) {
        let mut at = self.paths[path].heads[list as usize];
        while at != NIL {
            let Record { armed, connection, path_next, kind, .. } = self.records[at];
            if armed < zxid {
                let connection = &mut self.connections[connection];
                if connection.reached != self.firing {
                    connection.reached = self.firing;
                    out(connection.id, event);
                }
                if kind.is_one_shot() {
                    self.unlink(at, Removal::Fired);
                }
            }
            at = path_next;
        }
    }

    /// Watches of all kinds; a persistent one counts in each registry.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nobody waits for anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `wchs` prints.
    pub fn counts(&self) -> WatchCounts {
        self.counts
    }

    /// Watched paths of the data registry, for `wchp`, each with the position to go on from; start at 0. A slice may stop
    /// anywhere; what changes between two slices is or is not seen.
    pub fn paths_from(&self, position: u32) -> impl Iterator<Item = (u32, &Arc<[u8]>)> {
        self.paths
            .iter_from(position)
            .filter(|(_, entry)| entry.data_len > 0)
            .map(|(at, e)| (at + 1, &e.path))
    }

    /// Who watches `path` in the data registry, each once, by connection.
    pub fn connections_at(&self, path: &[u8]) -> Vec<ConnectionId> {
        let mut ids = Vec::new();
        let hash = self.interest.table().hasher().hash(path);
        if let Some(at) = self.lookup(path, hash) {
            for list in [List::Data, List::Recursive] {
                ids.extend(self.records_at(at, list).map(|(_, r)| self.connections[r.connection].id));
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Connections that `wchc` lists, each with the position to go on from; start at 0.
    pub fn connections_from(&self, position: u32) -> impl Iterator<Item = (u32, ConnectionId)> {
        self.connections.iter_from(position).filter(|(_, entry)| entry.listed).map(|(at, e)| (at + 1, e.id))
    }

    /// Paths that `connection` watches in the data registry, each once, in byte order.
    pub fn paths_of(&self, connection: ConnectionId) -> Vec<Arc<[u8]>> {
        let mut paths = Vec::new();
        let mut at = self.by_connection.get(&connection).map_or(NIL, |&at| self.connections[at].head);
        while at != NIL {
            let record = &self.records[at];
            if record.kind.list() != List::Child {
                paths.push(self.paths[record.path].path.clone());
            }
            at = record.connection_next;
        }
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    fn slots(&self, path: &[u8], connection: ConnectionId) -> Option<(u32, u32)> {
        let at_connection = *self.by_connection.get(&connection)?;
        let hash = self.interest.table().hasher().hash(path);
        Some((self.lookup(path, hash)?, at_connection))
    }

    fn lookup(&self, path: &[u8], hash: u64) -> Option<u32> {
        let mut at = *self.by_hash.get(&hash)?;
        while at != NIL {
            let entry = &self.paths[at];
            if *entry.path == *path {
                return Some(at);
            }
            at = entry.same_hash;
        }
        None
    }

    fn path_slot(&mut self, path: &[u8]) -> u32 {
        let hash = self.interest.table().hasher().hash(path);
        if let Some(at) = self.lookup(path, hash) {
            return at;
        }
        let same_hash = self.by_hash.get(&hash).copied().unwrap_or(NIL);
        let entry = PathEntry {
            path: path.into(),
            hash,
            same_hash,
            heads: [NIL; 3],
            len: 0,
            data_len: 0,
            indexed: false,
        };
        let at = self.paths.insert(entry);
        self.by_hash.insert(hash, at);
        at
    }

    fn connection_slot(&mut self, id: ConnectionId) -> u32 {
        *self.by_connection.get_or_insert_with(id, || {
            let entry = ConnectionEntry { id, head: NIL, len: 0, data_paths: 0, listed: false, reached: 0 };
            self.connections.insert(entry)
        })
    }

    fn records_at(&self, path: u32, list: List) -> impl Iterator<Item = (u32, &Record)> {
        let mut at = self.paths[path].heads[list as usize];
        std::iter::from_fn(move || {
            if at == NIL {
                return None;
            }
            let record = (at, &self.records[at]);
            at = record.1.path_next;
            Some(record)
        })
    }

    fn find(&self, path: u32, connection: u32, kind: Kind) -> Option<u32> {
        if self.paths[path].indexed {
            return self.index.get(&(path, connection, kind)).copied();
        }
        self.records_at(path, kind.list())
            .find(|(_, r)| r.connection == connection && r.kind == kind)
            .map(|(at, _)| at)
    }

    /// Whether the connection watches the path in the data registry at all: what `wchs` counts as one.
    fn watches_data(&self, path: u32, connection: u32) -> bool {
        Kind::DATA.iter().any(|&kind| self.find(path, connection, kind).is_some())
    }

    fn link(&mut self, path: u32, connection: u32, kind: Kind, armed: Zxid) {
        let list = kind.list();
        let is_data = list != List::Child;
        let is_first_of_pair = is_data && !self.watches_data(path, connection);
        let scope = if list == List::Recursive { Scope::Recursive } else { Scope::Exact };
        if !self.paths[path].has(scope) {
            self.interest.hold(self.paths[path].hash, scope);
        }

        let path_next = self.paths[path].heads[list as usize];
        let connection_next = self.connections[connection].head;
        let at = self.records.insert(Record {
            armed,
            path,
            connection,
            path_prev: NIL,
            path_next,
            connection_prev: NIL,
            connection_next,
            kind,
        });
        if path_next != NIL {
            self.records[path_next].path_prev = at;
        }
        if connection_next != NIL {
            self.records[connection_next].connection_prev = at;
        }
        self.recursive += usize::from(list == List::Recursive);

        let entry = &mut self.paths[path];
        entry.heads[list as usize] = at;
        entry.len += 1;
        self.counts.paths += usize::from(is_data && entry.data_len == 0);
        entry.data_len += u32::from(is_data);
        if entry.indexed {
            self.index.insert((path, connection, kind), at);
        } else if entry.len > WALK_MAX {
            self.build_index(path);
        }

        let entry = &mut self.connections[connection];
        entry.head = at;
        entry.len += 1;
        if is_first_of_pair {
            entry.data_paths += 1;
            self.counts.watches += 1;
        }
        if is_data && !entry.listed {
            entry.listed = true;
            self.counts.connections += 1;
        }
    }

    fn build_index(&mut self, path: u32) {
        self.paths[path].indexed = true;
        for list in [List::Data, List::Child, List::Recursive] {
            let mut at = self.paths[path].heads[list as usize];
            while at != NIL {
                let record = &self.records[at];
                self.index.insert((path, record.connection, record.kind), at);
                at = record.path_next;
            }
        }
    }

    fn unlink(&mut self, at: u32, why: Removal) {
        let Record { path, connection, path_prev, path_next, connection_prev, connection_next, kind, .. } =
            self.records.remove(at);
        let list = kind.list();
        let is_data = list != List::Child;
        match path_prev {
            NIL => self.paths[path].heads[list as usize] = path_next,
            prev => self.records[prev].path_next = path_next,
        }
        if path_next != NIL {
            self.records[path_next].path_prev = path_prev;
        }
        match connection_prev {
            NIL => self.connections[connection].head = connection_next,
            prev => self.records[prev].connection_next = connection_next,
        }
        if connection_next != NIL {
            self.records[connection_next].connection_prev = connection_prev;
        }
        if self.paths[path].indexed {
            self.index.remove(&(path, connection, kind));
        }
        self.recursive -= usize::from(list == List::Recursive);
        let was_last_of_pair = is_data && !self.watches_data(path, connection);

        let entry = &mut self.paths[path];
        entry.len -= 1;
        entry.data_len -= u32::from(is_data);
        self.counts.paths -= usize::from(is_data && entry.data_len == 0);
        let scope = if list == List::Recursive { Scope::Recursive } else { Scope::Exact };
        if !entry.has(scope) {
            self.interest.release(entry.hash, scope);
        }
        if entry.len == 0 {
            self.drop_path(path);
        }

        let entry = &mut self.connections[connection];
        entry.len -= 1;
        if was_last_of_pair {
            entry.data_paths -= 1;
            self.counts.watches -= 1;
            // A firing leaves the connection listed, as in stock.
            if entry.data_paths == 0 && why != Removal::Fired {
                entry.listed = false;
                self.counts.connections -= 1;
            }
        }
        if entry.len == 0 && !entry.listed {
            self.drop_connection(connection);
        }
    }

    fn drop_path(&mut self, at: u32) {
        let PathEntry { hash, same_hash, .. } = self.paths.remove(at);
        let first = *self.by_hash.get(&hash).expect("a path in the table is found by its hash");
        if first != at {
            let mut before = first;
            while self.paths[before].same_hash != at {
                before = self.paths[before].same_hash;
            }
            self.paths[before].same_hash = same_hash;
        } else if same_hash == NIL {
            self.by_hash.remove(&hash);
        } else {
            self.by_hash.insert(hash, same_hash);
        }
    }

    fn drop_connection(&mut self, at: u32) {
        let ConnectionEntry { id, len, listed, .. } = self.connections.remove(at);
        assert!(len == 0, "{id:?} goes with {len} watches left");
        self.counts.connections -= usize::from(listed);
        self.by_connection.remove(&id);
    }
}

const _: () = assert!(std::mem::size_of::<Record>() == 40);

#[cfg(all(test, not(loom)))]
#[path = "table_tests.rs"]
mod tests;
