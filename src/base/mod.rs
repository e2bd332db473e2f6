#![forbid(unsafe_code)]
//! The shared words of the whole crate: numbers that travel, each with a type of its own, and the limits
//! with their names. This folder imports nothing of the crate.

pub mod constant_time;
pub mod histogram;
mod ids;
pub mod limits;
pub mod path;
pub mod planted;
mod splitmix;
mod striped_map;

pub use ids::{ConnectionId, Epoch, Generation, Millis, ServerId, SessionId, ShardId, WallMillis, Xid, Zxid};
pub use splitmix::splitmix64;
pub use striped_map::StripedMap;
