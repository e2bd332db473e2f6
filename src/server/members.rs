#![forbid(unsafe_code)]
//! From the configuration of an ensemble to what its parts read: Zab's settings and membership, and where the servers
//! are. Plain values that may cross threads; what counts without atomics is made where it lives.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::base::{ServerId, Zxid, limits};
use crate::config::{Config, MemberRole, PeerAddress};
use crate::pipeline;
use crate::runtime::Clock;
use crate::runtime::files::DataDirs;
use crate::runtime::images::{self, Images};
use crate::runtime::keeper::{self, DurableParts};
use crate::runtime::peers::{self, Address, ObserverPort, Server};
use crate::runtime::sequencer::{self, LocalSessions, Shared};
use crate::runtime::sys;
use crate::storage::epoch::EpochRecord;
use crate::zab::membership::{Membership, Quorum};
use crate::zab::settings::Settings;

/// How long a won round of election waits for a better vote, ms (stock `FastLeaderElection.finalizeWait`).
const FINALIZE_WAIT_MS: u64 = 200;

/// Room that the proposals outstanding leave below the end of an epoch's counter.
const COUNTER_MARGIN: u32 = 1 << 20;

/// [`Membership`], made on one thread for another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembershipParts {
    /// As in [`Membership::voters`].
    pub voters: Vec<ServerId>,
    /// As in [`Membership::observers`].
    pub observers: Vec<ServerId>,
    /// As in [`Membership::quorum`].
    pub quorum: Quorum,
    /// As in [`Membership::document`].
    pub document: Box<[u8]>,
    /// As in [`Membership::version`].
    pub version: i64,
}

impl MembershipParts {
    /// On the thread that goes on with it.
    pub fn into_membership(self) -> Membership {
        let MembershipParts { voters, observers, quorum, document, version } = self;
        Membership {
            voters: voters.into_iter().collect(),
            observers: observers.into_iter().collect(),
            quorum,
            document: document.into(),
            version,
        }
    }
}

/// What the configuration says of an ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members {
    /// Zab's times and bounds.
    pub zab: Settings,
    /// Who votes, and how votes are counted.
    pub membership: MembershipParts,
    /// All servers, this one among them.
    pub servers: Vec<Server>,
    /// Whether this server's ports are on all of the machine's addresses.
    pub listen_on_all: bool,
    /// One connect to an election port, ms.
    pub connect_timeout_ms: u64,
    /// Where followers serve observers, if they do.
    pub observers: Option<ObserverPort>,
}

/// What a member starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStart {
    /// What the configuration says.
    pub members: Members,
    /// What the disk says.
    pub durable: DurableParts,
    /// The record on disk, for the keeper.
    pub record: EpochRecord,
}

/// Of a configuration that has an ensemble.
pub fn members(config: &Config) -> Option<Members> {
    let ensemble = config.ensemble.as_ref()?;
    let document = &ensemble.document;
    let ids = |role| {
        let members = document.members.values().filter(move |member| member.role == role);
        members.map(|member| member.id).collect()
    };
    let quorum = match &document.groups {
        None => Quorum::Majority,
        Some(groups) => Quorum::Hierarchical { group: groups.group.clone(), weight: groups.weight.clone() },
    };
    let places = |addresses: &[PeerAddress], port: fn(&PeerAddress) -> u16| {
        let place = |address: &PeerAddress| Address { host: address.host.clone(), port: port(address) };
        addresses.iter().map(place).collect()
    };
    let servers = document.members.values().map(|member| Server {
        id: member.id,
        quorum: places(&member.addresses, |address| address.quorum_port),
        election: places(&member.addresses, |address| address.election_port),
    });
    Some(Members {
        zab: Settings {
            me: ensemble.me,
            tick_ms: u64::from(config.tick_ms),
            init_limit: u64::from(ensemble.init_limit),
            sync_limit: u64::from(ensemble.sync_limit),
            connect_limit: u64::from(ensemble.connect_limit.unwrap_or(0)),
            notification_min_ms: u64::from(ensemble.notification_ms_min),
            notification_max_ms: u64::from(ensemble.notification_ms_max),
            finalize_wait_ms: FINALIZE_WAIT_MS,
            history_txns_max: config.storage.commit_log_count as usize,
            history_bytes_max: limits::HISTORY_BYTES_MAX,
            outstanding_max: limits::PROPOSALS_OUTSTANDING_MAX,
            snaps_max: ensemble.snaps_max as usize,
            diffs_max: ensemble.diffs_max as usize,
            observer_masters: ensemble.observer_master_port.is_some(),
            observer_election_delay_ms: u64::from(ensemble.observer_election_delay_ms),
            observer_reconnect_delay_ms: u64::from(ensemble.observer_reconnect_delay_ms),
            seed: 0,
            counter_max: u32::MAX - COUNTER_MARGIN,
        },
        membership: MembershipParts {
            voters: ids(MemberRole::Participant),
            observers: ids(MemberRole::Observer),
            quorum,
            document: document.to_string().into_bytes().into(),
            version: document.version,
        },
        servers: servers.collect(),
        listen_on_all: ensemble.listen_on_all,
        connect_timeout_ms: u64::from(ensemble.connect_timeout_ms),
        observers: ensemble
            .observer_master_port
            .map(|port| ObserverPort { port, held_bytes_max: ensemble.observer_held_bytes_max as usize }),
    })
}

