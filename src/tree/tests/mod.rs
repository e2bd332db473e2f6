#![forbid(unsafe_code)]
//! The tree against the reference (client-protocol §5, ensemble-protocol §4.2) and against a plain model.

mod concurrent;
mod effects;
mod images;
mod model;
mod ordered;
mod walks;

use super::*;
use crate::base::Zxid;
use crate::wire::{Acl, Id};

/// A writer that runs one round for each change.
struct Rounds {
    writer: TreeWriter,
    zxid: i64,
}

impl Rounds {
    fn new() -> (Rounds, TreeReader) {
        let (writer, reader) = new(1);
        (Rounds { writer, zxid: 0 }, reader)
    }

    fn round<R>(&mut self, change: impl FnOnce(&mut TreeWriter, Zxid) -> R) -> R {
        self.zxid += 1;
        let zxid = Zxid(self.zxid);
        self.writer.begin(zxid);
        let result = change(&mut self.writer, zxid);
        self.writer.publish(zxid);
        self.writer.reclaim();
        result
    }

    fn create(&mut self, path: &str) -> Result<crate::wire::Stat, TreeError> {
        self.round(|writer, zxid| writer.create(zxid, &plain(path, zxid.0)))
    }

    fn delete(&mut self, path: &str) -> Result<Deleted, TreeError> {
        self.round(|writer, zxid| writer.delete(zxid, path.as_bytes()))
    }

    /// Runs grace periods until nothing is left; nobody of this test may be pinned.
    fn settle(&mut self) {
        self.reclaim_until(|writer| writer.reclaim_backlog() == ReclaimBacklog::default());
        assert!(!self.writer.reclaim());
    }

    /// Runs grace periods until `done`. Tests beside this one share the epoch and hold it up while they are pinned, some
    /// of them for seconds; hence so many tries.
    fn reclaim_until(&mut self, mut done: impl FnMut(&TreeWriter) -> bool) {
        for _ in 0..50_000_000u64 {
            let more = self.writer.reclaim();
            if done(&self.writer) && !(more && self.writer.reclaim_backlog() == ReclaimBacklog::default()) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("left: {:?}", self.writer.reclaim_backlog());
    }
}

fn plain(path: &str, time: i64) -> NewZnode<'_> {
    NewZnode {
        path: path.as_bytes(),
        data: Some(b"data"),
        acl: acl_open(),
        stored_owner: 0,
        time,
        parent_cversion: -1,
        raise_parent_if_exists: false,
    }
}

fn names(view: &View<'_>, path: &str) -> Vec<String> {
    let znode = view.find(path.as_bytes()).expect("the test made it");
    znode.children().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
}

fn acl(id: &str) -> Vec<Acl> {
    vec![Acl { perms: 1, id: Id::new("digest", id) }]
}

/// Digest and sums recomputed from the znodes themselves (L7).
fn check_sums(writer: &TreeWriter, reader: &TreeReader) {
    let view = reader.pin();
    let (mut digest, mut count, mut bytes, mut ephemerals) = (0i64, 0, 0, 0);
    let mut stack = vec![Vec::new()];
    while let Some(path) = stack.pop() {
        let znode = view.find(&path).expect("listed by its parent");
        digest = digest.wrapping_add(digest::node_digest(&path, znode.data(), &znode.stored_stat()));
        count += 1;
        bytes += path.len() + znode.data().map_or(0, <[u8]>::len);
        ephemerals += u64::from(matches!(znode.owner_kind(), OwnerKind::Session(_)));
        let names: Vec<_> = znode.children().collect();
        assert!(names.is_sorted());
        assert_eq!(names.len(), znode.child_count() as usize);
        stack.extend(names.iter().map(|name| [&path[..], b"/", name].concat()));
    }
    assert_eq!(digest, writer.digest());
    let sums = TreeStats {
        znode_count: count + 1,
        approximate_data_size: bytes as u64 + 1,
        ephemerals_count: ephemerals,
    };
    assert_eq!(sums, reader.stats());
}
