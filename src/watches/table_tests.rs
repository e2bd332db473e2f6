#![forbid(unsafe_code)]
//! What a shard's watch table owes its clients: each line of client-protocol §11.8 that a table can show, and the same
//! rules written down once more, plainly, to compare with.

use super::*;
use crate::base::ShardId;
use crate::base::limits::SESSION_WATCHES_MAX;
use crate::watches::{InterestTable, PathHasher};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

use EventType::{
    NodeChildrenChanged as Children, NodeCreated as Created, NodeDataChanged as Changed,
    NodeDeleted as Deleted,
};

const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);

fn table() -> WatchTable {
    let table = Arc::new(InterestTable::new(1 << 10, PathHasher::new(3)));
    WatchTable::new(InterestCounts::new(table, ShardId(0)))
}

impl WatchTable {
    /// Arms and adds as a shard does.
    fn set(&mut self, path: &str, connection: ConnectionId, watch: Watch, armed: i64) {
        let hold = self.arm(path.as_bytes(), watch, || Zxid(0));
        self.add(path.as_bytes(), connection, watch, Zxid(armed)).expect("below the cap");
        self.disarm(hold);
    }

    fn change(&mut self, kind: ChangeKind, path: &str, zxid: i64) -> Vec<(ConnectionId, EventType)> {
        let interested = self.interest.table().interested(path.as_bytes(), kind) != 0;
        let mut events = vec![];
        let event =
            ChangeEvent { zxid: Zxid(zxid), kind, path: path.as_bytes().into(), acl: None, parent_acl: None };
        self.fire(&event, &mut |connection, event| events.push((connection, event)));
        assert!(interested || events.is_empty(), "{kind:?} {path} would not have been sent here");
        events
    }

    fn create(&mut self, path: &str, zxid: i64) -> Vec<(ConnectionId, EventType)> {
        self.change(ChangeKind::Created, path, zxid)
    }

    fn delete(&mut self, path: &str, zxid: i64) -> Vec<(ConnectionId, EventType)> {
        self.change(ChangeKind::Deleted, path, zxid)
    }

    fn set_data(&mut self, path: &str, zxid: i64) -> Vec<(ConnectionId, EventType)> {
        self.change(ChangeKind::DataChanged, path, zxid)
    }
}

#[test]
fn a_data_watch_fires_once_for_whatever_comes_first() {
    for (kind, event) in
        [(ChangeKind::DataChanged, Changed), (ChangeKind::Created, Created), (ChangeKind::Deleted, Deleted)]
    {
        let mut table = table();
        table.set("/q/p", A, Watch::Data, 0);
        assert_eq!(table.create("/q/p/child", 1), vec![], "children are not its business");
        assert_eq!(table.create("/q", 1), vec![], "nor are parents");
        assert_eq!(table.change(kind, "/q/p", 2), vec![(A, event)]);
        assert_eq!(table.change(kind, "/q/p", 3), vec![], "one-shot");
        assert!(table.is_empty());
    }
}

#[test]
fn a_child_watch_fires_for_children_and_for_the_end_of_the_node() {
    let mut table = table();
    for (n, path) in ["/p/c", "/p/d"].into_iter().enumerate() {
        table.set("/p", A, Watch::Child, 0);
        assert_eq!(table.set_data("/p/c", 1), vec![]);
        assert_eq!(table.set_data("/p", 1), vec![]);
        let events = if n == 0 { table.create(path, 2) } else { table.delete(path, 2) };
        assert_eq!(events, vec![(A, Children)]);
    }
    table.set("/p", A, Watch::Child, 0);
    assert_eq!(table.delete("/p", 3), vec![(A, Deleted)]);
    table.set("/", A, Watch::Child, 0);
    assert_eq!(table.create("/new", 4), vec![(A, Children)]);
}

#[test]
fn data_and_child_watch_of_one_connection_give_one_deletion_and_both_are_gone() {
    let mut table = table();
    table.set("/p", A, Watch::Data, 0);
    table.set("/p", A, Watch::Child, 0);
    table.set("/p", B, Watch::Child, 0);
    assert_eq!(table.delete("/p", 1), vec![(A, Deleted), (B, Deleted)]);
    assert!(table.is_empty());
}

