"""A session that outlives its connections, and a worker that uses one and knows what the ensemble has promised it.

`Session` does what stock clients do: on a lost connection it goes to the next server with its id, its password and the
newest zxid it has seen. A request whose answer did not come is *unknown*, never *failed*.
"""

import struct
import threading
import time

import raw_client as zk
from ensemble import PATIENCE
from raw_client import ConnectionLost, RawClient, SessionRefused

SESSION_EXPIRED, SESSION_MOVED = -112, -118
STAT_FORMAT = ">qqqqiiiqiiq"
STAT_FIELDS = "czxid mzxid ctime mtime version cversion aversion ephemeral_owner data_length children pzxid".split()

# What a client asks to be sure that its server has all that was acknowledged to anybody before. A sync alone is not enough where
# stock leads: its leader answers from what it has applied itself, and a follower may be ahead of that by a moment. A write,
# even one that fails, comes after all that was ordered before it.
BARRIER = [(zk.SYNC, zk.text("/")), (zk.DELETE, zk.delete_body("/nothing is called so"))]


def catch_up(client):
    """The barrier, on one connection."""
    for reply in client.call_all(BARRIER):
        if reply.error not in (zk.OK, zk.NO_NODE):
            raise AssertionError(f"a sync, or a write that had to fail, was answered with {reply.error}")


class SessionExpired(Exception):
    """The ensemble says that the session is over. `silence`: seconds since the last request that was answered was sent."""

    def __init__(self, session_id, silence):
        super().__init__(f"session {session_id:#x} is over, {silence:.2f} s after its last answered request was sent")
        self.silence = silence


def stat(body, at=0):
    """The Stat at this place of an answer, as a dictionary."""
    return dict(zip(STAT_FIELDS, struct.unpack_from(STAT_FORMAT, body, at)))


def data_and_stat(reply):
    """What getData answered."""
    data, at = zk.parse_buffer(reply.body)
    return data, stat(reply.body, at)


class Session:
    """Not for several threads. `first` is the index of the server that is tried first."""

    def __init__(self, addresses, timeout_ms=30000, first=0):
        self.addresses, self.at = list(addresses), first
        self.asked_ms = timeout_ms
        self.timeout_ms = timeout_ms
        self.identity = (0, bytes(16))
        self.last_zxid = 0
        self.connection = None
        self.connections = 0
        self.heard = time.monotonic()
        self.xid = 0
        self.connect()

    @property
    def id(self):
        return self.identity[0]

    def connect(self):
        """Tries one server after the other until one takes the session."""
        deadline = time.monotonic() + PATIENCE
        while self.connection is None:
            host, port = self.addresses[self.at % len(self.addresses)]
            asked = time.monotonic()
            try:
                # As stock's clients: a server that is silent for two thirds of the time-out is left.
                patience = self.timeout_ms * 2 / 3000
                connection = RawClient(
                    host, port, self.asked_ms, self.identity, min(patience, PATIENCE), self.last_zxid
                )
            except SessionRefused as refused:
                raise SessionExpired(self.id, asked - self.heard) from refused
            except (ConnectionLost, OSError):
                self.at += 1
                if time.monotonic() > deadline:
                    raise AssertionError(f"no server took session {self.id:#x} for {PATIENCE:.0f} s") from None
                time.sleep(0.01)
                continue
            self.connection, self.identity = connection, connection.session
            self.timeout_ms = connection.timeout_ms
            connection.xid = self.xid
            self.connections += 1
            self.heard = asked

    def lose(self):
        """Leaves the connection, as after an error; the next request goes to another server."""
        if self.connection is not None:
            self.xid = self.connection.xid
            self.connection.abandon()
            self.connection = None
        self.at += 1

    def call_all(self, requests):
        """Answers in order, and None for each request from the first on that got none. The connection is there again
        when this returns."""
        self.connect()
        replies, sent = [], time.monotonic()
        try:
            self.connection.send_all(requests)
            for _ in requests:
                reply = self.connection.receive()
                if reply.error == SESSION_EXPIRED:
                    raise SessionExpired(self.id, sent - self.heard)
                if reply.error == SESSION_MOVED:
                    raise ConnectionLost()
                self.last_zxid = max(self.last_zxid, reply.zxid)
                replies.append(reply)
        except (ConnectionLost, OSError):
            self.lose()
        if replies:
            self.heard = sent
        self.connect()
        return replies + [None] * (len(requests) - len(replies))

    def call(self, op, body=b""):
        """One answer, or None."""
        return self.call_all([(op, body)])[0]

    def must(self, op, body=b"", errors=(zk.OK,)):
        """One answer; sent again until there is one, so only for what may happen twice."""
        while (reply := self.call(op, body)) is None:
            pass
        if reply.error not in errors:
            raise AssertionError(f"operation {op} was answered with {reply.error}")
        return reply

    def catch_up(self):
        for op, body in BARRIER:
            self.must(op, body, (zk.OK, zk.NO_NODE))

    def close(self):
        """Ends the session, and is sure of it."""
        try:
            while self.call(zk.CLOSE_SESSION) is None:
                pass
        except SessionExpired:
            pass
        if self.connection is not None:
            self.connection.abandon()


