"""Histories for the checker's own test: a good one, and many that differ from it in one thing that must not be.

The good one is told step by step (`Story`); a bad one is the same story with one entry, record or tree changed. Each says
which checks must reject it, and those alone.
"""

import copy

from checker import Run
from logs import CLOSE_SESSION, CREATE_SESSION, ERROR, Record, merge
from model import OK, Model

TYPES = {"create": 15, "delete": 2, "set": 5, "multi": 14}
TIMEOUT_MS, TICK_MS = 10000, 500
# Of those who die.
SHORT_MS = 2000
# Answers of these servers are exact; 3 is a stranger.
EXACT = [1, 2]


class Story:
    """Clients speak one after the other. `names` finds an entry again: a call, an answer, an event."""

    def __init__(self):
        self.t, self.zxid, self.model = 0.0, 1 << 32, Model()
        self.history, self.records, self.names = [], [], {}
        self.sessions, self.servers, self.xids, self.seen = {}, {}, {}, {}
        self.calls = self.turns = 0

    def note(self, entry, client, name=None, **fields):
        self.t += 0.01
        noted = {"e": entry, "c": client, "t": self.t, **fields}
        self.history.append(noted)
        if name:
            self.names[name] = noted
        return noted

    def record(self, session, xid, kind):
        self.records.append(Record(self.zxid, session, xid, int(self.t * 1000), kind, None))

    def digested(self):
        """The newest record carries what the tree has become."""
        self.records[-1] = self.records[-1]._replace(digest=self.model.digest % 2**64)

    def open(self, client, server, timeout_ms=TIMEOUT_MS):
        if client not in self.sessions:
            self.zxid += 1
            self.sessions[client], self.xids[client] = 1000 + self.zxid % 1000, 0
            self.record(self.sessions[client], 0, CREATE_SESSION)
            self.model.open_session(self.sessions[client])
            self.digested()
        self.servers[client] = server
        self.note("open", client, session=self.sessions[client], server=server, timeout_ms=timeout_ms)

    def lost(self, client):
        self.note("lost", client)

    def ask(self, client, op, arguments, name=None):
        self.calls += 1
        xid = {"ping": -2, "watches": -8}.get(op)
        if xid is None:
            self.xids[client] += 1
            xid = self.xids[client]
        return self.note(
            "call", client, name and f"{name}?", id=self.calls, session=self.sessions[client], xid=xid, op=op,
            args=arguments, server=self.servers[client],
        )  # fmt: skip

    def answer(self, call, zxid, error, result, name=None):
        self.note(
            "reply", call["c"], name, id=call["id"], xid=call["xid"], zxid=zxid, err=error, result=copy.deepcopy(result)
        )

    def do(self, call):
        """The leader carries a write out."""
        self.zxid += 1
        op, session, time = call["op"], call["session"], int(self.t * 1000)
        error, result = self.model.write(self.zxid, time, session, op, call["args"])
        self.record(session, call["xid"], ERROR if error and op != "multi" else TYPES[op])
        if error == OK:
            self.digested()
        return error, result

    def write(self, client, op, name=None, **arguments):
        call = self.ask(client, op, arguments, name)
        error, result = self.do(call)
        self.answer(call, self.zxid, error, result if error == OK or op == "multi" else None, name)
        return result

    def unanswered(self, client, op, happens, name=None, **arguments):
        call = self.ask(client, op, arguments, name)
        if happens:
            self.do(call)
        self.lost(client)

    def read(self, client, op, path, name=None, watch=False):
        call = self.ask(client, op, {"path": path, "watch": watch}, name)
        view = self.model.at(path, self.zxid)
        if view is None:
            self.answer(call, self.zxid, -101, None, name)
            return
        result = {"stat": view.stat}
        if op == "get":
            result["data"] = view.data
        if op == "list":
            result["names"] = sorted(view.names)
        self.answer(call, self.zxid, OK, result, name)

    def say(self, client, op, name=None, **arguments):
        """A sync, a ping, a setWatches."""
        self.answer(self.ask(client, op, arguments, name), self.zxid, OK, {}, name)

    def event(self, client, kind, path, name, zxid=None):
        self.note("event", client, name, type=kind, path=path, zxid=self.zxid if zxid is None else zxid)

    def fence(self, client, made, name=None, accepted=True):
        """The holder of the lock whose node was made so writes to what it guards."""
        self.turns += 1
        token = made["stat"]["czxid"]
        self.note("fenced", client, name, path=made["path"], token=token, turn=self.turns, accepted=accepted)

    def close(self, client):
        call = self.ask(client, "close", {"path": ""})
        self.zxid += 1
        self.record(call["session"], call["xid"], CLOSE_SESSION)
        self.model.close_session(self.zxid, call["session"])
        self.digested()
        self.answer(call, self.zxid, OK, {})
        self.lost(client)

    def live_and_die(self, client, name=None):
        self.open(client, 1, SHORT_MS)
        self.write(client, "create", path=f"/d{client}", data="", flags=1)
        self.note("dead", client, name, session=self.sessions[client], heard=self.t - 0.02)
        self.lost(client)

    def pass_by(self, seconds):
        """Another client goes on with its work."""
        until = self.t + seconds
        while self.t < until:
            self.t += 0.04
            self.write(7, "set", path="/w", data=f"at {self.t:.2f}", version=-1)

    def expire(self, client):
        self.zxid += 1
        self.record(self.sessions[client], 0, CLOSE_SESSION)
        self.model.close_session(self.zxid, self.sessions[client])
        self.digested()
        self.say(7, "ping")

    def trees(self):
        tree = {
            path: {"data": node.data, "stat": node.stat()}
            for path, node in self.model.nodes.items()
            if path != "/zookeeper"
        }
        return {sid: copy.deepcopy(tree) for sid in (1, 2, 3)}

    def finish(self):
        self.logs = {sid: list(self.records) for sid in (1, 2, 3)}
        self.found = self.trees()
        return self

    def run(self):
        seen = [entry["zxid"] for entry in self.history if entry["e"] == "reply"]
        committed, faults = merge(self.logs, seen)
        return Run(self.history, committed, faults, self.found, EXACT, True, TICK_MS)

    # What bad histories do.

    def place(self, name):
        return next(at for at, entry in enumerate(self.history) if entry is self.names[name])

    def remove(self, name):
        del self.history[self.place(name)]

    def move(self, name, after):
        self.remove(name)
        self.history.insert(self.place(after) + 1, self.names[name])

    def of(self, name):
        """The place in the logs of the write with that name."""
        call = self.names[f"{name}?"]
        return next(
            at
            for at, record in enumerate(self.records)
            if (record.session, record.cxid) == (call["session"], call["xid"])
        )

    def change_logs(self, at, sids=(1, 2, 3), **fields):
        for sid in sids:
            self.logs[sid][at] = self.logs[sid][at]._replace(**fields)

    def stat(self, name):
        return self.names[name]["result"]["stat"]


