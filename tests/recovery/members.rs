//! Members of an ensemble: what they know to be committed, states that come whole from a leader, data lost, and ranges of
//! the log read back (R1, R6, R8, R11; F6, F13; S14, S34, S35).

use std::collections::BTreeMap;

use ringkeeper::base::{Epoch, ServerId, Zxid};
use ringkeeper::storage::decision::{self, Decision};
use ringkeeper::storage::recovery::{self, Empty, Mode, RecoverError, Recovered, Settings};
use ringkeeper::storage::snapshot::{Publication, Received, SnapshotEncoder, SnapshotMeta};
use ringkeeper::storage::wal::{LogReader, PreparedSegment, WalWriter};
use ringkeeper::storage::{epoch, names};
use ringkeeper::wire::Acl;

use crate::disk::{Disk, DiskError, Rng};
use crate::server::{self, CLUSTER, LIMITS, Server, node};

type History = BTreeMap<i64, Vec<u8>>;

const ME: ServerId = ServerId(3);

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::from_parts(Epoch(epoch), counter)
}

fn ends(history: &History) -> Zxid {
    history.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| Zxid(*zxid))
}

fn settings(mode: Mode, generation: u64) -> Settings<'static> {
    let server = if mode == Mode::Alone { ServerId(1) } else { ME };
    Settings { server, mode, ..server::settings(generation) }
}

const MEMBER: Mode = Mode::Member { empty: Empty::New };

/// A toy member: its state is a list of payloads by zxid, log and snapshot together.
struct Member {
    disk: Disk,
    wal: WalWriter,
    epoch: epoch::EpochRecord,
    /// Of the snapshot it started from, and of the log behind it.
    history: History,
    base: Zxid,
    committed: Zxid,
    confirmed: Zxid,
    /// What the newest durable write says of `confirmed`.
    recorded: Zxid,
    lost: Option<String>,
    generation: u64,
}

impl Member {
    fn start_as(disk: &Disk, mode: Mode, generation: u64) -> Result<Result<Member, RecoverError>, DiskError> {
        let view = disk.view();
        let recovered = match recovery::recover(&view, &view, &settings(mode, generation), &mut |_| {}) {
            Ok(recovered) => recovered,
            Err(error) => return Ok(Err(error)),
        };
        let Recovered { epoch, snapshot, replay, committed, confirmed, wal, steps, report } = recovered;
        disk.perform(&steps.record)?;
        disk.perform(&steps.log)?;
        disk.perform(&steps.data)?;
        let base = snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.index.meta.zxid);
        let nodes = snapshot.iter().flat_map(|snapshot| &snapshot.parts).flat_map(|part| part.nodes());
        let nodes = nodes.filter(|node| node.path != b"/");
        let mut history: History =
            nodes.map(|node| (node.czxid, node.data.expect("the toy writes data").to_vec())).collect();
        let mut keep = |zxid: Zxid, payload: &[u8]| {
            history.insert(zxid.0, payload.to_vec());
        };
        let last = replay.run(&disk.view(), &mut keep, &mut |_| {}).expect("it reads again");
        assert_eq!((last, report.last), (wal.last(), wal.last()));
        assert!(confirmed <= committed && base <= committed && committed <= last);
        let disk = disk.clone();
        Ok(Ok(Member {
            disk,
            wal,
            epoch,
            history,
            base,
            committed,
            confirmed,
            recorded: confirmed,
            lost: report.lost,
            generation,
        }))
    }

    fn must_start(disk: &Disk, generation: u64) -> Member {
        Member::start_as(disk, MEMBER, generation).expect("the power is on").expect("it can be used")
    }

    fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        self.history.insert(zxid.0, payload.to_vec());
        self.wal.append(zxid, payload);
    }

    /// The next write, if there is one. It records what is known to be committed.
    fn write_next(&mut self) -> Result<bool, DiskError> {
        if let Some(segment) = self.wal.wants_segment() {
            self.generation += 1_000_003;
            let prepared =
                PreparedSegment { segment, generation: self.generation, bytes: self.wal.segment_bytes() };
            self.disk.perform(&prepared.create(self.epoch.identity))?;
            self.wal.add_segment(prepared);
        }
        let Some(write) = self.wal.next_write(self.confirmed) else { return Ok(false) };
        let written = self.disk.write_wal(&write)?;
        self.wal.completed(write, written).expect("the disk writes all or fails");
        self.recorded = self.confirmed;
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        while self.write_next()? {}
        Ok(())
    }

    fn publish(&self, at: Zxid, state: &History, received: Option<Received>) -> Result<(), DiskError> {
        let mut encoder = SnapshotEncoder::new(SnapshotMeta {
            identity: self.epoch.identity,
            zxid: at,
            digest: state.len() as u64,
            digest_version: 2,
            taken: ringkeeper::base::WallMillis(5),
            received,
        });
        encoder.acl(1, &[Acl::open()]);
        encoder.node(&node(b"/", None, 0));
        for (zxid, payload) in state {
            encoder.node(&node(format!("/n{zxid}").as_bytes(), Some(payload), *zxid));
        }
        let publication = Publication::new(at);
        self.disk.perform(&[publication.create()])?;
        for chunk in encoder.finish() {
            self.disk.perform(&[publication.write(chunk)])?;
        }
        let names = self.disk.files_like("snapshot-");
        let others: Vec<Zxid> = names
            .iter()
            .filter_map(|name| match names::parse(name) {
                names::FileKind::Snapshot(zxid) => Some(zxid),
                _ => None,
            })
            .collect();
        self.disk.perform(&match received {
            Some(_) => publication.publish_received(at, &others),
            None => publication.publish(),
        })
    }

    /// A leader's whole state takes the place of this one's.
    fn install(&mut self, at: Zxid, image: &History) -> Result<(), DiskError> {
        let received = Received { log_from: self.wal.restart_segment(), confirmed: self.confirmed };
        self.publish(at, image, Some(received))?;
        self.wal.restart(at);
        self.flush()?;
        (self.history, self.base, self.committed) = (image.clone(), at, at);
        Ok(())
    }

    fn commit(&mut self, to: Zxid) {
        (self.committed, self.confirmed) = (to, to);
    }
}

