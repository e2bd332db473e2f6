#![forbid(unsafe_code)]
//! Log lines: one an event, to standard error, in text, JSON or journald's form. Lives on: every thread makes lines,
//! the thread `log` writes them.
//!
//! **Logging never blocks serving** (reliability F27, S65): a line goes into a bounded queue or is dropped, and only the
//! writer thread ever waits for the sink. Dropped lines are counted, and reported as soon as the sink takes lines again.
//! Each call site may say 100 lines a second on each thread; the rest is counted in the same way. Control characters are
//! escaped, so that an event is one line whatever a client put into it (M47; [`client_text`] also cuts).
//!
//! The queue's handle is the one static here, because the panic hook and `fatal` have nowhere else to find it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::base::limits::LOG_TEXT_BYTES_MAX;
use crate::config::{LogFormat, LogLevel};

/// Lines that wait for the sink. With [`LINE_BYTES_MAX`] at most 32 MiB, in practice about 1 MiB.
const QUEUE_LINES: usize = 4096;

/// Longest line; the rest is cut.
const LINE_BYTES_MAX: usize = 8192;

/// Lines a second of one call site on one thread (reliability §7).
const SITE_LINES_PER_SECOND: u32 = 100;

/// Events of this target are never held back: the start-up table is long, and each of its lines counts.
pub const UNLIMITED: &str = "config";

/// How long a dying process waits for the sink.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

static LOG: OnceLock<Queue> = OnceLock::new();

/// How lines look, decided once at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `2026-01-31T10:20:30.123Z INFO  server: serving clients=3`.
    Text,
    /// One JSON object a line.
    Json,
    /// `<6>server: serving clients=3`: the journal has its own time and reads the level from the number.
    Journal,
}

/// Starts logging to standard error: the subscriber, the writer thread, and a panic hook. The environment's filter
/// (`RINGKEEPER_LOG`, as `info` or `ringkeeper::zab=debug,warn`) wins over `level`.
///
/// Returns what was wrong with the filter, if something was. Later calls do nothing.
pub fn start(
    level: LogLevel,
    format: LogFormat,
    filter: Option<&str>,
    journal: Option<&str>,
) -> Option<String> {
    let shape = shape(format, journal);
    let queue = Queue::start(std::io::stderr(), shape);
    if LOG.set(queue.clone()).is_err() {
        return None;
    }
    let default = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = || EnvFilter::builder().with_regex(false).with_default_directive(default.into());
    let (filter, complaint) = match builder().parse(filter.unwrap_or("")) {
        Ok(filter) => (filter, None),
        Err(error) => (builder().parse_lossy(""), Some(format!("RINGKEEPER_LOG: {error}"))),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(Lines { queue, shape });
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return Some("another subscriber was there first".to_owned());
    }
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(target: UNLIMITED, place, thread, "panic: {text}");
        flush();
    }));
    complaint
}

/// Waits, for a second at most, until the sink has taken every line.
pub fn flush() {
    if let Some(queue) = LOG.get() {
        queue.flush(FLUSH_WAIT);
    }
}

/// Lines lost since the start, because the sink did not take them or a call site was too loud.
pub fn lines_dropped() -> u64 {
    LOG.get().map_or(0, |queue| queue.dropped_total.load(Ordering::Relaxed))
}

/// Puts bytes into the queue as they are: for a terminal's progress line.
pub(super) fn raw(text: String) {
    if let Some(queue) = LOG.get() {
        queue.push(text);
    }
}

/// Text of a client's as a log line may hold it: control characters and broken UTF-8 escaped, cut at 256 bytes (M47).
pub fn client_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let before = text.len();
            push_escaped(&mut text, c);
            if text.len() > LOG_TEXT_BYTES_MAX {
                text.truncate(before);
                text.push('…');
                return text;
            }
        }
        for byte in chunk.invalid() {
            if text.len() + 4 > LOG_TEXT_BYTES_MAX {
                text.push('…');
                return text;
            }
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn shape(format: LogFormat, journal: Option<&str>) -> Shape {
    match format {
        LogFormat::Text => Shape::Text,
        LogFormat::Json => Shape::Json,
        LogFormat::Auto => {
            // systemd names the device and inode it gave us; what was redirected since has another pair.
            let stderr = std::fs::metadata("/proc/self/fd/2").ok();
            match stderr.map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino())) {
                Some(stderr) if journal == Some(stderr.as_str()) => Shape::Journal,
                _ => Shape::Text,
            }
        }
    }
}

