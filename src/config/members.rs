#![forbid(unsafe_code)]
//! `server.N` lines: `QuorumServer.initializeWithAddressString` of 3.9, quirks included (ensemble-protocol §1.2).
//!
//! ```text
//! server.<sid> = <addr> [ '|' <addr> ]* [ ';' [<client>] ]
//! <addr>       = host ':' quorumPort ':' electionPort [ ':' role ]
//! <role>       = participant | observer        (any letter case; participant if absent)
//! <client>     = [ host ':' ] port             (host 0.0.0.0 if absent)
//! host         = name | IPv4 | '[' IPv6 ']'
//! ```

use std::fmt;

use super::checked::{Host, ListenAddress};
use crate::base::ServerId;

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// Votes.
    Participant,
    /// Learns only.
    Observer,
}

/// One address of a server: where its peers reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// Name or address, without brackets.
    pub host: Box<str>,
    /// Followers connect to the leader here.
    pub quorum_port: u16,
    /// Votes travel here.
    pub election_port: u16,
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// N.
    pub id: ServerId,
    /// At least one; several only with `multiAddress.enabled=true`. In the order written.
    pub addresses: Vec<PeerAddress>,
    /// Participant unless a part of the line says otherwise.
    pub role: MemberRole,
    /// Where clients reach it, if the line says so.
    pub client: Option<ListenAddress>,
}

impl fmt::Display for Member {
    /// The canonical text (`QuorumServer.toString`): addresses sorted by host, one role, then the client address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<&PeerAddress> = self.addresses.iter().collect();
        addresses.sort();
        for (nth, address) in addresses.iter().enumerate() {
            let bar = if nth > 0 { "|" } else { "" };
            let host = if address.host.contains(':') {
                format!("[{}]", address.host)
            } else {
                address.host.to_string()
            };
            write!(f, "{bar}{host}:{}:{}", address.quorum_port, address.election_port)?;
        }
        match self.role {
            MemberRole::Participant => f.write_str(":participant")?,
            MemberRole::Observer => f.write_str(":observer")?,
        }
        match &self.client {
            Some(client) => write!(f, ";{client}"),
            None => Ok(()),
        }
    }
}

/// Parses the value of `server.<id>`. The error is stock's text.
pub(super) fn parse_member(id: &str, line: &str, multi_address: bool) -> Result<Member, String> {
    let id = id.parse::<i64>().map_err(|_| format!("For input string: \"{}\"", super::error::shown(id)))?;
    let line_shown = super::error::shown(line);
    let malformed = || {
        format!(
            "{line_shown} does not have the form server_config or server_config;client_config \
             where server_config is the pipe separated list of host:port:port or host:port:port:type \
             and client_config is port or host:port"
        )
    };
    let parts = java_split(line, ';');
    // 3.9 knows one `;` only; the secure part came with 3.10.
    if parts.len() > 2 {
        return Err(malformed());
    }
    let client = match parts.get(1).filter(|part| !part.is_empty()) {
        Some(part) => Some(parse_client(part, &malformed)?),
        None => None,
    };
    let written = java_split(parts.first().unwrap_or(&""), '|');
    if written.len() > 1 && !multi_address {
        return Err(format!(
            "Multiple address feature is disabled, but multiple addresses were specified for sid {id}"
        ));
    }
    let mut addresses = Vec::new();
    let mut role = None;
    for part in written {
        let pieces = host_and_ports(part)?;
        if !(3..=4).contains(&pieces.len()) {
            return Err(malformed());
        }
        let port = |at: usize| port(&pieces[at]).ok_or_else(|| unresolved(&pieces[0], &pieces[at]));
        let address =
            PeerAddress { host: pieces[0].as_str().into(), quorum_port: port(1)?, election_port: port(2)? };
        if address.quorum_port == address.election_port {
            return Err(format!(
                "Client and election port must be different! Please update the configuration file on server.{id}"
            ));
        }
        if let Some(word) = pieces.get(3) {
            let found = parse_role(word)?;
            if *role.get_or_insert(found) != found {
                return Err("Multiple addresses should have similar roles".to_owned());
            }
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(malformed());
    }
    Ok(Member { id: ServerId(id), addresses, role: role.unwrap_or(MemberRole::Participant), client })
}

/// `participant` or `observer`, any case, trimmed.
fn parse_role(word: &str) -> Result<MemberRole, String> {
    match word.trim().to_lowercase().as_str() {
        "observer" => Ok(MemberRole::Observer),
        "participant" => Ok(MemberRole::Participant),
        _ => Err(format!("Unrecognised peertype: {}", super::error::shown(word))),
    }
}

fn parse_client(part: &str, malformed: &dyn Fn() -> String) -> Result<ListenAddress, String> {
    let pieces = host_and_ports(part)?;
    let (host, port_text) = match pieces.as_slice() {
        [port] => (Host::Any, port),
        [host, port] => (parse_host(host), port),
        _ => return Err(malformed()),
    };
    let port = port(port_text).ok_or_else(|| unresolved(&host.to_string(), port_text))?;
    Ok(ListenAddress { host, port })
}

/// A host as written in a client address. The wildcard addresses of both families mean all addresses, as they do to
/// Java's sockets.
pub(super) fn parse_host(text: &str) -> Host {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Host::Any,
        Ok(ip) => Host::Ip(ip),
        Err(_) => Host::Name(bare.into()),
    }
}

