#![forbid(unsafe_code)]
//! A session ends while the requests of another one wait on the same shard: whenever that is, and whichever way it
//! ends, the other one gets all of its replies and events, in order (S55). Each test goes through every order in which
//! the steps of the two clients and of the sequencer can come.

use super::*;
use crate::pipeline::ReplyBody;
use crate::runtime::messages::{Ticket, WriteRequest};
use crate::tree::NewZnode;
use crate::watches::{ChangeEvent, ChangeKind};
use crate::wire::{Acl, ErrorCode};
use std::collections::VecDeque;

/// Which way the neighbour ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// By closeSession, behind all that it has asked.
    Closed,
    /// Its connection is gone.
    Dropped,
    /// Its session's time is over, wherever that was found.
    Expired,
    /// Its session went to another connection.
    Moved,
    /// A frame of its own with this length and nothing behind it.
    Malformed(i32),
}

const ENDS: [End; 6] =
    [End::Closed, End::Dropped, End::Expired, End::Moved, End::Malformed(-1), End::Malformed(0)];

/// Somebody's next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The neighbour asks for what it asks, or ends.
    Neighbour,
    /// The client sends a piece of its pipeline.
    Client,
    /// The sequencer decides a round, or publishes it.
    Sequencer,
}

/// All orders of so many steps of each.
fn orders(neighbour: usize, client: usize, sequencer: usize) -> Vec<Vec<Step>> {
    if neighbour + client + sequencer == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    let mut with =
        |step, rest: Vec<Vec<Step>>| all.extend(rest.into_iter().map(|rest| [vec![step], rest].concat()));
    if neighbour > 0 {
        with(Step::Neighbour, orders(neighbour - 1, client, sequencer));
    }
    if client > 0 {
        with(Step::Client, orders(neighbour, client - 1, sequencer));
    }
    if sequencer > 0 {
        with(Step::Sequencer, orders(neighbour, client, sequencer - 1));
    }
    all
}

/// What the sequencer has taken in and not decided.
#[derive(Debug)]
enum Work {
    Write(WriteRequest),
    /// Ends the neighbour's session.
    Expire,
    Sync(Ticket),
    /// Of an attachment that was no longer its session's.
    Late(Ticket),
}

impl Work {
    fn is_txn(&self) -> bool {
        matches!(self, Work::Write(_) | Work::Expire)
    }
}

/// Txns of one round.
const ROUND: usize = 2;
/// Requests of the client in each piece of its pipeline.
const PIECES: [std::ops::RangeInclusive<i32>; 3] = [1..=4, 5..=8, 9..=11];
const PING: i32 = -2;

/// Two clients, and a sequencer that decides in rounds what they ask.
struct Scene {
    rig: Rig,
    neighbour: ConnectionId,
    client: ConnectionId,
    end: End,
    has_asked: bool,
    pieces: VecDeque<Vec<u8>>,
    work: VecDeque<Work>,
    /// The newest txn that is decided, and whether it is published.
    decided: Zxid,
    is_published: bool,
    /// Whether the next round begins as one is published.
    is_busy: bool,
    /// Where the neighbour's session is: on its connection, and open.
    is_attached: bool,
    has_moved: bool,
    is_open: bool,
    /// Txns of the client's writes, and the one that took the neighbour's ephemeral.
    written: Vec<i64>,
    taken: Option<i64>,
}

impl Scene {
    fn new(end: End, outstanding_max: u32, is_busy: bool) -> Scene {
        let mut settings = settings();
        settings.requests.outstanding_max = outstanding_max;
        settings.voters = None;
        let mut rig = Rig::with(Serving::Alone, settings);
        let made = Zxid(3);
        rig.tree.begin(made);
        for (zxid, path, stored_owner) in [(1, &b"/a"[..], 0), (2, b"/b", 0), (3, b"/mine", ONE.0)] {
            let new = NewZnode {
                path,
                data: None,
                acl: &[Acl::open()],
                stored_owner,
                time: 0,
                parent_cversion: -1,
                raise_parent_if_exists: false,
            };
            rig.tree.create(Zxid(zxid), &new).expect("a new znode");
        }
        rig.tree.publish(made);
        let (neighbour, _) = rig.client(ONE);
        let (client, _) = rig.client(TWO);
        Scene {
            rig,
            neighbour,
            client,
            end,
            has_asked: false,
            pieces: PIECES.map(|xids| xids.flat_map(asked).collect()).into(),
            work: VecDeque::new(),
            decided: made,
            is_published: true,
            is_busy,
            is_attached: true,
            has_moved: false,
            is_open: true,
            written: Vec::new(),
            taken: None,
        }
    }

