#![forbid(unsafe_code)]
//! States that go from one server's pipeline to another's, through threads, chunks and a disk.

mod hostile;
mod installed;
mod recorded;
mod streams;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::base::{Millis, ServerId, SessionId};
use crate::pipeline::Loaded;
use crate::pipeline::tests::settings;
use crate::sessions::SessionTable;
use crate::storage::ClusterId;
use crate::storage::wal::SegmentId;
use crate::tree::{StoredStat, TreeReader};
use crate::wire::txn::{self, Lifetime, Txn, TxnHeader};
use crate::wire::{Id, OpCode};

const LINK: LinkId = LinkId(7);
const ONE: SessionId = SessionId(0x11);
const TWO: SessionId = SessionId(0x22);
/// No verdict depends on it: whoever waits longer hangs.
const HANG: Duration = Duration::from_secs(120);
const IDENTITY: Identity = Identity { cluster: ClusterId([3; 16]), server: ServerId(2) };
const RECEIVED: Received = Received { log_from: SegmentId(4), confirmed: Zxid::ZERO };

fn empty_pipeline() -> (Pipeline, TreeReader) {
    let (mut tree, reader) = crate::tree::new(7);
    tree.set_extended_types(true);
    let sessions = SessionTable::new(1000);
    (Pipeline::new(tree, sessions, Loaded::default(), Zxid::ZERO, settings()), reader)
}

/// The images of a server, and its folder.
struct Host {
    images: Images,
    settings: Settings,
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        Host::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let dirs = Arc::new(DataDirs::open(folder.path(), folder.path()).unwrap());
        let mut settings = Settings {
            dirs,
            identity: IDENTITY,
            clock: Clock::start(),
            intake: Intake {
                pipeline: settings(),
                tick_ms: 1000,
                element_bytes_max: 1 << 20,
                image_bytes_max: 1 << 30,
            },
            seed: 99,
        };
        change(&mut settings);
        let tester = std::thread::current();
        let images = Images::new(settings.clone(), Arc::new(move || tester.unpark())).unwrap();
        Host { images, settings, folder }
    }

    fn next(&mut self) -> ImageReport {
        let began = Instant::now();
        loop {
            if let Some(report) = self.images.take() {
                return report;
            }
            assert!(began.elapsed() < HANG, "nothing is reported");
            std::thread::park_timeout(HANG);
        }
    }

    fn await_none_alive(&mut self) {
        let began = Instant::now();
        while self.images.alive() > 0 {
            assert!(began.elapsed() < HANG, "an image lives on");
            std::thread::park_timeout(HANG);
        }
        assert!(self.images.take().is_none(), "a dropped image reports");
    }

    /// Gives a stream in pieces of the sizes that `size` says; what came of it.
    fn feed(&mut self, link: LinkId, stream: &[u8], mut size: impl FnMut() -> usize) -> ImageReport {
        let mut rest = stream;
        loop {
            let (piece, behind) = rest.split_at(size().min(rest.len()));
            rest = behind;
            self.images.bytes(link, piece.to_vec());
            match self.next() {
                ImageReport::Taken { .. } if !rest.is_empty() => {}
                report => return report,
            }
        }
    }

    fn feed_whole(&mut self, stream: &[u8]) -> ImageReport {
        self.images.receive(LINK, Zxid(100));
        self.feed(LINK, stream, || usize::MAX)
    }

    /// The whole stream of an image, each chunk asked for; `between` is called before each.
    fn stream(&mut self, link: LinkId, mut between: impl FnMut()) -> Vec<u8> {
        let mut stream = Vec::new();
        loop {
            between();
            self.images.room(link);
            match self.next() {
                ImageReport::Chunk { link: of, bytes, last } => {
                    assert_eq!(of, link);
                    stream.extend(bytes);
                    if last {
                        return stream;
                    }
                }
                report => panic!("{}", words(&report)),
            }
        }
    }

    fn install(&mut self, zxid: Zxid, txns: Txns) -> ImageReport {
        self.images.install(LINK, zxid, txns, RECEIVED);
        self.next()
    }
}

