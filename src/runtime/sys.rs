//! Raw system interfaces: the sequencer's io_uring, its bell, sockets, and the probe that says before anything starts
//! whether this host lets us have what we need. An unsafe home.
//!
//! Lives on: the ring on the sequencer; the free functions anywhere.
//!
//! Invariants of [`Ring`]: a buffer handed to the kernel stays in the ring's own slot until its completion was
//! reaped (reliability L12); one WAL write at most is in flight.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};

/// Bytes that a write hands to the kernel, and gets back when it is done.
pub trait Buffer {
    /// The bytes; their address must not change while the value is not touched.
    fn bytes(&self) -> &[u8];
}

/// Wakes a thread that sleeps in its ring: an eventfd.
#[derive(Clone, Debug)]
pub struct Bell {
    fd: Arc<OwnedFd>,
}

impl Bell {
    /// A bell nobody has rung.
    ///
    /// # Errors
    /// When the process may open no more descriptors.
    pub fn new() -> io::Result<Bell> {
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        Ok(Bell { fd: Arc::new(rustix::event::eventfd(0, flags)?) })
    }

    /// Wakes the sleeper, or keeps it from falling asleep.
    pub fn ring(&self) {
        // The counter cannot overflow before 2^64 rings, and a failed write to our own eventfd has no cure.
        let _ = rustix::io::write(&*self.fd, &1u64.to_ne_bytes());
    }
}

/// What a sleep in the ring ended with.
#[derive(Debug, Default)]
pub struct Woken {
    /// The bell was rung.
    pub bell: bool,
    /// The WAL write finished: bytes written, or the error number.
    pub write: Option<Result<usize, i32>>,
    /// What happened on sockets, in the order of completion.
    pub sockets: Vec<SocketEvent>,
}

/// A socket in the ring's care. Never reused while the ring lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(u64);

impl SocketId {
    /// A socket of a network that is made up: a simulator's, or a test's.
    pub fn made_up(number: u64) -> SocketId {
        SocketId(number)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What happened on a socket that was not closed by us.
#[derive(Debug)]
pub enum SocketEvent {
    /// Somebody connected to this listener, or taking the connection failed; the next one is taken after
    /// [`Ring::accept`].
    Accepted(SocketId, Result<OwnedFd, i32>),
    /// [`Ring::connect`] succeeded or not; after a failure the socket is closed.
    Connected(SocketId, Result<(), i32>),
    /// Bytes arrived, [`Ring::received`] has them; none or an error: the peer is gone. More arrive after
    /// [`Ring::receive`].
    Received(SocketId, Result<usize, i32>),
    /// All of a [`Ring::send`] left, or none of the rest will. The buffer comes back empty, for the next one.
    Sent(SocketId, Result<Vec<u8>, i32>),
}

const TOKEN_BELL: u64 = 1;
const TOKEN_WRITE: u64 = 2;
/// Low bits of a token that say which operation of a socket it is; the socket's number is above them.
const TOKEN_KIND_BITS: u32 = 4;
const TOKEN_ACCEPT: u64 = 3;
const TOKEN_CONNECT: u64 = 4;
const TOKEN_RECEIVE: u64 = 5;
const TOKEN_SEND: u64 = 6;
/// Nobody waits for it.
const TOKEN_CANCEL: u64 = 7;
const RING_ENTRIES: u32 = 64;
/// What one receive takes at most, bytes: many packets of a busy link at once.
const RECEIVE_BYTES: usize = 256 << 10;

/// How a WAL write is to become durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// `RWF_DSYNC` with the write itself.
    Dsync,
    /// Not by the write: the caller flushes afterwards, or the operator said `forceSync=no`.
    None,
}

/// A socket, and everything of it that the kernel may be looking at.
struct Socket {
    fd: OwnedFd,
    /// Filled by a receive that is under way; empty until the first one.
    inbox: Box<[u8]>,
    received: usize,
    outbox: Vec<u8>,
    sent: usize,
    address: Option<Box<socket2::SockAddr>>,
    /// Tokens of operations that the kernel has not completed.
    pending: smallvec::SmallVec<[u64; 3]>,
    closing: bool,
}

/// The sequencer's ring: its bell, one WAL write, and the sockets of other servers.
///
/// A socket has at most one receive and one send under way. A closed one keeps its buffers until the kernel has
/// completed or cancelled both; nothing of it is reported any more.
pub struct Ring<B: Buffer> {
    ring: IoUring,
    bell: Bell,
    /// Eight bytes the kernel fills when the bell rings; boxed, so that they stay put.
    bell_count: Box<[u8; 8]>,
    bell_armed: bool,
    /// The batch last written; the kernel's while `writing`.
    in_flight: Option<B>,
    writing: bool,
    sockets: BTreeMap<u64, Socket>,
    next_socket: u64,
}

impl<B: Buffer> Ring<B> {
    /// Sets the ring up and arms the bell.
    ///
    /// # Errors
    /// When the kernel refuses a ring; [`probe`] says why in words.
    pub fn new(bell: Bell) -> io::Result<Self> {
        let ring = IoUring::builder().setup_cqsize(RING_ENTRIES * 4).build(RING_ENTRIES)?;
        Ok(Ring {
            ring,
            bell,
            bell_count: Box::new([0; 8]),
            bell_armed: false,
            in_flight: None,
            writing: false,
            sockets: BTreeMap::new(),
            next_socket: 0,
        })
    }