    fn go(&mut self, step: Step) {
        match step {
            Step::Client => {
                let piece = self.pieces.pop_front().expect("a piece for each step");
                self.rig.send(self.client, &piece);
            }
            Step::Neighbour if !std::mem::replace(&mut self.has_asked, true) => {
                // Watches where the client has its own, and reads that wait between writes.
                let asked = [
                    exists(1, b"/b", true),
                    exists(2, b"/mine", true),
                    set_data(3, b"/a"),
                    exists(4, b"/a", true),
                    exists(5, b"/b", false),
                    set_data(6, b"/a"),
                    exists(7, b"/a", false),
                ];
                self.rig.send(self.neighbour, &asked.concat());
            }
            Step::Neighbour => self.end_neighbour(),
            Step::Sequencer => self.decide_or_publish(),
        }
    }

    fn end_neighbour(&mut self) {
        let id = self.neighbour;
        match self.end {
            End::Closed => self.rig.send(id, &request(8, OpCode::CloseSession, &[])),
            End::Dropped => {
                self.rig.shard.on_closed(id, self.rig.now);
                self.rig.drive();
            }
            End::Malformed(length) => self.rig.send(id, &length.to_be_bytes()),
            End::Expired => {
                self.take_in();
                self.work.push_back(Work::Expire);
            }
            End::Moved => {
                self.take_in();
                (self.is_attached, self.has_moved) = (false, true);
                let (connection, generation) = (id, Generation(self.rig.generation + 1));
                self.rig.tell([Outcome::Close { zxid: self.decided, connection, generation }]);
            }
        }
    }

    fn take_in(&mut self) {
        for submission in self.rig.submitted() {
            match submission {
                Submission::Write(write) if write.session == ONE && self.has_moved => {
                    self.work.push_back(Work::Late(write.ticket));
                }
                Submission::Write(write) => self.work.push_back(Work::Write(write)),
                Submission::Sync { ticket, .. } => self.work.push_back(Work::Sync(ticket)),
                Submission::Detach { session: ONE, .. } => self.is_attached = false,
                other => panic!("{other:?}"),
            }
        }
    }

    /// As the sequencer does: a round begins with its last zxid, is told of, and is published; the shard may turn
    /// between, or only once the next round has begun.
    fn decide_or_publish(&mut self) {
        self.take_in();
        if !std::mem::replace(&mut self.is_published, true) {
            self.rig.tree.publish(self.decided);
            if !self.is_busy {
                return self.rig.turn();
            }
        }
        let txns = self.work.iter().filter(|work| work.is_txn()).count().min(ROUND);
        let last = Zxid(self.decided.0 + txns as i64);
        if txns > 0 {
            self.rig.tree.begin(last);
            self.is_published = false;
        }
        while self.work.front().is_some_and(|work| !work.is_txn() || self.decided < last)
            && let Some(work) = self.work.pop_front()
        {
            self.decide(work);
        }
        self.rig.turn();
    }

    fn decide(&mut self, work: Work) {
        self.decided.0 += i64::from(work.is_txn());
        let zxid = self.decided;
        let outcome = match work {
            Work::Write(write) if write.session == ONE && !self.is_open => {
                replied(zxid, write.ticket, ErrorCode::SessionExpired.code())
            }
            Work::Write(write) => {
                match write.op {
                    OpCode::SetData if write.session == TWO => {
                        self.written.push(zxid.0);
                        self.change(zxid, b"/b");
                    }
                    OpCode::SetData => self.change(zxid, b"/a"),
                    OpCode::CloseSession => self.take_ephemeral(zxid),
                    other => panic!("{other:?}"),
                }
                replied(zxid, write.ticket, 0)
            }
            Work::Sync(ticket) => replied(zxid, ticket, 0),
            Work::Late(ticket) => Outcome::Moved { zxid, ticket },
            Work::Expire => {
                self.take_ephemeral(zxid);
                return self.hang_up(zxid);
            }
        };
        self.rig.outcomes.push(outcome);
        if !self.is_open {
            self.hang_up(zxid);
        }
    }

    fn change(&mut self, zxid: Zxid, path: &[u8]) {
        self.rig.tree.set_data(zxid, path, None, 1, 0).expect("it is there");
        self.tell(zxid, path, ChangeKind::DataChanged);
    }

    fn take_ephemeral(&mut self, zxid: Zxid) {
        self.rig.tree.delete(zxid, b"/mine").expect("it is there");
        self.taken = Some(zxid.0);
        self.is_open = false;
        self.tell(zxid, b"/mine", ChangeKind::Deleted);
    }

    /// Who is no longer interested is not told, and may not count as somebody else.
    fn tell(&mut self, zxid: Zxid, path: &[u8], kind: ChangeKind) {
        if self.rig.interest.interested(path, kind) != 0 {
            let event = ChangeEvent { zxid, kind, path: path.into(), acl: None, parent_acl: None };
            self.rig.outcomes.push(Outcome::Event(Arc::new(event)));
        }
    }

    fn hang_up(&mut self, zxid: Zxid) {
        if std::mem::take(&mut self.is_attached) {
            let (connection, generation) = (self.neighbour, Generation(u64::MAX));
            self.rig.outcomes.push(Outcome::Close { zxid, connection, generation });
        }
    }

