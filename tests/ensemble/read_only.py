"""What a server does that has lost its ensemble and may be read all the same, and sessions that one server keeps alone.
Checks that want an ensemble of their own: settings and properties beside each."""

import raw_client as zk
from ensemble import until
from raw_client import ConnectionLost, SessionRefused
from server import four_letter_word
from smoke import create, equal, exists, ok, read, set_data

NOT_READ_ONLY, EPHEMERAL_ON_LOCAL_SESSION = -119, -120
LOCAL = {"localSessionsEnabled": "true"}
UPGRADING = {**LOCAL, "localSessionsUpgradingEnabled": "true"}
READ_ONLY = {"readonlymode.enabled": "true"}


def reader(ensemble, sid, **options):
    """A client that takes a read-only server, once one takes it."""

    def connect():
        try:
            return ensemble.client(sid, read_only=True, **options)
        except (ConnectionLost, OSError):
            return None

    return until(f"server {sid} takes readers", connect)


def isro(ensemble, sid):
    member = ensemble.members[sid]
    return four_letter_word(member.host, member.port, "isro", 5.0)


def cut_off(ensemble):
    """Kills two servers; gives the one that is left, read-only by then."""
    left = ensemble.followers()[0]
    for sid in ensemble.sids:
        if sid != left:
            ensemble.members[sid].kill()
    until(f"server {left} is read-only", lambda: ensemble.members[left].mode() == "read-only")
    return left


def refused(ensemble, sid, **options):
    """That a handshake ends without an answer."""
    try:
        client = ensemble.client(sid, **options)
    except ConnectionLost:
        return
    raise AssertionError(f"server {sid} takes a client, as session {client.session_id:#x}")


def a_server_that_is_cut_off_is_read_and_not_written(ensemble, path):
    client = ensemble.client(1)
    create(client, f"{path}/n", b"before")
    # It belongs to all servers once it owns an ephemeral.
    create(client, f"{path}/e", flags=zk.EPHEMERAL)
    ok(client.call(zk.SYNC, zk.text("/")))
    for sid in ensemble.sids:
        other = ensemble.client(sid, read_only=True)
        equal((False, "rw"), (other.read_only, isro(ensemble, sid)), "what a serving server calls itself")
        ok(other.call(zk.DELETE, zk.delete_body("/nothing is called so")), zk.NO_NODE)
        equal(b"before", read(other, f"{path}/n"), "on every server")
        other.close()

    left = cut_off(ensemble)
    equal("ro", isro(ensemble, left), "isro")
    equal("read-only", ensemble.members[left].monitor().get("server_state"), "server_state")
    refused(ensemble, left)
    refused(ensemble, left, read_only=None)
    refused(ensemble, left, read_only=True, session=client.session)

    observing = reader(ensemble, left)
    equal(True, observing.read_only, "readOnly of the handshake")
    equal(b"before", read(observing, f"{path}/n"), "what is read")
    equal(True, exists(observing, f"{path}/e"), "an ephemeral of nobody's death")
    zxid = ok(observing.call(zk.EXISTS, zk.read_body(path, True))).zxid
    for op, body in [
        (zk.CREATE, zk.create_body(f"{path}/w", b"")),
        (zk.CREATE, zk.create_body(f"{path}/w", b"", zk.EPHEMERAL)),
        (zk.SET_DATA, zk.set_data_body(f"{path}/n", b"after")),
        (zk.DELETE, zk.delete_body(f"{path}/n")),
        (zk.MULTI, zk.multi_body([(zk.DELETE, zk.delete_body(f"{path}/n"))])),
        (zk.SYNC, zk.text("/")),
    ]:
        reply = ok(observing.call(op, body), NOT_READ_ONLY)
        equal((zxid, b""), (reply.zxid, reply.body), "zxid and body of the refusal")
    ok(observing.call(zk.PING))

    # A session of its own can be resumed and ended.
    again = reader(ensemble, left, session=observing.session)
    equal(observing.session_id, again.session_id, "the session")
    ok(again.close())
    try:
        reader(ensemble, left, session=again.session)
        raise AssertionError("a closed session is taken")
    except SessionRefused:
        pass

    last = reader(ensemble, left)
    ensemble.heal()
    try:
        last.call(zk.PING)
        raise AssertionError("a reader stays connected when the ensemble is back")
    except ConnectionLost:
        pass
    writer = reader(ensemble, left)
    equal(False, writer.read_only, "readOnly of the handshake")
    set_data(writer, f"{path}/n", b"after")
    writer.close()
    # Whose session it was has it still.
    back = ensemble.client(left, session=client.session)
    equal((b"after", True), (read(back, f"{path}/n"), exists(back, f"{path}/e")), "data and ephemeral")
    back.close()


