"""TLS connections: how they are made, what is known about them, what the handshake settles, and what goes through them."""
import asyncio
import contextvars
import random
import socket
import ssl
import sys

import pytest

import certs
from sidebyside import same
from tls_peers import VERSIONS, Buffered, Echo, Peer, Recorder, both, closed, fact, linked, of_side, run_quiet, socket_pair, soon, until

ours_only = pytest.mark.parametrize("kit", ["asyncloop"], indirect=True)


# --- how it is made, and its facts

def facts(transport):
    tls = transport.get_extra_info("ssl_object")
    cert = transport.get_extra_info("peercert")
    return [tls.version(), transport.get_extra_info("cipher"), transport.get_extra_info("compression", "no"), type(tls).__name__,
            cert and sorted(cert), tls.server_side, tls.server_hostname, tls.session_reused, tls.selected_alpn_protocol(),
            type(transport.get_extra_info("socket")).__name__, transport.get_extra_info("nothing", "default"), transport.get_extra_info("nothing"),
            isinstance(transport.get_extra_info("peername"), tuple), isinstance(transport.get_extra_info("sockname"), tuple)]


@same
def test_the_order_of_callbacks_and_the_facts(t):
    async def main():
        one, two = Recorder(lambda *what: t.say("client", *what)), Recorder(lambda *what: t.say("server", *what))
        contexts = certs.client_context(), certs.server_context()
        client, server = await both(one, two, client_ctx=contexts[0], server_ctx=contexts[1])
        for transport, context, protocol in ((client, contexts[0], one), (server, contexts[1], two)):
            t.say(facts(transport))
            assert transport.get_extra_info("sslcontext") is context
            assert transport.get_extra_info("ssl_object").context is context
            assert transport.get_protocol() is protocol and protocol.transport is transport
            t.say(isinstance(transport, asyncio.Transport), transport.is_reading(), transport.is_closing(), transport.can_write_eof(),
                  transport.get_write_buffer_size(), transport.get_write_buffer_limits(), transport._start_tls_compatible)
        client.write(b"ping")
        await until(lambda: two.data == b"ping")
        server.writelines([b"po", bytearray(b"n"), memoryview(b"g")])
        await until(lambda: one.data == b"pong")
        client.close()
        t.say(client.is_closing())
        await until(lambda: one.lost and two.lost)
    t.run(main())


def test_ssl_object_is_the_modules_own(kit, loop, side, version):
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol, version=version)
        async with peer:
            tls = transport.get_extra_info("ssl_object")
            assert type(tls) is ssl.SSLObject
            assert tls.version() == version and tls.cipher() == transport.get_extra_info("cipher")
            assert (tls.getpeercert(True) is None) == (side == "server")
            assert tls.get_channel_binding("tls-unique") == peer.tls.get_channel_binding("tls-unique")
            transport.write(b"x")
            assert await peer.receive() == b"x"
            assert tls.pending() == 0 and tls.shared_ciphers() is None or side == "server"
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_a_context_may_make_objects_of_its_own_class(kit, loop, side):
    """SSLContext.wrap_bio and sslobject_class are hooks that programs use."""
    class Own(ssl.SSLObject):
        pass

    class Context(ssl.SSLContext):
        wrapped = []

        def wrap_bio(self, *args, **options):
            self.wrapped.append(options.get("server_hostname"))
            return super().wrap_bio(*args, **options)

    async def main():
        context = Context(ssl.PROTOCOL_TLS_CLIENT if side == "client" else ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = Own
        if side == "client":
            context.load_verify_locations(certs.path("authority"))
        else:
            context.load_cert_chain(certs.path("server"), certs.path("key"))
        protocol = Recorder()
        transport, peer = await linked(side, protocol, ours=context)
        async with peer:
            assert type(transport.get_extra_info("ssl_object")) is Own
            assert Context.wrapped == ["localhost" if side == "client" else None]
            await peer.send(b"hello")
            await until(lambda: protocol.data == b"hello")
            transport.write(b"world")
            assert await peer.receive_exactly(5) == b"world"
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_create_server_and_create_connection(kit, loop, family, tmp_path, version):
    async def main():
        path = str(tmp_path / "socket")
        context = certs.server_context(version=VERSIONS[version])
        protocol = Recorder()
        if family == "tcp":
            server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=context)
            await loop.create_connection(lambda: protocol, "localhost", server.sockets[0].getsockname()[1], ssl=certs.client_context(),
                                         family=socket.AF_INET)
        else:
            server = await loop.create_unix_server(Echo, path, ssl=context)
            await loop.create_unix_connection(lambda: protocol, path, ssl=certs.client_context(), server_hostname="localhost")
        assert protocol.transport.get_extra_info("ssl_object").version() == version
        protocol.transport.write(b"x" * 100_000)
        await until(lambda: protocol.data == b"x" * 100_000)
        await closed(protocol)
        server.close()
        await server.wait_closed()
    run_quiet(loop, main())


