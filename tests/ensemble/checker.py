"""Judges a recorded history by the log that the servers left: C1 to C9.

    C1  the servers' logs agree, have no gap, and hold no transaction that nobody asked for; their digests, and the trees at
        the end, are those of the model
    C2  writes are linearizable: every answer is what the model gives at its zxid; what was acknowledged is in the log; real
        time and zxids agree
    C3  a read is what the model holds at the zxid of its answer; a session's zxids never go back
    C4  after a sync a session sees all that was acknowledged before it asked
    C5  registers are linearizable without a look at zxids (`linear`); no read is older than what its session has seen
    C6  sessions end when they should, not before and not much later; their ephemerals live as long as they do; no id is
        given twice
    C7  the lock has one holder at a time; its tokens are the czxids of its nodes, and what it guards takes none that is lower
        than one it has taken, and every other
    C8  watches: every event has its cause, is the first after it was asked for, comes before what it announces, and comes;
        to persistent and recursive ones every one, in order; to none that was removed
    C9  answers come in the order of the questions

Servers that are `exact` answer reads with data of exactly the answer's zxid. Stock does not promise that: its data are of
some zxid between the answer before and the answer after. Nor does its sync promise what C4 wants: its leader answers it
from what it has applied itself, and followers may be ahead of that. An ensemble that stock may lead is not `strict`: what
C4 finds there is said and does not count, and reads after a sync are none of C5's.
"""

import bisect
import collections
import itertools
import math

import linear
from lasting import PERSISTENT, RECURSIVE, Lasting
from logs import CLOSE_SESSION, CREATE_SESSION, ERROR, epoch
from model import NO_NODE, OK, OWN, Model, parent_of

CHECKS = [f"C{number}" for number in range(1, 10)]
WRITES = ("create", "delete", "set", "multi")
READS = ("get", "exists", "list")
# Answers about the session, not about the tree: given whatever the tree is.
REFUSED = (-112, -118, -4)
REGISTER_OPERATIONS_MAX = 300
# Where nobody's write is answered for so long, the ensemble or the machine stood still, s.
STANDSTILL = 0.1
# How much longer than it may a session may last, on a machine that has other things to do, s. Standstills come on top.
SLACK = 2.0


class Run:
    """A history and what follows from it. `exact` are the numbers of servers whose reads are exact."""

    def __init__(self, history, committed, log_faults, trees, exact, strict, tick_ms):
        self.committed, self.log_faults, self.trees = committed, log_faults, trees
        self.exact, self.strict, self.tick_ms = set(exact), strict, tick_ms
        self.notes = []
        self.faults = {check: [] for check in CHECKS}
        self.clients = collections.defaultdict(list)
        self.calls = {}
        self.over, self.dead, self.hurts = [], [], []
        for entry in history:
            if entry["e"] == "hurt":
                self.hurts.append(entry)
            else:
                self.clients[entry["c"]].append(entry)
        for entries in self.clients.values():
            self._follow(entries)
        self.model = Model()

    def _follow(self, entries):
        """Joins the calls of a client with their answers; `before` and `after` are the zxids of the neighbours."""
        session, timeout_ms, seen, connection, answered = None, None, 0, 0, []
        for at, entry in enumerate(entries):
            if entry["e"] == "open":
                timeout_ms = entry["timeout_ms"]
                connection += 1
                if entry["session"] != session:
                    session, seen = entry["session"], 0
            elif entry["e"] == "call":
                call = dict(entry, reply=None, fate=None, at=at, connection=connection)
                self.calls[entry["id"]] = call
            elif entry["e"] == "reply":
                call = self.calls[entry["id"]]
                call["reply"], call["before"], call["after"] = entry, seen, None
                if answered and answered[-1]["connection"] == connection:
                    answered[-1]["after"] = entry["zxid"]
                answered.append(call)
                seen = max(seen, entry["zxid"])
            elif entry["e"] == "over":
                self.over.append((entry, timeout_ms))
            elif entry["e"] == "dead":
                self.dead.append((entry, timeout_ms))

    def fault(self, check, text):
        self.faults[check].append(text)

    def answered(self, *ops):
        return [call for call in self.calls.values() if call["op"] in ops and call["reply"]]


