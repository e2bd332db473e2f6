"""When each thread of a process was on a CPU, and when it woke another or sent something: what `perf` saw.

Needs perf, and the right to trace the kernel (root).
"""

import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile

SWITCH = "sched:sched_switch"
SEND, WRITE = "syscalls:sys_enter_sendto", "syscalls:sys_enter_write"
# `perf script` with the fields below: thread, CPU, seconds, event. What the tracepoint of a switch says itself of threads are
# their numbers outside of a namespace of ours; the one that calls it, and leaves, comes as we number it.
FIELDS = "tid,cpu,time,event"
LINE = re.compile(r"\s*(?P<tid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?P<when>\d+\.\d+):\s+(?P<event>\w+:\w+)")


class OnCpu:
    """Watches from here until the end of the `with`; then `path` can be asked. Times are seconds of
    CLOCK_MONOTONIC."""

    def __init__(self, folder, process_id):
        self.tasks = pathlib.Path(f"/proc/{process_id}/task")
        self.file = pathlib.Path(folder) / "perf.data"
        self.process = None

    @staticmethod
    def problem():
        """Why nothing can be watched here; None when it can."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                with OnCpu(folder, os.getpid()):
                    pass
            except FileNotFoundError:
                return "there is no perf"
            except (RuntimeError, subprocess.CalledProcessError) as failure:
                return str(failure)
        return None

    def __enter__(self):
        self.threads = self._threads()
        control = [self.file.with_suffix(name) for name in (".control", ".ack")]
        for pipe in control:
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe)
        command = ["perf", "record", "-a", "-k", "CLOCK_MONOTONIC", "-m", "4M", "-e", f"{SWITCH},{SEND}", "-e", WRITE]
        # Its own writes would be events to write down, for ever: one CPU would be busy with nothing else.
        command += ["--filter", 'comm != "perf"']
        command += ["-o", self.file, "--delay", "-1", "--control", f"fifo:{control[0]},{control[1]}"]
        # Both ways, so that opening waits for nobody.
        orders, answers = (os.open(pipe, os.O_RDWR) for pipe in control)
        try:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            os.write(orders, b"enable\n")
            # It answers when it watches.
            while not select.select([answers], [], [], 0.1)[0]:
                if self.process.poll() is not None:
                    told = self.process.communicate()[1].strip().splitlines()
                    raise RuntimeError(told[0] if told else "perf ended")
        finally:
            os.close(orders)
            os.close(answers)
        return self

    def __exit__(self, kind, *_):
        self.threads |= self._threads()
        self.process.send_signal(signal.SIGINT)
        _, told = self.process.communicate()
        if kind is None:
            self._read(told)

    def _threads(self):
        return {int(task.name) for task in self.tasks.iterdir()}

    def _read(self, told):
        command = ["perf", "script", "-i", self.file, "--ns", "-F", FIELDS]
        read = subprocess.run(command, capture_output=True, text=True, check=True)
        if "lost" in (told + read.stderr).lower():
            raise RuntimeError(f"perf lost events: {told}{read.stderr}")
        self.spans, self.calls, since = [], [], {}
        for line in read.stdout.splitlines():
            found = LINE.match(line)
            if not found:
                continue
            cpu, when, thread, event = found["cpu"], float(found["when"]), int(found["tid"]), found["event"]
            if event == SWITCH:
                if thread in self.threads and cpu in since:
                    self.spans.append((since[cpu], when, thread))
                since[cpu] = when
            elif thread in self.threads:
                self.calls.append((when, event, thread))
        self.spans.sort()
        self.calls.sort()

    def path(self, begin, end):
        """The CPU time on the way from a moment to the first `sendto` before another, seconds, or None where there is none:
        of all until a thread wakes the one that sends (an eventfd's `write`), and of that one from there. What the other
        threads do beside it adds nothing to a latency."""
        calls = [call for call in self.calls if begin <= call[0] <= end]
        sent = next((call for call in calls if call[1] == SEND), None)
        if sent is None:
            return None
        when, _, sender = sent
        bells = (at for at, event, thread in calls if event == WRITE and thread != sender and at <= when)
        bell = next(bells, when)
        return self._busy(begin, bell, self.threads) + self._busy(bell, when, {sender})

    def _busy(self, begin, end, threads):
        """For how long between two moments at least one of the threads was on a CPU."""
        total, upto = 0.0, begin
        for since, until, thread in self.spans:
            since, until = max(since, upto), min(until, end)
            if thread in threads and until > since:
                total, upto = total + until - since, until
        return total
