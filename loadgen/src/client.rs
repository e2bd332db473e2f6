#![forbid(unsafe_code)]
//! A plain blocking client, for what is not measured: making folders, reading back, asking one thing.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::jute::{Reader, Writer};
use ringkeeper::wire::{DecodeError, OpCode};

use crate::codec::{self, Reply};
use crate::engine::{Lost, Violation};
use crate::keys::Layout;
use crate::ledger::Ledger;

/// Requests in flight in [`Client::pipeline`].
const DEPTH: usize = 128;
/// Pause between two attempts to connect to a server that may be starting.
pub const RETRY: Duration = Duration::from_millis(50);
/// Findings of [`read_back`] that are told in words.
const FINDINGS_MAX: usize = 20;

/// `KeeperException.NodeExists`.
pub const NODE_EXISTS: i32 = -110;
/// `KeeperException.NoNode`.
pub const NO_NODE: i32 = -101;

/// One session, one request or one pipeline at a time.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    input: Vec<u8>,
    next_xid: i32,
    /// The session.
    pub session_id: i64,
}

/// How a client connects.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long to try.
    pub connect: Duration,
    /// How long to wait for an answer.
    pub answer: Duration,
    /// Between two attempts; [`RETRY`] unless the time until the server answers is what is measured.
    pub retry: Duration,
    /// Session timeout asked for, ms.
    pub session_timeout_ms: i32,
}

impl Client {
    /// Opens a session at the first address that gives one, and tries again while there is time: the server may be
    /// starting.
    ///
    /// # Errors
    /// Why the last attempt failed.
    pub fn open(addresses: &[SocketAddr], patience: Patience) -> Result<Client, Lost> {
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            let address = addresses[attempt % addresses.len()];
            attempt += 1;
            let rest = patience.connect.saturating_sub(began.elapsed());
            match Client::open_at(address, patience, rest.max(RETRY)) {
                Ok(client) => return Ok(client),
                // A liar does not get better.
                Err(why @ Lost::Lied(_)) => return Err(why),
                Err(why) if rest.is_zero() => return Err(why),
                Err(_) => std::thread::sleep(patience.retry.min(rest)),
            }
        }
    }

    fn open_at(address: SocketAddr, patience: Patience, limit: Duration) -> Result<Client, Lost> {
        let refused = |error: std::io::Error| Lost::Refused(address, error.to_string());
        let socket = TcpStream::connect_timeout(&address, limit).map_err(refused)?;
        socket.set_nodelay(true).map_err(refused)?;
        let limit = limit.min(patience.answer);
        socket.set_read_timeout(Some(limit)).map_err(refused)?;
        socket.set_write_timeout(Some(patience.answer)).map_err(refused)?;
        let mut client = Client { socket, input: Vec::new(), next_xid: 1, session_id: 0 };
        let mut body = Vec::new();
        let timeout = patience.session_timeout_ms;
        let password = [0; 16];
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout,
            session_id: 0,
            password: Some(&password),
            read_only: Some(false),
        }
        .encode(&mut body);
        let mut frame = Vec::new();
        frame.buffer(Some(&body));
        client.write(&frame)?;
        let answer = client.frame()?;
        let mut r = Reader::new(&answer);
        let read = (|| -> Result<(i32, i64), DecodeError> {
            let (_version, timeout, id) = (r.int()?, r.int()?, r.long()?);
            Ok((timeout, id))
        })();
        let (timeout, id) =
            read.map_err(|error| Lost::Lied(Violation::Undecodable { what: "the handshake", error }))?;
        if timeout <= 0 || id == 0 {
            return Err(Lost::Expired);
        }
        client.session_id = id;
        client.socket.set_read_timeout(Some(patience.answer)).map_err(refused)?;
        Ok(client)
    }

    /// One request; the reply's error and body.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn call(&mut self, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Result<(i32, Vec<u8>), Lost> {
        let mut body = Some(body);
        let mut answer = (0, Vec::new());
        self.pipeline(
            1,
            |_| op,
            |_, out| body.take().expect("one request")(out),
            |_, reply| {
                answer = (reply.err, reply.body.to_vec());
                Ok(())
            },
        )?;
        Ok(answer)
    }

    /// `count` requests, many in flight.
    ///
    /// # Errors
    /// The connection is lost, or `take` found a violation.
    pub fn pipeline(
        &mut self,
        count: usize,
        op: impl Fn(usize) -> OpCode,
        mut body: impl FnMut(usize, &mut Vec<u8>),
        mut take: impl FnMut(usize, Reply<'_>) -> Result<(), Violation>,
    ) -> Result<(), Lost> {
        let mut in_flight: VecDeque<(i32, usize)> = VecDeque::new();
        let mut next = 0;
        while next < count || !in_flight.is_empty() {
            let mut out = Vec::new();
            // Refilled by halves: many requests a write, many replies a read.
            if in_flight.len() <= DEPTH / 2 {
                while next < count && in_flight.len() < DEPTH {
                    let xid = self.next_xid;
                    self.next_xid += 1;
                    codec::request(&mut out, xid, op(next), |out| body(next, out));
                    in_flight.push_back((xid, next));
                    next += 1;
                }
                self.write(&out)?;
            }
            let frame = self.frame()?;
            let reply = Reply::decode(&frame)
                .map_err(|error| Lost::Lied(Violation::Undecodable { what: "a request", error }))?;
            if reply.xid < 0 {
                continue;
            }
            match in_flight.pop_front() {
                Some((xid, nth)) if xid == reply.xid => take(nth, reply).map_err(Lost::Lied)?,
                Some((expected, _)) => {
                    return Err(Lost::Lied(Violation::WrongXid { expected, got: reply.xid }));
                }
                None => return Err(Lost::Lied(Violation::Unasked(reply.xid))),
            }
        }
        Ok(())
    }

    /// Ends the session and waits for the answer, so that nothing of it is left.
    pub fn close(mut self) {
        let _gone_anyway = self.call(OpCode::CloseSession, |_| {});
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.socket.write_all(bytes).map_err(|error| Lost::Broken(error.to_string()))
    }

    fn frame(&mut self) -> Result<Vec<u8>, Lost> {
        loop {
            let frame = codec::next_frame(&self.input, 0)
                .map_err(|length| Lost::Lied(Violation::FrameLength(length)))?;
            if let Some(frame) = frame {
                let end = frame.end;
                let bytes = self.input[frame].to_vec();
                self.input.drain(..end);
                return Ok(bytes);
            }
            let mut chunk = [0; 16 << 10];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(Lost::Closed),
                Ok(bytes) => self.input.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    let limit = self.socket.read_timeout().ok().flatten().unwrap_or_default();
                    return Err(Lost::Stalled(limit.as_millis() as u64));
                }
                Err(error) => return Err(Lost::Broken(error.to_string())),
            }
        }
    }
}