def test_streams(kit, loop):
    async def handle(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def talk(port, n):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certs.client_context())
        for i in range(10):
            writer.write(b"line %d of %d\n" % (i, n))
            assert await reader.readline() == b"LINE %d OF %d\n" % (i, n)
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=certs.server_context())
        await asyncio.gather(*(talk(server.sockets[0].getsockname()[1], n) for n in range(10)))
        server.close()
        await server.wait_closed()
    run_quiet(loop, main())


def test_ssl_true_uses_the_default_context(kit, loop, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certs.path("authority"))

    async def main():
        a, b = socket_pair()
        protocol = Recorder()
        async with Peer(b, certs.server_context(), True) as peer:
            await soon(asyncio.gather(of_side("client", protocol, a, ours=True), peer.handshake()))
            context = protocol.transport.get_extra_info("sslcontext")
            assert isinstance(context, ssl.SSLContext) and context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED
            protocol.transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


@same
def test_wrong_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()
        context, server = certs.client_context(), certs.server_context()

        async def attempt(coro):
            try:
                await soon(coro)
            except Exception as exc:
                t.say(fact(exc))
        for options in (dict(ssl=context, ssl_handshake_timeout=0), dict(ssl=context, ssl_shutdown_timeout=-1), dict(ssl=5), dict(ssl="x"),
                        dict(ssl=context, ssl_handshake_timeout="x"), dict(ssl=server)):
            a, b = socket_pair()
            with a, b:
                await attempt(loop.create_connection(Recorder, sock=a, server_hostname="localhost", **options))
            a, b = socket_pair()
            with a, b:
                if options["ssl"] is not server:
                    await attempt(loop.connect_accepted_socket(Recorder, a, **options))
        for options in (dict(ssl=True), dict(ssl=False), dict(ssl_handshake_timeout=1), dict(ssl_shutdown_timeout=1)):
            await attempt(loop.create_server(Recorder, "127.0.0.1", 0, **options))
            await attempt(loop.create_unix_server(Recorder, "/nowhere/at/all", **options))
        for options in (dict(ssl=context), dict(server_hostname="x"), dict(ssl_handshake_timeout=1), dict(ssl_shutdown_timeout=1)):
            a, b = socket_pair()
            with a, b:
                await attempt(loop.create_connection(Recorder, sock=a, **options))
                await attempt(loop.create_unix_connection(Recorder, sock=a, **options))
    t.keep_warnings = False
    t.record_contexts()
    t.run(main())
    t.contexts.clear()


def test_connect_accepted_socket_wants_a_context(kit, loop):
    async def main():
        a, b = socket_pair()
        with a, b:
            with pytest.raises(ValueError, match="Server side SSL needs a valid SSLContext"):
                await loop.connect_accepted_socket(Recorder, a, ssl=True)
    loop.run_until_complete(main())


# --- what the handshake settles

@pytest.mark.parametrize("ours, theirs, chosen", [(["h2", "http/1.1"], ["http/1.1"], "http/1.1"), (["h2"], ["h2", "x"], "h2"),
                                                 (["a"], None, None), (None, ["a"], None)])
def test_alpn(kit, loop, side, ours, theirs, chosen):
    async def main():
        make = {"client": certs.client_context, "server": certs.server_context}
        other = {"client": "server", "server": "client"}[side]
        protocol = Recorder()
        transport, peer = await linked(side, protocol, ours=make[side](alpn=ours), theirs=make[other](alpn=theirs))
        async with peer:
            assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
            assert peer.tls.selected_alpn_protocol() == chosen
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def sni_context(callback):
    context = certs.server_context()
    context.sni_callback = callback
    return context