def good():
    story = Story()
    for client, server in ((1, 1), (2, 2), (3, 3), (4, 1)):
        story.open(client, server)
    for path in ("/r", "/q", "/lock"):
        story.write(1, "create", path=path, data="", flags=0)
    story.say(3, "ping")
    story.write(1, "set", "a", path="/r", data="a", version=-1)
    story.say(4, "ping", "early ping")
    story.write(2, "set", "b", path="/r", data="b", version=1)
    story.read(4, "get", "/r", "reads b")
    story.say(3, "ping", "stranger's ping")
    story.read(3, "get", "/r", "stranger reads b")
    story.say(1, "sync", "sync", path="/")
    story.read(1, "get", "/r", "synced read")
    story.say(4, "sync", path="/")
    story.read(4, "exists", "/q", "synced exists")
    # Sequential names, and requests that fail.
    story.write(1, "create", "first", path="/q/n-", data="", flags=2)
    story.write(2, "create", "second", path="/q/n-", data="", flags=2)
    story.write(1, "set", "wrong version", path="/r", data="no", version=7)
    story.write(2, "delete", "delete none", path="/none", version=-1)
    story.write(2, "create", path="/r", data="", flags=0)
    operations = [
        ["set", {"path": "/r", "data": "m", "version": -1}],
        ["create", {"path": "/q/t", "data": "", "flags": 0}],
    ]
    story.write(1, "multi", "multi", path="", operations=operations)
    failing = [["set", {"path": "/r", "data": "f", "version": -1}], ["check", {"path": "/q", "version": 9}]]
    story.write(1, "multi", "failing multi", path="", operations=failing)
    story.read(2, "list", "/q", "listing")
    story.write(1, "create", "p1", path="/p1", data="", flags=0)
    story.write(2, "create", "p2", path="/p2", data="", flags=0)
    # Watches.
    story.read(2, "get", "/r", watch=True)
    story.write(1, "set", "watched", path="/r", data="w", version=-1)
    story.event(2, "changed", "/r", "changed")
    story.read(2, "get", "/r", "after changed")
    story.write(1, "set", "not watched", path="/r", data="v", version=-1)
    story.read(2, "list", "/q", watch=True)
    story.write(1, "create", "x", path="/q/x", data="", flags=0)
    story.event(2, "children", "/q", "children")
    story.read(2, "list", "/q", "after children")
    story.read(2, "exists", "/none", watch=True)
    story.write(1, "create", path="/none", data="", flags=0)
    story.event(2, "created", "/none", "created")
    story.read(2, "exists", "/none", "after created", watch=True)
    story.write(1, "delete", path="/none", version=-1)
    story.event(2, "deleted", "/none", "deleted", zxid=-1)
    story.read(2, "exists", "/none", "after deleted")
    # Watches that last.
    story.open(8, 2)
    story.say(8, "addwatch", path="/r", mode=0)
    story.say(8, "addwatch", path="/q", mode=1)
    story.read(8, "get", "/r", watch=True)
    for name in ("one", "two", "three"):
        story.write(1, "set", f"lasting {name}", path="/r", data=name, version=-1)
        story.event(8, "changed", "/r", f"tells {name}")
    story.write(1, "create", "deep", path="/q/y", data="", flags=0)
    story.event(8, "created", "/q/y", "tells deep")
    story.write(1, "create", path="/q/z", data="", flags=0)
    story.event(8, "created", "/q/z", "tells other")
    story.write(1, "multi", path="", operations=[
        ["set", {"path": "/q/y", "data": "m", "version": -1}],
        ["set", {"path": "/q/z", "data": "m", "version": -1}],
        ["set", {"path": "/r", "data": "m2", "version": -1}],
    ])  # fmt: skip
    story.event(8, "changed", "/q/y", "tells one of multi")
    story.event(8, "changed", "/q/z", "tells two of multi")
    story.event(8, "changed", "/r", "tells set at last", zxid=-1)
    story.say(8, "ping", "after telling")
    story.say(8, "unwatch", "unwatch", path="/r")
    story.write(1, "set", "not told", path="/r", data="quiet", version=-1)
    story.write(1, "delete", path="/q/y", version=-1)
    story.event(8, "deleted", "/q/y", "tells deleted")
    story.say(8, "ping")
    since = story.zxid
    story.lost(8)
    story.write(1, "set", path="/q/z", data="missed", version=-1)
    story.open(8, 1)
    lists = {"get": [], "exists": [], "list": [], "persistent": [], "recursive": ["/q"]}
    story.say(8, "watches", path="", zxid=since, paths=lists)
    story.write(1, "set", path="/q/z", data="told", version=-1)
    story.event(8, "changed", "/q/z", "tells again")
    story.say(8, "ping")
    # The end of a session with two ephemerals below one watch, in whatever order.
    story.open(9, 1)
    for name in ("e1", "e2"):
        story.write(9, "create", path=f"/q/{name}", data="", flags=1)
        story.event(8, "created", f"/q/{name}", f"tells {name}")
    story.close(9)
    for name in ("e2", "e1"):
        story.event(8, "deleted", f"/q/{name}", f"tells end of {name}")
    story.say(8, "ping", "after the ends")
    # An ephemeral and its session.
    story.write(3, "create", path="/e", data="", flags=1)
    story.read(1, "exists", "/e", "ephemeral")
    story.close(3)
    story.read(1, "exists", "/e", "no ephemeral")
    # A lock.
    held = story.write(1, "create", path="/lock/l-", data="", flags=3)
    waits = story.write(2, "create", path="/lock/l-", data="", flags=3)
    story.read(1, "list", "/lock", "first listing")
    story.note("acquire", 1, "first holder", path=held["path"], zxid=story.zxid, session=story.sessions[1])
    story.fence(1, held, "first write")
    story.write(1, "delete", path=held["path"], version=-1)
    story.read(2, "list", "/lock")
    story.note("acquire", 2, "second holder", path=waits["path"], zxid=story.zxid, session=story.sessions[2])
    story.fence(1, held, "before the second")
    story.fence(2, waits, "second write")
    story.fence(1, held, "late write", accepted=False)
    story.fence(2, waits, "last write")
    story.write(2, "delete", path=waits["path"], version=-1)
    # Connections are lost.
    story.read(2, "get", "/r", watch=True)
    story.read(2, "exists", "/q", watch=True)
    since = story.zxid
    story.lost(2)
    story.write(1, "set", "meanwhile", path="/r", data="z", version=-1)
    story.open(2, 1)
    again = story.ask(
        2, "watches", {"path": "", "zxid": since, "paths": {"get": ["/r", "/q"], "exists": [], "list": []}}
    )
    story.event(2, "changed", "/r", "again", zxid=-1)
    story.answer(again, story.zxid, OK, {}, "watches")
    story.say(2, "ping", "ping after")
    story.unanswered(1, "set", True, "unknown", path="/r", data="u", version=-1)
    story.open(1, 2)
    story.say(1, "sync", path="/")
    story.read(1, "get", "/r", "after unknown")
    story.unanswered(1, "set", False, path="/r", data="never", version=-1)
    story.open(1, 2)
    story.say(1, "sync", path="/")
    story.read(1, "get", "/r")
    # One dies.
    story.open(7, 2)
    story.write(7, "create", path="/w", data="", flags=0)
    story.pass_by(4)
    story.live_and_die(5, "death")
    story.pass_by(2.3)
    story.expire(5)
    story.before_last = (story.trees(), None)
    story.write(1, "set", "last", path="/r", data="last", version=-1)
    return story.finish()


