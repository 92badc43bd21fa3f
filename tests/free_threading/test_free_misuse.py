"""Every method, slot and attribute of every type, used from four threads at once without the GIL: misuse.py, a child process for each type."""
import pathlib

import pytest

import free
import misuse

MISUSE = str(pathlib.Path(__file__).with_name("misuse.py"))
TYPES = sorted(misuse.types_of_ours())


def check(name):
    done = free.child(MISUSE, name, "--seconds", free.SECONDS, timeout=free.SECONDS * 3 + 150)
    assert done.stdout.rstrip().endswith("alive"), done.stdout


@free.needed
@pytest.mark.limit(free.SECONDS * 3 + 400)
@pytest.mark.parametrize("name", TYPES)
def test_misuse(name):
    check(name)


@free.needed
@pytest.mark.limit(free.SECONDS * 30 + 400)
def test_types_that_only_that_python_has():
    for name in free.child(MISUSE, "--list", timeout=60).stdout.split():
        if name not in TYPES:
            check(name)


def test_the_list_of_types_is_found():
    """Public and hidden ones."""
    some = {"Future", "Task", "TimerHandle", "Lock", "Queue", "StreamReader", "TaskGroup", "_SelectorSocketTransport", "TLSProtocol", "Twin", "Waiter"}
    assert some <= set(TYPES)


@pytest.mark.parametrize("name", ["Future", "_SelectorSocketTransport", "StreamReader"])
def test_the_program_is_right_with_the_gil(name):
    """On this Python, briefly: there are objects of the type, and the round ends."""
    assert free.own_interpreter(MISUSE, name, "--seconds", 1).stdout.rstrip().endswith("alive")
