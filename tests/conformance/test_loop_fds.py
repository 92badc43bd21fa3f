"""add_reader, add_writer and their removal: fds and file objects, closed and re-used fds, what is returned."""
import asyncio
import os
import select
import socket
import tempfile

import pytest

from kits import pump
from sidebyside import same


@pytest.fixture
def pipe():
    r, w = os.pipe()
    os.set_blocking(r, False)
    os.set_blocking(w, False)
    fds = [r, w]
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass  # the test closed it


def test_results(loop, pair):
    a, _ = pair
    assert loop.remove_reader(a) is False
    assert loop.remove_writer(a) is False
    assert loop.add_reader(a, int) is None
    assert loop.remove_writer(a) is False
    assert loop.add_writer(a, int) is None
    assert loop.remove_reader(a.fileno()) is True
    assert loop.remove_reader(a) is False
    assert loop.remove_writer(a) is True
    assert loop.remove_writer(a.fileno()) is False


def test_level_triggered(loop, pipe):
    r, w = pipe
    seen = []
    os.write(w, b"abc")
    loop.add_reader(r, lambda: seen.append(os.read(r, 1)))
    pump(loop, 2)
    assert seen and b"abc".startswith(b"".join(seen))
    while len(seen) < 3:
        pump(loop)
    assert b"".join(seen) == b"abc"
    pump(loop, 3)
    assert len(seen) == 3
    loop.remove_reader(r)


def test_fd_and_file_object_are_the_same_watch(loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a.fileno(), seen.append, "number")
    loop.add_reader(a, seen.append, "object")  # replaces the first
    b.send(b"x")
    pump(loop)
    assert seen == ["object"]
    assert loop.remove_reader(a.fileno()) is True
    assert loop.remove_reader(a) is False


def test_object_with_a_fileno(loop, pipe):
    r, w = pipe

    class Thing:
        def fileno(self):
            return r

    seen = []
    loop.add_reader(Thing(), seen.append, 1)
    os.write(w, b"x")
    pump(loop)
    assert seen == [1]
    assert loop.remove_reader(Thing()) is True


def test_python_file(loop, pipe):
    r, w = pipe
    with os.fdopen(r, "rb", 0) as file:
        pipe[0] = -1
        seen = []
        loop.add_reader(file, lambda: seen.append(file.read(10)))
        os.write(w, b"hello")
        pump(loop)
        assert seen == [b"hello"]
        assert loop.remove_reader(file)


def test_replacing_cancels_the_old_callback(loop, pair):
    """A replaced reader does not run, even when its event was seen already."""
    a, b = pair
    seen = []
    b.send(b"x")

    def first():
        seen.append("first")
        loop.add_reader(a, second)

    def second():
        seen.append("second")
        loop.remove_reader(a)

    loop.add_reader(a, first)
    pump(loop, 2)
    assert seen == ["first", "second"]


def test_reader_removed_by_an_earlier_callback_of_the_pass(loop):
    """Both are readable; the first to run removes the other."""
    pairs = [socket.socketpair() for _ in range(2)]
    try:
        seen = []

        def on_readable(i):
            seen.append(i)
            loop.remove_reader(pairs[0][0])
            loop.remove_reader(pairs[1][0])

        for i, (a, b) in enumerate(pairs):
            loop.add_reader(a, on_readable, i)
            b.send(b"x")
        pump(loop, 3)
        assert len(seen) == 1
    finally:
        for a, b in pairs:
            a.close()
            b.close()


def test_reader_and_writer_of_one_fd(loop, pair):
    a, b = pair
    seen = []
    loop.add_writer(a, seen.append, "w")
    pump(loop)
    assert seen == ["w"]
    loop.add_reader(a, seen.append, "r")
    b.send(b"x")
    seen.clear()
    pump(loop)
    assert sorted(seen) == ["r", "w"]
    loop.remove_writer(a)
    seen.clear()
    pump(loop)
    assert seen == ["r"]
    loop.remove_reader(a)
    seen.clear()
    pump(loop)
    assert seen == []


def test_end_of_file_makes_readable(loop, pipe):
    r, w = pipe
    seen = []
    loop.add_reader(r, lambda: seen.append(os.read(r, 10)))
    os.close(w)
    pump(loop)
    assert seen == [b""]
    loop.remove_reader(r)