def reply(name, **fields):
    return lambda story: story.names[name].update(fields)


def result(name, **fields):
    return lambda story: story.names[name]["result"].update(fields)


def in_stat(name, **fields):
    return lambda story: story.stat(name).update(fields)


def tree(change):
    return lambda story: change(story.found[3])


def logged(name, sids=(1, 2, 3), **fields):
    return lambda story: story.change_logs(story.of(name), sids, **fields)


def gap(story):
    """A request that failed leaves no record: its zxid is nowhere."""
    at = story.of("wrong version")
    for log in story.logs.values():
        del log[at]


def lost_at_the_end(story):
    for log in story.logs.values():
        log.pop()
    story.found = story.before_last[0]


def nobody_asked(story):
    for log in story.logs.values():
        log.append(Record(story.zxid + 1, story.sessions[4], 99, 0, TYPES["set"], None))


def uncommitted_tail(story):
    """One server alone has a transaction, and another leader's epoch passes over it: nothing wrong with that."""
    story.logs[3].append(Record(story.zxid + 1, story.sessions[4], 99, 0, TYPES["set"], None))
    for sid in (1, 2, 3):
        story.logs[sid].append(Record(2 << 32 | 1, 77, 0, 0, CREATE_SESSION, None))


def answered_before(story):
    """`p2`, which has the later zxid, is answered before `p1` is asked."""
    asked = story.names["p1?"]["t"]
    story.names["p2?"]["t"], story.names["p2"]["t"] = asked - 0.002, asked - 0.001


