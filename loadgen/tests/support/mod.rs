#![forbid(unsafe_code)]
//! A server double: keeps a tree in memory, answers what the load asks, and misbehaves on purpose. One thread a
//! connection. It uses the server's half of `ringkeeper::wire`, the load its own codec.

// Each test binary uses its part, and is no library.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::jute::Writer;
use ringkeeper::wire::reply;
use ringkeeper::wire::request::{MultiOp, Request, RequestHeader};
use ringkeeper::wire::{OpCode, Stat};

/// Measures until a measurement is good; a busy machine spoils some, and an attempt says so with what it found. What no
/// attempt of many gives is wrong.
pub fn measured<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let mut found = Vec::new();
    for _ in 0..30 {
        match attempt() {
            Ok(good) => return good,
            Err(spoilt) => {
                println!("measured again: {spoilt:?}");
                found.push(spoilt);
            }
        }
    }
    panic!("none of these is as it should be: {found:?}");
}

/// What is wrong with a server. Counts are of requests of all connections, pings and the like left out, from the first
/// request below `/loadgen/d` on: setup goes well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every answer takes this long.
    Slow(Duration),
    /// Accepts and never says a word.
    Mute,
    /// Closes instead of greeting.
    CloseAtHello,
    /// Greets with something else.
    GarbageAtHello,
    /// From this request on nothing is answered.
    Stall(u64),
    /// From this request on sets are done and not answered, nor is anything behind them on their connection.
    Swallow(u64),
    /// At every nth request the connection is closed.
    CloseEvery(u64),
    /// At this request everything is closed, and nobody listens any more.
    Die(u64),
    /// The length of this reply is nonsense.
    BadFrame(u64, i32),
    /// This reply ends too early.
    ShortBody(u64),
    /// This reply carries another number.
    WrongXid(u64),
    /// This reply's zxid is older than the last.
    ZxidBack(u64),
    /// Every nth set is acknowledged and forgotten.
    Forget(u64),
    /// Every nth get says it is of an older zxid.
    Stale(u64),
    /// Every request fails.
    Fail(i32),
}

#[derive(Clone, Default)]
struct Znode {
    data: Vec<u8>,
    stat: Stat,
}

#[derive(Default)]
struct State {
    tree: BTreeMap<Vec<u8>, Znode>,
    zxid: i64,
    sessions: i64,
    sequence: u32,
    requests: u64,
    /// When each of them came.
    arrivals: Vec<Instant>,
    gets: u64,
    sets: u64,
    is_dead: bool,
    connections: Vec<TcpStream>,
    /// Who waits for a path: one-shot watches.
    watches: BTreeMap<Vec<u8>, Vec<TcpStream>>,
    ephemerals: BTreeMap<i64, BTreeSet<Vec<u8>>>,
}

/// A listening double.
pub struct Double {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Double {
    /// Listens on a free port.
    pub fn start(fault: Fault) -> Double {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                let mut state = shared.lock().unwrap();
                if state.is_dead {
                    return;
                }
                socket.set_nodelay(true).unwrap();
                state.connections.push(socket.try_clone().unwrap());
                drop(state);
                let shared = shared.clone();
                std::thread::spawn(move || {
                    Conversation { socket, state: shared, fault, session: 0, is_silent: false }.hold()
                });
            }
        });
        Double { address, state }
    }

    /// Where it listens, as an argument.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many znodes lie below a path.
    pub fn below(&self, prefix: &str) -> usize {
        self.state.lock().unwrap().tree.keys().filter(|path| path.starts_with(prefix.as_bytes())).count()
    }

    /// When each request for a key came, setup's creates left out.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.state.lock().unwrap().arrivals.clone()
    }

    /// Sessions opened so far.
    pub fn sessions(&self) -> i64 {
        self.state.lock().unwrap().sessions
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        die(&mut self.state.lock().unwrap());
        // The listener's thread wakes, sees that it is over, and closes the port.
        let _closed_already = TcpStream::connect(self.address);
    }
}

fn die(state: &mut State) {
    state.is_dead = true;
    for socket in state.connections.drain(..) {
        let _closed_already = socket.shutdown(std::net::Shutdown::Both);
    }
}

struct Conversation {
    socket: TcpStream,
    state: Arc<Mutex<State>>,
    fault: Fault,
    session: i64,
    is_silent: bool,
}