    /// Whether a write has not come back yet.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Queues a write of all of `buffer` at `offset`; it leaves with the next [`Ring::turn`].
    ///
    /// # Panics
    /// When a write is in flight: there is at most one (reliability R2).
    pub fn write(&mut self, fd: BorrowedFd<'_>, buffer: B, offset: u64, durability: Durability) {
        assert!(!self.writing, "one batch in flight at most");
        self.writing = true;
        let buffer = self.in_flight.insert(buffer);
        let bytes = buffer.bytes();
        let length = u32::try_from(bytes.len()).expect("a batch is bounded far below 4 GiB");
        let flags = match durability {
            Durability::Dsync => libc_rwf_dsync(),
            Durability::None => 0,
        };
        let entry = opcode::Write::new(types::Fd(fd.as_raw_fd()), bytes.as_ptr(), length)
            .offset(offset)
            .rw_flags(flags)
            .build()
            .user_data(TOKEN_WRITE);
        self.push(&entry);
    }

    /// Takes the buffer of a finished write back.
    pub fn take_buffer(&mut self) -> Option<B> {
        if self.writing { None } else { self.in_flight.take() }
    }

    /// Takes a socket into the ring's care. Nothing happens on it until asked for.
    pub fn add_socket(&mut self, fd: OwnedFd) -> SocketId {
        let id = self.next_socket;
        self.next_socket += 1;
        let socket = Socket {
            fd,
            inbox: Box::default(),
            received: 0,
            outbox: Vec::new(),
            sent: 0,
            address: None,
            pending: smallvec::SmallVec::new(),
            closing: false,
        };
        self.sockets.insert(id, socket);
        SocketId(id)
    }

    /// Takes the next connection of a listener.
    pub fn accept(&mut self, id: SocketId) {
        self.operate(id, TOKEN_ACCEPT, |fd, _| {
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                .flags(rustix::net::SocketFlags::CLOEXEC.bits().cast_signed())
                .build()
        });
    }

    /// Connects a fresh socket.
    pub fn connect(&mut self, id: SocketId, address: SocketAddr) {
        self.operate(id, TOKEN_CONNECT, |fd, socket| {
            let address = socket.address.insert(Box::new(address.into()));
            opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build()
        });
    }

    /// Takes what arrives next, over what [`Ring::received`] gave last.
    pub fn receive(&mut self, id: SocketId) {
        self.operate(id, TOKEN_RECEIVE, |fd, socket| {
            if socket.inbox.is_empty() {
                socket.inbox = vec![0; RECEIVE_BYTES].into();
            }
            let length = u32::try_from(socket.inbox.len()).expect("a constant far below 4 GiB");
            opcode::Recv::new(fd, socket.inbox.as_mut_ptr(), length).build()
        });
    }

