"""The process in which upstream tests run: `upstream_child.py plan IMPL` and `upstream_child.py run IMPL MODULE RIG`.

Reports are JSON lines on the file descriptor named by ASYNCLOOP_REPORT_FD; everything that tests print goes to the process's
own stdout and stderr, which the parent keeps as its log.  `run` reads the tests to run, 'Class.test' each, from stdin.
The first test that fails ends the process, so that what a broken test leaves behind (a running loop, a thread, a signal
handler) cannot reach the next one: the parent runs the rest in a new process.
"""

import faulthandler
import importlib
import json
import os
import resource
import sys
import time
import traceback
import unittest
import warnings

REPORT_FD = 'ASYNCLOOP_REPORT_FD'
ENDED_EARLY = 70        # exit status: a test failed, tests are left


class Reporter:
    """Writes reports; a forked child of a test writes none."""

    def __init__(self):
        self._fd = int(os.environ.pop(REPORT_FD))
        self._pid = os.getpid()
        os.set_inheritable(self._fd, False)

    def __call__(self, kind, **fields):
        if os.getpid() == self._pid:
            line = json.dumps({'kind': kind, **fields}).encode() + b'\n'
            while line:
                line = line[os.write(self._fd, line):]


def cases_of(module):
    """(class name, test name, test) of every test in a module, in a fixed order."""
    found = []

    def walk(suite):
        for item in suite:
            if isinstance(item, unittest.TestSuite):
                walk(item)
            else:
                found.append((type(item).__name__, item._testMethodName, item))

    walk(unittest.defaultTestLoader.loadTestsFromModule(module))
    return sorted(found, key=lambda case: case[:2])


def plan(report, impl):
    """What there is to run on this interpreter: imports every module as it is, without a rig."""
    import upstream_rigs
    package = importlib.import_module(upstream_rigs.PACKAGE)
    present = {name.partition('.')[0] for name in os.listdir(os.path.dirname(package.__file__))
               if name.startswith('test_') and name.endswith('.py')}
    report('modules', names=sorted(present))
    for name in upstream_rigs.MODULES:
        if name not in present:
            continue
        try:
            module = importlib.import_module(f'{upstream_rigs.PACKAGE}.{name}')
        except unittest.SkipTest as why:
            report('unavailable', module=name, why=str(why))
            continue
        cases = cases_of(module)
        report('classes', module=name, names=sorted({cls for cls, _, _ in cases}))
        for rig in upstream_rigs.rigs_of(name, impl):
            chosen = [f'{cls}.{test}' for cls, test, _ in cases if upstream_rigs.is_selected(name, rig, cls)]
            report('cases', module=name, rig=rig, cases=chosen)


class Result(unittest.TestResult):
    """Reports each test as it starts and ends, with the worst of its outcomes."""

    WORST_LAST = ('passed', 'skipped', 'failed')

    def __init__(self, report, census, loop_under_test):
        super().__init__()
        self.report, self.census, self.loop_under_test = report, census, loop_under_test
        self.any_failed = False
        self.current = None

    def startTest(self, test):
        super().startTest(test)
        self.begin(test)

    def begin(self, test):
        if test is not self.current:
            self.current = test
            self.outcome, self.texts = 'passed', []
            self.foreign = self.census.foreign
            self.began = time.monotonic()
            self.report('start', case=case_id(test))

    def stopTest(self, test):
        super().stopTest(test)
        foreign = self.census.foreign - self.foreign
        if foreign and self.loop_under_test and self.outcome == 'passed':
            self.note('failed', f'the test ran on {foreign} event loop(s) of asyncio itself: it is not wired')
        seconds = round(time.monotonic() - self.began, 3)
        self.report('end', case=case_id(test), outcome=self.outcome, text='\n'.join(self.texts), seconds=seconds)
        if self.outcome == 'failed':
            self.any_failed = True
            self.stop()

    def note(self, outcome, text):
        if self.WORST_LAST.index(outcome) >= self.WORST_LAST.index(self.outcome):
            self.outcome = outcome
            self.texts.append(text)

    def note_exception(self, test, err):
        text = ''.join(traceback.format_exception(*err))
        if isinstance(test, unittest.TestCase):
            self.note('failed', text)
        else:
            self.fixture(test, 'failed', text)

    def fixture(self, holder, outcome, text):
        """setUpClass or setUpModule: unittest runs none of the tests it was for."""
        self.report('fixture', scope=holder.id(), outcome=outcome, text=text)
        self.any_failed = self.any_failed or outcome == 'failed'

    def addFailure(self, test, err):
        self.note_exception(test, err)

    def addError(self, test, err):
        self.note_exception(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note('failed', f'{subtest}\n' + ''.join(traceback.format_exception(*err)))

    def addSkip(self, test, reason):
        if isinstance(test, unittest.TestCase):
            self.begin(test)        # 3.12.1 does not start a test that its class skips
            self.note('skipped', reason)
        else:
            self.fixture(test, 'skipped', reason)

    def addExpectedFailure(self, test, err):
        pass

    def addUnexpectedSuccess(self, test):
        self.note('failed', 'unexpected success')


def case_id(test):
    return f'{type(test).__name__}.{test._testMethodName}'


def run(report, impl, module_name, rig_name):
    import upstream_impl
    import upstream_rigs
    module = upstream_rigs.load(impl, module_name, rig_name)
    census = upstream_impl.Census(impl.loop_class)
    wanted = set(sys.stdin.read().split())
    suite = unittest.TestSuite()
    for cls, test, case in cases_of(module):
        if f'{cls}.{test}' in wanted:
            suite.addTest(case)
    result = Result(report, census, upstream_rigs.RIGS[rig_name].loop)
    report('ready', implementation=f'{impl.name} {impl.version}')
    suite.run(result)
    report('done', loops=census.ours)
    if result.any_failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ENDED_EARLY)


def main():
    faulthandler.enable(all_threads=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter('default')
    report = Reporter()
    import upstream_impl
    command, name, *rest = sys.argv[1:]
    impl = upstream_impl.Implementation(name)
    {'plan': plan, 'run': run}[command](report, impl, *rest)


if __name__ == '__main__':
    main()
