"""What one run of pytest knows of the upstream tests: its settings, the plan, the batches."""

import importlib.util
import os
import sys

import pytest

import inapplicable
import upstream_run

DEFAULTS = {'impl': 'asyncloop', 'inapplicable': '', 'seconds': '25'}


def setting(config, name):
    """An option, else its environment variable, else the default.  The options do not exist when pytest was started in a
    folder above and met this file late."""
    given = config.getoption(f'--upstream-{name}', default=None)
    return given or os.environ.get(f'ASYNCLOOP_UPSTREAM_{name.upper()}') or DEFAULTS[name]


class Session:
    """Everything that this run of pytest knows of the upstream tests."""

    def __init__(self, config):
        self.impl = setting(config, 'impl')
        self.run_inapplicable = bool(setting(config, 'inapplicable'))
        self.seconds = float(setting(config, 'seconds'))
        self.absent = self._why_absent()
        self.plan = None if self.absent else upstream_run.Plan(self.impl)
        self.batches = {}

    @staticmethod
    def _why_absent():
        try:
            if importlib.util.find_spec('test.test_asyncio') is not None:
                return None
        except ModuleNotFoundError:
            pass
        return f'the test package of this Python ({sys.version.split()[0]}, {sys.prefix}) is not installed: no test.test_asyncio'

    def why_not(self, module, rig, case):
        """Why a test does not apply, or None."""
        if self.run_inapplicable:
            return None
        return inapplicable.why(module, rig, case)

    def open_batches(self, selected):
        """selected: (module, rig, case) of the items that will run, in order."""
        wanted = {}
        for module, rig, case in selected:
            if self.why_not(module, rig, case) is None:
                wanted.setdefault((module, rig), []).append(case)
        for (module, rig), cases in wanted.items():
            self.batches[module, rig] = upstream_run.Batch(self.impl, module, rig, cases, self.seconds)


_key = pytest.StashKey()


def session_of(config):
    if _key not in config.stash:
        config.stash[_key] = Session(config)
    return config.stash[_key]