    /// What the last receive brought.
    pub fn received(&self, id: SocketId) -> &[u8] {
        self.sockets.get(&id.0).map_or(&[], |socket| &socket.inbox[..socket.received])
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    /// When a send of this socket is under way.
    pub fn send(&mut self, id: SocketId, bytes: Vec<u8>) {
        if let Some(socket) = self.sockets.get_mut(&id.0) {
            assert!(!socket.pending.contains(&token(id, TOKEN_SEND)), "one send at a time");
            (socket.outbox, socket.sent) = (bytes, 0);
        }
        self.send_rest(id);
    }

    fn send_rest(&mut self, id: SocketId) {
        self.operate(id, TOKEN_SEND, |fd, socket| {
            let rest = &socket.outbox[socket.sent..];
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            opcode::Send::new(fd, rest.as_ptr(), length)
                .flags(rustix::net::SendFlags::NOSIGNAL.bits().cast_signed())
                .build()
        });
    }

    /// The descriptor of a socket, for what is not the ring's: its addresses, a stream that another thread sends.
    pub fn socket_fd(&self, id: SocketId) -> Option<BorrowedFd<'_>> {
        self.sockets.get(&id.0).filter(|socket| !socket.closing).map(|socket| socket.fd.as_fd())
    }

    /// Says that nothing more will be sent; what was sent still arrives, and what comes can still be received.
    pub fn finish(&self, id: SocketId) {
        if let Some(fd) = self.socket_fd(id) {
            // A peer that is gone already makes it fail; the next receive will tell.
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
        }
    }

    /// Who is at the other end, while there is one.
    pub fn peer_address(&self, id: SocketId) -> Option<SocketAddr> {
        let address = rustix::net::getpeername(self.socket_fd(id)?).ok()??;
        SocketAddr::try_from(address).ok()
    }

    /// Closes a socket, whatever is under way on it.
    pub fn close(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id.0) else { return };
        if socket.pending.is_empty() {
            shutdown(&socket.fd);
            self.sockets.remove(&id.0);
            return;
        }
        if !socket.closing {
            socket.closing = true;
            shutdown(&socket.fd);
            for pending in socket.pending.clone() {
                let entry = opcode::AsyncCancel::new(pending).build().user_data(TOKEN_CANCEL);
                self.push(&entry);
            }
        }
    }

    /// Starts an operation of a socket, unless it is under way or the socket is being closed.
    fn operate(
        &mut self,
        id: SocketId,
        kind: u64,
        make: impl FnOnce(types::Fd, &mut Socket) -> io_uring::squeue::Entry,
    ) {
        let token = token(id, kind);
        let Some(socket) = self.sockets.get_mut(&id.0) else { return };
        if socket.closing || socket.pending.contains(&token) {
            return;
        }
        let entry = make(types::Fd(socket.fd.as_raw_fd()), socket).user_data(token);
        socket.pending.push(token);
        self.push(&entry);
    }

    fn push(&mut self, entry: &io_uring::squeue::Entry) {
        // SAFETY: what the entry points to lives in `self` (`bell_count`, `in_flight`, a socket's boxes and its outbox,
        // which is not touched while a send is pending) until its completion is reaped in `turn`, or until `drop`,
        // which waits for it or leaks it; the descriptor is checked by the kernel.
        let pushed = unsafe { self.ring.submission().push(entry) };
        if pushed.is_err() {
            // Full: what is queued goes to the kernel, which takes all of it.
            let _ = self.ring.submit();
            // SAFETY: as above.
            let pushed = unsafe { self.ring.submission().push(entry) };
            pushed.expect("a submitted queue has room");
        }
    }

