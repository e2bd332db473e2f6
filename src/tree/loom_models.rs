#![forbid(unsafe_code)]
//! The orders of DESIGN §2 under loom: small models that do what `world.rs`, `writer.rs` and `snapshot.rs` do, step by
//! step. crossbeam-epoch does not run under loom, so its promise is modelled: what is retired while somebody is pinned
//! is not freed. Each order has its planted bugs, and a test that loom finds every one of them.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib loom_`

use std::process::Command;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicBool, AtomicUsize, fence};
use loom::thread;

/// Names the planted bug to the process that shall die of it.
const PLANTED: &str = "RINGKEEPER_LOOM_PLANTED";

/// Runs a model with nothing planted, then with each bug, which loom must find. A model that fails may panic again while
/// it unwinds and abort, so each bug has a process of its own: this test once more.
fn check<B: Copy + std::fmt::Debug + Send + Sync + 'static>(
    test: &str,
    model: fn(Option<B>),
    bugs: &'static [B],
) {
    if let Ok(planted) = std::env::var(PLANTED) {
        let bug = bugs.iter().find(|bug| format!("{bug:?}") == planted).copied();
        return loom::model(move || model(Some(bug.expect("named by this very test"))));
    }
    loom::model(move || model(None));
    for bug in bugs {
        let test = format!("tree::loom_models::{test}");
        let executable = std::env::current_exe().expect("a test knows where it runs from");
        let run = Command::new(executable).args([&test, "--exact"]).env(PLANTED, format!("{bug:?}")).output();
        let run = run.expect("a test can start itself");
        assert!(String::from_utf8_lossy(&run.stdout).contains("running 1 test"), "{test} is not this test");
        assert!(!run.status.success(), "loom does not find {bug:?}");
    }
}

fn has<B: PartialEq>(planted: Option<B>, bug: B) -> bool {
    planted == Some(bug)
}

/// An allocation. Freeing writes it, so that loom reports whoever still reads.
struct Memory(UnsafeCell<bool>);

impl Memory {
    fn new() -> Memory {
        Memory(UnsafeCell::new(true))
    }

    fn read(&self) {
        // The closure reads through loom's checked pointer without dereferencing it: the access alone is checked.
        self.0.with(|memory| assert!(!memory.is_null()));
    }

    fn free(&self) {
        self.0.with_mut(|memory| assert!(!memory.is_null()));
    }
}

/// One reader's place in the epoch: 0 outside, 1 pinned.
struct Epoch(AtomicUsize);

impl Epoch {
    fn pin(&self) {
        self.0.store(1, Relaxed);
        fence(SeqCst);
    }

    fn unpin(&self) {
        self.0.store(0, Release);
    }

    /// Whether what was retired before this call may be freed.
    fn grace_is_over(&self) -> bool {
        fence(SeqCst);
        self.0.load(Acquire) == 0
    }
}

/// Version v of a node was made by txn v, and its predecessor is v - 1.
struct Node {
    newest: AtomicUsize,
    versions: [Memory; 3],
}

impl Node {
    fn new() -> Node {
        Node { newest: AtomicUsize::new(0), versions: [Memory::new(), Memory::new(), Memory::new()] }
    }

