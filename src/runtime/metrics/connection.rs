#![forbid(unsafe_code)]
//! What one connection counts for `cons` (stock `ServerCnxn`). Lives on: its shard.

use super::summary::us_to_ms;
use crate::base::{Millis, Zxid};
use crate::wire::OpCode;

/// Counts of one connection since it was accepted, or since `crst`.
#[derive(Clone, Debug)]
pub struct ConnectionStats {
    received: u64,
    sent: u64,
    last_operation: &'static str,
    last_cxid: Option<u32>,
    last_zxid: Zxid,
    last_response: Millis,
    last_latency_us: u64,
    latency: super::Timing,
}

/// Label of a connection that has done nothing yet.
const NO_OPERATION: &str = "NA";

impl Default for ConnectionStats {
    fn default() -> Self {
        ConnectionStats {
            received: 0,
            sent: 0,
            last_operation: NO_OPERATION,
            last_cxid: None,
            last_zxid: Zxid(-1),
            last_response: Millis(0),
            last_latency_us: 0,
            latency: super::Timing::default(),
        }
    }
}

impl ConnectionStats {
    /// A frame, or a word, came in.
    pub fn packet_received(&mut self) {
        self.received += 1;
    }

    /// A reply or an event went out.
    pub fn packet_sent(&mut self) {
        self.sent += 1;
    }

    /// A request was answered at `now`, `us` after it came in. xids below 0 (pings, auth, setWatches) leave the last
    /// xid as it was: it is the client's last real operation that helps.
    pub fn answered(&mut self, op: OpCode, xid: i32, zxid: Zxid, now: Millis, us: u64) {
        self.last_operation = op.label();
        if let Ok(cxid) = u32::try_from(xid) {
            self.last_cxid = Some(cxid);
        }
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency_us = us;
        self.latency.record_us(us);
    }

    /// `crst`.
    pub fn reset(&mut self) {
        *self = ConnectionStats::default();
    }

    /// Packets in.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets out.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Label of the last operation, `NA` before the first.
    pub fn last_operation(&self) -> &'static str {
        self.last_operation
    }

    /// xid of the last request whose xid was not negative.
    pub fn last_cxid(&self) -> Option<u32> {
        self.last_cxid
    }

    /// zxid of the last reply, -1 before the first.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// When the last reply left.
    pub fn last_response(&self) -> Millis {
        self.last_response
    }

    /// Latency of the last request, ms.
    pub fn last_latency_ms(&self) -> u64 {
        us_to_ms(self.last_latency_us)
    }

    /// Latencies of all requests.
    pub fn latency(&self) -> &super::Timing {
        &self.latency
    }

    /// Their mean, ms, rounded down as stock does.
    pub fn avg_latency_ms(&self) -> u64 {
        self.latency.us().sum().checked_div(self.latency.us().count()).unwrap_or(0) / 1000
    }
}
