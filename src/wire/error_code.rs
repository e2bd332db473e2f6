#![forbid(unsafe_code)]
//! Client-visible error codes (stock `KeeperException.Code`). Only `pipeline/prep.rs` and the read path choose one;
//! a code outside this table makes Java clients throw, so none is ever invented.

/// What `err` of a reply says; the numbers are stock's. Success is 0 and not an `ErrorCode`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum ErrorCode {
    /// Entries of a multi after the one that failed.
    RuntimeInconsistency = -2,
    /// Undecodable body, null path, bad enumeration value.
    MarshallingError = -5,
    /// Unknown operation (then close); TTL nodes while extended types are off; reconfig on a single server.
    Unimplemented = -6,
    /// Bad path, create flags, ttl.
    BadArguments = -8,
    /// Session not tracked.
    UnknownSession = -12,
    /// Node or parent missing.
    NoNode = -101,
    /// ACL check failed.
    NoAuth = -102,
    /// Expected version differs.
    BadVersion = -103,
    /// Create under a plain ephemeral.
    NoChildrenForEphemerals = -108,
    /// Create of what exists.
    NodeExists = -110,
    /// Delete of a node with children.
    NotEmpty = -111,
    /// The session is closing or gone.
    SessionExpired = -112,
    /// Empty, unknown or malformed ACL.
    InvalidAcl = -114,
    /// Authentication failed (then close).
    AuthFailed = -115,
    /// Another connection owns the session; never sent, the connection is closed instead.
    SessionMoved = -118,
    /// A write on a read-only server.
    NotReadOnly = -119,
    /// Ephemeral on a local session without upgrading.
    EphemeralOnLocalSession = -120,
    /// No such watch.
    NoWatcher = -121,
    /// `reconfigEnabled` is false.
    ReconfigDisabled = -123,
    /// Enforced authentication is missing (then close).
    SessionClosedRequireSaslAuth = -124,
    /// Hard quota, or a cap of ours on growth.
    QuotaExceeded = -125,
    /// Waited too long in the intake.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// Every code a server of ours may send or log.
    pub const ALL: [ErrorCode; 22] = [
        ErrorCode::RuntimeInconsistency,
        ErrorCode::MarshallingError,
        ErrorCode::Unimplemented,
        ErrorCode::BadArguments,
        ErrorCode::UnknownSession,
        ErrorCode::NoNode,
        ErrorCode::NoAuth,
        ErrorCode::BadVersion,
        ErrorCode::NoChildrenForEphemerals,
        ErrorCode::NodeExists,
        ErrorCode::NotEmpty,
        ErrorCode::SessionExpired,
        ErrorCode::InvalidAcl,
        ErrorCode::AuthFailed,
        ErrorCode::SessionMoved,
        ErrorCode::NotReadOnly,
        ErrorCode::EphemeralOnLocalSession,
        ErrorCode::NoWatcher,
        ErrorCode::ReconfigDisabled,
        ErrorCode::SessionClosedRequireSaslAuth,
        ErrorCode::QuotaExceeded,
        ErrorCode::ThrottledOp,
    ];

    /// The number on the wire.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The code with this number, if the table holds it.
    pub fn from_i32(number: i32) -> Option<ErrorCode> {
        Self::ALL.into_iter().find(|code| code.code() == number)
    }
}