class Findings:
    """What several workers found, and how long the ensemble acknowledged nothing. Shared by threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self.faults = []
        self.acknowledged = self.reads = 0
        self._last_acknowledged = None
        self.gap = 0.0

    def fault(self, text):
        with self._lock:
            self.faults.append(text)

    def answered(self, writes, reads):
        now = time.monotonic()
        with self._lock:
            self.reads += reads
            if writes:
                self.acknowledged += writes
                if self._last_acknowledged is not None:
                    self.gap = max(self.gap, now - self._last_acknowledged)
                self._last_acknowledged = now

    def forget_time(self):
        """What passed since the last acknowledged write is no gap."""
        with self._lock:
            self._last_acknowledged = None

    def take_gap(self):
        """The longest gap since the last call, seconds."""
        with self._lock:
            gap, self.gap = self.gap, 0.0
            return gap


class Worker(threading.Thread):
    """Two reads to a write in a folder of its own, a window of requests on their way at a time, until told to stop.

    It checks, while it works, that no acknowledged write is lost, that it reads what it wrote, that neither zxids nor the
    versions of another worker's node go back, and that its session and its ephemeral live.
    """

    WINDOW = 4

    def __init__(self, ensemble, findings, path, other, first=0, timeout_ms=30000):
        super().__init__(daemon=True)
        self.ensemble, self.findings, self.path, self.other = ensemble, findings, path, other
        self.first, self.timeout_ms = first, timeout_ms
        self.ready, self.over = threading.Event(), threading.Event()
        self.paused, self.at_rest = threading.Event(), threading.Event()
        self.state = {}  # name -> data, as acknowledged
        self.pending = []  # effects of writes without an answer: (name, data or None for deleted)
        self.number = 0
        self.session = None
        self.seen = (0, -1)  # mzxid and version of the other's register

    def run(self):
        try:
            self.prepare()
            self.ready.set()
            while not self.over.is_set():
                if self.paused.is_set():
                    self.rest()
                self.work()
        except SessionExpired as expired:
            # Who was not answered for about its time-out was not kept alive, whoever is to blame.
            kept_alive = expired.silence < (self.session_timeout - self.ensemble.tick_ms) / 1000
            self.fault(
                f"{expired}" + ("" if kept_alive else ", which its time-out allows; but it is not expected here")
            )
        except AssertionError as failure:
            self.fault(str(failure))
        finally:
            self.ready.set()
            self.at_rest.set()

    @property
    def session_timeout(self):
        return self.session.timeout_ms if self.session else self.timeout_ms

    def fault(self, text):
        self.findings.fault(f"{self.path}: {text}")

    def prepare(self):
        self.session = Session(self.ensemble.addresses, self.timeout_ms, self.first)
        for path, data, flags in (
            (self.path, b"", zk.PERSISTENT),
            (f"{self.path}/register", b"0", zk.PERSISTENT),
            (f"{self.path}/alive", b"", zk.EPHEMERAL),
        ):
            self.session.must(zk.CREATE, zk.create_body(path, data, flags), (zk.OK, zk.NODE_EXISTS))
        self.state["register"] = b"0"

    def rest(self):
        """Looks at everything, and then only keeps the session alive."""
        self.settle()
        while self.paused.is_set():
            self.at_rest.set()
            self.session.must(zk.PING)
            time.sleep(0.1)

    def next_write(self):
        self.number += 1
        data = b"%d of " % self.number + self.path.encode()
        if self.number % 3 == 1:
            return ("register", data), zk.SET_DATA, zk.set_data_body(f"{self.path}/register", data)
        if self.number % 3 == 2 or self.number < 20:
            name = f"n{self.number}"
            return (name, data), zk.CREATE, zk.create_body(f"{self.path}/{name}", data)
        name = next(name for name, held in self.state.items() if name != "register" and held is not None)
        self.state.pop(name)
        self.state[name] = None  # Last in the order of insertion, and being deleted.
        return (name, None), zk.DELETE, zk.delete_body(f"{self.path}/{name}")

    def work(self):
        requests, effects = [], []
        for _ in range(self.WINDOW):
            effect, op, body = self.next_write()
            effects.append(effect)
            requests += [
                (op, body),
                (zk.GET_DATA, zk.read_body(f"{self.path}/register")),
                (zk.GET_DATA, zk.read_body(f"{self.other}/register")),
            ]
        newest = self.session.last_zxid
        replies = self.session.call_all(requests)
        register = self.state["register"]
        self.pending = []
        for at, effect in enumerate(effects):
            write, own, others = replies[3 * at : 3 * at + 3]
            if write is None:
                self.pending.append(effect)
                continue
            if write.error != zk.OK:
                self.fault(f"write {effect[0]} was answered with {write.error}")
            self.apply(effect)
            if effect[0] == "register":
                register = effect[1]
            if own is not None and data_and_stat(own)[0] != register:
                self.fault(f"read {data_and_stat(own)[0]!r} after {register!r} was written")
            if others is not None and others.error == zk.OK:
                _, found = data_and_stat(others)
                if (found["mzxid"], found["version"]) < self.seen:
                    self.fault(f"{self.other}/register went back from {self.seen} to {found}")
                self.seen = (found["mzxid"], found["version"])
        for reply in replies:
            if reply is not None:
                if reply.zxid < newest:
                    self.fault(f"zxid {reply.zxid:#x} after {newest:#x}")
                newest = reply.zxid
        answered = sum(reply is not None for reply in replies[::3])
        self.findings.answered(answered, sum(reply is not None for reply in replies) - answered)
        if None in replies:
            self.settle()

    def apply(self, effect):
        name, data = effect
        if data is None:
            self.state.pop(name, None)
        else:
            self.state[name] = data

    def settle(self):
        """After a lost connection: what is there is what was acknowledged, and a prefix of what was on its way."""
        self.session.catch_up()
        actual = read_folder(self.session, self.path)
        if "alive" not in actual:
            self.fault("its ephemeral is gone, but its session lives")
        actual.pop("alive", None)
        # A delete that was sent is in `pending`; what it deletes was acknowledged before.
        unknown_deletes = {name for name, data in self.pending if data is None}
        expected = {name: data for name, data in self.state.items() if data is not None or name in unknown_deletes}
        for name in unknown_deletes:
            expected[name] = self.data_of(name)
        for effect in [None, *self.pending]:
            if effect is not None:
                name, data = effect
                if data is None:
                    expected.pop(name)
                else:
                    expected[name] = data
            if expected == actual:
                self.state, self.pending = expected, []
                return
        missing, extra = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
        changed = [name for name in expected if name in actual and expected[name] != actual[name]]
        self.fault(
            f"after a lost connection it is not what {len(self.state)} acknowledged nodes and a prefix of"
            f" {len(self.pending)} writes make: missing {missing[:5]}, unexpected {extra[:5]}, different {changed[:5]}"
        )
        self.state, self.pending = actual, []

    def data_of(self, name):
        return b"%s of " % name[1:].encode() + self.path.encode()

    def finish(self):
        """Stops the work and looks at everything once more."""
        self.over.set()
        self.join(PATIENCE)
        if self.is_alive():
            self.fault("hangs")
            return
        if not self.findings.faults:
            try:
                self.settle()
            except (SessionExpired, AssertionError) as failure:
                self.fault(str(failure))


def read_folder(session, path):
    """Data by name of a folder's children; asked again until all is answered."""
    while True:
        listing = session.must(zk.GET_CHILDREN, zk.read_body(path))
        names = zk.parse_children(listing.body)
        replies = session.call_all([(zk.GET_DATA, zk.read_body(f"{path}/{name}")) for name in names])
        if None not in replies and all(reply.error == zk.OK for reply in replies):
            return {name: zk.parse_buffer(reply.body)[0] for name, reply in zip(names, replies)}