#[test]
fn a_watch_on_node_and_parent_gives_the_deletion_before_the_change_of_children() {
    let mut table = table();
    table.set("/q", A, Watch::Child, 0);
    table.set("/q/p", A, Watch::Child, 0);
    assert_eq!(table.delete("/q/p", 1), vec![(A, Deleted), (A, Children)]);
    table.set("/q", A, Watch::Child, 0);
    table.set("/q/p", A, Watch::Data, 0);
    assert_eq!(table.create("/q/p", 2), vec![(A, Created), (A, Children)]);
}

#[test]
fn the_matrix_of_the_specification() {
    // Columns: data on P, child on P, child on Q, persistent on P, persistent on Q, recursive on P, on Q, above.
    const COLUMNS: [(&str, Watch); 8] = [
        ("/x/q/p", Watch::Data),
        ("/x/q/p", Watch::Child),
        ("/x/q", Watch::Child),
        ("/x/q/p", Watch::Persistent),
        ("/x/q", Watch::Persistent),
        ("/x/q/p", Watch::PersistentRecursive),
        ("/x/q", Watch::PersistentRecursive),
        ("/", Watch::PersistentRecursive),
    ];
    let (own, children) = (|event| Some(event), Some(Children));
    for (kind, row) in [
        (
            ChangeKind::Created,
            [own(Created), None, children, own(Created), children, own(Created), own(Created), own(Created)],
        ),
        (
            ChangeKind::DataChanged,
            [own(Changed), None, None, own(Changed), None, own(Changed), own(Changed), own(Changed)],
        ),
        (
            ChangeKind::Deleted,
            [
                own(Deleted),
                own(Deleted),
                children,
                own(Deleted),
                children,
                own(Deleted),
                own(Deleted),
                own(Deleted),
            ],
        ),
    ] {
        for ((path, watch), expected) in COLUMNS.into_iter().zip(row) {
            let mut table = table();
            table.set(path, A, watch, 0);
            for zxid in 1..4 {
                let is_one_shot = matches!(watch, Watch::Data | Watch::Child);
                let expected = expected.filter(|_| zxid == 1 || !is_one_shot).map(|event| (A, event));
                let events = table.change(kind, "/x/q/p", zxid);
                assert_eq!(events, expected.into_iter().collect::<Vec<_>>(), "{kind:?}: {watch:?} on {path}");
            }
        }
    }
}

#[test]
fn recursive_and_one_shot_on_one_change_give_one_event() {
    let mut table = table();
    table.set("/a/b", A, Watch::Data, 0);
    table.set("/a/b", A, Watch::Persistent, 0);
    table.set("/a/b", A, Watch::PersistentRecursive, 0);
    table.set("/a", A, Watch::PersistentRecursive, 0);
    assert_eq!(table.set_data("/a/b", 1), vec![(A, Changed)]);
    assert_eq!(table.set_data("/a/b", 2), vec![(A, Changed)], "persistent ones stay");
    assert!(!table.check(b"/a/b", A, WatchType::Data));
    assert!(table.check(b"/a/b", A, WatchType::Persistent));
    assert_eq!(table.delete("/a/b", 3), vec![(A, Deleted)]);
    // Never a change of children by a recursive watch; the persistent one on the parent does see it.
    assert_eq!(table.create("/a/b/c", 4), vec![(A, Created), (A, Children)]);
    assert_eq!(table.create("/a/d", 5), vec![(A, Created)]);
    assert_eq!(table.create("/ab", 6), vec![]);
}

#[test]
fn a_change_the_read_held_already_does_not_fire() {
    let mut table = table();
    table.set("/p", A, Watch::Data, 7);
    table.set("/p", A, Watch::Persistent, 5);
    table.set("/", A, Watch::PersistentRecursive, 9);
    table.set("/p", B, Watch::Data, 8);
    assert_eq!(table.set_data("/p", 5), vec![]);
    assert_eq!(table.set_data("/p", 6), vec![(A, Changed)]);
    assert!(table.check(b"/p", A, WatchType::Data), "armed at 7, not consumed by 6");
    assert_eq!(table.set_data("/p", 8), vec![(A, Changed)]);
    assert!(!table.check(b"/p", A, WatchType::Data));
    // Setting it again keeps the earlier zxid.
    table.set("/p", B, Watch::Data, 20);
    assert_eq!(table.set_data("/p", 9), vec![(B, Changed), (A, Changed)]);
}

