"""Statements of the mission over an ensemble that `smoke` and `faults` leave open. Each check leaves it healed."""

import struct
import sys

import logs
import raw_client as zk
from ensemble import Ensemble, until
from faults import epoch_of, write_what_only_the_leader_logs
from raw_client import ConnectionLost, SessionRefused
from server import four_letter_word
from sessions import Load, Session, catch_up
from smoke import CHILDREN, CREATED, DELETED, create, equal, exists, next_event, ok, read, set_data, short_lived
from trees import check_equal_everywhere


def set_watches(client, seen, data=(), exist=(), child=()):
    """Sets them again, as a client does that has seen everything up to `seen`. Returns what fired at once."""
    body = struct.pack(">q", seen)
    for paths in (data, exist, child):
        body += struct.pack(">i", len(paths)) + b"".join(zk.text(path) for path in paths)
    client.send_all([(zk.SET_WATCHES, body)])
    ok(client.receive())
    fired, client.events = client.events, []
    return fired


def moves(ensemble):
    """Every server and another one that a client goes to."""
    return [(sid, sid % len(ensemble.sids) + 1) for sid in ensemble.sids]


def m20_session_ids_are_not_given_again_after_all_servers_died(ensemble, path):
    given = []
    for _ in range(3):
        clients = [ensemble.client(sid) for sid in ensemble.sids for _ in range(20)]
        given += [client.session_id for client in clients]
        for client in clients:
            ok(client.close())
        for member in ensemble.members.values():
            member.kill()
        ensemble.heal()
    equal(len(given), len(set(given)), "different ids")


def m20_all_servers_know_a_session_that_any_of_them_opened(ensemble, path):
    for sid in ensemble.sids:
        client = ensemble.client(sid)
        ok(client.call(zk.PING))
        # Known to whoever leads, whichever server it is on; and a later leader knows it from the log.
        for _ in range(2):
            listed = four_letter_word(*ensemble.addresses[ensemble.leader() - 1], "dump", 30.0)
            equal(True, f"{client.session_id:#x}" in listed, f"session {client.session_id:#x} in {listed!r}")
            client.abandon()
            ensemble.members[ensemble.leader()].kill()
            ensemble.heal()
            for other in ensemble.sids:
                moved = ensemble.client(other, session=client.session)
                equal(client.session_id, moved.session_id, f"the id on server {other}")
                moved.abandon()
        ok(ensemble.client(sid, session=client.session).close())


def m24_watches_end_with_their_session_and_a_new_one_starts_clean(ensemble, path):
    writer = ensemble.client(1)
    node = create(writer, f"{path}/n", b"0")
    for sid in ensemble.sids:
        mine = f"{path}/mine{sid}"
        expired = watching(ensemble, sid, node, mine)
        until("the end of the silent session", lambda: (ok(writer.call(zk.PING)), not exists(writer, mine))[1])
        # A late one is told: by the end of its connection, and by a handshake without a session.
        try:
            while True:
                expired.receive()
        except ConnectionLost:
            pass
        for other in ensemble.sids:
            try:
                ensemble.client(other, session=expired.session)
                raise AssertionError(f"server {other} resumed an expired session")
            except SessionRefused:
                pass
        equal([], expired.events, "events of who expired")
        fresh = ensemble.client(sid)
        equal(True, fresh.session_id != expired.session_id, "a new id")
        watched = four_letter_word(*ensemble.addresses[sid - 1], "wchp", 30.0)
        equal(False, node in watched, f"a watch on {node} in {watched!r}")
        set_data(writer, node, b"%d" % sid)
        catch_up(fresh)
        equal(b"%d" % sid, read(fresh, node), "data")
        equal([], fresh.events, "events of who is new")
        ok(fresh.close())
    ok(writer.close())


def watching(ensemble, sid, node, mine):
    """A session that ends soon and has an ephemeral and a watch; a busy machine may end it before."""
    while True:
        client = short_lived(ensemble, sid, mine)
        try:
            if client.call(zk.GET_DATA, zk.read_body(node, watch=True)).error == zk.OK:
                return client
        except ConnectionLost:
            pass
        client.abandon()
        # Its ephemeral has another owner then.
        other = ensemble.client(sid)
        until("the end of a session that was too short", lambda: (ok(other.call(zk.PING)), not exists(other, mine))[1])
        ok(other.close())


