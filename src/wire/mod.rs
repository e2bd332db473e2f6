#![forbid(unsafe_code)]
//! ZooKeeper's own encoding ("jute") and every message in it: what clients send, what we answer, and the txns that
//! go to the log and to peers. Bytes in, values out; no sockets, no state. Only this folder knows jute.
//!
//! Strings stay raw bytes from the wire to the disk, in the encoding Java writes: each UTF-16 unit on its own, so
//! that a character beyond U+FFFF takes six bytes (`BinaryOutputArchive.stringToByteBuffer`). [`jute::to_java_bytes`]
//! turns a client's UTF-8 into it. Paths never hold such characters (rule B), so for them the two are the same.
//!
//! Not here: what a request means (pipeline), how frames leave a socket (server, runtime).

pub mod connect;
mod error_code;
pub mod jute;
mod op_code;
pub mod peer;
mod records;
pub mod reply;
pub mod request;
pub mod txn;

pub use error_code::ErrorCode;
pub use jute::DecodeError;
pub use op_code::OpCode;
pub use records::{Acl, Id, STAT_BYTES, Stat, acls_bytes, decode_acls, encode_acls, perms};