def half_of_a_multi(story):
    story.names["failing multi"]["result"] = {"results": [{"stat": dict(story.stat("after changed"))}, {}]}


def old_data(name):
    def change(story):
        story.names[name]["result"] = {"data": "a", "stat": dict(story.stat("a"))}

    return change


def ephemeral_again(story):
    story.names["no ephemeral"].update(err=OK, result=copy.deepcopy(story.names["ephemeral"]["result"]))


def behind_a_sync(story):
    """At an older zxid, but right for it, and not older than what the session has seen."""
    earlier = story.names["reads b"]["zxid"] - 1
    story.names["synced exists"]["zxid"] = earlier
    for entry in story.history:
        if entry["c"] == 4 and entry["e"] == "reply" and entry["zxid"] > earlier:
            entry["zxid"] = earlier
    story.names["reads b"]["result"] = {"data": "a", "stat": dict(story.stat("a"))}


def before_it_was_written(story):
    """A read after a sync, and the sync, before `b` was asked."""
    asked = story.names["b?"]["t"]
    for step, name in enumerate(("sync?", "sync", "synced read?", "synced read")):
        story.names[name]["t"] = asked - 0.005 + 0.001 * step


def after_it_was_overwritten(story):
    """The same after `multi` had been answered."""
    answered = story.names["multi"]["t"]
    for step, name in enumerate(("sync?", "sync", "synced read?", "synced read")):
        story.names[name]["t"] = answered + 0.001 + 0.001 * step


