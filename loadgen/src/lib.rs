#![forbid(unsafe_code)]
//! Load for any server that speaks ZooKeeper's client protocol, over real sockets. It shares nothing with the server but
//! the words of `ringkeeper::base` and the primitive types and records of `ringkeeper::wire`.
//!
//! # How it works
//!
//! ```text
//! cli ──► run (coordinator, one thread) ◄── intervals ── load (on each of N threads)
//!  │        gate, intervals, /proc                         │ what to ask and when: mix, keys, schedule, ledger
//!  └──► results                                            ▼
//!                                                        engine: connections, epoll, frames, pings, reconnects
//! ```
//!
//! A thread owns its connections; threads share a flag and a gate. The gate opens when every connection has its session,
//! and says when the warm-up and the measured time begin and end. In an open loop requests leave on a schedule fixed
//! then, and latency counts from the time on the schedule.
//!
//! # What a latency is
//!
//! From the intended time to the end of the `read` that brought the reply, in nanoseconds, three digits kept. It counts
//! in the interval in which the reply arrived. Replies with an error are counted apart. Requests that were due and never
//! left are reported as `unsent`: with many of them the percentiles are too good, and the rate was too high.
//!
//! # For scripts
//!
//! Progress goes to standard error, results to standard output, or JSON lines with `--json -`; `results::records` is the
//! schema. The last line on standard error says why it failed, if it did.
//!
//! | Exit status | Meaning |
//! | --- | --- |
//! | 0 | done; what was measured can be trusted |
//! | 1 | a problem of this program or machine |
//! | 2 | wrong arguments |
//! | 3 | the server could not be reached, or gave no session, in time |
//! | 4 | the server died, closed or stalled and was not back in time, or failed every request |
//! | 5 | the server lied: it broke the protocol, or lost an acknowledged write |
//! | 6 | a bound was not met |
//! | 130 | interrupted |
//!
//! # Modules
//!
//! - [`cli`]: arguments, commands, exit statuses.
//! - [`run`]: one load from beginning to end.
//! - [`load`]: what a thread asks; [`mix`], [`keys`], [`schedule`], [`recorder`] and [`ledger`] are its parts.
//! - [`scenes`]: storms of sessions, fan-out, idle sessions, locks, elections.
//! - [`engine`]: what a thread does with sockets. [`codec`]: frames and records, as a client sees them.
//! - [`client`]: a plain client for what is not measured.
//! - [`process`]: what a server uses, from `/proc`.
//! - [`results`]: terminal, JSON lines, HdrHistogram log, HTML report.

pub mod cli;
pub mod client;
pub mod codec;
pub mod engine;
pub mod keys;
pub mod ledger;
pub mod load;
pub mod mix;
pub mod process;
pub mod recorder;
pub mod results;
pub mod run;
pub mod scenes;
pub mod schedule;