class Load:
    """Several workers over an ensemble, below one path."""

    def __init__(self, ensemble, path, workers=4, timeout_ms=30000):
        self.findings = Findings()
        opener = Session(ensemble.addresses)
        opener.must(zk.CREATE, zk.create_body(path, b""), (zk.OK, zk.NODE_EXISTS))
        opener.close()
        paths = [f"{path}/w{number}" for number in range(workers)]
        self.workers = [
            Worker(ensemble, self.findings, mine, paths[number - 1], number, timeout_ms)
            for number, mine in enumerate(paths)
        ]

    def start(self):
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            if not worker.ready.wait(PATIENCE):
                raise AssertionError(f"{worker.path} could not begin within {PATIENCE:.0f} s")
        self.check()

    def check(self):
        if self.findings.faults:
            raise AssertionError("; ".join(self.findings.faults[:5]))

    def pass_by(self, writes):
        """Returns when that many more writes are acknowledged."""
        goal = self.findings.acknowledged + writes
        deadline = time.monotonic() + PATIENCE
        while self.findings.acknowledged < goal:
            self.check()
            if time.monotonic() > deadline:
                raise AssertionError(f"{goal - self.findings.acknowledged} of {writes} writes are not acknowledged")
            time.sleep(0.01)

    def pause(self):
        """Returns when every worker has looked at all of its nodes and writes nothing any more."""
        self.check()
        for worker in self.workers:
            worker.at_rest.clear()
            worker.paused.set()
        for worker in self.workers:
            if worker.is_alive() and not worker.at_rest.wait(PATIENCE):
                raise AssertionError(f"{worker.path} hangs")
        self.check()

    def go_on(self):
        self.findings.forget_time()
        for worker in self.workers:
            worker.paused.clear()

    def finish(self):
        """Stops, checks everything, and closes the sessions."""
        for worker in self.workers:
            worker.over.set()
        for worker in self.workers:
            worker.finish()
        self.check()
        for worker in self.workers:
            worker.session.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        for worker in self.workers:
            worker.paused.clear()
        if kind is None:
            self.finish()
        for worker in self.workers:
            worker.over.set()