def m29_what_changed_while_away_fires_at_once_on_the_new_server(ensemble, path):
    writer = ensemble.client(1)
    for origin, goal in moves(ensemble):
        here = create(writer, f"{path}/p{origin}")
        gone, kept = create(writer, f"{here}/gone"), create(writer, f"{here}/kept")
        made, missing = f"{here}/made", f"{here}/missing"
        client = ensemble.client(origin)
        catch_up(client)
        for node in (gone, kept):
            ok(client.call(zk.GET_DATA, zk.read_body(node, watch=True)))
        for node in (made, missing):
            ok(client.call(zk.EXISTS, zk.read_body(node, watch=True)), zk.NO_NODE)
        seen = ok(client.call(zk.GET_CHILDREN, zk.read_body(here, watch=True))).zxid
        client.abandon()
        ok(writer.call(zk.DELETE, zk.delete_body(gone)))
        create(writer, made)
        moved = ensemble.client(goal, session=client.session)
        catch_up(moved)
        fired = set_watches(moved, seen, data=(gone, kept), exist=(made, missing), child=(here,))
        equal({(DELETED, gone), (CREATED, made), (CHILDREN, here)}, set(fired), "what fired at once")
        equal(3, len(fired), "events")
        # Those that did not are set.
        create(writer, missing)
        equal((CREATED, missing), next_event(moved), "the next event")
        ok(writer.call(zk.DELETE, zk.delete_body(kept)))
        equal((DELETED, kept), next_event(moved), "the last event")
        ok(moved.close())
    ok(writer.close())


def m29_a_node_created_and_deleted_while_away_is_the_one_gap(ensemble, path):
    writer = ensemble.client(1)
    for origin, goal in moves(ensemble):
        node = f"{path}/n{origin}"
        client = ensemble.client(origin)
        catch_up(client)
        seen = ok(client.call(zk.EXISTS, zk.read_body(node, watch=True)), zk.NO_NODE).zxid
        client.abandon()
        create(writer, node)
        ok(writer.call(zk.DELETE, zk.delete_body(node)))
        moved = ensemble.client(goal, session=client.session)
        catch_up(moved)
        equal([], set_watches(moved, seen, exist=(node,)), "what fired at once")
        # The watch is there all the same.
        create(writer, node)
        equal((CREATED, node), next_event(moved), "the next event")
        ok(moved.close())
    ok(writer.close())


def m35_a_commit_that_reached_only_some_is_in_the_end_on_all(ensemble, path):
    leader = ensemble.leader()
    absent, *others = [ensemble.members[sid] for sid in ensemble.sids if sid != leader]
    client = ensemble.client(leader, timeout_ms=120000)
    node = create(client, f"{path}/n", b"before")
    catch_up(client)
    absent.freeze()
    marker = f"some have {path}".encode()
    set_data(client, node, marker)
    # What the frozen one has in its sockets dies with it.
    absent.kill()
    ensemble.members[leader].kill()
    equal(False, absent.holds(marker), f"{absent} holds it")
    absent.launch()
    new = ensemble.wait()
    equal(True, new in [member.sid for member in others], f"server {new}, which has it, leads")
    check_data_everywhere(ensemble, node, marker)
    ensemble.heal()
    check_data_everywhere(ensemble, node, marker)
    client.abandon()
    check_equal_everywhere(ensemble)


def check_data_everywhere(ensemble, node, data):
    for member in ensemble.running:
        reader = ensemble.client(member.sid)
        catch_up(reader)
        equal(data, read(reader, node), f"data on {member}")
        ok(reader.close())


def m36_each_leader_has_a_higher_epoch_and_counts_from_the_start(ensemble, path):
    epochs = [epoch_of(ensemble, ensemble.leader())]
    for number in range(3):
        ensemble.members[ensemble.leader()].kill()
        ensemble.wait()
        writer = Session([(member.host, member.port) for member in ensemble.running])
        writer.must(zk.CREATE, zk.create_body(f"{path}/n{number}", b""))
        writer.close()
        epochs.append(epoch_of(ensemble, ensemble.leader()))
        ensemble.heal()
    equal(sorted(set(epochs)), epochs, "epochs, each above the last")
    # A session's beginning and end take zxids as well, so that only the logs tell what an epoch's first is.
    zxids = {record.zxid for member in ensemble.members.values() for record in logs.read(member)}
    for epoch in epochs[1:]:
        counters = sorted(zxid & 0xFFFFFFFF for zxid in zxids if zxid >> 32 == epoch)
        equal(list(range(1, len(counters) + 1)), counters, f"counters of epoch {epoch}")
        equal(True, len(counters) > 0, f"epoch {epoch} has transactions")


