#![forbid(unsafe_code)]
//! One page of several commands' results: every ratio at a glance, those that are lost included, then each command's
//! tables and charts, then the machine.

use std::fmt::Write;

use super::html::{self, Table};
use super::page::Page;
use super::records::{About, Ratio, Record, Scene, Start};
use super::svg::escape;
use super::terminal::{bytes, count, time};

/// Medians that differ by less are called even: a run a second time differs by as much.
const EVEN: f64 = 0.02;

/// Figures of which the table at the top has a row, beside every one that is lost; the commands' own tables have all.
const AT_A_GLANCE: [&str; 5] = ["per_second", "p50_us", "p99_us", "cpu_us_per_request", "resident_bytes"];

/// Figures of which a row at the top would say what another one's does.
const NOT_AT_A_GLANCE: [&str; 3] = ["p90_us", "p999_us", "resident_peak_bytes"];

/// What a command wrote.
struct Part {
    start: Start,
    page: Page,
    ratios: Vec<Ratio>,
    scenes: Vec<Scene>,
    /// `None` if it was cut off.
    end: Option<(u8, Option<String>)>,
}

/// A report that is being put together.
#[derive(Default)]
pub struct Overview {
    facts: Vec<(String, String)>,
    parts: Vec<Part>,
}

/// Whether a ratio is good for the target it is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Better,
    Even,
    Worse,
}

impl Verdict {
    fn of(ratio: &Ratio) -> Verdict {
        let is_apart = ratio.low > 1.0 || ratio.high < 1.0;
        if !is_apart || (ratio.median - 1.0).abs() < EVEN {
            return Verdict::Even;
        }
        // Of rates more is better; of everything else, times, memory and bytes, less.
        let is_better = (ratio.median > 1.0) == (ratio.figure == "per_second");
        if is_better { Verdict::Better } else { Verdict::Worse }
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Even => "even",
            Verdict::Worse => "WORSE",
        }
    }
}

