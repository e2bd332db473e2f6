"""What an ensemble does when its servers do not hear each other. On a `Network`; clients reach every server throughout."""

import raw_client as zk
from ensemble import until
from faults import epoch_of
from raw_client import ConnectionLost
from sessions import Load, Session
from smoke import create, equal
from trees import check_equal_everywhere


def sides(ensemble):
    """The leader, and the others."""
    leader = ensemble.leader()
    return leader, [sid for sid in ensemble.sids if sid != leader]


def serves(ensemble, sid):
    return ensemble.members[sid].mode() is not None


def leads_among(ensemble, sids):
    """The leader's number if one of these leads."""
    return next((sid for sid in sids if ensemble.members[sid].mode() == "leader"), None)


def m36_a_leader_cut_off_from_all_others_acknowledges_nothing_and_returns(ensemble, path):
    leader, others = sides(ensemble)
    old = ensemble.client(leader, timeout_ms=120000)
    node = create(old, f"{path}/n", b"before")
    ensemble.network.part([leader], others)
    old.send_all([(zk.SET_DATA, zk.set_data_body(node, b"cut off"))])
    until("a leader of the majority", lambda: leads_among(ensemble, others))
    writer = Session([ensemble.addresses[sid - 1] for sid in others])
    writer.must(zk.SET_DATA, zk.set_data_body(node, b"by the majority"))
    try:
        error = old.receive().error
        raise AssertionError(f"the leader that was cut off answered a write with {error}")
    except (ConnectionLost, OSError):
        pass
    until("the old leader to stop serving", lambda: ensemble.members[leader].mode() is None)
    ensemble.heal()
    writer.catch_up()
    equal(b"by the majority", zk.parse_buffer(writer.must(zk.GET_DATA, zk.read_body(node)).body)[0], "data")
    writer.close()
    check_equal_everywhere(ensemble)


def costs_nobody_anything(ensemble, path, cut):
    """A follower stops serving and the others go on, when `cut(follower, other)` has been done with each of them."""
    leader, others = sides(ensemble)
    victim = others[0]
    with Load(ensemble, f"{path}/load", workers=2) as load:
        load.pass_by(50)
        for sid in ensemble.sids:
            if sid != victim:
                cut(victim, sid)
        until("the follower to stop serving", lambda: ensemble.members[victim].mode() is None)
        load.pass_by(200)
        ensemble.heal()
    equal(leader, ensemble.leader(), "the leader")
    check_equal_everywhere(ensemble)


def m33_a_follower_cut_off_stops_serving_and_costs_nobody_anything(ensemble, path):
    costs_nobody_anything(ensemble, path, lambda victim, sid: ensemble.network.part([victim], [sid]))


def a_follower_that_hears_but_is_not_heard_costs_nobody_anything(ensemble, path):
    costs_nobody_anything(ensemble, path, ensemble.network.cut)


def a_follower_that_is_heard_but_hears_nothing_costs_nobody_anything(ensemble, path):
    costs_nobody_anything(ensemble, path, lambda victim, sid: ensemble.network.cut(sid, victim))


def a_leader_that_is_not_heard_is_replaced(ensemble, path):
    leader, others = sides(ensemble)
    for sid in others:
        ensemble.network.cut(leader, sid)
    until("a leader of the others", lambda: leads_among(ensemble, others))
    writer = Session([ensemble.addresses[sid - 1] for sid in others])
    writer.must(zk.CREATE, zk.create_body(f"{path}/n", b""))
    writer.close()
    ensemble.heal()
    check_equal_everywhere(ensemble)


def a_leader_that_hears_nothing_is_replaced(ensemble, path):
    leader, others = sides(ensemble)
    node = create(ensemble.client(leader, timeout_ms=120000), f"{path}/n", b"before")
    for sid in others:
        ensemble.network.cut(sid, leader)
    # It may not commit, so that it may as well not lead.
    until("the deaf leader to stop serving", lambda: ensemble.members[leader].mode() is None)
    until("a leader of the others", lambda: leads_among(ensemble, others))
    writer = Session([ensemble.addresses[sid - 1] for sid in others])
    writer.must(zk.SET_DATA, zk.set_data_body(node, b"by those who hear"))
    writer.close()
    ensemble.heal()
    check_equal_everywhere(ensemble)


def two_followers_that_do_not_hear_each_other_are_served_by_their_leader(ensemble, path):
    leader, others = sides(ensemble)
    ensemble.network.part(*([sid] for sid in others))
    with Load(ensemble, f"{path}/load", workers=2) as load:
        load.pass_by(300)
    equal(leader, ensemble.leader(), "the leader")
    ensemble.heal()
    check_equal_everywhere(ensemble)


