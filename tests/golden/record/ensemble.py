"""Records what stock servers say to each other; see README.md beside it.

Servers 1, 2 and 3 vote, 4 observes. 5 is this script: it opens election links, and takes them where it is a voter that
others call, and connects to the leader as a learner. Quorum links go through relays that keep what passes.
"""
import pathlib, shutil, socket, struct, subprocess, sys, tempfile, threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import raw_client
import server
from raw_client import RawClient, buffer, text
from waiting import wait

OUT = pathlib.Path(sys.argv[1])
HOST = "127.0.0.1"
LOOKING, FOLLOWING, LEADING, OBSERVING = range(4)
ACK, COMMITANDACTIVATE, NEWLEADER, FOLLOWERINFO, UPTODATE = 3, 9, 10, 11, 12
OBSERVERINFO, LEADERINFO, ACKEPOCH, INFORMANDACTIVATE = 16, 17, 18, 19
SYNC, SET_ACL, CREATE2, RECONFIG, CREATE_CONTAINER, CREATE_TTL, CHECK = 9, 7, 15, 16, 19, 21, 13


def save(name, data):
    (OUT / name).write_bytes(data)
    print(f"{name}: {len(data)} bytes")


def take(stream, count):
    data = b""
    while len(data) < count:
        chunk = stream.recv(count - len(data))
        if not chunk:
            raise RuntimeError("closed early")
        data += chunk
    return data


class Link:
    """One connection through a relay: what either side sent."""

    def __init__(self, learner, leader):
        self.learner, self.leader = bytearray(), bytearray()
        self.ended = 0
        for source, sink, kept in ((learner, leader, self.learner), (leader, learner, self.leader)):
            threading.Thread(target=self.pump, args=(source, sink, kept), daemon=True).start()

    def pump(self, source, sink, kept):
        try:
            while chunk := source.recv(65536):
                kept += chunk
                sink.sendall(chunk)
        except OSError:
            pass
        for stream in (source, sink):
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.ended += 1

    @property
    def sid(self):
        # type, zxid, length of the data, then the id.
        return struct.unpack_from(">q", self.learner, 16)[0] if len(self.learner) >= 24 else None


class Relay:
    def __init__(self, target):
        self.target, self.links = target, []
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            inner, _ = self.listener.accept()
            try:
                outer = socket.create_connection((HOST, self.target))
            except OSError:
                # Only a leader listens; the learner tries again.
                inner.close()
                continue
            self.links.append(Link(inner, outer))

    def link(self, sid, nth):
        """The nth connection of that learner."""
        links = [link for link in self.links if link.sid == sid]
        return links[nth] if len(links) > nth else None


class Ensemble:
    def __init__(self, folder, config=None, properties=None, observers=(4, 5), relayed=True):
        self.folder, self.observers, self.relayed = folder, observers, relayed
        self.quorum = {sid: server.free_port() for sid in range(1, 6)}
        self.election = {sid: server.free_port() for sid in range(1, 6)}
        self.relays = {sid: Relay(port) for sid, port in self.quorum.items()}
        self.servers = {}
        for sid in range(1, 5):
            lines = {f"server.{other}": self.line(other, sid) for other in range(1, 6)}
            settings = {"initLimit": "10", "syncLimit": "5", **lines, **(config or {})}
            if sid == 4:
                settings["peerType"] = "observer"
            self.servers[sid] = server.Server("stock", folder / str(sid), 1000, settings, properties)
            (self.servers[sid].folder / "data" / "myid").write_text(str(sid))
        self.listener = socket.create_server((HOST, self.election[5]))
        self.openings = {}
        threading.Thread(target=self.accept, daemon=True).start()

    def line(self, sid, seen_by):
        quorum = self.relays[sid].port if self.relayed and sid != seen_by else self.quorum[sid]
        role = "observer" if sid in self.observers else "participant"
        return f"{HOST}:{quorum}:{self.election[sid]}:{role}"

    def accept(self):
        while True:
            stream, _ = self.listener.accept()
            try:
                head = take(stream, 20)
                opening = head + take(stream, struct.unpack_from(">i", head, 16)[0])
                self.openings.setdefault(struct.unpack_from(">q", head, 8)[0], opening)
            except RuntimeError:
                pass
            stream.close()

    def launch(self, sid):
        member = self.servers[sid]
        log = open(member.log_path, "ab")
        member.process = subprocess.Popen(member.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        """The rest, when 1 runs; in an order that makes 3 the leader."""
        self.launch(3)
        for sid in (3, 2, 4, 1):
            if self.servers[sid].process is None:
                self.launch(sid)
            self.serving(sid)

    def serving(self, sid):
        wait(f"server {sid}", lambda: server.is_serving(HOST, self.servers[sid].port, 1.0))

    def client(self, sid, **options):
        return RawClient(HOST, self.servers[sid].port, 30000, **options)

    def notification(self, sid, state):
        """The first notification of that server that says it is in that state."""
        stream = wait("election port", lambda: self.dial(sid))
        stream.settimeout(30)
        address = f"{HOST}:{self.election[5]}".encode()
        stream.sendall(struct.pack(">qqi", -65536, 5, len(address)) + address)
        # Whoever has no vote is answered at once.
        vote = struct.pack(">iqqqqii", LOOKING, 5, -1, 0, -1, 2, 0)
        stream.sendall(struct.pack(">i", len(vote)) + vote)
        while True:
            length = take(stream, 4)
            frame = length + take(stream, struct.unpack(">i", length)[0])
            if struct.unpack_from(">i", frame, 4)[0] == state:
                stream.close()
                return frame

    def dial(self, sid):
        try:
            return socket.create_connection((HOST, self.election[sid]), timeout=5)
        except OSError:
            return None

    def stop(self):
        for member in self.servers.values():
            member.stop()


def ok(reply, error=0):
    assert reply.error == error, reply.error
    return reply


def acl(*entries):
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + text(scheme) + text(name) for perms, scheme, name in entries
    )


