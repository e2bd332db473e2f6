#![forbid(unsafe_code)]
//! Quotas: limits and usage of subtrees, kept as text in znodes under /zookeeper/quota (client-protocol §10; stock
//! `Quotas`, `StatsTrack`, `PathTrie`, `ZooKeeperServer.checkQuota`, `DataTree.updateQuotaStat`).
//!
//! For the subtree /x/y: limits in /zookeeper/quota/x/y/zookeeper_limits, usage in …/zookeeper_stats. Both are ordinary
//! znodes that any client with rights may fill with anything, and by default everyone has rights: parsers are total and
//! their work is bounded (reliability M38). What stock cannot parse makes it throw in the apply step; here it is no limit
//! and no usage, and is left alone.
//!
//! Lives on the sequencer. Accounting is a side effect of applying a txn: it makes no txn and changes no Stat.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::base::limits::QUOTA_TEXT_BYTES_MAX;
use crate::base::path;
use crate::wire::ErrorCode;

/// Root of the bookkeeping.
pub const QUOTA_ROOT: &[u8] = b"/zookeeper/quota";
/// Name of the znode with a subtree's limits.
pub const LIMITS_NAME: &[u8] = b"zookeeper_limits";
/// Name of the znode with a subtree's usage.
pub const STATS_NAME: &[u8] = b"zookeeper_stats";

/// Where the limits of the subtree at `managed` stand.
pub fn limits_path(managed: &[u8]) -> Vec<u8> {
    [QUOTA_ROOT, managed, b"/", LIMITS_NAME].concat()
}

/// Where the usage of the subtree at `managed` stands.
pub fn stats_path(managed: &[u8]) -> Vec<u8> {
    [QUOTA_ROOT, managed, b"/", STATS_NAME].concat()
}

