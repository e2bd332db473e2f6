import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/** The operations of the stock client, one server, no trouble. */
final class OperationChecks {
    private static final byte[] NONE = new byte[0];

    private OperationChecks() {}

    static void addTo(Checks checks) {
        checks.add("create_get_set_delete", OperationChecks::createGetSetDelete);
        checks.add("null_and_empty_data_stay_apart", OperationChecks::nullAndEmptyData);
        checks.add("m15_wrong_versions_change_nothing", OperationChecks::wrongVersions);
        checks.add("m14_stat_after_every_operation", OperationChecks::stat);
        checks.add("m13_sequential_names_only_grow", OperationChecks::sequential);
        checks.add("m12_ephemerals_have_no_children_and_go_on_close", OperationChecks::ephemerals);
        checks.add("children_with_and_without_stat", OperationChecks::children);
        checks.add("all_children_number_and_ephemerals_lists", OperationChecks::listings);
        checks.add("sync_and_config", OperationChecks::syncAndConfig);
        checks.add("who_am_i", OperationChecks::whoAmI);
        checks.add("multi_succeeds_as_a_whole", OperationChecks::multi);
        checks.add("multi_fails_as_a_whole", OperationChecks::multiFails);
        checks.add("multi_reads", OperationChecks::multiReads);
        checks.add("transaction_builder", OperationChecks::transaction);
        checks.add("ttl_nodes_go_when_their_time_is_over", OperationChecks::ttl);
        checks.add("containers_go_with_their_last_child", OperationChecks::containers);
        checks.add("m17_acls_of_digest_and_auth", OperationChecks::digestAcls);
        checks.add("m17_acls_are_not_inherited", OperationChecks::aclsAreNotInherited);
        checks.add("acls_of_ip_and_read_only", OperationChecks::ipAcls);
        checks.add("invalid_acls_are_refused", OperationChecks::invalidAcls);
        checks.add("super_digest_passes_every_acl", OperationChecks::superDigest);
        checks.add("unknown_auth_scheme_fails_the_session", OperationChecks::authFailed);
        checks.add("quota_limits_are_enforced", OperationChecks::quota);
        checks.add("quota_stats_count", OperationChecks::quotaStats);
        checks.add("m01_values_over_the_limit_are_refused", OperationChecks::largeValues);
        checks.add("listing_of_20_megabytes", OperationChecks::largeListing);
        checks.add("m19_replies_come_in_request_order", OperationChecks::fifo);
        checks.add("chroot", OperationChecks::chroot);
        checks.add("unicode_names_and_data", OperationChecks::unicode);
        checks.add("reserved_nodes_are_protected", OperationChecks::reserved);
    }