    /// Submits what is queued and, unless `wait` is zero, sleeps until something completes or `wait` has passed;
    /// `None` sleeps without limit. One system call.
    ///
    /// # Errors
    /// When the ring itself fails; the server cannot go on.
    pub fn turn(&mut self, wait: Option<Duration>) -> io::Result<Woken> {
        if !self.bell_armed {
            self.bell_armed = true;
            let entry =
                opcode::Read::new(types::Fd(self.bell.fd.as_raw_fd()), self.bell_count.as_mut_ptr(), 8)
                    .build()
                    .user_data(TOKEN_BELL);
            self.push(&entry);
        }
        let result = match wait {
            Some(Duration::ZERO) => self.ring.submit(),
            Some(wait) => {
                let spec = types::Timespec::from(wait);
                self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&spec))
            }
            None => self.ring.submit_and_wait(1),
        };
        match result {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(ETIME | EINTR | EBUSY)) => {}
            Err(error) => return Err(error),
        }
        let mut woken = Woken::default();
        let mut unfinished = smallvec::SmallVec::<[SocketId; 4]>::new();
        for completion in self.ring.completion() {
            let result = usize::try_from(completion.result()).map_err(|_| -completion.result());
            match completion.user_data() {
                TOKEN_BELL => {
                    self.bell_armed = false;
                    woken.bell = true;
                }
                TOKEN_WRITE => {
                    self.writing = false;
                    woken.write = Some(result);
                }
                TOKEN_CANCEL => {}
                token => {
                    let id = SocketId(token >> TOKEN_KIND_BITS);
                    let kind = token & ((1 << TOKEN_KIND_BITS) - 1);
                    let socket = self.sockets.get_mut(&id.0).expect("a socket outlives its operations");
                    socket.pending.retain(|pending| *pending != token);
                    // A descriptor that was accepted for a listener that is gone is ours to close.
                    let accepted = (kind == TOKEN_ACCEPT).then(|| result.map(owned_fd));
                    if socket.closing {
                        if socket.pending.is_empty() {
                            self.sockets.remove(&id.0);
                        }
                        continue;
                    }
                    match (kind, accepted) {
                        (_, Some(accepted)) => woken.sockets.push(SocketEvent::Accepted(id, accepted)),
                        (TOKEN_CONNECT, _) => {
                            woken.sockets.push(SocketEvent::Connected(id, result.map(|_| ())));
                            if result.is_err() {
                                self.sockets.remove(&id.0);
                            }
                        }
                        (TOKEN_RECEIVE, _) => {
                            socket.received = result.unwrap_or(0);
                            woken.sockets.push(SocketEvent::Received(id, result));
                        }
                        (TOKEN_SEND, _) => {
                            socket.sent += result.unwrap_or(0);
                            if result.is_ok_and(|sent| sent > 0) && socket.sent < socket.outbox.len() {
                                unfinished.push(id);
                                continue;
                            }
                            let mut buffer = std::mem::take(&mut socket.outbox);
                            buffer.clear();
                            woken.sockets.push(SocketEvent::Sent(id, result.map(|_| buffer)));
                        }
                        _ => unreachable!("no entry carries token {token}"),
                    }
                }
            }
        }
        for id in unfinished {
            self.send_rest(id);
        }
        Ok(woken)
    }
}

/// The descriptor that an accept gave.
fn owned_fd(result: usize) -> OwnedFd {
    let raw = RawFd::try_from(result).expect("the kernel's descriptors are ints");
    // SAFETY: a successful accept hands the descriptor to us alone.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

fn token(id: SocketId, kind: u64) -> u64 {
    id.0 << TOKEN_KIND_BITS | kind
}

impl<B: Buffer> Drop for Ring<B> {
    fn drop(&mut self) {
        // The kernel may still read the batch or fill a socket's inbox: wait for it before the buffers are freed. The
        // bell's eight bytes are waited for as well, by ringing it.
        let sockets: Vec<SocketId> = self.sockets.keys().copied().map(SocketId).collect();
        for id in sockets {
            self.close(id);
        }
        self.bell.ring();
        let mut bell_rang = !self.bell_armed;
        while self.writing || !bell_rang || !self.sockets.is_empty() {
            match self.turn(None) {
                Ok(woken) => bell_rang |= woken.bell,
                // Without the ring nothing can be waited for; leaking the buffers is the safe way out.
                Err(_) => {
                    std::mem::forget(self.in_flight.take());
                    std::mem::forget(std::mem::take(&mut self.bell_count));
                    std::mem::forget(std::mem::take(&mut self.sockets));
                    return;
                }
            }
        }
        // `turn` arms the bell again whenever it went; what is armed now was rung above or by nobody, and its eight
        // bytes must outlive the ring.
        if self.bell_armed {
            std::mem::forget(std::mem::take(&mut self.bell_count));
        }
    }
}

const ETIME: i32 = 62;
const EINTR: i32 = 4;
const EBUSY: i32 = 16;

/// `RWF_DSYNC` of `linux/fs.h`.
fn libc_rwf_dsync() -> i32 {
    0x0000_0002
}

/// Why io_uring cannot be used here, and what unblocks it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel or a seccomp profile refuses `io_uring_setup`.
    #[error("io_uring is not allowed here ({cause}); {cure}")]
    Forbidden {
        /// What refused.
        cause: &'static str,
        /// What to change.
        cure: &'static str,
    },
    /// `RLIMIT_MEMLOCK` is below what the rings lock.
    #[error(
        "locked memory is limited to {have_kib} KiB, {want_kib} KiB are needed; raise it (ulimit -l, LimitMEMLOCK= of the unit, or --ulimit memlock of the container)"
    )]
    Memlock {
        /// The limit now.
        have_kib: u64,
        /// What the executors need.
        want_kib: u64,
    },
}

