#![forbid(unsafe_code)]
//! The `ip` scheme (stock `IPAuthenticationProvider`, client-protocol §8.3): a connection's address as Java prints it,
//! and ACL entries that name an address or a network. IPv6 entries as from 3.9.4 on.

use std::fmt::Write as _;
use std::net::IpAddr;

/// The address of a peer as Java's `getHostAddress` prints it: dotted quad, also for an IPv4 address mapped into IPv6;
/// else eight groups of hexadecimal digits without leading zeros and without `::`, and `%scope` if `scope` is not 0.
pub fn host_address(address: IpAddr, scope: u32) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let mut text = String::with_capacity(39);
            for (n, group) in v6.segments().into_iter().enumerate() {
                let separator = if n == 0 { "" } else { ":" };
                write!(text, "{separator}{group:x}").expect("writing to a String does not fail");
            }
            if scope != 0 {
                write!(text, "%{scope}").expect("writing to a String does not fail");
            }
            text
        }
    }
}

/// Whether an ACL may hold this id: an address, or `address/bits`.
pub fn is_valid_id(id: &[u8]) -> bool {
    network(id).is_some()
}

/// Whether the connection with identity `peer` is in the network that the ACL entry `id` names. Families never match
/// each other, and a scoped address is in no network.
pub fn matches(peer: &[u8], id: &[u8]) -> bool {
    match (network(id), address(peer)) {
        (Some((Address::V4(net), bits)), Some(Address::V4(peer))) => prefix_matches(&net, &peer, bits),
        (Some((Address::V6(net), bits)), Some(Address::V6(peer))) => prefix_matches(&net, &peer, bits),
        _ => false,
    }
}

enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

fn network(id: &[u8]) -> Option<(Address, u32)> {
    let mut parts = id.splitn(2, |&b| b == b'/');
    let address = address(parts.next()?)?;
    let bits_max = match address {
        Address::V4(_) => 32,
        Address::V6(_) => 128,
    };
    let bits = match parts.next() {
        Some(text) => u32::try_from(parse_int(text, 10)?).ok().filter(|&bits| bits <= bits_max)?,
        None => bits_max,
    };
    Some((address, bits))
}

fn address(text: &[u8]) -> Option<Address> {
    if text.contains(&b':') {
        v6(text).map(Address::V6)
    } else if text.contains(&b'.') {
        v4(text).map(Address::V4)
    } else {
        None
    }
}

fn v4(text: &[u8]) -> Option<[u8; 4]> {
    let mut parts = text.split(|&b| b == b'.');
    let mut bytes = [0; 4];
    for byte in &mut bytes {
        *byte = u8::try_from(parse_int(parts.next()?, 10)?).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// At most one `::`, which stands for one group of zeros or more; every other group has 1 to 4 digits. No dotted tail.
fn v6(text: &[u8]) -> Option<[u8; 16]> {
    let text = std::str::from_utf8(text).ok()?;
    let mut bytes = [0; 16];
    match text.split_once("::") {
        None => {
            let groups = groups(text)?;
            bytes = <[u8; 16]>::try_from(groups.as_slice()).ok()?;
        }
        Some((head, tail)) => {
            let (head, tail) = (groups(head)?, groups(tail)?);
            if head.len() + tail.len() >= 16 {
                return None;
            }
            bytes[..head.len()].copy_from_slice(&head);
            bytes[16 - tail.len()..].copy_from_slice(&tail);
        }
    }
    Some(bytes)
}

/// The bytes of a run of groups; none for an empty text, which is one side of a `::`.
fn groups(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    if text.is_empty() {
        return Some(bytes);
    }
    for group in text.split(':') {
        if group.is_empty() || group.len() > 4 || bytes.len() == 16 {
            return None;
        }
        // Java's parser takes a sign, so that `-1` is the group ffff.
        bytes.extend_from_slice(&(parse_int(group.as_bytes(), 16)? as u16).to_be_bytes());
    }
    Some(bytes)
}

/// Java's `Integer.parseInt` for ASCII: an optional sign and at least one digit, within 32 bits.
fn parse_int(text: &[u8], radix: u32) -> Option<i32> {
    i32::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

fn prefix_matches(net: &[u8], peer: &[u8], bits: u32) -> bool {
    let whole = (bits / 8) as usize;
    let mask = !(0xffu32 >> (bits % 8)) as u8;
    net[..whole] == peer[..whole] && net.iter().zip(peer).nth(whole).is_none_or(|(n, p)| (n ^ p) & mask == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_java_prints_them() {
        for (address, scope, expected) in [
            ("127.0.0.1", 0, "127.0.0.1"),
            ("::ffff:10.1.2.3", 0, "10.1.2.3"),
            ("::1", 0, "0:0:0:0:0:0:0:1"),
            ("2001:0DB8::00a0:1", 0, "2001:db8:0:0:0:0:a0:1"),
            ("fe80::1", 2, "fe80:0:0:0:0:0:0:1%2"),
        ] {
            assert_eq!(host_address(address.parse().expect(address), scope), expected);
        }
    }

    #[test]
    fn acl_ids_are_addresses_and_networks() {
        for valid in [
            "1.2.3.4",
            "0.0.0.0/0",
            "1.2.3.4/32",
            "10.0.0.0/+8",
            "+1.-0.3.4",
            "001.2.3.4",
            "::",
            "::1",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2::7:8/64",
            "ABCD::ef01/128",
            "::/0",
            "1:2:3:4:5:6:7:-1",
        ] {
            assert!(is_valid_id(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "",
            "localhost",
            "1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.-1",
            "1.2.3.",
            ".1.2.3",
            "1.2.3.4/",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/8/8",
            "1.2.3.4/x",
            "1.2.3.4 ",
            ":",
            ":::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "1:2:3:4::5:6:7:8",
            "12345::",
            "g::",
            "::1.2.3.4",
            "::1/129",
            "fe80::1%2",
            "\u{ff11}.2.3.4",
        ] {
            assert!(!is_valid_id(invalid.as_bytes()), "{invalid}");
        }
        assert!(!is_valid_id(b"\xff:\xff::"));
    }

    #[test]
    fn a_network_admits_its_own() {
        for (peer, id, expected) in [
            ("127.0.0.1", "127.0.0.0/8", true),
            ("127.0.0.1", "10.0.0.0/8", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.1.255.7", "10.1.128.0/17", true),
            ("10.1.127.7", "10.1.128.0/17", false),
            ("10.1.2.3", "10.1.2.2/31", true),
            ("8.8.8.8", "1.1.1.1/0", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", false),
            ("127.0.0.1", "::/0", false),
            ("2001:db8:0:0:0:0:a0:1", "2001:db8::/33", true),
            ("2001:db8:8000:0:0:0:a0:1", "2001:db8::/33", false),
            ("2001:db8:8000:0:0:0:a0:1", "2001:db8:8000::a0:1/128", true),
            ("fe80:0:0:0:0:0:0:1%2", "::/0", false),
        ] {
            assert_eq!(matches(peer.as_bytes(), id.as_bytes()), expected, "{peer} in {id}");
        }
    }
}
