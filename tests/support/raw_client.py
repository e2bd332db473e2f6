"""A small client of the ZooKeeper protocol on a blocking socket: the standard library only, requests pipelined by hand.

It never reconnects, never pings and never retries by itself, so a test decides what is sent and sees every reply. Only
the operations that the tests drive are here.
"""

import socket
import struct

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, PING, GET_CHILDREN, MULTI = 1, 2, 3, 4, 5, 11, 8, 14
SYNC, CREATE2 = 9, 15
CLOSE_SESSION, SET_WATCHES, SET_WATCHES2, ADD_WATCH = -11, 101, 105, 106
PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL = 0, 1, 2, 3

OK, NO_NODE, NODE_EXISTS = 0, -101, -110
WATCH_EVENT_XID, PING_XID = -1, -2

_WORLD_ALL = struct.pack(">ii", 1, 31) + struct.pack(">i5si6s", 5, b"world", 6, b"anyone")


class SessionRefused(Exception):
    """The server answered the handshake with session 0: the session asked for is expired or unknown."""


class ConnectionLost(Exception):
    """The connection ended."""


class Reply:
    def __init__(self, xid, zxid, error, body):
        self.xid, self.zxid, self.error, self.body = xid, zxid, error, body


def buffer(value):
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def text(value):
    return buffer(value.encode())


def create_body(path, data, flags=PERSISTENT):
    return text(path) + buffer(data) + _WORLD_ALL + struct.pack(">i", flags)


def delete_body(path, version=-1):
    return text(path) + struct.pack(">i", version)


def set_data_body(path, data, version=-1):
    return text(path) + buffer(data) + struct.pack(">i", version)


def read_body(path, watch=False):
    return text(path) + struct.pack(">?", watch)


def multi_body(operations):
    """`operations` are pairs of opcode and body."""
    body = b"".join(struct.pack(">i?i", op, False, -1) + part for op, part in operations)
    return body + struct.pack(">i?i", -1, True, -1)


def parse_buffer(body, at=0):
    (length,) = struct.unpack_from(">i", body, at)
    return (None, at + 4) if length < 0 else (body[at + 4 : at + 4 + length], at + 4 + length)


def parse_children(body):
    (count,) = struct.unpack_from(">i", body)
    names, at = [], 4
    for _ in range(count):
        name, at = parse_buffer(body, at)
        names.append(name.decode())
    return names


class RawClient:
    """One connection. With `session` (id, password) it resumes that session, else it opens a new one. `last_zxid` is the
    newest that the session has seen; a server that is behind it refuses the connection. `read_only`: whether a server that
    only reads will do; None is what clients sent that did not know of such."""

    def __init__(self, host, port, timeout_ms=10000, session=(0, bytes(16)), seconds=60.0, last_zxid=0, read_only=False):
        self.socket = socket.create_connection((host, port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self.xid = 0
        self.events = []
        session_id, password = session
        asked = b"" if read_only is None else struct.pack(">?", read_only)
        self._send(struct.pack(">iqiq", 0, last_zxid, timeout_ms, session_id) + buffer(password) + asked)
        body = self._frame()
        _, self.timeout_ms, self.session_id = struct.unpack_from(">iiq", body)
        self.password, at = parse_buffer(body, 16)
        # Whether the server only reads, if it says so.
        self.read_only = body[at] != 0 if at < len(body) else None
        if self.session_id == 0:
            self.abandon()
            raise SessionRefused()

    @property
    def session(self):
        return (self.session_id, self.password)

    def send_all(self, requests):
        """Sends pairs of opcode and body in one write. Returns their xids."""
        xids, frames = [], []
        for op, body in requests:
            self.xid += 1
            xid = PING_XID if op == PING else self.xid
            frames.append(struct.pack(">iii", 8 + len(body), xid, op) + body)
            xids.append(xid)
        try:
            self.socket.sendall(b"".join(frames))
        except OSError as failure:
            raise ConnectionLost() from failure
        return xids

    def receive(self):
        """The next reply. Watch events met on the way are appended to `events` as (type, path)."""
        while True:
            body = self._frame()
            xid, zxid, error = struct.unpack_from(">iqi", body)
            if xid != WATCH_EVENT_XID:
                return Reply(xid, zxid, error, bytes(body[16:]))
            kind, _ = struct.unpack_from(">ii", body, 16)
            path, _ = parse_buffer(body, 24)
            self.notice(zxid, kind, path.decode())

    def notice(self, _zxid, kind, path):
        """A watch event has come."""
        self.events.append((kind, path))

    def call(self, op, body=b""):
        self.send_all([(op, body)])
        return self.receive()

    def call_all(self, requests, window=500):
        """Replies to many requests, some hundred on the way at a time."""
        replies = []
        for first in range(0, len(requests), window):
            part = requests[first : first + window]
            self.send_all(part)
            replies += [self.receive() for _ in part]
        return replies

    def close(self):
        """Closes the session. Returns the reply to closeSession."""
        reply = self.call(CLOSE_SESSION)
        self.abandon()
        return reply

    def abandon(self):
        """Drops the connection and leaves the session to its time-out."""
        self.socket.close()

    def _send(self, body):
        self.socket.sendall(struct.pack(">i", len(body)) + body)

    def _frame(self):
        (length,) = struct.unpack(">i", self._take(4))
        return self._take(length)

    def _take(self, count):
        while len(self._received) < count:
            try:
                chunk = self.socket.recv(262144)
            except OSError as failure:
                raise ConnectionLost() from failure
            if not chunk:
                raise ConnectionLost()
            self._received += chunk
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken
