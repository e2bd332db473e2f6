"""Watches over everything that may come between a client and what it waits for: a server that is cut off, one that
returns with its leader's snapshot, moves between servers, clients that do not read. On a `Network`; clients reach every
server throughout.
"""

import socket
import struct
import time

import raw_client as zk
from ensemble import CLIENT_PORT, until
from faults import check_way
from partitions import sides
from raw_client import ConnectionLost, RawClient
from sessions import catch_up, data_and_stat
from smoke import CHANGED, CHILDREN, CREATED, DELETED, children, create, equal, exists, ok, read, set_data
from trees import check_equal_everywhere

# Modes of addWatch.
PERSISTENT, RECURSIVE = 0, 1
# Which one-shot watches an event uses up.
USES_UP = {CREATED: ("exist",), DELETED: ("data", "child"), CHANGED: ("data",), CHILDREN: ("child",)}


class Connection(RawClient):
    """Finds fault with its server: zxids that go back, an event behind a reply from a state that has its change."""

    def __init__(self, ensemble, sid, **options):
        # The newest zxid of a reply, and of anything.
        self.answered = self.newest = options.get("last_zxid", 0)
        # Events as (zxid, type, path).
        self.heard = []
        super().__init__(ensemble.host(sid), CLIENT_PORT, **options)

    def receive(self):
        reply = super().receive()
        equal(True, reply.zxid >= self.newest, f"{reply.zxid:#x} of a reply is not before {self.newest:#x}")
        self.answered = self.newest = reply.zxid
        return reply

    def notice(self, zxid, kind, path):
        self.heard.append((zxid, kind, path))
        # What fires when watches are set again has no zxid, and with stock 3.8 no event has one.
        if zxid > 0:
            equal(True, zxid > self.answered, f"event {kind} of {path}, {zxid:#x}, comes before {self.answered:#x}")
            equal(True, zxid >= self.newest, f"event {kind} of {path}, {zxid:#x}, is not before {self.newest:#x}")
            self.newest = zxid


class Writer:
    """Changes nodes, and knows what a session must hear that watches `stream` and all below it, and `steady`."""

    def __init__(self, client, path):
        self.client = client
        self.lasting = create(client, f"{path}/lasting")
        self.stream, self.steady = create(client, f"{self.lasting}/stream"), create(client, f"{self.lasting}/steady")
        self.rounds = 0
        # Events as (zxid, type, path).
        self.told = []

    def flow(self, rounds):
        requests, events = [], []
        for number in range(self.rounds, self.rounds + rounds):
            node, mark = f"{self.stream}/n{number}", f"{self.steady}/n{number}"
            requests += [
                (zk.CREATE, zk.create_body(node, b"0")),
                (zk.SET_DATA, zk.set_data_body(node, b"1")),
                (zk.SET_DATA, zk.set_data_body(self.steady, b"%d" % number)),
                (zk.CREATE, zk.create_body(mark, b"")),
                (zk.DELETE, zk.delete_body(node)),
            ]
            events += [
                (CREATED, node),
                (CHANGED, node),
                (CHANGED, self.steady),
                (CHILDREN, self.steady),
                (DELETED, node),
            ]
        replies = self.client.call_all(requests)
        self.told += [(ok(reply).zxid, *event) for reply, event in zip(replies, events)]
        self.rounds += rounds

    def check(self, heard, spans, below, what):
        """That these events are all that there were below a path between these pairs of zxids."""
        told = [
            event
            for event in self.told
            if event[2].startswith(below) and any(begin < event[0] <= end for begin, end in spans)
        ]
        for number, (event, found) in enumerate(zip(told, heard)):
            # See `Connection.notice`.
            equal(event if found[0] > 0 else (found[0], *event[1:]), found, f"{what}, number {number} of {len(told)}")
        equal(len(told), len(heard), f"the number of {what}")


