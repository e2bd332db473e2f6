#![forbid(unsafe_code)]
//! Whether the state may grow: memory and disk have a mark past which writes that add to it are refused while deletes,
//! closes and reads go on (reliability §7 "tree memory", "disk free"; F11, F25). A server that runs into either wall
//! instead is killed, or ends at the next log segment.
//!
//! Lives on: the disk shard looks about once a second; the sequencer reads the verdict with each write.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::files::DataDirs;
use super::host;
use crate::wire::ErrorCode;

/// Time between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A warning that still holds is said again after this.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Shares of the memory budget at which growth has to wait, and at which it is refused, percent.
const MEMORY_SOFT_PERCENT: u64 = 85;
const MEMORY_HARD_PERCENT: u64 = 95;

/// Share of what the process may take that is the budget unless one is set, percent.
const MEMORY_BUDGET_PERCENT: u64 = 60;

/// Free disk below which growth has to wait unless a mark is set: so many bytes, or a twentieth of a small disk.
const DISK_CRITICAL_BYTES: u64 = 256 << 20;

/// The same for a warning alone.
const DISK_LOW_BYTES: u64 = 2 << 30;

/// What a write that adds to the state gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Growth {
    /// It is taken.
    Free = 0,
    /// ThrottledOp (-127): try again later.
    Later = 1,
    /// QuotaExceeded (-125): not before something was deleted.
    Refused = 2,
}

/// The verdict, where the sequencer finds it.
#[derive(Debug, Default)]
pub struct Pressure {
    growth: AtomicU8,
}

impl Pressure {
    /// What a write that grows the state gets now.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn check(&self) -> Result<(), ErrorCode> {
        // Relaxed: a verdict of a second ago is as good.
        match self.growth.load(Ordering::Relaxed) {
            0 => Ok(()),
            1 => Err(ErrorCode::ThrottledOp),
            _ => Err(ErrorCode::QuotaExceeded),
        }
    }

    fn set(&self, growth: Growth) {
        self.growth.store(growth as u8, Ordering::Relaxed);
    }
}

/// Marks that were set; without one it follows from the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// Memory this process should take at most, bytes.
    pub memory_bytes: Option<u64>,
    /// Free bytes of the folders' disk below which growth waits.
    pub disk_free_bytes: Option<u64>,
}

/// What a look found, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    resident: u64,
    memory: u64,
    disk_free: u64,
    disk_total: u64,
}

/// The verdict and why, in words; `None` when there is nothing to say.
fn judge(marks: Marks, seen: Seen) -> (Growth, Option<String>) {
    let mib = |bytes: u64| bytes >> 20;
    let budget = marks.memory_bytes.unwrap_or(seen.memory / 100 * MEMORY_BUDGET_PERCENT);
    let memory = |verb: &str| {
        format!(
            "{} MiB of memory are taken of a budget of {}: writes that add to the tree are {verb}; delete znodes, or raise ringkeeper.maxMemoryMb",
            mib(seen.resident),
            mib(budget)
        )
    };
    if seen.resident >= budget / 100 * MEMORY_HARD_PERCENT {
        return (Growth::Refused, Some(memory("refused (QuotaExceeded)")));
    }
    let twentieth = seen.disk_total / 20;
    let critical = marks.disk_free_bytes.unwrap_or(DISK_CRITICAL_BYTES.min(twentieth));
    if seen.disk_free < critical {
        let text = format!(
            "{} MiB of disk are left, fewer than {}: writes that add to the tree are put off (ThrottledOp); free space under the data and log folders",
            mib(seen.disk_free),
            mib(critical)
        );
        return (Growth::Later, Some(text));
    }
    if seen.resident >= budget / 100 * MEMORY_SOFT_PERCENT {
        return (Growth::Later, Some(memory("put off (ThrottledOp)")));
    }
    let low = DISK_LOW_BYTES.min(twentieth).max(critical);
    if seen.disk_free < low {
        let left = mib(seen.disk_free);
        let text = format!(
            "{left} MiB of disk are left; below {} MiB writes that add to the tree are put off",
            mib(critical)
        );
        return (Growth::Free, Some(text));
    }
    (Growth::Free, None)
}

/// Looks, says what changed, and keeps the verdict up to date.
#[derive(Debug)]
pub struct Gauge {
    marks: Marks,
    growth: Growth,
    warned: Option<Instant>,
}

