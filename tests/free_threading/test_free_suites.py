"""All other tests once more on the free-threaded Python, as child runs of pytest.  They take long: --long."""
import pytest

import free

# What cannot be the same there, each with its reason.
DESELECTED = {}


@free.needed
@pytest.mark.long
@pytest.mark.limit(4000)
@pytest.mark.parametrize("folder", ["conformance", "internal", "cpython", "apps"])
def test_folder(folder):
    left_out = [word for name in DESELECTED.get(folder, {}) for word in ("--deselect", name)]
    done = free.child("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{folder}", *left_out, timeout=3600)
    assert " passed" in done.stdout
