//! ringkeeper: a coordination server that ZooKeeper's clients cannot tell from ZooKeeper 3.9.5.

pub mod base;
pub mod cli {
    #![allow(missing_docs)]
    pub fn main() -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}
pub mod runtime;
pub mod server;
pub mod storage;
pub mod wire;
pub mod zab;
