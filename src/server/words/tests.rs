#![forbid(unsafe_code)]
//! Our words beside those recorded from a stock 3.9.5 server (tests/golden/record/README.md): the views carry the
//! values that the recording shows, so whole texts are compared, not shapes. Then what parsers in the field demand.

use super::*;
use crate::base::{SessionId, WallMillis, Zxid};
use crate::runtime::metrics::{Metrics, Sizes, Timing};
use crate::wire::OpCode;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/words/", $name))
    };
}

mod members;

const SESSION: SessionId = SessionId(0x10000265b910000);
const CLIENT: &str = "127.0.0.1:39192";
const DIR: &str = "/var/lib/zookeeper/ringkeeper-1";

pub(in crate::server) fn version() -> Version {
    Version::new("0.1.0", "1a2b3c4", 1_770_841_080, BuildDateStyle::Iso)
}

/// Compares an answer with a recorded text in which `{version}` and `{dir}` stand for ours.
fn check(answer: Answer, recorded: &str) {
    let expected = recorded.replace("{version}", version().text()).replace("{dir}", DIR);
    assert_eq!(String::from_utf8(answer.into_bytes()).unwrap(), expected);
}

/// A timing whose extremes and mean (in 1/10,000 ms) are those recorded.
fn timing(min_ms: u64, max_ms: u64, sum_ms: u64, count: u64) -> Timing {
    let mut timing = Timing::default();
    timing.record_us(min_ms * 1000);
    timing.record_us(max_ms * 1000);
    let rest = (sum_ms - min_ms - max_ms) * 1000;
    for n in 0..count - 2 {
        timing.record_us(rest / (count - 2) + u64::from(n < rest % (count - 2)));
    }
    assert_eq!((timing.us().sum(), timing.us().count()), (sum_ms * 1000, count));
    timing
}

fn server() -> ServerView {
    ServerView {
        version: version(),
        latency: timing(0, 23, 198, 41),
        received: 44,
        sent: 48,
        connections: 2,
        outstanding: 0,
        zxid: Zxid(0x15),
        mode: Mode::Standalone,
        node_count: 15,
        proposal_sizes: Sizes::default(),
    }
}

fn client() -> ConnectionView {
    ConnectionView {
        peer: CLIENT.parse().unwrap(),
        interest: 1,
        queued: 0,
        received: 42,
        sent: 47,
        session: Some(SessionView {
            id: SESSION,
            last_operation: OpCode::GetData.label(),
            established: WallMillis(1_795_399_024_333),
            timeout_ms: 30_000,
            last_cxid: Some(0x28),
            last_zxid: Zxid(0x15),
            last_response_ms: 2_521_917,
            last_latency_ms: 0,
            min_latency_ms: 0,
            avg_latency_ms: 4,
            max_latency_ms: 23,
        }),
    }
}

fn asking(port: u16) -> ConnectionView {
    ConnectionView {
        peer: ([127, 0, 0, 1], port).into(),
        interest: 0,
        queued: 0,
        received: 1,
        sent: 0,
        session: None,
    }
}

fn monitor() -> MonitorView {
    MonitorView {
        server: server(),
        member: None,
        watch_count: 3,
        ephemerals_count: 2,
        approximate_data_size: 600,
        global_sessions: 1,
        local_sessions: 0,
        open_file_descriptors: 40,
        max_file_descriptors: 1_048_576,
        connection_drop_probability: 0.0,
        uptime_ms: 61_000,
        quotas: vec![],
        metrics: Metrics::default(),
    }
}

