"""Wrong use: the exception's type and text are asyncio's own.

Where a call lacks an argument or has one too many, only the type is compared: those texts name Python's own functions.
"""
import asyncio
import errno
import os
import socket
import ssl
import sys
import threading

from sidebyside import mixed, same


async def value():
    return 1


def kind(t, call, *args, **kw):
    """Says the exception's type only."""
    try:
        result = call(*args, **kw)
    except Exception as exc:
        t.say(type(exc).__name__)
    else:
        if asyncio.iscoroutine(result):
            result.close()
        t.say("accepted")


def attempt(t, coro, timeout=60):
    """Runs a coroutine and says what it raised; ports are blotted out."""
    try:
        result = t.loop.run_until_complete(asyncio.wait_for(coro, timeout))
        t.say("returned", type(result).__name__)
        return result
    except Exception as exc:
        text = str(exc)
        for port in getattr(t, "ports", ()):
            text = text.replace(str(port), "PORT")
        t.say(type(exc).__name__, getattr(exc, "errno", None), text)
        return None


# --- scheduling

@same
def test_scheduling_arity(t):
    loop = t.loop
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        kind(t, call)
        kind(t, call, print, wrong=1)
        kind(t, call, callback=print)
    for call in (loop.call_later, loop.call_at):
        kind(t, call)
        kind(t, call, 1)
        kind(t, call, 1, print, wrong=1)
        kind(t, call, delay=1, callback=print)
        kind(t, call, when=1, callback=print)
    for name in ("run_forever", "stop", "close", "is_running", "is_closed", "time", "get_debug", "create_future"):
        kind(t, getattr(loop, name), 1)
        kind(t, getattr(loop, name), wrong=1)
    kind(t, loop.set_debug)
    kind(t, loop.run_until_complete)
    kind(t, loop.set_task_factory)
    kind(t, loop.set_exception_handler)
    kind(t, loop.add_reader, 1)
    kind(t, loop.remove_reader)
    kind(t, loop.add_signal_handler, 10)
    kind(t, loop.call_exception_handler)


@same
def test_delays(t):
    for delay in (None, "1", b"1", [], {}, object, print):
        t.attempt(t.loop.call_later, delay, print)
    t.attempt(t.loop.call_at, None, print)


@same
def test_negative_delays_run_at_once(t):
    for delay in (-1, -0.001, float("-inf")):
        t.loop.call_later(delay, t.say, delay)
    t.pump(2)


@same
def test_not_a_number(t):
    """asyncio takes NaN for a deadline; a sleep refuses it."""
    nan = float("nan")
    t.attempt(lambda: type(t.loop.call_later(nan, print)).__name__)
    t.attempt(lambda: repr(t.loop.call_later(nan, print).when()))
    t.attempt(lambda: t.loop.run_until_complete(asyncio.sleep(nan)))
    t.attempt(lambda: t.loop.run_until_complete(t.sleep(nan)))


@same
def test_callbacks_that_are_coroutines_in_debug(t):
    t.loop.set_debug(True)
    coro = value()
    for call in (t.loop.call_soon, t.loop.call_soon_threadsafe, lambda cb: t.loop.call_later(1, cb),
                 lambda cb: t.loop.call_at(1, cb)):
        t.attempt(call, value)
        t.attempt(call, coro)
        t.attempt(call, 5)
        t.attempt(call, None)
    coro.close()
    t.loop.set_debug(False)


@same
def test_closed_loop(t):
    loop = t.loop
    loop.close()
    for name, args in (("call_soon", (print,)), ("call_later", (1, print)), ("call_at", (1, print)),
                       ("call_soon_threadsafe", (print,)), ("run_forever", ()), ("run_in_executor", (None, print)),
                       ("add_reader", (0, print)), ("add_writer", (0, print)), ("remove_reader", (0,)), ("remove_writer", (0,)),
                       ("call_soon", (5,)), ("call_later", (None, print)), ("call_at", (None, print)),
                       ("add_signal_handler", (10, print))):
        t.say(name)
        t.attempt(getattr(loop, name), *args)
    for make in (value, lambda: asyncio.sleep(1), lambda: t.sleep(0), lambda: loop.getaddrinfo("127.0.0.1", 80),
                 lambda: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
                 lambda: loop.create_server(asyncio.Protocol, "127.0.0.1", 0), loop.shutdown_asyncgens,
                 loop.shutdown_default_executor):
        coro = make()
        t.attempt(loop.run_until_complete, coro)
        coro.close()
    coro = value()
    t.attempt(loop.create_task, coro)
    coro.close()