/// Creates paths that may exist already; parents first.
///
/// # Errors
/// The connection is lost, or a create failed for another reason.
pub fn ensure(client: &mut Client, paths: &[String]) -> Result<(), Lost> {
    client.pipeline(
        paths.len(),
        |_| OpCode::Create,
        |nth, out| codec::create(out, paths[nth].as_bytes(), b"", 0),
        |nth, reply| match reply.err {
            0 | NODE_EXISTS => Ok(()),
            code => Err(Violation::Stale(format!(
                "create of {} answered {}",
                paths[nth],
                codec::error_name(code)
            ))),
        },
    )
}

/// The folders of a layout.
///
/// # Errors
/// As [`ensure`].
pub fn make_folders(client: &mut Client, layout: &Layout) -> Result<(), Lost> {
    let mut paths: Vec<String> =
        layout.root.match_indices('/').skip(1).map(|(at, _)| layout.root[..at].to_owned()).collect();
    paths.extend([layout.root.clone(), layout.ephemerals()]);
    paths.extend((0..layout.folders()).map(|folder| layout.folder(folder)));
    ensure(client, &paths)
}

/// Reads back everything that the ledger says must be there or gone. What is wrong, in words (the first few), how
/// often something is wrong, and how much was checked.
///
/// # Errors
/// The connection is lost.
pub fn read_back(
    client: &mut Client,
    layout: &Layout,
    ledger: &Ledger,
) -> Result<(Vec<String>, u64, u64), Lost> {
    // What another server of the ensemble acknowledged must be here too before it is looked for.
    client.call(OpCode::Sync, |out| out.string(layout.root.as_bytes()))?;
    let (mut findings, mut wrong) = (Vec::new(), 0u64);
    let mut note = |finding: Option<String>| {
        if let Some(finding) = finding {
            wrong += 1;
            if findings.len() < FINDINGS_MAX {
                findings.push(finding);
            }
        }
    };
    let keys: Vec<u64> = ledger.keys().collect();
    client.pipeline(
        keys.len(),
        |_| OpCode::GetData,
        |nth, out| codec::path_watch(out, layout.key(keys[nth]).as_bytes(), false),
        |nth, reply| {
            let undecodable = |error| Violation::Undecodable { what: "getData", error };
            let found = match reply.err {
                0 => Some(reply.data_and_stat().map_err(undecodable)?),
                NO_NODE => None,
                code => {
                    note(Some(format!("key {} answered {}", keys[nth], codec::error_name(code))));
                    return Ok(());
                }
            };
            note(ledger.check_key(keys[nth], found.as_ref().map(|(data, stat)| (*data, stat))));
            Ok(())
        },
    )?;
    let fresh: Vec<&[u8]> = ledger.fresh().collect();
    client.pipeline(
        fresh.len(),
        |_| OpCode::Exists,
        |nth, out| codec::path_watch(out, fresh[nth], false),
        |nth, reply| {
            note(ledger.check_fresh(fresh[nth], reply.err == 0));
            Ok(())
        },
    )?;
    Ok((findings, wrong, (keys.len() + fresh.len()) as u64))
}