def over(silence):
    def change(story):
        story.note("over", 4, session=story.sessions[4], silence=silence)

    return change


def died(earlier):
    """So much earlier than it looks."""

    def change(story):
        story.names["death"]["t"] -= earlier
        story.names["death"]["heard"] -= earlier

    return change


def another_death(*steps):
    """After the story: one dies, and is expired after these steps, each a number of seconds or a function."""

    def change(story):
        story.live_and_die(6)
        for step in steps:
            step(story) if callable(step) else story.pass_by(step)
        story.expire(6)
        story.finish()

    return change


def stand_still(story):
    story.t += 9


def another_leader(story):
    story.zxid = (story.zxid >> 32) + 1 << 32


def hurt(before, after):
    """Servers were hurt from so long before until so long after this moment."""

    def change(story):
        story.history.append({"e": "hurt", "c": -1, "t": story.t - before, "kind": "cut", "until": story.t + after})

    return change


def never_ends(story):
    story.live_and_die(6)
    story.pass_by(6)
    story.finish()


def a_session_twice(story):
    for log in story.logs.values():
        log.append(Record(story.zxid + 1, story.sessions[1], 0, 0, CREATE_SESSION, None))


def after_the_end(client):
    """A write of a session that is not open."""

    def change(story):
        if client not in story.sessions:
            story.sessions[client], story.xids[client], story.servers[client] = 5, 0, 1
            story.note("open", client, session=5, server=1, timeout_ms=TIMEOUT_MS)
        story.write(client, "create", path="/late", data="", flags=0)
        story.finish()

    return change


def too_soon(story):
    story.names["second holder"]["zxid"] = story.names["first holder"]["zxid"]


def without_a_node(story):
    """Nor without having held does it write."""
    story.names["first holder"]["path"] = "/lock/l-0000000009"


def swapped_turns(story):
    """The first holder's token comes after the second's, and both are taken."""
    one, other = story.names["before the second"], story.names["second write"]
    one["turn"], other["turn"] = other["turn"], one["turn"]


def too_late(story):
    """The first holder believes that it holds when its node is gone."""
    story.names["first holder"]["zxid"] = story.names["second holder"]["zxid"]


def twice(story):
    story.history.insert(story.place("changed"), dict(story.names["changed"]))


def swapped(one, other):
    """Two events of one connection, the other way round."""

    def change(story):
        at, to = story.place(one), story.place(other)
        story.history[at], story.history[to] = story.history[to], story.history[at]

    return change


def told_after(name, kind, path, zxid_of=None):
    """One more event, after that entry."""

    def change(story):
        zxid = story.names[zxid_of or name]["zxid"]
        event = {"e": "event", "c": 8, "t": story.names[name]["t"], "type": kind, "path": path, "zxid": zxid}
        story.history.insert(story.place(name) + 1, event)

    return change


def told_nothing(story):
    story.remove("again")


def out_of_turn(one, other):
    def change(story):
        first, second = story.names[one], story.names[other]
        first["xid"], second["xid"] = second["xid"], first["xid"]

    return change


