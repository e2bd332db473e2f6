#![forbid(unsafe_code)]
//! What words say in each role, from the bytes that ask to those that answer.

use super::*;
use crate::base::{Epoch, ServerId, WallMillis};
use crate::runtime::messages::SequencerPart;
use crate::server::words::Word;
use crate::zab::Figures;

/// Asks, and plays the sequencer where the word needs one.
fn ask(rig: &mut Rig, word: &str, part: SequencerPart) -> String {
    let id = rig.connect();
    rig.send(id, word.as_bytes());
    for submission in rig.submitted() {
        if let Submission::Gather { id, .. } = submission {
            rig.tell([Outcome::Gather {
                zxid: Zxid::ZERO,
                id,
                part: Arc::new(SequencerPart { ..copy(&part) }),
            }]);
        }
    }
    for submission in rig.submitted() {
        if let Submission::Gathered { id, connection, .. } = submission {
            rig.tell([Outcome::Gathered { zxid: Zxid::ZERO, id, connection }]);
        }
    }
    assert_eq!(rig.closed(), [id], "{word}");
    String::from_utf8(rig.received(id)).expect("text")
}

/// A part says nothing that these tests take from it but this.
fn copy(part: &SequencerPart) -> SequencerPart {
    SequencerPart {
        metrics: part.metrics.clone(),
        sessions: part.sessions,
        local_sessions: part.local_sessions,
        locals: part.locals.clone(),
        ephemerals: part.ephemerals.clone(),
        serving: part.serving,
        figures: part.figures,
        master: part.master,
        timeouts: part.timeouts.clone(),
        taken: WallMillis(0),
        ..SequencerPart::default()
    }
}

fn part(serving: Serving) -> SequencerPart {
    SequencerPart { serving, master: Some(ServerId(3)), ..SequencerPart::default() }
}

fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

#[test]
fn without_a_leader_words_say_so_at_once() {
    let mut rig = Rig::new(Serving::No);
    for word in Word::ALL.iter().filter(|word| **word != Word::Stmk) {
        let id = rig.connect();
        rig.send(id, word.text().as_bytes());
        let answer = rig.received(id);
        match word.answer_while_not_serving() {
            Some(expected) => assert_eq!(answer, expected.into_bytes(), "{word:?}"),
            None => assert!(!answer.is_empty(), "{word:?}"),
        }
        assert!(rig.submitted().is_empty(), "nobody else is asked");
        assert_eq!(rig.closed(), [id]);
    }
}

#[test]
fn a_word_that_is_being_answered_when_the_leader_is_lost_says_so() {
    let mut rig = Rig::new(Serving::Following);
    let id = rig.connect();
    rig.send(id, b"srvr");
    let collection = match &rig.submitted()[..] {
        [Submission::Gather { id, .. }] => *id,
        other => panic!("{other:?}"),
    };
    rig.serve(Serving::No);
    assert!(rig.closed().is_empty());
    rig.tell([Outcome::Gather { zxid: Zxid::ZERO, id: collection, part: Arc::new(part(Serving::No)) }]);
    assert!(matches!(&rig.submitted()[..], [Submission::Gathered { .. }]));
    rig.tell([Outcome::Gathered { zxid: Zxid::ZERO, id: collection, connection: id }]);
    assert_eq!(rig.received(id), b"This ZooKeeper instance is not currently serving requests\n");
    assert_eq!(rig.closed(), [id]);
}

#[test]
fn each_role_has_its_name_and_its_lines() {
    let leading = Serving::Leading(Epoch(2));
    for (serving, mode, peer, zxid) in [
        (Serving::Following, "follower", "following", "0x0"),
        (Serving::Observing, "observer", "observing", "0x0"),
        (leading, "leader", "leading", "0x200000000"),
    ] {
        let mut rig = Rig::new(serving);
        let leads = serving == leading;
        let srvr = ask(&mut rig, "srvr", part(serving));
        assert_eq!(line(&srvr, "Mode: "), Some(mode));
        assert_eq!(line(&srvr, "Zxid: "), Some(zxid));
        assert_eq!(line(&srvr, "Proposal sizes last/min/max: "), leads.then_some("-1/-1/-1"));
        let mntr = ask(&mut rig, "mntr", part(serving));
        assert_eq!(line(&mntr, "zk_server_state\t"), Some(mode));
        assert_eq!(line(&mntr, "zk_peer_state\t"), Some(&*format!("{peer} - broadcast")));
        assert_eq!(line(&mntr, "zk_quorum_size\t"), Some("3"));
        let observed = (serving == Serving::Observing).then_some("3");
        assert_eq!(line(&mntr, "zk_observer_master_id\t"), observed);
        assert_eq!(line(&mntr, "zk_synced_followers\t"), leads.then_some("0"));
        assert_eq!(ask(&mut rig, "isro", part(serving)), "rw");
    }
}