/// What a member did, and what its disk may hold.
struct Truth {
    /// After each step that was begun and is not known to be durable, oldest first; the first one is.
    histories: Vec<History>,
    committed: Zxid,
    recorded: Zxid,
    /// Of the newest leader there was.
    epoch: u32,
}

impl Default for Truth {
    fn default() -> Truth {
        Truth { histories: vec![History::new()], committed: Zxid::ZERO, recorded: Zxid::ZERO, epoch: 0 }
    }
}

impl Truth {
    fn settle(&mut self, member: &Member) {
        self.histories = vec![member.history.clone()];
        self.recorded = member.recorded;
    }

    fn check(&mut self, found: &Member, story: &str) {
        let at = self.histories.iter().position(|history| *history == found.history);
        let last = ends(&found.history).max(found.base);
        assert!(at.is_some(), "{story}: recovered a history that ends at {last}");
        assert!(found.confirmed <= self.committed, "{story}: {} was never committed", found.confirmed);
        assert!(found.confirmed >= self.recorded, "{story}: the commit of {} is forgotten", self.recorded);
        assert_eq!(found.committed, found.confirmed.max(found.base), "{story}");
        assert!(found.lost.is_none() && found.epoch.admitted, "{story}: {:?}", found.lost);
        self.committed = found.confirmed;
        self.settle(found);
    }
}

/// Epochs in which txns are logged, some are committed, some taken back; and now and then a leader sends its whole
/// state, ahead of ours or on another branch, and is established in the end or not.
fn script(member: &mut Member, truth: &mut Truth, rng: &mut Rng, rounds: u64) -> Result<(), DiskError> {
    for _ in 0..rounds {
        truth.epoch += 1;
        let newest = truth.epoch;
        let mut last = member.wal.last();
        for _ in 0..rng.below(6) {
            last = if last.epoch() == Epoch(newest) { last.next() } else { z(newest, 1) };
            let length = if rng.below(4) == 0 { 5000 } else { 40 };
            let mut payload = format!("{last} {}", rng.below(1000)).into_bytes();
            payload.resize(length, b'.');
            member.append(last, &payload);
            truth.histories.push(member.history.clone());
        }
        if rng.below(4) > 0 {
            member.flush()?;
            truth.settle(member);
            let known = |zxid: &&i64| **zxid > member.committed.0;
            let open: Vec<i64> = member.history.keys().filter(known).copied().collect();
            let commits = rng.below(open.len() as u64 + 1) as usize;
            let to = commits.checked_sub(1).map_or(member.committed, |at| Zxid(open[at]));
            if to > member.confirmed && (commits > 0 || rng.coin()) {
                truth.committed = to;
                member.commit(to);
            }
        }
        if rng.below(3) == 0 && member.wal.last() > member.committed {
            let to = member.committed;
            member.history.retain(|zxid, _| *zxid <= to.0);
            truth.histories.push(member.history.clone());
            member.wal.cut(to);
            member.flush()?;
            truth.settle(member);
        }
        if rng.below(3) == 0 {
            member.flush()?;
            truth.settle(member);
            let mut image: History = member.history.clone();
            image.retain(|zxid, _| *zxid <= member.confirmed.0);
            let from = member.confirmed.epoch().0.max(1);
            truth.epoch += 1;
            let branch =
                if rng.coin() { z(from, member.confirmed.counter() + 50) } else { z(truth.epoch, 4) };
            image.insert(branch.0, b"of another history".to_vec());
            truth.histories.push(image.clone());
            member.install(branch, &image)?;
            truth.settle(member);
        }
        if rng.below(4) == 0 && member.committed == member.confirmed && member.committed > member.base {
            let mut state = member.history.clone();
            state.retain(|zxid, _| *zxid <= member.committed.0);
            member.publish(member.committed, &state, None)?;
        }
    }
    Ok(())
}

