//! ringkeeper: a coordination server that ZooKeeper's clients cannot tell from ZooKeeper 3.9.5.

pub mod base;
pub mod cli;
pub mod config;
pub mod runtime;
pub mod server;
pub mod storage;
pub mod wire;
pub mod zab;
