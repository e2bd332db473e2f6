#![forbid(unsafe_code)]
//! Tables in Markdown that tests read: what is claimed there has to be there.

/// The rows of so many cells whose first one is a number: the number, and the other cells.
pub(crate) fn rows(text: &str, cells: usize) -> Vec<(u32, Vec<&str>)> {
    let is_whole = |(_, others): &(u32, Vec<&str>)| others.len() + 1 == cells;
    text.lines().filter_map(row).filter(is_whole).collect()
}

fn row(line: &str) -> Option<(u32, Vec<&str>)> {
    let mut cells = line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim);
    Some((cells.next()?.parse().ok()?, cells.collect()))
}

/// What stands between backticks.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}
