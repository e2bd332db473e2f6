"""Runs kazoo's own test suite, unmodified, and judges it. Started by `run`, inside kazoo's environment.

A test may fail if `expected_failures.txt` names it, and must then: one that starts to pass is an error too, so that the
list shrinks when TLS, SASL and ensembles arrive. A test that `known_flaky.txt` names gets one more try, alone.
"""

import argparse
import collections
import fnmatch
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# The harness derives secure, election, quorum and admin ports from the first, and every server's from the one before.
PORTS_A_SERVER, PORTS_APART = 5, 10
TEST_SECONDS_MAX = 240


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="ringkeeper", help="stock or ringkeeper, or several of them with commas")
    parser.add_argument("tests", nargs="*", help="FILE::CLASS::TEST of kazoo's suite; all of them when none is given")
    arguments = parser.parse_args()

    servers = arguments.server.split(",")
    expected = read_expected(servers)
    flaky = read_lines(HERE / "known_flaky.txt")
    outcomes = run_tests(arguments.tests, len(servers))

    flaked = []
    for name in sorted(outcomes):
        known = any(fnmatch.fnmatch(name, pattern) for pattern in flaky)
        if outcomes[name] == "failed" and name not in expected and known:
            print(f"one more try, alone: {name}", flush=True)
            if run_tests([name], len(servers)).get(name) == "passed":
                outcomes[name] = "passed"
                flaked.append(name)

    problems = []
    for name, outcome in sorted(outcomes.items()):
        if outcome == "failed" and name not in expected:
            problems.append(f"FAIL {name}")
        if outcome == "passed" and name in expected:
            problems.append(f"FAIL {name} passes, but expected_failures.txt says it cannot: {expected[name]}")
    if not arguments.tests:
        for name in sorted(set(expected) - set(outcomes)):
            problems.append(f"FAIL {name} is in expected_failures.txt, but the suite has no such test")

    counts = collections.Counter(outcomes.values())
    as_expected = sum(1 for name, outcome in outcomes.items() if outcome == "failed" and name in expected)
    for problem in problems:
        print(problem)
    print(
        f"kazoo {len(outcomes)} tests on {arguments.server}: {counts['passed']} passed "
        f"({len(flaked)} of them at the second try), {as_expected} failed as expected, {counts['skipped']} skipped"
    )
    print(f"{counts['passed']} passed, {len(problems)} failed")
    sys.exit(1 if problems or not outcomes else 0)


def run_tests(names, servers):
    """The outcome of each test by its name. An empty result means that pytest itself did not get far."""
    import kazoo.tests

    folder = pathlib.Path(kazoo.tests.__file__).parent
    with tempfile.TemporaryDirectory(prefix="ringkeeper-kazoo-") as scratch:
        report = pathlib.Path(scratch) / "report"
        environment = {key: value for key, value in os.environ.items() if key != "CI"}
        environment.update(
            PATH=f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}",
            PYTHONPATH=str(HERE),
            KAZOO_REPORT=str(report),
            TMPDIR=scratch,
            ZOOKEEPER_VERSION="3.9.5",
            ZOOKEEPER_CLUSTER_SIZE=str(servers),
            ZOOKEEPER_PORT_OFFSET=str(free_port_block(servers)),
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "report_plugin", "-p", "no:cacheprovider"]
        command += ["--timeout", str(TEST_SECONDS_MAX), "--tb", "short", "-W", "ignore", f"--rootdir={folder}"]
        command += [str(folder / name) for name in names] or [str(folder)]
        subprocess.run(command, env=environment, cwd=scratch, stdin=subprocess.DEVNULL)
        lines = report.read_text().splitlines() if report.exists() else []
    return {name: outcome for outcome, name in (line.split(" ", 1) for line in lines)}


def free_port_block(servers):
    """The first of the ports that the harness will use, all of them free and below the range the kernel hands out by
    itself."""
    offsets = [PORTS_APART * server + port for server in range(servers) for port in range(PORTS_A_SERVER)]
    block = PORTS_APART * servers
    for first in range(20000 + os.getpid() % (10000 // block) * block, 32000, block):
        try:
            held = [socket.create_server(("127.0.0.1", first + offset)) for offset in offsets]
        except OSError:
            continue
        for listener in held:
            listener.close()
        return first
    sys.exit("error: no free block of ports")


def read_expected(servers):
    """`WHO NAME REASON` a line; WHO is `standalone` (stock fails too, alone), `ensemble` (stock fails too, in one), or
    `ringkeeper`."""
    whose = {"standalone" if len(servers) == 1 else "ensemble", *servers}
    lines = (line.split(None, 2) for line in read_lines(HERE / "expected_failures.txt"))
    return {name: reason for who, name, reason in lines if who in whose}


def read_lines(path):
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    main()