    /// The client has all that it is to have, and the shard nothing of anybody.
    fn check(mut self) {
        for _ in 0..100 {
            self.decide_or_publish();
            self.take_in();
            if self.work.is_empty() && self.is_published {
                break;
            }
        }
        assert!(self.work.is_empty() && self.is_published, "{:?}", self.work);
        let closed = self.rig.closed();
        let is_driven = self.end != End::Dropped;
        assert_eq!(closed, if is_driven { vec![self.neighbour] } else { vec![] }, "who was closed");
        let received = self.rig.received(self.client);
        check_received(&received, &self.written, self.taken);
        let was_taken = matches!(self.end, End::Closed | End::Expired);
        assert_eq!(self.taken.is_some(), was_taken, "whether the neighbour's ephemeral was taken");
        self.rig.shard.on_closed(self.client, self.rig.now);
        self.rig.assert_nothing_is_left();
    }
}

fn replied(zxid: Zxid, ticket: Ticket, err: i32) -> Outcome {
    Outcome::Reply { zxid, ticket, err, body: ReplyBody::new() }
}

/// The client's requests by their number: writes, reads that are passed, reads that set watches, a sync.
fn asked(xid: i32) -> Vec<u8> {
    match xid {
        1 | 6 | 11 => set_data(xid, b"/b"),
        3 => exists(xid, b"/mine", true),
        5 | 9 => exists(xid, b"/b", true),
        7 => request(xid, OpCode::Sync, &framed(b"/b")),
        10 => ping(),
        _ => exists(xid, b"/b", false),
    }
}

fn check_received(received: &[u8], written: &[i64], taken: Option<i64>) {
    let int = |bytes: &[u8]| i32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let long = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let (mut xids, mut events) = (Vec::new(), Vec::new());
    let (mut newest, mut watched_from) = (0, None);
    let mut rest = received;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (frame, behind) = behind.split_at(i32::from_be_bytes(*length) as usize);
        rest = behind;
        let (xid, zxid, err, body) =
            (int(&frame[..4]), long(&frame[4..12]), int(&frame[12..16]), &frame[16..]);
        assert!(zxid >= newest, "{xid}: {zxid} behind {newest}");
        if xid == -1 {
            assert!(zxid > newest, "an event of {zxid} behind a reply from there");
            events.push((zxid, int(&body[..4]), body[12..].to_vec()));
            // Replies may be from where an event is.
            newest = zxid;
            continue;
        }
        newest = zxid;
        xids.push(xid);
        // Of its own writes it has made by then.
        let own = [1, 6, 11].into_iter().filter(|write| *write <= xid).count();
        match xid {
            1 | 6 | 11 => assert_eq!((err, zxid), (0, written[own - 1]), "write {xid}"),
            3 => {
                let is_gone = taken.is_some_and(|taken| taken <= zxid);
                assert_eq!(
                    err,
                    if is_gone { ErrorCode::NoNode.code() } else { 0 },
                    "at {zxid}, taken at {taken:?}"
                );
                watched_from = Some(zxid);
            }
            7 | PING => assert_eq!(err, 0, "{xid}"),
            _ => {
                assert_eq!(err, 0, "read {xid}");
                assert_eq!(long(&body[8..16]), written[own - 1], "mzxid in read {xid}");
            }
        }
    }
    assert!(rest.is_empty());
    assert_eq!(xids, [1, 2, 3, 4, 5, 6, 7, 8, 9, PING, 11], "replies");
    let of_taken = taken
        .filter(|taken| watched_from.is_some_and(|from| from < *taken))
        .map(|zxid| (zxid, 2, b"/mine".to_vec()));
    let of_own = written[1..].iter().map(|zxid| (*zxid, 3, b"/b".to_vec()));
    let mut expected: Vec<_> = of_taken.into_iter().chain(of_own).collect();
    expected.sort_unstable();
    assert_eq!(events, expected, "events");
}

fn check(outstanding_max: u32, sequencer: usize) {
    let orders = orders(2, PIECES.len(), sequencer);
    for end in ENDS {
        for (order, is_busy) in orders.iter().flat_map(|order| [(order, false), (order, true)]) {
            let told = std::panic::catch_unwind(|| {
                let mut scene = Scene::new(end, outstanding_max, is_busy);
                order.iter().for_each(|step| scene.go(*step));
                scene.check();
            });
            assert!(told.is_ok(), "{end:?} in {order:?}, busy: {is_busy}");
        }
    }
}

#[test]
fn s55_a_neighbour_that_ends_in_any_way_at_any_time_costs_no_reply_and_no_event() {
    check(1000, 3);
}

/// With so many requests in process that intakes stop, and go on as the neighbour's are forgotten.
#[test]
fn s55_a_neighbour_that_ends_gives_room_to_who_waits_for_it() {
    check(2, 2);
}
