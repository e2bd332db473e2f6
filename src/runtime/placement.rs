#![forbid(unsafe_code)]
//! Which thread runs on which core; the only place that knows core_affinity. The list of cores is the affinity mask of
//! the process, not the machine (DESIGN §1).

/// Where the threads go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The core of each shard, or `None` where threads are not pinned.
    pub shards: Vec<Option<usize>>,
    /// The sequencer's.
    pub sequencer: Option<usize>,
}

/// `ringkeeper.pin`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pinning {
    /// Pin on a host of four cores and more without a CPU quota.
    Auto,
    /// Pin whatever the host is.
    Always,
    /// Never.
    Never,
}

/// Fewer cores than this are shared with whatever else runs there: the kernel places better than we do.
const CORES_TO_PIN: usize = 4;

impl Placement {
    /// Decides for `threads` shards (`None`: one for each core but the sequencer's, 1 to 63).
    pub fn decide(threads: Option<usize>, pinning: Pinning) -> Placement {
        let cores: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        Self::over(&cores, has_cpu_quota(), threads, pinning)
    }

    fn over(cores: &[usize], quota: bool, threads: Option<usize>, pinning: Pinning) -> Placement {
        let most = crate::base::limits::SHARDS_MAX;
        let shards = threads.unwrap_or(cores.len().saturating_sub(1)).clamp(1, most);
        let pin = match pinning {
            Pinning::Always => !cores.is_empty(),
            Pinning::Never => false,
            Pinning::Auto => cores.len() >= CORES_TO_PIN && !quota,
        };
        if !pin {
            return Placement { shards: vec![None; shards], sequencer: None };
        }
        // The sequencer has the last core; shards share the others, or that one where there is no other.
        let (last, others) = cores.split_last().expect("there are cores to pin to");
        let others = if others.is_empty() { std::slice::from_ref(last) } else { others };
        let shards = (0..shards).map(|i| Some(others[i % others.len()])).collect();
        Placement { shards, sequencer: Some(*last) }
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.shards.len();
        write!(f, "{count} shard{}", if count == 1 { "" } else { "s" })?;
        match self.sequencer {
            None => write!(f, " and a sequencer, not pinned"),
            Some(core) => {
                let cores: Vec<String> = self.shards.iter().flatten().map(usize::to_string).collect();
                write!(f, " on cores {}, sequencer on core {core}", cores.join(" "))
            }
        }
    }
}

/// Pins the calling thread.
pub fn pin(core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(core = id, "cannot pin this thread; it runs where the kernel puts it");
    }
}

/// Whether the control group limits the processor time.
fn has_cpu_quota() -> bool {
    let Ok(text) = std::fs::read_to_string("/sys/fs/cgroup/cpu.max") else { return false };
    text.split_whitespace().next().is_some_and(|quota| quota != "max")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequencer_has_a_core_of_its_own_where_there_is_one() {
        let check = |cores: &[usize], quota, threads, pinning, expected: &str| {
            assert_eq!(Placement::over(cores, quota, threads, pinning).to_string(), expected);
        };
        check(&[0, 1, 2, 3], false, None, Pinning::Auto, "3 shards on cores 0 1 2, sequencer on core 3");
        check(&[0, 1, 2, 3], true, None, Pinning::Auto, "3 shards and a sequencer, not pinned");
        check(&[0, 1], false, None, Pinning::Auto, "1 shard and a sequencer, not pinned");
        check(&[0, 1], false, None, Pinning::Always, "1 shard on cores 0, sequencer on core 1");
        check(&[4], false, Some(2), Pinning::Always, "2 shards on cores 4 4, sequencer on core 4");
        check(&[], false, None, Pinning::Always, "1 shard and a sequencer, not pinned");
    }
}
