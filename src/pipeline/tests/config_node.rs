#![forbid(unsafe_code)]
//! `/zookeeper/config` of a member: what stock's servers were recorded to show, and nothing else changes for it.

use super::*;

const NODE: &str = "/zookeeper/config";

/// The document and the Stat of a stock server; the clock is its own.
fn recorded() -> (&'static str, Vec<i64>) {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/words/follower/config.txt"));
    let (document, stat) = text.split_once("\n--\n").unwrap();
    let stat = stat.trim().trim_matches(['(', ')']).split(", ").map(|field| field.parse().unwrap());
    (document, stat.collect())
}

#[test]
fn the_config_node_is_what_stock_makes_of_it_and_no_digest_knows() {
    let (document, expected) = recorded();
    let mut rig = Rig::new();
    rig.run(ONE, &create("/a", 0));
    let (before, size) = (rig.image(), rig.pipeline.tree().stats().approximate_data_size);
    rig.pipeline.set_config_node("an earlier document", 0, WallMillis(1));
    rig.pipeline.set_config_node(document, 0, WallMillis(expected[3]));

    let znode = rig.pipeline.tree().get(NODE.as_bytes()).unwrap();
    assert_eq!(znode.data(), Some(document.as_bytes()));
    assert_eq!(znode.acl(), [Acl { perms: perms::READ, ..Acl::open() }]);
    let stat = znode.stat();
    let fields = [
        stat.czxid,
        stat.mzxid,
        stat.ctime,
        stat.mtime,
        i64::from(stat.version),
        i64::from(stat.cversion),
        i64::from(stat.aversion),
        stat.ephemeral_owner,
        i64::from(stat.data_length),
        i64::from(stat.num_children),
        stat.pzxid,
    ];
    assert_eq!(fields[..], expected);
    let grown = rig.pipeline.tree().stats().approximate_data_size - size;
    assert_eq!(grown, document.len() as u64);

    let after = rig.image();
    assert_eq!((after.at, after.digest), (before.at, before.digest));
    let others = |image: &Image| -> Vec<Znode> {
        image.znodes.iter().filter(|znode| znode.path != NODE.as_bytes()).cloned().collect()
    };
    assert_eq!(others(&after), others(&before));
    // Prep and apply still agree about the digest.
    rig.run(ONE, &set("/a", b"b", 0));
}

#[test]
fn a_member_that_starts_again_writes_its_own_document_over_what_an_image_holds() {
    let (document, _) = recorded();
    let mut rig = Rig::new();
    rig.pipeline.set_config_node(document, 0, WallMillis(5));
    let image = rig.image();
    let mut again = Rig::from_image(&image, settings());
    assert_eq!(again.pipeline.tree().get(NODE.as_bytes()).unwrap().data(), Some(document.as_bytes()));
    assert_eq!((again.stat(NODE).version, again.stat(NODE).mtime), (-1, 5));
    again.pipeline.set_config_node("version=10000000a", 0x1_0000_000a, WallMillis(6));
    assert_eq!(again.pipeline.tree().get(NODE.as_bytes()).unwrap().data(), Some(&b"version=10000000a"[..]));
    assert_eq!((again.stat(NODE).mzxid, again.stat(NODE).mtime), (0x1_0000_000a, 6));
    assert_eq!(again.pipeline.tree().digest(), image.digest);
}
