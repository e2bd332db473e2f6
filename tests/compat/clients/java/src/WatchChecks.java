import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/** Watches of every kind, as the stock client's watchers are told of them. */
final class WatchChecks {
    private static final byte[] NONE = new byte[0];

    private WatchChecks() {}

    static void addTo(Checks checks) {
        checks.add("m25_data_and_child_watches_are_separate", WatchChecks::separateLists);
        checks.add("m25_exists_watch_on_a_missing_node", WatchChecks::existsWatch);
        checks.add("m25_delete_fires_data_child_and_parent", WatchChecks::deleteFires);
        checks.add("m26_watches_are_one_shot", WatchChecks::oneShot);
        checks.add("m27_event_before_the_new_data", WatchChecks::eventBeforeData);
        checks.add("m28_events_in_the_order_of_changes", WatchChecks::eventOrder);
        checks.add("persistent_watch", WatchChecks::persistent);
        checks.add("persistent_recursive_watch", WatchChecks::recursive);
        checks.add("remove_watches", WatchChecks::remove);
        checks.add("remove_persistent_watches", WatchChecks::removePersistent);
        checks.add("multi_fires_each_watch_once", WatchChecks::multi);
        checks.add("events_carry_their_zxid", WatchChecks::zxids);
        checks.add("events_need_the_read_permission", WatchChecks::readPermission);
        checks.add("thousand_watchers_one_change", WatchChecks::manyWatchers);
        checks.add("failed_reads_leave_no_watch", WatchChecks::failedReads);
    }

