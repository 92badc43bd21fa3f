"""The parent's side: starts the child processes, hears their reports, and turns a crash or a hang into one failed test.

    Plan    what the interpreter's test package holds (one child)
    Batch   the tests of one module in one rig: as many children as it takes, one at a time; a test that crashes or hangs
            its child has failed, with the faulthandler trace and the end of the log, and a new child goes on after it

Nothing here imports the implementation under test.  A Batch runs its child only as far as results are asked for.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPORT_FD = 'ASYNCLOOP_REPORT_FD'
ENDED_EARLY = 70
LOG_TAIL = 12_000       # characters of a child's log in a failure
MAX_DEATHS = 30         # children of one batch that may die before the rest is given up


class Result:
    def __init__(self, outcome, text='', seconds=0.0):
        self.outcome = outcome          # 'passed' | 'skipped' | 'failed'
        self.text = text
        self.seconds = seconds


class Child:
    """One process and its reports.  Closed by close(), which also ends what its tests have left running."""

    def __init__(self, arguments, stdin=''):
        self._folder = tempfile.TemporaryDirectory(prefix='upstream-', ignore_cleanup_errors=True)
        self._log_path = os.path.join(self._folder.name, 'log')
        work = os.path.join(self._folder.name, 'work')
        os.mkdir(work)
        self._fd, write_fd = os.pipe()
        env = dict(os.environ, TMPDIR=work, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
        env[REPORT_FD] = str(write_fd)
        env.pop('PYTHONASYNCIODEBUG', None)
        with open(self._log_path, 'wb') as log:
            self._process = subprocess.Popen(
                [sys.executable, '-u', os.path.join(HERE, 'upstream_child.py'), *arguments], cwd=work, env=env,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, pass_fds=[write_fd], start_new_session=True)
        os.close(write_fd)
        self._unread = b''
        self._at_end = False
        try:
            self._process.stdin.write(stdin.encode())
            self._process.stdin.close()
        except BrokenPipeError:
            pass        # it died at once: the next report says so

    def next_report(self, seconds):
        """The next report as a dict, or None: the child is dead.  TimeoutError: nothing was heard for so long."""
        deadline = time.monotonic() + seconds
        while b'\n' not in self._unread:
            if self._at_end:
                return None
            dead = self._process.poll() is not None
            left = deadline - time.monotonic()
            readable, _, _ = select.select([self._fd], [], [], 0 if dead else min(0.2, max(left, 0)))
            if readable:
                data = os.read(self._fd, 65536)
                self._at_end = not data
                self._unread += data
            elif dead:
                self._at_end = True     # a process that a test left behind may hold the pipe open
            elif left <= 0:
                raise TimeoutError
        line, _, self._unread = self._unread.partition(b'\n')
        return json.loads(line)

    def wait(self, seconds):
        """Exit status; negative is a signal's number.  subprocess.TimeoutExpired when it does not end."""
        return self._process.wait(seconds)

    def abort(self):
        """Make a hung child dump the stacks of its threads into its log, and die."""
        for number, patience in ((signal.SIGABRT, 10), (signal.SIGKILL, 10)):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(patience)
                except subprocess.TimeoutExpired:
                    pass

    def log_tail(self):
        with open(self._log_path, 'rb') as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - LOG_TAIL))
            return log.read().decode(errors='replace')

    def close(self):
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        os.close(self._fd)
        self._folder.cleanup()


def describe_status(status):
    if status >= 0:
        return f'exit status {status}'
    return f'killed by {signal.Signals(-status).name}'


