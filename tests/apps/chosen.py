"""For programs that programs.py runs: gives asyncio the loop that CHOSEN_LOOP asks for, and checks that it is this loop that runs.  Imported first.

    asyncio     asyncio's own
    policy      asyncloop's policy; asyncio's helpers stay asyncio's
    install     the program runs under `python -m asyncloop`, and nothing is left to do
"""
import asyncio
import os
import warnings

CHOSEN = os.environ["CHOSEN_LOOP"]
if CHOSEN == "policy":
    import asyncloop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # policies are deprecated from 3.14 on
        asyncio.set_event_loop_policy(asyncloop.EventLoopPolicy())


def is_chosen(loop):
    """Whether the loop is of the kind that was asked for."""
    kind = type(loop)
    expected = ("asyncio.unix_events", "_UnixSelectorEventLoop") if CHOSEN == "asyncio" else ("asyncloop", "Loop")
    return (kind.__module__, kind.__qualname__) == expected


def check(loop=None):
    """Says that the running loop is the chosen one; programs.py wants to read that."""
    loop = loop or asyncio.get_running_loop()
    assert is_chosen(loop), (CHOSEN, type(loop))
    print("the loop is the chosen one", flush=True)