    private static void separateLists() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            client.zk.getData(path, true, null);
            client.zk.getChildren(path, true);
            other.create(path + "/child", "");
            client.expect(EventType.NodeChildrenChanged, path);
            client.expectNothing();
            other.zk.setData(path, NONE, -1);
            client.expect(EventType.NodeDataChanged, path);
            client.expectNothing();
            client.zk.getChildren(path, true);
            other.zk.setData(path, NONE, -1);
            other.zk.setData(path + "/child", NONE, -1);
            other.zk.setACL(path, Ids.OPEN_ACL_UNSAFE, -1);
            client.expectNothing();
        }
    }

    private static void existsWatch() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.folder() + "/a";
            Checks.equal(null, client.zk.exists(path, true), "exists");
            other.create(path, "");
            client.expect(EventType.NodeCreated, path);
            client.zk.exists(path, true);
            other.zk.setData(path, NONE, -1);
            client.expect(EventType.NodeDataChanged, path);
            client.zk.exists(path, true);
            other.zk.delete(path, -1);
            client.expect(EventType.NodeDeleted, path);
            client.expectNothing();
        }
    }

    private static void deleteFires() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String folder = other.folder();
            String path = other.create(folder + "/a", "");
            var data = new LinkedBlockingQueue<WatchedEvent>();
            var child = new LinkedBlockingQueue<WatchedEvent>();
            var parent = new LinkedBlockingQueue<WatchedEvent>();
            client.zk.getData(path, data::add, null);
            client.zk.getChildren(path, child::add);
            client.zk.getChildren(folder, parent::add);
            other.zk.delete(path, -1);
            Checks.equal(EventType.NodeDeleted, take(data).getType(), "data watch");
            Checks.equal(EventType.NodeDeleted, take(child).getType(), "child watch");
            Checks.equal(EventType.NodeChildrenChanged, take(parent).getType(), "the parent's child watch");
            client.expectNothing();
            Checks.that(data.isEmpty() && child.isEmpty() && parent.isEmpty(), "more than one event");
        }
    }

    private static WatchedEvent take(LinkedBlockingQueue<WatchedEvent> queue) throws Exception {
        WatchedEvent event = queue.poll(30, TimeUnit.SECONDS);
        Checks.that(event != null, "no event came");
        return event;
    }

    private static void oneShot() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            client.zk.getData(path, true, null);
            other.zk.setData(path, NONE, -1);
            other.zk.setData(path, NONE, -1);
            client.expect(EventType.NodeDataChanged, path);
            client.expectNothing();
            client.zk.getData(path, true, null);
            other.zk.setData(path, NONE, -1);
            client.expect(EventType.NodeDataChanged, path);
        }
    }

    /** Another session changes a node as fast as it can; no read may show a change whose event has not come yet. */
    private static void eventBeforeData() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            int changes = 2000;
            Thread writer = new Thread(() -> {
                for (int i = 0; i < changes; i++) {
                    other.zk.setData(path, NONE, -1, (code, at, context, stat) -> { }, null);
                }
            });
            writer.start();
            List<String> wrong = Collections.synchronizedList(new ArrayList<>());
            int last = 0;
            while (last < changes) {
                // Armed at `armed`; the client's one event thread sees the event and the replies in the order received.
                int[] armed = new int[1];
                boolean[] fired = new boolean[1];
                CountDownLatch done = new CountDownLatch(20);
                Watcher watcher = event -> fired[0] = true;
                for (int i = 0; i < 20; i++) {
                    boolean first = i == 0;
                    client.zk.getData(path, first ? watcher : null, (int code, String at, Object context, byte[] data, Stat stat) -> {
                        if (first) {
                            armed[0] = stat.getVersion();
                        } else if (stat.getVersion() > armed[0] && !fired[0]) {
                            wrong.add("version " + stat.getVersion() + " was seen before the event for " + armed[0]);
                        }
                        done.countDown();
                    }, null);
                }
                Checks.that(done.await(30, TimeUnit.SECONDS), "reads got no answer");
                last = armed[0];
            }
            writer.join();
            Checks.that(wrong.isEmpty(), wrong.size() + " times, first: " + (wrong.isEmpty() ? "" : wrong.get(0)));
        }
    }

    private static void eventOrder() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String folder = other.folder();
            int count = 500;
            client.zk.addWatch(folder, AddWatchMode.PERSISTENT_RECURSIVE);
            for (int i = 0; i < count; i++) {
                other.zk.create(folder + "/n" + i, NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, (code, at, context, name) -> { }, null);
                other.zk.setData(folder + "/n" + i, NONE, -1, (code, at, context, stat) -> { }, null);
            }
            for (int i = 0; i < count; i++) {
                client.expect(EventType.NodeCreated, folder + "/n" + i);
                client.expect(EventType.NodeDataChanged, folder + "/n" + i);
            }
            client.expectNothing();
        }
    }

    private static void persistent() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.folder() + "/a";
            client.zk.addWatch(path, AddWatchMode.PERSISTENT);
            other.create(path, "");
            client.expect(EventType.NodeCreated, path);
            other.zk.setData(path, NONE, -1);
            client.expect(EventType.NodeDataChanged, path);
            other.create(path + "/child", "");
            client.expect(EventType.NodeChildrenChanged, path);
            other.zk.setData(path + "/child", NONE, -1);
            other.zk.delete(path + "/child", -1);
            client.expect(EventType.NodeChildrenChanged, path);
            other.zk.delete(path, -1);
            client.expect(EventType.NodeDeleted, path);
            other.create(path, "");
            client.expect(EventType.NodeCreated, path);
            client.expectNothing();
        }
    }

    private static void recursive() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            client.zk.addWatch(path, AddWatchMode.PERSISTENT_RECURSIVE);
            other.create(path + "/b", "");
            client.expect(EventType.NodeCreated, path + "/b");
            other.create(path + "/b/c", "");
            client.expect(EventType.NodeCreated, path + "/b/c");
            other.zk.setData(path + "/b/c", NONE, -1);
            client.expect(EventType.NodeDataChanged, path + "/b/c");
            other.zk.delete(path + "/b/c", -1);
            client.expect(EventType.NodeDeleted, path + "/b/c");
            other.zk.setData(path, NONE, -1);
            client.expect(EventType.NodeDataChanged, path);
            other.create(path + "x", "");
            client.expectNothing();
        }
    }

    private static void remove() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            var told = new LinkedBlockingQueue<WatchedEvent>();
            Watcher watcher = told::add;
            client.zk.getData(path, watcher, null);
            client.zk.getChildren(path, watcher);
            client.zk.removeWatches(path, watcher, Watcher.WatcherType.Data, false);
            Checks.equal(EventType.DataWatchRemoved, take(told).getType(), "notice");
            other.zk.setData(path, NONE, -1);
            client.expectNothing();
            Checks.that(told.isEmpty(), "a removed watch fired");
            other.create(path + "/c", "");
            Checks.equal(EventType.NodeChildrenChanged, take(told).getType(), "the other watch");
            Checks.fails(KeeperException.NoWatcherException.class, () -> {
                client.zk.removeAllWatches(path, Watcher.WatcherType.Any, false);
                return null;
            });
        }
    }

    private static void removePersistent() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            var told = new LinkedBlockingQueue<WatchedEvent>();
            client.zk.addWatch(path, told::add, AddWatchMode.PERSISTENT_RECURSIVE);
            other.create(path + "/b", "");
            Checks.equal(EventType.NodeCreated, take(told).getType(), "event");
            client.zk.removeAllWatches(path, Watcher.WatcherType.Any, false);
            Checks.equal(EventType.PersistentWatchRemoved, take(told).getType(), "notice");
            other.create(path + "/c", "");
            client.expectNothing();
            Checks.that(told.isEmpty(), "a removed watch fired: " + told);
        }
    }

    private static void multi() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String folder = other.folder();
            client.zk.getChildren(folder, true);
            client.zk.exists(folder + "/a", true);
            other.zk.multi(List.of(
                Op.create(folder + "/a", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.setData(folder + "/a", NONE, -1),
                Op.create(folder + "/b", NONE, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)));
            client.expect(EventType.NodeCreated, folder + "/a");
            client.expect(EventType.NodeChildrenChanged, folder);
            client.expectNothing();
        }
    }

    private static void zxids() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            client.zk.getData(path, true, null);
            Stat stat = other.zk.setData(path, NONE, -1);
            Checks.equal(stat.getMzxid(), client.next().getZxid(), "zxid of the event");
        }
    }

    private static void readPermission() throws Exception {
        try (Client client = new Client(); Client ann = new Client()) {
            ann.zk.addAuthInfo("digest", "ann:secret".getBytes());
            String folder = ann.folder();
            client.zk.addWatch(folder, AddWatchMode.PERSISTENT_RECURSIVE);
            ann.zk.create(folder + "/closed", NONE, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            ann.create(folder + "/open", "");
            client.expect(EventType.NodeCreated, folder + "/open");
            ann.zk.setData(folder + "/closed", NONE, -1);
            ann.zk.setACL(folder + "/closed", Arrays.asList(
                new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE), new ACL(Perms.ALL, new Id("auth", ""))), -1);
            ann.zk.setData(folder + "/closed", NONE, -1);
            client.expect(EventType.NodeDataChanged, folder + "/closed");
            client.expectNothing();
        }
    }

    private static void manyWatchers() throws Exception {
        try (Client other = new Client()) {
            String path = other.create(other.folder() + "/a", "");
            List<Client> clients = new ArrayList<>();
            try {
                CountDownLatch told = new CountDownLatch(1000);
                for (int i = 0; i < 20; i++) {
                    Client client = new Client();
                    clients.add(client);
                    for (int j = 0; j < 50; j++) {
                        client.zk.getData(path, event -> told.countDown(), null);
                    }
                }
                other.zk.setData(path, NONE, -1);
                Checks.that(told.await(30, TimeUnit.SECONDS), told.getCount() + " watchers were not told");
            } finally {
                for (Client client : clients) {
                    client.close();
                }
            }
        }
    }

    private static void failedReads() throws Exception {
        try (Client client = new Client(); Client other = new Client()) {
            String path = other.folder() + "/a";
            Checks.fails(KeeperException.NoNodeException.class, () -> client.zk.getData(path, true, null));
            Checks.fails(KeeperException.NoNodeException.class, () -> client.zk.getChildren(path, true));
            other.create(path, "");
            other.zk.setData(path, NONE, -1);
            client.expectNothing();
        }
    }
}