/// KiB of locked memory one executor needs (glommio refuses to start below it).
pub const EXECUTOR_MEMLOCK_KIB: u64 = 512;

/// Checks, with the raw calls and before any executor starts, that rings can be had (DESIGN §1).
///
/// # Errors
/// What is blocked and what unblocks it.
pub fn probe(executors: u64) -> Result<(), ProbeError> {
    match IoUring::new(2) {
        Ok(_) => {}
        Err(error) => {
            let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            let (cause, cure) = match (error.raw_os_error(), disabled.trim()) {
                (_, "2") => (
                    "sysctl kernel.io_uring_disabled is 2",
                    "set it to 0: sysctl -w kernel.io_uring_disabled=0",
                ),
                (_, "1") => (
                    "sysctl kernel.io_uring_disabled is 1 and this user is not in kernel.io_uring_group",
                    "add the user's group to kernel.io_uring_group, or set kernel.io_uring_disabled=0",
                ),
                (Some(38), _) => ("the kernel has no io_uring", "Linux 5.15 or later is needed"),
                (Some(1 | 13), _) => (
                    "a seccomp profile refuses io_uring_setup",
                    "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
                ),
                (Some(12), _) => ("the ring does not fit the limit of locked memory", "raise ulimit -l"),
                _ => ("io_uring_setup failed", "see dmesg and the limits of this service"),
            };
            return Err(ProbeError::Forbidden { cause, cure });
        }
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let want_kib = executors * EXECUTOR_MEMLOCK_KIB;
    match limit {
        Some(bytes) if bytes / 1024 < want_kib => {
            Err(ProbeError::Memlock { have_kib: bytes / 1024, want_kib })
        }
        _ => Ok(()),
    }
}

/// A listening TCP socket: address reuse, no delay inherited by what it accepts, close-on-exec.
///
/// # Errors
/// What bind or listen said: the port is taken, the address is not ours.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // The port must be ours again at once after a SIGKILL, while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // The wildcard serves IPv4 too, as Java's sockets do.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// How long a port may be taken when we want it. The kernel takes the rings of a killed process apart in the background:
/// its listening socket lives on for a moment after the process is gone, longer on a busy machine, and whoever starts
/// us again at once must not fail for that.
pub const PORT_PATIENCE: Duration = Duration::from_secs(10);

/// Gives what `listen` gave, called again and again while an address is taken, for as long as `patience`. `port` says in
/// the log which port is waited for.
///
/// # Errors
/// What it said last, and of which address.
pub fn once_free<T>(
    port: &'static str,
    patience: Duration,
    mut listen: impl FnMut() -> Result<T, (SocketAddr, io::Error)>,
) -> Result<T, (SocketAddr, io::Error)> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match listen() {
            Err((address, error))
                if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < patience =>
            {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%address, port, "the port is taken; waiting for it");
                }
                // Nobody tells when a port becomes free.
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// A TCP socket that is to connect to `address`: no delay, keep-alive left to the caller, close-on-exec.
///
/// # Errors
/// When the process may open no more descriptors.
pub fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// The address a listener got, when it asked for port 0.
///
/// # Errors
/// When `fd` is no bound socket.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(fd)?;
    SocketAddr::try_from(address).map_err(|_| io::Error::other("not an internet socket"))
}

/// Takes one waiting connection, if there is one.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when none waits; out of descriptors, and the like.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    use rustix::net::SocketFlags;
    let (fd, address) = rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let address = address.and_then(|a| SocketAddr::try_from(a).ok());
    Ok((fd, address.ok_or_else(|| io::Error::other("peer without an internet address"))?))
}

/// Options of an accepted socket: no delay always, keep-alive when `clientTcpKeepAlive` says so.
pub fn configure_accepted(fd: BorrowedFd<'_>, keep_alive: bool) {
    // A peer that is gone already makes these fail; the first read will tell.
    let _ = rustix::net::sockopt::set_tcp_nodelay(fd, true);
    if keep_alive {
        let _ = rustix::net::sockopt::set_socket_keepalive(fd, true);
    }
}

