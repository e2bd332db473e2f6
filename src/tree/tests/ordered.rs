#![forbid(unsafe_code)]
//! Images whose parents come before their children: exact at one zxid, each znode once, while writes go on, beside each
//! other and beside a snapshot.

use super::images::{Image, Random, enter, grown, image_now, random_change};
use super::*;

const ANY: usize = usize::MAX;

/// Enters a znode and sees to it that its parent is there.
fn enter_in_order(image: &mut Image, node: NodeImage<'_>) {
    match crate::base::path::parent(node.path) {
        Some(_) if node.path == b"/" => {}
        Some(parent) => assert!(image.contains_key(parent), "{} before its parent", node.path.escape_ascii()),
        None => panic!("{} is no path", node.path.escape_ascii()),
    }
    assert_eq!(image.is_empty(), node.path == b"/", "the root comes first");
    enter(image, node);
}

fn walk_to_the_end(walker: &mut ImageWalker, nodes: usize, mut between: impl FnMut()) -> Image {
    let mut image = Image::new();
    loop {
        between();
        match walker.next_slice(nodes, ANY, &mut |node| enter_in_order(&mut image, node)) {
            Progress::More => {}
            Progress::Done => return image,
            Progress::Aborted => panic!("nothing was replaced"),
        }
    }
}

/// Changes all over a deep tree: chains grow and are taken apart from their ends, so that the writer meets znodes whose
/// ancestors nobody has given out.
struct Deep {
    rounds: Rounds,
    random: Random,
    chains: Vec<Vec<String>>,
}

impl Deep {
    fn new(chains: usize, depth: usize) -> Deep {
        let (rounds, _) = Rounds::new();
        let mut deep = Deep { rounds, random: Random(11), chains: vec![Vec::new(); chains] };
        for chain in 0..chains {
            for _ in 0..depth {
                deep.grow(chain);
            }
        }
        deep
    }

    fn grow(&mut self, chain: usize) {
        let below = self.chains[chain].last().cloned().unwrap_or_default();
        let name =
            if below.is_empty() { format!("chain{chain}") } else { format!("{}", self.random.below(10)) };
        let path = format!("{below}/{name}");
        self.rounds.create(&path).unwrap();
        self.chains[chain].push(path);
    }

    fn change(&mut self) {
        let chain = self.random.below(self.chains.len() as u64) as usize;
        let length = self.chains[chain].len() as u64;
        match self.random.below(4) {
            0 => self.grow(chain),
            1 => {
                if let Some(path) = self.chains[chain].pop() {
                    self.rounds.delete(&path).unwrap();
                }
            }
            _ if length == 0 => {}
            _ => {
                let path = self.chains[chain][self.random.below(length) as usize].clone();
                self.rounds.round(|writer, z| {
                    writer.set_data(z, path.as_bytes(), Some(&z.0.to_be_bytes()), 1, 1).unwrap();
                });
            }
        }
    }
}

#[test]
fn parents_come_first_in_wide_trees_though_writes_go_on() {
    let (mut rounds, reader, mut random) = grown();
    for nodes in [1, 50, 100_000] {
        let expected = image_now(&rounds.writer);
        let mut walker = rounds.writer.begin_image(ANY).unwrap();
        assert_eq!((walker.at(), walker.digest()), (Zxid(rounds.zxid), rounds.writer.digest()));
        let image = walk_to_the_end(&mut walker, nodes, || {
            (0..20).for_each(|_| random_change(&mut rounds, &mut random));
        });
        assert!(image == expected);
        assert_eq!(image.len() as u64, walker.znodes());
        assert_eq!(walker.queued(), (0, 0));
    }
    check_sums(&rounds.writer, &reader);
    rounds.settle();
}

#[test]
fn parents_come_first_in_deep_trees_though_writes_go_on() {
    for (chains, depth, nodes) in [(1, 2000, 7), (3, 300, 1), (40, 30, 25), (200, 5, 300)] {
        let mut deep = Deep::new(chains, depth);
        let expected = image_now(&deep.rounds.writer);
        let mut walker = deep.rounds.writer.begin_image(ANY).unwrap();
        let image = walk_to_the_end(&mut walker, nodes, || (0..10).for_each(|_| deep.change()));
        assert!(image == expected, "{chains} chains of {depth}");
        drop(walker);
        deep.rounds.settle();
    }
}

