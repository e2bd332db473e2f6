"""Whether the operations on one znode can be put in an order that explains their answers (Wing and Gong's search, with Lowe's
memory). Knows nothing of zxids.

Each znode is checked by itself: a history is linearizable if the part of every object is.
"""

import collections
import math

from model import BAD_VERSION, NO_NODE, NODE_EXISTS, OK

# An operation with when it was asked, when it was answered (never: infinity), and what came back.
Operation = collections.namedtuple("Operation", "asked answered op data version error seen")


def registers(calls, with_reads):
    """The operations on each znode that is written: creates, sets, deletes, sets inside multis, and reads that follow a
    sync where those are to be linearizable. Unanswered requests count if the log says that they happened, and then at any
    time after they were asked."""
    found = collections.defaultdict(list)
    synced = None  # The sync that the call before was.
    for call in sorted(calls, key=lambda call: (call["c"], call["id"])):
        op, arguments, reply = call["op"], call["args"], call["reply"]
        previous, synced = synced, call if op == "sync" else None
        answered = reply["t"] if reply else math.inf
        error = reply["err"] if reply else None
        if reply is None and (call["fate"] is None or call["fate"][1] != OK):
            continue
        if op == "get" and reply and previous and previous["c"] == call["c"] and previous["session"] == call["session"]:
            if with_reads and previous["reply"] and previous["reply"]["err"] == OK and error in (OK, NO_NODE):
                result = reply["result"]
                seen = (result["data"], result["stat"]["version"]) if error == OK else None
                found[arguments["path"]].append(Operation(previous["t"], answered, "get", None, None, error, seen))
        elif op == "multi":
            results = reply["result"]["results"] if reply and reply["result"] else None
            if results and any("err" in result for result in results):
                continue
            for place, (inner, of) in enumerate(arguments["operations"]):
                if inner == "set" and (results or reply is None):
                    seen = results[place]["stat"]["version"] if results else None
                    found[of["path"]].append(
                        Operation(call["t"], answered, "set", of["data"], of["version"], OK if results else None, seen)
                    )
        elif op in ("create", "set", "delete") and not (op == "create" and arguments["flags"]):
            if error not in (None, OK, NO_NODE, NODE_EXISTS, BAD_VERSION):
                continue
            seen = reply["result"]["stat"]["version"] if reply and op == "set" and error == OK else None
            found[arguments["path"]].append(
                Operation(call["t"], answered, op, arguments.get("data"), arguments.get("version"), error, seen)
            )
    # What is never written has nothing to explain, and what is an ephemeral ends without an operation.
    return {path: operations for path, operations in found.items() if any(one.op == "set" for one in operations)}


def first(operations, count):
    """So many, by the time when they were asked; what was answered later than that counts as unanswered."""
    operations = sorted(operations)
    if len(operations) <= count:
        return operations
    end = operations[count].asked
    return [one if one.answered < end else one._replace(answered=math.inf) for one in operations[:count]]


def after(state, one):
    """The states that an operation may leave of a register, (data, version) or None where there is no znode; empty when its
    answer is impossible. One without an answer had no error, for the log says so."""
    if one.op == "get":
        return [state] if state == one.seen else []
    if one.op == "create":
        if state is not None:
            return [state] if one.error == NODE_EXISTS else []
        return [(one.data, 0)] if one.error in (OK, None) else []
    if state is None:
        return [None] if one.error == NO_NODE else []
    if one.version not in (-1, state[1]):
        return [state] if one.error == BAD_VERSION else []
    if one.error not in (OK, None):
        return []
    if one.op == "delete":
        return [None]
    version = state[1] + 1
    return [(one.data, version)] if one.seen in (None, version) else []


def is_linearizable(operations):
    """Depth first, remembering what was tried. Unanswered operations may be left out, or come at any time."""
    operations = sorted(operations)
    must = sum(1 << at for at, one in enumerate(operations) if one.answered != math.inf)
    stack, tried = [(0, None)], set()
    while stack:
        done, state = stack.pop()
        if done & must == must:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        earliest = math.inf
        for at, one in enumerate(operations):
            if one.asked > earliest:
                break
            if not done >> at & 1:
                earliest = min(earliest, one.answered)
        for at, one in enumerate(operations):
            if one.asked > earliest:
                break
            if not done >> at & 1:
                stack += [(done | 1 << at, next_state) for next_state in after(state, one)]
    return False