@same
def test_wrong_thread_in_debug(t):
    t.loop.set_debug(True)

    def elsewhere(call, *args):
        thread = threading.Thread(target=lambda: t.attempt(call, *args))
        thread.start()
        thread.join()

    async def main():
        elsewhere(t.loop.call_soon, print)
        elsewhere(t.loop.call_later, 1, print)
        elsewhere(t.loop.call_at, 1, print)
        elsewhere(lambda: t.loop.run_in_executor(None, int).done())

    t.loop.run_until_complete(main())
    t.loop.set_debug(False)


@same
def test_running_loop_entered_again(t):
    mine, other = t.loop, t.new_loop()

    async def main():
        for loop in (mine, other):
            coro = value()
            t.attempt(loop.run_until_complete, coro)
            coro.close()
        t.attempt(t.loop.close)
        coro = value()
        t.attempt(asyncio.run, coro)
        coro.close()

    t.loop.run_until_complete(main())


@same
def test_non_coroutines(t):
    def generator():
        yield

    async def main():
        for wrong in (None, 5, "x", print, value, [], object(), generator(), asyncio.sleep, t.loop):
            t.attempt(t.loop.create_task, wrong)
            t.attempt(asyncio.create_task, wrong)
            t.attempt(asyncio.ensure_future, wrong)
            t.attempt(lambda: asyncio.run_coroutine_threadsafe(wrong, t.loop))

    t.loop.run_until_complete(main())
    for wrong in (None, 5, value, generator()):
        t.attempt(t.loop.run_until_complete, wrong)


@same
def test_create_task_arguments(t):
    async def main():
        for args, kw in (((), {}), ((value(), 1), {}), ((value(),), {"wrong": 1}), ((value(),), {"loop": t.loop})):
            kind(t, t.loop.create_task, *args, **kw)
            for coro in args[:1]:
                coro.close()
        await asyncio.sleep(0)

    t.loop.run_until_complete(main())


@mixed
def test_future_and_task_arity(t):
    future = t.future()
    for name in ("set_result", "set_exception", "add_done_callback", "remove_done_callback"):
        kind(t, getattr(future, name))
        kind(t, getattr(future, name), 1, 2, 3)
        kind(t, getattr(future, name), wrong=1)
    for name in ("result", "exception", "done", "cancelled", "get_loop"):
        kind(t, getattr(future, name), 1)
    kind(t, future.cancel, 1, 2)
    kind(t, future.cancel, wrong=1)
    kind(t, t.kit.Future, t.loop)
    kind(t, t.kit.Future, wrong=1)

    async def main():
        task = t.task(value())
        for name in ("get_coro", "get_name", "cancelling", "uncancel"):
            kind(t, getattr(task, name), 1)
        kind(t, task.set_name)
        kind(t, task.set_name, 1, 2)
        kind(t, task.cancel, 1, 2)
        kind(t, task.get_stack, 1)
        kind(t, task.print_stack, 1)
        await task

    t.run(main())


@same
def test_exception_handler_arguments(t):
    for context in (None, 5, "text", []):
        t.attempt(t.loop.call_exception_handler, context)
        t.attempt(t.loop.default_exception_handler, context)


@same
def test_debug_and_factories(t):
    for flag in (0, 1, "", "yes", None, []):
        t.loop.set_debug(flag)
        t.say(bool(t.loop.get_debug()))
    for wrong in (5, "x", [], object()):
        t.attempt(t.loop.set_task_factory, wrong)
        t.attempt(t.loop.set_exception_handler, wrong)
        t.attempt(t.loop.set_default_executor, wrong)


# --- file descriptors

@same
def test_bad_fds(t):
    r, w = os.pipe()
    os.close(r)
    os.close(w)
    for fd in (-1, -2, w, 100_000, None, "3", 1.5, object, 2**31, 2**64):
        for name in ("add_reader", "add_writer"):
            t.attempt(getattr(t.loop, name), fd, print)
        for name in ("remove_reader", "remove_writer"):
            t.attempt(getattr(t.loop, name), fd)


@same
def test_sock_methods_on_bad_sockets(t):
    blocking, other = socket.socketpair()
    closed, gone = socket.socketpair()
    closed.setblocking(False)
    closed.close()
    gone.close()
    buffer = bytearray(10)
    calls = [("sock_recv", (10,)), ("sock_recv_into", (buffer,)), ("sock_recvfrom", (10,)), ("sock_recvfrom_into", (buffer,)),
             ("sock_sendall", (b"x",)), ("sock_sendto", (b"x", ("127.0.0.1", 1))), ("sock_accept", ()),
             ("sock_connect", (("127.0.0.1", 1),))]
    t.loop.set_debug(True)  # asyncio looks at the blocking mode in debug mode only
    for name, args in calls:
        t.say(name)
        attempt(t, getattr(t.loop, name)(blocking, *args))
    t.loop.set_debug(False)
    for name, args in calls:
        t.say(name)
        attempt(t, getattr(t.loop, name)(closed, *args))
    for name, args in calls:
        kind(t, lambda: t.loop.run_until_complete(getattr(t.loop, name)(None, *args)))
        kind(t, getattr(t.loop, name))
    blocking.close()
    other.close()


