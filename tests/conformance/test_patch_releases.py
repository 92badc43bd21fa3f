"""Where patch releases of one Python version differ, asyncloop goes with the asyncio that runs; what was seen where is in SEEN."""
import asyncio
import inspect
import sys

import pytest

from sidebyside import KITS

PROBES = {}


def probe(function):
    PROBES[function.__name__] = function
    return function


async def nothing():
    pass


def short(exc):
    return f"{type(exc).__name__}({exc})".replace("<TaskGroup entered>", "...").replace("<TaskGroup>", "...")


@probe
async def timeout_has_a_cause(lib):
    try:
        async with lib.timeout(0.001):
            await asyncio.sleep(1)
    except TimeoutError as exc:
        return type(exc.__cause__).__name__, type(exc.__context__).__name__


@probe
async def timeout_in_a_task_that_is_being_cancelled(lib):
    async def main():
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            async with lib.timeout(0.001):
                await asyncio.sleep(1)

    task = asyncio.ensure_future(main())
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task])
    return "CancelledError" if task.cancelled() else type(task.exception()).__name__


@probe
async def timeout_entered_twice(lib):
    cm = lib.timeout(5)
    async with cm:
        try:
            await cm.__aenter__()
        except Exception as exc:
            return short(exc)


@probe
async def timeout_rescheduled_before(lib):
    try:
        lib.timeout(5).reschedule(1)
    except Exception as exc:
        return short(exc)


@probe
async def group_entered_twice(lib):
    async with lib.TaskGroup() as group:
        try:
            await group.__aenter__()
        except Exception as exc:
            return short(exc)


@probe
async def group_that_is_over_is_given_a_coroutine(lib):
    async with lib.TaskGroup() as group:
        pass
    coro = nothing()
    try:
        group.create_task(coro)
    except Exception as exc:
        return short(exc), inspect.getcoroutinestate(coro)
    finally:
        coro.close()


@probe
async def wait_for_cancelled_as_its_future_ends(lib):
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(lib.wait_for(future, 5))
    await asyncio.sleep(0.001)
    future.set_exception(ValueError("inner"))
    task.cancel()
    await asyncio.wait([task])
    if task.cancelled():
        return "CancelledError"
    return type(task.exception()).__name__, type(task.exception().__context__).__name__


def look(kit):
    loop = kit.new_loop()
    try:
        return {name: loop.run_until_complete(function(kit.classes)) for name, function in PROBES.items()}
    finally:
        loop.close()


NEWER = {
    "timeout_has_a_cause": ("CancelledError", "CancelledError"),
    "timeout_in_a_task_that_is_being_cancelled": "TimeoutError",
    "timeout_entered_twice": "RuntimeError(Timeout has already been entered)",
    "timeout_rescheduled_before": "RuntimeError(Timeout has not been entered)",
    "group_entered_twice": "RuntimeError(TaskGroup ... has already been entered)",
    "group_that_is_over_is_given_a_coroutine": ("RuntimeError(TaskGroup ... is finished)", "CORO_CLOSED"),
    "wait_for_cancelled_as_its_future_ends": "CancelledError",
}
OPEN = {"group_that_is_over_is_given_a_coroutine": ("RuntimeError(TaskGroup ... is finished)", "CORO_CREATED")}
CONTEXT = {"wait_for_cancelled_as_its_future_ends": ("ValueError", "CancelledError")}
SEEN = {
    (3, 11, 2): OPEN | CONTEXT | {  # Debian 12's
        "timeout_has_a_cause": ("NoneType", "CancelledError"),
        "timeout_in_a_task_that_is_being_cancelled": "CancelledError",
        "timeout_entered_twice": "None",
        "timeout_rescheduled_before": "AssertionError()",
        "group_entered_twice": "RuntimeError(TaskGroup ... has been already entered)",
    },
    (3, 11, 7): OPEN | CONTEXT,
    (3, 12, 1): OPEN,
    (3, 13, 0): {},
    (3, 14, 10): {},
    (3, 15, 2): {},
}


@pytest.mark.parametrize("kit", KITS.values(), ids=str)
def test_as_the_asyncio_that_runs(kit):
    assert look(kit) == look(KITS["asyncio"])


@pytest.mark.skipif(sys.version_info[:3] not in SEEN, reason="nobody has looked at this patch release")
def test_what_was_seen():
    seen = {name: value if value is not None else "None" for name, value in look(KITS["asyncio"]).items()}
    assert seen == NEWER | SEEN[sys.version_info[:3]]