/// What a member's parts share with the rest of the server.
pub(super) struct Surroundings<'a> {
    pub(super) dirs: &'a Arc<DataDirs>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) clock: &'a Clock,
    pub(super) pipeline: pipeline::Settings,
    /// Random, one for each part that needs one.
    pub(super) seeds: [u64; 3],
}

impl MemberStart {
    /// Starts what works beside the sequencer, and gives what the sequencer takes.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn launch(
        self,
        config: &Config,
        around: Surroundings<'_>,
    ) -> io::Result<sequencer::MemberStart> {
        let MemberStart { members, durable, record } = self;
        let identity = record.identity;
        let keeper = keeper::spawn(
            around.dirs.clone(),
            record,
            around.shared.clone(),
            config.storage.log_range_share,
        )?;
        let frame_bytes_max = config.requests.frame_bytes_max as usize;
        let element_bytes_max = frame_bytes_max.saturating_add(config.requests.record_extra_bytes as usize);
        let settings = images::Settings {
            dirs: around.dirs.clone(),
            identity,
            clock: around.clock.clone(),
            intake: images::Intake {
                pipeline: around.pipeline,
                tick_ms: members.zab.tick_ms,
                element_bytes_max,
                image_bytes_max: images::memory_bytes_max(),
            },
            seed: around.seeds[0],
        };
        let shared = around.shared.clone();
        let images = Images::new(settings, Arc::new(move || shared.wake_sequencer()))?;
        let peers = peers::Settings {
            me: members.zab.me,
            servers: members.servers,
            listen_on_all: members.listen_on_all,
            connect_timeout_ms: members.connect_timeout_ms,
            tick_ms: members.zab.tick_ms,
            packet_bytes_max: element_bytes_max,
            bind_patience: sys::PORT_PATIENCE,
            observers: members.observers,
            seed: around.seeds[1],
        };
        let (zab, membership) = (Settings { seed: around.seeds[2], ..members.zab }, members.membership);
        let zab = Box::new(move || (zab, membership.into_membership(), durable.into_durable()));
        let ensemble = config.ensemble.as_ref().filter(|ensemble| ensemble.local_sessions);
        Ok(sequencer::MemberStart {
            peers,
            keeper,
            images,
            zab,
            local_sessions: ensemble
                .map(|ensemble| LocalSessions { upgrade: ensemble.local_sessions_upgrade }),
            read_only: config.words.read_only_mode,
        })
    }
}

/// The newest txns of a log that is read from its beginning: all that is not known to be committed, and as much before it
/// as is kept for learners.
#[derive(Debug)]
pub struct RecentTxns {
    txns: VecDeque<(Zxid, Box<[u8]>)>,
    bytes: usize,
    txns_max: usize,
}

