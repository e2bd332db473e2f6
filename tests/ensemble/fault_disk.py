"""A disk that a test slows down, stalls, breaks and cuts the power of, below a real file system.

    disk = FaultDisk(folder, mount_point, megabytes=96)
    disk.fail("flush", 1, after=b"marker")

    server ── ext4 ── loop device ── a file over FUSE ── this program ── an image without a name

So what a server writes with O_DIRECT and flushes with RWF_DSYNC reaches this program block by block, as it would reach the
firmware of a disk with a volatile write cache. Interposed libc calls would not see any of it: the server's input and
output leave through io_uring.

The kernel's side of FUSE is spoken here, over /dev/fuse (linux/fuse.h): the mounted file system is a single file, for
which seven kinds of requests are enough. A disk is a process of its own, and commands reach it on its standard input, a
line of JSON each; a line of JSON answers. Its end, or its parent's, is the end of the disk: whatever waits for it gets
an error.

Mounts live in a mount namespace, and everybody in it in a process namespace (`FaultDisk.command`). When the process that
was started through it dies, whoever killed it, the kernel kills the rest, and mounts, loop devices and images are gone.
"""

import errno
import heapq
import itertools
import json
import os
import pathlib
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time

# What can be told apart on a disk.
KINDS = ("read", "write", "flush")
# The unit that is written whole or not at all; the loop device promises its users no more.
SECTOR = 512

# How long something is waited for that must happen. Never part of a verdict on how fast it was.
PATIENCE = 120.0


