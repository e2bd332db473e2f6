import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.CachedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicValue;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCacheEvent;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.Locker;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.BlockingQueueConsumer;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.framework.state.ConnectionStateListener;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.x.async.AsyncCuratorFramework;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.data.Stat;

/** Curator's recipes, each with the sessions and threads that it is made for. */
final class RecipeChecks {
    private static final AtomicInteger FOLDERS = new AtomicInteger();
    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return item.getBytes();
        }

        @Override
        public String deserialize(byte[] bytes) {
            return new String(bytes);
        }
    };

    private RecipeChecks() {}

    static void addTo(Checks checks) {
        checks.add("curator_m07_inter_process_mutex", RecipeChecks::mutex);
        checks.addTimed("curator_m07_mutex_of_an_expired_holder_passes_on", RecipeChecks::mutexOfAnExpiredHolder);
        checks.add("curator_mutex_is_revocable", RecipeChecks::revocableMutex);
        checks.add("curator_semaphore_mutex", RecipeChecks::semaphoreMutex);
        checks.add("curator_read_write_lock", RecipeChecks::readWriteLock);
        checks.add("curator_semaphore", RecipeChecks::semaphore);
        checks.add("curator_multi_lock", RecipeChecks::multiLock);
        checks.add("curator_leader_latch", RecipeChecks::leaderLatch);
        checks.add("curator_leader_selector", RecipeChecks::leaderSelector);
        checks.add("curator_barrier", RecipeChecks::barrier);
        checks.add("curator_double_barrier", RecipeChecks::doubleBarrier);
        checks.add("curator_shared_count", RecipeChecks::sharedCount);
        checks.add("curator_shared_value", RecipeChecks::sharedValue);
        checks.add("curator_atomic_long", RecipeChecks::atomicLong);
        checks.add("curator_atomic_integer_promoted_to_lock", RecipeChecks::atomicInteger);
        checks.add("curator_atomic_value", RecipeChecks::atomicValue);
        checks.add("curator_cached_atomic_long", RecipeChecks::cachedAtomicLong);
        checks.add("curator_cache", RecipeChecks::curatorCache);
        checks.addTimed("curator_cache_through_a_cut", RecipeChecks::curatorCacheThroughACut);
        checks.add("curator_path_children_cache", RecipeChecks::pathChildrenCache);
        checks.add("curator_node_cache", RecipeChecks::nodeCache);
        checks.add("curator_tree_cache", RecipeChecks::treeCache);
        checks.add("curator_queue", RecipeChecks::queue);
        checks.add("curator_queue_with_lock", RecipeChecks::queueWithLock);
        checks.add("curator_id_queue", RecipeChecks::idQueue);
        checks.add("curator_priority_queue", RecipeChecks::priorityQueue);
        checks.addTimed("curator_delay_queue", RecipeChecks::delayQueue);
        checks.add("curator_simple_queue", RecipeChecks::simpleQueue);
        checks.addTimed("curator_persistent_node", RecipeChecks::persistentNode);
        checks.addTimed("curator_persistent_ttl_node", RecipeChecks::persistentTtlNode);
        checks.addTimed("curator_m06_group_member", RecipeChecks::groupMember);
        checks.addTimed("curator_persistent_watcher", RecipeChecks::persistentWatcher);
        checks.add("curator_transaction", RecipeChecks::transaction);
        checks.add("curator_create_with_parents_containers_protection", RecipeChecks::createForms);
        checks.add("curator_delete_guaranteed_with_children", RecipeChecks::deleteForms);
        checks.addTimed("curator_connection_states", RecipeChecks::connectionStates);
        checks.add("curator_service_discovery", RecipeChecks::serviceDiscovery);
        checks.add("curator_async", RecipeChecks::async);
        checks.add("curator_forty_sessions_at_once", RecipeChecks::manySessions);
    }

    private static String folder() {
        return "/recipe" + FOLDERS.incrementAndGet() + "-" + ProcessHandle.current().pid();
    }

    private static CuratorFramework client() throws Exception {
        return client(Checks.SERVER, 6000);
    }

    private static CuratorFramework client(String address, int timeoutMs) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(address, timeoutMs, 5000, new ExponentialBackoffRetry(50, 6));
        client.start();
        Checks.that(client.blockUntilConnected(30, TimeUnit.SECONDS), "not connected");
        return client;
    }

    private static <T> T take(BlockingQueue<T> queue) throws Exception {
        T item = queue.poll(30, TimeUnit.SECONDS);
        Checks.that(item != null, "nothing came");
        return item;
    }

    /** Runs a body in so many threads, each with a session of its own, and hands on what they throw. */
    private static void inSessions(int count, SessionBody body) throws Exception {
        var threads = Executors.newFixedThreadPool(count);
        List<java.util.concurrent.Future<?>> results = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int number = i;
            results.add(threads.submit(() -> {
                try (CuratorFramework client = client()) {
                    body.run(client, number);
                }
                return null;
            }));
        }
        threads.shutdown();
        for (var result : results) {
            result.get(80, TimeUnit.SECONDS);
        }
    }

    private interface SessionBody {
        void run(CuratorFramework client, int number) throws Exception;
    }

    private static void mutex() throws Exception {
        String path = folder();
        AtomicInteger holders = new AtomicInteger();
        AtomicInteger turns = new AtomicInteger();
        inSessions(12, (client, number) -> {
            InterProcessMutex mutex = new InterProcessMutex(client, path);
            for (int i = 0; i < 5; i++) {
                Checks.that(mutex.acquire(60, TimeUnit.SECONDS), "never got the lock");
                mutex.acquire();
                Checks.equal(1, holders.incrementAndGet(), "holders");
                turns.incrementAndGet();
                holders.decrementAndGet();
                mutex.release();
                mutex.release();
            }
        });
        Checks.equal(60, turns.get(), "turns");
    }

    private static void mutexOfAnExpiredHolder() throws Exception {
        String path = folder();
        try (CuratorFramework holder = client(Checks.PROXY, 1000); CuratorFramework waiter = client()) {
            new InterProcessMutex(holder, path).acquire();
            InterProcessMutex mutex = new InterProcessMutex(waiter, path);
            Checks.that(!mutex.acquire(200, TimeUnit.MILLISECONDS), "two holders");
            Checks.control("refuse");
            Checks.that(mutex.acquire(30, TimeUnit.SECONDS), "an expired holder keeps the lock");
            Checks.control("accept");
        }
    }

    private static void revocableMutex() throws Exception {
        String path = folder();
        try (CuratorFramework holder = client(); CuratorFramework other = client()) {
            InterProcessMutex mutex = new InterProcessMutex(holder, path);
            CountDownLatch asked = new CountDownLatch(1);
            mutex.makeRevocable(lock -> asked.countDown());
            mutex.acquire();
            String node = mutex.getParticipantNodes().iterator().next();
            org.apache.curator.framework.recipes.locks.Revoker.attemptRevoke(other, node);
            Checks.that(asked.await(30, TimeUnit.SECONDS), "the holder was not asked");
            mutex.release();
        }
    }

    private static void semaphoreMutex() throws Exception {
        String path = folder();
        AtomicInteger holders = new AtomicInteger();
        inSessions(6, (client, number) -> {
            InterProcessSemaphoreMutex mutex = new InterProcessSemaphoreMutex(client, path);
            for (int i = 0; i < 3; i++) {
                try (Locker locker = new Locker(mutex, 60, TimeUnit.SECONDS)) {
                    Checks.equal(1, holders.incrementAndGet(), "holders");
                    holders.decrementAndGet();
                }
            }
        });
    }

    private static void readWriteLock() throws Exception {
        String path = folder();
        AtomicInteger readers = new AtomicInteger();
        AtomicInteger writers = new AtomicInteger();
        inSessions(8, (client, number) -> {
            InterProcessReadWriteLock lock = new InterProcessReadWriteLock(client, path);
            for (int i = 0; i < 4; i++) {
                if ((number + i) % 4 == 0) {
                    lock.writeLock().acquire();
                    Checks.equal(1, writers.incrementAndGet(), "writers");
                    Checks.equal(0, readers.get(), "readers beside a writer");
                    writers.decrementAndGet();
                    lock.writeLock().release();
                } else {
                    lock.readLock().acquire();
                    readers.incrementAndGet();
                    Checks.equal(0, writers.get(), "writers beside a reader");
                    readers.decrementAndGet();
                    lock.readLock().release();
                }
            }
        });
    }

    private static void semaphore() throws Exception {
        String path = folder();
        Semaphore model = new Semaphore(3);
        inSessions(8, (client, number) -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, path, 3);
            for (int i = 0; i < 3; i++) {
                Lease lease = semaphore.acquire(60, TimeUnit.SECONDS);
                Checks.that(lease != null, "never got a lease");
                Checks.that(model.tryAcquire(), "more than three leases");
                model.release();
                semaphore.returnLease(lease);
            }
        });
    }

    private static void multiLock() throws Exception {
        String first = folder();
        String second = folder();
        try (CuratorFramework one = client(); CuratorFramework two = client()) {
            InterProcessMultiLock both = new InterProcessMultiLock(one, List.of(first, second));
            both.acquire();
            Checks.that(!new InterProcessMutex(two, second).acquire(200, TimeUnit.MILLISECONDS), "the second lock is free");
            both.release();
            InterProcessMutex free = new InterProcessMutex(two, second);
            Checks.that(free.acquire(30, TimeUnit.SECONDS), "the second lock is held for ever");
            free.release();
        }
    }

    private static void leaderLatch() throws Exception {
        String path = folder();
        List<CuratorFramework> clients = new ArrayList<>();
        List<LeaderLatch> latches = new ArrayList<>();
        try {
            for (int i = 0; i < 5; i++) {
                clients.add(client());
                latches.add(new LeaderLatch(clients.get(i), path, "id" + i));
                latches.get(i).start();
            }
            for (int left = 5; left > 0; left--) {
                Checks.eventually("a leader", () -> latches.stream().filter(LeaderLatch::hasLeadership).count() == 1);
                LeaderLatch leader = latches.stream().filter(LeaderLatch::hasLeadership).findFirst().orElseThrow();
                Checks.eventually("agreement", () -> latches.get(0).getLeader().getId().equals(leader.getId()));
                latches.remove(leader);
                leader.close();
            }
        } finally {
            for (LeaderLatch latch : latches) {
                latch.close();
            }
            clients.forEach(CuratorFramework::close);
        }
    }

    private static void leaderSelector() throws Exception {
        String path = folder();
        AtomicInteger leaders = new AtomicInteger();
        List<Integer> order = Collections.synchronizedList(new ArrayList<>());
        List<String> wrong = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch led = new CountDownLatch(5);
        inSessions(5, (client, number) -> {
            LeaderSelector selector = new LeaderSelector(client, path, new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework leader) {
                    if (leaders.incrementAndGet() != 1) {
                        wrong.add("two leaders");
                    }
                    order.add(number);
                    leaders.decrementAndGet();
                    led.countDown();
                }
            });
            selector.start();
            Checks.that(led.await(60, TimeUnit.SECONDS), "not everyone led");
            selector.close();
        });
        Checks.equal(List.of(), wrong, "faults");
        Checks.equal(5, new HashSet<>(order).size(), "leaders");
    }

    private static void barrier() throws Exception {
        String path = folder();
        try (CuratorFramework keeper = client()) {
            DistributedBarrier gate = new DistributedBarrier(keeper, path);
            gate.setBarrier();
            AtomicInteger passed = new AtomicInteger();
            CountDownLatch waiting = new CountDownLatch(4);
            Thread opener = new Thread(() -> {
                try {
                    waiting.await();
                    Checks.equal(0, passed.get(), "passed before the barrier went");
                    gate.removeBarrier();
                } catch (Exception failure) {
                    throw new IllegalStateException(failure);
                }
            });
            opener.start();
            inSessions(4, (client, number) -> {
                waiting.countDown();
                Checks.that(new DistributedBarrier(client, path).waitOnBarrier(60, TimeUnit.SECONDS), "still waiting");
                passed.incrementAndGet();
            });
            opener.join();
            Checks.equal(4, passed.get(), "passed");
        }
    }

    private static void doubleBarrier() throws Exception {
        String path = folder();
        AtomicInteger inside = new AtomicInteger();
        inSessions(5, (client, number) -> {
            DistributedDoubleBarrier gate = new DistributedDoubleBarrier(client, path, 5);
            inside.incrementAndGet();
            Checks.that(gate.enter(60, TimeUnit.SECONDS), "not entered");
            Checks.equal(5, inside.get(), "entered before all came");
            Checks.that(gate.leave(60, TimeUnit.SECONDS), "not left");
        });
    }

    private static void sharedCount() throws Exception {
        String path = folder();
        inSessions(4, (client, number) -> {
            SharedCount count = new SharedCount(client, path, 10);
            count.start();
            for (int done = 0; done < 5; ) {
                if (count.trySetCount(count.getVersionedValue(), count.getCount() + 1)) {
                    done++;
                }
            }
            Checks.eventually("the last count", () -> count.getCount() == 30);
            count.close();
        });
    }

    private static void sharedValue() throws Exception {
        String path = folder();
        try (CuratorFramework one = client(); CuratorFramework two = client()) {
            SharedValue first = new SharedValue(one, path, "seed".getBytes());
            SharedValue second = new SharedValue(two, path, "seed".getBytes());
            first.start();
            second.start();
            first.setValue("new".getBytes());
            Checks.eventually("the other's value", () -> new String(second.getValue()).equals("new"));
            first.close();
            second.close();
        }
    }

    private static void atomicLong() throws Exception {
        String path = folder();
        inSessions(5, (client, number) -> {
            DistributedAtomicLong value = new DistributedAtomicLong(client, path, new RetryNTimes(200, 5));
            for (int i = 0; i < 10; i++) {
                Checks.that(value.increment().succeeded(), "increment gave up");
            }
        });
        try (CuratorFramework client = client()) {
            AtomicValue<Long> value = new DistributedAtomicLong(client, path, new RetryNTimes(3, 5)).get();
            Checks.equal(50L, value.postValue(), "value");
        }
    }

    private static void atomicInteger() throws Exception {
        String path = folder();
        PromotedToLock lock = PromotedToLock.builder().lockPath(path + "-lock").timeout(30, TimeUnit.SECONDS)
            .retryPolicy(new RetryNTimes(20, 10)).build();
        inSessions(4, (client, number) -> {
            DistributedAtomicInteger value = new DistributedAtomicInteger(client, path, new RetryNTimes(1, 1), lock);
            for (int i = 0; i < 5; i++) {
                Checks.that(value.add(2).succeeded(), "add gave up");
            }
        });
        try (CuratorFramework client = client()) {
            Checks.equal(40, new DistributedAtomicInteger(client, path, new RetryNTimes(3, 5)).get().postValue(), "value");
        }
    }

    private static void atomicValue() throws Exception {
        try (CuratorFramework client = client()) {
            DistributedAtomicValue value = new DistributedAtomicValue(client, folder(), new RetryNTimes(3, 5));
            Checks.that(value.initialize("one".getBytes()), "initialize");
            Checks.that(!value.initialize("two".getBytes()), "initialize twice");
            Checks.that(value.compareAndSet("one".getBytes(), "two".getBytes()).succeeded(), "compareAndSet");
            Checks.that(!value.compareAndSet("one".getBytes(), "three".getBytes()).succeeded(), "compareAndSet of an old value");
        }
    }

    private static void cachedAtomicLong() throws Exception {
        String path = folder();
        Set<Long> given = Collections.synchronizedSet(new HashSet<>());
        inSessions(3, (client, number) -> {
            var source = new DistributedAtomicLong(client, path, new RetryNTimes(200, 5));
            CachedAtomicLong cached = new CachedAtomicLong(source, 10);
            for (int i = 0; i < 25; i++) {
                AtomicValue<Long> next = cached.next();
                Checks.that(next.succeeded() && given.add(next.postValue()), "a number was given twice");
            }
        });
    }

    private static void curatorCache() throws Exception {
        String path = folder();
        try (CuratorFramework client = client(); CuratorFramework other = client()) {
            other.create().forPath(path);
            other.create().forPath(path + "/before", "0".getBytes());
            var events = new LinkedBlockingQueue<String>();
            CountDownLatch initialized = new CountDownLatch(1);
            CuratorCache cache = CuratorCache.build(client, path);
            cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreates(node -> events.add("created " + node.getPath()))
                .forChanges((old, node) -> events.add("changed " + node.getPath()))
                .forDeletes(node -> events.add("deleted " + node.getPath()))
                .forInitialized(initialized::countDown)
                .build());
            cache.start();
            Checks.that(initialized.await(30, TimeUnit.SECONDS), "never initialized");
            Checks.equal(Set.of("created " + path, "created " + path + "/before"), Set.of(take(events), take(events)), "start");
            other.create().forPath(path + "/a", "1".getBytes());
            Checks.equal("created " + path + "/a", take(events), "event");
            other.create().forPath(path + "/a/b", "2".getBytes());
            Checks.equal("created " + path + "/a/b", take(events), "event");
            other.setData().forPath(path + "/a/b", "3".getBytes());
            Checks.equal("changed " + path + "/a/b", take(events), "event");
            Checks.equal("3", new String(cache.get(path + "/a/b").map(ChildData::getData).orElseThrow()), "cached data");
            other.delete().deletingChildrenIfNeeded().forPath(path + "/a");
            Checks.equal("deleted " + path + "/a/b", take(events), "event");
            Checks.equal("deleted " + path + "/a", take(events), "event");
            Checks.equal(2, cache.size(), "size");
            cache.close();
        }
    }

    private static void curatorCacheThroughACut() throws Exception {
        String path = folder();
        try (CuratorFramework client = client(Checks.PROXY, 8000); CuratorFramework other = client()) {
            other.create().forPath(path);
            other.create().forPath(path + "/goes");
            CuratorCache cache = CuratorCache.build(client, path);
            cache.start();
            Checks.eventually("the first look", () -> cache.size() == 2);
            Checks.control("refuse");
            other.delete().forPath(path + "/goes");
            other.create().forPath(path + "/comes", "x".getBytes());
            Checks.control("accept");
            Checks.eventually("what came meanwhile", () -> cache.get(path + "/comes").isPresent());
            Checks.eventually("what went meanwhile", () -> cache.get(path + "/goes").isEmpty());
            cache.close();
        }
    }

    private static void pathChildrenCache() throws Exception {
        String path = folder();
        try (CuratorFramework client = client(); CuratorFramework other = client()) {
            other.create().forPath(path);
            var events = new LinkedBlockingQueue<String>();
            PathChildrenCache cache = new PathChildrenCache(client, path, true);
            cache.getListenable().addListener((framework, event) -> {
                if (event.getData() != null) {
                    events.add(event.getType() + " " + event.getData().getPath());
                } else if (event.getType() == PathChildrenCacheEvent.Type.INITIALIZED) {
                    events.add("INITIALIZED");
                }
            });
            cache.start(PathChildrenCache.StartMode.POST_INITIALIZED_EVENT);
            Checks.equal("INITIALIZED", take(events), "event");
            other.create().forPath(path + "/a", "1".getBytes());
            Checks.equal("CHILD_ADDED " + path + "/a", take(events), "event");
            other.setData().forPath(path + "/a", "2".getBytes());
            Checks.equal("CHILD_UPDATED " + path + "/a", take(events), "event");
            other.delete().forPath(path + "/a");
            Checks.equal("CHILD_REMOVED " + path + "/a", take(events), "event");
            cache.close();
        }
    }

    private static void nodeCache() throws Exception {
        String path = folder();
        try (CuratorFramework client = client(); CuratorFramework other = client()) {
            other.create().forPath(path, "1".getBytes());
            NodeCache cache = new NodeCache(client, path);
            cache.start(true);
            Checks.equal("1", new String(cache.getCurrentData().getData()), "data");
            other.setData().forPath(path, "2".getBytes());
            Checks.eventually("the new data", () -> new String(cache.getCurrentData().getData()).equals("2"));
            other.delete().forPath(path);
            Checks.eventually("the end", () -> cache.getCurrentData() == null);
            cache.close();
        }
    }

    private static void treeCache() throws Exception {
        String path = folder();
        try (CuratorFramework client = client(); CuratorFramework other = client()) {
            other.create().creatingParentsIfNeeded().forPath(path + "/a/b", "1".getBytes());
            CountDownLatch initialized = new CountDownLatch(1);
            TreeCache cache = new TreeCache(client, path);
            cache.getListenable().addListener((framework, event) -> {
                if (event.getType() == TreeCacheEvent.Type.INITIALIZED) {
                    initialized.countDown();
                }
            });
            cache.start();
            Checks.that(initialized.await(30, TimeUnit.SECONDS), "never initialized");
            Checks.equal("1", new String(cache.getCurrentData(path + "/a/b").getData()), "data");
            other.create().forPath(path + "/a/c");
            Checks.eventually("the new node", () -> cache.getCurrentData(path + "/a/c") != null);
            other.delete().forPath(path + "/a/b");
            Checks.eventually("the node's end", () -> cache.getCurrentData(path + "/a/b") == null);
            cache.close();
        }
    }

    /** Collects what a queue delivers; `BlockingQueueConsumer` is Curator's own for this. */
    private static BlockingQueueConsumer<String> consumer() {
        return new BlockingQueueConsumer<>((ConnectionStateListener) (client, state) -> { });
    }

    private static Set<String> takeAll(BlockingQueueConsumer<String> consumer, int count) throws Exception {
        Set<String> items = new HashSet<>();
        for (int i = 0; i < count; i++) {
            String item = consumer.take(30, TimeUnit.SECONDS);
            Checks.that(item != null, "only " + i + " items came");
            Checks.that(items.add(item), item + " came twice");
        }
        return items;
    }

    private static void queue() throws Exception {
        String path = folder();
        try (CuratorFramework producer = client(); CuratorFramework taker = client()) {
            var consumer = consumer();
            DistributedQueue<String> in = QueueBuilder.builder(producer, null, TEXT, path).buildQueue();
            DistributedQueue<String> out = QueueBuilder.builder(taker, consumer, TEXT, path).buildQueue();
            in.start();
            out.start();
            for (int i = 0; i < 30; i++) {
                in.put("item" + i);
            }
            for (int i = 0; i < 30; i++) {
                Checks.equal("item" + i, consumer.take(30, TimeUnit.SECONDS), "order");
            }
            in.close();
            out.close();
        }
    }

    private static void queueWithLock() throws Exception {
        String path = folder();
        String lock = folder();
        try (CuratorFramework producer = client(); CuratorFramework one = client(); CuratorFramework two = client()) {
            var consumer = consumer();
            DistributedQueue<String> first = QueueBuilder.builder(one, consumer, TEXT, path).lockPath(lock).buildQueue();
            DistributedQueue<String> second = QueueBuilder.builder(two, consumer, TEXT, path).lockPath(lock).buildQueue();
            DistributedQueue<String> in = QueueBuilder.builder(producer, null, TEXT, path).lockPath(lock).buildQueue();
            first.start();
            second.start();
            in.start();
            for (int i = 0; i < 20; i++) {
                in.put("item" + i);
            }
            takeAll(consumer, 20);
            in.close();
            first.close();
            second.close();
        }
    }

    private static void idQueue() throws Exception {
        String path = folder();
        try (CuratorFramework client = client()) {
            DistributedIdQueue<String> in = QueueBuilder.builder(client, null, TEXT, path).buildIdQueue();
            in.start();
            in.put("kept", "id1");
            in.put("removed", "id2");
            Checks.that(in.flushPuts(30, TimeUnit.SECONDS), "puts not flushed");
            Checks.equal(1, in.remove("id2"), "removed");
            var consumer = consumer();
            DistributedIdQueue<String> out = QueueBuilder.builder(client, consumer, TEXT, path).buildIdQueue();
            out.start();
            Checks.equal("kept", consumer.take(30, TimeUnit.SECONDS), "item");
            in.close();
            out.close();
        }
    }

    private static void priorityQueue() throws Exception {
        String path = folder();
        try (CuratorFramework client = client()) {
            DistributedPriorityQueue<String> in = QueueBuilder.builder(client, null, TEXT, path).buildPriorityQueue(1);
            in.start();
            in.put("last", 30);
            in.put("first", 10);
            in.put("middle", 20);
            Checks.that(in.flushPuts(30, TimeUnit.SECONDS), "puts not flushed");
            var consumer = consumer();
            DistributedPriorityQueue<String> out = QueueBuilder.builder(client, consumer, TEXT, path).buildPriorityQueue(1);
            out.start();
            for (String item : List.of("first", "middle", "last")) {
                Checks.equal(item, consumer.take(30, TimeUnit.SECONDS), "item");
            }
            in.close();
            out.close();
        }
    }

    private static void delayQueue() throws Exception {
        String path = folder();
        try (CuratorFramework client = client()) {
            var consumer = consumer();
            DistributedDelayQueue<String> queue = QueueBuilder.builder(client, consumer, TEXT, path).buildDelayQueue();
            queue.start();
            long now = System.currentTimeMillis();
            queue.put("late", now + 800);
            queue.put("early", now + 300);
            Checks.equal("early", consumer.take(30, TimeUnit.SECONDS), "item");
            Checks.equal("late", consumer.take(30, TimeUnit.SECONDS), "item");
            Checks.that(System.currentTimeMillis() >= now + 800, "an item came early");
            queue.close();
        }
    }

    private static void simpleQueue() throws Exception {
        String path = folder();
        try (CuratorFramework one = client(); CuratorFramework two = client()) {
            SimpleDistributedQueue in = new SimpleDistributedQueue(one, path);
            SimpleDistributedQueue out = new SimpleDistributedQueue(two, path);
            Checks.equal(null, out.poll(), "an empty queue");
            in.offer("a".getBytes());
            in.offer("b".getBytes());
            Checks.equal("a", new String(out.peek()), "peek");
            Checks.equal("a", new String(out.take()), "take");
            Checks.equal("b", new String(out.poll(30, TimeUnit.SECONDS)), "poll");
        }
    }

    private static void persistentNode() throws Exception {
        String path = folder();
        try (CuratorFramework owner = client(Checks.PROXY, 1000); CuratorFramework other = client()) {
            PersistentNode node = new PersistentNode(owner, CreateMode.EPHEMERAL, false, path, "x".getBytes());
            node.start();
            Checks.that(node.waitForInitialCreate(30, TimeUnit.SECONDS), "never created");
            long first = other.checkExists().forPath(path).getEphemeralOwner();
            other.delete().forPath(path);
            Checks.eventually("the node's return", () -> other.checkExists().forPath(path) != null);
            Checks.control("refuse");
            Checks.eventually("the session's end", () -> other.checkExists().forPath(path) == null);
            Checks.control("accept");
            Checks.eventually("the node of the next session", () -> {
                Stat stat = other.checkExists().forPath(path);
                return stat != null && stat.getEphemeralOwner() != first;
            });
            node.close();
            Checks.eventually("the node's end", () -> other.checkExists().forPath(path) == null);
        }
    }

    private static void persistentTtlNode() throws Exception {
        String path = folder();
        try (CuratorFramework owner = client(); CuratorFramework other = client()) {
            PersistentTtlNode node = new PersistentTtlNode(owner, path, 1500, "x".getBytes());
            node.start();
            Checks.that(node.waitForInitialCreate(30, TimeUnit.SECONDS), "never created");
            CountDownLatch kept = new CountDownLatch(1);
            // It is touched again and again, so it outlives its ttl while its owner does.
            Checks.that(!kept.await(3500, TimeUnit.MILLISECONDS), "time");
            Checks.that(other.checkExists().forPath(path) != null, "the node went while it was touched");
            node.close();
            Checks.eventually("the node's end", () -> other.checkExists().forPath(path) == null);
        }
    }

    private static void groupMember() throws Exception {
        String path = folder();
        try (CuratorFramework one = client(); CuratorFramework two = client(Checks.PROXY, 1000)) {
            GroupMember first = new GroupMember(one, path, "first", "1".getBytes());
            GroupMember second = new GroupMember(two, path, "second", "2".getBytes());
            first.start();
            second.start();
            Checks.eventually("both members", () -> first.getCurrentMembers().keySet().equals(Set.of("first", "second")));
            Checks.control("refuse");
            Checks.eventually("the lost member's end", () -> first.getCurrentMembers().keySet().equals(Set.of("first")));
            Checks.control("accept");
            Checks.eventually("its return", () -> first.getCurrentMembers().size() == 2);
            second.close();
            Checks.eventually("its leaving", () -> first.getCurrentMembers().size() == 1);
            first.close();
        }
    }

    private static void persistentWatcher() throws Exception {
        String path = folder();
        try (CuratorFramework client = client(Checks.PROXY, 6000); CuratorFramework other = client()) {
            other.create().forPath(path);
            var events = new LinkedBlockingQueue<String>();
            PersistentWatcher watcher = new PersistentWatcher(client, path, true);
            CountDownLatch set = new CountDownLatch(1);
            watcher.getResetListenable().addListener(set::countDown);
            watcher.getListenable().addListener(event -> {
                if (event.getPath() != null) {
                    events.add(event.getType() + " " + event.getPath());
                }
            });
            watcher.start();
            Checks.that(set.await(30, TimeUnit.SECONDS), "never set");
            other.create().forPath(path + "/a");
            Checks.equal("NodeCreated " + path + "/a", take(events), "event");
            Checks.control("cut");
            Checks.eventually("a watch that works again", () -> {
                other.setData().forPath(path + "/a", "x".getBytes());
                return events.poll(200, TimeUnit.MILLISECONDS) != null;
            });
            watcher.close();
        }
    }

    private static void transaction() throws Exception {
        String path = folder();
        try (CuratorFramework client = client()) {
            client.create().forPath(path, "0".getBytes());
            var results = client.transaction().forOperations(
                client.transactionOp().check().withVersion(0).forPath(path),
                client.transactionOp().create().withMode(CreateMode.EPHEMERAL).forPath(path + "-e", "e".getBytes()),
                client.transactionOp().setData().forPath(path, "1".getBytes()));
            Checks.equal(3, results.size(), "results");
            Checks.fails(KeeperException.BadVersionException.class, () -> client.transaction().forOperations(
                client.transactionOp().setData().forPath(path, "2".getBytes()),
                client.transactionOp().check().withVersion(9).forPath(path)));
            Checks.equal("1", new String(client.getData().forPath(path)), "data");
        }
    }

    private static void createForms() throws Exception {
        String path = folder();
        try (CuratorFramework client = client()) {
            Stat stat = new Stat();
            client.create().storingStatIn(stat).creatingParentContainersIfNeeded().forPath(path + "/a/b/c", "x".getBytes());
            Checks.equal(1, stat.getDataLength(), "data length");
            String protectedPath = client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(path + "/p-");
            Checks.that(protectedPath.matches(path + "/_c_[-0-9a-f]{36}-p-[0-9]{10}"), protectedPath);
            String idempotent = path + "/i";
            client.create().idempotent().forPath(idempotent, "x".getBytes());
            client.create().idempotent().forPath(idempotent, "x".getBytes());
            client.create().orSetData().forPath(idempotent, "y".getBytes());
            Checks.equal("y", new String(client.getData().forPath(idempotent)), "data");
            client.create().withTtl(300).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path + "/t");
            client.delete().deletingChildrenIfNeeded().forPath(path + "/a/b");
            Checks.eventually("the container's end", () -> client.checkExists().forPath(path + "/a") == null);
            Checks.eventually("the TTL node's end", () -> client.checkExists().forPath(path + "/t") == null);
        }
    }

    private static void deleteForms() throws Exception {
        String path = folder();
        try (CuratorFramework client = client()) {
            for (int i = 0; i < 50; i++) {
                client.create().creatingParentsIfNeeded().forPath(path + "/a" + i % 5 + "/b" + i);
            }
            client.delete().guaranteed().deletingChildrenIfNeeded().forPath(path);
            Checks.equal(null, client.checkExists().forPath(path), "exists");
            client.delete().quietly().forPath(path);
        }
    }

    private static void connectionStates() throws Exception {
        try (CuratorFramework client = CuratorFrameworkFactory.newClient(Checks.PROXY, 2000, 2000, new ExponentialBackoffRetry(50, 6))) {
            var states = new LinkedBlockingQueue<ConnectionState>();
            client.getConnectionStateListenable().addListener((framework, state) -> states.add(state));
            client.start();
            Checks.equal(ConnectionState.CONNECTED, take(states), "state");
            Checks.control("refuse");
            Checks.equal(ConnectionState.SUSPENDED, take(states), "state");
            Checks.equal(ConnectionState.LOST, take(states), "state");
            Checks.control("accept");
            Checks.equal(ConnectionState.RECONNECTED, take(states), "state");
        }
    }

    private static void serviceDiscovery() throws Exception {
        String path = folder();
        try (CuratorFramework one = client(); CuratorFramework two = client()) {
            ServiceInstance<String> instance = ServiceInstance.<String>builder().name("shop").payload("p").port(8080).build();
            ServiceDiscovery<String> shop = ServiceDiscoveryBuilder.builder(String.class).client(one).basePath(path).thisInstance(instance).build();
            ServiceDiscovery<String> customer = ServiceDiscoveryBuilder.builder(String.class).client(two).basePath(path).build();
            shop.start();
            customer.start();
            var provider = customer.serviceProviderBuilder().serviceName("shop").build();
            provider.start();
            Checks.eventually("an instance", () -> provider.getInstance() != null);
            Checks.equal(8080, provider.getInstance().getPort(), "port");
            shop.close();
            Checks.eventually("its leaving", () -> provider.getInstance() == null);
            provider.close();
            customer.close();
        }
    }

    private static void async() throws Exception {
        String path = folder();
        try (CuratorFramework client = client()) {
            AsyncCuratorFramework async = AsyncCuratorFramework.wrap(client);
            AtomicReference<String> data = new AtomicReference<>();
            async.create().forPath(path, "x".getBytes())
                .thenCompose(made -> async.getData().forPath(made))
                .thenAccept(bytes -> data.set(new String(bytes)))
                .toCompletableFuture().get(30, TimeUnit.SECONDS);
            Checks.equal("x", data.get(), "data");
            var watched = async.watched().getData().forPath(path);
            watched.toCompletableFuture().get(30, TimeUnit.SECONDS);
            client.setData().forPath(path, "y".getBytes());
            var event = watched.event().toCompletableFuture().get(30, TimeUnit.SECONDS);
            Checks.equal(path, event.getPath(), "path of the event");
        }
    }

    private static void manySessions() throws Exception {
        String path = folder();
        try (CuratorFramework watcher = client()) {
            watcher.create().forPath(path);
            CountDownLatch ready = new CountDownLatch(40);
            inSessions(40, (client, number) -> {
                client.create().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(path + "/s-");
                ready.countDown();
                Checks.that(ready.await(60, TimeUnit.SECONDS), "not all came");
                Checks.equal(40, client.getChildren().forPath(path).size(), "children");
                // Nobody leaves before all have looked.
                DistributedDoubleBarrier gate = new DistributedDoubleBarrier(client, path + "-gate", 40);
                Checks.that(gate.enter(60, TimeUnit.SECONDS), "not entered");
            });
            Checks.eventually("everyone's leaving", () -> watcher.getChildren().forPath(path).isEmpty());
        }
    }
}
