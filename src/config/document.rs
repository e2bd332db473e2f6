#![forbid(unsafe_code)]
//! The configuration document: who belongs to the ensemble and how votes are counted, as text. It travels in
//! notifications and NEWLEADER, stands in `/zookeeper/config` and in dynamic files (ensemble-protocol §1.3; stock
//! `QuorumMaj`, `QuorumHierarchical`, `QuorumPeerConfig.parseDynamicConfig`).
//!
//! ```text
//! server.<sid>=<as in members>     each member
//! group.<gid>=<sid>:<sid>...       only with groups, as the next
//! weight.<sid>=<weight>
//! version=<hex>                    last, without a line's end
//! ```
//!
//! Read with the rules of Java's properties, lines in any order; written in the order of the ids, which is also stock's
//! while they are small. Whether a set of servers is a quorum is `zab`'s to say.

use std::collections::BTreeMap;
use std::fmt;

use super::error::shown;
use super::members::{Member, MemberRole, parse_member};
use super::properties;
use crate::base::ServerId;

/// A parsed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDocument {
    /// By id, each once.
    pub members: BTreeMap<ServerId, Member>,
    /// How votes are counted.
    pub groups: Option<Groups>,
    /// The zxid of the change that made it; 0 while there was none.
    pub version: i64,
}

/// Hierarchical quorums: servers in groups, with weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Group of each server; every participant has one.
    pub group: BTreeMap<ServerId, i64>,
    /// Weight of each participant, 1 unless said; and whatever else was given one.
    pub weight: BTreeMap<ServerId, i64>,
}

/// Why a document was refused. The text is stock's where stock has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DocumentError(String);

fn refuse<T>(why: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError(why.into()))
}

impl ConfigDocument {
    /// Reads a document; several addresses a server only if they are enabled (`multiAddress.enabled`).
    pub fn parse(text: &[u8], multi_address: bool) -> Result<ConfigDocument, DocumentError> {
        // Stock replaces what is not UTF-8, which could make one name of two (reliability M55).
        if std::str::from_utf8(text).is_err() {
            return refuse("a configuration that is not UTF-8");
        }
        let Ok(pairs) = properties::parse(text) else { return refuse("Malformed \\uxxxx encoding.") };
        let pairs = pairs.into_iter().map(|pair| (pair.key, pair.value));
        ConfigDocument::from_pairs(pairs, multi_address)
    }

    /// Reads what stands in a document, or in the configuration files.
    pub fn from_pairs(
        pairs: impl Iterator<Item = (String, String)>,
        multi_address: bool,
    ) -> Result<ConfigDocument, DocumentError> {
        // Of a key that comes twice Java keeps the last.
        let pairs: BTreeMap<String, String> = pairs.collect();
        let mut document = ConfigDocument { members: BTreeMap::new(), groups: None, version: 0 };
        for (key, value) in &pairs {
            if let Some(id) = key.strip_prefix("server.") {
                let member = parse_member(id, value, multi_address).map_err(DocumentError)?;
                // `server.1` and `server.01` are one server.
                document.members.insert(member.id, member);
            } else if key.starts_with("group") {
                document.groups.get_or_insert_default().read_group(key, value)?;
            } else if key.starts_with("weight") {
                let groups = document.groups.get_or_insert_default();
                groups.weight.insert(ServerId(number(after_dot(key))?), number(value)?);
            } else if key == "version" {
                // Stock reads a negative one, and writes it so that it cannot be read.
                document.version = match i64::from_str_radix(value, 16) {
                    Ok(version @ 0..) => version,
                    _ => return not_a_number(value),
                };
            } else {
                return refuse(format!("Unrecognised parameter: {}", shown(key)));
            }
        }
        if let Some(groups) = &mut document.groups {
            groups.complete(&document.members)?;
        }
        Ok(document)
    }

    /// Members with a vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.role == MemberRole::Participant)
    }

    /// Members without.
    pub fn observers(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.role == MemberRole::Observer)
    }

    /// Whether stock may be sent it: one of these faults ends the thread of a stock server that hears of elections
    /// (hazard R-14), since it is thrown where only others are caught.
    pub fn check_roles(&self, standalone_enabled: bool) -> Result<(), DocumentError> {
        match (self.voters().count(), self.observers().count()) {
            (0, _) if !standalone_enabled => {
                refuse("standaloneEnabled = false then number of participants should be >0")
            }
            (0, 1..) => refuse("Observers w/o participants is an invalid configuration"),
            (1, 1..) if standalone_enabled => refuse("Observers w/o quorum is an invalid configuration"),
            _ => Ok(()),
        }
    }
}

impl Groups {
    fn read_group(&mut self, key: &str, value: &str) -> Result<(), DocumentError> {
        let group = number(after_dot(key))?;
        // As Java splits: trailing empty parts vanish.
        for part in value.trim_end_matches(':').split(':') {
            let server = ServerId(number(part)?);
            if self.group.insert(server, group).is_some() {
                return refuse(format!("Server {}is in multiple groups", server.0));
            }
        }
        Ok(())
    }

    /// Every participant has a group and a weight; so has whoever is named in a group, of which stock dereferences the
    /// weight unseen.
    fn complete(&mut self, members: &BTreeMap<ServerId, Member>) -> Result<(), DocumentError> {
        for member in members.values().filter(|member| member.role == MemberRole::Participant) {
            if !self.group.contains_key(&member.id) {
                return refuse(format!("Server {}is not in a group", member.id.0));
            }
            self.weight.entry(member.id).or_insert(1);
        }
        match self.group.keys().find(|server| !self.weight.contains_key(server)) {
            Some(server) => refuse(format!("Server {} is in a group and has no weight", server.0)),
            None => Ok(()),
        }
    }
}