def check(run):
    """The faults by check."""
    for text in run.log_faults:
        run.fault("C1", text)
    replay(run)
    check_trees(run)
    check_writes(run)
    check_reads(run)
    check_syncs(run)
    check_registers(run)
    check_sessions(run)
    check_deaths(run)
    check_lock(run)
    check_watches(run)
    check_order(run)
    return run.faults


def replay(run):
    model, requests = run.model, {}
    for call in run.calls.values():
        if call["op"] in (*WRITES, "close"):
            requests[call["session"], call["xid"]] = call
    known, wrong_digest = set(), False
    for record in run.committed:
        model.zxid = record.zxid
        call = requests.get((record.session, record.cxid))
        if record.type == CREATE_SESSION:
            if record.session in known:
                run.fault("C6", f"session {record.session:#x} was made a second time at {record.zxid:#x}")
            known.add(record.session)
            model.open_session(record.session)
        elif record.type == CLOSE_SESSION:
            model.close_session(record.zxid, record.session)
            if call and call["op"] == "close":
                call["fate"] = (record.zxid, OK, {})
        elif record.type == ERROR:
            if call:
                call["fate"] = (record.zxid, would_fail(model, record, call), None)
        elif call is None or call["op"] == "close":
            run.fault("C1", f"nobody asked for the transaction of type {record.type} at {record.zxid:#x}")
        else:
            if record.session not in model.open:
                run.fault("C6", f"{call['op']} of session {record.session:#x}, which is over, at {record.zxid:#x}")
            error, result = model.write(record.zxid, record.time, record.session, call["op"], call["args"])
            call["fate"] = (record.zxid, error, result)
        if record.digest is not None and record.digest != model.digest % 2**64 and not wrong_digest:
            wrong_digest = True  # All that follow are wrong with it.
            run.fault(
                "C1", f"the digest at {record.zxid:#x} is {record.digest:#x}, the model's {model.digest % 2**64:#x}"
            )


def would_fail(model, record, call):
    """The error that the model gives to a request that the log says has failed; nothing changes."""
    op, arguments = call["op"], call["args"]
    if op == "create" and arguments["flags"] & 2:
        return OK if parent_of(arguments["path"]) in model.nodes else NO_NODE
    if op not in WRITES:
        return OK
    saved = model.save(arguments["operations"] if op == "multi" else [(op, arguments)])
    error, _ = model.write(record.zxid, record.time, record.session, op, arguments)
    if error == OK:
        model.restore(saved)
    return error


def check_trees(run):
    expected = {
        path: {"data": node.data, "stat": node.stat()}
        for path, node in run.model.nodes.items()
        if not f"{path}/".startswith(OWN)
    }
    for sid, tree in run.trees.items():
        found = {path: node for path, node in tree.items() if not f"{path}/".startswith(OWN)}
        for path in sorted(set(found) | set(expected)):
            if found.get(path) != expected.get(path):
                run.fault("C1", f"{path} on server {sid} is {found.get(path)}, the model's {expected.get(path)}")
                break


def check_writes(run):
    for call in run.answered(*WRITES):
        reply, fate = call["reply"], call["fate"]
        what = f"{call['op']} {call['args']} at {reply['zxid']:#x}"
        if fate is None:
            if reply["err"] == OK:
                run.fault("C2", f"{what} was acknowledged and is not in the log")
            continue
        zxid, error, result = fate
        if reply["err"] in REFUSED:
            if error == OK:
                run.fault("C2", f"{what} was refused and has happened")
            continue
        if zxid != reply["zxid"]:
            run.fault("C2", f"{what} has zxid {zxid:#x} in the log")
        elif call["op"] == "multi":
            if reply["result"] is not None and reply["result"]["results"] != result["results"]:
                run.fault("C2", f"{what} gave {reply['result']}, the model {result}")
        elif (reply["err"], reply["result"]) != (error, result if error == OK else None):
            run.fault("C2", f"{what} gave {reply['err']} {reply['result']}, the model {error} {result}")
    decided = [call for call in run.calls.values() if call["op"] in WRITES and call["fate"]]
    ended = sorted((call["reply"]["t"], call["fate"][0]) for call in decided if call["reply"])
    newest, at = 0, 0
    for call in sorted(decided, key=lambda call: call["t"]):
        while at < len(ended) and ended[at][0] < call["t"]:
            newest = max(newest, ended[at][1])
            at += 1
        if call["fate"][0] <= newest:
            run.fault(
                "C2",
                f"{call['op']} {call['args']} has zxid {call['fate'][0]:#x}; {newest:#x} was answered before it was asked",
            )


