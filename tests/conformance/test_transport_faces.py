"""What a transport shows of itself: every method of asyncio's for that kind, names, and the attributes that libraries look at, though they are private.

Each kind of transport is made on asyncio's loop and on ours, and compared by a walk through dir().
"""
import asyncio
import contextlib
import inspect
import os
import socket

import pytest

import certs
from sidebyside import KITS, ORACLE, OURS, same

KINDS = ["connected", "accepted", "tls", "datagram", "read_pipe", "write_pipe", "child", "child_stdin", "child_stdout", "server"]

# Parts of asyncio's own reading and writing, with nothing behind them here: what asyncio's selector loop calls, and what they call.
MACHINERY = {
    "_add_reader", "_adjust_leftover_buffer", "_buffer_factory", "_buffer_size", "_call_connection_lost", "_close", "_get_sendmsg_buffer", "_maybe_pause_protocol",
    "_maybe_resume_protocol", "_read_ready", "_read_ready__data_received", "_read_ready__get_buffer", "_read_ready__on_eof", "_read_ready_cb",
    "_sendto_ready", "_set_write_buffer_limits", "_write_ready", "_write_send", "_write_sendmsg", "_attach", "_detach", "_clients", "_transports",
    "_header_size", "_context", "_add_writer", "_call_soon",
}


@contextlib.asynccontextmanager
async def transports(loop):
    """One of each kind."""
    accepted = loop.create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.set_result(transport)

    made = {}
    server = await loop.create_server(Server, "127.0.0.1", 0)
    secure = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=certs.server_context())
    made["connected"], _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    made["tls"], _ = await loop.create_connection(asyncio.Protocol, *secure.sockets[0].getsockname(), ssl=certs.client_context(), server_hostname="localhost")
    made["datagram"], _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    read, write = os.pipe()
    made["read_pipe"], _ = await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0))
    made["write_pipe"], _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb", 0))
    made["child"], _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat")
    made["child_stdin"], made["child_stdout"] = made["child"].get_pipe_transport(0), made["child"].get_pipe_transport(1)
    made["accepted"] = await accepted
    made["server"] = server
    try:
        yield made
    finally:
        server.close()
        secure.close()
        made["child"].kill()
        for kind, transport in made.items():
            if kind not in ("server", "child") and not transport.is_closing():
                (transport.close if kind == "read_pipe" or kind == "child_stdout" else transport.abort)()
        await made["child"]._wait()
        made["child"].close()
        await asyncio.sleep(0.02)


def with_all(kit, look):
    """look(kind, transport) for each, on a loop of the kit: a dict."""
    loop = kit.new_loop()
    try:
        async def main():
            async with transports(loop) as made:
                return {kind: look(kind, made[kind]) for kind in KINDS}
        return loop.run_until_complete(main())
    finally:
        loop.close()


def public_names(kind, transport):
    return {name for name in dir(transport) if not name.startswith("_")}


def private_names(kind, transport):
    return {name for name in {*dir(transport), *getattr(transport, "__dict__", ())} if name.startswith("_") and not name.startswith("__")}


def test_every_name_of_asyncios_is_there():
    """And every one that is callable there is so here."""
    for find in (public_names, private_names):
        names = with_all(ORACLE, lambda kind, transport: {name: callable(getattr(transport, name, None)) for name in find(kind, transport) if hasattr(transport, name)})
        missing = with_all(OURS, lambda kind, transport: [
            name for name, is_callable in names[kind].items()
            if name not in MACHINERY and (not hasattr(transport, name) or callable(getattr(transport, name)) != is_callable)])
        assert missing == {kind: [] for kind in KINDS}


CALLS = {
    "pause_reading": (), "resume_reading": (), "is_reading": (), "get_write_buffer_size": (), "get_write_buffer_limits": (), "set_write_buffer_limits": (),
    "write": (b"",), "writelines": ([],), "can_write_eof": (), "write_eof": (), "get_extra_info": ("nothing",), "get_protocol": (), "is_closing": (),
    "get_pid": (), "get_returncode": (), "get_pipe_transport": (7,), "is_serving": (), "abort": (), "close": (),
}


@same
def test_every_method_called(t):
    async def main():
        async with transports(asyncio.get_running_loop()) as made:
            for kind in KINDS:
                for name, args in CALLS.items():
                    if name == "abort" and kind in ("datagram", "write_pipe", "child_stdin"):
                        continue  # after write_eof() asyncio's write pipe stumbles over a second end
                    if name == "close" and kind == "child":
                        continue  # asyncio's may reap the child before its watcher does, and says so
                    if not hasattr(made[kind], name):
                        t.say(kind, name, "missing")
                        continue
                    try:
                        result = getattr(made[kind], name)(*args)
                        t.say(kind, name, type(result).__name__ if name in ("get_protocol", "get_pid") else result)
                    except BaseException as exc:
                        t.say(kind, name, type(exc).__name__, str(exc))
    t.run(main())


