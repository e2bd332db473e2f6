//! ringkeeper: a coordination server that ZooKeeper's clients cannot tell from ZooKeeper 3.9.5.

pub mod base;
pub mod cli;
pub mod config;
pub mod pipeline;
pub mod runtime;
pub mod server;
pub mod sessions;
pub mod storage;
pub mod tree;
pub mod watches;
pub mod wire;
pub mod zab;