    fn read_at(&self, at: usize) -> usize {
        let mut version = self.newest.load(Acquire);
        self.versions[version].read();
        while version > at {
            version -= 1;
            self.versions[version].read();
        }
        version
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Publication {
    RetireBeforeApplied,
    AppliedBeforeRecords,
    NewestWhateverItsZxid,
    ZxidBeforePin,
}

fn publication(bug: Option<Publication>) {
    struct Tree {
        epoch: Epoch,
        applied: AtomicUsize,
        nodes: [Node; 2],
    }
    let tree = Arc::new(Tree {
        epoch: Epoch(AtomicUsize::new(0)),
        applied: AtomicUsize::new(0),
        nodes: [Node::new(), Node::new()],
    });
    let reader = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || {
            let early = tree.applied.load(Acquire);
            tree.epoch.pin();
            let at = if has(bug, Publication::ZxidBeforePin) { early } else { tree.applied.load(Acquire) };
            let until = if has(bug, Publication::NewestWhateverItsZxid) { usize::MAX } else { at };
            for node in &tree.nodes {
                assert_eq!(node.read_at(until), at, "torn, or not of the reply's zxid");
            }
            tree.epoch.unpin();
        })
    };
    for z in 1..=2 {
        let retire = || {
            if tree.epoch.grace_is_over() {
                tree.nodes.iter().for_each(|node| node.versions[z - 1].free());
            }
        };
        if has(bug, Publication::AppliedBeforeRecords) {
            tree.applied.store(z, Release);
        }
        for node in &tree.nodes {
            node.newest.store(z, Release);
        }
        if has(bug, Publication::RetireBeforeApplied) {
            retire();
        }
        tree.applied.store(z, Release);
        if !has(bug, Publication::RetireBeforeApplied) {
            retire();
        }
    }
    reader.join().unwrap();
}

#[test]
fn loom_views_are_whole_and_of_one_zxid() {
    check(
        "loom_views_are_whole_and_of_one_zxid",
        publication,
        &[
            Publication::RetireBeforeApplied,
            Publication::AppliedBeforeRecords,
            Publication::NewestWhateverItsZxid,
            Publication::ZxidBeforePin,
        ],
    );
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Anchoring {
    ZxidBeforePost,
    LetGoBetweenTheTurns,
    SetBehindTheView,
}

/// Two turns of a reader and an anchor that spans them: in the second, it reads at every zxid since the first.
fn anchoring(bug: Option<Anchoring>) {
    struct Tree {
        view: Epoch,
        post: Epoch,
        applied: AtomicUsize,
        node: Node,
    }
    let tree = Arc::new(Tree {
        view: Epoch(AtomicUsize::new(0)),
        post: Epoch(AtomicUsize::new(0)),
        applied: AtomicUsize::new(0),
        node: Node::new(),
    });
    let reader = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || {
            let early = tree.applied.load(Acquire);
            if !has(bug, Anchoring::SetBehindTheView) {
                tree.post.pin();
            }
            let from = if has(bug, Anchoring::ZxidBeforePost) { early } else { tree.applied.load(Acquire) };
            if has(bug, Anchoring::LetGoBetweenTheTurns) {
                tree.post.unpin();
            }
            tree.view.pin();
            let at = tree.applied.load(Acquire);
            if has(bug, Anchoring::SetBehindTheView) {
                tree.post.pin();
            }
            for zxid in from..=at {
                assert_eq!(tree.node.read_at(zxid), zxid, "not of the zxid that was asked for");
            }
            tree.post.unpin();
            tree.view.unpin();
        })
    };
    for z in 1..=2 {
        tree.node.newest.store(z, Release);
        tree.applied.store(z, Release);
        if tree.post.grace_is_over() && tree.view.grace_is_over() {
            tree.node.versions[z - 1].free();
        }
    }
    reader.join().unwrap();
}

