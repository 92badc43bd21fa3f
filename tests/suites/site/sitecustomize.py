"""Chooses the event loop of a whole process, and of its children, before any program is imported: SUITE_WAY is asyncio, policy or install."""

import os
import warnings

_way = os.environ.get("SUITE_WAY", "asyncio")

if _way == "install":
    import asyncloop

    asyncloop.install()
elif _way == "policy":
    import asyncio

    import asyncloop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # policies warn from Python 3.14 on
        asyncio.set_event_loop_policy(asyncloop.EventLoopPolicy())
elif _way != "asyncio":
    raise SystemExit(f"SUITE_WAY={_way}: it must be asyncio, policy or install")