fn words(report: &ImageReport) -> String {
    match report {
        ImageReport::Chunk { bytes, last, .. } => format!("a chunk of {} bytes, last: {last}", bytes.len()),
        ImageReport::Taken { .. } => "taken".into(),
        ImageReport::Received { rest, .. } => format!("received, {} bytes behind", rest.len()),
        ImageReport::Bad { why, .. } => format!("bad: {why}"),
        ImageReport::Installed { zxid, .. } => format!("installed at {zxid}"),
        ImageReport::InstallFailed { why, .. } => format!("install failed: {why}"),
    }
}

fn expect_received(report: ImageReport) -> Vec<u8> {
    match report {
        ImageReport::Received { rest, .. } => rest,
        report => panic!("{}", words(&report)),
    }
}

fn expect_installed(report: ImageReport) -> (Zxid, Pipeline) {
    match report {
        ImageReport::Installed { zxid, state, snapshot_bytes, .. } => {
            assert!(snapshot_bytes > 0);
            (zxid, *state)
        }
        report => panic!("{}", words(&report)),
    }
}

/// A little generator.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A server with a state, and the log of what made it.
struct Leader {
    pipeline: Pipeline,
    reader: TreeReader,
    log: Txns,
    random: Random,
}

fn encode(zxid: Zxid, session: SessionId, txn: &Txn<'_>, digest: Option<i64>) -> Box<[u8]> {
    let header =
        TxnHeader { session: session.0, cxid: 1, zxid: zxid.0, time: 1000 + zxid.0, op: txn.op() as i32 };
    let mut payload = Vec::new();
    txn::encode(&header, txn, digest, &mut payload);
    payload.into()
}

fn acl(id: &str) -> Vec<Acl> {
    vec![Acl { perms: 1, id: Id::new("digest", id) }, Acl::open()]
}

impl Leader {
    fn empty() -> Leader {
        let (pipeline, reader) = empty_pipeline();
        Leader { pipeline, reader, log: Vec::new(), random: Random(5) }
    }

    /// Of everything there is.
    fn new() -> Leader {
        let mut leader = Leader::empty();
        for session in [ONE, TWO] {
            leader.write(session, &Txn::CreateSession(10_000));
        }
        leader.create(ONE, "/plain", Some(b"data"), Lifetime::Persistent);
        leader.create(ONE, "/plain/null", None, Lifetime::Persistent);
        leader.create(ONE, "/plain/empty", Some(b""), Lifetime::Persistent);
        leader.create(ONE, "/plain/eph", Some(b"e"), Lifetime::Ephemeral);
        leader.create(TWO, "/eph2", None, Lifetime::Ephemeral);
        leader.create(ONE, "/kept", None, Lifetime::Container);
        leader.create(ONE, "/kept/child", None, Lifetime::Persistent);
        leader.write(ONE, &Txn::Delete { path: b"/kept/child", container: false });
        leader.create(ONE, "/ttl", Some(b"t"), Lifetime::Ttl(50));
        leader.create(ONE, "/q", None, Lifetime::Persistent);
        for path in ["/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_stats"] {
            leader.create(ONE, path, Some(b"count=1,bytes=0"), Lifetime::Persistent);
        }
        let limits = "/zookeeper/quota/q/zookeeper_limits";
        leader.create(ONE, limits, Some(b"count=5,bytes=100"), Lifetime::Persistent);
        leader.create(ONE, "/q/1", Some(b"12345"), Lifetime::Persistent);
        leader.write(ONE, &Txn::SetAcl { path: b"/plain", acl: acl("a:x"), version: 1 });
        leader.write(ONE, &Txn::SetAcl { path: b"/q", acl: acl("b:y"), version: 1 });
        leader.write(ONE, &Txn::SetAcl { path: b"/plain/null", acl: acl("a:x"), version: 1 });
        leader.create(ONE, "/many", None, Lifetime::Persistent);
        for n in 0..1500 {
            leader.create(ONE, &format!("/many/{n:04}"), Some(&[b'x'; 300]), Lifetime::Persistent);
        }
        let mut deep = String::new();
        for n in 0..80 {
            deep += &format!("/d{n}");
            leader.create(TWO, &deep, Some(b"deep"), Lifetime::Persistent);
        }
        leader
    }

