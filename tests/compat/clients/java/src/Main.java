import java.util.List;

/** The stock Java client and Curator against ZK_SERVER; arguments are parts of names of checks. */
public final class Main {
    public static void main(String[] arguments) {
        Checks checks = new Checks();
        OperationChecks.addTo(checks);
        WatchChecks.addTo(checks);
        SessionChecks.addTo(checks);
        RecipeChecks.addTo(checks);
        System.exit(checks.run(List.of(arguments)) == 0 ? 0 : 1);
    }
}