#[test]
fn all_that_was_changed_before_the_walk_comes_in_order_too() {
    // Leaves first: every copy waits for the one that comes after it.
    let mut deep = Deep::new(20, 50);
    let expected = image_now(&deep.rounds.writer);
    let mut walker = deep.rounds.writer.begin_image(ANY).unwrap();
    for chain in deep.chains.clone() {
        for path in chain.into_iter().rev() {
            deep.rounds.delete(&path).unwrap();
        }
    }
    assert!(walker.queued().0 >= 1000);
    assert!(walk_to_the_end(&mut walker, 3, || ()) == expected);
    assert_eq!(walker.queued(), (0, 0));
}

#[test]
fn an_image_walked_on_another_core_is_exact_and_in_order() {
    let mut deep = Deep::new(30, 60);
    for _ in 0..5 {
        let expected = image_now(&deep.rounds.writer);
        let mut walker = deep.rounds.writer.begin_image(ANY).unwrap();
        let walk = std::thread::spawn(move || walk_to_the_end(&mut walker, 10, || ()));
        while !walk.is_finished() {
            deep.change();
        }
        assert!(walk.join().unwrap() == expected);
    }
    deep.rounds.settle();
}

#[test]
fn images_and_a_snapshot_pass_through_each_other() {
    let (mut rounds, _reader, mut random) = grown();
    // Often enough for every lane's numbers to wrap.
    for round in 0..12 {
        let mut expected = Vec::new();
        let mut walkers = Vec::new();
        for _ in 0..4 {
            expected.push(image_now(&rounds.writer));
            walkers.push((rounds.writer.begin_image(ANY).unwrap(), Image::new(), false));
            (0..50).for_each(|_| random_change(&mut rounds, &mut random));
        }
        assert!(rounds.writer.begin_image(ANY).is_none(), "four at once");
        let expected_snapshot = image_now(&rounds.writer);
        let mut snapshot = (rounds.writer.begin_snapshot(), Image::new(), false);
        while !snapshot.2 || walkers.iter().any(|(_, _, done)| !done) {
            (0..10).for_each(|_| random_change(&mut rounds, &mut random));
            for (nth, (walker, image, done)) in walkers.iter_mut().enumerate().filter(|(_, (.., done))| !done)
            {
                let sink = &mut |node: NodeImage<'_>| enter_in_order(image, node);
                *done = walker.next_slice(100 * (nth + 1 + round), ANY, sink) == Progress::Done;
            }
            if !snapshot.2 {
                snapshot.2 =
                    snapshot.0.next_slice(200, &mut |node| enter(&mut snapshot.1, node)) == Progress::Done;
            }
        }
        assert!(snapshot.1 == expected_snapshot);
        for ((_, image, _), expected) in walkers.into_iter().zip(expected) {
            assert!(image == expected, "round {round}");
        }
    }
    rounds.settle();
}

#[test]
fn a_walker_that_is_dropped_anywhere_leaves_its_lane_as_it_was() {
    let (mut rounds, _reader, mut random) = grown();
    for round in 0..40 {
        let mut walker = rounds.writer.begin_image(ANY).unwrap();
        for _ in 0..round {
            (0..5).for_each(|_| random_change(&mut rounds, &mut random));
            walker.next_slice(30, ANY, &mut |_| ());
        }
        (0..5).for_each(|_| random_change(&mut rounds, &mut random));
    }
    let expected = image_now(&rounds.writer);
    let mut walker = rounds.writer.begin_image(ANY).unwrap();
    let image = walk_to_the_end(&mut walker, 100, || random_change(&mut rounds, &mut random));
    assert!(image == expected);
    drop(walker);
    rounds.settle();
}

#[test]
fn bytes_end_a_slice_as_nodes_do() {
    let (mut rounds, _) = Rounds::new();
    for n in 0..100 {
        rounds.round(|writer, z| {
            let path = format!("/n{n:02}");
            let znode = NewZnode { data: Some(&[7; 1000]), ..plain(&path, 1) };
            writer.create(z, &znode).unwrap();
        });
    }
    let mut walker = rounds.writer.begin_image(ANY).unwrap();
    let (mut slices, mut image) = (0, Image::new());
    loop {
        let mut bytes = 0;
        let progress = walker.next_slice(ANY, 2500, &mut |node| {
            assert!(bytes < 2500);
            bytes += node.path.len() + node.data.map_or(0, <[u8]>::len);
            enter_in_order(&mut image, node);
        });
        slices += 1;
        if progress == Progress::Done {
            break;
        }
    }
    assert_eq!(image.len(), 104);
    assert!(slices >= 100 / 3, "{slices} slices of at most three");
}

