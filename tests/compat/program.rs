#![forbid(unsafe_code)]
//! Random programs for `differential`: every operation a client may send, on few paths so that they meet, with bad
//! input among them. A program follows from its seed and from the zxids the servers answer with.
//!
//! Deliberately not here, because client-protocol §A names them as holes of stock that ringkeeper closes or because
//! the answer is not a function of the requests' order: createTTL with a mode that has no ttl and a negative ttl,
//! limits and stats directly under the quota root, stats with text that does not parse, deleteContainer, anything
//! pipelined behind a setACL, and enforced quotas, which stock checks against what is applied and not what is pending.

use crate::support::client::{Part, body, flags, op, request};
use crate::support::jute::{ALL, Acl, READ, WRITE, acl, open, out, world};

/// How many sessions a program uses at a time.
pub(super) const SESSIONS: usize = 4;

/// Operations before the program moves on to a fresh part of the tree: access lists shut more and more of the old one.
const CHAPTER_OPS: usize = 1_500;

/// Operations in one pipeline, at most.
const BATCH_OPS: usize = 80;

/// A long time to live, ms: 17 years.
const TTL: i64 = 1 << 39;

#[derive(Clone)]
pub(super) struct Request {
    pub opcode: i32,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "opcode {} {}", self.opcode, self.body[..self.body.len().min(300)].escape_ascii())
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Requests sent at once.
    Batch(Vec<Request>),
    /// An auth packet, alone: it acts on what is received after it, not on what is answered after it.
    Auth { scheme: &'static str, data: &'static [u8] },
    /// The connection is dropped and the session renewed; then watches are set again with this body.
    Resume(Vec<u8>),
    /// The session is closed and another opened in its place.
    Reopen,
    /// Bytes after which the server closes; then the session is renewed.
    Fatal(Vec<u8>),
}

/// SplitMix64: small, and every seed is a good one.
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// An index, drawn by weight.
    fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        weights
            .iter()
            .position(|weight| {
                let is_it = left < *weight;
                left = left.saturating_sub(*weight);
                is_it
            })
            .expect("left is below the sum")
    }
}

pub(super) struct Program {
    random: Random,
    chapter: usize,
    left_in_chapter: usize,
    /// zxid of the latest reply, for requests that carry one.
    pub zxid: i64,
}

impl Program {
    pub(super) fn new(seed: u64) -> Program {
        Program { random: Random(seed), chapter: 0, left_in_chapter: 0, zxid: 0 }
    }

    /// The next step and the session it is for.
    pub(super) fn step(&mut self) -> (usize, Step) {
        let session = self.random.below(SESSIONS);
        if self.left_in_chapter == 0 {
            self.chapter += 1;
            self.left_in_chapter = CHAPTER_OPS;
            let root = Request { opcode: op::CREATE, body: body::create(self.root(), None, &open(), 0) };
            return (session, Step::Batch(vec![root]));
        }
        let step = match self.random.weighted(&[88, 3, 4, 2, 3]) {
            0 => {
                let count = (1 + self.random.below(BATCH_OPS)).min(self.left_in_chapter);
                let batch = self.batch(count);
                self.left_in_chapter -= batch.len();
                Step::Batch(batch)
            }
            1 => {
                // One identity a connection: in which order `auth` expands to several is nobody's promise.
                let data: &[u8] = b"user:secret";
                let scheme = *self.random.pick(&["digest", "digest", "digest", "ip"]);
                Step::Auth { scheme, data }
            }
            2 => Step::Resume(self.set_watches2()),
            3 => Step::Reopen,
            _ => Step::Fatal(self.fatal()),
        };
        (session, step)
    }

    /// Up to `count` requests. A setACL ends the batch: stock checks what is pipelined behind it against the old list
    /// or the new one, as it happens to be applied by then (PrepRequestProcessor.pRequest2Txn leaves the list of the
    /// pending record as it was).
    fn batch(&mut self, count: usize) -> Vec<Request> {
        let mut batch = Vec::new();
        while batch.len() < count && batch.last().is_none_or(|last: &Request| last.opcode != op::SET_ACL) {
            batch.push(self.request());
        }
        batch
    }

    fn root(&self) -> String {
        format!("/p{}", self.chapter)
    }

