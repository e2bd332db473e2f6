#![forbid(unsafe_code)]
//! What a person sees: on a terminal a line that renews itself, elsewhere a line an interval; at the end a table.

use std::io::{IsTerminal, Write};

use super::records::{IntervalRecord, Latency, Summary};

/// Where progress goes: standard error, so that standard output stays for results.
#[derive(Debug)]
pub struct Live {
    is_terminal: bool,
    is_quiet: bool,
    is_dirty: bool,
}

impl Live {
    /// `plain` writes lines even on a terminal, `quiet` nothing at all.
    pub fn new(plain: bool, quiet: bool) -> Live {
        Live { is_terminal: std::io::stderr().is_terminal() && !plain, is_quiet: quiet, is_dirty: false }
    }

    /// An interval is over; `total_s` is how long the measured time will be, if that is known.
    pub fn interval(&mut self, interval: &IntervalRecord, total_s: Option<f64>) {
        let line = interval_line(interval, total_s);
        if self.is_terminal {
            self.renew(&line);
        } else {
            self.note(&line);
        }
    }

    /// Progress that is overwritten by the next; nothing where there is no terminal.
    pub fn progress(&mut self, text: &str) {
        if self.is_terminal {
            self.renew(text);
        }
    }

    /// A line that stays.
    pub fn note(&mut self, text: &str) {
        if self.is_quiet {
            return;
        }
        self.clear();
        // Nobody may be reading any more; the result counts, not the progress.
        let _reader_gone = writeln!(std::io::stderr(), "{text}");
    }