def window(run, call):
    """The zxids between which the data of this answer must be."""
    zxid = call["reply"]["zxid"]
    if call["server"] in run.exact:
        return zxid, zxid
    return call["before"], max(zxid, call["after"] or zxid)


def check_reads(run):
    for call in run.answered(*READS):
        reply = call["reply"]
        low, high = window(run, call)
        views = run.model.between(call["args"]["path"], low, high)
        if reply["err"] == OK:
            matches = any(view is not None and shows(view, call["op"]) == reply["result"] for view in views)
        else:
            matches = reply["err"] in REFUSED or (reply["err"] == NO_NODE and None in views)
        if not matches:
            newest = views[-1] and shows(views[-1], call["op"])
            run.fault(
                "C3",
                f"{call['op']} {call['args']['path']} at {reply['zxid']:#x} gave {reply['err']} {reply['result']},"
                f" the model {newest} ({low:#x} to {high:#x})",
            )
    for call in run.calls.values():
        reply = call["reply"]
        # A ping is answered by whoever has it, with the newest there is; it goes back as little as any.
        if reply and reply["zxid"] < call["before"]:
            run.fault("C3", f"{call['op']} gave zxid {reply['zxid']:#x} after {call['before']:#x} in one session")


def shows(view, op):
    if op == "get":
        return {"data": view.data, "stat": view.stat}
    if op == "exists":
        return {"stat": view.stat}
    return {"names": sorted(view.names), "stat": view.stat}


def check_syncs(run):
    replies = sorted((call["reply"]["t"], call["reply"]["zxid"]) for call in run.calls.values() if call["reply"])
    times, newest, highest = [at for at, _ in replies], [], 0
    for _, zxid in replies:
        highest = max(highest, zxid)
        newest.append(highest)
    for entries in run.clients.values():
        floor, session = 0, None
        for entry in entries:
            call = run.calls.get(entry.get("id")) if entry["e"] == "reply" else None
            if call is None or entry["err"] != OK and call["op"] == "sync":
                continue
            if call["session"] != session:
                floor, session = 0, call["session"]
            if call["op"] == "sync":
                before = bisect.bisect_left(times, call["t"])
                floor = max(floor, newest[before - 1] if before else 0)
            elif call["op"] in READS and entry["zxid"] < floor:
                text = f"{call['op']} after a sync is of {entry['zxid']:#x}; {floor:#x} had been answered before"
                if run.strict:
                    run.fault("C4", text)
                else:
                    run.notes.append(text)


def check_registers(run):
    for path, operations in linear.registers(run.calls.values(), run.strict).items():
        if not linear.is_linearizable(linear.first(operations, REGISTER_OPERATIONS_MAX)):
            run.fault("C5", f"no order of the operations on {path} explains their answers")
    # What was written when, as far as answers told it.
    written = collections.defaultdict(set)
    for call in run.answered("set"):
        if call["reply"]["err"] == OK:
            written[call["args"]["path"]].add(call["reply"]["result"]["stat"]["mzxid"])
    written = {path: sorted(zxids) for path, zxids in written.items()}
    for entries in run.clients.values():
        session, newest = None, 0
        for entry in entries:
            call = run.calls.get(entry.get("id")) if entry["e"] == "reply" else None
            if call is None or not entry["result"] or "stat" not in entry["result"]:
                continue
            if call["session"] != session:
                session, newest = call["session"], 0
            stat, path = entry["result"]["stat"], call["args"]["path"]
            later = written.get(path, [])
            at = bisect.bisect_right(later, stat["mzxid"])
            if call["op"] in READS and at < len(later) and later[at] <= newest:
                run.fault(
                    "C5",
                    f"{path} is of {stat['mzxid']:#x}, though the session has seen {newest:#x} and {later[at]:#x} wrote it",
                )
            newest = max(newest, stat["mzxid"], stat["pzxid"])