#[test]
fn a_read_only_server_is_no_members_server() {
    let serving = Serving::ReadOnly;
    let mut rig = Rig::new(serving);
    let srvr = ask(&mut rig, "srvr", part(serving));
    assert_eq!(line(&srvr, "Mode: "), Some("read-only"));
    assert_eq!(srvr.lines().nth(1), Some("READ-ONLY mode; serving only read-only clients"));
    assert_eq!(ask(&mut rig, "stat", part(serving)).lines().nth(1), srvr.lines().nth(1));
    let mntr = ask(&mut rig, "mntr", SequencerPart { sessions: 3, local_sessions: 2, ..part(serving) });
    assert_eq!(line(&mntr, "zk_server_state\t"), Some("read-only"));
    assert_eq!((line(&mntr, "zk_peer_state\t"), line(&mntr, "zk_quorum_size\t")), (None, None));
    assert_eq!(line(&mntr, "zk_global_sessions\t"), Some("3"));
    assert_eq!(line(&mntr, "zk_local_sessions\t"), Some("2"));
    assert_eq!(ask(&mut rig, "isro", part(serving)), "ro");
}

#[test]
fn a_leader_counts_its_learners_and_its_own_time() {
    let mut rig = Rig::new(Serving::No);
    rig.pass(5000);
    let serving = Serving::Leading(Epoch(2));
    rig.serve(serving);
    rig.pass(1234);
    let figures = Figures {
        followers: 3,
        non_voting: 1,
        observers: 2,
        syncing: 4,
        pending_syncs: 5,
        ..Figures::default()
    };
    let mut part = SequencerPart { figures, ..part(serving) };
    for bytes in [60, 48, 90] {
        part.metrics.member.proposed(bytes);
    }
    let mntr = ask(&mut rig, "mntr", copy(&part));
    for (key, value) in [
        ("learners", "9"),
        ("followers", "9"),
        ("synced_followers", "3"),
        ("synced_non_voting_followers", "1"),
        ("synced_observers", "2"),
        ("pending_syncs", "5"),
        ("leader_uptime", "1234"),
        ("last_proposal_size", "90"),
        ("min_proposal_size", "48"),
        ("max_proposal_size", "90"),
        ("proposal_count", "3"),
    ] {
        assert_eq!(line(&mntr, &format!("zk_{key}\t")), Some(value), "{key}");
    }
    let stat = ask(&mut rig, "stat", part);
    assert_eq!(line(&stat, "Proposal sizes last/min/max: "), Some("90/48/90"));
}

#[test]
fn dump_shows_deadlines_where_they_are_kept() {
    for (serving, expected) in [
        (Serving::Following, "SessionTracker dump:\nGlobal Sessions(2):\n0x100\t8000ms\n0x200\t4000ms\n"),
        (Serving::Leading(Epoch(1)), "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at "),
    ] {
        let mut rig = Rig::new(serving);
        rig.client(ONE);
        let part = SequencerPart { timeouts: vec![(ONE, 8000), (TWO, 4000)], ..part(serving) };
        let dump = ask(&mut rig, "dump", part);
        assert!(dump.starts_with(expected), "{dump}");
        assert_eq!(dump.matches("\tip: /127.0.0.1:1 sessionId: 0x100\n").count(), 1, "{dump}");
    }
}

#[test]
fn dump_tells_local_sessions_from_those_of_all_servers() {
    for (serving, global) in [
        (Serving::Following, "Global Sessions(1):\n0x200\t4000ms\n"),
        (Serving::Leading(Epoch(1)), "Global Session Sets (1)/(1):\n1 expire at "),
    ] {
        let mut rig = Rig::new(serving);
        rig.client(ONE);
        rig.client(TWO);
        let timeouts = vec![(TWO, 4000)];
        let dump =
            ask(&mut rig, "dump", SequencerPart { timeouts, locals: Some(vec![ONE]), ..part(serving) });
        let (local, rest) = dump.split_at(dump.find("Global").expect("both kinds"));
        assert!(
            local.starts_with("SessionTracker dump:\nLocal Session Sets (1)/(1):\n1 expire at "),
            "{dump}"
        );
        assert!(local.ends_with(":\n\t0x100\n") && rest.starts_with(global), "{dump}");
        // Without any the line is there all the same.
        let none = ask(&mut rig, "dump", SequencerPart { locals: Some(vec![]), ..part(serving) });
        assert!(
            none.starts_with("SessionTracker dump:\nLocal Session Sets (0)/(0):\nGlobal Session"),
            "{none}"
        );
    }
}
