"""StreamReaderProtocol and StreamWriter on transports that only take notes, then streams on real connections: TCP, Unix, TLS, processes."""
import asyncio
import gc
import socket
import sys
import weakref

import pytest

import certs
from sidebyside import KITS, SUBJECT, child, compare, mixed, observe
from test_streams import Notes, attempt, noting, of

WITH_OURS = ("asyncloop", "our_classes")


def new_pair(t, transport=None, connected_cb=None, reader=None):
    """A protocol with its transport and reader; for a client the writer, too."""
    reader = reader or of(t, "StreamReader")(loop=t.loop)
    protocol = of(t, "StreamReaderProtocol")(reader, connected_cb, loop=t.loop)
    transport = transport or Notes(t)
    protocol.connection_made(transport)
    if connected_cb is not None:
        return protocol, transport, reader, None
    return protocol, transport, reader, of(t, "StreamWriter")(transport, protocol, reader, t.loop)


# --- the protocol

@mixed
def test_attributes_of_a_protocol(t):
    reader = of(t, "StreamReader")(loop=t.loop)
    p = of(t, "StreamReaderProtocol")(reader, loop=t.loop)
    t.say(p._stream_reader is reader, p._stream_reader_wr() is reader, p._reject_connection, p._task, p._transport, p._client_connected_cb, p._over_ssl,
          p._closed.done(), p._paused, len(p._drain_waiters), p._connection_lost, p._source_traceback, isinstance(p, asyncio.Protocol),
          isinstance(p, asyncio.streams.FlowControlMixin), p._loop is t.loop, hasattr(p, "_replace_transport"), hasattr(p, "_replace_writer"))
    t.say(of(t, "StreamReaderProtocol")(None, loop=t.loop)._stream_reader)
    t.attempt(of(t, "StreamReaderProtocol"), 5, None, t.loop)
    p.mine = 1
    t.say(weakref.ref(p)() is p, p.mine)


@mixed
def test_data_goes_to_the_reader(t):
    p, transport, reader, w = new_pair(t)
    p.data_received(b"abc")
    p.data_received(bytearray(b"def"))
    p.data_received(b"")
    t.say(bytes(reader._buffer), p._transport is transport, reader._transport is transport)
    t.say(p.eof_received())
    t.attempt(p.data_received, b"late")
    p._over_ssl = True
    t.say(p.eof_received())
    transport.closing = True
    p.connection_lost(None)
    t.say(p._stream_reader, p._transport, p._closed.done(), p._closed.result(), reader.at_eof(), p.eof_received())
    t.attempt(p.data_received, b"nobody")


@pytest.mark.parametrize("error", [None, OSError(5, "broken"), ConnectionResetError("reset")])
@pytest.mark.parametrize("subject_kit", WITH_OURS)
def test_the_end_of_the_connection(error, subject_kit):
    def scenario(t):
        async def main():
            p, transport, reader, w = new_pair(t)
            p.pause_writing()
            tasks = [t.loop.create_task(attempt(t, each)) for each in (w.drain(), w.drain(), w.wait_closed(), reader.read())]
            await asyncio.sleep(0)
            t.say(len(p._drain_waiters), [task.done() for task in tasks])
            tasks[1].cancel()
            transport.closing = True
            p.connection_lost(error)
            await asyncio.wait(tasks)
            t.say(len(p._drain_waiters))
            for again in (w.drain(), w.wait_closed(), reader.read(), p._drain_helper()):
                await attempt(t, again)
            t.say(reader.exception())
            p.connection_lost(error)
        t.run(main())
    compare(scenario, KITS[subject_kit])


@mixed
def test_an_end_that_nobody_asks_about(t):
    t.record_contexts()
    p, transport, reader, w = new_pair(t)
    transport.closing = True
    p.connection_lost(OSError("unseen"))
    del p, reader, w, transport
    gc.collect()


