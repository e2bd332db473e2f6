#![forbid(unsafe_code)]
//! What the server has acknowledged and must therefore still hold (`--verify`).
//!
//! Every value carries a stamp that names its writer and the number of the write. While the load runs, a session's reads
//! are held against what the same session was told before. Afterwards every key is read back: its mzxid must not be older
//! than the newest acknowledged write, and if it is that one, the stamp must be its stamp. A write that was never answered
//! may have happened or not: it is *unknown*, never *failed*.

use std::collections::HashMap;

use ringkeeper::wire::Stat;

use crate::engine::Violation;

/// Bytes of a stamp; values are at least as long when `--verify` is asked for.
pub const STAMP_BYTES: usize = 20;

const MAGIC: [u8; 4] = *b"RKlg";

/// Which write a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Tells runs apart.
    pub run: u32,
    /// The connection that wrote, counted over all threads.
    pub writer: u32,
    /// Its nth write.
    pub nth: u64,
}

impl Stamp {
    /// Overwrites the beginning of a value, if there is room.
    pub fn write(self, value: &mut [u8]) {
        if let Some(place) = value.get_mut(..STAMP_BYTES) {
            place[..4].copy_from_slice(&MAGIC);
            place[4..8].copy_from_slice(&self.run.to_be_bytes());
            place[8..12].copy_from_slice(&self.writer.to_be_bytes());
            place[12..].copy_from_slice(&self.nth.to_be_bytes());
        }
    }

    /// Reads it from a value that one of our runs wrote.
    pub fn read(value: &[u8]) -> Option<Stamp> {
        let rest = value.strip_prefix(&MAGIC)?;
        let (run, rest) = rest.split_first_chunk::<4>()?;
        let (writer, rest) = rest.split_first_chunk::<4>()?;
        let (nth, _) = rest.split_first_chunk::<8>()?;
        Some(Stamp {
            run: u32::from_be_bytes(*run),
            writer: u32::from_be_bytes(*writer),
            nth: u64::from_be_bytes(*nth),
        })
    }
}

/// The newest acknowledged write of a key, and whether any write of it is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Acked {
    zxid: i64,
    stamp: Option<Stamp>,
    unknown: bool,
}

/// What became of a znode that the load created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its create was acknowledged.
    Exists,
    /// Its delete was acknowledged.
    Gone,
    /// Its last change was not answered.
    Unknown,
}

/// One thread's ledger, and after [`Ledger::merge`] all threads'.
#[derive(Default, Debug)]
pub struct Ledger {
    keys: HashMap<u64, Acked>,
    fresh: HashMap<Vec<u8>, Fate>,
    /// The newest mzxid of a key that a session was told: what it may not go behind.
    told: HashMap<(u32, u64), i64>,
}

impl Ledger {
    /// A write of a key was acknowledged.
    pub fn written(&mut self, writer: u32, key: u64, stamp: Stamp, stat: &Stat) -> Result<(), Violation> {
        self.tell(writer, key, stat.mzxid)?;
        let acked = self.keys.entry(key).or_default();
        if stat.mzxid > acked.zxid {
            (acked.zxid, acked.stamp) = (stat.mzxid, Some(stamp));
        }
        Ok(())
    }

    /// A session was told that a key's data are of this zxid.
    pub fn tell(&mut self, session: u32, key: u64, mzxid: i64) -> Result<(), Violation> {
        let before = self.told.entry((session, key)).or_insert(mzxid);
        if mzxid < *before {
            return Err(Violation::Stale(format!(
                "key {key} at mzxid 0x{mzxid:x}, which this session saw at 0x{before:x}"
            )));
        }
        *before = mzxid;
        Ok(())
    }

    /// A session ended; the next one on the connection may see less.
    pub fn forget_session(&mut self, session: u32) {
        self.told.retain(|(of, _), _| *of != session);
    }

    /// A write of a key was never answered.
    pub fn unknown(&mut self, key: u64) {
        self.keys.entry(key).or_default().unknown = true;
    }

    /// A znode was created or deleted, or perhaps.
    pub fn fate(&mut self, path: &[u8], fate: Fate) {
        self.fresh.insert(path.into(), fate);
    }

    /// A znode is not to be checked: it went with its session.
    pub fn forget(&mut self, path: &[u8]) {
        self.fresh.remove(path);
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: Ledger) {
        for (key, theirs) in other.keys {
            let ours = self.keys.entry(key).or_default();
            ours.unknown |= theirs.unknown;
            if theirs.zxid > ours.zxid {
                (ours.zxid, ours.stamp) = (theirs.zxid, theirs.stamp);
            }
        }
        self.fresh.extend(other.fresh);
    }

