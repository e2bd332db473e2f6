#![forbid(unsafe_code)]
//! One TCP connection to a server: bytes, frames, the handshake, four-letter words. No knowledge of requests.

use super::PATIENCE;
use super::jute::{In, out};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A connection and what has been read of it but not yet handed out.
pub struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
    taken: usize,
}

/// What a wait for a frame ended in.
#[derive(PartialEq, Eq, Debug)]
pub enum Got {
    /// One frame, without its length.
    Frame(Vec<u8>),
    /// The server closed or reset the connection.
    Closed,
    /// Nothing complete came in the time given.
    Nothing,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Raw {
        Raw::try_connect(address).expect("connect")
    }

    pub fn try_connect(address: SocketAddr) -> std::io::Result<Raw> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true).expect("nodelay");
        Ok(Raw { stream, input: Vec::new(), taken: 0 })
    }

    /// Sends bytes as they are. A server that has closed already is not an error here: reading tells.
    pub fn send(&mut self, bytes: &[u8]) {
        let _closed_already = self.stream.write_all(bytes);
    }

    /// Sends one frame: the length, then the body.
    pub fn send_frame(&mut self, body: &[u8]) {
        self.send(&frame(body));
    }

    /// The next frame; `None` once the server has closed.
    ///
    /// # Panics
    /// When neither comes within [`PATIENCE`].
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        match self.frame_within(PATIENCE) {
            Got::Frame(body) => Some(body),
            Got::Closed => None,
            Got::Nothing => panic!("neither a frame nor a close within {PATIENCE:?}"),
        }
    }

    pub fn frame_within(&mut self, wait: Duration) -> Got {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(body) = self.buffered_frame() {
                return Got::Frame(body);
            }
            match self.fill(deadline) {
                Fill::Bytes => {}
                Fill::Closed => return Got::Closed,
                Fill::Late => return Got::Nothing,
            }
        }
    }

    /// Reads to the end of the stream and returns what came.
    ///
    /// # Panics
    /// When the server keeps the connection open past [`PATIENCE`].
    pub fn rest(&mut self) -> Vec<u8> {
        self.rest_within(PATIENCE).unwrap_or_else(|| panic!("the server did not close within {PATIENCE:?}"))
    }

    /// As [`Raw::rest`]; `None` when the server keeps the connection open past `wait`.
    pub fn rest_within(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + wait;
        loop {
            match self.fill(deadline) {
                Fill::Bytes => {}
                Fill::Closed => return Some(self.input.split_off(self.taken)),
                Fill::Late => return None,
            }
        }
    }

    /// The server closes without another byte.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "the server sent {} bytes before it closed: {rest:02x?}", rest.len());
    }

    /// Closes our sending half; the server reads an end of input.
    pub fn finish(&mut self) {
        let _gone_already = self.stream.shutdown(Shutdown::Write);
    }

    /// A handle to the same socket, for a second thread.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    fn buffered_frame(&mut self) -> Option<Vec<u8>> {
        let waiting = &self.input[self.taken..];
        let length = i32::from_be_bytes(waiting.get(..4)?.try_into().unwrap());
        let length = usize::try_from(length).expect("a frame length that is not negative");
        let body = waiting.get(4..4 + length)?.to_vec();
        self.taken += 4 + length;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
        Some(body)
    }

    fn fill(&mut self, deadline: Instant) -> Fill {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Fill::Late;
        }
        if self.taken > 1 << 20 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        self.stream.set_read_timeout(Some(left)).expect("read timeout");
        let mut chunk = [0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(0) => Fill::Closed,
            Ok(count) => {
                self.input.extend(&chunk[..count]);
                Fill::Bytes
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Fill::Late,
                ErrorKind::Interrupted => Fill::Bytes,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                    Fill::Closed
                }
                _ => panic!("reading from the server: {error}"),
            },
        }
    }
}

enum Fill {
    Bytes,
    Closed,
    Late,
}

/// A body with its length in front.
pub fn frame(body: &[u8]) -> Vec<u8> {
    out().int(body.len() as i32).bytes(body).done()
}

/// A ConnectRequest (client-protocol §2.2). The default asks for a new session of 30 s.
#[derive(Clone, Debug)]
pub struct Hello {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    pub timeout: i32,
    pub session_id: i64,
    pub password: Option<Vec<u8>>,
    /// `None` leaves the byte out, as old clients do.
    pub read_only: Option<bool>,
}

impl Default for Hello {
    fn default() -> Hello {
        Hello {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 30_000,
            session_id: 0,
            password: Some(vec![0; 16]),
            read_only: Some(false),
        }
    }
}

impl Hello {
    pub fn body(&self) -> Vec<u8> {
        let body = out()
            .int(self.protocol_version)
            .long(self.last_zxid_seen)
            .int(self.timeout)
            .long(self.session_id);
        let body = body.buffer(self.password.as_deref());
        match self.read_only {
            Some(read_only) => body.bool(read_only).done(),
            None => body.done(),
        }
    }

    /// Asks for `session` again.
    pub fn renewal(session: &Session) -> Hello {
        Hello {
            timeout: session.timeout,
            session_id: session.id,
            password: Some(session.password.clone()),
            ..Hello::default()
        }
    }
}

/// A ConnectResponse, decoded, and how many bytes it had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    pub protocol_version: i32,
    pub session: Session,
    pub read_only: Option<bool>,
    pub bytes: usize,
}

/// What a client keeps of its session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    pub id: i64,
    pub password: Vec<u8>,
    /// As negotiated, ms.
    pub timeout: i32,
}

impl Welcome {
    pub fn decode(body: &[u8]) -> Welcome {
        let mut input = In(body);
        let protocol_version = input.int();
        let timeout = input.int();
        let id = input.long();
        let password = input.bytes();
        let read_only = (!input.0.is_empty()).then(|| input.byte() != 0);
        input.end();
        Welcome { protocol_version, session: Session { id, password, timeout }, read_only, bytes: body.len() }
    }

    /// Whether this is the answer to a renewal that was refused: all zero.
    pub fn is_refusal(&self) -> bool {
        self.session == Session { id: 0, password: vec![0; 16], timeout: 0 }
    }
}

/// Connects and shakes hands; `None` when the server closes instead.
pub fn shake(address: SocketAddr, hello: &Hello) -> (Raw, Option<Welcome>) {
    let mut raw = Raw::connect(address);
    raw.send_frame(&hello.body());
    let welcome = raw.frame().map(|body| Welcome::decode(&body));
    (raw, welcome)
}

/// Sends a four-letter word and returns all the server says before it closes.
pub fn word(address: SocketAddr, word: &str) -> String {
    let mut raw = Raw::connect(address);
    raw.send(word.as_bytes());
    String::from_utf8_lossy(&raw.rest()).into_owned()
}
