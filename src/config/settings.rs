#![forbid(unsafe_code)]
//! From what is written to one value a key: spellings, labels, twins and precedence (operations §1.1.3-7), and what
//! is said about keys that do nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{Cause, ConfigError, shown};
use super::keys::{self, Role, Shape, Via};
use super::raw::{FlagSource, Item, Origin, Raw};

/// How loud a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeLevel {
    /// Worth knowing.
    Info,
    /// Something is not as written.
    Warn,
}

impl fmt::Display for NoticeLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoticeLevel::Info => "INFO",
            NoticeLevel::Warn => "WARN",
        })
    }
}

/// A line for the start-up log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How loud.
    pub level: NoticeLevel,
    /// One line, no secrets.
    pub text: String,
}

/// A chosen value.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) origin: Origin,
    rank: u8,
}

/// One value a key, and what there is to say.
pub(super) struct Settings {
    values: BTreeMap<String, Value>,
    pub(super) notices: Vec<Notice>,
}

/// Precedence: the file's own spelling, the file's other spellings, then -D; among those the prefixed one first.
const RANK_FILE: u8 = 100;
const RANK_FILE_PREFIXED: u8 = 90;
const RANK_FILE_LABEL: u8 = 80;
const RANK_FLAG_PREFIXED: u8 = 20;
const RANK_FLAG_BARE: u8 = 10;

impl Settings {
    /// Resolves everything written.
    ///
    /// # Errors
    /// Numbers and booleans that stock parses eagerly, though they have no effect here.
    pub(super) fn resolve(raw: &Raw) -> Result<Settings, ConfigError> {
        let mut settings = Settings { values: BTreeMap::new(), notices: Vec::new() };
        for item in &raw.file {
            settings.place_file_item(item);
        }
        for item in &raw.flags {
            settings.place_flag(item);
        }
        for (flag, source) in &raw.machine {
            let origin = match source {
                FlagSource::ServerJvmFlags => " (SERVER_JVMFLAGS)",
                FlagSource::JvmFlags => " (JVMFLAGS)",
                FlagSource::CommandLine => "",
            };
            settings.warn(format!("{}{origin} has no effect: there is no Java machine", shown(flag)));
        }
        settings.judge()?;
        Ok(settings)
    }

