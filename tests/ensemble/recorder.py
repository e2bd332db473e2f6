"""Clients that write down everything: what they asked, when, what came back, every event, every change of connection.

A history is a list of entries, each a dictionary with `e` (what it is), `c` (which client) and `t` (seconds, one clock for
all). Entries of one client are in the order in which it saw them.

    open     session, server, timeout_ms; a new connection, of a new session or of the one before
    call     id, session, xid, op, args, server
    reply    id, zxid, err, result
    event    zxid (-1 where the server does not say), type, path
    lost     the connection; what was asked on it and not answered stays unknown
    over     session, silence; the ensemble says that the session has ended
    dead     session, heard; nobody keeps the session from now on, and its last contact that counts was asked for then
    hurt     kind, until; servers were killed, frozen, …, and all was well again at `until`
    acquire, release   path, zxid: what a client of the lock believes
    fenced   path, token, turn, accepted; what the resource said that the lock guards, see `Fence`
"""

import itertools
import random
import struct
import threading
import time

import raw_client as zk
from ensemble import PATIENCE
from lasting import PERSISTENT, RECURSIVE
from raw_client import ConnectionLost, RawClient, Reply, SessionRefused
from sessions import SESSION_EXPIRED, SESSION_MOVED, STAT_FORMAT, stat

GET_CHILDREN2, REMOVE_WATCHES = 12, 18
ANY_WATCH = 3
SET_WATCHES_XID = -8
EVENTS = {1: "created", 2: "deleted", 3: "changed", 4: "children"}
NO_WATCHER, CHECK = 0, 13
REGISTERS = 10
# The number that entries have which are no client's.
NOBODY = -1
# What a server does not answer by itself.
OF_THE_LEADER = ("create", "delete", "set", "multi", "sync")


def encode(op, arguments):
    """The opcode and the body of a recorded request."""
    path, watch = arguments.get("path", ""), arguments.get("watch", False)
    if op == "create":
        return zk.CREATE2, zk.create_body(path, arguments["data"].encode(), arguments["flags"])
    if op == "delete":
        return zk.DELETE, zk.delete_body(path, arguments["version"])
    if op == "set":
        return zk.SET_DATA, zk.set_data_body(path, arguments["data"].encode(), arguments["version"])
    if op == "get":
        return zk.GET_DATA, zk.read_body(path, watch)
    if op == "exists":
        return zk.EXISTS, zk.read_body(path, watch)
    if op == "list":
        return GET_CHILDREN2, zk.read_body(path, watch)
    if op == "sync":
        return zk.SYNC, zk.text(path)
    if op == "ping":
        return zk.PING, b""
    if op == "close":
        return zk.CLOSE_SESSION, b""
    if op == "watches":
        lists = b"".join(
            struct.pack(">i", len(paths)) + b"".join(map(zk.text, paths)) for paths in arguments["paths"].values()
        )
        code = zk.SET_WATCHES2 if "persistent" in arguments["paths"] else zk.SET_WATCHES
        return code, struct.pack(">q", arguments["zxid"]) + lists
    if op == "addwatch":
        return zk.ADD_WATCH, zk.text(path) + struct.pack(">i", arguments["mode"])
    if op == "unwatch":
        return REMOVE_WATCHES, zk.text(path) + struct.pack(">i", ANY_WATCH)
    if op == "multi":
        parts = []
        for part, inner in arguments["operations"]:
            if part == "create":
                parts.append((zk.CREATE, zk.create_body(inner["path"], inner["data"].encode(), inner["flags"])))
            elif part == "check":
                parts.append((CHECK, zk.delete_body(inner["path"], inner["version"])))
            else:
                parts.append(encode(part, inner))
        return zk.MULTI, zk.multi_body(parts)
    raise ValueError(op)