def check_sessions(run):
    for entry, timeout_ms in run.over:
        least = (timeout_ms - run.tick_ms) / 1000 - unknown(run, entry["t"] - entry["silence"], entry["t"])
        if entry["silence"] < least:
            run.fault(
                "C6",
                f"session {entry['session']:#x} was over {entry['silence']:.2f} s after a contact; it had {timeout_ms} ms",
            )
    for session, paths in run.model.ephemerals.items():
        if paths and session not in run.model.open:
            run.fault("C6", f"{sorted(paths)} are there without their session {session:#x}")


def after_effect(hurt):
    """Until when a fault delays what one server tells another: TCP that has backed off waits as long again."""
    return hurt["until"] + (hurt["until"] - hurt["t"])


def unknown(run, since, until):
    """For how long, at most, a leader may not have heard of a contact that a follower took."""
    return sum(after_effect(hurt) - hurt["t"] for hurt in run.hurts if hurt["t"] < until and after_effect(hurt) > since)


def check_deaths(run):
    """P7: a session that nobody keeps ends within its time-out and two ticks, and not before its time-out.

    Clocks of servers have no part in it. A write with a lower zxid than the end, asked for so late, says that the session
    was there too long; an answer with a zxid that is not lower, so early, that it was not there for long enough. After
    a change of leaders it begins again; what a fault delays counts from there; no time passes while all stands still.
    """
    closed = {record.session: record.zxid for record in run.committed if record.type == CLOSE_SESSION}
    begun = {}  # By epoch, when somebody was first answered in it.
    replies = sorted((call["reply"]["zxid"], call["reply"]["t"]) for call in run.calls.values() if call["reply"])
    for zxid, t in replies:
        begun[epoch(zxid)] = min(begun.get(epoch(zxid), t), t)
    earliest = list(itertools.accumulate(reversed([t for _, t in replies]), min))[::-1]
    writes = sorted(
        (call["fate"][0], call["t"]) for call in run.calls.values() if call["op"] in WRITES and call["fate"]
    )
    latest = list(itertools.accumulate((t for _, t in writes), max))
    answers = sorted(call["reply"]["t"] for call in run.answered(*WRITES))
    standstills = [(one, other) for one, other in zip(answers, answers[1:]) if other - one > STANDSTILL]

    for entry, timeout_ms in run.dead:
        session, died = entry["session"], entry["t"]
        end = closed.get(session, math.inf)
        at = bisect.bisect_left(replies, (end, 0))
        if at < len(replies):
            least = (timeout_ms - run.tick_ms) / 1000 - unknown(run, entry["heard"], earliest[at])
            if earliest[at] - entry["heard"] < least:
                run.fault(
                    "C6",
                    f"session {session:#x} of {timeout_ms} ms was over {earliest[at] - entry['heard']:.2f} s after a contact",
                )
        ticks = 2 * run.tick_ms / 1000
        since = [died]
        since += [after_effect(hurt) for hurt in run.hurts if hurt["t"] < died + ticks and after_effect(hurt) > died]
        since += [t for number, t in begun.items() if t > died and (end is math.inf or number <= epoch(end))]
        at = bisect.bisect_left(writes, (end, 0))
        if at == 0 or max(since) > latest[at - 1]:
            continue
        still = sum(max(0, min(to, latest[at - 1]) - max(start, max(since))) for start, to in standstills)
        lasted = latest[at - 1] - max(since) - still
        if lasted > timeout_ms / 1000 + ticks + SLACK:
            run.fault(
                "C6",
                f"session {session:#x} of {timeout_ms} ms was there {lasted:.2f} s after its client had died, {still:.2f} s of"
                f" standstill and what faults add left out",
            )