impl Overview {
    /// A record, in the order of the file.
    ///
    /// # Errors
    /// One that belongs to no command.
    pub fn take(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::About(About { facts }) => self.facts.extend(facts),
            Record::Start(start) => {
                let (page, ratios, scenes) = (Page::default(), Vec::new(), Vec::new());
                self.parts.push(Part { start, page, ratios, scenes, end: None });
            }
            of_command => {
                let part = self.parts.last_mut().ok_or("no start record before it")?;
                match of_command {
                    Record::Interval(interval) => part.page.interval(interval),
                    Record::Summary(summary) => part.page.known_run(*summary),
                    Record::Ratio(ratio) => part.ratios.push(ratio),
                    Record::Scene(scene) => part.scenes.push(scene),
                    Record::Failover(failover) => part.page.note(format!(
                        "Longest time without an acknowledged write: {:.1} ms.",
                        failover.gap_ms
                    )),
                    Record::Found(found) => part.page.note(match found.rate {
                        Some(rate) => format!(
                            "Up to {} requests a second p99 stays under {}.",
                            count(rate),
                            time(found.p99_bound_us).trim()
                        ),
                        None => "No rate that was tried keeps the bound.".to_owned(),
                    }),
                    Record::End(end) => part.end = Some((end.exit, end.message)),
                    Record::Point(_) | Record::About(_) | Record::Start(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether no command wrote anything.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The page.
    pub fn render(&self, title: &str) -> String {
        let mut out = String::new();
        if let Some(table) = self.glance() {
            let ratios = || self.parts.iter().flat_map(|part| &part.ratios).map(Verdict::of);
            let of = |wanted: Verdict| ratios().filter(|verdict| *verdict == wanted).count();
            let _ = writeln!(
                out,
                "<p>Of {} figures {} are better, {} even and <strong>{} worse</strong>. A ratio is the median over the rounds, which alternate between the servers; \
                 where its spread holds 1, or it is within {:.0} %, it is called even. Latency counts from the time at which a request was meant to leave.</p>",
                ratios().count(),
                of(Verdict::Better),
                of(Verdict::Even),
                of(Verdict::Worse),
                EVEN * 100.0
            );
            out.push_str(&table.render());
        }
        for part in &self.parts {
            let _ = writeln!(out, "<h2 class=\"part\">{}</h2>", escape(&part.title()));
            match &part.end {
                Some((0, _)) => {}
                Some((exit, message)) => {
                    let message = message.clone().unwrap_or_else(|| format!("exit status {exit}"));
                    let _ = writeln!(out, "<p class=\"wrong\">It failed: {}</p>", escape(&message));
                }
                None => out.push_str("<p class=\"wrong\">It was cut off: what follows is not all.</p>\n"),
            }
            if let Some(table) = ratio_table("Ratios", "", &part.ratios, |_| true) {
                out.push_str(&table.render());
            }
            if let Some(table) = scene_table(&part.scenes) {
                out.push_str(&table.render());
            }
            out.push_str(&part.page.body());
            let command = format!("ringkeeper-loadgen {}", part.start.arguments.join(" "));
            let _ = writeln!(out, "<p><code>{}</code></p>", escape(&command));
        }
        out.push_str("<h2 class=\"part\">Measured on</h2>\n<dl>");
        for (what, value) in self.all_facts() {
            let _ = write!(out, "<dt>{}</dt><dd><code>{}</code></dd>", escape(&what), escape(&value));
        }
        out.push_str("</dl>\n");
        html::document(title, &out)
    }

    /// What was said of the machine, and what the programs found.
    fn all_facts(&self) -> Vec<(String, String)> {
        let mut facts = self.facts.clone();
        for part in &self.parts {
            let machine = &part.start.machine;
            for (what, value) in [
                ("Processor", format!("{}, {} cores", machine.processor, machine.cores)),
                ("Memory", bytes(machine.memory_bytes as f64)),
                ("Kernel", machine.kernel.clone()),
                ("Load", format!("ringkeeper-loadgen {}, on the same machine", part.start.version)),
            ] {
                let fact = (what.to_owned(), value);
                if !facts.contains(&fact) {
                    facts.push(fact);
                }
            }
        }
        facts
    }

    /// The figures that matter most of every part.
    fn glance(&self) -> Option<Table> {
        let mut all: Option<Table> = None;
        for part in &self.parts {
            // Of scenes nearly every figure is one that matters.
            let is_scene = !part.scenes.is_empty();
            let is_shown = |ratio: &Ratio| {
                let figure = ratio.figure.as_str();
                let is_lost = Verdict::of(ratio) == Verdict::Worse;
                is_lost || AT_A_GLANCE.contains(&figure) || is_scene && !NOT_AT_A_GLANCE.contains(&figure)
            };
            let Some(table) = ratio_table("At a glance", &part.title(), &part.ratios, is_shown) else {
                continue;
            };
            match &mut all {
                None => all = Some(table),
                Some(all) => all.rows.extend(table.rows),
            }
        }
        all
    }
}

impl Part {
    fn title(&self) -> String {
        self.start.title.clone().unwrap_or_else(|| self.start.command.clone())
    }
}

/// Ratios as a table, those of figures that are shown.
fn ratio_table(title: &str, of: &str, ratios: &[Ratio], is_shown: impl Fn(&Ratio) -> bool) -> Option<Table> {
    let first = ratios.first()?;
    let head = ["", &first.base, &first.target, "ratio", "spread", ""];
    let row = |ratio: &Ratio| {
        let mut what = figure_name(&ratio.figure);
        if !of.is_empty() {
            what = format!("{of}: {what}");
        }
        vec![
            what,
            figure_text(&ratio.figure, ratio.base_value),
            figure_text(&ratio.figure, ratio.value),
            share(ratio.median),
            format!("{} – {}", share(ratio.low), share(ratio.high)),
            Verdict::of(ratio).word().to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = ratios.iter().filter(|ratio| is_shown(ratio)).map(row).collect();
    Some(Table { title: title.to_owned(), head: head.map(str::to_owned).into(), rows })
}

/// Every turn of a scene.
fn scene_table(scenes: &[Scene]) -> Option<Table> {
    let first = scenes.first()?;
    let names: Vec<&String> = first.figures.keys().collect();
    let row = |scene: &Scene| {
        let figure = |name: &&String| {
            let value = scene.figures.get(*name);
            value.map_or_else(|| "–".to_owned(), |value| figure_text(name, *value))
        };
        let name = format!("{} #{}", scene.target, scene.round + 1);
        [vec![name], names.iter().map(figure).collect()].concat()
    };
    Some(Table {
        title: format!("{} of {}, every turn", first.scene, count(first.count as f64)),
        head: [vec![String::new()], names.iter().map(|name| figure_name(name)).collect()].concat(),
        rows: scenes.iter().map(row).collect(),
    })
}

/// A figure's name without its unit, for people.
fn figure_name(figure: &str) -> String {
    match figure {
        "per_second" => "a second".to_owned(),
        "p999_us" => "p99.9".to_owned(),
        _ => {
            let words = figure.replace("_us_per_", "_per_").replace("_bytes", "");
            let words = words.strip_suffix("_us").or_else(|| words.strip_suffix("_s")).unwrap_or(&words);
            words.replace("_per_", " a ").replace('_', " ").replace("cpu", "CPU")
        }
    }
}

/// Its value, in the unit that its name says.
fn figure_text(figure: &str, value: f64) -> String {
    if figure.contains("_us_per_") {
        format!("{value:.2} µs")
    } else if figure.ends_with("_us") {
        time(value).trim().to_owned()
    } else if figure.ends_with("_s") {
        time(value * 1e6).trim().to_owned()
    } else if figure.contains("bytes") {
        bytes(value)
    } else {
        count(value)
    }
}

/// Three digits of a ratio.
fn share(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0} ×"),
        ratio if ratio >= 10.0 => format!("{ratio:.1} ×"),
        ratio if ratio >= 1.0 => format!("{ratio:.2} ×"),
        ratio => format!("{ratio:.3} ×"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::{End, Machine};
    use super::*;

    fn ratio(figure: &str, (median, low, high): (f64, f64, f64)) -> Ratio {
        let (target, base, figure) = ("ours".to_owned(), "stock".to_owned(), figure.to_owned());
        Ratio { target, base, figure, value: median * 10.0, base_value: 10.0, median, low, high, rounds: 3 }
    }

    fn start(title: &str) -> Record {
        Record::Start(Start {
            command: "compare".to_owned(),
            title: Some(title.to_owned()),
            arguments: vec!["compare".to_owned(), "<a>".to_owned()],
            version: "0".to_owned(),
            unix_time_s: 0.0,
            seed: 1,
            machine: Machine { processor: "a processor".to_owned(), ..Machine::default() },
        })
    }

    #[test]
    fn more_is_better_of_rates_alone_and_what_may_be_luck_is_even() {
        for (figure, values, verdict) in [
            ("per_second", (2.0, 1.5, 3.0), Verdict::Better),
            ("per_second", (0.5, 0.4, 0.9), Verdict::Worse),
            ("p99_us", (2.0, 1.5, 3.0), Verdict::Worse),
            ("resident_bytes", (0.2, 0.2, 0.2), Verdict::Better),
            ("p50_us", (1.3, 0.9, 1.5), Verdict::Even),
            ("per_second", (0.999, 0.998, 0.9995), Verdict::Even),
        ] {
            assert_eq!(Verdict::of(&ratio(figure, values)), verdict, "{figure} {values:?}");
        }
    }

    #[test]
    fn figures_say_their_units_once() {
        for (figure, name, value, text) in [
            ("cpu_us_per_request", "CPU a request", 2.5, "2.50 µs"),
            ("last_event_p50_us", "last event p50", 1500.0, "1.5 ms"),
            ("ready_s", "ready", 0.25, "250.0 ms"),
            ("resident_bytes_per_session", "resident a session", 2048.0, "2.0 KiB"),
            ("per_second", "a second", 12345.0, "12,345"),
        ] {
            assert_eq!((figure_name(figure).as_str(), figure_text(figure, value).as_str()), (name, text));
        }
    }

    #[test]
    fn the_page_shows_what_is_lost_and_what_failed() {
        let mut overview = Overview::default();
        assert!(overview.take(Record::End(End { exit: 0, message: None })).is_err() && overview.is_empty());
        let facts = vec![("JVM".to_owned(), "17 <x>".to_owned())];
        for record in [
            Record::About(About { facts }),
            start("first"),
            Record::Ratio(ratio("p99_us", (1.21, 1.1, 1.3))),
            Record::Ratio(ratio("p999_us", (0.5, 0.4, 0.6))),
            Record::Ratio(ratio("written_bytes_per_request", (1.7, 1.6, 1.8))),
            Record::End(End { exit: 0, message: None }),
            start("second"),
            Record::End(End { exit: 4, message: Some("it died".to_owned()) }),
            start("third"),
        ] {
            overview.take(record).unwrap();
        }
        let page = overview.render("a title");
        for part in [
            "<h1>a title</h1>",
            "Of 3 figures 1 are better, 0 even and <strong>2 worse</strong>",
            // No figure of the table at the top, but lost.
            "<td>first: written a request</td>",
            "<td>first: p99</td><td>10 µs</td><td>12 µs</td><td>1.21 ×</td><td>1.10 × – 1.30 ×</td><td>WORSE</td>",
            "It failed: it died",
            "It was cut off",
            "<dt>JVM</dt><dd><code>17 &lt;x&gt;</code></dd>",
            "a processor",
            "compare &lt;a&gt;",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        // p99.9 is in the part's own table alone.
        assert!(page.contains("<td>p99.9</td>") && !page.contains("first: p99.9"), "{page}");
    }
}