def test_broken_pipe_makes_writable(loop, pipe):
    r, w = pipe
    try:
        while True:
            os.write(w, b"x" * 65536)
    except BlockingIOError:
        pass
    seen = []
    loop.add_writer(w, seen.append, 1)
    pump(loop)
    assert seen == []
    os.close(r)
    pump(loop)
    assert seen == [1]
    loop.remove_writer(w)


def test_hang_up_of_the_peer(loop, pair):
    a, b = pair
    seen = []

    def on_readable():
        seen.append(a.recv(10))
        loop.remove_reader(a)

    loop.add_reader(a, on_readable)
    b.send(b"last")
    b.close()
    pump(loop)
    assert seen == [b"last"]


def test_closed_while_watched(loop, pair):
    """A closed fd is silent; taking it back is possible."""
    a, b = pair
    seen = []
    fd = a.fileno()
    loop.add_reader(fd, seen.append, 1)
    b.send(b"x")
    a.close()
    pump(loop, 3)
    assert seen == []
    assert loop.remove_reader(fd) is True
    assert loop.remove_reader(fd) is False


def test_closed_and_reused_fd(loop):
    """The number comes back for another file: the old watch tells nothing of it, a new one works."""
    a, b = socket.socketpair()
    fd = a.fileno()
    seen = []
    loop.add_reader(fd, seen.append, "old")
    loop.remove_reader(fd)
    a.close()
    c, d = socket.socketpair()
    try:
        if c.fileno() != fd:
            os.dup2(c.fileno(), fd)
            c.close()
            c = socket.socket(fileno=fd)
        d.send(b"x")
        pump(loop, 2)
        assert seen == []
        loop.add_reader(fd, seen.append, "new")
        pump(loop)
        assert seen == ["new"]
        assert loop.remove_reader(fd)
    finally:
        for s in (b, c, d):
            s.close()


def test_reused_without_having_been_removed(loop):
    """The file was closed under a watch, another got its number and is watched: that one's events arrive."""
    a, b = socket.socketpair()
    fd = a.fileno()
    seen = []
    loop.add_reader(fd, seen.append, "old")
    pump(loop)
    a.close()
    c, d = socket.socketpair()
    try:
        if c.fileno() != fd:
            os.dup2(c.fileno(), fd)
            c.close()
            c = socket.socket(fileno=fd)
        loop.remove_reader(fd)
        loop.add_reader(fd, seen.append, "new")
        d.send(b"x")
        pump(loop)
        assert seen == ["new"]
        loop.remove_reader(fd)
    finally:
        for s in (b, c, d):
            s.close()


def test_duplicate_of_a_watched_fd_closed(loop, pair):
    """epoll keeps a watch while any duplicate is open: no event may come after the removal."""
    a, b = pair
    copy = a.dup()
    seen = []
    loop.add_reader(a, seen.append, 1)
    pump(loop)
    loop.remove_reader(a)
    b.send(b"x")
    pump(loop, 2)
    assert seen == []
    copy.close()


def test_many_fds(loop):
    pairs = [socket.socketpair() for _ in range(150)]
    try:
        seen = []

        def on_readable(i):
            pairs[i][0].recv(10)
            seen.append(i)
            if len(seen) == len(pairs):
                loop.stop()

        for i, (a, b) in enumerate(pairs):
            loop.add_reader(a, on_readable, i)
            b.send(b"x")
        loop.run_forever()
        assert sorted(seen) == list(range(len(pairs)))
        for a, b in pairs:
            assert loop.remove_reader(a)
    finally:
        for a, b in pairs:
            a.close()
            b.close()


def test_selectable_devices(loop):
    with open("/dev/null", "wb") as null:
        try:
            loop.add_writer(null, int)
        except PermissionError:
            return  # epoll takes no such file, on any kernel known
        loop.remove_writer(null)


@same
def test_regular_file(t):
    with tempfile.TemporaryFile() as file:
        t.attempt(t.loop.add_reader, file, int)
        t.attempt(t.loop.remove_reader, file)
        t.attempt(t.loop.add_writer, file.fileno(), int)
        t.attempt(t.loop.remove_writer, file.fileno())


@same
def test_wrong_fds(t):
    class Negative:
        def fileno(self):
            return -1

    class NoNumber:
        def fileno(self):
            return "one"

    class Broken:
        def fileno(self):
            raise OSError("broken fileno")

    for method in (t.loop.add_reader, t.loop.add_writer):
        for wrong in (-1, 99999, None, "0", 1.5, Negative(), NoNumber(), Broken(), [], 2**40):
            t.attempt(method, wrong, print)
    for method in (t.loop.remove_reader, t.loop.remove_writer):
        for wrong in (-1, 99999, None, "0", 1.5, Negative(), NoNumber(), Broken(), []):
            t.attempt(method, wrong)


