#![forbid(unsafe_code)]
//! Epochs (Zab paper, §4, phases 1 and 2; Z12): a server's accepted epoch is never below its current one, and neither goes
//! back over restarts, unless its disk was taken away.

use std::collections::BTreeMap;

use ringkeeper::base::{Epoch, ServerId};
use ringkeeper::storage::epoch::EpochRecord;

/// What each server's disk said last.
#[derive(Default)]
pub(crate) struct Checker(BTreeMap<ServerId, (Epoch, Epoch)>);

impl Checker {
    pub(crate) fn found(&mut self, server: ServerId, record: &EpochRecord) {
        let now = (record.accepted, record.current);
        assert!(now.0 >= now.1, "epochs: {server:?} accepted {:?} and is in {:?}", now.0, now.1);
        let before = self.0.insert(server, now).unwrap_or_default();
        let is_fine = now.0 >= before.0 && now.1 >= before.1;
        assert!(is_fine, "epochs: {server:?} goes back from {before:?} to {now:?}");
    }

    /// A new disk.
    pub(crate) fn emptied(&mut self, server: ServerId) {
        self.0.remove(&server);
    }
}
