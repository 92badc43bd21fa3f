"""prompt_toolkit and textual in a pseudo-terminal: keys come by add_reader, a new size by SIGWINCH, and the screen goes out."""
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

import peers
import programs
from sidebyside import SUBJECT

peers.apps("prompt_toolkit", "textual")

pytestmark = [pytest.mark.limit(120), pytest.mark.skipif(SUBJECT != "asyncloop", reason="compares asyncio with asyncloop")]

PROMPT = """
import chosen
import asyncio, sys
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.patch_stdout import patch_stdout

said = open("said", "w", buffering=1)
bindings = KeyBindings()


@bindings.add("c-t")
async def later(event):
    await asyncio.sleep(0.001)
    event.current_buffer.insert_text("<key>")


async def ticks():
    while True:
        await asyncio.sleep(0.02)
        print("tick")


async def main():
    chosen.check()
    session = PromptSession(key_bindings=bindings, completer=WordCompleter(["completed"]), complete_while_typing=False)
    with patch_stdout():
        task = asyncio.create_task(ticks())
        print(await session.prompt_async("first> "), file=said)
        task.cancel()
    try:
        await session.prompt_async("second> ")
    except KeyboardInterrupt:
        print("KeyboardInterrupt", file=said)
    try:
        await asyncio.wait_for(session.prompt_async("third> "), 0.05)
    except TimeoutError:
        print("TimeoutError", file=said)
    try:
        await session.prompt_async("fourth> ")
    except EOFError:
        print("EOFError", file=said)
    said.close()

asyncio.run(main())
"""

TEXTUAL = """
import chosen
import asyncio
from textual import work
from textual.app import App
from textual.containers import Vertical
from textual.widgets import Button, Input, Label

said = open("said", "w", buffering=1)


class Form(App):
    BINDINGS = [("ctrl+e", "end", "End")]

    def compose(self):
        with Vertical():
            yield Input(id="name")
            yield Button("press", id="press")
            yield Label("waiting", id="label")

    def on_mount(self):
        chosen.check()
        self.query_one(Input).focus()
        self.set_interval(0.01, self.count)
        self.ticks = 0

    def count(self):
        self.ticks += 1

    def on_resize(self, event):
        print("size", event.size.width, file=said)

    def on_input_submitted(self, event):
        print("input", event.value, file=said)
        self.query_one(Button).focus()
        self.query_one(Label).update("ready-for-press")

    async def on_button_pressed(self, event):
        self.compute()

    @work(thread=True)
    def compute(self):
        self.call_from_thread(self.done, sum(range(10)))

    def done(self, n):
        print("thread", n, file=said)
        self.query_one(Label).update("all-done")

    def action_end(self):
        print("ticked", self.ticks > 0, file=said)
        self.exit("result")


print("returned", Form().run(), file=said)
said.close()
"""


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, way, folder, text, columns=80):
        self.folder = folder / way
        self.folder.mkdir()
        (self.folder / "program.py").write_text(text)
        self.columns, self.seen = columns, b""

    def __enter__(self):
        self.master, slave = pty.openpty()
        self.resize(self.columns)
        env = programs.environment(self.folder.name, TERM="xterm-256color", COLORTERM="truecolor", HOME=str(self.folder))
        env.pop("NO_COLOR", None)
        try:
            self.process = subprocess.Popen(programs.words(self.folder.name, "program.py"), cwd=self.folder, env=env, stdin=slave, stdout=slave, stderr=slave,
                                            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        finally:
            os.close(slave)
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.master)

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self, timeout):
        """What the program has put on the screen meanwhile; it gets an answer when it asks where the cursor is.  False at its end."""
        if select.select([self.master], [], [], timeout)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return False
            self.seen += data
            for _ in range(data.count(b"\x1b[6n")):
                self.type(b"\x1b[1;1R")
        return True

    def type(self, keys):
        os.write(self.master, keys)

    def text(self):
        return re.sub(rb"\x1b\[[0-9;?<>=]*[a-zA-Z]", b"", self.seen).decode(errors="replace")

    def until(self, text):
        """Until that text was on the screen; what came before is forgotten."""
        end = time.monotonic() + peers.LONG
        while text not in self.text():
            if not self.read(0.1) or time.monotonic() > end:
                pytest.fail(f"{text!r} was never on the screen:\n{self.text()[-2000:]}", pytrace=False)
        self.seen = b""

    def until_said(self, line):
        end = time.monotonic() + peers.LONG
        while line not in self.said():
            self.read(0.02)
            assert time.monotonic() < end, (line, self.said(), self.text()[-2000:])

    def said(self):
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def end(self):
        """What the program has said, in its file."""
        stop = time.monotonic() + peers.LONG
        while self.read(0.1) and self.process.poll() is None:
            assert time.monotonic() < stop, self.text()[-2000:]
        assert self.process.wait(peers.LONG) == 0, self.text()[-3000:]
        return self.said()


@pytest.mark.parametrize("way", [*programs.OURS, "asyncio-control"])
def test_prompt_toolkit(tmp_path, way):
    with Terminal(way.partition("-")[0], tmp_path, PROMPT) as terminal:
        terminal.until("first>")
        for _ in range(3):
            terminal.until("tick")
        terminal.type(b"helxo\x1b[D\x1b[D")  # two keys to the left
        terminal.type(b"\x1b[3~l")  # Delete, and the right letter
        terminal.type(b"\x05 compl\t")  # to the end; Tab completes
        terminal.until("completed")
        terminal.type(b" \x14")  # our own key
        terminal.until("<key>")
        terminal.type(b"\r")
        terminal.until("second>")
        terminal.type(b"lost\x03")
        terminal.until("fourth>")
        terminal.type(b"\x04")
        assert terminal.end() == ["hello completed <key>", "KeyboardInterrupt", "TimeoutError", "EOFError"]


@pytest.mark.parametrize("way", [*programs.OURS, "asyncio-control"])
def test_textual(tmp_path, way):
    with Terminal(way.partition("-")[0], tmp_path, TEXTUAL) as terminal:
        terminal.until("waiting")
        terminal.type(b"some text\r")
        terminal.until("ready-for-press")
        terminal.resize(100)
        terminal.until_said("size 100")
        terminal.type(b"\r")
        terminal.until("all-done")
        terminal.type(b"\x05")
        assert list(dict.fromkeys(terminal.end())) == ["size 80", "input some text", "size 100", "thread 45", "ticked True", "returned result"]
