"""pytest plugin: writes one line for each test of kazoo's suite, `outcome nodeid`, to the file KAZOO_REPORT names.

The suite's folder is pytest's root, so a node id begins with the file's name. kazoo's own files stay as they are.
"""

import os

_worst = {}
_RANK = {"passed": 0, "skipped": 1, "failed": 2}


def pytest_runtest_logreport(report):
    """A test has three phases; it failed if one did, and was skipped if none failed and one was skipped."""
    name = report.nodeid
    outcome = report.outcome
    if _RANK[outcome] > _RANK.get(_worst.get(name, "passed"), 0):
        _worst[name] = outcome
    if report.when == "teardown":
        with open(os.environ["KAZOO_REPORT"], "a") as lines:
            lines.write(f"{_worst.pop(name, 'passed')} {name}\n")
