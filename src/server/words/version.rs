#![forbid(unsafe_code)]
//! The version as words print it: it begins with the release we are compatible with, then only letters, digits,
//! dots and hyphens up to the comma (operations §4.4, `envi`), so that every parser in the field reads 3.9.5.

use super::java::utc;
use time::macros::format_description;

/// The ZooKeeper release whose behaviour decides (DESIGN).
pub const EMULATED: &str = "3.9.5";

/// How the build date is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BuildDateStyle {
    /// `2026-02-11 20:18 UTC`, as releases from 3.8 on.
    #[default]
    Iso,
    /// `02/11/2026 20:18 GMT`, as releases before 3.8: for parsers such as go-zookeeper's
    /// (`ringkeeper.buildDateStyle=us`).
    Us,
}

/// Which build this is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    text: String,
}

impl Version {
    /// Text made elsewhere by the same rule.
    pub fn of_text(text: String) -> Version {
        Version { text }
    }

    /// `ringkeeper` is the version of this crate, `revision` that of its source (may be empty), `built` seconds
    /// since 1970.
    pub fn new(ringkeeper: &str, revision: &str, built: i64, style: BuildDateStyle) -> Version {
        let built = match style {
            BuildDateStyle::Iso => {
                utc(built).format(&format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
            }
            BuildDateStyle::Us => {
                utc(built).format(&format_description!("[month]/[day]/[year] [hour]:[minute] GMT"))
            }
        };
        let mut text = format!("{EMULATED}-ringkeeper");
        for part in [ringkeeper, revision].into_iter().filter(|part| !part.is_empty()) {
            text.push('-');
            text.extend(part.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }));
        }
        Version { text: format!("{text}, built on {}", built.unwrap_or_default()) }
    }

    /// `3.9.5-ringkeeper-0.1.0-1a2b3c4, built on 2026-02-11 20:18 UTC`.
    pub fn text(&self) -> &str {
        &self.text
    }
}
