"""CPython's own test.test_asyncio on the implementation under test: one item per upstream test and rig.

    python -m pytest tests/cpython                              on asyncloop
    python -m pytest tests/cpython --upstream-impl asyncio      on asyncio itself, which must score 100 %
    python -m pytest tests/cpython -k 'tasks-own and cancel'    some of them

An item is named MODULE-RIG.CLASS.TEST; upstream_rigs.py says what a rig is, inapplicable.py which tests cannot apply and why.
The tests of one module and rig run in a process of their own, in which a crash or a hang fails one test only.
"""

import sys

import pytest

import upstream_session


def pytest_generate_tests(metafunc):
    session = upstream_session.session_of(metafunc.config)
    for fixture, rows in (('upstream_case', upstream_cases), ('upstream_batch', upstream_batches)):
        if fixture in metafunc.fixturenames:
            if session.absent:
                metafunc.parametrize(fixture, [pytest.param(None, marks=pytest.mark.skip(session.absent))], ids=['absent'])
            else:
                metafunc.parametrize(fixture, rows(session.plan), scope='session')


def upstream_cases(plan):
    return [pytest.param((module, rig, case), id=f'{module.removeprefix("test_")}-{rig}.{case}')
            for (module, rig), cases in plan.cases.items() for case in cases]


def upstream_batches(plan):
    return [pytest.param((module, rig), id=f'{module.removeprefix("test_")}-{rig}') for module, rig in plan.cases]


def test_upstream(upstream, upstream_case):
    module, rig, case = upstream_case
    why_not = upstream.why_not(module, rig, case)
    if why_not is not None:
        pytest.skip(why_not)
    result = upstream.batches[module, rig].result(case)
    if result.outcome == 'skipped':
        pytest.skip('upstream: ' + result.text)
    if result.outcome == 'failed':
        pytest.fail(f'{upstream.impl}, Python {sys.version.split()[0]}, {module} in rig {rig}: {case}\n{result.text}', pytrace=False)


# Defined after the tests themselves, so it looks at batches that have run.
def test_process_ended_well(upstream, upstream_batch):
    """The interpreter that ran a module's tests came to a clean end, and the tests really had the loop under test."""
    batch = upstream.batches.get(upstream_batch)
    if batch is None:
        pytest.skip('no test of it was selected')
    batch.finish()
    assert batch.exit_trouble is None, batch.exit_trouble
    passed = [case for case, result in batch.results.items() if result.outcome == 'passed']
    module, rig = upstream_batch
    if passed and rig not in ('virtual', 'guest'):
        assert batch.loops > 0, f'{len(passed)} tests passed and none made a loop of {upstream.impl}'
