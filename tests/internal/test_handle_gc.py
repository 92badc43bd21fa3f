"""Handles of call_soon are tracked by the collector late: cycles through them must still be found."""

import gc
import warnings
import weakref

import pytest

import asyncloop


class Node:
    """Something a cycle can go through and a weak reference can watch."""

    def callback(self):
        pass


@pytest.fixture
def loop():
    loop = asyncloop.new_event_loop()
    yield loop
    loop.close()


def run_once(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def assert_collected(ref):
    gc.collect()
    assert ref() is None


def test_cycle_through_a_handle_that_ran(loop):
    node = Node()
    node.handle = loop.call_soon(node.callback)
    run_once(loop)
    ref = weakref.ref(node)
    del node
    assert_collected(ref)


def test_cycle_through_a_pending_handle_of_a_closed_loop():
    loop = asyncloop.new_event_loop()
    node = Node()
    node.handle = loop.call_soon(node.callback)
    loop.close()
    ref = weakref.ref(node)
    del node
    assert_collected(ref)


def test_cycle_through_a_timer_handle(loop):
    node = Node()
    node.handle = loop.call_later(0, node.callback)
    run_once(loop)
    ref = weakref.ref(node)
    del node
    assert_collected(ref)


def test_abandoned_loop_with_callbacks_that_know_it():
    loop = asyncloop.new_event_loop()
    for _ in range(3):
        loop.call_soon(print, loop)
        loop.call_later(5, print, loop)
    ref = weakref.ref(loop)
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # unclosed event loop
        assert_collected(ref)


@pytest.mark.parametrize("has_run", [False, True])
def test_abandoned_loop_in_a_cycle_with_a_kept_handle(has_run):
    loop = asyncloop.new_event_loop()
    node = Node()
    if has_run:
        loop.call_soon(loop.stop)
        loop.call_soon(lambda: setattr(node, "handle", loop.call_soon(node.callback)))
        loop.run_forever()
    else:
        node.handle = loop.call_soon(node.callback)
    node.loop = loop
    ref = weakref.ref(node)
    del node, loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert_collected(ref)


def test_a_handle_in_the_ring_keeps_its_callback_alive(loop):
    node = Node()
    ref = weakref.ref(node)
    loop.call_soon(node.callback)
    del node
    gc.collect()
    assert ref() is not None
    run_once(loop)
    assert_collected(ref)


def test_a_held_handle_in_the_ring_keeps_its_callback_alive(loop):
    node = Node()
    ref = weakref.ref(node)
    handle = loop.call_soon(node.callback)
    del node
    gc.collect()
    assert ref() is not None
    run_once(loop)
    assert handle._callback is not None and ref() is not None
    del handle
    assert_collected(ref)


class Keeper:
    """A callback whose handle somebody else gets hold of while it runs, or just after."""

    def fail(self):
        raise ValueError

    def give(self):
        return Dropped(self)


class Dropped:
    """A result: dropping it takes the handle by its weak reference."""

    def __init__(self, keeper):
        self.keeper = keeper

    def __del__(self):
        self.keeper.handle = self.keeper.weak()


@pytest.mark.parametrize("how", ["report", "result", "report in debug mode", "cancelled"])
def test_cycle_through_a_handle_that_is_kept_at_the_end_of_its_run(loop, how):
    keeper = Keeper()
    loop.set_debug("debug" in how)

    def handler(loop, context):
        context.pop("exception")
        keeper.handle = context["handle"]
        context["handle"]._callback.__self__.context = context

    async def main():
        if how == "result":
            keeper.weak = weakref.ref(loop.call_soon(keeper.give))
        elif how == "cancelled":
            handle = loop.call_soon(keeper.fail)
            loop.call_soon(setattr, keeper, "handle", handle)
            handle.cancel()
        else:
            loop.call_soon(keeper.fail)
        await asyncloop.sleep(0.001)

    loop.set_exception_handler(handler)
    loop.run_until_complete(main())
    loop.set_exception_handler(None)
    del handler, main
    assert gc.is_tracked(keeper.handle) and keeper.handle is not None
    ref = weakref.ref(keeper)
    del keeper
    assert_collected(ref)
