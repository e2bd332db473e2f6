#![forbid(unsafe_code)]
//! The configuration as written: pairs with the place they stand at, nothing interpreted. `check` makes it a
//! [`Config`](super::Config).
//!
//! Bytes and words come in as arguments; opening files and reading the environment is `cli`'s.

use std::fmt;
use std::sync::Arc;

use super::error::{Cause, ConfigError};
use super::properties;

/// Where a `-D` item stood. Later variants win over earlier ones: `zkServer.sh` hands Java `$SERVER_JVMFLAGS`
/// before `$JVMFLAGS`, and Java keeps the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlagSource {
    /// The environment variable `SERVER_JVMFLAGS`.
    ServerJvmFlags,
    /// The environment variable `JVMFLAGS`.
    JvmFlags,
    /// Our own command line.
    CommandLine,
}

/// Where a value comes from; what the table of effective values shows and what errors name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written nowhere.
    Default,
    /// A line of a file.
    File {
        /// The file as the user named it.
        name: Arc<str>,
        /// The first line is 1.
        line: u32,
    },
    /// A `-D` item.
    Flag(FlagSource),
    /// An argument of the legacy form `port dataDir [tickTime [maxClientCnxns]]`.
    Argument,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Flag(FlagSource::ServerJvmFlags) => f.write_str("-D in SERVER_JVMFLAGS"),
            Origin::Flag(FlagSource::JvmFlags) => f.write_str("-D in JVMFLAGS"),
            Origin::Flag(FlagSource::CommandLine) => f.write_str("-D"),
            Origin::Argument => f.write_str("argument"),
        }
    }
}

/// One key with its value and its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// As written, unescaped and trimmed.
    pub key: String,
    /// As written, unescaped and trimmed. May be a secret: never printed except through the table of keys.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

impl fmt::Debug for Item {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.key, self.origin)
    }
}

/// Everything that was written, by file and by flag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// Pairs of the file (or of the legacy arguments), one a key: the last of a duplicate stays.
    pub file: Vec<Item>,
    /// `-D` items in order of rising precedence.
    pub flags: Vec<Item>,
    /// Flags of a Java machine that are not `-D` items, as far as they can be shown: up to the first `=`, `:` or `,`.
    pub machine: Vec<(String, FlagSource)>,
}

impl Raw {
    /// Reads the bytes of a configuration file.
    ///
    /// # Errors
    /// A malformed `\uXXXX`, with its line. Nothing else in such a file is a syntax error.
    pub fn from_file(name: &str, bytes: &[u8]) -> Result<Raw, ConfigError> {
        let name: Arc<str> = name.into();
        let origin = |line| Origin::File { name: name.clone(), line };
        let pairs = properties::parse(bytes)
            .map_err(|error| ConfigError::new(origin(error.line), Cause::MalformedEscape))?;
        let mut raw = Raw::default();
        for pair in pairs {
            raw.set(&pair.key, &pair.value, origin(pair.line));
        }
        Ok(raw)
    }

    /// The legacy form `port dataDir [tickTime [maxClientCnxns]]` (`ServerConfig.parse`).
    pub fn from_arguments(arguments: &[String]) -> Raw {
        let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        let mut raw = Raw::default();
        for (key, value) in keys.iter().zip(arguments) {
            raw.set(key, value.trim(), Origin::Argument);
        }
        raw
    }

    /// Adds a pair beside the file's, replacing one of the same key.
    pub fn set(&mut self, key: &str, value: &str, origin: Origin) {
        self.file.retain(|item| item.key != key);
        self.file.push(Item { key: key.to_owned(), value: value.to_owned(), origin });
    }

    /// The file's value for `key`, spelled exactly so.
    pub fn get(&self, key: &str) -> Option<&Item> {
        self.file.iter().find(|item| item.key == key)
    }

    /// Adds flags as a Java machine would be given them: `-DK=V` items count, other flags are remembered for a
    /// warning, and words that are no flags are dropped. Quotes around a value are taken off.
    pub fn add_flags<'a>(&mut self, words: impl IntoIterator<Item = &'a str>, source: FlagSource) {
        for word in words {
            let word = word.trim();
            if let Some(item) = word.strip_prefix("-D") {
                let (key, value) = item.split_once('=').unwrap_or((item, ""));
                if !key.is_empty() {
                    let item = Item {
                        key: key.trim().to_owned(),
                        value: unquote(value.trim()).to_owned(),
                        origin: Origin::Flag(source),
                    };
                    self.flags.push(item);
                }
            } else if word.starts_with('-') {
                let end = word.find(['=', ':', ',']).filter(|_| !word.starts_with("-XX:"));
                let name = match word.strip_prefix("-XX:") {
                    Some(rest) => format!("-XX:{}", rest.split('=').next().unwrap_or(rest)),
                    None => word[..end.unwrap_or(word.len())].to_owned(),
                };
                self.machine.push((name, source));
            }
        }
    }
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}
