#![forbid(unsafe_code)]
//! Text as Java prints it: decimals, dates, socket addresses. Parsers in the field were written against it.

use crate::base::WallMillis;
use std::net::{IpAddr, SocketAddr};
use time::OffsetDateTime;
use time::macros::format_description;

/// `numerator / denominator`, rounded half-up to four places, at least one shown: `0.0`, `26.6`, `6.5355`. Never in
/// exponent form, which Java falls into below 0.001 and from 10^7 on and which parsers of `[0-9.]+` refuse.
pub(super) fn decimal(numerator: u128, denominator: u128) -> String {
    if denominator == 0 {
        return "0.0".into();
    }
    let ten_thousandths = (numerator * 20_000 + denominator) / (denominator * 2);
    let (whole, fraction) = (ten_thousandths / 10_000, ten_thousandths % 10_000);
    let digits = format!("{fraction:04}");
    let digits = digits.trim_end_matches('0');
    format!("{whole}.{}", if digits.is_empty() { "0" } else { digits })
}

/// `EEE MMM dd HH:mm:ss zzz yyyy`. Always UTC: a server shows the same text wherever it runs, and stock in a
/// container does so too.
pub(super) fn date(at: WallMillis) -> String {
    let format = format_description!(
        "[weekday repr:short] [month repr:short] [day] [hour]:[minute]:[second] UTC [year]"
    );
    utc(at.0.div_euclid(1000)).format(&format).unwrap_or_default()
}

/// Seconds since 1970 as a date; the epoch itself when out of the calendar's range.
pub(super) fn utc(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `/127.0.0.1:2181`, `/[0:0:0:0:0:0:0:1]:2181`: Java's long form of IPv6, in brackets. An IPv4 address mapped into
/// IPv6 shows as IPv4, which is what Java makes of it.
pub(super) fn socket_address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}:{}", address.port()),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            format!("/[{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}]:{}", address.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_up_and_keep_one_digit() {
        for (numerator, denominator, text) in [
            (0, 0, "0.0"),
            (0, 7, "0.0"),
            (133, 5, "26.6"),
            (2027, 10, "202.7"),
            (608, 3, "202.6667"),
            (1, 20_000, "0.0001"),
            (1, 20_001, "0.0"),
            (99_999_999, 1, "99999999.0"),
        ] {
            assert_eq!(decimal(numerator, denominator), text, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn dates_and_addresses_are_javas() {
        assert_eq!(date(WallMillis(1_795_381_136_999)), "Sun Nov 22 20:58:56 UTC 2026");
        assert_eq!(date(WallMillis(i64::MAX)), "Thu Jan 01 00:00:00 UTC 1970");
        for (address, text) in [
            ("127.0.0.1:60982", "/127.0.0.1:60982"),
            ("[::1]:2181", "/[0:0:0:0:0:0:0:1]:2181"),
            ("[fe80::ab:1]:1", "/[fe80:0:0:0:0:0:ab:1]:1"),
            ("[::ffff:10.0.0.7]:9", "/10.0.0.7:9"),
        ] {
            assert_eq!(socket_address(address.parse().unwrap()), text);
        }
    }
}