impl Gauge {
    /// Nothing was looked at yet.
    pub fn new(marks: Marks) -> Gauge {
        Gauge { marks, growth: Growth::Free, warned: None }
    }

    /// A look at the machine and the folders' disks.
    pub fn look(&mut self, dirs: &DataDirs, pressure: &Pressure) {
        let disks = [dirs.data().path(), dirs.log().path()].map(host::disk_bytes);
        // A disk that cannot be asked says nothing; writing to it will.
        let emptiest = disks.into_iter().flatten().min_by_key(|(free, _)| *free);
        let (disk_free, disk_total) = emptiest.unwrap_or((u64::MAX, 0));
        let (resident_mb, memory_mb) = host::memory_mb();
        let seen = Seen { resident: resident_mb << 20, memory: memory_mb << 20, disk_free, disk_total };
        self.weigh(seen, Instant::now(), pressure);
    }

    fn weigh(&mut self, seen: Seen, now: Instant, pressure: &Pressure) {
        let (growth, text) = judge(self.marks, seen);
        let changed = growth != self.growth;
        let again = self.warned.is_none_or(|warned| now.duration_since(warned) >= SAY_AGAIN);
        match text {
            Some(text) if changed || again => {
                self.warned = Some(now);
                tracing::warn!("{text}");
            }
            None if changed => tracing::info!("writes that add to the tree are taken again"),
            _ => {}
        }
        self.growth = growth;
        pressure.set(growth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    fn roomy() -> Seen {
        Seen { resident: GIB, memory: 10 * GIB, disk_free: 100 * GIB, disk_total: 200 * GIB }
    }

    fn check(marks: Marks, seen: Seen, growth: Growth, says: Option<&str>) {
        let (found, text) = judge(marks, seen);
        assert_eq!(found, growth, "{seen:?}");
        match says {
            Some(says) => {
                assert!(text.as_ref().is_some_and(|text| text.contains(says)), "{text:?} lacks {says}")
            }
            None => assert_eq!(text, None),
        }
    }

    #[test]
    fn f25_memory_has_a_soft_and_a_hard_mark() {
        let auto = Marks::default();
        check(auto, roomy(), Growth::Free, None);
        check(auto, Seen { resident: 5 * GIB, ..roomy() }, Growth::Free, None);
        // 60 % of 10 GiB are 6144 MiB; 85 and 95 % of those 5222 and 5836.
        check(auto, Seen { resident: 5300 * MIB, ..roomy() }, Growth::Later, Some("put off"));
        check(auto, Seen { resident: 5900 * MIB, ..roomy() }, Growth::Refused, Some("QuotaExceeded"));
        let marked = Marks { memory_bytes: Some(100 * MIB), ..auto };
        check(marked, roomy(), Growth::Refused, Some("budget of 100"));
    }

    #[test]
    fn the_verdict_is_there_with_the_look_and_goes_with_the_next() {
        let (pressure, now) = (Pressure::default(), Instant::now());
        let mut gauge = Gauge::new(Marks::default());
        gauge.weigh(Seen { disk_free: 0, ..roomy() }, now, &pressure);
        assert_eq!(pressure.check(), Err(ErrorCode::ThrottledOp));
        gauge.weigh(Seen { resident: 9 * GIB, ..roomy() }, now, &pressure);
        assert_eq!(pressure.check(), Err(ErrorCode::QuotaExceeded));
        gauge.weigh(roomy(), now, &pressure);
        assert_eq!(pressure.check(), Ok(()));
    }

    #[test]
    fn f11_a_disk_that_fills_up_warns_first_and_then_puts_growth_off() {
        let auto = Marks::default();
        check(auto, Seen { disk_free: GIB, ..roomy() }, Growth::Free, Some("1024 MiB of disk are left"));
        check(auto, Seen { disk_free: 255 * MIB, ..roomy() }, Growth::Later, Some("fewer than 256"));
        // A small volume has small marks.
        let small = Seen { disk_free: 20 * MIB, disk_total: 100 * MIB, ..roomy() };
        check(auto, small, Growth::Free, None);
        check(auto, Seen { disk_free: 4 * MIB, ..small }, Growth::Later, Some("fewer than 5"));
        let marked = Marks { disk_free_bytes: Some(50 * MIB), ..auto };
        check(marked, small, Growth::Later, Some("fewer than 50"));
    }
}
