"""Records a stock server's frames and words; see README.md beside it."""
import socket, struct, subprocess, sys, threading

port, client, out = int(sys.argv[1]), sys.argv[2].split(), sys.argv[3]
WORDS = "ruok srvr stat mntr conf cons dump envi dirs wchs wchc wchp isro gtmk crst srst".split()


def ask(word):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(word)
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
    return answer


def save(name, data):
    with open(f"{out}/{name}", "wb") as f:
        f.write(data)


def pump(source, sink, tag, log):
    rest = b""
    while chunk := source.recv(65536):
        rest += chunk
        while len(rest) >= 4 and len(rest) >= (end := 4 + int.from_bytes(rest[:4], "big")):
            log.append(f"{tag} {rest[:end].hex()}\n")
            rest = rest[end:]
        sink.sendall(chunk)
    sink.shutdown(socket.SHUT_WR)


def session():
    listener = socket.create_server(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % listener.getsockname()[1]
    process = subprocess.Popen(client + [address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    inner, _ = listener.accept()
    outer = socket.create_connection(("127.0.0.1", port))
    log = []
    pumps = [threading.Thread(target=pump, args=a) for a in ((inner, outer, ">", log), (outer, inner, "<", log))]
    for p in pumps:
        p.start()
    for line in process.stdout:
        if line == "recorded\n":
            break
    for word in WORDS:
        save(word + ".txt", ask(word.encode()))
    process.stdin.close()
    for p in pumps:
        p.join()
    save("session.hex", "".join(log).encode())


def string(text):
    data = text.encode()
    return struct.pack(">i", len(data)) + data


def strings(*texts):
    return struct.pack(">i", len(texts)) + b"".join(map(string, texts))


def raw():
    connect = struct.pack(">iqiq", 0, 0, 30000, 0) + struct.pack(">i", 16) + bytes(16)
    watches = strings("/a", "/gone"), strings("/none", "/m"), strings("/a")
    world = struct.pack(">ii", 1, 31) + string("world") + string("anyone")
    frames = [connect] + [struct.pack(">ii", xid, op) + body for xid, op, body in [
        (-8, 101, struct.pack(">q", 0) + b"".join(watches)),
        (-8, 105, struct.pack(">q", 9999) + b"".join(watches) + strings("/p") + strings("/r")),
        (1, 3, string("/a") + b"\x01" + b"bytes behind the record"),
        (2, 1, string("/raw") + struct.pack(">i", -1) + struct.pack(">i", -1) + struct.pack(">i", 0)),
        (3, 1, string("/raw") + struct.pack(">i", 0) + struct.pack(">i", -2) + struct.pack(">i", 0)),
        (4, 4, struct.pack(">i", -1) + b"\x00"),
        (5, 14, struct.pack(">ibi", -1, 1, -1)),
        (6, 14, struct.pack(">ibi", 1, 0, -1) + string("/x") + struct.pack(">i", 0) + world + struct.pack(">i", 9)
            + struct.pack(">ibi", -1, 1, -1)),
        (7, 16, string("server.1=h:1:2:participant") + struct.pack(">i", -1) * 2 + struct.pack(">q", -1)),
        (8, 13, string("/a") + struct.pack(">i", 1)),
        (-2, 11, b""),
        (9, -11, b""),
    ]]
    log = []
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(0.5)
    for frame in frames:
        framed = struct.pack(">i", len(frame)) + frame
        log.append(f"> {framed.hex()}\n")
        try:
            s.sendall(framed)
            rest = b""
            while chunk := s.recv(65536):
                rest += chunk
        except OSError:
            pass
        while len(rest) >= 4:
            end = 4 + int.from_bytes(rest[:4], "big")
            log.append(f"< {rest[:end].hex()}\n")
            rest = rest[end:]
        if len(frame) >= 8 and struct.unpack(">i", frame[4:8])[0] == 13:
            # Stock closes the connection over an operation it does not know.
            s.close()
            s = socket.create_connection(("127.0.0.1", port))
            s.settimeout(0.5)
            s.sendall(struct.pack(">i", len(connect)) + connect)
            try:
                s.recv(65536)
            except OSError:
                pass
    save("raw.hex", "".join(log).encode())


session()
save("stmk.txt", ask(b"stmk" + struct.pack(">q", 306)))
raw()
save("hash.txt", ask(b"hash"))