    /// Keys to read back.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.keys.keys().copied()
    }

    /// Znodes to look for.
    pub fn fresh(&self) -> impl Iterator<Item = &[u8]> {
        self.fresh.keys().map(Vec::as_slice)
    }

    /// What is wrong with a key as it was read back; `None` for a key that is not there.
    pub fn check_key(&self, key: u64, found: Option<(&[u8], &Stat)>) -> Option<String> {
        let acked = self.keys.get(&key)?;
        let stamp = acked.stamp?;
        let Some((data, stat)) = found else {
            return Some(format!("key {key} is gone; a write at 0x{:x} was acknowledged", acked.zxid));
        };
        if stat.mzxid < acked.zxid {
            let (found, acked) = (stat.mzxid, acked.zxid);
            return Some(format!("key {key} is at 0x{found:x}; a write at 0x{acked:x} was acknowledged"));
        }
        if stat.mzxid == acked.zxid && Stamp::read(data) != Some(stamp) {
            return Some(format!(
                "key {key} at 0x{:x} does not hold what was acknowledged there",
                acked.zxid
            ));
        }
        if stat.mzxid > acked.zxid && !acked.unknown {
            let (found, acked) = (stat.mzxid, acked.zxid);
            return Some(format!("key {key} changed at 0x{found:x}, after the last write (0x{acked:x})"));
        }
        None
    }

    /// What is wrong with a created znode.
    pub fn check_fresh(&self, path: &[u8], exists: bool) -> Option<String> {
        let shown = String::from_utf8_lossy(path);
        match (self.fresh.get(path)?, exists) {
            (Fate::Exists, false) => Some(format!("{shown} is gone; its create was acknowledged")),
            (Fate::Gone, true) => Some(format!("{shown} is there; its delete was acknowledged")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(nth: u64) -> Stamp {
        Stamp { run: 1, writer: 2, nth }
    }

    fn value(nth: u64) -> Vec<u8> {
        let mut value = vec![0; 32];
        stamp(nth).write(&mut value);
        value
    }

    fn at(mzxid: i64) -> Stat {
        Stat { mzxid, ..Stat::default() }
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_only_then() {
        assert_eq!(Stamp::read(&value(9)), Some(stamp(9)));
        assert_eq!(Stamp::read(b"something else that is long enough"), None);
        assert_eq!(Stamp::read(&value(9)[..19]), None);
        let mut short = [0; 4];
        stamp(1).write(&mut short);
        assert_eq!(short, [0; 4]);
    }

    #[test]
    fn a_lost_acknowledged_write_is_found_in_each_of_its_forms() {
        let mut ledger = Ledger::default();
        ledger.written(2, 5, stamp(1), &at(100)).unwrap();
        assert_eq!(ledger.check_key(5, Some((&value(1), &at(100)))), None);
        assert!(ledger.check_key(5, None).unwrap().contains("gone"));
        assert!(ledger.check_key(5, Some((&value(0), &at(99)))).unwrap().contains("acknowledged"));
        assert!(ledger.check_key(5, Some((&value(0), &at(100)))).unwrap().contains("does not hold"));
        assert!(ledger.check_key(5, Some((&value(2), &at(101)))).unwrap().contains("after the last"));
        assert_eq!(ledger.check_key(6, None), None, "never written, never checked");
    }

    #[test]
    fn an_unanswered_write_may_have_happened_or_not() {
        let mut ledger = Ledger::default();
        ledger.written(2, 5, stamp(1), &at(100)).unwrap();
        ledger.unknown(5);
        assert_eq!(ledger.check_key(5, Some((&value(1), &at(100)))), None);
        assert_eq!(ledger.check_key(5, Some((&value(2), &at(101)))), None);
        assert!(ledger.check_key(5, Some((&value(0), &at(99)))).is_some());
    }

    #[test]
    fn a_session_must_not_see_a_key_older_than_it_saw_it() {
        let mut ledger = Ledger::default();
        ledger.written(2, 5, stamp(1), &at(100)).unwrap();
        assert!(ledger.tell(2, 5, 99).is_err());
        assert!(ledger.tell(3, 5, 99).is_ok(), "another session may lag");
        ledger.forget_session(2);
        assert!(ledger.tell(2, 5, 99).is_ok());
    }

    #[test]
    fn the_threads_ledgers_together_keep_the_newest_write() {
        let (mut a, mut b) = (Ledger::default(), Ledger::default());
        a.written(1, 5, stamp(1), &at(100)).unwrap();
        b.written(2, 5, stamp(2), &at(101)).unwrap();
        b.fate(b"/x", Fate::Exists);
        b.fate(b"/y", Fate::Gone);
        b.fate(b"/z", Fate::Unknown);
        a.merge(b);
        assert!(a.check_key(5, Some((&value(1), &at(100)))).is_some());
        assert_eq!(a.check_key(5, Some((&value(2), &at(101)))), None);
        assert!(a.check_fresh(b"/x", false).is_some() && a.check_fresh(b"/x", true).is_none());
        assert!(a.check_fresh(b"/y", true).is_some() && a.check_fresh(b"/y", false).is_none());
        assert!(a.check_fresh(b"/z", true).is_none() && a.check_fresh(b"/z", false).is_none());
    }
}