enum Message {
    Line(String),
    /// Answered when the sink was given everything before it, and a report of what was lost before it.
    Flush(SyncSender<()>),
}

/// The sending half: never waits.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Message>,
    /// Lost and not reported yet.
    dropped: Arc<AtomicU64>,
    /// Lost since the start, reported or not.
    dropped_total: Arc<AtomicU64>,
}

impl Queue {
    fn start(sink: impl Write + Send + 'static, shape: Shape) -> Queue {
        let (lines, received) = sync_channel(QUEUE_LINES);
        let queue = Queue { lines, dropped: Arc::default(), dropped_total: Arc::default() };
        let (dropped, dropped_total) = (queue.dropped.clone(), queue.dropped_total.clone());
        let writer = std::thread::Builder::new().name("log".to_owned());
        // Without a writer lines are dropped and counted, as with a sink that takes none.
        drop(writer.spawn(move || write_lines(&received, sink, shape, &dropped, &dropped_total)));
        queue
    }

    fn push(&self, line: String) {
        match self.lines.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.drop_one(),
        }
    }

    fn drop_one(&self) {
        // Relaxed: counts only; the writer thread takes whatever it sees, and sees the rest the next time.
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.dropped_total.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the sink was given everything before this in time.
    fn flush(&self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        let (done, answer) = sync_channel(1);
        let mut message = Message::Flush(done);
        // A full queue is given until the deadline to move: this is a dying process, nobody is being served.
        while let Err(TrySendError::Full(back)) = self.lines.try_send(message) {
            if Instant::now() >= deadline {
                return false;
            }
            message = back;
            std::thread::yield_now();
        }
        answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// The writer thread: batches what has arrived into one write, and says what was lost. Each lost line is reported once:
/// `dropped` is what no report that the sink took has told yet. `sink` keeps nothing back, as standard error does not.
fn write_lines(
    received: &Receiver<Message>,
    mut sink: impl Write,
    shape: Shape,
    dropped: &AtomicU64,
    dropped_total: &AtomicU64,
) {
    let mut batch = String::new();
    // Where each line of the batch ends.
    let mut ends = Vec::new();
    // The sink failed within a line.
    let mut torn = false;
    loop {
        // The time-out is for lost lines after which no line comes.
        let mut next = match received.recv_timeout(Duration::from_secs(1)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if torn {
            batch.push('\n');
        }
        let mut flushed = None;
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    batch.push_str(&line);
                    ends.push(batch.len());
                }
                Message::Flush(done) => flushed = Some(done),
            }
            next = if flushed.is_none() && batch.len() < 64 * 1024 { received.try_recv().ok() } else { None };
        }
        // Relaxed: see `drop_one`.
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines were dropped, too many came at once or nobody read them");
            batch.push_str(&frame(shape, Level::WARN, "log", &text, "", OffsetDateTime::now_utc()));
        }
        let taken = write_out(&mut sink, batch.as_bytes());
        // A line of which only the newline is missing was taken: the next batch begins with one.
        let lines = ends.iter().filter(|&&end| end > taken + 1).count() as u64;
        if taken + 1 < batch.len() {
            // The report is last, so it was not told either; what it tells is in the total since it was lost.
            dropped.fetch_add(lost + lines, Ordering::Relaxed);
            dropped_total.fetch_add(lines, Ordering::Relaxed);
        }
        if taken > 0 {
            torn = taken < batch.len() && batch.as_bytes()[taken - 1] != b'\n';
        }
        batch.clear();
        ends.clear();
        if let Some(done) = flushed {
            let _ = done.send(());
        }
    }
}

