#![forbid(unsafe_code)]
//! A page that needs nothing else, and its tables; what reports of this workspace have in common.

use std::fmt::Write;

use super::svg::escape;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#1b1f24;background:#fff}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse;width:100%;font-size:13.5px}\
th,td{padding:.25em .45em;text-align:right;white-space:nowrap;border-bottom:1px solid #d8dee4;font-variant-numeric:tabular-nums}\
th:first-child,td:first-child{text-align:left}figure{margin:1.2em 0}figcaption{font-weight:600}\
svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:#57606a}.grid{stroke:#d8dee4;stroke-width:1}\
.legend{font-size:13px}.legend span{margin-right:1.2em;white-space:nowrap;display:inline-block}.legend svg{display:inline;width:30px;height:6px;margin-right:.4em;vertical-align:middle}\
.wrong{color:#a40e26;font-weight:600}.part{font-size:1.3em;margin-top:2.6em;padding-top:.8em;border-top:2px solid #d8dee4}.scroll{overflow-x:auto}code{font-size:13px;overflow-wrap:anywhere}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em}dd{margin:0}";

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Above it.
    pub title: String,
    /// The first row.
    pub head: Vec<String>,
    /// The others; the first cell names the row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Heading and `table` element.
    pub fn render(&self) -> String {
        let cells = |tag: &str, row: &[String]| -> String {
            row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell.trim()))).collect()
        };
        let mut out = format!(
            "<h2>{}</h2>\n<div class=\"scroll\"><table><tr>{}</tr>\n",
            escape(&self.title),
            cells("th", &self.head)
        );
        for row in &self.rows {
            let _ = writeln!(out, "<tr>{}</tr>", cells("td", row));
        }
        out.push_str("</table></div>\n");
        out
    }
}

/// The whole page around a body that is HTML already.
pub fn document(title: &str, body: &str) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ = write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(title)
    );
    out.push_str(body);
    out.push_str("</body></html>\n");
    out
}