#[test]
fn removal_takes_what_it_names_and_no_more() {
    let all = |table: &mut WatchTable| {
        for watch in [Watch::Data, Watch::Child, Watch::Persistent, Watch::PersistentRecursive] {
            table.set("/p", A, watch, 0);
            table.set("/p", B, watch, 0);
        }
    };
    use WatchType::*;
    for (removed, kept) in [
        (Children, &[Data, Persistent, PersistentRecursive][..]),
        (Data, &[Children, Persistent, PersistentRecursive]),
        (Persistent, &[Children, Data, PersistentRecursive]),
        (PersistentRecursive, &[Children, Data, Persistent]),
        (Any, &[]),
    ] {
        let mut table = table();
        all(&mut table);
        assert!(table.check(b"/p", A, removed) && table.remove(b"/p", A, removed), "{removed:?}");
        assert!(!table.check(b"/p", A, removed) && !table.remove(b"/p", A, removed), "{removed:?} twice");
        for &other in kept {
            assert!(table.check(b"/p", A, other), "{other:?} after {removed:?}");
        }
        assert_eq!(table.check(b"/p", A, Any), !kept.is_empty());
        assert!(
            [Children, Data, Any, Persistent, PersistentRecursive]
                .into_iter()
                .all(|t| table.check(b"/p", B, t))
        );
        assert!(!table.remove(b"/x", A, Any) && !table.remove(b"/p", ConnectionId(9), Any));
    }
    assert_eq!(
        (WatchType::from_i32(0), WatchType::from_i32(9), WatchType::from_i32(3)),
        (None, None, Some(Any))
    );
    assert_eq!((Watch::of_mode(2), Watch::of_mode(1)), (None, Some(Watch::PersistentRecursive)));
}

#[test]
fn a_persistent_watch_left_in_the_child_registry_is_not_what_check_asks_for() {
    let mut table = table();
    table.set("/p", A, Watch::Persistent, 0);
    let at = table.lookup(b"/p", table.interest.table().hasher().hash(b"/p")).expect("watched");
    let record =
        table.find(at, *table.by_connection.get(&A).expect("set"), Kind::DataPersistent).expect("set");
    table.unlink(record, Removal::Asked);
    assert!(!table.check(b"/p", A, WatchType::Persistent));
    assert!(table.remove(b"/p", A, WatchType::Persistent));
}

#[test]
fn a_connection_takes_its_watches_along_and_the_interest_goes_with_the_last() {
    let mut table = table();
    for path in ["/a", "/a/b", "/c", "no path", ""] {
        for watch in [Watch::Data, Watch::Child, Watch::Persistent, Watch::PersistentRecursive] {
            table.set(path, A, watch, 0);
        }
    }
    table.set("/a", B, Watch::Data, 0);
    assert_eq!(table.remove_connection(A), 25);
    assert_eq!(table.remove_connection(A), 0);
    assert_eq!((table.len(), table.interest.len()), (1, 1));
    assert_eq!(table.set_data("/a", 1), vec![(B, Changed)]);
    assert_eq!((table.len(), table.interest.len(), table.paths.len()), (0, 0, 0));
    assert_eq!(table.connections.len(), 1, "listed until it goes");
    table.remove_connection(B);
    assert_eq!((table.connections.len(), table.counts()), (0, WatchCounts::default()));
}

#[test]
fn interest_lasts_from_arming_to_the_last_watch() {
    let mut table = table();
    let hold = table.arm(b"/p", Watch::Data, || Zxid(5));
    assert_eq!(hold.ready_at, Zxid(5));
    table.disarm(hold);
    assert!(table.interest.is_empty(), "the read failed and set nothing");

    let first = table.arm(b"/p", Watch::Data, || Zxid(6));
    let second = table.arm(b"/p", Watch::Child, || Zxid(7));
    assert_eq!(second.ready_at, Zxid(6), "the bit was set at 6");
    table.add(b"/p", A, Watch::Data, Zxid(6)).expect("room");
    table.disarm(first);
    assert_eq!(table.set_data("/p", 7), vec![(A, Changed)]);
    assert!(!table.interest.is_empty(), "the second read is still under way");
    table.disarm(second);
    assert!(table.interest.is_empty());
}