def without_local_sessions_a_reader_gets_no_session(ensemble, path):
    client = ensemble.client(1, read_only=True)
    left = cut_off(ensemble)
    refused(ensemble, left, read_only=True, session=client.session)
    ensemble.heal()
    back = ensemble.client(left, session=client.session)
    create(back, f"{path}/n")
    back.close()


def a_local_session_takes_no_zxid_and_lives_on_one_server(ensemble, path):
    leader, follower = ensemble.leader(), ensemble.followers()[0]
    for sid, other in [(leader, follower), (follower, leader)]:
        client = ensemble.client(sid)
        create(client, f"{path}/a{sid}")
        before = ok(client.call(zk.EXISTS, zk.read_body(path))).zxid
        second = ensemble.client(sid)
        equal("2", ensemble.members[sid].monitor().get("local_sessions"), "sessions of its own")
        ok(second.close())
        until("one left", lambda: ensemble.members[sid].monitor().get("local_sessions") == "1")
        after = ok(client.call(zk.SET_DATA, zk.set_data_body(f"{path}/a{sid}", b"x"))).zxid
        equal(before + 1, after, "zxid of the next write")
        # An ephemeral has no owner elsewhere: refused, and the session goes on.
        body = zk.create_body(f"{path}/e", b"", zk.EPHEMERAL)
        reply = ok(client.call(zk.CREATE, body), EPHEMERAL_ON_LOCAL_SESSION)
        equal(after + 1, reply.zxid, "a refusal has its place")
        again = ensemble.client(sid, session=client.session)
        equal(client.session_id, again.session_id, "the session, on its server")
        try:
            ensemble.client(other, session=client.session)
            raise AssertionError("a local session moves")
        except SessionRefused:
            pass
        ok(again.close())


def the_first_ephemeral_makes_a_local_session_one_of_all_servers(ensemble, path):
    leader, follower = ensemble.leader(), ensemble.followers()[0]
    for sid, other in [(leader, follower), (follower, leader)]:
        client = ensemble.client(sid)
        single = create(client, f"{path}/e{sid}", flags=zk.EPHEMERAL)
        body = zk.multi_body([(zk.CREATE, zk.create_body(f"{path}/m{sid}", b"", zk.EPHEMERAL))])
        ok(client.call(zk.MULTI, body))
        equal("0", ensemble.members[sid].monitor().get("local_sessions"), "sessions of its own")
        zxid = ok(client.call(zk.EXISTS, zk.read_body(single))).zxid
        moved = until(f"server {other} takes it", lambda: arrive(ensemble, other, client, zxid))
        equal(client.session_id, moved.session_id, "the session, elsewhere")
        equal(True, exists(moved, single), "its ephemeral")
        ok(moved.close())
        witness = ensemble.client(sid)
        ok(witness.call(zk.DELETE, zk.delete_body("/nothing is called so")), zk.NO_NODE)
        equal((False, False), (exists(witness, single), exists(witness, f"{path}/m{sid}")), "after its end")
        ok(witness.close())


def arrive(ensemble, sid, client, zxid):
    """A connection with that session to a server that may be behind still."""
    try:
        return ensemble.client(sid, session=client.session, last_zxid=zxid)
    except ConnectionLost:
        return None


APART = {
    a_server_that_is_cut_off_is_read_and_not_written: (UPGRADING, READ_ONLY),
    without_local_sessions_a_reader_gets_no_session: ({}, READ_ONLY),
    a_local_session_takes_no_zxid_and_lives_on_one_server: (LOCAL, {}),
    the_first_ephemeral_makes_a_local_session_one_of_all_servers: (UPGRADING, {}),
}