OPEN = acl((31, "world", "anyone"))


def every_write(client):
    """A txn of every kind, and requests that fail."""
    create = raw_client.create_body
    ok(client.call(raw_client.CREATE, create("/a", b"x")))
    ok(client.call(raw_client.CREATE, create("/a", b"x")), raw_client.NODE_EXISTS)
    ok(client.call(CREATE2, create("/a/s-", None, 2)))
    ok(client.call(raw_client.CREATE, create("/a/e", b"", raw_client.EPHEMERAL)))
    ok(client.call(CREATE_CONTAINER, text("/c") + buffer(None) + OPEN + struct.pack(">i", 4)))
    ok(client.call(raw_client.CREATE, create("/c/child", b"")))
    ok(client.call(raw_client.DELETE, raw_client.delete_body("/c/child")))
    ok(client.call(CREATE_CONTAINER, text("/kept") + buffer(None) + OPEN + struct.pack(">i", 4)))
    ok(client.call(CREATE_TTL, text("/t") + buffer(b"ttl") + OPEN + struct.pack(">iq", 5, 600000)))
    ok(client.call(raw_client.SET_DATA, raw_client.set_data_body("/a", b"y")))
    listed = acl((31, "world", "anyone"), (1, "digest", "\U0001f600:hash"))
    ok(client.call(SET_ACL, text("/a") + listed + struct.pack(">i", -1)))
    writes = [
        (raw_client.CREATE, create("/m", b"m")),
        (raw_client.SET_DATA, raw_client.set_data_body("/m", b"n")),
        (CHECK, raw_client.delete_body("/m", 1)),
        (raw_client.DELETE, raw_client.delete_body("/m")),
    ]
    ok(client.call(raw_client.MULTI, raw_client.multi_body(writes)))
    failing = [writes[0], (CHECK, raw_client.delete_body("/none", 1)), writes[1]]
    client.call(raw_client.MULTI, raw_client.multi_body(failing))
    ok(client.call(SYNC, text("/a")))
    gone = lambda: client.call(raw_client.EXISTS, raw_client.read_body("/c")).error == raw_client.NO_NODE
    wait("the container's end", gone)


def packets(stream, until):
    """What the leader sends, up to the first packet of that kind; its packets carry no identities."""
    received, kind = b"", None
    while kind != until:
        head = take(stream, 16)
        kind, _, length = struct.unpack(">iqi", head)
        received += head + take(stream, max(length, 0) + 4)
    return received


def scripted_learner(ensemble, introduction, sid, zxid):
    """Connects to the leader as a learner whose history ends there. Returns the link and what came."""
    stream = socket.create_connection((HOST, ensemble.quorum[3]))
    stream.settimeout(60)
    null = struct.pack(">i", -1)
    info = struct.pack(">qiq", sid, 0x10000, 0)
    stream.sendall(struct.pack(">iq", introduction, 1 << 32) + buffer(info) + null)
    received = packets(stream, LEADERINFO)
    stream.sendall(struct.pack(">iq", ACKEPOCH, zxid) + buffer(struct.pack(">i", -1)) + null)
    received += packets(stream, NEWLEADER)
    stream.sendall(struct.pack(">iq", ACK, 1 << 32) + null + null)
    return stream, received + packets(stream, UPTODATE)


def save_link(name, link):
    save(f"{name}.learner", bytes(link.learner))
    save(f"{name}.leader", bytes(link.leader))