    /// The value of a key as spelled in zoo.cfg.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// All values whose key begins so, in order of their keys.
    pub(super) fn beginning_with(&self, beginning: &str) -> Vec<(String, Value)> {
        let matching =
            self.values.range(beginning.to_owned()..).take_while(|(key, _)| key.starts_with(beginning));
        matching.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(super) fn info(&mut self, text: String) {
        self.notices.push(Notice { level: NoticeLevel::Info, text });
    }

    pub(super) fn warn(&mut self, text: String) {
        self.notices.push(Notice { level: NoticeLevel::Warn, text });
    }

    fn place_file_item(&mut self, item: &Item) {
        let written = item.key.as_str();
        let written_shown = shown(written);
        if let Some(key) = keys::lookup(written) {
            if key.via == Via::Bare && key.role == Role::Honoured {
                self.warn(format!(
                    "{written_shown} has no effect in stock ZooKeeper's zoo.cfg; honouring it"
                ));
            }
            self.choose(written, item, RANK_FILE);
        } else if let Some(meant) = keys::label(written) {
            self.warn(format!(
                "{written_shown} is a heading of the documentation and has no effect in stock ZooKeeper's zoo.cfg; \
                 honouring it as {meant}"
            ));
            self.choose(meant, item, RANK_FILE_LABEL);
        } else if let Some(meant) = written.strip_prefix("zookeeper.").and_then(meant) {
            self.warn(format!(
                "{written_shown} has no effect in stock ZooKeeper's zoo.cfg, where it becomes \
                 zookeeper.{written_shown}; honouring it as {meant}"
            ));
            self.choose(meant, item, RANK_FILE_PREFIXED);
        } else {
            self.info(format!("unknown key {written_shown} kept as property zookeeper.{written_shown}"));
        }
    }

    fn place_flag(&mut self, item: &Item) {
        let written = item.key.as_str();
        let written_shown = shown(written);
        let source = match item.origin {
            Origin::Flag(FlagSource::ServerJvmFlags) => 0,
            Origin::Flag(FlagSource::JvmFlags) => 1,
            _ => 2,
        };
        if let Some(name) = written.strip_prefix("zookeeper.") {
            let Some(name) = meant(name) else {
                return self.info(format!("unknown property {written_shown} kept"));
            };
            let stock_reads_it = match keys::lookup(name).map(|key| key.via) {
                Some(Via::Property | Via::PropertyOrBare | Via::FileOrProperty | Via::Own) => {
                    written.ends_with(name) && keys::label(name).is_none()
                }
                Some(Via::File) => {
                    return self.warn(format!(
                        "-D{written_shown} has no effect, in stock ZooKeeper neither: {name} counts in the file only"
                    ));
                }
                Some(Via::Bare) | None => false,
            };
            if !stock_reads_it {
                self.warn(format!(
                    "-D{written_shown} has no effect in stock ZooKeeper; honouring it as {name}"
                ));
            }
            return self.choose(name, item, RANK_FLAG_PREFIXED + source);
        }
        match keys::lookup(written).map(|key| key.via) {
            Some(Via::Bare | Via::PropertyOrBare | Via::Own) => {
                self.choose(written, item, RANK_FLAG_BARE + source);
            }
            Some(Via::Property | Via::FileOrProperty) => self.warn(format!(
                "-D{written_shown} has no effect, in stock ZooKeeper neither: the property is zookeeper.{written_shown}"
            )),
            Some(Via::File) => self.warn(format!(
                "-D{written_shown} has no effect, in stock ZooKeeper neither: it counts in the file only"
            )),
            None => {
                let machine = keys::MACHINE_PROPERTIES.iter().find(|(beginning, _)| written.starts_with(beginning));
                match machine {
                    Some((_, why)) => self.warn(format!("-D{written_shown} has no effect: {why}")),
                    None => self.info(format!("unknown property {written_shown} kept")),
                }
            }
        }
    }

    fn choose(&mut self, name: &str, item: &Item, rank: u8) {
        let weaker = self.values.get(name).is_none_or(|value| value.rank <= rank);
        if weaker {
            let value = Value { text: item.value.clone(), origin: item.origin.clone(), rank };
            self.values.insert(name.to_owned(), value);
        }
    }

    /// Says what has no effect, and refuses what stock would refuse to parse.
    fn judge(&mut self) -> Result<(), ConfigError> {
        let mut said = Vec::new();
        for (name, value) in &self.values {
            let key = keys::lookup(name).expect("only keys of the table are chosen");
            if key.via == Via::File && key.role != Role::Honoured {
                check_shape(name, value, key.shape)?;
            }
            let name = shown(name);
            match key.role {
                Role::Honoured | Role::Ensemble | Role::Fulfilled => {}
                Role::NoEffect(why) => said.push(format!("{name} has no effect here: {why}")),
                // Switching off what does not exist is fulfilled.
                Role::Later(_) if value.text.eq_ignore_ascii_case("false") => {}
                Role::Later(what) => {
                    said.push(format!("{name} has no effect in this release, which has no {}", bare(what)))
                }
            }
        }
        for text in said {
            self.warn(text);
        }
        Ok(())
    }
}

/// The key that a name (without its `zookeeper.`) stands for.
fn meant(name: &str) -> Option<&str> {
    match keys::lookup(name) {
        Some(_) => Some(name),
        None => keys::label(name),
    }
}

fn bare(what: &'static str) -> &'static str {
    what.strip_prefix("the ").unwrap_or(what)
}

fn check_shape(name: &str, value: &Value, shape: Shape) -> Result<(), ConfigError> {
    let key = || name.to_owned();
    let fine = match shape {
        Shape::Text => true,
        Shape::Int => decimal(&value.text).is_some_and(|number| i32::try_from(number).is_ok()),
        Shape::Long => decimal(&value.text).is_some(),
        Shape::Bool => parse_bool(&value.text).is_some(),
    };
    if fine {
        return Ok(());
    }
    let cause = match shape {
        Shape::Bool => Cause::NotBoolean { key: key(), value: shown(&value.text) },
        _ => Cause::NotNumber { key: key(), value: shown(&value.text) },
    };
    Err(ConfigError::new(value.origin.clone(), cause))
}

/// `true` or `false` in any case, as the explicitly parsed keys want it.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// `Long.parseLong`: a sign and decimal digits.
pub(super) fn decimal(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// `Long.decode`, which `Integer.getInteger` uses: also `0x`, `#` and octal by a leading zero.
pub(super) fn decoded(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = match hex {
        Some(rest) => (rest, 16),
        None => match digits.strip_prefix('0').filter(|rest| !rest.is_empty()) {
            Some(rest) => (rest, 8),
            None => (digits, 10),
        },
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}
