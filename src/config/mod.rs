#![forbid(unsafe_code)]
//! Configuration: what is written ([`Raw`]) and what code reads ([`Config`]) are two types, and [`check`] is the way
//! from one to the other. The table of keys is in `keys`, the syntax in `properties`, the `server.N` grammar in
//! `members`, and what servers tell each other about all of them in `document`.
//!
//! Knows no clock, no file and no environment: bytes and words are arguments, host names stay names. Nothing below
//! `server` imports this folder; it is handed plain values.

mod check;
mod checked;
mod document;
mod error;
mod keys;
mod members;
mod properties;
mod raw;
mod reader;
mod settings;
#[cfg(test)]
mod tests;

pub use check::{Checked, Inputs, check};
pub use checked::{
    Auth, Config, ConnectThrottle, DateStyle, DigestAlgorithm, Ensemble, Folders, Host, ListenAddress,
    LogFormat, LogLevel, MASK, Net, Own, Pin, Requests, Secret, Sessions, Storage, Tree, Words,
};
pub use document::{ConfigDocument, DocumentError, Groups};
pub use error::{Cause, ConfigError, shown};
pub use keys::is_secret;
pub use members::{Member, MemberRole, PeerAddress};
pub use raw::{FlagSource, Item, Origin, Raw};
pub use reader::{Row, Table};
pub use settings::{Notice, NoticeLevel};
