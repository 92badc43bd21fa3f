"""Servers that are not ours, from Debian packages, started by the tests on loopback and killed when their module is done.

    with peers.Peer("redis-server", words, folder) as redis:     a process; its output is in folder/log
        redis.wait_until(answers)

A program that is missing is a failure where CI is set (nobody would see a skip there), and else a skip that names the package.  What belongs to
pyproject.toml's extra `apps` is only there in the stage apps-3.13, which sets ASYNCLOOP_TEST_APPS; without it, it is skipped even where CI is set.

A peer runs in an environment of its own: what preloads a sanitizer into Python must not reach it.  PostgreSQL refuses to run as root, so
it runs as nobody then, and its files are nobody's; hence folders of our own and not pytest's, which only their owner may enter.  The kernel
chooses ports: `port()` keeps its socket bound while the peer listens, and nobody else is given that port in the meantime.
"""
import contextlib
import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from sidebyside import PATIENCE, child_env

LONG = 60 * PATIENCE
PACKAGES = {"postgres": "postgresql", "initdb": "postgresql", "pg_isready": "postgresql", "redis-server": "redis-server",
            "nginx": "nginx-light", "openssl": "openssl", "curl": "curl"}
APPS_PACKAGES = {"mosquitto": "mosquitto", "nats-server": "nats-server", "rabbitmq-server": "rabbitmq-server", "epmd": "rabbitmq-server"}
OUR_WAYS = ["asyncloop-loop_factory", "asyncloop-policy"]
# For tests that take long: without asyncio as the control.
without_control = pytest.mark.parametrize("way", OUR_WAYS, indirect=True)
FOLDERS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def is_set(variable):
    return os.environ.get(variable, "").lower() not in ("", "0", "false")


def absent(what, extra="test"):
    """Ends the test or the module: what it needs is not there."""
    if is_set("ASYNCLOOP_TEST_APPS" if extra == "apps" else "CI"):
        pytest.fail(f"{what}; in CI nothing may be missing", pytrace=False)
    pytest.skip(what, allow_module_level=True)


def client(name, package=None, extra="test"):
    """The module of that name, from PyPI."""
    installed(name, package, extra)
    return importlib.import_module(name)


def installed(name, package=None, extra="test"):
    """The package of that name is there.  For those that change a process by being imported, which tests do in a child."""
    outer = name.split(".")[0]
    if importlib.util.find_spec(outer) is None:
        absent(f"{package or outer} is not installed (pip install '.[{extra}]')", extra)


def app(name, package=None):
    """As client(), of the packages that only the stage apps-3.13 installs."""
    return client(name, package, "apps")


def apps(*names):
    """As installed(), of the packages that only the stage apps-3.13 installs."""
    for name in names:
        installed(name, extra="apps")


def program(name):
    """The path of a program from a Debian package.  Debian keeps PostgreSQL's out of PATH, a folder for each version."""
    package, extra = (APPS_PACKAGES[name], "apps") if name in APPS_PACKAGES else (PACKAGES[name], "test")
    places = ["/usr/lib/rabbitmq/bin", *FOLDERS]  # the one in /usr/sbin becomes another user
    with contextlib.suppress(FileNotFoundError):
        base = "/usr/lib/postgresql"
        places[:0] = [f"{base}/{v}/bin" for v in sorted(os.listdir(base), key=lambda v: [int(n) for n in re.findall(r"\d+", v)], reverse=True)]
    return shutil.which(name, path=os.pathsep.join(places)) or absent(f"{name} is missing (apt-get install {package})", extra)


def environment():
    """What a program that is not ours is to see of this process' environment."""
    return {"PATH": os.pathsep.join(FOLDERS), "LC_ALL": "C", "HOME": "/nonexistent", "TMPDIR": tempfile.gettempdir()}


@contextlib.contextmanager
def folder(owner=None):
    """A new folder that everyone may enter; owner: a user's name."""
    path = tempfile.mkdtemp(prefix="asyncloop-peer-")
    try:
        os.chmod(path, 0o755)
        if owner is not None:
            shutil.chown(path, owner)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def put(folder, sources, owner=None):
    """Copies files, a dict of names and paths, for a server: only their owner may read them."""
    for name, source in sources.items():
        path = os.path.join(folder, name)
        shutil.copy(source, path)
        os.chmod(path, 0o600)
        if owner is not None:
            shutil.chown(path, owner)


def unprivileged():
    """The user as whom a program runs that refuses root; None: as ourselves."""
    return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None


@contextlib.contextmanager
def port():
    """A port of loopback for a peer that binds with SO_REUSEADDR, as servers do."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def die_with_us():
    """For preexec_fn: the process is killed when the thread that started it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Peer:
    """A program that runs until the end of the block."""

    def __init__(self, name, words, at, *, user=None, env=None, **options):
        self.name, self.folder = name, at
        self.env = dict(environment(), **(env or {}))
        self.log = os.path.join(at, "log")
        self.words = [program(name), *words]
        self.options = dict(options, user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[]) if user else options

    def __enter__(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.words, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_us, **self.options)
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGINT if self.name == "postgres" else signal.SIGTERM)  # PostgreSQL: do not wait for clients
        try:
            self.process.wait(LONG)
        finally:
            self.process.kill()
            self.process.wait()

    def said(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def wait_until(self, condition):
        """Until the condition is true, while the program runs."""
        end = time.monotonic() + LONG
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{self.name} did not start (status {self.process.poll()}):\n{self.said()[-3000:]}", pytrace=False)
            time.sleep(0.01)


def listens(number):
    """Does somebody accept connections at that port?"""
    try:
        socket.create_connection(("127.0.0.1", number), LONG).close()
    except ConnectionRefusedError:
        return False
    return True


def sockets(pid="self"):
    """The sockets a process has open, this one unless told otherwise."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return {each for each in found if each.startswith("socket:")}


def call(name, *words, **options):
    """Runs a program to its end, and returns what it printed; it must succeed."""
    got = subprocess.run([program(name), *words], env=environment(), capture_output=True, text=True, timeout=LONG, **options)
    assert got.returncode == 0, f"{name} {' '.join(words)}: status {got.returncode}\n{got.stdout}{got.stderr}"
    return got.stdout


def again(file, only="asyncloop-loop_factory", **env):
    """Runs tests of that file once more, in a process with that environment: for settings that are read at import."""
    got = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only, str(file)],
                         env=child_env(**env), cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))), stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, timeout=10 * LONG)
    passed = re.search(r"(\d+) passed", got.stdout)
    assert got.returncode == 0 and passed and int(passed[1]) > 0, got.stdout[-10000:] + got.stderr[-3000:]
