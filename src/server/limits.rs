#![forbid(unsafe_code)]
//! Limits that stock does not have (`ringkeeper.max*`; reliability §7, DESIGN §8): each is off unless it is set, and off
//! it costs a branch.
//!
//! Lives on: all shards. [`Bounds`] looks at one request; [`RateGate`] counts for the whole server and locks, since
//! neither handshakes nor words are the path of requests. Connections without a session are counted in `registry.rs`,
//! syncs in flight in `admission.rs`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::base::{Millis, limits};
use crate::config::Own;
use crate::wire::OpCode;
use crate::wire::request::{MultiOp, ReadOp, Request};

/// How large the parts of a request may be; what is beyond is answered with BadArguments (-8), in its turn.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Whether any of them is set.
    pub is_on: bool,
    multi_ops_max: usize,
    path_bytes_max: usize,
    path_depth_max: usize,
}

impl Bounds {
    /// As configured.
    pub fn new(own: &Own) -> Bounds {
        let max = |limit: Option<u32>| limit.map_or(usize::MAX, |limit| limit as usize);
        Bounds {
            is_on: own.multi_ops_max.is_some()
                || own.path_bytes_max.is_some()
                || own.path_depth_max.is_some(),
            multi_ops_max: max(own.multi_ops_max),
            path_bytes_max: max(own.path_bytes_max),
            path_depth_max: max(own.path_depth_max),
        }
    }

    /// Whether the request is beyond one of them. One that does not decode is refused elsewhere.
    pub(super) fn refuse(&self, op: OpCode, body: &[u8]) -> bool {
        let Ok(request) = Request::decode(op, body) else { return false };
        let ops = match &request {
            Request::Multi(ops) => ops.len(),
            Request::MultiRead(ops) => ops.len(),
            _ => 0,
        };
        ops > self.multi_ops_max || paths(&request).iter().any(|path| self.is_beyond(path))
    }

    fn is_beyond(&self, path: &[u8]) -> bool {
        let depth = match path {
            b"/" => 0,
            path => path.iter().filter(|byte| **byte == b'/').count(),
        };
        path.len() > self.path_bytes_max || depth > self.path_depth_max
    }
}

/// Every path that the request names.
fn paths<'a>(request: &Request<'a>) -> Vec<&'a [u8]> {
    let one = match request {
        Request::Create(_, create) => create.path,
        Request::Delete(delete) => delete.path,
        Request::SetData(set) => set.path,
        Request::SetAcl(set) => set.path,
        Request::Exists(read)
        | Request::GetData(read)
        | Request::GetChildren(read)
        | Request::GetChildren2(read) => read.path,
        Request::CheckWatches(watch) | Request::RemoveWatches(watch) | Request::AddWatch(watch) => watch.path,
        Request::DeleteContainer(path)
        | Request::GetAcl(path)
        | Request::Sync(path)
        | Request::GetEphemerals(path)
        | Request::GetAllChildrenNumber(path) => *path,
        Request::Multi(ops) => {
            let path = |op: &MultiOp<'a>| match op {
                MultiOp::Create(_, create) => create.path,
                MultiOp::Delete(of) | MultiOp::Check(of) => of.path,
                MultiOp::SetData(set) => set.path,
            };
            return ops.iter().filter_map(path).collect();
        }
        Request::MultiRead(ops) => {
            let path = |op: &ReadOp<'a>| match op {
                ReadOp::GetChildren(path) | ReadOp::GetData(path) => *path,
                ReadOp::Write => None,
            };
            return ops.iter().filter_map(path).collect();
        }
        Request::SetWatches(set) => return set.lists.iter().flatten().flatten().copied().flatten().collect(),
        Request::Ping
        | Request::Reconfig(_)
        | Request::Auth(_)
        | Request::Sasl(_)
        | Request::WhoAmI
        | Request::CreateSession(_)
        | Request::CloseSession => None,
    };
    one.into_iter().collect()
}

/// So many a second, in all and from one address; counted anew each second of the server's clock.
#[derive(Debug)]
pub struct RateGate {
    in_all_max: Option<u32>,
    per_address_max: Option<u32>,
    second: Mutex<Second>,
}

