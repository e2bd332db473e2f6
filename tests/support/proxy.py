"""A TCP relay that a test can cut, freeze and refuse, so that a client in any language can lose its connection.

    cut      every connection that goes through the relay is reset; new ones are accepted
    freeze   nothing is forwarded in either direction, and nothing is closed
    thaw     forwarding goes on where it stopped
    refuse   every connection is reset and new ones are reset at once
    bar      new connections are reset at once, those that are there go on
    accept   new connections are forwarded again
"""

import select
import socket
import struct
import threading

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    def __init__(self, host, port, listen_port=0):
        self._target = (host, port)
        self._lock = threading.Lock()
        self._pairs = set()
        self._refusing = False
        self._running = threading.Event()
        self._running.set()
        self._listener = socket.create_server(("127.0.0.1", listen_port))
        self.host, self.port = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def cut(self):
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for stream in pair:
                _reset(stream)

    def bar(self):
        with self._lock:
            self._refusing = True

    def refuse(self):
        self.bar()
        self.cut()

    def accept(self):
        self._refusing = False

    def freeze(self):
        self._running.clear()

    def thaw(self):
        self._running.set()

    def close(self):
        self.refuse()
        self.thaw()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                _reset(client)
                continue
            for stream in (client, server):
                stream.settimeout(None)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self._lock:
                # It may have been told to refuse while it connected.
                is_late = self._refusing
                if not is_late:
                    self._pairs.add(pair)
            if is_late:
                _reset(client)
                _reset(server)
                continue
            threading.Thread(target=self._relay, args=(pair,), daemon=True).start()

    def _relay(self, pair):
        client, server = pair
        other = {client: server, server: client}
        try:
            while True:
                for stream in select.select(pair, [], [])[0]:
                    self._running.wait()
                    chunk = stream.recv(65536)
                    if not chunk:
                        return
                    # Bytes read before a freeze are held back with the rest.
                    self._running.wait()
                    other[stream].sendall(chunk)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._pairs.discard(pair)
            client.close()
            server.close()


def _reset(stream):
    """Closes with RST, from whichever thread; shutdown first, so that a relay blocked on the stream wakes up."""
    try:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
