"""Whole trees as clients see them, and the digest that ZooKeeper would compute of them."""

import struct
import zlib

import raw_client as zk
from ensemble import until
from server import four_letter_word
from sessions import catch_up, data_and_stat

# Below it every server keeps things of its own: configuration and quota statistics.
OWN = "/zookeeper/"


def read_tree(client):
    """Data and Stat by path, of everything but what is below OWN."""
    tree, paths = {}, ["/"]
    while paths:
        requests = []
        for path in paths:
            requests += [(zk.GET_DATA, zk.read_body(path)), (zk.GET_CHILDREN, zk.read_body(path))]
        replies = client.call_all(requests)
        below = []
        for path, node, listing in zip(paths, replies[::2], replies[1::2]):
            if zk.OK not in (node.error, listing.error):
                continue  # Gone between its parent's listing and now.
            tree[path] = data_and_stat(node)
            names = sorted(zk.parse_children(listing.body))
            below += [child for child in (f"{path.rstrip('/')}/{name}" for name in names) if not child.startswith(OWN)]
        paths = below
    return tree


def node_digest(path, data, stat):
    """DigestCalculator.calculateDigest, of what is not a container or a node with a time to live."""
    # A client is told twice the number of changes of the children, less the children.
    changes = (stat["cversion"] + stat["children"]) // 2
    numbers = [stat[field] for field in ("czxid", "mzxid", "pzxid", "ctime", "mtime")]
    fields = struct.pack(">qqqqqiiiq", *numbers, stat["version"], changes, stat["aversion"], stat["ephemeral_owner"])
    return zlib.crc32(("" if path == "/" else path).encode() + (data or b"") + fields)


def tree_digest(tree):
    """The sum that transactions carry (DataTree.getTreeDigest), as an unsigned number."""
    return sum(node_digest(path, data, stat) for path, (data, stat) in tree.items()) % 2**64


def logged_digests(member):
    """What `hash` answers: digest by zxid, of every 128th transaction."""
    lines = four_letter_word(member.host, member.port, "hash", 30.0).splitlines()
    pairs = (line.split(": ") for line in lines if ": " in line)
    return {int(zxid.removeprefix("0x"), 16): int(digest) for zxid, digest in pairs}


def synced_tree(ensemble, sid):
    client = ensemble.client(sid)
    catch_up(client)
    tree = read_tree(client)
    client.close()
    return tree


def differences(trees):
    """What the trees of members, by their number, do not agree on."""
    (first, reference), *others = trees.items()
    lines = []
    for sid, tree in others:
        for path in sorted(set(reference) | set(tree)):
            if reference.get(path) != tree.get(path):
                lines.append(f"{path}: {reference.get(path)} on {first}, {tree.get(path)} on {sid}")
    return lines


def check_equal_everywhere(ensemble):
    """All running members hold the same tree; returns its digest. Nobody may be writing, but sessions may be expiring."""
    trees = {}

    def equal():
        trees.update({member.sid: synced_tree(ensemble, member.sid) for member in ensemble.running})
        return not differences(trees)

    try:
        # A difference that lasts is one; sessions that end between two looks make one that does not.
        until("equal trees", equal, seconds=20)
    except AssertionError:
        lines = differences({member.sid: trees[member.sid] for member in ensemble.running})
        raise AssertionError(f"{len(lines)} differences between trees: " + "; ".join(lines[:3])) from None
    check_digests_match(ensemble)
    return tree_digest(next(iter(trees.values())))


# `hash` has a line for every 128th transaction.
LOGGED_EVERY = 128


def check_digests_match(ensemble):
    """Nobody's tree has another digest than the transactions say that it must have, nor another than its neighbours'.

    Stock compares right after it has loaded a snapshot that was taken while transactions went on, and then counts
    differences that are none; so of a stock server only what comes from now on is looked at.
    """

    def counts():
        return {member: int(member.monitor().get("digest_mismatches_count", 0)) for member in ensemble.running}

    before = counts()
    client = ensemble.client(ensemble.leader())
    first = client.call(zk.CREATE, zk.create_body("/digests", b"")).zxid
    client.call_all([(zk.SET_DATA, zk.set_data_body("/digests", b"%d" % n)) for n in range(LOGGED_EVERY + 1)])
    client.close()
    digests = {}
    for member in ensemble.running:
        synced = ensemble.client(member.sid)
        catch_up(synced)
        synced.close()
        digests[member] = {zxid: digest for zxid, digest in logged_digests(member).items() if zxid >= first}
    # A server of ours that meets such a digest ends, and would not be here.
    for member, count in counts().items():
        if count > before[member]:
            raise AssertionError(f"{member} counts {count} digests that were not its tree's")
    # Sessions of others come and go meanwhile, so that one may be a line ahead.
    common = set.intersection(*(set(of_one) for of_one in digests.values()))
    if not common or any(len({of_one[zxid] for of_one in digests.values()}) > 1 for zxid in common):
        shown = {str(member): of_one for member, of_one in digests.items()}
        raise AssertionError(f"digests since {first:#x} differ, or there are none in common: {shown}")