    fn path(&mut self) -> Vec<u8> {
        let root = self.root();
        let mut path = root.clone();
        match self.random.below(100) {
            0..=86 => {
                for _ in 0..*self.random.pick(&[1, 1, 1, 2, 2, 3]) {
                    let name: &&str = self.random.pick(&["/a", "/b", "/c", "/ab", "/d"]);
                    path.push_str(name);
                }
            }
            87..=91 => path.push_str(&format!("/n-{:010}", self.random.below(8))),
            92..=95 => {}
            96 => path = "/".to_owned(),
            _ => return self.odd_path(),
        }
        path.into_bytes()
    }

    fn odd_path(&mut self) -> Vec<u8> {
        const WHOLE: &[&[u8]] =
            &[b"", b"x", b"//", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota", b"\0", b"/."];
        const TAIL: &[&[u8]] = &[
            b"/",
            b"//a",
            b"/.",
            b"/..",
            b"/a/../b",
            b"/a\0",
            b"/a/",
            b"/\xc3\xa9",
            b"/\xf0\x9f\x98\x80",
            b"/\xff",
            b"/\x01",
            b"/\xef\xbf\xbd",
            b"/...",
        ];
        if self.random.one_in(3) {
            return self.random.pick(WHOLE).to_vec();
        }
        [self.root().as_bytes(), *self.random.pick(TAIL)].concat()
    }

    fn watch(&mut self) -> bool {
        self.random.one_in(4)
    }

    fn version(&mut self) -> i32 {
        *self.random.pick(&[-1, -1, -1, -1, 0, 0, 1, 2, 3, -2, i32::MAX])
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.random.below(20) {
            0 => None,
            1 => Some(vec![b'L'; 4_000 + self.random.below(4_000)]),
            2..=5 => Some(vec![]),
            _ => Some((0..self.random.below(60)).map(|_| self.random.next() as u8).collect()),
        }
    }

    fn acl(&mut self) -> Vec<Acl> {
        match self.random.below(40) {
            0 => vec![],
            1 => world(READ),
            2 => world(ALL & !READ),
            3 => world(ALL & !(1 << self.random.below(5))),
            4 => vec![acl(ALL, "auth", "")],
            5 => vec![acl(ALL, "digest", "user:N2Q6cGFzcw=="), acl(READ | WRITE, "world", "anyone")],
            6 => vec![acl(ALL, "ip", "127.0.0.0/8")],
            7 => vec![acl(ALL, "ip", "10.0.0.0/8"), acl(READ, "world", "anyone")],
            8 => vec![acl(ALL, "foo", "bar")],
            9 => vec![acl(ALL, "digest", "a:b:c")],
            10 => {
                vec![acl(READ, "world", "anyone"), acl(ALL, "ip", "127.0.0.1"), acl(READ, "world", "anyone")]
            }
            11 => vec![acl(i32::MIN | ALL, "world", "anyone")],
            _ => open(),
        }
    }

    fn mode(&mut self) -> i32 {
        *self.random.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, -1])
    }

    /// A path for a create: in a sequential mode, often one that numbers will be put behind.
    fn create_path(&mut self, mode: i32) -> Vec<u8> {
        let sequential =
            [flags::SEQUENTIAL, flags::EPHEMERAL_SEQUENTIAL, flags::SEQUENTIAL_TTL].contains(&mode);
        if sequential && !self.random.one_in(4) {
            let tail = *self.random.pick(&["/n-", "/n-", "/", "/a/n-"]);
            return format!("{}{tail}", self.root()).into_bytes();
        }
        self.path()
    }

    fn create(&mut self) -> Vec<u8> {
        let mode = self.mode();
        let path = self.create_path(mode);
        body::create(path, self.data().as_deref(), &self.acl(), mode)
    }

    fn create_container(&mut self) -> Vec<u8> {
        let mode = if self.random.one_in(5) { self.mode() } else { flags::CONTAINER };
        // Asked for as ephemeral, it may have no children until it is applied, and then it may: a race within stock
        // (`PrepRequestProcessor.pRequest2TxnCreate` keeps the flag's owner, the txn does not).
        let mode =
            if matches!(mode, flags::EPHEMERAL | flags::EPHEMERAL_SEQUENTIAL) { mode - 1 } else { mode };
        body::create(self.create_path(mode), self.data().as_deref(), &self.acl(), mode)
    }

    fn create_ttl(&mut self) -> Vec<u8> {
        let (mode, ttl) =
            *self.random.pick(&[(5, TTL), (5, TTL), (6, TTL), (5, 0), (5, 1 << 40), (6, -1), (0, 1)]);
        let data = self.data().unwrap_or_default();
        body::create_ttl(self.create_path(mode), &data, &self.acl(), mode, ttl)
    }

    fn request(&mut self) -> Request {
        const WEIGHTS: [usize; 27] =
            [28, 16, 5, 6, 24, 24, 16, 12, 8, 8, 6, 6, 4, 4, 12, 6, 8, 4, 4, 2, 2, 2, 4, 2, 1, 4, 8];
        let (opcode, body) = match self.random.weighted(&WEIGHTS) {
            0 => (op::CREATE, self.create()),
            1 => (op::CREATE2, self.create()),
            2 => (op::CREATE_CONTAINER, self.create_container()),
            3 => (op::CREATE_TTL, self.create_ttl()),
            4 => (op::DELETE, body::versioned(self.path(), self.version())),
            5 => (op::SET_DATA, body::set(self.path(), self.data().as_deref(), self.version())),
            6 => (op::GET_DATA, self.read()),
            7 => (op::EXISTS, self.read()),
            8 => (op::GET_CHILDREN, self.read()),
            9 => (op::GET_CHILDREN2, self.read()),
            10 => (op::GET_ACL, out().str(self.path()).done()),
            11 => (op::SET_ACL, self.set_acl()),
            12 => (op::SYNC, out().str(self.path()).done()),
            13 => (op::PING, vec![]),
            14 => (op::MULTI, self.multi()),
            15 => (op::MULTI_READ, self.multi_read()),
            16 => (op::ADD_WATCH, body::versioned(self.path(), *self.random.pick(&[0, 0, 1, 1, 1, 2, -1]))),
            17 => {
                (op::REMOVE_WATCHES, body::versioned(self.path(), *self.random.pick(&[1, 2, 3, 4, 5, 3, 6])))
            }
            18 => (op::CHECK_WATCHES, body::versioned(self.path(), *self.random.pick(&[1, 2, 3, 4, 5, 0]))),
            19 => (op::SET_WATCHES, self.set_watches()),
            20 => (op::SET_WATCHES2, self.set_watches2()),
            21 => {
                let prefix = self.path();
                (op::GET_EPHEMERALS, out().buffer((!self.random.one_in(3)).then_some(&prefix)).done())
            }
            22 => (op::GET_ALL_CHILDREN_NUMBER, out().str(self.path()).done()),
            23 => (op::WHO_AM_I, vec![]),
            24 => (op::RECONFIG, out().null().null().null().long(-1).done()),
            25 => self.quota(),
            _ => return self.malformed(),
        };
        Request { opcode, body }
    }

    fn read(&mut self) -> Vec<u8> {
        body::read(self.path(), self.watch())
    }

    fn set_acl(&mut self) -> Vec<u8> {
        let mut path = self.path();
        if path.len() <= 1 {
            path = self.root().into_bytes();
        }
        out().str(path).acl(&self.acl()).int(self.version()).done()
    }

    fn multi(&mut self) -> Vec<u8> {
        let parts: Vec<Part> = (0..self.random.below(7)).map(|_| self.part()).collect();
        body::multi(&parts)
    }

    fn part(&mut self) -> Part {
        // Good ones mostly: a multi is as good as its worst part.
        match self.random.weighted(&[30, 15, 25, 30, 20, 4, 4, 1, 1, 1]) {
            0 => Part(op::CREATE, self.create_in_multi()),
            1 => Part(op::CREATE2, self.create_in_multi()),
            2 => Part(op::DELETE, body::versioned(self.path(), self.version())),
            3 => Part(op::SET_DATA, body::set(self.path(), self.data().as_deref(), self.version())),
            4 => Part(op::CHECK, body::versioned(self.path(), self.version())),
            5 => Part(op::CREATE_CONTAINER, body::create(self.path(), None, &open(), flags::CONTAINER)),
            6 => {
                let (mode, ttl) = *self.random.pick(&[(5, TTL), (6, TTL), (5, 0), (0, TTL), (4, -1), (1, 5)]);
                Part(op::CREATE_TTL, body::create_ttl(self.create_path(mode), b"t", &open(), mode, ttl))
            }
            7 => Part(*self.random.pick(&[op::GET_DATA, op::GET_CHILDREN]), self.read()),
            8 => Part(*self.random.pick(&[op::DELETE_CONTAINER, op::EXISTS, 0, 99]), self.read()),
            _ => Part(op::CREATE, out().str(self.path()).null().null().int(0).done()),
        }
    }

    fn create_in_multi(&mut self) -> Vec<u8> {
        let mode =
            if self.random.one_in(30) { self.mode() } else { *self.random.pick(&[0, 0, 0, 1, 2, 3, 4]) };
        body::create(self.create_path(mode), self.data().as_deref(), &self.acl(), mode)
    }

    fn multi_read(&mut self) -> Vec<u8> {
        let parts: Vec<Part> = (0..self.random.below(6))
            .map(|_| match self.random.below(30) {
                0 => Part(op::CHECK, body::versioned(self.path(), -1)),
                1..=14 => Part(op::GET_CHILDREN, self.read()),
                _ => Part(op::GET_DATA, self.read()),
            })
            .collect();
        body::multi(&parts)
    }

    fn paths(&mut self) -> Vec<Vec<u8>> {
        (0..self.random.below(6)).map(|_| self.path()).collect()
    }

    fn since(&mut self) -> i64 {
        let back = *self.random.pick(&[0, 1, 5, 50, 500]);
        (self.zxid - self.random.below(back + 1) as i64).max(0)
    }

    fn set_watches(&mut self) -> Vec<u8> {
        out().long(self.since()).strings(&self.paths()).strings(&self.paths()).strings(&self.paths()).done()
    }

    fn set_watches2(&mut self) -> Vec<u8> {
        let all =
            out().long(self.since()).strings(&self.paths()).strings(&self.paths()).strings(&self.paths());
        all.strings(&self.paths()).strings(&self.paths()).done()
    }

    /// One of the requests by which a client puts a subtree under a quota, looks at it and takes it away again.
    fn quota(&mut self) -> (i32, Vec<u8>) {
        let subtree = if self.random.one_in(2) { self.root() } else { format!("{}/a", self.root()) };
        let home = format!("/zookeeper/quota{subtree}");
        let (limits, stats) = (format!("{home}/zookeeper_limits"), format!("{home}/zookeeper_stats"));
        const LIMITS: &[&[u8]] =
            &[b"count=3,bytes=40", b"count=-1,bytes=-1=;byteHardLimit=7;countHardLimit=2"];
        match self.random.below(8) {
            0 => (op::CREATE, body::create(home, None, &open(), 0)),
            1 => (op::CREATE, body::create(limits, Some(*self.random.pick(LIMITS)), &open(), 0)),
            2 => (op::CREATE, body::create(stats, Some(b"count=0,bytes=0"), &open(), 0)),
            3 => (op::SET_DATA, body::set(limits, Some(*self.random.pick(LIMITS)), -1)),
            4 if self.random.one_in(3) => (op::DELETE, body::versioned(limits, -1)),
            5 if self.random.one_in(3) => (op::DELETE, body::versioned(stats, -1)),
            _ => (op::GET_DATA, body::read(stats, self.watch())),
        }
    }

    /// A body cut short, a body with something behind it, or nulls where none are expected.
    fn malformed(&mut self) -> Request {
        let mut whole = self.request();
        match self.random.below(4) {
            0 => {
                let null_path = match whole.opcode {
                    op::CREATE | op::CREATE2 => out().null().null().acl(&open()).int(0),
                    op::DELETE => out().null().int(-1),
                    op::SET_DATA => out().null().null().int(-1),
                    op::SET_ACL => out().null().acl(&open()).int(-1),
                    op::EXISTS | op::GET_DATA | op::GET_CHILDREN | op::GET_CHILDREN2 => {
                        out().null().bool(true)
                    }
                    op::GET_ACL => out().null(),
                    _ => return whole,
                };
                whole.body = null_path.done();
            }
            1 => whole.body.extend_from_slice(b"\0behind"),
            _ => {
                let length = self.random.below(whole.body.len() + 1);
                whole.body.truncate(length);
            }
        }
        whole
    }

    fn fatal(&mut self) -> Vec<u8> {
        let auth = |scheme: &str, data: Option<&[u8]>| {
            request(-4, op::AUTH, &out().int(0).str(scheme).buffer(data).done()) //
        };
        match self.random.below(8) {
            0 => request(7, 0, &[]),
            1 => request(8, op::CHECK, &body::versioned("/", -1)),
            2 => request(9, *self.random.pick(&[10, 23, 99, 108, -1, -12]), b"x"),
            3 => vec![0, 0, 0, 4, 0, 0, 0, 1],
            4 => vec![0; 4],
            5 => vec![0xff, 0xff, 0xff, 0xff],
            6 => auth("foo", Some(b"x")),
            _ => auth("digest", None),
        }
    }
}