/// Whether the script was cut short by the loss of power at operation `cut`.
fn power_lost_at(cut: u64, seed: u64) -> bool {
    let story = format!("operation {cut}, seed {seed}");
    let mut rng = Rng::new(seed * 1_000_003 + cut);
    let disk = Disk::new();
    let mut member = Member::must_start(&disk, 1);
    let mut truth = Truth::default();
    disk.lose_power_after(Some(cut));
    let cut_short = script(&mut member, &mut truth, &mut Rng::new(seed), 10).is_err();
    for life in 1..4 {
        disk.crash(&mut rng);
        disk.lose_power_after(if life < 3 { Some(rng.below(40)) } else { None });
        match Member::start_as(&disk, MEMBER, life * 7919) {
            Ok(Ok(mut member)) => {
                truth.check(&member, &story);
                // Cut short again, or not: what is durable then is checked in the next life.
                let _ = script(&mut member, &mut truth, &mut rng, 4);
            }
            Ok(Err(error)) => panic!("{story}, life {life}: {error}"),
            Err(_) => {}
        }
    }
    disk.crash(&mut rng);
    truth.check(&Member::must_start(&disk, 5), &story);
    cut_short
}

#[test]
fn power_lost_at_every_operation_keeps_history_commits_and_received_states_apart() {
    for seed in 0..6 {
        let cuts = (0..).take_while(|cut| power_lost_at(*cut, seed)).count();
        assert!(cuts > 40, "the script has only {cuts} operations");
    }
}

/// Txns 1 to 6 of epoch 1, committed up to 4 as far as the log says.
fn used() -> (Disk, Member) {
    let disk = Disk::new();
    let mut member = Member::must_start(&disk, 1);
    for counter in 1..=6 {
        member.append(z(1, counter), &[counter as u8; 3000]);
        member.flush().unwrap();
        member.commit(z(1, counter.saturating_sub(1).max(1)));
    }
    member.commit(z(1, 6));
    (disk, member)
}

#[test]
fn a_member_applies_what_the_log_says_is_committed_and_keeps_the_rest_r1() {
    let (disk, before) = used();
    let after = Member::must_start(&disk, 2);
    assert_eq!(after.history, before.history);
    assert_eq!((after.committed, after.confirmed), (z(1, 4), z(1, 4)));
    assert_eq!(after.wal.last(), z(1, 6));
}

#[test]
fn what_a_single_server_flushed_is_committed_when_it_becomes_a_member() {
    let disk = Disk::new();
    let mut alone = Server::must_start(&disk, 1);
    for n in 0..5_u8 {
        alone.append(&[n; 100]);
        alone.flush().unwrap();
    }
    let mut member = Member::must_start(&disk, 2);
    assert_eq!((member.committed, member.confirmed), (Zxid(5), Zxid(5)));
    assert_eq!((member.epoch.identity.server, member.epoch.member), (ME, true));
    member.append(z(1, 1), b"not committed");
    // The log says what was known before the switch: the record knows better.
    member.confirmed = Zxid::ZERO;
    member.flush().unwrap();
    let again = Member::must_start(&disk, 3);
    assert_eq!((again.committed, again.wal.last()), (Zxid(5), z(1, 1)));

    // And back: a single server's history is what it has.
    let alone = Member::start_as(&disk, Mode::Alone, 4).unwrap().unwrap();
    assert_eq!((alone.committed, alone.epoch.member), (z(1, 1), false));
    let member = Member::must_start(&disk, 5);
    assert_eq!((member.committed, member.epoch.identity.server), (z(1, 1), ME));
}