#[derive(Debug, Default)]
struct Second {
    number: u64,
    in_all: u32,
    /// Only of those that were admitted, so that it holds no more than `in_all`.
    by_address: HashMap<IpAddr, u32>,
}

impl RateGate {
    /// `None` without a limit.
    pub fn new(in_all_max: Option<u32>, per_address_max: Option<u32>) -> Option<RateGate> {
        in_all_max.or(per_address_max)?;
        Some(RateGate { in_all_max, per_address_max, second: Mutex::default() })
    }

    /// Counts one in, or says no.
    pub fn admit(&self, address: IpAddr, now: Millis) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.0 / 1000;
        if second.number != number {
            second.number = number;
            second.in_all = 0;
            second.by_address.clear();
        }
        if self.in_all_max.is_some_and(|max| second.in_all >= max) {
            return false;
        }
        if let Some(max) = self.per_address_max {
            // IPv4 peers of an IPv6 socket count as IPv4.
            let count = second.by_address.entry(address.to_canonical()).or_insert(0);
            if *count >= max {
                return false;
            }
            *count += 1;
        }
        second.in_all = second.in_all.saturating_add(1);
        true
    }
}

/// Who guessed at the super user's password too often, by address (of IPv6, the /64): for some time its clients are closed when they try, right or wrong
/// (reliability M49). Not a setting: nobody mistypes a password ten times in a second.
#[derive(Debug, Default)]
pub struct GuessGate {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: HashMap<IpAddr, Guesses>,
    swept: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Guesses {
    first: Millis,
    count: u32,
    shut_until: Millis,
}

impl GuessGate {
    /// Whether clients at `address` may try.
    pub fn admits(&self, address: IpAddr, now: Millis) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.addresses.get(&network(address)).is_none_or(|guesses| guesses.shut_until <= now)
    }

    /// Counts a failure. True when it is the one that shuts the address out. With too many addresses in one second, the
    /// new ones are not counted.
    pub fn failed(&self, address: IpAddr, now: Millis) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { addresses, swept } = &mut *known;
        let address = network(address);
        if addresses.len() >= limits::GUESSING_ADDRESSES && !addresses.contains_key(&address) {
            if now.since(*swept) >= 1000 {
                *swept = now;
                addresses.retain(|_, guesses| guesses.shut_until > now || now.since(guesses.first) < 1000);
            }
            if addresses.len() >= limits::GUESSING_ADDRESSES {
                return false;
            }
        }
        let fresh = Guesses { first: now, count: 0, shut_until: Millis(0) };
        let guesses = addresses.entry(address).or_insert(fresh);
        if now.since(guesses.first) >= 1000 {
            *guesses = Guesses { shut_until: guesses.shut_until, ..fresh };
        }
        guesses.count += 1;
        let is_last = guesses.count == limits::AUTH_FAILURES_PER_SECOND;
        if is_last {
            guesses.shut_until = now.plus(limits::AUTH_SHUT_OUT_MS);
        }
        is_last
    }
}

/// What one host may choose its address from: IPv4 peers of an IPv6 socket count as IPv4.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            std::net::Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

/// The gates of a server.
#[derive(Debug, Default)]
pub struct Rates {
    /// Guesses at the super user.
    pub guesses: GuessGate,
    /// `ringkeeper.maxSessionCreationsPerSecond…`: connect requests that ask for a new session.
    pub creations: Option<RateGate>,
    /// `ringkeeper.maxWordsPerSecond`: four-letter words.
    pub words: Option<RateGate>,
}

