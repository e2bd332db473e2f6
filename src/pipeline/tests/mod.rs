#![forbid(unsafe_code)]
//! Prep and apply together, over a real tree: what a row of requests leaves in the log, in the replies and in the tree.

mod checks;
mod config_node;
mod lengths;
mod outstanding;
mod random;
mod reaper;
mod replay;

use std::collections::VecDeque;

use super::acl::{Identities, Policy};
use super::{Applied, Asker, Loaded, Pipeline, ReaperSettings, Settings, Strangers};
use crate::base::{Millis, SessionId, WallMillis, Xid, Zxid};
use crate::sessions::{SessionImage, SessionTable};
use crate::tree::{NodeImage, Progress, StoredStat};
use crate::wire::request::{Create, MultiOp, PathVersion, RawAcl, Request, SetAcl, SetData};
use crate::wire::txn::{self, Decoded, Txn};
use crate::wire::{Acl, ErrorCode, OpCode, perms};

/// Two sessions that are open in every rig.
pub(super) const ONE: SessionId = SessionId(0x100);
pub(super) const TWO: SessionId = SessionId(0x200);
/// One that never was.
pub(super) const NEVER: SessionId = SessionId(0x999);

const TICK_MS: u64 = 1_000;

/// For pipelines of other folders' tests as well.
pub(crate) fn settings() -> Settings {
    Settings {
        extended_types: true,
        reconfig_enabled: false,
        close_session_txn: true,
        enforce_quota: true,
        payload_bytes_max: 1 << 20,
        acl_lists_max: 1000,
        strangers: Strangers::Unknown,
        digest: true,
        acl: Policy::default(),
        reaper: ReaperSettings {
            check_interval_ms: 60_000,
            max_per_minute: 10_000,
            max_never_used_ms: 0,
            extended_types: true,
        },
    }
}

/// A znode of an image, owned.
#[derive(Clone, PartialEq, Debug)]
struct Znode {
    path: Vec<u8>,
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    stat: StoredStat,
}

/// A whole state at one zxid, as a snapshot has it.
#[derive(Clone, Debug)]
struct Image {
    at: Zxid,
    znodes: Vec<Znode>,
    sessions: SessionImage,
    digest: i64,
}

/// A pipeline, what it prepared and did not apply yet, and everything it ever prepared.
pub(super) struct Rig {
    pub(super) pipeline: Pipeline,
    pending: VecDeque<Vec<u8>>,
    log: Vec<Vec<u8>>,
    last: Zxid,
    wall: WallMillis,
    /// Of whoever asks.
    identities: Identities,
}

impl Rig {
    /// An empty database with two sessions.
    pub(super) fn new() -> Rig {
        Rig::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Rig {
        let mut rig = Rig::unopened(settings);
        for session in [ONE, TWO] {
            assert_eq!(rig.run(session, &Request::CreateSession(10_000)).err, 0);
        }
        rig
    }

    /// An empty database, as before the first request.
    fn unopened(settings: Settings) -> Rig {
        let (mut tree, _) = crate::tree::new(7);
        tree.set_extended_types(settings.extended_types);
        Rig::over(tree, SessionImage::default(), Loaded::default(), Zxid::ZERO, settings)
    }

    fn over(
        tree: crate::tree::TreeWriter,
        sessions: SessionImage,
        loaded: Loaded,
        at: Zxid,
        settings: Settings,
    ) -> Rig {
        let sessions = SessionTable::from_image(sessions, TICK_MS, Millis(0));
        Rig {
            pipeline: Pipeline::new(tree, sessions, loaded, at, settings),
            pending: VecDeque::new(),
            log: Vec::new(),
            last: at,
            wall: WallMillis(1_000_000),
            identities: Identities::of_peer("127.0.0.1"),
        }
    }

    /// Goes on from an image, as a restart does.
    fn from_image(image: &Image, settings: Settings) -> Rig {
        let (mut tree, _) = crate::tree::new(8);
        tree.set_extended_types(settings.extended_types);
        let mut loaded = Loaded::default();
        let mut loader = tree.load(image.at);
        for znode in &image.znodes {
            loaded.node(&znode.path, znode.stat.owner);
            let Znode { path, data, acl, stat } = znode;
            loader.load_node(&NodeImage { path, data: data.as_deref(), acl, stat: *stat }).unwrap();
        }
        loader.finish().unwrap();
        assert_eq!(tree.digest(), image.digest, "an image has the digest of the tree it was taken from");
        // Ephemerals come from the znodes; the image of the sessions has them already.
        let mut sessions = SessionImage::default();
        image.sessions.sessions().for_each(|(session, timeout_ms)| sessions.insert(session, timeout_ms));
        Rig::over(tree, sessions, loaded, image.at, settings)
    }

    /// Prepares a request behind whatever is pending, and gives the txn it became.
    pub(super) fn prepare(&mut self, session: SessionId, request: &Request<'_>) -> Decoded<'_> {
        self.last = self.last.next();
        self.wall = WallMillis(self.wall.0 + 1);
        let asker = Asker { session, cxid: Xid(self.last.0 as i32), identities: &self.identities };
        let payload = self.pipeline.prepare(self.last, self.wall, asker, request);
        self.log.push(payload.clone());
        self.pending.push_back(payload);
        let decoded = txn::decode(self.log.last().unwrap()).unwrap();
        assert_eq!(decoded.header.zxid, self.last.0);
        decoded
    }

    /// The error a request was prepared to, 0 for none.
    pub(super) fn code(&mut self, session: SessionId, request: &Request<'_>) -> i32 {
        match self.prepare(session, request).txn {
            Txn::Error(code) => code,
            _ => 0,
        }
    }

    /// Applies everything pending.
    pub(super) fn apply_all(&mut self) -> Vec<Applied> {
        let mut all = Vec::new();
        while let Some(payload) = self.pending.pop_front() {
            all.push(self.apply(&payload));
        }
        self.pipeline.invariants_when_idle();
        assert!(self.pipeline.pending_ephemerals.is_empty(), "ephemerals pending with nothing prepared");
        all
    }

    /// The server stops leading: nothing pending is applied, and its zxids are given again.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
        self.pipeline.forget_prepared();
        self.last = self.pipeline.applied();
    }

    fn apply(&mut self, payload: &[u8]) -> Applied {
        let decoded = Pipeline::decode(payload).unwrap();
        self.pipeline.begin(Zxid(decoded.header.zxid));
        let applied = self.pipeline.apply(&decoded, Millis(0)).expect("the digest of prep is the tree's");
        self.pipeline.publish();
        self.pipeline.reclaim();
        applied
    }

    /// Prepares and applies one request with nothing before or behind it.
    pub(super) fn run(&mut self, session: SessionId, request: &Request<'_>) -> Applied {
        self.prepare(session, request);
        self.apply_all().pop().unwrap()
    }

    /// The whole state.
    fn image(&mut self) -> Image {
        let sessions = self.pipeline.sessions_ref().image().clone();
        let tree = self.pipeline.tree();
        let digest = tree.digest();
        let mut walker = tree.begin_snapshot();
        let mut znodes = Vec::new();
        let mut take = |node: NodeImage<'_>| {
            znodes.push(Znode {
                path: node.path.to_vec(),
                data: node.data.map(<[u8]>::to_vec),
                acl: node.acl.to_vec(),
                stat: node.stat,
            });
        };
        while walker.next_slice(64, &mut take) == Progress::More {}
        znodes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Image { at: walker.at(), znodes, sessions, digest }
    }

