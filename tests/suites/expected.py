"""What other projects' tests lose on asyncloop, each with its reason: (project, way or '*', pattern of the test's name, reason)."""

from fnmatch import fnmatchcase

LOST = (
    ("tornado", "install", "tornado/test/api_test.py::APISnapshotTest::test_api_snapshot", "it prints the module of asyncio.Future's class, which is ours"),
)


def reason(project, way, test):
    """Why this test may be lost; None when it may not."""
    for name, ways, pattern, why in LOST:
        if name == project and ways in ("*", way) and fnmatchcase(test, pattern.replace("[", "[[]")):
            return why
    return None
