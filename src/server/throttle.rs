#![forbid(unsafe_code)]
//! Admission of connect requests: one bucket of tokens for the server, with the arithmetic of stock's `BlueThrottle`
//! (operations §11.1, client-protocol §2.4 step 1).
//!
//! The bucket is refilled by time. Before it is asked for tokens, a request may be dropped at random: while the bucket is
//! found empty the probability rises, while it is full enough it falls, so that under constant load nobody is refused
//! merely for coming late in each refill.
//!
//! [`ConnectThrottle`] is pure: time and the random draw are arguments. [`ConnectGate`] is the one that all shards ask;
//! it locks, since a handshake is not the path of requests.

use std::sync::{Mutex, PoisonError};

use crate::base::{Millis, splitmix64};
use crate::config;

/// The bucket.
#[derive(Clone, PartialEq, Debug)]
pub struct ConnectThrottle {
    /// Tokens of a full bucket.
    tokens_max: i64,
    tokens: i64,
    fill_time_ms: i64,
    fill_count: i64,
    filled: Millis,
    /// Between two changes of the probability, ms; `None`: nobody is dropped at random.
    freeze_time_ms: Option<u64>,
    frozen: Millis,
    drop_increase: f64,
    drop_decrease: f64,
    decrease_ratio: f64,
    drop_probability: f64,
    new_session: i64,
    renewal: i64,
}

impl ConnectThrottle {
    /// A full bucket as configured; `None` when connect requests are not throttled. With weights, tokens and refill are
    /// those of new sessions of all servers: both are multiplied by what such a one costs, and nothing costs less than a
    /// local session. `local_sessions`: new ones are local.
    pub fn new(
        config: &config::ConnectThrottle,
        local_sessions: bool,
        now: Millis,
    ) -> Option<ConnectThrottle> {
        let tokens = i64::from(config.tokens?);
        let local = i64::from(config.local_session_weight);
        let (global, renewal) = match config.weighted {
            true => (
                i64::from(config.global_session_weight).max(local),
                i64::from(config.renew_session_weight).max(local),
            ),
            false => (1, 1),
        };
        let new_session = if config.weighted && local_sessions { local } else { global };
        Some(ConnectThrottle {
            tokens_max: tokens * global,
            tokens: tokens * global,
            fill_time_ms: i64::from(config.fill_time_ms),
            fill_count: i64::from(config.fill_count) * global,
            filled: now,
            freeze_time_ms: config.freeze_time_ms.map(u64::from),
            frozen: now,
            drop_increase: config.drop_increase,
            drop_decrease: config.drop_decrease,
            decrease_ratio: config.decrease_ratio,
            drop_probability: 0.0,
            new_session,
            renewal,
        })
    }

    /// Takes the tokens of a connect request, or says no. `draw` is uniform in [0, 1) (stock
    /// `BlueThrottle.checkLimit`).
    pub fn admit(&mut self, renewal: bool, now: Millis, draw: f64) -> bool {
        let need = if renewal { self.renewal } else { self.new_session };
        let passed = i64::try_from(now.since(self.filled)).unwrap_or(i64::MAX);
        if passed > self.fill_time_ms {
            let refill = passed.saturating_mul(self.fill_count) / self.fill_time_ms;
            self.tokens = self.tokens.saturating_add(refill).min(self.tokens_max);
            self.filled = now;
        }
        if self.freeze_time_ms.is_some_and(|freeze_ms| self.drops(freeze_ms, now, draw)) {
            return false;
        }
        if self.tokens < need {
            return false;
        }
        self.tokens -= need;
        true
    }

    /// Whether the draw falls on this request (stock `BlueThrottle.checkBlue`).
    fn drops(&mut self, freeze_ms: u64, now: Millis, draw: f64) -> bool {
        if now.since(self.frozen) > freeze_ms {
            let calm = (self.tokens_max as f64 * self.decrease_ratio).round() as i64;
            if self.tokens == 0 && self.drop_probability < 1.0 {
                self.drop_probability = (self.drop_probability + self.drop_increase).min(1.0);
            } else if self.deficit() <= calm && self.drop_probability > 0.0 {
                self.drop_probability = (self.drop_probability - self.drop_decrease).max(0.0);
            }
            self.frozen = now;
        }
        draw < self.drop_probability
    }

    /// Tokens that a full bucket has more than this.
    pub fn deficit(&self) -> i64 {
        self.tokens_max - self.tokens
    }

    /// How likely the next request is dropped, in [0, 1].
    pub fn drop_probability(&self) -> f64 {
        self.drop_probability
    }
}

/// The server's bucket, for all shards.
#[derive(Debug)]
pub struct ConnectGate(Mutex<(ConnectThrottle, u64)>);

impl ConnectGate {
    /// Draws come from `seed`.
    pub fn new(throttle: ConnectThrottle, seed: u64) -> ConnectGate {
        ConnectGate(Mutex::new((throttle, seed)))
    }

    /// As [`ConnectThrottle::admit`]. Gives the deficit that is left when the request is admitted.
    pub fn admit(&self, renewal: bool, now: Millis) -> Option<u64> {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (throttle, seed) = &mut *inside;
        let draw = draw(seed);
        throttle.admit(renewal, now, draw).then(|| throttle.deficit().unsigned_abs())
    }

    /// As [`ConnectThrottle::drop_probability`].
    pub fn drop_probability(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.drop_probability()
    }
}

