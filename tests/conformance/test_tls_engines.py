"""The two TLS engines: libssl called directly where that is safe, the ssl module's own objects everywhere.

Both pass the same tests.  The portable one does so in a run of its own, which CI makes on every Python:

    ASYNCLOOP_TLS=portable python -m pytest tests/*/test_tls*.py
"""
import os
import ssl  # noqa: F401, whose libssl is looked for

from sidebyside import OURS, child

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


def test_the_engine_of_this_run():
    """The run on the portable engine really is one."""
    asked = os.environ.get("ASYNCLOOP_TLS", "")
    assert engine() == engine(ASYNCLOOP_TLS=asked) and (asked != "portable" or engine() == "portable")


def test_what_else_the_variable_may_say():
    """Nothing else changes anything: a typing error must not turn TLS off, nor end the process."""
    assert {engine(ASYNCLOOP_TLS=text) for text in ("", "direct", "Portable!", "0", "x" * 5000)} <= {"direct", "portable"}
