"""Network namespaces, one a server, around a router: this process's own namespace. Each direction of each link can be cut.

    router   192.0.2.N0 — 192.0.2.N   server N

A cut is a rule of the router's: packets from one server to another vanish, as behind a broken switch, and neither side is
told. Needs util-linux and iproute2, and root or user namespaces; `Network.problem` says why it cannot be had.
"""

import os
import shutil
import subprocess
import sys


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL)


class Network:
    """To be made inside `Network.command()`. Ends with the process that made it."""

    # Of the first rule; each pair of servers has its own, so that a rule can be taken back.
    PRIORITY = 1000

    @staticmethod
    def command():
        """What a process must be started through, to have a network of its own."""
        rights = [] if os.geteuid() == 0 else ["--map-root-user"]
        return ["unshare", "--net", *rights, "--"]

    @staticmethod
    def problem():
        """Why there can be no namespaces here, or None."""
        for tool in ("unshare", "nsenter", "ip"):
            if not shutil.which(tool):
                return f"no {tool}"
        script = (
            "ip link set lo up && ip link add one type veth peer name two"
            " && ip rule add from 192.0.2.1 to 192.0.2.2 blackhole"
        )
        probe = subprocess.run([*Network.command(), "sh", "-c", script], capture_output=True, text=True)
        return None if probe.returncode == 0 else probe.stderr.strip().replace("\n", "; ")

    def __init__(self, servers):
        self.sids = range(1, servers + 1)
        self.cuts = set()
        ip("link", "set", "lo", "up")
        with open("/proc/sys/net/ipv4/ip_forward", "w") as forward:
            forward.write("1")
        # A namespace lives as long as a process in it.
        self.holders = {}
        for sid in self.sids:
            holder = subprocess.Popen(
                ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr
            )
            # It answers once it is inside.
            holder.stdin.write(b"\n")
            holder.stdin.flush()
            holder.stdout.readline()
            self.holders[sid] = holder
            ip("link", "add", f"to{sid}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
            ip("address", "add", f"192.0.2.{sid}0/32", "peer", f"{self.host(sid)}/32", "dev", f"to{sid}")
            ip("link", "set", f"to{sid}", "up")
            inside = self.prefix(sid)
            for arguments in (
                ["link", "set", "lo", "up"],
                ["address", "add", f"{self.host(sid)}/32", "peer", f"192.0.2.{sid}0/32", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
                ["route", "add", "default", "via", f"192.0.2.{sid}0"],
            ):
                subprocess.run([*inside, "ip", *arguments], check=True, stdin=subprocess.DEVNULL)

    def host(self, sid):
        return f"192.0.2.{sid}"

    def prefix(self, sid):
        """What runs a command inside a server's namespace."""
        return ("nsenter", "--target", str(self.holders[sid].pid), "--net", "--")

    def cut(self, source, sink):
        """Nothing from `source` reaches `sink` any more; the other direction stays as it is."""
        if (source, sink) not in self.cuts:
            self._rule("add", source, sink)
            self.cuts.add((source, sink))

    def part(self, *groups):
        """Servers of different groups do not hear each other."""
        for group in groups:
            for other in groups:
                if group is not other:
                    for source in group:
                        for sink in other:
                            self.cut(source, sink)

    def heal(self):
        for source, sink in self.cuts:
            self._rule("del", source, sink)
        self.cuts.clear()

    def _rule(self, verb, source, sink):
        rule = ("from", self.host(source), "to", self.host(sink), "blackhole")
        ip("rule", verb, *rule, "priority", str(self.PRIORITY + 16 * source + sink))

    def close(self):
        for holder in self.holders.values():
            holder.kill()
            holder.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
