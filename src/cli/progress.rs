#![forbid(unsafe_code)]
//! Progress of long work at start (loading, replaying): one rewritten line on a terminal, a log line every few seconds
//! elsewhere, nothing for what takes less than two seconds.
//!
//! What to show is decided by a plain function of time; [`Progress`] adds the clock and the log.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Work shorter than this is not mentioned.
const QUIET: Duration = Duration::from_secs(2);
/// Between two rewrites of the terminal's line.
const REWRITE_EVERY: Duration = Duration::from_millis(100);
/// Between two log lines.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// What to show now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Output {
    /// Replace the terminal's line by this; empty removes it.
    Rewrite(String),
    /// A line of the log.
    Log(String),
}

/// When something was shown, and what.
#[derive(Debug)]
struct Meter {
    label: &'static str,
    terminal: bool,
    shown_at: Option<Duration>,
}

impl Meter {
    /// `elapsed` since the work began; `done` of `total` units (0: unknown).
    fn step(&mut self, elapsed: Duration, done: u64, total: u64) -> Option<Output> {
        let every = if self.terminal { REWRITE_EVERY } else { LOG_EVERY };
        let due = self.shown_at.map_or(QUIET, |at| at + every);
        if elapsed < due {
            return None;
        }
        self.shown_at = Some(elapsed);
        let label = self.label;
        let seconds = elapsed.as_secs();
        let text = match total {
            0 => format!("{label}: {done} so far, {seconds} s"),
            _ => {
                let percent = u128::from(done.min(total)) * 100 / u128::from(total);
                format!("{label}: {percent} %, {done} of {total}, {seconds} s")
            }
        };
        Some(if self.terminal { Output::Rewrite(text) } else { Output::Log(text) })
    }

    /// The end: takes the terminal's line away, and tells the log if it was told of the work.
    fn finish(&mut self, elapsed: Duration) -> Option<Output> {
        self.shown_at?;
        Some(match self.terminal {
            true => Output::Rewrite(String::new()),
            false => Output::Log(format!("{}: done after {} s", self.label, elapsed.as_secs())),
        })
    }
}

/// Progress of one piece of work on the calling thread.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    meter: Meter,
}

impl Progress {
    /// Begins; `label` names the work, as in `loading the snapshot`.
    pub fn begin(label: &'static str) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress { begun: Instant::now(), meter: Meter { label, terminal, shown_at: None } }
    }

    /// `done` of `total` units (0: unknown). Cheap enough for every thousandth unit.
    pub fn update(&mut self, done: u64, total: u64) {
        show(self.meter.step(self.begun.elapsed(), done, total));
    }

    /// The work is done.
    pub fn finish(mut self) {
        show(self.meter.finish(self.begun.elapsed()));
    }
}

/// Progress of work that consists of several pieces, one after the other, each with its label.
#[derive(Debug, Default)]
pub struct Stages(Option<(&'static str, Progress)>);

impl Stages {
    /// `done` of `total` units of the piece with this label; another label begins another piece.
    pub fn update(&mut self, label: &'static str, done: u64, total: u64) {
        if self.0.as_ref().is_none_or(|(current, _)| *current != label) {
            self.finish();
        }
        let (_, progress) = self.0.get_or_insert_with(|| (label, Progress::begin(label)));
        progress.update(done, total);
    }

    /// The piece that was under way is done.
    pub fn finish(&mut self) {
        if let Some((_, progress)) = self.0.take() {
            progress.finish();
        }
    }
}

fn show(output: Option<Output>) {
    match output {
        None => {}
        // Carriage return, then erase to the end of the line.
        Some(Output::Rewrite(text)) => super::logging::raw(format!("\r\x1b[K{text}")),
        Some(Output::Log(text)) => tracing::info!(target: "progress", "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(terminal: bool, steps: &[(u64, u64, u64)], end_ms: u64, expected: &[&str]) {
        let mut meter = Meter { label: "loading", terminal, shown_at: None };
        let mut shown = Vec::new();
        for &(ms, done, total) in steps {
            shown.extend(meter.step(Duration::from_millis(ms), done, total));
        }
        shown.extend(meter.finish(Duration::from_millis(end_ms)));
        let shown: Vec<String> = shown
            .into_iter()
            .map(|output| match output {
                Output::Rewrite(text) => format!("\\r{text}"),
                Output::Log(text) => text,
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn short_work_is_silent() {
        check(true, &[(0, 1, 4), (500, 2, 4), (1999, 3, 4)], 1999, &[]);
        check(false, &[(0, 1, 4), (1999, 3, 4)], 1999, &[]);
    }

    #[test]
    fn a_terminal_has_one_line_that_is_taken_away() {
        let steps = [(2000, 1, 4), (2050, 2, 4), (2100, 2, 4), (2199, 3, 4)];
        check(true, &steps, 2300, &["\\rloading: 25 %, 1 of 4, 2 s", "\\rloading: 50 %, 2 of 4, 2 s", "\\r"]);
    }

    #[test]
    fn a_log_has_a_line_every_five_seconds() {
        let steps = [(2000, 1, 0), (6999, 2, 0), (7000, 3, 0), (11_000, 9, 8)];
        check(
            false,
            &steps,
            12_000,
            &["loading: 1 so far, 2 s", "loading: 3 so far, 7 s", "loading: done after 12 s"],
        );
        check(false, &[(3000, 9, 8)], 3000, &["loading: 100 %, 9 of 8, 3 s", "loading: done after 3 s"]);
    }
}
