"""As test_installed.py, for the packages of the extra `apps`: the tests of those that run in this process once more under `python -m asyncloop`, all in one process.

The others run as programs, and one of their ways is the runner (programs.py).
"""
import os
import re
import subprocess
import sys

import pytest

import peers
from sidebyside import SUBJECT, child_env

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = ("aio_pika", "aiofiles", "aiokafka", "aiomqtt", "aioquic", "aiosmtpd", "aiosqlite", "asyncssh", "fastapi", "httpx", "nats", "psycopg", "sqlalchemy")


@pytest.mark.limit(600)
@pytest.mark.skipif(SUBJECT != "asyncloop", reason="is about the runner")
def test_again_when_installed():
    peers.apps(*FILES)
    files = [os.path.join(HERE, f"test_{name}.py") for name in FILES]
    got = subprocess.run([sys.executable, "-m", "asyncloop", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "asyncloop-loop_factory", *files],
                         env=child_env(), cwd=os.path.dirname(HERE), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=9 * peers.LONG)
    passed = re.search(r"(\d+) passed", got.stdout)
    assert got.returncode == 0 and passed and int(passed[1]) >= 3 * len(FILES), got.stdout[-10000:] + got.stderr[-3000:]