@same
def test_sock_methods_with_wrong_data(t):
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    b.send(b"data")
    for n in (-1, None, "x", 1.5):
        kind(t, lambda: t.loop.run_until_complete(t.loop.sock_recv(a, n)))
    for buffer in (b"bytes", None, 5, "x"):
        kind(t, lambda: t.loop.run_until_complete(t.loop.sock_recv_into(a, buffer)))
    for data in (None, 5, "x", [1]):
        kind(t, lambda: t.loop.run_until_complete(t.loop.sock_sendall(a, data)))
    t.say(t.loop.run_until_complete(t.loop.sock_recv(a, 10)))
    t.say(t.loop.run_until_complete(t.loop.sock_sendall(a, b"")))
    a.close()
    b.close()


@same
def test_ssl_sockets_are_refused(t):
    a, b = socket.socketpair()
    a.setblocking(False)
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(a, server_hostname="x", do_handshake_on_connect=False)
    for name, args in (("sock_recv", (10,)), ("sock_recv_into", (bytearray(1),)), ("sock_sendall", (b"x",)),
                       ("sock_accept", ()), ("sock_connect", (("127.0.0.1", 1),))):
        attempt(t, getattr(t.loop, name)(wrapped, *args))
    attempt(t, t.loop.create_connection(asyncio.Protocol, sock=wrapped))
    attempt(t, t.loop.create_server(asyncio.Protocol, sock=wrapped))
    attempt(t, t.loop.connect_accepted_socket(asyncio.Protocol, wrapped))
    wrapped.close()
    b.close()


# --- connections and servers

@same
def test_connection_arguments(t):
    loop, P = t.loop, asyncio.Protocol
    unix, peer = socket.socketpair()
    unix.setblocking(False)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)
    attempt(t, loop.create_connection(P))
    attempt(t, loop.create_connection(P, "127.0.0.1"))
    attempt(t, loop.create_connection(P, "127.0.0.1", 80, sock=udp))
    attempt(t, loop.create_connection(P, sock=udp))
    attempt(t, loop.create_connection(P, "127.0.0.1", 80, server_hostname="x"))
    attempt(t, loop.create_connection(P, "127.0.0.1", 80, ssl_handshake_timeout=1))
    attempt(t, loop.create_connection(P, sock=unix, server_hostname="x"))
    attempt(t, loop.create_connection(P, "127.0.0.1", 80, local_addr=("256.256.256.256", 0)))
    attempt(t, loop.create_connection(P, "127.0.0.1", "no-such-service"))
    attempt(t, loop.create_connection(P, "127.0.0.1", 80, family=999))
    for port in (-1, 70000, 2**40, 1.5, object()):
        kind(t, lambda: loop.run_until_complete(loop.create_connection(P, "127.0.0.1", port)))
    unix.close()
    peer.close()
    udp.close()


@same
def test_server_arguments(t):
    loop, P = t.loop, asyncio.Protocol
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)
    attempt(t, loop.create_server(P))
    attempt(t, loop.create_server(P, "127.0.0.1", 0, sock=udp))
    attempt(t, loop.create_server(P, sock=udp))
    attempt(t, loop.create_server(P, "127.0.0.1", 0, ssl=True))
    attempt(t, loop.create_server(P, "127.0.0.1", 0, ssl_handshake_timeout=1))
    attempt(t, loop.create_server(P, "127.0.0.1", "no-such-service"))
    attempt(t, loop.create_server(P, "256.256.256.256", 0))
    for port in (-1, 70000, 1.5):
        kind(t, lambda: loop.run_until_complete(loop.create_server(P, "127.0.0.1", port)))
    udp.close()


@same
def test_port_in_use(t):
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    t.ports = (port,)
    attempt(t, t.loop.create_server(asyncio.Protocol, "127.0.0.1", port))
    attempt(t, t.loop.create_server(asyncio.Protocol, ["127.0.0.1", "127.0.0.1"], port))
    attempt(t, t.loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, local_addr=("127.0.0.1", port)))
    taken.close()


@same
def test_nobody_listens(t):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    t.ports = (port,)
    attempt(t, t.loop.create_connection(asyncio.Protocol, "127.0.0.1", port))
    attempt(t, asyncio.open_connection("127.0.0.1", port))
    if sys.version_info >= (3, 12):
        async def all_errors():
            try:
                await t.loop.create_connection(asyncio.Protocol, "127.0.0.1", port, all_errors=True)
            except BaseExceptionGroup as exc:
                t.say(exc.message, [(type(e).__name__, e.errno) for e in exc.exceptions])

        t.loop.run_until_complete(all_errors())
    with socket.socket() as sock:
        sock.setblocking(False)
        attempt(t, t.loop.sock_connect(sock, ("127.0.0.1", port)))