/// Uniform in [0, 1): the upper 53 bits are the fraction.
fn draw(seed: &mut u64) -> f64 {
    (splitmix64(seed) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: config::ConnectThrottle = config::ConnectThrottle {
        tokens: None,
        fill_time_ms: 1,
        fill_count: 1,
        freeze_time_ms: None,
        drop_increase: 0.02,
        drop_decrease: 0.002,
        decrease_ratio: 0.0,
        weighted: false,
        global_session_weight: 3,
        renew_session_weight: 2,
        local_session_weight: 1,
    };

    const NEW: bool = false;
    const RENEWAL: bool = true;

    fn bucket(config: config::ConnectThrottle) -> ConnectThrottle {
        ConnectThrottle::new(&config, false, Millis(1000)).expect("throttled")
    }

    /// Asks at each time; a draw of 1 is dropped by no probability.
    #[track_caller]
    fn check(throttle: &mut ConnectThrottle, table: &[(u64, bool, bool, i64)]) {
        for (row, &(at, renewal, admitted, deficit)) in table.iter().enumerate() {
            assert_eq!(throttle.admit(renewal, Millis(at), 1.0), admitted, "row {row}, at {at}");
            assert_eq!(throttle.deficit(), deficit, "row {row}, at {at}");
        }
    }

    #[test]
    fn no_tokens_configured_is_no_throttle() {
        assert_eq!(ConnectThrottle::new(&OFF, false, Millis(0)), None);
    }

    #[test]
    fn a_burst_empties_the_bucket_and_time_fills_it() {
        let mut throttle =
            bucket(config::ConnectThrottle { tokens: Some(2), fill_time_ms: 10, fill_count: 1, ..OFF });
        check(
            &mut throttle,
            &[
                (1000, NEW, true, 1),
                (1000, RENEWAL, true, 2),
                (1000, NEW, false, 2),
                // Stock asks for more than the fill time, and then counts from the start of it.
                (1010, NEW, false, 2),
                (1011, NEW, true, 2),
                // What a refill is short of a whole token is lost with it: the time starts again.
                (1030, NEW, true, 2),
                (1041, NEW, true, 2),
                // No more than a full bucket.
                (9_999_999, NEW, true, 1),
            ],
        );
    }

    #[test]
    fn refills_beyond_any_number_fill_the_bucket() {
        let mut throttle =
            bucket(config::ConnectThrottle { tokens: Some(1), fill_count: i32::MAX as u32, ..OFF });
        check(&mut throttle, &[(1000, NEW, true, 1), (u64::MAX, NEW, true, 1)]);
    }

    #[test]
    fn weights_multiply_the_bucket_by_what_a_new_session_costs() {
        let weighted = config::ConnectThrottle { tokens: Some(2), fill_time_ms: 10, weighted: true, ..OFF };
        check(
            &mut bucket(weighted),
            &[
                (1000, NEW, true, 3),
                (1000, RENEWAL, true, 5),
                (1000, RENEWAL, false, 5),
                (1000, NEW, false, 5),
                (1011, NEW, true, 5),
            ],
        );
        let mut local = ConnectThrottle::new(&weighted, true, Millis(1000)).expect("throttled");
        check(&mut local, &[(1000, NEW, true, 1), (1000, RENEWAL, true, 3), (1000, NEW, true, 4)]);
        // Nothing costs less than a local session.
        let dear = config::ConnectThrottle { local_session_weight: 7, ..weighted };
        check(&mut bucket(dear), &[(1000, RENEWAL, true, 7), (1000, NEW, true, 14), (1000, NEW, false, 14)]);
    }

    #[test]
    fn the_probability_rises_on_an_empty_bucket_and_falls_on_a_full_one() {
        let mut throttle = bucket(config::ConnectThrottle {
            tokens: Some(2),
            fill_time_ms: 1000,
            fill_count: 2,
            freeze_time_ms: Some(10),
            drop_increase: 0.5,
            drop_decrease: 0.25,
            decrease_ratio: 0.5,
            ..OFF
        });
        // at, draw, admitted, probability after
        let table = [
            (1000, 0.0, true, 0.0),
            (1000, 0.0, true, 0.0),
            (1010, 1.0, false, 0.0), // frozen still: more than the freeze time must have passed
            (1011, 1.0, false, 0.5),
            (1012, 0.0, false, 0.5),
            (1022, 1.0, false, 1.0),
            (1033, 1.0, false, 1.0),  // no more than 1
            (2001, 0.99, true, 0.75), // full: falls; the draw is not below it
            (2012, 0.5, true, 0.5),   // one lacks, which is half the bucket: calm, falls
            (2023, 0.99, false, 1.0), // empty
        ];
        for (row, (at, draw, admitted, probability)) in table.into_iter().enumerate() {
            let verdict = throttle.admit(NEW, Millis(at), draw);
            assert_eq!((verdict, throttle.drop_probability()), (admitted, probability), "row {row}");
        }
    }

    #[test]
    fn a_dropped_request_takes_no_token() {
        let mut throttle = bucket(config::ConnectThrottle {
            tokens: Some(1),
            fill_time_ms: 100,
            freeze_time_ms: Some(1),
            drop_increase: 0.5,
            ..OFF
        });
        assert!(throttle.admit(NEW, Millis(1000), 0.0));
        assert!(!throttle.admit(NEW, Millis(1002), 1.0), "empty: the probability is 0.5 from here on");
        assert!(!throttle.admit(NEW, Millis(1101), 0.4), "dropped");
        assert_eq!(throttle.deficit(), 0);
        assert!(throttle.admit(NEW, Millis(1101), 0.5));
    }

    #[test]
    fn draws_are_spread_over_0_to_1() {
        let mut seed = 7;
        let draws: Vec<f64> = (0..1000).map(|_| draw(&mut seed)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