/// Behind the first dot; all of it when there is none (`key.substring(key.indexOf('.') + 1)`).
fn after_dot(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, id)| id)
}

/// `Long.parseLong`.
fn number(text: &str) -> Result<i64, DocumentError> {
    text.parse().or_else(|_| not_a_number(text))
}

fn not_a_number<T>(text: &str) -> Result<T, DocumentError> {
    refuse(format!("For input string: \"{}\"", shown(text)))
}

impl fmt::Display for ConfigDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ServerId(id), member) in &self.members {
            writeln!(f, "server.{id}={member}")?;
        }
        if let Some(groups) = &self.groups {
            let mut servers: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for (ServerId(server), group) in &groups.group {
                servers.entry(*group).or_default().push(server.to_string());
            }
            for (group, servers) in servers {
                writeln!(f, "group.{group}={}", servers.join(":"))?;
            }
            for (ServerId(server), weight) in &groups.weight {
                writeln!(f, "weight.{server}={weight}")?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document of ensemble-protocol §14.
    const PAIR: &str = "server.1=127.0.0.1:31881:31891:participant\n\
                        server.2=127.0.0.1:31882:31892:participant\nversion=0";

    fn parse(text: &str) -> Result<ConfigDocument, String> {
        ConfigDocument::parse(text.as_bytes(), false).map_err(|error| error.to_string())
    }

    fn check(text: &str, canonical: &str) {
        let written = parse(text).map(|document| document.to_string());
        assert_eq!(written.as_deref(), Ok(canonical), "{text:?}");
        assert_eq!(parse(canonical), parse(text), "{text:?}");
    }

    fn check_refused(text: &str, why: &str) {
        let error = parse(text).expect_err(text);
        assert!(error.contains(why), "{text:?}: {error}");
    }

    #[test]
    fn a_majority_is_read_and_written_as_stock_does() {
        assert_eq!(PAIR.len(), 95);
        check(PAIR, PAIR);
        check(
            "version=10000000a\r\nserver.2 = b:1:2:observer;2181\n# seen\nserver.1=a:1:2",
            "server.1=a:1:2:participant\nserver.2=b:1:2:observer;0.0.0.0:2181\nversion=10000000a",
        );
        check("", "version=0");
        check("server.01=a:1:2\nserver.1=b:1:2", "server.1=b:1:2:participant\nversion=0");
    }

    #[test]
    fn groups_and_weights_are_read_and_written_as_stock_does() {
        let servers: String = (1..=4).map(|id| format!("server.{id}=h{id}:1:2:participant\n")).collect();
        check(
            &format!("{servers}group.1=1:2\ngroup.2=4:3:\nweight.4=0"),
            &format!(
                "{servers}group.1=1:2\ngroup.2=3:4\nweight.1=1\nweight.2=1\nweight.3=1\nweight.4=0\nversion=0"
            ),
        );
        let document = parse(&format!("{servers}group.7=1:2:3:4")).expect("well-formed");
        let groups = document.groups.expect("groups");
        assert_eq!(groups.group[&ServerId(3)], 7);
        assert_eq!(groups.weight[&ServerId(3)], 1);
    }

    #[test]
    fn what_stock_refuses_is_refused() {
        check_refused("clientPort=2181", "Unrecognised parameter: clientPort");
        check_refused("server.1=h", "does not have the form");
        check_refused("server.x=h:1:2", "For input string: \"x\"");
        check_refused("version=0x1", "For input string");
        check_refused("version=", "For input string");
        check_refused("version=-1", "For input string");
        check_refused("version=8000000000000000", "For input string");
        check_refused("server.1=h:1:2\ngroup.1=2\nweight.2=1", "Server 1is not in a group");
        check_refused("group.1=1\ngroup.2=1", "Server 1is in multiple groups");
        check_refused("group.1=1:x", "For input string: \"x\"");
        check_refused("group=1", "For input string: \"group\"");
        check_refused("weight.1=", "For input string");
        check_refused("server.1=h:1:2\nserver.2=g:1:2:observer\ngroup.1=1:2", "has no weight");
        check_refused("\\u00", "Malformed");
        assert!(ConfigDocument::parse(b"server.1=\xff:1:2", false).is_err());
    }

    #[test]
    fn roles_that_would_stop_a_stock_server_are_found() {
        let check = |text: &str, standalone: bool, expected: bool| {
            assert_eq!(parse(text).expect(text).check_roles(standalone).is_ok(), expected, "{text:?}");
        };
        check(PAIR, true, true);
        check("", true, true);
        check("", false, false);
        check("server.1=h:1:2:observer", true, false);
        check("server.1=h:1:2\nserver.2=g:1:2:observer", true, false);
        check("server.1=h:1:2\nserver.2=g:1:2:observer", false, true);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused_or_has_one_canonical_form(
            lines in proptest::collection::vec(
                "server\\.[0-3]=[ab]:[1-3]:[4-6](:observer)?(;2181)?|group\\.[12]=[1-3](:[1-3])?|weight\\.[1-3]=[0-2]|version=-?[0-9a-f]{1,12}|[a-z.=:\\\\ ]{0,12}",
                0..8,
            ),
        ) {
            if let Ok(document) = parse(&lines.join("\n")) {
                proptest::prop_assert_eq!(parse(&document.to_string()), Ok(document));
            }
        }
    }
}
