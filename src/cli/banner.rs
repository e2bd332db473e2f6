#![forbid(unsafe_code)]
//! What a start says about itself, made of plain values: one fact a line, so that each can be searched for.

use std::fmt;
use std::time::Duration;

/// Facts known when the server can answer.
#[derive(Clone, Debug)]
pub struct Banner<'a> {
    /// The whole version string.
    pub version: &'a str,
    /// Where clients connect, as bound (with the port the kernel chose, if it chose).
    pub address: &'a str,
    /// `dataDir`.
    pub data: &'a str,
    /// `dataLogDir`.
    pub log: &'a str,
    /// What recovery found.
    pub recovery: Recovery<'a>,
    /// Which thread is on which core, in words.
    pub placement: &'a str,
    /// How the log reaches the disk, and how long one flush of the self-test took.
    pub flushing: Flushing<'a>,
}

/// What recovery found.
#[derive(Clone, Debug)]
pub struct Recovery<'a> {
    /// Zxid of the snapshot loaded, if there was one.
    pub snapshot: Option<i64>,
    /// Txns replayed behind it.
    pub replayed: u64,
    /// The last zxid known.
    pub last: i64,
    /// Znodes now in memory.
    pub znodes: u64,
    /// How long all of it took.
    pub took: Duration,
    /// What was cut off or set aside, if anything was.
    pub repaired: Option<&'a str>,
}

/// How the log reaches the disk.
#[derive(Clone, Debug)]
pub struct Flushing<'a> {
    /// `O_DIRECT + RWF_DSYNC`, and the fallbacks.
    pub method: &'a str,
    /// The file system's name, as in `ext4`.
    pub file_system: &'a str,
    /// Median of the self-test's flushes.
    pub latency: Duration,
}

impl Banner<'_> {
    /// The lines, without newlines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("ringkeeper {}", self.version)];
        lines.push(match self.data == self.log {
            true => format!("data and log in {}", self.data),
            false => format!("data in {}, log in {}", self.data, self.log),
        });
        let recovery = &self.recovery;
        let source = match recovery.snapshot {
            Some(zxid) => format!("snapshot 0x{zxid:x} and {} txns behind it", recovery.replayed),
            None if recovery.replayed > 0 => format!("{} txns, no snapshot", recovery.replayed),
            None => "nothing: an empty server".to_owned(),
        };
        lines.push(format!(
            "recovered {source} in {}: {} znodes, last zxid 0x{:x}",
            Short(recovery.took),
            recovery.znodes,
            recovery.last
        ));
        if let Some(repaired) = recovery.repaired {
            lines.push(format!("repaired: {repaired}"));
        }
        lines.push(format!("threads: {}", self.placement));
        let flushing = &self.flushing;
        lines.push(format!(
            "log by {} on {}, one flush takes {}",
            flushing.method,
            flushing.file_system,
            Short(flushing.latency)
        ));
        lines.push(format!("serving on {}", self.address));
        lines
    }
}

/// A duration with a unit people read: `870 µs`, `12.5 ms`, `3.2 s`.
struct Short(Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros();
        match us {
            0..1_000 => write!(f, "{us} µs"),
            1_000..1_000_000 => write!(f, "{}.{} ms", us / 1000, us / 100 % 10),
            _ => write!(f, "{}.{} s", us / 1_000_000, us / 100_000 % 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner() -> Banner<'static> {
        Banner {
            version: "3.9.5-ringkeeper-0.1.0-dev",
            address: "127.0.0.1:2181",
            data: "/d",
            log: "/d",
            recovery: Recovery {
                snapshot: Some(0x1f),
                replayed: 3,
                last: 0x22,
                znodes: 7,
                took: Duration::from_micros(12_540),
                repaired: None,
            },
            placement: "2 shards on cores 0-1, sequencer on core 1",
            flushing: Flushing {
                method: "O_DIRECT and RWF_DSYNC",
                file_system: "ext4",
                latency: Duration::from_micros(92),
            },
        }
    }

    #[test]
    fn one_fact_a_line() {
        let text = banner().lines().join("\n");
        assert_eq!(
            text,
            "ringkeeper 3.9.5-ringkeeper-0.1.0-dev\n\
             data and log in /d\n\
             recovered snapshot 0x1f and 3 txns behind it in 12.5 ms: 7 znodes, last zxid 0x22\n\
             threads: 2 shards on cores 0-1, sequencer on core 1\n\
             log by O_DIRECT and RWF_DSYNC on ext4, one flush takes 92 µs\n\
             serving on 127.0.0.1:2181"
        );
    }

    #[test]
    fn an_empty_server_and_a_repair_say_so() {
        let mut banner = banner();
        banner.log = "/log";
        banner.recovery = Recovery {
            snapshot: None,
            replayed: 0,
            last: 0,
            znodes: 5,
            took: Duration::from_millis(3200),
            repaired: Some("a torn tail of 4096 bytes"),
        };
        let text = banner.lines().join("\n");
        for expected in
            ["data in /d, log in /log", "nothing: an empty server in 3.2 s", "repaired: a torn tail"]
        {
            assert!(text.contains(expected), "{text}");
        }
    }
}