#[test]
fn loom_an_anchor_keeps_every_zxid_since() {
    check(
        "loom_an_anchor_keeps_every_zxid_since",
        anchoring,
        &[Anchoring::ZxidBeforePost, Anchoring::LetGoBetweenTheTurns, Anchoring::SetBehindTheView],
    );
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Arming {
    LookBeforeBegun,
    BegunLoadedBeforeBitIsSet,
    NoWait,
}

/// A watch armed on a path, and a txn that changes it: the watcher has the change in its data, or gets the event.
fn arming(bug: Option<Arming>) {
    struct Tree {
        begun: AtomicUsize,
        applied: AtomicUsize,
        bit: AtomicBool,
    }
    let tree = Arc::new(Tree {
        begun: AtomicUsize::new(0),
        applied: AtomicUsize::new(0),
        bit: AtomicBool::new(false),
    });
    let shard = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || {
            let early = tree.begun.load(Acquire);
            tree.bit.store(true, Relaxed);
            fence(SeqCst);
            let begun = match bug {
                Some(Arming::BegunLoadedBeforeBitIsSet) => early,
                _ => tree.begun.load(Acquire),
            };
            let at = tree.applied.load(Acquire);
            // Set aside until applied ≥ begun; then the data has it.
            if at < begun && !has(bug, Arming::NoWait) { begun } else { at }
        })
    };
    let early = tree.bit.load(Acquire);
    tree.begun.store(1, Release);
    fence(SeqCst);
    let fires = if has(bug, Arming::LookBeforeBegun) { early } else { tree.bit.load(Acquire) };
    tree.applied.store(1, Release);
    let armed_at = shard.join().unwrap();
    assert!(fires || armed_at >= 1, "the change was neither seen nor announced");
}

#[test]
fn loom_a_change_is_seen_or_announced() {
    check(
        "loom_a_change_is_seen_or_announced",
        arming,
        &[Arming::LookBeforeBegun, Arming::BegunLoadedBeforeBitIsSet, Arming::NoWait],
    );
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Deletion {
    UnlinkWithTheTombstone,
    FreeWithTheUnlinking,
    UnlinkThoughAliveAgain,
}

/// Txn 1 deletes a path, txn 2 creates it again; in between the note of the deletion's grace may come. Whoever stands
/// before 1 or at 2 finds it, whoever stands at 1 does not.
fn deletion(bug: Option<Deletion>) {
    struct Tree {
        epoch: Epoch,
        applied: AtomicUsize,
        /// Which node the index names: 0 the first, 1 a second one, 9 none.
        index: AtomicUsize,
        /// Newest version of each node: 0 alive since before, 1 tombstone, 2 alive again.
        newest: [AtomicUsize; 2],
        memory: [Memory; 2],
    }
    let tree = Arc::new(Tree {
        epoch: Epoch(AtomicUsize::new(0)),
        applied: AtomicUsize::new(0),
        index: AtomicUsize::new(0),
        newest: [AtomicUsize::new(0), AtomicUsize::new(2)],
        memory: [Memory::new(), Memory::new()],
    });
    let reader = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || {
            tree.epoch.pin();
            let at = tree.applied.load(Acquire);
            let found = match tree.index.load(Acquire) {
                9 => false,
                node => {
                    tree.memory[node].read();
                    let newest = tree.newest[node].load(Acquire);
                    // The second node has no version before 2.
                    newest.min(at) != 1 && (node == 0 || at >= 2)
                }
            };
            assert_eq!(found, at != 1, "absence is not exact at {at}");
            tree.epoch.unpin();
        })
    };
    tree.newest[0].store(1, Release);
    if has(bug, Deletion::UnlinkWithTheTombstone) {
        tree.index.store(9, Release);
    }
    tree.applied.store(1, Release);
    let unlink = || {
        tree.index.store(9, Release);
        // The memory goes after a second grace.
        if has(bug, Deletion::FreeWithTheUnlinking) || tree.epoch.grace_is_over() {
            tree.memory[0].free();
        }
    };
    let note = tree.epoch.grace_is_over();
    let late = has(bug, Deletion::UnlinkThoughAliveAgain);
    if note && !late {
        unlink();
        tree.index.store(1, Release);
    } else {
        tree.newest[0].store(2, Release);
    }
    tree.applied.store(2, Release);
    // A note that comes late finds the node alive and lets it be.
    if late {
        unlink();
    }
    reader.join().unwrap();
}

