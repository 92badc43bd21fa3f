"""The harness itself: what goes wrong in an upstream test fails that test, is told in full, and costs no other test."""

import fnmatch
import subprocess
import sys

import pytest

import inapplicable
import upstream_rigs
import upstream_run
import upstream_session


@pytest.fixture(scope='module')
def planted():
    """All of upstream_planted.py run on asyncio, each test allowed two seconds."""
    import upstream_child
    import upstream_planted
    cases = [f'{cls}.{test}' for cls, test, _ in upstream_child.cases_of(upstream_planted)]
    batch = upstream_run.Batch('asyncio', 'upstream_planted', 'loop', cases, 2)
    batch.finish()
    yield batch
    batch.close()


def outcomes(batch, cls):
    return {case.partition('.')[2]: result.outcome for case, result in batch.results.items() if case.startswith(cls + '.')}


def test_good_tests(planted):
    assert outcomes(planted, 'A_Good') == {
        'test_on_the_loop': 'passed', 'test_skipped': 'skipped', 'test_expected_to_fail': 'passed'}
    assert planted.results['A_Good.test_skipped'].text == 'not today'


def test_every_bad_test_fails(planted):
    assert set(outcomes(planted, 'B_Bad').values()) == {'failed'}
    assert len(outcomes(planted, 'B_Bad')) == 8


@pytest.mark.parametrize('case, words', [
    ('test_crash', ['killed by SIGSEGV', 'Fatal Python error: Segmentation fault', 'in test_crash']),
    ('test_error', ['ZeroDivisionError']),
    ('test_exit', ['exit status 3', 'the last words']),
    ('test_fail', ['as planted']),
    ('test_hang', ['hung: no end after 2 s', 'in test_hang']),
    ('test_leaves_a_thread', ['with a thread left']),
    ('test_subtest', ['number=1', '1 != 2']),
    ('test_unexpected', ['unexpected success']),
])
def test_failures_are_told_in_full(planted, case, words):
    text = planted.results['B_Bad.' + case].text
    assert [word for word in words if word not in text] == []


def test_failing_set_up_of_a_class_fails_its_tests(planted):
    assert outcomes(planted, 'C_Fixture') == {'test_one': 'failed', 'test_two': 'failed'}
    assert 'OSError: no room' in planted.results['C_Fixture.test_two'].text


def test_skipped_class(planted):
    assert outcomes(planted, 'D_Skipped') == {'test_one': 'skipped'}


def test_the_rest_runs(planted):
    assert outcomes(planted, 'F_Last') == {'test_still_runs': 'passed'}
    assert planted.exit_trouble is None


def test_only_the_loop_under_test_counts():
    """asyncio's own loop slipping in where another loop is under test fails the test."""
    pytest.importorskip('uvloop', reason='needs any loop that is not asyncio\'s, and uvloop is not installed')
    batch = upstream_run.Batch('uvloop', 'upstream_planted', 'loop', ['A_Good.test_on_the_loop', 'E_Unwired.test_runs_on_another_loop'], 20)
    batch.finish()
    assert batch.results['A_Good.test_on_the_loop'].outcome == 'passed'
    assert batch.loops == 1
    assert 'it is not wired' in batch.results['E_Unwired.test_runs_on_another_loop'].text


def test_an_implementation_that_does_not_exist_is_an_error():
    with pytest.raises(RuntimeError, match='No module named .no_such_loop'):
        upstream_run.Plan('no_such_loop')


def test_every_upstream_module_is_run_or_has_its_reason():
    plan_modules = set(upstream_rigs.MODULES) | set(inapplicable.WHOLE_MODULES)
    assert not set(upstream_rigs.MODULES) & set(inapplicable.WHOLE_MODULES)
    present = subprocess.run([sys.executable, '-c', (
        'import importlib.util, os\n'
        'try: spec = importlib.util.find_spec("test.test_asyncio")\n'
        'except ModuleNotFoundError: spec = None\n'
        'for name in os.listdir(spec.submodule_search_locations[0]) if spec else ():\n'
        '    if name.startswith("test_") and name.endswith(".py"): print(name[:-3])')],
        check=True, capture_output=True, text=True).stdout.split()
    if not present:
        pytest.skip('the test package of this Python is not installed')
    assert set(present) - plan_modules == set()


def test_rules_are_well_formed():
    for module, cls, test, reason in inapplicable.RULES:
        assert module and cls and test and reason
        rig_glob = cls.partition('@')[2] or '*'
        assert fnmatch.filter(upstream_rigs.RIGS, rig_glob), f'{cls} names no rig'


@pytest.mark.skipif(sys.version_info < (3, 15), reason='the newest test package holds (nearly) every name the rules are for')
def test_no_rule_is_stale(request):
    """Every rule matches a test of the newest version, unless it says that its tests are in an older one only."""
    plan = upstream_session.session_of(request.config).plan
    if plan is None:
        pytest.skip('the test package of this Python is not installed')
    names = [(module, *case.split('.')) for (module, _), cases in plan.cases.items() for case in cases]
    stale = [rule[:3] for rule in inapplicable.RULES if not any(
        fnmatch.fnmatchcase(module, rule[0]) and fnmatch.fnmatchcase(cls, rule[1].partition('@')[0])
        and fnmatch.fnmatchcase(test, rule[2]) for module, cls, test in names)]
    assert [rule for rule in stale if rule not in inapplicable.OLDER_ONLY] == []


def test_every_class_runs_in_some_rig(request):
    """No class of a module that is run is left out of all its rigs, but those that only mix asyncio's own classes."""
    plan = upstream_session.session_of(request.config).plan
    if plan is None:
        pytest.skip('the test package of this Python is not installed')
    chosen = {(module, case.partition('.')[0]) for (module, _), cases in plan.cases.items() for case in cases}
    assert {name for name in plan.classes if name not in chosen} <= {('test_tasks', 'PyTask_PyFuture_SubclassTests')}