fn path(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn watches() -> WatchView {
    let mut view = WatchView { sessions: vec![(SESSION, vec![path("/a"), path("/nope")])] };
    view.merge(WatchView { sessions: vec![(SessionId(9), vec![])] });
    view
}

#[test]
fn srvr_and_stat_print_what_stock_printed() {
    check(srvr(&server()), golden!("srvr.txt"));
    let later = ServerView { received: 45, sent: 49, ..server() };
    check(stat(&later, vec![client(), asking(39202)]), golden!("stat.txt"));
}

#[test]
fn cons_prints_what_stock_printed() {
    check(cons(vec![client(), asking(39232)]), golden!("cons.txt"));
}

#[test]
fn a_session_without_a_request_has_no_lcxid_and_a_reset_one_a_negative_zxid() {
    let mut fresh = client();
    let session = fresh.session.as_mut().unwrap();
    (session.last_cxid, session.last_operation, session.last_zxid) = (None, "SESS", Zxid(-1));
    let text = String::from_utf8(cons(vec![fresh]).into_bytes()).unwrap();
    assert!(text.contains(",lop=SESS,est=1795399024333,to=30000,lzxid=0xffffffffffffffff,lresp="), "{text}");
}

#[test]
fn dump_prints_what_stock_printed() {
    // Parts as two shards and the sequencer would hand them in.
    let mut view = DumpView::default();
    view.connections.add(
        WallMillis(1_795_399_043_000),
        [ConnectionExpiry { peer: "127.0.0.1:39234".parse().unwrap(), session: SessionId::NONE }],
    );
    let mut second = DumpView::default();
    second.sessions.add(WallMillis(1_795_399_055_000), [SESSION]);
    second.connections.add(
        WallMillis(1_795_399_063_000),
        [ConnectionExpiry { peer: CLIENT.parse().unwrap(), session: SESSION }],
    );
    view.merge(second);
    view.merge(DumpView {
        ephemerals: vec![(SESSION, vec![path("/a/es-0000000002"), path("/a/e")])],
        ..DumpView::default()
    });
    check(dump(view), golden!("dump.txt"));
}

#[test]
fn watch_words_print_what_stock_printed() {
    check(wchs(watches()), golden!("wchs.txt"));
    check(wchc(watches()), golden!("wchc.txt"));
    check(wchp(watches()), golden!("wchp.txt"));
}

#[test]
fn wchp_groups_the_sessions_of_all_shards_under_one_path() {
    let mut view = watches();
    view.merge(WatchView { sessions: vec![(SessionId(7), vec![path("/nope"), path("/z")])] });
    check(wchs(view.clone()), "2 connections watching 3 paths\nTotal watches:4\n");
    check(wchp(view), "/a\n\t0x10000265b910000\n/nope\n\t0x7\n\t0x10000265b910000\n/z\n\t0x7\n\n");
}

#[test]
fn conf_dirs_and_envi_print_what_stock_printed() {
    let view = ConfView {
        client_port: 31820,
        secure_client_port: -1,
        data_dir: DIR.into(),
        data_dir_bytes: 66_030,
        data_log_dir: DIR.into(),
        data_log_bytes: 66_030,
        tick_time_ms: 2000,
        max_client_cnxns: 60,
        min_session_timeout_ms: 4000,
        max_session_timeout_ms: 40_000,
        client_port_listen_backlog: -1,
        server_id: 0,
        member: None,
    };
    check(conf(&view), golden!("conf.txt"));
    check(dirs(66_030, 66_030), golden!("dirs.txt"));
    let java = "n/a (ringkeeper 0.1.0)";
    let mut recorded = golden!("envi.txt").replace("{zookeeper.version}", "{version}");
    for (key, value) in [
        ("host.name", "zoo1"),
        ("java.version", java),
        ("java.vendor", java),
        ("java.home", java),
        ("java.class.path", java),
        ("java.library.path", java),
        ("java.io.tmpdir", "/var/tmp"),
        ("java.compiler", java),
        ("os.name", "Linux"),
        ("os.arch", "amd64"),
        ("os.version", "6.1"),
        ("user.name", "zookeeper"),
        ("user.home", "/home/zookeeper"),
        ("user.dir", "/"),
        ("os.memory.free", "1MB"),
        ("os.memory.max", "3MB"),
        ("os.memory.total", "2MB"),
    ] {
        recorded = recorded.replace(&format!("{{{key}}}"), value);
    }
    check(envi(&environment()), &recorded);
}

pub(in crate::server) fn environment() -> EnvView {
    EnvView {
        version: version(),
        ringkeeper: "0.1.0",
        host_name: "zoo1".into(),
        tmpdir: "/var/tmp".into(),
        os_name: "Linux".into(),
        os_arch: "amd64".into(),
        os_version: "6.1".into(),
        user_name: "zookeeper".into(),
        user_home: "/home/zookeeper".into(),
        user_dir: "/".into(),
        memory_free_mb: 1,
        memory_max_mb: 3,
        memory_total_mb: 2,
    }
}

#[test]
fn short_words_print_what_stock_printed() {
    check(ruok(), golden!("ruok.txt"));
    check(isro(false), golden!("isro.txt"));
    check(isro(true), "ro");
    check(crst(), golden!("crst.txt"));
    check(srst(), golden!("srst.txt"));
    check(trace_mask(TRACE_MASK_DEFAULT), golden!("gtmk.txt"));
    check(trace_mask(306), golden!("stmk.txt"));
    check(Word::Mntr.refusal(), golden!("refused.txt"));
}

#[test]
fn hash_keeps_one_digest_each_128_txns_and_forgets_the_oldest() {
    let mut log = DigestLog::default();
    for (zxid, digest) in [(127, 1), (0x80, 242_150_020_103), (129, 2), (0x100, 500_851_083_893)] {
        log.applied(Zxid(zxid), digest);
    }
    check(hash(&log), golden!("hash.txt"));
    for n in 3..=1026 {
        log.applied(Zxid(n * DIGEST_LOG_INTERVAL), -n);
    }
    let text = String::from_utf8(hash(&log).into_bytes()).unwrap();
    assert_eq!((text.lines().count(), text.lines().next()), (DIGEST_LOG_LIMIT, Some("180: -3")));
}

#[test]
fn words_are_recognised_by_their_first_four_bytes_alone() {
    for word in Word::ALL {
        let first: [u8; 4] = word.text().as_bytes().try_into().unwrap();
        assert_eq!(recognise(first), Some(Opening::Word(*word)));
        assert!(u32::from_be_bytes(first) as usize > crate::base::limits::FRAME_BYTES_MAX);
    }
    assert_eq!(Word::ALL.len(), 18);
    assert_eq!(recognise([0xff, 0xf4, 0xff, 0xfd]), Some(Opening::TelnetBreak));
    for other in [*b"RUOK", *b"kill", *b"reqs", [0, 0, 0, 44]] {
        assert_eq!(recognise(other), None);
    }
}

#[test]
fn the_whitelist_always_holds_srvr_and_isro_only_when_it_may_turn_read_only() {
    let allowed = |list: Option<&str>, read_only| {
        let whitelist = Whitelist::parse(list, read_only);
        Word::ALL.iter().filter(|word| whitelist.allows(**word)).map(|word| word.text()).collect::<Vec<_>>()
    };
    assert_eq!(allowed(None, false), ["srvr"]);
    assert_eq!(allowed(Some(""), true), ["isro", "srvr"]);
    assert_eq!(allowed(Some(" ruok , mntr,bogus,STAT"), false), ["mntr", "ruok", "srvr"]);
    assert_eq!(allowed(Some("ruok, *"), false).len(), Word::ALL.len());
    assert_eq!(Whitelist::default(), Whitelist::parse(None, false));
}

#[test]
fn a_server_that_does_not_serve_says_so_in_stocks_sentence() {
    let sentence = golden!("not_serving.txt");
    for word in Word::ALL {
        let answer = word.answer_while_not_serving().map(|a| String::from_utf8(a.into_bytes()).unwrap());
        let expected = match word {
            Word::Ruok | Word::Envi | Word::Gtmk | Word::Stmk => None,
            Word::Isro => Some("null"),
            Word::Hash => Some(sentence.trim_end()),
            _ => Some(sentence),
        };
        assert_eq!(answer.as_deref(), expected, "{word:?}");
    }
}

/// Key to kind of value.
fn kinds(text: &str) -> BTreeMap<&str, &'static str> {
    text.lines()
        .map(|line| {
            let (key, value) = line.split_once('\t').unwrap_or_else(|| panic!("no tab: {line:?}"));
            assert!(!value.contains('\t'), "two tabs: {line:?}");
            let kind = match () {
                () if value.parse::<i64>().is_ok() => "integer",
                () if value.parse::<f64>().is_ok() => "decimal",
                () => "text",
            };
            (key, kind)
        })
        .collect()
}