# name, the checks that must reject it, what is changed
STORIES = [
    ("the_good_one", "", lambda story: None),
    ("an_event_without_a_zxid", "", reply("changed", zxid=-1)),
    ("a_session_that_ends_in_time", "", over(9.6)),
    ("a_tail_that_was_never_committed", "", uncommitted_tail),
    ("a_gap_in_all_logs", "C1", gap),
    ("two_transactions_at_one_zxid", "C1", logged("b", (2,), cxid=42)),
    ("two_times_at_one_zxid", "C1", logged("b", (3,), time=42)),
    ("digests_that_differ", "C1", logged("b", (2,), digest=42)),
    ("a_wrong_digest", "C1", logged("b", digest=42)),
    ("a_transaction_nobody_asked_for", "C1", nobody_asked),
    ("other_data_at_the_end", "C1", tree(lambda nodes: nodes["/r"].update(data="other"))),
    ("a_node_lost_at_the_end", "C1", tree(lambda nodes: nodes.pop("/q/x"))),
    ("a_node_too_many_at_the_end", "C1", tree(lambda nodes: nodes.update({"/ghost": nodes["/q/x"]}))),
    ("another_pzxid_at_the_end", "C1", tree(lambda nodes: nodes["/q"]["stat"].update(pzxid=1))),
    ("another_cversion_at_the_end", "C1", tree(lambda nodes: nodes["/q"]["stat"].update(cversion=1))),
    ("an_acknowledged_write_lost", "C2", lost_at_the_end),
    ("a_version_left_out", "C2 C5", in_stat("a", version=2)),
    ("another_czxid", "C2", in_stat("b", czxid=1)),
    ("a_sequential_name_twice", "C2", result("second", path="/q/n-0000000000")),
    ("an_error_for_what_happened", "C2", reply("x", err=-110, result=None)),
    ("success_for_what_failed", "C2", reply("delete none", err=OK, result={})),
    ("another_error", "C2", reply("delete none", err=-103)),
    ("refused_and_done", "C2", reply("x", err=-118, result=None)),
    ("another_zxid_than_the_log's", "C2", lambda story: story.names["last"].update(zxid=story.zxid + 1)),
    ("real_time_against_zxids", "C2", answered_before),
    ("half_of_a_multi", "C2 C5", half_of_a_multi),
    (
        "a_multi_that_names_another_path",
        "C2",
        lambda story: story.names["multi"]["result"]["results"][1].update(path="/q/u"),
    ),
    ("old_data", "C3", old_data("reads b")),
    ("data_nobody_wrote", "C3", result("reads b", data="ghost")),
    ("data_of_another_version", "C3", in_stat("reads b", version=9)),
    ("nothing_where_something_is", "C3", reply("reads b", err=-101, result=None)),
    ("a_dead_ephemeral", "C3", ephemeral_again),
    ("a_listing_that_lacks_a_child", "C3", lambda story: story.names["listing"]["result"]["names"].pop()),
    ("a_listing_with_a_ghost", "C3", lambda story: story.names["listing"]["result"]["names"].append("zz")),
    ("a_stranger's_data_older_than_its_last_answer", "C3", old_data("stranger reads b")),
    ("a_zxid_that_goes_back", "C3", lambda story: story.names["stranger's ping"].update(zxid=1)),
    ("a_zxid_that_goes_back_on_another_server", "C3", lambda story: story.names["ping after"].update(zxid=1)),
    ("a_sync_that_shows_less_than_was_acknowledged", "C4", behind_a_sync),
    ("a_read_before_its_write", "C5", before_it_was_written),
    ("a_read_of_what_was_overwritten", "C4 C5", after_it_was_overwritten),
    ("a_session_that_ends_too_soon", "C6", over(0.5)),
    ("a_dead_session_in_its_time", "", another_death(4.5)),
    ("a_dead_session_that_lasts", "C6", another_death(6)),
    ("a_dead_session_that_lasts_longer_than_it_seems", "C6", died(3.9)),
    ("a_dead_session_that_never_ends", "C6", never_ends),
    ("a_dead_session_that_ends_too_soon", "C6", died(-1.1)),
    ("a_dead_session_that_ends_at_once", "C6", another_death()),
    ("a_dead_session_and_a_standstill", "", another_death(2, stand_still, 2)),
    ("a_dead_session_and_a_new_leader", "", another_death(3, another_leader, 4)),
    ("a_dead_session_that_lasts_under_a_new_leader", "C6", another_death(3, another_leader, 6)),
    ("a_dead_session_and_a_fault", "", another_death(hurt(0.5, 0.5), 6)),
    ("a_dead_session_long_after_a_fault", "C6", another_death(hurt(2.5, -1.5), 6)),
    ("a_dead_session_long_before_a_fault", "C6", another_death(3, hurt(0.5, 0.5), 3)),
    ("a_session_that_ends_too_soon_after_a_fault", "C6", lambda story: (hurt(3, -2)(story), over(6)(story))),
    ("a_session_whose_contact_a_fault_kept", "", lambda story: (hurt(3, -1)(story), over(6)(story))),
    ("a_session_id_given_twice", "C6", a_session_twice),
    ("a_write_after_the_session's_end", "C6", after_the_end(3)),
    ("a_write_of_a_session_that_never_was", "C6", after_the_end(9)),
    ("a_second_holder_while_the_first_holds", "C7", too_soon),
    ("a_holder_without_a_node", "C7", without_a_node),
    ("a_holder_whose_node_is_gone", "C7", too_late),
    ("a_lower_token_accepted", "C7", reply("late write", accepted=True)),
    ("a_lower_token_before_the_higher", "C7", swapped_turns),
    ("a_token_refused_without_a_higher_one", "C7", reply("before the second", accepted=False)),
    ("the_same_token_refused", "C7", reply("last write", accepted=False)),
    ("a_token_that_is_not_its_node's", "C7", lambda story: story.names["first write"].update(token=story.zxid)),
    ("a_token_of_one_who_never_held", "C7", lambda story: story.remove("second holder")),
    ("no_event_of_a_change", "C8", lambda story: story.remove("changed")),
    ("no_event_of_a_child", "C8", lambda story: story.remove("children")),
    ("no_event_of_a_creation", "C8", lambda story: story.remove("created")),
    ("no_event_of_a_deletion", "C8", lambda story: story.remove("deleted")),
    ("an_event_after_the_data", "C8", lambda story: story.move("changed", "after changed")),
    ("an_event_twice", "C8", twice),
    ("an_event_of_another_kind", "C8", reply("changed", type="deleted")),
    (
        "an_event_of_another_zxid",
        "C8",
        lambda story: story.names["changed"].update(zxid=story.names["not watched"]["zxid"]),
    ),
    ("an_event_of_another_path", "C8", reply("changed", path="/q")),
    ("an_event_nobody_asked_for", "C8", reply("again", path="/p1")),
    ("set_watches_tells_nothing", "C8", told_nothing),
    ("set_watches_tells_what_never_was", "C8", reply("again", type="deleted")),
    ("the_ends_of_ephemerals_in_another_order", "", swapped("tells end of e1", "tells end of e2")),
    ("a_lasting_watch_that_fires_once", "C8", lambda story: story.remove("tells two")),
    ("a_lasting_watch_that_leaves_out_the_last", "C8", lambda story: story.remove("tells three")),
    ("a_lasting_watch_in_another_order", "C8", swapped("tells one", "tells two")),
    ("a_lasting_watch_in_another_order_in_a_multi", "C8", swapped("tells one of multi", "tells two of multi")),
    ("a_lasting_watch_that_leaves_out_a_part_of_a_multi", "C8", lambda story: story.remove("tells two of multi")),
    ("a_lasting_watch_after_its_announcement", "C8", lambda story: story.move("tells set at last", "after telling")),
    ("a_lasting_watch_that_tells_twice", "C8", told_after("tells two", "changed", "/r")),
    ("a_recursive_watch_that_leaves_out_a_deletion", "C8", lambda story: story.remove("tells deleted")),
    ("a_recursive_watch_that_tells_of_children", "C8", told_after("tells deep", "children", "/q")),
    ("a_recursive_watch_that_leaves_out_one_end_of_two", "C8", lambda story: story.remove("tells end of e1")),
    ("a_removed_watch_that_tells", "C8", told_after("tells deleted", "changed", "/r", "not told")),
    ("a_removed_watch_that_was_not_there", "C8", reply("unwatch", err=-121)),
    ("a_watch_set_again_that_tells_nothing", "C8", lambda story: story.remove("tells again")),
    ("answers_in_another_order", "C9", out_of_turn("first", "multi")),
    ("a_ping_answered_out_of_turn", "C9", out_of_turn("ping after", "after deleted")),
]


def all_of_them():
    """Name, expected checks, and the run to judge, of each."""
    found = []
    for name, checks, change in STORIES:
        story = good()
        change(story)
        found.append((name, set(checks.split()), story.run()))
    return found
