"""Records what the words of stock servers say in each role; see README.md beside it.

Servers 1, 2 and 3 vote and 4 observes; 3 leads. Nothing else is fixed: the tests hand the values that are recorded to
our words.
"""
import pathlib, re, socket, struct, subprocess, sys, tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import raw_client
import server
from raw_client import RawClient
from waiting import wait

OUT = pathlib.Path(sys.argv[1])
HOST = "127.0.0.1"
WORDS = "conf cons crst dirs dump envi gtmk hash isro mntr ruok srst srvr stat wchc wchp wchs".split()
KEPT = {
    "leader": "dump mntr srvr stat",
    "follower": "conf dump mntr srvr",
    "observer": "conf mntr srvr",
}
ROLES = {1: "follower", 3: "leader", 4: "observer"}
NOT_SERVING = (OUT / "not_serving.txt").read_text()
# The others are answered with that sentence.
ANSWERED = {"gtmk": "306", "isro": "null", "ruok": "imok", "hash": NOT_SERVING.strip()}


def members(folder):
    servers = {}
    lines = {f"server.{sid}": f"{HOST}:3188{sid}:3189{sid}" + (":observer" if sid == 4 else "") for sid in range(1, 5)}
    for sid in range(1, 5):
        settings = {"initLimit": "10", "syncLimit": "5", **lines}
        if sid == 4:
            settings["peerType"] = "observer"
        member = server.Server("stock", folder / str(sid), 2000, settings, port=31820 + sid)
        (member.folder / "data" / "myid").write_text(str(sid))
        servers[sid] = member
    return servers


def launch(member):
    log = open(member.log_path, "ab")
    member.process = subprocess.Popen(member.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def word(member, name):
    return server.four_letter_word(HOST, member.port, name, 30)


def refused_handshake(member):
    """What a client gets that asks for a session, and one that has sent a length alone."""
    frame = struct.pack(">iiqiq", 45, 0, 0, 30000, 0) + struct.pack(">i", 16) + bytes(16) + b"\0"
    for sent in (frame, frame[:4]):
        with socket.create_connection((HOST, member.port), timeout=30) as stream:
            stream.sendall(sent)
            try:
                received = stream.recv(100)
            except ConnectionResetError:
                received = b""
            assert received == b"", received


def save(role, name, text, member):
    version = re.match(r"Zookeeper version: (.*)\n|zk_version\t(.*)\n", text)
    if version:
        text = text.replace(version[1] or version[2], "{version}", 1)
    folder = OUT / role
    folder.mkdir(exist_ok=True)
    text = text.replace(str(member.folder / "data" / "version-2"), "{dir}")
    (folder / f"{name}.txt").write_text(text)
    print(f"{role}/{name}: {len(text)} bytes")


def main(folder):
    servers = members(folder)
    try:
        # Alone among three, it does not serve.
        launch(servers[1])
        wait("the port", lambda: word(servers[1], "ruok") == "imok")
        for name in WORDS:
            answer = word(servers[1], name)
            if name == "envi":
                assert answer.startswith("Environment:\n"), answer
            else:
                assert answer == ANSWERED.get(name, NOT_SERVING), (name, answer)
        refused_handshake(servers[1])
        for sid in (3, 2, 4):
            launch(servers[sid])
            if sid == 3:
                wait("the leader", lambda: server.is_serving(HOST, servers[3].port, 1.0))
                save("leader", "srvr_before_a_proposal", word(servers[3], "srvr"), servers[3])
        for member in servers.values():
            wait("a member", lambda: server.is_serving(HOST, member.port, 1.0))

        clients = {sid: RawClient(HOST, servers[sid].port, 30000) for sid in (1, 3, 4)}
        create = raw_client.create_body
        for nth, (sid, client) in enumerate(clients.items()):
            assert client.call(raw_client.CREATE, create(f"/of{sid}", b"x" * nth)).error == 0
            assert client.call(raw_client.CREATE, create(f"/of{sid}/e", None, raw_client.EPHEMERAL)).error == 0
        for sid, client in clients.items():
            # Everything is applied everywhere.
            seen = lambda: client.call(raw_client.EXISTS, raw_client.read_body("/of4/e")).error == 0
            wait("the last write", seen)
            reply = client.call(raw_client.GET_DATA, raw_client.read_body("/zookeeper/config"))
            data, at = raw_client.parse_buffer(reply.body)
            save(ROLES[sid], "config", f"{data.decode()}\n--\n{struct.unpack_from('>qqqqiiiqiiq', reply.body, at)}\n", servers[sid])
        for sid, role in ROLES.items():
            assert word(servers[sid], "isro") == "rw"
            for name in KEPT[role].split():
                save(role, name, word(servers[sid], name), servers[sid])
    finally:
        for member in servers.values():
            member.stop()


with tempfile.TemporaryDirectory() as folder:
    main(pathlib.Path(folder))
