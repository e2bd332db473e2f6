"""Relays before the quorum ports of an ensemble, which say when which bytes went from server to server.

Others find a server's quorum port at its relay; the server itself listens on the port beside it.
"""

import contextlib
import socket
import struct
import threading
import time

from ensemble import QUORUM_PORT

# Where the servers listen themselves.
BEHIND_PORT = QUORUM_PORT + 1
# Types of packets (stock `Leader`); each begins with its type and a zxid.
PROPOSAL, ACK, COMMIT = 2, 3, 4


def behind_relays(ensemble):
    """Lets each server, still down, listen behind its own relay, and makes the relays; by the server's number."""
    relays = {}
    for sid, member in ensemble.members.items():
        host = ensemble.host(sid)
        own = f"server.{sid}={host}:{QUORUM_PORT}:"
        text = member.config_path.read_text()
        assert own in text
        member.config_path.write_text(text.replace(own, f"server.{sid}={host}:{BEHIND_PORT}:"))
        relays[sid] = Relay(host)
    return relays


class Relay:
    """Keeps, while it is told to, every piece of bytes with the time (CLOCK_MONOTONIC, seconds) at which it came."""

    def __init__(self, host):
        self.host = host
        self._lock = threading.Lock()
        self._pieces = None
        self._listener = socket.create_server((host, QUORUM_PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def record(self):
        """From now on."""
        with self._lock:
            self._pieces = []

    def stop(self):
        with self._lock:
            self._pieces = None

    def times(self, pattern, from_server):
        """By learner's number, when the first byte of `pattern` was seen, in one direction, since `record`."""
        with self._lock:
            pieces = list(self._pieces or [])
        streams = {}
        for learner, direction, when, data in pieces:
            if direction == from_server:
                streams.setdefault(learner, []).append((when, data))
        found = {}
        for learner, parts in streams.items():
            at = b"".join(data for _, data in parts).find(pattern)
            if at < 0:
                continue
            for when, data in parts:
                if at < len(data):
                    found[learner] = when
                    break
                at -= len(data)
        return found

    def packets(self, kind, zxid, from_server):
        """`times` of a packet with this type and zxid."""
        return self.times(struct.pack(">iq", kind, zxid), from_server)

    def _accept(self):
        while True:
            try:
                learner, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self.host, BEHIND_PORT), timeout=5)
            except OSError:
                # Its server does not lead; who came must see that as it would without us.
                learner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                learner.close()
                continue
            for stream in (learner, server):
                stream.settimeout(None)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._begin, args=(learner, server), daemon=True).start()

    def _begin(self, learner, server):
        # FOLLOWERINFO or OBSERVERINFO comes first: type, zxid, length, and then the number of who sends it.
        first = b""
        with contextlib.suppress(OSError):
            first = learner.recv(24, socket.MSG_WAITALL)
            server.sendall(first)
        number = struct.unpack_from(">q", first, 16)[0] if len(first) == 24 else None
        threading.Thread(target=self._relay, args=(server, learner, number, True), daemon=True).start()
        self._relay(learner, server, number, False)

    def _relay(self, source, sink, number, from_server):
        with contextlib.suppress(OSError):
            while chunk := source.recv(262144):
                now = time.monotonic()
                with self._lock:
                    if self._pieces is not None:
                        self._pieces.append((number, from_server, now, chunk))
                sink.sendall(chunk)
        for stream in (source, sink):
            # The other direction may have done it.
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