#[test]
fn a_connection_may_have_so_many_watches_and_no_more() {
    let interest = InterestCounts::new(Arc::new(InterestTable::new(1, PathHasher::new(3))), ShardId(0));
    let mut table = WatchTable::with_cap(interest, 3);
    let hold = table.arm(b"/", Watch::Data, || Zxid(0));
    assert_eq!(table.add(b"/1", A, Watch::Data, Zxid(0)), Ok(()));
    assert_eq!(table.add(b"/2", A, Watch::Persistent, Zxid(0)), Ok(()));
    assert_eq!(table.add(b"/3", A, Watch::Data, Zxid(0)), Err(TooManyWatches));
    assert_eq!(table.add(b"/3", B, Watch::Data, Zxid(0)), Ok(()), "another's are its own");
    table.remove(b"/2", A, WatchType::Any);
    assert_eq!(table.add(b"/3", A, Watch::Data, Zxid(0)), Ok(()));
    table.disarm(hold);
    assert_eq!(TooManyWatches.to_string(), format!("more than {SESSION_WATCHES_MAX} watches"));
}

#[test]
fn the_words_count_the_data_registry_as_stock_does() {
    let mut table = table();
    let counts = |connections, paths, watches| WatchCounts { connections, paths, watches };
    table.set("/a", A, Watch::Child, 0);
    assert_eq!(table.counts(), counts(0, 0, 0), "child watches are not in it");
    table.set("/a", A, Watch::Data, 0);
    table.set("/a", A, Watch::Persistent, 0);
    table.set("/b", A, Watch::PersistentRecursive, 0);
    table.set("/b", B, Watch::Data, 0);
    assert_eq!(table.counts(), counts(2, 2, 3), "modes of one pair count once");
    assert_eq!(table.connections_at(b"/b"), vec![A, B]);
    assert_eq!(table.connections_at(b"/x"), vec![]);
    assert_eq!(table.paths_of(A), vec![Arc::from(b"/a".as_slice()), Arc::from(b"/b".as_slice())]);
    let paths: Vec<_> = table.paths_from(0).map(|(next, path)| (next, path.to_vec())).collect();
    assert_eq!(paths, vec![(1, b"/a".to_vec()), (2, b"/b".to_vec())]);
    assert_eq!(table.paths_from(1).count(), 1);
    assert_eq!(table.connections_from(0).map(|(_, id)| id).collect::<Vec<_>>(), vec![A, B]);

    // A connection whose last one-shot fired is still named; one that asked for removal is not.
    assert_eq!(table.set_data("/b", 1).len(), 2);
    assert_eq!(table.counts(), counts(2, 2, 2));
    assert_eq!(table.paths_of(B), Vec::<Arc<[u8]>>::new());
    table.remove(b"/a", A, WatchType::Any);
    table.remove(b"/b", A, WatchType::Any);
    assert_eq!(table.counts(), counts(1, 0, 0));
    table.remove_connection(B);
    assert_eq!(table.counts(), counts(0, 0, 0));
}

#[test]
fn a_path_with_very_many_watches_stays_quick() {
    // Walking would be ten thousand million steps.
    const MANY: u64 = 100_000;
    let mut table = table();
    for n in 0..MANY {
        table.set("/busy", ConnectionId(n), Watch::Data, 0);
        table.set("/busy", ConnectionId(n), Watch::Data, 0);
    }
    assert_eq!(table.index.len() as u64, MANY);
    for n in 0..MANY / 2 {
        assert_eq!(table.remove_connection(ConnectionId(n)), 1);
    }
    assert_eq!(table.set_data("/busy", 1).len() as u64, MANY / 2);
    assert!(table.is_empty() && table.index.is_empty());
}

#[test]
fn a_very_deep_path_fires_in_one_pass() {
    let mut table = table();
    let deep = "/a".repeat(500_000);
    table.set("/a/a", A, Watch::PersistentRecursive, 0);
    table.set(&deep, B, Watch::Data, 0);
    assert_eq!(table.set_data(&deep, 1), vec![(B, Changed), (A, Changed)]);
}