@same
def test_unresolvable_hosts(t):
    for host in ("256.256.256.256", "no such host", "", "x" * 300, "host\0name", "*", "::1%nosuchif"):
        try:
            t.loop.run_until_complete(t.loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
            t.say(host, "resolved")
        except (OSError, ValueError) as exc:
            t.say(host, exc)


@same
def test_unresolvable_by_a_patched_resolver(t):
    """What the resolver raises arrives unchanged, whoever it is."""
    real = socket.getaddrinfo

    def resolver(host, *args, **kw):
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "empty.invalid":
            return []
        return real(host, *args, **kw)

    socket.getaddrinfo = resolver
    try:
        for host in ("nowhere.invalid", "empty.invalid"):
            attempt(t, t.loop.getaddrinfo(host, 80))
            attempt(t, t.loop.create_connection(asyncio.Protocol, host, 80))
            attempt(t, t.loop.create_server(asyncio.Protocol, host, 80))
        attempt(t, t.loop.create_connection(asyncio.Protocol, "127.0.0.1", 80, local_addr=("nowhere.invalid", 0)))
    finally:
        socket.getaddrinfo = real


@same
def test_getnameinfo(t):
    t.say(t.loop.run_until_complete(t.loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)))
    for address in ((), ("127.0.0.1",), ("not numeric at all", 80), None, 5):
        kind(t, lambda: t.loop.run_until_complete(t.loop.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)))


@same
def test_transport_misuse(t):
    async def main():
        server = await t.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, protocol = await t.loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        for data in (None, 5, "text", [1], object()):
            t.attempt(transport.write, data)
        for lines in (None, 5, [None], ["text"], [5]):
            kind(t, transport.writelines, lines)
        for high, low in ((-1, None), (1, 2), (None, -1), (0, 1), ("x", None)):
            kind(t, lambda: transport.set_write_buffer_limits(high, low))
        t.attempt(lambda: transport.set_write_buffer_limits(1, 2))
        t.attempt(lambda: transport.set_write_buffer_limits(-1))
        t.say(transport.get_extra_info("no such"), transport.get_extra_info("no such", "default"))
        t.attempt(transport.resume_reading)
        t.attempt(transport.pause_reading)
        t.attempt(transport.pause_reading)
        kind(t, transport.set_protocol)
        kind(t, transport.write)
        kind(t, transport.get_extra_info)
        transport.write_eof()
        t.attempt(transport.write, b"after the end")
        t.attempt(transport.write_eof)
        transport.close()
        t.attempt(transport.write, b"after close")
        t.attempt(transport.pause_reading)
        t.attempt(transport.resume_reading)
        transport.close()
        transport.abort()
        server.close()
        await asyncio.sleep(0.01)

    t.loop.run_until_complete(main())


@same
def test_server_misuse(t):
    async def main():
        server = await t.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        first = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        try:
            await server.serve_forever()
        except RuntimeError as exc:
            t.say(str(exc).split("<")[0], "already being awaited" in str(exc))
        first.cancel()
        await asyncio.wait([first])
        t.say(server.is_serving(), server.sockets)
        server.close()
        try:
            await server.serve_forever()
        except RuntimeError as exc:
            t.say(str(exc).split("<")[0], str(exc).endswith("is closed"))

    t.loop.run_until_complete(main())


@same
def test_protocol_factories_that_fail(t):
    async def main():
        server = await t.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        def broken():
            raise LookupError("no protocol today")

        for factory in (broken, None, 5, lambda: None):
            try:
                transport, _ = await t.loop.create_connection(factory, *address)
                t.say("connected")
                transport.abort()
            except Exception as exc:
                t.say(exc)
        server.close()
        await asyncio.sleep(0.01)

    t.record_contexts()
    t.loop.run_until_complete(main())
    t.contexts[:] = [sorted(c) for c in t.contexts]
    t.keep_warnings = False  # asyncio leaves these sockets to the garbage collector, with their ports in the text


def test_errors_have_numbers(loop):
    """OSErrors carry errno, so that programs can look at it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        try:
            loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", port))
            raise AssertionError("bound twice")
        except OSError as exc:
            assert exc.errno == errno.EADDRINUSE
    try:
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "127.0.0.1", port))
        raise AssertionError("connected to nobody")
    except ConnectionRefusedError as exc:
        assert exc.errno == errno.ECONNREFUSED