def test_sni_callback_chooses_the_certificate(kit, loop, version):
    second = certs.server_context("second")
    asked = []

    def choose(tls, name, context):
        asked.append((type(tls), name, context is first))
        if name == "second.example":
            tls.context = second
    first = sni_context(choose)

    async def main():
        for name, context in (("second.example", second), ("localhost", first)):
            a, b = socket_pair()
            protocol = Recorder()
            client = certs.client_context(version=VERSIONS[version])
            async with Peer(b, client, hostname=name) as peer:
                await soon(asyncio.gather(of_side("server", protocol, a, ours=first), peer.handshake()))
                assert (("DNS", name),) == peer.tls.getpeercert()["subjectAltName"][:1]
                assert protocol.transport.get_extra_info("ssl_object").context is context
                assert protocol.transport.get_extra_info("sslcontext") is first
                await peer.send(b"hello")
                await until(lambda: protocol.data == b"hello")
                protocol.transport.write(b"answer")
                assert await peer.receive_exactly(6) == b"answer"
                protocol.transport.abort()
                await until(lambda: protocol.lost)
        assert asked == [(ssl.SSLObject, "second.example", True), (ssl.SSLObject, "localhost", True)]
    run_quiet(loop, main())


def test_sni_callback_that_refuses(kit, loop):
    async def main():
        a, b = socket_pair()
        protocol = Recorder()
        async with Peer(b, certs.client_context()) as peer:
            serving = asyncio.ensure_future(of_side("server", protocol, a, ours=sni_context(lambda *x: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)))
            with pytest.raises(ssl.SSLError):
                await peer.handshake()
            with pytest.raises(ssl.SSLError):
                await soon(serving)
            assert protocol.transport is None
            assert await peer.raw_end() in (True, False)
    run_quiet(loop, main())


def test_sni_callback_that_raises(kit, loop, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: unraisable.append(type(what.exc_value)))

    def fail(*args):
        raise ValueError("on purpose")

    async def main():
        a, b = socket_pair()
        async with Peer(b, certs.client_context()) as peer:
            serving = asyncio.ensure_future(of_side("server", Recorder(), a, ours=sni_context(fail)))
            with pytest.raises(ssl.SSLError):
                await peer.handshake()
            with pytest.raises(ssl.SSLError):
                await soon(serving)
    run_quiet(loop, main())
    assert unraisable == [ValueError]


@pytest.mark.parametrize("clients", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED], ids=["optional", "required"])
def test_client_certificate_that_is_given(kit, loop, side, version, clients):
    async def main():
        client, server = certs.client_context("client", version=VERSIONS[version]), certs.server_context(clients=clients)
        protocol = Recorder()
        transport, peer = await linked(side, protocol, ours=client if side == "client" else server, theirs=server if side == "client" else client)
        async with peer:
            cert = peer.tls.getpeercert() if side == "client" else transport.get_extra_info("peercert")
            assert cert["subject"] == ((("commonName", "client"),),)
            await peer.send(b"hello")
            await until(lambda: protocol.data == b"hello")
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_client_certificate_that_is_optional_and_missing(kit, loop, version):
    async def main():
        protocol = Recorder()
        transport, peer = await linked("server", protocol, ours=certs.server_context(clients=ssl.CERT_OPTIONAL), version=version)
        async with peer:
            assert not transport.get_extra_info("peercert", "missing")
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


@same
def test_the_client_hears_that_its_certificate_is_missed(t):
    """With TLS 1.3 its handshake is over by then."""
    async def main(version):
        a, b = socket_pair()
        protocol = Recorder(t.say)
        async with Peer(b, certs.server_context(clients=ssl.CERT_REQUIRED, version=VERSIONS[version]), True) as peer:
            connecting = asyncio.ensure_future(of_side("client", protocol, a))
            try:
                await peer.handshake()
            except ssl.SSLError as exc:
                t.say(fact(exc))
            try:
                await soon(connecting)
            except ssl.SSLError as exc:
                t.say("not connected", fact(exc))
            await until(lambda: protocol.lost or protocol.transport is None)
            t.say(await peer.raw_end())
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for version in VERSIONS:
        t.run(main(version))


def test_a_session_is_resumed_by_our_server(kit, loop, version):
    async def main():
        server, client = certs.server_context(), certs.client_context(version=VERSIONS[version])
        session = None
        for reused in (False, True, True):
            a, b = socket_pair()
            protocol = Recorder()
            async with Peer(b, client, session=session) as peer:
                await soon(asyncio.gather(of_side("server", protocol, a, ours=server), peer.handshake()))
                protocol.transport.write(b"x")  # behind the tickets
                assert await peer.receive() == b"x"
                assert peer.tls.session_reused is reused
                assert protocol.transport.get_extra_info("ssl_object").session_reused is reused
                session = peer.tls.session
                await closed_by_peer(peer, protocol)
    run_quiet(loop, main())