@mixed
def test_pausing_and_resuming(t):
    async def main():
        p, transport, reader, w = new_pair(t)
        t.attempt(p.resume_writing)
        p.pause_writing()
        t.attempt(p.pause_writing)
        tasks = [t.loop.create_task(attempt(t, w.drain())) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        t.say(p._paused, len(p._drain_waiters))
        p.resume_writing()
        await asyncio.wait(tasks)
        t.say(p._paused, len(p._drain_waiters))
        await attempt(t, w.drain())
        transport.closing = True
    t.run(main())


@mixed
def test_drain(t):
    async def main():
        p, transport, reader, w = new_pair(t)
        order = []
        t.loop.call_soon(order.append, "other")
        await w.drain()
        order.append("drained")
        transport.closing = True
        await w.drain()
        order.append("drained while closing")
        t.say(order)
        reader.set_exception(ZeroDivisionError("reader's"))
        await attempt(t, w.drain())
        with_none = of(t, "StreamWriter")(transport, p, None, t.loop)
        await attempt(t, with_none.drain())
        t.say(repr(with_none), repr(w))
        never = w.drain()
        del never
    t.run(main())


# --- a server's protocol

@pytest.mark.parametrize("how", ["function", "coroutine", "failing function", "failing coroutine", "cancelled", "exit"])
@pytest.mark.parametrize("subject_kit", WITH_OURS)
def test_client_connected_cb(how, subject_kit):
    def scenario(t):
        def report(loop, context):
            message = context["message"] if context["message"].startswith("Unhandled") else "Exception in callback"
            t.say(message, context["exception"], context.get("transport") is transport, sorted(context))

        t.loop.set_exception_handler(report)

        def on_connection(reader, writer):
            t.say("connected", type(reader).__name__, type(writer).__name__, reader is r(), writer.transport is transport)
            if how == "failing function":
                raise ValueError("on purpose")
            if how == "exit":
                raise SystemExit(3)
            return serve(reader, writer) if how != "function" else 5

        async def serve(reader, writer):
            t.say("task", await reader.read(3))
            if how == "failing coroutine":
                raise ValueError("on purpose")
            if how == "cancelled":
                asyncio.current_task().cancel()
                await asyncio.sleep(0)
            transport.closing = True

        async def main():
            gc.collect()
            t.say(r() is not None)
            t.attempt(p.connection_made, transport)
            t.say(p._task is None, type(p._client_connected_cb).__name__)
            task = p._task
            p.data_received(b"data")
            if task is not None:
                await asyncio.wait([task])
                await asyncio.sleep(0)
            gc.collect()
            transport.closing = True
            p.connection_lost(None)
            t.say(p._task)

        transport = Notes(t)
        reader = of(t, "StreamReader")(loop=t.loop)
        r = weakref.ref(reader)
        p = of(t, "StreamReaderProtocol")(reader, on_connection, loop=t.loop)
        del reader
        t.run(main())
    compare(scenario, KITS[subject_kit])


@mixed
def test_who_holds_the_reader(t):
    reader = of(t, "StreamReader")(loop=t.loop)
    p = of(t, "StreamReaderProtocol")(reader, loop=t.loop)
    transport = Notes(t)
    del reader
    gc.collect()
    t.say(p._stream_reader)
    p.connection_made(transport)
    p.data_received(b"nobody reads this")
    t.say(p.eof_received())
    p.connection_lost(None)
    kept = []
    reader = of(t, "StreamReader")(loop=t.loop)
    p = of(t, "StreamReaderProtocol")(reader, lambda r, w: kept.append((r, w)), loop=t.loop)
    del reader
    gc.collect()
    t.say(p._stream_reader is not None)
    p.connection_made(transport)
    transport.closing = True
    t.say(len(kept), p._stream_reader is kept[0][0], repr(kept[0][1]))
    kept.clear()
    gc.collect()
    t.say(p._stream_reader is None)


@mixed
def test_a_stream_that_was_dropped_before_it_was_connected(t):
    t.record_contexts()
    p = of(t, "StreamReaderProtocol")(of(t, "StreamReader")(loop=t.loop), loop=t.loop)
    p._reject_connection = True
    p.connection_made(Notes(t))
    p._source_traceback = ["somewhere"]
    p.connection_made(Notes(t))


# --- the writer

@mixed
def test_writer_calls_the_transport(t):
    p, transport, reader, w = new_pair(t)
    for call in (lambda: w.write(b"x"), lambda: w.write(data=b"y"), lambda: w.writelines([b"a", b"b"]), w.write_eof, w.can_write_eof, w.close,
                 lambda: w.get_extra_info("nothing"), lambda: w.get_extra_info("nothing", 7), lambda: w.get_extra_info(name="a", default="b"),
                 lambda: w.write(), lambda: w.write(1, 2), lambda: w.is_closing(), w.get_extra_info):
        t.attempt(call)
    t.say(w.transport is transport, w._transport is transport, w._protocol is p, w._reader is reader, w._loop is t.loop,
          w._complete_fut.done(), w._complete_fut.result(), isinstance(w, asyncio.StreamWriter))
    t.attempt(setattr, w, "_reader", None)
    with pytest.raises(AttributeError):
        w.transport = 5
    w.mine = 5
    t.say(w.mine)
    transport.closing = True


@pytest.mark.skipif(SUBJECT == "asyncio", reason="asyncio's writers that were not made have a __del__ that fails")
def test_writer_that_was_not_made():
    writers = getattr(KITS["asyncloop"].classes, "StreamWriter", asyncio.StreamWriter)
    with pytest.raises(TypeError, match="missing 3 required positional arguments: 'protocol', 'reader', and 'loop'"):
        writers(None)
    with pytest.raises(AssertionError):
        writers(None, None, 5, None)
    empty = writers.__new__(writers)
    for call in (lambda: empty.write(b"x"), empty.close, empty.is_closing, lambda: empty.get_extra_info("x"), lambda: empty._complete_fut,
                 lambda: empty.drain().send(None), lambda: empty.wait_closed().send(None)):
        with pytest.raises(RuntimeError, match="uninitialized StreamWriter object"):
            call()
    assert "None" in repr(empty)


@pytest.mark.skipif(SUBJECT == "asyncio", reason="what asyncio's do is AttributeError")
def test_readers_and_protocols_that_were_not_made():
    classes = KITS["asyncloop"].classes
    reader = classes.StreamReader.__new__(classes.StreamReader)
    assert (repr(reader), reader.at_eof(), reader.exception(), bytes(reader._buffer), reader._limit) == ("<StreamReader>", False, None, b"", None)
    reader.set_exception(None)
    with pytest.raises(RuntimeError, match="uninitialized StreamReader object"):
        reader.read(1).send(None)
    reader.feed_data(b"line\n")
    with pytest.raises(StopIteration):
        reader.read(2).send(None)
    protocol = classes.StreamReaderProtocol.__new__(classes.StreamReaderProtocol)
    assert protocol._stream_reader is None and protocol.eof_received() is True and protocol._closed is None
    protocol.data_received(b"x")
    protocol.pause_writing()
    with pytest.raises(RuntimeError, match="uninitialized StreamReaderProtocol object"):
        protocol._drain_helper().send(None)
    protocol.resume_writing()
    with pytest.raises(RuntimeError, match="uninitialized StreamReaderProtocol object"):
        protocol.connection_made(None)
    protocol.connection_lost(None)


@mixed
def test_writer_that_is_dropped(t):
    for how in ("open", "closing", "loop closed", "failing"):
        p, transport, reader, w = new_pair(t)
        loop = t.loop
        if how == "closing":
            transport.closing = True
        elif how == "loop closed":
            loop = t.new_loop()
            loop.close()
            w._loop = loop
        elif how == "failing":
            transport.closing = True
            w.write(b"before")
        t.say(how)
        del w
        gc.collect()


@mixed
def test_overridden_methods_of_protocol_and_writer(t):
    async def main():
        protocols = noting(t, of(t, "StreamReaderProtocol"), "connection_made", "connection_lost", "data_received", "eof_received", "pause_writing",
                           "resume_writing", "_drain_helper", "_get_close_waiter")
        writers = noting(t, of(t, "StreamWriter"), "write", "writelines", "close", "drain", "is_closing", "wait_closed")
        transport = Notes(t)
        reader = of(t, "StreamReader")(loop=t.loop)
        p = protocols(reader, loop=t.loop)
        p.connection_made(transport)
        w = writers(transport, None, None, t.loop)
        w._protocol = p
        p.data_received(b"x")
        await attempt(t, w.drain())
        p.pause_writing()
        task = t.loop.create_task(attempt(t, w.drain()))
        await asyncio.sleep(0)
        p.resume_writing()
        await task
        w.write(b"x")
        t.say(p._get_close_waiter(w) is p._closed)
        del w
        gc.collect()
        p.connection_lost(None)
    t.run(main())


@mixed
def test_a_protocol_of_another_kind(t):
    class Own(asyncio.streams.FlowControlMixin):
        def _get_close_waiter(self, stream):
            return self._waiter

    async def main():
        p, transport = Own(loop=t.loop), Notes(t)
        p._waiter = t.future()
        w = of(t, "StreamWriter")(transport, p, None, t.loop)
        await attempt(t, w.drain())
        p.pause_writing()
        tasks = [t.loop.create_task(attempt(t, each)) for each in (w.drain(), w.wait_closed())]
        await asyncio.sleep(0)
        t.say([task.done() for task in tasks])
        p.resume_writing()
        p._waiter.set_result("ignored")
        await asyncio.wait(tasks)
        transport.closing = True
        await attempt(t, of(t, "StreamWriter")(transport, object(), None, t.loop).drain())
    t.run(main())


# --- real connections

KINDS = ("tcp", "unix", "tls")
every_kind = pytest.mark.parametrize("kind", KINDS)


async def serve(t, kind, on_connection, folder, **kw):
    """A server, and how to connect to it."""
    if kind == "unix":
        path = str(folder / "s")
        server = await of(t, "start_unix_server")(on_connection, path, **kw)
        return server, lambda **kw: of(t, "open_unix_connection")(path, **kw)
    tls = {"ssl": certs.server_context()} if kind == "tls" else {}
    server = await of(t, "start_server")(on_connection, "127.0.0.1", 0, **tls, **kw)
    address = server.sockets[0].getsockname()
    more = {"ssl": certs.client_context(), "server_hostname": "localhost"} if kind == "tls" else {}
    return server, lambda **kw: of(t, "open_connection")(*address, **more, **kw)


async def to_its_end(scenario):
    """The server's callbacks too: a run that ends before them cancels them, now and then."""
    before = asyncio.all_tasks()
    await scenario
    if others := asyncio.all_tasks() - before:
        await asyncio.wait(others, timeout=5)


def connected(scenario):
    """A scenario (t, kind, start) on every kind of connection; start(on_connection, **options of start_server) gives the server and connect()."""
    @every_kind
    @pytest.mark.parametrize("subject_kit", WITH_OURS)
    def test(kind, subject_kit, tmp_path):
        def one(t):
            t.keep_warnings = False
            t.record_contexts()
            folder = tmp_path / t.kit.name
            folder.mkdir()
            t.run(asyncio.wait_for(to_its_end(scenario(t, kind, lambda on_connection, **kw: serve(t, kind, on_connection, folder, **kw))), 30))
        outcome = compare(one, KITS[subject_kit])
        assert "exception" not in outcome and not outcome["contexts"], outcome
    test.__name__ = test.__qualname__ = scenario.__name__
    return test


async def finish(server, *writers):
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


@connected
async def test_lines_and_messages(t, kind, start):
    async def answer(reader, writer):
        async for line in reader:
            writer.writelines([b"<", line.strip(), b">"])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server, connect = await start(answer)
    reader, writer = await connect()
    t.say(type(reader).__name__, type(writer).__name__, isinstance(reader, asyncio.StreamReader), isinstance(writer, asyncio.StreamWriter))
    writer.write(b"one\ntwo\n")
    await writer.drain()
    t.say(await reader.readexactly(5), await reader.readuntil(b">"))
    writer.write(bytearray(b"three"))
    writer.write(memoryview(b"\nfour\n"))
    t.say(await reader.readuntil(b"four>"), writer.can_write_eof(), writer.is_closing())
    writer.close()
    t.say(writer.is_closing())
    await writer.wait_closed()
    t.say(await reader.read(), reader.at_eof())
    await finish(server)


@connected
async def test_bulk_both_ways_with_small_limits(t, kind, start):
    data = bytes(range(256)) * 8000

    async def echo(reader, writer):
        while block := await reader.read(30_000):
            writer.write(block)
            await writer.drain()
        writer.close()

    server, connect = await start(echo, limit=1000)
    reader, writer = await connect(limit=100)

    async def send():
        for at in range(0, len(data), 70_000):
            writer.write(data[at:at + 70_000])
            await writer.drain()

    task = t.loop.create_task(send())
    got = bytearray()
    while len(got) < len(data):
        got += await reader.read(8000) if len(got) % 2 else await reader.readexactly(min(4001, len(data) - len(got)))
    await task
    t.say(got == data)
    await finish(server, writer)


@connected
async def test_a_slow_reader_stops_the_sender(t, kind, start):
    go_on, stopped = asyncio.Event(), asyncio.Event()
    total = 0

    async def receive(reader, writer):
        nonlocal total
        await go_on.wait()
        while block := await reader.read(65536):
            total += len(block)
        writer.close()

    server, connect = await start(receive)
    reader, writer = await connect()
    sent = 0

    async def send():
        nonlocal sent
        while not go_on.is_set():
            writer.write(bytes(100_000))
            sent += 100_000
            waiting = t.loop.call_later(0.2, stopped.set)
            await writer.drain()
            waiting.cancel()

    task = t.loop.create_task(send())
    await stopped.wait()
    t.say(writer._protocol._paused, task.done())
    go_on.set()
    await task
    writer.close()
    await writer.wait_closed()
    while total < sent:
        await asyncio.sleep(0.001)
    t.say(total == sent)
    await finish(server)


@connected
async def test_the_peer_goes_away(t, kind, start):
    async def abort(reader, writer):
        await reader.readexactly(1)
        writer.transport.abort()

    server, connect = await start(abort)
    reader, writer = await connect()
    writer.write(b"x")
    try:
        t.say(await reader.read())
    except ConnectionError:
        t.say(b"")
    for _ in range(1000):
        writer.write(b"more")
        try:
            await writer.drain()
        except ConnectionError as exc:
            t.say("noticed", isinstance(exc, ConnectionError))
            break
        await asyncio.sleep(0.001)
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        pass
    await finish(server)


@connected
async def test_cancelled_reads_lose_nothing(t, kind, start):
    async def drip(reader, writer):
        await reader.readexactly(1)
        for i in range(50):
            writer.write(b"%03d;" % i)
            await asyncio.sleep(0)
        writer.close()

    server, connect = await start(drip)
    reader, writer = await connect()
    writer.write(b"x")
    got = []
    while len(got) < 50:
        task = t.loop.create_task(reader.readuntil(b";"))
        await asyncio.sleep(0)
        task.cancel()
        try:
            got.append(await task)
        except asyncio.CancelledError:
            await asyncio.sleep(0.0005)
    t.say(got)
    await finish(server, writer)


@pytest.mark.parametrize("subject_kit", WITH_OURS)
def test_half_closed(subject_kit):
    def scenario(t):
        async def upper(reader, writer):
            writer.write((await reader.read()).upper())
            await writer.drain()
            writer.close()

        async def main():
            server = await of(t, "start_server")(upper, "127.0.0.1", 0)
            reader, writer = await of(t, "open_connection")(*server.sockets[0].getsockname(), limit=10)
            t.say(writer.get_extra_info("peername") == server.sockets[0].getsockname(), type(writer.get_extra_info("socket")).__name__)
            writer.write(b"some text that is longer than the limit")
            writer.write_eof()
            t.say(await reader.read())
            await attempt(t, reader.readexactly(1))
            t.attempt(writer.write, b"x")
            await finish(server, writer)
        t.run(main())
    compare(scenario, KITS[subject_kit])


@pytest.mark.parametrize("subject_kit", WITH_OURS)
def test_start_tls(subject_kit):
    def scenario(t):
        t.keep_warnings = False

        async def answer(reader, writer):
            t.say(await reader.readline())
            writer.write(b"go\n")
            await writer.drain()
            await writer.start_tls(certs.server_context())
            t.say(writer.get_extra_info("sslcontext") is not None, writer._protocol._over_ssl, reader._transport is writer.transport)
            writer.write((await reader.readline()).upper())
            await writer.drain()
            t.say(await reader.read())
            writer.close()

        async def main():
            server = await of(t, "start_server")(answer, "127.0.0.1", 0)
            reader, writer = await of(t, "open_connection")(*server.sockets[0].getsockname())
            before = writer.transport
            writer.write(b"tls please\n")
            t.say(await reader.readline())
            await writer.start_tls(certs.client_context(), server_hostname="localhost", ssl_handshake_timeout=30)
            t.say(writer.transport is not before, writer.get_extra_info("ssl_object") is not None, reader._transport is writer.transport,
                  writer._protocol._transport is writer.transport)
            writer.write(b"hello\n")
            t.say(await reader.readline())
            await attempt_type_error(t, writer)
            await finish(server, writer)
        t.run(asyncio.wait_for(main(), 30))
    compare(scenario, KITS[subject_kit])


async def attempt_type_error(t, writer):
    with pytest.raises(TypeError):
        await writer.start_tls()
    with pytest.raises(TypeError):
        await writer.start_tls(1, server_side=True)


@pytest.mark.parametrize("subject_kit", WITH_OURS)
def test_arguments_of_the_functions(subject_kit):
    def scenario(t):
        t.keep_warnings = False

        async def main():
            for call in (of(t, "start_server")(None, "127.0.0.1", 0, limit=0), of(t, "start_server")(None, "127.0.0.1", 0, bad=1)):
                try:
                    server = await call
                    reader, writer = await of(t, "open_connection")(*server.sockets[0].getsockname())
                    t.say(reader._limit)
                    await finish(server, writer)
                except TypeError as exc:
                    t.say("bad" in str(exc))
            await attempt(t, of(t, "open_connection")("127.0.0.1", 1, limit=0))
            with pytest.raises(OSError):
                await of(t, "open_connection")("127.0.0.1", 1)
            with pytest.raises(OSError):
                await of(t, "open_unix_connection")("/nowhere/at/all")
            t.say(asyncio.iscoroutinefunction(of(t, "open_connection")) if sys.version_info < (3, 14) else True)
        t.record_contexts()
        t.run(main())
        t.say(len(t.contexts) > 0)
        t.contexts.clear()
    assert "exception" not in observe(scenario, KITS["asyncio"])
    assert "exception" not in observe(scenario, KITS[subject_kit])


# --- our transports give bytes to our protocol without calling it: unless it is somebody's own

async def fed(t, protocol, reader, data):
    """Connect that protocol, and send data to it."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    client.setblocking(False)
    transport, _ = await t.loop.create_connection(lambda: protocol, sock=client)
    peer.sendall(data)
    while len(t.said) == 0 and len(reader._buffer) < len(data):
        await asyncio.sleep(0.001)
    transport.close()
    await protocol._closed
    peer.close()
    server.close()


@pytest.mark.parametrize("how", ["plain", "subclass", "instance", "reader subclass", "reader instance", "no reader"])
def test_who_gets_the_bytes(how):
    if SUBJECT == "asyncio" or not hasattr(KITS["asyncloop"].classes, "StreamReader"):
        pytest.skip("only for streams of our own")

    def scenario(t):
        readers, protocols = of(t, "StreamReader"), of(t, "StreamReaderProtocol")
        native = protocols.data_received

        def data_received(self, data):
            t.say("data_received", type(data).__name__, data)
            native(self, data)

        async def main():
            reader_class, protocol_class = readers, protocols
            if how == "reader subclass":
                reader_class = noting(t, readers, "feed_data")
            if how == "subclass":
                protocol_class = type("Own", (protocols,), {"data_received": data_received})
            reader = reader_class(loop=t.loop)
            protocol = protocol_class(reader, loop=t.loop)
            if how == "instance":
                protocol.data_received = lambda data: data_received(protocol, data)
            if how == "reader instance":
                feed = reader.feed_data
                reader.feed_data = lambda data: (t.say("feed_data", data), feed(data))
            if how == "no reader":
                protocol._stream_reader_wr = None
                t.say("nobody")
            await fed(t, protocol, reader, b"these bytes")
            if how not in ("plain", "no reader"):
                while not reader._buffer:
                    await asyncio.sleep(0.001)
            t.say(bytes(reader._buffer))
        t.run(asyncio.wait_for(main(), 30))
    compare(scenario, KITS["asyncloop"])


@pytest.mark.skipif(SUBJECT == "asyncio", reason="only for streams of our own")
def test_methods_replaced_on_the_classes():
    """In a process of its own, as the fast path is closed from then on."""
    got = child("""
import asyncloop, socket
said = []
def replace(cls, name):
    native = getattr(cls, name)
    def method(self, *args):
        said.append((name, *args))
        return native(self, *args)
    setattr(cls, name, method)
async def main():
    ends = [socket.socketpair() for _ in range(2)]
    for i, (a, b) in enumerate(ends):
        a.setblocking(False)
        reader = asyncloop.StreamReader(loop=loop)
        protocol = asyncloop.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=a)
        writer = asyncloop.StreamWriter(transport, protocol, reader, loop)
        b.sendall(b"line\\n")
        print(await reader.readline(), await writer.drain(), said)
        if i == 0:
            asyncloop.StreamReader.new_name = 1
            replace(asyncloop.StreamReaderProtocol, "data_received")
            replace(asyncloop.StreamReaderProtocol, "_drain_helper")
            replace(asyncloop.StreamReader, "feed_data")
            replace(asyncloop.StreamReader, "readuntil")
        transport.close()
        b.close()