def decode(op, reply):
    """What an answer says, beyond its error."""
    body = reply.body
    if op == "multi" and body:
        return {"results": decode_multi(body)}
    if reply.error != zk.OK:
        return None
    if op == "create":
        path, at = zk.parse_buffer(body)
        return {"path": path.decode(), "stat": stat(body, at)}
    if op in ("set", "exists"):
        return {"stat": stat(body)}
    if op == "get":
        data, at = zk.parse_buffer(body)
        return {"data": (data or b"").decode(), "stat": stat(body, at)}
    if op == "list":
        names = zk.parse_children(body)
        return {"names": sorted(names), "stat": stat(body, len(body) - struct.calcsize(STAT_FORMAT))}
    return {}


def decode_multi(body):
    results, at = [], 0
    while True:
        kind, done, error = struct.unpack_from(">i?i", body, at)
        at += 9
        if done:
            return results
        if kind == -1:
            results.append({"err": struct.unpack_from(">i", body, at)[0]})
            at += 4
        elif kind == zk.CREATE:
            path, at = zk.parse_buffer(body, at)
            results.append({"path": path.decode()})
        elif kind == zk.SET_DATA:
            results.append({"stat": stat(body, at)})
            at += struct.calcsize(STAT_FORMAT)
        else:
            results.append({})


class Event:
    def __init__(self, zxid, kind, path):
        self.zxid, self.kind, self.path = zxid, kind, path


class Connection(RawClient):
    def take_next(self):
        """The next Reply or Event, in the order of arrival."""
        body = self._frame()
        xid, zxid, error = struct.unpack_from(">iqi", body)
        if xid != zk.WATCH_EVENT_XID:
            return Reply(xid, zxid, error, bytes(body[16:]))
        kind, _ = struct.unpack_from(">ii", body, 16)
        return Event(zxid, kind, zk.parse_buffer(body, 24)[0].decode())


