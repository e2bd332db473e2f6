#![forbid(unsafe_code)]
//! Samples by namespace, the first component of a path. Stock keeps every namespace it ever saw (157,376 dead ones in
//! one report); here the least recently used goes once there are [`NAMESPACES_MAX`] (operations §4.5).

use super::Summary;
use std::collections::BTreeMap;

/// Namespaces kept. A line of `mntr` takes some 50 bytes and each has five.
pub const NAMESPACES_MAX: usize = 1000;

/// Longest name kept, bytes; longer ones count under their first bytes.
const NAME_BYTES_MAX: usize = 128;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    summary: Summary,
    /// Value of `samples` when last touched.
    used: u64,
}

/// A [`Summary`] for each namespace.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    entries: BTreeMap<Box<[u8]>, Entry>,
    /// Samples ever recorded: the clock of the eviction.
    samples: u64,
    dropped: u64,
}

/// The namespace of a path: `app` of `/app/x`. The root has none.
fn namespace(path: &[u8]) -> Option<&[u8]> {
    let name = path.strip_prefix(b"/")?.split(|&b| b == b'/').next()?;
    let name = &name[..name.len().min(NAME_BYTES_MAX)];
    (!name.is_empty()).then_some(name)
}

impl Namespaces {
    /// Counts a sample under the namespace of `path`.
    pub fn record(&mut self, path: &[u8], value: u64) {
        let Some(name) = namespace(path) else { return };
        self.samples += 1;
        let used = self.samples;
        match self.entries.get_mut(name) {
            Some(entry) => {
                entry.summary.record(value);
                entry.used = used;
            }
            None => {
                let mut entry = Entry { used, ..Entry::default() };
                entry.summary.record(value);
                self.insert(name.into(), entry);
            }
        }
    }

    fn insert(&mut self, name: Box<[u8]>, entry: Entry) {
        if self.entries.len() >= NAMESPACES_MAX {
            let oldest =
                self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
                self.dropped += 1;
            }
        }
        self.entries.insert(name, entry);
        debug_assert!(self.entries.len() <= NAMESPACES_MAX);
    }

    /// Adds another core's samples. Which core used a namespace last is not comparable; the counts stand in for it.
    pub fn merge(&mut self, other: &Namespaces) {
        self.samples = self.samples.max(other.samples);
        self.dropped += other.dropped;
        for (name, theirs) in &other.entries {
            match self.entries.get_mut(name) {
                Some(ours) => {
                    ours.summary.merge(&theirs.summary);
                    ours.used = ours.used.max(theirs.used);
                }
                None => self.insert(name.clone(), *theirs),
            }
        }
    }

    /// Namespaces that were dropped to keep the rest.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Names, in order, and what was counted under each.
    pub fn into_summaries(self) -> impl Iterator<Item = (Box<[u8]>, Summary)> + Send {
        self.entries.into_iter().map(|(name, entry)| (name, entry.summary))
    }
}