/// Options of a connection between servers: no delay; the kernel looks after a silent one, and gives it up when the other
/// end leaves something unanswered for `unanswered_ms`. Without it a host that vanished is found out after a quarter of an
/// hour, and a network that came back may not be used for two minutes.
pub fn configure_peer(fd: BorrowedFd<'_>, unanswered_ms: u32) {
    use rustix::net::sockopt;
    // A peer that is gone already makes these fail; the first receive will tell.
    let _ = sockopt::set_tcp_nodelay(fd, true);
    let _ = sockopt::set_socket_keepalive(fd, true);
    let _ = sockopt::set_tcp_keepidle(fd, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepintvl(fd, Duration::from_secs(2));
    let _ = sockopt::set_tcp_user_timeout(fd, unanswered_ms);
}

/// Closes with a reset and without a byte, as stock does to connections beyond a limit.
pub fn reset(fd: OwnedFd) {
    let _ = rustix::net::sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
}

/// Sends what the socket takes now.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when it takes nothing; the peer is gone.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    use rustix::net::SendFlags;
    Ok(rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// A glommio stream over an accepted socket, on the executor that calls it.
pub fn glommio_stream(fd: OwnedFd) -> glommio::net::TcpStream {
    // SAFETY: the descriptor is owned and is given up here, so the stream is its only owner.
    unsafe { glommio::net::TcpStream::from_raw_fd(fd.into_raw_fd()) }
}

/// A glommio listener over a bound socket, on the executor that calls it.
pub fn glommio_listener(fd: OwnedFd) -> glommio::net::TcpListener {
    // SAFETY: as above.
    unsafe { glommio::net::TcpListener::from_raw_fd(fd.into_raw_fd()) }
}

/// Borrows the descriptor of a glommio socket that is alive for `'a`.
pub fn borrow_fd<'a, S: AsRawFd + 'a>(socket: &'a S) -> BorrowedFd<'a> {
    let raw: RawFd = socket.as_raw_fd();
    // SAFETY: the socket owns the descriptor and is borrowed for as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(raw) }
}

/// Ends both directions, so that a peer learns of the close although a poll of ours still holds the socket.
pub fn shutdown(fd: impl AsFd) {
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
}

/// Gives this thread low priority: batch scheduling for the processor, idle class for the disk. Failing is fine.
pub fn lower_priority() {
    // SCHED_BATCH has no safe wrapper; niceness does the same among threads that compete for a core.
    let _ = rustix::process::nice(10);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    struct Block(Vec<u8>);
    impl Buffer for Block {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn a_write_and_a_bell_complete_in_one_sleep_each() {
        let file = tempfile::tempfile().expect("a temporary file");
        let bell = Bell::new().expect("an eventfd");
        let mut ring = Ring::new(bell.clone()).expect("a ring");
        ring.write(file.as_fd(), Block(b"batch".to_vec()), 3, Durability::Dsync);
        let mut done = None;
        while done.is_none() {
            done = ring.turn(None).expect("the ring works").write;
        }
        assert_eq!(done, Some(Ok(5)));
        assert_eq!(ring.take_buffer().map(|b| b.0), Some(b"batch".to_vec()));
        let mut text = Vec::new();
        (&file).read_to_end(&mut text).expect("readable");
        assert_eq!(text, b"\0\0\0batch");

        bell.ring();
        assert!(ring.turn(None).expect("the ring works").bell);
        let woken = ring.turn(Some(Duration::from_millis(1))).expect("the ring works");
        assert!(!woken.bell && woken.write.is_none() && woken.sockets.is_empty());
    }

    type TestRing = Ring<Block>;

    fn ring() -> TestRing {
        Ring::new(Bell::new().expect("an eventfd")).expect("a ring")
    }

    /// Turns until something happened on a socket.
    fn next(ring: &mut TestRing, waiting: &mut std::collections::VecDeque<SocketEvent>) -> SocketEvent {
        loop {
            if let Some(event) = waiting.pop_front() {
                return event;
            }
            waiting.extend(ring.turn(None).expect("the ring works").sockets);
        }
    }

    fn loopback() -> (OwnedFd, SocketAddr) {
        let listener = listen("127.0.0.1:0".parse().expect("an address"), 1024).expect("a port");
        let address = local_address(listener.as_fd()).expect("bound");
        (listener, address)
    }

    #[test]
    fn sockets_connect_accept_and_carry_more_than_a_socket_buffer_holds() {
        let (mut ring, mut waiting) = (ring(), std::collections::VecDeque::new());
        let (listener, address) = loopback();
        let listener = ring.add_socket(listener);
        ring.accept(listener);
        let ours = ring.add_socket(stream_socket(address).expect("a socket"));
        ring.connect(ours, address);
        let (mut connected, mut theirs) = (false, None);
        while !connected || theirs.is_none() {
            match next(&mut ring, &mut waiting) {
                SocketEvent::Connected(id, Ok(())) if id == ours => connected = true,
                SocketEvent::Accepted(id, Ok(fd)) if id == listener => theirs = Some(ring.add_socket(fd)),
                event => panic!("{event:?}"),
            }
        }
        let theirs = theirs.expect("accepted");
        let sent: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
        ring.send(ours, sent.clone());
        ring.receive(theirs);
        let (mut got, mut done) = (Vec::new(), false);
        while got.len() < sent.len() || !done {
            match next(&mut ring, &mut waiting) {
                SocketEvent::Received(id, Ok(bytes)) => {
                    assert!(bytes > 0 && id == theirs);
                    got.extend_from_slice(ring.received(id));
                    ring.receive(id);
                }
                SocketEvent::Sent(id, Ok(buffer)) => {
                    assert!(id == ours && buffer.is_empty() && buffer.capacity() >= sent.len());
                    done = true;
                }
                event => panic!("{event:?}"),
            }
        }
        assert_eq!(got, sent);
        // The end of a stream is a receive of nothing; what was closed by us says nothing.
        ring.close(ours);
        match next(&mut ring, &mut waiting) {
            SocketEvent::Received(id, Ok(0)) => assert_eq!(id, theirs),
            event => panic!("{event:?}"),
        }
    }

    #[test]
    fn a_refused_connection_is_an_error_number() {
        let (mut ring, mut waiting) = (ring(), std::collections::VecDeque::new());
        let (listener, address) = loopback();
        drop(listener);
        let id = ring.add_socket(stream_socket(address).expect("a socket"));
        ring.connect(id, address);
        match next(&mut ring, &mut waiting) {
            SocketEvent::Connected(of, Err(error)) => assert_eq!((of, error), (id, 111)),
            event => panic!("{event:?}"),
        }
        assert!(ring.socket_fd(id).is_none());
    }

    #[test]
    fn a_closed_socket_says_nothing_more_and_gives_its_buffers_back_once_the_kernel_let_go() {
        let mut ring = ring();
        let (listener, address) = loopback();
        let listener = ring.add_socket(listener);
        ring.accept(listener);
        let mut peers = Vec::new();
        for _ in 0..3 * RING_ENTRIES {
            let peer = std::net::TcpStream::connect(address).expect("listening");
            let id = ring.add_socket(peer.try_clone().expect("a descriptor").into());
            ring.receive(id);
            ring.close(id);
            peers.push(peer);
        }
        while ring.sockets.len() > 1 {
            let woken = ring.turn(None).expect("the ring works");
            assert!(
                woken.sockets.iter().all(|event| matches!(event, SocketEvent::Accepted(..))),
                "{woken:?}"
            );
        }
        // Dropping the ring with an accept and a receive under way waits for both.
        let id = ring.add_socket(peers.pop().expect("many").into());
        ring.receive(id);
    }

    #[test]
    fn a_failed_write_reports_the_error_number() {
        let file = std::fs::File::open("/dev/null").expect("there is one");
        let mut ring = Ring::new(Bell::new().expect("an eventfd")).expect("a ring");
        ring.write(file.as_fd(), Block(vec![1]), 0, Durability::None);
        let mut done = None;
        while done.is_none() {
            done = ring.turn(None).expect("the ring works").write;
        }
        assert_eq!(done, Some(Err(9)), "EBADF: the file is open for reading only");
    }

    #[test]
    fn the_probe_passes_where_these_tests_run() {
        assert_eq!(probe(1), Ok(()));
    }
}
