//! TRUNC: the end of the history taken back, with the power going at every operation (R6; S2, S42, S46 for the log).

use std::collections::BTreeMap;

use ringkeeper::base::{Epoch, Zxid};
use ringkeeper::storage::recovery::{self, RecoverError};
use ringkeeper::storage::wal::LogFault;

use crate::disk::{Disk, DiskError, Rng};
use crate::server::{Server, settings};

type History = BTreeMap<i64, Vec<u8>>;

/// What a member did, and which histories its disk may hold.
#[derive(Default)]
struct Truth {
    /// With everything that was handed to the log so far.
    now: History,
    /// After each batch or cut that was handed to the log and is not known to be durable, oldest first.
    ahead: Vec<History>,
    /// After the last one that is.
    durable: History,
    committed: Zxid,
}

impl Truth {
    fn flush(&mut self, server: &mut Server) -> Result<(), DiskError> {
        while let Some(flushed) = server.write_next(self.committed)? {
            // Batches were cut by the writer: the history after one ends where the flush says.
            let at = self.ahead.iter().position(|history| ends(history) == flushed.up_to);
            let at = at.unwrap_or_else(|| panic!("nothing was handed out that ends at {}", flushed.up_to));
            self.durable = self.ahead[at].clone();
            self.ahead.drain(..=at);
        }
        assert!(self.ahead.is_empty());
        Ok(())
    }

    fn check(&mut self, found: &History, story: &str) {
        let may = std::iter::once(&self.durable).chain(&self.ahead).any(|history| history == found);
        let keys: Vec<Zxid> = found.keys().copied().map(Zxid).collect();
        assert!(may, "{story}: recovered {keys:?}, durable up to {}", ends(&self.durable));
        self.now = found.clone();
        self.durable = found.clone();
        self.ahead.clear();
    }
}

fn ends(history: &History) -> Zxid {
    history.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| Zxid(*zxid))
}

/// Epoch after epoch, some txns of each are committed and the rest is taken back: by a cut alone, by two, behind batches
/// that are not durable yet, at the end of a segment, within a batch.
fn script(server: &mut Server, truth: &mut Truth, rng: &mut Rng, rounds: u64) -> Result<(), DiskError> {
    for _ in 0..rounds {
        let mut last = ends(&truth.now);
        let epoch = Epoch(last.epoch().0 + 1);
        for _ in 0..1 + rng.below(7) {
            last = if last.epoch() == epoch { last.next() } else { Zxid::from_parts(epoch, 1) };
            let mut payload = format!("{last}").into_bytes();
            payload.resize(if rng.below(4) == 0 { 5000 } else { 40 }, b'.');
            truth.now.insert(last.0, payload.clone());
            truth.ahead.push(truth.now.clone());
            server.wal.append(last, &payload);
        }
        if rng.below(3) > 0 {
            truth.flush(server)?;
            let durable: Vec<i64> =
                truth.durable.keys().copied().filter(|z| *z > truth.committed.0).collect();
            let commits = rng.below(durable.len() as u64 + 1) as usize;
            if commits > 0 {
                truth.committed = Zxid(durable[commits - 1]);
            }
        }
        for _ in 0..rng.below(3) {
            let kept: Vec<i64> = truth.now.keys().copied().filter(|z| *z >= truth.committed.0).collect();
            let to = Zxid(kept.get(rng.below(kept.len().max(1) as u64) as usize).copied().unwrap_or(0));
            truth.now.retain(|zxid, _| *zxid <= to.0);
            truth.ahead.push(truth.now.clone());
            server.wal.cut(to);
        }
        truth.flush(server)?;
    }
    Ok(())
}

/// Gives whether the script was cut short by the loss of power at operation `cut`.
fn power_lost_at(cut: u64, seed: u64) -> bool {
    let story = format!("operation {cut}, seed {seed}");
    let mut rng = Rng::new(seed * 1_000_003 + cut);
    let disk = Disk::new();
    let mut truth = Truth::default();
    let mut server = Server::must_start(&disk, 1);
    disk.lose_power_after(Some(cut));
    let cut_short = script(&mut server, &mut truth, &mut Rng::new(seed), 8).is_err();
    for life in 1..4 {
        disk.crash(&mut rng);
        disk.lose_power_after(if life < 3 { Some(rng.below(30)) } else { None });
        match Server::start(&disk, life * 7919) {
            Ok(Ok(mut server)) => {
                truth.check(&server.state, &story);
                assert_eq!(
                    server.wal.last(),
                    ends(&truth.now),
                    "{story}: the log goes on where the state ends"
                );
                // What the log recorded as committed is there.
                assert!(server.report.committed <= ends(&truth.now), "{story}");
                let _ = script(&mut server, &mut truth, &mut rng, 3);
            }
            Ok(Err(error)) => panic!("{story}, life {life}: {error}"),
            Err(_) => {}
        }
    }
    disk.crash(&mut rng);
    truth.check(&Server::must_start(&disk, 5).state, &story);
    cut_short
}

#[test]
fn power_lost_at_every_operation_of_a_truncation_leaves_the_history_before_or_after_it_s2_s46() {
    for seed in 0..6 {
        let cuts = (0..).take_while(|cut| power_lost_at(*cut, seed)).count();
        assert!(cuts > 20, "the script has only {cuts} operations");
    }
}

#[test]
fn what_a_cut_took_back_stays_void_when_a_later_epoch_uses_the_log_s1() {
    let disk = Disk::new();
    let mut server = Server::must_start(&disk, 1);
    for counter in 71..=74 {
        server.wal.append(Zxid(counter - 70), format!("old {counter}").as_bytes());
    }
    while server.write_next(Zxid(3)).unwrap().is_some() {}
    server.wal.cut(Zxid(3));
    server.wal.append(Zxid::from_parts(Epoch(1), 1), b"new");
    while server.write_next(Zxid(3)).unwrap().is_some() {}
    disk.kill();
    let after = Server::must_start(&disk, 2);
    let zxids: Vec<i64> = after.state.keys().copied().collect();
    assert_eq!(zxids, [1, 2, 3, 0x1_0000_0001]);
    assert_eq!(after.report.committed, Zxid(3));
}

#[test]
fn a_log_that_takes_back_what_was_committed_is_refused() {
    let disk = Disk::new();
    let mut server = Server::must_start(&disk, 1);
    for zxid in 1..=3 {
        server.wal.append(Zxid(zxid), b"x");
    }
    while server.write_next(Zxid(0)).unwrap().is_some() {}
    // The writer was told less than it wrote before: only a wrong leader gets here.
    server.wal.append(Zxid(4), b"x");
    while server.write_next(Zxid(3)).unwrap().is_some() {}
    server.wal.cut(Zxid(2));
    while server.write_next(Zxid(0)).unwrap().is_some() {}
    let view = disk.view();
    let refused = recovery::recover(&view, &view, &settings(2), &mut |_| {}).map(|_| ()).unwrap_err();
    let fault = matches!(
        refused,
        RecoverError::Log { fault: LogFault::CutBelowCommitted { to: Zxid(2), committed: Zxid(3), .. }, .. }
    );
    assert!(fault, "{refused}");
}