def m37_a_tail_that_was_never_committed_is_truncated(ensemble, path):
    leader = ensemble.leader()
    client = ensemble.client(leader, timeout_ms=120000)
    node = create(client, f"{path}/n", b"before")
    committed = ok(client.call(zk.SYNC, zk.text("/"))).zxid
    write_what_only_the_leader_logs(ensemble, client, node, f"only the leader has {path}".encode())
    tail = [record.zxid for record in logs.read(ensemble.members[leader]) if record.zxid > committed]
    equal([committed + 1], tail, "the tail")
    new = ensemble.wait()
    before = ensemble.members[new].monitor()
    ensemble.heal()
    after = ensemble.members[new].monitor()
    # Both count what is cut among the differences.
    snapshots = [int(figures.get("snap_count", 0)) for figures in (before, after)]
    equal(snapshots[0], snapshots[1], "snapshots that its new leader has sent")
    zxids = [record.zxid for record in logs.read(ensemble.members[leader])]
    equal([], [zxid for zxid in zxids if committed < zxid < new_epoch(committed)], "what its log has of the tail")
    client.abandon()
    check_data_everywhere(ensemble, node, b"before")
    check_equal_everywhere(ensemble)


def new_epoch(zxid):
    """The first zxid of the epoch after this one's."""
    return ((zxid >> 32) + 1) << 32


def m33_five_servers_work_without_two_and_stop_without_three(ensemble, path):
    """On five of the same kinds, beside the ensemble that is given."""
    five = (ensemble.kinds * 5)[:5]
    with Ensemble(ensemble.folder / "five", five, config=ensemble.config, properties=ensemble.properties) as larger:
        try:
            check_five(larger, path)
        except Exception:
            print(larger.logs(), file=sys.stderr, flush=True)
            raise


def check_five(ensemble, path):
    keeper = Session(ensemble.addresses, 120000)
    keeper.must(zk.CREATE, zk.create_body(path, b""))
    with Load(ensemble, f"{path}/load", workers=2) as load:
        load.pass_by(100)
        leader = ensemble.leader()
        ensemble.members[leader].kill()
        load.pass_by(100)
        ensemble.members[ensemble.followers()[0]].kill()
        load.pass_by(100)
    # A third one: who is left answers no write, and soon nothing at all.
    node = f"{path}/n"
    keeper.must(zk.CREATE, zk.create_body(node, b"before"))
    ensemble.members[ensemble.followers()[0]].kill()
    survivors = ensemble.running
    attempts = []
    for number, survivor in enumerate(survivors):
        try:
            connection = ensemble.client(survivor.sid, session=keeper.identity)
            connection.send_all([(zk.SET_DATA, zk.set_data_body(node, b"alone %d" % number))])
            attempts.append(connection)
        except (ConnectionLost, OSError):
            pass
    for connection in attempts:
        try:
            error = connection.receive().error
            equal(True, error != zk.OK, "a write was acknowledged by two servers of five")
        except (ConnectionLost, OSError):
            pass
    for survivor in survivors:
        until(f"{survivor} to stop serving", lambda: survivor.mode() is None)
    for survivor in survivors:
        try:
            ensemble.client(survivor.sid, session=keeper.identity)
            raise AssertionError(f"{survivor} took a session, though only two servers of five are left")
        except (ConnectionLost, OSError):
            pass
    ensemble.heal()
    keeper.lose()
    keeper.catch_up()
    found = zk.parse_buffer(keeper.must(zk.GET_DATA, zk.read_body(node)).body)[0]
    # What a survivor logged may have become true; nothing else may.
    equal(True, found in (b"before", *(b"alone %d" % number for number in range(2))), f"data {found!r}")
    with Load(ensemble, f"{path}/again", workers=2) as load:
        load.pass_by(50)
    keeper.close()
    check_equal_everywhere(ensemble)


