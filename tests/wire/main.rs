#![forbid(unsafe_code)]
//! The codec against bytes it did not write itself: frames and a log recorded from a stock 3.9.5 server
//! (`tests/golden/record/README.md`), the vectors of the two protocol references, and properties: every message
//! round-trips, no input panics, and what was read once and written again reads the same.
// Tests say what they expect by unwrapping; clippy's own exemption ends at `#[test]` functions.
#![allow(clippy::unwrap_used)]

mod client;
mod ensemble;
mod peer;
mod properties;
mod recorded;
mod snap;
mod stock_log;
mod vectors;
