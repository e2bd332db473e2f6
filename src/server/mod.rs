#![forbid(unsafe_code)]
//! What the outside sees of a server: connections and their requests, the four-letter words.
//!
//! - `start.rs`: from a configuration to a running server, and back down; `rebuild.rs`: from what recovery found to the state.
//! - `vote.rs`: what a stopped member holds, and what an operator decides about its vote.
//! - `shard.rs`: the logic of a core that serves clients; `connection.rs` one client's state, `handshake.rs`, `reads.rs`,
//!   `passing.rs` (writes that go ahead of reads), `replies.rs`, `jobs.rs` (long answers in slices), `outcomes.rs` (what the sequencer sends back), `gather.rs` (words
//!   that need every core), `deadlines.rs` (who is closed for being slow), `serving.rs` (what a member's role is to its
//!   clients).
//! - `throttle.rs`: who may connect, by a bucket of tokens; `admission.rs`: how many requests are taken; `limits.rs`: what
//!   stock does not limit.
//! - `words/`: the texts of the four-letter words, as pure functions. `registry.rs`: what several cores look up rarely.
//!
//! Not here: threads and sockets (runtime), what a write does (pipeline).

pub mod admission;
mod answers;
mod connection;
mod deadlines;
mod gather;
mod handshake;
mod jobs;
pub mod limits;
pub mod members;
mod outcomes;
mod passing;
mod quotas;
mod reads;
pub mod rebuild;
pub mod registry;
mod replies;
mod serving;
pub mod settings;
pub mod shard;
pub mod start;
#[cfg(test)]
mod tests;
pub mod throttle;
pub mod vote;
pub mod words;
