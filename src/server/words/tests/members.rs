#![forbid(unsafe_code)]
//! Members of an ensemble, beside texts recorded from three voters and an observer of release 3.9.5.

use super::*;
use crate::base::{Epoch, ServerId, WallMillis};
use crate::config::ConfigDocument;
use crate::runtime::metrics::LinkQueues;
use crate::zab::event::Role;

const ONE: SessionId = SessionId(0x10001108a990000);
const THREE: SessionId = SessionId(0x30001108ab90000);
const FOUR: SessionId = SessionId(0x4000110a6820000);

fn sizes(all: &[u64]) -> Sizes {
    let mut sizes = Sizes::default();
    all.iter().for_each(|&bytes| sizes.record(bytes));
    sizes
}

/// What all three roles had been asked alike.
fn member(mode: Mode, latency: Timing, received: u64) -> ServerView {
    ServerView {
        latency,
        received,
        sent: received + 1,
        zxid: Zxid(0x100000009),
        mode,
        node_count: 11,
        proposal_sizes: sizes(&[48, 90]),
        ..server()
    }
}

#[test]
fn srvr_prints_what_stock_printed_in_each_role() {
    check(srvr(&member(Mode::Leader, timing(4, 81, 121, 5), 12)), golden!("leader/srvr.txt"));
    check(srvr(&member(Mode::Follower, timing(3, 163, 262, 5), 11)), golden!("follower/srvr.txt"));
    check(srvr(&member(Mode::Observer, timing(4, 25, 61, 5), 12)), golden!("observer/srvr.txt"));
    let fresh = ServerView {
        latency: Timing::default(),
        received: 2,
        sent: 1,
        connections: 1,
        zxid: Zxid(0x100000000),
        node_count: 5,
        proposal_sizes: Sizes::default(),
        ..member(Mode::Leader, Timing::default(), 2)
    };
    check(srvr(&fresh), golden!("leader/srvr_before_a_proposal.txt"));
    let client = ConnectionView { peer: ([127, 0, 0, 1], 48090).into(), received: 5, sent: 5, ..client() };
    let leader = member(Mode::Leader, timing(4, 81, 121, 5), 13);
    check(stat(&leader, vec![client, asking(48142)]), golden!("leader/stat.txt"));
}

/// The document as each of the four had it, without the line of Stat that is recorded behind it.
fn document() -> ConfigDocument {
    let recorded = golden!("leader/config.txt").split("\n--\n").next().unwrap();
    let document = ConfigDocument::parse(recorded.as_bytes(), false).unwrap();
    assert_eq!(document.to_string(), recorded);
    document
}

#[test]
fn conf_prints_what_stock_printed_for_a_voter_and_an_observer() {
    let view = |client_port, bytes, id| ConfView {
        client_port,
        secure_client_port: -1,
        data_dir: DIR.into(),
        data_dir_bytes: bytes,
        data_log_dir: DIR.into(),
        data_log_bytes: bytes,
        tick_time_ms: 2000,
        max_client_cnxns: 0,
        min_session_timeout_ms: 4000,
        max_session_timeout_ms: 40_000,
        client_port_listen_backlog: -1,
        server_id: id,
        member: ConfMember::new(&document(), ServerId(id), 10, 5),
    };
    check(conf(&view(31821, FOLLOWER_BYTES, 1)), golden!("follower/conf.txt"));
    check(conf(&view(31824, OBSERVER_BYTES, 4)), golden!("observer/conf.txt"));
    assert_eq!(ConfMember::new(&document(), ServerId(5), 10, 5), None);
}

const FOLLOWER_BYTES: u64 = 67_109_538;
const OBSERVER_BYTES: u64 = 67_110_194;

#[test]
fn ports_of_several_addresses_are_shown_once_each() {
    let text = "server.1=b:2888:3888|a:2888:3889\nversion=0";
    let document = ConfigDocument::parse(text.as_bytes(), true).unwrap();
    let member = ConfMember::new(&document, ServerId(1), 10, 5).unwrap();
    assert_eq!((member.election_ports, member.quorum_ports), (vec![3888, 3889], vec![2888]));
}

