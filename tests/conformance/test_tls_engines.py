"""The two TLS engines: libssl called directly where that is safe, the ssl module's own objects everywhere.  Both pass the same tests."""
import os
import ssl  # noqa: F401, whose libssl is looked for
import subprocess
import sys

import pytest

from sidebyside import OURS, PATIENCE, child, child_env

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
FILES = [os.path.join(HERE, name) for name in sorted(os.listdir(HERE)) if name.startswith("test_tls") and name != os.path.basename(__file__)]
FILES += [os.path.join(TESTS, folder, name) for folder in ("internal", "fuzz") for name in sorted(os.listdir(os.path.join(TESTS, folder)))
          if name.startswith("test_tls")]
IS_PORTABLE = os.environ.get("ASYNCLOOP_TLS") == "portable"

SAY = """
import certs, socket
a, b = socket.socketpair()
loop = new_loop()
a.setblocking(False)
transport = loop._make_ssl_transport(a, asyncio.Protocol(), certs.client_context(), server_hostname="localhost")
print(transport._ssl_protocol._engine)
transport.abort()
loop.run_until_complete(asyncio.sleep(0.01))
loop.close()
b.close()
"""


def engine(**env):
    got = child(SAY, OURS, **env)
    assert got.returncode == 0, got.stderr
    return got.stdout.strip()


def test_libssl_is_called_directly_where_python_is_linked_to_it():
    """Which the interpreters of Linux distributions and of pyenv are."""
    with open("/proc/self/maps") as maps:
        linked = "libssl.so" in maps.read()
    assert engine(ASYNCLOOP_TLS="") == ("direct" if linked else "portable")


def test_the_portable_engine_on_request():
    assert engine(ASYNCLOOP_TLS="portable") == "portable"


def test_what_else_the_variable_may_say():
    """Nothing else changes anything: a typing error must not turn TLS off, nor end the process."""
    assert {engine(ASYNCLOOP_TLS=text) for text in ("", "direct", "Portable!", "0", "x" * 5000)} <= {"direct", "portable"}


@pytest.mark.limit(400)
@pytest.mark.skipif(IS_PORTABLE, reason="this is that run")
def test_the_portable_engine_passes_the_same_tests():
    """Every test of TLS again, in a process of its own; where the engine was portable already this run shows nothing new."""
    got = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *FILES], cwd=os.path.dirname(TESTS),
                         env=child_env(ASYNCLOOP_TLS="portable"), capture_output=True, text=True, timeout=390 * PATIENCE)
    assert got.returncode == 0, got.stdout[-20_000:] + got.stderr[-5_000:]
    assert " passed" in got.stdout
