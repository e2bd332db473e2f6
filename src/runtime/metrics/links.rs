#![forbid(unsafe_code)]
//! What a leader counts of the links to its learners, by server (stock `LearnerHandler.sendPackets`). Lives on: the
//! sequencer. Only servers of the configuration have a place here: anybody may claim an id.

use std::collections::BTreeMap;

use super::{Distribution, Summary};
use crate::base::ServerId;

/// Queues of packets on their way to learners.
#[derive(Clone, Debug, Default)]
pub struct LinkQueues {
    lengths: BTreeMap<ServerId, Summary>,
    waits: BTreeMap<ServerId, Distribution>,
}

impl LinkQueues {
    /// So many packets to `learner` left with one send, `behind` others stayed; one of them had waited so long, if that
    /// was measured.
    pub fn left(&mut self, learner: ServerId, packets: u64, behind: u64, waited_ms: Option<u64>) {
        self.lengths.entry(learner).or_default().record_many(behind, packets);
        if let Some(ms) = waited_ms {
            self.waits.entry(learner).or_default().record_us(ms.saturating_mul(1000));
        }
    }

    /// For each packet how many waited behind it when it left.
    pub fn lengths(&self) -> impl Iterator<Item = (ServerId, &Summary)> {
        self.lengths.iter().map(|(learner, summary)| (*learner, summary))
    }

    /// How long a packet waited, for some of them.
    pub fn waits(&self) -> impl Iterator<Item = (ServerId, &Distribution)> {
        self.waits.iter().map(|(learner, distribution)| (*learner, distribution))
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &LinkQueues) {
        let LinkQueues { lengths, waits } = other;
        for (learner, summary) in lengths {
            self.lengths.entry(*learner).or_default().merge(summary);
        }
        for (learner, distribution) in waits {
            self.waits.entry(*learner).or_default().merge(distribution);
        }
    }
}