async def closed_by_peer(peer, protocol):
    await peer.send_raw(peer.close_notify())
    await until(lambda: protocol.lost)


def test_a_session_is_resumed_by_our_client(kit, loop, version):
    """There is no argument for it: a context does it in wrap_bio."""
    session = None

    class Context(ssl.SSLContext):
        def wrap_bio(self, *args, **options):
            return super().wrap_bio(*args, session=session, **options)

    async def main():
        nonlocal session
        server, client = certs.server_context(version=VERSIONS[version]), Context(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(certs.path("authority"))
        for reused in (False, True, True):
            protocol = Recorder()
            transport, peer = await linked("client", protocol, ours=client, theirs=server)
            async with peer:
                await peer.send(b"x")
                await until(lambda: protocol.data == b"x")
                assert peer.tls.session_reused is reused
                session = transport.get_extra_info("ssl_object").session
                await closed_by_peer(peer, protocol)
    run_quiet(loop, main())


@pytest.mark.skipif(not ssl.HAS_TLSv1_3, reason="post-handshake authentication is part of TLS 1.3")
def test_post_handshake_authentication(kit, loop, side):
    """The server asks for a certificate in the middle of the conversation; the client answers while it reads."""
    async def main():
        client, server = certs.client_context("client"), certs.server_context(clients=ssl.CERT_OPTIONAL)
        client.post_handshake_auth = server.post_handshake_auth = True
        protocol = Recorder()
        transport, peer = await linked(side, protocol, ours=client if side == "client" else server, theirs=server if side == "client" else client)
        async with peer:
            tls = transport.get_extra_info("ssl_object")
            asking = peer.tls if side == "client" else tls
            assert not asking.getpeercert()
            asking.verify_client_post_handshake()
            if side == "client":
                await peer.send(b"who are you?")
                await until(lambda: protocol.data)
                transport.write(b"me")
                assert await peer.receive_exactly(2) == b"me"
            else:
                transport.write(b"who are you?")
                assert await peer.receive_exactly(12) == b"who are you?"
                await peer.send(b"me")
                await until(lambda: protocol.data)
            assert asking.getpeercert()["subject"] == ((("commonName", "client"),),)
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


# --- what goes through

SIZES = [0, 1, 2, 100, 16383, 16384, 16385, 65536, 262144, 1_000_001, 5_000_000]


@pytest.mark.parametrize("kind", [Recorder, Buffered])
def test_every_size_in_any_pieces(kit, loop, side, version, kind):
    rng = random.Random(1)

    async def main():
        protocol = kind()
        transport, peer = await linked(side, protocol, version=version)
        async with peer:
            for size in SIZES:
                data = rng.randbytes(size)
                sending = asyncio.ensure_future(send_in_pieces(peer, data))
                transport.writelines(pieces(data)) if rng.random() < 0.5 else [transport.write(piece) for piece in pieces(data)]
                assert await peer.receive_exactly(size) == data
                await sending
                await until(lambda: len(protocol.data) == size)
                assert protocol.data == data
                protocol.data.clear()
            transport.abort()
            await until(lambda: protocol.lost)

    def pieces(data):
        at, found = 0, []
        while at < len(data):
            n = rng.choice([1, 7, 1000, 16384, 40_000, 500_000]) if len(data) < 300_000 else rng.choice([20_000, 100_000, 1_000_000])
            found.append([bytes, bytearray, memoryview][rng.randrange(3)](data[at : at + n]))
            at += n
        return found

    async def send_in_pieces(peer, data):
        for piece in pieces(data):
            await peer.send(piece)
    run_quiet(loop, main())


def test_records_in_single_bytes_and_many_records_in_one_piece(kit, loop, side, version):
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol, version=version)
        async with peer:
            for byte in peer.encrypted(b"one by one"):
                await peer.send_raw(bytes([byte]))
                await asyncio.sleep(0)
            await until(lambda: protocol.data == b"one by one")
            protocol.data.clear()
            await peer.send_raw(b"".join(peer.encrypted(b"%03d" % i) for i in range(1000)))
            await until(lambda: len(protocol.data) == 3000)
            assert protocol.data == b"".join(b"%03d" % i for i in range(1000))
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


