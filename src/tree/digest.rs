#![forbid(unsafe_code)]
//! The digest of a tree: the wrapping sum of a CRC-32 of each znode (ensemble-protocol §8; stock `DigestCalculator`,
//! `AdHash`). Kept by the writer, checked against the digest that a txn carries, and computed by prep for states that
//! do not exist yet.
//!
//! Only what every server agrees on is in it: not ACLs, and nothing below `/zookeeper/`, whose quota statistics and
//! config are local.

use crate::base::path;

/// The fields of a stored stat that enter the digest, and the rest of what a snapshot keeps of one
/// (stock `StatPersisted`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoredStat {
    /// zxid that created it.
    pub czxid: i64,
    /// zxid of the last data change; creation counts.
    pub mzxid: i64,
    /// zxid of the last creation or deletion of a direct child.
    pub pzxid: i64,
    /// Wall clock of the creation, ms since 1970.
    pub ctime: i64,
    /// Wall clock of the last data change, ms since 1970.
    pub mtime: i64,
    /// Data version.
    pub version: i32,
    /// Raw: the count of children ever created, not what clients see.
    pub cversion: i32,
    /// ACL version.
    pub aversion: i32,
    /// Owner as stored: 0, a session, or the marks of containers and TTL nodes (client-protocol §5.4).
    pub owner: i64,
}

/// Whether `path` counts at all.
pub fn counts(path: &[u8]) -> bool {
    !path.starts_with(path::ZOOKEEPER_PREFIX)
}

/// CRC of path and data: the part that children coming and going do not change, so that it can be kept for a parent
/// with much data. The root's path enters as nothing, however it is written; null data as nothing, like empty data.
pub fn body_crc(path: &[u8], data: Option<&[u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(if path == b"/" { b"" } else { path });
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// The digest of a znode (0 to 2^32 - 1) from its [`body_crc`]. Only for paths that [`counts`].
pub fn stat_digest(body_crc: u32, stat: &StoredStat) -> i64 {
    let mut bytes = [0u8; 60];
    let longs = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (at, long) in bytes.chunks_exact_mut(8).zip(longs) {
        at.copy_from_slice(&long.to_be_bytes());
    }
    for (at, int) in bytes[40..52].chunks_exact_mut(4).zip(ints) {
        at.copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.owner.to_be_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(body_crc);
    crc.update(&bytes);
    i64::from(crc.finalize())
}

/// The digest of a znode in any state; 0 below `/zookeeper/`. A tree's is the wrapping sum.
pub fn node_digest(path: &[u8], data: Option<&[u8]>, stat: &StoredStat) -> i64 {
    if counts(path) { stat_digest(body_crc(path, data), stat) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ensemble-protocol §8 and §14.
    #[test]
    fn an_empty_tree_has_the_digest_that_stock_has() {
        let zero = StoredStat::default();
        let sum = node_digest(b"", None, &zero) + node_digest(b"/zookeeper", Some(b""), &zero);
        assert_eq!(sum, 0x51c6_d660);
        assert_eq!(sum, 1_371_985_504);
        assert_eq!(node_digest(b"/", None, &zero), node_digest(b"", None, &zero));
        assert_eq!(node_digest(b"/zookeeper/quota", None, &zero), 0);
    }

    #[test]
    fn a_node_digest_is_the_crc_of_path_data_and_stat_in_stocks_order() {
        let stat = StoredStat {
            czxid: 1,
            mzxid: 2,
            pzxid: 3,
            ctime: 4,
            mtime: 5,
            version: 6,
            cversion: 7,
            aversion: 8,
            owner: -9,
        };
        let mut bytes = b"/a/bxyz".to_vec();
        for long in 1i64..=5 {
            bytes.extend(long.to_be_bytes());
        }
        for int in 6i32..=8 {
            bytes.extend(int.to_be_bytes());
        }
        bytes.extend((-9i64).to_be_bytes());
        assert_eq!(node_digest(b"/a/b", Some(b"xyz"), &stat), i64::from(crc32fast::hash(&bytes)));
    }
}