@same
def test_names(t):
    """type(), __class__ and repr() have asyncio's names: programs log them, and tests ask for them."""
    async def main():
        async with transports(asyncio.get_running_loop()) as made:
            for kind in KINDS:
                transport = made[kind]
                t.say(kind, type(transport).__name__, transport.__class__.__name__, repr(transport).partition(" ")[0].rpartition(".")[2].strip("<"),
                      [base.__name__ for base in transport.__class__.__mro__ if base.__module__ == "asyncio.transports" and base.__name__ != "DatagramTransport"])
    t.run(main())


ATTRIBUTES = ["_closing", "_conn_lost", "_paused", "_eof", "_protocol_paused", "_protocol_connected", "_high_water", "_low_water", "_buffer", "_address", "max_size",
              "_empty_waiter", "_server", "_closed", "_finished"]


def attributes_of(transport):
    """The values; objects by their type."""
    found = {name: getattr(transport, name) for name in ATTRIBUTES if hasattr(transport, name)}
    if "_buffer" in found:
        found["_buffer"] = type(found["_buffer"]).__name__, bool(found["_buffer"])
    return {name: type(value).__name__ if name == "_server" else value for name, value in found.items()}


def test_values_of_private_attributes():
    """New, with other limits and paused, and closing; what asyncio's has."""
    def look(kind, transport):
        states = [attributes_of(transport)]
        if hasattr(transport, "set_write_buffer_limits"):
            transport.set_write_buffer_limits(high=1000, low=10)
        if kind in ("connected", "read_pipe"):
            transport.pause_reading()
        states.append(attributes_of(transport))
        if not kind.startswith("child") and kind != "server":
            transport.close()
        return [*states, attributes_of(transport)]

    expected, got = with_all(ORACLE, look), with_all(OURS, look)
    for kind in KINDS:
        for theirs, ours in zip(expected[kind], got[kind]):
            assert {name: ours.get(name) for name in theirs} == theirs, kind


@pytest.mark.parametrize("kind", ["connected", "read_pipe", "write_pipe"])
def test_a_buffer_shows_what_waits(kind):
    """The types are asyncio's of this version; so is what they hold."""
    def look(kit):
        async def main():
            async with transports(asyncio.get_running_loop()) as made:
                transport = made[kind]
                if kind == "read_pipe":
                    return hasattr(transport, "_buffer")
                size = 0
                for sent in range(1 << 12):
                    transport.write(b"%08d" % sent * 4096)
                    if size := transport.get_write_buffer_size():
                        break
                transport.write(b"later")
                transport.write(b"still later")
                buffer = transport._buffer
                whole = b"".join(buffer) if not isinstance(buffer, bytearray) else bytes(buffer)
                assert len(whole) == transport.get_write_buffer_size() == size + 16 and whole.endswith(b"laterstill later")
                return type(buffer), type(buffer[0])
        loop = kit.new_loop()
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()
    assert look(OURS) == look(ORACLE)


@same
def test_any_attribute_may_be_set(t):
    async def main():
        async with transports(asyncio.get_running_loop()) as made:
            for kind in KINDS:
                made[kind].something = kind
                made[kind].close = lambda: t.say("closed")
                made[kind].close()
                del made[kind].close
                t.say(made[kind].something)
    t.run(main())


@same
def test_a_protocol_and_extra_facts_may_be_set(t):
    async def main():
        async with transports(asyncio.get_running_loop()) as made:
            for kind in ("connected", "accepted", "datagram", "read_pipe", "write_pipe"):
                transport, protocol = made[kind], asyncio.Protocol()
                transport._protocol = protocol
                t.say(transport.get_protocol() is protocol, transport._protocol is protocol)
                transport._extra["peername"] = ("192.0.2.1", 7)
                t.say(transport.get_extra_info("peername"))
                transport._extra = {"more": 1}
                t.say(transport.get_extra_info("more"), transport.get_extra_info("less", 2))
    t.run(main())


def test_extra_facts_are_a_dict():
    async def main():
        async with transports(asyncio.get_running_loop()) as made:
            for kind in ("connected", "datagram", "read_pipe", "write_pipe"):
                with pytest.raises(TypeError):
                    made[kind]._extra = 5
                with pytest.raises((TypeError, AttributeError)):
                    del made[kind]._extra
                with pytest.raises(AttributeError):
                    del made[kind]._protocol
    loop = KITS["asyncloop"].new_loop()
    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("exc", [OSError(5, "an error"), ValueError("another")])
