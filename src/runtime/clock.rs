#![forbid(unsafe_code)]
//! Both clocks: the monotonic one for every timer, the wall clock for data.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::{Millis, WallMillis};

/// Reads the clocks. Clones share their origin.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Monotonic milliseconds since the start.
    pub fn now(&self) -> Millis {
        Millis(self.micros() / 1000)
    }

    /// Monotonic microseconds since the start, for latencies.
    pub fn micros(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970; a clock before that reads as 1970.
    pub fn wall(&self) -> WallMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
