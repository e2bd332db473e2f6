#![forbid(unsafe_code)]
//! Digests of the tree at every 128th zxid, for `hash`: two servers that disagree about a line hold different trees
//! (stock `DataTree.logZxidDigest`). Lives on: the sequencer.

use crate::base::Zxid;
use std::collections::VecDeque;

/// A digest is kept when its zxid is a multiple of this.
pub const DIGEST_LOG_INTERVAL: i64 = 128;

/// How many are kept: 20 KiB, the last 131,072 txns.
pub const DIGEST_LOG_LIMIT: usize = 1024;

/// The newest [`DIGEST_LOG_LIMIT`] digests.
#[derive(Clone, Debug, Default)]
pub struct DigestLog {
    kept: VecDeque<(Zxid, i64)>,
}

impl DigestLog {
    /// Called after each txn with the digest of the tree as it then is.
    pub fn applied(&mut self, zxid: Zxid, digest: i64) {
        if zxid.0 % DIGEST_LOG_INTERVAL != 0 {
            return;
        }
        if self.kept.len() == DIGEST_LOG_LIMIT {
            self.kept.pop_front();
        }
        self.kept.push_back((zxid, digest));
    }

    /// `<zxid in hex>: <digest in decimal>`, a line each.
    pub(super) fn render(&self) -> String {
        self.kept.iter().map(|(zxid, digest)| format!("{:x}: {digest}\n", zxid.0)).collect()
    }
}
