#![forbid(unsafe_code)]
//! Four-letter words: what probes, scripts and dashboards ask on the client port (operations §4; stock
//! `FourLetterCommands` and the classes of package `server.command`).
//!
//! Pure: plain values in, an [`Answer`] out. Lives on no core of its own: each core hands in its part as a view, the
//! parts are merged (`merge`) away from the shards, and the connection that asked sends the answer slice by slice.
//!
//! ```text
//! first four bytes ─► recognise ─► Word ─► Whitelist ─► refusal
//!                                            └─► serving? no ─► Word::answer_while_not_serving
//!                                                 └─► views of all cores ─► Answer ─► slices ─► close
//! ```
//!
//! What is rendered here is what a server of release 3.9.5 prints in the same role, compared line by line with texts
//! recorded from one in `tests/golden/words`.
//!
//! Not here: sockets, deadlines (the connection caps an answer by time, not by size), and who counts
//! ([`crate::runtime::metrics`]).

mod answer;
mod digest_log;
mod dump;
mod environment;
mod java;
mod monitor;
mod status;
mod version;
mod watches;
mod whitelist;

pub use answer::{Answer, SLICE_BYTES};
pub use digest_log::{DIGEST_LOG_INTERVAL, DIGEST_LOG_LIMIT, DigestLog};
pub use dump::{ConnectionExpiry, DumpView, ExpiryQueueView, dump};
pub use environment::{ConfMember, ConfView, EnvView, conf, dirs, envi};
pub use monitor::{LeaderView, MemberView, MonitorView, QuotaView, mntr};
pub use status::{ConnectionView, Mode, ServerView, SessionView, cons, srvr, stat};
pub use version::{BuildDateStyle, EMULATED, Version};
pub use watches::{WatchView, wchc, wchp, wchs};
pub use whitelist::Whitelist;

/// Bytes of the mask that follows `stmk`, big-endian.
pub const TRACE_MASK_BYTES: usize = 8;

/// Trace mask of a server that nobody told another (stock `ZooTrace.traceMask`).
pub const TRACE_MASK_DEFAULT: i64 = 306;

/// What a server prints while it cannot serve: scripts key on this sentence.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A four-letter word. The names are stock's.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Word { $($(#[$doc])* $name),* }

        impl Word {
            /// Every word, in the order of the table.
            pub const ALL: &'static [Word] = &[$(Word::$name),*];

            /// Lower case, as typed.
            pub fn text(self) -> &'static str {
                match self { $(Word::$name => $text),* }
            }
        }
    };
}

words! {
    /// Settings in use.
    Conf = "conf";
    /// Connections, in full.
    Cons = "cons";
    /// Reset the counts of all connections.
    Crst = "crst";
    /// Sizes of the data directories.
    Dirs = "dirs";
    /// Sessions, ephemerals, connections, with their deadlines.
    Dump = "dump";
    /// Host and version.
    Envi = "envi";
    /// Digests of the tree, one each 128 txns.
    Hash = "hash";
    /// Read-write or read-only: Java clients in read-only mode poll it.
    Isro = "isro";
    /// Everything counted, for monitoring.
    Mntr = "mntr";
    /// Is the port open.
    Ruok = "ruok";
    /// Reset the server's counts.
    Srst = "srst";
    /// Short status.
    Srvr = "srvr";
    /// Status and connections.
    Stat = "stat";
    /// Trace mask.
    Gtmk = "gtmk";
    /// Set the trace mask; [`TRACE_MASK_BYTES`] more bytes follow.
    Stmk = "stmk";
    /// Watches by session.
    Wchc = "wchc";
    /// Watches by path.
    Wchp = "wchp";
    /// Watches in sum.
    Wchs = "wchs";
}

/// What the first four bytes of a connection without a session are, if not the length of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// A word to answer; then the connection closes.
    Word(Word),
    /// Telnet's break: close, say nothing.
    TelnetBreak,
}

/// Telnet's interrupt and timing-mark sequence (stock `FourLetterCommands.telnetCloseCmd`).
const TELNET_BREAK: [u8; 4] = [0xff, 0xf4, 0xff, 0xfd];

/// Tells a word from a frame's length. Only for the first four bytes of a connection: after the handshake the same
/// bytes are an oversized length. As lengths all words lie far above any frame limit.
pub fn recognise(first: [u8; 4]) -> Option<Opening> {
    if first == TELNET_BREAK {
        return Some(Opening::TelnetBreak);
    }
    Word::ALL.iter().copied().find(|word| word.text().as_bytes() == first).map(Opening::Word)
}

impl Word {
    /// The answer to a word that the whitelist leaves out. Not silence, so that a probe fails in a way that can be
    /// diagnosed; deployment tests in the field compare this text.
    pub fn refusal(self) -> Answer {
        Answer::text(format!("{} is not executed because it is not in the whitelist.\n", self.text()))
    }

    /// The answer while the server looks for a leader or syncs; `None` for words that are answered as ever.
    pub fn answer_while_not_serving(self) -> Option<Answer> {
        match self {
            Word::Ruok | Word::Envi | Word::Gtmk | Word::Stmk => None,
            Word::Isro => Some(Answer::text("null")),
            Word::Hash => Some(Answer::text(NOT_SERVING)),
            _ => Some(Answer::text(format!("{NOT_SERVING}\n"))),
        }
    }
}

/// `ruok`: says that the port is open, nothing more.
pub fn ruok() -> Answer {
    Answer::text("imok")
}

/// `isro` of a serving server.
pub fn isro(read_only: bool) -> Answer {
    Answer::text(if read_only { "ro" } else { "rw" })
}

/// `crst`, once every core has reset its connections' counts.
pub fn crst() -> Answer {
    Answer::text("Connection stats reset.\n")
}

/// `srst`, once every core has reset its counts.
pub fn srst() -> Answer {
    Answer::text("Server stats reset.\n")
}

/// `gtmk`, and `stmk` with the new mask. The mask is kept and echoed; it switches nothing here.
pub fn trace_mask(mask: i64) -> Answer {
    Answer::text(mask.to_string())
}

/// `hash`: the digests kept, oldest first.
pub fn hash(log: &DigestLog) -> Answer {
    Answer::text(log.render())
}

#[cfg(test)]
pub(in crate::server) mod tests;
