"""The tree and the sessions that a sequence of requests makes, one zxid after the other: what the servers must have done.

Written from what ZooKeeper promises its clients (PrepRequestProcessor, DataTree.processTxn), not from ringkeeper's code:
a checker that shares the server's code shares its mistakes.
"""

import bisect
import collections
import struct
import zlib

OK, NO_NODE, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS, NOT_EMPTY = 0, -101, -103, -108, -110, -111
RUNTIME_INCONSISTENCY = -2
OWN = "/zookeeper/"

# `step` numbers the operations: a create changes two nodes, the end of a session as many as it likes.
Change = collections.namedtuple("Change", "zxid kind path step")


class Node:
    """What DataNode keeps. `changes` counts created children; clients are told another number, see `stat`."""

    def __init__(self, data, zxid, time, owner):
        self.data = data
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime = self.mtime = time
        self.version = self.changes = self.aversion = 0
        self.owner = owner
        self.children = set()
        self.comings = []  # Of children: (name, whether it came or went), as they happened.

    def come(self, name):
        self.children.add(name)
        self.comings.append((name, True))

    def go(self, name):
        self.children.discard(name)
        self.comings.append((name, False))

    def stat(self):
        return {
            "czxid": self.czxid,
            "mzxid": self.mzxid,
            "ctime": self.ctime,
            "mtime": self.mtime,
            "version": self.version,
            "cversion": 2 * self.changes - len(self.children),
            "aversion": self.aversion,
            "ephemeral_owner": self.owner,
            "data_length": len(self.data),
            "children": len(self.children),
            "pzxid": self.pzxid,
        }

    def digest(self, path):
        """DigestCalculator.calculateDigest."""
        numbers = (self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime)
        fields = struct.pack(">qqqqqiiiq", *numbers, self.version, self.changes, self.aversion, self.owner)
        return zlib.crc32(("" if path == "/" else path).encode() + self.data.encode() + fields)


class View:
    """A node as a client would have read it at some zxid."""

    __slots__ = ("_comings", "_count", "_names", "data", "stat")

    # A View is kept of every change, and copies of long lists of children would need the square of their number.
    KEPT_NAMES_MAX = 64

    def __init__(self, node):
        self.data, self.stat = node.data, node.stat()
        self._names = frozenset(node.children) if len(node.children) <= self.KEPT_NAMES_MAX else None
        self._comings, self._count = node.comings, len(node.comings)

    @property
    def names(self):
        if self._names is not None:
            return self._names
        names = set()
        for name, came in self._comings[: self._count]:
            (names.add if came else names.discard)(name)
        return names


def parent_of(path):
    return path.rsplit("/", 1)[0] or "/"


