#![forbid(unsafe_code)]
// Whatever fails here is a test that fails; the panic is the message.
#![allow(clippy::unwrap_used)]
//! `plan`: on results made from a known law, on what is no result, and on runs of a real server that were kept.

mod answers;
mod known;
mod made;
mod measured;
mod pauses;
mod refusals;
