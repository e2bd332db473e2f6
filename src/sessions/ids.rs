#![forbid(unsafe_code)]
//! Ids of new sessions (stock `SessionTrackerImpl.initializeNextSessionId`, client-protocol §7.3).
//!
//! ```text
//! bits 63-56  low byte of the server id       bits 55-16  low 40 bits of the clock in ms at start
//! bits 15-0   random at start (stock: 0); +1 for each session, carrying upwards
//! ```
//!
//! Stock reads a clock that restarts with the machine, so that its ids can repeat (ensemble-protocol R-10); ours is
//! given the wall clock. A wall clock may be set back as well: a machine without one of its own starts at the same time
//! again and again. The table is asked before an id is used, and knows sessions in being; whose session is over, and does
//! not know it yet, would come with its old id and take over a stranger's session. Hence the random bits.

use crate::base::{ServerId, SessionId, WallMillis};

/// Owner that marks a container znode (client-protocol §5.4), hence no session's id.
const CONTAINER_OWNER: i64 = i64::MIN;

/// Hands out session ids of one server.
#[derive(Clone, Debug)]
pub struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// Starts at the id that `server` begins with at wall-clock time `now`.
    pub fn new(server: ServerId, now: WallMillis) -> SessionIds {
        let clock = ((now.0 as u64) << 24) >> 8;
        let first = (clock | ((server.0 as u64) << 56)) as i64;
        SessionIds { next: first }
    }

    /// The same, at a random place within the millisecond: another start at what the clock takes for the same time has other
    /// ids.
    pub fn starting_at(self, random: u16) -> SessionIds {
        SessionIds { next: self.next.wrapping_add(i64::from(random)) }
    }

    /// Whether the session's id was given out by `server`, or by one whose id has the same low byte (stock
    /// `LeaderSessionTracker.getServerIdFromSessionId`).
    pub fn made_by(session: SessionId, server: ServerId) -> bool {
        session.0.to_be_bytes()[0] == server.0 as u8
    }

    /// A fresh id: never 0, never the container marker, never one that `is_taken`. Ends because sessions in being are
    /// far fewer than ids.
    pub fn next(&mut self, is_taken: impl Fn(SessionId) -> bool) -> SessionId {
        loop {
            let id = SessionId(self.next);
            self.next = self.next.wrapping_add(1);
            if id != SessionId::NONE && id.0 != CONTAINER_OWNER && !is_taken(id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_holds_the_servers_byte_and_forty_bits_of_the_clock() {
        for (server, now, expected) in [
            (1, 0, 0x0100_0000_0000_0000),
            (1, 0xff1234, 0x0100_00ff_1234_0000),
            (1, 0x0567_1234_5678, 0x0167_1234_5678_0000),
            (254, 1, 0xfe00_0000_0001_0000u64 as i64),
            (0x102, 1, 0x0200_0000_0001_0000),
            (0, 1, 0x10000),
        ] {
            let first = SessionIds::new(ServerId(server), WallMillis(now)).next(|_| false);
            assert_eq!(first.0, expected, "server {server}, clock {now:#x}");
        }
    }

    #[test]
    fn two_starts_at_one_time_of_the_clock_have_other_ids() {
        let first = |random| {
            let mut ids = SessionIds::new(ServerId(1), WallMillis(7)).starting_at(random);
            ids.next(|_| false).0
        };
        assert_eq!(first(0x1234), 0x0100_0000_0007_1234);
        assert_eq!(first(0xffff), 0x0100_0000_0007_ffff);
    }

    #[test]
    fn an_id_says_which_server_made_it() {
        for server in [1, 127, 128, 254].map(ServerId) {
            let id = SessionIds::new(server, WallMillis(1_700_000_000_000)).next(|_| false);
            assert!(SessionIds::made_by(id, server), "{id} of {server:?}");
            assert!(!SessionIds::made_by(id, ServerId(3)), "{id} of {server:?}");
        }
    }

    #[test]
    fn ids_rise_by_one_and_carry_into_the_clock() {
        let mut ids = SessionIds::new(ServerId(1), WallMillis(7));
        let first = ids.next(|_| false);
        for n in 1..70_000 {
            assert_eq!(ids.next(|_| false).0, first.0 + n);
        }
    }

    #[test]
    fn neither_the_container_marker_nor_zero_is_a_session() {
        let mut ids = SessionIds::new(ServerId(128), WallMillis(0));
        assert_eq!(ids.next(|_| false).0, i64::MIN + 1);
        let mut ids = SessionIds::new(ServerId(0), WallMillis(0));
        assert_eq!(ids.next(|_| false).0, 1);
    }

    #[test]
    fn an_id_in_use_is_passed_over() {
        let mut ids = SessionIds::new(ServerId(1), WallMillis(7));
        let first = ids.clone().next(|_| false);
        assert_eq!(ids.next(|id| id.0 < first.0 + 3).0, first.0 + 3);
        assert_eq!(ids.next(|_| false).0, first.0 + 4);
    }
}
