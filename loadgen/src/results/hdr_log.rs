#![forbid(unsafe_code)]
//! The intervals as an HdrHistogram log (format 1.3, histograms in V2 with deflate), which the plotters and analysers of
//! that project read. One histogram an interval and kind, tagged `TARGET/ROUND/KIND`; values are nanoseconds.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::mix::Kind;
use crate::run::Interval;

/// The largest value of an interval stands beside its histogram in milliseconds, as is the custom.
const MAX_VALUE_DIVISOR: f64 = 1e6;

/// A log that is being written.
pub struct HdrLog<W> {
    out: W,
    serializer: V2DeflateSerializer,
    began: SystemTime,
}

impl<W: Write> HdrLog<W> {
    /// Writes what stands above the intervals. `began` is now, as a rule.
    ///
    /// # Errors
    /// The writer's.
    pub fn begin(mut out: W, began: SystemTime) -> io::Result<HdrLog<W>> {
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("[written by ringkeeper-loadgen; values in nanoseconds]")
            .with_start_time(began)
            .with_base_time(began)
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut out, &mut serializer)?;
        out.write_all(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        )?;
        Ok(HdrLog { out, serializer, began })
    }

    /// An interval of a run has ended at `now`.
    ///
    /// # Errors
    /// The writer's.
    pub fn interval(
        &mut self,
        target: &str,
        round: u32,
        interval: &Interval,
        now: SystemTime,
    ) -> io::Result<()> {
        let length = Duration::from_secs_f64(interval.seconds.max(0.0));
        let end = now.duration_since(self.began).unwrap_or_default();
        for (kind, stats) in Kind::ALL.iter().zip(&interval.stats.kinds) {
            let Some(stats) = stats else { continue };
            // Commas and blanks separate fields.
            let tag = format!("{target}/{round}/{}", kind.word()).replace([',', ' ', '\n', '\r'], "_");
            let mut text = Vec::new();
            IntervalLogWriterBuilder::new()
                .with_max_value_divisor(MAX_VALUE_DIVISOR)
                .begin_log_with(&mut text, &mut self.serializer)?
                .write_histogram(&stats.latency, end.saturating_sub(length), length, Tag::new(&tag))
                .map_err(|error| io::Error::other(error.to_string()))?;
            // The builder repeats its comments each time.
            for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")) {
                self.out.write_all(line)?;
            }
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Stats;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_log_is_read_back_with_its_tags_times_and_counts() {
        let mut stats = Stats::default();
        for latency in [1_000_000, 2_000_000, 50_000_000] {
            stats.kinds[Kind::Get as usize].get_or_insert_default().latency.record(latency).unwrap();
        }
        let interval = Interval { number: 0, at_s: 1.0, seconds: 1.0, stats, up: 1, behind: 0, server: None };
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mut text = Vec::new();
        let mut log = HdrLog::begin(&mut text, began).unwrap();
        log.interval("a, b", 0, &interval, began + Duration::from_secs(3)).unwrap();
        log.interval("a, b", 1, &interval, began + Duration::from_secs(4)).unwrap();
        let legend = b"\"StartTimestamp\"";
        assert!(text.windows(legend.len()).any(|part| part == legend));
        // The crate's reader knows no legend.
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"\""));
        let text: Vec<u8> = lines.flatten().copied().collect();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = {
                    use base64_of_the_log::decode;
                    decode(interval.encoded_histogram())
                };
                let histogram: hdrhistogram::Histogram<u64> =
                    Deserializer::new().deserialize(&mut io::Cursor::new(bytes)).unwrap();
                let tag = interval.tag().unwrap().as_str().to_owned();
                found.push((
                    tag,
                    interval.start_timestamp().as_secs(),
                    histogram.len(),
                    interval.max().round(),
                ));
            }
        }
        assert_eq!(found, [("a__b/0/get".to_owned(), 2, 3, 50.0), ("a__b/1/get".to_owned(), 3, 3, 50.0)]);
    }

    /// Base64 for this test alone; the writer's is hdrhistogram's own.
    mod base64_of_the_log {
        pub(super) fn decode(text: &str) -> Vec<u8> {
            let value = |c: u8| match c {
                b'A'..=b'Z' => u32::from(c - b'A'),
                b'a'..=b'z' => u32::from(c - b'a') + 26,
                b'0'..=b'9' => u32::from(c - b'0') + 52,
                b'+' => 62,
                b'/' => 63,
                _ => panic!("{c}"),
            };
            let mut out = Vec::new();
            for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
                let bits = chunk.iter().fold(0, |bits, c| bits << 6 | value(*c)) << (6 * (4 - chunk.len()));
                out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
            }
            out
        }
    }
}