@pytest.mark.parametrize("cut", [0, 7, -7, None], ids=["between", "after the beginning", "before the end", "nowhere"])
def test_the_first_data_comes_with_the_end_of_the_handshake(kit, loop, side, version, cut):
    """In one piece, or in two; it is answered at once, while the server's own last messages wait to be sent."""
    async def main():
        a, b = socket_pair()
        protocol = Recorder(on_data=lambda data: protocol.transport.write(data.upper()))
        theirs = (certs.server_context if side == "client" else certs.client_context)(version=VERSIONS[version])
        async with Peer(b, theirs, side == "client") as peer:
            making = asyncio.ensure_future(of_side(side, protocol, a))
            while True:
                try:
                    peer.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await peer.flush()
                    peer.incoming.write(await peer.receive_raw())
            last = peer.outgoing.read()
            data = last + peer.encrypted(b"hello")
            if cut is not None:
                at = len(last) + cut if cut >= 0 else cut
                await peer.send_raw(data[:at])
                await asyncio.sleep(0.01)
                data = data[at:]
            await peer.send_raw(data)
            assert await peer.receive_exactly(5) == b"HELLO"
            await soon(making)
            protocol.transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_empty_records_are_no_data(kit, loop, side):
    """A peer may send records with nothing in them: data_received is not called, and it is not the end."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.write(b"")
            transport.writelines([])
            transport.writelines([b"", b""])
            await peer.send(b"then something")
            await until(lambda: protocol.data == b"then something")
            transport.writelines([b"", b"x", b""])
            assert await peer.receive() == b"x"
            assert not protocol.eof
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


@same
def test_wrong_data(t):
    async def main():
        protocol = Recorder(t.say)
        transport, peer = await linked("client", protocol)
        async with peer:
            for wrong in ("text", 5, None, [1], 1.5):
                t.attempt(transport.write, wrong)
            t.attempt(transport.write_eof)
            transport.write(b"fine")
            t.say(await peer.receive())
            transport.abort()
            await until(lambda: protocol.lost)
    t.run(main())


@ours_only
def test_write_does_not_see_later_changes(kit, loop, side):
    """asyncio keeps a reference to what it could not write at once."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            size = 0
            for _ in range(10):
                data = bytearray(b"a" * 100_000)
                transport.write(data)
                data[:] = b"b" * 100_000
                transport.write(memoryview(data))
                data[:] = b"c" * 100_000
                transport.writelines([data, memoryview(data)])
                data[:] = b"d" * 100_000
                data.clear()  # nothing exports it any more
                size += 400_000
            got = await peer.receive_exactly(size)
            assert got == (b"a" * 100_000 + b"b" * 100_000 + b"c" * 200_000) * 10
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_set_protocol_in_the_middle(kit, loop, side):
    """Between plain and buffered protocols, from inside data_received too."""
    async def main():
        second, third = Buffered(), Recorder()
        first = Recorder(on_data=lambda data: first.transport.set_protocol(second))
        transport, peer = await linked(side, first)
        async with peer:
            await peer.send(b"one")
            await until(lambda: first.data == b"one")
            await peer.send(b"two")
            await until(lambda: second.data == b"two")
            assert transport.get_protocol() is second
            transport.set_protocol(third)
            await peer.send(b"three")
            await until(lambda: third.data == b"three")
            await closed_by_peer(peer, third)
            assert third.eof and not first.lost and not second.lost
    run_quiet(loop, main())


@ours_only
def test_one_context_for_all_callbacks(kit, loop):
    """The context in which the connection was made; asyncio's way from 3.15 on."""
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    class Noting(Recorder):
        def note(self, *args):
            seen.append((args[0], variable.get()))

        def connection_made(self, transport):
            self.note("made")
            super().connection_made(transport)

        def data_received(self, data):
            self.note("data")
            super().data_received(data)

        def eof_received(self):
            self.note("eof")

        def connection_lost(self, exc):
            self.note("lost")
            super().connection_lost(exc)

    async def main():
        variable.set("inside")
        protocol = Noting()
        transport, peer = await linked("client", protocol)
        variable.set("later")
        async with peer:
            await peer.send(b"x")
            await until(lambda: protocol.data)
            await closed_by_peer(peer, protocol)
    loop.run_until_complete(loop.create_task(main()))
    assert [name for name, _ in seen] == ["made", "data", "eof", "lost"]
    assert {value for _, value in seen} == {"inside"}
