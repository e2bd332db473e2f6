"""The logs of servers after a run: which transactions there were, and which of them count.

A record says who asked for what (session and number of the request), when, and which zxid it got. That is all the checker
takes from a server's disk: what a transaction *did* it works out by itself, from the requests that clients recorded.
"""

import collections
import contextlib
import math
import re
import shutil
import struct
import subprocess
import threading
import time
import zlib

from server import ringkeeper_binary

CREATE_SESSION, CLOSE_SESSION, ERROR = -10, -11, -1

# `digest` is the tree's after the transaction, unsigned, where the log has it.
Record = collections.namedtuple("Record", "zxid session cxid time type digest")


def epoch(zxid):
    return zxid >> 32


def read_stock(data_folder):
    """Stock's log files in order (FileTxnLog): 16 bytes of header, then checksum, length, transaction, `B`."""
    records = []
    files = [path for path in (data_folder / "version-2").glob("log.*")]
    for path in sorted(files, key=lambda path: int(path.name.removeprefix("log."), 16)):
        data, at = path.read_bytes(), 16
        while at + 12 <= len(data):
            checksum, length = struct.unpack_from(">qi", data, at)
            payload = data[at + 12 : at + 12 + length]
            # A tail that was not written to its end reads as zeros.
            if length <= 0 or data[at + 12 + length : at + 13 + length] != b"B":
                break
            if zlib.adler32(payload) != checksum:
                raise AssertionError(f"{path.name}: a damaged record at {at}")
            records.append(stock_record(payload))
            at += 13 + length
    return records


def stock_record(payload):
    session, cxid, zxid, time, kind = struct.unpack_from(">qiqqi", payload)
    digest = None
    # TxnDigest: a version, which is 2, and the sum. An error has none.
    if kind != ERROR and len(payload) >= 32 + 12:
        version, found = struct.unpack_from(">iQ", payload, len(payload) - 12)
        digest = found if version == 2 else None
    return Record(zxid, session, cxid, time, kind, digest)


_BATCH = re.compile(r"^ *\d+  (batch|seal |cut  )  zxids 0x[0-9a-f]+ to 0x([0-9a-f]+) ")
_RECORD = re.compile(r"^ +0x([0-9a-f]+)  \S+ \((-?\d+)\)  session 0x([0-9a-f]+)  cxid (-?\d+)  time (\d+)")


class Keeper(threading.Thread):
    """Copies the segments of our servers' logs: once later snapshots have been read back, they are used again."""

    # What was not written to for so long is probably full, or prepared for later. If not, it is copied again. s
    AT_REST = 0.2

    def __init__(self, members, folder):
        super().__init__(daemon=True)
        self.members, self.folder = [member for member in members if member.called == "ours"], folder
        self.copied = {}  # copy -> when the original had last been written to
        self.over = threading.Event()

    def of(self, member):
        """Where copies of its segments are."""
        return self.folder / f"{member.sid}"

    def run(self):
        while not self.over.wait(0.05):
            self.copy(time.time() - self.AT_REST)

    def copy(self, before):
        """All that were last written to before that moment."""
        for member in self.members:
            self.of(member).mkdir(parents=True, exist_ok=True)
            for segment in member.data_folder.rglob("wal-*.seg"):
                copy = self.of(member) / segment.name
                # A segment loses its name before it is used again.
                with contextlib.suppress(FileNotFoundError):
                    written = segment.stat().st_mtime_ns
                    if written < before * 10**9 and written != self.copied.get(copy):
                        shutil.copyfile(segment, copy.with_suffix(".part"))
                        if segment.stat().st_mtime_ns == written:
                            copy.with_suffix(".part").rename(copy)
                            self.copied[copy] = written

    def finish(self):
        """When the servers have stopped."""
        self.over.set()
        self.join()
        self.copy(math.inf)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def read_ours(data_folder):
    """What `inspect wal` says of the log segments, in order."""
    files = sorted(str(path) for path in data_folder.rglob("wal-*.seg"))
    said = subprocess.run([ringkeeper_binary(), "inspect", "wal", *files], capture_output=True, text=True, check=True)
    return parse_ours(said.stdout)


def parse_ours(text):
    records = []
    for line in text.splitlines():
        if match := _RECORD.match(line):
            zxid, kind, session, cxid, time = match.groups()
            session = int(session, 16)
            session -= 2**64 if session >= 2**63 else 0
            records.append(Record(int(zxid, 16), session, int(cxid), int(time), int(kind), None))
        elif (match := _BATCH.match(line)) and match[1] == "cut  ":
            # What was after it had never been committed.
            keeps = int(match[2], 16)
            records = [record for record in records if record.zxid <= keeps]
    return records


def read(member, keeper=None):
    if member.called != "ours":
        return read_stock(member.data_folder)
    return read_ours(keeper.of(member) if keeper else member.data_folder)


def merge(logs, seen):
    """The committed history out of the logs by server, and what is wrong with them.

    `seen` are zxids that clients were told. A log may be without a part that came as a snapshot, and may end one of its epochs
    with records that were never committed; stock leaves those where they are when a snapshot comes. So a record that another
    log passes over counts if a client has seen it or a later one of its epoch, or if most logs have it: no leader can have
    been elected without it then.
    """
    faults, union, holders = [], {}, collections.defaultdict(set)
    passed_over = []  # (after, before): pairs of neighbours in a log
    for sid, records in logs.items():
        last = None
        for record in records:
            known = union.setdefault(record.zxid, record)
            if known[:5] != record[:5]:
                faults.append(f"zxid {record.zxid:#x} is {record} on server {sid}, {known} elsewhere")
            elif known.digest is None:
                union[record.zxid] = record
            elif record.digest not in (None, known.digest):
                faults.append(
                    f"zxid {record.zxid:#x} has digest {record.digest} on server {sid}, {known.digest} elsewhere"
                )
            holders[record.zxid].add(sid)
            if last is not None and record.zxid != last + 1:
                passed_over.append((last, record.zxid))
            last = record.zxid
    newest_seen = {}
    for zxid in seen:
        newest_seen[epoch(zxid)] = max(newest_seen.get(epoch(zxid), 0), zxid)
    committed = []
    for zxid in sorted(union):
        doubtful = any(after < zxid < before for after, before in passed_over)
        if not doubtful or zxid <= newest_seen.get(epoch(zxid), 0) or len(holders[zxid]) > len(logs) // 2:
            committed.append(union[zxid])
    expected = None
    for record in committed:
        if expected is not None and record.zxid != expected and record.zxid != (epoch(record.zxid) << 32) + 1:
            faults.append(f"zxid {record.zxid:#x} after {expected - 1:#x}: between them something is lost")
        expected = record.zxid + 1
    return committed, faults
