"""The persistent and recursive watches of one connection, for C8: every change that they cover is told, once, in order.

A watch of several that cover a change makes no second event of it. Changes up to the zxid at which a watch was certainly
there (`high`) but after the one at which it certainly was not yet (`low`) may be told or not.
"""

import bisect

PERSISTENT, RECURSIVE = 0, 1


class Watch:
    def __init__(self, path, mode, low, high):
        self.path, self.mode, self.low, self.high = path, mode, low, high

    def covers(self, change):
        """A recursive one hears of all that happens to its node and to those below, and not that children have changed."""
        if self.mode == PERSISTENT:
            return change.path == self.path
        return change.kind != "children" and f"{change.path}/".startswith(f"{self.path.rstrip('/')}/")


class Lasting:
    """`at` is the place, among all changes of the model, of the first that was not told yet."""

    def __init__(self, changes):
        self.changes, self.watches = changes, {}
        self.at, self.told = 0, set()

    def add(self, path, mode, low, high):
        if not self.watches:
            self.at = bisect.bisect_left(self.changes, (low + 1,))
            self.told = set()
        # Asked for twice, it is one watch, as old as the first.
        self.watches.setdefault(path, Watch(path, mode, low, high))

    def remove(self, path):
        """Whether there was one."""
        return self.watches.pop(path, None) is not None

    def may_be_told(self, change):
        return any(watch.covers(change) and change.zxid > watch.low for watch in self.watches.values())

    def must_be_told(self, change):
        return any(watch.covers(change) and change.zxid > watch.high for watch in self.watches.values())

    def take(self, zxid, kind, path):
        """Whether this event is one that these watches give now: none that had to come before it is left out. The
        changes of one step come in any order; only the end of a session has several."""
        due = None
        for at in range(self.at, len(self.changes) if self.watches else 0):
            change = self.changes[at]
            if (due is not None and change.step != due) or -1 < zxid < change.zxid:
                return False
            if at in self.told or not self.may_be_told(change):
                continue
            if (change.kind, change.path) == (kind, path) and zxid in (-1, change.zxid):
                self.told.add(at)
                while self.changes[self.at].step != change.step:
                    self.at += 1
                return True
            if self.must_be_told(change):
                due = change.step
        return False

    def overdue(self, zxid):
        """The first change up to this zxid that was to be told and was not. All up to it are past then."""
        missed = None
        if not self.watches:
            return missed
        while self.at < len(self.changes) and self.changes[self.at].zxid <= zxid:
            change = self.changes[self.at]
            if missed is None and self.at not in self.told and self.must_be_told(change):
                missed = change
            self.told.discard(self.at)
            self.at += 1
        return missed