/// What creating or deleting a znode means to quotas, by its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuotaNode<'a> {
    /// The limits of this subtree: it is managed from the creation to the deletion.
    Limits(&'a [u8]),
    /// The usage of this subtree: counted when created.
    Stats(&'a [u8]),
}

impl<'a> QuotaNode<'a> {
    /// What the znode at `path` is; `None` for everything that is no quota node of a subtree below the root.
    pub fn at(path: &'a [u8]) -> Option<QuotaNode<'a>> {
        let below = path.strip_prefix(QUOTA_ROOT)?;
        let slash = below.iter().rposition(|&b| b == b'/')?;
        let (managed, name) = (&below[..slash], &below[slash + 1..]);
        if managed.first() != Some(&b'/') || is_blank(managed) {
            return None;
        }
        match name {
            LIMITS_NAME => Some(QuotaNode::Limits(managed)),
            STATS_NAME => Some(QuotaNode::Stats(managed)),
            _ => None,
        }
    }
}

/// Whether creating `path` must be refused with BadArguments since a stock server would throw when it applies the
/// creation or, later, the deletion (client-protocol §A): limits of the root, limits beside /zookeeper/quota, and limits
/// of a subtree whose every name is blank, which stock takes for the root.
pub fn is_hazardous_create(path: &[u8]) -> bool {
    if path::name(path) != LIMITS_NAME {
        return false;
    }
    let parent = path::parent(path).unwrap_or_default();
    match parent.strip_prefix(QUOTA_ROOT) {
        Some(managed) => is_blank(managed),
        None => parent.starts_with(b"/zookeeper") && parent.len() <= QUOTA_ROOT.len(),
    }
}

/// Nothing but separators and what Java trims.
fn is_blank(managed: &[u8]) -> bool {
    managed.iter().all(|&b| b == b'/' || b <= b' ')
}

/// The text of a limits or stats node: numbers by key (stock `StatsTrack`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuotaText {
    values: BTreeMap<String, i64>,
}

const COUNT: &str = "count";
const BYTES: &str = "bytes";
const COUNT_HARD: &str = "countHardLimit";
const BYTES_HARD: &str = "byteHardLimit";

impl QuotaText {
    /// Reads `key=number` pairs between runs of `,` and `;`. Empty text holds nothing; `None` for null, for what makes
    /// stock throw, and for more than [`QUOTA_TEXT_BYTES_MAX`] bytes.
    pub fn parse(data: Option<&[u8]>) -> Option<QuotaText> {
        let data = data.filter(|data| data.len() <= QUOTA_TEXT_BYTES_MAX)?;
        let text = String::from_utf8_lossy(data);
        let mut values = BTreeMap::new();
        if text.is_empty() {
            return Some(QuotaText { values });
        }
        // Java drops empty parts at the end; one at the front stays, has no `=`, and so is an error.
        let pairs = text.trim_end_matches([',', ';']);
        if pairs.is_empty() {
            return Some(QuotaText { values });
        }
        let mut in_separator = false;
        for pair in pairs.split([',', ';']) {
            if pair.is_empty() && in_separator {
                continue;
            }
            in_separator = true;
            let mut parts = pair.trim_end_matches('=').split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            values.insert(key.to_owned(), value);
        }
        Some(QuotaText { values })
    }

    /// Usage of a subtree of `count` nodes and `bytes` bytes.
    pub fn usage(count: i64, bytes: i64) -> QuotaText {
        QuotaText { values: BTreeMap::from([(COUNT.to_owned(), count), (BYTES.to_owned(), bytes)]) }
    }

    /// `count`: nodes used, or the soft limit of them. -1 when absent, as for the rest.
    pub fn count(&self) -> i64 {
        self.value(COUNT)
    }

    /// `bytes`: data bytes used, or the soft limit of them.
    pub fn bytes(&self) -> i64 {
        self.value(BYTES)
    }

    /// Hard limit of nodes.
    pub fn count_hard_limit(&self) -> i64 {
        self.value(COUNT_HARD)
    }

    /// Hard limit of data bytes.
    pub fn byte_hard_limit(&self) -> i64 {
        self.value(BYTES_HARD)
    }

    /// Adds to both, keeping other keys; wraps as Java's numbers do.
    pub fn charge(&mut self, charge: Charge) {
        self.values.insert(COUNT.to_owned(), self.count().wrapping_add(charge.count));
        self.values.insert(BYTES.to_owned(), self.bytes().wrapping_add(charge.bytes));
    }

    /// The text: `count` and `bytes` first, then an extra `=` that old parsers need, then the other keys in order.
    pub fn format(&self) -> Vec<u8> {
        let mut text = format!("{COUNT}={},{BYTES}={}", self.count(), self.bytes());
        let mut others = self.values.iter().filter(|(key, _)| *key != COUNT && *key != BYTES).peekable();
        if others.peek().is_some() {
            text.push('=');
        }
        for (key, value) in others {
            write!(text, ";{key}={value}").expect("writing to a String does not fail");
        }
        text.into_bytes()
    }

    fn value(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }
}

/// How a change moves the usage of the subtree it falls in (§10.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Charge {
    /// Nodes more.
    pub count: i64,
    /// Data bytes more.
    pub bytes: i64,
}

impl Charge {
    /// A creation with `bytes` of data (null counts 0).
    pub fn create(bytes: usize) -> Charge {
        Charge { count: 1, bytes: as_i64(bytes) }
    }

    /// A deletion of a node with `bytes` of data.
    pub fn delete(bytes: usize) -> Charge {
        Charge { count: -1, bytes: -as_i64(bytes) }
    }

    /// Data of `old` bytes replaced by data of `new`.
    pub fn set_data(old: usize, new: usize) -> Charge {
        Charge { count: 0, bytes: as_i64(new) - as_i64(old) }
    }
}

fn as_i64(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("data came from one frame")
}

/// New data of a stats node, given its present data; `None` when these are no usage, and then stay as they are.
pub fn recharge(stats: Option<&[u8]>, charge: Charge) -> Option<Vec<u8>> {
    let mut text = QuotaText::parse(stats)?;
    text.charge(charge);
    Some(text.format())
}

/// A limit passed; soft ones are only worth a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overrun {
    /// Nodes or bytes.
    pub of: Dimension,
    /// Usage after the change.
    pub usage: i64,
    /// The limit it passes.
    pub limit: i64,
    /// Whether the change is refused.
    pub hard: bool,
}

