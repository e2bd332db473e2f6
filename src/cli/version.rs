#![forbid(unsafe_code)]
//! The version string: `3.9.5-ringkeeper-<v>-<rev>, built on YYYY-MM-DD HH:MM UTC` (operations §4.4, envi). It begins
//! with the version we emulate, and up to the comma holds only letters, digits, dots and hyphens, because clients
//! parse it.
//!
//! Revision and date come from the build's environment (`RINGKEEPER_REVISION`, `RINGKEEPER_BUILT`), so that the same
//! sources and environment give the same binary.

use crate::config::DateStyle;

/// The release of ZooKeeper we are compatible with.
pub const EMULATED: &str = "3.9.5";

const REVISION: &str = match option_env!("RINGKEEPER_REVISION") {
    Some(revision) => revision,
    None => "dev",
};

/// `YYYY-MM-DD HH:MM`, UTC. Without the variable, the day this line was last changed.
const BUILT: &str = match option_env!("RINGKEEPER_BUILT") {
    Some(built) => built,
    None => "2026-01-01 00:00",
};

/// Up to the comma.
pub fn short() -> String {
    let revision: String =
        REVISION.chars().filter(|&c| c.is_ascii_alphanumeric() || c == '.' || c == '-').collect();
    format!("{EMULATED}-ringkeeper-{}-{revision}", env!("CARGO_PKG_VERSION"))
}

/// The whole string, with the date in the style asked for.
pub fn full(style: DateStyle) -> String {
    format!("{}, built on {}", short(), date(BUILT, style))
}

/// `2026-01-31 10:20` to `2026-01-31 10:20 UTC` or `01/31/2026 10:20 GMT`.
fn date(built: &str, style: DateStyle) -> String {
    let parts = (built.get(0..4), built.get(5..7), built.get(8..10), built.get(11..16));
    match (style, parts) {
        (DateStyle::Us, (Some(year), Some(month), Some(day), Some(clock))) => {
            format!("{month}/{day}/{year} {clock} GMT")
        }
        _ => format!("{built} UTC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_parse_it() {
        let full = full(DateStyle::Iso);
        let (version, built) = full.split_once(", built on ").expect("a comma before the date");
        assert!(version.starts_with("3.9.5-ringkeeper-"));
        assert!(version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'), "{version}");
        assert!(built.ends_with(" UTC") && built.len() == "2026-01-31 10:20 UTC".len(), "{built}");
    }

    #[test]
    fn dates_come_in_two_styles() {
        assert_eq!(date("2026-01-31 10:20", DateStyle::Iso), "2026-01-31 10:20 UTC");
        assert_eq!(date("2026-01-31 10:20", DateStyle::Us), "01/31/2026 10:20 GMT");
        assert_eq!(date("odd", DateStyle::Us), "odd UTC");
    }
}