/// How many bytes the sink took before it failed; all of them if it did not.
fn write_out(sink: &mut impl Write, bytes: &[u8]) -> usize {
    let mut taken = 0;
    while taken < bytes.len() {
        match sink.write(&bytes[taken..]) {
            Ok(0) => break,
            Ok(more) => taken += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    taken
}

/// The subscriber's layer: an event becomes a line.
struct Lines {
    queue: Queue,
    shape: Shape,
}

thread_local! {
    /// Call sites of this thread that spoke within the last second.
    static SITES: RefCell<HashMap<tracing::callsite::Identifier, (Instant, u32)>> = RefCell::default();
}

/// Whether a call site has lines left in this second.
fn may_speak(event: &Event<'_>, now: Instant) -> bool {
    let metadata = event.metadata();
    if metadata.target() == UNLIMITED || *metadata.level() > Level::INFO {
        return true;
    }
    SITES.with_borrow_mut(|sites| {
        let (since, lines) = sites.entry(metadata.callsite()).or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *lines) = (now, 0);
        }
        *lines += 1;
        *lines <= SITE_LINES_PER_SECOND
    })
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if may_speak(event, Instant::now()) {
            self.queue.push(line(event, self.shape, OffsetDateTime::now_utc()));
        } else {
            self.queue.drop_one();
        }
    }
}

/// Formats an event; the newline is included.
fn line(event: &Event<'_>, shape: Shape, now: OffsetDateTime) -> String {
    let metadata = event.metadata();
    let mut fields = Fields { json: shape == Shape::Json, message: String::new(), rest: String::new() };
    event.record(&mut fields);
    let Fields { message, rest, .. } = fields;
    let mut line = frame(shape, *metadata.level(), metadata.target(), &message, &rest, now);
    line.pop();
    if line.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line.push('\n');
    line
}

/// Puts what is already escaped into a shape, newline included.
fn frame(shape: Shape, level: Level, target: &str, message: &str, rest: &str, now: OffsetDateTime) -> String {
    let at = now
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .unwrap_or_default();
    match shape {
        Shape::Text => format!("{at} {level:<5} {target}: {message}{rest}\n"),
        Shape::Journal => {
            let priority = match level {
                Level::ERROR => 3,
                Level::WARN => 4,
                Level::INFO => 6,
                _ => 7,
            };
            format!("<{priority}>{target}: {message}{rest}\n")
        }
        Shape::Json => {
            format!(
                "{{\"time\":\"{at}\",\"level\":\"{level}\",\"target\":\"{target}\",\"message\":\"{message}\"{rest}}}\n"
            )
        }
    }
}

/// Collects an event's fields, escaped for the shape.
struct Fields {
    json: bool,
    message: String,
    rest: String,
}

