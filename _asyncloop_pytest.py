"""The plug-in for pytest: a marker and a fixture that give a test a clock of its own (asyncloop.testing.VirtualClock).

    @pytest.mark.virtual_clock
    def test_reminder():
        asyncio.run(remind_in_an_hour())       # takes no time

Every loop that the test, its fixtures or a plug-in (pytest-asyncio, anyio) makes by asyncio's or asyncloop's usual ways has the clock.  docs/testing.md has
the rest.  pytest imports this module at its start, so it imports asyncloop only for a test that asks for it; it is no part of the package for that reason.
"""

from __future__ import annotations

import inspect
import random
import zlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from asyncloop.testing import VirtualClock

MARKER = "virtual_clock"
ROUND = "_virtual_clock_round"
_clocks = pytest.StashKey["VirtualClock"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("asyncloop").addoption(
        "--asyncloop-seed",
        type=int,
        metavar="N",
        help="the seed of this run's random orders, for tests that are marked virtual_clock(shuffle=...); a failure names it",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "virtual_clock(start=0.0, grace=0.05, shuffle=False, stuck=1.0, wait_for_children=True): the test's loops have a clock that jumps to the next timer "
        "when nothing else can happen; shuffle=True runs ready tasks in a random order, shuffle=20 runs the test 20 times so",
    )


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The clock of the test's loops."""
    clock: VirtualClock = request.node.stash[_clocks]
    return clock


@pytest.fixture(name=ROUND)
def _round(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker(MARKER)
    rounds = marker.kwargs.get("shuffle") if marker else None
    if isinstance(rounds, int) and not isinstance(rounds, bool):
        metafunc.fixturenames.append(ROUND)
        metafunc.parametrize(ROUND, range(rounds), ids=[f"order{i}" for i in range(rounds)], indirect=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What runs around each test is there only if a test asks for it."""
    asking = [item for item in session.items if _asks(item)]
    for item in asking:
        _make_clock(item, 0)
    manager = session.config.pluginmanager
    if asking and not manager.has_plugin("asyncloop-clocks"):
        manager.register(_Clocks(session.config), "asyncloop-clocks")


def _asks(item: pytest.Item) -> bool:
    return item.get_closest_marker(MARKER) is not None or MARKER in getattr(item, "fixturenames", ())


def _make_clock(item: pytest.Item, seed: int) -> VirtualClock:
    from asyncloop.testing import VirtualClock

    marker = item.get_closest_marker(MARKER)
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    if options.pop("shuffle", False):
        options["seed"] = zlib.crc32(f"{seed} {item.nodeid}".encode())
    try:
        if marker and marker.args:
            raise TypeError("its options are given by name")
        return VirtualClock(**options)
    except (TypeError, ValueError) as exc:
        raise pytest.UsageError(f"{item.nodeid}: the marker virtual_clock: {exc}") from None


class _Clocks:
    def __init__(self, config: pytest.Config) -> None:
        given: int | None = config.getoption("--asyncloop-seed")
        self.seed = random.SystemRandom().randrange(1 << 32) if given is None else given

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if not _asks(item):
            return (yield)
        clock = item.stash[_clocks] = _make_clock(item, self.seed)
        with clock.everywhere():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        clock = item.stash.get(_clocks, None)
        if clock is not None and not clock.loops_made and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            pytest.fail(
                "virtual_clock: this test ran on a loop that has another clock: one made for more than this test (its loop_scope is to be 'function'), "
                "or by a loop factory of its own",
                pytrace=False,
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        clock = item.stash.get(_clocks, None)
        if clock is not None and any(not loop.is_closed() for loop in clock._loops):
            pytest.fail(
                "virtual_clock: a loop that was made for this test is still open after it, and would have its clock in other tests: "
                "close it, or let its loop_scope be 'function'",
                pytrace=False,
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        clock = item.stash.get(_clocks, None)
        if clock is not None and report.failed:
            text = f"The clock stood at {clock.time()!r}."
            if clock.seed is not None:
                text += f"\nReady tasks ran in a random order; the same one again: pytest --asyncloop-seed={self.seed} '{item.nodeid}'"
            report.sections.append(("virtual clock", text))
        return report
