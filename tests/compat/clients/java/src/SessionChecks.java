import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.ZooKeeper.States;

/** Sessions through trouble: cut connections, silence, a killed server. The tick is 500 ms. */
final class SessionChecks {
    private static final byte[] NONE = new byte[0];
    private static final int TICK_MS = 500;

    private SessionChecks() {}

    static void addTo(Checks checks) {
        checks.addTimed("m18_not_connected_connecting_connected_closed", SessionChecks::statesOfAQuietLife);
        checks.addTimed("m18_connected_to_connecting_and_back", SessionChecks::statesThroughACut);
        checks.addTimed("m18_connecting_to_closed_by_expiry", SessionChecks::statesThroughExpiry);
        checks.addTimed("m18_connecting_to_closed_by_close", SessionChecks::closedWhileConnecting);
        checks.addTimed("m20_session_ids_are_unique", SessionChecks::uniqueIds);
        checks.addTimed("m21_an_idle_client_keeps_its_session", SessionChecks::idle);
        checks.addTimed("m21_silence_expires_within_time_out_and_a_tick", SessionChecks::silence);
        checks.addTimed("m22_time_outs_are_held_between_the_limits", SessionChecks::limits);
        checks.addTimed("m24_expired_session_leaves_nothing", SessionChecks::expired);
        checks.addTimed("m29_watches_are_set_again_and_catch_up", SessionChecks::watchesCatchUp);
        checks.addTimed("m29_persistent_watches_are_set_again", SessionChecks::persistentWatchesAgain);
        checks.addTimed("session_is_taken_over_by_another_handle", SessionChecks::takeOver);
        checks.addTimed("wrong_password_is_refused", SessionChecks::wrongPassword);
        checks.addTimed("closed_session_cannot_be_resumed", SessionChecks::closedCannotBeResumed);
        checks.addTimed("auth_survives_reconnect", SessionChecks::authSurvives);
        checks.addTimed("calls_on_the_way_fail_with_connection_loss", SessionChecks::connectionLoss);
        checks.addTimed("m38_session_and_data_survive_sigkill", SessionChecks::sigkill);
        checks.addTimed("m29_watches_survive_sigkill", SessionChecks::watchesSurviveSigkill);
    }

    private static void statesOfAQuietLife() throws Exception {
        Client client = new Client();
        Checks.equal(States.CONNECTED, client.zk.getState(), "state");
        client.close();
        Checks.equal(States.CLOSED, client.zk.getState(), "state");
        Checks.fails(KeeperException.SessionExpiredException.class, () -> client.zk.exists("/", false));
        Checks.control("refuse");
        ZooKeeper waiting = new ZooKeeper(Checks.PROXY, 6000, event -> { });
        Checks.equal(States.CONNECTING, waiting.getState(), "state while nobody answers");
        Checks.control("accept");
        Checks.eventually("the first connection", () -> waiting.getState() == States.CONNECTED);
        waiting.close();
    }

    private static void statesThroughACut() throws Exception {
        try (Client client = new Client(Checks.PROXY, 6000)) {
            long id = client.zk.getSessionId();
            Checks.control("refuse");
            client.expectState(KeeperState.Disconnected);
            // The handle changes its state right after it has told of the loss.
            Checks.eventually("the state CONNECTING", () -> client.zk.getState() == States.CONNECTING);
            Checks.control("accept");
            client.expectState(KeeperState.SyncConnected);
            Checks.equal(States.CONNECTED, client.zk.getState(), "state");
            Checks.equal(id, client.zk.getSessionId(), "session id");
        }
    }

    private static void statesThroughExpiry() throws Exception {
        try (Client client = new Client(Checks.PROXY, 1000); Client other = new Client()) {
            String folder = other.folder();
            client.create(folder + "/e", "", CreateMode.EPHEMERAL);
            other.zk.exists(folder + "/e", true);
            Checks.control("refuse");
            client.expectState(KeeperState.Disconnected);
            other.expect(EventType.NodeDeleted, folder + "/e");
            Checks.control("accept");
            client.expectState(KeeperState.Expired);
            Checks.equal(States.CLOSED, client.zk.getState(), "state");
            Checks.fails(KeeperException.SessionExpiredException.class, () -> client.zk.exists("/", false));
        }
    }

