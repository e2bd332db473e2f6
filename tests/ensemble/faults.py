"""What an ensemble does when its servers die, freeze and return. Every check leaves it to the next one healed."""

import shutil

import raw_client as zk
from ensemble import until
from raw_client import ConnectionLost
from sessions import Load, Session, catch_up
from smoke import create, equal, exists, ok, read, set_data, short_lived
from trees import check_equal_everywhere, synced_tree


def m33_a_killed_leader_loses_no_acknowledged_write(ensemble, path):
    with Load(ensemble, f"{path}/load") as load:
        for _ in range(3):
            load.pass_by(300)
            ensemble.members[ensemble.leader()].kill()
            load.pass_by(300)
            ensemble.heal()
    print(f"    {load.findings.acknowledged} writes; the longest time without one {load.findings.gap * 1000:.0f} ms")
    check_equal_everywhere(ensemble)


def m24_ephemerals_of_those_who_died_with_the_leader_go_and_others_stay(ensemble, path):
    leader = ensemble.leader()
    follower = next(sid for sid in ensemble.sids if sid != leader)
    # The next leader gives it its time-out again, the one that it was made with.
    short_lived(ensemble, leader, f"{path}/dead", timeout_ms=5000)
    alive = Session(ensemble.addresses, 60000, leader - 1)
    alive.must(zk.CREATE, zk.create_body(f"{path}/alive", b"", zk.EPHEMERAL))
    ensemble.members[leader].kill()
    watcher = Session(ensemble.addresses, 60000, follower - 1)

    def the_dead_is_gone():
        alive.must(zk.PING)
        return watcher.must(zk.EXISTS, zk.read_body(f"{path}/dead"), (zk.OK, zk.NO_NODE)).error == zk.NO_NODE

    until("the end of the dead session", the_dead_is_gone)
    watcher.must(zk.EXISTS, zk.read_body(f"{path}/alive"))
    alive.must(zk.SET_DATA, zk.set_data_body(f"{path}/alive", b"still"))
    alive.close()
    watcher.close()


def m23_sessions_kept_alive_outlive_their_servers_one_by_one(ensemble, path):
    sessions = [Session(ensemble.addresses, 30000, sid - 1) for sid in ensemble.sids]
    for number, session in enumerate(sessions):
        session.must(zk.CREATE, zk.create_body(f"{path}/e{number}", b"", zk.EPHEMERAL))
    identities = [session.identity for session in sessions]
    for sid in ensemble.sids:
        ensemble.members[sid].kill()
        for number, session in enumerate(sessions):
            session.must(zk.SET_DATA, zk.set_data_body(f"{path}/e{number}", b"without %d" % sid))
        ensemble.heal()
    equal(identities, [session.identity for session in sessions], "ids and passwords")
    for session in sessions:
        session.close()


def m33_m37_a_dead_follower_causes_no_election_and_returns_by_diff(ensemble, path):
    leader = ensemble.leader()
    victim = next(sid for sid in ensemble.sids if sid != leader)
    epoch = epoch_of(ensemble, leader)
    with Load(ensemble, f"{path}/load", workers=2) as load:
        ensemble.members[victim].kill()
        load.pass_by(200)
        before = ensemble.members[leader].monitor()
        ensemble.heal()
        load.pass_by(50)
    equal((leader, epoch), (ensemble.leader(), epoch_of(ensemble, leader)), "leader and epoch")
    check_way(ensemble, leader, before, "diff")
    check_equal_everywhere(ensemble)


def m37_an_emptied_follower_gets_everything_again(ensemble, path):
    leader = ensemble.leader()
    victim = next(sid for sid in ensemble.sids if sid != leader)
    with Load(ensemble, f"{path}/load", workers=2) as load:
        load.pass_by(100)
        ensemble.members[victim].kill()
        ensemble.members[victim].empty()
        ensemble.heal()
        load.pass_by(100)
    check_equal_everywhere(ensemble)


