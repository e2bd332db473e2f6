#![forbid(unsafe_code)]
//! Charts as inline SVG: no script, no network, text that can be selected.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;

/// Told apart by people who see colours differently, too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

/// How a coordinate is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Evenly, from 0.
    Linear,
    /// By decades.
    Log,
    /// Shares below 1 by how little is left: 0.9, 0.99, 0.999.
    Percentile,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it measures, with its unit.
    pub label: String,
    /// How.
    pub scale: Scale,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Marks {
    /// A line through its points.
    Line,
    /// A dot each.
    Dots,
}

/// A line, or a cloud of dots.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Lines of one colour belong together.
    pub colour: usize,
    /// And are told apart by their dashes.
    pub dashes: usize,
    /// How it is drawn.
    pub marks: Marks,
    /// A line's in order of x.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    fn colour(&self) -> &'static str {
        COLOURS[self.colour % COLOURS.len()]
    }

    fn dashes(&self) -> &'static str {
        DASHES[self.dashes % DASHES.len()]
    }
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// Its lines.
    pub series: Vec<Series>,
}

/// Escapes text for HTML and SVG.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

impl Scale {
    /// Where a value lies, before it is fitted to the axis; `None` where the scale has no place for it.
    fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Scale::Linear => value,
            Scale::Log => value.log10(),
            Scale::Percentile => -(1.0 - value).log10(),
        };
        place.is_finite().then_some(place)
    }

    /// The ends of the axis in places, and the ticks with their text.
    fn ticks(self, low: f64, high: f64) -> (f64, f64, Vec<(f64, String)>) {
        match self {
            Scale::Linear => {
                let high = if high > 0.0 { high } else { 1.0 };
                let step = nice_step(high / 5.0);
                let count = (high / step).ceil() as usize;
                let ticks = (0..=count).map(|nth| nth as f64 * step);
                (0.0, count as f64 * step, ticks.map(|at| (at, number(at))).collect())
            }
            Scale::Log => {
                let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
                let ticks =
                    (low as i32..=high as i32).map(|power| (f64::from(power), number(10f64.powi(power))));
                (low, high, ticks.collect())
            }
            Scale::Percentile => {
                let known = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"];
                let high = high.max(1.0);
                let ticks = known.iter().enumerate().map(|(nth, text)| (nth as f64, format!("{text} %")));
                (0.0, high, ticks.filter(|(at, _)| *at <= high + 1e-9).collect())
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `at_least`.
fn nice_step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= at_least * 0.999)
        .unwrap_or(power)
}

fn number(value: f64) -> String {
    let (value, suffix) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    // Two digits behind the point at most, none that say nothing.
    let text = format!("{value:.2}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Chart {
    /// The chart as an `svg` element with a title, ready for a page.
    pub fn render(&self) -> String {
        let places: Vec<Vec<(f64, f64)>> = self.series.iter().map(|series| self.places(series)).collect();
        let mut out = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{0}</title>\n",
            escape(&self.title)
        );
        let all = || places.iter().flatten();
        if all().next().is_none() {
            let _ = write!(
                out,
                "<text x=\"{}\" y=\"{}\">nothing was measured</text></svg></figure>",
                LEFT,
                HEIGHT / 2.0
            );
            return out;
        }
        let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
        let (x_low, x_high, x_ticks) = self.x.scale.ticks(low, high);
        let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(*y), high.max(*y)));
        let (y_low, y_high, y_ticks) = self.y.scale.ticks(low, high);
        let across = |x: f64| LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let up = |y: f64| HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);
        for (at, text) in &x_ticks {
            let x = across(*at);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
                escape(text)
            );
        }
        for (at, text) in &y_ticks {
            let y = up(*at);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                escape(text)
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 10.0,
            escape(&self.x.label),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(&self.y.label)
        );
        for (series, points) in self.series.iter().zip(&places) {
            let colour = series.colour();
            if series.marks == Marks::Dots || points.len() == 1 {
                for (x, y) in points {
                    let _ = writeln!(
                        out,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\" fill-opacity=\"0.8\"/>",
                        across(*x),
                        up(*y)
                    );
                }
                continue;
            }
            let points: Vec<String> =
                points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y))).collect();
            let _ = writeln!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{}\" points=\"{}\"/>",
                series.dashes(),
                points.join(" ")
            );
        }
        out.push_str("</svg><div class=\"legend\">");
        for series in &self.series {
            if series.marks == Marks::Dots {
                let _ = write!(
                    out,
                    "<span><svg viewBox=\"0 0 30 6\"><circle cx=\"15\" cy=\"3\" r=\"3\" fill=\"{}\"/></svg>{}</span>",
                    series.colour(),
                    escape(&series.name)
                );
                continue;
            }
            let _ = write!(
                out,
                "<span><svg viewBox=\"0 0 30 6\"><line x1=\"0\" x2=\"30\" y1=\"3\" y2=\"3\" stroke=\"{}\" stroke-width=\"2.5\" stroke-dasharray=\"{}\"/></svg>{}</span>",
                series.colour(),
                series.dashes(),
                escape(&series.name)
            );
        }
        out.push_str("</div></figure>\n");
        out
    }

    fn places(&self, series: &Series) -> Vec<(f64, f64)> {
        let place = |(x, y): &(f64, f64)| Some((self.x.scale.place(*x)?, self.y.scale.place(*y)?));
        series.points.iter().filter_map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: (Scale, Scale), points: &[(f64, f64)]) -> String {
        drawn(scale, Marks::Line, points)
    }

    fn drawn(scale: (Scale, Scale), marks: Marks, points: &[(f64, f64)]) -> String {
        let axis = |scale| Axis { label: "a <b>".to_owned(), scale };
        let points = points.to_vec();
        let series = vec![Series { name: "s&t".to_owned(), colour: 0, dashes: 0, marks, points }];
        Chart { title: "t".to_owned(), x: axis(scale.0), y: axis(scale.1), series }.render()
    }

    #[test]
    fn points_lie_where_the_axes_say() {
        let svg = chart((Scale::Linear, Scale::Linear), &[(0.0, 0.0), (10.0, 100.0)]);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        assert!(svg.contains(&format!("points=\"{LEFT:.1},{bottom:.1} {right:.1},{TOP:.1}\"")), "{svg}");
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("s&amp;t") && !svg.contains("<b>"));
    }

    #[test]
    fn percentiles_and_decades_have_their_ticks() {
        let svg = chart((Scale::Percentile, Scale::Log), &[(0.0, 50.0), (0.99, 500.0), (0.999, 20_000.0)]);
        for tick in ["90 %", "99.9 %", ">10<", ">100k<"] {
            assert!(svg.contains(tick), "{tick} in {svg}");
        }
        assert!(!svg.contains("99.99 %"));
    }

    #[test]
    fn what_has_no_place_is_left_out_and_an_empty_chart_says_so() {
        let svg = chart((Scale::Percentile, Scale::Log), &[(1.0, 1.0), (0.5, 0.0), (0.5, f64::NAN)]);
        assert!(svg.contains("nothing was measured"));
        let svg = chart((Scale::Linear, Scale::Linear), &[(1.0, 0.0)]);
        assert!(svg.contains("<circle") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn dots_are_not_joined() {
        let points = [(0.0, 0.0), (10.0, 100.0), (4.0, 3.0)];
        let svg = drawn((Scale::Linear, Scale::Linear), Marks::Dots, &points);
        // And one in the legend.
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count()), (4, 0), "{svg}");
        let svg = drawn((Scale::Linear, Scale::Linear), Marks::Line, &points);
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count()), (0, 1), "{svg}");
    }

    #[test]
    fn ticks_are_round_numbers() {
        for (high, step) in [(0.07, 0.02), (1.0, 0.2), (7.0, 2.0), (10.0, 2.0), (99_000.0, 20_000.0)] {
            assert!((nice_step(high / 5.0) - step).abs() < step * 1e-9, "{high}");
        }
        assert_eq!([0.0, 0.25, 20.0, 1500.0, 2e6].map(number), ["0", "0.25", "20", "1.5k", "2M"]);
    }
}
