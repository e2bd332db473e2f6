import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.apache.zookeeper.*;
import org.apache.zookeeper.data.*;

/** One call of every kind, successes and failures; then holds the session until its standard input ends. */
public class Record {
    interface Call {
        Object run() throws Exception;
    }

    static void call(Call call) throws Exception {
        try {
            call.run();
        } catch (KeeperException expected) {
            System.err.println(expected.code());
        }
    }

    public static void main(String[] args) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(args[0], 30000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        connected.await();
        List<ACL> open = ZooDefs.Ids.OPEN_ACL_UNSAFE;
        call(() -> zk.create("/a", "x".getBytes(), open, CreateMode.PERSISTENT));
        call(() -> zk.create("/a", "x".getBytes(), open, CreateMode.PERSISTENT));
        call(() -> zk.create("/a/s-", null, open, CreateMode.PERSISTENT_SEQUENTIAL, new Stat()));
        call(() -> zk.create("/a/e", new byte[0], open, CreateMode.EPHEMERAL));
        call(() -> zk.create("/a/es-", new byte[0], open, CreateMode.EPHEMERAL_SEQUENTIAL));
        call(() -> zk.create("/c", null, open, CreateMode.CONTAINER));
        call(() -> zk.create("/t", "ttl".getBytes(), open, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 600000));
        call(() -> zk.create("/ts-", "ttl".getBytes(), open, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, new Stat(), 600000));
        call(() -> zk.exists("/a", true));
        call(() -> zk.exists("/nope", true));
        call(() -> zk.create("/nope", "\u00fc\ud83d\ude00".getBytes("UTF-8"), open, CreateMode.PERSISTENT));
        call(() -> zk.getData("/nope", true, new Stat()));
        call(() -> { zk.delete("/nope", 0); return null; });
        call(() -> zk.exists("/nope", true));
        call(() -> zk.getData("/a", true, new Stat()));
        call(() -> zk.setData("/a", "y".getBytes(), 0));
        call(() -> zk.setData("/a", "y".getBytes(), 0));
        call(() -> zk.getData("/none", false, new Stat()));
        call(() -> zk.getChildren("/a", true));
        call(() -> zk.getChildren("/a", false, new Stat()));
        call(() -> zk.getACL("/a", new Stat()));
        zk.addAuthInfo("digest", "user:secret".getBytes());
        call(() -> zk.create("/mine", "m".getBytes(), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        call(() -> zk.setACL("/a", Arrays.asList(
            new ACL(31, new Id("world", "anyone")), new ACL(1, new Id("ip", "10.0.0.0/8"))), -1));
        call(() -> zk.create("/bad", null, Arrays.asList(new ACL(31, new Id("none", "x"))), CreateMode.PERSISTENT));
        call(() -> zk.whoAmI());
        call(() -> zk.getEphemerals("/a"));
        call(() -> zk.getAllChildrenNumber("/"));
        CountDownLatch synced = new CountDownLatch(1);
        zk.sync("/", (rc, path, context) -> synced.countDown(), null);
        synced.await();
        call(() -> zk.multi(Arrays.asList(
            Op.create("/m", "m".getBytes(), open, CreateMode.PERSISTENT), Op.setData("/m", "n".getBytes(), 0),
            Op.check("/m", 1), Op.create("/m/c", null, open, CreateMode.CONTAINER),
            Op.create("/m/t", null, open, CreateMode.PERSISTENT_WITH_TTL, 600000), Op.delete("/m/c", -1))));
        call(() -> zk.multi(Arrays.asList(Op.check("/m", 1), Op.delete("/none", -1), Op.check("/m", 1))));
        call(() -> zk.multi(Arrays.asList(Op.getData("/a"), Op.getChildren("/a"), Op.getData("/none"))));
        call(() -> { zk.addWatch("/a", AddWatchMode.PERSISTENT); return null; });
        call(() -> { zk.addWatch("/m", AddWatchMode.PERSISTENT_RECURSIVE); return null; });
        call(() -> zk.create("/a/n", null, open, CreateMode.PERSISTENT));
        call(() -> { zk.delete("/a/n", -1); return null; });
        call(() -> { zk.removeWatches("/m", event -> { }, Watcher.WatcherType.Any, false); return null; });
        call(() -> { zk.removeAllWatches("/m", Watcher.WatcherType.Any, false); return null; });
        call(() -> { zk.delete("/a", -1); return null; });
        call(() -> zk.getConfig(false, new Stat()));
        call(() -> zk.getData("/a", true, new Stat()));
        System.out.println("recorded");
        while (System.in.read() >= 0) { }
        zk.close();
    }
}
