#![forbid(unsafe_code)]
//! What takes more than a turn: listings, counts of descendants, loads, whole new states, stalled readers.

use super::*;

fn listed(listing: &mut Listing, slice: usize) -> Vec<String> {
    let mut names = Vec::new();
    while listing.next_slice(slice, |name| names.push(String::from_utf8(name.to_vec()).unwrap())) {}
    names
}

#[test]
fn a_listing_is_one_version_whatever_happens_meanwhile() {
    let (mut rounds, reader) = Rounds::new();
    rounds.create("/d").unwrap();
    let mut expected: Vec<String> = (0..500).map(|n| format!("child-{:03}", n * 7 % 500)).collect();
    for name in &expected {
        rounds.create(&format!("/d/{name}")).unwrap();
    }
    expected.sort();
    let mut listing = reader.pin().find(b"/d").unwrap().listing();
    let mut names = Vec::new();
    assert_eq!(listing.count(), 500);
    assert!(listing.next_slice(7, |name| names.push(String::from_utf8(name.to_vec()).unwrap())));
    // The znodes go, their places in the index go, and the memory of their names stays.
    rounds.delete("/d").unwrap();
    // Of all that was retired, the 501 nodes are left.
    rounds.reclaim_until(|writer| writer.reclaim_backlog().waiting.objects == 501);
    assert_eq!(rounds.writer.reclaim_backlog().listings, 1);
    names.extend(listed(&mut listing, 13));
    assert_eq!(names, expected);
    drop(listing);
    rounds.settle();
    assert_eq!(rounds.writer.reclaim_backlog(), ReclaimBacklog::default());
}

#[test]
fn new_listings_do_not_keep_what_died_before_them() {
    let (mut rounds, reader) = Rounds::new();
    for n in 0..20 {
        rounds.create(&format!("/old-{n}")).unwrap();
    }
    let first = reader.pin().find(b"/").unwrap().listing();
    for n in 0..20 {
        rounds.delete(&format!("/old-{n}")).unwrap();
    }
    rounds.reclaim_until(|writer| writer.reclaim_backlog().waiting.objects == 20);
    // There is always one listing out, but never one of before the deletions.
    let mut later = reader.pin().find(b"/").unwrap().listing();
    drop(first);
    rounds.reclaim_until(|writer| {
        let next = reader.pin().find(b"/").unwrap().listing();
        drop(std::mem::replace(&mut later, next));
        writer.reclaim_backlog().waiting.objects == 0
    });
    assert_eq!(listed(&mut later, 1), ["zookeeper"]);
}

#[test]
fn descendants_are_counted_in_slices() {
    let (mut rounds, reader) = Rounds::new();
    let count = |reader: &TreeReader, path: &str| {
        let view = reader.pin();
        let mut walk = Descendants::of(&view.find(path.as_bytes()).unwrap());
        drop(view);
        while walk.next_slice(&reader.pin(), 3) == Progress::More {}
        walk.count()
    };
    assert_eq!(count(&reader, "/"), 3); // client-protocol §4.18
    rounds.create("/a").unwrap();
    assert_eq!(count(&reader, "/a"), 0);
    for x in 0..10 {
        rounds.create(&format!("/a/{x}")).unwrap();
        for y in 0..x {
            rounds.create(&format!("/a/{x}/{y}")).unwrap();
        }
    }
    assert_eq!(count(&reader, "/a"), 10 + 45);
    assert_eq!(count(&reader, "/"), 4 + 10 + 45);
    // Znodes that go while they are counted do no harm.
    let mut walk = Descendants::of(&reader.pin().find(b"/a").unwrap());
    assert_eq!(walk.next_slice(&reader.pin(), 5), Progress::More);
    rounds.delete("/a").unwrap();
    // All that is not a node: gone.
    rounds.reclaim_until(|writer| writer.reclaim_backlog().waiting.objects == 56);
    while walk.next_slice(&reader.pin(), 5) == Progress::More {}
    assert!((10..=55).contains(&walk.count()), "{}", walk.count());
    drop(walk);
    rounds.settle();
}

#[test]
fn a_stalled_reader_shows_in_the_backlog_and_loses_nothing() {
    let (mut rounds, reader) = Rounds::new();
    rounds.create("/a").unwrap();
    let view = reader.pin();
    let mut last = 0;
    for n in 0..10 {
        for _ in 0..100 {
            rounds.round(|writer, z| writer.set_data(z, b"/a", Some(&[n; 100]), 1, 0)).unwrap();
        }
        let bytes = rounds.writer.reclaim_backlog().waiting.bytes;
        assert!(bytes >= last + 100 * 100, "{bytes} after {last}");
        last = bytes;
    }
    assert_eq!(view.find(b"/a").unwrap().data(), Some(&b"data"[..]));
    drop(view);
    rounds.settle();
    assert_eq!(rounds.writer.reclaim_backlog().waiting, Backlog::default());
}