#[test]
fn a_member_is_refused_on_the_data_of_another_by_name() {
    let (disk, _) = used();
    let view = disk.view();
    let other = Settings { server: ServerId(4), ..settings(MEMBER, 2) };
    let error = recovery::recover(&view, &view, &other, &mut |_| {}).err();
    assert_eq!(error, Some(RecoverError::OtherServer { recorded: ME, configured: ServerId(4) }));
}

/// Flips a byte of the batch with the fifth txn; the sixth verifies behind it.
fn damage_log(disk: &Disk) {
    let name = disk.files_like("wal-").remove(0);
    disk.tamper(&name, |file| file[5 * 4096 + 140] ^= 1);
}

#[test]
fn a_member_with_a_damaged_log_has_no_vote_and_goes_on_behind_its_snapshot_s34() {
    let (disk, member) = used();
    let state: History = member.history.clone().into_iter().filter(|(zxid, _)| *zxid <= z(1, 3).0).collect();
    for with_snapshot in [false, true] {
        let disk = disk.copy();
        if with_snapshot {
            Member::must_start(&disk, 2).publish(z(1, 3), &state, None).unwrap();
        }
        damage_log(&disk);
        let segments = disk.files_like("wal-");
        let expected = if with_snapshot { state.clone() } else { History::new() };
        let mut after = Member::must_start(&disk, 3);
        assert!(after.lost.as_deref().is_some_and(|why| why.contains("damaged")), "{:?}", after.lost);
        assert!(!after.epoch.admitted);
        assert_eq!((&after.history, after.committed), (&expected, ends(&expected)));
        assert!(segments.iter().all(|name| disk.files().contains(name)), "what is damaged is still there");

        // A leader brings it up to date; until it is admitted it says so at each start.
        let next = z(2, 1);
        after.append(next, b"from the leader");
        after.flush().unwrap();
        let mut again = Member::must_start(&disk, 4);
        assert!(again.lost.is_some() && !again.epoch.admitted);
        assert_eq!((&again.history, again.committed), (&after.history, ends(&expected)));
        let record = again.epoch.advance(Epoch(2), Epoch(2), true);
        disk.perform(&record.rewrite()).unwrap();
        again.append(next.next(), b"as a voter");
        again.flush().unwrap();
        let voter = Member::must_start(&disk, 5);
        assert_eq!((voter.lost, voter.epoch.admitted), (None, true));
        assert_eq!(voter.history, again.history);
    }
}

#[test]
fn power_lost_while_a_damaged_log_is_given_up_never_leaves_a_vote() {
    for cut in 0.. {
        let (disk, _) = used();
        damage_log(&disk);
        disk.lose_power_after(Some(cut));
        let done = Member::start_as(&disk, MEMBER, 2).is_ok();
        for seed in 0..8 {
            let copy = disk.copy();
            copy.crash(&mut Rng::new(seed));
            let after = Member::must_start(&copy, 3);
            assert!(!after.epoch.admitted && after.lost.is_some(), "cut at {cut}, seed {seed}");
            assert_eq!(after.history, History::new());
        }
        if done {
            return assert!(cut > 5, "only {cut} operations");
        }
    }
}

/// What `ringkeeper admit --yes` does on a disk. Gives whether there was anything to do.
fn decide(disk: &Disk, decision: Decision, generation: u64) -> Result<bool, DiskError> {
    let view = disk.view();
    let found = recovery::recover(&view, &view, &settings(MEMBER, generation), &mut |_| {}).unwrap();
    let Some(steps) = decision::steps(decision, &found.epoch, &found.report) else { return Ok(false) };
    disk.perform(&found.steps.record)?;
    disk.perform(&found.steps.log)?;
    disk.perform(&found.steps.data)?;
    disk.perform(&steps)?;
    Ok(true)
}

/// A damaged log behind a good snapshot of 3, and a damaged snapshot of 6.
fn damaged_twice() -> (Disk, History) {
    let (disk, member) = used();
    let state = |up_to| -> History {
        member.history.clone().into_iter().filter(|(zxid, _)| *zxid <= z(1, up_to).0).collect()
    };
    member.publish(z(1, 3), &state(3), None).unwrap();
    member.publish(z(1, 6), &state(6), None).unwrap();
    damage_log(&disk);
    disk.tamper(&names::snapshot(z(1, 6)), |file| file.truncate(file.len() - 1));
    (disk, state(3))
}