fn ephemerals(sessions: &[(SessionId, &str)]) -> Vec<(SessionId, Vec<Arc<[u8]>>)> {
    sessions.iter().map(|&(session, of)| (session, vec![path(of)])).collect()
}

/// The connections block, which is the same in each role.
fn connections(view: &mut DumpView, at: i64, asking: u16, client: (u16, SessionId)) {
    view.connections.add(WallMillis(at), []);
    let expiry = |port, session| ConnectionExpiry { peer: ([127, 0, 0, 1], port).into(), session };
    view.connections.add(WallMillis(at + 10_000), [expiry(asking, SessionId::NONE)]);
    view.connections.add(WallMillis(at + 30_000), [expiry(client.0, client.1)]);
}

#[test]
fn dump_of_a_leader_has_every_session_and_of_a_follower_their_timeouts() {
    let mut view = DumpView::default();
    view.sessions.add(WallMillis(1_795_865_188_000), [FOUR, THREE, ONE]);
    view.ephemerals = ephemerals(&[(FOUR, "/of4/e"), (ONE, "/of1/e"), (THREE, "/of3/e")]);
    connections(&mut view, 1_795_865_158_000, 48112, (48090, THREE));
    check(dump(view), golden!("leader/dump.txt"));

    let mut view = DumpView { learned: None, ..DumpView::default() };
    view.merge(DumpView {
        learned: Some([ONE, THREE, FOUR].map(|session| (session, 30_000)).to_vec()),
        ..DumpView::default()
    });
    let recorded = golden!("follower/dump.txt");
    let text = String::from_utf8(dump(view).into_bytes()).unwrap();
    assert_eq!(text.split("ephemeral").next(), recorded.split("ephemeral").next());
}

fn view(mode: Mode, observed: Option<i64>) -> MonitorView {
    let leader = LeaderView {
        followers: 2,
        non_voting: 0,
        observers: 1,
        syncing: 0,
        pending_syncs: 0,
        uptime_ms: 8135,
    };
    MonitorView {
        server: ServerView { mode, ..server() },
        member: Some(MemberView {
            voters: 3,
            observed: observed.map(ServerId),
            leader: (mode == Mode::Leader).then_some(leader),
            served: None,
        }),
        ..monitor()
    }
}

#[test]
fn mntr_has_every_key_of_stock_in_each_role() {
    let mut leader = view(Mode::Leader, None);
    for learner in [1, 2, 4] {
        leader.metrics.sequencer.links.left(ServerId(learner), 1, 0, Some(57));
    }
    check_keys(leader, golden!("leader/mntr.txt"));
    check_keys(view(Mode::Follower, None), golden!("follower/mntr.txt"));
    check_keys(view(Mode::Observer, Some(3)), golden!("observer/mntr.txt"));
}