class Model:
    """Begins as an empty ensemble does. `versions` holds every View that each path ever had, by zxid."""

    def __init__(self):
        self.nodes = {"/": Node("", 0, 0, 0), "/zookeeper": Node("", 0, 0, 0)}
        self.nodes["/"].come("zookeeper")
        self.digest = sum(node.digest(path) for path, node in self.nodes.items())
        self.versions = {path: [(0, View(node))] for path, node in self.nodes.items()}
        self.changes = {}  # path -> [(zxid, "created" | "changed" | "deleted" | "children")]
        self.order = []  # Every Change, as they happened; those of one multi in the order of its operations.
        self.steps = 0
        self.open = set()
        self.ephemerals = {}  # session -> paths
        self.zxid = 0

    # Each of these checks what can fail, as the leader does, and returns (error, result); nothing has changed on an error.

    def create(self, zxid, time, session, path, data, flags):
        parent = self.nodes.get(parent_of(path))
        if parent is None:
            return NO_NODE, None
        if flags & 2:
            path += f"{parent.changes:010d}"
        if path in self.nodes:
            return NODE_EXISTS, None
        if parent.owner:
            return NO_CHILDREN_FOR_EPHEMERALS, None
        self._touch(parent_of(path), path)
        node = self.nodes[path] = Node(data, zxid, time, session if flags & 1 else 0)
        parent.come(path.rsplit("/", 1)[1])
        parent.changes += 1
        parent.pzxid = zxid
        if flags & 1:
            self.ephemerals.setdefault(session, set()).add(path)
        self._touched(zxid, {path: "created", parent_of(path): "children"})
        return OK, {"path": path, "stat": node.stat()}

    def delete(self, zxid, path, version):
        node = self.nodes.get(path)
        if node is None:
            return NO_NODE, None
        if version not in (-1, node.version):
            return BAD_VERSION, None
        if node.children:
            return NOT_EMPTY, None
        self._remove(zxid, path)
        return OK, {}

    def set_data(self, zxid, time, path, data, version):
        node = self.nodes.get(path)
        if node is None:
            return NO_NODE, None
        if version not in (-1, node.version):
            return BAD_VERSION, None
        self._touch(path)
        node.data, node.mzxid, node.mtime = data, zxid, time
        node.version += 1
        self._touched(zxid, {path: "changed"})
        return OK, {"stat": node.stat()}

    def check(self, path, version):
        node = self.nodes.get(path)
        if node is None:
            return NO_NODE, None
        return (OK, {}) if version in (-1, node.version) else (BAD_VERSION, None)

    def multi(self, zxid, time, session, operations):
        saved = self.save(operations)
        results = []
        for operation in operations:
            error, result = self.write(zxid, time, session, *operation)
            if error:
                self.restore(saved)
                before = [{"err": OK}] * len(results)
                after = [{"err": RUNTIME_INCONSISTENCY}] * (len(operations) - len(results) - 1)
                return error, {"results": [*before, {"err": error}, *after]}
            # Inside a multi a create says its path alone.
            results.append({"path": result["path"]} if operation[0] == "create" else result)
        return OK, {"results": results}

    def write(self, zxid, time, session, op, arguments):
        """A request that changes something: `arguments` as recorded."""
        if op == "create":
            return self.create(zxid, time, session, arguments["path"], arguments["data"], arguments["flags"])
        if op == "delete":
            return self.delete(zxid, arguments["path"], arguments["version"])
        if op == "set":
            return self.set_data(zxid, time, arguments["path"], arguments["data"], arguments["version"])
        if op == "check":
            return self.check(arguments["path"], arguments["version"])
        if op == "multi":
            return self.multi(zxid, time, session, arguments["operations"])
        raise ValueError(op)

    def open_session(self, session):
        self.open.add(session)

    def close_session(self, zxid, session):
        self.open.discard(session)
        step = self.steps
        for path in sorted(self.ephemerals.pop(session, ())):
            self.steps = step
            self._remove(zxid, path)

    def _remove(self, zxid, path):
        parent = self.nodes[parent_of(path)]
        self._touch(parent_of(path), path)
        node = self.nodes.pop(path)
        parent.go(path.rsplit("/", 1)[1])
        parent.pzxid = max(parent.pzxid, zxid)
        if node.owner:
            self.ephemerals.get(node.owner, set()).discard(path)
        self._touched(zxid, {path: "deleted", parent_of(path): "children"})

    def _touch(self, *paths):
        """Before a change: takes these nodes out of the digest."""
        self.digest -= sum(self.nodes[path].digest(path) for path in paths if path in self.nodes)

    def _touched(self, zxid, kinds):
        self.steps += 1
        for path, kind in kinds.items():
            node = self.nodes.get(path)
            self.digest += node.digest(path) if node else 0
            versions = self.versions.setdefault(path, [])
            if versions and versions[-1][0] == zxid:
                # Several changes of one transaction are one.
                versions.pop()
            versions.append((zxid, View(node) if node else None))
            self.changes.setdefault(path, []).append((zxid, kind))
            self.order.append(Change(zxid, kind, path, self.steps))

    def save(self, operations):
        """What a failing multi must give back: the nodes that it names, and their parents. (None of it is sequential.)"""
        named = [arguments["path"] for _, arguments in operations]
        nodes = {}
        for path in {*named, *map(parent_of, named)}:
            node = self.nodes.get(path)
            fields = node and dict(vars(node), children=set(node.children), comings=list(node.comings))
            nodes[path] = (node, fields, list(self.versions.get(path, ())), list(self.changes.get(path, ())))
        ephemerals = {session: set(paths) for session, paths in self.ephemerals.items()}
        return nodes, ephemerals, self.digest, len(self.order)

    def restore(self, saved):
        nodes, self.ephemerals, self.digest, changes = saved
        del self.order[changes:]
        for path, (node, fields, versions, changes) in nodes.items():
            self.nodes.pop(path, None)
            if node is not None:
                vars(node).update(fields)
                self.nodes[path] = node
            self.versions[path], self.changes[path] = versions, changes

    def at(self, path, zxid):
        """The View of a path after that zxid, or None."""
        versions = self.versions.get(path, ())
        at = bisect.bisect_left(versions, (zxid + 1,))
        return versions[at - 1][1] if at else None

    def between(self, path, low, high):
        """Every View that a path had at some zxid from `low` to `high`."""
        versions = self.versions.get(path, ())
        first, last = (bisect.bisect_left(versions, (zxid + 1,)) for zxid in (low, high))
        return [self.at(path, low)] + [view for _, view in versions[first:last]]
