#![forbid(unsafe_code)]
//! The settings: what a host is checked for, the ones without which no server starts first.
//!
//! A file is a subject: its settings, their checks and their changes. To add one, write it there and name it in [`ALL`];
//! `tests/tune` then asks for a host on which it fails.

pub mod block;
pub mod clock;
pub mod cpu;
pub mod io_uring;
pub mod irq;
pub mod limits;
pub mod memory;
pub mod mounts;
pub mod network;
pub mod quota;
pub mod storage;
pub mod sysctl;
pub mod unit;

use crate::setting::{Setting, Severities, Severity};

/// Every setting, in the order in which it is checked, changed and shown.
pub static ALL: &[&Setting] = &[
    &io_uring::SYSCTL,
    &io_uring::TRIED,
    &limits::MEMLOCK,
    &limits::OPEN_FILES,
    &mounts::FILE_SYSTEM,
    &mounts::WRITE_BARRIERS,
    &mounts::MOUNT_OPTIONS,
    &storage::DIRECT_IO,
    &storage::FLUSH_LATENCY,
    &block::SCHEDULER,
    &block::WRITE_CACHE,
    &memory::SWAPPINESS,
    &memory::TRANSPARENT_HUGEPAGES,
    &memory::NUMA,
    &cpu::GOVERNOR,
    &cpu::IDLE_STATES,
    &cpu::ISOLATED,
    &quota::CPU_QUOTA,
    &clock::CLOCK_SOURCE,
    &irq::AFFINITY,
    &irq::RPS,
    &network::SOMAXCONN,
    &network::SYN_BACKLOG,
    &network::DEVICE_BACKLOG,
];

/// The same under every profile.
const fn everywhere(severity: Severity) -> Severities {
    let some = Some(severity);
    Severities { dedicated: some, shared: some, container: some, laptop: some }
}

/// What is the host's and not a container's, and no matter on a laptop.
const fn on_servers(dedicated: Severity, shared: Severity) -> Severities {
    Severities { dedicated: Some(dedicated), shared: Some(shared), container: None, laptop: None }
}

/// What only a host of its own should be asked for.
const fn on_dedicated(severity: Severity) -> Severities {
    Severities { dedicated: Some(severity), shared: None, container: None, laptop: None }
}
