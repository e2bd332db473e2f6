#![forbid(unsafe_code)]
//! Reads result files back: one record after the other, and refuses what is not one.
//!
//! A file may hold several programs' records one after the other (`cat a.jsonl b.jsonl`). Kinds of record that a later
//! version of the same schema may have added are passed over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::records::{Line, Record, SCHEMA};

/// Longest line, bytes; an interval with every kind of request has three thousand.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Kinds that [`Record`] knows, as they are written.
const KNOWN: [&str; 10] =
    ["about", "start", "interval", "summary", "ratio", "point", "found", "failover", "scene", "end"];

/// Why a result file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Read(String, std::io::Error),
    /// A line that is no record.
    #[error("{file}:{line}: not a result of ringkeeper-loadgen: {why}")]
    Foreign {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// The records of a file, in their order. After an error nothing that follows means anything.
#[derive(Debug)]
pub struct Records<R> {
    name: String,
    from: R,
    line: usize,
}

impl Records<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ReadError::Read`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Records::new(&name, BufReader::new(file))),
            Err(error) => Err(ReadError::Read(name, error)),
        }
    }
}

impl<R: BufRead> Records<R> {
    /// Of a reader; errors call it `name`.
    pub fn new(name: &str, from: R) -> Records<R> {
        Records { name: name.to_owned(), from, line: 0 }
    }

    /// Lines read so far, empty ones included.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The error that says why the line read last is no use.
    pub fn foreign(&self, why: impl Into<String>) -> ReadError {
        ReadError::Foreign { file: self.name.clone(), line: self.line, why: why.into() }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut bytes = Vec::new();
            match self.from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
                Ok(0) => return None,
                Ok(_) => self.line += 1,
                Err(error) => return Some(Err(ReadError::Read(self.name.clone(), error))),
            }
            let Ok(text) = str::from_utf8(&bytes) else { return Some(Err(self.foreign("not text"))) };
            if text.trim().is_empty() {
                continue;
            }
            match record(text) {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => {}
                Err(why) => return Some(Err(self.foreign(why))),
            }
        }
    }
}

/// A line's record; `None` for a kind that is not known.
fn record(text: &str) -> Result<Option<Record>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => return Err(format!("its schema is {other}; this program reads {SCHEMA}")),
        None => return Err("it names no schema".to_owned()),
    }
    match value.get("type").and_then(serde_json::Value::as_str) {
        Some(kind) if KNOWN.contains(&kind) => {
            let line: Line = serde_json::from_value(value).map_err(|error| error.to_string())?;
            Ok(Some(line.record))
        }
        Some(_) => Ok(None),
        None => Err("it names no type".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::{About, End};
    use super::*;

    fn line(record: Record) -> String {
        serde_json::to_string(&Line { schema: SCHEMA.to_owned(), record }).unwrap() + "\n"
    }

    #[test]
    fn records_come_in_their_order_and_later_kinds_are_passed_over() {
        let end = Record::End(End { exit: 3, message: None });
        let about = Record::About(About { facts: vec![("a".to_owned(), "b".to_owned())] });
        let later = format!("{{\"schema\":\"{SCHEMA}\",\"type\":\"later\"}}\n");
        let text = line(about.clone()) + "\n" + &later + &line(end.clone());
        let mut records = Records::new("x", text.as_bytes());
        let found: Vec<Record> = records.by_ref().map(Result::unwrap).collect();
        assert_eq!((found, records.line()), (vec![about, end], 4));
    }

    #[test]
    fn what_is_no_record_is_named_with_its_line() {
        let good = line(Record::End(End { exit: 0, message: None }));
        for (bad, why) in [
            ("1,2", "x:2: not a result"),
            ("{}", "names no schema"),
            ("{\"schema\":\"y/9\"}", "its schema is y/9"),
            ("{\"schema\":\"ringkeeper-loadgen/1\"}", "names no type"),
            ("{\"schema\":\"ringkeeper-loadgen/1\",\"type\":\"end\"}", "missing field"),
        ] {
            let text = good.clone() + bad;
            let error = Records::new("x", text.as_bytes()).nth(1).unwrap().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Records::open(Path::new("no/such/file")).unwrap_err().to_string().contains("no/such/file"));
    }
}
