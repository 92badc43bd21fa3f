"""A pytest plugin: writes how each test ended, and why it failed, to the file named by SUITE_RESULTS, a JSON list a line.

The file is written as tests end, so that a run that crashes or is stopped leaves what it knew.  Where SUITE_ONLY names a file, only the tests in it are
run: names of tests on the command line would not do, as pytest refuses the whole run for one that it cannot take apart.
"""

import json
import os

import pytest

_file = None
# pytest runs pytest inside some suites: only the outermost session reports.
_outermost = os.environ.pop("SUITE_RESULTS", None)
_only = os.environ.pop("SUITE_ONLY", None)


def pytest_sessionstart(session):
    global _file
    if _outermost and _file is None:
        _file = open(_outermost, "w")


def pytest_collection_modifyitems(config, items):
    if _only:
        with open(_only) as names:
            wanted = set(json.load(names))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
        items[:] = [item for item in items if item.nodeid in wanted]


def _write(nodeid, outcome, why=""):
    if _file is not None:
        print(json.dumps([nodeid, outcome, why]), file=_file, flush=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid, location):
    _write(nodeid, "started")


def pytest_runtest_logreport(report):
    expected_to_fail = hasattr(report, "wasxfail")
    if report.failed:
        _write(report.nodeid, "failed", str(report.longrepr)[-4000:])
    elif report.skipped and not expected_to_fail:
        _write(report.nodeid, "skipped")
    elif report.when == "call":
        _write(report.nodeid, "xfailed" if expected_to_fail else "passed")


def pytest_collectreport(report):
    if report.failed:
        _write(report.nodeid, "failed", str(report.longrepr)[-4000:])