#[test]
fn paths_of_the_same_hash_are_kept_apart() {
    let mut table = table();
    for path in ["/a", "/b", "/c"] {
        table.set(path, A, Watch::Data, 0);
    }
    // Pretends that all three collide: chains them under the first one's hash.
    let slots: Vec<u32> = ["/a", "/b", "/c"]
        .map(|p| table.lookup(p.as_bytes(), table.interest.table().hasher().hash(p.as_bytes())).expect("set"))
        .to_vec();
    let hash = table.paths[slots[0]].hash;
    for pair in slots.windows(2) {
        table.paths[pair[0]].same_hash = pair[1];
    }
    assert_eq!(table.lookup(b"/c", hash), Some(slots[2]));
    for slot in [slots[1], slots[0], slots[2]] {
        table.paths[slot].hash = hash;
        let path = table.paths[slot].path.clone();
        table.drop_path(slot);
        assert_eq!(table.lookup(&path, hash), None);
    }
    assert!(!table.by_hash.contains_key(&hash));
}

/// The rules of §6.2 written down as plainly as possible.
#[derive(Default)]
struct Model {
    /// Registry, path and connection to modes with the zxid each was armed at.
    data: BTreeMap<(String, u64), BTreeMap<Mode, i64>>,
    child: BTreeMap<(String, u64), BTreeMap<Mode, i64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

impl Model {
    fn add(&mut self, path: &str, connection: u64, watch: Watch, armed: i64) {
        let key = (path.to_owned(), connection);
        let set = |registry: &mut BTreeMap<(String, u64), BTreeMap<Mode, i64>>, mode| {
            registry.entry(key.clone()).or_default().entry(mode).or_insert(armed);
        };
        match watch {
            Watch::Data => set(&mut self.data, Mode::Standard),
            Watch::Child => set(&mut self.child, Mode::Standard),
            Watch::Persistent => {
                set(&mut self.data, Mode::Persistent);
                set(&mut self.child, Mode::Persistent);
            }
            Watch::PersistentRecursive => set(&mut self.data, Mode::Recursive),
        }
    }

    /// Who is reached by firing one registry at a path; one-shots there are consumed.
    fn trigger(
        registry: &mut BTreeMap<(String, u64), BTreeMap<Mode, i64>>,
        path: &str,
        zxid: i64,
    ) -> BTreeSet<u64> {
        let mut reached = BTreeSet::new();
        for ((at, connection), modes) in registry.iter_mut() {
            let is_above = at == "/" || path.starts_with(&format!("{at}/"));
            if at == path {
                if modes.values().any(|&armed| armed < zxid) {
                    reached.insert(*connection);
                }
                modes.retain(|&mode, &mut armed| mode != Mode::Standard || armed >= zxid);
            } else if is_above && modes.get(&Mode::Recursive).is_some_and(|&armed| armed < zxid) {
                reached.insert(*connection);
            }
        }
        registry.retain(|_, modes| !modes.is_empty());
        reached
    }

    fn fire(&mut self, kind: ChangeKind, path: &str, zxid: i64) -> Vec<BTreeSet<(ConnectionId, i32)>> {
        let events = |reached: BTreeSet<u64>, event: EventType| -> BTreeSet<(ConnectionId, i32)> {
            reached.into_iter().map(|c| (ConnectionId(c), event as i32)).collect()
        };
        let parent = match path.rfind('/').expect("absolute") {
            0 => "/",
            at => &path[..at],
        };
        let own = match kind {
            ChangeKind::Created => Created,
            ChangeKind::Deleted => Deleted,
            ChangeKind::DataChanged => Changed,
        };
        let first = Self::trigger(&mut self.data, path, zxid);
        let mut steps = vec![events(first.clone(), own)];
        if kind == ChangeKind::Deleted {
            let second = Self::trigger(&mut self.child, path, zxid);
            steps.push(events(second.difference(&first).copied().collect(), Deleted));
        }
        if kind != ChangeKind::DataChanged {
            steps.push(events(Self::trigger(&mut self.child, parent, zxid), Children));
        }
        steps
    }