#[test]
fn loom_absence_is_exact_through_a_two_step_deletion() {
    check(
        "loom_absence_is_exact_through_a_two_step_deletion",
        deletion,
        &[Deletion::UnlinkWithTheTombstone, Deletion::FreeWithTheUnlinking, Deletion::UnlinkThoughAliveAgain],
    );
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Imaging {
    ChangeBeforeMark,
    MarkBeforePin,
    LookThenMark,
}

/// A node of a snapshot at 0, which the writer changes twice while the walker comes by: it is imaged once, as of 0.
fn imaging(bug: Option<Imaging>) {
    struct Tree {
        epoch: Epoch,
        mark: AtomicUsize,
        node: Node,
        images: AtomicUsize,
    }
    let tree = Arc::new(Tree {
        epoch: Epoch(AtomicUsize::new(0)),
        mark: AtomicUsize::new(0),
        node: Node::new(),
        images: AtomicUsize::new(0),
    });
    let raise = move |tree: &Tree| {
        if has(bug, Imaging::LookThenMark) {
            let won = tree.mark.load(Acquire) == 0;
            tree.mark.store(1, Release);
            return won;
        }
        tree.mark.swap(1, AcqRel) == 0
    };
    let walker = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || {
            let early = has(bug, Imaging::MarkBeforePin).then(|| raise(&tree));
            tree.epoch.pin();
            if early.unwrap_or_else(|| raise(&tree)) {
                assert_eq!(tree.node.read_at(0), 0);
                tree.images.fetch_add(1, Relaxed);
            }
            tree.epoch.unpin();
        })
    };
    for z in 1..=2 {
        let late = has(bug, Imaging::ChangeBeforeMark);
        if late {
            tree.node.newest.store(z, Release);
        }
        if raise(&tree) {
            // What the writer hands over is the current version.
            assert_eq!(tree.node.newest.load(Relaxed), 0);
            tree.images.fetch_add(1, Relaxed);
        }
        if !late {
            tree.node.newest.store(z, Release);
        }
        if tree.epoch.grace_is_over() {
            tree.node.versions[z - 1].free();
        }
    }
    walker.join().unwrap();
    assert_eq!(tree.images.load(Relaxed), 1, "imaged twice or never");
}

#[test]
fn loom_a_node_is_imaged_once_as_it_was() {
    check(
        "loom_a_node_is_imaged_once_as_it_was",
        imaging,
        &[Imaging::ChangeBeforeMark, Imaging::MarkBeforePin, Imaging::LookThenMark],
    );
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Leasing {
    TakenAfterUnpin,
    NotFlipped,
}

/// A reader finds a node, takes a lease under its guard and reads the node after it; the writer frees it in between
/// only if it may. The cells are those of `reclaim.rs`.
fn leasing(bug: Option<Leasing>) {
    struct Tree {
        epoch: Epoch,
        linked: AtomicBool,
        leases: super::reclaim::Leases,
        node: Memory,
    }
    let tree = Arc::new(Tree {
        epoch: Epoch(AtomicUsize::new(0)),
        linked: AtomicBool::new(true),
        leases: super::reclaim::Leases::default(),
        node: Memory::new(),
    });
    let reader = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || {
            tree.epoch.pin();
            if tree.linked.load(Acquire) {
                if has(bug, Leasing::TakenAfterUnpin) {
                    tree.epoch.unpin();
                }
                let cell = tree.leases.take();
                tree.epoch.unpin();
                tree.node.read();
                tree.leases.give_back(cell);
            } else {
                tree.epoch.unpin();
            }
        })
    };
    tree.linked.store(false, Release);
    if tree.epoch.grace_is_over() {
        let free = tree.leases.are_none() || {
            let flipped = has(bug, Leasing::NotFlipped) || tree.leases.flip();
            flipped && tree.leases.drained()
        };
        if free {
            tree.node.free();
        }
    }
    reader.join().unwrap();
}

#[test]
fn loom_a_lease_keeps_what_was_found_under_the_guard() {
    check(
        "loom_a_lease_keeps_what_was_found_under_the_guard",
        leasing,
        &[Leasing::TakenAfterUnpin, Leasing::NotFlipped],
    );
}
