import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;

/** A stock client together with the events it was told, and a folder of its own on the server. */
final class Client implements AutoCloseable {
    private static final AtomicInteger FOLDERS = new AtomicInteger();

    final ZooKeeper zk;
    /** What the handle's own watcher was told: changes of state, and watches set with `true`. */
    final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();

    Client() throws Exception {
        this(Checks.SERVER, 6000);
    }

    Client(String address, int timeoutMs) throws Exception {
        zk = new ZooKeeper(address, timeoutMs, events::add);
        expect(Watcher.Event.EventType.None, null, Watcher.Event.KeeperState.SyncConnected);
    }

    /** Takes over the session of another handle. */
    Client(String address, int timeoutMs, long sessionId, byte[] password) throws Exception {
        zk = new ZooKeeper(address, timeoutMs, events::add, sessionId, password);
    }

    /** A new folder, for this check only. */
    String folder() throws Exception {
        return create("/check" + FOLDERS.incrementAndGet() + "-" + ProcessHandle.current().pid(), "");
    }

    String create(String path, String data) throws Exception {
        return create(path, data, CreateMode.PERSISTENT);
    }

    String create(String path, String data, CreateMode mode) throws Exception {
        return zk.create(path, data.getBytes(), ZooDefs.Ids.OPEN_ACL_UNSAFE, mode);
    }

    String get(String path) throws Exception {
        return new String(zk.getData(path, false, null));
    }

    WatchedEvent next() throws Exception {
        WatchedEvent event = events.poll(30, TimeUnit.SECONDS);
        Checks.that(event != null, "no event came");
        return event;
    }

    void expect(Watcher.Event.EventType type, String path, Watcher.Event.KeeperState state) throws Exception {
        WatchedEvent event = next();
        Checks.equal(type, event.getType(), "event type");
        Checks.equal(path, event.getPath(), "event path");
        Checks.equal(state, event.getState(), "state");
    }

    void expect(Watcher.Event.EventType type, String path) throws Exception {
        expect(type, path, Watcher.Event.KeeperState.SyncConnected);
    }

    void expectState(Watcher.Event.KeeperState state) throws Exception {
        expect(Watcher.Event.EventType.None, null, state);
    }

    /** Nothing more was told: all that the server sent before the answer to this read is in the queue by then. */
    void expectNothing() throws Exception {
        zk.exists("/", false);
        // Events and replies go through one queue of the client to one thread; an asynchronous call behind them proves it.
        var done = new LinkedBlockingQueue<Integer>();
        zk.exists("/", false, (code, path, context, stat) -> done.add(code), null);
        Checks.that(done.poll(30, TimeUnit.SECONDS) != null, "an asynchronous read got no answer");
        Checks.that(events.isEmpty(), "unexpected events: " + events);
    }

    @Override
    public void close() throws Exception {
        zk.close();
    }
}
