#![forbid(unsafe_code)]
//! Readers on other threads while the writer goes on: whatever a view shows is one zxid's state, whole.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use super::*;

const PAIRS: u64 = 16;

/// Every txn rewrites both znodes of a pair, or creates or deletes both, and counts itself at `/last`. So in any view
/// the twins agree, and `/last` is D.
fn turn(writer: &mut TreeWriter, z: Zxid) {
    let number = z.0 as u64;
    let pair = number * 7 % PAIRS;
    let bytes = number.to_be_bytes();
    let paths = [format!("/left/{pair}"), format!("/right/{pair}")];
    for path in &paths {
        let path = path.as_bytes();
        match (writer.get(path).is_some(), number % 3) {
            (true, 0) => drop(writer.delete(z, path).unwrap()),
            (true, _) => drop(writer.set_data(z, path, Some(&bytes), 1, 1).unwrap()),
            (false, _) => {
                let list = acl(&(number % 5).to_string());
                let path = std::str::from_utf8(path).unwrap();
                writer.create(z, &NewZnode { data: Some(&bytes), acl: &list, ..plain(path, 1) }).unwrap();
            }
        }
    }
    writer.set_data(z, b"/last", Some(&bytes), 1, 1).unwrap();
}

fn number(data: Option<&[u8]>) -> i64 {
    i64::from_be_bytes(data.unwrap().try_into().unwrap())
}

fn check_view(view: &View<'_>) {
    let last = view.find(b"/last").unwrap();
    assert_eq!(number(last.data()), view.at().0);
    assert_eq!(last.mzxid(), view.at());
    let (left, right) = (view.find(b"/left").unwrap(), view.find(b"/right").unwrap());
    assert_eq!(left.pzxid(), right.pzxid());
    assert!(left.children().eq(right.children()));
    assert_eq!(left.children().count(), left.child_count() as usize);
    let mut alive = 0;
    for pair in 0..PAIRS {
        let left = view.find(format!("/left/{pair}").as_bytes());
        let right = view.find(format!("/right/{pair}").as_bytes());
        assert_eq!(left.is_some(), right.is_some(), "pair {pair} torn at {}", view.at());
        if let (Some(left), Some(right)) = (left, right) {
            alive += 1;
            assert_eq!(left.data(), right.data());
            assert_eq!(left.stat(), right.stat());
            assert_eq!(left.acl(), right.acl());
            assert_eq!(left.acl(), acl(&(left.czxid().0 % 5).to_string()));
            assert!(number(left.data()) <= view.at().0);
        }
    }
    assert_eq!(alive, left.child_count());
}

/// How far a reader got. The writer waits for readers that are far behind: what they still need makes chains long, long
/// chains make them slow, and every test beside this one waits for their pins. A reader that panics holds nobody up.
struct Reached<'a>(&'a AtomicI64);

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        self.0.store(i64::MAX, Ordering::Relaxed);
    }
}

/// Txns that the writer is ahead of the slowest reader at most.
const AHEAD_MAX: i64 = 100;

#[test]
fn views_on_other_threads_are_never_torn() {
    let (mut rounds, reader) = Rounds::new();
    rounds.round(|writer, z| {
        for path in ["/left", "/right", "/last"] {
            writer.create(z, &NewZnode { data: Some(&z.0.to_be_bytes()), ..plain(path, 1) }).unwrap();
        }
    });
    let over = AtomicBool::new(false);
    let over = &over;
    let reached = [const { AtomicI64::new(1) }; 3];
    let reader = &reader;
    thread::scope(|scope| {
        for reached in &reached {
            scope.spawn(move || {
                let reached = Reached(reached);
                let mut last = Zxid::ZERO;
                let mut listings = Vec::new();
                let (mut anchor, mut spare) = (Anchor::default(), Anchor::default());
                while !over.load(Ordering::Relaxed) {
                    spare.set(reader);
                    let mut view = reader.pin();
                    // Every zxid since the anchor was set, whatever was replaced and let go since.
                    if anchor.is_set() {
                        for at in last.0..=view.at().0 {
                            check_view(&view.earlier(&anchor, Zxid(at)).unwrap());
                        }
                    }
                    last = view.at();
                    std::mem::swap(&mut anchor, &mut spare);
                    spare.lift();
                    for _ in 0..4 {
                        assert!(view.at() >= last, "time went back");
                        last = view.at();
                        // Twice: the second time the writer is further on.
                        check_view(&view);
                        check_view(&view);
                        listings.push((
                            view.find(b"/left").unwrap().listing(),
                            view.find(b"/right").unwrap().listing(),
                        ));
                        view.refresh();
                    }
                    drop(view);
                    reached.0.store(last.0, Ordering::Relaxed);
                    for (mut left, mut right) in listings.drain(..) {
                        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
                        while left.next_slice(3, |name| lefts.push(name.to_vec())) {}
                        while right.next_slice(5, |name| rights.push(name.to_vec())) {}
                        assert_eq!(lefts, rights);
                        assert_eq!(lefts.len() as u32, left.count());
                    }
                }
            });
        }
        for _ in 0..30_000 {
            while reached.iter().any(|at| at.load(Ordering::Relaxed) < rounds.zxid - AHEAD_MAX) {
                thread::yield_now();
            }
            rounds.round(turn);
        }
        over.store(true, Ordering::Relaxed);
    });
    check_sums(&rounds.writer, reader);
    rounds.settle();
    assert_eq!(rounds.writer.reclaim_backlog(), ReclaimBacklog::default());
}

#[test]
fn lookups_find_everything_while_the_index_grows() {
    let (mut rounds, reader) = Rounds::new();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut n = 0;
                while !over.load(Ordering::Relaxed) {
                    let view = reader.pin();
                    let created = view.at().0;
                    for _ in 0..100 {
                        n = (n + 7919) % 20_011;
                        assert_eq!(
                            view.find(format!("/{n}").as_bytes()).is_some(),
                            (1..=created).contains(&n),
                            "/{n}"
                        );
                    }
                }
            });
        }
        for n in 1..=20_000 {
            rounds.create(&format!("/{n}")).unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    check_sums(&rounds.writer, &reader);
}

#[test]
fn states_are_swapped_under_readers_on_other_threads() {
    let (mut rounds, reader) = Rounds::new();
    let over = AtomicBool::new(false);
    // State n holds 50 znodes whose data is n, at zxid 10 n.
    let build = |n: i64| {
        let (mut writer, _) = new(n as u64);
        let mut loader = writer.load(Zxid(10 * n));
        for child in 0..50 {
            let path = format!("/{child}");
            let stat = StoredStat { czxid: n, mzxid: n, pzxid: n, ..StoredStat::default() };
            let data = n.to_be_bytes();
            loader
                .load_node(&NodeImage { path: path.as_bytes(), data: Some(&data), acl: acl_open(), stat })
                .unwrap();
        }
        loader.finish().unwrap();
        writer
    };
    rounds.writer.adopt(build(1));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let view = reader.pin();
                    for child in 0..50 {
                        let znode = view.find(format!("/{child}").as_bytes()).unwrap();
                        assert_eq!(number(znode.data()), view.at().0 / 10);
                    }
                    assert_eq!(view.find(b"/").unwrap().child_count(), 51);
                }
            });
        }
        for n in 2..300 {
            rounds.writer.adopt(build(n));
            rounds.writer.reclaim();
        }
        over.store(true, Ordering::Relaxed);
    });
    rounds.settle();
}
