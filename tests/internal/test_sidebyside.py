"""The harness itself: what compare() takes for equal, and what it says."""
import pytest

import sidebyside
from kits import OURS


def scenario_of(theirs, ours):
    """A scenario that gives one of `theirs` a run on asyncio, and `ours` on our loop."""
    left = iter(theirs)

    def scenario(t):
        return ours if t.kit is OURS else next(left)
    return scenario


@pytest.fixture
def runs(monkeypatch):
    monkeypatch.setattr(sidebyside, "matched_runs", [])
    return sidebyside.matched_runs


@pytest.mark.parametrize("theirs, number", [([1], 1), ([0, 1], 2), ([0, 2, 1], 3)])
def test_which_run_was_matched_is_kept(runs, theirs, number):
    assert sidebyside.compare(scenario_of(theirs, 1), OURS)["result"] == 1
    assert runs == [("scenario", "asyncloop", number)]


@pytest.mark.parametrize("theirs, unsteady", [([0, 0, 0], False), ([0, 2, 3], True)])
def test_a_difference_is_told_with_what_asyncio_did(runs, theirs, unsteady):
    with pytest.raises(pytest.fail.Exception) as caught:
        sidebyside.compare(scenario_of(theirs, 1), OURS)
    said = str(caught.value)
    assert "in each of its 3 runs" in said and ("differ from each other" in said) == unsteady
    assert "asyncio:   0" in said and "asyncloop: 1" in said and runs == []