impl Conversation {
    fn hold(mut self) {
        let _ended = self.talk();
        let _closed_already = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn talk(&mut self) -> std::io::Result<()> {
        let hello = self.frame()?;
        match self.fault {
            Fault::Mute => {
                // Until the other side gives up.
                let mut rest = Vec::new();
                self.socket.read_to_end(&mut rest)?;
                return Ok(());
            }
            Fault::CloseAtHello => return Ok(()),
            Fault::GarbageAtHello => return self.socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            _ => {}
        }
        let request = ConnectRequest::decode(&hello).unwrap();
        let session_id = if request.session_id == 0 {
            let mut state = self.state.lock().unwrap();
            state.sessions += 1;
            state.sessions
        } else {
            request.session_id
        };
        self.session = session_id;
        let mut out = Vec::new();
        let timeout = request.timeout;
        ConnectResponse { timeout, session_id, password: [7; 16], read_only: request.read_only }
            .encode_frame(&mut out);
        self.socket.write_all(&out)?;
        loop {
            let frame = self.frame()?;
            let (header, body) = RequestHeader::split(&frame).unwrap();
            let op = OpCode::from_i32(header.op).expect("an operation we know");
            let mut out = Vec::new();
            let go_on = self.answer(header.xid, op, body, &mut out);
            self.socket.write_all(&out)?;
            if !go_on {
                return Ok(());
            }
        }
    }

    fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// Appends the answer; whether the conversation goes on.
    fn answer(&mut self, xid: i32, op: OpCode, body: &[u8], out: &mut Vec<u8>) -> bool {
        let shared = self.state.clone();
        let mut state = shared.lock().unwrap();
        let counted = body.windows(10).any(|part| part == b"/loadgen/d") && op != OpCode::Create;
        let nth = if counted {
            state.arrivals.push(Instant::now());
            state.requests += 1;
            state.requests
        } else {
            0
        };
        if let Fault::Slow(delay) = self.fault
            && counted
        {
            drop(state);
            // The delay is what is tested, not a wait for something.
            std::thread::sleep(delay);
            state = shared.lock().unwrap();
        }
        match self.fault {
            Fault::Stall(from) if counted && nth >= from => return true,
            Fault::CloseEvery(every) if counted && nth.is_multiple_of(every) => return false,
            Fault::Die(at) if counted && nth >= at => {
                die(&mut state);
                return false;
            }
            Fault::BadFrame(at, length) if nth == at => {
                out.int(length);
                return true;
            }
            _ => {}
        }
        let xid = if matches!(self.fault, Fault::WrongXid(at) if nth == at) { xid + 1 } else { xid };
        let (err, record) = match self.fault {
            Fault::Fail(code) if counted => (code, Vec::new()),
            _ => self.serve(&mut state, op, body),
        };
        self.is_silent |= matches!(self.fault, Fault::Swallow(from) if nth >= from) && op == OpCode::SetData;
        if self.is_silent {
            return true;
        }
        let zxid = if matches!(self.fault, Fault::ZxidBack(at) if nth == at) { 1 } else { state.zxid };
        let xid = if op == OpCode::Ping { reply::XID_PING } else { xid };
        let end = reply::begin(out, xid, zxid, err);
        let short = matches!(self.fault, Fault::ShortBody(at) if counted && nth >= at) && record.len() > 3;
        out.extend_from_slice(if short { &record[..3] } else { &record });
        end.finish(out);
        op != OpCode::CloseSession
    }

    /// Error code and record.
    fn serve(&self, state: &mut State, op: OpCode, body: &[u8]) -> (i32, Vec<u8>) {
        let mut record = Vec::new();
        let err = match Request::decode(op, body).unwrap() {
            Request::Ping => 0,
            Request::CloseSession => {
                for path in state.ephemerals.remove(&self.session).unwrap_or_default() {
                    delete(state, &path);
                }
                0
            }
            Request::Sync(path) => {
                record.string(path.unwrap());
                0
            }
            Request::Create(_, create) => {
                let mut path = create.path.unwrap().to_vec();
                if create.flags & 2 != 0 {
                    path.extend(format!("{:010}", state.sequence).bytes());
                    state.sequence += 1;
                }
                let parent = path.iter().rposition(|&b| b == b'/').unwrap();
                if parent > 0 && !state.tree.contains_key(&path[..parent]) {
                    -101
                } else if state.tree.contains_key(&path) {
                    -110
                } else {
                    state.zxid += 1;
                    let zxid = state.zxid;
                    let data = create.data.unwrap_or_default().to_vec();
                    let length = data.len() as i32;
                    let stat = Stat {
                        czxid: zxid,
                        mzxid: zxid,
                        pzxid: zxid,
                        data_length: length,
                        ..Stat::default()
                    };
                    state.tree.insert(path.clone(), Znode { data, stat });
                    if create.flags & 1 != 0 {
                        state.ephemerals.entry(self.session).or_default().insert(path.clone());
                    }
                    fire(state, &path, 1);
                    record.string(&path);
                    0
                }
            }
            Request::Delete(delete_of) => {
                if delete(state, delete_of.path.unwrap()) {
                    0
                } else {
                    -101
                }
            }
            Request::SetData(set) => match self.set(state, set.path.unwrap(), set.data.unwrap()) {
                Some(stat) => {
                    stat.encode(&mut record);
                    0
                }
                None => -101,
            },
            Request::GetData(get) => {
                let path = get.path.unwrap();
                if get.watch {
                    self.watch(state, path);
                }
                state.gets += 1;
                let is_stale = matches!(self.fault, Fault::Stale(every) if state.gets.is_multiple_of(every));
                match state.tree.get(path) {
                    None => -101,
                    Some(znode) => {
                        record.buffer(Some(&znode.data));
                        let mzxid = if is_stale { 0 } else { znode.stat.mzxid };
                        Stat { mzxid, ..znode.stat }.encode(&mut record);
                        0
                    }
                }
            }
            Request::Exists(exists) => {
                let path = exists.path.unwrap();
                if exists.watch {
                    self.watch(state, path);
                }
                match state.tree.get(path) {
                    None => -101,
                    Some(znode) => {
                        znode.stat.encode(&mut record);
                        0
                    }
                }
            }
            Request::GetChildren(get) => {
                let mut prefix = get.path.unwrap().to_vec();
                prefix.push(b'/');
                let names = state.tree.keys().filter_map(|path| path.strip_prefix(&prefix[..]));
                let names: Vec<&[u8]> = names.filter(|name| !name.contains(&b'/')).collect();
                record.int(names.len() as i32);
                names.into_iter().for_each(|name| record.string(name));
                0
            }
            Request::Multi(ops) => {
                for op in ops {
                    let MultiOp::SetData(set) = op else { panic!("{op:?}") };
                    let stat = self.set(state, set.path.unwrap(), set.data.unwrap()).unwrap();
                    reply::multi_header(&mut record, OpCode::SetData, false, 0);
                    stat.encode(&mut record);
                }
                reply::multi_end(&mut record);
                0
            }
            other => panic!("the double does not know {other:?}"),
        };
        (err, record)
    }

    fn set(&self, state: &mut State, path: &[u8], data: &[u8]) -> Option<Stat> {
        state.sets += 1;
        let is_forgotten = matches!(self.fault, Fault::Forget(every) if state.sets.is_multiple_of(every));
        state.zxid += 1;
        let zxid = state.zxid;
        let znode = state.tree.get_mut(path)?;
        let stat = Stat {
            mzxid: zxid,
            version: znode.stat.version + 1,
            data_length: data.len() as i32,
            ..znode.stat
        };
        if !is_forgotten {
            *znode = Znode { data: data.to_vec(), stat };
        }
        fire(state, path, 3);
        Some(stat)
    }

    fn watch(&self, state: &mut State, path: &[u8]) {
        state.watches.entry(path.to_vec()).or_default().push(self.socket.try_clone().unwrap());
    }
}

fn delete(state: &mut State, path: &[u8]) -> bool {
    let is_there = state.tree.remove(path).is_some();
    if is_there {
        state.zxid += 1;
        state.ephemerals.values_mut().for_each(|paths| {
            paths.remove(path);
        });
        fire(state, path, 2);
    }
    is_there
}

fn fire(state: &mut State, path: &[u8], kind: i32) {
    for mut socket in state.watches.remove(path).unwrap_or_default() {
        let mut out = Vec::new();
        let end = reply::begin(&mut out, -1, state.zxid, 0);
        out.int(kind);
        out.int(3);
        out.string(path);
        end.finish(&mut out);
        let _gone = socket.write_all(&out);
    }
}
