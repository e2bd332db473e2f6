import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Named checks, run one after the other, each with a time limit; one line for each, and the count at the end.
 *
 * <p>The clients keep their own time: their sessions last a second or a few, and a busy machine may keep them from pinging.
 * A check that says so ({@link #addTimed}) and fails gets one more try and is counted apart, like kazoo's known flaky ones.
 */
final class Checks {
    interface Body {
        void run() throws Exception;
    }

    static final String SERVER = System.getenv("ZK_SERVER");
    static final String PROXY = System.getenv("ZK_PROXY");
    private static final Duration LIMIT = Duration.ofSeconds(90);

    private final Map<String, Body> bodies = new LinkedHashMap<>();
    private final Set<String> timed = new HashSet<>();

    void add(String name, Body body) {
        if (bodies.put(name, body) != null) {
            throw new IllegalStateException("two checks are called " + name);
        }
    }

    void addTimed(String name, Body body) {
        add(name, body);
        timed.add(name);
    }

    /** Runs the checks whose name holds one of the patterns, or all of them. Returns how many failed. */
    int run(List<String> patterns) {
        int passed = 0;
        int failed = 0;
        List<String> again = new ArrayList<>();
        ExecutorService threads = Executors.newCachedThreadPool(runnable -> {
            Thread thread = new Thread(runnable);
            thread.setDaemon(true);
            return thread;
        });
        for (Map.Entry<String, Body> check : bodies.entrySet()) {
            if (!patterns.isEmpty() && patterns.stream().noneMatch(check.getKey()::contains)) {
                continue;
            }
            long begun = System.nanoTime();
            Throwable failure = runOne(threads, check.getValue());
            if (failure != null && timed.contains(check.getKey())) {
                System.out.println("one more try: " + check.getKey() + " " + describe(failure));
                again.add(check.getKey());
                failure = runOne(threads, check.getValue());
            }
            String took = " (" + TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun) + " ms)";
            if (failure == null) {
                passed++;
                System.out.println("ok " + check.getKey() + took);
            } else {
                failed++;
                System.out.println("FAIL " + check.getKey() + " " + describe(failure));
            }
        }
        if (!again.isEmpty()) {
            System.out.println(again.size() + " at the second try: " + String.join(" ", again));
        }
        System.out.println(passed + " passed, " + failed + " failed");
        return failed + (passed == 0 ? 1 : 0);
    }

    private static Throwable runOne(ExecutorService threads, Body body) {
        var result = threads.submit(() -> {
            body.run();
            return null;
        });
        try {
            result.get(LIMIT.toSeconds(), TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException failure) {
            return failure.getCause();
        } catch (TimeoutException failure) {
            result.cancel(true);
            return new AssertionError("not done after " + LIMIT.toSeconds() + " s");
        } catch (InterruptedException failure) {
            return failure;
        } finally {
            try {
                // A check that failed half-way must not leave the relay cut for the next one.
                control("thaw");
                control("accept");
            } catch (Exception failure) {
                System.out.println("the control connection failed: " + failure);
            }
        }
    }

    private static String describe(Throwable failure) {
        List<String> lines = new ArrayList<>();
        lines.add(String.valueOf(failure).replace('\n', ' '));
        for (StackTraceElement frame : failure.getStackTrace()) {
            if (frame.getFileName() != null && frame.getFileName().endsWith("Checks.java")) {
                lines.add("at " + frame.getFileName() + ":" + frame.getLineNumber());
            }
        }
        return String.join(" ", lines.subList(0, Math.min(4, lines.size())));
    }

    /** Tells tests/support/with_server to cut, freeze, thaw, refuse, accept, kill, start or restart. */
    static void control(String verb) throws Exception {
        String[] parts = System.getenv("ZK_CONTROL").split(":");
        try (Socket socket = new Socket(parts[0], Integer.parseInt(parts[1]))) {
            socket.getOutputStream().write((verb + "\n").getBytes(StandardCharsets.US_ASCII));
            String answer = new BufferedReader(new InputStreamReader(socket.getInputStream())).readLine();
            if (!"ok".equals(answer)) {
                throw new IllegalStateException(verb + ": " + answer);
            }
        }
    }

    static void that(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }

    static void equal(Object expected, Object actual, String what) {
        that(java.util.Objects.equals(expected, actual), what + ": expected " + expected + ", got " + actual);
    }

    /** Runs something that must throw exactly this kind of exception. */
    static <T extends Exception> T fails(Class<T> kind, Callable<?> action) throws Exception {
        Object value;
        try {
            value = action.call();
        } catch (Exception failure) {
            that(kind.isInstance(failure), "expected " + kind.getSimpleName() + ", got " + failure);
            return kind.cast(failure);
        }
        throw new AssertionError("expected " + kind.getSimpleName() + ", but it returned " + value);
    }

    /** Waits until the condition holds; for state that no event announces. */
    static void eventually(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (!condition.call()) {
            that(System.nanoTime() < deadline, "never came: " + what);
            Thread.sleep(10);
        }
    }
}