fn port(text: &str) -> Option<u16> {
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

fn unresolved(host: &str, port: &str) -> String {
    format!("Address unresolved: {}:{}", super::error::shown(host), super::error::shown(port))
}

/// Java's `String.split`: trailing empty parts vanish; the empty text is one part.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    if text.is_empty() {
        return vec![text];
    }
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

/// `ConfigUtils.getHostAndPort`: splits at colons, but for those in brackets.
fn host_and_ports(text: &str) -> Result<Vec<String>, String> {
    let Some(rest) = text.strip_prefix('[') else {
        return Ok(java_split(text, ':').into_iter().map(str::to_owned).collect());
    };
    let shown = super::error::shown(text);
    let Some((host, rest)) = rest.split_once(']') else {
        return Err(format!("{shown} starts with '[' but has no matching ']:'"));
    };
    let mut pieces = vec![host.to_owned()];
    if rest.is_empty() {
        return Ok(pieces);
    }
    let Some(ports) = rest.strip_prefix(':') else {
        return Err(format!("{shown} starts with '[' but has no matching ']:'"));
    };
    if ports.is_empty() {
        return Err(format!("{shown} doesn't have a port after colon"));
    }
    pieces.extend(java_split(ports, ':').into_iter().map(str::to_owned));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let found = match parse_member("1", line, false) {
            Ok(member) => member.to_string(),
            Err(why) => why,
        };
        assert!(
            if expected.contains("2888:3888:") { found == expected } else { found.contains(expected) },
            "for {line:?}: {found:?}, expected {expected:?}"
        );
    }

    #[test]
    fn reads_the_grammar_of_3_9() {
        check("h:2888:3888", "h:2888:3888:participant");
        check("h:2888:3888;2181", "h:2888:3888:participant;0.0.0.0:2181");
        check("h:2888:3888:observer;127.0.0.1:2181", "h:2888:3888:observer;127.0.0.1:2181");
        check("h:2888:3888: OBSERVER ", "h:2888:3888:observer");
        check("[::1]:2888:3888:participant;[::1]:2181", "[::1]:2888:3888:participant;[::1]:2181");
        check("h:2888:3888;", "h:2888:3888:participant");
        check("h:2888:3888;;", "h:2888:3888:participant");
        check("h:2888:3888;[::]:2181", "h:2888:3888:participant;0.0.0.0:2181");
        check("h:2888:3888;name:0", "h:2888:3888:participant;name:0");
    }

    #[test]
    fn refuses_what_3_9_refuses_in_its_words() {
        check("", "does not have the form server_config");
        check("h", "does not have the form server_config");
        check("h:2888", "does not have the form server_config");
        check("h:1:2:observer:x", "does not have the form server_config");
        check("h:1:2;h:1:2", "does not have the form server_config");
        check("h:1:2;2181;2281", "does not have the form server_config");
        check("h:x:2", "Address unresolved: h:x");
        check("h:1:70000", "Address unresolved: h:70000");
        check("h:1:2;many", "Address unresolved: 0.0.0.0:many");
        check("h:7:7", "Client and election port must be different!");
        check("h:1:2:leader", "Unrecognised peertype: leader");
        check("a:1:2|b:1:2", "Multiple address feature is disabled");
        check("[::1:1:2", "has no matching ']:'");
        check("[::1]:", "doesn't have a port after colon");
        assert!(parse_member("one", "h:1:2", false).is_err());
    }

    #[test]
    fn several_addresses_are_sorted_and_must_agree_on_the_role() {
        let member = parse_member("3", "b:1:2|a:1:2:observer", true).expect("well-formed");
        assert_eq!(member.to_string(), "a:1:2|b:1:2:observer");
        assert_eq!(member.id, ServerId(3));
        let error = parse_member("3", "b:1:2:participant|a:1:2:observer", true).expect_err("roles differ");
        assert!(error.contains("similar roles"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_the_canonical_text_reads_back(line in "[a1:;|\\[\\] ]{0,30}", multi: bool) {
            if let Ok(member) = parse_member("1", &line, multi) {
                let again = parse_member("1", &member.to_string(), true).expect("canonical text parses");
                proptest::prop_assert_eq!(again.to_string(), member.to_string());
            }
        }
    }
}