def m33_without_a_majority_nothing_is_acknowledged(ensemble, path):
    client = Session(ensemble.addresses, 60000)
    client.must(zk.CREATE, zk.create_body(f"{path}/n", b"before"))
    survivor = ensemble.leader()
    others = [sid for sid in ensemble.sids if sid != survivor]
    for sid in others[: len(ensemble.sids) // 2 + 1]:
        ensemble.members[sid].kill()
    # Until it has noticed, the survivor may take a request; it must not say that it is done.
    connection = None
    try:
        connection = ensemble.client(survivor, session=client.identity)
        error = connection.call(zk.SET_DATA, zk.set_data_body(f"{path}/n", b"alone")).error
        raise AssertionError(f"a write was answered with {error} by one server of {len(ensemble.sids)}")
    except (ConnectionLost, OSError):
        pass
    until("the survivor to stop serving", lambda: ensemble.members[survivor].mode() is None)
    ensemble.heal()
    client.lose()
    client.catch_up()
    # It was in the survivor's log, so that it may have become true; that is all that it may be.
    reply = client.must(zk.GET_DATA, zk.read_body(f"{path}/n"))
    found = zk.parse_buffer(reply.body)[0]
    equal(True, found in (b"before", b"alone"), f"data {found!r}")
    client.close()


def m38_what_was_acknowledged_outlives_the_death_of_all(ensemble, path):
    with Load(ensemble, f"{path}/load") as load:
        for _ in range(2):
            load.pass_by(300)
            for member in ensemble.members.values():
                member.kill()
            ensemble.heal()
            load.pass_by(50)
    check_equal_everywhere(ensemble)


def m36_a_frozen_leader_is_deposed_and_acknowledges_nothing_when_it_wakes(ensemble, path):
    leader = ensemble.leader()
    # So long that the session lives on, whoever leads.
    old = ensemble.client(leader, timeout_ms=120000)
    node = create(old, f"{path}/n", b"before")
    epoch = epoch_of(ensemble, leader)
    ensemble.members[leader].freeze()
    # Sent to the frozen one; its kernel takes it.
    old.send_all([(zk.SET_DATA, zk.set_data_body(node, b"from the old leader"))])
    ensemble.wait()
    writer = Session([address for address in ensemble.addresses if address != ensemble.addresses[leader - 1]])
    writer.must(zk.SET_DATA, zk.set_data_body(node, b"from the new one"))
    ensemble.members[leader].thaw()
    try:
        error = old.receive().error
        raise AssertionError(f"the deposed leader answered a write with {error}")
    except (ConnectionLost, OSError):
        pass
    ensemble.wait()
    equal(True, epoch_of(ensemble, ensemble.leader()) > epoch, "the epoch grew")
    writer.catch_up()
    equal(b"from the new one", zk.parse_buffer(writer.must(zk.GET_DATA, zk.read_body(node)).body)[0], "data")
    writer.close()
    check_equal_everywhere(ensemble)


def m30_a_frozen_follower_holds_nobody_up(ensemble, path):
    leader = ensemble.leader()
    victim = next(sid for sid in ensemble.sids if sid != leader)
    with Load(ensemble, f"{path}/load", workers=2) as load:
        ensemble.members[victim].freeze()
        load.pass_by(500)
        ensemble.members[victim].thaw()
        load.pass_by(50)
    equal(leader, ensemble.leader(), "the leader")
    check_equal_everywhere(ensemble)


def m32_a_follower_answers_reads_while_its_leader_stands_still(ensemble, path):
    leader = ensemble.leader()
    client = ensemble.client(leader)
    node = create(client, f"{path}/n", b"data")
    ok(client.close())

    def is_read():
        """Whether it was, before the follower missed its leader."""
        ensemble.wait()
        leader, follower = ensemble.leader(), ensemble.followers()[0]
        reader = ensemble.client(follower, timeout_ms=120000)
        catch_up(reader)
        ensemble.members[leader].freeze()
        try:
            equal((b"data", True), (read(reader, node), exists(reader, node)), "what it reads")
            return True
        except (ConnectionLost, OSError):
            return False
        finally:
            ensemble.members[leader].thaw()
            reader.abandon()

    # Only a machine that stands still for half of syncLimit itself lets it take more than one.
    until("a follower to answer without its leader", is_read)


def a_leader_that_is_told_to_stop_leaves_an_ensemble_that_works(ensemble, path):
    with Load(ensemble, f"{path}/load") as load:
        load.pass_by(200)
        ensemble.members[ensemble.leader()].stop()
        load.pass_by(200)
        ensemble.heal()
    print(f"    the longest time without an acknowledged write {load.findings.gap * 1000:.0f} ms")
    check_equal_everywhere(ensemble)


def m34_a_write_that_only_its_leader_logged_is_dropped(ensemble, path):
    drop_a_tail(ensemble, path, newer_epoch_has_writes=False)


def m34_a_write_that_only_its_leader_logged_is_dropped_after_newer_ones(ensemble, path):
    drop_a_tail(ensemble, path, newer_epoch_has_writes=True)


def write_what_only_the_leader_logs(ensemble, client, node, marker):
    """Sets data through the leader, which dies with it; the others, who have not heard of it, start without it."""
    leader = ensemble.members[ensemble.leader()]
    followers = [member for member in ensemble.members.values() if member is not leader]
    for follower in followers:
        follower.freeze()
    client.send_all([(zk.SET_DATA, zk.set_data_body(node, marker))])
    # What the frozen ones have in their sockets dies with them, before they could read it.
    until("the leader's log to hold it", lambda: leader.holds(marker))
    for follower in followers:
        follower.kill()
    leader.kill()
    for follower in followers:
        equal(False, follower.holds(marker), f"{follower} holds it")
        follower.launch()


def drop_a_tail(ensemble, path, newer_epoch_has_writes):
    leader = ensemble.leader()
    followers = [ensemble.members[sid] for sid in ensemble.sids if sid != leader]
    client = ensemble.client(leader, timeout_ms=120000)
    node = create(client, f"{path}/n", b"before")
    marker = f"only the leader has {path}".encode()
    # Both followers have all until here, so that of two that are equal the higher number leads.
    readers = [ensemble.client(follower.sid, timeout_ms=120000) for follower in followers]
    for reader in readers:
        catch_up(reader)
    for reader in readers:
        reader.abandon()
    write_what_only_the_leader_logs(ensemble, client, node, marker)
    ensemble.wait()
    print(f"    {ensemble.members[leader]} has a tail, {ensemble.members[ensemble.leader()]} leads without it")
    equal(max(follower.sid for follower in followers), ensemble.leader(), "the new leader")
    if newer_epoch_has_writes:
        writer = Session([(follower.host, follower.port) for follower in followers])
        for number in range(20):
            writer.must(zk.SET_DATA, zk.set_data_body(node, b"newer %d" % number))
        writer.close()
    ensemble.heal()
    for sid in ensemble.sids:
        reader = ensemble.client(sid)
        catch_up(reader)
        expected = b"newer 19" if newer_epoch_has_writes else b"before"
        equal(expected, read(reader, node), f"data on server {sid}")
        reader.close()
    client.abandon()
    check_equal_everywhere(ensemble)
    # It stays dropped when its old leader must read its log again.
    ensemble.members[leader].kill()
    ensemble.heal()
    check_equal_everywhere(ensemble)


def m35_a_write_that_the_followers_have_outlives_its_leader(ensemble, path):
    leader = ensemble.leader()
    client = ensemble.client(leader, timeout_ms=120000)
    node = create(client, f"{path}/n", b"before")
    others = [ensemble.members[sid] for sid in ensemble.sids if sid != leader]
    marker = f"the followers have {path}".encode()
    client.send_all([(zk.SET_DATA, zk.set_data_body(node, marker))])
    until("a follower's log to hold it", lambda: any(member.holds(marker) for member in others))
    ensemble.members[leader].kill()
    ensemble.wait()
    acknowledged = True
    try:
        ok(client.receive())
    except (ConnectionLost, OSError):
        acknowledged = False
    reader = Session([(member.host, member.port) for member in others])
    reader.catch_up()
    found = zk.parse_buffer(reader.must(zk.GET_DATA, zk.read_body(node)).body)[0]
    # The one that had it had the newest history, and so one that has it leads now. (Of two stock servers the other may,
    # when it was not yet on the disk of the one.)
    if acknowledged or ensemble.kinds == ["ours"] * 3 or ensemble.members[ensemble.leader()].holds(marker):
        equal(marker, found, "data")
    reader.close()
    ensemble.heal()
    check_equal_everywhere(ensemble)


def m37_a_follower_that_missed_much_gets_a_snapshot(ensemble, path):
    """On an ensemble of its own, whose servers keep little to send; see `run`."""
    leader = ensemble.leader()
    victim = next(sid for sid in ensemble.sids if sid != leader)
    client = ensemble.client(leader)
    gone = create(client, f"{path}/gone")
    mine = create(client, f"{path}/ephemeral", b"", zk.EPHEMERAL)
    catch_up(client)
    ensemble.members[victim].kill()
    ok(client.call(zk.DELETE, zk.delete_body(gone)))
    client.call_all([(zk.CREATE, zk.create_body(f"{path}/n{number}", b"x" * 100)) for number in range(1500)])
    before = ensemble.members[leader].monitor()
    with Load(ensemble, f"{path}/load", workers=2) as load:
        ensemble.heal()
        load.pass_by(100)
    check_way(ensemble, leader, before, "snap")
    reader = ensemble.client(victim)
    catch_up(reader)
    equal((False, True), (exists(reader, gone), exists(reader, mine)), "the deleted node, and the ephemeral")
    set_data(reader, f"{path}/n1", b"through the returned one")
    ok(client.close())
    catch_up(reader)
    equal(False, exists(reader, mine), "the ephemeral after its session's end")
    reader.close()
    check_equal_everywhere(ensemble)
    # And it can read again from its disk what it was sent.
    ensemble.members[victim].kill()
    ensemble.heal()
    check_equal_everywhere(ensemble)


def m37_where_a_majority_lost_its_data_an_operator_decides_who_leads(ensemble, path):
    """On an ensemble of its own; see `run`."""
    if not all_ours(ensemble):
        return
    survivor = ensemble.followers()[0]
    lost = [sid for sid in ensemble.sids if sid != survivor]
    client = ensemble.client(survivor)
    client.call_all([(zk.CREATE, zk.create_body(f"{path}/n{number}", b"x" * 100)) for number in range(300)])
    ok(client.close())
    tree = synced_tree(ensemble, survivor)
    equal(True, f"{path}/n299" in tree, "the last node is in the tree")
    status, said, refusal = ensemble.members[survivor].admit("--yes")
    equal((3, "", True), (status, said, "in use by another process" in refusal), f"while it runs: {refusal}")

    for member in ensemble.members.values():
        member.kill()
    for member in ensemble.members.values():
        member.properties["zookeeper.db.autocreate"] = "false"
        if member.sid in lost:
            member.empty()
        member.launch()
    for sid in lost:
        until(f"server {sid} to say so", lambda: says(ensemble.members[sid], "this server has no vote"))
    equal([None] * 3, [member.mode() for member in ensemble.members.values()], "modes without a majority")

    admitted = ensemble.members[lost[0]]
    admitted.kill()
    status, said, _ = admitted.admit()
    equal((2, True), (status, "0x0 (nothing)" in said and "Nothing was changed." in said), f"asked: {said}")
    equal((status, said), admitted.admit()[:2], "asked again")
    status, said, _ = admitted.admit("--yes")
    equal((0, True), (status, "this server has its vote" in said), f"decided: {said}")
    check_has_vote(admitted)
    admitted.launch()
    equal(survivor, ensemble.wait(), "the leader")
    for sid in ensemble.sids:
        equal(True, tree == synced_tree(ensemble, sid), f"the tree of server {sid} is the survivor's")
    for member in ensemble.members.values():
        member.stop()
        check_has_vote(member)
        member.launch()
        ensemble.wait()
    check_equal_everywhere(ensemble)


def m37_a_server_restored_from_an_old_copy_has_no_vote_until_it_is_synced(ensemble, path):
    """On an ensemble of its own; see `run`."""
    if not all_ours(ensemble):
        return
    victim = ensemble.members[ensemble.followers()[0]]
    with Load(ensemble, f"{path}/load", workers=2) as load:
        load.pass_by(100)
        victim.stop()
        copy = victim.folder / "copy"
        shutil.copytree(victim.data_folder, copy)
        ensemble.heal()
        load.pass_by(100)
        victim.stop()
        shutil.rmtree(victim.data_folder)
        shutil.copytree(copy, victim.data_folder)
        check_has_vote(victim)
        equal(2, victim.admit("--strip")[0], "status of what it would do")
        check_has_vote(victim)
        equal(0, victim.admit("--strip", "--yes")[0], "status once it is done")
        equal(2, victim.admit()[0], "status without a vote")
        ensemble.heal()
        load.pass_by(100)
    equal(True, says(victim, "this server has no vote"), "it says so")
    victim.stop()
    check_has_vote(victim)
    ensemble.heal()
    check_equal_everywhere(ensemble)


def all_ours(ensemble):
    ours = all(kind == "ours" for kind in ensemble.kinds)
    if not ours:
        print("    a stock server always has its vote: nothing to decide")
    return ours


def says(member, words):
    return words in member.log_path.read_text(errors="replace")


def check_has_vote(member):
    status, said, _ = member.admit()
    equal((0, True), (status, "It has its vote." in said), f"vote of {member}: {said}")


def epoch_of(ensemble, sid):
    client = ensemble.client(sid)
    zxid = ok(client.call(zk.SYNC, zk.text("/"))).zxid
    client.close()
    return zxid >> 32


def check_way(ensemble, leader, before, way):
    """That the leader has sent a diff or a snapshot meanwhile."""
    counts = {}
    for kind in ("diff", "snap"):
        key = f"{kind}_count"
        counts[kind] = int(ensemble.members[leader].monitor().get(key, 0)) - int(before.get(key, 0))
    equal({"diff": 0, "snap": 0, way: 1}, counts, f"syncs that {ensemble.members[leader]} counts")


CHECKS = [
    m33_a_killed_leader_loses_no_acknowledged_write,
    m24_ephemerals_of_those_who_died_with_the_leader_go_and_others_stay,
    m23_sessions_kept_alive_outlive_their_servers_one_by_one,
    m33_m37_a_dead_follower_causes_no_election_and_returns_by_diff,
    m37_an_emptied_follower_gets_everything_again,
    m33_without_a_majority_nothing_is_acknowledged,
    m38_what_was_acknowledged_outlives_the_death_of_all,
    m36_a_frozen_leader_is_deposed_and_acknowledges_nothing_when_it_wakes,
    m30_a_frozen_follower_holds_nobody_up,
    m32_a_follower_answers_reads_while_its_leader_stands_still,
    a_leader_that_is_told_to_stop_leaves_an_ensemble_that_works,
    m34_a_write_that_only_its_leader_logged_is_dropped,
    m34_a_write_that_only_its_leader_logged_is_dropped_after_newer_ones,
    m35_a_write_that_the_followers_have_outlives_its_leader,
]
# Checks that want an ensemble of their own, and its settings.
APART = {
    m37_a_follower_that_missed_much_gets_a_snapshot: {
        "snapCount": "200",
        "commitLogCount": "500",
        "snapshotSizeFactor": "-1",
    },
    m37_where_a_majority_lost_its_data_an_operator_decides_who_leads: {},
    m37_a_server_restored_from_an_old_copy_has_no_vote_until_it_is_synced: {},
}