CHECKS = [
    m20_session_ids_are_not_given_again_after_all_servers_died,
    m20_all_servers_know_a_session_that_any_of_them_opened,
    m24_watches_end_with_their_session_and_a_new_one_starts_clean,
    m29_what_changed_while_away_fires_at_once_on_the_new_server,
    m29_a_node_created_and_deleted_while_away_is_the_one_gap,
    m35_a_commit_that_reached_only_some_is_in_the_end_on_all,
    m36_each_leader_has_a_higher_epoch_and_counts_from_the_start,
]
CREATE_CONTAINER, CREATE_TTL, AUTH, AUTH_XID, GET_ACL = 19, 21, 100, -4, 6
CONTAINER, TTL = 4, 5
READ_WRITE, ALL = 3, 31


def as_user(client):
    """The connection is that of a user from now on."""
    body = struct.pack(">i", 0) + zk.text("digest") + zk.buffer(b"user:secret")
    client.socket.sendall(struct.pack(">iii", 8 + len(body), AUTH_XID, AUTH) + body)
    ok(client.receive())
    return client


def body_with(path, data, entries, flags, *ttl):
    """A request to create a node with such an access list: permissions, scheme and id of each entry."""
    acl = struct.pack(">i", len(entries))
    for permissions, scheme, who in entries:
        acl += struct.pack(">i", permissions) + zk.text(scheme) + zk.text(who)
    return zk.text(path) + zk.buffer(data) + acl + struct.pack(">i", flags) + b"".join(struct.pack(">q", ms) for ms in ttl)


def z3306_z4846_access_lists_and_kinds_of_nodes_reach_every_server(ensemble, path):
    """By proposals, by a DIFF and by a whole state, whoever was asked; no digest covers access lists."""
    anyone, paths = [(ALL, "world", "anyone")], []

    def make(client, kind):
        nodes = {
            "auth": (zk.CREATE, b"x", [(ALL, "auth", "")], zk.PERSISTENT),
            "several": (zk.CREATE, b"x", [(ALL, "ip", "127.0.0.0/8"), (READ_WRITE, "digest", "other:hash=")], 0),
            "null": (zk.CREATE, None, anyone, zk.PERSISTENT),
            "container": (CREATE_CONTAINER, b"x", anyone, CONTAINER),
            "ttl": (CREATE_TTL, b"x", [(ALL, "auth", ""), *anyone], TTL, 10**9),
        }
        for name, (op, data, entries, *flags) in nodes.items():
            node = f"{path}/{kind}-{name}"
            ok(client.call(op, body_with(node, data, entries, *flags)))
            paths.append(node)
        # Empty, a container may go at any time.
        create(client, f"{path}/{kind}-container/child")

    def look(sid):
        client = as_user(ensemble.client(sid))
        catch_up(client)
        seen = {}
        for node in paths:
            access = client.call(GET_ACL, zk.text(node))
            content = client.call(zk.GET_DATA, zk.read_body(node))
            seen[node] = ok(access).body, ok(content).body
        ok(client.close())
        return seen

    def compare():
        reference = look(ensemble.sids[0])
        for sid in ensemble.sids[1:]:
            found = look(sid)
            differing = [node for node in paths if found[node] != reference[node]]
            equal([], [(node, found[node], reference[node]) for node in differing[:1]], f"{len(differing)} nodes differ")
        check_equal_everywhere(ensemble)

    for sid in ensemble.sids:
        client = as_user(ensemble.client(sid))
        make(client, f"through-{sid}")
        ok(client.close())
    compare()
    for sid in ensemble.sids:
        for empty in (False, True):
            ensemble.members[sid].kill()
            if empty:
                ensemble.members[sid].empty()
            client = as_user(ensemble.client(ensemble.leader()))
            make(client, f"without-{sid}-{empty}")
            ok(client.close())
            ensemble.heal()
            compare()


# Checks that want an ensemble of their own, with its settings and properties.
APART = {
    z3306_z4846_access_lists_and_kinds_of_nodes_reach_every_server: (
        {},
        {"zookeeper.extendedTypesEnabled": "true"},
    ),
    m37_a_tail_that_was_never_committed_is_truncated: ({}, {}),
    m33_five_servers_work_without_two_and_stop_without_three: ({}, {}),
}