#[test]
fn a_walker_for_which_too_much_waits_is_told_and_costs_nothing_more() {
    let (mut rounds, _reader, _) = grown();
    let mut walker = rounds.writer.begin_image(10_000).unwrap();
    let paths: Vec<_> =
        image_now(&rounds.writer).into_keys().filter(|path| path.starts_with(b"/d/")).collect();
    for path in paths {
        rounds.round(|writer, z| writer.set_data(z, &path, None, 1, 1).unwrap());
    }
    let (images, bytes) = walker.queued();
    assert!((10_000..11_000).contains(&bytes), "{images} copies of {bytes} bytes");
    assert_eq!(walker.next_slice(ANY, ANY, &mut |_| ()), Progress::Aborted);
    assert!(walker.is_overrun());
    drop(walker);
    let expected = image_now(&rounds.writer);
    let mut again = rounds.writer.begin_image(ANY).unwrap();
    assert!(walk_to_the_end(&mut again, 1000, || ()) == expected);
}

#[test]
fn a_replaced_state_aborts_its_images() {
    let (mut rounds, _reader, _) = grown();
    let mut walker = rounds.writer.begin_image(ANY).unwrap();
    assert_eq!(walker.next_slice(10, ANY, &mut |_| ()), Progress::More);
    let (mut fresh, _) = new(5);
    fresh.begin(Zxid(1_000_000));
    fresh.create(Zxid(1_000_000), &plain("/fresh", 1)).unwrap();
    fresh.publish(Zxid(1_000_000));
    rounds.writer.adopt(fresh);
    assert_eq!(walker.next_slice(10, ANY, &mut |_| ()), Progress::Aborted);
    assert!(!walker.is_overrun());
    drop(walker);
    rounds.settle();
    let expected = image_now(&rounds.writer);
    assert!(walk_to_the_end(&mut rounds.writer.begin_image(ANY).unwrap(), 10, || ()) == expected);
}

#[test]
fn what_comes_in_order_loads_again_to_the_same_digest() {
    let deep = Deep::new(10, 40);
    let mut rounds = deep.rounds;
    let mut walker = rounds.writer.begin_image(ANY).unwrap();
    let (mut writer, reader) = new(77);
    let mut loader = writer.load(walker.at());
    let mut load = |node: NodeImage<'_>| loader.load_next(&node).unwrap();
    while walker.next_slice(100, ANY, &mut load) == Progress::More {}
    loader.finish().unwrap();
    assert_eq!(writer.digest(), walker.digest());
    assert!(image_now(&writer) == image_now(&rounds.writer));
    check_sums(&writer, &reader);
    // And walks again, in both ways.
    let expected = image_now(&writer);
    let mut snapshot = Image::new();
    let mut again = writer.begin_snapshot();
    while again.next_slice(100, &mut |node| enter(&mut snapshot, node)) == Progress::More {}
    assert!(snapshot == expected);
    assert!(walk_to_the_end(&mut writer.begin_image(ANY).unwrap(), 100, || ()) == expected);
}

fn load_of(paths: &[&str]) -> Result<(), LoadError> {
    let (mut writer, _reader) = new(1);
    let mut loader = writer.load(Zxid(9));
    for path in paths {
        let (path, stat) = (path.as_bytes(), StoredStat::default());
        loader.load_next(&NodeImage { path, data: None, acl: acl_open(), stat })?;
    }
    loader.finish()
}

#[test]
fn an_image_out_of_order_or_with_a_znode_twice_does_not_load() {
    let missing = |path: &str| Err(LoadError::Missing(path.into()));
    let twice = |path: &str| Err(LoadError::Twice(path.into()));
    assert_eq!(load_of(&["/", "/a", "/a/b", "/c", "/a/d"]), Ok(()));
    assert_eq!(load_of(&["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"]), Ok(()));
    assert_eq!(load_of(&["/a"]), missing(""));
    assert_eq!(load_of(&["/", "/a/b", "/a"]), missing("/a"));
    // It is there of itself, but the image has not named it.
    assert_eq!(load_of(&["/", "/zookeeper/quota"]), missing("/zookeeper"));
    assert_eq!(load_of(&["/", "/"]), twice("/"));
    assert_eq!(load_of(&["/", "/a", "/b", "/a"]), twice("/a"));
    assert_eq!(load_of(&["/", "/a", "/a/b", "/a/b"]), twice("/a/b"));
    assert_eq!(load_of(&["/", "/zookeeper", "/zookeeper"]), twice("/zookeeper"));
    for bad in ["", "a", "/a/"] {
        assert!(
            matches!(
                load_of(&["/", bad]),
                Err(LoadError::BadPath(_) | LoadError::Twice(_) | LoadError::Missing(_))
            ),
            "{bad:?}"
        );
    }
}
