#![forbid(unsafe_code)]
//! Snapshots: exact at one zxid, each znode once, while writes go on.

use std::collections::BTreeMap;

use super::*;

pub(super) type Image = BTreeMap<Vec<u8>, (Option<Vec<u8>>, Vec<Acl>, StoredStat)>;

pub(super) fn enter(image: &mut Image, node: NodeImage<'_>) {
    let value = (node.data.map(<[u8]>::to_vec), node.acl.to_vec(), node.stat);
    assert!(image.insert(node.path.to_vec(), value).is_none(), "twice: {}", node.path.escape_ascii());
}

/// The tree as the writer has it now, walked from the root.
pub(super) fn image_now(writer: &TreeWriter) -> Image {
    let mut image = Image::new();
    let mut stack = vec![Vec::new()];
    while let Some(path) = stack.pop() {
        let znode = writer.get(&path).expect("listed by its parent");
        stack.extend(znode.children().map(|name| [&path[..], b"/", name].concat()));
        let path = if path.is_empty() { b"/".to_vec() } else { path };
        enter(
            &mut image,
            NodeImage { path: &path, data: znode.data(), acl: znode.acl(), stat: znode.stored_stat() },
        );
    }
    image
}

/// A little generator, so that both sides of a run see the same.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

pub(super) fn random_change(rounds: &mut Rounds, random: &mut Random) {
    let path = format!("/d/{}", random.below(3000));
    match random.below(6) {
        0 => drop(rounds.delete(&path)),
        1 => rounds.round(|writer, z| {
            let _absent = writer.set_data(z, path.as_bytes(), Some(&z.0.to_be_bytes()), 3, 4);
        }),
        2 => rounds.round(|writer, z| {
            let _absent = writer.set_acl(z, path.as_bytes(), &acl(&(z.0 % 7).to_string()), 2);
        }),
        3 => rounds.round(|writer, z| {
            let _either = writer.delete(z, path.as_bytes());
            let _absent = writer.create(z, &plain(&path, 1));
        }),
        _ => drop(rounds.create(&path)),
    }
}

pub(super) fn grown() -> (Rounds, TreeReader, Random) {
    let (mut rounds, reader) = Rounds::new();
    let mut random = Random(3);
    rounds.create("/d").unwrap();
    for _ in 0..4000 {
        random_change(&mut rounds, &mut random);
    }
    (rounds, reader, random)
}

#[test]
fn an_image_is_the_tree_at_its_zxid_though_writes_go_on() {
    let (mut rounds, reader, mut random) = grown();
    for slice in [1, 50, 100_000] {
        let expected = image_now(&rounds.writer);
        let mut walker = rounds.writer.begin_snapshot();
        assert_eq!(walker.at(), Zxid(rounds.zxid));
        assert_eq!(walker.digest(), rounds.writer.digest());
        let mut image = Image::new();
        loop {
            for _ in 0..20 {
                random_change(&mut rounds, &mut random);
            }
            match walker.next_slice(slice, &mut |node| enter(&mut image, node)) {
                Progress::More => {}
                Progress::Done => break,
                Progress::Aborted => panic!("nothing was replaced"),
            }
        }
        assert!(image == expected);
        assert_eq!(image.len() as u64, walker.znodes());
        assert_eq!(walker.queued(), (0, 0));
    }
    check_sums(&rounds.writer, &reader);
    rounds.settle();
}

#[test]
fn an_image_walked_on_another_core_is_exact() {
    let (mut rounds, reader, mut random) = grown();
    for _ in 0..3 {
        let expected = image_now(&rounds.writer);
        let mut walker = rounds.writer.begin_snapshot();
        let walk = std::thread::spawn(move || {
            let mut image = Image::new();
            loop {
                match walker.next_slice(10, &mut |node| enter(&mut image, node)) {
                    Progress::More => {}
                    Progress::Done => return image,
                    Progress::Aborted => panic!("nothing was replaced"),
                }
            }
        });
        while !walk.is_finished() {
            random_change(&mut rounds, &mut random);
        }
        assert!(walk.join().unwrap() == expected);
    }
    check_sums(&rounds.writer, &reader);
    rounds.settle();
}

#[test]
fn what_was_walked_loads_again_to_the_same_digest() {
    let (mut rounds, _reader, _) = grown();
    let mut walker = rounds.writer.begin_snapshot();
    let (mut writer, reader) = new(77);
    let mut loader = writer.load(walker.at());
    while walker.next_slice(100, &mut |node| loader.load_node(&node).unwrap()) == Progress::More {}
    loader.finish().unwrap();
    assert_eq!(writer.digest(), rounds.writer.digest());
    assert_eq!(writer.digest(), walker.digest());
    assert!(image_now(&writer) == image_now(&rounds.writer));
    check_sums(&writer, &reader);
}

#[test]
fn a_later_snapshot_aborts_an_earlier_one_and_is_whole() {
    let (mut rounds, _reader, mut random) = grown();
    let mut first = rounds.writer.begin_snapshot();
    assert_eq!(first.next_slice(10, &mut |_| ()), Progress::More);
    random_change(&mut rounds, &mut random);
    let expected = image_now(&rounds.writer);
    let mut second = rounds.writer.begin_snapshot();
    let mut image = Image::new();
    loop {
        random_change(&mut rounds, &mut random);
        assert_eq!(first.next_slice(100, &mut |_| ()), Progress::Aborted);
        if second.next_slice(10, &mut |node| enter(&mut image, node)) == Progress::Done {
            break;
        }
    }
    assert!(image == expected);
}

#[test]
fn an_abandoned_walker_costs_the_writer_nothing_more() {
    let (mut rounds, _reader, mut random) = grown();
    drop(rounds.writer.begin_snapshot());
    for _ in 0..100 {
        random_change(&mut rounds, &mut random);
    }
    let expected = image_now(&rounds.writer);
    let mut walker = rounds.writer.begin_snapshot();
    let mut image = Image::new();
    while walker.next_slice(100, &mut |node| enter(&mut image, node)) == Progress::More {}
    assert!(image == expected);
    rounds.settle();
}
