"""loop.sock_*: what they return and raise, waiting, cancellation, descriptors that are closed and used again."""
import asyncio
import gc
import inspect
import os
import socket
import ssl
import warnings

import pytest

from sidebyside import OURS, same


def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    return a, b


def udp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


def listening():
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def attempt(t, awaitable):
    try:
        t.say(await awaitable)
    except Exception as exc:
        t.say("raised", exc)


# --- results

@same
def test_recv(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            b.send(b"ready")
            t.say(await loop.sock_recv(a, 100))
            loop.call_later(0.01, b.send, b"waited for")
            t.say(await loop.sock_recv(a, 6), await loop.sock_recv(a, 100))
            t.say(await loop.sock_recv(a, 0))
            loop.call_later(0.01, b.shutdown, socket.SHUT_WR)
            t.say(await loop.sock_recv(a, 10), await loop.sock_recv(a, 10))
    t.run(main())


@same
def test_recv_into(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            buffer = bytearray(10)
            b.send(b"ready")
            t.say(await loop.sock_recv_into(a, buffer), bytes(buffer))
            loop.call_later(0.01, b.send, b"waited")
            t.say(await loop.sock_recv_into(a, memoryview(buffer)[2:5]), bytes(buffer))
            t.say(await loop.sock_recv_into(a, buffer), bytes(buffer))
            t.say(await loop.sock_recv_into(a, bytearray()))
    t.run(main())


@same
def test_datagrams(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = udp(), udp()
        with a, b:
            t.say(await loop.sock_sendto(b, b"one", a.getsockname()))
            data, address = await loop.sock_recvfrom(a, 100)
            t.say(data, address == b.getsockname())
            loop.call_later(0.01, b.sendto, b"two", a.getsockname())
            data, address = await loop.sock_recvfrom(a, 100)
            t.say(data, address == b.getsockname())
            buffer = bytearray(10)
            loop.call_later(0.01, b.sendto, b"three", a.getsockname())
            n, address = await loop.sock_recvfrom_into(a, buffer)
            t.say(n, address == b.getsockname(), bytes(buffer))
            await loop.sock_sendto(b, b"four", a.getsockname())
            n, address = await loop.sock_recvfrom_into(a, buffer, 2)
            t.say(n, bytes(buffer))
            await loop.sock_sendto(b, b"five", a.getsockname())
            n, address = await loop.sock_recvfrom_into(sock=a, buf=buffer, nbytes=0)
            t.say(n, bytes(buffer))
    t.run(main())


@same
def test_sendall(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            for data in (b"bytes ", bytearray(b"bytearray "), memoryview(b"view"), b""):
                t.say(await loop.sock_sendall(a, data))
            t.say(await loop.sock_recv(b, 100))
            sent = bytes(range(256)) * 20_000
            sending = asyncio.ensure_future(loop.sock_sendall(a, sent))
            got = b""
            while len(got) < len(sent):
                got += await loop.sock_recv(b, 1 << 20)
            t.say(await sending, got == sent)
    t.run(main())


@same
def test_accept_and_connect(t):
    async def main():
        loop = asyncio.get_running_loop()
        server = listening()
        client = socket.socket()
        client.setblocking(False)
        with server, client:
            accepting = asyncio.ensure_future(loop.sock_accept(server))
            await asyncio.sleep(0.01)
            t.say(await loop.sock_connect(client, server.getsockname()))
            accepted, address = await accepting
            with accepted:
                t.say(address == client.getsockname(), accepted.gettimeout(), accepted.family, accepted.type)
                t.say(type(accepted) is socket.socket)
                await loop.sock_sendall(client, b"hello")
                t.say(await loop.sock_recv(accepted, 10))
    t.run(main())


@same
def test_connect_to_nobody(t):
    async def main():
        loop = asyncio.get_running_loop()
        with listening() as server:
            address = server.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            try:
                await loop.sock_connect(client, address)
            except ConnectionRefusedError as exc:
                t.say(type(exc), exc.errno, str(exc).replace(str(address[1]), "PORT"))
    t.run(main())


@same
def test_connect_resolves_names(t):
    async def main():
        loop = asyncio.get_running_loop()
        server = listening()
        with server, socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("localhost", server.getsockname()[1]))
            t.say(client.getpeername() == server.getsockname())
    t.run(main())


# --- errors

@same
def test_wrong_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            b.send(b"data")
            await attempt(t, loop.sock_recv(a, "5"))
            await attempt(t, loop.sock_recv(a, 1.5))
            await attempt(t, loop.sock_recv(a, -1))
            await attempt(t, loop.sock_recv_into(a, b"read-only"))
            await attempt(t, loop.sock_recv_into(a, 5))
            await attempt(t, loop.sock_sendall(a, "text"))
            await attempt(t, loop.sock_sendall(a, None))
            await attempt(t, loop.sock_recvfrom(a, "5"))
            await attempt(t, loop.sock_recvfrom_into(a, 5))
            await attempt(t, loop.sock_sendto(a, "text", ("127.0.0.1", 1)))
            await attempt(t, loop.sock_recv(None, 5))
            await attempt(t, loop.sock_accept(a))
        await attempt(t, loop.sock_recv(a, 5))
        await attempt(t, loop.sock_sendall(a, b"x"))
        await attempt(t, loop.sock_recv_into(a, bytearray(5)))
    t.run(main())


def test_wrong_calls(kit):
    loop = kit.new_loop()
    try:
        for call in (lambda: loop.sock_recv(), lambda: loop.sock_recv(1, 2, 3), lambda: loop.sock_recv(1, n=2, x=3),
                     lambda: loop.sock_recv(1, 2, n=3), lambda: loop.sock_sendto(1, b""), lambda: loop.sock_accept()):
            with pytest.raises(TypeError):
                call()
    finally:
        loop.close()


@same
def test_debug_mode_wants_non_blocking_sockets(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with a, b:
            for call in (loop.sock_recv(a, 1), loop.sock_recv_into(a, bytearray(1)), loop.sock_recvfrom(a, 1),
                         loop.sock_recvfrom_into(a, bytearray(1)), loop.sock_sendall(a, b"x"), loop.sock_sendto(a, b"x", ""),
                         loop.sock_accept(a), loop.sock_connect(a, "x")):
                await attempt(t, call)
    t.loop.set_debug(True)
    t.run(main())


@same
def test_tls_sockets_are_refused(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with b, context.wrap_socket(a, do_handshake_on_connect=False) as wrapped:
            for call in (loop.sock_recv(wrapped, 1), loop.sock_recv_into(wrapped, bytearray(1)), loop.sock_recvfrom(wrapped, 1),
                         loop.sock_sendall(wrapped, b"x"), loop.sock_accept(wrapped), loop.sock_connect(wrapped, "x")):
                await attempt(t, call)
    t.run(main())


@same
def test_reset_while_waiting(t):
    async def main():
        loop = asyncio.get_running_loop()
        server = listening()
        with server:
            client = socket.create_connection(server.getsockname())
            accepted, _ = await loop.sock_accept(server)
            with accepted:
                reading = asyncio.ensure_future(loop.sock_recv(accepted, 10))
                await asyncio.sleep(0.01)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
                await attempt(t, reading)
    t.run(main())


# --- waiting

@same
def test_cancelling_a_wait(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            for _ in range(3):
                reading = asyncio.ensure_future(loop.sock_recv(a, 10))
                await asyncio.sleep(0.01)
                reading.cancel()
                try:
                    await reading
                except asyncio.CancelledError:
                    t.say("cancelled", loop.remove_reader(a))
            try:
                await asyncio.wait_for(loop.sock_recv(a, 10), 0.01)
            except asyncio.TimeoutError:
                t.say("timeout")
            b.send(b"still there")
            t.say(await loop.sock_recv(a, 100))
    t.run(main())


@same
def test_helpers_take_them_as_coroutines(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            op = loop.sock_recv(a, 10)
            t.say(asyncio.iscoroutine(op), inspect.isawaitable(op), asyncio.isfuture(op))
            task = loop.create_task(op)
            other = asyncio.gather(loop.sock_sendall(b, b"data"), asyncio.sleep(0))
            t.say(await asyncio.wait_for(task, 30), await other)
            loop.sock_recv(a, 10).close()
    t.keep_warnings = False
    t.run(main())


@same
def test_awaited_twice(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            b.send(b"data")
            op = loop.sock_recv(a, 10)
            await attempt(t, op)
            await attempt(t, op)
    t.run(main())


def test_never_awaited(kit):
    loop = kit.new_loop()
    a, b = pair()
    with a, b:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.sock_recv(a, 10)
            gc.collect()
        assert [w.category for w in caught] == [RuntimeWarning]
        assert str(caught[0].message).endswith("sock_recv' was never awaited")
    loop.close()


@same
def test_driven_by_hand(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            op = loop.sock_recv(a, 10)
            t.attempt(op.send, 5)
            future = op.send(None)
            t.say(asyncio.isfuture(future), future._asyncio_future_blocking, future.done())
            t.attempt(op.throw, ZeroDivisionError("thrown"))
            t.attempt(op.send, None)
            b.send(b"x")
            op = loop.sock_recv(a, 10)
            t.attempt(op.send, None)
            op = loop.sock_recv(a, 10)
            t.attempt(op.throw, ValueError("early"))
            op.close()
            op.close()
    t.run(main())


@same
def test_a_closed_loop(t):
    a, b = pair()
    with a, b:
        loop = t.loop
        op = loop.sock_recv(a, 10)
        loop.close()
        t.attempt(op.send, None)


@same
def test_both_directions_at_once(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with a, b:
            reading = asyncio.ensure_future(loop.sock_recv(a, 10))
            sending = asyncio.ensure_future(loop.sock_sendall(a, b"x" * 5_000_000))
            await asyncio.sleep(0.01)
            t.say(reading.done(), sending.done())
            b.send(b"data")
            t.say(await reading, sending.done())
            n = 0
            while n < 5_000_000:
                n += len(await loop.sock_recv(b, 1 << 20))
            t.say(await sending)
    t.run(main())


def test_ping_pong(kit):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()

        async def echo():
            while data := await loop.sock_recv(b, 4096):
                await loop.sock_sendall(b, data)

        with a, b:
            echoing = asyncio.ensure_future(echo())
            for i in range(500):
                await loop.sock_sendall(a, b"%d" % i)
                assert await loop.sock_recv(a, 100) == b"%d" % i
            a.shutdown(socket.SHUT_WR)
            await echoing
    loop = kit.new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


# --- descriptors that change under a waiter (better than asyncio, which waits forever or reads another's bytes)

def on_ours(main):
    loop = OURS.new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_waiter_never_gets_another_connections_bytes():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        c, d = pair()
        with b, c, d:
            reading = asyncio.ensure_future(loop.sock_recv(a, 100))
            await asyncio.sleep(0.01)
            fd = a.fileno()
            a.close()
            os.dup2(c.fileno(), fd)
            again = socket.socket(fileno=fd)
            with again:
                d.send(b"secret")
                second = asyncio.ensure_future(loop.sock_recv(again, 100))
                assert await second == b"secret"
                third = asyncio.ensure_future(loop.sock_recv(again, 100))
                await asyncio.sleep(0.01)
                with pytest.raises(OSError) as caught:
                    await asyncio.wait_for(reading, 30)
                assert caught.value.errno == 9
                d.send(b"more")
                assert await third == b"more"
    on_ours(main)


def test_a_replaced_descriptor_is_noticed_when_it_is_ready():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with b:
            reading = asyncio.ensure_future(loop.sock_recv(a, 100))
            await asyncio.sleep(0.01)
            fd = a.detach()
            b.send(b"data")
            with pytest.raises(OSError) as caught:
                await asyncio.wait_for(reading, 30)
            assert caught.value.errno == 9
            os.close(fd)
    on_ours(main)


def test_own_socket_classes():
    """A subclass's methods are called, not gone round."""
    class Counting(socket.socket):
        calls = 0

        def recv(self, n):
            self.calls += 1
            return super().recv(n)

        def send(self, data):
            self.calls += 1
            return super().send(bytes(data)[:3])

    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        with b, Counting(fileno=a.detach()) as own:
            own.setblocking(False)
            await loop.sock_sendall(own, b"abcdefgh")
            assert await loop.sock_recv(b, 100) == b"abcdefgh"
            loop.call_later(0.01, b.send, b"data")
            assert await loop.sock_recv(own, 100) == b"data"
            assert own.calls >= 4
    on_ours(main)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_the_loop_is_left_in_a_sockets_method_and_run_again(kit, raised):
    """The operation goes on: nothing is lost."""
    class Leaving(socket.socket):
        left = False

        def recv(self, n):
            data = super().recv(n)  # raises while nothing is there
            if not self.left:
                self.left = True
                self.first = data
                raise raised("on purpose")
            return data
    a, b = socket.socketpair()
    ours = Leaving(fileno=a.detach())
    ours.setblocking(False)
    loop = kit.new_loop()
    try:
        task = loop.create_task(loop.sock_recv(ours, 10))
        loop.call_later(0.01, b.send, b"one")
        with pytest.raises(raised):
            loop.run_until_complete(task)
        b.send(b"two")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert loop.run_until_complete(asyncio.wait_for(task, 10)) == b"two"
        assert ours.first == b"one"
    finally:
        loop.close()
        ours.close()
        b.close()
