#![forbid(unsafe_code)]
// Each test binary takes what it needs from here, and none takes all of it.
#![allow(dead_code, unreachable_pub)]
// Whatever fails here is a test that fails; the panic's place is the message.
#![allow(clippy::unwrap_used)]
//! What the tests against a running server share: a client written from the specification alone, and a launcher for
//! ringkeeper and for stock ZooKeeper 3.9.5.
//!
//! Invariants: nothing here uses the crate under test, so that a misreading of the protocol cannot be made twice;
//! every wait has a bound and ends in a panic that names what did not come; every process started here dies with the
//! test binary, however that ends.

pub mod client;
pub mod jute;
pub mod raw;
pub mod server;
pub mod stock;
pub mod tables;

use std::time::Duration;

/// How long anything a server owes may take before the test fails. Far above what a loaded machine needs: it bounds
/// a hang and measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);