    private static void closedWhileConnecting() throws Exception {
        Client client = new Client(Checks.PROXY, 2000);
        Checks.control("refuse");
        client.expectState(KeeperState.Disconnected);
        client.close();
        Checks.equal(States.CLOSED, client.zk.getState(), "state");
    }

    private static void uniqueIds() throws Exception {
        Set<Long> ids = new HashSet<>();
        List<Client> open = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            Client client = new Client();
            Checks.that(ids.add(client.zk.getSessionId()), "an id was given twice");
            Checks.equal(16, client.zk.getSessionPasswd().length, "length of the password");
            if (i % 2 == 0) {
                client.close();
            } else {
                open.add(client);
            }
        }
        for (Client client : open) {
            client.close();
        }
    }

    private static void idle() throws Exception {
        try (Client client = new Client(Checks.SERVER, 1000); Client other = new Client()) {
            String path = client.create(client.folder() + "/e", "", CreateMode.EPHEMERAL);
            other.zk.exists(path, true);
            // Nothing is sent but the client's own pings. Five time-outs go by, told by the watcher's silence.
            Checks.equal(null, other.events.poll(5000, TimeUnit.MILLISECONDS), "event");
            Checks.that(client.events.isEmpty(), "the idle client was told " + client.events);
            Checks.that(client.zk.exists(path, false) != null, "the ephemeral is gone");
        }
    }

    private static void silence() throws Exception {
        try (Client client = new Client(Checks.PROXY, 2000); Client other = new Client()) {
            String path = client.create(other.folder() + "/e", "", CreateMode.EPHEMERAL);
            other.zk.exists(path, true);
            client.zk.exists("/", false);
            long lastHeard = System.nanoTime();
            Checks.control("refuse");
            other.expect(EventType.NodeDeleted, path);
            long silentMs = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - lastHeard);
            System.out.println("    time-out 2000 ms, tick " + TICK_MS + " ms: expired after " + silentMs + " ms");
            Checks.that(silentMs >= 1990, "expired early, after " + silentMs + " ms");
            // One tick is allowed; the rest is room for a busy machine.
            Checks.that(silentMs <= 2000 + TICK_MS + 2000, "expired late, after " + silentMs + " ms");
        }
    }

    private static void limits() throws Exception {
        int[][] asked = {{800, 2 * TICK_MS}, {999, 1000}, {1000, 1000}, {4321, 4321}, {10000, 10000}, {10001, 10000}, {2000000000, 10000}};
        for (int[] pair : asked) {
            try (Client client = new Client(Checks.SERVER, pair[0])) {
                Checks.equal(pair[1], client.zk.getSessionTimeout(), "time-out for " + pair[0]);
            }
        }
    }

    private static void expired() throws Exception {
        try (Client other = new Client()) {
            String folder = other.folder();
            Client client = new Client(Checks.PROXY, 1000);
            client.create(folder + "/e", "", CreateMode.EPHEMERAL);
            client.create(folder + "/kept", "");
            client.zk.exists(folder + "/kept", true);
            other.zk.exists(folder + "/e", true);
            Checks.control("refuse");
            other.expect(EventType.NodeDeleted, folder + "/e");
            other.zk.setData(folder + "/kept", NONE, -1);
            Checks.control("accept");
            client.expectState(KeeperState.Disconnected);
            client.expectState(KeeperState.Expired);
            Checks.that(client.events.isEmpty(), "a watch of the expired session fired: " + client.events);
            client.close();
            try (Client fresh = new Client(Checks.PROXY, 1000)) {
                Checks.that(fresh.zk.getSessionId() != client.zk.getSessionId(), "the new session has the old id");
                Checks.equal(List.of(), fresh.zk.getEphemerals(), "ephemerals of the new session");
                Checks.that(fresh.zk.exists(folder + "/kept", false) != null, "a persistent node went with its session");
            }
        }
    }

    private static void watchesCatchUp() throws Exception {
        try (Client client = new Client(Checks.PROXY, 8000); Client other = new Client()) {
            String folder = other.folder();
            for (String name : List.of("changed", "deleted", "children", "quiet", "gone")) {
                other.create(folder + "/" + name, "");
            }
            var told = new LinkedBlockingQueue<WatchedEvent>();
            client.zk.getData(folder + "/changed", told::add, null);
            client.zk.getData(folder + "/deleted", told::add, null);
            client.zk.getChildren(folder + "/children", told::add);
            client.zk.getData(folder + "/quiet", told::add, null);
            client.zk.getChildren(folder + "/gone", told::add);
            client.zk.exists(folder + "/created", told::add);
            client.zk.exists(folder + "/absent", told::add);
            // Created and deleted while away: the one gap that stock knows.
            client.zk.exists(folder + "/unseen", told::add);
            Checks.control("refuse");
            client.expectState(KeeperState.Disconnected);
            told.clear();
            other.zk.setData(folder + "/changed", NONE, -1);
            other.zk.delete(folder + "/deleted", -1);
            other.create(folder + "/children/c", "");
            other.zk.delete(folder + "/gone", -1);
            other.create(folder + "/created", "");
            other.create(folder + "/unseen", "");
            other.zk.delete(folder + "/unseen", -1);
            Checks.control("accept");
            client.expectState(KeeperState.SyncConnected);
            client.zk.exists("/", false);
            Set<String> seen = new HashSet<>();
            for (int i = 0; i < 6; ) {
                WatchedEvent event = told.poll(30, TimeUnit.SECONDS);
                Checks.that(event != null, "only these events came: " + seen);
                if (event.getType() != EventType.None) {
                    seen.add(event.getType() + " " + event.getPath().substring(folder.length()));
                    i++;
                }
                if (seen.size() == 5) {
                    break;
                }
            }
            Checks.equal(Set.of("NodeDataChanged /changed", "NodeDeleted /deleted", "NodeChildrenChanged /children",
                "NodeDeleted /gone", "NodeCreated /created"), seen, "events");
            told.clear();
            other.zk.setData(folder + "/quiet", NONE, -1);
            other.create(folder + "/absent", "");
            Set<String> late = new HashSet<>();
            for (int i = 0; i < 2; i++) {
                WatchedEvent event = told.poll(30, TimeUnit.SECONDS);
                Checks.that(event != null, "only these events came: " + late);
                late.add(event.getType() + " " + event.getPath().substring(folder.length()));
            }
            Checks.equal(Set.of("NodeDataChanged /quiet", "NodeCreated /absent"), late, "events after the return");
        }
    }

    private static void persistentWatchesAgain() throws Exception {
        try (Client client = new Client(Checks.PROXY, 8000); Client other = new Client()) {
            String folder = other.folder();
            client.zk.addWatch(folder, AddWatchMode.PERSISTENT_RECURSIVE);
            Checks.control("cut");
            client.expectState(KeeperState.Disconnected);
            client.expectState(KeeperState.SyncConnected);
            client.zk.exists("/", false);
            other.create(folder + "/a", "");
            client.expect(EventType.NodeCreated, folder + "/a");
            other.create(folder + "/a/b", "");
            client.expect(EventType.NodeCreated, folder + "/a/b");
        }
    }

    private static void takeOver() throws Exception {
        Client first = new Client(Checks.PROXY, 6000);
        try (Client other = new Client()) {
            String path = first.create(other.folder() + "/e", "", CreateMode.EPHEMERAL);
            long id = first.zk.getSessionId();
            Client second = new Client(Checks.SERVER, 4000, id, first.zk.getSessionPasswd());
            second.expectState(KeeperState.SyncConnected);
            Checks.equal(id, second.zk.getSessionId(), "session id");
            Checks.equal(4000, second.zk.getSessionTimeout(), "time-out");
            // The old connection is closed by the server; kept from coming back, its handle has lost the session's use.
            Checks.control("refuse");
            first.expectState(KeeperState.Disconnected);
            Checks.equal(id, second.zk.exists(path, false).getEphemeralOwner(), "owner");
            other.zk.exists(path, true);
            second.close();
            other.expect(EventType.NodeDeleted, path);
            Checks.control("accept");
            first.expectState(KeeperState.Expired);
        }
        first.close();
    }

    private static void wrongPassword() throws Exception {
        try (Client client = new Client(Checks.SERVER, 6000)) {
            long id = client.zk.getSessionId();
            Client thief = new Client(Checks.SERVER, 6000, id, new byte[16]);
            thief.expectState(KeeperState.Expired);
            thief.close();
            // Stock closes the owner's connection before it looks at the password; the session itself goes on.
            Checks.eventually("the owner's next answer", () -> {
                try {
                    return client.zk.exists("/", false) != null;
                } catch (KeeperException.ConnectionLossException failure) {
                    return false;
                }
            });
            Checks.equal(id, client.zk.getSessionId(), "session id");
        }
    }

    private static void closedCannotBeResumed() throws Exception {
        Client client = new Client(Checks.SERVER, 6000);
        long id = client.zk.getSessionId();
        byte[] password = client.zk.getSessionPasswd();
        client.close();
        Client late = new Client(Checks.SERVER, 6000, id, password);
        late.expectState(KeeperState.Expired);
        late.close();
    }

    private static void authSurvives() throws Exception {
        try (Client client = new Client(Checks.PROXY, 6000)) {
            client.zk.addAuthInfo("digest", "ann:secret".getBytes());
            String path = client.zk.create(client.folder() + "/a", "x".getBytes(),
                org.apache.zookeeper.ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            Checks.control("cut");
            client.expectState(KeeperState.Disconnected);
            client.expectState(KeeperState.SyncConnected);
            Checks.equal("x", client.get(path), "data");
        }
    }

    private static void connectionLoss() throws Exception {
        try (Client client = new Client(Checks.PROXY, 4000)) {
            String path = client.create(client.folder() + "/a", "");
            var codes = new LinkedBlockingQueue<Integer>();
            Checks.control("freeze");
            client.zk.setData(path, "x".getBytes(), -1, (code, at, context, stat) -> codes.add(code), null);
            client.expectState(KeeperState.Disconnected);
            Checks.equal(KeeperException.Code.CONNECTIONLOSS.intValue(), codes.poll(30, TimeUnit.SECONDS), "code");
            Checks.control("cut");
            Checks.control("thaw");
            Checks.eventually("the client's return", () -> client.zk.getState() == States.CONNECTED);
        }
    }

    private static void sigkill() throws Exception {
        try (Client client = new Client(Checks.SERVER, 10000)) {
            String folder = client.folder();
            client.create(folder + "/e", "", CreateMode.EPHEMERAL);
            for (int i = 0; i < 200; i++) {
                client.create(folder + "/n" + i, "data" + i);
            }
            long id = client.zk.getSessionId();
            long zxid = client.zk.exists(folder + "/n199", false).getCzxid();
            Checks.control("restart");
            client.expectState(KeeperState.Disconnected);
            client.expectState(KeeperState.SyncConnected);
            Checks.equal(id, client.zk.getSessionId(), "session id");
            Checks.equal(id, client.zk.exists(folder + "/e", false).getEphemeralOwner(), "owner of the ephemeral");
            for (int i = 0; i < 200; i++) {
                Checks.equal("data" + i, client.get(folder + "/n" + i), "data");
            }
            client.create(folder + "/after", "");
            Checks.that(client.zk.exists(folder + "/after", false).getCzxid() > zxid, "the zxid went back");
        }
    }

    private static void watchesSurviveSigkill() throws Exception {
        try (Client client = new Client(Checks.SERVER, 10000)) {
            String path = client.create(client.folder() + "/a", "");
            var told = new LinkedBlockingQueue<WatchedEvent>();
            client.zk.getData(path, told::add, null);
            Checks.control("restart");
            client.expectState(KeeperState.Disconnected);
            client.expectState(KeeperState.SyncConnected);
            try (Client other = new Client()) {
                other.zk.setData(path, NONE, -1);
            }
            WatchedEvent event = told.poll(30, TimeUnit.SECONDS);
            while (event != null && event.getType() == EventType.None) {
                event = told.poll(30, TimeUnit.SECONDS);
            }
            Checks.that(event != null, "no event came");
            Checks.equal(EventType.NodeDataChanged, event.getType(), "type");
        }
    }
}