@same
def test_closed_fd_errors(t):
    r, w = os.pipe()
    os.close(r)
    os.close(w)
    t.attempt(t.loop.add_reader, r, print)
    t.attempt(t.loop.add_writer, w, print)
    t.attempt(t.loop.remove_reader, r)


@same
def test_closed_socket_object(t):
    a, b = socket.socketpair()
    b.close()
    fd = a.fileno()
    t.loop.add_reader(fd, print)
    a.close()
    t.attempt(t.loop.add_reader, a, print)
    t.say(t.loop.remove_reader(fd))
    t.attempt(t.loop.remove_reader, a)


@same
def test_socket_object_closed_while_watched(t):
    """It has no number any more, but it is known by itself."""
    a, b = socket.socketpair()
    t.loop.add_reader(a, print)
    t.loop.add_writer(b, print)
    a.close()
    b.close()
    t.say(t.loop.remove_reader(a), t.loop.remove_writer(b))
    t.attempt(t.loop.remove_reader, a)
    t.attempt(t.loop.remove_writer, b)


@same
def test_keyword_arguments(t):
    a, b = socket.socketpair()
    t.attempt(t.loop.add_reader, a, print, context=None)
    t.say(t.loop.add_reader(fd=a, callback=print), t.loop.add_writer(fd=a, callback=print))
    t.say(t.loop.remove_reader(fd=a), t.loop.remove_writer(fd=a))
    a.close()
    b.close()


@same
def test_errors_in_reader_callbacks(t):
    r, w = os.pipe()
    try:
        t.record_contexts()
        os.write(w, b"x")

        def fail():
            os.read(r, 10)
            raise ValueError("in the reader")

        t.loop.add_reader(r, fail)
        t.pump(3)
        t.say(t.loop.remove_reader(r))
    finally:
        os.close(r)
        os.close(w)


@same
def test_arguments_are_passed(t):
    r, w = os.pipe()
    try:
        os.write(w, b"x")
        t.loop.add_reader(r, lambda *a: t.say(os.read(r, 5), a), 1, "two", [3])
        t.pump(2)
        t.loop.remove_reader(r)
        t.attempt(t.loop.add_reader, r)
        t.attempt(t.loop.add_reader)
        t.attempt(t.loop.remove_reader, r)
    finally:
        os.close(r)
        os.close(w)


@same
def test_fd_of_a_transport_is_refused(t):
    async def main():
        server = await t.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await t.loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        sock = transport.get_extra_info("socket")
        for method in (t.loop.add_reader, t.loop.add_writer):
            try:
                method(sock.fileno(), print)
                t.say("accepted")
            except RuntimeError as exc:
                text = str(exc)
                t.say(text.split("<")[0].replace(str(sock.fileno()), "FD"))
        for method in (t.loop.remove_reader, t.loop.remove_writer):
            try:
                t.say(method(sock.fileno()))
            except RuntimeError as exc:
                t.say(str(exc).split("<")[0].replace(str(sock.fileno()), "FD"))
        transport.close()
        server.close()
        await asyncio.sleep(0.01)

    t.loop.run_until_complete(main())


def test_epoll_object_itself_can_be_watched(loop, pair):
    """Loops nest: the fd of an epoll is readable when one of its own is."""
    a, b = pair
    with select.epoll() as inner:
        inner.register(a.fileno(), select.EPOLLIN)
        seen = []
        loop.add_reader(inner.fileno(), seen.append, 1)
        pump(loop)
        assert seen == []
        b.send(b"x")
        pump(loop)
        assert seen == [1]
        loop.remove_reader(inner.fileno())


def test_close_with_watches_left(kit, pair):
    a, b = pair
    loop = kit.new_loop()
    loop.add_reader(a, int)
    loop.add_writer(a, int)
    loop.close()
    b.send(b"x")
    assert a.recv(10) == b"x"


def test_watch_added_by_a_reader(loop, pair):
    a, b = pair
    seen = []

    def on_readable():
        seen.append(a.recv(10))
        loop.add_writer(a, on_writable)

    def on_writable():
        seen.append("w")
        loop.remove_writer(a)
        loop.remove_reader(a)
        loop.stop()

    loop.add_reader(a, on_readable)
    b.send(b"x")
    loop.run_forever()
    assert seen == [b"x", "w"]