def test_fatal_error(exc):
    @same
    def scenario(t):
        async def main():
            class Protocol(asyncio.Protocol):
                def connection_lost(self, exc):
                    t.say("lost", repr(exc))

            loop = asyncio.get_running_loop()
            t.record_contexts(loop)
            async with transports(loop) as made:
                for kind in ("connected", "datagram", "read_pipe"):
                    made[kind].set_protocol(Protocol())
                    made[kind]._fatal_error(exc, "it happened")
                    await asyncio.sleep(0.01)
            for context in t.contexts:
                context.pop("protocol", None)
                context.pop("transport", None)
        t.run(main())
    scenario("asyncloop")


# --- a datagram transport's address

def receiver():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(10)
    return sock


@pytest.mark.parametrize("connected", [False, True])
def test_the_address_may_be_set(connected):
    @same
    def scenario(t):
        async def main():
            loop = asyncio.get_running_loop()
            one, other = receiver(), receiver()
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            if connected:
                sock.connect(one.getsockname())
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
            t.say(transport._address)
            transport._address = one.getsockname()
            t.say(transport._address == one.getsockname())
            transport.sendto(b"without an address")
            t.say(one.recv(99))
            transport.sendto(b"with it", one.getsockname())
            t.say(one.recv(99))
            try:
                transport.sendto(b"with another", other.getsockname())
            except ValueError as exc:
                t.say(str(exc).split(":")[0])
            transport._address = None
            t.say(transport._address)
            transport.sendto(b"free again", other.getsockname())
            t.say((one if connected else other).recv(99))
            transport.abort()
            await asyncio.sleep(0.01)
            one.close()
            other.close()
        t.run(main())
    scenario("asyncloop")


def test_an_address_that_is_replaced_while_it_is_compared():
    """What __eq__ runs sets another: the one that was compared with must live until then."""
    async def main():
        loop = asyncio.get_running_loop()
        sock = receiver()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))

        class Address(tuple):
            def __eq__(self, other):
                transport._address = None
                return True
            __hash__ = tuple.__hash__

        for _ in range(3):
            transport._address = tuple(list(sock.getsockname()))  # noqa: C414, a new tuple
            transport.sendto(b"x", Address(sock.getsockname()))
            assert sock.recv(9) == b"x"
        transport.abort()
        await asyncio.sleep(0)
        sock.close()
    loop = KITS["asyncloop"].new_loop()
    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("kind", ["connected", "tls", "write_pipe"])
def test_lines_of_any_kind(kind):
    """A tuple is as good as a list; so is what can be walked through once."""
    @same
    def scenario(t):
        async def main():
            async with transports(asyncio.get_running_loop()) as made:
                for lines in ([b"a", b"b"], (b"a", b"b"), (b"a",), (), [], iter([b"a", bytearray(b"b")]), (line for line in (b"a", memoryview(b"b"))), {b"a": 1}):
                    t.attempt(made[kind].writelines, lines)
                t.attempt(made[kind].write, (b"a",))
                made[kind]._loop._debug = ()
        t.run(main())
    scenario("asyncloop")


def parameters(kind, transport):
    """{public method: its parameters}, of those that Python code can call by name."""
    return {name: [(p.name, p.kind, p.default) for p in inspect.signature(getattr(transport, name)).parameters.values()]
            for name in public_names(kind, transport) if callable(getattr(transport, name))}


def test_arguments_have_asyncios_names():
    wanted, given = with_all(ORACLE, parameters), with_all(OURS, parameters)
    for kind in KINDS:
        for name, signature in wanted[kind].items():
            assert given[kind][name] == signature, (kind, name)


def call_by_name(kind, transport):
    """What one argument gives by its name, and errors' texts for none, two and an unknown one."""
    told = {}
    for name, argument, value in [("write", "data", b"x"), ("writelines", "list_of_data", [b"y"]), ("set_protocol", "protocol", getattr(transport, "get_protocol", object)())]:
        method = getattr(transport, name, None)
        if method is None or kind in ("child", "server"):
            continue
        for args, kwargs in [((), {argument: value}), ((), {}), ((value, value), {}), ((), {"other": value}), ((value,), {argument: value})]:
            try:
                told[name, len(args), *kwargs] = method(*args, **kwargs)
            except (TypeError, NotImplementedError) as error:
                told[name, len(args), *kwargs] = type(error).__name__, str(error)
    return told


def test_one_argument_by_its_name():
    wanted, given = with_all(ORACLE, call_by_name), with_all(OURS, call_by_name)
    assert given == wanted
