#![forbid(unsafe_code)]
//! Whether a server that speaks of elections holds the list of another ensemble (reliability F28, S28). Every notification has
//! its sender's list behind it. Lists may differ: a server moves by one restart after another, a host has several names, one
//! server knows itself by an address that others do not. But where two ensembles share an entry, a server of both lists would
//! be a voter of both, and could lead one into overwriting what the other has acknowledged.

use std::net::IpAddr;

use super::{Address, Server};
use crate::base::ServerId;
use crate::base::limits::LINK_LIST_BYTES_MAX;
use crate::config::ConfigDocument;

/// Whether `sender`, by this list, belongs to another ensemble: it or we are where both lists say, in one spelling, the other
/// of us is not, and neither are most of the others that both name. `None`: the list cannot be read, is longer than any, or
/// is one of a reconfiguration.
pub(super) fn is_foreign(ours: &[Server], me: ServerId, sender: ServerId, theirs: &[u8]) -> Option<bool> {
    // Reading takes the sequencer's time, and whoever reaches the port may send as much as a notification holds.
    if theirs.len() > LINK_LIST_BYTES_MAX {
        return None;
    }
    let theirs = ConfigDocument::parse(theirs, true).ok().filter(|document| document.version == 0)?;
    let (mut ends_there, mut ends_elsewhere, mut elsewhere, mut named) = (0, 0, 0, 0);
    for server in ours {
        let Some(member) = theirs.members.get(&server.id) else { continue };
        let any = |holds: fn(&Address, (&str, u16)) -> bool| {
            let mut places = member.addresses.iter().map(|place| (&*place.host, place.election_port));
            places.any(|place| server.election.iter().any(|own| holds(own, place)))
        };
        let differs = !any(may_be);
        if server.id == me || server.id == sender {
            ends_there += u32::from(any(is));
            ends_elsewhere += u32::from(differs);
        } else {
            named += 1;
            elsewhere += u32::from(differs);
        }
    }
    Some(ends_there == 1 && ends_elsewhere == 1 && 2 * elsewhere > named)
}

/// Whether both are the same place for sure.
fn is(own: &Address, (host, port): (&str, u16)) -> bool {
    let stands_for_all = literal(host).is_some_and(|address| address.is_unspecified());
    own.host.eq_ignore_ascii_case(host) && own.port == port && !stands_for_all
}

/// Whether both may be the same place: an address may be that of a name, one that stands for all is anybody's, and a name
/// without a domain may be short for one that begins with it.
fn may_be(own: &Address, (host, port): (&str, u16)) -> bool {
    let same_host = match (literal(&own.host), literal(host)) {
        (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
        (None, None) => may_be_named(&own.host, host),
        _ => true,
    };
    same_host && own.port == port
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

fn may_be_named(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|name| name.strip_suffix('.').unwrap_or(name));
    let first = |name: &str| name.split_once('.').map(|(first, _)| first.to_owned());
    let is_short_for =
        |short: &str, long: &str| first(long).is_some_and(|first| first.eq_ignore_ascii_case(short));
    one.eq_ignore_ascii_case(other) || is_short_for(one, other) || is_short_for(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers 1 to n at these hosts.
    fn list(hosts: &str) -> Vec<Server> {
        let server = |(at, host): (usize, &str)| {
            let (host, port) = host.split_once('/').unwrap_or((host, "3888"));
            let place = |port| vec![Address { host: host.into(), port }];
            let id = ServerId(at as i64 + 1);
            Server { id, quorum: place(2888), election: place(port.parse().unwrap()) }
        };
        hosts.split(' ').enumerate().map(server).collect()
    }

    fn document(hosts: &str) -> String {
        let line = |server: &Server| {
            let Address { host, port } = &server.election[0];
            format!("server.{}={host}:2888:{port}:participant\n", server.id.0)
        };
        list(hosts).iter().map(line).collect::<String>() + "version=0"
    }

    #[test]
    fn a_list_of_another_ensemble_is_told_from_one_that_changes() {
        // What we, server 2, make of server 1; and it, with the lists exchanged, of us.
        let check = |ours: &str, theirs: &str, expected| {
            let (us, it) = (ServerId(2), ServerId(1));
            let found = is_foreign(&list(ours), us, it, document(theirs).as_bytes());
            let of_us = is_foreign(&list(theirs), it, us, document(ours).as_bytes());
            assert_eq!((found, of_us), (Some(expected), Some(expected)), "{ours} {theirs}");
        };
        check("a b c", "a b c", false);
        check("a b c", "A b C", false);
        // Two ensembles, one entry.
        check("a b c", "d b e", true);
        check("10.0.0.1 10.0.0.2 10.0.0.3", "10.0.1.1 10.0.0.2 10.0.1.3", true);
        check("h h/3889 h/3890", "h/4888 h/3889 h/4890", true);
        check("a b c d e", "f b c g h", true);
        check("a.prod b.prod c.prod", "a.test b.prod c.test", true);
        // One server after another moves, or has moved.
        check("a b c", "d b c", false);
        check("a b c", "a d c", false);
        check("a b c", "a b d", false);
        check("a b c d e", "f b g d e", false);
        // Everybody is called otherwise from now on.
        check("a.net b.net c.net", "a.org b.org c.org", false);
        // One name in several forms.
        check("a b c", "A.net b c.net.", false);
        // Who knows itself by another address.
        check("10.0.0.1 b c", "a 10.0.0.2 c", false);
        check("0.0.0.0 b 10.0.0.3", "10.0.0.1 0.0.0.0 10.0.0.3", false);
        // ... while everybody is called otherwise from now on.
        check("0.0.0.0 b.net c.net", "a.org b.org c.org", false);
        check("10.0.0.1 10.0.0.2 10.0.0.3", "a b c", false);
        // More servers, and fewer.
        check("a b c", "a b c d e", false);
        check("a b c d e", "a b c", false);
        check("a b", "d b", false);
    }

    #[test]
    fn a_list_that_cannot_be_read_or_came_of_a_reconfiguration_says_nothing() {
        let check = |theirs: &str| {
            assert_eq!(
                is_foreign(&list("a b c"), ServerId(2), ServerId(1), theirs.as_bytes()),
                None,
                "{theirs}"
            );
        };
        let padding = format!("#{}\n", "x".repeat(LINK_LIST_BYTES_MAX));
        check(&(padding + &document("d b e")));
        check("server.1=d");
        check("server.1=d:2888:3888\nserver.2=b:2888:3888\nserver.3=e:2888:3888\nversion=100000001");
    }
}
