"""What importing asyncloop does to the GIL."""
import free

pytestmark = free.needed


def test_importing_keeps_the_gil_off():
    """Without PYTHON_GIL, which would force it; a module that needs the GIL makes the interpreter warn and take it back."""
    code = "import os, sys; assert 'PYTHON_GIL' not in os.environ; import asyncloop; assert not sys._is_gil_enabled(); asyncloop.install(); " \
           "import asyncio; asyncio.run(asyncio.sleep(0)); assert not sys._is_gil_enabled(); print(sys.version)"
    again = f"import os, sys; del os.environ['PYTHON_GIL']; os.execv(sys.executable, [sys.executable, '-W', 'error', '-c', {code!r}])"
    done = free.child("-c", again, timeout=60)
    assert "free-threading" in done.stdout and done.stderr == ""