/// What a quota limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dimension {
    /// Nodes.
    Count,
    /// Data bytes.
    Bytes,
}

/// Whether `charge` fits into what is left, with `zookeeper.enforceQuota` on (§10.3): `limits` and `stats` are the data of
/// the two nodes of the deepest managed ancestor, `None` when the node is missing or its data null; then, as with text that
/// is no quota, nothing is enforced. Soft overruns go to `note`; the first hard one refuses the change.
pub fn check(
    limits: Option<&[u8]>,
    stats: Option<&[u8]>,
    charge: Charge,
    note: &mut dyn FnMut(Overrun),
) -> Result<(), ErrorCode> {
    let Some(limits) = QuotaText::parse(limits) else { return Ok(()) };
    let count_limit = Limit::of(limits.count(), limits.count_hard_limit()).filter(|_| charge.count != 0);
    let byte_limit = Limit::of(limits.bytes(), limits.byte_hard_limit()).filter(|_| charge.bytes != 0);
    if count_limit.is_none() && byte_limit.is_none() {
        return Ok(());
    }
    let Some(stats) = QuotaText::parse(stats) else { return Ok(()) };
    for (of, limit, usage) in [
        (Dimension::Count, count_limit, stats.count().wrapping_add(charge.count)),
        (Dimension::Bytes, byte_limit, stats.bytes().wrapping_add(charge.bytes)),
    ] {
        if let Some(Limit { value, hard }) = limit.filter(|limit| usage > limit.value) {
            note(Overrun { of, usage, limit: value, hard });
            if hard {
                return Err(ErrorCode::QuotaExceeded);
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Limit {
    value: i64,
    hard: bool,
}

impl Limit {
    /// A hard limit alone counts where there is one; negative means none.
    fn of(soft: i64, hard: i64) -> Option<Limit> {
        if hard > -1 {
            Some(Limit { value: hard, hard: true })
        } else if soft > -1 {
            Some(Limit { value: soft, hard: false })
        } else {
            None
        }
    }
}

/// Which subtrees are managed: a trie of their paths. Finding the deepest one costs no more than reading the path, and
/// stops where the trie does. In an arena, since a path may have half a million components and recursion would not.
#[derive(Clone, Debug)]
pub struct QuotaPaths {
    nodes: Vec<TrieNode>,
    free: Vec<u32>,
    managed: usize,
}

#[derive(Clone, Debug, Default)]
struct TrieNode {
    children: BTreeMap<Box<[u8]>, u32>,
    managed: bool,
}

const TRIE_ROOT: u32 = 0;

impl Default for QuotaPaths {
    fn default() -> Self {
        QuotaPaths { nodes: vec![TrieNode::default()], free: Vec::new(), managed: 0 }
    }
}

impl QuotaPaths {
    /// Nothing managed.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many subtrees are managed.
    pub fn len(&self) -> usize {
        self.managed
    }

    /// Whether none is: the common case, and the cheap one.
    pub fn is_empty(&self) -> bool {
        self.managed == 0
    }

    /// The subtree at `path` is managed from now on; whether that is new. The root cannot be (`false`).
    pub fn insert(&mut self, path: &[u8]) -> bool {
        if is_blank(path) {
            return false;
        }
        let mut at = TRIE_ROOT;
        for (component, _) in components(path) {
            at = match self.node(at).children.get(component) {
                Some(&child) => child,
                None => {
                    let child = self.allocate();
                    self.node_mut(at).children.insert(component.into(), child);
                    child
                }
            };
        }
        let node = self.node_mut(at);
        let is_new = !std::mem::replace(&mut node.managed, true);
        self.managed += usize::from(is_new);
        is_new
    }

    /// The subtree at `path` is managed no more; whether it was. Those below it stay (stock forgets them until it restarts).
    pub fn remove(&mut self, path: &[u8]) -> bool {
        let mut trail = vec![];
        let mut at = TRIE_ROOT;
        for (component, _) in components(path) {
            let Some(&child) = self.node(at).children.get(component) else { return false };
            trail.push((at, component));
            at = child;
        }
        if !std::mem::replace(&mut self.node_mut(at).managed, false) {
            return false;
        }
        self.managed -= 1;
        while let Some((parent, component)) = trail.pop() {
            let node = self.node(at);
            if node.managed || !node.children.is_empty() {
                break;
            }
            self.node_mut(parent).children.remove(component);
            self.free.push(at);
            at = parent;
        }
        true
    }

    /// The deepest managed subtree that holds `path`, `path` itself included: the one that is charged.
    pub fn deepest<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        if self.is_empty() {
            return None;
        }
        let mut deepest = None;
        let mut at = TRIE_ROOT;
        for (component, end) in components(path) {
            let Some(&child) = self.node(at).children.get(component) else { break };
            at = child;
            if self.node(at).managed {
                deepest = Some(&path[..end]);
            }
        }
        deepest
    }

    fn allocate(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.nodes.push(TrieNode::default());
            u32::try_from(self.nodes.len() - 1)
                .expect("paths of four billion components do not fit into memory")
        })
    }

    fn node(&self, at: u32) -> &TrieNode {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut TrieNode {
        &mut self.nodes[at as usize]
    }
}

/// Components of an absolute path, each with where it ends.
fn components(path: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut end = 0;
    path.split(|&b| b == b'/').filter_map(move |component| {
        let start = end;
        end = start + component.len() + 1;
        (!component.is_empty()).then_some((component, start + component.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn parse(text: &str) -> Option<QuotaText> {
        QuotaText::parse(Some(text.as_bytes()))
    }

    #[test]
    fn texts_that_stock_reads_come_out_as_stock_writes_them() {
        for (text, expected) in [
            ("count=0,bytes=0", "count=0,bytes=0"),
            (
                "count=-1,bytes=5=;byteHardLimit=7;countHardLimit=-1",
                "count=-1,bytes=5=;byteHardLimit=7;countHardLimit=-1",
            ),
            ("bytes=5;count=3", "count=3,bytes=5"),
            ("countHardLimit=2,;,count=1", "count=1,bytes=-1=;countHardLimit=2"),
            ("", "count=-1,bytes=-1"),
            (",;,", "count=-1,bytes=-1"),
            ("count=1,,", "count=1,bytes=-1"),
            ("count==7", "count=-1,bytes=-1"),
            ("count=+7=9", "count=7,bytes=-1"),
            ("count=1,count=2", "count=2,bytes=-1"),
            ("z=1,a=2", "count=-1,bytes=-1=;a=2;z=1"),
            ("=5", "count=-1,bytes=-1=;=5"),
            ("count=-9223372036854775808", "count=-9223372036854775808,bytes=-1"),
        ] {
            let parsed = parse(text).unwrap_or_else(|| panic!("{text:?} is readable"));
            assert_eq!(String::from_utf8_lossy(&parsed.format()), expected, "{text:?}");
        }
    }

    #[test]
    fn texts_that_make_stock_throw_are_nothing() {
        for text in [
            "count=",
            "count",
            "=",
            ",count=1",
            "count=x",
            "count=1 ",
            "count=9223372036854775808",
            "count=1,=",
            "{}",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(QuotaText::parse(None), None);
        assert_eq!(QuotaText::parse(Some(b"count=\xff")), None);
        assert!(parse(&"a=1,".repeat(QUOTA_TEXT_BYTES_MAX / 4)).is_some());
        assert_eq!(parse(&"a=1,".repeat(QUOTA_TEXT_BYTES_MAX / 4 + 1)), None);
    }

    #[test]
    fn usage_follows_creates_deletes_and_data() {
        let mut stats = QuotaText::usage(1, 10).format();
        for (charge, expected) in [
            (Charge::create(5), "count=2,bytes=15"),
            (Charge::create(0), "count=3,bytes=15"),
            (Charge::set_data(5, 2), "count=3,bytes=12"),
            (Charge::delete(2), "count=2,bytes=10"),
        ] {
            stats = recharge(Some(&stats), charge).expect("usage");
            assert_eq!(String::from_utf8_lossy(&stats), expected);
        }
        assert_eq!(recharge(Some(b""), Charge::create(3)), Some(b"count=0,bytes=2".to_vec()));
        assert_eq!(recharge(Some(b"count="), Charge::create(3)), None);
        assert_eq!(recharge(None, Charge::create(3)), None);
        let full = format!("count={},bytes=0", i64::MAX);
        assert!(recharge(Some(full.as_bytes()), Charge::create(0)).is_some(), "wraps and does not panic");
    }

    #[test]
    fn hard_limits_refuse_and_soft_ones_only_say_so() {
        use Dimension::*;
        let check_limits =
            |limits: &str, charge, expected: Result<(), ErrorCode>, notes: &[(Dimension, i64, i64, bool)]| {
                let mut noted = vec![];
                let verdict = check(Some(limits.as_bytes()), Some(b"count=3,bytes=10"), charge, &mut |o| {
                    noted.push((o.of, o.usage, o.limit, o.hard))
                });
                assert_eq!((verdict, noted.as_slice()), (expected, notes), "{limits} {charge:?}");
            };
        let refused = Err(ErrorCode::QuotaExceeded);
        check_limits(
            "count=1,bytes=1",
            Charge::create(1),
            Ok(()),
            &[(Count, 4, 1, false), (Bytes, 11, 1, false)],
        );
        check_limits("countHardLimit=3", Charge::create(0), refused, &[(Count, 4, 3, true)]);
        check_limits("countHardLimit=4", Charge::create(0), Ok(()), &[]);
        check_limits("countHardLimit=0", Charge::set_data(0, 9), Ok(()), &[]);
        check_limits("byteHardLimit=10", Charge::create(1), refused, &[(Bytes, 11, 10, true)]);
        check_limits("byteHardLimit=10", Charge::create(0), Ok(()), &[]);
        check_limits("byteHardLimit=10", Charge::set_data(3, 4), refused, &[(Bytes, 11, 10, true)]);
        // Shrinking that leaves too much is refused, equal length never.
        check_limits("byteHardLimit=5", Charge::set_data(8, 4), refused, &[(Bytes, 6, 5, true)]);
        check_limits("byteHardLimit=5", Charge::set_data(8, 8), Ok(()), &[]);
        // A hard limit alone is used where both stand; count comes before bytes.
        check_limits("count=1,countHardLimit=9", Charge::create(0), Ok(()), &[]);
        check_limits("countHardLimit=3,byteHardLimit=3", Charge::create(5), refused, &[(Count, 4, 3, true)]);
        check_limits("countHardLimit=-1,byteHardLimit=-1,count=-1,bytes=-1", Charge::create(5), Ok(()), &[]);
        check_limits("countHardLimit=", Charge::create(5), Ok(()), &[]);
    }

    #[test]
    fn a_missing_node_enforces_nothing() {
        let mut note = |_| panic!("nothing to note");
        assert_eq!(check(None, Some(b"count=9,bytes=9"), Charge::create(1), &mut note), Ok(()));
        assert_eq!(check(Some(b"countHardLimit=0"), None, Charge::create(1), &mut note), Ok(()));
        assert_eq!(check(Some(b"countHardLimit=0"), Some(b"?"), Charge::create(1), &mut note), Ok(()));
    }

    #[test]
    fn quota_nodes_are_known_by_their_paths() {
        for (path, expected) in [
            ("/zookeeper/quota/a/b/zookeeper_limits", Some(QuotaNode::Limits(b"/a/b"))),
            ("/zookeeper/quota/a/zookeeper_stats", Some(QuotaNode::Stats(b"/a"))),
            ("/zookeeper/quota/zookeeper_limits", None),
            ("/zookeeper/quota/zookeeper_stats", None),
            ("/zookeeper/quota/a", None),
            ("/zookeeper/quota/a/zookeeper_limits/x", None),
            ("/zookeeper/quotas/zookeeper_limits", None),
            ("/zookeeper/quotafoo/a/zookeeper_limits", None),
            ("/a/zookeeper_limits", None),
            ("/zookeeper/quota", None),
            ("", None),
        ] {
            assert_eq!(QuotaNode::at(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(limits_path(b"/a/b"), b"/zookeeper/quota/a/b/zookeeper_limits");
        assert_eq!(stats_path(b"/a"), b"/zookeeper/quota/a/zookeeper_stats");
        assert_eq!(QuotaNode::at(&stats_path(b"/a")), Some(QuotaNode::Stats(b"/a")));
    }

    #[test]
    fn creations_that_stop_a_stock_server_are_hazardous() {
        for path in [
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeper/zookeeper_limits",
            "/zookeeperabc/zookeeper_limits",
            "/zookeeper/quota/ /zookeeper_limits",
        ] {
            assert!(is_hazardous_create(path.as_bytes()), "{path}");
        }
        for path in [
            "/zookeeper/config/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/quota/zookeeper_stats",
            "/zookeeper/quota/a",
            "/a/zookeeper_limits",
            "/zookeeper_limits",
            "/zookeeper",
            "",
        ] {
            assert!(!is_hazardous_create(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn the_deepest_managed_ancestor_is_charged() {
        let mut paths = QuotaPaths::new();
        assert_eq!(paths.deepest(b"/a/b"), None);
        assert!(paths.insert(b"/a") && paths.insert(b"/a/b/c"));
        assert!(!paths.insert(b"/a") && !paths.insert(b"/") && !paths.insert(b""));
        for (path, expected) in [
            ("/a", Some("/a")),
            ("/a/b", Some("/a")),
            ("/a/b/c", Some("/a/b/c")),
            ("/a/b/c/d/e", Some("/a/b/c")),
            ("/a/b/cd", Some("/a")),
            ("/ab", None),
            ("/", None),
            ("/zookeeper/quota/a", None),
        ] {
            assert_eq!(paths.deepest(path.as_bytes()), expected.map(str::as_bytes), "{path}");
        }
        assert!(
            paths.remove(b"/a") && !paths.remove(b"/a") && !paths.remove(b"/a/b") && !paths.remove(b"/x")
        );
        assert_eq!(paths.deepest(b"/a/b"), None);
        assert_eq!(paths.deepest(b"/a/b/c"), Some(&b"/a/b/c"[..]));
        assert!(paths.remove(b"/a/b/c"));
        assert_eq!((paths.len(), paths.nodes[0].children.len()), (0, 0));
    }

    #[test]
    fn a_very_deep_path_is_no_danger() {
        let mut paths = QuotaPaths::new();
        let deep = b"/a".repeat(500_000);
        assert!(paths.insert(&deep));
        assert_eq!(paths.deepest(&deep), Some(&deep[..]));
        assert_eq!(paths.deepest(&deep[..999_998]), None);
        assert!(paths.remove(&deep));
        assert_eq!(paths.free.len(), 500_000);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_formatting_is_stable(data in prop::collection::vec(prop_oneof![Just(b'='), Just(b','), Just(b';'), Just(b'-'), b'0'..=b'9', any::<u8>()], 0..40)) {
            if let Some(parsed) = QuotaText::parse(Some(&data)) {
                let text = parsed.format();
                if let Some(again) = QuotaText::parse(Some(&text)) {
                    prop_assert_eq!(again.format(), text);
                }
            }
        }

        #[test]
        fn the_trie_agrees_with_a_set_of_paths(steps in prop::collection::vec((any::<bool>(), "(/[ab]){1,4}"), 1..60), probe in "(/[abc]){1,5}") {
            let mut paths = QuotaPaths::new();
            let mut model = BTreeSet::new();
            for (insert, path) in steps {
                if insert {
                    prop_assert_eq!(paths.insert(path.as_bytes()), model.insert(path));
                } else {
                    prop_assert_eq!(paths.remove(path.as_bytes()), model.remove(&path));
                }
                prop_assert_eq!(paths.len(), model.len());
            }
            let expected = model.iter().filter(|m| probe == **m || probe.starts_with(&format!("{m}/"))).max_by_key(|m| m.len());
            prop_assert_eq!(paths.deepest(probe.as_bytes()), expected.map(|m| m.as_bytes()));
        }
    }
}
