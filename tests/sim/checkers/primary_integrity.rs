#![forbid(unsafe_code)]
//! One leader an epoch: primary order and primary integrity rest on it (Zab paper, §4; Z1).
//!
//! Has caught: `EpochIsNotSaved`.

use std::collections::BTreeMap;

use ringkeeper::base::{Epoch, ServerId};

/// Who served as leader of which epoch.
#[derive(Default)]
pub(crate) struct Checker(BTreeMap<Epoch, ServerId>);

impl Checker {
    pub(crate) fn leads(&mut self, server: ServerId, epoch: Epoch) {
        let leader = *self.0.entry(epoch).or_insert(server);
        assert!(leader == server, "one leader an epoch: {epoch:?} is led by {leader:?} and by {server:?}");
    }

    pub(crate) fn epochs(&self) -> usize {
        self.0.len()
    }
}