def check_lock(run):
    held = []
    for entries in run.clients.values():
        for entry in entries:
            if entry["e"] == "acquire":
                held.append((entry["zxid"], entry["path"]))
    for zxid, path in held:
        view = run.model.at(parent_of(path), zxid)
        name = path.rsplit("/", 1)[1]
        if view is None or name not in view.names or min(view.names) != name:
            run.fault(
                "C7",
                f"{path} was held at {zxid:#x}, when it was not the first: {sorted(view.names)[:3] if view else None}",
            )
    held.sort()
    for (_, path), (zxid, after) in zip(held, held[1:]):
        gone = next((at for at, kind in run.model.changes.get(path, ()) if kind == "deleted"), None)
        if gone is None or gone > zxid:
            run.fault("C7", f"{after} was held at {zxid:#x}, while {path} was there")
    check_fence(run, {path for _, path in held})


def check_fence(run, held):
    """Who paused for too long and is refused has done nothing wrong."""
    attempts = [entry for entries in run.clients.values() for entry in entries if entry["e"] == "fenced"]
    newest = 0
    for attempt in sorted(attempts, key=lambda attempt: attempt["turn"]):
        path, token = attempt["path"], attempt["token"]
        made = next((zxid for zxid, kind in run.model.changes.get(path, ()) if kind == "created"), None)
        if path not in held or token != made:
            run.fault("C7", f"the token {token:#x} of {path}, made at {made}, held or not: {path in held}")
        if attempt["accepted"] != (token >= newest):
            what = "accepted" if attempt["accepted"] else "refused"
            run.fault("C7", f"the token {token:#x} of {path} was {what} when {newest:#x} had been")
        if attempt["accepted"]:
            newest = max(newest, token)


def check_order(run):
    for call in run.calls.values():
        if call["reply"] and call["reply"]["xid"] != call["xid"]:
            run.fault(
                "C9",
                f"the answer to request {call['xid']} of session {call['session']:#x} has xid {call['reply']['xid']}",
            )


class Watch:
    """Asked for at a zxid from `low` to `high`. `again`: by setWatches, after a reconnect."""

    def __init__(self, path, kinds, low, high, again=None):
        self.path, self.kinds, self.low, self.high, self.again = path, kinds, low, high, again

    def firsts(self, model):
        """What could be the first change after it was asked for: pairs of zxid and kind."""
        changes = model.changes.get(self.path, [])
        changes = [
            change for change in changes[bisect.bisect_left(changes, (self.low + 1,)) :] if change[1] in self.kinds
        ]
        found = []
        for since in [self.low, *(zxid for zxid, _ in changes if self.low < zxid <= self.high)]:
            first = next((change for change in changes if change[0] > since), None)
            if first:
                # A multi may change one node several ways at one zxid.
                found += [change for change in changes if change[0] == first[0]]
        return found

    def due(self, model):
        """The zxid at which the event must have come, or None."""
        changes = model.changes.get(self.path, [])
        for at in range(bisect.bisect_left(changes, (self.high + 1,)), len(changes)):
            if changes[at][1] in self.kinds:
                return changes[at][0]
        return None


DATA, CHILD = ("created", "changed", "deleted"), ("children", "deleted")


def immediate(model, watch, zxid):
    """What setWatches answers at once at that zxid, or None if it only sets the watch (DataTree.setWatches)."""
    view = model.at(watch.path, zxid)
    if watch.again == "exists":
        return "created" if view else None
    if view is None:
        return "deleted"
    if watch.again == "list":
        return "children" if view.stat["pzxid"] > watch.low else None
    return "changed" if view.stat["mzxid"] > watch.low else None


def check_watches(run):
    for entries in run.clients.values():
        armed, lasting = [], Lasting(run.model.order)
        for entry in entries:
            if entry["e"] in ("open", "lost", "over"):
                armed, lasting = [], Lasting(run.model.order)
            elif entry["e"] == "call" and entry["op"] == "watches":
                armed = asked_again(run, run.calls[entry["id"]])
            elif entry["e"] == "event":
                if lasting.take(entry["zxid"], entry["type"], entry["path"]):
                    armed = [
                        watch for watch in armed if watch.path != entry["path"] or entry["type"] not in watch.kinds
                    ]
                else:
                    armed = fire(run, entry, armed)
            elif entry["e"] == "reply":
                call = run.calls[entry["id"]]
                overdue(run, entry, armed)
                overdue_of_lasting(run, call, lasting)
                arm(run, call, armed)
                arm_lasting(run, call, lasting)