def no_acknowledged_write_is_lost_while_the_leader_is_cut_off_again_and_again(ensemble, path):
    with Load(ensemble, f"{path}/load") as load:
        for _ in range(3):
            leader, others = sides(ensemble)
            load.pass_by(100)
            ensemble.network.part([leader], others)
            until("a leader of the majority", lambda: leads_among(ensemble, others))
            load.pass_by(100)
            ensemble.heal()
    print(f"    the longest time without an acknowledged write {load.findings.gap * 1000:.0f} ms")
    check_equal_everywhere(ensemble)


def until_none_serves(ensemble, deaf):
    """None of those that do not hear their leader any more."""
    for sid in deaf:
        until(f"server {sid}, which does not hear its leader, to stop serving", lambda: not serves(ensemble, sid))


def f18_a_leader_of_one_of_two_pairs_that_a_fifth_joins_leads_on(ensemble, path):
    leader, others = sides(ensemble)
    pair, far = [leader, others[0]], others[2:]
    epoch = epoch_of(ensemble, leader)
    with Load(ensemble, f"{path}/load") as load:
        load.pass_by(100)
        ensemble.network.part(pair, far)
        until_none_serves(ensemble, far)
        load.pass_by(300)
        # The far ones want another leader, and tell the fifth so.
        equal(leader, leads_among(ensemble, ensemble.sids), "the leader")
        ensemble.heal()
        load.pass_by(100)
    equal((leader, epoch), (ensemble.leader(), epoch_of(ensemble, leader)), "leader and epoch")
    check_equal_everywhere(ensemble)


def f18_a_leader_that_joins_two_pairs_serves_both(ensemble, path):
    leader, others = sides(ensemble)
    epoch = epoch_of(ensemble, leader)
    with Load(ensemble, f"{path}/load") as load:
        load.pass_by(100)
        ensemble.network.part(others[:2], others[2:])
        load.pass_by(500)
        equal([True] * 5, [serves(ensemble, sid) for sid in ensemble.sids], "who serves")
        ensemble.heal()
    equal((leader, epoch), (ensemble.leader(), epoch_of(ensemble, leader)), "leader and epoch")
    check_equal_everywhere(ensemble)


def f18_a_leader_of_a_pair_that_dies_has_a_successor_beyond_the_bridge(ensemble, path):
    """The one that is left of its pair has as much as the fifth, and reaches nobody else: it must not keep the others from
    leading."""
    leader, others = sides(ensemble)
    left, bridge, far = others[0], others[1], others[2:]
    with Load(ensemble, f"{path}/load") as load:
        load.pass_by(100)
        ensemble.network.part([leader, left], far)
        until_none_serves(ensemble, far)
        load.pass_by(100)
        ensemble.members[leader].kill()
        until("a leader", lambda: leads_among(ensemble, [bridge, *far]))
        load.pass_by(100)
        ensemble.heal()
    print(f"    the longest time without an acknowledged write {load.findings.gap * 1000:.0f} ms")
    check_equal_everywhere(ensemble)


def f18_a_leader_in_a_ring_of_five_leads_on_with_its_neighbours(ensemble, path):
    """Each hears its two neighbours alone. (If it died, the two that have its last writes would reach nobody's majority.)"""
    leader, others = sides(ensemble)
    ring = [leader, *others]
    epoch = epoch_of(ensemble, leader)
    with Load(ensemble, f"{path}/load") as load:
        load.pass_by(100)
        for place, sid in enumerate(ring):
            ensemble.network.part([sid], [ring[(place + 2) % 5]])
        until_none_serves(ensemble, ring[2:4])
        load.pass_by(300)
        equal(leader, leads_among(ensemble, ensemble.sids), "the leader")
        ensemble.heal()
        load.pass_by(100)
    equal((leader, epoch), (ensemble.leader(), epoch_of(ensemble, leader)), "leader and epoch")
    check_equal_everywhere(ensemble)


CHECKS = [
    m36_a_leader_cut_off_from_all_others_acknowledges_nothing_and_returns,
    m33_a_follower_cut_off_stops_serving_and_costs_nobody_anything,
    a_follower_that_hears_but_is_not_heard_costs_nobody_anything,
    a_leader_that_is_not_heard_is_replaced,
    a_follower_that_is_heard_but_hears_nothing_costs_nobody_anything,
    a_leader_that_hears_nothing_is_replaced,
    two_followers_that_do_not_hear_each_other_are_served_by_their_leader,
    no_acknowledged_write_is_lost_while_the_leader_is_cut_off_again_and_again,
]
# Of five servers: two pairs that do not hear each other, and one that both hear; and rings.
FIVE = [
    f18_a_leader_of_one_of_two_pairs_that_a_fifth_joins_leads_on,
    f18_a_leader_that_joins_two_pairs_serves_both,
    f18_a_leader_of_a_pair_that_dies_has_a_successor_beyond_the_bridge,
    f18_a_leader_in_a_ring_of_five_leads_on_with_its_neighbours,
]
