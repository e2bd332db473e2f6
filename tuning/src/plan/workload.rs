#![forbid(unsafe_code)]
//! What is planned for, as asked and as checked.

use serde::{Deserialize, Serialize};

/// Most servers of an ensemble that may be down: beyond, each write waits for five others.
pub const DOWN_MAX: u32 = 4;
/// Largest value the server takes, bytes: `jute.maxbuffer` less what a request carries beside it.
pub const VALUE_BYTES_MAX: f64 = ((1 << 20) - 1024) as f64;
/// Beyond, a number is a slip of the finger.
const AMOUNT_MAX: f64 = 1e12;

/// A workload of the whole ensemble, today.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// Sessions that ask for something, one connection each.
    pub clients: f64,
    /// All sessions, those that only keep their session included.
    pub sessions: f64,
    /// getData, exists and the like a second.
    pub reads_per_second: f64,
    /// setData, create, delete and the like a second.
    pub writes_per_second: f64,
    /// Bytes of a value.
    pub value_bytes: f64,
    /// Znodes.
    pub znodes: f64,
    /// Watches that are set at one time.
    pub watches: f64,
    /// What every number above but the value's size is multiplied by.
    pub growth: f64,
    /// Servers that may be down while the bound is kept.
    pub down: u32,
    /// The bound on the 99th percentile, microseconds.
    pub p99_bound_us: f64,
    /// Most cores a server may have; as many as were measured, unless said.
    pub cores_max: Option<u32>,
    /// Between two servers and back, microseconds.
    pub round_trip_us: f64,
    /// Transactions between two snapshots at most (`snapCount`).
    pub snap_count: f64,
}

impl Workload {
    /// Checks it, and lets it grow.
    ///
    /// # Errors
    /// What is wrong, by the name of the argument.
    pub fn grown(&self) -> Result<Workload, String> {
        let amounts = [
            ("--clients", self.clients),
            ("--sessions", self.sessions),
            ("--reads", self.reads_per_second),
            ("--writes", self.writes_per_second),
            ("--value-size", self.value_bytes),
            ("--znodes", self.znodes),
            ("--watches", self.watches),
            ("--growth", self.growth),
            ("--p99", self.p99_bound_us),
            ("--round-trip", self.round_trip_us),
            ("--snap-count", self.snap_count),
        ];
        for (name, amount) in amounts {
            if !amount.is_finite() || !(0.0..=AMOUNT_MAX).contains(&amount) {
                return Err(format!("{name}: {amount} is no amount (0 to {AMOUNT_MAX:e})"));
            }
        }
        for (is_wrong, why) in [
            (self.clients < 1.0, "--clients: at least 1"),
            (self.sessions < self.clients, "--sessions counts all sessions, so it is at least --clients"),
            (
                self.reads_per_second + self.writes_per_second <= 0.0,
                "--reads and --writes: one must not be 0",
            ),
            (self.value_bytes > VALUE_BYTES_MAX, "--value-size must fit a frame of 1 MiB"),
            (self.znodes < 1.0, "--znodes: at least 1"),
            (self.growth < 1.0, "--growth is a factor, at least 1"),
            (self.down > DOWN_MAX, "--down: at most 4"),
            (self.p99_bound_us <= 0.0, "--p99 must not be 0"),
            (self.cores_max.is_some_and(|cores| !(1..=1024).contains(&cores)), "--cores: 1 to 1024"),
            // Stock's least.
            (self.snap_count < 2.0, "--snap-count: at least 2"),
        ] {
            if is_wrong {
                return Err(why.to_owned());
            }
        }
        Ok(Workload {
            clients: self.clients * self.growth,
            sessions: self.sessions * self.growth,
            reads_per_second: self.reads_per_second * self.growth,
            writes_per_second: self.writes_per_second * self.growth,
            znodes: self.znodes * self.growth,
            watches: self.watches * self.growth,
            growth: 1.0,
            ..*self
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A workload that nothing is wrong with.
    pub(in crate::plan) fn fine() -> Workload {
        Workload {
            clients: 32.0,
            sessions: 40.0,
            reads_per_second: 2000.0,
            writes_per_second: 1000.0,
            value_bytes: 1024.0,
            znodes: 1e4,
            watches: 100.0,
            growth: 1.0,
            down: 0,
            p99_bound_us: 1e4,
            cores_max: Some(8),
            round_trip_us: 500.0,
            snap_count: 1e5,
        }
    }

    #[test]
    fn growth_takes_everything_but_the_size_of_a_value_along() {
        let grown = Workload { growth: 2.0, ..fine() }.grown().unwrap();
        assert_eq!((grown.clients, grown.sessions, grown.znodes, grown.watches), (64.0, 80.0, 2e4, 200.0));
        assert_eq!((grown.reads_per_second, grown.writes_per_second), (4000.0, 2000.0));
        assert_eq!((grown.value_bytes, grown.p99_bound_us, grown.growth), (1024.0, 1e4, 1.0));
        assert_eq!(grown.grown().unwrap(), grown);
    }

    #[test]
    fn nonsense_is_named_by_its_argument() {
        let f = fine;
        for (workload, said) in [
            (Workload { clients: 0.0, ..f() }, "--clients"),
            (Workload { sessions: 8.0, ..f() }, "--sessions"),
            (Workload { reads_per_second: f64::NAN, ..f() }, "--reads"),
            (Workload { reads_per_second: 0.0, writes_per_second: 0.0, ..f() }, "--writes"),
            (Workload { writes_per_second: -1.0, ..f() }, "--writes"),
            (Workload { value_bytes: 2e6, ..f() }, "--value-size"),
            (Workload { znodes: 0.0, ..f() }, "--znodes"),
            (Workload { watches: f64::INFINITY, ..f() }, "--watches"),
            (Workload { growth: 0.5, ..f() }, "--growth"),
            (Workload { down: 5, ..f() }, "--down"),
            (Workload { p99_bound_us: 0.0, ..f() }, "--p99"),
            (Workload { cores_max: Some(0), ..f() }, "--cores"),
            (Workload { snap_count: 0.0, ..f() }, "--snap-count"),
            (Workload { round_trip_us: -1.0, ..f() }, "--round-trip"),
        ] {
            let error = workload.grown().unwrap_err();
            assert!(error.contains(said), "{error} does not say {said}");
        }
    }
}
