"""Options of the harness that runs CPython's own asyncio tests, and the fixture that holds its batches.

    --upstream-impl NAME            the implementation under test: asyncloop (default), asyncio, uvloop, …
    --upstream-inapplicable         run what inapplicable.py lists, too: to see that the list is no longer than it must be
    --upstream-seconds N            how long one test may be silent before it counts as hung

The same by environment: ASYNCLOOP_UPSTREAM_IMPL, ASYNCLOOP_UPSTREAM_INAPPLICABLE=1, ASYNCLOOP_UPSTREAM_SECONDS.
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import upstream_session


def pytest_addoption(parser):
    group = parser.getgroup('upstream', "CPython's own asyncio tests")
    group.addoption('--upstream-impl', metavar='NAME')
    group.addoption('--upstream-inapplicable', action='store_const', const='1')
    group.addoption('--upstream-seconds', metavar='N')


@pytest.fixture(scope='session')
def upstream(request):
    """The session's batches, made of the selected items only."""
    session = upstream_session.session_of(request.config)
    session.open_batches([item.callspec.params['upstream_case'] for item in request.session.items
                          if 'upstream_case' in getattr(getattr(item, 'callspec', None), 'params', ())])
    yield session
    for batch in session.batches.values():
        batch.close()
