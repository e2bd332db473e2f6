#![forbid(unsafe_code)]
//! Connections and the thread that drives them. Knows sockets, frames, sessions and their timers, and nothing of what is
//! asked: that is a [`Behaviour`], which gets every reply and says what to send.
//!
//! Each thread owns its connections and shares nothing with the others. It sleeps to the microsecond: a schedule of 20,000
//! a second needs more than milliseconds.

mod connection;
mod worker;

pub use connection::{Lost, Violation};
pub use worker::{Behaviour, Clock, Io, Moved, Options, RETRY_MAX, Turn, drive};