class Plan:
    """What there is to run.  unavailable: why nothing is, else None.  cases: {(module, rig): ['Class.test', …]}.

    classes: (module, class) of everything in those modules, run or not.
    """

    def __init__(self, impl):
        self.unavailable = None
        self.modules = []
        self.cases = {}
        self.classes = set()
        self.unavailable_modules = {}
        child = Child(['plan', impl])
        try:
            while (report := child.next_report(120)) is not None:
                kind = report['kind']
                if kind == 'modules':
                    self.modules = report['names']
                elif kind == 'cases':
                    self.cases[report['module'], report['rig']] = report['cases']
                elif kind == 'classes':
                    self.classes.update((report['module'], cls) for cls in report['names'])
                elif kind == 'unavailable':
                    self.unavailable_modules[report['module']] = report['why']
            status = child.wait(30)
            if status != 0:
                raise RuntimeError(f'planning failed, {describe_status(status)}:\n{child.log_tail()}')
        finally:
            child.close()


class Batch:
    """Results of the tests of one module in one rig, in the order of `cases`.

    Invariant: every case is either in results or in _left, and _left keeps the order in which a child runs them.
    """

    def __init__(self, impl, module, rig, cases, seconds_per_test):
        self._arguments = ['run', impl, module, rig]
        self._left = list(cases)
        self._seconds = seconds_per_test
        self._child = None
        self._current = None
        self._left_at_start = 0
        self._deaths = 0
        self.results = {}
        self.loops = 0              # loops of the implementation that its tests have made
        self.exit_trouble = None    # text, if a child that had run all its tests did not end well

    def result(self, case):
        while case not in self.results:
            self._advance()
        return self.results[case]

    def finish(self):
        """Run what is left and hear the child's end."""
        while self._left or self._child is not None:
            self._advance()

    def close(self):
        if self._child is not None:
            self._child.close()
            self._child = None

    def _advance(self):
        if self._child is None:
            self._child = Child(self._arguments, '\n'.join(self._left))
            self._current = None
            self._left_at_start = len(self._left)
        try:
            report = self._child.next_report(self._seconds)
        except TimeoutError:
            self._child.abort()
            self._died(f'hung: no end after {self._seconds:g} s')
            return
        if report is None:
            self._died(describe_status(self._child.wait(5)))
        else:
            getattr(self, '_on_' + report['kind'])(report)

    def _on_ready(self, report):
        pass

    def _on_start(self, report):
        self._current = report['case']

    def _on_end(self, report):
        self._settle(report['case'], Result(report['outcome'], report['text'], report['seconds']))
        self._current = None

    def _on_fixture(self, report):
        # 'setUpClass (test.test_asyncio.test_x.Class)' or 'setUpModule (test.test_asyncio.test_x)'
        scope = report['scope'].partition('(')[2].rstrip(')').split('.')
        cls = scope[3] + '.' if len(scope) > 3 else ''
        for case in [case for case in self._left if case.startswith(cls)]:
            self._settle(case, Result(report['outcome'], f"{report['scope']}\n{report['text']}"))

    def _on_done(self, report):
        """All that this child will run has run: its end must be a clean one, unless a failure ended it early."""
        self.loops += report['loops']
        child, self._child = self._child, None
        try:
            status = child.wait(self._seconds)
            if status not in (0, ENDED_EARLY):
                self.exit_trouble = f'{describe_status(status)} at the interpreter\'s end\n{child.log_tail()}'
        except subprocess.TimeoutExpired:
            child.abort()
            self.exit_trouble = f'the interpreter did not end\n{child.log_tail()}'
            status = 0
        finally:
            child.close()
        if status != ENDED_EARLY or len(self._left) == self._left_at_start:
            self._give_up('the test process that should have run it did not')

    def _died(self, how):
        """The child crashed or hung, in a test or outside any."""
        log = self._child.log_tail()
        self._child.close()
        self._child = None
        self._deaths += 1
        if self._current is not None:
            self._settle(self._current, Result('failed', f'{how}\n{log}'))
        if self._current is None or self._deaths >= MAX_DEATHS:
            self._give_up(f'not run: the test process {how}\n{log}')

    def _give_up(self, text):
        for case in list(self._left):
            self._settle(case, Result('failed', text))

    def _settle(self, case, result):
        self.results[case] = result
        if case in self._left:
            self._left.remove(case)
