"""A pytest plugin: writes how each test ended, and why it failed, to the JSON file named by SUITE_RESULTS.

The file is written as tests end, so that a run that crashes or is stopped leaves what it knew.
"""

import json
import os

import pytest

_file = None
# pytest runs pytest inside some suites: only the outermost session reports.
_outermost = os.environ.pop("SUITE_RESULTS", None)


def pytest_sessionstart(session):
    global _file
    if _outermost and _file is None:
        _file = open(_outermost, "w")


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