impl Rates {
    /// As configured.
    pub fn new(own: &Own) -> Rates {
        Rates {
            guesses: GuessGate::default(),
            creations: RateGate::new(
                own.session_creations_per_second,
                own.session_creations_per_second_per_address,
            ),
            words: RateGate::new(own.words_per_second, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_in_a_second_shut_an_address_out_for_ten() {
        let gate = GuessGate::default();
        let (guesser, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        // Nine a second, for ever.
        for second in 0..3 {
            assert!((0..9).all(|n| !gate.failed(guesser, Millis(second * 1000 + n * 10))));
        }
        assert!((0..9).all(|n| !gate.failed(guesser, Millis(5_000 + n))));
        assert!(gate.admits(guesser, Millis(5_500)));
        assert!(gate.failed(guesser, Millis(5_999)));
        assert!(!gate.admits(guesser, Millis(6_000)) && gate.admits(other, Millis(6_000)));
        assert!(!gate.admits(guesser, Millis(15_998)) && gate.admits(guesser, Millis(15_999)));
    }

    #[test]
    fn addresses_that_failed_long_ago_are_forgotten() {
        let gate = GuessGate::default();
        for n in 0..3 * limits::GUESSING_ADDRESSES as u64 {
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(n as u32));
            // All at once, too.
            gate.failed(address, Millis(n / 2));
        }
        assert!(gate.known.lock().unwrap().addresses.len() <= limits::GUESSING_ADDRESSES);
    }

    use crate::wire::jute::Writer;

    const OFF: Bounds = Bounds {
        is_on: true,
        multi_ops_max: usize::MAX,
        path_bytes_max: usize::MAX,
        path_depth_max: usize::MAX,
    };

    fn delete(path: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.string(path);
        body.int(-1);
        body
    }

    fn multi(op: OpCode, bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            out.int(op as i32);
            out.push(0);
            out.int(-1);
            out.extend_from_slice(body);
        }
        out.int(-1);
        out.push(1);
        out.int(-1);
        out
    }

    #[test]
    fn paths_have_a_length_and_a_depth() {
        let bytes = Bounds { path_bytes_max: 4, ..OFF };
        let depth = Bounds { path_depth_max: 2, ..OFF };
        let check = |bounds: &Bounds, path: &[u8], refused| {
            assert_eq!(bounds.refuse(OpCode::Delete, &delete(path)), refused, "{path:?}");
            assert_eq!(
                bounds.refuse(OpCode::Multi, &multi(OpCode::Delete, &[delete(b"/"), delete(path)])),
                refused
            );
        };
        check(&OFF, &[b'/'; 5000], false);
        check(&bytes, b"/abc", false);
        check(&bytes, b"/abcd", true);
        check(&depth, b"/", false);
        check(&depth, b"/abcd/e", false);
        check(&depth, b"/a/b/c", true);
        // A set of watches is judged by every path in it.
        let mut body = Vec::new();
        body.extend_from_slice(&0i64.to_be_bytes());
        for list in [&[][..], &[b"/a".as_slice(), b"/a/b/c"], &[]] {
            body.int(list.len() as i32);
            list.iter().for_each(|path| body.string(path));
        }
        assert!(depth.refuse(OpCode::SetWatches, &body));
        assert!(!bytes.refuse(OpCode::SetWatches, &body[..20]), "what does not decode is refused elsewhere");
    }

    #[test]
    fn a_multi_has_so_many_operations_at_most() {
        let bounds = Bounds { multi_ops_max: 2, ..OFF };
        let ops = |count| vec![delete(b"/a"); count];
        assert!(!bounds.refuse(OpCode::Multi, &multi(OpCode::Delete, &ops(2))));
        assert!(bounds.refuse(OpCode::Multi, &multi(OpCode::Delete, &ops(3))));
        assert!(bounds.refuse(OpCode::MultiRead, &multi(OpCode::Delete, &ops(3))));
    }

    #[test]
    fn a_second_admits_so_many_in_all_and_from_one_address() {
        assert!(RateGate::new(None, None).is_none());
        let [a, b, mapped] = ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1"]
            .map(|text| text.parse::<IpAddr>().expect("an address"));
        let gate = RateGate::new(Some(3), Some(2)).expect("limited");
        // at, from, admitted
        let table = [
            (1000, a, true),
            (1999, mapped, true),
            (1999, a, false),
            (1999, b, true),
            (1999, b, false),
            (2000, a, true),
            (2000, b, true),
            (2999, b, true),
            (2999, a, false),
            (9000, a, true),
        ];
        for (row, (at, from, admitted)) in table.into_iter().enumerate() {
            assert_eq!(gate.admit(from, Millis(at)), admitted, "row {row}");
        }
        let second = gate.second.lock().expect("nobody panicked");
        assert_eq!(second.by_address.len(), 1, "those of earlier seconds are forgotten");
    }
}
