#![forbid(unsafe_code)]
//! Typed reads of resolved settings. Each read notes the effective value and its origin, so that the table an operator
//! sees is made of what the code got, not of a second list.

use std::fmt;
use std::ops::RangeInclusive;

use super::checked::MASK;
use super::error::{Cause, ConfigError, shown};
use super::keys::{self, Via};
use super::raw::Origin;
use super::settings::{Settings, Value, decimal, decoded, parse_bool};

/// One effective value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As spelled in zoo.cfg.
    pub key: String,
    /// As it took effect; stars for a secret.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// All effective values in the order of [`Config`](super::Config).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(pub Vec<Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest =
            |text: fn(&Row) -> &str| self.0.iter().map(|row| text(row).chars().count()).max().unwrap_or(0);
        let (keys, values) = (widest(|row| &row.key), widest(|row| &row.value).min(48));
        for row in &self.0 {
            writeln!(f, "{:keys$}  {:values$}  {}", row.key, row.value, row.origin)?;
        }
        Ok(())
    }
}

/// Reads settings and keeps the table.
pub(super) struct Reader {
    pub(super) settings: Settings,
    pub(super) table: Table,
}

impl Reader {
    pub(super) fn new(settings: Settings) -> Reader {
        Reader { settings, table: Table::default() }
    }

    /// Notes an effective value.
    pub(super) fn note(&mut self, key: &str, value: impl fmt::Display, origin: Origin) {
        let secret = keys::is_secret(key) && origin != Origin::Default;
        let value = if secret { MASK.to_owned() } else { shown(&value.to_string()) };
        self.table.0.push(Row { key: key.to_owned(), value, origin });
    }

    /// The text of a key, not noted: for the caller to interpret and note.
    pub(super) fn text(&self, key: &str) -> Option<Value> {
        debug_assert!(keys::lookup(key).is_some(), "{key} is not in the table of keys");
        self.settings.get(key).cloned()
    }

