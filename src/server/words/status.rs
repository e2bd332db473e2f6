#![forbid(unsafe_code)]
//! `srvr`, `stat`, `cons` (stock `StatCommand`, `ServerStats.toString`, `ServerCnxn.dumpConnectionInfo`).

use super::answer::{Answer, Piece};
use super::java;
use super::monitor::average_ms;
use super::version::Version;
use crate::base::{SessionId, WallMillis, Zxid};
use crate::runtime::metrics::{Sizes, Timing};
use std::iter::once;
use std::net::SocketAddr;

/// What a server is to the ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// An ensemble of one without server lines.
    Standalone,
    /// Orders the changes.
    Leader,
    /// Votes and follows.
    Follower,
    /// Follows without a vote.
    Observer,
    /// Serves reads without a quorum.
    ReadOnly,
}

impl Mode {
    /// As printed behind `Mode: `.
    pub fn text(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
            Mode::ReadOnly => "read-only",
        }
    }
}

/// A server as `srvr` and `stat` show it.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// Which build.
    pub version: Version,
    /// Latency of all requests since start or `srst`.
    pub latency: Timing,
    /// Packets since start or `srst`.
    pub received: u64,
    /// Packets since start or `srst`.
    pub sent: u64,
    /// Connections open now, with or without a session, the asking one too.
    pub connections: u64,
    /// Requests received and not answered.
    pub outstanding: u64,
    /// Last txn applied.
    pub zxid: Zxid,
    /// Role.
    pub mode: Mode,
    /// Znodes, the built-in ones too.
    pub node_count: u64,
    /// Sizes of the proposals that a leader made.
    pub proposal_sizes: Sizes,
}

/// A connection as `stat` and `cons` show it.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// The client's end.
    pub peer: SocketAddr,
    /// Interest set: 1 read, 4 write, 0 for the connection that asks.
    pub interest: u8,
    /// Requests received and not answered.
    pub queued: u64,
    /// Packets since the connection or `crst`.
    pub received: u64,
    /// Packets since the connection or `crst`.
    pub sent: u64,
    /// `None` before the handshake.
    pub session: Option<SessionView>,
}

/// What `cons` adds for a connection with a session; the names behind are its abbreviations.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// `sid`.
    pub id: SessionId,
    /// `lop`: label of the last operation.
    pub last_operation: &'static str,
    /// `est`: when the connection was accepted.
    pub established: WallMillis,
    /// `to`: negotiated timeout, ms.
    pub timeout_ms: u32,
    /// `lcxid`: xid of the last request; `None` until one came with xid ≥ 0, and then left out.
    pub last_cxid: Option<u32>,
    /// `lzxid`: zxid of the last reply; -1 when reset.
    pub last_zxid: Zxid,
    /// `lresp`: when the last reply left, ms of the monotonic clock.
    pub last_response_ms: u64,
    /// `llat`, ms.
    pub last_latency_ms: u64,
    /// `minlat`, ms.
    pub min_latency_ms: u64,
    /// `avglat`, ms, rounded down.
    pub avg_latency_ms: u64,
    /// `maxlat`, ms.
    pub max_latency_ms: u64,
}

/// `srvr`.
pub fn srvr(server: &ServerView) -> Answer {
    Answer::text(version_lines(server) + &status_lines(server))
}

/// `stat`: as `srvr`, with the connections in between. `connections` are those of all shards, in any order.
pub fn stat(server: &ServerView, connections: Vec<ConnectionView>) -> Answer {
    let head = version_lines(server) + "Clients:\n";
    let tail = format!("\n{}", status_lines(server));
    Answer::new(
        once(Piece::text(head))
            .chain(connections.into_iter().map(Piece::Brief))
            .chain(once(Piece::text(tail))),
    )
}

/// `cons`. `connections` are those of all shards, in any order.
pub fn cons(connections: Vec<ConnectionView>) -> Answer {
    Answer::new(connections.into_iter().map(Piece::Full).chain(once(Piece::text("\n"))))
}

fn version_lines(server: &ServerView) -> String {
    let read_only = match server.mode {
        Mode::ReadOnly => "READ-ONLY mode; serving only read-only clients\n",
        _ => "",
    };
    format!("Zookeeper version: {}\n{read_only}", server.version.text())
}

fn status_lines(server: &ServerView) -> String {
    let latency = &server.latency;
    let proposals = match server.mode {
        Mode::Leader => {
            let [last, min, max] = shown(server.proposal_sizes);
            format!("Proposal sizes last/min/max: {last}/{min}/{max}\n")
        }
        _ => String::new(),
    };
    format!(
        "Latency min/avg/max: {}/{}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: {}\nMode: {}\n\
         Node count: {}\n{proposals}",
        latency.min_ms(),
        average_ms(latency),
        latency.max_ms(),
        server.received,
        server.sent,
        server.connections,
        server.outstanding,
        server.zxid,
        server.mode.text(),
        server.node_count,
    )
}

/// Last, smallest, largest; -1 for what was not there yet.
pub(super) fn shown(sizes: Sizes) -> [i64; 3] {
    [sizes.last, sizes.min, sizes.max]
        .map(|size| size.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
}

impl ConnectionView {
    /// One line; `brief` leaves the session out.
    pub(super) fn render(&self, brief: bool, out: &mut Vec<u8>) {
        let mut line = format!(
            " {}[{:x}](queued={},recved={},sent={}",
            java::socket_address(self.peer),
            self.interest,
            self.queued,
            self.received,
            self.sent
        );
        if let Some(session) = self.session.as_ref().filter(|_| !brief) {
            session.render(&mut line);
        }
        line.push_str(")\n");
        out.extend_from_slice(line.as_bytes());
    }
}

impl SessionView {
    fn render(&self, line: &mut String) {
        let lcxid = self.last_cxid.map(|cxid| format!(",lcxid=0x{cxid:x}")).unwrap_or_default();
        line.push_str(&format!(
            ",sid={},lop={},est={},to={}{lcxid},lzxid={},lresp={},llat={},minlat={},avglat={},maxlat={}",
            self.id,
            self.last_operation,
            self.established.0,
            self.timeout_ms,
            self.last_zxid,
            self.last_response_ms,
            self.last_latency_ms,
            self.min_latency_ms,
            self.avg_latency_ms,
            self.max_latency_ms,
        ));
    }
}