#[test]
fn mntr_has_every_key_of_stock_with_a_value_of_its_kind() {
    check_keys(monitor(), golden!("mntr.txt"));
}

/// The keys are those of a recorded text, and those that ringkeeper is known to add.
fn check_keys(view: MonitorView, recorded: &str) {
    let ours = String::from_utf8(mntr(view).into_bytes()).unwrap();
    let ours = kinds(&ours);
    let stock = kinds(recorded);
    for (key, kind) in &stock {
        // Namespaces depend on what was read and written.
        if !key.ends_with("_per_namespace") {
            assert_eq!(ours.get(key), Some(kind), "{key}");
        }
    }
    let extra: BTreeSet<_> = ours.keys().filter(|key| !stock.contains_key(*key)).collect();
    let known = |key: &&&&str| {
        key.starts_with("zk_op_count_")
            || key.starts_with("zk_ttl_node_")
            || [
                "zk_fsync_threshold_exceed_count",
                "zk_namespaces_dropped",
                "zk_servers_refused",
                "zk_followers",
            ]
            .contains(**key)
    };
    assert_eq!(extra.iter().filter(|key| !known(key)).count(), 0, "{extra:?}");
}

#[test]
fn mntr_shows_what_the_cores_counted() {
    let mut view = monitor();
    let (shards, sequencer) = (&mut view.metrics.shards, &mut view.metrics.sequencer);
    shards.request_done(OpCode::SetData, 1_400);
    shards.request_done(OpCode::Create2, 2_600);
    shards.reply_sent(88);
    shards.read("/ü b/x".as_bytes(), 10);
    shards.watches_fired(crate::wire::reply::EventType::NodeDeleted, 3);
    sequencer.flushed(4096, 700, false);
    sequencer.flushed(4096, 2_000_000, true);
    sequencer.wrote(b"/app/x", 4);
    sequencer.quota_exceeded(b"/app");
    view.quotas.push(QuotaView {
        namespace: b"app"[..].into(),
        count_limit: 10,
        bytes_limit: -1,
        count_usage: 3,
        bytes_usage: 99,
    });
    let text = String::from_utf8(mntr(view).into_bytes()).unwrap();
    for line in [
        "zk_avg_updatelatency\t2.0",
        "zk_min_updatelatency\t1",
        "zk_max_updatelatency\t3",
        "zk_cnt_updatelatency\t2",
        "zk_sum_updatelatency\t4",
        "zk_p50_updatelatency\t1",
        "zk_p999_updatelatency\t3",
        "zk_cnt_readlatency\t0",
        "zk_op_count_create\t1",
        "zk_op_count_total\t2",
        "zk_last_client_response_size\t88",
        "zk_response_bytes\t88",
        "zk_avg_fsynctime\t1000.35",
        "zk_fsync_threshold_exceed_count\t1",
        "zk_avg_node_deleted_watch_count\t3.0",
        "zk_avg____b_read_per_namespace\t85.0",
        "zk_cnt_app_write_per_namespace\t1",
        "zk_sum_app_write_per_namespace\t10",
        "zk_app_quota_exceeded_error_per_namespace\t1",
        "zk_app_quota_count_limit_per_namespace\t10",
        "zk_app_quota_bytes_limit_per_namespace\t-1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn telegraf_accepts_every_line_of_mntr() {
    let mut view = monitor();
    for name in ["a-b", "a.b", "a b", "a\tb", "a\nb", "ü", "x=1", "{}"] {
        view.metrics.shards.read(format!("/{name}/x").as_bytes(), 1);
        view.metrics.sequencer.wrote(format!("/{name}").as_bytes(), 1);
    }
    let pattern = Regex::new(r"^zk_(\w[\w.-]*)\s+([\w.\-]+)").unwrap();
    let keys = Regex::new(r"^zk_[A-Za-z0-9_.-]+\t").unwrap();
    let text = String::from_utf8(mntr(view).into_bytes()).unwrap();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        assert!(pattern.is_match(line) && keys.is_match(line), "{line:?}");
        assert!(!line.contains("null"), "{line:?}");
    }
}