    /// Puts `change` into the stored stat of a znode, as only a very long history would.
    fn aged(mut self, path: &[u8], change: impl Fn(&mut StoredStat)) -> Rig {
        let mut image = self.image();
        let znode = image.znodes.iter_mut().find(|znode| znode.path == path).expect("it exists");
        let before = crate::tree::digest::node_digest(path, znode.data.as_deref(), &znode.stat);
        change(&mut znode.stat);
        let after = crate::tree::digest::node_digest(path, znode.data.as_deref(), &znode.stat);
        image.digest = image.digest.wrapping_sub(before).wrapping_add(after);
        Rig::from_image(&image, settings())
    }

    fn exists(&mut self, path: &str) -> bool {
        self.pipeline.tree().get(path.as_bytes()).is_some()
    }

    fn stat(&mut self, path: &str) -> StoredStat {
        self.pipeline.tree().get(path.as_bytes()).expect("it exists").stored_stat()
    }
}

const OPEN: RawAcl<'static> = raw_acl(perms::ALL);

const fn raw_acl(perms: i32) -> RawAcl<'static> {
    RawAcl { perms, scheme: Some(b"world"), id: Some(b"anyone") }
}

/// A create record with the open ACL.
fn record<'a>(path: &'a str, flags: i32) -> Create<'a> {
    Create { path: Some(path.as_bytes()), data: Some(b"data"), acl: Some(vec![OPEN]), flags, ttl: None }
}

pub(super) fn create(path: &str, flags: i32) -> Request<'_> {
    Request::Create(OpCode::Create, record(path, flags))
}

pub(super) fn container(path: &str) -> Request<'_> {
    Request::Create(OpCode::CreateContainer, record(path, 4))
}

pub(super) fn with_ttl(path: &str, ttl: i64) -> Request<'_> {
    Request::Create(OpCode::CreateTtl, Create { ttl: Some(ttl), ..record(path, 5) })
}

fn versioned(path: &str, version: i32) -> PathVersion<'_> {
    PathVersion { path: Some(path.as_bytes()), version }
}

pub(super) fn delete(path: &str, version: i32) -> Request<'_> {
    Request::Delete(versioned(path, version))
}

fn data<'a>(path: &'a str, data: &'a [u8], version: i32) -> SetData<'a> {
    SetData { path: Some(path.as_bytes()), data: Some(data), version }
}

pub(super) fn set<'a>(path: &'a str, bytes: &'a [u8], version: i32) -> Request<'a> {
    Request::SetData(data(path, bytes, version))
}

fn set_acl(path: &str, perms: i32, version: i32) -> Request<'_> {
    Request::SetAcl(SetAcl { path: Some(path.as_bytes()), acl: Some(vec![raw_acl(perms)]), version })
}

fn m_create(path: &str, flags: i32) -> MultiOp<'_> {
    MultiOp::Create(OpCode::Create, record(path, flags))
}

fn m_delete(path: &str, version: i32) -> MultiOp<'_> {
    MultiOp::Delete(versioned(path, version))
}

fn m_set<'a>(path: &'a str, bytes: &'a [u8], version: i32) -> MultiOp<'a> {
    MultiOp::SetData(data(path, bytes, version))
}

fn m_check(path: &str, version: i32) -> MultiOp<'_> {
    MultiOp::Check(versioned(path, version))
}

/// Codes of an error, to compare with what a txn says.
fn number(result: Result<(), ErrorCode>) -> i32 {
    result.map_or_else(ErrorCode::code, |()| 0)
}