    fn write(&mut self, session: SessionId, txn: &Txn<'_>) {
        let zxid = self.pipeline.applied().next();
        self.pipeline.replay(zxid, &encode(zxid, session, txn, None), Millis(0)).unwrap();
        let digest = self.pipeline.tree().digest();
        self.log.push((zxid, encode(zxid, session, txn, Some(digest))));
    }

    fn create(&mut self, session: SessionId, path: &str, data: Option<&[u8]>, lifetime: Lifetime) {
        let parent = crate::base::path::parent(path.as_bytes()).unwrap();
        let Some(parent) = self.pipeline.tree().get(parent) else { return };
        let parent_cversion = parent.raw_cversion() + 1;
        let op = match lifetime {
            Lifetime::Container => OpCode::CreateContainer,
            Lifetime::Ttl(_) => OpCode::CreateTtl,
            _ => OpCode::Create,
        };
        let path = Cow::Borrowed(path.as_bytes());
        self.write(
            session,
            &Txn::Create { op, path, data, acl: vec![Acl::open()], lifetime, parent_cversion },
        );
    }

    /// One of a mix of writes.
    fn change(&mut self) {
        let path = format!("/many/{:04}", self.random.below(1600));
        let there = self.pipeline.tree().get(path.as_bytes()).map(|node| node.stat().version);
        let lifetime =
            [Lifetime::Persistent, Lifetime::Ephemeral, Lifetime::Ttl(9)][self.random.below(3) as usize];
        match (self.random.below(4), there) {
            (0, Some(_)) => self.write(ONE, &Txn::Delete { path: path.as_bytes(), container: false }),
            (1, Some(version)) => {
                let txn = Txn::SetAcl { path: path.as_bytes(), acl: acl(&path[8..]), version };
                self.write(TWO, &txn);
            }
            (_, Some(version)) => {
                let (path, data) = (path.as_bytes(), Some(&path.as_bytes()[6..]));
                self.write(TWO, &Txn::SetData { path, data, version: version + 1, reconfig: false });
            }
            (_, None) => self.create(TWO, &path, Some(b"new"), lifetime),
        }
    }

    /// The txns above `after`.
    fn txns(&self, after: Zxid) -> Txns {
        self.log.iter().filter(|(zxid, _)| *zxid > after).cloned().collect()
    }

    fn out(&mut self) -> ImageOut {
        ImageOut::of(&mut self.pipeline).expect("a lane is free")
    }
}

type Znodes = BTreeMap<Vec<u8>, (Option<Vec<u8>>, Vec<Acl>, StoredStat)>;

/// All that a state is, to compare.
#[derive(PartialEq, Debug)]
struct Whole {
    applied: Zxid,
    znodes: Znodes,
    digest: i64,
    sessions: SessionImage,
}

fn whole(pipeline: &mut Pipeline) -> Whole {
    let mut znodes = Znodes::new();
    let mut stack = vec![b"/".to_vec()];
    while let Some(path) = stack.pop() {
        let znode = pipeline.tree().get(&path).expect("listed by its parent");
        let below = if path == b"/" { &b""[..] } else { &path };
        stack.extend(znode.children().map(|name| [below, b"/", name].concat()));
        let value = (znode.data().map(<[u8]>::to_vec), znode.acl().to_vec(), znode.stored_stat());
        znodes.insert(path, value);
    }
    let (applied, digest) = (pipeline.applied(), pipeline.tree().digest());
    Whole { applied, znodes, digest, sessions: pipeline.sessions_ref().image().clone() }
}

/// That two states are one; in words only where they are not, for they are long.
fn check_same(found: &mut Pipeline, expected: &mut Pipeline) {
    let (found, expected) = (whole(found), whole(expected));
    assert_eq!((found.applied, found.digest), (expected.applied, expected.digest));
    for (path, value) in &expected.znodes {
        assert_eq!(found.znodes.get(path), Some(value), "{}", path.escape_ascii());
    }
    assert_eq!(found.znodes.len(), expected.znodes.len());
    assert_eq!(found.sessions, expected.sessions);
}