class Watcher:
    """A session that keeps its watches as stock's clients do: what fired is waited for no more, and the rest is set
    again on the next server, from the zxid of the last reply."""

    def __init__(self, ensemble, sid, writer):
        self.ensemble, self.writer = ensemble, writer
        self.connection = Connection(ensemble, sid, timeout_ms=60000)
        catch_up(self.connection)
        self.waits = {"data": set(), "exist": set(), "child": set()}
        # Events of the lasting watches, and where each server that it was on began and stopped to tell it of them.
        self.heard, self.spans = [], []

    def arm(self, **waits):
        operations = {"data": zk.GET_DATA, "exist": zk.EXISTS, "child": zk.GET_CHILDREN}
        for name, paths in waits.items():
            self.waits[name].update(paths)
            requests = [(operations[name], zk.read_body(path, watch=True)) for path in paths]
            for reply in self.connection.call_all(requests):
                ok(reply, zk.NO_NODE if name == "exist" else zk.OK)
        for path, mode in ((self.writer.steady, PERSISTENT), (self.writer.stream, RECURSIVE)):
            begin = ok(self.connection.call(zk.ADD_WATCH, zk.text(path) + struct.pack(">i", mode))).zxid
        self.spans.append([begin, begin])

    def settled(self):
        """The events of its one-shot watches that have come since it was last asked, once all have that must."""
        catch_up(self.connection)
        self.spans[-1][1] = self.connection.answered
        return self.take()

    def take(self):
        fired = []
        for zxid, kind, path in self.connection.heard:
            if path.startswith(self.writer.lasting):
                self.heard.append((zxid, kind, path))
                continue
            used = [name for name in USES_UP[kind] if path in self.waits[name]]
            equal(True, used != [], f"event {kind} of {path}, which has fired, is waited for")
            for name in used:
                self.waits[name].remove(path)
            fired.append((kind, path))
        self.connection.heard.clear()
        return fired

    def lose(self):
        """Reads until its server gives it up."""
        try:
            while True:
                self.connection.receive()
        except ConnectionLost:
            pass
        equal([], self.connection.heard, "events from a server that hears of nothing")

    def move(self, sid, meanwhile=lambda: None):
        """Goes to this server as soon as that takes it. Returns what fires at once."""
        seen, session = self.connection.answered, self.connection.session
        self.connection.abandon()

        def taken():
            meanwhile()
            try:
                return Connection(self.ensemble, sid, timeout_ms=60000, session=session, last_zxid=seen)
            except (ConnectionLost, OSError):
                return None

        self.connection = until(f"server {sid} to take who has seen {seen:#x}", taken)
        body = struct.pack(">q", seen)
        for paths in (*self.waits.values(), (self.writer.steady,), (self.writer.stream,)):
            body += struct.pack(">i", len(paths)) + b"".join(zk.text(path) for path in sorted(paths))
        begin = ok(self.connection.call(zk.SET_WATCHES2, body)).zxid
        self.spans.append([begin, begin])
        return self.take()

    def check_race(self, node, data):
        """A node changes while reads of it are on their way: its event stands between old answers and new ones."""
        reads = [(zk.GET_DATA, zk.read_body(node))] * 40
        self.connection.send_all(reads)
        set_data(self.writer.client, node, data)
        self.connection.send_all(reads)
        for _ in range(2 * len(reads)):
            is_new = data_and_stat(ok(self.connection.receive()))[0] == data
            is_told = any(event[1:] == (CHANGED, node) for event in self.connection.heard)
            equal(is_told, is_new, f"whether {node} is read as it is since its event")

    def check(self, what):
        """That it heard all of the lasting watches' events while it was on a server, and nothing twice."""
        self.writer.check(self.heard, self.spans, self.writer.lasting, f"events of the lasting watches of {what}")


class Deaf:
    """Watches the stream, asks for more than its socket and its server's hold, and reads nothing of it."""

    READS, LARGE = 64, 512 * 1024
    # Who takes nothing for so long may be closed (reliability M34).
    PATIENCE = 30.0

    def __init__(self, ensemble, sid, writer, large):
        self.sid, self.writer = sid, writer
        self.connection = Connection(ensemble, sid, timeout_ms=120000)
        # It does not grow any more.
        self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        catch_up(self.connection)
        watch = zk.text(writer.stream) + struct.pack(">i", RECURSIVE)
        self.begin = ok(self.connection.call(zk.ADD_WATCH, watch)).zxid
        self.xids = self.connection.send_all([(zk.GET_DATA, zk.read_body(large))] * self.READS)
        self.deaf_since = time.monotonic()

    def check(self):
        """Listens at last: all is there, in order."""
        connection, what = self.connection, f"events for who did not read server {self.sid}"
        silence = time.monotonic() - self.deaf_since
        try:
            for xid in self.xids:
                reply = ok(connection.receive())
                equal((xid, self.LARGE), (reply.xid, len(data_and_stat(reply)[0])), "a reply and its length")
            catch_up(connection)
            end = connection.answered
            ok(connection.close())
        except ConnectionLost:
            equal(True, silence > self.PATIENCE, f"server {self.sid} closed who did not read for {silence:.1f} s")
            print(f"    server {self.sid} closed who had not read for {silence:.1f} s")
            end = connection.newest
        self.writer.check(connection.heard, [(self.begin, end)], self.writer.stream, what)


