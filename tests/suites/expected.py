"""What other projects' tests lose on asyncloop, each with its reason: (project, way or '*', pattern of the test's name, reason)."""

from fnmatch import fnmatchcase

LOST = (
    ("tornado", "install", "tornado/test/api_test.py::APISnapshotTest::test_api_snapshot", "it prints the module of asyncio.Future's class, which is ours"),
    *(("aiohttp", "*", f"tests/{name}[pyloop]", "blockbuster allows os.stat() while a Unix server is made by the name of asyncio's file, which ours has not")
      for name in ("test_connector.py::test_unix_connector", "test_web_runner.py::test_addresses")),
)


def reason(project, way, test):
    """Why this test may be lost; None when it may not."""
    for name, ways, pattern, why in LOST:
        if name == project and ways in ("*", way) and fnmatchcase(test, pattern.replace("[", "[[]")):
            return why
    return None