    /// The renewed line goes away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_dirty) {
            let _reader_gone = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn renew(&mut self, text: &str) {
        if self.is_quiet {
            return;
        }
        let columns = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).map_or(80, |size| size.ws_col);
        // A line that wraps could not be renewed.
        let text: String = text.chars().take(usize::from(columns.max(20)) - 1).collect();
        let mut stderr = std::io::stderr();
        let _reader_gone = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
        self.is_dirty = true;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

fn interval_line(interval: &IntervalRecord, total_s: Option<f64>) -> String {
    let mut line = String::new();
    let done = interval.at_s.max(0.0);
    match total_s {
        _ if interval.number < 0 => line.push_str("warm-up        "),
        Some(total) if total > 0.0 => {
            let tenths = ((done / total).clamp(0.0, 1.0) * 10.0).round() as usize;
            line.push_str(&format!("[{}{}]", "=".repeat(tenths), " ".repeat(10 - tenths)));
            line.push_str(&format!(" {:>3.0}%", (done / total * 100.0).min(100.0)));
        }
        _ => line.push_str(&format!("{done:>6.1} s")),
    }
    let Latency { p50_us, p99_us, max_us, .. } = interval.latency;
    line.push_str(&format!(
        " {:<10} {:>9}/s  p50 {}  p99 {}  max {}",
        interval.target,
        count(interval.per_second),
        time(p50_us),
        time(p99_us),
        time(max_us)
    ));
    if interval.behind > 0 {
        line.push_str(&format!("  {} behind", count(interval.behind as f64)));
    }
    if interval.failed > 0 {
        line.push_str(&format!("  {} failed", count(interval.failed as f64)));
    }
    if interval.connections_up == 0 {
        line.push_str("  no connection");
    }
    if let Some(server) = interval.server {
        line.push_str(&format!("  rss {}", bytes(server.resident as f64)));
    }
    line
}

/// Microseconds, in the unit that fits.
pub fn time(us: f64) -> String {
    match us {
        us if us < 999.5 => format!("{us:>5.0} µs"),
        us if us < 999_500.0 => format!("{:>5.1} ms", us / 1e3),
        us => format!("{:>5.2} s ", us / 1e6),
    }
}

/// A number with its thousands set apart.
pub fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes, in the unit that fits.
pub fn bytes(value: f64) -> String {
    match value {
        value if value < 1024.0 => format!("{value:.0} B"),
        value if value < 1048576.0 => format!("{:.1} KiB", value / 1024.0),
        value if value < 1073741824.0 => format!("{:.1} MiB", value / 1048576.0),
        value => format!("{:.2} GiB", value / 1073741824.0),
    }
}

/// A run's result as text.
pub fn summary(summary: &Summary) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let workload = &summary.workload;
    let pace =
        workload.rate.map_or("as fast as replies come".to_owned(), |rate| format!("{}/s", count(rate)));
    line(format!("{}: {} {}", summary.target, workload.mix, pace));
    line(format!(
        "  {} connections x {} in flight, {} keys ({}), values of {} bytes",
        workload.connections,
        workload.depth,
        count(workload.keys as f64),
        workload.distribution,
        workload.value_bytes
    ));
    line(format!(
        "  {}/s over {:.1} s, {}/s of values",
        count(summary.per_second),
        summary.seconds,
        bytes(summary.value_bytes_per_second)
    ));
    line(format!(
        "  {:<10} {:>12} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "count", "p50", "p90", "p99", "p99.9", "max"
    ));
    let rows = summary.kinds.iter().map(|(kind, latency)| (kind.as_str(), latency));
    for (name, latency) in rows.chain([("all", &summary.latency)]) {
        line(format!(
            "  {:<10} {:>12} {} {} {} {} {}",
            name,
            count(latency.count as f64),
            time(latency.p50_us),
            time(latency.p90_us),
            time(latency.p99_us),
            time(latency.p999_us),
            time(latency.max_us)
        ));
    }
    if let Some(server) = &summary.server {
        let written = server
            .written_bytes_per_request
            .map_or(String::new(), |each| format!(", {} written a request", bytes(each)));
        line(format!(
            "  server: {:.2} µs CPU a request, {} resident (peak {}){written}",
            server.cpu_us_per_request,
            bytes(server.resident_bytes as f64),
            bytes(server.resident_peak_bytes as f64)
        ));
    }
    let each = if summary.completed > 0 { summary.own_cpu_s * 1e6 / summary.completed as f64 } else { 0.0 };
    line(format!(
        "  loadgen: {each:.2} µs CPU a request; requests left {} late (p50), {} (p99)",
        time(summary.late.p50_us).trim(),
        time(summary.late.p99_us).trim()
    ));
    if summary.own_cpu_s > 0.9 * summary.seconds * workload.threads as f64 {
        line("  loadgen itself was busy all the time: the server may do more; try --threads".to_owned());
    }
    let listed = |counts: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        parts.join(", ")
    };
    if !summary.errors.is_empty() {
        line(format!("  errors: {}", listed(&summary.errors)));
    }
    if !summary.lost.is_empty() {
        line(format!("  lost connections: {}", listed(&summary.lost)));
    }
    if summary.unanswered > 0 {
        line(format!("  {} requests were never answered", count(summary.unanswered as f64)));
    }
    // A handful are on their way whenever a run ends.
    if summary.unsent > summary.completed / 200 {
        line(format!(
            "  {} requests were due and never left: the server was too slow for this rate, or away",
            count(summary.unsent as f64)
        ));
    }
    if let Some(verified) = &summary.verified {
        line(format!("  verified: {} read back, {} wrong", count(verified.checked as f64), verified.wrong));
        verified.findings.iter().for_each(|finding| line(format!("    {finding}")));
    }
    if let Some(trouble) = &summary.trouble {
        line(format!("  {trouble}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0.0, 999.0, 1000.0, 1234567.4].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 999.0, 1000.0, 999_400.0, 1_500_000.0].map(|us| time(us).trim().to_owned()),
            ["0 µs", "999 µs", "1.0 ms", "999.4 ms", "1.50 s"]
        );
        assert_eq!([12.0, 2048.0, 3145728.0].map(bytes), ["12 B", "2.0 KiB", "3.0 MiB"]);
    }

    #[test]
    fn a_line_shows_progress_and_what_is_wrong() {
        let mut interval = IntervalRecord {
            target: "t".to_owned(),
            round: 0,
            number: 2,
            at_s: 5.0,
            length_s: 1.0,
            per_second: 1234.0,
            failed: 0,
            connections_up: 1,
            behind: 0,
            latency: Latency { p50_us: 100.0, p99_us: 2_000.0, max_us: 3_000.0, ..Latency::default() },
            kinds: Default::default(),
            server: None,
        };
        let line = interval_line(&interval, Some(10.0));
        assert!(line.starts_with("[=====     ]  50% t"), "{line}");
        assert!(
            line.contains("1,234/s") && line.contains("p99   2.0 ms") && !line.contains("behind"),
            "{line}"
        );
        (interval.behind, interval.failed, interval.connections_up) = (7, 3, 0);
        let line = interval_line(&interval, None);
        assert!(
            line.contains("7 behind") && line.contains("3 failed") && line.contains("no connection"),
            "{line}"
        );
        interval.number = -1;
        assert!(interval_line(&interval, Some(10.0)).starts_with("warm-up"));
    }
}