    /// A number within bounds, anything else stops the start.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: i64,
        bounds: RangeInclusive<i64>,
    ) -> Result<i64, ConfigError> {
        let (number, origin) = match self.text(key) {
            None => (default, Origin::Default),
            Some(value) => {
                let number = parse_number(key, &value)?;
                if !bounds.contains(&number) {
                    return Err(out_of_range(key, &value, &bounds));
                }
                (number, value.origin)
            }
        };
        self.note(key, number, origin);
        Ok(number)
    }

    /// As [`Reader::number`], for a key that fits 32 bits and is not negative.
    pub(super) fn unsigned(
        &mut self,
        key: &'static str,
        default: u32,
        bounds: RangeInclusive<u32>,
    ) -> Result<u32, ConfigError> {
        let wide = i64::from(*bounds.start())..=i64::from(*bounds.end());
        let number = self.number(key, i64::from(default), wide)?;
        Ok(u32::try_from(number).expect("within bounds of 32 bits"))
    }

    /// A number with a floor: what is below is raised to it, with a warning, as stock does.
    pub(super) fn floored(
        &mut self,
        key: &'static str,
        default: u32,
        floor: u32,
    ) -> Result<u32, ConfigError> {
        let Some(value) = self.text(key) else {
            self.note(key, default, Origin::Default);
            return Ok(default);
        };
        let number = parse_number(key, &value)?;
        let number = if number < i64::from(floor) {
            self.settings.warn(format!("Invalid {key}: {number}. Defaulting to {floor}"));
            floor
        } else {
            u32::try_from(number)
                .map_err(|_| out_of_range(key, &value, &(i64::from(floor)..=i64::from(u32::MAX))))?
        };
        self.note(key, number, value.origin);
        Ok(number)
    }

    /// A limit that is off at `off` and below (stock writes 0 or -1), given in units of `unit`.
    pub(super) fn limit(
        &mut self,
        key: &'static str,
        default: Option<u64>,
        off: i64,
        unit: u64,
    ) -> Result<Option<u64>, ConfigError> {
        let (number, origin) = match self.text(key) {
            None => (default, Origin::Default),
            Some(value) => {
                let number = parse_number(key, &value)?;
                let number = if number <= off { None } else { u64::try_from(number).ok() };
                (number, value.origin)
            }
        };
        match number {
            Some(number) => self.note(key, number, origin.clone()),
            None => self.note(key, "off", origin.clone()),
        }
        match number.map(|number| number.checked_mul(unit).ok_or(number)) {
            None => Ok(None),
            Some(Ok(scaled)) => Ok(Some(scaled)),
            Some(Err(number)) => Err(ConfigError::new(
                origin,
                Cause::OutOfRange {
                    key: key.to_owned(),
                    value: number.to_string(),
                    allowed: format!("at most {}", u64::MAX / unit),
                },
            )),
        }
    }

    /// As [`Reader::limit`], for a limit that fits 32 bits and has no unit.
    pub(super) fn small_limit(
        &mut self,
        key: &'static str,
        default: Option<u32>,
        off: i64,
    ) -> Result<Option<u32>, ConfigError> {
        let Some(number) = self.limit(key, default.map(u64::from), off, 1)? else { return Ok(None) };
        match u32::try_from(number) {
            Ok(number) if i32::try_from(number).is_ok() => Ok(Some(number)),
            _ => {
                let value = self.text(key).expect("defaults are small, so the key was written");
                Err(out_of_range(key, &value, &(off..=i64::from(i32::MAX))))
            }
        }
    }

    /// A number that counts only when it is `at_least` that much; stock warns and keeps its default otherwise.
    pub(super) fn positive_or_default(
        &mut self,
        key: &'static str,
        default: u32,
        at_least: u32,
    ) -> Result<u32, ConfigError> {
        let ignored = match self.text(key) {
            Some(value) => parse_number(key, &value)? < i64::from(at_least),
            None => false,
        };
        if ignored {
            self.settings.warn(format!("{key} should be {at_least} or more; keeping {default}"));
            self.note(key, default, Origin::Default);
            return Ok(default);
        }
        self.unsigned(key, default, at_least..=i32::MAX as u32)
    }

    /// A share between 0 and 1.
    pub(super) fn share(&mut self, key: &'static str, default: f64) -> Result<f64, ConfigError> {
        let (number, origin) = match self.text(key) {
            None => (default, Origin::Default),
            Some(value) => {
                let not_a_number = || Cause::NotNumber { key: key.to_owned(), value: shown(&value.text) };
                let number: f64 =
                    value.text.parse().map_err(|_| ConfigError::new(value.origin.clone(), not_a_number()))?;
                if !(0.0..=1.0).contains(&number) {
                    let allowed = "between 0 and 1".to_owned();
                    let cause = Cause::OutOfRange { key: key.to_owned(), value: shown(&value.text), allowed };
                    return Err(ConfigError::new(value.origin, cause));
                }
                (number, value.origin)
            }
        };
        self.note(key, number, origin);
        Ok(number)
    }

    /// A number; what is none leaves the default, with a warning (`ZKDatabase`'s constructor).
    pub(super) fn number_or_default(&mut self, key: &'static str, default: f64) -> f64 {
        let (number, origin) = match self.text(key) {
            None => (default, Origin::Default),
            Some(value) => match value.text.parse::<f64>() {
                Ok(number) if number.is_finite() => (number, value.origin),
                _ => {
                    let text = shown(&value.text);
                    self.settings.warn(format!("{key}={text} is no number: {default} is used"));
                    (default, Origin::Default)
                }
            },
        };
        self.note(key, number, origin);
        number
    }

    /// `true` or `false`, anything else stops the start (`QuorumPeerConfig.parseBoolean`).
    pub(super) fn strict_bool(&mut self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        let (flag, origin) = match self.text(key) {
            None => (default, Origin::Default),
            Some(value) => match parse_bool(&value.text) {
                Some(flag) => (flag, value.origin),
                None => {
                    let cause = Cause::NotBoolean { key: key.to_owned(), value: shown(&value.text) };
                    return Err(ConfigError::new(value.origin, cause));
                }
            },
        };
        self.note(key, flag, origin);
        Ok(flag)
    }

    /// A boolean property: what is not "true" is false (`Boolean.parseBoolean`), with a warning if it is not "false".
    pub(super) fn lax_bool(&mut self, key: &'static str, default: bool) -> bool {
        let (flag, origin) = match self.text(key) {
            None => (default, Origin::Default),
            Some(value) => {
                let flag = parse_bool(&value.text);
                if flag.is_none() {
                    let text = shown(&value.text);
                    self.settings
                        .warn(format!("{key}: \"{text}\" is neither true nor false; taken as false"));
                }
                (flag.unwrap_or(false), value.origin)
            }
        };
        self.note(key, flag, origin);
        flag
    }

    /// A property compared with one word: it turns the default over, everything else is the default.
    pub(super) fn yes_no(&mut self, key: &'static str, default: bool) -> bool {
        let words = |flag| if flag { "yes" } else { "no" };
        let (flag, origin) = match self.text(key) {
            None => (default, Origin::Default),
            Some(value) => {
                if !matches!(value.text.as_str(), "yes" | "no") {
                    let text = shown(&value.text);
                    let taken = words(default);
                    self.settings.warn(format!("{key}: \"{text}\" is neither yes nor no; taken as {taken}"));
                }
                (if value.text == words(!default) { !default } else { default }, value.origin)
            }
        };
        self.note(key, words(flag), origin);
        flag
    }

    /// One of a few words, in any letter case; the first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
        allowed: &'static str,
    ) -> Result<T, ConfigError> {
        let (word, choice, origin) = match self.text(key) {
            None => (choices[0].0, choices[0].1, Origin::Default),
            Some(value) => match choices.iter().find(|(word, _)| value.text.eq_ignore_ascii_case(word)) {
                Some((word, choice)) => (*word, *choice, value.origin),
                None => {
                    let cause = Cause::NotAChoice { key: key.to_owned(), value: shown(&value.text), allowed };
                    return Err(ConfigError::new(value.origin, cause));
                }
            },
        };
        self.note(key, word, origin);
        Ok(choice)
    }
}

/// Explicit keys are decimal (`Integer.parseInt`), properties may be hexadecimal or octal (`Integer.getInteger`).
fn parse_number(key: &str, value: &Value) -> Result<i64, ConfigError> {
    let parsed = match keys::lookup(key).map(|key| key.via) {
        Some(Via::File | Via::FileOrProperty) => decimal(&value.text),
        _ => decoded(&value.text),
    };
    parsed.ok_or_else(|| {
        let cause = Cause::NotNumber { key: key.to_owned(), value: shown(&value.text) };
        ConfigError::new(value.origin.clone(), cause)
    })
}

fn out_of_range(key: &str, value: &Value, bounds: &RangeInclusive<i64>) -> ConfigError {
    let allowed = format!("{} to {}", bounds.start(), bounds.end());
    let cause = Cause::OutOfRange { key: key.to_owned(), value: shown(&value.text), allowed };
    ConfigError::new(value.origin.clone(), cause)
}
