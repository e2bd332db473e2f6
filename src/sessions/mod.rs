#![forbid(unsafe_code)]
//! Who is connected, until when, and what they own. Lives on the sequencer (the generator of ids and the table) and,
//! for [`ExpiryQueue`], on each shard as well: expiry belongs to whoever holds the connection (DESIGN §2, rule 8).
//!
//! Invariants: an id is never given out twice; a session has at most one attachment, and each attachment a generation
//! of its own; a session that is closing is never touched, attached or expired again; only sessions attached nowhere
//! here have a clock here.
//!
//! Time is an argument everywhere. Not here: who decides that a session closes (pipeline), the txns that replicate
//! open and close (wire, pipeline), the text of `dump` (server).

mod expiry;
mod ids;
pub mod password;
mod table;

pub use expiry::ExpiryQueue;
pub use ids::SessionIds;
pub use table::{Attached, Attachment, Ephemeral, Refused, SessionImage, SessionTable, SessionView};