#[test]
fn the_nagios_plug_in_finds_the_classic_keys_in_one_chunk() {
    check_classic_keys(monitor(), &[]);
}

/// The classic keys and these stand in the first 2048 bytes.
fn check_classic_keys(view: MonitorView, more: &[&str]) {
    let text = mntr(view).into_bytes();
    let chunk = String::from_utf8(text[..2048].to_vec()).unwrap();
    let classic = [
        "version",
        "server_state",
        "avg_latency",
        "max_latency",
        "min_latency",
        "packets_received",
        "packets_sent",
        "num_alive_connections",
        "outstanding_requests",
        "znode_count",
        "watch_count",
        "ephemerals_count",
        "approximate_data_size",
        "open_file_descriptor_count",
        "max_file_descriptor_count",
    ];
    for key in classic.iter().chain(more) {
        assert!(chunk.lines().any(|line| line.starts_with(&format!("zk_{key}\t"))), "{key}");
    }
}

#[test]
fn go_zookeeper_parses_cons_and_with_the_us_date_srvr() {
    // github.com/go-zookeeper/zk, flw.go.
    let cons_pattern = Regex::new(concat!(
        r"^ /((?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?):(?:\d+))\[\d+\]",
        r"\(queued=(\d+),recved=(\d+),sent=(\d+),sid=(0x[A-Za-z0-9]+),lop=(\w+),est=(\d+),to=(\d+),",
        r"lcxid=(0x[A-Za-z0-9]+),lzxid=(0x[A-Za-z0-9]+),lresp=(\d+),llat=(\d+),minlat=(\d+),avglat=(\d+),maxlat=(\d+)\)",
    ))
    .unwrap();
    let text = String::from_utf8(cons(vec![client()]).into_bytes()).unwrap();
    assert!(cons_pattern.is_match(text.lines().next().unwrap()), "{text}");
    let srvr_pattern = Regex::new(concat!(
        r"^Zookeeper version: ([A-Za-z0-9\.\-]+), built on (\d\d/\d\d/\d\d\d\d \d\d:\d\d [A-Za-z0-9:\+\-]+)\n",
        r"Latency min/avg/max: (\d+)/([0-9.]+)/(\d+)\nReceived: (\d+)\nSent: (\d+)\nConnections: (\d+)\n",
        r"Outstanding: (\d+)\nZxid: (0x[A-Za-z0-9]+)\nMode: (\w+)\nNode count: (\d+)",
    ))
    .unwrap();
    let us = Version::new("0.1.0", "", 1_770_841_080, BuildDateStyle::Us);
    assert_eq!(us.text(), "3.9.5-ringkeeper-0.1.0, built on 02/11/2026 20:18 GMT");
    let text = String::from_utf8(srvr(&ServerView { version: us, ..server() }).into_bytes()).unwrap();
    assert!(srvr_pattern.is_match(&text), "{text}");
}