loop = new_loop()
loop.run_until_complete(main())
""")
    assert got.stdout.splitlines() == [
        "b'line\\n' None []",
        "b'line\\n' None [('readuntil', b'\\n'), ('data_received', b'line\\n'), ('feed_data', b'line\\n'), ('_drain_helper',)]"], got.stderr


# --- child processes use asyncio.streams' classes

@pytest.mark.parametrize("subject_kit", WITH_OURS)
def test_pipes_of_processes(subject_kit, monkeypatch):
    def scenario(t):
        async def main():
            for name in ("StreamReader", "StreamWriter"):
                monkeypatch.setattr(asyncio.streams, name, of(t, name))
            code = "import sys; data = sys.stdin.buffer.read(); sys.stderr.write(str(len(data))); sys.stdout.buffer.write(data[::-1])"
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=-1, stdout=-1, stderr=-1)
            assert type(process.stdout) is of(t, "StreamReader")
            out, err = await process.communicate(bytes(range(256)) * 2000)
            t.say(out == (bytes(range(256)) * 2000)[::-1], err, process.returncode)
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "for i in range(3): print(i)", stdout=-1, limit=10)
            t.say([line async for line in process.stdout], await process.stdout.read(), process.stdout.at_eof(), await process.wait())
        t.run(asyncio.wait_for(main(), 30))
    monkeypatch.undo()
    outcome = compare(scenario, KITS[subject_kit])
    assert "exception" not in outcome
