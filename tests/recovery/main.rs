//! Recovery: what a crash, a torn write, rot or a wrong hand may leave on a disk, and what the server makes of it. A
//! simulated disk keeps the live and the durable image apart and is cut at every operation; names refer to the faults
//! (F), rules (R) and scenarios (S) of the reliability document.

// Helpers of tests say what they expect by unwrapping, as tests do.
#![allow(clippy::unwrap_used)]

mod cuts;
mod damage;
// Shared with the simulator, which does other things to a disk.
#[allow(dead_code)]
mod disk;
mod fuzz;
mod identity;
mod members;
mod power;
mod server;
mod snapshots;
