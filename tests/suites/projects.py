"""The projects whose own test suites are run, at pinned versions, and how."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Project:
    """One project of the package index.

    needs: requirements of its tests; the project itself is installed from the index at that version.
    options: of pytest.  paths: what pytest runs, in the unpacked source distribution.  drop: folders of it that would hide the installed package.
    seconds: after which a run is stopped; what it has not run by then counts as lost.
    redis: a redis-server is started, and its address handed on.  extras: of the project, which its tests want.
    """

    name: str
    version: str
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("tests",)
    drop: tuple[str, ...] = ()
    redis: bool = False
    extras: str = ""
    seconds: int = 1200


PROJECTS = (
    Project(
        "anyio",
        "4.16.0",
        needs=("blockbuster", "hypothesis", "psutil", "pytest-mock", "trustme", "truststore", "uvloop; python_version < '3.15'", "exceptiongroup"),
        extras="trio",
        # Those of trio and of uvloop have nothing to do with our loop.
        options=("-k", "not trio and not uvloop", "-m", "not network"),
        drop=("src",),
    ),
    Project(
        "aiohttp",
        "3.14.5",
        needs=("blockbuster", "coverage", "freezegun", "isal; python_version < '3.14'", "pkgconfig", "proxy.py>=2.4.4rc5", "pytest-cov", "pytest-mock",
               "pytest-xdist", "pytest-codspeed", "python-on-whales", "re-assert", "setuptools", "trustme", "zlib_ng", "aiodns", "Brotli"),
        extras="speedups",
        options=("-o", "addopts=", "-p", "pytest_cov", "-m", "not dev_mode and not autobahn and not internal"),
        drop=("aiohttp",),
    ),
    # Its tests count the log records that reach the root logger; pytest would add a handler there.
    Project("tornado", "6.6.1", options=("-p", "no:logging", "-o", "python_files=*_test.py"), paths=("tornado/test",)),
    Project(
        "pytest-asyncio",
        "1.5.0",
        needs=("hypothesis", "coverage"),
        # The pytest inside some of its tests counts the plug-ins' output.
        options=("-o", "addopts="),
        drop=("pytest_asyncio",),
    ),
    Project(
        "httpx",
        "0.28.1",
        needs=("trio", "uvicorn<0.36", "trustme", "chardet", "cryptography", "pytest-asyncio<1"),
        extras="brotli,cli,http2,socks,zstd",
        options=("-k", "not trio", "-W", "default"),
        drop=("httpx",),
    ),
    Project(
        "redis",
        "8.1.0",
        needs=("pytest-asyncio", "aiohttp", "redis-entraid", "numpy", "ujson", "cryptography", "pybreaker", "xxhash~=3.6.0", "mock"),
        options=("-o", "addopts=", "-m", "not redismod and not onlycluster and not cp_integration and not multidb_integration and not ssl and not replica",
                 "--ignore=tests/test_asyncio/test_scenario"),
        paths=("tests/test_asyncio",),
        drop=("redis",),
        redis=True,
    ),
    Project("aiosqlite", "0.22.1", options=("-o", "python_files=smoke.py"), paths=("aiosqlite/tests/smoke.py",)),
    Project("janus", "2.0.0", needs=("pytest-asyncio<1", "pytest-codspeed", "pytest-cov"), options=("-o", "addopts="), drop=("janus",)),
    Project("aiofiles", "25.1.0", needs=("pytest-asyncio",), drop=("src",)),
)