fn image<'a>(path: &'a str, stat: StoredStat) -> NodeImage<'a> {
    NodeImage { path: path.as_bytes(), data: Some(path.as_bytes()), acl: acl_open(), stat }
}

#[test]
fn an_image_loads_in_any_order() {
    let stat = StoredStat { czxid: 3, mzxid: 3, pzxid: 3, ..StoredStat::default() };
    let parent = StoredStat { cversion: 900, pzxid: 8, version: 4, mzxid: 7, ..stat };
    let (mut writer, reader) = new(5);
    let mut loader = writer.load(Zxid(9));
    for n in 0..500 {
        loader.load_node(&image(&format!("/d/e/{}", n * 7 % 500), stat)).unwrap();
    }
    loader.load_node(&image("/d/e", parent)).unwrap();
    loader.load_node(&image("/d", StoredStat { owner: 5, ..stat })).unwrap();
    loader.load_node(&image("/", StoredStat { cversion: 2, pzxid: 3, ..StoredStat::default() })).unwrap();
    loader.finish().unwrap();
    assert_eq!(writer.applied(), Zxid(9));
    check_sums(&writer, &reader);
    let view = reader.pin();
    assert_eq!(names(&view, "/"), ["d", "zookeeper"]);
    assert_eq!(view.find(b"/").unwrap().data(), Some(&b"/"[..]));
    assert_eq!(names(&view, "/zookeeper"), ["config", "quota"]);
    let mut expected: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    expected.sort();
    assert_eq!(names(&view, "/d/e"), expected);
    let e = view.find(b"/d/e").unwrap();
    assert_eq!(e.stored_stat(), parent);
    assert_eq!(view.find(b"/d/e/499").unwrap().stored_stat(), stat);
    drop(view);
    // And goes on.
    let mut rounds = Rounds { writer, zxid: 9 };
    rounds.create("/d/e/more").unwrap();
    rounds.delete("/d/e/7").unwrap();
    check_sums(&rounds.writer, &reader);
    assert_eq!(reader.pin().find(b"/d/e").unwrap().raw_cversion(), 901);
}

#[test]
fn an_image_with_a_hole_is_refused() {
    let (mut writer, _reader) = new(5);
    let mut loader = writer.load(Zxid(9));
    loader.load_node(&image("/a/b", StoredStat::default())).unwrap();
    assert_eq!(
        loader.load_node(&image("a/b", StoredStat::default())),
        Err(LoadError::BadPath(b"a/b".to_vec()))
    );
    assert_eq!(
        loader.load_node(&image("/a/", StoredStat::default())),
        Err(LoadError::BadPath(b"/a/".to_vec()))
    );
    assert_eq!(loader.finish(), Err(LoadError::Missing(b"/a".to_vec())));
}

#[test]
fn a_whole_new_state_is_swapped_in_under_readers() {
    let (mut rounds, reader) = Rounds::new();
    for n in 0..2000 {
        rounds.create(&format!("/old-{n}")).unwrap();
    }
    let mut view = reader.pin();
    let mut listing = view.find(b"/").unwrap().listing();
    let mut walk = Descendants::of(&view.find(b"/").unwrap());
    let mut walker = rounds.writer.begin_snapshot();

    let (mut fresh, _) = new(9);
    let mut loader = fresh.load(Zxid(5));
    loader
        .load_node(&image("/new", StoredStat { czxid: 5, mzxid: 5, pzxid: 5, ..Default::default() }))
        .unwrap();
    loader.finish().unwrap();
    rounds.writer.adopt(fresh);
    rounds.zxid = 5;

    assert!(view.find(b"/old-7").is_some() && view.find(b"/new").is_none());
    view.refresh();
    // This thread's first pin is older than the swap only for the collector; the view moved on.
    assert_eq!(view.at(), Zxid(5));
    assert!(view.find(b"/old-7").is_none() && view.find(b"/new").is_some());
    assert_eq!(walk.next_slice(&view, 10), Progress::Aborted);
    drop(view);
    assert_eq!(walker.next_slice(10, &mut |_| ()), Progress::Aborted);
    rounds.create("/new/child").unwrap();
    check_sums(&rounds.writer, &reader);
    assert_eq!(listed(&mut listing, 100).len(), 2001);
    drop((listing, walk, walker));
    rounds.settle();
    assert_eq!(rounds.writer.reclaim_backlog(), ReclaimBacklog::default());
}

#[test]
fn a_view_outlives_nothing_it_needs_when_the_writer_goes() {
    let (mut rounds, reader) = Rounds::new();
    rounds.create("/a").unwrap();
    let view = reader.pin();
    rounds.round(|writer, z| writer.set_data(z, b"/a", Some(b"new"), 1, 9)).unwrap();
    rounds.delete("/a").unwrap();
    drop(rounds);
    assert_eq!(view.find(b"/a").unwrap().data(), Some(&b"data"[..]));
}