#[test]
fn an_admitted_server_keeps_its_vote_and_what_was_left_to_it() {
    let (disk, left) = damaged_twice();
    let damaged = names::snapshot(z(1, 6));
    let before = Member::must_start(&disk, 3);
    assert!(!before.epoch.admitted && before.history == left, "{:?}", before.lost);
    assert_eq!(decide(&disk, Decision::Admit, 4), Ok(true));
    assert_eq!(decide(&disk, Decision::Admit, 5), Ok(false), "once is enough");
    assert!(disk.files().contains(&names::set_aside(&damaged)) && !disk.files().contains(&damaged));
    for generation in 6..8 {
        let after = Member::must_start(&disk, generation);
        assert_eq!((after.lost, after.epoch.admitted), (None, true));
        assert_eq!((&after.history, after.wal.last()), (&left, z(1, 3)));
    }
    // A copy that is put in its place is without a vote once that is said, and keeps what it holds.
    assert_eq!(decide(&disk, Decision::Strip, 8), Ok(true));
    assert_eq!(decide(&disk, Decision::Strip, 9), Ok(false));
    let stripped = Member::must_start(&disk, 10);
    assert!(stripped.lost.is_some() && !stripped.epoch.admitted);
    assert_eq!((stripped.history, stripped.wal.last()), (left, z(1, 3)));
}

#[test]
fn power_lost_while_an_operator_decides_leaves_the_vote_as_it_was_or_as_decided() {
    let mut admitted = [0, 0];
    for cut in 0.. {
        let (disk, left) = damaged_twice();
        disk.lose_power_after(Some(cut));
        let done = decide(&disk, Decision::Admit, 3).is_ok();
        for seed in 0..8 {
            let copy = disk.copy();
            copy.crash(&mut Rng::new(seed));
            let after = Member::must_start(&copy, 4);
            assert_eq!(after.history, left, "cut at {cut}, seed {seed}");
            assert_eq!(after.lost.is_none(), after.epoch.admitted, "cut at {cut}, seed {seed}");
            assert!(after.epoch.admitted || !done, "seed {seed}: a decision that was made is forgotten");
            admitted[usize::from(after.epoch.admitted)] += 1;
            // And deciding again ends where it would have ended.
            copy.lose_power_after(None);
            decide(&copy, Decision::Admit, 5).unwrap();
            let again = Member::must_start(&copy, 6);
            assert_eq!((again.epoch.admitted, &again.history), (true, &left), "cut at {cut}, seed {seed}");
        }
        if done {
            break;
        }
    }
    assert!(admitted.iter().all(|count| *count > 8), "without and with a vote: {admitted:?}");
}

#[test]
fn a_single_server_does_not_serve_what_a_member_lost() {
    let (disk, _) = used();
    damage_log(&disk);
    Member::must_start(&disk, 2);
    let error = Member::start_as(&disk, Mode::Alone, 3).unwrap().err();
    assert_eq!(error, Some(RecoverError::NotAdmitted));
}

#[test]
fn a_member_whose_epoch_record_proves_nothing_keeps_its_history_and_loses_its_vote_s35() {
    let (disk, before) = used();
    for bad in 1..=4 {
        let copy = disk.copy();
        copy.tamper(names::EPOCH, |file| {
            (0..bad).for_each(|bad| file[bad * epoch::COPY_STRIDE_BYTES + 60] ^= 1);
        });
        let after = Member::must_start(&copy, 2);
        assert_eq!(after.history, before.history, "{bad} bad");
        assert_eq!(after.epoch.admitted, bad <= 2, "{bad} bad");
        assert_eq!(after.epoch.identity, before.epoch.identity);
        if bad > 2 {
            assert_eq!((after.epoch.accepted, after.epoch.current), (Epoch(1), Epoch(1)));
            assert!(Member::must_start(&copy, 3).lost.is_some(), "not forgotten by the next start");
        }
    }
}

#[test]
fn empty_folders_have_a_vote_as_the_operator_says_f13() {
    let start = |empty| Member::start_as(&Disk::new(), Mode::Member { empty }, 1).unwrap().unwrap();
    let vote = |member: &Member| (member.epoch.admitted, member.epoch.provisional);
    assert_eq!(vote(&start(Empty::New)), (true, false));
    assert_eq!(vote(&start(Empty::Unsaid)), (true, true));
    let after = start(Empty::Lost);
    assert!(vote(&after) == (false, false) && after.lost.is_some());
}