def s56_watch_continuity_over_a_cut_a_snapshot_and_moves(ensemble, path):
    """Two sessions on a follower that is cut off. One moves to another server and returns, one waits for the follower,
    which needs a snapshot. On an ensemble of its own, whose servers keep little to send."""
    leader, (victim, other) = sides(ensemble)
    client = ensemble.client(leader, timeout_ms=120000)
    writer = Writer(client, path)

    def made(*names):
        return [create(client, f"{path}/{name}", b"0") for name in names]

    def delete(node):
        ok(client.call(zk.DELETE, zk.delete_body(node)))

    early, changed, changed_late, gone, gone_late, again, kept, still = data = made(
        "early", "changed", "changed late", "gone", "gone late", "again", "kept", "still"
    )
    grown, grown_late, blinked, calm = child = made("grown", "grown late", "blinked", "calm")
    born, born_late, flash, flash_late, missing = exist = [
        f"{path}/{name}" for name in ("born", "born late", "flash", "flash late", "missing")
    ]
    large = create(client, f"{path}/large", b"x" * Deaf.LARGE)
    deaf = [Deaf(ensemble, other, writer, large)]
    moving, waiting = (Watcher(ensemble, victim, writer) for _ in range(2))
    for watcher in (moving, waiting):
        watcher.arm(data=data, exist=exist, child=child)
    writer.flow(20)
    set_data(client, early, b"1")
    for watcher in (moving, waiting):
        equal([(CHANGED, early)], watcher.settled(), "before the cut")

    before = ensemble.members[leader].monitor()
    ensemble.network.part([victim], [leader, other])
    for node in (early, changed):
        set_data(client, node, b"2")
    for node in (gone, again):
        delete(node)
    create(client, again, b"2")
    create(client, born)
    create(client, flash)
    delete(flash)
    for node in (grown, blinked):
        create(client, f"{node}/n")
    delete(f"{blinked}/n")
    writer.flow(300)
    for watcher in (moving, waiting):
        watcher.lose()

    # What changed, but not what was made and is gone again, nor what was told.
    first = {(CHANGED, changed), (CHANGED, again), (DELETED, gone), (CREATED, born)}
    first |= {(CHILDREN, grown), (CHILDREN, blinked)}
    fired = moving.move(other)
    equal((first, len(first)), (set(fired), len(fired)), "what fired on another server")
    moved = moving.connection
    equal([b"2", b"2"], [read(moved, node) for node in (changed, again)], "data that was told of")
    equal((False, True), (exists(moved, gone), exists(moved, born)), "nodes that were told of")
    equal([["n"], []], [children(moved, node) for node in (grown, blinked)], "children that were told of")
    moving.check_race(kept, b"3")
    create(client, flash)
    # These have fired.
    for node in (early, changed, again, born):
        set_data(client, node, b"3")
    writer.flow(20)
    equal([(CHANGED, kept), (CREATED, flash)], moving.settled(), "what happened while it was on another server")
    moving.connection.abandon()

    set_data(client, changed_late, b"4")
    delete(gone_late)
    create(client, born_late)
    create(client, flash_late)
    delete(flash_late)
    create(client, f"{grown_late}/n")
    ensemble.heal()
    # Writes go on while it gets its snapshot, and the sessions come at once.
    fired = waiting.move(victim, meanwhile=lambda: writer.flow(2))
    second = {(CHANGED, changed_late), (DELETED, gone_late), (CREATED, born_late), (CHILDREN, grown_late)}
    all_of_it = first | second | {(CHANGED, kept), (CREATED, flash)}
    equal((all_of_it, len(all_of_it)), (set(fired), len(fired)), "what fired on the server that returned")
    equal(b"3", read(waiting.connection, changed), "data behind the snapshot")
    fired = moving.move(victim, meanwhile=lambda: writer.flow(2))
    equal((second, len(second)), (set(fired), len(fired)), "what fired for who had been elsewhere meanwhile")
    equal(leader, ensemble.leader(), "the leader")
    check_way(ensemble, leader, before, "snap")

    deaf.append(Deaf(ensemble, victim, writer, large))
    writer.flow(20)
    waiting.check_race(still, b"5")
    for node in (missing, flash_late):
        create(client, node)
    create(client, f"{calm}/n")
    for node in (changed, changed_late, born, born_late):
        set_data(client, node, b"5")
    last = [(CHANGED, still), (CREATED, missing), (CREATED, flash_late), (CHILDREN, calm)]
    for watcher, what in ((moving, "who moved"), (waiting, "who waited")):
        equal(last, watcher.settled(), f"the last events of {what}")
        equal([set()] * 3, list(watcher.waits.values()), f"what {what} still waits for")
        watcher.check(what)
        ok(watcher.connection.close())
    for one in deaf:
        one.check()
    ok(client.close())
    check_equal_everywhere(ensemble)


# Checks that want an ensemble of their own, with these settings and properties.
APART = {
    s56_watch_continuity_over_a_cut_a_snapshot_and_moves: (
        {"snapCount": "200", "commitLogCount": "500", "snapshotSizeFactor": "-1"},
        {},
    ),
}