    private static void createGetSetDelete() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            Stat created = new Stat();
            String path = client.zk.create(folder + "/a", "one".getBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, created);
            Checks.equal(folder + "/a", path, "path");
            Checks.equal(3, created.getDataLength(), "data length");
            Checks.fails(KeeperException.NodeExistsException.class, () -> client.create(path, ""));
            Checks.fails(KeeperException.NoNodeException.class, () -> client.create(folder + "/no/child", ""));
            Checks.equal("one", client.get(path), "data");
            Stat changed = client.zk.setData(path, "two".getBytes(), 0);
            Checks.equal(1, changed.getVersion(), "version");
            Checks.equal("two", client.get(path), "data");
            Checks.fails(KeeperException.NotEmptyException.class, () -> {
                client.zk.delete(folder, -1);
                return null;
            });
            client.zk.delete(path, 1);
            Checks.equal(null, client.zk.exists(path, false), "exists");
            Checks.fails(KeeperException.NoNodeException.class, () -> client.get(path));
            Checks.fails(KeeperException.NoNodeException.class, () -> client.zk.setData(path, NONE, -1));
            Checks.fails(KeeperException.NoNodeException.class, () -> client.zk.getChildren(path, false));
            Checks.fails(KeeperException.NoNodeException.class, () -> client.zk.getACL(path, null));
        }
    }

    private static void nullAndEmptyData() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            client.zk.create(folder + "/null", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            client.zk.create(folder + "/empty", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Checks.that(client.zk.getData(folder + "/null", false, null) == null, "null data came back as bytes");
            Checks.equal(0, client.zk.getData(folder + "/empty", false, null).length, "empty data");
        }
    }

    private static void wrongVersions() throws Exception {
        try (Client client = new Client()) {
            String path = client.create(client.folder() + "/a", "one");
            Checks.fails(KeeperException.BadVersionException.class, () -> client.zk.setData(path, "x".getBytes(), 5));
            Checks.fails(KeeperException.BadVersionException.class, () -> {
                client.zk.delete(path, 5);
                return null;
            });
            Checks.fails(KeeperException.BadVersionException.class, () -> client.zk.setACL(path, Ids.READ_ACL_UNSAFE, 5));
            Checks.equal("one", client.get(path), "data");
            Stat stat = client.zk.exists(path, false);
            Checks.equal(stat.getCzxid(), stat.getMzxid(), "mzxid");
            Checks.equal(Ids.OPEN_ACL_UNSAFE, client.zk.getACL(path, null), "acl");
        }
    }

    private static void stat() throws Exception {
        try (Client client = new Client()) {
            String path = client.create(client.folder() + "/a", "one");
            Stat fresh = client.zk.exists(path, false);
            Checks.equal(List.of(0, 0, 0, 0, 3), versions(fresh), "fresh");
            Checks.equal(fresh.getCzxid(), fresh.getPzxid(), "pzxid of a fresh node");
            Checks.equal(fresh.getCtime(), fresh.getMtime(), "mtime of a fresh node");
            Stat changed = client.zk.setData(path, "four".getBytes(), -1);
            Checks.equal(List.of(1, 0, 0, 0, 4), versions(changed), "after setData");
            Checks.that(changed.getMzxid() > fresh.getMzxid(), "mzxid after setData");
            Checks.equal(fresh.getCzxid(), changed.getCzxid(), "czxid after setData");
            Checks.equal(fresh.getPzxid(), changed.getPzxid(), "pzxid after setData");
            Stat access = client.zk.setACL(path, Ids.OPEN_ACL_UNSAFE, 0);
            Checks.equal(List.of(1, 0, 1, 0, 4), versions(access), "after setACL");
            Checks.equal(changed.getMzxid(), access.getMzxid(), "mzxid after setACL");
            client.create(path + "/child", "");
            Stat parent = client.zk.exists(path, false);
            Stat child = client.zk.exists(path + "/child", false);
            Checks.equal(List.of(1, 1, 1, 1, 4), versions(parent), "after create of a child");
            Checks.equal(child.getCzxid(), parent.getPzxid(), "pzxid after create of a child");
            client.zk.delete(path + "/child", -1);
            Stat alone = client.zk.exists(path, false);
            Checks.equal(List.of(1, 2, 1, 0, 4), versions(alone), "after delete of a child");
            Checks.that(alone.getPzxid() > parent.getPzxid(), "pzxid after delete of a child");
            Checks.equal(changed.getMzxid(), alone.getMzxid(), "mzxid after all that");
        }
    }

    private static List<Integer> versions(Stat stat) {
        return List.of(stat.getVersion(), stat.getCversion(), stat.getAversion(), stat.getNumChildren(), stat.getDataLength());
    }

    private static void sequential() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            Checks.equal(folder + "/s-0000000000", client.create(folder + "/s-", "", CreateMode.PERSISTENT_SEQUENTIAL), "first");
            Checks.equal(folder + "/e-0000000001", client.create(folder + "/e-", "", CreateMode.EPHEMERAL_SEQUENTIAL), "second");
            client.create(folder + "/plain", "");
            Checks.equal(folder + "/0000000003", client.create(folder + "/", "", CreateMode.PERSISTENT_SEQUENTIAL), "fourth");
            client.zk.delete(folder + "/0000000003", -1);
            Checks.equal(folder + "/s-0000000004", client.create(folder + "/s-", "", CreateMode.PERSISTENT_SEQUENTIAL), "fifth");
        }
    }

    private static void ephemerals() throws Exception {
        try (Client watcher = new Client()) {
            String folder = watcher.folder();
            try (Client owner = new Client()) {
                owner.create(folder + "/e", "", CreateMode.EPHEMERAL);
                Stat stat = watcher.zk.exists(folder + "/e", true);
                Checks.equal(owner.zk.getSessionId(), stat.getEphemeralOwner(), "owner");
                Checks.fails(KeeperException.NoChildrenForEphemeralsException.class, () -> owner.create(folder + "/e/c", ""));
                owner.create(folder + "/e2", "", CreateMode.EPHEMERAL);
                watcher.zk.delete(folder + "/e2", -1);
                watcher.create(folder + "/stays", "");
            }
            watcher.expect(Watcher.Event.EventType.NodeDeleted, folder + "/e");
            Checks.equal(List.of("stays"), watcher.zk.getChildren(folder, false), "children after close");
        }
    }

    private static void children() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            Set<String> names = new HashSet<>();
            for (int i = 0; i < 300; i++) {
                client.create(folder + "/child" + i, "");
                names.add("child" + i);
            }
            Stat stat = new Stat();
            Checks.equal(names, new HashSet<>(client.zk.getChildren(folder, false)), "children");
            Checks.equal(names, new HashSet<>(client.zk.getChildren(folder, false, stat)), "children with stat");
            Checks.equal(300, stat.getNumChildren(), "numChildren");
            Checks.equal(300, stat.getCversion(), "cversion");
        }
    }

    private static void listings() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String folder = client.folder();
            client.create(folder + "/a", "");
            client.create(folder + "/a/e1", "", CreateMode.EPHEMERAL);
            client.create(folder + "/e2", "", CreateMode.EPHEMERAL);
            other.create(folder + "/e3", "", CreateMode.EPHEMERAL);
            Checks.equal(4, client.zk.getAllChildrenNumber(folder), "all children");
            Checks.equal(0, client.zk.getAllChildrenNumber(folder + "/e2"), "all children of a leaf");
            Checks.equal(Set.of(folder + "/a/e1", folder + "/e2"), new HashSet<>(client.zk.getEphemerals()), "ephemerals");
            Checks.equal(List.of(folder + "/a/e1"), client.zk.getEphemerals(folder + "/a"), "ephemerals under a prefix");
            Checks.equal(List.of(folder + "/e3"), other.zk.getEphemerals(folder), "the other session's ephemerals");
        }
    }

    private static void syncAndConfig() throws Exception {
        try (Client client = new Client()) {
            CountDownLatch done = new CountDownLatch(1);
            client.zk.sync("/", (code, path, context) -> done.countDown(), null);
            Checks.that(done.await(30, TimeUnit.SECONDS), "sync got no answer");
            Stat stat = new Stat();
            client.zk.getConfig(false, stat);
            Checks.equal(-1, stat.getAversion(), "aversion of /zookeeper/config");
        }
    }

    private static void whoAmI() throws Exception {
        try (Client client = new Client()) {
            Checks.equal("[ip: 127.0.0.1]", client.zk.whoAmI().stream()
                .map(info -> info.getAuthScheme() + ": " + info.getUser()).collect(Collectors.toList()).toString(), "before auth");
            client.zk.addAuthInfo("digest", "ann:secret".getBytes());
            Set<String> after = client.zk.whoAmI().stream().map(info -> info.getAuthScheme() + ":" + info.getUser()).collect(Collectors.toSet());
            Checks.equal(Set.of("ip:127.0.0.1", "digest:ann"), after, "after auth");
        }
    }

    private static void multi() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            List<OpResult> results = client.zk.multi(List.of(
                Op.create(folder + "/a", "1".getBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create(folder + "/a/b", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.setData(folder + "/a", "2".getBytes(), 0),
                Op.check(folder + "/a", 1),
                Op.create(folder + "/gone", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.delete(folder + "/gone", 0)));
            Checks.equal(List.of(1, 1, 5, 13, 1, 2), results.stream().map(OpResult::getType).collect(Collectors.toList()), "types");
            Checks.equal(folder + "/a", ((OpResult.CreateResult) results.get(0)).getPath(), "path");
            Checks.equal(1, ((OpResult.SetDataResult) results.get(2)).getStat().getVersion(), "version");
            Stat first = client.zk.exists(folder + "/a", false);
            Stat second = client.zk.exists(folder + "/a/b", false);
            Checks.equal(first.getCzxid(), second.getCzxid(), "one zxid for all");
            Checks.equal(first.getCzxid(), first.getMzxid(), "one zxid for all");
            Checks.equal(List.of("a"), client.zk.getChildren(folder, false), "children");
        }
    }

    private static void multiFails() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            KeeperException failure = Checks.fails(KeeperException.class, () -> client.zk.multi(List.of(
                Op.create(folder + "/a", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.check(folder, 7),
                Op.create(folder + "/b", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT))));
            Checks.equal(KeeperException.Code.BADVERSION, failure.code(), "code");
            List<Integer> errors = failure.getResults().stream()
                .map(result -> ((OpResult.ErrorResult) result).getErr()).collect(Collectors.toList());
            Checks.equal(List.of(0, -103, -2), errors, "errors");
            Checks.equal(List.of(), client.zk.getChildren(folder, false), "nothing was created");
        }
    }

    private static void multiReads() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            client.create(folder + "/a", "data");
            List<OpResult> results = client.zk.multi(List.of(
                Op.getData(folder + "/a"), Op.getChildren(folder), Op.getData(folder + "/missing")));
            Checks.equal("data", new String(((OpResult.GetDataResult) results.get(0)).getData()), "data");
            Checks.equal(List.of("a"), ((OpResult.GetChildrenResult) results.get(1)).getChildren(), "children");
            Checks.equal(-101, ((OpResult.ErrorResult) results.get(2)).getErr(), "a missing node");
        }
    }

    private static void transaction() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            List<OpResult> results = client.zk.transaction()
                .create(folder + "/a", "1".getBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL)
                .check(folder, 0)
                .setData(folder, "x".getBytes(), 0)
                .commit();
            Checks.equal(folder + "/a0000000000", ((OpResult.CreateResult) results.get(0)).getPath(), "name");
            Checks.equal("x", client.get(folder), "data");
        }
    }

    private static void ttl() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            Stat stat = new Stat();
            client.zk.create(folder + "/t", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, stat, 300);
            String kept = client.zk.create(folder + "/k", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, null, 600000);
            String parent = client.zk.create(folder + "/p", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, null, 300);
            client.create(parent + "/child", "");
            Checks.that(client.zk.exists(folder + "/t", true) != null, "the node was gone at once");
            client.expect(Watcher.Event.EventType.NodeDeleted, folder + "/t");
            Checks.that(client.zk.exists(kept, false) != null, "a node with ten minutes to go is gone");
            Checks.that(client.zk.exists(parent, false) != null, "a node with a child is gone");
            client.zk.delete(parent + "/child", -1);
            Checks.eventually("the parent's end", () -> client.zk.exists(parent, false) == null);
            Checks.fails(IllegalArgumentException.class,
                () -> client.zk.create(folder + "/bad", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, null, -1));
        }
    }

    private static void containers() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            client.zk.create(folder + "/c", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER, new Stat());
            client.create(folder + "/c/child", "");
            Checks.equal(0L, client.zk.exists(folder + "/c", true).getEphemeralOwner(), "owner");
            client.zk.delete(folder + "/c/child", -1);
            client.expect(Watcher.Event.EventType.NodeDeleted, folder + "/c");
            // One that never had a child goes too, after znode.container.maxNeverUsedIntervalMs.
            client.zk.create(folder + "/unused", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
            Checks.eventually("the unused container's end", () -> client.zk.exists(folder + "/unused", false) == null);
        }
    }

    private static void digestAcls() throws Exception {
        try (Client ann = new Client(); Client bob = new Client()) {
            String folder = ann.folder();
            ann.zk.addAuthInfo("digest", "ann:secret".getBytes());
            String path = ann.zk.create(folder + "/mine", "x".getBytes(), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            Id id = new Id("digest", DigestAuthenticationProvider.generateDigest("ann:secret"));
            Stat stat = new Stat();
            Checks.equal(List.of(new ACL(Perms.ALL, id)), ann.zk.getACL(path, stat), "acl");
            Checks.equal(0, stat.getAversion(), "aversion");
            Checks.fails(KeeperException.NoAuthException.class, () -> bob.get(path));
            Checks.fails(KeeperException.NoAuthException.class, () -> bob.zk.setData(path, NONE, -1));
            Checks.fails(KeeperException.NoAuthException.class, () -> bob.zk.getChildren(path, false));
            Checks.fails(KeeperException.NoAuthException.class, () -> bob.create(path + "/c", ""));
            Checks.fails(KeeperException.NoAuthException.class, () -> bob.zk.setACL(path, Ids.OPEN_ACL_UNSAFE, -1));
            bob.zk.addAuthInfo("digest", "ann:wrong".getBytes());
            Checks.fails(KeeperException.NoAuthException.class, () -> bob.get(path));
            bob.zk.addAuthInfo("digest", "ann:secret".getBytes());
            Checks.equal("x", bob.get(path), "data after auth");
            bob.zk.setACL(path, Ids.READ_ACL_UNSAFE, 0);
            Checks.fails(KeeperException.NoAuthException.class, () -> ann.zk.setData(path, NONE, -1));
        }
    }

    private static void aclsAreNotInherited() throws Exception {
        try (Client ann = new Client(); Client bob = new Client()) {
            ann.zk.addAuthInfo("digest", "ann:secret".getBytes());
            String closed = ann.zk.create(ann.folder() + "/closed", NONE, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            ann.create(closed + "/open", "y");
            Checks.equal("y", bob.get(closed + "/open"), "an open child of a closed parent");
            String open = ann.folder();
            ann.zk.create(open + "/closed", NONE, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            Checks.fails(KeeperException.NoAuthException.class, () -> bob.get(open + "/closed"));
            // Deleting asks the parent, not the node.
            bob.zk.delete(open + "/closed", -1);
        }
    }

    private static void ipAcls() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            ACL here = new ACL(Perms.ALL, new Id("ip", "127.0.0.0/8"));
            ACL elsewhere = new ACL(Perms.ALL, new Id("ip", "10.1.2.3"));
            client.zk.create(folder + "/here", "x".getBytes(), Arrays.asList(here), CreateMode.PERSISTENT);
            client.zk.create(folder + "/elsewhere", NONE, Arrays.asList(elsewhere), CreateMode.PERSISTENT);
            client.zk.create(folder + "/read", "r".getBytes(), Ids.READ_ACL_UNSAFE, CreateMode.PERSISTENT);
            Checks.equal("x", client.get(folder + "/here"), "data");
            Checks.fails(KeeperException.NoAuthException.class, () -> client.get(folder + "/elsewhere"));
            Checks.equal("r", client.get(folder + "/read"), "data");
            Checks.fails(KeeperException.NoAuthException.class, () -> client.zk.setData(folder + "/read", NONE, -1));
        }
    }

    private static void invalidAcls() throws Exception {
        try (Client client = new Client()) {
            String path = client.folder() + "/a";
            List<List<ACL>> invalid = List.of(
                Arrays.asList(new ACL(Perms.ALL, new Id("nobody", "x"))),
                Arrays.asList(new ACL(Perms.ALL, new Id("world", "someone"))),
                Arrays.asList(new ACL(Perms.ALL, new Id("digest", "a"))),
                Ids.CREATOR_ALL_ACL);
            for (List<ACL> acl : invalid) {
                Checks.fails(KeeperException.InvalidACLException.class,
                    () -> client.zk.create(path, NONE, acl, CreateMode.PERSISTENT));
            }
        }
    }

    private static void superDigest() throws Exception {
        try (Client client = new Client(); Client root = new Client()) {
            String folder = client.folder();
            client.zk.create(folder + "/a", "x".getBytes(),
                Arrays.asList(new ACL(Perms.READ, new Id("digest", "a:b"))), CreateMode.PERSISTENT);
            Checks.fails(KeeperException.NoAuthException.class, () -> client.get(folder + "/a"));
            root.zk.addAuthInfo("digest", "super:test".getBytes());
            Checks.equal("x", root.get(folder + "/a"), "data");
            root.zk.setACL(folder + "/a", Ids.OPEN_ACL_UNSAFE, -1);
            Checks.equal("x", client.get(folder + "/a"), "data");
        }
    }

    private static void authFailed() throws Exception {
        try (Client client = new Client()) {
            client.zk.addAuthInfo("nosuchscheme", "x".getBytes());
            client.expectState(Watcher.Event.KeeperState.AuthFailed);
            Checks.fails(KeeperException.AuthFailedException.class, () -> client.zk.exists("/", false));
        }
    }

    private static void quota() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            limit(client, folder, "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3");
            client.create(folder + "/a", "0123456789");
            Checks.fails(KeeperException.QuotaExceededException.class, () -> client.create(folder + "/b", "0123456789+"));
            Checks.fails(KeeperException.QuotaExceededException.class, () -> client.zk.setData(folder + "/a", new byte[21], -1));
            client.create(folder + "/b", "");
            Checks.fails(KeeperException.QuotaExceededException.class, () -> client.create(folder + "/c", ""));
            client.zk.delete(folder + "/b", -1);
            client.create(folder + "/c", "");
            String soft = client.folder();
            limit(client, soft, "count=1,bytes=1");
            client.create(soft + "/a", "0123456789");
            client.create(soft + "/b", "0123456789");
        }
    }

    private static void quotaStats() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            client.create(folder + "/before", "123");
            limit(client, folder, "count=100,bytes=100");
            String stats = "/zookeeper/quota" + folder + "/zookeeper_stats";
            Checks.eventually("the count at the start", () -> client.get(stats).startsWith("count=2,bytes=3"));
            client.create(folder + "/after", "4567");
            Checks.that(client.get(stats).startsWith("count=3,bytes=7"), "after a create: " + client.get(stats));
            client.zk.setData(folder + "/after", "45".getBytes(), -1);
            Checks.that(client.get(stats).startsWith("count=3,bytes=5"), "after setData: " + client.get(stats));
            client.zk.delete(folder + "/before", -1);
            Checks.that(client.get(stats).startsWith("count=2,bytes=2"), "after a delete: " + client.get(stats));
        }
    }

    private static void limit(Client client, String path, String limits) throws Exception {
        String quota = "/zookeeper/quota" + path;
        client.create(quota, "");
        client.create(quota + "/zookeeper_limits", limits);
        client.create(quota + "/zookeeper_stats", "count=0,bytes=0");
    }

    private static void largeValues() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            byte[] large = new byte[1000000];
            Arrays.fill(large, (byte) 7);
            client.zk.create(folder + "/large", large, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Checks.that(Arrays.equals(large, client.zk.getData(folder + "/large", false, null)), "the bytes differ");
            Checks.fails(KeeperException.ConnectionLossException.class,
                () -> client.zk.create(folder + "/larger", new byte[1100000], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
            Checks.eventually("the client's return", () -> {
                try {
                    return client.zk.exists(folder + "/larger", false) == null;
                } catch (KeeperException.ConnectionLossException failure) {
                    return false;
                }
            });
        }
    }

    private static void largeListing() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            String name = "n".repeat(1990);
            int count = 10000;
            CountDownLatch created = new CountDownLatch(count);
            ConcurrentLinkedQueue<Integer> codes = new ConcurrentLinkedQueue<>();
            for (int i = 0; i < count; i++) {
                client.zk.create(folder + "/" + name + i, NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                    (code, path, context, made) -> {
                        codes.add(code);
                        created.countDown();
                    }, null);
            }
            Checks.that(created.await(80, TimeUnit.SECONDS), "not all creates were answered");
            Checks.equal(Set.of(0), new HashSet<>(codes), "codes");
            List<String> children = client.zk.getChildren(folder, false);
            Checks.equal(count, children.size(), "children");
            Checks.equal(count, new HashSet<>(children).size(), "different children");
            // Swept away at once, so that later listings of the whole tree stay small.
            List<Op> deletes = new ArrayList<>();
            for (String child : children) {
                deletes.add(Op.delete(folder + "/" + child, -1));
                if (deletes.size() == 400) {
                    client.zk.multi(deletes);
                    deletes.clear();
                }
            }
            client.zk.multi(deletes);
            Checks.equal(List.of(), client.zk.getChildren(folder, false), "children after the sweep");
        }
    }

    private static void fifo() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            String path = client.create(folder + "/a", "");
            int count = 3000;
            List<Integer> answered = Collections.synchronizedList(new ArrayList<>());
            List<String> wrong = Collections.synchronizedList(new ArrayList<>());
            CountDownLatch done = new CountDownLatch(count);
            for (int i = 0; i < count; i++) {
                int number = i;
                if (i % 3 == 0) {
                    client.zk.setData(path, ("" + i).getBytes(), i / 3, (code, at, context, stat) -> {
                        if (code != 0) {
                            wrong.add("set " + number + " gave " + code);
                        }
                        answered.add(number);
                        done.countDown();
                    }, null);
                } else {
                    client.zk.getData(path, false, (int code, String at, Object context, byte[] data, Stat stat) -> {
                        if (stat == null || stat.getVersion() != number / 3 + 1) {
                            wrong.add("read " + number + " saw " + stat);
                        }
                        answered.add(number);
                        done.countDown();
                    }, null);
                }
            }
            Checks.that(done.await(60, TimeUnit.SECONDS), "only " + answered.size() + " were answered");
            Checks.that(wrong.isEmpty(), wrong.size() + " wrong, the first: " + (wrong.isEmpty() ? "" : wrong.get(0)));
            for (int i = 0; i < count; i++) {
                Checks.equal(i, answered.get(i), "order");
            }
        }
    }

    private static void chroot() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            try (Client inside = new Client(Checks.SERVER + folder, 6000)) {
                inside.create("/a", "x");
                Checks.equal("x", client.get(folder + "/a"), "data");
                inside.zk.exists("/a", true);
                client.zk.setData(folder + "/a", NONE, -1);
                inside.expect(Watcher.Event.EventType.NodeDataChanged, "/a");
                Checks.equal(List.of("a"), inside.zk.getChildren("/", false), "children");
            }
        }
    }

    private static void unicode() throws Exception {
        try (Client client = new Client()) {
            String folder = client.folder();
            String name = "größe-Ω-漢字";
            byte[] data = "données".getBytes(StandardCharsets.UTF_8);
            client.zk.create(folder + "/" + name, data, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Checks.equal(List.of(name), client.zk.getChildren(folder, false), "children");
            Checks.that(Arrays.equals(data, client.zk.getData(folder + "/" + name, false, null)), "data");
        }
    }

    private static void reserved() throws Exception {
        try (Client client = new Client()) {
            for (String path : List.of("/zookeeper", "/zookeeper/quota", "/zookeeper/config")) {
                Checks.fails(KeeperException.BadArgumentsException.class, () -> {
                    client.zk.delete(path, -1);
                    return null;
                });
            }
            Checks.equal(Set.of("config", "quota"), new HashSet<>(client.zk.getChildren("/zookeeper", false)), "children");
            Checks.equal(List.of(new ACL(Perms.READ, ZooDefs.Ids.ANYONE_ID_UNSAFE)), client.zk.getACL("/zookeeper/config", null), "acl");
        }
    }
}