def overdue_of_lasting(run, call, lasting):
    zxid = call["reply"]["zxid"]
    # A stranger may have removed the watch at an older zxid than it says.
    due = lasting.overdue(window(run, call)[0] if call["op"] == "unwatch" else zxid)
    if due:
        run.fault("C8", f"an answer of {zxid:#x} came before the event {due.kind} {due.path} of {due.zxid:#x}")


def arm_lasting(run, call, lasting):
    reply, arguments = call["reply"], call["args"]
    low, _ = window(run, call)
    if call["op"] == "addwatch" and reply["err"] == OK:
        lasting.add(arguments["path"], arguments["mode"], low, reply["zxid"])
    elif call["op"] == "watches":
        for kind, mode in (("persistent", PERSISTENT), ("recursive", RECURSIVE)):
            for path in arguments["paths"].get(kind, ()):
                lasting.add(path, mode, low, reply["zxid"])
    elif call["op"] == "unwatch" and lasting.remove(arguments["path"]) != (reply["err"] == OK):
        run.fault("C8", f"the removal of a watch on {arguments['path']} was answered with {reply['err']}")


def arm(run, call, armed):
    reply = call["reply"]
    if call["op"] == "watches":
        for watch in [watch for watch in armed if watch.again]:
            settle(run, watch, reply["zxid"], call["server"] in run.exact, armed)
    elif call["args"].get("watch"):
        watched = reply["err"] == OK or (call["op"] == "exists" and reply["err"] == NO_NODE)
        if watched:
            low, _ = window(run, call)
            kinds = CHILD if call["op"] == "list" else DATA
            path = call["args"]["path"]
            # Asked for twice, it is one watch, as old as the first.
            if not any(watch.path == path and watch.kinds == kinds for watch in armed):
                armed.append(Watch(path, kinds, low, reply["zxid"]))


def asked_again(run, call):
    since = call["args"]["zxid"]
    return [
        Watch(path, CHILD if kind == "list" else DATA, since, since, again=kind)
        for kind, paths in call["args"]["paths"].items()
        if kind in ("get", "exists", "list")
        for path in paths
    ]


def settle(run, watch, zxid, exact, armed):
    """setWatches is answered: a watch that gave no event is armed, if it may be."""
    zxids = (
        [zxid]
        if exact
        else [watch.low, *(at for at, _ in run.model.versions.get(watch.path, ()) if watch.low < at <= zxid)]
    )
    if all(immediate(run.model, watch, at) for at in zxids):
        run.fault(
            "C8",
            f"setWatches at {zxid:#x} told nothing of {watch.path}, {immediate(run.model, watch, zxids[-1])} since {watch.low:#x}",
        )
        armed.remove(watch)
        return
    watch.low, watch.high, watch.again = (zxid if exact else watch.low), zxid, None


def fire(run, event, armed):
    """The watches that are left after an event."""
    kind, path = event["type"], event["path"]
    meant = [watch for watch in armed if watch.path == path and kind in watch.kinds]
    if not meant:
        run.fault("C8", f"an event nobody asked for: {kind} {path}")
        return armed
    again = [watch for watch in meant if watch.again]
    if again:
        # One list after the other gives its events.
        watch = again[0]
        views = [watch.low, *(at for at, _ in run.model.versions.get(path, ()) if at > watch.low)]
        if kind not in [immediate(run.model, watch, at) for at in views]:
            run.fault("C8", f"setWatches told {kind} of {path}, which was never so after {watch.low:#x}")
        return [other for other in armed if other is not watch]
    if not any(
        kind == what and event["zxid"] in (-1, zxid) for watch in meant for zxid, what in watch.firsts(run.model)
    ):
        firsts = [f"{what} at {zxid:#x}" for watch in meant for zxid, what in watch.firsts(run.model)]
        run.fault("C8", f"event {kind} {path} at {event['zxid']:#x}; what came first is {firsts}")
    return [watch for watch in armed if watch not in meant]


def overdue(run, reply, armed):
    for watch in armed:
        if not watch.again:
            due = watch.due(run.model)
            if due is not None and due <= reply["zxid"]:
                run.fault("C8", f"an answer of {reply['zxid']:#x} came before the event of {due:#x} on {watch.path}")
                armed.remove(watch)
                return