impl Fields {
    fn push(&mut self, field: &Field, value: &str, quoted: bool) {
        let mut escaped = String::new();
        // A JSON line that is cut is no JSON: each value is, so that the line stays whole for up to a few long ones.
        for c in value.chars() {
            if escaped.len() > LINE_BYTES_MAX / 4 {
                escaped.push('…');
                break;
            }
            match c {
                '"' | '\\' if self.json => {
                    escaped.push('\\');
                    escaped.push(c);
                }
                c if self.json && c.is_control() => {
                    let _ = write!(escaped, "\\u{:04x}", u32::from(c));
                }
                c => push_escaped(&mut escaped, c),
            }
        }
        let name = field.name();
        let _ = match (name, self.json) {
            ("message", _) => {
                self.message = escaped;
                Ok(())
            }
            (_, false) => write!(self.rest, " {name}={escaped}"),
            (_, true) if quoted => write!(self.rest, r#","{name}":"{escaped}""#),
            (_, true) => write!(self.rest, r#","{name}":{escaped}"#),
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value, true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, &value.to_string(), false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, &value.to_string(), false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, &value.to_string(), false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"), true);
    }
}

fn push_escaped(text: &mut String, c: char) {
    // Beside control characters: the marks that turn text around on a terminal.
    if c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    {
        text.extend(c.escape_default());
    } else {
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// Longer than any machine takes: a test that waits so long hangs.
    const HANG: Duration = Duration::from_secs(120);

    /// A sink that waits for leave before each write and keeps what was written.
    struct Gated {
        leave: Receiver<()>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.leave.recv();
            self.written.lock().expect("no panic holds it").push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn check_line(shape: Shape, expected: &str, emit: impl FnOnce()) {
        let (open, leave) = channel();
        drop(open);
        let written = Arc::new(Mutex::new(String::new()));
        let queue = Queue::start(Gated { leave, written: written.clone() }, shape);
        let subscriber = tracing_subscriber::registry().with(Lines { queue: queue.clone(), shape });
        tracing::subscriber::with_default(subscriber, emit);
        assert!(queue.flush(HANG));
        let found = written.lock().expect("no panic holds it").clone();
        assert_eq!(found.matches('\n').count(), 1, "one line an event: {found:?}");
        assert!(found.contains(expected), "{found:?} lacks {expected:?}");
    }

    #[test]
    fn an_event_is_one_line_in_each_shape() {
        check_line(Shape::Text, " INFO  t: served a\\nb clients=3\n", || {
            tracing::info!(target: "t", clients = 3, "served {}", "a\nb");
        });
        check_line(Shape::Journal, "<4>t: odd path=/a\\u{1b}[31m\n", || {
            tracing::warn!(target: "t", path = "/a\x1b[31m", "odd");
        });
        check_line(Shape::Journal, "<3>t: bad\n", || tracing::error!(target: "t", "bad"));
        let json = r#""level":"INFO","target":"t","message":"a \"b\"\u000a\\","n":1,"ok":true,"s":"x"}"#;
        check_line(Shape::Json, json, || {
            tracing::info!(target: "t", n = 1, ok = true, s = "x", "{}", "a \"b\"\n\\");
        });
        check_line(Shape::Text, "…\n", || tracing::info!("{}", "x".repeat(1 << 20)));
    }

    #[test]
    fn a_blocked_sink_loses_lines_and_never_a_callers_time() {
        let (open, leave) = channel();
        let written = Arc::new(Mutex::new(String::new()));
        let queue = Queue::start(Gated { leave, written: written.clone() }, Shape::Text);
        // Returns though nobody reads: this is the test. The writer has taken 64 KiB at most before it waits.
        let pushed = 8 * QUEUE_LINES as u64;
        for nth in 0..pushed {
            queue.push(format!("line {nth}\n"));
        }
        assert!(queue.dropped_total.load(Ordering::Relaxed) >= pushed / 2);
        assert!(!queue.flush(Duration::from_millis(1)), "nobody has leave to write");
        drop(open);
        assert!(queue.flush(HANG));
        let written = written.lock().expect("no panic holds it").clone();
        let lost = queue.dropped_total.load(Ordering::Relaxed);
        assert_eq!(kept(&written) + lost, pushed, "every line is written or counted");
        assert_eq!(
            reported(&written),
            lost,
            "every loss is reported once: {}",
            &written[written.len() - 400..]
        );
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 0);
    }

    fn kept(written: &str) -> u64 {
        written.lines().filter(|line| line.starts_with("line ")).count() as u64
    }

    /// The sum over all reports: the writer may look for losses while they still happen, and then speaks again.
    fn reported(written: &str) -> u64 {
        let whole = " lines were dropped, too many came at once or nobody read them";
        let reports = written.lines().filter_map(|line| line.split_once(" log: ")?.1.strip_suffix(whole));
        reports.map(|lost| lost.parse::<u64>().expect("a number")).sum()
    }

    /// A sink that takes three bytes a call, and fails at the calls it is told.
    struct Failing {
        calls: u32,
        fails: fn(u32) -> bool,
        written: Arc<Mutex<String>>,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.calls += 1;
            if (self.fails)(self.calls) {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(3);
            let text = std::str::from_utf8(&bytes[..taken]).expect("the lines of these tests are ASCII");
            self.written.lock().expect("no panic holds it").push_str(text);
            Ok(taken)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_fails_within_a_batch_loses_only_the_lines_it_did_not_take_whole() {
        // Within lines, at their ends, at the first byte, within reports, and for a while.
        let failures: [fn(u32) -> bool; 4] =
            [|call| call == 1, |call| call % 7 == 0, |call| call % 50 == 49, |call| (20..40).contains(&call)];
        for fails in failures {
            let written = Arc::new(Mutex::new(String::new()));
            let queue = Queue::start(Failing { calls: 0, fails, written: written.clone() }, Shape::Text);
            for nth in 0..200 {
                queue.push(format!("line {nth:03} is whole\n"));
                if nth % 10 == 9 {
                    assert!(queue.flush(HANG));
                }
            }
            let written = written.lock().expect("no panic holds it").clone();
            let whole =
                written.lines().filter(|line| line.starts_with("line ") && line.ends_with(" is whole"));
            let whole =
                whole.map(|line| assert_eq!(line.len(), 17, "two lines in one: {line}")).count() as u64;
            let lost = queue.dropped_total.load(Ordering::Relaxed);
            assert!(lost > 0);
            assert_eq!(whole + lost, 200, "{written}");
            // A report takes more than 30 calls: under some of these failures none gets through.
            assert_eq!(reported(&written) + queue.dropped.load(Ordering::Relaxed), lost, "{written}");
        }
    }

    #[test]
    fn a_loud_call_site_is_held_back() {
        let (open, leave) = channel();
        drop(open);
        let written = Arc::new(Mutex::new(String::new()));
        let queue = Queue::start(Gated { leave, written: written.clone() }, Shape::Text);
        let subscriber =
            tracing_subscriber::registry().with(Lines { queue: queue.clone(), shape: Shape::Text });
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..2 * SITE_LINES_PER_SECOND {
                tracing::info!(target: UNLIMITED, "each of these counts");
            }
        });
        assert_eq!(queue.dropped_total.load(Ordering::Relaxed), 0);
        let subscriber =
            tracing_subscriber::registry().with(Lines { queue: queue.clone(), shape: Shape::Text });
        let pushed = 1000 * u64::from(SITE_LINES_PER_SECOND);
        let begun = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..pushed {
                tracing::info!(target: "loud", "again");
            }
        });
        let seconds = begun.elapsed().as_secs();
        assert!(queue.flush(HANG));
        let written = written.lock().expect("no panic holds it").clone();
        let kept = written.lines().filter(|line| line.ends_with(" loud: again")).count() as u64;
        assert_eq!(kept + queue.dropped_total.load(Ordering::Relaxed), pushed);
        // One second begins with the first line and each other one at least a second after the one before.
        assert!(kept <= (seconds + 1) * u64::from(SITE_LINES_PER_SECOND), "{kept} in {seconds} s");
        assert!(kept >= u64::from(SITE_LINES_PER_SECOND));
    }

    #[test]
    fn client_text_is_escaped_and_cut() {
        let cases: &[(&[u8], &str)] = &[
            (b"/plain", "/plain"),
            (b"a\nb\x1b[0m\x00", "a\\nb\\u{1b}[0m\\u{0}"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("\u{202e}abc".as_bytes(), "\\u{202e}abc"),
            ("zäh".as_bytes(), "zäh"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(client_text(bytes), *expected);
        }
        for long in [vec![b'x'; 1 << 20], vec![0xff; 1 << 20], vec![b'\n'; 1 << 20]] {
            let text = client_text(&long);
            assert!(text.len() <= LOG_TEXT_BYTES_MAX + '…'.len_utf8(), "{} bytes", text.len());
            assert!(text.ends_with('…'));
        }
    }

    #[test]
    fn the_journal_is_recognised_by_device_and_inode() {
        let stderr = std::fs::metadata("/proc/self/fd/2").expect("a standard error");
        let journal = format!("{}:{}", stderr.dev(), stderr.ino());
        assert_eq!(shape(LogFormat::Auto, Some(&journal)), Shape::Journal);
        assert_eq!(shape(LogFormat::Auto, Some("1:2")), Shape::Text);
        assert_eq!(shape(LogFormat::Auto, None), Shape::Text);
        assert_eq!(shape(LogFormat::Json, Some(&journal)), Shape::Json);
    }
}
