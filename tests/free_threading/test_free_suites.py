"""All other tests once more on the free-threaded Python, as child runs of pytest.  They take long: --long."""
import pytest

import free

# What differs between patch releases of Python, and asyncloop follows the later ones: the condition, and the tests that are left out where it is true.
OF_EARLIER_PATCHES = {
    "not hasattr(asyncio.tasks, '_discard_awaited_by')": {"conformance": ["test_as_completed.py::test_call_graph"]},  # no call graph of as_completed
    # What deleting an attribute in C says.
    "asyncio_says('_log_traceback') == 'cannot delete attribute'": {
        "conformance": ["test_future.py::test_attributes", "test_task.py::test_accessors"]},
}
LOOK = """
import asyncio, sys
def asyncio_says(name):
    try:
        delattr(asyncio.Future(loop=asyncio.new_event_loop()), name)
    except AttributeError as exc:
        return str(exc)
print([bool(eval(condition)) for condition in sys.argv[1:]])
"""


def left_out(folder):
    """The options that leave these out on that Python."""
    found = free.child("-c", LOOK, *OF_EARLIER_PATCHES, timeout=60).stdout.strip("[]\n").split(", ")
    names = [name for is_true, of_folder in zip(found, OF_EARLIER_PATCHES.values()) if is_true == "True" for name in of_folder.get(folder, ())]
    return [word for name in names for kit in ("asyncloop", "our_classes") for word in ("--deselect", f"tests/{folder}/{name}[{kit}]")]


@free.needed
@pytest.mark.long
@pytest.mark.limit(4000)
@pytest.mark.parametrize("folder", ["conformance", "internal", "cpython", "apps"])
def test_folder(folder):
    done = free.child("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{folder}", *left_out(folder), timeout=3600)
    assert " passed" in done.stdout