#[test]
fn the_version_begins_with_the_release_we_stand_in_for() {
    assert_eq!(version().text(), "3.9.5-ringkeeper-0.1.0-1a2b3c4, built on 2026-02-11 20:18 UTC");
    let odd = Version::new("0.1.0+x", "dirty, tree", 0, BuildDateStyle::Iso);
    assert_eq!(odd.text(), "3.9.5-ringkeeper-0.1.0-x-dirty--tree, built on 1970-01-01 00:00 UTC");
    // kazoo: the digits and dots in front of the value of zookeeper.version, split at dots, each a number.
    let text = String::from_utf8(envi(&environment()).into_bytes()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("zookeeper.version=")).unwrap();
    let digits = &Regex::new(r"(?s)^([\d\.]*).*").unwrap().captures(value).unwrap()[1];
    assert_eq!(digits.split('.').map(|d| d.parse::<u32>().unwrap()).collect::<Vec<_>>(), [3, 9, 5]);
}

#[test]
fn the_environment_cannot_forge_lines() {
    let view = EnvView { host_name: "x\nzookeeper.version=9".into(), ..environment() };
    let text = String::from_utf8(envi(&view).into_bytes()).unwrap();
    assert_eq!(text.lines().count(), golden!("envi.txt").lines().count());
}

#[test]
fn a_long_answer_comes_in_slices_that_add_up() {
    let paths: Vec<_> = (0..50_000).map(|n| path(&format!("/watched/by/many/{n:05}"))).collect();
    let view = WatchView { sessions: vec![(SESSION, paths)] };
    let whole = wchp(view.clone()).into_bytes();
    let (mut answer, mut sum, mut slices, mut out) = (wchp(view), Vec::new(), 0, Vec::new());
    loop {
        out.clear();
        let more = answer.next_slice(&mut out);
        assert!(out.len() < SLICE_BYTES + 100, "a slice ends at the line that crosses its size");
        sum.extend_from_slice(&out);
        slices += 1;
        if !more {
            break;
        }
    }
    assert_eq!(sum, whole);
    assert_eq!(slices, whole.len() / SLICE_BYTES + 1);
    assert!(!answer.next_slice(&mut out));
}
