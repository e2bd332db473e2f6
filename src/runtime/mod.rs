//! The only folder that knows threads, clocks, rings, files and glommio. It owns the cores and calls into the layers
//! above through closures and traits, never by name.
//!
//! - `sequencer/`: the core that orders; `shard.rs`: the driver of a core that serves clients; `disk.rs`: the thread
//!   of low priority that writes snapshots and prepares the log; `files.rs`: what they and recovery do to files;
//!   `keeper.rs`: the epochs of a member, and ranges of its log.
//! - `ring.rs`: the queue between two cores; `messages.rs`: what travels through it; `sys.rs`: raw system interfaces;
//!   `host.rs`: what the machine is.
//! - `peers/`: every socket between servers.
//! - `snapshots.rs`: a state to a file; `images/`: whole states between servers.
//! - `linger.rs`: how long a write of the log waits for company.
//! - `placement.rs`: which thread runs where; `metrics/`: what each core counts; `fatal.rs`: how the process ends itself;
//!   `watchdog.rs`: when it must, because one core stopped; `pressure.rs`: when memory or disk run short.

pub mod disk;
pub mod fatal;
pub mod files;
pub mod host;
pub mod images;
pub mod keeper;
pub mod messages;
pub mod metrics;
pub mod peers;
pub mod placement;
pub mod pressure;
pub mod ring;
pub mod sequencer;
pub mod shard;
pub mod snapshots;
pub mod sys;
pub mod watchdog;

mod clock;
mod linger;

pub use clock::Clock;