class FaultDisk:
    """A disk, formatted and mounted. To be made inside `FaultDisk.command()`."""

    @staticmethod
    def command():
        """What a process must be started through. It dies with its parent, and everything that it starts with it."""
        namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        return ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--"]

    @staticmethod
    def problem():
        """Why there can be no such disks here, or None."""
        for tool in ("setpriv", "unshare", "mount", "umount", "losetup", "mkfs.ext4"):
            if not shutil.which(tool):
                return f"no {tool}"
        if os.geteuid() != 0:
            return "not root"
        probe = subprocess.run([*FaultDisk.command(), sys.executable, __file__, "probe"], capture_output=True, text=True)
        return None if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["no reason given"])[-1]

    def __init__(self, folder, mount_point, megabytes=96):
        self.mount_point = pathlib.Path(mount_point)
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.mount_point.mkdir(parents=True, exist_ok=True)
        self.file = folder / "disk"
        self.file.touch()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(self.file), str(megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._answer()
            device = self._attach()
            # Nothing is left for a kernel thread to write later, so that every write has a cause in the test.
            options = ("lazy_itable_init=0", "lazy_journal_init=0", "nodiscard")
            run("mkfs.ext4", "-q", "-b", "4096", "-m", "0", "-E", ",".join(options), device)
            run("losetup", "--detach", device)
            self.mount()
        except BaseException:
            self.process.kill()
            raise

    def _attach(self):
        return run("losetup", "--find", "--show", "--direct-io=on", str(self.file)).strip()

    def mount(self):
        device = self._attach()
        try:
            run("mount", "-t", "ext4", "-o", "nodiscard", device, str(self.mount_point))
        finally:
            # While it is mounted this says: once it is not.
            run("losetup", "--detach", device)

    def unmount(self):
        """Nobody may have a file open there. On a disk that fails, what was not written yet is lost, as it must be."""
        # The kernel lets go of what was on a dead process's ring a moment after the process is gone.
        deadline = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(["umount", str(self.mount_point)], capture_output=True, text=True)
            if done.returncode == 0:
                return
            if "busy" not in done.stderr or time.monotonic() > deadline:
                raise RuntimeError(f"umount {self.mount_point}: {done.stderr.strip()}")
            time.sleep(0.02)

    def remount(self):
        """What an operator does after an error: ext4 writes no more once its journal has met one, and replays it here."""
        self.unmount()
        self.mount()

    def delay(self, **milliseconds):
        """`delay(write=1, flush=20)`: answers come so much later; 0 again without delay."""
        self.tell("delay", milliseconds=milliseconds)

    def fail(self, kind, count=1, after=None, holding=None):
        """The next `count` of this kind get EIO: from now on, from the first write on that holds the bytes `after`, or only
        those that hold the bytes `holding` themselves. What a failed flush should have kept may be lost in any part."""
        text = {"after": after, "holding": holding}
        self.tell("fail", kind=kind, count=count, **{key: value.hex() for key, value in text.items() if value})

    def stall(self, *kinds):
        """These kinds, all unless said, are answered by nobody until `resume`."""
        self.tell("stall", kinds=kinds or KINDS)

    def resume(self):
        """Nothing is wrong with it any more: who waited is answered, and failures that have not happened will not."""
        self.tell("resume")

    def lose_power(self, seed):
        """What was not flushed is kept or lost, sector by sector, as `seed` decides; nobody is answered from here on."""
        return self.tell("lose_power", seed=seed)

    def go_away(self):
        """After `lose_power`: everybody who waits, and whoever comes, gets an error, so that processes can end."""
        self.tell("go_away")

    def status(self):
        """`held`, how many wait of each kind; `done` and `failed`, how many there were; `unflushed` sectors."""
        return self.tell("status")

    def history(self):
        """(kind, begin, end, bytes) of what was answered since the last call; seconds of CLOCK_MONOTONIC."""
        return [tuple(entry) for entry in self.tell("history")["entries"]]

    def tell(self, command, **arguments):
        self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the disk at {self.mount_point} ended with {self.process.wait()}")
        return json.loads(line)

    def close(self):
        """Unmounts, and ends the process. Works on a disk in any state; processes that have files there must be gone."""
        self.resume()
        for mounted in (self.mount_point, self.file):
            subprocess.run(["umount", "--lazy", str(mounted)], stderr=subprocess.DEVNULL)
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Image:
    """What a disk holds: what a reader sees, and what would be left of it if the power went now."""

    def __init__(self, folder, size):
        # Without a name: gone with the process, however that ends.
        self.file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self.file.truncate(size)
        self.fd, self.size = self.file.fileno(), size
        # Of each sector that was written and not flushed, all that it has held since it was last safe. A generation for
        # each flush that is on its way, oldest first, and one for what no flush covers yet.
        self.generations = [{}]

    def read(self, offset, size):
        return os.pread(self.fd, size, offset)

    def write(self, offset, data):
        before = os.pread(self.fd, len(data), offset)
        newest = self.generations[-1]
        for at in range(0, len(data), SECTOR):
            newest.setdefault(offset + at, []).append(before[at : at + SECTOR])
        os.pwrite(self.fd, data, offset)

    def begin_flush(self):
        """What was written until now is what the flush must make safe."""
        covered = self.generations[-1]
        self.generations.append({})
        return covered

    def end_flush(self, covered):
        """Whatever was written before is safe as well."""
        at = next((at for at, generation in enumerate(self.generations) if generation is covered), None)
        # A later flush may have ended first.
        if at is not None:
            del self.generations[: at + 1]

    def unflushed(self):
        return sum(map(len, self.generations))

    def lose(self, chance):
        """Leaves each unflushed sector with any of what it has held."""
        versions = {}
        for generation in self.generations:
            for sector, held in generation.items():
                versions.setdefault(sector, []).extend(held)
        lost = 0
        for sector in sorted(versions):
            held = versions[sector]
            kept = chance.randrange(len(held) + 1)
            if kept < len(held):
                os.pwrite(self.fd, held[kept], sector)
                lost += 1
        self.generations = [{}]
        return lost


# Of linux/fuse.h.
GETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH = 3, 14, 15, 16, 17, 18, 20, 25
INIT, FORGET, INTERRUPT, DESTROY, BATCH_FORGET = 26, 2, 36, 38, 42
NO_ANSWER = (FORGET, INTERRUPT, BATCH_FORGET)
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
MAX_WRITE = 1 << 17
MAX_PAGES_FLAG, DIRECT_IO = 1 << 22, 1
KIND_OF = {READ: "read", WRITE: "write", FSYNC: "flush"}
REGULAR = 0o100600


class Waiting:
    """A request of one of the KINDS that was not answered yet."""

    def __init__(self, kind, unique, begun, size):
        self.kind, self.unique, self.begun, self.size = kind, unique, begun, size
        self.error, self.reply, self.covered = 0, b"", None


class Service:
    """Answers the kernel, and whoever started it. One thread, which waits for nothing but a `select`."""

    def __init__(self, path, megabytes):
        self.image = Image(path.parent, megabytes << 20)
        self.fuse = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
        # The root of the file system is the file.
        options = f"fd={self.fuse},rootmode={REGULAR:o},user_id=0,group_id=0"
        mount = ["mount", "--internal-only", "-t", "fuse", "-o", options, "fault_disk", str(path)]
        # The kernel asks FUSE_INIT while it mounts, and waits for no answer.
        subprocess.run(mount, pass_fds=[self.fuse], check=True)
        self.delays = dict.fromkeys(KINDS, 0.0)
        self.failing = []  # {kind, count, after, holding}
        self.stalled = set()
        self.gone = False
        self.held = []  # Waiting, in their order
        self.later = []  # a heap of (when, number, Waiting)
        self.numbers = itertools.count()
        self.done, self.failed = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
        self.entries = []

    def run(self):
        commands = b""
        while True:
            patience = max(0.0, self.later[0][0] - time.monotonic()) if self.later else None
            ready = select.select([self.fuse, sys.stdin], [], [], patience)[0]
            while self.later and self.later[0][0] <= time.monotonic():
                self.finish(heapq.heappop(self.later)[2])
            if self.fuse in ready and not self.take():
                return
            if sys.stdin in ready:
                chunk = os.read(sys.stdin.fileno(), 65536)
                if not chunk:
                    return
                *lines, commands = (commands + chunk).split(b"\n")
                for line in lines:
                    arguments = json.loads(line)
                    answer = getattr(self, f"do_{arguments.pop('command')}")(**arguments)
                    print(json.dumps(answer or {}), flush=True)

    # From the kernel.

    def take(self):
        """One request. False when the file system is no more."""
        try:
            request = os.read(self.fuse, MAX_WRITE + 4096)
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                return True  # ENOENT: the one who asked has been interrupted.
            return False
        _, opcode, unique, *_ = IN_HEADER.unpack_from(request)
        body = memoryview(request)[IN_HEADER.size :]
        if opcode in KIND_OF:
            self.admit(KIND_OF[opcode], unique, body)
        elif opcode not in NO_ANSWER:
            self.answer(unique, *self.housekeeping(opcode, body))
        return True

    def housekeeping(self, opcode, body):
        """Error and reply to what is no block's."""
        if opcode == INIT:
            major, minor, readahead, flags = struct.unpack_from("<IIII", body)
            pages = MAX_WRITE // 4096
            offered = flags & MAX_PAGES_FLAG
            reply = struct.pack("<IIIIHHIIHHI28x", 7, min(minor, 38), readahead, offered, 64, 48, MAX_WRITE, 1, pages, 0, 0)
            return 0, reply
        if opcode == GETATTR:
            size = self.image.size
            attributes = struct.pack("<QQQQQQIIIIIIIIII", 1, size, size // SECTOR, 0, 0, 0, 0, 0, 0, REGULAR, 1, 0, 0, 0, 4096, 0)
            return 0, struct.pack("<QII", 3600, 0, 0) + attributes
        if opcode == OPEN:
            # Past the page cache, which would answer for the disk.
            return 0, struct.pack("<QII", 0, DIRECT_IO, 0)
        if opcode in (FLUSH, RELEASE, DESTROY):
            return 0, b""
        return errno.ENOSYS, b""

    def admit(self, kind, unique, body):
        """Takes effect now; is answered when delays and stalls allow it."""
        offset, size = (0, 0) if kind == "flush" else struct.unpack_from("<QI", body, 8)
        waiting = Waiting(kind, unique, time.monotonic(), size)
        data = bytes(body[40 : 40 + size]) if kind == "write" else None
        if kind == "write":
            self.arm(data)
        elif kind == "read":
            data = self.image.read(offset, size)
        if self.gone or self.fails(kind, data):
            waiting.error = errno.EIO
            if kind == "flush":
                self.image.lose(random.Random(unique))
        elif kind == "read":
            waiting.reply = data
        elif kind == "write":
            self.image.write(offset, data)
            waiting.reply = struct.pack("<II", size, 0)
        else:
            waiting.covered = self.image.begin_flush()
            if not waiting.covered and not self.image.unflushed():
                # Nothing to do, and nothing that could take its time.
                return self.finish(waiting, at_once=True)
        self.wait(waiting)

    def arm(self, data):
        for failing in self.failing:
            if failing["after"] and failing["after"] in data:
                failing["after"] = None

    def fails(self, kind, data):
        for failing in self.failing:
            if failing["kind"] != kind or failing["after"] or failing["count"] == 0:
                continue
            if failing["holding"] and failing["holding"] not in data:
                continue
            failing["count"] -= 1
            return True
        return False

    def wait(self, waiting):
        if waiting.kind in self.stalled and not self.gone:
            self.held.append(waiting)
        elif self.delays[waiting.kind] and not self.gone:
            heapq.heappush(self.later, (waiting.begun + self.delays[waiting.kind], next(self.numbers), waiting))
        else:
            self.finish(waiting)

    def finish(self, waiting, at_once=False):
        # A stall holds up what was already under way.
        if waiting.kind in self.stalled and not self.gone and not (at_once and self.stalled == {"flush"}):
            self.held.append(waiting)
            return
        if self.gone:
            waiting.error = errno.EIO
        if waiting.error:
            waiting.reply = b""
        elif waiting.covered is not None:
            self.image.end_flush(waiting.covered)
        (self.failed if waiting.error else self.done)[waiting.kind] += 1
        self.entries.append((waiting.kind, waiting.begun, time.monotonic(), waiting.size))
        del self.entries[:-100000]
        self.answer(waiting.unique, waiting.error, waiting.reply)

    def answer(self, unique, error, reply):
        try:
            os.write(self.fuse, OUT_HEADER.pack(OUT_HEADER.size + len(reply), -error, unique) + reply)
        except OSError as failure:
            # ENOENT: nobody waits for it any more.
            if failure.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def release(self):
        held, self.held = self.held, []
        for waiting in held:
            self.finish(waiting)

    # From the test.

    def do_delay(self, milliseconds):
        self.delays.update((kind, milliseconds.get(kind, 0) / 1000) for kind in KINDS)

    def do_fail(self, kind, count, after=None, holding=None):
        def unhex(text):
            return text and bytes.fromhex(text)

        self.failing.append({"kind": kind, "count": count, "after": unhex(after), "holding": unhex(holding)})

    def do_stall(self, kinds):
        self.stalled.update(kinds)

    def do_resume(self):
        self.stalled, self.failing, self.gone = set(), [], False
        self.release()

    def do_lose_power(self, seed):
        unflushed = self.image.unflushed()
        lost = self.image.lose(random.Random(seed))
        self.stalled.update(KINDS)
        return {"unflushed": unflushed, "lost": lost}

    def do_go_away(self):
        self.gone = True
        self.release()

    def do_status(self):
        held = {kind: sum(waiting.kind == kind for waiting in self.held) for kind in KINDS}
        return {"held": held, "done": self.done, "failed": self.failed, "unflushed": self.image.unflushed()}

    def do_history(self):
        entries, self.entries = self.entries, []
        return {"entries": entries}


def probe():
    """Whether a disk works here, with all that the checks ask of it."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        disk = FaultDisk(folder, folder / "mounted", megabytes=16)
        (disk.mount_point / "file").write_text("held")
        disk.remount()
        assert (disk.mount_point / "file").read_text() == "held"
        disk.close()


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        probe()
    else:
        service = Service(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
        print("{}", flush=True)
        service.run()
        # Whoever still waits gets an error, now.
        os._exit(0)
