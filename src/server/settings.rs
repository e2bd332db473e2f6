#![forbid(unsafe_code)]
//! What every shard goes by: plain values, made once from the checked configuration.

use crate::config::{Own, Requests};
use crate::pipeline::acl::Policy;
use crate::server::limits::Bounds;
use crate::server::words::{ConfView, EnvView, Version, Whitelist};

/// Read by every shard, changed by none.
#[derive(Debug)]
pub struct Settings {
    /// Width of a bucket of sessions, ms.
    pub tick_ms: u32,
    /// Bounds of what a client may ask for, ms.
    pub timeout_ms_min: u32,
    /// Upper bound, ms.
    pub timeout_ms_max: u32,
    /// Largest frame taken, bytes.
    pub frame_bytes_max: usize,
    /// Admission of requests.
    pub requests: Requests,
    /// Limits that stock does not have.
    pub own: Own,
    /// Those of them that one request is held against.
    pub bounds: Bounds,
    /// A connection without a handshake is closed after this to twice this, ms.
    pub sessionless_timeout_ms: u32,
    /// Who may do what.
    pub policy: Policy,
    /// Which words are answered.
    pub whitelist: Whitelist,
    /// What `srvr` and friends say first.
    pub version: Version,
    /// `conf`, but for the sizes of the folders.
    pub conf: ConfView,
    /// `envi`.
    pub env: EnvView,
    /// The folders whose sizes `conf` and `dirs` show: snapshots, log.
    pub folders: (std::path::PathBuf, std::path::PathBuf),
    /// How many shards there are.
    pub shards: usize,
    /// Members of the ensemble that have a vote; `None` alone.
    pub voters: Option<usize>,
}