impl RecentTxns {
    /// Nothing read; of what is committed this many are kept.
    pub fn new(txns_max: usize) -> RecentTxns {
        RecentTxns { txns: VecDeque::new(), bytes: 0, txns_max }
    }

    /// The log's next txn. `committed` is the same in each call.
    pub fn push(&mut self, zxid: Zxid, payload: &[u8], committed: Zxid) {
        self.bytes += payload.len();
        self.txns.push_back((zxid, payload.into()));
        while self.txns.len() > self.txns_max || self.bytes > limits::HISTORY_BYTES_MAX {
            if self.txns.front().is_none_or(|(zxid, _)| *zxid > committed) {
                break;
            }
            self.bytes -= self.txns.pop_front().map_or(0, |(_, payload)| payload.len());
        }
    }

    /// Oldest first.
    pub fn into_txns(self) -> Vec<(Zxid, Box<[u8]>)> {
        self.txns.into()
    }
}

const _: () = assert!(limits::PROPOSALS_OUTSTANDING_MAX < COUNTER_MARGIN as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Checked, Inputs, Raw, check};

    fn check_file(file: &str, my_id: Option<&str>) -> Result<Checked, String> {
        let text = format!("dataDir=/d\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n{file}");
        let raw = Raw::from_file("zoo.cfg", text.as_bytes()).expect("well-formed");
        let inputs = Inputs { raw, dynamic: None, my_id: my_id.map(str::to_owned) };
        check(&inputs).map_err(|error| error.to_string())
    }

    fn members_of(file: &str) -> Members {
        members(&check_file(file, Some("2")).expect("accepted").config).expect("an ensemble")
    }

    fn refused(file: &str, my_id: Option<&str>, why: &str) {
        let error = check_file(file, my_id).expect_err(file);
        assert!(error.contains(why), "{file:?}: {error}");
    }

    const THREE: &str = "server.1=a:2888:3888\nserver.2=b:2888:3888;2182\nserver.3=[::1]:2888:3888\n";

    #[test]
    fn an_ensemble_is_read_with_stocks_defaults() {
        let found = members_of(&format!("{THREE}tickTime=2000\nclientPort=2182"));
        let Settings { me, tick_ms, init_limit, sync_limit, connect_limit, .. } = found.zab;
        assert_eq!((me, tick_ms, init_limit, sync_limit, connect_limit), (ServerId(2), 2000, 10, 5, 0));
        let Settings { notification_min_ms, notification_max_ms, history_txns_max, .. } = found.zab;
        assert_eq!((notification_min_ms, notification_max_ms, history_txns_max), (200, 60_000, 500));
        assert_eq!((found.listen_on_all, found.connect_timeout_ms), (false, 5000));
        assert_eq!((found.observers, found.zab.observer_masters), (None, false));
        assert_eq!(found.zab.observer_election_delay_ms, 0);
        let place = |port| vec![Address { host: "::1".into(), port }];
        assert_eq!(found.servers.len(), 3);
        assert_eq!(found.servers[2], Server { id: ServerId(3), quorum: place(2888), election: place(3888) });
        let membership = found.membership.into_membership();
        assert_eq!(
            &*membership.document,
            b"server.1=a:2888:3888:participant\nserver.2=b:2888:3888:participant;0.0.0.0:2182\n\
              server.3=[::1]:2888:3888:participant\nversion=0"
        );
        assert!(membership.is_quorum(&[ServerId(1), ServerId(3)].into()));
        assert!(!membership.is_quorum(&[ServerId(1)].into()));
    }

    #[test]
    fn keys_of_an_ensemble_take_effect() {
        let found = members_of(&format!(
            "{THREE}clientPort=2182\nserver.4=d:1:2:observer\nquorumListenOnAllIPs=true\n\
             connectToLearnerMasterLimit=3\ncnxTimeout=700\nfastleader.minNotificationInterval=50\n\
             fastleader.maxNotificationInterval=400\ncommitLogCount=900\nleader.maxConcurrentSnapSyncs=1\n\
             maxConcurrentDiffSyncs=7\nobserverMasterPort=2889\nobserverMaster.sizeLimit=1000\n\
             observer.reconnectDelayMs=30"
        ));
        assert_eq!((found.listen_on_all, found.connect_timeout_ms), (true, 700));
        let Settings { connect_limit, notification_min_ms, notification_max_ms, history_txns_max, .. } =
            found.zab;
        assert_eq!(
            (connect_limit, notification_min_ms, notification_max_ms, history_txns_max),
            (3, 50, 400, 900)
        );
        assert_eq!((found.zab.snaps_max, found.zab.diffs_max), (1, 7));
        assert_eq!(found.membership.observers, [ServerId(4)]);
        assert_eq!(found.observers, Some(ObserverPort { port: 2889, held_bytes_max: 1000 }));
        let Settings { observer_election_delay_ms, observer_reconnect_delay_ms, .. } = found.zab;
        assert!(found.zab.observer_masters);
        assert_eq!((observer_election_delay_ms, observer_reconnect_delay_ms), (200, 30));
        assert_eq!(found.membership.voters, [1, 2, 3].map(ServerId));
    }

    #[test]
    fn several_addresses_groups_and_weights_are_read() {
        let found = members_of(
            "multiAddress.enabled=true\nserver.1=a:1:2\nserver.2=b:1:2|c:3:4\nserver.3=d:1:2\n\
             group.1=1:2\ngroup.2=3\nweight.1=2",
        );
        let place = |host: &str, port| Address { host: host.into(), port };
        assert_eq!(found.servers[1].quorum, [place("b", 1), place("c", 3)]);
        assert_eq!(found.servers[1].election, [place("b", 2), place("c", 4)]);
        let membership = found.membership.into_membership();
        assert_eq!([1, 2, 3].map(|id| membership.weight(ServerId(id))), [2, 1, 1]);
        assert!(membership.is_quorum(&[ServerId(1), ServerId(3)].into()));
        assert!(!membership.is_quorum(&[ServerId(2), ServerId(3)].into()));
    }

    #[test]
    fn one_line_is_an_ensemble_only_where_it_is_asked_to_be() {
        let alone = check_file("server.2=b:1:2", Some("2")).expect("accepted").config;
        assert_eq!(members(&alone), None);
        let found = members_of("server.2=b:1:2\nstandaloneEnabled=false");
        assert_eq!(found.membership.voters, [ServerId(2)]);
    }

    #[test]
    fn what_stops_a_member_says_why() {
        refused(THREE, None, "myid file is missing");
        refused(THREE, Some("4"), "My id 4 not in the peer list");
        refused(&format!("{THREE}syncLimit=0"), Some("1"), "syncLimit is not set");
        refused(&format!("{THREE}initLimit=0"), Some("1"), "initLimit is not set");
        refused(&format!("{THREE}group.1=1:2"), Some("1"), "is not in a group");
        refused(&format!("{THREE}quorumListenOnAllIPs=maybe"), Some("1"), "quorumListenOnAllIPs");
        refused(THREE, Some("2"), "client address for this server (id = 2)");
        let large = "server.1=a:1:2\nserver.300=b:1:2\nextendedTypesEnabled=true";
        refused(large, Some("300"), "at most 254");
    }

    #[test]
    fn of_the_log_all_that_is_undecided_is_kept_and_the_newest_of_the_rest() {
        let check = |committed: i64, expected: &[i64]| {
            let mut recent = RecentTxns::new(3);
            (1..=8).for_each(|z| recent.push(Zxid(z), &[z as u8], Zxid(committed)));
            let kept: Vec<i64> = recent.into_txns().into_iter().map(|(zxid, _)| zxid.0).collect();
            assert_eq!(kept, expected, "committed {committed}");
        };
        check(8, &[6, 7, 8]);
        check(6, &[6, 7, 8]);
        check(3, &[4, 5, 6, 7, 8]);
        check(0, &[1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn server_lines_decide_over_peer_type() {
        let checked = check_file(&format!("{THREE}peerType=observer"), Some("1")).expect("accepted");
        assert!(checked.notices.iter().any(|notice| notice.text.contains("peerType says observer")));
    }
}