#[test]
fn a_received_state_that_rots_takes_the_vote_with_it_and_never_brings_the_old_log_back() {
    for goes_on in [false, true] {
        let (disk, mut member) = used();
        let at = z(4, 9);
        let image = History::from([(at.0, b"all there is".to_vec())]);
        member.install(at, &image).unwrap();
        if goes_on {
            member.append(z(5, 1), b"behind it");
            member.flush().unwrap();
        }
        let sound = Member::must_start(&disk.copy(), 2);
        assert_eq!(sound.history, member.history);
        assert_eq!((sound.committed, sound.confirmed), (at, z(1, 6)));

        disk.tamper(&names::snapshot(at), |file| file[4096 + 70] ^= 1);
        let after = Member::must_start(&disk, 2);
        assert!(after.lost.is_some() && !after.epoch.admitted);
        assert_eq!(after.history, History::new());
    }
}

#[test]
fn ranges_are_read_back_as_the_log_has_them_or_not_at_all() {
    let mut whole = 0;
    for seed in 0..40 {
        let disk = Disk::new();
        let mut rng = Rng::new(seed);
        let mut member = Member::must_start(&disk, 1);
        let mut truth = Truth::default();
        script(&mut member, &mut truth, &mut rng, 6).unwrap();
        member.flush().unwrap();
        let read = |after: Zxid, up_to: Zxid, bytes_max: usize| {
            LogReader::read(&disk.view(), &member.wal.span(after), after, up_to, bytes_max)
        };
        // What stands behind the last received state is in the log; anything else may be.
        let log: Vec<(Zxid, &Vec<u8>)> =
            member.history.iter().map(|(zxid, payload)| (Zxid(*zxid), payload)).collect();
        let mut positions: Vec<Zxid> = log.iter().map(|(zxid, _)| *zxid).collect();
        positions.extend([Zxid::ZERO, z(1, 40), z(90, 1)]);
        for &after in &positions {
            for &up_to in &positions {
                let expected: Vec<(Zxid, Box<[u8]>)> = log
                    .iter()
                    .filter(|(zxid, _)| *zxid > after && *zxid <= up_to)
                    .map(|(zxid, payload)| (*zxid, payload.as_slice().into()))
                    .collect();
                // As they are counted: with what a txn takes beside its payload.
                let bytes: usize = expected.iter().map(|(_, payload)| payload.len() + 64).sum();
                let Some(found) = read(after, up_to, bytes) else { continue };
                assert_eq!(found, expected, "seed {seed}, after {after} up to {up_to}");
                assert_eq!(read(after, up_to, bytes - 1), None, "too much");
                whole += 1;
            }
        }
        let base = log.iter().rposition(|(zxid, _)| *zxid == member.base);
        for from in base.unwrap_or(0)..log.len().saturating_sub(1) {
            let (after, up_to) = (log[from].0, log[log.len() - 1].0);
            assert!(read(after, up_to, usize::MAX).is_some(), "seed {seed}, after {after} up to {up_to}");
        }
    }
    assert!(whole > 300, "only {whole} ranges were there");
}

#[test]
fn a_range_whose_segments_went_meanwhile_is_not_there() {
    let (disk, member) = used();
    let span = member.wal.span(z(1, 1));
    let read = |disk: &Disk| LogReader::read(&disk.view(), &span, z(1, 1), z(1, 6), usize::MAX);
    assert_eq!(read(&disk).map(|txns| txns.len()), Some(5));
    for (at, segment) in span.segments.iter().enumerate() {
        let name = names::segment(*segment);
        let gone = disk.copy();
        gone.remove(&name);
        assert_eq!(read(&gone), None, "segment {segment} is removed");
        // Prepared anew: the bytes are still there, under another header.
        let again = disk.copy();
        let prepared = PreparedSegment { segment: *segment, generation: 4711, bytes: LIMITS.segment_bytes };
        again.perform(&prepared.recycle(member.epoch.identity, &name)).unwrap();
        assert_eq!(read(&again), None, "segment {segment} is recycled");
        let rotten = disk.copy();
        rotten.tamper(&name, |file| file[4096 + 140] ^= 1);
        assert_eq!(read(&rotten), None, "segment {segment} rots, the one at {at}");
    }
    assert_eq!(member.epoch.identity.cluster, CLUSTER);
}
