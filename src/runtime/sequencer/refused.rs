#![forbid(unsafe_code)]
//! Lines about servers that are not taken in. They come back at once, and are told of once a minute each. Lives on: the
//! sequencer.

use std::collections::BTreeMap;

use crate::base::{Millis, ServerId};

/// A server is told of again after so long, ms.
const AGAIN_MS: u64 = 60_000;

/// So many are told of at once; anybody may claim an id.
const TOLD_MAX: usize = 64;

/// Those that were told of within a minute: when, and how often they came since.
#[derive(Default)]
pub(super) struct Refused {
    told: BTreeMap<(Option<ServerId>, &'static str), (Millis, u64)>,
}

impl Refused {
    /// Whether there is to be a line that this server was refused for this, and how often it was without one.
    pub(super) fn may_log(
        &mut self,
        now: Millis,
        learner: Option<ServerId>,
        reason: &'static str,
    ) -> Option<u64> {
        let key = (learner, reason);
        if let Some((at, left_out)) = self.told.get_mut(&key) {
            if now.since(*at) < AGAIN_MS {
                *left_out += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(left_out));
        }
        if self.told.len() >= TOLD_MAX {
            self.told.retain(|_, (at, _)| now.since(*at) < AGAIN_MS);
        }
        if self.told.len() >= TOLD_MAX {
            return None;
        }
        self.told.insert(key, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_of_once_a_minute_and_how_often_it_came_meanwhile() {
        let mut refused = Refused::default();
        let mut check = |ms, server, expected| {
            assert_eq!(refused.may_log(Millis(ms), Some(ServerId(server)), "why"), expected, "{ms} {server}");
        };
        check(1_000, 2, Some(0));
        check(1_100, 2, None);
        check(1_200, 3, Some(0));
        check(60_999, 2, None);
        check(61_000, 2, Some(2));
        // Whoever makes ids up does not fill the log.
        (10..200).for_each(|server| {
            check(61_000, server, (server < 10 + TOLD_MAX as i64 - 2).then_some(0));
        });
        check(130_000, 300, Some(0));
    }
}