#[test]
fn mntr_counts_of_a_member_what_stock_counted() {
    let lines = |text: &str, keys: &[&str]| -> Vec<String> {
        let wanted = |line: &&str| {
            keys.iter().any(|key| line.strip_prefix("zk_").is_some_and(|l| l.split('\t').next() == Some(key)))
        };
        let mut lines: Vec<String> = text.lines().filter(wanted).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let mut leader = view(Mode::Leader, None);
    leader.server.proposal_sizes = sizes(&[48, 90]);
    let member = &mut leader.metrics.sequencer.member;
    (0..9).for_each(|_| member.proposed(48));
    member.committed(9);
    use crate::zab::event::{Observation, SyncMode};
    member.observed(&Observation::ElectionStarted { round: 1 }, 0, 0);
    member.observed(&Observation::Elected { leader: ServerId(3), round: 1, took_ms: 507 }, 0, 0);
    for mode in [SyncMode::Snap, SyncMode::Snap, SyncMode::Trunc] {
        let (learner, from, to) = (ServerId(1), Zxid::ZERO, Zxid::ZERO);
        member.observed(&Observation::LearnerSyncing { learner, mode, from, to }, 1, 1);
        member.observed(&Observation::LearnerSynced { learner, mode }, 0, 0);
    }
    let waited = |queues: &mut LinkQueues| {
        queues.left(ServerId(1), 2, 1, Some(57));
        queues.left(ServerId(1), 1, 1, None);
        queues.left(ServerId(1), 26, 0, None);
    };
    waited(&mut leader.metrics.sequencer.links);
    leader.metrics.sequencer.member.serves(Role::Leading(Epoch(1)), 1685, 0);
    let keys = [
        "avg_unavailable_time",
        "sum_leader_unavailable_time",
        "cnt_follower_sync_time",
        "quit_leading_due_to_disloyal_voter",
        "cnt_1_learner_handler_qp_size",
        "sum_1_learner_handler_qp_size",
        "avg_1_learner_handler_qp_time_ms",
        "max_1_learner_handler_qp_time_ms",
        "p999_1_learner_handler_qp_time_ms",
        "peer_state",
        "learners",
        "synced_followers",
        "synced_non_voting_followers",
        "synced_observers",
        "pending_syncs",
        "leader_uptime",
        "last_proposal_size",
        "max_proposal_size",
        "min_proposal_size",
        "quorum_size",
        "looking_count",
        "proposal_count",
        "commit_count",
        "snap_count",
        "diff_count",
        "avg_inflight_snap_count",
        "cnt_inflight_snap_count",
        "avg_inflight_diff_count",
        "max_inflight_diff_count",
        "learner_proposal_received_count",
        "learner_commit_received_count",
        "avg_election_time",
        "cnt_election_time",
        "revalidate_count",
    ];
    let ours = String::from_utf8(mntr(leader).into_bytes()).unwrap();
    assert_eq!(lines(&ours, &keys), lines(golden!("leader/mntr.txt"), &keys));
    assert_eq!(lines(&ours, &keys).len(), keys.len());

    let mut follower = view(Mode::Follower, None);
    let member = &mut follower.metrics.sequencer.member;
    (0..9).for_each(|_| {
        member.proposal_received();
        member.commit_received();
    });
    let keys =
        ["peer_state", "quorum_size", "learner_proposal_received_count", "learner_commit_received_count"];
    let ours = String::from_utf8(mntr(follower).into_bytes()).unwrap();
    assert_eq!(lines(&ours, &keys), lines(golden!("follower/mntr.txt"), &keys));
    assert_eq!(lines(&ours, &keys).len(), keys.len());
}

#[test]
fn the_nagios_plug_in_finds_a_leaders_keys_in_its_chunk() {
    check_classic_keys(
        view(Mode::Leader, None),
        &[
            "peer_state",
            "learners",
            "followers",
            "synced_followers",
            "synced_observers",
            "pending_syncs",
            "leader_uptime",
        ],
    );
}

#[test]
fn acks_are_shown_by_server_as_stock_shows_every_thousandth() {
    let mut leader = view(Mode::Leader, None);
    let broadcast = &mut leader.metrics.sequencer.broadcast;
    for ms in [4, 6] {
        broadcast.acknowledged(ServerId(3), WallMillis(1_000), WallMillis(1_000 + ms));
        broadcast.decided(WallMillis(1_000), WallMillis(1_000 + ms));
    }
    // Another server's clock may be ahead of ours.
    broadcast.commit_received(WallMillis(1_000), WallMillis(999));
    let text = String::from_utf8(mntr(leader).into_bytes()).unwrap();
    for line in [
        "zk_avg_3_ack_latency\t5.0",
        "zk_cnt_3_ack_latency\t2",
        "zk_p999_3_ack_latency\t6",
        "zk_max_quorum_ack_latency\t6",
        "zk_cnt_commit_propagation_latency\t0",
        "zk_cnt_proposal_latency\t0",
    ] {
        assert!(text.lines().any(|of| of == line), "{line} in {text}");
    }
}

#[test]
fn a_leader_that_leads_again_begins_with_no_proposal() {
    let mut view = view(Mode::Leader, None);
    let member = &mut view.metrics.sequencer.member;
    member.proposed(100);
    member.revalidated();
    member.led();
    assert_eq!(member.proposal_sizes, Sizes::default());
    member.proposed(60);
    let mut sum = crate::runtime::metrics::MemberMetrics::default();
    sum.merge(member);
    assert_eq!(sum, *member);
    assert_eq!((sum.proposals, sum.revalidations, sum.proposal_sizes.last), (2, 1, Some(60)));
}
