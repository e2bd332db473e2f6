#![forbid(unsafe_code)]
//! What servers say to each other, in stock's bytes: the election links ([`election`]), the packets of the quorum links
//! ([`packet`], [`body`]), what our own servers add to those ([`checked`]), and the raw snapshot that follows a SNAP
//! ([`snap`]). Codecs alone: what a message means is `zab`'s, what a configuration text says is `config`'s.
//!
//! Bytes arrive in pieces. Each decoder is given what a receive buffer holds and answers with a message and the bytes it
//! took, or that it needs more, or an error after which the stream cannot be read further. Nothing is allocated before a
//! length was held against its limit and the bytes are there.

pub mod body;
pub mod checked;
pub mod election;
pub mod packet;
pub mod snap;

pub use packet::{PacketError, PacketKind, QuorumPacket};