class Fence:
    """What a lock guards: it takes no token that is lower than one it has taken. Not of the ensemble; shared by threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self.newest = self.turns = 0

    def write(self, token):
        """The number of this attempt among all, and whether it was accepted."""
        with self._lock:
            self.turns += 1
            accepted = token >= self.newest
            self.newest = max(self.newest, token)
            return self.turns, accepted


class Client(threading.Thread):
    """One client. Subclasses say what it does until `over` is set."""

    numbers = itertools.count(1)

    def __init__(self, ensemble, number, seed, timeout_ms=20000):
        super().__init__(daemon=True)
        self.ensemble, self.number, self.timeout_ms = ensemble, number, timeout_ms
        self.random = random.Random(f"{seed}-{number}")
        self.history = []
        self.over = threading.Event()
        self.failure = None
        self.connection, self.at = None, number
        self.left = []  # Connections that nobody speaks on any more.
        self.forget()

    def forget(self):
        """What goes with a session."""
        self.identity, self.xid, self.last_zxid = (0, bytes(16)), 0, 0
        self.heard = time.monotonic()
        self.watches = {"get": set(), "exists": set(), "list": set()}
        self.lasting = {}  # path -> mode of addWatch

    def note(self, entry, **fields):
        self.history.append({"e": entry, "c": self.number, "t": time.monotonic(), **fields})

    def run(self):
        try:
            while not self.over.is_set():
                self.work()
            self.close()
        except Exception as failure:  # The run must not go on as if nothing were.
            self.failure = failure

    def connect(self):
        deadline = time.monotonic() + PATIENCE
        while self.connection is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"no server took client {self.number} for {PATIENCE:.0f} s")
            sid = self.at % len(self.ensemble.sids) + 1
            asked = time.monotonic()
            try:
                connection = Connection(
                    self.ensemble.host(sid),
                    2181,
                    self.timeout_ms,
                    self.identity,
                    self.timeout_ms * 2 / 3000,
                    self.last_zxid,
                )
            except SessionRefused:
                self.ended(asked)
                continue
            except (ConnectionLost, OSError):
                self.at += 1
                time.sleep(0.01)
                continue
            self.connection, self.server, self.identity = connection, sid, connection.session
            connection.xid = self.xid
            self.heard, self.connection_timeout = asked, connection.timeout_ms / 1000
            self.note("open", session=self.identity[0], server=sid, timeout_ms=connection.timeout_ms)
            if self.lasting or any(self.watches.values()):
                paths = {kind: sorted(paths) for kind, paths in self.watches.items()}
                if self.lasting:
                    for kind, mode in (("persistent", PERSISTENT), ("recursive", RECURSIVE)):
                        paths[kind] = sorted(path for path, asked in self.lasting.items() if asked == mode)
                self.call_all([("watches", {"path": "", "zxid": self.last_zxid, "paths": paths})])

    def ended(self, asked):
        self.note("over", session=self.identity[0], silence=asked - self.heard)
        self.forget()

    def lose(self):
        self.xid = self.connection.xid
        self.connection.abandon()
        self.connection = None
        self.at += 1
        self.note("lost")

    def call_all(self, requests):
        """Answers as (error, result, zxid), and None for those that got none."""
        self.connect()
        if self.connection is None:
            return [None] * len(requests)
        connection, calls, answers = self.connection, [], []
        sent = time.monotonic()
        frames = []
        for op, arguments in requests:
            code, body = encode(op, arguments)
            xid = {"ping": zk.PING_XID, "watches": SET_WATCHES_XID}.get(op)
            if xid is None:
                connection.xid += 1
                xid = connection.xid
            frames.append(struct.pack(">iii", 8 + len(body), xid, code) + body)
            call = next(Client.numbers)
            calls.append((call, op, arguments, xid))
            self.note("call", id=call, session=self.identity[0], xid=xid, op=op, args=arguments, server=self.server)
        try:
            connection.socket.sendall(b"".join(frames))
            while len(answers) < len(requests):
                found = connection.take_next()
                if isinstance(found, Event):
                    self.note("event", zxid=found.zxid, type=EVENTS.get(found.kind, found.kind), path=found.path)
                    self.fired(found)
                    continue
                call, op, arguments, xid = calls[len(answers)]
                result = decode(op, found)
                self.note("reply", id=call, xid=found.xid, zxid=found.zxid, err=found.error, result=result)
                if found.error == SESSION_EXPIRED:
                    # The session ends; a new one begins with the next call.
                    self.connection.abandon()
                    self.connection = None
                    self.ended(sent)
                    break
                if found.error == SESSION_MOVED:
                    raise ConnectionLost()
                self.last_zxid = max(self.last_zxid, found.zxid)
                if arguments.get("watch"):
                    self.watch(op, found.error, arguments["path"])
                elif op == "addwatch" and found.error == zk.OK:
                    self.lasting[arguments["path"]] = arguments["mode"]
                elif op == "unwatch":
                    self.lasting.pop(arguments["path"], None)
                answers.append((found.error, result, found.zxid))
        except (ConnectionLost, OSError):
            if self.connection is not None:
                self.lose()
        self.reached(sent, [op for op, _ in requests[: len(answers)]])
        return answers + [None] * (len(requests) - len(answers))

    def reached(self, sent, ops):
        """These were answered. What a follower answers alone its leader learns of later, and it may have ended the session by
        then: that counts as a contact only where most of the time-out was left."""
        is_known = sent - self.heard < self.connection_timeout / 2
        if ops and (is_known or any(op in OF_THE_LEADER for op in ops)):
            self.heard = sent

    def call(self, op, **arguments):
        return self.call_all([(op, arguments)])[0]

    def watch(self, op, error, path):
        if error == zk.OK:
            self.watches["list" if op == "list" else "get"].add(path)
        elif op == "exists" and error == zk.NO_NODE:
            self.watches["exists"].add(path)

    def fired(self, event):
        kind = EVENTS.get(event.kind)
        lists = {"children": ["list"], "deleted": ["get", "exists", "list"]}.get(kind, ["get", "exists"])
        for name in lists:
            self.watches[name].discard(event.path)

    def close(self):
        if self.connection is not None:
            self.call("close")
            if self.connection is not None:
                self.connection.abandon()
                self.connection = None
            self.note("lost")
            self.forget()

    def die(self):
        """As a process dies, whose connection is closed, or its machine, whose connection stays and is silent."""
        if self.connection is None:
            return
        if self.random.random() < 0.5:
            self.left.append(self.connection)
        else:
            self.connection.abandon()
        self.connection = None
        self.note("dead", session=self.identity[0], heard=self.heard)
        self.note("lost")
        self.forget()


class Mixed(Client):
    """Registers that all clients write, a folder of sequential nodes, ephemerals, transfers, watches, syncs."""

    def work(self):
        if self.random.random() < 0.004:
            self.close()
        count = self.random.choice((1, 1, 2, 4, 16))
        self.call_all([request for _ in range(count) for request in self.requests()])

    def value(self):
        return f"{self.number}-{next(Client.numbers)}"

    def requests(self):
        chance = self.random.random()
        register = f"/h/r{self.random.randrange(REGISTERS)}"
        watch = self.random.random() < 0.1
        if chance < 0.20:
            return [("set", {"path": register, "data": self.value(), "version": -1})]
        if chance < 0.26:
            return [("set", {"path": register, "data": self.value(), "version": self.random.randrange(40)})]
        if chance < 0.30:
            return [("create", {"path": register, "data": self.value(), "flags": 0})]
        if chance < 0.32:
            return [("delete", {"path": register, "version": -1})]
        if chance < 0.36:
            return [("create", {"path": "/h/q/n-", "data": "", "flags": zk.SEQUENTIAL})]
        if chance < 0.39:
            path = f"/h/e/{self.number}-{self.random.randrange(3)}"
            return [("create", {"path": path, "data": "", "flags": zk.EPHEMERAL})]
        if chance < 0.41:
            return [("delete", {"path": f"/h/e/{self.number}-{self.random.randrange(3)}", "version": -1})]
        if chance < 0.45:
            return [("multi", {"path": "", "operations": self.transaction()})]
        if chance < 0.53:
            return [("sync", {"path": "/h"}), ("get", {"path": register})]
        if chance < 0.80:
            return [("get", {"path": register, "watch": watch})]
        if chance < 0.90:
            return [("exists", {"path": register, "watch": watch})]
        if chance < 0.94:
            return [("list", {"path": self.random.choice(("/h", "/h/e")), "watch": watch})]
        if chance < 0.96:
            return [("list", {"path": "/h/q", "watch": False})]
        return [("ping", {})]

    def transaction(self):
        """Two registers change together or not at all; sometimes it cannot be done."""
        one, two = self.random.sample(range(REGISTERS), 2)
        operations = [
            ["set", {"path": f"/h/r{one}", "data": self.value(), "version": -1}],
            ["set", {"path": f"/h/r{two}", "data": self.value(), "version": -1}],
        ]
        if self.random.random() < 0.3:
            operations.append(["check", {"path": "/h", "version": self.random.choice((0, 7))}])
        if self.random.random() < 0.2:
            operations.append(["create", {"path": f"/h/t{self.number}-{next(Client.numbers)}", "data": "", "flags": 0}])
        return operations


class Listener(Client):
    """Has watches that last, and little to say itself."""

    WATCHED = {"/h/r0": PERSISTENT, "/h/r1": RECURSIVE, "/h/e": PERSISTENT, "/h/q": RECURSIVE, "/h/lock": RECURSIVE}

    def work(self):
        chance = self.random.random()
        path = self.random.choice(sorted(self.WATCHED))
        if chance < 0.01:
            self.close()
        elif chance < 0.15:
            self.call("addwatch", path=path, mode=self.WATCHED[path])
        elif chance < 0.20:
            self.call("unwatch", path=path)
        elif chance < 0.30:
            self.call("set", path="/h/r0", data=f"{self.number}-{next(Client.numbers)}", version=-1)
        else:
            self.call_all([("get", {"path": "/h/r0"}), ("list", {"path": "/h/lock"}), ("ping", {})])
        self.over.wait(0.005)


class Mortal(Client):
    """Lives for a moment, with an ephemeral, and dies without a word."""

    TIMEOUT_MS = 2000

    def __init__(self, ensemble, number, seed):
        super().__init__(ensemble, number, seed, self.TIMEOUT_MS)

    def work(self):
        path = f"/h/e/{self.number}-{next(Client.numbers)}"
        self.call("create", path=path, data="", flags=zk.EPHEMERAL)
        for _ in range(self.random.randrange(20)):
            self.call_all([("exists", {"path": path}), ("ping", {})])
            self.over.wait(0.02)
        self.die()


class Witness(Client):
    """Works on, alone, until no session is left that nobody keeps: its writes say until when they were there."""

    def work(self):
        self.call("set", path="/h/fenced", data=f"{next(Client.numbers)}", version=-1)
        listings = [("list", {"path": path}) for path in ("/h/e", "/h/lock")]
        if all(listed and listed[0] == zk.OK and not listed[1]["names"] for listed in self.call_all(listings)):
            self.over.set()
        self.over.wait(0.01)


class Locker(Client):
    """The lock recipe: a sequential ephemeral, the smallest holds; who waits looks at the one before. The czxid of the node is
    the token that the holder shows to what the lock guards."""

    TIMEOUT_MS = 3000

    def __init__(self, ensemble, number, seed, fence):
        super().__init__(ensemble, number, seed, self.TIMEOUT_MS)
        self.fence = fence

    def work(self):
        created = self.call("create", path="/h/lock/l-", data="", flags=zk.EPHEMERAL_SEQUENTIAL)
        if created is None or created[0] != zk.OK:
            # It may be there all the same; then it goes with the session, and nobody waits for ever.
            self.close()
            return
        path, token, session = created[1]["path"], created[1]["stat"]["czxid"], self.identity[0]
        while not self.over.is_set():
            listed = self.call("list", path="/h/lock")
            if self.identity[0] != session:
                return
            if listed is None or listed[0] != zk.OK:
                continue
            names = [f"/h/lock/{name}" for name in listed[1]["names"]]
            if path not in names:
                return
            before = [name for name in sorted(names) if name < path]
            if not before:
                self.note("acquire", path=path, zxid=listed[2], session=session)
                self.hold(path, token)
                self.note("release", path=path)
                break
            self.wait_for(before[-1])
        self.call("delete", path=path, version=-1)

    def hold(self, path, token):
        self.write(path, token)
        self.call("set", path="/h/fenced", data=path, version=-1)
        if self.random.random() < 0.005:
            # Like a process that is paused: it says nothing, and believes for too long that it holds. Until another does.
            paused = time.monotonic()
            while self.fence.newest <= token and time.monotonic() - paused < 3 * self.timeout_ms / 1000:
                if self.over.wait(0.01):
                    break
        self.write(path, token)

    def write(self, path, token):
        turn, accepted = self.fence.write(token)
        self.note("fenced", path=path, token=token, turn=turn, accepted=accepted)

    def wait_for(self, path):
        there = self.call("exists", path=path, watch=True)
        while there is not None and there[0] == zk.OK and path in self.watches["get"] and not self.over.is_set():
            time.sleep(0.005)
            if self.call("ping") is None:
                return


def prepare(ensemble):
    """What the clients work on; written down as they do."""
    client = Client(ensemble, 0, 0)
    paths = ["/h", "/h/q", "/h/e", "/h/lock", "/h/fenced", *(f"/h/r{number}" for number in range(REGISTERS))]
    for path in paths:
        answer = client.call("create", path=path, data="", flags=0)
        if answer is None or answer[0] != zk.OK:
            raise AssertionError(f"{path} could not be made: {answer}")
    client.close()
    return client.history