    fn remove(&mut self, path: &str, connection: u64, which: WatchType) -> bool {
        let key = (path.to_owned(), connection);
        let mut found = false;
        for (is_child, registry) in [(false, &mut self.data), (true, &mut self.child)] {
            let Some(modes) = registry.get_mut(&key) else { continue };
            modes.retain(|&mode, _| {
                let goes = match which {
                    WatchType::Children => is_child && mode == Mode::Standard,
                    WatchType::Data => !is_child && mode == Mode::Standard,
                    WatchType::Any => true,
                    WatchType::Persistent => mode == Mode::Persistent,
                    WatchType::PersistentRecursive => mode == Mode::Recursive,
                };
                found |= goes;
                !goes
            });
            if modes.is_empty() {
                registry.remove(&key);
            }
        }
        found
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(String, u64, Watch, i64),
    Fire(ChangeKind, String),
    Remove(String, u64, WatchType),
    Gone(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let path = || prop_oneof![1 => Just("/".to_owned()), 9 => "(/[ab]){1,3}"];
    let connection = || 0..4u64;
    let watch = prop_oneof![
        Just(Watch::Data),
        Just(Watch::Child),
        Just(Watch::Persistent),
        Just(Watch::PersistentRecursive)
    ];
    let kind =
        prop_oneof![Just(ChangeKind::Created), Just(ChangeKind::Deleted), Just(ChangeKind::DataChanged)];
    let which = (1..6).prop_map(|n| WatchType::from_i32(n).expect("one of five"));
    prop_oneof![
        6 => (path(), connection(), watch, -1..2i64).prop_map(|(p, c, w, ahead)| Step::Add(p, c, w, ahead)),
        5 => (kind, path()).prop_map(|(k, p)| Step::Fire(k, p)),
        2 => (path(), connection(), which).prop_map(|(p, c, t)| Step::Remove(p, c, t)),
        1 => connection().prop_map(Step::Gone),
    ]
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_rules_written_plainly(steps in prop::collection::vec(step(), 1..120)) {
        let (mut table, mut model) = (table(), Model::default());
        let mut zxid = 10;
        for step in steps {
            match step {
                Step::Add(path, connection, watch, ahead) => {
                    table.set(&path, ConnectionId(connection), watch, zxid + ahead);
                    model.add(&path, connection, watch, zxid + ahead);
                }
                Step::Fire(kind, path) => {
                    // Only the root's data can change.
                    let kind = if path == "/" { ChangeKind::DataChanged } else { kind };
                    zxid += 1;
                    let mut events = table.change(kind, &path, zxid).into_iter();
                    for expected in model.fire(kind, &path, zxid) {
                        let got: Vec<_> = events.by_ref().take(expected.len()).map(|(c, e)| (c, e as i32)).collect();
                        prop_assert_eq!(got.len(), expected.len());
                        prop_assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), expected);
                    }
                    prop_assert_eq!(events.next(), None);
                }
                Step::Remove(path, connection, which) => {
                    let removed = table.remove(path.as_bytes(), ConnectionId(connection), which);
                    prop_assert_eq!(removed, model.remove(&path, connection, which));
                }
                Step::Gone(connection) => {
                    table.remove_connection(ConnectionId(connection));
                    model.data.retain(|(_, c), _| *c != connection);
                    model.child.retain(|(_, c), _| *c != connection);
                }
            }
            let records: usize = model.data.values().chain(model.child.values()).map(BTreeMap::len).sum();
            prop_assert_eq!(table.len(), records);
            prop_assert_eq!(table.counts().watches, model.data.len());
            let paths: BTreeSet<_> = model.data.keys().map(|(path, _)| path.as_bytes().to_vec()).collect();
            prop_assert_eq!(table.paths_from(0).map(|(_, p)| p.to_vec()).collect::<BTreeSet<_>>(), paths.clone());
            prop_assert_eq!(table.counts().paths, paths.len());
            prop_assert_eq!(table.connections_from(0).count(), table.counts().connections);
            let exact: BTreeSet<_> = model.data.iter()
                .filter(|(_, modes)| modes.keys().any(|&m| m != Mode::Recursive))
                .chain(&model.child).map(|((p, _), _)| p.clone()).collect();
            let recursive: BTreeSet<_> = model.data.iter()
                .filter(|(_, modes)| modes.contains_key(&Mode::Recursive)).map(|((p, _), _)| p.clone()).collect();
            let slot = |p: &String| table.interest.table().hasher().hash(p.as_bytes()) >> 32 & ((1 << 10) - 1);
            let slots = |paths: &BTreeSet<String>| paths.iter().map(slot).collect::<BTreeSet<_>>().len();
            prop_assert_eq!(table.interest.len(), slots(&exact) + slots(&recursive));
        }
    }
}