def ordinary(folder):
    ensemble = Ensemble(folder, properties={"znode.container.maxNeverUsedIntervalMs": "0"})
    try:
        ensemble.launch(1)
        save("notification_looking", ensemble.notification(1, LOOKING))
        ensemble.start()
        for name, sid, state in (("following", 1, FOLLOWING), ("leading", 3, LEADING), ("observing", 4, OBSERVING)):
            save(f"notification_{name}", ensemble.notification(sid, state))
        leader = ensemble.relays[3]

        client = ensemble.client(1)
        every_write(client)
        # Moves a session, and asks for one that is over.
        moving = ensemble.client(2)
        ok(moving.call(raw_client.CREATE, raw_client.create_body("/moved", b"", raw_client.EPHEMERAL)))
        moving.abandon()
        moved = ensemble.client(1, session=moving.session)
        ok(moved.close())
        try:
            ensemble.client(1, session=moving.session)
        except raw_client.SessionRefused:
            pass
        # An observer's client, and pings with sessions in the answers.
        observed = ensemble.client(4)
        ok(observed.call(raw_client.CREATE, raw_client.create_body("/o", b"o")))
        entry = struct.pack(">qi", client.session_id, client.timeout_ms)
        heard = lambda: bytes(leader.link(1, 0).learner).find(entry) > 0
        wait("a ping's answer", heard)
        ok(observed.call(SYNC, text("/o")))
        follower, observer = leader.link(1, 0), leader.link(4, 0)
        observed.abandon()
        client.abandon()
        ensemble.servers[1].stop()
        ensemble.servers[4].stop()
        wait("links closed", lambda: follower.ended == 2 and observer.ended == 2)
        save_link("follower", follower)
        save_link("observer", observer)

        # What a follower missed.
        client = ensemble.client(2)
        for nth in range(3):
            ok(client.call(raw_client.SET_DATA, raw_client.set_data_body("/a", b"%d" % nth)))
        ensemble.launch(1)
        ensemble.serving(1)
        ensemble.servers[1].stop()
        link = leader.link(1, 1)
        wait("link closed", lambda: link.ended == 2)
        save_link("diff", link)

        # A whole tree, for a server that has lost its own.
        ok(client.call(raw_client.CREATE, raw_client.create_body("/a/e2", None, raw_client.EPHEMERAL)))
        shutil.rmtree(ensemble.servers[4].folder / "data" / "version-2")
        ensemble.launch(4)
        ensemble.serving(4)
        ensemble.servers[4].stop()
        link = leader.link(4, 1)
        wait("link closed", lambda: link.ended == 2)
        save_link("snap", link)
        # A tail that was never proposed is cut.
        stream, received = scripted_learner(ensemble, OBSERVERINFO, 5, (1 << 32) + 0xffff)
        stream.close()
        save("trunc.leader", received)
    finally:
        ensemble.stop()


def reconfigured(folder):
    """An observer leaves: the packets that commit and activate, as a follower and an observer get them."""
    ensemble = Ensemble(folder, {"reconfigEnabled": "true"}, {"zookeeper.skipACL": "yes"}, relayed=False)
    try:
        ensemble.launch(1)
        ensemble.start()
        follower, followed = scripted_learner(ensemble, FOLLOWERINFO, 6, 1 << 32)
        observer, observed = scripted_learner(ensemble, OBSERVERINFO, 5, 1 << 32)
        client = ensemble.client(2)
        ok(client.call(RECONFIG, buffer(None) + text("4") + buffer(None) + struct.pack(">q", -1)))
        save("reconfig_follower.leader", followed + packets(follower, COMMITANDACTIVATE))
        save("reconfig_observer.leader", observed + packets(observer, INFORMANDACTIVATE))
    finally:
        ensemble.stop()


def openings(folder):
    """How servers with one address and with two open an election link to a voter with a larger id."""
    one = Ensemble(folder / "one", observers=(4,))
    two = Ensemble(folder / "two", properties={"zookeeper.multiAddress.enabled": "true"}, observers=(4,))
    config = two.servers[1].config_path
    line = two.line(1, 1)
    second = f"127.0.0.2:{server.free_port()}:{server.free_port()}:participant"
    config.write_text(config.read_text().replace(line, f"{line}|{second}"))
    for name, ensemble in (("opening", one), ("opening_addresses", two)):
        try:
            ensemble.launch(1)
            save(name, wait("an opening", lambda: ensemble.openings.get(1)))
        finally:
            ensemble.stop()


OUT.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory() as scratch:
    for part in (ordinary, reconfigured, openings):
        if not sys.argv[2:] or part.__name__ in sys.argv[2:]:
            part(pathlib.Path(scratch) / part.__name__)
